// SPDX-License-Identifier: GPL-2.0-only
/*
 * Test nested translation of the arm-smmu-v3 driver, with one device and with
 * several devices that share domains. The program acts as both the VMM and the
 * guest: it writes stage-1 tables, stream table entries and commands, and checks
 * which pages are written by DMA of devices bound to vfio-pci.
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/ioctl.h>
#include <sys/mman.h>

#include <linux/align.h>
#include <linux/iommufd.h>
#include <linux/limits.h>
#include <linux/sizes.h>
#include <linux/vfio.h>

#include "../../../../drivers/iommu/iommufd/iommufd_test.h"
#include "kselftest_harness.h"

#include "arm_smmu_v3_utils.h"

/*
 * An SMMU may drop a cached translation at any time. Expect stale translations
 * only from implementations known to keep them, such as QEMU's.
 */
static bool expect_stale;

/* A device behind any SMMU */
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

	/* The kernel clears the buffer beyond its own structure */
	memset(buf, 0xff, sizeof(buf));
	ASSERT_EQ(0, iommufd_cmd(t, IOMMU_GET_HW_INFO, &cmd));
	ASSERT_EQ(sizeof(t->info), cmd.data_len);
	ASSERT_EQ(0, memcmp(buf, &t->info, sizeof(t->info)));
	memcpy(&tail, buf + sizeof(t->info), sizeof(tail));
	ASSERT_EQ(0, tail);

	/* The kernel writes no more than data_len bytes */
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

	/* Nesting requires both stages */
	if (!parent_alloc(t, &hwpt_id))
		ASSERT_EQ(IDR0_S1P | IDR0_S2P, idr0 & (IDR0_S1P | IDR0_S2P));
}

/* Check which page is written by each device's DMA to the window */
static void check_hit(struct __test_metadata *_metadata, struct smmu_test *t,
		      unsigned int num, enum hit hit)
{
	unsigned int i;

	for (i = 0; i < num; i++) {
		if (!t[i].window_at)
			continue;
		ASSERT_EQ(hit, dma(&t[i], t[i].window_at))
			TH_LOG("by device %s", t[i].test_device->bdf);
	}
}

static void check_window(struct __test_metadata *_metadata, struct smmu_test *t,
			 unsigned int num)
{
	check_hit(_metadata, t, num, HIT_NONE);

	window_map(t, t->page_a);
	check_hit(_metadata, t, num, HIT_A);

	window_unmap(t);
	check_hit(_metadata, t, num, HIT_NONE);

	window_map(t, t->page_b);
	check_hit(_metadata, t, num, HIT_B);

	/* The translation to page B must go even without a DMA in between */
	window_unmap(t);
	window_map(t, t->page_a);
	check_hit(_metadata, t, num, HIT_A);
	window_unmap(t);
}

TEST_F_TIMEOUT(smmu, ioas, 60)
{
	const char *reason = open_dma(&self->t);

	if (reason)
		SKIP(return, "%s", reason);
	check_window(_metadata, &self->t, 1);
	ASSERT_EQ(HIT_B, dma(&self->t, self->t.ipa_b));
}

/* Stage 2 only */
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
	check_window(_metadata, t, 1);
	ASSERT_EQ(HIT_B, dma(t, t->ipa_b));
	ASSERT_EQ(-EBUSY, destroy(t, hwpt_id));
	ASSERT_EQ(0, attach(t, t->iommu->ioas_id));
	ASSERT_EQ(0, destroy(t, hwpt_id));
	ASSERT_EQ(HIT_A, dma(t, t->ipa_a));
}

/* A vSMMU and a device attached to the IOAS */
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

	/* A device has at most one vDEVICE, independent of the virt_id */
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

/* A parent allocated by another driver, the one of the mock devices */
TEST_F(viommu, foreign_parent)
{
	struct smmu_test *t = &self->t;
	struct iommu_ioas_alloc ioas = {
		.size = sizeof(ioas),
	};
	struct iommu_test_cmd mock = {
		.size = sizeof(mock),
		.op = IOMMU_TEST_OP_MOCK_DOMAIN,
	};
	struct iommu_hwpt_alloc parent = {
		.size = sizeof(parent),
		.flags = IOMMU_HWPT_ALLOC_NEST_PARENT,
	};
	u32 id;

	ASSERT_EQ(0, iommufd_cmd(t, IOMMU_IOAS_ALLOC, &ioas));
	mock.id = ioas.out_ioas_id;
	if (iommufd_cmd(t, IOMMU_TEST_CMD, &mock) == -ENOTTY)
		SKIP(return, "needs CONFIG_IOMMUFD_TEST");
	parent.dev_id = mock.mock_domain.out_idev_id;
	parent.pt_id = ioas.out_ioas_id;
	ASSERT_EQ(0, iommufd_cmd(t, IOMMU_HWPT_ALLOC, &parent));

	ASSERT_EQ(-EINVAL, viommu_alloc(t, IOMMU_VIOMMU_TYPE_ARM_SMMUV3,
					parent.out_hwpt_id, &id));
	ASSERT_EQ(0, destroy(t, parent.out_hwpt_id));
	ASSERT_EQ(0, destroy(t, mock.mock_domain.out_stdev_id));
}

/* Allocate and destroy more vSMMUs than there are VMIDs */
TEST_F_TIMEOUT(viommu, many, 300)
{
	unsigned int num = self->t.info.idr[0] & IDR0_VMID16 ? 1 << 16 : 1 << 8;
	struct smmu_test *t = &self->t;
	u32 id;

	while (num--) {
		ASSERT_EQ(0, viommu_alloc(t, IOMMU_VIOMMU_TYPE_ARM_SMMUV3,
					  t->parent_id, &id));
		ASSERT_EQ(0, destroy(t, id));
	}
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

	/* V=0: all other bits are ignored */
	ASSERT_EQ(0, nested_alloc(t, 0, 0, &id));
	ASSERT_EQ(0, nested_alloc(t, ~STE_0_V, -1, &id));

	/* The guest must not configure stage 2 */
	for (i = 1; i < 8; i++) {
		if (i == STE_0_CFG_BYPASS || i == STE_0_CFG_S1)
			continue;
		ASSERT_EQ(-EIO, nested_alloc_cfg(t, i, &id))
			TH_LOG("Cfg %d", i);
	}

	/* A reserved bit, a field forbidden for guests, ATS with stage 1 only */
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
 * Before the guest enables its SMMU, the device has no vSID. Bypass and abort do
 * not require one. Attaching to stage 1 fails without one and changes nothing.
 */
TEST_F_TIMEOUT(viommu, no_vdevice, 120)
{
	struct smmu_test *t = &self->t;
	u32 bypass_id, abort_id, invalid_id;
	const char *reason = open_dma(t);

	if (!reason)
		reason = open_s1(t, ASID);
	if (reason)
		SKIP(return, "%s", reason);

	open_veventq(t);
	ASSERT_EQ(0, nested_alloc_cfg(t, STE_0_CFG_BYPASS, &bypass_id));
	ASSERT_EQ(0, nested_alloc_cfg(t, STE_0_CFG_ABORT, &abort_id));
	ASSERT_EQ(0, nested_alloc(t, 0, 0, &invalid_id));

	/* Attached to the IOAS, stage 2 and each vSTE, and detached */
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

/* Attach a device with the given vSID to a stage 1 */
static const char *open_nested(struct smmu_test *t, u32 vsid)
{
	const char *reason = open_device(t);
	u32 vdevice_id;

	if (!reason)
		reason = open_dma(t);
	if (!reason)
		reason = open_viommu(t);
	if (!reason)
		reason = open_s1(t, ASID);
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

/* Faults to be reported to the guest, each at a separate page */
struct faults {
	u32 vsid;
	unsigned int num;
	struct {
		u64 iova;
		u8 id;
	} fault[4];
};

/*
 * Wait for an event and check that it reports an expected fault. A write may
 * fault many times and events may arrive late, so the event need not report the
 * newest fault.
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

/* Accept only late events of earlier faults */
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

	/* Reporting must continue after the first fault */
	check_fault(_metadata, t, &faults, S1_UNMAPPED(0), EVT_ID_TRANSLATION);
	check_fault(_metadata, t, &faults, S1_UNMAPPED(1), EVT_ID_TRANSLATION);

	s1_map(&t->s1, S1_IOVA_2, t->ipa_a, PTE_RDONLY);
	check_fault(_metadata, t, &faults, S1_IOVA_2, EVT_ID_PERMISSION);

	ASSERT_EQ(HIT_A, dma(t, S1_IOVA));
	check_no_fault(_metadata, t, &faults);

	/* Stage-2 faults and faults without stage 1 are not reported to the guest */
	s1_map(&t->s1, S1_IOVA_3, t->window.iova, 0);
	ASSERT_EQ(HIT_NONE, dma(t, S1_IOVA_3));
	check_no_fault(_metadata, t, &faults);
	ASSERT_EQ(0, attach(t, t->iommu->ioas_id));
	ASSERT_EQ(HIT_NONE, dma(t, S1_UNMAPPED(2)));
	check_no_fault(_metadata, t, &faults);
}

/*
 * Mapping a BAR, enabling an MSI and reading an event takes all locks that a VMM
 * can nest. Wrong lock order is reported by lockdep in the kernel log only.
 */
TEST_F(nested, msi)
{
	struct faults faults = { .vsid = variant->vsid };
	struct smmu_test *t = &self->t;

	if (!t->device->msix_info.count)
		SKIP(return, "the device has no MSI-X");
	open_veventq(t);
	vfio_pci_msix_enable(t->device, 0, 1);
	check_fault(_metadata, t, &faults, S1_UNMAPPED(0), EVT_ID_TRANSLATION);
}

/* The host changes stage 2 below an unchanged stage 1 */
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
	 * The same for a page that contains a stage-1 table. The unmap must also
	 * invalidate the stage-2 translation used by the table walk.
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

/* Arrays of commands, which need only one variant of the vSID */
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

/* Cache a translation to page A, then change the table to page B */
static void make_stale(struct __test_metadata *_metadata, struct smmu_test *t)
{
	s1_map(&t->s1, S1_IOVA, t->ipa_a, 0);
	ASSERT_EQ(0, invalidate_one(t, CMD_TLBI_NH_ALL, 0));
	ASSERT_EQ(HIT_A, dma(t, S1_IOVA));
	s1_map(&t->s1, S1_IOVA, t->ipa_b, 0);
}

/* Commands before an illegal one are issued and counted */
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
	 * The driver copies commands in blocks and may stop before the first
	 * incomplete block, so the exact count is not specified. A page contains
	 * several blocks, so some commands are issued before the fault.
	 */
	make_stale(_metadata, t);
	num = 2 * readable;
	ASSERT_EQ(-EFAULT, invalidate(t, cmds, &num));
	ASSERT_GT(num, 0);
	ASSERT_LE(num, readable);
	ASSERT_EQ(HIT_B, dma(t, S1_IOVA));

	/* The last counted command is issued, too */
	cmds[0].cmd[1] = __cpu_to_le64(S1_IOVA_2);
	cmds[num - 1].cmd[1] = __cpu_to_le64(S1_IOVA);
	make_stale(_metadata, t);
	done = 2 * readable;
	ASSERT_EQ(-EFAULT, invalidate(t, cmds, &done));
	ASSERT_EQ(num, done);
	ASSERT_EQ(HIT_B, dma(t, S1_IOVA));
}

/* The largest array, a too large array, and an empty array */
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
 * The guest changes an entry cached by the SMMU. @cmd invalidates the entry,
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

	/* The new ASID has no TLB entries, so only the CD can be stale */
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
		SKIP(return, "an SMMU need not cache; use --expect-stale for one that does");

	ASSERT_EQ(HIT_A, dma(t, S1_IOVA));
	ASSERT_EQ(0, invalidate_one(t, variant->other[0], variant->other[1]));
	ASSERT_EQ(HIT_A, dma(t, S1_IOVA));
	ASSERT_EQ(0, invalidate_one(t, variant->cmd[0], variant->cmd[1]));
	ASSERT_EQ(HIT_B, dma(t, S1_IOVA));
}

