//! Words that every module uses: identifiers, secrets, time, units.
//!
//! Depends on nothing else in the crate and knows neither HTTP nor S3 nor tokio.

pub mod authority;
pub mod clock;
pub mod encoding;
pub mod ids;
pub mod network;
pub mod seal;
pub mod secret;
pub mod units;

pub use clock::{Clock, SystemClock, UtcInstant};
pub use ids::{PrincipalId, RequestId, RouteId, RuleId};
pub use network::network_of;
pub use seal::Sealer;
pub use secret::Secret;
pub use units::{parse_duration, parse_size};
