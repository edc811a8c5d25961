use super::*;

fn words(text: &str) -> Vec<String> {
    commands(text.as_bytes())
        .iter()
        .map(|command| {
            let mark = if command.background { " &" } else { "" };
            format!("{}:{}{mark}", command.line, command.words.join(" "))
        })
        .collect()
}

#[test]
fn commands_are_found_where_they_start() {
    for (text, expected) in [
        ("telnetd &\n", vec!["1:telnetd &"]),
        (
            "[ -x /a ] && telnetd -l /bin/sh # telnetd",
            vec!["1:[ -x /a ]", "1:telnetd -l /bin/sh"],
        ),
        (
            "while true; do\n\tpidof x || x -F >/dev/null 2>&1\ndone",
            vec!["1:true", "2:pidof x", "2:x -F", "3:done"],
        ),
        (
            "A=b C='d e' run $C; A=\"/bin/x -y\"\n$A \"${A}\" &",
            vec!["1:run $C", "2:/bin/x -y /bin/x -y &"],
        ),
        (
            "case $1 in\n telnetd) echo a;;\n *) (sleep 1; b) & esac",
            vec!["1:case $1 in", "2:echo a", "3:sleep 1 &", "3:b &", "3:esac"],
        ),
        ("telnetd() {\n x \\\n  y\n}\n", vec!["2:x y", "4:}"]),
        ("cat <<EOF >f\ntelnetd\nEOF\nx", vec!["1:cat", "4:x"]),
        ("a=$(pidof telnetd) b", vec!["1:b"]),
        (
            "echo 'it''s' \"a;b\" a\\;b `x y`",
            vec!["1:echo its a;b a;b `x y`"],
        ),
        (
            "x; a | b && c ||\n d & e",
            vec!["1:x", "1:a &", "1:b &", "1:c &", "2:d &", "2:e"],
        ),
        (
            "x\n(a; b\nc) & { d; e; } & f",
            vec!["1:x", "2:a &", "2:b &", "3:c &", "3:d &", "3:e &", "3:} &", "3:f"],
        ),
        (
            "(while a; do b; done) & for i in 1; do c & done",
            vec!["1:a", "1:b", "1:done &", "1:for i in 1", "1:c &", "1:done"],
        ),
        ("x &>/dev/null &", vec!["1:x &"]),
    ] {
        assert_eq!(words(text), expected, "{text}");
    }
    let text = b"  if FOO=1 telnetd; then";
    assert_eq!(commands(text)[0].start, 5);
}

fn meant(text: &str) -> Vec<String> {
    let script = scan(text.as_bytes());
    let inner = script.inner.iter().map(|command| ("<", command));
    let own = script.commands.iter().map(|command| ("", command));
    own.chain(inner)
        .map(|(mark, command)| {
            let pipe = if command.piped { " |" } else { "" };
            let (plain, meant) = (command.plain.join(" "), command.meant.join(" "));
            let other = if plain == meant {
                String::new()
            } else {
                format!(" = {plain}")
            };
            format!("{mark}{}:{meant}{other}{pipe}", command.line)
        })
        .collect()
}