static void attach_at(struct __test_metadata *_metadata, struct smmu_test *t,
		      u32 pt_id, u64 window_at)
{
	ASSERT_EQ(0, attach(t, pt_id))
		TH_LOG("device %s, SMMU %s", t->test_device->bdf,
		       t->test_device->smmu);
	t->window_at = window_at;
}

static const struct layout one_smmu = {
	.what = "no two devices behind one SMMU",
	.num = 2,
};

static const struct layout two_smmus = {
	.what = "no devices behind two SMMUs with the same features",
	.num = 2,
	.smmu = { 0, 1 },
};

static const struct layout three_smmus = {
	.what = "no devices behind three SMMUs with the same features",
	.num = 3,
	.smmu = { 0, 1, 2 },
};

static const struct layout two_by_two = {
	.what = "no two devices behind each of two SMMUs with the same features",
	.num = 4,
	.smmu = { 0, 0, 1, 1 },
};

static const struct layout one_group = {
	.what = "no group of two devices, and one behind another SMMU",
	.num = 3,
	.smmu = { 0, 0, 1 },
	.pair = true,
};

/* Devices that share the domains of one IOAS */
FIXTURE(share)
{
	struct smmu_test t[MAX_TEST_DEVICES];
	unsigned int num;
};

FIXTURE_VARIANT(share)
{
	const struct layout *layout;
};

FIXTURE_VARIANT_ADD(share, one_smmu)
{
	.layout = &one_smmu,
};

FIXTURE_VARIANT_ADD(share, two_smmus)
{
	.layout = &two_smmus,
};

FIXTURE_VARIANT_ADD(share, three_smmus)
{
	.layout = &three_smmus,
};

FIXTURE_VARIANT_ADD(share, two_by_two)
{
	.layout = &two_by_two,
};

FIXTURE_SETUP(share)
{
	const char *reason = open_layout(self->t, variant->layout);

	if (reason)
		SKIP(return, "%s", reason);
	self->num = variant->layout->num;
}

FIXTURE_TEARDOWN(share)
{
	close_devices(self->t, self->num);
}

/* iommufd allocates as many domains for the IOAS as required */
TEST_F_TIMEOUT(share, ioas, 60)
{
	check_window(_metadata, self->t, self->num);
}

static void check_shared(struct __test_metadata *_metadata, struct smmu_test *t,
			 unsigned int num, u32 hwpt_id)
{
	u32 ioas_id = t->iommu->ioas_id;
	unsigned int i;

	for (i = 0; i < num; i++) {
		attach_at(_metadata, &t[i], hwpt_id, t->window.iova);
		check_window(_metadata, t, num);
	}
	ASSERT_EQ(-EBUSY, destroy(t, hwpt_id));

	/* Detach and attach each device while the others stay attached */
	for (i = 0; i < num; i++) {
		ASSERT_EQ(0, detach(&t[i]));
		ASSERT_EQ(HIT_NONE, dma(&t[i], t->ipa_a));
		t[i].window_at = 0;
		check_window(_metadata, t, num);
		attach_at(_metadata, &t[i], hwpt_id, t->window.iova);
		check_window(_metadata, t, num);
	}

	for (i = 0; i < num; i++) {
		attach_at(_metadata, &t[i], ioas_id, t->window.iova);
		check_window(_metadata, t, num);
	}
	ASSERT_EQ(0, destroy(t, hwpt_id));
	check_window(_metadata, t, num);
}

/* Stage 1 if supported, else stage 2 */
TEST_F_TIMEOUT(share, hwpt, 120)
{
	struct smmu_test *t = self->t;
	u32 hwpt_id;

	ASSERT_EQ(0, hwpt_alloc(t, t->iommu->ioas_id, 0, NULL, &hwpt_id));
	check_shared(_metadata, t, self->num, hwpt_id);
}

TEST_F_TIMEOUT(share, nest_parent, 120)
{
	struct smmu_test *t = self->t;
	const char *reason = open_parent(t);

	if (reason)
		SKIP(return, "%s", reason);
	check_shared(_metadata, t, self->num, t->parent_id);
}

/* The debugfs files also contain domains of devices that are not under test. */
#define DEBUGFS_WORD	64

static const char *read_debugfs(const struct smmu_test *t, char *text)
{
	const char *reason = read_debugfs_file(t->test_device, text);

	if (!reason)
		VFIO_ASSERT_TRUE(!strstr(text, " unowned\n") &&
				 !strstr(text, " dirty\n"));
	return reason;
}

static const char *next_line(const char *line)
{
	return strchr(line, '\n') + 1;
}

/* Copy the lines about a domain, or an empty string if there are none */
static void debugfs_block(const char *text, const char *domain, char *block)
{
	char line[DEBUGFS_WORD * 2];
	const char *from, *to;

	*block = 0;
	snprintf(line, sizeof(line), "\ndomain %s stage ", domain);
	from = strstr(text, line);
	if (!from)
		return;
	VFIO_ASSERT_NULL(strstr(from + 1, line));
	to = next_line(++from);
	while (*to == '\t')
		to = next_line(to);
	memcpy(block, from, to - from);
	block[to - from] = 0;
}

/* Users of the entry with @type and @id in a block, -1 if there is no entry */
static int debugfs_users(const char *block, const char *smmu, const char *type,
			 unsigned int id)
{
	char key[DEBUGFS_WORD * 4];
	const char *entry;

	snprintf(key, sizeof(key), " smmu %s type %s id %u users ", smmu, type,
		 id);
	entry = strstr(block, key);
	if (!entry)
		return -1;
	VFIO_ASSERT_NULL(strstr(entry + 1, key));
	return atoi(entry + strlen(key));
}

/* Find the domain of the first device that does not exist in @before */
static void debugfs_new_domain(struct __test_metadata *_metadata,
			       struct smmu_test *t, const char *before,
			       char *domain)
{
	static char text[DEBUGFS_SIZE];
	static char block[DEBUGFS_SIZE];
	unsigned int num = 0;
	const char *line;

	ASSERT_EQ(NULL, read_debugfs(t, text));
	for (line = text; *line; line = next_line(line)) {
		char word[DEBUGFS_WORD];

		if (sscanf(line, "domain %63s stage", word) != 1)
			continue;
		debugfs_block(before, word, block);
		if (*block)
			continue;
		strcpy(domain, word);
		num++;
	}
	ASSERT_EQ(1, num);
}

