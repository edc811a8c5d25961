//! Flow accounts against tcpdump's count, through the gateway's IPFIX into nfcapd; captures as tshark reads them.
//!
//! The camera here is the real `lenscap flows` on a link of its own; a small program in this file carries its lines to
//! the gateway, so that the accounts and the export are tested apart from the agent. [`video`] has the agent.

mod video;

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lenscap_tests::harness::certs::{CertFiles, Leaf};
use lenscap_tests::harness::gateway::{CameraKey, ONLINE_LIMIT};
use lenscap_tests::harness::netns::{CAMERA_IP, CAMERA_IP6, Cable, GATEWAY_IP, GATEWAY_IP6};
use lenscap_tests::harness::{Gateway, GatewayConfig, Pki, Process, TestDir, tools, wait};
use nix::sys::signal::Signal;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::play_seconds;

/// What every payload is made of; no capture may show it.
const MARK: &[u8] = b"PAYLOAD-7f3a91-";
/// How far our count may be from tcpdump's.
const TOLERANCE: f64 = 0.01;
/// How often the gateway asks for flows here.
const FLOWS_EVERY: Duration = Duration::from_secs(2);
const IPFIX_PORT: u16 = 4739;
const LIMIT: Duration = Duration::from_secs(30);

/// TCP and UDP from the camera to the gateway's side at a few Mbit/s, and little answers, until told to stop. The
/// connections stay open until it is dropped.
struct Traffic {
    tcp_port: u16,
    udp_port: u16,
    /// Bytes of payload that left the camera over TCP.
    sent: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    _open: TcpStream,
}

impl Traffic {
    fn start(cable: &Cable) -> Self {
        Self::between(cable, CAMERA_IP, GATEWAY_IP)
    }

    fn between(cable: &Cable, camera: &str, gateway: &str) -> Self {
        let [camera, gateway]: [IpAddr; 2] = [camera, gateway].map(|ip| ip.parse().unwrap());
        let (listener, udp) = cable.at_gateway(|| {
            let listener = TcpListener::bind((gateway, 0)).unwrap();
            (listener, UdpSocket::bind((gateway, 0)).unwrap())
        });
        let (tcp_to, udp_to) = (listener.local_addr().unwrap(), udp.local_addr().unwrap());
        let (stream, datagrams) = cable.at_camera(|| {
            let datagrams = UdpSocket::bind((camera, 0)).unwrap();
            datagrams.connect(udp_to).unwrap();
            (TcpStream::connect(tcp_to).unwrap(), datagrams)
        });
        let (mut far, _) = listener.accept().unwrap();
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let open = stream.try_clone().unwrap();
        let payload: Vec<u8> = MARK.iter().copied().cycle().take(5000).collect();
        let mut threads = Vec::new();
        let (stopping, counter, mut near) = (Arc::clone(&stop), Arc::clone(&sent), stream);
        threads.push(std::thread::spawn(move || {
            while !stopping.load(Ordering::Relaxed) {
                near.write_all(&payload).unwrap();
                counter.fetch_add(payload.len() as u64, Ordering::Relaxed);
                // At the end the far side goes first, and says so (ICMP).
                let _ = datagrams.send(&payload[..700]);
                wait::measure_for(Duration::from_millis(10));
            }
        }));
        threads.push(std::thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            // Ends when the camera's side is dropped.
            while let Ok(count @ 1..) = far.read(&mut buffer) {
                let _ = far.write_all(&MARK[..count.min(MARK.len())]);
            }
        }));
        threads.push(std::thread::spawn(move || {
            let mut buffer = [0; 2000];
            udp.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
            while let Ok((_, from)) = udp.recv_from(&mut buffer) {
                let _ = udp.send_to(&MARK[..10], from);
            }
        }));
        Self {
            tcp_port: tcp_to.port(),
            udp_port: udp_to.port(),
            sent,
            stop,
            threads,
            _open: open,
        }
    }

    /// Ends the sending, not the connections.
    fn pause(&mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.remove(0).join().unwrap();
        self.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Dials the gateway from the camera's side and answers `GET /flows` with what `lenscap flows` says at that moment.
struct Carrier {
    _thread: JoinHandle<()>,
}

impl Carrier {
    fn start(cable: &Cable, gateway: &Gateway, pki: &Pki, client: &CertFiles, flows: Command) -> Self {
        let to: SocketAddr = gateway.uplink.parse().unwrap();
        let stream = cable.at_camera(|| TcpStream::connect(to).unwrap());
        let config = client_config(&pki.ca_file(), client);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(carry(stream, config, flows));
        });
        Self { _thread: thread }
    }
}

