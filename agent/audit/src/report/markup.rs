//! What HTML and XML have in common.

/// Appends text with what markup would take for its own escaped.
pub(super) fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
}

/// Appends markup: each `%` in `frame` is replaced by the next text, escaped.
pub(super) fn fill(out: &mut String, frame: &str, texts: &[&str]) {
    let mut texts = texts.iter();
    for (n, part) in frame.split('%').enumerate() {
        if n > 0 {
            escape(out, texts.next().copied().unwrap_or_default());
        }
        out.push_str(part);
    }
}
