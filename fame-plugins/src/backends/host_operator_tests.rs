//! Operators of third parties in every engine, by one that is made up: values and gradients are
//! those of the same function written with built-in operators.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fame_core::contract::{LoadRequest, Network, ReluRule};
use fame_core::{Error, GradientPlace, Result, Taps, Tensor};
use prost::Message as _;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{AttributeProto, ModelProto, NodeProto};

use super::onnx::fixtures::{assert_close, batch, model, node, seed, weight};
use super::onnx::{Attribute, HostOperator, HostOperatorKind};

/// `y = scale · gain · a · sin(b)` with one gain for each channel.
struct Weave {
    scale: f32,
    is_differentiable: bool,
}

/// The gain of each value of a tensor of shape `[1, C, …]`.
fn gains<'t>(shape: &[usize], gain: &'t Tensor) -> impl Iterator<Item = f32> + 't {
    let plane: usize = shape[2..].iter().product();
    gain.data().iter().flat_map(move |gain| std::iter::repeat_n(*gain, plane))
}

impl HostOperator for Weave {
    fn shape(&self, inputs: &[Vec<usize>]) -> Result<Vec<usize>> {
        match inputs {
            [a, b, gain] if a == b && gain.iter().product::<usize>() == a[1] => Ok(a.clone()),
            _ => Err(Error::new("test::shape", format!("a weave of {inputs:?}"))),
        }
    }

    fn forward(&self, inputs: &[Tensor]) -> Result<Tensor> {
        let [a, b, gain] = inputs else { return Err(Error::bug("three inputs")) };
        assert_eq!(a.rows(), 1, "a batch comes row by row");
        let values = a.data().iter().zip(b.data()).zip(gains(a.shape(), gain));
        let values = values.map(|((a, b), gain)| self.scale * gain * a * b.sin()).collect();
        Tensor::new(a.shape(), values)
    }

    fn is_differentiable(&self) -> bool {
        self.is_differentiable
    }

    fn pull_back(
        &self,
        inputs: &[Tensor],
        _output: &Tensor,
        cotangent: &Tensor,
    ) -> Result<Vec<Option<Tensor>>> {
        let [a, b, gain] = inputs else { return Err(Error::bug("three inputs")) };
        let factors = || cotangent.data().iter().zip(gains(a.shape(), gain));
        let of_a = factors().zip(b.data()).map(|((c, gain), b)| self.scale * gain * c * b.sin());
        let of_b = factors()
            .zip(a.data().iter().zip(b.data()))
            .map(|((c, gain), (a, b))| self.scale * gain * c * a * b.cos());
        let gradients = [of_a.collect(), of_b.collect()].map(|v| Tensor::new(a.shape(), v).ok());
        let [of_a, of_b] = gradients;
        Ok(vec![of_a, of_b, None])
    }
}

fn kind(op_type: &str, is_differentiable: bool) -> HostOperatorKind {
    HostOperatorKind {
        opsets: 1..=u64::MAX,
        domain: "org.fame.test".into(),
        op_type: op_type.into(),
        build: Arc::new(move |attributes| match attributes.get("scale") {
            Some(Attribute::Float(scale)) => {
                Ok(Arc::new(Weave { scale: *scale, is_differentiable }))
            }
            other => Err(Error::new("test::scale", format!("the scale is {other:?}"))),
        }),
    }
}

const SCALE: f32 = 0.75;

/// `op_type` of the test's domain, with its scale.
fn foreign(op_type: &str, inputs: &[&str], output: &str) -> NodeProto {
    let scale = AttributeProto {
        name: "scale".into(),
        r#type: AttributeType::Float as i32,
        f: SCALE,
        ..AttributeProto::default()
    };
    NodeProto {
        domain: "org.fame.test".into(),
        attribute: vec![scale],
        ..node(op_type, inputs, output, &[])
    }
}

