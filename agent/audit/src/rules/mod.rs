//! The rules: what ought to hold on a camera, why, and what to do where it does not.

mod access;
pub(crate) mod network;
mod starts;
mod system;
mod traces;

use crate::facts::Facts;
use crate::judge::Judge;

pub(crate) use system::date;

/// How bad it is when a rule does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing.
    Low,
    /// Helps an attacker.
    Medium,
    /// Lets strangers in, or hides that they are.
    High,
    /// Strangers are in, or need nothing to be.
    Critical,
}

impl Severity {
    /// One word.
    #[must_use]
    pub fn name(self) -> &'static str {
        ["low", "medium", "high", "critical"][self as usize]
    }
}

/// A rule.
#[derive(Debug)]
pub struct Rule {
    /// Its name: group, dot, word. It stays.
    pub id: &'static str,
    /// How bad it is when it does not hold.
    pub severity: Severity,
    /// What ought to hold.
    pub title: &'static str,
    /// What to do, in one sentence.
    pub remedy: &'static str,
    /// Whether only a running camera can tell.
    pub live: bool,
    /// For each of [`STANDARDS`] the provisions that ask for it, with spaces between; the standards with `|` between.
    pub(crate) references: &'static str,
    pub(crate) judge: fn(&Facts, &mut Judge),
}

/// Whose provisions the rules name: a key for machines, and the document.
pub const STANDARDS: [(&str, &str); 6] = [
    ("etsi_en_303_645", "ETSI EN 303 645 V3.1.3, provision"),
    ("en_18031_1", "EN 18031-1:2024"),
    ("uk_psti", "UK PSTI Regulations 2023, schedule 1, paragraph"),
    ("eu_cra", "EU Cyber Resilience Act, annex I, part I (part II: II)"),
    ("nistir_8259a", "NISTIR 8259A"),
    ("owasp_iot", "OWASP IoT Top 10 2018"),
];

/// The groups of rules: the first part of an id, and a title.
pub const GROUPS: [(&str, &str); 6] = [
    ("trace", "Traces of break-ins"),
    ("account", "Passwords and keys"),
    ("service", "Services that ask nobody"),
    ("network", "What the network reaches"),
    ("start", "What starts by itself"),
    ("system", "The system"),
];

impl Rule {
    /// The group's name.
    #[must_use]
    pub fn group(&self) -> &'static str {
        self.id.split('.').next().unwrap_or(self.id)
    }

    /// The standards whose provisions ask for it: key, document, and the provisions with spaces between. NISTIR 8259A's
    /// are its capabilities by name, shortened as NIST does nowhere but every reader can.
    pub fn provisions(&self) -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
        let all = STANDARDS.iter().zip(self.references.split('|'));
        all.filter(|(_, provisions)| !provisions.is_empty())
            .map(|((key, document), provisions)| (*key, *document, provisions))
    }

    /// Whether a name is the rule's or its group's.
    #[must_use]
    pub fn is_named(&self, name: &str) -> bool {
        self.id == name || self.group() == name
    }
}

macro_rules! rule {
    (live) => {
        true
    };
    (tree) => {
        false
    };
    ($live:ident $severity:ident $id:literal, $title:literal, $remedy:literal, $references:literal, $judge:path) => {
        Rule {
            id: $id,
            severity: Severity::$severity,
            title: $title,
            remedy: $remedy,
            live: rule!($live),
            references: $references,
            judge: $judge,
        }
    };
}

