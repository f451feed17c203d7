//! The kinds of plugin, spelled in one table.
//!
//! Everything that depends on a kind derives from the rows at the end of this file: [`Kind`] and
//! its words, the kinds that `register!` and `export_plugin!` accept, the factories, the choices of
//! `fame-cli plugin new --kind` and the help of `fame-cli describe`. A new kind begins with a row
//! here; `CONTRIBUTING.md` walks the rest.

use std::{fmt, str::FromStr};

use super::{BuildContext, Plugin, guard::Guard, registration};
use crate::{Error, contract, text::Problem, text::suggestion};

/// A contract that plugins can serve: `dyn Loss`, `dyn Backend`, …; each has its [`Kind`].
pub trait Contract: Guard {
    /// Its kind.
    const KIND: Kind;
    /// The build function, if `factory` builds this contract.
    #[doc(hidden)]
    fn of(factory: &Factory) -> Option<registration::BuildFn<Self>>;
}

/// A contract together with the factory that builds plugin `P` for it.
#[doc(hidden)]
pub trait FactoryOf<P>: Contract {
    /// The factory.
    const FACTORY: Factory;
}

macro_rules! kinds {
    ($(
        $(#[doc = $doc:literal])*
        $kind:ident => $contract:ident, $word:literal, $noun:literal, $plural:literal;
    )*) => {
        /// The purpose of a plugin. Each kind has one contract in [`crate::contract`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $(
                $(#[doc = $doc])*
                #[doc = ""]
                #[doc = concat!("Contract: [`", stringify!($contract), "`](contract::", stringify!($contract), ").")]
                $kind,
            )*
        }

        impl Kind {
            /// Every kind, in the order of the data.
            pub const ALL: [Kind; [$(Kind::$kind),*].len()] = [$(Kind::$kind),*];

            /// The word for it on the command line and in machine-readable output: `map`.
            pub const fn word(self) -> &'static str {
                match self { $(Kind::$kind => $word,)* }
            }

            /// As a noun in a sentence: `map step`.
            pub const fn noun(self) -> &'static str {
                match self { $(Kind::$kind => $noun,)* }
            }

            /// Several of it in a sentence: `map steps`.
            pub const fn plural(self) -> &'static str {
                match self { $(Kind::$kind => $plural,)* }
            }
        }

        /// The contract of each kind, by the name of the kind: what `register!` looks up.
        #[doc(hidden)]
        pub mod contracts {
            $(pub type $kind = dyn super::contract::$contract;)*
        }

        /// A build function, by contract. Only this module makes one.
        #[doc(hidden)]
        #[derive(Clone, Copy)]
        pub struct Factory(Makes);

        #[derive(Clone, Copy)]
        enum Makes {
            $($kind(registration::BuildFn<contracts::$kind>),)*
        }

        impl Factory {
            pub(super) fn kind(&self) -> Kind {
                match self.0 { $(Makes::$kind(_) => Kind::$kind,)* }
            }

            /// Builds and drops: whether `body` is acceptable.
            pub(super) fn try_build(
                &self,
                origin: &'static str,
                body: &str,
                with: &BuildContext<'_>,
            ) -> Result<(), Vec<Problem>> {
                match self.0 { $(Makes::$kind(build) => build(origin, body, with).map(|_| ()),)* }
            }
        }

        $(
            impl Contract for contracts::$kind {
                const KIND: Kind = Kind::$kind;

                fn of(factory: &Factory) -> Option<registration::BuildFn<Self>> {
                    match factory.0 {
                        Makes::$kind(build) => Some(build),
                        _ => None,
                    }
                }
            }

            impl<P: Plugin<contracts::$kind>> FactoryOf<P> for contracts::$kind {
                const FACTORY: Factory =
                    Factory(Makes::$kind(registration::build::<contracts::$kind, P>));
            }
        )*
    };
}

impl Kind {
    /// As a noun with its article: `a loss`, `an explainer`.
    pub fn a_noun(self) -> String {
        let article = if self.noun().starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
        format!("{article} {}", self.noun())
    }

    /// Whether `text` means this kind: its word, alone or with an `s`, its noun or its plural, in
    /// capitals or not.
    pub fn is_called(self, text: &str) -> bool {
        let words = [self.word(), self.noun(), self.plural()];
        let single = text.strip_suffix(['s', 'S']).unwrap_or(text);
        words.iter().any(|word| word.eq_ignore_ascii_case(text))
            || self.word().eq_ignore_ascii_case(single)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Kind {
    type Err = Error;

    /// The kind that `text` means; see [`Kind::is_called`].
    fn from_str(text: &str) -> crate::Result<Self> {
        Kind::ALL.into_iter().find(|kind| kind.is_called(text)).ok_or_else(|| {
            let words: Vec<&str> = Kind::ALL.iter().map(|kind| kind.word()).collect();
            let mut error =
                Error::new("fame::registry::kind", format!("there is no kind of plugin `{text}`."));
            error.help = suggestion(text, &words, "kind");
            error
        })
    }
}

// kind => contract, word, noun, plural
kinds! {
    /// Runs networks and pulls gradients back.
    Backend => Backend, "backend", "backend", "backends";
    /// Serves an ONNX operator that engines do not know, forwards and backwards.
    Operator => Operator, "operator", "operator", "operators";
    /// Where samples come from.
    Dataset => Dataset, "dataset", "dataset", "datasets";
    /// From a decoded picture to network input.
    Prepare => PrepareStep, "prepare", "prepare step", "prepare steps";
    /// From samples to maps.
    Explainer => Explainer, "explainer", "explainer", "explainers";
    /// The scalar to descend.
    Loss => Loss, "loss", "loss", "losses";
    /// How a picture walks.
    Perturbation => Perturbation, "perturbation", "perturbation", "perturbations";
    /// From what moved to a finished map.
    Map => MapStep, "map", "map step", "map steps";
    /// Looks over the backend's shoulder after every explanation.
    Check => Check, "check", "check", "checks";
    /// Numbers about maps.
    Metric => Metric, "metric", "metric", "metrics";
    /// Files about items.
    Writer => Writer, "writer", "writer", "writers";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_found_by_its_word_its_noun_and_its_plural_and_no_two_share_one() {
        for kind in Kind::ALL {
            for text in [kind.word(), kind.noun(), kind.plural(), &kind.word().to_uppercase()] {
                assert_eq!(text.parse::<Kind>().unwrap(), kind, "{text}");
                assert_eq!(Kind::ALL.iter().filter(|k| k.is_called(text)).count(), 1, "{text}");
            }
        }
        assert_eq!("Maps".parse::<Kind>().unwrap(), Kind::Map);
        let unknown = "lose".parse::<Kind>().unwrap_err();
        assert!(unknown.help.unwrap().contains("`loss`"));
    }

    #[test]
    fn a_noun_gets_the_article_that_english_wants() {
        assert_eq!(
            (Kind::Explainer.a_noun(), Kind::Map.a_noun()),
            ("an explainer".into(), "a map step".into())
        );
    }
}
