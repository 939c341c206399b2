-- Many rows as one parameter of one statement: a JSON array, of which json_each makes rows again.

-- Differs because SQLite has json_each built in, and Postgres is taught it in its own folder. Every statement over many
-- rows reads them from there.
