//! Pulumi's files without Pulumi: the project file, the stack files with their encrypted values,
//! and the choices kept in `~/.pulumi`. It knows no cluster and no program.
//!
//! Everything is compatible in both directions with the files of the Pulumi command line; edits
//! change the bytes they must and no others. Where Pulumi would lose or re-type a value, the edit
//! is refused with a reason instead.
//!
//! Start at [`Project`], which finds [`StackFile`]s, and [`Keyring`], which opens their secrets.

pub mod coerce;

mod atomic;
mod backend;
mod key;
mod project;
mod secrets;
mod stack_file;
mod stack_name;
mod workspace;

pub use backend::{Backend, BackendError, Bucket};
pub use key::{ConfigKey, ConfigPath, KeyError};
pub use project::{Default as ProjectDefault, Project, ProjectError};
pub use secrets::{
    Crypter, CrypterError, KeyService, KeyServiceError, KeyServiceFault, Keyring, PassphraseError,
    Prompt, SecretsError,
};
pub use stack_file::{Encryption, Entry, Secret, StackFile, StackFileError};
pub use stack_name::{StackName, StackNameError};
pub use workspace::{Origin, Workspace, WorkspaceError};
