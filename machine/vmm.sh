# SPDX-License-Identifier: GPL-2.0
# The first part of a job that assigns the NVMe controllers and test devices to a
# VMM: Debian's arm64 QEMU from the share /debian, below /root. The kernel and
# initrd of its guest are in /share. Sets "$@" to the arguments of the VMM: for each
# physical SMMU a vSMMU on a separate root bus, and the devices behind it.

bdfs="$(devices "" 0x0108) $(devices "" 0x00ff)"
[ "${bdfs% }" ] && bind_vfio $bdfs || exit 1

mkdir -p /run/rw /root
mount -t tmpfs rw /run/rw
mkdir -p /run/rw/up /run/rw/work
mount -t overlay -o lowerdir=/debian,upperdir=/run/rw/up,workdir=/run/rw/work debian /root || exit 1
for dir in dev proc sys out share run; do
	mkdir -p /root/$dir
	mount --rbind /$dir /root/$dir || exit 1
done

set -- -M virt,gic-version=3,its=on,accel=kvm -cpu host -smp 2 -m "$VMM_MEM,slots=1,maxmem=4G" \
	-bios /usr/share/qemu-efi-aarch64/QEMU_EFI.fd -nodefaults -display none \
	-kernel /share/Image -initrd /share/initrd -append "$VMM_APPEND" \
	-device virtio-serial-pci,bus=pcie.0 \
	-chardev pipe,id=job,path=/run/job -device virtconsole,chardev=job \
	-qmp pipe:/run/qmp \
	-object memory-backend-ram,id=pluggable,size=256M \
	-device virtio-mem-pci,id=pluggable-memory,memdev=pluggable,prealloc=on,bus=pcie.0 \
	-device virtio-balloon-pci,bus=pcie.0 \
	-trace 'iommufd_*' -object iommufd,id=iommufd0
for smmu in $(smmus); do
	bus=pcie.$((smmu + 1)) slot=0
	set -- "$@" -device pxb-pcie,id=$bus,bus=pcie.0,bus_nr=$((16 * (smmu + 1))) \
		-device arm-smmuv3,primary-bus=$bus,accel=on
	for bdf in $(devices $smmu 0x0108) $(devices $smmu 0x00ff); do
		port=rp$smmu.$slot
		set -- "$@" -device pcie-root-port,id=$port,bus=$bus,chassis=$((smmu + 1)),slot=$slot \
			-device vfio-pci,host=$bdf,iommufd=iommufd0,bus=$port,id=vfio$smmu.$slot
		slot=$((slot + 1))
	done
done

# Pipes for the guest's console and the VMM's monitor
mkfifo /run/job.in /run/job.out /run/qmp.in /run/qmp.out

# debugfs_files DIR: copy the driver's debugfs file of each SMMU
debugfs_files() {
	local smmu dev
	mkdir -p "$1"
	for smmu in $(smmus); do
		dev=$(readlink -f "/sys/bus/pci/devices/$(devices $smmu | head -n 1)/iommu/device")
		cat "/sys/kernel/debug/iommu/arm-smmu-v3/${dev##*/}" >"$1/$smmu" 2>/dev/null
	done
}
