//! Over real sockets and real TLS on loopback.

mod client;
mod events;
mod fixture;
mod lies;
mod listener;
mod plane;
