//! `ImageNet`: the validation set, in every form it lies on disks.

use std::collections::{BTreeMap, BTreeSet};

use fame_core::{
    Error, Result, Sample,
    contract::{Dataset, Files, ItemRef},
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    boxes::{BoxEnd, numbers},
    entry::{Entry, name_pictures, picture_contents, picture_notes},
    ids::without_extension,
    list::{Faults, Table, Wrong, below, text_of},
};
use crate::pictures;

/// ImageNet's validation pictures, or any set in its form, one item each, in the role `image`.
///
/// `root` is flat (`ILSVRC2012_val_00000001.JPEG`) or has a folder for each class (`n01440764/…`,
/// as torchvision's `ImageFolder`); which of them is found out. A class's number is its line in
/// `classes`, from 0; without `classes` it is the place of the class's folder among all, sorted.
///
/// Which pictures, in which order, is said by `list`: Kaggle's `LOC_val_solution.csv`
/// (`ImageId,PredictionString`) or the FAME authors' protocols (a third column `target`).
/// `PredictionString` holds groups of `wnid x_min y_min x_max y_max`; the label is the first
/// group's, and every group is a box. A picture listed twice counts twice. Without `list` all
/// pictures are taken, sorted. `boxes` is a folder of VOC XML files, which then are what says where
/// the boxes are; for flat pictures without a list, it also says the labels. A file that says another
/// size than its picture has fails that item.
///
/// Pictures are decoded as stored, without EXIF's turns: the boxes were drawn so, and torchvision
/// reads them so.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageNet {
    /// The folder of pictures, relative to the recipe.
    pub root: String,
    /// The list of pictures with labels and boxes.
    #[serde(default)]
    pub list: Option<String>,
    /// `LOC_synset_mapping.txt`, or any list whose lines begin with a class's name in the order of
    /// the model's outputs.
    #[serde(default)]
    pub classes: Option<String>,
    /// A folder of VOC XML files, one for each picture.
    #[serde(default)]
    pub boxes: Option<String>,
    /// Whether `x_max` and `y_max` are the first pixels outside a box or the last inside.
    #[serde(default)]
    pub box_end: BoxEnd,
}

impl Plugin<dyn Dataset> for ImageNet {
    const NAME: &'static str = "ImageNet";
    const SUMMARY: &'static str =
        "ImageNet's validation set, flat or in class folders, with labels and boxes: role image";
    const EXAMPLE: &'static str =
        r#"ImageNet(root: "val", list: "LOC_val_solution.csv", classes: "LOC_synset_mapping.txt")"#;
    const REFERENCE: &'static str =
        "Russakovsky et al., IJCV 2015; lists: Kaggle, and the FAME authors' code";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("root", !self.root.is_empty(), "must name a folder");
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Dataset>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Dataset: ImageNet);

/// A picture of the folder, and the class folder it lies in.
struct Found {
    file: String,
    class: Option<String>,
}

impl Dataset for ImageNet {
    fn files(&self) -> Vec<String> {
        [Some(self.root.clone()), self.list.clone(), self.classes.clone(), self.boxes.clone()]
            .into_iter()
            .flatten()
            .collect()
    }

    fn index(&self, files: &dyn Files) -> Result<Vec<ItemRef>> {
        let pictures = self.pictures(files)?;
        let classes =
            Classes { numbers: self.numbers(&pictures, files)?, from: self.classes.as_deref() };
        let found = match &self.list {
            Some(list) => self.listed(list, &pictures, &classes, files)?,
            None => self.all(&pictures, &classes, files)?,
        };
        Ok(name_pictures(found))
    }

    fn contents(&self, items: &[ItemRef]) -> Option<String> {
        picture_contents(items)
    }

    fn notes(&self, items: &[ItemRef]) -> Vec<String> {
        picture_notes(items)
    }

