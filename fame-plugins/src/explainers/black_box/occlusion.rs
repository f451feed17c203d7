//! `Occlusion`: slide a window over the picture and watch the loss fall.

use fame_core::{
    Explanation, LayerChoices, Model, Result, Sample, Tensor,
    ask::{Aim, AimedRow, Answer, Question, broken},
    contract::{ExplainContext, Explainer, Loss},
    data::{Facts, facts},
    registry::{Assembly, BuildContext, Built, Parameters, Plugin},
    text::Spec,
};

use super::{
    super::{
        aimed::check_roles,
        finish::{Draft, Finish, no_map, part, plane, specs},
        meter::{Meter, per_sample},
    },
    answers::Fill,
};
use crate::ask::{usual_layer, usual_loss};

fame_core::parameters! {
    /// A window slides over the picture; where it lies, pixels are filled. A pixel's attribution is
    /// the mean drop y(x) − y(occluded) over the windows that cover it. The finished map shows
    /// drops (above zero); the raw one also where hiding raised y. Windows are moved in at the
    /// edges, so every pixel is covered.
    ///
    /// Deterministic. The confidence in the facts is the standard error of that mean over the
    /// windows covering a pixel: how far they disagree.
    pub struct Occlusion {
        /// The target layer or layers. Default: the one in the model's manifest, else its `Output`.
        layer: LayerChoices = open,
        /// Whose value y is watched. Default: what the model's manifest asks for, else `Logit()`,
        /// the class the network sees.
        loss: Spec = open,
        /// The loss's `Value`, or the softmax `Probability` of its class.
        answer: Answer = Answer::Value,
        /// Side of the window in pixels.
        window: usize = 16,
        /// How far the window moves each time, in pixels; at most `window`, or pixels would be left
        /// out.
        stride: usize = 8,
        /// What stands in the window: `Black` before normalisation, or the model's `Mean` colour.
        fill: Fill = Fill::Mean,
        /// Steps to the map. Default: the maximum becomes 1.
        map: Vec<Spec> = specs(&["MaxNormalize()"]),
        /// Which pictures of a sample to explain, by role. Default: all.
        roles: Option<Vec<String>> = None,
    }
}

impl Parameters for Occlusion {
    type Typed = typed::Occlusion;

    fn fill(typed: typed::Occlusion, with: &BuildContext<'_>, _: &mut Assembly) -> Option<Self> {
        Some(typed.or(usual_layer(with), usual_loss(with)))
    }
}

impl Plugin<dyn Explainer> for Occlusion {
    const NAME: &'static str = "Occlusion";
    const SUMMARY: &'static str =
        "Slides a window over the picture: where does hiding lower the loss?";
    const CLAIM: &'static str = "Shows where covering a window lowers the asked value; not detail finer than the window, nor evidence that stands in two places at once.";
    const EXAMPLE: &'static str = "Occlusion(window: 16, stride: 8, fill: Mean)";
    const REFERENCE: &'static str = "Zeiler & Fergus, ECCV 2014, arXiv 1311.2901";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("window", self.window > 0, "must be at least 1 pixel");
        assembly.check(
            "stride",
            (1..=self.window).contains(&self.stride),
            "must be 1 pixel to the window's side",
        );
        check_roles(self.roles.as_deref(), assembly);
    }

    fn build(self, with: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<dyn Explainer>> {
        let loss = assembly.build::<dyn Loss>("loss", &self.loss, with);
        let finish = Finish::build(assembly, &self.map, with);
        Some(Box::new(OcclusionExplainer { parameters: self, loss: loss?, finish }))
    }
}

fame_core::register!(Explainer: Occlusion);

struct OcclusionExplainer {
    parameters: Occlusion,
    loss: Built<dyn Loss>,
    finish: Finish,
}

impl Explainer for OcclusionExplainer {
    fn check(&self, model: &Model) -> Result<()> {
        Aim::new(model, &self.parameters.layer, self.loss.plugin.as_ref()).map(|_| ())
    }

    fn explain(&self, with: &ExplainContext<'_>, samples: &[Sample]) -> Vec<Result<Explanation>> {
        match Aim::new(with.model, &self.parameters.layer, self.loss.plugin.as_ref()) {
            Ok(aim) => per_sample(with, samples, |sample, meter| self.sample(&aim, sample, meter)),
            Err(e) => samples.iter().map(|_| Err(e.clone())).collect(),
        }
    }
}

impl OcclusionExplainer {
    fn sample(&self, aim: &Aim<'_>, sample: &Sample, meter: &mut Meter<'_>) -> Result<Explanation> {
        let rows = aim
            .rows(sample, self.parameters.roles.as_deref())
            .map_err(|e| e.at(format!("loss {}", self.loss.name)))?;
        let facts_of_all = facts([("layers", aim.layer_facts()), ("loss", self.loss.record())]);
        let mut explanation = Explanation { facts: facts_of_all, ..Explanation::default() };
        let input = &aim.model.manifest.input;
        let Occlusion { window, stride, .. } = self.parameters;
        let (tops, lefts) =
            (places(input.height, window, stride), places(input.width, window, stride));
        meter.begin(rows.len() * (tops.len() * lefts.len() + 1));
        for row in rows {
            self.row(aim, sample, &row, (&tops, &lefts), meter, &mut explanation)?;
        }
        Ok(explanation)
    }

