//! Signed chunks: what the client signed comes out, and nothing else ever comes to its end.

use proptest::prelude::*;

use super::chunk_decode::ChunkDecode;
use super::digest_check::{DigestCheck, Trailing};
use super::holdback::Holdback;
use super::tests::{Run, run, signer, split};
use super::upload::choose_stages;
use super::*;
use crate::base::Secret;
use crate::limits::BodyTerms;
use crate::s3::checksum::{RunningDigest, to_base64};
use crate::s3::upload::UploadError;
use crate::s3::{BodyFraming, UploadHead};
use crate::sigv4::{AmzDate, ChunkCheck, ChunkSigner, SigningKey};

/// A body as a client signs it, in the parts that an attacker can move.
struct Signed {
    chunks: Vec<Vec<u8>>,
    /// The chunk without data, and what follows it.
    end: Vec<u8>,
}

impl Signed {
    fn new(signer: ChunkSigner, object: &[u8], chunk: usize, trailer: Option<ChecksumAlgorithm>) -> Self {
        let mut signer = signer;
        let mut line =
            |data: &[u8]| format!("{:x};chunk-signature={}\r\n", data.len(), signer.sign_chunk(&sha256(data)));
        let chunks = object.chunks(chunk).map(|data| [line(data).as_bytes(), data, b"\r\n"].concat()).collect();
        let mut end = line(b"");
        if let Some(algorithm) = trailer {
            let field = format!("{}:{}", algorithm.header_name(), checksum(algorithm, object));
            let signature = signer.sign_trailer(&format!("{field}\n")).to_owned();
            end.push_str(&format!("{field}\r\nx-amz-trailer-signature:{signature}\r\n"));
        }
        end.push_str("\r\n");
        Self { chunks, end: end.into_bytes() }
    }

    fn body(&self) -> Vec<u8> {
        [self.chunks.concat(), self.end.clone()].concat()
    }

    /// The same with other chunks.
    fn with(&self, change: impl FnOnce(&mut Vec<Vec<u8>>)) -> Vec<u8> {
        let mut chunks = self.chunks.clone();
        change(&mut chunks);
        [chunks.concat(), self.end.clone()].concat()
    }

    /// The same with a text of its end replaced.
    fn with_end(&self, old: &str, new: &str) -> Vec<u8> {
        let end = String::from_utf8(self.end.clone()).unwrap();
        assert!(end.contains(old), "{old} in {end}");
        [self.chunks.concat(), end.replacen(old, new, 1).into_bytes()].concat()
    }
}

fn sha256(data: &[u8]) -> String {
    let mut digest = RunningDigest::new(ChecksumAlgorithm::Sha256);
    digest.update(data);
    hex::encode(digest.finish(32))
}

fn checksum(algorithm: ChecksumAlgorithm, data: &[u8]) -> String {
    let mut digest = RunningDigest::new(algorithm);
    digest.update(data);
    to_base64(&digest.finish(algorithm.value_length()))
}

fn object(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n % 251) as u8).collect()
}

/// The stages of an upload with signed chunks.
fn stages(length: usize, trailer: Option<ChecksumAlgorithm>) -> Vec<Box<dyn Stage>> {
    let head = head(length, BodyFraming::AwsChunked { trailer, signed: true });
    let terms = BodyTerms { min_size: 0, max_size: None, check_type: None };
    choose_stages(BodyPlan::new(&head, Some(ChunkCheck::Chain(signer()))).unwrap(), terms)
}

fn head(length: usize, framing: BodyFraming) -> UploadHead {
    UploadHead { framing, ..UploadHead::plain(Some(length as u64)) }
}

fn decode(body: Vec<u8>, length: usize, trailer: Option<ChecksumAlgorithm>) -> Run {
    run(stages(length, trailer), &[Bytes::from(body)])
}

