-- What an app asked for is one JSON document. The columns that held it stay for the release before,
-- which may still be running, and are dropped after it. A request that one release has stored cannot be
-- finished at the other: the person starts again.
ALTER TABLE authorization_requests ADD COLUMN params TEXT;
ALTER TABLE authorization_requests ALTER COLUMN redirect_uri DROP NOT NULL;
ALTER TABLE authorization_requests ALTER COLUMN scope DROP NOT NULL;

-- A request that an app has pushed belongs to no browser yet.
ALTER TABLE authorization_requests ALTER COLUMN browser_id DROP NOT NULL;
