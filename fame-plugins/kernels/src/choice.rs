//! Which algorithm a convolution gets: the one that was measured to be fastest on this machine.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::buffer::Scratch;
use super::convolution::{Algorithm, Convolution};
use super::epilogue::Epilogue;
use super::geometry::{Direction, Geometry};
use super::vector::Level;

/// What is to be computed, and where: what a measurement depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Layer {
    /// The convolution.
    pub geometry: Geometry,
    /// Which of its maps.
    pub direction: Direction,
    /// Rows of a batch in one run.
    pub rows: usize,
    /// The instructions.
    pub level: Level,
}

/// How fast one algorithm was.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
pub struct Measured {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// Of one run; the shortest of several.
    pub seconds: f64,
    /// Of the weights as they are laid out.
    pub bytes: usize,
}

/// Candidates whose time is at most so many times the shortest count as equally fast, and the one
/// with the fewest bytes of weights is taken: within what two measurements of one thing differ by.
const AS_FAST: f64 = 1.05;
/// Runs of each candidate at least: the first fills the caches.
const RUNS: usize = 3;

impl Layer {
    /// Its name in the file of measurements: the same on every machine with the same instructions.
    pub fn key(&self) -> String {
        let Geometry { inputs, outputs, groups, extent, kernel, stride, dilation, before, after } =
            self.geometry;
        let direction = match self.direction {
            Direction::Forward => "forward",
            Direction::Backward => "backward",
        };
        let pair = |[a, b]: [usize; 2]| format!("{a}x{b}");
        format!(
            "{} {direction} {inputs}to{outputs}/{groups} on {} kernel {} stride {} dilation {} \
             padding {} {} rows {}",
            self.level.name(),
            pair(extent),
            pair(kernel),
            pair(stride),
            pair(dilation),
            pair(before),
            pair(after),
            self.rows,
        )
    }

    /// Lays `weights` out for `algorithm`.
    pub fn with(&self, algorithm: Algorithm, weights: &[f32]) -> Convolution {
        Convolution::new(self.level, self.geometry, self.direction, algorithm, weights)
    }

    /// Measures every candidate for about `each` long, and gives the fastest, ready to run, with
    /// what was measured.
    pub fn fastest(&self, weights: &[f32], each: Duration) -> (Convolution, Vec<Measured>) {
        let all = self.measure_all(weights, each);
        // Laid out again: to keep all of them until the end would take several times the memory.
        (self.with(pick(&all), weights), all)
    }

    /// Measures every candidate for about `each` long.
    pub fn measure_all(&self, weights: &[f32], each: Duration) -> Vec<Measured> {
        let mut scratch = Scratch::default();
        let mut all: Vec<Measured> = vec![];
        let mut last: Option<Convolution> = None;
        for algorithm in Algorithm::candidates(&self.geometry, self.direction) {
            let known = last.take().filter(|known| known.algorithm().shares_weights(algorithm));
            let mut candidate = known.unwrap_or_else(|| self.with(algorithm, weights));
            candidate.set_strip(algorithm.strip().unwrap_or_default());
            let seconds = self.measure(&candidate, each, &mut scratch);
            all.push(Measured { algorithm, seconds, bytes: candidate.bytes() });
            last = Some(candidate);
        }
        all
    }

    /// Measures one algorithm for about `each` long.
    pub fn measure_one(&self, algorithm: Algorithm, weights: &[f32], each: Duration) -> Measured {
        let kernel = self.with(algorithm, weights);
        let seconds = self.measure(&kernel, each, &mut Scratch::default());
        Measured { algorithm, seconds, bytes: kernel.bytes() }
    }

    /// Seconds of one run: the shortest of several within about `each`.
    fn measure(&self, candidate: &Convolution, each: Duration, scratch: &mut Scratch) -> f64 {
        let [from, to] = candidate.lens().map(|len| len * self.rows);
        // Ones, not zeros: pages of zeros may all be one page.
        let (input, mut output) = (vec![1.0; from], vec![1.0; to]);
        shortest(each, || {
            candidate.run_batch(&input, None, &mut output, &Epilogue::default(), scratch);
        })
    }
}