/// A network around `middle`, which makes `mid` of `conv1` and `act1`.
fn around(middle: Vec<NodeProto>) -> ModelProto {
    let pads: (&str, &[i64]) = ("pads", &[1, 1, 1, 1]);
    let mut nodes = vec![
        node("Conv", &["x", "w1", "b1"], "conv1", &[pads]),
        node("Relu", &["conv1"], "act1", &[]),
    ];
    nodes.extend(middle);
    nodes.extend([
        node("Conv", &["mid", "w2"], "conv2", &[pads]),
        node("Relu", &["conv2"], "act2", &[]),
        node("GlobalAveragePool", &["act2"], "pool", &[]),
        node("Flatten", &["pool"], "flat", &[("axis", &[1])]),
        node("Gemm", &["flat", "w4", "b4"], "y", &[("transB", &[1])]),
    ]);
    let weights: [(&str, &[i64]); 6] = [
        ("w1", &[6, 2, 3, 3]),
        ("b1", &[6]),
        ("gain", &[1, 6, 1, 1]),
        ("w2", &[6, 6, 3, 3]),
        ("w4", &[5, 6]),
        ("b4", &[5]),
    ];
    let mut weights: Vec<_> = weights.iter().map(|(name, dims)| weight(name, dims)).collect();
    let mut scale = weight("scale", &[1]);
    scale.float_data = vec![SCALE];
    weights.push(scale);
    model(nodes, weights, "y")
}

fn with_operator(op_type: &str) -> ModelProto {
    around(vec![foreign(op_type, &["act1", "conv1", "gain"], "mid")])
}

fn with_built_in() -> ModelProto {
    around(vec![
        node("Sin", &["conv1"], "sine", &[]),
        node("Mul", &["act1", "sine"], "product", &[]),
        node("Mul", &["product", "gain"], "gained", &[]),
        node("Mul", &["gained", "scale"], "mid", &[]),
    ])
}

type Load = fn(&LoadRequest, Vec<HostOperatorKind>) -> Result<Box<dyn Network>>;

/// The engines that this build has.
const ENGINES: &[Load] = &[
    |request, operators| super::tract::Tract::default().load_with(request, operators),
    #[cfg(feature = "tch")]
    |request, operators| super::tch::Tch::default().load_with(request, operators),
];

/// Models in files, as engines take them.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, model: &ModelProto) -> LoadRequest {
        let file: PathBuf = Path::new(self.0.path()).join(name);
        std::fs::write(&file, model.encode_to_vec()).unwrap();
        LoadRequest::new(file)
    }
}

/// Values and gradients of a batch on both sides of the operator.
fn probe(network: &dyn Network, relu: ReluRule) -> Vec<Tensor> {
    let x = batch(&[3, 2, 8, 8], 0);
    let mut taps = Taps::of(["y", "mid"]);
    taps.relu = relu;
    let places = ["mid", "act1", "conv1"].map(|name| GradientPlace::Layer(name.into()));
    taps.gradients = places.into_iter().chain([GradientPlace::Input]).collect();
    let pass = network.forward(&x, &taps).unwrap();
    let seeds = [seed("y", batch(&[3, 5], 1)), seed("mid", batch(&[3, 6, 8, 8], 4))];
    let mut found = vec![pass.output("y").unwrap(), pass.output("mid").unwrap()];
    found.extend(pass.gradient(&seeds).unwrap());
    // A pass can be pulled back again.
    found.extend(pass.gradient(&seeds[..1]).unwrap());
    found
}

