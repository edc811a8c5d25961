#!/bin/sh
# Installs Lenscap on a camera with BusyBox, or into a folder that becomes its root file system.
#
# usage: ./install.sh [--root DIR] [--no-start]
#        ./install.sh --uninstall [--purge] [--root DIR]
#
# --root DIR   work on a root file system below DIR instead of this machine
# --no-start   do not start the service now; it starts at the next boot
# --uninstall  remove everything but the configuration and the camera's key
# --purge      with --uninstall: remove those too
#
# It prints the space it needs and refuses, before it writes a byte, when that is not there, when the file system is
# read-only or forgets everything at power-off, or when the program does not run on this CPU.
set -eu
umask 022

here=$(cd "$(dirname "$0")" && pwd)
root=
start=yes
action=install
purge=no

# Flash file systems keep some of their space to themselves.
SPARE_KIB=64
BLOCK_BYTES=4096
FIRST_ID=900
LAST_ID=999

fail() {
	echo "install: $*" >&2
	exit 1
}

usage() {
	sed -n '4,10s/^# \{0,1\}//p' "$here/install.sh"
}

while [ $# -gt 0 ]; do
	case $1 in
	--root)
		[ $# -gt 1 ] || fail "--root needs a folder"
		root=${2%/}
		[ -n "$root" ] || fail "--root: / is this machine itself"
		[ -d "$root" ] || fail "--root: no folder $root"
		shift
		;;
	--no-start) start=no ;;
	--uninstall) action=uninstall ;;
	--purge) purge=yes ;;
	-h | --help)
		usage
		exit 0
		;;
	*)
		usage >&2
		exit 2
		;;
	esac
	shift
done
[ -z "$root" ] || start=no
[ "$purge" = no ] || [ "$action" = uninstall ] || fail "--purge goes with --uninstall"

program=$root/usr/sbin/lenscap
config=$root/etc/config/lenscap
state=$root/etc/lenscap
init=$root/etc/init.d/S60lenscap
licences=$root/usr/share/licenses/lenscap

# The nearest existing folder at or above a path.
existing() {
	folder=$1
	while [ ! -d "$folder" ]; do
		folder=$(dirname "$folder")
	done
	echo "$folder"
}

# KiB a file takes, in whole blocks; nothing if the file is not there.
blocks_kib() {
	[ -f "$1" ] || {
		echo 0
		return
	}
	bytes=$(wc -c <"$1")
	blocks=$(((bytes + BLOCK_BYTES - 1) / BLOCK_BYTES))
	echo $((blocks * BLOCK_BYTES / 1024))
}

free_kib() {
	df -k "$1" | awk 'NR > 1 { line = line " " $0 } END { n = split(line, f, " "); print f[n - 2] }'
}

# Prints "type options" of the file system that a path lies on.
mount_of() {
	awk -v path="$1/" '
		{ at = $2 == "/" ? "/" : $2 "/" }
		index(path, at) == 1 && length(at) >= best { best = length(at); found = $3 " " $4 }
		END { print found }
	' /proc/mounts
}

