//! What is known of a network without compiling it: its layers, and where gradients can go.

use std::collections::{HashMap, HashSet};

use fame_core::{Error, ErrorKind, Layer, Place, Result};
use tract_onnx::tract_core::internal::*;

use super::import::{Wanted, typed_model};
use super::onnx::OnnxFile;

/// The graph of the typed model with nothing in it but names.
pub(in crate::backends) struct Skeleton {
    /// Every named tensor, the input first.
    pub(in crate::backends) layers: Vec<Layer>,
    /// The full shape of each layer with N = 1.
    pub(in crate::backends) shapes: HashMap<String, Vec<usize>>,
    nodes: Vec<Bone>,
    places: HashMap<String, usize>,
    backend: Named,
}

/// The backend a message is about, and what it advises where it has no rule.
#[derive(Clone, Copy, Debug)]
pub(in crate::backends) struct Named {
    name: &'static str,
    advice: &'static str,
}

/// One node.
struct Bone {
    name: String,
    op: String,
    inputs: Vec<usize>,
    has_rule: bool,
    /// Whether its value is made of real numbers. No gradient flows through comparisons and
    /// indices, and none is missed.
    is_real: bool,
}

/// Operators of tract's that are replaced by others before anything is differentiated.
const VANISHING: [&str; 2] = ["Dropout", "StridedSlice"];

/// The shape of one row: the batch axis, which is 1 in every plan, is dropped.
pub(in crate::backends) fn row_shape(full: &[usize]) -> &[usize] {
    match full {
        [1, row @ ..] => row,
        _ => full,
    }
}

impl Skeleton {
    /// Messages of the tract backend.
    pub(in crate::backends) const TRACT: Named = Named {
        name: "tract",
        advice: "Choose a target layer in front of it, or use the `Tch` backend.",
    };
    /// Messages of the tch backend.
    #[cfg(feature = "tch")]
    pub(in crate::backends) const TCH: Named =
        Named { name: "tch", advice: "Choose a target layer in front of it." };

    /// Types the whole graph with every tensor as an output. `has_rule` says through which
    /// operators a gradient of `backend` goes.
    pub(in crate::backends) fn of(
        file: &OnnxFile,
        input: &[usize],
        backend: Named,
        has_rule: fn(&dyn TypedOp) -> bool,
    ) -> Result<Self> {
        let graph = file.graph();
        let data = file.data_input()?;
        let named = graph.node.iter().flat_map(|n| {
            n.output.iter().filter(|o| !o.is_empty()).map(|o| (o, n.op_type.as_str()))
        });
        let mut ops: Vec<(String, String)> = vec![(data.to_owned(), "Input".to_owned())];
        ops.extend(named.map(|(name, op)| (name.clone(), op.to_owned())));
        let outputs: Vec<String> = ops.iter().map(|(name, _)| name.clone()).collect();
        let wanted = Wanted { outputs: &outputs, replaced: None, input, fold: false };
        let model = typed_model(file, &wanted).map_err(|e| {
            file.refuse(format_args!("tract cannot import it for input shape {:?}: {}", &input[1..], reason(&e)))
                .with_help("Give `input_shape` if the file leaves it open, or export the model with another opset.")
        })?;
        let mut skeleton = Self::read(
            &model,
            ops,
            graph.output.iter().map(|o| o.name.as_str()).collect(),
            has_rule,
        )
        .map_err(|e| file.refuse(reason(&e)))?;
        skeleton.backend = backend;
        Ok(skeleton)
    }

    fn read(
        model: &TypedModel,
        ops: Vec<(String, String)>,
        declared: HashSet<&str>,
        has_rule: fn(&dyn TypedOp) -> bool,
    ) -> TractResult<Self> {
        let mut depends: HashSet<usize> = model.inputs.iter().map(|outlet| outlet.node).collect();
        for id in model.eval_order()? {
            if model.node(id).inputs.iter().any(|input| depends.contains(&input.node)) {
                depends.insert(id);
            }
        }
        let (mut layers, mut shapes, mut places) = (vec![], HashMap::new(), HashMap::new());
        for ((name, op), outlet) in ops.into_iter().zip(&model.outputs) {
            let fact = model.outlet_fact(*outlet)?;
            let Some(shape) =
                fact.shape.as_concrete().filter(|_| fact.datum_type == f32::datum_type())
            else {
                continue;
            };
            layers.push(Layer {
                op,
                shape: row_shape(shape).to_vec(),
                is_output: declared.contains(name.as_str()),
                depends_on_input: depends.contains(&outlet.node),
                name: name.clone(),
            });
            places.insert(name.clone(), outlet.node);
            shapes.insert(name, shape.to_vec());
        }
        let bone = |node: &TypedNode| Bone {
            name: node.name.clone(),
            op: node.op.name().into_owned(),
            inputs: node.inputs.iter().map(|input| input.node).collect(),
            has_rule: (has_rule(node.op.as_ref()) && node.outputs.len() == 1)
                || VANISHING.contains(&node.op.name().as_ref()),
            is_real: node.outputs.iter().any(|output| output.fact.datum_type.is_float()),
        };
        Ok(Self {
            layers,
            shapes,
            nodes: model.nodes.iter().map(bone).collect(),
            places,
            backend: Self::TRACT,
        })
    }

