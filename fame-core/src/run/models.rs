//! Files and models of a run: the files that a recipe names, and each model loaded once.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use super::deadline::Deadline;
use crate::{
    Error, Model, Result,
    contract::{Backend, Files, LoadRequest, Models, Operators},
    data::{Facts, FixedInput, Value, facts, require_memory_for, sha256_file},
    registry::guard::caught,
    store::{FetchEvent, ModelManifest, ModelStore},
};

/// The files that a recipe names: paths relative to it, and `picture:NAME`.
pub(super) struct RunFiles<'a> {
    pub(super) folder: &'a Path,
    pub(super) store: &'a ModelStore,
    pub(super) on_fetch: &'a dyn Fn(&FetchEvent),
}

impl Files for RunFiles<'_> {
    fn locate(&self, text: &str) -> Result<PathBuf> {
        // Plugins call this: no panic of ours may pass through them.
        let located = caught(|| match text.strip_prefix("picture:") {
            Some(name) => self.store.picture(name, &mut |p| (self.on_fetch)(&p)),
            None => Ok(self.folder.join(text)),
        });
        located.unwrap_or_else(|panic| Err(panic.error("fame", "while it looked for a file")))
    }
}

/// Loads models by manifest name, each once.
pub struct ModelShelf<'a> {
    store: &'a ModelStore,
    backend: &'a dyn Backend,
    operators: Operators,
    deadline: Deadline,
    on_fetch: &'a dyn Fn(&FetchEvent),
    loaded: Mutex<BTreeMap<String, Shelved>>,
    is_closed: AtomicBool,
}

/// A model on the shelf.
struct Shelved {
    model: Arc<Model>,
    /// SHA-256 of the files that hold its weights and the values of its other inputs beside its
    /// own, by the names of the files, in the order in which they are named.
    data_files: Vec<(String, String)>,
}

impl<'a> ModelShelf<'a> {
    /// An empty shelf: models come from `store` and are run by `backend`.
    pub fn new(
        store: &'a ModelStore,
        backend: &'a dyn Backend,
        on_fetch: &'a dyn Fn(&FetchEvent),
    ) -> Self {
        Self {
            store,
            backend,
            operators: Operators::default(),
            deadline: Deadline::default(),
            on_fetch,
            loaded: Mutex::default(),
            is_closed: AtomicBool::new(false),
        }
    }

    /// The same shelf, whose models are loaded with operators of plugins.
    #[must_use]
    pub fn with_operators(mut self, operators: Operators) -> Self {
        self.operators = operators;
        self
    }

    /// The same shelf, whose networks ask `deadline` before every pass.
    #[must_use]
    pub(super) fn with_deadline(mut self, deadline: Deadline) -> Self {
        self.deadline = deadline;
        self
    }

    /// The model file of `manifest`, fetched and verified if need be.
    ///
    /// # Errors
    /// When it cannot be had.
    pub fn fetch(&self, manifest: &ModelManifest) -> Result<PathBuf> {
        self.store.fetch_model(manifest, &mut |p| (self.on_fetch)(&p))
    }

    /// Loads `file` as the model of `manifest` and keeps it.
    ///
    /// # Errors
    /// What the backend says.
    pub fn load(&self, manifest: ModelManifest, file: PathBuf) -> Result<Arc<Model>> {
        require_memory_for(&file)?;
        let sha256 = sha256_file(&file)?;
        let labels =
            self.store.labels(&manifest, &mut |p| (self.on_fetch)(&p))?.unwrap_or_default();
        let request = LoadRequest::new(&file).with_input_shape(manifest.input.shape());
        let mut data_files = self.backend.files(&request)?;
        data_files.extend(manifest.located_inputs().into_values().filter_map(
            |value| match value {
                FixedInput::File(path) => Some(path),
                FixedInput::Fill(_) | FixedInput::Values(_) => None,
            },
        ));
        let data_files = data_files.iter().filter(|other| **other != file).map(|file| hashed(file));
        let data_files = data_files.collect::<Result<_>>()?;
        let name = manifest.name.clone();
        let operators = self.operators.clone();
        let mut model = Model::load_with(manifest, file, sha256, labels, self.backend, operators)?;
        model.network = self.deadline.watch(model.network);
        let model = Arc::new(model);
        let shelved = Shelved { model: model.clone(), data_files };
        self.loaded().insert(name, shelved);
        Ok(model)
    }

    /// All that results may owe to the loaded models: their files by hash, and what their manifests
    /// say of input, layers and labels. What a manifest asks, and how it prepares pictures, stands
    /// in the plan, in the parameters of those parts. From now on no other model is loaded.
    pub(super) fn close(&self) -> Vec<Value> {
        self.is_closed.store(true, Ordering::Relaxed);
        let about = |shelved: &Shelved| {
            let Shelved { model, data_files } = shelved;
            let manifest = &model.manifest;
            Value::Map(facts([
                ("name", manifest.name.as_str().into()),
                ("sha256", model.sha256.as_str().into()),
                (
                    "data",
                    data_files
                        .iter()
                        .map(|(_, s)| s.as_str().into())
                        .collect::<Vec<Value>>()
                        .into(),
                ),
                ("input", Value::of(&manifest.input)),
                ("layout", Value::of(&manifest.layout)),
                ("fixed", Value::of(&manifest.fixed)),
                ("layers", Value::of(&manifest.layers)),
                ("labels", model.labels.clone().into()),
            ]))
        };
        self.loaded().values().map(about).collect()
    }

    /// SHA-256 of the files that hold a loaded model's weights beside its own, by name.
    pub(super) fn data_files(&self, name: &str) -> Facts {
        let loaded = self.loaded();
        let files = loaded.get(name).map(|shelved| shelved.data_files.iter());
        files.into_iter().flatten().map(|(n, sha256)| (n.clone(), sha256.as_str().into())).collect()
    }

    fn loaded(&self) -> MutexGuard<'_, BTreeMap<String, Shelved>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name of a file without its folder, and its hash.
fn hashed(file: &Path) -> Result<(String, String)> {
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    require_memory_for(file)?;
    Ok((name, sha256_file(file)?))
}

impl Models for ModelShelf<'_> {
    fn model(&self, name: &str) -> Result<Arc<Model>> {
        // Plugins call this: no panic of ours may pass through them.
        caught(|| self.get(name))
            .unwrap_or_else(|panic| Err(panic.error("fame", "while it loaded a model")))
    }
}

impl ModelShelf<'_> {
    /// The model called `name`: from the shelf, or loaded now.
    fn get(&self, name: &str) -> Result<Arc<Model>> {
        if let Some(shelved) = self.loaded().get(name) {
            return Ok(shelved.model.clone());
        }
        if self.is_closed.load(Ordering::Relaxed) {
            let message = format!(
                "model `{name}` was asked for in the middle of the run, when the keys of its results were made already."
            );
            return Err(Error::new("fame::model::undeclared", message)
                .with_help("The plugin that asks for it must name it in `PrepareStep::models`."));
        }
        let manifest = self.store.manifest(name)?;
        let file = self.fetch(&manifest)?;
        self.load(manifest, file)
    }
}
