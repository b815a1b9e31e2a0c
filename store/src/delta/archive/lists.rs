//! The lists in front of an unfolded patch: which streams of the bases are inflated, and where the target's streams are.

use super::super::format::damaged;
use super::STREAMS_MAX;
use super::deflate::Style;
use crate::error::{Error, Result};

/// Streams ahead among which one of the same length is looked for.
const NEAR: usize = 64;

/// A stream of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Folded {
    /// Bytes between it and the stream before.
    pub(super) gap: u64,
    /// Bytes of what it stands for.
    pub(super) plain: u64,
    pub(super) style: Style,
}

/// A stream of the bases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unfolded {
    /// Bytes between it and the stream before.
    pub(super) gap: u64,
    /// Bytes of what it stands for.
    pub(super) plain: u64,
}

/// Writes the gaps of `bases`.
pub(super) fn write_bases(bases: &[Unfolded]) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, bases.len() as u64);
    for base in bases {
        put(&mut out, base.gap);
    }
    out
}

/// Reads the gaps of the streams of the bases.
pub(super) fn read_bases(list: &mut &[u8]) -> Result<Vec<u64>> {
    let count = count(list)?;
    (0..count).map(|_| take(list)).collect()
}

/// Writes `targets`: each beside the stream of `bases` that it probably comes from, so that most of it is zeros.
pub(super) fn write_targets(targets: &[Folded], bases: &[Unfolded]) -> Vec<u8> {
    let (mut steps, mut gaps, mut plains, mut styles) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut next = 0;
    for target in targets {
        let near = bases.get(next..).unwrap_or_default();
        let step = near.iter().take(NEAR).position(|base| base.plain == target.plain).unwrap_or(0);
        let base = base_at(next + step, |at| bases.get(at).copied());
        put(&mut steps, step as u64);
        put(&mut gaps, zigzag(target.gap.wrapping_sub(base.gap).cast_signed()));
        put(&mut plains, zigzag(target.plain.wrapping_sub(base.plain).cast_signed()));
        styles.push(target.style.code());
        next += step + 1;
    }
    let mut out = Vec::new();
    put(&mut out, targets.len() as u64);
    for column in [steps, gaps, plains, styles] {
        out.extend(column);
    }
    out
}

/// Reads what [`write_targets`] wrote.
pub(super) fn read_targets(list: &mut &[u8], bases: &[Unfolded]) -> Result<Vec<Folded>> {
    let count = count(list)?;
    let column = |list: &mut &[u8]| (0..count).map(|_| take(list)).collect::<Result<Vec<u64>>>();
    let (steps, gaps, plains) = (column(list)?, column(list)?, column(list)?);
    let styles = list.split_off(..count).ok_or_else(|| damaged("its list of streams ends early"))?;
    let mut next = 0_usize;
    let mut targets = Vec::with_capacity(count);
    for (index, code) in styles.iter().enumerate() {
        let step = usize::try_from(steps[index]).unwrap_or(usize::MAX);
        let base = base_at(next.saturating_add(step), |at| bases.get(at).copied());
        let style = Style::of_code(*code)
            .ok_or_else(|| Error::TooNew { what: "the patch".into(), why: format!("a stream compressed in way {code}") })?;
        let (gap, plain) = (base.gap.wrapping_add(unzigzag(gaps[index])), base.plain.wrapping_add(unzigzag(plains[index])));
        targets.push(Folded { gap, plain, style });
        next = next.saturating_add(step).saturating_add(1);
    }
    Ok(targets)
}

fn base_at(at: usize, of: impl Fn(usize) -> Option<Unfolded>) -> Unfolded {
    of(at).unwrap_or(Unfolded { gap: 0, plain: 0 })
}

fn count(list: &mut &[u8]) -> Result<usize> {
    let count = take(list)?;
    let limit = || Error::Limit { what: "the patch's count of streams".into(), limit: STREAMS_MAX.to_string() };
    usize::try_from(count).ok().filter(|count| *count <= STREAMS_MAX).ok_or_else(limit)
}

fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63).cast_unsigned()
}

fn unzigzag(value: u64) -> u64 {
    value >> 1 ^ (value & 1).wrapping_neg()
}

/// Appends a number, seven bits a byte, lowest first.
fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn take(list: &mut &[u8]) -> Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *list.split_off_first().ok_or_else(|| damaged("its list of streams ends early"))?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(damaged("a number in its list of streams is too long"))
}
