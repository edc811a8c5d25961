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
    (!folder.contains("/cron")).then_some(folder)
}

/// Whether a variable of the boot loader may decide what runs: by its name, or as a shell runs it, or as all of them are
/// looked through.
fn asks_loader(command: &Command) -> bool {
    const ASK: &str = "fw_printenv";
    const TELLING: &[&str] = &[
        "telnet", "uart", "debug", "console", "shell", "ssh", "login", "failsafe", "cmd", "script", "exec",
        "ftp", "adb",
    ];
    let [first, rest @ ..] = command.words.as_slice() else {
        return false;
    };
    if matches!(name_of(first), "eval" | "sh" | "ash" | "bash") {
        return rest.iter().any(|word| word.contains(ASK));
    }
    let mut names = rest.iter().filter(|word| !word.starts_with('-')).peekable();
    let any = names.peek().is_none();
    name_of(first) == ASK
        && (any && command.piped
            || names.any(|name| {
                TELLING
                    .iter()
                    .any(|word| name.to_ascii_lowercase().contains(word))
            }))
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
        for command in inner
            .iter()
            .chain(&commands)
            .filter(|command| asks_loader(command))
        {
            let what = format!("asks the boot loader what runs: `{}`", command.words.join(" "));
            edits.find(Measure::Telnet, Status::Notice, Some((path, command.line)), what);
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
