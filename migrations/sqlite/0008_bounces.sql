-- Mails that a relay took, so that what comes back later finds its mail. Times are epoch milliseconds by the database's
-- own clock.
CREATE TABLE sends (
    message_id TEXT   NOT NULL PRIMARY KEY,     -- without angle brackets
    id         TEXT   NOT NULL,                 -- of actions.send
    account    TEXT   NOT NULL,
    recipient  TEXT   NOT NULL,                 -- in lower case
    sent       BIGINT NOT NULL
);
CREATE INDEX sends_recipient ON sends (recipient);
CREATE INDEX sends_sent ON sends (sent);

-- Addresses that are not written to any more, until a person takes them off the list.
CREATE TABLE suppressions (
    address    TEXT   NOT NULL PRIMARY KEY,     -- in lower case
    cause      TEXT   NOT NULL,                 -- no-such-address | no-such-host | disabled | complaint | manual
    detail     TEXT   NOT NULL,                 -- the mail system's words, or a person's
    source     TEXT   NOT NULL,                 -- event_id of the report, id of the refused send, or who added it
    created    BIGINT NOT NULL
);
