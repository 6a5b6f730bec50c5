//! Names of things that appear in decisions, logs and audit records.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use super::clock::{Clock, SystemClock, UtcInstant};

/// Who was authenticated, as it stands in logs: `token:ci` or `corp:alice` (issuer name, then subject).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PrincipalId(Arc<str>);

/// The `name` of a rule in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RuleId(Arc<str>);

/// Position of an upstream in the resolved configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteId(pub usize);

/// Identifies one request in the answer (`x-amz-request-id`), the log and the audit record.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// A new identifier: 32 upper-case hex digits that sort by time (UUID version 7).
    ///
    /// Unique, not secret: 12 bits of the time below the millisecond (RFC 9562 §6.2, method 3), and a number that no other request of
    /// this process has. Asking the kernel for random bits would cost a system call for each request.
    pub fn generate() -> Self {
        Self::of(SystemClock.now(), next_number())
    }

    fn of(now: UtcInstant, number: u64) -> Self {
        let seconds = u64::try_from(now.as_second()).unwrap_or_default();
        let nanos = u64::try_from(now.subsec_nanosecond()).unwrap_or_default();
        let below_milli = nanos % 1_000_000 * 4096 / 1_000_000;
        let high = (seconds * 1000 + nanos / 1_000_000) << 16 | 7 << 12 | below_milli;
        let low = 0b10 << 62 | (number & (u64::MAX >> 2));
        let mut digits = [0; 32];
        let halves = digits.split_at_mut(16);
        for (digits, bits) in [(halves.0, high), (halves.1, low)] {
            for (position, digit) in digits.iter_mut().enumerate() {
                *digit = b"0123456789ABCDEF"[(bits >> (60 - 4 * position)) as usize & 0xf];
            }
        }
        Self(str::from_utf8(&digits).expect("hex digits").into())
    }
}

/// A number of which the lower 62 bits come once in the life of the process, after a random start. The multiplier spreads them; it is
/// odd, so that none comes twice.
fn next_number() -> u64 {
    static NEXT: LazyLock<AtomicU64> = LazyLock::new(|| AtomicU64::new(uuid::Uuid::new_v4().as_u64_pair().1));
    NEXT.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

macro_rules! text_id {
    ($($name:ident),+) => {$(
        impl $name {
            /// Takes the text as it is.
            pub fn new(text: impl AsRef<str>) -> Self {
                Self(Arc::from(text.as_ref()))
            }

            /// The text of the identifier.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )+};
}

text_id!(PrincipalId, RuleId, RequestId);

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_request_id_is_a_version_7_uuid_of_its_time() {
        let at = |text: &str| RequestId::of(text.parse().unwrap(), 0xffff_ffff_0123_4567).to_string();
        let id = at("2026-11-22T08:45:56.883500Z");
        assert_eq!(id, "01A2026EF9137800BFFFFFFF01234567");
        let uuid = uuid::Uuid::parse_str(&id).unwrap();
        assert_eq!((uuid.get_version_num(), uuid.get_variant()), (7, uuid::Variant::RFC4122));
        assert_eq!(uuid.get_timestamp().unwrap().to_unix(), (1_795_337_156, 883_000_000));
        assert!(id < at("2026-11-22T08:45:56.883501Z") && id < at("2026-11-22T08:45:57Z"), "sorts by time");
    }

    #[test]
    fn request_ids_are_unique() {
        let ids: HashSet<_> = (0..10_000).map(|_| RequestId::generate()).collect();
        assert_eq!(ids.len(), 10_000);
        let (a, b) = (next_number() & (u64::MAX >> 2), next_number() & (u64::MAX >> 2));
        assert!(a != b && a.abs_diff(b) > 1 << 32, "not only counted up");
    }
}
