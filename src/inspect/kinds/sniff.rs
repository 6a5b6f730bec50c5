//! What the first bytes of a file show.

use memchr::memmem;

use super::classes::Class;
use crate::inspect::file_type::{WINDOW, is_text, looks_like_markup};

/// What was seen.
#[derive(Debug)]
pub(super) struct Sniffed {
    /// The type, if there is a magic number.
    pub(super) media_type: Option<&'static str>,
    /// What it is without one.
    pub(super) plain: &'static str,
    /// Classes beyond that of the type.
    pub(super) classes: Vec<Class>,
    /// Another type that the same bytes could be taken for.
    pub(super) polyglot: Option<&'static str>,
    pub(super) is_markup: bool,
    pub(super) is_zip: bool,
    /// An OLE2 container: Office documents before 2007, installers.
    pub(super) is_ole: bool,
}

/// Programs, by their first bytes. Those of Mach-O in both byte orders; a fat one and a class of Java begin alike, and are both programs.
const PROGRAMS: [(&[u8], &str); 12] = [
    (b"MZ", "application/vnd.microsoft.portable-executable"),
    (b"\x7fELF", "application/x-executable"),
    (b"\xfe\xed\xfa\xce", "application/x-mach-binary"),
    (b"\xfe\xed\xfa\xcf", "application/x-mach-binary"),
    (b"\xce\xfa\xed\xfe", "application/x-mach-binary"),
    (b"\xcf\xfa\xed\xfe", "application/x-mach-binary"),
    (b"\xca\xfe\xba\xbe", "application/java-vm"),
    (b"dex\n", "application/vnd.android.dex"),
    (b"#!", "text/x-shellscript"),
    (b"\xef\xbb\xbf#!", "text/x-shellscript"),
    (b"L\0\0\0\x01\x14\x02\0", "application/x-ms-shortcut"),
    (b"\0asm", "application/wasm"),
];

/// Archives that `infer` does not know, or knows by another name.
const ARCHIVES: [(&[u8], &str); 5] = [
    (b"\x28\xb5\x2f\xfd", "application/zstd"),
    (b"\x04\x22\x4d\x18", "application/x-lz4"),
    (b"MSCF\0\0\0\0", "application/vnd.ms-cab-compressed"),
    (b"PK\x05\x06", "application/zip"),
    (b"Rar!\x1a\x07", "application/vnd.rar"),
];

const OLE: &[u8] = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1";

impl Sniffed {
    /// Looks at the first bytes of an object.
    pub(super) fn of(head: &[u8]) -> Self {
        let window = &head[..head.len().min(WINDOW)];
        let markup = looks_like_markup(window);
        let text = is_text(window);
        let is_zip = head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06");
        let media_type = if markup { Some(markup_type(window)) } else { magic(head) };
        let mut classes = Vec::new();
        if text && is_mhtml(window) {
            classes.push(Class::ActiveContent);
        }
        if is_zip && memmem::find(window, b"META-INF/MANIFEST.MF").is_some() {
            classes.push(Class::Executables);
        }
        let plain = if text { "text/plain" } else { "application/octet-stream" };
        let polyglot = if text || markup { None } else { polyglot(window, media_type) };
        Self { media_type, plain, classes, polyglot, is_markup: markup, is_zip, is_ole: head.starts_with(OLE) }
    }
}

fn magic(head: &[u8]) -> Option<&'static str> {
    let known = PROGRAMS.iter().chain(&ARCHIVES).find(|(magic, _)| head.starts_with(magic));
    known.map(|(_, name)| *name).or_else(|| infer::get(head).map(|kind| kind.mime_type()))
}

fn markup_type(window: &[u8]) -> &'static str {
    let narrow: Vec<u8> = window.iter().filter(|byte| **byte != 0).map(u8::to_ascii_lowercase).collect();
    let has = |text: &[u8]| memmem::find(&narrow, text).is_some();
    let is_html = has(b"<html") || has(b"<!doctype html");
    match (is_html, has(b"<svg"), has(b"<?xml")) {
        (false, true, _) => "image/svg+xml",
        (false, false, true) => "application/xml",
        _ => "text/html",
    }
}

/// A page with all it needs in one file (RFC 2557): a mail, in form.
fn is_mhtml(window: &[u8]) -> bool {
    let lower = window.to_ascii_lowercase();
    memmem::find(&lower, b"mime-version:").is_some() && memmem::find(&lower, b"multipart/related").is_some()
}

/// Binary formats with another format near the begin, where programs look for it: PDF in the first 1024 bytes, HTML where browsers sniff.
fn polyglot(window: &[u8], media_type: Option<&'static str>) -> Option<&'static str> {
    let lower = window.to_ascii_lowercase();
    let has = |text: &[u8]| memmem::find(&lower, text).is_some();
    if has(b"%pdf-1.") && media_type != Some("application/pdf") {
        return Some("pdf");
    }
    let tags: [&[u8]; 5] = [b"<html", b"<script", b"<!doctype html", b"<svg", b"<iframe"];
    tags.into_iter().any(has).then_some("html")
}
