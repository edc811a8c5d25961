//! `lenscap-gateway camera`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use http::Method;
use serde_json::{Value, json};

use super::client::{Client, escape};
use super::place::{Failure, Place};
use super::show::{cell, print, table, time};
use super::{Listed, read_input, read_secret};

#[derive(Subcommand)]
pub(super) enum CameraCommand {
    /// All cameras, and those that wait to be claimed.
    List(Listed),
    /// Everything about one camera.
    Show {
        /// Its name.
        name: String,
        #[command(flatten)]
        listed: Listed,
    },
    /// Claim a camera, by the serial and PIN of its label, or by its key's fingerprint.
    Claim(ClaimArgs),
    /// End a claim: the camera's uplink ends at once.
    Release {
        /// Its name.
        name: String,
        #[command(flatten)]
        place: Place,
    },
    /// Let a camera bring up a new uplink, and then end this one.
    Move {
        /// Its name.
        name: String,
        /// Where to, https: or wss:; without it to its own endpoint.
        target: Option<String>,
        /// A streamer of this fleet.
        #[arg(long, conflicts_with = "target")]
        streamer: Option<String>,
        #[command(flatten)]
        place: Place,
    },
    /// Hand a camera to another account, or to another operator.
    Transfer {
        /// Its name.
        name: String,
        /// An account here.
        #[arg(long, conflicts_with = "to", required_unless_present = "to")]
        account: Option<String>,
        /// Another operator's endpoint, https: or wss:.
        #[arg(long, value_name = "URL")]
        to: Option<String>,
        /// The SPKI pin of that endpoint: sha256/BASE64.
        #[arg(long, value_name = "PIN", requires = "to")]
        spki_pin: Option<String>,
        #[command(flatten)]
        place: Place,
    },
    /// Send an unclaimed camera to its operator's endpoint for good, as an activation server does.
    Forward {
        /// Its key: sha256:HEX.
        fingerprint: String,
        /// Where to, https: or wss:; without it the camera waits here again.
        url: Option<String>,
        /// The SPKI pin of that endpoint: sha256/BASE64.
        #[arg(long, value_name = "PIN", requires = "url")]
        spki_pin: Option<String>,
        #[command(flatten)]
        place: Place,
    },
    /// Switch a camera's media on or off; its uplink stays.
    Media {
        /// Its name.
        name: String,
        /// On or off.
        #[arg(value_enum)]
        media: Switch,
        #[command(flatten)]
        place: Place,
    },
    /// Take a list of cameras (CSV), whole or not at all.
    Import {
        /// The list, `-` for standard input.
        file: PathBuf,
        /// For rows without an account.
        #[arg(long)]
        account: Option<String>,
        #[command(flatten)]
        listed: Listed,
    },
    /// Print all cameras as a list that import takes.
    Export {
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Switch {
    On,
    Off,
}

#[derive(Args)]
pub(super) struct ClaimArgs {
    /// The serial on the label.
    #[arg(long, required_unless_present = "fingerprint")]
    serial: Option<String>,
    /// A file with the PIN of the label; without it the PIN is read from standard input.
    #[arg(long, value_name = "FILE")]
    pin_file: Option<PathBuf>,
    /// The key: sha256:HEX. Without --pin-file no PIN is needed.
    #[arg(long)]
    fingerprint: Option<String>,
    /// What it is called here; made of the serial if it is not given.
    #[arg(long)]
    name: Option<String>,
    /// Whose it is.
    #[arg(long)]
    account: Option<String>,
    /// Claim it when it comes, if it is not here yet, or was released a moment ago.
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    listed: Listed,
}

pub(super) fn run(command: CameraCommand) -> Result<(), Failure> {
    match command {
        CameraCommand::List(listed) => list(&listed),
        CameraCommand::Show { name, listed } => show(&name, &listed),
        CameraCommand::Claim(args) => claim(&args),
        CameraCommand::Release { name, place } => {
            Client::open(&place, false)?.post(&format!("/cameras/{}/release", escape(&name)), &json!({}))?;
            print(&format!("{name} is released; it waits to be claimed again\n"))
        }
        CameraCommand::Move {
            name,
            target,
            streamer,
            place,
        } => {
            let path = format!("/cameras/{}/move", escape(&name));
            Client::open(&place, false)?.post(&path, &json!({"target": target, "streamer": streamer}))?;
            print(&format!("{name} moves\n"))
        }
        CameraCommand::Transfer {
            name,
            account,
            to,
            spki_pin,
            place,
        } => {
            let forward = to.map(|url| json!({"url": url, "pin": spki_pin}));
            let path = format!("/cameras/{}/transfer", escape(&name));
            let body = json!({"account": account, "forward": forward});
            Client::open(&place, false)?.post(&path, &body)?;
            print(&format!("{name} is transferred\n"))
        }
        CameraCommand::Forward {
            fingerprint,
            url,
            spki_pin,
            place,
        } => {
            let client = Client::open(&place, true)?;
            let Some(url) = url else {
                client.delete(&format!("/forwards/{}", escape(&fingerprint)))?;
                return print("it waits here again\n");
            };
            let body = json!({"fingerprint": fingerprint, "url": url, "pin": spki_pin});
            client.post("/forwards", &body)?;
            print(&format!("it is sent to {url}\n"))
        }
        CameraCommand::Media { name, media, place } => {
            let on = matches!(media, Switch::On);
            let path = format!("/cameras/{}/media", escape(&name));
            Client::open(&place, false)?.post(&path, &json!({"media": on}))?;
            print(&format!("{name}: media {}\n", if on { "on" } else { "off" }))
        }
        CameraCommand::Import {
            file,
            account,
            listed,
        } => import(&file, account.as_deref(), &listed),
        CameraCommand::Export { place } => print(&Client::open(&place, false)?.get("/export")?.text()),
    }
}

fn list(listed: &Listed) -> Result<(), Failure> {
    let client = Client::open(&listed.place, false)?;
    let cameras: Vec<Value> = client.get("/cameras")?.json()?;
    let waiting: Vec<Value> = client.get("/pending")?.json()?;
    if listed.json {
        return print(&format!("{}\n", json!({"cameras": cameras, "pending": waiting})));
    }
    let row = |camera: &Value| {
        let mut state = cell(&camera["state"]);
        if !camera["cloned"].is_null() {
            state += ", CLONED";
        }
        if camera["suspended"] == true {
            state += ", SUSPENDED";
        }
        let fields = ["account", "serial", "model", "profiles"];
        let mut row = vec![cell(&camera["name"]), state, cell(&camera["online"])];
        row.extend(fields.iter().map(|field| cell(&camera[*field])));
        row
    };
    let rows: Vec<Vec<String>> = cameras.iter().map(row).collect();
    table(
        &[
            "NAME", "STATE", "ONLINE", "ACCOUNT", "SERIAL", "MODEL", "PROFILES",
        ],
        &rows,
    )?;
    if waiting.is_empty() {
        return Ok(());
    }
    let row = |waiting: &Value| {
        let fields = ["serial", "model", "pin", "address", "fingerprint"];
        let mut row: Vec<String> = fields.iter().map(|field| cell(&waiting[*field])).collect();
        row.push(time(&waiting["first_seen"]));
        row
    };
    let rows: Vec<Vec<String>> = waiting.iter().map(row).collect();
    print("\nWaiting to be claimed (lenscap-gateway camera claim):\n")?;
    table(
        &["SERIAL", "MODEL", "PIN", "ADDRESS", "FINGERPRINT", "SINCE"],
        &rows,
    )
}

fn show(name: &str, listed: &Listed) -> Result<(), Failure> {
    let client = Client::open(&listed.place, false)?;
    let camera: Value = client.get(&format!("/cameras/{}", escape(name)))?.json()?;
    if listed.json {
        return print(&format!("{camera}\n"));
    }
    let mut text = String::new();
    let mut line = |key: &str, value: String| text.push_str(&format!("{key:<14}{value}\n"));
    for key in [
        "name",
        "state",
        "method",
        "account",
        "serial",
        "model",
        "fingerprint",
        "media",
        "suspended",
        "online",
    ] {
        line(key, cell(&camera[key]));
    }
    for key in ["claimed", "since", "cloned"] {
        line(key, time(&camera[key]));
    }
    for key in ["peer", "agent_version", "profiles"] {
        line(key, cell(&camera[key]));
    }
    for (key, value) in camera["details"].as_object().into_iter().flatten() {
        if !value.is_null() {
            line(key, cell(value));
        }
    }
    print(&text)
}

fn claim(args: &ClaimArgs) -> Result<(), Failure> {
    let pin = match (&args.pin_file, &args.fingerprint) {
        (Some(file), _) => Some(read_secret(file, "PIN")?),
        (None, Some(_)) => None,
        (None, None) => {
            eprintln!("PIN on the label, then Enter:");
            let mut line = String::new();
            std::io::stdin()
                .read_line(&mut line)
                .map_err(|error| Failure::Failed(error.to_string()))?;
            Some(line.trim().to_owned())
        }
    };
    let body = json!({
        "serial": args.serial, "pin": pin, "fingerprint": args.fingerprint,
        "name": args.name, "account": args.account, "wait": args.wait,
    });
    let answer = Client::open(&args.listed.place, true)?.post("/claims", &body)?;
    if args.listed.json {
        return print(&format!("{}\n", answer.text()));
    }
    let camera: Value = answer.json()?;
    let name = cell(&camera["name"]);
    print(&match camera["state"].as_str() {
        Some("reserved") => format!("{name} is expected and will be claimed when it comes\n"),
        _ => format!("{name} is claimed; it comes within seconds: rtsp://USER@HOST:8554/{name}/PROFILE\n"),
    })
}

fn import(file: &PathBuf, account: Option<&str>, listed: &Listed) -> Result<(), Failure> {
    let text = read_input(file)?;
    let query = account.map(|account| format!("?account={}", escape(account)));
    let path = format!("/import{}", query.unwrap_or_default());
    let client = Client::open(&listed.place, true)?;
    let shown = file.display().to_string();
    let answer = client.ask(Method::POST, &path, "text/csv", text, &shown)?;
    if listed.json {
        return print(&format!("{}\n", answer.text()));
    }
    let report: Value = answer.json()?;
    let count = |key: &str| cell(&report[key]);
    print(&format!(
        "{} added, {} updated, {} as they were\n",
        count("added"),
        count("updated"),
        count("unchanged")
    ))
}