    fn load(&self, item: &ItemRef, files: &dyn Files) -> Result<Sample> {
        let file = item
            .files
            .first()
            .ok_or_else(|| Error::bug(format!("item `{}` has no file.", item.id)))?;
        Entry::of(item)?.image(item, pictures::load_as_stored(&files.locate(file)?, file)?)
    }
}

/// The numbers of classes, and what says them.
struct Classes<'a> {
    numbers: BTreeMap<String, usize>,
    from: Option<&'a str>,
}

impl Classes<'_> {
    fn number(&self, class: &str) -> std::result::Result<usize, Wrong> {
        let what = if self.from.is_some() {
            "the class is not in `classes`"
        } else {
            "there is no folder of this class"
        };
        self.numbers.get(class).copied().ok_or((what, class.to_owned()))
    }
}

impl ImageNet {
    /// Every picture below `root`, by its name without the extension.
    fn pictures(&self, files: &dyn Files) -> Result<BTreeMap<String, Vec<Found>>> {
        let mut all: BTreeMap<String, Vec<Found>> = BTreeMap::new();
        let (names, folders) = Self::entries(&self.root, files)?;
        let mut add = |folder: &str, class: Option<&str>, name: &str| {
            let found = Found { file: below(folder, name), class: class.map(str::to_owned) };
            all.entry(without_extension(name).to_owned()).or_default().push(found);
        };
        names.iter().for_each(|name| add(&self.root, None, name));
        if names.is_empty() {
            for class in &folders {
                let folder = below(&self.root, class);
                Self::entries(&folder, files)?
                    .0
                    .iter()
                    .for_each(|name| add(&folder, Some(class), name));
            }
        }
        if all.is_empty() {
            let message =
                format!("folder `{}` holds no picture, nor do the folders in it.", self.root);
            return Err(Error::new("fame::data::empty_folder", message).with_help(
                "`root` is the folder of the validation pictures, or of their class folders.",
            ));
        }
        Ok(all)
    }

