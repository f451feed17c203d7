//! The promises of the contract, on the small network of the fixtures.

use std::path::Path;

use fame_core::contract::{Backend, LoadRequest, Network};
use fame_core::testkit::check_device_rows;
use fame_core::{Error, GradientPlace, Taps, Tensor};
use proptest::prelude::*;
use tract_onnx::pb::ModelProto;

use super::network::TchNetwork;
use super::{Device, Precision, Tch};
use crate::backends::onnx::file::OnnxFile;
use crate::backends::onnx::fixtures::{assert_close, batch, model, node, seed, small};
use crate::backends::onnx::operators::OperatorTable;

fn load_as(proto: ModelProto, options: Tch) -> Result<TchNetwork, Error> {
    let file = OnnxFile::check(proto, None, "net.onnx".into())?;
    TchNetwork::new(file, OperatorTable::new(vec![]), None, options.settings()?)
}

fn network() -> TchNetwork {
    load_as(small(), Tch { threads: 1, ..Tch::default() }).unwrap()
}

fn golden(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/nets").join(format!("{name}.onnx"))
}

#[test]
fn a_batch_gives_what_a_loop_gives() {
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
        assert_close(
            &alone.output("act1").unwrap().row_tensor(0),
            &pass.output("act1").unwrap().row_tensor(i),
        );
        let gradients = alone
            .gradient(&[seed("y", Tensor::stack([&cotangent.row_tensor(i)]).unwrap())])
            .unwrap();
        assert_close(&gradients[0].row_tensor(0), &together[0].row_tensor(i));
        assert_close(&gradients[1].row_tensor(0), &together[1].row_tensor(i));
    }
}

#[test]
fn rows_are_walked_on_the_device_as_on_the_host() {
    let checks = check_device_rows(&network(), "y").unwrap();
    // Three rules, two spaces, with bounds and without.
    assert_eq!(checks.len(), 12);
    checks.iter().for_each(|check| println!("{check}"));
}

/// On one thread: a thread of libtorch's own keeps what it was started with.
#[test]
fn subnormal_numbers_are_zero_on_the_cpu_forward_and_backward() {
    let settings = Tch { threads: 1, ..Tch::default() }.settings().unwrap();
    let least = f64::from(f32::MIN_POSITIVE);
    let both = |x: &tch::Tensor| {
        let halved = x.f_mul_scalar(0.5)?;
        // The cotangent is the least number, and the gradient half of it.
        let scalar = halved.f_mul_scalar(least)?.f_sum(tch::Kind::Float)?;
        let gradient = tch::Tensor::f_run_backward(&[scalar], &[x], false, false)?;
        Ok::<_, tch::TchError>([halved.f_double_value(&[0])?, gradient[0].f_double_value(&[0])?])
    };
    let x = tch::Tensor::from_slice(&[f32::MIN_POSITIVE]).set_requires_grad(true);
    assert_eq!(both(&x).unwrap(), [least / 2.0; 2]);
    let told = |e| super::failure::failed("a product", &e);
    let flushed = settings.compute(|| both(&x).map_err(told)).unwrap();
    assert_eq!(flushed, if cfg!(target_arch = "x86_64") { [0.0; 2] } else { [least / 2.0; 2] });
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
    let taps = Taps::of(["y"])
        .with_gradient(GradientPlace::Layer("sum".into()))
        .with_gradient(GradientPlace::Input);
    let both =
        network.forward(&x, &taps).unwrap().gradient(&[seed("y", batch(&[2, 5], 2))]).unwrap();
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
    let pull = |seeds: &[fame_core::LayerCotangent]| pass.gradient(seeds).unwrap().remove(0);
    let (only_a, only_b, both) =
        (pull(std::slice::from_ref(&a)), pull(std::slice::from_ref(&b)), pull(&[a.clone(), b]));
    let sum = only_a.data().iter().zip(only_b.data()).map(|(a, b)| a + b).collect();
    assert_close(&both, &Tensor::new(both.shape(), sum).unwrap());
    assert_eq!(pull(std::slice::from_ref(&a)), only_a);
    assert_eq!(pull(&[]), Tensor::zeros(only_a.shape()));
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
    let without = network
        .forward_from("conv2", &Tensor::zeros(conv2.shape()), &x, &Taps::of(["sum"]))
        .unwrap();
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
    network.check_gradient("y", &GradientPlace::Input).unwrap();
}

#[test]
fn an_operator_that_nothing_computes_is_named() {
    let nodes = vec![node("Relu", &["x"], "r", &[]), node("Twist", &["r"], "y", &[])];
    let network = load_as(model(nodes, vec![], "y"), Tch::default());
    // tract refuses it first if it does not know it either.
    let error = network
        .and_then(|n| n.forward(&batch(&[1, 2, 8, 8], 0), &Taps::of(["y"])).map(|_| ()))
        .err()
        .unwrap();
    assert!(error.message.contains("Twist"), "{error}");
}

#[test]
fn the_rounding_of_tensor_cores_is_refused_without_any() {
    let error = Tch { precision: Precision::Tf32, ..Tch::default() }.check().unwrap_err();
    assert_eq!(error.code, "fame::backend::precision");
    assert!(error.help.unwrap().contains("F32"));
}

#[test]
fn a_cuda_device_that_is_not_there_is_an_error_in_the_check_and_at_loading() {
    let options = Tch { device: Device::Cuda(99), ..Tch::default() };
    assert_eq!(options.check().unwrap_err().code, "fame::backend::no_device");
    let request = LoadRequest::new(golden("vit_slim")).with_input_shape(vec![3, 64, 64]);
    assert_eq!(options.load(&request).err().unwrap().code, "fame::backend::no_device");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Pulling back is linear, and a batch is a loop, for any input.
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
            prop_assert!((got - want).abs() <= 4e-5 * scale);
        }
    }
}
