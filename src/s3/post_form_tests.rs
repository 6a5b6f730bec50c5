use proptest::prelude::*;

use super::*;

fn delimiter(content_type: &str) -> Option<Result<Delimiter, FormError>> {
    Delimiter::of(&HeaderValue::from_str(content_type).unwrap())
}

fn reader() -> FormPreamble {
    FormPreamble::new(delimiter("multipart/form-data; boundary=XX").unwrap().unwrap())
}

/// The fields, and what is left for the file.
fn read(form: &[u8]) -> Result<(FormFields, Vec<u8>), FormError> {
    let mut reader = reader();
    let used = reader.push(form)?.ok_or(FormError::NoFile)?;
    assert_eq!(reader.taken(), used);
    Ok((reader.finish()?, form[used..].to_vec()))
}

fn field(name: &str, value: &str) -> String {
    format!("--XX\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
}

fn file(disposition: &str) -> String {
    format!("--XX\r\nContent-Disposition: form-data; name=\"file\"{disposition}\r\nContent-Type: image/png\r\n\r\n")
}

#[test]
fn the_fields_before_the_file_are_read_and_the_file_is_left() {
    let form =
        field("Key", "a/é") + &field("policy", "") + &field("x-amz-meta-a", "1\r\n--X") + &file("; filename=\"p.png\"");
    let (fields, rest) = read((form + "data\r\n--XX--\r\n").as_bytes()).unwrap();
    assert_eq!(
        (fields.get("key"), fields.get("policy"), fields.get("x-amz-meta-a")),
        (Some("a/é"), Some(""), Some("1\r\n--X"))
    );
    assert_eq!((fields.all().len(), fields.filename(), rest.as_slice()), (3, "p.png", &b"data\r\n--XX--\r\n"[..]));
    assert_eq!(format!("{fields:?}"), "[\"key\", \"policy\", \"x-amz-meta-a\"]");
}

proptest! {
    #[test]
    fn the_split_of_the_stream_does_not_matter(cuts in proptest::collection::vec(1..40_usize, 0..200)) {
        let form = field("key", "a\r\n-\r\n--X") + &field("b", "\r") + &file("; filename=\"p\"") + "data";
        let expected = read(form.as_bytes()).unwrap();
        let (mut reader, mut rest, mut cuts) = (reader(), form.as_bytes(), cuts.into_iter());
        loop {
            let (piece, behind) = rest.split_at(cuts.next().unwrap_or(1).min(rest.len()));
            match reader.push(piece).unwrap() {
                Some(used) => {
                    let left = [&piece[used..], behind].concat();
                    prop_assert_eq!((reader.finish().unwrap(), left), expected);
                    break;
                }
                None => rest = behind,
            }
        }
    }
}

#[test]
fn f10_a_boundary_has_1_to_70_plain_characters() {
    for (content_type, boundary) in [
        ("multipart/form-data; boundary=XX", "XX"),
        ("Multipart/Form-Data;boundary=\"a b\"", ""),
        ("multipart/form-data; boundary=\"a:b\"", "a:b"),
        ("multipart/form-data; charset=utf-8; BOUNDARY=x", "x"),
    ] {
        let expected = if boundary.is_empty() {
            Err(FormError::Boundary)
        } else {
            Ok(Delimiter(format!("\r\n--{boundary}").into_bytes()))
        };
        assert_eq!(delimiter(content_type), Some(expected), "{content_type}");
    }
    let long = |length: usize| delimiter(&format!("multipart/form-data; boundary={}", "b".repeat(length))).unwrap();
    assert!(long(70).is_ok());
    assert_eq!(long(71), Err(FormError::Boundary));
    for parameters in [
        "",
        "; boundary=",
        "; boundary=\"\"",
        "; boundary=a; boundary=b",
        "; boundary=\"a",
        "; boundary",
        "; boundary=a*",
    ] {
        assert_eq!(
            delimiter(&format!("multipart/form-data{parameters}")),
            Some(Err(FormError::Boundary)),
            "{parameters}"
        );
    }
    for other in
        ["multipart/mixed; boundary=x", "application/x-www-form-urlencoded", "multipart/form-datax; boundary=x"]
    {
        assert_eq!(delimiter(other), None, "{other}");
    }
}

#[test]
fn f10_what_is_too_much_is_refused_while_it_comes() {
    let fields = |count: usize| (0..count).map(|n| field(&format!("f{n}"), "")).collect::<String>();
    assert!(read((fields(100) + &file("")).as_bytes()).is_ok());
    assert_eq!(read((fields(101) + &file("")).as_bytes()), Err(FormError::TooMany));
    let overhead = field("a", "").len() + file("").len();
    let sized = |bytes: usize| field("a", &"v".repeat(bytes - overhead)) + &file("") + "data";
    assert!(read(sized(MAX_PREAMBLE_BYTES).as_bytes()).is_ok());
    assert_eq!(read(sized(MAX_PREAMBLE_BYTES + 1).as_bytes()), Err(FormError::TooLong));
    let mut endless = reader();
    endless.push(b"--XX\r\nContent-Disposition: form-data; name=a\r\n\r\n").unwrap();
    let refused = (0..1000).find_map(|_| endless.push(&[b'v'; 100]).err());
    assert_eq!(refused, Some(FormError::TooLong));
    let long_head = format!("--XX\r\nContent-Disposition: form-data; name=\"{}\"", "n".repeat(5000));
    assert!(matches!(read(long_head.as_bytes()), Err(FormError::Malformed(_))));
}

#[test]
fn f04_a_field_may_appear_once_and_the_file_must_be_there() {
    for (first, second) in [("key", "key"), ("key", "KEY"), ("Policy", "policy")] {
        let form = field(first, "1") + &field(second, "2") + &file("");
        assert_eq!(read(form.as_bytes()), Err(FormError::Doubled(second.to_ascii_lowercase())));
    }
    assert_eq!(read((field("key", "1") + "--XX--\r\n").as_bytes()), Err(FormError::NoFile));
    assert_eq!(read(b"--XX--\r\n"), Err(FormError::NoFile));
    let (fields, _) = read(file("").as_bytes()).unwrap();
    assert!(fields.all().is_empty() && fields.filename().is_empty());
}

#[test]
fn f10_forms_with_two_readings_are_refused() {
    let part = |head: &str| format!("--XX\r\n{head}\r\n\r\nvalue\r\n{}", file(""));
    for form in [
        "preamble\r\n--XX\r\n".to_owned(),
        "\r\n--XX\r\n".to_owned(),
        "--XY\r\n".to_owned(),
        "--XX \r\n".to_owned(),
        "--XX\nX: y".to_owned(),
        "--XX-x".to_owned(),
        part("Content-Disposition: form-data; name=\"a\"\nX: y"),
        part("Content-Disposition: form-data"),
        part("Content-Disposition: form-data; name=\"\""),
        part("Content-Disposition: form-data; name=\"a\"; name=\"b\""),
        part("Content-Disposition: form-data; name=\"a\\\"; name=\"b\""),
        part("Content-Disposition: form-data; name=\"a\\b\""),
        part("Content-Disposition: form-data; name=\"a\"b"),
        part("Content-Disposition: form-data; name=\"a"),
        part("Content-Disposition: form-data; name*=utf-8''a"),
        part("Content-Disposition: attachment; name=\"a\""),
        part("Content-Disposition: form-data; name=\"a\"; filename=\"f\""),
        part("Content-Disposition: form-data; name=\"a\"\r\nContent-Disposition: form-data; name=\"b\""),
        part("Content-Disposition: form-data;\r\n name=\"a\""),
        part("Content-Disposition: form-data; name=\"a\"\r\nContent-Transfer-Encoding: base64"),
        part("Content-Disposition: form-data; name=\"a\"\r\nX-Amz-Acl: public-read"),
        part("Content-Disposition: form-data; name=\"a\0\""),
        part("Content-Type: text/plain"),
        part("no colon"),
        file("; filename=\"a\"; filename*=utf-8''b"),
        file("; filename=\"a\\\"; name=\"x\""),
    ] {
        assert!(matches!(read(form.as_bytes()), Err(FormError::Malformed(_))), "{form}: {:?}", read(form.as_bytes()));
    }
    assert_eq!(read(b"--XX\r\n\r\n\r\n"), Err(FormError::Malformed("a line of a field's head has no colon")));
    let not_text = [b"--XX\r\nContent-Disposition: form-data; name=a\r\n\r\n\xff\r\n", file("").as_bytes()].concat();
    assert_eq!(read(&not_text), Err(FormError::Malformed("a field is not UTF-8")));
    for head in [
        "content-disposition:form-data;name=a",
        "Content-Disposition: Form-Data; name=\"a\"\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 5",
        "Content-Transfer-Encoding: 8bit\r\nContent-Disposition: form-data; name=a",
    ] {
        assert_eq!(read(part(head).as_bytes()).unwrap().0.get("a"), Some("value"), "{head}");
    }
}

#[test]
fn f03_of_a_file_name_the_last_segment_counts() {
    for (sent, taken) in [
        ("photo.png", "photo.png"),
        ("../b/x", "x"),
        ("C:\\fakepath\\photo.png", "photo.png"),
        ("a\\../b\\c", "c"),
        ("..", ".."),
        ("a/", ""),
        ("a%22b;c.png", "a%22b;c.png"),
        ("naïve 日本.png", "naïve 日本.png"),
    ] {
        let (fields, _) = read(file(&format!("; filename=\"{sent}\"")).as_bytes()).unwrap();
        assert_eq!(fields.filename(), taken, "{sent}");
    }
}
