//! The ONNX file: reading it, checking it, and asking about its graph. Nothing here runs it.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use fame_core::{
    Error, LoadRequest, Result, data::read_ordinary, registry::quietly, store::kind_of_file,
};
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, TensorProto};
use tract_onnx::tract_core::internal::{Framework, Tensor, TractError, TractResult, format_err};

use super::attributes::check_attributes;
use super::control_flow::write_out_loops;
use super::feed::Feed;
use super::fused::take_apart;
use super::inline::inline_functions;
use super::number_types::to_f32;
use super::random::check_random;
use super::repair::repair;

/// A model file that passed every check that needs no execution.
pub(in crate::backends) struct OnnxFile {
    /// The decoded file.
    pub(in crate::backends) proto: ModelProto,
    /// Where external weights are looked for.
    pub(in crate::backends) folder: Option<String>,
    /// The file's path, for messages.
    pub(in crate::backends) path: String,
    /// Remarks about what was changed while it was read, for the record.
    pub(in crate::backends) notes: Vec<String>,
}

/// Runs a piece of tract, which trusts its input more than we can, and turns its panic into an
/// error.
pub(in crate::backends) fn guarded<T>(
    what: &str,
    run: impl FnOnce() -> TractResult<T>,
) -> TractResult<T> {
    quietly(run).unwrap_or_else(|said| Err(format_err!("{what}: {said}")))
}

/// The most nodes that a graph may have, and the most weights: several times what published
/// networks have. The time that tract takes for an import grows with the square of both.
pub(super) const MOST_NODES: usize = 20_000;

impl OnnxFile {
    /// Reads and checks `path`.
    pub(in crate::backends) fn read(path: &Path) -> Result<Self> {
        Self::read_for(&LoadRequest::new(path))
    }

    /// Reads and checks the file of `request`, with what it is fed put in front of it.
    pub(in crate::backends) fn read_for(request: &LoadRequest) -> Result<Self> {
        let path = request.file.as_path();
        let shown = path.display().to_string();
        let bytes = read_ordinary(path)?;
        if bytes.is_empty() {
            return Err(
                refusal(&shown, "it is empty").with_help("Fetch or export the model again.")
            );
        }
        let decoded =
            guarded("decoding", || tract_onnx::onnx().proto_model_for_read(&mut bytes.as_slice()));
        let mut proto = decoded.map_err(|_| {
            let Some((kind, way)) = kind_of_file(path) else {
                return refusal(&shown, "it is not an ONNX model, or it is cut short")
                    .with_help("Compare its size and sha256 with the model's manifest, and fetch or export it again.");
            };
            refusal(&shown, format!("it is not an ONNX model, but {kind}")).with_help(way)
        })?;
        let mut notes = vec![];
        if let Some(graph) = proto.graph.as_mut() {
            check_data_files(graph, path)?;
            let mut feed = Feed::of(graph, request)?;
            notes.append(&mut feed.notes);
            feed.write(graph);
        }
        let folder = path.parent().and_then(Path::to_str).map(str::to_owned);
        let mut file = Self::check(proto, folder, shown)?;
        file.notes.splice(0..0, notes);
        Ok(file)
    }

    /// Checks a decoded model.
    pub(in crate::backends) fn check(
        proto: ModelProto,
        folder: Option<String>,
        path: String,
    ) -> Result<Self> {
        let mut file = Self { proto, folder, path, notes: vec![] };
        // As it is written, and with its loops and functions written out.
        file.check_count()?;
        file.simplify()?;
        file.check_count()?;
        if file.proto.graph.as_ref().is_none_or(|graph| graph.node.is_empty()) {
            return Err(file
                .refuse("it holds no graph")
                .with_help("Is it an ONNX model? Fetch or export it again."));
        }
        file.check_weights()?;
        file.data_input()?;
        Ok(file)
    }

    /// Refuses a graph that would take hours to import.
    fn check_count(&self) -> Result<()> {
        let graph = self.graph();
        let counts = [("nodes", graph.node.len()), ("weights", graph.initializer.len())];
        let Some((what, count)) = counts.into_iter().find(|(_, count)| *count > MOST_NODES) else {
            return Ok(());
        };
        let message = format!(
            "cannot load `{}`: it has {count} {what}, and {MOST_NODES} are the most that are \
             imported.",
            self.path
        );
        Err(Error::new("fame::model::too_large", message)
            .with_help("Simplify the model (onnxsim, onnxslim), or export a part of it."))
    }

