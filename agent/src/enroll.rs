//! `lenscap enroll`: who this camera is, for its label and for a production line; and the end of its claim.

use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cli::{EXIT_CONFIG, EXIT_FAILURE, EXIT_OK};
use crate::config::{self, AgentConfig};
use crate::identity::{self, pin};
use crate::json::Writer;
use crate::monitor;

/// What is asked for.
#[derive(Debug)]
pub struct Request<'a> {
    /// The configuration.
    pub config: &'a Path,
    /// One JSON object.
    pub json: bool,
    /// The claim is to end.
    pub reset: bool,
}

/// A text for people or programs, and the exit status.
pub type Answer = (String, u8);

/// The answer.
///
/// # Errors
/// Files that cannot be read or written.
pub fn run(request: &Request<'_>) -> Result<Answer, Answer> {
    if request.reset {
        // A damaged configuration is no reason to obey an operator any longer.
        return reset(&monitor::agent_in_force(request.config), request.json);
    }
    let agent = config::load_agent(request.config).map_err(|errors| (errors.to_string(), EXIT_CONFIG))?;
    let failed = |error: identity::IdentityError| (error.to_string(), EXIT_FAILURE);
    let identity = identity::load_or_create(&agent).map_err(failed)?;
    let serial = agent.serial.clone().unwrap_or_default();
    let pin = pin::load_or_create(&agent.state_dir, &serial).map_err(failed)?;
    let label = label(&serial, &identity.fingerprint, pin.plain());
    let model = agent.model.unwrap_or_default();
    if request.json {
        let mut json = Writer::new();
        json.object(|o| {
            o.key("serial").string(&serial);
            o.key("model").string(&model);
            o.key("fingerprint").string(&identity.fingerprint);
            o.key("certificate_fingerprint")
                .string(&identity.certificate_fingerprint);
            o.key("pin").string(&pin.grouped());
            o.key("label").string(&label);
        });
        return Ok((json.finish() + "\n", EXIT_OK));
    }
    let mut text = String::new();
    for (name, value) in [
        ("serial", serial.as_str()),
        ("model", &model),
        ("fingerprint", &identity.fingerprint),
        ("pin", &pin.grouped()),
        ("label", &label),
    ] {
        if !value.is_empty() {
            text += &format!("{name:<12} {value}\n");
        }
    }
    text += &picture(&label);
    Ok((text, EXIT_OK))
}

/// What the QR code on the label says: which camera it is, and its PIN. In capitals and without other characters than
/// QR codes have a short form for, as far as the serial number allows.
fn label(serial: &str, fingerprint: &str, pin: &str) -> String {
    let camera = match serial {
        "" => fingerprint.to_ascii_uppercase(),
        serial => serial.to_owned(),
    };
    format!("LENSCAP:1/{camera}/{pin}")
}

fn reset(agent: &AgentConfig, json: bool) -> Result<Answer, Answer> {
    monitor::reset(&agent.state_dir).map_err(|error| {
        let dir = agent.state_dir.display();
        (
            format!(
                "cannot write to {dir}: {error}; the claim goes on. Run this as root, and make room there"
            ),
            EXIT_FAILURE,
        )
    })?;
    let monitor = monitor::running_monitor(&agent.run_dir);
    let told = monitor
        .and_then(|pid| i32::try_from(pid).ok())
        .is_some_and(|pid| kill(Pid::from_raw(pid), Signal::SIGHUP).is_ok());
    if json {
        let mut json = Writer::new();
        json.object(|o| {
            o.key("reset").bool(true);
            o.key("told").bool(told);
        });
        return Ok((json.finish() + "\n", EXIT_OK));
    }
    let next = if told {
        "the service was told"
    } else {
        "if the service runs, restart it or send it SIGHUP"
    };
    Ok((
        format!(
            "This camera obeys no operator any more, and dials its configured address. Key and PIN stay, so the label is \
             still true; {next}.\n"
        ),
        EXIT_OK,
    ))
}

