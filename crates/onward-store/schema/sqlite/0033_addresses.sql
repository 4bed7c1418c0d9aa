-- Where a copy was sent before it was given another address: its attempts up to this one, as far as no earlier row has them.
CREATE TABLE former_addresses (
    delivery TEXT NOT NULL REFERENCES deliveries (id),
    attempt INTEGER NOT NULL,
    endpoint TEXT NOT NULL,
    PRIMARY KEY (delivery, attempt)
) STRICT, WITHOUT ROWID;
