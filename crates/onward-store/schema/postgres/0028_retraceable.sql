-- The copies because of which PDS may be asked again about a person. A step of its own: one that locked transfers and then copies would be
-- ended as a deadlock beside nodes that serve.
CREATE INDEX deliveries_retraceable ON deliveries (changed)
    WHERE kind = 'registered-practice' AND notice_of IS NULL AND ended IS NULL
        AND (state = 'failed' AND code IN ('EPL-150', 'EPL-151', 'EPL-152', 'EPL-153', 'EPL-154')
            OR state = 'rejected' AND code IN ('30002', '30003'));
