//! Rules against what is packed in objects.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;

const LIMITS: Limits = Limits { bytes: 64 << 20, depth: 2, entries: 100 };

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A zip archive with these files, stored; `flags` say what they are besides.
fn zip(files: &[(&str, &[u8])], flags: u16) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in files {
        let at = u32::try_from(bytes.len()).unwrap().to_le_bytes();
        let mut crc = flate2::Crc::new();
        crc.update(content);
        let length = u32::try_from(content.len()).unwrap().to_le_bytes();
        let name_length = u16::try_from(name.len()).unwrap().to_le_bytes();
        let fields = [&[20, 0], &flags.to_le_bytes()[..], &[0; 6], &crc.sum().to_le_bytes(), &length, &length].concat();
        bytes.extend([b"PK\x03\x04", &fields[..], &name_length, &[0; 2], name.as_bytes(), content].concat());
        directory.extend([b"PK\x01\x02\x14\0", &fields[..], &name_length, &[0; 12], &at, name.as_bytes()].concat());
    }
    let count = u16::try_from(files.len()).unwrap().to_le_bytes();
    let sizes = [directory.len(), bytes.len()].map(|size| u32::try_from(size).unwrap().to_le_bytes()).concat();
    let end = [&b"PK\x05\x06\0\0\0\0"[..], &count, &count, &sizes, b"\0\0"].concat();
    [bytes, directory, end].concat()
}

