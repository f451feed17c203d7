//! What a file is fed: a picture as `[1, channels, rows, columns]`, whatever axes the file gives
//! its input, and constants for all other inputs.
//!
//! The difference is written into the graph, so that every engine sees the same and gradients reach
//! the picture: nodes in front of the file's input, and weights in place of the others.

use std::io::Read as _;
use std::path::Path;

use fame_core::data::{FixedInput, Layout, open_ordinary};
use fame_core::{Error, LoadRequest, Result};
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension::Value as Dim};
use tract_onnx::pb::type_proto::Value;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto, ValueInfoProto};

use crate::numpy::Array;

/// More values than any constant input has.
const MOST_VALUES: usize = 1 << 26;

/// The additions to a graph.
#[derive(Default)]
pub(in crate::backends) struct Feed {
    /// The input that takes the place of the file's, and its name there.
    pub(in crate::backends) input: Option<(String, ValueInfoProto)>,
    /// Nodes from the new input to the file's, to stand before all others.
    pub(in crate::backends) nodes: Vec<NodeProto>,
    /// Weights: the fixed inputs, and what the nodes need.
    pub(in crate::backends) weights: Vec<TensorProto>,
    /// Remarks for the record.
    pub(in crate::backends) notes: Vec<String>,
}

impl Feed {
    /// What `request` asks to be put in front of `graph`.
    ///
    /// # Errors
    /// A fixed input that the file does not have, or values that do not fit it.
    pub(in crate::backends) fn of(graph: &GraphProto, request: &LoadRequest) -> Result<Self> {
        let refuse = |why: String| {
            let text = format!("cannot load `{}`: {why}.", request.file.display());
            Error::new("fame::backend::bad_model", text)
        };
        let mut feed = Self::default();
        let is_weight = |name: &str| graph.initializer.iter().any(|t| t.name == name);
        let inputs: Vec<&ValueInfoProto> =
            graph.input.iter().filter(|input| !is_weight(&input.name)).collect();
        for (name, value) in &request.fixed {
            let Some(input) = inputs.iter().find(|input| input.name == *name) else {
                let names: Vec<String> = inputs.iter().map(|i| format!("`{}`", i.name)).collect();
                let text = format!(
                    "`input.fixed` names `{name}`, but its inputs are {}",
                    names.join(", ")
                );
                return Err(refuse(text));
            };
            feed.weights.push(
                fixed(input, value).map_err(|why| refuse(format!("its input `{name}` {why}")))?,
            );
            feed.notes.push(format!("input `{name}` is fixed by the manifest"));
        }
        let open: Vec<&&ValueInfoProto> =
            inputs.iter().filter(|input| !request.fixed.contains_key(&input.name)).collect();
        if let [input] = open[..] {
            feed.turn(input, request);
        }
        Ok(feed)
    }

    /// Puts a Transpose and a Reshape in front of `input` where its axes are others than
    /// `[1, channels, rows, columns]`.
    fn turn(&mut self, input: &ValueInfoProto, request: &LoadRequest) {
        let Some(&[channels, rows, columns]) = request.input_shape.as_deref() else { return };
        let is_last = request.layout == Layout::ChannelsLast;
        let has_batch = axes(input) != Some(3);
        if !is_last && has_batch {
            return;
        }
        let fed = format!("{} (fed)", input.name);
        let mut from = fed.clone();
        if is_last {
            let to = if has_batch {
                input.name.clone()
            } else {
                format!("{} (channels last)", input.name)
            };
            self.nodes.push(node("Transpose", vec![from], &to, Some(("perm", vec![0, 2, 3, 1]))));
            self.notes.push(format!(
                "input `{}` is channels-last; a Transpose was put in front of it",
                input.name
            ));
            from = to;
        }
        if !has_batch {
            let shape = if is_last { [rows, columns, channels] } else { [channels, rows, columns] };
            let name = format!("{} (shape)", input.name);
            self.weights.push(integers(&name, &shape));
            self.nodes.push(node("Reshape", vec![from, name], &input.name, None));
            self.notes.push(format!(
                "input `{}` has no batch axis; a Reshape was put in front of it",
                input.name
            ));
        }
        self.input =
            Some((input.name.clone(), with_shape(input, fed, [1, channels, rows, columns])));
    }

