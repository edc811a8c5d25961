//! Ways in by SSH.

use crate::gate::SshLogin;
use crate::listeners::{Listener, Logins, Process, ssh_login};

fn listening(words: &str, loopback: bool) -> Listener {
    let process = Process {
        pid: 10,
        program: Some("/bin/busybox".into()),
        words: words.split(' ').map(str::to_owned).collect(),
        vital: None,
        doubt: None,
        ports: vec![22],
    };
    Listener {
        port: 22,
        loopback,
        processes: vec![process],
    }
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
        ("dropbear -w", SshLogin::None, SshLogin::None),
        ("dropbear -D /mnt/keys", SshLogin::Password, SshLogin::Password),
        ("/usr/sbin/sshd -D", SshLogin::Key, SshLogin::None),
        ("telnetd", SshLogin::None, SshLogin::None),
    ] {
        let one = [listening(words, false)];
        assert_eq!(ssh_login(&one, &all), with_key, "{words}");
        assert_eq!(ssh_login(&one, &none_of_keys), without, "{words}");
        assert_eq!(ssh_login(&one, &Logins::default()), SshLogin::None, "{words}");
        let inside = [listening(words, true)];
        assert_eq!(ssh_login(&inside, &all), SshLogin::None, "{words}");
    }
    assert_eq!(ssh_login(&[], &all), SshLogin::None, "no server at all");
    // The surest of several counts, wherever it is.
    let two = [listening("dropbear -s", false), listening("dropbear -R", false)];
    assert_eq!(ssh_login(&two, &none_of_keys), SshLogin::Password);
}
