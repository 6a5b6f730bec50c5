//! The four lists of a bucket show what the caller may see, whatever the parameters say, and give out nothing that is good for more.

use super::support::{Answer, Client, Recorder, Response, Setup, Store, StoreKind};

const ALL_LISTS: &str = "[s3:ListBucket, s3:ListBucketVersions, s3:ListBucketMultipartUploads]";

/// One kind of list, in the words of its request and answer.
#[derive(Debug, Clone, Copy)]
struct List {
    query: &'static str,
    marker: &'static str,
    next: &'static str,
    max: &'static str,
}

const V1: List = List { query: "", marker: "marker", next: "NextMarker", max: "max-keys" };
const V2: List =
    List { query: "list-type=2", marker: "continuation-token", next: "NextContinuationToken", max: "max-keys" };
const VERSIONS: List = List { query: "versions", marker: "key-marker", next: "NextKeyMarker", max: "max-keys" };
const UPLOADS: List = List { query: "uploads", marker: "key-marker", next: "NextKeyMarker", max: "max-uploads" };
const LISTS: [List; 4] = [V1, V2, VERSIONS, UPLOADS];

impl List {
    async fn ask(&self, client: &Client, query: &str) -> Response {
        client.get(&format!("/bkt?{}", format!("{}{query}", self.query).trim_start_matches('&'))).await
    }

    /// Every key and group, following the markers.
    async fn all(&self, client: &Client, query: &str) -> (Vec<String>, Vec<String>, usize) {
        let (mut keys, mut groups, mut pages, mut marker) = (Vec::new(), Vec::new(), 0, String::new());
        loop {
            let page = self.ask(client, &format!("{query}{marker}")).await;
            assert_eq!(page.status, 200, "{self:?} {query}: {}", page.text());
            assert!(!page.text().contains("Owner") && !page.text().contains("Initiator"), "{}", page.text());
            pages += 1;
            assert!(pages < 200, "{self:?} {query} never ends");
            keys.extend(page.elements("Key"));
            groups.extend(groups_of(&page));
            if page.element("IsTruncated") != "true" {
                assert_eq!(page.element(self.next), "", "{self:?} {query}");
                return (keys, groups, pages);
            }
            marker = format!("&{}={}", self.marker, page.element(self.next));
        }
    }

    /// The parameter for a name behind which the list begins.
    fn start(&self) -> &'static str {
        if self.query == V2.query { "start-after" } else { self.marker }
    }
}

fn groups_of(page: &Response) -> Vec<String> {
    let group = |part: &str| part.split("<Prefix>").nth(1)?.split("</Prefix>").next().map(str::to_owned);
    page.text().split("<CommonPrefixes>").skip(1).filter_map(group).collect()
}

/// What of an answer a caller can learn from.
fn seen(page: &Response) -> (Vec<String>, Vec<String>, String, usize) {
    (page.elements("Key"), groups_of(page), page.element("IsTruncated"), page.text().len())
}

/// A store with these keys as objects of a bucket with versions, and as uploads.
async fn filled(kind: StoreKind, keys: &[&str]) -> Option<Store> {
    let store = Store::get(kind).await?;
    store.keep_versions().await;
    for key in keys {
        store.put(key, b"x").await;
        store.begin_upload(key).await;
    }
    Some(store)
}

fn rules(places: &str, more: &str) -> String {
    format!(
        "\n  - {{ name: lists, who: {{ tokens: [a] }}, where: {places}, what: {ALL_LISTS} }}\n  - {{ name: other, who: {{ tokens: [b] }}, where: bkt/b/, what: {ALL_LISTS} }}{more}"
    )
}

