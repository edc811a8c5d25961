//! Ways in that are no starter of a server: tables elsewhere, memory cards, the boot loader.

use std::io;

use crate::edits::Edits;
use crate::report::{Measure, Status};
use crate::root::name_of;
use crate::shell::{self, Command};
use crate::survey::Survey;

/// A table of inetd's or crond's that is none of those that are known by their place.
fn table_elsewhere(words: &[String]) -> Option<&String> {
    let mut words = words.iter();
    let program =
        words.find_map(|word| ["inetd", "crond"].into_iter().find(|name| name_of(word) == *name))?;
    if program == "inetd" {
        return words.find(|word| word.starts_with('/') && name_of(word) != "inetd.conf");
    }
    let folder = words.skip_while(|word| *word != "-c").nth(1)?;
    let whole = format!("{}/", folder.trim_end_matches('/'));
    let known = ["/crontabs/", "/cron.d/", "/spool/cron/"]
        .iter()
        .any(|known| whole.contains(known));
    (!known).then_some(folder)
}

/// Words of the names of variables that decide what runs.
const TELLING: &[&str] = &[
    "telnet",
    "telnetd",
    "telnetctrl",
    "uart",
    "xmuart",
    "debug",
    "console",
    "shell",
    "ssh",
    "sshd",
    "login",
    "failsafe",
    "cmd",
    "script",
    "exec",
    "ftpd",
    "adb",
    "adbd",
];

/// Whether a variable of the boot loader may decide what runs: by its name, or as a shell runs it, or as all of them are
/// looked through. `next` follows the command.
fn asks_loader(command: &Command, next: Option<&Command>) -> bool {
    const ASK: &str = "fw_printenv";
    let tells = |text: &String| {
        let mut words = text.split(|c: char| !c.is_ascii_alphabetic());
        words.any(|word| TELLING.iter().any(|telling| word.eq_ignore_ascii_case(telling)))
    };
    let [first, rest @ ..] = command.meant.as_slice() else {
        return false;
    };
    let is_shell = |name: &str| matches!(name, "sh" | "ash" | "bash");
    let mut names = rest.iter().filter(|word| !word.starts_with('-'));
    match name_of(first) {
        ASK => {}
        "eval" => return rest.iter().any(|word| word.contains(ASK)),
        name if is_shell(name) => return names.next().is_some_and(|word| word.contains(ASK)),
        // As a command, a variable's too. What has a filter may be a pattern of `case`.
        _ => {
            let head = command.plain.first().map_or("", String::as_str);
            let inside = head.strip_prefix("$(").or_else(|| head.strip_prefix('`'));
            let asks = |text: &str| !text.contains('|') && text.split(' ').next().map(name_of) == Some(ASK);
            return inside.is_some_and(asks);
        }
    }
    let any = names.clone().next().is_none();
    let next = next
        .filter(|_| command.piped)
        .and_then(|next| next.words.split_first());
    match next.map(|(next, words)| (name_of(next), words)) {
        Some((next, _)) if is_shell(next) => true,
        Some(("grep" | "egrep" | "fgrep" | "sed" | "awk", words)) if any => words.iter().any(tells),
        next => any && next.is_some() || names.any(tells),
    }
}

/// Ways in that no edit of this root closes: a card's scripts, and the boot loader's variables.
pub(super) fn outside(survey: &Survey, edits: &mut Edits<'_>) -> io::Result<()> {
    const CARDS: &[&str] = &[
        "/mnt/mmc",
        "/mnt/sd",
        "/media/mmc",
        "/media/sd",
        "/tmp/sd",
        "/sdcard/",
        "/mnt/mmcblk",
    ];
    const LOADER: &[&str] = &["armbenv", "xmuart", "telnetctrl"];
    for path in survey.scripts.iter().chain(survey.tables()) {
        let Some(text) = edits.read(path)? else { continue };
        let shell::Script { commands, inner, .. } = shell::scan(&text);
        for all in [&inner, &commands] {
            for (at, command) in all.iter().enumerate() {
                if asks_loader(command, all.get(at + 1)) {
                    let what = format!("asks the boot loader what runs: `{}`", command.words.join(" "));
                    edits.find(Measure::Telnet, Status::Notice, Some((path, command.line)), what);
                }
            }
        }
        for command in commands {
            if let Some(table) = table_elsewhere(&command.meant) {
                let what = format!("has a table read that is not looked at: `{table}`");
                edits.find(Measure::Telnet, Status::Unknown, Some((path, command.line)), what);
            }
            let first = command.words.first().map_or("", String::as_str);
            let target = match first {
                "." | "source" | "sh" | "ash" | "exec" => command.words.get(1).map_or("", String::as_str),
                first => first,
            };
            if CARDS.iter().any(|card| target.starts_with(card)) {
                let what = format!("runs what a memory card holds: `{target}`");
                edits.find(Measure::Telnet, Status::Notice, Some((path, command.line)), what);
            }
            if LOADER.contains(&name_of(first)) {
                let what = format!("uses variables of the boot loader: `{}`", command.words.join(" "));
                edits.find(Measure::Telnet, Status::Notice, Some((path, command.line)), what);
            }
        }
    }
    Ok(())
}
