//! `Precomputed`: maps that another program made, as an explainer.

use std::path::{Path, PathBuf};

use fame_core::{
    Claim, Error, Explanation, MapId, Model, Result, Sample, Subject, Tensor,
    contract::{ExplainContext, Explainer, ItemRef},
    data::InputConvention,
    data::facts,
    data::safe_id,
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

/// Reads maps from `.npy` files and hands them on as they are: so that any method can be seen,
/// measured and compared here. The network is not asked.
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
/// A file holds `[H, W]`, `[1, H, W]` or `[C, H, W]` of 32- or 64-bit floats or bytes, in either
/// order, in the size of the prepared picture. A missing file is a warning as long as another is
/// there.
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
}

fn authors_pattern() -> String {
    "{id}_{side}_{sign}.npy".into()
}

fn polarities() -> Vec<String> {
    vec!["similar".into(), "dissimilar".into()]
}

impl Plugin<dyn Explainer> for Precomputed {
    const NAME: &'static str = "Precomputed";
    const SUMMARY: &'static str = "Maps that another program made, read from .npy files";
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
            if let [file] = item.files.as_slice() { safe_id(stem(file)) } else { ANY.to_owned() };
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
        for role in sample.roles().filter(|role| {
            self.parameters.roles.as_ref().is_none_or(|wanted| wanted.iter().any(|w| w == role))
        }) {
            let side: String = role.chars().take(1).collect();
            let stem = sample.picture(role).map_or_else(String::new, |p| safe_id(stem(&p.source)));
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
                let raw = read(&path, (input.height, input.width))?;
                let facts =
                    facts([("file", file.as_str().into()), ("sha256", sha256_file(&path)?.into())]);
                let draft = Draft::new(map_id(role, map), raw).with_facts(facts);
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

/// One `.npy` file as `[C, H, W]`.
fn read(path: &Path, (height, width): (usize, usize)) -> Result<Tensor> {
    let bytes = std::fs::read(path).map_err(|e| Error::io("read", path, &e))?;
    let bad =
        |why: String| Error::new("fame::precomputed::file", format!("`{}` {why}.", path.display()));
    let npy =
        npyz::NpyFile::new(&bytes[..]).map_err(|e| bad(format!("is not a .npy file: {e}")))?;
    let shape: Vec<usize> = npy.shape().iter().map(|d| *d as usize).collect();
    let full = match shape.as_slice() {
        [h, w] => [1, *h, *w],
        [c, h, w] if *c > 0 => [*c, *h, *w],
        _ => return Err(bad(format!("has shape {shape:?}; a map is [H, W] or [C, H, W]"))),
    };
    if full[1..] != [height, width] {
        return Err(bad(format!(
            "holds a map of {} × {} pixels (width × height), but the prepared picture has {width} × {height}",
            full[2], full[1]
        ))
        .with_help("A precomputed map scores the pixels the network sees: prepare the pictures as the other program did."));
    }
    let fortran = npy.order() == npyz::Order::Fortran;
    let kind = npy.dtype().descr();
    let cut = |e: std::io::Error| bad(format!("cannot be read: {e}"));
    let values: Vec<f32> = match kind.trim_matches('\'') {
        "<f4" | ">f4" => npy.into_vec::<f32>().map_err(cut)?,
        "<f8" | ">f8" => {
            npy.into_vec::<f64>().map_err(cut)?.into_iter().map(|v| v as f32).collect()
        }
        "|u1" => npy.into_vec::<u8>().map_err(cut)?.into_iter().map(f32::from).collect(),
        other => {
            return Err(bad(format!(
                "holds values of type {other}; float32, float64 and uint8 can be read"
            )));
        }
    };
    let values = if fortran { row_major(&values, full) } else { values };
    Tensor::new(full, values)
}

/// Values of column-major `[C, H, W]` (or `[H, W]`) in row-major order.
fn row_major(values: &[f32], [channels, height, width]: [usize; 3]) -> Vec<f32> {
    let at = |c: usize, y: usize, x: usize| values[c + channels * (y + height * x)];
    (0..channels)
        .flat_map(|c| (0..height).flat_map(move |y| (0..width).map(move |x| at(c, y, x))))
        .collect()
}

#[cfg(test)]
mod tests {
    use fame_core::{NamedMap, registry::Registry};
    use npyz::WriterBuilder as _;

    use super::*;

    fn running(dir: &Path, rest: &str) -> PrecomputedExplainer {
        let registry = Registry::builtin().unwrap();
        let mut parameters: Precomputed =
            fame_core::text::parse(&format!("(dir: {dir:?}{rest})")).unwrap();
        let with = BuildContext::new(&registry, Path::new("/"));
        let steps = std::mem::take(&mut parameters.map);
        assert!(steps.is_empty());
        PrecomputedExplainer {
            folder: with.folder.join(&parameters.dir),
            parameters,
            finish: Finish::none(),
        }
    }

    fn save<T: npyz::AutoSerialize + Copy>(
        path: &Path,
        shape: &[u64],
        order: npyz::Order,
        values: &[T],
    ) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut bytes = Vec::new();
        let mut npy = npyz::WriteOptions::new()
            .default_dtype()
            .shape(shape)
            .order(order)
            .writer(&mut bytes)
            .begin_nd()
            .unwrap();
        npy.extend(values.iter().copied()).unwrap();
        npy.finish().unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn pair() -> Sample {
        let picture = || fame_core::Picture::new(Tensor::zeros([3, 2, 3]), "x").unwrap();
        Sample {
            id: "7".into(),
            pictures: vec![("gallery".into(), picture()), ("probe".into(), picture())],
            ..Sample::default()
        }
    }

    fn input() -> InputConvention {
        let order = fame_core::data::ChannelOrder::Rgb;
        InputConvention {
            channels: 3,
            height: 2,
            width: 3,
            order,
            mean: vec![0.0; 3],
            std: vec![1.0; 3],
        }
    }

    const VALUES: [f32; 6] = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];

    #[test]
    fn the_authors_layout_and_ours_are_read() {
        let dir = tempfile::tempdir().unwrap();
        save(&dir.path().join("7_g_pos.npy"), &[2, 3], npyz::Order::C, &VALUES);
        save(&dir.path().join("7_p_neg.npy"), &[1, 2, 3], npyz::Order::C, &VALUES.map(f64::from));
        save(
            &dir.path().join("7/fame.probe.npy"),
            &[2, 3],
            npyz::Order::Fortran,
            &[0.0f32, 3.0, 1.0, 4.0, 2.0, 5.0],
        );
        let explanation = running(dir.path(), "").sample(&input(), &pair()).unwrap();
        let names: Vec<String> = explanation.maps.iter().map(NamedMap::name).collect();
        assert_eq!(names, ["gallery_similar", "probe_dissimilar"]);
        let claims: Vec<Claim> = explanation.maps.iter().map(|m| m.id.claim).collect();
        assert_eq!(claims, [Claim::For, Claim::Against]);
        assert!(
            explanation
                .maps
                .iter()
                .all(|m| m.finished == Tensor::new([2, 3], VALUES.to_vec()).unwrap())
        );
        assert_eq!(
            explanation.warnings.len(),
            2,
            "two of the four are missing: {:?}",
            explanation.warnings
        );
        let ours =
            running(dir.path(), r#", pattern: "{id}/fame.{role}.npy", roles: Some(["probe"])"#)
                .sample(&input(), &pair())
                .unwrap();
        assert_eq!(
            (ours.maps[0].name().as_str(), ours.maps[0].finished.data()),
            ("probe", &VALUES[..])
        );
    }

    #[test]
    fn the_files_of_an_item_are_known_before_its_pictures_are() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["7_g_pos.npy", "7_p_neg.npy", "8_g_pos.npy", "7_p_other.npy", "7_g_[x].npy"] {
            save(&dir.path().join(name), &[2, 3], npyz::Order::C, &VALUES);
        }
        let item = ItemRef { id: "7".into(), files: vec![], note: String::new() };
        let files = running(dir.path(), "").files(&item).unwrap();
        assert_eq!(files, ["7_g_pos.npy", "7_p_neg.npy"].map(|name| dir.path().join(name)));
        let odd = running(dir.path(), r#", pattern: "{id}_{side}{role}_[x].npy""#);
        assert_eq!(odd.files(&item).unwrap(), [dir.path().join("7_g_[x].npy")]);
        let nested = running(dir.path(), r#", pattern: "{role}/{id}.npy""#);
        assert!(nested.files(&item).unwrap().is_empty());
        save(&dir.path().join("probe/7.npy"), &[2, 3], npyz::Order::C, &VALUES);
        assert_eq!(nested.files(&item).unwrap(), [dir.path().join("probe/7.npy")]);
    }

    #[test]
    fn the_authors_maps_of_pictures_are_found_by_name_and_class() {
        let dir = tempfile::tempdir().unwrap();
        save(&dir.path().join("val_5_7.npy"), &[2, 3], npyz::Order::C, &VALUES);
        save(&dir.path().join("val_51_7.npy"), &[2, 3], npyz::Order::C, &VALUES);
        let picture = fame_core::Picture::new(Tensor::zeros([3, 2, 3]), "in/val_5.JPEG").unwrap();
        // The id of a picture that is listed twice.
        let sample = Sample {
            id: "val_5-2".into(),
            label: Some(7),
            pictures: vec![("image".into(), picture)],
            ..Sample::default()
        };
        let reads = running(dir.path(), r#", pattern: "{stem}_{label}.npy""#);
        assert_eq!(reads.sample(&input(), &sample).unwrap().maps[0].finished.data(), VALUES);
        let item =
            ItemRef { id: sample.id, files: vec!["in/val_5.JPEG".into()], note: String::new() };
        assert_eq!(reads.files(&item).unwrap(), [dir.path().join("val_5_7.npy")]);
    }

    #[test]
    fn patterns_stay_below_their_folder_and_know_their_places() {
        let registry = Registry::builtin().unwrap();
        let with = BuildContext::new(&registry, Path::new("/"));
        let problems = |pattern: &str| {
            let spec =
                Spec::from_text(&format!("Precomputed(dir: \"maps\", pattern: {pattern:?})"))
                    .unwrap();
            registry
                .build::<dyn Explainer>(&spec, &with)
                .err()
                .map(|p| p[0].message.clone())
                .unwrap_or_default()
        };
        for good in ["{id}/fame.{role}_{map}.npy", "{id}_{side}_{sign}.npy", "./{id}.npy"] {
            assert_eq!(problems(good), "", "{good}");
        }
        for (bad, says) in [
            ("/tmp/{id}.npy", "below"),
            ("../{id}.npy", "below"),
            ("{id}/../../x.npy", "below"),
            ("{index}_{id}.npy", "knows"),
            ("a.npy", "{id}"),
        ] {
            assert!(problems(bad).contains(says), "{bad}: {}", problems(bad));
        }
    }

    #[test]
    fn a_wrong_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let says = |explained: Result<Explanation>| explained.unwrap_err().message;
        assert!(says(running(dir.path(), "").sample(&input(), &pair())).contains("7_g_pos.npy"));
        save(&dir.path().join("7_g_pos.npy"), &[3, 2], npyz::Order::C, &VALUES);
        let message = says(running(dir.path(), "").sample(&input(), &pair()));
        assert!(
            message.contains("7_g_pos.npy")
                && message.contains("2 × 3 pixels")
                && message.contains("3 × 2"),
            "{message}"
        );
        std::fs::write(dir.path().join("7_g_pos.npy"), "no").unwrap();
        assert!(
            says(running(dir.path(), "").sample(&input(), &pair())).contains("is not a .npy file")
        );
        save(&dir.path().join("7_g_pos.npy"), &[2, 3], npyz::Order::C, &[1i32; 6]);
        assert!(
            says(running(dir.path(), "").sample(&input(), &pair())).contains("uint8 can be read")
        );
    }
}
