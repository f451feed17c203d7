//! `Coco`: pictures and boxes from a COCO JSON file.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    marker::PhantomData,
};

use fame_core::{
    Error, Result, Sample,
    contract::{Dataset, Files, ItemRef},
    data::safe_id,
    registry::{Assembly, BuildContext, Plugin},
    text::suggestion,
};
use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, SeqAccess, Visitor},
};

use super::{Boxed, Faults};
use crate::pictures::Orientation;

/// The pictures of a COCO file (`images`, `annotations` with `bbox: [x, y, width, height]` and
/// `iscrowd`, `categories`), one item each, in the order of their ids, with their boxes as
/// annotations named `box` that carry the category's name. Segmentations are ignored. Every
/// malformed record is reported, with its place, before anything runs.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Coco {
    /// The JSON file, relative to the recipe.
    pub annotations: String,
    /// The folder of the pictures, relative to the recipe.
    pub images: String,
    /// Only boxes of these categories, by name. Default: all.
    #[serde(default)]
    pub categories: Option<Vec<String>>,
    /// Whether regions marked as crowds count as boxes.
    #[serde(default)]
    pub crowds: bool,
    /// Whether pictures without a box are left out.
    #[serde(default)]
    pub boxed_only: bool,
    /// `Upright`, or `Stored` when the boxes were drawn on the pixels as stored.
    #[serde(default)]
    pub orientation: Orientation,
}

impl Plugin<dyn Dataset> for Coco {
    const NAME: &'static str = "Coco";
    const SUMMARY: &'static str = "Pictures with boxes from a COCO JSON file: role image";
    const EXAMPLE: &'static str =
        r#"Coco(annotations: "coco/annotations/instances_val2017.json", images: "coco/val2017", categories: ["dog"])"#;
    const REFERENCE: &'static str = "Lin et al., Microsoft COCO, ECCV 2014; its data format page";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("annotations", !self.annotations.is_empty(), "must name a file");
        assembly.check("images", !self.images.is_empty(), "must name a folder");
        assembly.check("categories", self.categories.as_ref().is_none_or(|c| !c.is_empty()), "must name at least one category");
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Dataset>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Dataset: Coco);

/// The file.
#[derive(Deserialize)]
struct Lists {
    images: Records<Image>,
    annotations: Records<Annotated>,
    categories: Records<Category>,
}

/// The records of a list, each by itself: one that is malformed does not hide the others. Only the
/// wanted fields are kept, so memory holds no segmentations.
struct Records<T>(Vec<std::result::Result<T, String>>);

impl<'de, T: DeserializeOwned> Deserialize<'de> for Records<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_seq(List(PhantomData))
    }
}

/// Reads [`Records`] one by one.
struct List<T>(PhantomData<T>);

impl<'de, T: DeserializeOwned> Visitor<'de> for List<T> {
    type Value = Records<T>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list of records")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<Records<T>, A::Error> {
        let mut all = Vec::new();
        while let Some(record) = list.next_element::<serde_json::Value>()? {
            // People look for a record by its id.
            let id = record.get("id").and_then(serde_json::Value::as_u64);
            all.push(serde_json::from_value(record).map_err(|e| id.map_or(e.to_string(), |id| format!("{e} (id {id})"))));
        }
        Ok(Records(all))
    }
}

#[derive(Deserialize)]
struct Image {
    id: u64,
    file_name: String,
    width: u32,
    height: u32,
}

#[derive(Deserialize)]
struct Annotated {
    image_id: u64,
    category_id: u64,
    bbox: [f64; 4],
    #[serde(default)]
    iscrowd: u8,
}

#[derive(Deserialize)]
struct Category {
    id: u64,
    name: String,
}

impl Dataset for Coco {
    fn files(&self) -> Vec<String> {
        vec![self.annotations.clone(), self.images.clone()]
    }

