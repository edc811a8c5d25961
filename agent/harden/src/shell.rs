//! Finds the simple commands of a shell script: enough to tell which of them starts a program, and where.
//!
//! It is no shell: it expands only variables that the script sets to a fixed text. What it cannot follow it reports as
//! seen rather than as understood: what `$(…)` and backticks run, and what here-documents hold, stands apart.

/// What following a script may cost, in bytes of values that are made and compared: for each of its bytes, and at most.
const WORK_PER_BYTE: usize = 64;
const MIN_WORK: usize = 1024;
const MAX_WORK: usize = 1 << 20;
/// What a command or an assignment costs.
const STEP: usize = 16;
/// How many variables are looked through for one.
const LOOKED_AT: usize = 8;
/// How often a script is read anew, as its variables may be used above where they are set.
const MAX_READINGS: usize = 6;
/// Words after which a command starts.
const RESERVED: &[&str] = &[
    "if", "then", "else", "elif", "do", "while", "until", "!", "{", "time",
];

/// How deep `$(…)` and the like are looked into.
const MAX_DEPTH: usize = 4;
/// Commands that set variables.
const SETTERS: &[&str] = &["export", "local", "readonly", "declare", "typeset"];

/// A simple command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Command {
    /// Where its first word starts, in bytes.
    pub start: usize,
    /// Its line, counted from 1.
    pub line: u32,
    /// Its words without quotes, variables expanded where they are known; assignments before the first are left out.
    pub words: Vec<String>,
    /// The same with variables expanded anywhere that have one value in the script.
    pub plain: Vec<String>,
    /// The same with all variables expanded, to all of their values; then what it reads by `<`.
    pub meant: Vec<String>,
    /// The file that it writes anew by `>`, expanded as [`meant`](Self::meant) is; empty without.
    pub output: Vec<String>,
    /// Whether `&` ends it, or the list, pipe or group that it is of.
    pub background: bool,
    /// Whether `|` does.
    pub piped: bool,
    /// The words and operators before it that say when it runs, such as [`WHILE`].
    pub lead: u8,
    /// The function whose first command it is.
    pub defines: Option<String>,
    /// The loops around it, a bit for each, the innermost lowest: 1 is `while` or `until`, 0 is `for`.
    pub loops: u64,
}

/// It is the first of a loop's condition.
pub const WHILE: u8 = 1;
/// The same of a loop that ends once the condition is true.
pub const UNTIL: u8 = 2;
/// It is the first in a loop.
pub const DO: u8 = 4;
/// What it says is turned round.
pub const NOT: u8 = 8;
/// It is the first of the condition of `if`.
pub const IF: u8 = 16;
/// It is the first of what runs otherwise.
pub const ELSE: u8 = 32;
/// It is the first between braces.
pub const BRACE: u8 = 64;
/// It runs if the one before failed.
pub const OR: u8 = 128;

/// The commands of a script.
#[derive(Debug, Default)]
pub struct Script {
    /// Its own.
    pub commands: Vec<Command>,
    /// Those within `$(…)`, backticks and here-documents. Where they start is not told.
    pub inner: Vec<Command>,
    /// Whether a limit was reached: there may be other commands, and other values in these.
    pub cut: bool,
}

/// The simple commands of a script, read once from its beginning.
#[must_use]
pub fn commands(text: &[u8]) -> Vec<Command> {
    let mut known = Known::new(text);
    let mut scanner = Scanner::new(text, &mut known);
    scanner.run();
    scanner.commands
}

/// The same with what may run within them, and with variables that are set below: a function is above what calls it.
#[must_use]
pub fn scan(text: &[u8]) -> Script {
    let mut known = Known::new(text);
    loop {
        known.changed = false;
        known.variables.iter_mut().for_each(|variable| variable.fresh = 0);
        let mut script = scan_below(text, &mut known, 0);
        known.reading += 1;
        script.cut = known.left == 0 || known.changed && known.reading == MAX_READINGS;
        if script.cut || !known.changed {
            return script;
        }
    }
}

