//! The promises of the contract, on the small network of the fixtures.

use fame_core::contract::Network;
use fame_core::{Error, GradientPlace, LayerCotangent, Taps, Tensor};
use proptest::prelude::*;
use tract_onnx::pb::{GraphProto, ModelProto};

use super::network::TractNetwork;
use crate::backends::onnx::file::OnnxFile;
use crate::backends::onnx::fixtures::{ROUNDING, assert_close, batch, seed, small};
use crate::backends::onnx::operators::OperatorTable;

fn load(proto: ModelProto) -> Result<TractNetwork, Error> {
    let file = OnnxFile::check(proto, None, "net.onnx".into())?;
    TractNetwork::new(file, OperatorTable::new(vec![]), None, 2, None)
}

fn network() -> TractNetwork {
    load(small()).unwrap()
}

#[test]
fn layers_are_listed_in_order_with_onnx_operators_and_row_shapes() {
    let network = network();
    let layers: Vec<(&str, &str, &[usize])> = network
        .layers()
        .iter()
        .map(|l| (l.name.as_str(), l.op.as_str(), l.shape.as_slice()))
        .collect();
    assert_eq!(layers[0], ("x", "Input", [2, 8, 8].as_slice()));
    assert_eq!(layers[1], ("conv1", "Conv", [6, 8, 8].as_slice()));
    assert_eq!(layers[7], ("conv3", "Conv", [4, 4, 4].as_slice()));
    assert_eq!(layers[10], ("y", "Gemm", [5].as_slice()));
    assert!(network.layers()[10].is_output && !network.layers()[9].is_output);
    assert_eq!(network.preferred_rows(), 2);
}

#[test]
fn a_batch_gives_the_same_bits_as_a_loop() {
    let network = network();
    let x = batch(&[5, 2, 8, 8], 0);
    let taps = Taps::of(["y", "act1"])
        .with_gradient(GradientPlace::Input)
        .with_gradient(GradientPlace::Layer("act2".into()));
    let pass = network.forward(&x, &taps).unwrap();
    let cotangent = batch(&[5, 5], 7);
    let together = pass.gradient(&[seed("y", cotangent.clone())]).unwrap();
    for i in 0..5 {
        let one = Tensor::stack([&x.row_tensor(i)]).unwrap();
        let alone = network.forward(&one, &taps).unwrap();
        assert_eq!(alone.output("act1").unwrap().row(0), pass.output("act1").unwrap().row(i));
        let gradients = alone
            .gradient(&[seed("y", Tensor::stack([&cotangent.row_tensor(i)]).unwrap())])
            .unwrap();
        assert_eq!(gradients[0].row(0), together[0].row(i));
        assert_eq!(gradients[1].row(0), together[1].row(i));
    }
}

#[test]
fn gradients_agree_with_central_differences() {
    /// Small enough that few ReLU inputs change sign, large enough for f32.
    const STEP: f32 = 1e-3;
    /// Rounding of f32 outputs of size 1 over the step, with a margin for a kink.
    const TOLERANCE: f64 = 5e-3;
    let network = network();
    let x = batch(&[1, 2, 8, 8], 3);
    let w = batch(&[1, 5], 1);
    let taps = Taps::of(["y"]);
    let pass = network.forward(&x, &taps.clone().with_gradient(GradientPlace::Input)).unwrap();
    let gradient = pass.gradient(&[seed("y", w.clone())]).unwrap().remove(0);
    for i in (0..x.len()).step_by(7) {
        let at = |by: f32| {
            let mut moved = x.clone();
            moved.data_mut()[i] += by;
            let y = network.forward(&moved, &taps).unwrap().output("y").unwrap();
            y.data().iter().zip(w.data()).map(|(y, w)| f64::from(*y) * f64::from(*w)).sum::<f64>()
        };
        let want = (at(STEP) - at(-STEP)) / (2.0 * f64::from(STEP));
        assert!(
            (f64::from(gradient.data()[i]) - want).abs() <= TOLERANCE,
            "{i}: {} instead of {want}",
            gradient.data()[i]
        );
    }
}

