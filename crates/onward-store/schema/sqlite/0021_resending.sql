-- What people have sent again: each replay of a copy, and many copies by one decision. Why is sealed: of a replay under the person's
-- key, of a decision about many under the gateway's.

CREATE TABLE replays (
    id TEXT NOT NULL PRIMARY KEY,
    delivery TEXT NOT NULL REFERENCES deliveries (id),
    at INTEGER NOT NULL,
    -- Who decided it.
    name TEXT NOT NULL,
    words TEXT,
    attempts_before INTEGER NOT NULL,
    bulk TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX replays_delivery ON replays (delivery, at, id);

CREATE TABLE bulks (
    id TEXT NOT NULL PRIMARY KEY,
    how TEXT NOT NULL,
    filter TEXT NOT NULL,
    words TEXT NOT NULL,
    name TEXT NOT NULL,
    agent TEXT NOT NULL,
    at INTEGER NOT NULL,
    state TEXT NOT NULL,
    ended INTEGER
) STRICT, WITHOUT ROWID;
CREATE TABLE bulk_copies (
    bulk TEXT NOT NULL REFERENCES bulks (id) ON DELETE CASCADE,
    delivery TEXT NOT NULL,
    place INTEGER NOT NULL,
    -- NULL: not looked at yet.
    outcome TEXT,
    PRIMARY KEY (bulk, delivery)
) STRICT, WITHOUT ROWID;

-- When somebody last looked at their list of arrivals, and when the looks before that one ended.
ALTER TABLE users ADD COLUMN looked INTEGER;
ALTER TABLE users ADD COLUMN looked_before INTEGER;