#[test]
fn what_words_may_mean_is_told() {
    for (text, expected) in [
        ("T=tel; ${T}netd -x $T", vec!["1:telnetd -x tel"]),
        ("A=1; A=2; A=2\nx $A$A", vec!["2:x 22 21 12 11 = x $A$A"]),
        (
            "export D=/usr/sbin T='a b'; $D/x $T",
            vec!["1:export D=/usr/sbin T=a b", "1:/usr/sbin/x a b"],
        ),
        (
            "for i in a b; do $i; done",
            vec!["1:for i in a b", "1:b a = $i", "1:done"],
        ),
        (
            "${X:-telnetd} ${Y} $Z",
            vec!["1:telnetd ${Y} $Z = ${X:-telnetd} ${Y} $Z"],
        ),
        ("T=`which x`\n$T a", vec!["2:`which x` a", "<1:which x"]),
        (
            "a \"$(b c; d `e`)\" | f || g",
            vec!["1:a $(b c; d `e`) |", "1:f", "1:g", "<1:b c", "<1:d `e`", "<1:e"],
        ),
        (
            "x=$(a)\ncat <<E\nb &\nc\nE\nd",
            vec!["2:cat", "6:d", "<1:a", "<3:b", "<4:c"],
        ),
        ("cat <<E\nb", vec!["1:cat", "<2:b"]),
        // A function stands above what it uses, through others too.
        ("f() { $T; }\nT=a; f", vec!["1:a", "1:}", "2:f"]),
        (
            "f() { U=$T; $U; }\ng() { T=$S; }\nS=a",
            vec!["1:a $S $T = $U", "1:}", "2:}"],
        ),
        (
            "f() { $T; }\nT=${T}b; T=a",
            vec!["1:a ab ${T}bb ${T}b = $T", "1:}"],
        ),
        // What a variable is at a place is known there, whatever it is elsewhere.
        ("T=a; $T; T=b", vec!["1:a b = a"]),
        ("P=$P:/a; x $P", vec!["1:x $P:/a:/a $P:/a = x $P"]),
        (
            "A=x; B=$A/y; B=\"$B\"; ${B} ${A:-z}",
            vec!["1:x/y x z = x/y ${A:-z}"],
        ),
    ] {
        assert_eq!(meant(text), expected, "{text}");
    }
}

#[test]
fn every_value_counts_and_what_is_too_much_is_told() {
    let many: Vec<String> = (0..100).map(|number| format!("p{number}")).collect();
    let script = scan(format!("for i in {}; do $i; done", many.join(" ")).as_bytes());
    assert!(!script.cut);
    assert!(many.iter().all(|name| script.commands[1].meant.contains(name)));
    let long = "x".repeat(5000);
    let script = scan(format!("A={long}; B=b; run \"$A $B\"").as_bytes());
    assert!(!script.cut && script.commands[0].meant[1].ends_with("x b"));
    for (text, cut) in [
        ("P=$P:/a; P=$P:/b; x $P", false),
        ("a $(b $(c `d`))", false),
        ("a $(b $(c $(d $(e $(f)))))", true),
        ("A=\"$B x\"; B=\"$A y\"", true),
        (
            "A=aaaaaaaa; A=$A$A; A=$A$A; A=$A$A; A=$A$A; A=$A$A; A=$A$A; A=$A$A; A=$A$A; A=$A$A",
            true,
        ),
    ] {
        assert_eq!(scan(text.as_bytes()).cut, cut, "{text}");
    }
    // As large as a script may be. Time is not measured, work is.
    for line in [
        "a=1\n",
        "a=$a$a\n",
        "$a$a$a\n",
        "a=$a; $a\n",
        "x\n",
        "`x`\n",
        "for i in $i 1 2 3 $i\n",
    ] {
        let text = line.repeat(crate::root::MAX_TEXT_BYTES / line.len());
        let script = scan(text.as_bytes());
        assert!(script.cut, "{line}");
        assert!(script.commands.len() + script.inner.len() <= MAX_WORK / STEP);
    }
    let mut text = String::new();
    for number in 0..20_000 {
        text.push_str(&format!("a{number}={number}\n"));
    }
    assert!(scan(text.as_bytes()).cut);
}

proptest::proptest! {
    #[test]
    fn no_script_makes_it_panic(text in proptest::collection::vec(0..=255u8, 0..200), shell in "[a\\n;&|(){}<>'\"`$\\\\# =-]{0,80}") {
        let _ = scan(&text);
        let script = scan(shell.as_bytes());
        for command in script.commands {
            proptest::prop_assert!(command.start < shell.len());
        }
    }
}

/// As a firmware makes its time zone's rules: of three variables that have five values each, in a script of its size.
#[test]
fn a_script_with_many_values_is_followed_to_its_end() {
    let mut text = String::from("#!/bin/sh\n");
    for name in ["A", "B", "C"] {
        for value in 0..5 {
            text.push_str(&format!("{name}={}{value}\n", "rule-of-a-zone-".repeat(6)));
        }
    }
    text.push_str("ALL=\"$A,$B,$C\"\nset_zone \"$ALL\"\n");
    text.push_str(&"log \"nothing of interest\"\n".repeat(400));
    text.push_str("telnetd\n");
    let script = scan(text.as_bytes());
    assert!(!script.cut && script.commands.last().unwrap().words == ["telnetd"]);
}
