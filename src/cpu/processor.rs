//! The processor of this machine, for reports and for the keys of measurements.

/// The model name, or the architecture where the system does not report a name.
pub fn name() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    match name {
        Some((_, name)) if !name.trim().is_empty() => name.trim().to_owned(),
        _ => std::env::consts::ARCH.to_owned(),
    }
}

/// The instruction level that kernels run on.
pub fn level() -> String {
    super::dispatch::level_name()
}

/// The instructions of this processor, among those that kernels use.
pub fn features() -> Vec<&'static str> {
    let mut found = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        macro_rules! look_for {
            ($($name:tt),*) => { $(if is_x86_feature_detected!($name) { found.push($name); })* };
        }
        look_for!("avx2", "fma", "avx512f", "avx512bw", "avx512vl", "avx512vnni", "avx512bf16");
    }
    #[cfg(target_arch = "aarch64")]
    found.push("neon");
    found
}
