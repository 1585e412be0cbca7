//! The command that fixes a problem, written so that a shell runs it as it stands: the path in the
//! grammar of `--path`, every word quoted where a shell would read it as something else, and `--`
//! before a value that looks like a flag. A value that only the operator knows is asked for by the
//! command itself.

use std::fmt;

use pulumi_files::{ConfigPath, StackFile};
use yaml_lossless::{Change, Tree};

/// A longer path or value is edited by hand.
const MAX_ARGUMENT_BYTES: usize = 400;

macro_rules! remedies {
    ($($(#[$description:meta])* $name:ident,)*) => {
        /// The kinds of fixes, each printed at one place of the configuration's checks.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Remedy {
            $($(#[$description])* $name,)*
        }

        impl Remedy {
            /// Every kind: the tests run one of each in a shell.
            pub const ALL: &[Self] = &[$(Self::$name,)*];
        }
    };
}

remedies! {
    /// Names the context.
    Context,
    /// Sets the first field of `aip_config`.
    StartConfig,
    /// Says where images come from, or which one.
    Image,
    /// Gives a field of text another value.
    String,
    /// Gives a quantity its default.
    Quantity,
    /// Quotes a number or date.
    Quote,
    /// Gives a field a value of its type.
    Shape,
    /// Encrypts a value anew that does not open.
    Reencrypt,
    /// Encrypts a value that is in plain text.
    Encrypt,
    /// Removes a field that is not known.
    Unknown,
    /// Sets a variable of the required environment.
    Variable,
    /// Removes a variable whose name no environment has.
    VariableName,
    /// Removes a variable that would hide a required one.
    Shadowing,
    /// Removes the other name of the required environment.
    OtherName,
    /// Keeps SQLite to one Pod.
    OneReplica,
    /// Takes the master keys from the file that `aip` makes.
    MasterKeys,
    /// Takes the signing keys from the file that `aip` makes.
    SigningKeys,
    /// Names the keys that sign.
    ActiveKeys,
    /// Names the public host.
    ExternalHost,
    /// Names a Gateway, a listener, an `IngressClass` or an issuer.
    EdgeName,
    /// Removes the load balancer beside another edge.
    SecondEdge,
    /// Gives the edge the certificate of another kind, or none.
    CertificateKind,
    /// Takes a certificate or its key from a file.
    CertificateFiles,
    /// Names the load balancer's certificate.
    Certificate,
    /// Leaves the number of Pods to the autoscaler.
    AutoscaledReplicas,
    /// Raises the autoscaler's largest number.
    MaxReplicas,
    /// Gives a Pod longer to end than it drains.
    GracePeriod,
    /// Raises a limit to the request.
    Limit,
    /// Completes a single address to a block.
    CidrBlock,
    /// Removes an empty name from a list.
    EmptyName,
    /// Names the reverse proxies.
    Proxies,
    /// Leaves PostgreSQL or Valkey to the operator.
    ExternalDependency,
    /// Removes the URL of a server beside the one that the stack makes.
    SecondUrl,
    /// Gives the Valkey server a password.
    ValkeyPassword,
    /// Makes the Valkey servers three.
    ValkeyServers,
    /// Says where the backups of PostgreSQL go, or who may write there.
    Backup,
    /// Lets PostgreSQL take the connections of every Pod.
    Connections,
}

/// What a fix does to the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Edit {
    /// Sets this text, typed by its field.
    Set(String),
    /// Prompts for the value.
    Prompt,
    /// Prompts for the value and encrypts it.
    PromptSecret,
    /// Encrypts the content of a file.
    SecretFrom(&'static str),
    /// Removes the value.
    Remove,
}

/// A command that fixes one problem of a stack file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fix {
    /// Kind of the fix; tests run one of each.
    pub remedy: Remedy,
    /// Flags that select the stack file, as they were given.
    scope: Vec<String>,
    path: String,
    edit: Edit,
}

impl Fix {
    pub(super) fn new(remedy: Remedy, path: &str, edit: Edit) -> Self {
        Self {
            remedy,
            scope: Vec::new(),
            path: path.to_owned(),
            edit,
        }
    }

    /// The fix for the stack file that these flags select.
    pub(super) fn scoped(mut self, flags: &[String]) -> Self {
        self.scope = flags.to_vec();
        self
    }

    /// Whether the edit can be made: not in a value that is shared by an anchor, not at a name that
    /// the grammar of paths cannot express or a terminal cannot show.
    pub(super) fn works_on(&self, file: &StackFile, project: &str) -> bool {
        let shows =
            |word: &str| word.len() <= MAX_ARGUMENT_BYTES && !word.contains(char::is_control);
        let value = match &self.edit {
            Edit::Set(value) => value.as_str(),
            _ => "",
        };
        let Ok(path) = ConfigPath::parse(&self.path, project) else {
            return false;
        };
        if !shows(&self.path) || !shows(value) || path.display(project) != self.path {
            return false;
        }
        let mut file = file.clone();
        match self.change() {
            Change::Set(tree) => file.set(&path, tree).is_ok(),
            Change::Remove => file.remove(&path).is_ok(),
        }
    }

    fn change(&self) -> Change {
        match &self.edit {
            Edit::Set(_) | Edit::Prompt => Change::Set(Tree::String("text".to_owned())),
            Edit::PromptSecret | Edit::SecretFrom(_) => {
                Change::Set(Tree::secret("text".to_owned()))
            }
            Edit::Remove => Change::Remove,
        }
    }
}

impl fmt::Display for Fix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("aip-deploy")?;
        for flag in &self.scope {
            write!(f, " {}", quoted(flag))?;
        }
        let path = quoted(&self.path);
        match &self.edit {
            Edit::Set(value) if value.starts_with('-') => {
                write!(f, " config set --path -- {path} {}", quoted(value))
            }
            Edit::Set(value) => write!(f, " config set --path {path} {}", quoted(value)),
            Edit::Prompt => write!(f, " config set --path {path}"),
            Edit::PromptSecret => write!(f, " config set --path --secret {path}"),
            Edit::SecretFrom(file) => {
                write!(f, " config set --path --secret {path} < {}", quoted(file))
            }
            Edit::Remove => write!(f, " config rm --path {path}"),
        }
    }
}

