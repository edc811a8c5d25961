"""Makes Lenscap's packages: .ipk, .apk (version 3), plain and source tarballs, feed indexes and SBOMs.

Everything here is a function of its inputs: no clock, no user, no umask, no locale gets into a package.
"""
