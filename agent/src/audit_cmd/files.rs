//! What files tell: accounts, what starts by itself, owners and modes, keys, and what lies where everybody writes.
//!
//! Telnet, passwords and boot scripts are the hardener's to find: its plan is made and never applied.

mod console;
mod contents;
mod fetches;
mod keys;
pub(super) mod starts;
mod texts;

use std::io;

use lenscap_audit::facts::{
    Account, Fact, Facts, FileState, Finding, Missing, ModuleFile, Origin, Place, Strength, Topic,
};
use lenscap_harden::defaults::{self, Checker};
use lenscap_harden::edits::Edits;
use lenscap_harden::engine::{self, Settings};
use lenscap_harden::firmware::{keeps_none, recognise};
use lenscap_harden::report::{Measure, Status};
use lenscap_harden::root::{Kind, Root, folder_of, name_of};
use lenscap_harden::secret::LoginPassword;
use lenscap_harden::survey::Survey;
use lenscap_harden::{accounts, credentials, telnet};

use super::places::{self, Layers};
use super::{is_absent, missing};
pub(super) use starts::{hex, sshd};
use texts::Texts;

/// The work that password checks may be, in units of `crypt::cost`: a minute on a slow processor. The next audit goes on.
const BUDGET: u64 = 6_000_000;
/// The most entries of a kind.
const MAX_ENTRIES: usize = 1024;
/// Where everybody may write, or where nothing is after a restart.
const LOOSE: &[&str] = &[
    "/tmp",
    "/var/tmp",
    "/var/run",
    "/run",
    "/dev/shm",
    "/dev",
    "/var/lock",
];
/// Where firmwares keep no modules, beside [`LOOSE`].
const STRAY: &[&str] = &["/etc/", "/var/", "/root/"];
/// The most files that are looked at there, and the deepest folder.
const MAX_LOOSE_FILES: usize = 4096;
const MAX_LOOSE_DEPTH: usize = 16;
/// Names that Mirai's kin drops.
const KNOWN_NAMES: &[&str] = &[
    "dvrHelper",
    "nttpd",
    ".nttpd",
    "Mozi.m",
    "Mozi.a",
    "bins.sh",
    "8UsA.sh",
    ".anime",
    "hajime",
    "loligang",
    "mirai",
    "sora",
    "owari",
    "okane",
];

/// Looks at the files of a camera or a tree.
pub(super) fn collect(root: &Root, facts: &mut Facts) {
    let survey = Survey::take(root, engine::STATE_DIR);
    let source = format!(
        "{} scripts, {} settings, {} tables",
        survey.scripts.len(),
        survey.settings.len(),
        survey.accounts.len()
    );
    facts.about.firmwares = firmwares(root, &survey);
    let settings = Settings::default();
    let mut checker = engine::checker(root, &settings, BUDGET);
    facts
        .accounts
        .becomes(all_accounts(root, &survey, &mut checker, &facts.salt));
    facts.authorised.becomes(contents::authorised(root, &survey));
    let running = running(facts);
    let mounts = super::system::mount_table(root).unwrap_or_default();
    let texts = Texts::take(root, &survey, &mounts);
    facts.programs.becomes(contents::programs(root, &texts, &running));
    let mut found = Vec::new();
    let result = hardener(root, &survey, &mut checker, &mut found);
    if root.is_live() {
        engine::remember(root, &settings, &checker);
    }
    starts::findings(root, &survey, &texts, &mut found);
    facts.findings.becomes(match result {
        Err(error) => Fact::missing(source, missing(&error)),
        Ok(()) if !survey.complete || texts.cut => {
            Fact::missing(source, Missing::because("not all files could be looked at"))
        }
        Ok(()) => Fact::seen(source, found.clone()),
    });
    facts.partial = found;
    let layers = Layers::new(root, &mounts);
    facts.starts.becomes(starts::all(root, &survey, &texts, &layers));
    facts.layers.becomes(layers.told());
    let mut walked = Walked::default();
    walked.walk(root, facts, &layers, &mounts);
    let strays = walked.strays(facts);
    facts.strays.becomes(strays);
    facts.keys.becomes(keys::all(root, &walked, &layers, &mounts));
    facts.files.becomes(modes(root, &survey, facts));
    if root.is_live() {
        facts.droppings.becomes(droppings(root, &mounts));
        facts.rights.becomes(walked.rights());
        for path in facts.droppings.value().cloned().unwrap_or_default() {
            found_module(facts, &path, || ModuleFile::Loose(path.clone()));
        }
    } else {
        facts.ssh_passwords.becomes(starts::ssh(root, &survey));
    }
}

