use std::io::Write as _;

use super::*;
use crate::inspect::{Direction, content};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
const GIF: &[u8] = b"GIF89a\x01\0\x01\0";
const OLE: &[u8] = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1";
const DOCX: &str = "application/vnd.openxmlformats-officedocument.wordprocessingml.document";

fn denying(classes: &[Class]) -> Settings {
    let deny = classes.iter().copied().map(Denied::Class).collect();
    Settings { deny, match_declared: true, match_extension: true, ..Settings::default() }
}

fn allowing(types: &[&str]) -> Settings {
    let allow = types.iter().filter_map(|text| TypePattern::parse(text)).collect();
    Settings { allow, ..denying(&[]) }
}

async fn look(settings: &Settings, key: &str, declared: Option<&str>, object: &[u8]) -> Verdict {
    let subject = Arc::new(Subject {
        request_id: "r".to_owned(),
        principal: "p".to_owned(),
        bucket: "b".to_owned(),
        key: key.to_owned(),
        media_type: declared.map(str::to_owned),
        content_encoding: None,
        length: None,
        direction: Direction::Upload,
    });
    let inspector = build("test", settings).unwrap();
    let mut verdicts = Vec::new();
    for piece in [3, 1 << 20] {
        let pieces: Vec<Bytes> = object.chunks(piece).map(Bytes::copy_from_slice).collect();
        let (feed, content) = content::channel();
        verdicts.push(tokio::join!(feed.all(pieces), Arc::clone(&inspector).look(Arc::clone(&subject), content)).1);
    }
    assert_eq!(verdicts[0], verdicts[1], "{key}");
    verdicts.remove(0)
}

/// A zip with one entry, stored or deflated; the flag 1 says that it is encrypted.
fn zip(name: &str, content: &[u8], deflated: bool, flags: u8) -> Vec<u8> {
    let mut packed = content.to_vec();
    if deflated {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(content).unwrap();
        packed = encoder.finish().unwrap();
    }
    let sizes = [packed.len() as u32, content.len() as u32].map(u32::to_le_bytes).concat();
    let head =
        [&[20, 0, flags, 0, if deflated { 8 } else { 0 }][..], &[0; 9], &sizes, &[name.len() as u8, 0, 0, 0]].concat();
    let local = [b"PK\x03\x04", &head[..], name.as_bytes(), &packed].concat();
    let directory = [b"PK\x01\x02\x14\0", &head[..], &[0; 14], name.as_bytes()].concat();
    let places = [directory.len() as u32, local.len() as u32].map(u32::to_le_bytes).concat();
    [&local[..], &directory, b"PK\x05\x06\0\0\0\0\x01\0\x01\0", &places, b"\0\0"].concat()
}

#[tokio::test]
async fn files_that_are_what_they_say_are_clean() {
    let all = denying(&Class::ALL);
    for (key, declared, object) in [
        ("a.png", Some("image/png"), PNG),
        ("a.png", None, PNG),
        ("a", Some("text/plain"), b"hello"),
        ("notes.md", Some("text/plain"), b"# hello"),
        ("data.json", Some("application/json"), b"{}"),
        ("a.unknown", Some("application/x-own"), b"\x01\x02"),
        ("a.txt", Some("text/plain"), b""),
    ] {
        assert_eq!(look(&all, key, declared, object).await, Verdict::Clean, "{key} {declared:?}");
    }
    let plain = denying(&[Class::Archives, Class::Macros]);
    let word = zip("[Content_Types].xml", b"<Types/>", true, 0);
    assert_ne!(look(&plain, "a.zip", Some("application/zip"), &word).await, Verdict::Clean);
    assert_eq!(look(&denying(&[Class::Macros]), "a.docx", Some(DOCX), &word).await, Verdict::Clean);
}

