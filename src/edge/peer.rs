//! Whether the client of an open TLS connection would still be let in: its certificate may be over its time, be revoked or have lost its
//! authority since the handshake, and a connection can live for days.
//!
//! Asked before each request. As long as the TLS of the listener is the one that the certificate was last checked under, that is a
//! comparison of two numbers, and of instants if there is a certificate or a list; the chain is verified once more only behind a reload, and
//! once a second while a list of revoked certificates is over its time.
//! Requests that are under way are left to end. Source: `docs/THREATS.md` K23.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use rustls_pki_types::CertificateDer;

use super::tls::Tls;
use crate::arrival::Lapse;
use crate::base::{Clock, SystemClock, UtcInstant};

/// The other end of a TLS connection, as far as the listener has to say something about it.
#[derive(Debug)]
pub(super) struct Peer {
    /// As the client has sent it, its own certificate first; empty if it has none.
    pub(super) chain: Vec<CertificateDer<'static>>,
    /// When its own certificate ends.
    pub(super) not_after: Option<UtcInstant>,
    /// Whether requests are of whom the certificate names.
    pub(super) identifies: bool,
    /// The TLS of the listener that let it in last.
    pub(super) generation: AtomicU64,
    /// The second, since 1970, for which it was checked last behind the end of a list.
    pub(super) checked: AtomicI64,
}

impl Peer {
    /// Why nothing more is served on this connection, if so, under the TLS that its listener has now.
    pub(super) fn check(&self, tls: &Tls) -> Option<Lapse> {
        let now = SystemClock.now();
        if self.not_after.is_some_and(|end| now > end) {
            return Some(Lapse::Expired);
        }
        let second = now.as_second();
        // Chains are verified for a whole second: within it the answer is the same.
        let is_settled = || !tls.has_old_lists(second) || self.checked.load(Ordering::Relaxed) == second;
        if self.generation.load(Ordering::Relaxed) == tls.generation() && is_settled() {
            return None;
        }
        if let Err(error) = tls.would_let_in(self, second) {
            tracing::debug!(%error, "the client of an open connection is let in no more");
            return Some(Lapse::Refused);
        }
        self.generation.store(tls.generation(), Ordering::Relaxed);
        self.checked.store(second, Ordering::Relaxed);
        None
    }
}
