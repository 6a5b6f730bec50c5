//! A strict, bounded XML reader and a writer for the small documents of S3.
//!
//! Refuses everything that has two readings or grows: document types, entities other than the five predefined and numeric ones,
//! processing instructions, deep nesting. Namespace prefixes stay part of a name, so `<x:Key>` is not `<Key>`.

use quick_xml::Reader;
use quick_xml::events::{BytesDecl, BytesStart, Event};

/// An element with its text and its children; attributes are not kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Element {
    /// Name as written.
    pub name: String,
    /// Text directly inside, in order, entities resolved; blanks kept.
    pub text: String,
    /// Child elements in order.
    pub children: Vec<Element>,
    /// Whether it has attributes other than declarations of namespaces.
    pub has_attributes: bool,
}

/// Why a document was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum XmlError {
    /// Not well-formed.
    #[error("the XML is not well-formed")]
    Malformed,
    /// A construct that S3 documents never have.
    #[error("the XML has a {0}, which is not accepted")]
    Forbidden(&'static str),
    /// Nested deeper than any S3 document.
    #[error("the XML is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// More elements than any S3 document of its kind.
    #[error("the XML has more than {0} elements")]
    TooMany(usize),
}

/// S3 documents are at most 8 levels deep.
const MAX_DEPTH: usize = 20;

/// The largest document of S3 is a CompleteMultipartUpload: 10,000 parts with a checksum. An element takes thirty times the memory of the
/// four bytes it can be written in.
const MAX_ELEMENTS: usize = 100_000;

/// Most namespaces that an element declares; some serialisers add those of XML Schema.
const MAX_NAMESPACES: usize = 4;

impl Element {
    /// Reads a document. The caller bounds its size.
    ///
    /// # Errors
    /// [`XmlError`] with the first thing wrong.
    pub fn parse(document: &str) -> Result<Self, XmlError> {
        Self::parse_at_most(document, MAX_ELEMENTS)
    }

    /// Reads a document of so many elements.
    ///
    /// # Errors
    /// [`XmlError`] with the first thing wrong.
    pub fn parse_at_most(document: &str, limit: usize) -> Result<Self, XmlError> {
        let mut reader = Reader::from_str(document);
        let mut elements = 0;
        let mut open: Vec<Element> = Vec::new();
        let mut root = None;
        loop {
            let event = reader.read_event().map_err(|_| XmlError::Malformed)?;
            elements += usize::from(matches!(event, Event::Start(_) | Event::Empty(_)));
            if elements > limit {
                return Err(XmlError::TooMany(limit));
            }
            match event {
                Event::Start(start) => {
                    if open.len() == MAX_DEPTH {
                        return Err(XmlError::TooDeep);
                    }
                    open.push(Self::named(&start));
                }
                Event::Empty(start) => close(Self::named(&start), &mut open, &mut root)?,
                Event::End(_) => {
                    let element = open.pop().ok_or(XmlError::Malformed)?;
                    close(element, &mut open, &mut root)?;
                }
                Event::Text(text) => add_text(&text.xml10_content(), &mut open)?,
                Event::CData(text) => add_text(&text.xml10_content(), &mut open)?,
                Event::GeneralRef(reference) => {
                    let character = reference.resolve_char_ref().map_err(|_| XmlError::Malformed)?;
                    let name = reference.xml10_content();
                    let text = match character {
                        Some(character) => character.to_string(),
                        None => quick_xml::escape::resolve_predefined_entity(&name)
                            .ok_or(XmlError::Forbidden("entity"))?
                            .to_owned(),
                    };
                    add_text(&text, &mut open)?;
                }
                Event::Comment(_) => {}
                Event::Decl(_) if root.is_some() || !open.is_empty() => return Err(XmlError::Malformed),
                Event::Decl(declaration) => check_declaration(&declaration)?,
                Event::PI(_) => return Err(XmlError::Forbidden("processing instruction")),
                Event::DocType(_) => return Err(XmlError::Forbidden("document type")),
                Event::Eof if open.is_empty() => return root.ok_or(XmlError::Malformed),
                Event::Eof => return Err(XmlError::Malformed),
            }
        }
    }

