//! `fame-cli verify-run`: damage that a look at sizes does not show.

use std::fs;

use super::{killed::measured, *};

#[test]
fn every_changed_file_of_a_run_is_named() {
    let dir = measured(3, "Saliency(loss: Logit(class: Index(0)), layer: Output)");
    assert!(fame(dir.path(), &["run", "r.ron", "--out", "out"]).status.success());
    let verify = || fame(dir.path(), &["verify-run", "out"]);
    let right = verify();
    assert!(right.status.success(), "{}{}", stdout(&right), stderr(&right));
    assert!(stdout(&right).contains("3 items, "), "{}", stdout(&right));
    assert!(stdout(&right).contains("all of it as it was written"), "{}", stdout(&right));
    let out = dir.path().join("out");
    let of = |folder: &str, ending: &str| {
        let mut names = fs::read_dir(out.join(folder)).unwrap().map(|e| e.unwrap().path());
        names.find(|path| path.to_string_lossy().ends_with(ending)).unwrap()
    };
    let damaged = [
        (of("items/p0000", ".npy"), "has other bytes"),
        (of("parts/p0001", ".part"), "is damaged"),
        (of("tables", ".csv"), "has other bytes"),
        (out.join("metrics.csv"), "has other bytes"),
    ];
    for (path, said) in &damaged {
        let whole = fs::read(path).unwrap();
        let mut changed = whole.clone();
        *changed.last_mut().unwrap() ^= 1;
        fs::write(path, changed).unwrap();
        let output = verify();
        let name = path.strip_prefix(&out).unwrap().display().to_string();
        assert_eq!(output.status.code(), Some(3), "{name}");
        assert!(stdout(&output).contains(&format!("{name} {said}")), "{}", stdout(&output));
        fs::write(path, whole).unwrap();
    }
    fs::remove_dir_all(out.join("items/p0002")).unwrap();
    fs::write(out.join("items/p0001/notes.txt"), "mine").unwrap();
    let said = stdout(&verify());
    assert!(said.contains("items/p0002 is missing"), "{said}");
    assert!(said.contains("items/p0001/notes.txt was not written by a run"), "{said}");
    assert!(said.contains("2 DIFFER"), "{said}");
    // A folder that is none of ours is no run.
    let other = fame(dir.path(), &["verify-run", "pictures"]);
    assert_eq!(other.status.code(), Some(1));
}

#[test]
fn a_changed_record_of_an_item_is_not_kept() {
    let dir = measured(2, "Saliency(loss: Logit(class: Index(0)), layer: Output)");
    let run = || fame(dir.path(), &["run", "r.ron", "--out", "out"]);
    assert!(run().status.success());
    let record = dir.path().join("out/items/p0000/item.json");
    let whole = fs::read_to_string(&record).unwrap();
    // A measurement, as whoever would like another table changes it: of the same length.
    let at = whole.find("\"value\": ").unwrap() + "\"value\": ".len();
    let digit = whole[at..].find(|c: char| c.is_ascii_digit() && c != '7').unwrap() + at;
    let changed = format!("{}7{}", &whole[..digit], &whole[digit + 1..]);
    fs::write(&record, changed).unwrap();
    let again = run();
    assert!(again.status.success(), "{}", stderr(&again));
    assert!(flat(&again).contains("p0000: its item.json was changed"), "{}", stderr(&again));
    assert_eq!(fs::read_to_string(&record).unwrap(), whole);
    let tables = dir.path().join("out/tables");
    fs::remove_dir_all(&tables).unwrap();
    let verified = fame(dir.path(), &["verify-run", "out"]);
    assert_eq!(verified.status.code(), Some(3));
    assert!(stdout(&verified).contains("tables/SHA256SUMS is missing"), "{}", stdout(&verified));
    assert!(run().status.success() && tables.exists());
    assert!(fame(dir.path(), &["verify-run", "out"]).status.success());
}