fn client_config(ca: &Path, client: &CertFiles) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = vec![CertificateDer::from_pem_file(&client.cert).unwrap()];
    let key = PrivateKeyDer::from_pem_file(&client.key).unwrap();
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .unwrap()
}

async fn carry(stream: TcpStream, mut config: rustls::ClientConfig, flows: Command) {
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    stream.set_nonblocking(true).unwrap();
    let stream = tokio::net::TcpStream::from_std(stream).unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from(GATEWAY_IP).unwrap();
    let mut stream = connector.connect(name, stream).await.unwrap();
    let head =
        "GET /onvif/uplink HTTP/1.1\r\nHost: gateway\r\nConnection: Upgrade\r\nUpgrade: h2c-reverse\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut reply = Vec::new();
    while !reply.ends_with(b"\r\n\r\n") {
        reply.push(stream.read_u8().await.unwrap());
    }
    assert!(
        reply.starts_with(b"HTTP/1.1 101 "),
        "{}",
        String::from_utf8_lossy(&reply)
    );
    let mut connection = h2::server::Builder::new()
        .enable_connect_protocol()
        .handshake::<_, Bytes>(stream)
        .await
        .unwrap();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let (status, body) = match request.uri().path() {
            "/flows" => {
                let mut again = Command::new(flows.get_program());
                let output = again.args(flows.get_args()).output().unwrap();
                assert!(
                    output.status.success(),
                    "{}",
                    String::from_utf8_lossy(&output.stderr)
                );
                // All of it, whatever was asked for: a gateway takes what it knows already for no news.
                (200, output.stdout)
            }
            _ => (404, Vec::new()),
        };
        let head = http::Response::builder().status(status).body(()).unwrap();
        // These answers are smaller than the window that the gateway grants.
        if let Ok(mut send) = respond.send_response(head, false) {
            let _ = send.send_data(body.into(), true);
        }
    }
}

/// Bytes and packets by protocol and whether they left the camera.
#[derive(Debug, Default, Clone, Copy)]
struct Sum {
    bytes: u64,
    packets: u64,
}

impl Sum {
    fn add(&mut self, bytes: u64, packets: u64) {
        self.bytes += bytes;
        self.packets += packets;
    }
}

#[track_caller]
fn assert_close(what: &str, ours: Sum, theirs: Sum) {
    println!("{what}: ours {ours:?}, tcpdump {theirs:?}");
    for (ours, theirs) in [(ours.bytes, theirs.bytes), (ours.packets, theirs.packets)] {
        assert!(theirs > 0, "{what}: tcpdump saw nothing");
        let off = ours.abs_diff(theirs) as f64 / theirs as f64;
        assert!(off <= TOLERANCE, "{what}: {:.2} % off", off * 100.0);
    }
}

/// What a tool prints, one line a record, in numbers.
fn numbers(command: &mut Command) -> Vec<Vec<String>> {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| line.split_whitespace().map(str::to_owned).collect())
        .collect()
}

/// Of the packets that tcpdump wrote up to a time since 1970: bytes of IP and packets of one protocol, one way.
fn counted_by_tcpdump(file: &Path, filter: &str, until: Duration) -> Sum {
    let mut sum = Sum::default();
    let mut tshark = Command::new(tools::outside("tshark"));
    tshark.arg("-r").arg(file).args([
        "-n",
        "-Y",
        filter,
        "-T",
        "fields",
        "-e",
        "frame.time_epoch",
        "-e",
        "ip.len",
        "-e",
        "ipv6.plen",
    ]);
    for fields in numbers(&mut tshark) {
        let (at, length): (f64, u64) = (fields[0].parse().unwrap(), fields[1].parse().unwrap());
        // IPv6 counts its payload alone.
        let header = if filter.starts_with("ipv6") { 40 } else { 0 };
        if at <= until.as_secs_f64() {
            sum.add(length + header, 1);
        }
    }
    sum
}

/// Of the flows that nfcapd wrote: the same.
fn counted_by_nfdump(folder: &Path, filter: &str) -> Sum {
    let mut sum = Sum::default();
    let mut nfdump = Command::new(tools::outside("nfdump"));
    nfdump
        .arg("-R")
        .arg(folder)
        .args(["-q", "-N", "-o", "fmt:%byt %pkt", filter]);
    for fields in numbers(&mut nfdump) {
        if let [bytes, packets] = fields.as_slice() {
            sum.add(bytes.parse().unwrap(), packets.parse().unwrap());
        }
    }
    sum
}

