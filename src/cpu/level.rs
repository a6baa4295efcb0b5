//! Instruction levels: those that this machine has, and the one that code runs on.

use std::sync::OnceLock;

#[cfg(target_arch = "x86_64")]
use super::amx;
use crate::error::{Error, Result};

/// Instruction sets. Each level includes the instructions of all levels before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16,
    #[cfg(target_arch = "x86_64")]
    Amx,
}

impl Level {
    pub(super) const ALL: &[Level] = &[
        Level::Portable,
        #[cfg(target_arch = "x86_64")]
        Level::Avx2,
        #[cfg(target_arch = "x86_64")]
        Level::Avx512,
        #[cfg(target_arch = "x86_64")]
        Level::Avx512Bf16,
        #[cfg(target_arch = "x86_64")]
        Level::Amx,
    ];
    const BEST: Level = Level::ALL[Level::ALL.len() - 1];

    pub(super) fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

/// The environment variable that limits the level, or has AMX emulated.
const VARIABLE: &str = "PROPRELU_CPU";
const EMULATED_AMX: &str = "emulated-amx";

#[derive(Clone, Copy)]
struct Setting {
    limit: Level,
    emulates_amx: bool,
}

const NO_SETTING: Setting = Setting { limit: Level::BEST, emulates_amx: false };

/// The level that code runs on. Whatever limits the levels belongs here.
pub(crate) fn chosen() -> Level {
    let level = detected().min(setting().limit);
    #[cfg(test)]
    return level.min(forced::limit());
    #[cfg(not(test))]
    level
}

/// The best level of this machine.
pub(super) fn detected() -> Level {
    static DETECTED: OnceLock<Level> = OnceLock::new();
    *DETECTED.get_or_init(detect)
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Level {
    let avx512 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl");
    if avx512 && is_x86_feature_detected!("avx512bf16") {
        // The system is asked for the permission to use AMX only where it will be used.
        match setting().limit < Level::Amx || amx::permission().is_err() {
            true => Level::Avx512Bf16,
            false => Level::Amx,
        }
    } else if avx512 {
        Level::Avx512
    } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        Level::Avx2
    } else {
        Level::Portable
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Level {
    Level::Portable
}

/// Whether kernels may use tiles that are computed without AMX: for tests, since it is slow.
pub(super) fn emulates_amx() -> bool {
    cfg!(test) || setting().emulates_amx
}

/// Why code does not run on a better level although the machine may have one.
pub(super) fn limited() -> Option<String> {
    std::env::var(VARIABLE).ok().map(|value| format!("{VARIABLE}={value}"))
}

/// # Errors
/// The environment variable has a value of no meaning; it is not regarded then.
pub fn check_setting() -> Result<()> {
    match std::env::var(VARIABLE) {
        Ok(value) => parse(&value).map(|_| ()),
        Err(_) => Ok(()),
    }
}

fn setting() -> Setting {
    static SETTING: OnceLock<Setting> = OnceLock::new();
    *SETTING.get_or_init(|| {
        let value = std::env::var(VARIABLE).unwrap_or_default();
        parse(&value).unwrap_or(NO_SETTING)
    })
}

fn parse(value: &str) -> Result<Setting> {
    if value.is_empty() {
        return Ok(NO_SETTING);
    }
    if value == EMULATED_AMX {
        let hardware = Level::ALL.iter().rev().find(|level| level.name() != "amx");
        return Ok(Setting { limit: *hardware.unwrap_or(&Level::BEST), emulates_amx: true });
    }
    let named = Level::ALL.iter().find(|level| level.name() == value);
    named.map(|&limit| Setting { limit, ..NO_SETTING }).ok_or_else(|| {
        let names = Level::ALL.iter().map(|level| level.name()).collect::<Vec<_>>();
        let expected = format!("{} or {EMULATED_AMX}", names.join(", "));
        Error::CpuSetting { variable: VARIABLE, expected, got: value.to_owned() }
    })
}

#[cfg(test)]
pub(crate) use forced::{each_level, forced};

/// For tests: limits the level of the test's own thread, to compare the levels.
#[cfg(test)]
mod forced {
    use std::cell::Cell;

    use super::{detected, Level};

    thread_local!(static LIMIT: Cell<Level> = const { Cell::new(Level::BEST) });

    pub(super) fn limit() -> Level {
        LIMIT.get()
    }

    /// Every level that this machine has.
    pub(crate) fn each_level() -> impl Iterator<Item = Level> {
        Level::ALL.iter().copied().filter(|&level| level <= detected())
    }

    /// Runs `work` on `level` or a lower one, on this thread alone: use `Serial`.
    pub(crate) fn forced<R>(level: Level, work: impl FnOnce() -> R) -> R {
        let before = LIMIT.replace(level);
        let result = work();
        LIMIT.set(before);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_limits_the_level() {
        assert_eq!(parse("").unwrap().limit, Level::BEST);
        assert_eq!(parse("portable").unwrap().limit, Level::Portable);
        for &level in Level::ALL {
            let setting = parse(&level.name()).unwrap();
            assert!(setting.limit == level && !setting.emulates_amx);
        }
    }

    #[test]
    fn emulation_does_without_the_hardware() {
        let setting = parse("emulated-amx").unwrap();
        assert!(setting.emulates_amx && setting.limit.name() != "amx");
    }

    #[test]
    fn an_unknown_setting_is_an_error() {
        let message = parse("sse9").err().unwrap().to_string();
        let start = "PROPRELU_CPU must be portable";
        assert!(message.starts_with(start) && message.contains(r#"got "sse9""#), "{message}");
    }
}
