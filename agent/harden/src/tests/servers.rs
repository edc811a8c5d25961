//! Streamers and web servers as firmwares start them, by the names that their settings have.

use super::*;
use crate::engine::undo;
use crate::report::Measure;

/// A camera of a fixture, with other files in the place of some of its own.
fn with(name: &str, without: &[&str], files: &[(&str, &str)]) -> Camera {
    let camera = Camera::new(name);
    for path in without {
        fs::remove_file(camera.dir.path().join(path)).unwrap();
    }
    for (path, text) in files {
        let path = camera.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    camera
}

/// Hardens, hardens again without a change, and takes it back; gives the first run.
#[track_caller]
fn closed(camera: &mut Camera, well: bool) -> (Run, BTreeMap<String, String>) {
    let before = camera.snapshot();
    let run = camera.harden();
    run.result.as_ref().unwrap();
    let again = camera.harden();
    assert!(again.changes.is_empty(), "{:?}", again.changes);
    let bad = [Status::Fails, Status::Unknown, Status::Planned];
    assert_eq!(
        !bad.iter().any(|status| again.has(*status)),
        well,
        "{:?}",
        again.findings
    );
    let texts = camera
        .snapshot()
        .into_iter()
        .map(|(path, (_, text))| (path, String::from_utf8_lossy(&text).into_owned()))
        .collect();
    undo(&camera.root, &camera.settings, true).unwrap();
    same(&own(&camera.snapshot()), &own(&before), "undone");
    (run, texts)
}

/// What is found about a file's credentials, and that nothing is said to hold.
#[track_caller]
fn found(run: &Run, path: &str) -> Vec<Status> {
    let of_measure = |finding: &&Finding| finding.measure == Measure::Credentials;
    let all = run.findings.iter().filter(of_measure);
    assert!(
        !all.clone().any(|finding| finding.status == Status::Holds),
        "{:?}",
        run.findings
    );
    let here = all.filter(|finding| finding.path.as_deref() == Some(path));
    here.map(|finding| finding.status).collect()
}

const RAPTOR: &str = "# Raptor's settings.\n[sensor]\n# fps = 25\n\n[rtsp]\n# port = 554\nusername = thingino\npassword = thingino   # RTSP's\nsei_timecode = false\n\n[http]\n# username = admin\n# password = secret\nexif_timestamp = false\n\n[webrtc]\n# password = secret\n";
const TIMPS: &str = "rtsp.enabled = 1\nrtsp.user    = thingino\nrtsp.pass    = thingino\n\nhttp.user    = thingino\nhttp.pass    = thingino\nsrt.enabled  = 0\n";
const NOT_PRUDYNT: &[&str] = &[
    "etc/prudynt.json",
    "etc/init.d/S32prudyntwd",
    "etc/init.d/S97stream-watchdog",
];

#[test]
fn thingino_has_one_password_with_each_of_its_streamers() {
    for (path, text, expected) in [
        (
            "etc/raptor.conf",
            RAPTOR,
            "[rtsp]\n# port = 554\nusername = thingino\npassword = M   # RTSP's\nsei_timecode = false\n\n[http]\npassword = M\nusername = lenscap\n# username = admin\n# password = secret\nexif_timestamp = false\n\n[webrtc]\npassword = M\nusername = lenscap\n",
        ),
        (
            "etc/timps.conf",
            TIMPS,
            "rtsp.user    = thingino\nrtsp.pass    = M\n\nhttp.user    = thingino\nhttp.pass    = M\n",
        ),
    ] {
        let mut camera = with("thingino", NOT_PRUDYNT, &[(path, text)]);
        let (run, texts) = closed(&mut camera, true);
        let media = run.secrets.media.unwrap().reveal().to_owned();
        assert_eq!(run.secrets.media_user.as_deref(), Some("thingino"));
        let is = &texts[&format!("/{path}")];
        assert!(is.contains(&expected.replace('M', &media)), "{is}");
        assert_eq!(texts["/etc/lenscap/camera-password"], format!("{media}\n"));
        assert!(texts["/etc/onvif.json"].contains(&media));
        // go2rtc gives the same video again, and an interface that nobody is asked for.
        let yaml = &texts["/etc/go2rtc.yaml"];
        let user = format!("\n  password: \"{media}\"\n  username: \"lenscap\"\n");
        assert!(
            yaml.contains(&format!("rtsp:{user}  listen: \":8553\"")),
            "{yaml}"
        );
        assert!(yaml.contains(&format!("api:{user}")), "{yaml}");
    }
}

#[test]
fn raptor_without_a_user_gets_one() {
    let text = "[rtsp]\nport = 554\n";
    let mut camera = with("thingino", NOT_PRUDYNT, &[("etc/raptor.conf", text)]);
    let (run, texts) = closed(&mut camera, true);
    let media = run.secrets.media.unwrap().reveal().to_owned();
    let expected = format!("[rtsp]\npassword = {media}\nusername = lenscap\nport = 554\n");
    assert!(texts["/etc/raptor.conf"].starts_with(&expected));
    assert_eq!(run.secrets.media_user.as_deref(), Some("lenscap"));
}

#[test]
fn media_keeps_its_passwords_where_the_streamers_is_not_known() {
    // No streamer that is known; one whose settings do not have it; one that a script starts; one that is too short.
    for (without, path, text, at) in [
        (NOT_PRUDYNT, "etc/other.conf", "x = 1\n", "/etc/onvif.json"),
        (
            NOT_PRUDYNT,
            "etc/timps.conf",
            "rtsp.user = thingino\n",
            "/etc/timps.conf",
        ),
        (
            &[],
            "etc/init.d/S90video",
            "#!/bin/sh\nmediamtx /etc/m.yml &\n",
            "/etc/init.d/S90video",
        ),
        (
            NOT_PRUDYNT,
            "etc/timps.conf",
            "rtsp.user = a\nrtsp.pass = Xq7tr\nhttp.user = a\nhttp.pass = Xq7tr\nsrt.enabled = 0\n",
            "/etc/timps.conf",
        ),
    ] {
        let mut camera = with(
            "thingino",
            without,
            &[(path, text), ("etc/lenscap/camera-password", "thingino\n")],
        );
        let before = camera.snapshot();
        let (run, texts) = closed(&mut camera, false);
        assert!(
            found(&run, at).contains(&Status::Fails) || found(&run, at) == [Status::Unknown],
            "{:?}",
            run.findings
        );
        assert!(run.secrets.media.is_none() && run.has(Status::Fails));
        for path in [
            "/etc/onvif.json",
            "/etc/lenscap/camera-password",
            "/etc/go2rtc.yaml",
        ] {
            assert_eq!(texts[path].as_bytes(), before[path].1, "{path}");
        }
    }
    // Not even where nothing is weak.
    let own = "{\"server\": {\"password\": \"of-my-own-94Zq\"}}";
    let files = [
        ("etc/onvif.json", own),
        ("etc/passwd", "root:*:0:0::/:/bin/sh\n"),
        ("etc/shadow", "root:*:::::::\n"),
    ];
    let run = with("thingino", &[NOT_PRUDYNT, &["etc/go2rtc.yaml"]].concat(), &files).harden();
    assert_eq!(found(&run, "/etc/onvif.json"), [Status::Unknown]);
}

#[test]
fn a_good_password_of_the_streamer_becomes_everyones() {
    let text = TIMPS.replace("pass    = thingino", "pass = label-9ZKD-4711");
    let mut camera = with("thingino", NOT_PRUDYNT, &[("etc/timps.conf", &text)]);
    let (run, texts) = closed(&mut camera, true);
    assert_eq!(run.secrets.media.unwrap().reveal(), "label-9ZKD-4711");
    assert_eq!(texts["/etc/timps.conf"], text);
    assert_eq!(texts["/etc/lenscap/camera-password"], "label-9ZKD-4711\n");
    assert!(texts["/etc/onvif.json"].contains("\"label-9ZKD-4711\""));
}

#[test]
fn dafang_hacks_of_today_asks_for_users() {
    const CONF: &str = "PORT=8554\n\nUSERNAME=\nUSERPASSWORD=\n\n# RTSPOPTS=\"-U user:password\"\nRTSPOPTS=\"\"\nMULTICASTDEST=\"\"\n";
    // The user's name, the realm and their MD5: of a password on the list.
    const WEB: &str = "# made by the firmware\nroot:all:a6564902a687c445cbd80bab194c42d5\n";
    const RTSP: &str = "#!/bin/sh\n. /system/sdcard/config/rtspserver.conf\nif [ \"$USERNAME\" != \"\" ]; then\n\tCREDENTIAL=\"-U $USERNAME:$USERPASSWORD\"\nfi\n/system/sdcard/bin/v4l2rtspserver-master -fH264 $RTSPOPTS $CREDENTIAL -P $PORT &\n";
    const PAGES: &str = "#!/bin/sh\n/system/sdcard/bin/lighttpd -f /system/sdcard/config/lighttpd.conf\n";
    let dir = "system/sdcard/";
    let paths = [
        "config/rtspserver.conf",
        "config/lighttpd.user",
        "controlscripts/rtsp",
        "controlscripts/lighttpd",
    ];
    let paths = paths.map(|path| format!("{dir}{path}"));
    let files: Vec<(&str, &str)> = paths
        .iter()
        .map(String::as_str)
        .zip([CONF, WEB, RTSP, PAGES])
        .collect();
    let mut camera = with("dafang-hacks", &[], &files);
    let (run, texts) = closed(&mut camera, true);
    let media = run.secrets.media.clone().unwrap().reveal().to_owned();
    let expected = format!("USERNAME=lenscap\nUSERPASSWORD={media}\n");
    let conf = &texts["/system/sdcard/config/rtspserver.conf"];
    assert!(
        conf.contains(&expected) && conf.contains("RTSPOPTS=\"\""),
        "{conf}"
    );
    assert_eq!(run.secrets.media_user.as_deref(), Some("lenscap"));
    let login = run.secrets.login.clone().unwrap().reveal().to_owned();
    let digest = lenscap_md5::md5(format!("root:all:{login}").as_bytes());
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        texts["/system/sdcard/config/lighttpd.user"],
        format!("# made by the firmware\nroot:all:{digest}\n")
    );
    // Before the first start there is only what the settings are made of; in its options there may be another user.
    let conf = CONF.replace("RTSPOPTS=\"\"", "RTSPOPTS=\"-W9 -U admin:admin\"");
    let mut camera = with(
        "dafang-hacks",
        &["system/sdcard/config/rtspserver.conf"],
        &[("system/sdcard/config/rtspserver.conf.dist", &conf)],
    );
    let (run, texts) = closed(&mut camera, true);
    let media = run.secrets.media.unwrap().reveal().to_owned();
    let conf = &texts["/system/sdcard/config/rtspserver.conf.dist"];
    assert!(
        conf.contains(&format!("\nRTSPOPTS=\"-W9 -U admin:{media}\"\n")),
        "{conf}"
    );
    // Without any, it cannot be told.
    let run = with(
        "dafang-hacks",
        &["system/sdcard/config/rtspserver.conf"],
        &files[2..3],
    )
    .harden();
    assert_eq!(
        found(&run, "/system/sdcard/controlscripts/rtsp"),
        [Status::Unknown]
    );
}

