//! Upstream sessions: AIP's sessions at accounts' PDSs, one for each app a person uses.
//!
//! [`SignIn`] begins them, [`Keeper`] keeps them alive and hands out their tokens, one refresh at
//! a time; ended ones are revoked at their PDS. `keeper::step` holds the
//! decisions, pure. [`AppPasswords`] begins sessions the old way; the keeper treats them alike.

mod account_hints;
mod app_assertion;
mod app_password;
mod emails;
mod identity;
mod keeper;
mod profiles;
mod session_sealer;
mod sign_in;
mod spill;
mod subject_length;
mod upstream;

pub use account_hints::{AccountHints, Hint};
pub use app_assertion::{AppAssertionError, AppAssertionRequest};
pub use app_password::{AppPasswordError, AppPasswords};
pub use emails::{AccountEmails, KnownEmail};
pub use identity::{MissingKey, UpstreamIdentity};
pub use keeper::step;
pub use keeper::{ActiveSession, Keeper, KeeperError};
pub use profiles::AccountProfiles;
pub use session_sealer::{SealerError, SessionSealer};
pub use sign_in::{
    BeginError, CreatedToken, DelegationRequest, DeveloperTokenRequest, FlowRequest, SignIn,
    SignInFailure, SignInRequest, SignInResult,
};
pub use spill::Spill;
pub use subject_length::SubjectTooLong;
pub use upstream::Upstream;
