// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of vSMMUs as iommufd uses them: the VMID of a vSMMU, nested domains
 * and the invalidations of a guest.
 */
#include <linux/mman.h>
#include <linux/pci.h>
#include <linux/uaccess.h>
#include <uapi/linux/iommufd.h>

#include "../../../iommufd/iommufd_private.h"

#include "fake.h"

#define TEST_BITS	4
#define TEST_VSID	0x77
#define TEST_ASID	0x55

/* Ids are handed out from the lowest on */
#define TEST_VMID	1
#define TEST_VMID_TOO	2
#define TEST_VMID_NAKED	3

/* What arm_vsmmu_cache_invalidate() issues with one CMD_SYNC */
#define TEST_BLOCK	(CMDQ_BATCH_ENTRIES - 1)
#define TEST_LEN	sizeof(struct iommu_viommu_arm_smmuv3_invalidate)

/* Two vSMMUs on one parent, and devices for each and for the parent itself */
struct vsmmu_test {
	struct arm_smmu_fake *fake;
	struct arm_smmu_fake_master *fm;
	struct arm_smmu_fake_master *fm_too;
	struct arm_smmu_fake_master *naked;
	struct iommu_domain *parent;
	struct arm_vsmmu *vsmmu;
	struct arm_vsmmu *vsmmu_too;
	struct iommu_domain *nested;
	struct iommu_domain *nested_too;
	unsigned long uaddr;
};

static struct iommu_domain *vsmmu_test_alloc(struct kunit *test,
					     struct arm_vsmmu *vsmmu,
					     unsigned int cfg, u64 eats)
{
	struct vsmmu_test *vt = test->priv;

	return arm_smmu_fake_alloc_nested(vt->fm, vsmmu, cfg, eats);
}

static struct vsmmu_test *vsmmu_test_setup(struct kunit *test, bool ats)
{
	struct vsmmu_test *vt = kunit_kzalloc(test, sizeof(*vt), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, vt);
	test->priv = vt;
	vt->fake = arm_smmu_fake_create(test, 8);
	vt->fake->smmu.vmid_bits = TEST_BITS;
	vt->fm = ats ? arm_smmu_fake_add_pci_master(vt->fake, (u32[]){ 1 }, 1, 0) :
		       arm_smmu_fake_add_master(vt->fake, 1, 0);
	vt->fm_too = arm_smmu_fake_add_master(vt->fake, 2, 0);
	vt->naked = arm_smmu_fake_add_master(vt->fake, 3, 0);
	vt->parent = arm_smmu_fake_alloc_domain(vt->fm,
						IOMMU_HWPT_ALLOC_NEST_PARENT);
	vt->vsmmu = arm_smmu_fake_alloc_vsmmu(vt->fake, vt->parent);
	vt->vsmmu_too = arm_smmu_fake_alloc_vsmmu(vt->fake, vt->parent);
	vt->nested = vsmmu_test_alloc(test, vt->vsmmu, STRTAB_STE_0_CFG_BYPASS,
				      STRTAB_STE_1_EATS_TRANS);
	vt->nested_too = vsmmu_test_alloc(test, vt->vsmmu_too,
					  STRTAB_STE_0_CFG_BYPASS,
					  STRTAB_STE_1_EATS_TRANS);
	arm_smmu_fake_drop_cmds(vt->fake);
	return vt;
}

/* As far as the vSMMU looks at it */
static void vsmmu_test_add_vdevice(struct kunit *test, struct arm_vsmmu *vsmmu,
				   struct arm_smmu_fake_master *fm)
{
	struct iommufd_device *idev;
	struct iommufd_vdevice *vdev;

	idev = kunit_kzalloc(test, sizeof(*idev), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, idev);
	vdev = kunit_kzalloc(test, sizeof(*vdev), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, vdev);
	idev->dev = fm->dev;
	vdev->idev = idev;
	vdev->virt_id = TEST_VSID;
	KUNIT_ASSERT_FALSE(test,
			   xa_is_err(xa_store(&vsmmu->core.vdevs, TEST_VSID,
					      vdev, GFP_KERNEL)));
}

