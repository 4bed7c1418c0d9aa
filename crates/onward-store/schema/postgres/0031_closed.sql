-- Copies that failed, or were not processed, and that a person has taken care of in another way. The version of the copy says whether that
-- still holds: whatever changes the copy later, in whatever program, ends it. Why is sealed under the person's key.

ALTER TABLE deliveries ADD COLUMN closed BIGINT;
CREATE TABLE closures (
    delivery UUID NOT NULL REFERENCES deliveries (id),
    version BIGINT NOT NULL,
    at BIGINT NOT NULL,
    -- Who took care of it.
    name TEXT NOT NULL,
    words TEXT,
    PRIMARY KEY (delivery, version)
);

-- Programs before this step would raise alerts about closed copies again and again, so none is closed while one of them may serve: until
-- `onward migrate --finish`. In a store that nobody has used yet, none may.
UPDATE onward_programs SET oldest = 31 WHERE NOT EXISTS (SELECT 1 FROM audit_log);