    fn index(&self, files: &dyn Files) -> Result<Vec<ItemRef>> {
        let path = files.locate(&self.annotations)?;
        let text = std::fs::read_to_string(&path)
            .map_err(|e| Error::new("fame_detection::unreadable", format!("`{}` cannot be read: {e}.", self.annotations)))?;
        let lists: Lists = serde_json::from_str(&text).map_err(|e| {
            let message =
                format!("`{}` is no COCO file: line {}, column {}: {}.", self.annotations, e.line(), e.column(), without_place(&e));
            Error::new("fame_detection::malformed", message)
                .with_help("A COCO file is a JSON object with the lists `images`, `annotations` and `categories`.")
        })?;
        drop(text);
        let mut reader = Reader { faults: Faults::default() };
        let categories = reader.categories(lists.categories);
        let mut images = reader.images(lists.images);
        reader.boxes(lists.annotations, &categories, &mut images, self);
        reader.faults.report(&format!("`{}`", self.annotations))?;
        self.known(categories.values())?;
        images.retain(|_, (_, boxed)| !(self.boxed_only && boxed.boxes.is_empty()));
        if images.is_empty() {
            return Err(Error::new("fame_detection::empty", format!("`{}` names no picture that is asked for.", self.annotations)));
        }
        self.items(&images)
    }

    fn load(&self, item: &ItemRef, files: &dyn Files) -> Result<Sample> {
        Boxed::load(item, files, self.orientation)
    }
}

impl Coco {
    fn known<'a>(&self, names: impl Iterator<Item = &'a String>) -> Result<()> {
        let names: Vec<&str> = names.map(String::as_str).collect();
        let Some(wrong) = self.categories.iter().flatten().find(|c| !names.contains(&c.as_str())) else { return Ok(()) };
        let mut e = Error::new("fame_detection::category", format!("`{}` has no category `{wrong}`.", self.annotations));
        e.help = suggestion(wrong, &names, "category");
        Err(e)
    }

    /// Items by picture: named after the file, and by the picture's id where two files share a
    /// name.
    fn items(&self, images: &BTreeMap<u64, (String, Boxed)>) -> Result<Vec<ItemRef>> {
        let folder = self.images.trim_end_matches('/');
        let stem = |file: &str| {
            let name = file.rsplit('/').next().unwrap_or(file);
            safe_id(name.rsplit_once('.').map_or(name, |(stem, _)| stem))
        };
        let mut uses: BTreeMap<String, usize> = BTreeMap::new();
        images.values().for_each(|(file, _)| *uses.entry(stem(file).to_ascii_lowercase()).or_insert(0) += 1);
        let item = |(id, (file, boxed)): (&u64, &(String, Boxed))| {
            let name = stem(file);
            let alone = uses[&name.to_ascii_lowercase()] == 1;
            let id = if alone { name } else { format!("{name}-id{id}") };
            Ok(ItemRef { id, files: vec![format!("{folder}/{file}")], note: boxed.note()? })
        };
        images.iter().map(item).collect()
    }
}

/// Reads records and notes all that is wrong with them.
struct Reader {
    faults: Faults,
}

impl Reader {
    /// A record that could be read; what could not is noted with its list and number, from 0.
    fn record<T>(&mut self, list: &str, number: usize, record: std::result::Result<T, String>) -> Option<T> {
        record.map_err(|what| self.fault(list, number, what)).ok()
    }

    fn fault(&mut self, list: &str, number: usize, what: String) {
        self.faults.add(format!("{list}[{number}]"), what);
    }

    fn categories(&mut self, records: Records<Category>) -> BTreeMap<u64, String> {
        let mut all = BTreeMap::new();
        for (n, record) in records.0.into_iter().enumerate() {
            let Some(Category { id, name }) = self.record("categories", n, record) else { continue };
            if all.insert(id, name).is_some() {
                self.fault("categories", n, format!("id {id} is taken"));
            }
        }
        all
    }

