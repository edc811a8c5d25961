# shellcheck shell=ash disable=SC2013
# In the place of OpenWrt's /lib/functions.sh, as much of it as the scripts of a package call: users, files that run once, and
# init scripts. The package's list of files says which those are.
# Beside it: `root`, and `pkgname`, which apk's scripts set and opkg's have in their own name.

_registry() {
	if [ -e "${IPKG_INSTROOT}/lib/apk/packages/$pkgname.list" ]; then
		echo "${IPKG_INSTROOT}/lib/apk/packages/$pkgname"
	else
		echo "${IPKG_INSTROOT}/usr/lib/opkg/info/$pkgname"
	fi
}

add_group_and_user() {
	local pair user group
	for pair in $(cat "$(_registry).rusers" 2>/dev/null || sed -n 's/^Require-User: //p' "$(_registry).control"); do
		user=${pair%%:*} group=${pair#*:}
		user=${user%=} group=${group%=}
		grep -q "^$group:" "${IPKG_INSTROOT}/etc/group" || echo "$group:x:999:" >>"${IPKG_INSTROOT}/etc/group"
		grep -q "^$user:" "${IPKG_INSTROOT}/etc/passwd" ||
			echo "$user:x:999:999:$user:/var/run/$user:/bin/false" >>"${IPKG_INSTROOT}/etc/passwd"
	done
}

_each_init_script() {
	local one
	for one in $(grep '^/etc/init.d/' "$(_registry).list"); do
		"$@" "$one" || return 1
	done
}

_installed() {
	if [ -n "${IPKG_INSTROOT}" ]; then
		sh "${IPKG_INSTROOT}/etc/rc.common" "${IPKG_INSTROOT}$1" enable
		return
	fi
	[ "$PKG_UPGRADE" = 1 ] || "$1" enable
	"$1" start
}

_leaves() {
	[ -z "${IPKG_INSTROOT}" ] || return 0
	[ "$PKG_UPGRADE" = 1 ] || "$1" disable
	"$1" stop
}

default_postinst() {
	local one
	if [ -z "$pkgname" ]; then
		pkgname=$(basename "${1%.*}")
		add_group_and_user
	fi
	if [ -z "${IPKG_INSTROOT}" ]; then
		for one in $(grep '^/etc/uci-defaults/' "$(_registry).list"); do
			# shellcheck disable=SC1090
			[ ! -f "$one" ] || { (. "$one") && rm -f "$one"; }
		done
	fi
	_each_init_script _installed
}

default_prerm() {
	[ -n "$pkgname" ] || pkgname=$(basename "${1%.*}")
	_each_init_script _leaves
}
