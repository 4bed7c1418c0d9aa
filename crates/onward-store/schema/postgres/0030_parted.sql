-- How many parts a copy is put together with; NULL for none.
ALTER TABLE rendition_bodies ADD COLUMN parts BIGINT;
CREATE INDEX rendition_bodies_parts ON rendition_bodies (delivery, month, parts) WHERE parts IS NOT NULL;

-- Programs before this step cannot read such copies, so none is written while one of them may serve: until `onward migrate --finish`. In
-- a store that nobody has used yet, none may.
UPDATE onward_programs SET oldest = 30 WHERE NOT EXISTS (SELECT 1 FROM audit_log);
