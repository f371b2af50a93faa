/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Helpers shared by the arm-smmu-v3 tests: the iommufd calls of a VMM, and DMA
 * of devices bound to vfio-pci.
 */
#ifndef SELFTESTS_IOMMU_ARM_SMMU_V3_UTILS_H
#define SELFTESTS_IOMMU_ARM_SMMU_V3_UTILS_H

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/ioctl.h>
#include <sys/mman.h>

#include <linux/iommufd.h>
#include <linux/limits.h>
#include <linux/sizes.h>
#include <linux/vfio.h>

#include <libvfio.h>

#include "kselftest.h"

#include "arm_smmu_v3_s1.h"
#include "nvme_dma.h"

/* Parse a number given by the user. Signs, as strtoull() accepts, are errors. */
static u64 to_number(const char *name, const char *arg, u64 min, u64 max)
{
	unsigned long long value;
	char *end;

	errno = 0;
	value = strtoull(arg, &end, 0);
	if (errno || !isdigit(*arg) || *end || value < min || value > max)
		ksft_exit_fail_msg("%s %s: not a number from %llu to %llu\n",
				   name, arg, (unsigned long long)min,
				   (unsigned long long)max);
	return value;
}

/*
 * The environment variable ARM_SMMU_V3_SLOW multiplies timeouts. It is for
 * emulated machines on a slow or busy host.
 */
static unsigned int slowness(void)
{
	const char *factor = getenv("ARM_SMMU_V3_SLOW");

	return factor ? to_number("ARM_SMMU_V3_SLOW", factor, 1, 9999) : 1;
}

#ifdef __KSELFTEST_HARNESS_H
/* The harness passes a timeout to poll() as an int of milliseconds */
static void multiply_timeouts(unsigned int factor)
{
	struct __fixture_metadata *f;
	struct __test_metadata *t;

	for (f = __fixture_list; f; f = f->next)
		for (t = f->tests; t; t = t->next)
			t->timeout = min_t(u64, (u64)t->timeout * factor,
					   INT_MAX / 1000);
}
#endif

/* Devices on the command line. Tests of a single device use the first one. */
#define MAX_DEVICES	16

static struct test_device {
	const char *bdf;
	char smmu[NAME_MAX + 1];
	char smmu_dev[NAME_MAX + 1];
	char group[NAME_MAX + 1];
	u32 type;
	u8 max_pasid_log2;
	bool ats;
	struct iommu_hw_info_arm_smmuv3 info;
} devices[MAX_DEVICES];

static int num_devices;

/* Layout of the region mapped by every test */
#define OFF_QUEUES	0x0
#define OFF_CD		0x10000
#define OFF_TABLES	0x20000
#define OFF_TABLES_B	0x30000
#define OFF_PAGE_A	0x100000
#define OFF_PAGE_B	0x110000
#define REGION_SIZE	SZ_2M

#define POISON		0xa5
/* Vendor ID and serial number: constant Identify data, different from POISON */
#define ID_LEN		64
#define OFF_ID		(NVME_DMA_PAGE_SIZE - ID_LEN)

/* Stage-1 input addresses, far from any IPA in use */
#define S1_IOVA		0x4000000000ULL
#define S1_IOVA_2	0x4000001000ULL
#define S1_IOVA_3	0x4000002000ULL
#define S1_UNMAPPED(_n)	(0x4000010000ULL + (_n) * S1_PAGE_SIZE)
#define ASID		5
#define ASID_2		6

#define TLBI_ASID(_op, _asid)	((_op) | (u64)(_asid) << 48)
#define CFGI_SID(_op, _sid)	((_op) | (u64)(_sid) << 32)
#define VSID			0x12345

/* Commands valid for any guest. An SMMU with ATS also accepts CMD_ATC_INV. */
static const u8 guest_ops[] = {
	CMD_CFGI_CD, CMD_CFGI_CD_ALL, CMD_TLBI_NH_ALL, CMD_TLBI_NH_ASID,
	CMD_TLBI_NH_VA, CMD_TLBI_NH_VAA, CMD_TLBI_NSNH_ALL,
};

