//! Remembers the fastest algorithms, in the process and on disk.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};

use super::{file, race, Contest, Key, Machine, Record};
use crate::error::Result;
use crate::program::Algorithm;

/// The choices of this process, which all tuners share: a choice does not change while it runs.
static CHOICES: OnceLock<Mutex<BTreeMap<Key, Record>>> = OnceLock::new();

#[derive(Clone, Debug)]
pub struct Tuner {
    /// What the choices are valid for.
    pub machine: Machine,
    /// Where choices are stored, if anywhere.
    file: Option<PathBuf>,
}

impl Tuner {
    pub fn new(machine: Machine, file: Option<PathBuf>) -> Tuner {
        Tuner { machine, file }
    }

    /// The choice for a key: the one of this process, else the stored one unless it is provisional,
    /// else the winner of a race, which is stored.
    ///
    /// # Errors
    /// A candidate failed.
    pub fn fastest<C: Contest>(
        &self,
        key: Key,
        contest: impl FnOnce(&Key) -> Result<C>,
    ) -> Result<Algorithm> {
        let choices = CHOICES.get_or_init(Mutex::default);
        let mut choices = choices.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = self.file.as_deref().filter(|_| !choices.contains_key(&key)) {
            let stored = file::read(path).into_iter().filter(|(_, record)| !record.provisional);
            for (key, record) in stored {
                choices.entry(key).or_insert(record);
            }
        }
        if let Some(record) = choices.get(&key) {
            return Ok(record.algorithm);
        }
        let record = race(&key.candidates, &mut contest(&key)?)?;
        let algorithm = record.algorithm;
        choices.insert(key, record);
        if let Some(path) = &self.file {
            // A file that cannot be written costs the next process its races, and nothing else.
            let _ = file::add(path, &choices);
        }
        Ok(algorithm)
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::tests::key;
    use super::*;

    /// The first times of the direct kernels and of torch, and the growth of both from run to run.
    struct Fake([f64; 2], f64);

    impl Contest for Fake {
        fn run(&mut self, candidate: usize) -> Result<f64> {
            let time = self.0[candidate];
            self.0[candidate] *= self.1;
            Ok(time)
        }
    }

    fn tuner(path: &std::path::Path) -> Tuner {
        Tuner::new(key(1).machine, Some(path.to_owned()))
    }

    #[test]
    fn a_choice_is_made_once_and_stored() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kernels.json");
        let first = tuner(&path).fastest(key(101), |_| Ok(Fake([2.0, 1.0], 1.0))).unwrap();
        assert_eq!(first, Algorithm::Torch);
        assert_eq!(file::read(&path)[&key(101)].algorithm, Algorithm::Torch);
        let again = tuner(&path).fastest(key(101), |_| -> Result<Fake> { panic!("no race") });
        assert_eq!(again.unwrap(), Algorithm::Torch);
        // Another machine has to race.
        let machine = Machine { processor: "another".into(), ..key(101).machine };
        let other = Key { machine, ..key(101) };
        let other = tuner(&path).fastest(other, |_| Ok(Fake([1.0, 2.0], 1.0))).unwrap();
        assert_eq!(other, Algorithm::Direct);
    }

    #[test]
    fn a_stored_choice_is_taken_over_unless_it_is_provisional() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kernels.json");
        let record = |provisional| Record {
            algorithm: Algorithm::Torch,
            seconds: vec![2.0, 1.0],
            spread: 0.0,
            provisional,
        };
        let stored = BTreeMap::from([(key(102), record(false)), (key(103), record(true))]);
        file::add(&path, &stored).unwrap();
        let taken = tuner(&path).fastest(key(102), |_| -> Result<Fake> { panic!("no race") });
        assert_eq!(taken.unwrap(), Algorithm::Torch);
        let raced = tuner(&path).fastest(key(103), |_| Ok(Fake([1.0, 2.0], 1.0))).unwrap();
        assert_eq!(raced, Algorithm::Direct);
        assert!(!file::read(&path)[&key(103)].provisional);
    }

    #[test]
    fn a_disturbed_race_decides_for_this_process_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kernels.json");
        let first = tuner(&path).fastest(key(104), |_| Ok(Fake([1.0, 2.0], 1.5))).unwrap();
        assert_eq!(first, Algorithm::Direct);
        assert!(file::read(&path)[&key(104)].provisional);
        let again = tuner(&path).fastest(key(104), |_| -> Result<Fake> { panic!("no race") });
        assert_eq!(again.unwrap(), Algorithm::Direct);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_done_without() {
        let folder = tempfile::tempdir().unwrap();
        let chosen = tuner(folder.path()).fastest(key(105), |_| Ok(Fake([1.0, 2.0], 1.0)));
        assert_eq!(chosen.unwrap(), Algorithm::Direct);
        let without = Tuner::new(key(1).machine, None);
        let chosen = without.fastest(key(106), |_| Ok(Fake([1.0, 2.0], 1.0)));
        assert_eq!(chosen.unwrap(), Algorithm::Direct);
    }
}
