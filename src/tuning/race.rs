//! Decides which of several algorithms is the fastest.
//!
//! A race consists of heats. In a heat the candidates take turns (A B C A B C), so that whatever
//! else the machine does slows all of them, and the fastest run of each candidate counts.
//!
//! The spread of a candidate is the relative difference between its median and its fastest run. On
//! a quiet machine it is a few percent. Where a spread exceeds [`MAX_SPREAD`], the heat was
//! disturbed and another one follows, until one is quiet or [`MAX_HEATS`] were run. The fastest
//! runs of all heats count. The result of a race without a quiet heat is provisional.
//!
//! A candidate that is far behind after some runs takes no more turns in its heat.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::program::Algorithm;

/// The spread above which a heat counts as disturbed.
pub const MAX_SPREAD: f64 = 0.25;
pub const MAX_HEATS: usize = 3;

/// A heat has at least this many runs of each candidate, so that there is a median.
const MIN_RUNS: usize = 5;
/// Short kernels run more often: a single interruption distorts them the most.
const MAX_RUNS: usize = 25;
/// Seconds of timed runs after which a heat ends, once it has the least number of runs.
const ENOUGH: f64 = 0.1;

/// A candidate is far behind if its fastest run takes this many times as long as that of the best,
/// after this many runs.
const FAR_BEHIND: f64 = 1.6;
const FAIR_RUNS: usize = 3;

/// Runs the candidates of a race.
pub trait Contest {
    /// Runs a candidate once, with all passes that the step needs if it is chosen, and returns the
    /// seconds that it took.
    fn run(&mut self, candidate: usize) -> Result<f64>;
}

/// The result of a race.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The winner.
    pub algorithm: Algorithm,
    /// The fastest run of each candidate, in seconds.
    pub seconds: Vec<f64>,
    /// The largest spread of a candidate in the last heat.
    pub spread: f64,
    /// Every heat was disturbed: the race is to be run again by the next process.
    pub provisional: bool,
}

/// Runs races between the candidates, of which there is at least one.
pub fn race(candidates: &[Algorithm], contest: &mut dyn Contest) -> Result<Record> {
    let mut seconds = vec![f64::INFINITY; candidates.len()];
    let mut spread = f64::INFINITY;
    for _ in 0..MAX_HEATS {
        let times = heat(candidates.len(), contest)?;
        spread = times.iter().map(|times| self::spread(times)).fold(0.0, f64::max);
        for (best, times) in seconds.iter_mut().zip(&times) {
            *best = best.min(fastest(times));
        }
        if spread <= MAX_SPREAD {
            break;
        }
    }
    let ranked = candidates.iter().zip(&seconds).min_by(|a, b| a.1.total_cmp(b.1));
    let algorithm = ranked.map_or(Algorithm::Torch, |(algorithm, _)| *algorithm);
    Ok(Record { algorithm, seconds, spread, provisional: spread > MAX_SPREAD })
}

/// The times of all runs of each candidate, of which those that are far behind have fewer.
fn heat(candidates: usize, contest: &mut dyn Contest) -> Result<Vec<Vec<f64>>> {
    let mut times = vec![Vec::new(); candidates];
    let mut running: Vec<usize> = (0..candidates).collect();
    let mut total = 0.0;
    for run in 0..MAX_RUNS {
        if run >= MIN_RUNS && total > ENOUGH {
            break;
        }
        for &candidate in &running {
            let seconds = contest.run(candidate)?;
            total += seconds;
            times[candidate].push(seconds);
        }
        if run + 1 == FAIR_RUNS {
            let best = times.iter().map(|times| fastest(times)).fold(f64::INFINITY, f64::min);
            running.retain(|&candidate| fastest(&times[candidate]) <= FAR_BEHIND * best);
        }
    }
    Ok(times)
}

fn fastest(times: &[f64]) -> f64 {
    times.iter().copied().fold(f64::INFINITY, f64::min)
}

/// The relative difference between the median and the fastest time.
fn spread(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (fastest, median) = (sorted[0], sorted[sorted.len() / 2]);
    if median > fastest {
        median / fastest - 1.0
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Times by candidate and number of the run, counted over all heats.
    struct Fake<F> {
        time: F,
        order: Vec<usize>,
    }

    impl<F: Fn(usize, usize) -> f64> Contest for Fake<F> {
        fn run(&mut self, candidate: usize) -> Result<f64> {
            let run = self.order.iter().filter(|earlier| **earlier == candidate).count();
            self.order.push(candidate);
            Ok((self.time)(candidate, run))
        }
    }

    const ALL: [Algorithm; 3] = [Algorithm::Winograd, Algorithm::Direct, Algorithm::Torch];

    fn raced(time: impl Fn(usize, usize) -> f64) -> (Record, Vec<usize>) {
        let mut fake = Fake { time, order: Vec::new() };
        let record = race(&ALL, &mut fake).unwrap();
        (record, fake.order)
    }

    #[test]
    fn candidates_take_turns_and_the_fastest_wins() {
        let (record, order) = raced(|candidate, _| [1.4, 1.0, 1.2][candidate]);
        assert_eq!(order[..6], [0, 1, 2, 0, 1, 2]);
        // Long runs end the heat as soon as there is a median.
        assert_eq!(order.len(), 3 * MIN_RUNS);
        let seconds = vec![1.4, 1.0, 1.2];
        let expected =
            Record { algorithm: Algorithm::Direct, seconds, spread: 0.0, provisional: false };
        assert_eq!(record, expected);
    }

    #[test]
    fn a_candidate_that_is_far_behind_drops_out() {
        let (record, order) = raced(|candidate, _| [3.0, 1.0, 1.2][candidate]);
        let runs = |candidate| order.iter().filter(|turn| **turn == candidate).count();
        assert_eq!([0, 1, 2].map(runs), [FAIR_RUNS, MIN_RUNS, MIN_RUNS]);
        assert_eq!(
            (record.algorithm, &record.seconds[..]),
            (Algorithm::Direct, &[3.0, 1.0, 1.2][..])
        );
    }

    #[test]
    fn short_runs_are_repeated_more_often() {
        let (_, order) = raced(|_, _| 1e-6);
        assert_eq!(order.len(), 3 * MAX_RUNS);
    }

    #[test]
    fn a_disturbed_race_is_run_again() {
        // torch is the fastest, but most of its runs in the first heat were interrupted.
        let time = |candidate: usize, run: usize| match (candidate, run) {
            (2, 0) => 2.4,
            (2, 1..MIN_RUNS) => 9.0,
            (2, _) => 1.5,
            (candidate, _) => [2.0, 2.2][candidate],
        };
        let (record, order) = raced(time);
        assert_eq!(order.len(), 2 * 3 * MIN_RUNS);
        assert_eq!((record.algorithm, record.provisional), (Algorithm::Torch, false));
        assert_eq!(record.seconds, [2.0, 2.2, 1.5]);
    }

    #[test]
    fn a_race_that_stays_disturbed_is_provisional() {
        let (record, order) =
            raced(|candidate, run| [1.0, 1.1, 1.2][candidate] * 1.5_f64.powi(run as i32));
        assert_eq!(order.len(), MAX_HEATS * 3 * MIN_RUNS);
        assert_eq!((record.algorithm, record.provisional), (Algorithm::Winograd, true));
        assert!(record.spread > MAX_SPREAD);
    }
}
