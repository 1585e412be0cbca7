-- Accounts that their PDS says are not in use: the keeper does not refresh their sessions unasked.
CREATE TABLE paused_accounts (
    did TEXT NOT NULL PRIMARY KEY,
    status TEXT NOT NULL,
    paused_at BIGINT NOT NULL
);
CREATE INDEX paused_accounts_paused_at ON paused_accounts (paused_at);

-- How far each stream of events was read.
CREATE TABLE event_cursors (
    source TEXT NOT NULL PRIMARY KEY,
    cursor BIGINT NOT NULL,
    kept_at BIGINT NOT NULL
);
CREATE INDEX event_cursors_kept_at ON event_cursors (kept_at);
