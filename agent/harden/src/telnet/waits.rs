//! Scripts that wait until a server runs, or restart the camera as long as none does. Once nothing starts it any more they
//! would hang the boot, or go round in it: such a server is left open, and that is told.

use std::io;

use super::{Effect, Target, effect};
use crate::edits::Edits;
use crate::report::{Measure, Status};
use crate::root::name_of;
use crate::shell::{self, Command, DO, NOT, UNTIL, WHILE};
use crate::survey::{Survey, contains};

/// How many commands behind a question what it decides may be.
const NEAR: usize = 4;
/// What ends the camera.
const ENDS_ALL: &[&str] = &["reboot", "halt", "poweroff", "shutdown"];
/// What ends a loop.
const ENDS_LOOP: &[&str] = &["break", "return", "exit"];
/// Programs that ask for nothing, whatever they name.
const ASK_NOTHING: &[&str] = &[
    "echo",
    "printf",
    "logger",
    "log",
    "case",
    "for",
    "rm",
    "killall",
    "kill",
    "pkill",
    "start-stop-daemon",
];

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

/// Whether some script does, and tells which.
pub(super) fn is_awaited(target: &Target, survey: &Survey, edits: &mut Edits<'_>) -> io::Result<bool> {
    let mut awaited = false;
    for path in &survey.scripts {
        let text = edits.read(path)?.unwrap_or_default();
        let has = |words: &[&str]| words.iter().any(|word| contains(&text, word.as_bytes()));
        let waits = has(&["while", "until"]) || has(ENDS_ALL);
        let names = has(target.servers) || target.is_shell() && has(&[":23", ":0017", "nc"]);
        if let Some(line) = (waits && names).then(|| wait(target, &text)).flatten() {
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

/// The line of a script in which it does.
fn wait(target: &Target, text: &[u8]) -> Option<u32> {
    let shell::Script { commands, inner, .. } = shell::scan(text);
    let asks = |command: &&Command| asks(target, command);
    let somewhere = commands.iter().chain(&inner).any(|command| asks(&command));
    let mut loops = Vec::new();
    // Whether this is the condition of the innermost loop, and how long ago the server was asked for.
    let (mut in_condition, mut asked) = (false, NEAR);
    for command in commands.iter().filter(|_| somewhere) {
        let first = program(command);
        if command.lead & (WHILE | UNTIL) != 0 {
            loops.push(Loop::Endless);
            in_condition = true;
        }
        in_condition &= command.lead & DO == 0 || command.lead & (WHILE | UNTIL) != 0;
        match first {
            "for" => loops.push(Loop::Counts),
            "done" => {
                loops.pop();
            }
            // What it says is what some command of this script asks for.
            _ if in_condition && is_function(text, first) => return Some(command.line),
            _ if in_condition && may_wait(target, command) => {
                loops.pop();
                loops.push(Loop::Waits);
            }
            _ => {}
        }
        asked += 1;
        if asks(&command) {
            asked = 0;
        }
        let goes_on = loops.last().is_some_and(|last| *last != Loop::Counts);
        let ends = ENDS_ALL.contains(&first) || goes_on && ENDS_LOOP.contains(&first);
        if asked == 0 && loops.contains(&Loop::Waits) || asked < NEAR && ends {
            return Some(command.line);
        }
    }
    None
}

/// The program that a command runs.
fn program(command: &Command) -> &str {
    let mut words = command.words.iter().map(|word| name_of(word));
    words.find(|word| *word != "busybox").unwrap_or_default()
}

/// Whether a loop may go on until a server runs, by a command of its condition: it asks for one, or depends on what
/// the loop does.
fn may_wait(target: &Target, command: &Command) -> bool {
    let first = program(command);
    let has = |word: &&str| command.words.iter().any(|have| have == word);
    match first {
        "true" | ":" | "sleep" | "usleep" | "read" => false,
        // One word is the same for ever, and what is counted ends.
        "[" | "test" => command.meant.len() > 3 && !["-lt", "-le", "-gt", "-ge"].iter().any(has),
        // It ends when there is none.
        "pidof" | "pgrep" if command.lead & (UNTIL | NOT) == 0 => false,
        _ => first.starts_with('$') || asks(target, command),
    }
}

/// Whether a script defines a function.
fn is_function(text: &[u8], name: &str) -> bool {
    let heads = [format!("{name}()"), format!("{name} ()")];
    !name.is_empty() && heads.iter().any(|head| contains(text, head.as_bytes()))
}

/// Whether a command asks whether a server runs, by its name or its port.
fn asks(target: &Target, command: &Command) -> bool {
    let first = program(command);
    if ASK_NOTHING.contains(&first) && !command.words.iter().any(|word| word == "-0") {
        return false;
    }
    let named = |word: &String| target.servers.iter().any(|server| word.contains(server));
    let port = |word: &String| {
        let mut behind = word.split(":23").skip(1);
        let ends = behind.any(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()));
        word == "23" || ends || word.contains(":0017")
    };
    let by_port = target.is_shell()
        && matches!(first, "grep" | "egrep" | "nc" | "awk" | "netstat" | "ss")
        && command.meant.iter().any(port);
    by_port
        || command.meant.iter().any(named)
            && effect(target, &command.meant, command.background) == Effect::Nothing
}
