use super::*;
use crate::report::{Format, Style, write};

const FORMATS: [Format; 5] = [
    Format::Text,
    Format::Json,
    Format::Html,
    Format::Xccdf,
    Format::CycloneDx,
];

/// A camera that calls everything by one name.
fn called(name: &str) -> Facts {
    let mut facts = good();
    facts.about.root = name.into();
    facts.about.firmwares = vec![name.into()];
    facts.kernel = Fact::seen("v", name.into());
    facts.busybox = Fact::seen("b", Some(name.into()));
    for process in &mut facts.processes.value.as_mut().unwrap().list {
        process.name = name.into();
        process.words = name.into();
        process.program = Ok(name.into());
        process.image = Image::Deleted;
    }
    facts.accounts = Fact::seen(name.to_owned(), vec![account(name, 0, Strength::Empty)]);
    facts.starts = Fact::seen("s", vec![start(name, name, true)]);
    facts.files = Fact::seen("f", vec![file(name, 0o666, true)]);
    facts.droppings = Fact::seen("d", vec![name.into()]);
    facts.modules = Fact::seen("m", vec![module(name, ModuleFile::Loose(name.into()))]);
    facts.preload = Fact::seen("p", Some(name.into()));
    facts.partial = vec![finding(Topic::Telnet, true)];
    facts.logs = vec![Fact::seen(
        name.to_owned(),
        Log {
            crashes: 1,
            last: name.into(),
            ..Log::default()
        },
    )];
    let version = name.into();
    let licence = name.into();
    let name = name.into();
    facts.packages = Fact::seen(
        "apk",
        vec![Package {
            name,
            version,
            licence,
        }],
    );
    facts
}

#[test]
fn names_move_no_cursor_and_break_no_markup() {
    for name in [
        "<script>alert(1)</script>&\"'",
        "\u{1b}[2J\u{1b}]0;x\u{7}\r\n\0",
        "]]>\u{202e}evil\u{2066}",
        "\u{9b}31m \u{fffd}\u{ffff}",
        "%s%n%%",
        "",
    ] {
        let facts = called(name);
        let report = audit(&facts, &[]);
        for format in FORMATS {
            let style = Style {
                colour: false,
                details: true,
            };
            let out = write(&report, format, style);
            let odd = |c: char| c.is_control() && c != '\n';
            assert!(!out.contains(odd), "{format:?} {name:?}");
            assert!(!out.contains(['\u{202e}', '\u{2066}', '\u{ffff}']), "{format:?}");
            if matches!(format, Format::Html | Format::Xccdf) {
                assert!(!out.contains("<script"), "{format:?}");
            }
            if format == Format::Text {
                assert!(!out.contains("\n\n\n"), "{name:?}");
            }
        }
    }
}

#[test]
fn reports_stay_small() {
    for name in ["x", "\"\\", "\u{202e}", "<"] {
        let mut facts = called(&name.repeat(1 << 18));
        for n in 0..4_000u32 {
            let port = (n % 30_000) as u16;
            push(&mut facts, listener("0.0.0.0", port));
            let program = format!("/tmp/{n}{}", name.repeat(300));
            let list = &mut facts.processes.value.as_mut().unwrap().list;
            list.push(process(1000 + n, "dvqbi2h4vtfb3lk", &program));
            let place = format!("{n}{}", name.repeat(300));
            facts
                .starts
                .value
                .as_mut()
                .unwrap()
                .push(start(&place, "x", true));
        }
        let report = audit(&facts, &[]);
        let evidence = report.outcomes.iter().map(|outcome| outcome.evidence.len());
        assert!(evidence.max().unwrap() <= 25);
        assert!(report.inventory.lines.len() <= crate::inventory::MAX_LINES);
        for format in FORMATS {
            let style = Style {
                colour: true,
                details: true,
            };
            let out = write(&report, format, style);
            let limit = if format == Format::Json {
                256 << 10
            } else {
                2 << 20
            };
            assert!(out.len() < limit, "{format:?} {}", out.len());
        }
    }
}

#[test]
fn text_is_for_people() {
    let mut facts = good();
    facts.accounts = Fact::seen("/etc/shadow", vec![account("root", 0, Strength::Empty)]);
    facts.logs.clear();
    let report = audit(&facts, &[]);
    let text = write(&report, Format::Text, Style::default());
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "camera /, OpenIPC, kernel 6.12.41");
    assert_eq!(lines[2], "Passwords and keys");
    assert_eq!(
        lines[3],
        "  fail          critical account.default    /etc/shadow:1: root has no password"
    );
    assert_eq!(
        lines.iter().filter(|line| line.starts_with("  pass ")).count(),
        44
    );
    assert_eq!(*lines.last().unwrap(), "verdict fail: 1 fail, 1 unknown, 44 pass");
    assert!(!text.contains('\u{1b}'));
    let style = Style {
        colour: true,
        details: true,
    };
    let details = write(&report, Format::Text, style);
    assert!(details.contains("\u{1b}[1;31mfail         \u{1b}[0m critical account.default"));
    assert!(details.contains("remedy        Run lenscap harden, or set a password of your own."));
    assert!(details.contains("UK PSTI Regulations 2023, schedule 1, paragraph 1\n"));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(48))]

    #[test]
    fn no_name_makes_it_panic(name in "\\PC*|[\\x00-\\x7f\u{80}-\u{9f}\u{200b}-\u{206f}<>&%\"]{0,400}") {
        let facts = called(&name);
        let report = audit(&facts, &[]);
        for format in FORMATS {
            let out = write(&report, format, Style { colour: false, details: true });
            assert!(!out.contains(|c: char| c.is_control() && c != '\n'));
        }
    }
}
