-- Messages for later, messages in order, and what each round of a dead letter came to.

-- Messages to publish at a time of their own. When it has come, they move to the outbox, in one transaction.
CREATE TABLE postponed (
    seq        BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id         TEXT   NOT NULL UNIQUE,      -- stays the same in the outbox, and becomes Nats-Msg-Id
    due        BIGINT NOT NULL,             -- by the database's clock
    subject    TEXT   NOT NULL,
    headers    TEXT   NOT NULL,             -- JSON object of arrays
    payload    BYTEA   NOT NULL,
    ordered_by TEXT,                        -- as in the outbox
    created    BIGINT NOT NULL
);
CREATE INDEX postponed_due ON postponed (due, seq);

-- Rows with the same value here are published one after the other, in the order of their commits.
ALTER TABLE outbox ADD COLUMN ordered_by TEXT;
CREATE INDEX outbox_order ON outbox (ordered_by, seq) WHERE ordered_by IS NOT NULL;

-- Each round that a letter has died in and was replayed after; the last one is in dead_letters itself.
CREATE TABLE dead_letter_rounds (
    letter_id   TEXT   NOT NULL,
    round       BIGINT NOT NULL,            -- from 1
    reason      TEXT   NOT NULL,
    error       TEXT   NOT NULL,
    error_class TEXT   NOT NULL,
    attempts    BIGINT NOT NULL,
    history     TEXT   NOT NULL,            -- JSON array: attempt, at, class, error, log
    died_at     TEXT   NOT NULL,            -- RFC 3339, UTC
    PRIMARY KEY (letter_id, round)
);
