//! `KpcaCam`: the first kernel principal component of the layer.

use fame_core::{Result, data::facts};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Cam, LayerMap, cam,
    eigen::{Largest, largest},
    planes::Planes,
    probe::Probe,
};

/// How alike two cells x and y of the layer (their channels, centred over the cells) are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Kernel {
    /// tanh(γ·x·y + 1), the default of pytorch-grad-cam.
    #[default]
    Sigmoid,
    /// exp(−γ·‖x − y‖²).
    Rbf,
    /// x·y: the map is EigenCAM's.
    Linear,
}

cam! {
    /// KPCA-CAM: the layer's cells along the direction in which they vary most after a kernel has
    /// bent their space; then ReLU. The end that is farther from zero is up, as scikit-learn's
    /// `KernelPCA` settles it.
    ///
    /// Like EigenCAM it knows nothing of y: every class has the same map.
    KpcaCam {
        /// `Sigmoid`, `Rbf` or `Linear`.
        kernel: Kernel = Kernel::default(),
        /// γ, above 0. Default: 1 / number of channels.
        gamma: Option<f64> = None,
    }
    summary: "The first kernel principal component of the layer; knows no class",
    claim: "Shows where one layer is active in its main direction, after a kernel bent its space; not what the asked value rests on: it does not know what was asked.",
    example: "KpcaCam(layer: BeforePooling, kernel: Sigmoid)",
    reference: "Karmani et al., KPCA-CAM, 2024, arXiv 2410.00267; pytorch-grad-cam 1.5.7",
}

impl Cam for KpcaCam {
    const GRADIENT: bool = false;

    fn map(&self, a: &Planes, _: &Planes, _: &dyn Probe) -> Result<LayerMap> {
        let gamma = self.gamma.unwrap_or(1.0 / a.channels as f64);
        let mut matrix = self.kernel.matrix(&cells(a), gamma);
        centre(&mut matrix);
        let Some(Largest { size, direction, rounds }) = largest(matrix) else {
            return Ok(vec![0.0; a.area()].into());
        };
        let ends = direction.iter().fold((0.0f64, 0.0f64), |(l, h), v| (l.min(*v), h.max(*v)));
        let scale = size.sqrt() * if -ends.0 > ends.1 { -1.0 } else { 1.0 };
        let values = direction.into_iter().map(|v| (v * scale) as f32).collect();
        Ok(LayerMap { values, facts: facts([("rounds", rounds.into())]), warning: None })
    }
}

/// The channels of each cell, centred over the cells.
fn cells(planes: &Planes) -> Vec<Vec<f64>> {
    let area = planes.area();
    let mut cells = vec![Vec::with_capacity(planes.channels); area];
    for plane in planes.iter() {
        let mean = plane.iter().map(|v| f64::from(*v)).sum::<f64>() / area as f64;
        cells.iter_mut().zip(plane).for_each(|(cell, v)| cell.push(f64::from(*v) - mean));
    }
    cells
}

impl Kernel {
    fn matrix(self, cells: &[Vec<f64>], gamma: f64) -> Vec<Vec<f64>> {
        let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
        let alike = |x: &[f64], y: &[f64]| match self {
            Self::Sigmoid => (gamma * dot(x, y) + 1.0).tanh(),
            Self::Linear => dot(x, y),
            Self::Rbf => {
                let apart: f64 = x.iter().zip(y).map(|(x, y)| (x - y).powi(2)).sum();
                (-gamma * apart).exp()
            }
        };
        cells.iter().map(|x| cells.iter().map(|y| alike(x, y)).collect()).collect()
    }
}

/// Centres the kernel's space: takes the means of row and column away and adds that of all.
fn centre(matrix: &mut [Vec<f64>]) {
    let n = matrix.len() as f64;
    let means: Vec<f64> = matrix.iter().map(|row| row.iter().sum::<f64>() / n).collect();
    let all = means.iter().sum::<f64>() / n;
    for (row, mean) in matrix.iter_mut().zip(&means) {
        row.iter_mut().zip(&means).for_each(|(v, other)| *v += all - mean - other);
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            EigenCam,
            testing::{Formula, map, planes, usual},
        },
        *,
    };

    #[test]
    fn a_linear_kernel_is_eigen_cam() {
        let a: [&[f32]; 2] = [&[3., 3.5, 21., -3.], &[4., 4., 28., -4.5]];
        let wanted = map::<EigenCam>(&a, &[&[0.; 4], &[0.; 4]]);
        let linear = KpcaCam { kernel: Kernel::Linear, ..usual() };
        let found = linear.map(&planes(&a), &planes(&a), &Formula::default()).unwrap().values;
        // Both iterate; single precision of values up to 40.
        assert!(
            found.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 1e-3),
            "{found:?} {wanted:?}"
        );
    }

    #[test]
    fn kernels_are_those_of_scikit_learn() {
        // KernelPCA(1, kernel=…).fit_transform of these cells, scikit-learn 1.9.1.
        let a: [&[f32]; 2] = [&[0.0, 1.0, 2.0, 0.5], &[1.0, -1.0, 0.5, 0.25]];
        for (kernel, wanted) in KNOWN {
            let cam = KpcaCam { kernel, ..usual() };
            let found = cam.map(&planes(&a), &planes(&a), &Formula::default()).unwrap().values;
            assert!(
                found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-5),
                "{kernel:?} {found:?} {wanted:?}"
            );
        }
    }

    #[test]
    fn a_layer_without_variation_has_an_empty_map() {
        let even = planes(&[&[2.0, 2.0]]);
        let values = usual::<KpcaCam>().map(&even, &even, &Formula::default()).unwrap().values;
        assert!(values.iter().all(|v| v.abs() < 1e-6), "{values:?}");
    }

    const KNOWN: [(Kernel, [f32; 4]); 2] = [
        (Kernel::Sigmoid, [0.536_705, -0.431_278, -0.248_978, 0.143_550]),
        (Kernel::Rbf, [0.671_498, -0.483_115, -0.492_998, 0.304_615]),
    ];
}
