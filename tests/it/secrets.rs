//! No secret is ever written anywhere but where it belongs: the program at its most talkative, searched for words that were put into
//! every place where a secret can be.

use std::time::Duration;

use serde_json::{Value, json};

use super::support::certs::{Authority, write};
use super::support::gateway::KEY_SECRETS;
use super::support::oidc::OwnIssuer;
use super::support::post::{KEY_ID, PostForm, SECRET as FORM_SECRET};
use super::support::process::Served;
use super::support::{Answer, Client, Recorder, Response, Setup, SignedClient};

/// Secrets of the configuration.
const STORE_SECRET: &str = "marker-store-secret-access-key";
const SESSION_TOKEN: &str = "marker-session-token";
const RING_SECRET: &str = "marker-secret-of-the-key-ring-00000000";
/// Secrets of clients, each in a place of its own.
const UNKNOWN_TOKEN: &str = "csn_marker-unknown-token";
const SIGNATURE: &str = "marker-signature-of-a-url";
const QUERY_TOKEN: &str = "marker-token-in-the-query";
const FORM_POLICY: &str = "bWFya2VyLXBvbGljeQ==";
const COOKIE: &str = "marker-cookie";
const CUSTOMER_KEY: &str = "bWFya2VyLWN1c3RvbWVyLWtleQ==";
const PASSWORD: &str = "bWFya2VyOm1hcmtlcg==";

struct Talk {
    served: Served,
    jwt: String,
    forged: String,
    answers: Vec<Response>,
    /// Signatures of requests and URLs, genuine ones too: for their time they are as good as a credential.
    signatures: Vec<String>,
    /// Secrets and sealed tokens of sessions, policies and signatures of forms.
    session_secrets: Vec<String>,
    /// Answers that are not searched, because a secret belongs into them.
    answered_elsewhere: usize,
}

impl Talk {
    async fn with(
        &mut self,
        authorization: &str,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &'static str,
    ) {
        let mut all = vec![("authorization", authorization)];
        all.extend(headers);
        if authorization.is_empty() {
            all.remove(0);
        }
        let client = Client { token: String::new(), ..self.served.a.clone() };
        self.answers.push(client.send_plain(method, target, &all, body).await);
    }

    /// Signed requests and URLs: genuine, of an unknown key, with a wrong secret, with a session token that belongs to nobody.
    async fn sign_everything(&mut self) {
        let good = self.served.key_a.clone();
        let unknown = SignedClient { id: "CSAKNOBODY".to_owned(), ..good.clone() };
        let wrong = SignedClient { secret: "marker-wrong-secret".to_owned(), ..good.clone() };
        let stranger = SignedClient { session_token: Some(SESSION_TOKEN.to_owned()), ..good.clone() };
        for client in [good, unknown, wrong, stranger] {
            self.sign_with(&client).await;
        }
    }

    async fn sign_with(&mut self, client: &SignedClient) {
        let headers = [("x-amz-acl", "private"), ("content-type", "text/plain")];
        for request in [
            client.sign("GET", "/bkt/a/x", &[], b""),
            client.sign("PUT", "/bkt/a/x", &headers, b"body"),
            client.presign("GET", "/bkt/a/x", &[], 60),
            client.presign("PUT", "/bkt/a/x?acl", &[], 60),
            client.presign("GET", "/bkt/a/x", &[], 60).with("x-amz-acl", "private"),
        ] {
            let text = format!("{request:?}");
            let signature = text.rsplit("Signature=").next().unwrap().chars().take(64).collect();
            self.signatures.push(signature);
            self.answers.push(client.send(&request, "body").await);
        }
    }

    /// Sessions: JWTs that are changed for keys, in both forms of the request, and what signs with the keys or with a JWT in their place.
    async fn begin_sessions(&mut self) {
        let form = ("content-type", "application/x-www-form-urlencoded");
        let client = Client { token: String::new(), ..self.served.a.clone() };
        let (jwt, forged) = (self.jwt.clone(), self.forged.clone());
        for (token, body) in [(&jwt, true), (&jwt, false), (&forged, true), (&forged, false)] {
            let role = "arn%3Aaws%3Aiam%3A%3A000000000000%3Arole%2Fs3";
            let asked = format!(
                "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn={role}&RoleSessionName=pod&WebIdentityToken={token}"
            );
            let answer = match body {
                true => client.send_plain("POST", "/", &[form], asked).await,
                false => client.send_plain("GET", &format!("/?{asked}"), &[], "").await,
            };
            if answer.status != 200 {
                self.answers.push(answer);
                continue;
            }
            // The answer to its owner is the one place where keys are told.
            self.answered_elsewhere += 1;
            let (secret, sealed) = (answer.element("SecretAccessKey"), answer.element("SessionToken"));
            self.session_secrets.extend([secret.clone(), sealed.rsplit('.').next().unwrap().to_owned()]);
            let session = SignedClient::new(client.address, &answer.element("AccessKeyId"), &secret);
            let session = SignedClient { session_token: Some(sealed), ..session };
            let wrong = SignedClient { secret: "marker-wrong-secret".to_owned(), ..session.clone() };
            let jwt_instead = SignedClient::new(client.address, "jwt", &jwt);
            let jwt_instead = SignedClient { session_token: Some(jwt.clone()), ..jwt_instead };
            let forged_instead = SignedClient { session_token: Some(forged.clone()), ..jwt_instead.clone() };
            for client in [session, wrong, jwt_instead, forged_instead] {
                self.sign_with(&client).await;
            }
        }
    }

