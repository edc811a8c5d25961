//! Logins of web interfaces that everybody knows: the list that is built in, and one beside the configuration, so that new
//! cameras need no new program.

use lenscap_harden::root::Root;

const BUILT_IN: &str = include_str!("../../../data/http-logins.csv");
/// What adds to it.
const ADDED: &str = "/etc/lenscap/http-logins.csv";
/// The most lines of both.
const MAX_LINES: usize = 512;
/// The most logins that one interface is asked: more, and it locks its owner out.
const MAX_TRIES: usize = 5;

/// The list.
pub(super) struct Logins(Vec<String>);

/// A line of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Login<'l>([&'l str; 6]);

impl Logins {
    #[inline(never)]
    pub(super) fn load(root: &Root) -> Self {
        let added = root.read(ADDED).unwrap_or_default();
        let added = String::from_utf8_lossy(&added);
        Self::parse(added.lines().chain(BUILT_IN.lines()))
    }

    pub(super) fn parse<'t>(lines: impl Iterator<Item = &'t str>) -> Self {
        let lines = lines.filter(|line| Login::parse(line).is_some());
        Self(lines.take(MAX_LINES).map(str::to_owned).collect())
    }

    /// The logins of an interface, by the answer to `GET /`.
    #[inline(never)]
    pub(super) fn fitting(&self, front: &[u8]) -> Vec<Login<'_>> {
        let front = front.to_ascii_lowercase();
        let all = self.0.iter().filter_map(|line| Login::parse(line));
        all.filter(|login| super::contains(&front, login.mark().to_ascii_lowercase().as_bytes()))
            .take(MAX_TRIES)
            .collect()
    }
}

impl<'l> Login<'l> {
    fn parse(line: &'l str) -> Option<Self> {
        let mut fields = [""; 6];
        let mut parts = line.trim_end().split(',');
        for field in &mut fields {
            *field = parts.next()?;
        }
        let [mark, auth, path, ..] = fields;
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        let usable = !line.starts_with('#')
            && !mark.is_empty()
            && matches!(auth, "http" | "get")
            && path.starts_with('/')
            && fields.iter().all(|field| plain(field));
        (usable && parts.next().is_none()).then_some(Self(fields))
    }

    pub(super) fn mark(&self) -> &'l str {
        self.0[0]
    }

    /// Basic or Digest.
    pub(super) fn is_http(&self) -> bool {
        self.0[1] == "http"
    }

    pub(super) fn path(&self) -> String {
        self.0[2]
            .replace("{user}", self.user())
            .replace("{password}", self.password())
    }

    pub(super) fn user(&self) -> &'l str {
        self.0[3]
    }

    pub(super) fn password(&self) -> &'l str {
        self.0[4]
    }

    pub(super) fn proof(&self) -> &'l str {
        self.0[5]
    }
}
