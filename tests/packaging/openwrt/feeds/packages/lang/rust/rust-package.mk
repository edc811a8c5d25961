# RustBinPackage, in the place of the one of OpenWrt's packages feed: both packages here have an installation step of their own.
