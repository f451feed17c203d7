//! `fame-cli status OUT`: how far a run is, shard by shard.

use std::{process::ExitCode, time::Duration};

use fame_core::run::{ShardState, shards};

use super::Failure;
use crate::{
    arguments::StatusArgs,
    setup::Setup,
    terminal::{out, out_line, told},
};

pub(crate) fn status(setup: &Setup, args: &StatusArgs) -> Result<ExitCode, Failure> {
    let states = shards(&args.out)?;
    if setup.json {
        for state in &states {
            out(&as_json(state).to_string())?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    out(&format!(
        "{:<12} {:<11} {:>15} {:>7} {:>10}  {}",
        "shard", "status", "finished", "failed", "items/h", "left"
    ))?;
    for state in &states {
        out_line(line(state).trim_end())?;
        if let Some(error) = &state.error {
            out_line(&format!("             {error}"))?;
        }
        if let Some(note) = note(state) {
            out(&format!("             {note}"))?;
        }
    }
    let finished: usize = states.iter().map(|state| state.finished).sum();
    let items = states.iter().map(|state| state.items).sum::<Option<usize>>();
    // Of shards that have not begun nobody knows how long they take.
    let left = items.and_then(|_| states.iter().filter_map(time_left).max());
    out(&format!(
        "{} are finished{}.",
        match items {
            Some(items) => format!("{finished} of {items} items"),
            None => format!("{finished} items so far, of a number that is not known yet,"),
        },
        left.map_or(String::new(), |left| format!(", about {} left", told(left)))
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// One shard in the columns of the heading.
fn line(state: &ShardState) -> String {
    let shard = state.shard.map_or("all".to_owned(), |shard| shard.to_string());
    let items = state.items.map_or("?".to_owned(), |items| items.to_string());
    let rate = rate(state).map_or(String::new(), |rate| format!("{:.0}", rate * 3600.0));
    let left = time_left(state).map_or(String::new(), told);
    format!(
        "{shard:<12} {:<11} {:>15} {:>7} {rate:>10}  {left}",
        state.status,
        format!("{} of {items}", state.finished),
        state.failed,
    )
}

/// What must be known to read the counts.
fn note(state: &ShardState) -> Option<String> {
    let only = if state.is_selection {
        "only some of the data's items were asked for (--limit, --only)"
    } else {
        ""
    };
    let others = match state.others {
        0 => String::new(),
        n if state.status == "running" || state.status == "broken off" => {
            format!("{n} items are there from earlier starts; the run has not come to them")
        }
        n => format!("{n} other items are there from earlier runs"),
    };
    let told: Vec<&str> = [only, &others].into_iter().filter(|part| !part.is_empty()).collect();
    (!told.is_empty()).then(|| told.join("; "))
}

fn as_json(state: &ShardState) -> serde_json::Value {
    serde_json::json!({
        "shard": state.shard.map(|shard| shard.to_string()), "status": state.status,
        "items": state.items, "finished": state.finished, "failed": state.failed,
        "others": state.others, "selection": state.is_selection,
        "items_per_second": rate(state), "seconds_left": time_left(state).map(|t| t.as_secs()),
        "error": state.error, "folder": state.folder,
    })
}

/// Items in a second since the last start.
fn rate(state: &ShardState) -> Option<f64> {
    let (items, time) = state.pace?;
    (items > 0 && !time.is_zero()).then(|| items as f64 / time.as_secs_f64())
}

/// The time that a running shard still takes if it goes on as since its start.
fn time_left(state: &ShardState) -> Option<Duration> {
    let left = state.items?.checked_sub(state.finished + state.failed)?;
    let seconds = left as f64 / rate(state)?;
    (state.status == "running").then(|| Duration::try_from_secs_f64(seconds).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_that_is_left_follows_from_the_pace() {
        let state = |status: &str, pace| ShardState {
            shard: None,
            folder: "out".into(),
            status: status.to_owned(),
            error: None,
            items: Some(100),
            finished: 40,
            failed: 10,
            others: 0,
            is_selection: false,
            limit: None,
            only: Vec::new(),
            pace,
            recipe: None,
            text: None,
        };
        let minute = Some((10, Duration::from_mins(1)));
        assert_eq!(time_left(&state("running", minute)), Some(Duration::from_mins(5)));
        assert_eq!(time_left(&state("stopped", minute)), None);
        assert_eq!(time_left(&state("running", Some((0, Duration::from_mins(1))))), None);
        assert!(
            line(&state("running", minute)).contains("40 of 100"),
            "{}",
            line(&state("running", minute))
        );
    }
}
