-- Random keys that all servers with this database share.
CREATE TABLE secret (
    name TEXT PRIMARY KEY,
    -- In hexadecimal digits.
    value TEXT NOT NULL
);
