//! `FiftyOne`: a run as a dataset of the program FiftyOne.

mod dataset;
mod frame;

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{BufWriter, Cursor, Write},
    path::{Path, PathBuf},
};

use fame_core::{
    Error, NamedMap, Result,
    contract::{FinishedItem, Writer},
    data::{Facts, Value, file_name, replace_folder, safe_id, write_whole},
    registry::{Assembly, BuildContext, Plugin},
};
use image::ImageFormat;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::{entries, folders, item_record};
use crate::{
    losses::TOP_BEFORE,
    pictures::{encode_png, to_rgb8},
};
use dataset::{Dataset, Item};
use frame::Frame;

/// The run as a dataset that FiftyOne (from 1.0 on) imports, in `<out>/fiftyone`:
///
/// ```text
/// fiftyone.Dataset.from_dir("OUT/fiftyone", dataset_type=fiftyone.types.FiftyOneDataset)
/// ```
///
/// Every picture of an item that has a map is a sample, with the item's id in `item` and its role
/// in `role` (`dataset.group_by("item")` puts the sides of a pair together); of an item without
/// maps every picture is. Each map is a heatmap in a field called after explainer and map; each
/// measurement a number in a field called after that, metric, quantity and parameter, but for
/// curves of more than 10 points; what the dataset knows of an item has fields of its own. The
/// label is `ground_truth` and the network's first class `predictions`, by name where a name is
/// known; `index` is the class's number.
///
/// Heatmaps are gray pictures of 8 bits. Where the prepare steps can be undone they have the size
/// of the photograph, and the value 0 where the network saw none of it; else that of the prepared
/// picture: the field `frame` says which, `photograph` or `prepared`. `low` and `high` of a heatmap
/// are the values of the map that its bytes 0 and 255 stand for: 0 (or the lowest value, if that is
/// negative) and the highest. Of maps with channels the mean is shown.
///
/// The picture that is shown is a copy in `data`, of a photograph that was prepared a reduced one
/// of at most 512 pixels a side; `source` says where it came from. The folder holds all it needs and
/// may be moved. Each item keeps its files in its own folder, below `fiftyone`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FiftyOne {}

impl Plugin<dyn Writer> for FiftyOne {
    const NAME: &'static str = "FiftyOne";
    const SUMMARY: &'static str = "The run as a dataset that FiftyOne imports";
    const EXAMPLE: &'static str = "FiftyOne()";
    const REFERENCE: &'static str = "FiftyOneDataset, docs.voxel51.com/user_guide/import_datasets";

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Writer>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Writer: FiftyOne);

/// The folder in an item's, and in the run's.
const ROOT: &str = "fiftyone";
/// What the item's folder says of its pictures and heatmaps.
const ABOUT: &str = "pictures.json";
/// Fields that FiftyOne or every sample of ours has: no map may take their names.
const RESERVED: [&str; 13] = [
    "id",
    "filepath",
    "tags",
    "metadata",
    "created_at",
    "last_modified_at",
    "media_type",
    "item",
    "role",
    "source",
    "frame",
    "ground_truth",
    "predictions",
];

/// A picture of an item, as its own folder tells of it.
#[derive(Debug, Deserialize, Serialize)]
struct About {
    role: String,
    source: String,
    /// What the heatmaps lie over: `photograph` or `prepared`.
    frame: String,
    /// Rows and columns of the copy that is shown.
    shown: [usize; 2],
    /// Its size in bytes.
    bytes: usize,
    /// The network's first class for it, where an explainer says so.
    predicted: Option<Class>,
    heatmaps: Vec<Heatmap>,
}

/// A class with its probability.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Class {
    index: usize,
    name: Option<String>,
    probability: Option<f64>,
}

/// A heatmap of a picture.
#[derive(Debug, Deserialize, Serialize)]
struct Heatmap {
    explainer: String,
    map: String,
    /// The field that holds it, and the folder of its file.
    field: String,
    claim: String,
    /// The map's values at 0 and 255.
    low: f32,
    high: f32,
}

