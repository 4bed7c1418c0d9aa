-- What people at a recipient do with a copy, and what their list shows of it.

-- About the person: it goes when the copy's content goes. NULL in rows of the previous binary.
ALTER TABLE rendition_bodies ADD COLUMN card BLOB;

-- Rows are only ever added.
CREATE TABLE recipient_steps (
    step INTEGER PRIMARY KEY,
    delivery TEXT NOT NULL REFERENCES deliveries (id),
    kind TEXT NOT NULL,
    at INTEGER NOT NULL,
    user TEXT NOT NULL,
    name TEXT NOT NULL,
    item TEXT,
    outcome TEXT,
    text TEXT
) STRICT;
CREATE INDEX recipient_steps_delivery ON recipient_steps (delivery, step);
CREATE TRIGGER recipient_steps_stay BEFORE UPDATE ON recipient_steps BEGIN
    SELECT RAISE(ABORT, 'steps are only ever added');
END;