/*
 * Check that exactly the devices of the bitmap @attached are attached to @domain.
 * The files of their SMMUs contain the same array, in which the users of each
 * IOTLB tag are the number of devices. Other files do not contain the domain.
 */
static void check_debugfs(struct __test_metadata *_metadata, struct smmu_test *t,
			  unsigned int num, const char *domain,
			  unsigned int attached)
{
	static char text[DEBUGFS_SIZE], first[DEBUGFS_SIZE];
	static char block[DEBUGFS_SIZE];
	unsigned int i, j;

	*first = 0;
	for (i = 0; i < num; i++) {
		const char *smmu = t[i].test_device->smmu_dev;
		char format[DEBUGFS_WORD * 2], kind[DEBUGFS_WORD];
		unsigned int id, here = 0, users = 0, tags = 0;
		const char *line;

		ASSERT_EQ(NULL, read_debugfs(&t[i], text));
		debugfs_block(text, domain, block);
		for (j = 0; j < num; j++)
			if (!strcmp(smmu, t[j].test_device->smmu_dev))
				here += attached >> j & 1;
		if (!here) {
			ASSERT_EQ(0, *block);
			ASSERT_EQ(NULL, strstr(text, domain));
			continue;
		}

		ASSERT_NE(0, *block);
		if (!*first)
			strcpy(first, block);
		ASSERT_STREQ(first, block);
		ASSERT_EQ(NULL, strstr(block, " trash\n"));

		snprintf(format, sizeof(format),
			 "%%63s %%u domain %s users %%u", domain);
		for (line = text; *line; line = next_line(line)) {
			if (sscanf(line, format, kind, &id, &users) != 3)
				continue;
			ASSERT_EQ(here, users);
			ASSERT_EQ(here, debugfs_users(block, smmu,
						      !strcmp(kind, "asid") ?
						      "S1_ASID" : "S2_VMID", id));
			tags++;
		}
		ASSERT_EQ(1, tags);
	}
}

TEST_F_TIMEOUT(share, debugfs, 60)
{
	static char before[DEBUGFS_SIZE];
	const char *reason = read_debugfs(self->t, before);
	char domain[DEBUGFS_WORD] = "";
	struct smmu_test *t = self->t;
	unsigned int attached = 0, i;
	u32 hwpt_id;

	if (reason)
		SKIP(return, "%s", reason);

	ASSERT_EQ(0, hwpt_alloc(t, t->iommu->ioas_id, 0, NULL, &hwpt_id));
	for (i = 0; i < self->num; i++) {
		ASSERT_EQ(0, attach(&t[i], hwpt_id));
		if (!i)
			debugfs_new_domain(_metadata, t, before, domain);
		attached |= 1 << i;
		check_debugfs(_metadata, t, self->num, domain, attached);
	}
	for (i = 0; i < self->num; i++) {
		ASSERT_EQ(0, detach(&t[i]));
		attached &= ~(1 << i);
		check_debugfs(_metadata, t, self->num, domain, attached);
	}
	ASSERT_EQ(0, destroy(t, hwpt_id));
	check_debugfs(_metadata, t, self->num, domain, 0);
}

/*
 * Create a second IOAS with the same memory and a separate window at the same
 * address. @second is for allocations and mappings in it. DMA uses @t.
 */
static void open_second_ioas(const struct smmu_test *t, unsigned int num,
			     struct smmu_test *second, struct iommu *iommu)
{
	struct iommu_ioas_alloc cmd = { .size = sizeof(cmd) };
	unsigned int i;

	ioctl_assert(t->iommu->iommufd, IOMMU_IOAS_ALLOC, &cmd);
	*iommu = *t->iommu;
	iommu->ioas_id = cmd.out_ioas_id;
	INIT_LIST_HEAD(&iommu->dma_regions);
	for (i = 0; i < num; i++) {
		second[i] = t[i];
		second[i].iommu = iommu;
		iommu_map(iommu, &second[i].region);
	}
}

/*
 * Move each device between two IOASes for every combination of attachments of the
 * other devices. @pt contains the objects of each device to attach in each IOAS.
 */
static void check_moves(struct __test_metadata *_metadata, struct smmu_test *t,
			struct smmu_test *second, unsigned int num,
			u32 pt[][2])
{
	unsigned int round, i;

	for (round = 0; round <= 1 << num; round++) {
		/* Gray code: one device moves in each round, the last one first */
		u32 in_second = round ^ round >> 1 ^ 1 << (num - 1);
		/* Make all translations cached in earlier rounds stale */
		bool swap = round & 1;

		window_map(t, swap ? t->page_b : t->page_a);
		window_map(second, swap ? t->page_a : t->page_b);
		for (i = 0; i < num; i++) {
			bool b = in_second >> i & 1;

			ASSERT_EQ(0, attach(&t[i], pt[i][b]));
			ASSERT_EQ(b != swap ? HIT_B : HIT_A,
				  dma(&t[i], t->window.iova))
				TH_LOG("round %u, device %u", round, i);
		}
		window_unmap(t);
		window_unmap(second);
	}
}

TEST_F_TIMEOUT(share, move, 120)
{
	struct smmu_test second[MAX_TEST_DEVICES], *t = self->t;
	/* Allocates its domains for another SMMU */
	struct smmu_test *last = &second[self->num - 1];
	u32 hwpts[MAX_TEST_DEVICES][2], parents[MAX_TEST_DEVICES][2];
	struct iommu iommu;
	unsigned int i;

	open_second_ioas(t, self->num, second, &iommu);
	ASSERT_EQ(0, hwpt_alloc(t, t->iommu->ioas_id, 0, NULL, &hwpts[0][0]));
	ASSERT_EQ(0, hwpt_alloc(last, iommu.ioas_id, 0, NULL, &hwpts[0][1]));
	for (i = 1; i < self->num; i++)
		memcpy(hwpts[i], hwpts[0], sizeof(hwpts[0]));
	check_moves(_metadata, t, second, self->num, hwpts);

	if (open_parent(t))
		return;
	ASSERT_EQ(0, parent_alloc(last, &second->parent_id));
	for (i = 0; i < self->num; i++) {
		parents[i][0] = t->parent_id;
		parents[i][1] = second->parent_id;
	}
	check_moves(_metadata, t, second, self->num, parents);

	/* From stage 1 to stage 2 */
	for (i = 0; i < self->num; i++)
		parents[i][0] = hwpts[i][0];
	check_moves(_metadata, t, second, self->num, parents);
}

/* All devices of a group use the same domain */
FIXTURE(group)
{
	struct smmu_test t[MAX_TEST_DEVICES];
};

FIXTURE_SETUP(group)
{
	const char *reason = open_layout(self->t, &one_group);

	if (reason)
		SKIP(return, "%s", reason);
}

FIXTURE_TEARDOWN(group)
{
	close_devices(self->t, one_group.num);
}

TEST_F_TIMEOUT(group, hwpt, 60)
{
	struct smmu_test *t = self->t;
	u32 hwpt_id;
	int i;

	ASSERT_EQ(0, hwpt_alloc(t, t->iommu->ioas_id, 0, NULL, &hwpt_id));
	attach_at(_metadata, &t[2], hwpt_id, t->window.iova);

	/* Attaching one device of the group moves the other one */
	for (i = 0; i < 2; i++) {
		attach_at(_metadata, &t[i], hwpt_id, t->window.iova);
		check_window(_metadata, t, one_group.num);
		attach_at(_metadata, &t[!i], t->iommu->ioas_id, t->window.iova);
		check_window(_metadata, t, one_group.num);
	}

	/* One attached device keeps the group in its domain */
	ASSERT_EQ(0, detach(&t[0]));
	ASSERT_EQ(-EINVAL, attach(&t[0], hwpt_id));
	ASSERT_EQ(0, detach(&t[1]));
	ASSERT_EQ(0, attach(&t[0], hwpt_id));
	check_window(_metadata, t, one_group.num);
	ASSERT_EQ(0, attach(&t[1], hwpt_id));
	check_window(_metadata, t, one_group.num);
	ASSERT_EQ(0, detach(&t[2]));
	t[2].window_at = 0;
	check_window(_metadata, t, one_group.num);
}

/* Nested domains of independent guests on one parent */
FIXTURE(nests)
{
	struct smmu_test t[MAX_TEST_DEVICES];
	unsigned int num;
};

FIXTURE_VARIANT(nests)
{
	const struct layout *layout;
	/* Devices with equal numbers share a vSMMU */
	u8 vsmmu[MAX_TEST_DEVICES];
};

FIXTURE_VARIANT_ADD(nests, one_vsmmu)
{
	.layout = &one_smmu,
};

FIXTURE_VARIANT_ADD(nests, one_smmu)
{
	.layout = &one_smmu,
	.vsmmu = { 0, 1 },
};

FIXTURE_VARIANT_ADD(nests, two_smmus)
{
	.layout = &two_smmus,
	.vsmmu = { 0, 1 },
};

FIXTURE_VARIANT_ADD(nests, three_smmus)
{
	.layout = &three_smmus,
	.vsmmu = { 0, 1, 2 },
};

FIXTURE_VARIANT_ADD(nests, two_by_two)
{
	.layout = &two_by_two,
	.vsmmu = { 0, 0, 1, 1 },
};

