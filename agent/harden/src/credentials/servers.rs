//! Servers of media and of pages that scripts start, and whether it is known whom they let in.

use std::io;

use super::Context;
use crate::edits::Edits;
use crate::firmware::{Place, Role};
use crate::locate::{Form, locate};
use crate::report::Status;
use crate::root::name_of;
use crate::secret::Secret;
use crate::shell::{self, Command};
use crate::telnet::{HARMLESS, WRAPPERS, is_option, stops};

/// How a server is told whom to let in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Users {
    /// By this option; without it everybody is let in.
    Option(&'static str),
    /// It has none.
    Nobody,
    /// In a file of its own.
    File,
    /// The same, for pages: the agent's video does not come from there.
    Pages,
}

/// Servers that firmwares start by scripts of theirs.
const SERVERS: &[(&str, Users)] = &[
    ("v4l2rtspserver", Users::Option("-U")),
    ("v4l2rtspserver-master", Users::Option("-U")),
    ("rRTSPServer", Users::Option("-w")),
    ("rtsp_server_yi", Users::Option("-w")),
    ("mjpg_streamer", Users::Option("-c")),
    ("rtspv4", Users::Nobody),
    ("testOnDemandRTSPServer", Users::Nobody),
    ("live555MediaServer", Users::Nobody),
    ("go2rtc", Users::File),
    ("mediamtx", Users::File),
    ("rtsp-simple-server", Users::File),
    ("lighttpd", Users::Pages),
    ("nginx", Users::Pages),
    ("httpd", Users::Pages),
    ("boa", Users::Pages),
    ("thttpd", Users::Pages),
    ("mini_httpd", Users::Pages),
    ("goahead", Users::Pages),
    ("dufs", Users::Pages),
];

const UNSET: &str =
    "no password of RTSP is set here: media is given to everybody, or to whoever knows the streamer's own";
const UNKNOWN: &str =
    "which password RTSP asks for is not known: the agent would lose its video by another one";
const SHORT: &str = "RTSP's own password is too short to be everyone's, or has other signs: the agent would lose its video by another one";

/// Looks where the streamer's password stands, and whom other servers let in.
pub(super) fn look(context: &mut Context<'_, '_>) -> io::Result<()> {
    let served = streamers(context)?;
    for path in context.survey.scripts.iter().chain(context.survey.tables()) {
        let text = context.edits.read(path)?.unwrap_or_default();
        // Once over a text: there are many, and flash and processors are slow.
        let mut words = text.split(|byte| !byte.is_ascii_alphanumeric() && !b"_-".contains(byte));
        let named = |word: &[u8]| SERVERS.iter().any(|(name, _)| word.starts_with(name.as_bytes()));
        if !words.any(named) {
            continue;
        }
        let shell::Script { commands, cut, .. } = shell::scan(&text);
        for command in commands {
            server(context, &served, path, &command)?;
        }
        if cut {
            let what = "is too long or too tangled to be followed: it may start a server that asks nobody";
            context.find(Status::Unknown, Some((path, 0)), what);
        }
    }
    Ok(())
}

/// The places of RTSP's password: one that is the owner's is everyone's, and where none is known, none is changed. Gives the
/// servers whose users are known.
fn streamers(context: &mut Context<'_, '_>) -> io::Result<Vec<&'static str>> {
    let mut served = Vec::new();
    let (mut known, mut others) = (false, None);
    for adapter in context.recognised.iter().map(|recognised| recognised.adapter) {
        let (mut file, mut set) = (None, false);
        for Place { path, form, role } in adapter.places {
            let Some(text) = context.edits.read(path)? else {
                continue;
            };
            if *role == Role::MediaPassword {
                others = others.or(Some(*path));
            }
            if !role.is_rtsp() {
                continue;
            }
            file = file.or(Some(*path));
            set |= matches!(form, Form::Ini(..));
            for range in locate(&text, *form) {
                set = true;
                let value = String::from_utf8_lossy(text.get(range).unwrap_or_default()).into_owned();
                let pair = value.split_once(':').filter(|_| *role != Role::RtspPassword);
                let (user, password) = pair.unwrap_or((&value, &value));
                if context.is_weak(password) || user.is_empty() || value.contains('$') {
                    continue;
                }
                match Secret::given(password) {
                    Ok(own) => context.own = Some(own),
                    Err(_) => context.unsure = Some(((*path).to_owned(), SHORT)),
                }
            }
        }
        known |= set || adapter.one_password;
        if set || !adapter.places.iter().any(|place| place.role.is_rtsp()) {
            served.extend(adapter.serves);
        }
        if let Some(path) = file.filter(|_| !set) {
            context.find(Status::Fails, Some((path, 0)), UNSET);
            context.unsure = Some((path.to_owned(), UNSET));
        }
    }
    if let Some(path) = others.filter(|_| !known) {
        context.find(Status::Unknown, Some((path, 0)), UNKNOWN);
        context.unsure = Some((path.to_owned(), UNKNOWN));
    }
    Ok(served)
}

