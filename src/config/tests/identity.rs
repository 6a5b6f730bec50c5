//! Listeners on Unix sockets and with an identity: what is accepted, and what is not.

use super::{assert_problems, edited, load, references, references_with_tls};
use crate::config::load_text;
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

/// The base file with TLS, and the files that it names.
fn with_tls(client: &str) -> (String, crate::config::MapReferences) {
    let references = references_with_tls();
    let listener =
        format!("{{ address: 127.0.0.1:8443, tls: {{ certificate: /tls.crt, key: /tls.key, client: {client} }} }}");
    (with_listener(&listener), references)
}

fn with_certificates(certificates: &str) -> (String, crate::config::MapReferences) {
    let (text, references) = with_tls("{ ca: /ca.pem, identity: true }");
    (text.replace("clients:\n", &format!("clients:\n  certificates: [{certificates}]\n")), references)
}

#[test]
fn certificates_of_clients_are_required_and_open_the_door_unless_the_file_says_more() {
    let (text, refs) = with_tls("{ ca: /ca.pem }");
    let config = load_text("test.yaml", &text, &refs).unwrap_or_else(|problems| panic!("{problems}"));
    let client = config.edge.listeners[0].tls.as_ref().unwrap().client.clone().unwrap();
    assert_eq!((client.require, client.identity, client.crls.len()), (true, false, 0));
    let certificates = "{ name: one, match: { dns: a.example.com } }, { name: many, match: { spiffe: { trust_domain: example.org, path: \"/ns/{namespace}/x\" } }, attributes: { team: red } }";
    let (text, refs) = with_certificates(certificates);
    let text = text.replace("who: { tokens: [ci] }", "who: { certificates: [many] }");
    let text =
        text.replace("where: team-data/builds/", "where: \"team-data/{namespace}/{trust_domain}/{certificate}/\"");
    let config = load_text("test.yaml", &text, &refs).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(config.auth.certificates.len(), 2);
    assert_eq!(config.rules[0].who.clients, [Client::Certificate("many".to_owned())]);
}

#[test]
fn certificates_that_nobody_asks_for_or_that_mean_nobody_are_a_mistake() {
    for (client, line, problem, help) in [
        ("{}", 2, "the key `ca` is missing", "authorities"),
        ("{ ca: /crl.pem }", 2, "/crl.pem holds no PEM certificate", "BEGIN CERTIFICATE"),
        ("{ ca: /ca.pem, crls: /ca.pem }", 2, "/ca.pem holds no PEM list of revoked certificates", "X509 CRL"),
        ("{ ca: /ca.pem, crls: [] }", 2, "the list is empty", "remove"),
        ("{ ca: /ca.pem, identity: true }", 2, "no certificate is known", "clients.certificates"),
    ] {
        let (text, refs) = with_tls(client);
        assert_problems(&text, &refs, &[(line, problem, help)]);
    }
    let nobody_asks = edited("clients:\n", "clients:\n  certificates: [{ name: a, match: { dns: b } }]\n");
    assert_problems(&nobody_asks, &references(), &[(11, "no listener takes a certificate", "identity: true")]);
    for (certificates, problem) in [
        ("{ match: { dns: a } }", "the key `name` is missing"),
        ("{ name: a }", "the key `match` is missing"),
        ("{ name: a, match: {} }", "there must be exactly one key here"),
        ("{ name: a, match: { dns: a, uri: b } }", "there must be exactly one key here"),
        ("{ name: a, match: { dns: \"\" } }", "this is no name of a certificate"),
        ("{ name: a, match: { uri: \"spiffe://a/b\" } }", "this is a SPIFFE id"),
        ("{ name: a, match: { spiffe: { trust_domain: A, path: /b } } }", "this is no trust domain"),
        ("{ name: a, match: { spiffe: { trust_domain: a, path: b } } }", "this is no path of a SPIFFE id"),
        ("{ name: a, match: { spiffe: { trust_domain: a, path: \"/{token}\" } } }", "the attribute `token` is set"),
        ("{ name: a, match: { dns: x } }, { name: b, match: { dns: x } }", "`a` is about the same certificates"),
        ("{ name: a, match: { dns: x } }, { name: a, match: { dns: y } }", "this name is there already"),
        (
            "{ name: a, match: { spiffe: { trust_domain: a, path: \"/{team}\" } }, attributes: { team: x } }",
            "the SPIFFE id gives this attribute",
        ),
    ] {
        let (text, refs) = with_certificates(certificates);
        assert_problems(&text, &refs, &[(11, problem, "")]);
    }
}

#[test]
fn proxies_are_named_and_neither_everybody_nor_the_application() {
    let listener = "{ address: 127.0.0.1:8080, proxy_protocol: { from: [10.0.0.7, \"2001:db8::/64\"] }, forwarded: { from: 10.0.0.0/24, header: forwarded } }";
    let config = load(&with_listener(listener)).unwrap_or_else(|problems| panic!("{problems}"));
    let listener = &config.edge.listeners[0];
    assert_eq!(listener.proxies.len(), 2);
    assert_eq!(listener.forwarded.as_ref().unwrap().header, crate::edge::ForwardedHeader::Forwarded);
    for key in ["proxy_protocol", "forwarded"] {
        let with = |from: &str| format!("{{ address: 127.0.0.1:8080, {key}: {from} }}");
        refused(&with("{}"), &[(2, "the key `from` is missing", "10.0.0.7")]);
        refused(&with("{ from: [] }"), &[(2, "the list is empty", "10.0.0.7")]);
        refused(&with("{ from: proxy.example.com }"), &[(2, "this is not a network", "10.0.0.0/8")]);
        refused(&with("{ from: 10.0.0.7/8 }"), &[(2, "bits outside its network", "10.0.0.0/8")]);
        refused(&with("{ from: 0.0.0.0/0 }"), &[(2, "this is everybody", "alone")]);
        refused(&with("{ from: \"::/0\" }"), &[(2, "this is everybody", "alone")]);
        let socket = format!("{{ address: \"unix:/run/s3.sock\", {key}: {{ from: 10.0.0.7 }} }}");
        refused(&socket, &[(2, "nobody at a Unix socket has an address", "IP address")]);
        let sidecar = format!("{{ address: 127.0.0.1:8080, identity: {{ name: app }}, {key}: {{ from: 10.0.0.7 }} }}");
        refused(&sidecar, &[(2, "not the application that the listener is for", "of its own")]);
    }
}

#[test]
fn a_token_is_shown_to_a_url_that_the_file_names_and_to_no_other() {
    let issuer = |keys: &str| edited("      algorithms: [RS256]\n", &format!("      algorithms: [RS256]\n{keys}"));
    let good = issuer("      keys: { url: https://api.example/jwks }\n      jwks_token_file: /token\n");
    let config = load(&good).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(config.auth.issuers[0].jwks_token.as_deref(), Some(std::path::Path::new("/token")));
    let discovery = issuer("      jwks_token_file: /token\n");
    assert_problems(&discovery, &references(), &[(20, "the token is for the URL of the keys", "keys: { url")]);
    let relative = issuer("      keys: { url: https://api.example/jwks }\n      jwks_token_file: token\n");
    assert_problems(&relative, &references(), &[(21, "the path is not absolute", "`/`")]);
}
