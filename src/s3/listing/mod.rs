//! ListObjectsV2: the parameters a client sends, and the pages a store answers with.
//!
//! Everything here is in plain, decoded text. The store is always asked for `encoding-type=url`, so that every key survives XML.

use crate::base::encoding::encode_path;
use crate::s3::identify::S3Call;
use crate::s3::names::{KeyError, check_text, decode_once};
use crate::s3::xml::{Element, XmlError, XmlWriter};

/// Most keys in one page, as S3 has it.
pub const MAX_KEYS: u32 = 1000;

/// Parameters of a ListObjectsV2 request, decoded and checked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListRequest {
    /// Keys must begin with this.
    pub prefix: String,
    /// Keys are grouped up to this text.
    pub delimiter: Option<String>,
    /// Most keys and groups in the answer, 0 to 1,000.
    pub max_keys: u32,
    /// Where a former page ended; opaque, made by the gateway.
    pub continuation_token: Option<String>,
    /// Only keys after this one.
    pub start_after: Option<String>,
    /// Whether names in the answer are percent-encoded.
    pub url_encoded: bool,
}

/// Why list parameters were not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// `max-keys` is not a number from 0 on.
    #[error("max-keys must be a number from 0 to 2147483647")]
    MaxKeys,
    /// `encoding-type` is not `url`.
    #[error("encoding-type must be `url`")]
    EncodingType,
    /// The prefix could not be the beginning of an acceptable key.
    #[error("prefix: {0}")]
    Prefix(KeyError),
    /// The delimiter has a control character.
    #[error("delimiter: {0}")]
    Delimiter(KeyError),
    /// `start-after` is not an acceptable key.
    #[error("start-after: {0}")]
    StartAfter(KeyError),
    /// The continuation token is not one of the gateway's, or of another caller's rights.
    #[error("the continuation token is not valid here")]
    Token,
}

impl ListRequest {
    /// Reads the parameters of a ListObjectsV2 call.
    ///
    /// # Errors
    /// [`ListError`] for the first parameter that is not acceptable.
    pub fn parse(call: &S3Call) -> Result<Self, ListError> {
        let odd = call.resource.bucket().map(|bucket| bucket.odd_keys).unwrap_or_default();
        let text = |name: &str| call.parameter(name).filter(|value| !value.is_empty()).map(str::to_owned);
        let prefix = text("prefix").unwrap_or_default();
        check_text(&prefix, odd).map_err(ListError::Prefix)?;
        let delimiter = text("delimiter");
        if delimiter.as_ref().is_some_and(|text| text.chars().any(char::is_control)) {
            return Err(ListError::Delimiter(KeyError::Control));
        }
        let start_after = text("start-after");
        if let Some(key) = &start_after {
            check_text(key, odd).map_err(ListError::StartAfter)?;
        }
        let max_keys = match text("max-keys") {
            None => MAX_KEYS,
            Some(number) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
                number.parse::<i32>().map_err(|_| ListError::MaxKeys)?.unsigned_abs().min(MAX_KEYS)
            }
            Some(_) => return Err(ListError::MaxKeys),
        };
        let url_encoded = match call.parameter("encoding-type") {
            None => false,
            Some("url") => true,
            Some(_) => return Err(ListError::EncodingType),
        };
        Ok(Self {
            prefix,
            delimiter,
            max_keys,
            continuation_token: text("continuation-token"),
            start_after,
            url_encoded,
        })
    }
}

/// One page of a listing, names decoded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListPage {
    /// Objects, in order of their keys.
    pub contents: Vec<ListedObject>,
    /// Groups that the delimiter made.
    pub common_prefixes: Vec<String>,
    /// Token for the next page, if there is one.
    pub next_token: Option<String>,
}

/// One object of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListedObject {
    /// The key.
    pub key: String,
    /// Other properties, in S3's names and order: `LastModified`, `ETag`, `Size`, `StorageClass`, checksum algorithm and type.
    pub properties: Vec<(&'static str, String)>,
}

/// An object or a group, as they stand in one order in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed {
    /// An object.
    Key(ListedObject),
    /// A group.
    Group(String),
}

impl Listed {
    /// Its key or prefix.
    pub fn name(&self) -> &str {
        match self {
            Self::Key(object) => &object.key,
            Self::Group(group) => group,
        }
    }
}

/// Properties of a listed object that are passed on. `Owner` is not: it names the gateway's own account.
const PROPERTIES: [&str; 6] = ["LastModified", "ETag", "ChecksumAlgorithm", "ChecksumType", "Size", "StorageClass"];

/// Why the answer of a store was not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// Not XML.
    #[error(transparent)]
    Xml(#[from] XmlError),
    /// Another document.
    #[error("the store answered a listing with <{0}>")]
    NotAListing(String),
    /// A name that does not decode, or lies outside what was asked for.
    #[error("the store listed a name outside of what was asked for")]
    Name,
}

