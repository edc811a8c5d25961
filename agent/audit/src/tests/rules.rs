use super::*;
use crate::inventory::TAKEN;
use crate::rules::RULES;

/// What makes a rule fail, and what makes it unknown though nothing is missing.
pub(super) type Change = fn(&mut Facts);

fn findings(facts: &mut Facts, topic: Topic, certain: bool) {
    facts
        .findings
        .value
        .as_mut()
        .unwrap()
        .push(finding(topic, certain));
}

fn processes(facts: &mut Facts) -> &mut Vec<Process> {
    &mut facts.processes.value.as_mut().unwrap().list
}

fn answer(facts: &mut Facts, service: Service, answer: Result<Answer, Missing>) {
    let probe = facts
        .probes
        .iter_mut()
        .find(|probe| probe.value().unwrap().service == service);
    probe.unwrap().value.as_mut().unwrap().answer = answer;
}

fn open_filters(facts: &mut Facts) {
    for filter in &mut facts.filters {
        filter.value.as_mut().unwrap().inbound = Inbound::NoFilter;
    }
}

/// A socket that no process has.
fn nobodys(state: u8) -> Socket {
    Socket {
        owner: None,
        state,
        ..listener("127.0.0.1", 9)
    }
}

fn no_answer() -> Result<Answer, Missing> {
    Err(Missing::because("no answer in time"))
}

