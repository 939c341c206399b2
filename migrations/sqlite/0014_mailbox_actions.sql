-- What is still to be done in a mailbox, who was answered, and by what else a mail is known.
-- Times are epoch milliseconds by the database's own clock.

-- What happens on the server to mails that were announced or answered. While the event's row is in the outbox, the broker
-- has not confirmed it, and nothing is done.
CREATE TABLE mailbox_actions (
    event_id     TEXT   NOT NULL,
    action       TEXT   NOT NULL,           -- flag | move | expunge | answered
    account      TEXT   NOT NULL,
    mailbox      TEXT   NOT NULL,
    argument     TEXT   NOT NULL,           -- the flag or the folder
    published_as TEXT,                      -- the event's id in the outbox
    state        TEXT   NOT NULL,           -- due | copied | done | gone | refused
    attempts     BIGINT NOT NULL,           -- that the server refused
    retry_at     BIGINT NOT NULL,
    error        TEXT,                      -- the server's words
    created      BIGINT NOT NULL,
    settled      BIGINT,
    PRIMARY KEY (event_id, action)
);
CREATE INDEX mailbox_actions_due ON mailbox_actions (account, mailbox, retry_at) WHERE settled IS NULL;

-- Which mail was answered by which send.
CREATE TABLE replies (
    send_id   TEXT   NOT NULL PRIMARY KEY,  -- of actions.send
    event_id  TEXT   NOT NULL,              -- of the mail that is answered
    account   TEXT   NOT NULL,
    peer      TEXT   NOT NULL,              -- who is answered, in lower case
    automatic BIGINT NOT NULL,              -- 1 where no person wrote the text
    created   BIGINT NOT NULL
);
CREATE INDEX replies_peer ON replies (account, peer, created);
CREATE INDEX replies_created ON replies (created);

-- The UID in the epoch `carried_to`.
ALTER TABLE mails ADD COLUMN carried_uid BIGINT;
-- The server's own name for the mail, which is the same in all its folders.
ALTER TABLE mails ADD COLUMN provider_id TEXT;
CREATE INDEX mails_provider ON mails (account, provider_id) WHERE provider_id IS NOT NULL;
-- The highest mod-sequence (RFC 7162) up to which all changes are known; 0 where there is none.
ALTER TABLE mailboxes ADD COLUMN modseq BIGINT NOT NULL DEFAULT 0;
