//! The SHA-256 sum by which damage is noticed.
//!
//! It covers the whole file, header and tensors, with zeros in the place of the sum itself.
//! `python/proprelu/weights/seal.py` does the same for files of weights.

use sha2::{Digest, Sha256};

/// The key of the sum in the metadata.
pub const KEY: &str = "proprelu.sha256";

const DIGITS: usize = 64;

/// The value of the key in a file that is not sealed yet.
pub fn blank() -> String {
    "0".repeat(DIGITS)
}

/// Replaces the blank by the sum of the file.
pub fn seal(bytes: &mut [u8]) -> Option<()> {
    let at = place(bytes)?;
    let sum = sum(bytes, at);
    bytes[at..at + DIGITS].copy_from_slice(sum.as_bytes());
    Some(())
}

/// Whether the file is as it was sealed; `None` if it has no sum.
pub fn is_whole(bytes: &[u8]) -> Option<bool> {
    let at = place(bytes)?;
    Some(sum(bytes, at).as_bytes() == &bytes[at..at + DIGITS])
}

/// Where the digits of the sum begin. Within a JSON string the quotes of this pattern would be
/// escaped, so it can only be the key itself.
fn place(bytes: &[u8]) -> Option<usize> {
    let length = u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?);
    let header = bytes.get(8..8usize.checked_add(usize::try_from(length).ok()?)?)?;
    let key = format!("\"{KEY}\":\"");
    let found = header.windows(key.len()).position(|window| window == key.as_bytes())?;
    let at = 8 + found + key.len();
    (at + DIGITS <= 8 + header.len()).then_some(at)
}

fn sum(bytes: &[u8], at: usize) -> String {
    let mut hasher = Sha256::new();
    hasher.update(&bytes[..at]);
    hasher.update(blank());
    hasher.update(&bytes[at + DIGITS..]);
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