#[tokio::test]
async fn d17_every_list_shows_permitted_keys_only_however_it_is_asked() {
    for kind in StoreKind::REAL {
        let Some(store) = filled(kind, &["a/1", "a/2", "a/sub/3", "ab/4", "b/2", "b/secret", "c"]).await else {
            continue;
        };
        let gateway = store.setup().rules(&rules("bkt/a/", "")).start().await;
        let all = ["a/1", "a/2", "a/sub/3"];
        for list in LISTS {
            let foreign = list.ask(&gateway.b, &format!("&{}=1", list.max)).await.element(list.next);
            assert!(!foreign.is_empty(), "{kind:?} {list:?}");
            for query in
                ["", "&prefix=", "&prefix=a", "&prefix=a/", "&encoding-type=url", "&delimiter=", "&delimiter=zz"]
            {
                let mut keys = list.all(&gateway.a, query).await.0;
                keys.sort_unstable();
                assert_eq!(keys, all, "{kind:?} {list:?} {query}");
            }
            for (start, expected) in [
                ("0", &all[..]),
                ("a", &all),
                ("a/", &all),
                ("a/1", &all[1..]),
                ("a/2", &all[2..]),
                ("a0", &[]),
                ("b/", &[]),
                ("c", &[]),
            ] {
                let mut keys = list.all(&gateway.a, &format!("&{}={start}", list.start())).await.0;
                keys.sort_unstable();
                assert_eq!(keys, expected, "{kind:?} {list:?} behind {start}");
            }
            let (keys, groups, _) = list.all(&gateway.a, "&delimiter=a").await;
            assert_eq!((keys.len(), groups), (0, vec!["a".to_owned()]), "{kind:?} {list:?}");
            for query in ["&prefix=b/", "&prefix=ab", "&prefix=c", "&prefix=b/&delimiter=/"] {
                assert_eq!(
                    list.ask(&gateway.a, query).await.outcome(),
                    (403, "AccessDenied".into()),
                    "{kind:?} {query}"
                );
            }
            let marker = list.marker;
            for query in [
                "&prefix=a/&prefix=b/".to_owned(),
                "&prefix=a/&PREFIX=b/".into(),
                "&PREFIX=b/".into(),
                "&prefix%5B%5D=".into(),
                "&prefix[]=".into(),
                "&prefix=a%2F..%2Fb".into(),
                "&prefix=a%00".into(),
                "&delimiter=%00".into(),
                "&encoding-type=x".into(),
                "&encoding-type=".into(),
                format!("&{marker}={foreign}"),
                format!("&{marker}=a%00"),
                format!("&{marker}=countersign-next.AAAA"),
                format!("&{marker}=countersign-next."),
                format!("&{marker}=a/1&{marker}=b/"),
                "&version-id-marker=x".into(),
                "&upload-id-marker=x".into(),
                format!("&{}=-1", list.max),
                format!("&{}=x", list.max),
                format!("&{}=1.0", list.max),
                format!("&{}=99999999999", list.max),
            ] {
                let refused = list.ask(&gateway.a, &query).await;
                assert_eq!(refused.status, 400, "{kind:?} {list:?} {query}: {}", refused.text());
            }
            for max in ["0", "1", "1001", "2147483647"] {
                let page = list.ask(&gateway.a, &format!("&{}={max}", list.max)).await;
                assert_eq!(page.elements("Key").len(), max.parse::<usize>().unwrap().min(3), "{kind:?} {list:?} {max}");
            }
        }
        for target in ["/bkt?list-type=1", "/bkt?list-type=3", "/bkt?list-type=", "/bkt?list-type=2&list-type=2"] {
            assert_eq!(gateway.a.get(target).await.status, 400, "{kind:?} {target}");
        }
    }
}

#[tokio::test]
async fn d17_each_list_needs_its_own_action() {
    let recorder = Recorder::start(Answer::ok()).await;
    let rules = "\n  - { name: own, who: anyone, where: bkt, what: [read, write, delete] }";
    let gateway = Setup::before(&recorder).rules(rules).start().await;
    for list in [VERSIONS, UPLOADS] {
        assert_eq!(list.ask(&gateway.a, "").await.outcome(), (403, "AccessDenied".into()), "{list:?}");
        // What is wrong with the parameters is for those who may list.
        assert_eq!(list.ask(&gateway.a, "&encoding-type=x").await.status, 403, "{list:?}");
    }
    assert!(recorder.is_silent());
}

