//! Passwords, keys, and services that ask nobody.

use core::net::{IpAddr, SocketAddr};

use super::network::{apart, describe, tables};
use crate::facts::{Answer, Facts, Origin, Proto, Service, Strength, Topic};
use crate::inventory::{asked_at, owner, sockets};
use crate::judge::Judge;

/// Ports where cameras of many makers give a shell.
const SHELL_PORTS: &[u16] = &[23, 2323, 4321, 9527, 9530];
/// Programs that give a shell to whoever connects.
const SHELLS: &[&str] = &["telnetd", "utelnetd", "in.telnetd"];

pub(super) fn accounts(facts: &Facts, judge: &mut Judge) {
    let Some(accounts) = judge.need(&facts.accounts) else {
        return;
    };
    for account in accounts {
        let user = &account.user;
        match &account.strength {
            Strength::Empty => judge.fail(&account.place, format!("{user} has no password")),
            Strength::Known(list) => judge.fail(
                &account.place,
                format!("{user} has a password that everybody knows (list: {list})"),
            ),
            Strength::Unknown(why) => judge.unknown(&account.place, format!("{user}: {why}")),
            Strength::Own | Strength::Locked => {}
        }
    }
    not_all(facts, judge);
    if accounts.is_empty() {
        judge.unknown(&facts.accounts.source, "no account was found");
    }
    judge.pass_otherwise(
        &facts.accounts.source,
        format!("{} accounts, none with a known password", accounts.len()),
    );
}

/// A table that could not be seen may be the one that counts.
fn not_all(facts: &Facts, judge: &mut Judge) {
    if let Err(why) = &facts.findings.value {
        judge.missing(&facts.findings.source, why);
    }
}

pub(super) fn roots(facts: &Facts, judge: &mut Judge) {
    let Some(accounts) = judge.need(&facts.accounts) else {
        return;
    };
    for account in accounts {
        if account.uid == Some(0) && account.user != "root" {
            judge.fail(
                &account.place,
                format!("{} is root by another name", account.user),
            );
        }
    }
    not_all(facts, judge);
    if !accounts.iter().any(|account| account.uid == Some(0)) {
        judge.unknown(&facts.accounts.source, "no root was found");
    }
    judge.pass_otherwise(&facts.accounts.source, "one name for user number 0");
}

pub(super) fn services(facts: &Facts, judge: &mut Judge) {
    super::starts::findings(facts, judge, &[Topic::Service]);
}

pub(super) fn boot(facts: &Facts, judge: &mut Judge) {
    super::starts::findings(facts, judge, &[Topic::Boot]);
}

pub(super) fn keys(facts: &Facts, judge: &mut Judge) {
    let Some(keys) = judge.need(&facts.keys) else {
        return;
    };
    for key in keys {
        match &key.origin {
            Origin::Own => judge.pass(&key.path, "was made on this camera"),
            Origin::Image => judge.fail(
                &key.path,
                "came with the firmware: every camera of the series has it",
            ),
            Origin::Published(place) => judge.fail(&key.path, format!("is published ({place})")),
            Origin::Unknown(why) => judge.missing(&key.path, why),
        }
    }
    if keys.is_empty() {
        judge.none(&facts.keys.source, "no private key was found");
    }
}

pub(super) fn ssh(facts: &Facts, judge: &mut Judge) {
    let source = &facts.ssh_passwords.source;
    match judge.need(&facts.ssh_passwords) {
        None => {}
        Some(None) => return judge.none(source, "there is no SSH server"),
        Some(Some(true)) => judge.fail(source, "passwords are taken"),
        Some(Some(false)) => judge.pass(source, "keys alone"),
    }
    // Whose they are, only the owner knows.
    let keys = judge.need(&facts.authorised).into_iter().flatten();
    let mut places: Vec<&str> = keys.map(|key| key.place.as_str()).collect();
    while let Some(place) = places.first().copied() {
        let count = places.iter().filter(|other| **other == place).count();
        places.retain(|other| *other != place);
        judge.pass(place, format!("keys that log in: {count}"));
    }
}

pub(super) fn telnet(facts: &Facts, judge: &mut Judge) {
    let source = tables(facts, judge, Proto::is_tcp);
    let said = |asked: (IpAddr, u16)| {
        facts.probes.iter().find_map(|probe| {
            let at: SocketAddr = probe.source.strip_prefix("tcp://")?.parse().ok()?;
            ((at.ip(), at.port()) == asked && probe.value()?.service == Service::Telnet).then_some(probe)
        })
    };
    for socket in sockets(facts) {
        if !socket.proto.is_tcp() || !socket.waits() || socket.is_loopback() {
            continue;
        }
        let owner = owner(facts, socket);
        let named = |word: &str| SHELLS.contains(&word.rsplit('/').next().unwrap_or(word));
        let shell = owner.is_some_and(|owner| {
            let mut words = owner.words.split(' ').take(2);
            words.any(named) || owner.program.as_deref().is_ok_and(named)
        });
        let port = socket.local.1;
        let text = describe(facts, socket);
        if shell {
            judge.fail(&source, text);
        } else if let Some(probe) = said(asked_at(facts, socket)) {
            judge.fail(&probe.source, format!("answers as telnet or a shell; {text}"));
        } else if SHELL_PORTS.contains(&port) {
            judge.unknown(&source, format!("cameras give shells here; {text}"));
        }
    }
    unasked(facts, judge);
    judge.pass_otherwise(&source, "no telnet server, and no answer like one");
}

/// Ports that gave no answer may be anything.
pub(super) fn unasked(facts: &Facts, judge: &mut Judge) {
    for probe in &facts.probes {
        let _ = judge.need(probe);
    }
}

/// What services of one kind said when they were asked.
fn probes(facts: &Facts, judge: &mut Judge, service: Service, absent: &'static str) {
    let mut any = false;
    for probe in &facts.probes {
        let Some(found) = probe.value() else { continue };
        if found.service != service {
            continue;
        }
        any = true;
        let source = &probe.source;
        match &found.answer {
            Ok(Answer::Open(what)) => judge.fail(source, format!("no login is asked for: {what}")),
            Ok(Answer::DefaultLogin(what)) => {
                judge.fail(source, format!("takes a login that everybody knows: {what}"))
            }
            Ok(Answer::AsksLogin) => judge.pass(source, "asks for a login"),
            Ok(Answer::There(what)) => judge.pass(source, what.clone()),
            Err(why) => judge.missing(source, why),
        }
    }
    unasked(facts, judge);
    if any {
        apart(facts, judge);
    } else {
        let source = tables(facts, judge, Proto::is_tcp);
        if !judge.has_doubts() {
            judge.none(&source, absent);
        }
    }
}

pub(super) fn rtsp(facts: &Facts, judge: &mut Judge) {
    probes(facts, judge, Service::Rtsp, "no port answers as RTSP");
}

pub(super) fn snapshot(facts: &Facts, judge: &mut Judge) {
    probes(
        facts,
        judge,
        Service::Snapshot,
        "no address that gives pictures is known",
    );
}

pub(super) fn web(facts: &Facts, judge: &mut Judge) {
    probes(facts, judge, Service::Web, "no port answers as HTTP");
}

pub(super) fn onvif(facts: &Facts, judge: &mut Judge) {
    probes(facts, judge, Service::Onvif, "no port answers as ONVIF");
}
