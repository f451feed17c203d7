//! `Precomputed`: maps that another program made, as an explainer.

mod stored;

use std::path::{Path, PathBuf};

use fame_core::{
    Claim, Error, Explanation, MapId, Model, Result, Sample, Subject,
    contract::{ExplainContext, Explainer, ItemRef},
    data::InputConvention,
    data::facts,
    data::safe_name,
    data::sha256_file,
    registry::{Assembly, BuildContext, Plugin},
    text::Spec,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    aimed::check_roles,
    finish::{Draft, Finish},
    meter::per_sample,
};
use crate::datasets::stem;

/// Reads maps from `.npy` files or gray pictures: so that any method can be seen, measured and
/// compared here. The network is not asked.
///
/// A file's name is the `pattern` with these filled in: `{id}` the sample's id; `{stem}` the name
/// of the picture's file without its extension; `{label}` the sample's class; `{role}` the
/// picture's role; `{side}` the role's first letter (`g`, `p`, `i`); `{map}` each name of `maps` in
/// turn; `{sign}` the same with `pos` for `similar` and `neg` for `dissimilar`. What is called
/// `similar` is taken for evidence of a match (e+), `dissimilar` for evidence against it (e−),
/// `combined` for both; any other name takes no side. The FAME authors'
/// layout of pairs is the default, for samples named by their row, as `Pairs(ids: Rows)` names
/// them; that of pictures is `"{stem}_{label}.npy"`. What our own Npy writer leaves is
/// `"{id}/NAME.{role}_{map}.npy"`, or `"{id}/NAME.{role}.npy"` for one map per picture; a finish
/// stands behind `{map}`: `"{id}/NAME.{role}_{map}_k49.npy"`.
///
/// A `.npy` file holds `[H, W]`, `[1, H, W]` or `[C, H, W]` of numbers, in either order, in the size
/// of the prepared picture; so does a picture, whose channels must agree. Floats are taken as they
/// are. Bytes are divided by 255 and 16-bit numbers by 65535, since that is how programs write 0..1
/// into them, unless they hold nothing but 0 and 1. Whole numbers of other types must be 0 and 1, or
/// `range` says what they mean. A missing file is a warning as long as another is there, and so is
/// whatever else can be meant in two ways.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Precomputed {
    /// The folder, relative to the recipe.
    pub dir: PathBuf,
    /// A file's name below it.
    #[serde(default = "authors_pattern")]
    pub pattern: String,
    /// What `{map}` and `{sign}` stand for. Without either of them in the pattern there is one map
    /// per picture.
    #[serde(default = "polarities")]
    pub maps: Vec<String>,
    /// Steps from the stored map to the finished one. Default: none.
    #[serde(default)]
    pub map: Vec<Spec>,
    /// Which pictures' maps to read, by role. Default: all.
    #[serde(default)]
    pub roles: Option<Vec<String>>,
    /// The stored numbers that mean 0 and 1: `(0, 100)` for percent. Default: what the
    /// numbers' type says.
    #[serde(default)]
    pub range: Option<(f64, f64)>,
}

fn authors_pattern() -> String {
    "{id}_{side}_{sign}.npy".into()
}

fn polarities() -> Vec<String> {
    vec!["similar".into(), "dissimilar".into()]
}

impl Plugin<dyn Explainer> for Precomputed {
    const NAME: &'static str = "Precomputed";
    const SUMMARY: &'static str =
        "Maps that another program made, read from .npy files or pictures";
    const CLAIM: &'static str =
        "Shows what another program computed; nothing is known here of how.";
    const EXAMPLE: &'static str = r#"Precomputed(dir: "maps", pattern: "{id}_{side}_{sign}.npy")"#;
    const REFERENCE: &'static str = "Default file layout: the FAME authors' code";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        let mut rest = self.pattern.clone();
        for known in PLACES {
            // Something stands there: `{id}/map.npy` does not begin at the root.
            rest = rest.replace(known, "x");
        }
        let outside = Path::new(&rest)
            .components()
            .any(|c| !matches!(c, std::path::Component::Normal(_) | std::path::Component::CurDir));
        assembly.check(
            "pattern",
            !rest.contains(['{', '}']),
            "knows {id}, {stem}, {label}, {role}, {side}, {map} and {sign} only",
        );
        let tells = self.pattern.contains("{id}") || self.pattern.contains("{stem}");
        assembly.check(
            "pattern",
            tells,
            "must contain {id} or {stem}, or all samples would share one map",
        );
        assembly.check("pattern", !outside, "must stay below `dir`");
        assembly.check("maps", !self.maps.is_empty(), "must name at least one map");
        let is_range = |(from, to): (f64, f64)| (to - from).is_finite() && from < to;
        assembly.check(
            "range",
            self.range.is_none_or(is_range),
            "must be two numbers, the lower one first",
        );
        check_roles(self.roles.as_deref(), assembly);
    }

    fn build(self, with: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<dyn Explainer>> {
        let finish = Finish::build(assembly, &self.map, with);
        let folder = with.folder.join(&self.dir);
        Some(Box::new(PrecomputedExplainer { parameters: self, folder, finish }))
    }
}

fame_core::register!(Explainer: Precomputed);

const PLACES: [&str; 7] = ["{id}", "{stem}", "{label}", "{role}", "{side}", "{map}", "{sign}"];

/// What a pattern's places stand for, but for the map.
struct PatternValues<'a> {
    id: &'a str,
    stem: &'a str,
    label: &'a str,
    role: &'a str,
    side: &'a str,
}

