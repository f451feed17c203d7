//! Runs to which everything happens: kills at random instants, second starts, errors of writing.
//!
//! Each comes in a short form, which runs with the others, and in the long one that the figures in
//! the notes are of:
//!
//! ```text
//! cargo test -p fame-cli --test cli -- --ignored --nocapture faults
//! ```

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

mod scale;

use super::{
    killed::{files, measured},
    *,
};

/// What explains the pictures: cheap enough to be repeated a hundred times on a busy machine.
const CHEAP: &str = "Saliency(loss: Logit(class: Index(0)), layer: Output)";

/// A command of the program in `folder`. The cache is the workshop's, or the user's where models of
/// the repository are wanted.
fn command(folder: &Path, arguments: &[String], is_own: bool) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fame-cli"));
    command.current_dir(folder).args(arguments).env("RUST_BACKTRACE", "0");
    if is_own {
        command.env("FAME_CACHE", folder.join("cache"));
    }
    command
}

/// What is run, again and again, into folders called by their names.
struct Work<'a> {
    folder: &'a Path,
    arguments: Vec<String>,
    is_own: bool,
}

impl Work<'_> {
    fn command_into(&self, out: &str) -> Command {
        let arguments = [&self.arguments[..], &["--out".to_owned(), out.to_owned()]].concat();
        command(self.folder, &arguments, self.is_own)
    }

    fn run(&self, out: &str) -> Output {
        self.command_into(out).output().unwrap()
    }

    fn whole(&self) -> (BTreeMap<String, Vec<u8>>, Duration) {
        let began = Instant::now();
        let output = self.run("whole");
        assert!(output.status.success(), "{}", stderr(&output));
        (results(&self.folder.join("whole")), began.elapsed())
    }
}

/// The files of a run; the report holds clock times.
fn results(out: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = files(out);
    all.remove("report.html");
    all
}

/// A fixed series of numbers in 0..1 (Numerical Recipes).
struct Series(u64);

impl Series {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223) % (1 << 32);
        self.0 as f64 / (1_u64 << 32) as f64
    }
}

fn same(whole: &BTreeMap<String, Vec<u8>>, out: &Path) {
    let now = results(out);
    assert_eq!(whole.keys().collect::<Vec<_>>(), now.keys().collect::<Vec<_>>(), "nothing left");
    for (name, bytes) in whole {
        assert!(now[name] == *bytes, "{name} differs");
    }
}

/// Kills `work` so often, each time at a random instant of the time that an unbroken run takes, and
/// goes on with what is there. Whenever it has come to its end its files must be the unbroken run's.
fn kills(work: &Work<'_>, wanted: usize) {
    let (whole, time) = work.whole();
    let broken = work.folder.join("broken");
    let mut series = Series(20_261_129);
    let (mut killed, mut ended) = (0, 0);
    while killed < wanted {
        let mut run = work
            .command_into("broken")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        sleep(time.mul_f64(series.next()));
        run.kill().unwrap();
        if run.wait().unwrap().success() {
            same(&whole, &broken);
            fs::remove_dir_all(&broken).unwrap();
            ended += 1;
        } else {
            killed += 1;
            if killed % 10 == 0 {
                println!("{killed} kills, {ended} runs to the end");
            }
        }
    }
    let last = work.run("broken");
    assert!(last.status.success(), "{}", stderr(&last));
    same(&whole, &broken);
    println!(
        "{killed} kills at random instants of {:.1} s, {} runs to the end: {} files, the same bytes, nothing left over",
        time.as_secs_f64(),
        ended + 1,
        whole.len()
    );
}

fn work(folder: &Path) -> Work<'_> {
    let arguments = ["run", "r.ron"].map(str::to_owned).to_vec();
    Work { folder, arguments, is_own: true }
}

#[test]
fn five_kills_leave_the_bytes_of_an_unbroken_run() {
    let dir = measured(8, CHEAP);
    kills(&work(dir.path()), 5);
}

#[test]
#[ignore = "50 kills of 60 items: minutes"]
fn fifty_kills_leave_the_bytes_of_an_unbroken_run() {
    let dir = measured(60, CHEAP);
    kills(&work(dir.path()), 50);
}

/// The recipe of the small verification table, on fewer pairs and steps.
#[test]
#[ignore = "20 kills of a run with a real network: minutes"]
fn twenty_kills_of_a_small_table_leave_the_bytes_of_an_unbroken_run() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = root().join("recipes/mini_table2.ron").canonicalize().unwrap();
    let sets = ["explain.fame.perturbation.iterations=2", "parts=true"];
    let mut arguments = vec!["run".to_owned(), recipe.to_string_lossy().into_owned()];
    sets.iter().for_each(|set| arguments.extend(["--set".to_owned(), (*set).to_owned()]));
    kills(&Work { folder: dir.path(), arguments, is_own: false }, 20);
}

