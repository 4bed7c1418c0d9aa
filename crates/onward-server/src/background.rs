//! Background work that ends by a fault of ours (a panic) begins again after a pause: what it does is in the store, so that a new
//! beginning is what a start of the process would be. Meanwhile `/readyz` names it and stays 200; `/metrics` counts; what falls again and
//! again is told (`onward_gateway::background`). The listeners have no second beginning: without them the process ends.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use onward_gateway::background::Background;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How long work that fell waits before it begins again, and at most, for it doubles: what fell at once may do so again.
const PAUSE: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];

/// Does this work until it ends by itself, as it does when `stop` turns true.
async fn keep<F: Future<Output = ()>>(
    background: &Background,
    [first, longest]: [Duration; 2],
    name: &'static str,
    mut stop: watch::Receiver<bool>,
    work: impl Fn(watch::Receiver<bool>) -> F,
) {
    let mut pause = first;
    loop {
        background.begins(name);
        let began = Instant::now();
        if AssertUnwindSafe(async { work(stop.clone()).await }).catch_unwind().await.is_ok() {
            return;
        }
        background.fell(name);
        if began.elapsed() > longest {
            pause = first;
        }
        tracing::error!(work = name, pause = pause.as_secs(), "background work fell, and begins again after a pause");
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        pause = (pause * 2).min(longest);
    }
}

/// The work that is begun at a start.
pub(crate) struct Tasks {
    background: Arc<Background>,
    stop: watch::Receiver<bool>,
    begun: JoinSet<()>,
}

impl Tasks {
    /// None yet; each ends when `stop` turns true.
    pub(crate) fn new(background: Arc<Background>, stop: watch::Receiver<bool>) -> Self {
        Self { background, stop, begun: JoinSet::new() }
    }

    /// Begins one kind of work of `own`, as often as it falls.
    pub(crate) fn keep<O, F>(
        &mut self,
        name: &'static str,
        own: &Arc<O>,
        work: impl Fn(Arc<O>, watch::Receiver<bool>) -> F + Send + Sync + 'static,
    ) where
        O: Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let (background, own, stop) = (Arc::clone(&self.background), Arc::clone(own), self.stop.clone());
        self.begun
            .spawn(async move { keep(&background, PAUSE, name, stop, |stop| work(Arc::clone(&own), stop)).await });
    }

    /// All that was begun.
    pub(crate) fn begun(self) -> JoinSet<()> {
        self.begun
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use onward_core::SystemClock;

    use super::*;

    fn begun() -> Arc<Background> {
        Arc::new(Background::new(Arc::new(SystemClock)))
    }

    #[tokio::test]
    async fn work_that_panics_is_told_and_begins_again() {
        let (background, (stop, stopped)) = (begun(), watch::channel(false));
        let (begun, runs) = (Arc::new(AtomicUsize::new(0)), Arc::new(tokio::sync::Notify::new()));
        let work = {
            let (begun, runs) = (Arc::clone(&begun), Arc::clone(&runs));
            move |mut stop: watch::Receiver<bool>| {
                let (number, runs) = (begun.fetch_add(1, Ordering::SeqCst), Arc::clone(&runs));
                async move {
                    assert!(number >= 3, "it falls three times");
                    runs.notify_one();
                    let _ = stop.wait_for(|stop| *stop).await;
                }
            }
        };
        let keeping = tokio::spawn({
            let background = Arc::clone(&background);
            async move { keep(&background, [Duration::from_millis(1); 2], "dispatcher", stopped, work).await }
        });
        runs.notified().await;
        assert_eq!(background.standing(), [("dispatcher", 3, false)]);
        assert!(background.down().is_empty());
        stop.send(true).expect("it listens");
        keeping.await.expect("it ends");
        assert_eq!(begun.load(Ordering::SeqCst), 4);
    }

    #[tokio::test]
    async fn what_is_down_is_told_until_it_runs_and_waits_for_no_pause_when_everything_ends() {
        let (background, (stop, stopped)) = (begun(), watch::channel(false));
        let keeping = tokio::spawn({
            let background = Arc::clone(&background);
            let hour = Duration::from_secs(3_600);
            async move { keep(&background, [hour; 2], "alerts", stopped, |_| async { panic!("a fault") }).await }
        });
        while background.down().is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(background.down(), ["alerts"]);
        stop.send(true).expect("it listens");
        keeping.await.expect("it ends at once");
        assert_eq!(background.standing(), [("alerts", 1, true)]);
    }
}
