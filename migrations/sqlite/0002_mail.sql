-- What ingest knows of each mailbox, and of each mail in it.
-- Times are epoch milliseconds by the database's own clock.

-- The checkpoint of each watched mailbox.
CREATE TABLE mailboxes (
    account     TEXT   NOT NULL,
    mailbox     TEXT   NOT NULL,
    epoch       BIGINT NOT NULL,            -- raised when the server's UIDs begin anew
    uidvalidity BIGINT NOT NULL,
    low_uid     BIGINT NOT NULL,            -- every UID below it has its row in mails, or came before the first look
    since       BIGINT NOT NULL,            -- mails received before are left alone; 0 where all are wanted
    updated     BIGINT NOT NULL,
    PRIMARY KEY (account, mailbox)
);

-- One row for each mail that was ever seen: seen = published + carried + old + gone + dead, once nothing is under way.
CREATE TABLE mails (
    account     TEXT   NOT NULL,
    mailbox     TEXT   NOT NULL,
    epoch       BIGINT NOT NULL,
    uid         BIGINT NOT NULL,
    state       TEXT   NOT NULL,            -- discovered | published | carried | old | gone | dead
    event_id    TEXT   NOT NULL UNIQUE,     -- UUIDv5 of account, mailbox, epoch and uid
    attempts    BIGINT NOT NULL,            -- counted before the mail is fetched and parsed
    sha256      TEXT,                       -- the raw mail in the blob store
    size        BIGINT,
    message_id  TEXT,
    summary     TEXT,                       -- the payload of inbox.new, for replies
    error       TEXT,                       -- why it is dead
    carried_to  BIGINT,                     -- the later epoch in which the same mail was found again
    discovered  BIGINT NOT NULL,
    settled     BIGINT,
    PRIMARY KEY (account, mailbox, epoch, uid)
);
-- Work that is left, in the order of its UIDs.
CREATE INDEX mails_state ON mails (account, mailbox, epoch, state, uid);
-- Mails of earlier epochs by their content.
CREATE INDEX mails_content ON mails (account, mailbox, sha256);
