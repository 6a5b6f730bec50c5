use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::matcher::{MAX_MATCH, Matcher, PatternError, check_regex};
use super::*;
use crate::inspect::{Direction, content};

fn settings(sets: &[BuiltIn]) -> Settings {
    Settings { sets: sets.to_vec(), count: 1, ..Settings::default() }
}

fn own(literals: &[(&str, &str)], regexes: &[(&str, &str)]) -> Settings {
    let owned = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    Settings { literals: owned(literals), regexes: owned(regexes), count: 1, ..Settings::default() }
}

fn subject(content_encoding: Option<&str>) -> Arc<Subject> {
    Arc::new(Subject {
        request_id: "r".to_owned(),
        principal: "p".to_owned(),
        bucket: "b".to_owned(),
        key: "k".to_owned(),
        media_type: None,
        content_encoding: content_encoding.map(str::to_owned),
        length: None,
        direction: Direction::Upload,
    })
}

/// What is found in pieces that end at these places.
fn found(settings: &Settings, text: &[u8], cuts: &[usize]) -> Option<String> {
    let mut stream = Arc::new(Matcher::new(settings).unwrap()).stream();
    let mut seen = Seen::default();
    let mut from = 0;
    for cut in cuts.iter().copied().chain([text.len()]) {
        if let Some(name) = stream.feed(&text[from..cut], &mut seen) {
            return Some(name.to_owned());
        }
        from = cut;
    }
    stream.finish(&mut seen)
}

async fn verdict(settings: &Settings, subject: Arc<Subject>, pieces: Vec<Bytes>) -> Verdict {
    let inspector = build("test", settings).unwrap();
    let (feed, content) = content::channel();
    tokio::join!(feed.all(pieces), inspector.look(subject, content)).1
}

#[tokio::test]
async fn a_look_finds_eicar_and_nothing_in_clean_bytes() {
    let settings = settings(&[BuiltIn::Eicar]);
    let infected = Bytes::from(format!("{}{}", "x".repeat(700_000), eicar()));
    let halves = vec![infected.slice(..700_030), infected.slice(700_030..)];
    assert_eq!(verdict(&settings, subject(None), halves).await, Verdict::matched("eicar.test-file"));
    let clean = vec![infected.slice(..700_060), infected.slice(700_061..)];
    assert_eq!(verdict(&settings, subject(None), clean).await, Verdict::Clean);
    assert_eq!(verdict(&settings, subject(None), Vec::new()).await, Verdict::Clean);
}

#[tokio::test]
async fn content_that_breaks_off_is_not_clean() {
    let inspector = build("test", &settings(&[BuiltIn::Eicar])).unwrap();
    let (mut feed, content) = content::channel();
    feed.push(Bytes::from_static(b"harmless"));
    drop(feed);
    assert!(matches!(inspector.look(subject(None), content).await, Verdict::Error { .. }));
}

#[test]
fn eicar_is_found_at_every_offset_around_the_border_of_two_pieces() {
    let settings = settings(&[BuiltIn::Eicar, BuiltIn::AccessKeys]);
    const BORDER: usize = 16 << 10;
    for offset in 0..=eicar().len() {
        let mut text = vec![b' '; 2 * BORDER];
        text[BORDER - offset..][..eicar().len()].copy_from_slice(eicar().as_bytes());
        assert_eq!(found(&settings, &text, &[BORDER]).as_deref(), Some("eicar.test-file"), "{offset}");
    }
}

