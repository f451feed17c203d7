//! Which axis of a feature map holds its channels.
//!
//! Networks of TensorFlow and most vision transformers keep maps as `[rows, columns, channels]`
//! inside of files that are fed `[channels, rows, columns]`. An attribution method that takes the
//! one for the other shows noise, so the layout is read off the graph, by what the operators around
//! a layer do with its axes.

use std::collections::{HashSet, VecDeque};

use super::Layer;
use crate::{Error, data::Layout};

/// The error for a layer of three axes any of which may be the channels, for whoever takes a
/// parameter `layout`.
pub fn layout_not_told(layer: &str, shape: &[usize]) -> Error {
    let text = format!(
        "layer `{layer}` has shape {shape:?}, and nothing tells which of its axes are the channels."
    );
    Error::new("fame::layer::layout", text).with_help(
        "Say how its values lie: layout: ChannelsFirst for [channels, rows, columns], layout: \
         ChannelsLast for [rows, columns, channels].",
    )
}

/// More layers than lie between a feature map and the next operator that says what its axes are.
const MOST_STEPS: usize = 64;

/// The layout of `layer`, one of `layers` of a network that is fed pictures of `input` rows and
/// columns. `None` where it has not three axes (for one sample), and where neither the operators
/// near it nor the shape of the picture tell.
pub fn layout_of(layer: &Layer, layers: &[Layer], input: (usize, usize)) -> Option<Layout> {
    let &[a, b, c] = layer.shape.as_slice() else { return None };
    by_operators(layer, layers).or_else(|| {
        // The grid of a feature map has the proportions of the picture, but for one cell.
        let (height, width) = input;
        let fits = |rows: usize, columns: usize| {
            (rows * width).abs_diff(columns * height) <= height.max(width)
        };
        match (fits(b, c), fits(a, b)) {
            (true, false) => Some(Layout::ChannelsFirst),
            (false, true) => Some(Layout::ChannelsLast),
            _ => None,
        }
    })
}

/// The layout that the nearest telling operator gives `layer`.
fn by_operators(layer: &Layer, layers: &[Layer]) -> Option<Layout> {
    let mut seen = HashSet::from([layer.name.as_str()]);
    // With each layer, whether its channels are at the other end than those of the first.
    let mut open = VecDeque::from([(layer, false)]);
    while let Some((at, turned)) = open.pop_front() {
        if let Some(found) = said_by_operator(at, layers).or_else(|| said_by_mean(at, layers)) {
            return Some(if turned { other(found) } else { found });
        }
        if seen.len() > MOST_STEPS {
            return None;
        }
        let read = layers.iter().filter(|l| reads(at, l)).map(|l| (l, at, l));
        let readers = layers.iter().filter(|l| reads(l, at)).map(|l| (l, l, at));
        for (next, reader, source) in read.chain(readers) {
            if let Some(turns) = turns(reader, source, layers)
                && seen.insert(&next.name)
            {
                open.push_back((next, turned != turns));
            }
        }
    }
    None
}

fn reads(reader: &Layer, source: &Layer) -> bool {
    source.depends_on_input && reader.reads.contains(&source.name)
}

fn other(layout: Layout) -> Layout {
    match layout {
        Layout::ChannelsFirst => Layout::ChannelsLast,
        Layout::ChannelsLast => Layout::ChannelsFirst,
    }
}

/// What the operator that computes `layer` says of its axes.
fn said_by_operator(layer: &Layer, layers: &[Layer]) -> Option<Layout> {
    match layer.op.as_str() {
        "Input"
        | "Conv"
        | "ConvTranspose"
        | "QLinearConv"
        | "DeformConv"
        | "MaxPool"
        | "AveragePool"
        | "LpPool"
        | "GlobalAveragePool"
        | "GlobalMaxPool"
        | "LRN"
        | "BatchNormalization"
        | "InstanceNormalization"
        | "GroupNormalization"
        | "DepthToSpace"
        | "SpaceToDepth" => Some(Layout::ChannelsFirst),
        "LayerNormalization" | "SimplifiedLayerNormalization" | "RMSNormalization" => {
            Some(Layout::ChannelsLast)
        }
        "MatMul" if has_weight(layer, layers) => Some(Layout::ChannelsLast),
        _ => None,
    }
}

/// What a mean over rows and columns, if `layer` is put through one, says of its axes.
fn said_by_mean(layer: &Layer, layers: &[Layer]) -> Option<Layout> {
    let &[first, _, last] = layer.shape.as_slice() else { return None };
    let mean = layers.iter().find(|l| {
        matches!(l.op.as_str(), "ReduceMean" | "ReduceMax" | "ReduceSum") && reads(l, layer)
    })?;
    match *mean.shape.as_slice() {
        [n] | [n, 1, 1] if n == first && n != last => Some(Layout::ChannelsFirst),
        [n] | [1, 1, n] if n == last && n != first => Some(Layout::ChannelsLast),
        _ => None,
    }
}

