//! Heads: how raw outputs of a detector become scored boxes.
//!
//! Every detector answers for a fixed list of *candidates*: anchors, or cells of a grid. A [`Head`]
//! is the recipe's word for what its outputs mean; a [`Layout`] is the head fitted to the outputs'
//! shapes. Each side of a candidate's box is a sum of output values with constant weights, and its
//! score is a product of output values, so values and exact derivatives come from the same two
//! lists, [`Layout::side`] and `Layout::factors`. Only DETR gives out logits: there the score is
//! their softmax, or the sigmoid of one.

use fame_core::{Error, LayerChoice, LayerChoices, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rect::Rect;

/// What the outputs of a detector mean. The target layers are given in the order named here.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub enum Head {
    /// UltraFace and SSD with decoded boxes: `scores` `[A, C]` and `boxes` `[A, 4]`, left, top,
    /// right, bottom in 0..1 of the picture.
    UltraFace {
        /// The class that means "nothing here", if there is one.
        #[serde(default = "first_class")]
        background: Option<usize>,
    },
    /// CenterNet as TTFNet trains it: `heatmap` `[C, h, w]` after the sigmoid and `wh` `[4, h, w]`,
    /// the distances of left, top, right and bottom from the cell in input pixels. Only cells that
    /// no neighbour outshines are detections.
    CenterNet {
        /// Input pixels from one cell to the next.
        #[serde(default = "four")]
        stride: f32,
        /// Where in its cell a candidate stands, in cells: 0 is the corner (TTFNet), 0.5 the
        /// middle.
        #[serde(default)]
        offset: f32,
    },
    /// YOLOv8 and later: one output `[4 + C, A]`, rows cx, cy, w, h in input pixels, then class
    /// scores after the sigmoid.
    Yolo {
        /// Whether a row of objectness stands between box and classes, as in YOLOv5 to v7; the
        /// score is then objectness × class.
        #[serde(default)]
        objectness: bool,
        /// Whether the output is `[A, 4 + C]` instead.
        #[serde(default)]
        anchors_first: bool,
        /// Whether its boxes are left, top, right, bottom instead, as where a network goes on to
        /// choose among them itself.
        #[serde(default)]
        corners: bool,
        /// How many classes there are. The rows behind them are ignored: the weights of a mask,
        /// the points of a pose. Left out, all rows are classes.
        #[serde(default)]
        classes: Option<usize>,
    },
    /// DETR and its kin (arXiv 2005.12872): `logits` `[Q, C + 1]`, whose last class means "nothing
    /// here", and `pred_boxes` `[Q, 4]`, cx, cy, w, h in 0..1 of the picture. The score is the
    /// softmax over all classes.
    Detr {
        /// Whether each class has a sigmoid of its own instead and none means "nothing here", so
        /// `[Q, C]`, as in Deformable DETR (arXiv 2010.04159), DINO and RT-DETR.
        #[serde(default)]
        sigmoid: bool,
    },
}

// serde's defaults for fields of variants are functions.
#[allow(clippy::unnecessary_wraps)]
fn first_class() -> Option<usize> {
    Some(0)
}

fn four() -> f32 {
    4.0
}

/// One value of the outputs: which target layer, and which of its values, row-major.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputValue {
    /// Number of the target layer.
    pub layer: usize,
    /// Number of the value within one sample's output.
    pub index: usize,
}

/// A side of a box: a constant, and two output values with their weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Side {
    /// In input pixels.
    pub constant: f64,
    /// Where, and input pixels for each unit; a weight of 0 says there is only one.
    pub terms: [(OutputValue, f64); 2],
}

/// A head fitted to a model: see the [module docs](self).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Layout {
    head: Head,
    /// How many candidates there are.
    pub candidates: usize,
    /// How many classes there are, background included.
    pub classes: usize,
    /// Columns of the grid, for heads that have one.
    columns: usize,
    /// Rows of a YOLO: the box, the classes, and what is ignored.
    rows: usize,
    /// Height and width of the network's input.
    size: (usize, usize),
}

