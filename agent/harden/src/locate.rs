//! Where a value stands in a file of settings, so that it alone can be replaced.

use core::ops::Range;

/// How a value is named in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A member of nested JSON objects.
    Json(&'static [&'static str]),
    /// A scalar of nested YAML mappings in block style.
    Yaml(&'static [&'static str]),
    /// `key=value`, the value bare or in quotes, as shells and many daemons read it.
    Key(&'static str),
    /// The words after `-U` in such a value: `user:password`.
    Option(&'static str),
    /// `key = value` below `[section]`.
    Ini(&'static str, &'static str),
    /// The SHA-256, in hexadecimal, after `user:`: each line of the file.
    WebHash,
    /// `user:realm:` and an MD5 in hexadecimal: each line of the file.
    Digest,
}

/// The places of a value. Quotes are not part of it.
#[must_use]
pub fn locate(text: &[u8], form: Form) -> Vec<Range<usize>> {
    match form {
        Form::Json(path) => json(text, path).into_iter().collect(),
        Form::Yaml(path) => yaml(text, path).into_iter().collect(),
        Form::Key(key) => values(text, key).collect(),
        Form::Option(key) => lines(text)
            .filter_map(|(start, line)| option(line, key).map(|range| shift(range, start)))
            .collect(),
        Form::Ini(section, key) => {
            let mut inside = false;
            lines(text)
                .filter_map(|(start, line)| {
                    inside = if line.starts_with(b"[") {
                        is_head(line, &ini_head(section))
                    } else {
                        inside
                    };
                    let range = inside.then(|| key_value(line, key)).flatten()?;
                    Some(shift(range, start))
                })
                .collect()
        }
        Form::WebHash => lines(text)
            .filter_map(|(start, line)| web_hash(line).map(|range| shift(range, start)))
            .collect(),
        Form::Digest => lines(text)
            .filter_map(|(start, line)| {
                let hash = line.rsplit(|byte| *byte == b':').next()?;
                let fits = hash.len() == 32 && hash.iter().all(u8::is_ascii_hexdigit);
                (fits && !line.starts_with(b"#")).then_some(start..start + line.len())
            })
            .collect(),
    }
}

/// The places of the values of a key, as [`Form::Key`] has it.
pub(crate) fn values(text: &[u8], key: &str) -> impl Iterator<Item = Range<usize>> {
    lines(text).filter_map(move |(start, line)| key_value(line, key).map(|range| shift(range, start)))
}

/// Puts a value where a file has none: below the head of its section, or with that at the end. `None`: the file is of a
/// shape that is not followed, or the form knows no sections.
#[must_use]
pub fn insert(text: &[u8], form: Form, value: &str) -> Option<Vec<u8>> {
    let (head, line) = match form {
        Form::Yaml([section, key]) => (format!("{section}:"), format!("{key}: \"{value}\"\n")),
        Form::Ini(section, key) => (ini_head(section), format!("{key} = {value}\n")),
        _ => return None,
    };
    let (mut at, mut found) = (text.len(), false);
    for (start, line) in lines(text) {
        if found {
            at = start;
            break;
        }
        found = is_head(line, &head);
        // A mapping in one line, or all of JSON.
        if line.starts_with(b"{") || line.starts_with(head.as_bytes()) && !found {
            return None;
        }
    }
    let above = if found { String::new() } else { head + "\n" };
    let mut new = text.get(..at)?.to_vec();
    if !new.is_empty() && !new.ends_with(b"\n") {
        new.push(b'\n');
    }
    new.extend(above.bytes());
    if matches!(form, Form::Yaml(_)) {
        let members = text.get(at..).unwrap_or_default();
        let mut indents = lines(members).filter_map(|(_, line)| {
            let content = line.trim_ascii_start();
            let counts = !content.is_empty() && !content.starts_with(b"#");
            counts.then_some(line.len() - content.len())
        });
        let indent = indents.next().unwrap_or(0);
        new.resize(new.len() + if indent > 0 { indent } else { 2 }, b' ');
    }
    new.extend(line.bytes());
    new.extend_from_slice(text.get(at..)?);
    Some(new)
}

fn ini_head(section: &str) -> String {
    format!("[{section}]")
}

/// Whether a line is this, and perhaps a comment.
fn is_head(line: &[u8], head: &str) -> bool {
    line.strip_prefix(head.as_bytes())
        .is_some_and(|rest| matches!(rest.trim_ascii_start(), [] | [b'#', ..]))
}

/// The passwords in `rtsp://user:password@` and its like, for one user.
#[must_use]
pub fn url_passwords(text: &[u8], user: &str) -> Vec<Range<usize>> {
    let needle = format!("://{user}:");
    let mut found = Vec::new();
    let mut start = 0;
    while let Some(at) = find(text, needle.as_bytes(), start) {
        start = at + needle.len();
        let rest = text.get(start..).unwrap_or_default();
        let end = rest
            .iter()
            .position(|byte| matches!(byte, b'@' | b'/' | b'"' | b'\'' | b' ' | b'\n'));
        if let Some(length) = end.filter(|end| rest.get(*end) == Some(&b'@')) {
            found.push(start..start + length);
        }
    }
    found
}

/// Hashes of crypt(3) in a script: of the kinds with `$`, and what stands after `root:`.
#[must_use]
pub fn hashes(text: &[u8]) -> Vec<Range<usize>> {
    let salt = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/' | b'=');
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut at = 0;
    while let Some(start) = find(text, b"$", at) {
        at = start + 1;
        let rest = text.get(start..).unwrap_or_default();
        if !matches!(rest, [b'$', b'1' | b'5' | b'6', b'$', ..]) {
            continue;
        }
        let parts = rest.get(3..).unwrap_or_default();
        let length = parts
            .iter()
            .take_while(|byte| salt(byte) || **byte == b'$')
            .count();
        let hash = parts
            .get(..length)
            .unwrap_or_default()
            .rsplit(|byte| *byte == b'$')
            .next()
            .unwrap_or_default();
        if matches!(hash.len(), 22 | 43 | 86) {
            at = start + 3 + length;
            found.push(start..at);
        }
    }
    at = 0;
    while let Some(start) = find(text, b"root:", at) {
        at = start + 5;
        let rest = text.get(at..).unwrap_or_default();
        let length = rest.iter().take_while(|byte| salt(byte)).count();
        if length == 13 && rest.get(13) == Some(&b':') {
            let place = found.partition_point(|have| have.start < at);
            found.insert(place, at..at + 13);
        }
    }
    found
}

fn find(text: &[u8], needle: &[u8], from: usize) -> Option<usize> {
    let rest = text.get(from..)?;
    rest.windows(needle.len())
        .position(|window| window == needle)
        .map(|at| from + at)
}

fn lines(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut start = 0;
    text.split_inclusive(|byte| *byte == b'\n').map(move |line| {
        let at = start;
        start += line.len();
        (at, line.trim_ascii_end())
    })
}

fn shift(range: Range<usize>, by: usize) -> Range<usize> {
    range.start + by..range.end + by
}

fn key_value(line: &[u8], key: &str) -> Option<Range<usize>> {
    let start = line.len() - line.trim_ascii_start().len();
    let mut rest = line.get(start..)?;
    rest = rest.strip_prefix(b"export ").unwrap_or(rest);
    let rest = rest
        .strip_prefix(key.as_bytes())?
        .trim_ascii_start()
        .strip_prefix(b"=")?
        .trim_ascii_start();
    Some(unquoted(line.len() - rest.len(), rest))
}

/// A bare value ends at a blank, since what follows is a comment.
fn unquoted(start: usize, value: &[u8]) -> Range<usize> {
    match value {
        [mark @ (b'"' | b'\''), inner @ ..] => {
            let length = inner.iter().position(|byte| byte == mark).unwrap_or(inner.len());
            start + 1..start + 1 + length
        }
        _ => {
            let length = value
                .iter()
                .position(u8::is_ascii_whitespace)
                .unwrap_or(value.len());
            start..start + length
        }
    }
}

fn option(line: &[u8], key: &str) -> Option<Range<usize>> {
    let value = key_value(line, key)?;
    let text = line.get(value.clone())?;
    let Some(at) = find(text, b"-U", 0) else {
        return Some(value.start..value.start);
    };
    let rest = text.get(at + 2..)?;
    let word = rest.trim_ascii_start();
    let start = value.start + text.len() - word.len();
    let length = word
        .iter()
        .position(u8::is_ascii_whitespace)
        .unwrap_or(word.len());
    Some(start..start + length)
}

fn web_hash(line: &[u8]) -> Option<Range<usize>> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let hash = line.get(colon + 1..)?;
    (hash.len() == 64 && hash.iter().all(u8::is_ascii_hexdigit)).then_some(colon + 1..line.len())
}