fn scan_below(text: &[u8], known: &mut Known, depth: usize) -> Script {
    let mut scanner = Scanner::new(text, known);
    scanner.run();
    let mut script = Script {
        commands: scanner.commands,
        ..Script::default()
    };
    for (line, text) in scanner.inner {
        if depth == MAX_DEPTH {
            known.left = 0;
            break;
        }
        let found = scan_below(&text, known, depth + 1);
        for mut command in found.commands.into_iter().chain(found.inner) {
            command.line += line - 1;
            script.inner.push(command);
        }
    }
    script
}

/// What is known of a script's variables, and what may still be spent on it.
struct Known {
    variables: Vec<Variable>,
    /// Whether this reading found a value that is new.
    changed: bool,
    /// How many readings there were before.
    reading: usize,
    /// 0: a limit was reached.
    left: usize,
}

struct Variable {
    name: String,
    /// All that it may be; the newest is last.
    values: Vec<String>,
    /// How many of the last of them this reading saw set.
    fresh: usize,
}

fn find<'v>(variables: &'v mut [Variable], name: &str) -> Option<&'v mut Variable> {
    variables.iter_mut().find(|variable| variable.name == name)
}

impl Known {
    fn new(text: &[u8]) -> Self {
        Self {
            variables: Vec::new(),
            changed: false,
            reading: 0,
            left: (text.len() * WORK_PER_BYTE + MIN_WORK).min(MAX_WORK),
        }
    }

    fn spend(&mut self, work: usize) {
        self.left = self.left.saturating_sub(work);
    }

    fn find(&mut self, name: &str) -> Option<&mut Variable> {
        self.spend(self.variables.len() / LOOKED_AT);
        find(&mut self.variables, name)
    }

    fn put(&mut self, name: &str, value: String) {
        if self.find(name).is_none() {
            self.spend(self.variables.len());
            self.variables.push(Variable {
                name: name.to_owned(),
                values: Vec::new(),
                fresh: 0,
            });
        }
        let Some(variable) = self.find(name) else {
            return;
        };
        let values = &mut variable.values;
        let known = values.len();
        let have = values.iter().position(|have| *have == value);
        if have.is_none_or(|at| at + variable.fresh < known) {
            variable.fresh += 1;
        }
        if let Some(at) = have {
            values.remove(at);
        }
        values.push(value);
        self.changed |= have.is_none();
        self.spend(STEP + known);
    }
}

struct Scanner<'a> {
    text: &'a [u8],
    known: &'a mut Known,
    at: usize,
    line: u32,
    parentheses: u32,
    words: Vec<Word>,
    /// What it reads by `<`.
    inputs: Vec<String>,
    output: String,
    lead: u8,
    defines: Option<String>,
    loops: u64,
    /// The first command of this list, and of those around the groups that are open.
    list: usize,
    groups: Vec<usize>,
    heredocs: Vec<Vec<u8>>,
    commands: Vec<Command>,
    /// Texts that are scripts of their own, and their lines.
    inner: Vec<(u32, Vec<u8>)>,
}

struct Word {
    start: usize,
    line: u32,
    value: String,
    quoted: bool,
}

impl<'a> Scanner<'a> {
    fn new(text: &'a [u8], known: &'a mut Known) -> Self {
        Self {
            text,
            known,
            at: 0,
            line: 1,
            parentheses: 0,
            words: Vec::new(),
            inputs: Vec::new(),
            output: String::new(),
            lead: 0,
            defines: None,
            loops: 0,
            list: 0,
            groups: Vec::new(),
            heredocs: Vec::new(),
            commands: Vec::new(),
            inner: Vec::new(),
        }
    }