    /// Writes the additions into `graph`.
    pub(in crate::backends) fn write(self, graph: &mut GraphProto) {
        let fixed = |name: &str| self.weights.iter().any(|weight| weight.name == name);
        graph.input.retain(|input| !fixed(&input.name));
        if let Some((name, input)) = self.input {
            for old in graph.input.iter_mut().filter(|old| old.name == name) {
                old.clone_from(&input);
            }
        }
        graph.initializer.extend(self.weights);
        graph.node.splice(0..0, self.nodes);
    }
}

/// The number of axes of `input`, if the file says it.
fn axes(input: &ValueInfoProto) -> Option<usize> {
    let Value::TensorType(tensor) = input.r#type.as_ref()?.value.as_ref()?;
    Some(tensor.shape.as_ref()?.dim.len())
}

/// The value of `input` as a weight.
fn fixed(input: &ValueInfoProto, value: &FixedInput) -> std::result::Result<TensorProto, String> {
    let kind = input.r#type.as_ref().and_then(|kind| kind.value.as_ref());
    let Some(Value::TensorType(tensor)) = kind else { return Err("is no tensor".to_owned()) };
    let declared: Vec<Option<i64>> = match &tensor.shape {
        None => return Err("has no declared shape".to_owned()),
        Some(shape) => shape.dim.iter().map(extent).collect(),
    };
    let known: i64 = declared.iter().flatten().product();
    let (dims, values) = match value {
        FixedInput::Fill(value) => {
            let dims: Vec<i64> = declared.iter().map(|d| d.unwrap_or(1)).collect();
            let count = usize::try_from(known).ok().filter(|n| *n <= MOST_VALUES);
            (dims, vec![*value; count.ok_or("is too large")?])
        }
        FixedInput::Values(values) => {
            let mut left = Some(values.len() as i64 / known.max(1));
            let dims: Vec<i64> =
                declared.iter().map(|d| d.or_else(|| left.take()).unwrap_or(1)).collect();
            if dims.iter().product::<i64>() != values.len() as i64 {
                return Err(format!(
                    "has shape {dims:?}, which {} values do not fill",
                    values.len()
                ));
            }
            (dims, values.clone())
        }
        FixedInput::File(path) => array(path, &declared)?,
    };
    weight(&input.name, dims, tensor.elem_type, &values)
}

/// The shape and the values of the array in the file `path`, which must have the extents that the
/// model declares.
fn array(
    path: &Path,
    declared: &[Option<i64>],
) -> std::result::Result<(Vec<i64>, Vec<f32>), String> {
    let about = |why: String| format!("cannot be fixed: `{}` {why}", path.display());
    let bytes = read_ordinary(path).map_err(|e| about(format!("cannot be read: {e}")))?;
    let array = Array::read(&bytes).map_err(about)?;
    let dims: Vec<i64> = array.shape.iter().map(|extent| *extent as i64).collect();
    let fits = dims.len() == declared.len()
        && dims.iter().zip(declared).all(|(given, wanted)| wanted.is_none_or(|w| w == *given));
    if !fits {
        let wanted: Vec<String> =
            declared.iter().map(|d| d.map_or("?".to_owned(), |d| d.to_string())).collect();
        let wanted = wanted.join(", ");
        return Err(about(format!("has shape {dims:?}, and the input [{wanted}]")));
    }
    if array.values.len() > MOST_VALUES || array.values.iter().any(|v| v.is_nan()) {
        return Err(about("holds too many values, or one that is no number".to_owned()));
    }
    Ok((dims, array.values.iter().map(|v| *v as f32).collect()))
}

/// The bytes of an ordinary file.
fn read_ordinary(path: &Path) -> std::result::Result<Vec<u8>, String> {
    /// [`MOST_VALUES`] in the widest type, and a header.
    const MOST_BYTES: u64 = (MOST_VALUES as u64) * 8 + 4096;
    let file = open_ordinary(path).map_err(|e| e.message)?;
    let mut bytes = Vec::new();
    file.take(MOST_BYTES).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    Ok(bytes)
}

fn extent(dim: &Dimension) -> Option<i64> {
    match dim.value {
        Some(Dim::DimValue(extent)) if extent > 0 => Some(extent),
        _ => None,
    }
}