#[test]
fn openmiko_asks_for_a_user() {
    const CAMERA: &str = "#!/bin/sh\nstart_camera() {\n\tAUTH_PARAMS=\"\"\n\n\tif [[ -f /etc/v4l2rtspserver.conf ]]; then\n\t\t. /etc/v4l2rtspserver.conf\n\t\tAUTH_PARAMS=\"-U $USERNAME:$PASSWORD\"\n\tfi\n\t/usr/bin/v4l2rtspserver $AUTH_PARAMS -A 48000 -l 1 $DEVICES >/dev/null &\n}\nstart_camera\n";
    let mut camera = with("openmiko", &[], &[("etc/init.d/S60camera", CAMERA)]);
    let (run, texts) = closed(&mut camera, true);
    let media = run.secrets.media.unwrap().reveal().to_owned();
    let script = &texts["/etc/init.d/S60camera"];
    let expected = CAMERA.replacen("\"\"", &format!("\"-U lenscap:{media} \""), 1);
    assert_eq!(*script, expected);
    assert_eq!(run.secrets.media_user.as_deref(), Some("lenscap"));
    // With its own settings these hold; what else gives the video to everybody is told.
    let conf = "USERNAME=openmiko\nPASSWORD=openmiko\n";
    let mjpg = "#!/bin/sh\nmjpg_streamer -i \"input_v4l2loopback.so -d /dev/video4 --fps $FPS\" -o \"output_http.so\" &\n";
    let files = [
        ("etc/init.d/S60camera", CAMERA),
        ("etc/v4l2rtspserver.conf", conf),
        ("etc/init.d/S70mjpg", mjpg),
    ];
    let run = with("openmiko", &[], &files).harden();
    assert_eq!(found(&run, "/etc/init.d/S70mjpg"), [Status::Fails]);
    assert!(
        found(&run, "/etc/init.d/S60camera").is_empty(),
        "{:?}",
        run.findings
    );
}

