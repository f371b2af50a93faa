#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Run the arm-smmu-v3 tests on this machine and write a single report.
# Requires a POSIX shell and standard tools, such as those of busybox.

here=$(cd "$(dirname "$0")" && pwd) || exit 1
pci=/sys/bus/pci/devices
debugfs=/sys/kernel/debug
trace=/sys/kernel/tracing/instances/arm_smmu_v3_hw
report=arm_smmu_v3_hw.txt seconds=20
yes='' fixture='' bdfs='' bad='' started='' interrupted='' loaded='' child=''
num=0 passed=0 failed=0 skipped=0

usage() {
	cat <<USAGE
usage: ${0##*/} [--report FILE] [--seconds N] [--fixture NAME] [--yes | BDF...]

Without --yes or a BDF (such as 0000:01:00.0), list the PCI devices and the reasons why some
cannot be used. Otherwise bind the devices to vfio-pci, run KUnit and the selftests, restore
the drivers of the devices, and write a report without serial numbers and addresses. Root
privileges are required.

  --yes           use unused NVMe controllers, at most two behind each SMMU
  --report FILE   where to write the report (default $report)
  --seconds N     how long arm_smmu_v3_stress runs (default $seconds)
  --fixture NAME  run only these tests of arm_smmu_v3, such as share

A device is never used if it has a mounted disk, a network interface that is up, a console
or a display, or if a process has it open. The tests reset the devices. SIGKILL leaves them
bound to vfio-pci. After any other signal or failure the drivers are restored.
USAGE
}

die() { echo "${0##*/}: $*" >&2; exit 1; }
say() { echo "$*"; echo "$*" >>"$work/summary"; }
driver_of() { d=$(readlink "$pci/$1/driver") && echo "${d##*/}"; }
smmu_of() { d=$(readlink "$pci/$1/iommu/device") && echo "${d##*/}"; }

# Print the number or path of each device node in use, and the reason
gather() {
	# Read each mount namespace once. btrfs and bcachefs hide the number of the disk.
	for pid in $(ls -l /proc/[0-9]*/ns/mnt |
		     awk '!seen[$NF]++ { split($(NF - 2), path, "/"); print path[3] }'); do
		awk '{ i = 7; while ($i != "-") i++
		       n = split($3 ":/" $(i + 2), disk, ":/")
		       print $3, "mounted"
		       sub("^/", "", disk[2])
		       for (i = 2; i <= n; i++) print "/" disk[i], "mounted" }' \
			"/proc/$pid/mountinfo"
	done
	for d in /sys/fs/btrfs/*/devices/*; do echo "/dev/${d##*/} mounted"; done
	zpool list -vHPL | awk '{ print $1, "part of a ZFS pool" }'
	awk '{ print $1, "used for swap" }' /proc/swaps
	ls -l /proc/[0-9]*/fd | sed -n 's|.* -> \(/dev/[^ ]*\).*|\1 opened by a process|p'
	sed 's/$/ used by another device/' /sys/block/loop*/loop/backing_file \
		/sys/kernel/config/nvmet/subsystems/*/namespaces/*/device_path \
		/sys/kernel/config/target/core/*/*/udev_path
} 2>/dev/null

