//! Which convolutions the depthwise kernels support.

use crate::error::{Error, Result};
use crate::kernels::cpu::convolution::Geometry;

/// Larger than any size of a real convolution, and small enough that sums and products of two sizes
/// do not overflow.
const LARGEST: usize = 1 << 30;

/// # Errors
/// The geometry is not a depthwise convolution, or a size is too large.
pub(super) fn check_geometry(geometry: &Geometry) -> Result<()> {
    let Geometry { batch, in_channels, in_size, kernel_size, stride, padding, dilation, .. } =
        *geometry;
    let pairs = [in_size, kernel_size, stride, padding, dilation];
    let sizes = pairs.into_iter().flatten().chain([batch, in_channels]);
    let wrong = || Error::Geometry { got: geometry.to_string() };
    if !geometry.is_depthwise() || sizes.into_iter().any(|size| size > LARGEST) {
        return Err(wrong());
    }
    geometry.check()?;
    let elements = |[height, width]: [usize; 2]| {
        let pixels = batch.checked_mul(height)?.checked_mul(width)?;
        pixels.checked_mul(in_channels).filter(|&elements| elements <= isize::MAX as usize)
    };
    let largest = [in_size, geometry.out_size(), kernel_size].map(elements);
    largest.iter().all(Option::is_some).then_some(()).ok_or_else(wrong)
}