#[test]
fn inner_gradients_chain_to_the_input() {
    let network = network();
    let x = batch(&[2, 2, 8, 8], 0);
    let w = batch(&[2, 5], 2);
    let taps = Taps::of(["y"])
        .with_gradient(GradientPlace::Layer("sum".into()))
        .with_gradient(GradientPlace::Input);
    let both = network.forward(&x, &taps).unwrap().gradient(&[seed("y", w)]).unwrap();
    let below =
        network.forward(&x, &Taps::of(["sum"]).with_gradient(GradientPlace::Input)).unwrap();
    assert_close(&below.gradient(&[seed("sum", both[0].clone())]).unwrap()[0], &both[1]);
}

#[test]
fn seeds_add_up_and_a_pass_can_be_pulled_back_again() {
    let network = network();
    let x = batch(&[2, 2, 8, 8], 0);
    let pass =
        network.forward(&x, &Taps::of(["y", "conv3"]).with_gradient(GradientPlace::Input)).unwrap();
    let (a, b) = (seed("y", batch(&[2, 5], 1)), seed("conv3", batch(&[2, 4, 4, 4], 2)));
    let pull = |seeds: &[LayerCotangent]| pass.gradient(seeds).unwrap().remove(0);
    let (only_a, only_b, both) =
        (pull(std::slice::from_ref(&a)), pull(std::slice::from_ref(&b)), pull(&[a.clone(), b]));
    let sum = only_a.data().iter().zip(only_b.data()).map(|(a, b)| a + b).collect();
    assert_close(&both, &Tensor::new(both.shape(), sum).unwrap());
    assert_eq!(pull(std::slice::from_ref(&a)), only_a);
    assert_close(
        &pull(&[a.clone(), a]),
        &Tensor::new(only_a.shape(), only_a.data().iter().map(|v| 2.0 * v).collect()).unwrap(),
    );
}

#[test]
fn a_replaced_layer_is_used_and_skip_connections_keep_their_meaning() {
    let network = network();
    let x = batch(&[2, 2, 8, 8], 0);
    let taps = Taps::of(["y"])
        .with_gradient(GradientPlace::Layer("conv2".into()))
        .with_gradient(GradientPlace::Input);
    let usual = network.forward(&x, &Taps::of(["conv2", "act1", "sum", "y"])).unwrap();
    let conv2 = usual.output("conv2").unwrap();
    let same = network.forward_from("conv2", &conv2, &x, &taps).unwrap();
    assert_close(&same.output("y").unwrap(), &usual.output("y").unwrap());
    let zero = Tensor::zeros(conv2.shape());
    let without = network.forward_from("conv2", &zero, &x, &Taps::of(["sum"])).unwrap();
    assert_close(&without.output("sum").unwrap(), &usual.output("act1").unwrap());
    let gradients = same.gradient(&[seed("y", batch(&[2, 5], 1))]).unwrap();
    let whole = network
        .forward(&x, &Taps::of(["y"]).with_gradient(GradientPlace::Layer("conv2".into())))
        .unwrap();
    assert_close(&gradients[0], &whole.gradient(&[seed("y", batch(&[2, 5], 1))]).unwrap()[0]);
    // The input is reached around the replaced layer.
    assert!(gradients[1].max_abs() > 0.0);
}

#[test]
fn every_bias_is_found_and_is_additive() {
    let network = network();
    let biases = network.biases().unwrap();
    let found: Vec<(&str, &[usize])> =
        biases.iter().map(|b| (b.layer.as_str(), b.value.shape())).collect();
    assert_eq!(
        found,
        [
            ("conv1", [6, 1, 1].as_slice()),
            ("norm1", &[6, 1, 1]),
            ("conv3", &[4, 1, 1]),
            ("y", &[5])
        ]
    );
    // With a zero input a bare convolution gives its bias, whatever was folded into it.
    let conv1 = network
        .forward(&Tensor::zeros([1, 2, 8, 8]), &Taps::of(["conv1"]))
        .unwrap()
        .output("conv1")
        .unwrap();
    assert!((conv1.data()[64] - biases[0].value.data()[1]).abs() < 1e-6);
}

