//! Accounts of the system, in every table there is, and the scripts that write hashes into them at boot.

use std::io;

use super::{Context, LOCKED, describe};
use crate::accounts::{self, Account, MAX_ACCOUNTS};
use crate::crypt::{self, Field, Scheme};
use crate::defaults::{Strength, is_known};
use crate::edits::{Edits, MOUNTED};
use crate::firmware::Role;
use crate::locate;
use crate::report::Status;
use crate::root::{Root, folder_of, name_of};
use crate::secret::Secret;
use crate::shell;
use crate::survey::{RUNNERS, contains};
use crate::telnet::WRAPPERS;

/// What a login reads, and what firmwares mount or copy there.
const TABLES: &[&str] = &[
    "/etc/passwd",
    "/etc/shadow",
    "/home/yi-hack/etc/passwd",
    "/opt/wz_mini/etc/shadow",
    "/system/sdcard/etc/passwd",
    "/system/sdcard/etc/shadow",
];

/// The accounts of the system's tables.
pub(super) struct Tables {
    tables: Vec<(String, Vec<Account>)>,
}

impl Tables {
    /// The schemes that hashes of the firmware use.
    pub(super) fn schemes(&self) -> Vec<Scheme> {
        let accounts = self.tables.iter().flat_map(|(_, accounts)| accounts);
        let schemes = accounts.filter_map(|account| match crypt::classify(&account.field) {
            Field::Hash(scheme) => Some(scheme),
            _ => None,
        });
        schemes.collect()
    }

    /// A user's line in passwd(5) beside a table, or in /etc.
    fn passwd(&self, table: &str, user: &str) -> Option<&Account> {
        let beside = format!("{}/passwd", folder_of(table));
        [beside.as_str(), "/etc/passwd"].iter().find_map(|path| {
            let (_, accounts) = self.tables.iter().find(|(name, _)| name == path)?;
            accounts.iter().find(|account| account.user == user)
        })
    }
}

pub(super) fn read(context: &mut Context<'_, '_>) -> Tables {
    let mut tables = Vec::new();
    let survey = context.survey;
    for path in &survey.accounts {
        let Ok(Some(text)) = context.edits.read(path) else {
            let text = "is not there yet, or cannot be read";
            context.find(Status::Unknown, Some((path, 0)), text);
            continue;
        };
        let mut accounts = accounts::parse(&text);
        if let Some(more) = accounts.get(MAX_ACCOUNTS) {
            let text = "this account and those that follow are not looked at";
            context.find(Status::Unknown, Some((path, more.line)), text);
            accounts.truncate(MAX_ACCOUNTS);
        }
        if !accounts.is_empty() {
            // Where it was read: links on the way may lead elsewhere by now.
            let root = context.edits.root();
            let real = context.edits.place(path);
            let systems = is_systems(root, &real);
            if systems && root.may_change_at(&real) {
                tables.push((path.clone(), accounts));
            } else {
                let mut weak = accounts.into_iter();
                let weak = weak.find(|account| context.checker.judge(&account.field).is_weak());
                if weak.is_some() && root.is_mounted(&real) {
                    context.find(Status::Fails, Some((path, 0)), MOUNTED);
                } else if let Some(Account { line, .. }) = weak {
                    let text = "a weak password is left as it is: this is no table that the system is known to read, or \
                                others than root can change it, or nobody";
                    let status = if systems { Status::Fails } else { Status::Unknown };
                    context.find(status, Some((path, line)), text);
                }
            }
        }
    }
    Tables { tables }
}

/// Whether this is one of [`TABLES`]: whoever writes another must not get a hash of root's, nor make root's hash.
fn is_systems(root: &Root, real: &str) -> bool {
    let known = |table: &&str| root.canonical(table).is_ok_and(|table| table == real);
    TABLES.iter().any(known)
}

