-- Who wants to be called when a Task changes (FHIR Subscription), and which call is due.

CREATE TABLE subscriptions (
    id TEXT NOT NULL PRIMARY KEY,
    client TEXT NOT NULL,
    criteria TEXT NOT NULL,
    -- What for, in words of the owner's system; never about a patient.
    reason TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    ends INTEGER,
    status TEXT NOT NULL,
    error TEXT,
    version INTEGER NOT NULL,
    created INTEGER NOT NULL,
    changed INTEGER NOT NULL,
    -- Entries of the audit log before this one are told.
    told INTEGER NOT NULL,
    -- Grows with every call that is taken: whoever has an older number ends nothing.
    taken INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    next_call INTEGER,
    failing_since INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX subscriptions_client ON subscriptions (client);
