//! Certificates of clients: who gets through the handshake, also in a resumed session.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use rustls::client::Resumption;
use rustls::{ClientConfig, HandshakeKind, RootCertStore, version};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::world::{Event, World, limits, soon};
use crate::arrival::{Framing, Lapse};
use crate::base::{Clock, SystemClock};
use crate::edge::{ClientTlsSettings, TlsSettings};

type Issuer = CertifiedIssuer<'static, KeyPair>;

/// A certificate and its key.
type Shown = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn authority(name: &str) -> Issuer {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn client_of(issuer: &Issuer, serial: u64, change: impl FnOnce(&mut CertificateParams)) -> Shown {
    let mut params = CertificateParams::new(vec!["etl.example.com".to_owned()]).unwrap();
    params.serial_number = Some(SerialNumber::from(serial));
    params.use_authority_key_identifier_extension = true;
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    (vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
}

/// An instant to come, counted from 1970.
fn in_seconds(seconds: u64) -> Duration {
    Duration::from_secs(SystemClock.now().as_second() as u64 + seconds)
}

/// A listener that wants certificates, and its files.
struct Door {
    folder: TempDir,
    server: CertificateDer<'static>,
    issuer: Issuer,
}

impl Door {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let issuer = authority("authority for clients");
        let door = Self { folder, server: server.cert.der().clone(), issuer };
        door.write("cert.pem", &server.cert.pem());
        door.write("key.pem", &server.signing_key.serialize_pem());
        door.write("ca.pem", &door.issuer.pem());
        door
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// Writes the list of revoked certificates, which is good to the end of a year.
    fn revoke(&self, serials: &[u64], year: i32) {
        self.list(serials, |params| params.next_update = rcgen::date_time_ymd(year, 12, 31));
    }

    /// Writes the list of revoked certificates.
    fn list(&self, serials: &[u64], change: impl FnOnce(&mut CertificateRevocationListParams)) {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: rcgen::date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let mut params = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2024, 1, 1),
            next_update: rcgen::date_time_ymd(2090, 12, 31),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        change(&mut params);
        self.write("revoked.pem", &params.signed_by(&self.issuer).unwrap().pem().unwrap());
    }

    async fn open(&self, require: bool, with_list: bool) -> World {
        let crls = if with_list { vec![self.path("revoked.pem")] } else { Vec::new() };
        let client = ClientTlsSettings { ca: self.path("ca.pem"), crls, require, identity: true };
        let (certificate, key) = (self.path("cert.pem"), self.path("key.pem"));
        World::start_tls(limits(), TlsSettings { certificate, key, client: Some(client) }).await
    }

    fn config(&self, shown: Option<Shown>, tls12: bool) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.server.clone()).unwrap();
        let versions: &[_] = if tls12 { &[&version::TLS12] } else { &[&version::TLS13] };
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match shown {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
            None => builder.with_no_client_auth(),
        };
        config.resumption = Resumption::in_memory_sessions(8);
        Arc::new(config)
    }

    /// Whether a request is answered. In TLS 1.3 a client hears of a refusal after its own handshake only.
    async fn lets_in(&self, world: &World, shown: Option<Shown>) -> bool {
        let (new, old) = (shown.as_ref().map(|(chain, key)| (chain.clone(), key.clone_key())), shown);
        let in_13 = ask(world, &self.config(new, false)).await;
        assert_eq!(ask(world, &self.config(old, true)).await.is_some(), in_13.is_some(), "both versions alike");
        in_13.is_some()
    }
}

