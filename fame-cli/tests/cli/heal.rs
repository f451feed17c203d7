//! Output folders in which something was lost or damaged: what is said, and what the next run makes
//! of them.

use std::fs;

use super::{
    killed::{files, measured},
    *,
};

const SALIENCY: &str = "Saliency(loss: Logit(class: Index(0)), layer: Output)";

/// A finished run of three items in `out`.
fn finished_run() -> tempfile::TempDir {
    let dir = measured(3, SALIENCY);
    let output = again(dir.path());
    assert!(output.status.success(), "{}", stderr(&output));
    dir
}

fn again(folder: &Path) -> Output {
    fame(folder, &["run", "r.ron", "--out", "out"])
}

#[test]
fn a_damaged_record_is_told_and_costs_no_item() {
    let dir = finished_run();
    let out = dir.path().join("out");
    let before = files(&out);
    fs::write(out.join("run.json"), "{\"fame").unwrap();
    for command in
        [&["run", "r.ron", "--out", "out"][..], &["verify-run", "out"], &["report", "out"]]
    {
        let output = fame(dir.path(), command);
        assert_eq!(output.status.code(), Some(1), "{command:?}");
        let said = flat(&output);
        assert!(said.contains("is damaged"), "{command:?}: {said}");
        assert!(said.contains("Move run.json away"), "{command:?}: {said}");
    }
    let status = stdout(&fame(dir.path(), &["status", "out"]));
    assert!(status.contains("damaged"), "{status}");
    assert!(status.contains("Move run.json away"), "{status}");
    fs::rename(out.join("run.json"), dir.path().join("away.json")).unwrap();
    let output = again(dir.path());
    assert!(stdout(&output).contains("0 done, 3 kept"), "{}{}", stdout(&output), stderr(&output));
    assert!(files(&out) == before);
    // Cut short it still says whose it is, and the run goes on by itself.
    let record = fs::read(out.join("run.json")).unwrap();
    fs::write(out.join("run.json"), &record[..record.len() / 2]).unwrap();
    let output = again(dir.path());
    assert!(stdout(&output).contains("0 done, 3 kept"), "{}{}", stdout(&output), stderr(&output));
    assert!(files(&out) == before);
}

#[test]
fn an_item_without_its_record_is_computed_again() {
    let dir = finished_run();
    let out = dir.path().join("out");
    let before = files(&out);
    fs::remove_file(out.join("items/p0000/item.json")).unwrap();
    fs::write(out.join("items/p0001/item.json"), "{").unwrap();
    let output = again(dir.path());
    assert!(stdout(&output).contains("2 done, 1 kept"), "{}{}", stdout(&output), stderr(&output));
    assert!(files(&out) == before);
    // Somebody's file beside them is no reason to remove it.
    for lost in [true, false] {
        let record = out.join("items/p0000/item.json");
        if lost {
            fs::remove_file(&record).unwrap();
        } else {
            fs::write(&record, "").unwrap();
        }
        let notes = out.join("items/p0000/notes.txt");
        fs::write(&notes, "mine").unwrap();
        let output = again(dir.path());
        assert_eq!(output.status.code(), Some(3), "{}", stdout(&output));
        assert!(stderr(&output).contains("notes.txt"), "{}", stderr(&output));
        assert_eq!(fs::read_to_string(&notes).unwrap(), "mine");
        fs::remove_file(&notes).unwrap();
        assert!(again(dir.path()).status.success());
        assert!(files(&out) == before);
    }
}

#[test]
fn a_damaged_index_is_told_and_written_anew() {
    let dir = finished_run();
    let out = dir.path().join("out");
    let before = files(&out);
    let index = fs::read(out.join("items.jsonl")).unwrap();
    // Torn in its last line, with damage in its first, and gone.
    let damaged = [&index[..index.len() - 9], &[b"\xff", &index[1..]].concat(), b""];
    for bytes in damaged {
        fs::write(out.join("items.jsonl"), bytes).unwrap();
        let verified = fame(dir.path(), &["verify-run", "out"]);
        assert_eq!(verified.status.code(), Some(3));
        assert!(stdout(&verified).contains("items.jsonl has"), "{}", stdout(&verified));
        assert!(fame(dir.path(), &["report", "out"]).status.success());
        let _ = fs::remove_file(out.join("report.html"));
        let output = again(dir.path());
        assert!(stdout(&output).contains("0 done, 3 kept"), "{}", stdout(&output));
        assert!(files(&out) == before);
        assert_eq!(record(&out)["items"].as_array().unwrap().len(), 3);
    }
}

