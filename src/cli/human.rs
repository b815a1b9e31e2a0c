//! Numbers and times as people read them.

use jiff::tz::TimeZone;

use crate::domain::Millis;

pub use crate::domain::size;

/// Reads a size: bytes, or a number with a unit, `1.5 MiB`, `20M`, `300k`; a letter alone means 1024, 1024², 1024³.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let refuse = || format!("{text:?} is no size; write it like 300k, 20M or 1.5 GiB");
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return Err(refuse()),
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor).ok_or_else(refuse);
    }
    let (whole, part) = number.split_once('.').ok_or_else(refuse)?;
    // Nine digits behind the point are more than anybody means.
    if part.is_empty() || part.len() > 9 || factor == 1 {
        return Err(refuse());
    }
    let scale = 10_u64.pow(u32::try_from(part.len()).map_err(|_| refuse())?);
    let whole: u64 = whole.parse().map_err(|_| refuse())?;
    let part: u64 = part.parse().map_err(|_| refuse())?;
    let fraction = u64::try_from(u128::from(part) * u128::from(factor) / u128::from(scale)).map_err(|_| refuse())?;
    whole.checked_mul(factor).and_then(|bytes| bytes.checked_add(fraction)).ok_or_else(refuse)
}

/// Shows a count with thin groups: `1 234 567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// Shows how many things: `1 file`, `1 234 files`, `3 patches`.
pub fn things(number: u64, one: &str) -> String {
    let ending = match number {
        1 => "",
        _ if one.ends_with("ch") => "es",
        _ => "s",
    };
    format!("{} {one}{ending}", count(number))
}

/// Shows a duration: `12 ms`, `3.40 s`, `5 min 12 s`, `2 h 5 min`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rounded, and never negative")]
pub fn duration(seconds: f64) -> String {
    let seconds = seconds.max(0.0);
    let whole = seconds.round() as u64;
    match seconds {
        s if s < 0.9995 => format!("{:.0} ms", s * 1000.0),
        s if s < 99.995 => format!("{s:.2} s"),
        _ if whole < 3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// Shows a duration given in milliseconds.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub fn millis(millis: u64) -> String {
    duration(millis as f64 / 1000.0)
}

/// Shows how long `from` lies before `to`.
pub fn between(from: Millis, to: Millis) -> String {
    millis(u64::try_from(to.0.saturating_sub(from.0)).unwrap_or(0))
}

/// Shows a point in time in this machine's zone, with the zone: `2026-11-20 18:05:00+01:00`.
pub fn time(at: Millis) -> String {
    time_in(at, TimeZone::system())
}

fn time_in(at: Millis, zone: TimeZone) -> String {
    jiff::Timestamp::from_millisecond(at.0)
        .map_or_else(|_| format!("{} ms", at.0), |t| t.to_zoned(zone).strftime("%Y-%m-%d %H:%M:%S%:z").to_string())
}

/// Returns this machine's clock.
pub fn now() -> Millis {
    Millis(jiff::Timestamp::now().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_units() {
        let read: Vec<_> =
            ["0", "17", "300k", "20M", "1.5 GiB", "2 MB", "0.5KiB"].map(parse_size).into_iter().flatten().collect();
        assert_eq!(read, [0, 17, 300 << 10, 20 << 20, 3 << 29, 2_000_000, 512]);
        for bad in ["", "M", "1.5", "1.", "-1", "1e6", "9 parsecs", "1.5.5M", "18446744073709551615k", "0.1234567890G"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_change_their_unit() {
        let shown: Vec<_> = [-1.0, 0.0124, 0.9999, 3.4, 99.999, 312.0, 7500.0].into_iter().map(duration).collect();
        assert_eq!(shown, ["0 ms", "12 ms", "1.00 s", "3.40 s", "1 min 40 s", "5 min 12 s", "2 h 5 min"]);
    }

    #[test]
    fn counts_are_grouped() {
        assert_eq!([count(7), count(1234), count(1_234_567)], ["7", "1 234", "1 234 567"]);
        assert_eq!([things(1, "file"), things(0, "site server"), things(2, "patch")], ["1 file", "0 site servers", "2 patches"]);
    }

    #[test]
    fn times_bear_their_zone() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        assert_eq!(time_in(Millis(0), zone), "1970-01-01 02:00:00+02:00");
    }
}
