//! Client certificates on the admin listener.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::world::{Admin, World, limits, settings, soon};
use crate::edge::{Access, AdminTlsSettings, Edge, Inherited, ListenerSettings, TlsSettings};
use crate::flow::Budget;

/// What a client shows.
type Shown = Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>;

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority of a test");
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn vouch_for(&self, name: &str) -> Shown {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Some((certificate.der().clone(), PrivateKeyDer::try_from(key.serialize_der()).unwrap()))
    }
}

struct Files {
    folder: TempDir,
    server: CertificateDer<'static>,
}

impl Files {
    fn new(operators: &Authority) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(folder.path().join("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(folder.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        let files = Self { folder, server: made.cert.der().clone() };
        files.trust(operators);
        files
    }

    fn trust(&self, operators: &Authority) {
        std::fs::write(self.path("ca.pem"), operators.0.pem()).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn world(&self) -> World {
        let mut settings = settings(limits(), None);
        settings.admin_tls = Some(AdminTlsSettings {
            certificate: self.path("cert.pem"),
            key: self.path("key.pem"),
            client_ca: Some(self.path("ca.pem")),
        });
        let access = Arc::new(Access { client_certificates: true, ..Access::default() });
        World::start_with(settings, Admin { access, ..Admin::default() }).await
    }

    /// What a client is answered; an empty text if the handshake fails.
    async fn ask(&self, world: &World, path: &str, shown: Shown) -> String {
        let mut roots = RootCertStore::empty();
        roots.add(self.server.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match shown {
            Some((certificate, key)) => builder.with_client_auth_cert(vec![certificate], key).unwrap(),
            None => builder.with_no_client_auth(),
        };
        let stream = TcpStream::connect(world.addresses.admin).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let exchange = async {
            let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
            let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await?;
            std::io::Result::Ok(String::from_utf8_lossy(&answer).into_owned())
        };
        soon("an answer", exchange).await.unwrap_or_default()
    }
}

#[tokio::test]
async fn l14_a_certificate_of_the_operators_authority_opens_the_page_and_no_other_does() {
    let (operators, strangers) = (Authority::new(), Authority::new());
    let files = Files::new(&operators);
    let world = files.world().await;
    let answer = files.ask(&world, "/api/status", operators.vouch_for("alice")).await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("GET /api/status by certificate:CN=alice"),
        "{answer}"
    );
    let answer = files.ask(&world, "/api/status", None).await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    assert!(files.ask(&world, "/", None).await.starts_with("HTTP/1.1 401"));
    assert_eq!(files.ask(&world, "/api/status", strangers.vouch_for("alice")).await, "", "the handshake fails");
    // A kubelet has no certificate.
    assert!(files.ask(&world, "/healthz", None).await.starts_with("HTTP/1.1 200"));
    assert!(files.ask(&world, "/metrics", None).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn of_every_listener_with_tls_it_is_known_when_its_certificate_ends() {
    let (files, soon) = (Files::new(&Authority::new()), Files::new(&Authority::new()));
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.not_after = rcgen::date_time_ymd(2040, 1, 1);
    let key = KeyPair::generate().unwrap();
    std::fs::write(soon.path("cert.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(soon.path("key.pem"), key.serialize_pem()).unwrap();
    let tls =
        |files: &Files| TlsSettings { certificate: files.path("cert.pem"), key: files.path("key.pem"), client: None };
    let mut settings = settings(limits(), Some(tls(&files)));
    settings.admin_tls =
        Some(AdminTlsSettings { certificate: files.path("cert.pem"), key: files.path("key.pem"), client_ca: None });
    // All take free ports, so they have one name.
    for tls in [Some(tls(&soon)), None] {
        settings.listeners.push(ListenerSettings { tls, ..settings.listeners[0].clone() });
    }
    let edge = Edge::bind(settings, Budget::new(0), Inherited::none()).unwrap();
    let expiries = edge.control().certificate_expiries();
    let known: Vec<_> = expiries.iter().map(|(name, expiry)| (name.as_str(), expiry.unwrap().to_string())).collect();
    let expected = [("127.0.0.1:0", "2040-01-01T00:00:00Z"), ("admin", "4096-01-01T00:00:00Z")];
    assert_eq!(known, expected.map(|(name, expiry)| (name, expiry.to_owned())));
}

#[tokio::test]
async fn authorities_of_operators_are_read_again() {
    let (before, after) = (Authority::new(), Authority::new());
    let files = Files::new(&before);
    let world = files.world().await;
    let alice = before.vouch_for("alice");
    assert!(files.ask(&world, "/api/status", alice).await.starts_with("HTTP/1.1 200"));
    files.trust(&after);
    world.certificates.reload().unwrap();
    assert_eq!(files.ask(&world, "/api/status", before.vouch_for("alice")).await, "");
    assert!(files.ask(&world, "/api/status", after.vouch_for("bob")).await.starts_with("HTTP/1.1 200"));
    std::fs::write(files.path("ca.pem"), "nothing").unwrap();
    assert!(world.certificates.reload().is_err());
    assert!(
        files.ask(&world, "/api/status", after.vouch_for("bob")).await.starts_with("HTTP/1.1 200"),
        "the old ones stay"
    );
}
