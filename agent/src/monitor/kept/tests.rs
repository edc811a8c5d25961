use super::*;
use crate::config;
use crate::files::faults;
use proptest::prelude::*;
use std::cell::Cell;
use std::rc::Rc;

const PIN: &str = "sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

fn uplinks(redirect_to: &str) -> Vec<Uplink> {
    let text = format!(
        "config uplink main\noption endpoint https://gw.example/\nlist redirect_to {redirect_to}\n\
         config uplink second\noption endpoint https://b.example/\n\
         config profile main\noption rtsp rtsp://127.0.0.1/\n"
    );
    config::parse("c", &text).unwrap().config.uplinks
}

fn key(byte: u8) -> String {
    use base64ct::{Base64, Encoding as _};
    let mut key = [byte; 65];
    key[0] = 4;
    Base64::encode_string(&key)
}

fn of(uplink: &str, fact: Fact) -> Store {
    Store {
        uplink: uplink.into(),
        fact,
        reset: 0,
    }
}

fn at(url: &str, pin: &str) -> Fact {
    Fact::Endpoint {
        url: url.into(),
        pin: pin.into(),
    }
}

fn obeys(byte: u8, standing: u8, issued: u64) -> Fact {
    Fact::Operator {
        key: key(byte),
        standing,
        issued,
    }
}

fn back(credential: &str, addresses: &str) -> Fact {
    Fact::Resume {
        credential: credential.into(),
        addresses: addresses.into(),
    }
}

#[test]
fn everything_is_found_again_and_forgotten_with_the_claim() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, uplinks) = (&dir.path().join("state"), uplinks("*.stream.example"));
    let put = |name: &str, fact| store(dir, &uplinks, &of(name, fact)).unwrap();
    let to = "https://a.stream.example/x";
    assert!(put("main", at(to, PIN)));
    assert!(!put("main", at(to, PIN)), "flash is written once");
    assert!(put("second", at("https://b.example/moved", "")));
    assert!(put("main", obeys(7, 1, 5_000_000_000)));
    assert!(put(
        "main",
        back(
            "cred.x",
            &format!("{to} https://b.stream.example/ https://evil.example/")
        )
    ));
    let main = kept(dir, &uplinks[0]);
    assert_eq!(
        main.endpoint.unwrap(),
        (Url::parse(to).unwrap(), Some(PIN.to_owned()))
    );
    let operator = main.operator.unwrap();
    assert_eq!(
        (operator.key_text(), operator.standing, operator.issued),
        (key(7), Standing::Proven, 5_000_000_000)
    );
    let resume = main.resume.unwrap();
    assert_eq!(
        (resume.credential.as_str(), resume.addresses.len()),
        ("cred.x", 2)
    );
    let second = kept(dir, &uplinks[1]);
    assert!(second.endpoint.is_some() && second.operator.is_none());
    // Another configuration forgets addresses, and not whom the camera obeys.
    let other = self::uplinks("*.other.example");
    let after = kept(dir, &other[0]);
    assert!(after.endpoint.is_none() && after.resume.is_none() && after.operator.is_some());
    put("main", obeys(7, 2, 5_000_000_001));
    let after = kept(dir, &uplinks[0]);
    assert!(after.resume.is_none() && after.endpoint.is_some());
    assert_eq!(after.operator.unwrap().standing, Standing::Released);
    assert!(put("main", back("c", to)) && put("main", back("", "")));
    assert_eq!(kept(dir, &uplinks[0]).resume, None);
    // A reset forgets all of it.
    assert_eq!(last_reset(dir), "");
    let mut keeper = Keeper::new(dir);
    reset(dir).unwrap();
    let nothing = Kept {
        was_reset: true,
        ..Kept::default()
    };
    assert_eq!(kept(dir, &uplinks[0]), nothing);
    assert!(keeper.handle_reload(dir) && !keeper.handle_reload(dir));
    // What was said before whoever says it knew of that is not kept.
    for fact in [obeys(7, 1, 5_000_000_000), at(to, PIN), back("cred.x", to)] {
        let late = store(dir, &uplinks, &of("main", fact));
        assert!(matches!(late, Err(StoreError::Reset)), "{late:?}");
    }
    assert_eq!(kept(dir, &uplinks[0]), nothing);
    let anew = Store {
        reset: keeper.reset(),
        ..of("main", obeys(8, 0, 0))
    };
    assert!(store(dir, &uplinks, &anew).unwrap());
    assert!(!keeper.handle_reload(dir));
    let after = kept(dir, &uplinks[0]);
    assert!(after.operator.is_some());
    // The other uplink's operator has not heard of the reset yet.
    assert!(kept(dir, &uplinks[1]).was_reset);
    // A file that is gone is no reset, and neither is another folder.
    std::fs::remove_file(path(dir)).unwrap();
    assert!(!keeper.handle_reload(dir));
    assert_eq!(kept(dir, &uplinks[0]), Kept::default());
}