pub(super) const FAIL: &[(&str, Change)] = &[
    ("trace.deleted", |f| processes(f)[0].image = Image::Deleted),
    ("trace.deleted", |f| processes(f)[0].program = Ok("/tmp/x".into())),
    ("trace.deleted", |f| {
        processes(f)[0].place = Place::Memory("/mnt (tmpfs)".into())
    }),
    ("trace.deleted", |f| processes(f)[0].place = Place::Added),
    ("trace.deleted", |f| processes(f)[0].place = Place::Changed),
    ("trace.deleted", |f| {
        // A baseline that nobody accepted makes nothing known.
        f.programs = Fact::seen("p", vec![content("/usr/bin/majestic", "77aa")]);
        keep(f, false);
        processes(f)[0].place = Place::Added;
    }),
    ("trace.deleted", |f| {
        processes(f)[2].script = Some(("/tmp/.x.sh".into(), Place::Unknown(Missing::because("is gone"))));
    }),
    ("trace.deleted", |f| {
        processes(f)[2].script = Some(("/root/.x.sh".into(), Place::Added));
    }),
    ("trace.name", |f| {
        // XorDDoS calls its file as its process.
        processes(f).push(process(9, "xjqwkrtplmnz", "/usr/bin/xjqwkrtplmnz"));
        processes(f)[3].place = Place::Added;
    }),
    ("trace.port", |f| push(f, listener("127.0.0.1", 48_101))),
    ("trace.scan", |f| {
        for n in 0..9 {
            push(
                f,
                socket(
                    Proto::Tcp,
                    ("10.0.0.2", 50_000 + n),
                    ("203.0.113.9", 23),
                    SYN_SENT,
                    0,
                ),
            );
        }
    }),
    ("trace.scan", |f| {
        push(f, socket(Proto::Raw, ("0.0.0.0", 6), ("0.0.0.0", 0), 7, 0))
    }),
    ("trace.name", |f| processes(f)[0].name = "dvqbi2h4vtfb3lk".into()),
    ("trace.name", |f| {
        let over = Mount {
            point: "/proc/100".into(),
            ..mount(true)
        };
        f.mounts = Fact::seen("m", vec![over]);
    }),
    ("trace.file", |f| {
        f.droppings = Fact::seen("/tmp", vec!["/tmp/dvrHelper".into()])
    }),
    ("trace.module", |f| {
        f.modules = Fact::seen("m", vec![module("x", ModuleFile::Hidden)])
    }),
    ("trace.module", |f| {
        f.modules = Fact::seen("m", vec![module("x", ModuleFile::Loose("/tmp/x.ko".into()))])
    }),
    ("trace.module", |f| {
        f.modules = Fact::seen("m", vec![module("x", ModuleFile::Loose("/etc/x.ko".into()))]);
        f.strays = Fact::seen("*.ko", vec!["/etc/x.ko".into()]);
    }),
    ("trace.preload", |f| {
        f.preload = Fact::seen("/etc/ld.so.preload", Some("/tmp/x.so".into()))
    }),
    ("trace.log", |f| f.logs[0].value.as_mut().unwrap().failures = 3),
    ("account.default", |f| {
        f.accounts = Fact::seen("t", vec![account("root", 0, Strength::Empty)]);
    }),
    ("account.default", |f| {
        f.accounts = Fact::seen("t", vec![account("root", 0, Strength::Known("mirai".into()))]);
    }),
    ("account.root", |f| {
        let toor = account("toor", 0, Strength::Own);
        f.accounts.value.as_mut().unwrap().push(toor);
    }),
    ("account.service", |f| findings(f, Topic::Service, true)),
    ("account.boot", |f| findings(f, Topic::Boot, true)),
    ("account.key", |f| {
        f.keys = Fact::seen("/etc", vec![key(Origin::Image)])
    }),
    ("account.key", |f| {
        f.keys = Fact::seen("/etc", vec![key(Origin::Published("list".into()))]);
    }),
    ("account.ssh", |f| f.ssh_passwords = Fact::seen("x", Some(true))),
    ("service.telnet", |f| {
        processes(f).push(process(9, "telnetd", "/bin/busybox"));
        push(
            f,
            socket(Proto::Tcp, ("0.0.0.0", 2626), ("0.0.0.0", 0), LISTEN, 3),
        );
    }),
    ("service.telnet", |f| {
        push(f, listener("0.0.0.0", 9527));
        let answer = Answer::Open("a prompt".into());
        f.probes
            .push(probe("tcp://127.0.0.1:9527", Service::Telnet, answer));
    }),
    ("service.rtsp", |f| {
        answer(f, Service::Rtsp, Ok(Answer::Open("200".into())))
    }),
    ("service.snapshot", |f| {
        answer(f, Service::Snapshot, Ok(Answer::Open("JPEG".into())))
    }),
    ("service.web", |f| {
        answer(f, Service::Web, Ok(Answer::DefaultLogin("list".into())))
    }),
    ("service.onvif", |f| {
        answer(f, Service::Onvif, Ok(Answer::Open("GetUsers".into())))
    }),
    ("service.ftp", |f| push(f, listener("0.0.0.0", 21))),
    ("network.exposed", open_filters),
    ("network.vendor", |f| {
        open_filters(f);
        push(f, socket(Proto::Udp, ("0.0.0.0", 34_569), ("0.0.0.0", 0), 7, 0));
    }),
    ("network.firewall", |f| {
        f.filters[0].value.as_mut().unwrap().inbound = Inbound::NoFilter
    }),
    ("network.firewall6", |f| {
        f.filters[1].value.as_mut().unwrap().inbound = Inbound::Taken
    }),
    ("network.peer", |f| {
        push(
            f,
            socket(
                Proto::Tcp,
                ("10.0.0.2", 40_009),
                ("203.0.113.66", 443),
                ESTABLISHED,
                0,
            ),
        );
    }),
    ("network.owner", |f| push(f, nobodys(LISTEN))),
    ("network.owner", |f| {
        let mut socket = listener("127.0.0.1", 9);
        socket.hidden = true;
        push(f, socket);
    }),
    ("network.raw", |f| {
        push(f, socket(Proto::Raw, ("0.0.0.0", 1), ("0.0.0.0", 0), 7, 0))
    }),
    ("start.telnet", |f| findings(f, Topic::Telnet, true)),
    ("start.card", |f| findings(f, Topic::Card, true)),
    ("start.loader", |f| findings(f, Topic::Loader, true)),
    ("start.console", |f| findings(f, Topic::Console, true)),
    ("start.download", |f| findings(f, Topic::Download, true)),
    ("start.added", |f| {
        f.starts
            .value
            .as_mut()
            .unwrap()
            .push(start("/etc/init.d/S99x", "0", true));
    }),
    ("start.writable", |f| {
        f.files = Fact::seen("m", vec![file("/etc/init.d/rcS", 0o777, false)])
    }),
    ("start.writable", |f| {
        f.files = Fact::seen("m", vec![file("/etc/shadow", 0o644, true)])
    }),
    ("start.drift", |f| {
        f.starts
            .value
            .as_mut()
            .unwrap()
            .push(start("/etc/crontabs/root:1", "* * * * * x", false));
    }),
    ("start.drift", |f| {
        f.modules
            .value
            .as_mut()
            .unwrap()
            .push(module("rootkit", ModuleFile::Found))
    }),
    ("account.drift", |f| {
        let new = account("admin", 1000, Strength::Own);
        f.accounts.value.as_mut().unwrap().push(new);
    }),
    ("account.drift", |f| {
        let root = &mut f.accounts.value.as_mut().unwrap()[0];
        root.login = "another".into();
    }),
    ("account.drift", |f| {
        let keys = f.authorised.value.as_mut().unwrap();
        keys.push(content("/etc/dropbear/authorized_keys", "9"));
    }),
    ("start.drift", |f| {
        f.programs = Fact::seen("p", vec![content("/usr/bin/majestic", "evil")]);
    }),
    ("network.drift", |f| push(f, listener("0.0.0.0", 8080))),
    ("network.peer-drift", |f| {
        push(
            f,
            socket(
                Proto::Tcp,
                ("10.0.0.2", 40_009),
                ("198.51.100.7", 80),
                ESTABLISHED,
                0,
            ),
        );
    }),
    ("system.hardening", |f| f.unconfirmed = Fact::seen("x", true)),
    ("system.sandbox", |f| {
        f.sandbox.value.as_mut().unwrap().as_mut().unwrap().user = false
    }),
    ("system.kernel", |f| f.kernel = Fact::seen("v", "3.10.14".into())),
    ("system.kernel", |f| {
        f.kernel = Fact::seen("v", "5.10.61".into());
        f.about.time = 1_830_000_000;
    }),
    ("system.busybox", |f| {
        f.busybox = Fact::seen("b", Some("1.31.1".into()))
    }),
    ("system.clock", |f| f.clock.value.as_mut().unwrap().now = 0),
    ("system.clock", |f| f.clock.value.as_mut().unwrap().kept = false),
    ("system.memory", |f| f.memory = Fact::seen("m", (60_000, 1_000))),
    ("system.storage", |f| {
        f.storage = Fact::seen("s", (Storage::Volatile, Some(9_999_999)))
    }),
    ("system.storage", |f| {
        f.storage = Fact::seen("s", (Storage::Persistent, Some(1)))
    }),
    ("system.mount", |f| f.mounts = Fact::seen("m", vec![mount(true)])),
];

