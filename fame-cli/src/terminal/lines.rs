//! Plain lines for logs and pipes.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use fame_core::{
    run::{Event, ItemStatus, Observer},
    store::FetchEvent,
};

use super::say;

/// Time between two reports of a running explanation.
const EVERY: Duration = Duration::from_secs(10);

pub(super) struct Lines {
    last: Mutex<Instant>,
}

impl Lines {
    pub(super) fn new() -> Self {
        Self { last: Mutex::new(Instant::now()) }
    }

    fn steps(&self, explainer: &str, done: usize, total: usize) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.elapsed() >= EVERY {
            *last = Instant::now();
            say(&format!("{explainer}: {done} of {total} steps"));
        }
    }
}

/// One line about a fetch; `None` when there is nothing worth a line.
pub(super) fn fetch_line(progress: &FetchEvent) -> Option<String> {
    Some(match progress {
        FetchEvent::Started { what, tool } => format!("fetching {what} with {tool}"),
        FetchEvent::Waiting { what } => format!("waiting for another fetch of {what}"),
        FetchEvent::Converting { script } => format!("converting with {script}"),
        FetchEvent::Verifying { .. } | FetchEvent::Extracting { .. } | FetchEvent::Done { .. } => {
            return None;
        }
    })
}

impl Observer for Lines {
    fn event(&self, event: &Event<'_>) {
        match event {
            Event::Fetch(p) => {
                if let Some(line) = fetch_line(p) {
                    say(&line);
                }
            }
            Event::Stage(_) => {}
            Event::Items(n) => {
                say(&format!("{n} item{} to explain", if *n == 1 { "" } else { "s" }));
            }
            Event::Steps { explainer, done, total } => self.steps(explainer, *done, *total),
            Event::Item { id, status: ItemStatus::Failed, line } => {
                say(&format!("{id}: FAILED: {line}"));
            }
            Event::Item { id, line, .. } => say(&format!("{id}: {line}")),
            Event::Warning(text) => say(&format!("warning: {text}")),
        }
    }
}
