-- What shows that a process has the keys that this database was made with: one row.
CREATE TABLE key_checks (
    name TEXT NOT NULL PRIMARY KEY,
    sealed TEXT NOT NULL,
    pepper BLOB NOT NULL
);
