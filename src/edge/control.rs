//! What of a running edge can be changed: who answers, whom listeners believe, certificates, and what connections may cost from now on.
//!
//! In two steps, so that a caller who has more to change does it all or nothing: what can fail is prepared, then everything is put to use.
//! Sockets stay bound where they are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::listener::{Exchanged, Manner};
use super::settings::{ConnectionLimits, ListenAddress, ListenerSettings, Settings, TlsSettings};
use super::tls::{Tls, TlsError};
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
    pub(super) admin: Exchanged<()>,
    pub(super) tuning: Arc<watch::Sender<Tuning>>,
}

/// Changes that can no longer fail.
pub struct Prepared {
    /// Of all listeners, in their order.
    manners: Vec<Manner<()>>,
    admin_tls: Option<Arc<Tls>>,
    /// Listeners that go on without their identity, and the name of it.
    nameless: Vec<(ListenAddress, String)>,
    waiting: Vec<&'static str>,
    tuning: Tuning,
}

impl Prepared {
    /// The keys of listeners that wait for a restart: `tls` where TLS and clear text are to change, and what else differs there.
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
        let admin = self.admin.load().tls.as_ref().map(|tls| ("admin".to_owned(), tls.expiry()));
        let data = self.listeners.iter().filter_map(|(address, manner)| {
            let expiry = manner.load().tls.as_ref()?.expiry();
            Some((address.to_string(), expiry))
        });
        let mut first: BTreeMap<_, Option<UtcInstant>> = BTreeMap::new();
        for (listener, expiry) in admin.into_iter().chain(data) {
            let known = first.entry(listener).or_default();
            *known = known.iter().copied().chain(expiry).min();
        }
        first
    }

    /// Takes these settings, and reads the files of TLS if `read_files`: without need it would only end the resumption of sessions.
    /// Listeners that are not there yet wait for a restart. One that is no longer there, has another address or changes between TLS and clear
    /// text goes on with what it has, its certificates and lists of revoked ones renewed; but without its identity, unless the name is still
    /// that of a listener, and everybody reaches that one who reaches this. Blocks for as long as reading takes.
    ///
    /// # Errors
    /// [`BindError::Tls`] for the first listener whose files cannot be used.
    pub fn prepare(&self, settings: &Settings, read_files: bool) -> Result<Prepared, BindError> {
        let (mut manners, mut nameless, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
        let unusable = |address: ListenAddress| move |source| BindError::Tls { address, source: Box::new(source) };
        for ((address, manner), wanted) in self.listeners.iter().zip(self.counterparts(&settings.listeners)) {
            let serving = manner.load();
            if let Some(wanted) = wanted.filter(|wanted| wanted.tls.is_some() == serving.tls.is_some()) {
                let tls = next(&serving.tls, &wanted.tls, read_files).map_err(unusable(address.clone()))?;
                manners.push(Manner::of(wanted, tls, ()));
                continue;
            }
            waiting.extend(wanted.into_iter().flat_map(|wanted| differences(&serving, wanted)));
            let mut kept = Manner::clone(&serving).answered_by(());
            kept.tls = renewed(&kept.tls, read_files);
            if let Some(name) = kept.name().filter(|name| !is_theirs(name, address, &settings.listeners)) {
                nameless.push((address.clone(), name.to_owned()));
                kept.identity = None;
            }
            manners.push(kept);
        }
        let serving = self.admin.load();
        let admin_tls = if serving.tls.is_some() == settings.admin_tls.is_some() {
            next(&serving.tls, &settings.admin_tls, read_files).map_err(unusable(ListenAddress::Tcp(settings.admin)))?
        } else {
            waiting.push("admin.tls");
            renewed(&serving.tls, read_files)
        };
        Ok(Prepared { manners, admin_tls, nameless, waiting, tuning: Tuning::of(settings) })
    }

    /// What is wanted of each listener. Two can have the same address only if both take free ports.
    fn counterparts<'a>(&self, settings: &'a [ListenerSettings]) -> Vec<Option<&'a ListenerSettings>> {
        let mut found = vec![None; self.listeners.len()];
        for wanted in settings {
            let mut places = self.listeners.iter().zip(&mut found);
            if let Some((_, place)) = places.find(|((address, _), place)| place.is_none() && *address == wanted.address)
            {
                *place = Some(wanted);
            }
        }
        found
    }

    /// Serves later connections, and later requests of those that are open, with what was prepared and by `handler`.
    pub fn apply(&self, prepared: Prepared, handler: &H) {
        for ((_, serving), manner) in self.listeners.iter().zip(prepared.manners) {
            serving.store(Arc::new(manner.answered_by(handler.clone())));
        }
        self.admin.store(Arc::new(Manner { tls: prepared.admin_tls, ..Manner::clone(&self.admin.load()) }));
        self.tuning.send_replace(prepared.tuning);
        for (address, identity) in prepared.nameless {
            tracing::warn!(listener = %address, identity, "a listener that waits for a restart goes on without its identity, whose name is gone or has moved");
        }
    }
}

/// The TLS of a listener that has and wants it, or neither.
fn next(
    serving: &Option<Arc<Tls>>,
    wanted: &Option<TlsSettings>,
    read_files: bool,
) -> Result<Option<Arc<Tls>>, TlsError> {
    match (serving, wanted) {
        (Some(serving), Some(wanted)) if read_files => Ok(Some(Arc::new(serving.next(wanted)?))),
        _ => Ok(serving.clone()),
    }
}

/// The keys in which an entry differs that none of takes effect before its listener has TLS, or none.
fn differences<H>(serving: &Manner<H>, wanted: &ListenerSettings) -> impl Iterator<Item = &'static str> {
    [
        ("listen.tls", true),
        ("listen.identity", wanted.identity.as_deref() != serving.name()),
        ("listen.proxy_protocol", wanted.proxies != serving.proxies),
        ("listen.forwarded", wanted.forwarded != serving.forwarded),
    ]
    .into_iter()
    .filter_map(|(key, differs)| differs.then_some(key))
}

/// Whether the name of an identity, as the settings have it, may mean all those who reach a listener at this address.
fn is_theirs(name: &str, address: &ListenAddress, settings: &[ListenerSettings]) -> bool {
    // There is one at most.
    let namesake = settings.iter().find(|listener| listener.identity.as_deref() == Some(name));
    namesake.is_some_and(|namesake| namesake.is_open_to_all_of(address))
}

/// TLS by the files as they are now. The configuration no longer names them, so they may be gone: then it stays what it is.
fn renewed(serving: &Option<Arc<Tls>>, read_files: bool) -> Option<Arc<Tls>> {
    let serving = serving.as_ref()?;
    if !read_files {
        return Some(Arc::clone(serving));
    }
    let renewed = serving.renewed().map(Arc::new).unwrap_or_else(|error| {
        tracing::warn!(%error, "a listener that waits for a restart keeps its certificate");
        Arc::clone(serving)
    });
    Some(renewed)
}
