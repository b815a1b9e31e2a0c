//! Ranges in a request, checked against what they count.

use std::ops::Range;

use crate::protocol::problem::Problem;
use crate::protocol::ranges::{RANGES_MAX, decode};

/// Decodes ranges over `what`, of which there are `count`.
pub(super) fn parse(bytes: &[u8], what: &str, count: u64) -> Result<Vec<Range<u32>>, Problem> {
    let ranges = decode(bytes).map_err(|error| {
        Problem::new(422, "malformed_ranges", error.to_string())
            .hint(format!("send at most {RANGES_MAX} ascending, non-empty ranges"))
    })?;
    match ranges.last() {
        Some(last) if u64::from(last.end) > count => {
            let detail = format!("the ranges end at {}, but this version has {count} {what}", last.end);
            Err(Problem::new(422, "ranges_out_of_bounds", detail))
        }
        _ => Ok(ranges),
    }
}
