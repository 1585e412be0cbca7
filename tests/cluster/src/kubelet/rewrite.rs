//! What a process must be told differently because it is no container.
//!
//! It sees the machine's files and addresses. So in its arguments and in the values of its
//! variables, a path in a mounted volume becomes the path of that volume's private folder, and an
//! address to listen on (`0.0.0.0`, `[::]`, the Pod's own) becomes the Pod's loopback address.
//! The content of mounted files is left alone.

use std::path::{Path, PathBuf};

/// The differences of one container.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rewrite {
    /// Longest mount path first, so that a mount in a mount wins.
    mounts: Vec<(String, PathBuf)>,
    addresses: Vec<(String, String)>,
}

impl Rewrite {
    pub(crate) fn new(
        mounts: impl IntoIterator<Item = (String, PathBuf)>,
        pod: &str,
        local: &str,
    ) -> Self {
        let mut mounts: Vec<_> = mounts
            .into_iter()
            .map(|(path, folder)| (path.trim_end_matches('/').to_owned(), folder))
            .filter(|(path, _)| !path.is_empty())
            .collect();
        mounts.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        let addresses = ["0.0.0.0", "[::]", pod];
        Self {
            mounts,
            addresses: addresses
                .map(|from| (from.to_owned(), local.to_owned()))
                .into(),
        }
    }

    /// Where the container's `path` is on this machine, if a volume is mounted there.
    pub(crate) fn path(&self, path: &str) -> Option<PathBuf> {
        self.mounts.iter().find_map(|(mount, folder)| {
            let inside = Path::new(path).strip_prefix(mount).ok()?;
            Some(folder.join(inside))
        })
    }

    /// The text with every path and address changed.
    pub(crate) fn text(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(next) = rest.chars().next() {
            if let Some((from, to)) = self.found(&out, rest) {
                out.push_str(&to);
                rest = &rest[from..];
            } else {
                out.push(next);
                rest = &rest[next.len_utf8()..];
            }
        }
        out
    }

    /// Length of what stands at the beginning of `rest`, and what replaces it.
    fn found(&self, before: &str, rest: &str) -> Option<(usize, String)> {
        let mount = self.mounts.iter().find(|(path, _)| {
            rest.strip_prefix(path.as_str())
                .is_some_and(|after| begins_path(before) && ends_name(after))
        });
        if let Some((path, folder)) = mount {
            return Some((path.len(), folder.display().to_string()));
        }
        let address = self.addresses.iter().find(|(from, _)| {
            rest.strip_prefix(from.as_str())
                .is_some_and(|after| !ends_in_name(before) && ends_name(after))
        });
        address.map(|(from, to)| (from.len(), to.clone()))
    }
}

/// Whether a path that follows `before` is absolute: not the rest of another path, and not the
/// host of a URL (`https://data`), but a URL's path without a host (`sqlite:///data`).
fn begins_path(before: &str) -> bool {
    !ends_in_name(before) && (!before.ends_with('/') || before.ends_with("//"))
}

fn ends_in_name(before: &str) -> bool {
    before.chars().next_back().is_some_and(in_name)
}

fn ends_name(after: &str) -> bool {
    !after.chars().next().is_some_and(in_name)
}

fn in_name(letter: char) -> bool {
    letter.is_alphanumeric() || "._-".contains(letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewrite() -> Rewrite {
        let mounts = [
            ("/data".to_owned(), PathBuf::from("/tmp/v/data")),
            ("/data/keys/".to_owned(), PathBuf::from("/tmp/v/keys")),
        ];
        Rewrite::new(mounts, "10.80.1.7", "127.80.1.7")
    }

    #[test]
    fn paths_in_a_volume_become_paths_in_its_folder() {
        for (container, machine) in [
            ("/data", "/tmp/v/data"),
            ("/data/aip.db", "/tmp/v/data/aip.db"),
            ("/data/keys/a.json", "/tmp/v/keys/a.json"),
            (
                "--config=/data/a:/data/b",
                "--config=/tmp/v/data/a:/tmp/v/data/b",
            ),
            (
                "sqlite:///data/aip.db?mode=rwc",
                "sqlite:///tmp/v/data/aip.db?mode=rwc",
            ),
            ("/database", "/database"),
            ("/var/data", "/var/data"),
            ("https://data/x", "https://data/x"),
            ("a/data", "a/data"),
        ] {
            assert_eq!(rewrite().text(container), machine);
        }
    }

    #[test]
    fn addresses_to_listen_on_become_the_pods_loopback_address() {
        for (container, machine) in [
            ("0.0.0.0:8080", "127.80.1.7:8080"),
            ("[::]:8080", "127.80.1.7:8080"),
            ("http://10.80.1.7/", "http://127.80.1.7/"),
            ("10.80.1.70", "10.80.1.70"),
            ("10.0.0.0.0", "10.0.0.0.0"),
        ] {
            assert_eq!(rewrite().text(container), machine);
        }
    }

    #[test]
    fn a_path_outside_every_volume_has_no_place() {
        assert_eq!(rewrite().path("/data/x"), Some("/tmp/v/data/x".into()));
        assert_eq!(rewrite().path("/etc"), None);
    }
}
