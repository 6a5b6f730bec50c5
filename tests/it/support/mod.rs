//! What the tests stand on: gateways, stores, clients.

pub mod certs;
pub mod clamd;
pub mod client;
pub mod fault_proxy;
pub mod field;
pub mod gateway;
pub mod h2_wire;
pub mod hook;
pub mod icap;
pub mod infected;
pub mod key_client;
pub mod oidc;
pub mod parts;
pub mod platform;
pub mod post;
pub mod process;
pub mod raw;
pub mod recorder;
pub mod reloadable;
pub mod restart;
pub mod signed;
pub mod slow_clamd;
pub mod store;

pub use client::{Client, Response};
pub use gateway::{Gateway, Setup};
pub use key_client::{Form, KeyClient, Transfer};
pub use oidc::Oidc;
pub use recorder::{Answer, Recorder};
pub use reloadable::Reloadable;
pub use signed::SignedClient;
pub use slow_clamd::SlowClamd;
pub use store::{Store, StoreKind};

/// Bytes that repeat late and compress badly, the same for the same length.
pub fn pattern(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Waits until a condition holds; panics after thirty seconds. For effects that nobody announces.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if holds() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("did not happen within 30 s: {what}");
}