fn hide(facts: &mut Facts) {
    facts.processes.value.as_mut().unwrap().hidden = Some("hidepid".into());
}

/// A rule lets some in to a port; whom was not worked out.
fn let_in(facts: &mut Facts, (protocol, port): (u8, u16)) {
    let for_all = false;
    let filter = facts.filters[0].value.as_mut().unwrap();
    filter.lets_in.push(Opening {
        protocol,
        port,
        for_all,
    });
}

/// Doubts that no missing fact is behind.
const UNKNOWN: &[(&str, Change)] = &[
    ("trace.deleted", |f| processes(f)[0].image = Image::Replaced),
    ("trace.deleted", |f| processes(f)[0].image = Image::Elsewhere),
    ("trace.deleted", |f| {
        processes(f)[0].program = Err(Missing {
            errno: 13,
            why: "no".into(),
        })
    }),
    ("trace.deleted", |f| processes(f).clear()),
    ("trace.deleted", |f| processes(f)[0].place = Place::Writable),
    ("trace.deleted", |f| {
        processes(f)[0].place = Place::Card("/tmp/sd (/dev/mmcblk0p1, vfat)".into());
        processes(f)[0].program = Ok("/tmp/sd/yi-hack/bin/rRTSPServer".into());
    }),
    ("trace.deleted", |f| {
        processes(f)[2].script = Some(("/root/.x.sh".into(), Place::Unknown(Missing::because("is gone"))));
    }),
    ("trace.name", |f| {
        processes(f).push(process(9, "xjqwkrtplmnz", "/usr/bin/xjqwkrtplmnz"));
        processes(f)[3].place = Place::Writable;
    }),
    ("trace.name", |f| f.processes.value.as_mut().unwrap().left_out = 1),
    ("trace.deleted", |f| hide(f)),
    ("trace.name", |f| hide(f)),
    ("network.owner", |f| hide(f)),
    ("network.drift", |f| hide(f)),
    ("trace.deleted", |f| f.mounts = Fact::default()),
    ("trace.deleted", |f| {
        let over = Mount {
            point: "/proc/7".into(),
            ..mount(false)
        };
        f.mounts = Fact::seen("m", vec![over]);
    }),
    ("trace.log", |f| f.logs[0].value.as_mut().unwrap().lines = 0),
    ("network.exposed", |f| {
        let_in(f, (6, 8080));
        push(f, listener("0.0.0.0", 8080));
    }),
    ("network.vendor", |f| {
        let_in(f, (0, 34_567));
        push(f, listener("0.0.0.0", 34_567));
    }),
    ("trace.port", |f| {
        f.sockets[2].value.as_mut().unwrap().left_out = 1
    }),
    ("trace.module", |f| {
        f.modules = Fact::seen("m", vec![module("x", ModuleFile::Nowhere)])
    }),
    ("trace.module", |f| {
        f.strays = Fact::seen("*.ko", vec!["/etc/x.ko".into()])
    }),
    ("account.default", |f| f.accounts = Fact::seen("t", vec![])),
    ("account.default", |f| f.findings = Fact::default()),
    ("account.default", |f| {
        let odd = Strength::Unknown("yescrypt".into());
        f.accounts = Fact::seen("t", vec![account("root", 0, odd)]);
    }),
    ("account.key", |f| {
        f.keys = Fact::seen("/etc", vec![key(Origin::Unknown(Missing::because("no")))]);
    }),
    ("account.root", |f| {
        f.accounts = Fact::seen("t", vec![account("x", 7, Strength::Own)])
    }),
    ("start.telnet", |f| findings(f, Topic::Telnet, false)),
    ("start.added", |f| f.layers = Fact::default()),
    ("start.added", |f| {
        let mut start = start("/etc/init.d/rcS", "0", false);
        start.changed = true;
        f.starts.value.as_mut().unwrap().push(start);
    }),
    ("start.added", |f| {
        f.layers = Fact::default();
        keep(f, true);
    }),
    ("service.telnet", |f| push(f, listener("0.0.0.0", 9530))),
    ("service.telnet", |f| f.probes.push(Fact::default())),
    ("service.rtsp", |f| answer(f, Service::Rtsp, no_answer())),
    ("service.rtsp", |f| {
        f.probes.clear();
        f.sockets.clear();
    }),
    ("network.exposed", |f| f.filters[0] = Fact::default()),
    ("network.exposed", |f| {
        f.filters[0].value.as_mut().unwrap().inbound = Inbound::Rules;
    }),
    ("network.firewall", |f| {
        f.filters[0].value.as_mut().unwrap().inbound = Inbound::Rules
    }),
    ("network.peer", |f| {
        push(
            f,
            socket(Proto::Tcp, ("10.0.0.2", 4), ("203.0.113.66", 443), ESTABLISHED, 0),
        );
        f.allowed = Fact::default();
    }),
    ("network.owner", |f| push(f, nobodys(ESTABLISHED))),
    ("network.owner", |f| processes(f)[0].open = false),
    ("network.owner", |f| {
        push(f, nobodys(LISTEN));
        processes(f)[0].open = false;
    }),
    ("network.owner", |f| {
        push(f, nobodys(LISTEN));
        let share = Mount {
            kind: "nfs".into(),
            ..mount(false)
        };
        f.mounts = Fact::seen("m", vec![share]);
    }),
    ("trace.name", |f| f.mounts = Fact::default()),
    ("trace.scan", |f| f.sockets[Proto::Raw as usize] = Fact::default()),
    ("trace.file", |f| f.droppings = Fact::default()),
    ("trace.file", |f| f.rights = Fact::default()),
    ("trace.preload", |f| f.preload = Fact::default()),
    ("trace.log", |f| f.logs.push(Fact::default())),
    ("account.service", |f| findings(f, Topic::Service, false)),
    ("account.boot", |f| findings(f, Topic::Boot, false)),
    ("account.ssh", |f| f.ssh_passwords = Fact::default()),
    ("account.drift", |f| f.accounts = Fact::default()),
    ("service.snapshot", |f| answer(f, Service::Snapshot, no_answer())),
    ("service.web", |f| answer(f, Service::Web, no_answer())),
    ("service.onvif", |f| answer(f, Service::Onvif, no_answer())),
    ("service.ftp", |f| f.sockets[0] = Fact::default()),
    ("network.vendor", |f| {
        f.filters[0] = Fact::default();
        push(f, listener("0.0.0.0", 34_567));
    }),
    ("network.firewall6", |f| f.filters[1] = Fact::default()),
    ("network.raw", |f| {
        let raw = Socket {
            proto: Proto::Raw,
            ..nobodys(7)
        };
        push(f, raw);
    }),
    ("network.peer", |f| {
        f.allowed.value.as_mut().unwrap().odd.push("nvr.local".into());
    }),
    ("network.peer-drift", |f| f.baseline = Fact::default()),
    ("start.card", |f| findings(f, Topic::Card, false)),
    ("start.loader", |f| findings(f, Topic::Loader, false)),
    ("start.console", |f| findings(f, Topic::Console, false)),
    ("start.download", |f| findings(f, Topic::Download, false)),
    ("start.writable", |f| f.files = Fact::seen("modes", vec![])),
    ("start.drift", |f| f.modules = Fact::default()),
    ("system.hardening", |f| f.unconfirmed = Fact::default()),
    ("system.sandbox", |f| f.sandbox = Fact::default()),
    ("system.clock", |f| f.clock = Fact::default()),
    ("system.memory", |f| f.memory = Fact::default()),
    ("system.mount", |f| f.mounts = Fact::default()),
    ("network.drift", |f| processes(f)[0].open = false),
    ("system.kernel", |f| f.kernel = Fact::seen("v", "7.3.0".into())),
    ("system.kernel", |f| f.kernel = Fact::seen("v", "odd".into())),
    ("system.busybox", |f| {
        f.busybox = Fact::seen("b", Some(String::new()))
    }),
    ("system.storage", |f| {
        f.storage = Fact::seen("s", (Storage::Persistent, None))
    }),
];

