//! The edge with real sockets on port 0.

mod admin;
mod admin_flood;
mod admin_tls;
mod clients;
mod framing;
mod lifecycle;
mod limits;
mod reload;
mod tls;
mod world;

pub(super) use world::limits;
