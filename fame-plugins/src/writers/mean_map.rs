//! `MeanMap`: the mean of all items' maps, on their mean picture.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use fame_core::{
    Error, MapId, NamedMap, Picture, Result, Tensor,
    contract::{FinishedItem, Writer},
    data::{replace_folder, safe_id},
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    colour::{Palette, SAFE, overlay},
    entries, folders,
};
use crate::{datasets::GROUP, numpy::Array, pictures};

/// For pictures that share a frame, such as aligned faces: the mean of each explainer's finished maps over
/// all items, on the mean of their pictures, as `<out>/mean/all/<role>/<explainer>.<map>.png`, and as
/// numbers beside it (`.npy`, float32 `[H, W]`). Where the data have groups
/// (`Pairs(groups: [...])`) there is a folder for each of them too. In the picture the largest mean
/// is the end of the colours.
///
/// What lies in the mean is said by every map alike: maps that end in 0..=1 weigh the same. Pictures
/// that are not aligned give a blur that means nothing. Each item keeps its numbers in its own folder,
/// below `mean`; when a run has gone through they are brought together, and replace those of an earlier run.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MeanMap {
    /// Colours from 0 to the largest mean, as in `Overlay`.
    pub colormap: String,
    /// How much of the colours covers the mean picture, 0..=1.
    pub opacity: f32,
}

impl Default for MeanMap {
    fn default() -> Self {
        Self { colormap: SAFE.to_owned(), opacity: 0.5 }
    }
}

impl Plugin<dyn Writer> for MeanMap {
    const NAME: &'static str = "MeanMap";
    const SUMMARY: &'static str =
        "The mean of all items' maps on their mean picture: where a method looks on aligned faces";
    const EXAMPLE: &'static str = r#"MeanMap(colormap: "jet")"#;

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("opacity", (0.0..=1.0).contains(&self.opacity), "must be in 0..=1");
    }

    fn build(self, _: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<dyn Writer>> {
        let palette = Palette::parameter(&self.colormap, assembly)?;
        Some(Box::new(Means { palette, opacity: self.opacity }))
    }
}

fame_core::register!(Writer: MeanMap);

struct Means {
    palette: Palette,
    opacity: f32,
}

/// The folder in an item's, and in the run's.
const ROOT: &str = "mean";
/// The folder of what belongs to no group, and of everything.
const ALL: &str = "all";
/// The file of a role's pictures.
const PICTURE: &str = "picture.npy";

impl Writer for Means {
    fn write(&self, item: &FinishedItem<'_>, folder: &Path) -> Result<Vec<String>> {
        let group = item.sample.marks.get(&GROUP).map_or_else(|| ALL.to_owned(), |g| safe_id(&g));
        let mut written: Vec<String> = Vec::new();
        for (explainer, map) in super::maps(item) {
            let picture = super::picture_of(item.sample, map)?;
            let role = format!("{ROOT}/{group}/{}", safe_id(&map.id.role));
            let place = folder.join(&role);
            fs::create_dir_all(&place).map_err(|e| Error::io("create", &place, &e))?;
            let of_role = format!("{role}/{PICTURE}");
            if !written.contains(&of_role) {
                written.push(super::npy::save(folder, of_role, &picture.pixels)?);
            }
            let channels = map.finished.shape().first().map_or(1.0, |c| *c as f32);
            let (h, w, values) = map.plane(|values| values.sum::<f32>() / channels)?;
            let plane = Tensor::new([h, w], values.into_owned())?;
            let name = format!("{role}/{}", map.file(&safe_id(explainer), ".npy"));
            written.push(super::npy::save(folder, name, &plane)?);
        }
        Ok(written)
    }

    fn gather(&self, out: &Path, items: &[PathBuf]) -> Result<Vec<String>> {
        let mut sums: BTreeMap<PathBuf, Sum> = BTreeMap::new();
        for item in items {
            for group in folders(&item.join(ROOT))? {
                for role in folders(&group)? {
                    add(&mut sums, &group, &role)?;
                }
            }
        }
        replace_folder(&out.join(ROOT), |draft| self.draw(&sums, draft))?;
        Ok(vec![ROOT.to_owned()])
    }
}