FIXTURE_SETUP(nests)
{
	const char *reason = open_layout(self->t, variant->layout);
	struct smmu_test *t = self->t;
	unsigned int i, j;

	self->num = variant->layout->num;
	if (!reason)
		reason = open_parent(t);
	for (i = 0; !reason && i < self->num; i++) {
		for (j = 0; variant->vsmmu[j] != variant->vsmmu[i]; j++)
			;
		reason = open_guest(&t[i], t->parent_id, j < i ? &t[j] : NULL,
				    VSID + i, ASID + i);
	}
	if (reason)
		SKIP(return, "%s", reason);

	for (i = 0; i < self->num; i++)
		attach_at(_metadata, &t[i], t[i].s1_id, S1_IOVA_2);
}

FIXTURE_TEARDOWN(nests)
{
	close_devices(self->t, self->num);
}

TEST_F_TIMEOUT(nests, stage2_unmap, 60)
{
	check_window(_metadata, self->t, self->num);
}

/* Every combination of direct and nested attachments to the parent */
TEST_F_TIMEOUT(nests, beside_direct, 240)
{
	struct smmu_test *t = self->t;
	unsigned int round, i;

	for (round = 0; round <= 1 << self->num; round++) {
		u32 direct = round ^ round >> 1;

		for (i = 0; i < self->num; i++) {
			if (direct >> i & 1)
				attach_at(_metadata, &t[i], t->parent_id,
					  t->window.iova);
			else
				attach_at(_metadata, &t[i], t[i].s1_id,
					  S1_IOVA_2);
		}
		check_window(_metadata, t, self->num);
	}
}

/*
 * Every vSMMU has a VMID on its SMMU. Its users, and the users of the entries in
 * the invalidation array of the parent, are the number of attached devices.
 */
static void check_vsmmus(struct __test_metadata *_metadata, struct smmu_test *t,
			 unsigned int num, bool attached)
{
	static char text[DEBUGFS_SIZE], block[DEBUGFS_SIZE];
	unsigned int i, j;

	for (i = 0; i < num; i++) {
		const char *smmu = t[i].test_device->smmu_dev;
		unsigned int devices = 0, vsmmus = 0, users = 0, id, used;
		unsigned int found = 0;
		char domain[DEBUGFS_WORD];
		const char *line;

		for (j = 0; j < num; j++) {
			unsigned int k;

			if (strcmp(smmu, t[j].test_device->smmu_dev))
				continue;
			devices++;
			for (k = 0; t[k].viommu_id != t[j].viommu_id; k++)
				;
			vsmmus += t[j].viommu_id && k == j;
		}

		ASSERT_EQ(NULL, read_debugfs(&t[i], text));
		for (line = text; *line; line = next_line(line)) {
			if (sscanf(line, "vmid %u vsmmu %*s domain %63s users %u",
				   &id, domain, &used) != 3)
				continue;
			found++;
			users += used;
			debugfs_block(text, domain, block);
			if (!attached) {
				ASSERT_EQ(0, *block);
				continue;
			}
			ASSERT_EQ(used, debugfs_users(block, smmu,
						      "S2_VMID_VSMMU", id));
			ASSERT_EQ(used, debugfs_users(block, smmu,
						      "S2_VMID_S1_CLEAR", id));
		}
		ASSERT_EQ(vsmmus, found);
		ASSERT_EQ(attached ? devices : 0, users);
	}
}

TEST_F_TIMEOUT(nests, debugfs, 60)
{
	static char text[DEBUGFS_SIZE];
	const char *reason = read_debugfs(self->t, text);
	struct smmu_test *t = self->t;
	unsigned int i, j;

	if (reason)
		SKIP(return, "%s", reason);

	check_vsmmus(_metadata, t, self->num, true);
	for (i = 0; i < self->num; i++)
		attach_at(_metadata, &t[i], t->iommu->ioas_id, t->window.iova);
	check_vsmmus(_metadata, t, self->num, false);

	for (i = 0; i < self->num; i++) {
		ASSERT_EQ(0, destroy(t, t[i].s1_id));
		ASSERT_EQ(0, destroy(t, t[i].vdevice_id));
	}
	for (i = 0; i < self->num; i++) {
		u32 id = t[i].viommu_id;

		if (!id)
			continue;
		ASSERT_EQ(0, destroy(t, id));
		for (j = i; j < self->num; j++)
			if (t[j].viommu_id == id)
				t[j].viommu_id = 0;
		check_vsmmus(_metadata, t, self->num, false);
	}
}

/* Close each device without detaching it, then open it again */
TEST_F_TIMEOUT(nests, close, 120)
{
	struct smmu_test *t = self->t;
	unsigned int i;

	for (i = 0; i < self->num; i++) {
		ASSERT_EQ(HIT_A, dma(&t[i], S1_IOVA));
		nvme_dma_stop(&t[i].nvme);
		vfio_pci_device_cleanup(t[i].device);
		t[i].window_at = 0;
		check_window(_metadata, t, self->num);
		ASSERT_EQ(-EBUSY, destroy(t, t->parent_id));

		t[i].device = vfio_pci_device_init(t[i].test_device->bdf,
						   t->iommu);
		ASSERT_EQ(NULL, open_dma(&t[i]));
		/* Closing the device has destroyed the vDEVICE */
		ASSERT_EQ(0, vdevice_alloc(&t[i], VSID + i, &t[i].vdevice_id));
		attach_at(_metadata, &t[i], t[i].s1_id, S1_IOVA_2);
		check_window(_metadata, t, self->num);
	}
}

/* Between vSMMUs on different parents; bypass does not require a vDEVICE */
TEST_F_TIMEOUT(nests, move, 120)
{
	struct smmu_test second[MAX_TEST_DEVICES], *t = self->t;
	u32 bypass[MAX_TEST_DEVICES][2];
	struct iommu iommu;
	unsigned int i, j;

	open_second_ioas(t, self->num, second, &iommu);
	second->parent_id = 0;
	ASSERT_EQ(NULL, open_parent(second));
	for (i = 0; i < self->num; i++) {
		for (j = 0; variant->vsmmu[j] != variant->vsmmu[i]; j++)
			;
		second[i].parent_id = second->parent_id;
		if (j < i)
			second[i].viommu_id = second[j].viommu_id;
		else
			ASSERT_EQ(NULL, open_viommu(&second[i]));
		ASSERT_EQ(0, nested_alloc_cfg(&t[i], STE_0_CFG_BYPASS,
					      &bypass[i][0]));
		ASSERT_EQ(0, nested_alloc_cfg(&second[i], STE_0_CFG_BYPASS,
					      &bypass[i][1]));
	}
	check_moves(_metadata, t, second, self->num, bypass);

	/* From nested bypass on one parent to the other parent itself */
	for (i = 0; i < self->num; i++)
		bypass[i][1] = second->parent_id;
	check_moves(_metadata, t, second, self->num, bypass);
}

/*
 * Two guests that use the same ASID and addresses for different pages. The
 * translations of the first device are to page A, of the second to page B.
 */
FIXTURE(guests)
{
	struct smmu_test t[2];
};

FIXTURE_VARIANT(guests)
{
	const struct layout *layout;
};

FIXTURE_VARIANT_ADD(guests, one_smmu)
{
	.layout = &one_smmu,
};

FIXTURE_VARIANT_ADD(guests, two_smmus)
{
	.layout = &two_smmus,
};

static const char *open_guests(struct smmu_test *t, const struct layout *l)
{
	const char *reason = open_layout(t, l);
	int i;

	if (!reason)
		reason = open_parent(t);
	for (i = 0; !reason && i < 2; i++)
		reason = open_guest(&t[i], t->parent_id, NULL, VSID, ASID);
	return reason;
}

FIXTURE_SETUP(guests)
{
	const char *reason = open_guests(self->t, variant->layout);
	struct smmu_test *t = self->t;

	if (reason)
		SKIP(return, "%s", reason);

	s1_map(&t[1].s1, S1_IOVA, t->ipa_b, 0);
	attach_at(_metadata, &t[0], t[0].s1_id, S1_IOVA_2);
	attach_at(_metadata, &t[1], t[1].s1_id, S1_IOVA_2);
}

FIXTURE_TEARDOWN(guests)
{
	close_devices(self->t, 2);
}

TEST_F(guests, same_asid)
{
	struct smmu_test *t = self->t;
	int i;

	for (i = 0; i < 2; i++) {
		ASSERT_EQ(HIT_A, dma(&t[0], S1_IOVA));
		ASSERT_EQ(HIT_B, dma(&t[1], S1_IOVA));
	}
	check_window(_metadata, t, 2);
}

/* An invalidation affects only the guest that sends it */
TEST_F(guests, invalidate)
{
	struct smmu_test *t = self->t;

	ASSERT_EQ(HIT_A, dma(&t[0], S1_IOVA));
	ASSERT_EQ(HIT_B, dma(&t[1], S1_IOVA));
	s1_map(&t[0].s1, S1_IOVA, t->ipa_b, 0);
	s1_map(&t[1].s1, S1_IOVA, t->ipa_a, 0);

	ASSERT_EQ(0, invalidate_one(&t[1], CMD_TLBI_NH_ALL, 0));
	ASSERT_EQ(HIT_A, dma(&t[1], S1_IOVA));
	if (expect_stale)
		ASSERT_EQ(HIT_A, dma(&t[0], S1_IOVA));
	ASSERT_EQ(0, invalidate_one(&t[0], CMD_TLBI_NH_ALL, 0));
	ASSERT_EQ(HIT_B, dma(&t[0], S1_IOVA));
}

