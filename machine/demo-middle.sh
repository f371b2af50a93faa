# SPDX-License-Identifier: GPL-2.0
# The job of the kernel under test, after vmm.sh: a VMM whose guest runs
# demo-guest.sh. Its output is in /out/guest.

mkdir -p /out/guest
echo "1..2"

if [ -c /dev/kvm ]; then echo "ok 1 KVM is there"; else echo "not ok 1 KVM is there"; fi
echo "# vfio-pci has $(echo $bdfs)"

set -- "$@" -no-reboot -serial file:/out/guest/console.log -D /out/guest/vmm.trace
echo "$@" >/out/guest/vmm.sh

# Allows requests for memory by the guest
cat /run/qmp.out >/out/guest/qmp.log &
qmp() { echo "{\"execute\": \"$1\", \"arguments\": {$2}}" >/run/qmp.in; }
qmp qmp_capabilities &

# Allocate the host pages that the VMM has just freed, from the free lists of all
# CPUs, so that the VMM gets other pages. Both must use the same lists: with
# prealloc=on above, the VMM's memory is movable like this. Without it, iommufd
# allocates unmovable memory.
keep() {
	local cpu
	for cpu in $(seq 0 $(($(nproc) - 1))); do
		taskset -c $cpu fallocate -l $(($1 * 2)) $(mktemp /run/kept/XXXXXX)
	done
}
mkdir -p /run/kept
mount -t tmpfs -o huge=always kept /run/kept

while IFS= read -r line; do
	echo "$line"
	case $line in
	"##checkpoint") [ -e /out/debugfs ] || debugfs_files /out/debugfs ;;
	"##memory "*)
		size=${line#* }
		[ $size = 0 ] || keep $size
		qmp qom-set '"path": "pluggable-memory", "property": "requested-size", "value": '$size ;;
	esac
done </run/job.out >/out/guest/job.log &
reader=$!
(while :; do
	until [ -e /out/go ]; do sleep 0.1; done
	rm /out/go
	echo go >/run/job.in
done) &
waiter=$!

chroot /root qemu-system-aarch64 --version | sed -n 's/^/##vmm /p;q'
echo "##start"
timeout -s KILL $((VMM_TIMEOUT * SLOW)) chroot /root qemu-system-aarch64 "$@" >/out/guest/vmm.log 2>&1
status=$?
kill $waiter 2>/dev/null
if [ $status = 0 ]; then
	wait $reader
	echo "ok 2 the VMM ran to the guest's power-off"
else
	kill $reader 2>/dev/null
	sed 's/^/# vmm: /' /out/guest/vmm.log
	echo
	echo "not ok 2 the VMM ran to the guest's power-off (status $status; its timeout of $((VMM_TIMEOUT * SLOW)) s gives 137)"
fi
