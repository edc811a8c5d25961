//! Commands of a script, with where their output goes.

use super::RESERVED;

/// A command as it is written.
#[derive(Debug, Default, Clone)]
pub(super) struct Command {
    pub(super) words: Vec<String>,
    /// Where its output goes.
    pub(super) output: Option<String>,
    /// Scripts in `$(…)`, `<(…)` and backticks.
    pub(super) inner: Vec<String>,
    /// What comes before it writes to it.
    pub(super) fed: bool,
    pub(super) line: u32,
    /// The function whose body comes next.
    pub(super) defines: Option<String>,
    /// What a command before it is given as its input, in lines of the script (`<<`): this is no command.
    pub(super) document: Option<String>,
}

/// Splits a text into commands.
pub(super) struct Lexer<'t> {
    rest: &'t [u8],
    line: u32,
    /// Whether the last command's output goes to the next.
    pipes: bool,
    parentheses: u32,
    /// How many were open where each `case` began that is not over.
    cases: Vec<u32>,
    /// How documents end that begin with the next line, and whether tabs stand before their lines.
    awaited: Vec<(String, bool)>,
    documents: Vec<(String, u32)>,
    /// Whether a quote, a parenthesis or a document was not closed: what comes behind it may have been taken for a part of it.
    pub(super) open: bool,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t str, line: u32) -> Self {
        Self {
            rest: text.as_bytes(),
            line,
            pipes: false,
            parentheses: 0,
            cases: Vec::new(),
            awaited: Vec::new(),
            documents: Vec::new(),
            open: false,
        }
    }

    fn peek(&self, ahead: usize) -> u8 {
        self.rest.get(ahead).copied().unwrap_or(0)
    }

    fn take(&mut self) -> u8 {
        let Some((first, rest)) = self.rest.split_first() else {
            return 0;
        };
        self.rest = rest;
        self.line += u32::from(*first == b'\n');
        *first
    }

    pub(super) fn next(&mut self) -> Option<Command> {
        if let Some((text, line)) = self.documents.pop() {
            return Some(Command {
                document: Some(text),
                line,
                ..Command::default()
            });
        }
        let mut command = Command {
            fed: core::mem::take(&mut self.pipes),
            ..Command::default()
        };
        // Whether a command starts behind all words so far.
        let (mut started, mut begins) = (false, true);
        while !self.rest.is_empty() {
            if !started {
                command.line = self.line;
            }
            match self.peek(0) {
                b' ' | b'\t' | b'\r' | 0 => drop(self.take()),
                b'\\' if self.peek(1) == b'\n' => drop((self.take(), self.take())),
                b'#' => {
                    while !matches!(self.peek(0), b'\n' | 0) {
                        self.take();
                    }
                }
                b'(' if self.is_definition(&command) => {
                    while self.take() != b')' {}
                    command.defines = command.words.pop();
                    return Some(command);
                }
                b'\n' | b';' | b'&' | b'|' | b'(' | b')' if !self.redirects() => {
                    let keep = self.separator();
                    if started && keep {
                        return Some(command);
                    }
                    if !self.documents.is_empty() {
                        self.pipes |= command.fed && !started;
                        return self.next();
                    }
                    let fed = core::mem::take(&mut self.pipes) || command.fed && !started;
                    command = Command::default();
                    command.fed = fed;
                    (started, begins) = (false, true);
                }
                b'<' | b'>' | b'&' => {
                    started = true;
                    self.redirection(&mut command);
                }
                _ => {
                    started = true;
                    let word = self.word(&mut command.inner);
                    // A digit before `>` is a descriptor.
                    let descriptor = matches!(word.as_str(), "0" | "2" | "3") && self.peek(0) == b'>';
                    if descriptor {
                        self.redirection(&mut Command::default());
                    } else if !(word == "1" && self.peek(0) == b'>') {
                        match word.as_str() {
                            "case" if begins => self.cases.push(self.parentheses),
                            "esac" if begins => drop(self.cases.pop()),
                            _ => {}
                        }
                        begins &= RESERVED.contains(&word.as_str());
                        command.words.push(word);
                    }
                }
            }
        }
        started.then_some(command)
    }

    /// `name()`.
    fn is_definition(&self, command: &Command) -> bool {
        let blank = |byte: &&u8| matches!(byte, b' ' | b'\t');
        let inside = self.rest.iter().skip(1).take_while(blank).count();
        let named = command.words.last().is_some_and(|name| !name.contains('='));
        named && command.inner.is_empty() && self.peek(inside + 1) == b')'
    }

    /// `&>`.
    fn redirects(&self) -> bool {
        self.peek(0) == b'&' && self.peek(1) == b'>'
    }

    /// Says whether what stands before it is a command: before `)` alone stands a pattern of `case`.
    fn separator(&mut self) -> bool {
        match self.take() {
            b'|' if self.peek(0) == b'|' => drop(self.take()),
            b'|' => {
                if self.peek(0) == b'&' {
                    self.take();
                }
                self.pipes = true;
            }
            b'(' => self.parentheses += 1,
            b')' if self.parentheses == 0 || self.cases.last() == Some(&self.parentheses) => return false,
            b')' => self.parentheses -= 1,
            b'\n' => self.take_documents(),
            _ => {}
        }
        true
    }

    fn take_documents(&mut self) {
        for (end, tabs) in core::mem::take(&mut self.awaited) {
            let at = self.line;
            let mut text = Vec::new();
            let ends = loop {
                let length = self.rest.iter().position(|byte| *byte == b'\n');
                let length = length.map_or(self.rest.len(), |at| at + 1);
                let Some((line, rest)) = self.rest.split_at_checked(length).filter(|_| length > 0) else {
                    break false;
                };
                self.rest = rest;
                self.line += 1;
                let bare = line.strip_suffix(b"\n").unwrap_or(line);
                let bare = bare.strip_suffix(b"\r").unwrap_or(bare);
                let before = bare.iter().take_while(|byte| tabs && **byte == b'\t').count();
                if bare.get(before..) == Some(end.as_bytes()) {
                    break true;
                }
                text.extend(line);
            };
            self.open |= !ends;
            let text = String::from_utf8_lossy(&text).into_owned();
            self.documents.push((text, at));
        }
        // The last one is taken first.
        self.documents.reverse();
    }

    fn redirection(&mut self, command: &mut Command) {
        let mut operator = Vec::new();
        while matches!(self.peek(0), b'<' | b'>' | b'&' | b'|') && operator.len() < 3 {
            operator.push(self.take());
        }
        if self.peek(0) == b'(' {
            let inside = self.nested();
            return command.inner.push(inside);
        }
        while matches!(self.peek(0), b' ' | b'\t') {
            self.take();
        }
        if matches!(self.peek(0), b'\n' | b';' | b'|' | b'&' | b')' | b'(' | 0) {
            return;
        }
        let tabs = operator == b"<<" && self.peek(0) == b'-';
        if tabs {
            self.take();
        }
        let word = self.word(&mut command.inner);
        match operator.as_slice() {
            b"<<" => self.awaited.push((word, tabs)),
            b">&" if word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') => {}
            b">" | b">>" | b"&>" | b">|" | b">&" | b"<>" => command.output = Some(word),
            b"<" => command.words.push(word),
            _ => {}
        }
    }

    fn word(&mut self, inner: &mut Vec<String>) -> String {
        let mut word = Vec::new();
        let mut quote = 0;
        while let byte @ 1.. = self.peek(0) {
            match (byte, quote) {
                (b' ' | b'\t' | b'\r' | b'\n' | b';' | b'&' | b'|' | b'(' | b')' | b'<' | b'>', 0) => break,
                (b'\'' | b'"', 0) => quote = self.take(),
                (mark, open) if mark == open => {
                    quote = 0;
                    self.take();
                }
                (b'\\', 0 | b'"') => {
                    self.take();
                    match self.take() {
                        b'\n' | 0 => {}
                        byte => {
                            if quote != 0 && !matches!(byte, b'$' | b'`' | b'"' | b'\\') {
                                word.push(b'\\');
                            }
                            word.push(byte);
                        }
                    }
                }
                (b'$', 0 | b'"') if self.peek(1) == b'(' => {
                    self.take();
                    inner.push(self.nested());
                    word.extend(b"$()");
                }
                (b'`', 0 | b'"') => {
                    self.take();
                    let mut inside = Vec::new();
                    while !matches!(self.peek(0), b'`' | 0) {
                        inside.push(self.take());
                    }
                    self.open |= self.take() == 0;
                    inner.push(String::from_utf8_lossy(&inside).into_owned());
                    word.extend(b"$()");
                }
                _ => {
                    word.push(byte);
                    self.take();
                }
            }
        }
        self.open |= quote != 0;
        String::from_utf8_lossy(&word).into_owned()
    }

    /// What stands between a parenthesis and the one that ends it.
    fn nested(&mut self) -> String {
        let mut inside = Vec::new();
        let (mut depth, mut quote) = (0u32, 0);
        loop {
            let byte = self.take();
            match (byte, quote) {
                (0, _) => {
                    self.open = true;
                    break;
                }
                (b'\\', 0 | b'"') => {
                    inside.push(byte);
                    inside.push(self.take());
                    continue;
                }
                (b'\'' | b'"', 0) => quote = byte,
                (mark, open) if mark == open => quote = 0,
                (b'(', 0) => depth += 1,
                (b')', 0) => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                break;
            }
            inside.push(byte);
        }
        let inside = inside.get(1..).unwrap_or_default();
        String::from_utf8_lossy(inside).into_owned()
    }
}