#[test]
fn a_good_camera_passes_every_rule() {
    let facts = good();
    let report = audit(&facts, &[]);
    for outcome in &report.outcomes {
        assert_eq!(
            outcome.verdict,
            Verdict::Pass,
            "{}: {:?}",
            outcome.rule.id,
            outcome.evidence
        );
    }
    assert_eq!(report.verdict(), Verdict::Pass);
    assert_eq!(report.worst(), None);
    assert!(report.is_clean() && report.blind.is_empty());
}

#[test]
fn what_was_not_looked_at_is_unknown_and_never_well() {
    let facts = Facts {
        about: About {
            live: true,
            ..About::default()
        },
        ..Facts::default()
    };
    let report = audit(&facts, &[]);
    for outcome in &report.outcomes {
        assert_eq!(outcome.verdict, Verdict::Unknown, "{}", outcome.rule.id);
    }
    assert_eq!(report.verdict(), Verdict::Unknown);
    assert!(!report.is_clean());
    // A tree that nobody looked at: the rest is not checked, and nothing passes.
    let report_of_tree = Facts::default();
    let report = audit(&report_of_tree, &[]);
    assert_eq!(report.verdict(), Verdict::Unknown);
    assert!(report.outcomes.iter().all(|outcome| {
        outcome.verdict
            == if outcome.rule.live {
                Verdict::NotChecked
            } else {
                Verdict::Unknown
            }
    }));
}

