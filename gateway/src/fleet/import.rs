//! Lists of cameras as operators have them, in and out.

use std::collections::BTreeMap;

use super::csv::{Field, Mistake, Place, Reader, write_row};
use super::pin::Pin;
use crate::config::{Sha256Hash, is_name, parse_fingerprint};
use crate::rtsp::digest::hex;
use crate::store::{Camera, Details};

/// Most rows of one import.
pub const MAX_ROWS: usize = 20_000;
/// Most mistakes that are told at a time.
pub const MAX_MISTAKES: usize = 50;
/// Longest serial and model.
pub const MAX_LABEL_BYTES: usize = 64;

/// The columns, in the order that they are written in. Reading, any order does, and case, spaces, `-` and `_` in the
/// names do not matter.
pub const COLUMNS: [&str; 13] = [
    "name",
    "agent_id",
    "serial",
    "model",
    "pin",
    "pin_key",
    "fingerprint",
    "account",
    "stream",
    "substream",
    "snapshot",
    "onvif_url",
    "ptz",
];

/// One camera of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Where the row begins.
    pub place: Place,
    /// Given, or made of the agent id or the serial.
    pub name: String,
    /// Whose.
    pub account: Option<String>,
    /// As on the label.
    pub serial: Option<String>,
    /// As on the label.
    pub model: Option<String>,
    /// As on the label.
    pub pin: Option<Pin>,
    /// What an export has in place of the PIN of a camera that is still expected: K (docs/protocol.md, section 4).
    pub pin_key: Option<PinKey>,
    /// The key.
    pub fingerprint: Option<Sha256Hash>,
    /// The rest.
    pub details: Details,
}

/// K, kept out of logs.
#[derive(Clone, PartialEq, Eq)]
pub struct PinKey(pub [u8; 32]);

impl std::fmt::Debug for PinKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PinKey(redacted)")
    }
}

/// Reads a list.
///
/// # Errors
/// Every mistake, up to [`MAX_MISTAKES`], with its line and column.
pub fn parse(text: &str) -> Result<Vec<Row>, Vec<Mistake>> {
    let mut reader = Reader::new(text);
    let header = match reader.next_row() {
        Ok(Some(header)) => header,
        Ok(None) => {
            let place = Place { line: 1, column: 1 };
            return Err(vec![mistake(
                place,
                format!("empty; the first line names the columns: {}", COLUMNS.join(",")),
            )]);
        }
        Err(error) => return Err(vec![error]),
    };
    let mut mistakes = Vec::new();
    let columns = columns(&header, &mut mistakes);
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let mut rows: Vec<Row> = Vec::new();
    let mut seen = BTreeMap::new();
    while mistakes.len() < MAX_MISTAKES {
        let fields = match reader.next_row() {
            Ok(Some(fields)) => fields,
            Ok(None) => break,
            Err(error) => {
                mistakes.push(error);
                break;
            }
        };
        let place = fields
            .first()
            .map_or(Place { line: 1, column: 1 }, |field| field.place);
        if rows.len() == MAX_ROWS {
            mistakes.push(mistake(
                place,
                format!("more than {MAX_ROWS} cameras; split the file"),
            ));
            break;
        }
        if let Some(extra) = fields.get(columns.len()).filter(|field| !field.text.is_empty()) {
            mistakes.push(mistake(
                extra.place,
                format!("a field without a column: there are {}", columns.len()),
            ));
            continue;
        }
        let before = mistakes.len();
        let row = Cells {
            place,
            columns: &columns,
            fields: &fields,
        }
        .row(&mut mistakes);
        if let Some(row) = row.filter(|_| mistakes.len() == before) {
            unique(&row, &mut seen, &mut mistakes);
            rows.push(row);
        }
    }
    if mistakes.is_empty() {
        Ok(rows)
    } else {
        Err(mistakes)
    }
}

