//! `ImageList`: pictures with labels, and perhaps boxes, from a list.

use fame_core::{
    Error, Result, Sample,
    contract::{Dataset, Files, ItemRef},
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    boxes::{BoxEnd, numbers},
    entry::{Entry, name_pictures, picture, picture_contents, picture_notes},
    list::{Faults, Table, Wrong, below, check_file, folder_of, text_of},
};

/// Pictures from a list, one item each, in the role `image`.
///
/// The list is comma-, tab- or space-separated. Its columns are named by its header or by
/// `columns`, in whatever case: `path`, `file`, `image` or `filename`; `label`, `class`, `target`
/// or `index`; `box` or `boxes`; others are ignored. A label is a class counted from 0 or, with
/// `classes`, a name. Boxes are groups of four numbers `x_min y_min x_max y_max` in pixels of the
/// picture, separated by spaces or semicolons; they follow the picture through its preparation.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageList {
    /// The list, relative to the recipe.
    pub list: String,
    /// The folder that the list's paths are relative to. Default: the list's own.
    #[serde(default)]
    pub root: Option<String>,
    /// Names of the columns, in order, for lists without a header: `["path", "", "label"]`.
    #[serde(default)]
    pub columns: Vec<String>,
    /// A file of class names, one per line in the order of the model's outputs, for lists whose
    /// labels are names.
    #[serde(default)]
    pub classes: Option<String>,
    /// Whether `x_max` and `y_max` are the first pixels outside a box or the last inside.
    #[serde(default)]
    pub box_end: BoxEnd,
}

const PATH: [&str; 4] = ["path", "file", "image", "filename"];
const LABEL: [&str; 4] = ["label", "class", "target", "index"];
const BOXES: [&str; 2] = ["box", "boxes"];

impl Plugin<dyn Dataset> for ImageList {
    const NAME: &'static str = "ImageList";
    const SUMMARY: &'static str = "Pictures from a list with labels and perhaps boxes: role image";
    const EXAMPLE: &'static str =
        r#"ImageList(list: "imagenet/classes.txt", columns: ["path", "wnid", "label"])"#;

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("list", !self.list.is_empty(), "must name a file");
        let named = self.columns.is_empty()
            || self.columns.iter().any(|c| PATH.iter().any(|p| p.eq_ignore_ascii_case(c)));
        assembly.check("columns", named, "must name one of them `path`");
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Dataset>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Dataset: ImageList);

impl Dataset for ImageList {
    fn files(&self) -> Vec<String> {
        [Some(self.list.clone()), self.root.clone(), self.classes.clone()]
            .into_iter()
            .flatten()
            .filter(|f| !f.is_empty())
            .collect()
    }

    fn index(&self, files: &dyn Files) -> Result<Vec<ItemRef>> {
        let mut table = Table::read(&self.list, files)?;
        let (path, label, boxes) = self.places(&mut table)?;
        let classes = self.classes.as_ref().map(|file| text_of(file, files)).transpose()?;
        let classes: Option<Vec<&str>> =
            classes.as_ref().map(|text| text.lines().map(str::trim).collect());
        let root = self.root.as_deref().unwrap_or(folder_of(&self.list));
        let mut faults = Faults::new(&self.list);
        let mut found = Vec::new();
        for (row, (line, cells)) in table.rows.iter().enumerate() {
            let cell = |at: Option<usize>| {
                at.and_then(|at| cells.get(at)).map(String::as_str).filter(|c| !c.is_empty())
            };
            let Some(file) = cell(Some(path)) else {
                faults.add(*line, "the path is missing", "");
                continue;
            };
            let file = below(root, file);
            check_file(&file, *line, files, &mut faults);
            let class = label.and_then(|at| {
                faults.keep(*line, class(cell(Some(at)).unwrap_or_default(), classes.as_deref()))
            });
            let boxes = cell(boxes)
                .and_then(|text| faults.keep(*line, rectangles(text, self.box_end)))
                .unwrap_or_default();
            found.push((file, Entry { row, label: class, boxes, ..Entry::default() }));
        }
        faults.into_result()?;
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
        Entry::of(item)?.image(item, picture(file, files)?)
    }
}

impl ImageList {
    /// Columns of path, label and boxes.
    fn places(&self, table: &mut Table) -> Result<(usize, Option<usize>, Option<usize>)> {
        let find = |names: &[&str]| {
            self.columns.iter().position(|c| names.iter().any(|n| n.eq_ignore_ascii_case(c)))
        };
        if let Some(path) = find(&PATH) {
            let widest = table.rows.first().map_or(0, |(_, cells)| cells.len());
            table.check_width(widest.max(self.columns.len()))?;
            return Ok((path, find(&LABEL), find(&BOXES)));
        }
        let Some(header) = table.header(&[&PATH[..], &LABEL, &BOXES].concat())? else {
            let message = format!("the first line of list `{}` names no column `path`.", self.list);
            return Err(Error::new("fame::data::columns", message).with_help(
                "A list without a header needs `columns`, such as [\"path\", \"label\"].",
            ));
        };
        let [path] = header.need([&PATH])?;
        Ok((path, header.find(&LABEL), header.find(&BOXES)))
    }
}

