//! The backends under test and what they are held to.

use std::path::Path;

use fame_core::contract::Backend;
use fame_core::registry::{BuildContext, Kind, Registry};
use fame_core::text::Spec;

/// A backend with its tolerances, all of them relative L2 distances.
pub(crate) struct Subject {
    /// Its spec in recipe text.
    pub(crate) spec: String,
    /// The backend.
    pub(crate) backend: Box<dyn Backend>,
    /// For one operator, forward and gradient.
    pub(crate) operator: f64,
    /// For whole networks, forward.
    pub(crate) forward: f64,
    /// For whole networks in fewer bits than f32 has: how far the gradient may be off in units of
    /// PyTorch's own bf16 error. `None`: f32.
    slack: Option<f64>,
    /// Between a row alone and the same row in a batch. 0: the same bits.
    pub(crate) batch: f64,
}

/// One f32 operator: a few hundred summands, each rounded to 6e-8, and functions such as `exp` good
/// to 1e-6 or so.
pub(crate) const F32_OPERATOR: f64 = 1e-5;
/// A whole f32 network: PyTorch's own f32 and f64 differ by up to 1e-5 on the small ones; the rest
/// is another order of sums.
pub(crate) const F32_NETWORK: f64 = 1e-4;
/// bf16 has 8 bits: each operand is off by up to 4e-3, and where terms cancel the result is off by
/// a multiple of that.
const BF16_OPERATOR: f64 = 6e-2;
/// The same in bf16; PyTorch's own bf16 forward pass is off by up to 0.09 (MobileNetV2).
const BF16_NETWORK: f64 = 0.15;
/// TensorFloat-32 has three bits of mantissa more than bf16, so each operand is off by an eighth of
/// that.
const TF32_OPERATOR: f64 = BF16_OPERATOR / 8.0;
/// The same for a whole network.
const TF32_NETWORK: f64 = BF16_NETWORK / 8.0;
/// How far PyTorch's **own** bf16 gradient lies from its f64 one, on the slim networks
/// (`tests/oracles/bf16.py`). Rounding to 8 bits pushes inputs of ReLUs over their kinks, and
/// networks of few random channels have no others to average over: those without ReLUs are good to
/// 1 or 2 %.
const BF16_GRADIENT: [(&str, f64); 14] = [
    ("branch_slim", 0.12),
    ("convnext_slim", 0.01),
    ("densenet_slim", 0.81),
    ("efficientnet_slim", 0.04),
    ("iresnet50_slim", 0.10),
    ("mobilenet_v2_slim", 0.74),
    ("mobilenet_v3_slim", 0.30),
    ("nhwc_slim", 0.17),
    ("resnet50_slim", 0.65),
    ("squeezenet_slim", 0.18),
    ("swin_slim", 0.02),
    ("unet_slim", 0.09),
    ("vgg_slim", 0.41),
    ("vit_slim", 0.02),
];
/// Another program, or the same on another processor, rounds other sums, and so pushes other units
/// over their kinks: that far a bf16 gradient may be off in units of PyTorch's own. The worst seen
/// is the U-Net, 3.1 times what stands in the table: on an H100 and on a CPU of another maker than
/// the table's, alike.
const BF16_SLACK: f64 = 4.0;
/// TensorFloat-32 rounds less than bf16, so it must not be worse than PyTorch's bf16 is.
const TF32_SLACK: f64 = 1.0;
/// And this much where PyTorch happens to be nearly right.
const BF16_LEAST: f64 = 0.05;
/// Libraries choose other kernels, so another order of sums, for other batch sizes.
const F32_BATCH: f64 = 1e-5;

impl Subject {
    /// How far the gradient of network `name` may be off. `None`: it is told, but held to nothing,
    /// for nobody has measured what few bits do to this network, or they leave so little of its
    /// gradient that none at all, which is 1 away, would pass.
    pub(crate) fn gradient(&self, name: &str) -> Option<f64> {
        let Some(slack) = self.slack else { return Some(F32_NETWORK) };
        let (_, own) = BF16_GRADIENT.iter().find(|(known, _)| *known == name)?;
        Some(slack * own + BF16_LEAST).filter(|bound| *bound < 1.0)
    }

    /// How far a row of a batch may lie from the same row alone, for a whole network: its values,
    /// and its gradients. In few bits a CUDA device takes other kernels for another batch size,
    /// whose roundings land on other sides of kinks: there gradients are held to what their errors
    /// are.
    pub(crate) fn in_a_batch(&self, name: &str) -> (f64, Option<f64>) {
        let values = 10.0 * self.batch;
        (
            values,
            if self.slack.is_some() && self.spec.contains("Cuda") {
                self.gradient(name)
            } else {
                Some(values)
            },
        )
    }
}

/// Specs. Whoever adds a backend adds a line.
const SPECS: [&str; 7] = [
    "Tract()",
    "Tract(precision: Bf16)",
    "Tch(device: Cpu)",
    "Tch(device: Cpu, precision: Bf16)",
    "Tch(device: Cuda(0))",
    "Tch(device: Cuda(0), precision: Tf32)",
    "Tch(device: Cuda(0), precision: Bf16)",
];

/// Every backend of the list that is here; the others are named with the reason.
pub(crate) fn present() -> Vec<Subject> {
    let given = std::env::var("FAME_BACKENDS").ok();
    let specs: Vec<&str> =
        given.as_ref().map_or(SPECS.to_vec(), |text| text.split(';').map(str::trim).collect());
    let mut found = vec![];
    for spec in specs {
        match build(spec) {
            Ok(backend) => found.push(subject(spec, backend)),
            Err(why) => println!("ABSENT {spec}: {why}"),
        }
    }
    assert!(!found.is_empty(), "none of the backends is here");
    found
}

fn subject(spec: &str, backend: Box<dyn Backend>) -> Subject {
    let (operator, forward, slack) = match spec {
        _ if spec.contains("Tf32") => (TF32_OPERATOR, TF32_NETWORK, Some(TF32_SLACK)),
        _ if spec.contains("Bf16") => (BF16_OPERATOR, BF16_NETWORK, Some(BF16_SLACK)),
        _ => (F32_OPERATOR, F32_NETWORK, None),
    };
    Subject {
        spec: spec.to_owned(),
        backend,
        operator,
        forward,
        slack,
        // Tract promises the same bits whatever batch a row is in.
        batch: if spec.starts_with("Tract") {
            0.0
        } else if slack.is_some() {
            operator
        } else {
            F32_BATCH
        },
    }
}

/// Builds a backend by its spec, or says why there is none.
pub(crate) fn build(spec: &str) -> Result<Box<dyn Backend>, String> {
    let registry = Registry::builtin().map_err(|e| e.to_string())?;
    let parsed = Spec::from_text(spec).map_err(|e| format!("{e:?}"))?;
    if !registry.names(Kind::Backend).contains(&parsed.name.as_str()) {
        return Err(format!("no backend `{}` is compiled in", parsed.name));
    }
    let with = BuildContext::new(&registry, Path::new("."));
    // It is there: that it does not understand its own options is a fault, not an absence.
    let built =
        registry.build::<dyn Backend>(&parsed, &with).unwrap_or_else(|e| panic!("{spec}: {e:#?}"));
    built.plugin.check().map_err(|e| e.to_string())?;
    Ok(built.plugin)
}