/*
 * Undo everything in every order allowed by the references of the objects. DMA of
 * devices that are still attached continues to work.
 */
enum { LEAVE, DESTROY_VDEVICE, DESTROY_S1, DESTROY_VSMMU, NUM_STEPS };

#define STEP(_device, _step)	((_device) * NUM_STEPS + (_step))
#define STEP_PARENT		STEP(2, 0)

struct teardown {
	struct smmu_test t[2];
	unsigned int num;
	u8 order[STEP_PARENT + 1];
};

FIXTURE(teardown)
{
	struct teardown d;
};

FIXTURE_VARIANT(teardown)
{
	const struct layout *layout;
};

FIXTURE_VARIANT_ADD(teardown, one_smmu)
{
	.layout = &one_smmu,
};

FIXTURE_VARIANT_ADD(teardown, two_smmus)
{
	.layout = &two_smmus,
};

FIXTURE_SETUP(teardown)
{
	const char *reason = open_guests(self->d.t, variant->layout);

	if (reason)
		SKIP(return, "%s", reason);
}

FIXTURE_TEARDOWN(teardown)
{
	close_devices(self->d.t, 2);
}

static int undo(struct smmu_test *t, u8 step, bool replace)
{
	struct smmu_test *dev = &t[step / NUM_STEPS];

	if (step == STEP_PARENT)
		return destroy(t, t->parent_id);

	switch (step % NUM_STEPS) {
	case LEAVE:
		return replace ? attach(dev, t->iommu->ioas_id) : detach(dev);
	case DESTROY_VDEVICE:
		return destroy(t, dev->vdevice_id);
	case DESTROY_S1:
		return destroy(t, dev->s1_id);
	default:
		return destroy(t, dev->viommu_id);
	}
}

static void teardown_in_order(struct __test_metadata *_metadata,
			      struct teardown *d)
{
	/* Stale translations of a reused IOTLB tag hit the other page */
	enum hit hit = d->num++ & 1 ? HIT_B : HIT_A;
	struct smmu_test *t = d->t;
	u32 done = 0;
	int i, dev;

	for (dev = 0; dev < 2; dev++) {
		s1_map(&t[dev].s1, S1_IOVA,
		       hit == HIT_A ? t->ipa_a : t->ipa_b, 0);
		ASSERT_EQ(0, attach(&t[dev], t[dev].s1_id));
	}

	for (i = 0; i <= STEP_PARENT; i++) {
		for (dev = 0; dev < 2; dev++) {
			if (done & BIT(STEP(dev, LEAVE)))
				continue;
			ASSERT_EQ(hit, dma(&t[dev], S1_IOVA))
				TH_LOG("order %u, step %d, device %d",
				       d->num, i, dev);
		}
		if (i < STEP_PARENT)
			ASSERT_EQ(-EBUSY, destroy(t, t->parent_id));

		dev = d->order[i] / NUM_STEPS;
		ASSERT_EQ(0, undo(t, d->order[i], (d->num >> 1 ^ dev) & 1))
			TH_LOG("order %u, step %d", d->num, i);
		done |= BIT(d->order[i]);
	}

	ASSERT_EQ(NULL, open_parent(t));
	for (dev = 0; dev < 2; dev++) {
		ASSERT_EQ(0, attach(&t[dev], t->iommu->ioas_id));
		ASSERT_EQ(HIT_A, dma(&t[dev], t->ipa_a));
		ASSERT_EQ(NULL, open_guest(&t[dev], t->parent_id, NULL, VSID, ASID));
	}
}

static void each_order(struct __test_metadata *_metadata, struct teardown *d,
		       unsigned int num, u32 done)
{
	static const u32 first[STEP_PARENT + 1] = {
		[STEP(0, DESTROY_S1)] = BIT(STEP(0, LEAVE)),
		[STEP(1, DESTROY_S1)] = BIT(STEP(1, LEAVE)),
		[STEP(0, DESTROY_VSMMU)] = BIT(STEP(0, DESTROY_S1)) |
					   BIT(STEP(0, DESTROY_VDEVICE)),
		[STEP(1, DESTROY_VSMMU)] = BIT(STEP(1, DESTROY_S1)) |
					   BIT(STEP(1, DESTROY_VDEVICE)),
		[STEP_PARENT] = BIT(STEP(0, DESTROY_VSMMU)) |
				BIT(STEP(1, DESTROY_VSMMU)),
	};
	u8 step;

	if (num > STEP_PARENT) {
		teardown_in_order(_metadata, d);
		return;
	}

	for (step = 0; step <= STEP_PARENT; step++) {
		if (done & BIT(step) || first[step] & ~done)
			continue;
		d->order[num] = step;
		each_order(_metadata, d, num + 1, done | BIT(step));
	}
}

TEST_F_TIMEOUT(teardown, each_order, 300)
{
	each_order(_metadata, &self->d, 0, 0);
	/* Each vDEVICE has 3 positions; C(8, 4) ways to interleave the devices */
	ASSERT_EQ(3 * 3 * 70, self->d.num);
}

/* SMMUs with different stages */
FIXTURE(unlike)
{
	struct smmu_test t[2];
};

FIXTURE_VARIANT(unlike)
{
	struct layout layout;
};

FIXTURE_VARIANT_ADD(unlike, both_and_s1)
{
	.layout = {
		.what = "no devices behind an SMMU with both stages and one with stage 1",
		.num = 2,
		.smmu = { 0, 1 },
		.stages = { IDR0_STAGES, IDR0_S1P },
	},
};

FIXTURE_VARIANT_ADD(unlike, both_and_s2)
{
	.layout = {
		.what = "no devices behind an SMMU with both stages and one with stage 2",
		.num = 2,
		.smmu = { 0, 1 },
		.stages = { IDR0_STAGES, IDR0_S2P },
	},
};

FIXTURE_VARIANT_ADD(unlike, s1_and_s2)
{
	.layout = {
		.what = "no devices behind an SMMU with stage 1 and one with stage 2",
		.num = 2,
		.smmu = { 0, 1 },
		.stages = { IDR0_S1P, IDR0_S2P },
	},
};

FIXTURE_SETUP(unlike)
{
	const char *reason = open_layout(self->t, &variant->layout);

	if (reason)
		SKIP(return, "%s", reason);
}

FIXTURE_TEARDOWN(unlike)
{
	close_devices(self->t, 2);
}

/*
 * Attach device @dev to @hwpt_id of the other device: from the IOAS, from another
 * domain and detached. Without support for @stage the attachment must not change.
 */
static void check_unlike(struct __test_metadata *_metadata, struct smmu_test *t,
			 int dev, u32 hwpt_id, u32 stage)
{
	int expected = t[dev].info.idr[0] & stage ? 0 : -EINVAL;
	u32 own_id;

	check_window(_metadata, t, 2);
	ASSERT_EQ(expected, attach(&t[dev], hwpt_id));
	check_window(_metadata, t, 2);

	ASSERT_EQ(0, hwpt_alloc(&t[dev], t->iommu->ioas_id, 0, NULL, &own_id));
	ASSERT_EQ(0, attach(&t[dev], own_id));
	check_window(_metadata, t, 2);
	ASSERT_EQ(expected, attach(&t[dev], hwpt_id));
	check_window(_metadata, t, 2);
	ASSERT_EQ(expected ? -EBUSY : 0, destroy(t, own_id));

	ASSERT_EQ(0, detach(&t[dev]));
	ASSERT_EQ(expected, attach(&t[dev], hwpt_id));
	t[dev].window_at = expected ? 0 : t->window.iova;
	check_window(_metadata, t, 2);
	ASSERT_EQ(expected ? HIT_NONE : HIT_A, dma(&t[dev], t->ipa_a));

	attach_at(_metadata, &t[dev], t->iommu->ioas_id, t->window.iova);
	check_window(_metadata, t, 2);
}

TEST_F_TIMEOUT(unlike, hwpt, 120)
{
	struct smmu_test *t = self->t;
	u32 hwpt_id;
	int dev;

	for (dev = 0; dev < 2; dev++) {
		u32 s1 = t[dev].info.idr[0] & IDR0_S1P;

		ASSERT_EQ(0, hwpt_alloc(&t[dev], t->iommu->ioas_id, 0, NULL,
					&hwpt_id));
		ASSERT_EQ(0, attach(&t[dev], hwpt_id));
		check_unlike(_metadata, t, !dev, hwpt_id, s1 ?: IDR0_S2P);
		ASSERT_EQ(0, attach(&t[dev], t->iommu->ioas_id));
		ASSERT_EQ(0, destroy(t, hwpt_id));
	}
}