fn weight(
    name: &str,
    dims: Vec<i64>,
    kind: i32,
    values: &[f32],
) -> std::result::Result<TensorProto, String> {
    let mut tensor =
        TensorProto { name: name.to_owned(), dims, data_type: kind, ..TensorProto::default() };
    match DataType::try_from(kind) {
        Ok(DataType::Float) => tensor.float_data = values.to_vec(),
        Ok(DataType::Double) => tensor.double_data = values.iter().map(|v| f64::from(*v)).collect(),
        Ok(DataType::Int64) => tensor.int64_data = values.iter().map(|v| *v as i64).collect(),
        Ok(
            DataType::Int32
            | DataType::Bool
            | DataType::Uint8
            | DataType::Int8
            | DataType::Uint16
            | DataType::Int16,
        ) => {
            tensor.int32_data = values.iter().map(|v| *v as i32).collect();
        }
        _ => {
            return Err(
                "has a number type that cannot be fixed; f32, f64, bool and whole numbers \
                        of 8 to 64 bits can"
                    .to_owned(),
            );
        }
    }
    Ok(tensor)
}

fn integers(name: &str, values: &[usize]) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: vec![values.len() as i64],
        data_type: DataType::Int64 as i32,
        int64_data: values.iter().map(|v| *v as i64).collect(),
        ..TensorProto::default()
    }
}

fn node(op: &str, inputs: Vec<String>, output: &str, ints: Option<(&str, Vec<i64>)>) -> NodeProto {
    let attribute = ints.map(|(name, ints)| AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Ints as i32,
        ints,
        ..AttributeProto::default()
    });
    NodeProto {
        op_type: op.to_owned(),
        name: format!("{op} in front of {output}"),
        input: inputs,
        output: vec![output.to_owned()],
        attribute: attribute.into_iter().collect(),
        ..NodeProto::default()
    }
}

/// `input` under another name and with another shape.
fn with_shape(input: &ValueInfoProto, name: String, shape: [usize; 4]) -> ValueInfoProto {
    let mut fed = ValueInfoProto { name, ..input.clone() };
    if let Some(Value::TensorType(tensor)) = fed.r#type.as_mut().and_then(|t| t.value.as_mut()) {
        let dim = |extent: usize| Dimension {
            value: Some(Dim::DimValue(extent as i64)),
            ..Dimension::default()
        };
        tensor.shape.get_or_insert_default().dim = shape.map(dim).to_vec();
    }
    fed
}

#[cfg(test)]
mod tests {
    use fame_core::contract::Backend as _;
    use fame_core::{GradientPlace, LayerCotangent, Taps, Tensor};
    use npyz::WriterBuilder as _;
    use prost::Message as _;

    use super::*;
    use crate::backends::onnx::fixtures::{batch, model, node as plain};
    use crate::backends::tract::Tract;

    /// Adds `bias` to a picture of two channels of 3×4 pixels, whose axes have these extents.
    fn file(axes: &[i64], folder: &std::path::Path) -> std::path::PathBuf {
        let mut proto = model(vec![plain("Add", &["x", "bias"], "y", &[])], vec![], "y");
        let graph = proto.graph.as_mut().unwrap();
        let shaped = |name: &str, axes: &[i64]| {
            let mut value = graph.input[0].clone();
            let Some(Value::TensorType(tensor)) = value.r#type.as_mut().unwrap().value.as_mut()
            else {
                panic!()
            };
            tensor.shape.as_mut().unwrap().dim = axes
                .iter()
                .map(|d| Dimension { value: Some(Dim::DimValue(*d)), ..Dimension::default() })
                .collect();
            ValueInfoProto { name: name.into(), ..value }
        };
        let (input, bias) = (shaped("x", axes), shaped("bias", &[1]));
        graph.input = vec![input, bias];
        graph.output[0].r#type = None;
        let path = folder.join("net.onnx");
        std::fs::write(&path, proto.encode_to_vec()).unwrap();
        path
    }