#[tokio::test]
async fn d16_nothing_in_any_list_depends_on_denied_keys() {
    let deny = "
  - { name: not-this, effect: deny, who: { tokens: [a] }, where: [bkt/a/secret/, bkt/a/only/hidden/, bkt/a/mix/hidden/], what: \"s3:*\" }";
    let open = ["a/a1", "a/mix/1", "a/onlz/x", "a/sec", "a/secret-ish", "a/z1"];
    let denied = ["a/secret/alpha", "a/secret/beta", "a/only/hidden/x", "a/mix/hidden/x"];
    let starts = ["", "a/a1", "a/mix/5", "a/mix/hidden/x", "a/only/", "a/secret/alpha", "a/secret/beta0", "a/secret0"];
    for kind in StoreKind::REAL {
        let Some(with) = filled(kind, &[&open[..], &denied].concat()).await else { continue };
        let Some(without) = filled(kind, &open).await else { continue };
        let (with, without) =
            (with.setup().rules(&rules("bkt/a/", deny)), without.setup().rules(&rules("bkt/a/", deny)));
        let (with, without) = (with.start().await, without.start().await);
        for list in LISTS {
            for start in starts {
                for size in [1, 2, 100] {
                    for delimiter in ["", "&delimiter=/", "&delimiter=cr"] {
                        let query = format!("&prefix=a/&{}={size}{delimiter}&{}={start}", list.max, list.start());
                        let (one, other) = (list.ask(&with.a, &query).await, list.ask(&without.a, &query).await);
                        let same_length = kind == StoreKind::Rgw;
                        let (one, other) = (seen(&one), seen(&other));
                        assert_eq!(
                            (&one.0, &one.1, &one.2),
                            (&other.0, &other.1, &other.2),
                            "{kind:?} {list:?} {query}"
                        );
                        if same_length {
                            assert_eq!(one.3, other.3, "{kind:?} {list:?} {query}: the lengths tell");
                        }
                    }
                }
            }
            for delimiter in ["", "&delimiter=/"] {
                let query = format!("&prefix=a/&{}=2{delimiter}", list.max);
                let (mut one, mut other) = (list.all(&with.a, &query).await, list.all(&without.a, &query).await);
                assert_eq!(one.2, other.2, "{kind:?} {list:?} {query}: pages");
                for all in [&mut one, &mut other] {
                    all.0.sort_unstable();
                    all.1.sort_unstable();
                }
                assert_eq!((one.0, one.1), (other.0, other.1), "{kind:?} {list:?} {query}");
            }
        }
    }
}

#[tokio::test]
async fn pages_of_every_list_follow_each_other_across_permitted_prefixes() {
    let keys: Vec<String> = ["a/", "hidden/", "m/", "m/secret/", "z/"]
        .iter()
        .flat_map(|prefix| (0..4).map(move |n| format!("{prefix}{n}")))
        .collect();
    let deny = "\n  - { name: not, effect: deny, who: { tokens: [a] }, where: bkt/m/secret/, what: \"s3:*\" }";
    for kind in StoreKind::REAL {
        let Some(store) = filled(kind, &keys.iter().map(String::as_str).collect::<Vec<_>>()).await else { continue };
        let gateway = store.setup().rules(&rules("[bkt/z/, bkt/a/, bkt/m/]", deny)).start().await;
        let expected: Vec<_> =
            keys.iter().filter(|key| !key.starts_with("hidden/") && !key.contains("secret")).cloned().collect();
        for list in LISTS {
            for size in [1, 3, 4, 5, 100] {
                let (mut keys, _, pages) = list.all(&gateway.a, &format!("&{}={size}", list.max)).await;
                assert!(pages >= 12 / size, "{kind:?} {list:?} {size}: {pages} pages");
                // SeaweedFS has no order among uploads.
                if list.query == "uploads" && kind == StoreKind::SeaweedFs {
                    keys.sort_unstable();
                }
                assert_eq!(keys, expected, "{kind:?} {list:?} {size}");
            }
            let mut groups = list.all(&gateway.a, &format!("&delimiter=/&{}=1", list.max)).await.1;
            groups.dedup();
            assert_eq!(groups, ["a/", "m/", "z/"], "{kind:?} {list:?}");
        }
    }
}

#[tokio::test]
async fn d16_a_marker_is_good_for_its_caller_and_list_only() {
    let Some(store) = filled(StoreKind::Rgw, &["a/1", "a/2", "a/3"]).await else { return };
    let rules = format!("\n  - {{ name: lists, who: anyone, where: bkt, what: {ALL_LISTS} }}");
    let gateway = store.setup().rules(&rules).start().await;
    for list in LISTS {
        let first = list.ask(&gateway.a, &format!("&prefix=a/&{}=1", list.max)).await;
        let given = first.element(list.next);
        assert!(!given.contains("a/"), "{list:?} {given}");
        let sealed = given.trim_start_matches("countersign-next.");
        for other in LISTS {
            let own = other.query == list.query;
            let given = if other.query == V2.query { sealed.to_owned() } else { format!("countersign-next.{sealed}") };
            let query = format!("&prefix=a/&{}={given}", other.marker);
            let status = if own { 200 } else { 400 };
            assert_eq!(other.ask(&gateway.a, &query).await.status, status, "{list:?} {other:?}");
            assert_eq!(other.ask(&gateway.b, &query).await.status, 400, "{list:?} {other:?}");
        }
        for query in [
            format!("&prefix=&{}={given}", list.marker),
            format!("&prefix=a/&delimiter=/&{}={given}", list.marker),
            format!("&prefix=a/&{}={given}A", list.marker),
        ] {
            assert_eq!(list.ask(&gateway.a, &query).await.outcome(), (400, "InvalidArgument".into()), "{query}");
        }
    }
}

/// A key as a marker, as clients send it that do not read `NextMarker` where S3 gives none.
#[tokio::test]
async fn the_last_key_of_a_page_is_a_marker_too() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let mut expected = Vec::new();
        for key in ["a-b", "a.txt", "a/1", "a/2", "a/c/3", "a/c-d", "a/z", "a0", "b/1"] {
            store.put(key, b"x").await;
            expected.push(key.to_owned());
        }
        expected.sort_unstable();
        let gateway = store.setup().rules(&rules("bkt", "")).start().await;
        let (mut keys, mut marker) = (Vec::new(), String::new());
        loop {
            let page = V1.ask(&gateway.a, &format!("&max-keys=2&marker={marker}")).await;
            assert_eq!(page.element("Marker"), marker, "{kind:?}");
            keys.extend(page.elements("Key"));
            if page.element("IsTruncated") != "true" {
                break;
            }
            marker = keys.last().unwrap().clone();
        }
        keys.sort_unstable();
        assert_eq!(keys, expected, "{kind:?}");
        // A group as a marker is not given again, or its client would go in a circle.
        let page = V1.ask(&gateway.a, "&delimiter=/&marker=a/").await;
        assert_eq!(groups_of(&page), ["b/"], "{kind:?}");
    }
}