/// Writes a list. PINs are not kept, so that column is empty; cameras that are still expected by their PIN have what
/// it is compared with, or whoever knows the serial could be taken for them after an import. It is a secret.
#[must_use]
pub fn export<'a>(cameras: impl IntoIterator<Item = &'a Camera>) -> String {
    let mut out = String::new();
    write_row(&mut out, COLUMNS);
    for camera in cameras {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let details = &camera.details;
        let fingerprint = camera.fingerprint.map(|hash| format!("sha256:{}", hex(&hash)));
        let ptz = match details.ptz {
            None => "",
            Some(true) => "yes",
            Some(false) => "no",
        };
        let fields = [
            camera.name.clone(),
            text(&details.agent_id),
            text(&camera.serial),
            text(&camera.model),
            String::new(),
            camera.pin_key.map(|key| hex(&key)).unwrap_or_default(),
            text(&fingerprint),
            camera.account.clone(),
            text(&details.stream),
            text(&details.substream),
            text(&details.snapshot),
            text(&details.onvif_url),
            ptz.to_owned(),
        ];
        write_row(&mut out, fields.iter().map(String::as_str));
    }
    out
}

/// True for a serial or model as labels have them.
#[must_use]
pub fn is_label(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    !text.is_empty() && text.len() <= MAX_LABEL_BYTES && text.bytes().all(plain) && text.trim() == text
}

fn columns(header: &[Field], mistakes: &mut Vec<Mistake>) -> Vec<&'static str> {
    let fold = |name: &str| -> String {
        let kept = name.chars().filter(|c| c.is_alphanumeric());
        kept.flat_map(char::to_lowercase).collect()
    };
    let mut found: Vec<&'static str> = Vec::new();
    for field in header {
        match COLUMNS.iter().find(|known| fold(known) == fold(&field.text)) {
            None => mistakes.push(mistake(
                field.place,
                format!(
                    "unknown column {:?}; known are {}",
                    clip(&field.text),
                    COLUMNS.join(", ")
                ),
            )),
            Some(known) if found.contains(known) => {
                mistakes.push(mistake(field.place, format!("the column {known} is there twice")));
            }
            Some(known) => found.push(known),
        }
    }
    if mistakes.is_empty() && !found.contains(&"serial") && !found.contains(&"fingerprint") {
        let place = Place { line: 1, column: 1 };
        mistakes.push(mistake(place, "needs a column serial or fingerprint".to_owned()));
    }
    found
}

struct Cells<'a> {
    place: Place,
    columns: &'a [&'static str],
    fields: &'a [Field],
}

impl Cells<'_> {
    /// The field of a column, without spaces around it, unless it is empty.
    fn get(&self, column: &str) -> Option<(Place, &str)> {
        let index = self.columns.iter().position(|known| *known == column)?;
        let field = self.fields.get(index)?;
        let text = field.text.trim();
        (!text.is_empty()).then_some((field.place, text))
    }

    fn parsed<T>(
        &self,
        column: &str,
        mistakes: &mut Vec<Mistake>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let (place, text) = self.get(column)?;
        match parse(text) {
            Ok(value) => Some(value),
            Err(why) => {
                mistakes.push(mistake(place, format!("{column}: {why}")));
                None
            }
        }
    }

    fn row(&self, mistakes: &mut Vec<Mistake>) -> Option<Row> {
        let serial = self.parsed("serial", mistakes, label);
        let agent_id = self.parsed("agent_id", mistakes, label);
        let fingerprint = self.parsed("fingerprint", mistakes, |text| {
            parse_fingerprint(text).ok_or("must be `sha256:` and 64 hex digits".to_owned())
        });
        // A PIN is never quoted, not even a wrong one.
        let pin = self.parsed("pin", mistakes, |text| {
            Pin::parse(text).map_err(|error| error.to_string())
        });
        let pin_key = self.parsed("pin_key", mistakes, |text| {
            let key = parse_fingerprint(&format!("sha256:{text}"));
            key.map(PinKey)
                .ok_or("must be the 64 hex digits of an export".to_owned())
        });
        if let (Some((place, _)), Some(_)) = (self.get("pin_key"), self.get("pin")) {
            mistakes.push(mistake(place, "pin_key: the row has a PIN already".to_owned()));
        } else if let (Some((place, _)), None) = (self.get("pin_key"), self.get("serial")) {
            mistakes.push(mistake(
                place,
                "pin_key: it is worth nothing without its serial".to_owned(),
            ));
        }
        let name = self.parsed("name", mistakes, |text| {
            if is_name(text) {
                Ok(text.to_owned())
            } else {
                Err(NAME.to_owned())
            }
        });
        let derived = [&agent_id, &serial]
            .into_iter()
            .flatten()
            .find(|text| is_name(text))
            .cloned();
        let row = Row {
            place: self.place,
            name: name.or(derived).unwrap_or_default(),
            account: self.parsed("account", mistakes, |text| {
                if is_name(text) {
                    Ok(text.to_owned())
                } else {
                    Err(NAME.to_owned())
                }
            }),
            model: self.parsed("model", mistakes, label),
            details: Details {
                agent_id,
                stream: self.parsed("stream", mistakes, |text| {
                    url(text, &["rtsp", "rtsps", "http", "https"])
                }),
                substream: self.parsed("substream", mistakes, |text| {
                    url(text, &["rtsp", "rtsps", "http", "https"])
                }),
                snapshot: self.parsed("snapshot", mistakes, |text| url(text, &["http", "https"])),
                onvif_url: self.parsed("onvif_url", mistakes, |text| url(text, &["http", "https"])),
                ptz: self.parsed("ptz", mistakes, truth),
            },
            serial,
            pin,
            pin_key,
            fingerprint,
        };
        if self.get("serial").is_none() && self.get("fingerprint").is_none() {
            mistakes.push(mistake(self.place, "needs a serial or a fingerprint".to_owned()));
        } else if row.name.is_empty() && self.get("name").is_none() {
            let why = "needs a name: neither agent id nor serial can be one".to_owned();
            mistakes.push(mistake(self.place, why));
        }
        Some(row)
    }
}

