//! The header of the PROXY protocol, which says for whom a proxy has opened a connection.
//!
//! Read strictly, and byte for byte no further than it goes: what follows belongs to TLS or HTTP. A header that says nothing of a client
//! (LOCAL, UNKNOWN) means that the proxy speaks for itself, as in its health checks. Additional values (TLVs) are passed over.
//! Source: "The PROXY protocol", versions 1 and 2, HAProxy 2.9; `docs/THREATS.md` K26.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest line of version 1, with its end.
const MAX_LINE_BYTES: usize = 107;
/// What is taken behind the fixed part of version 2: addresses, and additional values such as the certificate of a client.
const MAX_V2_BYTES: usize = 4096;
/// What version 2 begins with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Why a connection of a proxy is not served.
#[derive(Debug, thiserror::Error)]
pub enum ProxyHeaderError {
    /// The connection ended, or failed, within it.
    #[error("the PROXY header is cut off: {0}")]
    Cut(#[from] io::Error),
    /// Something else comes first.
    #[error("the connection does not begin with a PROXY header")]
    Missing,
    /// It breaks the specification, or says what no proxy of ours has to say.
    #[error("the PROXY header is malformed: {0}")]
    Malformed(&'static str),
}

use ProxyHeaderError::Malformed;

/// Reads the header. `None` if the proxy speaks for itself.
///
/// # Errors
/// [`ProxyHeaderError`]; then nobody knows where the header ends, and nothing of the connection can be used.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<SocketAddr>, ProxyHeaderError> {
    // Shorter than every header, so nothing is read that belongs to what follows.
    let mut start = [0; 12];
    stream.read_exact(&mut start).await?;
    if start == SIGNATURE {
        return read_v2(stream).await;
    }
    if !start.starts_with(b"PROXY ") {
        return Err(ProxyHeaderError::Missing);
    }
    let mut line = start.to_vec();
    // One by one: nobody says how long it is, and it comes once for each connection.
    while !line.ends_with(b"\r\n") {
        if line.len() == MAX_LINE_BYTES {
            return Err(Malformed("the line is too long"));
        }
        line.push(stream.read_u8().await?);
    }
    parse_v1(&line[..line.len() - 2])
}

/// Reads a line of version 1 without its end.
fn parse_v1(line: &[u8]) -> Result<Option<SocketAddr>, ProxyHeaderError> {
    let text = std::str::from_utf8(line).map_err(|_| Malformed("the line is no text"))?;
    let fields: Vec<&str> = text.split(' ').collect();
    match fields[..] {
        // Whatever follows is to be passed over.
        ["PROXY", "UNKNOWN", ..] => Ok(None),
        ["PROXY", "TCP4", source, destination, from, to] => {
            let _ours: Ipv4Addr = destination.parse().map_err(|_| Malformed("an address"))?;
            let source: Ipv4Addr = source.parse().map_err(|_| Malformed("an address"))?;
            port(to)?;
            client(source.into(), port(from)?)
        }
        ["PROXY", "TCP6", source, destination, from, to] => {
            let _ours: Ipv6Addr = destination.parse().map_err(|_| Malformed("an address"))?;
            let source: Ipv6Addr = source.parse().map_err(|_| Malformed("an address"))?;
            port(to)?;
            client(source.into(), port(from)?)
        }
        _ => Err(Malformed("the line has other fields")),
    }
}

fn port(text: &str) -> Result<u16, ProxyHeaderError> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain).ok_or(Malformed("a port"))
}