/// The files of programs, libraries and scripts that run, and that no read-only layer holds.
fn running(facts: &Facts) -> Vec<String> {
    let list = facts.processes.value().map_or(&[][..], |all| &all.list);
    let mut files: Vec<String> = Vec::new();
    let mut add = |file: &String, place: &Place| {
        if matches!(place, Place::Added | Place::Changed | Place::Writable) && !files.contains(file) {
            files.push(file.clone());
        }
    };
    for process in list {
        if let Ok(file) = &process.program {
            add(file, &process.place);
        }
        if let Some((file, place)) = &process.script {
            add(file, place);
        }
    }
    for mapped in facts
        .processes
        .value()
        .into_iter()
        .flat_map(|all| &all.mapped)
        .filter(|mapped| !mapped.shared)
    {
        add(&mapped.file, &mapped.place);
    }
    files
}

/// The names of the firmwares that fit. A walk tells of more than files of known names do.
pub(super) fn firmwares(root: &Root, survey: &Survey) -> Vec<String> {
    let recognised = recognise(root, survey);
    recognised
        .iter()
        .map(|known| known.adapter.name.to_owned())
        .collect()
}

#[inline(never)]
fn all_accounts(root: &Root, survey: &Survey, checker: &mut Checker, salt: &str) -> Fact<Vec<Account>> {
    let source = survey.accounts.join(" ");
    let mut all = Vec::new();
    for path in &survey.accounts {
        let text = match root.read(path) {
            Ok(text) => text,
            Err(error) => return Fact::missing(path.clone(), missing(&error)),
        };
        let table = accounts::parse(&text);
        if table.len() > accounts::MAX_ACCOUNTS || all.len() + table.len() > MAX_ENTRIES {
            return Fact::missing(source, Missing::because("has too many accounts"));
        }
        for account in table {
            let strength = match checker.judge(&account.field) {
                defaults::Strength::Empty => Strength::Empty,
                defaults::Strength::Known(known) => Strength::Known(known.source.to_owned()),
                defaults::Strength::Own => Strength::Own,
                defaults::Strength::Locked | defaults::Strength::Shadowed => Strength::Locked,
                defaults::Strength::Unknown(why) => Strength::Unknown(why.to_owned()),
            };
            all.push(Account {
                user: account.user,
                uid: account.uid,
                place: format!("{path}:{}", account.line),
                strength,
                login: contents::login(salt, &text, account.line),
            });
        }
    }
    if all.is_empty() {
        return Fact::missing("passwd", Missing::because("no account could be found"));
    }
    Fact::seen(source, all)
}

/// What `lenscap harden` would say.
#[inline(never)]
fn hardener(root: &Root, survey: &Survey, checker: &mut Checker, found: &mut Vec<Finding>) -> io::Result<()> {
    let mut edits = Edits::new(root);
    let settings = Settings {
        login_password: LoginPassword::Lock,
        ..Settings::default()
    };
    telnet::plan(survey, settings.close, &mut edits)?;
    let recognised = recognise(root, survey);
    let inputs = credentials::Inputs {
        survey,
        recognised: &recognised,
        checker,
        // What it makes is for a plan that nobody applies.
        random: &mut |bytes: &mut [u8]| {
            bytes.fill(b'x');
            Ok(())
        },
        settings: &settings,
        kept: &engine::applied(root, &settings),
    };
    credentials::plan(inputs, &mut edits)?;
    if keeps_none(root, &recognised) {
        // Nothing was found where nobody knows where to look.
        found.push(Finding {
            topic: Topic::Service,
            certain: false,
            place: "firmware".into(),
            text: "where its services keep their passwords is not known".into(),
        });
    }
    for finding in &edits.findings {
        let Some(path) = &finding.path else { continue };
        let topic = match (finding.measure, finding.status) {
            // Cards and boot loaders: no edit of the hardener's closes those.
            (Measure::Telnet, Status::Notice) if finding.text.contains("boot loader") => Topic::Loader,
            (Measure::Telnet, Status::Notice) if finding.text.contains("memory card") => Topic::Card,
            // Services that may be meant: the sockets tell them.
            (Measure::Telnet, Status::Notice) => continue,
            (Measure::Telnet, _) => Topic::Telnet,
            (_, Status::Notice) => continue,
            // Judged one by one as accounts.
            _ if survey.accounts.contains(path) => continue,
            // A place without a line is a script that uses a service's password.
            _ if survey.scripts.contains(path) && finding.line.is_some() => Topic::Boot,
            _ => Topic::Service,
        };
        if found.len() == MAX_ENTRIES {
            return Err(io::Error::other("there are too many findings"));
        }
        let line = finding.line.map_or(String::new(), |line| format!(":{line}"));
        found.push(Finding {
            topic,
            certain: !matches!(finding.status, Status::Unknown),
            place: format!("{path}{line}"),
            text: starts::without_arguments(path, &finding.text),
        });
    }
    Ok(())
}