const NAME: &str = "must have 1 to 64 of the letters a-z, A-Z, 0-9, `-`, `_` and `.`";

/// Two rows must not be one camera.
fn unique(row: &Row, seen: &mut BTreeMap<String, usize>, mistakes: &mut Vec<Mistake>) {
    let keys = [
        Some(("name", row.name.clone())),
        row.serial.clone().map(|serial| ("serial", serial)),
        row.details.agent_id.clone().map(|id| ("agent_id", id)),
        row.fingerprint.map(|hash| ("fingerprint", hex(&hash))),
    ];
    for (what, value) in keys.into_iter().flatten() {
        if let Some(line) = seen.insert(format!("{what} {value}"), row.place.line) {
            mistakes.push(mistake(row.place, format!("the {what} of line {line} again")));
        }
    }
}

fn label(text: &str) -> Result<String, String> {
    if is_label(text) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "must have 1 to {MAX_LABEL_BYTES} printable ASCII characters"
        ))
    }
}

fn url(text: &str, schemes: &[&str]) -> Result<String, String> {
    let (scheme, rest) = text
        .split_once("://")
        .ok_or(format!("must begin with {}://", schemes.join(":// or ")))?;
    if !schemes.iter().any(|known| known.eq_ignore_ascii_case(scheme)) {
        return Err(format!("must begin with {}://", schemes.join(":// or ")));
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err("leave user and password out: the camera's agent logs in by itself".to_owned());
    }
    if authority.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("is no address".to_owned());
    }
    Ok(text.to_owned())
}

fn truth(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "true" | "on" | "y" => Ok(true),
        "0" | "no" | "false" | "off" | "n" => Ok(false),
        _ => Err("must be yes or no".to_owned()),
    }
}

fn clip(text: &str) -> String {
    text.chars().take(40).collect()
}

