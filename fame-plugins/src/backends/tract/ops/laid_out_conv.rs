//! A convolution, or its input gradient, by a kernel of our own whose weights are laid out once.

use std::cell::{Cell, RefCell};
use std::ops::Range;

use rayon::prelude::*;

use tract_onnx::tract_core::internal::*;

use super::unwritten;
use crate::backends::onnx::tensors::{floats, floats_mut};
use fame_kernels::{Convolution, Epilogue, Picture, Scratch, Then, without_subnormals};

/// A convolution of values whose channels lie last, with what follows it in the network.
///
/// Inputs: the argument; the value added, where there is one; the value that tells where a
/// derivative is 0 or the slope, where there is one. The last two are shaped like the result.
#[derive(Clone, Debug)]
pub(in super::super) struct LaidOutConv {
    /// The convolution with its weights.
    pub(in super::super) kernel: Arc<Convolution>,
    /// What pixels outside of a picture are, one value for each input channel, where not 0.
    pub(in super::super) border: Option<Arc<[f32]>>,
    /// One value for each output channel.
    pub(in super::super) bias: Option<Arc<[f32]>>,
    /// Whether another value is added.
    pub(in super::super) adds: bool,
    /// What comes last.
    pub(in super::super) after: After,
    /// The shape of the result.
    pub(in super::super) shape: TVec<usize>,
}

/// An activation, or the derivative of one.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) enum After {
    /// Nothing.
    Keep,
    /// Keeps what lies between two bounds, and moves the rest to them.
    Clamp([f32; 2]),
    /// `v` where it is positive, else so many times `v`; one slope for each channel.
    PRelu(Arc<[f32]>),
    /// The derivative of [`After::Clamp`], told by its argument or result.
    ClampGrad([f32; 2]),
    /// The derivative of [`After::PRelu`].
    PReluGrad(Arc<[f32]>),
}

impl After {
    /// Whether another value tells where it does what.
    pub(in super::super) fn is_derivative(&self) -> bool {
        matches!(self, Self::ClampGrad(_) | Self::PReluGrad(_))
    }

    fn then<'a>(&'a self, of: &'a [f32]) -> Then<'a> {
        let [low, high] = match self {
            Self::Clamp(bounds) | Self::ClampGrad(bounds) => *bounds,
            _ => [f32::NEG_INFINITY, f32::INFINITY],
        };
        let is_relu = low == 0.0 && high == f32::INFINITY;
        match self {
            Self::Keep => Then::Keep,
            Self::Clamp(_) if is_relu => Then::Relu,
            Self::Clamp(_) => Then::Clamp { low, high },
            Self::PRelu(slopes) => Then::PRelu(slopes),
            Self::ClampGrad(_) if is_relu => Then::ReluMask(of),
            Self::ClampGrad(_) => Then::ClampMask { of, low, high },
            Self::PReluGrad(slopes) => Then::PReluMask { of, slopes },
        }
    }
}

/// Two are equal where they share their weights.
impl PartialEq for LaidOutConv {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.kernel, &other.kernel)
            && self.border == other.border
            && self.bias == other.bias
            && self.adds == other.adds
            && self.after == other.after
    }
}

impl Eq for LaidOutConv {}

/// Operations of a layer for each thread that shares it: 50 µs of work at 200 GFLOP/s, several times
/// what waking a thread takes. Not tuned.
const WORTH_A_THREAD: f64 = 1e7;

thread_local! {
    /// Memory of one thread, used again by every convolution.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
    /// How many threads share the layers of the rows that run on this one.
    static THREADS: Cell<usize> = const { Cell::new(1) };
}

/// What `work` gives, which runs rows on this thread with the help of others of its pool: of
/// `threads` in all.
pub(in super::super) fn with_threads<T>(threads: usize, work: impl FnOnce() -> T) -> T {
    let before = THREADS.replace(threads);
    let result = work();
    THREADS.set(before);
    result
}

impl LaidOutConv {
    /// Whether several rows take less time together than one by one.
    pub(in super::super) fn gains_from_rows(&self) -> bool {
        self.kernel.gains_from_pictures()
    }

    /// The results of several rows, each with its inputs, that go by the weights together.
    pub(in super::super) fn eval_rows(&self, rows: Vec<TVec<TValue>>) -> TractResult<Vec<TValue>> {
        // Every kernel writes every value; their tests begin with memory full of NaN.
        let outputs = rows.iter().map(|_| unwritten(&self.shape));
        let mut outputs = outputs.collect::<TractResult<Vec<Tensor>>>()?;
        let lens = self.kernel.lens();
        let mut pictures = vec![];
        for (inputs, output) in rows.iter().zip(&mut outputs) {
            let mut inputs = inputs.iter();
            let mut next = || floats(inputs.next().context("an input is missing")?);
            let (from, to) = (next()?, floats_mut(output)?);
            ensure!(from.len() / lens[0] == to.len() / lens[1], "rows were added or dropped");
            let add = self.adds.then(&mut next).transpose()?;
            let of = self.after.is_derivative().then(next).transpose()?;
            let then = self.after.then(of.unwrap_or_default());
            let epilogue = Epilogue { bias: self.bias.as_deref(), add, then };
            pictures.append(&mut Picture::of_batch(from, to, &epilogue, lens));
        }
        let worth = (self.kernel.flops() * rows.len() as f64 / WORTH_A_THREAD) as usize;
        let pieces = self.kernel.pieces(worth.clamp(1, THREADS.get()));
        let mut parts: Vec<Vec<Picture>> = pieces.iter().map(|_| vec![]).collect();
        for picture in pictures {
            let split = picture.into_pieces(&pieces);
            parts.iter_mut().zip(split).for_each(|(part, piece)| part.push(piece));
        }
        let run = |(part, piece): (&mut Vec<Picture>, &Range<usize>)| {
            // Taken, not borrowed: a thread that waits may do another layer's work meanwhile.
            let mut scratch = SCRATCH.take();
            self.kernel.run_piece(part, piece, self.border.as_deref(), &mut scratch);
            SCRATCH.set(scratch);
        };
        match (parts.as_mut_slice(), pieces.as_slice()) {
            ([part], [piece]) => run((part, piece)),
            (parts, pieces) => parts
                .par_iter_mut()
                .zip(pieces)
                .with_max_len(1)
                .for_each(|part| without_subnormals(|| run(part))),
        }
        Ok(outputs.into_iter().map(IntoTValue::into_tvalue).collect())
    }
}

impl Op for LaidOutConv {
    fn name(&self) -> StaticName {
        "LaidOutConv".into()
    }

    fn info(&self) -> TractResult<Vec<String>> {
        let kernel = self.kernel.algorithm();
        Ok(vec![format!("{kernel:?}, adds: {}, {:?}", self.adds, self.after)])
    }

    op_as_typed_op!();
}

impl EvalOp for LaidOutConv {
    op_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        Ok(self.eval_rows(vec![inputs])?.into())
    }
}

impl TypedOp for LaidOutConv {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let more = usize::from(self.adds) + usize::from(self.after.is_derivative());
        ensure!(inputs.len() == 1 + more, "{} inputs of {self:?}", inputs.len());
        for input in &inputs[1..] {
            ensure!(input.shape.as_concrete() == Some(&self.shape), "{input:?} for {self:?}");
        }
        Ok(tvec!(f32::fact(&self.shape)))
    }

    as_op!();
}
