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
    zip_of(&[File::deflated(bytes)])
}

/// A zip archive with so many deflated files, at most 26, that hold the same.
pub fn zip_of_copies(bytes: &[u8], count: usize) -> Vec<u8> {
    zip_of(&vec![File::deflated(bytes); count])
}

/// A zip archive whose one file says that it is encrypted.
pub fn encrypted_zip(bytes: &[u8]) -> Vec<u8> {
    let sealed = [0; 12].iter().chain(bytes).map(|byte| byte ^ 0x5a).collect();
    zip_of(&[File::new(1, 0, sealed, bytes)])
}

/// A file in a zip archive: the fields that both of its heads have, and what is packed.
#[derive(Clone)]
struct File {
    fields: Vec<u8>,
    packed: Vec<u8>,
}

impl File {
    fn new(flags: u16, method: u16, packed: Vec<u8>, bytes: &[u8]) -> Self {
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
        Self { fields, packed }
    }

    fn deflated(bytes: &[u8]) -> Self {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        Self::new(0, 8, encoder.finish().unwrap(), bytes)
    }
}

/// Named `a`, `b` and so on.
fn zip_of(files: &[File]) -> Vec<u8> {
    let (mut archive, mut directory) = (Vec::new(), Vec::new());
    for (name, File { fields, packed }) in (b'a'..=b'z').zip(files) {
        let place = number(archive.len());
        directory.extend([b"PK\x01\x02\x14\0", &fields[..], &[0; 10], &place, &[name]].concat());
        archive.extend([b"PK\x03\x04", &fields[..], &[name], packed].concat());
    }
    let count = [u8::try_from(files.len()).unwrap(), 0];
    let places = [number(directory.len()), number(archive.len())].concat();
    let end = [b"PK\x05\x06\0\0\0\0", &count[..], &count, &places, b"\0\0"].concat();
    [archive, directory, end].concat()
}

fn number(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).unwrap().to_le_bytes()
}
