//! Tables that start programs: their commands.

use lenscap_harden::root::name_of;

use super::super::starts::is_unit;

/// The most programs of one line.
const MAX_KEYS: usize = 16;

/// Whether some lines of a file are commands, and the rest are settings: ifupdown's, udev's and modprobe's.
pub(in crate::audit_cmd::files) fn is_rules(path: &str) -> bool {
    path.contains("/network/interfaces") || is_modprobe(path) || is_udev(path)
}

fn is_modprobe(path: &str) -> bool {
    path.contains("/modprobe.d/") || path.ends_with("/modprobe.conf")
}

fn is_udev(path: &str) -> bool {
    path.ends_with(".rules") && path.contains("/udev/")
}

/// The commands of a line of a table or unit.
pub(in crate::audit_cmd::files) fn command_of(path: &str, line: &str) -> Vec<String> {
    if is_udev(path) {
        return rules(line);
    }
    one(path, line).into_iter().collect()
}

/// What a rule of udev(7) runs: `RUN+="…"`, `PROGRAM=="…"`, `IMPORT{program}="…"`.
fn rules(line: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut rest = line.trim_start();
    if rest.starts_with('#') {
        return out;
    }
    while let Some((key, after)) = rest.split_once('"') {
        let Some((value, next)) = after.split_once('"') else {
            break;
        };
        let key = key.trim_start_matches([',', ' ', '\t']);
        let runs = key.starts_with("RUN") && !key.contains("builtin")
            || key.starts_with("PROGRAM")
            || key.starts_with("IMPORT{program}");
        if runs && out.len() < MAX_KEYS {
            out.push(value.to_owned());
        }
        rest = next;
    }
    out
}

/// The command of a line, where it has one.
fn one(path: &str, line: &str) -> Option<String> {
    let line = line.trim();
    if line.is_empty() || line.starts_with(['#', ';']) {
        return None;
    }
    let words = |n: usize| {
        let mut rest = line;
        for _ in 0..n {
            rest = rest.split_once(char::is_whitespace)?.1.trim_start();
        }
        Some(rest.to_owned())
    };
    if is_unit(path) {
        let (key, value) = line.split_once('=')?;
        return match key.trim() {
            // Signs for how it is run (systemd.service(5)).
            key if key.starts_with("Exec") => {
                Some(value.trim().trim_start_matches(['-', '@', '+', '!', ':']).into())
            }
            "Environment" => Some(format!("export {value}")),
            _ => None,
        };
    }
    if path.contains("/network/interfaces") {
        let (word, command) = line.split_once(char::is_whitespace)?;
        let runs = matches!(
            word,
            "up" | "down" | "pre-up" | "post-up" | "pre-down" | "post-down"
        );
        return runs.then(|| command.trim().to_owned());
    }
    if is_modprobe(path) {
        let first = line.split_whitespace().next()?;
        return words(2).filter(|_| matches!(first, "install" | "remove"));
    }
    match name_of(path) {
        "inittab" => Some(line.splitn(4, ':').nth(3)?.trim_start_matches('-').to_owned()),
        "inetd.conf" => words(5),
        "mdev.conf" => {
            let rest = words(3)?;
            // Where its node goes.
            let command = match rest.split_once(char::is_whitespace) {
                Some((first, command)) if first.starts_with(['=', '>', '!']) => command.trim_start(),
                _ => &rest,
            };
            Some(command.trim_start_matches(['@', '$', '*']).to_owned())
        }
        name => {
            // `NAME=value`, for the jobs below.
            let first = line.split_whitespace().next()?;
            if first.contains('=') && !first.starts_with(['*', '@']) {
                return Some(format!("export {line}"));
            }
            let times = if line.starts_with('@') { 1 } else { 5 };
            // The system's own tables name the user.
            let user = name == "crontab" && !path.contains("/crontabs/") || path.contains("/cron.d/");
            words(times + usize::from(user))
        }
    }
}
