//! How fast the convolution kernels are on this machine, layer by layer, beside one another.
//!
//! ```text
//! cargo bench -p fame-kernels -- [rows] [levels]
//! ```
//!
//! `rows` counts rows of a batch in one run, by default 1; with `levels`, every set of instructions
//! that the CPU has is measured and not only the best. Each candidate is told in GFLOP/s, counted
//! as a direct convolution's multiplications and additions whatever was really computed, of the
//! shortest of several runs on one thread: other work on the machine only adds to a time. The one
//! that the engine would take for `f32` is marked; `Bf16` is what it takes for that precision.

use std::time::Duration;

use fame_kernels::{Algorithm, Direction, Geometry, Layer, Level};

/// How long each candidate is measured.
const EACH: Duration = Duration::from_millis(100);

/// Layers of ResNet-50, IResNet-50, VGG19, MobileFaceNet, ConvNeXt and ViT-Tiny, whose dense layers
/// have one tap: input and output channels, pixels along a side, taps, stride, groups.
const LAYERS: &[[usize; 6]] = &[
    [64, 64, 56, 3, 1, 1],
    [64, 64, 112, 3, 1, 1],
    [128, 128, 28, 3, 1, 1],
    [128, 128, 56, 3, 1, 1],
    [256, 256, 14, 3, 1, 1],
    [256, 256, 28, 3, 1, 1],
    [512, 512, 7, 3, 1, 1],
    [512, 512, 14, 3, 1, 1],
    [64, 256, 56, 1, 1, 1],
    [256, 64, 56, 1, 1, 1],
    [512, 128, 28, 1, 1, 1],
    [1024, 256, 14, 1, 1, 1],
    [256, 1024, 14, 1, 1, 1],
    [2048, 512, 7, 1, 1, 1],
    [512, 2048, 7, 1, 1, 1],
    [3, 64, 224, 7, 2, 1],
    [3, 64, 112, 3, 1, 1],
    [128, 128, 56, 3, 2, 1],
    [256, 256, 28, 3, 2, 1],
    [256, 512, 56, 1, 2, 1],
    [64, 64, 28, 5, 1, 1],
    [64, 64, 112, 3, 1, 64],
    [128, 128, 28, 3, 2, 128],
    [96, 96, 56, 7, 1, 96],
    [96, 384, 56, 1, 1, 1],
    [384, 96, 56, 1, 1, 1],
    [384, 1536, 14, 1, 1, 1],
    [1536, 384, 14, 1, 1, 1],
    [768, 3072, 7, 1, 1, 1],
    [3072, 768, 7, 1, 1, 1],
    [192, 576, 14, 1, 1, 1],
    [192, 768, 14, 1, 1, 1],
    [768, 192, 14, 1, 1, 1],
];

fn geometry([inputs, outputs, side, taps, stride, groups]: [usize; 6]) -> Geometry {
    Geometry::square([inputs, outputs], side, taps, stride, groups)
}

/// Weights that are the same on every machine.
fn weights(geometry: &Geometry) -> Vec<f32> {
    let taps = geometry.kernel[0] * geometry.kernel[1];
    let n = geometry.outputs * geometry.inputs / geometry.groups * taps;
    (0..n).map(|i| ((i as f32 * 12.9898).sin() * 43_758.547).fract()).collect()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rows = arguments.iter().find_map(|a| a.parse().ok()).unwrap_or(1);
    let mut levels = Level::available();
    if !arguments.iter().any(|a| a == "levels") {
        levels = vec![Level::best()];
    }
    println!("GFLOP/s of one thread, {rows} rows in one run; * is what the engine takes");
    for geometry in LAYERS.iter().map(|&layer| geometry(layer)) {
        let weights = weights(&geometry);
        for direction in [Direction::Forward, Direction::Backward] {
            for &level in &levels {
                let layer = Layer { geometry, direction, rows, level };
                let (taken, mut all) = layer.fastest(&weights, EACH);
                if Algorithm::Bf16.fits(&geometry, direction) {
                    all.push(layer.measure_one(Algorithm::Bf16, &weights, EACH));
                }
                let each = all.iter().map(|m| {
                    let rate = geometry.flops() * rows as f64 / m.seconds / 1e9;
                    let mark = if m.algorithm == taken.algorithm() { "*" } else { "" };
                    format!("{mark}{:?} {rate:.0}", m.algorithm)
                });
                println!("{}: {}", layer.key(), each.collect::<Vec<_>>().join(", "));
            }
        }
    }
}