    fn images(&mut self, records: Records<Image>) -> BTreeMap<u64, (String, Boxed)> {
        let mut all = BTreeMap::new();
        for (n, record) in records.0.into_iter().enumerate() {
            let Some(Image { id, file_name, width, height }) = self.record("images", n, record) else { continue };
            let fault = if file_name.is_empty() || file_name.starts_with('/') || file_name.split('/').any(|part| part == "..") {
                format!("file_name `{file_name}` does not lie in the folder of pictures (id {id})")
            } else if width == 0 || height == 0 {
                format!("a picture of {width}×{height} pixels (id {id})")
            } else if let Entry::Vacant(place) = all.entry(id) {
                place.insert((file_name, Boxed { size: Some((width, height)), boxes: Vec::new() }));
                continue;
            } else {
                format!("id {id} is taken")
            };
            self.fault("images", n, fault);
        }
        all
    }

    fn boxes(
        &mut self,
        records: Records<Annotated>,
        categories: &BTreeMap<u64, String>,
        images: &mut BTreeMap<u64, (String, Boxed)>,
        asked: &Coco,
    ) {
        let wanted: Option<BTreeSet<&str>> = asked.categories.as_ref().map(|c| c.iter().map(String::as_str).collect());
        for (n, record) in records.0.into_iter().enumerate() {
            let Some(Annotated { image_id, category_id, bbox, iscrowd }) = self.record("annotations", n, record) else { continue };
            let [x, y, width, height] = bbox;
            let fault = match (images.get_mut(&image_id), categories.get(&category_id)) {
                (None, _) => format!("image_id {image_id} is no picture of the list"),
                (_, None) => format!("category_id {category_id} is no category of the list"),
                (Some((_, Boxed { size: Some((w, h)), .. })), _) if !inside(bbox, f64::from(*w), f64::from(*h)) => {
                    format!("bbox [{x}, {y}, {width}, {height}] is no box on a picture of {w}×{h} pixels")
                }
                (Some((_, boxed)), Some(category)) => {
                    if (iscrowd == 0 || asked.crowds) && wanted.as_ref().is_none_or(|w| w.contains(category.as_str())) {
                        boxed.boxes.push((category.clone(), [x, y, x + width, y + height].map(|v| v as f32)));
                    }
                    continue;
                }
            };
            self.fault("annotations", n, fault);
        }
    }
}

/// What serde says, without where.
fn without_place(e: &serde_json::Error) -> String {
    e.to_string().split(" at line ").next().unwrap_or_default().to_owned()
}

