//! One test binary: a file a story. `cfg(test)` tells clippy that helpers of a story are test code too.

#[cfg(test)]
mod command_line;
#[cfg(test)]
mod layering;
