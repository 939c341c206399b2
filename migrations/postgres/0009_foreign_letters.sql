-- Letters that postroom did not write itself: those of other clients, and those of messages that the broker gave up.

ALTER TABLE dead_letters ADD COLUMN origin TEXT;   -- what tells two of them apart, so that each is one row
CREATE UNIQUE INDEX dead_letters_origin ON dead_letters (origin);
