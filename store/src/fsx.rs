//! The few things done to files and folders that must be done one way: durable renames, folder syncs, locks.
