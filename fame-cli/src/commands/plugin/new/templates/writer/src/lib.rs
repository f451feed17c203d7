//! `Scaffold`: the pixels that a map puts first, as a table.

use std::{fmt::Write as _, path::Path};

use fame_core::{
    NamedMap, Result,
    contract::{FinishedItem, Writer},
    registry::{BuildContext, Assembly, Plugin},
    data::write_whole,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

// Makes the shared library loadable; in a program that links this crate it does nothing.
fame_core::export_plugin!();

/// `<explainer>.<map>.top.csv`: the highest pixels of each finished map, `rank,x,y,value`,
/// highest first, x to the right and y down from 0. Of equal values the upper, then the left
/// one comes first. A map with channels counts with their sum of absolute values.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Scaffold {
    /// How many pixels, at least 1; of a smaller picture all.
    pub pixels: usize,
}

impl Default for Scaffold {
    fn default() -> Self {
        Self { pixels: 100 }
    }
}

impl Plugin<dyn Writer> for Scaffold {
    const NAME: &'static str = "Scaffold";
    const SUMMARY: &'static str = "The pixels that a map puts first, as a table";
    const EXAMPLE: &'static str = "Scaffold(pixels: 10)";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("pixels", self.pixels > 0, "must be at least 1");
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Writer>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Writer: Scaffold);

impl Writer for Scaffold {
    // The folder is fresh, and appears under the item's name when all writers are done.
    fn write(&self, item: &FinishedItem<'_>, folder: &Path) -> Result<Vec<String>> {
        let mut written = Vec::new();
        for (explainer, explanation) in item.explanations {
            for map in &explanation.maps {
                let name = map.file(explainer, ".top.csv");
                write_whole(&folder.join(&name), self.table(map).as_bytes())?;
                written.push(name);
            }
        }
        Ok(written)
    }
}

impl Scaffold {
    fn table(&self, map: &NamedMap) -> String {
        let width = map.finished.shape().last().copied().unwrap_or(1).max(1);
        let values = plane(map);
        let mut order: Vec<usize> = (0..values.len()).collect();
        // Stable, so equal values stay in reading order.
        order.sort_by(|a, b| values[*b].total_cmp(&values[*a]));
        let mut table = "rank,x,y,value\n".to_owned();
        for (rank, i) in order.into_iter().take(self.pixels).enumerate() {
            // Writing into a String does not fail.
            let _ = writeln!(table, "{},{},{},{}", rank + 1, i % width, i / width, values[i]);
        }
        table
    }
}

/// One value for each pixel.
fn plane(map: &NamedMap) -> Vec<f32> {
    let values = map.finished.data();
    match *map.finished.shape() {
        [channels, h, w] => {
            (0..h * w).map(|i| (0..channels).map(|c| values[c * h * w + i].abs()).sum()).collect()
        }
        _ => values.to_vec(),
    }
}
