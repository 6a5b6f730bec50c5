//! What the admin listener tells about a running gateway.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::Response;

use super::live::{Live, Serve};
use super::reload::{Cause, Reloader};
use super::shown;
use crate::base::clock::rfc3339_millis;
use crate::base::{Clock, SystemClock};
use crate::console::{Asked, ConfigView, Console, InspectorView, ListenerView, Status, Told, UpstreamView};
use crate::edge::{Access, Addresses, AdminBody, AdminRequest, AdminState, Control, Monitor};
use crate::explain::{Arguments, Report};
use crate::telemetry::{ConnectionCounts, Metrics, Totals};

/// What the admin listener tells.
pub(super) struct State {
    pub(super) live: Arc<Live>,
    pub(super) metrics: Metrics,
    pub(super) monitor: Monitor,
    pub(super) reloader: Reloader,
    pub(super) console: Console,
    pub(super) addresses: Addresses,
    pub(super) control: Control<Serve>,
}

impl State {
    /// Lets the page show what was before it was opened.
    pub(super) async fn keep_history(self: Arc<Self>) {
        self.console.keep_history(self.as_ref()).await;
    }
}

impl AdminState for State {
    fn not_ready(&self) -> Vec<String> {
        self.live.current().readiness().blocking
    }

    fn notes(&self) -> Vec<String> {
        let status = self.reloader.status();
        let failed = status.last_error.map(|(at, why)| {
            let first_line = why.lines().next().unwrap_or_default();
            format!("the reload at {at} failed, the old configuration serves: {first_line}")
        });
        let waiting = status.needs_restart;
        let waiting = (!waiting.is_empty()).then(|| format!("waits for a restart: {}", waiting.join(", ")));
        failed.into_iter().chain(waiting).chain(self.live.current().readiness().notes).collect()
    }

    fn metrics(&self) -> String {
        let generation = self.live.current();
        let gateway = &generation.gateway;
        let connections = ConnectionCounts {
            open: self.monitor.open_connections(),
            accepted: self.monitor.accepted_connections(),
            handshakes_failed: self.monitor.failed_handshakes(),
            stalled: self.monitor.stalled_connections(),
            unreadable: self.monitor.unreadable_heads(),
        };
        for state in gateway.upstreams.states() {
            self.metrics.stores().set(state.name, state.in_flight, state.waiting, state.resting, state.trips);
        }
        for state in gateway.inspectors.states() {
            self.metrics.inspections().set_load(state.name, state.running, state.waiting);
            self.metrics.inspections().set_health(state.name, state.up, state.resting, state.signatures_age);
        }
        for (listener, expiry) in self.control.certificate_expiries() {
            self.metrics.listeners().set_certificate_expiry(&listener, expiry.map(|expiry| expiry.as_second()));
        }
        for store in &generation.credentials {
            let (age, expiry) = store.times().unzip();
            let expiry = expiry.flatten().map(|expiry| expiry.as_second());
            self.metrics.credentials().set_times(store.upstream(), age, expiry);
        }
        let verdicts = &gateway.verdicts;
        self.metrics.inspections().set_memory(verdicts.verdicts(), verdicts.recalled());
        self.metrics.set_limits(gateway.limiter.accounts(), gateway.limiter.refused());
        self.metrics.render(connections, gateway.authenticators.key_ages())
    }

    fn access(&self) -> Arc<Access> {
        Arc::clone(&self.live.current().config.edge.admin_access)
    }

    fn console(&self, request: AdminRequest) -> BoxFuture<'_, Response<AdminBody>> {
        let AdminRequest { method, path, body, who, stopping } = request;
        Box::pin(self.console.answer(Asked { method, path, body, who, stopping }, self))
    }

    fn refused(&self, reason: &'static str) {
        self.metrics.admin().refused(reason);
    }
}

impl Told for State {
    fn status(&self, who: &str, stopping: bool) -> Status {
        let generation = self.live.current();
        let since = self.console.started();
        let not_ready = self.not_ready();
        let tcp = self.addresses.data.iter().zip(shown::with_tls(&generation.config));
        let tcp = tcp.map(|(at, tls)| ListenerView { address: at.to_string(), tls });
        let sockets = self.addresses.sockets.iter();
        let sockets = sockets.map(|path| ListenerView { address: format!("unix:{}", path.display()), tls: false });
        Status {
            version: env!("CARGO_PKG_VERSION"),
            features: features(),
            started: rfc3339_millis(since),
            uptime_s: u64::try_from(SystemClock.now().duration_since(since).as_secs()).unwrap_or_default(),
            ready: not_ready.is_empty() && !stopping,
            not_ready,
            notes: self.notes(),
            draining: stopping,
            listeners: tcp.chain(sockets).collect(),
            connections_open: self.monitor.open_connections(),
            requests_in_flight: self.metrics.totals().in_flight,
            reload: serde_json::to_value(self.reloader.status()).unwrap_or_default(),
            who: who.to_owned(),
        }
    }

    fn totals(&self) -> Totals {
        self.metrics.totals()
    }

    fn upstreams(&self) -> Vec<UpstreamView> {
        let generation = self.live.current();
        let places = generation.config.upstreams.iter().zip(&generation.credentials);
        let states = generation.gateway.upstreams.states();
        let views = states.zip(places).map(|(state, (place, credentials))| UpstreamView {
            name: state.name.to_owned(),
            endpoint: shown::endpoint(place),
            region: place.region.clone(),
            has_credentials: credentials.trouble().is_none(),
            in_flight: state.in_flight,
            waiting: state.waiting,
            resting: state.resting,
            trips: state.trips,
        });
        views.collect()
    }

    fn inspectors(&self) -> Vec<InspectorView> {
        let generation = self.live.current();
        let views = generation.gateway.inspectors.states().map(|state| InspectorView {
            name: state.name.to_owned(),
            running: state.running,
            waiting: state.waiting,
            up: state.up,
            resting: state.resting,
            signatures_age_s: state.signatures_age.map(|age| age.as_secs()),
        });
        views.collect()
    }

    fn config(&self) -> ConfigView {
        shown::file(&self.live.current().config)
    }

    fn explain(&self, question: &Arguments) -> Result<Report, String> {
        let generation = self.live.current();
        shown::facts(&generation.config).answer(question).map_err(|error| format!("{error:#}"))
    }

    fn reload(&self) -> BoxFuture<'_, Result<serde_json::Value, String>> {
        Box::pin(async {
            let report = self.reloader.reload(Cause::Admin).await.map_err(|error| error.to_string())?;
            serde_json::to_value(report).map_err(|error| error.to_string())
        })
    }
}

/// What the program was built with.
fn features() -> Vec<&'static str> {
    let all = [
        (cfg!(feature = "aws-chain"), "aws-chain"),
        (cfg!(feature = "demo"), "demo"),
        (cfg!(feature = "jemalloc"), "jemalloc"),
        (cfg!(feature = "otel"), "otel"),
        (cfg!(feature = "yara"), "yara"),
    ];
    all.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect()
}
