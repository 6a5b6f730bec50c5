//! Quantities with units, as they stand in the configuration: `64MiB`, `30s`.

use std::time::Duration;

/// Why a quantity could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not a number with a unit of bytes.
    #[error("`{0}` is not a size; write a number and a unit, such as `64MiB`, `5GB` or `512B`")]
    Size(String),
    /// Not a number with a unit of time.
    #[error("`{0}` is not a duration; write a number and a unit, such as `30s`, `5m` or `500ms`")]
    Duration(String),
}

/// Reads a size in bytes: a whole number and a unit (`B`, `kB`, `KiB`, `MB`, `MiB`, `GB`, `GiB`, `TB`, `TiB`), or `0`.
///
/// # Errors
/// [`UnitError::Size`] if the text is anything else. A bare number is refused because it hides the unit.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    let bad = || UnitError::Size(text.to_owned());
    if text == "0" {
        return Ok(0);
    }
    if !text.starts_with(|c: char| c.is_ascii_digit()) || text.ends_with(|c: char| c.is_ascii_digit()) {
        return Err(bad());
    }
    text.parse::<bytesize::ByteSize>().map(|size| size.as_u64()).map_err(|_| bad())
}

/// Reads a duration: a number and a unit (`ms`, `s`, `m`, `h`), combinations included (`1h30m`).
///
/// # Errors
/// [`UnitError::Duration`] if the text is anything else, or negative.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let bad = || UnitError::Duration(text.to_owned());
    let signed: jiff::SignedDuration = text.parse().map_err(|_| bad())?;
    Duration::try_from(signed).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_need_a_unit_and_follow_iec_and_si() {
        for (text, bytes) in
            [("0", 0), ("512B", 512), ("2GiB", 2 << 30), ("2GB", 2_000_000_000), ("64KiB", 65536), ("1 MiB", 1 << 20)]
        {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "10", "-1MiB", "MiB", "1e400GB", "ten", "1XB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_need_a_unit_and_are_not_negative() {
        for (text, millis) in
            [("30s", 30_000), ("500ms", 500), ("5m", 300_000), ("1h30m", 5_400_000), ("48h", 172_800_000)]
        {
            assert_eq!(parse_duration(text).map(|d| d.as_millis()), Ok(millis), "{text}");
        }
        for text in ["", "30", "-5s", "soon", "s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
