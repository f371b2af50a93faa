# SPDX-License-Identifier: GPL-2.0
# The job of the guest of vmm.py: run each input line and print its status. $NONCE
# is new in each run.

# disks [SMMU]: the block devices of the controllers behind an SMMU, or all
disks() {
	local bdf disk
	for bdf in $(devices "$1" 0x0108); do
		until disk=$(ls -d /sys/bus/pci/devices/$bdf/nvme/nvme*/nvme*n1 2>/dev/null); do sleep 0.1; done
		disk=/dev/${disk##*/}
		until [ -b $disk ]; do sleep 0.1; done
		echo $disk
	done
}

# start_dma [SMMU]: start DMA of these disks in the background. stop_dma prints
# "##dma 0 NUMBER WRONG".
start_dma() {
	: >/tmp/dma
	demo-dma 0 $NONCE $(disks "$1") >>/tmp/dma 2>&1 &
	dma=$!
	timeout $((60 * SLOW)) sh -c 'until grep -q "^# started" /tmp/dma; do sleep 0.1; done'
}

stop_dma() {
	kill $dma
	wait $dma
	cat /tmp/dma
}

# domain_type BDF TYPE: set the domain type of a function without a driver
domain_type() { echo $2 >/sys/bus/pci/devices/$1/iommu_group/type; }

# attach_again BDF: make the guest write and invalidate the STE of a function
# without a driver, then bind its driver
attach_again() {
	domain_type $1 identity && domain_type $1 DMA && echo $1 >/sys/bus/pci/drivers_probe
}

unbind() { echo $1 >/sys/bus/pci/devices/$1/driver/unbind; }

echo "##ready"
while read -r line; do
	eval "$line"
	echo "##did $?"
done