/// Follows mappings by their indentation.
fn yaml(text: &[u8], path: &[&str]) -> Option<Range<usize>> {
    // For each mapping that was entered: how far its key is indented, and how far its members are.
    let mut entered: Vec<(usize, Option<usize>)> = Vec::new();
    for (start, line) in lines(text) {
        let content = line.trim_ascii_start();
        let indent = line.len() - content.len();
        if content.is_empty() || content.starts_with(b"#") {
            continue;
        }
        while entered.last().is_some_and(|(key, _)| indent <= *key) {
            entered.pop();
        }
        let member = match entered.last_mut() {
            Some((_, members)) => indent == *members.get_or_insert(indent),
            None => indent == 0,
        };
        let wanted = path.get(entered.len())?;
        let rest = content.strip_prefix(wanted.as_bytes());
        let Some(rest) = rest.and_then(|rest| rest.strip_prefix(b":")).filter(|_| member) else {
            continue;
        };
        let value = rest.trim_ascii_start();
        if entered.len() + 1 == path.len() {
            return Some(shift(unquoted(line.len() - value.len(), value), start));
        }
        if value.is_empty() || value.starts_with(b"#") {
            entered.push((indent, None));
        }
    }
    None
}

/// Follows members of objects; skips everything else. Gives strings without quotes and other scalars as they are.
fn json(text: &[u8], path: &[&str]) -> Option<Range<usize>> {
    let mut at = 0;
    let mut depth = 0usize;
    let mut matched = 0usize;
    let mut key: Option<Range<usize>> = None;
    let mut value = false;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'{' | b'[' => {
                let wanted = matched == depth.saturating_sub(1)
                    && value
                    && byte == b'{'
                    && key
                        .take()
                        .is_some_and(|key| path.get(matched).map(|name| name.as_bytes()) == text.get(key));
                matched += usize::from(wanted);
                depth += 1;
                value = byte == b'[';
            }
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                matched = matched.min(depth.saturating_sub(1));
                value = false;
            }
            b',' => value = false,
            b':' => value = true,
            b'"' => {
                let end = string_end(text, at)?;
                if !value {
                    key = Some(at + 1..end);
                } else if is_wanted(text, path, depth, matched, key.as_ref()) {
                    return Some(at + 1..end);
                }
                at = end;
            }
            b'a'..=b'z' | b'0'..=b'9' | b'-' => {
                let rest = text.get(at..)?;
                let length = rest
                    .iter()
                    .take_while(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte))
                    .count();
                if value && is_wanted(text, path, depth, matched, key.as_ref()) {
                    return Some(at..at + length);
                }
                at += length - 1;
            }
            _ => {}
        }
        at += 1;
    }
    None
}

