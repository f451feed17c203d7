//! Heads recognised by what a network gives out, for whoever does not know its detector yet.
//!
//! Shapes alone would take any transformer for a detector, so each family must also have the number
//! of candidates that its input size leads to, or the operators that it ends in.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use fame_core::{Layer, Model, Result, Taps, Tensor};

use crate::{
    detections::{Detection, Detections},
    head::Head,
};

/// The strides of the grids of YOLO's candidates: the usual three, and with a finer or a coarser one.
const STRIDES: [&[usize]; 3] = [&[8, 16, 32], &[4, 8, 16, 32], &[8, 16, 32, 64]];

/// How many queries a DETR has: 100 in the paper, 300 or 900 in those that came after it.
const QUERIES: std::ops::RangeInclusive<usize> = 10..=1000;

/// The classes of COCO, without and with the numbers that stand for none: who has as many outputs
/// has no class for "nothing here".
const COCO: [usize; 2] = [80, 91];

/// The family of DETRs whose classes compete with nothing.
const SIGMOIDS: &str = "Deformable DETR, RT-DETR or another DETR with a sigmoid for each class";

/// What is to be known of a network that gives out only what it chose.
const CHOSEN: &str = "Its outputs are the boxes that it chose, which have no gradient; these layers are what it chose from.";

/// What is to be known of boxes with an angle.
const TURNED: &str = "One row more is ignored: if that is the angle of its boxes, they are drawn and compared as if they were upright.";

/// What is to be known of rows that are neither box nor class.
const MORE_ROWS: &str = "The rows behind the classes are ignored: points of a pose, weights of a mask.";

/// What a detector may be whose boxes are not decoded.
const RAW: &str = "SSD, RetinaFace, YOLOX or another with offsets to anchors or cells";

/// A detector that was recognised.
#[derive(Clone, Debug, PartialEq)]
pub struct Recognised {
    /// What it is, in words.
    pub family: &'static str,
    /// What its outputs mean.
    pub head: Head,
    /// The outputs that the head reads, in its order.
    pub layers: Vec<String>,
    /// How many classes it can detect.
    pub classes: usize,
    /// How many boxes it gives for each picture.
    pub candidates: usize,
    /// Whether its boxes are ones: where they come out of convolutions with no arithmetic behind,
    /// they are offsets to anchors or cells, which the network leaves to others to decode.
    pub is_decoded: bool,
    /// What else there is to know before it is asked, a sentence each.
    pub notes: Vec<&'static str>,
}

impl Recognised {
    /// The head as a recipe writes it.
    pub fn head_spec(&self) -> String {
        match self.head {
            Head::UltraFace { background: Some(0) } => "UltraFace()".to_owned(),
            Head::UltraFace { background } => format!("UltraFace(background: {background:?})"),
            Head::CenterNet { stride, .. } => format!("CenterNet(stride: {stride})"),
            Head::Yolo { objectness, anchors_first, corners, classes } => {
                let set = [("objectness", objectness), ("anchors_first", anchors_first), ("corners", corners)];
                let set = set.into_iter().filter(|(_, on)| *on).map(|(name, _)| format!("{name}: true"));
                let set: Vec<String> = set.chain(classes.map(|classes| format!("classes: {classes}"))).collect();
                format!("Yolo({})", set.join(", "))
            }
            Head::Detr { sigmoid: false } => "Detr()".to_owned(),
            Head::Detr { sigmoid: true } => "Detr(sigmoid: true)".to_owned(),
        }
    }

    /// What `model`, which it was recognised in, detects on `input` of the network's shape: at most
    /// `limit` boxes, the best first, however low they score.
    ///
    /// # Errors
    /// What the network says.
    pub fn detect(&self, model: &Model, input: &Tensor, limit: usize) -> Result<Vec<Detection>> {
        let pass = model.network.forward(&Tensor::stack([input])?, &Taps::of(self.layers.iter().cloned()))?;
        let tensors = self.layers.iter().map(|name| Ok(pass.output(name)?.row_tensor(0))).collect::<Result<Vec<_>>>()?;
        let shapes: Vec<&[usize]> = tensors.iter().map(Tensor::shape).collect();
        let size = &model.manifest.input;
        let layout = self.head.layout(&shapes, (size.height, size.width))?;
        let outputs: Vec<&[f32]> = tensors.iter().map(Tensor::data).collect();
        Ok(Detections { min_score: f32::MIN, limit, ..Detections::of(self.head) }.detect(&layout, &outputs))
    }

