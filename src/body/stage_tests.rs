//! Every stage gives the same for every split of its input, and refuses what it must.

use std::sync::Arc;

use proptest::prelude::*;

use super::chunk_decode::ChunkDecode;
use super::chunk_encode::{ChunkEncode, Framer, SIGNED_CHUNK};
use super::digest_check::{DigestCheck, Trailing};
use super::holdback::Holdback;
use super::length_guard::LengthGuard;
use super::type_check::TypeCheck;
use super::upload::choose_stages;
use super::*;
use crate::base::Secret;
use crate::limits::BodyTerms;
use crate::s3::checksum::RunningDigest;
use crate::s3::{BodyFraming, UploadHead};
use crate::sigv4::{AmzDate, ChunkSigner, SigningKey};

/// What came out before the end, and what came out in all.
pub(super) struct Run {
    pub(super) before_end: Vec<u8>,
    pub(super) all: Result<Vec<u8>, Fault>,
}

pub(super) fn run(mut stages: Vec<Box<dyn Stage>>, pieces: &[Bytes]) -> Run {
    let mut out = Vec::new();
    let mut result = Ok(());
    for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
        result = push_through(&mut stages, piece.clone(), &mut |bytes| {
            out.extend_from_slice(&bytes);
            Ok(())
        });
        if result.is_err() {
            break;
        }
    }
    let before_end = out.clone();
    let result = result.and_then(|()| {
        finish_through(&mut stages, &mut |bytes| {
            out.extend_from_slice(&bytes);
            Ok(())
        })
    });
    Run { before_end, all: result.map(|()| out) }
}

/// Cuts a text at the given places.
pub(super) fn split(bytes: &[u8], cuts: &[usize]) -> Vec<Bytes> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    at.extend([0, bytes.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| Bytes::copy_from_slice(&bytes[pair[0]..pair[1]])).collect()
}

fn decoder(announced: Option<ChecksumAlgorithm>) -> Vec<Box<dyn Stage>> {
    let announced = announced.map(|algorithm| (algorithm, Trailing::default()));
    let check = announced.as_ref().map(|(algorithm, slot)| DigestCheck::trailing(*algorithm, Arc::clone(slot)));
    let mut stages: Vec<Box<dyn Stage>> = vec![Box::new(ChunkDecode::new(announced, None))];
    stages.extend(check.map(|check| Box::new(check) as Box<dyn Stage>));
    stages.push(Box::new(Holdback::default()));
    stages
}

pub(super) fn signer() -> ChunkSigner {
    let date = AmzDate::new("2026-01-01T00:00:00Z".parse().unwrap());
    ChunkSigner::new(SigningKey::derive(&Secret::new("secret"), "us-east-1", &date), &date, "0".repeat(64))
}

/// `hello` in two chunks with its CRC-32.
const FRAMED: &[u8] = b"3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n";

proptest! {
    #[test]
    fn decoding_does_not_depend_on_the_split(cuts in proptest::collection::vec(0usize..100, 0..8)) {
        let run = run(decoder(Some(ChecksumAlgorithm::Crc32)), &split(FRAMED, &cuts));
        prop_assert_eq!(run.all.unwrap(), b"hello");
    }

    #[test]
    fn encoding_does_not_depend_on_the_split_and_has_the_announced_length(
        length in 0usize..2_200_000, cuts in proptest::collection::vec(0usize..2_200_000, 0..6), signed: bool, trailer: bool,
    ) {
        let object: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
        let trailer = trailer.then_some(ChecksumAlgorithm::Crc64Nvme);
        let encode = || -> Vec<Box<dyn Stage>> { vec![Box::new(ChunkEncode::new(signed.then(signer), trailer, length as u64))] };
        let whole = run(encode(), &[Bytes::from(object.clone())]).all.unwrap();
        let in_pieces = run(encode(), &split(&object, &cuts)).all.unwrap();
        prop_assert_eq!(&whole, &in_pieces);
        prop_assert_eq!(whole.len() as u64, Framer { signed, trailer }.framed_length(length as u64));
    }

    #[test]
    fn what_is_encoded_decodes_to_the_same_object(length in 0usize..150_000, cuts in proptest::collection::vec(0usize..150_000, 0..4)) {
        let object: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
        let encode: Vec<Box<dyn Stage>> = vec![Box::new(ChunkEncode::new(None, Some(ChecksumAlgorithm::Crc32c), length as u64))];
        let framed = run(encode, &split(&object, &cuts)).all.unwrap();
        prop_assert_eq!(run(decoder(Some(ChecksumAlgorithm::Crc32c)), &split(&framed, &cuts)).all.unwrap(), object);
    }

    #[test]
    fn the_first_bytes_are_checked_whatever_the_split(cuts in proptest::collection::vec(0usize..2000, 0..6)) {
        let check = || -> Vec<Box<dyn Stage>> { vec![Box::new(TypeCheck::new(Some("image/png".into())))] };
        let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
        png.resize(2000, 7);
        prop_assert_eq!(run(check(), &split(&png, &cuts)).all.unwrap(), png);
        let html = [b"<html>".as_slice(), &[b' '; 1990]].concat();
        let refused = run(check(), &split(&html, &cuts));
        prop_assert!(refused.before_end.is_empty() && refused.all.is_err());
    }
}

