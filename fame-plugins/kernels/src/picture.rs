//! The pictures of one run, each in memory of its own, and pieces of them for several threads.

use std::ops::Range;

use super::epilogue::{Epilogue, Then};

/// One row of a batch: what is read, and where its result goes.
///
/// The rows of a run need not lie side by side, so that a caller whose rows have tensors of their
/// own copies nothing to have them go by the weights together.
#[derive(Debug)]
pub struct Picture<'a> {
    /// `[height][width][channel]` of the argument.
    pub from: &'a [f32],
    /// The same of the result. All of it is written.
    pub to: &'a mut [f32],
    /// What is done to the result before it is stored. Its tensors are this picture's.
    pub epilogue: Epilogue<'a>,
}

impl<'a> Picture<'a> {
    /// The pictures of a batch whose rows lie side by side, in the result and the epilogue's tensors
    /// too. `lens` are the values of one picture of the argument and of the result.
    pub fn of_batch(
        from: &'a [f32],
        to: &'a mut [f32],
        epilogue: &Epilogue<'a>,
        lens: [usize; 2],
    ) -> Vec<Self> {
        let rows = [from.len() / lens[0], to.len() / lens[1]];
        assert_eq!([rows[0] * lens[0], rows[0] * lens[1]], [from.len(), to.len()], "whole rows");
        epilogue.check_len(to.len());
        let pictures = from.chunks_exact(lens[0]).zip(to.chunks_exact_mut(lens[1])).enumerate();
        let picture = |(row, (from, to))| {
            let epilogue = epilogue.of(row * lens[1]..(row + 1) * lens[1]);
            Self { from, to, epilogue }
        };
        pictures.map(picture).collect()
    }

    /// The pieces of a picture, whose results are written into `pieces` of its own: one behind the
    /// other, from its first value to its last.
    pub fn into_pieces(self, pieces: &[Range<usize>]) -> Vec<Self> {
        let Self { from, mut to, epilogue } = self;
        let cut = |piece: &Range<usize>| {
            let (now, rest) = std::mem::take(&mut to).split_at_mut(piece.len());
            to = rest;
            Self { from, to: now, epilogue: epilogue.of(piece.clone()) }
        };
        pieces.iter().map(cut).collect()
    }

    /// The same picture with another argument, for a part of a run.
    pub(crate) fn reading<'b>(&'b mut self, from: &'b [f32]) -> Picture<'b> {
        Picture { from, to: self.to, epilogue: self.epilogue }
    }
}

impl<'a> Epilogue<'a> {
    /// What is done to some of the values.
    fn of(&self, values: Range<usize>) -> Self {
        let part = |tensor: &'a [f32]| &tensor[values.clone()];
        let then = match self.then {
            Then::Keep | Then::Relu | Then::Clamp { .. } | Then::PRelu(_) => self.then,
            Then::ReluMask(of) => Then::ReluMask(part(of)),
            Then::ClampMask { of, low, high } => Then::ClampMask { of: part(of), low, high },
            Then::PReluMask { of, slopes } => Then::PReluMask { of: part(of), slopes },
        };
        Self { bias: self.bias, add: self.add.map(part), then }
    }
}