    /// The pictures and the folders in a folder, sorted.
    fn entries(folder: &str, files: &dyn Files) -> Result<(Vec<String>, Vec<String>)> {
        let failed = |e: std::io::Error| {
            Error::new(
                "fame::data::unreadable_folder",
                format!("folder `{folder}` cannot be read: {e}."),
            )
        };
        let (mut pictures, mut folders) = (Vec::new(), Vec::new());
        for entry in std::fs::read_dir(files.locate(folder)?).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let is_picture = pictures::has_extension(&name, &pictures::EXTENSIONS);
            if name.starts_with('.') {
                continue;
            }
            // Links are followed: a class folder is often one.
            if is_picture {
                pictures.push(name);
            } else if entry.path().is_dir() {
                folders.push(name);
            }
        }
        pictures.sort();
        folders.sort();
        Ok((pictures, folders))
    }

    fn numbers(
        &self,
        pictures: &BTreeMap<String, Vec<Found>>,
        files: &dyn Files,
    ) -> Result<BTreeMap<String, usize>> {
        let Some(classes) = &self.classes else {
            let names: BTreeSet<&String> =
                pictures.values().flatten().filter_map(|f| f.class.as_ref()).collect();
            return Ok(names.into_iter().enumerate().map(|(n, name)| (name.clone(), n)).collect());
        };
        let text = text_of(classes, files)?;
        let mut faults = Faults::new(classes);
        let mut numbers = BTreeMap::new();
        let lines = text
            .lines()
            .enumerate()
            .filter_map(|(n, line)| Some((n + 1, line.split_whitespace().next()?)));
        for (number, (line, name)) in lines.enumerate() {
            if numbers.insert(name.to_owned(), number).is_some() {
                faults.add(line, "the class is listed twice", name);
            }
        }
        faults.into_result()?;
        Ok(numbers)
    }

    fn listed(
        &self,
        list: &str,
        pictures: &BTreeMap<String, Vec<Found>>,
        classes: &Classes<'_>,
        files: &dyn Files,
    ) -> Result<Vec<(String, Entry)>> {
        let mut table = Table::read(list, files)?;
        refuse_devkit(&table)?;
        if classes.numbers.is_empty() {
            return Err(Error::new("fame::data::no_classes", format!("list `{list}` names classes, and nothing says their numbers."))
                .with_help("Add `classes`: LOC_synset_mapping.txt lists the classes in the order of the model's outputs."));
        }
        let Some(header) = table.header(&["ImageId", "PredictionString"])? else {
            let message =
                format!("the first line of list `{list}` is not `ImageId,PredictionString`.");
            return Err(Error::new("fame::data::columns", message)
                .with_help("Lists of another form are read by ImageList(list: …)."));
        };
        let [image, boxes] = header.need([&["ImageId"], &["PredictionString"]])?;
        let target = header.find(&["target"]);
        let mut faults = Faults::new(list);
        let mut voc = Vec::new();
        let mut found = Vec::new();
        for (row, (line, cells)) in table.rows.iter().enumerate() {
            let cell = |at: usize| cells.get(at).map_or("", String::as_str);
            let groups = faults.keep(*line, groups(cell(boxes), self.box_end));
            let file = faults.keep(*line, only(pictures, cell(image)));
            let (Some(mut boxes), Some(file)) = (groups, file) else { continue };
            let named = target.map(cell).filter(|t| !t.is_empty());
            let first = boxes.first().map(|(class, _)| class.clone());
            let Some(class) = first.clone().or(named.map(str::to_owned)) else {
                faults.add(*line, "the row names no class", "");
                continue;
            };
            if let (Some(first), Some(named)) = (&first, named)
                && first != named
            {
                faults.add(*line, "`PredictionString` and `target` name different classes", named);
            }
            let label = faults.keep(*line, classes.number(&class));
            let mut size = None;
            if let Some(folder) = &self.boxes {
                let read = self.voc(folder, cell(image), None, files, &mut voc).unwrap_or_default();
                (boxes, size) = (read.boxes, read.size);
            }
            found.push((file.file.clone(), Entry { row, label, boxes, size, ..Entry::default() }));
        }
        voc.insert(0, faults);
        Faults::all(voc)?;
        Ok(found)
    }

    fn all(
        &self,
        pictures: &BTreeMap<String, Vec<Found>>,
        classes: &Classes<'_>,
        files: &dyn Files,
    ) -> Result<Vec<(String, Entry)>> {
        let mut faults = Vec::new();
        let mut found = Vec::new();
        for (name, picture) in
            pictures.iter().flat_map(|(name, all)| all.iter().map(move |p| (name, p)))
        {
            let Annotated { boxes, size } = match &self.boxes {
                Some(folder) => self
                    .voc(folder, name, picture.class.as_deref(), files, &mut faults)
                    .unwrap_or_default(),
                None => Annotated::default(),
            };
            let class = picture.class.as_deref().or(boxes.first().map(|(class, _)| class.as_str()));
            let mut of_picture = Faults::new(&picture.file);
            // Without `classes`, the names in XML files have no numbers; the pictures then have no
            // label, which is noted.
            let label = class
                .filter(|_| !classes.numbers.is_empty())
                .and_then(|class| of_picture.keep(1, classes.number(class)));
            faults.push(of_picture);
            found.push((picture.file.clone(), Entry { label, boxes, size, ..Entry::default() }));
        }
        Faults::all(faults)?;
        found.sort_by(|a, b| a.0.cmp(&b.0));
        found.iter_mut().enumerate().for_each(|(row, (_, entry))| entry.row = row);
        Ok(found)
    }

    /// What the XML file of a picture says. Its faults, if any, are added to `faults`.
    fn voc(
        &self,
        folder: &str,
        name: &str,
        class: Option<&str>,
        files: &dyn Files,
        faults: &mut Vec<Faults>,
    ) -> Option<Annotated> {
        let flat = below(folder, &format!("{name}.xml"));
        let inner = class.map(|class| below(folder, &format!("{class}/{name}.xml")));
        let there = |file: &String| files.locate(file).is_ok_and(|p| p.is_file());
        let shown = inner.filter(there).unwrap_or(flat);
        let mut of_file = Faults::new(&shown);
        let boxes = match text_of(&shown, files) {
            Ok(text) => self.rectangles(&text, &mut of_file),
            Err(e) => {
                of_file.add(
                    1,
                    "there is no XML file of the picture",
                    e.message.trim_end_matches('.'),
                );
                None
            }
        };
        faults.push(of_file);
        boxes
    }

    fn rectangles(&self, xml: &str, faults: &mut Faults) -> Option<Annotated> {
        let document = match roxmltree::Document::parse(xml) {
            Ok(document) => document,
            Err(e) => {
                faults.add(e.pos().row as usize, "this is not XML", &e.to_string());
                return None;
            }
        };
        let root = document.root_element();
        let side = |tag| child(child(root, "size")?, tag)?.text()?.trim().parse::<usize>().ok();
        // Tools that do not know the size write 0.
        let size = side("width").zip(side("height")).filter(|(w, h)| *w > 0 && *h > 0);
        let mut boxes = Vec::new();
        for object in root.children().filter(|n| n.has_tag_name("object")) {
            let line = document.text_pos_at(object.range().start).row as usize;
            let corners = bounds(object)
                .and_then(|cells| numbers(&cells.each_ref().map(String::as_str)))
                .and_then(|corners| self.box_end.corners(corners));
            if let Some(corners) = faults.keep(line, corners) {
                boxes.push((text_in(object, "name"), corners));
            }
        }
        if boxes.is_empty() {
            faults.add(1, "the file holds no box", "");
        }
        Some(Annotated { boxes, size })
    }
}