/// A family: its name in both tools' filters, and the ends of the cable.
struct Family {
    tshark: &'static str,
    nfdump: &'static str,
    camera: &'static str,
    gateway: &'static str,
}

const FAMILIES: [Family; 2] = [
    Family {
        tshark: "ip",
        nfdump: "ipv4",
        camera: CAMERA_IP,
        gateway: GATEWAY_IP,
    },
    Family {
        tshark: "ipv6",
        nfdump: "ipv6",
        camera: CAMERA_IP6,
        gateway: GATEWAY_IP6,
    },
];

/// Everything of one run.
struct Counted {
    tcpdump: PathBuf,
    nfcapd: PathBuf,
    /// TCP's and UDP's, for each family.
    ports: [(u16, u16); 2],
    /// The gateway's last word on the flows.
    flows: Value,
}

impl Counted {
    fn by_tcpdump(&self, family: &Family, protocol: &str, port: u16, way: &str) -> Sum {
        let filter = format!("{} && {protocol}.{way}port == {port}", family.tshark);
        counted_by_tcpdump(&self.tcpdump, &filter, Duration::MAX)
    }

    /// To the port what left the camera, from it what came back.
    #[track_caller]
    fn compare(&self, family: &Family, protocol: &str, port: u16) {
        for way in ["dst", "src"] {
            let filter = format!("{} and proto {protocol} and {way} port {port}", family.nfdump);
            assert_close(
                &format!("{} {protocol} {way}", family.nfdump),
                counted_by_nfdump(&self.nfcapd, &filter),
                self.by_tcpdump(family, protocol, port, way),
            );
        }
    }

    fn record(&self, family: &Family, port: u16) -> &Value {
        let flows = self.flows["flows"].as_array().unwrap();
        let of_it = |flow: &&Value| flow["port"] == port && flow["peer"] == family.gateway;
        flows.iter().find(of_it).unwrap()
    }
}

fn count(test: &str, with_conntrack: bool) -> Counted {
    let dir = TestDir::new(test);
    let cable = Cable::new();
    cable.send_single_segments();
    cable.add_ipv6();
    if with_conntrack {
        track_connections(&cable);
    }
    let nfcapd_dir = dir.subdir("nfcapd").path().to_owned();
    let mut nfcapd = start_nfcapd(&dir, &cable, &nfcapd_dir);
    let pki = Pki::new(&dir);
    let client = pki.client("front");
    let gateway = start_gateway(&dir, &cable, &pki, &client);
    let mut flows = Command::new(tools::own("lenscap"));
    flows
        .args(["flows", "--sample", "--json", "--state"])
        .arg(dir.join("flows.state"));
    let _carrier = Carrier::start(&cable, &gateway, &pki, &client, cable.on_camera(&flows));
    cable.at_gateway(|| gateway.wait_online("front", ONLINE_LIMIT));
    let look = || cable.at_gateway(|| gateway.get("/cameras/front/flows"));
    wait::until("a first look at the flows", LIMIT, || {
        (look().status == 200).then_some(())
    });

    let tcpdump_file = dir.join("tcpdump.pcap");
    let others = format!("(tcp or udp) and not port {}", gateway.uplink_port());
    let mut tcpdump = start_tcpdump(&dir, &cable, &tcpdump_file, &others);
    let mut traffic = FAMILIES.map(|family| Traffic::between(&cable, family.camera, family.gateway));
    wait::measure_for(Duration::from_secs(play_seconds()));
    let sent = traffic.each_mut().map(Traffic::pause);
    let ports = traffic
        .each_ref()
        .map(|traffic| (traffic.tcp_port, traffic.udp_port));
    let settled = wait::until("every byte that was sent, at the gateway", LIMIT, || {
        let before = look().json();
        wait::measure_for(FLOWS_EVERY * 2);
        let now = look().json();
        let counted = |flows: &Value, port: u16| {
            let flow = flows["flows"]
                .as_array()?
                .iter()
                .find(|flow| flow["port"] == port)?;
            flow["bytes_out"].as_u64()
        };
        let is_all = ports.iter().zip(sent).all(|((port, _), sent)| {
            counted(&now, *port) > Some(sent) && counted(&now, *port) == counted(&before, *port)
        });
        (is_all && now["received_s"] != before["received_s"]).then_some(now)
    });
    end_counting(&mut tcpdump, &mut nfcapd);
    Counted {
        tcpdump: tcpdump_file,
        nfcapd: nfcapd_dir,
        ports,
        flows: settled,
    }
}

