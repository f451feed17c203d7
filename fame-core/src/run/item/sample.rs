//! An item's sample: its pictures, decoded and brought into the network's form.

use super::super::{ModelShelf, models::RunFiles};
use crate::{
    Error, Model, Picture, Plan, Result, Sample,
    contract::{ItemRef, PrepareContext},
    data::{Affine, Original},
    text::value_at,
};

/// The part of a run that turns an item into a sample: its files, its model, its prepare steps.
pub(in crate::run) struct Loader<'a> {
    pub(in crate::run) plan: &'a Plan,
    pub(in crate::run) files: &'a RunFiles<'a>,
    pub(in crate::run) shelf: &'a ModelShelf<'a>,
    pub(in crate::run) model: &'a Model,
}

/// What follows of a picture without content.
const PLAIN: &str = "there is nothing in it to find, and a map of it shows the network's own \
                     pattern, such as its borders.";

impl Loader<'_> {
    /// Loads `item` and prepares its pictures.
    pub(in crate::run) fn sample(&self, item: &ItemRef) -> Result<Sample> {
        let mut sample = self.plan.data.plugin.load(item, self.files)?;
        warn_of_same_pictures(&mut sample);
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
        let was_plain = is_plain(&picture);
        if was_plain {
            let size = picture.height() * picture.width();
            let is = if size == 1 { "is a single pixel" } else { "has one colour everywhere" };
            picture.warnings.push(format!("`{}` {is}: {PLAIN}", picture.source));
        }
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
            if !was_plain && is_plain(&picture) {
                picture.warnings.push(format!(
                    "what the prepare steps leave of `{}` has one colour everywhere: {PLAIN}",
                    picture.source
                ));
            }
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
        let steps_are_the_recipes = value_at(self.plan.text.merged(), 0, "prepare").is_some();
        let place = match self.model.manifest.file() {
            Some(file) if !steps_are_the_recipes => {
                format!("the manifest `{}`, or into a recipe's own `prepare`", file.display())
            }
            _ => "the recipe's `prepare`".to_owned(),
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
        .with_help(format!(
            "Write steps that end at that size into {place}: prepare: [Name(…)]. \
             `fame-cli describe prepare` lists them."
        ))
    }
}

/// Whether every pixel of `picture` is like every other.
fn is_plain(picture: &Picture) -> bool {
    let size = (picture.height() * picture.width()).max(1);
    picture.pixels.data().chunks(size).all(|plane| plane.iter().all(|value| *value == plane[0]))
}

/// Warns of pictures of one sample that are the same, from one file or from several: what compares
/// them says nothing about the network.
fn warn_of_same_pictures(sample: &mut Sample) {
    for n in 1..sample.pictures.len() {
        let (earlier, rest) = sample.pictures.split_at_mut(n);
        let (_, picture) = &mut rest[0];
        // Most differ in their first pixels.
        let same = earlier.iter().find(|(_, other)| other.pixels == picture.pixels);
        if let Some((role, _)) = same {
            picture.warnings.push(format!(
                "`{}` is the same picture as that of {role}, pixel by pixel: a comparison of the \
                 two finds no difference, whatever the network, and its gradient may be 0.",
                picture.source
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tensor;

    fn picture(source: &str, width: usize, values: &[f32]) -> Picture {
        let planes: Vec<f32> = values.repeat(3);
        Picture::new(Tensor::new([3, values.len() / width, width], planes).unwrap(), source)
            .unwrap()
    }

    #[test]
    fn a_picture_of_one_colour_is_plain_and_any_other_is_not() {
        for width in [1, 2] {
            assert!(is_plain(&picture("a", width, &[0.5; 4])));
            assert!(!is_plain(&picture("a", width, &[0.5, 0.5, 0.5, 0.4])));
        }
        // Its channels may differ.
        let red = Tensor::new([3, 1, 2], vec![1.0, 1.0, 0.0, 0.0, 0.0, 0.0]).unwrap();
        assert!(is_plain(&Picture::new(red, "red").unwrap()));
    }

    #[test]
    fn the_same_picture_in_two_roles_is_warned_of_whatever_its_file_is_called() {
        let of = |roles: &[(&str, &[f32])]| {
            let picture = |(role, values): &(&str, &[f32])| {
                ((*role).to_owned(), picture(&format!("{role}.png"), 2, values))
            };
            let pictures = roles.iter().map(picture).collect();
            let mut sample = Sample { pictures, ..Sample::default() };
            warn_of_same_pictures(&mut sample);
            let warnings = sample.pictures.into_iter().map(|(_, picture)| picture.warnings);
            warnings.collect::<Vec<_>>()
        };
        let (a, b) = ([0.0, 0.5].as_slice(), [0.0, 0.25].as_slice());
        assert_eq!(of(&[("one", a), ("two", b)]), [Vec::<String>::new(), Vec::new()]);
        let told = of(&[("one", a), ("two", b), ("three", a)]);
        assert!(told[0].is_empty() && told[1].is_empty());
        assert!(told[2][0].starts_with("`three.png` is the same picture as that of one, pixel by"));
    }
}