impl Means {
    /// Writes the means of all `sums` into `draft`, and draws them.
    fn draw(&self, sums: &BTreeMap<PathBuf, Sum>, draft: &Path) -> Result<()> {
        for (file, sum) in sums {
            let folder = file.parent().unwrap_or(Path::new(""));
            let there = draft.join(folder);
            fs::create_dir_all(&there).map_err(|e| Error::io("create", &there, &e))?;
            let mean = sum.mean()?;
            super::npy::save(draft, file.display().to_string(), &mean)?;
            let Some(pictures) = sums.get(&folder.join(PICTURE)) else { continue };
            if file.ends_with(PICTURE) {
                continue;
            }
            let picture = Picture::new(pictures.mean()?, "mean")?;
            let largest = mean.max_abs().max(f32::MIN_POSITIVE);
            let mut scaled = mean;
            scaled.data_mut().iter_mut().for_each(|v| *v /= largest);
            let map = NamedMap::new(MapId::new("mean"), scaled.clone(), scaled);
            let drawn = overlay(&picture, &map, &self.palette, self.opacity, 1)?;
            pictures::save_png(&draft.join(file).with_extension("png"), &drawn)?;
        }
        Ok(())
    }
}

/// Arrays of one shape, added up.
struct Sum {
    shape: Vec<usize>,
    values: Vec<f64>,
    count: usize,
}

impl Sum {
    fn mean(&self) -> Result<Tensor> {
        let n = self.count as f64;
        Tensor::new(self.shape.clone(), self.values.iter().map(|v| (v / n) as f32).collect())
    }
}

/// Adds the arrays of an item's role to those of all items, and of its group.
fn add(sums: &mut BTreeMap<PathBuf, Sum>, group: &Path, role: &Path) -> Result<()> {
    let last = |path: &Path| path.file_name().map(PathBuf::from).unwrap_or_default();
    for file in entries(role)? {
        let bytes = fs::read(&file).map_err(|e| Error::io("read", &file, &e))?;
        let array = Array::read(&bytes).map_err(|why| {
            Error::new("fame::writer::mean", format!("`{}` {why}.", file.display()))
                .with_help("It was changed after the run wrote it: run again with --force.")
        })?;
        let mut groups = vec![PathBuf::from(ALL)];
        groups.extend(Some(last(group)).filter(|own| *own != Path::new(ALL)));
        for group in groups {
            let place = group.join(last(role)).join(last(&file));
            let sum = sums.entry(place).or_insert_with(|| Sum {
                shape: array.shape.clone(),
                values: vec![0.0; array.values.len()],
                count: 0,
            });
            if sum.shape != array.shape {
                let message = format!(
                    "`{}` has the shape {:?}, and the items before it {:?}.",
                    file.display(),
                    array.shape,
                    sum.shape
                );
                return Err(Error::new("fame::writer::mean", message));
            }
            sum.values.iter_mut().zip(&array.values).for_each(|(s, v)| *s += v);
            sum.count += 1;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{
        super::testing::{build, explanation, map, sample},
        *,
    };

    #[test]
    fn means_are_over_all_items_and_by_group() {
        let dir = tempfile::tempdir().unwrap();
        let writer = build("MeanMap()").unwrap();
        let mut items = Vec::new();
        for (n, (group, value)) in [("a", 0.2), ("b", 0.4), ("b", 0.8)].into_iter().enumerate() {
            let mut sample = sample(&["probe"], 2, 2);
            sample.marks.set(&GROUP, group.to_owned());
            let values = Tensor::new([2, 2], vec![value, 0.0, 0.0, 1.0]).unwrap();
            let explanations =
                [("cam".to_owned(), explanation(vec![map("probe", "probe", values)]))];
            let folder = dir.path().join(format!("items/{n}"));
            fs::create_dir_all(&folder).unwrap();
            let item = FinishedItem { sample: &sample, explanations: &explanations };
            let written = writer.write(&item, &folder).unwrap();
            assert!(written.iter().all(|name| folder.join(name).is_file()) && written.len() == 2);
            items.push(folder);
        }
        writer.gather(dir.path(), &items).unwrap();
        let first = |place: &str| {
            let bytes = fs::read(dir.path().join("mean").join(place)).unwrap();
            Array::read(&bytes).unwrap().values[0]
        };
        // Single precision of numbers below 1.
        assert!((first("all/probe/cam.probe.npy") - 1.4 / 3.0).abs() < 1e-6);
        assert!((first("a/probe/cam.probe.npy") - 0.2).abs() < 1e-6);
        assert!((first("b/probe/cam.probe.npy") - 0.6).abs() < 1e-6);
        assert!(dir.path().join("mean/b/probe/cam.probe.png").is_file());
        // Fewer items, and the group that is gone goes.
        writer.gather(dir.path(), &items[1..]).unwrap();
        assert!(!dir.path().join("mean/a").exists() && dir.path().join("mean/b").exists());
    }
}
