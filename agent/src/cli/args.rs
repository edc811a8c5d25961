//! The words of the command line: which command, with which options, and what `--help` says of them. Tables and one reader
//! of them, which is a quarter of what code for each command would be in a camera's flash.

use std::path::PathBuf;

/// Where descriptions begin, and where lines end.
const INDENT: usize = 20;
const WIDTH: usize = 80;
const HELP: Opt = Opt {
    name: "--help, help",
    value: "",
    what: "display usage information",
};

/// An option, or with a name without dashes a word that must be there.
pub(super) struct Opt {
    pub(super) name: &'static str,
    /// What its value is called; empty: it takes none.
    pub(super) value: &'static str,
    pub(super) what: &'static str,
}

/// A command.
pub(super) struct Spec {
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    pub(super) options: &'static [Opt],
    pub(super) word: Option<Opt>,
}

/// What all commands say about the whole.
pub(super) struct Program {
    pub(super) what: &'static str,
    pub(super) options: &'static [Opt],
    pub(super) commands: &'static [Spec],
    /// What `--help` ends with.
    pub(super) notes: &'static str,
}

/// What was asked for.
pub(super) enum Asked<'a> {
    Command(Given<'a>),
    /// To be shown.
    Help(String),
    Version,
    /// No command.
    Nothing,
}

/// A command with its options.
pub(super) struct Given<'a> {
    pub(super) spec: &'static Spec,
    /// In the order of the command's options; empty for one without a value.
    values: Vec<Option<&'a str>>,
    word: Option<&'a str>,
}

impl Program {
    /// Reads a command line, without the program's name.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read<'a>(&'static self, args: &[&'a str]) -> Result<Asked<'a>, String> {
        let (mut help, mut version) = (false, false);
        for (n, arg) in args.iter().enumerate() {
            match *arg {
                "--help" | "help" => help = true,
                "--version" => version = true,
                name => {
                    let spec = self.commands.iter().find(|spec| spec.name == name);
                    let spec = spec.ok_or_else(|| unknown(name))?;
                    let rest = args.get(n + 1..).unwrap_or_default();
                    let asked = if help {
                        Asked::Help(spec.help())
                    } else {
                        spec.read(rest)?
                    };
                    return Ok(if version { Asked::Version } else { asked });
                }
            }
        }
        Ok(match (help, version) {
            (true, _) => Asked::Help(self.help()),
            (false, true) => Asked::Version,
            (false, false) => Asked::Nothing,
        })
    }

    fn help(&self) -> String {
        let mut out = String::from("Usage: lenscap");
        usage(&mut out, self.options);
        out.push_str(" [<command>] [<args>]\n\n");
        out.push_str(self.what);
        options(&mut out, self.options);
        out.push_str("\nCommands:\n");
        for Spec { name, what, .. } in self.commands {
            describe(&mut out, name, what);
        }
        out.push_str(self.notes);
        out
    }
}

