//! The pages a store answers with, and the page a client gets.

use crate::base::encoding::encode_path;
use crate::s3::listing::request::SEALED_MARKER;
use crate::s3::listing::{ListKind, ListRequest, Mark};
use crate::s3::names::decode_once;
use crate::s3::xml::{Element, XmlError, XmlWriter};

/// One page of a list, names decoded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListPage {
    /// Objects, versions or uploads, in the order of the store.
    pub entries: Vec<ListEntry>,
    /// Groups that the delimiter made.
    pub groups: Vec<String>,
    /// Where the store's next page begins, if there is one.
    pub next: Option<Mark>,
}

/// One object, version, delete marker or upload.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListEntry {
    /// Its element: `Contents`, `Version`, `DeleteMarker` or `Upload`.
    pub element: &'static str,
    /// The key.
    pub key: String,
    /// The version or upload.
    pub id: Option<String>,
    /// Other properties, in S3's names.
    pub properties: Vec<(&'static str, String)>,
}

/// An entry or a group, as they stand in one order in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed {
    /// An entry.
    Entry(ListEntry),
    /// A group.
    Group(String),
}

impl Listed {
    /// Its key or prefix.
    pub fn name(&self) -> &str {
        match self {
            Self::Entry(entry) => &entry.key,
            Self::Group(group) => group,
        }
    }

    /// What tells it from other entries of its key.
    pub fn id(&self) -> Option<&str> {
        match self {
            Self::Entry(entry) => entry.id.as_deref(),
            Self::Group(_) => None,
        }
    }
}

/// Properties of an entry that are passed on. `Owner` and `Initiator` are not: they name the gateway's own account.
const PROPERTIES: [&str; 8] =
    ["IsLatest", "LastModified", "Initiated", "ETag", "ChecksumAlgorithm", "ChecksumType", "Size", "StorageClass"];

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
    /// A page that is cut and does not say where the next one begins. Taken for the last one, it would hide keys.
    #[error("the store cut a listing without a marker for the next page")]
    NoMark,
    /// An upload without id. What is asked of a store with an empty one may be about the object.
    #[error("the store listed an upload without an id")]
    NoId,
}

impl ListPage {
    /// Reads a store's answer; `strip` is the upstream prefix that every name must begin with.
    ///
    /// # Errors
    /// [`PageError`] if the document is something else, or names something that was not asked for.
    pub fn parse(kind: ListKind, document: &str, strip: &str) -> Result<Self, PageError> {
        let (root, words) = (Element::parse(document)?, kind.words());
        if root.name != words.root {
            return Err(PageError::NotAListing(root.name));
        }
        let objects = matches!(kind, ListKind::Objects | ListKind::ObjectsV2);
        // The other lists are not asked for in `url`, see `Question::parameters`.
        let encoded = objects && root.text_of("EncodingType") == "url";
        let name = |text: &str| {
            let decoded = if encoded { decode_once(&text.replace('+', "%20")) } else { Some(text.to_owned()) };
            decoded.and_then(|name| name.strip_prefix(strip).map(str::to_owned)).ok_or(PageError::Name)
        };
        let mut page = Self::default();
        for element in &root.children {
            if let Some(known) = words.entries.iter().find(|known| **known == element.name) {
                page.entries.push(ListEntry::read(known, element, words.id, name(element.text_of("Key"))?));
            } else if element.name == "CommonPrefixes" {
                // A store may name several groups in one element.
                for prefix in element.children_named("Prefix") {
                    page.groups.push(name(&prefix.text)?);
                }
            }
        }
        if kind == ListKind::Uploads && page.entries.iter().any(|upload| upload.id.is_none()) {
            return Err(PageError::NoId);
        }
        if root.text_of("IsTruncated") == "true" {
            let text =
                |element: &str| root.child(element).map(|found| found.text.clone()).filter(|text| !text.is_empty());
            let next = if objects { "NextContinuationToken" } else { words.marker.2 };
            let (name, id) = (text(next), words.next_id.and_then(text));
            if name.is_none() && id.is_none() {
                return Err(PageError::NoMark);
            }
            page.next = Some(Mark { name: name.unwrap_or_default(), id });
        }
        Ok(page)
    }

