#!/bin/sh
# Installs what `make demo`, `make test`, `make bench`, `make bench-gateway`, `make packages` or `make qemu-test` need and the machine
# does not have: Debian packages with apt-get, and the Python packages of the tests in .venv. Says what and why;
# does nothing when everything is there.
#
# usage: tests/install-deps.sh [demo] [test] [bench] [bench-gateway] [packages] [qemu]
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
requirements="$root/tests/pygateway/requirements.txt $root/tests/audit/requirements.txt"
venv=$root/.venv
min_rust=90

fail() {
	echo "install-deps: $*" >&2
	exit 1
}

# One line a package: name, then what it is for.
packages_demo='
gcc                              links Rust programs
libc6-dev                        links Rust programs
ffmpeg                           ffmpeg and ffprobe, as viewers
git                              the build time, and the list of what is checked
openssl                          certificates, made on the spot
python3                          runs the GStreamer camera
python3-gi                       the GStreamer camera and viewer are Python scripts
gir1.2-gst-rtsp-server-1.0       the real RTSP server
gstreamer1.0-plugins-base        test picture and tone
gstreamer1.0-plugins-good        rtspsrc and RTP payloaders
gstreamer1.0-plugins-bad         H.265 parser, AAC encoder
gstreamer1.0-plugins-ugly        x264 encoder
gstreamer1.0-libav               decoders
gstreamer1.0-x                   the running clock in the test picture
'
packages_test='
age                              opens what the agent encrypts to an owner
busybox-static                   shell and tools of the installer, as cameras have them
chromium                         shows the page of an audit
dropbear-bin                     dropbearkey: SSH host keys, as cameras make them
iproute2                         network namespaces and a throttled link
iptables                         reads back what the firewall set, and sets filters that the audit reads
net-tools                        netstat, which the audit must agree with
nfdump                           nfcapd, an IPFIX collector
nftables                         reads back what the firewall set, sets filters that the audit reads, switches tracking on
nmap                             scans a camera from outside
nginx-light                      a reverse proxy that ends TLS in front of the gateway
openscap-common                  the schema of XCCDF
perl                             the hook that refuses images anybody could log in to
python3-venv                     .venv for the independent gateway, what judges audits, and schemathesis
shellcheck                       lint of the shell scripts
strace                           plays a kernel that lacks something
tcpdump                          counts what passes, beside our own count
tshark                           reads the packet captures
util-linux                       setpriv, so that no test program outlives its test
'
packages_bench='
dropbear-bin                     competitor: dropbear -R
iproute2                         network namespaces
openssh-client                   competitor: ssh -R
openssh-server                   competitor: the far side of ssh -R
openvpn                          competitor: OpenVPN over TCP
stunnel4                         competitor: plain TLS forwarding
util-linux                       setpriv
'
packages_gateway='
gnuplot-nox                      draws when cameras come back
util-linux                       setpriv, so that no program outlives the measurement
'
packages_packages='
gcc                              links build scripts
git                              the build time, and the list of what is packed
libc6-dev                        links build scripts
python3-venv                     zig and the packager, in environments of their own
'
packages_qemu='
debian-archive-keyring           checks the ARM packages that the images are made of
e2fsprogs                        overlay of the images: mkfs.ext4
iproute2                         a host beside the emulated camera
nmap                             scans it from there
openssh-client                   tries known passwords there
openssl                          certificates of the gateway
python3-venv                     zig and the packager, in environments of their own
qemu-system-arm                  boots the images
qemu-user-static                 runs the agent of every target
socat                            the one connection out of the emulated network
squashfs-tools                   root of the images: mksquashfs
sshpass                          hands them to ssh
'

check_rust() {
	if ! command -v cargo >/dev/null 2>&1; then
		# rustup's default place, for a shell that has not read its profile.
		[ -x "$HOME/.cargo/bin/cargo" ] && return
		fail "no cargo. Debian's own is too old: install Rust 1.$min_rust or later from https://rustup.rs"
	fi
	minor=$(cargo --version | sed -n 's/^cargo 1\.\([0-9]*\)\..*/\1/p')
	if [ -n "$minor" ] && [ "$minor" -lt "$min_rust" ]; then
		fail "$(cargo --version) is too old: Lenscap needs 1.$min_rust or later (rustup update)"
	fi
}

