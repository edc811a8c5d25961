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
# Account files may have bytes of any kind, at which tools that know letters stop.
LC_ALL=C
export LC_ALL

here=$(unset CDPATH; cd "$(dirname "$0")" && pwd)
root=
start=yes
action=install
purge=no

# Flash file systems keep some of their space to themselves.
SPARE_KIB=64
BLOCK_BYTES=4096
# Files and folders beside the licences: programs, scripts, configuration, state, accounts, and one that is being written.
SPARE_FILES=16
FIRST_ID=900
LAST_ID=999
BAKE="bake Lenscap into the image instead, see README.md"
UNBAKE="remount it with rw first, or make the image anew without Lenscap, see README.md"
# What the account is that is made here, as grep reads it, with an id from FIRST_ID to LAST_ID. One that was there before, or
# that somebody has changed, is somebody else's.
OUR_USER='lenscap:x:9[0-9][0-9]:[0-9]*:Lenscap agent:/:/bin/false'
OUR_GROUP='lenscap:x:9[0-9][0-9]:'

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
		[ -d "$2" ] || fail "--root: no folder $2"
		root=$(cd "$2" && pwd -P)
		[ "$root" != / ] || fail "--root: / is this machine itself"
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
# What hardening has changed, and the originals beside it (agent/harden/src/transaction.rs).
journal=$state/harden/journal
services=$state/harden/services
init=$root/etc/init.d/S60lenscap
early=$root/etc/init.d/S34lenscap
licences=$root/usr/share/licenses/lenscap

# Set while a service that ran before is stopped.
stopped=no

# An upgrade that fails leaves the old program in place: it must not leave the camera without it.
finish() {
	[ "$stopped" = no ] || "$init" start || true
}
trap finish EXIT
trap 'exit 1' HUP INT TERM

# Many cameras lack some of these, and half a pipe would do half the work.
check_tools() {
	tools="awk cat chmod cmp cp cut df dirname grep id mkdir mv rm rmdir sed sync tr wc"
	for name in passwd group shadow; do
		[ ! -L "$root/etc/$name" ] || tools="$tools readlink"
	done
	for tool in $tools; do
		type "$tool" >/dev/null 2>&1 || fail "this system has no $tool, which the installation needs; nothing was changed"
	done
}

