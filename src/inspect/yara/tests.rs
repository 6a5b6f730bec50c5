//! Rules against objects in pieces of every kind, compared with what YARA-X says of the whole.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::compile::Way;
use super::layers::BLOCK;
use super::pool::Pool;
use super::*;
use crate::inspect::{Direction, Subject, Verdict, content};

const LIMIT: Duration = Duration::from_secs(60);
const EICAR: &[u8] = br"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*";
const EICAR_RULE: &str = r#"rule eicar { strings: $e = "X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*" condition: $e }"#;

fn source(text: &str) -> Source {
    Source { origin: "/rules/test.yar".to_owned(), text: text.to_owned() }
}

fn compiled(text: &str, whole_up_to: Option<u64>) -> RuleSet {
    RuleSet::compile(&[source(text)], whole_up_to).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn settings(rules: RuleSet) -> Settings {
    Settings {
        rules,
        ignore_tags: vec!["info".to_owned()],
        threads: 2,
        deadline: Duration::from_secs(30),
        unpack: None,
    }
}

fn subject(length: Option<u64>) -> Subject {
    Subject {
        request_id: "1".to_owned(),
        principal: "token:ci".to_owned(),
        bucket: "team-data".to_owned(),
        key: "k".to_owned(),
        media_type: None,
        content_encoding: None,
        length,
        direction: Direction::Upload,
    }
}

/// What an inspector says of an object in these pieces.
async fn look_of(inspector: &Arc<dyn Inspector>, subject: Subject, pieces: Vec<Bytes>) -> Verdict {
    let (feed, content) = content::channel();
    let look = Arc::clone(inspector).look(Arc::new(subject), content);
    let both = async { tokio::join!(look, feed.all(pieces)).0 };
    tokio::time::timeout(LIMIT, both).await.expect("a verdict in time")
}

async fn look(text: &str, whole_up_to: Option<u64>, object: &[u8]) -> Verdict {
    let inspector = build("rules", &settings(compiled(text, whole_up_to))).unwrap();
    look_of(&inspector, subject(None), in_pieces(object, 64 << 10)).await
}

fn in_pieces(object: &[u8], size: usize) -> Vec<Bytes> {
    object.chunks(size).map(Bytes::copy_from_slice).collect()
}

/// Bytes that no rule of these tests matches.
fn filler(length: usize) -> Vec<u8> {
    let mut state = 7_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8 | 0x80
    };
    (0..length).map(|_| next()).collect()
}

fn with(mut object: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    object[at..at + bytes.len()].copy_from_slice(bytes);
    object
}

#[tokio::test]
async fn eicar_is_found_at_every_offset_around_the_border_of_blocks() {
    let rules = compiled(EICAR_RULE, None);
    let Way::Blocks { overlap } = rules.way() else { panic!("{rules:?}") };
    assert_eq!(overlap, EICAR.len());
    let inspector = build("rules", &settings(rules)).unwrap();
    let clean = filler(2 * BLOCK + 1000);
    assert_eq!(look_of(&inspector, subject(None), in_pieces(&clean, 100_000)).await, Verdict::Clean);
    let border = BLOCK + overlap;
    for at in (border - 2 * EICAR.len()..border + EICAR.len()).chain([0, clean.len() - EICAR.len(), 2 * BLOCK]) {
        let object = with(clean.clone(), at, EICAR);
        let verdict = look_of(&inspector, subject(None), in_pieces(&object, 100_000)).await;
        assert_eq!(verdict, Verdict::matched("eicar"), "at {at}");
    }
}

#[tokio::test]
async fn the_size_of_the_pieces_does_not_matter() {
    let inspector = build("rules", &settings(compiled(EICAR_RULE, None))).unwrap();
    let infected = with(filler(3000), 1500, EICAR);
    for size in [1, 2, 3, 7, 67, 68, 69, 1000, 3000] {
        let verdict = look_of(&inspector, subject(Some(3000)), in_pieces(&infected, size)).await;
        assert_eq!(verdict, Verdict::matched("eicar"), "pieces of {size}");
        let cut = look_of(&inspector, subject(None), in_pieces(&infected[..1500 + 67], size)).await;
        assert_eq!(cut, Verdict::Clean, "pieces of {size}");
    }
}

