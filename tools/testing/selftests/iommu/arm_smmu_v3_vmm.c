// SPDX-License-Identifier: GPL-2.0-only
/*
 * Example of a VMM that assigns devices behind Arm SMMUv3s, given as PCI addresses, by
 * iommufd. There is no DMA. See Documentation/userspace-api/iommufd_arm_smmuv3.rst.
 */
#include <endian.h>
#include <fcntl.h>
#include <glob.h>
#include <sys/ioctl.h>
#include <linux/iommufd.h>
#include <linux/vfio.h>
#include "kselftest.h"

/* Fields of STEs and opcodes of commands */
enum { STE_0_ABORT = 1, STE_0_BYPASS = 1 | 4 << 1, STE_0_S1 = 1 | 5 << 1, STE_1_CACHED = 0xd4 };
enum { CFGI_CD_ALL = 0x6, TLBI_NH_ALL = 0x10, CMD_SYNC = 0x46 };
enum { GUEST_RAM = 0x40000000, RAM_SIZE = 0x200000, MAX_DEVICES = 16 };

static struct viommu { __u32 id, parent, bypass; } viommus[MAX_DEVICES];
static struct device { int fd; __u32 id; } devices[MAX_DEVICES];
static __u32 ioas, parents[MAX_DEVICES], created[6 * MAX_DEVICES + 1];
static int iommufd, num_parents, num_viommus, num_created;

/* Return 0 or @expected, which is an error that a VMM has to handle */
static int call(int fd, unsigned long op, void *cmd, const char *what, int expected)
{
	errno = 0;
	if (ioctl(fd, op, cmd) && errno != expected)
		ksft_exit_fail_msg("%s: %s\n", what, strerror(errno));
	return errno;
}

static int attach(struct device *d, __u32 pt_id, int expected)
{
	struct vfio_device_attach_iommufd_pt cmd = { .argsz = sizeof(cmd), .pt_id = pt_id };

	return call(d->fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &cmd, "attach", expected);
}

/* Return a nested HWPT if an STE is given, else a nesting parent, or 0 if unsupported */
static __u32 hwpt_alloc(struct device *d, __u32 pt_id, __u64 ste0, __u64 ste1)
{
	struct iommu_hwpt_arm_smmuv3 ste = { .ste = { htole64(ste0), htole64(ste1) } };
	struct iommu_hwpt_alloc cmd = { .size = sizeof(cmd), .dev_id = d->id, .pt_id = pt_id,
		.flags = ste0 ? 0 : IOMMU_HWPT_ALLOC_NEST_PARENT,
		.data_type = ste0 ? IOMMU_HWPT_DATA_ARM_SMMUV3 : IOMMU_HWPT_DATA_NONE,
		.data_len = ste0 ? sizeof(ste) : 0, .data_uptr = (unsigned long)&ste };

	if (!call(iommufd, IOMMU_HWPT_ALLOC, &cmd, "HWPT", EOPNOTSUPP))
		created[num_created++] = cmd.out_hwpt_id;
	return cmd.out_hwpt_id;
}

/* Attach the device to a compatible parent, or to a new one, and return its ID */
static __u32 join_parent(struct device *d)
{
	for (int i = 0; i < num_parents; i++)
		if (!attach(d, parents[i], EINVAL))
			return parents[i];
	parents[num_parents] = hwpt_alloc(d, ioas, 0, 0);
	attach(d, parents[num_parents] ?: ioas, 0);
	return parents[num_parents] ? parents[num_parents++] : 0;
}

/* The same for a vIOMMU on the parent. The SMMU of the guest is disabled: bypass. */
static struct viommu *join_viommu(struct device *d, __u32 parent)
{
	struct iommu_viommu_alloc cmd = { .size = sizeof(cmd), .dev_id = d->id,
		.type = IOMMU_VIOMMU_TYPE_ARM_SMMUV3, .hwpt_id = parent };
	struct viommu *v;

	for (v = viommus; v < viommus + num_viommus; v++)
		if (v->parent == parent && !attach(d, v->bypass, EINVAL))
			return v;
	if (!parent || call(iommufd, IOMMU_VIOMMU_ALLOC, &cmd, "vIOMMU", EOPNOTSUPP))
		return NULL;
	created[num_created++] = cmd.out_viommu_id;
	viommus[num_viommus++] = (struct viommu){ .id = cmd.out_viommu_id, .parent = parent };
	v->bypass = hwpt_alloc(d, v->id, STE_0_BYPASS, 0);
	attach(d, v->bypass, 0);
	return v;
}

