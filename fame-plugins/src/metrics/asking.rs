//! What a metric asks the network about altered pictures: the value of a loss, the same that an
//! explainer explains.

use fame_core::{
    Explanation, LayerChoices, NamedMap, Result, Sample,
    ask::{Aim, Answer, Question},
    contract::{ExplainContext, Loss},
    registry::{Assembly, BuildContext, Built},
    text::Spec,
};

/// A loss at layers, and what of it is read.
pub(super) struct Asking {
    layer: LayerChoices,
    loss: Built<dyn Loss>,
    answer: Answer,
}

impl Asking {
    /// Builds the loss standing in parameter `loss`.
    pub(super) fn build(
        layer: &LayerChoices,
        loss: &Spec,
        answer: Answer,
        with: &BuildContext<'_>,
        assembly: &mut Assembly,
    ) -> Option<Self> {
        let loss = assembly.build::<dyn Loss>("loss", loss, with)?;
        Some(Self { layer: layer.clone(), loss, answer })
    }

    /// Asks about each map of `explanation` that `wanted` takes, in turn.
    ///
    /// # Errors
    /// What the loss, the network or `about` says.
    pub(super) fn each_map(
        &self,
        with: &ExplainContext<'_>,
        sample: &Sample,
        explanation: &Explanation,
        wanted: impl Fn(&NamedMap) -> bool,
        mut about: impl FnMut(&NamedMap, &Question<'_>) -> Result<()>,
    ) -> Result<()> {
        let aim = Aim::new(with.model, &self.layer, self.loss.plugin.as_ref())?;
        for map in explanation.maps.iter().filter(|m| wanted(m)) {
            let rows = aim.rows(sample, Some(std::slice::from_ref(&map.id.role)))?;
            // A loss with several targets (cells) asks about the map's own, if it is among them.
            let own = rows.iter().find(|r| r.id.subject == map.id.subject);
            let Some(row) = own.or_else(|| rows.first()) else { continue };
            let question = Question::new(&aim, sample, row, self.answer)?;
            about(map, &question)?;
        }
        Ok(())
    }
}