/// Whether root's password will be this one in the table that logins read: `/etc/shadow` counts where it has root, as for
/// Dropbear, and the first of several lines. Where something is mounted over that, what a firmware mounts there counts.
#[must_use]
pub fn is_roots(edits: &Edits<'_>, secret: &Secret) -> bool {
    let opens = |table: &str| {
        let text = edits.read(table).ok().flatten().unwrap_or_default();
        let accounts = accounts::parse(&text);
        let root = accounts.iter().find(|account| account.user == "root")?;
        Some(crypt::verify(&root.field, secret.reveal().as_bytes()) == Some(true))
    };
    let mut tables = ["/etc/shadow", "/etc/passwd"].into_iter();
    let read = tables.find_map(|table| Some((table, opens(table)?)));
    let Some((table, opens_it)) = read else {
        return false;
    };
    if !edits.root().is_mounted(&edits.place(table)) {
        return opens_it;
    }
    let bound = TABLES
        .iter()
        .filter(|bound| **bound != table && name_of(bound) == name_of(table));
    bound.filter_map(|bound| opens(bound)).any(|opens| opens)
}

pub(super) fn plan(context: &mut Context<'_, '_>, tables: &Tables) -> io::Result<()> {
    for (path, accounts) in &tables.tables {
        let mut edits = Vec::new();
        for account in accounts {
            if let Some(field) = judge(context, tables, path, account)? {
                edits.push((account.range.clone(), field));
            }
        }
        let Some(mut text) = context.edits.read(path)? else {
            continue;
        };
        for (range, field) in edits.iter().rev() {
            // What was parsed is what is edited: another file is none here.
            if text.get(range.clone()).is_some() {
                text.splice(range.clone(), field.bytes());
            }
        }
        if !edits.is_empty() {
            context.edits.change(
                path,
                text,
                true,
                "login passwords that everybody knows are replaced",
            )?;
        }
    }
    boot_scripts(context, tables)
}

/// What an account's password field becomes. `None`: it stays.
fn judge(
    context: &mut Context<'_, '_>,
    tables: &Tables,
    path: &str,
    account: &Account,
) -> io::Result<Option<String>> {
    let at = Some((path, account.line));
    let strength = context.checker.judge(&account.field);
    let user = &account.user;
    match strength {
        Strength::Own if context.is_of_image(&account.field) => {}
        Strength::Own
            if account.user == "root"
                && context.has_one_password()
                && !is_agents(context, &account.field)? =>
        {
            let text = "RTSP asks for root's own password, which is not the one that the agent has";
            context.find(Status::Fails, at, text);
            return Ok(None);
        }
        Strength::Own | Strength::Locked | Strength::Shadowed => return Ok(None),
        Strength::Unknown(_) => {
            context.find(Status::Unknown, at, format!("{user}: {}", describe(strength)));
            return Ok(None);
        }
        Strength::Empty | Strength::Known(_) => {}
    }
    let passwd = tables.passwd(path, user).unwrap_or(account);
    let is_root = account.is_root() || passwd.is_root();
    let for_media = context
        .recognised
        .iter()
        .any(|known| known.adapter.media_accounts.contains(&user.as_str()));
    let for_media = for_media && !passwd.has_shell();
    let one_password = is_root && context.has_one_password();
    if (one_password || for_media && !is_root) && context.media_waits() {
        context.find(Status::Fails, at, format!("{user} {}", describe(strength)));
        if is_root {
            context.root_field = Some(account.field.clone());
        }
        return Ok(None);
    }
    let (field, becomes) = field_of(context, is_root, for_media)?;
    if is_root {
        context.root_field = Some(field.clone());
    }
    context.find(
        Status::Planned,
        at,
        format!("{user} {}: {becomes}", describe(strength)),
    );
    Ok(Some(field))
}

