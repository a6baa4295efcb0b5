//! The mask of the sites that keep their ReLU.

use std::collections::BTreeMap;

use super::placement::spread;
use super::{Placement, Ratio};
use crate::error::{Error, Result};

/// One use of an activation after a convolution; sites are numbered in execution order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Site {
    /// The residual block that contains it, if any.
    pub block: Option<usize>,
    /// Whether this is a convolution without a ReLU, such as that of a shortcut, which counts as a
    /// member of its group.
    pub bare: bool,
}

/// The decision for each site, with its group and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub ratio: Ratio,
    pub placement: Placement,
    pub keep: Vec<bool>,
    /// The number of each site's group. A group is `ratio.convs()` consecutive sites; the last one
    /// may be shorter.
    pub groups: Vec<usize>,
    pub reasons: Vec<String>,
}

impl Plan {
    /// Decides for every site. All placements except an explicit mask keep the same number: M in
    /// each full group, and the rounded share (a half up) in a shorter last group. They keep fewer
    /// only if too many sites are bare. A mask or an order covers the sites that are not bare.
    pub fn new(sites: &[Site], ratio: Ratio, placement: Placement) -> Result<Plan> {
        let n = ratio.convs();
        let real: Vec<usize> = (0..sites.len()).filter(|&i| !sites[i].bare).collect();
        let kept = total(sites.len(), ratio).min(real.len());
        let (keep, reasons) = match &placement {
            Placement::Mask(mask) => by_mask(real.len(), mask)?,
            _ if n == ratio.relus() => {
                (vec![true; real.len()], vec![format!("{ratio} keeps all"); real.len()])
            }
            Placement::Front | Placement::Back => by_end(real.len(), kept, &placement),
            Placement::BlockLast => {
                by_block(&real.iter().map(|&i| sites[i]).collect::<Vec<_>>(), kept)?
            }
            Placement::Order(order) => by_order(real.len(), kept, order)?,
            _ => by_group(sites, ratio, &placement),
        };
        let mut plan = Plan {
            ratio,
            placement,
            keep: vec![false; sites.len()],
            groups: (0..sites.len()).map(|site| site / n).collect(),
            reasons: vec!["a shortcut's: never has a ReLU".to_string(); sites.len()],
        };
        for ((site, keep), reason) in real.into_iter().zip(keep).zip(reasons) {
            (plan.keep[site], plan.reasons[site]) = (keep, reason);
        }
        Ok(plan)
    }

    /// The number of sites that keep their ReLU.
    pub fn kept(&self) -> usize {
        self.keep.iter().filter(|&&keep| keep).count()
    }

    /// The achieved ratio of sites to kept ReLUs, not reduced.
    pub fn achieved(&self) -> String {
        format!("{}:{}", self.keep.len(), self.kept())
    }
}

/// Whether each site that is not bare is kept, and why.
type Decision = (Vec<bool>, Vec<String>);

/// The total number of ReLUs that `sites` sites keep.
fn total(sites: usize, ratio: Ratio) -> usize {
    sites / ratio.convs() * ratio.relus() + ratio.share(sites % ratio.convs())
}

fn by_mask(sites: usize, mask: &[bool]) -> Result<Decision> {
    if mask.len() != sites {
        return Err(Error::MaskLength { sites, mask: mask.len() });
    }
    let reason = |&keep: &bool| if keep { "the mask keeps it" } else { "the mask drops it" };
    Ok((mask.to_vec(), mask.iter().map(|keep| reason(keep).to_string()).collect()))
}

fn by_group(sites: &[Site], ratio: Ratio, placement: &Placement) -> Decision {
    let (mut keep, mut reasons) = (Vec::new(), Vec::new());
    for group in sites.chunks(ratio.convs()) {
        let real: Vec<usize> = (0..group.len()).filter(|&i| !group[i].bare).collect();
        let share = ratio.share(group.len()).min(real.len());
        let mut chosen = vec![false; real.len()];
        match placement {
            Placement::First => chosen[..share].fill(true),
            Placement::Even => spread(real.len(), share).for_each(|i| chosen[i] = true),
            _ => chosen[real.len() - share..].fill(true),
        }
        let which = match (placement, share) {
            (_, 0) => "none is kept".to_string(),
            (Placement::Even, _) => format!("{share} evenly spread kept"),
            (_, 1) => format!("the {placement} is kept"),
            _ => format!("the {placement} {share} are kept"),
        };
        let len = group.len();
        reasons.extend(real.iter().map(|i| format!("{} of {len} in its group: {which}", i + 1)));
        keep.extend(chosen);
    }
    (keep, reasons)
}

