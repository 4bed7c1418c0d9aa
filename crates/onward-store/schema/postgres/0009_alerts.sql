-- What a person must look at, and who is told. One open alert for each kind, subject and step.

CREATE TABLE alerts (
    id UUID NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    -- The hold, the copy or the transfer.
    subject UUID NOT NULL,
    step BIGINT NOT NULL,
    transfer UUID NOT NULL REFERENCES transfers (id),
    sender TEXT NOT NULL,
    delivery UUID REFERENCES deliveries (id),
    recipient TEXT,
    hold UUID REFERENCES holds (id),
    since BIGINT NOT NULL,
    raised BIGINT NOT NULL,
    cleared BIGINT
);
CREATE UNIQUE INDEX alerts_open ON alerts (kind, subject, step) WHERE cleared IS NULL;

-- Addresses of staff and systems; never of a patient.
CREATE TABLE notifications (
    id UUID NOT NULL PRIMARY KEY,
    alert UUID NOT NULL REFERENCES alerts (id),
    contacted TEXT NOT NULL,
    channel TEXT NOT NULL,
    address TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    next_attempt BIGINT
);
CREATE INDEX notifications_due ON notifications (next_attempt) WHERE state = 'queued';
CREATE INDEX notifications_alert ON notifications (alert);

CREATE INDEX deliveries_failed ON deliveries (changed) WHERE state = 'failed';
-- Homes' copies that nobody has opened.
CREATE INDEX deliveries_unread ON deliveries (transfer) WHERE kind = 'care-home' AND opened IS NULL AND ended IS NULL;
CREATE INDEX deliveries_unreceived ON deliveries (changed) WHERE state = 'sent';
CREATE INDEX deliveries_unacknowledged ON deliveries (changed) WHERE state IN ('awaiting-collection', 'received');