#[tokio::test]
async fn h14_classes_are_known_by_bytes_declared_type_and_extension() {
    let utf16: Vec<u8> = "\u{feff}<html>".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let jar = zip("META-INF/MANIFEST.MF", b"Manifest-Version: 1.0", false, 0);
    let plain_zip = zip("a.txt", b"hello", false, 0);
    let octets = Some("application/octet-stream");
    for (class, key, declared, object) in [
        (Class::ActiveContent, "a", octets, &b"<svg xmlns='x'>"[..]),
        (Class::ActiveContent, "a", octets, b"<?xml version='1.0'?><a/>"),
        (Class::ActiveContent, "a", octets, &utf16),
        (Class::ActiveContent, "a", octets, b"MIME-Version: 1.0\r\nContent-Type: multipart/related; boundary=x\r\n"),
        (Class::ActiveContent, "a", Some("image/svg+xml"), b"plain"),
        (Class::ActiveContent, "a.SVG", octets, b"plain"),
        (Class::Executables, "a", octets, b"MZ\x90\0\x03\0"),
        (Class::Executables, "a", octets, b"\x7fELF\x02\x01"),
        (Class::Executables, "a", octets, b"\xcf\xfa\xed\xfe\x07\0\0\x01"),
        (Class::Executables, "a", octets, b"\xca\xfe\xba\xbe\0\0\0\x34"),
        (Class::Executables, "a", octets, b"#!/bin/sh\n"),
        (Class::Executables, "a", octets, b"L\0\0\0\x01\x14\x02\0\0"),
        (Class::Executables, "a", octets, &jar),
        (Class::Executables, "run.ps1", octets, b"plain"),
        (Class::Archives, "a", octets, &plain_zip),
        (Class::Archives, "a", octets, b"\x1f\x8b\x08\0\0\0\0\0"),
        (Class::Archives, "a", octets, b"7z\xbc\xaf\x27\x1c\0\x04"),
        (Class::Archives, "a", octets, b"Rar!\x1a\x07\x01\0"),
        (Class::Archives, "a", octets, b"\xfd7zXZ\0\0"),
        (Class::Archives, "a", octets, b"BZh91AY&SY"),
        (Class::Archives, "a", octets, b"\x28\xb5\x2f\xfd\0"),
        (Class::Archives, "a", octets, b"MSCF\0\0\0\0"),
        (Class::Archives, "a.iso", octets, b"plain"),
    ] {
        let verdict = look(&denying(&[class]), key, declared, object).await;
        assert_eq!(verdict, Verdict::matched(class.name()), "{key} {object:?}");
        let others: Vec<Class> = Class::ALL.into_iter().filter(|other| *other != class).collect();
        let verdict = look(&denying(&others), key, declared, object).await;
        assert_ne!(verdict, Verdict::matched(class.name()), "{key} {object:?}");
    }
}

#[tokio::test]
async fn macros_are_found_by_part_content_type_and_stream() {
    let renamed = b"<Override PartName=\"/x.bin\" ContentType=\"application/vnd.ms-office.vbaProject\"/>";
    let stream: Vec<u8> = "_VBA_PROJECT".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let old = [OLE, &[0; 20_000], &stream].concat();
    let macros = denying(&[Class::Macros]);
    for object in [
        zip("word/vbaProject.bin", b"x", true, 0),
        zip("[Content_Types].xml", renamed, true, 0),
        zip("x.bin", &old, true, 0),
        old,
    ] {
        assert_eq!(look(&macros, "a", None, &object).await, Verdict::matched("file_type.macros"));
    }
    assert_eq!(look(&macros, "a", None, &[OLE, &[0; 20_000]].concat()).await, Verdict::Clean);
    assert_eq!(look(&macros, "a.txt", None, b"how vbaProject.bin works").await, Verdict::Clean);
}

#[tokio::test]
async fn encrypted_archives_are_a_class_or_not_scannable() {
    let locked = zip("a.txt", b"hello", true, 1);
    let stream: Vec<u8> = "EncryptedPackage".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for object in [locked, [OLE, &[0; 20_000], &stream].concat()] {
        let verdict = look(&denying(&[Class::EncryptedArchives]), "a", None, &object).await;
        assert_eq!(verdict, Verdict::matched("file_type.encrypted-archives"));
        let verdict = look(&denying(&[Class::Macros]), "a", None, &object).await;
        assert_eq!(verdict, Verdict::not_scannable("it is encrypted"));
        assert_eq!(look(&denying(&[Class::ActiveContent]), "a", None, &object).await, Verdict::Clean);
    }
}

