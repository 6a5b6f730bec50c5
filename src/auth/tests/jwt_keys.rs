//! Which key may check which token.

use aws_lc_rs::{hmac, signature};
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use super::support::*;
use crate::auth::jwt::Issuers;
use crate::auth::{AuthError, CacheTimes, InvalidReason, IssuerSettings, KeyMisfit};

fn with_algorithms(algorithms: &[Algorithm], keys: &[Value]) -> Issuers {
    issuer(IssuerSettings { algorithms: algorithms.to_vec(), ..settings() }, keys)
}

fn invalid(reason: InvalidReason) -> Result<String, AuthError> {
    Err(AuthError::Invalid(reason))
}

fn bad_signature() -> Result<String, AuthError> {
    invalid(InvalidReason::BadSignature { issuer: "corp".to_owned() })
}

fn unknown_key() -> Result<String, AuthError> {
    invalid(InvalidReason::UnknownKey { issuer: "corp".to_owned() })
}

fn not_allowed() -> Result<String, AuthError> {
    invalid(InvalidReason::AlgorithmNotAllowed { issuer: "corp".to_owned() })
}

fn unsuitable(fault: KeyMisfit) -> Result<String, AuthError> {
    invalid(InvalidReason::UnsuitableKey { issuer: "corp".to_owned(), fault })
}

/// The key with further JWK members.
fn jwk_with(key: &TestKey, members: &[(&str, Value)]) -> Value {
    let mut jwk = key.jwk("k1");
    for (name, value) in members {
        jwk[*name] = value.clone();
    }
    jwk
}

#[test]
fn i03_every_allowed_algorithm_verifies_with_its_own_kind_of_key() {
    let keys: [(&TestKey, &[&str]); 4] =
        [(&RSA, &["RS256", "RS384", "RS512", "PS256"]), (&P256, &["ES256"]), (&P384, &["ES384"]), (&ED, &["EdDSA"])];
    for (key, own) in keys {
        let issuers = issuer(settings(), &[key.jwk("k1")]);
        for algorithm in ["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA"] {
            let token = Token::new().header("alg", algorithm).sign(key);
            let expected = if own.contains(&algorithm) { alice() } else { unsuitable(KeyMisfit::Algorithm) };
            assert_eq!(principal(&issuers, &token), expected, "{algorithm} with {}", key.jwk("")["kty"]);
        }
    }
}

#[test]
fn i03_only_listed_algorithms_are_accepted() {
    let issuers = with_algorithms(&[Algorithm::RS256, Algorithm::ES256], &[RSA.jwk("k1")]);
    assert_eq!(principal(&issuers, &Token::new().sign(&RSA)), alice());
    for algorithm in ["RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA", "ES384"] {
        assert_eq!(
            principal(&issuers, &Token::new().header("alg", algorithm).sign(&RSA)),
            not_allowed(),
            "{algorithm}"
        );
    }
}

#[test]
fn i03_a_signature_of_another_scheme_of_the_same_key_is_refused() {
    for (named, signed) in [("RS256", "PS256"), ("PS256", "RS256"), ("RS384", "RS256"), ("RS256", "RS512")] {
        let token = Token::new().header("alg", named);
        let forged = sign_text(&RSA, signed, &token.header_text(), &token.claims_text());
        assert_eq!(principal(&usual(), &forged), bad_signature(), "{named} signed as {signed}");
    }
}

#[test]
fn i03_alg_use_and_key_ops_of_a_key_are_respected() {
    let token = Token::new().sign(&RSA);
    for members in [
        vec![("alg", json!("RS256"))],
        vec![("use", json!("sig"))],
        vec![("key_ops", json!(["verify"]))],
        vec![("key_ops", json!(["sign", "verify"])), ("use", json!("sig")), ("x5c", json!(["MIIB"]))],
    ] {
        let issuers = issuer(settings(), &[jwk_with(&RSA, &members)]);
        assert_eq!(principal(&issuers, &token), alice(), "{members:?}");
    }
    for alg in ["RS384", "PS256"] {
        let issuers = issuer(settings(), &[jwk_with(&RSA, &[("alg", json!(alg))])]);
        assert_eq!(principal(&issuers, &token), unsuitable(KeyMisfit::Algorithm), "{alg}");
    }
    for (name, value) in [
        ("use", json!("enc")),
        ("use", json!("SIG")),
        ("use", json!(null)),
        ("use", json!(["sig"])),
        ("key_ops", json!([])),
        ("key_ops", json!(["encrypt", "wrapKey"])),
        ("key_ops", json!("verify")),
        ("key_ops", json!(null)),
        ("alg", json!("RSA-OAEP")),
        ("alg", json!("rs256")),
        ("alg", json!(null)),
        ("d", json!("c2VjcmV0")),
        ("kid", json!(7)),
        ("kid", json!(null)),
        ("kty", json!("rsa")),
        ("kty", json!("oct")),
        ("kty", json!(null)),
    ] {
        let issuers = issuer(settings(), &[jwk_with(&RSA, &[(name, value.clone())]), P256.jwk("other")]);
        assert_eq!(principal(&issuers, &token), unknown_key(), "{name}: {value}");
        let nameless = Token::new().without_header("kid").sign(&RSA);
        assert_eq!(principal(&issuers, &nameless), unknown_key(), "{name}: {value}, token without kid");
    }
}

