//! Parameters as plugins declare them, and the way from a recipe's text to a running part.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};

use super::{Contract, Registry};
use crate::{
    data::Value,
    store::Ask,
    text::{Problem, Spec, parse, scan},
};

/// A built part of a plan: the plugin, and the parameters that made it, defaults filled in.
pub struct Built<T: ?Sized> {
    /// The name in the recipe.
    pub name: String,
    /// The running part.
    pub plugin: Box<T>,
    /// Every parameter as resolved, for the record.
    pub parameters: Value,
    /// The files that it and its nested parts read, in a fixed order; see [`Assembly::reads`].
    pub reads: Vec<PathBuf>,
}

impl<T: ?Sized> Built<T> {
    /// Name and parameters, for the record.
    pub fn record(&self) -> Value {
        Value::Map([(self.name.clone(), self.parameters.clone())].into())
    }
}

/// A plugin's parameters, and how they become a running part. See the [module docs](super).
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
    /// One sentence for readers of what it makes: what that shows, and what it does not. Empty
    /// where nothing could be taken for more than it is.
    const CLAIM: &'static str = "";
    /// A spec that parses and builds; a generic test makes sure.
    const EXAMPLE: &'static str;
    /// The paper or code that defines it; empty when it is our own.
    const REFERENCE: &'static str = "";

    /// The presets that it knows ([`BuildContext::preset`]); a recipe may ask for any that some
    /// plugin knows.
    const PRESETS: &'static [&'static str] = &[];

    /// Reports parameters out of range through `assembly`. What stands in `self` afterwards is what
    /// the record shows and what is built.
    fn resolve(&mut self, with: &BuildContext<'_>, assembly: &mut Assembly) {
        let _ = (with, assembly);
    }

    /// Makes the running part. Nested specs are built with [`Assembly::build`], which also records
    /// them. `None` when something was reported that makes building pointless.
    fn build(self, with: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<T>>;
}

/// A plugin's parameters with nothing left open: what the record shows, and what is built.
///
/// Whatever serde can read is its own [`Typed`](Parameters::Typed): its defaults are constants.
/// Parameters with defaults that depend on the preset, on the model's manifest or on one another
/// are read as another type, and filled in from there.
pub trait Parameters: Serialize + Sized {
    /// The parameters as a recipe types them.
    type Typed: DeserializeOwned + JsonSchema;

    /// Fills in what the recipe left open. `None` when something was reported through `assembly`
    /// without which there is nothing to fill in.
    fn fill(typed: Self::Typed, with: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Self>;
}

impl<P: DeserializeOwned + JsonSchema + Serialize> Parameters for P {
    type Typed = Self;

    fn fill(typed: Self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Self> {
        Some(typed)
    }
}

/// The context in which a plugin is built.
#[derive(Clone, Copy)]
pub struct BuildContext<'a> {
    /// All known plugins.
    pub registry: &'a Registry,
    /// The name of the published form that defaults follow; empty for each plugin's own. A plugin
    /// takes a preset that it does not know for none.
    pub preset: &'a str,
    /// The question that the explained model is asked where a recipe does not say.
    pub ask: &'a Ask,
    /// The folder relative paths start from: the recipe's.
    pub folder: &'a Path,
}

impl<'a> BuildContext<'a> {
    /// A context without a preset, for a model that says nothing about itself.
    pub fn new(registry: &'a Registry, folder: &'a Path) -> Self {
        Self { registry, preset: "", ask: Ask::NOTHING, folder }
    }
}

/// The assembly of one plugin: collects its problems and its nested plugins while it is built.
pub struct Assembly {
    body: String,
    problems: Vec<Problem>,
    nested: Vec<(String, Value)>,
    reads: Vec<PathBuf>,
}

impl Assembly {
    /// An assembly with nothing in it yet, for a plugin whose parameters stand in `body`.
    pub(crate) fn new(body: &str) -> Self {
        Self { body: body.to_owned(), problems: Vec::new(), nested: Vec::new(), reads: Vec::new() }
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
                self.reads.extend(built.reads.iter().cloned());
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
                    self.reads.extend(b.reads.iter().cloned());
                    built.push(b);
                }
                Err(problems) => self.problems.extend(problems),
            }
        }
        self.nested.push((field.to_owned(), Value::List(records)));
        built
    }

    /// Notes that the part reads `file`, as it lies on this machine: its content becomes a part of
    /// the key of everything that the part makes, so that a changed file is never met by an old
    /// result. For every file that a parameter names and the part reads itself. The pictures of a
    /// dataset ([`ItemRef::files`](crate::contract::ItemRef::files)) and what an explainer reads
    /// for one item ([`Explainer::files`](crate::contract::Explainer::files)) are known without.
    pub fn reads(&mut self, file: impl Into<PathBuf>) {
        self.reads.push(file.into());
    }

    /// Replaces what the record says about parameter `field`, or adds what a reader must know
    /// beside the parameters.
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
    let mut assembly = Assembly::new(body);
    // Building on top of reported problems would only repeat them, but nested specs have news of
    // their own.
    let made = P::fill(typed, with, &mut assembly).and_then(|mut parameters| {
        parameters.resolve(with, &mut assembly);
        let record = Value::of(&parameters);
        Some((record, parameters.build(with, &mut assembly)?))
    });
    let (true, Some((mut record, plugin))) = (assembly.problems.is_empty(), made) else {
        if assembly.problems.is_empty() {
            assembly.report(
                "",
                format!("`{}` was not built and did not say why: a bug in the plugin.", P::NAME),
            );
        }
        return Err(assembly.problems);
    };
    if let Value::Map(map) = &mut record {
        map.extend(assembly.nested);
    }
    Ok(Built { name: P::NAME.to_owned(), plugin, parameters: record, reads: assembly.reads })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::{AttributionMap, Result, contract::MapStep, registry::Registration};

    /// A step that reads a file, and may hold another step.
    #[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
    struct Reading {
        file: String,
        #[serde(default)]
        inner: Vec<Spec>,
    }

    impl Plugin<dyn MapStep> for Reading {
        const NAME: &'static str = "Reading";
        const SUMMARY: &'static str = "Reads a file";
        const EXAMPLE: &'static str = r#"Reading(file: "a")"#;

        fn build(
            self,
            with: &BuildContext<'_>,
            assembly: &mut Assembly,
        ) -> Option<Box<dyn MapStep>> {
            assembly.reads(with.folder.join(&self.file));
            assembly.build_all::<dyn MapStep>("inner", &self.inner, with);
            Some(Box::new(self))
        }
    }

    impl MapStep for Reading {
        fn apply(&self, map: AttributionMap) -> Result<AttributionMap> {
            Ok(map)
        }
    }

    #[test]
    fn the_files_of_nested_parts_are_those_of_the_whole() {
        let mut registry = Registry::default();
        registry.add(Registration::of::<dyn MapStep, Reading>("this test")).unwrap();
        let with = BuildContext::new(&registry, Path::new("/recipe"));
        let text = r#"Reading(file: "a", inner: [Reading(file: "b"), Reading(file: "c")])"#;
        let built = registry.build::<dyn MapStep>(&Spec::from_text(text).unwrap(), &with).unwrap();
        assert_eq!(built.reads, ["/recipe/a", "/recipe/b", "/recipe/c"].map(PathBuf::from));
    }
}
