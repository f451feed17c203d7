//! The store: manifests and pictures by name, and their verified files.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use super::{
    cache::{self, Cache},
    events::FetchEvent,
    kinds::no_network,
    manifest::ModelManifest,
    pictures::{self, PictureManifest},
    shelf::Shelf,
    source::Source,
    tools::Tools,
};
use crate::{
    Error, ErrorKind, Result,
    text::{near_file, near_names, quoted},
};

/// Models and pictures by name: finds their manifests and fetches what they describe.
///
/// ```no_run
/// # use fame_core::store::ModelStore;
/// let store = ModelStore::from_env()?.with_folder("models");
/// let manifest = store.manifest("mobilefacenet")?;
/// let onnx = store.fetch("mobilefacenet", &mut |progress| eprintln!("{progress:?}"))?;
/// let picture = store.picture("obama", &mut |_| ())?;
/// # Ok::<(), fame_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ModelStore {
    pub(super) shelves: Vec<Shelf>,
    /// Model files that are built into the program, by the path that built-in manifests name.
    pub(super) models: BTreeMap<String, &'static [u8]>,
    /// Manifests of model files that have none next to them, by the path it would have.
    pub(super) assumed: BTreeMap<PathBuf, String>,
    pub(super) cache: Cache,
    pub(super) tools: Tools,
    /// Whether manifests may run code; see [`ModelStore::trusting_manifests`].
    pub(super) trusts_manifests: bool,
}

impl ModelStore {
    /// A store without manifests that caches in the folder `cache`, which need not exist yet.
    pub fn new(cache: impl AsRef<Path>) -> Self {
        Self {
            shelves: Vec::new(),
            models: BTreeMap::new(),
            assumed: BTreeMap::new(),
            cache: Cache::new(cache.as_ref()),
            tools: Tools::from_env(),
            trusts_manifests: false,
        }
    }

    /// A store without manifests that caches where the environment says, see
    /// [`super::default_cache_dir`].
    ///
    /// # Errors
    /// When the environment names no folder.
    pub fn from_env() -> Result<Self> {
        Ok(Self::new(cache::default_cache_dir()?))
    }

    /// Adds a folder of manifests (`NAME.ron`, `pictures/*.ron`, scripts). A manifest in an earlier
    /// folder hides its namesakes in later ones.
    #[must_use]
    pub fn with_folder(mut self, folder: impl AsRef<Path>) -> Self {
        let folder =
            std::path::absolute(folder.as_ref()).unwrap_or_else(|_| folder.as_ref().to_path_buf());
        self.shelves.push(Shelf::Folder(folder));
        self
    }

    /// Adds manifests that are built into the program, as (path relative to the models folder,
    /// text): `("mobilefacenet.ron", "(…)")`, `("pictures/skimage.ron", "(…)")`,
    /// `("exporters/efficientnet_lite0.py", "…")`.
    #[must_use]
    pub fn with_built_in(mut self, files: &[(&str, &str)]) -> Self {
        let files = files.iter().map(|&(path, text)| (path.to_owned(), text.to_owned())).collect();
        self.shelves.push(Shelf::BuiltIn(files));
        self
    }

