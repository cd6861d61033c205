//! Which system calls a worker may make (seccomp(2)).
//!
//! With the simulated device that is a list of those it may: all of it is this program and the C
//! library. A measured worker made 42 different ones; the list has their families, so that another
//! C library or a rare path finds what it needs. What is on no list is answered as by a kernel that
//! does not have it, which libraries know how to do without. The genuine driver has a list of those
//! it may not make: which ones it needs changes with each version and is not ours to say.

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, apply_filter, sock_filter,
};

/// System calls by their number, each with the rules of which one must hold; none: always.
type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Memory, threads, time, and what a process may know of itself.
const PROCESS: &[libc::c_long] = &[
    libc::SYS_brk,
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_getcpu,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_getuid,
    libc::SYS_kill,
    libc::SYS_landlock_add_rule,
    libc::SYS_landlock_create_ruleset,
    libc::SYS_landlock_restrict_self,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_memfd_create,
    libc::SYS_mincore,
    libc::SYS_mlock,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_msync,
    libc::SYS_munlock,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_prctl,
    libc::SYS_prlimit64,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_sched_yield,
    libc::SYS_seccomp,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_setrlimit,
    libc::SYS_sigaltstack,
    libc::SYS_sysinfo,
    libc::SYS_tgkill,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_gettime,
    libc::SYS_timerfd_settime,
    libc::SYS_tkill,
    libc::SYS_uname,
];

/// Files, which landlock keeps to a few, and what is open already: the host process's socket, the
/// client's, timers, events.
const FILES: &[libc::c_long] = &[
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_copy_file_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    libc::SYS_faccessat,
    libc::SYS_fadvise64,
    libc::SYS_fallocate,
    libc::SYS_fcntl,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_ioctl,
    libc::SYS_linkat,
    libc::SYS_lseek,
    libc::SYS_mkdirat,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_pipe2,
    libc::SYS_ppoll,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_pselect6,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_read,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_recvfrom,
    libc::SYS_recvmmsg,
    libc::SYS_recvmsg,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_sendfile,
    libc::SYS_sendmmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_signalfd4,
    libc::SYS_socketpair,
    libc::SYS_statfs,
    libc::SYS_statx,
    libc::SYS_umask,
    libc::SYS_unlinkat,
    libc::SYS_utimensat,
    libc::SYS_write,
    libc::SYS_writev,
];

/// Older spellings, which only this architecture has.
#[cfg(target_arch = "x86_64")]
const OLDER: &[libc::c_long] = &[
    libc::SYS_access,
    libc::SYS_arch_prctl,
    libc::SYS_dup2,
    libc::SYS_epoll_wait,
    libc::SYS_getrlimit,
    libc::SYS_link,
    libc::SYS_lstat,
    libc::SYS_mkdir,
    libc::SYS_open,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_rename,
    libc::SYS_rmdir,
    libc::SYS_select,
    libc::SYS_stat,
    libc::SYS_time,
    libc::SYS_unlink,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[libc::c_long] = &[];

/// System calls that no device needs: to look into other processes, to change the machine, and
/// interfaces of the kernel that are for its administrators.
const DENIED: &[libc::c_long] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_adjtimex,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_init_module,
    libc::SYS_io_uring_setup,
    libc::SYS_kcmp,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_mount,
    libc::SYS_move_mount,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_pivot_root,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_tkill,
    libc::SYS_umount2,
    libc::SYS_unshare,
];

/// System calls that change who may open a file, or empty it, without opening it: landlock knows no
/// rule for the first, and none for the second before Linux 6.2. Files of the host are its user's.
const OPENING: &[libc::c_long] = &[
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    FCHMODAT2,
    libc::SYS_fsetxattr,
    libc::SYS_lsetxattr,
    libc::SYS_setxattr,
    SETXATTRAT,
    libc::SYS_truncate,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod,
];

/// Of Linux 6.6 and 6.13, not known to every C library; the same on all architectures.
pub(super) const FCHMODAT2: libc::c_long = 452;
pub(super) const SETXATTRAT: libc::c_long = 463;

/// System calls that send a signal: to this process only. Whom a signal is for, groups and all that
/// there are included, the first argument says (kill(2), tgkill(2), rt_sigqueueinfo(2)).
const SIGNALS: [libc::c_long; 4] =
    [libc::SYS_kill, libc::SYS_rt_sigqueueinfo, libc::SYS_rt_tgsigqueueinfo, libc::SYS_tgkill];

/// System calls that change how a process is run and what it may take, of any of the same user:
/// the first argument names it, and 0 means the caller.
const ABOUT_ONE: [libc::c_long; 7] = [
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    libc::SYS_prlimit64,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_setattr,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setscheduler,
];

/// The same where the second argument names it, and the first says that it is one process and not
/// all of a group or a user: PRIO_PROCESS of setpriority(2), IOPRIO_WHO_PROCESS of ioprio_set(2).
const ABOUT_SOME: [(libc::c_long, u64); 2] =
    [(libc::SYS_setpriority, 0), (libc::SYS_ioprio_set, 1)];

/// Commands of fcntl(2) that name whom a file signals, and by what: F_SETOWN, F_SETSIG and
/// F_SETOWN_EX. A file that is ready needs no kill(2), and before Linux 6.12 no rule stops it.
const OWNERS_BY_FCNTL: [u64; 3] = [8, 10, 15];