    /// The full shape of a layer, or an error that names the nearest layers.
    pub(in crate::backends) fn shape(&self, name: &str) -> Result<&[usize]> {
        self.shapes.get(name).map(Vec::as_slice).ok_or_else(|| self.unknown(name))
    }

    fn unknown(&self, name: &str) -> Error {
        let mut near: Vec<(usize, &str)> = self
            .layers
            .iter()
            .map(|l| (strsim::levenshtein(name, &l.name), l.name.as_str()))
            .collect();
        near.sort_unstable();
        let near: Vec<String> = near.iter().take(3).map(|(_, name)| format!("`{name}`")).collect();
        Error::new("fame::backend::unknown_layer", format!("the network has no layer `{name}`."))
            .with_help(format!(
                "The nearest names are {}. `fame-cli inspect` lists all layers.",
                near.join(", ")
            ))
    }

    fn node_of(&self, place: &Place) -> Result<usize> {
        match place {
            Place::Input => Ok(self
                .layers
                .first()
                .and_then(|l| self.places.get(&l.name))
                .copied()
                .unwrap_or_default()),
            Place::Layer(name) => self.places.get(name).copied().ok_or_else(|| self.unknown(name)),
        }
    }

    /// Whether every node between `to` and `layer` has a rule.
    pub(in crate::backends) fn check_gradient(&self, layer: &str, to: &Place) -> Result<()> {
        let (from, to_node) = (self.node_of(&Place::Layer(layer.to_owned()))?, self.node_of(to)?);
        if from == to_node {
            return Ok(());
        }
        // Nodes are not stored in order, so both directions are closed over by searching.
        let up = Self::closure(from, |id| {
            if self.nodes[id].is_real { self.nodes[id].inputs.clone() } else { vec![] }
        });
        let mut users = vec![vec![]; self.nodes.len()];
        for (id, node) in self.nodes.iter().enumerate() {
            node.inputs.iter().for_each(|&input| users[input].push(id));
        }
        let down = Self::closure(to_node, |id| users[id].clone());
        if !up.contains(&to_node) {
            return Err(no_path(layer, to));
        }
        let on_path = |id: &usize| {
            *id != to_node && up.contains(id) && down.contains(id) && self.nodes[*id].is_real
        };
        let stop = (0..self.nodes.len()).find(|id| on_path(id) && !self.nodes[*id].has_rule);
        stop.map_or(Ok(()), |id| {
            Err(no_rule(&self.nodes[id].name, &self.nodes[id].op, self.backend))
        })
    }

    fn closure(start: usize, next: impl Fn(usize) -> Vec<usize>) -> HashSet<usize> {
        let (mut found, mut open) = (HashSet::from([start]), vec![start]);
        while let Some(id) = open.pop() {
            open.extend(next(id).into_iter().filter(|&id| found.insert(id)));
        }
        found
    }
}

/// An operator stops the gradient.
pub(in crate::backends) fn no_rule(node: &str, op: &str, backend: Named) -> Error {
    Error::new(
        "fame::backend::no_gradient_rule",
        format!("no gradient goes through node `{node}`: the {} backend has no rule for the operator `{op}`.", backend.name),
    )
    .with_help(backend.advice)
    .of_kind(ErrorKind::NoGradientRule)
}

/// Nothing connects the two.
pub(in crate::backends) fn no_path(layer: &str, to: &Place) -> Error {
    let place = match to {
        Place::Input => "the input".to_owned(),
        Place::Layer(name) => format!("layer `{name}`"),
    };
    Error::new(
        "fame::backend::no_gradient_path",
        format!("layer `{layer}` does not depend on {place}, so no gradient reaches it."),
    )
}

/// The innermost cause, which is what says something, in one line.
pub(in crate::backends) fn reason(error: &TractError) -> String {
    let outer = error.to_string();
    let inner = error.root_cause().to_string();
    let line =
        |text: &str| text.lines().next().unwrap_or_default().chars().take(300).collect::<String>();
    if outer == inner { line(&outer) } else { format!("{} ({})", line(&inner), line(&outer)) }
}