    /// Adds model files that are built into the program, for built-in manifests with
    /// `source: File(path: …)`: ("shapes.onnx", bytes). They are written to the cache when they are
    /// asked for.
    #[must_use]
    pub fn with_built_in_models(mut self, files: &[(&str, &'static [u8])]) -> Self {
        self.models.extend(files.iter().map(|&(path, bytes)| (path.to_owned(), bytes)));
        self
    }

    /// Takes `text` for the manifest of the ONNX file `model` as long as no manifest lies next to
    /// that file.
    #[must_use]
    pub fn with_assumed(mut self, model: &Path, text: impl Into<String>) -> Self {
        self.assumed.insert(beside(model), text.into());
        self
    }

    /// Runs the programs of `tools` instead of those on this process's `PATH`.
    #[must_use]
    pub fn with_tools(mut self, tools: Tools) -> Self {
        self.tools = tools;
        self
    }

    /// The folder that files are cached in.
    pub fn cache_dir(&self) -> &Path {
        self.cache.root()
    }

    /// The names of all models, sorted.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn names(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for shelf in &self.shelves {
            names.extend(shelf.list("")?);
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// Every model with its manifest, or with what is wrong with it: one broken manifest must not
    /// hide the others.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn list(&self) -> Result<Vec<(String, Result<ModelManifest>)>> {
        Ok(self.names()?.into_iter().map(|name| (name.clone(), self.manifest(&name))).collect())
    }

    /// The manifest of the model called `name`.
    ///
    /// # Errors
    /// `fame::model::unknown` with the nearest names; or what is wrong with the manifest.
    pub fn manifest(&self, name: &str) -> Result<ModelManifest> {
        let names = self.names()?;
        if names.iter().any(|known| known == name) {
            for shelf in &self.shelves {
                if let Some(text) = shelf.read(&format!("{name}.ron"))? {
                    return ModelManifest::parse(name, &text, shelf.folder());
                }
            }
        }
        let own = "A model of your own is named by its path: `./my.onnx`, with the manifest `my.ron` next to it.";
        Err(unknown("fame::model::unknown", "model", name, &names, own))
    }

    /// The manifest that a recipe's `model:` means: the name of a model; or the path of a manifest
    /// (`my.ron`) or of an ONNX file with its manifest next to it (`my.onnx`, `my.ron`), absolute
    /// or relative to `base`, the recipe's folder.
    ///
    /// # Errors
    /// As [`ModelStore::manifest`]; `fame::model::no_manifest` when there is none next to an ONNX
    /// file, `fame::model::missing_file` when there is not even that file.
    pub fn resolve(&self, model: &str, base: &Path) -> Result<ModelManifest> {
        let path = base.join(model);
        let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
        let names_file =
            extension.eq_ignore_ascii_case("onnx") || extension.eq_ignore_ascii_case("ron");
        let is_there = if names_file { path.is_dir() } else { path.exists() };
        if !names_file && !model.contains(['/', '\\']) {
            // What lies there is meant where no model has that name.
            let is_name = !is_there || self.names()?.iter().any(|name| name == model);
            return if is_name { self.manifest(model) } else { Err(no_network(&path)) };
        }
        let ron = path.with_extension("ron");
        let has_manifest_beside = ron != path && ron.is_file();
        if is_there && !has_manifest_beside {
            return Err(no_network(&path));
        }
        let (Some(stem), Some(folder)) = (path.file_stem(), path.parent()) else {
            return Err(Error::new(
                "fame::model::unknown",
                format!("`{model}` is neither the name of a model nor the path of one."),
            )
            .of_kind(ErrorKind::WrongRequest));
        };
        let text = match fs::read_to_string(&ron) {
            Ok(text) => crate::data::without_mark(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let is_model = extension.eq_ignore_ascii_case("onnx");
                if is_model && !path.exists() {
                    return Err(no_model(&path));
                }
                let assumed = self.assumed.get(&beside(&path)).cloned();
                assumed.ok_or_else(|| no_manifest(&path, &ron))?
            }
            Err(error) => return Err(Error::io("read", &ron, &error)),
        };
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf());
        let manifest = ModelManifest::parse(&stem.to_string_lossy(), &text, Some(&folder))?;
        match &manifest.source {
            Source::File { path: meant, .. } if extension == "onnx" && folder.join(meant).file_name() != path.file_name() => {
                Err(Error::new("fame::model::invalid", format!("`{}` describes `{meant}`, not `{}`.", ron.display(), path.display()))
                    .with_help("Leave `source` out: the manifest then describes the ONNX file of the same name next to it."))
            }
            _ => Ok(manifest),
        }
    }

    /// Is the model's file here, so that [`ModelStore::fetch`] needs no network?
    ///
    /// # Errors
    /// As [`ModelStore::manifest`].
    pub fn is_cached(&self, name: &str) -> Result<bool> {
        let manifest = self.manifest(name)?;
        Ok(self.is_source_cached(&manifest.source, manifest.folder.as_deref()))
    }

    /// Is the file of the model that `manifest` describes here, so that
    /// [`ModelStore::fetch_model`] needs no network?
    pub fn has(&self, manifest: &ModelManifest) -> bool {
        self.is_source_cached(&manifest.source, manifest.folder.as_deref())
    }

    /// The verified file of the model called `name`, downloaded or converted if it is not cached.
    ///
    /// # Errors
    /// As [`ModelStore::fetch_model`].
    pub fn fetch(&self, name: &str, progress: &mut dyn FnMut(FetchEvent)) -> Result<PathBuf> {
        self.fetch_model(&self.manifest(name)?, progress)
    }

    /// The verified file of a model.
    ///
    /// # Errors
    /// `fame::model::missing_tool`, `…::download`, `…::checksum`, `…::archive`, `…::convert` or
    /// `…::missing_file`, each naming the model.
    pub fn fetch_model(
        &self,
        manifest: &ModelManifest,
        progress: &mut dyn FnMut(FetchEvent),
    ) -> Result<PathBuf> {
        let fetched = self.obtain(&manifest.source, manifest.folder.as_deref(), progress);
        fetched
            .and_then(|found| found.done(progress))
            .map_err(|error| error.at(format!("model `{}`", manifest.name)))
    }

