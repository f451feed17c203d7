//! The skeleton of a network: its layers, and where gradients can go. It is learnt without
//! compiling anything.

use std::collections::{HashMap, HashSet, VecDeque};

use fame_core::{Error, GradientPlace, Layer, Result};
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::internal::*;

use super::file::OnnxFile;
use super::flat::{has_one_real_output, is_flat};
use super::import::{Wanted, typed_model};
use super::operators::OperatorTable;
use super::refusal::{Engine, flat, no_path, no_rule, reason};
use super::unsupported::not_imported;

/// The graph of the typed model with nothing in it but names and shapes.
pub(in crate::backends) struct Skeleton {
    /// Every named tensor, the input first.
    pub(in crate::backends) layers: Vec<Layer>,
    /// The full shape of each layer with N = 1.
    pub(in crate::backends) shapes: HashMap<String, Vec<usize>>,
    /// The tensors of the file that are no layers.
    hidden: HashMap<String, Hidden>,
    nodes: Vec<SkeletonNode>,
    /// The nodes that read each node.
    users: Vec<Vec<usize>>,
    /// Those of them that move with it.
    moving_users: Vec<Vec<usize>>,
    /// The node that computes each tensor of the file, whatever its type.
    places: HashMap<String, usize>,
    /// The nodes of the file.
    written: Vec<WrittenNode>,
    /// The engine that runs the network.
    pub(super) engine: Engine,
}

/// Why a tensor of the file is no layer.
#[derive(Clone, Copy, Debug)]
struct Hidden {
    /// The type of its numbers.
    kind: DatumType,
    /// Whether its size is known only when the values are.
    is_open: bool,
}

/// What stands in the way of a gradient.
pub(super) enum Obstacle {
    /// The layer does not depend on the place.
    NoPath,
    /// The layer depends on the place, but only through an operator that is constant almost
    /// everywhere.
    Flat {
        /// The node's name.
        node: String,
        /// The operator's name.
        op: String,
    },
    /// The engine has no rule for an operator between the two.
    NoRule {
        /// The node's name.
        node: String,
        /// The operator's name.
        op: String,
    },
}

/// A node of the typed model: what it is called, what feeds it, and what a gradient does there.
struct SkeletonNode {
    name: String,
    op: String,
    inputs: Vec<usize>,
    has_rule: bool,
    /// Whether its value is made of real numbers that move with its inputs. No gradient flows
    /// through comparisons, indices and rounding, and none is missed.
    moves: bool,
}

/// A node of the file as it is written there: what it is called, reads and gives.
struct WrittenNode {
    name: String,
    op: String,
    inputs: Vec<String>,
    outputs: Vec<String>,
}

impl WrittenNode {
    fn read(node: &NodeProto) -> Self {
        // Subgraphs (`If`, `Loop`) may refer to anything outside.
        let inner = node.attribute.iter().filter_map(|a| a.g.as_ref()).flat_map(|g| &g.node);
        let inputs = inner.flat_map(|n| &n.input).chain(&node.input).cloned().collect();
        let name = if node.name.is_empty() { node.output.first() } else { Some(&node.name) };
        Self {
            name: name.cloned().unwrap_or_default(),
            op: node.op_type.clone(),
            inputs,
            outputs: node.output.clone(),
        }
    }
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
    /// Types the whole graph with every tensor as an output. `has_rule` says through which
    /// operators a gradient of `engine` goes.
    pub(super) fn learn(
        file: &OnnxFile,
        operators: &OperatorTable,
        input: &[usize],
        engine: Engine,
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
        let model = typed_model(file, operators, &wanted)
            .map_err(|e| not_imported(file, &input[1..], &e))?;
        let declared = graph.output.iter().map(|o| o.name.as_str()).collect();
        let mut skeleton = Self::read(&model, ops, &declared, engine, has_rule)
            .map_err(|e| file.refuse(reason(&e)))?;
        skeleton.written = graph.node.iter().map(WrittenNode::read).collect();
        let reads: HashMap<&str, &Vec<String>> = graph
            .node
            .iter()
            .flat_map(|n| n.output.iter().map(move |o| (o.as_str(), &n.input)))
            .collect();
        for layer in &mut skeleton.layers {
            layer.reads = reads.get(layer.name.as_str()).map(|r| (*r).clone()).unwrap_or_default();
        }
        Ok(skeleton)
    }

