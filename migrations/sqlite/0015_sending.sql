-- What sending keeps of the mails that are under way. Times are epoch milliseconds by the database's own clock.

-- The bytes of a mail that could not be made again as they were, since a template or a key of today went into them; gone
-- once it is sent.
CREATE TABLE outgoing_mails (
    id      TEXT   NOT NULL PRIMARY KEY,    -- of actions.send
    bytes   BLOB   NOT NULL,
    created BIGINT NOT NULL
);
CREATE INDEX outgoing_mails_created ON outgoing_mails (created);

-- How many mails of a day an account has sent, where it is warming up.
CREATE TABLE sent_per_day (
    account TEXT   NOT NULL,
    day     TEXT   NOT NULL,                -- such as 2026-11-24, in UTC
    mails   BIGINT NOT NULL,
    PRIMARY KEY (account, day)
);