TEST_F_TIMEOUT(unlike, nest_parent, 120)
{
	struct smmu_test *t = self->t;
	const char *reason;
	u32 id;

	/* At most the first SMMU supports nesting */
	ASSERT_EQ(-EOPNOTSUPP, parent_alloc(&t[1], &id));
	if (!(t->info.idr[0] & IDR0_S2P)) {
		ASSERT_EQ(-EOPNOTSUPP, parent_alloc(&t[0], &id));
		return;
	}

	reason = open_parent(t);
	if (!reason)
		reason = open_guest(t, t->parent_id, NULL, VSID, ASID);
	if (reason)
		SKIP(return, "%s", reason);
	ASSERT_EQ(-EOPNOTSUPP, viommu_alloc(&t[1], IOMMU_VIOMMU_TYPE_ARM_SMMUV3,
					    t->parent_id, &id));

	attach_at(_metadata, &t[0], t->parent_id, t->window.iova);
	check_unlike(_metadata, t, 1, t->parent_id, IDR0_S2P);
	attach_at(_metadata, &t[0], t->s1_id, S1_IOVA_2);
	check_unlike(_metadata, t, 1, t->parent_id, IDR0_S2P);
}

/*
 * Inject a failure into each allocation of each ioctl. If the ioctl fails nothing
 * must have changed, and if it succeeds it must have taken effect completely.
 *
 * Operations are on the second device. The first device must not be affected.
 */
enum place {
	AT_IOAS,
	AT_HWPT,
	AT_PARENT,
	AT_BYPASS,
	AT_S1,
	DETACHED,
	NUM_PLACES,
};

struct fail_nth {
	struct smmu_test t[2];
	/* AT_IOAS and AT_HWPT use the second IOAS, which maps page B */
	struct smmu_test second[2];
	struct iommu second_iommu;
	u32 pt[2][NUM_PLACES];
	enum place at[2];
	int fd;
	unsigned int failed;
	/* Expected debugfs files of both SMMUs */
	char *debugfs[2];
	/* For ioctls() */
	u8 *page;
	int page_fd;
	u32 ioas_id;
	u64 extra_iova;
	u64 source_iova;
	struct iommu_iova_range ranges[16];
	u32 num_ranges;
	u32 id;
	int id_fd;
};

FIXTURE(fail_nth)
{
	struct fail_nth f;
};

FIXTURE_VARIANT(fail_nth)
{
	const struct layout *layout;
};

FIXTURE_VARIANT_ADD(fail_nth, one_smmu)
{
	.layout = &one_smmu,
};

FIXTURE_VARIANT_ADD(fail_nth, two_smmus)
{
	.layout = &two_smmus,
};

static int write_files(const char *pattern, const char *value)
{
	size_t i, num = 0;
	glob_t files;

	if (glob(pattern, 0, NULL, &files))
		return 0;
	for (i = 0; i < files.gl_pathc; i++) {
		int fd = open(files.gl_pathv[i], O_WRONLY);

		if (fd < 0)
			continue;
		if (write(fd, value, strlen(value)) > 0)
			num++;
		close(fd);
	}
	globfree(&files);
	return num;
}

/* The settings have no effect on tasks that do not write to fail-nth */
static const char *open_fail_nth(int *fd)
{
	*fd = open("/proc/thread-self/fail-nth", O_RDWR);
	if (*fd < 0 ||
	    !write_files("/sys/kernel/debug/failslab/ignore-gfp-wait", "N"))
		return "no fault injection in the kernel, or no debugfs";
	write_files("/sys/kernel/debug/fail_page_alloc/ignore-gfp-*", "N");
	write_files("/sys/kernel/debug/fail_page_alloc/min-order", "0");
	write_files("/sys/kernel/debug/fail*/verbose", "0");
	return NULL;
}

FIXTURE_SETUP(fail_nth)
{
	struct fail_nth *f = &self->f;
	const char *reason = open_fail_nth(&f->fd);
	struct smmu_test *t = f->t;
	u32 hwpt_id;
	int i;

	if (!reason)
		reason = open_guests(t, variant->layout);
	if (reason)
		SKIP(return, "%s", reason);

	open_second_ioas(t, 2, f->second, &f->second_iommu);
	window_map(t, t->page_a);
	window_map(f->second, t->page_b);
	ASSERT_EQ(0, hwpt_alloc(f->second, f->second_iommu.ioas_id, 0,
				NULL, &hwpt_id));
	for (i = 0; i < 2; i++) {
		f->pt[i][AT_IOAS] = f->second_iommu.ioas_id;
		f->pt[i][AT_HWPT] = hwpt_id;
		f->pt[i][AT_PARENT] = t->parent_id;
		f->pt[i][AT_S1] = t[i].s1_id;
		ASSERT_EQ(0, nested_alloc_cfg(&t[i], STE_0_CFG_BYPASS,
					      &f->pt[i][AT_BYPASS]));
	}
}

FIXTURE_TEARDOWN(fail_nth)
{
	free(self->f.debugfs[0]);
	free(self->f.debugfs[1]);
	close_devices(self->f.t, 2);
}

static void fail_begin(struct __test_metadata *_metadata, struct fail_nth *f,
		       unsigned int nth)
{
	char buf[16];
	int len = snprintf(buf, sizeof(buf), "%u", nth);

	ASSERT_EQ(len, pwrite(f->fd, buf, len, 0));
}

/* Return true if an allocation failed. Reset fail-nth, which may fail too. */
static bool fail_end(struct fail_nth *f)
{
	char buf[16] = "";
	bool failed;

	failed = pread(f->fd, buf, sizeof(buf), 0) > 0 && buf[0] == '0';
	while (pwrite(f->fd, "0", 1, 0) != 1)
		;
	f->failed += failed;
	return failed;
}

/* Out of memory, or injected by iommufd: objects, reserved regions, pages */
static bool fail_errno(int ret)
{
	return ret == -ENOMEM || ret == -ENOENT || ret == -EINVAL ||
	       ret == -EFAULT;
}

static int num_files(struct fail_nth *f)
{
	return strcmp(f->t[0].test_device->smmu, f->t[1].test_device->smmu) ? 2 : 1;
}

static void note_debugfs(struct __test_metadata *_metadata, struct fail_nth *f)
{
	int i;

	for (i = 0; i < num_files(f); i++) {
		if (!f->debugfs[i])
			f->debugfs[i] = calloc(1, DEBUGFS_SIZE);
		ASSERT_NE(NULL, f->debugfs[i]);
		/* Without debugfs there is nothing to compare */
		read_debugfs(&f->t[i], f->debugfs[i]);
	}
}

/* All ASIDs, VMIDs and arrays are as before */
static void check_noted(struct __test_metadata *_metadata, struct fail_nth *f)
{
	static char text[DEBUGFS_SIZE];
	int i;

	for (i = 0; i < num_files(f); i++)
		if (!read_debugfs(&f->t[i], text))
			ASSERT_STREQ(f->debugfs[i], text);
}

static int place(struct fail_nth *f, int dev, enum place to)
{
	struct smmu_test *t = &f->t[dev];
	int ret = to == DETACHED ? detach(t) : attach(t, f->pt[dev][to]);

	if (!ret)
		f->at[dev] = to;
	return ret;
}

static void check_places(struct __test_metadata *_metadata,
			 struct fail_nth *f)
{
	struct smmu_test *t = f->t;
	int dev;

	for (dev = 0; dev < 2; dev++) {
		enum place at = f->at[dev];
		enum hit hit = at == DETACHED ? HIT_NONE :
			       at < AT_PARENT ? HIT_B : HIT_A;

		ASSERT_EQ(hit, dma(&t[dev], at == AT_S1 ? S1_IOVA_2 :
						t->window.iova))
			TH_LOG("device %d in place %d", dev, at);
	}
}

static void fail_move(struct __test_metadata *_metadata, struct fail_nth *f,
		      enum place from, enum place to)
{
	unsigned int nth = 0;
	bool failed;
	int ret;

	do {
		ASSERT_EQ(0, place(f, 1, from));
		note_debugfs(_metadata, f);
		fail_begin(_metadata, f, ++nth);
		ret = place(f, 1, to);
		failed = fail_end(f);
		ASSERT_TRUE(!ret || fail_errno(ret))
			TH_LOG("error %d, from place %d to %d", ret, from, to);
		if (ret)
			check_noted(_metadata, f);
		check_places(_metadata, f);
	} while (failed);
	ASSERT_EQ(0, ret);
}

/* From every place to every other, with the first device at each place */
TEST_F_TIMEOUT(fail_nth, attach, 300)
{
	enum place other, from, to;
	struct fail_nth *f = &self->f;

	for (other = 0; other < DETACHED; other++) {
		ASSERT_EQ(0, place(f, 0, other));
		for (from = 0; from < NUM_PLACES; from++)
			for (to = 0; to < NUM_PLACES; to++)
				if (from != to)
					fail_move(_metadata, f, from, to);
	}
	ASSERT_GT(f->failed, 0);
}

/* Objects allocated for the second device */
enum object {
	HWPT,
	PARENT,
	VSMMU,
	VDEVICE,
	NESTED_BYPASS,
	NESTED_S1,
	NUM_OBJECTS,
};

