//! The object that is looked at, in words.

/// What an inspector is told about an object. Everything in it but the sizes is the client's choice: data, never a part of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The request that brought it.
    pub request_id: String,
    /// Who sends or reads it.
    pub principal: String,
    /// Public name of its bucket.
    pub bucket: String,
    /// Public key.
    pub key: String,
    /// Declared media type in lower case, without parameters.
    pub media_type: Option<String>,
    /// Declared `Content-Encoding` without `aws-chunked`; the bytes are encoded so.
    pub content_encoding: Option<String>,
    /// Bytes, if declared.
    pub length: Option<u64>,
    /// Where it goes.
    pub direction: Direction,
}

/// Under what circumstances an object is looked at: what a [`Subject`] has beside the object itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Circumstances<'a> {
    /// Who sends or reads it.
    pub principal: &'a str,
    /// Public name of its bucket.
    pub bucket: &'a str,
    /// Public key.
    pub key: &'a str,
    /// Where it goes.
    pub direction: Direction,
}

/// On how much of the circumstances a verdict depends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Regards {
    /// None of them: bytes, types and the end of the name are the object's own.
    Object,
    /// Where it lies, and which way it goes.
    Place,
    /// That, and who sends or reads it.
    Reader,
}

/// Which way an object passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From a client to a store.
    Upload,
    /// From a store to a client.
    Download,
}

impl Direction {
    /// The word in requests to hooks.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Upload => "upload",
            Self::Download => "download",
        }
    }
}

impl Subject {
    /// Whether the bytes are encoded in no other way than gzip, which virus scanners look into by themselves. They take brotli, zstd and
    /// bare deflate for data.
    pub fn is_plain_or_gzip(&self) -> bool {
        let mut codings = self.content_encoding.as_deref().unwrap_or_default().split(',').map(str::trim);
        codings.all(|coding| ["", "identity", "gzip", "x-gzip"].iter().any(|name| coding.eq_ignore_ascii_case(name)))
    }

    /// Whether the bytes are encoded, so that they are not what a reader will see. A scanner that does not decode them must say
    /// [`NotScannable`](crate::inspect::Verdict::NotScannable).
    pub fn is_encoded(&self) -> bool {
        let codings = self.content_encoding.as_deref().unwrap_or_default().split(',').map(str::trim);
        codings.filter(|coding| !coding.is_empty()).any(|coding| !coding.eq_ignore_ascii_case("identity"))
    }
}
