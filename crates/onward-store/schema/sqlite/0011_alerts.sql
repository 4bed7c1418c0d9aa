-- What a person must look at, and who is told. One open alert for each kind, subject and step.

CREATE TABLE alerts (
    id TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    -- The hold, the copy or the transfer.
    subject TEXT NOT NULL,
    step INTEGER NOT NULL,
    transfer TEXT NOT NULL REFERENCES transfers (id),
    sender TEXT NOT NULL,
    delivery TEXT REFERENCES deliveries (id),
    recipient TEXT,
    hold TEXT REFERENCES holds (id),
    since INTEGER NOT NULL,
    raised INTEGER NOT NULL,
    cleared INTEGER
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX alerts_open ON alerts (kind, subject, step) WHERE cleared IS NULL;

-- Addresses of staff and systems; never of a patient.
CREATE TABLE notifications (
    id TEXT NOT NULL PRIMARY KEY,
    alert TEXT NOT NULL REFERENCES alerts (id),
    contacted TEXT NOT NULL,
    channel TEXT NOT NULL,
    address TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    next_attempt INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX notifications_due ON notifications (next_attempt) WHERE state = 'queued';
CREATE INDEX notifications_alert ON notifications (alert);

CREATE INDEX deliveries_failed ON deliveries (changed) WHERE state = 'failed';
-- Homes' copies that nobody has opened.
CREATE INDEX deliveries_unread ON deliveries (transfer) WHERE kind = 'care-home' AND opened IS NULL AND ended IS NULL;
CREATE INDEX deliveries_unreceived ON deliveries (changed) WHERE state = 'sent';
CREATE INDEX deliveries_unacknowledged ON deliveries (changed) WHERE state IN ('awaiting-collection', 'received');