#[test]
fn yi_hacks_of_other_kinds_are_known() {
    let passwd = ("etc/passwd", "root:*:0:0::/:/bin/sh\n");
    let four = |rtsp: &str| {
        let conf = format!("TELNETD=no\nHTTPD=no\nRTSP={rtsp}\n");
        let script = "#!/bin/sh\nrtspv4 -D -S\n";
        let files = [
            ("home/yi-hack-v4/etc/system.conf", conf.as_str()),
            ("home/yi-hack-v4/script/system.sh", script),
            passwd,
        ];
        with("busybox", &[], &files).harden()
    };
    assert_eq!(
        found(&four("yes"), "/home/yi-hack-v4/etc/system.conf"),
        [Status::Fails]
    );
    let run = four("no");
    assert!(
        run.findings.iter().all(|finding| finding.status != Status::Fails),
        "{:?}",
        run.findings
    );
    let conf = "HTTPD=yes\nRTSP=yes\nUSERNAME=\nPASSWORD=\nSSH_PASSWORD=root\n";
    let script = "#!/bin/sh\nif [[ x$(get_config SSH_PASSWORD) != \"x\" ]] ; then\n    SSH_PASSWORD=$(get_config SSH_PASSWORD)\n    echo root:$SSH_PASSWORD | chpasswd --md5\nfi\nhttpd -p 80 -c /tmp/httpd.conf\nrRTSPServer -r high $RTSP_USER &\n";
    let files = [
        ("home/yi-hack-v5/etc/system.conf", conf),
        ("home/yi-hack-v5/script/system.sh", script),
        passwd,
    ];
    let mut camera = with("busybox", &[], &files);
    let (run, texts) = closed(&mut camera, true);
    let media = run.secrets.media.unwrap().reveal().to_owned();
    let expected = format!("HTTPD=yes\nRTSP=yes\nUSERNAME=lenscap\nPASSWORD={media}\nSSH_PASSWORD=\n");
    assert_eq!(texts["/home/yi-hack-v5/etc/system.conf"], expected);
}

