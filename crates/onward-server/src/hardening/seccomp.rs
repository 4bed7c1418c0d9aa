//! System calls that no gateway needs, and that whoever got inside would want: other processes' memory, mounts,
//! namespaces, kernel modules and keys, the clock, other users' identities, raw packets, and new programs.

use std::collections::BTreeMap;

use libc::{c_int, c_long};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

/// Answered by EPERM.
const DENIED: &[c_long] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_adjtimex,
    libc::SYS_bpf,
    libc::SYS_capset,
    libc::SYS_chroot,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kcmp,
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_mknodat,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_personality,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setdomainname,
    libc::SYS_setfsgid,
    libc::SYS_setfsuid,
    libc::SYS_setgid,
    libc::SYS_setgroups,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_setregid,
    libc::SYS_setresgid,
    libc::SYS_setresuid,
    libc::SYS_setreuid,
    libc::SYS_settimeofday,
    libc::SYS_setuid,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
    libc::SYS_vhangup,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mknod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
];
/// New programs: denied where the configuration names no command.
const PROGRAMS: &[c_long] = &[libc::SYS_execve, libc::SYS_execveat];
/// Kinds of sockets beside those of the internet, of this machine, and of the kernel's list of interfaces.
const DENIED_SOCKETS: &[c_int] = &[libc::AF_PACKET, libc::AF_ALG, libc::AF_VSOCK, libc::AF_KEY, libc::AF_BLUETOOTH];

/// Limits this thread; false when the kernel or this processor cannot.
pub(super) fn apply(commands: bool) -> bool {
    let applied = program(commands).and_then(|program| seccompiler::apply_filter(&program).map_err(|e| e.to_string()));
    if let Err(error) = &applied {
        tracing::warn!(%error, "system calls cannot be limited");
    }
    applied.is_ok()
}

fn program(commands: bool) -> Result<BpfProgram, String> {
    let programs = if commands { &[] } else { PROGRAMS };
    // No conditions: whatever its arguments.
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        DENIED.iter().chain(programs).map(|call| (*call, Vec::new())).collect();
    let family = |family: &c_int| {
        let family = u64::from(family.unsigned_abs());
        let is = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, family)?;
        SeccompRule::new(vec![is])
    };
    let sockets = DENIED_SOCKETS.iter().map(family).collect::<Result<_, _>>();
    rules.insert(libc::SYS_socket, sockets.map_err(|error| error.to_string())?);
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let architecture = std::env::consts::ARCH.try_into().map_err(|error| format!("{error}"))?;
    SeccompFilter::new(rules, SeccompAction::Allow, refuse, architecture)
        .and_then(TryInto::try_into)
        .map_err(|error| error.to_string())
}
