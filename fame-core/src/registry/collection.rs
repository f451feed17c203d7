//! The registry itself: every known plugin by kind and name.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::PathBuf,
};

use super::{Absent, BuildContext, Built, Contract, Kind, Registration, inventory};
use crate::{
    Error, Result,
    contract::{Operator, Operators},
    data::Value,
    text::{Problem, Spec, UNKNOWN_CHOICE, scan, suggestion},
};

/// The code of a name that no plugin has.
pub(crate) const UNKNOWN_PLUGIN: &str = "fame::recipe::unknown_plugin";

/// The crate of the built-in plugins: it gives way to no library, for recipes, defaults and
/// manifests of this program rely on all of them.
const BUILT_IN: &str = "fame-plugins";

/// A shared library that plugins were loaded from.
#[derive(Clone, Debug)]
pub struct Library {
    /// The file itself, with all links followed.
    pub file: PathBuf,
    /// Name, version and hash of what it brought, and under `replaces` the linked crates that gave
    /// way to it, for the record of a run.
    pub record: Value,
}

/// All known plugins, by kind and name.
#[derive(Clone, Default)]
pub struct Registry {
    entries: BTreeMap<(Kind, &'static str), Registration>,
    absent: BTreeMap<(Kind, &'static str), &'static Absent>,
    /// The origins of what is linked into this program.
    linked: BTreeSet<&'static str>,
    libraries: Vec<Library>,
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
            registry.linked.insert(registration.origin());
        }
        registry.absent =
            inventory::iter::<Absent>.into_iter().map(|a| ((a.kind, a.name), a)).collect();
        Ok(registry)
    }

    /// Whether plugins may be loaded from anywhere: whoever they belong to, and whoever can write
    /// them. [`plugin::load`](crate::plugin::load) asks.
    #[must_use]
    pub fn trusting(mut self, trusting: bool) -> Self {
        self.trusting = trusting;
        self
    }

    /// See [`Registry::trusting`].
    pub fn is_trusting(&self) -> bool {
        self.trusting
    }

    /// Adds everything that `library` brings, or nothing. A crate that is linked into this program
    /// and is brought by the library too gives way to it, with all its plugins: whoever names the
    /// file wants what is in it, and plugins of two builds of one crate are not mixed. The record
    /// of the library says so, and with it the run.
    ///
    /// # Errors
    /// When it brings a name that is taken, by another crate or by another library;
    /// `fame::registry::built_in` where it is a build of the crate of the built-in plugins.
    pub fn add_library(
        &mut self,
        mut library: Library,
        brought: impl IntoIterator<Item = Registration>,
    ) -> Result<()> {
        let mut with_new = self.clone();
        let brought: Vec<Registration> = brought.into_iter().collect();
        let crates: BTreeSet<&str> = brought.iter().map(|new| crate_of(new.origin())).collect();
        let gives_way = |old: &Registration| {
            self.linked.contains(old.origin()) && crates.contains(crate_of(old.origin()))
        };
        let replaced = self.entries.values().filter(|old| gives_way(old));
        let replaced: BTreeSet<&str> = replaced.map(Registration::origin).collect();
        if let Some(built_in) = replaced.iter().find(|origin| crate_of(origin) == BUILT_IN) {
            let file = library.file.display();
            let message = format!(
                "`{file}` is a build of {BUILT_IN}, and would replace all that is built into this program from {built_in}."
            );
            return Err(Error::new("fame::registry::built_in", message)
                .with_help("Give your crate another name, and its plugins names of their own."));
        }
        if let (Value::Map(record), false) = (&mut library.record, replaced.is_empty()) {
            let replaced = replaced.iter().map(|origin| Value::from(*origin)).collect();
            record.insert("replaces".to_owned(), Value::List(replaced));
        }
        with_new.entries.retain(|_, old| !gives_way(old));
        brought.into_iter().try_for_each(|registration| with_new.add(registration))?;
        with_new.libraries.push(library);
        *self = with_new;
        Ok(())
    }