/*
 * A device under test. All devices of a test share the iommufd, the IOAS, the
 * pages and the window of the first device.
 */
struct smmu_test {
	const struct test_device *test_device;
	struct iommu *iommu;
	struct vfio_pci_device *device;
	struct iova_allocator *iovas;
	struct iommu_hw_info_arm_smmuv3 info;
	struct dma_region region;
	struct nvme_dma nvme;
	u8 id[ID_LEN];
	void *page_a;
	void *page_b;
	u64 ipa_a;
	u64 ipa_b;
	/* One page of IOVA, mapped to either host page */
	struct dma_region window;
	/* Address of the window in the current attachment, 0 if unreachable */
	u64 window_at;
	/* 0 until allocated */
	u32 parent_id;
	u32 viommu_id;
	u32 vdevice_id;
	u32 s1_id;
	int veventq_fd;
	struct s1_table s1;
	__le64 *cd;
};

static int iommufd_cmd(struct smmu_test *t, unsigned long op, void *arg)
{
	return ioctl(t->iommu->iommufd, op, arg) ? -errno : 0;
}

static int hwpt_alloc(struct smmu_test *t, u32 pt_id, u32 flags, __le64 *ste,
		      u32 *hwpt_id)
{
	struct iommu_hwpt_alloc cmd = {
		.size = sizeof(cmd),
		.flags = flags,
		.dev_id = t->device->dev_id,
		.pt_id = pt_id,
	};
	int ret;

	if (ste) {
		cmd.data_type = IOMMU_HWPT_DATA_ARM_SMMUV3;
		cmd.data_len = sizeof(struct iommu_hwpt_arm_smmuv3);
		cmd.data_uptr = (uintptr_t)ste;
	}
	ret = iommufd_cmd(t, IOMMU_HWPT_ALLOC, &cmd);
	if (!ret)
		*hwpt_id = cmd.out_hwpt_id;
	return ret;
}

static int parent_alloc(struct smmu_test *t, u32 *hwpt_id)
{
	return hwpt_alloc(t, t->iommu->ioas_id, IOMMU_HWPT_ALLOC_NEST_PARENT,
			  NULL, hwpt_id);
}

static int nested_alloc(struct smmu_test *t, u64 ste0, u64 ste1, u32 *hwpt_id)
{
	__le64 ste[2] = { __cpu_to_le64(ste0), __cpu_to_le64(ste1) };

	return hwpt_alloc(t, t->viommu_id, 0, ste, hwpt_id);
}

static u64 ste0_s1(struct smmu_test *t)
{
	return STE_0_V | FIELD_PREP(STE_0_CFG, STE_0_CFG_S1) |
	       (t->region.iova + OFF_CD);
}

static u64 ste1_s1(void)
{
	return FIELD_PREP(STE_1_S1CIR, CACHE_WBRA) |
	       FIELD_PREP(STE_1_S1COR, CACHE_WBRA) |
	       FIELD_PREP(STE_1_S1CSH, SH_INNER);
}

static int nested_alloc_s1(struct smmu_test *t, u32 *hwpt_id)
{
	return nested_alloc(t, ste0_s1(t), ste1_s1(), hwpt_id);
}

static int nested_alloc_cfg(struct smmu_test *t, u64 cfg, u32 *hwpt_id)
{
	return nested_alloc(t, STE_0_V | FIELD_PREP(STE_0_CFG, cfg), 0, hwpt_id);
}

static int viommu_alloc(struct smmu_test *t, u32 type, u32 hwpt_id,
			u32 *viommu_id)
{
	struct iommu_viommu_alloc cmd = {
		.size = sizeof(cmd),
		.type = type,
		.dev_id = t->device->dev_id,
		.hwpt_id = hwpt_id,
	};
	int ret = iommufd_cmd(t, IOMMU_VIOMMU_ALLOC, &cmd);

	if (!ret)
		*viommu_id = cmd.out_viommu_id;
	return ret;
}