#[test]
fn what_is_built_in_is_found_by_its_name() {
    let all = settings(&BuiltIn::ALL);
    let letters = |count| "aB3".repeat(count).chars().take(count).collect::<String>();
    for (text, name) in [
        (eicar(), "eicar.test-file"),
        (["-----BEGIN ", "RSA PRIVATE KEY-----"].concat(), "private-keys.rsa"),
        (["-----BEGIN ", "OPENSSH PRIVATE KEY-----"].concat(), "private-keys.openssh"),
        (["-----BEGIN PGP ", "PRIVATE KEY BLOCK-----"].concat(), "private-keys.pgp"),
        (format!("AGE-SECRET-KEY-1{}", "Q".repeat(58)), "private-keys.age"),
        (format!("AKIA{}", "Q3".repeat(8)), "access-keys.aws-access-key-id"),
        (format!("aws_secret_access_key = {}", letters(40)), "access-keys.aws-secret-access-key"),
        (format!("\"SecretAccessKey\": \"{}\"", letters(40)), "access-keys.aws-secret-access-key"),
        (format!("ghp_{}", letters(36)), "access-keys.github-token"),
        (format!("glpat-{}", letters(20)), "access-keys.gitlab-token"),
        (format!("xoxb-1234567890-{}", letters(24)), "access-keys.slack-token"),
        (format!("AIza{}", letters(35)), "access-keys.google-api-key"),
        (format!("AccountKey={}==", letters(86)), "access-keys.azure-storage-key"),
        (format!("sk_live_{}", letters(24)), "access-keys.stripe-key"),
        (format!("npm_{}", letters(36)), "access-keys.npm-token"),
        ("4111-1111-1111-1111".to_owned(), "card-numbers.visa"),
        ("378282246310005".to_owned(), "card-numbers.amex"),
    ] {
        let text = format!("\n<{text}>\n");
        assert_eq!(found(&all, text.as_bytes(), &[]).as_deref(), Some(name), "{text}");
    }
    for bytes in [u16::to_le_bytes, u16::to_be_bytes] {
        let wide: Vec<u8> = ["-----BEGIN ", "PRIVATE KEY-----"].concat().encode_utf16().flat_map(bytes).collect();
        assert_eq!(found(&all, &wide, &[]).as_deref(), Some("private-keys.pkcs8"));
    }
}

#[test]
fn what_only_resembles_them_is_not_found() {
    let all = settings(&BuiltIn::ALL);
    for text in [
        "-----BEGIN PUBLIC KEY-----",
        "-----BEGIN CERTIFICATE-----",
        "XAKIAQQQQQQQQQQQQQQQQ",
        "AKIAQQQQQQQQQQQQQQQQQ",
        "AKIA",
        "ghp_short",
        "secret_access_key = env:STORE_SECRET",
        "xoxb-",
        "4111 1111 1111 1112",
    ] {
        assert_eq!(found(&all, text.as_bytes(), &[]), None, "{text}");
    }
}

#[test]
fn own_patterns_are_found_by_their_names() {
    let mut settings = own(&[("project", "Blue Moon")], &[("ticket", r"\bSEC-[0-9]{4,6}\b")]);
    settings.lists = vec![("codes".to_owned(), vec!["alpha".to_owned(), String::new(), "omega".to_owned()])];
    for (text, name) in [
        ("a Blue Moon", Some("literals.project")),
        ("a blue moon", None),
        ("see SEC-1234.", Some("regexes.ticket")),
        ("see SEC-1234x", None),
        ("an omega", Some("files.codes.3")),
    ] {
        assert_eq!(found(&settings, text.as_bytes(), &[]).as_deref(), name, "{text}");
    }
    settings.ignore_case = true;
    assert_eq!(found(&settings, b"a bLUE moon", &[]).as_deref(), Some("literals.project"));
}

#[test]
fn a_count_is_of_different_matches() {
    let mut settings = settings(&[BuiltIn::CardNumbers]);
    settings.count = 2;
    let again = "4111111111111111 ".repeat(2000);
    assert_eq!(found(&settings, again.as_bytes(), &[5000]), None);
    let two = format!("{again}5555555555554444");
    assert_eq!(found(&settings, two.as_bytes(), &[5000]).as_deref(), Some("card-numbers.mastercard"));
}

#[test]
fn expressions_without_bounds_are_refused() {
    let longest = MAX_MATCH + 1;
    for (regex, error) in [
        ("a+", PatternError::Unbounded),
        ("a.*b", PatternError::Unbounded),
        ("a{2,}", PatternError::Unbounded),
        (&format!("a{{{longest}}}"), PatternError::TooLong(longest)),
        ("a{0,3}", PatternError::Empty),
        (r"\b", PatternError::Empty),
        ("^a", PatternError::Anchored),
        (r"a\z", PatternError::Anchored),
        (r"(?u)\ba", PatternError::UnicodeWords),
    ] {
        assert_eq!(check_regex(regex), Err(error), "{regex}");
    }
    assert!(matches!(check_regex("a("), Err(PatternError::Syntax(_))));
    assert_eq!(check_regex(r"(?m)^a{1,200}$"), Ok(200));
}

