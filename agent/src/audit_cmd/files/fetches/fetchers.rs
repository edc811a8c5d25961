//! What programs fetch, and where they put it.

use lenscap_harden::root::name_of;

use super::words::{said, value};
use super::{Reader, is_flag};

const NETCATS: &[&str] = &["nc", "ncat", "netcat", "telnet"];

impl Reader<'_> {
    /// Netcat, and whom it gives a shell to. Says whether its output comes from outside.
    fn netcat(&mut self, line: u32, name: &str, rest: &[String]) -> bool {
        let has = |letter: char| rest.iter().any(|word| is_flag(word, letter));
        if has('l') || has('z') || rest.iter().any(|word| word == "--listen") {
            return false;
        }
        let runs = |word: &String| word.starts_with("--exec") || word == "--sh-exec";
        if has('e') || self.shell_piped || rest.iter().any(runs) {
            self.says(line, format!("gives a shell to somebody outside: `{name}`"));
        }
        true
    }

    /// Where scp and rsync put what they fetch, which may be a folder.
    fn copied(&mut self, operands: &[&String]) -> Option<String> {
        let (to, from) = operands.split_last()?;
        if !from.iter().any(|from| from.contains(':')) {
            return None;
        }
        for name in from.iter().filter_map(|from| from.rsplit(['/', ':']).next()) {
            self.make(&format!("{}/{name}", to.trim_end_matches('/')), true);
        }
        Some((*to).clone())
    }

    /// Notes the file that is fetched; what goes to the output is told by its giver.
    pub(super) fn fetcher(
        &mut self,
        line: u32,
        name: &str,
        rest: &[String],
        output: Option<&str>,
    ) -> Option<String> {
        let text = said(name, rest);
        if NETCATS.contains(&name) {
            return self.netcat(line, name, rest).then_some(text);
        }
        let operands = || rest.iter().filter(|word| !word.starts_with('-'));
        let url = rest.iter().rev().find(|word| word.contains('/'));
        let last = url
            .or(rest.last())
            .map(|url| name_of(url.split(['?', '#']).next().unwrap_or_default()));
        let file = match name {
            "curl" => match value(rest, &["-o", "--output"]) {
                Some(file) => Some(file.to_owned()),
                None if rest
                    .iter()
                    .any(|word| is_flag(word, 'O') || word == "--remote-name") =>
                {
                    last.map(str::to_owned)
                }
                None => None,
            },
            "tftp" => {
                if rest.iter().any(|word| is_flag(word, 'p')) {
                    return None;
                }
                let file = value(rest, &["-l"]).or_else(|| value(rest, &["-r"]).map(name_of));
                let behind = || rest.iter().skip_while(|word| *word != "get").nth(1);
                let file = file.or_else(|| behind().map(|name| name_of(name)));
                Some(file.map_or_else(|| "?".to_owned(), str::to_owned))
            }
            "ftpget" => {
                let mut plain = rest.iter().enumerate().filter(|(n, word)| {
                    let before = n.checked_sub(1).and_then(|n| rest.get(n));
                    !word.starts_with('-')
                        && !before.is_some_and(|word| matches!(word.as_str(), "-u" | "-p" | "-P"))
                });
                plain.nth(1).map(|(_, word)| word.clone())
            }
            "scp" | "rsync" => Some(self.copied(&operands().collect::<Vec<_>>())?),
            // wget and what is like it.
            _ if rest.iter().any(|word| word == "--spider") => return None,
            _ => match value(rest, &["-O", "--output-document"]) {
                Some(file) => Some(file.to_owned()),
                None => match value(rest, &["-P", "--directory-prefix"]) {
                    Some(folder) => last.map(|last| format!("{}/{last}", folder.trim_end_matches('/'))),
                    None => {
                        // Whoever has a pipe behind it means what it fetches.
                        self.piped = Some((line, text.clone()));
                        last.map(str::to_owned)
                    }
                },
            },
        };
        match file.filter(|_| operands().next().is_some()) {
            Some(file) if matches!(file.as_str(), "-" | "/dev/stdout" | "/proc/self/fd/1") => Some(text),
            Some(file) if file == "/dev/null" => None,
            Some(file) => {
                self.fetches(line, text);
                self.make(&file, true);
                None
            }
            None if output.is_some() || name == "curl" => Some(text),
            None => None,
        }
    }
}
