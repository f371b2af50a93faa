// SPDX-License-Identifier: GPL-2.0-only
/*
 * Test nested translation of the arm-smmu-v3 driver as a VMM uses it. This
 * program is the guest too: it writes stage-1 tables, stream table entries and
 * commands, and checks where the DMA of a device bound to vfio-pci goes.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/ioctl.h>
#include <sys/mman.h>

#include <linux/align.h>
#include <linux/iommufd.h>
#include <linux/sizes.h>
#include <linux/vfio.h>

#include <libvfio.h>

#include "kselftest_harness.h"

#include "arm_smmu_v3_s1.h"
#include "nvme_dma.h"

static const char *device_bdf;

/*
 * An IOMMU may drop a cached translation at any time. Only one that is known to
 * keep it, like QEMU's, can be expected to use it.
 */
static bool expect_stale;

/* Layout of the region that every test maps */
#define OFF_QUEUES	0x0
#define OFF_CD		0x10000
#define OFF_TABLES	0x20000
#define OFF_TABLES_B	0x30000
#define OFF_PAGE_A	0x100000
#define OFF_PAGE_B	0x110000
#define REGION_SIZE	SZ_2M

#define POISON		0xa5
/* Vendor ID and serial number: the same in each Identify, and not poison */
#define ID_LEN		64

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

struct smmu_test {
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
	/* Maps one host page, not always the same */
	struct dma_region window;
	u32 parent_id;
	u32 viommu_id;
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

/* Send @num commands and set @num to how many the kernel has handled */
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

	/* The count agrees with the error */
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

/* The page that DMA has written */
enum hit {
	HIT_NONE,
	HIT_A,
	HIT_B,
	/* Both pages, other data, or a write that the device reports as failed */
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

static enum hit dma(struct smmu_test *t, u64 iova)
{
	bool a, b;
	int ret;

	memset(t->page_a, POISON, NVME_DMA_PAGE_SIZE);
	memset(t->page_b, POISON, NVME_DMA_PAGE_SIZE);

	ret = nvme_dma_write(&t->nvme, iova);

	a = !page_untouched(t->page_a);
	b = !page_untouched(t->page_b);

