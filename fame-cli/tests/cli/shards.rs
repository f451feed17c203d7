//! A run in shards, its state while it goes on, and the merge.

use std::{fs, path::Path};

use super::{
    killed::{files, measured},
    *,
};

const SALIENCY: &str = "Saliency(loss: Logit(class: Index(0)), layer: Output)";
const ITEMS: usize = 10;

#[test]
fn three_machines_leave_the_bytes_of_one() {
    let dir = measured(ITEMS, SALIENCY);
    let whole = fame(dir.path(), &["run", "r.ron", "--out", "whole"]);
    assert!(whole.status.success(), "{}", stderr(&whole));
    let shard =
        |shard: &str| fame(dir.path(), &["run", "r.ron", "--out", "many", "--shard", shard]);
    for name in ["2/3", "0/3"] {
        assert!(shard(name).status.success(), "{}", stderr(&shard(name)));
    }
    // What needs all items is left to the merge.
    assert!(!dir.path().join("many/shards/00000-of-00003/metrics.csv").exists());
    let early = fame(dir.path(), &["merge", "many"]);
    assert_eq!(early.status.code(), Some(1));
    assert!(stderr(&early).contains("1/3: waiting"), "{}", stderr(&early));
    let status = stdout(&fame(dir.path(), &["status", "many"]));
    assert!(status.contains("1/3          waiting") && status.contains("complete"), "{status}");
    assert!(shard("1/3").status.success());
    // With another recipe all of it would be done anew.
    let recipe = fs::read_to_string(dir.path().join("r.ron")).unwrap();
    fs::write(dir.path().join("r.ron"), format!("{recipe}// later")).unwrap();
    let other = fame(dir.path(), &["merge", "many"]);
    assert_eq!(other.status.code(), Some(1));
    assert!(stderr(&other).contains("the recipe has changed"), "{}", stderr(&other));
    fs::write(dir.path().join("r.ron"), recipe).unwrap();
    let merged = fame(dir.path(), &["merge", "many"]);
    assert!(merged.status.success(), "{}", stderr(&merged));
    assert!(stdout(&merged).contains(&format!("0 done, {ITEMS} kept")), "{}", stdout(&merged));
    let (whole, many) = (files(&dir.path().join("whole")), files(&dir.path().join("many")));
    assert_eq!(whole.keys().collect::<Vec<_>>(), many.keys().collect::<Vec<_>>());
    for (name, bytes) in &whole {
        assert!(many[name] == *bytes, "{name} differs");
    }
    assert!(whole.contains_key("metrics.csv") && whole.contains_key("tables/SHA256SUMS"));
    let again = fame(dir.path(), &["merge", "many"]);
    assert!(stderr(&again).contains("holds no shards"), "{}", stderr(&again));
}

/// Runs `r.ron` in two shards, each with its own `more` arguments.
fn two_shards(folder: &Path, more: [&[&str]; 2]) {
    for (shard, more) in ["0/2", "1/2"].into_iter().zip(more) {
        let arguments = [&["run", "r.ron", "--out", "o", "--shard", shard][..], more].concat();
        let output = fame(folder, &arguments);
        assert!(output.status.success(), "{}", stderr(&output));
    }
}

#[test]
fn shards_of_two_questions_are_not_merged() {
    let dir = measured(4, SALIENCY);
    for (set, what) in [
        (&["--set", "explain.e.loss=Logit(class: Index(1))"][..], "--set"),
        (&["--limit", "1"], "--limit"),
    ] {
        two_shards(dir.path(), [&[], set]);
        let output = fame(dir.path(), &["merge", "o"]);
        assert_eq!(output.status.code(), Some(1));
        let said = flat(&output);
        assert!(said.contains(&format!("were run with another {what}")), "{said}");
        assert!(!dir.path().join("o/items").exists(), "nothing was moved");
        fs::remove_dir_all(dir.path().join("o")).unwrap();
    }
    // What all of them were asked, the merge is asked too: it computes nothing else.
    two_shards(dir.path(), [&["--limit", "2"]; 2]);
    let merged = fame(dir.path(), &["merge", "o"]);
    assert!(stdout(&merged).contains("0 done, 2 kept"), "{}{}", stdout(&merged), stderr(&merged));
    assert_eq!(fs::read_dir(dir.path().join("o/items")).unwrap().count(), 2);
}

