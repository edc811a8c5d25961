# `make stage-NAME`: what would be in the package NAME, in STAGE: the tree in root/, scripts and facts in control/, two
# folders that are there.

define BuildPackage
stage-$(1):
	$(call Package/$(1)/install,$(STAGE)/root)
	$$(file >$(STAGE)/control/conffiles,$$(Package/$(1)/conffiles))
	$$(file >$(STAGE)/control/postinst,$$(Package/$(1)/postinst))
	$$(file >$(STAGE)/control/prerm,$$(Package/$(1)/prerm))
	$$(eval $$(Package/$(1)))
	$$(file >$(STAGE)/control/facts,$$(PKG_NAME)|$$(PKG_VERSION)-r$$(PKG_RELEASE)|$$(PKG_LICENSE)|$$(USERID)|$$(DEPENDS)|$$(LENSCAP_ROOTS))
endef

# `make prepare`: what would be built, in PKG_BUILD_DIR.
prepare:
	$(call Build/Prepare)
