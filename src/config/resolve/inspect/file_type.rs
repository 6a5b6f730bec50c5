//! `file_type` of an inspector.

use super::super::super::forms::OneOrMany;
use super::super::super::path::Path;
use super::super::super::raw_inspect::RawFileType;
use super::super::super::suggest::did_you_mean;
use super::super::clients::{check_texts, text_path};
use super::super::desk::Desk;
use crate::inspect::kinds::{Class, Denied, Settings, TypePattern};

/// Its settings; `None` if a problem was reported.
pub fn resolve(desk: &mut Desk<'_>, path: &Path, raw: &RawFileType) -> Option<Settings> {
    let allow = each(desk, &path.key("allow"), raw.allow.as_ref(), |text| {
        TypePattern::parse(text).ok_or_else(|| "write a media type: image/png, or image/*".to_owned())
    });
    let names = Class::ALL.map(Class::as_str);
    let deny = each(desk, &path.key("deny"), raw.deny.as_ref(), |text| {
        let class = Class::named(text).map(Denied::Class);
        let denied = class.or_else(|| TypePattern::parse(text).map(Denied::Type));
        denied.ok_or_else(|| format!("{}write a media type, or one of {}", did_you_mean(text, names), names.join(", ")))
    });
    Some(Settings {
        allow: allow?,
        deny: deny?,
        match_declared: raw.match_declared.unwrap_or(true),
        match_extension: raw.match_extension.unwrap_or(true),
    })
}

/// Reads each text of a list; `None` if one has a problem.
fn each<T>(
    desk: &mut Desk<'_>,
    path: &Path,
    written: Option<&OneOrMany>,
    read: impl Fn(&str) -> Result<T, String>,
) -> Option<Vec<T>> {
    let Some(written) = written else { return Some(Vec::new()) };
    check_texts(desk, path, written, "name a type, or remove the list");
    let mut values = Vec::new();
    for (position, text) in written.texts().iter().enumerate().filter(|(_, text)| !text.is_empty()) {
        match read(text) {
            Ok(value) => values.push(value),
            Err(help) => desk.report(&text_path(path, written, position), format!("there is no type `{text}`"), help),
        }
    }
    (!values.is_empty() && values.len() == written.texts().len()).then_some(values)
}
