//! Asks the camera's own services, over loopback, what they give to somebody without a login.
//!
//! Nothing is sent to a port that is not a web or RTSP server's as a rule: vendors' programs die of less. Logins that
//! everybody knows are tried on web interfaces alone, a few times each.

mod http;
mod logins;

use core::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use core::time::Duration;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::AsFd as _;
use std::path::Path;

use lenscap_audit::facts::{Answer, Fact, Facts, Inbound, Missing, Probe, Service};
use lenscap_audit::inventory::{asked_at, sockets};
use lenscap_harden::root::Root;
use nix::errno::Errno;

use super::missing;
use super::processes::text;
use crate::config::{self, Config};
use crate::sys;
use http::Reply;
use logins::Logins;

/// All questions together.
const TOTAL: Duration = Duration::from_secs(40);
/// A connection; an answer, for whose beginning a busy camera may take its time; and the silence after which it is at its end.
const CONNECT: Duration = Duration::from_secs(1);
const ANSWER: Duration = Duration::from_secs(5);
const SILENCE: Duration = Duration::from_secs(2);
/// How long a server that speaks first may take.
const GREETING: Duration = Duration::from_millis(700);
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
    };
    let no_ipv6 = facts.filters[1].value().map(|filter| &filter.inbound) == Some(&Inbound::Off);
    let mut asked: Vec<(SocketAddr, Option<usize>)> = Vec::new();
    for socket in sockets(facts) {
        if !socket.proto.is_tcp() || !socket.waits() {
            continue;
        }
        let at = match asked_at(facts, socket) {
            (IpAddr::V4(address), port) => SocketAddr::from((address, port)),
            (IpAddr::V6(_), _) if no_ipv6 => continue,
            (IpAddr::V6(address), port) => SocketAddrV6::new(address, port, 0, scope(root, address)).into(),
        };
        if asked.iter().any(|(have, _)| *have == at) {
            continue;
        }
        if asked.len() == MAX_PORTS || asker.left().is_zero() {
            let why = Missing::because("was not asked: too many ports, or no time left");
            asker.probes.push(Fact::missing(format!("tcp://{at}"), why));
            break;
        }
        // A program's passwords are tried at one of its addresses, or it might lock its owner out; at others of the same port
        // it may still be a shell.
        let mut same = asked.iter().filter(|(have, _)| have.port() == at.port());
        let again = socket.owner.is_some() && same.any(|(_, owner)| *owner == socket.owner);
        asked.push((at, socket.owner));
        asker.port(at, again);
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

struct Asker<'c> {
    config: Option<&'c Config>,
    logins: Logins,
    until: Duration,
    probes: Vec<Fact<Probe>>,
}

