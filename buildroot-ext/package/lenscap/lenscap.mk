################################################################################
#
# lenscap
#
################################################################################

LENSCAP_VERSION = 0.1.0
# "make packages" in Lenscap's tree puts the tarball there, crates included
LENSCAP_SOURCE = lenscap-$(LENSCAP_VERSION).tar.xz
LENSCAP_SITE = $(BR2_EXTERNAL_LENSCAP_PATH)/dl
LENSCAP_SITE_METHOD = file
LENSCAP_LICENSE = MIT or Apache-2.0
LENSCAP_LICENSE_FILES = LICENSE-MIT LICENSE-APACHE
LENSCAP_SUBDIR = agent
HOST_LENSCAP_SUBDIR = agent

ifeq ($(BR2_PACKAGE_LENSCAP_CHECK_IMAGE),y)
LENSCAP_DEPENDENCIES += host-lenscap
endif

ifeq ($(BR2_PACKAGE_LENSCAP_ROOTS_ALL),y)
LENSCAP_ROOTS = all
else ifeq ($(BR2_PACKAGE_LENSCAP_ROOTS_NONE),y)
LENSCAP_ROOTS = none
else
LENSCAP_ROOTS = common
endif

# Camera flash is small. Buildroot's own settings come before these.
LENSCAP_CARGO_ENV = \
	LENSCAP_ROOTS="$(LENSCAP_ROOTS)" \
	CARGO_PROFILE_RELEASE_OPT_LEVEL="z" \
	CARGO_PROFILE_RELEASE_LTO="fat" \
	CARGO_PROFILE_RELEASE_CODEGEN_UNITS="1"

LENSCAP_CARGO_BUILD_OPTS = \
	--bin lenscap \
	--no-default-features \
	--features $(if $(BR2_PACKAGE_LENSCAP_FULL),full,firewall)

LENSCAP_CARGO_PROFILE = $(if $(BR2_ENABLE_DEBUG),debug,release)

define LENSCAP_INSTALL_TARGET_CMDS
	$(INSTALL) -D -m 0755 \
		$(@D)/target/$(RUSTC_TARGET_NAME)/$(LENSCAP_CARGO_PROFILE)/lenscap \
		$(TARGET_DIR)/usr/sbin/lenscap
	$(INSTALL) -D -m 0600 $(@D)/packaging/config/lenscap \
		$(TARGET_DIR)/etc/config/lenscap
	$(INSTALL) -d -m 0700 $(TARGET_DIR)/etc/lenscap
endef

define LENSCAP_INSTALL_INIT_SYSV
	$(INSTALL) -D -m 0755 $(LENSCAP_PKGDIR)/S34lenscap \
		$(TARGET_DIR)/etc/init.d/S34lenscap
	$(INSTALL) -D -m 0755 $(LENSCAP_PKGDIR)/S60lenscap \
		$(TARGET_DIR)/etc/init.d/S60lenscap
endef

define LENSCAP_INSTALL_INIT_SYSTEMD
	$(INSTALL) -D -m 0644 $(LENSCAP_PKGDIR)/lenscap.service \
		$(TARGET_DIR)/usr/lib/systemd/system/lenscap.service
	$(INSTALL) -D -m 0644 $(LENSCAP_PKGDIR)/lenscap-harden.service \
		$(TARGET_DIR)/usr/lib/systemd/system/lenscap-harden.service
endef

define LENSCAP_USERS
	lenscap -1 lenscap -1 * - - - Lenscap agent
endef

define LENSCAP_PERMISSIONS
	/etc/config/lenscap f 600 0 0 - - - - -
	/etc/lenscap d 700 0 0 - - - - -
endef

define LENSCAP_LINUX_CONFIG_FIXUPS
	$(call KCONFIG_ENABLE_OPT,CONFIG_INET)
	$(call KCONFIG_ENABLE_OPT,CONFIG_UNIX)
	$(call KCONFIG_ENABLE_OPT,CONFIG_EPOLL)
	$(call KCONFIG_ENABLE_OPT,CONFIG_EVENTFD)
	$(call KCONFIG_ENABLE_OPT,CONFIG_SIGNALFD)
	$(call KCONFIG_ENABLE_OPT,CONFIG_INOTIFY_USER)
	$(call KCONFIG_ENABLE_OPT,CONFIG_SECCOMP)
	$(call KCONFIG_ENABLE_OPT,CONFIG_SECCOMP_FILTER)
	$(call KCONFIG_ENABLE_OPT,CONFIG_NETFILTER)
	$(call KCONFIG_ENABLE_OPT,CONFIG_NF_CONNTRACK)
	$(call KCONFIG_ENABLE_OPT,CONFIG_NF_TABLES)
	$(call KCONFIG_ENABLE_OPT,CONFIG_NF_TABLES_INET)
	$(call KCONFIG_ENABLE_OPT,CONFIG_NFT_COUNTER)
	$(call KCONFIG_ENABLE_OPT,CONFIG_NFT_CT)
	$(call KCONFIG_ENABLE_OPT,CONFIG_NFT_LIMIT)
	$(call KCONFIG_ENABLE_OPT,CONFIG_NFT_LOG)
	$(call KCONFIG_ENABLE_OPT,CONFIG_NFT_REJECT)
	$(call KCONFIG_ENABLE_OPT,CONFIG_NETDEVICES)
	$(call KCONFIG_ENABLE_OPT,CONFIG_TUN)
endef

$(eval $(cargo-package))
$(eval $(host-cargo-package))