async fn read_v2(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<SocketAddr>, ProxyHeaderError> {
    let mut fixed = [0; 4];
    stream.read_exact(&mut fixed).await?;
    let [version_command, family, high, low] = fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > MAX_V2_BYTES {
        return Err(Malformed("it is too long"));
    }
    let mut rest = vec![0; length];
    stream.read_exact(&mut rest).await?;
    parse_v2(version_command, family, &rest)
}

/// Reads what version 2 says: the byte of version and command, that of family and transport, and everything behind the length.
fn parse_v2(version_command: u8, family: u8, rest: &[u8]) -> Result<Option<SocketAddr>, ProxyHeaderError> {
    match (version_command, family) {
        // The family of LOCAL, and everything behind it, is to be passed over.
        (0x20, _) | (0x21, 0x00) => Ok(None),
        (0x21, 0x11) => {
            let [a, b, c, d, _, _, _, _, high, low, ..] = *rest else { return Err(Malformed("it is too short")) };
            check_end(rest, 12)?;
            client(Ipv4Addr::new(a, b, c, d).into(), u16::from_be_bytes([high, low]))
        }
        (0x21, 0x21) => {
            check_end(rest, 36)?;
            let source: [u8; 16] = rest[..16].try_into().map_err(|_| Malformed("it is too short"))?;
            client(Ipv6Addr::from(source).into(), u16::from_be_bytes([rest[32], rest[33]]))
        }
        (0x21, _) => Err(Malformed("an address of another kind than TCP over IPv4 or IPv6")),
        _ => Err(Malformed("another version or command")),
    }
}

/// The addresses must be there in full, and the additional values behind them must end where the header ends.
fn check_end(rest: &[u8], addresses: usize) -> Result<(), ProxyHeaderError> {
    let mut values = rest.get(addresses..).ok_or(Malformed("it is too short"))?;
    while !values.is_empty() {
        let [_kind, high, low, behind @ ..] = values else { return Err(Malformed("an additional value is cut off")) };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        values = behind.get(length..).ok_or(Malformed("an additional value is cut off"))?;
    }
    Ok(())
}

fn client(address: IpAddr, port: u16) -> Result<Option<SocketAddr>, ProxyHeaderError> {
    let address = address.to_canonical();
    if address.is_unspecified() || address.is_multicast() {
        return Err(Malformed("nobody has this address"));
    }
    Ok(Some(SocketAddr::new(address, port)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is read, and how many bytes are left.
    fn parse(bytes: &[u8]) -> Result<(Option<SocketAddr>, usize), String> {
        let mut stream = bytes;
        let read = futures_util::FutureExt::now_or_never(read(&mut stream)).expect("a slice is always ready");
        read.map(|client| (client, stream.len())).map_err(|error| error.to_string())
    }

    fn v2(version_command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[version_command, family], &length, rest].concat()
    }

    #[test]
    fn k26_both_versions_name_the_client() {
        let four = [192, 0, 2, 7, 10, 0, 0, 1, 0x1f, 0x90, 1, 187];
        let six = [&Ipv6Addr::LOCALHOST.octets()[..], &[0; 16], &[0, 80, 0, 80]].concat();
        let values = [&four[..], &[0x03, 0, 4, 1, 2, 3, 4], &[0xe0, 0, 0]].concat();
        for (header, client) in [
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 8080 443\r\n".to_vec(), Some("192.0.2.7:8080")),
            (b"PROXY TCP6 2001:db8::7 ::1 1 65535\r\n".to_vec(), Some("[2001:db8::7]:1")),
            (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n".to_vec(), Some("192.0.2.7:1")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n".to_vec(), None),
            (v2(0x21, 0x11, &four), Some("192.0.2.7:8080")),
            (v2(0x21, 0x21, &six), Some("[::1]:80")),
            (v2(0x21, 0x11, &values), Some("192.0.2.7:8080")),
            (v2(0x20, 0x00, &[]), None),
            (v2(0x20, 0x11, &four), None),
            (v2(0x20, 0x55, b"anything"), None),
            (v2(0x21, 0x00, &[]), None),
        ] {
            let all = [&header[..], b"GET / HTTP/1.1\r\n"].concat();
            let expected = client.map(|client| client.parse().unwrap());
            assert_eq!(parse(&all), Ok((expected, 16)), "{}", String::from_utf8_lossy(&header));
        }
    }

    #[test]
    fn k26_everything_else_is_refused() {
        let four = [192, 0, 2, 7, 10, 0, 0, 1, 0x1f, 0x90, 1, 187];
        for header in [
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00".to_vec(),
            b"proxy TCP4 192.0.2.7 10.0.0.1 1 2\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2\n          ".to_vec(),
            b"PROXY TCP4  192.0.2.7 10.0.0.1 1 2\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2 \r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 1\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.07 10.0.0.1 1 2\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 +1 2\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 1 65536\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 01 2\r\n".to_vec(),
            b"PROXY TCP4 ::1 ::1 1 2\r\n".to_vec(),
            b"PROXY TCP6 192.0.2.7 10.0.0.1 1 2\r\n".to_vec(),
            b"PROXY TCP4 0.0.0.0 10.0.0.1 1 2\r\n".to_vec(),
            b"PROXY UDP4 192.0.2.7 10.0.0.1 1 2\r\n".to_vec(),
            [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200], b"\r\n"].concat(),
            v2(0x22, 0x11, &four),
            v2(0x11, 0x11, &four),
            v2(0x21, 0x12, &four),
            v2(0x21, 0x31, &[0; 216]),
            v2(0x21, 0x11, &four[..11]),
            v2(0x21, 0x21, &four),
            v2(0x21, 0x11, &[&four[..], &[3, 0, 9, 1]].concat()),
            v2(0x21, 0x11, &[&four[..], &[3, 0]].concat()),
            v2(0x20, 0x00, &[0; MAX_V2_BYTES + 1]),
            v2(0x21, 0x11, &four)[..20].to_vec(),
            b"PROXY TCP4 192.0.2".to_vec(),
            Vec::new(),
        ] {
            assert!(parse(&header).is_err(), "{}: {:?}", String::from_utf8_lossy(&header), parse(&header));
        }
    }

    proptest! {
        #[test]
        fn k26_what_a_proxy_writes_is_read_and_no_byte_more(address: Ipv4Addr, port: u16, rest: Vec<u8>) {
            prop_assume!(!address.is_unspecified() && !address.is_multicast());
            let line = format!("PROXY TCP4 {address} 10.0.0.1 {port} 443\r\n");
            let expected = Some(SocketAddr::new(address.into(), port));
            prop_assert_eq!(parse(&[line.as_bytes(), &rest].concat()), Ok((expected, rest.len())));
            let binary = [&address.octets()[..], &[10, 0, 0, 1], &port.to_be_bytes(), &[1, 187]].concat();
            prop_assert_eq!(parse(&[&v2(0x21, 0x11, &binary)[..], &rest].concat()), Ok((expected, rest.len())));
        }

        #[test]
        fn k26_no_bytes_make_it_panic(start: bool, command: u8, family: u8, rest in prop::collection::vec(any::<u8>(), 0..300)) {
            let _any = parse(&rest);
            let _any = parse(&v2(if start { 0x21 } else { command }, family, &rest));
            let _any = parse(&[b"PROXY ".as_slice(), &rest].concat());
        }
    }
}