#[test]
fn wz_mini_opens_no_pages_and_no_root() {
    let camera = Camera::new("wz_mini");
    let mut conf = camera.text("/opt/wz_mini/wz_mini.conf");
    conf.push_str("DEBUG_PASSWORD=\"true\"\nWEB_SERVER_ENABLED=\"true\"\nWEB_SERVER_AUTH=\"false\"\nWEB_SERVER_LOGIN=\"admin\"\nWEB_SERVER_PASSWORD=\"\"\nENABLE_FILESERVER=\"false\"\n");
    let yaml = "log:\n  level: info\nstreams:\n  1080p:\n  - exec:ffmpeg -i /dev/video1 -f rtsp {output}\n";
    let script = "#!/bin/sh\n/opt/wz_mini/bin/go2rtc_linux_mipsel -config /opt/wz_mini/etc/go2rtc.yml &\n/opt/wz_mini/bin/dufs -c /opt/wz_mini/etc/dufs.yaml &\nhttpd -p 80 -h /opt/wz_mini/www\n";
    let files = [
        ("opt/wz_mini/wz_mini.conf", conf.as_str()),
        ("opt/wz_mini/etc/go2rtc.yml", yaml),
        ("opt/wz_mini/etc/network.d/S17go2rtc", script),
    ];
    let (run, texts) = closed(&mut with("wz_mini", &[], &files), true);
    let media = run.secrets.media.unwrap().reveal().to_owned();
    let expected = format!(
        "DEBUG_PASSWORD=\"false\"\nWEB_SERVER_ENABLED=\"true\"\nWEB_SERVER_AUTH=\"true\"\nWEB_SERVER_LOGIN=\"admin\"\nWEB_SERVER_PASSWORD=\"{media}\"\nENABLE_FILESERVER=\"false\"\n"
    );
    let is = &texts["/opt/wz_mini/wz_mini.conf"];
    assert!(is.ends_with(&expected), "{is}");
    let user = format!("\n  password: \"{media}\"\n  username: \"lenscap\"\n");
    assert_eq!(
        texts["/opt/wz_mini/etc/go2rtc.yml"],
        format!("{yaml}rtsp:{user}api:{user}")
    );
    // What gives the whole system to everybody stays, and is told.
    let conf = conf.replace("FILESERVER=\"false\"", "FILESERVER=\"true\"");
    let run = with("wz_mini", &[], &[("opt/wz_mini/wz_mini.conf", &conf)]).harden();
    assert!(found(&run, "/opt/wz_mini/wz_mini.conf").contains(&Status::Fails));
    // go2rtc without settings of its own.
    let run = with("wz_mini", &[], &files[2..]).harden();
    assert!(found(&run, "/opt/wz_mini/etc/network.d/S17go2rtc").contains(&Status::Unknown));
}

