-- What is removed when its time is over: the plans.

CREATE TABLE retention_plans (
    id UUID NOT NULL PRIMARY KEY,
    made BIGINT NOT NULL,
    -- JSON.
    due TEXT NOT NULL,
    -- Of its run: a signed note.
    certificate TEXT
);
