# SPDX-License-Identifier: GPL-2.0
# The job of the check 'deb', with the kernel of the packages, which are installed in /debian.

release=$(uname -r) num=0
good() { num=$((num + 1)); [ $1 = 0 ] && echo "ok $num $2" || echo "not ok $num $2"; }
tap() {
	case $release in *-smmu-domains) true ;; *) false ;; esac; good $? "the release $release ends in -smmu-domains"
	zcat /proc/config.gz | cmp - /debian/boot/config-$release; good $? "the configuration is that of the package"
	[ -f /debian/lib/modules/$release/modules.dep ]; good $? "/lib/modules is that of the package"
	[ -f /debian/usr/src/linux-headers-$release/Makefile ]; good $? "the headers are there"
	[ "$(smmus | wc -l)" = 2 ]; good $? "two SMMUs have devices"
	echo 1..$num
}
run deb tap
