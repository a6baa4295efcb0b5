//! The number types that kernels read and write.

use half::bf16;

/// A number that is stored as `Self` and computed with as f32.
pub trait Element: Copy + Send + Sync + 'static {
    fn to_f32(self) -> f32;
    fn from_f32(value: f32) -> Self;
}

impl Element for f32 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }

    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        value
    }
}

// Without branches, unlike half's own conversions, so that the loops around them vectorize.
impl Element for bf16 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from_bits((self.to_bits() as u32) << 16)
    }

    /// Rounds to nearest, ties to even; a NaN stays one.
    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        let bits = value.to_bits();
        let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
        let quiet = (bits >> 16) | 0x40;
        bf16::from_bits(if value.is_nan() { quiet } else { rounded } as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_bf16_survives() {
        for bits in 0..=u16::MAX {
            let value = bf16::from_bits(bits);
            let back = <bf16 as Element>::from_f32(Element::to_f32(value));
            assert!(back == value || (back.is_nan() && value.is_nan()), "{bits:#x}");
        }
    }

    proptest! {
        #[test]
        fn rounds_as_half_does(bits: u32) {
            let value = f32::from_bits(bits);
            prop_assert_eq!(<bf16 as Element>::from_f32(value).to_bits(), bf16::from_f32(value).to_bits());
        }

        #[test]
        fn ties_go_to_even(upper: u16) {
            let value = f32::from_bits((upper as u32) << 16 | 0x8000);
            prop_assert_eq!(<bf16 as Element>::from_f32(value).to_bits(), bf16::from_f32(value).to_bits());
        }
    }
}
