//! The geometry of a convolution, and that of several convolutions as one.
//!
//! # The border
//! A second convolution reads zeros where its padding is. The merged convolution computes what the
//! first one would give there: its bias, and what its kernel reaches of the image. So merging is
//! exact where the second has no padding. Otherwise there are two corrections, which are exact too:
//!
//! - The *border* is a weight of an image of ones, which is zero in the padding as the image is. It
//!   adds the bias of the first convolution where the image is, and not beyond.
//! - The *frame* is the number of rows and columns along each side of the result that are wrong.
//!   They have to be computed by the single convolutions.

use crate::error::{Error, Result};

/// Vertical and horizontal.
pub type Pair = [usize; 2];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Geometry {
    pub in_channels: usize,
    pub out_channels: usize,
    pub kernel_size: Pair,
    pub stride: Pair,
    /// Zeros on both sides.
    pub padding: Pair,
    pub dilation: Pair,
    pub groups: usize,
    /// Whether there is a bias.
    pub bias: bool,
    /// Whether there is a weight of an image of ones.
    pub border: bool,
    /// The rows and columns along each side of the result that are wrong.
    pub frame: Pair,
}

impl Geometry {
    /// A convolution that works on each channel and each pixel by itself.
    pub fn pointwise(channels: usize, bias: bool) -> Geometry {
        Geometry {
            in_channels: channels,
            out_channels: channels,
            kernel_size: [1; 2],
            stride: [1; 2],
            padding: [0; 2],
            dilation: [1; 2],
            groups: channels,
            bias,
            border: false,
            frame: [0; 2],
        }
    }

    /// # Errors
    /// A size is 0, or the groups do not divide the channels.
    pub fn check(&self) -> Result<()> {
        let sizes = [self.kernel_size, self.stride, self.dilation].concat();
        let counts = [self.in_channels, self.out_channels, self.groups];
        let positive = sizes.iter().chain(&counts).all(|size| *size > 0);
        if positive && counts.iter().all(|count| count.is_multiple_of(self.groups)) {
            return Ok(());
        }
        Err(Error::Merge { expected: "positive sizes and groups that divide the channels".into() })
    }

    /// The distance of the last tap from the first one.
    pub fn reach(&self, dim: usize) -> usize {
        self.dilation[dim] * (self.kernel_size[dim] - 1)
    }

    /// The multiplications for a pixel of the result.
    pub fn multiplications(&self) -> usize {
        let weight = self.out_channels * (self.in_channels / self.groups);
        weight * self.kernel_size.iter().product::<usize>()
    }

    /// The convolution that computes this one and then `next`.
    ///
    /// # Errors
    /// `next` has other input channels than this one has outputs.
    pub fn then(&self, next: &Geometry) -> Result<Geometry> {
        if self.out_channels != next.in_channels {
            let expected = format!(
                "a second convolution of {} channels, got one of {}",
                self.out_channels, next.in_channels
            );
            return Err(Error::Merge { expected });
        }
        let marks = self.marks(next);
        let unmarked = marks.is_none() && self.needs_marks(next);
        let frame = [0, 1].map(|dim| {
            let exact = self.is_exact(next, dim) && !(unmarked && next.padding[dim] > 0);
            self.frame_then(next, dim, exact).max(next.frame[dim])
        });
        let mut merged = Geometry {
            out_channels: next.out_channels,
            groups: gcd(self.groups, next.groups),
            bias: self.bias || next.bias,
            border: self.border || marks.is_some(),
            frame,
            ..*self
        };
        for dim in [0, 1] {
            let (own, step) = (self.stride[dim], self.stride[dim] * next.dilation[dim]);
            let reach = self.reach(dim) + own * next.reach(dim);
            let first = if self.kernel_size[dim] > 1 { self.dilation[dim] } else { 0 };
            let second = if next.kernel_size[dim] > 1 { step } else { 0 };
            merged.dilation[dim] = gcd(first, second).max(1);
            merged.kernel_size[dim] = reach / merged.dilation[dim] + 1;
            merged.padding[dim] = self.padding[dim] + own * next.padding[dim];
            merged.stride[dim] = own * next.stride[dim];
        }
        Ok(merged)
    }

