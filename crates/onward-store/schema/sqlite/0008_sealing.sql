-- Data at rest is sealed; the program seals what is there in the transaction of this step. From now on: `patient` and
-- `lane` hold a keyed hash of the NHS number, and bodies, renditions, responses, replies, disclosures, the texts of holds
-- and AuditEvents are sealed (texts as base64), and so are cards,
-- what people wrote in steps, and the secrets of sign-in codes. The previous binary refuses the file.

CREATE TABLE data_keys (
    id TEXT NOT NULL PRIMARY KEY,
    -- index, gateway, person, transfer
    kind TEXT NOT NULL,
    -- Keyed hash of the person's number. More than one key may be a person's.
    patient TEXT,
    -- Whose person was not known when it was made.
    transfer TEXT,
    -- The key-encryption key by name, and what it wrapped; overwritten when the key is destroyed.
    kek TEXT NOT NULL,
    wrapped BLOB,
    -- The person's number under this key.
    number BLOB,
    created INTEGER NOT NULL,
    destroyed INTEGER
) STRICT;
CREATE UNIQUE INDEX data_keys_sole ON data_keys (kind) WHERE kind IN ('index', 'gateway');
CREATE INDEX data_keys_patient ON data_keys (patient, created, id) WHERE patient IS NOT NULL;
CREATE INDEX data_keys_transfer ON data_keys (transfer) WHERE transfer IS NOT NULL;
CREATE INDEX data_keys_kek ON data_keys (kek) WHERE wrapped IS NOT NULL;

-- The clear header of an entry, which the leaf hashes. NULL in entries from before this step: their leaf is the hash of the
-- event itself.
ALTER TABLE audit_log ADD COLUMN entry BLOB;

-- The program seals texts once, and puts the guard back.
DROP TRIGGER recipient_steps_stay;

-- When the person was erased: nothing that could tell about them is left.
ALTER TABLE transfers ADD COLUMN erased INTEGER;
ALTER TABLE deliveries ADD COLUMN erased INTEGER;