#[cfg(not(feature = "qr"))]
fn picture(_label: &str) -> String {
    String::new()
}

/// A QR code in half blocks, dark on light whatever the terminal's colours.
#[cfg(feature = "qr")]
fn picture(label: &str) -> String {
    use qrcodegen::{QrCode, QrCodeEcc};
    /// Modules without ink around it (ISO/IEC 18004, section 9.1).
    const QUIET: i32 = 4;
    let Ok(code) = QrCode::encode_text(label, QrCodeEcc::Medium) else {
        return String::new();
    };
    let dark = |x: i32, y: i32| code.get_module(x, y);
    let mut text = String::from("\n");
    for row in (-QUIET..code.size() + QUIET).step_by(2) {
        text += "\x1b[30;47m";
        for column in -QUIET..code.size() + QUIET {
            text.push(match (dark(column, row), dark(column, row + 1)) {
                (false, false) => ' ',
                (true, false) => '\u{2580}',
                (false, true) => '\u{2584}',
                (true, true) => '\u{2588}',
            });
        }
        text += "\x1b[0m\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(config: &Path, json: bool, reset: bool) -> String {
        let request = Request { config, json, reset };
        run(&request).unwrap().0
    }

    #[test]
    fn labels_stay_true() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("lenscap");
        let state = dir.path().join("state");
        let text = format!(
            "config agent\noption state_dir '{}'\noption run_dir '{}'\noption serial SN-1\noption model 'Dome 4K'\n",
            state.display(),
            dir.path().join("run").display()
        );
        std::fs::write(&config, &text).unwrap();
        let first: serde_json::Value = serde_json::from_str(&ask(&config, true, false)).unwrap();
        let pin = first["pin"].as_str().unwrap();
        assert_eq!(
            (&first["serial"], &first["model"]),
            (&"SN-1".into(), &"Dome 4K".into())
        );
        assert_eq!(first["label"], format!("LENSCAP:1/SN-1/{}", pin.replace('-', "")));
        assert!(pin::stored_key(&state, "SN-1").is_some());
        let said = ask(&config, false, false);
        for part in [pin, first["fingerprint"].as_str().unwrap(), "Dome 4K"] {
            assert!(said.contains(part), "{said}");
        }
        assert!(ask(&config, false, true).contains("restart it"));
        let again: serde_json::Value = serde_json::from_str(&ask(&config, true, false)).unwrap();
        assert_eq!(first, again, "a reset keeps key and PIN");
        std::fs::write(&config, text.replace("option serial SN-1\n", "")).unwrap();
        let nameless: serde_json::Value = serde_json::from_str(&ask(&config, true, false)).unwrap();
        let label = nameless["label"].as_str().unwrap();
        assert!(label.starts_with("LENSCAP:1/SHA256:") && label.ends_with(&pin.replace('-', "")));
    }

    #[cfg(feature = "qr")]
    #[test]
    fn the_picture_has_its_quiet_zone_and_its_corners() {
        let picture = picture("LENSCAP:1/SN-0042/7K3M9QX01BCDEF2G");
        let rows: Vec<&str> = picture.lines().skip(1).collect();
        // Version 2: 25 modules and 4 around them, two rows in a line.
        assert_eq!(rows.len(), 17);
        let row = |at: usize| {
            rows[at]
                .strip_prefix("\x1b[30;47m")
                .unwrap()
                .strip_suffix("\x1b[0m")
                .unwrap()
        };
        assert!(
            rows.iter()
                .enumerate()
                .all(|(at, _)| row(at).chars().count() == 33)
        );
        assert!(row(0).trim().is_empty() && row(1).trim().is_empty());
        let finder = "\u{2588}\u{2580}\u{2580}\u{2580}\u{2580}\u{2580}\u{2588}";
        assert!(row(2).trim_start().starts_with(finder) && row(2).trim_end().ends_with(finder));
    }
}
