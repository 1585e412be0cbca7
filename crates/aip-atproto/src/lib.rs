//! The AT Protocol as values: identifiers, DID documents, and the OAuth scope grammar.
//!
//! Everything here is pure and bounded: text from the wire becomes a type once, at the door, and
//! nobody inside checks a string again. There is no I/O, no clock and no randomness.
//!
//! * Identifiers: [`Did`], [`Handle`], [`AtIdentifier`], [`Nsid`], [`AtUri`], [`ServiceRef`]
//!   (<https://atproto.com/specs/did>, `/handle`, `/nsid`, `/at-uri-scheme`).
//! * Servers: [`Origin`] and [`Issuer`].
//! * [`DidDocument`]: which PDS, handle and key an account has.
//! * [`Scope`] and [`ScopeSet`]: what an app may do (<https://atproto.com/specs/permission>), with
//!   [`PermissionSet`] behind `include:`.

mod at_identifier;
mod at_uri;
mod base_url;
mod did;
mod did_document;
mod handle;
mod hostname;
mod nsid;
mod origin;
mod scope;
mod service_ref;
mod text;
mod user_input;

pub use at_identifier::{AtIdentifier, AtIdentifierError};
pub use at_uri::{AtUri, AtUriError};
pub use base_url::{BaseUrl, BaseUrlError};
pub use did::{Did, DidError, DidMethod};
pub use did_document::{DidDocument, DidDocumentError, SigningKeyKind, SigningKeyRef};
pub use handle::{Handle, HandleError};
pub use hostname::HostnameError;
pub use nsid::{Nsid, NsidError};
pub use origin::{Issuer, Origin, OriginError, PdsUrl};
pub use scope::{
    AccountAttr, AccountScope, Audience, BlobScope, IdentityAttr, IncludeScope, MimeGlob, NsidSet,
    OpenIdScope, PermissionSet, PermissionSetError, RepoAction, RepoScope, RpcScope, Scope,
    ScopeError, ScopeLine, ScopeSet, Transition, for_upstream,
};
pub use service_ref::{ServiceRef, ServiceRefError};
