//! Where nothing filters: streamers that can be told to listen on the loopback interface alone.

use std::io;

use super::REBINDS;
use crate::edits::Edits;
use crate::locate::{Form, locate};
use crate::report::{Measure, Status};

/// Settings that hold an address and a port to listen on.
const LISTENS: &[(&str, Form, &str)] = &[
    (
        "/etc/go2rtc.yaml",
        Form::Yaml(&["rtsp", "listen"]),
        "go2rtc's RTSP",
    ),
    (
        "/etc/go2rtc.yaml",
        Form::Yaml(&["api", "listen"]),
        "go2rtc's web interface",
    ),
    (
        "/etc/mediamtx.yml",
        Form::Yaml(&["rtspAddress"]),
        "MediaMTX's RTSP",
    ),
    (
        "/etc/rtsp-simple-server.yml",
        Form::Yaml(&["rtspAddress"]),
        "RTSP of rtsp-simple-server",
    ),
];
const LOOPBACK: &str = "127.0.0.1";

/// Plans to bind them to the loopback interface, but for ports that somebody may reach. Ports of other programs stay
/// open: this is no firewall.
///
/// # Errors
/// When a file that is there cannot be read.
pub fn rebind(edits: &mut Edits<'_>, may_be_reached: &dyn Fn(u16) -> bool) -> io::Result<()> {
    for (path, form, what) in LISTENS {
        let Some(text) = edits.read(path)? else {
            continue;
        };
        let Some(place) = locate(&text, *form).into_iter().next() else {
            continue;
        };
        let value = text.get(place.clone()).unwrap_or_default();
        let value = String::from_utf8_lossy(value).into_owned();
        let (host, port) = value.rsplit_once(':').unwrap_or(("", &value));
        let Ok(port) = port.parse::<u16>() else {
            continue;
        };
        if matches!(host, LOOPBACK | "localhost" | "[::1]") {
            let text = format!("{what} listens on the loopback interface alone");
            edits.find(Measure::Firewall, Status::Holds, Some((path, 0)), text);
        } else if !may_be_reached(port) {
            let mut changed = text;
            changed.splice(place, format!("{LOOPBACK}:{port}").into_bytes());
            let found = format!(
                "{what} listens on {value}: it will listen on the loopback interface alone, from its next start on"
            );
            edits.change(path, changed, false, REBINDS)?;
            edits.find(Measure::Firewall, Status::Planned, Some((path, 0)), found);
        }
    }
    Ok(())
}