/// Judges a command that may start one of [`SERVERS`].
fn server(context: &mut Context<'_, '_>, served: &[&str], path: &str, command: &Command) -> io::Result<()> {
    let mut words = command.words.iter().map(String::as_str);
    let runs = |word: &&str| {
        let word = name_of(word.rsplit(':').next().unwrap_or_default());
        !WRAPPERS.contains(&word) && !is_option(word)
    };
    let Some(first) = words.find(runs) else {
        return Ok(());
    };
    let mut name = first;
    if matches!(name_of(first), "start-stop-daemon" | "procd_set_param") && !stops(&command.words) {
        name = words.find(|word| kind(word).is_some()).unwrap_or_default();
    }
    let Some((name, users)) = kind(name).filter(|_| !HARMLESS.contains(&name_of(first))) else {
        return Ok(());
    };
    let rest: Vec<&str> = words.collect();
    let at = Some((path, command.line));
    let tool = name == "httpd" && rest.iter().any(|word| matches!(*word, "-d" | "-e" | "-m"));
    if served.contains(&name) || tool || name == "httpd" && has_users(context.edits, &rest)? {
        return Ok(());
    }
    let given = match users {
        Users::Option(option) => {
            // In one word too, as mjpg_streamer has it.
            let mut all = rest.iter().flat_map(|word| word.split_ascii_whitespace());
            let value = all
                .find_map(|word| word.strip_prefix(option))
                .map(|value| match value {
                    "" => all.next().unwrap_or_default(),
                    value => value,
                });
            value.map(|value| value.split_once(':').map_or(value, |(_, password)| password))
        }
        Users::Nobody => None,
        Users::File | Users::Pages => Some("$"),
    };
    let variable = users != Users::Nobody && rest.iter().any(|word| word.starts_with(['$', '`']));
    let (status, text) = match given {
        Some(password) if !password.contains('$') => {
            if !context.is_weak(password) {
                return Ok(());
            }
            (Status::Fails, "has a password that everybody knows")
        }
        None if !variable => (Status::Fails, "asks nobody for a password"),
        _ => (Status::Unknown, "lets in whom no file tells that is known here"),
    };
    if status == Status::Unknown && !matches!(users, Users::Pages | Users::Option("-c")) {
        context.unsure = Some((path.to_owned(), UNKNOWN));
    }
    let text = format!(
        "starts `{name}`, which {text}: give it users of your own, or have the firewall close its port"
    );
    context.find(status, at, text);
    Ok(())
}

/// The server that a program is, by its name; go2rtc has the machine's behind it.
fn kind(program: &str) -> Option<(&'static str, Users)> {
    let name = name_of(program.rsplit(':').next().unwrap_or_default());
    let fits =
        |(server, _): &&(&str, Users)| *server == name || *server == "go2rtc" && name.starts_with("go2rtc_");
    SERVERS.iter().find(fits).copied()
}

/// Whether BusyBox's web server reads a table that has users, which are looked at where that lies.
fn has_users(edits: &Edits<'_>, words: &[&str]) -> io::Result<bool> {
    let mut all = words.iter();
    let table = all.find(|word| **word == "-c").and_then(|_| all.next());
    let text = edits
        .read(table.copied().unwrap_or("/etc/httpd.conf"))?
        .unwrap_or_default();
    let user = |line: &str| line.starts_with('/') && line.matches(':').count() > 1;
    Ok(String::from_utf8_lossy(&text).lines().any(user))
}
