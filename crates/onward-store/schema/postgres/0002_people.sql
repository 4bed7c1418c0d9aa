-- People who sign in: accounts, what they are recognised by, sessions, and what guards the sign-in. Hashes are SHA-256.

CREATE TABLE users (
    id UUID NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    -- Lower case.
    email TEXT NOT NULL UNIQUE,
    role TEXT NOT NULL,
    -- ODS codes as JSON, at least one.
    organisations TEXT NOT NULL,
    -- iss and sub of an identity provider.
    issuer TEXT,
    subject TEXT,
    disabled BOOLEAN NOT NULL,
    CHECK ((issuer IS NULL) = (subject IS NULL))
);
CREATE UNIQUE INDEX users_subject ON users (issuer, subject) WHERE issuer IS NOT NULL;

CREATE TABLE invitations (
    account UUID NOT NULL PRIMARY KEY REFERENCES users (id),
    hash BYTEA NOT NULL UNIQUE,
    expires BIGINT NOT NULL
);

CREATE TABLE passwords (
    account UUID NOT NULL PRIMARY KEY REFERENCES users (id),
    hash TEXT NOT NULL,
    totp_secret BYTEA NOT NULL,
    totp_step BIGINT NOT NULL
);

CREATE TABLE passkeys (
    id BYTEA NOT NULL PRIMARY KEY,
    account UUID NOT NULL REFERENCES users (id),
    public_key BYTEA NOT NULL,
    counter BIGINT NOT NULL,
    added BIGINT NOT NULL
);
CREATE INDEX passkeys_account ON passkeys (account);

CREATE TABLE sessions (
    hash BYTEA NOT NULL PRIMARY KEY,
    id UUID NOT NULL UNIQUE,
    account UUID NOT NULL REFERENCES users (id),
    strength TEXT NOT NULL,
    authenticated BIGINT NOT NULL,
    last_seen BIGINT NOT NULL,
    -- sid of the identity provider.
    provider_session TEXT
);
CREATE INDEX sessions_account ON sessions (account);
CREATE INDEX sessions_authenticated ON sessions (authenticated);

-- Browsers that an account has signed in from.
CREATE TABLE devices (
    hash BYTEA NOT NULL,
    account UUID NOT NULL REFERENCES users (id),
    expires BIGINT NOT NULL,
    PRIMARY KEY (hash, account)
);
CREATE INDEX devices_account ON devices (account);
CREATE INDEX devices_expires ON devices (expires);

-- What was begun and must be finished once: challenges, states, forms.
CREATE TABLE ceremonies (
    hash BYTEA NOT NULL PRIMARY KEY,
    purpose TEXT NOT NULL,
    account UUID,
    data TEXT NOT NULL,
    expires BIGINT NOT NULL
);
CREATE INDEX ceremonies_expires ON ceremonies (expires);

-- Failed sign-ins, of accounts that exist and of such that do not.
CREATE TABLE sign_in_failures (
    id UUID NOT NULL PRIMARY KEY,
    account BYTEA NOT NULL,
    address BYTEA NOT NULL,
    second_factor BOOLEAN NOT NULL,
    at BIGINT NOT NULL
);
CREATE INDEX sign_in_failures_account ON sign_in_failures (account, at);
CREATE INDEX sign_in_failures_address ON sign_in_failures (address, at);
CREATE INDEX sign_in_failures_at ON sign_in_failures (at);
