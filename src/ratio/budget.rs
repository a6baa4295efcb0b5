//! The cheapest way through a network that takes no longer than a budget.
//!
//! A network is a row of *places*, the points between its operations. A [`Stretch`] leads from one
//! place to a later one: an operation as it is, or several that become one when the activations
//! between them are dropped. It takes a time, and has a cost: what the network loses with these
//! activations. A way is a row of stretches from the first place to the last.
//!
//! Kim et al. ("Efficient Latency-Aware CNN Depth Compression via Two-Stage Dynamic Programming",
//! arXiv 2301.12187) state the problem. The solution by states that no other one dominates is ours;
//! it is exact.

/// A part of a way, from one place to a later one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stretch {
    pub from: usize,
    pub to: usize,
    /// A place has at most as many states as the budget has units, so the unit should be no finer
    /// than necessary.
    pub time: u64,
    /// May be negative, where a network is better without an activation.
    pub cost: f64,
    /// The activations that it drops.
    pub dropped: usize,
}

/// What a way may take.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    pub time: u64,
    /// The number of activations that may be dropped.
    pub dropped: usize,
}

/// The cheapest way within a budget, or what a budget needs at least.
#[derive(Clone, Debug, PartialEq)]
pub enum Cheapest {
    /// The numbers of the stretches, in order.
    Way(Vec<usize>),
    /// No way fits: the time of the fastest one that drops no more activations than allowed, if
    /// there is one.
    TooSmall { least: Option<u64> },
}

/// The cheapest way from place 0 to place `last`; of equally cheap ones the fastest. Stretches that
/// lead backward or past the end are not used.
pub fn cheapest(stretches: &[Stretch], last: usize, budget: Budget) -> Cheapest {
    let arriving = arriving(stretches, last);
    let rest = times_to_the_end(&arriving, stretches);
    let mut states: Vec<Vec<State>> = vec![vec![State::START]];
    for place in 1..=last {
        let mut reached = Vec::new();
        for &number in arriving[place].iter().filter(|_| rest[place].is_some()) {
            let stretch = &stretches[number];
            for (before, state) in states[stretch.from].iter().enumerate() {
                let next = state.after(stretch, number, before);
                let all = next.time.saturating_add(rest[place].unwrap_or(u64::MAX));
                if all <= budget.time && next.dropped <= budget.dropped {
                    reached.push(next);
                }
            }
        }
        states.push(undominated(reached));
    }
    let ends = states[last].iter().enumerate().filter(|(_, state)| state.time <= budget.time);
    let best = ends.min_by(|(_, a), (_, b)| a.cost.total_cmp(&b.cost).then(a.time.cmp(&b.time)));
    match best {
        Some((at, _)) => Cheapest::Way(way_to(&states, stretches, last, at)),
        None => Cheapest::TooSmall { least: fastest(&arriving, stretches, budget.dropped) },
    }
}

/// How a place can be reached.
#[derive(Clone, Copy)]
struct State {
    time: u64,
    cost: f64,
    dropped: usize,
    /// The stretch that led here, and the state before it, at the place that it came from.
    number: usize,
    before: usize,
}

impl State {
    const START: State =
        State { time: 0, cost: 0.0, dropped: 0, number: usize::MAX, before: usize::MAX };

    fn after(&self, stretch: &Stretch, number: usize, before: usize) -> State {
        State {
            time: self.time.saturating_add(stretch.time),
            cost: self.cost + stretch.cost,
            dropped: self.dropped + stretch.dropped,
            number,
            before,
        }
    }
}

/// The stretches that lead to each place.
fn arriving(stretches: &[Stretch], last: usize) -> Vec<Vec<usize>> {
    let mut arriving = vec![Vec::new(); last + 1];
    for (number, stretch) in stretches.iter().enumerate() {
        if stretch.from < stretch.to && stretch.to <= last {
            arriving[stretch.to].push(number);
        }
    }
    arriving
}

/// The shortest time from each place to the last one, whatever is dropped.
fn times_to_the_end(arriving: &[Vec<usize>], stretches: &[Stretch]) -> Vec<Option<u64>> {
    let mut times = vec![None; arriving.len()];
    times[arriving.len() - 1] = Some(0u64);
    for place in (1..arriving.len()).rev() {
        let Some(after) = times[place] else { continue };
        for &number in &arriving[place] {
            let Stretch { from, time, .. } = stretches[number];
            let through = after.saturating_add(time);
            times[from] = Some(times[from].map_or(through, |known| known.min(through)));
        }
    }
    times
}

/// The time of the fastest way that drops no more than `most` activations.
fn fastest(arriving: &[Vec<usize>], stretches: &[Stretch], most: usize) -> Option<u64> {
    // For each place and number of dropped activations.
    let mut times = vec![vec![None; most + 1]; arriving.len()];
    times[0][0] = Some(0u64);
    for place in 1..arriving.len() {
        for &number in &arriving[place] {
            let Stretch { from, time, dropped, .. } = stretches[number];
            for before in 0..(most + 1).saturating_sub(dropped) {
                let Some(sooner) = times[from][before] else { continue };
                let through = sooner.saturating_add(time);
                let known = &mut times[place][before + dropped];
                *known = Some(known.map_or(through, |known: u64| known.min(through)));
            }
        }
    }
    times.last()?.iter().flatten().min().copied()
}