# The new program lies beside the old one until it is complete, so an upgrade needs room for both.
needed_kib() {
	needed=$SPARE_KIB
	for file in "$here/lenscap" "$here/S60lenscap" "$here"/licenses/*; do
		needed=$((needed + $(blocks_kib "$file")))
	done
	echo $((needed + 2 * $(blocks_kib "$here/lenscap.conf")))
}

check_folder() {
	folder=$(existing "$1")
	[ -w "$folder" ] || fail "$folder cannot be written to"
	[ -z "$root" ] || return 0
	facts=$(mount_of "$folder")
	case $facts in
	overlay*upperdir=*)
		# An overlay forgets when the folder that it writes to does.
		upper=${facts#*upperdir=}
		[ ! -d "${upper%%,*}" ] || facts=$(mount_of "${upper%%,*}")
		;;
	esac
	case ",${facts#* }," in
	*,ro,*) fail "$folder is on a read-only file system: bake Lenscap into the image instead, see README.md" ;;
	esac
	case $facts in
	tmpfs* | ramfs* | rootfs*) fail "$folder is in memory (${facts%% *}) and is forgotten at power-off, the camera's key too: bake Lenscap into the image instead, see README.md" ;;
	esac
}

check() {
	[ "$(id -u)" = 0 ] || [ -n "$root" ] || fail "must be root"
	for file in lenscap lenscap.conf S60lenscap; do
		[ -f "$here/$file" ] || fail "$here/$file is missing: unpack the whole archive"
	done
	if [ -z "$root" ]; then
		version=$("$here/lenscap" --version 2>/dev/null) ||
			fail "the program does not run here; is this archive for $(uname -m)?"
		echo "install: $version"
	fi
	for folder in "${program%/*}" "${config%/*}" "$state" "${init%/*}" "$licences"; do
		check_folder "$folder"
	done
	needed=$(needed_kib)
	free=$(free_kib "$(existing "${program%/*}")")
	echo "install: needs $needed KiB in ${program%/*}, $free KiB are free"
	[ "$free" -ge "$needed" ] || fail "not enough space; nothing was changed"
	free=$(free_kib "$(existing "${config%/*}")")
	[ "$free" -ge "$SPARE_KIB" ] || fail "not enough space in ${config%/*}: $free KiB; nothing was changed"
}

# put SOURCE TARGET MODE: the target is the old file or the whole new one.
put() {
	mkdir -p "${2%/*}"
	if ! cp "$1" "$2.new" || ! chmod "$3" "$2.new" || ! sync || ! mv -f "$2.new" "$2"; then
		rm -f "$2.new"
		fail "cannot write $2"
	fi
}

# An id that neither passwd nor group has.
free_id() {
	id=$FIRST_ID
	while [ "$id" -le "$LAST_ID" ]; do
		cat "$root/etc/passwd" "$root/etc/group" 2>/dev/null | cut -d: -f3 | grep -qx "$id" || {
			echo "$id"
			return
		}
		id=$((id + 1))
	done
	fail "no free user id from $FIRST_ID to $LAST_ID"
}

has_line() {
	grep -q '^lenscap:' "$root/etc/$1" 2>/dev/null
}

# add_line FILE LINE MODE: MODE counts for a new file; an old one keeps its own.
add_line() {
	file=$root/etc/$1
	if [ -f "$file" ]; then
		cp -p "$file" "$file.new"
	else
		: >"$file.new"
		chmod "$3" "$file.new"
	fi
	echo "$2" >>"$file.new"
	mv -f "$file.new" "$file"
}

# Not adduser: many cameras lack it, and it differs between those that have it.
make_user() {
	id=$(free_id)
	has_line group || add_line group "lenscap:x:$id:" 644
	if ! has_line passwd; then
		group=$(sed -n 's/^lenscap:[^:]*:\([0-9]*\):.*/\1/p' "$root/etc/group")
		add_line passwd "lenscap:x:$id:$group:Lenscap agent:/:/bin/false" 644
	fi
	if [ -f "$root/etc/shadow" ] && ! has_line shadow; then
		add_line shadow 'lenscap:*:0:0:99999:7:::' 600
	fi
}

remove_user() {
	for name in passwd shadow group; do
		has_line "$name" || continue
		file=$root/etc/$name
		cp -p "$file" "$file.new"
		grep -v '^lenscap:' "$file" >"$file.new" || true
		mv -f "$file.new" "$file"
	done
}

# rcS of BusyBox images runs /etc/init.d/S??*; vendors have others.
check_boot() {
	for file in "$root/etc/init.d/rcS" "$root/etc/inittab" "$root/etc/rc.local" "$root/etc/rc"; do
		[ ! -f "$file" ] || ! grep -q 'init\.d/S' "$file" || return 0
	done
	echo "install: found nothing that runs /etc/init.d/S* at boot; add this line to the script that does: /etc/init.d/S60lenscap start"
}

install() {
	check
	[ "$start" = no ] || [ ! -x "$init" ] || "$init" stop || true
	make_user
	mkdir -p "$state"
	chmod 700 "$state"
	put "$here/lenscap" "$program" 755
	put "$here/S60lenscap" "$init" 755
	for file in "$here"/licenses/*; do
		put "$file" "$licences/${file##*/}" 644
	done
	if [ ! -f "$config" ]; then
		put "$here/lenscap.conf" "$config" 600
	elif ! cmp -s "$here/lenscap.conf" "$config"; then
		put "$here/lenscap.conf" "$config.default" 600
		echo "install: kept $config; the new default is beside it"
	fi
	sync
	check_boot
	if [ "$start" = yes ]; then
		"$init" start
		echo "install: done; now set the endpoint in $config, then: lenscap check && $init reload"
	fi
}

uninstall() {
	[ -n "$root" ] || [ ! -x "$init" ] || "$init" stop || true
	rm -f "$program" "$program.new" "$init" "$config.default"
	rm -rf "$licences"
	rmdir "${licences%/*}" 2>/dev/null || true
	remove_user
	if [ "$purge" = yes ]; then
		rm -f "$config"
		rm -rf "$state"
	else
		echo "install: kept $config and $state; --purge removes them"
	fi
	rmdir "$state" 2>/dev/null || true
	sync
}

"$action"
