//! The plan: a recipe with every name resolved and every parameter checked, before anything is
//! computed.

use std::path::{Path, PathBuf};

use crate::{
    Error,
    contract::{Backend, Dataset, Explainer, Loss, Metric, PrepareStep, Writer},
    data::{Value, facts},
    plugin::PluginFile,
    recipe::{Placed, RecipeFile, RecipeText},
    registry::{BuildContext, Built, Contract, Registry, UNKNOWN_PLUGIN},
    run::ForwardCheck,
    store::{Ask, ModelManifest, ModelStore},
    text::{Problem, Problems, Spec, near_file, suggestion},
};

/// Everything a run needs, resolved. `fame-cli check` stops here: no model was loaded, no folder
/// made.
pub struct Plan {
    /// The recipe, with overrides.
    pub text: RecipeText,
    /// The folder of the recipe: relative paths start here.
    pub folder: PathBuf,
    /// The explained model's manifest.
    pub manifest: ModelManifest,
    /// The libraries that plugins were loaded from: name, version and hash of each.
    pub plugins: Vec<Value>,
    /// What runs it.
    pub backend: Built<dyn Backend>,
    /// The name of the published form that defaults follow; empty for none.
    pub preset: String,
    /// Where samples come from.
    pub data: Built<dyn Dataset>,
    /// From decoded picture to network input.
    pub prepare: Vec<Built<dyn PrepareStep>>,
    /// Explainers by the recipe's name.
    pub explain: Vec<(String, Built<dyn Explainer>)>,
    /// What recomputes a part of every explanation.
    pub check: Option<Built<ForwardCheck>>,
    /// Metrics.
    pub metrics: Vec<Built<dyn Metric>>,
    /// Writers.
    pub write: Vec<Built<dyn Writer>>,
    /// Seed of all randomness.
    pub seed: u64,
    /// Whether explanations are kept for the next run with a changed recipe.
    pub parts: bool,
    /// Output folder the recipe asks for.
    pub out: Option<PathBuf>,
}

impl Plan {
    /// Resolves `text`; relative paths start from `folder`. What the recipe's `plugins` bring is
    /// added to `registry` for this plan; loading them **runs their code**.
    ///
    /// # Errors
    /// Every problem of the recipe, each at its place.
    pub fn resolve(
        text: RecipeText,
        folder: &Path,
        registry: &Registry,
        store: &ModelStore,
    ) -> std::result::Result<Self, Box<Problems>> {
        let (file, problems) = RecipeFile::parse_partly(text.merged(), text.defaults());
        let (registry, problems) = with_plugins(registry, file.as_ref(), folder, problems);
        let mut resolver = Resolver { text: text.merged(), registry: &registry, folder, problems };
        let plan = file.and_then(|file| resolver.plan(&file, store));
        match plan {
            Some(parts) if resolver.problems.is_empty() => {
                Ok(parts.into_plan(text, folder, &registry))
            }
            _ => Err(Box::new(report(&text, without_echoes(resolver.problems)))),
        }
    }

    /// What each metric is called in `metrics.csv`: its plugin's name, numbered where the recipe
    /// has it more than once.
    pub fn metric_names(&self) -> Vec<String> {
        let name = |i: usize| {
            let own = &self.metrics[i].name;
            let before = self.metrics[..i].iter().filter(|m| m.name == *own).count();
            if before == 0 { own.clone() } else { format!("{own}_{}", before + 1) }
        };
        (0..self.metrics.len()).map(name).collect()
    }

    /// What the plan will do, for the record: the same for every machine and folder.
    pub fn record(&self) -> Value {
        let list = |parts: Vec<Value>| Value::List(parts);
        Value::Map(facts([
            ("plugins", list(self.plugins.clone())),
            ("model", self.manifest.name.as_str().into()),
            ("backend", self.backend.record()),
            ("preset", self.preset.as_str().into()),
            ("data", self.data.record()),
            ("prepare", list(self.prepare.iter().map(Built::record).collect())),
            (
                "explain",
                list(
                    self.explain
                        .iter()
                        .map(|(n, b)| {
                            Value::Map(facts([
                                ("name", n.as_str().into()),
                                ("explainer", b.record()),
                            ]))
                        })
                        .collect(),
                ),
            ),
            ("check", self.check.as_ref().map(Built::record).into()),
            ("metrics", list(self.metrics.iter().map(Built::record).collect())),
            ("write", list(self.write.iter().map(Built::record).collect())),
            ("seed", Value::Integer(self.seed as i64)),
        ]))
    }
}

/// What stands under a plugin in `plugins` that was not loaded.
const REFUSED: &str = "this plugin is not loaded";

/// The registry with what the recipe's plugins bring.
fn with_plugins(
    registry: &Registry,
    file: Option<&RecipeFile>,
    folder: &Path,
    mut problems: Vec<Problem>,
) -> (Registry, Vec<Problem>) {
    let mut registry = registry.clone();
    for plugin in file.map(|f| f.plugins.as_slice()).unwrap_or_default() {
        let here = folder == Path::new(".");
        let path = if here { PathBuf::from(&plugin.value) } else { folder.join(&plugin.value) };
        if let Err(e) = registry.load(&path) {
            problems.push(
                Problem::new(&e.code, e.message, plugin.span.clone())
                    .with_label(REFUSED)
                    .with_help(e.help),
            );
        }
    }
    (registry, problems)
}