	/*
	 * Ignore the device's opinion if nothing was written: writes are posted,
	 * so it need not learn that the IOMMU has stopped one.
	 */
	if (!a && !b)
		return HIT_NONE;
	if (ret || (a && b) ||
	    memcmp(a ? t->page_a : t->page_b, t->id, ID_LEN))
		return HIT_TORN;
	return a ? HIT_A : HIT_B;
}

/* The open functions return NULL, or the reason to skip the test. */
static const char *open_device(struct smmu_test *t)
{
	struct iommu_hw_info cmd = { .size = sizeof(cmd) };
	static char reason[64];

	t->iommu = iommu_init(MODE_IOMMUFD);
	t->device = vfio_pci_device_init(device_bdf, t->iommu);

	cmd.dev_id = t->device->dev_id;
	cmd.data_uptr = (uintptr_t)&t->info;
	cmd.data_len = sizeof(t->info);
	VFIO_ASSERT_EQ(iommufd_cmd(t, IOMMU_GET_HW_INFO, &cmd), 0);
	if (cmd.out_data_type != IOMMU_HW_INFO_TYPE_ARM_SMMUV3) {
		snprintf(reason, sizeof(reason),
			 "the IOMMU is of type %u, not an Arm SMMUv3",
			 cmd.out_data_type);
		return reason;
	}

	/* A device may take address 0 for no queue */
	t->iovas = iova_allocator_init(t->iommu);
	t->region.size = REGION_SIZE;
	do {
		t->region.iova = iova_allocator_alloc(t->iovas, REGION_SIZE);
	} while (!t->region.iova);
	t->window.size = getpagesize();
	t->window.iova = iova_allocator_alloc(t->iovas, REGION_SIZE);
	VFIO_ASSERT_LT(t->window.iova, S1_IOVA);

	t->region.vaddr = mmap(NULL, REGION_SIZE, PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	VFIO_ASSERT_NE(t->region.vaddr, MAP_FAILED);
	iommu_map(t->iommu, &t->region);

	t->page_a = t->region.vaddr + OFF_PAGE_A;
	t->page_b = t->region.vaddr + OFF_PAGE_B;
	t->ipa_a = t->region.iova + OFF_PAGE_A;
	t->ipa_b = t->region.iova + OFF_PAGE_B;
	return NULL;
}

static void close_device(struct smmu_test *t)
{
	if (t->nvme.running)
		nvme_dma_stop(&t->nvme);
	iova_allocator_cleanup(t->iovas);
	vfio_pci_device_cleanup(t->device);
	iommu_cleanup(t->iommu);
}

static const char *open_dma(struct smmu_test *t)
{
	const char *reason;
	u16 vendor;

	reason = nvme_dma_init(&t->nvme, t->device,
			       t->region.vaddr + OFF_QUEUES,
			       t->region.iova + OFF_QUEUES);
	if (reason)
		return reason;

	VFIO_ASSERT_EQ(nvme_dma_write(&t->nvme, t->ipa_a), 0,
		       "DMA through the IOAS failed\n");
	memcpy(t->id, t->page_a, ID_LEN);
	memcpy(&vendor, t->id, sizeof(vendor));
	VFIO_ASSERT_EQ(__le16_to_cpu(vendor),
		       vfio_pci_config_readw(t->device, PCI_VENDOR_ID),
		       "Not the Identify data of this device\n");
	return NULL;
}

static const char *open_viommu(struct smmu_test *t)
{
	int ret;

	ret = parent_alloc(t, &t->parent_id);
	if (ret == -EOPNOTSUPP)
		return "the SMMU cannot nest";
	VFIO_ASSERT_EQ(ret, 0);

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

	/* A write to one page may fault for each 4 bytes of it */
	VFIO_ASSERT_EQ(veventq_alloc(t, IOMMU_VEVENTQ_TYPE_ARM_SMMUV3, 4096, &id,
				     &t->veventq_fd), 0);
}

/* A stage 1 with the queues at their IPA, and S1_IOVA at page A */
static void fill_s1(struct smmu_test *t, struct s1_table *s1, u32 offset)
{
	u64 queues = t->region.iova + OFF_QUEUES;
	u32 i;

	s1_init(s1, t->region.vaddr + offset, t->region.iova + offset);
	for (i = 0; i < NVME_DMA_QUEUE_SIZE; i += S1_PAGE_SIZE)
		s1_map(s1, queues + i, queues + i, 0);
	s1_map(s1, S1_IOVA, t->ipa_a, 0);
}

static const char *open_s1(struct smmu_test *t)
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
	s1_make_cd(t->cd, &t->s1, ASID, t->info.idr[5]);
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

	return poll(&pfd, 1, timeout_ms) == 1;
}

/* A device, whatever its SMMU supports */
FIXTURE(smmu)
{
	struct smmu_test t;
};

FIXTURE_SETUP(smmu)
{
	const char *reason = open_device(&self->t);

	if (reason)
		SKIP(return, "%s", reason);
}

FIXTURE_TEARDOWN(smmu)
{
	close_device(&self->t);
}

TEST_F(smmu, hw_info)
{
	struct smmu_test *t = &self->t;
	u8 buf[sizeof(t->info) + 8];
	struct iommu_hw_info cmd = {
		.size = sizeof(cmd),
		.dev_id = t->device->dev_id,
		.data_uptr = (uintptr_t)buf,
		.data_len = sizeof(buf),
	};
	u32 idr0 = t->info.idr[0];
	u64 tail = -1;
	u32 hwpt_id;

	ASSERT_NE(0, idr0 & (IDR0_S1P | IDR0_S2P));
	ASSERT_NE(0, FIELD_GET(IDR0_TTF, idr0) & IDR0_TTF_AARCH64);
	ASSERT_EQ(0, t->info.__reserved);

	/* The kernel clears what follows its own structure */
	memset(buf, 0xff, sizeof(buf));
	ASSERT_EQ(0, iommufd_cmd(t, IOMMU_GET_HW_INFO, &cmd));
	ASSERT_EQ(sizeof(t->info), cmd.data_len);
	ASSERT_EQ(0, memcmp(buf, &t->info, sizeof(t->info)));
	memcpy(&tail, buf + sizeof(t->info), sizeof(tail));
	ASSERT_EQ(0, tail);

	/* It writes no more than the caller has room for */
	memset(buf, 0xff, sizeof(buf));
	cmd.data_len = offsetof(struct iommu_hw_info_arm_smmuv3, iidr);
	ASSERT_EQ(0, iommufd_cmd(t, IOMMU_GET_HW_INFO, &cmd));
	ASSERT_EQ(sizeof(t->info), cmd.data_len);
	ASSERT_EQ(0, memcmp(buf, &t->info,
			    offsetof(struct iommu_hw_info_arm_smmuv3, iidr)));
	ASSERT_EQ(0xff, buf[offsetof(struct iommu_hw_info_arm_smmuv3, iidr)]);

	cmd.flags = IOMMU_HW_INFO_FLAG_INPUT_TYPE;
	cmd.data_len = sizeof(buf);
	cmd.in_data_type = IOMMU_HW_INFO_TYPE_ARM_SMMUV3;
	ASSERT_EQ(0, iommufd_cmd(t, IOMMU_GET_HW_INFO, &cmd));
	ASSERT_EQ(0, memcmp(buf, &t->info, sizeof(t->info)));

	cmd.in_data_type = IOMMU_HW_INFO_TYPE_INTEL_VTD;
	ASSERT_EQ(-EOPNOTSUPP, iommufd_cmd(t, IOMMU_GET_HW_INFO, &cmd));

	/* Nesting takes both stages */
	if (!parent_alloc(t, &hwpt_id))
		ASSERT_EQ(IDR0_S1P | IDR0_S2P, idr0 & (IDR0_S1P | IDR0_S2P));
}

static void check_window(struct __test_metadata *_metadata, struct smmu_test *t)
{
	ASSERT_EQ(HIT_NONE, dma(t, t->window.iova));

	window_map(t, t->page_a);
	ASSERT_EQ(HIT_A, dma(t, t->window.iova));
	ASSERT_EQ(HIT_B, dma(t, t->ipa_b));

	window_unmap(t);
	ASSERT_EQ(HIT_NONE, dma(t, t->window.iova));

	window_map(t, t->page_b);
	ASSERT_EQ(HIT_B, dma(t, t->window.iova));

	/* Page B must leave the TLB even if no DMA sees the window unmapped */
	window_unmap(t);
	window_map(t, t->page_a);
	ASSERT_EQ(HIT_A, dma(t, t->window.iova));
	window_unmap(t);
}

TEST_F_TIMEOUT(smmu, ioas, 60)
{
	const char *reason = open_dma(&self->t);

	if (reason)
		SKIP(return, "%s", reason);
	check_window(_metadata, &self->t);
}

/* Stage 2 alone */
TEST_F_TIMEOUT(smmu, nest_parent, 60)
{
	struct smmu_test *t = &self->t;
	const char *reason = open_dma(t);
	u32 hwpt_id;
	int ret;

	if (reason)
		SKIP(return, "%s", reason);
	ret = parent_alloc(t, &hwpt_id);
	if (ret == -EOPNOTSUPP)
		SKIP(return, "the SMMU cannot nest");
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, attach(t, hwpt_id));
	check_window(_metadata, t);
	ASSERT_EQ(-EBUSY, destroy(t, hwpt_id));
	ASSERT_EQ(0, attach(t, t->iommu->ioas_id));
	ASSERT_EQ(0, destroy(t, hwpt_id));
	ASSERT_EQ(HIT_A, dma(t, t->ipa_a));
}

/* A vSMMU, and the device attached to the IOAS */
FIXTURE(viommu)
{
	struct smmu_test t;
};

FIXTURE_SETUP(viommu)
{
	const char *reason = open_device(&self->t);

	if (!reason)
		reason = open_viommu(&self->t);
	if (reason)
		SKIP(return, "%s", reason);
}

FIXTURE_TEARDOWN(viommu)
{
	close_device(&self->t);
}

TEST_F(viommu, objects)
{
	struct smmu_test *t = &self->t;
	u32 plain_id, viommu_id, vdevice_id, bypass_id, id;

	ASSERT_EQ(0, hwpt_alloc(t, t->iommu->ioas_id, 0, NULL, &plain_id));
	ASSERT_EQ(-EINVAL, viommu_alloc(t, IOMMU_VIOMMU_TYPE_ARM_SMMUV3,
					plain_id, &id));
	ASSERT_EQ(-EOPNOTSUPP, viommu_alloc(t, IOMMU_VIOMMU_TYPE_DEFAULT,
					    t->parent_id, &id));
	ASSERT_EQ(-EOPNOTSUPP, viommu_alloc(t, -1, t->parent_id, &id));

	ASSERT_EQ(0, viommu_alloc(t, IOMMU_VIOMMU_TYPE_ARM_SMMUV3, t->parent_id,
				  &viommu_id));
	ASSERT_EQ(0, destroy(t, viommu_id));

	/* A device has one vDEVICE, whatever its virt_id */
	ASSERT_EQ(0, vdevice_alloc(t, 1, &vdevice_id));
	ASSERT_EQ(-EEXIST, vdevice_alloc(t, 1, &id));
	ASSERT_EQ(-EEXIST, vdevice_alloc(t, 2, &id));
	ASSERT_EQ(0, destroy(t, vdevice_id));
	ASSERT_EQ(0, vdevice_alloc(t, 2, &vdevice_id));

	/* An object in use cannot be destroyed */
	ASSERT_EQ(0, nested_alloc_cfg(t, STE_0_CFG_BYPASS, &bypass_id));
	ASSERT_EQ(-EBUSY, destroy(t, t->parent_id));
	ASSERT_EQ(-EBUSY, destroy(t, t->viommu_id));
	ASSERT_EQ(0, destroy(t, bypass_id));
	ASSERT_EQ(-EBUSY, destroy(t, t->viommu_id));
	ASSERT_EQ(0, destroy(t, vdevice_id));
	ASSERT_EQ(-EBUSY, destroy(t, t->parent_id));
	ASSERT_EQ(0, destroy(t, t->viommu_id));
	ASSERT_EQ(0, destroy(t, t->parent_id));
}

TEST_F(viommu, vste)
{
	struct smmu_test *t = &self->t;
	u64 s1 = ste0_s1(t);
	u32 id;
	int i;

	ASSERT_EQ(0, nested_alloc_cfg(t, STE_0_CFG_ABORT, &id));
	ASSERT_EQ(0, nested_alloc_cfg(t, STE_0_CFG_BYPASS, &id));
	ASSERT_EQ(0, nested_alloc_s1(t, &id));

	/* V=0: the rest is ignored */
	ASSERT_EQ(0, nested_alloc(t, 0, 0, &id));
	ASSERT_EQ(0, nested_alloc(t, ~STE_0_V, -1, &id));

	/* The guest must not configure stage 2 */
	for (i = 1; i < 8; i++) {
		if (i == STE_0_CFG_BYPASS || i == STE_0_CFG_S1)
			continue;
		ASSERT_EQ(-EIO, nested_alloc_cfg(t, i, &id))
			TH_LOG("Cfg %d", i);
	}

	/* A reserved bit, a field the guest must not set, ATS with stage 1 only */
	ASSERT_EQ(-EIO, nested_alloc(t, s1 | BIT_ULL(52), ste1_s1(), &id));
	ASSERT_EQ(-EIO, nested_alloc(t, s1, ste1_s1() | STE_1_MEV, &id));
	ASSERT_EQ(-EIO, nested_alloc(t, s1, ste1_s1() |
				     FIELD_PREP(STE_1_EATS, STE_1_EATS_S1CHK),
				     &id));
	ASSERT_EQ(-EOPNOTSUPP, hwpt_alloc(t, t->viommu_id,
					  IOMMU_HWPT_ALLOC_NEST_PARENT,
					  (__le64[2]) { }, &id));
}

TEST_F(viommu, veventq)
{
	struct smmu_test *t = &self->t;
	struct vevent event;
	u32 veventq_id, id;
	int veventq_fd, fd;

	ASSERT_EQ(-EINVAL, veventq_alloc(t, IOMMU_VEVENTQ_TYPE_ARM_SMMUV3, 0,
					 &id, &fd));
	ASSERT_EQ(-EOPNOTSUPP, veventq_alloc(t, IOMMU_VEVENTQ_TYPE_DEFAULT, 1,
					     &id, &fd));
	ASSERT_EQ(0, veventq_alloc(t, IOMMU_VEVENTQ_TYPE_ARM_SMMUV3, 1,
				   &veventq_id, &veventq_fd));
	ASSERT_EQ(-EEXIST, veventq_alloc(t, IOMMU_VEVENTQ_TYPE_ARM_SMMUV3, 1,
					 &id, &fd));
	ASSERT_EQ(-EBUSY, destroy(t, t->viommu_id));
	ASSERT_EQ(0, read(veventq_fd, &event, sizeof(event)));

	/* The open file holds a reference */
	ASSERT_EQ(-EBUSY, destroy(t, veventq_id));
	ASSERT_EQ(0, close(veventq_fd));
	ASSERT_EQ(0, destroy(t, veventq_id));
	ASSERT_EQ(0, destroy(t, t->viommu_id));
}

TEST_F(viommu, invalidate_errors)
{
	static const u64 illegal[][2] = {
		{ 0, 0 },
		{ CMD_SYNC, 0 },
		{ CMD_TLBI_EL2_ALL, 0 },
		{ CMD_TLBI_S12_VMALL, 0 },
		{ CMD_TLBI_NH_ALL | BIT_ULL(11), 0 },
		{ CMD_TLBI_NH_ALL, CMD_1_LEAF },
		{ CMD_TLBI_NH_VA | BIT_ULL(8), 0 },
		{ CMD_CFGI_CD, BIT_ULL(1) },
		{ CMD_CFGI_CD_ALL, CMD_1_LEAF },
	};
	struct smmu_test *t = &self->t;
	struct iommu_hwpt_invalidate cmd = {
		.size = sizeof(cmd),
		.hwpt_id = t->viommu_id,
		.data_uptr = (uintptr_t)illegal,
		.data_type = IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3,
		.entry_len = sizeof(illegal[0]),
	};
	u32 vdevice_id;
	int i;

	ASSERT_EQ(0, vdevice_alloc(t, 0, &vdevice_id));
	for (i = 0; i < ARRAY_SIZE(illegal); i++) {
		ASSERT_EQ(-EIO, invalidate_one(t, illegal[i][0], illegal[i][1]))
			TH_LOG("command %d", i);
	}

	cmd.entry_num = 1;
	cmd.data_type = IOMMU_HWPT_INVALIDATE_DATA_VTD_S1;
	ASSERT_EQ(-EINVAL, iommufd_cmd(t, IOMMU_HWPT_INVALIDATE, &cmd));

	/* Only the device's vSID is accepted */
	ASSERT_EQ(0, invalidate_one(t, CMD_CFGI_CD_ALL, 0));
	ASSERT_EQ(-EIO, invalidate_one(t, CMD_CFGI_CD_ALL |
				       FIELD_PREP(CMD_0_SID, 1), 0));
	ASSERT_EQ(0, destroy(t, vdevice_id));
	ASSERT_EQ(-EIO, invalidate_one(t, CMD_CFGI_CD_ALL, 0));
}

/*
 * Before the guest enables its SMMU the device has no vSID. Bypass and abort do
 * not need one. Stage 1 does: its attach fails and changes nothing.
 */
TEST_F_TIMEOUT(viommu, no_vdevice, 120)
{
	struct smmu_test *t = &self->t;
	u32 bypass_id, abort_id, invalid_id;
	const char *reason = open_dma(t);

	if (!reason)
		reason = open_s1(t);
	if (reason)
		SKIP(return, "%s", reason);

	open_veventq(t);
	ASSERT_EQ(0, nested_alloc_cfg(t, STE_0_CFG_BYPASS, &bypass_id));
	ASSERT_EQ(0, nested_alloc_cfg(t, STE_0_CFG_ABORT, &abort_id));
	ASSERT_EQ(0, nested_alloc(t, 0, 0, &invalid_id));

	/* Fail from the IOAS, stage 2, each vSTE, and detached */
	ASSERT_EQ(-ENOENT, attach(t, t->s1_id));
	ASSERT_EQ(HIT_A, dma(t, t->ipa_a));
	ASSERT_EQ(HIT_NONE, dma(t, S1_IOVA));

	ASSERT_EQ(0, attach(t, t->parent_id));
	ASSERT_EQ(-ENOENT, attach(t, t->s1_id));
	ASSERT_EQ(HIT_A, dma(t, t->ipa_a));
	ASSERT_EQ(HIT_NONE, dma(t, S1_IOVA));

	ASSERT_EQ(0, attach(t, bypass_id));
	ASSERT_EQ(HIT_A, dma(t, t->ipa_a));
	ASSERT_EQ(-ENOENT, attach(t, t->s1_id));
	ASSERT_EQ(HIT_A, dma(t, t->ipa_a));
	ASSERT_EQ(HIT_NONE, dma(t, S1_IOVA));

	ASSERT_EQ(0, attach(t, abort_id));
	ASSERT_EQ(HIT_NONE, dma(t, t->ipa_a));
	ASSERT_EQ(-ENOENT, attach(t, t->s1_id));
	ASSERT_EQ(HIT_NONE, dma(t, t->ipa_a));
	ASSERT_EQ(HIT_NONE, dma(t, S1_IOVA));

	ASSERT_EQ(0, attach(t, bypass_id));
	ASSERT_EQ(HIT_A, dma(t, t->ipa_a));

	ASSERT_EQ(0, attach(t, invalid_id));
	ASSERT_EQ(HIT_NONE, dma(t, t->ipa_a));
	ASSERT_EQ(-ENOENT, attach(t, t->s1_id));
	ASSERT_EQ(HIT_NONE, dma(t, t->ipa_a));
	ASSERT_EQ(HIT_NONE, dma(t, S1_IOVA));

	ASSERT_EQ(0, detach(t));
	ASSERT_EQ(-ENOENT, attach(t, t->s1_id));
	ASSERT_EQ(HIT_NONE, dma(t, t->ipa_a));
	ASSERT_EQ(HIT_NONE, dma(t, S1_IOVA));

	ASSERT_EQ(0, attach(t, t->iommu->ioas_id));
	ASSERT_EQ(HIT_A, dma(t, t->ipa_a));

	/* Without a vSID no event can be forwarded */
	ASSERT_FALSE(wait_vevent(t, 500));
}

/* A device with a vSID @vsid, attached to its stage 1 */
static const char *open_nested(struct smmu_test *t, u32 vsid)
{
	const char *reason = open_device(t);
	u32 vdevice_id;

	if (!reason)
		reason = open_dma(t);
	if (!reason)
		reason = open_viommu(t);
	if (!reason)
		reason = open_s1(t);
	if (reason)
		return reason;

	VFIO_ASSERT_EQ(vdevice_alloc(t, vsid, &vdevice_id), 0);
	VFIO_ASSERT_EQ(attach(t, t->s1_id), 0);
	return NULL;
}

FIXTURE(nested)
{
	struct smmu_test t;
};

FIXTURE_VARIANT(nested)
{
	u32 vsid;
};

FIXTURE_VARIANT_ADD(nested, vsid_0)
{
	.vsid = 0,
};

FIXTURE_VARIANT_ADD(nested, vsid_not_0)
{
	.vsid = VSID,
};

FIXTURE_SETUP(nested)
{
	const char *reason = open_nested(&self->t, variant->vsid);

	if (reason)
		SKIP(return, "%s", reason);
}

FIXTURE_TEARDOWN(nested)
{
	close_device(&self->t);
}

TEST_F_TIMEOUT(nested, attach, 60)
{
	struct smmu_test *t = &self->t;
	u32 bypass_id, abort_id, invalid_id;

	ASSERT_EQ(0, nested_alloc_cfg(t, STE_0_CFG_BYPASS, &bypass_id));
	ASSERT_EQ(0, nested_alloc_cfg(t, STE_0_CFG_ABORT, &abort_id));
	ASSERT_EQ(0, nested_alloc(t, 0, 0, &invalid_id));

	ASSERT_EQ(HIT_A, dma(t, S1_IOVA));
	ASSERT_EQ(HIT_NONE, dma(t, t->ipa_a));

	ASSERT_EQ(0, attach(t, bypass_id));
	ASSERT_EQ(HIT_A, dma(t, t->ipa_a));
	ASSERT_EQ(HIT_NONE, dma(t, S1_IOVA));

	ASSERT_EQ(0, attach(t, t->s1_id));
	ASSERT_EQ(HIT_A, dma(t, S1_IOVA));

	ASSERT_EQ(0, attach(t, abort_id));
	ASSERT_EQ(HIT_NONE, dma(t, S1_IOVA));
	ASSERT_EQ(HIT_NONE, dma(t, t->ipa_a));

	ASSERT_EQ(0, attach(t, t->s1_id));
	ASSERT_EQ(HIT_A, dma(t, S1_IOVA));

	ASSERT_EQ(0, attach(t, invalid_id));
	ASSERT_EQ(HIT_NONE, dma(t, S1_IOVA));
	ASSERT_EQ(HIT_NONE, dma(t, t->ipa_a));

	ASSERT_EQ(0, attach(t, t->iommu->ioas_id));
	ASSERT_EQ(HIT_A, dma(t, t->ipa_a));
	ASSERT_EQ(HIT_NONE, dma(t, S1_IOVA));
}

/* The faults that the guest is told of, each at a page of its own */
struct faults {
	u32 vsid;
	unsigned int num;
	struct {
		u64 iova;
		u8 id;
	} fault[4];
};

/*
 * Read one event, if there is one within @timeout_ms, and check that it is of an
 * expected fault. A write may fault many times and events may be late, so it
 * need not be the newest fault.
 */
static bool read_vevent(struct __test_metadata *_metadata, struct smmu_test *t,
			const struct faults *faults, int timeout_ms, u64 *iova)
{
	struct vevent event;
	unsigned int i;
	u64 evt[4];

	if (!wait_vevent(t, timeout_ms))
		return false;
	ASSERT_EQ(sizeof(event), read(t->veventq_fd, &event, sizeof(event)));
	for (i = 0; i < 4; i++)
		evt[i] = __le64_to_cpu(event.arm.evt[i]);

	*iova = evt[2] & ~(S1_PAGE_SIZE - 1ULL);
	for (i = 0; i < faults->num && faults->fault[i].iova != *iova; i++)
		;
	ASSERT_LT(i, faults->num)
		TH_LOG("unexpected event at %#lx", (unsigned long)*iova);
	ASSERT_EQ(0, event.header.flags);
	ASSERT_EQ(faults->fault[i].id, FIELD_GET(EVT_0_ID, evt[0]));
	ASSERT_EQ(faults->vsid, FIELD_GET(EVT_0_SID, evt[0]));
	ASSERT_EQ(0, evt[1] & (EVT_1_STALL | EVT_1_RNW | EVT_1_S2));
	return true;
}

static void check_fault(struct __test_metadata *_metadata, struct smmu_test *t,
			struct faults *faults, u64 iova, u8 id)
{
	u64 event_iova = 0;

