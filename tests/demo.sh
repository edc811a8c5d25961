#!/bin/sh
# `make demo-local`: a real RTSP camera, the agent and the gateway on this machine; ffmpeg watches through the uplink.
# Says what it saw, checks it, and writes out/demo/frame.png. KEEP=1 leaves everything running and says how to watch.
# Needs the workspace built (cargo build --workspace) and no privilege.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
bin=${CARGO_TARGET_DIR:-target}/debug
out=out/demo
width=640 height=360 fps=25
watch_seconds=10
pids=

fail() {
	printf '\ndemo: FAILED: %s\n' "$*" >&2
	printf 'demo: logs are in %s\n' "$dir" >&2
	exit 1
}

step() {
	printf '%-52s' "$*"
}

done_with() {
	printf '%s\n' "$*"
}

# Ends what was started here, by its id.
clean_up() {
	trap - EXIT INT TERM
	for pid in $pids; do
		kill "$pid" 2>/dev/null || true
	done
	for pid in $pids; do
		wait "$pid" 2>/dev/null || true
	done
}

# secret FILE: a new random password that its owner alone can read.
secret() {
	(umask 077 && od -An -N16 -tx1 /dev/urandom | tr -d ' \n' >"$1")
}

# json FILE EXPRESSION: a value out of the last JSON line of FILE, called v in the expression.
json() {
	/usr/bin/python3 -c '
import json, sys
text = open(sys.argv[1], encoding="utf-8").read().strip()
try:
    v = json.loads(text)
except ValueError:
    v = json.loads(text.splitlines()[-1])
print(eval(sys.argv[2]))' "$1" "$2"
}

# wait_line PID FILE WHAT: waits until FILE has a line, while PID lives.
wait_line() {
	tries=200
	until [ -s "$2" ]; do
		kill -0 "$1" 2>/dev/null || fail "$3 ended: $(tail -n 3 "$dir/$3.log")"
		tries=$((tries - 1))
		[ "$tries" -gt 0 ] || fail "$3 does not start; $dir/$3.log"
		sleep 0.1
	done
}

# first_packet URL USER PASSWORD_FILE: milliseconds from connecting to the first RTP packet, the middle of three.
first_packet() {
	for n in 1 2 3; do
		"$bin/rtp-sink" "$1" --user "$2" --password-file "$3" --packets 1 --report "$dir/first.$n.json" \
			2>>"$dir/rtp-sink.log" || fail "no RTP packet from $1: $(tail -n 1 "$dir/rtp-sink.log")"
		json "$dir/first.$n.json" '"%.0f" % v["first_packet_ms"]'
	done | sort -n | sed -n 2p
}

rm -rf "$out"
mkdir -p "$out"
dir=$out/run
(umask 077 && mkdir "$dir")
dir=$(cd "$dir" && pwd)
for program in lenscap lenscap-gateway rtp-sink; do
	[ -x "$bin/$program" ] || fail "$bin/$program is not built: cargo build --workspace"
done
for program in openssl ffmpeg ffprobe; do
	command -v "$program" >/dev/null 2>&1 || fail "$program is missing: apt-get install ${program%probe}"
done
trap clean_up EXIT
trap 'exit 130' INT TERM

step "camera: GStreamer's RTSP server, Digest, H.264"
secret "$dir/camera.password"
/usr/bin/python3 tests/gst/camera.py --user admin --password-file "$dir/camera.password" --audio pcmu \
	--width "$width" --height "$height" --fps "$fps" >"$dir/camera.json" 2>"$dir/camera.log" &
camera_pid=$!
pids="$pids $camera_pid"
wait_line "$camera_pid" "$dir/camera.json" camera
camera_url=rtsp://$(json "$dir/camera.json" 'v["rtsp"] + v["path"]')
done_with "$camera_url"

step "certificates: an authority and the gateway's"
(
	cd "$dir"
	umask 077
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/CN=Lenscap demo authority" \
		-addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign -keyout ca.key -out ca.pem
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=localhost" -keyout gateway.key -out gateway.csr
	printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n' >gateway.ext
	openssl x509 -req -in gateway.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile gateway.ext -out gateway.pem
) >"$dir/openssl.log" 2>&1 || fail "openssl: $(tail -n 2 "$dir/openssl.log")"
done_with "made on the spot"