#[test]
fn every_rule_fails_where_it_should() {
    for (id, change) in FAIL {
        let mut facts = good();
        change(&mut facts);
        let report = audit(&facts, &[]);
        assert_eq!(verdict(&report, id), Verdict::Fail, "{id}");
        assert_eq!(report.verdict(), Verdict::Fail);
        assert!(report.worst().is_some());
    }
}

/// That each passes, `a_good_camera_passes_every_rule` says.
#[test]
fn every_rule_has_a_case_that_fails_and_one_that_is_unknown() {
    for (cases, kind) in [(FAIL, "fails"), (UNKNOWN, "is unknown")] {
        for rule in RULES {
            let has = cases.iter().any(|(id, _)| *id == rule.id);
            assert!(has, "{} has no case that {kind}", rule.id);
        }
    }
}

#[test]
fn doubts_are_unknown() {
    for (id, change) in UNKNOWN {
        let mut facts = good();
        change(&mut facts);
        let report = audit(&facts, &[]);
        assert_eq!(verdict(&report, id), Verdict::Unknown, "{id}");
        assert_ne!(report.verdict(), Verdict::Pass, "{id}");
    }
}

/// What each source is needed for: without it, exactly these rules stop passing.
#[test]
fn each_missing_fact_is_missed() {
    let cases: &[(&str, Change, &[&str])] = &[
        (
            "tcp",
            |f| f.sockets[0] = Fact::default(),
            &[
                "trace.port",
                "trace.scan",
                "service.telnet",
                "service.ftp",
                "network.exposed",
                "network.vendor",
                "network.peer",
                "network.owner",
                "network.drift",
                "network.peer-drift",
            ],
        ),
        (
            "raw",
            |f| f.sockets[Proto::Raw as usize] = Fact::default(),
            &[
                "trace.scan",
                "network.owner",
                "network.raw",
                "network.drift",
                "network.peer-drift",
            ],
        ),
        (
            "processes",
            |f| f.processes = Fact::default(),
            &[
                "trace.deleted",
                "trace.name",
                "network.peer",
                "network.owner",
                "network.raw",
                "network.drift",
                "network.peer-drift",
            ],
        ),
        (
            "files",
            |f| f.findings = Fact::default(),
            &[
                "account.default",
                "account.root",
                "account.service",
                "account.boot",
                "start.telnet",
                "start.card",
                "start.loader",
                "start.console",
                "start.download",
                "account.drift",
            ],
        ),
        (
            "filter",
            |f| f.filters[0] = Fact::default(),
            &["network.exposed", "network.firewall"],
        ),
        ("preload", |f| f.preload = Fact::default(), &["trace.preload"]),
        (
            "authorised",
            |f| f.authorised = Fact::default(),
            &["account.ssh", "account.drift"],
        ),
        ("programs", |f| f.programs = Fact::default(), &["start.drift"]),
        ("strays", |f| f.strays = Fact::default(), &["trace.module"]),
        ("logs", |f| f.logs = vec![Fact::default()], &["trace.log"]),
        ("no logs", |f| f.logs.clear(), &["trace.log"]),
        ("modes", |f| f.files = Fact::default(), &["start.writable"]),
        (
            "keys",
            |f| f.keys = Fact::default(),
            &["account.key", "start.writable"],
        ),
        (
            "starts",
            |f| f.starts = Fact::default(),
            &["start.added", "start.writable", "start.drift"],
        ),
        ("sandbox", |f| f.sandbox = Fact::default(), &["system.sandbox"]),
    ];
    for (what, change, expected) in cases {
        let mut facts = good();
        change(&mut facts);
        let report = audit(&facts, &[]);
        let missed: Vec<&str> = report
            .outcomes
            .iter()
            .filter(|outcome| outcome.verdict != Verdict::Pass)
            .map(|outcome| outcome.rule.id)
            .collect();
        assert_eq!(&missed, expected, "{what}");
        assert!(!report.blind.is_empty() || *what == "no logs", "{what}");
    }
}