#[test]
fn values_and_gradients_are_those_of_built_in_operators() {
    let files = Files::new();
    // A name of its own, and one that a built-in operator has too.
    for op_type in ["Weave", "Conv"] {
        let ours = files.write("ours.onnx", &with_operator(op_type));
        let built_in = files.write("built_in.onnx", &with_built_in());
        for load in ENGINES {
            let (got, want) =
                (load(&ours, vec![kind(op_type, true)]).unwrap(), load(&built_in, vec![]).unwrap());
            for relu in [ReluRule::Standard, ReluRule::Guided] {
                let (got, want) = (probe(got.as_ref(), relu), probe(want.as_ref(), relu));
                assert!(want.iter().all(|tensor| tensor.max_abs() > 0.0));
                got.iter().zip(&want).for_each(|(got, want)| assert_close(got, want));
            }
            let layer = got.layers().iter().find(|layer| layer.name == "mid").unwrap();
            assert_eq!((layer.op.as_str(), layer.shape.as_slice()), (op_type, &[6, 8, 8][..]));
            assert_eq!(
                got.biases().unwrap().iter().map(|b| b.layer.clone()).collect::<Vec<_>>(),
                ["conv1", "y"]
            );
        }
    }
}

#[test]
fn a_layer_in_front_of_the_operator_can_be_replaced() {
    let files = Files::new();
    let request = files.write("net.onnx", &with_operator("Weave"));
    let x = batch(&[2, 2, 8, 8], 0);
    for load in ENGINES {
        let network = load(&request, vec![kind("Weave", true)]).unwrap();
        let act1 = network.forward(&x, &Taps::of(["act1"])).unwrap().output("act1").unwrap();
        let taps = Taps::of(["y"]).with_gradient(GradientPlace::Layer("act1".into()));
        let usual = network.forward(&x, &taps).unwrap();
        let same = network.forward_from("act1", &act1, &x, &taps).unwrap();
        assert_close(&same.output("y").unwrap(), &usual.output("y").unwrap());
        let seeds = [seed("y", batch(&[2, 5], 1))];
        assert_close(&same.gradient(&seeds).unwrap()[0], &usual.gradient(&seeds).unwrap()[0]);
    }
}

#[test]
fn without_a_pull_back_the_gradient_is_refused_but_not_the_network() {
    let files = Files::new();
    let request = files.write("net.onnx", &with_operator("Weave"));
    let x = batch(&[1, 2, 8, 8], 0);
    for load in ENGINES {
        let network = load(&request, vec![kind("Weave", false)]).unwrap();
        network.forward(&x, &Taps::of(["y"])).unwrap();
        let behind = Taps::of(["y"]).with_gradient(GradientPlace::Layer("mid".into()));
        network.forward(&x, &behind).unwrap().gradient(&[seed("y", batch(&[1, 5], 1))]).unwrap();
        let told = [
            network.check_gradient("y", &GradientPlace::Input).err(),
            network.forward(&x, &Taps::of(["y"]).with_gradient(GradientPlace::Input)).err(),
        ];
        for error in told.map(Option::unwrap) {
            assert_eq!(error.code, "fame::backend::no_gradient_rule");
            assert!(error.message.contains("mid_node") && error.message.contains("Weave"));
        }
    }
}

#[test]
fn what_nobody_brings_and_what_cannot_be_built_is_named() {
    let files = Files::new();
    let request = files.write("net.onnx", &with_operator("Weave"));
    let mut narrow = with_operator("Weave");
    narrow.graph.as_mut().unwrap().node[2].input[2] = "w4".into();
    let narrow = files.write("narrow.onnx", &narrow);
    let mut bare = with_operator("Weave");
    bare.graph.as_mut().unwrap().node[2].attribute.clear();
    let bare = files.write("bare.onnx", &bare);
    for load in ENGINES {
        let told = |request: &LoadRequest, kinds: Vec<HostOperatorKind>| {
            load(request, kinds).err().unwrap()
        };
        assert_eq!(told(&request, vec![]).code, "fame::backend::unknown_domain");
        assert_eq!(
            told(&request, vec![kind("Swerve", true)]).code,
            "fame::backend::unknown_domain"
        );
        let error = told(&narrow, vec![kind("Weave", true)]);
        assert!(error.message.contains("a weave of"), "{error}");
        let error = told(&bare, vec![kind("Weave", true)]);
        assert!(error.message.contains("the scale is None"), "{error}");
    }
}