# in_use DIRECTORY: print the reason why a PCI function is in use, if it is
in_use() {
	dirs=$1/
	# With multipath, namespaces belong to the subsystem
	for d in "$1"/nvme/nvme*; do
		for d in /sys/class/nvme-subsystem/*/"${d##*/}"; do
			[ ! -e "$d" ] || dirs="$dirs ${d%/*}/"
		done
	done
	d=$(readlink "$1/driver") group=$(readlink "$1/iommu_group")
	find $dirs \( -name uevent -o -name sriov_numvfs -o -path '*/holders/*' -o \
		      -path '*/infiniband/*' -o -path '*/net/*/flags' -o \
		      -path '*/net/*/upper_*' -o -path '*/net/*/master' \) 2>/dev/null |
	while read -r file; do
		case $file in
		*/uevent|*/flags|*/sriov_numvfs) sed "s|^|$file=|" "$file" ;;
		*) echo "$file=" ;;
		esac
	done | awk -F= -v class="$(cat "$1/class")" -v driver="${d##*/}" -v group="${group##*/}" '
		function tell(reason) { if (!told++) print reason }
		FILENAME != "-" {
			node = $0
			sub(/ .*/, "", node)
			why[node] = substr($0, length(node) + 2)
			next
		}
		{ name = $1; sub(/.*\//, "", name) }
		$1 ~ /\/(holders|infiniband)\// { tell(name " uses it") }
		$1 ~ /\/net\// { net = $1; sub(/.*\/net\//, "", net); sub(/\/.*/, "", net) }
		$1 ~ /\/net\/.*\/flags$/ && $2 ~ /[13579bdf]$/ { tell("interface " net " is up") }
		$1 ~ /\/net\/.*\/(upper_.*|master)$/ { tell(net " is part of another interface") }
		name == "sriov_numvfs" && $2 > 0 { tell("has VFs") }
		$2 == "MAJOR" { major = $3 }
		$2 == "MINOR" { minor = $3 }
		$2 != "DEVNAME" { next }
		$3 ~ "^(tty|hvc|fb|dri/|input/|bus/usb/)" { tell("console or display " $3) }
		major ":" minor in why { tell($3 " is " why[major ":" minor]) }
		"/dev/" $3 in why { tell($3 " is " why["/dev/" $3]) }
		END {
			if (class ~ /^0x03/) tell("a display")
			if ("/dev/vfio/" group in why) tell("its group is " why["/dev/vfio/" group])
			if (driver == "" || driver == "vfio-pci") exit
			if (class ~ /^0x02/ && !net) tell("its interface is in another namespace")
			if (class ~ /^0x07/) tell("a serial port or console")
			if (class ~ /^0x0c03/) tell("a USB controller, a console may be behind it")
		}' "$work/busy" -
}

# unfit BDF: print the reason why a device cannot be tested, if there is one
unfit() {
	d=$(readlink "$pci/$1/iommu")
	case $1:${d##*/} in
	*[!0-9a-f:.]*:*) echo "not a BDF such as 0000:01:00.0"; return ;;
	*:smmu3.*) ;;
	*) [ -e "$pci/$1" ] && echo "not behind an SMMUv3" || echo "no such PCI device"; return ;;
	esac
	reason=$(in_use "$pci/$1")
	[ -z "$reason" ] || { echo "in use: $reason"; return; }
	for mate in "$pci/$1"/iommu_group/devices/*; do
		d=$(cat "$mate/class" 2>/dev/null)
		case ${mate##*/}:$d in "$1":*|*:0x06*) continue ;; esac
		reason=$(in_use "$mate" 2>/dev/null)
		echo "shares its group with ${mate##*/}${reason:+, which is in use: $reason}"
		return
	done
}

# List all devices and whether they can be used. $work/chosen is for --yes.
list() {
	for d in "$pci"/*; do
		bdf=${d##*/} class=$(cat "$d/class") smmu=$(smmu_of "${d##*/}")
		case $class in 0x06*) continue ;; esac
		reason=$(unfit "$bdf")
		case $reason:$class:$(grep -c " $smmu\$" "$work/chosen"):$(wc -l <"$work/chosen") in
		:0x0108*:[01]:?|:0x0108*:[01]:1[0-5])
			echo "$bdf $smmu" >>"$work/chosen"
			reason="unused, --yes takes it" ;;
		:0x0108*) reason="unused, --yes has enough others" ;;
		:*) reason="unused, but no NVMe controller: give its BDF to use it" ;;
		*) reason="not used: $reason" ;;
		esac
		driver=$(driver_of "$bdf")
		echo "$bdf class $class driver ${driver:--} smmu ${smmu:--}: $reason"
	done
}

# result ok|"not ok"|skip NAME [REMARK]
result() {
	num=$((num + 1))
	case $1 in
	skip) skipped=$((skipped + 1)); say "ok $num $2 # SKIP $3" ;;
	*) say "$1 $num $2${3:+ # $3}" ;;
	esac
}

# check NAME [PROBLEM]: report a check of this script
check() {
	if [ "$2" ]; then failed=$((failed + 1)); result "not ok" "$@"; return; fi
	passed=$((passed + 1))
	result ok "$1"
}

# program NAME STATUS: count the results in $work/log and append it to the report
program() {
	{ echo; echo "== $1, status $2"; cat "$work/log"; } >>"$work/logs"
	set -- "$1" "$2" $(awk '/^(ok|1\.\.0) .*# *SKIP/ { s++; next }
				/^ok / { p++ }
				/^not ok / { f++ }
				END { print p + 0, f + 0, s + 0 }' "$work/log")
	[ "$2:$3:$4:$5" != 4:0:0:0 ] || { result skip "$1" "$(tail -n 1 "$work/log")"; return; }
	passed=$((passed + $3)) failed=$((failed + $4)) skipped=$((skipped + $5)) good=ok
	grep '^not ok ' "$work/log" | while read -r d; do say "# $1: $d"; done
	case $2:$4:$3$5 in
	# The program crashed or did not start
	[!04]*:0:*|*:0:00) good="not ok" failed=$((failed + 1)) ;;
	*:[!0]*:*) good="not ok" ;;
	esac
	result "$good" "$1" "$3 passed, $4 failed, $5 skipped, status $2"
}