#[test]
fn lines_that_make_no_sense_are_errors() {
    let mut facts = good();
    facts.sockets[0].value.as_mut().unwrap().odd = 2;
    let report = audit(&facts, &["network"]);
    assert_eq!(verdict(&report, "network.exposed"), Verdict::Error);
    assert_eq!(verdict(&report, "trace.port"), Verdict::NotChecked);
    assert_eq!(report.verdict(), Verdict::Unknown);
}

/// What the owner accepted as it is, what packages brought, and Lenscap itself are no traces, wherever they lie.
#[test]
fn programs_that_are_known_pass() {
    let mut facts = good();
    keep(&mut facts, true);
    processes(&mut facts)[1].place = Place::Own;
    processes(&mut facts)[2].place = Place::Packaged;
    for place in [Place::Added, Place::Changed, Place::Writable] {
        processes(&mut facts)[0].place = place;
        let report = audit(&facts, &[]);
        assert_eq!(verdict(&report, "trace.deleted"), Verdict::Pass);
        let mut outcomes = report.outcomes.iter();
        let told = &outcomes
            .find(|outcome| outcome.rule.id == "trace.deleted")
            .unwrap()
            .evidence[0]
            .text;
        assert!(
            told.contains("Lenscap's own: 1") && told.contains("accepted by the owner: 1"),
            "{told}"
        );
    }
    // Another content is another program.
    facts.programs = Fact::seen("p", vec![content("/usr/bin/majestic", "evil")]);
    assert_eq!(verdict(&audit(&facts, &[]), "trace.deleted"), Verdict::Unknown);
}

