//! Runs that are stopped, and runs whose disk is full.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::*;
use crate::{
    ErrorKind, Explanation, MapId, Model, NamedMap, Parameter, Sample, Taps, Tensor,
    contract::{ExplainContext, Explainer, FinishedItem, Measurement, Metric, Writer},
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

/// A writer that brings the items' names together, as a file and as a folder.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Gathering {
    /// A name that it says it has made, and has not.
    wrong: Option<String>,
}

impl Plugin<dyn Writer> for Gathering {
    const NAME: &'static str = "Gathering";
    const SUMMARY: &'static str = "Gathers names";
    const EXAMPLE: &'static str = "Gathering()";

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Writer>> {
        Some(Box::new(self))
    }
}

impl Writer for Gathering {
    fn write(&self, _: &FinishedItem<'_>, _: &Path) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn gather(&self, out: &Path, items: &[PathBuf]) -> Result<Vec<String>> {
        let names: Vec<String> =
            items.iter().map(|item| item.file_name().unwrap().to_string_lossy().into()).collect();
        crate::data::write_whole(&out.join("names.txt"), names.join(" ").as_bytes())?;
        crate::data::replace_folder(&out.join("names"), |draft| {
            names.iter().try_for_each(|n| crate::data::write_whole(&draft.join(n), n.as_bytes()))
        })?;
        let made = ["names.txt", "names"].map(str::to_owned);
        Ok(made.into_iter().chain(self.wrong.clone()).collect())
    }
}

/// An explainer that asks the network without end about one item, and at once has a map of any
/// other.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Endless {}

impl Plugin<dyn Explainer> for Endless {
    const NAME: &'static str = "Endless";
    const SUMMARY: &'static str = "Never ends for the second picture";
    const EXAMPLE: &'static str = "Endless()";

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Explainer>> {
        Some(Box::new(self))
    }
}

impl Explainer for Endless {
    fn check(&self, _: &Model) -> Result<()> {
        Ok(())
    }

    fn explain(&self, with: &ExplainContext<'_>, samples: &[Sample]) -> Vec<Result<Explanation>> {
        let explain = |sample: &Sample| {
            let batch = Tensor::stack([&sample.pictures[0].1.pixels])?;
            if sample.id == "fake_2" {
                let network = &with.model.network;
                // Whoever hides the error of the time limit has run out of time all the same.
                loop {
                    network.forward(&batch, &Taps::default()).map_err(|_| Error::bug("x"))?;
                }
            }
            let values: Vec<f32> = (0..64_u8).map(f32::from).collect();
            let map = NamedMap {
                id: MapId::new("image"),
                raw: Tensor::new([1, 8, 8], values.clone())?,
                finished: Tensor::new([8, 8], values)?,
                frame: None,
                annotations: Vec::new(),
                facts: Facts::new(),
            };
            Ok(Explanation { maps: vec![map], ..Explanation::default() })
        };
        samples.iter().map(explain).collect()
    }
}

/// A metric that finds a half in every map.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Half {}

impl Plugin<dyn Metric> for Half {
    const NAME: &'static str = "Half";
    const SUMMARY: &'static str = "Finds a half in every map";
    const EXAMPLE: &'static str = "Half()";

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Metric>> {
        Some(Box::new(self))
    }
}

impl Metric for Half {
    fn measure(
        &self,
        _: &ExplainContext<'_>,
        _: &Sample,
        explanation: &Explanation,
    ) -> Result<Vec<Measurement>> {
        let half = |map: &NamedMap| Measurement {
            map: map.name(),
            name: "half".into(),
            parameter: Parameter::None,
            value: 0.5,
        };
        Ok(explanation.maps.iter().map(half).collect())
    }
}

/// A folder with the kit's model, and a plan of four items in it.
fn workshop(write: &str) -> (tempfile::TempDir, Plan, ModelStore) {
    workshop_of("FakeWalk()", write)
}