/// The same of ioctl(2), and what makes a file signal at all: FIOSETOWN, SIOCSPGRP and FIOASYNC.
const OWNERS_BY_IOCTL: [u64; 3] = [0x8901, 0x8902, 0x5452];

/// What the simulated device does not need either: to start programs, and to reach anybody that
/// the host process did not connect it with.
const DENIED_WITHOUT_DRIVER: &[libc::c_long] = &[
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_listen,
    libc::SYS_socket,
];

/// Limits the system calls of this thread and of those that it will start. Who makes one that is
/// denied is told that it may not. A driver that `connects` may reach services of this machine.
///
/// # Errors
/// The kernel's, if it has no filters.
pub(super) fn limit(has_driver: bool, connects: bool) -> Result<(), seccompiler::Error> {
    // Of two filters that both refuse, the later one's answer counts (seccomp(2)).
    if has_driver && connects {
        // The operator has said so.
    } else if has_driver {
        // A worker could be a client, or a machine, at the host's own sockets. A driver looks for a
        // service that shares GPUs among processes (MPS), and does without where there is none.
        let nobody = SeccompAction::Errno(libc::ENOENT as u32);
        install(always(&[libc::SYS_connect]), SeccompAction::Allow, nobody)?;
    } else {
        let known = [PROCESS, FILES, OLDER].concat();
        let unknown = SeccompAction::Errno(libc::ENOSYS as u32);
        install(always(&known), unknown, SeccompAction::Allow)?;
    }
    let more = if has_driver { &[][..] } else { DENIED_WITHOUT_DRIVER };
    let mut denied = always(&[DENIED, OPENING, more].concat());
    denied.extend(beyond_itself(u64::from(std::process::id()))?);
    // Its own services a driver reaches on this machine, and nobody by a network.
    let local = Compared(0, SeccompCmpOp::Ne, libc::AF_UNIX as u64);
    denied.entry(libc::SYS_socket).or_insert(vec![rule(&[local])?]);
    install(denied, SeccompAction::Allow, SeccompAction::Errno(libc::EPERM as u32))?;
    apply_filter(&OTHER_NUMBERS)
}

/// Refuses x32, under which all system calls of x86_64 have a second number that the other filters
/// do not know (syscall(2)): the number is loaded, and from bit 30 on answered with EPERM.
const OTHER_NUMBERS: [sock_filter; 4] = [
    sock_filter { code: (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16, jt: 0, jf: 0, k: 0 },
    sock_filter {
        code: (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16,
        jt: 0,
        jf: 1,
        k: 1 << 30,
    },
    answer(libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
    answer(libc::SECCOMP_RET_ALLOW),
];

const fn answer(k: u32) -> sock_filter {
    sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k }
}

/// What this process, whose id is `own`, may not do to others, though their user may.
fn beyond_itself(own: u64) -> Result<Rules, BackendError> {
    let mut rules = Rules::new();
    let other = |argument| Compared(argument, SeccompCmpOp::Ne, own);
    let not = |argument, value| Compared(argument, SeccompCmpOp::Ne, value);
    let is = |argument, value| Compared(argument, SeccompCmpOp::Eq, value);
    for call in SIGNALS {
        rules.insert(call, vec![rule(&[other(0)])?]);
    }
    for call in ABOUT_ONE {
        rules.insert(call, vec![rule(&[not(0, 0), other(0)])?]);
    }
    for (call, process) in ABOUT_SOME {
        let some = rule(&[not(0, process)])?;
        rules.insert(call, vec![some, rule(&[not(1, 0), other(1)])?]);
    }
    let commands = |commands: [u64; 3]| commands.into_iter().map(|command| rule(&[is(1, command)]));
    let owners: Result<Vec<_>, _> = commands(OWNERS_BY_IOCTL).collect();
    rules.insert(libc::SYS_ioctl, owners?);
    let signalling = libc::O_ASYNC as u64;
    let signals = Compared(2, SeccompCmpOp::MaskedEq(signalling), signalling);
    let signals = rule(&[is(1, libc::F_SETFL as u64), signals]);
    let owners: Result<Vec<_>, _> = commands(OWNERS_BY_FCNTL).chain([signals]).collect();
    rules.insert(libc::SYS_fcntl, owners?);
    Ok(rules)
}

/// Rules for system calls whatever their arguments.
fn always(calls: &[libc::c_long]) -> Rules {
    calls.iter().map(|&call| (call, Vec::new())).collect()
}

/// The number of an argument, of which 32 bits count, and how it compares with a value.
struct Compared(u8, SeccompCmpOp, u64);

/// A rule for a system call of whose arguments all of this is true.
fn rule(arguments: &[Compared]) -> Result<SeccompRule, BackendError> {
    let conditions = arguments.iter().map(|Compared(argument, how, value)| {
        SeccompCondition::new(*argument, SeccompCmpArgLen::Dword, how.clone(), *value)
    });
    SeccompRule::new(conditions.collect::<Result<_, _>>()?)
}

/// Adds a filter: what the rules name is answered by one action, everything else by the other.
fn install(
    rules: Rules,
    others: SeccompAction,
    action: SeccompAction,
) -> Result<(), seccompiler::Error> {
    let machine = std::env::consts::ARCH.try_into()?;
    let filter = SeccompFilter::new(rules, others, action, machine)?;
    let program: BpfProgram = filter.try_into()?;
    apply_filter(&program)
}