impl Spec {
    fn read<'a>(&'static self, args: &[&'a str]) -> Result<Asked<'a>, String> {
        let mut given = Given {
            spec: self,
            values: vec![None; self.options.len()],
            word: None,
        };
        let mut ended = false;
        let mut args = args.iter();
        while let Some(&arg) = args.next() {
            match arg {
                "--help" | "help" if !ended => return Ok(Asked::Help(self.help())),
                "--" if !ended => ended = true,
                _ if ended || !arg.starts_with('-') => {
                    if self.word.is_none() || given.word.is_some() {
                        return Err(unknown(arg));
                    }
                    given.word = Some(arg);
                }
                _ => given.take(arg, || args.next().copied())?,
            }
        }
        match &self.word {
            Some(Opt { name, .. }) if given.word.is_none() => Err(format!("<{name}> is missing")),
            _ => Ok(Asked::Command(given)),
        }
    }

    fn help(&self) -> String {
        let mut out = format!("Usage: lenscap {}", self.name);
        usage(&mut out, self.options);
        if let Some(Opt { name, .. }) = &self.word {
            out.push_str(&format!(" [--] <{name}>"));
        }
        out.push_str("\n\n");
        out.push_str(self.what);
        if let Some(Opt { name, what, .. }) = &self.word {
            out.push_str("\n\nPositional Arguments:\n");
            describe(&mut out, name, what);
            out.pop();
        }
        options(&mut out, self.options);
        out
    }
}

impl<'a> Given<'a> {
    fn take(&mut self, arg: &str, next: impl FnOnce() -> Option<&'a str>) -> Result<(), String> {
        let mut slots = self.spec.options.iter().zip(&mut self.values);
        let (option, value) = slots
            .find(|(option, _)| option.name == arg)
            .ok_or_else(|| unknown(arg))?;
        if option.value.is_empty() {
            *value = Some("");
            return Ok(());
        }
        if value.is_some() {
            return Err(format!("{arg} is given twice"));
        }
        *value = next();
        match value {
            Some(_) => Ok(()),
            None => Err(format!("{arg} needs a value: <{}>", option.value)),
        }
    }

    /// The value of an option, if it was given.
    pub(super) fn value(&self, name: &str) -> Option<&'a str> {
        let at = self.spec.options.iter().position(|option| option.name == name);
        debug_assert!(at.is_some(), "{} has no {name}", self.spec.name);
        self.values.get(at?).copied().flatten()
    }

    /// Whether an option was given.
    pub(super) fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// The value of an option as text of its own.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.value(name).map(str::to_owned)
    }

    /// The value of an option that names a file.
    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        self.value(name).map(PathBuf::from)
    }

    /// The word that must be there.
    #[cfg(feature = "flows")]
    pub(super) fn word(&self) -> &'a str {
        self.word.unwrap_or_default()
    }

    /// The value of an option that takes a number.
    ///
    /// # Errors
    /// It is none.
    #[cfg(feature = "flows")]
    pub(super) fn number(&self, name: &str, default: u32) -> Result<u32, String> {
        let Some(value) = self.value(name) else {
            return Ok(default);
        };
        value
            .parse()
            .map_err(|_| format!("{name} takes a number, not `{value}`"))
    }
}

fn unknown(arg: &str) -> String {
    format!("Unrecognized argument: {arg}")
}

fn usage(out: &mut String, options: &[Opt]) {
    for Opt { name, value, .. } in options {
        out.push_str(" [");
        out.push_str(name);
        if !value.is_empty() {
            out.push_str(&format!(" <{value}>"));
        }
        out.push(']');
    }
}

fn options(out: &mut String, options: &[Opt]) {
    out.push_str("\n\nOptions:\n");
    for Opt { name, what, .. } in options.iter().chain([&HELP]) {
        describe(out, name, what);
    }
}

/// A name, and beside it what it is, in lines that fit a terminal.
fn describe(out: &mut String, name: &str, what: &str) {
    out.push_str("  ");
    out.push_str(name);
    let mut column = name.len() + 2;
    for word in what.split(' ') {
        // The first word stands where descriptions begin.
        if column + 1 + word.len() > WIDTH || column >= INDENT && column == name.len() + 2 {
            out.push('\n');
            column = 0;
        }
        let blanks = if column < INDENT { INDENT - column } else { 1 };
        out.extend(core::iter::repeat_n(' ', blanks));
        out.push_str(word);
        column += blanks + word.len();
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_are_wrapped_beside_their_names() {
        let mut out = String::new();
        describe(&mut out, "--a", "word word");
        describe(&mut out, "--restore-insecure", "word ".repeat(14).trim_end());
        describe(&mut out, "--b", &"x".repeat(90));
        let pad = " ".repeat(20);
        let long = "x".repeat(90);
        assert_eq!(
            out,
            format!(
                "  --a               word word\n  --restore-insecure\n{pad}{}\n{pad}word word\n  --b\n{pad}{long}\n",
                "word ".repeat(12).trim_end()
            )
        );
    }
}
