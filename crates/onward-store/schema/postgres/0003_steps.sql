-- What people at a recipient do with a copy, and what their list shows of it.

-- About the person: it goes when the copy's content goes. NULL in rows of the previous binary.
ALTER TABLE rendition_bodies ADD COLUMN card BYTEA;

-- Rows are only ever added. A copy's steps are counted; whoever adds one holds the copy's row.
CREATE TABLE recipient_steps (
    delivery UUID NOT NULL REFERENCES deliveries (id),
    step BIGINT NOT NULL,
    kind TEXT NOT NULL,
    at BIGINT NOT NULL,
    account TEXT NOT NULL,
    name TEXT NOT NULL,
    item TEXT,
    outcome TEXT,
    text TEXT,
    PRIMARY KEY (delivery, step)
);