/* Number of users of an entry of the parent's array */
static int vsmmu_test_users(struct vsmmu_test *vt, enum arm_smmu_inv_type type,
			    u32 id)
{
	struct arm_smmu_invs *invs = arm_smmu_fake_invs(vt->parent);
	size_t i;

	for (i = 0; i < invs->num_invs; i++)
		if (invs->inv[i].type == type && invs->inv[i].id == id)
			return invs->inv[i].users;
	return 0;
}

static void vsmmu_test_attach(struct kunit *test,
			      struct arm_smmu_fake_master *fm,
			      struct iommu_domain *domain)
{
	arm_smmu_fake_drop_cmds(fm->fake);
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(fm, domain));
}

/* Expect the VMIDs that were flushed, one bit for each, and what a device has */
static void vsmmu_test_expect(struct kunit *test, unsigned int flushed,
			      struct arm_smmu_fake_master *fm, u32 vmid)
{
	struct vsmmu_test *vt = test->priv;
	unsigned int vmids = 0;
	struct arm_smmu_cmd cmd;

	while (arm_smmu_fake_next_cmd(vt->fake, &cmd))
		if (FIELD_GET(CMDQ_0_OP, cmd.data[0]) == CMDQ_OP_TLBI_S12_VMALL)
			vmids |= BIT(FIELD_GET(CMDQ_TLBI_0_VMID, cmd.data[0]));
	KUNIT_EXPECT_EQ(test, vmids, flushed);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_hw_id(fm, IOMMU_NO_PASID), vmid);
}

static unsigned int vsmmu_test_num_ids(struct vsmmu_test *vt)
{
	return arm_smmu_fake_num_ids(&vt->fake->smmu.vmid_map);
}

/* Devices of two vSMMUs and of their parent, behind one SMMU, do not mix */
static void vsmmu_test_own_vmid(struct kunit *test)
{
	struct vsmmu_test *vt = vsmmu_test_setup(test, false);

	KUNIT_EXPECT_EQ(test, vt->vsmmu->vmid, TEST_VMID);
	KUNIT_EXPECT_EQ(test, vt->vsmmu_too->vmid, TEST_VMID_TOO);
	vsmmu_test_attach(test, vt->fm, vt->nested);
	vsmmu_test_expect(test, 0, vt->fm, TEST_VMID);
	vsmmu_test_attach(test, vt->fm_too, vt->nested_too);
	vsmmu_test_expect(test, 0, vt->fm_too, TEST_VMID_TOO);
	vsmmu_test_attach(test, vt->naked, vt->parent);
	vsmmu_test_expect(test, 0, vt->naked, TEST_VMID_NAKED);
	KUNIT_EXPECT_EQ(test, vsmmu_test_num_ids(vt), 3);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_invs(vt->parent)->num_invs, 5);
	KUNIT_EXPECT_EQ(test, 1, vsmmu_test_users(vt, INV_TYPE_S2_VMID_S1_CLEAR,
						  TEST_VMID));
	KUNIT_EXPECT_EQ(test, 1, vsmmu_test_users(vt, INV_TYPE_S2_VMID_VSMMU,
						  TEST_VMID_TOO));
	KUNIT_EXPECT_EQ(test, 1, vsmmu_test_users(vt, INV_TYPE_S2_VMID,
						  TEST_VMID_NAKED));
}