#[test]
fn mistakes_are_told_apart() {
    let network = network();
    let x = batch(&[1, 2, 8, 8], 0);
    let code = |error: Option<Error>| error.unwrap().code;
    let error = network.forward(&x, &Taps::of(["conv33"])).err().unwrap();
    assert!(error.help.unwrap().contains("`conv3`"));
    assert_eq!(
        code(network.forward(&batch(&[1, 2, 8, 7], 0), &Taps::of(["y"])).err()),
        "fame::backend::batch_shape"
    );
    let pass = network.forward(&x, &Taps::of(["y"])).unwrap();
    assert_eq!(code(pass.output("conv3").err()), "fame::backend::not_tapped");
    assert_eq!(code(pass.gradient(&[]).err()), "fame::backend::no_places");
    let pass = network.forward(&x, &Taps::of(["y"]).with_gradient(GradientPlace::Input)).unwrap();
    assert_eq!(
        code(pass.gradient(&[seed("y", batch(&[1, 4], 0))]).err()),
        "fame::backend::cotangent_shape"
    );
    let ahead = Taps::of(["act1"]).with_gradient(GradientPlace::Layer("conv3".into()));
    assert_eq!(code(network.forward(&x, &ahead).err()), "fame::backend::no_gradient_path");
    assert_eq!(
        code(network.check_gradient("act1", &GradientPlace::Layer("conv3".into())).err()),
        "fame::backend::no_gradient_path"
    );
    network.check_gradient("y", &GradientPlace::Input).unwrap();
}

#[test]
fn broken_models_are_refused_with_one_sentence() {
    let refuse = |change: fn(&mut GraphProto)| {
        let mut proto = small();
        change(proto.graph.as_mut().unwrap());
        let error = load(proto).err().unwrap();
        assert!(error.message.contains("net.onnx") && error.message.ends_with('.'), "{error}");
        error.code
    };
    assert_eq!(
        refuse(|g| g.node[2].op_type = "Frobnicate".into()),
        "fame::backend::unknown_operator"
    );
    assert_eq!(refuse(|g| g.initializer[0].float_data[3] = f32::NAN), "fame::backend::not_finite");
    assert_eq!(refuse(|g| g.initializer[0].float_data.truncate(3)), "fame::backend::bad_model");
    assert_eq!(
        refuse(|g| g.initializer[0].dims = vec![i64::MAX, i64::MAX]),
        "fame::backend::bad_model"
    );
    assert_eq!(refuse(|g| g.node.clear()), "fame::backend::bad_model");
    assert_eq!(refuse(|g| g.input.clear()), "fame::backend::bad_model");
    assert_eq!(refuse(|g| g.node[3].input[0] = "nowhere".into()), "fame::backend::bad_model");
    assert_eq!(refuse(|g| g.node[0].attribute[0].ints = vec![1]), "fame::backend::bad_model");
}

#[test]
fn files_that_are_no_models_are_refused() {
    use fame_core::contract::{Backend, LoadRequest};
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in [
        ("empty.onnx", vec![]),
        ("text.onnx", b"not a model at all".to_vec()),
        ("bytes.onnx", vec![0xFF; 999]),
    ] {
        let file = folder.path().join(name);
        std::fs::write(&file, bytes).unwrap();
        let error = super::Tract::default().load(&LoadRequest::new(file)).err().unwrap();
        assert_eq!(error.code, "fame::backend::bad_model");
        assert!(error.message.contains(name) && error.help.is_some(), "{error}");
    }
    let missing = LoadRequest::new(folder.path().join("missing.onnx"));
    assert_eq!(super::Tract::default().load(&missing).err().unwrap().code, "fame::io");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Pulling back is linear: that of `a·u + b·v` is `a` times that of `u` plus `b` times that of
    /// `v`.
    #[test]
    fn pulling_back_is_linear(a in -2f32..2.0, b in -2f32..2.0, from in 0usize..1000) {
        let network = network();
        let pass = network.forward(&batch(&[1, 2, 8, 8], from), &Taps::of(["y"]).with_gradient(GradientPlace::Input)).unwrap();
        let (u, v) = (batch(&[1, 5], from + 1), batch(&[1, 5], from + 50));
        let mix = |u: &Tensor, v: &Tensor| Tensor::new(u.shape(), u.data().iter().zip(v.data()).map(|(u, v)| a * u + b * v).collect()).unwrap();
        let pull = |cotangent: Tensor| pass.gradient(&[seed("y", cotangent)]).unwrap().remove(0);
        let (of_u, of_v) = (pull(u.clone()), pull(v.clone()));
        let (got, want) = (pull(mix(&u, &v)), mix(&of_u, &of_v));
        let scale = of_u.max_abs().max(of_v.max_abs());
        for (got, want) in got.data().iter().zip(want.data()) {
            prop_assert!((got - want).abs() <= 4.0 * ROUNDING * scale);
        }
    }
}
