//! Files and ports: only what the configuration names, and what the system's own libraries read.

use anyhow::Context as _;
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, LandlockStatus, NetPort, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, RulesetStatus, Scope, path_beneath_rules,
};

use super::Reach;

/// What is asked for; an older kernel gives what it has.
const WANTED: ABI = ABI::V6;
/// Name resolution, time zones, authorities, libraries that these load, limits of the container, randomness.
const SYSTEM: [&str; 16] = [
    "/etc",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/share/zoneinfo",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/run/NetworkManager",
    "/run/nscd",
    "/sys/fs/cgroup",
    "/proc/self/cgroup",
    "/proc/self/mountinfo",
    "/dev/urandom",
];

/// Limits this thread; the version that is in force, `None` when the kernel has no Landlock.
///
/// # Errors
/// When the kernel has it and refuses these rules.
pub(super) fn apply(reach: &Reach) -> anyhow::Result<Option<i32>> {
    let files = AccessFs::from_all(WANTED);
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let write = files & !AccessFs::Execute;
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(files)?
        .scope(Scope::from_all(WANTED))?;
    if !reach.ports.is_empty() {
        rules = rules.handle_access(AccessNet::BindTcp)?;
    }
    let mut rules = rules
        .create()
        .context("Landlock refuses a new set of rules")?
        .add_rules(path_beneath_rules(SYSTEM, read))?
        .add_rules(path_beneath_rules(&reach.read, read))?
        .add_rules(path_beneath_rules(&reach.write, write))?
        .add_rules(path_beneath_rules(["/dev/null"], read | AccessFs::WriteFile))?;
    if reach.commands {
        rules = rules.add_rules(path_beneath_rules(["/"], read | AccessFs::Execute))?;
    }
    for port in &reach.ports {
        rules = rules.add_rule(NetPort::new(*port, AccessNet::BindTcp))?;
    }
    let status = rules.restrict_self().context("Landlock refuses to be enforced")?;
    Ok(match (status.ruleset, status.landlock) {
        (RulesetStatus::NotEnforced, _) => None,
        (_, LandlockStatus::Available { effective_abi, .. }) => Some(effective_abi as i32),
        _ => None,
    })
}