/// Rules that can be matched in blocks, each with an object across the border that it matches, and one that it does not.
#[tokio::test]
async fn blocks_give_the_verdict_of_the_whole() {
    let clean = filler(2 * BLOCK);
    let rules = [
        r#"rule r { strings: $a = "abcdefgh" wide condition: $a }"#,
        r#"rule r { strings: $a = "abcdefgh" nocase condition: $a }"#,
        r#"rule r { strings: $a = "abcdefgh" xor(1-255) condition: $a }"#,
        r#"rule r { strings: $a = "This program cannot" base64 condition: $a }"#,
        r#"rule r { strings: $a = "This program cannot" base64wide condition: $a }"#,
        r#"rule r { strings: $a = { 61 62 ?? 64 [2-40] 67 68 } condition: $a }"#,
        r#"rule r { strings: $a = { 61 62 ( 63 64 | 65 66 67 [1-9] 68 ) 69 6A } condition: $a }"#,
        r#"rule r { strings: $a = { 61 62 63 64 [300-900] 65 66 67 68 } condition: $a }"#,
        r#"rule r { strings: $a = /ab[0-9]{3,20}cd/ condition: $a }"#,
        r#"rule r { strings: $a = /ab[0-9]+cd/ condition: $a }"#,
        r#"rule r { strings: $a = /abcd.{200,900}efgh/s condition: $a }"#,
        r#"rule r { strings: $a = "needle" condition: #a == 2 }"#,
        r#"rule r { strings: $a = "needle" $b = "thread" condition: $a and $b }"#,
        r#"rule r { strings: $a = "needle" condition: for any i in (1..#a) : (@a[i] > 262000) }"#,
        r#"rule r { strings: $a = "needle" condition: $a at 262140 }"#,
        r#"rule r { strings: $a = "needle" condition: $a in (262100..262200) }"#,
        r#"rule r { strings: $a = "needle" condition: #a in (262000..262200) == 1 and @a[1] == 262140 and !a[1] == 6 }"#,
        r#"rule r { strings: $a = "needle" condition: not $a }"#,
    ];
    let spread = |gap: usize| [b"abcd".to_vec(), vec![b'.'; gap], b"efgh".to_vec()].concat();
    let long_number = [b"ab".as_slice(), &vec![b'1'; 4000], b"cd"].concat();
    let wide = |text: &str| text.bytes().flat_map(|byte| [byte, 0]).collect::<Vec<u8>>();
    let base64 = "VGhpcyBwcm9ncmFtIGNhbm5vdA==";
    let objects = [
        wide("abcdefgh"),
        b"ABCdefgh".to_vec(),
        b"abcdefgh".map(|byte| byte ^ 0x55).to_vec(),
        base64.as_bytes().to_vec(),
        wide(base64),
        b"abXd........gh".to_vec(),
        b"abefg...hij".to_vec(),
        spread(500),
        b"ab123456cd".to_vec(),
        long_number,
        b"needle....needle".to_vec(),
        b"needle....thread".to_vec(),
        b"needle".to_vec(),
    ];
    let mut matched = 0;
    for text in rules {
        let set = compiled(text, None);
        let mut oracle = yara_x::Scanner::new(set.rules());
        let inspector = build("rules", &settings(set.clone())).unwrap();
        let Way::Blocks { overlap } = set.way() else { panic!("{set:?}") };
        // Across the beginning of the second block, and across the end of the first.
        for (planted, at) in objects.iter().flat_map(|planted| [(planted, BLOCK - 4), (planted, BLOCK + overlap - 4)]) {
            let object = with(clean.clone(), at, planted);
            let expected = oracle.scan(&object).unwrap().matching_rules().len() == 1;
            matched += usize::from(expected);
            let verdict = look_of(&inspector, subject(None), in_pieces(&object, 64 << 10)).await;
            let expected = if expected { Verdict::matched("r") } else { Verdict::Clean };
            let shown = String::from_utf8_lossy(&planted[..planted.len().min(40)]);
            assert_eq!(verdict, expected, "{text} {shown} at {at}");
        }
    }
    assert!(matched > rules.len(), "{matched} matches: every rule must match something");
}

