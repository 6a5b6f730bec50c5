//! What a client asks for: the parameters of the four lists, decoded and checked.

use crate::s3::identify::S3Call;
use crate::s3::listing::{ListKind, MAX_KEYS};
use crate::s3::names::{KeyError, check_text};

/// Parameters of a list, decoded and checked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListRequest {
    /// Which list.
    pub kind: ListKind,
    /// Keys must begin with this.
    pub prefix: String,
    /// Keys are grouped up to this text.
    pub delimiter: Option<String>,
    /// Most entries and groups in the answer, 0 to 1,000.
    pub max_keys: u32,
    /// Where a former page ended; opaque, made by the gateway, without [`SEALED_MARKER`].
    pub token: Option<String>,
    /// Only keys after this one: `start-after`, or a `marker` or `key-marker` that is a name.
    pub start_after: Option<String>,
    /// Of the key `start_after` the versions behind this one as well.
    pub version_marker: Option<String>,
    /// Whether names in the answer are percent-encoded.
    pub url_encoded: bool,
}

/// What a marker of the gateway begins with. A client may as well send the last key it saw, so the two must differ: a marker that does not
/// open any more must not be taken for a key, behind which the listing would silently go on.
pub const SEALED_MARKER: &str = "countersign-next.";

/// Why list parameters were not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// `max-keys` or `max-uploads` is not a number from 0 on.
    #[error("{0} must be a number from 0 to 2147483647")]
    Max(&'static str),
    /// `encoding-type` is not `url`.
    #[error("encoding-type must be `url`")]
    EncodingType,
    /// The prefix could not be the beginning of an acceptable key.
    #[error("prefix: {0}")]
    Prefix(KeyError),
    /// The delimiter has a control character.
    #[error("delimiter: {0}")]
    Delimiter(KeyError),
    /// `start-after`, `marker` or `key-marker` is not an acceptable key.
    #[error("{0}: {1}")]
    StartAfter(&'static str, KeyError),
    /// A `version-id-marker` without a key it could belong to.
    #[error("version-id-marker goes with a key-marker that is a key")]
    VersionMarker,
    /// An `upload-id-marker`. The gateway gives none.
    #[error("upload-id-marker is not accepted; the next page follows NextKeyMarker alone")]
    UploadMarker,
    /// The token or marker is not one of the gateway's, or of another caller or listing.
    #[error("the continuation token or marker is not valid here")]
    Token,
}

impl ListRequest {
    /// Reads the parameters of a list.
    ///
    /// # Errors
    /// [`ListError`] for the first parameter that is not acceptable.
    pub fn parse(kind: ListKind, call: &S3Call) -> Result<Self, ListError> {
        let odd = call.resource.bucket().map(|bucket| bucket.odd_keys).unwrap_or_default();
        let text = |name: &str| call.parameter(name).filter(|value| !value.is_empty()).map(str::to_owned);
        let prefix = text("prefix").unwrap_or_default();
        check_text(&prefix, odd).map_err(ListError::Prefix)?;
        let delimiter = text("delimiter");
        if delimiter.as_ref().is_some_and(|text| text.chars().any(char::is_control)) {
            return Err(ListError::Delimiter(KeyError::Control));
        }
        let (parameter, ..) = kind.words().marker;
        let (token, after, after_name) = match text(parameter) {
            marker if kind == ListKind::ObjectsV2 => (marker, text("start-after"), "start-after"),
            Some(marker) => match marker.strip_prefix(SEALED_MARKER) {
                Some(sealed) => (Some(sealed.to_owned()), None, parameter),
                None => (None, Some(marker), parameter),
            },
            None => (None, None, parameter),
        };
        if let Some(key) = &after {
            check_text(key, odd).map_err(|error| ListError::StartAfter(after_name, error))?;
        }
        let version_marker = text("version-id-marker");
        if version_marker.is_some() && after.is_none() {
            return Err(ListError::VersionMarker);
        }
        if text("upload-id-marker").is_some() {
            return Err(ListError::UploadMarker);
        }
        let (max_name, _) = kind.words().max;
        let max_keys = match text(max_name) {
            None => MAX_KEYS,
            Some(number) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
                number.parse::<i32>().map_err(|_| ListError::Max(max_name))?.unsigned_abs().min(MAX_KEYS)
            }
            Some(_) => return Err(ListError::Max(max_name)),
        };
        let url_encoded = match call.parameter("encoding-type") {
            None => false,
            Some("url") => true,
            Some(_) => return Err(ListError::EncodingType),
        };
        Ok(Self { kind, prefix, delimiter, max_keys, token, start_after: after, version_marker, url_encoded })
    }

    /// The group that the delimiter puts a name into, if it does.
    pub fn group_of(&self, name: &str) -> Option<String> {
        let delimiter = self.delimiter.as_ref()?;
        let beyond = name.strip_prefix(&self.prefix)?;
        let end = beyond.find(delimiter.as_str())? + delimiter.len();
        Some(format!("{}{}", self.prefix, &beyond[..end]))
    }

    /// The token or marker as the client sent it.
    pub(in crate::s3) fn marker(&self) -> Option<String> {
        match (self.kind, &self.token) {
            (ListKind::ObjectsV2, token) => token.clone(),
            (_, Some(sealed)) => Some(format!("{SEALED_MARKER}{sealed}")),
            (_, None) => self.start_after.clone(),
        }
    }
}
