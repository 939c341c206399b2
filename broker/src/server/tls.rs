//! TLS for one listener: certificates read from files, again whenever the configuration is reloaded.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate, X509Name};

use crate::config::Tls;

#[derive(Debug, Error)]
pub enum TlsError {
    #[error("can not read {path}: {reason}")]
    File { path: PathBuf, reason: String },
    #[error("clients are to show certificates, and no `ca_file` (--tlscacert) says whose")]
    NoAuthority,
    #[error("{path} holds no certificate")]
    NoCertificate { path: PathBuf },
    #[error("the certificate in {path} can not be used: {reason}")]
    Unusable { path: PathBuf, reason: String },
}

/// Takes handshakes with the certificates that were read last.
#[derive(Debug)]
pub struct Acceptor {
    current: RwLock<Arc<ServerConfig>>,
    timeout: Duration,
}

impl Acceptor {
    pub fn new(tls: &Tls) -> Result<Acceptor, TlsError> {
        Ok(Acceptor {
            current: RwLock::new(read(tls)?),
            timeout: tls.timeout,
        })
    }

    /// Connections that are there go on; new ones see what was [`read`].
    pub fn replace(&self, config: Arc<ServerConfig>) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = config;
    }

    pub async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let config = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner));
        timeout(self.timeout, TlsAcceptor::from(config).accept(stream)).await?
    }
}

/// The certificates and keys in the files.
pub fn read(tls: &Tls) -> Result<Arc<ServerConfig>, TlsError> {
    if tls.asks_for_certificates() && tls.ca_file.is_none() {
        return Err(TlsError::NoAuthority);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let unusable = |path: &Path, reason: &dyn std::fmt::Display| TlsError::Unusable {
        path: path.to_owned(),
        reason: reason.to_string(),
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&tls.cert_file, &error))?;
    let builder = match tls.ca_file.as_ref().filter(|_| tls.asks_for_certificates()) {
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| unusable(path, &error))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| unusable(path, &error))?)
        }
        None => builder.with_no_client_auth(),
    };
    let key = PrivateKeyDer::from_pem_file(&tls.key_file).map_err(|error| TlsError::File {
        path: tls.key_file.clone(),
        reason: error.to_string(),
    })?;
    let config = builder.with_single_cert(certificates(&tls.cert_file)?, key);
    config
        .map(Arc::new)
        .map_err(|error| unusable(&tls.cert_file, &error))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable = |error: rustls::pki_types::pem::Error| TlsError::File {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(unreadable)?.collect();
    let found = found.map_err(unreadable)?;
    if found.is_empty() {
        return Err(TlsError::NoCertificate {
            path: path.to_owned(),
        });
    }
    Ok(found)
}

/// The names that the client's certificate gives it: e-mail addresses, hosts, then its subject. It was verified before.
pub fn names(stream: &TlsStream<TcpStream>) -> Vec<String> {
    let (_, connection) = stream.get_ref();
    let first = connection.peer_certificates().and_then(<[_]>::first);
    let parsed = first.and_then(|certificate| X509Certificate::from_der(certificate).ok());
    parsed
        .map(|(_, certificate)| names_in(&certificate))
        .unwrap_or_default()
}

fn names_in(certificate: &X509Certificate<'_>) -> Vec<String> {
    let (mut emails, mut hosts) = (Vec::new(), Vec::new());
    for extension in certificate.extensions() {
        if let ParsedExtension::SubjectAlternativeName(alternatives) = extension.parsed_extension() {
            for name in &alternatives.general_names {
                match name {
                    GeneralName::RFC822Name(email) => emails.push((*email).to_owned()),
                    GeneralName::DNSName(host) => hosts.push((*host).to_owned()),
                    _ => {}
                }
            }
        }
    }
    emails.append(&mut hosts);
    emails.push(distinguished(certificate.subject()));
    emails
}

/// `CN=…,OU=…,O=…`: the most specific part first, as RFC 2253 writes it.
fn distinguished(name: &X509Name<'_>) -> String {
    let mut parts: Vec<String> = name
        .iter_attributes()
        .filter_map(|attribute| {
            let oid = attribute.attr_type().to_id_string();
            let short = match oid.as_str() {
                "2.5.4.3" => "CN",
                "2.5.4.5" => "SERIALNUMBER",
                "2.5.4.6" => "C",
                "2.5.4.7" => "L",
                "2.5.4.8" => "ST",
                "2.5.4.9" => "STREET",
                "2.5.4.10" => "O",
                "2.5.4.11" => "OU",
                "2.5.4.17" => "POSTALCODE",
                "0.9.2342.19200300.100.1.25" => "DC",
                other => other,
            };
            Some(format!("{short}={}", attribute.as_str().ok()?))
        })
        .collect();
    parts.reverse();
    parts.join(",")
}