/// A word as a POSIX shell wants it (XCU 2.2).
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/:".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(path: &str, edit: Edit) -> String {
        Fix::new(Remedy::String, path, edit).to_string()
    }

    #[test]
    fn words_are_quoted_as_a_shell_reads_them() {
        for (path, value, written) in [
            ("a.b", "1.10", "a.b 1.10"),
            ("a.b", "2024-01-01 10:00:00", "a.b '2024-01-01 10:00:00'"),
            ("a[\"PORT.ALT\"]", "5", "'a[\"PORT.ALT\"]' 5"),
            ("a.b", "-5", "-- a.b -5"),
            ("a.it's", "~", "'a.it'\\''s' '~'"),
            ("a.$(id)", "", "'a.$(id)' ''"),
        ] {
            assert_eq!(
                line(path, Edit::Set(value.to_owned())),
                format!("aip-deploy config set --path {written}")
            );
        }
    }

    #[test]
    fn a_fix_is_for_the_file_that_was_selected() {
        let fix = Fix::new(Remedy::String, "a.b", Edit::Remove);
        let scope = ["-s", "dev", "--config-file=my file"].map(str::to_owned);
        assert_eq!(
            fix.scoped(&scope).to_string(),
            "aip-deploy -s dev '--config-file=my file' config rm --path a.b"
        );
    }

    #[test]
    fn no_fix_is_offered_where_it_would_not_work() {
        let text = "config:\n  a: &x {b: 5}\n  c: *x\n  d: {\"e\\\\\": 1}\n";
        let file = StackFile::parse(
            std::path::Path::new("Pulumi.main.yaml"),
            text.to_owned(),
            "aip",
        )
        .unwrap();
        let works = |path: &str| {
            Fix::new(Remedy::Quote, path, Edit::Set("5".to_owned())).works_on(&file, "aip")
        };
        assert!(works("d.e\\"));
        assert!(!works("a.b"), "shared with c");
        assert!(!works("c.b"), "written at a");
        assert!(!works("d.e\u{1b}[2J"), "not for a terminal");
        assert!(!works("d[\".\\\"]"), "the grammar has no such name");
    }
}
