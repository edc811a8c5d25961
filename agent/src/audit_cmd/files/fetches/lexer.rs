//! Commands of a script, with where their output goes.

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
}

/// Splits a text into commands.
pub(super) struct Lexer<'t> {
    rest: &'t [u8],
    line: u32,
    /// Whether the last command's output goes to the next.
    pipes: bool,
    parentheses: u32,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t str, line: u32) -> Self {
        Self {
            rest: text.as_bytes(),
            line,
            pipes: false,
            parentheses: 0,
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
        let mut command = Command {
            fed: core::mem::take(&mut self.pipes),
            ..Command::default()
        };
        let mut started = false;
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
                    let fed = core::mem::take(&mut self.pipes) || command.fed && !started;
                    command = Command::default();
                    command.fed = fed;
                    started = false;
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
            b')' if self.parentheses == 0 => return false,
            b')' => self.parentheses -= 1,
            _ => {}
        }
        true
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
        let word = self.word(&mut command.inner);
        match operator.as_slice() {
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
                        byte => word.push(byte),
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
                    self.take();
                    inner.push(String::from_utf8_lossy(&inside).into_owned());
                    word.extend(b"$()");
                }
                _ => {
                    word.push(byte);
                    self.take();
                }
            }
        }
        String::from_utf8_lossy(&word).into_owned()
    }

    /// What stands between a parenthesis and the one that ends it.
    fn nested(&mut self) -> String {
        let mut inside = Vec::new();
        let mut depth = 0u32;
        while !self.rest.is_empty() {
            let byte = self.take();
            match byte {
                b'(' => depth += 1,
                b')' => depth -= 1,
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
