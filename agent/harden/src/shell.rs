//! Finds the simple commands of a shell script: enough to tell which of them starts a program, and where.
//!
//! It is no shell: it expands only variables that the script sets to a fixed text. What it cannot follow it reports as
//! seen rather than as understood.

/// The most commands of one script.
const MAX_COMMANDS: usize = 20_000;
/// Words after which a command starts.
const RESERVED: &[&str] = &[
    "if", "then", "else", "elif", "do", "while", "until", "!", "{", "time",
];

/// A simple command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Where its first word starts, in bytes.
    pub start: usize,
    /// Its line, counted from 1.
    pub line: u32,
    /// Its words without quotes, variables expanded where they are known; assignments before the first are left out.
    pub words: Vec<String>,
    /// Whether `&` ends it.
    pub background: bool,
}

/// The simple commands of a script.
#[must_use]
pub fn commands(text: &[u8]) -> Vec<Command> {
    let mut scanner = Scanner::new(text);
    scanner.run();
    scanner.commands
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    line: u32,
    parentheses: u32,
    words: Vec<Word>,
    heredocs: Vec<Vec<u8>>,
    /// The last value of a name counts.
    variables: Vec<(String, String)>,
    commands: Vec<Command>,
}

struct Word {
    start: usize,
    line: u32,
    value: String,
    quoted: bool,
}

impl<'a> Scanner<'a> {
    fn new(text: &'a [u8]) -> Self {
        Self {
            text,
            at: 0,
            line: 1,
            parentheses: 0,
            words: Vec::new(),
            heredocs: Vec::new(),
            variables: Vec::new(),
            commands: Vec::new(),
        }
    }

