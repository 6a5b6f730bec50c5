//! Listeners on Unix sockets and with an identity: what is accepted, and what is not.

use super::{assert_problems, edited, load, references};
use crate::edge::{ListenAddress, UnixSettings};
use crate::rules::settings::Client;

/// The base file with another listener, in line 2.
fn with_listener(listener: &str) -> String {
    edited("  - address: 127.0.0.1:8080\n", &format!("  - {listener}\n"))
}

fn refused(listener: &str, expected: &[super::Expected<'_>]) {
    assert_problems(&with_listener(listener), &references(), expected);
}

#[test]
fn a_unix_socket_is_for_its_owner_unless_the_file_says_more() {
    for (text, mode) in [("", 0o600), (", mode: \"0660\"", 0o660), (", mode: 666", 0o666), (", mode: 0660", 0o660)] {
        let text = with_listener(&format!("{{ address: \"unix:/run/countersign/s3.sock\"{text} }}"));
        let config = load(&text).unwrap_or_else(|problems| panic!("{problems}"));
        let expected = UnixSettings { path: "/run/countersign/s3.sock".into(), mode };
        assert_eq!(config.edge.listeners[0].address, ListenAddress::Unix(expected), "{text}");
    }
}

#[test]
fn a_socket_without_a_place_or_with_odd_permissions_is_refused() {
    let here = "{ address: \"unix:/run/s3.sock\", mode: ";
    refused(&format!("{here}rw }}"), &[(2, "these are not permissions", "0660")]);
    refused(&format!("{here}\"4755\" }}"), &[(2, "these are not permissions", "0660")]);
    refused(&format!("{here}\"68\" }}"), &[(2, "these are not permissions", "0660")]);
    refused("{ address: \"unix:s3.sock\" }", &[(2, "the path is not absolute", "`/`")]);
    refused("{ address: \"unix:\" }", &[(2, "the path is not absolute", "`/`")]);
    refused("{ address: \"unix:/run/\" }", &[(2, "no path of a socket", "folder")]);
    refused(&format!("{{ address: \"unix:/{}\" }}", "x".repeat(90)), &[(2, "no path of a socket", "folder")]);
    refused("{ address: 127.0.0.1:8080, mode: \"0600\" }", &[(2, "`mode` is for Unix sockets", "remove")]);
    let twice = with_listener("{ address: \"unix:/run/s3.sock\" }\n  - { address: \"unix:/run/s3.sock\" }");
    assert_problems(&twice, &references(), &[(3, "unix:/run/s3.sock is listened on twice", "remove")]);
}

#[test]
fn a_listener_can_say_who_its_callers_are() {
    let listener = "{ address: \"[::1]:8080\", identity: { name: app, attributes: { team: red } } }";
    let text = with_listener(listener).replace("who: { tokens: [ci] }", "who: { tokens: [ci], listeners: [app] }");
    let config = load(&text).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(config.edge.listeners[0].identity.as_deref(), Some("app"));
    let identity = &config.auth.listeners[0];
    assert_eq!((identity.name.as_str(), identity.placeholder.as_str()), ("app", "countersign"));
    assert_eq!(identity.attributes["team"], ["red"]);
    let named = [Client::Token("ci".to_owned()), Client::Listener("app".to_owned())];
    assert_eq!(config.rules[0].who.clients, named);
}

#[test]
fn nobody_else_needs_to_be_known_where_a_listener_knows_its_callers() {
    let text = "listen: [{ address: 127.0.0.1:8080, identity: { name: app } }]\nupstreams:\n  store:\n    endpoint: https://s3.example.com\n    region: eu-central-1\n    credentials: { access_key_id: env:ID, secret_access_key: env:SECRET }\nbuckets: { data: {} }\nrules:\n  - { name: r, who: { listeners: [app] }, where: \"data/{listener}/\", what: read }\n";
    load(text).unwrap_or_else(|problems| panic!("{problems}"));
}

#[test]
fn an_identity_that_a_network_can_reach_is_refused() {
    for address in ["0.0.0.0:8080", "\"[::]:8080\"", "10.0.0.7:8080"] {
        let listener = format!("{{ address: {address}, identity: {{ name: app }} }}");
        refused(&listener, &[(2, "anybody on the network could reach this listener", "a Unix socket")]);
    }
}

#[test]
fn an_identity_has_a_name_of_its_own_and_a_placeholder_that_sdks_take() {
    let start = "{ address: 127.0.0.1:8080, identity: ";
    refused(&format!("{start}{{}} }}"), &[(2, "the key `name` is missing", "rules")]);
    refused(&format!("{start}{{ name: \"a b\" }} }}"), &[(2, "this cannot be a name", "letters")]);
    for odd in ["\"\"", "ab", "\"a b\"", "a/b/c"] {
        let identity = format!("{start}{{ name: app, placeholder: {odd} }} }}");
        refused(&identity, &[(2, "this cannot be an access key id", "128")]);
    }
    for own in ["listener", "token", "certificate"] {
        let identity = format!("{start}{{ name: app, attributes: {{ {own}: x }} }} }}");
        refused(&identity, &[(2, &format!("the attribute `{own}` is set by the gateway"), "another")]);
    }
    let one = "{ address: 127.0.0.1:8080, identity: { name: app } }";
    let two = with_listener(&format!("{one}\n  - {{ address: 127.0.0.1:8081, identity: {{ name: app }} }}"));
    assert_problems(&two, &references(), &[(3, "this name is there already", "of its own")]);
    let unknown = with_listener(one).replace("who: { tokens: [ci] }", "who: { listeners: [ap] }");
    assert_problems(&unknown, &references(), &[(23, "there is no listener `ap`", "did you mean `app`?")]);
}
