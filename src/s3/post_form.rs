//! The beginning of a browser form: the fields of a `multipart/form-data` body, up to the first byte of its file.
//!
//! Strict and bounded, because nobody is authenticated yet: the fields hold the credential. What two readers could read differently is
//! refused: text before the first boundary, bare line feeds, escapes in names, a field twice. Knows nothing of what fields mean, see
//! `post_object`. Source: RFC 7578; HTML standard, "Multipart form data"; S3 API reference, "POST Object".

use http::HeaderValue;

/// Largest part of a form before the content of its file, as S3 has it.
pub const MAX_PREAMBLE_BYTES: usize = 20 * 1024;
/// Most fields. The largest form in the documentation of S3 has 15.
const MAX_FIELDS: usize = 100;
/// Longest head of a part. A file name of 255 characters takes under 1 KiB.
const MAX_PART_HEAD: usize = 4 * 1024;
/// Longest boundary (RFC 2046 §5.1.1).
const MAX_BOUNDARY: usize = 70;

/// Why a form was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// The media type names no boundary, or one that is none.
    #[error("the Content-Type of the form has no proper boundary")]
    Boundary,
    /// Something that cannot be read, or could be read twofold.
    #[error("the form is not well-formed: {0}")]
    Malformed(&'static str),
    /// Over [`MAX_PREAMBLE_BYTES`] before the file.
    #[error("the fields before the file have more than {MAX_PREAMBLE_BYTES} bytes")]
    TooLong,
    /// Over [`MAX_FIELDS`].
    #[error("the form has more than {MAX_FIELDS} fields before the file")]
    TooMany,
    /// A name that is there already, in whatever case.
    #[error("the field `{0}` appears twice")]
    Doubled(String),
    /// The form ended without a file.
    #[error("the form has no field `file`, or it is not the last one")]
    NoFile,
}

/// What separates the parts of a form: `CRLF--boundary`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delimiter(Vec<u8>);

impl Delimiter {
    /// Reads the boundary of a `multipart/form-data` media type. `None` for another type.
    ///
    /// # Errors
    /// [`FormError::Boundary`] if it is missing, doubled, too long, or has characters that boundaries do not have.
    pub fn of(content_type: &HeaderValue) -> Option<Result<Self, FormError>> {
        let text = content_type.to_str().ok()?;
        let (essence, parameters) = text.split_once(';').unwrap_or((text, ""));
        let is_form = essence.trim().eq_ignore_ascii_case("multipart/form-data");
        is_form.then(|| boundary(parameters).map(|boundary| Self([b"\r\n--", boundary.as_bytes()].concat())))
    }

    /// Its bytes, those of the line end before it included.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Bytes from the end of the file to the end of the form, as browsers write it: `CRLF--boundary--CRLF`.
    pub fn closing_bytes(&self) -> usize {
        self.0.len() + b"--\r\n".len()
    }
}

fn boundary(parameters: &str) -> Result<&str, FormError> {
    let mut found = None;
    for parameter in parameters.split(';').map(str::trim).filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').ok_or(FormError::Boundary)?;
        if name.eq_ignore_ascii_case("boundary") && found.replace(value).is_some() {
            return Err(FormError::Boundary);
        }
    }
    let value = found.ok_or(FormError::Boundary)?;
    let value = match value.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"').ok_or(FormError::Boundary)?,
        None => value,
    };
    let is_character = |b: u8| b.is_ascii_alphanumeric() || b"'()+_,-./:=?".contains(&b);
    let good = (1..=MAX_BOUNDARY).contains(&value.len()) && value.bytes().all(is_character);
    if good { Ok(value) } else { Err(FormError::Boundary) }
}

/// The fields of a form, names in lower case, each once.
#[derive(Clone, PartialEq, Eq)]
pub struct FormFields {
    fields: Vec<(String, String)>,
    filename: String,
}

// A policy with its signature is a credential for as long as it has not expired.
impl std::fmt::Debug for FormFields {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.fields.iter().map(|(name, _)| name)).finish()
    }
}

impl FormFields {
    /// The value of a field; `name` in lower case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// All of them, in order.
    pub fn all(&self) -> &[(String, String)] {
        &self.fields
    }

    /// The name of the file without folders, as the browser says; empty if it does not.
    pub fn filename(&self) -> &str {
        &self.filename
    }

    /// Replaces the value of a field.
    pub fn replace(&mut self, name: &str, value: String) {
        if let Some((_, old)) = self.fields.iter_mut().find(|(known, _)| known == name) {
            *old = value;
        }
    }

