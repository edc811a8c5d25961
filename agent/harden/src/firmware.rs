//! Firmwares that are known: how each is recognised, and where it keeps the passwords of its services.
//!
//! Several may be recognised at once. What is generic, such as tables of accounts and boot scripts, needs no firmware.

use core::fmt;

use crate::locate::Form;
use crate::root::Root;
use crate::survey::{Survey, contains};

/// How far an adapter was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tried {
    /// On files that imitate the firmware.
    Fixture,
    /// In an emulated camera.
    Emulated,
    /// On a camera.
    Device,
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fixture => "fixture",
            Self::Emulated => "emulated",
            Self::Device => "device",
        })
    }
}

/// What a value is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The name of the user whose password is beside it; where it is empty, nobody is asked.
    MediaUser,
    /// A password of RTSP, ONVIF or the vendor's protocol.
    MediaPassword,
    /// Both, as `user:password`.
    MediaPair,
    /// The SHA-256 of the web interface's password.
    WebHash,
    /// A login password that is kept in clear and written over the real one at boot.
    ClearLogin,
    /// A switch that must have this value, or nobody is asked for a password.
    Must(&'static str),
}

/// A value in a file.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// The file.
    pub path: &'static str,
    /// The value in it.
    pub form: Form,
    /// What it is for.
    pub role: Role,
}

/// A firmware.
#[derive(Debug, Clone, Copy)]
pub struct Adapter {
    /// Its name.
    pub name: &'static str,
    /// How far this was tried.
    pub tried: Tried,
    /// Files that tell it, with a word that must be in them; any one is enough.
    evidence: &'static [(&'static str, &'static str)],
    /// Where passwords of services are.
    pub places: &'static [Place],
    /// Users whose passwords stand in URLs, in these files.
    pub urls: &'static [(&'static str, &'static str)],
    /// Accounts of the system that exist for media: they share the media password where they give no shell.
    pub media_accounts: &'static [&'static str],
    /// Whether RTSP asks for root's own password.
    pub one_password: bool,
    /// Whether its main application keeps users of its services itself, where no file tells of them: who answers on a
    /// running camera is asked, and a tree leaves it open.
    pub own_users: bool,
}

/// An adapter that fits a root, and why.
#[derive(Debug, Clone)]
pub struct Recognised {
    /// The adapter.
    pub adapter: &'static Adapter,
    /// The file that told it.
    pub evidence: String,
}

/// The adapters that fit a root.
#[must_use]
pub fn recognise(root: &Root, survey: &Survey) -> Vec<Recognised> {
    let told = |(path, word): &(&'static str, &str)| match *path {
        SERVER => survey.onvif.clone(),
        path => fits(root, path, word).then(|| path.to_owned()),
    };
    ADAPTERS
        .iter()
        .filter_map(|adapter| {
            let evidence = adapter.evidence.iter().find_map(told)?;
            Some(Recognised { adapter, evidence })
        })
        .collect()
}

/// Whether none of the firmwares that fit keeps passwords of services in a file that is there.
#[must_use]
pub fn keeps_none(root: &Root, recognised: &[Recognised]) -> bool {
    let mut places = recognised.iter().flat_map(|known| known.adapter.places);
    !places.any(|place| root.exists(place.path))
}

fn fits(root: &Root, path: &str, word: &str) -> bool {
    if word.is_empty() {
        return root.exists(path);
    }
    root.read(path).is_ok_and(|text| contains(&text, word.as_bytes()))
}

const fn media(path: &'static str, form: Form) -> Place {
    place(path, form, Role::MediaPassword)
}

const fn place(path: &'static str, form: Form, role: Role) -> Place {
    Place { path, form, role }
}

const NONE: Adapter = Adapter {
    name: "",
    tried: Tried::Fixture,
    evidence: &[],
    places: &[],
    urls: &[],
    media_accounts: &[],
    one_password: false,
    own_users: false,
};

/// In the place of a path: a program that serves ONVIF, wherever it lies.
const SERVER: &str = "";
const MAJESTIC: &str = "/etc/majestic.yaml";
const PRUDYNT: &str = "/etc/prudynt.json";
const ONVIF_JSON: &str = "/etc/onvif.json";
const YI: &str = "/home/yi-hack/etc/system.conf";
const DAFANG: &str = "/system/sdcard/config/rtspserver.conf";
const WZ_MINI: &str = "/opt/wz_mini/wz_mini.conf";

