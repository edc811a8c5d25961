# In the place of OpenWrt's own: as much of its make files as the feed uses.
INSTALL_DIR:=install -d -m0755
INSTALL_BIN:=install -m0755
INSTALL_CONF:=install -m0600
INSTALL_DATA:=install -m0644
TAR:=tar
INCLUDE_DIR:=$(TOPDIR)
RUST_ARCH_DEPENDS:=@RUST
PKG_BUILD_DIR=$(STAGE)/build
PKG_INSTALL_DIR=$(STAGE)/built
