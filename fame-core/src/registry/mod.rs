//! The registry: every kind of plugin by name, and the way from recipe text to a running part.
//!
//! A plugin is a struct of parameters that serde can read. It implements [`Plugin`] for the
//! contract it serves and is registered with one line:
//!
//! ```
//! use fame_core::{Result, Target, TargetRequest, Tensor, contract::{Evaluation, Loss, per_row}, registry::{BuildContext, Parts, Plugin, Registry}, text::Problem};
//! use schemars::JsonSchema;
//! use serde::{Deserialize, Serialize};
//!
//! /// Descends `weight` times the mean of the target layer.
//! #[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
//! #[serde(deny_unknown_fields, default)]
//! struct Mean {
//!     /// Multiplies the value; any number above 0.
//!     weight: f32,
//! }
//!
//! impl Default for Mean {
//!     fn default() -> Self {
//!         Self { weight: 1.0 }
//!     }
//! }
//!
//! impl Plugin<dyn Loss> for Mean {
//!     const NAME: &'static str = "Mean";
//!     const SUMMARY: &'static str = "The mean of the target layer";
//!     const EXAMPLE: &'static str = "Mean(weight: 2.0)";
//!
//!     fn resolve(&mut self, _: &BuildContext<'_>, parts: &mut Parts) {
//!         parts.check("weight", self.weight > 0.0, "must be above 0");
//!     }
//!
//!     fn build(self, _: &BuildContext<'_>, _: &mut Parts) -> Option<Box<dyn Loss>> {
//!         Some(Box::new(self))
//!     }
//! }
//!
//! impl Loss for Mean {
//!     fn targets(&self, _: &TargetRequest<'_>) -> Result<Vec<Target>> {
//!         Ok(vec![Target::unnamed()])
//!     }
//!     fn evaluate(&self, outputs: &[Tensor], targets: &[&Target]) -> Result<Evaluation> {
//!         per_row(outputs, targets, |out, _, grad| {
//!             let n = out[0].len() as f32;
//!             grad[0].fill(self.weight / n);
//!             Ok(self.weight * out[0].iter().sum::<f32>() / n)
//!         })
//!     }
//! }
//!
//! fame_core::register!(Loss: Mean);
//!
//! let registry = Registry::builtin().unwrap();
//! assert!(registry.names(fame_core::registry::Kind::Loss).contains(&"Mean"));
//! ```
//!
//! A default that only the preset or the model's manifest knows is no constant: then the parameters
//! as a recipe types them are another type ([`Parameters::Typed`]), and
//! [`parameters!`](crate::parameters) writes both from one list.
//!
//! `inventory` collects the registrations at link time. Nothing reads that list behind your back:
//! [`Registry::builtin`] makes a value from it, and the value is handed to whoever parses.

pub(crate) mod guard;
mod parameters;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};

use crate::plugin::PluginFile;
use guard::{Guard, Who, caught};

use crate::{
    Error, Result,
    contract::{
        Backend, Dataset, Explainer, Loss, MapStep, Metric, Perturbation, PrepareStep, Writer,
    },
    data::Value,
    store::Ask,
    text::{Problem, Spec, parse, scan, suggestion},
};

/// What a plugin is for. Each kind has one contract in [`crate::contract`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// [`Backend`]: runs networks and pulls gradients back.
    Backend,
    /// [`Dataset`]: where samples come from.
    Dataset,
    /// [`PrepareStep`]: from a decoded picture to network input.
    Prepare,
    /// [`Explainer`]: from samples to maps.
    Explainer,
    /// [`Loss`]: the scalar to descend.
    Loss,
    /// [`Perturbation`]: how a picture walks.
    Perturbation,
    /// [`MapStep`]: from what moved to a finished map.
    Map,
    /// [`Metric`]: numbers about maps.
    Metric,
    /// [`Writer`]: files about items.
    Writer,
}

impl Kind {
    /// Every kind, in the order of the data.
    pub const ALL: [Kind; 9] = [
        Kind::Backend,
        Kind::Dataset,
        Kind::Prepare,
        Kind::Explainer,
        Kind::Loss,
        Kind::Perturbation,
        Kind::Map,
        Kind::Metric,
        Kind::Writer,
    ];

