-- What witnesses have said about our checkpoints, and how far the log was forwarded.

CREATE TABLE cosignatures (
    size INTEGER NOT NULL REFERENCES checkpoints (size),
    witness TEXT NOT NULL,
    line TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (size, witness)
) STRICT, WITHOUT ROWID;
CREATE INDEX cosignatures_witness ON cosignatures (witness, size);

-- One process at a time forwards to a sink; the next entry is that of the position.
CREATE TABLE forwarding (
    sink TEXT NOT NULL PRIMARY KEY,
    position INTEGER NOT NULL,
    holder INTEGER NOT NULL,
    held_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
