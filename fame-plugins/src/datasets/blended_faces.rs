//! `BlendedFaces`: aligned faces with a region of another's, made when they are asked for.

use fame_core::{
    Annotation, Error, Marks, Picture, Result, Sample,
    contract::{Dataset, Files, ItemRef},
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    GALLERY, GENUINE, HIDDEN, PROBE, ROW, SAME_FRAME,
    entry::{Entry, picture},
    ids::{stem, unique, without_extension},
    list::{Faults, Table, below, check_file, folder_of},
};

/// A region of an aligned face, as a rectangle on the ArcFace template.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema,
)]
pub enum FaceRegion {
    /// Both eyes with their brows: 18 to 82 % of the width, 32 to 56 % of the height.
    Eyes,
    /// The nose: 34 to 66 %, 50 to 74 %.
    Nose,
    /// The mouth: 28 to 72 %, 74 to 92 %.
    Mouth,
}

impl FaceRegion {
    fn word(self) -> &'static str {
        match self {
            Self::Eyes => "eyes",
            Self::Nose => "nose",
            Self::Mouth => "mouth",
        }
    }

    /// Left, top, right and bottom in whole pixels of a crop, the second corner beyond the last.
    fn rectangle(self, width: usize, height: usize) -> [usize; 4] {
        let [left, top, right, bottom] = match self {
            Self::Eyes => [0.18, 0.32, 0.82, 0.56],
            Self::Nose => [0.34, 0.50, 0.66, 0.74],
            Self::Mouth => [0.28, 0.74, 0.72, 0.92],
        };
        let at = |share: f64, extent: usize| (share * extent as f64).round() as usize;
        [at(left, width), at(top, height), at(right, width), at(bottom, height)]
    }
}

/// The picture that a blended face is compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Mate {
    /// The face itself, as it was before: pixels outside of the region are equal, so the region is
    /// all that there is to find, and the game can put pixels back.
    #[default]
    Itself,
    /// The list's column `mate`: another picture of the same person, as in XFR.
    Listed,
}

/// The inpainting game's data, made of aligned crops: of each face of a list a rectangle is blended
/// over from another's, its mean colour fitted, over `feather` pixels inside the rectangle, so that
/// no pixel outside of it changes. An item for each row and region: `gallery` is the mate, `probe` the
/// blended face, which knows its `hidden` region, and has it as its `box` too, for `Iou`,
/// `PointingGame` and `RelevanceMass`.
///
/// The list has a header with the columns `face`, `other` and, for `mate: Listed`, `mate`. The files
/// are crops of one size on the ArcFace template, such as `fame-cli align` writes: no prepare step
/// is needed (`prepare: []`). Blending is no inpainting: a network may see the seam, or a mixture of
/// both people.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BlendedFaces {
    /// The list, relative to the recipe.
    pub list: String,
    /// The folder that the list's paths are relative to. Default: the list's own.
    #[serde(default)]
    pub root: Option<String>,
    /// The regions: each makes an item of every row.
    #[serde(default = "regions")]
    pub regions: Vec<FaceRegion>,
    /// `Itself` or `Listed`.
    #[serde(default)]
    pub mate: Mate,
    /// Width of the seam in pixels; 0 is a hard edge.
    #[serde(default = "feather")]
    pub feather: usize,
}

fn regions() -> Vec<FaceRegion> {
    vec![FaceRegion::Eyes, FaceRegion::Nose, FaceRegion::Mouth]
}

fn feather() -> usize {
    3
}

impl Plugin<dyn Dataset> for BlendedFaces {
    const NAME: &'static str = "BlendedFaces";
    const SUMMARY: &'static str =
        "Aligned faces with the eyes, nose or mouth of another's: the inpainting game, made here";
    const EXAMPLE: &'static str =
        r#"BlendedFaces(list: "faces.csv", root: "crops", regions: [Eyes, Mouth])"#;
    const REFERENCE: &'static str = "After Williford, May & Byrne, Explainable Face Recognition, ECCV 2020, arXiv 2008.00916 (XFR)";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("list", !self.list.is_empty(), "must name a file");
        assembly.check("regions", !self.regions.is_empty(), "must name at least one region");
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Dataset>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Dataset: BlendedFaces);

impl Dataset for BlendedFaces {
    fn files(&self) -> Vec<String> {
        [Some(self.list.clone()), self.root.clone()]
            .into_iter()
            .flatten()
            .filter(|f| !f.is_empty())
            .collect()
    }