#[tokio::test]
async fn versions_come_in_the_stores_order_without_owners() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        store.keep_versions().await;
        for key in ["a/1", "a/2", "a/1", "a/3", "a/1", "b/secret"] {
            store.put(key, b"x").await;
        }
        store.remove("a/2").await;
        store.remove("a/1").await;
        let gateway = store.setup().rules(&rules("bkt/a/", "")).start().await;
        let straight = store.list("versions=&prefix=a%2F").await;
        for size in [1, 2, 3, 1000] {
            let (mut versions, mut latest, mut marker) = (Vec::new(), Vec::new(), String::new());
            loop {
                let page = VERSIONS.ask(&gateway.a, &format!("&max-keys={size}{marker}")).await;
                assert!(!page.text().contains("<Owner>") && !page.text().contains(&store.bucket), "{}", page.text());
                versions.extend(page.elements("VersionId"));
                latest.extend(page.elements("IsLatest"));
                if page.element("IsTruncated") != "true" {
                    break;
                }
                marker = format!("&key-marker={}", page.element("NextKeyMarker"));
            }
            assert_eq!(versions, straight.elements("VersionId"), "{kind:?} {size}");
            assert_eq!(latest, straight.elements("IsLatest"), "{kind:?} {size}");
        }
        let page = VERSIONS.ask(&gateway.a, "").await;
        assert_eq!((page.text().matches("<Version>").count(), page.text().matches("<DeleteMarker>").count()), (5, 2));
        // A key and one of its versions as markers: the older versions of the key follow.
        let second = &straight.elements("VersionId")[1];
        let behind = VERSIONS.ask(&gateway.a, &format!("&key-marker=a/1&version-id-marker={second}")).await;
        assert_eq!(behind.elements("VersionId"), straight.elements("VersionId")[2..], "{kind:?}");
        let foreign = VERSIONS.ask(&gateway.a, "&key-marker=b/secret&version-id-marker=x").await;
        assert_eq!((foreign.status.as_u16(), foreign.elements("Key").len()), (200, 0), "{kind:?}");
    }
}