    /// Writes out functions, turns every float into `f32`, and repairs what the import misreads.
    fn simplify(&mut self) -> Result<()> {
        /// The newest version of ONNX's operators that was looked through.
        const NEWEST: u64 = 28;
        let opset = self.opset("");
        if opset > NEWEST {
            return Err(self
                .refuse(format_args!(
                    "it is written in opset {opset}, and {NEWEST} is the newest known"
                ))
                .with_help("Export the model with an older opset."));
        }
        let refused = |file: &Self, e: &TractError| file.refuse(format_args!("{e}"));
        match inline_functions(&mut self.proto) {
            Ok(0) => {}
            Ok(n) => {
                self.notes
                    .push(format!("{n} call(s) of the file's own functions were written out"));
            }
            Err(e) => return Err(refused(self, &e)),
        }
        let Some(graph) = self.proto.graph.as_mut() else { return Ok(()) };
        self.notes.extend(super::quantized::write_out(graph));
        if let Err(e) = check_attributes(graph).and_then(|()| check_random(graph)) {
            return Err(refused(self, &e));
        }
        match to_f32(graph) {
            Ok(notes) => self.notes.extend(notes),
            Err(e) => return Err(refused(self, &e)),
        }
        let Some(graph) = self.proto.graph.as_mut() else { return Ok(()) };
        if let Err(e) = write_out_loops(graph, opset) {
            return Err(refused(self, &e));
        }
        let Some(graph) = self.proto.graph.as_mut() else { return Ok(()) };
        if let Err(e) = take_apart(graph, opset) {
            return Err(refused(self, &e));
        }
        if let Some(graph) = self.proto.graph.as_mut() {
            repair(graph, opset);
        }
        Ok(())
    }

    /// The version of the operator set of `domain` that the file imports; 1 where it imports none.
    /// ONNX's own domain has two names.
    pub(in crate::backends) fn opset(&self, domain: &str) -> u64 {
        let plain = |name: &str| if name == "ai.onnx" { String::new() } else { name.to_owned() };
        let sets = &self.proto.opset_import;
        let set = sets.iter().find(|set| plain(&set.domain) == plain(domain));
        set.and_then(|set| u64::try_from(set.version).ok()).unwrap_or(1)
    }

    /// The graph; [`OnnxFile::check`] made sure there is one.
    pub(in crate::backends) fn graph(&self) -> &GraphProto {
        static EMPTY: std::sync::LazyLock<GraphProto> =
            std::sync::LazyLock::new(GraphProto::default);
        self.proto.graph.as_ref().unwrap_or(&EMPTY)
    }

    /// Bytes of all weights as `f32`; what no memory can hold counts as the most there is.
    pub(in crate::backends) fn weight_bytes(&self) -> usize {
        let bytes = |tensor: &TensorProto| {
            let dims = tensor.dims.iter().map(|&d| usize::try_from(d).unwrap_or(0));
            dims.fold(size_of::<f32>(), usize::saturating_mul)
        };
        self.graph().initializer.iter().map(bytes).fold(0, usize::saturating_add)
    }

    /// An error about this file.
    pub(in crate::backends) fn refuse(&self, why: impl std::fmt::Display) -> Error {
        refusal(&self.path, why)
    }

    /// The name of the one input that is not a weight.
    pub(in crate::backends) fn data_input(&self) -> Result<&str> {
        let graph = self.graph();
        let weights: HashSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
        let inputs: Vec<&str> = graph
            .input
            .iter()
            .map(|input| input.name.as_str())
            .filter(|name| !weights.contains(name))
            .collect();
        match *inputs {
            [input] => Ok(input),
            [] => Err(self.refuse("it has no input")),
            _ => Err(self
                .refuse(format_args!("it has {} inputs ({})", inputs.len(), inputs.join(", ")))
                .with_help("fame feeds one picture. Give the others a value in the manifest: `input: (…, fixed: { \"mask\": Fill(1) })`.")),
        }
    }