	faults->fault[faults->num].iova = iova;
	faults->fault[faults->num++].id = id;

	ASSERT_EQ(HIT_NONE, dma(t, iova));
	while (event_iova != iova)
		ASSERT_TRUE(read_vevent(_metadata, t, faults, 2000, &event_iova));
}

/* Nothing but late events of the faults so far */
static void check_no_fault(struct __test_metadata *_metadata,
			   struct smmu_test *t, struct faults *faults)
{
	u64 event_iova;

	while (read_vevent(_metadata, t, faults, 500, &event_iova))
		;
}

TEST_F(nested, vevent)
{
	struct faults faults = { .vsid = variant->vsid };
	struct smmu_test *t = &self->t;

	open_veventq(t);

	/* Twice: the first must not be the last */
	check_fault(_metadata, t, &faults, S1_UNMAPPED(0), EVT_ID_TRANSLATION);
	check_fault(_metadata, t, &faults, S1_UNMAPPED(1), EVT_ID_TRANSLATION);

	s1_map(&t->s1, S1_IOVA_2, t->ipa_a, PTE_RDONLY);
	check_fault(_metadata, t, &faults, S1_IOVA_2, EVT_ID_PERMISSION);

	ASSERT_EQ(HIT_A, dma(t, S1_IOVA));
	check_no_fault(_metadata, t, &faults);

	/* Faults of stage 2, and those without stage 1, are the host's */
	s1_map(&t->s1, S1_IOVA_3, t->window.iova, 0);
	ASSERT_EQ(HIT_NONE, dma(t, S1_IOVA_3));
	check_no_fault(_metadata, t, &faults);
	ASSERT_EQ(0, attach(t, t->iommu->ioas_id));
	ASSERT_EQ(HIT_NONE, dma(t, S1_UNMAPPED(2)));
	check_no_fault(_metadata, t, &faults);
}

/* The hypervisor moves pages while stage 1 stays the same */
TEST_F(nested, stage2_unmap)
{
	struct smmu_test *t = &self->t;
	struct s1_table s1_b;
	u64 leaf, offset;
	__le64 *entry;

	s1_map(&t->s1, S1_IOVA_2, t->window.iova, 0);
	window_map(t, t->page_a);
	ASSERT_EQ(HIT_A, dma(t, S1_IOVA_2));

	window_unmap(t);
	window_map(t, t->page_b);
	ASSERT_EQ(HIT_B, dma(t, S1_IOVA_2));

	window_unmap(t);
	ASSERT_EQ(HIT_NONE, dma(t, S1_IOVA_2));

	/*
	 * The same with a page that holds a stage-1 table. The unmap must drop
	 * the stage-2 translation that the walk has used, too.
	 */
	fill_s1(t, &s1_b, OFF_TABLES_B);
	s1_map(&s1_b, S1_IOVA, t->ipa_b, 0);
	entry = s1_entry(&t->s1, S1_IOVA, S1_SHIFT_2M);
	leaf = __le64_to_cpu(*entry) & PTE_ADDR;
	offset = ALIGN_DOWN(leaf - t->s1.ipa, getpagesize());
	WRITE_ONCE(*entry, __cpu_to_le64((t->window.iova + leaf % getpagesize()) |
					 PTE_TABLE | PTE_VALID));
	window_map(t, t->s1.tables + offset);
	ASSERT_EQ(0, invalidate_one(t, CMD_TLBI_NH_ALL, 0));
	ASSERT_EQ(HIT_A, dma(t, S1_IOVA));

	window_unmap(t);
	window_map(t, s1_b.tables + offset);
	ASSERT_EQ(HIT_B, dma(t, S1_IOVA));

	window_unmap(t);
	ASSERT_EQ(HIT_NONE, dma(t, S1_IOVA));
}

/* Arrays of commands: one vSID will do */
FIXTURE(array)
{
	struct smmu_test t;
};

FIXTURE_SETUP(array)
{
	const char *reason = open_nested(&self->t, VSID);

	if (reason)
		SKIP(return, "%s", reason);
}

FIXTURE_TEARDOWN(array)
{
	close_device(&self->t);
}

static void fill_cmds(struct iommu_viommu_arm_smmuv3_invalidate *cmds, u32 num)
{
	u32 i;

	for (i = 0; i < num; i++) {
		cmds[i].cmd[0] = __cpu_to_le64(TLBI_ASID(CMD_TLBI_NH_VA, ASID));
		cmds[i].cmd[1] = __cpu_to_le64(S1_IOVA_2);
	}
}

/* Have page A cached for S1_IOVA, and page B in the table */
static void make_stale(struct __test_metadata *_metadata, struct smmu_test *t)
{
	s1_map(&t->s1, S1_IOVA, t->ipa_a, 0);
	ASSERT_EQ(0, invalidate_one(t, CMD_TLBI_NH_ALL, 0));
	ASSERT_EQ(HIT_A, dma(t, S1_IOVA));
	s1_map(&t->s1, S1_IOVA, t->ipa_b, 0);
}

/* The commands before a bad one are issued and counted */
TEST_F_TIMEOUT(array, illegal, 60)
{
	static const u32 bad[] = { 0, 1, 2, 62, 63, 64, 65, 126, 127, 128, 255 };
	struct iommu_viommu_arm_smmuv3_invalidate cmds[256];
	struct smmu_test *t = &self->t;
	u32 num;
	int i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		fill_cmds(cmds, ARRAY_SIZE(cmds));
		if (bad[i])
			cmds[bad[i] - 1].cmd[1] = __cpu_to_le64(S1_IOVA);
		cmds[bad[i]].cmd[0] = 0;

		make_stale(_metadata, t);
		num = ARRAY_SIZE(cmds);
		ASSERT_EQ(-EIO, invalidate(t, cmds, &num));
		ASSERT_EQ(bad[i], num);
		if (bad[i]) {
			ASSERT_EQ(HIT_B, dma(t, S1_IOVA))
				TH_LOG("command %u was not issued", bad[i] - 1);
		}
	}
}