/// How the session began, if the request was answered.
async fn ask(world: &World, config: &Arc<ClientConfig>) -> Option<HandshakeKind> {
    let stream = TcpStream::connect(world.address()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let connecting = TlsConnector::from(Arc::clone(config)).connect(name, stream);
    let mut stream = soon("end of the handshake", connecting).await.ok()?;
    stream.write_all(b"GET /x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.ok()?;
    let mut answer = Vec::new();
    soon("end of the answer", stream.read_to_end(&mut answer)).await.ok()?;
    answer.starts_with(b"HTTP/1.1 200").then(|| stream.get_ref().1.handshake_kind().unwrap())
}

#[tokio::test]
async fn k23_a_certificate_of_the_authority_opens_the_door_and_no_other_does() {
    let door = Door::new();
    let world = door.open(true, false).await;
    assert!(door.lets_in(&world, Some(client_of(&door.issuer, 1, |_| {}))).await);
    assert!(!door.lets_in(&world, None).await, "no certificate");
    let impostor = authority("authority for clients");
    assert!(!door.lets_in(&world, Some(client_of(&impostor, 1, |_| {}))).await, "another authority of the same name");
    let expired = client_of(&door.issuer, 1, |params| params.not_after = rcgen::date_time_ymd(2024, 1, 1));
    assert!(!door.lets_in(&world, Some(expired)).await, "expired");
    let later = client_of(&door.issuer, 1, |params| params.not_before = rcgen::date_time_ymd(2090, 1, 1));
    assert!(!door.lets_in(&world, Some(later)).await, "not valid yet");
    let signer = client_of(&door.issuer, 1, |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    assert!(!door.lets_in(&world, Some(signer)).await, "an authority is no client");
    let server = client_of(&door.issuer, 1, |params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    });
    assert!(!door.lets_in(&world, Some(server)).await, "a certificate for servers");
    assert!(world.monitor.failed_handshakes() >= 12);
}

#[tokio::test]
async fn a_door_that_does_not_require_certificates_still_refuses_bad_ones() {
    let door = Door::new();
    let world = door.open(false, false).await;
    assert!(door.lets_in(&world, None).await);
    assert!(door.lets_in(&world, Some(client_of(&door.issuer, 1, |_| {}))).await);
    assert!(!door.lets_in(&world, Some(client_of(&authority("other"), 1, |_| {}))).await);
}

#[tokio::test]
async fn revoked_certificates_are_refused_and_so_is_everything_under_an_old_list() {
    let door = Door::new();
    door.revoke(&[2], 2090);
    let world = door.open(true, true).await;
    assert!(door.lets_in(&world, Some(client_of(&door.issuer, 1, |_| {}))).await);
    assert!(!door.lets_in(&world, Some(client_of(&door.issuer, 2, |_| {}))).await, "revoked");
    // Another authority, of whose certificates no list says anything.
    let other = authority("without a list");
    door.write("ca.pem", &(door.issuer.pem() + &other.pem()));
    world.certificates.reload().unwrap();
    assert!(door.lets_in(&world, Some(client_of(&door.issuer, 1, |_| {}))).await);
    assert!(!door.lets_in(&world, Some(client_of(&other, 1, |_| {}))).await, "not known whether revoked");
    door.revoke(&[], 2024);
    world.certificates.reload().unwrap();
    assert!(!door.lets_in(&world, Some(client_of(&door.issuer, 1, |_| {}))).await, "the list is over its time");
}

#[tokio::test]
async fn a_session_is_not_resumed_with_a_certificate_that_was_revoked_since() {
    for tls12 in [false, true] {
        let door = Door::new();
        door.revoke(&[], 2090);
        let world = door.open(true, true).await;
        let config = door.config(Some(client_of(&door.issuer, 2, |_| {})), tls12);
        assert_eq!(ask(&world, &config).await, Some(HandshakeKind::Full));
        door.revoke(&[2], 2090);
        world.certificates.reload().unwrap();
        assert_eq!(ask(&world, &config).await, None);
        door.revoke(&[], 2090);
        world.certificates.reload().unwrap();
        assert_eq!(ask(&world, &config).await, Some(HandshakeKind::Full), "nothing of before is resumed");
    }
}

#[tokio::test]
async fn without_lists_sessions_are_resumed_until_the_authorities_change() {
    for tls12 in [false, true] {
        let door = Door::new();
        let world = door.open(true, false).await;
        let config = door.config(Some(client_of(&door.issuer, 2, |_| {})), tls12);
        assert_eq!(ask(&world, &config).await, Some(HandshakeKind::Full));
        assert_eq!(ask(&world, &config).await, Some(HandshakeKind::Resumed));
        door.write("ca.pem", &authority("another").pem());
        world.certificates.reload().unwrap();
        assert_eq!(ask(&world, &config).await, None);
    }
}

#[tokio::test]
async fn k23_no_session_outlives_a_list_that_runs_out() {
    for tls12 in [false, true] {
        let door = Door::new();
        door.list(&[], |params| params.next_update = rcgen::date_time_ymd(1970, 1, 1) + in_seconds(4));
        let world = door.open(true, true).await;
        let config = door.config(Some(client_of(&door.issuer, 1, |_| {})), tls12);
        assert_eq!(ask(&world, &config).await, Some(HandshakeKind::Full));
        let refused = async {
            while let Some(handshake) = ask(&world, &config).await {
                assert_eq!(handshake, HandshakeKind::Full, "the list is asked each time");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        soon("end of the list", refused).await;
    }
}

/// A connection that is kept open, in the version of HTTP that was agreed on.
enum Kept {
    Http1(http1::SendRequest<Empty<Bytes>>),
    Http2(http2::SendRequest<Empty<Bytes>>),
}

impl Kept {
    async fn open(world: &World, config: &ClientConfig, protocol: &str) -> (Self, JoinHandle<hyper::Result<()>>) {
        let stream = TcpStream::connect(world.address()).await.unwrap();
        let mut config = config.clone();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TokioIo::new(TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap());
        if protocol == "h2" {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
            return (Self::Http2(sender), tokio::spawn(connection));
        }
        let (sender, connection) = http1::handshake(stream).await.unwrap();
        (Self::Http1(sender), tokio::spawn(connection))
    }

    /// How the request arrived.
    async fn ask(&mut self, world: &mut World) -> Framing {
        let request = http::Request::get("https://localhost/refuse").header("host", "localhost");
        let request = request.body(Empty::new()).unwrap();
        let answer = match self {
            Self::Http1(sender) => soon("answer", sender.send_request(request)).await,
            Self::Http2(sender) => soon("answer", sender.send_request(request)).await,
        };
        drop(answer.unwrap().into_body().collect().await.unwrap());
        let Event::Arrived(_, _, framing) = world.event().await else { panic!("not a request") };
        framing
    }
}

#[tokio::test]
async fn l09_open_connections_do_not_keep_certificates_and_lists_of_before() {
    for protocol in ["http/1.1", "h2"] {
        let door = Door::new();
        door.revoke(&[], 2090);
        let mut world = door.open(true, true).await;
        let (mut kept, _end) =
            Kept::open(&world, &door.config(Some(client_of(&door.issuer, 1, |_| {})), false), protocol).await;
        assert_eq!(kept.ask(&mut world).await, Framing::Clear);
        let [before, _] = world.certificates.in_use();
        assert!(before.upgrade().is_some());
        world.certificates.reload().unwrap();
        assert!(before.upgrade().is_none(), "{protocol}");
        assert_eq!(kept.ask(&mut world).await, Framing::Clear);
    }
}

#[tokio::test]
async fn k23_an_open_connection_ends_when_a_reload_would_not_let_its_client_in() {
    let refused = Framing::Lapsed(Lapse::Refused);
    for (tls12, protocol) in [(false, "http/1.1"), (true, "http/1.1"), (false, "h2"), (true, "h2")] {
        for what in ["revoked", "authority removed", "nothing"] {
            let door = Door::new();
            door.revoke(&[], 2090);
            let mut world = door.open(true, true).await;
            let config = door.config(Some(client_of(&door.issuer, 2, |_| {})), tls12);
            let (mut kept, end) = Kept::open(&world, &config, protocol).await;
            assert_eq!(kept.ask(&mut world).await, Framing::Clear);
            match what {
                "revoked" => door.revoke(&[2], 2090),
                "nothing" => door.revoke(&[3], 2090),
                _ => door.write("ca.pem", &authority("authority for clients").pem()),
            }
            assert_eq!(kept.ask(&mut world).await, Framing::Clear, "not before the reload");
            world.certificates.reload().unwrap();
            if what == "nothing" {
                assert_eq!(kept.ask(&mut world).await, Framing::Clear, "{protocol}");
                assert_eq!(kept.ask(&mut world).await, Framing::Clear, "{protocol}");
                continue;
            }
            assert_eq!(kept.ask(&mut world).await, refused, "{what}, {protocol}");
            soon("end of the connection", end).await.unwrap().unwrap();
        }
    }
}

#[tokio::test]
async fn k23_a_list_that_runs_out_ends_open_connections_of_those_it_was_about() {
    for protocol in ["http/1.1", "h2"] {
        let door = Door::new();
        door.list(&[], |params| params.next_update = rcgen::date_time_ymd(1970, 1, 1) + in_seconds(4));
        let mut world = door.open(false, true).await;
        let shown = client_of(&door.issuer, 1, |_| {});
        let (mut kept, end) = Kept::open(&world, &door.config(Some(shown), false), protocol).await;
        let (mut without, _) = Kept::open(&world, &door.config(None, false), protocol).await;
        assert_eq!(kept.ask(&mut world).await, Framing::Clear);
        let refused = async {
            loop {
                match kept.ask(&mut world).await {
                    Framing::Clear => tokio::time::sleep(Duration::from_millis(50)).await,
                    framing => break framing,
                }
            }
        };
        assert_eq!(soon("end of the list", refused).await, Framing::Lapsed(Lapse::Refused));
        soon("end of the connection", end).await.unwrap().unwrap();
        assert_eq!(without.ask(&mut world).await, Framing::Clear, "the list says nothing of it");
    }
}

#[tokio::test]
async fn a_certificate_ends_on_an_open_connection_and_whoever_needs_none_goes_on() {
    for protocol in ["http/1.1", "h2"] {
        let door = Door::new();
        let mut world = door.open(false, false).await;
        let short =
            client_of(&door.issuer, 1, |params| params.not_after = rcgen::date_time_ymd(1970, 1, 1) + in_seconds(4));
        let (mut kept, end) = Kept::open(&world, &door.config(Some(short), false), protocol).await;
        let (mut without, _) = Kept::open(&world, &door.config(None, false), protocol).await;
        assert_eq!(kept.ask(&mut world).await, Framing::Clear);
        let expired = async {
            while kept.ask(&mut world).await == Framing::Clear {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        soon("end of the certificate", expired).await;
        soon("end of the connection", end).await.unwrap().unwrap();
        world.certificates.reload().unwrap();
        assert_eq!(without.ask(&mut world).await, Framing::Clear, "it needs none after the reload either");
    }
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named_and_change_nothing() {
    let door = Door::new();
    door.revoke(&[], 2090);
    let world = door.open(true, true).await;
    for (file, error) in [("ca.pem", "has no certificate"), ("revoked.pem", "has no certificate revocation list")] {
        let before = std::fs::read_to_string(door.path(file)).unwrap();
        door.write(file, "nothing");
        let refused = world.certificates.reload().unwrap_err().to_string();
        assert!(refused.contains(error) && refused.contains(file), "{refused}");
        door.write(file, &before);
    }
    assert!(door.lets_in(&world, Some(client_of(&door.issuer, 1, |_| {}))).await);
}
