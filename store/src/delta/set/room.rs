//! Memory that patches which are built at once share.

use std::sync::{Condvar, Mutex, PoisonError};

/// What may be held in all, bytes: with what else a builder needs, less than 512 MiB.
pub(super) const ROOM_BYTES: u64 = 448 << 20;
/// What a patch needs that is being built, besides the index of its base: its model, a window with its literals, and at most 32 MiB to compress those.
pub(super) const PATCH_BYTES: u64 = 64 << 20;

/// Room for [`ROOM_BYTES`].
#[derive(Debug, Default)]
pub(super) struct Room {
    held: Mutex<u64>,
    freed: Condvar,
}

impl Room {
    /// Waits until there is room for `bytes`, and holds it until the answer is dropped. Whoever holds some asks for no more: so the wait ends.
    pub(super) fn hold(&self, bytes: u64) -> Held<'_> {
        let bytes = bytes.min(ROOM_BYTES);
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |held: &mut u64| *held + bytes > ROOM_BYTES;
        *self.freed.wait_while(held, full).unwrap_or_else(PoisonError::into_inner) += bytes;
        Held { room: self, bytes }
    }
}

/// Room that is held.
#[derive(Debug)]
pub(super) struct Held<'a> {
    room: &'a Room,
    bytes: u64,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        *self.room.held.lock().unwrap_or_else(PoisonError::into_inner) -= self.bytes;
        self.room.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn no_more_is_held_at_once_than_there_is() {
        let (room, held, most) = (Room::default(), AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for number in 0..8_u64 {
                let (room, held, most) = (&room, &held, &most);
                scope.spawn(move || {
                    for turn in 0..200 {
                        // One of them would be more than there is.
                        let bytes = ROOM_BYTES / 7 * ((number + turn) % 9);
                        let _held = room.hold(bytes);
                        let bytes = bytes.min(ROOM_BYTES);
                        most.fetch_max(held.fetch_add(bytes, Ordering::Relaxed) + bytes, Ordering::Relaxed);
                        std::thread::yield_now();
                        held.fetch_sub(bytes, Ordering::Relaxed);
                    }
                });
            }
        });
        let most = most.into_inner();
        assert!(most <= ROOM_BYTES && most > ROOM_BYTES / 7 * 6, "{most}");
    }
}