static int vdevice_alloc(struct smmu_test *t, u64 virt_id, u32 *vdevice_id)
{
	struct iommu_vdevice_alloc cmd = {
		.size = sizeof(cmd),
		.viommu_id = t->viommu_id,
		.dev_id = t->device->dev_id,
		.virt_id = virt_id,
	};
	int ret = iommufd_cmd(t, IOMMU_VDEVICE_ALLOC, &cmd);

	if (!ret)
		*vdevice_id = cmd.out_vdevice_id;
	return ret;
}

static int veventq_alloc(struct smmu_test *t, u32 type, u32 depth,
			 u32 *veventq_id, int *fd)
{
	struct iommu_veventq_alloc cmd = {
		.size = sizeof(cmd),
		.viommu_id = t->viommu_id,
		.type = type,
		.veventq_depth = depth,
	};
	int ret = iommufd_cmd(t, IOMMU_VEVENTQ_ALLOC, &cmd);

	if (!ret) {
		*veventq_id = cmd.out_veventq_id;
		*fd = cmd.out_veventq_fd;
	}
	return ret;
}

static int destroy(struct smmu_test *t, u32 id)
{
	struct iommu_destroy cmd = { .size = sizeof(cmd), .id = id };

	return iommufd_cmd(t, IOMMU_DESTROY, &cmd);
}

static int attach(struct smmu_test *t, u32 pt_id)
{
	struct vfio_device_attach_iommufd_pt cmd = {
		.argsz = sizeof(cmd),
		.pt_id = pt_id,
	};

	return ioctl(t->device->fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &cmd) ?
		-errno : 0;
}

static int detach(struct smmu_test *t)
{
	struct vfio_device_detach_iommufd_pt cmd = { .argsz = sizeof(cmd) };

	return ioctl(t->device->fd, VFIO_DEVICE_DETACH_IOMMUFD_PT, &cmd) ?
		-errno : 0;
}

#define MAP_FLAGS	(IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE | \
			 IOMMU_IOAS_MAP_WRITEABLE)

static int ioas_map(struct smmu_test *t, u32 ioas_id, void *vaddr, u64 iova,
		    u64 len)
{
	struct iommu_ioas_map cmd = {
		.size = sizeof(cmd),
		.flags = MAP_FLAGS,
		.ioas_id = ioas_id,
		.user_va = (uintptr_t)vaddr,
		.iova = iova,
		.length = len,
	};

	return iommufd_cmd(t, IOMMU_IOAS_MAP, &cmd);
}

/* Fail unless exactly @len bytes are unmapped */
static int ioas_unmap(struct smmu_test *t, u32 ioas_id, u64 iova, u64 len)
{
	struct iommu_ioas_unmap cmd = {
		.size = sizeof(cmd),
		.ioas_id = ioas_id,
		.iova = iova,
		.length = len,
	};
	int ret = iommufd_cmd(t, IOMMU_IOAS_UNMAP, &cmd);

	return ret ?: cmd.length == len ? 0 : -EIO;
}

/* Send @num commands and set @num to the number handled by the kernel */
static int invalidate(struct smmu_test *t,
		      struct iommu_viommu_arm_smmuv3_invalidate *cmds, u32 *num)
{
	struct iommu_hwpt_invalidate cmd = {
		.size = sizeof(cmd),
		.hwpt_id = t->viommu_id,
		.data_uptr = (uintptr_t)cmds,
		.data_type = IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3,
		.entry_len = sizeof(*cmds),
		.entry_num = *num,
	};
	int ret = iommufd_cmd(t, IOMMU_HWPT_INVALIDATE, &cmd);

	*num = cmd.entry_num;
	return ret;
}

static int invalidate_one(struct smmu_test *t, u64 cmd0, u64 cmd1)
{
	struct iommu_viommu_arm_smmuv3_invalidate cmd = {
		.cmd = { __cpu_to_le64(cmd0), __cpu_to_le64(cmd1) },
	};
	u32 num = 1;
	int ret = invalidate(t, &cmd, &num);

	/* The count must match the error */
	VFIO_ASSERT_EQ(num, ret ? 0 : 1);
	return ret;
}

/* Map the host page @vaddr at the window */
static void window_map(struct smmu_test *t, void *vaddr)
{
	t->window.vaddr = vaddr;
	iommu_map(t->iommu, &t->window);
}