    fn peek(&self, ahead: usize) -> u8 {
        self.text.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn run(&mut self) {
        while self.at < self.text.len() && self.commands.len() < MAX_COMMANDS {
            match self.peek(0) {
                b' ' | b'\t' | b'\r' => self.at += 1,
                b'\\' if self.peek(1) == b'\n' => {
                    self.at += 2;
                    self.line += 1;
                }
                b'\n' => {
                    self.end(false);
                    self.at += 1;
                    self.line += 1;
                    self.skip_heredocs();
                }
                b'#' => self.skip_line(),
                b'&' if self.peek(1) == b'>' => self.redirection(2),
                b'&' => {
                    let background = self.peek(1) != b'&';
                    self.end(background);
                    self.at += if background { 1 } else { 2 };
                }
                b';' | b'|' => {
                    self.end(false);
                    self.at += 1;
                }
                b'(' => self.open(),
                b')' => self.close(),
                b'<' | b'>' => self.redirection(1),
                _ => self.word(),
            }
        }
        self.end(false);
    }

    /// A group, or the parentheses after a function's name.
    fn open(&mut self) {
        if self.words.len() == 1 {
            self.words.clear();
            self.at += 1;
            while matches!(self.peek(0), b' ' | b'\t') {
                self.at += 1;
            }
            if self.peek(0) == b')' {
                self.at += 1;
            }
            return;
        }
        self.end(false);
        self.parentheses += 1;
        self.at += 1;
    }

    /// A group's end, or a pattern of `case`.
    fn close(&mut self) {
        if self.parentheses == 0 {
            self.words.clear();
        } else {
            self.parentheses -= 1;
            self.end(false);
        }
        self.at += 1;
    }

    fn redirection(&mut self, length: usize) {
        let input = self.peek(0) == b'<';
        self.at += length;
        while matches!(self.peek(0), b'>' | b'<' | b'&' | b'|' | b'-') {
            self.at += 1;
        }
        let document = input
            && self
                .text
                .get(..self.at)
                .is_some_and(|seen| seen.ends_with(b"<<") || seen.ends_with(b"<<-"));
        while matches!(self.peek(0), b' ' | b'\t') {
            self.at += 1;
        }
        if !matches!(self.peek(0), b'\n' | b';' | b'&' | b'|' | b'(' | b')' | b'#' | 0) {
            let word = self.read_word();
            if document {
                self.heredocs.push(word.value.into_bytes());
            }
        }
    }

    fn skip_line(&mut self) {
        while self.at < self.text.len() && self.peek(0) != b'\n' {
            self.at += 1;
        }
    }

    fn skip_heredocs(&mut self) {
        for delimiter in std::mem::take(&mut self.heredocs) {
            while self.at < self.text.len() {
                let start = self.at;
                self.skip_line();
                let line = self.text.get(start..self.at).unwrap_or_default();
                self.at += 1;
                self.line += 1;
                if line.trim_ascii() == delimiter {
                    break;
                }
            }
        }
    }

    fn word(&mut self) {
        let word = self.read_word();
        // A digit before `>` is a descriptor.
        if matches!(self.peek(0), b'<' | b'>')
            && word.value.len() == 1
            && word.value.as_bytes()[0].is_ascii_digit()
        {
            return;
        }
        if self.words.is_empty() && !word.quoted && RESERVED.contains(&word.value.as_str()) {
            return;
        }
        self.words.push(word);
    }

    fn read_word(&mut self) -> Word {
        let (start, line) = (self.at, self.line);
        let mut value = Vec::new();
        let mut quoted = false;
        while self.at < self.text.len() {
            match self.peek(0) {
                b' ' | b'\t' | b'\r' | b'\n' | b';' | b'&' | b'|' | b'(' | b')' | b'<' | b'>' => break,
                b'\'' => {
                    quoted = true;
                    self.quote(b'\'', &mut value);
                }
                b'"' => {
                    quoted = true;
                    self.quote(b'"', &mut value);
                }
                b'`' => self.quote(b'`', &mut value),
                b'\\' => self.escape(&mut value),
                b'$' if self.peek(1) == b'(' => self.substitution(&mut value),
                byte => {
                    value.push(byte);
                    self.at += 1;
                }
            }
        }
        Word {
            start,
            line,
            value: String::from_utf8_lossy(&value).into_owned(),
            quoted,
        }
    }

    fn escape(&mut self, value: &mut Vec<u8>) {
        match self.peek(1) {
            b'\n' => self.line += 1,
            byte => value.push(byte),
        }
        self.at = (self.at + 2).min(self.text.len());
    }

    fn quote(&mut self, mark: u8, value: &mut Vec<u8>) {
        self.at += 1;
        while self.at < self.text.len() {
            match self.peek(0) {
                byte if byte == mark => {
                    self.at += 1;
                    return;
                }
                b'\\' if mark != b'\'' => self.escape(value),
                b'$' if mark == b'"' && self.peek(1) == b'(' => self.substitution(value),
                byte => {
                    self.line += u32::from(byte == b'\n');
                    value.push(byte);
                    self.at += 1;
                }
            }
        }
    }

    /// `$(…)` is kept as it is: what runs inside gives text and serves nobody.
    fn substitution(&mut self, value: &mut Vec<u8>) {
        let mut depth = 0u32;
        while self.at < self.text.len() {
            let byte = self.peek(0);
            value.push(byte);
            self.at += 1;
            match byte {
                b'(' => depth += 1,
                b')' => {
                    depth -= 1;
                    if depth == 0 {
                        return;
                    }
                }
                b'\n' => self.line += 1,
                _ => {}
            }
        }
    }

    fn end(&mut self, background: bool) {
        let words = std::mem::take(&mut self.words);
        let assignments = words
            .iter()
            .take_while(|word| assignment(&word.value).is_some())
            .count();
        if assignments == words.len() {
            for word in &words {
                if let Some((name, value)) = assignment(&word.value) {
                    self.variables.push((name.to_owned(), value.to_owned()));
                }
            }
            return;
        }
        let Some(first) = words.first() else { return };
        let command = Command {
            start: first.start,
            line: first.line,
            words: words
                .iter()
                .skip(assignments)
                .flat_map(|word| self.expand(&word.value))
                .collect(),
            background,
        };
        self.commands.push(command);
    }

    /// A word that is one known variable becomes the words of its value.
    fn expand(&self, word: &str) -> Vec<String> {
        let name = word.strip_prefix('$').map(|name| {
            let braced = name.strip_prefix('{').and_then(|name| name.strip_suffix('}'));
            braced.unwrap_or(name)
        });
        let known = name.and_then(|name| self.variables.iter().rev().find(|(known, _)| known == name));
        match known {
            Some((_, value)) => value.split_ascii_whitespace().map(str::to_owned).collect(),
            None => vec![word.to_owned()],
        }
    }
}

fn assignment(word: &str) -> Option<(&str, &str)> {
    let (name, value) = word.split_once('=')?;
    let mut letters = name.bytes();
    let first = letters
        .next()
        .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    (first && letters.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')).then_some((name, value))
}

#[cfg(test)]
mod tests {
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
                vec!["1:case $1 in", "2:echo a", "3:sleep 1", "3:b", "3:esac"],
            ),
            ("telnetd() {\n x \\\n  y\n}\n", vec!["2:x y", "4:}"]),
            ("cat <<EOF >f\ntelnetd\nEOF\nx", vec!["1:cat", "4:x"]),
            ("a=$(pidof telnetd) b", vec!["1:b"]),
            ("echo 'it''s' \"a;b\" a\\;b `x y`", vec!["1:echo its a;b a;b x y"]),
            ("x &>/dev/null &", vec!["1:x &"]),
        ] {
            assert_eq!(words(text), expected, "{text}");
        }
        let text = b"  if FOO=1 telnetd; then";
        assert_eq!(commands(text)[0].start, 5);
    }

    proptest::proptest! {
        #[test]
        fn no_script_makes_it_panic(text in proptest::collection::vec(0..=255u8, 0..200), shell in "[a\\n;&|(){}<>'\"`$\\\\# =-]{0,80}") {
            let _ = commands(&text);
            let _ = commands(shell.as_bytes());
        }
    }
}
