-- The disclosure policies that were in force, as they were written, so that what was sent is held against the policy of its time. The
-- entry of the start that put one in force has its digest.
CREATE TABLE policies (
    kind TEXT NOT NULL,
    -- In force from then on.
    since INTEGER NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (kind, since)
) STRICT, WITHOUT ROWID;

-- When it was told that nobody confirmed a request to erase in time.
ALTER TABLE erasures ADD COLUMN lapsed INTEGER;
