//! Where state is kept: the URLs of Pulumi's own backends, as far as this program speaks them.

use std::path::{Path, PathBuf};

use aip_base::Environment;
use url::Url;

/// A place for state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backend {
    /// `file://`: a folder of this machine.
    Folder {
        /// The folder, absolute.
        path: PathBuf,
        /// The URL as it was given.
        url: String,
    },
    /// A bucket of S3 or of something that speaks its protocol.
    Bucket(Bucket),
}

/// A bucket and how to reach it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bucket {
    /// The URL as it was given.
    pub url: String,
    /// The bucket.
    pub name: String,
    /// What comes before every key; empty or ending in `/`.
    pub prefix: String,
    /// `region`.
    pub region: Option<String>,
    /// `profile`.
    pub profile: Option<String>,
    /// The server, if it is not AWS's own, as a URL.
    pub endpoint: Option<String>,
    /// Whether the bucket's name stands in the path instead of the host.
    pub path_style: bool,
}

/// Why a URL is not a place for state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages document the variants")]
pub enum BackendError {
    #[error("`{url}` is not a backend URL: use s3://BUCKET or file://FOLDER")]
    Malformed { url: String },
    #[error("state in {scheme}:// is not supported: use s3://BUCKET or file://FOLDER")]
    Unsupported { scheme: String },
    /// A parameter that is not known: a typo would silently reach another place.
    #[error("the backend URL has the unknown parameter `{name}`")]
    UnknownParameter { name: String },
    #[error("the parameter `{name}` of the backend URL is true or false")]
    NotBool { name: String },
    #[error("`{url}` needs a home folder, and HOME is not set")]
    NoHome { url: String },
}

impl Backend {
    /// Reads a backend URL. Relative folders are relative to `folder`.
    pub fn parse(
        url: &str,
        folder: &Path,
        environment: &Environment,
    ) -> Result<Self, BackendError> {
        let malformed = || BackendError::Malformed {
            url: url.to_owned(),
        };
        let (scheme, rest) = url.split_once("://").ok_or_else(malformed)?;
        match scheme {
            "file" => {
                let path = rest.split('?').next().unwrap_or_default();
                let home = || {
                    environment.home().ok_or_else(|| BackendError::NoHome {
                        url: url.to_owned(),
                    })
                };
                let path = match path.strip_prefix('~') {
                    Some(below) => home()?.join(below.trim_start_matches('/')),
                    None if path.is_empty() => return Err(malformed()),
                    None => folder.join(path),
                };
                Ok(Self::Folder {
                    path,
                    url: url.to_owned(),
                })
            }
            "s3" => Ok(Self::Bucket(Bucket::parse(url)?)),
            _ => Err(BackendError::Unsupported {
                scheme: scheme.to_owned(),
            }),
        }
    }

    /// The URL as it was given.
    pub fn url(&self) -> &str {
        match self {
            Self::Folder { url, .. } => url,
            Self::Bucket(bucket) => &bucket.url,
        }
    }
}

impl Bucket {
    fn parse(text: &str) -> Result<Self, BackendError> {
        let malformed = || BackendError::Malformed {
            url: text.to_owned(),
        };
        let url = Url::parse(text).map_err(|_| malformed())?;
        let name = url
            .host_str()
            .filter(|host| !host.is_empty())
            .ok_or_else(malformed)?;
        let prefix = url.path().trim_matches('/');
        let prefix = if prefix.is_empty() {
            String::new()
        } else {
            format!("{prefix}/")
        };
        let mut bucket = Self {
            url: text.to_owned(),
            name: name.to_owned(),
            prefix,
            ..Self::default()
        };
        let mut plain_http = false;
        for (name, value) in url.query_pairs() {
            let flag = || match value.as_ref() {
                "true" | "1" => Ok(true),
                "false" | "0" => Ok(false),
                _ => Err(BackendError::NotBool {
                    name: name.to_string(),
                }),
            };
            match name.as_ref() {
                "region" => bucket.region = Some(value.into_owned()),
                "profile" => bucket.profile = Some(value.into_owned()),
                "endpoint" => bucket.endpoint = Some(value.into_owned()),
                "disableSSL" | "disable_https" => plain_http = flag()?,
                "s3ForcePathStyle" | "use_path_style" | "hostname_immutable" => {
                    bucket.path_style |= flag()?;
                }
                // Which SDK a Go program uses, and how it stages its files.
                "awssdk" | "no_tmp_dir" => {}
                _ => {
                    return Err(BackendError::UnknownParameter {
                        name: name.into_owned(),
                    });
                }
            }
        }
        bucket.endpoint = bucket
            .endpoint
            .map(|endpoint| match endpoint.contains("://") {
                true => endpoint,
                false if plain_http => format!("http://{endpoint}"),
                false => format!("https://{endpoint}"),
            });
        Ok(bucket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Backend, BackendError> {
        Backend::parse(
            url,
            Path::new("/project"),
            &Environment::new([("HOME", "/people/me")]),
        )
    }

    #[test]
    fn folders_may_be_absolute_relative_or_below_home() {
        for (url, path) in [
            ("file:///var/state", "/var/state"),
            ("file://./state", "/project/./state"),
            ("file://~", "/people/me"),
            ("file://~/state?no_tmp_dir=true", "/people/me/state"),
        ] {
            let Backend::Folder { path: parsed, .. } = parse(url).unwrap() else {
                panic!("{url}")
            };
            assert_eq!(parsed, Path::new(path));
        }
    }

    #[test]
    fn buckets_take_pulumis_parameters() {
        let url = "s3://state/team/a?region=eu-central-1&endpoint=localhost:9000&disableSSL=true&s3ForcePathStyle=true&awssdk=v2";
        let Backend::Bucket(bucket) = parse(url).unwrap() else {
            panic!("not a bucket")
        };
        assert_eq!(
            (bucket.name.as_str(), bucket.prefix.as_str()),
            ("state", "team/a/")
        );
        assert_eq!(bucket.region.as_deref(), Some("eu-central-1"));
        assert_eq!(bucket.endpoint.as_deref(), Some("http://localhost:9000"));
        assert!(bucket.path_style);
    }

    #[test]
    fn what_is_not_spoken_is_refused_by_name() {
        assert_eq!(
            parse("gs://b").unwrap_err(),
            BackendError::Unsupported {
                scheme: "gs".to_owned()
            }
        );
        assert!(
            parse("https://api.pulumi.com")
                .unwrap_err()
                .to_string()
                .contains("not supported")
        );
        assert!(matches!(
            parse("s3://b?regoin=x"),
            Err(BackendError::UnknownParameter { .. })
        ));
        assert!(matches!(
            parse("s3://b?disableSSL=maybe"),
            Err(BackendError::NotBool { .. })
        ));
        for url in ["", "s3://", "file://", "bucket"] {
            assert!(
                matches!(parse(url), Err(BackendError::Malformed { .. })),
                "{url}"
            );
        }
    }
}