    /// The loss that asks for its best detection, as a recipe writes it; `None` where its boxes are not
    /// decoded: no loss here reads them.
    pub fn loss_spec(&self) -> Option<String> {
        let spec = || format!("DetectionScore(of: Detections(head: {}))", self.head_spec());
        self.is_decoded.then(spec)
    }
}

impl fmt::Display for Recognised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.classes == 1 { "" } else { "es" };
        let Self { family, classes, candidates, layers, .. } = self;
        write!(f, "a detector by its outputs, {family}: {classes} class{plural}, {candidates} candidates. ")?;
        match self.loss_spec() {
            Some(loss) => write!(
                f,
                "Ask it with layer: {layers:?} and loss: {loss}. Look at DetectionOverlay() first: shapes do not say where its boxes lie."
            )
            .and_then(|()| self.notes.iter().try_for_each(|note| write!(f, " {note}"))),
            None => write!(
                f,
                "It gives out undecoded boxes: no loss here reads them. Export it with the decoding of its boxes as a part of the network."
            ),
        }
    }
}

/// The detector that the outputs of `model` are of, if they are of one whose head is known here. A
/// guess by shapes and operators: what the boxes mean shows when they are drawn, with
/// `DetectionOverlay()`.
pub fn recognise(model: &Model) -> Option<Recognised> {
    let input = &model.manifest.input;
    recognise_layers(model.network.layers(), model.labels.len(), (input.height, input.width))
}

/// The same, of the layers of a network with so many labels (0: not known) and an input of this
/// height and width, for one that has no manifest yet.
pub fn recognise_layers(all: &[Layer], labels: usize, size: (usize, usize)) -> Option<Recognised> {
    let graph = Graph::of(all);
    let outputs: Vec<&Layer> = all.iter().filter(|l| l.is_output && l.depends_on_input).collect();
    let of_outputs = grids(&graph, &outputs, size)
        .or_else(|| boxes(&graph, &outputs, labels))
        .or_else(|| anchors(&graph, &outputs, labels, size))
        .map(|found| (found, None));
    let (found, chosen) = of_outputs.or_else(|| chosen_from(&graph, &outputs, labels, size).map(|found| (found, Some(CHOSEN))))?;
    let Found { family, head, layers, note } = found;
    let shapes: Vec<&[usize]> = layers.iter().map(|layer| layer.shape.as_slice()).collect();
    // The head has the last word.
    let layout = head.layout(&shapes, size).ok()?;
    // The boxes are in the last layer that the heads of these families read, or in its only one; the
    // distances of a CenterNet and the boxes of a DETR are what such heads decode themselves.
    let may_be_raw = matches!(head, Head::UltraFace { .. } | Head::Yolo { .. });
    let is_decoded = !may_be_raw || layers.last().is_none_or(|boxes| !graph.is_raw(boxes));
    let family = if is_decoded { family } else { RAW };
    Some(Recognised {
        family,
        head,
        is_decoded,
        layers: layers.iter().map(|layer| layer.name.clone()).collect(),
        classes: layout.detectable().count(),
        candidates: layout.candidates,
        notes: [chosen, note].into_iter().flatten().collect(),
    })
}

/// Operators that move values and change none.
const MOVES: [&str; 9] = ["Reshape", "Transpose", "Concat", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Slice", "Split"];

/// The layers of a network, and which of them read which.
struct Graph<'l> {
    by_name: HashMap<&'l str, &'l Layer>,
}

impl<'l> Graph<'l> {
    fn of(all: &'l [Layer]) -> Self {
        Self { by_name: all.iter().map(|layer| (layer.name.as_str(), layer)).collect() }
    }

