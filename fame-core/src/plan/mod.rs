//! The plan: a recipe with every name resolved and every parameter checked, before anything is
//! computed.
//!
//! Resolving goes through the recipe once and collects problems instead of stopping:
//!
//! 1. The recipe is cut into its fields; each is read by itself.
//! 2. Its plugin libraries are loaded, so that the registry knows their names. A library that is
//!    refused is one problem; the names that only it knows are not reported as well.
//! 3. The model's name becomes a manifest. What is wrong with a manifest is shown in the manifest's
//!    own text, behind the recipe's problems.
//! 4. Every spec becomes a running part, its parameters checked, nested specs included.
//! 5. Files, auxiliary models and the backend are asked for, without reading or starting them.
//!
//! Only a recipe without a problem becomes a [`Plan`].

mod files;
mod names;
mod problems;
mod resolve;

use std::path::{Path, PathBuf};

use crate::{
    contract::{Backend, Check, Dataset, Explainer, Metric, Operators, PrepareStep, Writer},
    data::{Value, facts},
    recipe::{RecipeFile, RecipeText},
    registry::{Built, Registry},
    store::{ModelManifest, ModelStore},
    text::Problems,
};
use problems::{report, without_echoes};
use resolve::{Resolver, with_plugins};

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
    /// The engine that runs the model.
    pub backend: Built<dyn Backend>,
    /// The operators of plugins that models are loaded with.
    pub operators: Operators,
    /// The name of the published form that defaults follow; empty for none.
    pub preset: String,
    /// The source of the samples.
    pub data: Built<dyn Dataset>,
    /// From decoded picture to network input.
    pub prepare: Vec<Built<dyn PrepareStep>>,
    /// Explainers by the recipe's name.
    pub explain: Vec<(String, Built<dyn Explainer>)>,
    /// The check that recomputes a part of every explanation, if the recipe has one.
    pub check: Option<Built<dyn Check>>,
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
        let mut resolver = Resolver::new(&text, &registry, folder, problems);
        let plan = file.and_then(|file| resolver.plan(&file, store));
        let (problems, elsewhere) = (resolver.problems, resolver.elsewhere);
        match plan {
            Some(plan) if problems.is_empty() => Ok(plan),
            _ => Err(Box::new(report(&text, without_echoes(problems), elsewhere))),
        }
    }

    /// What each metric is called in `metrics.csv` and in tables: its plugin's name, and where the
    /// recipe has it more than once, behind it the parameters that tell them apart.
    pub fn metric_names(&self) -> Vec<String> {
        let parts = self.metrics.iter().map(|m| (m.name.as_str(), &m.parameters));
        names::of_parts(&parts.collect::<Vec<_>>())
    }

    /// What of the plan can be done and proves nothing, in sentences: for whoever runs it, and for
    /// the record.
    pub fn doubts(&self) -> Vec<String> {
        let Some(check) = &self.check else { return Vec::new() };
        let doubts = check.plugin.doubts(&self.backend.record()).into_iter();
        doubts.map(|doubt| format!("`{}` {doubt}", check.name)).collect()
    }

    /// What the plan will do, for the record: the same for every machine and folder.
    pub fn record(&self) -> Value {
        let list = |parts: Vec<Value>| Value::List(parts);
        let mut record = facts([
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
        ]);
        if !self.operators.is_empty() {
            let served = self.operators.iter();
            let named = served.map(|(plugin, id)| (plugin.to_owned(), id.to_string().into()));
            record.insert("operators".to_owned(), Value::Map(named.collect()));
        }
        Value::Map(record)
    }
}
