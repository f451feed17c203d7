//! What the nodes of a compiled network take: for whoever asks where the time of a step goes.

/// One node of a compiled network, and what it takes: see
/// [`Network::profile`](super::Network::profile).
#[derive(Clone, Debug, PartialEq)]
pub struct NodeTime {
    /// Its name. The node of a plan may stand for several of the file; it has the name of one.
    pub name: String,
    /// The engine's operator.
    pub op: String,
    /// Whether it is a node of the backward pass.
    pub is_backward: bool,
    /// Seconds of one run: the median.
    pub seconds: f64,
    /// How it is computed, where it is a convolution or a dense layer that the engine has kernels
    /// of its own for.
    pub kernel: Option<NodeKernel>,
}

/// A convolution, a dense layer, or the gradient of one.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeKernel {
    /// The algorithm, such as `F(4×4, 3×3)`.
    pub algorithm: String,
    /// Channels, kernel and extent, such as `64→128 3×3/2 on 56×56`.
    pub shape: String,
    /// Multiplications and additions that a direct sum takes. Some algorithms need fewer.
    pub operations: f64,
    /// Bytes of the weights as they lie in memory.
    pub weight_bytes: usize,
}