    /// The layers that `layer` reads and that depend on the input, in its order. None where the
    /// network's engine does not know what its layers read.
    fn read(&self, layer: &Layer) -> Vec<&'l Layer> {
        let read = layer.reads.iter().filter_map(|name| self.by_name.get(name.as_str()));
        read.copied().filter(|layer| layer.depends_on_input).collect()
    }

    /// All layers that `layers` are made of, those nearest to them first, each once.
    fn above(&self, layers: &[&'l Layer]) -> Vec<&'l Layer> {
        let mut above = layers.to_vec();
        let mut seen: HashSet<&str> = layers.iter().map(|layer| layer.name.as_str()).collect();
        let mut next = 0;
        while let Some(layer) = above.get(next).copied() {
            above.extend(self.read(layer).into_iter().filter(|l| seen.insert(l.name.as_str())));
            next += 1;
        }
        above
    }

    /// Walks back from `layer` over operators that move values to the one that makes them; of
    /// several that are put behind one another to the last.
    fn maker(&self, mut layer: &'l Layer) -> &'l Layer {
        // No graph is a circle, but what an engine says is its own.
        for _ in 0..self.by_name.len() {
            let is_move = MOVES.contains(&layer.op.as_str()) || layer.op == "Gather";
            match self.read(layer).last() {
                Some(read) if is_move => layer = read,
                _ => break,
            }
        }
        layer
    }

    /// Whether `layer` has boxes as convolutions give them: walked back over operators that change
    /// no value, it ends in convolutions, beside nothing but the probabilities of classes. A network
    /// whose engine does not know what its layers read is taken for one that decodes.
    fn is_raw(&self, layer: &'l Layer) -> bool {
        let (mut open, mut seen) = (vec![layer], HashSet::new());
        let mut from_convolution = false;
        while let Some(layer) = open.pop() {
            if !seen.insert(layer.name.as_str()) {
                continue;
            }
            match layer.op.as_str() {
                "Conv" => from_convolution = true,
                "Sigmoid" | "Softmax" => {}
                op if MOVES.contains(&op) => {
                    let read = self.read(layer);
                    if read.is_empty() {
                        return false;
                    }
                    open.extend(read);
                }
                _ => return false,
            }
        }
        from_convolution
    }

    /// Whether the boxes of queries are corrections of a place that each query has, as in the DETRs
    /// whose classes have a sigmoid each: what goes through their sigmoid is a sum of two things the
    /// network computes, or is scattered into a place. The first DETR's is a linear layer's.
    fn are_refined(&self, boxes: &'l Layer) -> bool {
        let squashed = self.maker(boxes);
        let [inner] = self.read(squashed)[..] else { return false };
        let inner = self.maker(inner);
        squashed.op == "Sigmoid" && (inner.op == "ScatterND" || (inner.op == "Add" && self.read(inner).len() > 1))
    }
}

/// A family with its head, the layers that it reads, and what else is to be known.
struct Found<'l> {
    family: &'static str,
    head: Head,
    layers: Vec<&'l Layer>,
    note: Option<&'static str>,
}

impl<'l> Found<'l> {
    fn new(family: &'static str, head: Head, layers: Vec<&'l Layer>) -> Self {
        Self { family, head, layers, note: None }
    }
}

/// A shape without the batch axis that some exports leave on it.
fn shape(layer: &Layer) -> &[usize] {
    match layer.shape.as_slice() {
        [1, rest @ ..] if rest.len() > 1 => rest,
        shape => shape,
    }
}

/// CenterNet as TTFNet has it: a heat map after its sigmoid, and four distances at each of its cells.
fn grids<'l>(graph: &Graph<'l>, outputs: &[&'l Layer], (height, width): (usize, usize)) -> Option<Found<'l>> {
    let heat = outputs.iter().find(|l| l.shape.len() == 3 && graph.maker(l).op == "Sigmoid")?;
    let &[_, rows, columns] = heat.shape.as_slice() else { return None };
    let distances = outputs.iter().find(|l| l.shape == [4, rows, columns] && l.name != heat.name)?;
    let stride = height / rows.max(1);
    let is_grid = rows > 1 && (rows * stride, columns * stride) == (height, width);
    let head = Head::CenterNet { stride: stride as f32, offset: 0.0 };
    is_grid.then(|| Found::new("TTFNet or another CenterNet with four distances", head, vec![*heat, *distances]))
}

/// Scores and boxes as two outputs: DETR's queries, or the decoded anchors of an SSD.
fn boxes<'l>(graph: &Graph<'l>, outputs: &[&'l Layer], labels: usize) -> Option<Found<'l>> {
    let named = |layer: &&&'l Layer, words: &[&str]| {
        let name = layer.name.to_lowercase();
        words.iter().any(|word| name.contains(word))
    };
    let four: Vec<&&Layer> = outputs.iter().filter(|l| matches!(shape(l), [_, 4])).collect();
    let boxes = four.iter().find(|l| named(l, &["box"])).or(four.last())?;
    let &[candidates, _] = shape(boxes) else { return None };
    let others = |l: &&&Layer| l.name != boxes.name && matches!(shape(l), [n, _] if *n == candidates);
    // A transformer may give out what it thinks of each query too.
    let scores: Vec<&&Layer> = outputs.iter().filter(others).collect();
    let told = scores.iter().find(|l| named(l, &["logit", "score", "cls", "class", "conf"]));
    let scores = told.or(scores.first().filter(|_| scores.len() == 1))?;
    let layers = vec![**scores, **boxes];
    let &[_, classes] = shape(scores) else { return None };
    let is_few = QUERIES.contains(&candidates);
    let squashed_by = graph.maker(scores).op.as_str();
    match squashed_by {
        "Softmax" | "Sigmoid" if !is_few => {
            let background = (squashed_by == "Softmax").then_some(0);
            return Some(Found::new("scores and corners, as SSD and UltraFace give them", Head::UltraFace { background }, layers));
        }
        // Queries whose logits are not at hand: no head here reads their probabilities.
        "Softmax" | "Sigmoid" => return None,
        _ => {}
    }
    let sigmoid = classes == labels || (labels == 0 && (COCO.contains(&classes) || graph.are_refined(boxes)));
    let family = if sigmoid { SIGMOIDS } else { "DETR, whose last class means that nothing is there" };
    is_few.then(|| Found::new(family, Head::Detr { sigmoid }, layers))
}

/// YOLO: one output with a row for each side and class, and a column for each cell of its grids.
fn anchors<'l>(graph: &Graph<'l>, outputs: &[&'l Layer], labels: usize, (height, width): (usize, usize)) -> Option<Found<'l>> {
    let cells = |strides: &[usize]| strides.iter().map(|s| (height / s) * (width / s)).sum::<usize>();
    // How many candidates stand in a cell, if there are as many as cells, or three times as many.
    let in_a_cell = |n: usize| STRIDES.into_iter().map(cells).find_map(|cells| [1, 3].into_iter().find(|k| n > 0 && n == k * cells));
    let fitting = |layer: &&'l Layer| {
        let &[p, q] = shape(layer) else { return None };
        let by_rows = in_a_cell(q).map(|k| (p, k, false));
        let (rows, in_a_cell, anchors_first) = by_rows.or_else(|| in_a_cell(p).map(|k| (q, k, true)))?;
        Some((*layer, rows, in_a_cell, anchors_first))
    };
    let (layer, rows, in_a_cell, anchors_first) = outputs.iter().find_map(fitting)?;
    let behind_box = rows.checked_sub(4).filter(|rows| *rows > 0)?;
    // The prototypes of masks, [masks, h, w], go with as many weights in each column.
    let grids = outputs.iter().filter(|other| other.name != layer.name).map(|other| shape(other));
    let masks = grids
        .filter_map(|shape| {
            if let &[masks, ..] = shape
                && shape.len() == 3
            {
                Some(masks)
            } else {
                None
            }
        })
        .sum::<usize>();
    // Families with objectness put anchors first, and its sigmoid stands before that of the classes.
    let told = graph.parts_of(layer, rows).filter(|_| !anchors_first);
    let (objectness, classes) = match told {
        Some(parts) => (false, parts.classes),
        None if labels > 0 => match behind_box.checked_sub(masks)?.checked_sub(labels)? {
            // A row of objectness stands before the classes of the families with anchors first.
            1 if anchors_first => (true, labels),
            rest => (in_a_cell == 3 && rest > 0, labels),
        },
        None => {
            let rows = behind_box.checked_sub(masks)?;
            // Anchors of several sizes are of the versions with objectness; 81 is COCO's 80 and one.
            let objectness = in_a_cell == 3 || (anchors_first && rows == COCO[0] + 1);
            (objectness, rows.checked_sub(usize::from(objectness))?)
        }
    };
    let rest = behind_box.checked_sub(classes + usize::from(objectness))?;
    let family = match (objectness, in_a_cell) {
        (false, _) => "YOLOv8, v11 or another YOLO without objectness",
        (true, 3) => "YOLOv5, v7 or another YOLO with anchors and objectness",
        (true, _) => "YOLOv6, or YOLOX with boxes in pixels",
    };
    let corners = told.is_some_and(|parts| parts.corners);
    let head = Head::Yolo { objectness, anchors_first, corners, classes: (rest > 0).then_some(classes) };
    let note = match rest {
        0 => None,
        1 => Some(TURNED),
        _ => Some(MORE_ROWS),
    };
    Some(Found { note, ..Found::new(family, head, vec![layer]) })
}

/// What the rows of a YOLO are, by what they are put together from.
#[derive(Clone, Copy)]
struct Parts {
    classes: usize,
    /// Whether its boxes are two corners and no centre with a size.
    corners: bool,
}

impl<'l> Graph<'l> {
    /// The parts of `layer`, whose `rows` begin with a box: behind it stand the probabilities of
    /// classes, straight from their sigmoid.
    fn parts_of(&self, layer: &'l Layer, rows: usize) -> Option<Parts> {
        let mut joined = layer;
        while joined.op != "Concat" && MOVES.contains(&joined.op.as_str()) {
            let [read] = self.read(joined)[..] else { return None };
            joined = read;
        }
        let parts = self.read(joined);
        let rows_of = |part: &Layer| part.shape.iter().find(|extent| **extent < rows).copied();
        let [boxes, scores, ..] = parts[..] else { return None };
        let is_joined = rows_of(boxes) == Some(4) && scores.op == "Sigmoid";
        let classes = rows_of(scores).filter(|_| is_joined)?;
        Some(Parts { classes, corners: self.are_corners(boxes) })
    }

    /// Whether boxes are corners by the way they are made of distances from a cell to the sides: the
    /// cell less the first two, and the cell with the last two added. Centre and size would be the
    /// half of a sum, and a difference.
    fn are_corners(&self, boxes: &'l Layer) -> bool {
        let mut joined = boxes;
        // The stride is a factor behind it.
        while joined.op != "Concat" {
            let [read] = self.read(joined)[..] else { return false };
            joined = read;
        }
        let ops: Vec<&str> = self.read(joined).iter().map(|part| part.op.as_str()).collect();
        ops == ["Sub", "Add"]
    }
}

/// What a network chooses from that gives out nothing but the boxes it chose: rows of four sides, a
/// score and a class, or the like.
fn chosen_from<'l>(graph: &Graph<'l>, outputs: &[&'l Layer], labels: usize, size: (usize, usize)) -> Option<Found<'l>> {
    const CHOOSE: [&str; 2] = ["NonMaxSuppression", "TopK"];
    let inner = graph.above(outputs);
    if !inner.iter().any(|layer| CHOOSE.contains(&layer.op.as_str())) {
        return None;
    }
    // Put together by a network to be chosen from.
    let joined: Vec<&Layer> = inner.iter().copied().filter(|l| l.op == "Concat").collect();
    if let Some(found) =
        anchors(graph, &joined, labels, size).filter(|found| found.layers.iter().all(|l| graph.parts_of(l, rows_of_yolo(l)).is_some()))
    {
        return Some(found);
    }
    // A DETR: the boxes of its queries, and the logits of what goes through a sigmoid beside them.
    let squashed = |columns: Option<usize>| {
        let fits =
            move |shape: &[usize]| matches!(*shape, [n, c] if QUERIES.contains(&n) && columns.map_or(c != 4, |columns| c == columns));
        inner.iter().copied().filter(move |l| l.op == "Sigmoid" && fits(shape(l)))
    };
    let boxes = squashed(Some(4)).next()?;
    let scores = squashed(None).find(|l| shape(l)[0] == shape(boxes)[0])?;
    let [logits] = graph.read(scores)[..] else { return None };
    Some(Found::new(SIGMOIDS, Head::Detr { sigmoid: true }, vec![logits, boxes]))
}

/// The shorter side of a YOLO's output: candidates are many more than rows.
fn rows_of_yolo(layer: &Layer) -> usize {
    shape(layer).iter().copied().min().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(name: &str, op: &str, shape: &[usize]) -> Layer {
        Layer { name: name.into(), op: op.into(), shape: shape.to_vec(), is_output: true, depends_on_input: true, reads: Vec::new() }
    }

    /// What is recognised, as a recipe writes it, with its layers and classes.
    fn told(outputs: &[Layer], labels: usize, side: usize) -> Option<(String, Vec<String>, usize)> {
        recognise_layers(outputs, labels, (side, side)).map(|r| (r.head_spec(), r.layers, r.classes))
    }

    fn some(head: &str, layers: &[&str], classes: usize) -> Option<(String, Vec<String>, usize)> {
        Some((head.to_owned(), layers.iter().map(|l| (*l).to_owned()).collect(), classes))
    }

    #[test]
    fn yolo_is_known_by_the_number_of_its_cells() {
        let of = |shape: &[usize], labels| told(&[layer("output0", "Concat", shape)], labels, 640);
        assert_eq!(of(&[84, 8400], 0), some("Yolo()", &["output0"], 80));
        assert_eq!(of(&[1, 84, 8400], 80), some("Yolo()", &["output0"], 80), "a batch axis is ignored");
        assert_eq!(of(&[8400, 84], 0), some("Yolo(anchors_first: true)", &["output0"], 80));
        assert_eq!(of(&[5, 8400], 1), some("Yolo()", &["output0"], 1));
        let five = some("Yolo(objectness: true, anchors_first: true)", &["output0"], 80);
        assert_eq!([of(&[25200, 85], 0), of(&[25200, 85], 80)], [five.clone(), five.clone()]);
        assert_eq!(of(&[8400, 85], 0), five, "COCO's classes and one row more");
        assert_eq!(of(&[8400, 85], 81), some("Yolo(anchors_first: true)", &["output0"], 81), "unless labels say so");
        assert_eq!(of(&[84, 33600], 0), None, "no sum of the usual grids");
        assert_eq!(of(&[84, 34000], 0), some("Yolo()", &["output0"], 80), "with a fourth, finer grid");
    }

    #[test]
    fn what_is_no_detector_is_not_taken_for_one() {
        assert_eq!(told(&[layer("tokens", "Add", &[197, 768])], 0, 224), None, "a transformer's tokens");
        assert_eq!(told(&[layer("logits", "Gemm", &[1000])], 1000, 224), None);
        assert_eq!(told(&[layer("map", "Conv", &[21, 64, 64])], 21, 512), None);
        let many = [layer("a", "MatMul", &[5000, 21]), layer("b", "Concat", &[5000, 4])];
        assert_eq!(told(&many, 0, 300), None, "more than queries, and no scores");
    }

    #[test]
    fn detr_is_known_by_its_logits_and_boxes() {
        let of = |classes, labels| {
            let outputs = [
                layer("logits", "Add", &[100, classes]),
                layer("pred_boxes", "Sigmoid", &[100, 4]),
                layer("last_hidden_state", "LayerNormalization", &[100, 256]),
            ];
            told(&outputs, labels, 800)
        };
        let names = ["logits", "pred_boxes"];
        assert_eq!(of(92, 0), some("Detr()", &names, 91));
        assert_eq!(of(3, 2), some("Detr()", &names, 2));
        assert_eq!(of(4, 3), some("Detr()", &names, 3), "boxes are told by their name");
        assert_eq!(of(80, 0), some("Detr(sigmoid: true)", &names, 80));
        assert_eq!(of(3, 3), some("Detr(sigmoid: true)", &names, 3));
    }

    #[test]
    fn the_other_heads_are_known_too() {
        let face = [layer("scores", "Softmax", &[4420, 2]), layer("boxes", "Concat", &[4420, 4])];
        assert_eq!(told(&face, 0, 320), some("UltraFace()", &["scores", "boxes"], 1));
        let grid = [layer("wh", "Conv", &[4, 8, 8]), layer("heat", "Sigmoid", &[2, 8, 8])];
        assert_eq!(told(&grid, 0, 32), some("CenterNet(stride: 4)", &["heat", "wh"], 2));
    }

    /// A layer inside of a network, with the names of what it reads.
    fn inner(name: &str, op: &str, shape: &[usize], reads: &[&str]) -> Layer {
        let reads = reads.iter().map(|name| (*name).to_owned()).collect();
        Layer { is_output: false, reads, ..layer(name, op, shape) }
    }

    /// The same, as an output.
    fn output(name: &str, op: &str, shape: &[usize], reads: &[&str]) -> Layer {
        Layer { is_output: true, ..inner(name, op, shape, reads) }
    }

    #[test]
    fn boxes_that_nobody_has_decoded_are_told() {
        let found = |layers: &[Layer], side: usize| recognise_layers(layers, 0, (side, side)).unwrap();
        // An SSD: two grids of offsets, laid behind one another; the weights of a layer are no layer.
        let ssd = |box_op: &str| {
            vec![
                inner("a", "Conv", &[16, 30, 40], &["input", "w"]),
                inner("b", "Conv", &[8, 15, 20], &["input", "v"]),
                inner("a_rows", "Reshape", &[4800, 4], &["a", "shape"]),
                inner("b_rows", "Transpose", &[600, 4], &["b"]),
                inner("offsets", "Concat", &[5400, 4], &["a_rows", "b_rows"]),
                output("boxes", box_op, &[5400, 4], &["offsets", "anchors"]),
                output("scores", "Softmax", &[5400, 2], &["logits"]),
            ]
        };
        let raw = found(&ssd("Reshape"), 320);
        assert_eq!((raw.is_decoded, raw.loss_spec()), (false, None));
        let said = raw.to_string();
        assert!(said.contains("undecoded boxes: no loss here reads them"), "{said}");
        assert!(!said.contains("DetectionScore"), "{said}");
        assert!(found(&ssd("Add"), 320).is_decoded, "anchors are added");
        // YOLOX: boxes beside probabilities that went through their sigmoid.
        let yolox = |box_op: &str| {
            vec![
                inner("reg", "Conv", &[4, 8400], &["x"]),
                inner("moved", box_op, &[4, 8400], &["reg"]),
                inner("cls", "Conv", &[81, 8400], &["x"]),
                inner("p", "Sigmoid", &[81, 8400], &["cls"]),
                inner("all", "Concat", &[85, 8400], &["moved", "p"]),
                output("output", "Transpose", &[8400, 85], &["all"]),
            ]
        };
        assert!(!found(&yolox("Identity"), 640).is_decoded);
        assert!(found(&yolox("Mul"), 640).is_decoded);
        assert_eq!(found(&yolox("Mul"), 640).head_spec(), "Yolo(objectness: true, anchors_first: true)");
        // What reads nothing that is known may be anything.
        let unknown = [layer("output0", "Concat", &[84, 8400])];
        assert!(found(&unknown, 640).is_decoded);
    }

    #[test]
    fn rows_behind_the_classes_of_a_yolo_are_told_and_read_over() {
        let of = |outputs: &[Layer], labels| recognise_layers(outputs, labels, (640, 640)).map(|r| (r.head_spec(), r.classes, r.notes));
        let masks = [layer("output0", "Concat", &[116, 8400]), layer("output1", "Mul", &[32, 160, 160])];
        let found = Some(("Yolo(classes: 80)".to_owned(), 80, vec![MORE_ROWS]));
        assert_eq!([of(&masks, 0), of(&masks, 80)], [found.clone(), found], "as many rows as prototypes of masks");
        let pose = [layer("output0", "Concat", &[56, 8400])];
        assert_eq!(of(&pose, 1), Some(("Yolo(classes: 1)".to_owned(), 1, vec![MORE_ROWS])), "one class, and 17 points");
        let turned = [layer("output0", "Concat", &[20, 8400])];
        assert_eq!(of(&turned, 15), Some(("Yolo(classes: 15)".to_owned(), 15, vec![TURNED])));
        assert_eq!(of(&turned, 17), None, "fewer rows than classes");
    }

    /// A YOLO of two classes that is put together from its box, its scores and what comes behind,
    /// as Ultralytics exports it.
    fn joined(box_ops: [&str; 2], behind: &[(&str, usize)]) -> Vec<Layer> {
        let mut layers = vec![
            inner("a", box_ops[0], &[2, 8400], &["x"]),
            inner("b", box_ops[1], &[2, 8400], &["x"]),
            inner("sides", "Concat", &[4, 8400], &["a", "b"]),
            inner("boxes", "Mul", &[4, 8400], &["sides", "strides"]),
            inner("scores", "Sigmoid", &[2, 8400], &["logits"]),
        ];
        layers.extend(behind.iter().map(|(name, rows)| inner(name, "Reshape", &[*rows, 8400], &["x"])));
        let parts: Vec<&str> = ["boxes", "scores"].into_iter().chain(behind.iter().map(|(name, _)| *name)).collect();
        layers.push(inner("all", "Concat", &[6 + behind.iter().map(|(_, rows)| rows).sum::<usize>(), 8400], &parts));
        layers
    }

    #[test]
    fn the_parts_of_a_yolo_say_how_many_classes_it_has() {
        let of = |mut layers: Vec<Layer>, labels| {
            layers.last_mut().unwrap().is_output = true;
            recognise_layers(&layers, labels, (640, 640)).map(|r| (r.head_spec(), r.layers))
        };
        let some = |head: &str| Some((head.to_owned(), vec!["all".to_owned()]));
        let size = ["Div", "Sub"];
        assert_eq!(of(joined(size, &[]), 0), some("Yolo()"));
        assert_eq!(of(joined(size, &[("points", 51)]), 0), some("Yolo(classes: 2)"), "no labels are needed");
        assert_eq!(of(joined(["Sub", "Add"], &[]), 0), some("Yolo(corners: true)"), "cell less and plus a distance");
    }

    #[test]
    fn what_a_network_chose_is_asked_where_it_chose_from() {
        let of = |layers: &[Layer]| recognise_layers(layers, 0, (640, 640)).map(|r| (r.head_spec(), r.layers, r.notes));
        let mut yolo = joined(["Sub", "Add"], &[]);
        yolo.push(inner("best", "TopK", &[300], &["all", "k"]));
        yolo.push(output("output0", "Concat", &[300, 6], &["best"]));
        assert_eq!(of(&yolo), Some(("Yolo(corners: true)".to_owned(), vec!["all".to_owned()], vec![CHOSEN])));
        let detr = [
            inner("logits", "Add", &[300, 80], &["x", "bias"]),
            inner("scores", "Sigmoid", &[300, 80], &["logits"]),
            inner("boxes", "Sigmoid", &[300, 4], &["moves"]),
            inner("best", "TopK", &[300], &["scores", "k"]),
            output("output0", "Concat", &[300, 6], &["boxes", "best"]),
        ];
        assert_eq!(of(&detr), Some(("Detr(sigmoid: true)".to_owned(), vec!["logits".to_owned(), "boxes".to_owned()], vec![CHOSEN])));
        let [logits, scores, boxes, best, _] = detr;
        let apart = [
            logits,
            scores,
            boxes,
            best,
            output("labels", "Gather", &[300], &["best"]),
            output("dets", "Gather", &[300, 4], &["boxes", "best"]),
        ];
        assert_eq!(of(&apart).unwrap().1, ["logits", "boxes"], "its choice in two outputs");
        let ranked = [inner("best", "TopK", &[5], &["x", "k"]), output("y", "Gather", &[5, 6], &["best"])];
        assert_eq!(of(&ranked), None, "nothing is known that it chose from");
    }

    #[test]
    fn a_detr_that_corrects_places_has_a_sigmoid_for_each_class() {
        let of = |moves: Layer| {
            let layers = [
                inner("places", "Log", &[100, 4], &["x"]),
                inner("linear", "MatMul", &[100, 4], &["x", "w"]),
                moves,
                inner("squashed", "Sigmoid", &[100, 4], &["moves"]),
                output("logits", "Add", &[100, 3], &["y", "bias"]),
                // Each step of the decoder gives boxes, and the last are given out.
                output("pred_boxes", "Gather", &[100, 4], &["squashed", "last"]),
            ];
            recognise_layers(&layers, 0, (640, 640)).unwrap().head_spec()
        };
        assert_eq!(of(inner("moves", "Add", &[100, 4], &["linear", "bias"])), "Detr()");
        assert_eq!(of(inner("moves", "Add", &[100, 4], &["linear", "places"])), "Detr(sigmoid: true)");
        assert_eq!(of(inner("moves", "ScatterND", &[100, 4], &["linear", "at"])), "Detr(sigmoid: true)");
    }

    #[test]
    fn no_doubt_is_cast_on_the_labels_of_a_detector() {
        // One label, and outputs of 16 and 64 numbers.
        assert_eq!(crate::testing::blob_model().doubts(), Vec::<String>::new());
    }

    #[test]
    fn a_head_is_known_behind_operators_that_change_nothing() {
        let grid = [
            inner("sigmoid", "Sigmoid", &[2, 8, 8], &["x"]),
            output("heat", "Identity", &[2, 8, 8], &["sigmoid"]),
            output("wh", "Mul", &[4, 8, 8], &["x", "stride"]),
        ];
        assert_eq!(told(&grid, 0, 32), some("CenterNet(stride: 4)", &["heat", "wh"], 2));
    }

    #[test]
    fn what_is_told_can_be_written_into_a_recipe() {
        let registry = fame_core::registry::Registry::builtin().unwrap();
        let with = fame_core::registry::BuildContext::new(&registry, std::path::Path::new("."));
        for head in [
            Head::Yolo { objectness: true, anchors_first: true, corners: false, classes: None },
            Head::Yolo { objectness: false, anchors_first: false, corners: true, classes: None },
            Head::Yolo { objectness: false, anchors_first: false, corners: false, classes: Some(3) },
            Head::Detr { sigmoid: false },
            Head::Detr { sigmoid: true },
            Head::UltraFace { background: Some(0) },
            Head::UltraFace { background: None },
            Head::CenterNet { stride: 4.0, offset: 0.0 },
        ] {
            let found = Recognised {
                family: "x",
                head,
                layers: vec!["a".into()],
                classes: 1,
                candidates: 2,
                is_decoded: true,
                notes: vec!["And more."],
            };
            let loss = found.loss_spec().unwrap();
            let spec = fame_core::text::Spec::from_text(&loss).unwrap();
            let built = registry.build::<dyn fame_core::contract::Loss>(&spec, &with);
            assert!(built.is_ok(), "{loss}: {:?}", built.err());
            let said = found.to_string();
            assert!(said.contains(&loss) && said.contains(r#"layer: ["a"]"#) && said.ends_with(" And more."), "{said}");
        }
    }
}
