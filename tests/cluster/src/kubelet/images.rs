//! What an image is here: a program of this machine, or the files of an OCI image.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use release::image::Unpacked;
use tokio::time::Instant;

/// A local program in the place of a container image.
#[derive(Debug, Clone)]
pub struct Image {
    pub(crate) entrypoint: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
    /// Name of a variable with a port, and of the one with an address that replaces it.
    pub(crate) listens: Option<(String, String)>,
    pub(crate) never_ready: bool,
    programs: BTreeMap<String, PathBuf>,
    /// The files of an OCI image: then no program of the machine is in it.
    root: Option<PathBuf>,
}

/// The registry that the nodes pull from: exact references, tag included. A reference it does not
/// have cannot be pulled, as in life.
#[derive(Debug, Clone, Default)]
pub struct Images(Arc<Mutex<Registry>>);

#[derive(Debug, Default)]
struct Registry {
    images: BTreeMap<String, Image>,
    /// What it answers instead of an image, and until when.
    refusals: BTreeMap<String, (String, Instant)>,
}

impl Image {
    /// An image whose entry point is `program`. A container's `command` may name it by its file
    /// name, whatever folder the image would have it in.
    pub fn program(program: impl Into<PathBuf>) -> Self {
        let entrypoint = program.into();
        let name = file_name(&entrypoint);
        Self {
            programs: BTreeMap::from([(name, entrypoint.clone())]),
            entrypoint,
            arguments: Vec::new(),
            environment: Vec::new(),
            listens: None,
            never_ready: false,
            root: None,
        }
    }

    /// An OCI image: its entry point, arguments and variables, and its files only.
    ///
    /// # Panics
    ///
    /// If its entry point is not one absolute path.
    pub fn unpacked(image: &Unpacked) -> Self {
        let config = image
            .config
            .config()
            .as_ref()
            .expect("an image has a configuration");
        let entrypoint = config.entrypoint().as_deref().unwrap_or_default();
        let [entrypoint] = entrypoint else {
            panic!("an entry point of several words: {entrypoint:?}")
        };
        let variables = config.env().iter().flatten();
        let variables = variables.filter_map(|variable| variable.split_once('='));
        let mut unpacked = Self::program(below(&image.root, entrypoint))
            .arguments(config.cmd().clone().unwrap_or_default());
        for (name, value) in variables {
            unpacked = unpacked.variable(name, value);
        }
        unpacked.root = Some(image.root.clone());
        unpacked
    }

    /// An image whose program says `line` on standard error and ends with `code`.
    pub fn crashing(code: u8, line: &str) -> Self {
        let script = r#"echo "$1" >&2; exit "$2""#;
        Self::program("sh").arguments(["-c", script, "sh", line, &code.to_string()])
    }

    /// Arguments of the entry point, which a container's `args` replace (`CMD`).
    #[must_use]
    pub fn arguments<T: Into<String>>(mut self, arguments: impl IntoIterator<Item = T>) -> Self {
        self.arguments = arguments.into_iter().map(Into::into).collect();
        self
    }

    /// A variable of every container, unless the Pod sets it (`ENV`).
    #[must_use]
    pub fn variable(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// The program listens on every address at the port that the variable `port` names. Here it
    /// gets the Pod's own address and that port in the variable `address` instead, or the second
    /// Pod would find the port taken.
    #[must_use]
    pub fn listens(mut self, port: impl Into<String>, address: impl Into<String>) -> Self {
        self.listens = Some((port.into(), address.into()));
        self
    }

    /// Another program in the image.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, program: impl Into<PathBuf>) -> Self {
        self.programs.insert(name.into(), program.into());
        self
    }

    /// The same image with a fault: it runs, but its readiness and start-up probes fail.
    #[must_use]
    pub fn never_ready(mut self) -> Self {
        self.never_ready = true;
        self
    }

    /// The program that a container's `command` means: one of the image, else one of the machine. An
    /// OCI image has no program but its own.
    pub(crate) fn find(&self, command: &str) -> PathBuf {
        if let Some(root) = &self.root {
            return below(root, command);
        }
        self.programs
            .get(&file_name(Path::new(command)))
            .cloned()
            .unwrap_or_else(|| command.into())
    }
}

impl Images {
    /// Pushes an image, or replaces it for containers that start from now on.
    pub fn push(&self, reference: impl Into<String>, image: Image) {
        self.with(|registry| registry.images.insert(reference.into(), image));
    }

    /// Refuses to give an image for so long, with this sentence.
    pub fn refuse(&self, reference: impl Into<String>, sentence: &str, time: Duration) {
        let refusal = (sentence.to_owned(), Instant::now() + time);
        self.with(|registry| registry.refusals.insert(reference.into(), refusal));
    }

    /// Removes an image from the registry.
    pub fn remove(&self, reference: &str) {
        self.with(|registry| registry.images.remove(reference));
    }

    /// The image, or the registry's sentence.
    pub(crate) fn pull(&self, reference: &str) -> Result<Image, String> {
        self.with(|registry| {
            let refusal = registry.refusals.get(reference);
            if let Some((sentence, _)) = refusal.filter(|(_, until)| Instant::now() < *until) {
                return Err(sentence.clone());
            }
            let image = registry.images.get(reference).cloned();
            image.ok_or_else(|| format!("{reference}: not found"))
        })
    }

    fn with<T>(&self, change: impl FnOnce(&mut Registry) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A path of the image on this machine.
fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_means_the_program_of_that_name_in_the_image() {
        let image = Image::program("/target/debug/aip").with("pdm", "/bin/true");
        assert_eq!(
            image.find("/usr/local/bin/aip"),
            Path::new("/target/debug/aip")
        );
        assert_eq!(image.find("pdm"), Path::new("/bin/true"));
        assert_eq!(image.find("/bin/sh"), Path::new("/bin/sh"));
    }

    #[test]
    fn only_exact_references_can_be_pulled() {
        let images = Images::default();
        images.push("registry/aip:1", Image::program("aip"));
        assert!(images.pull("registry/aip:1").is_ok());
        assert!(images.pull("registry/aip:2").is_err());
        images.remove("registry/aip:1");
        assert!(images.pull("registry/aip:1").is_err());
    }
}