impl Asker<'_> {
    fn left(&self) -> Duration {
        self.until.saturating_sub(sys::monotonic())
    }

    fn add(&mut self, source: String, service: Service, answer: Result<Answer, Missing>) {
        self.probes.push(Fact::seen(source, Probe { service, answer }));
    }

    fn port(&mut self, at: SocketAddr, greeting: bool) {
        let profiles = self.config.map_or(&[][..], |config| &config.profiles);
        let rtsp = RTSP_PORTS.contains(&at.port())
            || profiles
                .iter()
                .any(|profile| profile.rtsp_addr.port() == at.port());
        let http = HTTP_PORTS.contains(&at.port())
            || profiles.iter().any(|profile| {
                let snapshot = profile.snapshot.as_ref();
                snapshot.is_some_and(|snapshot| snapshot.addr.port() == at.port())
            });
        let result = if greeting {
            self.greeting(at)
        } else if rtsp {
            self.rtsp(at)
        } else if http {
            self.http(at)
        } else {
            self.greeting(at)
        };
        if let Err(error) = result {
            self.probes
                .push(Fact::missing(format!("tcp://{at}"), missing(&error)));
        }
    }

    /// What a server says before it is asked.
    #[inline(never)]
    fn greeting(&mut self, at: SocketAddr) -> io::Result<()> {
        let source = format!("tcp://{at}");
        let mut stream = self.connect(at)?;
        let said = match read_some(&mut stream, GREETING.min(self.left())) {
            Ok(said) => said,
            // Silence says nothing against it.
            Err(error) if error.kind() == io::ErrorKind::TimedOut => return Ok(()),
            Err(error) => return Err(error),
        };
        if self.shell(at, &said) {
            return Ok(());
        }
        if said.starts_with(b"220") && (at.port() == 21 || contains(&said, b"FTP")) {
            let what = String::from_utf8_lossy(&said).into_owned();
            self.add(source, Service::Ftp, Ok(Answer::There(what)));
        }
        Ok(())
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
        let mut stream = self.connect(at)?;
        // A question fits any send buffer.
        stream.write_all(question)?;
        let until = sys::monotonic() + ANSWER.min(self.left());
        let mut wait = ANSWER;
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

    #[inline(never)]
    fn rtsp(&mut self, at: SocketAddr) -> io::Result<()> {
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
                if self.shell(at, &answer) {
                    return Ok(());
                }
                let why = Missing::because("does not answer as RTSP");
                self.add(base, Service::Rtsp, Err(why));
                return Ok(());
            };
            match reply.status {
                200 => {
                    self.add(
                        format!("{base}{path}"),
                        Service::Rtsp,
                        Ok(Answer::Open("DESCRIBE".into())),
                    );
                    return Ok(());
                }
                // One path may ask for a login that another does not.
                401 | 403 => login = true,
                _ => {}
            }
        }
        let answer = if login {
            Ok(Answer::AsksLogin)
        } else {
            let why = format!(
                "none of {} known paths leads to a stream",
                own.len() + STREAMS.len()
            );
            Err(Missing::because(why))
        };
        self.add(base, Service::Rtsp, answer);
        Ok(())
    }

    #[inline(never)]
    fn http(&mut self, at: SocketAddr) -> io::Result<()> {
        let base = format!("http://{at}");
        let front = self.ask(at, http::get(at, "/", None).as_bytes())?;
        let Some(reply) = Reply::parse(&front).filter(|_| front.starts_with(b"HTTP/")) else {
            if self.shell(at, &front) {
                return Ok(());
            }
            let why = Missing::because("does not answer as HTTP");
            self.add(base, Service::Web, Err(why));
            return Ok(());
        };
        let front_status = reply.status;
        let web = self.web(at, &front, &reply)?;
        self.add(base.clone(), Service::Web, web);
        self.pictures(at, &base, front_status)?;
        self.onvif(at, &base)
    }

    /// Tries the logins that everybody knows of this interface.
    #[inline(never)]
    fn web(&self, at: SocketAddr, front: &[u8], reply: &Reply<'_>) -> io::Result<Result<Answer, Missing>> {
        let fitting = self.logins.fitting(front);
        let mut tried = 0;
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
            let taken = Reply::parse(&answer).is_some_and(|reply| {
                let proof = login.proof();
                // Whoever refuses in HTTP says so in the status; others may say 200 to everybody.
                let proven = match proof {
                    "" => login.is_http() || reply.body.starts_with(&[0xff, 0xd8]),
                    proof => contains(&answer, proof.as_bytes()),
                };
                reply.status == 200 && proven
            });
            if taken {
                let what = format!("user {} ({})", login.user(), login.mark());
                return Ok(Ok(Answer::DefaultLogin(what)));
            }
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
    fn pictures(&mut self, at: SocketAddr, base: &str, front: u16) -> io::Result<()> {
        let own = self.config.map_or(&[][..], |config| &config.profiles);
        let own = own.iter().filter_map(|profile| profile.snapshot.as_ref());
        let own: Vec<String> = own
            .filter(|snapshot| snapshot.addr.port() == at.port())
            .map(|snapshot| snapshot.target.clone())
            .collect();
        let mut login = front == 401;
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
                401 | 403 => login = true,
                _ => {}
            }
        }
        let answer = if login {
            Ok(Answer::AsksLogin)
        } else {
            let why = format!("none of {} known addresses is there", own.len() + PICTURES.len());
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
        || [&b"ogin:"[..], b"GET: not found", b"DESCRIBE: not found"]
            .iter()
            .any(|words| contains(said, words))
        || text.ends_with(b"#") && text.len() < 256
        || text.ends_with(b"$") && text.len() < 256
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
