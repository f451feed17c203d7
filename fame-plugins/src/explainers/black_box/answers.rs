//! What black-box methods ask about, and what stands where they hide pixels.

use fame_core::{LayerChoice, LayerChoices, data::InputConvention, store::Task, text::Spec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What stands where pixels were taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Fill {
    /// 0 in pixels of 0..=1, before normalisation.
    Black,
    /// The model's mean colour: 0 after normalisation.
    Mean,
}

impl Fill {
    /// The value of `channel`, in pixels of 0..=1.
    pub(crate) fn value(self, convention: &InputConvention, channel: usize) -> f32 {
        match self {
            Fill::Black => 0.0,
            Fill::Mean => convention.mean[channel],
        }
    }
}

/// Fills in what a black-box method asks about unless the recipe says: the similarity of a pair,
/// else the predicted class.
pub(crate) fn resolve_target(
    task: Task,
    layer: &mut Option<LayerChoices>,
    loss: &mut Option<Spec>,
) {
    let (usual_layer, usual_loss) = match task {
        Task::FaceRecognition => (LayerChoice::Named("embedding".into()), "Similarity()"),
        Task::Classification => (LayerChoice::Named("logits".into()), "Logit()"),
        Task::Detection | Task::Landmarks | Task::Other => (LayerChoice::Output, "Logit()"),
    };
    layer.get_or_insert(LayerChoices(vec![usual_layer]));
    if loss.is_none() {
        *loss = Spec::from_text(usual_loss).ok();
    }
}