    /// The word for it in recipes' messages and on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Backend => "backend",
            Kind::Dataset => "dataset",
            Kind::Prepare => "prepare",
            Kind::Explainer => "explainer",
            Kind::Loss => "loss",
            Kind::Perturbation => "perturbation",
            Kind::Map => "map",
            Kind::Metric => "metric",
            Kind::Writer => "writer",
        }
    }

    /// As a noun in a sentence.
    pub fn noun(self) -> &'static str {
        match self {
            Kind::Prepare => "prepare step",
            Kind::Map => "map step",
            other => other.word(),
        }
    }
}

/// A built part of a plan: the plugin, and the parameters that made it, defaults filled in.
pub struct Built<T: ?Sized> {
    /// The name in the recipe.
    pub name: String,
    /// The running part.
    pub plugin: Box<T>,
    /// Every parameter as resolved, for the record.
    pub parameters: Value,
}

impl<T: ?Sized> Built<T> {
    /// Name and parameters, for the record.
    pub fn record(&self) -> Value {
        Value::Map([(self.name.clone(), self.parameters.clone())].into())
    }
}

/// A plugin's parameters, and how they become a running part. See the [module docs](self).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no plugin for this kind: it does not implement `Plugin<{T}>`",
    label = "this type does not implement `fame_core::registry::Plugin<{T}>`",
    note = "`register!(Loss: MyLoss)` needs `impl Plugin<dyn Loss> for MyLoss`; the contract of each kind is in `fame_core::contract`"
)]
pub trait Plugin<T: ?Sized>: Parameters {
    /// The name in recipes: UpperCamel, an identifier.
    const NAME: &'static str;
    /// One line.
    const SUMMARY: &'static str;
    /// A spec that parses and builds; a generic test makes sure.
    const EXAMPLE: &'static str;
    /// The paper or code that defines it; empty when it is our own.
    const REFERENCE: &'static str = "";

    /// The presets that it knows ([`BuildContext::preset`]); a recipe may ask for any that some
    /// plugin knows.
    const PRESETS: &'static [&'static str] = &[];

    /// Reports parameters out of range through `parts`. What stands in `self` afterwards is what
    /// the record shows and what is built.
    fn resolve(&mut self, with: &BuildContext<'_>, parts: &mut Parts) {
        let _ = (with, parts);
    }

    /// Makes the running part. Nested specs are built with [`Parts::build`], which also records
    /// them. `None` when something was reported that makes building pointless.
    fn build(self, with: &BuildContext<'_>, parts: &mut Parts) -> Option<Box<T>>;
}

/// A plugin's parameters with nothing left open: what the record shows, and what is built.
///
/// Whatever serde can read is its own [`Typed`](Parameters::Typed): its defaults are constants.
/// Parameters with defaults that depend on the preset, on the model's manifest or on one another
/// are read as another type, and filled in from there.
pub trait Parameters: Serialize + Sized {
    /// The parameters as a recipe types them.
    type Typed: DeserializeOwned + JsonSchema;

    /// Fills in what the recipe left open. `None` when something was reported through `parts`
    /// without which there is nothing to fill in.
    fn fill(typed: Self::Typed, with: &BuildContext<'_>, parts: &mut Parts) -> Option<Self>;
}

impl<P: DeserializeOwned + JsonSchema + Serialize> Parameters for P {
    type Typed = Self;

    fn fill(typed: Self, _: &BuildContext<'_>, _: &mut Parts) -> Option<Self> {
        Some(typed)
    }
}

/// What building may look at.
#[derive(Clone, Copy)]
pub struct BuildContext<'a> {
    /// All known plugins.
    pub registry: &'a Registry,
    /// The name of the published form that defaults follow; empty for each plugin's own. A plugin
    /// takes a preset that it does not know for none.
    pub preset: &'a str,
    /// What the explained model is asked where a recipe does not say.
    pub ask: &'a Ask,
    /// The folder relative paths start from: the recipe's.
    pub folder: &'a Path,
}

impl<'a> BuildContext<'a> {
    /// No preset, and a model that says nothing about itself.
    pub fn new(registry: &'a Registry, folder: &'a Path) -> Self {
        Self { registry, preset: "", ask: Ask::NOTHING, folder }
    }
}

/// Collects problems and nested parts while a plugin is being built.
pub struct Parts {
    body: String,
    problems: Vec<Problem>,
    nested: Vec<(String, Value)>,
}

