//! Sizes as people read them.

const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];

/// Shows a size with three significant digits: `17 B`, `1.5 KiB`, `120 MiB`.
#[must_use]
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
}