#[test]
fn servers_that_scripts_start_are_looked_at() {
    use Status::{Fails, Unknown};
    for (line, expected) in [
        ("v4l2rtspserver -W 640 /dev/video0 &", Some(Fails)),
        ("/usr/bin/v4l2rtspserver -U admin:admin /dev/video0", Some(Fails)),
        ("nohup v4l2rtspserver -Uadmin:of-my-own-94 /dev/video0 &", None),
        ("v4l2rtspserver $OPTS /dev/video0", Some(Unknown)),
        ("v4l2rtspserver -U $U:$P /dev/video0", Some(Unknown)),
        (
            "start-stop-daemon -S -x /usr/bin/v4l2rtspserver -- -P 554",
            Some(Fails),
        ),
        ("start-stop-daemon -K -x /usr/bin/v4l2rtspserver", None),
        ("rtspv4 -D -S", Some(Fails)),
        ("mjpg_streamer -o 'output_http.so -c a:of-my-own-94'", None),
        ("mjpg_streamer -o 'output_http.so -p 8080'", Some(Fails)),
        ("go2rtc -config /etc/g.yaml &", Some(Unknown)),
        ("mediamtx &", Some(Unknown)),
        ("lighttpd -f /etc/lighttpd.conf", Some(Unknown)),
        ("httpd -p 80 -h /www", Some(Unknown)),
        ("httpd -p 80 -h /www -c /etc/pages.conf", None),
        ("httpd -p 80 -h /www -c /tmp/pages.conf", Some(Unknown)),
        ("httpd -d \"$QUERY_STRING\"", None),
        ("dufs -c /etc/dufs.yaml", Some(Unknown)),
        (": $(: $(: $(: $(: $(: $(: $(:))))))); httpd -d x", Some(Unknown)),
        ("killall v4l2rtspserver; pidof httpd; echo lighttpd", None),
        ("ps | grep -q '[h]ttpd' || modprobe v4l2loopback", None),
    ] {
        let script = format!("#!/bin/sh\n{line}\n");
        let files = [
            ("etc/init.d/S90video", script.as_str()),
            ("etc/passwd", "root:*:0:0::/:/bin/sh\n"),
            ("etc/pages.conf", "/:me:of-my-own-94\n"),
        ];
        let run = with("busybox", &[], &files).harden();
        let here = run.findings.iter().filter(|finding| {
            finding.measure == Measure::Credentials && finding.path.as_deref() == Some("/etc/init.d/S90video")
        });
        let statuses: Vec<Status> = here.map(|finding| finding.status).collect();
        assert_eq!(statuses, expected.into_iter().collect::<Vec<_>>(), "{line}");
        let holds = run
            .findings
            .iter()
            .any(|finding| (finding.measure, finding.status) == (Measure::Credentials, Status::Holds));
        assert_eq!(holds, expected.is_none(), "{line}: {:?}", run.findings);
    }
}
