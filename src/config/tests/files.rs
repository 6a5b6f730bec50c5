//! Files that a configuration refers to: that they are there, private where they must be, and what they should be.

use std::path::{Path, PathBuf};

use super::{BASE, assert_problems, edited, references};
use crate::auth::KeySource;
use crate::config::{MapReferences, References, SystemReferences, load_file, load_text};
use crate::sign::credentials::CredentialSource;

const KEYS: &str = "credentials: { access_key_id: env:ID, secret_access_key: env:KEY }";

fn with_files(files: &[(&str, &str)]) -> MapReferences {
    let files = files.iter().map(|(path, text)| (PathBuf::from(path), (*text).to_owned())).collect();
    MapReferences { files, ..references() }
}

fn credentials(written: &str, references: &MapReferences) -> CredentialSource {
    let config = load_text("test.yaml", &edited(KEYS, &format!("credentials: {written}")), references);
    config.unwrap_or_else(|problems| panic!("{problems}")).upstreams.remove(0).credentials.source
}

#[test]
fn credentials_in_files_stay_files_so_that_they_can_be_rotated() {
    let refs = with_files(&[("/id", "AKIDREAL\n"), ("/key", "k3y\r\n"), ("/token", "t0k3n")]);
    let found =
        credentials("{ access_key_id: file:/id, secret_access_key: file:/key, session_token: file:/token }", &refs);
    let CredentialSource::Files { access_key_id, secret_access_key, session_token: Some(token) } = found else {
        panic!("{found:?}")
    };
    assert_eq!(
        [access_key_id, secret_access_key, token],
        [PathBuf::from("/id"), PathBuf::from("/key"), PathBuf::from("/token")]
    );
}

#[test]
fn credentials_from_both_sources_are_read_once() {
    let refs = with_files(&[("/key", "k3y\r\n")]);
    let found = credentials("{ access_key_id: env:ID, secret_access_key: file:/key }", &refs);
    let CredentialSource::Static { secret_access_key, .. } = found else { panic!("{found:?}") };
    assert_eq!(secret_access_key.expose(), "k3y");
}

const PROFILES: &str = "\
# comment
[default]
aws_access_key_id = AKIDDEFAULT
aws_secret_access_key=s3cr3t

[ci]
aws_access_key_id=minioadmin
aws_secret_access_key=s3cr3t
[sso]
sso_session = corp
";

#[test]
fn profiles_are_looked_up_where_aws_tools_look() {
    let mut refs = with_files(&[("/home/gw/.aws/credentials", PROFILES), ("/elsewhere", PROFILES)]);
    for (written, file) in [
        ("{ profile: default }", "/home/gw/.aws/credentials"),
        ("{ file: ~/.aws/credentials }", "/home/gw/.aws/credentials"),
        ("{ file: /elsewhere, profile: default }", "/elsewhere"),
    ] {
        let found = credentials(written, &refs);
        let CredentialSource::Profile { file: found, profile } = found else { panic!("{found:?}") };
        assert_eq!((found, profile), (PathBuf::from(file), "default".to_owned()));
    }
    refs.env.insert("AWS_SHARED_CREDENTIALS_FILE".to_owned(), "/elsewhere".to_owned());
    let found = credentials("{ profile: default }", &refs);
    assert!(matches!(found, CredentialSource::Profile { file, .. } if file == Path::new("/elsewhere")));
}

#[test]
fn profiles_that_cannot_be_used_are_reported() {
    let refs = with_files(&[("/home/gw/.aws/credentials", PROFILES)]);
    let check = |written: &str, expected: &[super::Expected<'_>]| {
        assert_problems(&edited(KEYS, &format!("credentials: {written}")), &refs, expected)
    };
    check(
        "{ profile: defalt }",
        &[(7, "has no profile `defalt`", "did you mean `default`? the file has: `default`, `ci`, `sso`")],
    );
    check("{ profile: ci }", &[(7, "published example", "")]);
    check("{ profile: sso }", &[(7, "has no aws_access_key_id", "[sso]"), (7, "has no aws_secret_access_key", "")]);
    let mut homeless = refs.clone();
    homeless.env.remove("HOME");
    assert_problems(
        &edited(KEYS, "credentials: { profile: ci }"),
        &homeless,
        &[(7, "the credentials file is not known", "beginning with `/`")],
    );
    assert_problems(&edited(KEYS, "credentials: { file: ~/x }"), &homeless, &[(7, "HOME is not set", "")]);
}

fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(vec!["gateway.test".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

#[test]
fn certificates_and_keys_must_be_pem_and_belong_together() {
    let ((certificate_a, key_a), (_, key_b)) = (certificate(), certificate());
    let refs = with_files(&[("/a.pem", &certificate_a), ("/a.key", &key_a), ("/b.key", &key_b), ("/empty", "")]);
    let text = |certificate: &str, key: &str| {
        edited("127.0.0.1:8080", &format!("127.0.0.1:8080\n    tls: {{ certificate: {certificate}, key: {key} }}"))
    };
    let config =
        load_text("test.yaml", &text("/a.pem", "/a.key"), &refs).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(config.edge.listeners[0].tls.as_ref().map(|tls| tls.key.clone()), Some(PathBuf::from("/a.key")));
    assert_problems(&text("/a.pem", "/b.key"), &refs, &[(3, "cannot be used together", "first certificate")]);
    assert_problems(
        &text("/empty", "/a.pem"),
        &refs,
        &[
            (3, "/empty holds no PEM certificate", "BEGIN CERTIFICATE"),
            (3, "/a.pem holds no PEM private key", "BEGIN PRIVATE KEY"),
        ],
    );
    let ca = edited("region: eu-central-1", "region: x\n    ca_file: /a.key");
    assert_problems(&ca, &refs, &[(7, "/a.key holds no PEM certificate", "")]);
    assert!(load_text("test.yaml", &ca.replace("/a.key", "/a.pem"), &refs).is_ok());
}

#[test]
fn a_jwks_file_must_hold_a_key() {
    let jwks =
        r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    let refs = with_files(&[("/jwks.json", jwks), ("/none.json", "{\"keys\":[]}")]);
    let text = |file: &str| edited("audience: s3-gateway", &format!("audience: a\n      keys: {{ file: {file} }}"));
    let config = load_text("test.yaml", &text("/jwks.json"), &refs).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(config.auth.issuers[0].keys, KeySource::File(PathBuf::from("/jwks.json")));
    assert_problems(&text("/none.json"), &refs, &[(19, "not a JWKS document", "\"keys\"")]);
}

#[cfg(unix)]
#[test]
fn l03_a_secret_file_that_everybody_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let write = |name: &str, text: &str, mode: u32| {
        std::fs::write(path(name), text).unwrap();
        std::fs::set_permissions(path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    write("id", "AKIDREAL", 0o440);
    write("key", "s3cr3t", 0o644);
    write("hash", super::HASH, 0o644);
    let file = |name: &str| format!("file:{}", path(name).display());
    let text = BASE.replace("env:ID", &file("id")).replace("env:KEY", &file("key")).replace("env:HASH", &file("hash"));
    std::fs::write(path("gw.yaml"), text).unwrap();
    let problems = load_file(&path("gw.yaml"), &SystemReferences).unwrap_err();
    let found: Vec<_> = problems.iter().collect();
    assert_eq!(found.len(), 1, "{problems}");
    assert!(
        found[0].message.contains("can be read by every user") && found[0].help.contains("chmod 0400"),
        "{problems}"
    );
    write("key", "s3cr3t", 0o400);
    assert!(load_file(&path("gw.yaml"), &SystemReferences).is_ok());
}

#[test]
fn a_file_that_is_not_there_is_one_problem_without_a_line() {
    let problems = load_file(Path::new("/nowhere/gw.yaml"), &references()).unwrap_err();
    let text = problems.to_string();
    assert!(
        text.starts_with("/nowhere/gw.yaml: cannot be read: ") && text.ends_with("1 problem in /nowhere/gw.yaml"),
        "{text}"
    );
    assert!(SystemReferences.read(Path::new("/dev/zero")).is_err());
}