    fn peek(&self, ahead: usize) -> u8 {
        self.text.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn run(&mut self) {
        while self.at < self.text.len() && self.known.left > 0 {
            match self.peek(0) {
                b' ' | b'\t' | b'\r' => self.at += 1,
                b'\\' if self.peek(1) == b'\n' => {
                    self.at += 2;
                    self.line += 1;
                }
                b'\n' => {
                    // Behind an operator the list goes on.
                    let goes_on = self.words.is_empty().then_some(self.list);
                    self.end_list();
                    self.list = goes_on.unwrap_or(self.list);
                    self.at += 1;
                    self.line += 1;
                    self.skip_heredocs();
                }
                b'#' => self.skip_line(),
                b'&' if self.peek(1) == b'>' => self.redirection(2),
                b'&' if self.peek(1) == b'&' => {
                    self.end();
                    self.at += 2;
                }
                b'&' => {
                    self.end();
                    // What a loop in it runs, that waits for.
                    let same = |command: &&mut Command| command.loops == self.loops;
                    for command in self.commands.iter_mut().skip(self.list).filter(same) {
                        command.background = true;
                    }
                    self.end_list();
                    self.at += 1;
                }
                b'|' => {
                    let piped = self.peek(1) != b'|';
                    self.end();
                    if let Some(command) = self.commands.last_mut().filter(|_| piped) {
                        command.piped = true;
                    }
                    if !piped && self.peek(1) == b'|' {
                        self.lead |= OR;
                        self.at += 1;
                    }
                    self.at += 1;
                }
                b';' => {
                    self.end_list();
                    self.at += 1;
                }
                b'(' => self.open(),
                b')' => self.close(),
                b'<' | b'>' => self.redirection(1),
                _ => self.word(),
            }
        }
        self.end();
    }

    fn end_list(&mut self) {
        self.end();
        self.list = self.commands.len();
    }

    fn open_group(&mut self) {
        self.groups.push(self.list);
        self.list = self.commands.len();
    }

    fn close_group(&mut self) {
        self.list = self.groups.pop().unwrap_or(self.list);
    }

    /// A group, or the parentheses after a function's name.
    fn open(&mut self) {
        if self.words.len() == 1 {
            self.defines = self.words.pop().map(|word| word.value);
            self.lead = 0;
            self.at += 1;
            while matches!(self.peek(0), b' ' | b'\t') {
                self.at += 1;
            }
            if self.peek(0) == b')' {
                self.at += 1;
            }
            return;
        }
        self.end();
        self.open_group();
        self.parentheses += 1;
        self.at += 1;
    }

    /// A group's end, or a pattern of `case`.
    fn close(&mut self) {
        if self.parentheses == 0 {
            self.words.clear();
        } else {
            self.parentheses -= 1;
            self.end();
            self.close_group();
        }
        self.at += 1;
    }

    fn redirection(&mut self, length: usize) {
        let start = self.at;
        self.at += length;
        while matches!(self.peek(0), b'>' | b'<' | b'&' | b'|' | b'-') {
            self.at += 1;
        }
        let operator = self.text.get(start..self.at).unwrap_or_default();
        while matches!(self.peek(0), b' ' | b'\t') {
            self.at += 1;
        }
        if !matches!(self.peek(0), b'\n' | b';' | b'&' | b'|' | b'(' | b')' | b'#' | 0) {
            let word = self.read_word();
            match operator {
                b"<<" | b"<<-" => self.heredocs.push(word.value.into_bytes()),
                b"<" => self.inputs.push(word.value),
                b">" | b">|" => self.output = word.value,
                _ => {}
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
            let (body, first) = (self.at, self.line);
            let mut end = body;
            while self.at < self.text.len() {
                let start = self.at;
                self.skip_line();
                let line = self.text.get(start..self.at).unwrap_or_default();
                self.at += 1;
                self.line += 1;
                if line.trim_ascii() == delimiter {
                    break;
                }
                end = self.at.min(self.text.len());
            }
            let body = self.text.get(body..end).unwrap_or_default();
            self.inner.push((first, body.to_vec()));
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
            self.lead |= match word.value.as_str() {
                loops @ ("while" | "until") => {
                    self.loops = self.loops << 1 | 1;
                    if loops == "while" { WHILE } else { UNTIL }
                }
                "do" => DO,
                "!" => NOT,
                "if" => IF,
                "else" | "elif" => ELSE,
                "{" => {
                    self.open_group();
                    BRACE
                }
                _ => 0,
            };
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
                b'`' => self.backticks(&mut value),
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
                b'`' if mark == b'"' => self.backticks(value),
                b'$' if mark == b'"' && self.peek(1) == b'(' => self.substitution(value),
                byte => {
                    self.line += u32::from(byte == b'\n');
                    value.push(byte);
                    self.at += 1;
                }
            }
        }
    }

    /// They are kept as they are, what runs inside too.
    fn backticks(&mut self, value: &mut Vec<u8>) {
        let line = self.line;
        value.push(b'`');
        let start = value.len();
        self.quote(b'`', value);
        let inside = value.get(start..).unwrap_or_default().to_vec();
        self.inner.push((line, inside));
        value.push(b'`');
    }

    /// `$(…)` is kept as it is.
    fn substitution(&mut self, value: &mut Vec<u8>) {
        let (mut depth, line) = (0u32, self.line);
        let start = value.len() + 2;
        while self.at < self.text.len() {
            let byte = self.peek(0);
            value.push(byte);
            self.at += 1;
            match byte {
                b'(' => depth += 1,
                b')' => {
                    depth -= 1;
                    if depth == 0 {
                        let inside = value.get(start..value.len() - 1).unwrap_or_default();
                        self.inner.push((line, inside.to_vec()));
                        return;
                    }
                }
                b'\n' => self.line += 1,
                _ => {}
            }
        }
    }

    fn end(&mut self) {
        let words = std::mem::take(&mut self.words);
        let inputs = std::mem::take(&mut self.inputs);
        let output = std::mem::take(&mut self.output);
        let assignments = words
            .iter()
            .take_while(|word| assignment(&word.value).is_some())
            .count();
        if assignments == words.len() {
            for word in &words {
                self.set(&word.value);
            }
            return;
        }
        let Some(first) = words.first() else { return };
        let (start, line) = (first.start, first.line);
        match first.value.as_str() {
            "for" => self.loops <<= 1,
            "done" => self.loops >>= 1,
            "}" => self.close_group(),
            _ => {}
        }
        let rest: Vec<&str> = words
            .iter()
            .skip(assignments)
            .map(|word| word.value.as_str())
            .collect();
        self.known.spend(STEP);
        let read = inputs.iter().map(String::as_str);
        let all: Vec<&str> = rest.iter().copied().chain(read).collect();
        let command = Command {
            start,
            line,
            words: rest.iter().flat_map(|word| self.expand(word)).collect(),
            plain: self.all_of(&rest, false),
            meant: self.all_of(&all, true),
            output: self.all_of(&[&output], true),
            background: false,
            piped: false,
            lead: std::mem::take(&mut self.lead),
            defines: self.defines.take(),
            loops: self.loops,
        };
        if self.known.left == 0 {
            // Its words may be in part.
            return;
        }
        self.commands.push(command);
        match rest.as_slice() {
            [setter, set @ ..] if SETTERS.contains(setter) => set.iter().for_each(|word| self.set(word)),
            ["for", name, "in", values @ ..] => {
                values
                    .iter()
                    .for_each(|value| self.set(&format!("{name}={value}")));
            }
            _ => {}
        }
    }

    /// An assignment gives a variable a value, or several.
    fn set(&mut self, word: &str) {
        let Some((name, value)) = assignment(word) else {
            return;
        };
        let own = value.split('$').skip(1).any(|behind| variable(behind).0 == name);
        let known = self.known.find(name);
        let unresolved = known.is_some_and(|known| known.values.iter().any(|have| have == value));
        // What is added to its own values would be added anew at each reading.
        let added = own && (self.known.reading > 1 || self.known.reading == 1 && !unresolved);
        let (values, _) = self.values(value, true, if added { name } else { "" });
        // The first is the newest.
        for new in values.into_iter().rev() {
            if !added || new != value {
                self.known.put(name, new);
            }
        }
        if let Some(variable) = self.known.find(name).filter(|_| added) {
            variable.fresh = variable.values.len();
        }
    }

    /// A word that is one known variable becomes the words of its value.
    fn expand(&mut self, word: &str) -> Vec<String> {
        let name = word.strip_prefix('$').map(|name| {
            let braced = name.strip_prefix('{').and_then(|name| name.strip_suffix('}'));
            braced.unwrap_or(name)
        });
        let known = name.and_then(|name| self.known.find(name));
        let Some(value) = known.and_then(|known| known.values.last()) else {
            return vec![word.to_owned()];
        };
        let (words, length) = (
            value.split_ascii_whitespace().map(str::to_owned).collect(),
            value.len(),
        );
        self.known.spend(length);
        words
    }

    fn all_of(&mut self, words: &[&str], several: bool) -> Vec<String> {
        words.iter().flat_map(|word| self.all(word, several)).collect()
    }

    /// All that a word may be. One that is a variable alone becomes the words of its values.
    fn all(&mut self, word: &str, several: bool) -> Vec<String> {
        let (values, alone) = self.values(word, several, "");
        let split = |value: String| -> Vec<String> {
            if alone && !value.contains(['(', '`']) {
                value.split_ascii_whitespace().map(str::to_owned).collect()
            } else {
                vec![value]
            }
        };
        values.into_iter().flat_map(split).collect()
    }

    /// What a word may be, and whether it is a variable alone. `several`: variables that have more than one value have each.
    /// The variable `but` stays as it is.
    fn values(&mut self, word: &str, several: bool, but: &str) -> (Vec<String>, bool) {
        let mut all = vec![String::new()];
        let mut alone = false;
        let mut rest = word;
        while let Some((text, behind)) = rest.split_once('$') {
            let (name, default, after) = variable(behind);
            let Known { variables, left, .. } = &mut *self.known;
            *left = left.saturating_sub(variables.len() / LOOKED_AT);
            let known = find(variables, name).filter(|_| name != but);
            let known = known.map(|known| (known.values.as_slice(), known.fresh));
            let (mut set, fresh) = known.unwrap_or_default();
            if !several && fresh > 0 {
                set = set.get(set.len() - fresh..).unwrap_or_default();
            }
            let mut values: Vec<&str> = set.iter().rev().map(String::as_str).collect();
            values.extend(default.filter(|default| !values.contains(default)));
            // Whoever runs the script may have set it.
            let sure = values.len() == 1 && known.is_some();
            if sure || several && !values.is_empty() {
                alone = rest.len() == word.len() && text.is_empty() && after.is_empty();
            } else {
                let seen = rest.len() - text.len() - after.len();
                values = rest.get(text.len()..text.len() + seen).into_iter().collect();
            }
            let mut next = Vec::new();
            for (start, new) in all
                .iter()
                .flat_map(|start| values.iter().map(move |new| (start, *new)))
            {
                *left = left.saturating_sub(start.len() + text.len() + new.len());
                if *left == 0 {
                    break;
                }
                next.push([start, text, new].concat());
            }
            all = next;
            rest = after;
        }
        all.iter_mut().for_each(|value| value.push_str(rest));
        (all, alone)
    }
}

/// The name of a variable at the start of a text, what it is if it is not set, and what follows.
fn variable(text: &str) -> (&str, Option<&str>, &str) {
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let Some((inside, after)) = text.strip_prefix('{').and_then(|text| text.split_once('}')) else {
        let end = text.find(|c| !letter(c)).unwrap_or(text.len());
        let (name, after) = text.split_at(end);
        return (name, None, after);
    };
    let end = inside.find(|c| !letter(c)).unwrap_or(inside.len());
    let (name, operator) = inside.split_at(end);
    let operator = operator.strip_prefix(':').unwrap_or(operator);
    (name, operator.strip_prefix(['-', '=']), after)
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
mod tests;
