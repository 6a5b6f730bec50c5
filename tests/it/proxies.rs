//! Proxies that say for whom they speak: the PROXY protocol, and headers. Only configured ones are believed.

use std::net::SocketAddr;
use std::path::Path;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use super::support::certs::Authority;
use super::support::clamd::Server;
use super::support::raw::{read_all, read_answer, status};
use super::support::restart::free_address;
use super::support::store::missing;
use super::support::{Answer, Gateway, Recorder, Setup, eventually};

/// Only the office may read.
const RULES: &str = "
  - { name: office, who: { tokens: [a], networks: [192.0.2.0/24] }, where: bkt/a/, what: [read] }";

async fn gateway(recorder: &Recorder, listener: &str) -> Gateway {
    Setup::before(recorder).rules(RULES).listener(listener).start().await
}

/// The answer to bytes, and to a request with the token of `a` behind them.
async fn send(gateway: &Gateway, before: &[u8], headers: &str) -> String {
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let host = gateway.address;
    let token = &gateway.a.token;
    let request = format!(
        "GET /bkt/a/x HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n{headers}Connection: close\r\n\r\n"
    );
    // A connection that is refused may be gone already.
    let _may_be_refused = stream.write_all(&[before, request.as_bytes()].concat()).await;
    read_all(&mut stream).await
}

