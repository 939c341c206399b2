-- Handlers at rest, in every process: by a verdict of their own, or by a person.
CREATE TABLE paused_handlers (
    handler   TEXT   NOT NULL PRIMARY KEY,
    until     BIGINT,                       -- epoch milliseconds; null: until somebody resumes it
    paused_by TEXT   NOT NULL,
    because   TEXT   NOT NULL,
    since     BIGINT NOT NULL
);
