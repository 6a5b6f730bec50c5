//! Objects in parts, as a client with a token uploads them.

use super::{Client, Response};

/// Begins an object in parts, and gives its upload id.
pub async fn create(client: &Client, key: &str, headers: &[(&str, &str)]) -> String {
    let created = client.send("POST", &format!("/bkt/{key}?uploads"), headers, "").await;
    assert_eq!(created.status, 200, "{}", created.text());
    created.element("UploadId")
}

/// Uploads the parts, and gives the list that completes them.
pub async fn upload(client: &Client, key: &str, id: &str, parts: &[Vec<u8>]) -> String {
    let mut list = String::new();
    for (number, part) in (1..).zip(parts) {
        let put = client.put(&format!("/bkt/{key}?partNumber={number}&uploadId={id}"), &[], part.clone()).await;
        assert_eq!(put.status, 200, "{number}: {}", put.text());
        let etag = put.header("etag").to_owned();
        list.push_str(&format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"));
    }
    format!("<CompleteMultipartUpload>{list}</CompleteMultipartUpload>")
}

/// Completes it with a list of parts.
pub async fn complete(client: &Client, key: &str, id: &str, list: &str, headers: &[(&str, &str)]) -> Response {
    client.send("POST", &format!("/bkt/{key}?uploadId={id}"), headers, list.to_owned()).await
}

/// An object in parts, all the way.
pub async fn put_in_parts(client: &Client, key: &str, parts: &[Vec<u8>], headers: &[(&str, &str)]) -> Response {
    let id = create(client, key, headers).await;
    let list = upload(client, key, &id, parts).await;
    complete(client, key, &id, &list, &[]).await
}