    #[test]
    fn a_fixed_input_is_read_from_a_file_that_fits() {
        let folder = tempfile::tempdir().unwrap();
        let net = file(&[1, 2, 3, 4], folder.path());
        let load = |fixed: &str| {
            let fixed = [("bias".to_owned(), FixedInput::File(folder.path().join(fixed)))].into();
            let request = LoadRequest::new(&net)
                .with_input_shape([2, 3, 4])
                .with_inputs(Layout::ChannelsFirst, fixed);
            Tract::default().load(&request)
        };
        let write = |name: &str, values: &[f64]| {
            let file = std::fs::File::create(folder.path().join(name)).unwrap();
            let options = npyz::WriteOptions::new().default_dtype().shape(&[values.len() as u64]);
            let mut writer = options.writer(file).begin_nd().unwrap();
            writer.extend(values.iter().copied()).unwrap();
            writer.finish().unwrap();
        };
        write("ten.npy", &[10.0]);
        let x = batch(&[1, 2, 3, 4], 0);
        let network = load("ten.npy").unwrap();
        let y = network.forward(&x, &Taps::of(["y"])).unwrap().output("y").unwrap();
        assert!(y.data().iter().zip(x.data()).all(|(y, x)| (y - x - 10.0).abs() < 1e-5));
        write("two.npy", &[1.0, 2.0]);
        write("nan.npy", &[f64::NAN]);
        std::fs::write(folder.path().join("text.npy"), "no array").unwrap();
        for (name, why) in [
            ("two.npy", "has shape [2], and the input [1]"),
            ("nan.npy", "one that is no number"),
            ("text.npy", "is not a .npy file"),
            ("none.npy", "cannot be read"),
        ] {
            let told = load(name).err().unwrap().message;
            assert!(told.contains("`bias`") && told.contains(name) && told.contains(why), "{told}");
        }
    }

    #[test]
    fn a_picture_is_fed_channels_first_whatever_the_files_axes_are() {
        let folder = tempfile::tempdir().unwrap();
        let x = batch(&[1, 2, 3, 4], 0);
        // Where value [c, r, k] of the picture lies in the file's layout.
        let last = |c: usize, r: usize, k: usize| (r * 4 + k) * 2 + c;
        for (axes, layout) in [
            (&[1, 3, 4, 2][..], Layout::ChannelsLast),
            (&[3, 4, 2][..], Layout::ChannelsLast),
            (&[2, 3, 4][..], Layout::ChannelsFirst),
            (&[1, 2, 3, 4][..], Layout::ChannelsFirst),
        ] {
            let fixed = [("bias".to_owned(), FixedInput::Fill(10.0))].into();
            let request = LoadRequest::new(file(axes, folder.path()))
                .with_input_shape([2, 3, 4])
                .with_inputs(layout, fixed);
            let mut networks = vec![Tract::default().load(&request).unwrap()];
            networks.extend(crate::backends::ort::present().map(|o| o.load(&request).unwrap()));
            for network in &networks {
                assert_eq!(network.input_shape(), [2, 3, 4], "{axes:?}");
                let y = network.forward(&x, &Taps::of(["y"])).unwrap().output("y").unwrap();
                for (at, value) in x.data().iter().enumerate() {
                    let (c, r, k) = (at / 12, at / 4 % 3, at % 4);
                    let place = if layout == Layout::ChannelsLast { last(c, r, k) } else { at };
                    assert!((y.data()[place] - value - 10.0).abs() < 1e-5, "{axes:?}");
                }
            }
            let taps = Taps::of(["y"]).with_gradient(GradientPlace::Input);
            let pass = networks[0].forward(&x, &taps).unwrap();
            let shape = pass.output("y").unwrap().shape().to_vec();
            let mut cotangent = Tensor::zeros(shape);
            cotangent.data_mut()[1] = 1.0;
            let seed = LayerCotangent { layer: "y".into(), cotangent };
            let gradient = pass.gradient(&[seed]).unwrap().remove(0);
            let place = if layout == Layout::ChannelsLast { 12 } else { 1 };
            assert_eq!(gradient.data().iter().position(|g| *g != 0.0), Some(place), "{axes:?}");
        }
    }

    #[test]
    fn fixed_inputs_that_do_not_fit_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(&[1, 2, 3, 4], folder.path());
        let refused = |name: &str, value: FixedInput| {
            let request = LoadRequest::new(&path)
                .with_input_shape([2, 3, 4])
                .with_inputs(Layout::ChannelsFirst, [(name.to_owned(), value)].into());
            Tract::default().load(&request).err().unwrap().message
        };
        let unknown = refused("biass", FixedInput::Fill(0.0));
        assert!(unknown.contains("names `biass`, but its inputs are `x`, `bias`"), "{unknown}");
        let long = refused("bias", FixedInput::Values(vec![1.0, 2.0]));
        assert!(long.contains("which 2 values do not fill"), "{long}");
    }
}