/* The second half of the array cannot be read */
TEST_F(array, fault)
{
	size_t len = getpagesize();
	struct iommu_viommu_arm_smmuv3_invalidate *cmds;
	struct smmu_test *t = &self->t;
	u32 readable = len / sizeof(*cmds);
	u32 num, done;

	cmds = mmap(NULL, 2 * len, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, cmds);
	ASSERT_EQ(0, munmap((void *)cmds + len, len));
	fill_cmds(cmds, readable);
	cmds[0].cmd[1] = __cpu_to_le64(S1_IOVA);

	/*
	 * The driver may give up at the start of the block that it cannot read
	 * in full, so the exact number is its choice. But a page of 256 commands
	 * or more is several blocks: some are issued before the fault.
	 */
	make_stale(_metadata, t);
	num = 2 * readable;
	ASSERT_EQ(-EFAULT, invalidate(t, cmds, &num));
	ASSERT_GT(num, 0);
	ASSERT_LE(num, readable);
	ASSERT_EQ(HIT_B, dma(t, S1_IOVA));

	/* The last one that it counts is issued as well as the first */
	cmds[0].cmd[1] = __cpu_to_le64(S1_IOVA_2);
	cmds[num - 1].cmd[1] = __cpu_to_le64(S1_IOVA);
	make_stale(_metadata, t);
	done = 2 * readable;
	ASSERT_EQ(-EFAULT, invalidate(t, cmds, &done));
	ASSERT_EQ(num, done);
	ASSERT_EQ(HIT_B, dma(t, S1_IOVA));
}

