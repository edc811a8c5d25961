//! Tables of accounts, passwd(5) and shadow(5), as firmwares write them: short lines, odd lines, no newline at the end.

use core::ops::Range;

/// The most accounts of one table that are looked at.
pub const MAX_ACCOUNTS: usize = 256;

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

/// The accounts of a table; one more than [`MAX_ACCOUNTS`], if there are more. Lines that are none are left out.
#[must_use]
pub fn parse(text: &[u8]) -> Vec<Account> {
    let mut accounts = Vec::new();
    let mut start = 0;
    for (line, number) in text.split_inclusive(|byte| *byte == b'\n').zip(1u32..) {
        if let Some(account) = parse_line(line, start, number)
            && accounts.len() <= MAX_ACCOUNTS
        {
            accounts.push(account);
        }
        start += line.len();
    }
    accounts
}

fn parse_line(line: &[u8], start: usize, number: u32) -> Option<Account> {
    // Names of people are not always UTF-8.
    let fields: Vec<&[u8]> = line.trim_ascii_end().split(|byte| *byte == b':').collect();
    let [user, field, third, rest @ ..] = fields.as_slice() else {
        return None;
    };
    let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
    // passwd(5) has seven fields, shadow(5) nine; the third is a number in both.
    let passwd = (3..=4).contains(&rest.len());
    let uid = uid_of(third);
    let plain = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-' | b'.' | b'$');
    // Scripts are called `passwd` too. What one libc takes for a comment is an account to another.
    let fits = match rest.len() {
        3 | 4 => uid.is_some() && !third.is_empty(),
        6 => uid.is_some() || third.is_empty(),
        _ => false,
    };
    if (user.is_empty() || !user.iter().all(plain)) && !fits {
        return None;
    }
    let at = start + user.len() + 1;
    Some(Account {
        user: text(user),
        field: text(field),
        range: at..at + field.len(),
        line: number,
        uid: uid.filter(|_| passwd),
        shell: rest.get(3).filter(|_| passwd).map(|shell| text(shell)),
    })
}

/// A user's number as some C library reads it: after blanks and a sign, modulo 2^32, and none at all as 0.
fn uid_of(field: &[u8]) -> Option<u32> {
    let field = field.trim_ascii_start();
    let digits = match field {
        [b'-' | b'+', rest @ ..] => rest,
        _ => field,
    };
    let value = digits.iter().try_fold(0u32, |sum, digit| {
        let digit = digit.is_ascii_digit().then(|| digit - b'0')?;
        Some(sum.wrapping_mul(10).wrapping_add(digit.into()))
    });
    value.map(|value| {
        if field.first() == Some(&b'-') {
            value.wrapping_neg()
        } else {
            value
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_numbers_are_read_as_loosely_as_any_library_does() {
        for (text, uid) in [
            ("0", Some(0)),
            (" 0", Some(0)),
            ("-0", Some(0)),
            ("", Some(0)),
            ("4294967296", Some(0)),
            ("007", Some(7)),
            ("-1", Some(u32::MAX)),
            ("0x0", None),
            ("0 ", None),
        ] {
            let accounts = parse(format!("blank:*:{text}:0::/:/bin/sh\n").as_bytes());
            assert_eq!(accounts[0].uid, uid, "{text:?}");
        }
        assert!(parse(b"::::::\n+::::::\n").is_empty());
    }

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

    #[test]
    fn odd_names_and_bytes_hide_no_account() {
        let passwd = b"root::0:0:Administrat\xf6r:/root:/bin/sh\nn\xe4me::7:7:\xff:/:/bin/sh\n\
            cam@home:pw:8:8:Kamera:/:/bin/sh\r\n+nis::9:9:::\n two words:\xff:0:0:::/bin/sh\n\
            #gone::0:0::/:/bin/sh\nPATH=/bin:/sbin:/usr/bin\ncase $1 in *::*) exit; esac\n::0:0:::\n";
        let accounts = parse(passwd);
        let brief: Vec<_> = accounts
            .iter()
            .map(|account| (account.user.as_str(), account.line, account.uid))
            .collect();
        assert_eq!(
            brief,
            [
                ("root", 1, Some(0)),
                ("n\u{fffd}me", 2, Some(7)),
                ("cam@home", 3, Some(8)),
                ("+nis", 4, Some(9)),
                (" two words", 5, Some(0)),
                ("#gone", 6, Some(0)),
                ("", 9, Some(0)),
            ]
        );
        let fields = accounts.iter().map(|account| &passwd[account.range.clone()]);
        let expected: [&[u8]; 7] = [b"", b"", b"pw", b"", b"\xff", b"", b""];
        assert!(fields.eq(expected));
        assert_eq!(accounts[1].shell.as_deref(), Some("/bin/sh"));
        let shadow = parse(b"cam@home::19000:0:99999:7:::\ntwo words::::::::\ncam@home:x:y\n");
        assert_eq!((shadow.len(), shadow[0].uid), (2, None));
    }

    #[test]
    fn more_accounts_than_are_looked_at_are_told() {
        let table = |count: usize| "a:*:1:1::/:/bin/false\n".repeat(count);
        assert_eq!(parse(table(MAX_ACCOUNTS).as_bytes()).len(), MAX_ACCOUNTS);
        for count in [MAX_ACCOUNTS + 1, MAX_ACCOUNTS + 9] {
            assert_eq!(parse(table(count).as_bytes()).len(), MAX_ACCOUNTS + 1);
        }
    }
}
