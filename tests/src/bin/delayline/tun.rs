//! TUN devices: the one place of the test crate with `unsafe` in it.
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

use anyhow::{Context, Result, bail};
use lenscap_tests::netns::{Namespace, ip};
use nix::libc;

/// Packets the kernel keeps for us while we are not scheduled: 0.4 s of 300 Mbit/s.
const KERNEL_QUEUE_PACKETS: &str = "10000";

nix::ioctl_write_ptr_bad!(
    /// `TUNSETIFF`: gives the descriptor a name and a mode.
    tun_set_iff,
    nix::request_code_write!(b'T', 202, size_of::<libc::c_int>()),
    libc::ifreq
);

/// Opens a TUN device (IP packets, no header) in a namespace, gives it an address and sets it up.
/// The device goes with the returned file.
pub(crate) fn open(namespace: &Namespace, dev: &str, address: &str, mtu: u16) -> Result<File> {
    let file = namespace.run(|| open_here(dev))?;
    let name = namespace.name();
    ip(&["-n", name, "addr", "add", address, "dev", dev])?;
    let mtu = mtu.to_string();
    ip(&[
        "-n",
        name,
        "link",
        "set",
        dev,
        "mtu",
        &mtu,
        "txqueuelen",
        KERNEL_QUEUE_PACKETS,
        "up",
    ])?;
    Ok(file)
}

fn open_here(dev: &str) -> Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun")
        .context("opening /dev/net/tun")?;
    // SAFETY: `ifreq` is plain data of integers and arrays, for which all zeroes is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if dev.is_empty() || dev.len() >= request.ifr_name.len() {
        bail!(
            "device name '{dev}' must have 1 to {} bytes",
            request.ifr_name.len() - 1
        );
    }
    for (slot, byte) in request.ifr_name.iter_mut().zip(dev.bytes()) {
        *slot = byte.cast_signed();
    }
    let flags = libc::IFF_TUN | libc::IFF_NO_PI;
    request.ifr_ifru.ifru_flags = i16::try_from(flags).context("interface flags")?;
    // SAFETY: the descriptor is open for the length of the call and `request` is a whole `ifreq`,
    // which is what TUNSETIFF reads.
    unsafe { tun_set_iff(file.as_raw_fd(), &raw const request) }
        .with_context(|| format!("creating TUN device {dev}"))?;
    Ok(file)
}
