use super::*;
use crate::base::RouteId;
use crate::s3::OddKeys;

fn bucket(odd_keys: OddKeys) -> Bucket {
    Bucket {
        name: "bkt".into(),
        route: RouteId(0),
        upstream_bucket: "up".into(),
        upstream_prefix: "gw/".into(),
        odd_keys,
        passed_through: false,
    }
}

fn read(body: &[u8]) -> Result<DeleteRequest, DeleteError> {
    parse(body, &bucket(OddKeys::Refuse))
}

fn delete(inside: &str) -> Result<DeleteRequest, DeleteError> {
    read(format!("<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{inside}</Delete>").as_bytes())
}

/// The one key of an accepted document.
fn key(inside: &str) -> Result<String, DeleteError> {
    let request = delete(&format!("<Object><Key>{inside}</Key></Object>"))?;
    assert_eq!(request.objects.len(), 1);
    Ok(request.objects[0].key.as_str().to_owned())
}

#[test]
fn keys_versions_conditions_and_quiet_are_read_and_written_anew() {
    let request = delete(
        "\n<Object>\n<Key>a/1</Key></Object> <Quiet>true</Quiet>\
         <Object><VersionId>v1</VersionId><Key>a/&amp;2</Key><ETag>\"e\"</ETag><Size>5</Size></Object>",
    )
    .unwrap();
    assert!(request.quiet);
    assert_eq!(request.objects[1].version_id.as_deref(), Some("v1"));
    assert_eq!(request.objects[1].conditions, [("ETag", "\"e\"".to_owned()), ("Size", "5".to_owned())]);
    let written = render(request.objects.iter(), "gw/");
    assert!(
        written.contains("<Key>gw/a/1</Key>") && written.contains("<Key>gw/a/&amp;2</Key><VersionId>v1</VersionId>")
    );
    let again = parse(written.as_bytes(), &Bucket { upstream_prefix: String::new(), ..bucket(OddKeys::Refuse) });
    assert_eq!(again.unwrap().objects.len(), 2);
}

#[test]
fn d13_a_key_is_decoded_once_and_keeps_its_blanks() {
    for (written, read) in [
        (" a/x ", " a/x "),
        ("a&#47;b", "a/b"),
        ("&#98;/secret", "b/secret"),
        ("a&amp;#47;b", "a&#47;b"),
        ("<![CDATA[b/secret]]>", "b/secret"),
        ("a/<!-- comment -->b", "a/b"),
        ("a<![CDATA[/<x>]]>b", "a/<x>b"),
        ("\u{fc}/\u{65e5}\u{672c}", "\u{fc}/\u{65e5}\u{672c}"),
        ("\u{feff}a", "\u{feff}a"),
    ] {
        assert_eq!(key(written), Ok(read.to_owned()), "{written}");
    }
}

#[test]
fn d13_keys_that_stores_read_differently_are_refused() {
    for written in ["a&#47;..", "a<![CDATA[/../]]>b", "a//b", "/a", "a\\b", "a\nb", "a&#13;", "\ta", "a\u{fffe}", ""] {
        assert!(
            matches!(key(written), Err(DeleteError::Key(_) | DeleteError::Document(DocumentError::Text("Key")))),
            "{written:?}: {:?}",
            key(written)
        );
    }
    assert!(matches!(key("&#x0;"), Err(DeleteError::Document(DocumentError::Xml(_)))));
    assert!(matches!(key(&"k".repeat(1022)), Err(DeleteError::Key(KeyError::TooLong { .. }))));
    assert!(matches!(key(&"k".repeat(10_000)), Err(DeleteError::Document(DocumentError::Text("Key")))));
}

