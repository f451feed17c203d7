//! Writers: what a run leaves behind about an item, one file each.
//!
//! | writer | files |
//! | --- | --- |
//! | [`Npy`] | `<explainer>.<map>.npy`, and with `raw: true` `<explainer>.<map>.raw.npy` |
//! | [`Heatmap`] | `<explainer>.<map>.heatmap.png` |
//! | [`Overlay`] | `<explainer>.<map>.overlay.png` |
//! | [`Picture`] | `<role>.png` |
//! | [`Sheet`] | `sheet.png` |
//! | [`Report`] | `report.….jpg`, `report.….png`, and of all items one page, `<out>/report.html` |
//! | [`MeanMap`] | `mean/…`, and the mean of all items in `<out>/mean` |
//! | [`Safetensors`] | `raw.safetensors` |
//! | [`FiftyOne`] | `fiftyone/…`, and of all items a dataset, `<out>/fiftyone` |
//! | [`Parquet`] | of the whole run, `<out>/metrics.parquet` |
//! | [`RoCrate`] | of the whole run, `<out>/ro-crate-metadata.json` |
//! | [`ReferenceLayout`] | `reference/<method>/<model>/…`, gathered from all items in one tree |

mod colour;
mod fifty_one;
mod heatmap;
mod item_record;
mod mean_map;
mod npy;
mod overlay;
mod parquet;
mod picture;
mod plate;
mod reference_layout;
mod report;
mod ro_crate;
mod safetensors;
mod sheet;
mod thumbnail;

pub use self::{parquet::Parquet, safetensors::Safetensors};
pub use fifty_one::FiftyOne;
pub use heatmap::Heatmap;
pub use mean_map::MeanMap;
pub use npy::Npy;
pub use overlay::{On, Overlay};
pub use picture::Picture;
pub use reference_layout::ReferenceLayout;
pub use report::{REPORT, Report, claim};
pub use ro_crate::RoCrate;
pub use sheet::Sheet;
pub use thumbnail::{Thumbnail, answers, thumbnails};

use std::{
    fs,
    path::{Path, PathBuf},
};

use fame_core::{Error, NamedMap, Result, Sample, contract::FinishedItem};
use image::RgbImage;

use crate::pictures;

/// Every map of the item with its explainer's name.
fn maps<'a>(item: &FinishedItem<'a>) -> impl Iterator<Item = (&'a str, &'a NamedMap)> + use<'a> {
    item.explanations.iter().flat_map(|(name, e)| e.maps.iter().map(move |m| (name.as_str(), m)))
}

/// The prepared picture that `map` scores.
fn picture_of<'a>(sample: &'a Sample, map: &NamedMap) -> Result<&'a fame_core::Picture> {
    sample.picture(&map.id.role).ok_or_else(|| {
        Error::bug(format!(
            "map `{}` is about `{}`, but the sample has no such picture.",
            map.name(),
            map.id.role
        ))
    })
}

/// Writes `picture` as `name` into the item's folder and returns `name`.
fn save(folder: &Path, name: String, picture: &RgbImage) -> Result<String> {
    let path = place(folder, &name)?;
    pictures::save_png(&path, picture)?;
    Ok(name)
}

/// Where `name` goes. The folder is fresh, so a file that is there came from another writer of the
/// same run.
fn place(folder: &Path, name: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    if path.exists() {
        return Err(Error::new(
            "fame::writer::name_taken",
            format!("two writers write the same file, `{name}`."),
        )
        .with_help("Name each writer once under `write:`."));
    }
    Ok(path)
}

/// The folders in the folder `of`, in order; none where it is not there.
fn folders(of: &Path) -> Result<Vec<PathBuf>> {
    Ok(entries(of)?.into_iter().filter(|path| path.is_dir()).collect())
}