fn mistake(place: Place, message: String) -> Mistake {
    Mistake { place, message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Method;

    #[test]
    fn reads_an_operators_list() {
        let text = "Agent ID,Serial,Model,PIN,Stream,Substream,Snapshot,ONVIF URL,PTZ\r\n\
                    cam-1,SN1,\"Dome, 4 MP\",7K3M-9QX0-1BCD-EF2G,rtsp://10.0.0.5/1,,http://10.0.0.5/s.jpg,,yes\r\n\
                    ,SN2,,,,,,,\r\n";
        let rows = parse(text).unwrap();
        assert_eq!((rows[0].name.as_str(), rows[1].name.as_str()), ("cam-1", "SN2"));
        assert_eq!(rows[0].model.as_deref(), Some("Dome, 4 MP"));
        assert!(rows[0].pin.is_some() && rows[1].pin.is_none());
        assert_eq!(rows[0].details.ptz, Some(true));
        assert_eq!(rows[1].place, Place { line: 3, column: 1 });
    }

    #[test]
    fn every_mistake_has_line_and_column() {
        let head = "name,serial,pin,fingerprint,stream,ptz\n";
        for (text, expected) in [
            (String::new(), "line 1, column 1: empty"),
            (
                "name,serail\n".into(),
                "line 1, column 6: unknown column \"serail\"",
            ),
            (
                "serial,Serial\n".into(),
                "line 1, column 8: the column serial is there twice",
            ),
            (
                "name,model\n".into(),
                "line 1, column 1: needs a column serial or fingerprint",
            ),
            (
                format!("{head}a/b,SN1\n"),
                "line 2, column 1: name: must have 1 to 64",
            ),
            (
                format!("{head}a,\n"),
                "line 2, column 1: needs a serial or a fingerprint",
            ),
            (format!("{head},S/1\n"), "line 2, column 1: needs a name"),
            (
                format!("{head}a,SN1,1234\n"),
                "line 2, column 7: pin: this PIN is worth 13 bits",
            ),
            (
                "serial,pin_key\nSN1,1234\n".into(),
                "line 2, column 5: pin_key: must be the 64 hex digits",
            ),
            (
                format!(
                    "serial,pin,pin_key\nSN1,7K3M-9QX0-1BCD-EF2G,{}\n",
                    "12".repeat(32)
                ),
                "line 2, column 25: pin_key: the row has a PIN already",
            ),
            (
                format!("fingerprint,pin_key\nsha256:{0},{0}\n", "12".repeat(32)),
                "line 2, column 73: pin_key: it is worth nothing",
            ),
            (
                format!("{head}a,SN1,,abc\n"),
                "line 2, column 8: fingerprint: must be",
            ),
            (
                format!("{head}a,SN1,,,ftp://x\n"),
                "line 2, column 9: stream: must begin with rtsp://",
            ),
            (
                format!("{head}a,SN1,,,rtsp://u:p@x/1\n"),
                "line 2, column 9: stream: leave user and password out",
            ),
            (
                format!("{head}a,SN1,,,,maybe\n"),
                "line 2, column 10: ptz: must be yes or no",
            ),
            (
                format!("{head}a,SN1,,,,,x\n"),
                "line 2, column 11: a field without a column: there are 6",
            ),
            (
                format!("{head}a,SN1\nb,SN1\n"),
                "line 3, column 1: the serial of line 2 again",
            ),
            (
                format!("{head}a,SN1\n\na,SN2\n"),
                "line 4, column 1: the name of line 2 again",
            ),
            (
                format!("{head}a,\"SN1\n"),
                "line 2, column 3: this quote is not closed",
            ),
        ] {
            let mistakes = parse(&text).expect_err(&text);
            let shown = mistakes[0].to_string();
            assert!(
                shown.starts_with(expected),
                "{text:?}\ngave: {shown}\nexpected: {expected}"
            );
            assert!(!shown.contains("1234"), "a PIN is quoted");
        }
        let many: String = (0..100).map(|n| format!("n{n},\n")).collect();
        assert_eq!(parse(&format!("{head}{many}")).unwrap_err().len(), MAX_MISTAKES);
    }

    #[test]
    fn what_is_written_can_be_read() {
        let mut camera = Camera::claimed("front", "acme", [3; 32], Method::Pin, 1);
        camera.serial = Some("-SN 1".into());
        camera.details.stream = Some("rtsp://x/1,2".into());
        camera.details.ptz = Some(false);
        let rows = parse(&export([&camera])).unwrap();
        assert_eq!(rows[0].name, "front");
        assert_eq!(rows[0].serial, camera.serial);
        assert_eq!(rows[0].fingerprint, camera.fingerprint);
        assert_eq!(rows[0].details, camera.details);
        assert_eq!(rows[0].account.as_deref(), Some("acme"));
    }
}