/// Stands for whatever a name may hold, in no name itself.
const ANY: &str = "\0";

struct PrecomputedExplainer {
    parameters: Precomputed,
    folder: PathBuf,
    finish: Finish,
}

impl Explainer for PrecomputedExplainer {
    fn check(&self, _: &Model) -> Result<()> {
        if self.folder.is_dir() {
            return Ok(());
        }
        let message =
            format!("the folder of precomputed maps `{}` is not there.", self.folder.display());
        Err(Error::new("fame::precomputed::no_folder", message)
            .with_help("`dir` is relative to the recipe's folder."))
    }

    fn files(&self, item: &ItemRef) -> Result<Vec<PathBuf>> {
        // Roles are known once the sample is loaded; until then any will do, and a file too many
        // costs nothing.
        let mut found = Vec::new();
        let stem =
            if let [file] = item.files.as_slice() { safe_name(stem(file)) } else { ANY.to_owned() };
        for (_, file) in self.files_of(&PatternValues {
            id: &item.id,
            stem: &stem,
            label: ANY,
            role: ANY,
            side: ANY,
        }) {
            let path = self.folder.join(file.replace(&ANY.repeat(2), ANY));
            let pattern = glob::Pattern::escape(&path.to_string_lossy()).replace(ANY, "*");
            let bad = |e: &dyn std::fmt::Display| {
                Error::new(
                    "fame::precomputed::file",
                    format!("`{pattern}` cannot be looked up: {e}."),
                )
            };
            for path in glob::glob(&pattern).map_err(|e| bad(&e))? {
                found.push(path.map_err(|e| bad(&e))?);
            }
        }
        found.sort();
        found.dedup();
        Ok(found)
    }

    fn explain(&self, with: &ExplainContext<'_>, samples: &[Sample]) -> Vec<Result<Explanation>> {
        per_sample(with, samples, |sample, _| self.sample(&with.model.manifest.input, sample))
    }
}

impl PrecomputedExplainer {
    fn sample(&self, input: &InputConvention, sample: &Sample) -> Result<Explanation> {
        let mut explanation = Explanation::default();
        let mut missing = Vec::new();
        let as_stored = self.parameters.map.is_empty();
        for role in sample.roles().filter(|role| {
            self.parameters.roles.as_ref().is_none_or(|wanted| wanted.iter().any(|w| w == role))
        }) {
            let side: String = role.chars().take(1).collect();
            let stem =
                sample.picture(role).map_or_else(String::new, |p| safe_name(stem(&p.source)));
            let label = sample.label.map_or_else(|| "unknown".to_owned(), |l| l.to_string());
            for (map, file) in self.files_of(&PatternValues {
                id: &sample.id,
                stem: &stem,
                label: &label,
                role,
                side: &side,
            }) {
                let path = self.folder.join(&file);
                if !path.is_file() {
                    missing.push(file);
                    continue;
                }
                let stored =
                    stored::read(&path, (input.height, input.width), self.parameters.range)?;
                let facts = facts([
                    ("file", file.as_str().into()),
                    ("sha256", sha256_file(&path)?.into()),
                    ("stored", stored.kind.as_str().into()),
                ]);
                let too_high = stored.above_one().filter(|_| as_stored);
                let warnings = stored.warning.iter().cloned().chain(too_high);
                explanation.warnings.extend(warnings.map(|warning| format!("`{file}` {warning}")));
                let draft = Draft::new(map_id(role, map), stored.values).with_facts(facts);
                self.finish.finish(draft, &mut explanation)?;
            }
        }
        if explanation.maps.is_empty() && explanation.warnings.is_empty() {
            let looked = if missing.is_empty() {
                "no role matches".to_owned()
            } else {
                format!("looked for {}", missing.join(", "))
            };
            let message = format!(
                "`{}` has no map of sample `{}` ({looked}).",
                self.folder.display(),
                sample.id
            );
            return Err(Error::new("fame::precomputed::no_map", message)
                .with_help("`pattern` and the samples' ids must lead to the files."));
        }
        explanation.warnings.extend(
            missing.into_iter().map(|file| format!("the precomputed map `{file}` is not there.")),
        );
        Ok(explanation)
    }

    /// The maps of one picture as the recipe calls them, with the files they should be in.
    fn files_of(&self, about: &PatternValues<'_>) -> Vec<(&str, String)> {
        let pattern = &self.parameters.pattern;
        let file = |map: &str| {
            let sign = match map {
                "similar" => "pos",
                "dissimilar" => "neg",
                other => other,
            };
            let PatternValues { id, stem, label, role, side } = *about;
            let values = [id, stem, label, role, side, map, sign];
            PLACES
                .iter()
                .zip(values)
                .fold(pattern.clone(), |name, (place, value)| name.replace(place, value))
        };
        if pattern.contains("{map}") || pattern.contains("{sign}") {
            self.parameters.maps.iter().map(|map| (map.as_str(), file(map))).collect()
        } else {
            vec![("", file(""))]
        }
    }
}

/// Which map it is that a recipe calls `map`.
fn map_id(role: &str, map: &str) -> MapId {
    let (subject, claim) = match map {
        "similar" => (Subject::Match, Claim::For),
        "dissimilar" => (Subject::Match, Claim::Against),
        "combined" => (Subject::Match, Claim::Both),
        "" => (Subject::Whole, Claim::Neither),
        other => (Subject::Named(other.to_owned()), Claim::Neither),
    };
    MapId::new(role).about(subject).claiming(claim)
}

#[cfg(test)]
mod tests;