static int make_object(struct smmu_test *t, enum object object, u32 *id)
{
	switch (object) {
	case HWPT:
		return hwpt_alloc(t, t->iommu->ioas_id, 0, NULL, id);
	case PARENT:
		return parent_alloc(t, id);
	case VSMMU:
		return viommu_alloc(t, IOMMU_VIOMMU_TYPE_ARM_SMMUV3,
				    t->parent_id, id);
	case VDEVICE:
		return vdevice_alloc(t, VSID, id);
	case NESTED_BYPASS:
		return nested_alloc_cfg(t, STE_0_CFG_BYPASS, id);
	default:
		return nested_alloc_s1(t, id);
	}
}

/* With both devices at each place. Destroying must never fail. */
TEST_F_TIMEOUT(fail_nth, objects, 300)
{
	struct fail_nth *f = &self->f;
	struct smmu_test *t = &f->t[1];
	enum object object;
	unsigned int nth;
	enum place where;
	bool failed;
	u32 id;
	int ret;

	for (where = 0; where < DETACHED; where++) {
		ASSERT_EQ(0, place(f, 0, where));
		ASSERT_EQ(0, place(f, 1, where));
		/* Allocating a nested stage 1 does not require the vDEVICE */
		ASSERT_EQ(0, destroy(t, t->vdevice_id));
		note_debugfs(_metadata, f);

		for (object = 0; object < NUM_OBJECTS; object++) {
			f->failed = 0;
			nth = 0;
			do {
				fail_begin(_metadata, f, ++nth);
				ret = make_object(t, object, &id);
				failed = fail_end(f);
				ASSERT_TRUE(!ret || fail_errno(ret))
					TH_LOG("error %d, object %d", ret, object);
				check_places(_metadata, f);
				if (!ret)
					ASSERT_EQ(0, destroy(t, id));
				check_noted(_metadata, f);
			} while (failed);
			ASSERT_EQ(0, ret);
			ASSERT_GT(f->failed, 0);

			nth = 0;
			do {
				ASSERT_EQ(0, make_object(t, object, &id));
				fail_begin(_metadata, f, ++nth);
				ret = destroy(t, id);
				failed = fail_end(f);
				ASSERT_EQ(0, ret);
				check_noted(_metadata, f);
				check_places(_metadata, f);
			} while (failed);
		}
		ASSERT_EQ(0, vdevice_alloc(t, VSID, &t->vdevice_id));
	}
}

/* Other ioctls that are allowed while devices are attached */
enum call {
	VEVENTQ_ALLOC,
	FAULT_ALLOC,
	IOAS_ALLOC,
	IOAS_MAP,
	IOAS_MAP_FILE,
	IOAS_COPY,
	IOAS_IOVA_RANGES,
	IOAS_ALLOW_IOVAS,
	INVALIDATE,
	HW_INFO,
	NUM_CALLS,
};

#define FAIL_CMDS	100

static int ioas_map_file(struct smmu_test *t, u32 ioas_id, int fd, u64 iova)
{
	struct iommu_ioas_map_file cmd = {
		.size = sizeof(cmd),
		.flags = MAP_FLAGS,
		.ioas_id = ioas_id,
		.fd = fd,
		.length = getpagesize(),
		.iova = iova,
	};

	return iommufd_cmd(t, IOMMU_IOAS_MAP_FILE, &cmd);
}

static int ioas_copy(struct fail_nth *f)
{
	struct iommu_ioas_copy cmd = {
		.size = sizeof(cmd),
		.flags = MAP_FLAGS,
		.dst_ioas_id = f->ioas_id,
		.src_ioas_id = f->ioas_id,
		.length = getpagesize(),
		.dst_iova = f->extra_iova,
		.src_iova = f->source_iova,
	};

	return iommufd_cmd(f->t, IOMMU_IOAS_COPY, &cmd);
}

static int iova_ranges(struct fail_nth *f)
{
	struct iommu_ioas_iova_ranges cmd = {
		.size = sizeof(cmd),
		.ioas_id = f->ioas_id,
		.num_iovas = ARRAY_SIZE(f->ranges),
		.allowed_iovas = (uintptr_t)f->ranges,
	};
	int ret = iommufd_cmd(f->t, IOMMU_IOAS_IOVA_RANGES, &cmd);

	f->num_ranges = cmd.num_iovas;
	return ret;
}

/* Allow the ranges returned by iova_ranges() */
static int allow_iovas(struct fail_nth *f)
{
	struct iommu_ioas_allow_iovas cmd = {
		.size = sizeof(cmd),
		.ioas_id = f->ioas_id,
		.num_iovas = f->num_ranges,
		.allowed_iovas = (uintptr_t)f->ranges,
	};

	return iommufd_cmd(f->t, IOMMU_IOAS_ALLOW_IOVAS, &cmd);
}

static int invalidate_many(struct fail_nth *f)
{
	struct iommu_viommu_arm_smmuv3_invalidate cmds[FAIL_CMDS];
	u32 i, num = FAIL_CMDS;
	int ret;

	for (i = 0; i < num; i++) {
		cmds[i].cmd[0] = __cpu_to_le64(CMD_TLBI_NH_ALL);
		cmds[i].cmd[1] = 0;
	}
	ret = invalidate(&f->t[1], cmds, &num);
	/* If a later block cannot be copied, the earlier ones were issued */
	VFIO_ASSERT_TRUE(ret ? num < FAIL_CMDS : num == FAIL_CMDS);
	return ret;
}

static int hw_info(struct fail_nth *f)
{
	struct iommu_hw_info_arm_smmuv3 info;
	struct iommu_hw_info cmd = {
		.size = sizeof(cmd),
		.dev_id = f->t[1].device->dev_id,
		.data_uptr = (uintptr_t)&info,
		.data_len = sizeof(info),
	};

	return iommufd_cmd(f->t, IOMMU_GET_HW_INFO, &cmd);
}

static int do_call(struct fail_nth *f, enum call call)
{
	struct iommu_fault_alloc fault = { .size = sizeof(fault) };
	struct iommu_ioas_alloc ioas = { .size = sizeof(ioas) };
	struct smmu_test *t = f->t;
	int ret;

	switch (call) {
	case VEVENTQ_ALLOC:
		return veventq_alloc(&t[1], IOMMU_VEVENTQ_TYPE_ARM_SMMUV3, 16,
				     &f->id, &f->id_fd);
	case FAULT_ALLOC:
		ret = iommufd_cmd(t, IOMMU_FAULT_QUEUE_ALLOC, &fault);
		f->id = fault.out_fault_id;
		f->id_fd = fault.out_fault_fd;
		return ret;
	case IOAS_ALLOC:
		ret = iommufd_cmd(t, IOMMU_IOAS_ALLOC, &ioas);
		f->id = ioas.out_ioas_id;
		return ret;
	case IOAS_MAP:
		return ioas_map(t, f->ioas_id, f->page, f->extra_iova,
				getpagesize());
	case IOAS_MAP_FILE:
		return ioas_map_file(t, f->ioas_id, f->page_fd, f->extra_iova);
	case IOAS_COPY:
		return ioas_copy(f);
	case IOAS_IOVA_RANGES:
		return iova_ranges(f);
	case IOAS_ALLOW_IOVAS:
		return allow_iovas(f);
	case INVALIDATE:
		return invalidate_many(f);
	default:
		return hw_info(f);
	}
}

static bool is_map(enum call call)
{
	return call == IOAS_MAP || call == IOAS_MAP_FILE || call == IOAS_COPY;
}

static bool makes_object(enum call call)
{
	return call == VEVENTQ_ALLOC || call == FAULT_ALLOC || call == IOAS_ALLOC;
}

/* The file holds a reference on the queue */
static void before_undo(enum call call, struct fail_nth *f)
{
	if (call == VEVENTQ_ALLOC || call == FAULT_ALLOC)
		close(f->id_fd);
}

static int undo_call(struct fail_nth *f, enum call call)
{
	if (is_map(call))
		return ioas_unmap(f->t, f->ioas_id, f->extra_iova,
				  getpagesize());
	return makes_object(call) ? destroy(f->t, f->id) : 0;
}

/* DMA of both devices writes the page if and only if it is mapped */
static void check_extra(struct __test_metadata *_metadata, struct fail_nth *f,
			bool mapped)
{
	struct smmu_test *t = f->t;
	int dev;

	for (dev = 0; dev < 2; dev++) {
		u64 iova = f->at[dev] == AT_S1 ? S1_IOVA_3 : f->extra_iova;

		memset(f->page, POISON, NVME_DMA_PAGE_SIZE);
		ASSERT_EQ(HIT_NONE, dma(&t[dev], iova));
		ASSERT_EQ(!mapped, page_untouched(f->page))
			TH_LOG("device %d", dev);
		if (mapped)
			ASSERT_EQ(0, memcmp(f->page + OFF_ID, t[dev].id, ID_LEN));
	}
}

static void check_call(struct __test_metadata *_metadata, struct fail_nth *f,
		       enum call call, bool done)
{
	check_noted(_metadata, f);
	check_places(_metadata, f);
	if (is_map(call))
		check_extra(_metadata, f, done);
}

static void fail_call(struct __test_metadata *_metadata, struct fail_nth *f,
		      enum call call)
{
	unsigned int nth = 0;
	bool failed;
	int ret;

