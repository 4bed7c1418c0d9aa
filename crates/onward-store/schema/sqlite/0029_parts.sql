-- What several copies of a transfer carry alike (a letter in a PDF), once for the month of the copies, and as long as one of them has it.
CREATE TABLE rendition_parts (
    transfer TEXT NOT NULL REFERENCES transfers (id),
    month INTEGER NOT NULL,
    -- Keyed, and another one in another transfer. Lengths tell what they tell: two people's letters of one length may be the same.
    digest BLOB NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (transfer, month, digest)
) STRICT;
CREATE INDEX rendition_parts_month ON rendition_parts (month);

-- The digests of those that a copy is put together with (JSON, hexadecimal); NULL for none.
ALTER TABLE rendition_bodies ADD COLUMN parts TEXT;
CREATE INDEX rendition_bodies_parts ON rendition_bodies (delivery, month, parts) WHERE parts IS NOT NULL;

-- Programs before this step cannot read such copies, so none is written while one of them may serve: until `onward migrate --finish`. In
-- a store that nobody has used yet, none may.
UPDATE onward_programs SET oldest = 29 WHERE NOT EXISTS (SELECT 1 FROM audit_log);
