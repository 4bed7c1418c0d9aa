-- The erasure of people, and the legal holds that stop it. People are named by the keyed hash of their number.

CREATE TABLE erasures (
    id TEXT NOT NULL PRIMARY KEY,
    patient TEXT NOT NULL,
    ground TEXT NOT NULL,
    reason TEXT NOT NULL,
    requested_by TEXT NOT NULL,
    requested INTEGER NOT NULL,
    confirmed_by TEXT,
    confirmed INTEGER
) STRICT;

CREATE TABLE legal_holds (
    id TEXT NOT NULL PRIMARY KEY,
    patient TEXT NOT NULL,
    reason TEXT NOT NULL,
    placed_by TEXT NOT NULL,
    placed INTEGER NOT NULL,
    lifted_by TEXT,
    lifted INTEGER
) STRICT;
CREATE INDEX legal_holds_patient ON legal_holds (patient) WHERE lifted IS NULL;
