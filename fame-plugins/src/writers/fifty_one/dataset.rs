//! The dataset: a sample for each picture of each item, and the document of their fields.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use fame_core::{
    Result,
    data::{Value, safe_id, sha256_hex},
    run::{ItemRecord, MeasuredRow},
};
use serde_json::{Value as Json, json};

use super::{
    super::item_record::{self, Kind, MarkKinds, told},
    ABOUT, About, Class, Heatmap, RESERVED, ROOT, free, identifier,
};

/// The version of FiftyOne whose documents these are: later ones bring them up to date.
const VERSION: &str = "1.0.0";
/// The most points of a quantity that become fields each: more are a curve, which is for plots.
pub(super) const POINTS: usize = 10;

/// An item, as its folder has it.
pub(super) struct Item {
    /// The name of its folder.
    pub(super) place: String,
    record: ItemRecord,
    pictures: Vec<About>,
}

impl Item {
    pub(super) fn read(folder: &Path) -> Result<Self> {
        Ok(Self {
            place: folder.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            record: ItemRecord::read(folder)?,
            pictures: item_record::json(&folder.join(ROOT).join(ABOUT))?,
        })
    }

    /// The numbers measured of each picture: what each is, the name that its field should have, and
    /// the value. What belongs to no single picture belongs to all.
    fn measured(&self) -> Vec<(&About, What, String, f64)> {
        let rows: Vec<_> = self.record.rows().collect();
        let quantity = |row: &MeasuredRow| {
            [&row.explainer, &row.map, &row.metric, &row.quantity].map(String::clone)
        };
        let mut points: BTreeMap<[String; 4], usize> = BTreeMap::new();
        for (row, parameter, _) in &rows {
            *points.entry(quantity(row)).or_default() += usize::from(parameter.value().is_some());
        }
        let mut all = Vec::new();
        for (row, parameter, value) in rows {
            if parameter.value().is_some() && points[&quantity(row)] > POINTS {
                continue;
            }
            let of = |picture: &&About| {
                let is_it = |h: &&Heatmap| h.explainer == row.explainer && h.map == row.map;
                picture.heatmaps.iter().find(is_it).map(|heatmap| heatmap.field.clone())
            };
            let has_own = self.pictures.iter().any(|picture| of(&picture).is_some());
            for picture in self.pictures.iter().filter(|p| !has_own || of(p).is_some()) {
                let whole = || format!("{}_{}", row.explainer, row.map);
                let map = of(&picture).unwrap_or_else(whole);
                let what = [map, row.metric.clone(), row.quantity.clone(), parameter.to_string()];
                let wanted = identifier(&what.join("_"));
                all.push((picture, what, wanted, value));
            }
        }
        all
    }
}

/// What a measured number is: the field of its map, metric, quantity and parameter.
type What = [String; 4];

/// What all samples have in common: their fields, and the names of classes.
#[derive(Default)]
pub(super) struct Dataset {
    heatmaps: BTreeSet<String>,
    kinds: MarkKinds,
    classes: BTreeMap<usize, String>,
    /// Fields of what the dataset knows, with their types, by its name.
    marks: BTreeMap<String, (String, Kind)>,
    /// Fields of measurements by what they hold.
    measured: BTreeMap<What, String>,
    has_labels: bool,
    has_predictions: bool,
}

impl Dataset {
    /// The dataset of the items in `folders`.
    pub(super) fn of(folders: &[PathBuf]) -> Result<Self> {
        let mut all = Self::default();
        for folder in folders {
            all.note(&Item::read(folder)?);
        }
        // Names only now: what is taken must not depend on which item came first.
        let mut taken: BTreeSet<String> = RESERVED.into_iter().map(str::to_owned).collect();
        taken.extend(all.heatmaps.iter().cloned());
        let mut take = |wanted: &str| {
            let name = free(wanted, |name| taken.contains(name));
            taken.insert(name.clone());
            name
        };
        for (mark, kind) in all.kinds.iter() {
            all.marks.insert(mark.to_owned(), (take(&identifier(mark)), kind));
        }
        all.measured.values_mut().for_each(|wanted| *wanted = take(wanted));
        Ok(all)
    }

