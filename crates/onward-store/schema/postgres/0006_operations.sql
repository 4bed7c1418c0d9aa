-- What has not left, and what two people decide together.

CREATE INDEX deliveries_stuck ON deliveries (created, id) WHERE state IN ('queued', 'failed');

CREATE TABLE approvals (
    id UUID NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    organisation TEXT NOT NULL,
    asked_by TEXT NOT NULL,
    asked_name TEXT NOT NULL,
    reason TEXT NOT NULL,
    asked BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    verdict_by TEXT,
    verdict_name TEXT,
    verdict_at BIGINT,
    granted BOOLEAN
);
CREATE INDEX approvals_expires ON approvals (expires);
