//! `FeatureMapCell`: what does this cell of a feature map really see?

use fame_core::{
    Claim, Error, Frame, Result, Subject, Target, TargetRequest, Tensor,
    contract::{Evaluation, Loss, layout_not_told, per_row},
    data::{Layout, facts},
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which cells of the feature map.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Cells {
    /// All of them, row by row: one map each.
    #[default]
    All,
    /// These, as (row, column) from 0.
    Only(Vec<(usize, usize)>),
}

/// Descends the L1 norm of the channel vector of one cell towards zero: Σ_c |a[c, row, column]|
/// (the paper's Eq. 5, target vector 0). One row and one map per cell. The value is ≥ 0. Where an
/// activation is exactly 0 its slope is taken as 0.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FeatureMapCell {
    /// `All`, or `Only([(row, column), …])`.
    pub cells: Cells,
    /// `ChannelsFirst` or `ChannelsLast`: how the layer lays out its channels. Default:
    /// as the operators around it tell, or else the proportions of the picture.
    pub layout: Option<Layout>,
}

impl Plugin<dyn Loss> for FeatureMapCell {
    const NAME: &'static str = "FeatureMapCell";
    const SUMMARY: &'static str =
        "L1 norm of one feature-map cell, descended to zero: what that cell sees";
    const EXAMPLE: &'static str = "FeatureMapCell(cells: Only([(0, 0), (3, 3)]))";
    const REFERENCE: &'static str = "Zhang & Günther, FAME (2026), Eq. 5";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        if let Cells::Only(cells) = &self.cells {
            assembly.check("cells", !cells.is_empty(), "must name at least one cell");
        }
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Loss>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Loss: FeatureMapCell);

impl Loss for FeatureMapCell {
    fn targets(&self, about: &TargetRequest<'_>) -> Result<Vec<Target>> {
        let shape = about.clean.first().map(Tensor::shape).unwrap_or_default();
        let &[first, second, third] = shape else {
            let message = format!(
                "layer `{}` has shape {shape:?}; a feature map has three axes: channels, rows and columns.",
                about.layers.join("`, `")
            );
            return Err(Error::new("fame::loss::not_a_feature_map", message)
                .with_help("Name a layer with spatial extent, such as \"feature_map\", LastConv or BeforePooling."));
        };
        let (channels, rows, columns, is_last) = match self.layout.or(about.layout) {
            Some(Layout::ChannelsFirst) => (first, second, third, false),
            Some(Layout::ChannelsLast) => (third, first, second, true),
            None => return Err(layout_not_told(&about.layers.join("`, `"), shape)),
        };
        let all = || (0..rows).flat_map(|r| (0..columns).map(move |c| (r, c))).collect();
        let cells: Vec<(usize, usize)> = match &self.cells {
            Cells::All => all(),
            Cells::Only(cells) => cells.clone(),
        };
        if let Some((r, c)) = cells.iter().find(|(r, c)| *r >= rows || *c >= columns) {
            return Err(Error::new(
                "fame::loss::cell_range",
                format!(
                    "cell ({r}, {c}) does not exist: the feature map has {rows}×{columns} cells."
                ),
            )
            .with_help("Cells are (row, column), counted from 0."));
        }
        let (height, width) = about.input_size;
        // The pixels under cell k of n on an axis of `extent` pixels.
        let edge = |k: usize, n: usize, extent: usize| {
            (k as f64 * extent as f64 / n as f64).round() as usize
        };
        Ok(cells
            .into_iter()
            .map(|(r, c)| Target {
                subject: Subject::Cell(r, c),
                claim: Claim::For,
                values: {
                    let cell = r * columns + c;
                    let (step, offset) =
                        if is_last { (1, cell * channels) } else { (rows * columns, cell) };
                    [r, c, step, offset, channels].map(|n| n as f32).to_vec()
                },
                frame: Some(Frame {
                    top: edge(r, rows, height),
                    left: edge(c, columns, width),
                    bottom: edge(r + 1, rows, height),
                    right: edge(c + 1, columns, width),
                }),
                annotations: Vec::new(),
                facts: facts([("cell", vec![r, c].into()), ("feature_map", shape.to_vec().into())]),
            })
            .collect())
    }

    fn evaluate(&self, outputs: &[Tensor], targets: &[&Target]) -> Result<Evaluation> {
        per_row(outputs, targets, |a, target, gradient| {
            let [step, offset, channels] = [2, 3, 4].map(|n| target.values[n] as usize);
            let mut value = 0.0f64;
            let of_cell = a[0].iter().skip(offset).step_by(step).take(channels);
            for (x, g) in of_cell.zip(gradient[0].iter_mut().skip(offset).step_by(step)) {
                value += f64::from(x.abs());
                *g = if *x == 0.0 { 0.0 } else { x.signum() };
            }
            Ok(value as f32)
        })
    }
}

#[cfg(test)]
mod tests {
    use fame_core::testkit;

    use super::*;

    #[test]
    fn a_cell_is_the_same_whatever_axis_holds_the_channels() {
        // Two channels of 1×2 cells: cell (0, 1) is [-4, -1].
        let clean = Tensor::new([1, 2, 2], vec![3.0, 0.0, -4.0, -1.0]).unwrap();
        let last =
            FeatureMapCell { cells: Cells::Only(vec![(0, 1)]), layout: Some(Layout::ChannelsLast) };
        let targets = testkit::targets(&last, std::slice::from_ref(&clean), &[]).unwrap();
        let batch = Tensor::stack([&clean]).unwrap();
        let e = last.evaluate(&[batch], &[&targets[0]]).unwrap();
        assert_eq!(e.values, [5.0]);
        assert_eq!(e.cotangents[0].data(), [0.0, 0.0, -1.0, -1.0]);
        testkit::check_loss(&last, &[clean]).unwrap();
    }

    #[test]
    fn only_the_cell_counts() {
        // Two channels of 1×2 cells: cell (0, 0) is [3, 0], cell (0, 1) is [-4, -1].
        let a = Tensor::new([1, 2, 1, 2], vec![3.0, -4.0, 0.0, -1.0]).unwrap();
        let target = Target { values: vec![0.0, 1.0, 2.0, 1.0, 2.0], ..Target::default() };
        let e = FeatureMapCell::default().evaluate(&[a], &[&target]).unwrap();
        assert_eq!(e.values, [5.0]);
        assert_eq!(e.cotangents[0].data(), [0.0, -1.0, 0.0, -1.0]);
    }
}
