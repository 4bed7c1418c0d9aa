-- When PDS was asked again about the person because their own practice did not get its copy, or does not have them: once for a transfer.
ALTER TABLE transfers ADD COLUMN retraced INTEGER;
-- The copies because of which it may be asked.
CREATE INDEX deliveries_retraceable ON deliveries (changed)
    WHERE kind = 'registered-practice' AND notice_of IS NULL AND ended IS NULL
        AND (state = 'failed' AND code IN ('EPL-150', 'EPL-151', 'EPL-152', 'EPL-153', 'EPL-154')
            OR state = 'rejected' AND code IN ('30002', '30003'));
