//! Tables of accounts, passwd(5) and shadow(5), as firmwares write them: short lines, odd lines, no newline at the end.

use core::ops::Range;

/// The most accounts of one table.
const MAX_ACCOUNTS: usize = 256;

/// A line of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The user.
    pub user: String,
    /// The password field.
    pub field: String,
    /// Its place in the table's text.
    pub range: Range<usize>,
    /// The line, counted from 1.
    pub line: u32,
    /// The user's number, in passwd(5).
    pub uid: Option<u32>,
    /// The user's shell, in passwd(5).
    pub shell: Option<String>,
}

impl Account {
    /// Whether the account is the system's owner.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.uid == Some(0) || self.user == "root"
    }

    /// Whether a login gives a shell. Unknown counts as yes.
    #[must_use]
    pub fn has_shell(&self) -> bool {
        !self.shell.as_deref().is_some_and(|shell| {
            shell.ends_with("/nologin") || shell.ends_with("/false") || shell.ends_with("/true")
        })
    }
}

/// The accounts of a table. Lines that are none are left out.
#[must_use]
pub fn parse(text: &[u8]) -> Vec<Account> {
    let mut accounts = Vec::new();
    let mut start = 0;
    for (line, number) in text.split_inclusive(|byte| *byte == b'\n').zip(1u32..) {
        if let Some(account) = parse_line(line, start, number)
            && accounts.len() < MAX_ACCOUNTS
        {
            accounts.push(account);
        }
        start += line.len();
    }
    accounts
}

fn parse_line(line: &[u8], start: usize, number: u32) -> Option<Account> {
    let line = str::from_utf8(line).ok()?.trim_end_matches(['\n', '\r']);
    let fields: Vec<&str> = line.split(':').collect();
    let [user, field, rest @ ..] = fields.as_slice() else {
        return None;
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '$');
    if user.is_empty() || !user.chars().all(plain) || rest.is_empty() {
        return None;
    }
    // passwd(5) has seven fields, shadow(5) nine; the third is a number in both.
    let passwd = (4..=5).contains(&rest.len());
    let at = start + user.len() + 1;
    Some(Account {
        user: (*user).to_owned(),
        field: (*field).to_owned(),
        range: at..at + field.len(),
        line: number,
        uid: rest.first().filter(|_| passwd).and_then(|uid| uid.parse().ok()),
        shell: rest.get(4).filter(|_| passwd).map(|shell| (*shell).to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_read_as_firmwares_write_them() {
        let passwd = b"root:x:0:0:root:/root:/bin/sh\n# comment\n\nadmin::0:0::/:\r\nftp:*:14:50:FTP:/var/ftp:/sbin/nologin\nbad\nshort:abc:1\nlast:pw:7:7:x:/:/bin/false";
        let accounts = parse(passwd);
        let brief: Vec<_> = accounts
            .iter()
            .map(|a| {
                (
                    a.user.as_str(),
                    a.field.as_str(),
                    a.line,
                    a.uid,
                    a.has_shell(),
                    a.is_root(),
                )
            })
            .collect();
        assert_eq!(
            brief,
            [
                ("root", "x", 1, Some(0), true, true),
                ("admin", "", 4, Some(0), true, true),
                ("ftp", "*", 5, Some(14), false, false),
                ("short", "abc", 7, None, true, false),
                ("last", "pw", 8, Some(7), false, false),
            ]
        );
        for account in &accounts {
            assert_eq!(&passwd[account.range.clone()], account.field.as_bytes());
        }
        let shadow = parse(b"root:$1$a$b:10933:0:99999:7:::\nuser:!:0::::::\n");
        assert_eq!(shadow[0].field, "$1$a$b");
        assert!(shadow[0].is_root() && !shadow[1].is_root());
        assert_eq!(shadow[1].shell, None);
    }
}
