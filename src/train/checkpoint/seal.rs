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

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed() -> Vec<u8> {
        let header = format!(r#"{{"__metadata__":{{"{KEY}":"{}"}}}}"#, blank());
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend(b"tensors");
        seal(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn every_changed_bit_is_noticed() {
        let whole = sealed();
        assert_eq!(is_whole(&whole), Some(true));
        for bit in 0..8 * whole.len() {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(is_whole(&damaged), Some(true), "bit {bit}");
        }
        for len in 0..whole.len() {
            assert_ne!(is_whole(&whole[..len]), Some(true), "{len} bytes");
        }
    }

    #[test]
    fn a_length_that_lies_is_no_seal() {
        let mut bytes = sealed();
        bytes[..8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(is_whole(&bytes), None);
        assert_eq!(is_whole(&[]), None);
    }
}
