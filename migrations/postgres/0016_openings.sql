-- Messages that were delivered before and are being read again: what reads one may take its process down, and before it is
-- read nobody knows whose row in the ledger it has.
CREATE TABLE openings (
    handler TEXT   NOT NULL,
    place   TEXT   NOT NULL,                -- its place in its stream
    owner   TEXT   NOT NULL,                -- the process that reads it, or died of it
    deaths  BIGINT NOT NULL,                -- of processes before that one
    since   BIGINT NOT NULL,                -- epoch milliseconds: when it began to be read last
    PRIMARY KEY (handler, place)
);