/// The kernel follows connections once a rule wants it.
fn track_connections(cable: &Cable) {
    let rules = "add table inet watch; add chain inet watch out { type filter hook output priority 0; }; \
                 add chain inet watch into { type filter hook input priority 0; }; \
                 add rule inet watch out ct state new counter; add rule inet watch into ct state new counter";
    let mut nft = Command::new(tools::outside("nft"));
    nft.arg(rules);
    let output = cable.on_camera(&nft).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    cable.at_camera(|| std::fs::write("/proc/sys/net/netfilter/nf_conntrack_acct", "1").unwrap());
}

/// One that asks its camera for flows all the time and tells nfcapd.
fn start_gateway(dir: &TestDir, cable: &Cable, pki: &Pki, client: &CertFiles) -> Gateway {
    let mut config = GatewayConfig::new(&pki.leaf(Leaf::Good), CameraKey::Certificate(client.clone()));
    config.host = GATEWAY_IP.to_owned();
    config.extra = format!(
        "\n[reports]\nflows_every_s = {}\n\n[ipfix]\ncollector = \"127.0.0.1:{IPFIX_PORT}\"\n",
        FLOWS_EVERY.as_secs()
    );
    Gateway::start_on(dir, &config, cable)
}

fn start_nfcapd(dir: &TestDir, cable: &Cable, folder: &Path) -> Process {
    let mut command = Command::new(tools::outside("nfcapd"));
    // A namespace of its own, so the port is free.
    command
        .args([
            "-b",
            "127.0.0.1",
            "-p",
            &IPFIX_PORT.to_string(),
            "-t",
            "3600",
            "-w",
        ])
        .arg(folder);
    let mut nfcapd = Process::start(dir, "nfcapd", &cable.on_gateway(&command));
    wait::until("nfcapd to listen", LIMIT, || {
        nfcapd.assert_running();
        let bound = cable.at_gateway(|| UdpSocket::bind(("127.0.0.1", IPFIX_PORT)));
        bound.is_err().then_some(())
    });
    nfcapd
}

fn start_tcpdump(dir: &TestDir, cable: &Cable, file: &Path, filter: &str) -> Process {
    let mut command = Command::new(tools::outside("tcpdump"));
    // Root's own folder would be closed to the user that tcpdump becomes.
    command
        .args([
            "-Z",
            "root",
            "-i",
            cable.device(),
            "-s",
            "128",
            "-B",
            "8192",
            "-w",
        ])
        .arg(file)
        .arg(filter);
    let mut tcpdump = Process::start(dir, "tcpdump", &cable.on_camera(&command));
    tcpdump.wait_log("listening", LIMIT, |line| line.contains("listening on"));
    tcpdump
}

/// Both have everything in their files then.
fn end_counting(tcpdump: &mut Process, nfcapd: &mut Process) {
    tcpdump.signal(Signal::SIGINT);
    tcpdump.wait_exit(LIMIT);
    nfcapd.signal(Signal::SIGTERM);
    nfcapd.wait_exit(LIMIT);
}

#[test]
fn tracked_connections_are_counted_as_tcpdump_counts_them() {
    let counted = count("flows::conntrack", true);
    let this = std::env::current_exe().unwrap().display().to_string();
    for (family, (tcp, udp)) in FAMILIES.iter().zip(counted.ports) {
        for (protocol, port) in [("tcp", tcp), ("udp", udp)] {
            counted.compare(family, protocol, port);
            let record = counted.record(family, port);
            assert_eq!(
                (&record["source"], &record["direction"]),
                (&"conntrack".into(), &"out".into())
            );
            assert_eq!(record["local"], family.camera);
            // Names are cut to 64 bytes.
            assert!(this.starts_with(record["program"].as_str().unwrap()), "{record}");
        }
    }
    assert_explained(&counted.flows);
}

/// No more than a fiftieth of what the interfaces carried is left over.
#[track_caller]
fn assert_explained(flows: &Value) {
    let number = |what: &str| flows[what]["bytes_out"].as_u64().unwrap();
    let (rest, all) = (number("unexplained"), number("carried"));
    println!("unexplained: {rest} of {all} bytes");
    assert!(rest * 50 < all, "{rest} of {all} bytes are not explained");
}

