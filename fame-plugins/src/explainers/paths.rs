//! What lies between two layers of a graph: on which ways a value takes part in another.

use std::collections::{HashMap, HashSet};

use fame_core::Layer;

/// The layers on the ways from one layer to some others, both ends among them, in the graph's
/// order.
pub(super) struct Ways<'m> {
    layers: Vec<&'m Layer>,
    ends: HashSet<&'m str>,
}

impl<'m> Ways<'m> {
    /// The ways from `start` to any of `ends` through `layers`, which stand in topological order.
    /// Only layers whose values depend on the input count: a shape that is read somewhere is no
    /// way. `None` where no way leads there, or the backend does not tell what a layer reads.
    pub(super) fn between(layers: &'m [Layer], start: &str, ends: &[String]) -> Option<Self> {
        let mut behind: HashSet<&str> = HashSet::new();
        for layer in layers.iter().filter(|l| l.depends_on_input) {
            if layer.name == start || layer.reads.iter().any(|r| behind.contains(r.as_str())) {
                behind.insert(&layer.name);
            }
        }
        let mut before: HashSet<&str> = ends.iter().map(String::as_str).collect();
        for layer in layers.iter().rev() {
            if before.contains(layer.name.as_str()) {
                before.extend(layer.reads.iter().map(String::as_str));
            }
        }
        let on_way = |l: &&Layer| behind.contains(&*l.name) && before.contains(&*l.name);
        let found: Vec<&Layer> = layers.iter().filter(on_way).collect();
        let is_end = |l: &&&Layer| ends.contains(&l.name);
        let ends: HashSet<&str> = found.iter().filter(is_end).map(|l| l.name.as_str()).collect();
        (!ends.is_empty()).then_some(Self { layers: found, ends })
    }

    /// The layers that every way passes, in the graph's order, the start first.
    pub(super) fn narrows(&self) -> Vec<&'m Layer> {
        let at: HashMap<&str, usize> =
            self.layers.iter().enumerate().map(|(n, l)| (l.name.as_str(), n)).collect();
        // How far each layer is read: the position of its last reader, or beyond all for an end.
        let mut reach = vec![0; self.layers.len()];
        for (n, layer) in self.layers.iter().enumerate() {
            if self.ends.contains(layer.name.as_str()) {
                reach[n] = usize::MAX;
            }
            for read in layer.reads.iter().filter_map(|read| at.get(read.as_str())) {
                reach[*read] = reach[*read].max(n);
            }
        }
        // A layer is passed by all if none in front of it is read behind it.
        let (mut furthest, mut narrows) = (0, Vec::new());
        for (n, layer) in self.layers.iter().enumerate() {
            if furthest <= n {
                narrows.push(*layer);
            }
            furthest = furthest.max(reach[n]);
        }
        narrows
    }

    /// Whether every operator behind the start is linear, or linear but for kinks, in what comes
    /// from the start: then the second derivative is zero wherever there is one.
    pub(super) fn are_piecewise_linear(&self) -> bool {
        let on_way: HashSet<&str> = self.layers.iter().map(|l| l.name.as_str()).collect();
        self.layers.iter().skip(1).all(|layer| {
            let varies = |read: &String| on_way.contains(read.as_str());
            let varying = layer.reads.iter().filter(|r| varies(r)).count();
            let by_data = varying == 1 && layer.reads.first().is_some_and(varies);
            match layer.op.as_str() {
                op if OF_ALL.contains(&op) => true,
                op if OF_ONE.contains(&op) => varying == 1,
                op if OF_DATA.contains(&op) => by_data,
                _ => false,
            }
        })
    }
}

