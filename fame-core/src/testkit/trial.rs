//! A whole recipe, run inside of a test.

use std::path::{Path, PathBuf};

use super::fail;
use crate::{
    Error, Plan, Result,
    data::Value,
    recipe::RecipeText,
    registry::Registry,
    run::{Event, Observer, RunOptions, Summary, item_lines, run},
    store::ModelStore,
    text::scan,
};

/// The fields of a recipe that a test may leave out, with the kit's values.
const DEFAULTS: [(&str, &str); 6] = [
    ("model", r#""fake.onnx""#),
    ("backend", "Fake()"),
    ("data", "FakePictures()"),
    ("prepare", "[]"),
    ("explain", r#"{"walk": FakeWalk()}"#),
    ("write", "[]"),
];

/// A recipe that was run into a temporary folder, which disappears with it.
pub struct Trial {
    /// Outcome of the run.
    pub summary: Summary,
    folder: tempfile::TempDir,
}

struct Quiet;

impl Observer for Quiet {
    fn event(&self, _: &Event<'_>) {}
}

impl Trial {
    /// Runs a recipe given by some of its fields, such as
    /// `explain: {"mine": Mine()}, write: [Csv()]`. The fields left out are the kit's: model
    /// `"fake.onnx"` (run by `Fake()`), data `FakePictures()`, explain `{"walk": FakeWalk()}`, no
    /// prepare steps, no writers. With a backend of your own the model has no aliases. Plugins are
    /// those of [`super::registry()`].
    ///
    /// # Errors
    /// Every problem of the recipe; what keeps the run from finishing; and the first item that
    /// failed, since a test wants it to be done.
    pub fn run(fields: &str) -> Result<Self> {
        Self::run_with(fields, &super::registry()?, |_| Ok(()))
    }

    /// [`Trial::run`] with plugins of your own choice, in a folder that `prepare` may write files
    /// into first (lists, pictures): relative paths in the recipe start there.
    ///
    /// # Errors
    /// As [`Trial::run`], and what `prepare` says.
    pub fn run_with(
        fields: &str,
        registry: &Registry,
        prepare: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<Self> {
        let folder = tempfile::tempdir()
            .map_err(|e| Error::io("create", Path::new("a temporary folder"), &e))?;
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).map_err(|e| Error::io("write", &path, &e))
        };
        // The backend does not read it, but a model is a file, and its hash is part of every item's
        // key.
        write(
            "fake.onnx",
            "the test kit's network is made by its backend, not read from this file",
        )?;
        // Aliases name layers of the kit's network, which a backend under test need not have.
        let aliases = if names(fields, "backend")? { "" } else { super::ALIASES };
        write("fake.ron", &super::MANIFEST.replace("ALIASES", aliases))?;
        prepare(folder.path())?;
        let store = ModelStore::new(folder.path().join("cache"));
        let text = RecipeText::new("trial.ron", whole(fields)?);
        let plan = Plan::resolve(text, folder.path(), registry, &store).map_err(|p| {
            let told: Vec<String> = p.each.iter().map(|e| e.problem().message.clone()).collect();
            Error::new("fame::testkit::recipe", format!("{}: {}", p.summary, told.join(" ")))
        })?;
        let options = RunOptions::new(folder.path().join("out"));
        let summary = run(&plan, &store, &options, &Quiet)?;
        let trial = Self { summary, folder };
        match trial.summary.failed {
            0 => Ok(trial),
            n => Err(fail(format!("{n} item(s) failed: {}", trial.first_error()?))),
        }
    }

    /// The output folder.
    pub fn out(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    /// The folder of an item: the kit's are called `fake_1`, `fake_2`, …
    pub fn item(&self, id: &str) -> PathBuf {
        self.out().join("items").join(id)
    }

    /// `run.json`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn record(&self) -> Result<Value> {
        let text = self.read("run.json")?;
        serde_json::from_str(&text).map_err(|e| Error::bug(format!("run.json is not JSON: {e}.")))
    }

    /// The text of a file of the output folder, such as `metrics.csv` or `items/fake_1/item.json`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(&self, name: &str) -> Result<String> {
        let path = self.out().join(name);
        std::fs::read_to_string(&path).map_err(|e| Error::io("read", &path, &e))
    }

    fn first_error(&self) -> Result<String> {
        let error = item_lines(&self.out())?.find_map(|line| line.error);
        let said = error
            .as_ref()
            .and_then(|e| e.get("message").or(Some(e)))
            .map(|e| serde_json::to_string(e).unwrap_or_default());
        Ok(said.unwrap_or_else(|| "the record does not say why".to_owned()))
    }
}

/// The given fields as a recipe, and its entries.
fn cut(fields: &str) -> Result<(String, Vec<scan::Entry>)> {
    let given = format!("({})", fields.trim().trim_end_matches(','));
    let entries = scan::entries(&given, 0).map_err(|e| {
        Error::new("fame::testkit::recipe", format!("the recipe's fields: {}.", e.message))
    })?;
    Ok((given, entries))
}

/// Whether the given fields name the recipe's `field`.
fn names(fields: &str, field: &str) -> Result<bool> {
    Ok(cut(fields)?.1.iter().any(|entry| entry.key == field))
}

/// The recipe with the fields left out.
fn whole(fields: &str) -> Result<String> {
    let (given, entries) = cut(fields)?;
    let missing = DEFAULTS.iter().filter(|(name, _)| !entries.iter().any(|e| e.key == *name));
    let mut all: Vec<String> = missing.map(|(name, value)| format!("{name}: {value}")).collect();
    if !entries.is_empty() {
        all.push(given[1..given.len() - 1].to_owned());
    }
    Ok(format!("({})", all.join(", ")))
}
