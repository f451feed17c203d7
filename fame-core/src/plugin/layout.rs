//! A fingerprint of how the compiler laid out the types that cross the line.
//!
//! The same compiler and the same source give the same layout, unless someone asks the compiler for
//! another one (`-Z randomize-layout`). Rust promises nothing here, so it is measured: sizes,
//! alignments and field offsets, of our types and of the standard ones they are made of.

use std::{
    collections::BTreeMap,
    mem::{align_of, offset_of, size_of},
};

use crate::{
    AttributionMap, Claim, Error, ErrorKind, Explanation, MapId, Model, NamedMap, Parameter,
    Picture, Plot, Result, Sample, Scores, Subject, Table, Tensor,
    contract::{
        Attribute, Attributes, Evaluation, ExplainContext, Finding, ItemRef, Layer, LayerCotangent,
        LoadRequest, Loss, Measurement, MetricRow, NodeKernel, NodeTime, Operator, OperatorId,
        Operators, Plain, PlainStep, RelevanceRules, Start, StepRule, Stop, Taps, Target,
        TargetRequest,
    },
    data::{Marks, Original, Value},
    registry::{BuildContext, Built, Registration, Registry},
    store::{Ask, ModelManifest},
    text::{Problem, Spec},
};

macro_rules! measured {
    ($($t:ty),* $(,)?) => { &[$(size_of::<$t>(), align_of::<$t>()),*] };
}

macro_rules! places {
    ($($t:ty { $($field:ident),* })*) => { &[$($(offset_of!($t, $field)),*),*] };
}

/// As sixteen hexadecimal digits, filled up with zeros.
pub(super) const FINGERPRINT: [u8; 20] = hex(fold(fold(0xcbf2_9ce4_8422_2325, SIZES), OFFSETS));

const SIZES: &[usize] = measured![
    usize, String, Vec<u8>, Option<String>, Box<dyn Loss>, BTreeMap<String, Value>, Result<Tensor>, Result<Option<Stop>>,
    Error, ErrorKind, Tensor, Value, Marks, Sample, Picture, Original, AttributionMap, Explanation, MapId, Subject, Claim, Parameter, NamedMap, Model, Ask, ModelManifest, Problem, Spec, Registration, Registry,
    Built<dyn Loss>, BuildContext<'static>, Evaluation, ExplainContext<'static>, ItemRef, Target, TargetRequest<'static>, Layer, Taps, LayerCotangent, Measurement, Scores, Table, Plot,
    LoadRequest, Finding, Attribute, Attributes, Box<dyn Operator>, OperatorId, Operators, RelevanceRules, Plain, PlainStep, StepRule, NodeTime, NodeKernel,
];

const OFFSETS: &[usize] = places! {
    Error { code, kind, message, help, problems }
    Sample { id, pictures, label, marks, facts }
    Picture { pixels, source, geometry, original, annotations, facts, warnings }
    Original { pixels, factor, size }
    AttributionMap { values, channels }
    MapId { role, alone, subject, claim, finish, stage }
    NamedMap { id, raw, finished, frame, annotations, facts }
    Explanation { maps, summary, warnings, facts, witnesses }
    Evaluation { values, cotangents }
    Target { subject, claim, values, frame, annotations, facts }
    Measurement { map, name, parameter, value }
    MetricRow { item, parameter, value }
    Start<'static> { pixels, convention, seed }
    Problem { code, message, label }
    Model { manifest }
    LoadRequest { file, input_shape, operators, layout, fixed }
    Finding { difference, fault, facts }
    OperatorId { domain, op_type, opsets }
    Taps { layers, gradients, relu, relevance, multipliers }
    RelevanceRules { first, convolution, dense, epsilon, stabilizer }
    Plain { step, place }
    PlainStep { rule, size, mean, std, bounds }
    NodeTime { name, op, is_backward, seconds, kernel }
    NodeKernel { algorithm, shape, operations, weight_bytes }
};

/// FNV-1a over numbers.
const fn fold(mut hash: u64, numbers: &[usize]) -> u64 {
    let mut i = 0;
    while i < numbers.len() {
        hash = (hash ^ numbers[i] as u64).wrapping_mul(0x0100_0000_01b3);
        i += 1;
    }
    hash
}

const fn hex(hash: u64) -> [u8; 20] {
    let mut digits = [0; 20];
    let mut i = 0;
    while i < 16 {
        digits[i] = b"0123456789abcdef"[(hash >> (60 - 4 * i)) as usize & 15];
        i += 1;
    }
    digits
}