#[test]
fn i02_a_public_key_is_never_a_shared_secret() {
    let jwk = RSA.jwk("k1");
    let modulus = jwk["n"].as_str().unwrap();
    let issuers = issuer(settings(), &[jwk.clone(), json!({"kty": "oct", "kid": "k2", "k": modulus})]);
    for (algorithm, scheme) in
        [("HS256", hmac::HMAC_SHA256), ("HS384", hmac::HMAC_SHA384), ("HS512", hmac::HMAC_SHA512)]
    {
        for secret in [modulus.as_bytes().to_vec(), jwk.to_string().into_bytes(), b"client-secret".to_vec()] {
            for kid in ["k1", "k2"] {
                let token = Token::new().header("alg", algorithm).header("kid", kid);
                let signed = format!("{}.{}", base64url(token.header_text()), base64url(token.claims_text()));
                let tag = hmac::sign(&hmac::Key::new(scheme, &secret), signed.as_bytes());
                let forged = format!("{signed}.{}", base64url(tag));
                assert_eq!(principal(&issuers, &forged), not_allowed(), "{algorithm} {kid}");
            }
        }
    }
}

#[test]
fn i05_the_key_id_is_compared_as_text_only() {
    let issuers = issuer(settings(), &[RSA.jwk("k1"), P256.jwk("k2")]);
    for kid in [
        "../../dev/null",
        "' OR 1=1 --",
        "k1\0",
        "K1",
        "k1 ",
        " k1",
        "0",
        "/proc/self/environ",
        "http://127.0.0.1/",
        "*",
    ] {
        assert_eq!(principal(&issuers, &Token::new().header("kid", kid).sign(&RSA)), unknown_key(), "{kid}");
    }
    let odd_name = "../keys/é \u{1f511}";
    let odd = issuer(settings(), &[RSA.jwk(odd_name)]);
    assert_eq!(principal(&odd, &Token::new().header("kid", odd_name).sign(&RSA)), alice());
}

#[test]
fn i05_a_token_without_key_id_needs_a_single_fitting_key() {
    let nameless = Token::new().without_header("kid");
    let second = TestKey::rsa();
    let one_fits = issuer(settings(), &[P256.jwk("a"), RSA.jwk("b"), ED.jwk("c")]);
    assert_eq!(principal(&one_fits, &nameless.sign(&RSA)), alice());
    assert_eq!(principal(&one_fits, &nameless.sign(&second)), bad_signature());
    let two_fit = issuer(settings(), &[RSA.jwk("a"), second.jwk("b")]);
    assert_eq!(principal(&two_fit, &nameless.sign(&RSA)), unsuitable(KeyMisfit::Ambiguous));
    let by_alg = issuer(
        settings(),
        &[
            jwk_with(&RSA, &[("alg", json!("RS256"))]),
            jwk_with(&second, &[("alg", json!("PS256")), ("kid", json!("b"))]),
        ],
    );
    assert_eq!(principal(&by_alg, &nameless.sign(&RSA)), alice(), "the keys' alg tells them apart");
    let none_fits = issuer(settings(), &[P256.jwk("a")]);
    assert_eq!(principal(&none_fits, &nameless.sign(&RSA)), unknown_key());

    let mut unnamed_key = RSA.jwk("");
    unnamed_key.as_object_mut().unwrap().remove("kid");
    let unnamed = issuer(settings(), &[unnamed_key]);
    assert_eq!(principal(&unnamed, &nameless.sign(&RSA)), alice());
    assert_eq!(
        principal(&unnamed, &Token::new().sign(&RSA)),
        unknown_key(),
        "the token names a key that the set does not"
    );
}

#[test]
fn i05_keys_of_one_name_are_both_unusable() {
    let second = TestKey::rsa();
    for duplicate in
        [second.jwk("k1"), RSA.jwk("k1"), jwk_with(&second, &[("use", json!("enc"))]), json!({"kid": "k1"})]
    {
        let issuers = issuer(settings(), &[RSA.jwk("k1"), duplicate.clone(), P256.jwk("k2")]);
        assert_eq!(principal(&issuers, &Token::new().sign(&RSA)), unknown_key(), "{duplicate}");
        let other = Token::new().header("alg", "ES256").header("kid", "k2").sign(&P256);
        assert_eq!(principal(&issuers, &other), alice(), "the other key is not touched");
    }
}