    /// Browser forms: good, with a signature or a policy of somebody else, and such as cannot be read.
    async fn post_forms(&mut self) {
        let good = PostForm::to("a/form");
        let value = |name: &str| good.fields.iter().find(|(known, _)| known == name).unwrap().1.clone();
        let (policy, signature) = (value("policy"), value("x-amz-signature"));
        self.session_secrets.extend([policy.clone(), signature.clone()]);
        for form in [
            good.clone(),
            good.clone().field("x-amz-signature", &"0".repeat(64)),
            good.clone().field("policy", &format!("{policy}{FORM_POLICY}")),
            good.clone().field("x-amz-credential", FORM_POLICY),
            good.clone().again("policy", FORM_POLICY),
            good.clone().field("key", "b/elsewhere"),
            good.clone().without("key"),
            good.clone().field("x-amz-security-token", SESSION_TOKEN),
            good.clone().end("\r\n--no-end"),
        ] {
            let content_type = ("content-type", &*form.content_type());
            let client = Client { token: String::new(), ..self.served.a.clone() };
            self.answers.push(client.send_plain("POST", "/bkt", &[content_type], form.body()).await);
        }
    }

    /// Every way to show a credential, right, wrong, and in the wrong place.
    async fn say_everything(&mut self) {
        self.sign_everything().await;
        self.begin_sessions().await;
        self.post_forms().await;
        let (good, jwt, forged) = (
            format!("Bearer {}", self.served.a.token),
            format!("Bearer {}", self.jwt),
            format!("Bearer {}", self.forged),
        );
        for authorization in [&good, &jwt, &forged, &format!("Bearer {UNKNOWN_TOKEN}"), &format!("Basic {PASSWORD}")] {
            self.with(authorization, "GET", "/bkt/a/x", &[("cookie", COOKIE)], "").await;
            self.with(authorization, "PUT", "/bkt/a/x", &[("content-type", "text/plain")], "body").await;
            self.with(authorization, "GET", "/bkt?list-type=2", &[], "").await;
            self.with(authorization, "GET", &format!("/bkt/a/x?access_token={QUERY_TOKEN}"), &[], "").await;
            self.with(authorization, "GET", &format!("/bkt/a/x?X-Amz-Signature={SIGNATURE}"), &[], "").await;
            let customer_key = ("x-amz-server-side-encryption-customer-key", CUSTOMER_KEY);
            self.with(authorization, "PUT", "/bkt/a/x", &[customer_key], "body").await;
            self.with(authorization, "PUT", "/bkt/a/x", &[("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==")], "body").await;
        }
        for authorization in [
            format!(
                "AWS4-HMAC-SHA256 Credential=AK/20260101/eu/s3/aws4_request, SignedHeaders=host, Signature={SIGNATURE}"
            ),
            format!("Bearer {UNKNOWN_TOKEN} {UNKNOWN_TOKEN}"),
            format!("{UNKNOWN_TOKEN} {UNKNOWN_TOKEN}"),
            format!("Bearer {UNKNOWN_TOKEN}\u{e9}"),
            format!("Bearer {}", UNKNOWN_TOKEN.repeat(500)),
            String::new(),
        ] {
            self.with(&authorization, "GET", "/bkt/a/x", &[], "").await;
            let url = format!(
                "/bkt/a/x?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AK&X-Amz-Signature={SIGNATURE}&X-Amz-Security-Token={SESSION_TOKEN}"
            );
            self.with(&authorization, "GET", &url, &[], "").await;
            self.with(&authorization, "GET", &format!("/bkt/a/x?AWSAccessKeyId=AK&Signature={SIGNATURE}"), &[], "")
                .await;
        }
    }
}

