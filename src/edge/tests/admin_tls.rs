//! Client certificates on the admin listener.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::world::{Admin, Probe, World, limits, settings, soon};
use crate::edge::{Access, ClientTlsSettings, Edge, Inherited, ListenerSettings, TlsSettings};
use crate::flow::Budget;

/// What a client shows.
type Shown = Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>;

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority of a test");
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn vouch_for(&self, name: &str) -> Shown {
        self.vouch_for_number(name, 1)
    }

    fn vouch_for_number(&self, name: &str, serial: u64) -> Shown {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.serial_number = Some(SerialNumber::from(serial));
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

    /// Writes the list of revoked certificates, which is good to the end of a year.
    fn revoke(&self, operators: &Authority, serials: &[u64], year: i32) {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: rcgen::date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2024, 1, 1),
            next_update: rcgen::date_time_ymd(year, 12, 31),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        std::fs::write(self.path("revoked.pem"), list.signed_by(&operators.0).unwrap().pem().unwrap()).unwrap();
    }

    async fn world(&self) -> World {
        self.world_with(Vec::new()).await
    }

    async fn world_with(&self, crls: Vec<PathBuf>) -> World {
        let mut settings = settings(limits(), None);
        let client = ClientTlsSettings { ca: self.path("ca.pem"), crls, require: false, identity: true };
        let (certificate, key) = (self.path("cert.pem"), self.path("key.pem"));
        settings.admin_tls = Some(TlsSettings { certificate, key, client: Some(client) });
        let access = Arc::new(Access { client_certificates: true, ..Access::default() });
        World::start_with(settings, Admin { access, ..Admin::default() }).await
    }

    /// What a client is answered; an empty text if the handshake fails.
    async fn ask(&self, world: &World, path: &str, shown: Shown) -> String {
        let exchange = async {
            let mut stream = self.connect(world, shown).await?;
            send(&mut stream, path, "connection: close\r\n").await?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await?;
            std::io::Result::Ok(String::from_utf8_lossy(&answer).into_owned())
        };
        soon("an answer", exchange).await.unwrap_or_default()
    }

    async fn connect(&self, world: &World, shown: Shown) -> std::io::Result<TlsStream<TcpStream>> {
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
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
    }
}

async fn send(stream: &mut TlsStream<TcpStream>, path: &str, more: &str) -> std::io::Result<()> {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{more}\r\n").as_bytes()).await
}

/// The head of the answer on a connection that is kept.
async fn ask_again(stream: &mut TlsStream<TcpStream>, path: &str) -> String {
    send(stream, path, "").await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon("head of an answer", stream.read_u8()).await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    soon("body of an answer", stream.read_exact(&mut vec![0; length.parse().unwrap()])).await.unwrap();
    head
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
    settings.admin_tls = Some(tls(&files));
    // All take free ports, so they have one name.
    for tls in [Some(tls(&soon)), None] {
        settings.listeners.push(ListenerSettings { tls, ..settings.listeners[0].clone() });
    }
    let edge = Edge::bind(settings, Probe::unheard(), Budget::new(0), Inherited::none()).unwrap();
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

#[tokio::test]
async fn l14_a_revoked_certificate_of_an_operator_opens_nothing_and_neither_does_any_under_an_old_list() {
    let operators = Authority::new();
    let files = Files::new(&operators);
    files.revoke(&operators, &[2], 2090);
    let world = files.world_with(vec![files.path("revoked.pem")]).await;
    let alice = || operators.vouch_for_number("alice", 1);
    assert!(files.ask(&world, "/api/status", alice()).await.starts_with("HTTP/1.1 200"));
    assert_eq!(files.ask(&world, "/api/status", operators.vouch_for_number("mallory", 2)).await, "");
    files.revoke(&operators, &[2], 2024);
    world.certificates.reload().unwrap();
    assert_eq!(files.ask(&world, "/api/status", alice()).await, "");
    assert!(files.ask(&world, "/healthz", None).await.starts_with("HTTP/1.1 200"), "a kubelet has no certificate");
}

#[tokio::test]
async fn l09_open_admin_connections_do_not_keep_certificates_and_lists_of_before() {
    let operators = Authority::new();
    let files = Files::new(&operators);
    let world = files.world().await;
    let mut kept = files.connect(&world, operators.vouch_for("alice")).await.unwrap();
    assert!(ask_again(&mut kept, "/api/status").await.starts_with("HTTP/1.1 200"));
    let [_, before] = world.certificates.in_use();
    assert!(before.upgrade().is_some());
    world.certificates.reload().unwrap();
    assert!(before.upgrade().is_none());
    assert!(ask_again(&mut kept, "/api/status").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn l14_open_admin_connections_are_checked_again_behind_a_reload() {
    for what in ["revoked", "authority removed", "no authorities", "nothing"] {
        let operators = Authority::new();
        let files = Files::new(&operators);
        files.revoke(&operators, &[], 2090);
        let world = files.world_with(vec![files.path("revoked.pem")]).await;
        let mut kept = files.connect(&world, operators.vouch_for_number("mallory", 2)).await.unwrap();
        let mut without = files.connect(&world, None).await.unwrap();
        assert!(ask_again(&mut kept, "/api/status").await.starts_with("HTTP/1.1 200"));
        assert!(ask_again(&mut without, "/healthz").await.starts_with("HTTP/1.1 200"));
        match what {
            "revoked" => files.revoke(&operators, &[2], 2090),
            "authority removed" => files.trust(&Authority::new()),
            _ => {}
        }
        assert!(ask_again(&mut kept, "/api/status").await.starts_with("HTTP/1.1 200"), "not before the reload");
        let changed = |settings: &mut crate::edge::Settings| {
            if what == "no authorities" {
                settings.admin_tls.as_mut().unwrap().client = None;
            }
        };
        world.certificates.reload_with(changed).unwrap();
        assert!(ask_again(&mut without, "/healthz").await.starts_with("HTTP/1.1 200"), "it needs none: {what}");
        if what == "nothing" {
            assert!(ask_again(&mut kept, "/api/status").await.starts_with("HTTP/1.1 200"));
            continue;
        }
        let refused = ask_again(&mut kept, "/api/status").await;
        assert!(refused.starts_with("HTTP/1.1 401") && refused.contains("connection: close"), "{what}: {refused}");
        assert_eq!(soon("end of the connection", kept.read(&mut [0; 1])).await.unwrap_or(0), 0);
    }
}
