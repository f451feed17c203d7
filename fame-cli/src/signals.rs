//! Signals: whoever is told to end says in what state the run is, and leaves a true record.

use fame_core::{
    run::{StopHandle, Stopped},
    store::end_programs,
};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ},
    flag,
    iterator::Signals,
    low_level,
};
use std::sync::{Arc, atomic::AtomicBool};

use crate::terminal::{end_bars, out, say};

/// The signals that end the program, by name. The exit code is 128 and the signal's number, as in a
/// shell.
const ENDING: [(i32, &str); 3] = [(SIGHUP, "SIGHUP"), (SIGINT, "SIGINT"), (SIGTERM, "SIGTERM")];

/// Waits for signals in a thread of its own. The first one stops the run behind `stop` after the
/// write in hand, ends the programs that were started, and ends this one; a second one ends it at
/// once. `again` is how the run goes on: what the same command would do with what is kept.
///
/// # Errors
/// When the system refuses a handler.
pub(crate) fn watch(stop: StopHandle, json: bool, again: &'static str) -> std::io::Result<()> {
    // A file larger than the user may write (`ulimit -f`) is then an error of that write, which is
    // told as a full disk is, and not the end of the process.
    flag::register(SIGXFSZ, Arc::default())?;
    // `nohup`, and a shell's `&` in a script, ask for some signals to be ignored.
    let ignored = ignored();
    let heeded: Vec<i32> = ENDING
        .map(|(signal, _)| signal)
        .into_iter()
        .filter(|s| ignored & (1 << (s - 1)) == 0)
        .collect();
    let second = Arc::new(AtomicBool::new(false));
    for signal in &heeded {
        // In this order: the first signal finds the flag down and raises it.
        flag::register_conditional_shutdown(*signal, 128 + signal, second.clone())?;
        flag::register(*signal, second.clone())?;
    }
    let mut signals = Signals::new(&heeded)?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        if let Some(signal) = signals.forever().next() {
            let name = ENDING.iter().find(|(s, _)| *s == signal).map_or("a signal", |(_, n)| n);
            if let Some(stopped) = stop.stop(&format!("by {name}")) {
                tell(&stopped, name, json, again);
            }
            end_programs();
            // Not through what the process has asked to be done at its end: other threads are at
            // work in the middle of it.
            low_level::exit(128 + signal);
        }
    })?;
    Ok(())
}

/// Says what is kept, and how to go on.
fn tell(stopped: &Stopped, signal: &str, json: bool, again: &str) {
    // What is said now would stand in the middle of them, and they would be drawn over it.
    end_bars();
    let Stopped { finished, failed, items, out: folder } = stopped;
    if json {
        let event = serde_json::json!({
            "event": "end", "status": "stopped", "by": signal, "finished": finished,
            "failed": failed, "items": items, "out": folder,
        });
        let _ = out(&event.to_string());
        return;
    }
    let folder = folder.display();
    let failed = if *failed > 0 { format!(", {failed} FAILED") } else { String::new() };
    let state = match items {
        0 => "before its first item".to_owned(),
        _ => format!("{finished} of {items} items are finished and kept in {folder}{failed}"),
    };
    say(&format!("stopped by {signal}: {state}. {again}"));
}

/// The signals that this process was started to ignore, as the system's mask; none where the system
/// does not say.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
