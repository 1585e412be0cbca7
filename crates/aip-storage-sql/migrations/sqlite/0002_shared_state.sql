-- What replicas share besides the truth: nonces of other servers, rate limits, and who leads a
-- task. All of it may be lost.
CREATE TABLE nonces (
    role TEXT NOT NULL,
    origin TEXT NOT NULL,
    nonce TEXT NOT NULL,
    given_at BIGINT NOT NULL,
    PRIMARY KEY (role, origin)
);
CREATE INDEX nonces_given_at ON nonces (given_at);

CREATE TABLE rate_limits (
    key TEXT NOT NULL PRIMARY KEY,
    arrival BIGINT NOT NULL
);
CREATE INDEX rate_limits_arrival ON rate_limits (arrival);

CREATE TABLE leaders (
    task TEXT NOT NULL PRIMARY KEY,
    owner TEXT NOT NULL,
    lead_until BIGINT NOT NULL
);

-- Leads to the grants of which no app ever got a token.
CREATE INDEX codes_unspent ON codes (expires_at) WHERE spent_at IS NULL;