# The nearest existing folder at or above a path.
existing() {
	folder=$1
	while [ ! -d "$folder" ]; do
		[ ! -L "$folder" ] || fail "$folder is a link to no folder; nothing was changed"
		[ ! -e "$folder" ] || fail "$folder is a file, where a folder belongs; nothing was changed"
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

# What is free where a path lies: KiB with -k, files with -i. Nothing where df cannot tell, or there is no fixed number. It is
# the number before the percentage: names of devices and folders may have blanks, and long ones a line of their own.
free_of() {
	df "$1" "$2" 2>/dev/null | awk '
		NR > 1 { line = line " " $0 }
		END {
			n = split(line, f, " ")
			for (i = 5; i < n && f[i] !~ /^([0-9]+%|-)$/; i++);
			if (i < n && f[i - 3] + 0 > 0) print f[i - 1]
		}
	'
}

# An absolute link in an image names a place in the camera, and would here lead to this machine's.
check_inside() {
	[ -z "$root" ] || {
		folder=$(existing "$1")
		[ -x "$folder" ] || fail "user $(id -u) has no right to look into $folder: run this as root; nothing was changed"
		case $(cd "$folder" && pwd -P)/ in
		"$root"/*) ;;
		*) fail "$1 leads out of $root by a link; nothing was changed" ;;
		esac
	}
}

check_links() {
	for place in "${program%/*}" "${config%/*}" "$state" "${init%/*}" "$licences"; do
		check_inside "$place"
	done
	for name in passwd group shadow; do
		file=$(account_file "$name")
		check_inside "${file%/*}"
	done
}

# What is to be written or removed as a file must not be a folder.
check_no_folders() {
	for file in "$program" "$init" "$early" "$config" "$config.default" \
		"$(account_file passwd)" "$(account_file group)" "$(account_file shadow)"; do
		for place in "$file" "$file.new"; do
			[ ! -d "$place" ] || fail "$place is a folder, where a file belongs; nothing was changed"
		done
	done
	for file in "$here"/licenses/*; do
		[ ! -d "$licences/${file##*/}" ] || fail "$licences/${file##*/} is a folder, where a file belongs; nothing was changed"
	done
}

# Other tools lose or mistake what comes after a NUL.
check_accounts() {
	for name in passwd group shadow; do
		file=$(account_file "$name")
		[ -e "$file" ] || continue
		[ -r "$file" ] || fail "$file cannot be read: run this as root; nothing was changed"
		# shellcheck disable=SC2094 # both read
		tr -d '\000' <"$file" | cmp -s - "$file" ||
			fail "$file has NUL bytes in it: remove them first; nothing was changed"
	done
}

# What is mounted says what can be written.
check_proc() {
	[ -n "$root" ] || [ -r /proc/mounts ] || fail "/proc is not mounted: mount -t proc proc /proc; nothing was changed"
}

# check_writable FOLDER ADVICE: refuses one in which nothing can be changed, with advice for a read-only file system. Sets
# facts to what mount_of says.
check_writable() {
	facts=$(mount_of "$1")
	case ",${facts#* }," in
	*,ro,*) fail "$1 is on a read-only file system: $2; nothing was changed" ;;
	esac
	[ ! -w "$1" ] || return 0
	[ "$(id -u)" = 0 ] || fail "user $(id -u) has no right to write to $1: run this as root, or as its owner; nothing was changed"
	fail "$1 cannot be written to; nothing was changed"
}

# Prints "type options" of the file system that a path lies on.
mount_of() {
	awk -v path="$1/" '
		{ at = $2 == "/" ? "/" : $2 "/" }
		index(path, at) == 1 && length(at) >= best { best = length(at); found = $3 " " $4 }
		END { print found }
	' /proc/mounts 2>/dev/null || true
}

check_files() {
	set -- "${program%/*}" "$here"/licenses/*
	files=$((SPARE_FILES + $# - 1))
	free=$(free_of -i "$(existing "$1")")
	[ -z "$free" ] || [ "$free" -ge "$files" ] || fail "$1 has room for $free more files, $files are needed; nothing was changed"
}

# The new program lies beside the old one until it is complete, so an upgrade needs room for both.
needed_kib() {
	needed=$SPARE_KIB
	for file in "$here/lenscap" "$here/S34lenscap" "$here/S60lenscap" "$here"/licenses/*; do
		needed=$((needed + $(blocks_kib "$file")))
	done
	echo $((needed + 2 * $(blocks_kib "$here/lenscap.conf")))
}

check_folder() {
	folder=$(existing "$1")
	# Where it lies, whatever links lead there.
	folder=$(cd "$folder" && pwd -P)
	check_writable "$folder" "$BAKE"
	[ -z "$root" ] || return 0
	case $facts in
	overlay*upperdir=*)
		# An overlay forgets when the folder that it writes to does.
		upper=${facts#*upperdir=}
		if [ -d "${upper%%,*}" ]; then
			facts=$(mount_of "${upper%%,*}")
		else
			echo "install: note: $folder is written to ${upper%%,*}, which cannot be seen from here: make sure that it survives power-off"
		fi
		;;
	esac
	case ",${facts#* }," in
	*,ro,*) fail "$folder is on a read-only file system: $BAKE; nothing was changed" ;;
	esac
	case $facts in
	tmpfs* | ramfs* | rootfs*) fail "$folder is in memory (${facts%% *}) and is forgotten at power-off, the camera's key too: $BAKE; nothing was changed" ;;
	esac
}

check() {
	[ "$(id -u)" = 0 ] || [ -n "$root" ] || fail "must be root; nothing was changed"
	check_tools
	check_proc
	for file in lenscap lenscap.conf S34lenscap S60lenscap licenses/LICENSE-MIT; do
		[ -f "$here/$file" ] || fail "$here/$file is missing: unpack the whole archive"
		[ -r "$here/$file" ] || fail "user $(id -u) has no right to read $here/$file: run this as root; nothing was changed"
	done
	if [ -z "$root" ]; then
		version=$("$here/lenscap" --version 2>/dev/null) ||
			fail "the program does not run here: is this archive for $(uname -m), and may programs run in $here (noexec)?"
		echo "install: $version"
		type start-stop-daemon >/dev/null 2>&1 ||
			fail "this system has no start-stop-daemon, which the service needs; nothing was changed"
	fi
	check_links
	check_no_folders
	check_accounts
	for folder in "${program%/*}" "${config%/*}" "$state" "${init%/*}" "$licences"; do
		check_folder "$folder"
	done
	needed=$(needed_kib)
	free=$(free_of -k "$(existing "${program%/*}")")
	free=${free:-0}
	echo "install: needs $needed KiB in ${program%/*}, $free KiB are free"
	[ "$free" -ge "$needed" ] || fail "not enough space; nothing was changed"
	free=$(free_of -k "$(existing "${config%/*}")")
	[ "${free:-0}" -ge "$SPARE_KIB" ] || fail "not enough space in ${config%/*}: ${free:-0} KiB; nothing was changed"
	check_files
}

# put SOURCE TARGET MODE: the target is the old file or the whole new one.
put() {
	mkdir -p "${2%/*}"
	# A link of that name would be followed, out of an image too.
	rm -f "$2.new"
	if ! cp "$1" "$2.new" || ! chmod "$3" "$2.new" || ! sync || ! mv -f "$2.new" "$2"; then
		rm -f "$2.new"
		fail "cannot write $2"
	fi
}

# An id that neither passwd nor group has.
free_id() {
	id=$FIRST_ID
	while [ "$id" -le "$LAST_ID" ]; do
		cat "$(account_file passwd)" "$(account_file group)" 2>/dev/null | cut -d: -f3 | grep -qx "$id" || {
			echo "$id"
			return
		}
		id=$((id + 1))
	done
	fail "no free user id from $FIRST_ID to $LAST_ID"
}

# An account file, behind all links: a vendor may keep it on another partition.
account_file() {
	path=$root/etc/$1
	links=8
	while [ -L "$path" ]; do
		[ "$links" -gt 0 ] || fail "/etc/$1 is a link without an end"
		links=$((links - 1))
		link=$(readlink "$path")
		case $link in
		/*) path=$root$link ;;
		*) path=${path%/*}/$link ;;
		esac
	done
	echo "$path"
}

has_line() {
	grep -q '^lenscap:' "$(account_file "$1")" 2>/dev/null
}

# Whether an account file has a line that was made here.
has_ours() {
	grep -qx "$2" "$(account_file "$1")" 2>/dev/null
}

# others FILE [LINE]: all lines but those.
others() {
	grep -v -x "${2:-lenscap:.*}" "$1"
}

# The account file is the old one or the whole new one, and everybody else's lines are in it: a flash that fills up must
# not lock the owner out, and not every BusyBox tool tells that it could not write. As with others, what is not compared can be
# named.
replace_accounts() {
	if [ "$(others "$@")" != "$(others "$1.new" "${2:-}")" ]; then
		rm -f "$1.new"
		fail "cannot write $1"
	fi
	sync
	mv -f "$1.new" "$1" || {
		rm -f "$1.new"
		fail "cannot write $1"
	}
}

# add_line FILE LINE MODE: MODE counts for a new file; an old one keeps its own.
add_line() {
	file=$(account_file "$1")
	rm -f "$file.new"
	if [ -f "$file" ]; then
		cp -p "$file" "$file.new"
	else
		: >"$file"
		chmod "$3" "$file"
		cp -p "$file" "$file.new"
	fi
	# Not `>>`: the last line may lack its newline.
	awk -v line="$2" '{ print } END { print line }' "$file" >"$file.new" || {
		rm -f "$file.new"
		fail "cannot write $file"
	}
	grep -qxF "$2" "$file.new" || {
		rm -f "$file.new"
		fail "cannot write $file"
	}
	replace_accounts "$file"
}

# Whether all account files can be replaced: some firmwares mount their own over them, or link to where nothing is yet.
can_add_user() {
	for name in group passwd shadow; do
		file=$(account_file "$name")
		if [ ! -d "${file%/*}" ]; then
			echo "install: note: /etc/$name leads to ${file#"$root"}, where no folder is; no user is made, the agent runs as nobody"
			return 1
		fi
		if [ -z "$root" ] && cut -d' ' -f2 /proc/mounts 2>/dev/null | grep -qxF "$file"; then
			echo "install: note: the firmware mounts a file over $file; no user is made, the agent runs as nobody"
			return 1
		fi
	done
}

# Not adduser: many cameras lack it, and it differs between those that have it.
make_user() {
	can_add_user || return 0
	id=$(free_id)
	has_line group || add_line group "lenscap:x:$id:" 644
	if ! has_line passwd; then
		group=$(sed -n 's/^lenscap:[^:]*:\([0-9]*\):.*/\1/p' "$(account_file group)")
		add_line passwd "lenscap:x:$id:$group:Lenscap agent:/:/bin/false" 644
	fi
	if [ -f "$(account_file shadow)" ] && has_ours passwd "$OUR_USER" && ! has_line shadow; then
		add_line shadow 'lenscap:*:0:0:99999:7:::' 600
	fi
}

# remove_line FILE LINE: as grep reads it.
remove_line() {
	file=$(account_file "$1")
	rm -f "$file.new"
	cp -p "$file" "$file.new"
	# 1: no line is left.
	others "$file" "$2" >"$file.new" || [ $? -eq 1 ] || {
		rm -f "$file.new"
		fail "cannot write $file"
	}
	replace_accounts "$file" "$2"
}

# The account files that have something of ours, a name and the line in each: the user, its password's line, and the group
# unless others have it as theirs.
our_accounts() {
	if has_ours passwd "$OUR_USER"; then
		echo "passwd $OUR_USER"
		! has_line shadow || echo "shadow lenscap:.*"
	fi
	if has_ours group "$OUR_GROUP"; then
		id=$(sed -n 's/^lenscap:x:\(9[0-9][0-9]\):$/\1/p' "$(account_file group)")
		others "$(account_file passwd)" "$OUR_USER" 2>/dev/null | cut -d: -f4 | grep -qx "$id" || echo "group $OUR_GROUP"
	fi
}

remove_user() {
	ours=$(our_accounts)
	for name in passwd shadow group; do
		line=$(echo "$ours" | sed -n "s/^$name //p")
		[ -z "$line" ] || remove_line "$name" "$line"
	done
	for name in passwd group; do
		! has_line "$name" || echo "install: note: lenscap in $(account_file "$name") is not as it was made here, and stays"
	done
}

# rcS of BusyBox images runs /etc/init.d/S??*; vendors have others.
check_boot() {
	for file in "$root/etc/init.d/rcS" "$root/etc/inittab" "$root/etc/rc.local" "$root/etc/rc"; do
		[ ! -f "$file" ] || ! grep -q 'init\.d/S' "$file" || return 0
	done
	echo "install: found nothing that runs /etc/init.d/S* at boot; add these lines to the script that does, the first before the network: /etc/init.d/S34lenscap start; /etc/init.d/S60lenscap start"
}

# What was closed is closed again at boot by a script that runs in the order of its number.
check_order() {
	for file in "$root"/etc/init.d/S[0-2][0-9]*network* "$root"/etc/init.d/S3[0-3]*network*; do
		[ ! -f "$file" ] || echo "install: note: ${file#"$root"} runs before ${early#"$root"}: at boot the network is up before hardening has looked"
	done
}

install() {
	check
	if [ "$start" = yes ] && [ -x "$init" ] && "$init" stop; then
		stopped=yes
	fi
	make_user
	mkdir -p "$state"
	chmod 700 "$state"
	put "$here/lenscap" "$program" 755
	put "$here/S34lenscap" "$early" 755
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
	check_order
	stopped=no
	if [ "$start" = yes ]; then
		"$init" start
		echo "install: done; now set the endpoint in $config, then: lenscap check && $init reload"
	fi
}

# What hardening closed stays closed, but for what nobody has confirmed yet: without the program nothing would take that
# back. And a firewall that nobody looks after would keep the owner from the video.
open_up() {
	[ -z "$root" ] && [ -d "$state/harden" ] && [ -x "$program" ] || return 0
	"$program" harden --roll-back --now --config "$config" >/dev/null ||
		echo "install: note: what was not confirmed is not all taken back; see above"
	"$program" harden --undo --only firewall --config "$config" >/dev/null 2>&1 ||
		echo "install: note: the firewall could not be taken back; a reboot does, unless the firmware has one of its own"
}

# What is removed must be removable, all of it: half of it gone, with the service stopped, is worse than nothing gone.
check_removal() {
	[ "$(id -u)" = 0 ] || [ -n "$root" ] || fail "must be root; nothing was changed"
	check_tools
	check_proc
	check_links
	check_no_folders
	check_accounts
	set -- "$program" "$init" "$early" "$config.new" "$config.default" "$licences" "$licences/." "$state/."
	[ "$purge" = no ] || set -- "$@" "$config" "$state"
	for name in $(our_accounts | cut -d' ' -f1); do
		set -- "$@" "$(account_file "$name")"
	done
	for place; do
		[ -e "$place" ] || continue
		folder=$(cd "${place%/*}" && pwd -P)
		check_writable "$folder" "$UNBAKE"
	done
}

uninstall() {
	check_removal
	[ -n "$root" ] || [ ! -x "$init" ] || "$init" stop || true
	open_up
	rm -f "$program" "$program.new" "$init" "$init.new" "$early" "$early.new" "$config.new" "$config.default" "$config.default.new"
	rm -rf "$licences"
	rmdir "${licences%/*}" 2>/dev/null || true
	remove_user
	if [ "$purge" = yes ]; then
		rm -f "$config"
		if [ -s "$journal" ] || [ -s "$services" ]; then
			# The only copies of what the vendor's files were, and the password that the camera's own services have.
			for file in "$state"/* "$state"/.[!.]*; do
				[ "$file" = "$state/harden" ] || { [ -s "$services" ] && [ "$file" = "$state/camera-password" ]; } || rm -rf "$file"
			done
		else
			rm -rf "$state"
		fi
	else
		# What the service keeps for itself.
		rm -f "$state/config.good" "$state/config.new" "$state/uplinks.new"
		echo "install: kept $config and $state; --purge removes them"
	fi
	[ ! -s "$journal" ] ||
		echo "install: what hardening closed stays closed, and $state/harden keeps the originals; \`lenscap harden --undo --restore-insecure\` before --uninstall takes it back"
	rmdir "$state" 2>/dev/null || true
	[ -n "$root" ] || rmdir /var/run/lenscap/empty /var/run/lenscap 2>/dev/null || true
	sync
}

"$action"
