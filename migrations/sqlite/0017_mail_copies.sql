-- Mails that a server shows in several mailboxes under one name of its own (Gmail's X-GM-MSGID): the copy that was settled
-- first counts, and the others are carried over from it.
CREATE TABLE mail_copies (
    account     TEXT   NOT NULL,
    provider_id TEXT   NOT NULL,
    event_id    TEXT   NOT NULL,            -- of the copy that counts
    PRIMARY KEY (account, provider_id)
);

-- What this table makes superfluous, and what nothing has come to use.
DROP INDEX mails_provider;
ALTER TABLE mails DROP COLUMN provider_id;
ALTER TABLE mailboxes DROP COLUMN modseq;
