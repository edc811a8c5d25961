//! Giving up what a process may do, for good. Each step stands alone; `monitor::sandbox` puts them in order.

use std::io;

use nix::libc;
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, chdir, chroot, getppid, setgroups, setresgid, setresuid};

/// Capabilities fit 64 bits (`_LINUX_CAPABILITY_VERSION_3`).
const MAX_CAPABILITY: libc::c_ulong = 63;
/// `_LINUX_CAPABILITY_VERSION_3` of capget(2), Linux 2.6.26 and later.
const CAPABILITY_VERSION: u32 = 0x2008_0522;

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: libc::c_int,
}

#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct CapabilityData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Whether this process is root.
#[must_use]
pub fn is_root() -> bool {
    Uid::effective().is_root()
}

/// Empties the bounding set: no program started from here can gain a capability. Must come before the user changes.
///
/// # Errors
/// What the kernel says; `CAP_SETPCAP` is needed.
pub fn drop_bounding_set() -> io::Result<()> {
    for capability in 0..=MAX_CAPABILITY {
        // SAFETY: this prctl takes numbers alone.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } != 0 {
            let error = io::Error::last_os_error();
            // The kernel knows no further capability.
            let past_the_last = capability > 0 && error.raw_os_error() == Some(libc::EINVAL);
            return if past_the_last { Ok(()) } else { Err(error) };
        }
    }
    Ok(())
}

/// Empties the effective, permitted, inheritable and ambient sets, and makes sure that they are empty.
///
/// # Errors
/// What the kernel says, or that a capability stayed.
pub fn clear_capabilities() -> io::Result<()> {
    // Linux before 4.3 has no ambient set.
    // SAFETY: this prctl takes numbers alone.
    unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
    let mut header = CapabilityHeader {
        version: CAPABILITY_VERSION,
        pid: 0,
    };
    let none = [CapabilityData::default(); 2];
    // SAFETY: version 3 reads a header and two data structures, and writes at most the header's version.
    if unsafe { libc::syscall(libc::SYS_capset, &raw mut header, none.as_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut left = [CapabilityData::default(); 2];
    // SAFETY: version 3 reads the header and writes two data structures.
    if unsafe { libc::syscall(libc::SYS_capget, &raw mut header, left.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if left == none {
        Ok(())
    } else {
        Err(io::Error::other("capabilities stayed"))
    }
}

/// Becomes another user and group, with no further groups, and makes sure that there is no way back.
///
/// # Errors
/// What the kernel says, or that root could be had again.
pub fn become_user(uid: u32, gid: u32) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    setgroups(&[])?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    let root = Uid::from_raw(0);
    if setresuid(root, root, root).is_ok() || Uid::current() != uid || Uid::effective() != uid {
        return Err(io::Error::other("root could be had again"));
    }
    // A number of all ones means "as it is" to the kernel.
    if Gid::current() != gid || Gid::effective() != gid {
        return Err(io::Error::other("the group stayed"));
    }
    Ok(())
}

/// Makes a folder the root of everything this process can name.
///
/// # Errors
/// What the kernel says.
pub fn change_root(dir: &std::path::Path) -> io::Result<()> {
    chroot(dir)?;
    Ok(chdir("/")?)
}

/// No program started from here gains privileges by set-user-ID or file capabilities (Linux 3.5 and later).
///
/// # Errors
/// What the kernel says.
pub fn set_no_new_privs() -> io::Result<()> {
    Ok(prctl::set_no_new_privs()?)
}

/// Not traceable by processes of the same user, and no core dump.
///
/// # Errors
/// What the kernel says.
pub fn set_not_dumpable() -> io::Result<()> {
    Ok(prctl::set_dumpable(false)?)
}

/// What a process may use at most.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Open descriptors.
    pub descriptors: u32,
    /// Bytes of address space.
    pub address_space_bytes: u32,
}

/// Sets limits: those given, no further process, no core dump.
///
/// # Errors
/// What the kernel says.
pub fn set_limits(limits: Limits) -> io::Result<()> {
    let Limits {
        descriptors,
        address_space_bytes,
    } = limits;
    for (resource, most) in [
        (Resource::RLIMIT_NOFILE, descriptors),
        (Resource::RLIMIT_AS, address_space_bytes),
        (Resource::RLIMIT_NPROC, 0),
        (Resource::RLIMIT_CORE, 0),
    ] {
        // Some C libraries have 32 bits here, so the numbers above have no more.
        let most = libc::rlim_t::from(most);
        setrlimit(resource, most, most)?;
    }
    Ok(())
}

/// Makes a process one that yields to others: for the processor, and when memory runs out; and bounds the files that it
/// writes. Best effort: a kernel that knows none of it runs it like any other.
pub fn make_minor(pid: u32, file_bytes: u32) {
    const NICE: libc::c_int = 10;
    let Ok(number) = libc::pid_t::try_from(pid) else {
        return;
    };
    let limit = libc::rlimit {
        rlim_cur: file_bytes.into(),
        rlim_max: file_bytes.into(),
    };
    // SAFETY: setpriority takes numbers alone; prlimit (Linux 2.6.36) reads one `rlimit` and writes none.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, pid, NICE);
        libc::prlimit(number, libc::RLIMIT_FSIZE, &raw const limit, std::ptr::null_mut());
    }
    set_oom_score(pid, "800");
}

/// When memory runs out, a process that is started again goes before the camera's own. Best effort.
pub fn offer_to_die(pid: u32) {
    set_oom_score(pid, "300");
}

/// How early a process is ended when memory runs out (proc(5)): 0 as any other, 1000 first of all.
fn set_oom_score(pid: u32, score: &str) {
    let _ = std::fs::write(format!("/proc/{pid}/oom_score_adj"), score);
}

/// Dies with its parent, which must be `parent`. To be called last: becoming another user forgets it (prctl(2)).
///
/// # Errors
/// What the kernel says, or that the parent is gone already.
pub fn die_with_parent(parent: u32) -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    // In a PID namespace of the child's own the parent would be 0; then the channel's end says it.
    match u32::try_from(getppid().as_raw()) {
        Ok(now) if now == parent => Ok(()),
        _ => Err(io::Error::other("the monitor is gone")),
    }
}

/// Closes every descriptor but the first three: what an init script or a shell has left open, a folder outside the
/// agent's root for example. Nothing of this process may be open yet.
pub fn close_inherited() {
    const FIRST: libc::c_uint = 3;
    // Old kernels' programs have no more, and a system call for each of a million would take a second.
    const LAST: libc::c_int = 1023;
    // Linux 5.9 and later.
    // SAFETY: the process has just started and owns no descriptor from `FIRST` on.
    if unsafe { libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, 0) } == 0 {
        return;
    }
    for fd in FIRST as libc::c_int..=LAST {
        // SAFETY: as above; a number that is not open is an error without effect.
        unsafe { libc::close(fd) };
    }
}

/// Names this process in `ps`: started from `/proc/self/exe` it would be `exe`.
pub fn set_process_name(name: &std::ffi::CStr) {
    // A name is a convenience.
    let _ = prctl::set_name(name);
}
