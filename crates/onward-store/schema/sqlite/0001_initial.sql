-- The first schema. Identifiers are UUIDs as text, moments are microseconds since 1970 (UTC), months are
-- year * 100 + month, words and JSON are those of onward-core. A released file never changes: the next
-- change is the next number, and keeps what the previous binary reads and writes working.

CREATE TABLE transfers (
    id TEXT NOT NULL PRIMARY KEY,
    sender TEXT NOT NULL,
    client_id TEXT NOT NULL,
    message_id TEXT NOT NULL,
    header_id TEXT,
    document_id TEXT,
    document_set_id TEXT,
    event TEXT NOT NULL,
    received INTEGER NOT NULL,
    expected INTEGER,
    patient TEXT,
    care_home TEXT,
    reply TEXT NOT NULL,
    -- Why a person ended it without sending anything.
    not_sent TEXT,
    changed INTEGER NOT NULL,
    body_sha256 BLOB NOT NULL,
    -- The first answer, for every repeat. Last, so that other columns are read without it.
    response BLOB NOT NULL
) STRICT;
-- The keys against repeats (20007, 20008) live as long as the record.
CREATE UNIQUE INDEX transfers_message ON transfers (sender, message_id);
CREATE UNIQUE INDEX transfers_header ON transfers (sender, header_id) WHERE header_id IS NOT NULL;
CREATE UNIQUE INDEX transfers_document ON transfers (sender, document_id) WHERE document_id IS NOT NULL;
-- The lists of a sender's Tasks.
CREATE INDEX transfers_sender ON transfers (sender, received, id);
CREATE INDEX transfers_patient ON transfers (patient, received, id) WHERE patient IS NOT NULL;

