//! Asks the camera's own services, over loopback, what they give to somebody without a login.
//!
//! Ports that are a web or RTSP server's as a rule come first. Any other that is reached from outside is listened to, and then
//! asked in RTSP and HTTP, but for vendors' control ports: their programs die of less. What it is stays unknown where it is
//! silent or not understood. Logins that everybody knows are tried on web interfaces alone, a few times each.

mod http;
mod logins;

use core::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use core::time::Duration;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::AsFd as _;
use std::path::Path;

use lenscap_audit::facts::{Answer, Fact, Facts, Inbound, Missing, Probe, Service};
use lenscap_audit::inventory::{asked_at, program, sockets};
use lenscap_harden::root::Root;
use nix::errno::Errno;

use super::missing;
use super::processes::text;
use crate::config::{self, Config};
use crate::sys;
use http::Reply;
use logins::{Login, Logins};

/// All questions together.
const TOTAL: Duration = Duration::from_secs(40);
/// A connection; an answer, for whose beginning a busy camera may take its time; and the silence after which it is at its end.
const CONNECT: Duration = Duration::from_secs(1);
const ANSWER: Duration = Duration::from_secs(5);
const SILENCE: Duration = Duration::from_secs(2);
/// How long a server that speaks first may take where nothing else is asked, and how long each answer of one that may be
/// anything.
const GREETING: Duration = Duration::from_millis(700);
const PATIENCE: Duration = Duration::from_secs(2);
/// The most ports.
const MAX_PORTS: usize = 32;
/// The most bytes of an answer.
const MAX_ANSWER_BYTES: usize = 16 * 1024;
/// Ports that are RTSP's as a rule.
const RTSP_PORTS: &[u16] = &[554, 8554, 10554, 5543];
/// Ports that are HTTP's as a rule.
const HTTP_PORTS: &[u16] = &[
    80, 81, 82, 85, 88, 8000, 8080, 8081, 8090, 8888, 8899, 5000, 10080,
];
/// Vendors' control ports, whose programs are not asked anything.
const VENDOR_PORTS: &[u16] = &[34567, 34599, 37777, 9530, 32100, 23000];
/// How an alert of TLS begins, with which it answers what is none (RFC 8446, 5.1).
const TLS_ALERT: &[u8] = &[0x15, 3];
/// Why a port's service is not known.
const ODD: &str = "what it says is not understood";
const TLS: &str = "it speaks TLS, in which nothing is asked";
/// Paths of streams, beside those of the configuration.
const STREAMS: &[&str] = &[
    "/",
    "/stream=0",
    "/ch0",
    "/ch0_0.h264",
    "/unicast",
    "/live/ch0",
    "/11",
    "/stream1",
    "/h264",
    "/Streaming/Channels/101",
    "/user=admin_password=_channel=1_stream=0.sdp",
    "/video1_unicast",
    "/main",
];
/// Paths of pictures.
const PICTURES: &[&str] = &[
    "/image.jpg",
    "/snapshot.jpg",
    "/snapshot.cgi",
    "/axis-cgi/jpg/image.cgi",
    "/snap.jpg",
    "/cgi-bin/snapshot.cgi",
    "/cgi-bin/snapshot.sh",
    "/cgi-bin/currentpic.cgi",
    "/tmpfs/auto.jpg",
    "/ISAPI/Streaming/channels/101/picture",
    "/onvif/snapshot",
    "/x/ch0.jpg",
    "/webcapture.jpg?command=snap&channel=1",
];

/// Asks all services that wait.
#[inline(never)]
pub(super) fn all(root: &Root, config: &Path, facts: &Facts) -> Vec<Fact<Probe>> {
    let config = config::load(config).ok().map(|loaded| loaded.config);
    let mut asker = Asker {
        config: config.as_ref(),
        logins: Logins::load(root),
        until: sys::monotonic() + TOTAL,
        probes: Vec::new(),
        tried: Vec::new(),
    };
    let no_ipv6 = facts.filters[1].value().map(|filter| &filter.inbound) == Some(&Inbound::Off);
    let mut waiting: Vec<(u8, Way, SocketAddr, Option<usize>, &str)> = Vec::new();
    for socket in sockets(facts) {
        if !socket.proto.is_tcp() || !socket.waits() {
            continue;
        }
        let at = match asked_at(facts, socket) {
            (IpAddr::V4(address), port) => SocketAddr::from((address, port)),
            (IpAddr::V6(_), _) if no_ipv6 => continue,
            (IpAddr::V6(address), port) => SocketAddrV6::new(address, port, 0, scope(root, address)).into(),
        };
        let (rank, way) = asker.way(at.port(), socket.is_loopback());
        let place = waiting.partition_point(|(before, ..)| *before <= rank);
        waiting.insert(place, (rank, way, at, socket.owner, program(facts, socket)));
    }
    let mut asked: Vec<(SocketAddr, Option<usize>)> = Vec::new();
    for (_, mut way, at, owner, program) in waiting {
        if asked.iter().any(|(have, _)| *have == at) {
            continue;
        }
        if asked.len() == MAX_PORTS || asker.left().is_zero() {
            let why = format!("was not asked: too many ports, or no time left; program {program}");
            asker.missing(at, Missing::because(why));
            break;
        }
        // A program's passwords are tried at one of its addresses, or it might lock its owner out; at others of the same port
        // it may still be a shell.
        let mut same = asked.iter().filter(|(have, _)| have.port() == at.port());
        if owner.is_some() && same.any(|(_, have)| *have == owner) {
            way = Way::Listen;
        }
        asked.push((at, owner));
        asker.port(at, way, owner, program);
    }
    asker.probes
}

