//! The one door from async code to the CPU pool.
//!
//! Counting, chunking and parsing take milliseconds to seconds; on tokio's threads they would stall sockets, and
//! `spawn_blocking` would start up to 512 threads for them. They run on rayon's pool, one thread a core.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::sync::oneshot;

/// The work panicked. Documents are hostile and parsers are not perfect: one document fails, the run goes on.
#[derive(Debug, thiserror::Error)]
#[error("a bug was hit while reading this document: {0}; please report it with the document")]
pub struct Panicked(String);

impl Panicked {
    fn new(panic: Box<dyn Any + Send>) -> Self {
        let text = panic
            .downcast_ref::<&str>()
            .map(|s| (*s).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no message".to_owned());
        // A slicing panic quotes the text it sliced; only its first words are safe to show.
        Panicked(text.chars().take_while(|c| *c != '`').take(120).collect())
    }
}

/// Runs `work` on a thread of its own: work that waits for what it works on would keep a thread of the pool from others.
/// Who goes away before it ends leaves it to find out that nobody feeds it any more.
pub async fn run_beside<T, F>(work: F) -> Result<T, Panicked>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let (sender, receiver) = oneshot::channel();
    let thread = std::thread::Builder::new().name("docmill reader".to_owned()).spawn(move || {
        let result = catch_unwind(AssertUnwindSafe(work)).map_err(Panicked::new);
        let _ = sender.send(result);
    });
    if let Err(error) = thread {
        return Err(Panicked(format!("no thread could be started: {error}")));
    }
    receiver.await.unwrap_or_else(|_| Err(Panicked("the thread ended".to_owned())))
}

/// Runs `work` on the CPU pool. A caller that goes away before it starts cancels it.
#[must_use = "work that nobody waits for is skipped"]
pub async fn run<T, F>(work: F) -> Result<T, Panicked>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let (sender, receiver) = oneshot::channel();
    rayon::spawn(move || {
        if sender.is_closed() {
            return;
        }
        // The closure owns what it touches, so nothing half-changed survives it.
        let result = catch_unwind(AssertUnwindSafe(work)).map_err(Panicked::new);
        // The receiver may have gone away in the meantime: then nobody wants the result.
        let _ = sender.send(result);
    });
    receiver.await.unwrap_or_else(|_| Err(Panicked("the worker pool is shutting down".to_owned())))
}

#[cfg(test)]
mod tests {
    #[tokio::test]
    async fn a_panic_stays_with_the_work_that_caused_it() {
        let failed = super::run(|| -> u32 { panic!("byte index 3 is inside `secret text`") }).await;
        let message = failed.expect_err("it panicked").to_string();
        assert!(message.contains("byte index 3") && !message.contains("secret"), "{message}");
        assert_eq!(super::run(|| 6 * 7).await.ok(), Some(42));
    }
}