#[tokio::test]
async fn h14_files_of_two_types_are_found() {
    let archive = zip("A.class", b"\xca\xfe\xba\xbe", false, 0);
    let filler = vec![b'.'; 100_000];
    for (declared, object, found) in [
        ("image/gif", [GIF, &filler, &archive].concat(), "polyglot.zip"),
        ("application/pdf", [b"%PDF-1.7\n", &filler[..], &archive].concat(), "polyglot.zip"),
        ("image/gif", [GIF, &archive, &filler[..60_000]].concat(), "polyglot.zip"),
        ("image/png", [PNG, b"<html><script>alert(1)</script>"].concat(), "polyglot.html"),
        ("image/gif", [GIF, b"\n%PDF-1.4\n"].concat(), "polyglot.pdf"),
        ("image/png", b"<html><script>".to_vec(), "not-declared.markup"),
        (
            "image/png",
            [b"MZ\x90\0", &filler[..], &archive].concat(),
            "not-declared.application/vnd.microsoft.portable-executable",
        ),
        ("text/plain", "\u{feff}<html>".encode_utf16().flat_map(u16::to_le_bytes).collect(), "not-declared.markup"),
    ] {
        let verdict = look(&denying(&[]), "a", Some(declared), &object).await;
        assert_eq!(verdict, Verdict::matched(format!("file_type.{found}")), "{declared}");
        let trusting = Settings { match_declared: false, ..denying(&[]) };
        assert_eq!(look(&trusting, "a", Some(declared), &object).await, Verdict::Clean, "{declared}");
    }
    assert_eq!(look(&denying(&[]), "a", Some("image/gif"), &[GIF, &filler].concat()).await, Verdict::Clean);
}

#[tokio::test]
async fn extensions_are_held_against_declared_type_and_bytes() {
    for (key, declared, object, found) in [
        ("a.png", Some("image/png"), PNG, None),
        ("a.jpg", Some("image/png"), PNG, Some("wrong-extension.image/png")),
        ("a.jpg", None, PNG, Some("wrong-extension.image/png")),
        ("a.png", None, b"<html>", Some("wrong-extension.markup")),
        ("a.txt", Some("text/csv"), b"a,b", None),
        ("a.html", Some("text/plain"), b"plain", Some("wrong-extension.text/plain")),
        ("a.xml", Some("application/rss+xml"), b"<?xml version='1.0'?>", None),
        ("a.png/b", Some("text/plain"), b"plain", None),
        ("a", Some("text/plain"), b"plain", None),
        (".png", Some("text/plain"), b"plain", None),
    ] {
        let expected = found.map_or(Verdict::Clean, |found| Verdict::matched(format!("file_type.{found}")));
        assert_eq!(look(&denying(&[]), key, declared, object).await, expected, "{key} {declared:?}");
        let careless = Settings { match_extension: false, ..denying(&[]) };
        assert_eq!(look(&careless, key, declared, object).await, Verdict::Clean, "{key} {declared:?}");
    }
}

#[tokio::test]
async fn only_what_is_on_the_list_is_allowed() {
    for (allow, declared, object, found) in [
        (&["image/*"][..], Some("image/png"), PNG, None),
        (&["image/png"], Some("image/gif"), GIF, Some("not-allowed.image/gif")),
        (
            &["image/*", "application/octet-stream"],
            None,
            b"MZ\x90\0",
            Some("not-allowed.application/vnd.microsoft.portable-executable"),
        ),
        (&["image/*"], None, PNG, Some("not-allowed.application/octet-stream")),
        (&["application/octet-stream"], None, b"\x01\x02", None),
        (&["text/xml"], Some("text/xml"), b"<?xml version='1.0'?>", None),
        (&["text/plain"], Some("text/plain"), b"#!/bin/sh", Some("not-allowed.text/x-shellscript")),
        (&["application/msword"], Some("application/msword"), OLE, None),
    ] {
        let expected = found.map_or(Verdict::Clean, |found| Verdict::matched(format!("file_type.{found}")));
        assert_eq!(look(&allowing(allow), "a", declared, object).await, expected, "{allow:?} {declared:?}");
    }
    let by_bytes = Settings { match_declared: false, ..allowing(&["image/*"]) };
    assert_eq!(look(&by_bytes, "a", None, PNG).await, Verdict::Clean);
    let denied = Settings { deny: vec![Denied::Type(TypePattern::parse("image/*").unwrap())], ..denying(&[]) };
    assert_eq!(look(&denied, "a", None, PNG).await, Verdict::matched("file_type.image/png"));
}

#[test]
fn media_types_are_parsed_strictly() {
    for (text, good) in [
        ("image/png", true),
        ("image/*", true),
        ("Image/SVG+xml", true),
        ("*/*", false),
        ("image", false),
        ("image/", false),
        ("image/png; q=1", false),
        ("image/p*", false),
        ("", false),
    ] {
        assert_eq!(TypePattern::parse(text).is_some(), good, "{text}");
    }
}
