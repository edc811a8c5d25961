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
    /// A password of ONVIF, the web or the vendor's protocol.
    MediaPassword,
    /// That of RTSP, by which the agent logs in: the file that has no such value tells that another streamer is there.
    RtspPassword,
    /// Both, as `user:password`; where there is none, it is put there.
    MediaPair,
    /// The same if it is there.
    GivenPair,
    /// The same where the value is empty, unless this file is there.
    EmptyPair(&'static str),
    /// The user of a service that asks nobody where it has none: then it gets one.
    NewUser,
    /// The password that goes with it.
    NewPassword,
    /// The SHA-256 of the web interface's password.
    WebHash,
    /// `user:realm:` and the MD5 of both and the web interface's password.
    WebDigest,
    /// A login password that is kept in clear and written over the real one at boot.
    ClearLogin,
    /// A switch that must have this value, or nobody is asked for a password.
    Must(&'static str),
    /// A switch with the first value, which opens a way in, gets the second. Without a second it stays, and is told.
    Opens(&'static str, &'static str),
}

impl Role {
    /// Whether the streamer's own password stands there.
    pub(crate) fn is_rtsp(self) -> bool {
        matches!(
            self,
            Self::RtspPassword | Self::MediaPair | Self::GivenPair | Self::EmptyPair(_)
        )
    }

    /// Whether it has nothing to do with the media password.
    pub(crate) fn is_apart(self) -> bool {
        matches!(
            self,
            Self::WebHash | Self::WebDigest | Self::ClearLogin | Self::Opens(..)
        )
    }
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
    /// Servers of media and pages that scripts start: the places tell who may use them, or the system's accounts do.
    pub serves: &'static [&'static str],
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

const fn rtsp(path: &'static str, form: Form) -> Place {
    place(path, form, Role::RtspPassword)
}

const fn place(path: &'static str, form: Form, role: Role) -> Place {
    Place { path, form, role }
}

const NONE: Adapter = Adapter {
    name: "",
    tried: Tried::Fixture,
    evidence: &[],
    places: &[],
    serves: &[],
    urls: &[],
    media_accounts: &[],
    one_password: false,
    own_users: false,
};

/// What yi-hack's settings have in all its kinds.
const fn yi_hack(path: &'static str) -> [Place; 3] {
    [
        place(path, Form::Key("USERNAME"), Role::MediaUser),
        rtsp(path, Form::Key("PASSWORD")),
        place(path, Form::Key("SSH_PASSWORD"), Role::ClearLogin),
    ]
}

/// What dafang-hacks' RTSP server is told: by the names of today, and by those of old.
const fn dafang(path: &'static str) -> [Place; 5] {
    [
        place(path, Form::Key("USERNAME"), Role::MediaUser),
        rtsp(path, Form::Key("USERPASSWORD")),
        place(path, Form::Option("RTSPOPTS"), Role::GivenPair),
        place(path, Form::Option("RTSPH264OPTS"), Role::MediaPair),
        place(path, Form::Option("RTSPMJPEGOPTS"), Role::MediaPair),
    ]
}

/// go2rtc's RTSP and its interface, of which each is open where it has no user.
const fn go2rtc(path: &'static str) -> [Place; 4] {
    [
        place(path, Form::Yaml(&["rtsp", "username"]), Role::NewUser),
        place(path, Form::Yaml(&["rtsp", "password"]), Role::NewPassword),
        place(path, Form::Yaml(&["api", "username"]), Role::NewUser),
        place(path, Form::Yaml(&["api", "password"]), Role::NewPassword),
    ]
}

/// In the place of a path: a program that serves ONVIF, wherever it lies.
const SERVER: &str = "";
const MAJESTIC: &str = "/etc/majestic.yaml";
const PRUDYNT: &str = "/etc/prudynt.json";
const RAPTOR: &str = "/etc/raptor.conf";
const TIMPS: &str = "/etc/timps.conf";
const ONVIF_JSON: &str = "/etc/onvif.json";
const YI: &str = "/home/yi-hack/etc/system.conf";
const YI5: &str = "/home/yi-hack-v5/etc/system.conf";
const YI4: &str = "/home/yi-hack-v4/etc/system.conf";
const DAFANG: &str = "/system/sdcard/config/rtspserver.conf";
const DAFANG_NEW: &str = "/system/sdcard/config/rtspserver.conf.dist";
const WZ_MINI: &str = "/opt/wz_mini/wz_mini.conf";
const MIKO: &str = "/etc/v4l2rtspserver.conf";
const GO2RTC: &str = "/etc/go2rtc.yaml";
const WZ_GO2RTC: &str = "/opt/wz_mini/etc/go2rtc.yml";
/// What serves yi-hack's video and its pages, with one user for both.
const YI_SERVES: &[&str] = &["rRTSPServer", "rtsp_server_yi", "go2rtc", "httpd"];

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
        serves: &["httpd"],
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
        serves: &["httpd", "lighttpd"],
        urls: &[
            ("/etc/init.d/S32prudyntwd", "thingino"),
            ("/etc/init.d/S97stream-watchdog", "thingino"),
            (GO2RTC, "thingino"),
        ],
        media_accounts: &["thingino"],
        ..NONE
    },
    // thingino's streamer, alone on the emulated cameras of `qemu`.
    Adapter {
        name: "prudynt",
        tried: Tried::Emulated,
        evidence: &[(PRUDYNT, "\"rtsp\"")],
        places: &[
            place(PRUDYNT, Form::Json(&["rtsp", "username"]), Role::MediaUser),
            rtsp(PRUDYNT, Form::Json(&["rtsp", "password"])),
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
        name: "raptor",
        evidence: &[(RAPTOR, "")],
        places: &[
            place(RAPTOR, Form::Ini("rtsp", "username"), Role::MediaUser),
            rtsp(RAPTOR, Form::Ini("rtsp", "password")),
            place(RAPTOR, Form::Ini("http", "username"), Role::NewUser),
            place(RAPTOR, Form::Ini("http", "password"), Role::NewPassword),
            place(RAPTOR, Form::Ini("webrtc", "username"), Role::NewUser),
            place(RAPTOR, Form::Ini("webrtc", "password"), Role::NewPassword),
        ],
        ..NONE
    },
    Adapter {
        name: "timps",
        evidence: &[(TIMPS, "")],
        places: &[
            place(TIMPS, Form::Key("rtsp.user"), Role::MediaUser),
            rtsp(TIMPS, Form::Key("rtsp.pass")),
            place(TIMPS, Form::Key("http.user"), Role::NewUser),
            place(TIMPS, Form::Key("http.pass"), Role::NewPassword),
            place(TIMPS, Form::Key("srt.enabled"), Role::Opens("1", "")),
        ],
        ..NONE
    },
    Adapter {
        name: "yi-hack",
        evidence: &[(YI, "")],
        places: &yi_hack(YI),
        serves: YI_SERVES,
        ..NONE
    },
    Adapter {
        name: "yi-hack-v5",
        evidence: &[(YI5, "")],
        places: &yi_hack(YI5),
        serves: YI_SERVES,
        ..NONE
    },
    // Its server has no users.
    Adapter {
        name: "yi-hack-v4",
        evidence: &[("/home/yi-hack-v4/script/system.sh", "rtspv4")],
        places: &[place(YI4, Form::Key("RTSP"), Role::Opens("yes", ""))],
        serves: &["rtspv4"],
        ..NONE
    },
    Adapter {
        name: "dafang-hacks",
        evidence: &[(DAFANG, ""), ("/system/sdcard/run.sh", "")],
        places: &[
            dafang(DAFANG)[0],
            dafang(DAFANG)[1],
            dafang(DAFANG)[2],
            dafang(DAFANG)[3],
            dafang(DAFANG)[4],
            dafang(DAFANG_NEW)[0],
            dafang(DAFANG_NEW)[1],
            dafang(DAFANG_NEW)[2],
            place(
                "/system/sdcard/config/lighttpd.user",
                Form::Digest,
                Role::WebDigest,
            ),
        ],
        serves: &["v4l2rtspserver-master", "lighttpd"],
        ..NONE
    },
    Adapter {
        name: "wz_mini",
        evidence: &[(WZ_MINI, "")],
        places: &[
            place(WZ_MINI, Form::Key("RTSP_LOGIN"), Role::MediaUser),
            rtsp(WZ_MINI, Form::Key("RTSP_PASSWORD")),
            place(WZ_MINI, Form::Key("RTSP_AUTH_DISABLE"), Role::Must("false")),
            media(WZ_MINI, Form::Key("WEB_SERVER_PASSWORD")),
            place(
                WZ_MINI,
                Form::Key("WEB_SERVER_AUTH"),
                Role::Opens("false", "true"),
            ),
            place(WZ_MINI, Form::Key("DEBUG_PASSWORD"), Role::Opens("true", "false")),
            place(WZ_MINI, Form::Key("ENABLE_FILESERVER"), Role::Opens("true", "")),
        ],
        serves: &["v4l2rtspserver", "httpd", "dufs"],
        ..NONE
    },
    Adapter {
        name: "openmiko",
        evidence: &[
            ("/usr/bin/upgrade_openmiko.sh", ""),
            ("/etc/os-release", "openmiko"),
        ],
        places: &[
            place(MIKO, Form::Key("USERNAME"), Role::MediaUser),
            rtsp(MIKO, Form::Key("PASSWORD")),
            place(
                "/etc/init.d/S60camera",
                Form::Key("AUTH_PARAMS"),
                Role::EmptyPair(MIKO),
            ),
        ],
        serves: &["v4l2rtspserver"],
        ..NONE
    },
    Adapter {
        name: "go2rtc",
        evidence: &[(GO2RTC, ""), (WZ_GO2RTC, "")],
        places: &[
            go2rtc(GO2RTC)[0],
            go2rtc(GO2RTC)[1],
            go2rtc(GO2RTC)[2],
            go2rtc(GO2RTC)[3],
            go2rtc(WZ_GO2RTC)[0],
            go2rtc(WZ_GO2RTC)[1],
            go2rtc(WZ_GO2RTC)[2],
            go2rtc(WZ_GO2RTC)[3],
        ],
        serves: &["go2rtc"],
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