# The agent's part that does not depend on the gateway, for its identity.
cat >"$dir/lenscap.conf" <<CONF
config agent 'agent'
	option state_dir '$dir/state'
	option log 'stderr'
	option log_level 'info'

config profile 'main'
	option rtsp '$camera_url'
	option user 'admin'
	option password_file '$dir/camera.password'
CONF
step "agent: its own key, made at the first start"
mkdir "$dir/state"
"$bin/lenscap" identity --config "$dir/lenscap.conf" --json >"$dir/identity.json" 2>"$dir/identity.log" ||
	fail "lenscap identity: $(cat "$dir/identity.log")"
fingerprint=$(json "$dir/identity.json" 'v["fingerprint"]')
done_with "$(printf '%.23s...' "$fingerprint")"

step "gateway: takes the uplink, offers RTSP"
secret "$dir/viewer.password"
cat >"$dir/gateway.toml" <<CONF
[uplink]
listen = "127.0.0.1:0"
cert = "$dir/gateway.pem"
key = "$dir/gateway.key"

[rtsp]
listen = "127.0.0.1:0"

[http]
listen = "127.0.0.1:0"

[[camera]]
name = "front"
fingerprint = "$fingerprint"

[[viewer]]
user = "viewer"
password_file = "$dir/viewer.password"
CONF
"$bin/lenscap-gateway" run --config "$dir/gateway.toml" >"$dir/gateway.json" 2>"$dir/gateway.log" &
gateway_pid=$!
pids="$pids $gateway_pid"
wait_line "$gateway_pid" "$dir/gateway.json" gateway
head -n 1 "$dir/gateway.json" >"$dir/gateway.listening.json"
uplink=$(json "$dir/gateway.listening.json" 'v["uplink"]')
rtsp=$(json "$dir/gateway.listening.json" 'v["rtsp"]')
http=$(json "$dir/gateway.listening.json" 'v["http"]')
url=rtsp://$rtsp/front/main
done_with "$url"

step "agent: dials out"
cat >>"$dir/lenscap.conf" <<CONF

config uplink 'main'
	option endpoint 'https://$uplink/onvif/uplink'
	option ca_file '$dir/ca.pem'
CONF
"$bin/lenscap" check --config "$dir/lenscap.conf" >"$dir/check.log" 2>&1 || fail "lenscap check: $(cat "$dir/check.log")"
"$bin/lenscap" run --config "$dir/lenscap.conf" >"$dir/agent.log" 2>&1 &
agent_pid=$!
pids="$pids $agent_pid"
/usr/bin/python3 - "http://$http/cameras" >"$dir/online.json" 2>>"$dir/gateway.log" <<'PYTHON' ||
import json, sys, time, urllib.request
end = time.monotonic() + 20
while time.monotonic() < end:
    cameras = json.load(urllib.request.urlopen(sys.argv[1], timeout=5))
    if any(camera["name"] == "front" and camera["online"] for camera in cameras):
        print(json.dumps(cameras[0]))
        sys.exit(0)
    time.sleep(0.1)
sys.exit("the camera is not online")
PYTHON
	fail "the agent does not reach the gateway: $(tail -n 3 "$dir/agent.log")"
done_with "online, profiles $(json "$dir/online.json" '", ".join(v["profiles"])')"

step "ffprobe: what the profile is"
# ffmpeg takes credentials in the URL alone, where other users of this machine can see them: this viewer is made for
# this demo, knows one test picture, and ends with it.
viewer_url=rtsp://viewer:$(cat "$dir/viewer.password")@$rtsp/front/main
timeout 60 ffprobe -v error -rtsp_transport tcp -show_streams -of json "$viewer_url" >"$dir/probe.json" 2>"$dir/ffprobe.log" ||
	fail "ffprobe: $(tail -n 2 "$dir/ffprobe.log")"
video=$(json "$dir/probe.json" 'next("%s %dx%d" % (s["codec_name"], s["width"], s["height"]) for s in v["streams"] if s["codec_type"] == "video")') ||
	fail "ffprobe sees no video"
audio=$(json "$dir/probe.json" 'next("%s %s Hz" % (s["codec_name"], s["sample_rate"]) for s in v["streams"] if s["codec_type"] == "audio")') ||
	fail "ffprobe sees no audio"
