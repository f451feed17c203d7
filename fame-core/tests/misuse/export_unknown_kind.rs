//! `export_plugin!` with a kind that does not exist.

use fame_core::{
    contract::Loss,
    registry::{BuildContext, Assembly, Plugin},
};

/// A loss.
#[derive(serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
struct Mine;

impl Plugin<dyn Loss> for Mine {
    const NAME: &'static str = "Mine";
    const SUMMARY: &'static str = "Mine";
    const EXAMPLE: &'static str = "Mine()";

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Loss>> {
        None
    }
}

fame_core::export_plugin!(Lose: Mine);

fn main() {}
