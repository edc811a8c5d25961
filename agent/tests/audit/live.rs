//! This machine, in namespaces of its own.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use super::*;

/// A program in a network of its own, with none but its own processes, ended with the test.
struct Held(Child);

impl Held {
    /// Runs something there.
    fn beside(&self, words: &[&str]) -> Output {
        let pid = self.0.id().to_string();
        let processes = format!("--pid=/proc/{pid}/ns/pid_for_children");
        let there = ["--target", &pid, "--net", "--mount", &processes];
        run("nsenter", &[&there[..], words].concat())
    }
}

/// For unshare(1). What else runs on this machine has another network, and may be as suspicious.
fn alone<'w>(words: &[&'w str]) -> Vec<&'w str> {
    let alone = ["--net", "--pid", "--fork", "--kill-child", "--mount-proc"];
    [&alone[..], words].concat()
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

fn tool(name: &str) -> String {
    workspace()
        .join("tests/audit")
        .join(name)
        .to_str()
        .unwrap()
        .to_owned()
}

#[test]
fn sockets_are_what_netstat_says() {
    if without_root() {
        return;
    }
    let netstat = Path::new("/usr/bin/netstat").exists() || Path::new("/bin/netstat").exists();
    assert!(netstat, "netstat is missing: Debian's package net-tools");
    let script = tool("sockets.py");
    let mut seeds = vec![1, 2, 3];
    seeds.push(std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos());
    for seed in seeds {
        let seed = seed.to_string();
        let output = run("unshare", &["--net", "python3", &script, LENSCAP, &seed]);
        let said = String::from_utf8_lossy(&output.stdout);
        println!("{said}");
        assert!(
            output.status.success(),
            "{said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn what_mirai_leaves_is_found() {
    if without_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut evils = Command::new("unshare")
        .args(alone(&[
            "python3",
            &tool("evils.py"),
            folder.path().to_str().unwrap(),
        ]))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(evils.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let evils = Held(evils);
    assert_eq!(line, "ready\n");
    let enter = [LENSCAP, "audit", "--json", "--only", "trace,service,network"];
    let report = report(&evils.beside(&enter));
    for (id, what) in [
        (
            "trace.deleted",
            "dvrHelper is deleted and runs as dvqbi2h4vtfb3lk",
        ),
        ("trace.port", "port 48101"),
        ("trace.name", "dvqbi2h4vtfb3lk"),
        ("trace.name", "a mount hides this process"),
        ("network.owner", "port 2222: process not seen"),
        ("trace.scan", "connections half open"),
        ("trace.scan", "makes TCP packets by itself"),
        ("service.telnet", "answers as telnet or a shell"),
        ("network.raw", "raw: process"),
    ] {
        assert_eq!(verdict(&report, id), "fail", "{id}: {}", rule(&report, id));
        assert!(
            evidence(&report, id).contains(what),
            "{what}: {}",
            evidence(&report, id)
        );
    }
    assert_eq!(report["worst"], "critical");
}

/// A kernel that leaves listeners out of a table, played by a mount.
#[test]
fn listeners_that_the_kernels_tables_leave_out_are_asked_for() {
    if without_root() {
        return;
    }
    let listen = "import socket, sys; one = socket.create_server(('0.0.0.0', 2323)); print('ready', flush=True); sys.stdin.read()";
    let mut held = Command::new("unshare")
        .args(alone(&["python3", "-c", listen]))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(held.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let held = Held(held);
    assert_eq!(line, "ready\n");
    let folder = tempfile::tempdir().unwrap();
    // Over the shell's own, which becomes the audit.
    let hide = format!(
        "cp /proc/net/* {0} 2>/dev/null; head -n 1 /proc/net/tcp >{0}/tcp; mount --bind {0} /proc/$$/net",
        folder.path().display()
    );
    for (before, owner) in [("true", "pass"), (&hide, "fail")] {
        let only = "network.owner,network.exposed";
        let script = format!("{before} && exec {LENSCAP} audit --json --no-probe --only {only}");
        let report = report(&held.beside(&["sh", "-c", &script]));
        let why = evidence(&report, "network.owner");
        assert_eq!(verdict(&report, "network.owner"), owner, "{why}");
        assert_eq!(why.contains("leaves it out here"), owner == "fail", "{why}");
        let exposed = evidence(&report, "network.exposed");
        assert!(exposed.contains("tcp 0.0.0.0 port 2323"), "{exposed}");
    }
}

#[test]
fn what_is_hidden_is_unknown() {
    if without_root() {
        return;
    }
    // No /proc at all, on the machine itself.
    let script = format!(
        "mount -t tmpfs none /proc && exec {LENSCAP} audit --json --no-probe --only trace,network,service"
    );
    let output = run("unshare", &["--mount", "sh", "-c", &script]);
    let hidden = report(&output);
    for id in [
        "trace.deleted",
        "trace.port",
        "trace.name",
        "trace.scan",
        "trace.module",
        "network.exposed",
        "network.owner",
        "network.firewall",
        "network.firewall6",
        "service.telnet",
        "service.rtsp",
        "service.ftp",
    ] {
        assert_eq!(verdict(&hidden, id), "unknown", "{id}: {}", rule(&hidden, id));
    }
    assert_eq!(
        hidden["counts"]["pass"].as_u64().unwrap(),
        u64::from(verdict(&hidden, "trace.preload") == "pass")
            + u64::from(verdict(&hidden, "trace.file") == "pass")
            + u64::from(verdict(&hidden, "trace.log") == "pass")
    );

    // Somebody who may not look. The program lies where root alone may go.
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("lenscap");
    std::fs::copy(LENSCAP, &program).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), mode).unwrap();
    let program = program.to_str().unwrap();
    let nobody = [
        "--reuid",
        "65534",
        "--regid",
        "65534",
        "--clear-groups",
        program,
        "audit",
        "--json",
    ];
    let output = run(
        "setpriv",
        &[&nobody[..], &["--no-probe", "--only", "trace,network,account"]].concat(),
    );
    let unprivileged = report(&output);
    for (id, why) in [
        ("trace.deleted", "Permission denied (errno 13)"),
        ("network.owner", "descriptors of"),
        ("network.firewall", "errno 1"),
        ("account.default", "not all files could be looked at"),
    ] {
        assert_ne!(verdict(&unprivileged, id), "pass", "{id}");
        assert!(
            evidence(&unprivileged, id).contains(why),
            "{id}: {}",
            evidence(&unprivileged, id)
        );
    }
}

#[test]
fn a_signature_is_one_for_openssl() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let config = format!("config agent\n\toption state_dir '{}'\n", dir.path().display());
    std::fs::write(path("config"), config).unwrap();
    let tree = fixture("wz_mini");
    let tree = tree.path().to_str().unwrap();
    let args = [
        "audit",
        "--root",
        tree,
        "--config",
        &path("config"),
        "--json",
        "--sign",
        &path("sig"),
    ];
    let output = run(LENSCAP, &args);
    std::fs::write(path("report"), &output.stdout).unwrap();
    let identity = run(LENSCAP, &["identity", "--config", &path("config"), "--json"]);
    assert_eq!(
        report(&output)["subject"]["device"],
        report(&identity)["fingerprint"]
    );
    let key = run(
        "openssl",
        &["x509", "-pubkey", "-noout", "-in", &path("identity.pem")],
    );
    std::fs::write(path("key"), key.stdout).unwrap();
    let verify = |file: &str| {
        let args = [
            "dgst",
            "-sha256",
            "-verify",
            &path("key"),
            "-signature",
            &path("sig"),
            file,
        ];
        run("openssl", &args).status.success()
    };
    assert!(verify(&path("report")));
    std::fs::write(path("other"), [&output.stdout[..], b" "].concat()).unwrap();
    assert!(!verify(&path("other")));
}

/// A filter that drops, and takes all the same what a rule names: which of two services it lets in, and whether it is
/// certain that it is for whoever comes.
#[test]
fn a_port_that_a_rule_lets_in_is_no_pass() {
    if without_root() {
        return;
    }
    let chain =
        "nft add table inet t; nft add chain inet t in '{ type filter hook input priority 0; policy drop; }'";
    let nft = |rule: &str| format!("{chain}; nft add rule inet t in {rule}");
    let xt = |rule: &str| format!("iptables-legacy -P INPUT DROP; iptables-legacy -A INPUT {rule}");
    let answers = "iif lo accept; nft add rule inet t in ct state established,related accept; nft add rule inet t in meta l4proto { icmp, ipv6-icmp } drop; nft add rule inet t in ip protocol icmp accept; nft add rule inet t in ip saddr 192.0.2.7 accept; nft add rule inet t in 'tcp flags & (syn | ack) != syn accept'";
    let old = "-m state --state ESTABLISHED,RELATED -j ACCEPT; iptables-legacy -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT; iptables-legacy -A INPUT -s 192.0.2.7 -j ACCEPT; iptables-legacy -A INPUT -p tcp ! --syn -j DROP; iptables-legacy -N syn; iptables-legacy -A syn -m limit --limit 25/s -j RETURN; iptables-legacy -A syn -j DROP; iptables-legacy -A INPUT -p tcp --syn -j syn; iptables-legacy -A INPUT -p udp --dport 68 -j ACCEPT";
    for (rules, firewall, shell, vendor) in [
        (nft(answers), "pass", "pass", "pass"),
        (nft("tcp dport 2323 accept"), "fail", "fail", "pass"),
        (nft("tcp dport 34567 counter accept"), "fail", "fail", "fail"),
        (nft("ct state invalid drop; nft add rule inet t in ct state new tcp dport 2323 log accept"), "fail", "fail", "pass"),
        (nft("tcp flags '& (fin | syn | rst | ack) == syn' tcp dport 2323 accept"), "fail", "fail", "pass"),
        // For some, or after what may drop some.
        (nft("ip saddr 192.0.2.0/24 tcp dport 2323 accept"), "unknown", "unknown", "pass"),
        (nft("ip saddr { 192.0.2.7, 192.0.2.9 } tcp dport 2323 accept"), "unknown", "unknown", "pass"),
        (nft("iifname eth0 tcp dport 2323 accept"), "unknown", "unknown", "pass"),
        (nft("tcp sport 1000 tcp dport 2323 accept"), "unknown", "unknown", "pass"),
        (nft("tcp dport 2323 limit rate 1/hour accept"), "unknown", "unknown", "pass"),
        (nft("ip saddr != 192.0.2.0/24 drop; nft add rule inet t in tcp dport 2323 accept"), "unknown", "unknown", "pass"),
        (nft("meta l4proto tcp reject; nft add rule inet t in tcp dport 2323 accept"), "unknown", "unknown", "pass"),
        (
            format!("{}; nft add chain inet t late '{{ type filter hook input priority 9; policy accept; }}'; nft add rule inet t late tcp dport 2323 drop", nft("tcp dport 2323 accept")),
            "unknown",
            "unknown",
            "pass",
        ),
        (
            format!("nft add table inet t; nft add chain inet t x; nft add rule inet t x drop; {chain}; nft add rule inet t in meta length 60 jump x; nft add rule inet t in tcp dport 2323 accept"),
            "unknown",
            "unknown",
            "pass",
        ),
        (nft("udp dport 2323 accept"), "pass", "pass", "pass"),
        (nft("tcp dport 1-65535 accept"), "unknown", "unknown", "unknown"),
        (nft("ct state new,established accept"), "unknown", "unknown", "unknown"),
        (nft("ct state != new accept"), "unknown", "unknown", "unknown"),
        (nft("ip saddr 0.0.0.0/1 accept"), "unknown", "unknown", "unknown"),
        (nft("ip saddr != 192.0.2.7 accept"), "unknown", "unknown", "unknown"),
        (nft("ip protocol tcp accept"), "unknown", "unknown", "unknown"),
        (nft("ip ttl gt 0 accept"), "unknown", "unknown", "unknown"),
        (nft("limit rate 10/second accept"), "unknown", "unknown", "unknown"),
        // As OpenWrt has it.
        (nft("ct state vmap { established : accept, related : accept, invalid : drop }"), "pass", "pass", "pass"),
        (nft("ct state vmap { established : accept, new : accept }"), "unknown", "unknown", "unknown"),
        (nft("tcp dport vmap { 2323 : accept }"), "unknown", "unknown", "unknown"),
        (nft("iifname { lo, eth0 } counter accept"), "unknown", "unknown", "unknown"),
        (nft("iif != lo accept"), "unknown", "unknown", "unknown"),
        // A chain counts where a way leads there.
        (
            format!("{chain}; nft add chain inet t x; nft add rule inet t x accept"),
            "pass",
            "pass",
            "pass",
        ),
        (
            format!("{chain}; nft add chain inet t x; nft add rule inet t x accept; nft add rule inet t in tcp dport 22 goto x"),
            "unknown",
            "unknown",
            "unknown",
        ),
        // A packet has to pass every table.
        (
            format!("{}; nft add table inet u; nft add chain inet u in '{{ type filter hook input priority 5; policy drop; }}'", nft("accept")),
            "pass",
            "pass",
            "pass",
        ),
        (xt(old), "pass", "pass", "pass"),
        (xt("-p tcp --dport 2323 -j ACCEPT"), "fail", "fail", "pass"),
        (xt("-m conntrack --ctstate INVALID -j DROP; iptables-legacy -A INPUT -p tcp --syn --dport 2323 -m conntrack --ctstate NEW -j ACCEPT"), "fail", "fail", "pass"),
        (xt("-j LOG; iptables-legacy -A INPUT -p tcp --dport 2323 -m comment --comment x -j ACCEPT"), "fail", "fail", "pass"),
        (xt("-s 192.0.2.0/24 -p tcp --dport 2323 -j ACCEPT"), "unknown", "unknown", "pass"),
        (xt("-i eth0 -p tcp --dport 2323 -j ACCEPT"), "unknown", "unknown", "pass"),
        (xt("-p tcp --sport 1000 --dport 2323 -j ACCEPT"), "unknown", "unknown", "pass"),
        (xt("-p tcp --dport 2323 -m limit --limit 1/h -j ACCEPT"), "unknown", "unknown", "pass"),
        (xt("! -s 192.0.2.0/24 -j DROP; iptables-legacy -A INPUT -p tcp --dport 2323 -j ACCEPT"), "unknown", "unknown", "pass"),
        (xt("-p tcp -j REJECT; iptables-legacy -A INPUT -p tcp --dport 2323 -j ACCEPT"), "unknown", "unknown", "pass"),
        (xt("-p tcp ! --dport 80 -j ACCEPT"), "unknown", "unknown", "unknown"),
        (xt("-p tcp --dport 1:65535 -j ACCEPT"), "unknown", "unknown", "unknown"),
        (xt("-m state --state NEW,ESTABLISHED -j ACCEPT"), "unknown", "unknown", "unknown"),
        (xt("-m conntrack ! --ctstate ESTABLISHED -j ACCEPT"), "unknown", "unknown", "unknown"),
        (xt("! -i lo -j ACCEPT"), "unknown", "unknown", "unknown"),
        (xt("! -p icmp -j ACCEPT"), "unknown", "unknown", "unknown"),
        (xt("-s 0.0.0.0/1 -j ACCEPT"), "unknown", "unknown", "unknown"),
        (xt("-m limit --limit 10/s -j ACCEPT"), "unknown", "unknown", "unknown"),
        // Whoever leaves a chain early is let in where the policy takes.
        (
            "iptables-legacy -N x; iptables-legacy -A x -p tcp --dport 2323 -j RETURN; iptables-legacy -A x -j DROP; iptables-legacy -A INPUT -j x".to_owned(),
            "unknown",
            "unknown",
            "pass",
        ),
    ] {
        let python = "import os, socket, sys; held = [socket.create_server(('0.0.0.0', port)) for port in (2323, 34567)]; [one.set_inheritable(True) for one in held]; os.execv(sys.argv[1], sys.argv[1:])";
        let only = "network.firewall,network.exposed,network.vendor";
        let script = format!(
            "{{ {rules}; }} >/dev/null && exec python3 -c \"{python}\" {LENSCAP} audit --json --no-probe --only {only}"
        );
        let report = report(&run("unshare", &alone(&["sh", "-c", &script])));
        for (id, expected) in [
            ("network.firewall", firewall),
            ("network.exposed", shell),
            ("network.vendor", vendor),
        ] {
            assert_eq!(verdict(&report, id), expected, "{rules}: {}", rule(&report, id));
        }
    }
}

/// What the owner lets in is as it should be; a rule that lets in more is not.
#[test]
fn what_the_configuration_opens_is_no_fail_of_the_firewall() {
    if without_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config");
    let config = config.to_str().unwrap();
    let chain =
        "nft add table inet t; nft add chain inet t in '{ type filter hook input priority 0; policy drop; }'";
    let lan = "list allow_lan '192.168.1.0/24:554/tcp'";
    for (wanted, rule, expected) in [
        (lan, "ip saddr 192.168.1.0/24 tcp dport 554 accept", "pass"),
        (lan, "ip saddr 192.168.1.0/24 udp dport 3702 accept", "unknown"),
        (
            "option discovery '1'",
            "ip saddr 192.168.0.0/16 udp dport 3702 accept",
            "pass",
        ),
        (
            "list allow_lan '192.168.1.9:554'",
            "ip saddr 192.168.1.0/24 tcp dport 554 accept",
            "unknown",
        ),
        (lan, "tcp dport 554 accept", "fail"),
        ("list allow_lan '0.0.0.0/0:554'", "tcp dport 554 accept", "pass"),
    ] {
        let text = format!(
            "config uplink 'main'\n\toption endpoint 'https://127.0.0.1/'\nconfig profile 'main'\n\toption rtsp 'rtsp://127.0.0.1/'\nconfig harden\n\t{wanted}\n"
        );
        std::fs::write(config, text).unwrap();
        let python = "import os, socket, sys; held = [socket.create_server(('0.0.0.0', 554)), socket.socket(type=socket.SOCK_DGRAM)]; held[1].bind(('0.0.0.0', 3702)); [one.set_inheritable(True) for one in held]; os.execv(sys.argv[1], sys.argv[1:])";
        let script = format!(
            "{{ {chain}; nft add rule inet t in {rule}; }} >/dev/null && exec python3 -c \"{python}\" {LENSCAP} audit --json --no-probe --config {config} --only network"
        );
        let report = report(&run("unshare", &alone(&["sh", "-c", &script])));
        let id = "network.firewall";
        assert_eq!(
            verdict(&report, id),
            expected,
            "{wanted} {rule}: {}",
            super::rule(&report, id)
        );
    }
}

/// The kernel gives clients such ports, and servers may take them.
#[test]
fn a_udp_server_on_a_clients_port_is_no_pass() {
    if without_root() {
        return;
    }
    for (address, port, expected) in [
        ("0.0.0.0", 40_123, "unknown"),
        ("127.0.0.1", 40_123, "pass"),
        ("0.0.0.0", 9000, "fail"),
    ] {
        let python = "import os, socket, sys; one = socket.socket(type=socket.SOCK_DGRAM); one.bind((sys.argv[1], int(sys.argv[2]))); child = os.fork(); child or (os.close(1), sys.stdin.read()); child and os.execv(sys.argv[3], sys.argv[3:])";
        let script = format!(
            "exec python3 -c \"{python}\" {address} {port} {LENSCAP} audit --json --no-probe --only network.exposed"
        );
        let mut audit = Command::new("unshare")
            .args(alone(&["sh", "-c", &script]))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = String::new();
        std::io::Read::read_to_string(audit.stdout.as_mut().unwrap(), &mut out).unwrap();
        drop(audit.stdin.take());
        audit.wait().unwrap();
        let report: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(verdict(&report, "network.exposed"), expected, "{address} {port}");
        let told = evidence(&report, "network.exposed");
        assert_eq!(
            told.contains(&format!("port {port}")),
            expected != "pass",
            "{told}"
        );
    }
}

#[test]
fn packet_filters_are_read_from_the_kernel() {
    if without_root() {
        return;
    }
    for (tool, package) in [
        ("/usr/sbin/nft", "nftables"),
        ("/usr/sbin/iptables-legacy", "iptables"),
    ] {
        assert!(
            Path::new(tool).exists(),
            "{tool} is missing: Debian's package {package}"
        );
    }
    let chain = "nft add table inet t; nft add chain inet t in '{ type filter hook input priority 0; policy";
    for (rules, four, six) in [
        ("true", "fail", "fail"),
        (&format!("{chain} drop; }}'"), "pass", "pass"),
        (&format!("{chain} accept; }}'"), "unknown", "unknown"),
        // Rules for some, and rules that take whatever an interface brings, as OpenWrt's zones do.
        (
            &format!(
                "{chain} drop; }}'; nft add rule inet t in iif lo accept; nft add rule inet t in ct state established accept; nft add rule inet t in tcp dport 22 accept; nft add rule inet t in meta l4proto icmp accept"
            ),
            "pass",
            "pass",
        ),
        (
            &format!(
                "{chain} drop; }}'; nft add chain inet t lan; nft add rule inet t lan iifname eth0 counter accept; nft add rule inet t in jump lan"
            ),
            "unknown",
            "unknown",
        ),
        (
            &format!("{chain} drop; }}'; nft add rule inet t in meta l4proto tcp accept"),
            "unknown",
            "unknown",
        ),
        // What goes out lets nobody in.
        (
            &format!(
                "{chain} drop; }}'; nft add chain inet t out '{{ type filter hook output priority 0; policy drop; }}'; nft add rule inet t out oif lo accept; nft add rule inet t out meta l4proto tcp accept"
            ),
            "pass",
            "pass",
        ),
        (
            "iptables-legacy -P INPUT DROP; iptables-legacy -A INPUT -i lo -j ACCEPT; iptables-legacy -A INPUT -p icmp -j ACCEPT; iptables-legacy -A INPUT -p tcp --dport 22 -j ACCEPT",
            "pass",
            "fail",
        ),
        (
            "iptables-legacy -P INPUT DROP; iptables-legacy -N lan; iptables-legacy -A lan -j ACCEPT; iptables-legacy -A INPUT -i br-lan -j lan",
            "unknown",
            "fail",
        ),
        (
            "iptables-legacy -P INPUT DROP; iptables-legacy -A INPUT -p udp -j ACCEPT",
            "unknown",
            "fail",
        ),
        (
            "ip6tables-legacy -P INPUT DROP; ip6tables-legacy -A INPUT -i eth+ -j ACCEPT",
            "fail",
            "unknown",
        ),
        ("iptables-legacy -P INPUT DROP", "pass", "fail"),
        ("ip6tables-legacy -P INPUT DROP", "fail", "pass"),
        (
            "iptables-legacy -A INPUT -i lo -j ACCEPT; iptables-legacy -A INPUT -j DROP",
            "pass",
            "fail",
        ),
        (
            "iptables-legacy -N x; iptables-legacy -A x -j DROP; iptables-legacy -A INPUT -j x",
            "pass",
            "fail",
        ),
        (
            "iptables-legacy -A INPUT -p tcp --dport 23 -j DROP",
            "unknown",
            "fail",
        ),
        (
            "iptables-legacy -A INPUT -j ACCEPT; iptables-legacy -A INPUT -j DROP",
            "unknown",
            "fail",
        ),
        ("iptables-legacy -A INPUT -j REJECT", "pass", "fail"),
        ("iptables-legacy -L", "fail", "fail"),
        ("echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6", "fail", "pass"),
        // One that has said otherwise since.
        (
            "ip link add d0 type veth peer name d1; cd /proc/sys/net/ipv6/conf; echo 1 >all/disable_ipv6; echo 0 >d0/disable_ipv6",
            "fail",
            "fail",
        ),
        // Of interfaces to come, and of those that are there, but for the loopback.
        (
            "ip link add d0 type veth peer name d1; cd /proc/sys/net/ipv6/conf; for n in *; do case $n in lo | all) ;; *) echo 1 >$n/disable_ipv6 ;; esac; done",
            "fail",
            "pass",
        ),
        (
            "ip link add d0 type veth peer name d1; cd /proc/sys/net/ipv6/conf; for n in *; do case $n in lo | all | d1) ;; *) echo 1 >$n/disable_ipv6 ;; esac; done",
            "fail",
            "fail",
        ),
    ] {
        let only = "network.firewall,network.firewall6";
        let script = format!("{{ {rules}; }} >/dev/null && exec {LENSCAP} audit --json --only {only}");
        let report = report(&run("unshare", &alone(&["sh", "-c", &script])));
        for (id, expected) in [("network.firewall", four), ("network.firewall6", six)] {
            assert_eq!(verdict(&report, id), expected, "{rules}: {}", rule(&report, id));
        }
    }
}

/// What waits on ports of which nobody knows what they are for: a stream without a login, and a program that says nothing.
#[test]
fn services_on_unusual_ports_are_asked_and_silent_ones_are_no_pass() {
    if without_root() {
        return;
    }
    let serve = "
import socket, sys, threading
def serve(port, answer):
    listener = socket.create_server(('0.0.0.0', port))
    def take():
        while True:
            one = listener.accept()[0]
            words = one.recv(2048).split()
            if words:
                one.sendall(answer(words[0]))
                one.close()
            else:
                one.close()
    threading.Thread(target=take, daemon=True).start()
serve(41001, lambda word: b'RTSP/1.0 200 OK\\r\\nCSeq: 1\\r\\nContent-Length: 0\\r\\n\\r\\n')
serve(41002, lambda word: b'HTTP/1.0 200 OK\\r\\nContent-Type: image/jpeg\\r\\n\\r\\nx')
if sys.argv[1] == 'silent':
    serve(41003, lambda word: b'')
print('ready', flush=True)
sys.stdin.read()
";
    for silent in [false, true] {
        let kind = if silent { "silent" } else { "" };
        let script = format!("ip link set lo up && exec python3 -c \"$0\" '{kind}'");
        let mut held = Command::new("unshare")
            .args(alone(&["sh", "-c", &script, serve]))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(held.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        let held = Held(held);
        assert_eq!(line, "ready\n");
        let report = report(&held.beside(&[LENSCAP, "audit", "--json", "--only", "service"]));
        for (id, place) in [
            ("service.rtsp", "rtsp://127.0.0.1:41001/"),
            ("service.snapshot", "http://127.0.0.1:41002/image.jpg"),
        ] {
            assert_eq!(verdict(&report, id), "fail", "{}", rule(&report, id));
            let told = evidence(&report, id);
            assert!(told.contains(place), "{told}");
        }
        for (id, otherwise) in [
            ("service.telnet", "pass"),
            ("service.onvif", "notapplicable"),
            ("service.ftp", "pass"),
        ] {
            let expected = if silent { "unknown" } else { otherwise };
            assert_eq!(verdict(&report, id), expected, "{}", rule(&report, id));
            let told = evidence(&report, id);
            let reason = told.contains("tcp://127.0.0.1:41003") && told.contains("; program /");
            assert_eq!(reason, silent, "{told}");
        }
    }
}
