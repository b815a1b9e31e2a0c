//! Over real sockets and real TLS on loopback.

mod client;
mod events;
mod fixture;
mod listener;
mod plane;
