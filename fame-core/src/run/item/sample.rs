//! An item's sample: its pictures, decoded and brought into the network's form.

use super::{super::Event, Items};
use crate::{
    Error, Picture, Result, Sample,
    contract::{ItemRef, PrepareContext},
};

impl Items<'_> {
    /// Loads `item` and prepares its pictures.
    pub(super) fn sample(&self, item: &ItemRef) -> Result<Sample> {
        let mut sample = self.plan.data.plugin.load(item, self.files)?;
        let prepared = std::mem::take(&mut sample.pictures)
            .into_iter()
            .map(|(role, picture)| Ok((role.clone(), self.prepare(&role, picture)?)));
        sample.pictures = prepared.collect::<Result<_>>()?;
        for (role, picture) in &sample.pictures {
            for warning in &picture.warnings {
                let line = format!("{}: {role}: {warning}", item.id);
                self.observer.event(&Event::Warning(&line));
            }
        }
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
        for step in &self.plan.prepare {
            let source = picture.source.clone();
            picture = step
                .plugin
                .apply(picture, &with)
                .map_err(|e| e.at(format!("{role} `{source}`")))?;
        }
        if (picture.height(), picture.width()) == input_size {
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