/// Without the names that nobody knows because the plugin that brings them was refused: that is
/// reported already.
fn without_echoes(mut problems: Vec<Problem>) -> Vec<Problem> {
    if problems.iter().any(|p| p.label == REFUSED) {
        problems.retain(|p| p.code != UNKNOWN_PLUGIN);
    }
    problems
}

/// All problems of a recipe, sorted by place.
fn report(text: &RecipeText, mut problems: Vec<Problem>) -> Problems {
    problems.sort_by_key(|p| (p.span.start, p.span.end));
    let n = problems.len();
    let summary =
        format!("recipe `{}` has {n} error{}", text.name(), if n == 1 { "" } else { "s" });
    Problems { summary, each: problems.into_iter().map(|p| text.sourced(p)).collect() }
}

struct Resolver<'a> {
    text: &'a str,
    registry: &'a Registry,
    folder: &'a Path,
    problems: Vec<Problem>,
}

struct Resolved {
    manifest: ModelManifest,
    backend: Built<dyn Backend>,
    preset: String,
    data: Built<dyn Dataset>,
    prepare: Vec<Built<dyn PrepareStep>>,
    explain: Vec<(String, Built<dyn Explainer>)>,
    check: Option<Built<ForwardCheck>>,
    metrics: Vec<Built<dyn Metric>>,
    write: Vec<Built<dyn Writer>>,
    seed: u64,
    parts: bool,
    out: Option<PathBuf>,
}

impl Resolved {
    fn into_plan(self, text: RecipeText, folder: &Path, registry: &Registry) -> Plan {
        let Self {
            manifest,
            backend,
            preset,
            data,
            prepare,
            explain,
            check,
            metrics,
            write,
            seed,
            parts,
            out,
        } = self;
        let plugins = registry.loaded().iter().map(PluginFile::record).collect();
        Plan {
            text,
            folder: folder.to_owned(),
            manifest,
            plugins,
            backend,
            preset,
            data,
            prepare,
            explain,
            check,
            metrics,
            write,
            seed,
            parts,
            out,
        }
    }
}

