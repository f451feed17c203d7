//! `InpaintedPairs`: faces a region of which was replaced, and where: what the inpainting game is
//! played on.

use fame_core::{
    Annotation, Error, Marks, Picture, Result, Sample,
    contract::{Dataset, Files, ItemRef},
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    GALLERY, GENUINE, PROBE, ROW, SAME_FRAME,
    entry::{Entry, picture},
    ids::{stem, unique, without_extension},
    list::{Faults, Table, below, check_file, folder_of},
};

/// The name of the annotation that holds the hidden region: rectangles, two corners each.
pub const HIDDEN: &str = "hidden";

/// The inpainting game's data (XFR, Williford, May & Byrne 2020) as a list: `mate` is a picture of a
/// person and `inpainted` another one of the same person in which the pixels of `mask` were replaced
/// by somebody else's. Each row is an item: the mate in the role `gallery`, the inpainted picture in
/// the role `probe`, where it keeps the person from being recognised: what explains a dissimilarity
/// must find the mask.
///
/// The list is comma-, tab- or space-separated, with a header that names the columns `mate`,
/// `inpainted` and `mask`, in whatever case and order. A mask is a picture of the inpainted one's
/// size; its pixels above half white are the hidden region, which prepare steps take along if they
/// do not turn it. `same_frame: true` says that a mate is the inpainted picture before it was
/// inpainted, so that the game can put its pixels back.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InpaintedPairs {
    /// The list, relative to the recipe.
    pub list: String,
    /// The folder that the list's paths are relative to. Default: the list's own.
    #[serde(default)]
    pub root: Option<String>,
    /// Whether each mate is the picture that was inpainted, as it was before.
    #[serde(default)]
    pub same_frame: bool,
    /// How many rows count, the first ones. Default: all.
    #[serde(default)]
    pub limit: Option<usize>,
}

impl Plugin<dyn Dataset> for InpaintedPairs {
    const NAME: &'static str = "InpaintedPairs";
    const SUMMARY: &'static str =
        "A list of mates, inpainted faces and masks: what the inpainting game is played on";
    const EXAMPLE: &'static str = r#"InpaintedPairs(list: "game.csv", root: "aligned")"#;
    const REFERENCE: &'static str =
        "Williford, May & Byrne, Explainable Face Recognition, ECCV 2020, arXiv 2008.00916 (XFR)";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("list", !self.list.is_empty(), "must name a file");
        assembly.check("limit", self.limit != Some(0), "must be at least 1");
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Dataset>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Dataset: InpaintedPairs);

const COLUMNS: [&str; 3] = ["mate", "inpainted", "mask"];

impl Dataset for InpaintedPairs {
    fn files(&self) -> Vec<String> {
        [Some(self.list.clone()), self.root.clone()]
            .into_iter()
            .flatten()
            .filter(|f| !f.is_empty())
            .collect()
    }

    fn index(&self, files: &dyn Files) -> Result<Vec<ItemRef>> {
        let mut table = Table::read(&self.list, files)?;
        let Some(header) = table.header(&COLUMNS)? else {
            let message =
                format!("the first line of list `{}` does not name its columns.", self.list);
            return Err(Error::new("fame::data::columns", message)
                .with_help("It must be `mate,inpainted,mask`, in any order."));
        };
        let places = header.need(COLUMNS.each_ref().map(std::slice::from_ref))?;
        let root = self.root.as_deref().unwrap_or(folder_of(&self.list));
        let mut faults = Faults::new(&self.list);
        let mut found: Vec<[String; 3]> = Vec::new();
        for (line, cells) in table.rows.iter().take(self.limit.unwrap_or(usize::MAX)) {
            let cell = |at: usize| cells.get(at).map(String::as_str).filter(|c| !c.is_empty());
            let [Some(mate), Some(inpainted), Some(mask)] = places.map(cell) else {
                faults.add(*line, "a path is missing", "");
                continue;
            };
            let row = [mate, inpainted, mask].map(|file| below(root, file));
            row.iter().for_each(|file| check_file(file, *line, files, &mut faults));
            found.push(row);
        }
        faults.into_result()?;
        let both = |of: fn(&str) -> &str, [mate, inpainted, _]: &[String; 3]| {
            format!("{}--{}", of(mate), of(inpainted))
        };
        let names: Vec<_> =
            found.iter().map(|row| (both(stem, row), both(without_extension, row))).collect();
        let item = |(row, (id, files)): (usize, (String, [String; 3]))| ItemRef {
            id,
            files: files.into(),
            note: Entry { row, ..Entry::default() }.note(),
        };
        Ok(unique(&names).into_iter().zip(found).enumerate().map(item).collect())
    }