/// Heads of uploads of `object`, with every digest there is, right or wrong by one byte, and limits that it may miss by one.
fn some_head(object: Vec<u8>) -> impl Strategy<Value = (UploadHead, BodyTerms)> {
    use ChecksumAlgorithm::{Crc32, Crc32c, Crc64Nvme, Sha1, Sha256};
    let length = object.len() as u64;
    let near = prop_oneof![4 => Just(length), 1 => Just(length + 1), 1 => Just(length.saturating_sub(1))];
    let algorithm = prop::sample::select(vec![Crc32, Crc32c, Crc64Nvme, Sha1, Sha256]);
    let kinds = (
        prop::option::of(algorithm.clone()),
        any::<bool>(),
        any::<bool>(),
        prop::option::of(prop::option::of(algorithm)),
    );
    let terms = (
        prop::option::of(near.clone()),
        prop_oneof![3 => Just(0), 1 => near.clone()],
        prop::option::weighted(0.3, near),
    );
    let wrong = prop::option::weighted(0.3, any::<u8>());
    let check = prop::option::of(prop::sample::select(vec![None, Some("image/png"), Some("text/plain")]));
    (kinds, terms, wrong, check).prop_map(
        move |((checksum, md5, sha256, framed), (declared, min_size, max_size), wrong, check)| {
            let digest = |mut running: RunningDigest, length: usize| {
                running.update(&object);
                running.update(wrong.as_slice());
                running.finish(length)
            };
            let checksum =
                checksum.map(|algorithm| (algorithm, digest(RunningDigest::new(algorithm), algorithm.value_length())));
            let sha256 = sha256.then(|| digest(RunningDigest::new(Sha256), 32).try_into().unwrap());
            let head = UploadHead {
                framing: framed
                    .map_or(BodyFraming::Plain, |trailer| BodyFraming::AwsChunked { trailer, signed: false }),
                sha256,
                md5: md5.then(|| digest(RunningDigest::md5(), 16)),
                checksum,
                ..UploadHead::plain(declared)
            };
            // A declared length beyond the rule is refused from the head.
            let max_size = max_size.map(|max| max.max(declared.unwrap_or(0)));
            (head, BodyTerms { min_size, max_size, check_type: check.map(|kind| kind.map(str::to_owned)) })
        },
    )
}

type SomeUpload = (Vec<u8>, UploadHead, BodyTerms, Vec<usize>, Option<(usize, u8)>);