/// What a weak password field becomes, and how that is told.
fn field_of(
    context: &mut Context<'_, '_>,
    is_root: bool,
    for_media: bool,
) -> io::Result<(String, &'static str)> {
    Ok(if is_root && context.has_one_password() {
        for (path, text) in keys_alone(context)?.unwrap_or_default() {
            // It goes only together with the password that it is there for.
            context.edits.change(&path, text, true, "SSH takes keys only")?;
        }
        (
            context.media_hash()?,
            "gets the media password, for RTSP asks for it; password login is off, keys work",
        )
    } else if is_root {
        let field = context.login_field()?;
        let becomes = if field.len() == LOCKED.len() {
            "is locked; keys work"
        } else {
            "gets the new login password"
        };
        (field, becomes)
    } else if for_media {
        (
            context.media_hash()?,
            "gets the media password; it gives no shell",
        )
    } else {
        (LOCKED.into(), "is locked")
    })
}

/// Whether a field is the hash of the media password, if there is one.
fn is_agents(context: &mut Context<'_, '_>, field: &str) -> io::Result<bool> {
    if context.kept.field("media") == Some(field) {
        return Ok(true);
    }
    let password = match &context.secrets.media {
        Some(secret) => secret.reveal().into(),
        None => context
            .edits
            .read(&context.settings.password_file)?
            .unwrap_or_default(),
    };
    let password = password.trim_ascii_end();
    Ok(password.is_empty() || crypt::verify(field, password) == Some(true))
}

/// Whether root's password, which RTSP asks for as well here, must stay as SSH cannot be told to take keys alone. That is a
/// finding at each look: the password stays one that everybody knows.
pub(super) fn must_stay(context: &mut Context<'_, '_>, tables: &Tables) -> io::Result<bool> {
    if !context.has_one_password() {
        return Ok(false);
    }
    let mut weak = false;
    for (path, account) in tables
        .tables
        .iter()
        .flat_map(|(path, all)| all.iter().map(move |one| (path, one)))
    {
        let is_root = tables.passwd(path, &account.user).unwrap_or(account).is_root();
        let field = &account.field;
        weak |= is_root && (context.checker.judge(field).is_weak() || context.is_of_image(field));
    }
    Ok(weak && keys_alone(context)?.is_none())
}

/// Files, and what they become.
type Changes = Vec<(String, Vec<u8>)>;

/// What has Dropbear take keys alone: files that hold its options, and what they become. `None`: this firmware gives no way
/// to, and that is a finding.
fn keys_alone(context: &mut Context<'_, '_>) -> io::Result<Option<Changes>> {
    const DEFAULTS: &str = "/etc/default/dropbear";
    let survey = context.survey;
    let script = survey
        .scripts
        .iter()
        .find(|path| path.contains("/init.d/") && path.ends_with("dropbear"));
    let Some(script) = script.map(String::as_str) else {
        let text =
            "RTSP asks for root's own password, and the start of SSH was not found: both stay as they are";
        context.find(Status::Fails, None, text);
        return Ok(None);
    };
    let text = context.edits.read(script)?.unwrap_or_default();
    let names = options_of_dropbear(&text);
    let sourced = contains(&text, DEFAULTS.as_bytes()) && context.edits.root().exists(DEFAULTS);
    let mut changes = Changes::new();
    let (mut found, mut stays) = (false, false);
    // Whichever counts: a second `-s` does no harm.
    for path in [Some(script), sourced.then_some(DEFAULTS)].into_iter().flatten() {
        let mut text = context.edits.read(path)?.unwrap_or_default();
        let before = text.clone();
        let may = context.edits.root().may_change(path);
        for name in &names {
            let places: Vec<_> = locate::values(&text, name).collect();
            for place in places.into_iter().rev() {
                found = true;
                let options = String::from_utf8_lossy(text.get(place.clone()).unwrap_or_default());
                if options.split_ascii_whitespace().any(|option| option == "-s") {
                    continue;
                }
                stays |= !may;
                let above = text.get(..place.start).unwrap_or_default();
                let quoted = above.ends_with(b"\"") || above.ends_with(b"'");
                let quote = if quoted { "" } else { "\"" };
                let new = format!("{quote}{options} -s{quote}");
                text.splice(place, new.bytes());
            }
        }
        if text != before {
            changes.push((path.to_owned(), text));
        }
    }
    if !found || stays {
        let what = "RTSP asks for root's own password, and SSH's options were not found, or must stay: so do both passwords";
        context.find(Status::Fails, Some((script, 0)), what);
        return Ok(None);
    }
    Ok(Some(changes))
}