    fn named(start: &BytesStart<'_>) -> Self {
        let is_namespace = |name: &str| name == "xmlns" || name.starts_with("xmlns:");
        let mut attributes = start.attributes();
        // Checking that no name stands twice would take the square of their number.
        let has_attributes = attributes.with_checks(false).enumerate().any(|(index, attribute)| {
            index == MAX_NAMESPACES || attribute.map_or(true, |attribute| !is_namespace(attribute.key.as_ref()))
        });
        Self { name: start.name().as_ref().to_owned(), has_attributes, ..Self::default() }
    }

    /// The first child of this name.
    pub fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.name == name)
    }

    /// Every child of this name.
    pub fn children_named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Element> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The text of the first child of this name; empty if there is none.
    pub fn text_of(&self, name: &str) -> &str {
        self.child(name).map_or("", |child| child.text.as_str())
    }
}

/// XML 1.1 has other line ends, and another encoding other characters: the bytes were read as UTF-8 and XML 1.0.
fn check_declaration(declaration: &BytesDecl<'_>) -> Result<(), XmlError> {
    if declaration.version().map_err(|_| XmlError::Malformed)? != "1.0" {
        return Err(XmlError::Forbidden("version other than 1.0"));
    }
    match declaration.encoding() {
        None => Ok(()),
        Some(Ok(encoding)) if encoding.eq_ignore_ascii_case("utf-8") => Ok(()),
        Some(_) => Err(XmlError::Forbidden("encoding other than UTF-8")),
    }
}

fn close(element: Element, open: &mut [Element], root: &mut Option<Element>) -> Result<(), XmlError> {
    match open.last_mut() {
        Some(parent) => parent.children.push(element),
        None if root.is_none() => *root = Some(element),
        None => return Err(XmlError::Malformed),
    }
    Ok(())
}

fn add_text(text: &str, open: &mut [Element]) -> Result<(), XmlError> {
    match open.last_mut() {
        Some(element) => element.text.push_str(text),
        None if text.trim().is_empty() => {}
        None => return Err(XmlError::Malformed),
    }
    Ok(())
}

/// Writes a document element by element; names are ours, texts are escaped.
#[derive(Debug)]
pub struct XmlWriter {
    out: String,
    open: Vec<&'static str>,
}

impl XmlWriter {
    /// Starts a document with its root element; `namespace` is S3's own for results and absent for errors.
    pub fn new(root: &'static str, namespace: bool) -> Self {
        let attribute = if namespace { " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"" } else { "" };
        let out = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{root}{attribute}>");
        Self { out, open: vec![root] }
    }

    /// Starts a document of another API than S3, with its own namespace.
    pub fn with_namespace(root: &'static str, namespace: &'static str) -> Self {
        let out = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{root} xmlns=\"{namespace}\">");
        Self { out, open: vec![root] }
    }

    /// Opens an element inside the current one.
    pub fn open(&mut self, name: &'static str) -> &mut Self {
        self.out.extend(["<", name, ">"]);
        self.open.push(name);
        self
    }

    /// Closes the current element.
    pub fn close(&mut self) -> &mut Self {
        if let Some(name) = self.open.pop() {
            self.out.extend(["</", name, ">"]);
        }
        self
    }

    /// Adds an element that holds a text.
    pub fn text(&mut self, name: &'static str, text: &str) -> &mut Self {
        self.open(name);
        escape_into(text, &mut self.out);
        self.close()
    }