/// What an XML file says of its picture.
#[derive(Default)]
struct Annotated {
    /// Classes and boxes of the objects.
    boxes: Vec<(String, [f32; 4])>,
    /// Width and height, where the file says them.
    size: Option<(usize, usize)>,
}

/// The first child called `tag`. Children only: the parts of an object (head, hand) are objects in
/// form, with names and boxes of their own, and stand inside it.
fn child<'a, 'd>(node: roxmltree::Node<'a, 'd>, tag: &str) -> Option<roxmltree::Node<'a, 'd>> {
    node.children().find(|n| n.has_tag_name(tag))
}

/// The text of the child called `tag`; empty where there is none.
fn text_in(node: roxmltree::Node<'_, '_>, tag: &str) -> String {
    child(node, tag).and_then(|n| n.text()).unwrap_or_default().trim().to_owned()
}

/// The corners of an object's own box, by tag: tools write them in different orders.
fn bounds(object: roxmltree::Node<'_, '_>) -> std::result::Result<[String; 4], Wrong> {
    let bounds = child(object, "bndbox").ok_or(("an object has no <bndbox>", String::new()))?;
    Ok(["xmin", "ymin", "xmax", "ymax"].map(|tag| text_in(bounds, tag)))
}

/// The only picture called `name`.
fn only<'a>(
    pictures: &'a BTreeMap<String, Vec<Found>>,
    name: &str,
) -> std::result::Result<&'a Found, Wrong> {
    match pictures.get(name).map(Vec::as_slice) {
        Some([one]) => Ok(one),
        Some(_) => Err(("several pictures have this name", name.to_owned())),
        None => Err(("there is no picture of this name", name.to_owned())),
    }
}

/// Groups of `wnid x_min y_min x_max y_max`.
fn groups(text: &str, end: BoxEnd) -> std::result::Result<Vec<(String, [f32; 4])>, Wrong> {
    let cells: Vec<&str> = text.split_whitespace().collect();
    if !cells.len().is_multiple_of(5) {
        return Err((
            "`PredictionString` is not groups of `wnid x_min y_min x_max y_max`",
            text.to_owned(),
        ));
    }
    cells
        .chunks(5)
        .map(|group| Ok((group[0].to_owned(), end.corners(numbers(&group[1..])?)?)))
        .collect()
}