static void window_unmap(struct smmu_test *t)
{
	iommu_unmap(t->iommu, &t->window);
}

/* The page written by DMA */
enum hit {
	HIT_NONE,
	HIT_A,
	HIT_B,
	/* Both pages, wrong data, or an error reported by the device */
	HIT_TORN,
};

static bool page_untouched(const u8 *page)
{
	int i;

	for (i = 0; i < NVME_DMA_PAGE_SIZE; i++)
		if (page[i] != POISON)
			return false;
	return true;
}

/*
 * Write only ID_LEN bytes, at the end of the page at @iova. QEMU reports a
 * fault for every 4 bytes of a blocked write, and blocked writes of whole pages
 * can fill the event queue faster than the kernel empties it.
 */
static enum hit dma(struct smmu_test *t, u64 iova)
{
	bool a, b;
	int ret;

	memset(t->page_a, POISON, NVME_DMA_PAGE_SIZE);
	memset(t->page_b, POISON, NVME_DMA_PAGE_SIZE);

	ret = nvme_dma_write(&t->nvme, iova + OFF_ID);

	a = !page_untouched(t->page_a);
	b = !page_untouched(t->page_b);

	/*
	 * Ignore the status of the device if nothing was written. Writes are
	 * posted, so a blocked write need not be reported.
	 */
	if (!a && !b)
		return HIT_NONE;
	if (ret || (a && b) ||
	    memcmp((a ? t->page_a : t->page_b) + OFF_ID, t->id, ID_LEN))
		return HIT_TORN;
	return a ? HIT_A : HIT_B;
}