# run PROGRAM ARG...: in the background, as signals are handled after a foreground command
run() {
	name=$1
	shift
	echo "# $name runs"
	ARM_SMMU_V3_HW=$$. "$here/$name" "$@" >"$work/log" 2>&1 </dev/null &
	child=$!
	if [ "$name" = arm_smmu_v3_stress ]; then
		ARM_SMMU_V3_HW=$$. sleep $((seconds / 2 + 1)) &
		wait $!
		ids >"$work/ids"
	fi
	wait "$child"
	set -- $?
	child=''
	program "$name" "$1"
	sed -n 's/.* smmus=\([1-9][0-9]*\) phases=\([0-9]*\) .* nsecs=\([0-9]*\).*/\1 \2 \3/p' \
		"$trace/trace" >>"$work/nsecs" 2>/dev/null && : >"$trace/trace"
}

ids() { grep . /dev/null "$debugfs"/iommu/arm-smmu-v3/* 2>/dev/null | sed 's|^[^:]*/||'; }

# Print the kernel log since the start, or all of it if the start was overwritten
log() {
	dmesg | sed 's/^<[0-9]*>//' | awk -v mark="arm_smmu_v3_hw: start $$" '
		index($0, mark) { n = 0 }
		{ line[n++] = $0 }
		END { for (i = 0; i < n; i++) print line[i] }'
}

load() {
	for d; do
		[ ! -d "/sys/module/$d" ] && modprobe -q "$d" 2>/dev/null && loaded="$d $loaded"
	done
}

kunit() {
	set -- "$debugfs"/kunit/arm-smmu-v3*/run
	if [ -e "$1" ]; then
		for d; do echo 1 >"$d"; done &
		child=$!
		wait "$child"
		child=''
	else
		load arm_smmu_v3_kunit arm_smmu_v3_test
	fi
	kunit_results log || kunit_results dmesg && program kunit 0 && return
	result skip kunit "no suite: load arm_smmu_v3_kunit, or boot with kunit.enable=1 \
kunit.filter_glob=arm-smmu-v3* if the suites are built in"
}

# Extract the results of KUnit from a log. The tests of a suite are indented.
kunit_results() {
	"$1" | sed 's/^<[0-9]*>//; s/^\[[^]]*\]\(\[[^]]*\]\)\{0,1\} //' | awk '
		/^    # Subtest: / { name = $3 }
		/^(not )?ok / { name = "" }
		name !~ /^arm-smmu-v3/ { next }
		sub(/^    ok [0-9]+ /, "") { print "ok", ++n, name, $0 }
		sub(/^    not ok [0-9]+ /, "") { print "not ok", ++n, name, $0 }
		END { exit !n }' >"$work/log"
}

bind() {
	driver=$(driver_of "$1")
	sed 's/^(null)$//' "$pci/$1/driver_override" >"$work/override.$1" || return
	echo "$1 $driver" >>"$work/bound"
	echo vfio-pci >"$pci/$1/driver_override" || return
	[ -z "$driver" ] || echo "$1" >"$pci/$1/driver/unbind" || return
	echo "$1" >/sys/bus/pci/drivers_probe
	[ -d "$pci/$1/vfio-dev" ] && say "# $1 behind $(smmu_of "$1") is bound to vfio-pci"
}

# Restore the drivers of the devices and print the devices that fail
restore() {
	while read -r bdf driver; do
		now=$(driver_of "$bdf")
		cat "$work/override.$bdf" >"$pci/$bdf/driver_override"
		[ "$now" = "$driver" ] || {
			[ -z "$now" ] || echo "$bdf" >"$pci/$bdf/driver/unbind"
			[ -z "$driver" ] || echo "$bdf" >"/sys/bus/pci/drivers/$driver/bind"
		}
		[ "$(driver_of "$bdf")" = "$driver" ] || echo "$bdf"
	done 2>/dev/null <"$work/bound"
}

# Hide serial numbers and replace addresses, pointers and UUIDs by numbers
hide() {
	cat /sys/class/nvme/*/serial /sys/class/dmi/id/*serial /sys/class/dmi/id/product_uuid \
		2>/dev/null | sed 's/ *$//' | grep '[1-9].....' >"$work/secrets"
	awk '
	function number(re, out, token) {
		for (out = ""; match($0, re); $0 = substr($0, RSTART + RLENGTH)) {
			token = substr($0, RSTART, RLENGTH)
			# A long decimal number is a seed
			if (token ~ /^0|[a-fA-F:.-]/ && !(token in seen))
				seen[token] = "(addr" ++count ")"
			out = out substr($0, 1, RSTART - 1) (token in seen ? seen[token] : token)
		}
		$0 = out $0
	}
	BEGIN { h = "[0-9a-fA-F]"; h4 = h h h h; d = "[0-9]+" }
	FILENAME != "-" { secret[$0]; next }
	{
		for (s in secret)
			while ((i = index($0, s)))
				$0 = substr($0, 1, i - 1) "(serial)" substr($0, i + length(s))
		gsub(/features 0x/, "features 0_x")
		number(h4 h4 "-" h4 "-" h4 "-" h4 "-" h4 h4 h4)
		number("0x" h4 h h h "+")
		number(h4 h4 h4 h "*")
		number(h "+:" h "*:" h "*:" h "*:[:0-9a-fA-F]*")
		number(h "+::[:0-9a-fA-F]*")
		number(d "[.]" d "[.]" d "[.]" d)
		gsub(/features 0_x/, "features 0x")
		print
	}' "$work/secrets" -
}

write_report() {
	echo "arm_smmu_v3_hw, $(date -u)${interrupted:+, interrupted by SIG$interrupted}"
	uname -srvm
	cat /sys/class/dmi/id/sys_vendor /sys/class/dmi/id/product_name
	tr '\0' '\n' </sys/firmware/devicetree/base/model
	grep -c ^processor /proc/cpuinfo | sed 's/$/ CPUs/'
	awk '/^KernelPageSize/ { print "pages of", $2, $3; exit }' /proc/self/smaps
	{ zcat /proc/config.gz || cat "/boot/config-$(uname -r)"; } | grep -E \
		'^CONFIG_(.*SMMU.*|KUNIT|PROVE_LOCKING|KASAN|PREEMPT|IOMMU_DEBUGFS)='
	cat "$work/summary"
	printf '\n== devices\n'
	cat "$work/list"
	printf '\n== number of devices behind each SMMU, and its features\n'
	for d in /sys/class/iommu/smmu3.*; do
		echo "$(basename "$(readlink "$d/device")") $(ls "$d/devices" | wc -l)"
	done
	{ dmesg || journalctl -kb; } | grep -E 'arm-smmu-v3.*(features|option|entries|msi|irq)'
	printf '\n== nsecs of the last invalidations\n%s\n' \
		"smmus phases  number        min     median        max"
	sort -n -k 1,1 -k 2,2 -k 3,3 "$work/nsecs" | awk '
		function tell() {
			median = t[int((n + 1) / 2)]
			if (n) printf "%s %7d %10d %10d %10d\n", key, n, t[1], median, t[n]
			n = 0
		}
		{ now = sprintf("%5d %6d", $1, $2) }
		now != key { tell(); key = now }
		{ t[++n] = $3 }
		END { tell() }'
	printf '\n== debugfs files during arm_smmu_v3_stress\n'
	cat "$work/ids"
	printf '\n== debugfs files after arm_smmu_v3_stress\n'
	ids
	printf '\n== kernel log\n'
	log | tail -n 3000
	cat "$work/logs"
} 2>/dev/null

finish() {
	status=$?
	trap '' INT TERM HUP PIPE
	[ "$started" ] || { rm -rf "$work"; exit $status; }
	[ -z "$child" ] || kill "$child" 2>/dev/null
	# Process groups and parents of the tests change, but the environment does not
	for d in $(seq $((10 * slow))); do
		pids=$(grep -ls "ARM_SMMU_V3_HW=$$\." /proc/[0-9]*/environ | cut -d / -f 3)
		[ "$pids" ] || break
		kill -KILL $pids 2>/dev/null
		sleep 1
	done
	wait
	[ ! -d "$trace" ] || rmdir "$trace"
	check "devices are back" "$(restore)"
	for d in $loaded; do modprobe -r "$d" 2>/dev/null; done
	[ -z "$interrupted" ] || check "run to the end" "interrupted by SIG$interrupted"
	say "1..$num"
	say "# $passed passed, $failed failed, $skipped skipped"
	write_report | hide >"$report" && echo "# report: $report"
	rm -rf "$work"
	[ $status != 0 ] || [ $failed = 0 ] || status=1
	exit $status
}

