//! What of a running edge can be changed: certificates, and what connections may cost from now on.
//!
//! In two steps, so that a caller who has more to change does it all or nothing: what can fail is prepared, then everything is put to use.
//! Sockets stay bound where they are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::listener::{Exchanged, Manner};
use super::settings::{ConnectionLimits, ListenAddress, Settings, TlsSettings};
use super::tls::{Loaded, Tls};
use super::{BindError, Handler};
use crate::base::UtcInstant;

/// What later connections are served by.
#[derive(Debug, Clone)]
pub(super) struct Tuning {
    /// Of connections that are accepted from now on.
    pub(super) limits: Arc<ConnectionLimits>,
    /// For an end that begins from now on.
    pub(super) drain_delay: Duration,
    /// The same.
    pub(super) drain_timeout: Duration,
}

impl Tuning {
    pub(super) fn of(settings: &Settings) -> Self {
        let Settings { limits, drain_delay, drain_timeout, .. } = settings;
        Self { limits: Arc::new(limits.clone()), drain_delay: *drain_delay, drain_timeout: *drain_timeout }
    }
}

/// Changes an edge while it runs; cheap to clone.
#[derive(Debug, Clone)]
pub struct Control<H> {
    pub(super) listeners: Arc<[(ListenAddress, Exchanged<H>)]>,
    pub(super) admin: Option<Arc<Tls>>,
    pub(super) tuning: Arc<watch::Sender<Tuning>>,
}

/// Changes that can no longer fail.
pub struct Prepared<H> {
    tls: Vec<(Arc<Tls>, TlsSettings, Loaded)>,
    /// Of listeners whose own settings wait for a restart: their files have changed all the same.
    renewed: Vec<(Arc<Tls>, Loaded)>,
    manners: Vec<(Exchanged<H>, Manner<H>)>,
    waiting: Vec<&'static str>,
    tuning: Tuning,
}

impl<H> Prepared<H> {
    /// The keys of listeners that are to change between TLS and clear text, which waits for a restart.
    pub fn waiting(&self) -> &[&'static str] {
        &self.waiting
    }
}

impl<H: Handler> Control<H> {
    /// How long the end may take at most.
    pub fn longest_end(&self) -> Duration {
        let tuning = self.tuning.borrow();
        tuning.drain_delay + tuning.drain_timeout
    }

    /// When the certificates end that TLS listeners show now, by the address in the configuration; that of the admin listener as `admin`.
    /// Of several listeners at one address the first that ends counts. `None` for what cannot be read.
    pub fn certificate_expiries(&self) -> BTreeMap<String, Option<UtcInstant>> {
        let admin = self.admin.iter().map(|tls| ("admin".to_owned(), tls.expiry()));
        let data = self.listeners.iter().filter_map(|(address, manner)| {
            let expiry = manner.load().tls.as_ref()?.expiry();
            Some((address.to_string(), expiry))
        });
        let mut first: BTreeMap<_, Option<UtcInstant>> = BTreeMap::new();
        for (listener, expiry) in admin.chain(data) {
            let known = first.entry(listener).or_default();
            *known = known.iter().copied().chain(expiry).min();
        }
        first
    }

    /// Takes these settings, and reads the files of TLS if `read_files`: without need it would only end the resumption of sessions.
    /// Listeners that are not there yet wait for a restart. One that is no longer there, has another address or changes between TLS and clear
    /// text goes on with what it has, its certificates and lists of revoked ones renewed. All hand requests to `handler` from then on. Blocks
    /// for as long as reading takes.
    ///
    /// # Errors
    /// [`BindError::Tls`] for the first listener whose files cannot be used.
    pub fn prepare(&self, settings: &Settings, read_files: bool, handler: &H) -> Result<Prepared<H>, BindError> {
        let (mut tls, mut manners) = (Vec::new(), Vec::new());
        let (mut renewed, mut waiting) = (Vec::new(), Vec::new());
        let mut bound: Vec<_> = self.listeners.iter().collect();
        for listener in &settings.listeners {
            // Others may have been written before it. Two can have the same address only if both take free ports.
            let Some(position) = bound.iter().position(|(address, _)| listener.address == *address) else { continue };
            let (address, manner) = bound.remove(position);
            let serving = manner.load().tls.clone();
            if listener.tls.is_some() != serving.is_some() {
                waiting.push("listen.tls");
                renewed.extend(serving.as_deref().filter(|_| read_files).and_then(renew).zip(serving.clone()));
            }
            if let (Some(settings), Some(serving), true) = (&listener.tls, &serving, read_files) {
                let ready = serving.prepare(settings);
                let ready =
                    ready.map_err(|source| BindError::Tls { address: address.clone(), source: Box::new(source) })?;
                tls.push((Arc::clone(serving), settings.clone(), ready));
            }
            manners.push((Arc::clone(manner), Manner::of(listener, serving, handler.clone())));
        }
        for (_, manner) in bound {
            let kept = Manner { handler: handler.clone(), ..Manner::clone(&manner.load()) };
            let serving = kept.tls.clone();
            renewed.extend(serving.as_deref().filter(|_| read_files).and_then(renew).zip(serving.clone()));
            manners.push((Arc::clone(manner), kept));
        }
        if settings.admin_tls.is_some() != self.admin.is_some() {
            waiting.push("admin.tls");
        }
        if let Some(serving) = self.admin.as_ref().filter(|_| read_files) {
            match &settings.admin_tls {
                Some(wanted) => {
                    let address = ListenAddress::Tcp(settings.admin);
                    let ready = serving.prepare(wanted);
                    let ready = ready.map_err(|source| BindError::Tls { address, source: Box::new(source) })?;
                    tls.push((Arc::clone(serving), wanted.clone(), ready));
                }
                None => renewed.extend(renew(serving).zip(Some(Arc::clone(serving)))),
            }
        }
        let renewed = renewed.into_iter().map(|(config, tls)| (tls, config)).collect();
        Ok(Prepared { tls, renewed, manners, waiting, tuning: Tuning::of(settings) })
    }

    /// Serves later connections, and later requests of those that are open, with what was prepared.
    pub fn apply(&self, prepared: Prepared<H>) {
        for (tls, settings, ready) in prepared.tls {
            tls.change(settings, ready);
        }
        for (tls, config) in prepared.renewed {
            tls.replace(config);
        }
        for (serving, manner) in prepared.manners {
            serving.store(Arc::new(manner));
        }
        self.tuning.send_replace(prepared.tuning);
    }
}

/// What a listener serves by the files as they are now. The configuration no longer names them, so they may be gone: then it keeps what it has.
fn renew(tls: &Tls) -> Option<Loaded> {
    match tls.read_again() {
        Ok(config) => Some(config),
        Err(error) => {
            tracing::warn!(%error, "a listener that waits for a restart keeps its certificate");
            None
        }
    }
}
