//! Runs that are stopped, and runs whose disk is full.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::*;
use crate::{
    ErrorKind,
    contract::{FinishedItem, Writer},
    data::Value,
    recipe::RecipeText,
    registry::{Assembly, BuildContext, Plugin, Registration},
    testkit,
};

/// A writer that leaves one file, and meets a full disk from the second item on while [`ROOM`] is
/// less.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Filling {}

/// How many items the disk takes, and how many were written to it.
static ROOM: AtomicUsize = AtomicUsize::new(0);
static WRITTEN: AtomicUsize = AtomicUsize::new(0);

impl Plugin<dyn Writer> for Filling {
    const NAME: &'static str = "Filling";
    const SUMMARY: &'static str = "Fills a disk";
    const EXAMPLE: &'static str = "Filling()";

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Writer>> {
        Some(Box::new(self))
    }
}

impl Writer for Filling {
    fn write(&self, _: &FinishedItem<'_>, folder: &Path) -> Result<Vec<String>> {
        if WRITTEN.fetch_add(1, Ordering::Relaxed) >= ROOM.load(Ordering::Relaxed) {
            let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
            return Err(Error::io("write", &folder.join("x.txt"), &full));
        }
        let path = folder.join("x.txt");
        fs::write(&path, "x").map_err(|e| Error::io("write", &path, &e))?;
        Ok(vec!["x.txt".to_owned()])
    }
}

/// A folder with the kit's model, and a plan of four items in it.
fn workshop(write: &str) -> (tempfile::TempDir, Plan, ModelStore) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("fake.onnx"), "the kit's").unwrap();
    let manifest = "(input: (size: (3, 8, 8), order: Rgb, mean: 0.5, std: 0.25))";
    fs::write(dir.path().join("fake.ron"), manifest).unwrap();
    let mut registry = testkit::registry().unwrap();
    registry.add(Registration::of::<dyn Writer, Filling>("these tests")).unwrap();
    let recipe = format!(
        r#"(model: "fake.onnx", backend: Fake(), data: FakePictures(items: 4), prepare: [], explain: {{"walk": FakeWalk()}}, write: [{write}])"#
    );
    let store = ModelStore::new(dir.path().join("cache"));
    let text = RecipeText::new("r.ron", recipe);
    let plan = Plan::resolve(text, dir.path(), &registry, &store).unwrap();
    (dir, plan, store)
}

/// An observer that stops the run when the item called this ends.
struct StopAfter<'a>(&'a str, &'a StopHandle);

impl Observer for StopAfter<'_> {
    fn event(&self, event: &Event<'_>) {
        if matches!(event, Event::Item { id, .. } if *id == self.0) {
            let stopped = self.1.stop("by a test").unwrap();
            assert_eq!((stopped.items, stopped.failed), (4, 0));
        }
    }
}

struct Nobody;

impl Observer for Nobody {
    fn event(&self, _: &Event<'_>) {}
}

fn record(out: &Path) -> Value {
    serde_json::from_slice(&fs::read(out.join("run.json")).unwrap()).unwrap()
}

fn text<'a>(record: &'a Value, field: &str) -> &'a str {
    record.get(field).and_then(Value::as_str).unwrap()
}

fn items(out: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> =
        fs::read_dir(out.join("items")).unwrap().map(|e| e.unwrap().path()).collect();
    all.sort();
    all
}

#[test]
fn a_stopped_run_says_so_writes_nothing_more_and_goes_on_where_it_was() {
    let (dir, plan, store) = workshop("");
    let options = RunOptions::new(dir.path().join("out"));
    let stop = options.stop.clone();
    let error = run(&plan, &store, &options, &StopAfter("fake_1", &stop)).unwrap_err();
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Stopped, "fame::run::stopped"));
    let stopped = record(&options.out);
    assert_eq!(text(&stopped, "status"), "stopped");
    let why = stopped.get("error").unwrap();
    assert_eq!(text(why, "message"), "the run was stopped by a test.");
    // The kit's network takes the items of a batch together; none is written after the stop.
    assert_eq!(items(&options.out).len(), 1);
    assert!(matches!(stopped.get("items"), Some(Value::List(items)) if items.len() == 1));
    // The same handle stops whatever is begun with it; another run goes on.
    let again = run(&plan, &store, &options, &Nobody).unwrap_err();
    assert_eq!(again.kind, ErrorKind::Stopped);
    let options = RunOptions::new(&options.out);
    let summary = run(&plan, &store, &options, &Nobody).unwrap();
    assert_eq!((summary.done, summary.kept), (3, 1));
    // A run that is over cannot be stopped.
    assert!(options.stop.stop("too late").is_none());
    assert_eq!(text(&record(&options.out), "status"), "complete");
}

#[test]
fn a_full_disk_ends_the_run_and_spoils_nothing() {
    let (dir, plan, store) = workshop("Filling()");
    let options = RunOptions::new(dir.path().join("out"));
    ROOM.store(1, Ordering::Relaxed);
    let error = run(&plan, &store, &options, &Nobody).unwrap_err();
    assert_eq!(error.kind, ErrorKind::DiskFull);
    assert!(error.help.as_deref().unwrap().contains("Make room"), "{error:?}");
    assert_eq!(WRITTEN.load(Ordering::Relaxed), 2, "no third item was tried");
    let failed = record(&options.out);
    assert_eq!(text(&failed, "status"), "failed");
    assert_eq!(items(&options.out).len(), 1);
    ROOM.store(usize::MAX, Ordering::Relaxed);
    let summary = run(&plan, &store, &options, &Nobody).unwrap();
    assert_eq!((summary.done, summary.kept, summary.failed), (3, 1, 0));
}

#[test]
fn shards_are_merged_into_what_one_machine_leaves() {
    let (dir, plan, store) = workshop("");
    let one = RunOptions::new(dir.path().join("one"));
    run(&plan, &store, &one, &Nobody).unwrap();
    let out = dir.path().join("many");
    for index in 0..3 {
        let missing = merge(&out).unwrap_err();
        let code = if index == 0 { "fame::run::no_run" } else { "fame::run::missing_shards" };
        assert_eq!(missing.code, code, "{missing}");
        let shard = Some(Shard::new(index, 3).unwrap());
        run(&plan, &store, &RunOptions { shard, ..RunOptions::new(&out) }, &Nobody).unwrap();
    }
    let states = shards(&out).unwrap();
    assert!(states.iter().all(|state| state.status == "complete"), "{states:?}");
    assert_eq!(states.iter().map(|state| state.items.unwrap()).sum::<usize>(), 4);
    // What is not ours is not removed with a shard.
    let mine = states[1].folder.join("notes.txt");
    fs::write(&mine, "mine").unwrap();
    assert_eq!(merge(&out).unwrap_err().code, "fame::run::foreign_file");
    assert!(mine.exists());
    fs::remove_file(&mine).unwrap();
    // As often as it is broken off.
    merge(&out).unwrap();
    merge(&out).unwrap();
    let summary = run(&plan, &store, &RunOptions::new(&out), &Nobody).unwrap();
    assert_eq!((summary.done, summary.kept), (0, 4));
    remove_shards(&out).unwrap();
    assert!(!out.join("shards").exists());
    let (one, many) = (items(&one.out), items(&out));
    assert_eq!(one.len(), many.len());
    for (one, many) in one.iter().zip(&many) {
        let read = |folder: &Path| fs::read(folder.join("item.json")).unwrap();
        assert!(read(one) == read(many), "{}", many.display());
    }
}
