//! The sets that come with the gateway.
//!
//! Chosen for few false alarms: a key is matched by a prefix that its issuer gave it and by its length, not by looking random. Prefixes
//! are from the issuers' documents on secret scanning, as of 2026.

/// A set that is built in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BuiltIn {
    /// The test file that every virus scanner knows.
    Eicar,
    /// Private keys as PEM, OpenSSH, PGP, PuTTY and age write them.
    PrivateKeys,
    /// Credentials of cloud services and forges.
    AccessKeys,
    /// Numbers of payment cards.
    CardNumbers,
}

impl BuiltIn {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Eicar, Self::PrivateKeys, Self::AccessKeys, Self::CardNumbers];

    /// The word in the configuration, and the first part of the names of matches.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Eicar => "eicar",
            Self::PrivateKeys => "private-keys",
            Self::AccessKeys => "access-keys",
            Self::CardNumbers => "card-numbers",
        }
    }

    /// The set of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|set| set.as_str() == name)
    }

    /// Its literals, with their names.
    pub fn literals(self) -> Vec<(&'static str, Vec<u8>)> {
        match self {
            Self::Eicar => vec![("test-file", EICAR_HALVES.concat().into_bytes())],
            Self::PrivateKeys => PRIVATE_KEYS.iter().flat_map(|(name, text)| with_utf16(name, text)).collect(),
            Self::AccessKeys | Self::CardNumbers => Vec::new(),
        }
    }

    /// Its regular expressions, with their names.
    pub fn regexes(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Eicar | Self::CardNumbers => &[],
            Self::PrivateKeys => &[("age", r"AGE-SECRET-KEY-1[QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L]{58}")],
            Self::AccessKeys => ACCESS_KEYS,
        }
    }
}

// In two halves, so that this file is no hit itself.
const EICAR_HALVES: [&str; 2] = [r"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STAND", "ARD-ANTIVIRUS-TEST-FILE!$H+H*"];

/// The string of the EICAR test file, 68 bytes.
pub fn eicar() -> String {
    EICAR_HALVES.concat()
}

const PRIVATE_KEYS: &[(&str, &str)] = &[
    ("pkcs8", "-----BEGIN PRIVATE KEY-----"),
    ("pkcs8-encrypted", "-----BEGIN ENCRYPTED PRIVATE KEY-----"),
    ("rsa", "-----BEGIN RSA PRIVATE KEY-----"),
    ("ec", "-----BEGIN EC PRIVATE KEY-----"),
    ("dsa", "-----BEGIN DSA PRIVATE KEY-----"),
    ("openssh", "-----BEGIN OPENSSH PRIVATE KEY-----"),
    ("ssh2", "---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----"),
    ("pgp", "-----BEGIN PGP PRIVATE KEY BLOCK-----"),
    ("putty", "PuTTY-User-Key-File-2: "),
    ("putty", "PuTTY-User-Key-File-3: "),
];

/// The same text as a file of Windows may hold it: in UTF-16 of either byte order, which differ in the zero before the first letter or behind
/// the last. Without it the literal begins with a byte that is rare enough to search by.
fn with_utf16(name: &'static str, text: &str) -> [(&'static str, Vec<u8>); 2] {
    let mut wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    wide.pop();
    [(name, text.as_bytes().to_vec()), (name, wide)]
}

// Each begins with a literal, by which the search skips what cannot match.
const ACCESS_KEYS: &[(&str, &str)] = &[
    ("aws-access-key-id", r"\bA(?:KIA|SIA)[A-Z2-7]{16}\b"),
    (
        "aws-secret-access-key",
        r#"(?:aws_secret_access_key|AWS_SECRET_ACCESS_KEY|SecretAccessKey|secretAccessKey)["']?[ \t]{0,8}[=:][ \t]{0,8}["']?[A-Za-z0-9/+]{40}"#,
    ),
    ("github-token", r"\bgh[pousr]_[A-Za-z0-9]{36,251}\b"),
    ("github-fine-grained-token", r"\bgithub_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}\b"),
    ("gitlab-token", r"\bglpat-[A-Za-z0-9_-]{20,64}"),
    ("slack-token", r"\bxox[abeprs]-[0-9A-Za-z-]{10,72}[0-9A-Za-z]"),
    ("slack-webhook", r"https://hooks\.slack\.com/services/T[A-Z0-9]{8,12}/B[A-Z0-9]{8,12}/[A-Za-z0-9]{24}"),
    ("google-api-key", r"\bAIza[0-9A-Za-z_-]{35}"),
    ("google-oauth-secret", r"\bGOCSPX-[0-9A-Za-z_-]{28}"),
    ("azure-storage-key", r"AccountKey=[A-Za-z0-9+/]{86}=="),
    ("stripe-key", r"\b[rs]k_live_[0-9A-Za-z]{24,99}"),
    ("npm-token", r"\bnpm_[A-Za-z0-9]{36}\b"),
    ("pypi-token", r"\bpypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50,200}"),
    ("openai-key", r"\bsk-(?:proj|svcacct|admin)-[A-Za-z0-9_-]{20,100}T3BlbkFJ[A-Za-z0-9_-]{20,100}"),
    ("anthropic-key", r"\bsk-ant-[a-z]{3,5}[0-9]{2}-[A-Za-z0-9_-]{80,120}"),
    ("vault-token", r"\bhvs\.[A-Za-z0-9_-]{24,200}"),
    ("sendgrid-key", r"\bSG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}"),
    ("digitalocean-token", r"\bdo[opr]_v1_[0-9a-f]{64}\b"),
];
