-- An alert may be about a subscription that was given up, and then about no transfer.

CREATE TABLE alerts_new (
    id TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    -- The hold, the copy, the transfer or the subscription.
    subject TEXT NOT NULL,
    step INTEGER NOT NULL,
    transfer TEXT REFERENCES transfers (id),
    sender TEXT NOT NULL,
    delivery TEXT REFERENCES deliveries (id),
    recipient TEXT,
    hold TEXT REFERENCES holds (id),
    since INTEGER NOT NULL,
    raised INTEGER NOT NULL,
    cleared INTEGER,
    -- Its owner may delete it while the alert stays.
    subscription TEXT
) STRICT, WITHOUT ROWID;
INSERT INTO alerts_new (id, kind, subject, step, transfer, sender, delivery, recipient, hold, since, raised, cleared)
SELECT id, kind, subject, step, transfer, sender, delivery, recipient, hold, since, raised, cleared FROM alerts;
CREATE TABLE notifications_new (
    id TEXT NOT NULL PRIMARY KEY,
    alert TEXT NOT NULL REFERENCES alerts_new (id),
    contacted TEXT NOT NULL,
    channel TEXT NOT NULL,
    address TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    next_attempt INTEGER
) STRICT, WITHOUT ROWID;
INSERT INTO notifications_new (id, alert, contacted, channel, address, state, attempts, next_attempt)
SELECT id, alert, contacted, channel, address, state, attempts, next_attempt FROM notifications;
DROP TABLE notifications;
DROP TABLE alerts;
ALTER TABLE alerts_new RENAME TO alerts;
ALTER TABLE notifications_new RENAME TO notifications;
CREATE UNIQUE INDEX alerts_open ON alerts (kind, subject, step) WHERE cleared IS NULL;
CREATE INDEX notifications_due ON notifications (next_attempt) WHERE state = 'queued';
CREATE INDEX notifications_alert ON notifications (alert);
