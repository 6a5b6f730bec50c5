//! Scanners, patterns and types of files.

use crate::config::tests::{assert_problems, edited, references};

#[test]
fn scanners_with_mistakes() {
    for (to, expected) in [
        ("clamd: {}", &[(21, "`addresses` is missing", "tcp://host:port")][..]),
        ("clamd: { addresses: [] }", &[(21, "the list is empty", "unix:/path")]),
        ("clamd: { addresses: \"127.0.0.1:3310\" }", &[(21, "not an address of clamd", "tcp://host:port")]),
        ("clamd: { addresses: \"tcp://127.1:3310\" }", &[(21, "not a host", "")]),
        ("clamd: { addresses: [\"tcp://a\", \"tcp://a:3310\"] }", &[(21, "this address is there twice", "")]),
        ("clamd: { addresses: \"tcp://a\", max_size: 5GiB }", &[(21, "`5GiB` is out of range", "4GiB")]),
        ("clamd: { addresses: \"tcp://a\", not_scannable: [\"\"] }", &[(21, "the text is empty", "Heuristics")]),
        ("icap: {}", &[(21, "`url` is missing", "icap://host:port/service")]),
        ("icap: { url: \"http://a/b\" }", &[(21, "not an address of an ICAP service", "icap://")]),
        ("icap: { url: \"icap://a\" }", &[(21, "not an address of an ICAP service", "icap://")]),
        ("icap: { url: \"icap://127.1/b\" }", &[(21, "not a host", "")]),
        ("icap: { url: \"icap://a/b\", not_scannable: [] }", &[(21, "the list is empty", "")]),
        ("clamd: { addresses: \"tcp://a\", probe: some }", &[(21, "not known here", "")]),
    ] {
        assert_problems(
            &edited("rules:", &format!("inspectors: {{ antivirus: {{ {to} }} }}\nrules:")),
            &references(),
            expected,
        );
    }
}

#[test]
fn patterns_with_mistakes() {
    let inspector =
        |keys: &str| edited("rules:", &format!("inspectors: {{ dlp: {{ patterns: {{ {keys} }} }} }}\nrules:"));
    for (keys, expected) in [
        ("", &[(21, "there are no patterns", "sets: [eicar]")][..]),
        ("sets: []", &[(21, "the list is empty", "name a set")]),
        ("sets: [card-number]", &[(21, "there is no set `card-number`", "did you mean `card-numbers`?")]),
        ("sets: [eicar, eicar]", &[(21, "named twice", "remove one")]),
        ("literals: { a: \"\" }", &[(21, "a literal of 0 bytes", "1 to 4096")]),
        ("literals: { a b: x }", &[(21, "cannot be a name", "")]),
        ("regexes: { a: 'x+' }", &[(21, "no longest match", "{1,200}")]),
        ("regexes: { a: 'x{0,2}' }", &[(21, "matches an empty text", "{1,200}")]),
        ("regexes: { a: '^x' }", &[(21, "begin or end of the whole object", "(?m)")]),
        ("regexes: { a: 'x(' }", &[(21, "cannot be read: unclosed group", "single quotes")]),
        ("files: { a: words.txt }", &[(21, "not absolute", "")]),
        ("files: { a: /nowhere/words.txt }", &[(21, "cannot be read", "")]),
        ("sets: eicar, count: 0", &[(21, "0 is out of range", "1 to 1000")]),
    ] {
        assert_problems(&inspector(keys), &references(), expected);
    }
}

#[test]
fn file_types_with_mistakes() {
    for (keys, expected) in [
        ("allow: []", &[(21, "the list is empty", "name a type")][..]),
        ("allow: png", &[(21, "there is no type `png`", "image/*")]),
        ("deny: [macro]", &[(21, "there is no type `macro`", "did you mean `macros`?")]),
        ("deny: [image/png, '']", &[(21, "the text is empty", "")]),
    ] {
        let inspectors = format!("inspectors: {{ types: {{ file_type: {{ {keys} }} }} }}\nrules:");
        assert_problems(&edited("rules:", &inspectors), &references(), expected);
    }
}
