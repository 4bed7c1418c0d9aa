//! System calls that no gateway needs, and that whoever got inside would want: other processes' memory, mounts,
//! namespaces, kernel modules and keys, the clock, other users' identities, raw packets, and new programs.

use std::collections::BTreeMap;

use libc::{c_int, c_long};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    sock_filter,
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
/// What `clone` must not bring: `unshare` by another name.
const DENIED_CLONES: &[c_int] = &[
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWUTS,
];
/// Calls of the x32 interface carry this bit. They are other numbers for the same calls, which the rules would not know.
const X32_BIT: u32 = 0x4000_0000;

/// Limits this thread; false when the kernel or this processor cannot.
pub(super) fn apply(commands: bool) -> bool {
    let told = |error: seccompiler::Error| error.to_string();
    let applied = program(commands).and_then(|first| Ok((first, hidden_clones()?))).and_then(|(first, second)| {
        seccompiler::apply_filter(&second).and_then(|()| seccompiler::apply_filter(&first)).map_err(told)
    });
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
    let clone = |flag: &c_int| {
        let flag = u64::from(flag.cast_unsigned());
        let has = SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(flag), flag)?;
        SeccompRule::new(vec![has])
    };
    let clones = DENIED_CLONES.iter().map(clone).collect::<Result<_, _>>();
    rules.insert(libc::SYS_clone, clones.map_err(|error| error.to_string())?);
    let mut program = if cfg!(target_arch = "x86_64") { x32_refused() } else { Vec::new() };
    program.extend(filter(rules, libc::EPERM)?);
    Ok(program)
}

/// The flags of `clone3` lie in memory, where no filter looks: it is not there, as in old kernels, and libraries take `clone`.
fn hidden_clones() -> Result<BpfProgram, String> {
    filter(BTreeMap::from([(libc::SYS_clone3, Vec::new())]), libc::ENOSYS)
}

fn filter(rules: BTreeMap<i64, Vec<SeccompRule>>, errno: c_int) -> Result<BpfProgram, String> {
    let refuse = SeccompAction::Errno(errno.unsigned_abs());
    let architecture = std::env::consts::ARCH.try_into().map_err(|error| format!("{error}"))?;
    SeccompFilter::new(rules, SeccompAction::Allow, refuse, architecture)
        .and_then(TryInto::try_into)
        .map_err(|error| error.to_string())
}

/// Loads the number of the call, and answers EPERM where it has the bit.
fn x32_refused() -> BpfProgram {
    let code =
        |parts: [u32; 3]| u16::try_from(parts.into_iter().fold(0, |all, part| all | part)).expect("a short code");
    let refuse = libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs();
    vec![
        sock_filter { code: code([libc::BPF_LD, libc::BPF_W, libc::BPF_ABS]), jt: 0, jf: 0, k: 0 },
        sock_filter { code: code([libc::BPF_JMP, libc::BPF_JGE, libc::BPF_K]), jt: 0, jf: 1, k: X32_BIT },
        sock_filter { code: code([libc::BPF_RET, libc::BPF_K, 0]), jt: 0, jf: 0, k: refuse },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;

    /// What the kernel would answer to a call with this first argument, by the machine of linux/Documentation/networking/filter.rst.
    fn answer(program: &BpfProgram, call: u32, argument: u64) -> u32 {
        let architecture: u32 = if cfg!(target_arch = "x86_64") { 0xC000_003E } else { 0xC000_00B7 };
        let mut data = [call.to_le_bytes(), architecture.to_le_bytes()].concat();
        data.extend([0; 8]);
        data.extend(argument.to_le_bytes());
        data.extend([0; 40]);
        let (mut at, mut register) = (0, 0_u32);
        loop {
            let sock_filter { code, jt, jf, k } = program[at].clone();
            at += 1;
            let mut jump = |taken: bool| at += usize::from(if taken { jt } else { jf });
            match u32::from(code) {
                0x20 => {
                    let place = usize::try_from(k).expect("small");
                    register = u32::from_le_bytes(data[place..place + 4].try_into().expect("four bytes"));
                }
                0x54 => register &= k,
                0x05 => at += usize::try_from(k).expect("small"),
                0x15 => jump(register == k),
                0x25 => jump(register > k),
                0x35 => jump(register >= k),
                0x06 => return k,
                other => panic!("no filter of ours has {other:#x}"),
            }
        }
    }

    #[test]
    fn no_clone_makes_a_namespace_and_no_call_goes_by_another_number() {
        let program = program(false).expect("a program");
        let number = |call: c_long| u32::try_from(call).expect("a number");
        let denied = libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs();
        // What a thread asks for, and what a child does.
        let thread = libc::CLONE_VM | libc::CLONE_FS | libc::CLONE_FILES | libc::CLONE_SIGHAND | libc::CLONE_THREAD;
        for fine in [thread, libc::SIGCHLD] {
            assert_eq!(answer(&program, number(libc::SYS_clone), u64::from(fine.cast_unsigned())), ALLOW);
            for flag in DENIED_CLONES {
                let flags = u64::from((fine | flag).cast_unsigned());
                assert_eq!(answer(&program, number(libc::SYS_clone), flags), denied, "{flag:#x}");
            }
        }
        let absent = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();
        assert_eq!(answer(&hidden_clones().expect("a program"), number(libc::SYS_clone3), 0), absent);
        assert_eq!(answer(&hidden_clones().expect("a program"), number(libc::SYS_clone), 0), ALLOW);
        assert_eq!(answer(&program, number(libc::SYS_ptrace), 0), denied);
        assert_eq!(answer(&program, number(libc::SYS_read), 0), ALLOW);
        #[cfg(target_arch = "x86_64")]
        for call in [libc::SYS_read, libc::SYS_ptrace, libc::SYS_execve] {
            assert_eq!(answer(&program, number(call) | X32_BIT, 0), denied, "{call}");
        }
    }
}
