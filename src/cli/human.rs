//! Numbers and times as people read them.

use jiff::tz::TimeZone;

use crate::domain::Millis;

const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];

/// Shows a size with three significant digits: `17 B`, `1.5 KiB`, `120 MiB`.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let name = UNITS[unit];
    match value {
        _ if unit == 0 => format!("{bytes} {name}"),
        v if v < 9.995 => format!("{v:.2} {name}"),
        v if v < 99.95 => format!("{v:.1} {name}"),
        v => format!("{v:.0} {name}"),
    }
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

/// Shows how many things: `1 file`, `1 234 files`.
pub fn things(number: u64, one: &str) -> String {
    format!("{} {one}{}", count(number), if number == 1 { "" } else { "s" })
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
    fn sizes_have_three_digits() {
        let shown: Vec<_> =
            [0, 17, 999, 1000, 1536, 10_230, 1 << 20, 123 << 20, 1000 << 20, u64::MAX].into_iter().map(size).collect();
        assert_eq!(
            shown,
            ["0 B", "17 B", "999 B", "0.98 KiB", "1.50 KiB", "9.99 KiB", "1.00 MiB", "123 MiB", "0.98 GiB", "16777216 TiB"]
        );
    }

    #[test]
    fn durations_change_their_unit() {
        let shown: Vec<_> = [-1.0, 0.0124, 0.9999, 3.4, 99.999, 312.0, 7500.0].into_iter().map(duration).collect();
        assert_eq!(shown, ["0 ms", "12 ms", "1.00 s", "3.40 s", "1 min 40 s", "5 min 12 s", "2 h 5 min"]);
    }

    #[test]
    fn counts_are_grouped() {
        assert_eq!([count(7), count(1234), count(1_234_567)], ["7", "1 234", "1 234 567"]);
        assert_eq!([things(1, "file"), things(0, "site server")], ["1 file", "0 site servers"]);
    }

    #[test]
    fn times_bear_their_zone() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        assert_eq!(time_in(Millis(0), zone), "1970-01-01 02:00:00+02:00");
    }
}
