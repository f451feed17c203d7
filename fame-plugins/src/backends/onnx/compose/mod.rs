//! Operators composed of others: what tract reads wrongly or not at all, or what has no gradient in
//! one piece, is written out when the shapes are known, in operators that every engine
//! differentiates.
//!
//! **A new operator** is one function `fn(&mut Writer) -> TractResult<Outputs>` in the file of its
//! family, and one line in that file's `register`.

mod activations;
mod attention;
mod attention_microsoft;
mod conv_transpose;
mod cumulative;
mod dynamic_quantize;
mod einsum;
mod heads;
mod op;
mod pool;
mod rearrange;
mod resize;
mod sampling;
mod sequence;
mod sigmoid;
mod training;
mod writer;

use tract_onnx::model::OnnxOpRegister;

/// Puts the composed operators in place of tract's.
pub(super) fn register(known: &mut OnnxOpRegister) {
    activations::register(known);
    attention::register(known);
    attention_microsoft::register(known);
    conv_transpose::register(known);
    cumulative::register(known);
    dynamic_quantize::register(known);
    einsum::register(known);
    pool::register(known);
    rearrange::register(known);
    resize::register(known);
    sampling::register(known);
    sequence::register(known);
    sigmoid::register(known);
    training::register(known);
}

pub(super) use sigmoid::mark_far_sigmoids;
