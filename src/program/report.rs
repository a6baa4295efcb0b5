//! A report of a program for people: cost, kernel and time of each instruction.

use std::fmt::{Display, Formatter, Result};

use serde::Serialize;

#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub rows: Vec<Row>,
    /// The number of runs over which the times are averaged.
    pub runs: u64,
    /// The size of the block of memory that the results of our own operations share.
    pub planned_bytes: usize,
    /// The largest size of all values that are alive at a time.
    pub peak_bytes: usize,
}

#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub op: String,
    /// The name of the kernel.
    pub kernel: &'static str,
    pub shapes: String,
    pub flops: usize,
    /// Bytes moved if each value is read or written once.
    pub bytes: usize,
    /// The mean time of a run.
    pub seconds: f64,
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let widest = |width: fn(&Row) -> usize| self.rows.iter().map(width).max().unwrap_or(0);
        let (op, kernel) = (widest(|row| row.op.len()), widest(|row| row.kernel.len()));
        let megabytes = self.planned_bytes as f64 / 1e6;
        writeln!(f, "{} operations, {megabytes:.1} MB planned memory", self.rows.len())?;
        for (index, row) in self.rows.iter().enumerate() {
            let (mb, mflop) = (row.bytes as f64 / 1e6, row.flops as f64 / 1e6);
            write!(f, "{index:4}  {:op$}  {:kernel$}", row.op, row.kernel)?;
            writeln!(f, "  {mb:9.3} MB  {mflop:10.2} MFLOP  {}", row.shapes)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_a_line() {
        let row = Row {
            op: "convolution".into(),
            kernel: "direct",
            shapes: "f32[1, 2] -> f32[3]".into(),
            flops: 2_500_000,
            bytes: 4_000,
            seconds: 0.0,
        };
        let text = Report { rows: vec![row; 2], runs: 0, planned_bytes: 1_500_000, peak_bytes: 0 }
            .to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "2 operations, 1.5 MB planned memory");
        assert!(lines[2].starts_with("   1  convolution  direct      0.004 MB"), "{text}");
        assert!(lines[2].ends_with("2.50 MFLOP  f32[1, 2] -> f32[3]"), "{text}");
    }
}
