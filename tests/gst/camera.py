#!/usr/bin/python3
"""A real RTSP camera for tests and the demo: GStreamer's RTSP server behind Digest.

Serves a test picture with a running clock as /h264 and /h265, each with sound. Prints one JSON line
with its address, logs what clients do to --events as JSON lines, and stops on SIGTERM.
Runs with the system's Python, which the GStreamer bindings are installed for.
"""

import argparse
import json
import signal
import sys
import time

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

PICTURE = (
    "videotestsrc is-live=true pattern=ball ! "
    "video/x-raw,format=I420,width={width},height={height},framerate={fps}/1 ! "
    'timeoverlay font-desc="Sans 36" halignment=center valignment=center ! queue ! '
)
ENCODERS = {
    "h264": "x264enc tune=zerolatency speed-preset=ultrafast bitrate={kbit} key-int-max={gop} ! "
    "video/x-h264,profile=constrained-baseline ! h264parse config-interval=-1 ! rtph264pay name=pay0 pt=96",
    "h265": "x265enc tune=zerolatency speed-preset=ultrafast bitrate={kbit} key-int-max={gop} "
    "option-string=log-level=none ! h265parse config-interval=-1 ! rtph265pay name=pay0 pt=96",
}
SOUND = {
    "pcmu": " audiotestsrc is-live=true wave=ticks ! audio/x-raw,rate=8000,channels=1 ! "
    "mulawenc ! rtppcmupay name=pay1 pt=0 min-ptime=20000000 max-ptime=20000000",
    "aac": " audiotestsrc is-live=true ! audio/x-raw,rate=16000,channels=1 ! {aacenc} ! "
    "aacparse ! rtpmp4gpay name=pay1 pt=97",
    "none": "",
}
# Elements that are not in a bare installation, with Debian's package of each.
NEEDED = {
    "videotestsrc": "gstreamer1.0-plugins-base",
    "timeoverlay": "gstreamer1.0-x",
    "x264enc": "gstreamer1.0-plugins-ugly",
    "x265enc": "gstreamer1.0-plugins-bad",
    "h265parse": "gstreamer1.0-plugins-bad",
    "rtph264pay": "gstreamer1.0-plugins-good",
    "mulawenc": "gstreamer1.0-plugins-good",
}
AAC_ENCODERS = ("voaacenc", "fdkaacenc", "avenc_aac", "faac")


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listen", default="127.0.0.1", help="address; the system chooses the port")
    parser.add_argument("--port", default="0")
    parser.add_argument("--codec", choices=sorted(ENCODERS), default="h264", help="the profile named in the first line")
    parser.add_argument("--audio", choices=sorted(SOUND), default="pcmu")
    parser.add_argument("--user", help="without it the camera is open")
    parser.add_argument("--password-file")
    parser.add_argument("--auth", choices=["digest", "basic"], default="digest")
    parser.add_argument("--events", help="file for JSON lines")
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=360)
    parser.add_argument("--fps", type=int, default=25)
    parser.add_argument("--bitrate", type=int, default=1000, help="kbit/s")
    args = parser.parse_args()
    if args.user and not args.password_file:
        parser.error("--user needs --password-file")
    return args


class Events:
    """The event log."""

    def __init__(self, path):
        self.file = open(path, "w", encoding="utf-8") if path else None
        self.start = time.monotonic()

    def write(self, event, **fields):
        if self.file:
            line = {"event": event, "t": round(time.monotonic() - self.start, 3), **fields}
            self.file.write(json.dumps(line) + "\n")
            self.file.flush()


def check_elements():
    missing = [name for name in NEEDED if not Gst.ElementFactory.find(name)]
    if missing:
        packages = " ".join(sorted({NEEDED[name] for name in missing}))
        sys.exit(f"camera.py: GStreamer has no {', '.join(missing)}: apt-get install {packages}")


def launch_line(codec, args):
    aac = next((name for name in AAC_ENCODERS if Gst.ElementFactory.find(name)), None)
    if args.audio == "aac" and aac is None:
        sys.exit("camera.py: no AAC encoder among the GStreamer plugins; use --audio pcmu")
    line = PICTURE + ENCODERS[codec] + SOUND[args.audio]
    fields = {"width": args.width, "height": args.height, "fps": args.fps, "kbit": args.bitrate}
    return "( " + line.format(gop=args.fps * 2, aacenc=aac, **fields) + " )"


def add_profile(server, codec, args):
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(launch_line(codec, args))
    # One encoder for all clients, so that two pulls at once carry the same packets.
    factory.set_shared(True)
    factory.set_protocols(GstRtsp.RTSPLowerTrans.TCP)
    if args.user:
        permissions = GstRtspServer.RTSPPermissions()
        permissions.add_permission_for_role("viewer", "media.factory.access", True)
        permissions.add_permission_for_role("viewer", "media.factory.construct", True)
        factory.set_permissions(permissions)
    server.get_mount_points().add_factory("/" + codec, factory)


def require_login(server, args):
    with open(args.password_file, encoding="utf-8") as file:
        password = file.read().rstrip("\r\n")
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    if args.auth == "digest":
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        auth.add_digest(args.user, password, token)
    else:
        basic = GstRtspServer.RTSPAuth.make_basic(args.user, password)
        auth.add_basic(basic, token)
    server.set_auth(auth)


def watch_clients(server, events):
    numbers = iter(range(1, sys.maxsize))

    def on_connected(_server, client):
        number = next(numbers)
        state = {"torn_down": False}
        events.write("connected", conn=number)

        def on_request(name):
            def handler(_client, context):
                uri = context.uri.get_request_uri() if context.uri else None
                events.write(name, conn=number, uri=uri)
                if name == "teardown":
                    state["torn_down"] = True

            return handler

        for signal_name, event in (
            ("describe-request", "describe"),
            ("setup-request", "setup"),
            ("play-request", "play"),
            ("pause-request", "pause"),
            ("teardown-request", "teardown"),
            ("get-parameter-request", "keepalive"),
            ("set-parameter-request", "keepalive"),
            ("options-request", "options"),
        ):
            client.connect(signal_name, on_request(event))
        client.connect("closed", lambda _client: events.write("closed", conn=number, teardown=state["torn_down"]))

    server.connect("client-connected", on_connected)


def main():
    args = parse_args()
    Gst.init(None)
    check_elements()
    events = Events(args.events)
    server = GstRtspServer.RTSPServer()
    server.set_address(args.listen)
    server.set_service(args.port)
    for codec in ENCODERS:
        add_profile(server, codec, args)
    if args.user:
        require_login(server, args)
    watch_clients(server, events)
    if server.attach(None) == 0:
        sys.exit(f"camera.py: cannot listen on {args.listen}:{args.port}")

    loop = GLib.MainLoop()
    for number in (signal.SIGTERM, signal.SIGINT):
        GLib.unix_signal_add(GLib.PRIORITY_HIGH, number, loop.quit)
    address = f"{args.listen}:{server.get_bound_port()}"
    print(json.dumps({"event": "listening", "rtsp": address, "path": "/" + args.codec}), flush=True)
    loop.run()
    events.write("stopped")


if __name__ == "__main__":
    main()