#[tokio::test]
async fn d18_a_listed_upload_id_is_sealed_and_adds_nothing() {
    let all = "\n  - { name: both, who: anyone, where: bkt/a/, what: [read, write, s3:ListBucketMultipartUploads] }
  - { name: looks-only, who: anyone, where: bkt/look/, what: s3:ListBucketMultipartUploads }";
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let gateway = store.setup().rules(all).start().await;
        let begun = gateway.b.send("POST", "/bkt/a/x?uploads", &[], "").await.element("UploadId");
        let own = [store.begin_upload("a/direct").await, store.begin_upload("look/y").await];
        let part = gateway.b.put(&format!("/bkt/a/x?partNumber=1&uploadId={begun}"), &[], "part").await;
        assert_eq!(part.status, 200, "{kind:?} {}", part.text());

        let listed = UPLOADS.ask(&gateway.a, "&prefix=").await;
        assert_eq!(listed.elements("Key").len(), 3, "{kind:?} {}", listed.text());
        for id in store.uploads().await.iter().chain(&own).chain([&begun]) {
            assert!(!listed.text().contains(id.as_str()), "{kind:?}: an id that is good at the store, or of another");
        }
        assert!(
            !listed.text().contains("Owner")
                && !listed.text().contains("Initiator")
                && !listed.text().contains(&store.bucket)
        );
        let id_of = |client: &'static str, key: &'static str| {
            let gateway = &gateway;
            async move {
                let client = if client == "a" { &gateway.a } else { &gateway.b };
                UPLOADS.ask(client, &format!("&prefix={key}")).await.element("UploadId")
            }
        };
        let id = id_of("a", "a/x").await;
        let target = format!("/bkt/a/x?uploadId={id}");
        // It shows the parts, to the caller it was given to and for its key.
        assert_eq!(gateway.a.get(&target).await.elements("PartNumber"), ["1"], "{kind:?}");
        let refused = (404, "NoSuchUpload".to_owned());
        assert_eq!(gateway.b.get(&target).await.outcome(), refused, "{kind:?}");
        assert_eq!(gateway.b.delete(&target).await.outcome(), refused, "{kind:?}");
        assert_eq!(gateway.a.delete(&format!("/bkt/a/direct?uploadId={id}")).await.outcome(), refused, "{kind:?}");
        // It adds nothing, not even for the one who began the upload.
        for (client, name) in [(&gateway.a, "a"), (&gateway.b, "b")] {
            let id = id_of(name, "a/x").await;
            let denied = (403, "AccessDenied".to_owned());
            let part = client.put(&format!("/bkt/a/x?partNumber=2&uploadId={id}"), &[], "more").await;
            assert_eq!(part.outcome(), denied, "{kind:?}");
            let list = "<CompleteMultipartUpload><Part><ETag>e</ETag><PartNumber>1</PartNumber></Part></CompleteMultipartUpload>";
            let done = client.send("POST", &format!("/bkt/a/x?uploadId={id}"), &[], list).await;
            assert_eq!(done.outcome(), denied, "{kind:?}");
        }
        assert_eq!(gateway.a.get(&target).await.elements("PartNumber"), ["1"], "{kind:?}: nothing was added");
        // What it is good for is still for the rules to say.
        let looks = id_of("a", "look/y").await;
        for outcome in [
            gateway.a.get(&format!("/bkt/look/y?uploadId={looks}")).await.outcome(),
            gateway.a.delete(&format!("/bkt/look/y?uploadId={looks}")).await.outcome(),
        ] {
            assert_eq!(outcome, (403, "AccessDenied".into()), "{kind:?}");
        }
        assert_eq!(gateway.a.delete(&target).await.status, 204, "{kind:?}");
        let direct = id_of("a", "a/direct").await;
        assert_eq!(gateway.a.delete(&format!("/bkt/a/direct?uploadId={direct}")).await.status, 204, "{kind:?}");
        assert_eq!(store.uploads().await, own[1..], "{kind:?}");
    }
}

