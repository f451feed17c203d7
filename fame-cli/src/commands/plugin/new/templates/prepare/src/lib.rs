//! `Scaffold`: the picture as a mirror shows it.

use fame_core::{
    Affine, Picture, Result,
    contract::{PrepareContext, PrepareStep},
    registry::{BuildContext, Assembly, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

// Makes the shared library loadable; in a program that links this crate it does nothing.
fame_core::export_plugin!();

/// Turns the picture over, left to right, and takes its geometry along, so that boxes and
/// landmarks follow. Is the map of the mirrored picture the mirrored map? In a network that
/// was trained on both it should be, nearly.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Scaffold {
    /// Only the picture in this role (`"left"`). Default: every picture.
    pub role: Option<String>,
}

impl Plugin<dyn PrepareStep> for Scaffold {
    const NAME: &'static str = "Scaffold";
    const SUMMARY: &'static str = "Turns the picture over, left to right";
    const EXAMPLE: &'static str = r#"Scaffold(role: "left")"#;

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn PrepareStep>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Prepare: Scaffold);

impl PrepareStep for Scaffold {
    fn apply(&self, mut picture: Picture, with: &PrepareContext<'_>) -> Result<Picture> {
        if self.role.as_deref().is_some_and(|role| role != with.role) {
            return Ok(picture);
        }
        let width = picture.width();
        picture.pixels.data_mut().chunks_exact_mut(width).for_each(<[f32]>::reverse);
        // Points are measured from the outer corner of the first pixel: x' = W − x.
        let turn = Affine::scale_shift(-1.0, 1.0, width as f64, 0.0);
        picture.geometry = picture.geometry.then(&turn);
        // For the record of the item.
        picture.facts.insert("Scaffold".to_owned(), true.into());
        Ok(picture)
    }
}
