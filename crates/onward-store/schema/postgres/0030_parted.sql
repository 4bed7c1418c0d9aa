-- The digests of those that a copy is put together with (JSON, hexadecimal); NULL for none. No index: `fsck` and a purge read all copies of
-- a month, whose contents lie apart.
ALTER TABLE rendition_bodies ADD COLUMN parts TEXT;

-- Programs before this step cannot read such copies, so none is written while one of them may serve: until `onward migrate --finish`. In
-- a store that nobody has used yet, none may.
UPDATE onward_programs SET oldest = 30 WHERE NOT EXISTS (SELECT 1 FROM audit_log);
