-- Handlers that have started on this database, for those who look for one by name.
CREATE TABLE handlers (
    id      TEXT   NOT NULL PRIMARY KEY,
    subject TEXT   NOT NULL,
    started BIGINT NOT NULL                 -- epoch milliseconds: when a process with it started last
);
