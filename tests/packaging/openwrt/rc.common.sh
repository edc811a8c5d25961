# shellcheck shell=ash disable=SC1090
# In the place of OpenWrt's /etc/rc.common: runs one action of an init script that procd looks after, and notes in /calls what
# procd would be told.

initscript=$1
action=$2
shift 2
name=${initscript##*/}
top=${IPKG_INSTROOT:-}

note() {
	echo "$*" >>"$top/calls"
}

procd_open_instance() { note "$name: instance"; }
procd_set_param() { note "$name: $*"; }
procd_close_instance() { :; }
procd_running() { [ -e "/var/run/$1.running" ]; }
procd_send_signal() { note "$1: signal $3"; }
start() {
	start_service "$@"
	: >"/var/run/$name.running"
}
stop() {
	note "$name: stop"
	rm -f "/var/run/$name.running"
}
boot() { start "$@"; }
reload() { reload_service "$@"; }
enable() {
	note "$name: enable"
	mkdir -p "$top/etc/rc.d"
	ln -sf "../init.d/$name" "$top/etc/rc.d/S$START$name"
	ln -sf "../init.d/$name" "$top/etc/rc.d/K$STOP$name"
}
disable() {
	note "$name: disable"
	rm -f "$top"/etc/rc.d/[SK]??"$name"
}
enabled() { [ -e "$top/etc/rc.d/S$START$name" ]; }

. "$initscript"
"$action" "$@"
