#!/bin/sh
# Runs Python with what the packager needs (requirements.txt), in a venv of the project's own.
#
# usage: packaging/python.sh ARGUMENTS...
# LENSCAP_TOOLS: where the venv is kept (default: the user's cache folder).
set -eu

here=$(cd "$(dirname "$0")" && pwd)
LENSCAP_TOOLS=${LENSCAP_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/lenscap-toolchain}
sum=$(sha256sum <"$here/requirements.txt" | cut -c1-12)
venv=$LENSCAP_TOOLS/packaging-$sum

if [ ! -f "$venv/complete" ]; then
	base=python3
	[ ! -x /usr/bin/python3 ] || base=/usr/bin/python3
	rm -rf "$venv"
	"$base" -m venv "$venv" || {
		echo "packaging: python3 with venv is needed: apt-get install python3-venv" >&2
		exit 1
	}
	"$venv/bin/python" -m pip install -q --disable-pip-version-check -r "$here/requirements.txt" >&2 || {
		echo "packaging: cannot install $here/requirements.txt in $venv; is this machine offline?" >&2
		exit 1
	}
	: >"$venv/complete"
fi
PYTHONDONTWRITEBYTECODE=1
PYTHONPATH=$here${PYTHONPATH:+:$PYTHONPATH}
export PYTHONDONTWRITEBYTECODE PYTHONPATH
exec "$venv/bin/python" "$@"