    fn index(&self, files: &dyn Files) -> Result<Vec<ItemRef>> {
        let mut table = Table::read(&self.list, files)?;
        let wanted: &[&str] = match self.mate {
            Mate::Itself => &["face", "other"],
            Mate::Listed => &["face", "other", "mate"],
        };
        let header = table.header(wanted)?;
        let place = |name: &&str| {
            header.as_ref().and_then(|h| h.find(&[*name])).ok_or_else(|| {
                let message = format!("list `{}` has no column `{name}`.", self.list);
                Error::new("fame::data::columns", message).with_help(
                    "Its first line names the columns: `face,other`, or `face,other,mate`.",
                )
            })
        };
        let places = wanted.iter().map(place).collect::<Result<Vec<_>>>()?;
        let root = self.root.as_deref().unwrap_or(folder_of(&self.list));
        let mut faults = Faults::new(&self.list);
        let (mut found, mut names) = (Vec::new(), Vec::new());
        for (row, (line, cells)) in table.rows.iter().enumerate() {
            let cell = |at: &usize| cells.get(*at).filter(|c| !c.is_empty());
            let Some(paths) = places.iter().map(cell).collect::<Option<Vec<_>>>() else {
                faults.add(*line, "a path is missing", "");
                continue;
            };
            let paths: Vec<String> = paths.iter().map(|file| below(root, file)).collect();
            paths.iter().for_each(|file| check_file(file, *line, files, &mut faults));
            for region in &self.regions {
                let name = |of: fn(&str) -> &str| {
                    format!("{}--{}--{}", of(&paths[0]), of(&paths[1]), region.word())
                };
                names.push((name(stem), name(without_extension)));
                let facts = [("region".to_owned(), region.word().to_owned())].into();
                found.push((paths.clone(), Entry { row, facts, ..Entry::default() }.note()));
            }
        }
        faults.into_result()?;
        let ids = unique(&names).into_iter().zip(found);
        Ok(ids.map(|(id, (files, note))| ItemRef { id, files, note }).collect())
    }

    fn load(&self, item: &ItemRef, files: &dyn Files) -> Result<Sample> {
        let entry = Entry::of(item)?;
        let region = self
            .regions
            .iter()
            .find(|region| entry.facts.get("region").is_some_and(|word| word == region.word()));
        let (Some(region), [face, other, mate @ ..]) = (region, item.files.as_slice()) else {
            return Err(Error::bug(format!("item `{}` has no region or no files.", item.id)));
        };
        let load = |what: &str, file: &str| picture(file, files).map_err(|e| e.at(what.to_owned()));
        let (face, other) = (load("face", face)?, load("other", other)?);
        let mate = match mate.first() {
            Some(file) => load(GALLERY, file)?,
            None => face.clone(),
        };
        let corners = region.rectangle(face.width(), face.height());
        let mut probe = blend(face, &other, corners, self.feather)?;
        let [left, top, right, bottom] = corners.map(|v| v as f32);
        for name in [HIDDEN, "box"] {
            let points = vec![[left, top], [right, bottom]];
            let label = Some(region.word().to_owned());
            probe.annotations.push(Annotation { name: name.to_owned(), label, points });
        }
        let marks = Marks::default()
            .with(&ROW, entry.row)
            .with(&GENUINE, false)
            .with(&SAME_FRAME, self.mate == Mate::Itself);
        let pictures = vec![(GALLERY.to_owned(), mate), (PROBE.to_owned(), probe)];
        let facts = entry.facts.iter().map(|(k, v)| (k.clone(), v.as_str().into())).collect();
        Ok(Sample { id: item.id.clone(), pictures, marks, facts, ..Sample::default() })
    }
}

