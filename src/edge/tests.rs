//! The edge with real sockets on port 0.

mod clients;
mod framing;
mod lifecycle;
mod limits;
mod tls;
mod world;

pub(super) use world::limits;