    /// How many names it has.
    pub fn len(&self) -> usize {
        self.entries.len() + self.groups.len()
    }

    /// Whether it has no names.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its entries and groups in one order: that of the names where the store keeps to it, and that of the store where it does not.
    pub fn into_names(self) -> Vec<Listed> {
        let mut names = Vec::with_capacity(self.len());
        let mut groups = self.groups.into_iter().peekable();
        for entry in self.entries {
            while let Some(group) = groups.next_if(|group| *group < entry.key) {
                names.push(Listed::Group(group));
            }
            names.push(Listed::Entry(entry));
        }
        names.extend(groups.map(Listed::Group));
        names
    }

    /// Writes the page as the answer to a client's request, in public terms. `next` is the sealed text for the next page.
    pub fn render(&self, bucket: &str, request: &ListRequest, next: Option<&str>) -> String {
        let (kind, words) = (request.kind, request.kind.words());
        let name = |text: &str| if request.url_encoded { encode_path(text) } else { text.to_owned() };
        let mut xml = XmlWriter::new(words.root, true);
        xml.text(if kind == ListKind::Uploads { "Bucket" } else { "Name" }, bucket)
            .text("Prefix", &name(&request.prefix));
        if let Some(delimiter) = &request.delimiter {
            xml.text("Delimiter", &name(delimiter));
        }
        xml.text(words.max.1, &request.max_keys.to_string());
        if request.url_encoded {
            xml.text("EncodingType", "url");
        }
        self.render_place(&mut xml, request, next);
        for entry in &self.entries {
            xml.open(entry.element).text("Key", &name(&entry.key));
            if let (Some(element), Some(id)) = (words.id, &entry.id) {
                xml.text(element, id);
            }
            for (property, value) in &entry.properties {
                xml.text(property, value);
            }
            xml.close();
        }
        for group in &self.groups {
            xml.open("CommonPrefixes").text("Prefix", &name(group)).close();
        }
        xml.finish()
    }

    /// Writes where the page began and where the next one does. What the gateway sealed has no letter that an encoding would change.
    fn render_place(&self, xml: &mut XmlWriter, request: &ListRequest, next: Option<&str>) {
        let name = |text: &str| if request.url_encoded { encode_path(text) } else { text.to_owned() };
        let (_, marker, next_marker) = request.kind.words().marker;
        if request.kind == ListKind::ObjectsV2 {
            if let Some(token) = request.marker() {
                xml.text(marker, &token);
            }
            if let Some(key) = &request.start_after {
                xml.text("StartAfter", &name(key));
            }
            xml.text("KeyCount", &self.len().to_string());
        } else {
            xml.text(marker, &name(&request.marker().unwrap_or_default()));
        }
        if request.kind == ListKind::Versions {
            xml.text("VersionIdMarker", request.version_marker.as_deref().unwrap_or_default());
        }
        xml.text("IsTruncated", if next.is_some() { "true" } else { "false" });
        if let Some(next) = next {
            let mark = if request.kind == ListKind::ObjectsV2 { "" } else { SEALED_MARKER };
            xml.text(next_marker, &format!("{mark}{next}"));
        }
    }
}

