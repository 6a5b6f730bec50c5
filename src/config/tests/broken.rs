//! A table of broken files. Every row changes one thing in the base file and says exactly which problems that makes.

mod clients;
mod inspectors;
mod rules;
mod stores;

use super::{BASE, Expected, assert_problems, edited, references};

fn check(rows: &[(&str, &str, &[Expected<'_>])]) {
    for (from, to, expected) in rows {
        assert_problems(&edited(from, to), &references(), expected);
    }
}

#[test]
fn what_is_not_yaml_or_not_a_mapping() {
    let none = references();
    assert_problems("", &none, &[(1, "the file is empty", "countersign.yaml")]);
    assert_problems("# only a comment\n", &none, &[(2, "the file is empty", "")]);
    assert_problems("listen: [", &none, &[(1, "not valid YAML: unclosed bracket", "indented")]);
    assert_problems("- a\n", &none, &[(1, "expected a mapping, found a list", "")]);
    assert_problems("text", &none, &[(1, "expected a mapping, found text", "")]);
    assert_problems("a: 1\n---\na: 2\n", &none, &[(3, "not valid YAML", "")]);
    assert_problems("listen: !mine 5\n", &none, &[(1, "unsupported tag", "")]);
    assert_problems(&edited("    who: anyone\n", "    <<: { who: anyone }\n"), &none, &[(28, "merge key", "")]);
    assert_problems(&format!("{BASE}x: &x [*x]\n"), &none, &[(31, "not valid YAML", "")]);
}

#[test]
fn l04_unknown_keys_are_refused_with_a_suggestion() {
    check(&[
        (
            "  - address:",
            "  - adress:",
            &[(2, "unknown key `adress`", "did you mean `address`? allowed keys: `address`, `tls`")],
        ),
        ("    region:", "    regoin:", &[(6, "unknown key `regoin`", "did you mean `region`?")]),
        ("rules:", "ruls:", &[(21, "unknown key `ruls`", "did you mean `rules`?")]),
        (
            "    where: team-data/builds/",
            "    wher: team-data/builds/",
            &[(24, "unknown key `wher`", "did you mean `where`?")],
        ),
        (
            "audience: s3-gateway",
            "audience: s3-gateway\n      colour: red",
            &[(19, "unknown key `colour`", "allowed keys: `name`, `issuer`")],
        ),
        ("prefix: gw/", "prefix: gw/, odd-keys: pass", &[(9, "unknown key `odd-keys`", "did you mean `odd_keys`?")]),
        (
            "    who: anyone",
            "    who: anyone\n    limits: { max_siz: 1MiB }\n    effct: deny",
            &[
                (29, "a deny rule has no `limits`", "allows"),
                (29, "unknown key `max_siz`", "did you mean `max_size`?"),
                (30, "unknown key `effct`", "did you mean `effect`?"),
            ],
        ),
    ]);
}

#[test]
fn keys_that_are_there_twice_are_refused() {
    check(&[
        (
            "    region: eu-central-1",
            "    region: eu-central-1\n    region: eu-west-1",
            &[(7, "this key is there already, in line 6", "keep one")],
        ),
        (
            "rules:",
            "rules: []\nrules:",
            &[(21, "no rule, so nothing is allowed", ""), (22, "this key is there already, in line 21", "")],
        ),
        (
            "    effect: deny",
            "    effect: deny\n    effect: allow",
            &[(28, "this key is there already", "silently replace")],
        ),
    ]);
}

#[test]
fn values_of_another_kind_are_refused() {
    check(&[
        ("listen:\n  - address: 127.0.0.1:8080", "listen: 127.0.0.1:8080", &[(1, "expected a list, found text", "")]),
        ("    region: eu-central-1", "    region: [eu-central-1]", &[(6, "expected text, found a list", "")]),
        (
            "    region: eu-central-1",
            "    region:",
            &[(6, "expected text, found nothing", "give the key a value, or remove it")],
        ),
        (
            "    region: eu-central-1",
            "    region: eu-central-1\n    max_connections: \"512\"",
            &[(7, "expected a whole number, found text", "digits")],
        ),
        (
            "    region: eu-central-1",
            "    region: eu-central-1\n    max_connections: 1.5",
            &[(7, "expected a whole number, found a number", "digits")],
        ),
        (
            "    region: eu-central-1",
            "    region: eu-central-1\n    max_connections: -1",
            &[(7, "expected a whole number", "digits")],
        ),
        (
            "    region: eu-central-1",
            "    region: eu-central-1\n    payload: sined",
            &[(7, "`sined` is not known here", "did you mean `signed`? write one of `unsigned`, `signed`")],
        ),
        ("algorithms: [RS256]", "algorithms: RS256", &[(19, "expected a list, found text", "")]),
        (
            "audience: s3-gateway",
            "audience: { a: b }",
            &[(18, "expected text, or a list of texts, found a mapping", "")],
        ),
        (
            "who: anyone",
            "who: [ci]",
            &[(28, "expected the word `anyone`, or a mapping of conditions, found a list", "")],
        ),
        ("effect: deny", "effect: 5", &[(27, "expected one of `allow`, `deny`, found a number", "")]),
        (
            "who: { tokens: [ci] }",
            "who: { tokens: }",
            &[(23, "expected text, or a list of texts, found nothing", "remove it")],
        ),
        ("what: [read, write]", "what: [read, [write]]", &[(25, "expected text, found a list", "")]),
        (
            "who: { tokens: [ci] }",
            "who: { tokens: [ci] }\n    response_overrides: yes",
            &[(24, "expected `true` or `false`, found text", "")],
        ),
    ]);
}

#[test]
fn missing_parts_are_named_with_what_to_write() {
    let refs = references();
    let empty: &[Expected<'_>] = &[
        (1, "the key `listen` is missing", "127.0.0.1:8080"),
        (1, "the key `upstreams` is missing", "endpoint"),
        (1, "the key `buckets` is missing", "buckets:"),
        (1, "there is nobody who could authenticate", "countersign token"),
        (1, "the key `rules` is missing", "every request is refused"),
    ];
    assert_problems("log: { level: info }", &refs, empty);
    check(&[
        ("listen:\n  - address: 127.0.0.1:8080", "listen: []", &[(1, "no address to listen on", "127.0.0.1")]),
        ("    - name: ci\n      hash: env:HASH\n", "    - hash: env:HASH\n", &[(12, "the key `name` is missing", "")]),
        ("    region: eu-central-1\n", "", &[(4, "the key `region` is missing", "eu-central-1")]),
        (
            "  - name: build-write\n    who: { tokens: [ci] }\n",
            "  - name: build-write\n",
            &[(22, "the key `who` is missing", "who: anyone")],
        ),
        ("    where: team-data/builds/\n", "", &[(22, "the key `where` is missing", "bucket/prefix/")]),
        ("    what: [read, write]\n", "", &[(22, "the key `what` is missing", "`read`")]),
        ("      algorithms: [RS256]\n", "", &[(16, "the key `algorithms` is missing", "[RS256]")]),
        ("      audience: s3-gateway\n", "", &[(16, "the key `audience` is missing", "any other service")]),
    ]);
}

#[test]
fn listeners_and_limits() {
    check(&[
        ("127.0.0.1:8080", "localhost:8080", &[(2, "not an address to listen on", "a host name is not an address")]),
        ("127.0.0.1:8080", "127.0.0.1", &[(2, "not an address to listen on", "")]),
        (
            "127.0.0.1:8080",
            "127.0.0.1:8080\n  - address: 127.0.0.1:8080",
            &[(3, "127.0.0.1:8080 is listened on twice", "")],
        ),
        (
            "127.0.0.1:8080",
            "127.0.0.1:8080\n    tls: {}",
            &[(3, "the key `certificate` is missing", ""), (3, "the key `key` is missing", "")],
        ),
        (
            "127.0.0.1:8080",
            "127.0.0.1:8080\n    tls: { certificate: c.pem, key: /k.pem }",
            &[(3, "not absolute", ""), (3, "/k.pem cannot be read", "")],
        ),
        ("upstreams:", "admin: { address: 0.0.0.0:9090 }\nupstreams:", &[(3, "no authentication", "127.0.0.1")]),
        (
            "upstreams:",
            "admin: { address: 127.0.0.1:8080 }\nupstreams:",
            &[(3, "listened on twice", "port of its own")],
        ),
        (
            "upstreams:",
            "limits: { max_head: 4KiB }\nupstreams:",
            &[(3, "`4KiB` is out of range", "write 8KiB to 256KiB")],
        ),
        (
            "upstreams:",
            "limits: { max_head: 1MiB, max_target: 64KiB }\nupstreams:",
            &[(3, "`1MiB` is out of range", ""), (3, "`max_target` is larger than `max_head`", "")],
        ),
        (
            "upstreams:",
            "limits: { max_headers: 0, max_connections: 0 }\nupstreams:",
            &[(3, "0 is out of range", "16 to 1000"), (3, "0 is out of range", "1 to 1000000")],
        ),
        (
            "upstreams:",
            "limits: { timeouts: { head: 0s, drain: -5s, linger: 25h } }\nupstreams:",
            &[
                (3, "`0s` is out of range", "1ms to 24h"),
                (3, "`-5s` is not a duration", "such as `30s`"),
                (3, "`25h` is out of range", ""),
            ],
        ),
        (
            "upstreams:",
            "limits: { linger: 4, min_body_rate: 0, http2_max_streams: 99999999999999999999 }\nupstreams:",
            &[
                (3, "`4` is not a size", "write a number and a unit"),
                (3, "`0` is out of range", "1B to 1GiB"),
                (3, "expected a whole number", "digits"),
            ],
        ),
        (
            "upstreams:",
            "audit: { file: audit.log }\nlog: { level: verbose, format: xml }\nupstreams:",
            &[
                (3, "not absolute", ""),
                (4, "`verbose` is not known here", "`debug`"),
                (4, "`xml` is not known here", "`auto`, `text`, `json`"),
            ],
        ),
    ]);
}

#[test]
fn several_problems_are_all_reported_and_none_follows_from_another() {
    let text = "\
listen:
  - adress: 127.0.0.1:8080
upstreams:
  store: { endpoint: 5, region: [], credentials: { profil: x } }
buckets:
  data: { upstream: sotre }
  more: x
clients:
  tokens:
    - name: [ci]
      hash: env:HASH
rules:
  - { name: a, who: { tokens: [ci, cd], networks: [1, 10.0.0.0/8, 3] }, where: [data, more, most], what: [read, rite] }
  - { name: b, who: { attributes: { team: x } }, where: data, what: 5, limits: 1MiB }
";
    assert_problems(
        text,
        &references(),
        &[
            (2, "unknown key `adress`", "did you mean `address`?"),
            (4, "does not begin with https://", ""),
            (4, "expected text, found a list", ""),
            (4, "unknown key `profil`", "did you mean `profile`?"),
            (6, "no upstream of this name", "did you mean `store`?"),
            (7, "expected a mapping, found text", ""),
            (10, "expected text, found a list", ""),
            (13, "not a network", ""),
            (13, "not a network", ""),
            (13, "`rite` is not an action", "did you mean `write`?"),
            (14, "`5` is not an action", ""),
            (14, "expected a mapping, found text", ""),
        ],
    );
}

#[test]
fn l07_a_file_of_nothing_but_mistakes_ends_after_a_hundred() {
    let text: String = (0..5000).map(|number| format!("k{number}: x\n")).collect();
    let problems = crate::config::load_text("test.yaml", &text, &references()).unwrap_err();
    assert_eq!(problems.iter().count(), 100);
}