/// A reset between another process' reading and its writing would otherwise be gone.
#[test]
fn a_reset_and_a_fact_do_not_come_in_between_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, uplinks) = (dir.path(), uplinks("*.stream.example"));
    for round in 0..200 {
        let claim = of("main", obeys(7, 1, round));
        std::thread::scope(|scope| {
            let late = scope.spawn(|| store(dir, &uplinks, &claim));
            reset(dir).unwrap();
            let late = late.join().unwrap();
            let in_time = matches!(&late, Ok(true));
            let busy =
                matches!(&late, Err(StoreError::Io(error)) if error.kind() == io::ErrorKind::ResourceBusy);
            assert!(
                in_time || busy || matches!(late, Err(StoreError::Reset)),
                "{late:?}"
            );
        });
        let after = kept(dir, &uplinks[0]);
        assert!(after.operator.is_none() && after.was_reset, "round {round}");
        std::fs::remove_file(path(dir)).unwrap();
        assert_eq!(std::fs::read_dir(dir).unwrap().count(), 0);
    }
}

#[test]
fn what_the_configuration_does_not_allow_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let uplinks = uplinks("*.stream.example");
    let good = "https://a.stream.example/";
    for (uplink, fact) in [
        ("none", at(good, "")),
        ("main", at("https://evil.example/", "")),
        ("main", at("http://a.stream.example/", "")),
        ("main", at("https://stream.example/", "")),
        ("main", at("https://u:p@a.stream.example/", "")),
        ("second", at(good, "")),
        ("main", at(good, "sha256/x")),
        ("main", at("https://a.stream.example/ x\nsecond 0 y", "")),
        ("main", obeys(1, 3, 0)),
        (
            "main",
            Fact::Operator {
                key: "AAAA".into(),
                standing: 1,
                issued: 0,
            },
        ),
        ("main", back("c", "https://evil.example/")),
        ("main", back("a b", good)),
        ("main", back("a\nmain - operator", good)),
        ("main", back(&"x".repeat(1025), good)),
    ] {
        let stored = store(&dir.path().join("state"), &uplinks, &of(uplink, fact.clone()));
        assert!(matches!(stored, Err(StoreError::Refused)), "{uplink} {fact:?}");
    }
    assert!(!dir.path().join("state").exists());
}

#[test]
fn flash_is_written_a_few_times_a_day() {
    let dir = tempfile::tempdir().unwrap();
    let uplinks = uplinks("*.stream.example");
    let mut keeper = Keeper::new(dir.path());
    let mut changes = 0;
    let mut last = String::new();
    for minute in 0..24 * 60 - 1 {
        let now = Duration::from_secs(minute * 60);
        let url = format!("https://a{minute}.stream.example/");
        keeper.handle_store(now, dir.path(), &uplinks, of("main", at(&url, "")));
        keeper.handle_store(now, dir.path(), &uplinks, of("main", back("c", &url)));
        keeper.handle_store(
            now,
            dir.path(),
            &uplinks,
            of("main", at("https://evil.example/", "")),
        );
        let text = read(dir.path()).unwrap();
        changes += u32::from(text != last);
        last = text;
    }
    assert!(changes <= WRITES_PER_DAY.iter().sum(), "{changes}");
    // An operator has room of its own, and what was too often is written the day after.
    let soon = DAY - Duration::from_secs(30);
    keeper.handle_store(soon, dir.path(), &uplinks, of("main", obeys(1, 0, 0)));
    assert!(kept(dir.path(), &uplinks[0]).operator.is_some());
    assert_eq!(keeper.poll_timeout(), Some(DAY));
    keeper.handle_timeout(DAY, dir.path(), &uplinks);
    let (url, _) = kept(dir.path(), &uplinks[0]).endpoint.unwrap();
    assert_eq!(url.as_str(), "https://a1438.stream.example/");
    assert_eq!(keeper.poll_timeout(), None);
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    /// No later step happens either.
    Power,
    /// From here on nothing can be written.
    Full,
}