impl ListEntry {
    fn read(element: &'static str, found: &Element, id: Option<&str>, key: String) -> Self {
        let property = |name: &'static str| found.child(name).map(|property| (name, property.text.clone()));
        let id = id.map(|id| found.text_of(id).to_owned()).filter(|id| !id.is_empty());
        Self { element, key, id, properties: PROPERTIES.into_iter().filter_map(property).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"x\"><Name>up</Name><EncodingType>url</EncodingType>\
        <IsTruncated>true</IsTruncated><NextContinuationToken>tok</NextContinuationToken>\
        <Contents><Key>gw/a/x+y%2Bz</Key><Size>3</Size><ETag>&quot;e&quot;</ETag><Owner><ID>acct</ID></Owner></Contents>\
        <CommonPrefixes><Prefix>gw/a/b/</Prefix></CommonPrefixes></ListBucketResult>";

    const VERSIONS: &str = "<ListVersionsResult><IsTruncated>true</IsTruncated><NextKeyMarker>gw/k%41</NextKeyMarker>\
        <NextVersionIdMarker>v1</NextVersionIdMarker>\
        <Version><Key>gw/k%41</Key><VersionId>v3</VersionId><IsLatest>false</IsLatest><Owner><ID>acct</ID></Owner></Version>\
        <DeleteMarker><Key>gw/k%41</Key><VersionId>v2</VersionId><IsLatest>true</IsLatest></DeleteMarker>\
        <Version><Key>gw/k&#x1;</Key><VersionId>null</VersionId></Version></ListVersionsResult>";

    fn request(kind: ListKind) -> ListRequest {
        ListRequest { kind, max_keys: 10, ..ListRequest::default() }
    }

    #[test]
    fn a_page_is_read_in_public_terms_without_the_owner() {
        let page = ListPage::parse(ListKind::ObjectsV2, PAGE, "gw/").unwrap();
        assert_eq!(page.entries[0].key, "a/x y+z");
        assert_eq!(page.entries[0].properties, [("ETag", "\"e\"".to_owned()), ("Size", "3".to_owned())]);
        assert_eq!(page.groups, ["a/b/"]);
        assert_eq!(page.next, Some(Mark { name: "tok".into(), id: None }));
        let xml = page.render("public", &request(ListKind::ObjectsV2), None);
        assert!(xml.contains("<Name>public</Name>") && xml.contains("<Key>a/x y+z</Key>") && !xml.contains("acct"));
    }

    #[test]
    fn versions_keep_their_order_and_are_not_decoded() {
        let page = ListPage::parse(ListKind::Versions, VERSIONS, "gw/").unwrap();
        let seen: Vec<_> =
            page.entries.iter().map(|e| (e.element, e.key.as_str(), e.id.as_deref().unwrap_or_default())).collect();
        assert_eq!(seen, [("Version", "k%41", "v3"), ("DeleteMarker", "k%41", "v2"), ("Version", "k\u{1}", "null")]);
        assert_eq!(page.next, Some(Mark { name: "gw/k%41".into(), id: Some("v1".into()) }));
        let xml = page.render("public", &request(ListKind::Versions), Some("sealed"));
        assert!(xml.contains("<NextKeyMarker>countersign-next.sealed</NextKeyMarker>"), "{xml}");
        assert!(!xml.contains("acct") && !xml.contains("NextVersionIdMarker"), "{xml}");
    }

    #[test]
    fn names_outside_the_upstream_prefix_are_a_fault_of_the_store() {
        let parse = |document, strip| ListPage::parse(ListKind::ObjectsV2, document, strip);
        assert_eq!(parse(PAGE, "other/"), Err(PageError::Name));
        assert_eq!(parse("<Error><Code>X</Code></Error>", ""), Err(PageError::NotAListing("Error".into())));
        assert_eq!(parse(VERSIONS, "gw/"), Err(PageError::NotAListing("ListVersionsResult".into())));
    }

    #[test]
    fn a_cut_page_that_does_not_say_how_to_go_on_is_no_last_page() {
        let cut = "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>";
        assert_eq!(ListPage::parse(ListKind::Objects, cut, ""), Err(PageError::NoMark));
    }

    #[test]
    fn entries_and_groups_come_in_one_order_and_a_store_keeps_its_own() {
        let entry = |key: &str| ListEntry { key: key.to_owned(), ..ListEntry::default() };
        let names = |keys: &[&str], groups: &[&str]| {
            let page = ListPage {
                entries: keys.iter().map(|key| entry(key)).collect(),
                groups: groups.iter().map(|group| (*group).to_owned()).collect(),
                next: None,
            };
            page.into_names().iter().map(|name| name.name().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(&["a", "c"], &["b/", "d/"]), ["a", "b/", "c", "d/"]);
        assert_eq!(names(&["a/x", "a-b"], &[]), ["a/x", "a-b"], "SeaweedFS goes by folders");
    }
}