    fn row(
        &self,
        aim: &Aim<'_>,
        sample: &Sample,
        row: &AimedRow,
        (tops, lefts): (&[usize], &[usize]),
        meter: &mut Meter<'_>,
        into: &mut Explanation,
    ) -> Result<()> {
        let Occlusion { window, fill, answer, .. } = self.parameters;
        let input = &aim.model.manifest.input;
        let question = Question::new(aim, sample, row, answer)?;
        let (height, width) = question.size();
        let cover = |index: usize, mut hide: Box<dyn FnMut(usize) + '_>| {
            let (top, left) = (tops[index / lefts.len()], lefts[index % lefts.len()]);
            for y in top..(top + window).min(height) {
                (y * width + left..y * width + (left + window).min(width)).for_each(&mut hide);
            }
        };
        let alter = |index: usize, copy: &mut Tensor| {
            for channel in 0..input.channels {
                let (value, plane) = (fill.value(input, channel), copy.row_mut(channel));
                cover(index, Box::new(|pixel| plane[pixel] = value));
            }
        };
        let clean = question.ask(1, |_, _| {}, |n| meter.tick(n))?[0];
        let answers = question.ask(tops.len() * lefts.len(), alter, |n| meter.tick(n))?;
        if let Some(why) = broken(&answers) {
            no_map(&row.id, &why, into);
            return Ok(());
        }
        let mut drops = Drops::over(height * width);
        for (index, answer) in answers.iter().enumerate() {
            let drop = f64::from(clean) - f64::from(*answer);
            cover(index, Box::new(|pixel| drops.add(pixel, drop)));
        }
        let raw = plane(&drops.means(), height, width)?;
        let shown = part(&raw, 1.0)?;
        let draft = Draft::of_row(row, raw)
            .showing(shown)
            .with_facts(drops.confidence())
            .with_facts(facts([("value_before", clean.into()), ("windows", answers.len().into())]));
        self.finish.finish(draft, into)
    }
}

/// Where a window begins along an axis: every `stride`, the last one moved in to end at the edge.
fn places(extent: usize, window: usize, stride: usize) -> Vec<usize> {
    let last = extent.saturating_sub(window);
    let mut places: Vec<usize> = (0..last).step_by(stride).collect();
    places.push(last);
    places
}

/// Running sums of the drops at each pixel.
struct Drops {
    count: Vec<u32>,
    sum: Vec<f64>,
    squares: Vec<f64>,
}

impl Drops {
    fn over(area: usize) -> Self {
        Self { count: vec![0; area], sum: vec![0.0; area], squares: vec![0.0; area] }
    }

    fn add(&mut self, pixel: usize, drop: f64) {
        self.count[pixel] += 1;
        self.sum[pixel] += drop;
        self.squares[pixel] += drop * drop;
    }

    fn means(&self) -> Vec<f64> {
        self.sum.iter().zip(&self.count).map(|(s, n)| s / f64::from((*n).max(1))).collect()
    }

    /// The standard error of the mean drop, averaged over pixels under two windows or more, in the
    /// unit of y.
    fn confidence(&self) -> Facts {
        let errors: Vec<f64> = (0..self.count.len())
            .filter(|p| self.count[*p] > 1)
            .map(|p| {
                let n = f64::from(self.count[p]);
                let variance =
                    (self.squares[p] - self.sum[p] * self.sum[p] / n).max(0.0) / (n - 1.0);
                (variance / n).sqrt()
            })
            .collect();
        let mean = (!errors.is_empty()).then(|| errors.iter().sum::<f64>() / errors.len() as f64);
        facts([("standard_error_mean", mean.into())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_reach_every_pixel_and_none_beyond() {
        assert_eq!(places(10, 4, 3), [0, 3, 6]);
        assert_eq!(places(11, 4, 3), [0, 3, 6, 7]);
        assert_eq!(places(4, 4, 1), [0]);
        assert_eq!(places(3, 8, 8), [0]);
    }

    #[test]
    fn windows_that_agree_give_no_error() {
        let mut drops = Drops::over(2);
        for drop in [0.5, 0.5] {
            drops.add(0, drop);
        }
        drops.add(1, 3.0);
        assert_eq!(drops.means(), [0.5, 3.0]);
        assert_eq!(drops.confidence()["standard_error_mean"].as_f64(), Some(0.0));
        drops.add(1, 1.0);
        // Pixel 1: values 3 and 1, variance 2, error √(2/2) = 1; pixel 0: 0.
        assert_eq!(drops.confidence()["standard_error_mean"].as_f64(), Some(0.5));
    }
}
