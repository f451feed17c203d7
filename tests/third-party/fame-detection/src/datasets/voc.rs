//! `Voc`: pictures and boxes from a folder of Pascal VOC XML files.

use fame_core::{
    Error, Result, Sample,
    contract::{Dataset, Files, ItemRef},
    data::safe_id,
    registry::{Assembly, BuildContext, Plugin},
};
use roxmltree::{Document, Node};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Boxed, Faults};
use crate::pictures::Orientation;

/// How corners are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Origin {
    /// As Pascal VOC: the first pixel is 1 and `xmax`, `ymax` are the last pixels inside.
    #[default]
    One,
    /// As ImageNet and most annotation tools: the first pixel is 0, and `xmax`, `ymax` are where
    /// the box ends.
    Zero,
}

/// The pictures of a folder of XML files as Pascal VOC and ImageNet have them
/// (`annotation/object/bndbox`), one item each, sorted by name or in the order of `list`, with
/// their boxes as annotations named `box` that carry the object's name. Elements are found by their
/// tags, in any order. Every malformed file is reported, with line, before anything runs.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Voc {
    /// The folder of the XML files, relative to the recipe.
    pub annotations: String,
    /// The folder of the pictures, relative to the recipe. A picture is called as its XML file
    /// says, or as the file itself.
    pub images: String,
    /// A file of names, one a line, such as `ImageSets/Main/val.txt`; what follows a name on its
    /// line is ignored. Default: every XML file.
    #[serde(default)]
    pub list: Option<String>,
    /// Extension of pictures where the XML file's `filename` has none, as ImageNet's.
    #[serde(default = "jpg")]
    pub extension: String,
    /// `One` or `Zero`.
    #[serde(default)]
    pub origin: Origin,
    /// Whether objects marked as difficult count.
    #[serde(default)]
    pub difficult: bool,
    /// `Upright`, or `Stored` when the boxes were drawn on the pixels as stored.
    #[serde(default)]
    pub orientation: Orientation,
}

fn jpg() -> String {
    "jpg".to_owned()
}

impl Plugin<dyn Dataset> for Voc {
    const NAME: &'static str = "Voc";
    const SUMMARY: &'static str = "Pictures with boxes from a folder of Pascal VOC XML files: role image";
    const EXAMPLE: &'static str =
        r#"Voc(annotations: "VOC2012/Annotations", images: "VOC2012/JPEGImages", list: "VOC2012/ImageSets/Main/val.txt")"#;
    const REFERENCE: &'static str = "Everingham et al., The Pascal Visual Object Classes Challenge, IJCV 2010";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        for (field, value) in [("annotations", &self.annotations), ("images", &self.images)] {
            assembly.check(field, !value.is_empty(), "must name a folder");
        }
        assembly.check("list", self.list.as_ref().is_none_or(|l| !l.is_empty()), "must name a file");
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Dataset>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Dataset: Voc);

impl Dataset for Voc {
    fn files(&self) -> Vec<String> {
        [&self.annotations, &self.images].into_iter().chain(&self.list).cloned().collect()
    }

    fn index(&self, files: &dyn Files) -> Result<Vec<ItemRef>> {
        let names = self.names(files)?;
        let (mut faults, mut items) = (Faults::default(), Vec::with_capacity(names.len()));
        for name in names {
            let shown = format!("{}/{name}.xml", self.annotations.trim_end_matches('/'));
            let text = match files.locate(&shown).map(std::fs::read_to_string)? {
                Ok(text) => text,
                Err(e) => {
                    faults.add(&shown, format!("cannot be read: {e}"));
                    continue;
                }
            };
            let before = faults.0.len();
            if let Some((file, boxed)) = self.read(&text, &name, &shown, &mut faults)
                && faults.0.len() == before
            {
                let file = format!("{}/{file}", self.images.trim_end_matches('/'));
                items.push(ItemRef { id: safe_id(&name), files: vec![file], note: boxed.note()? });
            }
        }
        faults.report(&format!("folder `{}`", self.annotations))?;
        Ok(items)
    }

    fn load(&self, item: &ItemRef, files: &dyn Files) -> Result<Sample> {
        Boxed::load(item, files, self.orientation)
    }
}

