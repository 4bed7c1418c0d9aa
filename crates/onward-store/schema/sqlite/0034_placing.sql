-- What may be placed into inboxes, by when it is due: else each look walks all that waits for others. A damaged endpoint keeps no row from being
-- written.
CREATE INDEX deliveries_placing ON deliveries (next_attempt, sequence)
    WHERE state = 'queued' AND CASE WHEN json_valid(endpoint) THEN json_extract(endpoint, '$.transport') END = 'inbox';
