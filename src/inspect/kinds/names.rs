//! What the extension of a key says.

use super::classes::Class;

/// Extensions and their media types. Those that programs give to files of several types are not here.
const EXTENSIONS: &[(&str, &str)] = &[
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("gif", "image/gif"),
    ("webp", "image/webp"),
    ("bmp", "image/bmp"),
    ("tif", "image/tiff"),
    ("tiff", "image/tiff"),
    ("ico", "image/x-icon"),
    ("heic", "image/heif"),
    ("avif", "image/avif"),
    ("svg", "image/svg+xml"),
    ("html", "text/html"),
    ("htm", "text/html"),
    ("xhtml", "application/xhtml+xml"),
    ("xml", "application/xml"),
    ("mht", "multipart/related"),
    ("mhtml", "multipart/related"),
    ("txt", "text/plain"),
    ("csv", "text/csv"),
    ("css", "text/css"),
    ("md", "text/markdown"),
    ("json", "application/json"),
    ("js", "application/javascript"),
    ("yaml", "application/yaml"),
    ("pdf", "application/pdf"),
    ("zip", "application/zip"),
    ("gz", "application/gzip"),
    ("tgz", "application/gzip"),
    ("bz2", "application/x-bzip2"),
    ("xz", "application/x-xz"),
    ("zst", "application/zstd"),
    ("7z", "application/x-7z-compressed"),
    ("rar", "application/vnd.rar"),
    ("tar", "application/x-tar"),
    ("cab", "application/vnd.ms-cab-compressed"),
    ("iso", "application/x-iso9660-image"),
    ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ("pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
    ("odt", "application/vnd.oasis.opendocument.text"),
    ("ods", "application/vnd.oasis.opendocument.spreadsheet"),
    ("odp", "application/vnd.oasis.opendocument.presentation"),
    ("epub", "application/epub+zip"),
    ("docm", "application/vnd.ms-word.document.macroenabled.12"),
    ("xlsm", "application/vnd.ms-excel.sheet.macroenabled.12"),
    ("pptm", "application/vnd.ms-powerpoint.presentation.macroenabled.12"),
    ("mp3", "audio/mpeg"),
    ("wav", "audio/x-wav"),
    ("flac", "audio/x-flac"),
    ("ogg", "audio/ogg"),
    ("mp4", "video/mp4"),
    ("mov", "video/quicktime"),
    ("webm", "video/webm"),
    ("mkv", "video/x-matroska"),
    ("woff", "font/woff"),
    ("jar", "application/java-archive"),
    ("apk", "application/vnd.android.package-archive"),
    ("wasm", "application/wasm"),
];

/// Extensions by which systems run a file, whatever is in it.
const PROGRAMS: &[&str] = &[
    "exe", "dll", "scr", "com", "cpl", "sys", "bat", "cmd", "ps1", "psm1", "vbs", "vbe", "jse", "wsf", "wsh", "msi",
    "msp", "lnk", "hta", "sh", "bash", "elf", "so", "dylib", "class", "dex", "jar", "apk", "app", "command", "reg",
    "pif",
];

/// The extension, and those that Windows sees: it drops dots and blanks at the end, and what follows a colon is not the name of the file.
fn extensions(key: &str) -> impl Iterator<Item = String> {
    let name = key.rsplit('/').next().unwrap_or(key);
    name.split(':').filter_map(|name| {
        let name = name.trim_end_matches(|end: char| end == '.' || end.is_whitespace());
        let (stem, extension) = name.rsplit_once('.')?;
        (!stem.is_empty() && extension.len() <= 8).then(|| extension.to_ascii_lowercase())
    })
}

/// The media type that the extension of a key or file name says, if it is a known one.
pub fn media_type_of(key: &str) -> Option<&'static str> {
    let extension = extensions(key).next()?;
    EXTENSIONS.iter().find(|(known, _)| *known == extension).map(|(_, media_type)| *media_type)
}

/// Programs by their extension.
pub(super) fn class_of(key: &str) -> Option<Class> {
    extensions(key).any(|extension| PROGRAMS.contains(&extension.as_str())).then_some(Class::Executables)
}

/// Declared types that files with the extension of another type may well have: text is declared in many ways, and so is XML.
pub(super) fn may_be_called(declared: &str, by_name: &str) -> bool {
    let is_text = |media_type: &str| {
        media_type.starts_with("text/") && media_type != "text/html" && media_type != "text/xml"
            || matches!(
                media_type,
                "application/json"
                    | "application/javascript"
                    | "application/yaml"
                    | "application/x-yaml"
                    | "application/x-ndjson"
                    | "application/toml"
            )
    };
    let is_xml =
        |media_type: &str| matches!(media_type, "text/xml" | "application/xml") || media_type.ends_with("+xml");
    (is_text(declared) && is_text(by_name)) || (by_name == "application/xml" && is_xml(declared))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_known_by_every_name_that_a_system_takes_for_its_own() {
        for key in ["in/a.exe", "a.EXE.", "a.exe ", "a.exe. .", "a.exe::$DATA", "a.exe:x.txt", "x:a.exe", "a.txt:b.exe"]
        {
            assert_eq!(class_of(key), Some(Class::Executables), "{key}");
        }
        for key in ["a.exe/b.txt", "exe", ".exe", "a.exe.txt", "a:exe"] {
            assert_eq!(class_of(key), None, "{key}");
        }
        assert_eq!(media_type_of("x:a.PNG. "), Some("image/png"));
    }
}
