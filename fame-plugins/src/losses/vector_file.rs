//! A vector in a `.npy` file, as a parameter of losses.

use std::borrow::Cow;
use std::path::Path;

use fame_core::{
    Error, Result,
    data::{read_ordinary, sha256_hex},
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

use crate::numpy::Array;

/// A vector that lies in a `.npy` file of float32 or float64: `"text.npy"` in a recipe. The record
/// shows the file's hash too, so that another vector in the same file is another explanation.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct VectorFile {
    file: String,
    sha256: String,
    #[serde(skip)]
    values: Vec<f32>,
}

impl VectorFile {
    /// Reads the file, whose path starts from `folder`.
    ///
    /// # Errors
    /// It cannot be read, is no `.npy` file of floats, or holds nothing, or a value that is not
    /// finite.
    pub(super) fn read(&mut self, folder: &Path) -> Result<()> {
        let path = folder.join(&self.file);
        let bytes = read_ordinary(&path)?;
        let bad = |why: String| {
            Error::new("fame::loss::vector_file", format!("`{}` {why}.", path.display()))
        };
        let Array { values, kind, .. } = Array::read(&bytes).map_err(bad)?;
        if !kind.starts_with("float") {
            return Err(bad(format!("holds {kind}; float32 and float64 can be read")));
        }
        let values: Vec<f32> = values.into_iter().map(|v| v as f32).collect();
        if values.is_empty() || values.iter().any(|v| !v.is_finite()) {
            return Err(bad("holds no values, or one that is not finite".to_owned()));
        }
        self.sha256 = sha256_hex(&bytes);
        self.values = values;
        Ok(())
    }

    /// The file as the recipe names it.
    pub(super) fn name(&self) -> &str {
        &self.file
    }

    /// The values, once the file has been read.
    pub(super) fn values(&self) -> &[f32] {
        &self.values
    }
}

impl<'de> Deserialize<'de> for VectorFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(deserializer).map(|file| Self { file, ..Self::default() })
    }
}

impl JsonSchema for VectorFile {
    fn schema_name() -> Cow<'static, str> {
        "VectorFile".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "title": "\"file.npy\"" })
    }
}

#[cfg(test)]
mod tests {
    use npyz::WriterBuilder as _;

    use super::*;

    fn save<T: npyz::AutoSerialize + Copy>(path: &Path, values: &[T]) {
        let file = std::fs::File::create(path).unwrap();
        let options = npyz::WriteOptions::new().default_dtype().shape(&[values.len() as u64]);
        let mut writer = options.writer(file).begin_nd().unwrap();
        writer.extend(values.iter().copied()).unwrap();
        writer.finish().unwrap();
    }

    #[test]
    fn floats_are_read_and_anything_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let read = |name: &str| {
            let mut vector = VectorFile { file: name.to_owned(), ..VectorFile::default() };
            vector.read(folder.path()).map(|()| vector)
        };
        save(&folder.path().join("a.npy"), &[1.0f32, -2.0]);
        save(&folder.path().join("b.npy"), &[1.0f64, -2.0]);
        let (a, b) = (read("a.npy").unwrap(), read("b.npy").unwrap());
        assert_eq!((a.values(), b.values()), (&[1.0, -2.0][..], &[1.0, -2.0][..]));
        assert_ne!(a.sha256, b.sha256);
        save(&folder.path().join("c.npy"), &[1i32]);
        save(&folder.path().join("d.npy"), &[f32::NAN]);
        std::fs::write(folder.path().join("e.npy"), "no numbers").unwrap();
        for name in ["c.npy", "d.npy", "e.npy"] {
            assert_eq!(read(name).unwrap_err().code, "fame::loss::vector_file", "{name}");
        }
        assert!(read("missing.npy").is_err());
    }
}
