//! The skeleton of a network: its layers, and where gradients can go. It is learnt without
//! compiling anything.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use fame_core::{Error, ErrorKind, GradientPlace, Layer, Result};
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
    /// The node of the file that gives each tensor, by its index.
    makers: HashMap<String, usize>,
    /// The node that gradients were last asked for at, and the ways there: who asks for one layer
    /// asks for all of them.
    ways: Mutex<Option<(usize, Arc<Ways>)>>,
    /// The engine that runs the network.
    pub(super) engine: Engine,
}

/// How gradients come to one place: found for all layers at once, in the time that one takes.
struct Ways {
    /// Whether each node moves with the place.
    moved: Vec<bool>,
    /// The first node without a rule between the place and each node.
    stops: Vec<Option<usize>>,
    /// For each node of the file, the nearest one in front of it, or itself, that reads what moves
    /// with the place. Where it gives nothing of it, the way of a gradient ends there.
    ends: Vec<Option<usize>>,
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
        for (ix, node) in skeleton.written.iter().enumerate() {
            skeleton.makers.extend(node.outputs.iter().map(|output| (output.clone(), ix)));
        }
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
            makers: HashMap::new(),
            ways: Mutex::default(),
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
            let Some(&ix) = self.makers.get(name) else { break };
            let node = &self.written[ix];
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
                .of_kind(ErrorKind::WrongRequest)
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
            .of_kind(ErrorKind::WrongRequest)
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
        let ways = self.ways_to(to);
        if !ways.moved[from] {
            let end = self.makers.get(layer).and_then(|ix| ways.ends[*ix]);
            let obstacle = |ix: usize| Obstacle::Flat {
                node: self.written[ix].name.clone(),
                op: self.written[ix].op.clone(),
            };
            return Ok(Some(end.map_or(Obstacle::NoPath, obstacle)));
        }
        let stop = ways.stops[from].map(|id| &self.nodes[id]);
        Ok(stop.map(|node| Obstacle::NoRule { node: node.name.clone(), op: node.op.clone() }))
    }

    /// How gradients come to the node `to`.
    fn ways_to(&self, to: usize) -> Arc<Ways> {
        let mut kept = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, ways)) = kept.as_ref().filter(|(known, _)| *known == to) {
            return ways.clone();
        }
        let moved = self.closure(to, |id| &self.moving_users[id]);
        let (stops, ends) = (self.stops(to), self.ends(&moved));
        let ways = Arc::new(Ways { moved, stops, ends });
        *kept = Some((to, ways.clone()));
        ways
    }

    /// For each node the first one without a rule that a gradient from there to `to` would go
    /// through: among those that depend on `to` and that lead there by nodes that move.
    fn stops(&self, to: usize) -> Vec<Option<usize>> {
        let down = self.closure(to, |id| &self.users[id]);
        let mut stops = vec![None; self.nodes.len()];
        for id in self.in_order() {
            let node = &self.nodes[id];
            if !node.moves {
                continue;
            }
            let own = (id != to && down[id] && !node.has_rule).then_some(id);
            let before = node.inputs.iter().filter_map(|&input| stops[input]);
            stops[id] = before.chain(own).min();
        }
        stops
    }

    /// The nodes, each behind its inputs: they are not stored so.
    fn in_order(&self) -> Vec<usize> {
        let mut missing: Vec<usize> = self.nodes.iter().map(|node| node.inputs.len()).collect();
        let free = |id: &usize| missing[*id] == 0;
        let mut order: Vec<usize> = (0..self.nodes.len()).filter(free).collect();
        let mut next = 0;
        while let Some(&id) = order.get(next) {
            next += 1;
            for &user in &self.users[id] {
                missing[user] -= 1;
                if missing[user] == 0 {
                    order.push(user);
                }
            }
        }
        order
    }

    /// [`Ways::ends`] for what `moved`: the nodes that read some of it, and from there on, by
    /// distance, whoever reads of them.
    fn ends(&self, moved: &[bool]) -> Vec<Option<usize>> {
        let is_moved = |name: &String| self.places.get(name).is_some_and(|id| moved[*id]);
        let makers = |ix: usize| {
            self.written[ix].inputs.iter().filter_map(move |name| self.makers.get(name).copied())
        };
        let mut readers = vec![vec![]; self.written.len()];
        for ix in 0..self.written.len() {
            makers(ix).for_each(|maker| readers[maker].push(ix));
        }
        let is_end = |ix: &usize| self.written[*ix].inputs.iter().any(is_moved);
        let mut open: VecDeque<usize> = (0..self.written.len()).filter(is_end).collect();
        let mut ends: Vec<Option<usize>> = vec![None; self.written.len()];
        let mut distances = vec![usize::MAX; self.written.len()];
        for &ix in &open {
            (ends[ix], distances[ix]) = (Some(ix), 0);
        }
        while let Some(ix) = open.pop_front() {
            // Of several at the same distance, that of the first input.
            if distances[ix] > 0 {
                let nearer = makers(ix).find(|maker| distances[*maker] == distances[ix] - 1);
                ends[ix] = nearer.and_then(|maker| ends[maker]);
            }
            for &reader in &readers[ix] {
                if distances[reader] == usize::MAX {
                    distances[reader] = distances[ix] + 1;
                    open.push_back(reader);
                }
            }
        }
        ends
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

#[cfg(test)]
mod tests {

    use fame_core::GradientPlace;

    use crate::backends::onnx::file::OnnxFile;
    use crate::backends::onnx::fixtures::{model, node};
    use crate::backends::tract::load_file;

    #[test]
    fn what_stops_a_gradient_is_found_for_every_layer_of_a_long_chain() {
        // Two chains: one that moves with the input, and one behind an operator that does not.
        const LENGTH: usize = 3000;
        let name = |chain: &str, n: usize| format!("{chain}{n}");
        let mut nodes = vec![node("Floor", &["x"], "b0", &[])];
        let chain = |chain: &str, from: &str| {
            let link = |n: usize| {
                let input = if n == 1 { from.to_owned() } else { name(chain, n - 1) };
                node("Neg", &[&input], &name(chain, n), &[])
            };
            (1..=LENGTH).map(link).collect::<Vec<_>>()
        };
        nodes.extend(chain("a", "x"));
        nodes.extend(chain("b", "b0"));
        nodes.push(node("Add", &[&name("a", LENGTH), &name("b", LENGTH)], "y", &[]));
        let file = OnnxFile::check(model(nodes, vec![], "y"), None, "net.onnx".into()).unwrap();
        let network = load_file(file).unwrap();
        for n in 1..=LENGTH {
            let to = &GradientPlace::Input;
            assert!(network.check_gradient(&name("a", n), to).is_ok());
            let flat = network.check_gradient(&name("b", n), to).unwrap_err();
            assert_eq!(flat.code, "fame::backend::zero_gradient");
            assert!(flat.message.contains("node `b0_node`"), "{flat}");
        }
    }

    #[test]
    fn a_gradient_between_layers_ends_where_it_is_told() {
        let nodes = vec![
            node("Neg", &["x"], "a", &[]),
            node("Floor", &["a"], "b", &[]),
            node("Neg", &["b"], "c", &[]),
            node("Add", &["c", "x"], "d", &[]),
            node("Neg", &["d"], "y", &[]),
        ];
        let file = OnnxFile::check(model(nodes, vec![], "y"), None, "net.onnx".into()).unwrap();
        let network = load_file(file).unwrap();
        let told = |layer: &str, to: GradientPlace| {
            network.check_gradient(layer, &to).err().map(|error| error.code)
        };
        let at = |layer: &str| GradientPlace::Layer(layer.to_owned());
        let flat = Some("fame::backend::zero_gradient".to_owned());
        let no_path = Some("fame::backend::no_gradient_path".to_owned());
        assert_eq!(told("y", GradientPlace::Input), None);
        assert_eq!(told("y", at("a")), flat);
        assert_eq!(told("y", at("b")), None);
        assert_eq!(told("c", GradientPlace::Input), flat);
        assert_eq!(told("a", at("y")), no_path);
        assert_eq!(told("a", at("a")), None);
    }
}
