//! Which kinds of CPUs there are, by their performance-monitoring units.

use crate::machine::cpus::members;
use std::fs;
use std::path::Path;

/// CPUs of one kind: with a performance-monitoring unit of their own.
///
/// # Examples
///
/// ```
/// for kind in stillpoint::perf::cpu_types() {
///     println!("{}: {:?}", kind.name, kind.cpus);
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CpuType {
    /// As the kernel names the unit, such as `cpu_core`, `cpu_atom` or `armv8_cortex_a72`; `cpu` if it
    /// names none.
    pub name: String,
    /// Which CPUs, offline ones as well.
    pub cpus: Vec<u32>,
    /// The number of the unit, if there are several.
    pub(super) unit: Option<u32>,
}

/// The kinds of CPUs of this machine; one, as a rule. CPUs that no unit claims are a kind of their
/// own.
///
/// # Examples
///
/// See [`CpuType`].
pub fn cpu_types() -> Vec<CpuType> {
    let slots = crate::machine::decide::decision().slots;
    types_below(Path::new("/sys/bus/event_source/devices"), slots)
}

fn types_below(devices: &Path, slots: u32) -> Vec<CpuType> {
    let mut types: Vec<CpuType> = Vec::new();
    for device in fs::read_dir(devices).into_iter().flatten().flatten() {
        let text = |file| fs::read_to_string(device.path().join(file)).ok();
        // Units of sockets, memory and devices have a `cpumask` instead.
        let Some(cpus) = text("cpus").and_then(|list| members(list.trim_end())) else { continue };
        let unit = text("type").and_then(|number| number.trim().parse().ok());
        let name = device.file_name().to_string_lossy().into_owned();
        if unit.is_some() {
            types.push(CpuType { name, cpus, unit });
        }
    }
    types.sort_by_key(|one| one.cpus.first().copied());
    let claimed = |cpu: &u32| types.iter().any(|one| one.cpus.contains(cpu));
    let rest: Vec<u32> = (0..slots).filter(|cpu| !claimed(cpu)).collect();
    if let [one] = &mut types[..]
        && rest.is_empty()
    {
        one.unit = None;
    }
    if !rest.is_empty() {
        types.push(CpuType { name: "cpu".to_owned(), cpus: rest, unit: None });
    }
    types
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree as `/sys` has it: names, and the contents of `type`, `cpus` and `cpumask`.
    fn types(name: &str, devices: &[(&str, &str, &str, &str)], slots: u32) -> Vec<CpuType> {
        let root = std::env::temp_dir().join(format!("stillpoint-{name}-{}", std::process::id()));
        for (name, kind, cpus, mask) in devices {
            let device = root.join(name);
            fs::create_dir_all(&device).unwrap();
            for (file, text) in [("type", kind), ("cpus", cpus), ("cpumask", mask)] {
                if !text.is_empty() {
                    fs::write(device.join(file), format!("{text}\n")).unwrap();
                }
            }
        }
        let types = types_below(&root, slots);
        let _ = fs::remove_dir_all(root);
        types
    }

    fn named(name: &str, cpus: &[u32], unit: Option<u32>) -> CpuType {
        CpuType { name: name.to_owned(), cpus: cpus.to_vec(), unit }
    }

    #[test]
    fn machines_of_one_kind() {
        let one =
            [("cpu", "4", "", ""), ("uncore_imc_0", "12", "", "0"), ("software", "1", "", "")];
        assert_eq!(types("intel", &one, 4), [named("cpu", &[0, 1, 2, 3], None)]);
        let arm = [("armv8_cortex_a72", "8", "0-3", ""), ("arm_spe_0", "9", "", "0-3")];
        assert_eq!(types("arm", &arm, 4), [named("armv8_cortex_a72", &[0, 1, 2, 3], None)]);
        assert_eq!(types("none", &[], 2), [named("cpu", &[0, 1], None)]);
    }

    #[test]
    fn machines_of_several_kinds() {
        let hybrid = [("cpu_atom", "10", "4-7", ""), ("cpu_core", "4", "0-3", "")];
        let expected =
            [named("cpu_core", &[0, 1, 2, 3], Some(4)), named("cpu_atom", &[4, 5, 6, 7], Some(10))];
        assert_eq!(types("hybrid", &hybrid, 8), expected);
        let little = [("armv8_cortex_a53", "8", "0-1,4", ""), ("armv8_cortex_a73", "9", "2-3", "")];
        let expected = [
            named("armv8_cortex_a53", &[0, 1, 4], Some(8)),
            named("armv8_cortex_a73", &[2, 3], Some(9)),
            named("cpu", &[5], None),
        ];
        assert_eq!(types("little", &little, 6), expected);
    }

    #[test]
    fn this_machine_has_one_at_least() {
        let types = cpu_types();
        let cpu = crate::current_cpu();
        assert!(types.iter().any(|one| one.cpus.contains(&cpu)));
    }
}