/* The largest array, one that is too large, and an empty one */
TEST_F_TIMEOUT(array, extremes, 120)
{
	struct iommu_viommu_arm_smmuv3_invalidate *cmds;
	struct smmu_test *t = &self->t;
	u32 num = 1 << 19;

	cmds = calloc(num, sizeof(*cmds));
	ASSERT_NE(NULL, cmds);
	fill_cmds(cmds, num);
	cmds[num - 1].cmd[1] = __cpu_to_le64(S1_IOVA);

	make_stale(_metadata, t);
	ASSERT_EQ(0, invalidate(t, cmds, &num));
	ASSERT_EQ(1 << 19, num);
	ASSERT_EQ(HIT_B, dma(t, S1_IOVA));

	num++;
	ASSERT_EQ(-EINVAL, invalidate(t, cmds, &num));
	ASSERT_EQ(0, num);
	ASSERT_EQ(0, invalidate(t, cmds, &num));
	ASSERT_EQ(0, num);
}

/*
 * The guest changes an entry that the SMMU has cached. @cmd invalidates it,
 * @other does not.
 */
FIXTURE(invalidate)
{
	struct smmu_test t;
	struct s1_table s1_b;
};

FIXTURE_VARIANT(invalidate)
{
	u64 cmd[2];
	u64 other[2];
	bool cd;
};

