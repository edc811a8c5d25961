//! Answers of a real server on loopback, judged.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;

use super::*;

/// Answers each connection by the first line of its question; ends with the test's process.
fn server(answer: fn(&str, &str) -> String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let first = lines.next().and_then(Result::ok).unwrap_or_default();
            let mut authorization = String::new();
            for line in lines.map_while(Result::ok).take_while(|line| !line.is_empty()) {
                if let Some(value) = line.strip_prefix("Authorization: ") {
                    value.clone_into(&mut authorization);
                }
            }
            let _ = stream.write_all(answer(&first, &authorization).as_bytes());
        }
    });
    at
}

fn asker() -> Asker<'static> {
    Asker {
        config: None,
        logins: Logins::parse(include_str!("../../../data/http-logins.csv").lines()),
        until: sys::monotonic() + TOTAL,
        probes: Vec::new(),
        tried: Vec::new(),
    }
}

fn answers(asker: &Asker<'_>, service: Service) -> Vec<Result<Answer, Missing>> {
    let probes = asker.probes.iter().filter_map(|probe| probe.value());
    let wanted = probes.filter(|probe| probe.service == service);
    wanted.map(|probe| probe.answer.clone()).collect()
}

#[test]
fn rtsp_is_open_closed_or_not_known() {
    let open = server(|line, _| {
        let status = if line.starts_with("DESCRIBE rtsp://127.0.0.1") && line.contains("/ch0 ") {
            "200 OK"
        } else {
            "404 Not Found"
        };
        format!("RTSP/1.0 {status}\r\nCSeq: 1\r\n\r\n")
    });
    let closed =
        server(|_, _| "RTSP/1.0 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\n\r\n".into());
    let absent = server(|_, _| "RTSP/1.0 404 Not Found\r\n\r\n".into());
    for (at, expected) in [
        (open, Some(Answer::Open("DESCRIBE".into()))),
        (closed, Some(Answer::AsksLogin)),
        (absent, None),
    ] {
        let mut asker = asker();
        assert!(asker.rtsp(at).unwrap());
        let [answer] = answers(&asker, Service::Rtsp).try_into().unwrap();
        assert_eq!(answer.ok(), expected, "{at}");
    }
}

#[test]
fn a_web_interface_is_asked_what_everybody_knows() {
    fn digest(_: &str, authorization: &str) -> String {
        if authorization.starts_with("Digest username=\"admin\"") {
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi".into()
        } else {
            "HTTP/1.1 401 no\r\nServer: GoAhead-Webs\r\nWWW-Authenticate: Digest realm=\"x\", nonce=\"1\", qop=\"auth\"\r\n\r\n".into()
        }
    }
    fn own(_: &str, authorization: &str) -> String {
        // `admin` and a password that is on no list.
        if authorization == "Basic YWRtaW46T1Z0SzFQ" {
            "HTTP/1.0 200 OK\r\n\r\n".into()
        } else {
            "HTTP/1.0 401 no\r\nWWW-Authenticate: Basic realm=\"x\"\r\n\r\n".into()
        }
    }
    fn always(_: &str, _: &str) -> String {
        "HTTP/1.0 200 OK\r\nServer: uc-httpd 1.0\r\n\r\n<html>login</html>".into()
    }
    for (at, expected) in [
        (
            server(digest),
            Some(Answer::DefaultLogin("user admin (goahead)".into())),
        ),
        (
            server(own),
            Some(Answer::There("5 logins that everybody knows are refused".into())),
        ),
        // 200 to everybody proves nothing.
        (
            server(always),
            Some(Answer::There("1 logins that everybody knows are refused".into())),
        ),
        (server(|_, _| "HTTP/1.0 200 OK\r\n\r\nnew".into()), None),
    ] {
        let mut asker = asker();
        asker.http(at, None).unwrap();
        let [answer] = answers(&asker, Service::Web).try_into().unwrap();
        assert_eq!(answer.clone().ok(), expected, "{answer:?}");
    }
}

