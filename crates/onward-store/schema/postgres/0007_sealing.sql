-- Data at rest is sealed; the program seals what is there in the transaction of this step. From now on: `patient` and `lane` hold
-- a keyed hash of the NHS number, and bodies, renditions, cards, responses, replies, disclosures, the texts of holds and steps,
-- AuditEvents and the secrets of sign-in codes are sealed (texts as base64). The previous binary refuses the database.

CREATE TABLE data_keys (
    id UUID NOT NULL PRIMARY KEY,
    -- index, gateway, person, transfer
    kind TEXT NOT NULL,
    -- Keyed hash of the person's number. More than one key may be a person's.
    patient TEXT,
    -- Whose person was not known when it was made.
    transfer TEXT,
    -- The key-encryption key by name, and what it wrapped; NULL when the key is destroyed.
    kek TEXT NOT NULL,
    wrapped BYTEA,
    -- The person's number under this key.
    number BYTEA,
    created BIGINT NOT NULL,
    destroyed BIGINT
);
CREATE UNIQUE INDEX data_keys_sole ON data_keys (kind) WHERE kind IN ('index', 'gateway');
CREATE INDEX data_keys_patient ON data_keys (patient, created, id) WHERE patient IS NOT NULL;
CREATE INDEX data_keys_transfer ON data_keys (transfer) WHERE transfer IS NOT NULL;
CREATE INDEX data_keys_kek ON data_keys (kek) WHERE wrapped IS NOT NULL;

-- The clear header of an entry, which the leaf hashes. NULL in entries from before this step: their leaf is the hash of the event
-- itself.
ALTER TABLE audit_log ADD COLUMN entry BYTEA;

-- When the person was erased: nothing that could tell about them is left.
ALTER TABLE transfers ADD COLUMN erased BIGINT;
ALTER TABLE deliveries ADD COLUMN erased BIGINT;

-- The erasure of people, and the legal holds that stop it. People are named by the keyed hash of their number.
CREATE TABLE erasures (
    id UUID NOT NULL PRIMARY KEY,
    patient TEXT NOT NULL,
    ground TEXT NOT NULL,
    reason TEXT NOT NULL,
    requested_by TEXT NOT NULL,
    requested BIGINT NOT NULL,
    confirmed_by TEXT,
    confirmed BIGINT
);

CREATE TABLE legal_holds (
    id UUID NOT NULL PRIMARY KEY,
    patient TEXT NOT NULL,
    reason TEXT NOT NULL,
    placed_by TEXT NOT NULL,
    placed BIGINT NOT NULL,
    lifted_by TEXT,
    lifted BIGINT
);
CREATE INDEX legal_holds_patient ON legal_holds (patient) WHERE lifted IS NULL;