/// The interface of an address that says nothing without one (RFC 4007), by `/proc/net/if_inet6`.
fn scope(root: &Root, address: Ipv6Addr) -> u32 {
    if !address.is_unicast_link_local() {
        return 0;
    }
    let table = text(root, "/proc/net/if_inet6", 16 * 1024).unwrap_or_default();
    let wanted = format!("{:032x}", address.to_bits());
    let mut lines = table.lines().filter_map(|line| line.strip_prefix(&wanted));
    let index = lines.find_map(|rest| u32::from_str_radix(rest.split_whitespace().next()?, 16).ok());
    index.unwrap_or(0)
}

/// How a port is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// RTSP's as a rule.
    Rtsp,
    /// HTTP's as a rule.
    Http,
    /// It is only listened to.
    Listen,
    /// It may be anything.
    Any,
}

/// What a port says by itself.
#[derive(Debug, PartialEq, Eq)]
enum Greeting {
    Known,
    Odd,
    None,
}

struct Asker<'c> {
    config: Option<&'c Config>,
    logins: Logins,
    until: Duration,
    probes: Vec<Fact<Probe>>,
    /// Processes whose web interface was tried.
    tried: Vec<Option<usize>>,
}

impl Asker<'_> {
    fn left(&self) -> Duration {
        self.until.saturating_sub(sys::monotonic())
    }

    fn add(&mut self, source: String, service: Service, answer: Result<Answer, Missing>) {
        self.probes.push(Fact::seen(source, Probe { service, answer }));
    }

    fn missing(&mut self, at: SocketAddr, why: Missing) {
        self.probes.push(Fact::missing(format!("tcp://{at}"), why));
    }

    /// How a port is asked, and when: those that are known come first, and what only this camera reaches last.
    fn way(&self, port: u16, loopback: bool) -> (u8, Way) {
        let profiles = self.config.map_or(&[][..], |config| &config.profiles);
        let rtsp = profiles.iter().any(|profile| profile.rtsp_addr.port() == port);
        let http = profiles.iter().any(|profile| {
            let snapshot = profile.snapshot.as_ref();
            snapshot.is_some_and(|snapshot| snapshot.addr.port() == port)
        });
        if rtsp || RTSP_PORTS.contains(&port) {
            (0, Way::Rtsp)
        } else if http || HTTP_PORTS.contains(&port) {
            (0, Way::Http)
        } else if VENDOR_PORTS.contains(&port) {
            (1, Way::Listen)
        } else if loopback {
            (3, Way::Listen)
        } else {
            (2, Way::Any)
        }
    }

    fn port(&mut self, at: SocketAddr, way: Way, owner: Option<usize>, program: &str) {
        let known = match way {
            Way::Rtsp => self.rtsp(at),
            Way::Http => self.http(at, owner),
            // Silence says nothing against it.
            Way::Listen => self.greeting(at, GREETING).map(|said| said != Greeting::Odd),
            Way::Any => Ok(false),
        };
        let result = match known {
            Ok(false) if way == Way::Listen => Ok(VENDOR_PORTS.contains(&at.port()).then_some(ODD)),
            Ok(true) => Ok(None),
            // They may be a vendor's too, whose programs are not asked more than once.
            Ok(false) if matches!(at.port(), 8000 | 5000) => Ok(Some(ODD)),
            Ok(false) => self.any(at, owner),
            Err(error) => Err(error),
        };
        let why = match result {
            Ok(None) => return,
            Ok(Some(why)) => Missing::because(why),
            Err(error) => missing(&error),
        };
        let text = format!("{}; program {program}", why.why).into();
        if why.why != TLS {
            return self.missing(at, Missing { why: text, ..why });
        }
        // Shells and FTP in TLS are none without encryption.
        for service in [Service::Rtsp, Service::Snapshot, Service::Web, Service::Onvif] {
            self.add(
                format!("tcp://{at}"),
                service,
                Err(Missing::because(text.clone())),
            );
        }
    }

    /// What a server says before it is asked.
    #[inline(never)]
    fn greeting(&mut self, at: SocketAddr, wait: Duration) -> io::Result<Greeting> {
        let mut stream = self.connect(at)?;
        let said = match read_some(&mut stream, wait.min(self.left())) {
            Ok(said) if said.is_empty() => return Ok(Greeting::None),
            Ok(said) => said,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => return Ok(Greeting::None),
            Err(error) => return Err(error),
        };
        Ok(if self.speaks(at, &said) {
            Greeting::Known
        } else {
            Greeting::Odd
        })
    }

    /// Whether somebody says what servers say that speak first.
    fn speaks(&mut self, at: SocketAddr, said: &[u8]) -> bool {
        let ftp = said.starts_with(b"220") && (at.port() == 21 || contains(said, b"FTP"));
        if ftp {
            let what = String::from_utf8_lossy(said).into_owned();
            self.add(format!("tcp://{at}"), Service::Ftp, Ok(Answer::There(what)));
        }
        ftp || said.starts_with(b"SSH-") || self.shell(at, said)
    }

    /// Asks a port that may be anything, in one way after the other. Gives why it is not known then.
    #[inline(never)]
    fn any(&mut self, at: SocketAddr, owner: Option<usize>) -> io::Result<Option<&'static str>> {
        match self.greeting(at, PATIENCE)? {
            Greeting::Known => return Ok(None),
            Greeting::Odd => return Ok(Some(ODD)),
            Greeting::None => {}
        }
        let options = format!("OPTIONS rtsp://{at}/ RTSP/1.0\r\nCSeq: 1\r\n\r\n");
        let mut why = "it says nothing to RTSP or HTTP";
        for question in [options, http::get(at, "/", None)] {
            let answer = match self.ask_for(at, question.as_bytes(), PATIENCE) {
                Ok(answer) => answer,
                Err(error) if self.left().is_zero() => return Err(error),
                // It may take the next one.
                Err(_) => continue,
            };
            let known = if self.speaks(at, &answer) {
                true
            } else if answer.starts_with(b"RTSP/") {
                self.rtsp(at)?
            } else if answer.starts_with(b"HTTP/") {
                self.http(at, owner)?
            } else if answer.starts_with(TLS_ALERT) {
                return Ok(Some(TLS));
            } else {
                false
            };
            if known {
                return Ok(None);
            }
            if !answer.is_empty() {
                why = ODD;
            }
        }
        Ok(Some(why))
    }

    /// Whether an answer is a shell's. If so, it is noted.
    fn shell(&mut self, at: SocketAddr, said: &[u8]) -> bool {
        let shell = gives_shell(said);
        if shell {
            let what = Answer::Open(String::from_utf8_lossy(said).into_owned());
            self.add(format!("tcp://{at}"), Service::Telnet, Ok(what));
        }
        shell
    }

    fn connect(&self, at: SocketAddr) -> io::Result<TcpStream> {
        let wait = CONNECT.min(self.left());
        if wait.is_zero() {
            return Err(Errno::ETIMEDOUT.into());
        }
        let stream = TcpStream::connect_timeout(&at, wait)?;
        stream.set_nonblocking(true)?;
        Ok(stream)
    }

    /// Sends a question and takes the answer's beginning.
    fn ask(&self, at: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
        self.ask_for(at, question, ANSWER)
    }

    fn ask_for(&self, at: SocketAddr, question: &[u8], patience: Duration) -> io::Result<Vec<u8>> {
        let mut stream = self.connect(at)?;
        // A question fits any send buffer.
        stream.write_all(question)?;
        let until = sys::monotonic() + patience.min(self.left());
        let mut wait = patience;
        let mut answer = Vec::new();
        while answer.len() < MAX_ANSWER_BYTES {
            match read_some(&mut stream, wait.min(until.saturating_sub(sys::monotonic()))) {
                Ok(part) if part.is_empty() => break,
                Ok(part) => {
                    answer.extend_from_slice(&part);
                    wait = SILENCE;
                }
                // RTSP keeps the connection.
                Err(error) if error.kind() == io::ErrorKind::TimedOut && !answer.is_empty() => break,
                Err(error) => return Err(error),
            }
            if http::is_whole(&answer) {
                break;
            }
        }
        Ok(answer)
    }

    /// Says whether it is RTSP, or a shell.
    #[inline(never)]
    fn rtsp(&mut self, at: SocketAddr) -> io::Result<bool> {
        let own = self.config.map_or(&[][..], |config| &config.profiles);
        let own = own.iter().filter(|profile| profile.rtsp_addr.port() == at.port());
        let own: Vec<String> = own
            .map(|profile| path_of(profile.rtsp.request_uri()).to_owned())
            .collect();
        let base = format!("rtsp://{at}");
        let mut login = false;
        let paths = own.iter().map(String::as_str).chain(STREAMS.iter().copied());
        for path in paths {
            let question =
                format!("DESCRIBE {base}{path} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n");
            let answer = self.ask(at, question.as_bytes())?;
            let Some(reply) = Reply::parse(&answer).filter(|_| answer.starts_with(b"RTSP/")) else {
                return Ok(self.shell(at, &answer));
            };
            match reply.status {
                200 => {
                    self.add(
                        format!("{base}{path}"),
                        Service::Rtsp,
                        Ok(Answer::Open("DESCRIBE".into())),
                    );
                    return Ok(true);
                }
                // One path may ask for a login that another does not.
                401 => login = true,
                _ => {}
            }
        }
        let answer = if login {
            Ok(Answer::AsksLogin)
        } else {
            let why = format!(
                "none of {} known paths leads to a stream or asks for a login",
                own.len() + STREAMS.len()
            );
            Err(Missing::because(why))
        };
        self.add(base, Service::Rtsp, answer);
        Ok(true)
    }

    /// Says whether it is HTTP, or a shell.
    #[inline(never)]
    fn http(&mut self, at: SocketAddr, owner: Option<usize>) -> io::Result<bool> {
        let base = format!("http://{at}");
        let front = self.ask(at, http::get(at, "/", None).as_bytes())?;
        let Some(reply) = Reply::parse(&front).filter(|_| front.starts_with(b"HTTP/")) else {
            return Ok(self.shell(at, &front));
        };
        // Wrong passwords at each port of a program might lock its owner out.
        let again = owner.is_some() && self.tried.contains(&owner);
        let web = if again && self.way(at.port(), false).1 == Way::Any {
            let why = "its logins were not tried: another port of the same program was";
            Err(Missing::because(why))
        } else {
            self.tried.push(owner);
            self.web(at, &front, &reply)?
        };
        self.add(base.clone(), Service::Web, web);
        self.pictures(at, &base)?;
        self.onvif(at, &base)?;
        Ok(true)
    }

    /// Tries the logins that everybody knows of this interface.
    #[inline(never)]
    fn web(&self, at: SocketAddr, front: &[u8], reply: &Reply<'_>) -> io::Result<Result<Answer, Missing>> {
        let fitting = self.logins.fitting(front);
        let (mut tried, mut odd) = (0, None);
        for login in &fitting {
            let path = login.path();
            let mut answer = self.ask(at, http::get(at, &path, None).as_bytes())?;
            if login.is_http() {
                let Some(header) = http::authorization(&answer, &path, login.user(), login.password()) else {
                    continue;
                };
                answer = self.ask(at, http::get(at, &path, Some(&header)).as_bytes())?;
            }
            tried += 1;
            match took(login, &answer) {
                Some(true) => {
                    let what = format!("user {} ({})", login.user(), login.mark());
                    return Ok(Ok(Answer::DefaultLogin(what)));
                }
                Some(false) => {}
                None => odd = Some(login),
            }
        }
        if let Some(login) = odd {
            let user = login.user();
            let why = format!("a login that everybody knows was neither taken nor refused (user {user})");
            return Ok(Err(Missing::because(why)));
        }
        Ok(match (tried, reply.status) {
            (0, 401 | 403) => Err(Missing::because("asks for a login of a kind that is not tried")),
            (0, _) => Err(Missing::because(
                "no list knows this interface: its login was not tried",
            )),
            (tried, _) => Ok(Answer::There(format!(
                "{tried} logins that everybody knows are refused"
            ))),
        })
    }

    #[inline(never)]
    fn pictures(&mut self, at: SocketAddr, base: &str) -> io::Result<()> {
        let own = self.config.map_or(&[][..], |config| &config.profiles);
        let own = own.iter().filter_map(|profile| profile.snapshot.as_ref());
        let own: Vec<String> = own
            .filter(|snapshot| snapshot.addr.port() == at.port())
            .map(|snapshot| snapshot.target.clone())
            .collect();
        let mut login = false;
        for path in own.iter().map(String::as_str).chain(PICTURES.iter().copied()) {
            let answer = self.ask(at, http::get(at, path, None).as_bytes())?;
            let Some(reply) = Reply::parse(&answer) else {
                continue;
            };
            match reply.status {
                200 if reply.body.starts_with(&[0xff, 0xd8]) || reply.is("content-type", "image/jp") => {
                    let what = Ok(Answer::Open("a picture".into()));
                    self.add(format!("{base}{path}"), Service::Snapshot, what);
                    return Ok(());
                }
                // A folder may be forbidden where pictures are not.
                401 => login = true,
                _ => {}
            }
        }
        let answer = if login {
            Ok(Answer::AsksLogin)
        } else {
            let why = format!(
                "none of {} known addresses gives a picture or asks for a login",
                own.len() + PICTURES.len()
            );
            Err(Missing::because(why))
        };
        self.add(base.to_owned(), Service::Snapshot, answer);
        Ok(())
    }

    #[inline(never)]
    fn onvif(&mut self, at: SocketAddr, base: &str) -> io::Result<()> {
        const PATH: &str = "/onvif/device_service";
        let answer = self.ask(at, http::soap(at, PATH, "GetSystemDateAndTime").as_bytes())?;
        // That much everybody may know.
        if !contains(&answer, b"GetSystemDateAndTimeResponse") {
            return Ok(());
        }
        let answer = self.ask(at, http::soap(at, PATH, "GetUsers").as_bytes())?;
        let users = contains(&answer, b"GetUsersResponse");
        let answer = match Reply::parse(&answer) {
            Some(reply) if reply.status == 200 && users => Ok(Answer::Open("GetUsers".into())),
            Some(reply) if matches!(reply.status, 400 | 401 | 403) => Ok(Answer::AsksLogin),
            Some(reply) if reply.status == 500 && contains(reply.body, b"NotAuthorized") => {
                Ok(Answer::AsksLogin)
            }
            Some(reply) => Err(Missing::because(format!("GetUsers: status {}", reply.status))),
            None => Err(Missing::because("GetUsers: no answer")),
        };
        self.add(format!("{base}{PATH}"), Service::Onvif, answer);
        Ok(())
    }
}