#[test]
fn only_a_refusal_is_one() {
    // What the server says to a login that everybody knows.
    fn challenge(authorization: &str, answer: &str) -> String {
        if authorization.is_empty() {
            "HTTP/1.1 401 no\r\nServer: GoAhead-Webs\r\nWWW-Authenticate: Basic realm=\"x\"\r\n\r\n".into()
        } else {
            answer.into()
        }
    }
    fn home(_: &str, authorization: &str) -> String {
        challenge(authorization, "HTTP/1.1 302 Found\r\nLocation: /home.asp\r\n\r\n")
    }
    fn nothing(_: &str, authorization: &str) -> String {
        challenge(authorization, "HTTP/1.1 404 Not Found\r\n\r\n")
    }
    fn busy(_: &str, authorization: &str) -> String {
        challenge(authorization, "HTTP/1.1 503 Busy\r\n\r\n")
    }
    fn many(_: &str, authorization: &str) -> String {
        challenge(authorization, "HTTP/1.1 429 Too Many Requests\r\n\r\n")
    }
    fn mute(_: &str, authorization: &str) -> String {
        challenge(authorization, "")
    }
    fn forbids(_: &str, authorization: &str) -> String {
        challenge(authorization, "HTTP/1.1 403 Forbidden\r\n\r\n")
    }
    for (answer, expected) in [
        (home as fn(&str, &str) -> String, Some(true)),
        (nothing, Some(true)),
        (busy, None),
        (many, None),
        (mute, None),
        (forbids, Some(false)),
    ] {
        let mut asker = asker();
        asker.http(server(answer), None).unwrap();
        let [answer] = answers(&asker, Service::Web).try_into().unwrap();
        let taken = answer
            .as_ref()
            .ok()
            .map(|answer| matches!(answer, Answer::DefaultLogin(_)));
        assert_eq!(taken, expected, "{answer:?}");
    }
}

#[test]
fn what_one_place_refuses_another_may_give() {
    fn elsewhere(line: &str, _: &str) -> String {
        let status = match line.split(' ').nth(1) {
            Some("/") => "401 no",
            Some(path) if path.starts_with("/cgi-bin/") => "403 no",
            _ => "404 no",
        };
        format!("HTTP/1.0 {status}\r\nWWW-Authenticate: Basic realm=\"x\"\r\n\r\n")
    }
    fn foscam(line: &str, _: &str) -> String {
        if line.starts_with("GET /snapshot.cgi") {
            "HTTP/1.0 200 OK\r\nContent-Type: image/jpeg\r\n\r\nx".into()
        } else {
            elsewhere(line, "")
        }
    }
    fn rtsp(line: &str, _: &str) -> String {
        let front = line
            .strip_prefix("DESCRIBE rtsp://")
            .is_some_and(|rest| rest.split_once('/').unwrap().1.starts_with(' '));
        let status = if front { "403 no" } else { "404 no" };
        format!("RTSP/1.0 {status}\r\nCSeq: 1\r\n\r\n")
    }
    let mut asker = asker();
    asker.http(server(elsewhere), None).unwrap();
    asker.http(server(foscam), None).unwrap();
    let [none, open] = answers(&asker, Service::Snapshot).try_into().unwrap();
    assert!(none.is_err(), "{none:?}");
    assert_eq!(open, Ok(Answer::Open("a picture".into())));
    assert!(asker.rtsp(server(rtsp)).unwrap());
    assert!(answers(&asker, Service::Rtsp)[0].is_err());
}

#[test]
fn prompts_of_shells_are_told() {
    for said in [
        "Username: ",
        "\r\nPassword: ",
        "cam login : ",
        "[root@cam ~]> ",
        "~ $ ",
    ] {
        assert!(gives_shell(said.as_bytes()), "{said}");
    }
    for said in ["220 ready", "<stream>", "{\"ready\":1}"] {
        assert!(!gives_shell(said.as_bytes()), "{said}");
    }
}

#[test]
fn pictures_and_onvif_are_asked_for() {
    fn open(line: &str, _: &str) -> String {
        if line.starts_with("GET /image.jpg") {
            "HTTP/1.0 200 OK\r\nContent-Type: image/jpeg\r\n\r\nx".into()
        } else if line.starts_with("POST /onvif/device_service") {
            "HTTP/1.0 200 OK\r\n\r\n<GetSystemDateAndTimeResponse/><GetUsersResponse/>".into()
        } else {
            "HTTP/1.0 404 no\r\n\r\n".into()
        }
    }
    fn closed(line: &str, _: &str) -> String {
        if line.starts_with("POST") {
            "HTTP/1.0 400 no\r\n\r\n<NotAuthorized/>GetSystemDateAndTimeResponse".into()
        } else {
            "HTTP/1.0 401 no\r\nWWW-Authenticate: Basic realm=\"x\"\r\n\r\n".into()
        }
    }
    for (answer, picture, onvif) in [
        (
            open as fn(&str, &str) -> String,
            Answer::Open("a picture".into()),
            Answer::Open("GetUsers".into()),
        ),
        (closed, Answer::AsksLogin, Answer::AsksLogin),
    ] {
        let mut asker = asker();
        asker.http(server(answer), None).unwrap();
        assert_eq!(answers(&asker, Service::Snapshot), [Ok(picture)]);
        assert_eq!(answers(&asker, Service::Onvif), [Ok(onvif)]);
    }
}

