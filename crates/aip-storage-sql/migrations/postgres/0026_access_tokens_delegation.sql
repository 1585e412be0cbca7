CREATE INDEX CONCURRENTLY access_tokens_delegation ON access_tokens (delegation_id, client_id, expires_at)
    WHERE delegation_id IS NOT NULL;