/// The states for which no other one is as fast, as cheap, and drops as few.
fn undominated(mut states: Vec<State>) -> Vec<State> {
    let order = |a: &State, b: &State| {
        a.dropped.cmp(&b.dropped).then(a.time.cmp(&b.time)).then(a.cost.total_cmp(&b.cost))
    };
    states.sort_by(order);
    // The states kept so far, without regard to what they drop, as (time, cost): time rises and
    // cost falls.
    let mut front: Vec<(u64, f64)> = Vec::new();
    states.retain(|state| {
        let at = front.partition_point(|&(time, _)| time <= state.time);
        if at > 0 && front[at - 1].1 <= state.cost {
            return false;
        }
        let end = at + front[at..].iter().take_while(|(_, cost)| *cost >= state.cost).count();
        let begin = if at > 0 && front[at - 1].0 == state.time { at - 1 } else { at };
        front.splice(begin..end, [(state.time, state.cost)]);
        true
    });
    states
}

/// The way to a state of the last place.
fn way_to(states: &[Vec<State>], stretches: &[Stretch], last: usize, at: usize) -> Vec<usize> {
    let (mut place, mut at) = (last, at);
    let mut way = Vec::new();
    while place > 0 {
        let state = states[place][at];
        way.push(state.number);
        (place, at) = (stretches[state.number].from, state.before);
    }
    way.reverse();
    way
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ANY: usize = usize::MAX / 2;

    /// All ways, by their stretches.
    fn ways(stretches: &[Stretch], from: usize, last: usize) -> Vec<Vec<usize>> {
        if from == last {
            return vec![Vec::new()];
        }
        let mut found = Vec::new();
        for (number, stretch) in stretches.iter().enumerate() {
            if stretch.from == from && stretch.to > from && stretch.to <= last {
                for mut way in ways(stretches, stretch.to, last) {
                    way.insert(0, number);
                    found.push(way);
                }
            }
        }
        found
    }

    fn total(stretches: &[Stretch], way: &[usize]) -> State {
        let add = |sum: State, &number: &usize| sum.after(&stretches[number], number, 0);
        way.iter().fold(State::START, add)
    }

    fn stretch(from: usize, to: usize, time: u64, cost: f64, dropped: usize) -> Stretch {
        Stretch { from, to, time, cost, dropped }
    }

    fn network() -> [Stretch; 6] {
        [
            stretch(0, 1, 5, 0.0, 0),
            stretch(1, 2, 5, 0.0, 0),
            stretch(2, 3, 5, 0.0, 0),
            stretch(0, 2, 6, 1.0, 1),
            stretch(1, 3, 7, 0.5, 1),
            stretch(0, 3, 4, 3.0, 2),
        ]
    }

    #[test]
    fn a_tighter_budget_costs_more() {
        for (time, way) in
            [(15, vec![0, 1, 2]), (14, vec![0, 4]), (11, vec![3, 2]), (10, vec![5]), (4, vec![5])]
        {
            let budget = Budget { time, dropped: 2 };
            assert_eq!(cheapest(&network(), 3, budget), Cheapest::Way(way), "{time}");
        }
        let found = cheapest(&network(), 3, Budget { time: 3, dropped: 2 });
        assert_eq!(found, Cheapest::TooSmall { least: Some(4) });
    }

    #[test]
    fn no_more_is_dropped_than_allowed() {
        let found = cheapest(&network(), 3, Budget { time: 10, dropped: 1 });
        assert_eq!(found, Cheapest::TooSmall { least: Some(11) });
        let found = cheapest(&network(), 3, Budget { time: 100, dropped: 0 });
        assert_eq!(found, Cheapest::Way(vec![0, 1, 2]));
    }

    #[test]
    fn there_may_be_no_way() {
        let back = [stretch(0, 1, 1, 0.0, 0), stretch(1, 0, 1, 0.0, 0), stretch(1, 9, 1, 0.0, 0)];
        let budget = Budget { time: 100, dropped: 10 };
        assert_eq!(cheapest(&back, 2, budget), Cheapest::TooSmall { least: None });
        assert_eq!(cheapest(&[], 0, budget), Cheapest::Way(vec![]));
    }

    type Drawn = (usize, usize, u64, i32, usize);

    fn drawn() -> impl Strategy<Value = Vec<Drawn>> {
        proptest::collection::vec((0usize..6, 1usize..4, 0u64..20, -3i32..10, 0usize..3), 0..14)
    }

    proptest! {
        #[test]
        fn no_other_way_is_better(
            last in 1usize..6, drawn in drawn(), time in 0u64..70, dropped in 0usize..6,
        ) {
            let place = |(from, by, time, cost, dropped): Drawn| {
                let from = from.min(last);
                stretch(from, from + by, time, f64::from(cost), dropped)
            };
            let all: Vec<Stretch> = drawn.into_iter().map(place).collect();
            let totals: Vec<State> =
                ways(&all, 0, last).iter().map(|way| total(&all, way)).collect();
            let allowed = totals.iter().filter(|total| total.dropped <= dropped);
            let within = allowed.clone().filter(|total| total.time <= time);
            let best = within.map(|total| total.cost).min_by(f64::total_cmp);
            match cheapest(&all, last, Budget { time, dropped }) {
                Cheapest::Way(way) => {
                    let got = total(&all, &way);
                    prop_assert!(got.time <= time && got.dropped <= dropped);
                    prop_assert_eq!(Some(got.cost), best);
                }
                Cheapest::TooSmall { least } => {
                    prop_assert_eq!(best, None);
                    prop_assert_eq!(least, allowed.map(|total| total.time).min());
                }
            }
        }
    }

    #[test]
    fn a_long_network_has_few_states() {
        let each = |place: usize| {
            let leave = stretch(place, place + 1, 10, 0.0, 0);
            let merge = stretch(place, place + 2, 13, 1.0 + (place % 7) as f64, 1);
            [leave, merge]
        };
        let all: Vec<Stretch> = (0..300).flat_map(each).collect();
        let found = cheapest(&all, 300, Budget { time: 2400, dropped: ANY });
        let Cheapest::Way(way) = found else { panic!("there is a way") };
        assert!(total(&all, &way).time <= 2400);
    }
}
