//! Relevance: how a backend shares an output's value out among what it was made of, layer by layer
//! (layer-wise relevance propagation; Bach et al., PLOS ONE 10(7), 2015).
//!
//! Every value y of the network gets a relevance `R_y`, and a layer `y = f(x)` passes the relevance
//! of its outputs on to its inputs. The last layer's is what is asked: its value times the
//! cotangent. [`RelevanceRules`] says by which rule each kind of layer passes it on; with them in
//! [`Taps::relevance`](super::Taps::relevance), [`Pass::gradient`](super::Pass::gradient) answers
//! with relevance in place of derivatives.
//!
//! In the rules w is a weight, x the input it is multiplied with, b the bias; w⁺, w⁻ are the
//! positive and negative parts; `z + ε·sign(z)`, with sign(0) = 1, is what divides.

/// A finite number as a parameter of a rule, which can be compared and hashed: what a backend
/// compiles is kept by what it was compiled for. The order is total and means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleNumber(u32);

impl RuleNumber {
    /// The number as the rules hold it.
    pub fn new(value: f32) -> Self {
        // One zero, so that equal rules are equal.
        Self(if value == 0.0 { 0.0f32 } else { value }.to_bits())
    }

    /// The number.
    pub fn get(self) -> f32 {
        f32::from_bits(self.0)
    }
}

impl From<f32> for RuleNumber {
    fn from(value: f32) -> Self {
        Self::new(value)
    }
}

/// The rule by which relevance passes a layer with weights, `y = W x + b`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WeightRule {
    /// ε: shares in proportion to `w x`; `R_x = Σ_y w x R_y / (y + ε·sign(y))` with ε
    /// [`RelevanceRules::epsilon`].
    Epsilon,
    /// γ: as ε, with the contributions that agree with y's sign made larger by the factor 1 + γ
    /// (Montavon et al., Layer-Wise Relevance Propagation: An Overview, 2019; for inputs of either
    /// sign Andéol et al., 2021).
    Gamma(RuleNumber),
    /// α and β: positive contributions `(w x)⁺` share α R, negative ones −β R, each among
    /// themselves. α − β = 1 keeps the sum; α = 1, β = 0 is the z⁺ rule.
    AlphaBeta(RuleNumber, RuleNumber),
}

/// The rule of a layer that reads the picture: nothing with weights stands in front of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FirstRule {
    /// zᴮ: shares in proportion to `w x − w⁺ l − w⁻ h` for inputs between l and h (Montavon et al.,
    /// Pattern Recognition 65, 2017). For convolutions with nothing but moved and scaled values in
    /// front: whoever cannot use it refuses.
    Box {
        /// The lowest value of each channel of the network's input.
        low: Vec<RuleNumber>,
        /// The highest.
        high: Vec<RuleNumber>,
    },
    /// Flat: the same share for every input of the layer (Lapuschkin et al., 2019). Zeros that a
    /// convolution puts around its input are no inputs.
    Flat,
    /// w²: shares in proportion to the squared weight (Montavon et al., 2017).
    WSquare,
}

/// The rules for a network, by kind of layer.
///
/// All other operators have one rule each, whatever is asked: a function of one variable passes on
/// what it gets; sums, products with constants and poolings share in proportion to what each input
/// adds; a product of two values gives half to each; constants that are added keep their share,
/// which so is lost.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelevanceRules {
    /// For the layers that read the picture; `None`: as any other.
    pub first: Option<FirstRule>,
    /// For convolutions and transposed convolutions.
    pub convolution: WeightRule,
    /// For products with a constant matrix.
    pub dense: WeightRule,
    /// ε of [`WeightRule::Epsilon`], at least 0.
    pub epsilon: RuleNumber,
    /// ε of the other rules: it only keeps divisions from blowing up. At least 0.
    pub stabilizer: RuleNumber,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_kept_and_equal_ones_are_equal() {
        for value in [0.25, -1.5, 1e-6, f32::MIN_POSITIVE, 0.0] {
            assert_eq!(RuleNumber::new(value).get().to_bits(), value.to_bits());
        }
        assert_eq!(RuleNumber::new(-0.0), RuleNumber::new(0.0));
        assert_ne!(RuleNumber::new(1.0), RuleNumber::new(-1.0));
    }
}