/// What is in the folder `of`, in order; nothing where it is not there.
fn entries(of: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(of) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("read", of, &e)),
    };
    let path = |entry: std::io::Result<fs::DirEntry>| {
        entry.map(|e| e.path()).map_err(|e| Error::io("read", of, &e))
    };
    let mut paths = entries.map(path).collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use fame_core::Tensor;

    use super::testing::{explanation, map, sample, write};

    /// Names of files have at most 255 bytes on the usual systems; a label may have any number.
    #[test]
    fn a_label_of_any_length_has_its_files() {
        let long = |last: char| format!("annotated_{}{last}_0", "x".repeat(300));
        let maps = ['a', 'b'].map(|last| map(&long(last), "image", Tensor::filled([2, 3], 0.5)));
        let explanations = [("fame".to_owned(), explanation(maps.to_vec()))];
        for (writer, each) in [
            ("Npy(raw: true)", 2),
            ("Overlay()", 1),
            ("Heatmap()", 1),
            ("Report()", 1),
            ("MeanMap()", 1),
            ("FiftyOne()", 1),
        ] {
            let (dir, files) = write(writer, &sample(&["image"], 2, 3), &explanations);
            let cut = files.iter().filter(|(name, _)| name.contains("fame") && name.len() > 150);
            assert_eq!(cut.count(), 2 * each, "{writer}: {files:#?}");
            for (name, _) in &files {
                assert!(dir.path().join(name).is_file(), "{writer}: {name}");
            }
        }
    }
}

#[cfg(test)]
mod testing {
    use std::path::Path;

    use fame_core::{
        Explanation, MapId, NamedMap, Sample, Subject, Tensor,
        contract::{FinishedItem, Writer},
        registry::{BuildContext, Registry},
        text::{Problem, Spec},
    };
    use image::RgbImage;

    /// Builds what a recipe writes, with every built-in plugin.
    pub(super) fn build(text: &str) -> Result<Box<dyn Writer>, Vec<Problem>> {
        let registry = Registry::builtin().unwrap();
        let with = BuildContext::new(&registry, Path::new("."));
        registry
            .build::<dyn Writer>(&Spec::from_text(text).map_err(|p| vec![p])?, &with)
            .map(|b| b.plugin)
    }

    /// A map with these finished values; its raw field is their negative with a channel axis.
    pub(super) fn map_of(id: MapId, finished: Tensor) -> NamedMap {
        let mut shape = finished.shape().to_vec();
        if shape.len() == 2 {
            shape.insert(0, 1);
        }
        let raw = Tensor::new(shape, finished.data().iter().map(|v| -v).collect()).unwrap();
        NamedMap::new(id, raw, finished)
    }

    /// The map of `role` about what `name` says, or about the whole when that is the role.
    pub(super) fn map(name: &str, role: &str, finished: Tensor) -> NamedMap {
        let id = MapId::new(role).alone(true);
        let named = Subject::Named(name.to_owned());
        map_of(if name == role { id } else { id.about(named) }, finished)
    }

    /// A sample of gray h×w pictures (0.5 everywhere), one for each role.
    pub(super) fn sample(roles: &[&str], h: usize, w: usize) -> Sample {
        let picture = || fame_core::Picture::new(Tensor::filled([3, h, w], 0.5), "test").unwrap();
        Sample {
            id: "s".into(),
            pictures: roles.iter().map(|r| ((*r).to_owned(), picture())).collect(),
            ..Sample::default()
        }
    }

    pub(super) fn explanation(maps: Vec<NamedMap>) -> Explanation {
        Explanation { maps, ..Explanation::default() }
    }

    /// How many files are in `folder` and in its folders.
    fn files_below(folder: &Path) -> usize {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| if path.is_dir() { files_below(&path) } else { 1 }).sum()
    }

    /// Lets a writer write; every PNG is decoded again.
    pub(super) fn write(
        writer: &str,
        sample: &Sample,
        explanations: &[(String, Explanation)],
    ) -> (tempfile::TempDir, Vec<(String, Option<RgbImage>)>) {
        let dir = tempfile::tempdir().unwrap();
        let names = build(writer)
            .unwrap()
            .write(&FinishedItem { sample, explanations }, dir.path())
            .unwrap();
        assert_eq!(names.len(), files_below(dir.path()), "every file is named");
        let open = |name: String| {
            let png = Path::new(&name)
                .extension()
                .is_some_and(|e| e == "png")
                .then(|| image::open(dir.path().join(&name)).unwrap().into_rgb8());
            (name, png)
        };
        let files = names.into_iter().map(open).collect();
        (dir, files)
    }
}
