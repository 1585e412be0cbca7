-- The tables whose first copy is complete.
CREATE TABLE IF NOT EXISTS aip_move_tables (
    name TEXT NOT NULL PRIMARY KEY,
    rows BIGINT NOT NULL
);

-- The keys of rows that were copied again since: these are compared at the end.
CREATE TABLE IF NOT EXISTS aip_move_keys (
    relation TEXT NOT NULL,
    key JSONB NOT NULL,
    PRIMARY KEY (relation, key)
);
-- The order in which they are read.
CREATE INDEX IF NOT EXISTS aip_move_keys_in_order ON aip_move_keys (relation, (key::text COLLATE "C"));