fn by_end(sites: usize, kept: usize, placement: &Placement) -> Decision {
    let (range, end) = match placement {
        Placement::Front => (0..kept, "first"),
        _ => (sites - kept..sites, "last"),
    };
    let keep = (0..sites).map(|site| range.contains(&site)).collect();
    (keep, vec![format!("the {end} {kept} of the network's {sites} are kept"); sites])
}

fn by_order(sites: usize, kept: usize, order: &[usize]) -> Result<Decision> {
    let mut places = vec![None; sites];
    for (place, &site) in order.iter().enumerate() {
        match places.get_mut(site) {
            Some(free @ None) => *free = Some(place),
            _ => return Err(Error::Order { sites }),
        }
    }
    let places: Option<Vec<usize>> = places.into_iter().collect();
    let (places, dropped) = (places.ok_or(Error::Order { sites })?, sites - kept);
    let reason = |place: &usize| format!("{} of {sites} to drop: {dropped} dropped", place + 1);
    Ok((places.iter().map(|&p| p >= dropped).collect(), places.iter().map(reason).collect()))
}

/// Drops sites in rounds: the last site of every block, then the one before it, and so on. Sites
/// outside every block are in the last round.
fn by_block(sites: &[Site], kept: usize) -> Result<Decision> {
    let mut blocks: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (index, site) in sites.iter().enumerate() {
        if let Some(block) = site.block {
            blocks.entry(block).or_default().push(index);
        }
    }
    if blocks.is_empty() && !sites.is_empty() {
        return Err(Error::NoBlocks);
    }
    let mut rounds: Vec<Vec<usize>> = Vec::new();
    for members in blocks.values() {
        for (round, &site) in members.iter().rev().enumerate() {
            if rounds.len() == round {
                rounds.push(Vec::new());
            }
            rounds[round].push(site);
        }
    }
    let mut reasons = vec!["outside every block: dropped last".to_string(); sites.len()];
    for (round, members) in rounds.iter().enumerate() {
        for &site in members {
            reasons[site] = match round {
                0 => "last of its block: dropped first".to_string(),
                _ => format!("{} before the last of its block", round),
            };
        }
    }
    rounds.push((0..sites.len()).filter(|&i| sites[i].block.is_none()).collect());

    let mut keep = vec![true; sites.len()];
    let mut left = sites.len() - kept;
    for members in rounds {
        let drop = left.min(members.len());
        spread(members.len(), drop).for_each(|i| keep[members[i]] = false);
        left -= drop;
    }
    Ok((keep, reasons))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plan(sites: usize, ratio: &str, placement: Placement) -> Vec<bool> {
        let sites = vec![Site { block: Some(0), bare: false }; sites];
        Plan::new(&sites, ratio.parse().unwrap(), placement).unwrap().keep
    }

    fn bits(keep: &[bool]) -> String {
        keep.iter().map(|&k| if k { '1' } else { '0' }).collect()
    }

    #[test]
    fn placements_choose_as_they_say() {
        for (placement, ratio, expected) in [
            (Placement::Last, "3:2", "01101101"),
            (Placement::First, "3:2", "11011010"),
            (Placement::Even, "3:2", "10110101"),
            (Placement::Even, "3:1", "01001001"),
            (Placement::Front, "3:2", "11111000"),
            (Placement::Back, "3:2", "00011111"),
            (Placement::Last, "2:1", "01010101"),
            (Placement::First, "2:1", "10101010"),
        ] {
            assert_eq!(bits(&plan(8, ratio, placement.clone())), expected, "{placement} {ratio}");
        }
    }

    #[test]
    fn block_last_drops_the_last_of_each_block_first() {
        // A stem and three blocks of two sites, as in a small residual network.
        let blocks = [None, Some(0), Some(0), Some(1), Some(1), Some(2), Some(2)];
        let sites = blocks.map(|block| Site { block, bare: false });
        let keep = |ratio: &str| {
            let plan = Plan::new(&sites, ratio.parse().unwrap(), Placement::BlockLast).unwrap();
            bits(&plan.keep)
        };
        assert_eq!(keep("2:1"), "1101010");
        assert_eq!(keep("3:2"), "1101110"); // two of the three blocks
        assert_eq!(keep("7:1"), "1000000");
        assert_eq!(keep("1:1"), "1111111");
    }

    #[test]
    fn block_last_needs_blocks() {
        let error = Plan::new(&[Site::default(); 4], "2:1".parse().unwrap(), Placement::BlockLast)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "placement block_last needs residual blocks, got sites outside any; \
             take another placement, for example \"last\""
        );
    }

    #[test]
    fn a_mask_decides_alone() {
        let mask = vec![true, true, false];
        let sites = [Site::default(); 3];
        let plan = Plan::new(&sites, "2:1".parse().unwrap(), Placement::Mask(mask.clone()));
        let plan = plan.unwrap();
        assert_eq!((plan.keep.clone(), plan.achieved()), (mask, "3:2".to_string()));
        let error =
            Plan::new(&sites, "2:1".parse().unwrap(), Placement::Mask(vec![true])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a mask must have one boolean for each of the 3 sites, got 1; \
             plan_for(model, \"1:1\") lists the sites"
        );
    }

    #[test]
    fn an_order_drops_its_first_sites() {
        let sites = [Site::default(); 5];
        let plan =
            |order: Vec<usize>| Plan::new(&sites, "5:2".parse().unwrap(), Placement::Order(order));
        let chosen = plan(vec![4, 0, 2, 1, 3]).unwrap();
        assert_eq!(bits(&chosen.keep), "01010");
        assert_eq!(chosen.reasons[2], "3 of 5 to drop: 3 dropped");
        for order in [vec![0, 1, 2, 3], vec![0, 1, 2, 3, 3], vec![0, 1, 2, 3, 5]] {
            assert_eq!(
                plan(order).unwrap_err().to_string(),
                "an order must name each of the 5 sites once, by its number from 0"
            );
        }
    }

    #[test]
    fn a_bare_convolution_takes_a_place() {
        let sites = [false, false, true, false, false, true, true]
            .map(|bare| Site { block: Some(0), bare });
        let keep = |ratio: &str, placement| {
            bits(&Plan::new(&sites, ratio.parse().unwrap(), placement).unwrap().keep)
        };
        assert_eq!(keep("2:1", Placement::Last), "0101100");
        assert_eq!(keep("2:1", Placement::First), "1001100");
        assert_eq!(keep("3:2", Placement::Even), "1101100");
        assert_eq!(keep("2:1", Placement::Front), "1101100"); // 4 of 7, all that are not bare
        assert_eq!(keep("7:1", Placement::BlockLast), "1000000");
        assert_eq!(keep("7:3", Placement::Mask(vec![true, false, false, true])), "1000100");
        assert_eq!(keep("7:2", Placement::Order(vec![0, 1, 2, 3])), "0001100");
        assert_eq!(keep("1:1", Placement::Last), "1101100");
    }

    fn any_placement() -> impl Strategy<Value = Placement> {
        prop_oneof![
            Just(Placement::Last),
            Just(Placement::First),
            Just(Placement::Even),
            Just(Placement::Front),
            Just(Placement::Back),
            Just(Placement::BlockLast),
        ]
    }

    proptest! {
        #[test]
        fn every_plan_is_whole_and_keeps_its_share(
            m in 1i64..6, extra in 0i64..6, placement in any_placement(),
            blocks in prop::collection::vec(prop::option::of(0usize..8), 1..70),
        ) {
            let ratio = Ratio::new(m + extra, m).unwrap();
            let mut sites: Vec<_> = blocks.into_iter().map(|block| Site { block, bare: false }).collect();
            sites[0].block = Some(0);
            let plan = Plan::new(&sites, ratio, placement).unwrap();
            let len = sites.len();
            prop_assert_eq!((plan.keep.len(), plan.groups.len(), plan.reasons.len()), (len, len, len));
            prop_assert_eq!(plan.kept(), total(len, ratio));
            prop_assert_eq!(plan.achieved(), format!("{}:{}", len, plan.kept()));
            let exact = len as f64 * m as f64 / (m + extra) as f64;
            prop_assert!((plan.kept() as f64 - exact).abs() <= 0.5 + 1e-9);
            prop_assert!(extra > 0 || plan.kept() == len);
        }

        #[test]
        fn groups_keep_their_share_each(
            m in 1i64..6, extra in 0i64..6, sites in 0usize..70, which in 0usize..3,
        ) {
            let placement = [Placement::Last, Placement::First, Placement::Even][which].clone();
            let ratio = Ratio::new(m + extra, m).unwrap();
            let plan = Plan::new(&vec![Site::default(); sites], ratio, placement).unwrap();
            for group in plan.keep.chunks(ratio.convs()) {
                let kept = group.iter().filter(|&&keep| keep).count();
                prop_assert_eq!(kept, ratio.share(group.len()));
                let exact = group.len() as f64 * m as f64 / (m + extra) as f64;
                prop_assert!((kept as f64 - exact).abs() < 1.0);
            }
        }
    }
}
