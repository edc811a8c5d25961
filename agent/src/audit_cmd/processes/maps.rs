//! The files that a process has mapped to run (proc(5), `/proc/PID/maps`): libraries, and the program of a loader that was
//! started by hand.

use std::io::{self, BufRead, BufReader, Read as _};

use lenscap_harden::root::Root;

use super::DELETED;

/// What is read of a process' table, in bytes.
const MAX_BYTES: usize = 256 * 1024;
/// The longest line: a path has 4,096 bytes.
const MAX_LINE_BYTES: u64 = 4096 + 256;
/// Memory that is no file's.
const NO_FILE: &str = "/dev/zero";

/// Tells of each file that may run, and whether it is deleted.
///
/// # Errors
/// When the table cannot be read, shows nothing, is longer than what is read, or makes no sense.
pub(super) fn read(root: &Root, folder: &str, visit: &mut dyn FnMut(&str, bool)) -> io::Result<()> {
    let file = root.reader(&format!("{folder}/maps"))?;
    files(&mut BufReader::with_capacity(4096, file), visit)
}

fn files(text: &mut dyn BufRead, visit: &mut dyn FnMut(&str, bool)) -> io::Result<()> {
    let (mut line, mut seen) = (Vec::new(), 0);
    loop {
        line.clear();
        let length = text.take(MAX_LINE_BYTES).read_until(b'\n', &mut line)?;
        seen += length;
        match length {
            0 if seen == 0 => return Err(io::Error::other("shows nothing")),
            0 => return Ok(()),
            _ if seen > MAX_BYTES => return Err(io::Error::other("is longer than what is read")),
            _ => {}
        }
        let line = String::from_utf8_lossy(&line);
        let file = line.strip_suffix('\n').and_then(parse);
        match file.ok_or_else(|| io::Error::other("makes no sense"))? {
            "" => {}
            file => match file.strip_suffix(DELETED) {
                Some(NO_FILE) => {}
                Some(file) => visit(file, true),
                None => visit(file, false),
            },
        }
    }
}

/// The file of a line as loaders map it, which may run and is the process' own copy; empty: there is none. What is shared
/// is data, which runs too in programs of old compilers. `None`: it makes no sense.
fn parse(line: &str) -> Option<&str> {
    let mut rest = line;
    let mut runs = false;
    for field in 0..5 {
        let (word, after) = rest.split_once(' ')?;
        runs |= field == 1 && word.get(2..4) == Some("xp");
        rest = after;
    }
    let file = rest.trim_start_matches(' ');
    let is_file = runs && file.starts_with('/') && file != NO_FILE;
    Some(if is_file { file } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "b6e00000-b6e90000 r-xp 00000000 1f:03 514 ";

    fn found(text: &str) -> io::Result<Vec<(String, bool)>> {
        let mut found = Vec::new();
        files(&mut text.as_bytes(), &mut |file, deleted| {
            found.push((file.to_owned(), deleted));
        })?;
        Ok(found)
    }

    #[test]
    fn files_that_run_are_told_from_data_and_from_memory() {
        for (line, expected) in [
            (
                "00010000-000a0000 r-xp 00000000 1f:03 7          /bin/busybox",
                Some(("/bin/busybox", false)),
            ),
            (
                "00010000-000a0000 r-xp 00000000 00:10 7    /tmp/a b (deleted)",
                Some(("/tmp/a b", true)),
            ),
            (
                "00010000-000a0000 r-xp 00000000 00:10 7 /memfd:x (deleted)",
                Some(("/memfd:x", true)),
            ),
            (
                "00010000-000a0000 rwxp 00000000 00:10 7 /dev/shm/x",
                Some(("/dev/shm/x", false)),
            ),
            ("00010000-000a0000 rw-p 00000000 1f:03 7 /bin/busybox", None),
            ("00010000-000a0000 rwxs 00000000 00:06 7 /dev/mmz", None),
            ("00010000-000a0000 rwxp 00000000 00:05 7 /dev/zero", None),
            (
                "00010000-000a0000 rwxp 00000000 00:05 7 /dev/zero (deleted)",
                None,
            ),
            ("bee00000-bef00000 r-xp 00000000 00:00 0          [vdso]", None),
            ("bee00000-bef00000 rwxp 00000000 00:00 0 ", None),
        ] {
            let expected: Vec<_> = expected
                .map(|(file, gone)| (file.to_owned(), gone))
                .into_iter()
                .collect();
            assert_eq!(found(&format!("{line}\n")).unwrap(), expected, "{line}");
        }
    }

    #[test]
    fn tables_that_are_cut_or_odd_are_errors() {
        let fits = format!("{LINE}/lib/libc.so\n").repeat(4000);
        assert_eq!(found(&fits).unwrap().len(), 4000);
        let long = format!("{LINE}/{}\n", "x".repeat(5000));
        for text in ["", "\n", "odd\n", LINE, &long, &fits.repeat(2)] {
            assert!(found(text).is_err(), "{}", text.len());
        }
    }

    proptest::proptest! {
        #[test]
        fn no_table_makes_it_panic(text in proptest::collection::vec(0..=255u8, 0..400), line in "[0-9a-f:rwxp/ é\\n-]{0,200}") {
            let _ = files(&mut text.as_slice(), &mut |_, _| ());
            let _ = found(&line);
        }
    }
}