FIXTURE_VARIANT_ADD(invalidate, nh_va)
{
	.cmd = { TLBI_ASID(CMD_TLBI_NH_VA, ASID), S1_IOVA | CMD_1_LEAF },
	.other = { TLBI_ASID(CMD_TLBI_NH_VA, ASID_2), S1_IOVA | CMD_1_LEAF },
};

FIXTURE_VARIANT_ADD(invalidate, nh_vaa)
{
	.cmd = { CMD_TLBI_NH_VAA, S1_IOVA | CMD_1_LEAF },
	.other = { CMD_TLBI_NH_VAA, S1_IOVA_2 | CMD_1_LEAF },
};

FIXTURE_VARIANT_ADD(invalidate, nh_asid)
{
	.cmd = { TLBI_ASID(CMD_TLBI_NH_ASID, ASID) },
	.other = { TLBI_ASID(CMD_TLBI_NH_ASID, ASID_2) },
};

FIXTURE_VARIANT_ADD(invalidate, nh_all)
{
	.cmd = { CMD_TLBI_NH_ALL },
	.other = { CFGI_SID(CMD_CFGI_CD, VSID) },
};

FIXTURE_VARIANT_ADD(invalidate, nsnh_all)
{
	.cmd = { CMD_TLBI_NSNH_ALL },
	.other = { CFGI_SID(CMD_CFGI_CD, VSID) },
};