/// Whether a box has an inside and lies on the picture, but for a pixel of rounding.
fn inside([x, y, width, height]: [f64; 4], w: f64, h: f64) -> bool {
    let on = |from: f64, length: f64, extent: f64| {
        from.is_finite() && length > 0.0 && from >= -1.0 && from + length <= extent + 1.0 && from < extent
    };
    on(x, width, w) && on(y, height, h)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Beside, build};

    const GOOD: &str = r#"{
  "images": [
    {"id": 7, "file_name": "b.png", "width": 8, "height": 6},
    {"id": 3, "file_name": "sub/a.png", "width": 4, "height": 4, "licence": 1},
    {"id": 9, "file_name": "empty.png", "width": 4, "height": 4}
  ],
  "annotations": [
    {"id": 1, "image_id": 7, "category_id": 18, "bbox": [1, 2, 3.5, 4.5], "iscrowd": 0, "segmentation": [[1, 2, 3, 4, 5, 6]]},
    {"id": 2, "image_id": 7, "category_id": 1, "bbox": [0, 0, 8, 6], "iscrowd": 1, "segmentation": {"counts": [1], "size": [6, 8]}},
    {"id": 3, "image_id": 3, "category_id": 1, "bbox": [1, 1, 2, 2]}
  ],
  "categories": [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}]
}"#;

    fn files(json: &str) -> Beside {
        let files = Beside::new();
        files.write("list.json", json);
        files.picture("val/b.png", 8, 6);
        files.picture("val/sub/a.png", 4, 4);
        files.picture("val/empty.png", 4, 4);
        files
    }

    #[test]
    fn pictures_come_with_their_boxes() {
        let files = files(GOOD);
        let coco = build(r#"Coco(annotations: "list.json", images: "val/")"#);
        let items = coco.index(&files).unwrap();
        assert_eq!(
            items.iter().map(|i| (i.id.as_str(), i.files[0].as_str())).collect::<Vec<_>>(),
            [("a", "val/sub/a.png"), ("b", "val/b.png"), ("empty", "val/empty.png")]
        );
        let sample = coco.load(&items[1], &files).unwrap();
        let boxes = &sample.picture("image").unwrap().annotations;
        // The crowd is left out; the dog's box reaches half a pixel beyond the picture and is cut.
        assert_eq!(boxes.len(), 1);
        assert_eq!((boxes[0].label.as_deref(), &boxes[0].points[..]), (Some("dog"), &[[1.0, 2.0], [4.5, 6.0]][..]));
    }

    #[test]
    fn categories_crowds_and_empty_pictures_are_the_recipes_choice() {
        let files = files(GOOD);
        let count = |extra: &str| {
            let coco = build(&format!(r#"Coco(annotations: "list.json", images: "val", {extra})"#));
            let items = coco.index(&files).unwrap();
            items.iter().map(|i| coco.load(i, &files).unwrap().pictures[0].1.annotations.len()).collect::<Vec<_>>()
        };
        assert_eq!(count("crowds: true"), [1, 2, 0]);
        assert_eq!(count(r#"categories: ["dog"]"#), [0, 1, 0]);
        assert_eq!(count("boxed_only: true"), [1, 1]);
        let e = build(r#"Coco(annotations: "list.json", images: "val", categories: ["dogs"])"#).index(&files).unwrap_err();
        assert_eq!((e.message.as_str(), e.help.as_deref()), ("`list.json` has no category `dogs`.", Some("did you mean `dog`?")));
    }

    #[test]
    fn every_malformed_record_is_reported_with_its_place() {
        let broken = GOOD
            .replace("[1, 2, 3.5, 4.5]", "[1, 2, 3.5]")
            .replace("\"image_id\": 3", "\"image_id\": 4")
            .replace(r#""bbox": [0, 0, 8, 6], "iscrowd": 1"#, r#""bbox": [0, 0, 80, 6], "iscrowd": 1"#)
            .replace("sub/a.png", "../a.png")
            .replace(r#"{"id": 1, "name": "person"}"#, r#"{"id": 1}, {"id": 1, "name": "person"}"#);
        let e = build(r#"Coco(annotations: "list.json", images: "val")"#).index(&files(&broken)).unwrap_err();
        assert_eq!(
            e.message,
            "`list.json` has 5 malformed records:
  categories[0]: missing field `name` (id 1)
  images[1]: file_name `../a.png` does not lie in the folder of pictures (id 3)
  annotations[0]: invalid length 3, expected an array of length 4 (id 1)
  annotations[1]: bbox [0, 0, 80, 6] is no box on a picture of 8×6 pixels
  annotations[2]: image_id 4 is no picture of the list"
        );
        let cut = build(r#"Coco(annotations: "list.json", images: "val")"#).index(&files(&GOOD[..200])).unwrap_err();
        assert!(cut.message.starts_with("`list.json` is no COCO file: line 5, column 42: EOF while parsing a string."), "{}", cut.message);
    }

    #[test]
    fn boxes_of_another_size_are_refused() {
        let files = files(
            &GOOD
                .replace(r#""width": 8, "height": 6"#, r#""width": 6, "height": 8"#)
                .replace("[1, 2, 3.5, 4.5]", "[1, 2, 3, 4]")
                .replace("[0, 0, 8, 6]", "[0, 0, 6, 8]"),
        );
        let coco = build(r#"Coco(annotations: "list.json", images: "val")"#);
        let items = coco.index(&files).unwrap();
        let e = coco.load(&items[1], &files).unwrap_err();
        assert_eq!(e.message, "picture `val/b.png` is 8×6 pixels, but its boxes were drawn on 6×8.");
        assert!(e.help.unwrap().contains("orientation: Stored"));
    }
}
