//! Form of a token and its header: what is read, what is ignored, what refuses it.

use serde_json::{Value, json};

use super::support::*;
use crate::auth::{AuthError, InvalidReason, IssuerSettings, JwtFault};

fn fault(token: &str) -> JwtFault {
    match principal(&usual(), token) {
        Err(AuthError::Invalid(InvalidReason::NotAJwt(fault))) => fault,
        other => panic!("{other:?} for {token}"),
    }
}

#[test]
fn i01_an_ordinary_token_is_accepted() {
    let caller = authenticate(&usual(), &Token::new().sign(&RSA)).unwrap();
    assert_eq!(caller.principal().as_str(), "corp:alice");
    assert_eq!(caller.scheme().as_str(), "jwt");
    assert_eq!(caller.source_name(), "corp");
    assert_eq!(caller.address(), ADDRESS);
    assert_eq!(caller.expires().unwrap().as_second(), NOW + 300);
    assert_eq!(caller.attributes()["sub"], ["alice"]);
}

#[test]
fn i01_tokens_without_a_signature_are_refused() {
    for algorithm in ["none", "None", "NONE", "nOnE", "", "rs256", "RS256 ", "HS256", "ES256K", "Ed25519"] {
        let token = Token::new().header("alg", algorithm);
        let not_allowed = Err(AuthError::Invalid(InvalidReason::AlgorithmNotAllowed { issuer: "corp".to_owned() }));
        assert_eq!(principal(&usual(), &token.sign(&RSA)), not_allowed, "{algorithm} with a signature");
        let unsigned = format!("{}.{}", base64url(token.header_text()), base64url(token.claims_text()));
        assert_eq!(fault(&format!("{unsigned}.")), JwtFault::Parts, "{algorithm} without");
    }
}

#[test]
fn i01_a_token_has_exactly_three_parts() {
    let token = Token::new().sign(&RSA);
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (header, payload) = signed.split_once('.').unwrap();
    assert_eq!(principal(&usual(), &token), alice());
    for text in [
        signed.to_owned(),
        format!("{token}."),
        format!(".{token}"),
        format!("{token}.{signature}"),
        format!("{header}.{payload}.."),
        format!("{header}..{signature}"),
        format!(".{payload}.{signature}"),
        format!("{header}..{payload}.{signature}"),
        "..".to_owned(),
        ".".to_owned(),
        String::new(),
        header.to_owned(),
    ] {
        assert_eq!(fault(&text), JwtFault::Parts, "{text}");
    }
}

#[test]
fn i04_extensions_that_change_the_reading_are_refused() {
    for (name, value) in [
        ("crit", json!(["b64"])),
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("zip", json!("DEF")),
        ("b64", json!(false)),
        ("b64", json!(true)),
    ] {
        assert_eq!(fault(&Token::new().header(name, value.clone()).sign(&RSA)), JwtFault::Extension, "{name}: {value}");
    }
}

#[test]
fn i04_keys_and_places_of_keys_in_the_header_are_ignored() {
    let forger = TestKey::rsa();
    for (name, value) in [
        ("jwk", forger.jwk("k1")),
        ("jku", json!("https://evil.example/jwks")),
        ("x5u", json!("http://127.0.0.1:1/cert")),
        ("x5c", json!(["MIIB"])),
    ] {
        let token = Token::new().header(name, value);
        assert_eq!(principal(&usual(), &token.sign(&RSA)), alice(), "{name} beside the right key");
        let bad_signature = Err(AuthError::Invalid(InvalidReason::BadSignature { issuer: "corp".to_owned() }));
        assert_eq!(principal(&usual(), &token.sign(&forger)), bad_signature, "{name} with the forger's key");
    }
}

#[test]
fn i04_the_token_type_is_jwt_access_token_or_absent_unless_configured() {
    let wrong_type = || Err(AuthError::Invalid(InvalidReason::WrongTokenType { issuer: "corp".to_owned() }));
    let typed = |name: &str| Token::new().header("typ", name).sign(&RSA);
    for name in ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt", "Application/JWT"] {
        assert_eq!(principal(&usual(), &typed(name)), alice(), "{name}");
    }
    assert_eq!(principal(&usual(), &Token::new().without_header("typ").sign(&RSA)), alice());
    for name in ["", "logout+jwt", "dpop+jwt", "id+jwt", "JOSE", "jwt ", "text/jwt", "application/application/jwt"] {
        assert_eq!(principal(&usual(), &typed(name)), wrong_type(), "{name}");
    }

    let access_only = issuer(IssuerSettings { token_types: vec!["at+jwt".to_owned()], ..settings() }, &[RSA.jwk("k1")]);
    assert_eq!(principal(&access_only, &typed("at+jwt")), alice());
    assert_eq!(principal(&access_only, &typed("JWT")), wrong_type());
    assert_eq!(principal(&access_only, &Token::new().without_header("typ").sign(&RSA)), wrong_type());
}

