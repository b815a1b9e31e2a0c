//! A future that wakes itself while it is polled is polled again at once.
//!
//! An HTTP connection does that with every request: the half that reads the body and the half that takes it are one task. The scheduler would
//! put the task at the end of its queue and wake an idle thread for it, which costs more than a small answer.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// Most polls in a row; then the others have their turn.
const POLLS_MAX: u32 = 16;

const IDLE: u8 = 0;
/// It is being polled, and nothing woke it.
const POLLING: u8 = 1;
/// It is being polled and was woken.
const AGAIN: u8 = 2;

/// See the module.
#[derive(Debug)]
pub struct Repoll<F> {
    inner: Pin<Box<F>>,
    bell: Arc<Bell>,
    /// Of the bell.
    waker: Waker,
}

#[derive(Debug, Default)]
struct Bell {
    state: AtomicU8,
    task: AtomicWaker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let noted = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| (state != IDLE).then_some(AGAIN));
        if noted.is_err() {
            self.task.wake();
        }
    }
}

impl<F: Future> Repoll<F> {
    /// Wraps `inner`.
    pub fn new(inner: F) -> Self {
        let bell = Arc::<Bell>::default();
        Self { inner: Box::pin(inner), waker: Waker::from(Arc::clone(&bell)), bell }
    }

    /// The wrapped future.
    pub fn inner(&mut self) -> Pin<&mut F> {
        self.inner.as_mut()
    }
}

impl<F: Future> Future for Repoll<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        this.bell.task.register(cx.waker());
        for _ in 0..POLLS_MAX {
            this.bell.state.store(POLLING, Ordering::Release);
            if let Poll::Ready(output) = this.inner.as_mut().poll(&mut Context::from_waker(&this.waker)) {
                return Poll::Ready(output);
            }
            // Whoever wakes it from now on wakes the task.
            if this.bell.state.swap(IDLE, Ordering::AcqRel) == POLLING {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Counted(AtomicU32);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_future_that_wakes_itself_goes_on_without_the_scheduler() {
        let counted = Arc::<Counted>::default();
        let waker = Waker::from(Arc::clone(&counted));
        let mut polls = 0;
        let mut future = Repoll::new(std::future::poll_fn(|cx| {
            polls += 1;
            if polls < 4 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(polls)
        }));
        assert_eq!(Pin::new(&mut future).poll(&mut Context::from_waker(&waker)), Poll::Ready(4));
        assert_eq!(counted.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn one_that_never_stops_lets_others_have_their_turn_and_a_wake_from_outside_arrives() {
        let counted = Arc::<Counted>::default();
        let waker = Waker::from(Arc::clone(&counted));
        let restless = Arc::new(AtomicU32::new(1));
        let kept: Arc<AtomicWaker> = Arc::default();
        let (how, outside) = (Arc::clone(&restless), Arc::clone(&kept));
        let mut future = Repoll::new(std::future::poll_fn(move |cx| {
            outside.register(cx.waker());
            if how.load(Ordering::Relaxed) == 1 {
                cx.waker().wake_by_ref();
            }
            Poll::<()>::Pending
        }));
        assert!(Pin::new(&mut future).poll(&mut Context::from_waker(&waker)).is_pending());
        assert_eq!(counted.0.load(Ordering::Relaxed), 1, "it asks to be polled later");
        restless.store(0, Ordering::Relaxed);
        assert!(Pin::new(&mut future).poll(&mut Context::from_waker(&waker)).is_pending());
        assert_eq!(counted.0.load(Ordering::Relaxed), 1);
        kept.wake();
        assert_eq!(counted.0.load(Ordering::Relaxed), 2, "it was woken while nobody polled it");
    }
}
