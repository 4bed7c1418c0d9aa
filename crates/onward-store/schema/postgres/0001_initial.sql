-- The first schema. The columns are those of the embedded store: moments are microseconds since 1970 (UTC), months are
-- year * 100 + month, words and JSON are those of onward-core. Identifiers of transfers and copies are native. A released file
-- never changes: the next change is the next number, and keeps what the previous binary reads and writes working.
--
-- Portable on purpose: no sequences, triggers, extensions or types beyond those that engines compatible with PostgreSQL have.
-- PARTITION BY alone is PostgreSQL's own; without it the tables are the same, and retention deletes where it would drop.

-- What is counted, one row. Every transaction that writes the audit log takes its places here, as its last lock: positions have
-- no gaps, and the order of positions and of copies is the order of commits.
CREATE TABLE log_head (
    id BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    audit_next BIGINT NOT NULL,
    delivery_next BIGINT NOT NULL,
    -- So far; counted here because counting rows takes longer with every month.
    accepted BIGINT NOT NULL,
    refused BIGINT NOT NULL,
    held BIGINT NOT NULL
);
INSERT INTO log_head (id, audit_next, delivery_next, accepted, refused, held) VALUES (1, 0, 1, 0, 0, 0);

-- What of a month has its own partition.
CREATE TABLE months (
    month BIGINT NOT NULL PRIMARY KEY
);

CREATE TABLE transfers (
    id UUID NOT NULL PRIMARY KEY,
    sender TEXT NOT NULL,
    client_id TEXT NOT NULL,
    message_id TEXT NOT NULL,
    header_id TEXT,
    document_id TEXT,
    document_set_id TEXT,
    event TEXT NOT NULL,
    received BIGINT NOT NULL,
    expected BIGINT,
    patient TEXT,
    care_home TEXT,
    reply TEXT NOT NULL,
    -- Why a person ended it without sending anything.
    not_sent TEXT,
    changed BIGINT NOT NULL,
    body_sha256 BYTEA NOT NULL,
    -- The first answer, for every repeat.
    response BYTEA NOT NULL
);
-- The keys against repeats (20007, 20008) live as long as the record.
CREATE UNIQUE INDEX transfers_message ON transfers (sender, message_id);
CREATE UNIQUE INDEX transfers_header ON transfers (sender, header_id) WHERE header_id IS NOT NULL;
CREATE UNIQUE INDEX transfers_document ON transfers (sender, document_id) WHERE document_id IS NOT NULL;
-- The lists of a sender's Tasks.
CREATE INDEX transfers_sender ON transfers (sender, received, id);
CREATE INDEX transfers_patient ON transfers (patient, received, id) WHERE patient IS NOT NULL;

-- The senders' bytes, unchanged, one partition a month: retention drops whole months.
CREATE TABLE message_bodies (
    transfer UUID NOT NULL,
    month BIGINT NOT NULL,
    media_type TEXT NOT NULL,
    body BYTEA NOT NULL,
    PRIMARY KEY (transfer, month)
) PARTITION BY LIST (month);

CREATE TABLE holds (
    id UUID NOT NULL PRIMARY KEY,
    transfer UUID NOT NULL REFERENCES transfers (id),
    reason TEXT NOT NULL,
    detail TEXT NOT NULL,
    owner TEXT NOT NULL,
    due BIGINT NOT NULL,
    opened BIGINT NOT NULL,
    -- What people have decided so far.
    decided TEXT NOT NULL DEFAULT '{}',
    closed BIGINT
);
CREATE INDEX holds_open ON holds (due, id) WHERE closed IS NULL;
CREATE INDEX holds_transfer ON holds (transfer);

CREATE TABLE deliveries (
    id UUID NOT NULL PRIMARY KEY,
    -- Commit order, of log_head: what is older within a lane.
    sequence BIGINT NOT NULL,
    transfer UUID NOT NULL REFERENCES transfers (id),
    -- Of its rendition's partition.
    month BIGINT NOT NULL,
    -- Patient, else transfer: with recipient and kind, the lane whose order is kept.
    lane TEXT NOT NULL,
    -- Of the transfer, repeated for lists.
    sender TEXT NOT NULL,
    patient TEXT,
    kind TEXT NOT NULL,
    recipient TEXT NOT NULL,
    recipient_name TEXT NOT NULL,
    -- Of the endpoint, repeated for figures and collection.
    transport TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    state TEXT NOT NULL,
    version BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    next_attempt BIGINT,
    lease_token BIGINT,
    -- By the database's clock.
    lease_until BIGINT,
    reason TEXT,
    code TEXT,
    reference TEXT,
    correlation_id TEXT,
    workflow TEXT,
    body_bytes BIGINT NOT NULL,
    acknowledgement_awaited BOOLEAN NOT NULL,
    basis TEXT NOT NULL,
    created BIGINT NOT NULL,
    changed BIGINT NOT NULL,
    opened BIGINT,
    disclosure TEXT NOT NULL
);
CREATE INDEX deliveries_due ON deliveries (next_attempt, sequence) WHERE state = 'queued';
CREATE INDEX deliveries_lane ON deliveries (lane, recipient, kind, sequence) WHERE state = 'queued';
CREATE INDEX deliveries_created ON deliveries (created, id);
CREATE INDEX deliveries_figures ON deliveries (transport, state, created);
CREATE INDEX deliveries_recipient ON deliveries (recipient, created, id);
CREATE INDEX deliveries_sender ON deliveries (sender, created, id);
CREATE INDEX deliveries_transfer ON deliveries (transfer, created, id);
CREATE INDEX deliveries_patient ON deliveries (patient, created, id) WHERE patient IS NOT NULL;
CREATE INDEX deliveries_correlation ON deliveries (correlation_id) WHERE correlation_id IS NOT NULL;
CREATE INDEX deliveries_reference ON deliveries (reference) WHERE reference IS NOT NULL;