/// As earlier versions wrote it: the items in the record, and no index.
#[test]
fn a_folder_of_an_earlier_version_is_read() {
    let dir = finished_run();
    let out = dir.path().join("out");
    let mut old = record(&out);
    old.as_object_mut().unwrap().remove("index");
    fs::write(out.join("run.json"), old.to_string()).unwrap();
    fs::remove_file(out.join("items.jsonl")).unwrap();
    let verified = fame(dir.path(), &["verify-run", "out"]);
    assert!(verified.status.success(), "{}", stdout(&verified));
    assert!(stdout(&fame(dir.path(), &["status", "out"])).contains("3 of 3"));
    assert!(fame(dir.path(), &["report", "out"]).status.success());
    fs::remove_file(out.join("report.html")).unwrap();
    let output = again(dir.path());
    assert!(stdout(&output).contains("0 done, 3 kept"), "{}", stdout(&output));
    let now: serde_json::Value =
        serde_json::from_slice(&fs::read(out.join("run.json")).unwrap()).unwrap();
    assert!(now.get("items").is_none() && out.join("items.jsonl").exists());
}

#[test]
fn what_is_replaced_is_said() {
    let dir = finished_run();
    let same = again(dir.path());
    assert!(!stderr(&same).contains("another question"), "{}", stderr(&same));
    let set = ["run", "r.ron", "--out", "out", "--set", "seed=7"];
    let output = fame(dir.path(), &set);
    let said = flat(&output);
    assert!(said.contains("results of another question, `r.ron`"), "{said}");
    // How much, why, and how to keep it, before the first item is replaced.
    for told in ["seed 0 → 7", "Of 3 items", "name another folder: --out"] {
        assert!(said.contains(told), "{told}: {said}");
    }
    assert!(said.find("another question") < said.find("p0001"), "{said}");
    // A remark changes nothing, and is no other question.
    let recipe = fs::read_to_string(dir.path().join("r.ron")).unwrap();
    fs::write(dir.path().join("r.ron"), format!("// A remark.\n{recipe}")).unwrap();
    let output = fame(dir.path(), &set);
    assert!(!stderr(&output).contains("another question"), "{}", stderr(&output));
    assert!(stdout(&output).contains("0 done, 3 kept"), "{}", stdout(&output));
}

#[test]
fn a_run_that_has_not_ended_well_is_not_called_whole() {
    let dir = finished_run();
    let out = dir.path().join("out");
    let verified = fame(dir.path(), &["verify-run", "out"]);
    assert!(stdout(&verified).contains("all of it as it was written"), "{}", stdout(&verified));
    let record = fs::read_to_string(out.join("run.json")).unwrap();
    for (status, said) in [
        ("running", "the run was broken off"),
        ("failed", "the run is failed"),
        ("stopped", "the run is stopped"),
        ("incomplete", "the run is incomplete"),
    ] {
        let other = record.replace("\"complete\"", &format!("{status:?}"));
        fs::write(out.join("run.json"), other).unwrap();
        let verified = fame(dir.path(), &["verify-run", "out"]);
        assert_eq!(verified.status.code(), Some(3), "{status}");
        assert!(stdout(&verified).contains(said), "{}", stdout(&verified));
        assert!(stdout(&verified).contains("it is NOT ALL"), "{}", stdout(&verified));
    }
}

#[test]
fn a_choice_of_items_is_counted_as_one() {
    let dir = finished_run();
    let status = || stdout(&fame(dir.path(), &["status", "out"]));
    assert!(status().contains("3 of 3") && !status().contains("--limit"), "{}", status());
    for choice in [["--limit", "1"], ["--only", "p0002"]] {
        let output = fame(dir.path(), &[&["run", "r.ron", "--out", "out"], &choice[..]].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(flat(&output).contains("cover 3 items: 1 asked for now"), "{}", stderr(&output));
        // What is finished beside them stays in the record.
        assert!(status().contains("3 of 3"), "{}", status());
        assert!(status().contains("only some of the data's items"), "{}", status());
        assert!(!status().contains("other items"), "{}", status());
    }
    // Items of another question are not counted with them.
    let line = ["run", "r.ron", "--out", "out", "--limit", "1", "--set", "seed=7"];
    let output = fame(dir.path(), &line);
    assert!(
        flat(&output).contains("2 items of earlier runs in this folder"),
        "{}",
        stderr(&output)
    );
    assert!(status().contains("1 of 1"), "{}", status());
    assert!(status().contains("2 other items are there"), "{}", status());
    let nothing = fame(dir.path(), &["run", "r.ron", "--out", "none", "--limit", "0"]);
    assert_eq!(nothing.status.code(), Some(2), "{}", stderr(&nothing));
    assert!(!dir.path().join("none").exists());
}
