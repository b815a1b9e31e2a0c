//! The hub's database, one aggregate a file.
