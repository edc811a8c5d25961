#!/bin/sh
# Makes a Debian package of the gateway: program, systemd unit, manual pages, examples.
#
# usage: packaging/gateway/deb.sh PROGRAM [OUTPUT-FOLDER]     PROGRAM as `cargo build` made it; dist/ unless it is said
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
program=${1:?usage: packaging/gateway/deb.sh PROGRAM [OUTPUT-FOLDER]}
out=${2:-$root/dist}

for tool in dpkg-deb dpkg objdump gzip; do
	command -v "$tool" >/dev/null || {
		echo "deb.sh: $tool is missing: apt-get install dpkg binutils gzip" >&2
		exit 1
	}
done
version=$("$program" --version | cut -d' ' -f2)
arch=$(dpkg --print-architecture)
# The newest symbol version says which C library it takes.
libc=$(objdump -T "$program" | sed -n 's/.*(GLIBC_\([0-9.]*\)).*/\1/p' | sort -V | tail -n1)
# The same input gives the same package.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct)}
export SOURCE_DATE_EPOCH

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
umask 022
tree=$dir/tree
doc=$tree/usr/share/doc/lenscap-gateway
mkdir -p "$tree/DEBIAN" "$tree/usr/bin" "$tree/usr/lib/systemd/system" "$tree/usr/share/man/man1" \
	"$tree/usr/share/man/man5" "$doc/examples" "$tree/etc/lenscap-gateway" "$out"
install -m 755 "$program" "$tree/usr/bin/lenscap-gateway"
strip --strip-unneeded "$tree/usr/bin/lenscap-gateway"
install -m 644 "$here/lenscap-gateway.service" "$tree/usr/lib/systemd/system/"
for section in 1 5; do
	gzip -9nc "$root/docs/man/lenscap-gateway.$section" >"$tree/usr/share/man/man$section/lenscap-gateway.$section.gz"
done
install -m 644 "$here/gateway.toml" "$here/alerts.yml" "$doc/examples/"
install -m 644 "$root/docs/gateway.md" "$root/docs/protocol.md" "$doc/"
gzip -9nc "$root/CHANGELOG.md" >"$doc/changelog.gz"
cat "$root/LICENSE-MIT" "$root/LICENSE-APACHE" >"$doc/copyright"

cat >"$tree/DEBIAN/control" <<EOF
Package: lenscap-gateway
Version: $version-1
Architecture: $arch
Maintainer: Lenscap
Section: net
Priority: optional
Installed-Size: $(du -sk "$tree" | cut -f1)
Depends: libc6 (>= ${libc:-2.34}), adduser, init-system-helpers
Description: takes uplinks from IP cameras and gives their video to viewers
 Cameras that run Lenscap dial this gateway over TLS. It offers their video over
 RTSP and RTSPS, snapshots, an HTTP API and Prometheus metrics, and keeps who
 owns which camera and who may watch it.
EOF
cat >"$tree/DEBIAN/postinst" <<'EOF'
#!/bin/sh
set -e
if [ "$1" = configure ]; then
	adduser --quiet --system --group --home /nonexistent --no-create-home lenscap-gateway
	# Keys and tokens of a configuration go here.
	chown root:lenscap-gateway /etc/lenscap-gateway
	chmod 750 /etc/lenscap-gateway
	if [ -d /run/systemd/system ]; then
		deb-systemd-helper enable lenscap-gateway.service >/dev/null || true
		systemctl daemon-reload >/dev/null || true
		if [ -n "$2" ]; then verb=restart; else verb=start; fi
		deb-systemd-invoke "$verb" lenscap-gateway.service >/dev/null || true
	fi
fi
EOF
cat >"$tree/DEBIAN/prerm" <<'EOF'
#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
	deb-systemd-invoke stop lenscap-gateway.service >/dev/null || true
fi
EOF
cat >"$tree/DEBIAN/postrm" <<'EOF'
#!/bin/sh
set -e
if [ "$1" = purge ]; then
	deb-systemd-helper purge lenscap-gateway.service >/dev/null || true
	# Claims cannot be made anew without the labels: what is kept stays until somebody takes it away.
	if [ -d /var/lib/lenscap-gateway ]; then
		echo "lenscap-gateway: /var/lib/lenscap-gateway is kept; remove it if nobody needs its cameras any more" >&2
	fi
fi
EOF
chmod 755 "$tree/DEBIAN/postinst" "$tree/DEBIAN/prerm" "$tree/DEBIAN/postrm"
find "$tree" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
package=$out/lenscap-gateway_$version-1_$arch.deb
dpkg-deb --root-owner-group -Zxz --build "$tree" "$package" >/dev/null
echo "$package"
