//! Faces that are kept as HDF5 files: the FAME authors' aligned crops.

use fame_core::{Picture, Result, contract::Files, registry::Assembly};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The kind of files behind a list's paths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Crops {
    /// Pictures: the path is the file.
    #[default]
    Pictures,
    /// The FAME authors' crops: for the path `id0/g.jpg` the file `id0_g.h5`, whose dataset `data`
    /// holds height × width × 3 values in RGB: bytes, or floats of 0..=1. Needs a program built
    /// with the feature `hdf5`.
    Hdf5,
}

impl Crops {
    /// The file behind a path of the list.
    pub(super) fn file(self, path: &str) -> String {
        match self {
            Self::Pictures => path.to_owned(),
            Self::Hdf5 => format!(
                "{}.h5",
                path.rsplit_once('.').map_or(path, |(stem, _)| stem).replace('/', "_")
            ),
        }
    }

    /// Reports, under the parameter `crops`, what this program cannot read.
    pub(super) fn check(self, assembly: &mut Assembly) {
        if self == Self::Hdf5 && !cfg!(feature = "hdf5") {
            assembly.report("crops", "`crops` asks for HDF5 files, and this program was built without them: build it with `--features hdf5`.");
        }
    }

    /// Decodes a file.
    pub(super) fn load(self, file: &str, files: &dyn Files) -> Result<Picture> {
        match self {
            Self::Pictures => super::entry::picture(file, files),
            Self::Hdf5 => hdf5(file, files),
        }
    }
}

#[cfg(not(feature = "hdf5"))]
fn hdf5(file: &str, _: &dyn Files) -> Result<Picture> {
    Err(fame_core::Error::bug(format!(
        "`{file}` is asked for, and this program was built without HDF5."
    )))
}

#[cfg(feature = "hdf5")]
fn hdf5(file: &str, files: &dyn Files) -> Result<Picture> {
    use fame_core::{data::read_ordinary, registry::quietly};

    let bad = |why: String| {
        fame_core::Error::new("fame::data::hdf5", format!("`{file}` {why}."))
            .with_help("A crop is an HDF5 file whose dataset `data` has height × width × 3 values in RGB: bytes, or floats of 0..=1.")
    };
    let bytes = read_ordinary(&files.locate(file)?)?;
    // As with pictures: somebody else's code reads somebody else's file.
    let values = quietly(|| values(bytes))
        .unwrap_or_else(|_| Err("cannot be decoded: its decoder gave up".into()));
    let ([height, width], values) = values.map_err(bad)?;
    if let Some(odd) = values.iter().find(|v| !(0.0..=1.0).contains(*v)) {
        return Err(bad(format!("holds the value {odd}, which is not in 0..=1")));
    }
    let planes = (0..3).flat_map(|c| values.iter().skip(c).step_by(3).copied()).collect();
    Picture::new(fame_core::Tensor::new([3, height, width], planes)?, file)
}