impl Parts {
    /// Nothing yet, for a plugin whose parameters stand in `body`.
    pub(crate) fn new(body: &str) -> Self {
        Self { body: body.to_owned(), problems: Vec::new(), nested: Vec::new() }
    }

    /// The problems reported so far.
    pub(crate) fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Reports parameter `field` unless `good`: "`step` must be above 0."
    pub fn check(&mut self, field: &str, good: bool, must: &str) {
        if !good {
            self.report(field, format!("`{field}` {must}."));
        }
    }

    /// Reports a problem with parameter `field`.
    pub fn report(&mut self, field: &str, message: impl Into<String>) {
        let span = scan::entries(&self.body, 0)
            .ok()
            .and_then(|all| all.into_iter().find(|e| e.key == field))
            .map_or(0..self.body.len(), |e| e.value_span);
        self.problems.push(
            Problem::new("fame::recipe::out_of_range", message, span).with_label("this value"),
        );
    }

    /// Builds the nested `spec` that stands in parameter `field`, with `with` (whose preset may
    /// differ from the outer one). `None` when it has problems; they are reported at their places.
    pub fn build<T: ?Sized + Contract>(
        &mut self,
        field: &str,
        spec: &Spec,
        with: &BuildContext<'_>,
    ) -> Option<Built<T>> {
        match with.registry.build::<T>(spec, with) {
            Ok(built) => {
                self.nested.push((field.to_owned(), built.record()));
                Some(built)
            }
            Err(problems) => {
                self.problems.extend(problems);
                None
            }
        }
    }

    /// Builds a list of nested specs.
    pub fn build_all<T: ?Sized + Contract>(
        &mut self,
        field: &str,
        specs: &[Spec],
        with: &BuildContext<'_>,
    ) -> Vec<Built<T>> {
        let mut records = Vec::new();
        let mut built = Vec::new();
        for spec in specs {
            match with.registry.build::<T>(spec, with) {
                Ok(b) => {
                    records.push(b.record());
                    built.push(b);
                }
                Err(problems) => self.problems.extend(problems),
            }
        }
        self.nested.push((field.to_owned(), Value::List(records)));
        built
    }

    /// Replaces what the record says about parameter `field`.
    pub fn record(&mut self, field: &str, value: Value) {
        self.nested.push((field.to_owned(), value));
    }
}

/// Parses, resolves, checks and builds `P`: from text to a running part.
pub(crate) fn assemble<T: ?Sized, P: Plugin<T>>(
    body: &str,
    with: &BuildContext<'_>,
) -> std::result::Result<Built<T>, Vec<Problem>> {
    let typed: P::Typed = parse(body).map_err(|p| vec![p])?;
    let mut parts = Parts::new(body);
    // Building on top of reported problems would only repeat them, but nested specs have news of
    // their own.
    let made = P::fill(typed, with, &mut parts).and_then(|mut parameters| {
        parameters.resolve(with, &mut parts);
        let record = Value::of(&parameters);
        Some((record, parameters.build(with, &mut parts)?))
    });
    let (true, Some((mut record, plugin))) = (parts.problems.is_empty(), made) else {
        if parts.problems.is_empty() {
            parts.report(
                "",
                format!("`{}` was not built and did not say why: a bug in the plugin.", P::NAME),
            );
        }
        return Err(parts.problems);
    };
    if let Value::Map(map) = &mut record {
        map.extend(parts.nested);
    }
    Ok(Built { name: P::NAME.to_owned(), plugin, parameters: record })
}

/// The factory behind every registration: builds `P` and guards it. It is generic, so it is
/// compiled into the crate that registers `P`: that is where panics must be caught.
fn build<T: ?Sized + Contract, P: Plugin<T>>(
    origin: &'static str,
    body: &str,
    with: &BuildContext<'_>,
) -> std::result::Result<Built<T>, Vec<Problem>> {
    let who = Who { noun: T::KIND.noun(), name: P::NAME, origin };
    let problem = |e: Error| {
        vec![
            Problem::new(&e.code, e.message, 0..body.len())
                .with_label("these parameters")
                .with_help(e.help),
        ]
    };
    let built = caught(|| assemble::<T, P>(body, with))
        .map_err(|panic| problem(panic.error(who, "in its factory")))??;
    let Built { name, plugin, parameters } = built;
    Ok(Built { name, plugin: T::guarded(who, plugin).map_err(problem)?, parameters })
}

