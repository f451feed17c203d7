//! Heads recognised by what a network gives out, for whoever does not know its detector yet.
//!
//! Shapes alone would take any transformer for a detector, so each family must also have the number
//! of candidates that its input size leads to, or the operators that it ends in.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use fame_core::{Layer, Model};

use crate::head::Head;

/// The strides of the grids of YOLO's candidates: the usual three, and with a finer or a coarser one.
const STRIDES: [&[usize]; 3] = [&[8, 16, 32], &[4, 8, 16, 32], &[8, 16, 32, 64]];

/// How many queries a DETR has: 100 in the paper, 300 or 900 in those that came after it.
const QUERIES: std::ops::RangeInclusive<usize> = 10..=1000;

/// The classes of COCO, without and with the numbers that stand for none: who has as many outputs
/// has no class for "nothing here".
const COCO: [usize; 2] = [80, 91];

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
}

impl Recognised {
    /// The head as a recipe writes it.
    pub fn head_spec(&self) -> String {
        match self.head {
            Head::UltraFace { background: Some(0) } => "UltraFace()".to_owned(),
            Head::UltraFace { background } => format!("UltraFace(background: {background:?})"),
            Head::CenterNet { stride, .. } => format!("CenterNet(stride: {stride})"),
            Head::Yolo { objectness, anchors_first } => {
                let set = [("objectness", objectness), ("anchors_first", anchors_first)];
                let set: Vec<String> = set.into_iter().filter(|(_, on)| *on).map(|(name, _)| format!("{name}: true")).collect();
                format!("Yolo({})", set.join(", "))
            }
            Head::Detr { sigmoid: false } => "Detr()".to_owned(),
            Head::Detr { sigmoid: true } => "Detr(sigmoid: true)".to_owned(),
        }
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
            ),
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
    of_layers(model.network.layers(), model.labels.len(), (input.height, input.width))
}

/// The same, of the layers of a network with so many labels (0: not known) and this input.
fn of_layers(all: &[Layer], labels: usize, size: (usize, usize)) -> Option<Recognised> {
    let outputs: Vec<&Layer> = all.iter().filter(|l| l.is_output && l.depends_on_input).collect();
    let outputs = outputs.as_slice();
    let (family, head, layers) = grids(outputs, size).or_else(|| boxes(outputs, labels)).or_else(|| anchors(outputs, labels, size))?;
    let shapes: Vec<&[usize]> = layers.iter().map(|layer| layer.shape.as_slice()).collect();
    // The head has the last word.
    let layout = head.layout(&shapes, size).ok()?;
    // The boxes are in the last layer that the heads of these families read, or in its only one; the
    // distances of a CenterNet and the boxes of a DETR are what such heads decode themselves.
    let may_be_raw = matches!(head, Head::UltraFace { .. } | Head::Yolo { .. });
    let is_decoded = !may_be_raw || layers.last().is_none_or(|boxes| !is_raw(all, boxes));
    let family = if is_decoded { family } else { RAW };
    Some(Recognised {
        family,
        head,
        is_decoded,
        layers: layers.iter().map(|layer| layer.name.clone()).collect(),
        classes: layout.detectable().count(),
        candidates: layout.candidates,
    })
}

/// Operators that move values and change none.
const MOVES: [&str; 9] = ["Reshape", "Transpose", "Concat", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Slice", "Split"];

/// Whether `layer` has boxes as convolutions give them: walked back over operators that change no
/// value, it ends in convolutions, beside nothing but the probabilities of classes. A network whose
/// engine does not know what its layers read is taken for one that decodes.
fn is_raw(all: &[Layer], layer: &Layer) -> bool {
    let by_name: HashMap<&str, &Layer> = all.iter().map(|layer| (layer.name.as_str(), layer)).collect();
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
                let read = layer.reads.iter().filter_map(|name| by_name.get(name.as_str()));
                let read: Vec<&Layer> = read.copied().filter(|l| l.depends_on_input).collect();
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

type Found<'l> = (&'static str, Head, Vec<&'l Layer>);

/// A shape without the batch axis that some exports leave on it.
fn shape(layer: &Layer) -> &[usize] {
    match layer.shape.as_slice() {
        [1, rest @ ..] if rest.len() > 1 => rest,
        shape => shape,
    }
}

/// CenterNet as TTFNet has it: a heat map after its sigmoid, and four distances at each of its cells.
fn grids<'l>(outputs: &[&'l Layer], (height, width): (usize, usize)) -> Option<Found<'l>> {
    let heat = outputs.iter().find(|l| l.op == "Sigmoid" && l.shape.len() == 3)?;
    let &[_, rows, columns] = heat.shape.as_slice() else { return None };
    let distances = outputs.iter().find(|l| l.shape == [4, rows, columns] && l.name != heat.name)?;
    let stride = height / rows.max(1);
    let is_grid = rows > 1 && (rows * stride, columns * stride) == (height, width);
    let head = Head::CenterNet { stride: stride as f32, offset: 0.0 };
    is_grid.then(|| ("TTFNet or another CenterNet with four distances", head, vec![*heat, *distances]))
}