#[test]
fn shells_speak_first_and_silence_ends() {
    let telnet = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = telnet.local_addr().unwrap();
    std::thread::spawn(move || telnet.accept().unwrap().0.write_all(b"\xff\xfd\x01").unwrap());
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut asker = asker();
    asker.greeting(at, GREETING).unwrap();
    asker.greeting(silent.local_addr().unwrap(), GREETING).unwrap();
    assert_eq!(answers(&asker, Service::Telnet).len(), 1);
    assert_eq!(asker.probes.len(), 1);
    // Whoever answers without end is cut.
    let endless = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = endless.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = endless.accept().unwrap();
        while stream.write_all(&[b'x'; 4096]).is_ok() {}
    });
    assert!(asker.ask(at, b"GET / HTTP/1.0\r\n\r\n").unwrap().len() < MAX_ANSWER_BYTES + 4096);
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    asker.port(gone, Way::Any, None, "/x");
    assert!(asker.probes.last().unwrap().value.is_err());
    assert!(gives_shell(b"\r\n(none) login: ") && gives_shell(b"/ # ") && !gives_shell(b"SSH-2.0-x\r\n"));
}

#[test]
fn a_shell_on_a_port_of_another_service_is_one() {
    fn telnet(_: &str, _: &str) -> String {
        "\r\n(none) login: ".into()
    }
    fn shell(line: &str, _: &str) -> String {
        let word = line.split(' ').next().unwrap_or_default();
        format!("sh: {word}: not found\n")
    }
    for answer in [telnet as fn(&str, &str) -> String, shell] {
        let mut asker = asker();
        asker.http(server(answer), None).unwrap();
        asker.rtsp(server(answer)).unwrap();
        assert_eq!(answers(&asker, Service::Telnet).len(), 2);
        assert_eq!(asker.probes.len(), 2);
    }
    assert!(!gives_shell(b"\xff\xd8\xff\xe0"), "a picture");
}

#[test]
fn a_port_is_asked_at_each_address() {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap().port();
    let other = TcpListener::bind(("127.0.0.2", port)).unwrap();
    std::thread::spawn(move || other.accept().unwrap().0.write_all(b"\xff\xfd\x01").unwrap());
    let socket = |address: &str, owner| lenscap_audit::facts::Socket {
        proto: lenscap_audit::facts::Proto::Tcp,
        local: (address.parse().unwrap(), port),
        remote: (address.parse().unwrap(), 0),
        state: lenscap_audit::facts::LISTEN,
        inode: 1,
        owner,
        hidden: false,
    };
    let tree = tempfile::tempdir().unwrap();
    let root = Root::tree(tree.path()).unwrap();
    // The same program has both: it is listened to all the same.
    let sockets = lenscap_audit::facts::Sockets {
        list: vec![
            socket("127.0.0.1", Some(0)),
            socket("127.0.0.2", Some(0)),
            socket("0.0.0.0", Some(0)),
        ],
        ..Default::default()
    };
    let facts = Facts {
        sockets: vec![Fact::seen("tcp", sockets)],
        ..Facts::default()
    };
    let probes = all(&root, Path::new("/nowhere"), &facts);
    // What only the camera reaches is listened to alone; the other says nothing.
    let [silent, probe] = probes.as_slice() else {
        panic!("{probes:?}")
    };
    assert_eq!(silent.source, format!("tcp://127.0.0.1:{port}"));
    assert!(silent.value.is_err());
    assert_eq!(probe.source, format!("tcp://127.0.0.2:{port}"));
    assert_eq!(probe.value().unwrap().service, Service::Telnet);
}

/// Answers each connection with the same, whatever it is asked, and keeps it; gives what came.
fn mute(says: &'static [u8], answers: &'static [u8]) -> (SocketAddr, std::sync::mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.write_all(says);
            let mut question = [0; 2048];
            let length = stream.read(&mut question).unwrap_or_default();
            let _ = sender.send(question[..length].to_vec());
            let _ = stream.write_all(if length > 0 { answers } else { b"" });
        }
    });
    (at, receiver)
}

