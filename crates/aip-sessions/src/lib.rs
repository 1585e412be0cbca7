//! Upstream sessions: AIP's sessions at accounts' PDSs, one for each app a person uses.
//!
//! [`SignIn`] begins them, [`Keeper`] keeps them alive and hands out their tokens, one refresh at
//! a time; ended ones are revoked at their PDS. `keeper::step` holds the
//! decisions, pure. [`AppPasswords`] begins sessions the old way; the keeper treats them alike.

mod app_password;
mod emails;
mod identity;
mod keeper;
mod sign_in;
mod spill;
mod vault;

pub use app_password::{AppPasswordError, AppPasswords};
pub use emails::{AccountEmails, KnownEmail};
pub use identity::{MissingKey, UpstreamIdentity};
pub use keeper::step;
pub use keeper::{Desk, Keeper, KeeperError, Usable};
pub use sign_in::{BeginError, Finished, SignIn, SignInFailure, Start};
pub use spill::Spill;
pub use vault::{Vault, VaultError};
