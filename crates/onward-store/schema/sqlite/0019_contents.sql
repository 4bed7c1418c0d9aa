-- What bytes that were sent carried: names of elements, never a value or a person. Audit entries name a list by its digest, within
-- what is sealed. No order of coming and no time, so that nobody can tell from a list to whose entry it belongs.

CREATE TABLE contents (
    -- SHA-256 of the names.
    sha256 BLOB NOT NULL PRIMARY KEY,
    -- One a line, sorted.
    names TEXT NOT NULL
) STRICT, WITHOUT ROWID;
