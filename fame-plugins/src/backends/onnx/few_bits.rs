//! Floats of 8 and 4 bits: what their patterns stand for, and how numbers are rounded to them.

use tract_onnx::pb::tensor_proto::DataType;

/// A float of few bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Format {
    /// Bits of the fraction.
    fraction: u32,
    /// Bits of the exponent.
    exponent: u32,
    /// What is subtracted from the exponent.
    bias: i32,
    /// What the highest exponent and a negative zero mean.
    special: Special,
}

/// What the patterns mean that are no ordinary numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Special {
    /// The highest exponent is infinity or NaN, as in IEEE 754.
    Ieee,
    /// All ones are NaN, and there is no infinity.
    AllOnes,
    /// Negative zero is NaN, and there is no infinity.
    NegativeZero,
    /// Every pattern is a number.
    None,
}

impl Format {
    /// The format of a type of ONNX's, if it is a float of few bits.
    pub(super) fn of(kind: DataType) -> Option<Self> {
        let (exponent, fraction, bias, special) = match kind {
            DataType::Float8e4m3fn => (4, 3, 7, Special::AllOnes),
            DataType::Float8e4m3fnuz => (4, 3, 8, Special::NegativeZero),
            DataType::Float8e5m2 => (5, 2, 15, Special::Ieee),
            DataType::Float8e5m2fnuz => (5, 2, 16, Special::NegativeZero),
            DataType::Float4e2m1 => (2, 1, 1, Special::None),
            _ => return None,
        };
        Some(Self { fraction, exponent, bias, special })
    }

    /// The format of a type by its number in ONNX.
    pub(super) fn of_onnx(kind: i64) -> Option<Self> {
        Self::of(DataType::try_from(i32::try_from(kind).ok()?).ok()?)
    }

    /// The number that a pattern stands for.
    pub(super) fn number(&self, bits: u8) -> f32 {
        let width = self.fraction + self.exponent;
        let bits = u32::from(bits);
        let (sign, rest) = (bits >> width & 1, bits & ((1 << width) - 1));
        let (exponent, fraction) = (rest >> self.fraction, rest & ((1 << self.fraction) - 1));
        let highest = (1 << self.exponent) - 1;
        let sign_of = if sign == 1 { -1.0 } else { 1.0 };
        match self.special {
            Special::AllOnes if rest == (1 << width) - 1 => return f32::NAN,
            Special::NegativeZero if sign == 1 && rest == 0 => return f32::NAN,
            Special::Ieee if exponent == highest && fraction == 0 => {
                return sign_of * f32::INFINITY;
            }
            Special::Ieee if exponent == highest => return f32::NAN,
            _ => {}
        }
        let unit = 2f32.powi(-(self.fraction as i32));
        if exponent == 0 {
            sign_of * fraction as f32 * unit * 2f32.powi(1 - self.bias)
        } else {
            sign_of * (1.0 + fraction as f32 * unit) * 2f32.powi(exponent as i32 - self.bias)
        }
    }

    /// The largest number of the format.
    pub(super) fn largest(&self) -> f32 {
        let all: u8 = ((1u16 << (self.fraction + self.exponent)) - 1) as u8;
        match self.special {
            Special::Ieee => self.number(all - (1 << self.fraction)),
            Special::AllOnes => self.number(all - 1),
            Special::NegativeZero | Special::None => self.number(all),
        }
    }

    /// `x` to the nearest number of the format, halves to the even one. What lies beyond the
    /// largest is the largest where the format `saturates`, else infinity, or NaN where there is
    /// none.
    pub(super) fn round(&self, x: f32, saturates: bool) -> f32 {
        if x.is_nan() {
            return if self.special == Special::None { 0.0 } else { x };
        }
        let (size, largest) = (self.nearest(x.abs()), self.largest());
        let size = match self.special {
            _ if size <= largest => size,
            Special::Ieee if !saturates => f32::INFINITY,
            Special::AllOnes | Special::NegativeZero if !saturates => return f32::NAN,
            _ => largest,
        };
        if size == 0.0 && self.special == Special::NegativeZero { 0.0 } else { size.copysign(x) }
    }