    /// Notes what the samples of an item have.
    fn note(&mut self, item: &Item) {
        self.kinds.note(&item.record.marks);
        self.has_labels |= item.record.label.is_some();
        // Where the network is wrong, its first class has another name.
        self.classes.extend(item.record.label.zip(item.record.label_name.clone()));
        for picture in &item.pictures {
            self.heatmaps.extend(picture.heatmaps.iter().map(|heatmap| heatmap.field.clone()));
            if let Some(Class { index, name, .. }) = &picture.predicted {
                self.has_predictions = true;
                self.classes.extend(name.clone().map(|name| (*index, name)));
            }
        }
        let measured = item.measured().into_iter();
        self.measured.extend(measured.map(|(_, what, wanted, _)| (what, wanted)));
    }

    /// The samples of an item, one for each of its pictures.
    pub(super) fn samples(&self, item: &Item) -> Vec<Json> {
        let mut samples: Vec<Json> =
            item.pictures.iter().map(|picture| self.sample(item, picture)).collect();
        for (picture, what, _, value) in item.measured() {
            let at = item.pictures.iter().position(|other| other.role == picture.role);
            if let (Some(at), Some(field)) = (at, self.measured.get(&what)) {
                samples[at][field] = value.into();
            }
        }
        samples
    }

    /// The sample of a picture, without what was measured.
    fn sample(&self, item: &Item, picture: &About) -> Json {
        let id = |what: &str| object_id(&format!("{}/{}/{what}", item.record.id, picture.role));
        let file = format!("{}/{}.png", item.place, safe_id(&picture.role));
        let [height, width] = picture.shown;
        let mut sample = json!({
            "_id": id("sample"), "_media_type": "image", "_rand": fraction(&id("sample")),
            "filepath": format!("data/{file}"), "tags": [],
            "metadata": {
                "_cls": "ImageMetadata", "mime_type": "image/png", "size_bytes": picture.bytes,
                "width": width, "height": height, "num_channels": 3,
            },
            "item": item.record.id, "role": picture.role, "source": picture.source,
            "frame": picture.frame,
        });
        let name = |class: usize| self.classes.get(&class).cloned();
        let classified = |field: &str, class: usize| {
            json!({
                "_id": id(field), "_cls": "Classification", "tags": [],
                "label": name(class).unwrap_or_else(|| class.to_string()), "index": class,
            })
        };
        if let Some(class) = item.record.label {
            sample["ground_truth"] = classified("ground_truth", class);
        }
        if let Some(first) = &picture.predicted {
            sample["predictions"] = classified("predictions", first.index);
            sample["predictions"]["confidence"] = first.probability.into();
        }
        for heatmap in &picture.heatmaps {
            let field = &heatmap.field;
            sample[field] = json!({
                "_id": id(field), "_cls": "Heatmap", "tags": [],
                "map_path": format!("fields/{field}/{file}"), "range": [0.0, 255.0],
                "low": f64::from(heatmap.low), "high": f64::from(heatmap.high),
                "claim": heatmap.claim,
            });
        }
        for (mark, (field, kind)) in &self.marks {
            let value = item.record.marks.get(mark).unwrap_or(&Value::Null);
            sample[field] = match (kind, value) {
                (_, Value::Null) => Json::Null,
                (Kind::Text, value) => told(value).into(),
                (Kind::Bool, value) => (*value == Value::Bool(true)).into(),
                (Kind::Whole, Value::Integer(number)) => (*number).into(),
                (Kind::Whole | Kind::Number, value) => value.as_f64().into(),
            };
        }
        sample
    }

