"""The scripts OpenWrt runs around an installation. They hand over to the device's own `/lib/functions.sh`, which makes
users, runs uci-defaults and enables, starts and stops the init script; in an image builder's root it only enables.
"""


def ipk(package):
    """Script name -> text, for opkg."""
    return {
        "postinst": _text(
            '[ "${IPKG_NO_SCRIPT}" = "1" ] && exit 0',
            *_source_functions(),
            'default_postinst "$0" "$@"',
        ),
        "prerm": _text(*package.before_removal, *_source_functions(), 'default_prerm "$0" "$@"'),
    }


def apk(package):
    """Script name -> text, for apk. An upgrade starts the service as an installation does: procd then finds that the
    program has changed and restarts it."""
    install = (
        '[ "${IPKG_NO_SCRIPT}" = "1" ] && exit 0',
        *_source_functions(),
        'export root="${IPKG_INSTROOT}"',
        f'export pkgname="{package.name}"',
        "add_group_and_user",
        "default_postinst",
    )
    return {
        "post-install": _text(*install),
        "post-upgrade": _text("export PKG_UPGRADE=1", *install),
        "pre-deinstall": _text(
            *package.before_removal,
            *_source_functions(),
            'export root="${IPKG_INSTROOT}"',
            f'export pkgname="{package.name}"',
            "default_prerm",
        ),
    }


def _source_functions():
    return (
        '[ -s "${IPKG_INSTROOT}/lib/functions.sh" ] || exit 0',
        '. "${IPKG_INSTROOT}/lib/functions.sh"',
    )


def _text(*lines):
    return "\n".join(("#!/bin/sh", *lines)) + "\n"
