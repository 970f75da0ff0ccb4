//! The certificate that the server serves HTTPS with. It is read again when its files change, without
//! a pause; a wrong one is refused, and the one before stays.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::credentials::{Readers, check_private};
use crate::stamp::Stamp;

/// The certificate in use, and where it comes from.
pub struct Tls {
    cert: PathBuf,
    key: PathBuf,
    config: RwLock<Arc<ServerConfig>>,
    looked: Mutex<Looked>,
}

/// The states of the two files.
struct Looked {
    /// When they were read last.
    read: [Stamp; 2],
    /// At the last look.
    seen: [Stamp; 2],
}

impl Tls {
    /// Reads a certificate chain and its private key (PEM).
    ///
    /// # Errors
    /// They cannot be used; the text says why.
    pub fn open(cert: &Path, key: &Path) -> Result<Self, String> {
        let read = stamps(cert, key);
        let config = RwLock::new(Arc::new(load(cert, key)?));
        let looked = Mutex::new(Looked { seen: read.clone(), read });
        Ok(Self { cert: cert.to_owned(), key: key.to_owned(), config, looked })
    }

    /// Makes new connections with the certificate in use now.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.read().clone())
    }

    /// Reads the files again if they have changed. Files that are just being written are read at the
    /// next call.
    pub fn look(&self) {
        let mut looked = self.looked.lock();
        let now = stamps(&self.cert, &self.key);
        if now == looked.seen && now != looked.read {
            self.take(&mut looked, now.clone());
        }
        looked.seen = now;
    }

    /// Reads the files again, whether they have changed or not.
    pub fn reload(&self) {
        let now = stamps(&self.cert, &self.key);
        self.take(&mut self.looked.lock(), now);
    }

    fn take(&self, looked: &mut Looked, now: [Stamp; 2]) {
        looked.read = now;
        match load(&self.cert, &self.key) {
            Ok(config) => {
                *self.config.write() = Arc::new(config);
                tracing::info!(cert = %self.cert.display(), "the TLS certificate was read again");
            }
            Err(why) => tracing::error!(why, "the TLS certificate is refused; the one before stays in use"),
        }
    }
}

fn stamps(cert: &Path, key: &Path) -> [Stamp; 2] {
    [Stamp::now(cert), Stamp::now(key)]
}

fn load(cert: &Path, key: &Path) -> Result<ServerConfig, String> {
    let read =
        |path: &Path, error: &dyn std::fmt::Display| format!("{} cannot be used for TLS: {error}", path.display());
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_file_iter(cert).and_then(Iterator::collect).map_err(|error| read(cert, &error))?;
    let key_file = File::open(key).map_err(|error| read(key, &error))?;
    check_private(key, &key_file, "the key that TLS rests on", Readers::GroupOfRoot)?;
    let key_der = PrivateKeyDer::from_pem_reader(key_file).map_err(|error| read(key, &error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, key_der)
        .map_err(|error| read(cert, &error))
}
