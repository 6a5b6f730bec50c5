//! `platform` and `assume_role` of credentials: what is accepted, and what is not. In a build without the feature that is nothing.

use super::{MapReferences, assert_problems, edited, references};

/// The base file with these credentials, in line 7.
fn with(credentials: &str) -> String {
    edited(KEYS, &format!("    credentials: {{ {credentials} }}\n"))
}

const KEYS: &str = "    credentials: { access_key_id: env:ID, secret_access_key: env:KEY }\n";
const ROLE: &str = "role_arn: \"arn:aws:iam::123456789012:role/s3\"";

fn with_files() -> MapReferences {
    let mut refs = references();
    let policy = "{ \"Version\": \"2012-10-17\",\n \"Statement\": { \"Effect\": \"Allow\", \"Action\": \"s3:*\", \"Resource\": \"*\" } }";
    refs.files.insert("/policy.json".into(), policy.to_owned());
    refs.files.insert("/long.json".into(), policy.replace("s3:*", &"s".repeat(3000)));
    refs
}

#[cfg(not(feature = "aws-chain"))]
#[test]
fn a_build_without_the_chain_says_so() {
    for credentials in [
        "platform: { source: imds }".to_owned(),
        format!("access_key_id: env:ID, secret_access_key: env:KEY, assume_role: {{ {ROLE} }}"),
    ] {
        let expected = (LINE, "this build of countersign cannot ask a platform", "--features aws-chain");
        assert_problems(&with(&credentials), &with_files(), &[expected]);
    }
}

const LINE: usize = 7;

#[cfg(feature = "aws-chain")]
mod built_in {
    use std::time::Duration;

    use super::*;
    use crate::config::load_text;
    use crate::sign::credentials::{CredentialSettings, CredentialSource, PlatformKind, StsEndpoint};

    fn loaded_with(text: &str, refs: &MapReferences) -> CredentialSettings {
        let config = load_text("test.yaml", text, refs).unwrap_or_else(|problems| panic!("{problems}"));
        config.upstreams[0].credentials.clone()
    }

