# SPDX-License-Identifier: GPL-2.0
# What the scenario libvirt of scripts/vmm.py has the kernel under test do beside
# vmm-middle.sh: Debian's libvirt, without the other services of a server.

export PATH=$PATH:/usr/bin:/usr/sbin
conf=/root/etc/libvirt
# What installing the packages would have done
printf 'root:x:0:0::/:/bin/sh\nlibvirt-qemu:x:1:1::/:/bin/sh\n' >/root/etc/passwd
printf 'root:x:0:\nlibvirt-qemu:x:1:\nkvm:x:2:\n' >/root/etc/group
rm -rf /root/var/run
ln -s ../run /root/var/run
# libvirt starts each emulator that there is to see what it can do
rm /root/usr/bin/qemu-system-arm*
# The firmware as flash memory of the size that the machine has
cp /root/usr/share/qemu-efi-aarch64/QEMU_EFI.fd /run/code.fd
truncate -s 64M /run/code.fd
# libvirt asks whether this file exists, also where vfio has no groups and it is of no use
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

# start_domain DIR: the domain of DIR/domain.xml, from its definition on
start_domain() {
	truncate -s 64M /run/vars.fd
	cat /run/job.out >$1/job.log &
	virsh define $1/domain.xml && virsh start vsmmus
}

chroot /root libvirtd --daemon >/out/libvirtd.log 2>&1 &&
	timeout 100 sh -c 'until [ -S /run/libvirt/libvirt-sock ]; do sleep 0.1; done' && virsh version
