//! Where nothing filters: a streamer that lives in a network namespace of its own, which has no way out but the one that
//! `lenscap apart` lends it. Only the start is planned here.

use std::io;
use std::path::Path;

use crate::edits::Edits;
use crate::listeners;
use crate::report::{Measure, Status};
use crate::root::{Root, name_of};
use crate::shell::{self, Command};
use crate::survey::Survey;
use crate::telnet::{HARMLESS, stops};

/// What starts a program in that network. It is printed, and so put before a command, only where it can be had: without
/// this program, or in a kernel without namespaces, the streamer starts as ever.
pub const START: &str = "/usr/sbin/lenscap apart";
const PREFIX: &str = "$(/usr/sbin/lenscap apart 2>/dev/null) ";
/// Programs that may stand before the streamer. What the shell itself does, or a function, cannot be started anew.
const BEFORE: &[&str] = &[
    "start-stop-daemon",
    "nohup",
    "setsid",
    "nice",
    "ionice",
    "env",
    "busybox",
];
const EXEC: &[u8] = b"exec ";
/// The most processes that are looked at.
const MAX_PROCESSES: usize = 4096;

/// Plans to start the streamer there. Ports of other programs stay open, and nothing holds up what goes out: this is no
/// firewall.
///
/// # Errors
/// When a file that was seen cannot be read.
pub fn apart(edits: &mut Edits<'_>, survey: &Survey, streamer: &Path) -> io::Result<()> {
    let streamer = streamer.to_str().unwrap_or_default();
    let (mut planned, mut done) = (false, false);
    for path in &survey.scripts {
        let Some(mut text) = edits.read(path)? else {
            continue;
        };
        let before = text.len();
        for command in shell::commands(&text).iter().rev() {
            match start(&text, command, streamer) {
                Start::Other => {}
                Start::Apart => done = true,
                Start::At(place) => {
                    text.splice(place..place, PREFIX.bytes());
                    find(
                        edits,
                        Status::Planned,
                        path,
                        command,
                        "starts the streamer, which will live in a network of its own from its next start on",
                    );
                }
                Start::Strange => find(
                    edits,
                    Status::Unknown,
                    path,
                    command,
                    "names the streamer in a way that is not understood",
                ),
            }
        }
        if text.len() != before {
            planned = true;
            edits.change(path, text, false, "starts the streamer in a network of its own")?;
        }
    }
    if planned {
        return Ok(());
    }
    let (status, what) = if done {
        judge(edits.root(), streamer)
    } else {
        (Status::Fails, "no script is known to start it")
    };
    edits.find(Measure::Firewall, status, None, format!("{streamer}: {what}"));
    Ok(())
}

fn find(edits: &mut Edits<'_>, status: Status, path: &str, command: &Command, what: &str) {
    let text = format!("{what}: `{}`", command.words.join(" "));
    edits.find(Measure::Firewall, status, Some((path, command.line)), text);
}

enum Start {
    /// Starts something else, or nothing.
    Other,
    /// Starts it there already.
    Apart,
    /// Starts it; what changes that belongs here.
    At(usize),
    Strange,
}

fn start(text: &[u8], command: &Command, streamer: &str) -> Start {
    let is_it = |word: &String| word == streamer || word.as_str() == name_of(streamer);
    let Some(first) = command.words.first().filter(|_| command.words.iter().any(is_it)) else {
        return Start::Other;
    };
    // It may stand behind `exec`.
    if command.words.iter().any(|word| word.contains(START)) {
        return Start::Apart;
    }
    let raw = text.get(command.start..).unwrap_or_default();
    let end = raw.iter().position(u8::is_ascii_whitespace).unwrap_or(raw.len());
    let name = name_of(first);
    if HARMLESS.contains(&name) || name == "start-stop-daemon" && stops(&command.words) {
        Start::Other
    } else if raw.starts_with(EXEC) {
        Start::At(command.start + EXEC.len())
    } else if raw.iter().take(end).any(|byte| *byte == b'=') {
        // An assignment behind a command's name is none.
        Start::Strange
    } else if is_it(first) || BEFORE.contains(&name) {
        Start::At(command.start)
    } else {
        Start::Strange
    }
}