/// The variables in which a script gives Dropbear its options.
#[must_use]
pub fn options_of_dropbear(text: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    let commands = shell::scan(text).commands;
    for (at, command) in commands.iter().enumerate() {
        if !command.plain.iter().any(|word| base(word) == "dropbear") {
            continue;
        }
        let end = commands.get(at + 1).map_or(text.len(), |next| next.start);
        let raw = String::from_utf8_lossy(text.get(command.start..end).unwrap_or_default()).into_owned();
        // Lines that follow, but for those that are joined.
        let raw = raw.replace("\\\n", " ");
        for word in raw.lines().next().unwrap_or_default().split('$').skip(1) {
            let word = word.trim_start_matches('{');
            let name = word
                .split(|c: char| c != '_' && !c.is_ascii_alphanumeric())
                .next();
            let name = name.unwrap_or_default();
            if ["ARGS", "OPTS", "OPTIONS"].iter().any(|end| name.ends_with(end))
                && !names.iter().any(|have| have == name)
            {
                names.push(name.to_owned());
            }
        }
    }
    names
}

/// Scripts that write a known hash into a table, and scripts that set a password in ways that are not followed.
fn boot_scripts(context: &mut Context<'_, '_>, tables: &Tables) -> io::Result<()> {
    let survey = context.survey;
    for path in &survey.scripts {
        let Some(mut text) = context.edits.read(path)? else {
            continue;
        };
        let mut changed = false;
        for range in locate::hashes(&text).into_iter().rev() {
            let hash = String::from_utf8_lossy(text.get(range.clone()).unwrap_or_default()).into_owned();
            let strength = context.checker.judge(&hash);
            if !strength.is_weak() && !context.is_of_image(&hash) {
                continue;
            }
            let line = text
                .get(..range.start)
                .map_or(0, |above| 1 + above.iter().filter(|byte| **byte == b'\n').count());
            let new = roots_field(context, tables)?;
            let what = "writes the hash of a password that everybody knows; it gets that of root";
            // Root's own waits: it is no better, and one that is empty would be worse.
            let waits = new == hash || context.checker.judge(&new).is_weak();
            let status = if waits { Status::Fails } else { Status::Planned };
            context.find(status, Some((path, u32::try_from(line).unwrap_or(0))), what);
            if !waits {
                text.splice(range, new.bytes());
                changed = true;
            }
        }
        if changed {
            context.edits.change(path, text, true, "writes root's own hash")?;
        }
    }
    for path in survey.scripts.iter().chain(survey.tables()) {
        setters(context, path)?;
    }
    for path in survey
        .settings
        .iter()
        .filter(|path| path.ends_with("/httpd.conf"))
    {
        web_users(context, path)?;
    }
    Ok(())
}

/// Users of BusyBox's web server: `/folder:user:password`.
fn web_users(context: &mut Context<'_, '_>, path: &str) -> io::Result<()> {
    let text = context.edits.read(path)?.unwrap_or_default();
    for (line, number) in String::from_utf8_lossy(&text).lines().zip(1..) {
        let Some((_, password)) = line.trim_end().rsplit_once(':').filter(|_| line.starts_with('/')) else {
            continue;
        };
        if is_known(password) {
            let text = "a user of the web server has a password that everybody knows";
            context.find(Status::Fails, Some((path, number)), text);
        }
    }
    Ok(())
}

/// Root's password field as it will be.
fn roots_field(context: &mut Context<'_, '_>, tables: &Tables) -> io::Result<String> {
    if let Some(field) = &context.root_field {
        return Ok(field.clone());
    }
    let roots = tables.tables.iter().flat_map(|(_, accounts)| accounts);
    for account in roots.filter(|account| account.user == "root") {
        if context.checker.judge(&account.field) == Strength::Own {
            return Ok(account.field.clone());
        }
    }
    context.login_field()
}

