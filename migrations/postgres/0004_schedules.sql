-- Work by the clock.

-- One row for each schedule: raised in the transaction that puts the messages of its fires into the outbox, so that of many
-- processes one fires.
CREATE TABLE schedules (
    id         TEXT   NOT NULL PRIMARY KEY,
    expression TEXT   NOT NULL,             -- as the process that started last has it ...
    zone       TEXT   NOT NULL,             -- ... and its time zone
    last_fire  BIGINT NOT NULL,             -- whatever was planned up to then has fired, or was given up
    fires      BIGINT NOT NULL              -- messages so far
);
