//! countersign: a self-hosted, streaming, re-signing gateway for S3.
//!
//! The modules stand in the order of the story they tell; [`gateway`] is its table of contents. A module may name modules of a lower rank
//! only; the ranks are in `docs/ARCHITECTURE.md` and are checked by `tests/tidy.rs`.

// Words everybody uses.
pub mod base;

pub mod flow;

pub mod breaker;

pub mod upkeep;

pub mod sigv4;

pub mod telemetry;

pub mod dial;

pub mod bounded;

pub mod post;

// One request.
pub mod arrival;

pub mod s3;

pub mod audit;

pub mod auth;

pub mod cors;

pub mod rules;

pub mod limits;

pub mod inspect;

pub mod body;

pub mod sign;

pub mod upstream;

pub mod respond;

pub mod administration;

pub mod listing;

pub mod multipart;

pub mod documents;

pub mod downloads;

pub mod sts;

pub mod explain;

pub mod gateway;

// Around it.
pub mod console;

pub mod edge;

pub mod config;

pub mod app;

#[cfg(feature = "demo")]
mod demo;

pub mod probe;

pub mod cli;
