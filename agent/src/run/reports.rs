//! Answers that the monitor's jobs have left in files: `GET /audit`, `GET /flows`, and what `/status` says of hardening.

use std::io;
use std::path::Path;

use crate::files;
use crate::flat::Read;

/// The last audit, in the run folder.
pub(crate) const AUDIT_FILE: &str = "audit.json";
/// The flow accounts, in the run folder.
pub(crate) const FLOWS_FILE: &str = "flows.jsonl";
/// The most bytes of an answer.
const MAX_BYTES: u64 = 1024 * 1024;
const MAX_HARDENING_BYTES: u64 = 8 * 1024;
/// How each flow record begins.
const RECORD: &[u8] = b"{\"cursor\":";

/// A report, if there is one yet.
pub(super) fn read(run_dir: &Path, name: &str) -> io::Result<Vec<u8>> {
    files::read(&run_dir.join(name), MAX_BYTES)
}

/// What the last look at hardening said, as a JSON object.
pub(super) fn hardening(run_dir: &Path) -> Option<String> {
    let path = run_dir.join(crate::monitor::HARDENING_FILE);
    let bytes = files::read(&path, MAX_HARDENING_BYTES).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    Read::parse(&text).map(|_| text)
}

/// The first line of the accounts, which is about all of them, and the records that changed after a cursor.
pub(super) fn flows_since(mut lines: Vec<u8>, cursor: u64) -> Vec<u8> {
    let mut kept = 0;
    let mut start = 0;
    while start < lines.len() {
        let rest = lines.get(start..).unwrap_or_default();
        let length = rest
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(rest.len(), |end| end + 1);
        if start == 0 || cursor_of(rest).is_none_or(|at| at > cursor) {
            lines.copy_within(start..start + length, kept);
            kept += length;
        }
        start += length;
    }
    lines.truncate(kept);
    lines
}

fn cursor_of(line: &[u8]) -> Option<u64> {
    let digits = line.strip_prefix(RECORD)?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(digits.get(..end)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_gets_what_it_does_not_have() {
        let all = "{\"epoch\":\"a\",\"cursor\":9}\n{\"cursor\":3,\"x\":1}\n{\"cursor\":9,\"x\":2}\n{\"cursor\":5}\n";
        let since = |cursor| String::from_utf8(flows_since(all.into(), cursor)).unwrap();
        assert_eq!(since(0), all);
        assert_eq!(
            since(3),
            "{\"epoch\":\"a\",\"cursor\":9}\n{\"cursor\":9,\"x\":2}\n{\"cursor\":5}\n"
        );
        assert_eq!(since(9), "{\"epoch\":\"a\",\"cursor\":9}\n");
        assert_eq!(flows_since(Vec::new(), 1), b"");
        // What is no record is none of ours to leave out.
        for odd in [
            "a\nb",
            "a\n{\"cursor\":}\n",
            "a\n{\"cursor\":99999999999999999999999,",
        ] {
            assert_eq!(flows_since(odd.into(), 5), odd.as_bytes());
        }
    }
}
