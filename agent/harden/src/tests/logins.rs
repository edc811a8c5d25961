//! Ways in by SSH.

use core::net::Ipv4Addr;

use crate::gate::SshLogin;
use crate::listeners::{Listener, Logins, Process, Ssh, ssh_servers};

fn listening(words: &str, port: u16, loopback: bool) -> Listener {
    let process = Process {
        pid: 10,
        program: Some("/bin/busybox".into()),
        words: words.split(' ').map(str::to_owned).collect(),
        vital: None,
        doubt: None,
        ports: vec![port],
    };
    Listener {
        port,
        address: if loopback {
            Ipv4Addr::LOCALHOST
        } else {
            Ipv4Addr::UNSPECIFIED
        }
        .into(),
        loopback,
        processes: vec![process],
    }
}

fn ssh_logins(listeners: &[Listener], logins: &Logins) -> Vec<(u16, SshLogin)> {
    let servers = ssh_servers(listeners).into_iter();
    let login = |server: &Ssh| server.login(&server.words, logins).0;
    servers.map(|server| (server.at.port(), login(&server))).collect()
}

#[test]
fn a_login_is_what_the_server_that_runs_takes() {
    let all = Logins {
        dropbear_key: true,
        other_key: true,
        password: true,
        blank: true,
    };
    let none_of_keys = Logins {
        dropbear_key: false,
        other_key: false,
        ..all
    };
    for (words, with_key, without) in [
        ("dropbear -R", SshLogin::Key, SshLogin::Password),
        ("dropbear -RB", SshLogin::Key, SshLogin::Blank),
        ("dropbear -s", SshLogin::Key, SshLogin::None),
        ("dropbear -B -g", SshLogin::Key, SshLogin::None),
        ("dropbear -F -p 2222 -T 3", SshLogin::Key, SshLogin::Password),
        ("dropbear -w", SshLogin::None, SshLogin::None),
        ("dropbear -t", SshLogin::None, SshLogin::None),
        ("dropbear -G owners", SshLogin::None, SshLogin::None),
        ("dropbear -Rc /bin/false", SshLogin::None, SshLogin::None),
        ("dropbear -D /mnt/keys", SshLogin::Password, SshLogin::Password),
        (
            "dropbear -r/etc/dropbear/ecdsa",
            SshLogin::Key,
            SshLogin::Password,
        ),
        ("/usr/sbin/sshd -D", SshLogin::Key, SshLogin::None),
        (
            "/usr/sbin/sshd -Df /mnt/sshd_config",
            SshLogin::None,
            SshLogin::None,
        ),
        ("sshd -o PermitRootLogin=no", SshLogin::None, SshLogin::None),
    ] {
        let one = [listening(words, 2222, false)];
        assert_eq!(ssh_logins(&one, &all), [(2222, with_key)], "{words}");
        assert_eq!(ssh_logins(&one, &none_of_keys), [(2222, without)], "{words}");
        let nothing = [(2222, SshLogin::None)];
        assert_eq!(ssh_logins(&one, &Logins::default()), nothing, "{words}");
        assert!(
            ssh_logins(&[listening(words, 22, true)], &all).is_empty(),
            "{words}"
        );
    }
    for words in ["telnetd", "tinysshd /etc/keys"] {
        assert!(ssh_logins(&[listening(words, 22, false)], &all).is_empty());
    }
    assert!(ssh_logins(&[], &all).is_empty(), "no server at all");
    // Who is given a password must be asked for it.
    for (words, asks) in [
        ("dropbear", true),
        ("dropbear -s", false),
        ("dropbear -w", false),
        ("sshd", false),
    ] {
        let server = &ssh_servers(&[listening(words, 22, false)])[0];
        assert_eq!(server.login(&server.words, &Logins::default()).1, asks, "{words}");
    }
    // As OpenSSH 9 names itself, in one word.
    let mut titled = listening("sshd:", 22, false);
    for (title, login) in [
        (
            "sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups",
            SshLogin::Key,
        ),
        (
            "sshd: /usr/sbin/sshd -f /x [listener] 0 of 10-100 startups",
            SshLogin::None,
        ),
    ] {
        titled.processes[0].program = Some("/usr/sbin/sshd".into());
        titled.processes[0].words = vec![title.into()];
        assert_eq!(ssh_logins(&[titled.clone()], &all), [(22, login)], "{title}");
    }
}

#[test]
fn a_server_is_started_by_words_that_name_its_port() {
    for (words, script, alone, started) in [
        ("dropbear -R", "-R", false, true),
        ("dropbear -R", "", false, true),
        ("dropbear -R -p 22", "-R", false, true),
        ("dropbear -R", "-B -p 0.0.0.0:22", false, true),
        ("dropbear -R -p 2222", "-p 2222 -s", false, true),
        ("dropbear -R -p2222", "-p 2222", false, true),
        ("dropbear -R -p 2222", "-R", true, false),
        ("dropbear -R", "-R -p 2222 -s", true, false),
        ("dropbear -R -p 2222", "$DROPBEAR_ARGS", true, true),
        ("dropbear -R -p 2222", "-R -p $port", true, true),
        ("dropbear -R -p 2222", "$DROPBEAR_ARGS", false, false),
        ("dropbear -R", "-R -p 2222 $EXTRA", true, false),
        ("dropbear -R -p 2222", "-R -p 2222 $EXTRA", false, true),
        ("/usr/sbin/sshd -D", "", false, true),
        // Its settings may say another.
        ("/usr/sbin/sshd -p 22", "", true, false),
    ] {
        let server = &ssh_servers(&[listening(words, 22, false)])[0];
        assert_eq!(
            server.is_started_by(script, alone),
            started,
            "{words} {script:?} {alone}"
        );
    }
}