installed() {
	[ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# Prints the lines of the packages that are missing.
missing() {
	printf '%s\n' "$1" | sort -u | while read -r package why; do
		[ -n "$package" ] || continue
		installed "$package" || printf '%s %s\n' "$package" "$why"
	done
}

as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null 2>&1; then
		sudo "$@"
	else
		fail "root is needed for: $* (no sudo here; run it as root, then start again)"
	fi
}

apt() {
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y "$@"
}

# Some packages bring a service. The tests start their own copies on ports of their own, so those services are
# neither started nor enabled; ones that were here before are not touched.
hold_services() {
	policy=/usr/sbin/policy-rc.d
	[ -e "$policy" ] && return
	printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
	as_root chmod 755 "$policy"
	policy_is_ours=yes
}

release_services() {
	[ "${policy_is_ours:-no}" = yes ] || return 0
	as_root rm -f /usr/sbin/policy-rc.d
	policy_is_ours=no
	[ -d /run/systemd/system ] || return 0
	for pair in nfdump:nfdump nginx-light:nginx openssh-server:ssh openvpn:openvpn stunnel4:stunnel4; do
		case " $names " in
			*" ${pair%%:*} "*) as_root systemctl -q disable "${pair##*:}" || true ;;
		esac
	done
}

install_packages() {
	lines=$(missing "$1")
	[ -n "$lines" ] || return 0
	command -v apt-get >/dev/null 2>&1 ||
		fail "no apt-get here; install by other means: $(printf '%s\n' "$lines" | cut -d' ' -f1 | tr '\n' ' ')"
	echo "install-deps: installing from Debian:"
	printf '%s\n' "$lines" | while read -r package why; do printf '  %-28s %s\n' "$package" "$why"; done
	names=$(printf '%s\n' "$lines" | cut -d' ' -f1 | tr '\n' ' ')
	log=$(mktemp)
	trap 'release_services; rm -f "$log"' EXIT
	hold_services
	# shellcheck disable=SC2086 # one word a package
	if ! apt install --no-install-recommends $names >"$log" 2>&1; then
		# The lists may be old or empty.
		apt update >"$log" 2>&1 || true
		# shellcheck disable=SC2086
		if ! apt install --no-install-recommends $names >>"$log" 2>&1; then
			grep -E '^(E|W|Err):?' "$log" | tail -n 5 >&2 || true
			fail "cannot install; is this machine offline? By hand: apt-get install $names"
		fi
	fi
	release_services
	rm -f "$log"
	trap - EXIT
}

install_venv() {
	options=
	for file in $requirements; do
		[ -f "$file" ] || fail "$file is missing"
		options="$options -r $file"
	done
	# shellcheck disable=SC2086 # one word a file
	want=$(cat $requirements | sha256sum | cut -d' ' -f1)
	[ "$(cat "$venv/requirements.sha256" 2>/dev/null)" = "$want" ] && [ -x "$venv/bin/python" ] && return
	echo "install-deps: Python packages for the independent gateway, the audit's judges and the API's test, in .venv"
	rm -rf "$venv"
	/usr/bin/python3 -m venv "$venv"
	# shellcheck disable=SC2086
	"$venv/bin/python" -m pip install -q --disable-pip-version-check $options ||
		fail "cannot install the Python packages; is this machine offline? By hand: $venv/bin/pip install $options"
	printf '%s\n' "$want" >"$venv/requirements.sha256"
}

[ $# -gt 0 ] || fail "usage: tests/install-deps.sh [demo] [test] [bench] [bench-gateway] [packages] [qemu]"
wanted=
want_venv=no
for group in "$@"; do
	case $group in
		demo) wanted="$wanted$packages_demo" ;;
		test)
			wanted="$wanted$packages_demo$packages_test"
			want_venv=yes
			;;
		bench) wanted="$wanted$packages_demo$packages_bench" ;;
		bench-gateway) wanted="$wanted$packages_demo$packages_gateway" ;;
		qemu) wanted="$wanted$packages_demo$packages_qemu" ;;
		packages) wanted="$wanted$packages_packages" ;;
		*) fail "unknown group '$group': demo, test, bench, bench-gateway, packages or qemu" ;;
	esac
done

check_rust
install_packages "$wanted"
[ "$want_venv" = no ] || install_venv
