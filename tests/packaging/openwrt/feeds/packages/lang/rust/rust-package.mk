# In the place of the one of OpenWrt's packages feed: all packages here have an installation step of their own.