    /// Whether every value that this convolution has beyond its result is zero, bias excepted,
    /// since its padding is as wide as its kernel reaches; or nothing reads there.
    fn is_exact(&self, next: &Geometry, dim: usize) -> bool {
        next.padding[dim] == 0 || self.padding[dim] >= self.reach(dim)
    }

    /// The wrong rows of the merged convolution along a side.
    fn frame_then(&self, next: &Geometry, dim: usize, exact: bool) -> usize {
        if exact && self.frame[dim] == 0 {
            return 0;
        }
        (self.frame[dim] + next.padding[dim]).div_ceil(next.stride[dim])
    }

    /// Whether a constant must not reach into the padding after it, outside of any frame.
    fn needs_marks(&self, next: &Geometry) -> bool {
        let open = |dim: usize| {
            let exact = self.is_exact(next, dim);
            next.padding[dim] > 0 && self.frame_then(next, dim, exact) == 0
        };
        (self.bias || next.border) && (open(0) || open(1))
    }

    /// The tap of this convolution that reads the image exactly where the result is, vertical and
    /// horizontal, if `next` needs one.
    pub fn marks(&self, next: &Geometry) -> Option<Pair> {
        let taps = [0, 1].map(|dim| self.marking_tap(dim, next.padding[dim] > 0));
        match taps {
            [Some(y), Some(x)] if self.needs_marks(next) => Some([y, x]),
            _ => None,
        }
    }

    /// A tap that is inside the image for each pixel of the result, and beyond it, if `outside`, for
    /// each pixel beyond the result, for any size of the image.
    fn marking_tap(&self, dim: usize, outside: bool) -> Option<usize> {
        let (reach, padding, stride) = (self.reach(dim), self.padding[dim], self.stride[dim]);
        let tap = if outside {
            reach.checked_sub(padding)? / self.dilation[dim]
        } else {
            padding.div_ceil(self.dilation[dim])
        };
        let offset = tap * self.dilation[dim];
        let inside = padding <= offset && offset + padding <= reach;
        let beyond = offset + padding >= reach && offset < stride + padding;
        (inside && (beyond || !outside)).then_some(tap)
    }

    /// The convolution that adds the results of this one and of `other`.
    ///
    /// # Errors
    /// The results have different shapes for some images.
    pub fn beside(&self, other: &Geometry) -> Result<Geometry> {
        let alike = |dim: usize| {
            let lost = |g: &Geometry| g.reach(dim) as isize - 2 * g.padding[dim] as isize;
            self.stride[dim] == other.stride[dim] && lost(self) == lost(other)
        };
        let channels = |g: &Geometry| [g.in_channels, g.out_channels];
        if channels(self) != channels(other) || !alike(0) || !alike(1) {
            let expected = "branches with results of one shape for every image".into();
            return Err(Error::Merge { expected });
        }
        let mut sum = Geometry {
            groups: gcd(self.groups, other.groups),
            bias: self.bias || other.bias,
            border: self.border || other.border,
            frame: [0, 1].map(|dim| self.frame[dim].max(other.frame[dim])),
            ..*self
        };
        for dim in [0, 1] {
            let (own, its) = (self.padding[dim], other.padding[dim]);
            let wide = if own >= its { self } else { other };
            let steps =
                [self, other].map(|g| if g.kernel_size[dim] > 1 { g.dilation[dim] } else { 0 });
            let dilation = gcd(gcd(steps[0], steps[1]), own.abs_diff(its)).max(1);
            sum.padding[dim] = own.max(its);
            sum.dilation[dim] = dilation;
            sum.kernel_size[dim] = wide.reach(dim) / dilation + 1;
        }
        Ok(sum)
    }
}

