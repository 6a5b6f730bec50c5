//! Service account tokens of a cluster whose API server gives its keys only to whoever shows a token: a stand-in with TLS.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::support::certs::{Authority, write};
use super::support::oidc::{encode, new_key, public_key, sign, until_ready};
use super::support::{Answer, Client, Recorder, Setup};

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

const RULES: &str = "
  - { name: own, who: { issuers: [cluster] }, where: \"bkt/{namespace}/{service_account}/\", what: [read] }
  - { name: pod, who: { issuers: [cluster], attributes: { pod: orders-7 } }, where: bkt/pod/, what: [read] }
  - { name: tenant-a, who: { tokens: [a], keys: [a] }, where: bkt/a/, what: [read] }";

/// An API server: gives the keys to the token that it knows, and redirects or refuses everybody else.
struct ApiServer {
    url: String,
    heads: Arc<Mutex<Vec<String>>>,
    serving: tokio::task::JoinHandle<()>,
}

impl ApiServer {
    async fn start(authority: &Authority, keys: String, token: Arc<Mutex<String>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/openid/v1/jwks", listener.local_addr().unwrap());
        let acceptor = TlsAcceptor::from(Arc::new(authority.vouch_for(&["127.0.0.1"]).server()));
        let heads = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&heads);
        let serving = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { break };
                    head.push(byte);
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                let good = head.contains(&format!("authorization: Bearer {}\r\n", token.lock().unwrap()));
                all.lock().unwrap().push(head);
                let (status, body) = if good { ("200 OK", keys.as_str()) } else { ("401 Unauthorized", "{}") };
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
                let _gone = stream.write_all(answer.as_bytes()).await;
                let _gone = stream.shutdown().await;
            }
        });
        Self { url, heads, serving }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A setup with the cluster as its issuer.
fn setup(recorder: &Recorder, authority: &Authority, server: &ApiServer, token_file: &std::path::Path) -> Setup {
    let issuer = format!(
        "\n    - {{ name: cluster, issuer: \"{ISSUER}\", audience: s3, algorithms: [ES256], keys: {{ url: \"{}\" }}, ca_file: {}, jwks_token_file: {}, attributes: {{ namespace: /kubernetes.io/namespace, service_account: /kubernetes.io/serviceaccount/name, pod: /kubernetes.io/pod/name }} }}",
        server.url,
        authority.file().display(),
        token_file.display()
    );
    let mut setup = Setup::before(recorder).rules(RULES).issuers(&issuer);
    setup.files.push(authority.file());
    setup
}

fn claims(namespace: &str, account: &str) -> Value {
    json!({
        "iss": ISSUER, "aud": ["s3"], "sub": format!("system:serviceaccount:{namespace}:{account}"), "exp": 4_000_000_000_u64,
        "kubernetes.io": {
            "namespace": namespace,
            "serviceaccount": { "name": account, "uid": "1" },
            "pod": { "name": format!("{account}-7"), "uid": "2" },
        },
    })
}

#[tokio::test]
async fn service_accounts_are_known_by_the_keys_that_the_api_server_gives_to_the_gateways_own_token() {
    let (authority, key) = (Authority::new(), new_key());
    let token = Arc::new(Mutex::new("eyJ.the-pods.own-token".to_owned()));
    let keys = json!({ "keys": [public_key(&key, "cluster-1")] }).to_string();
    let server = ApiServer::start(&authority, keys, Arc::clone(&token)).await;
    let folder = tempfile::tempdir().unwrap();
    let token_file: PathBuf = folder.path().join("token");
    write(&token_file, "eyJ.the-pods.own-token\n");
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = setup(&recorder, &authority, &server, &token_file).start().await;
    until_ready(&gateway).await;
    let ask = async |claims: &Value, target: &str| {
        let head = r#"{"alg":"ES256","typ":"JWT","kid":"cluster-1"}"#;
        let jwt = sign(&key, &format!("{}.{}", encode(head), encode(claims.to_string())));
        Client { address: gateway.address, token: jwt }.get(target).await.outcome()
    };
    let orders = claims("shop", "orders");
    assert_eq!(ask(&orders, "/bkt/shop/orders/x").await.0, 200);
    assert_eq!(ask(&orders, "/bkt/pod/x").await.0, 200);
    assert_eq!(ask(&orders, "/bkt/shop/other/x").await, (403, "AccessDenied".to_owned()));
    assert_eq!(ask(&claims("bank", "orders"), "/bkt/shop/orders/x").await, (403, "AccessDenied".to_owned()));
    let mut for_the_server = orders.clone();
    for_the_server["aud"] = json!([ISSUER]);
    assert_eq!(ask(&for_the_server, "/bkt/shop/orders/x").await, (403, "InvalidToken".to_owned()));
    let mut flat = orders.clone();
    flat["kubernetes.io"] = json!("shop");
    assert_eq!(ask(&flat, "/bkt/shop/orders/x").await, (403, "InvalidToken".to_owned()), "no object on the way");
    let mut without = orders.clone();
    without.as_object_mut().unwrap().remove("kubernetes.io");
    // A name that says the same is another claim.
    without["/kubernetes.io/namespace"] = json!("shop");
    assert_eq!(ask(&without, "/bkt/shop/orders/x").await, (403, "AccessDenied".to_owned()), "absent");
    for head in server.heads() {
        assert!(head.starts_with("GET /openid/v1/jwks HTTP/1.1\r\n"), "{head}");
    }
    for sent in recorder.requests() {
        assert!(!sent.head.contains("own-token"), "{}", sent.head);
    }
}
