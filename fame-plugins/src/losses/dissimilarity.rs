//! `Dissimilarity`: 1 − s, descended: which pixels keep the pair from matching better (e−).

use super::cosine::cosine;

cosine! {
    /// Descends `1 − s`, that is, raises the cosine similarity to the other picture's embedding,
    /// which stays frozen: moving what keeps the two apart (the paper's e−, Eq. 6, L− = 1 − s).
    /// Value in 0..=2.
    Dissimilarity
    claim: Against,
    value: |s| 1.0 - s,
    slope: -1.0,
    summary: "1 − s, descended: which pixels keep the pair from matching better (e−)",
    example: "Dissimilarity(norms: Frozen)",
}
