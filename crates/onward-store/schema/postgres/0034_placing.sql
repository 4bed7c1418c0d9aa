-- What may be placed into inboxes, by when it is due: else each look walks all that waits for others.
CREATE INDEX deliveries_placing ON deliveries (next_attempt, sequence) WHERE state = 'queued' AND transport = 'inbox';
