//! Scripts that wait until a server runs, or restart the camera as long as none does. Once nothing starts it any more they
//! would hang the boot, or go round in it: such a server is left open, and that is told.

use std::io;

use super::{Effect, Target, effect};
use crate::edits::Edits;
use crate::report::{Measure, Status};
use crate::root::name_of;
use crate::shell::{self, BRACE, Command, DO, ELSE, IF, NOT, OR, UNTIL, WHILE};
use crate::survey::{Survey, contains};

/// What ends the camera.
const ENDS_ALL: &[&str] = &["reboot", "halt", "poweroff", "shutdown"];
/// What ends a loop.
const ENDS_LOOP: &[&str] = &["break", "return", "exit"];
/// Programs that ask for something.
const ASK: &[&str] = &[
    "[", "[[", "test", "pidof", "pgrep", "ps", "grep", "egrep", "fgrep", "fuser", "killall", "kill", "ls",
];
/// Those that ask for a port by its number.
const ASK_PORT: &[&str] = &["grep", "egrep", "nc", "awk", "netstat", "ss", "fuser"];

/// A loop, as far as it matters who waits in it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Loop {
    /// It ends by itself.
    Counts,
    /// It has no end but by what it does.
    Endless,
    /// It ends when its condition, or what it does, says so.
    Waits,
}

/// How far it matters what a question for the server was answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    /// No question was asked.
    Nothing,
    /// Up to the end of a line.
    Line(u32),
    /// Up to the end of so many `if`.
    Fi(u32),
    /// Up to the brace that ends a group.
    Brace,
}

/// What is known of the server where a command runs: whether it does. `None`: either.
type Runs = Option<bool>;

/// Whether some script does, and tells which.
pub(super) fn is_awaited(target: &Target, survey: &Survey, edits: &mut Edits<'_>) -> io::Result<bool> {
    let mut awaited = false;
    for path in &survey.scripts {
        let text = edits.read(path)?.unwrap_or_default();
        let has = |words: &[&str]| words.iter().any(|word| contains(&text, word.as_bytes()));
        let waits = has(&["while", "until"]) || has(ENDS_ALL);
        let names = has(target.servers) || target.is_shell() && has(&["telnet", ":23", "23/", "0017", "nc"]);
        let line = || wait(target, &text).or_else(|| by_case(&text));
        if let Some(line) = (waits && names).then(line).flatten() {
            let what = format!(
                "waits for {}, or restarts the camera without it: nothing that starts it is changed",
                target.what
            );
            edits.find(Measure::Telnet, Status::Unknown, Some((path, line)), what);
            awaited = true;
        }
    }
    Ok(awaited)
}

/// The line of a `case` about what runs: its patterns are not followed.
fn by_case(text: &[u8]) -> Option<u32> {
    let text = String::from_utf8_lossy(text).replace('"', "");
    let asks = |about: &str| {
        let inside = about.trim_start_matches(['$', '(', '`']);
        let program = inside.split([' ', ')', '`']).next().unwrap_or_default();
        inside.len() < about.len() && (ASK.contains(&program) || ASK_PORT.contains(&program))
    };
    let line = |line: &str| line.split("case ").skip(1).any(asks);
    text.lines()
        .zip(1..)
        .find(|(text, _)| line(text))
        .map(|(_, at)| at)
}

/// The line of a script in which it does.
fn wait(target: &Target, text: &[u8]) -> Option<u32> {
    let shell::Script { commands, .. } = shell::scan(text);
    let started = |command: &Command| effect(target, &command.plain, command.background);
    let waits = false;
    let starts = |command: &Command| started(command) == Effect::Starts { waits };
    // The number of its process may be in `$!`.
    let numbered = commands
        .iter()
        .any(|command| command.background && starts(command));
    let asks = |command: &Command| asks(target, command, numbered);
    let functions = asking(&asks, &commands);
    let asks = |command: &Command| asks(command) || functions.iter().any(|name| *name == program(command));
    let mut loops = Vec::new();
    let (mut in_condition, mut turned, mut piped) = (false, false, 0);
    let (mut until, mut runs) = (Until::Nothing, None);
    for command in &commands {
        let first = program(command);
        let lead = |bits: u8| command.lead & bits != 0;
        // What stands before a pipe is said of its end.
        let all = command.lead | piped;
        piped = if command.piped { all } else { 0 };
        if lead(WHILE | UNTIL) {
            loops.push(Loop::Endless);
            (in_condition, turned) = (true, lead(UNTIL));
        }
        in_condition &= !lead(DO) || lead(WHILE | UNTIL);
        match first {
            "for" => loops.push(Loop::Counts),
            "done" => {
                loops.pop();
            }
            // For what its caller names, which may be the server.
            _ if in_condition && asks_given(command) && answer(command, all) != Some(all & UNTIL == 0) => {
                return Some(command.line);
            }
            // It goes round for as long as it starts, and what stands for it then always does.
            _ if in_condition && starts(command) && (all & NOT != 0) == turned => return Some(command.line),
            _ if in_condition && may_wait(command, all, asks(command)) => {
                loops.pop();
                loops.push(Loop::Waits);
            }
            _ => {}
        }
        (until, runs) = follow(until, runs, command);
        let goes_on = loops.last().is_some_and(|last| *last != Loop::Counts);
        let ends = until != Until::Nothing
            && (ENDS_ALL.contains(&first) && runs != Some(true)
                || goes_on && ENDS_LOOP.contains(&first) && runs != Some(false));
        if asks(command) {
            if loops.contains(&Loop::Waits) {
                return Some(command.line);
            }
            runs = answer(command, all);
            until = if all & IF != 0 {
                Until::Fi(1)
            } else {
                Until::Line(command.line)
            };
        }
        if ends {
            return Some(command.line);
        }
    }
    None
}

