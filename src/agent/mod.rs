//! The agent: the process on a managed machine.
