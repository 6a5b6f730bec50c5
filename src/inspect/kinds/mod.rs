//! Knows types of files by their bytes, and holds them against what the client says: media type and extension of the key.
//!
//! Looks at the first [`HEAD`] bytes, at the end of a zip wherever it stands, and, if macros or encryption are asked for, into zip
//! archives. Goes by magic numbers, so it says what programs would take a file for, not whether it is harmless.

mod classes;
mod names;
mod sniff;

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;

pub use classes::Class;
pub use names::media_type_of;

use crate::inspect::patterns::{Search, matcher::Matcher};
use crate::inspect::unpack::{Attempt, EndOfZip, Limits, UnpackError, Unpacker};
use crate::inspect::{BuildError, Content, Inspector, Look, Subject, Verdict, file_type};
use sniff::Sniffed;

/// Bytes that are looked at before the first verdict. Office documents show what they are in the names of their first entries.
pub const HEAD: usize = 8 * 1024;

/// How far archives are read through for macros and encryption.
const UNPACKED: Limits = Limits { bytes: 1 << 30, depth: 2, entries: 10_000 };

/// What it is configured with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// The only types there may be; none are named if all may be.
    pub allow: Vec<TypePattern>,
    /// Types and classes there must not be.
    pub deny: Vec<Denied>,
    /// Whether the bytes must fit the declared type.
    pub match_declared: bool,
    /// Whether they, and the declared type, must fit the extension of the key.
    pub match_extension: bool,
}

/// What there must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denied {
    /// A class.
    Class(Class),
    /// A media type.
    Type(TypePattern),
}

/// A media type in lower case, or `type/*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypePattern(String);

impl TypePattern {
    /// Reads one; `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let is_token = |part: &str| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
        };
        let (kind, rest) = text.split_once('/')?;
        (is_token(kind) && (rest == "*" || is_token(rest))).then(|| Self(text.to_ascii_lowercase()))
    }

    fn takes(&self, media_type: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(begin) => media_type.starts_with(begin),
            None => file_type::same(&self.0, media_type),
        }
    }
}

/// Makes the inspector of this name.
///
/// # Errors
/// Never; like those of the other kinds.
pub fn build(name: &str, settings: &Settings) -> Result<Arc<dyn Inspector>, BuildError> {
    let wants = |class| settings.deny.contains(&Denied::Class(class));
    let inside = wants(Class::Macros) || wants(Class::EncryptedArchives);
    let inside = inside.then(|| Matcher::new(&classes::inside_office(wants(Class::Macros))));
    let inside =
        inside.transpose().map_err(|error| BuildError { inspector: name.to_owned(), problem: error.to_string() })?;
    let digest =
        hex::encode(digest(&SHA256, format!("file_type {} {settings:?}", env!("CARGO_PKG_VERSION")).as_bytes()));
    Ok(Arc::new(Kinds { settings: settings.clone(), inside: inside.map(Arc::new), digest }))
}

#[derive(Debug)]
struct Kinds {
    settings: Settings,
    /// What to search for in archives and Office documents.
    inside: Option<Arc<Matcher>>,
    digest: String,
}

impl Inspector for Kinds {
    fn look(self: Arc<Self>, subject: Arc<Subject>, mut content: Content) -> Look {
        Box::pin(async move {
            if subject.is_encoded() {
                return Verdict::not_scannable("the content is encoded, so its type cannot be seen");
            }
            let mut object = Object { kinds: &self, subject: &subject, head: Vec::new(), rest: None };
            loop {
                match content.next().await {
                    Ok(Some(bytes)) => {
                        if let Err(verdict) = object.feed(bytes).await {
                            return verdict;
                        }
                    }
                    Ok(None) => return object.finish().await,
                    Err(broken_off) => return Verdict::error(broken_off.to_string()),
                }
            }
        })
    }

    fn digest(&self) -> String {
        self.digest.clone()
    }
}

/// One object that is looked at.
struct Object<'a> {
    kinds: &'a Kinds,
    subject: &'a Subject,
    /// Until it is full.
    head: Vec<u8>,
    /// From then on.
    rest: Option<Rest>,
}

/// What is looked for behind the head.
struct Rest {
    sniffed: Sniffed,
    end_of_zip: EndOfZip,
    search: Option<Search>,
}

impl Object<'_> {
    /// A verdict that is there early is the error.
    async fn feed(&mut self, mut bytes: Bytes) -> Result<(), Verdict> {
        if self.rest.is_none() {
            let taken = bytes.len().min(HEAD - self.head.len());
            self.head.extend_from_slice(&bytes.split_to(taken));
            if self.head.len() < HEAD {
                return Ok(());
            }
            self.judge_head().await?;
        }
        match &mut self.rest {
            Some(rest) => rest.feed(bytes, self.kinds).await,
            None => Ok(()),
        }
    }

    async fn finish(mut self) -> Verdict {
        if self.rest.is_none()
            && let Err(verdict) = self.judge_head().await
        {
            return verdict;
        }
        match self.rest {
            Some(rest) => rest.finish(self.kinds).await,
            None => Verdict::Clean,
        }
    }

    async fn judge_head(&mut self) -> Result<(), Verdict> {
        let head = std::mem::take(&mut self.head);
        let sniffed = Sniffed::of(&head);
        self.kinds.judge(self.subject, &sniffed, &head).map_err(Verdict::matched)?;
        let search = self.kinds.inside.as_ref().filter(|_| sniffed.is_zip || sniffed.is_ole);
        let length = self.subject.length;
        let search =
            search.map(|matcher| Search::new(matcher, Attempt::with(Unpacker::new(UNPACKED, None, length).ok())));
        let mut rest = Rest { sniffed, end_of_zip: EndOfZip::new(length), search };
        rest.feed(Bytes::from(head), self.kinds).await?;
        self.rest = Some(rest);
        Ok(())
    }
}