/* The VMID is flushed behind the last device, and is the vSMMU's for life */
static void vsmmu_test_moves(struct kunit *test)
{
	struct vsmmu_test *vt = vsmmu_test_setup(test, false);
	struct iommu_domain *abort;
	u64 cfg;

	abort = vsmmu_test_alloc(test, vt->vsmmu, STRTAB_STE_0_CFG_ABORT,
				 STRTAB_STE_1_EATS_ABT);
	vsmmu_test_attach(test, vt->fm, vt->nested);
	vsmmu_test_attach(test, vt->fm_too, vt->nested);
	KUNIT_EXPECT_EQ(test, 2, vsmmu_test_users(vt, INV_TYPE_S2_VMID_VSMMU,
						  TEST_VMID));
	vsmmu_test_attach(test, vt->fm_too, arm_smmu_fake_blocked(vt->fm));
	vsmmu_test_expect(test, 0, vt->fm_too, 0);
	/* Within the vSMMU */
	vsmmu_test_attach(test, vt->fm, abort);
	vsmmu_test_expect(test, 0, vt->fm, 0);
	cfg = le64_to_cpu(arm_smmu_fake_ste(vt->fm)->data[0]);
	cfg = FIELD_GET(STRTAB_STE_0_CFG, cfg);
	KUNIT_EXPECT_EQ(test, cfg, STRTAB_STE_0_CFG_ABORT);
	vsmmu_test_attach(test, vt->fm, vt->nested);
	vsmmu_test_expect(test, 0, vt->fm, TEST_VMID);
	/* To the other vSMMU, to the parent, and back */
	vsmmu_test_attach(test, vt->fm, vt->nested_too);
	vsmmu_test_expect(test, BIT(TEST_VMID), vt->fm, TEST_VMID_TOO);
	KUNIT_EXPECT_EQ(test, 0, vsmmu_test_users(vt, INV_TYPE_S2_VMID_VSMMU,
						  TEST_VMID));
	vsmmu_test_attach(test, vt->fm, vt->parent);
	vsmmu_test_expect(test, BIT(TEST_VMID_TOO), vt->fm, TEST_VMID_NAKED);
	vsmmu_test_attach(test, vt->fm, vt->nested);
	vsmmu_test_expect(test, BIT(TEST_VMID_NAKED), vt->fm, TEST_VMID);
	KUNIT_EXPECT_EQ(test, vsmmu_test_num_ids(vt), 2);
	vsmmu_test_attach(test, vt->fm, arm_smmu_fake_blocked(vt->fm));
	vsmmu_test_expect(test, BIT(TEST_VMID), vt->fm, 0);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_invs(vt->parent)->num_invs, 0);
	KUNIT_EXPECT_EQ(test, vsmmu_test_num_ids(vt), 2);
}

/* The VMID is flushed before it is freed, or it is not freed */
static void vsmmu_test_destroy(struct kunit *test)
{
	struct vsmmu_test *vt = vsmmu_test_setup(test, false);
	struct ida *ida = &vt->fake->smmu.vmid_map;
	struct arm_vsmmu vsmmu = {};

	KUNIT_ASSERT_EQ(test, 0,
			arm_smmu_fake_vsmmu_init(&vsmmu, vt->fake, vt->parent));
	vsmmu_test_expect(test, 0, vt->fm, 0);
	arm_smmu_fake_vsmmu_destroy(&vsmmu);
	vsmmu_test_expect(test, BIT(TEST_VMID_NAKED), vt->fm, 0);
	KUNIT_EXPECT_FALSE(test, ida_exists(ida, TEST_VMID_NAKED));

	memset(&vsmmu, 0, sizeof(vsmmu));
	KUNIT_ASSERT_EQ(test, 0,
			arm_smmu_fake_vsmmu_init(&vsmmu, vt->fake, vt->parent));
	arm_smmu_fake_stop(vt->fake, 0);
	arm_smmu_fake_vsmmu_destroy(&vsmmu);
	arm_smmu_fake_start(vt->fake);
	KUNIT_EXPECT_TRUE(test, ida_exists(ida, TEST_VMID_NAKED));
	vsmmu_test_attach(test, vt->naked, vt->parent);
	KUNIT_EXPECT_NE(test, arm_smmu_fake_hw_id(vt->naked, IOMMU_NO_PASID),
			TEST_VMID_NAKED);
}

/* No device gets the VMID before a flush that timed out is done again */
static void vsmmu_test_detach_timeout(struct kunit *test)
{
	struct vsmmu_test *vt = vsmmu_test_setup(test, false);
	struct arm_smmu_cmd cmd;
	unsigned int num = 0;

	/* The last two commands of a detach are the flush */
	vsmmu_test_attach(test, vt->fm, vt->nested);
	vsmmu_test_attach(test, vt->fm, arm_smmu_fake_blocked(vt->fm));
	while (arm_smmu_fake_next_cmd(vt->fake, &cmd))
		num++;
	vsmmu_test_attach(test, vt->fm, vt->nested);
	arm_smmu_fake_stop(vt->fake, num - 2);
	vsmmu_test_attach(test, vt->fm, arm_smmu_fake_blocked(vt->fm));
	KUNIT_EXPECT_EQ(test, -ETIMEDOUT,
			arm_smmu_fake_attach(vt->fm, vt->nested));
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_invs(vt->parent)->num_invs, 0);
	arm_smmu_fake_start(vt->fake);
	vsmmu_test_expect(test, BIT(TEST_VMID), vt->fm, 0);

	/* First the flush, then the STE, and for the next device nothing */
	vsmmu_test_attach(test, vt->fm, vt->nested);
	KUNIT_ASSERT_TRUE(test, arm_smmu_fake_next_cmd(vt->fake, &cmd));
	cmd.data[0] &= CMDQ_0_OP;
	KUNIT_EXPECT_EQ(test, cmd.data[0], CMDQ_OP_TLBI_S12_VMALL);
	vsmmu_test_expect(test, 0, vt->fm, TEST_VMID);
	vsmmu_test_attach(test, vt->fm_too, vt->nested);
	vsmmu_test_expect(test, 0, vt->fm_too, TEST_VMID);
}

