//! Going along a trail as a target's content is gone through.

use std::collections::BTreeMap;

use super::trail::{ANCHOR_BYTES, STEP_BYTES, Step, Trail, Way};
use super::window::Window;
use crate::error::Result;

/// Steps that are held.
const PAGE_STEPS: usize = 4 << 10;
/// What reading them counts as, in looks.
const PAGE_LOOKS: u64 = 2 << 10;
/// Most stretches of the bases that are remembered with their place in the target.
const STRETCHES_MAX: usize = 32 << 10;
/// Most places that are looked up behind what was told last.
const LOOKED_UP_MAX: usize = 4 << 10;
/// Of the last eight expectations so many were right where the place in the bases is the wrong one.
const POOR: u32 = 2;

/// What is expected of a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    Nothing,
    Literal,
    Short,
    Match {
        back: usize,
        len: usize,
        /// Whether it begins here.
        whole: bool,
        /// How far back its source is now, by the stretches around it in the bases; 0 where there is none.
        moved: [usize; 2],
    },
}

/// Where in the bases the content is that is gone through.
#[derive(Debug)]
pub(super) struct Guide {
    /// How far the place there is from here, and the step there.
    beside: Option<(i64, usize)>,
    /// Another, met while that was right.
    other: Option<(i64, usize)>,
    /// How far it was when expectations were right.
    good: i64,
    /// Whether the last eight were, the last one lowest.
    history: u8,
    /// Places before have been looked up.
    known: usize,
    at: usize,
    /// Where stretches of the bases begin, and how far they are from here.
    stretches: BTreeMap<usize, i64>,
    page: Vec<u8>,
    page_first: usize,
}

impl Guide {
    pub(super) fn new() -> Self {
        Self {
            beside: None,
            other: None,
            good: 0,
            history: 0,
            known: 0,
            at: 0,
            stretches: BTreeMap::new(),
            page: Vec::new(),
            page_first: 0,
        }
    }

    /// Where the next stream probably goes on in the bases.
    pub(super) fn origin(&self) -> i64 {
        self.good + self.at as i64
    }

    /// Begins a stream that is probably at `origin` there.
    pub(super) fn restart(&mut self, origin: i64) {
        let (page, page_first) = (std::mem::take(&mut self.page), self.page_first);
        *self = Self { good: origin, page, page_first, ..Self::new() };
    }

    /// What is expected of the place `at`.
    pub(super) fn expect(&mut self, trail: &Trail, window: &Window, at: usize, looks: &mut u64) -> Result<Expected> {
        self.at = at;
        self.look_up(trail, window, at, looks);
        let Some((off, step)) = self.beside else { return Ok(Expected::Nothing) };
        let Some(place) = usize::try_from(at as i64 + off).ok().filter(|place| *place < trail.end) else {
            return Ok(Expected::Nothing);
        };
        let (step, end) = self.step_of(trail, step, place, looks)?;
        Ok(match step.way {
            Way::Literals => Expected::Literal,
            Way::Short => Expected::Short,
            Way::Match { back } => {
                let source = place.saturating_sub(back);
                let moved = |stretch: Option<(&usize, &i64)>| {
                    stretch.and_then(|(_, off)| usize::try_from(at as i64 - (source as i64 - off)).ok()).unwrap_or(0)
                };
                let around = [self.stretches.range(..=source).next_back(), self.stretches.range(source..).next()];
                Expected::Match { back, len: end - place, whole: step.start == place, moved: around.map(moved) }
            }
        })
    }

    /// Learns whether what was expected of the last place was right.
    pub(super) fn learn(&mut self, right: bool) {
        self.history = self.history << 1 | u8::from(right);
        if self.history == u8::MAX
            && let Some((off, _)) = self.beside
        {
            self.good = off;
        }
        if !right && let Some(other) = self.other.take() {
            self.go_beside(other, (self.at as i64 + other.0).max(0) as usize);
        }
    }

    /// Looks up the places before `at`.
    fn look_up(&mut self, trail: &Trail, window: &Window, at: usize, looks: &mut u64) {
        // What is stored is passed by.
        for place in self.known.max(at.saturating_sub(LOOKED_UP_MAX))..at {
            let off = self.beside.map(|(off, _)| off).filter(|_| self.history.count_ones() > POOR);
            let here = window.bytes(place, window.end().min(place + ANCHOR_BYTES));
            let Some((there, step)) = trail.find(here, place as i64 + off.unwrap_or(self.good), looks) else { continue };
            let found = (there as i64 - place as i64, step);
            match self.beside {
                Some((off, _)) if off == found.0 => self.other = None,
                Some(_) if self.history & 1 == 1 => self.other = Some(found),
                _ => {
                    self.go_beside(found, there);
                    self.history |= 1;
                }
            }
        }
        self.known = at;
    }

    fn go_beside(&mut self, (off, step): (i64, usize), there: usize) {
        self.beside = Some((off, step));
        if self.stretches.len() < STRETCHES_MAX {
            self.stretches.insert(there, off);
        }
    }

    /// The step that `place` is in, near the step `near`, and where it ends.
    fn step_of(&mut self, trail: &Trail, near: usize, place: usize, looks: &mut u64) -> Result<(Step, usize)> {
        let (mut index, mut step) = (near, self.step(trail, near, looks)?);
        while step.start > place && index > 0 {
            index -= 1;
            step = self.step(trail, index, looks)?;
        }
        let end = loop {
            if index + 1 == trail.steps {
                break trail.end;
            }
            let next = self.step(trail, index + 1, looks)?;
            if next.start > place {
                break next.start;
            }
            index += 1;
            step = next;
        };
        if let Some((_, known)) = &mut self.beside {
            *known = index;
        }
        Ok((step, end))
    }

    fn step(&mut self, trail: &Trail, index: usize, looks: &mut u64) -> Result<Step> {
        *looks += 1;
        let held = self.page_first..self.page_first + self.page.len() / STEP_BYTES;
        if !held.contains(&index) {
            // Those before are often wanted too.
            self.page_first = index.saturating_sub(PAGE_STEPS / 8);
            self.page.resize((trail.steps - self.page_first).min(PAGE_STEPS) * STEP_BYTES, 0);
            trail.read(&mut self.page, self.page_first)?;
            *looks += PAGE_LOOKS;
        }
        let at = index - self.page_first;
        let bytes = self.page[at * STEP_BYTES..].first_chunk().expect("within the page");
        Ok(Step::of_bytes(*bytes))
    }
}