fn v2(address: [u8; 4]) -> Vec<u8> {
    let addresses = [&address[..], &[10, 0, 0, 1, 0x10, 0, 1, 187]].concat();
    [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".as_slice(), &addresses].concat()
}

#[tokio::test]
async fn k26_the_client_that_a_proxy_names_is_the_client() {
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = gateway(&recorder, "proxy_protocol: { from: 127.0.0.1 }").await;
    for (header, client, code) in [
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 4096 443\r\n".to_vec(), "192.0.2.7", 200),
        (v2([192, 0, 2, 8]), "192.0.2.8", 200),
        (v2([198, 51, 100, 1]), "198.51.100.1", 403),
        (b"PROXY TCP6 2001:db8::7 ::1 4096 443\r\n".to_vec(), "2001:db8::7", 403),
        // For itself: a health check, which is not from the office.
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1", 403),
        (b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00".to_vec(), "127.0.0.1", 403),
    ] {
        let before = gateway.records().len();
        assert_eq!(status(&send(&gateway, &header, "").await), code, "{client}");
        assert_eq!(gateway.record(before + 1).await.client, client);
    }
}

#[tokio::test]
async fn k26_a_connection_without_the_header_or_from_elsewhere_is_not_served() {
    let recorder = Recorder::start(Answer::ok()).await;
    let proxied = gateway(&recorder, "proxy_protocol: { from: 127.0.0.1 }").await;
    for header in [
        &b""[..],
        b"PROXY TCP4 192.0.2.7 10.0.0.1 4096\r\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 4096 443\n",
        b"PROXY TCP4 localhost 10.0.0.1 4096 443\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\x00\x0c\xc0\x00\x02\x07\x0a\x00\x00\x01\x10\x00\x01\xbb",
    ] {
        assert_eq!(send(&proxied, header, "").await, "", "{header:?}");
    }
    let office = b"PROXY TCP4 192.0.2.7 10.0.0.1 4096 443\r\n";
    let elsewhere = gateway(&recorder, "proxy_protocol: { from: 10.0.0.0/8 }").await;
    assert_eq!(send(&elsewhere, office, "").await, "", "127.0.0.1 is no proxy");
    assert_eq!(send(&elsewhere, b"", "").await, "");
    // Where the protocol is not spoken the header is a request that nobody can read.
    let plain = gateway(&recorder, "").await;
    assert_eq!(status(&send(&plain, office, "").await), 400);
    assert!(recorder.is_silent());
    assert!(proxied.records().is_empty() && elsewhere.records().is_empty());
}

#[tokio::test]
async fn k26_a_proxy_that_does_not_finish_its_header_is_cut() {
    let recorder = Recorder::start(Answer::ok()).await;
    let setup = Setup::before(&recorder).rules(RULES).limits("{ timeouts: { handshake: 200ms } }");
    let gateway = setup.listener("proxy_protocol: { from: 127.0.0.1 }").start().await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(b"PROXY TCP4 192.0.2.7 ").await.unwrap();
    let mut rest = Vec::new();
    let end = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest);
    let _ended = tokio::time::timeout(std::time::Duration::from_secs(20), end).await.expect("the gateway cuts it");
    assert!(rest.is_empty());
}

#[tokio::test]
async fn k26_a_proxy_that_says_nothing_does_not_hold_up_the_end() {
    let recorder = Recorder::start(Answer::ok()).await;
    let setup = Setup::before(&recorder).rules(RULES).limits("{ timeouts: { handshake: 60s, drain: 60s } }");
    let gateway = setup.listener("proxy_protocol: { from: 127.0.0.1 }").start().await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(b"PROXY TCP4 192.0.2.7 ").await.unwrap();
    let accepted = async || gateway.ask_admin("/metrics").await.text().contains("countersign_connections_open 1");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !accepted().await {
        assert!(std::time::Instant::now() < deadline, "the connection is accepted");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let end = tokio::time::timeout(std::time::Duration::from_secs(20), gateway.stop());
    end.await.expect("the end does not wait for a header");
}

#[tokio::test]
async fn a16_forwarded_headers_count_from_configured_proxies_only() {
    let recorder = Recorder::start(Answer::ok()).await;
    let proxied = gateway(&recorder, "forwarded: { from: [127.0.0.1, 10.0.0.0/8] }").await;
    let rfc7239 = gateway(&recorder, "forwarded: { from: 127.0.0.1, header: forwarded }").await;
    let elsewhere = gateway(&recorder, "forwarded: { from: 10.0.0.0/8 }").await;
    let plain = gateway(&recorder, "").await;
    for (gateway, headers, client, code) in [
        (&proxied, "X-Forwarded-For: 192.0.2.7\r\n", "192.0.2.7", 200),
        (&proxied, "X-Forwarded-For: 192.0.2.7, 198.51.100.1, 10.0.0.3\r\n", "198.51.100.1", 403),
        (&proxied, "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-For: 198.51.100.1\r\n", "198.51.100.1", 403),
        (&proxied, "Forwarded: for=192.0.2.7\r\nX-Real-IP: 192.0.2.7\r\n", "127.0.0.1", 403),
        (&proxied, "X-Forwarded-For: 192.0.2.7, unknown\r\n", "127.0.0.1", 400),
        (&proxied, "X-Forwarded-For: 192.0.2.7,\r\n", "127.0.0.1", 400),
        (&rfc7239, "Forwarded: for=198.51.100.1, for=\"192.0.2.7:80\";proto=https\r\n", "192.0.2.7", 200),
        (&rfc7239, "X-Forwarded-For: 192.0.2.7\r\n", "127.0.0.1", 403),
        (&rfc7239, "Forwarded: for=_hidden\r\n", "127.0.0.1", 400),
        (&elsewhere, "X-Forwarded-For: 192.0.2.7\r\n", "127.0.0.1", 403),
        (&plain, "X-Forwarded-For: 192.0.2.7\r\nForwarded: for=192.0.2.7\r\n", "127.0.0.1", 403),
    ] {
        let (before, stored) = (gateway.records().len(), recorder.requests().len());
        assert_eq!(status(&send(gateway, b"", headers).await), code, "{headers}");
        assert_eq!(gateway.record(before + 1).await.client, client, "{headers}");
        let forwarded = recorder.requests().len() - stored;
        assert_eq!(forwarded, usize::from(code == 200), "{headers}");
    }
    for sent in recorder.requests() {
        assert!(!sent.head.to_ascii_lowercase().contains("forwarded"), "{}", sent.head);
    }
}

#[tokio::test]
async fn a10_failed_authentications_are_counted_for_the_client_that_a_proxy_names() {
    let recorder = Recorder::start(Answer::ok()).await;
    let setup = Setup::before(&recorder).limits("{ failed_authentications: { rate: 1, burst: 2 } }");
    let gateway = setup.listener("forwarded: { from: 127.0.0.1 }").start().await;
    let wrong = super::support::Client { address: gateway.address, token: "wrong".to_owned() };
    let ask = async |client: &str| wrong.send("GET", "/bkt/a/x", &[("x-forwarded-for", client)], "").await.code();
    let first: Vec<String> = vec![ask("192.0.2.7").await, ask("192.0.2.7").await, ask("192.0.2.7").await];
    assert_eq!(first, ["InvalidToken", "InvalidToken", "SlowDown"]);
    assert_eq!(ask("192.0.2.8").await, "InvalidToken", "another client");
    assert_eq!(ask("198.51.100.9, 192.0.2.7").await, "SlowDown", "the beginning of the list is made up");
}

#[tokio::test]
async fn k26_a_reload_ends_connections_of_a_removed_proxy_with_an_answer() {
    let recorder = Recorder::start(Answer::ok()).await;
    let setup = Setup::before(&recorder).rules(RULES).listener("proxy_protocol: { from: 127.0.0.1 }");
    let world = setup.start_reloadable().await;
    let gateway = &world.gateway;
    let mut kept = TcpStream::connect(gateway.address).await.unwrap();
    let request = format!(
        "GET /bkt/a/x HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\r\n",
        gateway.address, gateway.a.token
    );
    let first = format!("PROXY TCP4 192.0.2.7 10.0.0.1 4096 443\r\n{request}");
    kept.write_all(first.as_bytes()).await.unwrap();
    assert_eq!(gateway.record(1).await.client, "192.0.2.7");

    world.change("from: 127.0.0.1", "from: 10.0.0.0/8").await.unwrap();
    kept.write_all(request.as_bytes()).await.unwrap();
    let answers = read_all(&mut kept).await;
    let (first, second) = answers.split_at(answers.rfind("HTTP/1.1 ").unwrap());
    assert_eq!((status(first), status(second)), (200, 503), "{answers}");
    assert!(second.contains("connection: close") && second.contains("<Code>ServiceUnavailable</Code>"), "{second}");
    let record = gateway.record(2).await;
    assert_eq!(record.client, "127.0.0.1", "whom it spoke for is not known any more");
    assert_eq!(recorder.requests().len(), 1);
}

/// haproxy before listeners: how it speaks to each of them, and where that is. The other addresses are where clients connect, in this order.
fn haproxy(folder: &Path, token: &str, servers: &[(&str, SocketAddr)]) -> Option<(Server, Vec<SocketAddr>)> {
    let program = "/usr/sbin/haproxy";
    if !Path::new(program).exists() {
        missing("haproxy");
        return None;
    }
    // What its checks ask for is the office's, so that an answer to them tells who they are.
    let mut configuration = format!(
        "defaults\n mode http\n timeout connect 5s\n timeout client 20s\n timeout server 20s\n option forwardfor\n option httpchk\n \
         http-check send meth GET uri /bkt/a/x ver HTTP/1.1 hdr Host gateway hdr Authorization \"Bearer {token}\"\n \
         http-check expect status 403\n"
    );
    let fronts: Vec<SocketAddr> = servers.iter().map(|_| free_address()).collect();
    for (front, (how, gateway)) in fronts.iter().zip(servers) {
        configuration += &format!(
            "listen {front}\n bind {front}\n server gateway {gateway} {how} check inter 200ms fall 1 rise 1\n"
        );
    }
    let file = folder.join("haproxy.cfg");
    std::fs::write(&file, configuration).unwrap();
    Some((Server::start(folder, program, &["-db", "-f", file.to_str().unwrap()]), fronts))
}

#[tokio::test]
async fn k26_a16_haproxy_says_for_whom_it_speaks_and_its_checks_are_its_own() {
    let (recorder, authority) = (Recorder::start(Answer::ok()).await, Authority::new());
    let rules = RULES.replace("192.0.2.0/24", "127.0.0.2/32");
    let proxied = "proxy_protocol: { from: 127.0.0.1 }";
    let setup = Setup::before(&recorder).rules(&rules).tls(&authority.vouch_for(&["127.0.0.1"])).listener(proxied);
    let gateway = setup
        .listen(&format!("{{ address: 127.0.0.1:0, {proxied} }}"))
        .listen("{ address: 127.0.0.1:0, forwarded: { from: 127.0.0.1 } }")
        .start()
        .await;
    let [over_tls, plain, forwarded] = gateway.addresses[..] else { panic!("three listeners") };
    let tls = format!("send-proxy-v2 ssl verify required ca-file {}", authority.file().display());
    let folder = tempfile::tempdir().unwrap();
    let servers = [
        ("send-proxy", plain),
        ("send-proxy-v2", plain),
        ("send-proxy-v2 proxy-v2-options crc32c", plain),
        (tls.as_str(), over_tls),
        ("", forwarded),
    ];
    let Some((_proxy, fronts)) = haproxy(folder.path(), &gateway.a.token, &servers) else { return };
    eventually("checks over all listeners", || {
        let checks = gateway.records();
        assert!(
            checks.iter().all(|check| (check.client.as_str(), check.status) == ("127.0.0.1", Some(403))),
            "{checks:?}"
        );
        let over_tls = checks.iter().filter(|check| check.tls).count();
        over_tls >= 2 && checks.len() >= over_tls + 2 * servers.len()
    })
    .await;
    for (number, ((how, listener), front)) in servers.into_iter().zip(fronts).enumerate() {
        for (client, made_up, code) in [("127.0.0.2", "", 200), ("127.0.0.3", "X-Forwarded-For: 127.0.0.2\r\n", 403)] {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind((client.parse::<std::net::IpAddr>().unwrap(), 0).into()).unwrap();
            let mut stream = socket.connect(front).await.unwrap();
            let token = &gateway.a.token;
            let request = format!("GET /bkt/a/x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{made_up}\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            assert_eq!(status(&read_answer(&mut stream).await), code, "{how}: {client}");
            let its = || gateway.records().into_iter().filter(|record| record.client == client).collect::<Vec<_>>();
            eventually("the record of the client", || its().len() == number + 1).await;
            let record = its().remove(number);
            assert_eq!((record.status, record.tls), (Some(code), listener == over_tls), "{how}: {client}");
        }
    }
    assert_eq!(recorder.requests().len(), servers.len(), "each once, and no check");
}