static int vsmmu_test_impl_init(struct arm_vsmmu *vsmmu,
				const struct iommu_user_data *user_data)
{
	return -EIO;
}

/* Without a VMID, or if the implementation refuses, there is no vSMMU */
static void vsmmu_test_not_made(struct kunit *test)
{
	static const struct arm_smmu_impl_ops impl_ops = {
		.vsmmu_init = vsmmu_test_impl_init,
	};
	struct vsmmu_test *vt = vsmmu_test_setup(test, false);
	const struct arm_smmu_impl_ops *before = vt->fake->smmu.impl_ops;
	struct arm_vsmmu vsmmus[2] = {};

	vt->fake->smmu.impl_ops = (struct arm_smmu_impl_ops *)&impl_ops;
	vsmmus[0].core.type = IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV;
	vsmmus[0].core.iommu_dev = &vt->fake->smmu.iommu;
	KUNIT_EXPECT_EQ(test, -EIO,
			vt->fake->smmu.iommu.ops->viommu_init(&vsmmus[0].core,
							      vt->parent,
							      NULL));
	vt->fake->smmu.impl_ops = (struct arm_smmu_impl_ops *)before;
	KUNIT_EXPECT_EQ(test, vsmmu_test_num_ids(vt), 2);

	memset(&vsmmus[0], 0, sizeof(vsmmus[0]));
	vt->fake->smmu.vmid_bits = 2;
	KUNIT_ASSERT_EQ(test, 0,
			arm_smmu_fake_vsmmu_init(&vsmmus[0], vt->fake,
						 vt->parent));
	KUNIT_EXPECT_EQ(test, -ENOSPC,
			arm_smmu_fake_vsmmu_init(&vsmmus[1], vt->fake,
						 vt->parent));
	KUNIT_EXPECT_EQ(test, -ENOSPC,
			arm_smmu_fake_attach(vt->naked, vt->parent));
	/* A nested domain needs no other */
	vsmmu_test_attach(test, vt->fm, vt->nested);
	arm_smmu_fake_vsmmu_destroy(&vsmmus[0]);
	KUNIT_EXPECT_EQ(test, vsmmu_test_num_ids(vt), 2);
}

/* Each allocation of a nested attach fails in turn and leaves nothing behind */
static void vsmmu_test_no_memory(struct kunit *test)
{
	struct vsmmu_test *vt = vsmmu_test_setup(test, false);
	struct iommu_domain *translate;
	unsigned int nth;
	int ret, balance;

	vsmmu_test_add_vdevice(test, vt->vsmmu, vt->fm);
	translate = vsmmu_test_alloc(test, vt->vsmmu, STRTAB_STE_0_CFG_S1_TRANS,
				     STRTAB_STE_1_EATS_ABT);
	for (nth = 1;; nth++) {
		if (arm_smmu_fake_slab_start(test, nth))
			kunit_skip(test,
				   "needs CONFIG_KPROBES and CONFIG_FAILSLAB");
		ret = arm_smmu_fake_attach(vt->fm, translate);
		if (!arm_smmu_fake_slab_stop(test, &balance))
			break;
		KUNIT_ASSERT_EQ_MSG(test, ret, -ENOMEM, "allocation %u", nth);
		KUNIT_EXPECT_EQ_MSG(test, balance, 0, "allocation %u", nth);
		KUNIT_EXPECT_EQ(test, vsmmu_test_num_ids(vt), 2);
		KUNIT_EXPECT_EQ(test, arm_smmu_fake_invs(vt->parent)->num_invs,
				0);
		arm_smmu_fake_expect_cmds(vt->fake, NULL, 0);
	}
	KUNIT_EXPECT_EQ(test, ret, 0);
	/* The array, the arm_smmu_vmaster and the arm_smmu_master_domain */
	KUNIT_EXPECT_EQ(test, nth, 4);
	vsmmu_test_expect(test, 0, vt->fm, TEST_VMID);
}