/// Starts the same run so often on the folder of one that is at work.
fn second_starts(items: usize, wanted: usize) {
    let dir = measured(items, CHEAP);
    let work = work(dir.path());
    let (whole, _) = work.whole();
    let (mut refused, mut runs) = (0, 0);
    while refused < wanted {
        let mut first = work.command_into("out");
        first.arg("--force").stdout(Stdio::null()).stderr(Stdio::piped());
        let mut first = first.spawn().unwrap();
        runs += 1;
        let lock = dir.path().join("out/run.lock");
        while fs::read(&lock).map_or(0, |text| text.len()) == 0 {
            assert!(first.try_wait().unwrap().is_none(), "it ended before it could be met");
            sleep(Duration::from_millis(1));
        }
        while refused < wanted {
            let second = work.run("out");
            // It may have come when the first had ended: then it keeps what is there.
            if first.try_wait().unwrap().is_some() {
                break;
            }
            assert_eq!(second.status.code(), Some(1), "{}", stderr(&second));
            assert!(flat(&second).contains("another run writes to"), "{}", stderr(&second));
            refused += 1;
        }
        let first = first.wait_with_output().unwrap();
        assert!(first.status.success(), "{}", stderr(&first));
        same(&whole, &dir.path().join("out"));
    }
    println!(
        "{refused} second starts on {runs} runs at work: each refused, the runs' bytes as alone"
    );
}

#[test]
fn a_few_second_starts_are_refused() {
    second_starts(12, 5);
}

#[test]
#[ignore = "200 second starts: minutes"]
fn two_hundred_second_starts_are_refused() {
    second_starts(60, 200);
}

/// The library that lets calls fail; `None` where there is no compiler for it.
#[cfg(target_os = "linux")]
fn shim(folder: &Path) -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/faults/shim.c");
    let library = folder.join("shim.so");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).arg("-ldl");
    match compiler.output() {
        Ok(output) => {
            assert!(output.status.success(), "{}", stderr(&output));
            Some(library)
        }
        Err(e) => {
            println!("ABSENT cc, no errors are injected: {e}");
            None
        }
    }
}

/// Lets every `step`-th call that changes a file of a small run fail, and looks at what is said of
/// it: by the exit code, by the record, and by what is there.
#[cfg(target_os = "linux")]
fn write_errors(kind: &str, step: usize) {
    let dir = measured(3, CHEAP);
    let Some(shim) = shim(dir.path()) else { return };
    let work = work(dir.path());
    let (whole, _) = work.whole();
    let out = dir.path().join("out");
    let count = dir.path().join("count");
    let attempt = |at: usize| {
        let mut run = work.command_into("out");
        run.env("LD_PRELOAD", &shim).env("FAULT_UNDER", &out).env("FAULT_KIND", kind);
        run.env("FAULT_COUNT", &count).env("FAULT_AT", at.to_string()).output().unwrap()
    };
    assert!(attempt(0).status.success());
    let calls: usize = fs::read_to_string(&count).unwrap().trim().parse().unwrap();
    assert!(calls > 50, "the library sees the program's calls: {calls}");
    let mut ends: BTreeMap<String, usize> = BTreeMap::new();
    for at in (1..=calls).step_by(step) {
        fs::remove_dir_all(&out).unwrap();
        fs::create_dir(&out).unwrap();
        let output = attempt(at);
        let said = stderr(&output);
        assert!(!said.contains("panicked"), "call {at}: {said}");
        let code = output.status.code().unwrap_or_else(|| panic!("call {at}: a signal"));
        let record = fs::read(out.join("run.json")).ok();
        let record: Option<serde_json::Value> =
            record.map(|text| serde_json::from_slice(&text).unwrap());
        let status = record.as_ref().map_or("none", |record| record["status"].as_str().unwrap());
        // The record says how it ended, or there is none because it was refused before its first.
        let wanted: &[&str] = match code {
            0 => &["complete"],
            1 => &["failed", "none"],
            3 => &["incomplete"],
            _ => &[],
        };
        assert!(wanted.contains(&status), "call {at}: exit code {code}, status {status}: {said}");
        if code == 0 {
            // Where one of the very last calls fails, the words about the holder stay in the lock's file.
            // Nobody holds it: the run below is not refused, and clears them.
            if !fs::read(out.join("run.lock")).unwrap().is_empty() {
                assert!(at + 1 >= calls, "only the last calls clear the lock: {at} of {calls}");
                fs::write(out.join("run.lock"), "").unwrap();
            }
            same(&whole, &out);
        } else {
            assert!(said.contains("cannot"), "call {at} says what failed: {said}");
        }
        *ends.entry(format!("exit {code}, {status}")).or_default() += 1;
        // What is there is gone on with, whatever happened.
        let again = work.run("out");
        assert!(again.status.success(), "call {at}: {}", stderr(&again));
        same(&whole, &out);
    }
    println!("{kind}: {} of {calls} calls failed one by one: {ends:?}", calls.div_ceil(step));
}

#[cfg(target_os = "linux")]
#[test]
fn a_few_write_errors_leave_a_true_status() {
    // Prime, so that different calls of the items are met.
    write_errors("once", 31);
    write_errors("full", 53);
}

#[cfg(target_os = "linux")]
#[test]
#[ignore = "every write of a run fails once: minutes"]
fn every_write_error_leaves_a_true_status() {
    write_errors("once", 1);
    write_errors("full", 1);
}
