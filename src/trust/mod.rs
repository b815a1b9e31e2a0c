//! Keys, signed metadata, certificates, enrolment.
//!
//! What never happens here: a secret is printed, a signature is checked after its content was used, content that was not covered by the
//! signature is parsed, a network or database is touched. Times are arguments, except that TLS itself reads the clock.

pub mod authority;
pub mod error;
pub mod join;
pub mod keys;
pub mod statement;
pub mod tls;
pub mod tuf;

pub use authority::{Authority, AuthorityCertificate, HUB_SERVER_NAME, key_fingerprint, server_name};
pub use error::{Error, Result};
pub use join::{JoinString, Token};
pub use keys::{PrivateKey, PublicKey};
pub use tls::Identity;
