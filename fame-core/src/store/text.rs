//! What all RON files of this module share: the options, errors with a place, and problems
//! collected before they are reported.

use std::fmt::Display;

use ron::extensions::Extensions;
use serde::de::DeserializeOwned;

use crate::{Error, Result};

/// The fields that manifests once had, each with what to write now.
const FORMER: [(&str, &str); 1] = [(
    "task",
    "`task` is now `ask`: what the model is asked where a recipe does not say, as in `ask: (loss: Name(…), layer: \"alias\")`. Without it, every recipe says so itself.",
)];

/// Parses `text` with the options that every RON file of fame has, so that no file needs
/// `#![enable(…)]`.
pub(super) fn parse<T: DeserializeOwned>(place: &str, text: &str) -> Result<T> {
    let options = ron::Options::default().with_default_extension(
        Extensions::IMPLICIT_SOME
            | Extensions::UNWRAP_NEWTYPES
            | Extensions::UNWRAP_VARIANT_NEWTYPES,
    );
    options.from_str(text).map_err(|error| {
        let at = error.span.start;
        let message = match &error.code {
            ron::Error::MissingStructField { field, .. } => {
                format!("the field `{field}` is missing")
            }
            code => code.to_string(),
        };
        let stop = if message.ends_with('.') { "" } else { "." };
        let plain = Error::new(
            "fame::model::manifest",
            format!("`{place}`:{}:{}: {message}{stop}", at.line, at.col),
        );
        match error.code {
            ron::Error::NoSuchStructField { expected, found, .. }
            | ron::Error::NoSuchEnumVariant { expected, found, .. } => {
                if let Some((_, way)) = FORMER.iter().find(|(name, _)| *name == found) {
                    return plain.with_help(*way);
                }
                match did_you_mean(&found, expected.iter().copied()) {
                    Some(help) => plain.with_help(help),
                    None => plain.with_help(format!("Known here: {}.", quoted(expected))),
                }
            }
            _ => plain,
        }
    })
}

/// Everything that is wrong with the values of one file, reported together.
#[derive(Default)]
pub(super) struct Problems(Vec<String>);

impl Problems {
    /// Notes `problem`, a sentence without its final stop that begins with the place inside the
    /// file.
    pub(super) fn add(&mut self, problem: impl Into<String>) {
        self.0.push(problem.into());
    }

    /// `Ok` when nothing was noted.
    pub(super) fn into_result(self, place: &str) -> Result<()> {
        let text = match self.0.as_slice() {
            [] => return Ok(()),
            [one] => format!("`{place}` cannot be used: {one}."),
            many => {
                format!("`{place}` has {} problems:\n  - {}.", many.len(), many.join(".\n  - "))
            }
        };
        Err(Error::new("fame::model::invalid", text))
    }
}

/// "Did you mean …?" with at most three of `known`, nearest first; `None` when nothing is near.
pub(super) fn did_you_mean<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let lower = name.to_lowercase();
    let mut near: Vec<(usize, &str)> = known
        .filter_map(|candidate| {
            let other = candidate.to_lowercase();
            let distance = strsim::damerau_levenshtein(&lower, &other);
            // A third of the letters may be wrong, as rustc has it; a part of a name ("lite0") is
            // near too.
            let within = distance <= (lower.chars().count().max(other.chars().count()) / 3).max(1);
            let part = lower.len() >= 3
                && (other.contains(&lower) || (other.len() >= 3 && lower.contains(&other)));
            (within || part).then_some((distance, candidate))
        })
        .collect();
    near.sort_unstable();
    near.truncate(3);
    let names: Vec<&str> = near.into_iter().map(|(_, name)| name).collect();
    match names.as_slice() {
        [] => None,
        [one] => Some(format!("Did you mean `{one}`?")),
        [most @ .., last] => Some(format!("Did you mean {} or `{last}`?", quoted(most))),
    }
}

/// `` `a`, `b` ``
pub(super) fn quoted<S: Display>(names: &[S]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
