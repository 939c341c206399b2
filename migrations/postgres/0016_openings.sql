-- Messages that were delivered before and are being read again: what reads one may take its process down, and before it is
-- read nobody knows whose row in the ledger it has.
CREATE TABLE openings (
    handler TEXT   NOT NULL,
    place   TEXT   NOT NULL,                -- its place in its stream
    owner   TEXT   NOT NULL,                -- the process that reads it, or died of it
    deaths  BIGINT NOT NULL,                -- of processes before that one
    until   BIGINT NOT NULL,                -- epoch milliseconds: if nothing is heard of its process by then, it is dead
    PRIMARY KEY (handler, place)
);