    /// The libraries that plugins were loaded from, in the order of loading.
    pub fn libraries(&self) -> &[Library] {
        &self.libraries
    }

    /// Adds one plugin.
    ///
    /// # Errors
    /// When its kind already has one of that name.
    pub fn add(&mut self, new: Registration) -> Result<()> {
        let key = (new.kind(), new.name());
        if let Some(old) = self.entries.get(&key) {
            return Err(Error::new(
                "fame::registry::duplicate",
                format!(
                    "two plugins are called {} `{}`: one from {}, one from {}.",
                    key.0.noun(),
                    new.name(),
                    old.origin(),
                    new.origin()
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
        let all: BTreeSet<_> =
            self.entries.values().flat_map(Registration::presets).copied().collect();
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
            self.get(T::KIND, &spec.name).and_then(|r| Some((r.origin(), T::of(&r.factory)?)));
        let Some((origin, factory)) = found else { return Err(vec![self.unknown(T::KIND, spec)]) };
        factory(origin, &spec.body, with).map_err(|problems| {
            let told = |p: Problem| self.with_who_takes(T::KIND, spec, p).shifted(spec.body_at);
            problems.into_iter().map(told).collect()
        })
    }

    /// `problem` of the body of `spec`; where that is a choice which a parameter does not have,
    /// with the plugins of the same `kind` whose parameter of that name has it.
    fn with_who_takes(&self, kind: Kind, spec: &Spec, problem: Problem) -> Problem {
        if problem.code != UNKNOWN_CHOICE {
            return problem;
        }
        let entries = scan::entries(&spec.body, 0).unwrap_or_default();
        let whole = entries.iter().find(|entry| entry.value_span == problem.span);
        let Some((parameter, choice)) = whole.zip(spec.body.get(problem.span.clone())) else {
            return problem;
        };
        let key = parameter.key.as_str();
        let known = self.iter().filter(|other| other.kind() == kind && other.name() != spec.name);
        let known = known.filter(|other| has_choice(other, key, choice)).map(|other| {
            let name = other.name();
            format!("{} `{name}` takes `{choice}`", kind.noun())
        });
        let absent = self.absent.values().filter(|a| a.kind == kind);
        let absent = absent.filter(|a| a.choices.contains(&(key, choice))).map(|a| {
            let (noun, name, way) = (kind.noun(), a.name, a.way);
            format!("{noun} `{name}` takes `{choice}`: {way}")
        });
        let mut help = problem.help.clone().unwrap_or_default();
        for other in known.chain(absent) {
            let join = if help.is_empty() || help.ends_with('?') { " " } else { "; " };
            let _ = write!(help, "{join}{other}");
        }
        problem.with_help(Some(help.trim().to_owned()).filter(|help| !help.is_empty()))
    }

    /// Every registered operator, built with the defaults of its parameters: what models are loaded
    /// with.
    ///
    /// # Errors
    /// An operator that cannot be built without parameters, or two that serve the same nodes.
    pub fn operators(&self, with: &BuildContext<'_>) -> Result<Operators> {
        let mut operators = Operators::default();
        for registration in self.iter().filter(|r| r.kind() == Kind::Operator) {
            let name = registration.name();
            let built = Spec::from_text(&format!("{name}()"))
                .map_err(|p| vec![p])
                .and_then(|spec| self.build::<dyn Operator>(&spec, with))
                .map_err(|problems| not_built(registration, &problems))?;
            operators.add(name, built.plugin)?;
        }
        Ok(operators)
    }

    /// Whether the example of `registration` parses and builds.
    pub fn check_example(
        &self,
        registration: &Registration,
        with: &BuildContext<'_>,
    ) -> std::result::Result<(), Vec<Problem>> {
        self.check_text(registration, registration.example(), with)
    }

    /// Whether `text`, a spec of the plugin of `registration`, parses and builds.
    pub fn check_text(
        &self,
        registration: &Registration,
        text: &str,
        with: &BuildContext<'_>,
    ) -> std::result::Result<(), Vec<Problem>> {
        let spec = Spec::from_text(text).map_err(|p| vec![p])?;
        registration.factory.try_build(registration.origin(), &spec.body, with)
    }

    fn unknown(&self, kind: Kind, spec: &Spec) -> Problem {
        let absent = self.absent.iter().find(|((k, name), _)| *k == kind && *name == spec.name);
        let elsewhere =
            Kind::ALL.into_iter().find(|k| *k != kind && self.get(*k, &spec.name).is_some());
        let help = match elsewhere {
            _ if absent.is_some() => absent.map(|(_, absent)| absent.way.to_owned()),
            Some(other) => Some(format!(
                "`{}` is {}, and {} is wanted here",
                spec.name,
                other.a_noun(),
                kind.a_noun()
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

/// Whether a parameter called `key` of a plugin has the choice `choice`, by its schema.
fn has_choice(plugin: &Registration, key: &str, choice: &str) -> bool {
    let schema = plugin.schema().ok().and_then(|text| serde_json::from_str(&text).ok());
    let schema: serde_json::Value = schema.unwrap_or_default();
    lists(&schema, &schema["properties"][key], choice, 4)
}

/// Whether `value` of `schema` lists `choice`, itself or at most so `deep` in it: a type may hold
/// itself.
fn lists(schema: &serde_json::Value, value: &serde_json::Value, choice: &str, deep: usize) -> bool {
    let name = value["$ref"].as_str().and_then(|place| place.strip_prefix("#/$defs/"));
    let value = name.map_or(value, |name| &schema["$defs"][name]);
    let all = |way: &str| value[way].as_array().into_iter().flatten();
    if all("enum").chain([&value["const"]]).any(|one| one == choice) {
        return true;
    }
    let inner = || ["oneOf", "anyOf"].into_iter().flat_map(all);
    deep > 0 && inner().any(|one| lists(schema, one, choice, deep - 1))
}

/// The name of the crate at the beginning of an origin: `my-plugins 0.1.0 (libmy_plugins.so)`.
fn crate_of(origin: &str) -> &str {
    origin.split_once(' ').map_or(origin, |(name, _)| name)
}

fn not_built(operator: &Registration, problems: &[Problem]) -> Error {
    let told: Vec<&str> = problems.iter().map(|p| p.message.as_str()).collect();
    let (name, origin) = (operator.name(), operator.origin());
    Error::new(
        "fame::operator::not_built",
        format!("operator `{name}` ({origin}) cannot be built as `{name}()`: {}", told.join(" ")),
    )
    .with_help("A recipe does not name operators: each of their parameters needs a default.")
}

#[cfg(test)]
mod tests {
    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::{
        AttributionMap,
        contract::{Explainer, Loss, MapStep},
        data::Facts,
        registry::{Assembly, Plugin},
        testkit::{FakeLoss, FakeWalk},
    };

    const LINKED: &str = "kit 0.1.0";

    /// Two steps whose parameters of one name have other choices.
    macro_rules! step {
        ($name:ident, $choices:ident { $($choice:ident),+ }) => {
            #[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
            enum $choices {
                $(
                    /// One of them.
                    $choice,
                )+
            }

            #[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
            struct $name {
                /// What it computes with.
                numbers: $choices,
            }

            impl Plugin<dyn MapStep> for $name {
                const NAME: &'static str = stringify!($name);
                const SUMMARY: &'static str = "A step";
                const EXAMPLE: &'static str = concat!(stringify!($name), "(numbers: Half)");

                fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn MapStep>> {
                    Some(Box::new(self))
                }
            }

            impl MapStep for $name {
                fn apply(&self, map: AttributionMap) -> Result<AttributionMap> {
                    Ok(map)
                }
            }
        };
    }

    step!(Few, FewNumbers { Single, Half });
    step!(Many, ManyNumbers { Single, Half, Short });

    #[test]
    fn a_choice_that_another_plugin_has_is_told_with_its_name() {
        static ELSEWHERE: Absent = Absent {
            kind: Kind::Map,
            name: "Elsewhere",
            way: "build this program with it",
            choices: &[("numbers", "Tiny")],
        };
        let mut registry = Registry::default();
        registry.add(Registration::of::<dyn MapStep, Few>(LINKED)).unwrap();
        registry.add(Registration::of::<dyn MapStep, Many>(LINKED)).unwrap();
        registry.absent.insert((Kind::Map, ELSEWHERE.name), &ELSEWHERE);
        let with = BuildContext::new(&registry, std::path::Path::new("."));
        let help = |text: &str| {
            let built = registry.build::<dyn MapStep>(&Spec::from_text(text).unwrap(), &with);
            let problem = built.err().unwrap().remove(0);
            assert_eq!(problem.code, UNKNOWN_CHOICE);
            problem.help.unwrap()
        };
        let known = "known: `Single`, `Half`";
        assert_eq!(help("Few(numbers: Short)"), format!("{known}; map step `Many` takes `Short`"));
        let absent = "map step `Elsewhere` takes `Tiny`: build this program with it";
        assert_eq!(help("Few(numbers: Tiny)"), format!("{known}; {absent}"));
        assert_eq!(help("Few(numbers: Haf)"), format!("did you mean `Half`? {known}"));
    }

    /// A registry in which one crate is linked, with a loss and an explainer.
    fn registry() -> Registry {
        let mut registry = Registry::default();
        registry.add(Registration::of::<dyn Loss, FakeLoss>(LINKED)).unwrap();
        registry.add(Registration::of::<dyn Explainer, FakeWalk>(LINKED)).unwrap();
        registry.linked.insert(LINKED);
        registry
    }

    /// Adds a library with a loss from `origin`.
    fn load(registry: &mut Registry, origin: &'static str) -> Result<()> {
        let library = Library { file: origin.into(), record: Value::Map(Facts::new()) };
        registry.add_library(library, [Registration::of::<dyn Loss, FakeLoss>(origin)])
    }

    fn origins(registry: &Registry) -> Vec<&str> {
        registry.iter().map(Registration::origin).collect()
    }

    #[test]
    fn a_linked_crate_gives_way_to_its_own_library_as_a_whole() {
        let mut registry = registry();
        load(&mut registry, "kit 0.2.0 (a.so)").unwrap();
        assert_eq!(origins(&registry), ["kit 0.2.0 (a.so)"]);
        // A second library of it does not take the first one's place.
        let error = load(&mut registry, "kit 0.2.0 (b.so)").unwrap_err();
        assert_eq!(error.code, "fame::registry::duplicate");
        assert!(error.message.contains("(a.so)") && error.message.contains("(b.so)"), "{error}");
        assert_eq!((origins(&registry), registry.libraries().len()), (vec!["kit 0.2.0 (a.so)"], 1));
    }

    #[test]
    fn what_gives_way_is_recorded_and_what_is_built_in_does_not() {
        let mut registry = registry();
        load(&mut registry, "other-kit 0.1.0 (o.so)").unwrap_err();
        load(&mut registry, "kit 0.2.0 (a.so)").unwrap();
        let replaced = registry.libraries()[0].record.get("replaces").cloned();
        assert_eq!(replaced, Some(Value::List(vec![LINKED.into()])));
        let mut registry = Registry::default();
        let built_in = "fame-plugins 0.1.0";
        registry.add(Registration::of::<dyn Loss, FakeLoss>(built_in)).unwrap();
        registry.linked.insert(built_in);
        let error = load(&mut registry, "fame-plugins 0.1.0 (a.so)").unwrap_err();
        assert_eq!(error.code, "fame::registry::built_in");
        assert!(error.message.contains("a.so"), "{error}");
        assert_eq!((origins(&registry), registry.libraries().len()), (vec![built_in], 0));
    }

    #[test]
    fn a_linked_crate_does_not_give_way_to_another_ones_library() {
        let mut registry = registry();
        for other in ["kit-two 0.1.0 (a.so)", "other 1.0.0 (a.so)"] {
            let error = load(&mut registry, other).unwrap_err();
            assert!(error.message.contains("one from kit 0.1.0, one from "), "{error}");
        }
        assert_eq!(origins(&registry), [LINKED, LINKED]);
    }
}
