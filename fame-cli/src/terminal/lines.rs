//! Plain lines for logs and pipes.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use fame_core::{
    report::escape,
    run::{Event, Observer},
};

use super::{
    pace::Walk,
    preview::Preview,
    say,
    story::{Said, Story},
    write_lines,
};

/// The time between two lines about how far a run is, at its beginning and at the most; between
/// them a twentieth of what has gone by, so that the log of a long run stays readable.
const EVERY: Duration = Duration::from_secs(10);
const AT_MOST: Duration = Duration::from_mins(5);

pub(super) struct Lines {
    story: Story,
    clock: Mutex<Clock>,
    walk: Mutex<Walk>,
}

struct Clock {
    begun: Instant,
    last: Instant,
}

impl Clock {
    /// Whether it is time for another line; the next one is due later then.
    fn is_due(&mut self, now: Instant) -> bool {
        let every = (now.saturating_duration_since(self.begun) / 20).clamp(EVERY, AT_MOST);
        let is_due = now.saturating_duration_since(self.last) >= every;
        if is_due {
            self.last = now;
        }
        is_due
    }
}

impl Lines {
    pub(super) fn new(preview: Option<Preview>) -> Self {
        let now = Instant::now();
        let clock = Mutex::new(Clock { begun: now, last: now });
        Self { story: Story::new(preview), clock, walk: Mutex::default() }
    }

    fn say(said: &Said) {
        match said {
            Said::Line(line) => say(line),
            Said::Drawn(lines) => write_lines(lines),
        }
    }

    /// Says how far the run is, if it is time: `at` is the step that its items are at.
    fn progress(&self, at: Option<&str>) {
        let now = Instant::now();
        if !self.clock.lock().unwrap_or_else(PoisonError::into_inner).is_due(now) {
            return;
        }
        let pace = self.story.pace().map(|pace| pace.at(now).to_string());
        let told: Vec<&str> = at.into_iter().chain(pace.as_deref()).collect();
        if !told.is_empty() {
            say(&told.join("; "));
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.story.end().iter().for_each(Self::say);
    }
}

impl Observer for Lines {
    fn event(&self, event: &Event<'_>) {
        match event {
            // Before this item is counted: of a batch whose items all end now, the first alone
            // would seem to have taken the time of all.
            Event::Item { .. } => self.progress(None),
            Event::Steps { explainer, done, total } => {
                let mut walk = self.walk.lock().unwrap_or_else(PoisonError::into_inner);
                let left = walk.left(explainer, (*done, *total), Instant::now());
                let name = escape::terminal_line(explainer);
                self.progress(Some(&format!("{name}: {done} of {total} steps{left}")));
            }
            Event::Items(n) => {
                say(&format!("{n} item{} to explain", if *n == 1 { "" } else { "s" }));
            }
            _ => {}
        }
        self.story.tell(event).iter().for_each(Self::say);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_at_longer_and_longer_intervals() {
        let begun = Instant::now();
        let mut clock = Clock { begun, last: begun };
        let due: Vec<u64> =
            (0..3600).filter(|s| clock.is_due(begun + Duration::from_secs(*s))).collect();
        assert_eq!(due[..3], [10, 20, 30]);
        assert!(due.len() < 100, "{} in an hour", due.len());
        let mut clock = Clock { begun, last: begun + Duration::from_hours(99) };
        assert!(clock.is_due(begun + Duration::from_hours(99) + AT_MOST), "never longer apart");
    }
}
