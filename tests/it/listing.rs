//! Listings show what the caller may see, in public terms, page by page.

use super::support::{Gateway, Store, StoreKind};

async fn list(gateway: &Gateway, query: &str) -> super::support::Response {
    gateway.a.get(&format!("/bkt?list-type=2{query}")).await
}

/// Every key and group of a listing, following continuation tokens.
async fn all_pages(gateway: &Gateway, query: &str) -> (Vec<String>, Vec<String>, usize) {
    let (mut keys, mut groups, mut pages, mut token) = (Vec::new(), Vec::new(), 0, String::new());
    loop {
        let page = list(gateway, &format!("{query}{token}")).await;
        assert_eq!(page.status, 200, "{}", page.text());
        pages += 1;
        keys.extend(page.elements("Key"));
        let text = page.text();
        let group = |part: &str| {
            part.split("<Prefix>").nth(1).and_then(|rest| rest.split("</Prefix>").next()).map(str::to_owned)
        };
        groups.extend(text.split("<CommonPrefixes>").skip(1).filter_map(group));
        assert_eq!(
            page.element("KeyCount"),
            (page.elements("Key").len() + text.matches("<CommonPrefixes>").count()).to_string()
        );
        if page.element("IsTruncated") != "true" {
            return (keys, groups, pages);
        }
        token = format!("&continuation-token={}", page.element("NextContinuationToken"));
    }
}

#[tokio::test]
async fn d16_only_permitted_keys_are_ever_listed() {
    for kind in StoreKind::ALL {
        let Some(store) = Store::get(kind).await else { continue };
        for key in ["a/1", "a/2", "a/sub/3", "ab/4", "b/secret", "c"] {
            store.put(key, b"x").await;
        }
        let gateway = store.setup().start().await;
        for query in ["", "&prefix=", "&prefix=a", "&prefix=a/", "&start-after=0", "&encoding-type=url"] {
            assert_eq!(all_pages(&gateway, query).await.0, ["a/1", "a/2", "a/sub/3"], "{kind:?} {query}");
        }
        assert_eq!(all_pages(&gateway, "&start-after=a/1").await.0, ["a/2", "a/sub/3"], "{kind:?}");
        assert_eq!(all_pages(&gateway, "&start-after=b/").await.0, [""; 0], "{kind:?}");
        for query in ["&prefix=b/", "&prefix=ab", "&prefix=c"] {
            assert_eq!(list(&gateway, query).await.outcome(), (403, "AccessDenied".into()), "{kind:?} {query}");
        }
        for query in [
            "&prefix=a/&prefix=b/",
            "&prefix=a%2F..%2Fb",
            "&delimiter=%00",
            "&max-keys=-1",
            "&max-keys=x",
            "&encoding-type=x",
            "&PREFIX=b/",
        ] {
            assert_eq!(list(&gateway, query).await.status, 400, "{kind:?} {query}");
        }
    }
}

#[tokio::test]
async fn a_delimiter_groups_as_it_does_at_the_store() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        for key in ["a/1", "a/x/2", "a/x/3", "a/y/4", "b/5"] {
            store.put(key, b"x").await;
        }
        let gateway = store.setup().start().await;
        let (keys, groups, _) = all_pages(&gateway, "&prefix=a/&delimiter=/").await;
        assert_eq!((keys, groups), (vec!["a/1".to_owned()], vec!["a/x/".to_owned(), "a/y/".to_owned()]), "{kind:?}");
        let (keys, groups, _) = all_pages(&gateway, "&delimiter=/").await;
        assert_eq!((keys, groups), (vec![], vec!["a/".to_owned()]), "{kind:?}");
        let narrow = store
            .setup()
            .rules("\n  - { name: deep, who: { tokens: [a] }, where: [bkt/a/x/, bkt/b/], what: read }")
            .start()
            .await;
        assert_eq!(all_pages(&narrow, "&delimiter=/").await.1, ["a/", "b/"], "{kind:?}");
        assert_eq!(all_pages(&narrow, "&prefix=a/&delimiter=/").await.1, ["a/x/"], "{kind:?}");
        assert_eq!(all_pages(&narrow, "").await.0, ["a/x/2", "a/x/3", "b/5"], "{kind:?}");
    }
}

