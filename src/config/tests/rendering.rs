//! How problems look, and that no secret is among what they show.

use super::{BASE, edited, load, references};
use crate::config::{MapReferences, load_text};

#[test]
fn a_problem_shows_its_line_and_what_to_do() {
    let text = edited("    region:", "    regoin:").replace("where: team-data/builds/", "where: team-dta/builds/");
    let shown = load(&text).unwrap_err().to_string();
    let expected = "\
test.yaml:6:5: upstreams.store: unknown key `regoin`
  6 |     regoin: …
    |     ^^^^^^
  help: did you mean `region`? allowed keys: `endpoint`, `region`, `addressing`, `ca_file`, `credentials`, `seal_keys`, `payload`, `checksum`, `max_connections`, `max_waiting`, `principal_share`, `unknown_length_uploads`, `breaker`, `timeouts`
test.yaml:24:12: rules[0].where: there is no bucket `team-dta`
  24 |     where: team-dta/builds/
     |            ^^^^^^^^^^^^^^^^
  help: did you mean `team-data`? write the name that clients use; defined are: `team-data`
2 problems in test.yaml";
    assert_eq!(shown, expected);
}

#[test]
fn a_problem_in_a_credential_shows_the_key_alone() {
    let text = edited(
        "credentials: { access_key_id: env:ID, secret_access_key: env:KEY }",
        "credentials:\n      access_key_id: AKIDREAL\n      secret_access_key: env:KEY",
    );
    let expected = "\
test.yaml:8:22: upstreams.store.credentials.access_key_id: a secret must not stand in the file
  8 |       access_key_id: …
    |                      ^
  help: write env:NAME or file:/path, and put the value there; treat the one written here as known
1 problem in test.yaml";
    assert_eq!(load(&text).unwrap_err().to_string(), expected);
}

#[test]
fn items_are_counted_as_they_stand_in_the_file() {
    let text = edited("who: { tokens: [ci] }", "who: { tokens: [[], cd] }");
    let problems = load(&text).unwrap_err().to_string();
    // The first item is broken, so it is not known what it was meant to be; the second must still be called the second.
    assert!(problems.contains("rules[0].who.tokens[0]: expected text, found a list"), "{problems}");
    assert!(problems.contains("rules[0].who.tokens[1]: there is no token `cd`"), "{problems}");
}

#[test]
fn long_lines_are_cut_and_control_characters_replaced() {
    let list = (0..60).map(|number| format!("team-data/{number}/")).collect::<Vec<_>>().join(", ");
    let text = edited("where: team-data/builds/", &format!("where: [{list}, \"nope\\e[2J\", {list}]"));
    let shown = load(&text).unwrap_err().to_string();
    assert!(shown.contains("there is no bucket `nope\u{fffd}[2J`"), "{shown}");
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines[1].chars().count() < 140, "{shown}");
    let caret = lines[2].chars().position(|c| c == '^').unwrap();
    assert_eq!(lines[1].chars().skip(caret).take(5).collect::<String>(), "\"nope", "{shown}");
}

/// A text that is put wherever a secret could stand by mistake.
const MARKER: &str = "wJa1rXUtnF3MIxK7MD3NG";

#[test]
fn l01_a_secret_is_never_shown_wherever_it_was_written() {
    let keys = "credentials: { access_key_id: env:ID, secret_access_key: env:KEY }";
    let mut texts: Vec<String> = [
        "credentials: { access_key_id: env:ID, secret_access_key: SECRET }",
        "credentials: { access_key_id: SECRET, secret_access_key: SECRET, session_token: SECRET }",
        "credentials: SECRET",
        "credentials: [SECRET]",
        "credentials: { SECRET: x }",
        "credentials: { secret_access_key=SECRET: x }",
        "credentials: { acess_key: SECRET, profile: x, file: SECRET }",
        "credentials: { profile: [SECRET] }",
        "credentials:\n      access_key_id: env:SECRET/x\n      secret_access_key: file:SECRET",
        "credentials:\n      secret_access_key: |\n        SECRET\n      acess_key_id: SECRET",
        "credentials:\n      secret_access_key: \"SECRET",
        "credentials:\n      secret_access_key: *SECRET",
        "credentials:\n      secret_access_key: !SECRET x",
        "credentials:\n      secret_access_key: SECRET: x",
        "credentials:\n      secret_access_key:SECRET",
        "credentials:\n      secret_access_key: SECRET\n      secret_access_key: SECRET",
        "credentails:\n      secret_acess_key: SECRET",
        "secret: SECRET",
        "accessKey: SECRET",
    ]
    .iter()
    .map(|written| edited(keys, &written.replace("SECRET", MARKER)))
    .collect();
    texts.push(edited("endpoint: https://s3.example.com", &format!("endpoint: https://user:{MARKER}@s3.example.com")));
    texts.push(edited("issuer: https://idp.example.com/", &format!("issuer: https://{MARKER}@idp.example.com/")));
    for hash in [
        MARKER.to_owned(),
        format!("sha256:{MARKER}"),
        format!("[{MARKER}]"),
        format!("env:{MARKER}/"),
        format!("\"{MARKER}"),
    ] {
        texts.push(edited("hash: env:HASH", &format!("hash: {hash}")));
    }
    texts.push(edited("hash: env:HASH", &format!("token: {MARKER}")));
    texts.push(edited("hash: env:HASH", &format!("tokn: {MARKER}")));
    for text in texts {
        let shown = load(&text).unwrap_err().to_string();
        assert!(!shown.contains(MARKER) && !shown.contains(&MARKER.to_lowercase()), "shown in\n{shown}\nof\n{text}");
    }
}

#[test]
fn l01_a_secret_that_a_reference_stands_for_is_never_shown() {
    for value in [format!("{MARKER} {MARKER}"), format!("{MARKER}EXAMPLEKEY"), format!("{MARKER}\u{1b}")] {
        let env = references()
            .env
            .into_iter()
            .map(|(name, old)| (name.clone(), if name == "HOME" { old } else { value.clone() }))
            .collect();
        let refs = MapReferences { env, ..MapReferences::default() };
        let problems = load_text("test.yaml", &edited("endpoint: https://s3.example.com", "endpoint: env:KEY"), &refs)
            .unwrap_err();
        assert_eq!(problems.iter().count(), 4, "{problems}");
        assert!(!problems.to_string().contains(MARKER) && !format!("{problems:?}").contains(MARKER), "{problems}");
    }
}

#[test]
fn a_loaded_configuration_does_not_print_its_secrets() {
    let config = load(BASE).unwrap();
    assert!(!format!("{config:?}").contains("k3yF0rT3sts"));
}

proptest::proptest! {
    #[test]
    fn l07_no_text_makes_the_loader_panic(text in "[a-z:\\-\\[\\]{}\"'&*!|>#\\n $0-9é\u{0}\t]{0,80}") {
        if let Err(problems) = load(&text) {
            assert!(problems.to_string().contains(" in test.yaml"));
        }
    }

    #[test]
    fn l07_no_change_of_a_good_file_makes_the_loader_panic(at in 0..BASE.len(), length in 0usize..40, put in "[a-z:\\-\\[\\]{}\"'&*!\\n 0-9]{0,8}") {
        let end = (at + length).min(BASE.len());
        if let Err(problems) = load(&format!("{}{put}{}", &BASE[..at], &BASE[end..])) {
            assert!(problems.to_string().contains(" in test.yaml"));
        }
    }
}
