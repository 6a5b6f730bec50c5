//! Integration tests: a whole gateway on free ports, in front of real stores and of stores that misbehave on demand.
//!
//! One binary, so that it is linked once. Real parts are started by the tests on free ports and end with them; `make test` installs them.
//! Without them the tests fail when `CI` is set; otherwise they say so and pass.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

mod support;

mod addressing;
mod administration;
mod answers;
mod application_life;
mod attack_inspection;
mod audit;
mod audit_sinks;
mod batch;
mod binary;
mod boto;
mod changed_requests;
mod client_certificates;
mod clients;
mod commit_point;
mod confused_deputy;
mod console;
mod copied_parts;
mod copies;
mod cors;
mod demo;
mod deploy;
mod differential;
mod explain;
mod floods;
mod forged_tokens;
mod hostile;
mod http2_abuse;
mod inspect_hook;
mod inspect_patterns;
mod inspected_downloads;
mod inspection;
mod inspection_memory;
mod inspection_races;
mod kubernetes;
mod life;
mod limits;
mod listing;
mod lists;
mod memory;
mod multipart;
mod objects;
mod observability;
mod oidc;
mod paginators;
mod payload_forms;
mod post_forms;
mod probe;
mod properties;
mod proxies;
mod rate_limits;
mod reads;
mod real_clients;
mod refusals_midway;
mod scanners;
mod secrets;
mod shutdown;
mod sidecar;
mod sigv4;
mod slow_stores;
mod soak;
mod staged;
mod staged_lists;
mod store_lies;
mod sts;
mod tagging;
mod tls;
mod tls_store;
mod unknown_length;
mod upstream_faults;
mod upstream_policies;