impl Rest {
    async fn feed(&mut self, bytes: Bytes, kinds: &Kinds) -> Result<(), Verdict> {
        self.end_of_zip.feed(&bytes);
        if let Some(search) = &mut self.search
            && !search.feed(bytes).await
            && let Some(search) = self.search.take()
        {
            return Err(kinds.judge_inside(search).await);
        }
        Ok(())
    }

    async fn finish(mut self, kinds: &Kinds) -> Verdict {
        // What holds whole files may well end with a zip.
        let holds_files = self.sniffed.is_zip || self.sniffed.media_type == Some("application/x-tar");
        if self.end_of_zip.finish() && !holds_files {
            if kinds.denies(Class::Archives) {
                return Verdict::matched(Class::Archives.name());
            }
            if kinds.settings.match_declared {
                return Verdict::matched("file_type.polyglot.zip");
            }
        }
        match self.search.take() {
            Some(search) => kinds.judge_inside(search).await,
            None => Verdict::Clean,
        }
    }
}

impl Kinds {
    fn denies(&self, class: Class) -> bool {
        self.settings.deny.contains(&Denied::Class(class))
    }

    /// Judges what is inside an archive or an Office document.
    async fn judge_inside(&self, search: Search) -> Verdict {
        let (found, failed) = search.finish().await;
        let found = found.as_deref().and_then(|name| Class::named(name.strip_prefix("literals.")?));
        let class = found.or((failed == Some(UnpackError::Encrypted)).then_some(Class::EncryptedArchives));
        match (class, failed) {
            (Some(class), _) if self.denies(class) => Verdict::matched(class.name()),
            // Only macros are denied, and they cannot be seen.
            (Some(_), _) => Verdict::not_scannable("it is encrypted"),
            (None, Some(error)) => Verdict::not_scannable(error.to_string()),
            (None, None) => Verdict::Clean,
        }
    }

    /// Judges an object by what is said of it and by its first bytes. The error is the name of what was found.
    fn judge(&self, subject: &Subject, sniffed: &Sniffed, head: &[u8]) -> Result<(), String> {
        let settings = &self.settings;
        let declared = subject.media_type.as_deref().unwrap_or(UNKNOWN);
        let by_name = names::media_type_of(&subject.key);
        let said = [Some(declared), by_name, sniffed.media_type].into_iter().flatten();
        let classes = said.clone().filter_map(classes::of_type).chain(sniffed.classes.iter().copied());
        for class in classes.chain(names::class_of(&subject.key)) {
            if settings.deny.contains(&Denied::Class(class)) {
                return Err(class.name());
            }
        }
        for denied in &settings.deny {
            if let Denied::Type(pattern) = denied
                && let Some(media_type) = said.clone().find(|media_type| pattern.takes(media_type))
            {
                return Err(format!("file_type.{media_type}"));
            }
        }
        self.check_allowed(declared, sniffed)?;
        let first = &head[..head.len().min(file_type::WINDOW)];
        if settings.match_declared {
            file_type::check(Some(declared), first)
                .map_err(|error| format!("file_type.not-declared.{}", error.found))?;
            if let Some(other) = sniffed.polyglot {
                return Err(format!("file_type.polyglot.{other}"));
            }
        }
        let Some(by_name) = by_name.filter(|_| settings.match_extension) else { return Ok(()) };
        let vague = declared == UNKNOWN || declared == "binary/octet-stream";
        if !vague && !file_type::same(declared, by_name) && !names::may_be_called(declared, by_name) {
            return Err(format!("file_type.wrong-extension.{declared}"));
        }
        file_type::check(Some(by_name), first).map_err(|error| format!("file_type.wrong-extension.{}", error.found))
    }

    /// What is declared must be on the list, and so must be what is found; bytes that show nothing count as what is declared.
    fn check_allowed(&self, declared: &str, sniffed: &Sniffed) -> Result<(), String> {
        let allow = &self.settings.allow;
        if allow.is_empty() {
            return Ok(());
        }
        // Markup has many names, of which the bytes show three.
        let is_named = sniffed.is_markup && classes::of_type(declared) == Some(Class::ActiveContent);
        let found = sniffed.media_type.filter(|_| !is_named);
        let found = found.unwrap_or(if self.settings.match_declared { declared } else { sniffed.plain });
        let declared = Some(declared).filter(|_| self.settings.match_declared);
        for media_type in declared.into_iter().chain([found]) {
            if !allow.iter().any(|pattern| pattern.takes(media_type)) {
                return Err(format!("file_type.not-allowed.{media_type}"));
            }
        }
        Ok(())
    }
}

/// What is declared by a client that declares nothing.
const UNKNOWN: &str = "application/octet-stream";

#[cfg(test)]
mod tests;