/// The claim that the reach of expressions rests on.
#[test]
fn yara_x_follows_an_expression_for_4096_bytes_only() {
    let set = compiled(r#"rule r { strings: $a = /ab[0-9]+cd/ condition: $a }"#, None);
    let mut scanner = yara_x::Scanner::new(set.rules());
    let mut matches = |digits: usize| {
        let object = [b"ab".as_slice(), &vec![b'1'; digits], b"cd"].concat();
        scanner.scan(&object).unwrap().matching_rules().len() == 1
    };
    assert!(matches(4000));
    assert!(!matches(10_000));
}

#[test]
fn what_needs_the_whole_object_is_refused_with_rule_and_line() {
    for (text, what) in [
        ("rule r { condition: filesize > 1 }", "`filesize`"),
        ("rule r { condition: uint16(0) == 0x5A4D }", "`uint16`"),
        ("rule r { condition: uint32be(4) == 1 or true }", "`uint32be`"),
        ("rule r { condition: for any i in (0..10) : (uint8(i) == 1) }", "`uint8`"),
        ("rule r { condition: for any i in (0..filesize) : (i > 5) }", "`filesize`"),
        ("rule r { condition: with x = uint8(0) : (x == 1) }", "`uint8`"),
        (r#"rule r { strings: $a = "x" condition: $a at filesize - 1 }"#, "`filesize`"),
        (r#"rule r { strings: $a = "x" condition: $a in (0..filesize) }"#, "`filesize`"),
        (r#"rule r { strings: $a = "x" condition: #a in (0..int8(3)) > 1 }"#, "`int8`"),
        (r#"rule r { strings: $a = "x" condition: @a[int8(3)] > 1 }"#, "`int8`"),
        (r#"rule r { strings: $a = "x" condition: any of them in (0..filesize) }"#, "`filesize`"),
        (r#"rule r { strings: $a = "x" condition: any of ($a) or any of (filesize > 1, true) }"#, "`filesize`"),
        (r#"rule r { strings: $a = "x" condition: for all of them : ($ at uint8(0)) }"#, "`uint8`"),
        (r#"rule r { strings: $a = "x" fullword condition: $a }"#, "`fullword` of `$a`"),
        (r#"rule r { strings: $a = /x$/ condition: $a }"#, "in `$a`"),
        (r#"rule r { strings: $a = /^x/ condition: $a }"#, "in `$a`"),
        (r#"rule r { strings: $a = /foo\b/ condition: $a }"#, "in `$a`"),
        (r#"rule r { strings: $a = { 01 02 03 04 [-] 05 06 07 08 } condition: $a }"#, "longer than 64 KiB"),
        (r#"rule r { strings: $a = { 01 02 03 04 [10-] 05 06 07 08 } condition: $a }"#, "longer than 64 KiB"),
        (r#"rule r { strings: $a = { 01 02 03 04 [0-70000] 05 06 07 08 } condition: $a }"#, "longer than 64 KiB"),
        (r#"rule r { strings: $a = /abcd.*efgh/s condition: $a }"#, "longer than 64 KiB"),
        (r#"rule r { strings: $a = /abcd[\s\S]{10,}efgh/ condition: $a }"#, "longer than 64 KiB"),
        (r#"rule r { strings: $a = /abcd(.|\n){1,70000}?efgh/ condition: $a }"#, "longer than 64 KiB"),
    ] {
        let lines = format!("rule harmless {{ condition: true }}\n{text}");
        let problems = RuleSet::compile(&[source(&lines)], None).expect_err(text);
        let message = &problems[0].message;
        assert!(message.starts_with("/rules/test.yar:2: rule `r`: ") && message.contains(what), "{text}: {message}");
        assert!(problems[0].help.contains("whole_up_to"));
        assert_eq!(compiled(&lines, Some(10)).way(), Way::Whole { up_to: 10 }, "{text}");
    }
}

#[test]
fn words_in_texts_and_comments_need_nothing() {
    for text in [
        r#"rule r { meta: a = "filesize" strings: $a = "uint16(0)" condition: $a // filesize
        }"#,
        "/* filesize */ rule filesize_is { condition: true }",
        r#"rule r { strings: $a = /abcd.*efgh/ $b = /a[^b]+b/ $c = /x\^\$/ condition: any of them }"#,
        r#"rule r : file { strings: $a = { 61 62 [4] 63 } condition: $a at 0 }"#,
    ] {
        assert!(matches!(compiled(text, None).way(), Way::Blocks { .. }), "{text}");
        // Then holding whole objects would be a waste.
        assert!(matches!(compiled(text, Some(1)).way(), Way::Blocks { .. }), "{text}");
    }
}

#[tokio::test]
async fn rules_that_need_it_see_the_whole_object() {
    let mz = "rule mz { condition: uint16(0) == 0x5A4D and filesize > 300000 }";
    let object = with(filler(400_000), 0, b"MZ");
    assert_eq!(look(mz, Some(400_000), &object).await, Verdict::matched("mz"));
    assert_eq!(look(mz, Some(400_000), &object[..300_000]).await, Verdict::Clean);
    assert_eq!(look(mz, Some(400_000), b"").await, Verdict::Clean);
    let gap = r#"rule gap { strings: $a = { 61 62 63 64 [-] 65 66 67 68 } condition: $a }"#;
    let far = with(with(filler(400_000), 5, b"abcd"), 390_000, b"efgh");
    assert_eq!(look(gap, Some(400_000), &far).await, Verdict::matched("gap"));
}

#[tokio::test]
async fn larger_objects_are_not_scannable_as_a_whole() {
    let rule = "rule r { condition: filesize == 1000 }";
    let inspector = build("rules", &settings(compiled(rule, Some(1000)))).unwrap();
    for (length, expected) in [(1000, Verdict::matched("r")), (999, Verdict::Clean)] {
        for declared in [Some(length as u64), None] {
            let pieces = in_pieces(&filler(length), 300);
            assert_eq!(look_of(&inspector, subject(declared), pieces).await, expected);
        }
    }
    for declared in [Some(1001), None] {
        let verdict = look_of(&inspector, subject(declared), in_pieces(&filler(1001), 300)).await;
        let Verdict::NotScannable { reason } = verdict else { panic!("{verdict:?}") };
        assert!(reason.contains("1000 bytes"), "{reason}");
    }
}

#[tokio::test]
async fn empty_objects_are_looked_at() {
    assert_eq!(look("rule always { condition: true }", None, b"").await, Verdict::matched("always"));
    assert_eq!(look(EICAR_RULE, None, b"").await, Verdict::Clean);
    assert_eq!(look(r#"rule r { strings: $a = "x" condition: not $a }"#, None, b"").await, Verdict::matched("r"));
}

#[tokio::test]
async fn private_rules_ignored_tags_and_global_rules_count_as_they_should() {
    let evil = r#"strings: $a = "evil" condition: $a"#;
    let cases = [
        (format!("private rule p {{ {evil} }}"), b"evil".as_slice(), Verdict::Clean),
        (format!("private rule p {{ {evil} }} rule r {{ condition: p }}"), b"evil", Verdict::matched("r")),
        (format!("rule t : info {{ {evil} }}"), b"evil", Verdict::Clean),
        (format!("rule t : info {{ {evil} }} rule u : other {{ {evil} }}"), b"evil", Verdict::matched("u")),
        (
            format!(r#"global private rule g {{ strings: $b = "both" condition: $b }} rule r {{ {evil} }}"#),
            b"evil",
            Verdict::Clean,
        ),
        (
            format!(r#"global private rule g {{ strings: $b = "both" condition: $b }} rule r {{ {evil} }}"#),
            b"evil both",
            Verdict::matched("r"),
        ),
    ];
    for (text, object, verdict) in cases {
        assert_eq!(look(&text, None, object).await, verdict, "{text}");
    }
}

#[tokio::test]
async fn d25_encoded_objects_are_not_scannable() {
    let inspector = build("rules", &settings(compiled(EICAR_RULE, None))).unwrap();
    for (coding, scannable) in [("gzip", false), ("identity, br", false), ("identity", true)] {
        let subject = Subject { content_encoding: Some(coding.to_owned()), ..subject(None) };
        let verdict = look_of(&inspector, subject, in_pieces(b"harmless", 3)).await;
        assert_eq!(verdict == Verdict::Clean, scannable, "{coding}: {verdict:?}");
        assert_eq!(matches!(verdict, Verdict::NotScannable { .. }), !scannable, "{coding}: {verdict:?}");
    }
}

#[tokio::test]
async fn an_object_that_takes_too_long_is_not_scannable_and_the_next_is_looked_at() {
    // Every one of these nested loops is evaluated for each object.
    let slow = r#"rule slow {
        strings: $a = "a"
        condition: $a and for any i in (0..1000000) : (for any j in (0..1000000) : (i * j == -1))
    }"#;
    let rules = compiled(&format!("{slow}\n{EICAR_RULE}"), None);
    let settings = Settings { deadline: Duration::from_secs(1), threads: 1, ..settings(rules) };
    let inspector = build("rules", &settings).unwrap();
    let verdict = look_of(&inspector, subject(None), in_pieces(b"aaaa", 4)).await;
    assert!(matches!(&verdict, Verdict::NotScannable { reason } if reason.contains("1 s")), "{verdict:?}");
    assert_eq!(look_of(&inspector, subject(None), in_pieces(b"bbbb", 4)).await, Verdict::Clean);
}

#[tokio::test]
async fn many_objects_share_few_threads_without_mixing() {
    let inspector = build("rules", &settings(compiled(EICAR_RULE, None))).unwrap();
    let clean = filler(BLOCK + 5000);
    let looks = (0..24).map(|number| {
        let object = if number % 3 == 0 { with(clean.clone(), BLOCK - 10, EICAR) } else { clean.clone() };
        let inspector = &inspector;
        async move { (number, look_of(inspector, subject(None), in_pieces(&object, 10_000)).await) }
    });
    for (number, verdict) in futures_util::future::join_all(looks).await {
        let expected = if number % 3 == 0 { Verdict::matched("eicar") } else { Verdict::Clean };
        assert_eq!(verdict, expected, "object {number}");
    }
}

#[tokio::test]
async fn an_object_that_breaks_off_leaves_nothing_for_the_next() {
    let rules = compiled(r#"rule r { strings: $a = "half" $b = "other" condition: $a and $b }"#, None);
    let inspector = build("rules", &Settings { threads: 1, ..settings(rules) }).unwrap();
    for _ in 0..40 {
        let (mut feed, content) = content::channel();
        let look = tokio::spawn(Arc::clone(&inspector).look(Arc::new(subject(None)), content));
        for piece in in_pieces(&with(filler(2 * BLOCK), 9, b"half"), BLOCK) {
            std::future::poll_fn(|context| feed.poll_ready(context)).await;
            feed.push(piece);
        }
        drop(feed);
        assert!(matches!(look.await.unwrap(), Verdict::Error { .. }));
        assert_eq!(look_of(&inspector, subject(None), in_pieces(b"other", 5)).await, Verdict::Clean);
    }
}

#[tokio::test]
async fn the_digest_and_the_version_say_what_verdicts_depend_on() {
    let one = settings(compiled(EICAR_RULE, None));
    let digest = |settings: &Settings| build("rules", settings).unwrap().digest();
    assert_eq!(digest(&one), digest(&Settings { threads: 9, ..one.clone() }));
    assert_ne!(digest(&one), digest(&Settings { ignore_tags: Vec::new(), ..one.clone() }));
    assert_ne!(digest(&one), digest(&settings(compiled(&format!("{EICAR_RULE} "), None))));
    let health = build("rules", &one).unwrap().check().await.unwrap();
    assert_eq!(health.version, format!("YARA-X {}, 1 rules", yara_x::VERSION));
}

#[tokio::test]
async fn a_seat_that_is_given_up_leaves_no_scanner_behind() {
    let pool = Pool::start(&settings(compiled(EICAR_RULE, None))).unwrap();
    let mut seat = pool.seat();
    seat.block(0, b"begun".to_vec()).await.unwrap();
    assert_eq!(pool.running(), 1);
    drop(seat);
    let finished = pool.seat();
    assert_eq!(finished.last(0, b"whole".to_vec()).await, Verdict::Clean);
    let deadline = std::time::Instant::now() + LIMIT;
    while pool.running() > 0 {
        assert!(std::time::Instant::now() < deadline, "the scanner of an object that broke off is kept");
        tokio::task::yield_now().await;
    }
}

#[test]
fn threads_end_with_the_inspector() {
    let rules = compiled(EICAR_RULE, None);
    let inspector = build("rules", &settings(rules.clone())).unwrap();
    assert_eq!(rules.holders(), 3, "ours and one of each thread");
    drop(inspector);
    let deadline = std::time::Instant::now() + LIMIT;
    while rules.holders() > 1 {
        assert!(std::time::Instant::now() < deadline, "threads are still there");
        std::thread::yield_now();
    }
}

#[path = "packed_tests.rs"]
mod packed;