    fn read(
        model: &TypedModel,
        ops: Vec<(String, String)>,
        declared: &HashSet<&str>,
        engine: Engine,
        has_rule: fn(&dyn TypedOp) -> bool,
    ) -> TractResult<Self> {
        let mut depends: HashSet<usize> = model.inputs.iter().map(|outlet| outlet.node).collect();
        for id in model.eval_order()? {
            if model.node(id).inputs.iter().any(|input| depends.contains(&input.node)) {
                depends.insert(id);
            }
        }
        let (mut layers, mut shapes, mut places) = (vec![], HashMap::new(), HashMap::new());
        let mut hidden = HashMap::new();
        for ((name, op), outlet) in ops.into_iter().zip(&model.outputs) {
            places.insert(name.clone(), outlet.node);
            let fact = model.outlet_fact(*outlet)?;
            let (kind, shape) = (fact.datum_type, fact.shape.as_concrete());
            let Some(shape) = shape.filter(|_| kind == f32::datum_type()) else {
                hidden.insert(name, Hidden { kind, is_open: shape.is_none() });
                continue;
            };
            layers.push(Layer {
                op,
                shape: row_shape(shape).to_vec(),
                is_output: declared.contains(name.as_str()),
                depends_on_input: depends.contains(&outlet.node),
                name: name.clone(),
                reads: vec![],
            });
            shapes.insert(name, shape.to_vec());
        }
        let is_real = |input: &OutletId| {
            model.outlet_fact(*input).is_ok_and(|fact| fact.datum_type.is_float())
        };
        let skeleton_node = |node: &TypedNode| SkeletonNode {
            name: node.name.clone(),
            op: node.op.name().into_owned(),
            inputs: node.inputs.iter().map(|input| input.node).collect(),
            has_rule: (has_rule(node.op.as_ref()) && has_one_real_output(node))
                || VANISHING.contains(&node.op.name().as_ref()),
            moves: node.outputs.iter().any(|output| output.fact.datum_type.is_float())
                && (node.inputs.is_empty() || node.inputs.iter().any(is_real))
                && !is_flat(node.op.as_ref()),
        };
        let nodes: Vec<SkeletonNode> = model.nodes.iter().map(skeleton_node).collect();
        let (mut users, mut moving_users) = (vec![vec![]; nodes.len()], vec![vec![]; nodes.len()]);
        for (id, node) in nodes.iter().enumerate() {
            node.inputs.iter().for_each(|&input| users[input].push(id));
            node.inputs.iter().filter(|_| node.moves).for_each(|&i| moving_users[i].push(id));
        }
        Ok(Self {
            layers,
            shapes,
            hidden,
            nodes,
            users,
            moving_users,
            places,
            written: vec![],
            engine,
        })
    }

    /// The full shape of a layer, or an error that names the nearest layers.
    pub(in crate::backends) fn shape(&self, name: &str) -> Result<&[usize]> {
        self.shapes.get(name).map(Vec::as_slice).ok_or_else(|| self.unknown(name))
    }

    /// Why `name`, a tensor of the file, is no layer.
    pub(in crate::backends) fn why_no_layer(&self, name: &str) -> Option<String> {
        let hidden = self.hidden.get(name)?;
        if !hidden.is_open {
            let kind = format!("{:?}", hidden.kind).to_lowercase();
            return Some(format!(
                "it holds numbers of the type {kind}, and layers hold real numbers"
            ));
        }
        let (node, op) = self.end_of_fixed_size(name)?;
        Some(format!(
            "its size depends on values, from node `{node}` ({op}) on, and layers have a fixed size"
        ))
    }

