//! What may be done at a time: by a caller, under a rule, from an address.

use std::num::{NonZeroU32, NonZeroU64};

use super::super::path::Path;
use super::super::raw::{RawFailures, RawLimits, RawRates};
use super::desk::Desk;
use super::values::{count, size};
use crate::limits::LimitSettings;
use crate::rules::{Rates, RequestRate};

/// Most requests of any limit; more is no limit.
const MOST: u64 = 1_000_000;
/// A piece of a body has up to 400 KiB: below the smaller rate it would be waited for longer than stores are patient.
const BYTES_PER_SECOND: std::ops::RangeInclusive<u64> = (64 << 10)..=(1 << 40);

/// The limits of the whole file.
pub fn limits(desk: &mut Desk<'_>, path: &Path, raw: &RawLimits) -> LimitSettings {
    LimitSettings {
        per_principal: rates(desk, &path.key("per_principal"), raw.per_principal.as_ref()),
        failed_authentications: failures(desk, &path.key("failed_authentications"), &raw.failed_authentications),
    }
}

/// The rates of one holder.
pub fn rates(desk: &mut Desk<'_>, path: &Path, raw: Option<&RawRates>) -> Rates {
    let Some(raw) = raw else { return Rates::default() };
    let requests = requests(desk, path, raw);
    let upload_rate = path.key("upload_rate");
    let download_rate = path.key("download_rate");
    let in_flight = path.key("requests_in_flight");
    let rates = Rates {
        requests,
        upload: bytes(desk, &upload_rate, raw.upload_rate.as_ref()),
        download: bytes(desk, &download_rate, raw.download_rate.as_ref()),
        in_flight: raw.requests_in_flight.map(|number| count(desk, &in_flight, Some(number), 1, 1..=MOST)),
    };
    if rates.is_open() && raw.request_burst.is_none() && !desk.is_blurred(path) {
        let help = "write `request_rate`, `upload_rate`, `download_rate` or `requests_in_flight`, or remove the key";
        desk.report(path, "nothing is limited here", help);
    }
    rates
}

fn requests(desk: &mut Desk<'_>, path: &Path, raw: &RawRates) -> Option<RequestRate> {
    let Some(rate) = raw.request_rate else {
        if raw.request_burst.is_some() && !desk.is_excused(path, "request_rate") {
            let help = "write `request_rate` beside it: the requests in a second that a burst may be above";
            desk.report(&path.key("request_burst"), "`request_burst` does nothing without `request_rate`", help);
        }
        return None;
    };
    let per_second = number(desk, &path.key("request_rate"), rate);
    let burst = raw.request_burst.map(|burst| number(desk, &path.key("request_burst"), burst));
    Some(RequestRate { per_second, burst: burst.unwrap_or(per_second) })
}

fn bytes(desk: &mut Desk<'_>, path: &Path, text: Option<&String>) -> Option<NonZeroU64> {
    text.and_then(|text| NonZeroU64::new(size(desk, path, Some(text), *BYTES_PER_SECOND.end(), BYTES_PER_SECOND)))
}

fn failures(desk: &mut Desk<'_>, path: &Path, raw: &RawFailures) -> Option<RequestRate> {
    let burst = number(desk, &path.key("burst"), raw.burst.unwrap_or(10_000));
    let rate = count(desk, &path.key("rate"), raw.rate, 100, 0..=MOST);
    if rate == 0 && raw.burst.is_some() {
        let help = "remove `burst`, or write a rate above 0";
        desk.report(&path.key("burst"), "`burst` does nothing with a `rate` of 0", help);
    }
    NonZeroU32::new(rate).map(|per_second| RequestRate { per_second, burst })
}

fn number(desk: &mut Desk<'_>, path: &Path, number: u64) -> NonZeroU32 {
    NonZeroU32::new(count(desk, path, Some(number), 1, 1..=MOST)).unwrap_or(NonZeroU32::MIN)
}