/// `face` with the rectangle of `other`, shifted in every channel to the mean that `face` has
/// there. Within `feather` pixels of the edge the two are mixed, and on the outermost line of pixels
/// `other` has the smallest part.
///
/// # Errors
/// `fame::data::blend` when the two are of different sizes.
fn blend(
    mut face: Picture,
    other: &Picture,
    [left, top, right, bottom]: [usize; 4],
    feather: usize,
) -> Result<Picture> {
    let (height, width) = (face.height(), face.width());
    if (other.height(), other.width()) != (height, width) {
        let message = format!(
            "`{}` is {width} × {height} and `{}` {} × {}: crops of one size can be blended.",
            face.source,
            other.source,
            other.width(),
            other.height()
        );
        return Err(Error::new("fame::data::blend", message)
            .with_help("Align them first: fame-cli align … --out CROPS."));
    }
    let inside = || (top..bottom).flat_map(move |y| (left..right).map(move |x| (y, x)));
    let count = inside().count().max(1) as f32;
    for channel in 0..3 {
        let from = other.pixels.row(channel);
        let into = face.pixels.row_mut(channel);
        let mean = |plane: &[f32]| inside().map(|(y, x)| plane[y * width + x]).sum::<f32>() / count;
        let shift = mean(into) - mean(from);
        for (y, x) in inside() {
            // 1 on the outermost line.
            let depth = 1 + (y - top).min(bottom - 1 - y).min(x - left).min(right - 1 - x);
            let part = (depth as f32 / (feather + 1) as f32).min(1.0);
            let pixel = &mut into[y * width + x];
            let there = (from[y * width + x] + shift).clamp(0.0, 1.0);
            *pixel += part * (there - *pixel);
        }
    }
    Ok(face)
}

#[cfg(test)]
mod tests {
    use fame_core::Tensor;

    use super::{
        super::testing::{Beside, build, told},
        *,
    };

    fn even(value: f32) -> Picture {
        Picture::new(Tensor::filled([3, 10, 10], value), "even").unwrap()
    }

    #[test]
    fn nothing_changes_outside_and_colours_are_fitted_inside() {
        // A pattern of ±0.1 about 0.8, blended over an even face of 0.5.
        let mut other = even(0.8);
        other.pixels.data_mut().iter_mut().enumerate().for_each(|(i, v)| {
            *v += if i % 2 == 0 { 0.1 } else { -0.1 };
        });
        let blended = blend(even(0.5), &other, [2, 3, 8, 9], 1).unwrap();
        for (pixel, value) in blended.pixels.row(0).iter().enumerate() {
            let (y, x) = (pixel / 10, pixel % 10);
            let is_in = (3..9).contains(&y) && (2..8).contains(&x);
            let on_edge = is_in && (y == 3 || y == 8 || x == 2 || x == 7);
            let sign = if pixel % 2 == 0 { 0.1 } else { -0.1 };
            // Half of it on the outermost line, all of it inside.
            let wanted = 0.5
                + if on_edge {
                    sign / 2.0
                } else if is_in {
                    sign
                } else {
                    0.0
                };
            assert!((value - wanted).abs() < 1e-6, "{y} {x}: {value} {wanted}");
        }
        let small = Picture::new(Tensor::zeros([3, 4, 4]), "small").unwrap();
        assert_eq!(
            blend(even(0.5), &small, [0, 0, 1, 1], 1).unwrap_err().code,
            "fame::data::blend"
        );
    }

    #[test]
    fn every_row_and_region_is_an_item_that_knows_its_region() {
        let files = Beside::with(&[("a.png", [9; 3]), ("b.png", [90; 3]), ("c.png", [50; 3])]);
        std::fs::write(files.path().join("l.csv"), "face,other,mate\na.png,b.png,c.png\n").unwrap();
        let data = build(r#"BlendedFaces(list: "l.csv", regions: [Eyes, Mouth])"#).unwrap();
        let items = data.index(&files).unwrap();
        let ids: Vec<&str> = items.iter().map(|i| i.id.as_str()).collect();
        assert_eq!(ids, ["a--b--eyes", "a--b--mouth"]);
        let sample = data.load(&items[1], &files).unwrap();
        assert_eq!(sample.marks.get(&SAME_FRAME), Some(true));
        let names: Vec<&str> =
            sample.pictures[1].1.annotations.iter().map(|a| a.name.as_str()).collect();
        assert_eq!(names, ["hidden", "box"]);
        // The pictures are 4 × 3.
        assert_eq!(sample.pictures[1].1.annotations[0].points, [[1.0, 2.0], [3.0, 3.0]]);
        let listed =
            build(r#"BlendedFaces(list: "l.csv", regions: [Nose], mate: Listed)"#).unwrap();
        let item = listed.index(&files).unwrap().remove(0);
        let sample = listed.load(&item, &files).unwrap();
        assert_eq!(sample.marks.get(&SAME_FRAME), Some(false));
        assert_eq!(sample.picture("gallery").unwrap().source, "c.png");
        std::fs::write(files.path().join("l.csv"), "face,other\na.png,b.png\n").unwrap();
        assert!(told(listed.index(&files).unwrap_err()).contains("no column `mate`"));
    }
}