/* The guest's STE decides about ATS, and so about entries for the ATC */
static void vsmmu_test_guest_ats(struct kunit *test)
{
	static const u64 eats[] = {
		STRTAB_STE_1_EATS_TRANS,
		STRTAB_STE_1_EATS_ABT,
		STRTAB_STE_1_EATS_TRANS,
	};
	struct vsmmu_test *vt = vsmmu_test_setup(test, true);
	unsigned int i;
	u64 val;

	vsmmu_test_add_vdevice(test, vt->vsmmu, vt->fm);
	for (i = 0; i < ARRAY_SIZE(eats); i++) {
		vsmmu_test_attach(test, vt->fm,
				  vsmmu_test_alloc(test, vt->vsmmu,
						   STRTAB_STE_0_CFG_S1_TRANS,
						   eats[i]));
		val = le64_to_cpu(arm_smmu_fake_ste(vt->fm)->data[1]);
		val = FIELD_GET(STRTAB_STE_1_EATS, val);
		KUNIT_EXPECT_EQ(test, val, eats[i]);
		KUNIT_EXPECT_EQ(test, eats[i] == STRTAB_STE_1_EATS_TRANS,
				vsmmu_test_users(vt, INV_TYPE_ATS_FULL, 1));
		KUNIT_EXPECT_EQ(test, eats[i] == STRTAB_STE_1_EATS_TRANS,
				!!(arm_smmu_fake_ats_ctrl(vt->fm) &
				   PCI_ATS_CTRL_ENABLE));
	}
}

static void vsmmu_test_write(struct kunit *test, unsigned long uaddr, u64 cmd0,
			     u64 cmd1)
{
	struct iommu_viommu_arm_smmuv3_invalidate entry = {
		.cmd[0] = cpu_to_le64(cmd0),
		.cmd[1] = cpu_to_le64(cmd1),
	};

	KUNIT_ASSERT_EQ(test, 0,
			copy_to_user((void __user *)uaddr, &entry,
				     sizeof(entry)));
}

/* Commands of a guest, with a VMID that is not its own */
static void vsmmu_test_write_good(struct kunit *test, unsigned long uaddr,
				  size_t len, u32 first, u32 num)
{
	u32 i;

	for (i = first; i < first + num; i++)
		vsmmu_test_write(test, uaddr + (i - first) * len,
				 CMDQ_OP_TLBI_NH_VA |
				 FIELD_PREP(CMDQ_TLBI_0_ASID, TEST_ASID) |
				 FIELD_PREP(CMDQ_TLBI_0_VMID, 0xdead),
				 (u64)i << 12);
}

