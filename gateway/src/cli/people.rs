//! `lenscap-gateway viewer`, `token`, `link` and `views`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::{Client, escape};
use super::place::{Failure, Place};
use super::show::{cell, print, table, time};
use super::{Listed, read_secret};

const DAY_SECONDS: u64 = 86_400;

#[derive(Subcommand)]
pub(super) enum ViewerCommand {
    /// Add a user; a password is made and shown once.
    Add {
        /// Login name.
        user: String,
        /// A file with the password, `-` for standard input, instead of one that is made.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
        #[command(flatten)]
        bounds: Bounds,
        #[command(flatten)]
        listed: Listed,
    },
    /// All users.
    List(Listed),
    /// Take a user away; running sessions end.
    Revoke {
        /// Login name.
        user: String,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Subcommand)]
pub(super) enum TokenCommand {
    /// Make a token; it is shown once.
    Create {
        /// A name for people.
        name: String,
        /// What it is good for: admin, claim, view, metrics. Several may be given.
        #[arg(long, required = true, value_parser = ["admin", "claim", "view", "metrics"])]
        scope: Vec<String>,
        #[command(flatten)]
        bounds: Bounds,
        #[command(flatten)]
        listed: Listed,
    },
    /// All tokens, without the tokens themselves.
    List(Listed),
    /// Take a token away, with the playback addresses made by it.
    Revoke {
        /// Its number.
        id: i64,
        #[command(flatten)]
        place: Place,
    },
}

/// What somebody may see, and for how long.
#[derive(Args)]
pub(super) struct Bounds {
    /// Only this account's cameras.
    #[arg(long)]
    account: Option<String>,
    /// Only this camera. Several may be given.
    #[arg(long)]
    camera: Vec<String>,
    /// Only for so many days.
    #[arg(long)]
    days: Option<u64>,
}

impl Bounds {
    fn put(&self, mut body: Value) -> Value {
        body["account"] = json!(self.account);
        if !self.camera.is_empty() {
            body["cameras"] = json!(self.camera);
        }
        body["seconds"] = json!(self.days.map(|days| days.saturating_mul(DAY_SECONDS)));
        body
    }
}

#[derive(Args)]
pub(super) struct LinkArgs {
    /// The camera's name.
    camera: String,
    /// The profile's name.
    profile: String,
    /// For how long, in seconds.
    #[arg(long, default_value_t = 3600)]
    seconds: u64,
    #[command(flatten)]
    listed: Listed,
}

#[derive(Args)]
pub(super) struct ViewsArgs {
    /// Of this camera.
    #[arg(long)]
    camera: Option<String>,
    /// Of this user.
    #[arg(long)]
    user: Option<String>,
    /// So many at most.
    #[arg(long, default_value_t = 100)]
    limit: u32,
    #[command(flatten)]
    listed: Listed,
}

pub(super) fn viewer(command: ViewerCommand) -> Result<(), Failure> {
    match command {
        ViewerCommand::Add {
            user,
            password_file,
            bounds,
            listed,
        } => {
            let password = password_file
                .as_ref()
                .map(|file| read_secret(file, "password"))
                .transpose()?;
            let given = password.is_some();
            let body = bounds.put(json!({"user": user, "password": password}));
            let answer = Client::open(&listed.place, true)?.post("/viewers", &body)?;
            if listed.json {
                return print(&format!("{}\n", answer.text()));
            }
            let made: Value = answer.json()?;
            if given {
                return print(&format!("{user} is added\n"));
            }
            let password = cell(&made["password"]);
            print(&format!(
                "{user} is added; the password, shown this once: {password}\n"
            ))
        }
        ViewerCommand::List(listed) => {
            let answer = Client::open(&listed.place, false)?.get("/viewers")?;
            if listed.json {
                return print(&format!("{}\n", answer.text()));
            }
            let viewers: Vec<Value> = answer.json()?;
            let row = |viewer: &Value| {
                let from = if viewer["fixed"] == true {
                    "configuration"
                } else {
                    "database"
                };
                vec![
                    cell(&viewer["user"]),
                    from.to_owned(),
                    all(&viewer["account"]),
                    all(&viewer["cameras"]),
                    time(&viewer["expires"]),
                ]
            };
            let rows: Vec<Vec<String>> = viewers.iter().map(row).collect();
            table(&["USER", "FROM", "ACCOUNT", "CAMERAS", "EXPIRES"], &rows)
        }
        ViewerCommand::Revoke { user, place } => {
            Client::open(&place, false)?.delete(&format!("/viewers/{}", escape(&user)))?;
            print(&format!("{user} is revoked\n"))
        }
    }
}