fn is_wanted(text: &[u8], path: &[&str], depth: usize, matched: usize, key: Option<&Range<usize>>) -> bool {
    let name = path.last().map(|name| name.as_bytes());
    depth == path.len() && matched + 1 == path.len() && key.is_some_and(|key| text.get(key.clone()) == name)
}

fn string_end(text: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        match text.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str, form: Form) -> Vec<&str> {
        locate(text.as_bytes(), form)
            .into_iter()
            .map(|range| &text[range])
            .collect()
    }

    #[test]
    fn values_are_found_in_json() {
        let text = r#"{"rtspx":{"password":"a"},"http":{"x":[{"password":"b"}],"password":"c\"d"},
            "rtsp" : { "sub": {"password":"e"}, "port": 554, "password" : "f", "on": false }, "password": "g"}"#;
        assert_eq!(values(text, Form::Json(&["rtsp", "password"])), ["f"]);
        assert_eq!(values(text, Form::Json(&["http", "password"])), [r#"c\"d"#]);
        assert_eq!(values(text, Form::Json(&["password"])), ["g"]);
        assert_eq!(values(text, Form::Json(&["rtsp", "port"])), ["554"]);
        assert_eq!(values(text, Form::Json(&["rtsp", "on"])), ["false"]);
        assert!(values(text, Form::Json(&["rtsp", "none"])).is_empty());
        assert!(values("{\"rtsp\":{\"password\":\"", Form::Json(&["rtsp", "password"])).is_empty());
    }

    #[test]
    fn values_are_found_in_yaml() {
        let text = "a: 1\n# netip:\nnetip:\n  # x\n  sub:\n    password: no\n  enabled: true\n  user: admin\n  password: \"p w\" # why\nonvif:\n  password: q\n";
        assert_eq!(values(text, Form::Yaml(&["netip", "password"])), ["p w"]);
        assert_eq!(values(text, Form::Yaml(&["onvif", "password"])), ["q"]);
        assert_eq!(values(text, Form::Yaml(&["netip", "sub", "password"])), ["no"]);
        assert_eq!(
            values("netip:\n  password:\n", Form::Yaml(&["netip", "password"])),
            [""]
        );
        assert!(values(text, Form::Yaml(&["password"])).is_empty());
    }

    #[test]
    fn values_are_found_in_lines() {
        let text = "#KEY=no\nKEY=a\nXKEY=b\n  export KEY = \"c d\" # e\nKEYS=f\nKEY=\nKEY=g#h i\r\n";
        assert_eq!(values(text, Form::Key("KEY")), ["a", "c d", "", "g#h"]);
        let text = "RTSP=\"\"\nRTSP=\"-W 9 -U u:p -H5\"\nRTSP=-Uu:p\n";
        assert_eq!(values(text, Form::Option("RTSP")), ["", "u:p", "u:p"]);
        let hash = "0".repeat(64);
        assert_eq!(
            values(&format!("root:{hash}\nx:{hash}0\n"), Form::WebHash),
            [hash]
        );
    }

    #[test]
    fn values_are_found_in_sections_and_put_there() {
        let text = "password = a\n[rtsp]\n# password = b\npassword = c # d\n[http] # e\nport = 8080\n";
        let ini = |section, key| Form::Ini(section, key);
        assert_eq!(values(text, ini("rtsp", "password")), ["c"]);
        assert!(values(text, ini("http", "password")).is_empty());
        let put = |text: &str, form, section: &'static str| {
            let form = if form {
                Form::Yaml(leaked(section))
            } else {
                Form::Ini(section, "password")
            };
            let new = insert(text.as_bytes(), form, "x")?;
            let new = String::from_utf8(new).unwrap();
            assert_eq!(values(&new, form), ["x"], "{new}");
            Some(new)
        };
        fn leaked(section: &'static str) -> &'static [&'static str] {
            if section == "api" {
                &["api", "password"]
            } else {
                &["rtsp", "password"]
            }
        }
        assert!(
            put(text, false, "http")
                .unwrap()
                .contains("[http] # e\npassword = x\nport")
        );
        assert!(
            put(text, false, "webrtc")
                .unwrap()
                .ends_with("\n[webrtc]\npassword = x\n")
        );
        assert_eq!(put("[http]", false, "http").unwrap(), "[http]\npassword = x\n");
        let yaml = "rtsp: # why\n    listen: \":8553\"\nlog:\n  api: trace";
        assert!(
            put(yaml, true, "rtsp")
                .unwrap()
                .starts_with("rtsp: # why\n    password: \"x\"\n    listen")
        );
        assert!(
            put(yaml, true, "api")
                .unwrap()
                .ends_with("trace\napi:\n  password: \"x\"\n")
        );
        assert_eq!(put("", true, "api").unwrap(), "api:\n  password: \"x\"\n");
        // These would be another mapping of that name, or no text of this kind.
        assert_eq!(put("rtsp: {listen: \":1\"}\n", true, "rtsp"), None);
        assert_eq!(put("{\"rtsp\": {}}\n", true, "rtsp"), None);
        let digest =
            "# a:b:0123456789abcdef0123456789abcdef\nroot:all:0123456789abcdef0123456789abcdef\nx:y:z\n";
        assert_eq!(
            values(digest, Form::Digest),
            ["root:all:0123456789abcdef0123456789abcdef"]
        );
    }

    #[test]
    fn passwords_are_found_in_urls() {
        let text =
            "a=\"rtsp://thingino:pw1@127.0.0.1/ch0\" b http://thingino:pw2@x rtsp://other:z@y ://thingino:/@";
        let found: Vec<_> = url_passwords(text.as_bytes(), "thingino")
            .into_iter()
            .map(|range| &text[range])
            .collect();
        assert_eq!(found, ["pw1", "pw2"]);
    }

    #[test]
    fn hashes_are_found_in_scripts() {
        let text =
            "P='$1$$qRPK7m23GJusamGpoGLby/' $1 $$ \"$6$abc\" echo root:abFZSxKKdq5s6:0:0 root:short: root:x:";
        let found: Vec<_> = hashes(text.as_bytes())
            .into_iter()
            .map(|range| &text[range])
            .collect();
        assert_eq!(found, ["$1$$qRPK7m23GJusamGpoGLby/", "abFZSxKKdq5s6"]);
    }

    proptest::proptest! {
        #[test]
        fn no_file_makes_it_panic(text in "[{}\\[\\]\":,a\\\\ \\n$16=#-]{0,100}") {
            for form in [Form::Json(&["a", "a"]), Form::Yaml(&["a", "a"]), Form::Key("a"), Form::Option("a"), Form::WebHash, Form::Digest, Form::Ini("a", "a")] {
                let _ = locate(text.as_bytes(), form);
                let _ = insert(text.as_bytes(), form, "1");
            }
            let _ = hashes(text.as_bytes());
            let _ = url_passwords(text.as_bytes(), "a");
        }
    }
}