/// All rules, by group.
pub const RULES: &[Rule] = &[
    rule!(live Critical "trace.deleted", "No program runs from a deleted file, from memory, or from one that neither the firmware nor a package brought",
        "Cut the camera off, restart it, and install the firmware anew if it comes back.",
        "5.7-2|||2f 2k|cybersecurity-state-awareness|I8", traces::deleted),
    rule!(live Critical "trace.port", "No socket uses a port of known botnets (48101)",
        "Cut the camera off, restart it, and close telnet and default passwords before it is online again.",
        "5.7-2|||2i 2l|cybersecurity-state-awareness|I2", traces::port),
    rule!(live Critical "trace.scan", "The camera does not scan others",
        "Cut the camera off at once: it attacks others.",
        "5.7-2|||2i|cybersecurity-state-awareness|I2", traces::scan),
    rule!(live High "trace.name", "No process hides behind a random name or a mount",
        "Look at the program's file, and treat the camera as taken if nobody knows it.",
        "5.7-2|||2f 2l|cybersecurity-state-awareness|I8", traces::names),
    rule!(live High "trace.file", "No programs or known malware lie in memory or where everybody writes, and none came later with root's rights",
        "Find out what put them there; restart the camera, for such places are empty then. What has root's rights stays: \
         delete it, or take them from it (chmod a-s).",
        "5.7-2|||2f 2k|cybersecurity-state-awareness|I8", traces::files),
    rule!(tree High "trace.preload", "No library is pushed into every program",
        "Remove /etc/ld.so.preload unless the firmware's maker names it.",
        "5.7-2|||2f|cybersecurity-state-awareness|I8", traces::preload),
    rule!(live Medium "trace.module", "No module hides, and each came from where firmware keeps them",
        "Find the module's file; one without a file was loaded by hand or by an intruder, and one that hides by an intruder.",
        "5.7-2|||2f|cybersecurity-state-awareness|I8", traces::modules),
    rule!(live Low "trace.log", "Logs tell of no crashes, lack of memory or failed logins",
        "Read the log, and close the service that the failures are about.",
        "5.10-1|||2l|cybersecurity-state-awareness|I8", traces::logs),
    rule!(tree Critical "account.default", "No account has an empty password or one that everybody knows",
        "Run lenscap harden, or set a password of your own.",
        "5.1-1 5.1-2|AUM-5-1|1|2b 2d|logical-access-to-interfaces|I1 I9", access::accounts),
    rule!(tree Medium "account.root", "Only one account is root",
        "Remove every other account with user number 0.",
        "5.6-7|ACM-2||2d 2j|logical-access-to-interfaces|I1", access::roots),
    rule!(tree High "account.service", "No service has an empty password or one that everybody knows",
        "Run lenscap harden, or change the passwords of RTSP, ONVIF and the web interface.",
        "5.1-1 5.1-2|AUM-5-1|1|2b 2d|logical-access-to-interfaces|I1 I9", access::services),
    rule!(tree High "account.boot", "No script sets a known password at boot",
        "Run lenscap harden, which changes what the script writes.",
        "5.1-1 5.4-3|AUM-5-1|1|2b 2d|logical-access-to-interfaces|I1", access::boot),
    rule!(tree High "account.key", "Private keys are the camera's own, not the series' or published ones",
        "Remove the key and let the camera make its own at the next start.",
        "5.4-3 5.4-4|CCK-3||2d 2e|data-protection|I1 I7", access::keys),
    rule!(tree Low "account.ssh", "SSH takes keys alone",
        "Put an authorised key on the camera, then switch password login off (dropbear -s).",
        "5.1-3 5.1-5|AUM-6||2d|logical-access-to-interfaces|I1", access::ssh),
    rule!(live Critical "service.telnet", "No port gives a shell without encryption",
        "Run lenscap harden --only telnet.",
        "5.5-1 5.6-1 5.6-4A|GEC-2 SCM-1||2b 2j|logical-access-to-interfaces|I2", access::telnet),
    rule!(live High "service.rtsp", "RTSP asks for a login",
        "Switch authentication on in the streamer's settings.",
        "5.5-4|ACM-1 AUM-1-1||2d 2e|logical-access-to-interfaces|I2 I9", access::rtsp),
    rule!(live High "service.snapshot", "Pictures are given to nobody without a login",
        "Switch authentication on for snapshots.",
        "5.5-4|ACM-1 AUM-1-1||2d 2e|logical-access-to-interfaces|I2 I6", access::snapshot),
    rule!(live Critical "service.web", "The web interface takes no login that everybody knows",
        "Change the web interface's password.",
        "5.1-1|AUM-5-1|1|2b 2d|logical-access-to-interfaces|I1 I3", access::web),
    rule!(live High "service.onvif", "ONVIF asks for a login before it tells who its users are",
        "Switch authentication on for ONVIF, or switch ONVIF off.",
        "5.5-5 5.6-2|ACM-1 AUM-1-1||2d|logical-access-to-interfaces|I3", access::onvif),
    rule!(live Medium "service.ftp", "No service asks for passwords without encryption (FTP, TFTP, rsh)",
        "Switch the service off.",
        "5.5-7 5.6-1|SCM-1||2e 2j|data-protection|I2 I7", network::clear_text),
    rule!(live High "network.exposed", "No service is reached from outside",
        "Bind the service to 127.0.0.1, switch it off, or let the firewall drop what comes in.",
        "5.6-1 5.6-5|GEC-2||2j|logical-access-to-interfaces|I2", network::exposed),
    rule!(live High "network.vendor", "No vendor's control or discovery port is reached from outside",
        "Switch the protocol off, or let the firewall drop it.",
        "5.6-1 5.6-2|GEC-2 GEC-3||2j|logical-access-to-interfaces|I2", network::vendor),
    rule!(live High "network.firewall", "IPv4 that nobody asked for is dropped",
        "Run lenscap harden --only firewall, or drop it on the router.",
        "5.6-1|GEC-2||2b 2j|device-configuration|I2 I9", network::filter4),
    rule!(live High "network.firewall6", "IPv6 that nobody asked for is dropped",
        "Filter IPv6 as IPv4 is filtered, or switch IPv6 off.",
        "5.6-1|GEC-2||2b 2j|device-configuration|I2 I9", network::filter6),
    rule!(live High "network.peer", "The camera talks to nobody but the uplink and what the configuration names",
        "Find out what the address is; add it to list allow_out, or stop the program.",
        "5.6-5|||2i 2j|cybersecurity-state-awareness|I6", network::peers),
    rule!(live Medium "network.owner", "Every socket belongs to a process that can be seen",
        "Audit again as root; whoever still listens without a process hides it: install the firmware anew.",
        "5.7-2|||2f 2l|cybersecurity-state-awareness|I8", network::owners),
    rule!(live Medium "network.raw", "Raw sockets are in the hands of network services alone",
        "Stop the program: raw sockets listen to others and scan.",
        "5.6-7 5.7-2|||2i 2k|cybersecurity-state-awareness|I2", network::raw),
    rule!(tree High "start.telnet", "Nothing starts a shell on a port",
        "Run lenscap harden --only telnet.",
        "5.6-1 5.6-4A|GEC-2||2b 2j|device-configuration|I2 I9", starts::telnet),
    rule!(tree Medium "start.card", "Nothing runs what a memory card holds",
        "Remove the hook from the script, or keep the card slot closed.",
        "5.6-3 5.7-1|GEC-5||2f 2j|device-configuration|I10", starts::card),
    rule!(tree Medium "start.loader", "No variable of the boot loader decides what runs",
        "Remove it from the script; the boot loader's variables are changed by whoever holds the camera.",
        "5.6-3 5.7-1|GEC-5||2f 2j|device-configuration|I10", starts::loader),
    rule!(tree Medium "start.console", "The console asks for a password",
        "Start getty with login in /etc/inittab; on OpenWrt set system.@system[0].ttylogin=1.",
        "5.6-3 5.6-4A 5.6-4B|ACM-1||2d 2j|logical-access-to-interfaces|I10", starts::console),
    rule!(tree Critical "start.download", "Nothing that starts by itself fetches programs or runs them from where everybody writes",
        "Remove the entry, then install the firmware anew.",
        "5.3-2 5.7-2|SUM-2||2f|software-update|I4", starts::download),
    rule!(live Medium "start.added", "Nothing starts that came after the firmware and no package brought",
        "Remove the script, or accept it with lenscap audit --accept.",
        "5.7-2|||2f 2l|cybersecurity-state-awareness|I8", starts::added),
    rule!(tree High "start.writable", "Only root can change what starts, who may log in, and what is secret",
        "Take the rights away with chmod: go-w for scripts and tables, 600 for secrets.",
        "5.4-1 5.6-7|SSM-2||2e 2f|data-protection|I7", starts::writable),
    rule!(tree High "start.drift", "Nothing new starts or is loaded, and no program that starts is another, since the first clean audit",
        "Remove it, or accept it with lenscap audit --accept.",
        "5.7-2|||2f 2l|cybersecurity-state-awareness|I8", starts::drift_starts),
    rule!(tree High "account.drift", "No account, login or SSH key is new since the first clean audit",
        "Remove it, or accept it with lenscap audit --accept.",
        "5.7-2|ACM-2||2d 2l|cybersecurity-state-awareness|I1", starts::drift_accounts),
    rule!(live High "network.drift", "No listener is new since the first clean audit",
        "Stop it, or accept it with lenscap audit --accept.",
        "5.6-1|GEC-2||2j 2l|cybersecurity-state-awareness|I2", starts::drift_listeners),
    rule!(live Medium "network.peer-drift", "The camera talks to nobody new since the first clean audit",
        "Find out what the address is, or accept it with lenscap audit --accept.",
        "5.6-5|||2i 2l|cybersecurity-state-awareness|I6", starts::drift_peers),
    rule!(live Medium "system.hardening", "Hardening is confirmed",
        "Confirm it with lenscap harden --confirm, or it is taken back.",
        "5.1-1|AUM-5-1||2b|device-configuration|I9", system::hardening),
    rule!(live Medium "system.sandbox", "The agent runs without privileges",
        "Start lenscap run as root, so that it can give up what it does not need, and read lenscap status.",
        "5.6-7|||2k|logical-access-to-interfaces|I9", system::sandbox),
    rule!(tree Medium "system.kernel", "The kernel's series still gets fixes",
        "Ask the vendor for firmware with a maintained kernel, and keep the camera behind a firewall until then.",
        "5.2-3 5.3-1|GEC-1||2a 2c|software-update|I5", system::kernel),
    rule!(tree Low "system.busybox", "BusyBox is not older than 1.35",
        "Ask the vendor for newer firmware.",
        "5.2-3 5.3-1|GEC-1||2a 2c|software-update|I5", system::busybox),
    rule!(live Low "system.clock", "The clock is right and kept right",
        "Start an NTP client.",
        "|||2l|cybersecurity-state-awareness|I8", system::clock),
    rule!(live Low "system.memory", "Memory is left",
        "Find the program that takes it, or switch services off.",
        "5.9-1|||2h|cybersecurity-state-awareness|I8", system::memory),
    rule!(live Medium "system.storage", "What is changed on the camera is there after a restart, and there is room",
        "Repair or make room in the overlay.",
        "5.9-2|||2h|device-configuration|I7", system::storage),
    rule!(live Low "system.mount", "Nothing runs from memory cards or servers",
        "Mount them with noexec.",
        "5.6-3|GEC-5||2j 2k|device-configuration|I10", system::mounts),
];
