# SPDX-License-Identifier: GPL-2.0
# The job of the kernel under test: give the NVMe controllers to a VMM, Debian's
# own arm64 QEMU from the share /debian, whose guest runs demo-guest.sh. The
# guest's kernel and initrd are on /share; what it says goes to /out/guest.

bdfs=$(devices "" 0x0108)
mkdir -p /out/guest
echo "1..3"

if [ -c /dev/kvm ]; then echo "ok 1 KVM is there"; else echo "not ok 1 KVM is there"; fi

if [ "$bdfs" ] && bind_vfio $bdfs; then
	echo "ok 2 vfio-pci has $(echo $bdfs)"
else
	echo "not ok 2 vfio-pci has $(echo $bdfs)"
	exit 1
fi

mkdir -p /run/rw /root
mount -t tmpfs rw /run/rw
mkdir -p /run/rw/up /run/rw/work
mount -t overlay -o lowerdir=/debian,upperdir=/run/rw/up,workdir=/run/rw/work debian /root || exit 1
for dir in dev proc sys out share run; do
	mkdir -p /root/$dir
	mount --rbind /$dir /root/$dir || exit 1
done

# One vSMMU on a root bus of its own per physical SMMU, its devices behind it.
set -- -M virt,gic-version=3,its=on,accel=kvm -cpu host -smp 2 -m "$VMM_MEM,maxmem=4G" \
	-bios /usr/share/qemu-efi-aarch64/QEMU_EFI.fd -nodefaults -display none -no-reboot \
	-kernel /share/Image -initrd /share/initrd -append "$VMM_APPEND" \
	-serial file:/out/guest/console.log -device virtio-serial-pci,bus=pcie.0 \
	-chardev pipe,id=job,path=/run/job -device virtconsole,chardev=job \
	-qmp pipe:/run/qmp \
	-object memory-backend-ram,id=pluggable,size=256M \
	-device virtio-mem-pci,id=pluggable-memory,memdev=pluggable,prealloc=on,bus=pcie.0 \
	-trace 'iommufd_*' -D /out/guest/vmm.trace -object iommufd,id=iommufd0
for smmu in $(smmus); do
	bus=pcie.$((smmu + 1)) slot=0
	set -- "$@" -device pxb-pcie,id=$bus,bus=pcie.0,bus_nr=$((16 * (smmu + 1))) \
		-device arm-smmuv3,primary-bus=$bus,accel=on
	for bdf in $(devices $smmu 0x0108); do
		port=rp$smmu.$slot
		set -- "$@" -device pcie-root-port,id=$port,bus=$bus,chassis=$((smmu + 1)),slot=$slot \
			-device vfio-pci,host=$bdf,iommufd=iommufd0,bus=$port
		slot=$((slot + 1))
	done
done
echo "$@" >/out/guest/vmm.sh

# The guest's console is a pair of pipes, so that /out/go can let it continue,
# and that the guest can ask for memory.
mkfifo /run/job.in /run/job.out /run/qmp.in /run/qmp.out
cat /run/qmp.out >/out/guest/qmp.log &
qmp() { echo "{\"execute\": \"$1\", \"arguments\": {$2}}" >/run/qmp.in; }
qmp qmp_capabilities &

# Take the host pages that the VMM gave back last, of the free list of whichever
# CPU, so that it gets others. It must take both from the same lists: with
# prealloc=on above its memory is movable like ours, without iommufd's is not.
keep() {
	local cpu
	for cpu in $(seq 0 $(($(nproc) - 1))); do
		taskset -c $cpu fallocate -l $(($1 * 2)) $(mktemp /run/kept/XXXXXX)
	done
}
mkdir -p /run/kept
mount -t tmpfs -o huge=always kept /run/kept

# What the driver itself says of its tags and arrays, while the guest waits
look() {
	local smmu dev
	[ ! -e /out/debugfs ] || return
	mkdir /out/debugfs
	for smmu in $(smmus); do
		dev=$(readlink -f "/sys/bus/pci/devices/$(devices $smmu 0x0108 | head -n 1)/iommu/device")
		cat "/sys/kernel/debug/iommu/arm-smmu-v3/${dev##*/}" >/out/debugfs/$smmu 2>/dev/null
	done
}

while IFS= read -r line; do
	echo "$line"
	case $line in
	"##checkpoint") look ;;
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
timeout -s KILL "$VMM_TIMEOUT" chroot /root qemu-system-aarch64 "$@" >/out/guest/vmm.log 2>&1
status=$?
kill $waiter 2>/dev/null
if [ $status = 0 ]; then
	wait $reader
	echo "ok 3 the VMM ran to the guest's power-off"
else
	kill $reader 2>/dev/null
	sed 's/^/# vmm: /' /out/guest/vmm.log
	echo
	echo "not ok 3 the VMM ran to the guest's power-off (status $status; its timeout of $VMM_TIMEOUT s gives 137)"
fi
