//! Functions of a script: a body counts where it is called.

use super::lexer::Command;
use super::{RESERVED, Reader};

/// The deepest call, and how often one body is gone through: with other words each time.
const MAX_CALLS: u32 = 16;
const MAX_RUNS: u32 = 8;
/// Words of a call that its body sees.
const MAX_WORDS: usize = 4;
/// What others call: OpenWrt's `rc.common`, procd and netifd.
const CALLED: &[&str] = &[
    "start",
    "start_service",
    "service_started",
    "service_triggers",
    "boot",
    "stop",
    "stop_service",
    "service_stopped",
    "restart",
    "reload",
    "reload_service",
    "init",
    "setup",
    "teardown",
];

/// A function, or as much as was read of one.
#[derive(Debug, Default)]
pub(super) struct Function {
    name: String,
    body: Vec<Command>,
    runs: u32,
    /// Braces that are open.
    open: u32,
}

/// How many braces a command opens and closes, where words begin it.
fn braces(command: &Command) -> (u32, u32) {
    let leading = command
        .words
        .iter()
        .take_while(|word| RESERVED.contains(&word.as_str()));
    leading.fold((0, 0), |(open, close), word| match word.as_str() {
        "{" => (open + 1, close),
        "}" => (open, close + 1),
        _ => (open, close),
    })
}

impl Reader<'_> {
    /// Takes a command into the function that is read, or runs it.
    pub(super) fn step(&mut self, mut command: Command, depth: u32) {
        if let Some(mut function) = self.reading.take() {
            let (open, close) = braces(&command);
            if function.body.is_empty() && function.open == 0 {
                // The body of `name()`: in braces, or it is run where it stands.
                if open == 0 {
                    return self.step(command, depth);
                }
            }
            function.open = (function.open + open).saturating_sub(close);
            let ends = function.open == 0;
            function.body.push(command);
            if ends {
                self.functions.retain(|have| have.name != function.name);
                Self::room(&mut self.functions, function, &mut self.cut);
            } else {
                self.reading = Some(function);
            }
            return;
        }
        if command.words.first().is_some_and(|word| word == "function") && command.words.len() > 1 {
            let rest = command.words.split_off(2);
            command.defines = command.defines.or(command.words.pop());
            command.words = rest;
        }
        let Some(name) = command.defines.take() else {
            return self.command(&command, depth);
        };
        self.reading = Some(Function {
            name,
            ..Function::default()
        });
        if command.words.iter().any(|word| word == "{") {
            self.step(command, depth);
        }
    }

    /// What was not closed is run as it stands.
    pub(super) fn end_function(&mut self, depth: u32) {
        if let Some(function) = self.reading.take() {
            self.body(&function.body, depth);
        }
    }

    /// Runs the body of a function, if there is one of that name.
    pub(super) fn call(&mut self, name: &str, words: &[String], depth: u32) -> bool {
        let Some(at) = self.functions.iter().position(|function| function.name == name) else {
            return false;
        };
        let Some(function) = self
            .functions
            .get_mut(at)
            .filter(|function| function.runs < MAX_RUNS)
        else {
            return true;
        };
        function.runs += 1;
        // One that calls itself finds nothing.
        let body = core::mem::take(&mut function.body);
        let places = || ["1", "2", "3", "4"].into_iter().take(MAX_WORDS);
        let before: Vec<String> = places().map(|place| self.expand(&format!("${place}"))).collect();
        for (n, place) in places().enumerate() {
            // What is not given, or not known, stands for anything.
            let word = words.get(n).cloned().unwrap_or_else(|| format!("${place}"));
            self.set(&format!("{place}={word}"));
        }
        self.body(&body, depth);
        for (place, word) in places().zip(before) {
            self.set(&format!("{place}={word}"));
        }
        if let Some(function) = self
            .functions
            .get_mut(at)
            .filter(|function| function.name == name)
        {
            function.body = body;
        }
        true
    }

    fn body(&mut self, body: &[Command], depth: u32) {
        self.calls += 1;
        for command in body {
            self.commands += 1;
            if self.calls > MAX_CALLS || self.is_spent(command.words.iter().map(String::len).sum()) {
                self.cut = true;
                break;
            }
            if self.commands > super::MAX_COMMANDS {
                self.cut = true;
                break;
            }
            self.step(command.clone(), depth);
        }
        self.end_function(depth);
        self.calls -= 1;
    }

    /// Runs what nobody in the script called, and others may.
    pub(super) fn call_the_rest(&mut self, callable: &dyn Fn(&str) -> bool) {
        let mut at = 0;
        while let Some(function) = self.functions.get(at) {
            at += 1;
            let name = function.name.clone();
            let others = CALLED.contains(&name.as_str()) || name.starts_with("proto_") || self.dynamic;
            if function.runs == 0 && (others || callable(&name)) {
                self.call(&name, &[], 0);
            }
        }
    }
}
