//! What starts by itself, and what is new since the first clean audit.

use crate::facts::{Facts, Topic};
use crate::inventory::Class;
use crate::judge::Judge;

/// What the hardener found in files about some topics.
pub(super) fn findings(facts: &Facts, judge: &mut Judge, topics: &[Topic]) {
    let found = facts.findings.value().unwrap_or(&facts.partial);
    for finding in found.iter().filter(|finding| topics.contains(&finding.topic)) {
        if finding.certain {
            judge.fail(&finding.place, finding.text.clone());
        } else {
            judge.unknown(&finding.place, finding.text.clone());
        }
    }
    let _ = judge.need(&facts.findings);
    judge.pass_otherwise(&facts.findings.source, "none was found in any script or setting");
}

pub(super) fn telnet(facts: &Facts, judge: &mut Judge) {
    findings(facts, judge, &[Topic::Telnet]);
}

pub(super) fn card(facts: &Facts, judge: &mut Judge) {
    findings(facts, judge, &[Topic::Card]);
}

pub(super) fn loader(facts: &Facts, judge: &mut Judge) {
    findings(facts, judge, &[Topic::Loader]);
}

pub(super) fn console(facts: &Facts, judge: &mut Judge) {
    findings(facts, judge, &[Topic::Console]);
}

pub(super) fn download(facts: &Facts, judge: &mut Judge) {
    findings(facts, judge, &[Topic::Download]);
}

pub(super) fn added(facts: &Facts, judge: &mut Judge) {
    let Some(starts) = judge.need(&facts.starts) else {
        return;
    };
    // What was there before may have been added before.
    let accepted = facts.baseline.value().and_then(Option::as_ref);
    let accepted = accepted.filter(|baseline| baseline.accepted);
    let _ = judge.need(&facts.layers);
    for start in starts
        .iter()
        .filter(|start| (start.added || start.changed) && !start.own)
    {
        let line = format!("{}{} {}", Class::Start.word(), start.place, start.what);
        if accepted.is_some_and(|baseline| baseline.lines.contains(&line)) {
            continue;
        }
        if start.added {
            let text = "lies in the writable layer alone, and no package names it";
            judge.fail(&start.place, text);
        } else {
            let text = "differs from the firmware's, by neither a package nor `lenscap harden`";
            judge.unknown(&start.place, text);
        }
    }
    judge.pass_otherwise(&facts.starts.source, format!("{} entries", starts.len()));
}

pub(super) fn writable(facts: &Facts, judge: &mut Judge) {
    let Some(files) = judge.need(&facts.files) else {
        return;
    };
    for file in files {
        let mode = file.mode;
        let text = if mode & 0o002 != 0 {
            "everybody may write it"
        } else if file.uid != 0 && facts.about.live {
            "belongs to somebody else than root"
        } else if file.secret && mode & 0o004 != 0 {
            "everybody may read it"
        } else {
            continue;
        };
        judge.fail(&file.path, format!("{text} (mode {mode:o}, user {})", file.uid));
    }
    // Their files are among those that were looked at, if they are known.
    let _ = judge.need(&facts.starts);
    let _ = judge.need(&facts.keys);
    if files.is_empty() {
        judge.unknown(&facts.files.source, "no such file was found");
    }
    judge.pass_otherwise(&facts.files.source, format!("{} files", files.len()));
}

/// What is there and was not when the first clean audit was made.
fn drift(facts: &Facts, judge: &mut Judge, classes: &[Class]) {
    let Some(baseline) = judge.need(&facts.baseline) else {
        return;
    };
    let source = &facts.baseline.source;
    let Some(baseline) = baseline else {
        let text = "there was no clean audit yet to compare with; --accept keeps one as it is";
        return judge.say(crate::Verdict::NotChecked, source.clone(), text);
    };
    let inventory = core::mem::take(&mut judge.inventory);
    for line in inventory.lines.iter().chain(&inventory.logins) {
        if !classes.iter().any(|class| line.starts_with(class.word())) || baseline.lines.contains(line) {
            continue;
        }
        if inventory.doubtful.contains(line) {
            judge.unknown(source, format!("new, if it is a peer: {line}"));
        } else if let (true, Some((login, _))) =
            (line.starts_with(Class::Login.word()), line.rsplit_once(' '))
        {
            judge.fail(source, format!("new, what its line holds: {login}"));
        } else {
            judge.fail(source, format!("new: {line}"));
        }
    }
    let whole = inventory.is_whole(facts, classes);
    judge.inventory = inventory;
    if !whole {
        judge.unknown(source, "not everything could be compared");
    }
    judge.pass_otherwise(
        source,
        format!("nothing new beside {} known lines", baseline.lines.len()),
    );
}

pub(super) fn drift_starts(facts: &Facts, judge: &mut Judge) {
    drift(facts, judge, &[Class::Start, Class::Module, Class::Program]);
}

pub(super) fn drift_accounts(facts: &Facts, judge: &mut Judge) {
    drift(facts, judge, &[Class::Account, Class::Login, Class::Key]);
}

pub(super) fn drift_listeners(facts: &Facts, judge: &mut Judge) {
    drift(facts, judge, &[Class::Listen]);
}

pub(super) fn drift_peers(facts: &Facts, judge: &mut Judge) {
    drift(facts, judge, &[Class::Peer]);
}
