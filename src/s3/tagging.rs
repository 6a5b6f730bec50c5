//! The tags of an object, as PutObjectTagging carries them and GetObjectTagging answers them.
//!
//! Source: S3 user guide, "Categorizing your objects using tags", for the limits.

use crate::s3::document::{self, DocumentError};
use crate::s3::xml::{Element, XmlWriter};

/// Largest body read. Ten tags of 128 and 256 characters, every byte escaped, take less.
pub const MAX_DOCUMENT_BYTES: u64 = 64 * 1024;

const MAX_TAGS: usize = 10;
const MAX_KEY_CHARACTERS: usize = 128;
const MAX_VALUE_CHARACTERS: usize = 256;

/// One tag: its key and its value.
pub type Tag = (String, String);

/// Why the body was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TaggingError {
    /// Not a document of this form.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// More tags than an object can have.
    #[error("an object has at most {MAX_TAGS} tags")]
    Count,
    /// A key or value that is too long, or a key that is empty or reserved.
    #[error(
        "a tag key has 1 to {MAX_KEY_CHARACTERS} characters and does not begin with aws:, a value has at most {MAX_VALUE_CHARACTERS}"
    )]
    Length,
    /// The same key twice.
    #[error("a tag key stands twice")]
    Doubled,
}

/// Reads the body of a PutObjectTagging.
///
/// # Errors
/// [`TaggingError`] for the first thing with two readings, or over a limit.
pub fn parse(body: &[u8]) -> Result<Vec<Tag>, TaggingError> {
    let tags = read(&document::root(body, "Tagging")?)?;
    if tags.len() > MAX_TAGS {
        return Err(TaggingError::Count);
    }
    for (index, (key, value)) in tags.iter().enumerate() {
        let key_fits = (1..=MAX_KEY_CHARACTERS).contains(&key.chars().count());
        if !key_fits || value.chars().count() > MAX_VALUE_CHARACTERS || is_reserved(key) {
            return Err(TaggingError::Length);
        }
        if tags[..index].iter().any(|(earlier, _)| earlier == key) {
            return Err(TaggingError::Doubled);
        }
    }
    Ok(tags)
}

/// The tags in a `Tagging` element, also of a store's answer, which may have more of them than S3 allows.
///
/// # Errors
/// [`DocumentError`] if it is not of this form.
pub fn read(root: &Element) -> Result<Vec<Tag>, DocumentError> {
    let [set] = document::children(root)? else { return Err(DocumentError::element("TagSet")) };
    if set.name != "TagSet" {
        return Err(DocumentError::element(&set.name));
    }
    document::children(set)?.iter().map(read_tag).collect()
}

fn read_tag(element: &Element) -> Result<Tag, DocumentError> {
    if element.name != "Tag" {
        return Err(DocumentError::element(&element.name));
    }
    let (mut key, mut value) = (None, None);
    for child in document::children(element)? {
        let (slot, name, characters) = match child.name.as_str() {
            "Key" => (&mut key, "Key", MAX_KEY_CHARACTERS),
            "Value" => (&mut value, "Value", MAX_VALUE_CHARACTERS),
            other => return Err(DocumentError::element(other)),
        };
        // A character has at most four bytes.
        document::once(slot, document::text(child, name, 4 * characters)?.to_owned(), name)?;
    }
    let missing = |name| DocumentError::element(name);
    Ok((key.ok_or_else(|| missing("Key"))?, value.ok_or_else(|| missing("Value"))?))
}

/// Tags of AWS itself, which nobody else may set.
fn is_reserved(key: &str) -> bool {
    key.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws:"))
}

/// Writes tags, for the store or for the client.
pub fn render(tags: &[Tag]) -> String {
    let mut xml = XmlWriter::new("Tagging", true);
    xml.open("TagSet");
    for (key, value) in tags {
        xml.open("Tag").text("Key", key).text("Value", value).close();
    }
    xml.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tagging(inside: &str) -> Result<Vec<Tag>, TaggingError> {
        parse(format!("<Tagging><TagSet>{inside}</TagSet></Tagging>").as_bytes())
    }

    fn tag(key: &str, value: &str) -> String {
        format!("<Tag><Key>{key}</Key><Value>{value}</Value></Tag>")
    }

    #[test]
    fn tags_are_read_and_written_anew() {
        let tags = tagging(&(tag(" team ", "red &amp; blue") + &tag("empty", "") + &tag("e\u{301}", "日本"))).unwrap();
        assert_eq!(tags[0], (" team ".to_owned(), "red & blue".to_owned()));
        assert_eq!(parse(render(&tags).as_bytes()).unwrap(), tags);
        assert_eq!(tagging("").unwrap(), []);
    }

    #[test]
    fn d24_limits_of_tags_are_kept() {
        let many = |count: usize| (0..count).map(|n| tag(&format!("k{n}"), "v")).collect::<String>();
        assert_eq!(tagging(&many(10)).unwrap().len(), 10);
        assert_eq!(tagging(&many(11)), Err(TaggingError::Count));
        assert!(tagging(&tag(&"ü".repeat(128), &"日".repeat(256))).is_ok());
        for (key, value) in [("k".repeat(129), "v".into()), ("k".into(), "v".repeat(257)), (String::new(), "v".into())]
        {
            assert_eq!(tagging(&tag(&key, &value)), Err(TaggingError::Length), "{key} {value}");
        }
        assert_eq!(tagging(&tag("AWS:x", "v")), Err(TaggingError::Length));
        assert_eq!(tagging(&(tag("k", "1") + &tag("k", "2"))), Err(TaggingError::Doubled));
    }

    #[test]
    fn k27_documents_with_two_readings_are_refused() {
        for inside in [
            "<Tag><Key>a</Key></Tag>",
            "<Tag><Value>a</Value></Tag>",
            "<Tag><Key>a</Key><Key>b</Key><Value>c</Value></Tag>",
            "<Tag><Key>a</Key><Value>b</Value><Value>c</Value></Tag>",
            "<Tag Key=\"b\"><Key>a</Key><Value>b</Value></Tag>",
            "<Tag>x<Key>a</Key><Value>b</Value></Tag>",
            "<Tag><Key><b/>a</Key><Value>b</Value></Tag>",
            "<Tag><Key>a&#10;</Key><Value>b</Value></Tag>",
            "<Other/>",
            "x",
        ] {
            assert!(matches!(tagging(inside), Err(TaggingError::Document(_))), "{inside}");
        }
        for body in [
            "<Tagging/>",
            "<Tagging><TagSet/><TagSet/></Tagging>",
            "<Tagging><Tag><Key>a</Key><Value>b</Value></Tag></Tagging>",
            "<TagSet/>",
            "<!DOCTYPE a><Tagging><TagSet/></Tagging>",
            "",
        ] {
            assert!(parse(body.as_bytes()).is_err(), "{body}");
        }
    }
}