#[test]
fn i07_keys_of_one_issuer_do_not_verify_tokens_of_another() {
    let own = TestKey::rsa();
    let second =
        IssuerSettings { name: "second".to_owned(), issuer: "https://second.example".to_owned(), ..settings() };
    let (first, _file1) = with_keys(settings(), &[RSA.jwk("k1")]);
    let (second, _file2) = with_keys(second, &[own.jwk("k1")]);
    let issuers = Issuers::new(vec![first, second], CacheTimes::default()).unwrap();
    let of_second = Token::new().claim("iss", "https://second.example");
    assert_eq!(principal(&issuers, &Token::new().sign(&RSA)), alice());
    assert_eq!(principal(&issuers, &of_second.sign(&own)), Ok("second:alice".to_owned()));
    assert_eq!(principal(&issuers, &Token::new().sign(&own)), bad_signature());
    let forged = invalid(InvalidReason::BadSignature { issuer: "second".to_owned() });
    assert_eq!(principal(&issuers, &of_second.sign(&RSA)), forged);
}

#[test]
fn i12_forged_and_re_encoded_ecdsa_signatures_are_refused() {
    let issuers = issuer(settings(), &[P256.jwk("k1")]);
    let token = Token::new().header("alg", "ES256");
    let good = token.sign(&P256);
    let (signed, signature) = good.rsplit_once('.').unwrap();
    assert_eq!(principal(&issuers, &good), alice());
    let raw = crate::auth::strict_json::base64url(signature).unwrap();
    let order = hex::decode("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551").unwrap();
    let der = p256_der(&raw, signed);
    for (bytes, what) in [
        (vec![0; 64], "r = s = 0"),
        ([order.clone(), order.clone()].concat(), "r = s = n"),
        ([&raw[..32], &[0; 32]].concat(), "s = 0"),
        ([&[0; 32], &raw[32..]].concat(), "r = 0"),
        (der, "DER"),
        (raw[..63].to_vec(), "short"),
        ([raw.as_slice(), &[0]].concat(), "long"),
        ([&[0], raw.as_slice()].concat(), "leading zero"),
        ([&raw[32..], &raw[..32]].concat(), "swapped"),
    ] {
        assert_eq!(principal(&issuers, &format!("{signed}.{}", base64url(bytes))), bad_signature(), "{what}");
    }
}

/// The same signature as ASN.1 DER; checked, so that only its form can be the reason for a refusal.
fn p256_der(raw: &[u8], signed: &str) -> Vec<u8> {
    let integer = |bytes: &[u8]| {
        let start = bytes.iter().position(|&byte| byte != 0).unwrap();
        let sign: &[u8] = if bytes[start] & 0x80 != 0 { &[0] } else { &[] };
        let content = [sign, &bytes[start..]].concat();
        [&[2, u8::try_from(content.len()).unwrap()], content.as_slice()].concat()
    };
    let content = [integer(&raw[..32]), integer(&raw[32..])].concat();
    let der = [&[0x30, u8::try_from(content.len()).unwrap()], content.as_slice()].concat();
    let TestKey::Ec(pair) = &*P256 else { unreachable!() };
    let key = signature::KeyPair::public_key(pair);
    let key = signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_ASN1, key);
    assert!(key.verify(signed.as_bytes(), &der).is_ok());
    der
}