impl Head {
    /// The layers a model of this family usually has, for parameters left out.
    pub fn usual_layers(&self) -> LayerChoices {
        let named = |names: &[&str]| LayerChoices(names.iter().map(|n| LayerChoice::Named((*n).to_owned())).collect());
        match self {
            Head::UltraFace { .. } => named(&["scores", "boxes"]),
            Head::CenterNet { .. } => named(&["heatmap", "wh"]),
            Head::Yolo { .. } => LayerChoices(vec![LayerChoice::Output]),
            Head::Detr { .. } => named(&["logits", "pred_boxes"]),
        }
    }

    /// What is wrong with its numbers, if anything.
    pub fn fault(&self) -> Option<&'static str> {
        match self {
            Head::CenterNet { stride, .. } if !(stride.is_finite() && *stride > 0.0) => Some("needs a stride above 0"),
            Head::CenterNet { offset, .. } if !offset.is_finite() => Some("needs a finite offset"),
            Head::Yolo { classes: Some(0), .. } => Some("needs at least one class"),
            _ => None,
        }
    }

    /// Fits the head to outputs of these per-sample shapes of a network whose input is `size`
    /// (height, width).
    ///
    /// # Errors
    /// `fame_detection::outputs`: the shapes are not this family's; the message says what they are
    /// and what they should be.
    pub fn layout(self, shapes: &[&[usize]], size: (usize, usize)) -> Result<Layout> {
        // Some exports leave a batch axis of 1 on their outputs.
        let shapes: Vec<&[usize]> = shapes.iter().map(|s| if s.len() > 2 && s[0] == 1 && !self.is_grid() { &s[1..] } else { s }).collect();
        let fitted = match (self, &shapes[..]) {
            (Head::UltraFace { .. } | Head::Detr { .. }, [[a, c], [b, 4]]) if a == b => Some((*a, *c, 1)),
            (Head::CenterNet { .. }, [[c, h, w], [4, y, x]]) if (h, w) == (y, x) => Some((h * w, *c, *w)),
            (Head::Yolo { objectness, anchors_first, classes, .. }, [[p, q]]) => {
                let (rows, anchors) = if anchors_first { (q, p) } else { (p, q) };
                let most = rows.checked_sub(4 + usize::from(objectness));
                most.filter(|most| classes.is_none_or(|classes| classes <= *most)).map(|most| (*anchors, classes.unwrap_or(most), 1))
            }
            _ => None,
        };
        let (candidates, classes, columns) = fitted.filter(|(a, c, _)| *a > 0 && *c > 0).ok_or_else(|| self.unfit(&shapes))?;
        if let Head::UltraFace { background: Some(b) } = self
            && (b >= classes || classes == 1)
        {
            let message =
                format!("class {b} is said to be the background, but there are only {classes} classes, and one must be left to detect.");
            return Err(Error::new("fame_detection::outputs", message)
                .with_help("Write UltraFace(background: None) if there is no background class."));
        }
        if self == (Head::Detr { sigmoid: false }) && classes == 1 {
            let message = "the last class is said to mean \"nothing here\", but there is only one, and one must be left to detect.";
            return Err(Error::new("fame_detection::outputs", message)
                .with_help("Write Detr(sigmoid: true) if each class has a sigmoid of its own."));
        }
        let rows = shapes[0].iter().product::<usize>() / candidates;
        Ok(Layout { head: self, candidates, classes, columns, rows, size })
    }

    fn is_grid(self) -> bool {
        matches!(self, Head::CenterNet { .. })
    }

    fn unfit(self, shapes: &[&[usize]]) -> Error {
        let (name, wanted, order) = match self {
            Head::UltraFace { .. } => ("UltraFace", "[anchors, classes] and [anchors, 4]", r#"["scores", "boxes"]"#),
            Head::CenterNet { .. } => ("CenterNet", "[classes, h, w] and [4, h, w]", r#"["heatmap", "wh"]"#),
            Head::Yolo { anchors_first: false, .. } => ("Yolo", "[4 + classes, anchors]", "Output"),
            Head::Yolo { .. } => ("Yolo", "[anchors, 4 + classes]", "Output"),
            Head::Detr { .. } => ("Detr", "[queries, classes] and [queries, 4]", r#"["logits", "pred_boxes"]"#),
        };
        Error::new("fame_detection::outputs", format!("the target layers have shapes {shapes:?}, but head {name} reads {wanted}."))
            .with_help(format!("Name the layers in this order, such as `layer: {order}`; `fame-cli inspect MODEL` shows all shapes."))
    }
}

impl Layout {
    /// Height and width of the network's input.
    pub fn size(&self) -> (usize, usize) {
        self.size
    }

    /// The classes that can be detected: all but the background.
    pub fn detectable(&self) -> impl Iterator<Item = usize> + use<> {
        let background = match self.head {
            Head::UltraFace { background } => background,
            Head::Detr { sigmoid: false } => Some(self.classes - 1),
            _ => None,
        };
        (0..self.classes).filter(move |c| Some(*c) != background)
    }

    /// The output values whose product is the score of `candidate` for `class`; of DETR its logit.
    fn factors(&self, candidate: usize, class: usize) -> (OutputValue, Option<OutputValue>) {
        match self.head {
            Head::UltraFace { .. } | Head::Detr { .. } => (OutputValue { layer: 0, index: candidate * self.classes + class }, None),
            Head::CenterNet { .. } => (OutputValue { layer: 0, index: class * self.candidates + candidate }, None),
            Head::Yolo { objectness, .. } => {
                let first = 4 + usize::from(objectness);
                (self.yolo(candidate, first + class), objectness.then(|| self.yolo(candidate, 4)))
            }
        }
    }

    fn yolo(&self, candidate: usize, row: usize) -> OutputValue {
        let Head::Yolo { anchors_first, .. } = self.head else { return OutputValue { layer: 0, index: 0 } };
        OutputValue { layer: 0, index: if anchors_first { candidate * self.rows + row } else { row * self.candidates + candidate } }
    }

    /// Side 0 left, 1 top, 2 right, 3 bottom of the box of `candidate`.
    pub fn side(&self, candidate: usize, side: usize) -> Side {
        let one = |constant: f64, place: OutputValue, weight: f64| Side { constant, terms: [(place, weight), (place, 0.0)] };
        let outwards = if side < 2 { -1.0 } else { 1.0 };
        match self.head {
            Head::UltraFace { .. } => {
                let extent = if side % 2 == 0 { self.size.1 } else { self.size.0 };
                one(0.0, OutputValue { layer: 1, index: candidate * 4 + side }, extent as f64)
            }
            Head::CenterNet { stride, offset } => {
                let cell = if side % 2 == 0 { candidate % self.columns } else { candidate / self.columns };
                let at = (cell as f64 + f64::from(offset)) * f64::from(stride);
                one(at, OutputValue { layer: 1, index: side * self.candidates + candidate }, outwards)
            }
            Head::Yolo { corners: true, .. } => one(0.0, self.yolo(candidate, side), 1.0),
            Head::Yolo { .. } => {
                let (centre, length) = (self.yolo(candidate, side % 2), self.yolo(candidate, 2 + side % 2));
                Side { constant: 0.0, terms: [(centre, 1.0), (length, outwards / 2.0)] }
            }
            Head::Detr { .. } => {
                let extent = (if side % 2 == 0 { self.size.1 } else { self.size.0 }) as f64;
                let at = |row: usize| OutputValue { layer: 1, index: candidate * 4 + row };
                Side { constant: 0.0, terms: [(at(side % 2), extent), (at(2 + side % 2), outwards / 2.0 * extent)] }
            }
        }
    }

    /// The probabilities of all classes of `candidate`, where the outputs are logits.
    fn probabilities(&self, outputs: &[&[f32]], candidate: usize) -> Option<Vec<f64>> {
        let Head::Detr { sigmoid } = self.head else { return None };
        let logits = outputs[0][candidate * self.classes..][..self.classes].iter().map(|z| f64::from(*z));
        if sigmoid {
            return Some(logits.map(|z| 1.0 / (1.0 + (-z).exp())).collect());
        }
        let largest = logits.clone().fold(f64::NEG_INFINITY, f64::max);
        let powers: Vec<f64> = logits.map(|z| (z - largest).exp()).collect();
        let sum: f64 = powers.iter().sum();
        Some(powers.into_iter().map(|power| power / sum).collect())
    }

    /// The score of `candidate` for `class`, as the outputs say it.
    pub fn score(&self, outputs: &[&[f32]], candidate: usize, class: usize) -> f32 {
        if let Some(all) = self.probabilities(outputs, candidate) {
            return all[class] as f32;
        }
        let read = |p: OutputValue| outputs[p.layer][p.index];
        let (first, second) = self.factors(candidate, class);
        read(first) * second.map_or(1.0, read)
    }

    /// The scores of `candidate` for all classes, as the outputs say them.
    pub fn scores(&self, outputs: &[&[f32]], candidate: usize) -> Vec<f32> {
        match self.probabilities(outputs, candidate) {
            // Made once, not once for each class.
            Some(all) => all.into_iter().map(|p| p as f32).collect(),
            None => (0..self.classes).map(|class| self.score(outputs, candidate, class)).collect(),
        }
    }

    /// The box of `candidate`. Its sides are rounded to single precision, so that a target that was
    /// carried as such coincides with the box it was made of.
    pub fn rect(&self, outputs: &[&[f32]], candidate: usize) -> Rect {
        Rect(std::array::from_fn(|k| {
            let side = self.side(candidate, k);
            let sum = side.constant + side.terms.iter().map(|(p, weight)| weight * f64::from(outputs[p.layer][p.index])).sum::<f64>();
            f64::from(sum as f32)
        }))
    }

    /// The class `candidate` scores highest for, and that score; the first of equals.
    pub fn best_class(&self, outputs: &[&[f32]], candidate: usize) -> (usize, f32) {
        // Made once, not once for each class.
        let all = self.probabilities(outputs, candidate);
        let score = |class| all.as_ref().map_or_else(|| self.score(outputs, candidate, class), |all| all[class] as f32);
        let scores = self.detectable().map(|class| (class, score(class)));
        scores.reduce(|best, next| if next.1 > best.1 { next } else { best }).unwrap_or((0, f32::NAN))
    }

    /// Whether `candidate` may be a detection of `class` as far as its neighbours go: on a grid,
    /// none of the eight scores higher.
    pub fn is_peak(&self, outputs: &[&[f32]], candidate: usize, class: usize) -> bool {
        if !self.head.is_grid() {
            return true;
        }
        let own = self.score(outputs, candidate, class);
        let (row, column, rows) = (candidate / self.columns, candidate % self.columns, self.candidates / self.columns);
        let (top, left) = (row.saturating_sub(1), column.saturating_sub(1));
        let mut around = (top..(row + 2).min(rows)).flat_map(|y| (left..(column + 2).min(self.columns)).map(move |x| (y, x)));
        !around.any(|(y, x)| self.score(outputs, y * self.columns + x, class) > own)
    }

    /// Adds `weight` · d(score of `candidate` for `class`) to `gradients`, one slice for each
    /// target layer.
    pub fn add_score_slope(&self, outputs: &[&[f32]], candidate: usize, class: usize, weight: f64, gradients: &mut [&mut [f32]]) {
        if let Some(all) = self.probabilities(outputs, candidate) {
            let own = all[class];
            let row = &mut gradients[0][candidate * self.classes..][..self.classes];
            // dp_c/dz_k = p_c · (δ_ck − p_k) of a softmax, and p_c · (1 − p_c) at c alone of a sigmoid.
            if self.head == (Head::Detr { sigmoid: true }) {
                row[class] += (weight * own * (1.0 - own)) as f32;
            } else {
                for (k, (slot, p)) in row.iter_mut().zip(&all).enumerate() {
                    let same = if k == class { 1.0 } else { 0.0 };
                    *slot += (weight * own * (same - p)) as f32;
                }
            }
            return;
        }
        let (first, second) = self.factors(candidate, class);
        let read = |p: OutputValue| f64::from(outputs[p.layer][p.index]);
        gradients[first.layer][first.index] += (weight * second.map_or(1.0, read)) as f32;
        if let Some(second) = second {
            gradients[second.layer][second.index] += (weight * read(first)) as f32;
        }
    }

    /// Adds `weight` · d(side `side` of `candidate`'s box) to `gradients`.
    pub fn add_side_slope(&self, candidate: usize, side: usize, weight: f64, gradients: &mut [&mut [f32]]) {
        for (place, slope) in self.side(candidate, side).terms {
            gradients[place.layer][place.index] += (weight * slope) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACE: Head = Head::UltraFace { background: Some(0) };

    #[test]
    fn ultraface_boxes_are_parts_of_the_picture() {
        let layout = FACE.layout(&[&[2, 2], &[2, 4]], (240, 320)).unwrap();
        let outputs: [&[f32]; 2] = [&[0.9, 0.1, 0.25, 0.75], &[0.0, 0.0, 1.0, 1.0, 0.25, 0.5, 0.5, 0.75]];
        assert_eq!(layout.rect(&outputs, 1), Rect([80.0, 120.0, 160.0, 180.0]));
        assert_eq!((layout.best_class(&outputs, 0), layout.best_class(&outputs, 1)), ((1, 0.1), (1, 0.75)));
    }

    #[test]
    fn centernet_boxes_reach_out_from_their_cell() {
        let layout = Head::CenterNet { stride: 4.0, offset: 0.5 }.layout(&[&[1, 2, 3], &[4, 2, 3]], (8, 12)).unwrap();
        let heat = [0.1, 0.2, 0.1, 0.3, 0.9, 0.3];
        let mut wh = vec![0.0f32; 24];
        for (side, distance) in [1.0, 2.0, 3.0, 4.0].into_iter().enumerate() {
            wh[side * 6 + 4] = distance;
        }
        let outputs: [&[f32]; 2] = [&heat, &wh];
        // Cell (row 1, column 1): its middle is (6, 6).
        assert_eq!(layout.rect(&outputs, 4), Rect([5.0, 4.0, 9.0, 10.0]));
        let peaks: Vec<usize> = (0..6).filter(|i| layout.is_peak(&outputs, *i, 0)).collect();
        assert_eq!(peaks, [4], "corners see the middle too");
    }

    #[test]
    fn yolo_boxes_are_centre_and_size_in_either_order_of_axes() {
        // cx, cy, w, h, objectness, one class.
        let rows: [f32; 12] = [10.0, 30.0, 20.0, 40.0, 4.0, 8.0, 6.0, 2.0, 0.5, 0.5, 0.5, 0.25];
        let by_anchor: Vec<f32> = (0..2).flat_map(|a| (0..6).map(move |r| rows[r * 2 + a])).collect();
        for (anchors_first, shape, values) in [(false, [6, 2], &rows[..]), (true, [2, 6], &by_anchor[..])] {
            let layout = Head::Yolo { objectness: true, anchors_first, corners: false, classes: None }.layout(&[&shape], (64, 64)).unwrap();
            assert_eq!((layout.candidates, layout.classes), (2, 1));
            assert_eq!(layout.rect(&[values], 1), Rect([26.0, 39.0, 34.0, 41.0]));
            assert_eq!(layout.score(&[values], 1, 0), 0.125);
            let corners = Head::Yolo { objectness: true, anchors_first, corners: true, classes: None }.layout(&[&shape], (64, 64)).unwrap();
            assert_eq!(corners.rect(&[values], 0), Rect([10.0, 20.0, 4.0, 6.0]), "as they stand there");
        }
    }

    #[test]
    fn what_stands_behind_the_classes_of_a_yolo_is_read_over() {
        // cx, cy, w, h, two classes, and a point that says more than any class.
        let rows: [f32; 14] = [10.0, 30.0, 20.0, 40.0, 4.0, 8.0, 6.0, 2.0, 0.5, 0.25, 0.125, 0.75, 99.0, 99.0];
        let by_anchor: Vec<f32> = (0..2).flat_map(|a| (0..7).map(move |r| rows[r * 2 + a])).collect();
        for (anchors_first, shape, values) in [(false, [7, 2], &rows[..]), (true, [2, 7], &by_anchor[..])] {
            let layout =
                Head::Yolo { objectness: false, anchors_first, corners: false, classes: Some(2) }.layout(&[&shape], (64, 64)).unwrap();
            assert_eq!((layout.candidates, layout.classes), (2, 2));
            assert_eq!([layout.best_class(&[values], 0), layout.best_class(&[values], 1)], [(0, 0.5), (1, 0.75)]);
            assert_eq!(layout.rect(&[values], 1), Rect([26.0, 39.0, 34.0, 41.0]));
            let mut gradient = vec![0.0; 14];
            layout.add_score_slope(&[values], 1, 1, 2.0, &mut [&mut gradient]);
            assert_eq!(
                gradient.iter().enumerate().filter(|(_, g)| **g != 0.0).collect::<Vec<_>>(),
                [(if anchors_first { 12 } else { 11 }, &2.0)]
            );
        }
    }

    #[test]
    fn detr_gives_logits_and_boxes_as_parts_of_the_picture() {
        let boxes = [0.5, 0.5, 0.5, 0.25, 0.25, 0.75, 0.5, 0.5];
        let (two, ln) = (std::f32::consts::LN_2, f32::ln);
        let logits = [0.0, 0.0, two, ln(5.0), ln(2.0), 0.0];
        let layout = Head::Detr { sigmoid: false }.layout(&[&[2, 3], &[2, 4]], (64, 128)).unwrap();
        let outputs: [&[f32]; 2] = [&logits, &boxes];
        assert_eq!(layout.detectable().collect::<Vec<_>>(), [0, 1], "the last class is nothing");
        assert_eq!(layout.rect(&outputs, 0), Rect([32.0, 24.0, 96.0, 40.0]));
        assert_eq!(layout.rect(&outputs, 1), Rect([0.0, 32.0, 64.0, 64.0]));
        // Powers of 1 : 1 : 2 and 5 : 2 : 1; the logits are rounded to single precision.
        const ROUNDING: f32 = 1e-6;
        for (candidate, class, score) in [(0, 0, 0.25), (0, 2, 0.5), (1, 0, 0.625), (1, 1, 0.25)] {
            assert!((layout.score(&outputs, candidate, class) - score).abs() < ROUNDING, "{candidate} {class}");
        }
        assert_eq!(layout.best_class(&outputs, 1).0, 0);
        let layout = Head::Detr { sigmoid: true }.layout(&[&[2, 3], &[2, 4]], (64, 128)).unwrap();
        assert_eq!(layout.detectable().count(), 3);
        assert!((layout.score(&outputs, 1, 0) - 5.0 / 6.0).abs() < ROUNDING);
        // Far logits are no NaN.
        let far: [&[f32]; 2] = [&[900.0, -900.0, 0.0, -900.0, 900.0, 0.0], &boxes];
        for sigmoid in [false, true] {
            let layout = Head::Detr { sigmoid }.layout(&[&[2, 3], &[2, 4]], (64, 128)).unwrap();
            assert_eq!((layout.score(&far, 0, 0), layout.score(&far, 0, 1)), (1.0, 0.0));
        }
        assert!(Head::Detr { sigmoid: false }.layout(&[&[2, 1], &[2, 4]], (64, 64)).is_err(), "nothing to detect");
    }

    #[test]
    fn swapped_layers_are_refused_with_the_right_order() {
        let e = FACE.layout(&[&[5, 4], &[5, 2]], (8, 8)).unwrap_err();
        assert_eq!(
            e.message,
            "the target layers have shapes [[5, 4], [5, 2]], but head UltraFace reads [anchors, classes] and [anchors, 4]."
        );
        assert!(e.help.unwrap().contains(r#"layer: ["scores", "boxes"]"#));
        for (head, shapes) in [
            (FACE, vec![&[5usize, 2][..]]),
            (FACE, vec![&[5, 1], &[5, 4]]),
            (Head::CenterNet { stride: 4.0, offset: 0.0 }, vec![&[3, 4, 4], &[4, 4, 5]]),
            (Head::Yolo { objectness: false, anchors_first: false, corners: false, classes: None }, vec![&[4, 100]]),
            (Head::Yolo { objectness: false, anchors_first: false, corners: false, classes: Some(3) }, vec![&[6, 100]]),
        ] {
            assert_eq!(head.layout(&shapes, (8, 8)).unwrap_err().code, "fame_detection::outputs");
        }
        assert!(FACE.layout(&[&[1, 5, 2], &[1, 5, 4]], (8, 8)).is_ok(), "a batch axis of 1 is ignored");
    }
}
