//! GetObjectAttributes: which properties are asked for, and the answer in words of our own.
//!
//! Source: S3 API reference, GetObjectAttributes.

use http::HeaderMap;

use crate::s3::xml::{Element, XmlWriter};

/// Why a request for attributes was not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AttributesError {
    /// The list of attributes is missing, empty, or has something unknown or doubled.
    #[error("x-amz-object-attributes must name some of ETag, Checksum, ObjectParts, StorageClass and ObjectSize")]
    Names,
    /// A number of parts that is not one.
    #[error("x-amz-max-parts and x-amz-part-number-marker must be numbers")]
    Number,
}

const NAMES: [&str; 5] = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"];
const CHECKSUMS: [&str; 6] =
    ["ChecksumCRC32", "ChecksumCRC32C", "ChecksumCRC64NVME", "ChecksumSHA1", "ChecksumSHA256", "ChecksumType"];
const PAGE: [&str; 6] =
    ["TotalPartsCount", "PartsCount", "PartNumberMarker", "NextPartNumberMarker", "MaxParts", "IsTruncated"];

/// Checks the headers that say what is asked for.
///
/// # Errors
/// [`AttributesError`] for what is not understood.
pub fn check(headers: &HeaderMap) -> Result<(), AttributesError> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("\u{fffd}"));
    let mut seen = Vec::new();
    for name in text("x-amz-object-attributes").unwrap_or_default().split(',').map(str::trim) {
        if !NAMES.contains(&name) || seen.contains(&name) {
            return Err(AttributesError::Names);
        }
        seen.push(name);
    }
    let is_number = |value: &str| (1..=9).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_digit());
    let numbers = [text("x-amz-max-parts"), text("x-amz-part-number-marker")];
    if numbers.into_iter().flatten().all(is_number) { Ok(()) } else { Err(AttributesError::Number) }
}

/// The store's answer, written anew; `None` if it is not one.
pub fn translate(root: &Element) -> Option<String> {
    // The reference says Output, the servers of AWS say Response.
    if root.name != "GetObjectAttributesResponse" && root.name != "GetObjectAttributesOutput" {
        return None;
    }
    let mut xml = XmlWriter::new("GetObjectAttributesResponse", true);
    xml.copy(root, &["ETag"]);
    if let Some(checksum) = root.child("Checksum") {
        xml.open("Checksum").copy(checksum, &CHECKSUMS).close();
    }
    if let Some(parts) = root.child("ObjectParts") {
        xml.open("ObjectParts").copy(parts, &PAGE);
        for part in parts.children_named("Part") {
            xml.open("Part").copy(part, &["PartNumber", "Size"]).copy(part, &CHECKSUMS).close();
        }
        xml.close();
    }
    xml.copy(root, &["StorageClass", "ObjectSize"]);
    Some(xml.finish())
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn check_with(pairs: &[(&'static str, &'static str)]) -> Result<(), AttributesError> {
        check(&pairs.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect())
    }

    #[test]
    fn only_known_attributes_can_be_asked_for() {
        const LIST: &str = "x-amz-object-attributes";
        for names in ["ETag", "ETag,Checksum, ObjectParts,StorageClass,ObjectSize"] {
            assert_eq!(check_with(&[(LIST, names)]), Ok(()), "{names}");
        }
        for names in ["", "etag", "ETag,", "ETag,ETag", "Owner", "ETag;ObjectSize"] {
            assert_eq!(check_with(&[(LIST, names)]), Err(AttributesError::Names), "{names}");
        }
        assert_eq!(check_with(&[]), Err(AttributesError::Names));
        assert_eq!(check_with(&[(LIST, "ETag"), ("x-amz-max-parts", "10")]), Ok(()));
        for number in ["", "-1", "x", "1e3", "99999999999"] {
            assert_eq!(check_with(&[(LIST, "ETag"), ("x-amz-max-parts", number)]), Err(AttributesError::Number));
        }
    }

    #[test]
    fn only_properties_of_the_object_are_in_the_answer() {
        let root = Element::parse(
            "<GetObjectAttributesOutput><Bucket>inside</Bucket><ETag>e&amp;</ETag><Checksum><ChecksumSHA1>s</ChecksumSHA1></Checksum>\
             <ObjectParts><PartsCount>1</PartsCount><Part><Size>5</Size><Location>inside</Location></Part></ObjectParts>\
             <ObjectSize>5</ObjectSize></GetObjectAttributesOutput>",
        )
        .unwrap();
        let answer = translate(&root).unwrap();
        assert!(!answer.contains("inside"), "{answer}");
        for part in ["<ETag>e&amp;</ETag>", "<ChecksumSHA1>s<", "<PartsCount>1<", "<Size>5<", "<ObjectSize>5<"] {
            assert!(answer.contains(part), "{part}: {answer}");
        }
        assert_eq!(translate(&Element::parse("<Object/>").unwrap()), None);
    }
}