#[test]
fn a_watchdog_alone_is_no_trace() {
    let mut facts = good();
    processes(&mut facts)[0].watchdog = true;
    let report = audit(&facts, &["trace"]);
    assert_eq!(report.verdict(), Verdict::Pass);
    assert_eq!(report.count(Verdict::NotChecked), RULES.len() - 8);
}

#[test]
fn filtered_and_absent_services_are_no_fails() {
    let mut facts = good();
    facts.probes.clear();
    let report = audit(&facts, &[]);
    for id in ["service.rtsp", "service.snapshot", "service.web", "service.onvif"] {
        assert_eq!(verdict(&report, id), Verdict::NotApplicable, "{id}");
    }
    // `::` takes IPv4 too: both filters count.
    let mut facts = good();
    push(
        &mut facts,
        socket(Proto::Tcp6, ("::", 8000), ("::", 0), LISTEN, 0),
    );
    assert_eq!(verdict(&audit(&facts, &[]), "network.vendor"), Verdict::Pass);
    facts.filters[0].value.as_mut().unwrap().inbound = Inbound::NoFilter;
    assert_eq!(verdict(&audit(&facts, &[]), "network.vendor"), Verdict::Fail);
    facts.sockets[1].value.as_mut().unwrap().list[0].local.0 = ip("::1");
    assert_eq!(verdict(&audit(&facts, &[]), "network.vendor"), Verdict::Pass);
}

#[test]
fn a_scan_leaves_room_for_the_stranger_that_answered() {
    let mut facts = good();
    let mut open = |remote, port, state| {
        push(
            &mut facts,
            socket(Proto::Tcp, ("10.0.0.2", port), remote, state, 0),
        );
    };
    for port in 50_000..50_100 {
        open(("203.0.113.9", 23), port, SYN_SENT);
    }
    open(("203.0.113.66", 4444), 40_009, ESTABLISHED);
    let report = audit(&facts, &[]);
    let mut outcomes = report.outcomes.iter();
    let peers = outcomes
        .find(|outcome| outcome.rule.id == "network.peer")
        .unwrap();
    assert!(peers.evidence[0].text.contains("203.0.113.66"), "{peers:?}");
}

#[test]
fn the_disk_that_firmware_is_on_is_no_memory_card() {
    let mounted = |device: &str, point: &str, kind: &str| Mount {
        point: point.into(),
        device: device.into(),
        kind: kind.into(),
        exec: true,
    };
    let rom = mounted("/dev/mmcblk0p1", "/rom", "squashfs");
    let root = mounted("overlay", "/", "overlay");
    for (device, expected) in [
        ("/dev/mmcblk0p2", Verdict::Pass),
        ("/dev/mmcblk1p2", Verdict::Fail),
        ("/dev/mmcblk1", Verdict::Fail),
        ("/dev/sda1", Verdict::Fail),
    ] {
        let mut facts = good();
        let layer = mounted(device, "/overlay", "ext4");
        facts.mounts = Fact::seen("m", vec![rom.clone(), layer, root.clone()]);
        assert_eq!(verdict(&audit(&facts, &[]), "system.mount"), expected, "{device}");
    }
}

#[test]
fn the_inventory_is_taken_once() {
    let facts = good();
    let before = TAKEN.get();
    let report = audit(&facts, &[]);
    assert!(report.is_clean());
    assert_eq!(TAKEN.get() - before, 1);
    assert!(!report.inventory.lines.is_empty());
}

#[test]
fn a_tree_tells_what_files_tell() {
    let mut facts = good();
    facts.about.live = false;
    let report = audit(&facts, &[]);
    let passed = report
        .outcomes
        .iter()
        .filter(|outcome| outcome.verdict == Verdict::Pass);
    let passed: Vec<&str> = passed.map(|outcome| outcome.rule.id).collect();
    let expected = [
        "trace.preload",
        "account.default",
        "account.root",
        "account.service",
        "account.boot",
        "account.key",
        "account.ssh",
        "start.telnet",
        "start.card",
        "start.loader",
        "start.console",
        "start.download",
        "start.writable",
        "start.drift",
        "account.drift",
        "system.kernel",
        "system.busybox",
    ];
    assert_eq!(passed, expected);
}
