-- Versions of documents, copies that are taken back, notices of that, replays and pauses.

ALTER TABLE transfers ADD COLUMN version BIGINT NOT NULL DEFAULT 1;
-- The date that the document bears.
ALTER TABLE transfers ADD COLUMN dated BIGINT;
ALTER TABLE transfers ADD COLUMN replaces UUID REFERENCES transfers (id);
ALTER TABLE transfers ADD COLUMN replaced_by UUID REFERENCES transfers (id);
-- The document that it replaces, while that has not come.
ALTER TABLE transfers ADD COLUMN awaits TEXT;
-- How the whole transfer ended before its time, and why.
ALTER TABLE transfers ADD COLUMN ended TEXT;
ALTER TABLE transfers ADD COLUMN ended_reason TEXT;
CREATE INDEX transfers_set ON transfers (sender, document_set_id) WHERE document_set_id IS NOT NULL;
CREATE INDEX transfers_awaits ON transfers (sender, awaits) WHERE awaits IS NOT NULL;
CREATE INDEX transfers_replaces ON transfers (replaces) WHERE replaces IS NOT NULL;

ALTER TABLE deliveries ADD COLUMN ended TEXT;
-- The same recipient's copy of the version that took its place.
ALTER TABLE deliveries ADD COLUMN ended_by UUID;
-- The copy of whose end this one tells, and why that ended.
ALTER TABLE deliveries ADD COLUMN notice_of UUID;
ALTER TABLE deliveries ADD COLUMN notice_why TEXT;
-- Why a person had it sent again.
ALTER TABLE deliveries ADD COLUMN replay TEXT;
-- Copies that somebody is sending, also when their state has moved on meanwhile: they hold back their lane.
CREATE INDEX deliveries_leased ON deliveries (lane, recipient, kind, sequence) WHERE lease_until IS NOT NULL;

-- Nothing is sent to a paused recipient; '*' is everybody.
CREATE TABLE pauses (
    recipient TEXT NOT NULL PRIMARY KEY,
    reason TEXT NOT NULL,
    by TEXT NOT NULL,
    since BIGINT NOT NULL
);
