//! The ratio of convolutions to ReLUs.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// A ratio of convolutions to ReLUs, `convs >= relus >= 1`.
///
/// `4:2` differs from `2:1`: the first number is the length of the groups in which ReLUs are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ratio {
    convs: u32,
    relus: u32,
}

impl Ratio {
    pub fn new(convs: i64, relus: i64) -> Result<Ratio> {
        let bad = || Error::Ratio { got: format!("{convs}:{relus}") };
        if relus < 1 || convs < relus {
            return Err(bad());
        }
        let narrow = |n: i64| u32::try_from(n).map_err(|_| bad());
        Ok(Ratio { convs: narrow(convs)?, relus: narrow(relus)? })
    }

    pub fn convs(self) -> usize {
        self.convs as usize
    }

    pub fn relus(self) -> usize {
        self.relus as usize
    }

    /// The number of ReLUs that `sites` sites keep, rounded to the nearest integer (a half up).
    pub fn share(self, sites: usize) -> usize {
        (2 * sites * self.relus() + self.convs()) / (2 * self.convs())
    }
}

impl FromStr for Ratio {
    type Err = Error;

    fn from_str(text: &str) -> Result<Ratio> {
        let bad = || Error::Ratio { got: text.to_string() };
        let (convs, relus) = text.split_once(':').ok_or_else(bad)?;
        let number = |part: &str| part.trim().parse::<i64>().map_err(|_| bad());
        Ratio::new(number(convs)?, number(relus)?).map_err(|_| bad())
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.convs, self.relus)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_it_writes() {
        let ratio: Ratio = " 3 : 2".parse().unwrap();
        assert_eq!((ratio.convs(), ratio.relus()), (3, 2));
        assert_eq!(ratio.to_string(), "3:2");
    }

    #[test]
    fn refuses_with_one_line_that_says_what_to_write() {
        for text in ["1:2", "0:1", "1:0", "a:b", "2", "", "2:1:1", "-2:-1", "4294967296:1"] {
            let message = text.parse::<Ratio>().unwrap_err().to_string();
            assert_eq!(
                message,
                format!(
                    "ratio must have convs >= relus >= 1, got {text:?}; \
                     write it as \"convs:relus\", for example \"2:1\""
                )
            );
        }
        assert!(Ratio::new(i64::MAX, 1).is_err());
    }

    proptest! {
        #[test]
        fn share_is_the_nearest_whole_number(m in 1i64..9, extra in 0i64..9, sites in 0usize..200) {
            let ratio = Ratio::new(m + extra, m).unwrap();
            let exact = sites as f64 * m as f64 / (m + extra) as f64;
            let share = ratio.share(sites) as f64;
            prop_assert!((share - exact).abs() <= 0.5 + 1e-9);
        }

        #[test]
        fn never_panics(text in ".{0,12}") {
            let _ = text.parse::<Ratio>();
        }
    }
}