/// Multiplications and additions that one core of this machine does in a second, where all that it
/// reads is in its first cache: of the product that all dense kernels are made of.
pub fn product_peak() -> f64 {
    /// Long enough for a clock that falls under wide instructions to have fallen.
    const EACH: Duration = Duration::from_millis(40);
    /// Products of a run: a clock's reading takes as long as one.
    const MANY: usize = 200;
    // 12 KiB of values, 16 of weights and 3 of results.
    let geometry = Geometry {
        inputs: 128,
        outputs: 32,
        groups: 1,
        extent: [1, 24],
        kernel: [1; 2],
        stride: [1; 2],
        dilation: [1; 2],
        before: [0; 2],
        after: [0; 2],
    };
    let layer = Layer { geometry, direction: Direction::Forward, rows: 1, level: Level::best() };
    let product = layer.with(Algorithm::Direct, &[1.0; 128 * 32]);
    let (input, mut output) = ([1.0; 128 * 24], [0.0; 32 * 24]);
    let mut scratch = Scratch::default();
    let plain = Epilogue::default();
    let seconds = shortest(EACH, || {
        for _ in 0..MANY {
            product.run_batch(&input, None, &mut output, &plain, &mut scratch);
        }
    });
    MANY as f64 * geometry.flops() / seconds
}

/// Seconds of one call of `run`: the shortest of several within about `each`.
pub fn shortest(each: Duration, mut run: impl FnMut()) -> f64 {
    let (start, mut shortest, mut runs) = (Instant::now(), f64::INFINITY, 0);
    while runs < RUNS || start.elapsed() < each {
        let start = Instant::now();
        run();
        shortest = shortest.min(start.elapsed().as_secs_f64());
        runs += 1;
    }
    shortest
}

/// The algorithm to take: of those that are as fast as the fastest, the one of the fewest bytes,
/// and the earlier one of these.
fn pick(measured: &[Measured]) -> Algorithm {
    let shortest = measured.iter().map(|m| m.seconds).fold(f64::INFINITY, f64::min);
    let fast = measured.iter().filter(|m| m.seconds <= shortest * AS_FAST);
    fast.min_by_key(|m| m.bytes).expect("something is always as fast as the fastest").algorithm
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(algorithm: Algorithm, seconds: f64, bytes: usize) -> Measured {
        Measured { algorithm, seconds, bytes }
    }

    #[test]
    fn of_equally_fast_algorithms_the_smallest_is_taken() {
        let all = [
            measured(Algorithm::Direct, 3.0, 1),
            measured(Algorithm::Winograd4(24), 1.0, 4),
            measured(Algorithm::Winograd4(48), 1.01, 4),
            measured(Algorithm::Winograd2(96), 1.04, 2),
        ];
        assert_eq!(pick(&all), Algorithm::Winograd2(96));
        assert_eq!(pick(&all[..3]), Algorithm::Winograd4(24));
    }

    #[test]
    fn every_candidate_is_measured_and_the_taken_one_runs() {
        let geometry = Geometry::square([4, 4], 6, 3, 1, 1);
        let level = Level::best();
        let layer = Layer { geometry, direction: Direction::Backward, rows: 2, level };
        let (convolution, all) = layer.fastest(&[0.5; 144], Duration::ZERO);
        assert_eq!(all.len(), Algorithm::candidates(&geometry, Direction::Backward).len());
        assert!(all.iter().all(|m| m.seconds > 0.0 && m.seconds.is_finite()));
        let mut output = vec![0.0; 144];
        let plain = Epilogue::default();
        convolution.run_batch(
            &[1.0; 288],
            None,
            &mut vec![0.0; 288],
            &plain,
            &mut Scratch::default(),
        );
        convolution.run_batch(&[1.0; 144], None, &mut output, &plain, &mut Scratch::default());
        // A pixel inside: nine taps of four channels.
        assert!((output[(6 + 1) * 4] - 18.0).abs() < 1e-4);
        assert!(layer.key().ends_with(
            "backward 4to4/1 on 6x6 kernel 3x3 stride 1x1 dilation 1x1 padding 1x1 1x1 rows 2"
        ));
    }
}
