//! Weights that lie beside an ONNX file, in files of their own (ONNX calls them external data).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use fame_core::{Result, data::read_ordinary};
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, TensorProto};
use tract_onnx::tract_core::internal::Framework;

use super::file::guarded;

/// Every file that loading the ONNX file `path` reads: itself, then each file with weights, sorted.
/// What is not there, or no ONNX file, is left to the loading.
///
/// # Errors
/// When the file cannot be read.
pub(in crate::backends) fn files_of(path: &Path) -> Result<Vec<PathBuf>> {
    let bytes = read_ordinary(path)?;
    let mut all = vec![path.to_owned()];
    let decoded =
        guarded("decoding", || tract_onnx::onnx().proto_model_for_read(&mut bytes.as_slice()));
    if let Ok(proto) = decoded {
        let folder = path.parent().unwrap_or(Path::new("."));
        let named = locations(&proto).into_iter().map(|location| folder.join(location));
        all.extend(named.filter(|file| file.exists()));
    }
    Ok(all)
}

/// The names of all files with weights, as the model gives them.
fn locations(proto: &ModelProto) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    proto.graph.iter().for_each(|graph| of_graph(graph, &mut found));
    proto.functions.iter().for_each(|function| of_nodes(&function.node, &mut found));
    found
}

fn of_graph(graph: &GraphProto, found: &mut BTreeSet<String>) {
    graph.initializer.iter().for_each(|tensor| of_tensor(tensor, found));
    for sparse in &graph.sparse_initializer {
        sparse.values.iter().chain(&sparse.indices).for_each(|tensor| of_tensor(tensor, found));
    }
    of_nodes(&graph.node, found);
}

fn of_nodes(nodes: &[NodeProto], found: &mut BTreeSet<String>) {
    for attribute in nodes.iter().flat_map(|node| &node.attribute) {
        attribute.t.iter().chain(&attribute.tensors).for_each(|tensor| of_tensor(tensor, found));
        attribute.g.iter().chain(&attribute.graphs).for_each(|graph| of_graph(graph, found));
    }
}

fn of_tensor(tensor: &TensorProto, found: &mut BTreeSet<String>) {
    let location = tensor.external_data.iter().find(|entry| entry.key == "location");
    found.extend(location.map(|entry| entry.value.clone()));
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use tract_onnx::pb::{AttributeProto, StringStringEntryProto};

    use super::*;
    use crate::backends::onnx::fixtures::{node, weight};

    fn elsewhere(name: &str, location: &str) -> TensorProto {
        let entry = |key: &str, value: &str| StringStringEntryProto {
            key: key.into(),
            value: value.into(),
        };
        TensorProto {
            external_data: vec![entry("offset", "0"), entry("location", location)],
            ..weight(name, &[2])
        }
    }

    #[test]
    fn weights_beside_the_file_are_found_wherever_the_graph_names_them() {
        let dir = tempfile::tempdir().unwrap();
        let branch = GraphProto {
            initializer: vec![elsewhere("inner", "branch.bin")],
            ..GraphProto::default()
        };
        let mut switch = node("If", &["c"], "y", &[]);
        switch.attribute = vec![AttributeProto { g: Some(branch), ..AttributeProto::default() }];
        let graph = GraphProto {
            node: vec![switch],
            initializer: vec![
                elsewhere("a", "w.bin"),
                weight("b", &[2]),
                elsewhere("c", "w.bin"),
                elsewhere("d", "gone.bin"),
            ],
            ..GraphProto::default()
        };
        let proto = ModelProto { graph: Some(graph), ..ModelProto::default() };
        let path = dir.path().join("net.onnx");
        std::fs::write(&path, proto.encode_to_vec()).unwrap();
        for there in ["w.bin", "branch.bin"] {
            std::fs::write(dir.path().join(there), [0; 8]).unwrap();
        }
        let beside = |name: &str| dir.path().join(name);
        assert_eq!(files_of(&path).unwrap(), [path.clone(), beside("branch.bin"), beside("w.bin")]);
        std::fs::write(&path, "no model").unwrap();
        assert_eq!(files_of(&path).unwrap(), [path]);
        assert_eq!(files_of(dir.path()).unwrap_err().code, "fame::io::not_a_file");
    }
}