pub fn gcd(a: usize, b: usize) -> usize {
    if b == 0 {
        a
    } else {
        gcd(b, a % b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conv(size: usize, stride: usize, padding: usize) -> Geometry {
        Geometry {
            groups: 1,
            kernel_size: [size; 2],
            stride: [stride; 2],
            padding: [padding; 2],
            ..Geometry::pointwise(4, true)
        }
    }

    #[test]
    fn kernels_strides_and_paddings_add_up() {
        let merged = conv(3, 2, 1).then(&conv(3, 1, 1)).unwrap();
        assert_eq!((merged.kernel_size, merged.stride, merged.padding), ([7; 2], [2; 2], [3; 2]));
        let dilated = Geometry { dilation: [2; 2], padding: [2; 2], ..conv(3, 1, 1) };
        let merged = dilated.then(&conv(1, 1, 0)).unwrap();
        assert_eq!((merged.kernel_size, merged.dilation), ([3; 2], [2; 2]));
        assert_eq!(dilated.then(&dilated).unwrap().kernel_size, [5; 2]);
    }

    #[test]
    fn merging_is_exact_where_no_padding_is_between() {
        for second in [conv(1, 1, 0), conv(3, 1, 0), conv(2, 2, 0)] {
            let merged = conv(3, 2, 1).then(&second).unwrap();
            assert_eq!((merged.frame, merged.border), ([0; 2], false));
        }
    }

    #[test]
    fn a_bias_before_a_padding_needs_a_border() {
        let merged = conv(1, 1, 0).then(&conv(3, 1, 1)).unwrap();
        assert_eq!((merged.frame, merged.border), ([0; 2], true));
        let without = Geometry { bias: false, ..conv(1, 2, 0) };
        let merged = without.then(&conv(3, 1, 1)).unwrap();
        assert_eq!((merged.frame, merged.border), ([0; 2], false));
    }

    #[test]
    fn a_kernel_before_a_padding_needs_a_frame() {
        let pair = conv(3, 1, 1).then(&conv(3, 1, 1)).unwrap();
        assert_eq!((pair.frame, pair.border), ([1; 2], false));
        assert_eq!(pair.then(&conv(3, 2, 1)).unwrap().frame, [1; 2]);
        assert_eq!(pair.then(&conv(5, 1, 2)).unwrap().frame, [3; 2]);
        let full = Geometry { bias: false, ..conv(3, 1, 2) };
        assert_eq!(full.then(&conv(3, 1, 1)).unwrap().frame, [0; 2]);
    }

    #[test]
    fn branches_of_one_shape_have_the_widest_kernel() {
        let sum = conv(3, 2, 1).beside(&conv(1, 2, 0)).unwrap();
        assert_eq!((sum.kernel_size, sum.padding), ([3; 2], [1; 2]));
        let dilated = Geometry { dilation: [2; 2], padding: [2; 2], ..conv(3, 1, 1) };
        assert_eq!(dilated.beside(&conv(3, 1, 1)).unwrap().kernel_size, [5; 2]);
        assert_eq!(dilated.beside(&conv(1, 1, 0)).unwrap().kernel_size, [3; 2]);
        for other in [conv(3, 1, 1), conv(3, 2, 0), conv(2, 2, 1)] {
            assert!(conv(3, 2, 1).beside(&other).is_err());
        }
    }

    #[test]
    fn channels_have_to_fit() {
        let three = Geometry::pointwise(3, true);
        assert!(three.then(&conv(1, 1, 0)).unwrap_err().to_string().contains("of 3 channels"));
        assert!(three.beside(&conv(1, 1, 0)).is_err());
        assert!(Geometry { groups: 2, ..three }.check().is_err());
        assert!(Geometry { stride: [0, 1], ..three }.check().is_err());
    }
}
