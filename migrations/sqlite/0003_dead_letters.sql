-- What people do with dead letters: they mend them, and whatever was done is written down.

ALTER TABLE dead_letters ADD COLUMN edits BIGINT NOT NULL DEFAULT 0;  -- how often a person has replaced the payload
ALTER TABLE dead_letters ADD COLUMN original_payload BLOB;             -- as received, once payload was replaced
CREATE INDEX dead_letters_settled ON dead_letters (settled_at);

-- Each thing that was done to a letter, written in the transaction that did it.
CREATE TABLE dead_letter_actions (
    seq       INTEGER PRIMARY KEY AUTOINCREMENT,
    letter_id TEXT   NOT NULL,
    action    TEXT   NOT NULL,              -- edit | replay | replayed | failed | discard
    done_by   TEXT   NOT NULL,              -- a person, or the handler that a replay went to
    done_at   TEXT   NOT NULL,              -- RFC 3339, UTC
    detail    TEXT   NOT NULL               -- why, or what became of it
);
CREATE INDEX dead_letter_actions_letter ON dead_letter_actions (letter_id, seq);
