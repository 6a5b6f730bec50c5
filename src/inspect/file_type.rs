//! The first bytes of an object against its declared media type.
//!
//! Formats with a magic number must show it, and nothing may show the magic number of another format. Text has none, so a text
//! type must not begin like markup or hold binary. Looks at [`WINDOW`] bytes; what a file hides behind them is for scanners.

/// Bytes looked at. Longest magic of the formats below plus generous leading blanks of markup; a tar header is at 257.
pub const WINDOW: usize = 1024;

/// The first bytes do not fit the declared type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("declared as {declared} but the first bytes are {found}")]
pub struct TypeMismatch {
    /// Declared media type.
    pub declared: String,
    /// What the bytes look like.
    pub found: &'static str,
}

/// Types that always begin with their magic number.
const WITH_MAGIC: &[&str] = &[
    "image/png",
    "image/jpeg",
    "image/gif",
    "image/webp",
    "image/bmp",
    "image/tiff",
    "image/heif",
    "image/avif",
    "image/x-icon",
    "image/vnd.adobe.photoshop",
    "application/pdf",
    "application/zip",
    "application/gzip",
    "application/x-bzip2",
    "application/x-xz",
    "application/zstd",
    "application/x-7z-compressed",
    "application/vnd.rar",
    "application/x-tar",
    "application/wasm",
    "application/x-sqlite3",
    "video/mp4",
    "video/webm",
    "video/quicktime",
    "video/x-matroska",
    "audio/mpeg",
    "audio/ogg",
    "audio/x-flac",
    "audio/x-wav",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "application/epub+zip",
    "font/woff",
    "application/font-woff",
];

/// Names of one format, and containers whose content decides the name.
const SAME: &[&[&str]] = &[
    &["image/jpeg", "image/jpg", "image/pjpeg"],
    &["image/bmp", "image/x-ms-bmp"],
    &["image/x-icon", "image/vnd.microsoft.icon"],
    &["image/heif", "image/heic", "image/avif"],
    &["application/gzip", "application/x-gzip", "application/tar+gzip"],
    &["application/x-bzip2", "application/x-bzip"],
    &["application/vnd.rar", "application/x-rar-compressed"],
    &["application/x-sqlite3", "application/vnd.sqlite3"],
    &["audio/x-wav", "audio/wav", "audio/vnd.wave"],
    &["audio/x-flac", "audio/flac"],
    &["audio/mpeg", "audio/mp3"],
    &["application/font-woff", "font/woff"],
    &["video/mp4", "audio/mp4", "audio/m4a", "video/x-m4v", "video/quicktime"],
    &["video/webm", "video/x-matroska", "audio/webm"],
    &["audio/ogg", "video/ogg", "application/ogg", "audio/opus"],
    &[
        "application/zip",
        "application/x-zip-compressed",
        "application/java-archive",
        "application/epub+zip",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        "application/vnd.oasis.opendocument.text",
        "application/vnd.oasis.opendocument.spreadsheet",
        "application/vnd.oasis.opendocument.presentation",
        "application/vnd.android.package-archive",
        "application/vnd.ms-word.document.macroenabled.12",
        "application/vnd.ms-excel.sheet.macroenabled.12",
        "application/vnd.ms-powerpoint.presentation.macroenabled.12",
    ],
    &[
        "application/x-ole-storage",
        "application/msword",
        "application/vnd.ms-excel",
        "application/vnd.ms-powerpoint",
        "application/vnd.ms-outlook",
        "application/x-msi",
    ],
];

/// Markup that a browser runs.
pub(super) const MARKUP: &[&str] =
    &["text/html", "application/xhtml+xml", "text/xml", "application/xml", "image/svg+xml"];

/// Checks the first bytes (at most [`WINDOW`]) of an object against its declared type.
///
/// `application/octet-stream` declares nothing and fits everything; so does a missing type, which S3 stores as that. An empty
/// object fits everything.
///
/// # Errors
/// [`TypeMismatch`] with both sides.
pub fn check(declared: Option<&str>, first: &[u8]) -> Result<(), TypeMismatch> {
    let declared = declared.unwrap_or("application/octet-stream");
    if first.is_empty() || matches!(declared, "application/octet-stream" | "binary/octet-stream") {
        return Ok(());
    }
    let mismatch = |found| Err(TypeMismatch { declared: declared.to_owned(), found });
    let markup = looks_like_markup(first);
    if MARKUP.contains(&declared) || declared.ends_with("+xml") {
        return if markup || is_text(first) { Ok(()) } else { mismatch("binary") };
    }
    if let Some(kind) = infer::get(first).filter(|kind| !MARKUP.contains(&kind.mime_type())) {
        let found = kind.mime_type();
        return if same(declared, found) { Ok(()) } else { mismatch(found) };
    }
    if markup {
        return mismatch("markup");
    }
    if WITH_MAGIC.iter().any(|magic| same(magic, declared)) {
        return mismatch("of no such format");
    }
    if is_text_type(declared) && !is_text(first) {
        return mismatch("binary");
    }
    Ok(())
}

/// Whether two names mean one format.
pub(super) fn same(one: &str, other: &str) -> bool {
    one == other || SAME.iter().any(|group| group.contains(&one) && group.contains(&other))
}