/// The same, explained by this.
fn workshop_of(explainer: &str, write: &str) -> (tempfile::TempDir, Plan, ModelStore) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("fake.onnx"), "the kit's").unwrap();
    let manifest = "(input: (size: (3, 8, 8), order: Rgb, mean: 0.5, std: 0.25))";
    fs::write(dir.path().join("fake.ron"), manifest).unwrap();
    let (plan, store) = planned(dir.path(), explainer, write);
    (dir, plan, store)
}

/// The same, measured by [`Half`].
fn measured() -> (tempfile::TempDir, Plan, ModelStore) {
    let (dir, _, _) = workshop("");
    let (plan, store) = planned_with(dir.path(), "FakeWalk()", "write: [], metrics: [Half()]");
    (dir, plan, store)
}

/// A plan of four items in the workshop `dir`.
fn planned(dir: &Path, explainer: &str, write: &str) -> (Plan, ModelStore) {
    planned_with(dir, explainer, &format!("write: [{write}]"))
}

/// The same, with these fields of the recipe.
fn planned_with(dir: &Path, explainer: &str, more: &str) -> (Plan, ModelStore) {
    let mut registry = testkit::registry().unwrap();
    registry.add(Registration::of::<dyn Writer, Gathering>("these tests")).unwrap();
    registry.add(Registration::of::<dyn Writer, Filling>("these tests")).unwrap();
    registry.add(Registration::of::<dyn Explainer, Endless>("these tests")).unwrap();
    registry.add(Registration::of::<dyn Metric, Half>("these tests")).unwrap();
    let recipe = format!(
        r#"(model: "fake.onnx", backend: Fake(), data: FakePictures(items: 4), prepare: [], explain: {{"walk": {explainer}}}, {more})"#
    );
    let store = ModelStore::new(dir.join("cache"));
    let text = RecipeText::new("r.ron", recipe);
    (Plan::resolve(text, dir, &registry, &store).unwrap(), store)
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

/// An observer that keeps warnings, of single items too.
#[derive(Default)]
struct Warned(Mutex<Vec<String>>);

impl Observer for Warned {
    fn event(&self, event: &Event<'_>) {
        if let Event::Warning(text) | Event::ItemWarning { text, .. } = event {
            self.0.lock().unwrap().push((*text).to_owned());
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
    assert_eq!(item_lines(&options.out).unwrap().count(), 1);
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
fn what_writers_brought_together_is_recorded_and_verified() {
    let (dir, plan, store) = workshop("Gathering()");
    let options = RunOptions::new(dir.path().join("out"));
    run(&plan, &store, &options, &Nobody).unwrap();
    let recorded = record(&options.out);
    let Some(Value::Map(gathered)) = recorded.get("gathered") else { panic!("{recorded:?}") };
    let names: Vec<&str> = gathered.keys().map(String::as_str).collect();
    assert_eq!(names, ["names.txt", "names/SHA256SUMS"]);
    assert_eq!(text(&gathered["names.txt"], "writer"), "Gathering");
    assert!(verified(&options.out).is_whole());
    // A byte of a file, a file of the folder, and both the folder's file and its list.
    for (file, line) in [("names.txt", ""), ("names/fake_1", ""), ("names/SHA256SUMS", "\n")] {
        let path = options.out.join(file);
        let whole = fs::read(&path).unwrap();
        let mut changed = whole.clone();
        changed[0] ^= 1;
        changed.extend(line.bytes());
        fs::write(&path, changed).unwrap();
        let found = verified(&options.out);
        assert_eq!(found.differences[0].file, Path::new(file), "{found:?}");
        fs::write(&path, whole).unwrap();
    }
    assert!(verified(&options.out).is_whole());
    // The same run again keeps all and leaves the same.
    run(&plan, &store, &options, &Nobody).unwrap();
    assert_eq!(record(&options.out).get("gathered"), recorded.get("gathered"));
}

#[test]
fn a_writer_that_names_what_is_not_there_fails_the_run() {
    for wrong in ["gone", "../fake.onnx", "items/fake_1", "items"] {
        let (dir, plan, store) = workshop(&format!("Gathering(wrong: {wrong:?})"));
        let options = RunOptions::new(dir.path().join("out"));
        let error = run(&plan, &store, &options, &Nobody).unwrap_err();
        assert_eq!(error.code, "fame::plugin::wrong_result", "{error}");
        assert!(error.message.contains(wrong), "{error}");
        assert_eq!(text(&record(&options.out), "status"), "failed");
        assert_eq!(items(&options.out).len(), 4, "its items stay");
    }
}

#[test]
fn what_no_writer_makes_any_more_is_removed_unless_it_was_changed() {
    let (dir, with, store) = workshop("Gathering()");
    let (without, _) = planned(dir.path(), "FakeWalk()", "");
    let options = RunOptions::new(dir.path().join("out"));
    let [file, folder] = ["names.txt", "names"].map(|name| options.out.join(name));
    run(&with, &store, &options, &Nobody).unwrap();
    fs::write(options.out.join("mine.txt"), "precious").unwrap();
    run(&without, &store, &options, &Nobody).unwrap();
    assert!(!file.exists() && !folder.exists());
    assert!(record(&options.out).get("gathered").is_none());
    assert!(verified(&options.out).is_whole());
    run(&with, &store, &options, &Nobody).unwrap();
    fs::write(&file, "changed").unwrap();
    let warned = Warned::default();
    run(&without, &store, &options, &warned).unwrap();
    assert_eq!((fs::read_to_string(&file).unwrap().as_str(), folder.exists()), ("changed", false));
    let told = warned.0.into_inner().unwrap();
    assert!(told.iter().any(|text| text.contains("names.txt")), "{told:?}");
    let recorded = record(&options.out);
    assert!(recorded.get("gathered").is_none() && recorded.get("warnings").is_some());
    assert_eq!(fs::read_to_string(options.out.join("mine.txt")).unwrap(), "precious");
    // It is told once: what a run does not know of is nobody's.
    let warned = Warned::default();
    run(&without, &store, &options, &warned).unwrap();
    assert!(!warned.0.into_inner().unwrap().iter().any(|text| text.contains("names.txt")));
}

#[test]
fn an_item_whose_record_cannot_be_read_is_left_out_and_told() {
    let (dir, plan, store) = workshop("Gathering()");
    let options = RunOptions::new(dir.path().join("out"));
    run(&plan, &store, &options, &Nobody).unwrap();
    // Without the index nothing says that it was changed, and it is kept by its key.
    fs::remove_file(options.out.join("items.jsonl")).unwrap();
    let path = options.out.join("items/fake_1/item.json");
    let changed = fs::read_to_string(&path).unwrap().replace("\"id\"", "\"name\"");
    fs::write(&path, changed).unwrap();
    let warned = Warned::default();
    let summary = run(&plan, &store, &options, &warned).unwrap();
    assert_eq!((summary.kept, summary.failed), (4, 0));
    let told = warned.0.into_inner().unwrap();
    let left_out = told.iter().filter(|text| text.starts_with("item fake_1 is left out of tables"));
    assert_eq!(left_out.count(), 1, "{told:?}");
    let names = fs::read_to_string(options.out.join("names.txt")).unwrap();
    assert_eq!(names, "fake_2 fake_3 fake_4");
}

/// Whoever hears that results are going to be replaced can still stop: nothing was written over.
#[test]
fn what_is_replaced_is_told_while_all_of_it_is_there() {
    struct Untouched<'a>(&'a [(PathBuf, Vec<u8>)], AtomicUsize);
    impl Observer for Untouched<'_> {
        fn event(&self, event: &Event<'_>) {
            if matches!(event, Event::Warning(text) if text.contains("another question")) {
                self.1.fetch_add(1, Ordering::Relaxed);
                for (path, bytes) in self.0 {
                    assert!(fs::read(path).unwrap() == *bytes, "{}", path.display());
                }
            }
        }
    }
    let (dir, plan, store) = workshop("Gathering()");
    let options = RunOptions::new(dir.path().join("out"));
    run(&plan, &store, &options, &Nobody).unwrap();
    let names = ["run.json", "items.jsonl", "items/fake_1/item.json", "names.txt"];
    let there = names.map(|name| options.out.join(name)).map(|path| {
        let bytes = fs::read(&path).unwrap();
        (path, bytes)
    });
    let (other, _) = planned(dir.path(), "FakeWalk(perturbation: FakeSteps(iterations: 2))", "");
    let untouched = Untouched(&there, AtomicUsize::new(0));
    run(&other, &store, &options, &untouched).unwrap();
    assert_eq!(untouched.1.into_inner(), 1, "it is told, once");
    assert!(there.iter().all(|(path, bytes)| fs::read(path).ok().as_ref() != Some(bytes)));
}

#[test]
fn a_choice_of_items_keeps_what_is_finished_beside_them() {
    let (dir, plan, store) = measured();
    let options = RunOptions::new(dir.path().join("out"));
    run(&plan, &store, &options, &Nobody).unwrap();
    let read = |name: &str| fs::read_to_string(options.out.join(name)).unwrap();
    let (csv, table) = (read("metrics.csv"), read("tables/half.csv"));
    let only = vec!["fake_3".to_owned()];
    for choice in [
        RunOptions { limit: Some(1), ..options.clone() },
        RunOptions { only, force: true, ..options.clone() },
    ] {
        let choice = RunOptions { stop: StopHandle::default(), ..choice };
        let warned = Warned::default();
        let summary = run(&plan, &store, &choice, &warned).unwrap();
        let made_again = usize::from(choice.force);
        assert_eq!((summary.done, summary.kept), (made_again, 4 - made_again));
        let told = warned.0.into_inner().unwrap();
        assert!(told.iter().any(|text| text.contains("cover 4 items: 1 asked for")), "{told:?}");
        assert_eq!((read("metrics.csv"), read("tables/half.csv")), (csv.clone(), table.clone()));
        let order: Vec<String> = item_lines(&options.out).unwrap().map(|line| line.id).collect();
        assert_eq!(order, ["fake_1", "fake_2", "fake_3", "fake_4"], "the data's order");
        let selection = record(&options.out).get("selection").cloned().unwrap();
        assert_eq!(selection.get("beside"), Some(&3usize.into()));
        assert!(verified(&options.out).is_whole());
    }
    // What is of another question, or was changed, is no finished item of this one.
    fs::write(options.out.join("items/fake_2/item.json"), "{}").unwrap();
    let choice = RunOptions { limit: Some(1), ..RunOptions::new(&options.out) };
    let warned = Warned::default();
    assert_eq!(run(&plan, &store, &choice, &warned).unwrap().kept, 3);
    let told = warned.0.into_inner().unwrap();
    assert!(told.iter().any(|text| text.starts_with("1 item of earlier runs")), "{told:?}");
    assert!(!read("metrics.csv").contains("fake_2"));
    let found = verified(&options.out);
    assert_eq!((found.items, found.beside), (3, 1), "{found:?}");
}

/// No metric may give NaN now; items of earlier builds, and changed ones, hold no number.
#[test]
fn a_metric_without_any_number_says_so_in_place_of_its_table() {
    let (dir, plan, store) = measured();
    let options = RunOptions::new(dir.path().join("out"));
    run(&plan, &store, &options, &Nobody).unwrap();
    assert!(fs::read_to_string(options.out.join("tables/half.csv")).unwrap().contains("0.5"));
    // Without the index nothing says that they were changed, and they are kept by their keys.
    fs::remove_file(options.out.join("items.jsonl")).unwrap();
    for item in items(&options.out) {
        let path = item.join("item.json");
        let whole = fs::read_to_string(&path).unwrap();
        let without = whole.replace("\"value\": 0.5", "\"value\": null");
        assert_ne!(whole, without);
        fs::write(&path, without).unwrap();
    }
    let warned = Warned::default();
    let summary = run(&plan, &store, &options, &warned).unwrap();
    let why = "`Half` gave no number in any item.";
    assert_eq!((summary.kept, warned.0.into_inner().unwrap()), (4, vec![why.to_owned()]));
    assert_eq!(
        (summary.tables[0].name.as_str(), &*summary.tables[0].notes),
        ("half", &[why.to_owned()][..])
    );
}

#[test]
fn a_walk_whose_loss_rose_is_recorded_and_told() {
    let warnings = |step: f32| {
        let walk = format!("FakeWalk(perturbation: FakeSteps(step: {step}))");
        let (dir, plan, store) = workshop_of(&walk, "");
        let options = RunOptions::new(dir.path().join("out"));
        run(&plan, &store, &options, &Nobody).unwrap();
        fs::read_to_string(options.out.join("items/fake_1/item.json")).unwrap()
    };
    assert!(!warnings(0.001).contains("the wrong way"));
    let item = warnings(100.0);
    assert!(item.contains("image: the walk went the wrong way: its loss rose from"), "{item}");
}

#[test]
fn a_slow_item_fails_alone_and_those_beside_it_are_done() {
    let (dir, plan, store) = workshop_of("Endless()", "");
    // Far more than any of the others takes, on a busy machine too.
    let limit = std::time::Duration::from_millis(500);
    let options =
        RunOptions { item_timeout: Some(limit), ..RunOptions::new(dir.path().join("out")) };
    let summary = run(&plan, &store, &options, &Nobody).unwrap();
    let errors: Vec<_> = item_lines(&options.out).unwrap().filter_map(|line| line.error).collect();
    assert_eq!((summary.done, summary.failed), (3, 1), "{errors:?}");
    let failed = item_lines(&options.out).unwrap().find_map(|line| line.error).unwrap();
    assert_eq!(text(&failed, "code"), "fame::run::item_timeout");
    let order: Vec<String> = item_lines(&options.out).unwrap().map(|line| line.id).collect();
    assert_eq!(order, ["fake_1", "fake_2", "fake_3", "fake_4"], "the data's order");
}

/// What was made cannot be told to hold when an item cannot be computed any more: it goes, and that
/// is said.
#[test]
fn what_goes_when_an_item_fails_later_is_told() {
    let (dir, plan, store) = workshop_of("FakeWalk()", "");
    let out = dir.path().join("out");
    run(&plan, &store, &RunOptions::new(&out), &Nobody).unwrap();
    assert!(out.join("items/fake_2").exists());
    let (endless, _) = planned(dir.path(), "Endless()", "");
    let limit = std::time::Duration::from_millis(500);
    let options = RunOptions { item_timeout: Some(limit), ..RunOptions::new(&out) };
    let warned = Warned::default();
    run(&endless, &store, &options, &warned).unwrap();
    assert!(!out.join("items/fake_2").exists());
    let told = warned.0.into_inner().unwrap();
    let removed = told.iter().filter(|text| text.starts_with("what an earlier run had made of it"));
    assert_eq!(removed.count(), 1, "{told:?}");
}

/// Who asks for one item more does not mend the one that failed.
#[test]
fn an_item_that_failed_stays_failed_where_it_is_not_asked_for() {
    let (dir, plan, store) = workshop_of("Endless()", "");
    let limit = std::time::Duration::from_millis(500);
    let whole = RunOptions { item_timeout: Some(limit), ..RunOptions::new(dir.path().join("out")) };
    run(&plan, &store, &whole, &Nobody).unwrap();
    let error_of = |id: &str| -> Option<Value> {
        item_lines(&whole.out).unwrap().find(|line| line.id == id).unwrap().error
    };
    let why = error_of("fake_2").unwrap();
    // As often as it is done.
    for id in ["fake_1", "fake_3"] {
        let choice = RunOptions { only: vec![id.to_owned()], ..RunOptions::new(&whole.out) };
        let warned = Warned::default();
        let summary = run(&plan, &store, &choice, &warned).unwrap();
        let counts = (summary.status, summary.done, summary.kept, summary.failed);
        assert_eq!(counts, (RunStatus::Incomplete, 0, 3, 1));
        let now = record(&whole.out);
        assert_eq!(text(&now, "status"), "incomplete");
        assert_eq!(now.get("selection").unwrap().get("beside_failed"), Some(&1usize.into()));
        let told = warned.0.into_inner().unwrap();
        let line = "1 item not asked for now failed in an earlier run, and still counts as failed.";
        assert!(told.iter().any(|text| text.starts_with(line)), "{told:?}");
        assert_eq!(error_of("fake_2"), Some(why.clone()), "it says why, as before");
        let order: Vec<String> = item_lines(&whole.out).unwrap().map(|line| line.id).collect();
        assert_eq!(order, ["fake_1", "fake_2", "fake_3", "fake_4"], "the data's order");
        assert!(verified(&whole.out).differences.is_empty());
    }
    // Of another question it failed at nothing.
    let (other, _) = planned(dir.path(), "FakeWalk()", "");
    let choice = RunOptions { limit: Some(1), ..RunOptions::new(&whole.out) };
    let summary = run(&other, &store, &choice, &Nobody).unwrap();
    assert_eq!((summary.status, summary.done, summary.failed), (RunStatus::Complete, 1, 0));
}

/// Whatever stands in a folder's records, it is told; and a run there ends in an error or in a
/// record that is true.
#[test]
fn fuzz_records() {
    let (dir, plan, store) = workshop("");
    let options = RunOptions::new(dir.path().join("out"));
    run(&plan, &store, &options, &Nobody).unwrap();
    let names =
        ["run.json", "items.jsonl", "items/fake_1/item.json", "run.lock", "parts/fake_1/walk.part"];
    let whole: Vec<Vec<u8>> =
        names.iter().map(|name| fs::read(options.out.join(name)).unwrap()).collect();
    let words = ["\"id\"", "\"status\": \"running\"", "\"files\": {}", "../../x", "process "];
    testkit::fuzz("records", &whole, &words, |bytes| {
        for (name, whole) in names.iter().zip(&whole) {
            fs::write(options.out.join(name), bytes).unwrap();
            let _ = (item_lines(&options.out).map(Iterator::count), verify(&options.out));
            let _ = (shards(&options.out), recipe_of(&options.out));
            let options = RunOptions::new(&options.out);
            if run(&plan, &store, &options, &Nobody).is_ok() {
                assert_eq!(text(&record(&options.out), "status"), "complete");
                // A part is made again when it is needed, and a kept item needs none.
                let verified = verified(&options.out);
                assert!(verified.is_whole() || name.starts_with("parts"), "{name}: {verified:?}");
            }
            fs::write(options.out.join(name), whole).unwrap();
        }
    });
}

/// What is verified of a run that has ended. A program that another test starts holds our lock until
/// it has replaced itself: that is waited for.
fn verified(out: &Path) -> Verified {
    loop {
        match verify(out) {
            Err(e) if e.code == "fame::run::locked" => {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            found => return found.unwrap(),
        }
    }
}

#[test]
fn a_limit_of_nothing_is_refused() {
    let (dir, plan, store) = workshop("");
    let options = RunOptions { limit: Some(0), ..RunOptions::new(dir.path().join("out")) };
    let error = run(&plan, &store, &options, &Nobody).unwrap_err();
    assert_eq!(error.message, "a limit of 0 leaves no items.");
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
    assert_eq!((summary.done, summary.kept), (0, 4), "this process has kept them");
    // The record says what was done, as that of one machine does.
    let lines = |out: &Path| -> Vec<ItemLine> { item_lines(out).unwrap().collect() };
    for (one, many) in lines(&one.out).iter().zip(&lines(&out)) {
        assert_eq!((&one.id, one.status, &one.computed), (&many.id, many.status, &many.computed));
        assert_eq!((&one.key, &one.sha256), (&many.key, &many.sha256));
        assert!(many.status == ItemStatus::Done && many.seconds.is_some());
    }
    remove_shards(&out).unwrap();
    assert!(!out.join("shards").exists());
    let (one, many) = (items(&one.out), items(&out));
    assert_eq!(one.len(), many.len());
    for (one, many) in one.iter().zip(&many) {
        let read = |folder: &Path| fs::read(folder.join("item.json")).unwrap();
        assert!(read(one) == read(many), "{}", many.display());
    }
}