#[tokio::test]
async fn pages_follow_each_other_across_permitted_prefixes() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let mut expected = Vec::new();
        for prefix in ["a/", "m/", "z/"] {
            for n in 0..7 {
                expected.push(format!("{prefix}{n}"));
                store.put(&format!("{prefix}{n}"), b"x").await;
            }
        }
        store.put("hidden/1", b"x").await;
        store.put("m/secret/1", b"x").await;
        let rules = "
  - { name: three, who: { tokens: [a] }, where: [bkt/z/, bkt/a/, bkt/m/], what: read }
  - { name: not-this, effect: deny, who: { tokens: [a] }, where: bkt/m/secret/, what: read }";
        let gateway = store.setup().rules(rules).start().await;
        for size in [1, 2, 3, 5, 7, 10, 100] {
            let (keys, _, pages) = all_pages(&gateway, &format!("&max-keys={size}")).await;
            assert_eq!(keys, expected, "{kind:?} {size}");
            assert!(pages >= 21 / size, "{kind:?} {size}: {pages} pages");
        }
        assert_eq!(list(&gateway, "&max-keys=0").await.element("KeyCount"), "0", "{kind:?}");
    }
}

#[tokio::test]
async fn a_continuation_token_is_good_for_its_caller_and_listing_only() {
    let Some(store) = Store::get(StoreKind::S3sFs).await else { return };
    for key in ["a/1", "a/2", "b/1", "b/2"] {
        store.put(key, b"x").await;
    }
    let rules = "\n  - { name: all, who: anyone, where: bkt, what: read }";
    let gateway = store.setup().rules(rules).start().await;
    let token = list(&gateway, "&max-keys=1&prefix=a/").await.element("NextContinuationToken");
    assert!(!token.is_empty() && !token.contains("a/"));
    assert_eq!(list(&gateway, &format!("&prefix=a/&continuation-token={token}")).await.elements("Key"), ["a/2"]);
    assert_eq!(
        list(&gateway, &format!("&prefix=b/&continuation-token={token}")).await.outcome(),
        (400, "InvalidArgument".into())
    );
    let others = gateway.b.get(&format!("/bkt?list-type=2&prefix=a/&continuation-token={token}")).await;
    assert_eq!(others.outcome(), (400, "InvalidArgument".into()));
    assert_eq!(list(&gateway, "&prefix=a/&continuation-token=a/1").await.outcome(), (400, "InvalidArgument".into()));
}

#[tokio::test]
async fn odd_keys_are_listed_readably() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let mut keys = vec!["a/+ %", "a/<&>\"'", "a/ü日本", "a/plain"];
        keys.sort_unstable();
        for key in &keys {
            store.put(key, b"x").await;
        }
        let gateway = store.setup().start().await;
        let encoded: Vec<_> = keys.iter().map(|key| countersign::base::encoding::encode_path(key)).collect();
        assert_eq!(all_pages(&gateway, "&encoding-type=url").await.0, encoded, "{kind:?}");
        let escaped = list(&gateway, "").await.text();
        assert!(
            escaped.contains("<Key>a/&lt;&amp;&gt;&quot;&apos;</Key>") && escaped.contains("<Key>a/+ %</Key>"),
            "{kind:?} {escaped}"
        );
    }
}

#[tokio::test]
async fn d16_nothing_in_an_answer_depends_on_denied_keys() {
    let rules = "
  - { name: own, who: { tokens: [a] }, where: bkt/a/, what: read }
  - { name: not-this, effect: deny, who: { tokens: [a] }, where: [bkt/a/secret/, bkt/a/only/hidden/], what: \"s3:*\" }";
    for kind in StoreKind::REAL {
        let Some(with) = Store::get(kind).await else { continue };
        let Some(without) = Store::get(kind).await else { continue };
        for key in ["a/a1", "a/onlz/x", "a/sec", "a/secret-ish", "a/z1", "a/z2"] {
            with.put(key, b"x").await;
            without.put(key, b"x").await;
        }
        for key in ["a/secret/alpha", "a/secret/beta", "a/secret/gamma-payroll.xls", "a/only/hidden/x"] {
            with.put(key, b"x").await;
        }
        let (with, without) = (with.setup().rules(rules).start().await, without.setup().rules(rules).start().await);
        let starts = [
            "",
            "a/a1",
            "a/only/",
            "a/sec",
            "a/secret/",
            "a/secret/alpha",
            "a/secret/beta0",
            "a/secret/gamma-payroll.xls",
            "a/secret0",
            "a/z1",
        ];
        for start in starts {
            for size in [1, 2, 3, 100] {
                for delimiter in ["", "&delimiter=/", "&delimiter=cr", "&delimiter=-"] {
                    let query = format!("&prefix=a/&max-keys={size}{delimiter}&start-after={start}");
                    let (one, other) = (list(&with, &query).await, list(&without, &query).await);
                    let seen = |answer: &super::support::Response| {
                        (
                            answer.elements("Key"),
                            answer.elements("Prefix"),
                            answer.element("IsTruncated"),
                            answer.element("KeyCount"),
                        )
                    };
                    assert_eq!(seen(&one), seen(&other), "{kind:?} {query}");
                    if start.is_empty() {
                        assert_eq!(
                            all_pages(&with, &query).await,
                            all_pages(&without, &query).await,
                            "{kind:?} {query}"
                        );
                    }
                }
            }
        }
    }
}
