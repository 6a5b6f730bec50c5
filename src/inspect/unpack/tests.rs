use std::io::Write as _;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder};

use super::*;

const LIMITS: Limits = Limits { bytes: 64 << 20, depth: 2, entries: 100 };

/// What came out: objects with their layers, in the order in which they were complete.
#[derive(Default)]
struct Seen {
    open: Vec<Vec<u8>>,
    done: Vec<(usize, Vec<u8>)>,
    bytes: u64,
    keep: bool,
}

impl Sink for Seen {
    async fn bytes(&mut self, layer: usize, bytes: &[u8]) -> bool {
        self.bytes += bytes.len() as u64;
        if self.keep {
            self.open.resize(self.open.len().max(layer + 1), Vec::new());
            self.open[layer].extend_from_slice(bytes);
        }
        true
    }

    async fn end(&mut self, layer: usize) -> bool {
        let object = self.open.get_mut(layer).map(std::mem::take).unwrap_or_default();
        self.done.push((layer, object));
        true
    }
}

async fn unpack(object: &[u8], piece: usize, encoding: Option<&str>, seen: &mut Seen) -> Result<(), Stop> {
    let mut unpacker = Unpacker::new(LIMITS, encoding, Some(object.len() as u64))?;
    for piece in object.chunks(piece) {
        unpacker.feed(piece, seen).await?;
    }
    unpacker.finish(seen).await
}

/// What comes out, which must be the same for small pieces and for one large.
async fn objects(object: &[u8], encoding: Option<&str>) -> Result<Vec<(usize, Vec<u8>)>, Stop> {
    let mut outcomes = Vec::new();
    for piece in [1, 7, 1 << 20] {
        let mut seen = Seen { keep: true, ..Seen::default() };
        outcomes.push(unpack(object, piece, encoding, &mut seen).await.map(|()| seen.done));
    }
    assert_eq!(outcomes[0], outcomes[2]);
    assert_eq!(outcomes[1], outcomes[2]);
    outcomes.remove(0)
}

