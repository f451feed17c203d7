//! Registrations: how a plugin gets into the registry, and the factory that guards what it builds.

use super::{
    BuildContext, Built, Contract, Kind, Plugin,
    guard::{Who, caught},
    kind::{Factory, FactoryOf},
    part::assemble,
};
use crate::{Error, Result, text::Problem};

/// The factory behind every registration: builds `P` and guards it. It is generic, so it is
/// compiled into the crate that registers `P`: that is where panics must be caught.
pub(super) fn build<T: ?Sized + Contract, P: Plugin<T>>(
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
    let Built { name, plugin, parameters, reads } = built;
    Ok(Built { name, plugin: T::guarded(who, plugin).map_err(problem)?, parameters, reads })
}

/// The JSON schema of the parameters of `P`, as text.
fn schema<T: ?Sized + Contract, P: Plugin<T>>(origin: &'static str) -> Result<String> {
    let who = Who { noun: T::KIND.noun(), name: P::NAME, origin };
    let text = caught(|| serde_json::to_string(&schemars::schema_for!(P::Typed)))
        .map_err(|panic| panic.error(who, "in its schema"))?;
    text.map_err(|e| Error::bug(format!("{who} has a schema that is no JSON: {e}.")))
}

/// Builds a part from its origin and the text of its parameters.
pub(super) type BuildFn<T> =
    fn(&'static str, &str, &BuildContext<'_>) -> std::result::Result<Built<T>, Vec<Problem>>;

/// One plugin as registered. Made by [`crate::register!`] and by nothing else: its factory guards
/// what it builds.
#[derive(Clone, Copy)]
pub struct Registration {
    name: &'static str,
    summary: &'static str,
    claim: &'static str,
    example: &'static str,
    reference: &'static str,
    presets: &'static [&'static str],
    origin: &'static str,
    schema: fn(&'static str) -> Result<String>,
    pub(super) factory: Factory,
}

impl Registration {
    /// The registration of `P`, from the crate and version `origin`.
    #[doc(hidden)]
    pub const fn of<T: ?Sized + FactoryOf<P>, P: Plugin<T>>(origin: &'static str) -> Self {
        Self {
            name: P::NAME,
            summary: P::SUMMARY,
            claim: P::CLAIM,
            example: P::EXAMPLE,
            reference: P::REFERENCE,
            presets: P::PRESETS,
            origin,
            schema: schema::<T, P>,
            factory: T::FACTORY,
        }
    }

    /// The kind of the plugin.
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

    /// What the things it makes show, and what they do not: one sentence, or empty.
    pub fn claim(&self) -> &'static str {
        self.claim
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

    /// The same registration, with another origin.
    pub(crate) fn from(mut self, origin: &'static str) -> Self {
        self.origin = origin;
        self
    }
}

inventory::collect!(Registration);

/// Registers a plugin: `register!(Loss: MyLoss);`. The first word is a variant of
/// [`Kind`]; the type implements [`Plugin`] for that kind's contract. It serves both ways in: a
/// binary that links the crate finds the plugin, and [`export_plugin!`](crate::export_plugin)
/// hands it over when the crate is loaded.
#[macro_export]
macro_rules! register {
    (# $kind:ident: $plugin:ty) => {
        $crate::registry::Registration::of::<$crate::registry::contracts::$kind, $plugin>(concat!(
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

/// A plugin that this program could have had but was built without: a recipe that names it is told
/// how to get it.
pub struct Absent {
    /// Its kind.
    pub kind: Kind,
    /// Its name in recipes.
    pub name: &'static str,
    /// Why it is not there and how to get it, as an error's help.
    pub way: &'static str,
    /// Choices that its namesakes' parameters may be mistaken to have, as (parameter, choice).
    pub choices: &'static [(&'static str, &'static str)],
}

inventory::collect!(Absent);
