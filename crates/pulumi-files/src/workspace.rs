//! What a person has chosen on this machine: the backend logged in to and the selected stack, in
//! the files that Pulumi keeps them in (`~/.pulumi`).

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use aip_base::Environment;
use aws_lc_rs::digest;
use serde_json::{Map, Value};

use crate::atomic;
use crate::project::Project;
use crate::stack_name::{StackName, StackNameError};

/// Pulumi's folder in a home folder.
#[derive(Debug, Clone)]
pub struct Workspace {
    home: PathBuf,
    environment: Environment,
}

/// Where a backend URL or a stack came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A flag of the command.
    Flag,
    /// A variable of the environment.
    Variable,
    /// The project file.
    Project,
    /// An earlier `login` or `stack select`.
    Chosen,
}

/// Why a choice is not read or kept.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages document the variants")]
pub enum WorkspaceError {
    /// Neither `PULUMI_HOME` nor `HOME` is set.
    #[error("neither HOME nor PULUMI_HOME is set: the login cannot be stored")]
    NoHome,
    #[error("{path}: {source}")]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path}: the file is corrupt: remove it, then log in or select the stack again")]
    Damaged { path: PathBuf },
    #[error(transparent)]
    StackName(#[from] StackNameError),
}

impl Workspace {
    /// The folder that the environment points at.
    pub fn new(environment: &Environment) -> Result<Self, WorkspaceError> {
        let home = match environment.non_empty("PULUMI_HOME") {
            Some(home) => PathBuf::from(home),
            None => environment
                .home()
                .ok_or(WorkspaceError::NoHome)?
                .join(".pulumi"),
        };
        Ok(Self {
            home,
            environment: environment.clone(),
        })
    }

    /// The backend's URL: `PULUMI_BACKEND_URL`, the project's, the one logged in to.
    pub fn backend_url(
        &self,
        project: Option<&Project>,
    ) -> Result<Option<(String, Origin)>, WorkspaceError> {
        if let Some(url) = self.environment.non_empty("PULUMI_BACKEND_URL") {
            return Ok(Some((url.to_owned(), Origin::Variable)));
        }
        if let Some(url) = project.and_then(|project| project.backend_url.clone()) {
            return Ok(Some((url, Origin::Project)));
        }
        let credentials = read(&self.credentials_file())?;
        let current = credentials
            .get("current")
            .and_then(Value::as_str)
            .filter(|url| !url.is_empty());
        Ok(current.map(|url| (url.to_owned(), Origin::Chosen)))
    }

    /// Remembers a backend; `None` forgets it.
    pub fn set_backend_url(&self, url: Option<&str>) -> Result<(), WorkspaceError> {
        let path = self.credentials_file();
        let mut credentials = read(&path)?;
        match url {
            Some(url) => drop(credentials.insert("current".to_owned(), Value::from(url))),
            None => drop(credentials.remove("current")),
        }
        write(&path, &credentials)
    }

    /// The stack: the flag, `PULUMI_STACK`, the selected one.
    pub fn stack(
        &self,
        flag: Option<&str>,
        project: &Project,
        backend_url: &str,
    ) -> Result<Option<(StackName, Origin)>, WorkspaceError> {
        let named = flag.map(|name| (name, Origin::Flag));
        let named = named.or_else(|| {
            Some((
                self.environment.non_empty("PULUMI_STACK")?,
                Origin::Variable,
            ))
        });
        if let Some((name, origin)) = named {
            return Ok(Some((
                StackName::of_reference(name, &project.name)?,
                origin,
            )));
        }
        let selection = read(&self.selection_file(project))?;
        let current = selection
            .get("stacks")
            .and_then(|stacks| stacks.get(backend_url));
        let current = current
            .or_else(|| selection.get("stack"))
            .and_then(Value::as_str);
        match current.filter(|name| !name.is_empty()) {
            Some(name) => Ok(Some((
                StackName::of_reference(name, &project.name)?,
                Origin::Chosen,
            ))),
            None => Ok(None),
        }
    }

    /// Remembers the stack of a project at a backend; `None` forgets it.
    pub fn select(
        &self,
        project: &Project,
        backend_url: &str,
        stack: Option<&StackName>,
    ) -> Result<(), WorkspaceError> {
        let path = self.selection_file(project);
        let mut selection = read(&path)?;
        selection.remove("stack");
        let stacks = selection
            .entry("stacks")
            .or_insert_with(|| Value::Object(Map::new()));
        let Value::Object(stacks) = stacks else {
            return Err(WorkspaceError::Damaged { path });
        };
        match stack {
            Some(stack) => {
                let reference = format!("organization/{}/{stack}", project.name);
                stacks.insert(backend_url.to_owned(), Value::from(reference));
            }
            None => drop(stacks.remove(backend_url)),
        }
        if stacks.is_empty() {
            selection.remove("stacks");
        }
        if selection.is_empty() {
            return match std::fs::remove_file(&path) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    Err(WorkspaceError::Io { path, source })
                }
                _ => Ok(()),
            };
        }
        write(&path, &selection)
    }

    fn credentials_file(&self) -> PathBuf {
        self.home.join("credentials.json")
    }

    /// One file per project and place, named after the hash of the project file's path.
    fn selection_file(&self, project: &Project) -> PathBuf {
        let path = project.file.as_os_str().as_encoded_bytes();
        let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, path);
        let mut name = format!("{}-", project.name);
        for byte in hash.as_ref() {
            let _ = write!(name, "{byte:02x}");
        }
        self.home
            .join("workspaces")
            .join(format!("{name}-workspace.json"))
    }
}

