use std::net::Ipv4Addr;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tokio_rustls::TlsAcceptor;

use super::*;

fn settings(host: &str, port: u16) -> Settings {
    Settings {
        host: host.to_owned(),
        port,
        tls: false,
        ca_file: None,
        connect_timeout: Duration::from_secs(10),
        addresses: AddressPolicy::Any,
    }
}

async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// A port of this machine where nobody listens. It stays bound, so that nobody else gets it.
fn dead_port() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// A TLS server that echoes one connection after the other, with a certificate for `names`; and the file of its authority.
async fn tls_echo(names: &[&str]) -> (u16, NamedTempFile) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();

    let ca_file = NamedTempFile::new().unwrap();
    std::fs::write(ca_file.path(), authority.pem()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (listener, port) = listener().await;
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(socket).await else { continue };
            let mut buffer = [0; 5];
            stream.read_exact(&mut buffer).await.unwrap();
            stream.write_all(&buffer).await.unwrap();
            stream.flush().await.unwrap();
        }
    });
    (port, ca_file)
}

async fn echo_through(dialer: &Dialer) -> Stream {
    let mut stream = dialer.connect().await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    stream.flush().await.unwrap();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"hello");
    stream
}

#[tokio::test]
async fn plain_connections_reach_the_listener_without_delay_by_nagle() {
    let (listener, port) = listener().await;
    let stream = Dialer::new(settings("127.0.0.1", port)).unwrap().connect().await.unwrap();
    let (_, peer) = listener.accept().await.unwrap();
    assert_eq!(stream.socket().local_addr().unwrap(), peer);
    assert!(stream.socket().nodelay().unwrap());
    assert!(stream.is_write_vectored());
}

#[tokio::test]
async fn a_certificate_of_the_given_authority_and_name_is_accepted_and_the_session_resumed() {
    let (port, ca_file) = tls_echo(&["localhost", "127.0.0.1"]).await;
    for host in ["localhost", "127.0.0.1"] {
        let ca_file = Some(ca_file.path().to_owned());
        let dialer = Dialer::new(Settings { tls: true, ca_file, ..settings(host, port) }).unwrap();
        let kinds = [echo_through(&dialer).await, echo_through(&dialer).await].map(|stream| match stream {
            Stream::Tls(stream) => stream.get_ref().get_ref().1.handshake_kind(),
            Stream::Plain(_) => None,
        });
        assert_ne!(kinds[0], Some(rustls::HandshakeKind::Resumed), "{host}");
        assert_eq!(kinds[1], Some(rustls::HandshakeKind::Resumed), "{host}");
    }
}

#[tokio::test]
async fn k24_certificates_of_another_authority_or_for_another_name_are_refused() {
    let (port, ca_file) = tls_echo(&["elsewhere.example"]).await;
    let (_, other_authority) = tls_echo(&["localhost"]).await;
    for ca_file in [Some(ca_file.path()), Some(other_authority.path()), None] {
        let ca_file = ca_file.map(std::path::Path::to_owned);
        let dialer = match Dialer::new(Settings { tls: true, ca_file, ..settings("localhost", port) }) {
            Err(DialError::NoAuthorities) => continue, // a machine without any
            other => other.unwrap(),
        };
        let failure = dialer.connect().await.unwrap_err();
        assert!(matches!(failure, DialError::Tls { .. }), "{failure}");
    }
}

#[tokio::test]
async fn a_dialer_for_another_host_keeps_the_authorities() {
    let (port, ca_file) = tls_echo(&["localhost"]).await;
    let ca_path = ca_file.path().to_owned();
    let dialer = Dialer::new(Settings { tls: true, ca_file: Some(ca_path), ..settings("idp.example", 443) }).unwrap();
    drop(ca_file); // not read again
    echo_through(&dialer.retarget("localhost", port, true).unwrap()).await;
}

