//! Datasets: where samples come from, one file each.
//!
//! | dataset | samples | facts |
//! | --- | --- | --- |
//! | [`Image`], [`Images`], [`Folder`] | pictures by name | label |
//! | [`ImageList`] | pictures from a list | label, boxes, row |
//! | [`ImageNet`] | the validation set in every form it lies on disks | label, boxes, row |
//! | [`Shapes`] | drawn shapes, without files | label, box, row |
//! | [`Pair`] | one pair | genuine |
//! | [`Gallery`] | a probe and all enrolled faces | mate |
//! | [`Pairs`] | pairs from a list | genuine, row, fold, group |
//! | [`InpaintedPairs`], [`BlendedFaces`] | a face and its mate, a region of it another's | hidden region |
//! | [`LfwPairs`], [`CfpPairs`], [`InsightfaceBin`] | published verification sets | genuine, row, fold |
//! | [`BobCsv`] | a protocol of bob.bio | genuine, row, templates, eyes |
//!
//! What reads a list reports every malformed row, with file and line, before anything runs, and
//! loads pictures one by one.

mod blended_faces;
mod bob_csv;
mod boxes;
mod cfp_pairs;
mod crops;
mod entry;
mod folder;
mod gallery;
mod ids;
mod image;
mod image_list;
mod image_net;
mod images;
mod inpainted_pairs;
mod insightface_bin;
mod lfw_pairs;
mod list;
mod marks;
mod pair;
mod pairs;
mod pickle;
mod shapes;

pub use blended_faces::{BlendedFaces, FaceRegion, Mate};
pub use bob_csv::{BobCsv, Enrolment};
pub use boxes::BoxEnd;
pub use cfp_pairs::{CfpPairs, Protocol};
pub use crops::Crops;
pub use folder::Folder;
pub use gallery::{Faces, Gallery};
pub(crate) use ids::stem;
pub use image::Image;
pub use image_list::ImageList;
pub use image_net::ImageNet;
pub use images::Images;
pub use inpainted_pairs::{HIDDEN, InpaintedPairs};
pub use insightface_bin::InsightfaceBin;
pub use lfw_pairs::LfwPairs;
pub use marks::{FOLD, GALLERY, GENUINE, GROUP, IMAGE, MATE, PROBE, ROW, SAME_FRAME};
pub use pair::Pair;
pub use pairs::{Columns, Filter, Ids, Pairs};
pub use shapes::Shapes;

use fame_core::{Result, Sample, contract::Files, contract::ItemRef};

use crate::pictures;

/// The sample of an item whose only file is a picture; `label` is its class.
fn single(item: &ItemRef, label: Option<usize>, files: &dyn Files) -> Result<Sample> {
    let mut pictures = Vec::with_capacity(item.files.len());
    for file in &item.files {
        pictures.push((IMAGE.to_owned(), pictures::load(&files.locate(file)?, file)?));
    }
    Ok(Sample { id: item.id.clone(), pictures, label, ..Sample::default() })
}

#[cfg(test)]
mod testing {
    use std::path::{Path, PathBuf};

    use fame_core::{
        Result,
        contract::{Dataset, Files},
        registry::{BuildContext, Registry},
        text::{Problem, Spec},
    };
    use image::{Rgb, RgbImage};

    /// Files of a folder of the test's own.
    pub(super) struct Beside(pub(super) tempfile::TempDir);

    impl Beside {
        /// A folder with 4×3 pictures of one colour each, by name.
        pub(super) fn with(pictures: &[(&str, [u8; 3])]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            for (name, colour) in pictures {
                let path = dir.path().join(name);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                crate::pictures::save_png(&path, &RgbImage::from_pixel(4, 3, Rgb(*colour)))
                    .unwrap();
            }
            Self(dir)
        }

        pub(super) fn path(&self) -> &Path {
            self.0.path()
        }
    }

    impl Files for Beside {
        fn locate(&self, text: &str) -> Result<PathBuf> {
            Ok(self.0.path().join(text.strip_prefix("picture:").unwrap_or(text)))
        }
    }

    /// An error as a user reads it.
    pub(super) fn told(e: fame_core::Error) -> String {
        format!(
            "[{}]\n{}\n{}",
            e.code,
            e.message,
            e.help.map(|h| format!("help: {h}")).unwrap_or_default()
        )
        .trim_end()
        .to_owned()
    }

    /// Builds what a recipe writes, with every built-in plugin.
    pub(super) fn build(text: &str) -> std::result::Result<Box<dyn Dataset>, Vec<Problem>> {
        let registry = Registry::builtin().unwrap();
        let with = BuildContext::new(&registry, Path::new("."));
        registry
            .build::<dyn Dataset>(&Spec::from_text(text).map_err(|p| vec![p])?, &with)
            .map(|b| b.plugin)
    }
}