    /// The document of the dataset: its fields with their types, as FiftyOne keeps them.
    pub(super) fn document(&self, record: &Json) -> Json {
        let plain = |name: &str, kind: &str| field(name, kind, &Json::Null, Vec::new());
        let text = |name: &str| plain(name, "StringField");
        let list = |name: &str| {
            let mut tags = plain(name, "ListField");
            tags["subfield"] = class("fields.StringField");
            tags
        };
        let id = || {
            let mut id = plain("id", "ObjectIdField");
            id["db_field"] = "_id".into();
            id
        };
        let embedded = |name: &str, of: &str, parts: Vec<Json>| {
            field(name, "EmbeddedDocumentField", &class(of), parts)
        };
        let label = |name: &str, of: &str, own: Vec<Json>| {
            embedded(name, of, [vec![id(), list("tags")], own].concat())
        };
        let whole = |name: &&str| plain(name, "IntField");
        let sizes = ["size_bytes", "width", "height", "num_channels"];
        let about = [vec![text("mime_type")], sizes.iter().map(whole).collect()].concat();
        let mut fields = vec![
            id(),
            text("filepath"),
            list("tags"),
            embedded("metadata", "metadata.ImageMetadata", about),
            text("_media_type"),
            plain("_rand", "FloatField"),
            plain("_dataset_id", "ObjectIdField"),
        ];
        for name in ["created_at", "last_modified_at"] {
            let mut moment = plain(name, "DateTimeField");
            moment["read_only"] = true.into();
            fields.push(moment);
        }
        fields.extend(["item", "role", "source", "frame"].map(text));
        let classes = [("ground_truth", self.has_labels), ("predictions", self.has_predictions)];
        for (name, _) in classes.into_iter().filter(|(_, is_there)| *is_there) {
            let own = vec![
                text("label"),
                plain("confidence", "FloatField"),
                plain("logits", "VectorField"),
                plain("index", "IntField"),
            ];
            fields.push(label(name, "labels.Classification", own));
        }
        for name in &self.heatmaps {
            let mut range = plain("range", "HeatmapRangeField");
            range["subfield"] = class("fields.FloatField");
            let own = vec![
                plain("map", "ArrayField"),
                text("map_path"),
                range,
                plain("low", "FloatField"),
                plain("high", "FloatField"),
                text("claim"),
            ];
            fields.push(label(name, "labels.Heatmap", own));
        }
        fields.extend(self.marks.values().map(|(name, kind)| {
            let kind = match kind {
                Kind::Bool => "BooleanField",
                Kind::Whole => "IntField",
                Kind::Number => "FloatField",
                Kind::Text => "StringField",
            };
            plain(name, kind)
        }));
        let mut measured: Vec<&String> = self.measured.values().collect();
        measured.sort();
        fields.extend(measured.into_iter().map(|name| plain(name, "FloatField")));
        json!({
            "version": VERSION, "media_type": "image", "tags": [], "sample_fields": fields,
            "frame_fields": [], "group_media_types": {}, "classes": {}, "default_classes": [],
            "mask_targets": {}, "default_mask_targets": {}, "skeletons": {},
            "saved_views": [], "workspaces": [], "annotation_runs": {}, "brain_methods": {},
            "evaluations": {}, "runs": {},
            "info": {
                "fame_version": record["fame_version"], "model": record["model"]["name"],
                "recipe": record["recipe"]["file"],
            },
        })
    }
}

/// A field of samples or of what is embedded in them: its name, the type in FiftyOne's `fields`,
/// and what is embedded, with its fields.
fn field(name: &str, kind: &str, embedded: &Json, fields: Vec<Json>) -> Json {
    json!({
        "name": name, "db_field": name, "ftype": class(&format!("fields.{kind}")),
        "embedded_doc_type": embedded, "subfield": null, "fields": fields, "description": null,
        "info": null, "read_only": false,
    })
}

/// A class of FiftyOne by its full name.
fn class(name: &str) -> Json {
    format!("fiftyone.core.{name}").into()
}

/// The id of a document, which follows from what it is: the same run gives the same file.
fn object_id(what: &str) -> Json {
    json!({ "$oid": sha256_hex(what.as_bytes())[..24] })
}

/// A number of 0..1 that FiftyOne shuffles samples by, from the sample's id.
fn fraction(id: &Json) -> f64 {
    let digits = id["$oid"].as_str().and_then(|id| id.get(..8));
    let number = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
    f64::from(number.unwrap_or_default()) / (f64::from(u32::MAX) + 1.0)
}