impl Voc {
    /// Names without extension: of the list, or of all XML files of the folder.
    fn names(&self, files: &dyn Files) -> Result<Vec<String>> {
        let unreadable = |what: &str, e: std::io::Error| Error::new("fame_detection::unreadable", format!("`{what}` cannot be read: {e}."));
        let mut names: Vec<String> = if let Some(list) = &self.list {
            let text = std::fs::read_to_string(files.locate(list)?).map_err(|e| unreadable(list, e))?;
            text.lines().filter_map(|l| l.split_whitespace().next()).map(str::to_owned).collect()
        } else {
            let folder = std::fs::read_dir(files.locate(&self.annotations)?).map_err(|e| unreadable(&self.annotations, e))?;
            let all = folder.map(|e| e.map(|e| e.file_name().to_string_lossy().into_owned())).collect::<std::io::Result<Vec<_>>>();
            let mut all: Vec<String> = all
                .map_err(|e| unreadable(&self.annotations, e))?
                .iter()
                .filter_map(|n| n.strip_suffix(".xml"))
                .map(str::to_owned)
                .collect();
            all.sort_unstable();
            all
        };
        let mut seen = std::collections::BTreeSet::new();
        names.retain(|name| seen.insert(safe_id(name).to_ascii_lowercase()));
        if names.is_empty() {
            let message = format!("no XML file is named by `{}`.", self.list.as_ref().unwrap_or(&self.annotations));
            return Err(Error::new("fame_detection::empty", message));
        }
        Ok(names)
    }

    /// The picture's file and boxes; everything wrong goes to `faults`.
    fn read(&self, text: &str, name: &str, shown: &str, faults: &mut Faults) -> Option<(String, Boxed)> {
        let document = Document::parse(text).map_err(|e| faults.add(shown, e)).ok()?;
        let root = document.root_element();
        let place = |node: Node<'_, '_>| format!("{shown}, line {}", document.text_pos_at(node.range().start).row);
        if root.tag_name().name() != "annotation" {
            faults.add(place(root), format!("the root is <{}>, not <annotation>", root.tag_name().name()));
            return None;
        }
        let side = |tag: &str| child(root, "size").and_then(|size| child(size, tag)).and_then(|n| n.text()?.trim().parse::<u32>().ok());
        // Tools that do not know the size write 0.
        let size = side("width").zip(side("height")).filter(|(w, h)| *w > 0 && *h > 0);
        let mut boxes = Vec::new();
        for object in root.children().filter(|n| n.has_tag_name("object")) {
            let label = child(object, "name").and_then(|n| n.text()).map(str::trim).filter(|t| !t.is_empty());
            let corners = self.corners(object);
            match (label, corners) {
                (None, _) => faults.add(place(object), "an object without <name>"),
                (_, Err(what)) => faults.add(place(object), what),
                (Some(label), Ok(corners)) => {
                    let difficult = child(object, "difficult").and_then(|n| n.text()).is_some_and(|t| t.trim() == "1");
                    let on =
                        size.is_none_or(|(w, h)| corners[0] < w as f32 && corners[1] < h as f32 && corners[2] > 0.0 && corners[3] > 0.0);
                    if !on {
                        faults.add(place(object), format!("the box {corners:?} lies beside the picture of {size:?} pixels"));
                    } else if self.difficult || !difficult {
                        boxes.push((label.to_owned(), corners));
                    }
                }
            }
        }
        Some((self.file(root, name), Boxed { size, boxes }))
    }

    /// The corners of an object's box, from the outer corner of the first pixel.
    fn corners(&self, object: Node<'_, '_>) -> std::result::Result<[f32; 4], String> {
        let bounds = child(object, "bndbox").ok_or("an object without <bndbox>")?;
        let mut corners = [0.0f32; 4];
        for (corner, tag) in corners.iter_mut().zip(["xmin", "ymin", "xmax", "ymax"]) {
            let text = child(bounds, tag).and_then(|n| n.text()).ok_or_else(|| format!("a box without <{tag}>"))?.trim();
            *corner = text.parse().ok().filter(|v: &f32| v.is_finite()).ok_or_else(|| format!("<{tag}> is `{text}`, not a number"))?;
        }
        if self.origin == Origin::One {
            corners[0] -= 1.0;
            corners[1] -= 1.0;
        }
        if corners[0] < corners[2] && corners[1] < corners[3] {
            Ok(corners)
        } else {
            Err(format!("the box {corners:?} (left, top, right, bottom) has no inside"))
        }
    }

    fn file(&self, root: Node<'_, '_>, name: &str) -> String {
        let written = child(root, "filename").and_then(|n| n.text()).map(str::trim).unwrap_or_default();
        // A file name only: a path from another machine leads nowhere, and must not lead out of the
        // folder.
        let base = written.rsplit(['/', '\\']).next().filter(|b| !b.is_empty() && *b != ".." && *b != "%s").unwrap_or(name);
        if base.contains('.') { base.to_owned() } else { format!("{base}.{}", self.extension) }
    }
}

