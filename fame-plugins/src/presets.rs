//! The presets: forms of the method that the defaults of many plugins follow.

use fame_core::registry::BuildContext;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A form of FAME. The paper's text and its authors' code differ in a dozen choices
/// (norms, gray, normalisation, step space, early stop). A preset fixes all of them; any single
/// parameter can still be set by hand, and the record shows every choice as resolved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Preset {
    /// What the paper says: steps in pixels, frozen norms, |difference| then gray, maximum
    /// normalisation, no early stop.
    #[default]
    Paper,
    /// What the public code does: steps in normalised space for classifiers and in pixels for
    /// pairs, gray then |difference| with weights in stored channel order, min-max normalisation,
    /// early stop at 0.01 for pairs; norms that are differentiated when FAME walks, and frozen when
    /// a CAM or a gradient method explains the similarity; CAMs and FullGrad as pytorch-grad-cam
    /// makes them; CorrRISE with ranks and three patches.
    Authors,
    /// The paper's choices with a shorter walk for models that compare two pictures: where the
    /// recipe says neither step nor iterations, `Lots` takes 16 steps of 16/255 in place of 500 of
    /// 1/255. Its maps rank pixels as the long walk's do (docs/speed.md). For other models it is
    /// the paper's: no shorter walk that was tried ranks the pixels of a class as 500 steps do, and
    /// neither do 500 steps from a picture that differs by rounding.
    Fast,
}

impl Preset {
    /// Every preset by name: what a plugin that follows them says it knows.
    pub const NAMES: &'static [&'static str] = &["Paper", "Authors", "Fast"];

    /// The preset that a part is built for; the paper's where it is another's, or none.
    pub fn of(with: &BuildContext<'_>) -> Self {
        let named = [Self::Authors, Self::Fast].into_iter().find(|p| p.name() == with.preset);
        named.unwrap_or_default()
    }

    /// The context for the loss of a method that explains a value as it is and walks nowhere. The
    /// authors freeze norms there ("cosine with detached norms" is the target of their CAMs), as
    /// the paper does everywhere; only the loss of a walk differentiates them.
    pub(crate) fn of_explained_value<'a>(with: &BuildContext<'a>) -> BuildContext<'a> {
        let preset = if Self::of(with) == Self::Authors { Self::Paper.name() } else { with.preset };
        BuildContext { preset, ..*with }
    }

    /// The context for the walk that descends a cell of a feature map: the authors take its steps
    /// in pixels and to the end, whatever the network, as the paper does.
    pub(crate) fn of_feature_map_walk<'a>(with: &BuildContext<'a>) -> BuildContext<'a> {
        Self::of_explained_value(with)
    }

    /// Its name in recipes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Paper => Self::NAMES[0],
            Self::Authors => Self::NAMES[1],
            Self::Fast => Self::NAMES[2],
        }
    }
}