/// A class, by number or by name.
fn class(cell: &str, names: Option<&[&str]>) -> std::result::Result<usize, Wrong> {
    match names {
        None => cell.parse().map_err(|_| ("the label is no class number", cell.to_owned())),
        Some(names) => names
            .iter()
            .position(|n| *n == cell)
            .ok_or(("the label is not among `classes`", cell.to_owned())),
    }
}

fn rectangles(text: &str, end: BoxEnd) -> std::result::Result<Vec<(String, [f32; 4])>, Wrong> {
    let cells: Vec<&str> = text.split([' ', ';']).filter(|c| !c.is_empty()).collect();
    if !cells.len().is_multiple_of(4) {
        return Err(("the boxes are not groups of four numbers", text.to_owned()));
    }
    cells.chunks(4).map(|group| Ok((String::new(), end.corners(numbers(group)?)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{
        ROW,
        testing::{Beside, build, told},
    };

    const GRAY: [u8; 3] = [128; 3];

    #[test]
    fn labels_and_boxes_come_from_the_list() {
        let files = Beside::with(&[("d/a.png", GRAY), ("d/b.png", GRAY)]);
        std::fs::write(
            files.path().join("d/list.csv"),
            "file,label,boxes\na.png,7,0 1 2 3; 1 1 9 3\nb.png,0,\nb.png,0,\n",
        )
        .unwrap();
        let list = build(r#"ImageList(list: "d/list.csv")"#).unwrap();
        let items = list.index(&files).unwrap();
        assert_eq!(items.iter().map(|i| i.id.as_str()).collect::<Vec<_>>(), ["a", "d_b", "d_b-2"]);
        let sample = list.load(&items[0], &files).unwrap();
        assert_eq!((sample.label, sample.marks.get(&ROW)), (Some(7), Some(0)));
        let boxes: Vec<_> = sample.pictures[0]
            .1
            .annotations
            .iter()
            .map(|a| (a.name.as_str(), a.points.clone()))
            .collect();
        // The picture is 4×3: the second box is cut to it.
        assert_eq!(
            boxes,
            [("box", vec![[0.0, 1.0], [2.0, 3.0]]), ("box", vec![[1.0, 1.0], [4.0, 3.0]])]
        );
        assert!(list.notes(&items)[0].contains("3 rows name 2 different pictures"));
        let closed = build(r#"ImageList(list: "d/list.csv", box_end: Inclusive)"#).unwrap();
        let sample = closed.load(&closed.index(&files).unwrap()[0], &files).unwrap();
        assert_eq!(sample.pictures[0].1.annotations[0].points, [[0.0, 1.0], [3.0, 3.0]]);
    }

    #[test]
    fn a_list_without_a_header_and_one_with_class_names() {
        let files = Beside::with(&[("a.png", GRAY)]);
        std::fs::write(files.path().join("l.txt"), "a.png\tn01\t5\n").unwrap();
        let list =
            build(r#"ImageList(list: "l.txt", columns: ["path", "wnid", "label"])"#).unwrap();
        assert_eq!(list.load(&list.index(&files).unwrap()[0], &files).unwrap().label, Some(5));
        std::fs::write(files.path().join("names"), "cat\ndog\n").unwrap();
        let named =
            build(r#"ImageList(list: "l.txt", columns: ["path", "label"], classes: "names")"#)
                .unwrap();
        std::fs::write(files.path().join("l.txt"), "a.png dog\n").unwrap();
        assert_eq!(named.load(&named.index(&files).unwrap()[0], &files).unwrap().label, Some(1));
    }

    #[test]
    fn every_malformed_row_is_told() {
        let files = Beside::with(&[("a.png", GRAY)]);
        let told = |text: &str| {
            std::fs::write(files.path().join("l.csv"), text).unwrap();
            told(build(r#"ImageList(list: "l.csv")"#).unwrap().index(&files).unwrap_err())
        };
        insta::assert_snapshot!(
            "image_list_rows",
            told(
                "path,label,box\na.png,x,0 0 1 1\n,1,\na.png,1,0 0 1\na.png,1,3 0 1 1\na.png,1,a 0 1 1\nz.png,1,"
            )
        );
        insta::assert_snapshot!("image_list_no_header", told("a.png,5\n"));
    }

    #[test]
    fn a_box_outside_the_picture_is_an_error_of_that_item() {
        let files = Beside::with(&[("a.png", GRAY)]);
        std::fs::write(files.path().join("l.csv"), "path,box\na.png,10 0 20 5\n").unwrap();
        let list = build(r#"ImageList(list: "l.csv")"#).unwrap();
        let e = list.load(&list.index(&files).unwrap()[0], &files).unwrap_err();
        assert_eq!(
            e.message,
            "the box [10.0, 0.0, 20.0, 5.0] lies outside `a.png`, which has 4 × 3 pixels."
        );
    }
}