/// Old or new at every step, and the next start goes on from there.
#[test]
fn a_power_cut_at_every_write_leaves_the_old_or_the_new() {
    let uplinks = uplinks("*.stream.example");
    let (old, new) = ("https://old.stream.example/", "https://new.stream.example/");
    for fault in [Fault::Power, Fault::Full] {
        let mut steps = 0;
        loop {
            let dir = tempfile::tempdir().unwrap();
            store(dir.path(), &uplinks, &of("main", at(old, ""))).unwrap();
            store(dir.path(), &uplinks, &of("main", obeys(1, 1, 9))).unwrap();
            let hit = Rc::new(Cell::new(false));
            let (seen, count) = (Rc::clone(&hit), Cell::new(0));
            faults::set(Some(Box::new(move || {
                let step = count.replace(count.get() + 1);
                if step < steps {
                    return Ok(());
                }
                seen.set(true);
                Err(match fault {
                    Fault::Power => io::Error::other("the power failed"),
                    Fault::Full => io::Error::from_raw_os_error(nix::libc::ENOSPC),
                })
            })));
            let mut keeper = Keeper::new(dir.path());
            keeper.handle_store(Duration::ZERO, dir.path(), &uplinks, of("main", at(new, "")));
            faults::set(None);
            let found = kept(dir.path(), &uplinks[0]);
            let url = found.endpoint.map(|(url, _)| url.as_str().to_owned());
            let is_new = url.as_deref() == Some(new);
            assert!(
                is_new || url.as_deref() == Some(old),
                "{fault:?} at step {steps}: {url:?}"
            );
            assert!(
                found.operator.is_some_and(|operator| operator.issued == 9),
                "{fault:?} at step {steps}"
            );
            if !hit.get() {
                assert!(
                    is_new && keeper.problem().is_empty() && steps >= 6,
                    "{steps} steps"
                );
                break;
            }
            // It says so, goes on, and does it as soon as there is room.
            assert!(
                keeper.problem().contains("cannot be kept"),
                "{}",
                keeper.problem()
            );
            keeper.handle_timeout(Duration::from_secs(10), dir.path(), &uplinks);
            assert!(!keeper.problem().is_empty(), "not before its time");
            keeper.handle_timeout(RETRY_EVERY, dir.path(), &uplinks);
            assert!(keeper.problem().is_empty() && keeper.poll_timeout().is_none());
            let found = kept(dir.path(), &uplinks[0]).endpoint.unwrap().0;
            assert_eq!(found.as_str(), new, "{fault:?} at step {steps}");
            assert_eq!(
                std::fs::read_dir(dir.path()).unwrap().count(),
                1,
                "nothing is left over"
            );
            steps += 1;
        }
    }
}

/// What comes while something waits to be written does not hide why that waits.
#[test]
fn the_cause_stays_in_sight() {
    let dir = tempfile::tempdir().unwrap();
    let uplinks = uplinks("*.stream.example");
    let mut keeper = Keeper::new(dir.path());
    faults::set(Some(Box::new(|| {
        Err(io::Error::from_raw_os_error(nix::libc::ENOSPC))
    })));
    let facts = [
        at("https://a.stream.example/", ""),
        obeys(1, 1, 9),
        back("c", "https://a.stream.example/"),
    ];
    for (second, fact) in (0..).zip(facts) {
        let now = Duration::from_secs(second);
        keeper.handle_store(now, dir.path(), &uplinks, of("main", fact));
        assert!(
            keeper.problem().contains("No space left on device"),
            "{}",
            keeper.problem()
        );
    }
    faults::set(None);
    keeper.handle_timeout(RETRY_EVERY * 2, dir.path(), &uplinks);
    assert_eq!(keeper.problem(), "");
    assert!(kept(dir.path(), &uplinks[0]).operator.is_some());
}

#[test]
fn old_lines_make_room() {
    let uplinks = uplinks("*.stream.example");
    let mut text = "reset 0000000000000001\n".to_owned();
    for number in 0..70 {
        text += &format!("gone{number} - operator {} 0 0\n", key(1));
    }
    let text: String = text
        .lines()
        .take(MAX_LINES)
        .map(|line| format!("{line}\n"))
        .collect();
    let new = at("https://a.stream.example/", "");
    let after = with(&text, &uplinks[0], &new).unwrap();
    assert_eq!(after.lines().count(), MAX_LINES);
    assert!(after.starts_with("reset ") && !after.contains("gone0 ") && after.contains("gone1 "));
}

proptest! {
    #[test]
    fn any_file_gives_allowed_addresses_alone(
        text in "(main|second|reset| |-|endpoint|operator|resume|[0-9a-f]{16}|https://a.stream.example/|https://evil.example/|sha256/|\n|\\PC){0,30}"
    ) {
        let uplinks = uplinks("*.stream.example");
        let text = text.replace("0123456789abcdef", &tag(&uplinks[0]));
        for uplink in &uplinks {
            let kept = parse(&text, uplink);
            let addresses = kept.resume.into_iter().flat_map(|resume| resume.addresses);
            for url in kept.endpoint.into_iter().map(|(url, _)| url).chain(addresses) {
                prop_assert!(allows(uplink, &url));
            }
            let after = with(&text, uplink, &obeys(1, 1, 7)).unwrap();
            prop_assert_eq!(parse(&after, uplink).operator.map(|operator| operator.issued), Some(7));
        }
    }
}