fn read(path: &Path) -> Result<Map<String, Value>, WorkspaceError> {
    match std::fs::read(path) {
        Ok(bytes) if bytes.trim_ascii().is_empty() => Ok(Map::new()),
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|_| WorkspaceError::Damaged {
            path: path.to_owned(),
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Map::new()),
        Err(source) => Err(WorkspaceError::Io {
            path: path.to_owned(),
            source,
        }),
    }
}

fn write(path: &Path, content: &Map<String, Value>) -> Result<(), WorkspaceError> {
    let io = |source| WorkspaceError::Io {
        path: path.to_owned(),
        source,
    };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(io)?;
    }
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
    serde::Serialize::serialize(content, &mut serializer)
        .map_err(|error| io(std::io::Error::other(error)))?;
    text.push(b'\n');
    atomic::write(path, &text, 0o600).map_err(io)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Home {
        _folder: tempfile::TempDir,
        project: Project,
        environment: Vec<(&'static str, String)>,
    }

    fn home(extra: &[(&'static str, &str)]) -> (Home, Workspace) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("Pulumi.yaml");
        std::fs::write(&file, "name: aip\nruntime: python\n").unwrap();
        let mut environment = vec![(
            "PULUMI_HOME",
            folder.path().join("home").display().to_string(),
        )];
        environment.extend(
            extra
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned())),
        );
        let workspace = Workspace::new(&Environment::new(environment.clone())).unwrap();
        (
            Home {
                project: Project::load(&file).unwrap(),
                _folder: folder,
                environment,
            },
            workspace,
        )
    }

    #[test]
    fn the_variable_beats_the_project_which_beats_the_login() {
        let (mut home, workspace) = home(&[]);
        assert_eq!(workspace.backend_url(Some(&home.project)).unwrap(), None);
        workspace.set_backend_url(Some("s3://login")).unwrap();
        let url = |w: &Workspace, p: &Project| w.backend_url(Some(p)).unwrap().unwrap();
        assert_eq!(
            url(&workspace, &home.project),
            ("s3://login".to_owned(), Origin::Chosen)
        );
        home.project.backend_url = Some("s3://project".to_owned());
        assert_eq!(
            url(&workspace, &home.project),
            ("s3://project".to_owned(), Origin::Project)
        );
        home.environment
            .push(("PULUMI_BACKEND_URL", "file://~".to_owned()));
        let workspace = Workspace::new(&Environment::new(home.environment.clone())).unwrap();
        assert_eq!(
            url(&workspace, &home.project),
            ("file://~".to_owned(), Origin::Variable)
        );
    }

    #[test]
    fn a_login_keeps_what_else_is_in_the_credentials_file() {
        let (_home, workspace) = home(&[]);
        std::fs::create_dir_all(&workspace.home).unwrap();
        std::fs::write(
            workspace.credentials_file(),
            r#"{"current":"x","accounts":{"x":{"accessToken":"t"}}}"#,
        )
        .unwrap();
        workspace.set_backend_url(Some("s3://b")).unwrap();
        let text = std::fs::read_to_string(workspace.credentials_file()).unwrap();
        assert!(
            text.contains("\"accessToken\": \"t\"") && text.contains("\"current\": \"s3://b\""),
            "{text}"
        );
        workspace.set_backend_url(None).unwrap();
        assert_eq!(workspace.backend_url(None).unwrap(), None);
    }

    #[test]
    fn a_stack_is_selected_per_backend_and_the_old_form_is_read() {
        let (home, workspace) = home(&[]);
        let main: StackName = "main".parse().unwrap();
        let stack = |url: &str| {
            workspace
                .stack(None, &home.project, url)
                .unwrap()
                .map(|(name, _)| name.to_string())
        };
        workspace
            .select(&home.project, "s3://a", Some(&main))
            .unwrap();
        assert_eq!(stack("s3://a").as_deref(), Some("main"));
        assert_eq!(stack("s3://b"), None);
        workspace.select(&home.project, "s3://a", None).unwrap();
        assert!(!workspace.selection_file(&home.project).exists());
        std::fs::write(
            workspace.selection_file(&home.project),
            r#"{"stack": "dev"}"#,
        )
        .unwrap();
        assert_eq!(stack("s3://b").as_deref(), Some("dev"));
        let flag = workspace
            .stack(Some("organization/aip/qa"), &home.project, "s3://a")
            .unwrap()
            .unwrap();
        assert_eq!((flag.0.as_str(), flag.1), ("qa", Origin::Flag));
        std::fs::write(workspace.selection_file(&home.project), "junk").unwrap();
        assert!(matches!(
            workspace.stack(None, &home.project, "s3://a"),
            Err(WorkspaceError::Damaged { .. })
        ));
    }

    #[test]
    fn the_variable_names_a_stack() {
        let (home, workspace) = home(&[("PULUMI_STACK", "ci")]);
        let (stack, origin) = workspace
            .stack(None, &home.project, "s3://a")
            .unwrap()
            .unwrap();
        assert_eq!((stack.as_str(), origin), ("ci", Origin::Variable));
    }
}