impl ListPage {
    /// Reads a store's `ListBucketResult`; `strip` is the upstream prefix that every name must begin with.
    ///
    /// # Errors
    /// [`PageError`] if the document is something else, or names something that was not asked for.
    pub fn parse(document: &str, strip: &str) -> Result<Self, PageError> {
        let root = Element::parse(document)?;
        if root.name != "ListBucketResult" {
            return Err(PageError::NotAListing(root.name));
        }
        let encoded = root.text_of("EncodingType") == "url";
        let name = |text: &str| {
            let decoded = if encoded { decode_once(&text.replace('+', "%20")) } else { Some(text.to_owned()) };
            decoded.and_then(|name| name.strip_prefix(strip).map(str::to_owned)).ok_or(PageError::Name)
        };
        let mut page = Self::default();
        for entry in root.children_named("Contents") {
            let property =
                |property: &'static str| entry.child(property).map(|element| (property, element.text.clone()));
            let properties = PROPERTIES.into_iter().filter_map(property).collect();
            page.contents.push(ListedObject { key: name(entry.text_of("Key"))?, properties });
        }
        for group in root.children_named("CommonPrefixes") {
            page.common_prefixes.push(name(group.text_of("Prefix"))?);
        }
        let token = root.text_of("NextContinuationToken");
        if root.text_of("IsTruncated") == "true" && !token.is_empty() {
            page.next_token = Some(token.to_owned());
        }
        Ok(page)
    }

    /// Its objects and groups in order of their names.
    pub fn into_names(self) -> Vec<Listed> {
        let mut names: Vec<_> = self.contents.into_iter().map(Listed::Key).collect();
        names.extend(self.common_prefixes.into_iter().map(Listed::Group));
        names.sort_by(|a, b| a.name().cmp(b.name()));
        names
    }

    /// Writes the page as the answer to a client's request, in public terms.
    pub fn render(&self, bucket: &str, request: &ListRequest) -> String {
        let name = |text: &str| if request.url_encoded { encode_path(text) } else { text.to_owned() };
        let mut xml = XmlWriter::new("ListBucketResult", true);
        xml.text("Name", bucket).text("Prefix", &name(&request.prefix));
        if let Some(delimiter) = &request.delimiter {
            xml.text("Delimiter", &name(delimiter));
        }
        xml.text("MaxKeys", &request.max_keys.to_string());
        if request.url_encoded {
            xml.text("EncodingType", "url");
        }
        if let Some(token) = &request.continuation_token {
            xml.text("ContinuationToken", token);
        }
        if let Some(key) = &request.start_after {
            xml.text("StartAfter", &name(key));
        }
        xml.text("KeyCount", &(self.contents.len() + self.common_prefixes.len()).to_string());
        xml.text("IsTruncated", if self.next_token.is_some() { "true" } else { "false" });
        if let Some(token) = &self.next_token {
            xml.text("NextContinuationToken", token);
        }
        for object in &self.contents {
            xml.open("Contents").text("Key", &name(&object.key));
            for (property, value) in &object.properties {
                xml.text(property, value);
            }
            xml.close();
        }
        for group in &self.common_prefixes {
            xml.open("CommonPrefixes").text("Prefix", &name(group)).close();
        }
        xml.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"x\"><Name>up</Name><EncodingType>url</EncodingType>\
        <IsTruncated>true</IsTruncated><NextContinuationToken>tok</NextContinuationToken>\
        <Contents><Key>gw/a/x+y%2Bz</Key><Size>3</Size><ETag>&quot;e&quot;</ETag><Owner><ID>acct</ID></Owner></Contents>\
        <CommonPrefixes><Prefix>gw/a/b/</Prefix></CommonPrefixes></ListBucketResult>";

    #[test]
    fn a_page_is_read_in_public_terms_without_the_owner() {
        let page = ListPage::parse(PAGE, "gw/").unwrap();
        assert_eq!(page.contents[0].key, "a/x y+z");
        assert_eq!(page.contents[0].properties, [("ETag", "\"e\"".to_owned()), ("Size", "3".to_owned())]);
        assert_eq!(page.common_prefixes, ["a/b/"]);
        assert_eq!(page.next_token.as_deref(), Some("tok"));
        let xml = page.render("public", &ListRequest { max_keys: 10, ..ListRequest::default() });
        assert!(xml.contains("<Name>public</Name>") && xml.contains("<Key>a/x y+z</Key>") && !xml.contains("acct"));
    }

    #[test]
    fn names_outside_the_upstream_prefix_are_a_fault_of_the_store() {
        assert_eq!(ListPage::parse(PAGE, "other/"), Err(PageError::Name));
        assert_eq!(ListPage::parse("<Error><Code>X</Code></Error>", ""), Err(PageError::NotAListing("Error".into())));
    }
}
