//! The files that a process has mapped to run (proc(5), `/proc/PID/maps`): libraries, and the program of a loader that was
//! started by hand.

use std::io::{self, BufRead, BufReader, Read as _};
use std::os::unix::fs::FileExt as _;

use lenscap_harden::root::Root;

use super::DELETED;

/// What is read of a process' table, in bytes.
const MAX_BYTES: usize = 256 * 1024;
/// The longest line: a path has 4,096 bytes.
const MAX_LINE_BYTES: u64 = 4096 + 256;
/// Memory that is no file's.
const NO_FILE: &str = "/dev/zero";

/// What may run, of a file.
pub(super) struct Mapping<'t> {
    /// Without ` (deleted)`.
    pub(super) file: &'t str,
    pub(super) deleted: bool,
    pub(super) shared: bool,
    /// Where the file's first byte is in the process' memory, if this has it.
    pub(super) start: Option<u64>,
    /// Its device and number.
    pub(super) inode: (u64, u64),
}

/// Tells of each file that may run.
///
/// # Errors
/// When the table cannot be read, shows nothing, is longer than what is read, or makes no sense.
pub(super) fn read(root: &Root, folder: &str, visit: &mut dyn FnMut(&Mapping)) -> io::Result<()> {
    let file = root.reader(&format!("{folder}/maps"))?;
    files(&mut BufReader::with_capacity(4096, file), visit)
}

/// Whether a program or library begins at a place in a process' memory. What cannot be read may be one.
pub(super) fn is_program(root: &Root, folder: &str, start: u64) -> bool {
    let mut magic = [0; 4];
    let memory = root.reader(&format!("{folder}/mem"));
    memory
        .and_then(|memory| memory.read_exact_at(&mut magic, start))
        .is_err()
        || magic == *b"\x7fELF"
}

fn files(text: &mut dyn BufRead, visit: &mut dyn FnMut(&Mapping)) -> io::Result<()> {
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
        let mapping = line.strip_suffix('\n').and_then(parse);
        let mapping = mapping.ok_or_else(|| io::Error::other("makes no sense"))?;
        if mapping.file.starts_with('/') && mapping.file != NO_FILE {
            visit(&mapping);
        }
    }
}

/// The file of a line; empty: it has none that may run. `None`: it makes no sense.
fn parse(line: &str) -> Option<Mapping<'_>> {
    let (mut fields, mut rest) = ([""; 5], line);
    for field in &mut fields {
        (*field, rest) = rest.split_once(' ')?;
    }
    let [range, rights, offset, device, inode] = fields;
    let file = rest.trim_start_matches(' ');
    let number = |hex| u64::from_str_radix(hex, 16).ok();
    let (major, minor) = device.split_once(':')?;
    let (major, minor) = (number(major)?, number(minor)?);
    let (start, _) = range.split_once('-')?;
    let left = file.strip_suffix(DELETED);
    Some(Mapping {
        file: match rights.get(2..3)? {
            "x" => left.unwrap_or(file),
            _ => "",
        },
        deleted: left.is_some(),
        shared: rights.ends_with('s'),
        start: number(start).filter(|_| number(offset) == Some(0)),
        // As the kernel tells a device to `stat`.
        inode: (
            minor & 0xff | major << 8 | (minor & !0xff) << 12,
            inode.parse().ok()?,
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "b6e00000-b6e90000 r-xp 00000000 1f:03 514 ";

    fn found(text: &str) -> io::Result<Vec<(String, bool)>> {
        let mut found = Vec::new();
        files(&mut text.as_bytes(), &mut |mapping| {
            found.push((mapping.file.to_owned(), mapping.deleted));
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
            ("00010000-000a0000 rw-s 00000000 00:06 7 /dev/mmz", None),
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
    fn a_file_is_told_by_more_than_its_name() {
        let line = "00010000-000a0000 r-xs 00000000 103:80105 514 /x (deleted)";
        let Mapping {
            shared, start, inode, ..
        } = parse(line).unwrap();
        assert_eq!((shared, start, inode), (true, Some(0x10000), (0x8011_0305, 514)));
        let line = line.replace("s 00000000", "p 00001000");
        let behind = parse(&line).unwrap();
        assert_eq!((behind.shared, behind.start), (false, None));
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
            let _ = files(&mut text.as_slice(), &mut |_| ());
            let _ = found(&line);
        }
    }
}
