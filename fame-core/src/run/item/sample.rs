//! An item's sample: its pictures, decoded and brought into the network's form.

use super::super::{ModelShelf, models::RunFiles};
use crate::{
    Error, Model, Picture, Plan, Result, Sample,
    contract::{ItemRef, PrepareContext},
    data::{Affine, Original},
};

/// The part of a run that turns an item into a sample: its files, its model, its prepare steps.
pub(in crate::run) struct Loader<'a> {
    pub(in crate::run) plan: &'a Plan,
    pub(in crate::run) files: &'a RunFiles<'a>,
    pub(in crate::run) shelf: &'a ModelShelf<'a>,
    pub(in crate::run) model: &'a Model,
}

impl Loader<'_> {
    /// Loads `item` and prepares its pictures.
    pub(in crate::run) fn sample(&self, item: &ItemRef) -> Result<Sample> {
        let mut sample = self.plan.data.plugin.load(item, self.files)?;
        let prepared = std::mem::take(&mut sample.pictures)
            .into_iter()
            .map(|(role, picture)| Ok((role.clone(), self.prepare(&role, picture)?)));
        sample.pictures = prepared.collect::<Result<_>>()?;
        Ok(sample)
    }

    /// Takes one picture through the recipe's prepare steps.
    ///
    /// # Errors
    /// The first step that fails; `fame::prepare::wrong_size` when the last one leaves another size
    /// than the model takes.
    fn prepare(&self, role: &str, mut picture: Picture) -> Result<Picture> {
        let input = &self.model.manifest.input;
        let input_size = (input.height, input.width);
        let with = PrepareContext { models: self.shelf, input_size, role };
        let original = Original::of(&picture)?;
        for step in &self.plan.prepare {
            let source = picture.source.clone();
            picture = step
                .plugin
                .apply(picture, &with)
                .map_err(|e| e.at(format!("{role} `{source}`")))?;
        }
        if (picture.height(), picture.width()) == input_size {
            let is_changed = picture.geometry != Affine::IDENTITY || original.size != input_size;
            picture.original = is_changed.then_some(original);
            Ok(picture)
        } else {
            Err(self.wrong_size(role, &picture))
        }
    }

    /// The error of a picture that cannot be the model's input.
    fn wrong_size(&self, role: &str, picture: &Picture) -> Error {
        let input = &self.model.manifest.input;
        let steps = if self.plan.prepare.is_empty() {
            "there are no prepare steps"
        } else {
            "the prepare steps do not lead there"
        };
        Error::new(
            "fame::prepare::wrong_size",
            format!(
                "{role} `{}` is {}×{} pixels, but model `{}` takes {}×{}: {steps}.",
                picture.source,
                picture.width(),
                picture.height(),
                self.plan.manifest.name,
                input.width,
                input.height
            ),
        )
        .with_help(
            "Add prepare steps to the recipe that end at that size: `fame-cli describe prepare` lists them.",
        )
    }
}
