//! What every command starts from: the registry, the store, the recipe.

use std::path::{Path, PathBuf};

use fame_core::{
    ErrorKind, Plan, Result,
    contract::{Backend, Operators},
    plugin,
    recipe::RecipeText,
    registry::{BuildContext, Built, Contract, Registry},
    run::{StopHandle, recipe_folder},
    store::ModelStore,
    text::{Problems, SourcedProblem, Spec},
};

use crate::{
    arguments::RecipeArgs,
    commands::{Failure, recipes},
};

mod builtin {
    include!(concat!(env!("OUT_DIR"), "/builtin_models.rs"));
}

/// Global choices of the command line.
pub(crate) struct Setup {
    pub(crate) models: Vec<PathBuf>,
    pub(crate) plugins: Vec<PathBuf>,
    pub(crate) trust_plugin: bool,
    pub(crate) trust_manifest: bool,
    /// The memory budget in bytes, where one was given.
    pub(crate) memory: Option<u64>,
    pub(crate) json: bool,
    /// The handle by which a signal stops the run.
    pub(crate) stop: StopHandle,
}

impl Setup {
    /// Everything built in, and what the libraries of --plugin bring.
    pub(crate) fn registry(&self) -> Result<Registry> {
        let mut registry = Registry::builtin()?.trusting(self.trust_plugin);
        self.plugins.iter().try_for_each(|file| plugin::load(&mut registry, file))?;
        Ok(registry)
    }

    pub(crate) fn store(&self) -> Result<ModelStore> {
        let with_folders =
            self.models.iter().try_fold(ModelStore::from_env()?, |store, folder| {
                if folder.is_dir() {
                    return Ok(store.with_folder(folder));
                }
                Err(fame_core::Error::new(
                    "fame::model::no_folder",
                    format!("there is no folder `{}` (--models).", folder.display()),
                ))
            })?;
        Ok(with_folders
            .with_built_in(builtin::FILES)
            .with_built_in_models(builtin::MODELS)
            .trusting_manifests(self.trust_manifest))
    }

    pub(crate) fn plan(
        &self,
        args: &RecipeArgs,
    ) -> std::result::Result<(Plan, ModelStore), Failure> {
        let mut text = recipe_text(&args.recipe)?.with_defaults(fame_plugins::RECIPE_DEFAULTS);
        let refused: Vec<SourcedProblem> = args
            .set
            .iter()
            .filter_map(|assignment| text.set(assignment).err().map(|p| *p))
            .collect();
        if !refused.is_empty() {
            let summary = format!(
                "{} override{} cannot be applied",
                refused.len(),
                if refused.len() == 1 { "" } else { "s" }
            );
            return Err(Failure::Recipe(Box::new(Problems { summary, each: refused })));
        }
        let (registry, store) = (self.registry()?, self.store()?);
        let plan = Plan::resolve(text, &recipe_folder(&args.recipe), &registry, &store)?;
        Ok((plan, store))
    }

    /// Builds a part named on the command line.
    pub(crate) fn part<T: ?Sized + Contract>(
        &self,
        text: &str,
    ) -> std::result::Result<Built<T>, Failure> {
        let registry = self.registry()?;
        let with = BuildContext::new(&registry, Path::new("."));
        let built = Spec::from_text(text)
            .map_err(|p| vec![p])
            .and_then(|spec| registry.build::<T>(&spec, &with));
        built.map_err(|problems| {
            let each = problems
                .into_iter()
                .map(|p| SourcedProblem::new(p, "command line", text))
                .collect();
            Failure::Recipe(Box::new(Problems {
                summary: format!("`{text}` cannot be used"),
                each,
            }))
        })
    }

    /// The operators of plugins that models are loaded with.
    pub(crate) fn operators(&self) -> Result<Operators> {
        let registry = self.registry()?;
        registry.operators(&BuildContext::new(&registry, Path::new(".")))
    }

    pub(crate) fn backend(&self, text: &str) -> std::result::Result<Built<dyn Backend>, Failure> {
        let backend = self.part::<dyn Backend>(text)?;
        backend.plugin.check()?;
        Ok(backend)
    }
}

/// What stands behind the name of a recipe that came with the program, in place of its path.
pub(crate) const BUILT_IN: &str = " (built in)";

/// The recipe at `path`, or, where nothing lies there, the one of that name that came with the
/// program.
fn recipe_text(path: &Path) -> Result<RecipeText> {
    match recipes::called(path).filter(|_| !path.exists()) {
        Some((name, text)) => Ok(RecipeText::new(format!("{name}{BUILT_IN}"), text)),
        None => RecipeText::read(path).map_err(|mut error| {
            if !path.exists() {
                error.help = Some(recipes::instead(path));
                error.kind = ErrorKind::WrongRequest;
            }
            error
        }),
    }
}