FIXTURE_VARIANT_ADD(invalidate, cfgi_cd)
{
	.cmd = { CFGI_SID(CMD_CFGI_CD, VSID), CMD_1_LEAF },
	.other = { CMD_TLBI_NH_ALL },
	.cd = true,
};

FIXTURE_VARIANT_ADD(invalidate, cfgi_cd_all)
{
	.cmd = { CFGI_SID(CMD_CFGI_CD_ALL, VSID) },
	.other = { CMD_TLBI_NH_ALL },
	.cd = true,
};

FIXTURE_SETUP(invalidate)
{
	struct smmu_test *t = &self->t;
	const char *reason = open_nested(t, VSID);

	if (reason)
		SKIP(return, "%s", reason);

	fill_s1(t, &self->s1_b, OFF_TABLES_B);
	s1_map(&self->s1_b, S1_IOVA, t->ipa_b, 0);
	ASSERT_EQ(HIT_A, dma(t, S1_IOVA));

	/* With a new ASID, which the TLB does not have, only the CD can be stale */
	if (variant->cd)
		s1_make_cd(t->cd, &self->s1_b, ASID_2, t->info.idr[5]);
	else
		s1_map(&t->s1, S1_IOVA, t->ipa_b, 0);
}

FIXTURE_TEARDOWN(invalidate)
{
	close_device(&self->t);
}

