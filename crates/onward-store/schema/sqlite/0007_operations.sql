-- What has not left, and what two people decide together.

CREATE INDEX deliveries_stuck ON deliveries (created, id) WHERE state IN ('queued', 'failed');

CREATE TABLE approvals (
    id TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    organisation TEXT NOT NULL,
    asked_by TEXT NOT NULL,
    asked_name TEXT NOT NULL,
    reason TEXT NOT NULL,
    asked INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    verdict_by TEXT,
    verdict_name TEXT,
    verdict_at INTEGER,
    granted INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX approvals_expires ON approvals (expires);