#[test]
fn a_service_on_an_unusual_port_is_asked_as_on_its_own() {
    let rtsp = server(|line, _| {
        let status = if line.starts_with("GET") {
            "400 no"
        } else {
            "200 OK"
        };
        format!("RTSP/1.0 {status}\r\nCSeq: 1\r\nContent-Length: 0\r\n\r\n")
    });
    let web = server(|line, _| {
        let (status, body) = match line {
            "GET /snap.jpg HTTP/1.0" => ("200 OK", "Content-Type: image/jpeg\r\n\r\nx"),
            _ => ("404 no", "\r\n"),
        };
        format!("HTTP/1.0 {status}\r\n{body}")
    });
    // Whoever takes the first question for nothing may take the second.
    let deaf = server(|line, _| match line.starts_with("GET") {
        true => "HTTP/1.0 401 no\r\n\r\n".into(),
        false => String::new(),
    });
    let mut asker = asker();
    assert_eq!(asker.way(40_000, false), (2, Way::Any));
    for at in [rtsp, web, deaf] {
        asker.port(at, Way::Any, None, "/x");
    }
    assert_eq!(
        answers(&asker, Service::Rtsp),
        [Ok(Answer::Open("DESCRIBE".into()))]
    );
    let pictures = [Ok(Answer::Open("a picture".into())), Ok(Answer::AsksLogin)];
    assert_eq!(answers(&asker, Service::Snapshot), pictures);
    assert!(
        asker.probes.iter().all(|probe| probe.value.is_ok()),
        "{:?}",
        asker.probes
    );
    // One of the other kind is found where a port promises something else.
    for (at, way, service) in [(web, Way::Rtsp, Service::Web), (rtsp, Way::Http, Service::Rtsp)] {
        let mut asker = self::asker();
        asker.port(at, way, None, "/x");
        assert_eq!(answers(&asker, service).len(), 1, "{:?}", asker.probes);
        assert!(
            asker.probes.iter().all(|probe| probe.value.is_ok()),
            "{:?}",
            asker.probes
        );
    }
}

#[test]
fn what_is_not_understood_is_told_with_its_program() {
    for (says, answer, expected) in [
        (
            &b""[..],
            &b""[..],
            "it says nothing to RTSP or HTTP; program /usr/bin/x",
        ),
        (
            b"",
            b"\x00\x01",
            "what it says is not understood; program /usr/bin/x",
        ),
        (
            b"220 mail",
            b"",
            "what it says is not understood; program /usr/bin/x",
        ),
    ] {
        let mut asker = asker();
        let (at, questions) = mute(says, answer);
        asker.port(at, Way::Any, None, "/usr/bin/x");
        let [probe] = asker.probes.as_slice() else {
            panic!("{:?}", asker.probes)
        };
        assert_eq!(probe.source, format!("tcp://{at}"));
        assert_eq!(probe.value.as_ref().unwrap_err().why, expected);
        // Whoever speaks first is asked nothing.
        let asked = questions
            .try_iter()
            .filter(|question| !question.is_empty())
            .count();
        assert_eq!(asked, if says.is_empty() { 2 } else { 0 });
    }
    let mut asker = asker();
    asker.port(mute(b"", &[0x15, 3, 1, 0, 2, 2, 40]).0, Way::Any, None, "/x");
    asker.port(mute(b"SSH-2.0-dropbear\r\n", b"").0, Way::Any, None, "/x");
    let services = asker.probes.iter().map(|probe| probe.value().unwrap());
    assert!(services.clone().all(|probe| probe.service != Service::Telnet));
    let why = |probe: &Probe| {
        probe
            .answer
            .as_ref()
            .is_err_and(|why| why.why.ends_with("; program /x"))
    };
    assert!(services.clone().all(why), "{:?}", asker.probes);
    assert_eq!(services.count(), 4);
}

#[test]
fn vendors_control_ports_are_listened_to_alone() {
    let mut asker = asker();
    for port in VENDOR_PORTS {
        assert_eq!(asker.way(*port, false), (1, Way::Listen));
    }
    assert_eq!(asker.way(40_000, true), (3, Way::Listen));
    let (at, questions) = mute(b"", b"HTTP/1.0 200 OK\r\n\r\n");
    asker.port(at, Way::Listen, None, "/x");
    assert!(questions.recv().unwrap().is_empty());
    assert!(asker.probes.is_empty(), "{:?}", asker.probes);
}

#[test]
fn one_programs_logins_are_tried_at_one_port() {
    let web = || server(|_, _| "HTTP/1.0 200 OK\r\nServer: uc-httpd 1.0\r\n\r\n<html>login</html>".into());
    let mut asker = asker();
    for owner in [Some(1), Some(1), Some(2)] {
        asker.port(web(), Way::Any, owner, "/x");
    }
    let found: Vec<bool> = answers(&asker, Service::Web).iter().map(Result::is_ok).collect();
    assert_eq!(found, [true, false, true]);
}

proptest::proptest! {
    #[test]
    fn no_answer_makes_it_panic(answer in proptest::collection::vec(0..=255u8, 0..300), head in "(HTTP/1.0 401 |WWW-Authenticate: |Digest |Basic |Content-Length: |[a-z\"=,: 0-9]|\r\n){0,20}") {
        for answer in [answer.as_slice(), head.as_bytes()] {
            let _ = Reply::parse(answer).map(|reply| reply.is("content-type", "x"));
            let _ = http::is_whole(answer);
            let _ = http::authorization(answer, "/", "admin", "admin");
            let _ = gives_shell(answer);
        }
        let _ = Logins::parse(head.lines()).fitting(&answer).len();
    }
}
