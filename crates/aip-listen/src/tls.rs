//! Server-side TLS whose certificate is replaced without a restart.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{CipherSuite, ServerConfig, SupportedCipherSuite};
use tokio::sync::watch;

/// Where certificate and key are.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// PEM: the server's certificate, then the intermediate ones.
    pub certificates: PathBuf,
    /// PEM: the private key.
    pub key: PathBuf,
}

/// Why certificate and key are not usable.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is no PEM of the right kind.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// The certificate file has no certificate in it.
    #[error("{}: no certificate in it", .0.display())]
    NoCertificate(PathBuf),
    /// The pair is not usable, as when the key belongs to another certificate.
    #[error("certificate and key are not usable: {0}")]
    Pair(#[from] rustls::Error),
}

/// TLS settings that follow their files.
pub struct Tls {
    files: TlsFiles,
    current: watch::Sender<Arc<ServerConfig>>,
}

impl Tls {
    /// Loads certificate and key.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let config = server_config(&files)?;
        Ok(Self {
            files,
            current: watch::Sender::new(Arc::new(config)),
        })
    }

    /// Loads both files again. When they are bad, what was loaded before stays in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        let config = server_config(&self.files)?;
        self.current.send_replace(Arc::new(config));
        Ok(())
    }

    /// Reloads whenever one of the files has changed, looking every `interval`; never returns.
    ///
    /// Files are often replaced one after the other: a pair that does not fit is logged, and
    /// tried again when the other file has followed.
    pub async fn follow_files(&self, interval: Duration) {
        let mut ticks = tokio::time::interval(interval);
        let mut seen = self.file_versions();
        loop {
            ticks.tick().await;
            let file_versions = self.file_versions();
            if file_versions == seen {
                continue;
            }
            seen = file_versions;
            match self.reload() {
                Ok(()) => tracing::info!("TLS certificate reloaded"),
                Err(error) => {
                    tracing::error!(%error, "TLS certificate reload failed, keeping the current one");
                }
            }
        }
    }

    /// The settings for the next handshake.
    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.borrow())
    }

    fn file_versions(&self) -> [Option<FileVersion>; 2] {
        [
            file_version(&self.files.certificates),
            file_version(&self.files.key),
        ]
    }
}

/// Modification time and size: what shows that a file was replaced.
type FileVersion = (SystemTime, u64);

fn file_version(path: &Path) -> Option<FileVersion> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn server_config(files: &TlsFiles) -> Result<ServerConfig, TlsError> {
    let bad = |path: &Path| {
        let path = path.to_owned();
        move |source| TlsError::File { path, source }
    };
    let chain = CertificateDer::pem_file_iter(&files.certificates)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(bad(&files.certificates))?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate(files.certificates.clone()));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(bad(&files.key))?;
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.retain(is_recommended);
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Whether a cipher suite is one of TLS 1.3, or of TLS 1.2 one of the four that RFC 9325 §4.2 recommends:
/// FAPI 2.0 Security Profile §5.2.2 permits no others between servers. Clients of TLS 1.2 all have them.
fn is_recommended(suite: &SupportedCipherSuite) -> bool {
    suite.tls13().is_some()
        || matches!(
            suite.suite(),
            CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
                | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
                | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
                | CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
        )
}
