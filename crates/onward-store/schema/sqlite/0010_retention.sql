-- What is removed when its time is over: the plans.

CREATE TABLE retention_plans (
    id TEXT NOT NULL PRIMARY KEY,
    made INTEGER NOT NULL,
    -- JSON.
    due TEXT NOT NULL,
    -- Of its run: a signed note.
    certificate TEXT
) STRICT, WITHOUT ROWID;
