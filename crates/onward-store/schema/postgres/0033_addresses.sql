-- The directory's version, beside what every commit takes its places from: whoever queues a copy learns there whether the directory has changed
-- since its address was read. It counts from the first version that a program of this step keeps.
ALTER TABLE log_head ADD COLUMN directory BIGINT NOT NULL DEFAULT 0;

-- Where a copy was sent before it was given another address: its attempts up to this one, as far as no earlier row has them.
CREATE TABLE former_addresses (
    delivery UUID NOT NULL REFERENCES deliveries (id),
    attempt BIGINT NOT NULL,
    endpoint TEXT NOT NULL,
    PRIMARY KEY (delivery, attempt)
);