#[test]
fn a_merge_removes_nothing_but_shards() {
    let dir = measured(2, SALIENCY);
    two_shards(dir.path(), [&[]; 2]);
    let mine = dir.path().join("o/shards/notes.txt");
    fs::write(&mine, "precious").unwrap();
    let output = fame(dir.path(), &["merge", "o"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(flat(&output).contains("holds `notes.txt`, which is no shard"), "{}", flat(&output));
    assert_eq!(fs::read_to_string(&mine).unwrap(), "precious");
    fs::remove_file(&mine).unwrap();
    assert!(fame(dir.path(), &["merge", "o"]).status.success());
}

#[test]
fn a_merge_without_its_recipe_says_how_to_name_it() {
    let dir = measured(1, SALIENCY);
    let output = fame(dir.path(), &["run", "r.ron", "--out", "o", "--shard", "0/1"]);
    assert!(output.status.success(), "{}", stderr(&output));
    fs::rename(dir.path().join("r.ron"), dir.path().join("moved.ron")).unwrap();
    let output = fame(dir.path(), &["merge", "o"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(flat(&output).contains("merge OUT --recipe FILE"), "{}", flat(&output));
    assert!(fame(dir.path(), &["merge", "o", "--recipe", "moved.ron"]).status.success());
}

#[test]
fn a_shard_that_does_not_exist_is_refused() {
    let dir = measured(1, SALIENCY);
    for (shard, said) in [("3/3", "counted from 0"), ("x", "names no shard"), ("auto", "Slurm")] {
        let output = fame(dir.path(), &["run", "r.ron", "--out", "o", "--shard", shard]);
        assert_eq!(output.status.code(), Some(2), "{shard}");
        assert!(stderr(&output).contains(said), "{}", stderr(&output));
    }
    assert!(!dir.path().join("o").exists());
}

#[test]
fn what_would_be_submitted_is_printed() {
    let dir = measured(1, SALIENCY);
    let slurm = ["submit", "r.ron", "--tasks", "8", "--memory", "2GiB", "--dry-run", "--"];
    let output = fame(dir.path(), &[&slurm[..], &["--partition=big"]].concat());
    let said = stdout(&output);
    assert!(output.status.success(), "{}", stderr(&output));
    let wanted = ["--array=0-7", "--partition=big", "--shard \"$shard/8\"", "merge", "afterany"];
    assert!(wanted.iter().all(|word| said.contains(word)), "{said}");
    assert_eq!(said.matches("--memory 2147483648").count(), 2, "run and merge: {said}");
    assert!(!dir.path().join("out").exists(), "a dry run writes nothing");
    let none = fame(dir.path(), &["submit", "r.ron", "--tasks", "0", "--dry-run"]);
    assert_eq!(none.status.code(), Some(2), "{}", stderr(&none));
    let image = ["submit", "r.ron", "--tasks", "8", "--dry-run", "--engine", "k8s", "--image", "i"];
    let said = stdout(&fame(dir.path(), &image));
    let list: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(list["items"][0]["spec"]["completions"], 8);
}

/// With programs that stand for Slurm's and do what it would, at once.
#[cfg(unix)]
#[test]
fn what_is_submitted_runs_every_shard_and_merges() {
    let dir = measured(6, SALIENCY);
    let bin = dir.path().join("bin");
    fs::create_dir(&bin).unwrap();
    // The array's script once for each index; the merge where it depends on the array.
    let sbatch = r#"#!/bin/sh
for word; do
  case $word in --array=0-*) last=${word#--array=0-} ;; --dependency=afterany:7) after=1 ;; esac
  script=$word
done
if [ -n "$last" ]; then
  for index in $(seq 0 "$last"); do SLURM_ARRAY_TASK_ID=$index sh "$script" >>log 2>&1; done
  echo 7
else
  [ -n "$after" ] && sh "$script" >>log 2>&1 && echo 8
fi
"#;
    // By another process: a program that is held open for writing while a test forks cannot run.
    let mut shell = std::process::Command::new("/bin/sh");
    shell.args(["-c", "printf %s \"$2\" > \"$1\" && chmod +x \"$1\"", "sh"]);
    assert!(shell.arg(bin.join("sbatch")).arg(sbatch).status().unwrap().success());
    let submit = |out: &str| {
        assert_cmd::Command::new(env!("CARGO_BIN_EXE_fame-cli"))
            .current_dir(dir.path())
            .args(["submit", "r.ron", "--out", out, "--tasks", "3"])
            .env("FAME_CACHE", dir.path().join("cache"))
            .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
            .output()
            .unwrap()
    };
    let output = submit("many");
    let log = fs::read_to_string(dir.path().join("log")).unwrap_or_default();
    assert!(output.status.success(), "{}{log}", stderr(&output));
    assert!(stdout(&output).contains("Job array 7"), "{}", stdout(&output));
    assert!(fame(dir.path(), &["run", "r.ron", "--out", "one"]).status.success());
    let mut many = files(&dir.path().join("many"));
    many.retain(|name, _| !name.starts_with("slurm/"));
    assert!(many == files(&dir.path().join("one")), "{log}");
    // A folder of other files is refused before anything is submitted.
    assert!(stderr(&submit("pictures")).contains("no run of fame wrote"));
    assert!(!dir.path().join("pictures/slurm").exists());
}

/// A user's file among the tables of a folder of ours: the run is refused before it computes.
#[test]
fn a_users_file_among_the_tables_is_left_alone() {
    let dir = measured(2, SALIENCY);
    assert!(fame(dir.path(), &["run", "r.ron", "--out", "out"]).status.success());
    let mine = dir.path().join("out/tables/mine.tex");
    fs::write(&mine, "precious").unwrap();
    let output = fame(dir.path(), &["run", "r.ron", "--out", "out"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("mine.tex"), "{}", stderr(&output));
    assert_eq!(fs::read_to_string(&mine).unwrap(), "precious");
    // Nor does a recipe without metrics remove it.
    let text = fs::read_to_string(dir.path().join("r.ron")).unwrap();
    let at = text.find("metrics: [").unwrap();
    let end = text.find("write:").unwrap();
    fs::write(dir.path().join("r.ron"), format!("{}{}", &text[..at], &text[end..])).unwrap();
    assert_eq!(fame(dir.path(), &["run", "r.ron", "--out", "out"]).status.code(), Some(1));
    assert!(mine.exists());
    fs::remove_file(&mine).unwrap();
    let output = fame(dir.path(), &["run", "r.ron", "--out", "out"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(!dir.path().join("out/tables").exists(), "tables of another recipe");
}