-- One row for every version of a delivery.
CREATE TABLE delivery_history (
    delivery UUID NOT NULL REFERENCES deliveries (id),
    version BIGINT NOT NULL,
    state TEXT NOT NULL,
    at BIGINT NOT NULL,
    code TEXT,
    reason TEXT,
    PRIMARY KEY (delivery, version)
);

-- Written before the send. A row without an end is an attempt of which nobody knows what became.
CREATE TABLE attempts (
    delivery UUID NOT NULL REFERENCES deliveries (id),
    attempt BIGINT NOT NULL,
    started BIGINT NOT NULL,
    finished BIGINT,
    outcome TEXT,
    reason TEXT,
    reference TEXT,
    PRIMARY KEY (delivery, attempt)
);

-- What travels, one partition a month.
CREATE TABLE rendition_bodies (
    delivery UUID NOT NULL,
    month BIGINT NOT NULL,
    media_type TEXT NOT NULL,
    body BYTEA NOT NULL,
    html BYTEA,
    PRIMARY KEY (delivery, month)
) PARTITION BY LIST (month);

CREATE TABLE clients (
    id TEXT NOT NULL PRIMARY KEY,
    ods TEXT NOT NULL,
    role TEXT NOT NULL,
    jwks TEXT NOT NULL,
    certificate_sha256 TEXT,
    mesh_mailbox TEXT,
    nhs_number_policy TEXT NOT NULL,
    disabled BOOLEAN NOT NULL
);

CREATE TABLE tokens (
    hash BYTEA NOT NULL PRIMARY KEY,
    client_id TEXT NOT NULL REFERENCES clients (id),
    expires BIGINT NOT NULL,
    certificate_sha256 TEXT
);
CREATE INDEX tokens_expires ON tokens (expires);
CREATE INDEX tokens_client ON tokens (client_id);

-- A jti is unique per issuer, and the issuer of an assertion is the client.
CREATE TABLE assertions (
    client_id TEXT NOT NULL,
    jti TEXT NOT NULL,
    expires BIGINT NOT NULL,
    PRIMARY KEY (client_id, jti)
);
CREATE INDEX assertions_expires ON assertions (expires);

-- The number of the newest version, one row: imports take turns here.
CREATE TABLE directory_head (
    id BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    version BIGINT NOT NULL
);
INSERT INTO directory_head (id, version) VALUES (1, 0);

CREATE TABLE directory_versions (
    version BIGINT NOT NULL PRIMARY KEY,
    source TEXT NOT NULL,
    at BIGINT NOT NULL,
    entries BIGINT NOT NULL
);

-- Every import's entries stay; the current one of a code is that of the highest version.
CREATE TABLE directory_entries (
    ods TEXT NOT NULL,
    version BIGINT NOT NULL REFERENCES directory_versions (version),
    kind TEXT NOT NULL,
    entry TEXT NOT NULL,
    PRIMARY KEY (ods, version)
);

-- Other codes of a home.
CREATE TABLE directory_codes (
    code TEXT NOT NULL,
    ods TEXT NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (code, ods, version),
    FOREIGN KEY (ods, version) REFERENCES directory_entries (ods, version)
);

-- The log: position counts from 0 without gaps. No partitions: every proof needs every leaf.
CREATE TABLE audit_log (
    position BIGINT NOT NULL PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    recorded BIGINT NOT NULL,
    word TEXT NOT NULL,
    transfer TEXT,
    delivery TEXT,
    agent TEXT,
    organisation TEXT,
    patient TEXT,
    leaf BYTEA NOT NULL,
    event BYTEA NOT NULL
);
CREATE INDEX audit_log_patient ON audit_log (patient, position) WHERE patient IS NOT NULL;
CREATE INDEX audit_log_transfer ON audit_log (transfer, position) WHERE transfer IS NOT NULL;
CREATE INDEX audit_log_delivery ON audit_log (delivery, position) WHERE delivery IS NOT NULL;
CREATE INDEX audit_log_recorded ON audit_log (recorded, position);

-- Whose entry it is: the agent's organisation, the sender of the transfer, the recipient of the copy.
CREATE TABLE audit_parties (
    organisation TEXT NOT NULL,
    recorded BIGINT NOT NULL,
    position BIGINT NOT NULL,
    PRIMARY KEY (organisation, recorded, position)
);

-- The size of the newest checkpoint, one row: of several who sign, one wins.
CREATE TABLE checkpoint_head (
    id BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    size BIGINT NOT NULL
);
INSERT INTO checkpoint_head (id, size) VALUES (1, -1);

CREATE TABLE checkpoints (
    size BIGINT NOT NULL PRIMARY KEY,
    note TEXT NOT NULL
);

-- Written by every readiness check, so that the check proves a commit.
CREATE TABLE readiness (
    id BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    checked BIGINT NOT NULL
);