/// Scores and boxes as two outputs: DETR's queries, or the decoded anchors of an SSD.
fn boxes<'l>(outputs: &[&'l Layer], labels: usize) -> Option<Found<'l>> {
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
    match scores.op.as_str() {
        "Softmax" | "Sigmoid" if !is_few => {
            let background = (scores.op == "Softmax").then_some(0);
            return Some(("scores and corners, as SSD and UltraFace give them", Head::UltraFace { background }, layers));
        }
        // Queries whose logits are not at hand: no head here reads their probabilities.
        "Softmax" | "Sigmoid" => return None,
        _ => {}
    }
    let sigmoid = classes == labels || (labels == 0 && COCO.contains(&classes));
    let family = if sigmoid {
        "Deformable DETR, RT-DETR or another DETR with a sigmoid for each class"
    } else {
        "DETR, whose last class means that nothing is there"
    };
    is_few.then(|| (family, Head::Detr { sigmoid }, layers))
}

/// YOLO: one output with a row for each side and class, and a column for each cell of its grids.
fn anchors<'l>(outputs: &[&'l Layer], labels: usize, (height, width): (usize, usize)) -> Option<Found<'l>> {
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
    // Its rows hold the weights of masks too, which no head here reads.
    if outputs.iter().any(|other| other.name != layer.name && shape(other).len() == 3) {
        return None;
    }
    let objectness = match rows.checked_sub(4)? {
        classes if labels > 0 && classes == labels => false,
        classes if labels > 0 && classes == labels + 1 => true,
        // Its rows hold something else too, such as the points of a pose or the angle of a box.
        _ if labels > 0 => return None,
        // Anchors of several sizes are of the versions with objectness; 81 is COCO's 80 and one.
        classes => in_a_cell == 3 || classes == COCO[0] + 1,
    };
    let family = match (objectness, in_a_cell) {
        (false, _) => "YOLOv8, v11 or another YOLO without objectness",
        (true, 3) => "YOLOv5, v7 or another YOLO with anchors and objectness",
        (true, _) => "YOLOv6, or YOLOX with boxes in pixels",
    };
    Some((family, Head::Yolo { objectness, anchors_first }, vec![layer]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(name: &str, op: &str, shape: &[usize]) -> Layer {
        Layer { name: name.into(), op: op.into(), shape: shape.to_vec(), is_output: true, depends_on_input: true, reads: Vec::new() }
    }

    /// What is recognised, as a recipe writes it, with its layers and classes.
    fn told(outputs: &[Layer], labels: usize, side: usize) -> Option<(String, Vec<String>, usize)> {
        of_layers(outputs, labels, (side, side)).map(|r| (r.head_spec(), r.layers, r.classes))
    }

    fn some(head: &str, layers: &[&str], classes: usize) -> Option<(String, Vec<String>, usize)> {
        Some((head.to_owned(), layers.iter().map(|l| (*l).to_owned()).collect(), classes))
    }

    #[test]
    fn yolo_is_known_by_the_number_of_its_cells() {
        let of = |shape: &[usize], labels| told(&[layer("output0", "Concat", shape)], labels, 640);
        assert_eq!(of(&[84, 8400], 0), some("Yolo()", &["output0"], 80));
        assert_eq!(of(&[1, 84, 8400], 80), some("Yolo()", &["output0"], 80), "a batch axis is read over");
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
        let with_masks = [layer("output0", "Concat", &[116, 8400]), layer("output1", "Mul", &[32, 160, 160])];
        assert_eq!(told(&with_masks, 0, 640), None, "its rows are not classes alone");
        let pose = [layer("output0", "Concat", &[56, 8400])];
        assert_eq!(told(&pose, 1, 640), None, "nor are these: one class, and 17 points");
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
        let found = |layers: &[Layer], side: usize| of_layers(layers, 0, (side, side)).unwrap();
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
        // What reads nothing that is known may be anything.
        let unknown = [layer("output0", "Concat", &[84, 8400])];
        assert!(found(&unknown, 640).is_decoded);
    }

    #[test]
    fn what_is_told_can_be_written_into_a_recipe() {
        let registry = fame_core::registry::Registry::builtin().unwrap();
        let with = fame_core::registry::BuildContext::new(&registry, std::path::Path::new("."));
        for head in [
            Head::Yolo { objectness: true, anchors_first: true },
            Head::Yolo { objectness: false, anchors_first: false },
            Head::Detr { sigmoid: false },
            Head::Detr { sigmoid: true },
            Head::UltraFace { background: Some(0) },
            Head::UltraFace { background: None },
            Head::CenterNet { stride: 4.0, offset: 0.0 },
        ] {
            let found = Recognised { family: "x", head, layers: vec!["a".into()], classes: 1, candidates: 2, is_decoded: true };
            let loss = found.loss_spec().unwrap();
            let spec = fame_core::text::Spec::from_text(&loss).unwrap();
            let built = registry.build::<dyn fame_core::contract::Loss>(&spec, &with);
            assert!(built.is_ok(), "{loss}: {:?}", built.err());
            let said = found.to_string();
            assert!(said.contains(&loss) && said.contains(r#"layer: ["a"]"#), "{said}");
        }
    }
}