const ADAPTERS: &[Adapter] = &[
    Adapter {
        name: "OpenWrt",
        evidence: &[("/etc/openwrt_release", "")],
        ..NONE
    },
    Adapter {
        name: "OpenIPC",
        evidence: &[
            ("/etc/os-release", "OpenIPC"),
            ("/usr/bin/majestic", ""),
            (MAJESTIC, ""),
        ],
        places: &[
            place(MAJESTIC, Form::Yaml(&["netip", "user"]), Role::MediaUser),
            media(MAJESTIC, Form::Yaml(&["netip", "password"])),
            place("/etc/onvif.conf", Form::Key("user"), Role::MediaUser),
            media("/etc/onvif.conf", Form::Key("password")),
            place("/etc/webface.passwd", Form::WebHash, Role::WebHash),
        ],
        one_password: true,
        ..NONE
    },
    Adapter {
        name: "thingino",
        evidence: &[
            ("/etc/os-release", "thingino"),
            ("/etc/thingino.json", ""),
            (ONVIF_JSON, ""),
        ],
        places: &[media(ONVIF_JSON, Form::Json(&["server", "password"]))],
        urls: &[
            ("/etc/init.d/S32prudyntwd", "thingino"),
            ("/etc/init.d/S97stream-watchdog", "thingino"),
            ("/etc/go2rtc.yaml", "thingino"),
        ],
        media_accounts: &["thingino"],
        ..NONE
    },
    // thingino's streamer, alone on the emulated cameras of `qemu`.
    Adapter {
        name: "prudynt",
        tried: Tried::Emulated,
        evidence: &[(PRUDYNT, "")],
        places: &[
            place(PRUDYNT, Form::Json(&["rtsp", "username"]), Role::MediaUser),
            media(PRUDYNT, Form::Json(&["rtsp", "password"])),
            place(
                PRUDYNT,
                Form::Json(&["rtsp", "auth_required"]),
                Role::Must("true"),
            ),
            media(PRUDYNT, Form::Json(&["http", "password"])),
        ],
        ..NONE
    },
    Adapter {
        name: "yi-hack",
        evidence: &[(YI, "")],
        places: &[
            place(YI, Form::Key("USERNAME"), Role::MediaUser),
            media(YI, Form::Key("PASSWORD")),
            place(YI, Form::Key("SSH_PASSWORD"), Role::ClearLogin),
        ],
        ..NONE
    },
    Adapter {
        name: "dafang-hacks",
        evidence: &[(DAFANG, ""), ("/system/sdcard/run.sh", "")],
        places: &[
            place(DAFANG, Form::Option("RTSPH264OPTS"), Role::MediaPair),
            place(DAFANG, Form::Option("RTSPMJPEGOPTS"), Role::MediaPair),
        ],
        ..NONE
    },
    Adapter {
        name: "wz_mini",
        evidence: &[(WZ_MINI, "")],
        places: &[
            place(WZ_MINI, Form::Key("RTSP_LOGIN"), Role::MediaUser),
            media(WZ_MINI, Form::Key("RTSP_PASSWORD")),
            place(WZ_MINI, Form::Key("RTSP_AUTH_DISABLE"), Role::Must("false")),
        ],
        ..NONE
    },
    Adapter {
        name: "openmiko",
        evidence: &[
            ("/usr/bin/upgrade_openmiko.sh", ""),
            ("/etc/os-release", "openmiko"),
        ],
        ..NONE
    },
    Adapter {
        name: "XiongMai",
        evidence: &[("/usr/bin/Sofia", ""), ("/mnt/mtd/Config", "")],
        own_users: true,
        ..NONE
    },
    Adapter {
        name: "Hikvision",
        evidence: &[
            ("/etc/app", "/home/initrun.sh"),
            ("/home/initrun.sh", "execSystemCmd"),
        ],
        own_users: true,
        ..NONE
    },
    Adapter {
        name: "ONVIF service",
        evidence: &[(SERVER, "")],
        own_users: true,
        ..NONE
    },
    Adapter {
        name: "BusyBox",
        tried: Tried::Emulated,
        evidence: &[("/bin/busybox", ""), ("/etc/init.d/rcS", "")],
        ..NONE
    },
];
