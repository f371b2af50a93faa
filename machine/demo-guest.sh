# SPDX-License-Identifier: GPL-2.0
# The job of the guest: write a pattern to each assigned disk and read it with
# direct I/O, so that all data is DMA through stage 1 and stage 2. Then do rounds
# of DMA to hot-plugged memory (demo-dma.c), first through stage 1, then with
# stage 1 bypassed: $ROUNDS is "DMA=NUMBER identity=NUMBER". Each 64-byte line of
# the pattern has the $NONCE of the run, the disk and the position.

disks=$(ls /sys/class/nvme 2>/dev/null)
echo "1..$((3 * $(echo $disks | wc -w)))"
[ "$disks" ] || exit 1
number=0
result() {
	number=$((number + 1))
	if [ "$1" = 0 ]; then echo "ok $number $2"; else echo "not ok $number $2"; fi
}

for nvme in $disks; do
	serial=$(tr -d ' ' </sys/class/nvme/$nvme/serial)
	bdf=$(basename "$(readlink -f /sys/class/nvme/$nvme/device)")
	type=$(cat /sys/bus/pci/devices/$bdf/iommu_group/type 2>/dev/null)
	[ "$type" = DMA ]
	result $? "$serial is $bdf, translated by its vSMMU (domain type '$type')"
	awk -v nonce="$NONCE" -v serial="$serial" -v lines="$LINES_PER_DISK" 'BEGIN {
		for (i = 0; i < lines; i++) printf "%-32s %-20s %9d\n", nonce, serial, i
	}' >/tmp/$serial
	dd if=/tmp/$serial of=/dev/${nvme}n1 bs=4k oflag=direct conv=fsync 2>/tmp/err
	result $? "$serial: $((LINES_PER_DISK / 16)) KiB written"
done

echo "##checkpoint"
read -r -t $((60 * SLOW)) go || echo "##problem no answer at the checkpoint"

for nvme in $disks; do
	serial=$(tr -d ' ' </sys/class/nvme/$nvme/serial)
	dd if=/dev/${nvme}n1 of=/tmp/back bs=4k count=$((LINES_PER_DISK / 64)) iflag=direct 2>/tmp/err &&
		cmp /tmp/$serial /tmp/back
	result $? "$serial: read back, the same"
done

# Linux unmaps and invalidates stage 1 after each DMA, including the stage-2
# translations cached for that IOVA. Translations depend on invalidations of the
# host only if stage 1 is bypassed.
for rounds in $ROUNDS; do
	type=${rounds%=*} blocks=
	for nvme in $(ls /sys/class/nvme); do
		device=$(readlink -f /sys/class/nvme/$nvme/device)
		if [ $type != DMA ]; then
			bdf=$(basename $device)
			echo $bdf >/sys/bus/pci/drivers/nvme/unbind
			echo $type >$device/iommu_group/type
			echo $bdf >/sys/bus/pci/drivers/nvme/bind
		fi
		[ "$(cat $device/iommu_group/type)" = $type ] ||
			echo "##problem $bdf has not got a domain of type $type"
	done
	for nvme in $(ls /sys/class/nvme); do
		until [ -b /dev/${nvme}n1 ]; do sleep 0.1; done
		serial=$(tr -d ' ' </sys/class/nvme/$nvme/serial)
		ln -sf ${nvme}n1 /dev/$serial
		blocks="$blocks /dev/$serial"
	done
	run "domain type $type" demo-dma ${rounds#*=} $NONCE $blocks
done
