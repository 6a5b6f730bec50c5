//! The body of CompleteMultipartUpload: which parts make up the object, in which order.
//!
//! Read strictly and written anew for the store, so that the gateway and the store cannot read it differently.

use crate::s3::xml::{Element, XmlError, XmlWriter};

/// Largest body read. 10,000 parts with a checksum each take about 2.5 MB.
pub const MAX_DOCUMENT_BYTES: u64 = 4 * 1024 * 1024;

/// Most parts of an upload, as S3 has it.
pub const MAX_PARTS: u32 = 10_000;

/// One part of the object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletedPart {
    /// From 1 to 10,000.
    pub number: u32,
    /// ETag without quotes.
    pub etag: String,
    /// Checksum elements, such as `ChecksumCRC32`, with their values.
    pub checksums: Vec<(&'static str, String)>,
}

/// Why the body was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompleteError {
    /// Not XML, or not strictly so.
    #[error(transparent)]
    Xml(#[from] XmlError),
    /// Not UTF-8.
    #[error("the document is not UTF-8")]
    NotText,
    /// An element that does not belong where it stands, stands twice, or is missing.
    #[error("the element `{0}` is missing, doubled or misplaced")]
    Element(String),
    /// A part number outside 1 to 10,000.
    #[error("a part number is not a number from 1 to {MAX_PARTS}")]
    Number,
    /// No part, or more than S3 takes.
    #[error("an upload has 1 to {MAX_PARTS} parts")]
    Count,
    /// Part numbers do not ascend.
    #[error("the parts are not in ascending order")]
    Order,
}

const CHECKSUMS: [&str; 5] = ["ChecksumCRC32", "ChecksumCRC32C", "ChecksumCRC64NVME", "ChecksumSHA1", "ChecksumSHA256"];

/// Reads a part number as it stands in queries and documents: decimal, no sign, no leading zero.
pub fn parse_part_number(text: &str) -> Option<u32> {
    let plain =
        (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|number| plain && (1..=MAX_PARTS).contains(number))
}

/// Reads the list of parts.
///
/// # Errors
/// [`CompleteError`] for the first thing with two readings, or none.
pub fn parse(document: &[u8]) -> Result<Vec<CompletedPart>, CompleteError> {
    let text = std::str::from_utf8(document).map_err(|_| CompleteError::NotText)?;
    let root = Element::parse(text)?;
    let misplaced = |name: &str| CompleteError::Element(name.chars().take(64).collect());
    if root.name != "CompleteMultipartUpload" {
        return Err(misplaced(&root.name));
    }
    if let Some(other) = root.children.iter().find(|child| child.name != "Part") {
        return Err(misplaced(&other.name));
    }
    let parts = root.children.iter().map(parse_part).collect::<Result<Vec<_>, _>>()?;
    if parts.is_empty() || parts.len() > MAX_PARTS as usize {
        return Err(CompleteError::Count);
    }
    if parts.windows(2).any(|pair| pair[0].number >= pair[1].number) {
        return Err(CompleteError::Order);
    }
    Ok(parts)
}

fn parse_part(element: &Element) -> Result<CompletedPart, CompleteError> {
    let (mut number, mut etag, mut checksums) = (None, None, Vec::new());
    for child in &element.children {
        let misplaced = || CompleteError::Element(child.name.chars().take(64).collect());
        if !child.children.is_empty() {
            return Err(misplaced());
        }
        let text = child.text.trim();
        // Numbers, digests and tags are visible ASCII. A control character could not even be written again: XML has none (found by fuzzing).
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(misplaced());
        }
        let doubled = match child.name.as_str() {
            "PartNumber" => number.replace(parse_part_number(text).ok_or(CompleteError::Number)?).is_some(),
            "ETag" => etag.replace(text.trim_matches('"').to_owned()).is_some(),
            name => {
                let known = CHECKSUMS.into_iter().find(|known| *known == name).ok_or_else(misplaced)?;
                let doubled = checksums.iter().any(|(name, _)| *name == known);
                checksums.push((known, text.to_owned()));
                doubled
            }
        };
        if doubled {
            return Err(misplaced());
        }
    }
    let missing = |name: &str| CompleteError::Element(name.to_owned());
    Ok(CompletedPart {
        number: number.ok_or_else(|| missing("PartNumber"))?,
        etag: etag.filter(|etag| !etag.is_empty()).ok_or_else(|| missing("ETag"))?,
        checksums,
    })
}

/// Writes the list of parts for the store.
pub fn render(parts: &[CompletedPart]) -> String {
    let mut xml = XmlWriter::new("CompleteMultipartUpload", true);
    for part in parts {
        xml.open("Part").text("PartNumber", &part.number.to_string()).text("ETag", &format!("\"{}\"", part.etag));
        for (name, value) in &part.checksums {
            xml.text(name, value);
        }
        xml.close();
    }
    xml.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(parts: &str) -> Vec<u8> {
        format!("<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{parts}</CompleteMultipartUpload>").into_bytes()
    }

    #[test]
    fn the_parts_are_read_and_written_anew() {
        let parts = parse(&document("<Part><ETag>\"e1\"</ETag><PartNumber>1</PartNumber></Part>\n<Part><PartNumber>7</PartNumber><ETag>e7</ETag><ChecksumCRC32>AAAAAA==</ChecksumCRC32></Part>")).unwrap();
        assert_eq!(
            parts.iter().map(|part| (part.number, part.etag.as_str())).collect::<Vec<_>>(),
            [(1, "e1"), (7, "e7")]
        );
        assert_eq!(parse(render(&parts).as_bytes()).unwrap(), parts);
    }

    #[test]
    fn d13_documents_with_two_readings_are_refused() {
        let part = |number: &str| format!("<Part><PartNumber>{number}</PartNumber><ETag>e</ETag></Part>");
        assert_eq!(parse(&document("")), Err(CompleteError::Count));
        assert_eq!(parse(&document(&(part("2") + &part("1")))), Err(CompleteError::Order));
        assert_eq!(parse(&document(&(part("2") + &part("2")))), Err(CompleteError::Order));
        for number in ["0", "10001", "-1", "01", "1.0", "", "x", "99999999999"] {
            assert_eq!(parse(&document(&part(number))), Err(CompleteError::Number), "{number}");
        }
        for parts in [
            "<Part><PartNumber>1</PartNumber></Part>",
            "<Part><ETag>e</ETag></Part>",
            "<Other/>",
            "<Part><PartNumber>1</PartNumber><ETag>e</ETag><ETag>f</ETag></Part>",
            "<Part><PartNumber>1</PartNumber><PartNumber>2</PartNumber><ETag>e</ETag></Part>",
            "<Part><PartNumber><b>1</b></PartNumber><ETag>e</ETag></Part>",
            "<Part><PartNumber>1</PartNumber><x:ETag>e</x:ETag></Part>",
            "<Part><PartNumber>1</PartNumber><ETag></ETag></Part>",
        ] {
            assert!(matches!(parse(&document(parts)), Err(CompleteError::Element(_))), "{parts}");
        }
        for text in ["a\u{6}b", "a b", "a\u{fffe}", "\u{e9}", "a&#1;"] {
            let part = format!("<Part><PartNumber>1</PartNumber><ETag>{text}</ETag></Part>");
            assert!(parse(&document(&part)).is_err(), "{text:?}");
        }
        assert!(parse(b"<Delete/>").is_err() && parse(b"\xff").is_err() && parse(b"<!DOCTYPE a><a/>").is_err());
    }
}
