//! The packed weights of our algorithms. The type of a weight selects the kernels that read it.

use crate::cpu::Number;
use crate::engine::AtenPool;
use crate::error::{Error, Result};
use crate::kernels::cpu::convolution::{
    amx, direct, winograd, Forward, Geometry, GradInput, Moments, Operand,
};
use crate::program::Algorithm;

/// A packed weight for activations of type `T`, and the passes that read it.
pub trait Weight<T>: Send + Sync {
    /// Packs the master, in the memory order `[out][kh][kw][in]`, times the scale of each output
    /// channel.
    fn pack(&mut self, master: &[f32], scale: Option<&[f32]>) -> Result<()>;

    /// Packs rows of the master, starting with the row `first`.
    ///
    /// # Safety
    /// `first` is a multiple of 16; concurrent calls have different rows, and nothing reads the
    /// weight meanwhile.
    unsafe fn pack_rows(&self, first: usize, rows: &[f32]);

    fn forward(&self, pass: Forward<'_, T, ()>) -> Result<Option<Moments>>;

    fn grad_input(&self, pass: GradInput<'_, T, ()>) -> Result<()>;
}

macro_rules! packed {
    ([$($parameters:tt)*] $weight:ty) => {
        impl<$($parameters)*> Weight<T> for $weight {
            fn pack(&mut self, master: &[f32], scale: Option<&[f32]>) -> Result<()> {
                <$weight>::pack(self, master, scale)
            }

            unsafe fn pack_rows(&self, first: usize, rows: &[f32]) {
                // SAFETY: the caller's.
                unsafe { <$weight>::pack_rows(self, first, rows) };
            }

            fn forward(&self, pass: Forward<'_, T, ()>) -> Result<Option<Moments>> {
                pass.with(self).run(&AtenPool)
            }

            fn grad_input(&self, pass: GradInput<'_, T, ()>) -> Result<()> {
                pass.with(self).run(&AtenPool)
            }
        }
    };
}

packed!([T: Number, M: Number] direct::PackedWeight<M>);
packed!([T: Number, M: Number] winograd::PackedWeight<M>);
packed!([T: Number] amx::PackedWeight);

/// The weight that an algorithm packs; `None` if it reads the master.
pub fn packed<T: Number>(
    algorithm: Algorithm,
    geometry: Geometry,
    operand: Operand,
) -> Result<Option<Box<dyn Weight<T>>>> {
    Ok(Some(match algorithm {
        Algorithm::Direct => Box::new(direct::PackedWeight::<T>::new(&geometry, operand)?),
        Algorithm::DirectF32 => Box::new(direct::PackedWeight::<f32>::new(&geometry, operand)?),
        Algorithm::Winograd => Box::new(winograd::PackedWeight::<T>::new(geometry, operand)?),
        Algorithm::WinogradF32 => Box::new(winograd::PackedWeight::<f32>::new(geometry, operand)?),
        Algorithm::Amx => Box::new(amx::PackedWeight::new(&geometry, operand)?),
        Algorithm::Depthwise => return Ok(None),
        Algorithm::Torch => return Err(Error::Capture("torch is no kernel of ours".into())),
    }))
}
