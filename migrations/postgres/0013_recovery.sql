-- What is needed to know a mail again when a server's UIDs begin anew, and to hold back what it does not know then.

-- Every UID from here on has its row or is to get one, whenever the server shows it; those below came before the first look.
ALTER TABLE mailboxes ADD COLUMN first_uid BIGINT NOT NULL DEFAULT 1;
-- Mails of this epoch below this UID are held for a person, unless they are known by their content; 0 where none are.
ALTER TABLE mailboxes ADD COLUMN held_below BIGINT NOT NULL DEFAULT 0;
UPDATE mailboxes SET first_uid = COALESCE(
    (SELECT MIN(uid) FROM mails
     WHERE mails.account = mailboxes.account AND mails.mailbox = mailboxes.mailbox AND mails.epoch = mailboxes.epoch),
    low_uid);

-- As the server told them: INTERNALDATE in epoch milliseconds, RFC822.SIZE.
ALTER TABLE mails ADD COLUMN internal_date BIGINT;
ALTER TABLE mails ADD COLUMN server_size BIGINT;
