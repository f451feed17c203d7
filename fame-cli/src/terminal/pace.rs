//! How fast a run is, and how long it still takes.

use std::{
    fmt,
    time::{Duration, Instant},
};

use fame_core::run::ItemStatus;

/// How many items of a run have ended and how long they took. Items that were kept from an earlier
/// run took no time, and say nothing about those that are left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    items: usize,
    /// Items that were computed, those that failed included.
    computed: usize,
    kept: usize,
    /// The time that the computed ones took.
    busy: Duration,
    /// When the last item ended, or the first one began.
    last: Instant,
}

/// A [`Pace`] at an instant: `3 of 10 items, 12 s each, about 1 min 24 s left`.
pub(super) struct At(Pace, Instant);

impl Pace {
    /// The pace of a run that begins with `items` items.
    pub(super) fn new(items: usize, now: Instant) -> Self {
        Self { items, computed: 0, kept: 0, busy: Duration::ZERO, last: now }
    }

    /// Notes that an item ended.
    pub(super) fn ended(&mut self, status: ItemStatus, now: Instant) {
        if status == ItemStatus::Kept {
            self.kept += 1;
        } else {
            self.computed += 1;
            self.busy += now.saturating_duration_since(self.last);
        }
        self.last = now;
    }

    /// The items of the run, and how many of them have ended.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.items, self.computed + self.kept)
    }

    /// It as of `now`.
    pub(super) fn at(self, now: Instant) -> At {
        At(self, now)
    }

    /// The mean time of a computed item; `None` before the first.
    fn each(&self) -> Option<Duration> {
        let computed = u32::try_from(self.computed).ok().filter(|n| *n > 0)?;
        Some(self.busy / computed)
    }

    /// The time that is left if the other items take as long as those before. Whatever of it has
    /// gone by since the last one ended is off, but no more than one item's.
    fn left(&self, now: Instant) -> Option<Duration> {
        let (items, ended) = self.counts();
        let (each, left) = (self.each()?, u32::try_from(items.saturating_sub(ended)).ok()?);
        let gone = now.saturating_duration_since(self.last).min(each);
        Some((each * left).saturating_sub(gone))
    }
}

/// The walk of one explainer over the items at hand, as far as it was seen.
#[derive(Debug, Default)]
pub(super) struct Walk {
    explainer: String,
    /// The step at which it was seen first, and when.
    first: Option<(usize, Instant)>,
    done: usize,
}

/// Before a walk was seen for so long, the time that is left is a guess that would jump about.
const SEEN: Duration = Duration::from_secs(1);

impl Walk {
    /// What is said behind the number of its steps, once that can be told: `, about 35 s left`.
    /// Fewer steps than before are those of other items.
    pub(super) fn left(
        &mut self,
        explainer: &str,
        (done, total): (usize, usize),
        now: Instant,
    ) -> String {
        if self.explainer != explainer || done < self.done {
            explainer.clone_into(&mut self.explainer);
            self.first = None;
        }
        self.done = done;
        let (from, since) = *self.first.get_or_insert((done, now));
        let gone = now.saturating_duration_since(since);
        if gone < SEEN || done <= from || done >= total {
            return String::new();
        }
        let left = gone.as_secs_f64() * (total - done) as f64 / (done - from) as f64;
        let left = Duration::try_from_secs_f64(left).unwrap_or(Duration::MAX);
        format!(", about {} left", told(left))
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(pace, now) = self;
        let (items, ended) = pace.counts();
        write!(f, "{ended} of {items} item{}", if items == 1 { "" } else { "s" })?;
        if pace.kept > 0 {
            write!(f, " ({} kept)", pace.kept)?;
        }
        if let Some(each) = pace.each() {
            write!(f, ", {} each", short(each))?;
        }
        match pace.left(*now) {
            Some(left) if ended < items => write!(f, ", about {} left", told(left)),
            _ => Ok(()),
        }
    }
}

/// A time with as many digits as mean something.
fn short(time: Duration) -> String {
    match time.as_secs_f64() {
        s if s < 1.0 => format!("{s:.2} s"),
        s if s < 10.0 => format!("{s:.1} s"),
        _ => told(time),
    }
}

/// A time in hours, minutes and seconds: the two largest of them.
pub(crate) fn told(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run of ten items: each of `events` is how an item ended, and the second at which it did.
    fn after(events: &[(ItemStatus, u64)]) -> (Pace, Instant) {
        let begin = Instant::now();
        let mut pace = Pace::new(10, begin);
        for (status, second) in events {
            pace.ended(*status, begin + Duration::from_secs(*second));
        }
        (pace, begin)
    }

    #[test]
    fn the_time_left_follows_from_what_was_computed() {
        let (pace, begin) = after(&[(ItemStatus::Done, 20), (ItemStatus::Failed, 40)]);
        let at = |second| pace.at(begin + Duration::from_secs(second)).to_string();
        assert_eq!(at(40), "2 of 10 items, 20 s each, about 2 min 40 s left");
        assert_eq!(at(50), "2 of 10 items, 20 s each, about 2 min 30 s left");
        // The third takes long: the seven behind it are still to come.
        assert_eq!(at(500), "2 of 10 items, 20 s each, about 2 min 20 s left");
    }

    #[test]
    fn kept_items_do_not_make_the_others_look_fast() {
        let kept = (ItemStatus::Kept, 0);
        let (pace, begin) = after(&[kept, kept, kept, kept]);
        assert_eq!(pace.at(begin).to_string(), "4 of 10 items (4 kept)", "no guess without one");
        let (pace, begin) = after(&[kept, kept, (ItemStatus::Done, 30), (ItemStatus::Kept, 50)]);
        // The time up to an item that is kept is no computed item's.
        let at = pace.at(begin + Duration::from_secs(50)).to_string();
        assert_eq!(at, "4 of 10 items (3 kept), 30 s each, about 3 min 0 s left");
    }

    #[test]
    fn a_batch_whose_items_end_together_has_their_mean() {
        let (pace, begin) = after(&[(ItemStatus::Done, 40); 4]);
        let at = pace.at(begin + Duration::from_secs(40)).to_string();
        assert_eq!(at, "4 of 10 items, 10 s each, about 1 min 0 s left");
        let (pace, begin) = after(&[(ItemStatus::Done, 1); 10]);
        assert_eq!(pace.at(begin).to_string(), "10 of 10 items, 0.10 s each");
    }

    #[test]
    fn the_time_left_of_a_walk_follows_from_its_steps() {
        let begin = Instant::now();
        let mut walk = Walk::default();
        let mut left = |explainer: &str, done, second| {
            walk.left(explainer, (done, 500), begin + Duration::from_secs(second))
        };
        assert_eq!(left("fame", 1, 0), "", "nothing was seen yet");
        assert_eq!(left("fame", 101, 10), ", about 39 s left");
        assert_eq!(left("fame", 500, 50), "", "it is at its end");
        assert_eq!(left("fame", 1, 60), "", "the next item");
        assert_eq!(left("fame", 101, 80), ", about 1 min 19 s left");
        assert_eq!(left("other", 102, 90), "", "another explainer");
    }

    #[test]
    fn a_time_has_its_two_largest_parts() {
        let told = |seconds| told(Duration::from_secs(seconds));
        assert_eq!([told(59), told(61)], ["59 s", "1 min 1 s"]);
        assert_eq!(told(3 * 3600 + 125), "3 h 2 min");
    }
}