    /// The node, with its operator, whose output is the first of an open size on the way to `name`.
    fn end_of_fixed_size<'a>(&'a self, name: &'a str) -> Option<(&'a str, &'a str)> {
        let is_open = |name: &&String| self.hidden.get(*name).is_some_and(|h| h.is_open);
        let (mut name, mut found) = (name, None);
        // Graphs have no circles, so every round goes one node up.
        for _ in 0..self.written.len() {
            let makes = |node: &&WrittenNode| node.outputs.iter().any(|output| output == name);
            let Some(node) = self.written.iter().find(makes) else { break };
            found = Some((node.name.as_str(), node.op.as_str()));
            match node.inputs.iter().find(is_open) {
                Some(input) => name = input,
                None => break,
            }
        }
        found
    }

    fn unknown(&self, name: &str) -> Error {
        if let Some(why) = self.why_no_layer(name) {
            let text = format!("the tensor `{name}` is no layer: {why}.");
            return Error::new("fame::backend::no_layer", text)
                .with_help("Choose a layer in front of it. `fame-cli inspect` lists all layers.");
        }
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

    fn node_of(&self, place: &GradientPlace) -> Result<usize> {
        match place {
            GradientPlace::Input => Ok(self
                .layers
                .first()
                .and_then(|l| self.places.get(&l.name))
                .copied()
                .unwrap_or_default()),
            GradientPlace::Layer(name) => {
                let place = self.places.get(name).filter(|_| self.shapes.contains_key(name));
                place.copied().ok_or_else(|| self.unknown(name))
            }
        }
    }

    /// Refuses a gradient of `layer` that does not reach `to`.
    pub(in crate::backends) fn check_gradient(
        &self,
        layer: &str,
        to: &GradientPlace,
    ) -> Result<()> {
        match self.obstacle(layer, to)? {
            None => Ok(()),
            Some(Obstacle::NoPath) => Err(no_path(layer, to)),
            Some(Obstacle::Flat { node, op }) => Err(flat(layer, to, &node, &op)),
            Some(Obstacle::NoRule { node, op }) => Err(no_rule(&node, &op, self.engine)),
        }
    }

    /// What stands in the way of a gradient from `layer` to `to`.
    pub(super) fn obstacle(&self, layer: &str, to: &GradientPlace) -> Result<Option<Obstacle>> {
        let (from, to) =
            (self.node_of(&GradientPlace::Layer(layer.to_owned()))?, self.node_of(to)?);
        if from == to {
            return Ok(None);
        }
        // Nodes are not stored in order, so both directions are closed over by searching.
        let up = self.closure(from, |id| {
            let node = &self.nodes[id];
            if node.moves { &node.inputs } else { &[] }
        });
        if !up[to] {
            // What moves with the place: the gradient ends where something no longer does.
            let moved = self.closure(to, |id| &self.moving_users[id]);
            let end = self.end_of_gradient(layer, &moved);
            let obstacle = |node: &WrittenNode| Obstacle::Flat {
                node: node.name.clone(),
                op: node.op.clone(),
            };
            return Ok(Some(end.map_or(Obstacle::NoPath, obstacle)));
        }
        let down = self.closure(to, |id| &self.users[id]);
        let on_path = |id: usize| id != to && up[id] && down[id] && self.nodes[id].moves;
        let stop = self.nodes.iter().enumerate().find(|(id, node)| on_path(*id) && !node.has_rule);
        Ok(stop.map(|(_, node)| Obstacle::NoRule { node: node.name.clone(), op: node.op.clone() }))
    }

    /// The node of the file nearest in front of `layer` that reads one of `moved` and gives nothing
    /// of it: where the way of a gradient ends.
    fn end_of_gradient(&self, layer: &str, moved: &[bool]) -> Option<&WrittenNode> {
        let is_moved = |name: &String| self.places.get(name).is_some_and(|id| moved[*id]);
        let makers: HashMap<&str, &WrittenNode> = self
            .written
            .iter()
            .flat_map(|node| node.outputs.iter().map(move |output| (output.as_str(), node)))
            .collect();
        let (mut seen, mut open) = (HashSet::new(), VecDeque::from([layer]));
        while let Some(name) = open.pop_front() {
            let Some(node) = makers.get(name) else { continue };
            if node.inputs.iter().any(is_moved) {
                return Some(node);
            }
            open.extend(node.inputs.iter().map(String::as_str).filter(|name| seen.insert(*name)));
        }
        None
    }

    /// For every node whether `next` leads to it from `start`; to `start` it does.
    fn closure<'s>(&'s self, start: usize, next: impl Fn(usize) -> &'s [usize]) -> Vec<bool> {
        let (mut found, mut open) = (vec![false; self.nodes.len()], vec![start]);
        found[start] = true;
        while let Some(id) = open.pop() {
            open.extend(next(id).iter().filter(|&&id| !std::mem::replace(&mut found[id], true)));
        }
        found
    }
}