    /// Adds the texts of those elements of these names that a document has.
    pub fn copy(&mut self, from: &Element, names: &[&'static str]) -> &mut Self {
        for name in names {
            if let Some(found) = from.child(name) {
                self.text(name, &found.text);
            }
        }
        self
    }

    /// Closes everything and gives the document.
    pub fn finish(mut self) -> String {
        while !self.open.is_empty() {
            self.close();
        }
        self.out
    }
}

/// Whether XML 1.0 can carry a character; others have no place in it, not even as a reference.
pub fn is_carried(character: char) -> bool {
    let control = character.is_control() && character < '\u{80}' && !"\t\n\r".contains(character);
    !control && character != '\u{fffe}' && character != '\u{ffff}'
}

fn escape_into(text: &str, out: &mut String) {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\r' => out.push_str("&#13;"),
            '\n' | '\t' => out.push(character),
            _ if !is_carried(character) => out.push('\u{fffd}'),
            _ => out.push(character),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_entities_and_cdata_become_one_string() {
        let root =
            Element::parse("<?xml version=\"1.0\"?><A><Key> a&amp;b&#47;<![CDATA[<c>]]> </Key><K/></A>").unwrap();
        assert_eq!(root.text_of("Key"), " a&b/<c> ");
        assert_eq!(root.children.len(), 2);
    }

    #[test]
    fn k27_bombs_and_foreign_constructs_are_refused() {
        assert_eq!(
            Element::parse("<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>"),
            Err(XmlError::Forbidden("document type"))
        );
        assert_eq!(Element::parse("<a>&b;</a>"), Err(XmlError::Forbidden("entity")));
        assert_eq!(Element::parse("<?x y?><a/>"), Err(XmlError::Forbidden("processing instruction")));
        assert_eq!(Element::parse(&"<a>".repeat(100_000)), Err(XmlError::TooDeep));
        for text in ["", "<a>", "<a></b>", "<a/><b/>", "text", "<a/>x", "</a>", "<a>&#x0;</a>"] {
            assert!(Element::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn k27_the_number_of_elements_is_bounded() {
        let document = |count: usize| format!("<a>{}</a>", "<b/>".repeat(count - 1));
        assert!(Element::parse(&document(100_000)).is_ok());
        assert_eq!(Element::parse(&document(100_001)), Err(XmlError::TooMany(100_000)));
        assert_eq!(Element::parse_at_most(&document(6), 5), Err(XmlError::TooMany(5)));
    }

    #[test]
    fn d13_a_declaration_that_says_otherwise_is_refused() {
        for declaration in ["", "<?xml version=\"1.0\"?>", "<?xml version='1.0' encoding='utf-8'?>", "<!-- c -->"] {
            assert!(Element::parse(&format!("{declaration}<a/>")).is_ok(), "{declaration}");
        }
        for encoding in ["UTF-16", "UTF-7", "ISO-8859-1", ""] {
            let text = format!("<?xml version=\"1.0\" encoding=\"{encoding}\"?><a/>");
            assert_eq!(Element::parse(&text), Err(XmlError::Forbidden("encoding other than UTF-8")), "{encoding}");
        }
        for text in [
            "<?xml version=\"1.1\"?><a/>",
            "<a><?xml version=\"1.0\"?></a>",
            "<a/><?xml version=\"1.0\"?>",
            "<?xml encoding=\"UTF-8\"?><a/>",
        ] {
            assert!(Element::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn d13_attributes_are_told_from_namespaces() {
        let has_attributes = |text: &str| Element::parse(text).unwrap().has_attributes;
        for text in ["<a/>", "<a >x</a>", "<a xmlns=\"n\"/>", "<a xmlns='n' xmlns:xsi=\"x\"></a>"] {
            assert!(!has_attributes(text), "{text}");
        }
        let many = format!("<a {}/>", "xmlns:x='y' ".repeat(100_000));
        for text in ["<a b='c'/>", "<a xmlns='n' Key='b'/>", "<a b></a>", "<a xmlnsx='n'/>", &many] {
            assert!(has_attributes(text), "{text:.40}");
        }
    }

    #[test]
    fn a_prefixed_name_is_another_name() {
        assert_eq!(Element::parse("<a><x:Key>v</x:Key></a>").unwrap().text_of("Key"), "");
    }

    #[test]
    fn g09_whatever_is_written_reads_back() {
        let text = "a&<>\"' ]]> \u{e9}\r\n";
        let mut writer = XmlWriter::new("R", true);
        writer.open("In").text("Key", text);
        assert_eq!(Element::parse(&writer.finish()).unwrap().child("In").unwrap().text_of("Key"), text);
        let mut writer = XmlWriter::new("R", false);
        writer.text("Key", "\u{1}\u{fffe}");
        assert_eq!(Element::parse(&writer.finish()).unwrap().text_of("Key"), "\u{fffd}\u{fffd}");
    }
}
