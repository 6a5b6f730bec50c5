//! Classes of types that have one danger in common.

use crate::inspect::file_type::MARKUP;
use crate::inspect::patterns;

/// A class of types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// What a browser runs when it is opened: HTML, SVG, XML, MHTML.
    ActiveContent,
    /// Programs and scripts.
    Executables,
    /// Files that hold other files, or one in another form; not Office documents and books.
    Archives,
    /// Office documents with macros (VBA).
    Macros,
    /// Zip archives with an encrypted entry, and Office documents with a password.
    EncryptedArchives,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::ActiveContent, Self::Executables, Self::Archives, Self::Macros, Self::EncryptedArchives];

    /// The word in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ActiveContent => "active-content",
            Self::Executables => "executables",
            Self::Archives => "archives",
            Self::Macros => "macros",
            Self::EncryptedArchives => "encrypted-archives",
        }
    }

    /// The class of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == name)
    }

    /// The name of the match in a verdict.
    pub(super) fn name(self) -> String {
        format!("file_type.{}", self.as_str())
    }
}

const EXECUTABLES: &[&str] = &[
    "application/vnd.microsoft.portable-executable",
    "application/x-executable",
    "application/x-mach-binary",
    "application/java-vm",
    "application/java-archive",
    "application/vnd.android.dex",
    "application/vnd.android.package-archive",
    "application/x-msdownload",
    "application/x-msdos-program",
    "application/x-msi",
    "application/x-ms-shortcut",
    "application/x-sh",
    "text/x-shellscript",
    "application/wasm",
    "application/hta",
];

const ARCHIVES: &[&str] = &[
    "application/zip",
    "application/x-zip-compressed",
    "application/gzip",
    "application/x-gzip",
    "application/x-bzip2",
    "application/x-bzip",
    "application/x-xz",
    "application/zstd",
    "application/x-7z-compressed",
    "application/vnd.rar",
    "application/x-rar-compressed",
    "application/x-tar",
    "application/vnd.ms-cab-compressed",
    "application/x-iso9660-image",
    "application/x-lz4",
    "application/x-compress",
    "application/x-lzip",
    "application/vnd.debian.binary-package",
    "application/x-rpm",
];

/// The class of a media type, if it has one.
pub(super) fn of_type(media_type: &str) -> Option<Class> {
    let active = MARKUP.contains(&media_type)
        || media_type.ends_with("+xml")
        || matches!(media_type, "multipart/related" | "message/rfc822" | "application/x-mimearchive");
    if active {
        Some(Class::ActiveContent)
    } else if EXECUTABLES.contains(&media_type) {
        Some(Class::Executables)
    } else if ARCHIVES.contains(&media_type) {
        Some(Class::Archives)
    } else if media_type.contains("macroenabled") {
        Some(Class::Macros)
    } else {
        None
    }
}

/// What gives away macros and passwords in Office documents, unpacked or as it is: the name of the part and its content type (OOXML), and
/// names of streams (OLE2), which are UTF-16.
pub(super) fn inside_office(with_macros: bool) -> patterns::Settings {
    let wide = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).map(char::from).collect::<String>();
    let narrow = ["vbaProject.bin", "application/vnd.ms-office.vbaProject", ".macroEnabled."];
    let macros = narrow.map(str::to_owned).into_iter().chain([wide("_VBA_PROJECT")]);
    let macros = macros.filter(|_| with_macros).map(|text| (Class::Macros, text));
    let literals = macros.chain([(Class::EncryptedArchives, wide("EncryptedPackage"))]);
    patterns::Settings {
        literals: literals.map(|(class, text)| (class.as_str().to_owned(), text)).collect(),
        ignore_case: true,
        count: 1,
        ..patterns::Settings::default()
    }
}
