//! The CUDA sources, and the kernels of each.

/// The text that precedes every source.
const COMMON: &str = include_str!("common.cuh");

/// A translation unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Augment,
    BatchNorm,
    CrossEntropy,
    Metrics,
    Optimizer,
}

impl Source {
    pub const ALL: [Source; 5] = [
        Source::Augment,
        Source::BatchNorm,
        Source::CrossEntropy,
        Source::Metrics,
        Source::Optimizer,
    ];

    pub fn named(name: &str) -> Option<Source> {
        Source::ALL.into_iter().find(|source| source.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            Source::Augment => "augment",
            Source::BatchNorm => "batch_norm",
            Source::CrossEntropy => "cross_entropy",
            Source::Metrics => "metrics",
            Source::Optimizer => "optimizer",
        }
    }

    /// The complete text for the compiler.
    pub fn text(self) -> String {
        let own = match self {
            Source::Augment => include_str!("augment.cu"),
            Source::BatchNorm => include_str!("batch_norm.cu"),
            Source::CrossEntropy => include_str!("cross_entropy.cu"),
            Source::Metrics => include_str!("metrics.cu"),
            Source::Optimizer => include_str!("optimizer.cu"),
        };
        format!("{COMMON}\n{own}")
    }

    /// The names of the kernels.
    pub fn entries(self) -> Vec<String> {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        match self {
            Source::Augment => {
                let types = ["u8_float", "u8_bf16", "float_float", "float_bf16"];
                let mut entries = combined(&["augment"], &types);
                entries.push("advance_cursor".to_owned());
                entries
            }
            Source::BatchNorm => {
                let passes = ["moments", "normalize", "gradient_sums", "input_gradient"];
                let passes = passes.map(|pass| format!("batch_norm_{pass}"));
                let passes: Vec<&str> = passes.iter().map(String::as_str).collect();
                let mut entries = combined(&passes, &["float_1", "float_4", "bf16_1", "bf16_8"]);
                entries.extend(combined(&["batch_norm_statistics"], &["float", "bf16"]));
                entries.extend(own(&["batch_norm_invstd", "batch_norm_gradient_lines"]));
                entries
            }
            Source::CrossEntropy => {
                let mut entries = combined(&["cross_entropy"], &["float", "bf16"]);
                entries.push("mean_loss".to_owned());
                entries
            }
            Source::Metrics => {
                let mut entries = combined(&["ranks"], &["float", "bf16"]);
                entries.push("add_metrics".to_owned());
                entries
            }
            Source::Optimizer => {
                own(&["squared_norms", "clip_coefficient", "sgd", "adamw", "take_over"])
            }
        }
    }
}

fn combined(names: &[&str], types: &[&str]) -> Vec<String> {
    names.iter().flat_map(|name| types.iter().map(move |ty| format!("{name}_{ty}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_entries_are_distinct() {
        let mut all = Vec::new();
        for source in Source::ALL {
            assert_eq!(Source::named(source.name()), Some(source));
            all.extend(source.entries());
        }
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
        assert_eq!(Source::named("cuda"), None);
    }
}
