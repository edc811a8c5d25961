//! Who the agent becomes: a user and a group from `/etc/passwd` and `/etc/group`, read without the C library, whose
//! look-ups may load plug-ins and ask the network.

use crate::config::AgentConfig;
use crate::files;

/// The user that has no files, where there is no user of the agent's own.
const NOBODY: u32 = 65534;
/// What setresuid(2) and setresgid(2) take for "as it is", which is root.
const UNCHANGED: u32 = u32::MAX;
/// Most that is read of either file.
const MAX_FILE_BYTES: u64 = 256 * 1024;

/// A user and a group, neither of them root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ids {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// The configured user and group, and a warning when others must do.
pub(super) fn look_up(agent: &AgentConfig) -> (Ids, Option<String>) {
    let read = |path: &str| {
        let bytes = files::read(path.as_ref(), MAX_FILE_BYTES).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    choose(
        &agent.user,
        agent.group.as_deref(),
        &read("/etc/passwd"),
        &read("/etc/group"),
    )
}

/// The user's number by the text of a passwd(5), as [`look_up`] finds it.
#[must_use]
pub fn uid_in(agent: &AgentConfig, passwd: &str) -> u32 {
    choose(&agent.user, agent.group.as_deref(), passwd, "").0.uid
}

fn choose(user: &str, group: Option<&str>, passwd: &str, groups: &str) -> (Ids, Option<String>) {
    let nobody = Ids {
        uid: NOBODY,
        gid: NOBODY,
    };
    let Some((uid, own_group)) = numbers(passwd, user) else {
        let why = format!(
            "there is no user `{user}`; the agent runs as nobody ({NOBODY}), which other programs may share. \
             Make the user (BusyBox: `adduser -S -D -H {user}`, else `useradd -r {user}`) or name another with \
             `option user`"
        );
        return (nobody, Some(why));
    };
    let named = match group {
        Some(group) => numbers(groups, group).map(|(gid, _)| gid),
        None => own_group,
    };
    match named {
        _ if uid == 0 || uid == UNCHANGED => {
            let why = format!(
                "`option user '{user}'` names root or no user at all; the agent runs as nobody ({NOBODY})"
            );
            (nobody, Some(why))
        }
        Some(gid) if gid != 0 && gid != UNCHANGED => (Ids { uid, gid }, None),
        _ => {
            let why = format!(
                "the group of user `{user}` is unknown or root's; the agent has group {NOBODY}. `option group` names another"
            );
            (Ids { uid, gid: NOBODY }, Some(why))
        }
    }
}

/// The third and fourth field of a name's line; a number stands for itself.
fn numbers(text: &str, name: &str) -> Option<(u32, Option<u32>)> {
    if let Ok(number) = name.parse() {
        let line = text.lines().find(|line| line.split(':').nth(2) == Some(name));
        return Some((number, line.and_then(|line| line.split(':').nth(3)?.parse().ok())));
    }
    let mut fields = text
        .lines()
        .map(|line| line.split(':'))
        .find_map(|mut fields| (fields.next() == Some(name)).then_some(fields))?;
    let first = fields.nth(1)?.parse().ok()?;
    Some((first, fields.next().and_then(|field| field.parse().ok())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nlenscap:x:312:313::/:/bin/false\ntoor:x:0:5::/:\nbroken:x\nnogroup:*:9\n";
    const GROUP: &str = "root:x:0:\nlenscap:x:313:\nvideo:x:44:lenscap\n";

    fn chosen(user: &str, group: Option<&str>) -> ((u32, u32), bool) {
        let (ids, warning) = choose(user, group, PASSWD, GROUP);
        ((ids.uid, ids.gid), warning.is_some())
    }

    #[test]
    fn users_and_groups_by_name_and_number() {
        assert_eq!(chosen("lenscap", None), ((312, 313), false));
        assert_eq!(chosen("lenscap", Some("video")), ((312, 44), false));
        assert_eq!(chosen("312", None), ((312, 313), false));
        assert_eq!(chosen("1000", Some("1001")), ((1000, 1001), false));
    }

    #[test]
    fn it_is_never_root_and_says_why_it_is_nobody() {
        for user in ["absent", "broken", "root", "0", "toor", "", "4294967295"] {
            assert_eq!(chosen(user, None), ((65534, 65534), true), "{user}");
        }
        assert_eq!(chosen("lenscap", Some("root")), ((312, 65534), true));
        assert_eq!(chosen("lenscap", Some("absent")), ((312, 65534), true));
        assert_eq!(chosen("lenscap", Some("4294967295")), ((312, 65534), true));
        assert_eq!(chosen("nogroup", None), ((9, 65534), true));
        let (_, warning) = choose("lenscap", None, "", "");
        assert!(warning.unwrap().contains("adduser -S -D -H lenscap"));
    }
}
