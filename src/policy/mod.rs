//! Decisions: pure functions over domain types; no I/O, no clock.
