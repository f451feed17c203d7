//! The pilot: one item that is run before anything is submitted, so that a mistake is found here
//! and not in sixty-four tasks, and so that the tasks can be given a time limit.

use std::time::Duration;

use fame_core::{
    Error, Plan, Result,
    run::{ItemStatus, Observer, RunOptions, Shard, item_lines, run},
    store::ModelStore,
};

/// How many times as long as the pilot foretells a task may take: another processor, a busy node, a
/// larger picture.
const LEEWAY: f64 = 3.0;
/// The shortest time limit: starting, and a file system that many share, take time too.
const LEAST: Duration = Duration::from_mins(10);

/// How long the first item took on this machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pilot {
    /// Loading, and all else that happens once in a run.
    pub(super) start: Duration,
    /// The item itself.
    pub(super) item: Duration,
}

impl Pilot {
    /// Runs the first item of `plan` in a temporary folder.
    ///
    /// # Errors
    /// Whatever the item or its run fails with.
    pub(super) fn run(
        plan: &Plan,
        store: &ModelStore,
        options: &RunOptions,
        observer: &dyn Observer,
    ) -> Result<Self> {
        let folder = tempfile::tempdir()
            .map_err(|e| Error::io("create a folder in", &std::env::temp_dir(), &e))?;
        let out = folder.path().join("pilot");
        let options = RunOptions { out, limit: Some(1), ..options.clone() };
        let summary = run(plan, store, &options, observer)?;
        let line = item_lines(&options.out)?.next();
        let line = line.ok_or_else(|| Error::bug("a run of one item has no line of it"))?;
        if line.status != ItemStatus::Done {
            let why = line.error.as_ref().and_then(|error| error.get("message")?.as_str());
            let why = why.unwrap_or("a check failed");
            let text = format!("the pilot, item `{}`, failed: {why}", line.id);
            let error = Error::new("fame::submit::pilot", text);
            return Err(error.with_help(
                "Nothing was submitted. Where this host cannot run the recipe, for want of a GPU \
                 perhaps, say how long a task may take, `-- --time=2:00:00`: no pilot is run then.",
            ));
        }
        let item = Duration::from_secs_f64(line.seconds.unwrap_or_default());
        let all = Duration::from_secs_f64(summary.seconds);
        Ok(Self { start: all.saturating_sub(item), item })
    }

    /// The time limit, in whole minutes, of a task that has at most so many `items` in so many
    /// runs.
    pub(super) fn minutes(&self, runs: usize, items: usize) -> u64 {
        let seconds =
            runs as f64 * self.start.as_secs_f64() + items as f64 * self.item.as_secs_f64();
        let limit = (LEEWAY * seconds).max(LEAST.as_secs_f64());
        (limit / 60.0).ceil() as u64
    }
}

/// The most items that one of `tasks` tasks gets, which share `shards` shards in turn.
pub(super) fn largest_share(ids: &[String], shards: usize, tasks: usize) -> usize {
    let mut of_tasks = vec![0; tasks];
    let all: Vec<Shard> = (0..shards).filter_map(|i| Shard::new(i, shards).ok()).collect();
    for id in ids {
        if let Some(shard) = all.iter().find(|shard| shard.has(id)) {
            of_tasks[shard.index() % tasks] += 1;
        }
    }
    of_tasks.into_iter().max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_gets_three_times_what_the_pilot_foretells_and_ten_minutes_at_least() {
        let pilot = Pilot { start: Duration::from_secs(20), item: Duration::from_secs(30) };
        assert_eq!(pilot.minutes(1, 1), 10);
        // 2 · 20 s + 100 · 30 s = 3,040 s, three times over.
        assert_eq!(pilot.minutes(2, 100), 152);
    }

    #[test]
    fn the_largest_share_counts_every_shard_of_a_task() {
        let ids: Vec<String> = (0..100).map(|i| format!("item{i}")).collect();
        assert_eq!(largest_share(&ids, 1, 1), 100);
        assert_eq!(largest_share(&ids, 7, 1), 100);
        let largest = largest_share(&ids, 4, 4);
        assert!((25..=50).contains(&largest), "{largest}");
        assert_eq!(largest_share(&[], 4, 2), 0);
    }
}