pub(super) fn token(command: TokenCommand) -> Result<(), Failure> {
    match command {
        TokenCommand::Create {
            name,
            scope,
            bounds,
            listed,
        } => {
            let body = bounds.put(json!({"name": name, "scopes": scope}));
            let answer = Client::open(&listed.place, true)?.post("/tokens", &body)?;
            if listed.json {
                return print(&format!("{}\n", answer.text()));
            }
            let made: Value = answer.json()?;
            let (id, token) = (cell(&made["id"]), cell(&made["token"]));
            print(&format!("token {id} ({name}), shown this once: {token}\n"))
        }
        TokenCommand::List(listed) => {
            let answer = Client::open(&listed.place, false)?.get("/tokens")?;
            if listed.json {
                return print(&format!("{}\n", answer.text()));
            }
            let tokens: Vec<Value> = answer.json()?;
            let row = |token: &Value| {
                vec![
                    cell(&token["id"]),
                    cell(&token["name"]),
                    cell(&token["scopes"]),
                    all(&token["account"]),
                    all(&token["cameras"]),
                    time(&token["expires"]),
                ]
            };
            let rows: Vec<Vec<String>> = tokens.iter().map(row).collect();
            table(&["ID", "NAME", "SCOPES", "ACCOUNT", "CAMERAS", "EXPIRES"], &rows)
        }
        TokenCommand::Revoke { id, place } => {
            Client::open(&place, false)?.delete(&format!("/tokens/{id}"))?;
            print(&format!("token {id} is revoked\n"))
        }
    }
}

pub(super) fn link(args: &LinkArgs) -> Result<(), Failure> {
    let path = format!("/cameras/{}/link", escape(&args.camera));
    let body = json!({"profile": args.profile, "seconds": args.seconds});
    let answer = Client::open(&args.listed.place, false)?.post(&path, &body)?;
    if args.listed.json {
        return print(&format!("{}\n", answer.text()));
    }
    let made: Value = answer.json()?;
    print(&format!(
        "rtsp://HOST:PORT{}\nhttp://HOST:PORT{}\ngood until {}\n",
        cell(&made["rtsp"]),
        cell(&made["snapshot"]),
        time(&made["expires"])
    ))
}

pub(super) fn views(args: &ViewsArgs) -> Result<(), Failure> {
    let mut path = format!("/views?limit={}", args.limit);
    for (name, value) in [("camera", &args.camera), ("user", &args.user)] {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={}", escape(value)));
        }
    }
    let answer = Client::open(&args.listed.place, false)?.get(&path)?;
    if args.listed.json {
        return print(&format!("{}\n", answer.text()));
    }
    let views: Vec<Value> = answer.json()?;
    let row = |view: &Value| {
        let mut row = vec![time(&view["began"]), time(&view["ended"])];
        row.extend(["camera", "profile", "user", "by", "address", "bytes"].map(|field| cell(&view[field])));
        row
    };
    let rows: Vec<Vec<String>> = views.iter().map(row).collect();
    table(
        &[
            "BEGAN", "ENDED", "CAMERA", "PROFILE", "USER", "BY", "ADDRESS", "BYTES",
        ],
        &rows,
    )
}

/// A limit, `all` where there is none.
fn all(value: &Value) -> String {
    match cell(value).as_str() {
        "-" if !value.is_array() => "all".to_owned(),
        other => other.to_owned(),
    }
}