/* The guest enables its SMMU, writes an STE and sends commands, one of them illegal */
static int run_guest(struct device *d, struct viommu *v)
{
	__u64 cmds[][2] = { { htole64(TLBI_NH_ALL) }, { htole64(CFGI_CD_ALL | (__u64)d->id << 32) },
			    { htole64(CMD_SYNC) }, { htole64(TLBI_NH_ALL) } };
	struct iommu_vdevice_alloc vdevice = { .size = sizeof(vdevice), .dev_id = d->id,
		.viommu_id = v->id, .virt_id = d->id };
	struct iommu_hwpt_invalidate batch = { .size = sizeof(batch), .hwpt_id = v->id,
		.data_type = IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3,
		.data_uptr = (unsigned long)cmds, .entry_len = sizeof(*cmds), .entry_num = 4 };

	call(iommufd, IOMMU_VDEVICE_ALLOC, &vdevice, "vDEVICE", 0);
	created[num_created++] = vdevice.out_vdevice_id;
	attach(d, hwpt_alloc(d, v->id, STE_0_ABORT, 0), 0);
	attach(d, hwpt_alloc(d, v->id, STE_0_S1 | GUEST_RAM, STE_1_CACHED), 0);
	call(iommufd, IOMMU_HWPT_INVALIDATE, &batch, "invalidate", EIO);
	return batch.entry_num == 2 ? KSFT_PASS : KSFT_FAIL;
}

int main(int argc, char *argv[])
{
	struct vfio_device_detach_iommufd_pt detach = { .argsz = sizeof(detach) };
	struct iommu_destroy destroy = { .size = sizeof(destroy) };
	struct iommu_ioas_alloc alloc = { .size = sizeof(alloc) };
	struct iommu_ioas_map map = { .size = sizeof(map), .length = RAM_SIZE, .iova = GUEST_RAM,
		.user_va = (unsigned long)aligned_alloc(RAM_SIZE, RAM_SIZE),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE |
			 IOMMU_IOAS_MAP_WRITEABLE };
	struct device *d;

	iommufd = open("/dev/iommu", O_RDWR);
	if (iommufd < 0 || argc < 2 || argc > MAX_DEVICES + 1)
		ksft_exit_skip("needs /dev/iommu and 1 to %d PCI addresses\n", MAX_DEVICES);
	ksft_print_header();
	ksft_set_plan(argc - 1);
	call(iommufd, IOMMU_IOAS_ALLOC, &alloc, "IOAS", 0);
	created[num_created++] = alloc.out_ioas_id;
	ioas = alloc.out_ioas_id;
	map.ioas_id = ioas;
	call(iommufd, IOMMU_IOAS_MAP, &map, "guest RAM", 0);
	for (d = devices; *++argv; d++) {
		struct vfio_device_bind_iommufd cmd = { .argsz = sizeof(cmd), .iommufd = iommufd };
		struct viommu *v;
		char path[80];
		glob_t g;

		snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/vfio-dev/vfio*", *argv);
		glob(path, GLOB_NOCHECK, NULL, &g);
		snprintf(path, sizeof(path), "/dev/vfio/devices/%s", strrchr(*g.gl_pathv, '/') + 1);
		d->fd = open(path, O_RDWR);
		if (d->fd < 0)
			ksft_exit_fail_msg("%s: not bound to vfio-pci, or in use\n", *argv);
		call(d->fd, VFIO_DEVICE_BIND_IOMMUFD, &cmd, path, 0);
		d->id = cmd.out_devid;
		v = join_viommu(d, join_parent(d));
		ksft_test_result_report(v ? run_guest(d, v) : KSFT_SKIP, "%s: %s\n", *argv,
					v ? "nested" : "its SMMU cannot nest");
	}
	ksft_print_msg("nesting parents: %d, vIOMMUs: %d\n", num_parents, num_viommus);
	while (d-- > devices)
		call(d->fd, VFIO_DEVICE_DETACH_IOMMUFD_PT, &detach, "detach", 0);
	while (num_created) {
		destroy.id = created[--num_created];
		call(iommufd, IOMMU_DESTROY, &destroy, "destroy", 0);
	}
	ksft_finished();
}