/// What sets a password when it runs, takes root's away, or may put a table with a weak one in the place of the system's.
fn setters(context: &mut Context<'_, '_>, path: &str) -> io::Result<()> {
    let text = context.edits.read(path)?.unwrap_or_default();
    commands(context, (path, 0), &text, &mut (MAX_NAMED, MAX_SHELLS));
    Ok(())
}

/// The same in a text that a shell reads, below a line of a file. `left`: how many files, and shells in one another, may be
/// looked at.
fn commands(context: &mut Context<'_, '_>, (path, above): (&str, u32), text: &[u8], left: &mut (u8, u8)) {
    let hints = [&b"passwd"[..], b"shadow", b"usermod"];
    let mut lines = text.split(|byte| *byte == b'\n');
    if !lines.any(|line| {
        !line.trim_ascii_start().starts_with(b"#") && hints.iter().any(|hint| contains(line, hint))
    }) {
        return;
    }
    let has = |places: &[&str]| places.iter().any(|place| path.contains(place));
    let early = has(&["/init.d/", "/rc.", "/uci-defaults/", "/rcS"]);
    // What a web page calls waits for somebody, and so does what asks whoever logs in.
    let web = has(&[".cgi", "/cgi-bin/", "/www/"]) || has(&["/profile.d/"]) && contains(text, b"read -p");
    let shell::Script { commands, inner, cut } = shell::scan(text);
    if cut || left.1 == 0 {
        let what = "is too long or too tangled to be followed: it may set a password";
        context.find(Status::Unknown, Some((path, above)), what);
    }
    let mut above_it: Option<&shell::Command> = None;
    for command in commands.iter().chain(&inner) {
        let fed = above_it.replace(command).filter(|above| above.piped);
        let words = command.meant.iter().flat_map(|words| words.split(' '));
        let words: Vec<&str> = words.skip_while(|word| WRAPPERS.contains(&base(word))).collect();
        let name = base(words.first().copied().unwrap_or_default());
        let any = |part: &str| words.iter().any(|word| word.contains(part));
        let line = above + command.line;
        let mut read = false;
        if left.1 > 0 && RUNNERS.contains(&name) {
            left.1 -= 1;
            for text in command.meant.iter().filter(|word| word.contains(' ')) {
                self::commands(context, (path, line.saturating_sub(1)), text.as_bytes(), left);
                read = true;
            }
            left.1 += 1;
        }
        let what = match name {
            _ if read => continue,
            "passwd" | "chpasswd" => {
                let asks = name == "passwd" && !early && fed.is_none() && words.len() == 1;
                if asks
                    || fed.is_some_and(|fed| is_setting(context, fed))
                    || web && !words.iter().any(|word| word.starts_with("-d"))
                {
                    continue;
                }
                SETS
            }
            _ if name == "usermod" && any("-p") || overwrites(context, name, &words, command) => SETS,
            "grep" | "egrep" | "awk" | "[" | "test" | "case" => continue,
            "sed" if words.iter().any(empties) && (any("passwd") || any("shadow")) => EMPTIES,
            _ if name != "sed" && any("root::") => EMPTIES,
            _ if words.iter().any(|word| is_open_table(context, word, &mut left.0)) => {
                "names a table with a weak password, or too many files, and may put it in the place of the system's"
            }
            _ => continue,
        };
        context.find(Status::Unknown, Some((path, line)), what);
    }
}

/// Whether a command writes one of [`TABLES`] with what no file of the root holds.
fn overwrites(context: &Context<'_, '_>, name: &str, words: &[&str], command: &shell::Command) -> bool {
    let moves = matches!(name, "mv" | "cp" | "ln" | "mount");
    let table = match words {
        [.., last] if moves => last,
        _ => command.output.first().map_or("", String::as_str),
    };
    // A hash that stands there is one of those above.
    let unseen = |word: &&str| {
        let computed = word.contains(['$', '`']) && locate::hashes(word.as_bytes()).is_empty();
        computed
            || word.starts_with('/') && ![WZ_COPY, table].contains(word) && !context.edits.root().exists(word)
    };
    TABLES.contains(&table)
        && (!moves && !matches!(name, "echo" | "printf" | "cat") || words.iter().skip(1).any(unseen))
}