/// What one walk over all names finds.
#[derive(Default)]
struct Walked {
    keys: Vec<String>,
    modules: Vec<String>,
    /// Files that give root's rights and came after the firmware.
    setuid: Vec<String>,
    cut: bool,
    complete: bool,
}

impl Walked {
    fn walk(&mut self, root: &Root, facts: &mut Facts, layers: &Layers, mounts: &str) {
        self.complete = root.walk(&mut |path| {
            let name = name_of(path);
            let stray = STRAY.iter().any(|place| path.starts_with(place));
            if layers.gives_rights(root, path, stray) {
                push(&mut self.setuid, path.to_owned());
            }
            if stray {
                if is_module(name) {
                    push(&mut self.modules, path.to_owned());
                }
            } else {
                found_module(facts, path, || match layers.is_strange(root, mounts, path) {
                    true => ModuleFile::Added(path.to_owned()),
                    false => ModuleFile::Found,
                });
            }
            if !keys::is_named(path) {
                return;
            }
            if self.keys.len() < MAX_ENTRIES {
                self.keys.push(path.to_owned());
            } else {
                self.cut = true;
            }
        });
    }
}

impl Walked {
    /// Modules where firmwares keep none. What is loaded and lies nowhere else came from there.
    fn strays(&mut self, facts: &mut Facts) -> Fact<Vec<String>> {
        let strays = core::mem::take(&mut self.modules);
        for path in &strays {
            found_module(facts, path, || ModuleFile::Loose(path.clone()));
        }
        if strays.len() == MAX_ENTRIES || !self.complete && strays.is_empty() {
            return Fact::missing("*.ko", Missing::because("not all folders could be looked at"));
        }
        Fact::seen("*.ko", strays)
    }
}

impl Walked {
    /// Files with root's rights that came after the firmware.
    fn rights(self) -> Fact<Vec<String>> {
        if self.setuid.len() == MAX_ENTRIES || !self.complete && self.setuid.is_empty() {
            return Fact::missing("setuid", Missing::because("not all folders could be looked at"));
        }
        Fact::seen("setuid", self.setuid)
    }
}

fn is_module(name: &str) -> bool {
    let name = name
        .trim_end_matches(".gz")
        .trim_end_matches(".xz")
        .trim_end_matches(".zst");
    name.ends_with(".ko")
}

/// Notes where a loaded module's file lies, if this is one.
fn found_module(facts: &mut Facts, path: &str, file: impl FnOnce() -> ModuleFile) {
    let Some((stem, _)) = name_of(path).split_once(".ko") else {
        return;
    };
    let same = |loaded: &str| loaded.replace('-', "_") == stem.replace('-', "_");
    for module in facts.modules.value.iter_mut().flatten() {
        if module.file == ModuleFile::Nowhere && same(&module.name) {
            module.file = file();
            return;
        }
    }
}

/// Owners and modes of what starts, of tables, and of secrets.
#[inline(never)]
fn modes(root: &Root, survey: &Survey, facts: &Facts) -> Fact<Vec<FileState>> {
    const SECRETS: &[&str] = &[
        "/etc/lenscap/identity.pem",
        "/etc/lenscap/camera-password",
        "/etc/config/lenscap",
    ];
    const FOLDERS: &[&str] = &[
        "/etc",
        "/etc/init.d",
        "/etc/rc.d",
        "/etc/crontabs",
        "/root",
        "/root/.ssh",
    ];
    let mut files: Vec<FileState> = Vec::new();
    let mut failed = None;
    let mut add = |path: &str, secret: bool, required: bool| match root.stat(path) {
        Ok(state) if files.len() < 2 * MAX_ENTRIES && !files.iter().any(|file| file.path == path) => {
            files.push(FileState {
                path: path.to_owned(),
                mode: state.mode,
                uid: state.uid,
                secret,
            });
        }
        Ok(_) => {}
        Err(error) if is_absent(&error) && !required => {}
        Err(error) => failed = Some(Fact::missing(path.to_owned(), missing(&error))),
    };
    for path in &survey.accounts {
        add(path, path.ends_with("/shadow"), true);
    }
    for path in FOLDERS {
        add(path, false, false);
    }
    for path in SECRETS {
        add(path, true, false);
    }
    for key in facts.keys.value().into_iter().flatten() {
        add(&key.path, true, !matches!(key.origin, Origin::Unknown(_)));
    }
    for start in facts.starts.value().into_iter().flatten() {
        // As systemd's units are masked.
        if start.what == starts::LINK && root.canonical(&start.place).is_ok_and(|to| to == "/dev/null") {
            continue;
        }
        add(
            start.place.split(": ").next().unwrap_or(&start.place),
            false,
            start.what != starts::LINK,
        );
    }
    // What start scripts run is as good as they are.
    for program in facts.programs.value().into_iter().flatten() {
        add(&program.place, false, false);
    }
    // Whoever may write a folder puts another file in the place of one.
    let mut folders: Vec<String> = Vec::new();
    for file in files.iter().filter(|file| !file.secret) {
        let mut path = file.path.as_str();
        while path.len() > 1 && folders.len() < MAX_ENTRIES {
            path = folder_of(path);
            if folders.iter().any(|known| known == path) {
                break;
            }
            folders.push(path.to_owned());
        }
    }
    for path in folders {
        // In a sticky one each file is its owner's.
        let state = root.stat(&path).ok();
        let known = files.iter().any(|file| file.path == path);
        if let Some(state) = state.filter(|state| !known && (state.mode & 0o1002 == 2 || state.uid != 0)) {
            files.push(FileState {
                path,
                mode: state.mode,
                uid: state.uid,
                secret: false,
            });
        }
    }
    match failed {
        Some(failed) => failed,
        None => Fact::seen("modes", files),
    }
}