/// A tar archive with one file.
fn tar(name: &str, content: &[u8]) -> Vec<u8> {
    let mut head = vec![0; 512];
    head[..name.len()].copy_from_slice(name.as_bytes());
    head[100..108].copy_from_slice(b"0000644\0");
    head[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
    head[148..156].copy_from_slice(b"        ");
    head[156] = b'0';
    head[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
    head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let padding = vec![0; content.len().next_multiple_of(512) - content.len() + 1024];
    [head, content.to_vec(), padding].concat()
}

async fn look_into(rules: &str, unpack: Option<Limits>, whole_up_to: Option<u64>, object: &[u8]) -> Verdict {
    let settings = Settings { unpack, ..settings(compiled(rules, whole_up_to)) };
    look_of(&build("rules", &settings).unwrap(), subject(None), in_pieces(object, 10_000)).await
}

#[tokio::test]
async fn eicar_is_found_in_zip_gzip_and_tar_and_in_archives_in_these() {
    let across = with(filler(2 * BLOCK), BLOCK - 30, EICAR);
    for content in [EICAR, &across] {
        let object = |bytes: &[u8]| zip(&[("a.txt", b"clean"), ("b/c.bin", bytes), ("d.txt", b"clean")], 0);
        for (what, packed) in [
            ("gzip", gzip(content)),
            ("tar", tar("a", content)),
            ("tar in gzip", gzip(&tar("a", content))),
            ("gzip in zip", object(&gzip(content))),
            ("zip in gzip", gzip(&object(content))),
        ] {
            let found = Verdict::matched("eicar");
            assert_eq!(look_into(EICAR_RULE, Some(LIMITS), None, &packed).await, found, "{what} {}", content.len());
        }
        let clean = object(&gzip(&content[..content.len() / 2]));
        assert_eq!(look_into(EICAR_RULE, Some(LIMITS), None, &clean).await, Verdict::Clean);
    }
    // Once alone it would be stored as it is, being shorter that way.
    let packed = gzip(&EICAR.repeat(9));
    assert_eq!(look_into(EICAR_RULE, Some(LIMITS), None, &packed).await, Verdict::matched("eicar"));
    assert_eq!(look_into(EICAR_RULE, None, None, &packed).await, Verdict::Clean, "it is not unpacked");
}

#[tokio::test]
async fn each_object_that_comes_out_is_matched_by_itself() {
    let both = r#"rule both { strings: $a = "one thing" $b = "another" condition: $a and $b }"#;
    let apart = zip(&[("a", gzip(b"one thing").as_slice()), ("b", gzip(b"another").as_slice())], 0);
    assert_eq!(look_into(both, Some(LIMITS), None, &apart).await, Verdict::Clean);
    let together = zip(&[("a", gzip(b"one thing").as_slice()), ("b", gzip(b"one thing, another").as_slice())], 0);
    assert_eq!(look_into(both, Some(LIMITS), None, &together).await, Verdict::matched("both"));
    // The size is that of each, and offsets begin with it.
    let size = r#"rule size { strings: $a = "MZ" condition: $a at 0 and filesize == 1000 }"#;
    let program = with(filler(1000), 0, b"MZ");
    let packed = zip(&[("a", b"x"), ("b", gzip(&program).as_slice())], 0);
    assert_eq!(look_into(size, Some(LIMITS), Some(1 << 20), &packed).await, Verdict::matched("size"));
    // What is too large in there to be held has not been matched.
    let verdict = look_into(size, Some(LIMITS), Some(999), &gzip(&vec![0; 1000])).await;
    assert!(matches!(&verdict, Verdict::NotScannable { reason } if reason.contains("999 bytes")), "{verdict:?}");
}

#[tokio::test]
async fn h15_bombs_and_what_cannot_be_unpacked_are_not_scannable_unless_something_matches() {
    let nested = gzip(&gzip(&gzip(b"deep")));
    let bomb = gzip(&vec![0; 65 << 20]);
    let encrypted = zip(&[("a", b"secret secret secret")], 1);
    for (what, object, said) in [
        ("too deep", nested, "2 deep"),
        ("too much", bomb, "times its size"),
        ("encrypted", encrypted, "encrypted"),
        ("cut off", gzip(&filler(9000))[..5000].to_vec(), "broken"),
        ("another form", b"7z\xbc\xaf\x27\x1c....".to_vec(), "7z"),
    ] {
        let verdict = look_into(EICAR_RULE, Some(LIMITS), None, &object).await;
        assert!(matches!(&verdict, Verdict::NotScannable { reason } if reason.contains(said)), "{what}: {verdict:?}");
        let infected = [object, EICAR.to_vec()].concat();
        let verdict = look_into(EICAR_RULE, Some(LIMITS), None, &infected).await;
        assert_eq!(verdict, Verdict::matched("eicar"), "{what}");
    }
}

#[tokio::test]
async fn d25_gzip_as_an_encoding_is_read_through_and_others_are_not_scannable() {
    let inspector = build("rules", &Settings { unpack: Some(LIMITS), ..settings(compiled(EICAR_RULE, None)) }).unwrap();
    for (coding, object, verdict) in [
        ("gzip", gzip(EICAR), Verdict::matched("eicar")),
        ("gzip", gzip(b"clean"), Verdict::Clean),
        (
            "br",
            b"clean".to_vec(),
            Verdict::not_scannable("it is packed with the encoding \"br\", which is not unpacked here"),
        ),
    ] {
        let subject = Subject { content_encoding: Some(coding.to_owned()), ..subject(None) };
        assert_eq!(look_of(&inspector, subject, in_pieces(&object, 7)).await, verdict, "{coding}");
    }
}

#[tokio::test]
async fn l08_the_deadline_is_for_all_that_is_packed_in_an_object_together() {
    // A while for each object, but not longer than the deadline; twelve of them together are.
    let slow = r#"rule slow { strings: $a = "a" condition: $a and for any i in (0..2000000) : (i == -1) }"#;
    let set = compiled(slow, None);
    let files: Vec<_> = (0..60).map(|_| ("a", b"aaaa".as_slice())).collect();
    let settings = Settings { deadline: Duration::from_secs(1), threads: 1, unpack: Some(LIMITS), ..settings(set) };
    let inspector = build("rules", &settings).unwrap();
    let began = std::time::Instant::now();
    let verdict = look_of(&inspector, subject(None), in_pieces(&zip(&files, 0), 100)).await;
    let time = began.elapsed();
    // On a machine that matches all of them in less there is nothing to bound.
    match verdict {
        Verdict::Clean => assert!(time < Duration::from_secs(2), "{time:?}"),
        Verdict::NotScannable { reason } => {
            assert!(reason.contains("1 s") && time < Duration::from_secs(10), "{reason} {time:?}")
        }
        other => panic!("{other:?}"),
    }
}
