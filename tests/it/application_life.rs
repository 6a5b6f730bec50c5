//! A whole application's life with boto3, from making its versioned bucket to removing it: through the gateway as straight at the store.
//!
//! What is done, what is compared, and which differences are explained is in `clients/life.py`.

use serde_json::json;

use super::boto::python;
use super::support::{Store, StoreKind};

async fn a_whole_life_before(kind: StoreKind) {
    let Some(store) = Store::get(kind).await else { return };
    let rules = "\n  - { name: all, who: { tokens: [a] }, where: \"*\", what: \"s3:*\" }";
    let gateway = store.setup().whole_store().rules(rules).start().await;
    let world = json!({
        "endpoint": format!("http://{}", gateway.address), "token": gateway.a.token,
        "kind": if kind == StoreKind::Rgw { "rgw" } else { "seaweedfs" }, "name": format!("{}-app", store.bucket),
        "store": { "endpoint": store.endpoint, "access_key": store.access_key, "secret_key": store.secret_key },
    });
    python("life.py", "application", world).await;
}

#[tokio::test]
async fn an_application_lives_the_same_life_through_the_gateway_as_straight_at_seaweedfs() {
    a_whole_life_before(StoreKind::SeaweedFs).await;
}

#[tokio::test]
async fn an_application_lives_the_same_life_through_the_gateway_as_straight_at_ceph_rgw() {
    a_whole_life_before(StoreKind::Rgw).await;
}