fn some_trailer() -> impl Strategy<Value = Option<ChecksumAlgorithm>> {
    prop::option::of(prop::sample::select(ChecksumAlgorithm::ALL.to_vec()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_a_client_signs_comes_out_whatever_the_chunks_and_the_pieces(
        length in 0usize..100_000, chunk in 1000usize..70_000, trailer in some_trailer(), cuts in prop::collection::vec(0usize..100_000, 0..6),
    ) {
        let object = object(length);
        let body = Signed::new(signer(), &object, chunk, trailer).body();
        prop_assert_eq!(run(stages(length, trailer), &split(&body, &cuts)).all.unwrap(), object);
    }

    #[test]
    fn what_the_gateway_signs_it_takes_back(length in 0usize..150_000, trailer in some_trailer()) {
        let object = object(length);
        let encode: Vec<Box<dyn Stage>> = vec![Box::new(ChunkEncode::new(Some(signer()), trailer, length as u64))];
        let body = run(encode, &[Bytes::from(object.clone())]).all.unwrap();
        prop_assert_eq!(decode(body, length, trailer).all.unwrap(), object);
    }

    #[test]
    fn c06_a_broken_body_is_refused_whatever_the_pieces(
        length in 1usize..40_000, at in any::<prop::sample::Index>(), bit in 0u8..8, cuts in prop::collection::vec(0usize..40_000, 0..4),
    ) {
        let object = object(length);
        let mut body = Signed::new(signer(), &object, 9000, Some(ChecksumAlgorithm::Crc32)).body();
        *at.get_mut(&mut body) ^= 1 << bit;
        let whole = decode(body.clone(), length, Some(ChecksumAlgorithm::Crc32)).all;
        let in_pieces = run(stages(length, Some(ChecksumAlgorithm::Crc32)), &split(&body, &cuts));
        prop_assert_eq!(in_pieces.all.as_ref().ok(), whole.as_ref().ok());
        prop_assert!(in_pieces.before_end.len() < length);
        // Only the case of hexadecimal sizes and of names may change.
        prop_assert!(whole.is_err() || (bit == 5 && whole.ok() == Some(object)));
    }
}

#[test]
fn c06_h02_every_flipped_bit_of_a_signed_body_is_refused_but_the_case_of_sizes_and_names() {
    for trailer in [None, Some(ChecksumAlgorithm::Crc32c)] {
        let object = object(43);
        let body = Signed::new(signer(), &object, 26, trailer).body();
        assert_eq!(decode(body.clone(), object.len(), trailer).all.as_deref(), Ok(object.as_slice()));
        let mut taken = Vec::new();
        for at in 0..body.len() {
            for bit in 0..8 {
                let mut flipped = body.clone();
                flipped[at] ^= 1 << bit;
                let run = decode(flipped.clone(), object.len(), trailer);
                assert!(run.before_end.len() < object.len(), "byte {at}, bit {bit}");
                if let Ok(decoded) = run.all {
                    assert!(decoded == object && flipped[at].eq_ignore_ascii_case(&body[at]), "byte {at}, bit {bit}");
                    taken.push(body[at]);
                }
            }
        }
        let letters = if trailer.is_some() { "axamzchecksumcrccxamztrailersignature" } else { "a" };
        assert_eq!(String::from_utf8(taken).unwrap(), letters);
    }
}

#[test]
fn c06_h01_h02_a_chunk_that_is_not_the_next_one_signed_breaks_the_chain() {
    let object = object(50_000);
    let signed = Signed::new(signer(), &object, 10_000, None);
    let other = Signed::new(other_signer(), &object, 10_000, None);
    let cases = [
        ("altered", signed.with(|chunks| chunks[2][5000] ^= 1)),
        ("reordered", signed.with(|chunks| chunks.swap(1, 2))),
        ("doubled", signed.with(|chunks| chunks.insert(2, chunks[1].clone()))),
        ("dropped", signed.with(|chunks| drop(chunks.remove(3)))),
        ("first dropped", signed.with(|chunks| drop(chunks.remove(0)))),
        ("last dropped", signed.with(|chunks| drop(chunks.pop()))),
        ("spliced", signed.with(|chunks| chunks[2] = other.chunks[2].clone())),
        ("of another request", other.body()),
        ("the end of another request", [signed.chunks.concat(), other.end.clone()].concat()),
        ("the first again", signed.with(|chunks| chunks[1] = chunks[0].clone())),
        ("the end is not signed", [signed.chunks.concat(), b"0\r\n\r\n".to_vec()].concat()),
        ("the end is signed with nothing", signed.with_end(&signature(&signed.end), "")),
        ("short", signed.with_end(&signature(&signed.end), &signature(&signed.end)[1..])),
        ("upper case", signed.with_end(&signature(&signed.end), &signature(&signed.end).to_uppercase())),
        ("wrong", signed.with_end(&signature(&signed.end), &"0".repeat(64))),
        ("a parameter behind", signed.with_end("\r\n", ";x=y\r\n")),
        ("a parameter before", signed.with_end("0;", "0;x=y;")),
        ("twice", signed.with_end("0;", &format!("0;chunk-signature={};", signature(&signed.end)))),
        ("a blank", signed.with_end("0;", "0; ")),
        ("other name", signed.with_end("chunk-signature", "Chunk-Signature")),
    ];
    for (name, body) in cases {
        let run = decode(body, object.len(), None);
        assert!(matches!(run.all, Err(Fault::ChunkSignature(_))), "{name}: {:?}", run.all);
        assert!(run.before_end.len() < object.len(), "{name}");
    }
    let last_doubled = signed.with(|chunks| chunks.push(chunks[4].clone()));
    assert!(decode(last_doubled, object.len(), None).all.is_err());
    let cut = signed.chunks.concat();
    assert_eq!(decode(cut, object.len(), None).all, Err(Fault::Chunk("the last chunk is missing")));
    let unsigned = b"5\r\nhello\r\n0\r\n\r\n".to_vec();
    assert_eq!(decode(unsigned, 5, None).all, Err(Fault::ChunkSignature("a chunk has no signature")));
}

/// The first signature in a text.
fn signature(end: &[u8]) -> String {
    let end = String::from_utf8(end.to_vec()).unwrap();
    end.split("signature=").nth(1).unwrap()[..64].to_owned()
}

/// The same credential on the same day, another request.
fn other_signer() -> ChunkSigner {
    let date = AmzDate::new("2026-01-01T00:00:00Z".parse().unwrap());
    ChunkSigner::new(SigningKey::derive(&Secret::new("secret"), "us-east-1", &date), &date, "1".repeat(64))
}

#[test]
fn h06_h08_a_signed_trailer_is_one_announced_checksum_and_its_signature() {
    let object = object(20_000);
    let crc32 = Some(ChecksumAlgorithm::Crc32);
    let signed = Signed::new(signer(), &object, 8192, crc32);
    let end = String::from_utf8(signed.end.clone()).unwrap();
    let lines: Vec<&str> = end.split("\r\n").collect();
    let (size, field, signature) = (lines[0], lines[1], lines[2]);
    let ending = |lines: &[&str]| [signed.chunks.concat(), (lines.join("\r\n") + "\r\n\r\n").into_bytes()].concat();
    assert_eq!(decode(ending(&[size, field, signature]), 20_000, crc32).all.unwrap(), object);
    // As minio-go writes it.
    let minio = signed.with_end("\r\nx-amz-trailer", "\n\r\nx-amz-trailer");
    assert_eq!(decode(minio, 20_000, crc32).all.unwrap(), object);
    let no_last_line = ending(&[size, field, signature]);
    assert_eq!(decode(no_last_line[..no_last_line.len() - 2].to_vec(), 20_000, crc32).all.unwrap(), object);

    let wrong = format!("x-amz-trailer-signature:{}", "0".repeat(64));
    let upper = format!("x-amz-trailer-signature:{}", signature.split(':').nth(1).unwrap().to_uppercase());
    let other_sum = format!("x-amz-checksum-crc32:{}", checksum(ChecksumAlgorithm::Crc32, b"other"));
    for lines in [
        vec![size, field],
        vec![size, field, &wrong],
        vec![size, field, &upper],
        vec![size, field, "x-amz-trailer-signature:"],
        vec![size, signature, field],
        vec![size, &wrong, field, signature],
        vec![size, field, signature, signature],
        vec![size, signature],
        vec![size],
        vec![size, &other_sum, signature],
        vec![size, field, signature, field],
    ] {
        let run = decode(ending(&lines), 20_000, crc32);
        assert!(matches!(run.all, Err(Fault::ChunkSignature(_))), "{lines:?}: {:?}", run.all);
        assert!(run.before_end.len() < object.len(), "{lines:?}");
    }
    for lines in [
        vec![size, "x-amz-meta-a:1", signature],
        vec![size, field, field, signature],
        vec![size, "x-amz-checksum-crc32", signature],
        vec![size, "x-amz-checksum-crc32:AAAA", signature],
    ] {
        let run = decode(ending(&lines), 20_000, crc32);
        assert!(matches!(run.all, Err(Fault::Chunk(_))), "{lines:?}: {:?}", run.all);
    }
    // A trailer that no head announced is no trailer, signed or not.
    let announced_nothing = decode(ending(&[size, field, signature]), 20_000, None);
    assert_eq!(announced_nothing.all, Err(Fault::Chunk("a trailer was not announced")));
}

#[test]
fn h07_every_signed_trailing_checksum_is_compared() {
    for algorithm in ChecksumAlgorithm::ALL {
        let object = object(10_000);
        let right = Signed::new(signer(), &object, 8192, Some(algorithm));
        assert_eq!(decode(right.body(), 10_000, Some(algorithm)).all.unwrap(), object);
        // Signed by the client all the same: a client that is wrong about its own bytes.
        let mut signer = signer();
        let mut end = String::new();
        for data in object.chunks(8192).chain([[].as_slice()]) {
            let signature = signer.sign_chunk(&sha256(data)).to_owned();
            end = format!("{:x};chunk-signature={signature}\r\n", data.len());
        }
        let field = format!("{}:{}", algorithm.header_name(), checksum(algorithm, b"other"));
        let signature = signer.sign_trailer(&format!("{field}\n")).to_owned();
        end.push_str(&format!("{field}\r\nx-amz-trailer-signature:{signature}\r\n\r\n"));
        let wrong = [right.chunks.concat(), end.into_bytes()].concat();
        let run = decode(wrong, 10_000, Some(algorithm));
        assert_eq!(run.all, Err(Fault::BadDigest(DigestKind::Checksum(algorithm))));
    }
}

/// The worked examples of the AWS reference: 65,536 and 1,024 bytes of `a`, 24 May 2013.
#[test]
fn the_published_bodies_are_taken() {
    let date = AmzDate::new("2013-05-24T00:00:00Z".parse().unwrap());
    let key = SigningKey::derive(&Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"), "us-east-1", &date);
    let body = |signatures: [&str; 3], end: &str| {
        let chunk = |size: &str, signature: &str, length| {
            format!("{size};chunk-signature={signature}\r\n{}", "a".repeat(length))
        };
        let [first, second, last] = signatures;
        let chunks = [chunk("10000", first, 65_536), chunk("400", second, 1024), chunk("0", last, 0)];
        Bytes::from(chunks.join("\r\n") + end)
    };
    let plain = body(
        [
            "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
            "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
            "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
        ],
        "\r\n",
    );
    let with_trailer = body(
        [
            "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
            "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
            "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
        ],
        "x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n",
    );
    let crc32c = Trailing::default();
    for (seed, announced, body) in [
        ("4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9", None, plain),
        (
            "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
            Some((ChecksumAlgorithm::Crc32c, std::sync::Arc::clone(&crc32c))),
            with_trailer,
        ),
    ] {
        let signer = ChunkSigner::new(key.clone(), &date, seed.to_owned());
        let mut stages: Vec<Box<dyn Stage>> =
            vec![Box::new(ChunkDecode::new(announced.clone(), Some(ChunkCheck::Chain(signer))))];
        stages.extend(
            announced.map(|(algorithm, slot)| Box::new(DigestCheck::trailing(algorithm, slot)) as Box<dyn Stage>),
        );
        stages.push(Box::new(Holdback::default()));
        assert_eq!(run(stages, &[body]).all.unwrap(), vec![b'a'; 66_560]);
    }
    assert_eq!(crc32c.get().map(|value| to_base64(value)).as_deref(), Some("sOO8/Q=="));
}

#[test]
fn h05_l09_a_signed_chunk_of_any_size_streams_through() {
    let mut stages = stages(5 << 30, None);
    let mut taken = 0u64;
    let mut push = |data: Bytes| {
        push_through(&mut stages, data, &mut |bytes| {
            taken += bytes.len() as u64;
            Ok(())
        })
        .unwrap();
        taken
    };
    push(Bytes::from(format!("{:x};chunk-signature={}\r\n", 5u64 << 30, "0".repeat(64))));
    let piece = Bytes::from(vec![0; 64 * 1024]);
    for given in 1..=256u64 {
        let taken = push(piece.clone());
        assert!(taken >= (given - 1) * piece.len() as u64, "{given} pieces in, {taken} bytes out");
    }
}

#[test]
fn h16_endless_small_signed_chunks_are_refused() {
    let object = object(30_003);
    let body = Signed::new(signer(), &object, 3, None).body();
    assert_eq!(decode(body, object.len(), None).all, Err(Fault::Chunk("too many small chunks")));
}

#[test]
fn signed_chunks_need_the_chain_of_their_request_and_nothing_else_takes_one() {
    let framing = |signed| BodyFraming::AwsChunked { trailer: None, signed };
    let plan =
        |framing, chunks| BodyPlan::new(&head(5, framing), chunks).map(|_| ()).map_err(|error| error.to_string());
    assert_eq!(plan(framing(true), Some(ChunkCheck::Chain(signer()))), Ok(()));
    assert_eq!(plan(framing(true), None), Err(UploadError::SignedChunks.to_string()));
    for framing in [framing(false), BodyFraming::Plain] {
        assert_eq!(plan(framing, None), Ok(()));
        assert_eq!(
            plan(framing, Some(ChunkCheck::Chain(signer()))),
            Err(UploadError::FramingContradiction.to_string())
        );
    }
}

#[test]
fn h09_a_sha256_that_is_declared_twice_is_computed_once() {
    let sum: [u8; 32] = hex::decode(sha256(b"hello")).unwrap().try_into().unwrap();
    let terms = || BodyTerms { min_size: 0, max_size: None, check_type: None };
    let chain = |sha256: Option<[u8; 32]>, checksum: Option<[u8; 32]>| {
        let checksum = checksum.map(|value| (ChecksumAlgorithm::Sha256, value.to_vec()));
        choose_stages(
            BodyPlan::new(&UploadHead { sha256, checksum, ..head(5, BodyFraming::Plain) }, None).unwrap(),
            terms(),
        )
    };
    assert_eq!(chain(Some(sum), Some(sum)).len(), chain(Some(sum), None).len());
    let refused = |sha256, checksum| run(chain(sha256, checksum), &[Bytes::from_static(b"hello")]).all.is_err();
    assert!(!refused(Some(sum), Some(sum)) && !refused(None, Some(sum)));
    assert!(
        refused(Some(sum), Some([0; 32])) && refused(Some([0; 32]), Some(sum)) && refused(Some([0; 32]), Some([0; 32]))
    );
}

/// Signed by another implementation (Python's hmac and hashlib): an oracle, and the proof that the fuzzer starts from what is taken.
#[test]
fn the_signed_bodies_of_the_fuzz_corpus_are_taken() {
    let crc32 = Some(ChecksumAlgorithm::Crc32);
    for (body, trailer, object) in [
        (include_bytes!("../../fuzz/corpus/chunk_decode/signed").as_slice(), None, "hello"),
        (include_bytes!("../../fuzz/corpus/chunk_decode/signed_nothing").as_slice(), None, ""),
        (include_bytes!("../../fuzz/corpus/chunk_decode/signed_trailer").as_slice(), crc32, "hello"),
        (include_bytes!("../../fuzz/corpus/chunk_decode/signed_minio").as_slice(), crc32, "hello"),
    ] {
        // The first byte tells the fuzzer which form it is.
        assert_eq!(decode(body[1..].to_vec(), object.len(), trailer).all.unwrap(), object.as_bytes());
    }
}
