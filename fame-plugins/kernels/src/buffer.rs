//! Memory that starts at a cache line, and is used again.

/// Values that start at a multiple of 64 bytes, so that no vector lies across two cache lines.
// Not `Clone`: another allocation would start elsewhere.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    values: Vec<f32>,
    len: usize,
}

/// How many values a cache line holds.
pub(crate) const LINE: usize = 16;

impl Buffer {
    /// `len` zeros.
    pub(crate) fn zeros(len: usize) -> Self {
        Self { values: vec![0.0; len + LINE - 1], len }
    }

    /// At least `len` values, for writing. Those from an earlier use may still be in it.
    pub(crate) fn at_least(&mut self, len: usize) -> &mut [f32] {
        if self.len < len {
            *self = Self::zeros(len);
        }
        &mut self.values_mut()[..len]
    }

    /// The values.
    pub(crate) fn values(&self) -> &[f32] {
        let start = self.start();
        &self.values[start..start + self.len]
    }

    /// The values, to change.
    pub(crate) fn values_mut(&mut self) -> &mut [f32] {
        let start = self.start();
        &mut self.values[start..start + self.len]
    }

    /// How many of the allocation's first values lie before a cache line.
    fn start(&self) -> usize {
        // Where the alignment could not be told, nothing but speed would be lost.
        let start = self.values.as_ptr().align_offset(LINE * size_of::<f32>());
        start.min(self.values.len() - self.len)
    }
}

/// Memory that a convolution works in. One for each thread, used again for every layer: it grows to
/// what the largest of them needs, and then nothing is allocated any more.
#[derive(Debug, Default)]
pub struct Scratch {
    /// The padded input, or the transformed tiles.
    pub(crate) first: Buffer,
    /// The products of the transformed tiles.
    pub(crate) second: Buffer,
    /// The values of a dense layer's argument that are not 0.
    pub(crate) steps: Vec<usize>,
}
