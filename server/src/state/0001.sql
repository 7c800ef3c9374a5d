-- The state of obnam-server, for SQLite and PostgreSQL alike. Times are seconds since 1970.

CREATE TABLE tenant (
    name TEXT PRIMARY KEY,
    created BIGINT NOT NULL,
    -- Bytes; none means no limit.
    quota BIGINT,
    -- What the last listing of the store found, and when it was.
    used BIGINT NOT NULL DEFAULT 0,
    counted BIGINT,
    newest_snapshot BIGINT,
    -- Bytes for which URLs to store were signed since that listing.
    signed BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE token (
    id TEXT PRIMARY KEY,
    tenant TEXT NOT NULL REFERENCES tenant (name),
    name TEXT NOT NULL,
    -- SHA-256 of the token, in hexadecimal digits.
    digest TEXT NOT NULL,
    created BIGINT NOT NULL,
    expires BIGINT,
    revoked BIGINT,
    last_used BIGINT,
    -- JSON: verb to labels.
    rights TEXT NOT NULL,
    -- JSON: address ranges; an empty list means everywhere.
    networks TEXT NOT NULL,
    -- How many bytes URLs to store may be signed for on one day (UTC), the day of the count, and the count.
    daily_bytes BIGINT,
    day BIGINT NOT NULL DEFAULT 0,
    day_bytes BIGINT NOT NULL DEFAULT 0
);

CREATE INDEX token_tenant ON token (tenant);

-- Chunks that will be removed.
CREATE TABLE removal (
    tenant TEXT NOT NULL REFERENCES tenant (name),
    -- LABEL/ID
    chunk TEXT NOT NULL,
    recorded BIGINT NOT NULL,
    until BIGINT NOT NULL,
    token TEXT NOT NULL,
    -- When a server began to execute it; from then on it cannot be called off.
    claimed BIGINT,
    PRIMARY KEY (tenant, chunk)
);

CREATE INDEX removal_until ON removal (until);