#[tokio::test]
async fn l01_no_secret_is_written_anywhere() {
    let recorder = Recorder::start(Answer::ok()).await;
    let own = OwnIssuer::start().await;
    let folder = tempfile::tempdir().unwrap();
    let session_token = folder.path().join("session-token");
    write(&session_token, SESSION_TOKEN);
    let authority = Authority::new();
    let rules = "
  - { name: all, who: anyone, where: bkt/a/, what: [read, write] }";
    let ring_secret = folder.path().join("ring-secret");
    write(&ring_secret, RING_SECRET);
    let sts = format!("sts: {{ enabled: true, keys: [{{ id: ring, secret: \"file:{}\" }}] }}", ring_secret.display());
    let mut setup = Setup::before(&recorder).rules(rules).issuers(&own.entry()).top(&sts);
    setup = setup.access_key("web", KEY_ID, FORM_SECRET).tls(&authority.vouch_for(&["127.0.0.1"]));
    // A second listener in clear text, for the client of the test.
    let listeners = setup.tls.take().map(|tls| format!("{{ address: 127.0.0.1:0, tls: {tls} }}")).unwrap();
    setup.secret_key = STORE_SECRET.to_owned();
    setup.credentials = format!(
        "{{ access_key_id: env:ACCESS, secret_access_key: env:SECRET, session_token: \"file:{}\" }}",
        session_token.display()
    );
    let text = setup.text().replacen("listen: [", &format!("listen: [{listeners}, "), 1);
    // L02: what the environment wishes for the logs of libraries is not heard.
    let env = [("RUST_LOG", "trace"), ("RUST_BACKTRACE", "full"), ("KEY_0", FORM_SECRET)];
    let served = Served::start_with(&setup, &format!("{text}log: {{ level: trace }}\n"), &env).await;
    let keys_are_there = async || {
        while served.ask_admin("/readyz").await.status != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), keys_are_there()).await.expect("the issuer's keys");
    let jwt = own.token(OwnIssuer::claims().to_string());
    let forged = own.token_of(r#"{"alg":"ES256","kid":"other"}"#, json!({ "iss": OwnIssuer::NAME }).to_string());
    let mut talk = Talk {
        served,
        jwt,
        forged,
        answers: Vec::new(),
        signatures: Vec::new(),
        session_secrets: Vec::new(),
        answered_elsewhere: 0,
    };
    talk.say_everything().await;
    let accepted = |records: &[Value], operation: &str| {
        records.iter().filter(|record| record["operation"] == operation && record["outcome"] == "ok").count()
    };
    let first = talk.served.records(talk.answers.len() + talk.answered_elsewhere).await;
    assert_eq!(accepted(&first, "AssumeRoleWithWebIdentity"), 2, "sessions are begun");
    assert_eq!(accepted(&first, "PostObject"), 1, "a form is taken");
    assert!(first.iter().any(|record| record["scheme"] == "session" && record["outcome"] == "ok"), "and keys used");
    for answer in
        [Answer::error(403, "SignatureDoesNotMatch"), Answer::error(500, "InternalError"), Answer::CloseAfter(1)]
    {
        recorder.answer(answer);
        talk.say_everything().await;
    }
    let requests = talk.answers.len() + talk.answered_elsewhere;
    let sent = recorder.requests();
    assert!(sent.iter().any(|request| request.header("x-amz-security-token") == SESSION_TOKEN), "the token is in use");
    drop(recorder);
    talk.say_everything().await;

    let mut served = talk.served;
    served.records(requests).await;
    let metrics = served.ask_admin("/metrics").await.text();
    let command_line = std::fs::read_to_string(format!("/proc/{}/cmdline", served.process.id())).unwrap();
    served.process.signal("TERM");
    assert_eq!(served.process.end().await.code(), Some(0));
    let (audit, log) = (served.process.stdout.text(), served.process.stderr.text());
    assert!(log.contains("\"TRACE\"") || log.contains("\"DEBUG\""), "the log is at its most talkative:\n{log}");
    assert!(audit.lines().count() >= requests, "every request has its record");
    let answers: String = talk.answers.iter().map(|answer| format!("{:?}{}", answer.headers, answer.text())).collect();
    let jwt_parts: Vec<_> = talk.jwt.split('.').chain(talk.forged.split('.')).map(str::to_owned).collect();
    let mut secrets: Vec<_> =
        [STORE_SECRET, SESSION_TOKEN, UNKNOWN_TOKEN, SIGNATURE, QUERY_TOKEN, COOKIE, CUSTOMER_KEY, PASSWORD, "marker"]
            .map(str::to_owned)
            .into();
    secrets.extend(jwt_parts);
    assert!(talk.signatures.iter().all(|text| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())));
    secrets.extend(talk.signatures);
    assert!(talk.session_secrets.iter().all(|secret| secret.len() >= 40));
    secrets.extend(talk.session_secrets);
    secrets.extend([FORM_SECRET, FORM_POLICY, RING_SECRET].map(str::to_owned));
    secrets.push(KEY_SECRETS[0].1.to_owned());
    secrets.push(served.a.token.trim_start_matches("csn_").to_owned());
    let signatures =
        sent.iter().filter_map(|request| Some(request.header("authorization").split_once("Signature=")?.1.to_owned()));
    secrets.extend(signatures);
    for secret in secrets {
        for (place, text) in [
            ("log", &log),
            ("audit", &audit),
            ("metrics", &metrics),
            ("answers", &answers),
            ("command line", &command_line),
        ] {
            let found = text.lines().find(|line| line.contains(&secret));
            assert!(found.is_none(), "{secret} is in the {place}: {}", found.unwrap());
        }
    }
}
