//! The question to a model where a recipe does not say: the manifest's, else the predicted class at
//! the output.

use fame_core::{
    LayerChoice, LayerChoices,
    contract::{Loss, Reference},
    registry::{BuildContext, Plugin},
    text::Spec,
};

use crate::losses::{Logit, Similarity};

/// The loss that is asked about.
pub(crate) fn usual_loss(with: &BuildContext<'_>) -> Spec {
    let of_faces = || is_of_faces(with).then(|| Spec::named(Similarity::NAME));
    let loss = with.ask.loss.clone().or_else(of_faces);
    loss.unwrap_or_else(|| Spec::named(Logit::NAME))
}

/// The layer that the loss reads.
pub(crate) fn usual_layer(with: &BuildContext<'_>) -> LayerChoices {
    let of_faces = || is_of_faces(with).then(|| LayerChoice::Named("embedding".to_owned()).into());
    let layer = with.ask.layer.clone().or_else(of_faces);
    layer.unwrap_or_else(|| LayerChoice::Output.into())
}

/// Whether the model is one that compares two pictures: the loss its manifest asks for is measured
/// against a sample's other picture, or against all others.
pub(crate) fn compares_pictures(with: &BuildContext<'_>) -> bool {
    let built = with.ask.loss.as_ref().map(|loss| with.registry.build::<dyn Loss>(loss, with));
    if built.is_none() {
        return is_of_faces(with);
    }
    built.and_then(Result::ok).is_some_and(|loss| loss.plugin.reference() != Reference::None)
}

/// Whether an older manifest says that the model is one of faces: it then asks for their
/// similarity.
fn is_of_faces(with: &BuildContext<'_>) -> bool {
    with.ask.former_task.as_deref() == Some("FaceRecognition")
}
