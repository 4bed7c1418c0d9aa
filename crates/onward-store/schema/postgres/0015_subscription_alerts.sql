-- An alert may be about a subscription that was given up, and then about no transfer. Its owner may delete it while the alert stays.

ALTER TABLE alerts ALTER COLUMN transfer DROP NOT NULL;
ALTER TABLE alerts ADD COLUMN subscription TEXT;