/// Operators that are piecewise linear in all they read together.
const OF_ALL: [&str; 7] = ["Add", "Sub", "Sum", "Mean", "Concat", "Max", "Min"];
/// Operators that are linear in any one of what they read, while the others stay as they are.
const OF_ONE: [&str; 5] = ["Mul", "MatMul", "Gemm", "Conv", "ConvTranspose"];
/// Operators that are piecewise linear in what they read first, while the others stay as they are.
const OF_DATA: [&str; 35] = [
    "Abs",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "Clip",
    "DepthToSpace",
    "Div",
    "Dropout",
    "Expand",
    "Flatten",
    "Gather",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "HardSigmoid",
    "Identity",
    "LeakyRelu",
    "MaxPool",
    "Neg",
    "PRelu",
    "Pad",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceSum",
    "Relu",
    "Reshape",
    "Resize",
    "Slice",
    "SpaceToDepth",
    "Split",
    "Squeeze",
    "Tile",
    "Transpose",
    "Unsqueeze",
    "Upsample",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(layers: &[(&str, &str, &[&str])]) -> Vec<Layer> {
        let layer = |(name, op, reads): &(&str, &str, &[&str])| Layer {
            name: (*name).into(),
            op: (*op).into(),
            shape: vec![4],
            is_output: false,
            depends_on_input: *op != "Shape",
            reads: reads.iter().map(|r| (*r).to_owned()).collect(),
        };
        layers.iter().map(layer).collect()
    }

    fn narrows(layers: &[Layer], from: &str, to: &str) -> Vec<String> {
        let ways = Ways::between(layers, from, &[to.to_owned()]).unwrap();
        ways.narrows().iter().map(|l| l.name.clone()).collect()
    }

    #[test]
    fn every_way_passes_a_sum_and_none_of_what_it_adds() {
        let layers = graph(&[
            ("x", "Input", &[]),
            ("a", "Conv", &["x", "w"]),
            ("shape", "Shape", &["a"]),
            ("b", "Relu", &["a"]),
            ("sum", "Add", &["a", "b"]),
            ("c", "Reshape", &["sum", "shape"]),
            ("aside", "Relu", &["sum"]),
            ("y", "Gemm", &["c", "v"]),
        ]);
        assert_eq!(narrows(&layers, "a", "y"), ["a", "sum", "c", "y"]);
        assert_eq!(narrows(&layers, "b", "y"), ["b", "sum", "c", "y"]);
        assert!(Ways::between(&layers, "aside", &["y".to_owned()]).is_none());
        assert!(Ways::between(&layers, "a", &["elsewhere".to_owned()]).is_none());
    }

    #[test]
    fn what_two_ends_read_is_passed_by_all_only_in_front_of_the_first() {
        let layers = graph(&[
            ("a", "Conv", &["x"]),
            ("b", "Relu", &["a"]),
            ("early", "Gemm", &["b"]),
            ("late", "Gemm", &["early"]),
        ]);
        let ends = ["early".to_owned(), "late".to_owned()];
        let ways = Ways::between(&layers, "a", &ends).unwrap();
        let names: Vec<&str> = ways.narrows().iter().map(|l| l.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "early"]);
    }

    #[test]
    fn kinks_are_no_curvature_and_products_of_two_values_are() {
        let bends = |op: &str, reads: &[&str]| {
            let layers = graph(&[
                ("x", "Input", &[]),
                ("a", "Conv", &["x"]),
                ("b", "Relu", &["a"]),
                ("y", op, reads),
            ]);
            !Ways::between(&layers, "a", &["y".to_owned()]).unwrap().are_piecewise_linear()
        };
        assert!(!bends("Add", &["a", "b"]) && !bends("Mul", &["b", "w"]));
        // A factor that comes from around the layer stays as it is.
        assert!(!bends("Mul", &["b", "x"]) && !bends("Div", &["b", "x"]));
        assert!(bends("Mul", &["a", "b"]) && bends("Div", &["x", "b"]));
        assert!(bends("Sigmoid", &["b"]) && bends("LayerNormalization", &["b", "g"]));
        // Which of two values is taken depends on a third: nothing is known of it.
        assert!(bends("Where", &["b", "a", "x"]));
    }
}