    /// All pictures, sorted by name.
    ///
    /// # Errors
    /// When a file of pictures is broken, or two of one folder use the same name.
    pub fn pictures(&self) -> Result<Vec<PictureManifest>> {
        let mut all: BTreeMap<String, PictureManifest> = BTreeMap::new();
        // Backwards, so that earlier folders hide later ones, as they do for models.
        for shelf in self.shelves.iter().rev() {
            let mut here: BTreeMap<String, (PictureManifest, String)> = BTreeMap::new();
            for stem in shelf.list("pictures/")? {
                let file = format!("pictures/{stem}.ron");
                let text = shelf.read(&file)?.unwrap_or_default();
                for picture in pictures::parse(&shelf.place(&file), &text)? {
                    let name = picture.name.clone();
                    if let Some((_, other)) = here.insert(name.clone(), (picture, file.clone())) {
                        let message = format!(
                            "two pictures are called `{name}`: one in `{}`, one in `{}`.",
                            shelf.place(&other),
                            shelf.place(&file)
                        );
                        return Err(Error::new("fame::model::duplicate_picture", message)
                            .with_help("Rename one of them."));
                    }
                }
            }
            all.extend(here.into_iter().map(|(name, (picture, _))| (name, picture)));
        }
        Ok(all.into_values().collect())
    }

    /// Is the file of the picture called `name` (without `picture:`) here, so that
    /// [`ModelStore::picture`] needs no network?
    pub fn has_picture(&self, name: &str) -> bool {
        self.picture_entry(name).is_ok_and(|picture| self.is_source_cached(&picture.source, None))
    }

    /// Whether there is a picture called `name`; fetches nothing.
    ///
    /// # Errors
    /// `fame::model::unknown_picture` with the nearest names.
    pub fn check_picture(&self, name: &str) -> Result<()> {
        self.picture_entry(name).map(|_| ())
    }

    /// The manifest of the picture called `name`.
    fn picture_entry(&self, name: &str) -> Result<PictureManifest> {
        let pictures = self.pictures()?;
        let names: Vec<String> = pictures.iter().map(|picture| picture.name.clone()).collect();
        let found = pictures.into_iter().find(|picture| picture.name == name);
        found.ok_or_else(|| unknown("fame::model::unknown_picture", "picture", name, &names, ""))
    }

    /// The verified file of the picture called `name` (without `picture:`).
    ///
    /// # Errors
    /// `fame::model::unknown_picture` with the nearest names; otherwise as
    /// [`ModelStore::fetch_model`].
    pub fn picture(&self, name: &str, progress: &mut dyn FnMut(FetchEvent)) -> Result<PathBuf> {
        let picture = self.picture_entry(name)?;
        let fetched =
            self.obtain(&picture.source, None, progress).and_then(|found| found.done(progress));
        fetched.map_err(|error| error.at(format!("picture `{name}`")))
    }
}

/// The absolute path of the manifest that belongs next to the ONNX file `model`.
fn beside(model: &Path) -> PathBuf {
    let ron = model.with_extension("ron");
    std::path::absolute(&ron).unwrap_or(ron)
}

/// The error of an ONNX file that is not there.
fn no_model(path: &Path) -> Error {
    let text = format!("there is no file `{}`.", path.display());
    let mut error = Error::new("fame::model::missing_file", text);
    error.help = near_file(path);
    error.of_kind(ErrorKind::WrongRequest)
}

/// The error of an ONNX file without its manifest.
fn no_manifest(model: &Path, ron: &Path) -> Error {
    Error::new("fame::model::no_manifest", format!("`{}` has no manifest: there is no file `{}`.", model.display(), ron.display()))
        .with_help(
            "fame must know how to feed the model. `fame-cli init MODEL PICTURE` writes that file; or, with your numbers:\n\
         (input: (size: (3, 224, 224), order: Rgb, mean: (0.485, 0.456, 0.406), std: (0.229, 0.224, 0.225)))",
        )
}

/// "No model is called …", with the nearest names or all of them, and `more` help.
fn unknown(code: &str, kind: &str, name: &str, known: &[String], more: &str) -> Error {
    let near = near_names(name, known.iter().map(String::as_str));
    let help = match near[..near.len().min(3)] {
        [] if known.is_empty() => {
            format!("No {kind}s are known: the folders of manifests hold none.")
        }
        [] => format!("Known {kind}s: {}.", quoted(known)),
        [one] => format!("Did you mean `{one}`?"),
        [ref most @ .., last] => format!("Did you mean {} or `{last}`?", quoted(most)),
    };
    Error::new(code, format!("no {kind} is called `{name}`."))
        .of_kind(ErrorKind::WrongRequest)
        .with_help(format!("{help} {more}").trim_end())
}