#[test]
fn without_tracking_tcp_is_counted_and_the_rest_is_unexplained() {
    let counted = count("flows::diag", false);
    let mut uncounted = 0;
    for (family, (tcp, udp)) in FAMILIES.iter().zip(counted.ports) {
        counted.compare(family, "tcp", tcp);
        assert_eq!(counted.record(family, tcp)["source"], "tcp_info");
        let record = counted.record(family, udp);
        assert_eq!(
            (&record["source"], &record["bytes_out"]),
            (&"proc".into(), &Value::Null)
        );
        uncounted += counted.by_tcpdump(family, "udp", udp, "dst").bytes;
    }
    let rest = counted.flows["unexplained"]["bytes_out"].as_u64().unwrap();
    println!("unexplained: {rest} bytes; UDP had {uncounted}");
    assert!(
        rest.abs_diff(uncounted) * 20 < uncounted,
        "{rest} is not the UDP that nobody counted"
    );
    let blind = counted.flows["blind"].as_array().unwrap();
    assert!(
        blind
            .iter()
            .any(|sentence| sentence.as_str().unwrap().starts_with("UDP is not counted")),
        "{blind:?}"
    );
}

/// A kernel without netlink at all, played by strace, and no connection tracking.
#[test]
fn without_netlink_connections_are_seen_and_not_counted() {
    let cable = Cable::new();
    let traffic = Traffic::start(&cable);
    let mut strace = Command::new(tools::outside("strace"));
    strace
        .args([
            "-o",
            "/dev/null",
            "-e",
            "inject=socket:error=EPROTONOSUPPORT",
            "--",
        ])
        .arg(tools::own("lenscap"))
        .args(["flows", "--json", "--state", "/nothere"]);
    let output = cable.on_camera(&strace).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for (protocol, port) in [("tcp", traffic.tcp_port), ("udp", traffic.udp_port)] {
        let record = lines.iter().find(|line| line["port"] == port).unwrap();
        assert_eq!(
            (&record["protocol"], &record["source"]),
            (&protocol.into(), &"proc".into())
        );
        assert_eq!(
            (&record["bytes_out"], &record["peer"]),
            (&Value::Null, &GATEWAY_IP.into())
        );
        assert!(record["program"].is_string(), "{record}");
    }
    let blind = lines[0]["blind"].to_string();
    assert!(
        blind.contains("TCP is not counted: this kernel has no INET_DIAG"),
        "{blind}"
    );
}

fn capture(dir: &TestDir, option: &str, args: &[&str]) -> Command {
    let config = dir.write("lenscap.config", format!("config agent\n{option}"));
    let mut command = Command::new(tools::own("lenscap"));
    command.arg("capture").arg("--config").arg(config).args(args);
    command
}

