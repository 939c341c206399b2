-- Many rows as one parameter of one statement: a JSON array, of which json_each makes rows again.

-- Differs because SQLite has this function built in: the elements of an array, numbered from 0. As many rows as a batch
-- usually has are what the planner is told to expect.
CREATE FUNCTION json_each(elements TEXT) RETURNS TABLE (key BIGINT, value JSONB)
LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 64
AS $$
    SELECT e.number - 1, e.element
    FROM jsonb_array_elements(elements::JSONB) WITH ORDINALITY AS e (element, number)
$$;