impl Writer for FiftyOne {
    fn write(&self, item: &FinishedItem<'_>, folder: &Path) -> Result<Vec<String>> {
        let mut files = Vec::new();
        let mut all = Vec::new();
        let explained: BTreeSet<&str> =
            super::maps(item).map(|(_, map)| map.id.role.as_str()).collect();
        let is_shown = |role: &str| explained.is_empty() || explained.contains(role);
        for (role, picture) in item.sample.pictures.iter().filter(|(role, _)| is_shown(role)) {
            let file = format!("{}.png", safe_id(role));
            let frame = Frame::of(picture);
            let shown = to_rgb8(frame.shown)?;
            let bytes = encode_png(&shown)?;
            let mut about = About {
                role: role.clone(),
                source: picture.source.clone(),
                frame: frame.name().to_owned(),
                shown: [shown.height() as usize, shown.width() as usize],
                bytes: bytes.len(),
                predicted: None,
                heatmaps: Vec::new(),
            };
            files.push(save(folder, format!("{ROOT}/data/{file}"), &bytes)?);
            for (explainer, map) in super::maps(item).filter(|(_, map)| map.id.role == *role) {
                about.predicted = about.predicted.or_else(|| predicted(&map.facts));
                let field = field_of(explainer, map, &about.heatmaps);
                let (gray, [low, high]) = frame.gray(map)?;
                let mut bytes = Vec::new();
                gray.write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png).map_err(|e| {
                    let message = format!("map `{}` cannot be written as PNG: {e}.", map.name());
                    Error::new("fame::picture::encode", message)
                })?;
                files.push(save(folder, format!("{ROOT}/fields/{field}/{file}"), &bytes)?);
                about.heatmaps.push(Heatmap {
                    explainer: explainer.to_owned(),
                    map: map.name(),
                    field,
                    claim: map.id.claim.word().to_owned(),
                    low,
                    high,
                });
            }
            all.push(about);
        }
        let text = serde_json::to_vec_pretty(&all).map_err(no_json)?;
        files.push(save(folder, format!("{ROOT}/{ABOUT}"), &text)?);
        Ok(files)
    }

    fn gather(&self, out: &Path, items: &[PathBuf]) -> Result<Vec<String>> {
        replace_folder(&out.join(ROOT), |draft| {
            let dataset = Dataset::of(items)?;
            let path = draft.join("samples.json");
            let failed = |e: std::io::Error| Error::io("write", &path, &e);
            let mut file = BufWriter::new(File::create(&path).map_err(failed)?);
            file.write_all(b"{\"samples\": [").map_err(failed)?;
            let mut between = "\n";
            for folder in items {
                let item = Item::read(folder)?;
                for sample in dataset.samples(&item) {
                    write!(file, "{between}{sample}").map_err(failed)?;
                    between = ",\n";
                }
                link_all(&folder.join(ROOT), draft, &item.place)?;
            }
            file.write_all(b"\n]}\n").map_err(failed)?;
            file.into_inner().map_err(|e| failed(e.into_error()))?.sync_all().map_err(failed)?;
            let record: Json = item_record::json(&out.join("run.json"))?;
            let text = serde_json::to_vec_pretty(&dataset.document(&record)).map_err(no_json)?;
            write_whole(&draft.join("metadata.json"), &text)
        })?;
        Ok(vec![ROOT.to_owned()])
    }
}

fn no_json(e: serde_json::Error) -> Error {
    Error::bug(format!("a sample is no JSON: {e}."))
}

/// Writes `bytes` as `name` below the item's folder and returns `name`.
fn save(folder: &Path, name: String, bytes: &[u8]) -> Result<String> {
    let path = super::place(folder, &name)?;
    let parent = path.parent().unwrap_or(folder);
    fs::create_dir_all(parent).map_err(|e| Error::io("create", parent, &e))?;
    write_whole(&path, bytes)?;
    Ok(name)
}

/// The field of a map: the explainer's name, what the map says, and its finish and stage, which are
/// the same for all roles. A name that is taken gets a number.
fn field_of(explainer: &str, map: &NamedMap, before: &[Heatmap]) -> String {
    let (says, id) = (map.id.says(), &map.id);
    let words = [Some(explainer), Some(says.as_str()), id.finish.as_deref(), id.stage.as_deref()];
    let words: Vec<&str> = words.into_iter().flatten().filter(|word| !word.is_empty()).collect();
    let is_taken =
        |name: &str| RESERVED.contains(&name) || before.iter().any(|heatmap| heatmap.field == name);
    // It is the name of a folder too.
    free(&identifier(&file_name(&words.join("_"), "")), is_taken)
}

/// `name`, or with a number behind it where it is taken.
fn free(name: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let numbered = (2..).map(|n| format!("{name}_{n}"));
    let mut all = std::iter::once(name.to_owned()).chain(numbered);
    all.find(|name| !is_taken(name)).unwrap_or_default()
}

/// `text` as a name that FiftyOne takes and Python reads as an attribute: letters, digits and `_`,
/// a letter first, none of several `_` in a row.
fn identifier(text: &str) -> String {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let name = words.collect::<Vec<_>>().join("_");
    let is_named = name.starts_with(|c: char| c.is_ascii_alphabetic());
    if is_named { name } else { format!("f_{name}") }
}

/// The first class that the network gave for the clean picture, where the loss tells it.
fn predicted(facts: &Facts) -> Option<Class> {
    let Some(Value::List(top)) = facts.get(TOP_BEFORE) else { return None };
    let first = top.first()?;
    Some(Class {
        index: first.get("class")?.as_f64()? as usize,
        name: first.get("name").and_then(Value::as_str).map(str::to_owned),
        probability: first.get("probability").and_then(Value::as_f64),
    })
}

/// Links the files of an item's folder `from` into the dataset `to`: those in `data` and in each
/// folder of `fields` into a folder of the item's own, `place`.
fn link_all(from: &Path, to: &Path, place: &str) -> Result<()> {
    for folder in folders(&from.join("fields"))?.into_iter().chain([from.join("data")]) {
        let target = to.join(folder.strip_prefix(from).unwrap_or(&folder)).join(place);
        fs::create_dir_all(&target).map_err(|e| Error::io("create", &target, &e))?;
        for file in entries(&folder)? {
            let target = target.join(file.file_name().unwrap_or_default());
            // Not every file system links.
            if fs::hard_link(&file, &target).is_err() {
                fs::copy(&file, &target).map_err(|e| Error::io("write", &target, &e))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