fn child<'a, 'd>(node: Node<'a, 'd>, tag: &str) -> Option<Node<'a, 'd>> {
    node.children().find(|n| n.has_tag_name(tag))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Beside, build};

    fn xml(file: &str, bounds: &str) -> String {
        format!(
            "<annotation>\n<folder>x</folder><filename>{file}</filename>\n<size><width>8</width><height>6</height><depth>3</depth></size>\n<object><name>dog</name>\
             <difficult>0</difficult>\n<bndbox>{bounds}</bndbox></object>\n<object><bndbox><ymax>6</ymax><xmax>8</xmax><ymin>1</ymin><xmin>1</xmin></bndbox>\
             <difficult>1</difficult><name>cat</name></object>\n</annotation>"
        )
    }

    const DOG: &str = "<xmin>2</xmin><xmax>5</xmax><ymin>3</ymin><ymax>6</ymax>";

    fn files() -> Beside {
        let files = Beside::new();
        files.write("xml/a.xml", &xml("a.png", DOG));
        files.write("xml/b.xml", &xml("b", DOG));
        files.picture("img/a.png", 8, 6);
        files.picture("img/b.jpg", 8, 6);
        files
    }

    fn corners(spec: &str, item: usize) -> Vec<(String, [f32; 4])> {
        let files = files();
        let voc = build(spec);
        let items = voc.index(&files).unwrap();
        let sample = voc.load(&items[item], &files).unwrap();
        let flat = |a: &fame_core::Annotation| (a.label.clone().unwrap(), [a.points[0][0], a.points[0][1], a.points[1][0], a.points[1][1]]);
        sample.pictures[0].1.annotations.iter().map(flat).collect()
    }

    #[test]
    fn pixels_are_counted_from_one_or_from_zero() {
        let dog = |corners| vec![("dog".to_owned(), corners)];
        assert_eq!(corners(r#"Voc(annotations: "xml", images: "img")"#, 0), dog([1.0, 2.0, 5.0, 6.0]));
        assert_eq!(corners(r#"Voc(annotations: "xml", images: "img", origin: Zero)"#, 0), dog([2.0, 3.0, 5.0, 6.0]));
        // A file name without extension, as ImageNet's, and tags in another order.
        let both = corners(r#"Voc(annotations: "xml", images: "img", difficult: true)"#, 1);
        assert_eq!(both[1], ("cat".to_owned(), [0.0, 0.0, 8.0, 6.0]));
    }

    #[test]
    fn a_list_chooses_and_orders() {
        let files = files();
        files.write("val.txt", "b  1\na -1\n\nb\n");
        let voc = build(r#"Voc(annotations: "xml", images: "img", list: "val.txt")"#);
        assert_eq!(voc.index(&files).unwrap().iter().map(|i| i.id.clone()).collect::<Vec<_>>(), ["b", "a"]);
    }

    #[test]
    fn every_malformed_file_is_reported_with_its_line() {
        let files = files();
        files.write("xml/c.xml", &xml("c.png", "<xmin>2</xmin><xmax>x</xmax><ymin>3</ymin><ymax>6</ymax>"));
        files.write("xml/d.xml", &xml("d.png", "<xmin>7</xmin><xmax>5</xmax><ymin>3</ymin><ymax>6</ymax>"));
        files.write("xml/e.xml", "<annotation><object></annotation>");
        files.write("xml/f.xml", "<html/>");
        files.write("xml/g.xml", &xml("g.png", DOG).replace("<name>dog</name>", ""));
        let e = build(r#"Voc(annotations: "xml", images: "img")"#).index(&files).unwrap_err();
        let lines: Vec<&str> = e.message.lines().map(str::trim).collect();
        assert_eq!(lines[0], "folder `xml` has 5 malformed records:");
        assert_eq!(lines[1], "xml/c.xml, line 4: <xmax> is `x`, not a number");
        assert_eq!(lines[2], "xml/d.xml, line 4: the box [6.0, 2.0, 5.0, 6.0] (left, top, right, bottom) has no inside");
        assert!(lines[3].starts_with("xml/e.xml: expected 'object' tag, not 'annotation'"), "{}", lines[3]);
        assert_eq!(lines[4], "xml/f.xml, line 1: the root is <html>, not <annotation>");
        assert_eq!(lines[5], "xml/g.xml, line 4: an object without <name>");
    }
}
