//! The commands, and what is said of them.

use super::args::{Opt, Program, Spec};

const fn option(name: &'static str, value: &'static str, what: &'static str) -> Opt {
    Opt { name, value, what }
}

const CONFIG: Opt = option("--config", "file", "configuration file (/etc/config/lenscap)");
const JSON: Opt = option("--json", "", "print one JSON object");

/// The program.
pub(super) static PROGRAM: Program = Program {
    what: "Keeps this camera out of botnets and its video reachable: dials a gateway over TLS and carries the video \
        that the gateway asks for. Nothing listens on the camera.",
    options: &[option("--version", "", "print the version")],
    commands: COMMANDS,
    notes: "
Examples:
  lenscap check
  lenscap identity
  lenscap enroll
  lenscap run --config /etc/config/lenscap
  lenscap status
  lenscap harden --root ./rootfs
  lenscap audit --details
  lenscap flows

Notes:
  The configuration is /etc/config/lenscap, see lenscap(5).

Error codes:
  0 all is well
  1 the program could not do its work; harden, audit: something does not hold
  2 harden, audit: something could not be told
  64 the command line is wrong
  78 the configuration is wrong
",
};

const COMMANDS: &[Spec] = &[
    Spec {
        name: "run",
        what: "Runs the agent in the foreground: dials the gateways and serves them. Started as root it is \
            two processes, a monitor that stays root and an agent that gives up everything. SIGTERM ends \
            it orderly, SIGHUP reads the configuration again, SIGUSR1 logs the counters.",
        options: &[CONFIG],
        word: None,
    },
    Spec {
        name: "check",
        what: "Says what is wrong with a configuration: file, line, column, and what to do. Names that this \
            version does not know are errors. Exits with 78 if anything must be corrected.",
        options: &[CONFIG, JSON],
        word: None,
    },
    Spec {
        name: "identity",
        what: "Shows who this camera is: the fingerprint of its key, for the gateway's configuration. Makes \
            the key and its certificate if there are none yet.",
        options: &[CONFIG, JSON],
        word: None,
    },
    Spec {
        name: "enroll",
        what: "Shows what belongs on this camera's label: serial number, model, fingerprint, and the PIN \
            that its owner claims it with, also as a QR code. Key and PIN are made if there are none \
            yet. With --reset the camera's claim ends, and key and PIN stay.",
        options: &[
            CONFIG,
            JSON,
            option(
                "--reset",
                "",
                "forget the operator and all addresses that gateways gave",
            ),
        ],
        word: None,
    },
    Spec {
        name: "status",
        what: "Shows whether the service runs, where its uplinks lead, and how far it is protected from \
            itself. Exits with 1 if it does not run.",
        options: &[CONFIG, JSON],
        word: None,
    },
    Spec {
        name: "harden",
        what: "Closes a camera: telnet and other shells on a port, passwords that everybody knows, and the \
            network by a firewall. With --root it works on a root file system tree and applies its plan; \
            without, it shows what it finds on this camera, and changes it only with --apply. Exits with \
            0 if everything holds, 1 if something does not, 2 if something could not be told.",
        options: &[
            option(
                "--root",
                "dir",
                "root file system tree to work on, instead of this camera",
            ),
            option("--dry-run", "", "show the plan and change nothing"),
            option(
                "--apply",
                "",
                "change this camera, as far as the owner keeps a way in",
            ),
            option("--confirm", "", "keep what --apply did"),
            option(
                "--roll-back",
                "",
                "wait for --confirm and take back what was not confirmed in time; for start scripts, in the background",
            ),
            option(
                "--now",
                "",
                "with --roll-back: take back at once what was not confirmed; before the program is removed",
            ),
            option(
                "--recheck",
                "",
                "look again, and close again what was opened since; the service does so by itself",
            ),
            option(
                "--boot",
                "",
                "the same for start scripts before the network: in 20 seconds at most",
            ),
            CONFIG,
            option(
                "--undo",
                "",
                "take back what earlier runs changed, but for default and empty passwords",
            ),
            option(
                "--restore-insecure",
                "",
                "with --undo: default and empty passwords too",
            ),
            option(
                "--restore",
                "",
                "put a firewall that was applied and confirmed in place again; for start scripts, before the network",
            ),
            option(
                "--cut",
                "",
                "with --apply: cut off whoever watches now and is not allowed",
            ),
            option(
                "--only",
                "measures",
                "measures to take, with commas: telnet, credentials, firewall (all)",
            ),
            option(
                "--password",
                "kind",
                "new login passwords: random (shown once) or lock (keys alone)",
            ),
            option(
                "--password-file",
                "file",
                "file whose first line becomes root's login password",
            ),
            option("--json", "", "print one JSON object for each event"),
        ],
        word: None,
    },
    #[cfg(feature = "audit")]
    Spec {
        name: "audit",
        what: "Says what is true about this camera or a root file system tree, with evidence: what could \
            not be looked at is unknown, never well. Exits with 0 if every rule holds, 1 if one does \
            not, 2 if something could not be told.",
        options: &[
            option(
                "--root",
                "dir",
                "root file system tree to look at, instead of this camera",
            ),
            CONFIG,
            option(
                "--format",
                "format",
                "text, json, html, xccdf or cyclonedx (text)",
            ),
            option("--json", "", "the same as --format json"),
            option("--details", "", "all evidence, remedies and references, in text"),
            option("--only", "rules", "rules or groups to judge, with commas (all)"),
            option(
                "--fail-on",
                "verdict",
                "what exits with 1, all else with 0: fail or unknown",
            ),
            option(
                "--baseline",
                "file",
                "baseline to compare with, instead of audit.baseline in the state folder",
            ),
            option("--accept", "", "keep what is there now as the baseline"),
            option(
                "--sign",
                "file",
                "write a signature of the report, with this camera's key",
            ),
            option("--no-probe", "", "ask no service on this camera anything"),
        ],
        word: None,
    },
    #[cfg(feature = "flows")]
    Spec {
        name: "flows",
        what: "Shows who this camera talks to: by peer, protocol and port the bytes and packets each way, \
            the program, and what the interfaces carried that no known connection explains. It shows \
            what the service has kept; without that, one look.",
        options: &[
            option(
                "--json",
                "",
                "print JSON lines: one on the whole, then a record a line",
            ),
            option(
                "--sample",
                "",
                "look now and keep what was seen; the service does so every minute",
            ),
            option(
                "--state",
                "file",
                "where it is kept (flows in the run_dir of the configuration)",
            ),
            CONFIG,
        ],
        word: None,
    },
    #[cfg(feature = "flows")]
    Spec {
        name: "capture",
        what: "Writes the headers of packets to a pcap file; what they carry is cut off. Needs root and \
            `option capture '1'` in `config agent`. No interface becomes promiscuous.",
        options: &[
            option("--interface", "name", "interface (all)"),
            option("--seconds", "n", "seconds, at most 3600 (60)"),
            option(
                "--bytes",
                "n",
                "size of the file in bytes, at most 67108864 (1048576)",
            ),
            option("--snaplen", "n", "bytes of a packet's headers, at most 256 (128)"),
            CONFIG,
        ],
        word: Some(option("file", "", "file to make, or /dev/stdout")),
    },
];
