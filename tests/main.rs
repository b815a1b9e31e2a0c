//! One test binary: a file a story. `cfg(test)` tells clippy that helpers of a story are test code too.

#[cfg(test)]
mod budget;
#[cfg(test)]
mod command_line;
#[cfg(test)]
mod common;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod crowd;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod demo;
#[cfg(test)]
mod disk_full;
#[cfg(test)]
mod exclusive;
#[cfg(test)]
mod hostile_server;
#[cfg(test)]
mod hostile_source;
#[cfg(test)]
mod hostile_wire;
#[cfg(test)]
mod install;
#[cfg(test)]
mod join;
#[cfg(test)]
mod kills;
#[cfg(test)]
mod large;
#[cfg(test)]
mod layering;
#[cfg(test)]
mod many_files;
#[cfg(test)]
mod power;
#[cfg(test)]
mod publish;
#[cfg(test)]
mod replicate;
#[cfg(test)]
mod restart;
#[cfg(test)]
mod resume;
#[cfg(test)]
mod rights;
#[cfg(test)]
mod shared;
#[cfg(test)]
mod update;
#[cfg(test)]
mod upkeep;
#[cfg(test)]
mod workers;
