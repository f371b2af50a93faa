# SPDX-License-Identifier: GPL-2.0
# The job of the check 'hardware': invalid arguments of arm_smmu_v3_hw.sh, which must be
# rejected by one line without changes, then Ctrl-C, then a complete run. A mounted disk is
# simulated by its number in PID 1's mountinfo, since this kernel has no disk file system.

hw=arm_smmu_v3_hw.sh
cd /tmp
state() { for d in /sys/bus/pci/devices/*; do echo $d $(readlink $d/driver) $(cat $d/driver_override); done; ls /tmp /sys/kernel/tracing/instances; }
good() { num=$((num + 1)); [ $1 = 0 ] && echo "ok $num $2" || echo "not ok $num $2"; }
refuses() {
	text=$1
	shift
	said=$($hw "$@" 2>&1) && said="no error: $said"
	[ "$(state)" = "$before" ] && [ "$(echo "$said" | wc -l)" = 1 ] && case $said in "$hw: "*"$text") ;; *) false ;; esac
	good $? "refuses $*: $said"
}
bad_input() {
	set -- $(awk '$5 ~ /^0x0108/ { n[$3]++; b[$3] = b[$3] " " $1 } END { for (g in n) if (n[g] > 1) print b[g] }' /run/devices) $(devices 1 0x0108)
	refuses "no such PCI device" 0000:fe:00.0
	refuses "not a BDF such as 0000:01:00.0" ../..
	refuses "not both" --yes $3
	ARM_SMMU_V3_SLOW=0; refuses "give a number from 1 to 9999" --yes; ARM_SMMU_V3_SLOW=$SLOW
	refuses "not behind an SMMUv3" 0000:00:01.0
	refuses "shares its group with $2" $1
	disk=$(basename $(ls -d /sys/bus/pci/devices/$2/nvme/nvme*/nvme*n1))
	sleep 100000 </dev/$disk & pid=$!
	refuses "shares its group with $2, which is in use: $disk is opened by a process" $1
	refuses "in use: $disk is opened by a process" $2
	kill $pid; wait $pid
	sed "1s/ [0-9]*:[0-9]* / $(cat /sys/block/$disk/dev) /" /proc/1/mountinfo >/run/mountinfo
	mount --bind /run/mountinfo /proc/1/mountinfo
	refuses "in use: $disk is mounted" $2
	umount /proc/1/mountinfo
}
interrupt() {
	(until grep -q "arm_smmu_v3 runs" /run/said 2>/dev/null; do sleep 1; done; sleep 2; kill -INT $(cat /run/pid)) &
	sh -c 'echo $$ >/run/pid; exec "$0" "$@"' /tests/$hw --report /out/interrupted.txt --fixture share --yes >/run/said
	good $(($? != 130)) "the status after SIGINT is 130"
	grep -q "interrupted by SIGINT" /out/interrupted.txt; good $? "it has left a report"
	[ "$(state)" = "$before" ]; good $? "the devices are back"
}
report() {
	[ "$(state)" = "$before" ]; good $? "the devices are back"
	for s in "features 0x" "== kernel log" " *1 *1  *[0-9]+  *[0-9]" " *2 *1  *[0-9]+  *[0-9]" "arm-smmu-v3.1.auto:asid"; do
		grep -qE "$s" /out/hw.txt; good $? "the report has $s"
	done
	! grep -E "smmu[0-9]-nvme|0x[0-9a-f]{9}|[ x][0f][0-9a-f]{15}" /out/hw.txt; good $? "and no serial number or address"
}
tap() { num=0; "$@"; echo 1..$num; }
before=$(state)
run bad_input tap bad_input
run interrupt tap interrupt
run all $hw --report /out/hw.txt --seconds 8 --fixture share --yes
run report tap report
