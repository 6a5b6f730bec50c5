//! Objects with something in them, packed in several ways.

use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder};

/// As gzip.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A zip archive with one deflated file.
pub fn zip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    zip_of(0, 8, &encoder.finish().unwrap(), bytes)
}

/// A zip archive whose one file says that it is encrypted.
pub fn encrypted_zip(bytes: &[u8]) -> Vec<u8> {
    let sealed: Vec<u8> = [0; 12].iter().chain(bytes).map(|byte| byte ^ 0x5a).collect();
    zip_of(1, 0, &sealed, bytes)
}

fn zip_of(flags: u16, method: u16, packed: &[u8], bytes: &[u8]) -> Vec<u8> {
    let number = |bytes: usize| u32::try_from(bytes).unwrap().to_le_bytes();
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    let mut fields = vec![20, 0];
    fields.extend(flags.to_le_bytes());
    fields.extend(method.to_le_bytes());
    fields.extend([0, 0, 0x21, 0]);
    fields.extend(crc.sum().to_le_bytes());
    fields.extend(number(packed.len()));
    fields.extend(number(bytes.len()));
    fields.extend([1, 0, 0, 0]);
    let local = [b"PK\x03\x04", &fields[..], b"a", packed].concat();
    let central = [b"PK\x01\x02\x14\0", &fields[..], &[0; 14], b"a"].concat();
    let end = [b"PK\x05\x06\0\0\0\0\x01\0\x01\0", &number(central.len())[..], &number(local.len()), b"\0\0"].concat();
    [local, central, end].concat()
}
