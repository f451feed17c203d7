//! Datasets and prepare steps.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Check, fail};
use crate::{
    Affine, Error, Model, Picture, Result, Tensor,
    contract::{Dataset, Files, Models, PrepareContext, PrepareStep},
    data::safe_name,
};

/// Files of one folder: what a recipe in that folder would find. `picture:NAME` is refused: a test
/// needs no network.
pub struct FolderFiles<'a>(
    /// The folder.
    pub &'a Path,
);

impl Files for FolderFiles<'_> {
    fn locate(&self, text: &str) -> Result<PathBuf> {
        if text.starts_with("picture:") {
            return Err(Error::new(
                "fame::testkit::no_network",
                format!("a test fetches nothing, so `{text}` cannot be had."),
            ));
        }
        Ok(self.0.join(text))
    }
}

/// Reads `dataset` as a run in `folder` would: the files it names are there; the index is the same
/// again; ids are unique and safe as folder names; every sample loads, twice the same, with the
/// item's id, pictures `[3, H, W]` in 0..=1 and roles that differ. Returns how many samples there
/// are.
///
/// # Errors
/// One sentence about the first promise that is broken, or the dataset's own error.
pub fn check_dataset(dataset: &dyn Dataset, folder: &Path) -> Result<usize> {
    let files = FolderFiles(folder);
    for file in dataset.files() {
        if !files.locate(&file)?.exists() {
            return Err(fail(format!(
                "the dataset names `{file}`, which is not in `{}`.",
                folder.display()
            )));
        }
    }
    let items = dataset.index(&files)?;
    if items != dataset.index(&files)? {
        return Err(fail("the index differs from call to call."));
    }
    let mut ids = BTreeSet::new();
    for item in &items {
        // A folder's name has at most 255 bytes; two long ids that are alike get a number each.
        if safe_name(&item.id) != item.id || item.id.len() > 255 {
            return Err(fail(format!(
                "the id `{}` is not safe as a folder name; `fame_core::data::safe_id` makes it so.",
                item.id
            )));
        }
        if !ids.insert(&item.id) {
            return Err(fail(format!("two items are called `{}`.", item.id)));
        }
        let (sample, again) = (dataset.load(item, &files)?, dataset.load(item, &files)?);
        if sample.id != item.id {
            return Err(fail(format!("item `{}` loads as sample `{}`.", item.id, sample.id)));
        }
        if sample.pictures.is_empty() {
            return Err(fail(format!("sample `{}` has no picture.", sample.id)));
        }
        for (n, (role, picture)) in sample.pictures.iter().enumerate() {
            if sample.pictures[..n].iter().any(|(r, _)| r == role) {
                return Err(fail(format!("sample `{}` has the role `{role}` twice.", sample.id)));
            }
            check_values(&format!("sample `{}`, {role}", sample.id), &picture.pixels)?;
            if again.picture(role).is_none_or(|p| p.pixels != picture.pixels) {
                return Err(fail(format!(
                    "sample `{}` loads other pixels the second time.",
                    sample.id
                )));
            }
        }
    }
    Ok(items.len())
}

fn check_values(what: &str, pixels: &Tensor) -> Result<()> {
    if !matches!(pixels.shape(), [3, h, w] if *h > 0 && *w > 0) {
        return Err(fail(format!(
            "{what}: a picture must be [3, H, W], not {:?}.",
            pixels.shape()
        )));
    }
    match pixels.data().iter().find(|v| !(0.0..=1.0).contains(*v)) {
        Some(v) => Err(fail(format!("{what}: the picture holds {v}, outside of 0..=1."))),
        None => Ok(()),
    }
}

struct NoModels;

impl Models for NoModels {
    fn model(&self, name: &str) -> Result<Arc<Model>> {
        Err(Error::new("fame::testkit::no_models", format!("the test kit has no model `{name}`.")))
    }
}

/// How far a bright dot may end from where the geometry says, in pixels of the result per pixel of
/// the original: half a pixel for the grid, and half of the dot's own width.
const DOT_TOLERANCE: f32 = 1.0;

/// Applies `step` to a gray picture of 40 × 60 pixels with one bright dot, four times at different
/// places, for a model of 24 × 24: values stay in 0..=1, nothing is random, and the dot ends where
/// [`Picture::map_point`] takes it (unless that lies outside of the result). The geometry is how
/// annotations and boxes follow a picture, so a step that moves pixels must compose it.
///
/// # Errors
/// One sentence about the first promise that is broken, or the step's own error.
pub fn check_prepare(step: &dyn PrepareStep) -> Result<Check> {
    const DOT: usize = 4;
    let (height, width) = (40, 60);
    let with = PrepareContext { models: &NoModels, input_size: (24, 24), role: "image" };
    let mut check = Check::new("where a dot went against where the geometry says", DOT_TOLERANCE);
    for (top, left) in [(18, 28), (14, 34), (24, 22), (12, 20)] {
        let inside = |i: usize| {
            (top..top + DOT).contains(&(i / width % height))
                && (left..left + DOT).contains(&(i % width))
        };
        let pixels = (0..3 * height * width).map(|i| if inside(i) { 0.9 } else { 0.3 }).collect();
        let picture = Picture::new(Tensor::new([3, height, width], pixels)?, "a dot")?;
        let out = step.apply(picture.clone(), &with)?;
        check_values("the prepared picture", &out.pixels)?;
        if step.apply(picture.clone(), &with)?.pixels != out.pixels {
            return Err(fail("the same picture was prepared differently the second time."));
        }
        let middle = [(left + DOT / 2) as f32, (top + DOT / 2) as f32];
        let expected = out.map_point(middle);
        let scale = stretch(&out.geometry);
        let margin = scale * DOT as f32;
        let within = |v: f32, most: usize| v > margin && v < most as f32 - margin;
        if !(within(expected[0], out.width()) && within(expected[1], out.height())) {
            continue;
        }
        let Some(found) = bright(&out.pixels) else {
            return Err(fail(format!(
                "the dot at {middle:?} vanished; {expected:?} was expected."
            )));
        };
        let off = (found[0] - expected[0]).hypot(found[1] - expected[1]) / scale.max(1.0);
        check.see(off, || {
            format!("the dot at {middle:?} went to {found:?}, and the geometry says {expected:?}")
        });
    }
    if check.compared == 0 {
        return Err(fail(
            "no dot stayed inside of the picture, so nothing about the geometry was checked.",
        ));
    }
    check.verdict("the geometry does not follow the pixels")
}

/// By how much the map stretches, roughly: the root of its determinant.
fn stretch(geometry: &Affine) -> f32 {
    let [a, b, _, d, e, _] = geometry.0;
    (a * e - b * d).abs().sqrt() as f32
}

/// The centre of what is brighter than the picture's median.
fn bright(pixels: &Tensor) -> Option<[f32; 2]> {
    let width = *pixels.shape().last()?;
    let green = pixels.row(1);
    let mut sorted = green.to_vec();
    sorted.sort_by(f32::total_cmp);
    let median = sorted[sorted.len() / 2];
    let (mut weight, mut x, mut y) = (0f64, 0f64, 0f64);
    for (i, value) in green.iter().enumerate() {
        let w = f64::from((value - median).max(0.0));
        weight += w;
        x += w * ((i % width) as f64 + 0.5);
        y += w * ((i / width) as f64 + 0.5);
    }
    (weight > 0.0).then(|| [(x / weight) as f32, (y / weight) as f32])
}
