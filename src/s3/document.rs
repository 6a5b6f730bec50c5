//! What the strict readers of XML documents in requests share.
//!
//! The gateway never passes on such a document: it reads one thing out of it, decides about that, and writes it anew. So nothing here
//! repairs or skips; what does not belong in a document, or stands there twice, makes the request a bad one.

use crate::s3::xml::{Element, XmlError, is_carried};

/// A DeleteObjects of 1,000 objects with everything that can be said of them has 6,002.
const MAX_ELEMENTS: usize = 10_000;

/// Why a document was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Not XML, or not strictly so.
    #[error(transparent)]
    Xml(#[from] XmlError),
    /// Not UTF-8.
    #[error("the document is not UTF-8")]
    NotText,
    /// An element that does not belong where it stands, stands twice, or is missing.
    #[error("the element `{0}` is missing, doubled or misplaced")]
    Element(String),
    /// Attributes have no meaning in these documents, but readers that look for one.
    #[error("the element `{0}` has an attribute")]
    Attribute(String),
    /// A text that cannot be written into a document as it was read.
    #[error("the element `{0}` has a control character or is too long")]
    Text(&'static str),
}

impl DocumentError {
    /// An element that is missing, doubled or misplaced. Its name may be the client's own, and is cut.
    pub fn element(name: &str) -> Self {
        Self::Element(name.chars().take(64).collect())
    }
}

/// Reads a document whose root has this name.
///
/// # Errors
/// [`DocumentError`] if it is not one.
pub fn root(document: &[u8], name: &str) -> Result<Element, DocumentError> {
    let text = std::str::from_utf8(document).map_err(|_| DocumentError::NotText)?;
    let root = Element::parse_at_most(text, MAX_ELEMENTS)?;
    if root.name == name { Ok(root) } else { Err(DocumentError::element(&root.name)) }
}

/// The children of an element that holds nothing else.
///
/// # Errors
/// [`DocumentError`] if there is text between them, or an attribute.
pub fn children(element: &Element) -> Result<&[Element], DocumentError> {
    check_attributes(element)?;
    if element.text.trim().is_empty() { Ok(&element.children) } else { Err(DocumentError::element(&element.name)) }
}

/// The text of an element that holds nothing else, blanks kept. At most `limit` bytes that XML can carry, no control characters.
///
/// # Errors
/// [`DocumentError`] if it holds an element, has an attribute, or its text is not acceptable.
pub fn text<'a>(element: &'a Element, name: &'static str, limit: usize) -> Result<&'a str, DocumentError> {
    check_attributes(element)?;
    if !element.children.is_empty() {
        return Err(DocumentError::element(&element.name));
    }
    let text = element.text.as_str();
    let acceptable = text.len() <= limit && !text.chars().any(|c| c.is_control() || !is_carried(c));
    if acceptable { Ok(text) } else { Err(DocumentError::Text(name)) }
}

/// Fills a slot that may be filled once.
///
/// # Errors
/// [`DocumentError`] if it was filled before.
pub fn once<T>(slot: &mut Option<T>, value: T, name: &str) -> Result<(), DocumentError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(DocumentError::element(name)),
    }
}

fn check_attributes(element: &Element) -> Result<(), DocumentError> {
    if element.has_attributes {
        return Err(DocumentError::Attribute(element.name.chars().take(64).collect()));
    }
    Ok(())
}
