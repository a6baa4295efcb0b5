//! The processor of this machine, for reports and for the keys of measurements.

use super::level;

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
    let level = level::chosen().name();
    match level::emulates_amx() {
        true => format!("{level}, emulated amx"),
        false => level,
    }
}

/// Whether kernels may compute convolutions in bf16 with tiles.
pub fn has_tiles() -> bool {
    super::amx::has_tiles()
}

/// Whether kernels use AMX, and if not, why.
pub fn amx() -> String {
    if level::emulates_amx() {
        return format!("emulated{}", because());
    }
    match amx_refused() {
        Some(reason) => format!("not used: {reason}"),
        None if has_tiles() => "used".to_owned(),
        None => format!("not used{}", because()),
    }
}

/// What keeps kernels from AMX, other than a setting.
#[cfg(target_arch = "x86_64")]
fn amx_refused() -> Option<&'static str> {
    // The system is not asked where a setting decides.
    let refusal = match super::amx::processor_has_amx() && level::limited().is_some() {
        true => None,
        false => super::amx::permission().err(),
    };
    refusal.map(|refusal| refusal.reason())
}

#[cfg(not(target_arch = "x86_64"))]
fn amx_refused() -> Option<&'static str> {
    Some("the processor has none")
}

fn because() -> String {
    level::limited().map_or_else(String::new, |setting| format!(": {setting}"))
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
        if super::amx::processor_has_amx() {
            found.push("amx-bf16");
        }
    }
    #[cfg(target_arch = "aarch64")]
    found.push("neon");
    found
}