    /// Whether `x` is rounded, and not beyond the largest number.
    pub(super) fn is_inside(&self, x: f32) -> bool {
        self.nearest(x.abs()) <= self.largest()
    }

    /// The nearest number to `size`, which is not negative, were there no largest one.
    fn nearest(&self, size: f32) -> f32 {
        /// Where the exponent of an `f32` lies, and what is subtracted from it.
        const EXPONENT: (u32, i32) = (23, 127);
        if !size.is_finite() {
            return size;
        }
        let exponent = (size.to_bits() >> EXPONENT.0) as i32 - EXPONENT.1;
        let step = 2f32.powi(exponent.max(1 - self.bias) - self.fraction as i32);
        (size / step).round_ties_even() * step
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: DataType, bits: u8) -> f32 {
        Format::of(kind).unwrap().number(bits)
    }

    #[test]
    fn floats_of_few_bits_are_the_numbers_of_their_standard() {
        // One, the largest, the smallest, and what is no number.
        assert_eq!(read(DataType::Float8e4m3fn, 0x38), 1.0);
        assert_eq!(read(DataType::Float8e4m3fn, 0x7e), 448.0);
        assert_eq!(read(DataType::Float8e4m3fn, 0x81), -(2f32.powi(-9)));
        assert!(read(DataType::Float8e4m3fn, 0x7f).is_nan());
        assert_eq!(read(DataType::Float8e4m3fnuz, 0x40), 1.0);
        assert_eq!(read(DataType::Float8e4m3fnuz, 0x7f), 240.0);
        assert!(read(DataType::Float8e4m3fnuz, 0x80).is_nan());
        assert_eq!(read(DataType::Float8e5m2, 0x3c), 1.0);
        assert_eq!(read(DataType::Float8e5m2, 0x7b), 57344.0);
        assert_eq!(read(DataType::Float8e5m2, 0xfc), f32::NEG_INFINITY);
        assert_eq!(read(DataType::Float8e5m2fnuz, 0x7f), 57344.0);
        let fours: Vec<f32> = (0..8).map(|bits| read(DataType::Float4e2m1, bits)).collect();
        assert_eq!(fours, [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]);
        assert_eq!(read(DataType::Float4e2m1, 15), -6.0);
    }

    /// Every format, with the patterns that it has.
    fn formats() -> [(Format, u8); 5] {
        let of = |kind| Format::of(kind).unwrap();
        [
            (of(DataType::Float8e4m3fn), 255),
            (of(DataType::Float8e4m3fnuz), 255),
            (of(DataType::Float8e5m2), 255),
            (of(DataType::Float8e5m2fnuz), 255),
            (of(DataType::Float4e2m1), 15),
        ]
    }

    #[test]
    fn a_number_of_a_format_stays_and_any_other_goes_to_its_nearest() {
        for (format, last) in formats() {
            let mut all: Vec<f32> =
                (0..=last).map(|bits| format.number(bits)).filter(|x| x.is_finite()).collect();
            all.sort_by(f32::total_cmp);
            for pair in all.windows(2) {
                assert_eq!(format.round(pair[0], true), pair[0], "{format:?}");
                let (low, high) = (pair[0], pair[1]);
                let at = |share: f32| format.round(low + share * (high - low), true);
                assert_eq!((at(0.25), at(0.75)), (low, high), "{format:?}");
            }
            assert_eq!(all.last(), Some(&format.largest()));
        }
    }

    #[test]
    fn what_lies_beyond_the_largest_is_the_largest_or_no_number() {
        for (format, _) in formats() {
            let far = format.largest() * 2.0;
            assert_eq!(format.round(-far, true), -format.largest());
            assert!(!format.is_inside(far) && format.is_inside(format.largest()));
            assert!(format.is_inside(0.0) && !format.is_inside(f32::INFINITY));
        }
        let round = |kind, x| Format::of(kind).unwrap().round(x, false);
        assert_eq!(round(DataType::Float8e5m2, 1e6), f32::INFINITY);
        assert!(round(DataType::Float8e4m3fn, 1e6).is_nan());
        assert!(round(DataType::Float8e5m2fnuz, -1e6).is_nan());
        // The half between 448 and the 480 that is not there goes to the even side.
        assert_eq!(round(DataType::Float8e4m3fn, 464.0), 448.0);
    }
}