/// What is known of the server at the next command after a question.
fn follow(until: Until, runs: Runs, command: &Command) -> (Until, Runs) {
    let lead = |bits: u8| command.lead & bits != 0;
    let turned = |turn: bool| runs.map(|runs| runs != turn);
    match until {
        Until::Nothing => (until, runs),
        // What a status or a variable says of it is not followed.
        Until::Line(_) if lead(IF) && command.words.iter().any(|word| word.contains('$')) => {
            (Until::Fi(1), None)
        }
        Until::Line(_) if lead(BRACE) => (Until::Brace, turned(lead(OR))),
        Until::Line(line) if line == command.line => (until, turned(lead(OR))),
        Until::Line(_) => (Until::Nothing, None),
        Until::Fi(depth) => match program(command) {
            "fi" if depth == 1 => (Until::Nothing, None),
            "fi" => (Until::Fi(depth - 1), runs),
            _ if lead(IF) => (Until::Fi(depth + 1), runs),
            _ => (until, turned(lead(ELSE) && depth == 1)),
        },
        Until::Brace if program(command) == "}" => (Until::Nothing, None),
        Until::Brace => (until, runs),
    }
}

/// What a question's success says of the server.
fn answer(command: &Command, lead: u8) -> Runs {
    let has = |words: &[&str]| command.words.iter().any(|word| words.contains(&word.as_str()));
    let found = match program(command) {
        "[" | "[[" | "test" if has(&["-n", "-f", "-e", "-d", "!=", "-gt", "-ge", "-ne"]) => Some(true),
        "[" | "[[" | "test" if has(&["-z", "=", "==", "-lt", "-le", "-eq"]) => Some(false),
        "[" | "[[" | "test" => None,
        _ => Some(true),
    };
    let turned = (lead & NOT != 0) != has(&["!"]);
    found.map(|found| found != turned)
}

/// The functions of a script that ask for the server.
fn asking<'c>(asks: &dyn Fn(&Command) -> bool, commands: &'c [Command]) -> Vec<&'c str> {
    let mut within = None;
    let mut found = Vec::new();
    for command in commands {
        within = command.defines.as_deref().or(within);
        if let Some(name) = within.filter(|_| asks(command)) {
            found.push(name);
        }
        if program(command) == "}" {
            within = None;
        }
    }
    found
}

/// The program that a command runs.
fn program(command: &Command) -> &str {
    let mut words = command.words.iter().map(|word| name_of(word));
    words.find(|word| *word != "busybox").unwrap_or_default()
}

/// Whether a loop may go on until a server runs, by a command of its condition: it asks for one, or depends on what
/// the loop does.
fn may_wait(command: &Command, lead: u8, asks: bool) -> bool {
    let has = |words: &[&str]| command.meant.iter().any(|word| words.contains(&word.as_str()));
    let number = |word: &String| word.parse().is_ok_and(|number: u32| number > 1);
    if asks {
        // It ends when there is none.
        return answer(command, lead) != Some(lead & UNTIL == 0);
    }
    match program(command) {
        "true" | ":" | "sleep" | "usleep" | "read" => false,
        // One word is the same for ever, and what is counted ends.
        "[" | "test" => {
            let counts = has(&["-lt", "-le", "-gt", "-ge"]) || command.meant.iter().any(number);
            command.meant.len() > 3 && !counts
        }
        first => first.starts_with('$'),
    }
}

/// Whether a command asks for what the caller of a function gives.
fn asks_given(command: &Command) -> bool {
    let given = |word: &String| matches!(word.as_bytes(), [b'$', b'1'..=b'9' | b'@' | b'*']);
    ASK.contains(&program(command))
        && !matches!(program(command), "[" | "[[" | "test")
        && command.words.iter().any(given)
}

/// Whether a command asks whether a server runs, by its name, its port, or the number that a shell gave it.
fn asks(target: &Target, command: &Command, numbered: bool) -> bool {
    let first = program(command);
    // An expression that does not find itself.
    let bare = |word: &String| word.replace(['[', ']'], "");
    let named = |word: &String| {
        let word = bare(word);
        word == "telnet"
            || numbered && word.contains("$!")
            || target.servers.iter().any(|server| word.contains(server))
    };
    let port = |word: &String| {
        let mut behind = word.split(":23").skip(1);
        let ends = behind.any(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()));
        ends || matches!(word.as_str(), "23" | "23/tcp") || word.contains("0017")
    };
    let signals = !matches!(first, "kill" | "killall") || command.words.iter().any(|word| word == "-0");
    ASK.contains(&first) && signals && command.meant.iter().any(named)
        || target.is_shell() && ASK_PORT.contains(&first) && command.meant.iter().any(port)
}
