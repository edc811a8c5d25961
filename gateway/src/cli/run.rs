//! `lenscap-gateway run`.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use super::RunArgs;
use super::place::Failure;
use crate::ca;
use crate::config::{self, DEFAULT_PATH, Loaded};
use crate::data::Data;
use crate::logging::{self, LogFormat};
use crate::net;
use crate::server::{Addresses, Gateway, Reloader};

/// How often the own certificate is looked at for renewal.
const RENEWAL_LOOK: Duration = Duration::from_secs(6 * 3600);

/// The line on stdout that says that everything is bound.
#[derive(Serialize)]
struct Listening {
    event: &'static str,
    #[serde(flatten)]
    addresses: Addresses,
}

pub(super) fn run(args: RunArgs) -> ExitCode {
    logging::init(args.log_format, &args.log_level);
    let (loaded, own) = match prepare(&args) {
        Ok(prepared) => prepared,
        Err(failure) => {
            eprintln!("{failure}");
            return failure.exit_code();
        }
    };
    let Loaded { config, warnings } = loaded;
    for warning in warnings {
        warn!("{warning}");
    }
    net::raise_open_files();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    match runtime.block_on(serve(config, own, args.log_format)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error.as_ref()),
    }
}

/// A gateway that looks after its certificate itself.
struct Own {
    folder: std::path::PathBuf,
    names: Vec<String>,
}

/// The configuration: the file's, or one of our own making.
fn prepare(args: &RunArgs) -> Result<(Loaded, Option<Own>), Failure> {
    if let Some(loaded) = args.place.load()? {
        return Ok((loaded, None));
    }
    let names = if args.host.is_empty() {
        ca::own_names()
    } else {
        args.host.clone()
    };
    if let Some(odd) = names.iter().find(|name| !ca::is_host(name)) {
        return Err(Failure::Usage(format!(
            "--host {odd:?} is neither a host name nor an address"
        )));
    }
    let folder = args.place.default_data();
    let failed = |error: &dyn std::fmt::Display| Failure::Failed(error.to_string());
    // For as long as certificates are made; the gateway takes it again.
    let data = Data::open(&folder).map_err(|error| failed(&error))?;
    match ca::ensure(&folder, &names, SystemTime::now()) {
        Ok(made) => {
            tell_names(&folder, &made);
            // It is wanted at the next renewal; there is time to bring it back.
            if let Some(lost) = ca::lost_ca(&folder).unwrap_or_else(Some) {
                warn!("{lost}");
            }
        }
        // What is there is used on: a machine that starts without the time is told it later.
        Err(error @ ca::CaError::Clock(_)) if folder.join("gateway.pem").exists() => warn!("{error}"),
        Err(error) => return Err(failed(&error)),
    }
    drop(data);
    let text = format!(
        "data = \".\"\n[uplink]\nlisten = {:?}\ncert = \"gateway.pem\"\nkey = \"gateway.key\"\n\
         [rtsp]\nlisten = {:?}\nlisten_tls = {:?}\n[http]\nlisten = {:?}\n",
        args.uplink_listen, args.rtsp_listen, args.rtsps_listen, args.http_listen
    );
    let loaded = config::parse(&folder.join("command-line"), &text)
        .map_err(|errors| Failure::Usage(format!("{errors}\n(made of the options --*-listen)")))?;
    Ok((loaded, Some(Own { folder, names })))
}

/// Says what the certificate is for, and how it gets rid of what it has of before.
fn tell_names(folder: &Path, made: &ca::Ensured) {
    let cert = folder.join("gateway.pem");
    let (cert, all) = (cert.display(), ca::names_of(&cert).join(", "));
    if made.kept.is_empty() {
        info!("{cert} is for {all}");
    } else {
        info!(
            "{cert} is for {all}: {} of before, which cameras may still dial. To drop a name, stop the gateway, put \
             gateway.pem aside, but not gateway.key, and start it with --host for each name that shall stay",
            made.kept.join(", ")
        );
    }
    if !made.dropped.is_empty() {
        warn!(
            "{cert} has no room any more for {} (at most {} names), and cameras that dial these by name refuse it; \
             those that shall stay can be named with --host",
            made.dropped.join(", "),
            ca::MAX_NAMES
        );
    }
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    error!("{error}");
    ExitCode::FAILURE
}

async fn serve(
    config: config::Config,
    own: Option<Own>,
    format: LogFormat,
) -> Result<(), Box<dyn std::error::Error>> {
    let hangups = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let gateway = Gateway::bind(config).await?;
    let addresses = gateway.addresses();
    let line = Listening {
        event: "listening",
        addresses,
    };
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{}", serde_json::to_string(&line)?)?;
    stdout.flush()?;
    drop(stdout);
    tokio::spawn(reload_on(hangups, gateway.reloader()));
    if let Some(own) = own {
        introduce(&own, addresses, format);
        tokio::spawn(renew(own, gateway.reloader()));
    }
    gateway
        .serve(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
        .await;
    Ok(())
}

/// Says how to go on.
fn introduce(own: &Own, addresses: Addresses, format: LogFormat) {
    let pin = ca::pin(&own.folder.join("gateway.pem")).unwrap_or_default();
    let host = own.names.first().map_or("localhost", String::as_str);
    let host = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    let line = camera_line(&host, addresses.uplink.port(), &pin);
    let folder = own.folder.display();
    match format {
        LogFormat::Json => {
            info!(data = %folder, camera_line = line, "no configuration: own certificate, own data")
        }
        LogFormat::Text => eprintln!(
            "Everything is kept in {folder}\n\
             On a camera, put this line into /etc/config/lenscap, instead of its `config uplink`:\n\n  {line}\n\n\
             The camera then waits here: lenscap-gateway camera list\n\
             Claim it:                   lenscap-gateway camera claim --fingerprint FINGERPRINT\n\
             Let somebody watch:         lenscap-gateway viewer add NAME"
        ),
    }
}

/// One line of the camera's configuration.
fn camera_line(host: &str, port: u16, pin: &str) -> String {
    format!("config uplink 'main'; option endpoint 'https://{host}:{port}{DEFAULT_PATH}'; list pin '{pin}'")
}

async fn reload_on(mut hangups: Signal, reloader: Reloader) {
    while hangups.recv().await.is_some() {
        reloader.reload();
    }
}

/// Renews the own certificate in time. Its key stays, so that pins hold.
async fn renew(own: Own, reloader: Reloader) {
    loop {
        tokio::time::sleep(RENEWAL_LOOK).await;
        match renewed(&own.folder, &own.names) {
            Ok(true) => reloader.reload(),
            Ok(false) => {}
            Err(error) => warn!(%error, "the certificate could not be renewed"),
        }
    }
}

fn renewed(folder: &Path, names: &[String]) -> Result<bool, ca::CaError> {
    Ok(ca::ensure(folder, names, SystemTime::now())?.is_new)
}
