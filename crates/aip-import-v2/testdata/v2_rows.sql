-- An app and a session of a made-up person, as AIP v2.2.2 has them: the keys are throw-away, and nothing
-- answers at the PDS.
INSERT INTO oauth_clients (client_id, client_secret, client_name, redirect_uris, grant_types,
    response_types, scope, token_endpoint_auth_method, client_type, created_at, updated_at)
VALUES ('18841372-4202-41bf-89a4-e58d29f206ac', 'j1soqSORIeJozwGYSOywA8LVjckX2Kd8kODQU0g_Jjw', 'lab app',
    '["https://app.example.com/callback"]', '["authorization_code", "refresh_token"]', '["code"]',
    'atproto transition:generic', 'client_secret_post', 'confidential', now(), now());

INSERT INTO did_documents (did, document, created_at, updated_at)
VALUES ('did:plc:znogmu24g2x4esigbgv5gzso', '{"id": "did:plc:znogmu24g2x4esigbgv5gzso", "service": [
    {"id": "#atproto_pds", "type": "AtprotoPersonalDataServer",
     "serviceEndpoint": "https://pds.example.com"}]}', now(), now());

INSERT INTO atp_oauth_sessions (session_id, did, iteration, session_created_at, atp_oauth_state,
    signing_key_jkt, dpop_key, access_token, refresh_token, access_token_created_at,
    access_token_expires_at, access_token_scopes)
VALUES ('01M8KH6EKH0073SMYS06HT5WFX', 'did:plc:znogmu24g2x4esigbgv5gzso', 1, now(), 'state',
    'aZ3VHNH7CNb9-hT77tuPJvk-Iu746XLtk_ezF3k1PgU',
    'did:key:z42tr7CE7TjiVxqtffwnagF6HWFTCwkYWTdEBasMTwyJCxcv',
    'eyJ0eXAiOiAiYXQrand0IiwgImFsZyI6ICJIUzI1NiJ9.eyJpc3MiOiAiaHR'
        || '0cHM6Ly9wZHMuZXhhbXBsZS5jb20iLCAic3ViIjogImRpZDpwbGM6em5vZ211MjRnMng0ZXNpZ2JndjVnenNvIiwgI'
        || 'mNsaWVudF9pZCI6ICJodHRwczovL2F1dGguZXhhbXBsZS5jb20vb2F1dGgtY2xpZW50LW1ldGFkYXRhLmpzb24ifQ.c2lnbmF0dXJl',
    'ref-dc53497c7b8f7aca', now(), now() + interval '1 hour', '["atproto", "transition:generic"]');

INSERT INTO access_tokens (token, client_id, user_id, session_id, session_iteration, scope, created_at,
    expires_at)
VALUES ('G-ixO0eqh7PER8juy4OpatASsm-qKNYSfeSHQ5feADI', '18841372-4202-41bf-89a4-e58d29f206ac',
    'did:plc:znogmu24g2x4esigbgv5gzso', '01M8KH6EKH0073SMYS06HT5WFX', 1, 'atproto transition:generic',
    now(), now() + interval '1 day');

INSERT INTO refresh_tokens (token, access_token, client_id, user_id, session_id, scope, created_at,
    expires_at)
VALUES ('StrAYSAjBDSsyY2z4I5wcB99eqFW-Va5kzRQaFNoi04', 'G-ixO0eqh7PER8juy4OpatASsm-qKNYSfeSHQ5feADI',
    '18841372-4202-41bf-89a4-e58d29f206ac', 'did:plc:znogmu24g2x4esigbgv5gzso',
    '01M8KH6EKH0073SMYS06HT5WFX', 'atproto transition:generic', now(), now() + interval '14 days');