/// What the store is asked, and that an answer that does not keep to it is not passed on.
#[tokio::test]
async fn d16_a_store_that_does_not_keep_to_the_question_is_not_believed() {
    for (list, root, entry, sent) in [
        (V1, "ListBucketResult", "Contents", "encoding-type=url&list-type=2&max-keys=1000&prefix=gw%2Fa%2F"),
        (V2, "ListBucketResult", "Contents", "encoding-type=url&list-type=2&max-keys=1000&prefix=gw%2Fa%2F"),
        (VERSIONS, "ListVersionsResult", "Version", "max-keys=1000&prefix=gw%2Fa%2F&versions="),
        (UPLOADS, "ListMultipartUploadsResult", "Upload", "max-uploads=1000&prefix=gw%2Fa%2F&uploads="),
    ] {
        let page = |key: &str, more: &str| {
            Answer::status(
                200,
                "",
                &format!("<{root}><{entry}><Key>{key}</Key><UploadId>u</UploadId></{entry}>{more}</{root}>"),
            )
        };
        let recorder = Recorder::start(page("gw/a/x", "")).await;
        let mut setup = Setup::before(&recorder).rules(&rules("bkt/a/", ""));
        setup.bucket_settings = ", prefix: gw/".to_owned();
        let gateway = setup.start().await;
        assert_eq!(list.ask(&gateway.a, "").await.elements("Key"), ["a/x"], "{list:?}");
        assert_eq!(recorder.only().request_line(), format!("GET /up-bkt?{sent}"));
        let wrong = "The store answered a listing with something else.";
        for answer in [
            page("gw/b/secret", ""),
            page("gw/ab", ""),
            page("other/a/x", ""),
            page("a/x", ""),
            page("gw/a/x", "<CommonPrefixes><Prefix>gw/b/</Prefix></CommonPrefixes>"),
            page("gw/a/x", "<IsTruncated>true</IsTruncated>"),
            page("gw/a/x</Key></x>", ""),
            Answer::status(200, "", "<Other/>"),
            Answer::status(200, "", ""),
        ] {
            recorder.answer(answer.clone());
            let refused = list.ask(&gateway.a, "").await;
            assert_eq!(refused.outcome(), (502, "BadGateway".into()), "{list:?} {answer:?}: {}", refused.text());
            assert!(refused.text().contains(wrong) && !refused.text().contains("secret"), "{}", refused.text());
        }
    }
}

#[tokio::test]
async fn a_store_that_goes_in_a_circle_or_gives_no_ids_is_left() {
    let recorder = Recorder::start(Answer::status(
        200,
        "",
        "<ListMultipartUploadsResult><IsTruncated>true</IsTruncated><NextUploadIdMarker>1</NextUploadIdMarker></ListMultipartUploadsResult>",
    ))
    .await;
    let gateway = Setup::before(&recorder).rules(&rules("bkt/a/", "")).start().await;
    assert_eq!(UPLOADS.ask(&gateway.a, "").await.outcome(), (502, "BadGateway".into()));
    assert_eq!(recorder.requests().len(), 2, "the page behind itself was noticed");
    // Nor is an upload without an id given out: what a store makes of an empty one may be about the object.
    let upload = "<ListMultipartUploadsResult><Upload><Key>a/x</Key><UploadId/></Upload></ListMultipartUploadsResult>";
    recorder.answer(Answer::status(200, "", upload));
    assert_eq!(UPLOADS.ask(&gateway.a, "").await.outcome(), (502, "BadGateway".into()));
}

/// A group of which only denied keys lie behind the marker must not show. Real stores hide what a store may say here: RGW leaves out the
/// group of a marker, SeaweedFS shows every folder.
#[tokio::test]
async fn d16_whether_a_group_is_visible_is_asked_behind_the_clients_own_marker() {
    let group = "<ListBucketResult><CommonPrefixes><Prefix>a/mix/</Prefix></CommonPrefixes></ListBucketResult>";
    let recorder = Recorder::start(Answer::status(200, "", group)).await;
    let deny = "\n  - { name: not, effect: deny, who: { tokens: [a] }, where: bkt/a/mix/hidden/, what: \"s3:*\" }";
    let gateway = Setup::before(&recorder).rules(&rules("bkt/a/", deny)).start().await;
    let answer = V2.ask(&gateway.a, "&prefix=a/&delimiter=/&start-after=a/mix/5").await;
    let asked = recorder.requests()[1].request_line();
    assert!(asked.contains("prefix=a%2Fmix%2F&start-after=a%2Fmix%2F5") && !asked.contains("delimiter"), "{asked}");
    // Such a store has no end of groups in groups.
    assert_eq!((answer.outcome(), recorder.requests().len()), ((502, "BadGateway".into()), 2));
}
