//! The file of the choices. It is a cache: a file that cannot be read or written is ignored, and so
//! are entries that are damaged or of another version.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Key, Record};
use crate::files;

const VERSION: u64 = 1;

/// A larger file was not written by the tuner.
const MAX_BYTES: u64 = 32 << 20;

/// A choice as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    #[serde(flatten)]
    pub key: Key,
    #[serde(flatten)]
    pub record: Record,
}

impl Entry {
    /// Whether the record can be the result of a race between the candidates of the key.
    fn is_valid(&self) -> bool {
        let Entry { key, record } = self;
        let mut numbers = record.seconds.iter().chain([&record.spread]);
        key.candidates.contains(&record.algorithm)
            && record.seconds.len() == key.candidates.len()
            && numbers.all(|number| *number >= 0.0)
    }
}

#[derive(Serialize, Deserialize)]
struct Contents<T> {
    version: u64,
    choices: Vec<T>,
}

/// The valid entries of a file.
pub fn read(path: &Path) -> BTreeMap<Key, Record> {
    let content = files::read(path, MAX_BYTES).unwrap_or_default();
    let parsed = serde_json::from_slice::<Contents<Value>>(&content).ok();
    let choices = parsed.filter(|contents| contents.version == VERSION);
    let choices = choices.into_iter().flat_map(|contents| contents.choices);
    let entries = choices.filter_map(|value| serde_json::from_value::<Entry>(value).ok());
    entries.filter(Entry::is_valid).map(|Entry { key, record }| (key, record)).collect()
}

/// Adds the choices to a file. It is replaced in one move, since several processes may write it.
pub fn add(path: &Path, choices: &BTreeMap<Key, Record>) -> io::Result<()> {
    let mut all = read(path);
    all.extend(choices.iter().map(|(key, record)| (key.clone(), record.clone())));
    let choices = all.into_iter().map(|(key, record)| Entry { key, record }).collect();
    let text = serde_json::to_vec_pretty(&Contents::<Entry> { version: VERSION, choices })?;
    files::write(path, &text)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::key::tests::key;
    use super::*;
    use crate::program::Algorithm;

    fn record(algorithm: Algorithm) -> Record {
        Record { algorithm, seconds: vec![2e-3, 1e-3], spread: 0.1, provisional: false }
    }

    fn stored(path: &Path) -> Value {
        serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
    }

    #[test]
    fn choices_are_added_to_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new").join("kernels.json");
        assert!(read(&path).is_empty());
        let first = BTreeMap::from([(key(1), record(Algorithm::Direct))]);
        let second = BTreeMap::from([(key(2), record(Algorithm::Torch))]);
        add(&path, &first).unwrap();
        add(&path, &second).unwrap();
        let both: BTreeMap<Key, Record> = first.into_iter().chain(second).collect();
        assert_eq!(read(&path), both);
        let rest = fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(rest, 1, "no temporary file is left");
    }

    #[test]
    fn foreign_and_damaged_content_is_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kernels.json");
        let choices = BTreeMap::from([(key(1), record(Algorithm::Direct))]);
        let nested = "[".repeat(100_000);
        for text in
            ["", "{no json", "[]", "{}", "null", "\u{0}", r#"{"old key": "direct"}"#, &nested]
        {
            fs::write(&path, text).unwrap();
            assert!(read(&path).is_empty(), "{text:.20}");
            add(&path, &choices).unwrap();
            assert_eq!(read(&path), choices, "{text:.20}");
        }
        let mut newer = stored(&path);
        newer["version"] = 2.into();
        fs::write(&path, newer.to_string()).unwrap();
        assert!(read(&path).is_empty());
        fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(read(&path).is_empty());
    }

    #[test]
    fn an_impossible_record_is_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kernels.json");
        add(&path, &BTreeMap::from([(key(1), record(Algorithm::Direct))])).unwrap();
        let whole = stored(&path);
        let changes: [(&str, Value); 7] = [
            ("algorithm", "winograd".into()),
            ("algorithm", "fft".into()),
            ("seconds", vec![1.0].into()),
            ("seconds", vec![-1.0, 1.0].into()),
            ("spread", "wide".into()),
            ("geometry", Value::Null),
            ("candidates", vec!["winograd", "torch"].into()),
        ];
        for (field, value) in changes {
            let mut changed = whole.clone();
            changed["choices"][0][field] = value;
            fs::write(&path, changed.to_string()).unwrap();
            assert!(read(&path).is_empty(), "{changed}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_path_that_is_no_file_is_ignored() {
        use std::os::unix::fs::symlink;

        let folder = tempfile::tempdir().unwrap();
        let choices = BTreeMap::from([(key(1), record(Algorithm::Direct))]);
        assert!(read(folder.path()).is_empty());
        assert!(add(folder.path(), &choices).is_err());
        assert!(add(Path::new("/dev/null/kernels.json"), &choices).is_err());
        let endless = folder.path().join("endless");
        symlink("/dev/zero", &endless).unwrap();
        assert!(read(&endless).is_empty());
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        if made.is_ok_and(|status| status.success()) {
            assert!(read(&pipe).is_empty());
            assert!(add(&pipe, &choices).is_err());
        }
    }
}