/// Height, width, and the values in 0..=1, channels last.
#[cfg(feature = "hdf5")]
fn values(bytes: Vec<u8>) -> std::result::Result<([usize; 2], Vec<f32>), String> {
    use hdf5_pure::{DType, File};

    let broken = |e: hdf5_pure::Error| format!("is no HDF5 file that can be read: {e}");
    let file = File::from_bytes(bytes).map_err(broken)?;
    let data = file.dataset("data").map_err(|e| format!("has no dataset `data`: {e}"))?;
    let shape = data.shape().map_err(broken)?;
    let [height, width, 3] = shape[..] else {
        return Err(format!("holds {shape:?} values, not height × width × 3"));
    };
    if height.saturating_mul(width) > crate::pictures::MAX_PIXELS {
        return Err(format!("promises {width} × {height} pixels"));
    }
    // Compressed, they may be any share of the file.
    let bytes = (3 * height * width).saturating_mul(size_of::<f32>() as u64);
    fame_core::data::require_memory(format!("holds {width} × {height} pixels, and they"), bytes)
        .map_err(|e| e.message.trim_end_matches('.').to_owned())?;
    let kind = data.dtype().map_err(broken)?;
    let values: Vec<f32> = match kind {
        DType::U8 => {
            data.read::<u8>().map_err(broken)?.into_iter().map(|v| f32::from(v) / 255.0).collect()
        }
        DType::F32 | DType::F64 => data.read::<f32>().map_err(broken)?,
        other => return Err(format!("holds values of type {other}; bytes and floats can be read")),
    };
    if values.len() as u64 != 3 * height * width {
        return Err(format!("holds {} values for {width} × {height} pixels", values.len()));
    }
    Ok(([height as usize, width as usize], values))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crops_are_named_as_the_authors_name_them() {
        let named = ["id0/g.jpg", "a.b/c", "plain"].map(|path| Crops::Hdf5.file(path));
        assert_eq!(named, ["id0_g.h5", "a.h5", "plain.h5"]);
    }

    #[cfg(not(feature = "hdf5"))]
    #[test]
    fn a_program_without_hdf5_says_how_to_get_it() {
        let problems =
            super::super::testing::build(r#"Pairs(list: "a", crops: Hdf5)"#).err().unwrap();
        assert!(problems[0].message.contains("--features hdf5"), "{}", problems[0].message);
    }

    #[cfg(feature = "hdf5")]
    mod with_hdf5 {
        use std::path::Path;

        use super::super::super::testing::{Beside, build, told};

        /// Files that h5py wrote; see `make_crops.py`.
        fn beside() -> Beside {
            let files = Beside::with(&[]);
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/datasets/crops/h5");
            for file in std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
                std::fs::copy(&file, files.path().join(file.file_name().unwrap())).unwrap();
            }
            files
        }

        #[test]
        fn every_form_that_h5py_writes_gives_the_same_pixels() {
            let files = beside();
            std::fs::write(
                files.path().join("p.csv"),
                "G,P,T\nid0/plain.jpg,id0/packed.jpg,1\nid0/latest.jpg,id0/float.jpg,1\nid0/double.jpg,id0/plain.jpg,0\n",
            )
            .unwrap();
            let pairs = build(r#"Pairs(list: "p.csv", crops: Hdf5)"#).unwrap();
            for item in pairs.index(&files).unwrap() {
                for (_, picture) in &pairs.load(&item, &files).unwrap().pictures {
                    assert_eq!(picture.pixels.shape(), [3, 2, 3], "{}", picture.source);
                    for (i, v) in picture.pixels.data().iter().enumerate() {
                        let (c, y, x) = (i / 6, i / 3 % 2, i % 3);
                        assert_eq!(*v, (60 * y + 20 * x + c) as f32 / 255.0, "{}", picture.source);
                    }
                }
            }
        }

        #[test]
        fn files_that_are_no_crops_are_told() {
            let files = beside();
            let good = std::fs::read(files.path().join("id0_plain.h5")).unwrap();
            std::fs::write(files.path().join("id0_cut.h5"), &good[..good.len() / 3]).unwrap();
            std::fs::write(files.path().join("id0_text.h5"), "no").unwrap();
            for (name, says) in [
                ("loud", "holds the value 2, which is not in 0..=1"),
                ("gray", "holds [2, 3] values, not height × width × 3"),
                ("other", "has no dataset `data`: "),
                ("cut", ""),
                ("text", "is no HDF5 file that can be read: "),
            ] {
                std::fs::write(
                    files.path().join("p.csv"),
                    format!("G,P,T\nid0/{name}.jpg,id0/plain.jpg,1\n"),
                )
                .unwrap();
                let pairs = build(r#"Pairs(list: "p.csv", crops: Hdf5)"#).unwrap();
                let said = told(pairs.load(&pairs.index(&files).unwrap()[0], &files).unwrap_err());
                assert!(
                    said.starts_with(&format!(
                        "[fame::data::hdf5]\ngallery: `id0_{name}.h5` {says}"
                    )),
                    "{said}"
                );
            }
            std::fs::write(files.path().join("p.csv"), "G,P,T\nid0/none.jpg,id0/plain.jpg,1\n")
                .unwrap();
            let missing = told(
                build(r#"Pairs(list: "p.csv", crops: Hdf5)"#).unwrap().index(&files).unwrap_err(),
            );
            assert!(missing.contains("line 2: the file is not there: `id0_none.h5`."), "{missing}");
        }

        #[test]
        fn a_byte_anywhere_may_be_wrong() {
            let files = beside();
            let good = std::fs::read(files.path().join("id0_packed.h5")).unwrap();
            std::fs::write(files.path().join("p.csv"), "G,P,T\nid0/hurt.jpg,id0/plain.jpg,1\n")
                .unwrap();
            let pairs = build(r#"Pairs(list: "p.csv", crops: Hdf5)"#).unwrap();
            std::fs::write(files.path().join("id0_hurt.h5"), &good).unwrap();
            let item = &pairs.index(&files).unwrap()[0];
            for at in 0..good.len() {
                let mut bytes = good.clone();
                bytes[at] ^= 0x41;
                std::fs::write(files.path().join("id0_hurt.h5"), &bytes).unwrap();
                // A picture or an error, never a panic.
                let _ = pairs.load(item, &files);
            }
        }
    }
}