/// The JSON schema of the parameters of `P`, as text.
fn schema<T: ?Sized + Contract, P: Plugin<T>>(origin: &'static str) -> Result<String> {
    let who = Who { noun: T::KIND.noun(), name: P::NAME, origin };
    let text = caught(|| serde_json::to_string(&schemars::schema_for!(P::Typed)))
        .map_err(|panic| panic.error(who, "in its schema"))?;
    text.map_err(|e| Error::bug(format!("{who} has a schema that is no JSON: {e}.")))
}

/// Builds a part from its origin and the text of its parameters.
type BuildFn<T> =
    fn(&'static str, &str, &BuildContext<'_>) -> std::result::Result<Built<T>, Vec<Problem>>;

/// One plugin as registered. Made by [`crate::register!`] and by nothing else: its factory guards
/// what it builds.
#[derive(Clone, Copy)]
pub struct Registration {
    name: &'static str,
    summary: &'static str,
    example: &'static str,
    reference: &'static str,
    presets: &'static [&'static str],
    origin: &'static str,
    schema: fn(&'static str) -> Result<String>,
    factory: Factory,
}

impl Registration {
    /// The registration of `P`, from the crate and version `origin`.
    #[doc(hidden)]
    pub const fn of<T: ?Sized + FactoryOf<P>, P: Plugin<T>>(origin: &'static str) -> Self {
        Self {
            name: P::NAME,
            summary: P::SUMMARY,
            example: P::EXAMPLE,
            reference: P::REFERENCE,
            presets: P::PRESETS,
            origin,
            schema: schema::<T, P>,
            factory: T::FACTORY,
        }
    }

    /// What it is for.
    pub fn kind(&self) -> Kind {
        self.factory.kind()
    }

    /// The name in recipes.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// One line.
    pub fn summary(&self) -> &'static str {
        self.summary
    }

    /// A spec that parses and builds.
    pub fn example(&self) -> &'static str {
        self.example
    }

    /// The paper or code that defines it; empty when it is the crate's own.
    pub fn reference(&self) -> &'static str {
        self.reference
    }

    /// The presets that it knows.
    pub fn presets(&self) -> &'static [&'static str] {
        self.presets
    }

    /// Crate and version it comes from, and the file if it was loaded from one.
    pub fn origin(&self) -> &'static str {
        self.origin
    }

    /// The JSON schema of its parameters, as text.
    ///
    /// # Errors
    /// When the plugin panics while it is asked.
    pub fn schema(&self) -> Result<String> {
        (self.schema)(self.origin)
    }

    /// The same from elsewhere.
    pub(crate) fn from(mut self, origin: &'static str) -> Self {
        self.origin = origin;
        self
    }
}

/// A contract that plugins can serve: `dyn Loss`, `dyn Backend`, …; each has its [`Kind`].
pub trait Contract: Guard {
    /// Its kind.
    const KIND: Kind;
    /// The build function, if `factory` builds this contract.
    #[doc(hidden)]
    fn of(factory: &Factory) -> Option<BuildFn<Self>>;
}

/// A contract, with the factory that builds plugin `P` for it.
#[doc(hidden)]
pub trait FactoryOf<P>: Contract {
    /// The factory.
    const FACTORY: Factory;
}

macro_rules! contracts {
    ($($kind:ident => $contract:ident),* $(,)?) => {
        /// A build function, by contract. Only this module makes one.
        #[doc(hidden)]
        #[derive(Clone, Copy)]
        pub struct Factory(Makes);

        #[derive(Clone, Copy)]
        enum Makes {
            $($kind(BuildFn<dyn $contract>),)*
        }

        impl Factory {
            fn kind(&self) -> Kind {
                match self.0 { $(Makes::$kind(_) => Kind::$kind,)* }
            }

            /// Builds and drops: whether `body` is acceptable.
            fn try_build(&self, origin: &'static str, body: &str, with: &BuildContext<'_>) -> std::result::Result<(), Vec<Problem>> {
                match self.0 { $(Makes::$kind(f) => f(origin, body, with).map(|_| ()),)* }
            }
        }

        $(
            impl Contract for dyn $contract {
                const KIND: Kind = Kind::$kind;
                fn of(factory: &Factory) -> Option<BuildFn<Self>> {
                    match factory.0 { Makes::$kind(f) => Some(f), _ => None }
                }
            }

            impl<P: Plugin<dyn $contract>> FactoryOf<P> for dyn $contract {
                const FACTORY: Factory = Factory(Makes::$kind(build::<dyn $contract, P>));
            }
        )*
    };
}