    fn load(&self, item: &ItemRef, files: &dyn Files) -> Result<Sample> {
        let [mate, inpainted, mask] = item.files.as_slice() else {
            return Err(Error::bug(format!("item `{}` has other files.", item.id)));
        };
        let load = |what: &str, file: &str| picture(file, files).map_err(|e| e.at(what.to_owned()));
        let (mate, mut probe) = (load(GALLERY, mate)?, load(PROBE, inpainted)?);
        let mask = load("mask", mask)?;
        let hidden = hidden(&mask, &probe)?;
        probe.annotations.push(hidden);
        let marks = Marks::default()
            .with(&ROW, Entry::of(item)?.row)
            .with(&GENUINE, false)
            .with(&SAME_FRAME, self.same_frame);
        Ok(Sample {
            id: item.id.clone(),
            pictures: vec![(GALLERY.to_owned(), mate), (PROBE.to_owned(), probe)],
            marks,
            ..Sample::default()
        })
    }
}

/// The pixels of `mask` above half white, as rectangles of one row each.
///
/// # Errors
/// `fame::data::mask` for a mask of another size than the picture it is of, or of nothing or all of
/// it.
fn hidden(mask: &Picture, of: &Picture) -> Result<Annotation> {
    let (height, width) = (mask.height(), mask.width());
    let bad =
        |why: String| Error::new("fame::data::mask", format!("the mask `{}` {why}.", mask.source));
    if (height, width) != (of.height(), of.width()) {
        let (h, w) = (of.height(), of.width());
        return Err(bad(format!("is {width} × {height}, and `{}` {w} × {h}", of.source)));
    }
    let is_in = |pixel: usize| mask.pixels.row(1)[pixel] > 0.5;
    let mut points = Vec::new();
    for y in 0..height {
        let mut x = 0;
        while x < width {
            let from = x;
            while x < width && is_in(y * width + x) {
                x += 1;
            }
            if x > from {
                points.push([from as f32, y as f32]);
                points.push([x as f32, y as f32 + 1.0]);
            }
            x += 1;
        }
    }
    let count = (0..height * width).filter(|p| is_in(*p)).count();
    if count == 0 || count == height * width {
        return Err(bad("hides nothing or everything: pixels above half white are hidden".into()));
    }
    Ok(Annotation { name: HIDDEN.to_owned(), label: None, points })
}

#[cfg(test)]
mod tests {
    use image::{Rgb, RgbImage};

    use super::{
        super::testing::{Beside, build, told},
        *,
    };

    fn files() -> Beside {
        let files = Beside::with(&[("a.png", [9, 9, 9]), ("b.png", [80, 9, 9])]);
        let mut mask = RgbImage::new(4, 3);
        for (x, y) in [(1, 0), (2, 0), (2, 1), (0, 1)] {
            mask.put_pixel(x, y, Rgb([255; 3]));
        }
        crate::pictures::save_png(&files.path().join("m.png"), &mask).unwrap();
        files
    }

    #[test]
    fn a_row_is_a_pair_with_its_hidden_region() {
        let files = files();
        std::fs::write(files.path().join("l.csv"), "mask,Mate,inpainted\nm.png,a.png,b.png\n")
            .unwrap();
        let data = build(r#"InpaintedPairs(list: "l.csv", same_frame: true)"#).unwrap();
        let items = data.index(&files).unwrap();
        assert_eq!(items[0].id, "a--b");
        let sample = data.load(&items[0], &files).unwrap();
        assert_eq!(sample.roles().collect::<Vec<_>>(), ["gallery", "probe"]);
        assert_eq!(sample.marks.get(&SAME_FRAME), Some(true));
        let hidden = &sample.picture("probe").unwrap().annotations[0];
        assert_eq!(hidden.points, [[1., 0.], [3., 1.], [0., 1.], [1., 2.], [2., 1.], [3., 2.]]);
    }

    #[test]
    fn a_mask_of_nothing_or_of_another_size_is_refused() {
        let files = files();
        std::fs::write(files.path().join("l.csv"), "mate,inpainted,mask\na.png,b.png,a.png\n")
            .unwrap();
        let data = build(r#"InpaintedPairs(list: "l.csv")"#).unwrap();
        let item = data.index(&files).unwrap().remove(0);
        assert!(told(data.load(&item, &files).unwrap_err()).contains("hides nothing"));
        crate::pictures::save_png(&files.path().join("a.png"), &RgbImage::new(2, 2)).unwrap();
        assert!(told(data.load(&item, &files).unwrap_err()).contains("is 2 × 2"));
        std::fs::write(files.path().join("l.csv"), "mate,inpainted,mask\na.png,c.png,a.png\n")
            .unwrap();
        assert!(told(data.index(&files).unwrap_err()).contains("line 2: the file is not there"));
        std::fs::write(files.path().join("l.csv"), "a.png,b.png,m.png\n").unwrap();
        assert!(told(data.index(&files).unwrap_err()).contains("mate,inpainted,mask"));
    }
}