/// The devkit's labels count the classes in an order of their own: read as class numbers, every
/// accuracy would be that of chance, with no other sign.
fn refuse_devkit(table: &Table) -> Result<()> {
    let numbers = |cells: &[String]| matches!(cells, [only] if only.parse::<u32>().is_ok());
    if !table.rows.iter().take(3).all(|(_, cells)| numbers(cells)) {
        return Ok(());
    }
    let message = format!(
        "`{}` looks like the development kit's `ILSVRC2012_validation_ground_truth.txt`. Its numbers are ILSVRC2012_IDs, which count the classes in another order than \
         networks do.",
        table.file
    );
    Err(Error::new("fame::data::devkit_labels", message)
        .with_help("Use LOC_val_solution.csv with LOC_synset_mapping.txt, or sort the pictures into folders named by wnid."))
}

#[cfg(test)]
mod tests {
    use fame_core::Sample;

    use super::super::{
        ROW,
        testing::{Beside, build, told},
    };

    const GRAY: [u8; 3] = [128; 3];
    const CLASSES: &str = "n01 tench, Tinca tinca\n\nn02 goldfish\n";

    fn flat() -> Beside {
        let files = Beside::with(&[("val/v_1.JPEG", GRAY), ("val/v_2.JPEG", GRAY)]);
        put(&files, "classes.txt", CLASSES);
        files
    }

