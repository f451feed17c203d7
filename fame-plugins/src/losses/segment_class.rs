//! `SegmentClass`: the score of one class over a region of a segmentation.

use fame_core::{
    Claim, Error, Result, Subject, Target, TargetRequest, Tensor,
    contract::{Evaluation, Loss, per_row},
    data::facts,
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::logit::Class;

/// Which pixels of the segmentation count.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
pub enum Region {
    /// Those where the class has the highest score on the clean picture.
    #[default]
    Predicted,
    /// Every one.
    All,
    /// Those of this box, (left, top, right, bottom) as fractions of the picture in 0..=1.
    Box(f32, f32, f32, f32),
}

/// Descends the mean score of one class over a region of a segmentation `[classes, rows, columns]`:
/// which pixels make the network see the class there. The value is a score, any number; of a
/// network that ends in a softmax over classes, a probability.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SegmentClass {
    /// Which class: `Predicted` (the one with the most pixels), `Label`, `Index(n)`, or a label of
    /// the manifest in quotes.
    pub class: Class,
    /// Which pixels: `Predicted`, `All` or `Box(left, top, right, bottom)`.
    pub region: Region,
}

impl Plugin<dyn Loss> for SegmentClass {
    const NAME: &'static str = "SegmentClass";
    const SUMMARY: &'static str =
        "The mean score of a class over a region of a segmentation, descended";
    const EXAMPLE: &'static str = "SegmentClass(class: Index(15), region: Predicted)";
    const REFERENCE: &'static str =
        "Vinogradova, Dibrov & Myers, Seg-Grad-CAM, AAAI 2020, arXiv 2002.11434 (a sum there)";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        if let Region::Box(left, top, right, bottom) = self.region {
            let sound = [left, top, right, bottom].iter().all(|v| (0.0..=1.0).contains(v))
                && left < right
                && top < bottom;
            assembly.check("region", sound, "must be left < right and top < bottom in 0..=1");
        }
        assembly.check("class", self.class != Class::Other, "cannot be Other here");
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Loss>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Loss: SegmentClass);

impl SegmentClass {
    /// The pixels that count, of `rows` × `columns`.
    fn pixels(&self, best: &[usize], class: usize, columns: usize) -> Vec<usize> {
        let rows = best.len() / columns;
        let inside = |pixel: usize| match self.region {
            Region::Predicted => best[pixel] == class,
            Region::All => true,
            Region::Box(left, top, right, bottom) => {
                // By the middle of the pixel.
                let x = ((pixel % columns) as f32 + 0.5) / columns as f32;
                let y = ((pixel / columns) as f32 + 0.5) / rows as f32;
                (left..right).contains(&x) && (top..bottom).contains(&y)
            }
        };
        (0..best.len()).filter(|pixel| inside(*pixel)).collect()
    }
}

impl Loss for SegmentClass {
    fn targets(&self, about: &TargetRequest<'_>) -> Result<Vec<Target>> {
        let shape = about.clean.first().map(Tensor::shape).unwrap_or_default();
        let &[classes, rows, columns] = shape else { return Err(not_a_map(about, shape)) };
        let scores = about.clean[0].data();
        let area = rows * columns;
        let best: Vec<usize> = (0..area).map(|pixel| best_class(scores, area, pixel)).collect();
        let most = || {
            let count = |class: &usize| best.iter().filter(|b| *b == class).count();
            // The first of equals wins.
            (0..classes).rev().max_by_key(count).unwrap_or_default()
        };
        let class = self.class.index(about, classes, most)?;
        let pixels = self.pixels(&best, class, columns);
        if pixels.is_empty() {
            let text = format!(
                "class {class} is the best of no pixel in the region {:?} of layer `{}`.",
                self.region,
                about.layers.join("`, `")
            );
            return Err(Error::new("fame::loss::empty_region", text)
                .with_help("Use `region: All`, a larger `Box`, or `class: Predicted`."));
        }
        let count = pixels.len();
        let mut values = vec![class as f32, area as f32];
        values.extend(pixels.into_iter().map(|pixel| pixel as f32));
        let mut about_class = facts([("class", class.into()), ("pixels", count.into())]);
        if let Some(name) = about.labels.get(class) {
            about_class.insert("class_name".into(), name.as_str().into());
        }
        Ok(vec![Target {
            subject: Subject::Class(class),
            claim: Claim::For,
            values,
            facts: about_class,
            ..Target::default()
        }])
    }

    fn evaluate(&self, outputs: &[Tensor], targets: &[&Target]) -> Result<Evaluation> {
        per_row(outputs, targets, |scores, target, gradient| {
            let [class, area, pixels @ ..] = target.values.as_slice() else {
                return Err(Error::bug("a target of SegmentClass without its class."));
            };
            let (offset, count) = (*class as usize * *area as usize, pixels.len() as f64);
            let mut sum = 0.0;
            for pixel in pixels {
                let at = offset + *pixel as usize;
                sum += f64::from(scores[0][at]);
                gradient[0][at] = (1.0 / count) as f32;
            }
            Ok((sum / count) as f32)
        })
    }
}

/// The class with the highest score at `pixel`; the first of equals.
fn best_class(scores: &[f32], area: usize, pixel: usize) -> usize {
    let of_class = scores.iter().skip(pixel).step_by(area).enumerate();
    of_class.reduce(|best, one| if one.1 > best.1 { one } else { best }).map_or(0, |(k, _)| k)
}

fn not_a_map(about: &TargetRequest<'_>, shape: &[usize]) -> Error {
    let text = format!(
        "layer `{}` has shape {shape:?}; a segmentation is [classes, rows, columns].",
        about.layers.join("`, `")
    );
    let help = "For one vector of scores use Logit().";
    Error::new("fame::loss::not_a_segmentation", text).with_help(help)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fame_core::testkit::targets;

    /// Two classes of 2×2 pixels: class 1 wins in the upper row.
    fn scores() -> Tensor {
        Tensor::new([2, 2, 2], vec![1.0, 2.0, 5.0, 6.0, 3.0, 4.0, -1.0, -2.0]).unwrap()
    }

    fn mean(loss: &SegmentClass) -> f32 {
        let made = targets(loss, &[scores()], &[]).unwrap().remove(0);
        let batch = Tensor::stack([&scores()]).unwrap();
        let e = loss.evaluate(&[batch], &[&made]).unwrap();
        let gradient: f32 = e.cotangents[0].data().iter().sum();
        assert!((gradient - 1.0).abs() < 1e-6, "{gradient}");
        e.values[0]
    }

    #[test]
    fn only_the_pixels_of_the_region_count() {
        let class = Class::Index(1);
        for (region, want) in [
            (Region::Predicted, 3.5),
            (Region::All, 1.0),
            (Region::Box(0.5, 0.0, 1.0, 1.0), 1.0),
            (Region::Box(0.0, 0.0, 0.4, 0.4), 3.0),
        ] {
            let loss = SegmentClass { class: class.clone(), region };
            assert!((mean(&loss) - want).abs() < 1e-6, "{loss:?}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let loss = SegmentClass { class: Class::Index(0), region: Region::Box(0.0, 0.0, 0.1, 0.1) };
        let code =
            |loss: &SegmentClass, clean: Tensor| targets(loss, &[clean], &[]).unwrap_err().code;
        assert_eq!(code(&loss, scores()), "fame::loss::empty_region");
        assert_eq!(code(&loss, Tensor::vector(vec![1.0])), "fame::loss::not_a_segmentation");
        let far = SegmentClass { class: Class::Index(2), region: Region::All };
        assert_eq!(code(&far, scores()), "fame::loss::class_range");
    }
}
