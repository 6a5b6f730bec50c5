//! The terms of a rule as `explain` shows them: those that a permitted request must keep to.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use serde::Serialize;

use crate::inspect::InspectionTerms;
use crate::rules::Terms;
use crate::rules::settings::Rates;

#[derive(Debug, Serialize)]
pub(super) struct TermsView {
    limits: SizesView,
    content: ContentView,
    #[serde(skip_serializing_if = "Option::is_none")]
    inspect: Option<InspectView>,
    headers: HeadersView,
    response_overrides: bool,
}

#[derive(Debug, Serialize)]
struct SizesView {
    min_size: u64,
    max_size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    per_principal: Option<RatesView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    together: Option<RatesView>,
}

/// How much may be done at a time, in the keys of the configuration.
#[derive(Debug, Serialize)]
struct RatesView {
    request_rate: Option<u32>,
    request_burst: Option<u32>,
    upload_rate: Option<u64>,
    download_rate: Option<u64>,
    requests_in_flight: Option<u32>,
}

impl RatesView {
    fn of(rates: &Rates) -> Option<Self> {
        (!rates.is_open()).then(|| Self {
            request_rate: rates.requests.map(|rate| rate.per_second.get()),
            request_burst: rates.requests.map(|rate| rate.burst.get()),
            upload_rate: rates.upload.map(NonZeroU64::get),
            download_rate: rates.download.map(NonZeroU64::get),
            requests_in_flight: rates.in_flight,
        })
    }

    fn line(&self) -> String {
        let parts = [
            self.request_rate.map(|rate| format!("{rate} requests/s")),
            self.request_burst.map(|burst| format!("burst {burst}")),
            self.upload_rate.map(|rate| format!("up {rate} bytes/s")),
            self.download_rate.map(|rate| format!("down {rate} bytes/s")),
            self.requests_in_flight.map(|number| format!("{number} in flight")),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

#[derive(Debug, Serialize)]
struct ContentView {
    types: Vec<String>,
    extensions: Vec<String>,
    check_bytes: bool,
    signed_payload: bool,
}

/// What looks into the bytes, in the keys of the configuration.
#[derive(Debug, Serialize)]
struct InspectView {
    with: Vec<String>,
    uploads: bool,
    matched: &'static str,
    not_scannable: &'static str,
    error: &'static str,
    quarantine: Option<String>,
    multipart: &'static str,
    downloads: bool,
}

impl InspectView {
    fn of(terms: &InspectionTerms) -> Self {
        Self {
            with: terms.names.clone(),
            uploads: terms.uploads,
            matched: terms.actions.matched.as_str(),
            not_scannable: terms.actions.not_scannable.as_str(),
            error: terms.actions.error.as_str(),
            quarantine: terms.quarantine.as_ref().map(|place| format!("{}/{}", place.bucket, place.prefix)),
            multipart: terms.multipart.as_str(),
            downloads: terms.downloads.is_some(),
        }
    }

    fn line(&self) -> String {
        let looked_at = match (self.uploads, self.downloads) {
            (true, true) => "uploads and downloads",
            (false, true) => "downloads",
            _ => "uploads",
        };
        format!(
            "{looked_at} by {}; matched: {}, not_scannable: {}, error: {}; multipart: {}",
            self.with.join(", "),
            self.matched,
            self.not_scannable,
            self.error,
            self.multipart
        )
    }
}

#[derive(Debug, Serialize)]
struct HeadersView {
    require: BTreeMap<String, Option<String>>,
    set: BTreeMap<String, String>,
    allow: Vec<String>,
}

impl TermsView {
    pub(super) fn of(terms: &Terms) -> Self {
        // Without `..`: a new term must be shown here.
        let Terms {
            min_size,
            max_size,
            content_types,
            extensions,
            check_bytes,
            signed_payload,
            inspection,
            require_headers,
            set_headers,
            allow_headers,
            response_overrides,
            rates_per_principal,
            rates_together,
        } = terms;
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        Self {
            limits: SizesView {
                min_size: *min_size,
                max_size: *max_size,
                per_principal: RatesView::of(rates_per_principal),
                together: RatesView::of(rates_together),
            },
            content: ContentView {
                types: content_types.clone(),
                extensions: extensions.clone(),
                check_bytes: *check_bytes,
                signed_payload: *signed_payload,
            },
            inspect: inspection.as_deref().map(InspectView::of),
            headers: HeadersView {
                require: require_headers
                    .iter()
                    .map(|(name, value)| (name.to_string(), value.as_ref().map(text)))
                    .collect(),
                set: set_headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
                allow: allow_headers.iter().map(ToString::to_string).collect(),
            },
            response_overrides: *response_overrides,
        }
    }

    /// The terms that say anything, one a line.
    pub(super) fn lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = Vec::new();
        let mut add = |name, value: String| lines.push((name, value));
        if self.limits.min_size > 0 {
            add("limits.min_size", format!("{} bytes", self.limits.min_size));
        }
        if let Some(max_size) = self.limits.max_size {
            add("limits.max_size", format!("{max_size} bytes"));
        }
        for (name, rates) in
            [("limits.per_principal", &self.limits.per_principal), ("limits.together", &self.limits.together)]
        {
            if let Some(rates) = rates {
                add(name, rates.line());
            }
        }
        for (name, list) in [("content.types", &self.content.types), ("content.extensions", &self.content.extensions)] {
            if !list.is_empty() {
                add(name, list.join(", "));
            }
        }
        if self.content.check_bytes {
            add("content.check_bytes", "the first bytes must fit the declared type".to_owned());
        }
        if self.content.signed_payload {
            add("content.signed_payload", "the signature must cover the bytes".to_owned());
        }
        if let Some(inspect) = &self.inspect {
            add("inspect", inspect.line());
        }
        for (name, value) in &self.headers.require {
            add("headers.require", format!("{name}: {}", value.as_deref().unwrap_or("(any value)")));
        }
        for (name, value) in &self.headers.set {
            add("headers.set", format!("{name}: {value}"));
        }
        if !self.headers.allow.is_empty() {
            add("headers.allow", self.headers.allow.join(", "));
        }
        if self.response_overrides {
            add("response_overrides", "a read may choose headers of its answer".to_owned());
        }
        lines
    }
}