#[test]
fn borders_of_lines_and_words_are_those_of_the_object() {
    let settings = own(&[], &[("line", "(?m)^key$"), ("word", r"\bword\b")]);
    for (text, name) in [
        ("key", Some("regexes.line")),
        ("x\nkey\n", Some("regexes.line")),
        ("xkey", None),
        ("keyx", None),
        ("word", Some("regexes.word")),
        ("sword", None),
        ("words", None),
    ] {
        let filled = |before: usize, behind: usize| {
            let text = format!("{}{text}{}", ".\n".repeat(before / 2), "\n.".repeat(behind / 2));
            for cut in (before.saturating_sub(2)..=before + 8).filter(|cut| *cut <= text.len()) {
                assert_eq!(found(&settings, text.as_bytes(), &[cut]).as_deref(), name, "{text:?} {cut}");
            }
        };
        filled(0, 0);
        filled(6000, 6000);
        filled(0, 6000);
        filled(6000, 0);
    }
}

#[tokio::test]
async fn encoded_content_is_not_scannable() {
    let verdict = verdict(&settings(&[BuiltIn::Eicar]), subject(Some("br")), vec![Bytes::from_static(b"x")]).await;
    assert!(matches!(verdict, Verdict::NotScannable { .. }));
}

#[test]
fn digests_tell_configurations_apart() {
    let digest = |settings: &Settings| build("test", settings).unwrap().digest();
    let one = digest(&own(&[("a", "b")], &[]));
    assert_eq!(one, digest(&own(&[("a", "b")], &[])));
    assert_ne!(one, digest(&own(&[("a", "c")], &[])));
    assert_ne!(one, digest(&own(&[], &[("a", "b")])));
}

