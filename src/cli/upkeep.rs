//! Flags of a server's upkeep, and how it is shown.

use std::time::Duration;

use clap::Args;

use super::error::CliError;
use super::human;
use super::output::{Output, Paint};
use crate::net::upkeep::UpkeepOptions;
use crate::protocol::upkeep::{GcView, ScrubView, UpkeepView};

const UNITS: [(char, u32); 4] = [('K', 10), ('M', 20), ('G', 30), ('T', 40)];

/// How the store is looked after.
#[derive(Debug, Clone, Args)]
pub struct UpkeepArgs {
    /// Seconds between collections of garbage
    #[arg(long, value_name = "SECS", default_value_t = 86_400, value_parser = clap::value_parser!(u64).range(1..))]
    gc_every: u64,
    /// Seconds that content stays after no version needs it
    #[arg(long, value_name = "SECS", default_value_t = 86_400)]
    gc_grace: u64,
    /// Seconds between readings of everything
    #[arg(long, value_name = "SECS", default_value_t = 7 * 86_400, value_parser = clap::value_parser!(u64).range(1..))]
    scrub_every: u64,
    /// Most bytes a second that upkeep reads: 500K, 20M
    #[arg(long, value_name = "SIZE", default_value = "20M", value_parser = size)]
    upkeep_rate: u64,
}

impl From<&UpkeepArgs> for UpkeepOptions {
    fn from(args: &UpkeepArgs) -> Self {
        Self {
            gc_every: Duration::from_secs(args.gc_every),
            gc_grace: Duration::from_secs(args.gc_grace),
            scrub_every: Duration::from_secs(args.scrub_every),
            bytes_per_sec: args.upkeep_rate,
        }
    }
}

/// Reads a size: bytes, or with a binary unit as in `20M` or `1.5G`.
pub fn size(text: &str) -> Result<u64, String> {
    let refused = || format!("{text:?} is no size: write bytes, or a number with K, M, G or T such as 20G");
    let plain = text.strip_suffix("iB").or_else(|| text.strip_suffix('B')).unwrap_or(text);
    let unit = UNITS.iter().find(|(letter, _)| plain.ends_with(*letter));
    let number = unit.map_or(plain, |(letter, _)| plain.strip_suffix(*letter).unwrap_or(plain));
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let shift = unit.map_or(0, |(_, shift)| *shift);
    let is_number = |digits: &str| !digits.is_empty() && digits.len() <= 19 && digits.bytes().all(|digit| digit.is_ascii_digit());
    if !is_number(whole) || !is_number(part) {
        return Err(refused());
    }
    let whole: u128 = whole.parse().map_err(|_| refused())?;
    let tenths = u128::from(part.as_bytes()[0] - b'0');
    let bytes = (whole << shift) + (tenths << shift) / 10;
    u64::try_from(bytes).ok().filter(|bytes| *bytes > 0).ok_or_else(refused)
}

/// Shows what upkeep does, in a few lines.
pub fn show(output: &Output, view: &UpkeepView) -> Result<(), CliError> {
    output.line(&format!("garbage collection: {}", gc_words(&view.gc)))?;
    output.line(&format!("scrub: {}", scrub_words(&view.scrub)))?;
    if view.holding_back {
        output.line("upkeep holds back: somebody waits for other work")?;
    }
    if view.doubts > 0 {
        let versions = human::things(view.doubts, "version");
        output.line(&format!(
            "in doubt and read again: {versions} of which somebody got something wrong, or that could not be read"
        ))?;
    }
    if view.damaged_chunks > 0 {
        let words = format!("damaged here and not used: {}", human::things(view.damaged_chunks, "chunk"));
        output.line(&output.paint(Paint::Bad, &words))?;
    }
    for version in &view.damaged {
        let words = format!("version {} of {}: {}; {}", version.version, version.package, version.reason, version.next_step);
        output.line(&output.paint(Paint::Bad, &words))?;
    }
    Ok(())
}

fn gc_words(gc: &GcView) -> String {
    if gc.running {
        return "runs".to_owned();
    }
    let next = human::time(gc.next);
    let Some(last) = &gc.last else { return format!("next at {next}") };
    let ended = human::time(last.ended);
    match &last.problem {
        Some(problem) => format!("nothing was freed at {ended}: {problem}; next at {next}"),
        None => format!(
            "freed {} at {ended}, {} are dead and wait; next at {next}",
            human::size(last.freed_bytes),
            human::size(last.waiting_bytes)
        ),
    }
}

fn scrub_words(scrub: &ScrubView) -> String {
    if scrub.running {
        return format!("runs, {} of {} read", human::size(scrub.read_bytes), human::size(scrub.total_bytes));
    }
    let next = human::time(scrub.next);
    let Some(last) = &scrub.last else { return format!("next at {next}") };
    let ended = human::time(last.ended);
    if let Some(problem) = &last.problem {
        return format!("ended early at {ended}: {problem}; next at {next}");
    }
    let damaged = human::things(last.damaged_chunks, "damaged chunk");
    format!("{} read until {ended}, {damaged} found; next at {next}", human::size(last.read_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_binary_units() {
        let good = [("1", 1), ("20M", 20 << 20), ("1.5G", 3 << 29), ("2TiB", 2 << 40), ("7KB", 7 << 10)];
        for (text, bytes) in good {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "0", "M", "-1", "1.M", ".5G", "5X", "5MM", "99999999999T", "1e9"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
