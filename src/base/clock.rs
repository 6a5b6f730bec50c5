//! The wall clock as a seam, so that expiry and signatures can be tested at any instant.
//!
//! Time-outs do not come from here: they use tokio's monotonic clock.

use std::time::SystemTime;

use jiff::tz::Offset;

/// An instant of UTC wall-clock time.
pub type UtcInstant = jiff::Timestamp;

/// Tells the current wall-clock time.
pub trait Clock: Send + Sync + 'static {
    /// The current instant of UTC.
    fn now(&self) -> UtcInstant;
}

/// The clock of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> UtcInstant {
        jiff::Timestamp::now()
    }
}

/// The present, in the type that files are dated in and that libraries ask for.
pub fn system_time() -> SystemTime {
    SystemClock.now().into()
}

/// The instant as in `2026-11-22T08:45:56.883Z` (RFC 3339), for years from 0 to 9999.
pub fn rfc3339_millis(instant: UtcInstant) -> String {
    let time = Offset::UTC.to_datetime(instant);
    let mut text = *b"YYYY-MM-DDThh:mm:ss.fffZ";
    put(&mut text[..4], time.year());
    put(&mut text[5..7], time.month().into());
    put(&mut text[8..10], time.day().into());
    put(&mut text[11..13], time.hour().into());
    put(&mut text[14..16], time.minute().into());
    put(&mut text[17..19], time.second().into());
    put(&mut text[20..23], time.millisecond());
    String::from_utf8(text.to_vec()).expect("digits")
}

/// The instant as in `20261122T084556Z` (ISO 8601, basic), for years from 0 to 9999.
pub fn iso8601_basic(instant: UtcInstant) -> String {
    let time = Offset::UTC.to_datetime(instant);
    let mut text = *b"YYYYMMDDThhmmssZ";
    put(&mut text[..4], time.year());
    put(&mut text[4..6], time.month().into());
    put(&mut text[6..8], time.day().into());
    put(&mut text[9..11], time.hour().into());
    put(&mut text[11..13], time.minute().into());
    put(&mut text[13..15], time.second().into());
    String::from_utf8(text.to_vec()).expect("digits")
}

/// Fills a place with decimal digits. `jiff` formats any pattern at ten times the instructions, and each request has two such texts.
fn put(place: &mut [u8], value: i16) {
    let mut value = value.unsigned_abs();
    for byte in place.iter_mut().rev() {
        *byte = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn texts_of_an_instant_are_those_that_jiff_makes(seconds in -60_000_000_000i64..250_000_000_000, nanos in 0i32..1_000_000_000) {
            let instant = UtcInstant::new(seconds, nanos).unwrap();
            prop_assert_eq!(rfc3339_millis(instant), instant.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string());
            prop_assert_eq!(iso8601_basic(instant), instant.strftime("%Y%m%dT%H%M%SZ").to_string());
        }
    }
}
