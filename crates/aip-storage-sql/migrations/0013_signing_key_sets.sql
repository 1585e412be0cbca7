-- The private keys that AIP signs with, where servers rotate them: one row, sealed. The generation
-- grows with each change, which names the one that it was made from.
CREATE TABLE signing_key_sets (
    id TEXT NOT NULL PRIMARY KEY,
    generation BIGINT NOT NULL,
    sealed TEXT NOT NULL
);