/// Whether the second factor of a product is a weight: then its first factor's last axis is summed
/// over, which is the channels'. Products of two layers are attention.
fn has_weight(layer: &Layer, layers: &[Layer]) -> bool {
    let Some(second) = layer.reads.get(1) else { return false };
    !layers.iter().any(|l| l.name == *second && l.depends_on_input)
}

/// Whether `reader` moves the channels of `source` to the other end; `None` where it does not say
/// what becomes of the axes.
fn turns(reader: &Layer, source: &Layer, layers: &[Layer]) -> Option<bool> {
    let (&[a, b, c], &[x, _, z]) = (source.shape.as_slice(), reader.shape.as_slice()) else {
        return None;
    };
    match reader.op.as_str() {
        "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Einsum" | "Gather"
        | "GatherElements" | "GatherND" | "ScatterND" | "Attention" | "MultiHeadAttention" => None,
        "MatMul" if !has_weight(reader, layers) => None,
        "Transpose" if reader.shape == source.shape => (a != b || b != c).then_some(false),
        // An extent that occurs once shows where its axis went.
        "Transpose" => {
            let turned = (a != b && a != c && z == a) || (c != a && c != b && x == c);
            turned.then_some(true)
        }
        _ => Some(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(name: &str, op: &str, shape: &[usize], reads: &[&str]) -> Layer {
        Layer {
            name: name.into(),
            op: op.into(),
            shape: shape.to_vec(),
            is_output: false,
            depends_on_input: true,
            reads: reads.iter().map(|&r| r.into()).collect(),
        }
    }

    fn layout(layers: &[Layer], name: &str) -> Option<Layout> {
        let at = layers.iter().find(|l| l.name == name).unwrap();
        layout_of(at, layers, (224, 224))
    }

    #[test]
    fn operators_near_a_layer_say_where_its_channels_are() {
        // A convolution between transposes, as files of TensorFlow have it; nothing is square.
        let layers = [
            layer("x", "Input", &[3, 32, 24], &[]),
            layer("conv", "Conv", &[8, 16, 12], &["x", "w"]),
            layer("last", "Transpose", &[16, 12, 8], &["conv"]),
            layer("cast", "Cast", &[16, 12, 8], &["last"]),
            layer("relu", "Relu", &[16, 12, 8], &["cast"]),
            layer("first", "Transpose", &[8, 16, 12], &["relu"]),
        ];
        for (name, right) in [
            ("conv", Layout::ChannelsFirst),
            ("relu", Layout::ChannelsLast),
            ("first", Layout::ChannelsFirst),
        ] {
            assert_eq!(layout(&layers, name), Some(right), "{name}");
        }
    }

    #[test]
    fn a_norm_a_product_with_weights_and_a_mean_show_the_last_axis() {
        let layers = [
            layer("grid", "Reshape", &[7, 7, 7], &["tokens"]),
            layer("sum", "Add", &[7, 7, 7], &["grid", "skip"]),
            layer("norm", "LayerNormalization", &[7, 7, 7], &["sum", "gamma", "beta"]),
        ];
        assert_eq!(layout(&layers, "sum"), Some(Layout::ChannelsLast));
        let layers = [
            layer("grid", "Reshape", &[9, 5, 12], &["tokens"]),
            layer("product", "MatMul", &[9, 5, 20], &["grid", "weight"]),
            layer("other", "Reshape", &[12, 9, 5], &["tokens"]),
            layer("mean", "ReduceMean", &[12], &["other"]),
        ];
        assert_eq!(layout(&layers, "grid"), Some(Layout::ChannelsLast));
        assert_eq!(layout(&layers, "other"), Some(Layout::ChannelsFirst));
    }

    #[test]
    fn where_no_operator_tells_the_picture_does_or_nobody() {
        let alone = |shape: &[usize]| [layer("map", "Reshape", shape, &["x"])];
        assert_eq!(layout(&alone(&[7, 7, 768]), "map"), Some(Layout::ChannelsLast));
        assert_eq!(layout(&alone(&[768, 7, 7]), "map"), Some(Layout::ChannelsFirst));
        assert_eq!(layout(&alone(&[8, 8, 8]), "map"), None);
        assert_eq!(layout(&alone(&[49, 768]), "map"), None);
        // Attention says nothing: [heads, tokens, tokens].
        let layers = [
            layer("q", "Reshape", &[4, 9, 9], &["x"]),
            layer("k", "Reshape", &[4, 9, 9], &["x"]),
            layer("weights", "MatMul", &[4, 9, 9], &["q", "k"]),
        ];
        assert_eq!(by_operators(&layers[2], &layers), None);
    }
}
