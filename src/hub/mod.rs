//! The hub: catalog, hashing, signing, policy.
