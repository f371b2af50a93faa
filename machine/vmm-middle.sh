# SPDX-License-Identifier: GPL-2.0
# The job of the kernel under test, after vmm.sh: run shell scripts that
# scripts/vmm.py writes to /out/do, until one of them exits. The output of a script
# is in /out/said and its status in /out/status.

# start_vmm DIR ARG...: a VMM whose guest has not started yet
start_vmm() {
	local dir=$1
	shift
	mkdir $dir
	cat /run/job.out >$dir/job.log &
	cat /run/qmp.out >$dir/qmp.log &
	chroot /root qemu-system-aarch64 "$@" -S -serial file:$dir/console.log -D $dir/vmm.trace >$dir/vmm.log 2>&1 &
	vmm=$!
	# With a timeout, as a VMM that has failed does not read it
	timeout $((100 * SLOW)) sh -c 'echo "{\"execute\": \"qmp_capabilities\"}" >/run/qmp.in'
}

# back_to_nvme NONCE: bind the controllers to the nvme driver and check DMA
back_to_nvme() {
	local bdf disk
	for bdf in $(devices "" 0x0108); do
		echo >/sys/bus/pci/devices/$bdf/driver_override
		echo $bdf >/sys/bus/pci/drivers/vfio-pci/unbind
		echo $bdf >/sys/bus/pci/drivers_probe
		disk=$(basename /sys/bus/pci/devices/$bdf/nvme/nvme*)n1
		timeout $((20 * SLOW)) sh -c "until [ -b /dev/$disk ]; do sleep 0.1; done" || return 1
		yes "$1 $bdf" | head -c 65536 >/tmp/wrote
		dd if=/tmp/wrote of=/dev/$disk bs=4k oflag=direct conv=fsync 2>/dev/null &&
			dd if=/dev/$disk of=/tmp/read bs=4k count=16 iflag=direct 2>/dev/null &&
			cmp /tmp/wrote /tmp/read || return 1
	done
}

echo "##serving"
while :; do
	until [ -e /out/do ]; do sleep 0.05; done
	mv /out/do /out/doing
	. /out/doing >/out/said 2>&1
	echo $? >/out/status.new
	mv /out/status.new /out/status
done