	note_debugfs(_metadata, f);
	f->failed = 0;
	do {
		fail_begin(_metadata, f, ++nth);
		ret = do_call(f, call);
		failed = fail_end(f);
		ASSERT_TRUE(!ret || fail_errno(ret))
			TH_LOG("error %d, call %d", ret, call);
		check_call(_metadata, f, call, !ret);
		if (!ret) {
			before_undo(call, f);
			ASSERT_EQ(0, undo_call(f, call));
		}
	} while (failed);
	ASSERT_EQ(0, ret);
	ASSERT_GT(f->failed, 0);

	nth = 0;
	do {
		ASSERT_EQ(0, do_call(f, call));
		before_undo(call, f);
		fail_begin(_metadata, f, ++nth);
		ret = undo_call(f, call);
		failed = fail_end(f);
		ASSERT_TRUE(!ret || (is_map(call) && fail_errno(ret)))
			TH_LOG("error %d, call %d", ret, call);
		check_call(_metadata, f, call, ret);
		if (ret)
			ASSERT_EQ(0, undo_call(f, call));
	} while (failed);
}

TEST_F_TIMEOUT(fail_nth, ioctls, 300)
{
	struct fail_nth *f = &self->f;
	struct smmu_test *t = f->t;
	size_t size = getpagesize();
	enum place where;
	enum call call;
	int dev;

	f->page_fd = memfd_create("page", 0);
	ASSERT_LE(0, f->page_fd);
	ASSERT_EQ(0, ftruncate(f->page_fd, size));
	f->page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED,
		       f->page_fd, 0);
	ASSERT_NE(MAP_FAILED, f->page);

	/* The range allocated for the window contains both addresses */
	f->extra_iova = t->window.iova + SZ_64K;
	f->source_iova = t->window.iova + SZ_128K;
	ASSERT_EQ(0, ioas_map(t, t->iommu->ioas_id, f->page, f->source_iova,
			      size));
	ASSERT_EQ(0, ioas_map(t, f->second_iommu.ioas_id, f->page,
			      f->source_iova, size));
	for (dev = 0; dev < 2; dev++)
		s1_map(&t[dev].s1, S1_IOVA_3, f->extra_iova, 0);

	for (where = 0; where < DETACHED; where++) {
		f->ioas_id = where < AT_PARENT ? f->second_iommu.ioas_id :
						 t->iommu->ioas_id;
		for (dev = 0; dev < 2; dev++)
			ASSERT_EQ(0, place(f, dev, where));
		for (call = 0; call < NUM_CALLS; call++)
			fail_call(_metadata, f, call);
	}
}

static int attach_pasid(struct smmu_test *t, u32 pt_id, u32 pasid)
{
	struct vfio_device_attach_iommufd_pt cmd = {
		.argsz = sizeof(cmd),
		.flags = VFIO_DEVICE_ATTACH_PASID,
		.pt_id = pt_id,
		.pasid = pasid,
	};

	return ioctl(t->device->fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &cmd) ?
		-errno : 0;
}

static int detach_pasid(struct smmu_test *t, u32 pasid)
{
	struct vfio_device_detach_iommufd_pt cmd = {
		.argsz = sizeof(cmd),
		.flags = VFIO_DEVICE_DETACH_PASID,
		.pasid = pasid,
	};

	return ioctl(t->device->fd, VFIO_DEVICE_DETACH_IOMMUFD_PT, &cmd) ?
		-errno : 0;
}

/* No DMA uses the PASID, as the controller is not configured for it */
TEST_F_TIMEOUT(fail_nth, pasid, 60)
{
	struct fail_nth *f = &self->f;
	struct smmu_test *t = f->t;
	bool failed;
	u32 hwpt_id;
	int dev, ret;

	for (dev = 0; dev < 2; dev++)
		if (!t[dev].test_device->max_pasid_log2)
			SKIP(return, "a device or its SMMU has no PASID");

	ASSERT_EQ(0, hwpt_alloc(f->second, f->second_iommu.ioas_id,
				IOMMU_HWPT_ALLOC_PASID, NULL, &hwpt_id));
	for (dev = 0; dev < 2; dev++) {
		unsigned int nth = 0;

		f->pt[dev][AT_HWPT] = hwpt_id;
		ASSERT_EQ(0, place(f, dev, AT_HWPT));
		do {
			fail_begin(_metadata, f, ++nth);
			ret = attach_pasid(&t[dev], hwpt_id, 1);
			failed = fail_end(f);
			ASSERT_TRUE(!ret || fail_errno(ret));
			check_places(_metadata, f);
			if (!ret)
				ASSERT_EQ(0, detach_pasid(&t[dev], 1));
		} while (failed);
		ASSERT_EQ(0, ret);
		ASSERT_EQ(0, attach_pasid(&t[dev], hwpt_id, 1));
	}
	ASSERT_GT(f->failed, 0);
	for (dev = 0; dev < 2; dev++)
		ASSERT_EQ(0, detach_pasid(&t[dev], 1));
	check_places(_metadata, f);
}

/*
 * During a reset, a device with an ATS capability is attached to the blocking
 * domain, even if its SMMU does not support ATS. Only the second device, which
 * shares the IOAS and the parent, has to support DMA.
 */
static const struct layout ats_device = {
	.what = "no device with an ATS capability, and another behind a second SMMU",
	.num = 2,
	.smmu = { 0, 1 },
	.ats = true,
};

FIXTURE(reset)
{
	struct smmu_test t[2];
	u32 pt[NUM_PLACES];
};

FIXTURE_SETUP(reset)
{
	struct smmu_test *t = self->t;
	u32 *pt = self->pt;
	const char *reason = ats_device.what;

	if (find_devices(t, &ats_device, 0))
		reason = open_devices(t, 2) ?: open_dma(&t[1]) ?: open_parent(t) ?:
			 open_guest(t, t->parent_id, NULL, VSID, ASID);
	if (reason)
		SKIP(return, "%s", reason);

	pt[AT_IOAS] = t->iommu->ioas_id;
	ASSERT_EQ(0, hwpt_alloc(t, pt[AT_IOAS], 0, NULL, &pt[AT_HWPT]));
	pt[AT_PARENT] = t->parent_id;
	ASSERT_EQ(0, nested_alloc_cfg(t, STE_0_CFG_BYPASS, &pt[AT_BYPASS]));
	pt[AT_S1] = t->s1_id;
	ASSERT_EQ(0, attach(&t[1], t->parent_id));
}

FIXTURE_TEARDOWN(reset)
{
	close_devices(self->t, 2);
}

/* The device returns to its domain. Without debugfs this is not checked. */
TEST_F_TIMEOUT(reset, places, 60)
{
	static char before[DEBUGFS_SIZE], after[DEBUGFS_SIZE];
	struct smmu_test *t = self->t;
	enum place at;

	for (at = 0; at < DETACHED; at++) {
		/* Detach first, so that the next ASID is the same as after a reset */
		ASSERT_EQ(0, detach(t));
		ASSERT_EQ(0, attach(t, self->pt[at]));
		read_debugfs(t, before);
		vfio_pci_device_reset(t->device);
		read_debugfs(t, after);
		ASSERT_STREQ(before, after);
	}
}

struct resets {
	struct vfio_pci_device *device;
	unsigned int num;
	bool stop;
};

static void *reset_again(void *arg)
{
	struct resets *r = arg;

	while (!__atomic_load_n(&r->stop, __ATOMIC_RELAXED)) {
		vfio_pci_device_reset(r->device);
		__atomic_add_fetch(&r->num, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/*
 * Attach, map and unmap during resets. After a reset at stage 1 the device stays
 * in the blocking domain until the next attach, as its vDEVICE is destroyed.
 */
TEST_F_TIMEOUT(reset, race, 300)
{
	struct smmu_test *t = self->t;
	struct resets r = { .device = t->device };
	unsigned int i, seen, busy = 0;
	enum hit hit = HIT_NONE;
	pthread_t thread;
	int ret;

	ASSERT_EQ(0, destroy(t, t->vdevice_id));
	ASSERT_EQ(0, pthread_create(&thread, NULL, reset_again, &r));
	for (i = 0; i < 5 * NUM_PLACES; i++) {
		enum place to = i % NUM_PLACES;

		if (to == AT_S1)
			ASSERT_EQ(0, vdevice_alloc(t, VSID, &t->vdevice_id));
		while ((ret = to == DETACHED ? detach(t) : attach(t, self->pt[to]))) {
			ASSERT_EQ(-EBUSY, ret);
			busy++;
		}
		if (to == AT_S1)
			ASSERT_EQ(0, destroy(t, t->vdevice_id));

		/* The first counted reset may have finished before the attach */
		seen = __atomic_load_n(&r.num, __ATOMIC_RELAXED);
		do {
			hit = hit == HIT_A ? HIT_B : HIT_A;
			window_map(t, hit == HIT_A ? t->page_a : t->page_b);
			check_hit(_metadata, &t[1], 1, hit);
			window_unmap(t);
		} while (__atomic_load_n(&r.num, __ATOMIC_RELAXED) - seen < 2);
	}
	__atomic_store_n(&r.stop, true, __ATOMIC_RELAXED);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	if (!busy)
		SKIP(return, "no attach during a reset, does the kernel use ATS?");
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

int main(int argc, char *argv[])
{
	parse_args(&argc, argv);
	multiply_timeouts(slowness());
	get_devices(&argc, argv);
	return test_harness_run(argc, argv);
}