#[test]
fn a_capture_has_headers_and_no_payload() {
    let dir = TestDir::new("flows::capture");
    let cable = Cable::new();
    let mut traffic = Traffic::start(&cable);
    let file = dir.join("headers.pcap");
    let path = file.to_str().unwrap();
    let args = ["--interface", cable.device(), "--seconds", "3", path];
    let allowed = capture(&dir, "option capture '1'\n", &args);
    let started = Instant::now();
    let mut running = Process::start(&dir, "capture", &cable.on_camera(&allowed));
    wait::until("packets in the file", LIMIT, || {
        std::fs::metadata(&file)
            .is_ok_and(|data| data.len() > 1000)
            .then_some(())
    });
    let mut ip = Command::new(tools::outside("ip"));
    ip.args(["-d", "link", "show", cable.device()]);
    let shown = cable.on_camera(&ip).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("promiscuity 0"), "{shown}");
    assert!(running.wait_exit(LIMIT).success());
    assert!(
        started.elapsed() < Duration::from_secs(6),
        "{:?}",
        started.elapsed()
    );
    println!("{}", running.stderr_text().trim());
    traffic.pause();

    let bytes = std::fs::read(&file).unwrap();
    assert!(
        !bytes.windows(6).any(|window| window == &MARK[..6]),
        "payload is in the capture"
    );
    let tshark = |args: &[&str]| {
        let mut command = Command::new(tools::outside("tshark"));
        command.arg("-n").arg("-r").arg(&file).args(args);
        numbers(&mut command)
    };
    let fields = [
        "-T",
        "fields",
        "-e",
        "frame.cap_len",
        "-e",
        "frame.len",
        "-e",
        "ip.len",
    ];
    for (filter, port) in [
        ("tcp.dstport", traffic.tcp_port),
        ("udp.dstport", traffic.udp_port),
    ] {
        let filter = format!("{filter} == {port}");
        let packets = tshark(&[&["-Y", &filter], &fields[..]].concat());
        assert!(packets.len() > 50, "{filter}: {} packets", packets.len());
        for packet in packets {
            let [kept, length, ip]: [usize; 3] = std::array::from_fn(|at| packet[at].parse().unwrap());
            // The cooked link header has 16 bytes, IP's 20, TCP's with time stamps at most 40 in a SYN.
            assert!(kept <= 16 + 20 + 40 && length == 16 + ip, "{packet:?}");
        }
    }
    assert_eq!(tshark(&["-Y", "_ws.malformed && !_ws.short"]).len(), 0);
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_capture_is_bounded_and_asked_for() {
    let dir = TestDir::new("flows::capture_bounds");
    let cable = Cable::new();
    let _traffic = Traffic::start(&cable);
    let end_of = |option: &str, args: &[&str]| {
        let command = capture(&dir, option, args);
        Process::run(&dir, "capture", &cable.on_camera(&command), LIMIT)
    };
    let on = "option capture '1'\n";
    let file = dir.join("small.pcap");
    let path = file.to_str().unwrap();
    for option in ["", "option capture '0'\n"] {
        let refused = end_of(option, &[path]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(
            refused.stderr.contains("option capture '1'"),
            "{}",
            refused.stderr
        );
        assert!(!file.exists());
    }
    let started = Instant::now();
    end_of(on, &["--bytes", "4096", "--seconds", "25", path]).success("a small capture");
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "{:?}",
        started.elapsed()
    );
    let length = std::fs::metadata(&file).unwrap().len();
    assert!((3000..=4096).contains(&length), "{length}");
    // A file that is there is nobody's to overwrite.
    assert_eq!(end_of(on, &["--seconds", "1", path]).status.code(), Some(1));
    assert_eq!(std::fs::metadata(&file).unwrap().len(), length);
    let other = dir.join("other.pcap");
    let other = other.to_str().unwrap();
    for (args, code) in [
        (&["--interface", "nothere", other][..], 1),
        (&["--seconds", "3601", other], 64),
        (&["--bytes", "0", other], 64),
        (&["--snaplen", "1500", other], 64),
    ] {
        assert_eq!(end_of(on, args).status.code(), Some(code), "{args:?}");
    }
    // Whoever has no room for a file takes the bytes from standard output; SIGTERM ends it orderly.
    let command = capture(&dir, on, &["--snaplen", "40", "--seconds", "60", "/dev/stdout"]);
    let mut running = Process::start(&dir, "capture-out", &cable.on_camera(&command));
    wait::until("bytes", LIMIT, || {
        (running.stdout_text().len() > 100).then_some(())
    });
    running.signal(Signal::SIGTERM);
    assert!(running.wait_exit(LIMIT).success());
}

/// A reader that reads nothing holds up neither the time nor SIGTERM.
#[test]
fn a_capture_ends_in_time_though_nobody_reads_it() {
    let dir = TestDir::new("flows::capture_unread");
    let cable = Cable::new();
    let start = |seconds: &str| {
        let (reader, writer) = nix::unistd::pipe().unwrap();
        nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
        let mut writer = std::fs::File::from(writer);
        // It is full from the start.
        writer.write_all(&[0; 4096]).unwrap();
        let command = capture(
            &dir,
            "option capture '1'\n",
            &["--seconds", seconds, "/dev/stdout"],
        );
        let child = cable.on_camera(&command).stdout(writer).spawn().unwrap();
        (child, reader)
    };
    let end = |mut child: Child, what: &str| {
        let status = wait::until(what, LIMIT, || child.try_wait().unwrap());
        assert!(status.success(), "{what}: {status}");
    };
    let started = Instant::now();
    let (child, _unread) = start("1");
    end(child, "the time");
    assert!(started.elapsed() < LIMIT / 2, "{:?}", started.elapsed());
    let (child, _unread) = start("600");
    let status = format!("/proc/{}/status", child.id());
    wait::until("a program that waits for SIGTERM", LIMIT, || {
        let status = std::fs::read_to_string(&status).unwrap();
        let blocked = status
            .lines()
            .find_map(|line| line.strip_prefix("SigBlk:"))
            .unwrap();
        let blocked = u64::from_str_radix(blocked.trim(), 16).unwrap();
        (blocked & 1 << (Signal::SIGTERM as i32 - 1) != 0).then_some(())
    });
    let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
    nix::sys::signal::kill(pid, Signal::SIGTERM).unwrap();
    end(child, "SIGTERM");
}