#[test]
fn i05_header_parameters_have_the_right_type() {
    for (name, value) in [
        ("kid", json!(1)),
        ("kid", json!(null)),
        ("kid", json!({"kty": "oct"})),
        ("kid", json!(["k1"])),
        ("kid", json!("")),
        ("kid", json!("k".repeat(257))),
        ("alg", json!(["RS256"])),
        ("alg", Value::Null),
        ("typ", json!(true)),
        ("typ", Value::Null),
    ] {
        assert_eq!(fault(&Token::new().header(name, value.clone()).sign(&RSA)), JwtFault::Header, "{name}: {value}");
    }
    assert_eq!(fault(&Token::new().without_header("alg").sign(&RSA)), JwtFault::Header);
}

#[test]
fn i07_the_issuer_is_compared_letter_for_letter() {
    for name in [
        "https://idp.example/",
        "https://IDP.example",
        "HTTPS://idp.example",
        " https://idp.example",
        "https://idp.example\0",
        "https://idp.ex\u{430}mple",
        "idp.example",
        "",
        "corp",
    ] {
        let refused = principal(&usual(), &Token::new().claim("iss", name).sign(&RSA));
        assert_eq!(refused, Err(AuthError::Invalid(InvalidReason::UnknownIssuer)), "{name}");
    }
    for value in [json!([ISSUER]), json!(null), json!(1), json!({"iss": ISSUER})] {
        let refused = principal(&usual(), &Token::new().claim("iss", value.clone()).sign(&RSA));
        assert_eq!(refused, Err(AuthError::Invalid(InvalidReason::UnknownIssuer)), "{value}");
    }
    let refused = principal(&usual(), &Token::new().without_claim("iss").sign(&RSA));
    assert_eq!(refused, Err(AuthError::Invalid(InvalidReason::UnknownIssuer)));
}

#[test]
fn i13_duplicate_names_refuse_the_token_though_signed() {
    let header = Token::new().header_text();
    let claims = Token::new().claims_text();
    let twice = |text: &str, extra: &str| format!("{},{extra}}}", text.strip_suffix('}').unwrap());
    assert_eq!(principal(&usual(), &sign_text(&RSA, "RS256", &header, &claims)), alice());
    for extra in [r#""sub":"bob""#, r#""su\u0062":"bob""#, r#""x":{"a":1,"a":2}"#, r#""aud":"s3""#] {
        assert_eq!(fault(&sign_text(&RSA, "RS256", &header, &twice(&claims, extra))), JwtFault::Json, "{extra}");
    }
    for extra in [r#""alg":"RS256""#, r#""kid":"k2""#] {
        assert_eq!(fault(&sign_text(&RSA, "RS256", &twice(&header, extra), &claims)), JwtFault::Json, "{extra}");
    }
}

#[test]
fn i13_header_and_payload_are_strict_base64url_of_json_objects() {
    let (header, payload) = (base64url(Token::new().header_text()), base64url(Token::new().claims_text()));
    assert_eq!(principal(&usual(), &sign_encoded(&RSA, "RS256", &header, &payload)), alice());
    for (bad_header, bad_payload) in [
        (format!("{header}="), payload.clone()),
        (header.clone(), format!("{payload}=")),
        (header.clone(), format!("{payload}==")),
        (header.clone(), format!("{payload}\n")),
        (format!(" {header}"), payload.clone()),
        (header.clone(), payload.replace('_', "/") + "+"),
    ] {
        assert_eq!(fault(&sign_encoded(&RSA, "RS256", &bad_header, &bad_payload)), JwtFault::Encoding);
    }
    let good = Token::new().sign(&RSA);
    for ending in ["=", "\n", "*", "é"] {
        assert_eq!(fault(&format!("{good}{ending}")), JwtFault::Encoding, "signature and {ending:?}");
    }
    for text in ["[]", "null", "1", "", "{}{}", "{", "\u{feff}{}"] {
        assert_eq!(
            fault(&sign_encoded(&RSA, "RS256", &header, &base64url(format!(" {text}")))),
            JwtFault::Json,
            "{text}"
        );
        assert_eq!(
            fault(&sign_encoded(&RSA, "RS256", &base64url(format!(" {text}")), &payload)),
            JwtFault::Json,
            "{text}"
        );
    }
    assert_eq!(fault(&sign_encoded(&RSA, "RS256", &header, &base64url(b"{\"sub\":\"\xff\"}"))), JwtFault::Json);
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(1000), "]".repeat(1000));
    assert_eq!(fault(&sign_text(&RSA, "RS256", &Token::new().header_text(), &deep)), JwtFault::Json);
}
