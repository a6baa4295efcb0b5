//! Whether this process may use AMX.

use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count, __get_cpuid_max};
use std::sync::OnceLock;

use super::trial;

/// Why AMX cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cpu) enum Refusal {
    /// The processor does not have it, or a virtual machine hides it.
    Processor,
    /// The system does not save the tiles when it switches between threads.
    System,
    /// The system did not permit this process to use it.
    Process,
    /// A first product had other sums than the expected ones.
    Product,
}

impl Refusal {
    pub(in crate::cpu) fn reason(self) -> &'static str {
        match self {
            Refusal::Processor => "the processor has none",
            Refusal::System => "the system does not enable it",
            Refusal::Process => "the system does not permit it to this process",
            Refusal::Product => "it computes a product otherwise than expected",
        }
    }
}

/// Asks the processor and the system, and tries a product, once. After `Ok` all threads of this
/// process may use tiles and multiply bf16 with them.
pub(in crate::cpu) fn permission() -> Result<(), Refusal> {
    static PERMISSION: OnceLock<Result<(), Refusal>> = OnceLock::new();
    *PERMISSION.get_or_init(|| {
        if !processor_has_amx() {
            return Err(Refusal::Processor);
        }
        if !system_saves_tiles() {
            return Err(Refusal::System);
        }
        if !request() {
            return Err(Refusal::Process);
        }
        // SAFETY: all of this has just been found out.
        unsafe { trial::agrees() }.then_some(()).ok_or(Refusal::Product)
    })
}

/// Whether the processor multiplies bf16 in tiles of the usual size: eight of 16 rows of 64 bytes.
pub(in crate::cpu) fn processor_has_amx() -> bool {
    const FEATURES: u32 = 7;
    const TILES: u32 = 0x1d;
    const BF16: u32 = 1 << 22;
    const TILE: u32 = 1 << 24;
    if __get_cpuid_max(0).0 < TILES {
        return false;
    }
    let features = __cpuid_count(FEATURES, 0).edx;
    let palette = __cpuid_count(TILES, 1);
    let (tile_bytes, row_bytes) = (palette.eax >> 16, palette.ebx & 0xffff);
    let (tiles, rows) = (palette.ebx >> 16, palette.ecx & 0xffff);
    features & BF16 != 0
        && features & TILE != 0
        && (tile_bytes, row_bytes) == (1024, 64)
        && (tiles, rows) == (8, 16)
}

/// Whether the system has enabled the state of tiles, which is the case if it also saves it.
fn system_saves_tiles() -> bool {
    const OSXSAVE: u32 = 1 << 27;
    const TILE_STATE: u32 = 0b11 << 17;
    if __cpuid(1).ecx & OSXSAVE == 0 {
        return false;
    }
    let enabled: u32;
    // SAFETY: OSXSAVE says that the instruction exists; it reads register 0 and nothing else.
    unsafe {
        asm!("xgetbv", in("ecx") 0, out("eax") enabled, out("edx") _, options(nomem, nostack));
    }
    enabled & TILE_STATE == TILE_STATE
}

/// Linux gives a process room for tiles only on request: `arch_prctl(ARCH_REQ_XCOMP_PERM,
/// XFEATURE_XTILEDATA)`.
#[cfg(target_os = "linux")]
fn request() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
    const XFEATURE_XTILEDATA: u64 = 18;
    let mut result = ARCH_PRCTL;
    // SAFETY: a system call with two integers, which accesses no memory of this process; it changes
    // rax, rcx and r11. An older kernel returns an error.
    unsafe {
        asm!(
            "syscall",
            inout("rax") result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn request() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_stays_the_same() {
        assert_eq!(permission(), permission());
        if !processor_has_amx() {
            assert_eq!(permission(), Err(Refusal::Processor));
        }
    }
}
