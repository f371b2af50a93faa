# SPDX-License-Identifier: GPL-2.0
# Start Debian's libvirt without other services, for the scenario libvirt of
# scripts/vmm.py. Used together with vmm-middle.sh.

export PATH=$PATH:/usr/bin:/usr/sbin
conf=/root/etc/libvirt
# Created when packages are installed
printf 'root:x:0:0::/:/bin/sh\nlibvirt-qemu:x:1:1::/:/bin/sh\n' >/root/etc/passwd
printf 'root:x:0:\nlibvirt-qemu:x:1:\nkvm:x:2:\n' >/root/etc/group
rm -rf /root/var/run
ln -s ../run /root/var/run
# libvirt starts all emulators to find their capabilities
rm /root/usr/bin/qemu-system-arm*
# The firmware as flash memory of the required size
cp /root/usr/share/qemu-efi-aarch64/QEMU_EFI.fd /run/code.fd
truncate -s 64M /run/code.fd
# libvirt requires this file, although it is not used without vfio groups
[ -e /dev/vfio/vfio ] || { mkdir -p /dev/vfio && mknod /dev/vfio/vfio c 10 196; }
cat >$conf/libvirtd.conf <<-END
	unix_sock_group = "root"
	auth_unix_ro = "none"
	auth_unix_rw = "none"
END
cat >$conf/qemu.conf <<-END
	user = "root"
	group = "root"
	security_driver = "none"
	seccomp_sandbox = 0
	namespaces = []
	cgroup_controllers = []
	stdio_handler = "file"
	remember_owner = 0
END

virsh() { chroot /root virsh -q -c qemu:///system "$@"; }

# start_domain DIR: define and start the domain of DIR/domain.xml
start_domain() {
	truncate -s 64M /run/vars.fd
	cat /run/job.out >$1/job.log &
	virsh define $1/domain.xml && virsh start vsmmus
}

chroot /root libvirtd --daemon >/out/libvirtd.log 2>&1 &&
	timeout $((100 * SLOW)) sh -c 'until [ -S /run/libvirt/libvirt-sock ]; do sleep 0.1; done' && virsh version
