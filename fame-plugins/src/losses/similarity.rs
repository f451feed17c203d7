//! `Similarity`: Face similarity s = cos(φ, φ_ref), descended: which pixels make the pair match
//! (e+).

use super::cosine::cosine;

cosine! {
    /// Descends the cosine similarity `s` to the other picture's embedding, which stays frozen:
    /// moving what makes the two match (the paper's e+, Eq. 6, L+ = s). Value in −1..=1.
    Similarity
    claim: For,
    value: |s| s,
    slope: 1.0,
    summary: "Face similarity s = cos(φ, φ_ref), descended: which pixels make the pair match (e+)",
    example: "Similarity(norms: Frozen)",
}