/// Whether a login was taken, by the answer to it; `None`: that does not say. Whoever refuses in HTTP says so in the status;
/// others may say 200 to everybody.
fn took(login: &Login<'_>, answer: &[u8]) -> Option<bool> {
    let reply = Reply::parse(answer)?;
    let proven = match login.proof() {
        "" => login.is_http() || reply.body.starts_with(&[0xff, 0xd8]),
        proof => contains(answer, proof.as_bytes()),
    };
    match reply.status {
        200 if proven => Some(true),
        // As a rule it leads from the front to where one is let in.
        201..=399 if login.is_http() => Some(true),
        // Who asks for a login first has let it pass when he says that nothing is there.
        404 if login.is_http() => Some(true),
        401 | 403 => Some(false),
        200 | 404 if !login.is_http() => Some(false),
        _ => None,
    }
}

/// What is there within a while; empty: the end.
fn read_some(stream: &mut TcpStream, wait: Duration) -> io::Result<Vec<u8>> {
    let [ready] = sys::wait_readable([Some(stream.as_fd())], Some(wait))?;
    if !ready {
        return Err(Errno::ETIMEDOUT.into());
    }
    let mut buffer = [0; 2048];
    let length = stream.read(&mut buffer)?;
    Ok(buffer.get(..length).unwrap_or_default().to_vec())
}

/// Telnet's own bytes (RFC 854: IAC), or the words of a login or a shell.
fn gives_shell(said: &[u8]) -> bool {
    let text = said.trim_ascii_end();
    // Pictures begin with 0xff, too.
    matches!(said, [0xff] | [0xff, 0xf0..=0xff, ..])
        || [
            &b"ogin:"[..],
            b"ogin : ",
            b"sername: ",
            b"assword: ",
            b"GET: not found",
            b"DESCRIBE: not found",
            b"OPTIONS: not found",
        ]
        .iter()
        .any(|words| contains(said, words))
        || matches!(text, [.., b'#' | b'$']) && text.len() < 256 && !text.contains(&0)
        || text.len() < 256 && text.contains(&b'@') && matches!(text, [b'[', .., b'>'])
}

fn contains(text: &[u8], needle: &[u8]) -> bool {
    text.windows(needle.len()).any(|window| window == needle)
}

/// The path and query of a URL.
fn path_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/")
}

#[cfg(test)]
mod tests;
