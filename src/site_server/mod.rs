//! The site server: fetches, validates and serves the packages of its site.