#[test]
fn d13_documents_with_two_readings_are_refused() {
    for inside in [
        "<Object><Key>a</Key><Key>b</Key></Object>",
        "<Object><Key><Key>a</Key></Key></Object>",
        "<Object><Key>a<Key>b</Key></Key></Object>",
        "<Object><x:Key>a</x:Key></Object>",
        "<Object><Key>a</Key><x:Key>b</x:Key></Object>",
        "<Object></Object>",
        "<Object><key>a</key></Object>",
        "<Object Key=\"b\"><Key>a</Key></Object>",
        "<Object><Key name=\"b\">a</Key></Object>",
        "<Object>b<Key>a</Key></Object>",
        "<Object><Key>a</Key><VersionId/></Object>",
        "<Object><Key>a</Key><VersionId> </VersionId></Object>",
        "<Object><Key>a</Key><VersionId>1</VersionId><VersionId>2</VersionId></Object>",
        "<Object><Key>a</Key><ETag>1</ETag><ETag>2</ETag></Object>",
        "<Object><Key>a</Key><Prefix>b</Prefix></Object>",
        "<Object><Key>a</Key></Object><Quiet>true</Quiet><Quiet>false</Quiet>",
        "<Object><Key>a</Key></Object><Quiet>yes</Quiet>",
        "<Object><Key>a</Key></Object><Prefix>b</Prefix>",
        "<Object><Key>a</Key></Object>b",
        "<Objects><Object><Key>a</Key></Object></Objects>",
    ] {
        assert!(matches!(delete(inside), Err(DeleteError::Document(_))), "{inside}: {:?}", delete(inside));
    }
    for body in [
        &b"<delete><Object><Key>a</Key></Object></delete>"[..],
        b"<x:Delete xmlns:x=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Object><Key>a</Key></Object></x:Delete>",
        b"<Delete><Object><Key>a</Key></Object></Delete><Delete><Object><Key>b</Key></Object></Delete>",
        b"<Delete><Object><Key>\xff</Key></Object></Delete>",
        b"\xfe\xff\x00<\x00D\x00e\x00l\x00e\x00t\x00e\x00/\x00>",
        b"\xff\xfe<\x00D\x00e\x00l\x00e\x00t\x00e\x00/\x00>\x00",
        b"<?xml version=\"1.0\" encoding=\"UTF-7\"?><Delete><Object><Key>a</Key></Object></Delete>",
        b"<?xml version=\"1.0\" encoding=\"UTF-16\"?><Delete><Object><Key>a</Key></Object></Delete>",
        b"",
    ] {
        assert!(read(body).is_err(), "{}", String::from_utf8_lossy(body));
    }
}

#[test]
fn d14_a_request_has_1_to_1000_objects() {
    let objects = |count: usize| (0..count).map(|n| format!("<Object><Key>k{n}</Key></Object>")).collect::<String>();
    assert_eq!(delete(&objects(1000)).unwrap().objects.len(), 1000);
    assert_eq!(delete(&objects(1001)), Err(DeleteError::Count));
    assert_eq!(delete(""), Err(DeleteError::Count));
}

#[test]
fn the_same_object_counts_once_and_different_conditions_do_not_mix() {
    let object = |more: &str| format!("<Object><Key>a</Key>{more}</Object>");
    let version = object("<VersionId>1</VersionId>");
    assert_eq!(delete(&(object("") + &version + &object("") + &version)).unwrap().objects.len(), 2);
    assert_eq!(delete(&(object("") + &object("<Size>5</Size>"))), Err(DeleteError::Doubled));
}

#[test]
fn k27_bombs_are_refused() {
    for body in [
        "<!DOCTYPE a [<!ENTITY x \"y\">]><Delete><Object><Key>&x;</Key></Object></Delete>".to_owned(),
        "<!DOCTYPE a SYSTEM \"file:///etc/passwd\"><Delete/>".to_owned(),
        "<Delete>".repeat(100_000),
        format!("<Delete {}/>", "a='b' ".repeat(100_000)),
        format!("<Delete>{}</Delete>", "<Object/>".repeat(200_000)),
        format!("<Delete><Object>{}</Object></Delete>", "<Key/>".repeat(200_000)),
    ] {
        assert!(matches!(read(body.as_bytes()), Err(DeleteError::Document(_))), "{body:.40}");
    }
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// What the rules decide about is what the store reads: no key changes between reading and writing.
        #[test]
        fn d13_whatever_is_read_is_what_is_written(
            keys in prop::collection::vec("[ -~\u{a0}-\u{2ff}\u{feff}-\u{10ffff}]{1,40}", 1..8),
            version in prop::option::of("[!-~]{1,20}"),
        ) {
            let mut xml = XmlWriter::new("Delete", true);
            for key in &keys {
                xml.open("Object").text("Key", key);
                if let Some(version) = &version {
                    xml.text("VersionId", version);
                }
                xml.close();
            }
            let Ok(request) = parse(xml.finish().as_bytes(), &bucket(OddKeys::Pass)) else { return Ok(()) };
            prop_assert!(request.objects.iter().all(|object| keys.iter().any(|key| key == object.key.as_str())));
            let store = Bucket { upstream_prefix: String::new(), ..bucket(OddKeys::Pass) };
            let written = parse(render(request.objects.iter(), "gw/").as_bytes(), &store).unwrap();
            let read = |request: &DeleteRequest, prefix: &str| {
                let object = |o: &ObjectVersion| (format!("{prefix}{}", o.key.as_str()), o.version_id.clone());
                request.objects.iter().map(object).collect::<Vec<_>>()
            };
            prop_assert_eq!(read(&written, ""), read(&request, "gw/"));
        }

        /// No bytes make the reader panic.
        #[test]
        fn k27_any_bytes_are_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..200), text in "[<>/&;a-zA-Z \"='!\\[\\]-]{0,120}") {
            let _any = read(&body);
            let _likely = delete(&text);
        }
    }
}