async fn failure(object: &[u8]) -> UnpackError {
    match objects(object, None).await {
        Err(Stop::Failed(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// How an entry is written.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Stored,
    Deflated,
    /// Sizes behind it, with and without the signature.
    Late(bool),
}

/// A zip by hand, so that it can be wrong: each entry with flags added, and the directory changed at will.
struct Writer {
    bytes: Vec<u8>,
    directory: Vec<u8>,
    count: u16,
}

impl Writer {
    fn new() -> Self {
        Self { bytes: Vec::new(), directory: Vec::new(), count: 0 }
    }

    fn add(mut self, name: &str, content: &[u8], way: Way, flags: u16) -> Self {
        let at = self.bytes.len() as u32;
        let late = matches!(way, Way::Late(_));
        let (method, packed) = if way == Way::Stored { (0_u16, content.to_vec()) } else { (8, deflate(content)) };
        let flags = flags | if late { 8 } else { 0 };
        let sizes = [packed.len() as u32, content.len() as u32].map(u32::to_le_bytes).concat();
        let name_length = (name.len() as u16).to_le_bytes();
        let head = [&20_u16.to_le_bytes()[..], &flags.to_le_bytes(), &method.to_le_bytes(), &[0; 8]].concat();
        let local_sizes = if late { vec![0; 8] } else { sizes.clone() };
        let parts: [&[u8]; 6] = [b"PK\x03\x04", &head, &local_sizes, &name_length, &[0, 0], name.as_bytes()];
        self.bytes.extend(parts.concat());
        self.bytes.extend(&packed);
        if let Way::Late(signed) = way {
            self.bytes.extend(if signed { &b"PK\x07\x08"[..] } else { b"" });
            self.bytes.extend([&[1, 2, 3, 4][..], &sizes].concat());
        }
        let place = at.to_le_bytes();
        let parts: [&[u8]; 8] =
            [b"PK\x01\x02\x14\x00", &head, &sizes, &name_length, &[0; 12], &place, name.as_bytes(), b""];
        self.directory.extend(parts.concat());
        self.count += 1;
        self
    }

    fn end(self, comment: &[u8]) -> Vec<u8> {
        let (at, length) = (self.bytes.len() as u32, self.directory.len() as u32);
        let count = self.count.to_le_bytes();
        let mut end = [&b"PK\x05\x06\0\0\0\0"[..], &count, &count, &length.to_le_bytes(), &at.to_le_bytes()].concat();
        end.extend((comment.len() as u16).to_le_bytes());
        [self.bytes, self.directory, end, comment.to_vec()].concat()
    }
}

fn zip(name: &str, content: &[u8]) -> Vec<u8> {
    Writer::new().add(name, content, Way::Deflated, 0).end(b"")
}

#[tokio::test]
async fn what_is_no_archive_is_left_alone() {
    for object in [&b""[..], b"P", b"PK", b"hello, world", b"PKZIP was a program", b"BZhello", b"\x1f\x8b"] {
        assert_eq!(objects(object, None).await, Ok(Vec::new()), "{object:?}");
    }
}

#[tokio::test]
async fn gzip_gives_all_its_members_as_one() {
    let text = b"hello, ".repeat(5000);
    assert_eq!(objects(&gzip(&text), None).await, Ok(vec![(1, text.clone())]));
    let mut two = [gzip(b"one, "), gzip(b"two")].concat();
    assert_eq!(objects(&two, None).await, Ok(vec![(1, b"one, two".to_vec())]));
    // Python reads on behind padding, gzip(1) does not.
    two.extend([0; 700]);
    assert_eq!(objects(&two, None).await, Ok(vec![(1, b"one, two".to_vec())]));
    two.extend(gzip(b", three"));
    assert_eq!(objects(&two, None).await, Ok(vec![(1, b"one, two, three".to_vec())]));
    two.extend(b"and what is behind it may be read by another program");
    assert_eq!(failure(&two).await, UnpackError::Broken("something stands behind it"));
    let named = flate2::GzBuilder::new().filename("a.txt").comment("c").extra(vec![1, 2, 3]);
    let mut encoder = named.write(Vec::new(), Compression::fast());
    encoder.write_all(b"named").unwrap();
    assert_eq!(objects(&encoder.finish().unwrap(), None).await, Ok(vec![(1, b"named".to_vec())]));
}

#[tokio::test]
async fn an_encoding_is_a_layer_but_no_archive() {
    let inside = zip("a", &zip("b", b"deep"));
    let objects = objects(&gzip(&inside), Some("gzip")).await.unwrap();
    assert_eq!(objects.iter().map(|(layer, _)| *layer).collect::<Vec<_>>(), [3, 2, 1]);
    assert_eq!(objects[0].1, b"deep");
    for (encoding, known) in
        [("x-gzip", true), ("GZIP", true), ("identity", true), ("br", false), ("zstd", false), ("gzip, gzip", false)]
    {
        assert_eq!(Unpacker::new(LIMITS, Some(encoding), None).is_ok(), known, "{encoding}");
    }
    let mut seen = Seen::default();
    let plain = unpack(b"not gzip at all", 100, Some("gzip"), &mut seen).await;
    assert!(matches!(plain, Err(Stop::Failed(UnpackError::Broken(_)))), "{plain:?}");
}

#[tokio::test]
async fn zip_gives_its_entries_in_order() {
    let long = b"more of it, ".repeat(9000);
    let archive = Writer::new()
        .add("stored.txt", b"as it is", Way::Stored, 0)
        .add("deflated.txt", &long, Way::Deflated, 0)
        .add("empty", b"", Way::Stored, 0)
        .add("late.txt", &long, Way::Late(true), 0)
        .add("late2.txt", b"without signature", Way::Late(false), 0)
        .end(b"a comment");
    let expected: Vec<(usize, Vec<u8>)> =
        [&b"as it is"[..], &long, b"", &long, b"without signature"].map(|object| (1, object.to_vec())).into();
    assert_eq!(objects(&archive, None).await, Ok(expected));
    assert_eq!(objects(&Writer::new().end(b""), None).await, Ok(Vec::new()));
}

#[tokio::test]
async fn archives_in_archives_are_read_to_the_depth() {
    let two = zip("a.gz", &gzip(b"deep"));
    assert_eq!(objects(&two, None).await.unwrap()[0], (2, b"deep".to_vec()));
    assert_eq!(failure(&zip("b", &two)).await, UnpackError::TooDeep(2));
}

#[tokio::test]
async fn h15_what_is_encrypted_or_not_known_is_said_so() {
    assert_eq!(failure(&Writer::new().add("a", b"x", Way::Deflated, 1).end(b"")).await, UnpackError::Encrypted);
    let mut method = zip("a", b"x");
    method[8] = 12;
    assert_eq!(failure(&method).await, UnpackError::Unknown("method 12 of zip".to_owned()));
    for magic in
        [&b"7z\xbc\xaf\x27\x1c......"[..], b"Rar!\x1a\x07\x01\0", b"\xfd7zXZ\0", b"BZh91AY&SY", b"\x28\xb5\x2f\xfd...."]
    {
        assert!(matches!(failure(magic).await, UnpackError::Unknown(_)), "{magic:?}");
        assert!(matches!(failure(&zip("a", magic)).await, UnpackError::Unknown(_)), "{magic:?}");
    }
}

#[tokio::test]
async fn h15_an_archive_that_can_be_read_in_two_ways_is_refused() {
    let whole = Writer::new().add("a", b"one", Way::Stored, 0).add("b", b"two", Way::Deflated, 0);
    let whole = whole.end(b"");
    assert!(objects(&whole, None).await.is_ok());
    let broken = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = whole.clone();
        change(&mut bytes);
        bytes
    };
    let directory = whole.windows(4).position(|bytes| bytes == b"PK\x01\x02").unwrap();
    for (what, bytes) in [
        ("cut", broken(&|bytes| bytes.truncate(bytes.len() - 1))),
        ("something behind", broken(&|bytes| bytes.push(0))),
        ("another name in the directory", broken(&|bytes| bytes[directory + 46] = b'c')),
        ("another place in the directory", broken(&|bytes| bytes[directory + 42] = 1)),
        ("another size in the directory", broken(&|bytes| bytes[directory + 20] = 2)),
        ("another method in the directory", broken(&|bytes| bytes[directory + 10] = 8)),
        (
            "an entry twice in the directory",
            broken(&|bytes| {
                let entry = bytes[directory..directory + 47].to_vec();
                bytes.splice(directory..directory, entry);
            }),
        ),
        ("an entry not in the directory", broken(&|bytes| drop(bytes.drain(directory..directory + 47)))),
        ("a stored entry with two sizes", broken(&|bytes| bytes[22] = 9)),
        ("bytes between entries", broken(&|bytes| drop(bytes.splice(34..34, *b"xx")))),
        ("compressed data that make no sense", broken(&|bytes| bytes[directory - 5..directory].fill(0xff))),
    ] {
        assert!(matches!(failure(&bytes).await, UnpackError::Broken(_)), "{what}");
    }
    let two_ends = Writer::new().add("a", b"x", Way::Stored, 0).end(b"..PPK\x05\x06..................");
    assert_eq!(failure(&two_ends).await, UnpackError::Broken("it has two ends"));
    assert_eq!(failure(&gzip(b"hello")[..12]).await, UnpackError::Broken("it ends too early"));
}

/// A local header with its content.
fn local(name: &str, content: &[u8], deflated: bool) -> Vec<u8> {
    let packed = if deflated { deflate(content) } else { content.to_vec() };
    let sizes = [packed.len() as u32, content.len() as u32].map(u32::to_le_bytes).concat();
    let method = if deflated { 8_u16 } else { 0 };
    let name_length = (name.len() as u16).to_le_bytes();
    let head = [&b"PK\x03\x04\x14\0\0\0"[..], &method.to_le_bytes(), &[0; 8], &sizes, &name_length, &[0; 2]].concat();
    [head, name.as_bytes().to_vec(), packed].concat()
}

/// Its entry in the directory.
fn listed(name: &str, content: &[u8], deflated: bool, at: u32, comment: &[u8]) -> Vec<u8> {
    let head = local(name, content, deflated)[4..30].to_vec();
    let comment_length = (comment.len() as u16).to_le_bytes();
    let parts: [&[u8]; 7] =
        [b"PK\x01\x02\x14\0", &head, &comment_length, &[0; 8], &at.to_le_bytes(), name.as_bytes(), comment];
    parts.concat()
}

fn end_of(disks: &[u8; 4], count: u16, size: u32, at: u32, comment: &[u8]) -> Vec<u8> {
    let count = [count; 2].map(u16::to_le_bytes).concat();
    let parts: [&[u8]; 7] = [
        b"PK\x05\x06",
        disks,
        &count,
        &size.to_le_bytes(),
        &at.to_le_bytes(),
        &(comment.len() as u16).to_le_bytes(),
        comment,
    ];
    parts.concat()
}

fn end_64(count: u64, size: u64, at: u64, more: &[u8]) -> Vec<u8> {
    let length = (44 + more.len() as u64).to_le_bytes();
    let numbers = [count, count, size, at].map(u64::to_le_bytes).concat();
    [&b"PK\x06\x06"[..], &length, &[45, 0, 45, 0], &[0; 8], &numbers, more].concat()
}

fn locator(at: u64) -> Vec<u8> {
    [&b"PK\x06\x07\0\0\0\0"[..], &at.to_le_bytes(), &1_u32.to_le_bytes()].concat()
}

const HIDDEN: &[u8] = b"what is not to be seen, what is not to be seen";

#[tokio::test]
async fn h15_a_second_directory_that_other_programs_would_read_is_refused() {
    // Read by Python, and the first by unzip and Java too: an entry that hides in a stored one, listed where no entry is expected.
    let stored = [&[b'x'; 200][..], &local("h", HIDDEN, true)].concat();
    let front = local("a", &stored, false);
    let hidden_at = 31 + 200;
    let at = front.len() as u32;
    let size = listed("h", HIDDEN, true, 0, b"").len() as u32;
    // They take what stands before the directory of this size for something in front of the archive.
    let whole = listed("a", &stored, false, 0, &listed("h", HIDDEN, true, 0, b"")).len() as u32;
    let directory = listed("a", &stored, false, 0, &listed("h", HIDDEN, true, hidden_at - (whole - size), b""));
    let by_size = [front.clone(), directory, end_of(&[0; 4], 1, size, at, b"")].concat();
    assert_eq!(failure(&by_size).await, UnpackError::Broken("its end does not fit its directory"));

    let bare = listed("a", &stored, false, 0, b"").len() as u64;
    let inside = listed("h", HIDDEN, true, hidden_at, b"");
    let place = u64::from(at) + bare;
    let comment =
        [inside.clone(), end_64(1, inside.len() as u64, place, b""), locator(place + inside.len() as u64)].concat();
    let directory = listed("a", &stored, false, 0, &comment);
    let size = directory.len() as u32;
    let by_locator = [front.clone(), directory, end_of(&[0; 4], 1, size, at, b"")].concat();
    assert_eq!(failure(&by_locator).await, UnpackError::Broken("it has two ends"));

    let directory = listed("a", &stored, false, 0, b"");
    let size = directory.len() as u32;
    let plain = [front.clone(), directory.clone()].concat();
    let by_disks = [plain.clone(), end_of(b"PK\x05\x06", 1, size, at, b"")].concat();
    assert_eq!(failure(&by_disks).await, UnpackError::Broken("it has two ends"));
    let comment = [&b"\x05\x06"[..], &[0; 0x4b50 - 2]].concat();
    let by_length = [plain.clone(), end_of(&[0; 4], 1, size, at, &comment)].concat();
    assert_eq!(failure(&by_length).await, UnpackError::Broken("it has two ends"));

    let wide = |end: Vec<u8>, locator: Vec<u8>| {
        [plain.clone(), end, locator, end_of(&[0; 4], u16::MAX, u32::MAX, u32::MAX, b"")].concat()
    };
    let (size, at, end_at) = (u64::from(size), u64::from(at), plain.len() as u64);
    assert!(objects(&wide(end_64(1, size, at, b""), locator(end_at)), None).await.is_ok());
    for (end, locator) in [
        (end_64(1, size - 1, at, b""), locator(end_at)),
        // Python looks for it at a fixed distance from the end, so what is added to it would be another one.
        (end_64(1, size, at, &end_64(1, size, at, b"")), locator(end_at)),
        (end_64(1, size, at, b""), Vec::new()),
    ] {
        assert_eq!(failure(&wide(end, locator)).await, UnpackError::Broken("its end does not fit its directory"));
    }
}

#[tokio::test]
async fn h15_a_zip_behind_something_else_is_not_overlooked() {
    let (front, directory) = (local("h", HIDDEN, true), listed("h", HIDDEN, true, 0, b""));
    let (at, size) = (front.len() as u32, directory.len() as u32);
    let body = [front, directory].concat();
    let numbers = end_64(1, size.into(), at.into(), b"");
    let end_at = (10 + body.len()) as u64;
    for end in [
        end_of(&[0; 4], 1, size, at, b""),
        end_of(&[0; 4], 1, size, at, b"a comment"),
        // Python and unzip go by the size alone.
        end_of(&[1, 0, 2, 0], 0, size, at, b""),
        end_of(&[0; 4], 1, size, u32::MAX - 1, b""),
        [numbers, locator(end_at), end_of(&[0; 4], 1, 0, 0, b"")].concat(),
    ] {
        let object = [&b"GIF89a and"[..], &body, &end].concat();
        assert_eq!(failure(&object).await, UnpackError::Broken("a zip stands behind something else"));
        assert!(matches!(failure(&gzip(&object)).await, UnpackError::Broken(_)));
        let far = [object, vec![b'y'; 70_000]].concat();
        assert_eq!(objects(&far, None).await, Ok(Vec::new()), "no program looks so far from the end");
    }
    assert_eq!(objects(b"text about PK\x05\x06 and what follows it, at some length", None).await, Ok(Vec::new()));
}

#[tokio::test]
async fn h15_overlapping_entries_are_refused() {
    // Two entries of the directory that mean the same bytes: the trick of archives that grow without end.
    let mut writer = Writer::new().add("a", &[0; 5000], Way::Deflated, 0);
    let again = writer.directory.clone();
    writer.directory.extend(again);
    writer.count += 1;
    let error = failure(&writer.end(b"")).await;
    assert_eq!(error, UnpackError::Broken("its directory does not list what is in it"));
}

#[tokio::test]
async fn h15_bombs_end_early() {
    let mut seen = Seen::default();
    let bomb = gzip(&vec![0; 40 << 20]);
    assert!(bomb.len() < 64 << 10);
    assert_eq!(unpack(&bomb, 4096, None, &mut seen).await, Err(Stop::Failed(UnpackError::TooDense)));
    assert!(seen.bytes <= FREE + (64 << 10), "{}", seen.bytes);
    // Compresses too little to be called dense, but is much.
    let mut noise = Vec::new();
    let mut state = 1_u32;
    while noise.len() < 1 << 20 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        noise.extend([(state >> 24) as u8; 20]);
    }
    let mut large = Vec::new();
    for _ in 0..70 {
        large.extend(gzip(&noise));
    }
    let mut seen = Seen::default();
    assert_eq!(unpack(&large, 64 << 10, None, &mut seen).await, Err(Stop::Failed(UnpackError::TooLarge(64 << 20))));
    let many = (0..101).fold(Writer::new(), |writer, number| writer.add(&number.to_string(), b"", Way::Stored, 0));
    assert_eq!(failure(&many.end(b"")).await, UnpackError::TooMany(100));
}

#[tokio::test]
async fn h15_a_bomb_gives_other_tasks_their_turn() {
    use futures_util::FutureExt as _;
    let bomb = gzip(&vec![0; 10 << 20]);
    let mut seen = Seen::default();
    let mut work = Box::pin(unpack(&bomb, bomb.len(), None, &mut seen));
    let mut turns = 0;
    while work.as_mut().now_or_never().is_none() {
        turns += 1;
    }
    assert!(turns >= 30, "{turns}");
}

#[tokio::test]
async fn h15_nothing_behind_a_member_of_gzip_is_passed_over() {
    let (clean, evil) = (gzip(b"clean, "), gzip(b"evil"));
    let padded = [&clean[..], &[0; 100], &evil, &[0; 3]].concat();
    assert_eq!(objects(&padded, None).await, Ok(vec![(1, b"clean, evil".to_vec())]));
    let mut reserved = evil.clone();
    reserved[3] = 0x80;
    let behind = [&b"a remark"[..], b"x", b"and a long remark", &reserved, &zip("a", b"evil"), &evil[..5]];
    for behind in behind {
        for padding in [0, 100] {
            let object = [&clean[..], &vec![0; padding], behind].concat();
            assert!(matches!(failure(&object).await, UnpackError::Broken(_)), "{behind:?}");
        }
    }
}

#[tokio::test]
async fn h15_an_object_that_begins_like_a_packed_form_that_is_not_unpacked_is_refused() {
    for begin in [
        &b"\x28\xb5\x2f\xfd rest"[..],
        b"\x50\x2a\x4d\x18 rest",
        b"\x5f\x2a\x4d\x18 rest",
        b"\x02\x21\x4c\x18 rest",
        b"LZIP\x01\x0c rest",
        b"\x1f\x9d\x90 rest",
        b"\x5d\0\0\x80\0\xff rest",
    ] {
        assert!(matches!(failure(begin).await, UnpackError::Unknown(_)), "{begin:?}");
    }
    for begin in [&b"LZIP is a program"[..], b"]\0\0text", b"\x1f\x9d\xff rest"] {
        assert_eq!(objects(begin, None).await, Ok(Vec::new()), "{begin:?}");
    }
}