/// How many of the files that a script names are looked at: there may be a table behind those.
const MAX_NAMED: u8 = u8::MAX;
/// How many shells are to run what is looked at, one in another.
const MAX_SHELLS: u8 = 4;
const SETS: &str = "sets a password when it runs; which, only a running camera can tell";
const EMPTIES: &str = "may take root's password away";

/// What wz_mini makes of its own table, which is looked at, and mounts.
const WZ_COPY: &str = "/opt/wz_mini/tmp/.storage/shadow";

/// Whether what `sed` is told leaves a field empty, or ends behind root's name, as `s/^root:[^:]*/root:/` does. What it only
/// looks for may be so.
fn empties(word: &&str) -> bool {
    const MARKS: &[char] = &['/', '|', '#', ',', '!', '@'];
    let mark = word.strip_prefix('s').filter(|rest| rest.starts_with(MARKS));
    let parts: Vec<&str> = mark.map_or(Vec::new(), |rest| {
        rest.split(rest.get(..1).unwrap_or("/")).collect()
    });
    if let ["", _, by, flags] = parts.as_slice()
        && !flags.contains(';')
    {
        return by.contains("::") || by.ends_with("root:");
    }
    let mut behind = word.split("root:").skip(1);
    word.contains("::") || behind.any(|rest| rest.starts_with(MARKS))
}

/// Whether this gives the password that stands in a firmware's settings, where it is looked at.
fn is_setting(context: &Context<'_, '_>, command: &shell::Command) -> bool {
    let places = context.recognised.iter().flat_map(|known| known.adapter.places);
    let mut keys = places.filter_map(|place| match (place.role, place.form) {
        (Role::ClearLogin, locate::Form::Key(key)) => Some(key),
        _ => None,
    });
    keys.any(|key| {
        command
            .meant
            .iter()
            .any(|word| word.starts_with("root:$") && word.contains(key))
    })
}

/// A program's name, in a line of `inittab` too.
fn base(word: &str) -> &str {
    word.rsplit(['/', ':']).next().unwrap_or_default()
}

/// Whether a file has a line of passwd(5) or shadow(5) with a password that is weak, or not tried yet. Those that are
/// called so are looked at in any case.
fn is_open_table(context: &mut Context<'_, '_>, word: &str, left: &mut u8) -> bool {
    let word = word.strip_prefix("if=").unwrap_or(word);
    let odd = ["-", "/proc/", "/sys/", "/dev/"];
    // The walk leaves out the layers below an overlay.
    let seen = matches!(base(word), "passwd" | "shadow") && !word.starts_with("/rom/");
    if seen || base(word).is_empty() || odd.iter().any(|odd| word.starts_with(odd)) {
        return false;
    }
    let folder = if word.starts_with('/') { "" } else { "/etc/" };
    let text = context.edits.read(&format!("{folder}{word}"));
    let Ok(Some(text)) = text else {
        return false;
    };
    let Some(less) = left.checked_sub(1) else {
        return true;
    };
    *left = less;
    String::from_utf8_lossy(&text)
        .lines()
        .take(MAX_ACCOUNTS)
        .any(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let field = match fields.as_slice() {
                [_, field, _, _, _, _, shell] if shell.is_empty() || shell.starts_with('/') => field,
                [_, field, _, _, _, _, _, _, _] => field,
                _ => return false,
            };
            let number = |field: &&str| field.is_empty() || field.parse::<u32>().is_ok();
            let strength = context.checker.judge(field);
            fields.iter().skip(2).take(2).all(number)
                && (strength.is_weak() || matches!(strength, Strength::Unknown(_)))
        })
}