    fn kind(keys: &str, refs: &MapReferences) -> PlatformKind {
        match loaded_with(&with(&format!("platform: {{ {keys} }}")), refs).source {
            CredentialSource::Platform(platform) => platform.kind,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_source_can_be_named() {
        let refs = with_files();
        assert_eq!(kind("source: environment", &refs), PlatformKind::Environment);
        assert_eq!(kind("source: profile, profile: gw", &refs), PlatformKind::Profile(Some("gw".into())));
        assert_eq!(kind("source: ecs", &refs), PlatformKind::Container);
        assert_eq!(kind("source: pod-identity", &refs), PlatformKind::Container);
        assert_eq!(kind("source: imds", &refs), PlatformKind::Imds(None));
        let here = "http://127.0.0.1:1338";
        assert_eq!(
            kind(&format!("source: imds, imds_endpoint: \"{here}\""), &refs),
            PlatformKind::Imds(Some(here.into()))
        );
        assert_eq!(
            kind("source: process, command: [/bin/keys, x]", &refs),
            PlatformKind::Process(vec!["/bin/keys".into(), "x".into()])
        );
        assert!(matches!(kind("source: default-chain", &refs), PlatformKind::DefaultChain { profile: None, .. }));
    }

    #[test]
    fn web_identity_comes_from_the_environment_unless_it_is_written() {
        let mut refs = with_files();
        for (name, value) in [
            ("AWS_ROLE_ARN", "arn:aws:iam::000000000000:role/of-env"),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", "/env/token"),
            ("AWS_ROLE_SESSION_NAME", "of-env"),
            ("AWS_ENDPOINT_URL_STS", "https://sts.env.test"),
            ("AWS_REGION", "env-region-1"),
            // What people set for their store is not for tokens.
            ("AWS_ENDPOINT_URL", "http://store.test"),
        ] {
            refs.env.insert(name.to_owned(), value.to_owned());
        }
        let PlatformKind::WebIdentity(found) = kind("source: web-identity", &refs) else { panic!("another kind") };
        assert_eq!(
            (found.role_arn.as_deref(), found.session_name.as_str()),
            (Some("arn:aws:iam::000000000000:role/of-env"), "of-env")
        );
        assert_eq!(found.token_file.as_deref(), Some(std::path::Path::new("/env/token")));
        let sts =
            StsEndpoint { url: Some("https://sts.env.test".into()), region: "env-region-1".into(), ca_file: None };
        assert_eq!(found.sts, sts);
        let written = format!(
            "source: web-identity, {ROLE}, token_file: /t, session_name: me, region: r, sts_endpoint: \"http://127.0.0.1:1\""
        );
        let PlatformKind::WebIdentity(found) = kind(&written, &refs) else { panic!("another kind") };
        assert_eq!((found.role_arn.as_deref(), found.session_name.as_str()), (ROLE.split('"').nth(1), "me"));
        assert_eq!((found.sts.url.as_deref(), found.sts.region.as_str()), (Some("http://127.0.0.1:1"), "r"));
        let bare = with_files();
        let PlatformKind::WebIdentity(found) = kind("source: web-identity", &bare) else { panic!("another kind") };
        assert_eq!((found.role_arn, found.sts.url, found.sts.region.as_str()), (None, None, "eu-central-1"));
    }

    #[test]
    fn a_role_can_be_over_any_credentials() {
        let role = "external_id: \"agreed:1\", session_policy: file:/policy.json, duration: 15m, tags: { team: red }";
        for base in [
            "access_key_id: env:ID, secret_access_key: env:KEY",
            "platform: { source: web-identity }",
            "platform: { source: imds }",
        ] {
            let text = with(&format!("{base}, assume_role: {{ {ROLE}, {role} }}"));
            let CredentialSource::Assumed(assumed) = loaded_with(&text, &with_files()).source else { panic!("{base}") };
            let role = assumed.role;
            assert_eq!((role.external_id.as_deref(), role.session_name.as_str()), (Some("agreed:1"), "countersign"));
            assert_eq!((role.duration, role.tags.len()), (Duration::from_secs(900), 1));
            let policy = role.session_policy.unwrap();
            assert!(policy.contains("\"Action\":\"s3:*\"") && !policy.contains(' '), "{policy}");
        }
    }

    #[test]
    fn seal_keys_are_one_or_several_secrets() {
        let mut refs = with_files();
        refs.env.insert("SEAL".to_owned(), "s".repeat(32));
        refs.env.insert("SHORT".to_owned(), "s".repeat(31));
        let text = |keys: &str| edited(KEYS, &format!("{KEYS}    seal_keys: {keys}\n"));
        assert_eq!(loaded_with(&text("env:SEAL"), &refs).seal_keys.len(), 1);
        assert_eq!(loaded_with(&text("[env:SEAL, env:SEAL]"), &refs).seal_keys.len(), 2);
        assert_problems(&text("env:SHORT"), &refs, &[(LINE + 1, "too short", "32 characters")]);
        assert_problems(&text("[]"), &refs, &[(LINE + 1, "the list is empty", "")]);
        assert_problems(&text("plain-text-of-32-characters-or-more"), &refs, &[(LINE + 1, "", "")]);
    }

    #[test]
    fn platforms_with_mistakes() {
        for (keys, message, help) in [
            ("", "the key `source` is missing", "default-chain"),
            ("source: ec2", "not known here", "`imds`"),
            ("source: environment, profile: a", "`profile` has no effect for this `source`", "leave it out"),
            ("source: imds, role_arn: a", "`role_arn` has no effect", ""),
            ("source: ecs, command: [/a]", "`command` has no effect", ""),
            ("source: imds, region: a", "`region` has no effect", ""),
            ("source: process", "the key `command` is missing", "list"),
            ("source: process, command: []", "the list is empty", ""),
            ("source: process, command: [keys]", "not absolute", ""),
            ("source: process, command: [/keys], profile: a", "`profile` has no effect", ""),
            ("source: web-identity, role_arn: me", "not the ARN of a role", "arn:aws:iam"),
            ("source: web-identity, token_file: token", "not absolute", ""),
            ("source: web-identity, session_name: a b", "name of a session", "2 to 64"),
            ("source: web-identity, sts_endpoint: \"http://sts.test\"", "in clear text", "loopback"),
            ("source: web-identity, sts_endpoint: \"https://sts.test/path\"", "has a path", ""),
            ("source: web-identity, sts_endpoint: sts.test", "", ""),
            ("source: imds, imds_endpoint: \"http://10.0.0.1\"", "not the address of a metadata service", "link-local"),
            ("source: imds, imds_endpoint: \"http://imds.test\"", "not the address of a metadata service", ""),
            ("source: imds, colour: red", "unknown key `colour`", ""),
        ] {
            assert_problems(&with(&format!("platform: {{ {keys} }}")), &with_files(), &[(LINE, message, help)]);
        }
    }

    #[test]
    fn roles_with_mistakes() {
        let policy = |policy: &str| format!("{ROLE}, session_policy: '{policy}'");
        for (keys, message, help) in [
            (String::new(), "the key `role_arn` is missing", "arn:aws:iam"),
            (format!("{ROLE}, external_id: a"), "external id", "2 to 1224"),
            (format!("{ROLE}, session_name: \"a:b\""), "name of a session", ""),
            (format!("{ROLE}, duration: 14m"), "out of range", "900s"),
            (format!("{ROLE}, duration: 13h"), "out of range", "12h"),
            (format!("{ROLE}, session_policy: \"file:/none.json\""), "/none.json cannot be read", ""),
            (format!("{ROLE}, session_policy: \"file:/long.json\""), "too long", "2048"),
            (policy("{"), "no JSON", "policy of IAM"),
            (policy("{}"), "no `Statement`", ""),
            (policy("{\"Statement\": []}"), "no `Statement`", ""),
            (policy("{\"Statement\": {\"Effect\": \"Allow\", \"Action\": \"s3:*\"}}"), "`Resource`", ""),
            (
                policy("{\"Statement\": {\"Effect\": \"allow\", \"Action\": \"a\", \"Resource\": \"*\"}}"),
                "`Effect`",
                "",
            ),
            (policy("{\"Version\": \"2012\", \"Statement\": {}}"), "`Version`", ""),
            (format!("{ROLE}, sts_endpoint: \"http://10.0.0.1\""), "in clear text", ""),
            (format!("{ROLE}, tags: {{ \"\": x }}"), "cannot be a tag", ""),
        ] {
            let text = with(&format!("access_key_id: env:ID, secret_access_key: env:KEY, assume_role: {{ {keys} }}"));
            assert_problems(&text, &with_files(), &[(LINE, message, help)]);
        }
    }

    #[test]
    fn two_credentials_are_one_too_many() {
        for credentials in [
            "access_key_id: env:ID, secret_access_key: env:KEY, platform: { source: imds }",
            "profile: gw, platform: { source: imds }",
        ] {
            assert_problems(
                &with(credentials),
                &with_files(),
                &[(LINE, "there are two credentials here", "`platform`")],
            );
        }
    }
}