static void vsmmu_test_mmap(struct kunit *test, size_t size)
{
	struct vsmmu_test *vt = test->priv;

	vt->uaddr = kunit_vm_mmap(test, NULL, 0, size, PROT_READ | PROT_WRITE,
				  MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_NE(test, vt->uaddr, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR_VALUE(vt->uaddr));
}

/*
 * Expect an error, that this many entries are said to be done, and that @issued
 * of them reach the SMMU under the VMID of the vSMMU, in blocks.
 */
static void vsmmu_test_invalidate(struct kunit *test, unsigned long uaddr,
				  size_t len, u32 num, int ret, u32 done,
				  u32 issued)
{
	const u64 expected = CMDQ_OP_TLBI_NH_VA |
			     FIELD_PREP(CMDQ_TLBI_0_ASID, TEST_ASID) |
			     FIELD_PREP(CMDQ_TLBI_0_VMID, TEST_VMID);
	struct vsmmu_test *vt = test->priv;
	struct iommu_user_data_array array = {
		.type = IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3,
		.uptr = (void __user *)uaddr,
		.entry_len = len,
		.entry_num = num,
	};
	struct arm_smmu_cmd cmd;
	u32 i;

	arm_smmu_fake_drop_cmds(vt->fake);
	KUNIT_ASSERT_EQ_MSG(test, ret,
			    arm_vsmmu_cache_invalidate(&vt->vsmmu->core, &array),
			    "%u of %u", done, num);
	KUNIT_ASSERT_EQ_MSG(test, done, array.entry_num, "%u of %u", done, num);
	arm_smmu_fake_start(vt->fake);
	for (i = 0; i < issued; i++) {
		if (i && !(i % TEST_BLOCK)) {
			KUNIT_ASSERT_TRUE(test, arm_smmu_fake_next_cmd(vt->fake,
								       &cmd));
			KUNIT_ASSERT_EQ(test, cmd.data[0] & CMDQ_0_OP,
					CMDQ_OP_CMD_SYNC);
		}
		KUNIT_ASSERT_TRUE(test, arm_smmu_fake_next_cmd(vt->fake, &cmd));
		KUNIT_ASSERT_EQ(test, cmd.data[0], expected);
		KUNIT_ASSERT_EQ(test, cmd.data[1], (u64)i << 12);
	}
	if (issued)
		KUNIT_ASSERT_TRUE(test, arm_smmu_fake_next_cmd(vt->fake, &cmd));
	arm_smmu_fake_expect_cmds(vt->fake, NULL, 0);
}

/* A bad entry at any place: those before it are issued, and counted */
static void vsmmu_test_bad_entry(struct kunit *test)
{
	static const u32 nums[] = {
		1, 2, TEST_BLOCK, TEST_BLOCK + 1, 2 * TEST_BLOCK + 1,
	};
	static const u64 bad_cmds[] = {
		CMDQ_OP_CMD_SYNC,
		/* A reserved bit */
		CMDQ_OP_TLBI_NH_ALL | BIT_ULL(10),
		/* No vDEVICE has this virtual stream ID */
		CMDQ_OP_CFGI_CD_ALL | FIELD_PREP_CONST(CMDQ_CFGI_0_SID, 7ULL),
	};
	struct vsmmu_test *vt = vsmmu_test_setup(test, false);
	u32 bad, n;

	vsmmu_test_mmap(test, PAGE_SIZE);
	vsmmu_test_write_good(test, vt->uaddr, TEST_LEN, 0, 2 * TEST_BLOCK + 1);
	for (n = 0; n < ARRAY_SIZE(nums); n++) {
		vsmmu_test_invalidate(test, vt->uaddr, TEST_LEN, nums[n], 0,
				      nums[n], nums[n]);
		for (bad = 0; bad < nums[n]; bad++) {
			unsigned long uaddr = vt->uaddr + bad * TEST_LEN;

			vsmmu_test_write(test, uaddr,
					 bad_cmds[bad % ARRAY_SIZE(bad_cmds)],
					 0);
			vsmmu_test_invalidate(test, vt->uaddr, TEST_LEN,
					      nums[n], -EIO, bad, bad);
			vsmmu_test_write_good(test, uaddr, TEST_LEN, bad, 1);
		}
	}
}

/* Of a block that cannot be read, or holds a long entry, nothing is issued */
static void vsmmu_test_bad_memory(struct kunit *test)
{
	static const u32 readable[] = {
		0, TEST_BLOCK - 1, TEST_BLOCK, TEST_BLOCK + 5, 2 * TEST_BLOCK,
	};
	const size_t long_len = TEST_LEN + sizeof(u64);
	struct vsmmu_test *vt = vsmmu_test_setup(test, false);
	unsigned long uaddr;
	u32 n, issued;

	vsmmu_test_mmap(test, 2 * PAGE_SIZE);
	KUNIT_ASSERT_EQ(test, 0, vm_munmap(vt->uaddr + PAGE_SIZE, PAGE_SIZE));
	for (n = 0; n < ARRAY_SIZE(readable); n++) {
		uaddr = vt->uaddr + PAGE_SIZE - readable[n] * TEST_LEN;
		vsmmu_test_write_good(test, uaddr, TEST_LEN, 0, readable[n]);
		issued = rounddown(readable[n], TEST_BLOCK);
		vsmmu_test_invalidate(test, uaddr, TEST_LEN, 3 * TEST_BLOCK,
				      -EFAULT, issued, issued);
	}

	/* A newer user space may pass more if it is zero */
	vsmmu_test_mmap(test, PAGE_SIZE);
	vsmmu_test_write_good(test, vt->uaddr, long_len, 0, 2 * TEST_BLOCK);
	vsmmu_test_invalidate(test, vt->uaddr, long_len, 2 * TEST_BLOCK, 0,
			      2 * TEST_BLOCK, 2 * TEST_BLOCK);
	uaddr = vt->uaddr + TEST_BLOCK * long_len + TEST_LEN;
	KUNIT_ASSERT_EQ(test, 0, put_user(1ULL, (u64 __user *)uaddr));
	vsmmu_test_invalidate(test, vt->uaddr, long_len, 2 * TEST_BLOCK, -E2BIG,
			      TEST_BLOCK, TEST_BLOCK);
}

/* A block is counted when its CMD_SYNC has completed */
static void vsmmu_test_inv_timeout(struct kunit *test)
{
	static const struct {
		u32 num;
		u32 consumed;
		u32 done;
		u32 issued;
	} cases[] = {
		{ 3, 0, 0, 3 },
		{ 3, 3, 0, 3 },
		{ 3 * TEST_BLOCK, TEST_BLOCK + 1, TEST_BLOCK, 2 * TEST_BLOCK },
	};
	struct vsmmu_test *vt = vsmmu_test_setup(test, false);
	unsigned int n;

	vsmmu_test_mmap(test, PAGE_SIZE);
	vsmmu_test_write_good(test, vt->uaddr, TEST_LEN, 0, 3 * TEST_BLOCK);
	for (n = 0; n < ARRAY_SIZE(cases); n++) {
		arm_smmu_fake_stop(vt->fake, cases[n].consumed);
		vsmmu_test_invalidate(test, vt->uaddr, TEST_LEN, cases[n].num,
				      -ETIMEDOUT, cases[n].done,
				      cases[n].issued);
	}
}

/* User space may ask this way for a type. An invalidation needs no memory. */
static void vsmmu_test_type(struct kunit *test)
{
	struct vsmmu_test *vt = vsmmu_test_setup(test, false);
	struct iommu_user_data_array array = {
		.type = IOMMU_HWPT_INVALIDATE_DATA_VTD_S1,
		.entry_len = TEST_LEN,
		.entry_num = 1,
	};
	int ret, balance;

	vsmmu_test_mmap(test, PAGE_SIZE);
	vsmmu_test_write_good(test, vt->uaddr, TEST_LEN, 0, 1);
	array.uptr = (void __user *)vt->uaddr;
	KUNIT_EXPECT_EQ(test, -EINVAL,
			arm_vsmmu_cache_invalidate(&vt->vsmmu->core, &array));
	KUNIT_EXPECT_EQ(test, array.entry_num, 0);
	KUNIT_EXPECT_EQ(test, -EINVAL,
			arm_vsmmu_cache_invalidate(&vt->vsmmu->core, &array));
	vsmmu_test_invalidate(test, 0, TEST_LEN, 0, 0, 0, 0);

	array.type = IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3;
	array.entry_num = 1;
	if (arm_smmu_fake_slab_start(test, 1))
		kunit_skip(test, "needs CONFIG_KPROBES and CONFIG_FAILSLAB");
	ret = arm_vsmmu_cache_invalidate(&vt->vsmmu->core, &array);
	KUNIT_EXPECT_FALSE(test, arm_smmu_fake_slab_stop(test, &balance));
	KUNIT_EXPECT_EQ(test, ret, 0);
	KUNIT_EXPECT_EQ(test, array.entry_num, 1);
}

static struct kunit_case vsmmu_test_cases[] = {
	KUNIT_CASE(vsmmu_test_own_vmid),
	KUNIT_CASE(vsmmu_test_moves),
	KUNIT_CASE(vsmmu_test_destroy),
	KUNIT_CASE(vsmmu_test_detach_timeout),
	KUNIT_CASE(vsmmu_test_not_made),
	KUNIT_CASE(vsmmu_test_no_memory),
	KUNIT_CASE(vsmmu_test_guest_ats),
	KUNIT_CASE(vsmmu_test_bad_entry),
	KUNIT_CASE(vsmmu_test_bad_memory),
	KUNIT_CASE(vsmmu_test_inv_timeout),
	KUNIT_CASE(vsmmu_test_type),
	{}
};

static struct kunit_suite vsmmu_test_suite = {
	.name = "arm-smmu-v3-vsmmu",
	.test_cases = vsmmu_test_cases,
};

kunit_test_suite(vsmmu_test_suite);
