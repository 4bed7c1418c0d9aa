-- People who sign in: accounts, what they are recognised by, sessions, and what guards the sign-in. Hashes are SHA-256.

CREATE TABLE users (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    -- Lower case.
    email TEXT NOT NULL UNIQUE,
    role TEXT NOT NULL,
    -- ODS codes as JSON, at least one.
    organisations TEXT NOT NULL,
    -- iss and sub of an identity provider.
    issuer TEXT,
    subject TEXT,
    disabled INTEGER NOT NULL,
    CHECK ((issuer IS NULL) = (subject IS NULL))
) STRICT;
CREATE UNIQUE INDEX users_subject ON users (issuer, subject) WHERE issuer IS NOT NULL;

CREATE TABLE invitations (
    user TEXT NOT NULL PRIMARY KEY REFERENCES users (id),
    hash BLOB NOT NULL UNIQUE,
    expires INTEGER NOT NULL
) STRICT;

CREATE TABLE passwords (
    user TEXT NOT NULL PRIMARY KEY REFERENCES users (id),
    hash TEXT NOT NULL,
    totp_secret BLOB NOT NULL,
    totp_step INTEGER NOT NULL
) STRICT;

CREATE TABLE passkeys (
    id BLOB NOT NULL PRIMARY KEY,
    user TEXT NOT NULL REFERENCES users (id),
    public_key BLOB NOT NULL,
    counter INTEGER NOT NULL,
    added INTEGER NOT NULL
) STRICT;
CREATE INDEX passkeys_user ON passkeys (user);

CREATE TABLE sessions (
    hash BLOB NOT NULL PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    user TEXT NOT NULL REFERENCES users (id),
    strength TEXT NOT NULL,
    authenticated INTEGER NOT NULL,
    last_seen INTEGER NOT NULL,
    -- sid of the identity provider.
    provider_session TEXT
) STRICT;
CREATE INDEX sessions_user ON sessions (user);
CREATE INDEX sessions_authenticated ON sessions (authenticated);

-- Browsers that an account has signed in from.
CREATE TABLE devices (
    hash BLOB NOT NULL,
    user TEXT NOT NULL REFERENCES users (id),
    expires INTEGER NOT NULL,
    PRIMARY KEY (hash, user)
) STRICT, WITHOUT ROWID;
CREATE INDEX devices_expires ON devices (expires);

-- What was begun and must be finished once: challenges, states, forms.
CREATE TABLE ceremonies (
    hash BLOB NOT NULL PRIMARY KEY,
    purpose TEXT NOT NULL,
    user TEXT,
    data TEXT NOT NULL,
    expires INTEGER NOT NULL
) STRICT;
CREATE INDEX ceremonies_expires ON ceremonies (expires);

-- Failed sign-ins, of accounts that exist and of such that do not.
CREATE TABLE sign_in_failures (
    account BLOB NOT NULL,
    address BLOB NOT NULL,
    second_factor INTEGER NOT NULL,
    at INTEGER NOT NULL
) STRICT;
CREATE INDEX sign_in_failures_account ON sign_in_failures (account, at);
CREATE INDEX sign_in_failures_address ON sign_in_failures (address, at);
CREATE INDEX sign_in_failures_at ON sign_in_failures (at);