contracts! {
    Backend => Backend, Dataset => Dataset, Prepare => PrepareStep, Explainer => Explainer, Loss => Loss,
    Perturbation => Perturbation, Map => MapStep, Metric => Metric, Writer => Writer,
}

inventory::collect!(Registration);

/// Registers a plugin: `register!(Loss: Similarity);`. The first word is a variant of [`Kind`]; the
/// type implements [`Plugin`] for that kind's contract. It serves both ways in: a binary that links
/// the crate finds the plugin, and [`export_plugin!`](crate::export_plugin) hands it over when the
/// crate is loaded.
#[macro_export]
macro_rules! register {
    (# Backend: $plugin:ty) => { $crate::register!(@ Backend, $plugin) };
    (# Dataset: $plugin:ty) => { $crate::register!(@ Dataset, $plugin) };
    (# Prepare: $plugin:ty) => { $crate::register!(@ PrepareStep, $plugin) };
    (# Explainer: $plugin:ty) => { $crate::register!(@ Explainer, $plugin) };
    (# Loss: $plugin:ty) => { $crate::register!(@ Loss, $plugin) };
    (# Perturbation: $plugin:ty) => { $crate::register!(@ Perturbation, $plugin) };
    (# Map: $plugin:ty) => { $crate::register!(@ MapStep, $plugin) };
    (# Metric: $plugin:ty) => { $crate::register!(@ Metric, $plugin) };
    (# Writer: $plugin:ty) => { $crate::register!(@ Writer, $plugin) };
    (# $kind:ident: $plugin:ty) => {
        compile_error!(concat!(
            "`", stringify!($kind), "` is no kind of plugin. ",
            "The kinds: Backend, Dataset, Prepare, Explainer, Loss, Perturbation, Map, Metric, Writer."
        ))
    };
    (@ $contract:ident, $plugin:ty) => {
        $crate::registry::Registration::of::<dyn $crate::contract::$contract, $plugin>(concat!(
            env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")
        ))
    };
    ($kind:ident: $plugin:ty $(,)?) => {
        $crate::registry::inventory::submit! { $crate::register!(# $kind: $plugin) }
    };
    ($($other:tt)*) => {
        compile_error!("a plugin is registered as `fame_core::register!(Loss: MyLoss);`: one kind, a colon, one type");
    };
}

/// The code of a name that no plugin has.
pub(crate) const UNKNOWN_PLUGIN: &str = "fame::recipe::unknown_plugin";

/// A plugin that this program could have had but was built without: a recipe that names it is told
/// how to get it.
pub struct Absent {
    /// What it would be.
    pub kind: Kind,
    /// Its name in recipes.
    pub name: &'static str,
    /// Why it is not there and how to get it, as an error's help.
    pub way: &'static str,
}

inventory::collect!(Absent);

pub use inventory;

/// All known plugins, by kind and name.
#[derive(Clone, Default)]
pub struct Registry {
    entries: BTreeMap<(Kind, &'static str), Registration>,
    absent: BTreeMap<(Kind, &'static str), &'static str>,
    loaded: Vec<PluginFile>,
    trusting: bool,
}

impl Registry {
    /// The plugins linked into this program.
    ///
    /// # Errors
    /// When two of a kind share a name; both origins are named.
    pub fn builtin() -> Result<Self> {
        let mut registry = Self::default();
        for registration in inventory::iter::<Registration> {
            registry.add(*registration)?;
        }
        registry.absent =
            inventory::iter::<Absent>.into_iter().map(|a| ((a.kind, a.name), a.way)).collect();
        Ok(registry)
    }

    /// Lets [`Registry::load`] take plugins from anywhere: whoever they belong to, and whoever can
    /// write them.
    #[must_use]
    pub fn trusting(mut self, trusting: bool) -> Self {
        self.trusting = trusting;
        self
    }

    /// Loads the plugins in the shared library at `path`: **runs its code.** A file that is loaded
    /// already is left alone. See [`crate::plugin`].
    ///
    /// # Errors
    /// The file cannot be trusted, is no plugin, was built by another compiler or against another
    /// fame-core, or brings a name that is taken. Nothing is added then.
    pub fn load(&mut self, path: &Path) -> Result<()> {
        let file = PluginFile::read(path)?;
        if self.loaded.iter().any(|known| known.real == file.real) {
            return Ok(());
        }
        if !self.trusting {
            file.check_place()?;
        }
        let mut with_new = self.clone();
        file.open()?.into_iter().try_for_each(|registration| with_new.add(registration))?;
        with_new.loaded.push(file);
        *self = with_new;
        Ok(())
    }

    /// The files that plugins were loaded from, in the order of loading.
    pub fn loaded(&self) -> &[PluginFile] {
        &self.loaded
    }

    /// Adds one plugin.
    ///
    /// # Errors
    /// When its kind already has one of that name.
    pub fn add(&mut self, new: Registration) -> Result<()> {
        let key = (new.kind(), new.name);
        if let Some(old) = self.entries.get(&key) {
            return Err(Error::new(
                "fame::registry::duplicate",
                format!(
                    "two plugins are called {} `{}`: one from {}, one from {}.",
                    key.0.noun(),
                    new.name,
                    old.origin,
                    new.origin
                ),
            )
            .with_help("Rename one of them, or load only one."));
        }
        self.entries.insert(key, new);
        Ok(())
    }

    /// Every registration, sorted by kind and name.
    pub fn iter(&self) -> impl Iterator<Item = &Registration> {
        self.entries.values()
    }

    /// The names of one kind, sorted.
    pub fn names(&self, kind: Kind) -> Vec<&'static str> {
        self.entries.keys().filter(|(k, _)| *k == kind).map(|(_, n)| *n).collect()
    }

    /// The presets that any plugin knows, sorted.
    pub fn presets(&self) -> Vec<&'static str> {
        let all: BTreeSet<_> = self.entries.values().flat_map(|r| r.presets).copied().collect();
        all.into_iter().collect()
    }

    /// The plugin of `kind` called `name`.
    pub fn get(&self, kind: Kind, name: &str) -> Option<&Registration> {
        self.entries.iter().find(|((k, n), _)| *k == kind && *n == name).map(|(_, r)| r)
    }

    /// Builds what `spec` names. Problems are placed in the text the spec was parsed from.
    pub fn build<T: ?Sized + Contract>(
        &self,
        spec: &Spec,
        with: &BuildContext<'_>,
    ) -> std::result::Result<Built<T>, Vec<Problem>> {
        let found =
            self.get(T::KIND, &spec.name).and_then(|r| Some((r.origin, T::of(&r.factory)?)));
        let Some((origin, factory)) = found else { return Err(vec![self.unknown(T::KIND, spec)]) };
        factory(origin, &spec.body, with)
            .map_err(|problems| problems.into_iter().map(|p| p.shifted(spec.body_at)).collect())
    }

    /// Whether the example of `registration` parses and builds.
    pub fn check_example(
        &self,
        registration: &Registration,
        with: &BuildContext<'_>,
    ) -> std::result::Result<(), Vec<Problem>> {
        let spec = Spec::from_text(registration.example).map_err(|p| vec![p])?;
        registration.factory.try_build(registration.origin, &spec.body, with)
    }

    fn unknown(&self, kind: Kind, spec: &Spec) -> Problem {
        let absent = self.absent.iter().find(|((k, name), _)| *k == kind && *name == spec.name);
        let elsewhere =
            Kind::ALL.into_iter().find(|k| *k != kind && self.get(*k, &spec.name).is_some());
        let help = match elsewhere {
            _ if absent.is_some() => absent.map(|(_, way)| (*way).to_owned()),
            Some(other) => Some(format!(
                "`{}` is a {}, and a {} is wanted here",
                spec.name,
                other.noun(),
                kind.noun()
            )),
            None => suggestion(&spec.name, &self.names(kind), kind.noun()),
        };
        Problem::new(
            UNKNOWN_PLUGIN,
            format!("no {} is named `{}`.", kind.noun(), spec.name),
            spec.name_span.clone(),
        )
        .with_label("not registered")
        .with_help(help)
    }
}
