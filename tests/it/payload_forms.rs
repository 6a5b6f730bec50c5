//! Every form in which a client with an access key can send an object: signed or not, framed or not, with and without a length.

use super::support::{Form, KeyClient, Store, StoreKind, Transfer, pattern};

/// The signer of these tests is believed because stores take what it signs.
#[tokio::test]
async fn stores_take_what_the_client_of_the_tests_signs() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let client = KeyClient::new(store.address(), &store.access_key, &store.secret_key);
        for form in Form::all() {
            // RGW 16 knows no trailers, and SeaweedFS no chunks that have neither signatures nor a trailer.
            let knows = match kind {
                StoreKind::Rgw => !form.is_framed() || form == Form::SignedChunks,
                _ => form != Form::UnsignedChunks(None),
            };
            if !knows {
                continue;
            }
            let object = pattern(100_000);
            let put = client.send("PUT", &format!("/{}/x", store.bucket), &[], &object, form, Transfer::Length).await;
            assert_eq!(put.status, 200, "{kind:?} {form:?}: {}", put.text());
            assert!(store.read("x").await.unwrap() == object, "{kind:?} {form:?}");
        }
    }
}
