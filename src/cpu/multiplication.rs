//! How the vectors of this machine multiply bf16.

use super::level::{self, Level};

/// How vectors multiply bf16, beside f32, of which they hold half as many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bf16 {
    /// There is no instruction for it.
    Never,
    /// There is one, which is usually slower than converting bf16 to f32 and multiplying that.
    Slowly,
    /// Usually faster than f32.
    Fast,
}

/// How the instruction level that kernels run on multiplies bf16.
pub fn bf16() -> Bf16 {
    bf16_of(level::chosen(), is_intel())
}

/// Intel's processors run `vdpbf16ps` at a quarter of the rate of AMD's: bf16 is the work of AMX
/// there, and of f32 where there is no AMX.
fn bf16_of(level: Level, intel: bool) -> Bf16 {
    match level {
        Level::Portable => Bf16::Never,
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 | Level::Avx512 => Bf16::Never,
        #[cfg(target_arch = "x86_64")]
        Level::Avx512Bf16 | Level::Amx if intel => Bf16::Slowly,
        #[cfg(target_arch = "x86_64")]
        Level::Avx512Bf16 | Level::Amx => Bf16::Fast,
    }
}

#[cfg(target_arch = "x86_64")]
fn is_intel() -> bool {
    let name = std::arch::x86_64::__cpuid(0);
    let bytes = [name.ebx, name.edx, name.ecx].map(u32::to_le_bytes);
    bytes.as_flattened() == b"GenuineIntel"
}

#[cfg(not(target_arch = "x86_64"))]
fn is_intel() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_is_multiplied_where_there_is_an_instruction() {
        assert_eq!(bf16_of(Level::Portable, false), Bf16::Never);
        #[cfg(target_arch = "x86_64")]
        {
            assert_eq!(bf16_of(Level::Avx2, true), Bf16::Never);
            assert_eq!(bf16_of(Level::Avx512, false), Bf16::Never);
            assert_eq!(bf16_of(Level::Avx512Bf16, false), Bf16::Fast);
            assert_eq!(bf16_of(Level::Avx512Bf16, true), Bf16::Slowly);
            assert_eq!(bf16_of(Level::Amx, true), Bf16::Slowly);
        }
    }
}
