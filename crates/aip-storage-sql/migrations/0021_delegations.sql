-- Accounts that may act for others. Each has an upstream session of its own. No references: a session
-- outlives its delegation until its PDS knows that it ended.
CREATE TABLE delegations (
    id TEXT NOT NULL PRIMARY KEY,
    owner TEXT NOT NULL,
    delegate TEXT NOT NULL,
    preset TEXT NOT NULL,
    scope TEXT NOT NULL,
    upstream_session TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    ends_at BIGINT NOT NULL,
    ended_at BIGINT,
    end_reason TEXT
);
CREATE UNIQUE INDEX delegations_live ON delegations (owner, delegate) WHERE ended_at IS NULL;
CREATE INDEX delegations_upstream_session ON delegations (upstream_session);
CREATE INDEX delegations_ends_at ON delegations (ends_at) WHERE ended_at IS NULL;
CREATE INDEX delegations_ended_at ON delegations (ended_at) WHERE ended_at IS NOT NULL;

-- Of a grant by which a delegate acts: the delegation, and the delegate's own grant that it ends with.
ALTER TABLE grants ADD COLUMN delegation_id TEXT;
ALTER TABLE grants ADD COLUMN parent_grant TEXT;
CREATE INDEX grants_delegation_id ON grants (delegation_id) WHERE delegation_id IS NOT NULL;
CREATE INDEX grants_parent_grant ON grants (parent_grant) WHERE parent_grant IS NOT NULL;

-- Who acted, if not the account itself.
ALTER TABLE audit_events ADD COLUMN actor TEXT;
CREATE INDEX audit_events_delegates ON audit_events (did, at) WHERE actor IS NOT NULL;