/// An object and how its upload is announced; cut places; and whether its bytes are broken somewhere.
fn some_upload() -> impl Strategy<Value = SomeUpload> {
    let object = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..3000),
        (0usize..3000).prop_map(|length| [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".as_slice(), &vec![7; length]].concat()),
        "[a-z <>]{0,2000}".prop_map(String::into_bytes),
    ];
    let cuts = prop::collection::vec(0usize..5000, 0..8);
    let broken = prop::option::weighted(0.2, (any::<usize>(), any::<u8>()));
    (object, cuts, broken).prop_flat_map(|(object, cuts, broken)| {
        some_head(object.clone()).prop_map(move |(head, terms)| (object.clone(), head, terms, cuts.clone(), broken))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn h09_the_chain_of_an_upload_does_not_depend_on_the_split((object, head, terms, cuts, broken) in some_upload()) {
        let mut body = match head.framing {
            BodyFraming::Plain => object.clone(),
            BodyFraming::AwsChunked { trailer, .. } => {
                let encode: Vec<Box<dyn Stage>> = vec![Box::new(ChunkEncode::new(None, trailer, object.len() as u64))];
                run(encode, &[Bytes::from(object.clone())]).all.unwrap()
            }
        };
        if let Some((at, byte)) = broken && !body.is_empty() {
            let at = at % body.len();
            body[at] = byte;
        }
        let chain = || choose_stages(BodyPlan::new(&head, None).unwrap(), terms.clone());
        let whole = run(chain(), &[Bytes::from(body.clone())]);
        for pieces in [split(&body, &cuts), body.chunks(1).map(Bytes::copy_from_slice).collect()] {
            let in_pieces = run(chain(), &pieces);
            // Of several things that are wrong another one may be found first.
            prop_assert_eq!(in_pieces.all.as_ref().ok(), whole.all.as_ref().ok());
            // Whatever came before the end, the end was kept.
            prop_assert!(in_pieces.before_end.len() < object.len().max(1) || in_pieces.all.is_err());
        }
        if let Ok(stored) = whole.all {
            prop_assert!(stored == object || broken.is_some());
            prop_assert!(head.length.is_none_or(|length| length == stored.len() as u64));
            prop_assert!(terms.min_size <= stored.len() as u64 && terms.max_size.is_none_or(|max| stored.len() as u64 <= max));
        }
    }
}

#[test]
fn the_holdback_keeps_the_last_piece_until_the_end() {
    let run = run(vec![Box::new(Holdback::default())], &[Bytes::from_static(b"abc"), Bytes::from_static(b"d")]);
    assert_eq!((run.before_end.as_slice(), run.all.unwrap().as_slice()), (&b"abc"[..], &b"abcd"[..]));
}

#[test]
fn h09_a_wrong_digest_never_lets_the_last_byte_go() {
    let checks = [
        DigestCheck::checksum(ChecksumAlgorithm::Crc32, vec![0; 4]),
        DigestCheck::content_md5(vec![0; 16]),
        DigestCheck::content_sha256([0; 32]),
        DigestCheck::checksum(ChecksumAlgorithm::Sha1, vec![0; 20]),
    ];
    for check in checks {
        let run = run(
            vec![Box::new(check), Box::new(Holdback::default())],
            &[Bytes::from_static(b"ab"), Bytes::from_static(b"c")],
        );
        assert!(matches!(run.all, Err(Fault::BadDigest(_))));
        assert_eq!(run.before_end, b"ab");
    }
}

#[test]
fn the_holdback_keeps_a_first_piece_whole_and_one_byte_of_a_large_later_one() {
    let large = Bytes::from(vec![7; 100_000]);
    let one = run(vec![Box::new(Holdback::default())], std::slice::from_ref(&large));
    assert!(one.before_end.is_empty(), "an upload of one piece is checked as a whole");
    let three = run(vec![Box::new(Holdback::default())], &[large.clone(), large.clone(), large]);
    assert_eq!((three.before_end.len(), three.all.unwrap().len()), (299_999, 300_000));
}

#[test]
fn sizes_are_held_on_both_sides() {
    let guard = |declared, min, max| -> Vec<Box<dyn Stage>> { vec![Box::new(LengthGuard::new(declared, min, max))] };
    let five = [Bytes::from_static(b"hello")];
    assert_eq!(run(guard(Some(5), 0, Some(5)), &five).all.unwrap(), b"hello");
    assert_eq!(run(guard(Some(4), 0, None), &five).all, Err(Fault::Overrun { expected: 4 }));
    assert_eq!(run(guard(Some(6), 0, None), &five).all, Err(Fault::Incomplete { expected: 6, seen: 5 }));
    assert_eq!(run(guard(None, 0, Some(4)), &five).all, Err(Fault::TooLarge { max: 4 }));
    assert_eq!(run(guard(None, 6, None), &five).all, Err(Fault::TooSmall { min: 6 }));
    assert!(run(guard(Some(4), 0, None), &five).before_end.is_empty());
}

#[test]
fn h05_broken_chunk_framing_is_refused() {
    for framed in [
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-1\r\n",
        "\r\nhello",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "FFFFFFFFFFFFFFFFF\r\n",
        "5\r\nhello\r\n0\r\n\r\nmore",
        "5\r\nhello\r\n",
        "5\r\nhel",
        "5\r\nhello\r\n0\r",
        "5\r\nhello\r\n0\r\n\r",
        "5\r\nhello\r\n0\n\r\n",
        "5\r\nhello\r\n0\r\n\n",
        "5\r\nhello\r\n0\r\n\r\n0\r\n\r\n",
        "5\r\rhello\r\n0\r\n\r\n",
        "",
    ] {
        assert!(matches!(run(decoder(None), &[Bytes::from(framed)]).all, Err(Fault::Chunk(_))), "{framed:?}");
    }
    let long_line = format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(2000));
    assert!(run(decoder(None), &[Bytes::from(long_line)]).all.is_err());
}

#[test]
fn h06_only_the_announced_trailer_is_read() {
    let framed = |trailer: &str| Bytes::from(format!("5\r\nhello\r\n0\r\n{trailer}\r\n"));
    let good = "x-amz-checksum-crc32:NhCmhg==\r\n";
    let crc32 = Some(ChecksumAlgorithm::Crc32);
    assert_eq!(run(decoder(crc32), &[framed(good)]).all.unwrap(), b"hello");
    assert_eq!(run(decoder(crc32), &[framed("x-amz-checksum-crc32: NhCmhg==\r\n")]).all.unwrap(), b"hello");
    assert!(matches!(
        run(decoder(crc32), &[framed("x-amz-checksum-crc32:AAAAAA==\r\n")]).all,
        Err(Fault::BadDigest(_))
    ));
    for (announced, trailer) in [
        (crc32, String::new()),
        (None, good.to_owned()),
        (crc32, format!("{good}{good}")),
        (crc32, "x-amz-checksum-crc32c:NhCmhg==\r\n".to_owned()),
        (crc32, "x-amz-checksum-crc32:NhCm\r\n".to_owned()),
        (crc32, "authorization:x\r\n".to_owned()),
        (crc32, "no colon\r\n".to_owned()),
        (crc32, format!("{good}x-amz-meta-a:1\r\n")),
        (crc32, format!("x-amz-checksum-crc32:{}\r\n", "A".repeat(2000))),
        (crc32, format!("{good}x-amz-trailer-signature:{}\r\n", "0".repeat(64))),
        (crc32, good.replace("\r\n", "\n\n")),
        (crc32, good.replace("\r\n", "\u{c}\n")),
        (crc32, good.replace("\r\n", "\nx")),
    ] {
        let run = run(decoder(announced), &[framed(&trailer)]);
        assert!(matches!(run.all, Err(Fault::Chunk(_))), "{trailer:?}");
        assert!(run.before_end.is_empty(), "{trailer:?}");
    }
}

/// What minio-go and the JavaScript SDK send; the neighbours are refused above.
#[test]
fn other_ends_of_the_framing_that_real_clients_make_are_understood() {
    let crc32 = Some(ChecksumAlgorithm::Crc32);
    for (announced, end) in [
        (crc32, "x-amz-checksum-crc32:NhCmhg==\n\r\n\r\n"),
        (crc32, "x-amz-checksum-crc32:NhCmhg==\n\r\n"),
        (crc32, "x-amz-checksum-crc32:NhCmhg==\r\n"),
        (crc32, "X-Amz-Checksum-CRC32 : NhCmhg== \r\n\r\n"),
        (None, ""),
    ] {
        let framed = format!("5;x=y\r\nhello\r\n0\r\n{end}");
        assert_eq!(run(decoder(announced), &[Bytes::from(framed)]).all.unwrap(), b"hello", "{end:?}");
    }
}

#[test]
fn h16_endless_tiny_chunks_are_refused() {
    let framed = Bytes::from("1\r\nx\r\n".repeat(10_001) + "0\r\n\r\n");
    assert_eq!(run(decoder(None), &[framed]).all, Err(Fault::Chunk("too many small chunks")));
}

#[test]
fn l09_a_signed_upload_keeps_one_chunk_in_memory() {
    let mut stages: Vec<Box<dyn Stage>> = vec![Box::new(ChunkEncode::new(Some(signer()), None, 100 * 50_000))];
    let (mut given, mut taken) = (0u64, 0u64);
    for _ in 0..100 {
        given += 50_000;
        push_through(&mut stages, Bytes::from(vec![0; 50_000]), &mut |bytes| {
            taken += bytes.len() as u64;
            Ok(())
        })
        .unwrap();
        assert!(given.saturating_sub(taken) <= SIGNED_CHUNK);
    }
}

#[test]
fn l09_an_unsigned_upload_keeps_nothing_in_memory_and_holds_to_its_length() {
    let length = 5_000_000;
    let mut encode = ChunkEncode::new(None, Some(ChecksumAlgorithm::Crc64Nvme), length);
    assert_eq!(encode.finish(&mut |_| Ok(())), Err(Fault::Incomplete { expected: length, seen: 0 }));
    let mut taken = 0;
    for given in 1..=100 {
        let mut take = |bytes: Bytes| {
            taken += bytes.iter().filter(|byte| **byte == b'o').count();
            Ok(())
        };
        encode.push(Bytes::from(vec![b'o'; 50_000]), &mut take).unwrap();
        assert_eq!(taken, given * 50_000);
    }
    let more = encode.push(Bytes::from_static(b"x"), &mut |_| Ok(()));
    assert_eq!(more, Err(Fault::Overrun { expected: length }));
}