/* The open functions return NULL or the reason to skip the test. */
static const char *open_devices(struct smmu_test *t, unsigned int num)
{
	static char reason[64];
	unsigned int i;

	for (i = 0; i < num; i++) {
		u32 type = t[i].test_device->type;

		if (type == IOMMU_HW_INFO_TYPE_ARM_SMMUV3)
			continue;
		snprintf(reason, sizeof(reason),
			 "the IOMMU is of type %u, not an Arm SMMUv3", type);
		return reason;
	}

	t->iommu = iommu_init(MODE_IOMMUFD);
	for (i = 0; i < num; i++)
		t[i].device = vfio_pci_device_init(t[i].test_device->bdf,
						   t->iommu);
	t->iovas = iova_allocator_init(t->iommu);

	for (i = 0; i < num; i++) {
		struct dma_region *region = &t[i].region;

		/* Some devices treat queue address 0 as invalid */
		region->size = REGION_SIZE;
		do {
			region->iova = iova_allocator_alloc(t->iovas, REGION_SIZE);
		} while (!region->iova);

		region->vaddr = mmap(NULL, REGION_SIZE, PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		VFIO_ASSERT_NE(region->vaddr, MAP_FAILED);
		iommu_map(t->iommu, region);
	}

	t->window.size = getpagesize();
	t->window.iova = iova_allocator_alloc(t->iovas, REGION_SIZE);
	VFIO_ASSERT_LT(t->window.iova, S1_IOVA);

	for (i = 0; i < num; i++) {
		t[i].iommu = t->iommu;
		t[i].info = t[i].test_device->info;
		t[i].page_a = t->region.vaddr + OFF_PAGE_A;
		t[i].page_b = t->region.vaddr + OFF_PAGE_B;
		t[i].ipa_a = t->region.iova + OFF_PAGE_A;
		t[i].ipa_b = t->region.iova + OFF_PAGE_B;
		t[i].window = t->window;
		t[i].window_at = t->window.iova;
	}
	return NULL;
}

static void close_devices(struct smmu_test *t, unsigned int num)
{
	unsigned int i;

	for (i = 0; i < num; i++) {
		if (t[i].nvme.running)
			nvme_dma_stop(&t[i].nvme);
		vfio_pci_device_cleanup(t[i].device);
	}
	iova_allocator_cleanup(t->iovas);
	iommu_cleanup(t->iommu);
}

static const char *open_device(struct smmu_test *t)
{
	t->test_device = &devices[0];
	return open_devices(t, 1);
}

static void close_device(struct smmu_test *t)
{
	close_devices(t, 1);
}

static const char *open_dma(struct smmu_test *t)
{
	const char *reason;
	u16 vendor;

	reason = nvme_dma_init(&t->nvme, t->device,
			       t->region.vaddr + OFF_QUEUES,
			       t->region.iova + OFF_QUEUES, slowness());
	if (reason)
		return reason;

	VFIO_ASSERT_EQ(nvme_dma_write(&t->nvme, t->ipa_a), 0,
		       "DMA through the IOAS failed\n");
	memcpy(t->id, t->page_a, ID_LEN);
	memcpy(&vendor, t->id, sizeof(vendor));
	VFIO_ASSERT_EQ(__le16_to_cpu(vendor),
		       vfio_pci_config_readw(t->device, PCI_VENDOR_ID),
		       "Not the Identify data of this device\n");
	VFIO_ASSERT_EQ(dma(t, t->ipa_a), HIT_A, "DMA to a part of a page failed\n");
	return NULL;
}

static const char *open_parent(struct smmu_test *t)
{
	int ret = parent_alloc(t, &t->parent_id);

	if (ret == -EOPNOTSUPP)
		return "the SMMU cannot nest";
	VFIO_ASSERT_EQ(ret, 0);
	return NULL;
}

/* Allocate a vSMMU, and a nesting parent unless @t has one */
static const char *open_viommu(struct smmu_test *t)
{
	const char *reason;
	int ret;

	if (!t->parent_id) {
		reason = open_parent(t);
		if (reason)
			return reason;
	}

	ret = viommu_alloc(t, IOMMU_VIOMMU_TYPE_ARM_SMMUV3, t->parent_id,
			   &t->viommu_id);
	if (ret == -EOPNOTSUPP && !(t->info.idr[3] & IDR3_FWB))
		return "no vSMMU: no S2FWB, and no CANWBS in the firmware's IORT";
	VFIO_ASSERT_EQ(ret, 0);
	return NULL;
}

static void open_veventq(struct smmu_test *t)
{
	u32 id;

	/* Lose no event: a write may fault once for every 4 bytes */
	VFIO_ASSERT_EQ(veventq_alloc(t, IOMMU_VEVENTQ_TYPE_ARM_SMMUV3, 4096, &id,
				     &t->veventq_fd), 0);
}

/* Stage-1 tables with an identity mapping of the queues and S1_IOVA at page A */
static void fill_s1(struct smmu_test *t, struct s1_table *s1, u32 offset)
{
	u64 queues = t->region.iova + OFF_QUEUES;
	u32 i;

	s1_init(s1, t->region.vaddr + offset, t->region.iova + offset);
	for (i = 0; i < NVME_DMA_QUEUE_SIZE; i += S1_PAGE_SIZE)
		s1_map(s1, queues + i, queues + i, 0);
	s1_map(s1, S1_IOVA, t->ipa_a, 0);
}

static const char *open_s1(struct smmu_test *t, u16 asid)
{
	if (FIELD_GET(IDR0_TTF, t->info.idr[0]) < IDR0_TTF_AARCH64 ||
	    !(t->info.idr[5] & IDR5_GRAN4K))
		return "the SMMU has no AArch64 tables with a 4 KiB granule";
	if (!(t->info.idr[0] & IDR0_COHACC))
		return "the SMMU does not snoop CPU caches, so stage 1 cannot be written here";
	if (FIELD_GET(IDR0_STALL_MODEL, t->info.idr[0]) == IDR0_STALL_MODEL_FORCE)
		return "the SMMU stalls all faults";

	fill_s1(t, &t->s1, OFF_TABLES);
	t->cd = t->region.vaddr + OFF_CD;
	s1_make_cd(t->cd, &t->s1, asid, t->info.idr[5]);
	VFIO_ASSERT_EQ(nested_alloc_s1(t, &t->s1_id), 0);
	return NULL;
}

struct vevent {
	struct iommufd_vevent_header header;
	struct iommu_vevent_arm_smmuv3 arm;
};

static bool wait_vevent(struct smmu_test *t, int timeout_ms)
{
	struct pollfd pfd = { .fd = t->veventq_fd, .events = POLLIN };

	return poll(&pfd, 1, timeout_ms * slowness()) == 1;
}

/* Requirements of a test with several devices */
#define MAX_TEST_DEVICES	4

struct layout {
	const char *what;
	unsigned int num;
	/* Devices with equal numbers are behind the same SMMU */
	u8 smmu[MAX_TEST_DEVICES];
	/* Required IDR0_STAGES of the SMMU; 0: those of the first device */
	u32 stages[MAX_TEST_DEVICES];
	/* The first two devices share a group. All others have separate groups. */
	bool pair;
	/* The first device has an ATS capability. Its SMMU may lack ATS. */
	bool ats;
};

/* Apart from the stages, can the device share all domains of the first one? */
static bool same_features(const struct test_device *td)
{
	const u32 *idr = td->info.idr, *first = devices[0].info.idr;

	return td->type == IOMMU_HW_INFO_TYPE_ARM_SMMUV3 &&
	       !((idr[0] ^ first[0]) & (IDR0_TTF | IDR0_COHACC | IDR0_HTTU)) &&
	       !((idr[3] ^ first[3]) & IDR3_FWB) && idr[5] == first[5];
}

static bool device_fits(struct smmu_test *t, const struct layout *l,
			unsigned int i, const struct test_device *td)
{
	u32 stages = l->stages[i] ?: devices[0].info.idr[0] & IDR0_STAGES;
	unsigned int j;

	if (!same_features(td) || (td->info.idr[0] & IDR0_STAGES) != stages)
		return false;
	if (l->ats && !i && !td->ats)
		return false;

	for (j = 0; j < i; j++) {
		const struct test_device *other = t[j].test_device;
		bool one_smmu = l->smmu[i] == l->smmu[j];
		bool one_group = l->pair && i == 1;

		if (td == other ||
		    !strcmp(td->smmu, other->smmu) != one_smmu ||
		    !strcmp(td->group, other->group) != one_group)
			return false;
	}
	return true;
}

/* Find the @i-th and all following devices of @l */
static bool find_devices(struct smmu_test *t, const struct layout *l,
			 unsigned int i)
{
	int d;

	if (i == l->num)
		return true;
	for (d = 0; d < num_devices; d++) {
		if (!device_fits(t, l, i, &devices[d]))
			continue;
		t[i].test_device = &devices[d];
		if (find_devices(t, l, i + 1))
			return true;
	}
	return false;
}

/* Open the devices of @l and attach them to one IOAS */
static const char *open_layout(struct smmu_test *t, const struct layout *l)
{
	const char *reason;
	unsigned int i;

	if (!find_devices(t, l, 0))
		return l->what;
	reason = open_devices(t, l->num);
	for (i = 0; !reason && i < l->num; i++)
		reason = open_dma(&t[i]);
	return reason;
}

/* Set up a guest of @t with the vSMMU of @sharer, or a new one on @parent_id */
static const char *open_guest(struct smmu_test *t, u32 parent_id,
			      const struct smmu_test *sharer, u32 vsid, u16 asid)
{
	const char *reason = NULL;

	t->parent_id = parent_id;
	if (sharer)
		t->viommu_id = sharer->viommu_id;
	else
		reason = open_viommu(t);
	if (!reason)
		reason = open_s1(t, asid);
	if (reason)
		return reason;

	VFIO_ASSERT_EQ(vdevice_alloc(t, vsid, &t->vdevice_id), 0);
	s1_map(&t->s1, S1_IOVA_2, t->window.iova, 0);
	return NULL;
}

static void sysfs_link(const char *bdf, const char *name, char *target)
{
	char path[PATH_MAX], link[PATH_MAX];
	ssize_t len;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", bdf, name);
	len = readlink(path, link, sizeof(link) - 1);
	if (len < 0)
		ksft_exit_fail_msg("%s: %s\n", path, strerror(errno));
	link[len] = 0;
	snprintf(target, NAME_MAX + 1, "%s", basename(link));
}

static bool has_ats(const char *bdf)
{
	/* Limit the number of steps in case the list is circular */
	int fd, left = PCI_CFG_SPACE_EXP_SIZE / 8, pos = PCI_CFG_SPACE_SIZE;
	char path[PATH_MAX];
	bool found = false;
	__le32 head;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/config", bdf);
	fd = open(path, O_RDONLY);
	VFIO_ASSERT_GE(fd, 0, "%s\n", path);
	while (left-- && pos && pread(fd, &head, 4, pos) == 4) {
		found |= PCI_EXT_CAP_ID(__le32_to_cpu(head)) == PCI_EXT_CAP_ID_ATS;
		pos = PCI_EXT_CAP_NEXT(__le32_to_cpu(head));
	}
	VFIO_ASSERT_EQ(close(fd), 0);
	return found;
}

/* Read the properties by which tests choose devices */
static void probe_device(struct test_device *td)
{
	struct iommu_hw_info cmd = {
		.size = sizeof(cmd),
		.data_uptr = (uintptr_t)&td->info,
		.data_len = sizeof(td->info),
	};
	struct iommu *iommu = iommu_init(MODE_IOMMUFD);
	struct vfio_pci_device *device = vfio_pci_device_alloc(td->bdf, iommu);

	vfio_pci_cdev_open(device, td->bdf);
	VFIO_ASSERT_EQ(__vfio_device_bind_iommufd(device, NULL), 0);
	cmd.dev_id = device->dev_id;
	ioctl_assert(iommu->iommufd, IOMMU_GET_HW_INFO, &cmd);
	td->type = cmd.out_data_type;
	td->max_pasid_log2 = cmd.out_max_pasid_log2;
	td->ats = has_ats(td->bdf);

	VFIO_ASSERT_EQ(close(device->fd), 0);
	vfio_pci_device_free(device);
	iommu_cleanup(iommu);

	sysfs_link(td->bdf, "iommu", td->smmu);
	sysfs_link(td->bdf, "iommu/device", td->smmu_dev);
	sysfs_link(td->bdf, "iommu_group", td->group);
}

static void get_devices(int *argc, char *argv[])
{
	char path[64];
	char **bdfs;
	int i;

	bdfs = vfio_selftests_get_bdfs(argc, argv, &num_devices);
	if (num_devices > MAX_DEVICES)
		ksft_exit_fail_msg("%d devices given, at most %d are supported\n",
				   num_devices, MAX_DEVICES);

	for (i = 0; i < num_devices; i++) {
		snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/vfio-dev",
			 bdfs[i]);
		if (access(path, F_OK))
			ksft_exit_fail_msg("%s: not bound to vfio-pci, use vfio/scripts/setup.sh\n",
					   bdfs[i]);
		devices[i].bdf = bdfs[i];
		probe_device(&devices[i]);
	}
}