    fn put(files: &Beside, name: &str, text: &str) {
        let path = files.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn read(files: &Beside, spec: &str) -> Vec<Sample> {
        let set = build(spec).unwrap();
        set.index(files).unwrap().iter().map(|item| set.load(item, files).unwrap()).collect()
    }

    fn brief(samples: &[Sample]) -> Vec<(&str, Option<usize>, usize)> {
        samples
            .iter()
            .map(|s| (s.id.as_str(), s.label, s.pictures[0].1.annotations.len()))
            .collect()
    }

    const LISTED: &str = r#"ImageNet(root: "val", list: "l.csv", classes: "classes.txt")"#;

    #[test]
    fn kaggles_list_and_the_authors_are_read() {
        let files = flat();
        put(
            &files,
            "l.csv",
            "ImageId,PredictionString\nv_2,n02 0 0 2 3 n02 1 1 500 2 \nv_1,n01 0 0 1 1 \n",
        );
        let samples = read(&files, LISTED);
        assert_eq!(brief(&samples), [("v_2", Some(1), 2), ("v_1", Some(0), 1)]);
        let second = &samples[0].pictures[0].1.annotations[1];
        assert_eq!(
            (second.name.as_str(), second.label.as_deref(), &second.points[..]),
            ("box", Some("n02"), &[[1.0, 1.0], [4.0, 2.0]][..])
        );
        // The authors' protocols repeat pictures.
        put(
            &files,
            "l.csv",
            "ImageId,PredictionString,target\nv_2,n02 0 0 2 3 ,n02\nv_2,n02 0 0 2 3 ,n02\nv_1,,n01\n",
        );
        let samples = read(&files, LISTED);
        assert_eq!(
            brief(&samples),
            [("val_v_2", Some(1), 1), ("val_v_2-2", Some(1), 1), ("v_1", Some(0), 0)]
        );
        assert_eq!(samples[2].marks.get(&ROW), Some(2));
        let set = build(LISTED).unwrap();
        let notes = set.notes(&set.index(&files).unwrap());
        assert_eq!(
            notes,
            [
                "3 rows name 2 different pictures: 1 repeat an earlier row, and count as often as they are listed."
            ]
        );
    }

    #[test]
    fn class_folders_number_their_classes() {
        let files = Beside::with(&[
            ("val/n02/b.JPEG", GRAY),
            ("val/n01/a.jpg", GRAY),
            ("val/n07/a.png", GRAY),
        ]);
        let samples = read(&files, r#"ImageNet(root: "val")"#);
        assert_eq!(
            brief(&samples),
            [("val_n01_a", Some(0), 0), ("b", Some(1), 0), ("val_n07_a", Some(2), 0)]
        );
        put(&files, "l.csv", "ImageId,PredictionString\nb,n02 0 0 2 3 \n");
        assert_eq!(
            brief(&read(&files, r#"ImageNet(root: "val/", list: "l.csv")"#)),
            [("b", Some(1), 1)]
        );
    }

    const XML: &str = "<annotation><filename>v_1</filename><size><width>4</width><height>3</height></size>
        <object><name>n02</name><bndbox><xmin>0</xmin><xmax>2</xmax><ymin>1</ymin><ymax>2</ymax></bndbox></object>
        <object><name>n02</name><bndbox><ymin>0</ymin><ymax>1</ymax><xmin>0</xmin><xmax>9</xmax></bndbox></object></annotation>";

    #[test]
    fn voc_boxes_are_found_by_tag_and_say_the_class() {
        let files = flat();
        put(&files, "xml/v_1.xml", XML);
        put(&files, "xml/v_2.xml", XML);
        let samples = read(
            &files,
            r#"ImageNet(root: "val", classes: "classes.txt", boxes: "xml", box_end: Inclusive)"#,
        );
        assert_eq!(brief(&samples), [("v_1", Some(1), 2), ("v_2", Some(1), 2)]);
        assert_eq!(samples[0].pictures[0].1.annotations[0].points, [[0.0, 1.0], [3.0, 3.0]]);
        // A list may still say which pictures, in which order.
        put(&files, "l.csv", "ImageId,PredictionString\nv_2,n02 0 0 1 1 \n");
        let samples = read(
            &files,
            r#"ImageNet(root: "val", list: "l.csv", classes: "classes.txt", boxes: "xml")"#,
        );
        assert_eq!(brief(&samples), [("v_2", Some(1), 2)]);
        assert_eq!(samples[0].pictures[0].1.annotations[0].points, [[0.0, 1.0], [2.0, 2.0]]);
    }

    #[test]
    fn malformed_lists_are_told_all_at_once() {
        let files = flat();
        let index = |spec: &str| told(build(spec).unwrap().index(&files).unwrap_err());
        put(
            &files,
            "l.csv",
            "ImageId,PredictionString,target\nv_1,n01 0 0 1 ,n01\nv_9,n01 0 0 1 1,n01\nv_1,n03 0 0 1 1,n03\nv_1,n01 5 0 1 1,n01\nv_1,n01 a 0 1 1,n01\nv_1,n01 0 0 1 1,n02\nv_1,,\n",
        );
        insta::assert_snapshot!("imagenet_rows", index(LISTED));
        insta::assert_snapshot!(
            "imagenet_no_classes",
            index(r#"ImageNet(root: "val", list: "l.csv")"#)
        );
        put(&files, "l.csv", "490\n361\n171\n");
        insta::assert_snapshot!("imagenet_devkit", index(LISTED));
        put(&files, "l.csv", "name,class\nv_1,n01\n");
        insta::assert_snapshot!("imagenet_columns", index(LISTED));
        put(&files, "xml/v_1.xml", &XML.replace("<xmax>2</xmax>", "<xmax>0</xmax>"));
        put(&files, "xml/v_2.xml", "<annotation>\n<object>\n</annotation>");
        insta::assert_snapshot!(
            "imagenet_xml",
            index(r#"ImageNet(root: "val", classes: "classes.txt", boxes: "xml")"#)
        );
        put(&files, "classes.txt", "n01 a\nn02 b\nn01 c\n");
        insta::assert_snapshot!(
            "imagenet_classes",
            index(r#"ImageNet(root: "val", classes: "classes.txt")"#)
        );
        std::fs::create_dir(files.path().join("none")).unwrap();
        insta::assert_snapshot!("imagenet_empty", index(r#"ImageNet(root: "none")"#));
    }
}
