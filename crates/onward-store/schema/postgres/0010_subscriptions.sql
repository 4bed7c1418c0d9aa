-- Who wants to be called when a Task changes (FHIR Subscription), and which call is due.

CREATE TABLE subscriptions (
    id TEXT NOT NULL PRIMARY KEY,
    client TEXT NOT NULL,
    criteria TEXT NOT NULL,
    -- What for, in words of the owner's system; never about a patient.
    reason TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    ends BIGINT,
    status TEXT NOT NULL,
    error TEXT,
    version BIGINT NOT NULL,
    created BIGINT NOT NULL,
    changed BIGINT NOT NULL,
    -- Entries of the audit log before this one are told.
    told BIGINT NOT NULL,
    -- Grows with every call that is taken: whoever has an older number ends nothing.
    taken BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    next_call BIGINT,
    failing_since BIGINT
);
CREATE INDEX subscriptions_client ON subscriptions (client);