    /// Every constant of the graph by name: initializers and `Constant` nodes.
    pub(in crate::backends) fn constants(&self) -> HashMap<&str, &TensorProto> {
        let graph = self.graph();
        let nodes = graph.node.iter().filter(|n| n.op_type == "Constant").filter_map(|n| {
            let value = n.attribute.iter().find(|a| a.name == "value")?.t.as_ref()?;
            Some((n.output.first()?.as_str(), value))
        });
        graph.initializer.iter().map(|t| (t.name.as_str(), t)).chain(nodes).collect()
    }

    /// The values of a constant as `f32`, row-major.
    pub(in crate::backends) fn floats(&self, proto: &TensorProto) -> TractResult<Vec<f32>> {
        let tensor = self.tensor(proto)?;
        Ok(tensor.cast_to::<f32>()?.to_plain_array_view::<f32>()?.iter().copied().collect())
    }

    /// The values of a constant.
    pub(in crate::backends) fn tensor(&self, proto: &TensorProto) -> TractResult<Tensor> {
        tract_onnx::tensor::load_tensor(
            &tract_onnx::data_resolver::MmapDataResolver,
            proto,
            self.folder.as_deref(),
        )
    }

    /// Sizes agree with shapes (tract trusts them), and no weight is NaN. Infinity is a number
    /// here: masks are made of it, and what comes out is looked at when it is used.
    fn check_weights(&self) -> Result<()> {
        let attributes =
            self.graph().node.iter().flat_map(|n| {
                n.attribute.iter().filter_map(|a| a.t.as_ref().map(|t| (shown(n), t)))
            });
        let weights = self.graph().initializer.iter().map(|t| (format!("`{}`", t.name), t));
        for (name, tensor) in weights.chain(attributes) {
            if let Some(kind) = unreadable(tensor.data_type) {
                return Err(self
                    .refuse(format_args!(
                        "the weight {name} holds numbers of type {kind}, which fame cannot read"
                    ))
                    .with_help("Export the model with weights of 8 bits or more."));
            }
            if !has_right_size(tensor) {
                return Err(self
                    .refuse(format_args!(
                        "the weight {name} holds fewer or more values than its shape {:?} says",
                        tensor.dims
                    ))
                    .with_help("The file is damaged. Fetch or export it again."));
            }
            if !has_no_nan(tensor) {
                return Err(Error::new("fame::backend::not_finite", format!("`{}`: the weight {name} holds NaN.", self.path))
                    .with_help("Nothing computed with it would mean anything. Fetch or export the model again."));
            }
        }
        Ok(())
    }
}

/// The name of a node in backticks, or that of its first output where it has none.
pub(super) fn shown(node: &NodeProto) -> String {
    let name = if node.name.is_empty() { node.output.first() } else { Some(&node.name) };
    format!("`{}`", name.map_or("", String::as_str))
}

fn refusal(path: &str, why: impl std::fmt::Display) -> Error {
    Error::new("fame::backend::bad_model", format!("cannot load `{path}`: {why}."))
}

/// Bytes of one value in `raw_data`, for the types networks use.
fn width(kind: i32) -> Option<usize> {
    match DataType::try_from(kind).ok()? {
        DataType::Double | DataType::Int64 | DataType::Uint64 => Some(8),
        DataType::Float | DataType::Int32 | DataType::Uint32 => Some(4),
        DataType::Float16 | DataType::Bfloat16 | DataType::Int16 | DataType::Uint16 => Some(2),
        DataType::Bool | DataType::Int8 | DataType::Uint8 => Some(1),
        _ => None,
    }
}

/// Refuses a graph whose weights lie in a file that is not there, beside the model at `path`.
pub(in crate::backends) fn check_data_files(graph: &GraphProto, path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let places = graph.initializer.iter().flat_map(|weight| {
        weight.external_data.iter().filter(|entry| entry.key == "location").map(|e| &e.value)
    });
    let missing = places.map(|place| folder.join(place)).find(|file| !file.exists());
    missing.map_or(Ok(()), |file| {
        let why = format!("its weights lie in the file `{}`, which is not there", file.display());
        Err(refusal(&path.display().to_string(), why)
            .with_help("An exporter wrote it beside the model: copy both, and keep its name."))
    })
}

