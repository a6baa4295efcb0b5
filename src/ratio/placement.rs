//! The rules by which sites keep their ReLU.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// The position of the kept ReLUs, for a ratio of N convolutions to M ReLUs.
///
/// `Last`, `First` and `Even` choose within each group of N consecutive sites. `Front`, `Back` and
/// `BlockLast` keep the same total number of ReLUs, but choose over the whole network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Placement {
    /// The last M of each group: for 2:1, Conv-BN-Conv-BN-ReLU.
    #[default]
    Last,
    /// The first M of each group: for 2:1, Conv-BN-ReLU-Conv-BN.
    First,
    /// Evenly spread over each group: for 3:1 the middle one, for 3:2 the outer two.
    Even,
    /// The first ReLUs of the network; none after them.
    Front,
    /// The last ReLUs of the network; none before them.
    Back,
    /// The last ReLU of each residual block is dropped first, as in EraseReLU. If the ratio
    /// requires more, the ReLU before it is dropped next, and so on; sites outside a block are
    /// dropped last. A round that drops only some of its candidates spreads them evenly.
    BlockLast,
    /// The sites in the order in which their ReLUs are dropped, the cheapest first.
    Order(Vec<usize>),
    /// One boolean for each site; the mask replaces the ratio.
    Mask(Vec<bool>),
}

impl FromStr for Placement {
    type Err = Error;

    fn from_str(name: &str) -> Result<Placement> {
        Ok(match name {
            "last" => Placement::Last,
            "first" => Placement::First,
            "even" => Placement::Even,
            "front" => Placement::Front,
            "back" => Placement::Back,
            "block_last" => Placement::BlockLast,
            _ => return Err(Error::Placement { got: name.to_string() }),
        })
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Placement::Last => "last",
            Placement::First => "first",
            Placement::Even => "even",
            Placement::Front => "front",
            Placement::Back => "back",
            Placement::BlockLast => "block_last",
            Placement::Order(_) => "order",
            Placement::Mask(_) => "mask",
        })
    }
}

/// `count` evenly spread numbers of `0..len`: the middles of `count` equal parts.
pub fn spread(len: usize, count: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |i| (2 * i + 1) * len / (2 * count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_name_is_read_and_written() {
        for name in ["last", "first", "even", "front", "back", "block_last"] {
            assert_eq!(name.parse::<Placement>().unwrap().to_string(), name);
        }
        let message = "middle".parse::<Placement>().unwrap_err().to_string();
        assert_eq!(
            message,
            "placement must be last, first, even, front, back or block_last, got \"middle\"; \
             or give a mask with one boolean for each site"
        );
    }

    #[test]
    fn spreads_evenly() {
        assert_eq!(spread(3, 1).collect::<Vec<_>>(), [1]);
        assert_eq!(spread(3, 2).collect::<Vec<_>>(), [0, 2]);
        assert_eq!(spread(4, 2).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(spread(5, 5).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        assert_eq!(spread(5, 0).count(), 0);
    }

    proptest! {
        #[test]
        fn spread_positions_are_distinct_and_in_range(len in 1usize..99, part in 0usize..99) {
            let positions: Vec<_> = spread(len, part.min(len)).collect();
            prop_assert!(positions.windows(2).all(|w| w[0] < w[1]));
            prop_assert!(positions.iter().all(|&p| p < len));
        }
    }
}
