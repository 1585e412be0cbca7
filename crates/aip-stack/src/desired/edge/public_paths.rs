//! The paths that people, apps and PDSs may reach. Generated from the endpoint table of `aip-http`
//! by its test `the_public_paths_of_the_deployer_are_fresh`: do not edit.

use super::PublicPath;

pub(super) const PUBLIC_PATHS: &[PublicPath] = &[
    PublicPath::exact("/"),
    PublicPath::exact("/account"),
    PublicPath::exact("/login"),
    PublicPath::exact("/consent"),
    PublicPath::exact("/device"),
    PublicPath::below("/static"),
    PublicPath::exact("/oauth/authorize"),
    PublicPath::exact("/oauth/logout"),
    PublicPath::exact("/oauth/atp/callback"),
    PublicPath::exact("/oauth/par"),
    PublicPath::exact("/oauth/device_authorization"),
    PublicPath::exact("/oauth/device"),
    PublicPath::exact("/oauth/token"),
    PublicPath::exact("/oauth/revoke"),
    PublicPath::exact("/oauth/introspect"),
    PublicPath::exact("/oauth/clients/register"),
    PublicPath::below("/oauth/clients"),
    PublicPath::exact("/oauth/userinfo"),
    PublicPath::exact("/.well-known/openid-configuration"),
    PublicPath::exact("/.well-known/oauth-authorization-server"),
    PublicPath::exact("/.well-known/oauth-protected-resource"),
    PublicPath::exact("/.well-known/jwks.json"),
    PublicPath::exact("/.well-known/did.json"),
    PublicPath::exact("/oauth-client-metadata.json"),
    PublicPath::exact("/oauth/upstream/jwks.json"),
    PublicPath::exact("/api/atprotocol/session"),
    PublicPath::exact("/api/atprotocol/app-password"),
    PublicPath::exact("/api/atprotocol/resolve"),
    PublicPath::exact("/xrpc/tools.graze.aip.clients.Update"),
    PublicPath::streams_below("/xrpc"),
];
