-- What the alerts look for every few seconds, so that each look reads what may need a person, however much is history.

-- Messages about somebody who comes more than a week later: their copies may be old and still wait for the arrival.
CREATE INDEX transfers_far_ahead ON transfers (expected) WHERE expected > received + 604800000000;
-- The index of unopened copies by transfer served that look alone.
DROP INDEX deliveries_unread;
-- Homes' copies that nobody has opened, nor answered by a system of the home's.
CREATE INDEX deliveries_unopened ON deliveries (created)
    WHERE kind = 'care-home' AND opened IS NULL AND ended IS NULL
        AND state IN ('queued', 'awaiting-collection', 'sent', 'received', 'failed', 'rejected');
-- Notices that nobody has opened, in an inbox or not sent yet.
CREATE INDEX deliveries_notices ON deliveries (created)
    WHERE notice_of IS NOT NULL AND opened IS NULL AND ended IS NULL AND state IN ('queued', 'awaiting-collection');