    /// Fields for tests of later stages.
    #[cfg(test)]
    pub(crate) fn for_test(fields: &[(&str, &str)], filename: &str) -> Self {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { fields, filename: filename.to_owned() }
    }
}

/// Reads a form piece by piece, up to its file.
#[derive(Debug)]
pub struct FormPreamble {
    delimiter: Delimiter,
    /// Everything so far, with a line end before it, so that the first boundary is like the others.
    text: Vec<u8>,
    /// Where the part that is being read begins.
    start: usize,
    /// Up to where it was searched for its end.
    searched: usize,
    place: Place,
    fields: FormFields,
}

#[derive(Debug, PartialEq, Eq)]
enum Place {
    First,
    BehindDelimiter,
    Head,
    Value(String),
    File,
}

/// What the head of a part says.
#[derive(Debug, PartialEq, Eq)]
struct PartHead {
    name: String,
    filename: Option<String>,
}

impl FormPreamble {
    /// A reader at the start of a form.
    pub fn new(delimiter: Delimiter) -> Self {
        Self {
            delimiter,
            text: b"\r\n".to_vec(),
            start: 0,
            searched: 0,
            place: Place::First,
            fields: FormFields { fields: Vec::new(), filename: String::new() },
        }
    }

    /// Takes the next bytes. When the file begins in them, returns how many of them stand before it; nothing may be pushed after that.
    ///
    /// # Errors
    /// [`FormError`], also if there is too much before the file.
    pub fn push(&mut self, input: &[u8]) -> Result<Option<usize>, FormError> {
        let before = self.text.len();
        let room = (MAX_PREAMBLE_BYTES + 2).saturating_sub(before);
        self.text.extend_from_slice(&input[..input.len().min(room)]);
        while self.step()? {}
        match self.place {
            Place::File => Ok(Some(self.start - before)),
            _ if input.len() >= room => Err(FormError::TooLong),
            _ => Ok(None),
        }
    }

    /// Bytes taken before the file.
    pub fn taken(&self) -> usize {
        self.start.max(2) - 2
    }

    /// The fields, once [`FormPreamble::push`] has found the file.
    ///
    /// # Errors
    /// [`FormError::NoFile`] before that.
    pub fn finish(self) -> Result<FormFields, FormError> {
        if self.place == Place::File { Ok(self.fields) } else { Err(FormError::NoFile) }
    }

    /// Reads one element. False if more bytes are needed, or the file was found.
    fn step(&mut self) -> Result<bool, FormError> {
        match &mut self.place {
            Place::First => self.first_delimiter(),
            Place::BehindDelimiter => self.behind_delimiter(),
            Place::Head => self.head(),
            Place::Value(name) => {
                let name = std::mem::take(name);
                self.value(name)
            }
            Place::File => Ok(false),
        }
    }

    fn first_delimiter(&mut self) -> Result<bool, FormError> {
        let delimiter = self.delimiter.as_bytes();
        let length = delimiter.len().min(self.text.len());
        if self.text[..length] != delimiter[..length] {
            return Err(FormError::Malformed("it does not begin with its boundary"));
        }
        if length < delimiter.len() {
            return Ok(false);
        }
        self.go_to(length, Place::BehindDelimiter);
        Ok(true)
    }

    fn behind_delimiter(&mut self) -> Result<bool, FormError> {
        match self.text.get(self.start..self.start + 2) {
            None => Ok(false),
            Some(b"\r\n") => {
                self.go_to(self.start + 2, Place::Head);
                Ok(true)
            }
            Some(b"--") => Err(FormError::NoFile),
            Some(_) => Err(FormError::Malformed("a boundary is followed by something")),
        }
    }

    fn head(&mut self) -> Result<bool, FormError> {
        let Some(end) = self.find(b"\r\n\r\n") else {
            return if self.text.len() - self.start > MAX_PART_HEAD {
                Err(FormError::Malformed("the head of a field is too long"))
            } else {
                Ok(false)
            };
        };
        let PartHead { name, filename } = PartHead::parse(&self.text[self.start..end])?;
        let place = match (name.as_str(), filename) {
            ("file", filename) => {
                self.fields.filename = base_name(filename.unwrap_or_default());
                Place::File
            }
            (_, Some(_)) => return Err(FormError::Malformed("a field other than `file` is a file")),
            (_, None) => {
                self.check_new(&name)?;
                Place::Value(name)
            }
        };
        let found_file = place == Place::File;
        self.go_to(end + 4, place);
        Ok(!found_file)
    }

