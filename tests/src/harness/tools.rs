//! Finding programs: our own beside the test binary, others on the PATH. A missing one fails the test and says
//! what to install; nothing is ever skipped.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::dir::workspace_root;

/// The Debian package of each outside program a test may call.
const PACKAGES: &[(&str, &str)] = &[
    ("ffmpeg", "ffmpeg"),
    ("ffprobe", "ffmpeg"),
    ("nginx", "nginx-light"),
    ("gnuplot", "gnuplot-nox"),
    ("ip", "iproute2"),
    ("tc", "iproute2"),
    ("setpriv", "util-linux"),
    ("python3", "python3"),
    ("openssl", "openssl"),
    ("nfcapd", "nfdump"),
    ("nft", "nftables"),
    ("tcpdump", "tcpdump"),
    ("tshark", "tshark"),
];

/// Where system programs live that a user's PATH may leave out.
const SYSTEM_DIRS: &[&str] = &[
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// One of the workspace's own programs, from the folder this test was built into.
#[track_caller]
pub fn own(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the test binary has a path");
    let deps = test.parent().expect("the test binary lies in a folder");
    let folder = if deps.ends_with("deps") {
        deps.parent().expect("deps lies in a folder")
    } else {
        deps
    };
    let path = folder.join(name);
    assert!(
        path.is_file(),
        "{} is not built: run `cargo build --workspace` first (or `make test`, which does)",
        path.display()
    );
    path
}

/// An outside program, by name.
#[track_caller]
pub fn outside(name: &str) -> PathBuf {
    let from_path = std::env::var_os("PATH")
        .map(|path| std::env::split_paths(&path).collect::<Vec<_>>())
        .unwrap_or_default();
    let folders = from_path
        .iter()
        .map(PathBuf::as_path)
        .chain(SYSTEM_DIRS.iter().map(Path::new));
    for folder in folders {
        let candidate = folder.join(name);
        if candidate.is_file() {
            return candidate;
        }
    }
    let package = PACKAGES
        .iter()
        .find(|(tool, _)| *tool == name)
        .map_or(name, |(_, package)| package);
    panic!(
        "this test needs `{name}`, from Debian's package `{package}`: run `tests/install-deps.sh test` \
         or `apt-get install {package}`"
    );
}

/// Debian's own Python, the one GStreamer's bindings (python3-gi) are installed for.
#[track_caller]
pub fn system_python() -> PathBuf {
    let path = PathBuf::from("/usr/bin/python3");
    assert!(
        path.is_file(),
        "this test needs /usr/bin/python3, from Debian's package `python3`"
    );
    path
}

/// The Python of the tests' virtual environment, with `tests/pygateway/requirements.txt` in it.
#[track_caller]
pub fn venv_python() -> PathBuf {
    let path = workspace_root().join(".venv/bin/python");
    let has_h2 = path.is_file()
        && Command::new(&path)
            .args(["-c", "import h2"])
            .status()
            .is_ok_and(|status| status.success());
    assert!(
        has_h2,
        "this test needs {} with the PyPI package `h2`: run `tests/install-deps.sh test` \
         (Debian's package `python3-venv`, then tests/pygateway/requirements.txt)",
        path.display()
    );
    path
}

/// Panics when the test does not run as root, which namespaces and traffic shaping need.
#[track_caller]
pub fn need_root(why: &str) {
    assert!(
        nix::unistd::geteuid().is_root(),
        "this test needs root for {why}: run it as root or in a privileged container"
    );
}