fn is_text_type(declared: &str) -> bool {
    declared.starts_with("text/")
        || declared.ends_with("+json")
        || matches!(
            declared,
            "application/json"
                | "application/javascript"
                | "application/x-ndjson"
                | "application/yaml"
                | "application/toml"
        )
}

/// No NUL and no other control byte that text does not have; UTF-16 is read by its byte order mark.
pub(super) fn is_text(first: &[u8]) -> bool {
    match first {
        [0xff, 0xfe, units @ ..] => is_utf16_text(units, u16::from_le_bytes),
        [0xfe, 0xff, units @ ..] => is_utf16_text(units, u16::from_be_bytes),
        _ => is_narrow_text(first),
    }
}

/// Whole units, none of them a control character that text does not have. An odd length is an object's own: [`WINDOW`] is even.
fn is_utf16_text(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> bool {
    let (units, rest) = bytes.as_chunks::<2>();
    let plain = |unit: u16| !matches!(unit, 0..0x20 | 0x7f..0xa0) || matches!(unit, 0x09 | 0x0a | 0x0c | 0x0d);
    rest.is_empty() && units.iter().all(|bytes| plain(unit(*bytes)))
}

fn is_narrow_text(first: &[u8]) -> bool {
    first.iter().all(|byte| *byte >= 0x20 || matches!(byte, b'\t' | b'\n' | b'\r' | 0x0c | 0x1b))
}

/// Whether a browser could take the bytes for HTML, SVG or XML. UTF-16 is narrowed first, since markup hides in it.
pub(super) fn looks_like_markup(first: &[u8]) -> bool {
    let narrow: Vec<u8> = first.iter().copied().filter(|byte| *byte != 0).collect();
    let text = narrow.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&narrow);
    let text = text.strip_prefix(b"\xff\xfe").or(text.strip_prefix(b"\xfe\xff")).unwrap_or(text);
    let start = text.trim_ascii_start();
    const TAGS: [&[u8]; 22] = [
        b"<!doctype",
        b"<html",
        b"<head",
        b"<body",
        b"<script",
        b"<iframe",
        b"<svg",
        b"<?xml",
        b"<!--",
        b"<title",
        b"<style",
        b"<img",
        b"<table",
        b"<div",
        b"<h1",
        b"<a",
        b"<b",
        b"<p",
        b"<br",
        b"<font",
        b"<form",
        b"<math",
    ];
    TAGS.iter().any(|tag| {
        let ends = |next: Option<&u8>| next.is_none_or(|byte| !byte.is_ascii_alphanumeric());
        start.len() >= tag.len() && start[..tag.len()].eq_ignore_ascii_case(tag) && ends(start.get(tag.len()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
    const ZIP: &[u8] = b"PK\x03\x04\x14\0\0\0";

    #[test]
    fn bytes_that_fit_their_type_pass() {
        for (declared, first) in [
            ("image/png", PNG),
            ("application/zip", ZIP),
            ("image/jpg", b"\xff\xd8\xff\xe0\0\x10JFIF"),
            ("text/plain", b"hello < world"),
            ("application/json", b"{\"a\":1}"),
            ("text/csv", "é,ü\r\n".as_bytes()),
            ("text/html", b"<!DOCTYPE html>"),
            ("image/svg+xml", b"<?xml version=\"1.0\"?><svg/>"),
            ("application/octet-stream", b"MZ\x90\0"),
            ("application/x-own", b"\x01\x02"),
            ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", ZIP),
            ("image/png", b""),
            ("text/plain", b"\xff\xfeh\0i\0\r\0\n\0"),
            ("text/plain", b"\xfe\xff\0h\0\t\0i\x4e\x01"),
            ("text/plain", b"\xff\xfe"),
        ] {
            assert_eq!(check(Some(declared), first), Ok(()), "{declared}");
        }
        assert_eq!(check(None, b"<html>"), Ok(()));
    }

    #[test]
    fn h14_bytes_that_do_not_fit_are_refused() {
        for (declared, first) in [
            ("image/png", &b"<html><script>"[..]),
            ("image/png", b"GIF89a......"),
            ("image/png", b"plain text"),
            ("image/jpeg", PNG),
            ("text/plain", b"  <HTML>"),
            ("text/plain", b"\xef\xbb\xbf<script>"),
            ("text/plain", b"\xff\xfe<\0h\0t\0m\0l\0>\0"),
            ("text/plain", b"<svg xmlns="),
            ("text/plain", PNG),
            ("application/json", b"a\0b"),
            ("application/pdf", b"MZ\x90\0\x03\0\0\0"),
            ("image/svg+xml", b"\x01\x02\x03"),
            ("text/csv", ZIP),
            ("text/plain", b"\xff\xfeMZ\x90\0"),
            ("text/plain", b"\xff\xfeM\0Z\0\x90\0"),
            ("text/plain", b"\xff\xfeh\0i"),
            ("text/plain", b"\xff\xfeh\0\x01\0"),
            ("text/plain", b"\xfe\xff\0h\0\0"),
            ("text/plain", b"\xfe\xffh\0i\0\x07"),
            ("application/x-own", b"<html>"),
        ] {
            assert!(check(Some(declared), first).is_err(), "{declared} {first:?}");
        }
    }
}
