//! Every file under `config/` is a configuration that loads.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};

use crate::config::{MapReferences, load_file};
use crate::sign::credentials::HAS_PLATFORM;

/// What the example files refer to.
fn references(path: &Path) -> MapReferences {
    file_references(path, &std::fs::read_to_string(path).unwrap())
}

/// What a text refers to, as if it stood in a file.
pub(super) fn file_references(path: &Path, text: &str) -> MapReferences {
    let env = text
        .split(|c: char| c.is_whitespace() || ",}\"".contains(c))
        .filter_map(|word| word.strip_prefix("env:"))
        .map(|name| {
            let value = match name {
                _ if name.ends_with("_HASH") => format!("sha256:{}", hex::encode(digest(&SHA256, name.as_bytes()))),
                _ if name.ends_with("_ENDPOINT") => "http://127.0.0.1:9000".to_owned(),
                _ if name.ends_with("_SESSION_KEY") || name.ends_with("_SEAL_KEY") => {
                    "v4lue-of-a-session-key-of-32-characters".to_owned()
                }
                _ => "v4lue-of-a-credential".to_owned(),
            };
            (name.to_owned(), value)
        });
    let certificate = rcgen::generate_simple_self_signed(vec!["gateway.test".to_owned()]).unwrap();
    let files: BTreeMap<PathBuf, String> = [
        (path.to_path_buf(), text.to_owned()),
        (PathBuf::from("/etc/countersign/tls/tls.crt"), certificate.cert.pem()),
        (PathBuf::from("/etc/countersign/tls/tls.key"), certificate.signing_key.serialize_pem()),
        (PathBuf::from("/etc/countersign/ca.pem"), certificate.cert.pem()),
        (
            PathBuf::from("/etc/countersign/revoked.pem"),
            "-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n".to_owned(),
        ),
        (
            PathBuf::from("/etc/countersign/credentials"),
            "[countersign]\naws_access_key_id = v4lue\naws_secret_access_key = v4lue\n".to_owned(),
        ),
        (PathBuf::from("/etc/countersign/yara/rules.yar"), "rule r { condition: true }".to_owned()),
        (PathBuf::from("/etc/countersign/yara.d/more.yar"), "rule s { condition: true }".to_owned()),
        (PathBuf::from("/etc/countersign/secrets/admin-token-hash"), format!("sha256:{}", "5a".repeat(32))),
        (PathBuf::from("/etc/countersign/secrets/store-access-key-id"), "v4lue-of-an-id".to_owned()),
        (PathBuf::from("/etc/countersign/secrets/store-secret-access-key"), "v4lue-of-a-secret".to_owned()),
        (PathBuf::from("/run/secrets/store_access_key_id"), "v4lue-of-an-id".to_owned()),
        (PathBuf::from("/run/secrets/store_secret_access_key"), "v4lue-of-a-secret".to_owned()),
    ]
    .into();
    MapReferences { env: env.collect(), files }
}

pub(super) fn yaml_files() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let listed =
        [root.clone(), root.join("examples")].into_iter().flat_map(|directory| std::fs::read_dir(directory).unwrap());
    let mut files: Vec<PathBuf> = listed
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "yaml"))
        .collect();
    files.sort();
    files
}

#[test]
fn every_file_under_config_loads() {
    let files = yaml_files();
    assert!(files.len() >= 7, "{files:?}");
    let asks_platform = |file: &PathBuf| file.ends_with("eks.yaml") || file.ends_with("sidecar.yaml");
    for file in files.into_iter().filter(|file| HAS_PLATFORM || !asks_platform(file)) {
        let config = load_file(&file, &references(&file)).unwrap_or_else(|problems| panic!("{problems}"));
        let knows_callers = config.edge.listeners.iter().any(|listener| listener.identity.is_some());
        let is_guarded = config.edge.admin_access.wants_credentials();
        assert!(is_guarded || !knows_callers, "{}: the application can reload the gateway", file.display());
    }
}

#[test]
fn the_demo_is_what_the_demo_command_expects() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/demo.yaml");
    let config = load_file(&file, &references(&file)).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(
        (config.edge.listeners[0].address.to_string(), config.edge.admin.to_string()),
        ("127.0.0.1:8080".to_owned(), "127.0.0.1:9090".to_owned())
    );
    let bucket = config.buckets.get("demo").unwrap();
    assert_eq!((bucket.upstream_bucket.as_str(), bucket.upstream_prefix.as_str()), ("demo-store", "public/"));
    assert_eq!(config.auth.tokens[0].name, "demo");
    assert_eq!(config.upstreams[0].name, "store");
}

#[test]
fn the_smallest_file_is_small() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/countersign.yaml")).unwrap();
    let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#')).count();
    assert!(lines <= 25, "{lines} lines");
}

#[cfg(feature = "aws-chain")]
#[test]
fn the_sidecar_holds_the_identity_of_its_pod_and_no_key() {
    use crate::sign::credentials::CredentialSource;

    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples/sidecar.yaml");
    // Nothing that it refers to but files of TLS: a key in the pod would be the application's for the taking.
    let mut references = references(&file);
    references.files.retain(|path, _| !path.starts_with("/run/secrets"));
    let config = load_file(&file, &references).unwrap_or_else(|problems| panic!("{problems}"));
    assert!(matches!(config.upstreams[0].credentials.source, CredentialSource::Platform(_)));
    assert!(!config.auth.listeners.is_empty() && config.auth.tokens.is_empty() && config.auth.access_keys.is_empty());
}
