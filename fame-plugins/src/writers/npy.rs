//! `Npy`: maps as numbers.

use std::path::Path;

use fame_core::{
    Error, Result, Tensor,
    contract::{FinishedItem, Writer},
    data::write_whole,
    registry::{Assembly, BuildContext, Plugin},
};
use npyz::WriterBuilder as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Each finished map as `<explainer>.<map>.npy`: little-endian float32, C order, `[H, W]` (or
/// `[C, H, W]` where the map has channels). `numpy.load` reads it.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Npy {
    /// Whether what moved, signed and before any map step, is written too:
    /// `<explainer>.<map>.raw.npy`, `[C, H, W]`, channels in the model's order.
    pub raw: bool,
}

impl Plugin<dyn Writer> for Npy {
    const NAME: &'static str = "Npy";
    const SUMMARY: &'static str = "Maps as float32 .npy files";
    const EXAMPLE: &'static str = "Npy(raw: true)";

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Writer>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Writer: Npy);

impl Writer for Npy {
    fn write(&self, item: &FinishedItem<'_>, folder: &Path) -> Result<Vec<String>> {
        let mut written = Vec::new();
        for (explainer, map) in super::maps(item) {
            written.push(save(folder, map.file(explainer, ".npy"), &map.finished)?);
            if self.raw {
                written.push(save(folder, map.file(explainer, ".raw.npy"), &map.raw)?);
            }
        }
        Ok(written)
    }
}

pub(super) fn save(folder: &Path, name: String, values: &Tensor) -> Result<String> {
    let path = super::place(folder, &name)?;
    let bytes = encode(values).map_err(|e| Error::io("write", &path, &e))?;
    write_whole(&path, &bytes)?;
    Ok(name)
}

fn encode(values: &Tensor) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let shape: Vec<u64> = values.shape().iter().map(|d| *d as u64).collect();
    let mut npy =
        npyz::WriteOptions::new().default_dtype().shape(&shape).writer(&mut bytes).begin_nd()?;
    npy.extend(values.data().iter().copied())?;
    npy.finish()?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::{
        super::testing::{explanation, map, sample, write},
        *,
    };

    #[test]
    fn maps_come_back_bit_by_bit() {
        let finished =
            Tensor::new([2, 3], vec![0.0, 0.1, 1.0 / 3.0, f32::MIN_POSITIVE, 0.5, 1.0]).unwrap();
        let explanations =
            [("fame".to_owned(), explanation(vec![map("probe", "probe", finished.clone())]))];
        let (dir, files) = write("Npy(raw: true)", &sample(&["probe"], 2, 3), &explanations);
        assert_eq!(
            files.iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>(),
            ["fame.probe.npy", "fame.probe.raw.npy"]
        );
        let bytes = std::fs::read(dir.path().join("fame.probe.npy")).unwrap();
        assert!(bytes.starts_with(b"\x93NUMPY"));
        let npy = npyz::NpyFile::new(&bytes[..]).unwrap();
        assert_eq!(
            (npy.shape(), npy.order(), npy.dtype().descr().as_str()),
            (&[2, 3][..], npyz::Order::C, "'<f4'")
        );
        assert_eq!(npy.into_vec::<f32>().unwrap(), finished.data());
        let bytes = std::fs::read(dir.path().join("fame.probe.raw.npy")).unwrap();
        let raw = npyz::NpyFile::new(&bytes[..]).unwrap();
        assert_eq!(raw.shape(), [1, 2, 3]);
    }
}
