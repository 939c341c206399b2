-- Work by the clock, messages for later, and messages that keep their order.

-- One row for each schedule: raised in the transaction that puts the messages of its fires into the outbox, so that of many
-- processes one fires.
CREATE TABLE schedules (
    id         TEXT   NOT NULL PRIMARY KEY,
    expression TEXT   NOT NULL,             -- as the process that started last has it ...
    zone       TEXT   NOT NULL,             -- ... and its time zone
    last_fire  BIGINT NOT NULL,             -- whatever was planned up to then has fired, or was given up
    fires      BIGINT NOT NULL              -- messages so far
);

ALTER TABLE outbox ADD COLUMN due BIGINT;       -- not before then; NULL: at once
ALTER TABLE outbox ADD COLUMN order_key TEXT;   -- rows of one key are published in the order of their commits
CREATE INDEX outbox_order ON outbox (order_key, seq) WHERE order_key IS NOT NULL;

-- Differs because Postgres has many writers, so that a row that was written first may be committed last. Transactions that
-- write the same key wait for each other here, and take their numbers after that. SQLite has one writer anyway.
CREATE FUNCTION outbox_wait_for_turn() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('postroom outbox ' || NEW.order_key, 0));
    NEW.seq := nextval(pg_get_serial_sequence('outbox', 'seq'));
    RETURN NEW;
END $$;
CREATE TRIGGER outbox_turn BEFORE INSERT ON outbox
    FOR EACH ROW WHEN (NEW.order_key IS NOT NULL) EXECUTE FUNCTION outbox_wait_for_turn();