TEST_F(invalidate, new_seen)
{
	struct smmu_test *t = &self->t;

	ASSERT_EQ(0, invalidate_one(t, variant->cmd[0], variant->cmd[1]));
	ASSERT_EQ(HIT_B, dma(t, S1_IOVA));
}

TEST_F(invalidate, stale_without)
{
	struct smmu_test *t = &self->t;

	if (!expect_stale)
		SKIP(return, "an SMMU need not cache; use --expect-stale if this one does");

	ASSERT_EQ(HIT_A, dma(t, S1_IOVA));
	ASSERT_EQ(0, invalidate_one(t, variant->other[0], variant->other[1]));
	ASSERT_EQ(HIT_A, dma(t, S1_IOVA));
	ASSERT_EQ(0, invalidate_one(t, variant->cmd[0], variant->cmd[1]));
	ASSERT_EQ(HIT_B, dma(t, S1_IOVA));
}

/* Remove this program's options from @argv and refuse unknown ones */
static void parse_args(int *argc, char *argv[])
{
	int from, to = 1;

	for (from = 1; from < *argc; from++) {
		if (!strcmp(argv[from], "--expect-stale")) {
			expect_stale = true;
			continue;
		}
		if (!strncmp(argv[from], "--", 2))
			ksft_exit_fail_msg("unknown option %s, try -h or --expect-stale\n",
					   argv[from]);
		if (argv[from][0] != '-' && argv[to - 1][0] != '-' &&
		    !strchr(argv[from], ':'))
			ksft_exit_fail_msg("%s is not a PCI address, try one like 0000:01:00.0\n",
					   argv[from]);
		argv[to++] = argv[from];
	}
	argv[to] = NULL;
	*argc = to;
}

static const char *get_bdf(int *argc, char *argv[])
{
	char path[64];
	char **bdfs;
	int nr;

	bdfs = vfio_selftests_get_bdfs(argc, argv, &nr);
	if (nr != 1)
		ksft_exit_fail_msg("%d devices given, the test takes one\n", nr);

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/vfio-dev", bdfs[0]);
	if (access(path, F_OK))
		ksft_exit_fail_msg("%s: not bound to vfio-pci, use vfio/scripts/setup.sh\n",
				   bdfs[0]);
	return bdfs[0];
}

int main(int argc, char *argv[])
{
	parse_args(&argc, argv);
	device_bdf = get_bdf(&argc, argv);
	return test_harness_run(argc, argv);
}
