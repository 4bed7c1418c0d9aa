-- What witnesses have said about our checkpoints, and how far the log was forwarded.

CREATE TABLE cosignatures (
    size BIGINT NOT NULL REFERENCES checkpoints (size),
    witness TEXT NOT NULL,
    line TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (size, witness)
);
CREATE INDEX cosignatures_witness ON cosignatures (witness, size);

-- One process at a time forwards to a sink; the next entry is that of the position.
CREATE TABLE forwarding (
    sink TEXT NOT NULL PRIMARY KEY,
    position BIGINT NOT NULL,
    holder BIGINT NOT NULL,
    held_until BIGINT NOT NULL
);