done_with "video $video, audio $audio"
[ "$video" = "h264 ${width}x$height" ] || fail "expected h264 ${width}x$height, saw $video"

step "ffmpeg: decodes $watch_seconds s"
timeout 60 ffmpeg -v error -nostdin -rtsp_transport tcp -i "$viewer_url" -t "$watch_seconds" -map 0:v -fps_mode passthrough \
	-progress "$dir/progress" -f null - 2>"$dir/ffmpeg.log" &
ffmpeg_pid=$!
pids="$pids $ffmpeg_pid"
while kill -0 "$ffmpeg_pid" 2>/dev/null; do
	printf '.'
	sleep 1
done
wait "$ffmpeg_pid" || fail "ffmpeg: $(tail -n 2 "$dir/ffmpeg.log")"
[ ! -s "$dir/ffmpeg.log" ] || fail "ffmpeg complains: $(head -n 2 "$dir/ffmpeg.log")"
frames=$(sed -n 's/^frame= *//p' "$dir/progress" | tail -n 1)
done_with " $frames frames, no decoding error"
[ "$frames" -ge $((watch_seconds * fps * 9 / 10)) ] || fail "only $frames frames in $watch_seconds s"

step "bytes and sequence numbers, 5 s"
"$bin/rtp-sink" "$url" --user viewer --password-file "$dir/viewer.password" --seconds 5 --report "$dir/sink.json" \
	2>>"$dir/rtp-sink.log" || fail "rtp-sink: $(tail -n 1 "$dir/rtp-sink.log")"
gaps=$(json "$dir/sink.json" 'sum(t["gaps"] for t in v["tracks"])')
done_with "$(json "$dir/sink.json" '"%d bytes, %d RTP packets, " % (v["bytes"], v["packets"])')$gaps gaps"
[ "$gaps" = 0 ] || fail "$gaps gaps in the sequence numbers"
rate=$(json "$dir/sink.json" 'next("%.1f" % (t["access_units"] / v["play_seconds"]) for t in v["tracks"] if t["media"] == "video")')

step "first RTP packet: direct, and through the uplink"
direct_ms=$(first_packet "$camera_url" admin "$dir/camera.password")
uplink_ms=$(first_packet "$url" viewer "$dir/viewer.password")
{ [ -n "$direct_ms" ] && [ -n "$uplink_ms" ]; } || fail "no RTP packet came"
done_with "$direct_ms ms, $uplink_ms ms"

step "a frame as picture"
timeout 60 ffmpeg -v error -nostdin -y -rtsp_transport tcp -i "$viewer_url" -map 0:v -t 2 -update 1 "$out/frame.png" \
	2>"$dir/frame.log" || fail "ffmpeg: $(tail -n 2 "$dir/frame.log")"
size=$(ffprobe -v error -show_entries stream=width,height -of csv=p=0:s=x "$out/frame.png") || fail "frame.png is no picture"
[ "$size" = "${width}x$height" ] || fail "frame.png is $size"
done_with "$out/frame.png"

for pair in "camera $camera_pid" "gateway $gateway_pid" "agent $agent_pid"; do
	kill -0 "${pair#* }" 2>/dev/null || fail "${pair% *} has ended: $(tail -n 3 "$dir/${pair% *}.log")"
done

cat <<SUMMARY

seen through the uplink
  video                 $video
  audio                 $audio
  frames a second       $rate
  decoded               $frames frames in $watch_seconds s, no error
  received in 5 s       $(json "$dir/sink.json" 'v["bytes"]') bytes, $gaps gaps
  first RTP packet      $direct_ms ms direct, $uplink_ms ms through the uplink
  picture               $out/frame.png
SUMMARY

if [ "${KEEP:-0}" = 1 ]; then
	cat <<KEPT

It keeps running; Ctrl-C ends it. To watch in VLC:
  URL        $url
  user       viewer
  password   in $dir/viewer.password (VLC asks for it)
  or         vlc "rtsp://viewer:\$(cat '$dir/viewer.password')@$rtsp/front/main"
  cameras    http://$http/cameras
KEPT
	wait "$agent_pid" || fail "the agent has ended: $(tail -n 3 "$dir/agent.log")"
fi
