use super::*;
use std::io::Write as _;
use std::process::{Command, Stdio};

use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;

/// What the C library of the build machine says, for lines of hexadecimal password and setting.
fn libc_crypt(inputs: &[(Vec<u8>, String)]) -> Vec<String> {
    let mut child = Command::new("perl")
        .args([
            "-ne",
            r#"chomp; my ($p, $s) = split /\t/; print crypt(pack("H*", $p // ""), $s) // "", "\n";"#,
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("perl, whose crypt is libxcrypt's");
    let mut stdin = child.stdin.take().unwrap();
    let text: String = inputs
        .iter()
        .map(|(password, setting)| {
            let hex: String = password.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{hex}\t{setting}\n")
        })
        .collect();
    let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

fn random_cases(count: usize, setting: impl proptest::strategy::Strategy<Value = String>) {
    let mut runner = TestRunner::deterministic();
    let password = proptest::collection::vec(1..=255u8, 0..80);
    let cases: Vec<(Vec<u8>, String)> = (0..count)
        .map(|_| (&password, &setting).new_tree(&mut runner).unwrap().current())
        .collect();
    let hashes = libc_crypt(&cases);
    assert_eq!(hashes.len(), cases.len());
    for ((password, setting), hash) in cases.iter().zip(hashes) {
        assert!(hash.len() > 12, "{setting}: {hash}");
        assert_eq!(
            verify(&hash, password),
            Some(true),
            "{password:02x?} {setting} {hash}"
        );
        let mut other = password.clone();
        other.insert(0, b'x');
        if !password.iter().all(|byte| *byte == b'x') {
            assert_eq!(verify(&hash, &other), Some(false), "{other:02x?} {hash}");
        }
    }
}

#[test]
fn des_agrees_with_libc() {
    random_cases(400, "[./0-9A-Za-z]{2}");
}

#[test]
fn md5_agrees_with_libc() {
    random_cases(200, r"\$1\$[./0-9A-Za-z]{0,8}\$");
}

#[test]
fn sha256_agrees_with_libc() {
    random_cases(30, r"\$5\$(rounds=1[0-9]{3}\$)?[./0-9A-Za-z]{1,16}\$");
}

#[test]
fn sha512_agrees_with_libc() {
    random_cases(30, r"\$6\$(rounds=1[0-9]{3}\$)?[./0-9A-Za-z]{1,16}\$");
}

#[test]
fn bcrypt_agrees_with_libc() {
    random_cases(24, r"\$2[by]\$0[45]\$[./0-9A-Za-z]{21}[.Oeu]");
    // Of `$2a$` there are two kinds, which differ for letters beyond ASCII.
    let cases: Vec<_> = ["", "a", "xc3511", &"long ".repeat(20)]
        .map(|password| {
            (
                password.as_bytes().to_vec(),
                "$2a$04$abcdefghijklmnopqrstuu".to_owned(),
            )
        })
        .into();
    for ((password, _), hash) in cases.iter().zip(libc_crypt(&cases)) {
        assert_eq!(verify(&hash, password), Some(true), "{hash}");
        assert_eq!(verify(&hash, b"other"), Some(false), "{hash}");
    }
}

#[test]
fn own_hashes_are_accepted_by_libc() {
    let password = b"correct horse".to_vec();
    for scheme in [Scheme::Des, Scheme::Md5, Scheme::Sha256, Scheme::Sha512] {
        let own = hash(
            scheme,
            &password,
            &[7, 200, 3, 4, 5, 6, 255, 8, 9, 10, 11, 12, 13, 14, 15, 16],
        );
        assert_eq!(classify(&own), Field::Hash(scheme));
        assert_eq!(libc_crypt(&[(password.clone(), own.clone())]), [own]);
    }
}

#[test]
fn fields_are_told_apart() {
    for (field, expected) in [
        ("", Field::Empty),
        ("x", Field::Shadowed),
        ("!", Field::Locked),
        ("*", Field::Locked),
        ("!$6$salt$hash", Field::Locked),
        ("NP", Field::Locked),
        ("abFZSxKKdq5s6", Field::Hash(Scheme::Des)),
        ("_J9..abcdBi7fyL/3q2w", Field::Unknown),
        (
            "$2b$04$abcdefghijklmnopqrstuuCi15uRb1eH7NAlJ/TgeJertyknQpYn2",
            Field::Bcrypt,
        ),
        (
            "$2b$14$abcdefghijklmnopqrstuuCi15uRb1eH7NAlJ/TgeJertyknQpYn2",
            Field::Unknown,
        ),
        ("$y$j9T$abc$def", Field::Unknown),
        ("$6$rounds=999999$salt$hash", Field::Unknown),
        ("$6$rounds=x$salt$hash", Field::Unknown),
        ("$1$$qRPK7m23GJusamGpoGLby/", Field::Hash(Scheme::Md5)),
    ] {
        assert_eq!(classify(field), expected, "{field}");
    }
}

#[test]
fn known_hashes_of_cameras_are_opened() {
    assert_eq!(verify("$1$$qRPK7m23GJusamGpoGLby/", b""), Some(true));
    assert_eq!(verify("", b""), Some(true));
    assert_eq!(verify("", b"x"), Some(false));
    assert_eq!(verify("!abFZSxKKdq5s6", b"abc"), Some(false));
    assert_eq!(verify("abFZSxKKdq5s6", b"abc"), Some(true));
    assert_eq!(verify("$y$j9T$abc$def", b""), None);
    // DES looks at eight characters.
    let des = hash(Scheme::Des, b"12345678", &[9; 16]);
    assert_eq!(verify(&des, b"123456789"), Some(true));
    assert_eq!(verify(&des, b"1234567"), Some(false));
}

proptest::proptest! {
    #[test]
    fn no_field_makes_it_panic(field in "\\PC{0,40}|\\$2[aby]\\$04\\$\\PC{50,54}|\\$[156]\\$(rounds=[0-9]{0,3}\\$)?\\PC{0,30}", password in proptest::collection::vec(0..=255u8, 0..20)) {
        let _ = verify(&field, &password);
        let _ = cost(&field);
    }
}