/* Maximum size of the debugfs file of an SMMU */
#define DEBUGFS_SIZE	SZ_64K

/* Return NULL, or the reason why the file does not exist */
static const char *read_debugfs_file(const struct test_device *td, char *text)
{
	char path[PATH_MAX];
	size_t len = 0;
	ssize_t ret;
	int fd;

	if (access("/sys/kernel/debug/iommu", F_OK))
		return "no debugfs, or no CONFIG_IOMMU_DEBUGFS in the kernel";
	snprintf(path, sizeof(path), "/sys/kernel/debug/iommu/arm-smmu-v3/%s",
		 td->smmu_dev);
	fd = open(path, O_RDONLY);
	VFIO_ASSERT_GE(fd, 0, "%s\n", path);
	while ((ret = read(fd, text + len, DEBUGFS_SIZE - 1 - len)) > 0)
		len += ret;
	VFIO_ASSERT_EQ(ret, 0);
	VFIO_ASSERT_LT(len, DEBUGFS_SIZE - 1);
	VFIO_ASSERT_EQ(close(fd), 0);
	text[len] = 0;
	return NULL;
}

/* SplitMix64: all bits are equally random */
struct rng {
	u64 state;
};

static u64 rng_next(struct rng *r)
{
	u64 z = r->state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

#endif /* SELFTESTS_IOMMU_ARM_SMMU_V3_UTILS_H */
