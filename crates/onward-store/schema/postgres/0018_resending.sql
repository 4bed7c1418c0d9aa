-- What people have sent again: each replay of a copy, and many copies by one decision. Why is sealed: of a replay under the person's
-- key, of a decision about many under the gateway's.

CREATE TABLE replays (
    id UUID NOT NULL PRIMARY KEY,
    delivery UUID NOT NULL REFERENCES deliveries (id),
    at BIGINT NOT NULL,
    -- Who decided it.
    name TEXT NOT NULL,
    words TEXT,
    attempts_before BIGINT NOT NULL,
    bulk UUID
);
CREATE INDEX replays_delivery ON replays (delivery, at, id);

CREATE TABLE bulks (
    id UUID NOT NULL PRIMARY KEY,
    how TEXT NOT NULL,
    filter TEXT NOT NULL,
    words TEXT NOT NULL,
    name TEXT NOT NULL,
    agent TEXT NOT NULL,
    at BIGINT NOT NULL,
    state TEXT NOT NULL,
    ended BIGINT
);
CREATE TABLE bulk_copies (
    bulk UUID NOT NULL REFERENCES bulks (id) ON DELETE CASCADE,
    delivery UUID NOT NULL,
    place BIGINT NOT NULL,
    -- NULL: not looked at yet.
    outcome TEXT,
    PRIMARY KEY (bulk, delivery)
);

-- When somebody last looked at their list of arrivals, and when the looks before that one ended.
ALTER TABLE users ADD COLUMN looked BIGINT;
ALTER TABLE users ADD COLUMN looked_before BIGINT;
