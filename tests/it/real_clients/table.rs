//! `docs/CLIENTS.md`: what the run saw, compared with what is committed, or written there.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use super::{Outcome, Outcomes, PLACES, Place};

/// What stands between these lines is made by the test.
const BEGIN: &str =
    "<!-- made by tests/it/real_clients: UPDATE=1 cargo test --features demo --test it real_clients -->\n";
const END: &str = "<!-- end of what is made -->\n";

const STEPS: [&str; 8] = ["put", "get", "list", "delete", "multipart", "odd keys", "presign", "refusal"];
/// What the distribution updates under us.
const OF_DEBIAN: [&str; 3] = ["chromium", "restic", "s3cmd"];

/// Panics if the committed table is another one; with `UPDATE` in the environment it is written instead.
pub fn compare(outcomes: &Outcomes) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/CLIENTS.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (head, rest) = text.split_once(BEGIN).expect("the line before the table");
    let (committed, tail) = rest.split_once(END).expect("the line behind the table");
    let made = tables(outcomes);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, format!("{head}{BEGIN}{made}{END}{tail}")).unwrap();
    } else {
        assert!(
            committed == made,
            "docs/CLIENTS.md is not what was seen; with UPDATE=1 this is written there:\n{made}"
        );
    }
}

fn tables(outcomes: &Outcomes) -> String {
    let mut text =
        "\n| client | version | uploads in clear text | uploads over TLS | TLS with |\n|---|---|---|---|---|\n"
            .to_owned();
    for (name, places) in outcomes {
        let forms = |tls: bool| {
            let seen = places.iter().filter(|(place, _)| place.tls == tls);
            let forms: BTreeSet<_> = seen.flat_map(|(_, outcome)| outcome.seen.uploads.iter()).collect();
            forms.into_iter().map(|form| format!("`{form}`")).collect::<Vec<_>>().join("<br>")
        };
        let h2 = places.values().any(|outcome| outcome.seen.offers_h2);
        let any = places.values().next().expect("a client was somewhere");
        let version = if OF_DEBIAN.contains(name) { "Debian's" } else { &any.version };
        let protocol = if h2 { "HTTP/2" } else { "HTTP/1.1" };
        writeln!(text, "| {} | {version} | {} | {} | {protocol} |", any.client, forms(false), forms(true)).unwrap();
    }
    let places = PLACES.map(|(place, _)| title(place));
    writeln!(text, "\n| client | {} | {} |", STEPS.join(" | "), places.join(" | ")).unwrap();
    writeln!(text, "|---|{}", "---|".repeat(STEPS.len() + places.len())).unwrap();
    for (name, places) in outcomes {
        let any = places.values().next().expect("a client was somewhere");
        // Some run in two versions.
        let client =
            if OF_DEBIAN.contains(name) { any.client.clone() } else { format!("{} {}", any.client, any.version) };
        let steps =
            STEPS.map(|step| if places.values().all(|outcome| outcome.steps.contains_key(step)) { "yes" } else { "–" });
        let results = PLACES.map(|(place, _)| places.get(&place).map_or("–".to_owned(), result));
        writeln!(text, "| {client} | {} | {} |", steps.join(" | "), results.join(" | ")).unwrap();
    }
    text.push('\n');
    text
}

fn title(place: Place) -> String {
    format!("{}{}", place.store, if place.tls { ", TLS" } else { "" })
}

fn result(outcome: &Outcome) -> String {
    let failed: Vec<&str> =
        outcome.steps.iter().filter(|(_, result)| *result != "ok").map(|(step, _)| step.as_str()).collect();
    if failed.is_empty() { "passes".to_owned() } else { format!("fails: {}", failed.join(", ")) }
}
