//! What scripts write for others to run, in plain: documents, what `echo` gives to a file or a pipe, and what a loop reads.

use lenscap_harden::root::name_of;

use super::super::starts::is_table;
use super::ways::starts_by_place;
use super::{FETCHERS, Reader, command_of, value};

/// What starts by its place and is no script.
const NO_SCRIPTS: &[&str] = &["passwd", "shadow", "ld.so.preload", "authorized_keys"];
/// Stands for what a loop reads of what was fetched.
const READ: &str = "/tmp/(what is read)";

impl Reader<'_> {
    /// What `echo` or `printf` gives: a script or a table, where it goes to a place for such, or is run behind a pipe.
    pub(super) fn writes(&mut self, line: u32, rest: &[String], output: Option<&str>, depth: u32) {
        let words: Vec<&str> = rest
            .iter()
            .map(String::as_str)
            .filter(|word| !word.starts_with('-'))
            .collect();
        let text = words.join(" ").replace("\\n", "\n");
        let Some(output) = output else {
            self.echoed = Some(text);
            return;
        };
        let path = self.place(output);
        let name = name_of(&path);
        let starts = is_table(&path) || starts_by_place(&path) && !NO_SCRIPTS.contains(&name);
        let fetches = || FETCHERS.iter().any(|fetcher| text.contains(fetcher));
        if starts || (name.ends_with(".sh") || !name.contains('.')) && fetches() {
            self.written(&path, &text, line, depth);
        }
    }

    /// Reads what is written, to a file or for a program to read.
    pub(super) fn written(&mut self, path: &str, text: &str, line: u32, depth: u32) {
        let before = core::mem::replace(&mut self.written, true);
        if is_table(path) {
            for command in text.lines().flat_map(|line| command_of(path, line)) {
                self.text(&command, line, depth + 1);
            }
        } else {
            self.text(text, line, depth + 1);
        }
        self.written = before;
    }

    /// A loop's words are what comes through its pipe.
    pub(super) fn reads(&mut self, rest: &[String]) {
        let read = match (self.piped.take(), &self.card_piped) {
            (Some((line, text)), _) => {
                self.fetches(line, text);
                self.make(READ, true);
                READ.to_owned()
            }
            (None, Some(file)) => file.clone(),
            (None, None) => return,
        };
        for name in rest.iter().filter(|word| !word.starts_with('-')) {
            self.set(&format!("{name}={read}"));
        }
    }

    /// A table of crond's or inetd's that is none of those that are looked at.
    pub(super) fn table_elsewhere(&mut self, line: u32, name: &str, rest: &[String]) {
        let table = if name == "crond" {
            value(rest, &["-c"]).map(|folder| format!("{}/root", folder.trim_end_matches('/')))
        } else {
            rest.iter().find(|word| word.starts_with('/')).cloned()
        };
        if let Some(table) = table.filter(|table| !is_table(table))
            && !self.run_of_card(line, &table)
        {
            self.tell(
                line,
                false,
                format!("has `{name}` read `{table}`, which is not looked at"),
            );
        }
    }
}
