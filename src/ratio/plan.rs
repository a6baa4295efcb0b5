//! From sites to the mask of those that keep their ReLU.

use std::collections::BTreeMap;

use super::placement::spread;
use super::{Placement, Ratio};
use crate::error::{Error, Result};

/// One use of an activation after a convolution; its index is its place in execution order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Site {
    /// The residual block that it stands in, where it stands in one.
    pub block: Option<usize>,
}

/// For each site: does it keep its ReLU, which group is it in, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub ratio: Ratio,
    pub placement: Placement,
    pub keep: Vec<bool>,
    /// Groups of `ratio.convs()` consecutive sites; the last one may be short.
    pub groups: Vec<usize>,
    pub reasons: Vec<String>,
}

impl Plan {
    /// Decides for every site. All placements but an explicit mask keep the same number: M in
    /// each whole group, the rounded share (a half up) in a short last one.
    pub fn new(sites: &[Site], ratio: Ratio, placement: Placement) -> Result<Plan> {
        let n = ratio.convs();
        let (keep, reasons) = if let Placement::Mask(mask) = &placement {
            by_mask(sites, mask)?
        } else if n == ratio.relus() {
            (vec![true; sites.len()], vec![format!("{ratio} keeps all"); sites.len()])
        } else {
            match placement {
                Placement::Front | Placement::Back => by_end(sites.len(), ratio, &placement),
                Placement::BlockLast => by_block(sites, ratio)?,
                _ => by_group(sites.len(), ratio, &placement),
            }
        };
        let groups = (0..sites.len()).map(|site| site / n).collect();
        Ok(Plan { ratio, placement, keep, groups, reasons })
    }

    /// How many sites keep their ReLU.
    pub fn kept(&self) -> usize {
        self.keep.iter().filter(|&&keep| keep).count()
    }

    /// Sites to kept ReLUs, not reduced: the ratio that came out, exactly.
    pub fn achieved(&self) -> String {
        format!("{}:{}", self.keep.len(), self.kept())
    }
}

type Decision = (Vec<bool>, Vec<String>);

/// How many ReLUs `sites` sites keep in all.
fn total(sites: usize, ratio: Ratio) -> usize {
    sites / ratio.convs() * ratio.relus() + ratio.share(sites % ratio.convs())
}

fn by_mask(sites: &[Site], mask: &[bool]) -> Result<Decision> {
    if mask.len() != sites.len() {
        return Err(Error::MaskLength { sites: sites.len(), mask: mask.len() });
    }
    let reason = |&keep: &bool| if keep { "the mask keeps it" } else { "the mask drops it" };
    Ok((mask.to_vec(), mask.iter().map(|keep| reason(keep).to_string()).collect()))
}

fn by_group(sites: usize, ratio: Ratio, placement: &Placement) -> Decision {
    let (mut keep, mut reasons) = (Vec::new(), Vec::new());
    while keep.len() < sites {
        let len = ratio.convs().min(sites - keep.len());
        let share = ratio.share(len);
        let mut group = vec![false; len];
        match placement {
            Placement::First => group[..share].fill(true),
            Placement::Even => spread(len, share).for_each(|i| group[i] = true),
            _ => group[len - share..].fill(true),
        }
        let which = match (placement, share) {
            (_, 0) => "none is kept".to_string(),
            (Placement::Even, _) => format!("{share} evenly spread kept"),
            (_, 1) => format!("the {placement} is kept"),
            _ => format!("the {placement} {share} are kept"),
        };
        reasons.extend((1..=len).map(|i| format!("{i} of {len} in its group: {which}")));
        keep.extend(group);
    }
    (keep, reasons)
}

fn by_end(sites: usize, ratio: Ratio, placement: &Placement) -> Decision {
    let kept = total(sites, ratio);
    let (range, end) = match placement {
        Placement::Front => (0..kept, "first"),
        _ => (sites - kept..sites, "last"),
    };
    let keep = (0..sites).map(|site| range.contains(&site)).collect();
    (keep, vec![format!("the {end} {kept} of the network's {sites} are kept"); sites])
}

/// Rounds of candidates: the last site of every block, then the one before it, ...; a site
/// outside every block only when nothing else is left.
fn by_block(sites: &[Site], ratio: Ratio) -> Result<Decision> {
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
    let mut left = sites.len() - total(sites.len(), ratio);
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
        let sites = vec![Site { block: Some(0) }; sites];
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
        // a stem and three blocks of two, as in a small residual network
        let blocks = [None, Some(0), Some(0), Some(1), Some(1), Some(2), Some(2)];
        let sites = blocks.map(|block| Site { block });
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
            let mut sites: Vec<_> = blocks.into_iter().map(|block| Site { block }).collect();
            sites[0].block = Some(0);
            let plan = Plan::new(&sites, ratio, placement).unwrap();
            let len = sites.len();
            prop_assert_eq!((plan.keep.len(), plan.groups.len(), plan.reasons.len()), (len, len, len));
            prop_assert_eq!(plan.kept(), total(len, ratio));
            prop_assert_eq!(plan.achieved(), format!("{}:{}", len, plan.kept()));
            let asked = len as f64 * m as f64 / (m + extra) as f64;
            prop_assert!((plan.kept() as f64 - asked).abs() <= 0.5 + 1e-9);
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
                let asked = group.len() as f64 * m as f64 / (m + extra) as f64;
                prop_assert!((kept as f64 - asked).abs() < 1.0);
            }
        }
    }
}
