-- The ledger of deliveries, the outbox, the dead letters and the leases.
-- Times are epoch milliseconds by the database's own clock, but for those in dead_letters, which people read.

-- Differs because SQLite and Postgres tell the time in their own words; every other statement reads it from here.
CREATE VIEW clock AS SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER) AS now_ms;

-- One row for each (handler, key): the fence that makes a delivery count once.
CREATE TABLE deliveries (
    scope       TEXT   NOT NULL,            -- the handler's id
    key         TEXT   NOT NULL,            -- the idempotency key
    state       TEXT   NOT NULL,            -- claimed | effect | retry_at | unknown | done | discarded | dead
    fence       BIGINT NOT NULL,            -- raised by each claim; every later write must match it
    owner       TEXT   NOT NULL,            -- the process that claimed it last
    lease_until BIGINT NOT NULL,            -- a claim is void after this
    retry_at    BIGINT,                     -- due then, in states retry_at and unknown
    attempts    BIGINT NOT NULL,            -- counted before the handler runs
    crashes     BIGINT NOT NULL,            -- leases that ran out: the process died or was cut off
    duplicates  BIGINT NOT NULL DEFAULT 0,  -- deliveries that came after it was settled, and were suppressed
    fingerprint TEXT   NOT NULL,            -- SHA-256 of the payload; the same key with another one is refused
    effect_id   TEXT,                       -- an effect outside SQL that began and has no verdict yet
    result      TEXT,                       -- JSON, given back to duplicates
    history     TEXT   NOT NULL,            -- JSON array of failed attempts
    first_seen  BIGINT NOT NULL,
    updated     BIGINT NOT NULL,
    expires_at  BIGINT NOT NULL,            -- settled rows are purged after this
    PRIMARY KEY (scope, key)
);
CREATE INDEX deliveries_expiry ON deliveries (expires_at);

-- Messages to publish, written in the transaction that decided to; deleted once the broker has confirmed them.
CREATE TABLE outbox (
    seq           INTEGER PRIMARY KEY AUTOINCREMENT,
    id            TEXT   NOT NULL UNIQUE,   -- becomes Nats-Msg-Id
    subject       TEXT   NOT NULL,
    headers       TEXT   NOT NULL,          -- JSON object of arrays
    payload       BLOB   NOT NULL,
    owner         TEXT   NOT NULL,          -- the process whose relay publishes it ...
    claimed_until BIGINT NOT NULL,          -- ... until then; after that, anybody's
    created       BIGINT NOT NULL
);
CREATE INDEX outbox_claims ON outbox (claimed_until);

-- Every message that failed for good, as it was received, and what became of it.
CREATE TABLE dead_letters (
    id                TEXT   NOT NULL PRIMARY KEY,
    state             TEXT   NOT NULL,      -- dead | replaying | replayed | discarded
    reason            TEXT   NOT NULL,      -- exhausted | permanent | undecodable | poison | key_reused | unknown_effect
    handler           TEXT   NOT NULL,
    key               TEXT   NOT NULL,
    subject           TEXT   NOT NULL,
    stream            TEXT   NOT NULL,
    stream_seq        BIGINT NOT NULL,
    payload           BLOB   NOT NULL,
    headers           TEXT   NOT NULL,      -- JSON object of arrays
    error             TEXT   NOT NULL,
    error_class       TEXT   NOT NULL,
    error_fingerprint TEXT   NOT NULL,      -- equal for errors that differ in numbers and addresses only
    attempts          BIGINT NOT NULL,
    history           TEXT   NOT NULL,      -- JSON array: attempt, at, class, error
    message_id        TEXT,                 -- the mail's Message-ID, where there is one
    trace_id          TEXT,
    replays           BIGINT NOT NULL,
    died_at           TEXT   NOT NULL,      -- RFC 3339, UTC
    settled_at        TEXT,
    settled_by        TEXT
);
CREATE INDEX dead_letters_state ON dead_letters (state, died_at);
CREATE INDEX dead_letters_group ON dead_letters (error_fingerprint);

-- Who may do a thing that one process does at a time.
CREATE TABLE leases (
    name        TEXT   NOT NULL PRIMARY KEY,
    owner       TEXT   NOT NULL,
    fence       BIGINT NOT NULL,
    lease_until BIGINT NOT NULL
);