while [ $# -gt 0 ]; do
	case $1:$2 in
	-h:*|--help:*) usage; exit 0 ;;
	--yes:*) yes=1; shift; continue ;;
	--report:?*) report=$2 ;;
	--fixture:?*) fixture="-f $2" ;;
	--seconds:*[!0-9]*|--seconds:|--seconds:0*) die "--seconds '$2': give a number above 0" ;;
	--seconds:*) seconds=$2 ;;
	-*) die "unknown option, or without its value: $1; try --help" ;;
	*) break ;;
	esac
	shift 2
done
slow=${ARM_SMMU_V3_SLOW-1}
case $slow in
''|0*|*[!0-9]*|?????*) die "ARM_SMMU_V3_SLOW '$slow': give a number from 1 to 9999" ;;
esac
[ -z "$yes" ] || [ $# = 0 ] || die "give --yes or BDFs, not both"
[ "$(id -u)" = 0 ] || die "root privileges are required to see which devices are in use"
[ "$(echo /sys/class/iommu/smmu3.*)" != '/sys/class/iommu/smmu3.*' ] ||
	{ echo "${0##*/}: no SMMUv3 here"; exit 4; }

umask 077
work=${TMPDIR:-/tmp}/arm_smmu_v3_hw.$$
mkdir "$work" || exit 1
trap finish EXIT
for d in INT TERM HUP PIPE; do
	trap "interrupted=$d; exit 130" "$d"
done
: >"$work/chosen"
: >"$work/bound"
gather >"$work/busy"
for bdf; do
	case " $bdfs " in *" $bdf "*) reason="given twice" ;; *) reason=$(unfit "$bdf") ;; esac
	bdfs="$bdfs $bdf"
	[ -z "$reason" ] || { bad=1; echo "${0##*/}: $bdf: $reason" >&2; }