/// Text in which patterns come often, at its borders too, and break off.
fn dense() -> impl Strategy<Value = Vec<u8>> {
    let bit = prop_oneof![
        Just("aXa"),
        Just("XaXaX"),
        Just("key"),
        Just("\n"),
        Just("word"),
        Just(" "),
        Just("4111 1111 1111 1111"),
        Just("5555555555554444"),
        Just("411111111111"),
        Just("1111"),
        Just("-"),
        Just("q"),
        Just("zzzzzzzzzzzzzz"),
        Just("ab9"),
    ];
    // Long enough to leave the part that is only put together.
    (proptest::collection::vec(bit, 0..60), 0..3_usize).prop_map(|(bits, long)| {
        let text = bits.concat();
        let filler = "._".repeat(3000 * long);
        format!("{filler}{text}{filler}{text}").into_bytes()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_same_is_found_for_every_split(text in dense(), cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..12), count in 1..12_usize) {
        let mut settings = own(
            &[("a", "aXaX"), ("b", "XaXa"), ("c", "411")],
            &[("line", "(?m)^key$"), ("word", r"\bword\b"), ("run", "z{3,9}|ab[0-9]{0,3}")],
        );
        settings.sets = vec![BuiltIn::CardNumbers, BuiltIn::AccessKeys];
        settings.count = count;
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        cuts.sort_unstable();
        let whole = whole(&settings, &text);
        prop_assert_eq!(found(&settings, &text, &cuts), whole.clone());
        let bytes: Vec<usize> = (1..text.len()).collect();
        prop_assert_eq!(found(&settings, &text, &bytes), whole);
    }
}

/// What a search over the whole object finds, written another way: all matches of every engine, in the order of their begin.
fn whole(settings: &Settings, text: &[u8]) -> Option<String> {
    let bytes = |regex: &str| {
        regex_automata::meta::Regex::builder()
            .syntax(regex_automata::util::syntax::Config::new().unicode(false).utf8(false))
            .build(regex)
            .unwrap()
    };
    let literals: Vec<String> = settings.literals.iter().map(|(_, text)| text.clone()).collect();
    let mut all: Vec<(usize, usize, usize, String)> = Vec::new();
    for found in bytes(&literals.join("|")).find_iter(text) {
        let which = literals.iter().position(|literal| literal.as_bytes() == &text[found.range()]).unwrap();
        all.push((found.start(), 0, found.end(), format!("literals.{}", settings.literals[which].0)));
    }
    let joined = settings.regexes.iter().map(|(_, regex)| format!("(?:{regex})")).collect::<Vec<_>>().join("|");
    for found in bytes(&joined).find_iter(text) {
        let which = settings.regexes.iter().find(|(_, regex)| {
            let input = regex_automata::Input::new(text)
                .span(found.start()..text.len())
                .anchored(regex_automata::Anchored::Yes);
            bytes(regex).search(&input).is_some()
        });
        all.push((found.start(), 1, found.end(), format!("regexes.{}", which.unwrap().0)));
    }
    let mut from = 0;
    while let Some(card) = cards::find(text, from) {
        all.push((card.start, 2, card.end, format!("card-numbers.{}", cards::SCHEMES[card.scheme])));
        from = card.end;
    }
    all.sort();
    let (mut counted_to, mut seen) = (0, std::collections::HashSet::new());
    for (start, _, end, name) in all {
        if start >= counted_to {
            counted_to = end;
            seen.insert(&text[start..end]);
            if seen.len() >= settings.count {
                return Some(name);
            }
        }
    }
    None
}

const LIMITS: Limits = Limits { bytes: 64 << 20, depth: 2, entries: 100 };

fn unpacking() -> Settings {
    Settings { unpack: Some(LIMITS), ..settings(&[BuiltIn::Eicar]) }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn h15_what_is_packed_is_searched() {
    let infected = [&[b'x'; 100_000][..], eicar().as_bytes()].concat();
    let packed = Bytes::from(gzip(&infected));
    for piece in [1, 100, 1 << 20] {
        let pieces: Vec<Bytes> = packed.chunks(piece).map(Bytes::copy_from_slice).collect();
        let matched = Verdict::matched("eicar.test-file");
        assert_eq!(verdict(&unpacking(), subject(None), pieces.clone()).await, matched);
        assert_eq!(verdict(&unpacking(), subject(Some("gzip")), pieces.clone()).await, matched);
        assert_eq!(verdict(&settings(&[BuiltIn::Eicar]), subject(None), pieces).await, Verdict::Clean);
    }
    let clean = vec![Bytes::from(gzip(&infected[..100_000]))];
    assert_eq!(verdict(&unpacking(), subject(None), clean).await, Verdict::Clean);
}

#[tokio::test]
async fn h15_what_cannot_be_unpacked_is_not_scannable_but_searched_as_it_is() {
    let cut = gzip(&[b'x'; 100])[..20].to_vec();
    let other = [b"Rar!\x1a\x07\x01\0".to_vec(), vec![b'.'; 100_000]].concat();
    for broken in [cut, other] {
        let said = verdict(&unpacking(), subject(None), vec![Bytes::from(broken.clone())]).await;
        assert!(matches!(said, Verdict::NotScannable { .. }), "{said:?}");
    }
    let encoded = verdict(&unpacking(), subject(Some("br")), vec![Bytes::from_static(b"x")]).await;
    assert!(matches!(encoded, Verdict::NotScannable { .. }), "{encoded:?}");
    let infected = [b"Rar!\x1a\x07\x01\0".to_vec(), vec![b'.'; 100_000], eicar().into_bytes()].concat();
    let said = verdict(&unpacking(), subject(None), vec![Bytes::from(infected)]).await;
    assert_eq!(said, Verdict::matched("eicar.test-file"));
}

#[tokio::test]
async fn a_count_goes_over_what_is_packed_too() {
    let mut settings = Settings { unpack: Some(LIMITS), ..settings(&[BuiltIn::CardNumbers]) };
    settings.count = 2;
    let packed = gzip(b"4111111111111111 5555555555554444");
    let said = verdict(&settings, subject(None), vec![Bytes::from(packed)]).await;
    assert_eq!(said, Verdict::matched("card-numbers.mastercard"));
}
