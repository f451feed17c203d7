//! The resolution of a recipe: every name looked up, every parameter checked.

use std::{
    ops::Range,
    path::{Path, PathBuf},
};

use super::{Plan, problems::REFUSED};
use crate::{
    Error,
    contract::{Backend, Check, Dataset, Loss, Metric, Operators, PrepareStep},
    plugin,
    recipe::{Placed, RecipeFile, RecipeText},
    registry::{BuildContext, Built, Contract, Registry},
    store::{Ask, ModelManifest, ModelStore},
    text::{Problem, SourcedProblem, Spec, scan, suggestion, value_at},
};

/// The registry with what the recipe's plugins bring.
pub(super) fn with_plugins(
    registry: &Registry,
    file: Option<&RecipeFile>,
    folder: &Path,
    mut problems: Vec<Problem>,
) -> (Registry, Vec<Problem>) {
    let mut registry = registry.clone();
    for library in file.map(|f| f.plugins.as_slice()).unwrap_or_default() {
        let here = folder == Path::new(".");
        let path = if here { PathBuf::from(&library.value) } else { folder.join(&library.value) };
        if let Err(e) = plugin::load(&mut registry, &path) {
            problems.push(
                Problem::new(&e.code, e.message, library.span.clone())
                    .with_label(REFUSED)
                    .with_help(e.help),
            );
        }
    }
    (registry, problems)
}

/// A recipe while its names are resolved, and the problems found so far.
pub(super) struct Resolver<'a> {
    pub(super) text: &'a RecipeText,
    registry: &'a Registry,
    pub(super) folder: &'a Path,
    /// Problems of the recipe.
    pub(super) problems: Vec<Problem>,
    /// Problems of the manifests that it names.
    pub(super) elsewhere: Vec<SourcedProblem>,
}

impl<'a> Resolver<'a> {
    /// A resolver of the recipe `text` in `folder`, which has these problems already.
    pub(super) fn new(
        text: &'a RecipeText,
        registry: &'a Registry,
        folder: &'a Path,
        problems: Vec<Problem>,
    ) -> Self {
        Self { text, registry, folder, problems, elsewhere: Vec::new() }
    }

    /// The plan of the recipe; `None` when something that a plan needs cannot be resolved.
    pub(super) fn plan(&mut self, file: &RecipeFile, store: &ModelStore) -> Option<Plan> {
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
        // No recipe names an operator: what is wrong with one is shown at what needs it.
        let operators = self.registry.operators(&with).unwrap_or_else(|e| {
            self.error_at(e, &file.model.span);
            Operators::default()
        });
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
        let metrics = file.metrics.iter().filter_map(|s| self.metric(s, file, &with)).collect();
        let write =
            file.write.iter().filter_map(|s| self.part(&s.value, s.span.start, &with)).collect();
        self.repeated_writers(&file.write);
        let out = file.out.as_ref().map(PathBuf::from);
        Some(Plan {
            text: self.text.clone(),
            folder: self.folder.to_owned(),
            manifest: manifest?,
            plugins: {
                let libraries = self.registry.libraries().iter();
                libraries.map(|library| library.record.clone()).collect()
            },
            backend: backend?,
            operators,
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

    /// The plugin that `spec` names, built; `at` is where the spec starts in the recipe. Its
    /// problems are noted.
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

    /// A metric of the recipe, built. The explainers that it names must be the recipe's.
    fn metric(
        &mut self,
        spec: &Placed<Spec>,
        file: &RecipeFile,
        with: &BuildContext<'_>,
    ) -> Option<Built<dyn Metric>> {
        let metric = self.part::<dyn Metric>(&spec.value, spec.span.start, with)?;
        let text = self.text.merged();
        // Also those whose own spec has a mistake: that is reported already.
        let written = value_at(text, 0, "explain")
            .and_then(|explain| scan::entries(text, explain.start).ok())
            .unwrap_or_default();
        let resolved = file.explain.iter().map(|(name, _)| name.as_str());
        let mut known: Vec<&str> = resolved.collect();
        for entry in &written {
            if !known.contains(&entry.key.as_str()) {
                known.push(&entry.key);
            }
        }
        for name in metric.plugin.named_explainers() {
            if known.contains(&name.as_str()) {
                continue;
            }
            let quoted = format!("{name:?}");
            let within = text.get(spec.span.clone()).and_then(|own| own.find(&quoted));
            let place = within.map_or(spec.span.clone(), |at| {
                let start = spec.span.start + at;
                start..start + quoted.len()
            });
            let message = format!(
                "metric `{}` names the explainer `{name}`, which the recipe has not.",
                metric.name
            );
            self.problems.push(
                Problem::new("fame::recipe::unknown_explainer", message, place)
                    .with_label("unknown explainer")
                    .with_help(suggestion(&name, &known, "explainer")),
            );
        }
        Some(metric)
    }

    /// The recipe's check, built, if it can run on this machine.
    fn check(&mut self, spec: &Placed<Spec>, with: &BuildContext<'_>) -> Option<Built<dyn Check>> {
        let check = self.part::<dyn Check>(&spec.value, spec.span.start, with)?;
        if let Err(e) = check.plugin.can_run() {
            self.error_at(e, &spec.span);
        }
        Some(check)
    }

    /// Notes `error` at the characters that brought it about. What is wrong in another text is
    /// shown there.
    pub(super) fn error_at(&mut self, error: Error, span: &Range<usize>) {
        let message =
            if error.problems.is_empty() { error.message } else { format!("{}.", error.summary()) };
        self.problems.push(Problem::new(&error.code, message, span.clone()).with_help(error.help));
        self.elsewhere.extend(error.problems);
    }

    /// The manifest that the recipe's `model` means.
    fn manifest(&mut self, file: &RecipeFile, store: &ModelStore) -> Option<ModelManifest> {
        store
            .resolve(&file.model.value, self.folder)
            .map_err(|e| self.error_at(e, &file.model.span))
            .ok()
    }

    /// Notes a preset that no plugin knows.
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

    /// The question of the manifest, whose loss must be one. Its text is not part of the recipe, so
    /// a problem in it is shown at the model's name, once: explainers are then built as if the
    /// manifest asked nothing.
    fn ask<'m>(
        &mut self,
        manifest: &'m ModelManifest,
        at: &Range<usize>,
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
        at: &Range<usize>,
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
}
