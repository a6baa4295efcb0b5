//! Range checks shared by the settings of optimizers and schedules.

use crate::error::{Error, Result};

pub(super) fn at_least_zero(name: &'static str, value: f64) -> Result<()> {
    check(name, "a finite number >= 0", value, value >= 0.0 && value.is_finite())
}

pub(super) fn above_zero(name: &'static str, value: f64) -> Result<()> {
    check(name, "a finite number > 0", value, value > 0.0 && value.is_finite())
}

pub(super) fn unit_interval(name: &'static str, value: f64) -> Result<()> {
    check(name, "between 0 and 1", value, (0.0..=1.0).contains(&value))
}

pub(super) fn below_one(name: &'static str, value: f64) -> Result<()> {
    check(name, "at least 0 and less than 1", value, (0.0..1.0).contains(&value))
}

pub(super) fn finite(name: &'static str, value: f64) -> Result<()> {
    check(name, "a finite number", value, value.is_finite())
}

fn check(name: &'static str, expected: &'static str, value: f64, valid: bool) -> Result<()> {
    if valid {
        Ok(())
    } else {
        Err(Error::Setting { name, expected, value })
    }
}