/// Whether the streamer that runs now is there, and reached.
fn judge(root: &Root, streamer: &str) -> (Status, &'static str) {
    let ours = root.link("/proc/self/ns/net").ok();
    let (mut running, mut outside) = (false, false);
    for entry in root.list("/proc").unwrap_or_default().iter().take(MAX_PROCESSES) {
        let folder = format!("/proc/{}", entry.name);
        if root
            .link(&format!("{folder}/exe"))
            .is_ok_and(|exe| exe == streamer)
        {
            running = true;
            outside |= root.link(&format!("{folder}/ns/net")).ok() == ours;
        }
    }
    let listeners = listeners::read(root).unwrap_or_default();
    if !running {
        (Status::Unknown, "it does not run")
    } else if outside {
        (
            Status::Fails,
            "it still runs in the camera's own network, until it starts again",
        )
    } else if listeners.iter().any(|listener| listener.loopback) {
        (
            Status::Holds,
            "it lives in a network of its own, reached over the loopback interface alone",
        )
    } else {
        (
            Status::Fails,
            "nothing leads to the network that it lives in: start it again",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const STREAMER: &str = "/usr/bin/majestic";

    fn planned(script: &str) -> (String, Vec<Status>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("etc/init.d/S95majestic");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, script).unwrap();
        let root = Root::tree(dir.path()).unwrap();
        let survey = Survey::take(&root, "/etc/lenscap");
        let mut edits = Edits::new(&root);
        apart(&mut edits, &survey, Path::new(STREAMER)).unwrap();
        let text = edits.read("/etc/init.d/S95majestic").unwrap().unwrap();
        let statuses = edits.findings.iter().map(|finding| finding.status).collect();
        (String::from_utf8(text).unwrap(), statuses)
    }

    #[test]
    fn the_streamers_start_is_found_and_no_more() {
        for (before, after) in [
            ("/usr/bin/majestic -s &\n", "@/usr/bin/majestic -s &\n"),
            ("majestic &", "@majestic &"),
            ("exec majestic\n", "exec @majestic\n"),
            (
                "if true; then nohup majestic & fi",
                "if true; then @nohup majestic & fi",
            ),
            (
                "D=/usr/bin/majestic\nstart-stop-daemon -b -S -x $D\nstart-stop-daemon -K -x $D\n",
                "D=/usr/bin/majestic\n@start-stop-daemon -b -S -x $D\nstart-stop-daemon -K -x $D\n",
            ),
            (
                "pidof majestic || majestic\nkillall majestic\n",
                "pidof majestic || @majestic\nkillall majestic\n",
            ),
        ] {
            let after = after.replace('@', PREFIX);
            let (text, statuses) = planned(before);
            assert_eq!(
                (text.as_str(), statuses.as_slice()),
                (after.as_str(), &[Status::Planned][..])
            );
            // Once more it stays: now it is to be seen running.
            let (again, statuses) = planned(&after);
            assert_eq!(
                (again.as_str(), statuses.as_slice()),
                (after.as_str(), &[Status::Unknown][..])
            );
        }
        for strange in ["A=b majestic &\n", "service_start majestic\n"] {
            let (text, statuses) = planned(strange);
            assert_eq!(
                (text.as_str(), statuses.as_slice()),
                (strange, &[Status::Unknown, Status::Fails][..])
            );
        }
        assert_eq!(planned("killall majestic\n").1, [Status::Fails]);
    }

    #[test]
    fn without_this_program_the_script_does_what_it_did() {
        for script in ["echo started\n", "exec echo started\n"] {
            let (text, _) = planned(&script.replace("echo", "majestic"));
            let text = text.replace("majestic", "echo");
            let output = std::process::Command::new("sh")
                .args(["-c", &text])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), "started\n", "{text}");
        }
    }
}