/// ONNX's name of a number type that is packed or of 8-bit floats, by its number; `None` for all
/// others.
fn unreadable(kind: i32) -> Option<&'static str> {
    /// From number 17 on.
    const NAMES: [&str; 10] = [
        "float8e4m3fn",
        "float8e4m3fnuz",
        "float8e5m2",
        "float8e5m2fnuz",
        "uint4",
        "int4",
        "float4e2m1",
        "float8e8m0",
        "uint2",
        "int2",
    ];
    NAMES.get(usize::try_from(kind.checked_sub(17)?).ok()?).copied()
}

fn has_right_size(tensor: &TensorProto) -> bool {
    let volume =
        tensor.dims.iter().try_fold(1usize, |n, &d| n.checked_mul(usize::try_from(d).ok()?));
    let Some(volume) = volume else { return false };
    if tensor.data_location == Some(DataLocation::External as i32) {
        return true;
    }
    if !tensor.raw_data.is_empty() {
        return width(tensor.data_type).and_then(|w| w.checked_mul(volume))
            == Some(tensor.raw_data.len());
    }
    let held = match DataType::try_from(tensor.data_type) {
        Ok(DataType::Float) => tensor.float_data.len(),
        Ok(DataType::Double) => tensor.double_data.len(),
        Ok(DataType::Int64 | DataType::Uint64) => {
            tensor.int64_data.len().max(tensor.uint64_data.len())
        }
        Ok(DataType::String) => tensor.string_data.len(),
        _ => tensor.int32_data.len(),
    };
    held == volume
}

fn has_no_nan(tensor: &TensorProto) -> bool {
    if tensor.data_type != DataType::Float as i32 {
        return true;
    }
    let raw = tensor
        .raw_data
        .chunks_exact(4)
        .all(|b| !f32::from_le_bytes([b[0], b[1], b[2], b[3]]).is_nan());
    raw && !tensor.float_data.iter().any(|v| v.is_nan())
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{small, weight};
    use super::*;

    #[test]
    fn a_missing_file_of_weights_is_named() {
        use prost::Message as _;
        use tract_onnx::pb::StringStringEntryProto;

        let mut proto = small();
        let place = StringStringEntryProto { key: "location".into(), value: "net.bin".into() };
        let outside = TensorProto {
            data_location: Some(DataLocation::External as i32),
            float_data: vec![],
            external_data: vec![place],
            ..weight("w4", &[5, 4])
        };
        proto.graph.as_mut().unwrap().initializer.push(outside);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("net.onnx");
        std::fs::write(&path, proto.encode_to_vec()).unwrap();
        let refused = OnnxFile::read(&path).err().unwrap();
        assert!(refused.message.contains("net.bin`, which is not there"), "{refused}");
    }

    #[test]
    fn a_graph_of_more_nodes_than_are_imported_is_refused_at_once() {
        let mut proto = small();
        let graph = proto.graph.as_mut().unwrap();
        let relu = graph.node.iter().find(|node| node.op_type == "Relu").unwrap().clone();
        graph.node.resize(MOST_NODES + 1, relu);
        let refused = OnnxFile::check(proto, None, "net.onnx".into()).err().unwrap();
        assert_eq!(refused.code, "fame::model::too_large");
        assert!(refused.message.contains("it has 20001 nodes, and 20000 are"), "{refused}");
    }

    #[test]
    fn a_panic_of_tracts_is_an_error_with_what_it_said() {
        let error = guarded::<()>("compiling", || panic!("attempt to divide by {}", 0));
        assert_eq!(error.unwrap_err().to_string(), "compiling: attempt to divide by 0");
    }

    #[test]
    fn weights_of_four_bits_are_read() {
        let mut proto = small();
        let packed = TensorProto {
            data_type: 22,
            raw_data: vec![0x21],
            float_data: vec![],
            ..weight("w4", &[2])
        };
        proto.graph.as_mut().unwrap().initializer.push(packed);
        assert!(OnnxFile::check(proto, None, "net.onnx".into()).is_ok());
    }
}