#[test]
fn a_file_without_certificates_is_refused() {
    let empty = NamedTempFile::new().unwrap();
    for path in [empty.path().to_owned(), PathBuf::from("/nonexistent/ca.pem")] {
        let result = Dialer::new(Settings { tls: true, ca_file: Some(path), ..settings("localhost", 1) });
        assert!(matches!(result, Err(DialError::CaFile { .. })), "{result:?}");
    }
}

#[test]
fn hosts_are_names_or_whole_addresses() {
    for host in ["example.com", "minio", "s3_store", "127.0.0.1", "::1", "[::1]", "a.1b", "example.com."] {
        assert!(Dialer::new(settings(host, 1)).is_ok(), "{host}");
    }
    for host in [
        "",
        "127.1",
        "2130706433",
        "0x7f000001",
        "127.0.0.1.",
        "a b",
        "a/b",
        "user@host",
        "host:80",
        "fe80::1%eth0",
        "[::1",
    ] {
        let result = Dialer::new(settings(host, 1));
        assert!(matches!(result, Err(DialError::BadHost { .. })), "{host}");
    }
}

#[tokio::test]
async fn guarded_dialers_refuse_metadata_addresses_and_names_of_this_machine() {
    let (_listener, port) = listener().await;
    let guarded =
        |host: &str| Dialer::new(Settings { addresses: AddressPolicy::Guarded, ..settings(host, port) }).unwrap();
    for host in ["169.254.169.254", "::ffff:169.254.169.254", "fe80::1", "fd00:ec2::254", "0.0.0.0", "::", "localhost"]
    {
        let failure = guarded(host).connect().await.unwrap_err();
        assert!(matches!(failure, DialError::AddressRefused { .. }), "{host}: {failure}");
    }
    assert!(guarded("127.0.0.1").connect().await.is_ok(), "written as a loopback address");
    assert!(Dialer::new(settings("localhost", port)).unwrap().connect().await.is_ok(), "not guarded");
}

#[tokio::test]
async fn every_address_is_tried_and_the_last_failure_reported() {
    let (_listener, port) = listener().await;
    let (_socket, dead) = dead_port();
    let alive = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let dialer = Dialer::new(settings("localhost", port)).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    assert_eq!(dialer.connect_any(&[dead, alive], deadline).await.unwrap().peer_addr().unwrap(), alive);
    let failure = dialer.connect_any(&[dead, dead], deadline).await.unwrap_err();
    assert!(matches!(failure, DialError::Connect { address, .. } if address == dead), "{failure}");
}

#[tokio::test]
async fn an_address_that_does_not_answer_uses_only_its_share_of_the_time() {
    // A full accept queue makes Linux drop further handshakes.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let full = socket.listen(1).unwrap();
    let silent = full.local_addr().unwrap();
    let mut fillers = Vec::new();
    while let Ok(filler) = tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(silent)).await {
        fillers.push(filler.unwrap());
    }

    let (_listener, port) = listener().await;
    let alive = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let dialer = Dialer::new(settings("localhost", port)).unwrap();
    let deadline = Instant::now() + Duration::from_secs(1);
    assert_eq!(dialer.connect_any(&[silent, alive], deadline).await.unwrap().peer_addr().unwrap(), alive);
    let failure = dialer.connect_any(&[silent], Instant::now() + Duration::from_millis(200)).await.unwrap_err();
    assert!(matches!(failure, DialError::Timeout { step: Step::Connect, .. }), "{failure}");
}

#[tokio::test]
async fn a_peer_that_says_nothing_after_the_tcp_handshake_runs_into_the_time_limit() {
    let (_listener, port) = listener().await;
    let (_, ca_file) = tls_echo(&["localhost"]).await;
    let dialer = Dialer::new(Settings {
        tls: true,
        ca_file: Some(ca_file.path().to_owned()),
        connect_timeout: Duration::from_millis(200),
        ..settings("127.0.0.1", port)
    });
    let began = Instant::now();
    let failure = dialer.unwrap().connect().await.unwrap_err();
    assert!(matches!(failure, DialError::Timeout { step: Step::Tls, .. }), "{failure}");
    assert!(began.elapsed() < Duration::from_secs(2));
}