/// Programs, and names that hide, where everybody may write and in what else lies in memory. Memory cards are told as mounts.
#[inline(never)]
fn droppings(root: &Root, mounts: &str) -> Fact<Vec<String>> {
    let cards = places::cards(mounts);
    let memory = places::memory(mounts);
    let looked = || LOOSE.iter().copied().chain(memory.iter().map(String::as_str));
    let mut loose = Loose::default();
    let mut done: Vec<String> = Vec::new();
    let mut folders: Vec<(String, usize)> = looked().map(|path| (path.to_owned(), 0)).collect();
    folders.reverse();
    while let Some((folder, depth)) = folders.pop() {
        // `/var/run` is `/run` by another name, as a rule.
        let folder = match root.canonical(&folder) {
            Ok(folder) => folder,
            Err(error) => {
                loose.doubts(folder, &error);
                continue;
            }
        };
        if done.contains(&folder)
            || folder == "/dev/pts"
            || folder.starts_with("/dev/pts/")
            || cards.contains(&folder)
        {
            continue;
        }
        done.push(folder.clone());
        loose.look(root, folder, depth, &mut folders);
    }
    match loose.doubt {
        Some(doubt) if loose.found.is_empty() => doubt,
        _ if done.is_empty() => Fact::default(),
        _ => {
            let mut source: Vec<&str> = Vec::new();
            for place in looked().filter(|place| done.iter().any(|folder| folder == place)) {
                if !source.contains(&place) {
                    source.push(place);
                }
            }
            Fact::seen(source.join(" "), loose.found)
        }
    }
}

/// What is found where everybody may write.
#[derive(Default)]
struct Loose {
    found: Vec<String>,
    seen: usize,
    doubt: Option<Fact<Vec<String>>>,
}

impl Loose {
    fn doubts(&mut self, path: String, error: &io::Error) {
        if !is_absent(error) {
            self.doubt = Some(Fact::missing(path, missing(error)));
        }
    }

    /// Looks at a folder, and adds those in it.
    fn look(&mut self, root: &Root, folder: String, depth: usize, folders: &mut Vec<(String, usize)>) {
        let listing = match root.listing(&folder) {
            Ok(listing) => listing,
            Err(error) => return self.doubts(folder, &error),
        };
        for name in &listing.odd {
            push(&mut self.found, format!("{folder}/{name}"));
        }
        let mut cut = listing.cut;
        for entry in &listing.entries {
            let path = format!("{folder}/{}", entry.name);
            self.seen += 1;
            match entry.kind() {
                _ if self.seen > MAX_LOOSE_FILES => cut = true,
                Kind::Folder if depth < MAX_LOOSE_DEPTH => folders.push((path, depth + 1)),
                Kind::Folder => cut = true,
                Kind::File if is_module(&entry.name) || KNOWN_NAMES.contains(&entry.name.as_str()) => {
                    push(&mut self.found, path);
                }
                Kind::File => match root.head(&path, 4) {
                    Ok(head) if head == b"\x7fELF" => push(&mut self.found, path),
                    Ok(_) => {}
                    Err(error) => self.doubts(path, &error),
                },
                Kind::Link | Kind::Other => {}
            }
        }
        if cut {
            let why = Missing::because("holds too many files or folders to look at");
            self.doubt = Some(Fact::missing(folder, why));
        }
    }
}

fn push(list: &mut Vec<String>, path: String) {
    if list.len() < MAX_ENTRIES {
        list.push(path);
    }
}
