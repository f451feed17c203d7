//! Files and models of a run: the files that a recipe names, and each model loaded once.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    Model, Result,
    contract::{Backend, Files, Models, Operators},
    data::sha256_file,
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
    on_fetch: &'a dyn Fn(&FetchEvent),
    loaded: Mutex<BTreeMap<String, Arc<Model>>>,
}

impl<'a> ModelShelf<'a> {
    /// An empty shelf: models come from `store` and are run by `backend`.
    pub fn new(
        store: &'a ModelStore,
        backend: &'a dyn Backend,
        on_fetch: &'a dyn Fn(&FetchEvent),
    ) -> Self {
        Self { store, backend, operators: Operators::default(), on_fetch, loaded: Mutex::default() }
    }

    /// The same shelf, whose models are loaded with operators of plugins.
    #[must_use]
    pub fn with_operators(mut self, operators: Operators) -> Self {
        self.operators = operators;
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
        let sha256 = sha256_file(&file)?;
        let labels =
            self.store.labels(&manifest, &mut |p| (self.on_fetch)(&p))?.unwrap_or_default();
        let name = manifest.name.clone();
        let model = Arc::new(Model::load_with(
            manifest,
            file,
            sha256,
            labels,
            self.backend,
            self.operators.clone(),
        )?);
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner).insert(name, model.clone());
        Ok(model)
    }

    /// SHA-256 of every loaded model, by name.
    pub fn hashes(&self) -> Vec<String> {
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.iter().map(|(name, m)| format!("{name}={}", m.sha256)).collect()
    }
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
        if let Some(model) = self.loaded.lock().unwrap_or_else(PoisonError::into_inner).get(name) {
            return Ok(model.clone());
        }
        let manifest = self.store.manifest(name)?;
        let file = self.fetch(&manifest)?;
        self.load(manifest, file)
    }
}