done
[ -z "$bad" ] || exit 1
list >"$work/list"
[ "$yes$bdfs" ] || { cat "$work/list"; exit 0; }
[ -z "$yes" ] || bdfs=$(cut -d ' ' -f 1 "$work/chosen")
for d in arm_smmu_v3 arm_smmu_v3_input arm_smmu_v3_stress; do
	[ -x "$here/$d" ] || die "$here/$d is missing: run make there"
done
load iommufd vfio_pci
[ -c /dev/iommu ] && [ -d /sys/bus/pci/drivers/vfio-pci ] ||
	die "the kernel has no /dev/iommu or vfio-pci: CONFIG_IOMMUFD, CONFIG_VFIO_PCI"
: >>"$report" || die "cannot write $report: give --report FILE"

started=1
echo "arm_smmu_v3_hw: start $$" >/dev/kmsg
say "TAP version 13"
for bdf in $bdfs; do
	bind "$bdf" || { check "bind $bdf to vfio-pci" "CONFIG_VFIO_DEVICE_CDEV?"; exit 1; }
done
kunit
{ [ -d "$trace" ] || mkdir "$trace"; } 2>/dev/null && echo 512 >"$trace/buffer_size_kb" &&
	echo 1 >"$trace/events/arm_smmu_v3/arm_smmu_inv/enable" ||
	say "# no latencies: is tracefs mounted on /sys/kernel/tracing?"
if [ "$bdfs" ]; then
	run arm_smmu_v3 $fixture $bdfs
	run arm_smmu_v3_input --count=2000 $bdfs
	run arm_smmu_v3_stress --seconds "$seconds" $bdfs
else
	result skip selftests "no unused NVMe controller behind an SMMUv3"
fi
if [ "$(ids)" ]; then
	check "no leaked ASID or VMID, no trash" "$(ids | grep -E ' (unowned|trash)$' | head -n 1)"
else
	result skip "no leaked ASID or VMID, no trash" "no debugfs, or no CONFIG_IOMMU_DEBUGFS"
fi
warning='WARNING: |BUG|Oops|Internal error|Unable to handle|CMD_SYNC timeout|CMDQ error'
warning="$warning|(EVTQ|PRIQ) overflow|suspicious|possible .*(lock|recursi)|blocked for|stall"
check "kernel log" "$(log | grep -v fake-smmu | grep -E "$warning" | head -n 1)"