    fn value(&mut self, name: String) -> Result<bool, FormError> {
        let delimiter = self.delimiter.0.clone();
        let Some(end) = self.find(&delimiter) else {
            self.place = Place::Value(name);
            return Ok(false);
        };
        let value = std::str::from_utf8(&self.text[self.start..end])
            .map_err(|_| FormError::Malformed("a field is not UTF-8"))?;
        self.fields.fields.push((name, value.to_owned()));
        self.go_to(end + delimiter.len(), Place::BehindDelimiter);
        Ok(true)
    }

    fn check_new(&self, name: &str) -> Result<(), FormError> {
        if self.fields.get(name).is_some() {
            return Err(FormError::Doubled(name.to_owned()));
        }
        if self.fields.fields.len() == MAX_FIELDS { Err(FormError::TooMany) } else { Ok(()) }
    }

    fn go_to(&mut self, start: usize, place: Place) {
        (self.start, self.searched, self.place) = (start, start, place);
    }

    /// Where a text stands behind `start`. What was searched once is not searched again, or single bytes would cost their square.
    fn find(&mut self, wanted: &[u8]) -> Option<usize> {
        let from = self.searched.saturating_sub(wanted.len() - 1).max(self.start);
        let found = memchr::memmem::find(&self.text[from..], wanted);
        self.searched = self.text.len();
        found.map(|at| from + at)
    }
}

impl PartHead {
    fn parse(head: &[u8]) -> Result<Self, FormError> {
        let text = std::str::from_utf8(head).map_err(|_| FormError::Malformed("the head of a field is not UTF-8"))?;
        let mut disposition = None;
        for line in text.split("\r\n") {
            if line.chars().any(char::is_control) {
                return Err(FormError::Malformed("the head of a field has a control character"));
            }
            let (name, value) =
                line.split_once(':').ok_or(FormError::Malformed("a line of a field's head has no colon"))?;
            let value = value.trim_matches(' ');
            match name.to_ascii_lowercase().as_str() {
                "content-disposition" if disposition.is_none() => disposition = Some(Self::disposition(value)?),
                // Said of the file alone, and S3 does not look at it either: the type is the field `Content-Type`.
                "content-type" => {}
                // OkHttp sends it; the boundary alone says where a part ends.
                "content-length" => {}
                "content-transfer-encoding" if is_identity(value) => {}
                _ => return Err(FormError::Malformed("the head of a field has a line that is not understood")),
            }
        }
        disposition.ok_or(FormError::Malformed("a field has no Content-Disposition"))
    }

    fn disposition(value: &str) -> Result<Self, FormError> {
        let malformed = || FormError::Malformed("a Content-Disposition is not understood");
        let (kind, mut rest) = value.split_at(value.find(';').unwrap_or(value.len()));
        if !kind.trim_end_matches(' ').eq_ignore_ascii_case("form-data") {
            return Err(malformed());
        }
        let (mut name, mut filename) = (None, None);
        while !rest.is_empty() {
            let parameter = rest.strip_prefix(';').ok_or_else(malformed)?.trim_start_matches(' ');
            let (key, value) = parameter.split_once('=').ok_or_else(malformed)?;
            let (value, behind) = parameter_value(value).ok_or_else(malformed)?;
            // `filename*` is not for forms (RFC 7578 §4.2), and a second name beside the first would be.
            let slot = match key.to_ascii_lowercase().as_str() {
                "name" => &mut name,
                "filename" => &mut filename,
                _ => return Err(malformed()),
            };
            if slot.replace(value.to_owned()).is_some() {
                return Err(malformed());
            }
            rest = behind.trim_start_matches(' ');
        }
        let name = name.filter(|name| !name.is_empty() && !name.contains('\\')).ok_or_else(malformed)?;
        Ok(Self { name: name.to_ascii_lowercase(), filename })
    }
}

/// A token or a quoted text, and what stands behind it. A quote that is escaped has two readings: browsers write `%22`.
fn parameter_value(text: &str) -> Option<(&str, &str)> {
    match text.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"').filter(|(value, _)| !value.ends_with('\\')),
        None => Some(text.split_at(text.find([';', ' ']).unwrap_or(text.len())))
            .filter(|(value, _)| !value.is_empty() && !value.contains(['"', '\\', ','])),
    }
}

fn is_identity(encoding: &str) -> bool {
    ["binary", "8bit", "7bit"].iter().any(|identity| encoding.eq_ignore_ascii_case(identity))
}

/// A path of the client's machine is nobody's business, and `../` in it would lead out of the folder of the key.
fn base_name(filename: String) -> String {
    match filename.rfind(['/', '\\']) {
        Some(at) => filename[at + 1..].to_owned(),
        None => filename,
    }
}

#[cfg(test)]
#[path = "post_form_tests.rs"]
mod tests;