#[test]
fn i12_weak_and_malformed_keys_are_not_used() {
    let rsa = RSA.jwk("k1");
    let n = crate::auth::strict_json::base64url(rsa["n"].as_str().unwrap()).unwrap();
    let half = [&n[..127], &[n[255]]].concat();
    let even = [&n[..255], &[n[255] & 0xfe]].concat();
    let p256 = P256.jwk("k1");
    let padded = [&[0], crate::auth::strict_json::base64url(p256["x"].as_str().unwrap()).unwrap().as_slice()].concat();
    let cases = [
        (&*RSA, "n", base64url(&half), "1024 bit"),
        (&*RSA, "n", base64url([&[0; 128], half.as_slice()].concat()), "1024 bit with leading zeros"),
        (&*RSA, "n", base64url([&[0x7f], &n[1..]].concat()), "2047 bit"),
        (&*RSA, "n", base64url([&[1; 769], n.as_slice()].concat()), "more than 8192 bit"),
        (&*RSA, "n", base64url(&even), "even modulus"),
        (&*RSA, "n", String::new(), "no modulus"),
        (&*RSA, "n", base64url([0; 256]), "modulus 0"),
        (&*RSA, "n", format!("{}=", rsa["n"].as_str().unwrap()), "padding"),
        (&*RSA, "e", base64url([1]), "exponent 1"),
        (&*RSA, "e", base64url([0, 0, 1]), "exponent 1 with leading zeros"),
        (&*RSA, "e", base64url([2]), "exponent 2"),
        (&*RSA, "e", base64url([1, 0, 0]), "even exponent"),
        (&*RSA, "e", base64url([0]), "exponent 0"),
        (&*RSA, "e", String::new(), "no exponent"),
        (&*P256, "x", base64url(&padded), "33-byte coordinate"),
        (&*P256, "y", base64url([1; 31]), "31-byte coordinate"),
        (&*P256, "crv", "P-384".to_owned(), "other curve"),
        (&*P256, "crv", "secp256k1".to_owned(), "unknown curve"),
        (&*ED, "crv", "Ed448".to_owned(), "other Edwards curve"),
        (&*ED, "crv", "X25519".to_owned(), "key agreement"),
        (&*ED, "x", base64url([7; 31]), "short point"),
        (&*ED, "x", base64url([7; 33]), "long point"),
    ];
    for (key, member, value, what) in cases {
        let algorithm = match key {
            TestKey::Rsa(_) => "RS256",
            TestKey::Ec(_) => "ES256",
            TestKey::Ed(_) => "EdDSA",
        };
        let issuers = issuer(settings(), &[jwk_with(key, &[(member, json!(value))]), P384.jwk("other")]);
        assert_eq!(principal(&issuers, &Token::new().header("alg", algorithm).sign(key)), unknown_key(), "{what}");
    }
    let off_curve = issuer(settings(), &[jwk_with(&P256, &[("y", json!(base64url([1; 32])))])]);
    assert_eq!(principal(&off_curve, &Token::new().header("alg", "ES256").sign(&P256)), bad_signature());
}

#[test]
fn i12_ed25519_points_of_small_order_are_not_used() {
    // The neutral element as key, R = neutral element and S = 0 make a signature of every message.
    let neutral = [&[1_u8], [0_u8; 31].as_slice()].concat();
    let forged_signature = [neutral.as_slice(), &[0; 32]].concat();
    let accepted =
        signature::UnparsedPublicKey::new(&signature::ED25519, &neutral).verify(b"anything", &forged_signature);
    assert!(accepted.is_ok(), "if the library refuses them by itself, `is_small_order` can go");

    let points = [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000080",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    ];
    for point in points {
        let key = jwk_with(&ED, &[("x", json!(base64url(hex::decode(point).unwrap())))]);
        let issuers = issuer(settings(), &[key, P384.jwk("other")]);
        let token = Token::new().header("alg", "EdDSA");
        let signed = format!("{}.{}", base64url(token.header_text()), base64url(token.claims_text()));
        let forged = format!("{signed}.{}", base64url(&forged_signature));
        assert_eq!(principal(&issuers, &forged), unknown_key(), "{point}");
    }
}

#[test]
fn i12_leading_zeros_of_rsa_numbers_do_not_matter() {
    let n = crate::auth::strict_json::base64url(RSA.jwk("k1")["n"].as_str().unwrap()).unwrap();
    let key = jwk_with(&RSA, &[("n", json!(base64url([&[0], n.as_slice()].concat()))), ("e", json!("AAEAAQ"))]);
    assert_eq!(principal(&issuer(settings(), &[key]), &Token::new().sign(&RSA)), alice());
}

#[test]
fn i01_a_changed_token_or_signature_is_refused() {
    let good = Token::new().sign(&RSA);
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let other_claims = Token::new().claim("sub", "root").sign(&TestKey::rsa());
    let (other_signed, _) = other_claims.rsplit_once('.').unwrap();
    let raw = crate::auth::strict_json::base64url(signature).unwrap();
    let mut flipped = raw.clone();
    flipped[100] ^= 1;
    for (text, what) in [
        (format!("{other_signed}.{signature}"), "other claims"),
        (format!("{signed}.{}", base64url(&flipped)), "one bit of the signature"),
        (format!("{signed}.{}", base64url(&raw[1..])), "cut signature"),
        (format!("{signed}.{}", base64url([&[0], raw.as_slice()].concat())), "padded signature"),
        (format!("{signed}.{}", base64url([0; 256])), "zeros"),
        (format!("{signed}.AA"), "short signature"),
    ] {
        assert_eq!(principal(&usual(), &text), bad_signature(), "{what}");
    }
}