impl Resolver<'_> {
    fn plan(&mut self, file: &RecipeFile, store: &ModelStore) -> Option<Resolved> {
        let manifest = self.manifest(file, store);
        self.preset(&file.preset);
        let with = BuildContext {
            preset: &file.preset.value,
            ..BuildContext::new(self.registry, self.folder)
        };
        let ask = manifest
            .as_ref()
            .map_or(Ask::NOTHING, |manifest| self.ask(manifest, &file.model.span, &with));
        let with = BuildContext { ask, ..with };
        let backend = self.part::<dyn Backend>(&file.backend.value, file.backend.span.start, &with);
        if let Some(Err(e)) = backend.as_ref().map(|b| b.plugin.check()) {
            self.error_at(e, &file.backend.span);
        }
        let data = self.part::<dyn Dataset>(&file.data.value, file.data.span.start, &with);
        self.files(data.as_ref(), &file.data.span, store);
        let prepare = match (&file.prepare, &manifest) {
            (Some(steps), _) => {
                steps.iter().filter_map(|s| self.part(&s.value, s.span.start, &with)).collect()
            }
            (None, Some(m)) => self.default_prepare(m, &file.model.span, &with),
            (None, None) => Vec::new(),
        };
        self.auxiliary_models(&prepare, &file.model.span, store);
        let explain = file
            .explain
            .iter()
            .filter_map(|(n, s)| Some((n.clone(), self.part(&s.value, s.span.start, &with)?)))
            .collect();
        let check = file.check.as_ref().and_then(|check| self.check(check, &with));
        let metrics =
            file.metrics.iter().filter_map(|s| self.part(&s.value, s.span.start, &with)).collect();
        let write =
            file.write.iter().filter_map(|s| self.part(&s.value, s.span.start, &with)).collect();
        self.repeated_writers(&file.write);
        let out = file.out.as_ref().map(PathBuf::from);
        Some(Resolved {
            manifest: manifest?,
            backend: backend?,
            preset: file.preset.value.clone(),
            data: data?,
            prepare,
            explain,
            check,
            metrics,
            write,
            seed: file.seed,
            parts: file.parts,
            out,
        })
    }

    fn part<T: ?Sized + Contract>(
        &mut self,
        spec: &Spec,
        at: usize,
        with: &BuildContext<'_>,
    ) -> Option<Built<T>> {
        match self.registry.build::<T>(spec, with) {
            Ok(built) => Some(built),
            Err(problems) => {
                self.problems.extend(problems.into_iter().map(|p| p.shifted(at)));
                None
            }
        }
    }

    fn check(
        &mut self,
        spec: &Placed<Spec>,
        with: &BuildContext<'_>,
    ) -> Option<Built<ForwardCheck>> {
        match ForwardCheck::build(&spec.value, with) {
            Ok(built) => {
                if let Err(e) = built.plugin.can_run() {
                    self.error_at(e, &spec.span);
                }
                Some(built)
            }
            Err(problems) => {
                self.problems.extend(problems.into_iter().map(|p| p.shifted(spec.span.start)));
                None
            }
        }
    }

    fn error_at(&mut self, error: Error, span: &std::ops::Range<usize>) {
        self.problems
            .push(Problem::new(&error.code, error.message, span.clone()).with_help(error.help));
    }

    fn manifest(&mut self, file: &RecipeFile, store: &ModelStore) -> Option<ModelManifest> {
        store
            .resolve(&file.model.value, self.folder)
            .map_err(|e| self.error_at(e, &file.model.span))
            .ok()
    }

    /// A preset must be known to some plugin.
    fn preset(&mut self, preset: &Placed<String>) {
        let (name, known) = (preset.value.as_str(), self.registry.presets());
        if name.is_empty() || known.contains(&name) {
            return;
        }
        let message = format!("no plugin knows a preset named `{name}`.");
        self.problems.push(
            Problem::new("fame::recipe::unknown_preset", message, preset.span.clone())
                .with_label("unknown preset")
                .with_help(suggestion(name, &known, "preset")),
        );
    }

    /// What the manifest asks, whose loss must be one. Its text is not part of the recipe, so a
    /// problem in it is shown at the model's name, once: explainers are then built as if it asked
    /// nothing.
    fn ask<'m>(
        &mut self,
        manifest: &'m ModelManifest,
        at: &std::ops::Range<usize>,
        with: &BuildContext<'_>,
    ) -> &'m Ask {
        let Some(loss) = &manifest.ask.loss else { return &manifest.ask };
        let Err(problems) = self.registry.build::<dyn Loss>(loss, with) else {
            return &manifest.ask;
        };
        for p in problems {
            let message =
                format!("`ask.loss` of manifest `{}`, `{loss}`: {}", manifest.name, p.message);
            self.problems.push(Problem::new(&p.code, message, at.clone()).with_help(p.help));
        }
        Ask::NOTHING
    }

    /// The manifest's own prepare steps. Their text is not part of the recipe, so a problem in them
    /// is shown at the model's name.
    fn default_prepare(
        &mut self,
        manifest: &ModelManifest,
        at: &std::ops::Range<usize>,
        with: &BuildContext<'_>,
    ) -> Vec<Built<dyn PrepareStep>> {
        let mut steps = Vec::new();
        for text in &manifest.prepare {
            let built = Spec::from_text(text)
                .map_err(|p| vec![p])
                .and_then(|spec| self.registry.build(&spec, with));
            match built {
                Ok(step) => steps.push(step),
                Err(problems) => {
                    for p in problems {
                        let message = format!(
                            "prepare step `{text}` of manifest `{}`: {}",
                            manifest.name, p.message
                        );
                        self.problems
                            .push(Problem::new(&p.code, message, at.clone()).with_help(p.help));
                    }
                }
            }
        }
        steps
    }

    fn files(
        &mut self,
        data: Option<&Built<dyn Dataset>>,
        span: &std::ops::Range<usize>,
        store: &ModelStore,
    ) {
        for file in data.map(|d| d.plugin.files()).unwrap_or_default() {
            let found = match file.strip_prefix("picture:") {
                Some(name) => store.check_picture(name),
                None if self.folder.join(&file).exists() => Ok(()),
                None => Err(missing_file(&file, self.folder)),
            };
            if let Err(e) = found {
                // Under the file's own name, where the recipe wrote it plainly.
                let quoted = format!("{file:?}");
                let at = self.text[span.clone()]
                    .find(&quoted)
                    .map(|i| span.start + i..span.start + i + quoted.len());
                self.error_at(e, &at.unwrap_or_else(|| span.clone()));
            }
        }
    }

    /// Two writers of one name would write the same files.
    fn repeated_writers(&mut self, writers: &[Placed<Spec>]) {
        for (i, w) in writers.iter().enumerate() {
            if writers[..i].iter().any(|earlier| earlier.value.name == w.value.name) {
                let message = format!(
                    "writer `{}` is given twice, and both would write the same files.",
                    w.value.name
                );
                self.problems.push(Problem::new(
                    "fame::recipe::repeated_writer",
                    message,
                    w.span.clone(),
                ));
            }
        }
    }

    fn auxiliary_models(
        &mut self,
        prepare: &[Built<dyn PrepareStep>],
        at: &std::ops::Range<usize>,
        store: &ModelStore,
    ) {
        for step in prepare {
            for model in step.plugin.models() {
                if let Err(e) = store.manifest(&model) {
                    self.error_at(e.at(format!("prepare step `{}`", step.name)), at);
                }
            }
        }
    }
}

fn missing_file(file: &str, folder: &Path) -> Error {
    let path = folder.join(file);
    let error =
        Error::new("fame::data::missing_file", format!("there is no file `{}`.", path.display()));
    let otherwise = || {
        "paths are relative to the recipe; `picture:NAME` names a picture that fame can fetch"
            .to_owned()
    };
    error.with_help(near_file(&path).unwrap_or_else(otherwise))
}
