//! What every role needs of the network: listeners, TLS, limits, the data plane, clients.
