//! `config/examples/antivirus.yaml` as it stands, with the addresses of the test, before a clamd that is set as the file says.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use countersign::app::App;
use countersign::audit::sink::InMemory;
use countersign::auth::app_token;
use countersign::config::{MapReferences, load_text};
use countersign::telemetry::Metrics;

use super::super::support::clamd::{Clamd, ClamdConf, eicar};
use super::super::support::{Client, Response, Store, StoreKind, pattern};

const EXAMPLE: &str = "config/examples/antivirus.yaml";

/// The value that a comment of the example gives to a key of clamd.conf.
fn told<'a>(text: &'a str, key: &str) -> &'a str {
    let line = text.lines().find_map(|line| line.strip_prefix("#   ")?.strip_prefix(key));
    line.unwrap_or_else(|| panic!("{EXAMPLE} does not say {key}")).split_whitespace().next().unwrap()
}

/// The example with an address of the test in each place that must have one.
fn with_addresses(text: &str, places: &[(&str, String)]) -> String {
    let mut text = text.to_owned();
    for (place, address) in places {
        assert_eq!(text.matches(place).count(), 1, "{EXAMPLE}: {place}");
        text = text.replace(place, address);
    }
    text
}

async fn put_in_parts(client: &Client, target: &str, parts: &[Vec<u8>]) -> Response {
    let created = client.send("POST", &format!("{target}?uploads"), &[], "").await;
    assert_eq!(created.status, 200, "{}", created.text());
    let (id, mut list) = (created.element("UploadId"), String::new());
    for (number, part) in (1..).zip(parts) {
        let put = client.put(&format!("{target}?partNumber={number}&uploadId={id}"), &[], part.clone()).await;
        let etag = put.header("etag");
        list += &format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>");
    }
    let document = format!("<CompleteMultipartUpload>{list}</CompleteMultipartUpload>");
    client.send("POST", &format!("{target}?uploadId={id}"), &[], document).await
}

#[tokio::test]
async fn h12_the_example_for_a_virus_scanner_does_what_it_says() {
    let Some(store) = Store::get(StoreKind::SeaweedFs).await else { return };
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(EXAMPLE)).unwrap();
    let leak = |key: &str| -> &'static str { Box::leak(told(&text, key).to_owned().into_boxed_str()) };
    assert_eq!((told(&text, "AlertExceedsMax"), told(&text, "AlertEncrypted")), ("yes", "yes"));
    let conf = ClamdConf {
        stream_max: leak("StreamMaxLength"),
        file_max: leak("MaxFileSize"),
        scan_max: leak("MaxScanSize"),
        ..ClamdConf::default()
    };
    let Some(clamd) = Clamd::start(conf).await else { return };
    let text = with_addresses(
        &text,
        &[
            ("127.0.0.1:8080", "127.0.0.1:0\nadmin:\n  address: 127.0.0.1:0".to_owned()),
            ("https://s3.eu-central-1.amazonaws.com", store.endpoint.clone()),
            ("inbox: { upstream: store }", format!("inbox: {{ upstream: store, bucket: {} }}", store.bucket)),
            ("unix:/run/clamav/clamd.ctl", format!("\"{}\"", clamd.unix())),
        ],
    );
    let (token, hash) = app_token::generate();
    let env = [("STORE_ID", &store.access_key), ("STORE_SECRET", &store.secret_key), ("PARTNER_TOKEN_HASH", &hash)];
    let env = env.map(|(name, value)| (name.to_owned(), value.clone())).into();
    let references = MapReferences { env, ..MapReferences::default() };
    let config = load_text(EXAMPLE, &text, &references).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
    let app = App::with_sink(config, Metrics::new().unwrap(), Arc::new(InMemory::default())).unwrap();
    let (address, admin) = (app.addresses().data[0], app.addresses().admin);
    let serving = tokio::spawn(app.run(std::future::pending()));
    let (client, admin) =
        (Client { address, token: token.expose().to_owned() }, Client { address: admin, token: String::new() });
    let ready = async {
        while admin.send_plain("GET", "/readyz", &[], "").await.status != 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), ready).await.expect("clamd is tried, and found good");

    let split = [[pattern(5 << 20), eicar()[..30].to_vec()].concat(), eicar()[30..].to_vec()];
    store.put("incoming/old", b"old").await;
    for key in ["incoming/old", "incoming/new"] {
        let refused = client.put(&format!("/inbox/{key}"), &[], eicar()).await;
        assert_eq!(refused.outcome(), (403, "ContentRejected".into()), "{}", refused.text());
        let refused = put_in_parts(&client, &format!("/inbox/{key}"), &split).await;
        assert_eq!(refused.code(), "ContentRejected", "{}", refused.text());
    }
    assert_eq!(store.keys("").await, ["incoming/old"]);
    assert_eq!(store.read("incoming/old").await.as_deref(), Some(&b"old"[..]));
    let clean = [pattern(5 << 20), pattern(77)];
    let stored = put_in_parts(&client, "/inbox/incoming/parts", &clean).await;
    assert_eq!((stored.status.as_u16(), stored.code()), (200, String::new()), "{}", stored.text());
    assert_eq!(client.put("/inbox/incoming/new", &[], clean.concat()).await.status, 200);
    for key in ["incoming/parts", "incoming/new"] {
        assert!(store.read(key).await == Some(clean.concat()), "{key}");
    }
    serving.abort();
}