-- The senders' bytes, unchanged. Apart from the transfer, so that retention can take them by month.
CREATE TABLE message_bodies (
    transfer TEXT NOT NULL PRIMARY KEY REFERENCES transfers (id),
    month INTEGER NOT NULL,
    media_type TEXT NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE INDEX message_bodies_month ON message_bodies (month);

CREATE TABLE holds (
    id TEXT NOT NULL PRIMARY KEY,
    transfer TEXT NOT NULL REFERENCES transfers (id),
    reason TEXT NOT NULL,
    detail TEXT NOT NULL,
    owner TEXT NOT NULL,
    due INTEGER NOT NULL,
    opened INTEGER NOT NULL,
    -- What people have decided so far.
    decided TEXT NOT NULL DEFAULT '{}',
    closed INTEGER
) STRICT;
CREATE INDEX holds_open ON holds (due, id) WHERE closed IS NULL;
CREATE INDEX holds_transfer ON holds (transfer);

CREATE TABLE deliveries (
    -- Commit order: what is older within a lane.
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    transfer TEXT NOT NULL REFERENCES transfers (id),
    -- Patient, else transfer: with recipient and kind, the lane whose order is kept.
    lane TEXT NOT NULL,
    -- Of the transfer, repeated for lists.
    sender TEXT NOT NULL,
    patient TEXT,
    kind TEXT NOT NULL,
    recipient TEXT NOT NULL,
    recipient_name TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    state TEXT NOT NULL,
    version INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    next_attempt INTEGER,
    lease_token INTEGER,
    lease_until INTEGER,
    reason TEXT,
    code TEXT,
    reference TEXT,
    correlation_id TEXT,
    workflow TEXT,
    body_bytes INTEGER NOT NULL,
    acknowledgement_awaited INTEGER NOT NULL,
    basis TEXT NOT NULL,
    created INTEGER NOT NULL,
    changed INTEGER NOT NULL,
    opened INTEGER,
    disclosure TEXT NOT NULL
) STRICT;
CREATE INDEX deliveries_due ON deliveries (next_attempt, sequence) WHERE state = 'queued';
CREATE INDEX deliveries_lane ON deliveries (lane, recipient, kind, sequence) WHERE state = 'queued';
CREATE INDEX deliveries_created ON deliveries (created, id);
-- Counted for monitoring, without touching the rows. The state comes second, so that no claim is tempted by it; a damaged
-- endpoint must not keep its row from being written.
CREATE INDEX deliveries_figures ON deliveries
    (CASE WHEN json_valid(endpoint) THEN json_extract(endpoint, '$.transport') END, state, created);
CREATE INDEX deliveries_recipient ON deliveries (recipient, created, id);
CREATE INDEX deliveries_sender ON deliveries (sender, created, id);
CREATE INDEX deliveries_transfer ON deliveries (transfer, created, id);
CREATE INDEX deliveries_patient ON deliveries (patient, created, id) WHERE patient IS NOT NULL;
CREATE INDEX deliveries_correlation ON deliveries (correlation_id) WHERE correlation_id IS NOT NULL;
CREATE INDEX deliveries_reference ON deliveries (reference) WHERE reference IS NOT NULL;

-- One row for every version of a delivery.
CREATE TABLE delivery_history (
    delivery TEXT NOT NULL REFERENCES deliveries (id),
    version INTEGER NOT NULL,
    state TEXT NOT NULL,
    at INTEGER NOT NULL,
    code TEXT,
    reason TEXT,
    PRIMARY KEY (delivery, version)
) STRICT, WITHOUT ROWID;

-- Written before the send. A row without an end is an attempt of which nobody knows what became.
CREATE TABLE attempts (
    delivery TEXT NOT NULL REFERENCES deliveries (id),
    attempt INTEGER NOT NULL,
    started INTEGER NOT NULL,
    finished INTEGER,
    outcome TEXT,
    reason TEXT,
    reference TEXT,
    PRIMARY KEY (delivery, attempt)
) STRICT, WITHOUT ROWID;

-- What travels. Apart from the delivery, so that retention can take it by month.
CREATE TABLE rendition_bodies (
    delivery TEXT NOT NULL PRIMARY KEY REFERENCES deliveries (id),
    month INTEGER NOT NULL,
    media_type TEXT NOT NULL,
    body BLOB NOT NULL,
    html BLOB
) STRICT;
CREATE INDEX rendition_bodies_month ON rendition_bodies (month);

CREATE TABLE clients (
    id TEXT NOT NULL PRIMARY KEY,
    ods TEXT NOT NULL,
    role TEXT NOT NULL,
    jwks TEXT NOT NULL,
    certificate_sha256 TEXT,
    mesh_mailbox TEXT,
    nhs_number_policy TEXT NOT NULL,
    disabled INTEGER NOT NULL
) STRICT;

CREATE TABLE tokens (
    hash BLOB NOT NULL PRIMARY KEY,
    client_id TEXT NOT NULL REFERENCES clients (id),
    expires INTEGER NOT NULL,
    certificate_sha256 TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX tokens_expires ON tokens (expires);
CREATE INDEX tokens_client ON tokens (client_id);

-- A jti is unique per issuer, and the issuer of an assertion is the client.
CREATE TABLE assertions (
    client_id TEXT NOT NULL,
    jti TEXT NOT NULL,
    expires INTEGER NOT NULL,
    PRIMARY KEY (client_id, jti)
) STRICT, WITHOUT ROWID;
CREATE INDEX assertions_expires ON assertions (expires);

CREATE TABLE directory_versions (
    version INTEGER PRIMARY KEY,
    source TEXT NOT NULL,
    at INTEGER NOT NULL,
    entries INTEGER NOT NULL
) STRICT;

-- Every import's entries stay; the current one of a code is that of the highest version.
CREATE TABLE directory_entries (
    ods TEXT NOT NULL,
    version INTEGER NOT NULL REFERENCES directory_versions (version),
    kind TEXT NOT NULL,
    entry TEXT NOT NULL,
    PRIMARY KEY (ods, version)
) STRICT;

-- Other codes of a home.
CREATE TABLE directory_codes (
    code TEXT NOT NULL,
    ods TEXT NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (code, ods, version),
    FOREIGN KEY (ods, version) REFERENCES directory_entries (ods, version)
) STRICT, WITHOUT ROWID;

-- The log: position counts from 0 without gaps.
CREATE TABLE audit_log (
    position INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    recorded INTEGER NOT NULL,
    word TEXT NOT NULL,
    transfer TEXT,
    delivery TEXT,
    organisation TEXT,
    patient TEXT,
    leaf BLOB NOT NULL,
    event BLOB NOT NULL
) STRICT;
CREATE INDEX audit_log_patient ON audit_log (patient, position) WHERE patient IS NOT NULL;
CREATE INDEX audit_log_refused ON audit_log (position) WHERE word = 'refuse';
CREATE INDEX audit_log_transfer ON audit_log (transfer, position) WHERE transfer IS NOT NULL;

CREATE TABLE checkpoints (
    size INTEGER PRIMARY KEY,
    note TEXT NOT NULL
) STRICT;

-- Written by every readiness check, so that the check proves a commit.
CREATE TABLE readiness (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    checked INTEGER NOT NULL
) STRICT;
