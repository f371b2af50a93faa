// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of the VMID that a vSMMU has, and of what its type in the
 * invalidation array makes the driver issue, on a fake SMMU
 */
#include <uapi/linux/iommufd.h>

#include "../../iommufd/iommufd_private.h"

#include "arm-smmu-v3-fake.h"

#define TEST_BITS	4
#define TEST_IOVA	SZ_1G
#define TEST_VSID	0x77

/* Ids are handed out from the lowest on */
#define TEST_VMID	1
#define TEST_VMID_TOO	2
#define TEST_VMID_NAKED	3

#define TEST_SID	1
#define TEST_SID_TOO	2
#define TEST_SID_NAKED	3

struct vmid_test {
	struct arm_smmu_fake *fake;
	struct arm_smmu_fake_master *fm;
	struct arm_smmu_fake_master *fm_too;
	struct arm_smmu_fake_master *naked;
	struct iommu_domain *parent;
	struct arm_vsmmu *vsmmu;
	struct arm_vsmmu *vsmmu_too;
	struct iommu_domain *nested;
	struct iommu_domain *nested_too;
};

static unsigned int vmid_test_num_ids(struct arm_smmu_fake *fake)
{
	return arm_smmu_fake_num_ids(&fake->smmu.vmid_map);
}

static struct arm_smmu_fake *vmid_test_create(struct kunit *test)
{
	struct arm_smmu_fake *fake = arm_smmu_fake_create(test, 8);

	fake->smmu.vmid_bits = TEST_BITS;
	return fake;
}

static struct iommu_domain *vmid_test_alloc_nested(struct kunit *test,
						   struct arm_vsmmu *vsmmu,
						   unsigned int cfg)
{
	struct vmid_test *vt = test->priv;

	return arm_smmu_fake_alloc_nested(vt->fm, vsmmu, cfg,
					  STRTAB_STE_1_EATS_TRANS);
}

/* As far as the vSMMU looks at it */
static void vmid_test_add_vdevice(struct kunit *test, struct arm_vsmmu *vsmmu,
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

/* Two vSMMUs on one parent, and devices for each and for the parent itself */
static void vmid_test_setup(struct kunit *test, u32 features)
{
	struct vmid_test *vt;

	vt = kunit_kzalloc(test, sizeof(*vt), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, vt);
	test->priv = vt;
	vt->fake = vmid_test_create(test);
	vt->fake->smmu.features &= ~ARM_SMMU_FEAT_ATS;
	vt->fake->smmu.features |= features;
	if (features & ARM_SMMU_FEAT_ATS) {
		vt->fm = arm_smmu_fake_add_pci_master(vt->fake,
						      (u32[]){ TEST_SID }, 1,
						      0);
		vt->naked = arm_smmu_fake_add_pci_master(vt->fake,
							 (u32[]){ TEST_SID_NAKED },
							 1, 0);
	} else {
		vt->fm = arm_smmu_fake_add_master(vt->fake, TEST_SID, 0);
		vt->naked = arm_smmu_fake_add_master(vt->fake, TEST_SID_NAKED,
						     0);
	}
	vt->fm_too = arm_smmu_fake_add_master(vt->fake, TEST_SID_TOO, 0);

	vt->parent = arm_smmu_fake_alloc_domain(vt->fm,
						IOMMU_HWPT_ALLOC_NEST_PARENT);
	vt->vsmmu = arm_smmu_fake_alloc_vsmmu(vt->fake, vt->parent);
	vt->vsmmu_too = arm_smmu_fake_alloc_vsmmu(vt->fake, vt->parent);
	vt->nested = vmid_test_alloc_nested(test, vt->vsmmu,
					    STRTAB_STE_0_CFG_BYPASS);
	vt->nested_too = vmid_test_alloc_nested(test, vt->vsmmu_too,
						STRTAB_STE_0_CFG_BYPASS);
	arm_smmu_fake_drop_cmds(vt->fake);
}

/* The VMID of stage 2 in the STE of the device, 0 if there is no stage 2 */
static u32 vmid_test_ste_vmid(struct arm_smmu_fake_master *fm)
{
	struct arm_smmu_ste *ste = arm_smmu_fake_ste(fm);
	u64 cfg = FIELD_GET(STRTAB_STE_0_CFG, le64_to_cpu(ste->data[0]));

	if (cfg != STRTAB_STE_0_CFG_S2_TRANS && cfg != STRTAB_STE_0_CFG_NESTED)
		return 0;
	return FIELD_GET(STRTAB_STE_2_S2VMID, le64_to_cpu(ste->data[2]));
}

/* How many users the entry has in the array of the parent */
static int vmid_test_users(struct kunit *test, enum arm_smmu_inv_type type,
			   u32 vmid)
{
	struct vmid_test *vt = test->priv;
	struct arm_smmu_invs *invs = arm_smmu_fake_invs(vt->parent);
	size_t i;

	for (i = 0; i < invs->num_invs; i++)
		if (invs->inv[i].type == type && invs->inv[i].id == vmid)
			return invs->inv[i].users;
	return 0;
}

static void vmid_test_attach(struct kunit *test,
			     struct arm_smmu_fake_master *fm,
			     struct iommu_domain *domain)
{
	arm_smmu_fake_drop_cmds(fm->fake);
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(fm, domain));
}

/* What was flushed of what has been issued: the VMIDs, one bit for each */
static unsigned int vmid_test_flushed(struct kunit *test,
				      struct arm_smmu_fake *fake)
{
	unsigned int vmids = 0;
	struct arm_smmu_cmd cmd;
	u64 op;

	while (arm_smmu_fake_next_cmd(fake, &cmd)) {
		op = FIELD_GET(CMDQ_0_OP, cmd.data[0]);
		KUNIT_EXPECT_NE(test, op, CMDQ_OP_TLBI_NH_ALL);
		KUNIT_EXPECT_NE(test, op, CMDQ_OP_TLBI_NH_ASID);
		if (op != CMDQ_OP_TLBI_S12_VMALL)
			continue;
		vmids |= BIT(FIELD_GET(CMDQ_TLBI_0_VMID, cmd.data[0]));
		KUNIT_ASSERT_TRUE(test, arm_smmu_fake_next_cmd(fake, &cmd));
		KUNIT_EXPECT_EQ(test, cmd.data[0] & CMDQ_0_OP,
				CMDQ_OP_CMD_SYNC);
	}
	return vmids;
}

/* Devices of two vSMMUs and of their parent, behind one SMMU, do not mix */
static void vmid_test_own_vmid(struct kunit *test)
{
	struct vmid_test *vt;

	vmid_test_setup(test, 0);
	vt = test->priv;
	KUNIT_EXPECT_EQ(test, vt->vsmmu->vmid, TEST_VMID);
	KUNIT_EXPECT_EQ(test, vt->vsmmu_too->vmid, TEST_VMID_TOO);
	KUNIT_EXPECT_EQ(test, vmid_test_num_ids(vt->fake), 2);

	vmid_test_attach(test, vt->fm, vt->nested);
	vmid_test_attach(test, vt->fm_too, vt->nested_too);
	KUNIT_EXPECT_EQ(test, vmid_test_num_ids(vt->fake), 2);
	vmid_test_attach(test, vt->naked, vt->parent);
	KUNIT_EXPECT_EQ(test, vmid_test_num_ids(vt->fake), 3);

	KUNIT_EXPECT_EQ(test, vmid_test_ste_vmid(vt->fm), TEST_VMID);
	KUNIT_EXPECT_EQ(test, vmid_test_ste_vmid(vt->fm_too), TEST_VMID_TOO);
	KUNIT_EXPECT_EQ(test, vmid_test_ste_vmid(vt->naked), TEST_VMID_NAKED);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_invs(vt->parent)->num_invs, 5);
	KUNIT_EXPECT_EQ(test, 1,
			vmid_test_users(test, INV_TYPE_S2_VMID_VSMMU,
					TEST_VMID));
	KUNIT_EXPECT_EQ(test, 1,
			vmid_test_users(test, INV_TYPE_S2_VMID_S1_CLEAR,
					TEST_VMID));
	KUNIT_EXPECT_EQ(test, 1,
			vmid_test_users(test, INV_TYPE_S2_VMID_VSMMU,
					TEST_VMID_TOO));
	KUNIT_EXPECT_EQ(test, 1,
			vmid_test_users(test, INV_TYPE_S2_VMID_S1_CLEAR,
					TEST_VMID_TOO));
	KUNIT_EXPECT_EQ(test, 1,
			vmid_test_users(test, INV_TYPE_S2_VMID,
					TEST_VMID_NAKED));
}

/* It is flushed when nobody uses it, and stays the vSMMU's all the same */
static void vmid_test_attach_and_detach(struct kunit *test)
{
	struct vmid_test *vt;

	vmid_test_setup(test, 0);
	vt = test->priv;
	vmid_test_attach(test, vt->fm, vt->nested);
	vmid_test_attach(test, vt->fm_too, vt->nested);
	KUNIT_EXPECT_EQ(test, 2,
			vmid_test_users(test, INV_TYPE_S2_VMID_VSMMU,
					TEST_VMID));

	vmid_test_attach(test, vt->fm_too, arm_smmu_ops.blocked_domain);
	KUNIT_EXPECT_EQ(test, vmid_test_flushed(test, vt->fake), 0);
	vmid_test_attach(test, vt->fm, arm_smmu_ops.blocked_domain);
	KUNIT_EXPECT_EQ(test, vmid_test_flushed(test, vt->fake),
			BIT(TEST_VMID));
	KUNIT_EXPECT_EQ(test, vmid_test_ste_vmid(vt->fm), 0);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_invs(vt->parent)->num_invs, 0);
	KUNIT_EXPECT_TRUE(test, ida_exists(&vt->fake->smmu.vmid_map,
					   TEST_VMID));
}

/* From one nested domain to another, of the same vSMMU and of the other one */
static void vmid_test_nested_to_nested(struct kunit *test)
{
	struct iommu_domain *nested_again;
	struct vmid_test *vt;

	vmid_test_setup(test, 0);
	vt = test->priv;
	nested_again = vmid_test_alloc_nested(test, vt->vsmmu,
					      STRTAB_STE_0_CFG_ABORT);
	vmid_test_attach(test, vt->fm, vt->nested);

	vmid_test_attach(test, vt->fm, nested_again);
	KUNIT_EXPECT_EQ(test, vmid_test_flushed(test, vt->fake), 0);
	KUNIT_EXPECT_EQ(test, 1,
			vmid_test_users(test, INV_TYPE_S2_VMID_VSMMU,
					TEST_VMID));
	vmid_test_attach(test, vt->fm, vt->nested);
	KUNIT_EXPECT_EQ(test, vmid_test_flushed(test, vt->fake), 0);
	KUNIT_EXPECT_EQ(test, vmid_test_ste_vmid(vt->fm), TEST_VMID);

	vmid_test_attach(test, vt->fm, vt->nested_too);
	KUNIT_EXPECT_EQ(test, vmid_test_flushed(test, vt->fake),
			BIT(TEST_VMID));
	KUNIT_EXPECT_EQ(test, vmid_test_ste_vmid(vt->fm), TEST_VMID_TOO);
	KUNIT_EXPECT_EQ(test, 0,
			vmid_test_users(test, INV_TYPE_S2_VMID_VSMMU,
					TEST_VMID));
	KUNIT_EXPECT_EQ(test, 1,
			vmid_test_users(test, INV_TYPE_S2_VMID_VSMMU,
					TEST_VMID_TOO));
	KUNIT_EXPECT_EQ(test, vmid_test_num_ids(vt->fake), 2);
}

/* From the parent to a domain that is nested on it, and back */
static void vmid_test_naked_to_nested(struct kunit *test)
{
	struct vmid_test *vt;

	vmid_test_setup(test, 0);
	vt = test->priv;
	vmid_test_attach(test, vt->fm, vt->parent);
	KUNIT_EXPECT_EQ(test, vmid_test_ste_vmid(vt->fm), TEST_VMID_NAKED);

	vmid_test_attach(test, vt->fm, vt->nested);
	KUNIT_EXPECT_EQ(test, vmid_test_flushed(test, vt->fake),
			BIT(TEST_VMID_NAKED));
	KUNIT_EXPECT_EQ(test, vmid_test_ste_vmid(vt->fm), TEST_VMID);
	KUNIT_EXPECT_EQ(test, vmid_test_num_ids(vt->fake), 2);

	vmid_test_attach(test, vt->fm, vt->parent);
	KUNIT_EXPECT_EQ(test, vmid_test_flushed(test, vt->fake),
			BIT(TEST_VMID));
	KUNIT_EXPECT_EQ(test, vmid_test_ste_vmid(vt->fm), TEST_VMID_NAKED);
	KUNIT_EXPECT_EQ(test, 0,
			vmid_test_users(test, INV_TYPE_S2_VMID_S1_CLEAR,
					TEST_VMID));
	KUNIT_EXPECT_EQ(test, vmid_test_num_ids(vt->fake), 3);
}

/* The VMID is flushed, and only then somebody else's */
static void vmid_test_destroy(struct kunit *test)
{
	struct arm_vsmmu vsmmu = {};
	struct vmid_test *vt;

	vmid_test_setup(test, 0);
	vt = test->priv;
	KUNIT_ASSERT_EQ(test, 0,
			arm_smmu_fake_vsmmu_init(&vsmmu, vt->fake,
						 vt->parent));
	KUNIT_EXPECT_EQ(test, vsmmu.vmid, TEST_VMID_NAKED);
	KUNIT_EXPECT_EQ(test, vmid_test_flushed(test, vt->fake), 0);

	arm_smmu_fake_vsmmu_destroy(&vsmmu);
	KUNIT_EXPECT_EQ(test, vmid_test_flushed(test, vt->fake),
			BIT(TEST_VMID_NAKED));
	KUNIT_EXPECT_EQ(test, vmid_test_num_ids(vt->fake), 2);
}

static void vmid_test_destroy_timeout(struct kunit *test)
{
	struct arm_vsmmu vsmmu = {};
	struct vmid_test *vt;

	vmid_test_setup(test, 0);
	vt = test->priv;
	KUNIT_ASSERT_EQ(test, 0,
			arm_smmu_fake_vsmmu_init(&vsmmu, vt->fake,
						 vt->parent));
	arm_smmu_fake_stop(vt->fake, 0);
	arm_smmu_fake_vsmmu_destroy(&vsmmu);
	arm_smmu_fake_start(vt->fake);

	/* Nobody knows what the TLB still has under it */
	KUNIT_EXPECT_TRUE(test, ida_exists(&vt->fake->smmu.vmid_map,
					   TEST_VMID_NAKED));
	vmid_test_attach(test, vt->naked, vt->parent);
	KUNIT_EXPECT_NE(test, vmid_test_ste_vmid(vt->naked), TEST_VMID_NAKED);
	ida_free(&vt->fake->smmu.vmid_map, TEST_VMID_NAKED);
}

/*
 * The flush of the last detach times out. The VMID remains the vSMMU's, but no
 * device gets it before it is flushed.
 */
static void vmid_test_detach_timeout(struct kunit *test)
{
	unsigned int num_cmds = 0;
	const struct arm_smmu_cmd flush =
		arm_smmu_make_cmd_tlbi(CMDQ_OP_TLBI_S12_VMALL, 0, TEST_VMID);
	struct arm_smmu_cmd cmd;
	struct vmid_test *vt;

	vmid_test_setup(test, 0);
	vt = test->priv;
	/* How many commands are there, of which the last two are the flush? */
	vmid_test_attach(test, vt->fm, vt->nested);
	vmid_test_attach(test, vt->fm, arm_smmu_ops.blocked_domain);
	while (arm_smmu_fake_next_cmd(vt->fake, &cmd))
		num_cmds++;

	vmid_test_attach(test, vt->fm, vt->nested);
	arm_smmu_fake_stop(vt->fake, num_cmds - 1);
	vmid_test_attach(test, vt->fm, arm_smmu_ops.blocked_domain);
	arm_smmu_fake_drop_cmds(vt->fake);

	arm_smmu_fake_stop(vt->fake, 0);
	KUNIT_EXPECT_EQ(test, -ETIMEDOUT,
			arm_smmu_fake_attach(vt->fm, vt->nested));
	arm_smmu_fake_start(vt->fake);
	KUNIT_EXPECT_EQ(test, vmid_test_flushed(test, vt->fake),
			BIT(TEST_VMID));
	KUNIT_EXPECT_EQ(test, vmid_test_ste_vmid(vt->fm), 0);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_invs(vt->parent)->num_invs, 0);

	/* First the flush, then the STE, and for the next device nothing */
	vmid_test_attach(test, vt->fm, vt->nested);
	KUNIT_ASSERT_TRUE(test, arm_smmu_fake_next_cmd(vt->fake, &cmd));
	KUNIT_EXPECT_EQ(test, cmd.data[0], flush.data[0]);
	KUNIT_EXPECT_EQ(test, vmid_test_ste_vmid(vt->fm), TEST_VMID);
	vmid_test_attach(test, vt->fm_too, vt->nested);
	KUNIT_EXPECT_EQ(test, vmid_test_flushed(test, vt->fake), 0);
	KUNIT_EXPECT_EQ(test, vmid_test_num_ids(vt->fake), 2);
}

static void vmid_test_no_vmid(struct kunit *test)
{
	struct arm_vsmmu vsmmus[2] = {};
	struct vmid_test *vt;

	vmid_test_setup(test, 0);
	vt = test->priv;
	vt->fake->smmu.vmid_bits = 2;

	KUNIT_ASSERT_EQ(test, 0,
			arm_smmu_fake_vsmmu_init(&vsmmus[0], vt->fake,
						 vt->parent));
	KUNIT_EXPECT_EQ(test, -ENOSPC,
			arm_smmu_fake_vsmmu_init(&vsmmus[1], vt->fake,
						 vt->parent));
	KUNIT_EXPECT_EQ(test, -ENOSPC,
			arm_smmu_fake_attach(vt->naked, vt->parent));
	/* Here is a VMID already */
	vmid_test_attach(test, vt->fm, vt->nested);

	arm_smmu_fake_vsmmu_destroy(&vsmmus[0]);
	KUNIT_ASSERT_EQ(test, 0,
			arm_smmu_fake_vsmmu_init(&vsmmus[1], vt->fake,
						 vt->parent));
	arm_smmu_fake_vsmmu_destroy(&vsmmus[1]);
	KUNIT_EXPECT_EQ(test, vmid_test_num_ids(vt->fake), 2);
}

static int vmid_test_impl_init(struct arm_vsmmu *vsmmu,
			       const struct iommu_user_data *user_data)
{
	return -EIO;
}

/* What the implementation adds to a vSMMU of its type fails */
static void vmid_test_init_fails(struct kunit *test)
{
	static const struct arm_smmu_impl_ops impl_ops = {
		.vsmmu_init = vmid_test_impl_init,
	};
	struct arm_vsmmu vsmmu = {};
	struct vmid_test *vt;

	vmid_test_setup(test, 0);
	vt = test->priv;
	vt->fake->smmu.impl_ops = &impl_ops;
	vsmmu.core.type = IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV;
	vsmmu.core.iommu_dev = &vt->fake->smmu.iommu;
	KUNIT_EXPECT_EQ(test, -EIO,
			arm_smmu_ops.viommu_init(&vsmmu.core, vt->parent,
						 NULL));
	KUNIT_EXPECT_EQ(test, vmid_test_num_ids(vt->fake), 2);
	vt->fake->smmu.impl_ops = NULL;
}

/* Let each allocation of an attach fail in turn until there is none left */
static void vmid_test_no_memory(struct kunit *test)
{
	struct iommu_domain *translate;
	struct arm_smmu_cmd cmd;
	struct vmid_test *vt;
	unsigned int nth;
	int ret, balance;

	vmid_test_setup(test, 0);
	vt = test->priv;
	vmid_test_add_vdevice(test, vt->vsmmu, vt->fm);
	translate = vmid_test_alloc_nested(test, vt->vsmmu,
					   STRTAB_STE_0_CFG_S1_TRANS);
	for (nth = 1;; nth++) {
		if (arm_smmu_fake_slab_start(test, nth))
			kunit_skip(test,
				   "needs CONFIG_KPROBES and CONFIG_FAILSLAB");
		ret = arm_smmu_fake_attach(vt->fm, translate);
		if (!arm_smmu_fake_slab_stop(test, &balance))
			break;
		KUNIT_ASSERT_EQ_MSG(test, ret, -ENOMEM, "allocation %u", nth);
		KUNIT_EXPECT_EQ_MSG(test, balance, 0, "allocation %u", nth);
		KUNIT_EXPECT_EQ(test, vmid_test_num_ids(vt->fake), 2);
		KUNIT_EXPECT_EQ(test, arm_smmu_fake_invs(vt->parent)->num_invs, 0);
		KUNIT_EXPECT_FALSE(test,
				   arm_smmu_fake_next_cmd(vt->fake, &cmd));
	}
	KUNIT_EXPECT_EQ(test, ret, 0);
	/* The array, the arm_smmu_vmaster and the arm_smmu_master_domain */
	KUNIT_EXPECT_EQ(test, nth, 4);
	KUNIT_EXPECT_EQ(test, vmid_test_ste_vmid(vt->fm), TEST_VMID);
}

/* A vSMMU is for devices behind its own SMMU */
static void vmid_test_wrong_smmu(struct kunit *test)
{
	struct arm_smmu_fake_master *far;
	struct vmid_test *vt;

	vmid_test_setup(test, 0);
	vt = test->priv;
	far = arm_smmu_fake_add_master(vmid_test_create(test), TEST_SID, 0);
	KUNIT_EXPECT_EQ(test, -EINVAL, arm_smmu_fake_attach(far, vt->nested));
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_invs(vt->parent)->num_invs, 0);
	KUNIT_EXPECT_EQ(test, vmid_test_num_ids(far->fake), 0);
}

#define TEST_NESTED	BIT(0)
#define TEST_NESTED_TOO	BIT(1)
#define TEST_NAKED	BIT(2)
#define TEST_FLUSH_ALL	BIT(3)

#define TEST_TLBI(op, vmid, addr) \
	{ { CMDQ_OP_TLBI_##op | FIELD_PREP_CONST(CMDQ_TLBI_0_VMID, vmid), addr } }
#define TEST_ATC_INV(sid, addr) \
	{ { CMDQ_OP_ATC_INV | FIELD_PREP_CONST(CMDQ_ATC_0_SID, (u64)(sid)), addr } }
#define TEST_SYNC	{ { CMDQ_OP_CMD_SYNC } }

#define TEST_LEAF	(TEST_IOVA | CMDQ_TLBI_1_LEAF)
/* Of granule 4K on level 3; NUM and SCALE are 0 for one page */
#define TEST_RIL_LEAF	(TEST_LEAF | FIELD_PREP_CONST(CMDQ_TLBI_1_TG, 1) | \
			 FIELD_PREP_CONST(CMDQ_TLBI_1_TTL, 3))

static const struct vmid_test_cmds {
	const char *name;
	u32 features;
	unsigned int what;
	struct arm_smmu_cmd cmds[8];
} vmid_test_cmds[] = {
	{
		.name = "naked",
		.what = TEST_NAKED,
		.cmds = {
			TEST_TLBI(S2_IPA, TEST_VMID_NAKED, TEST_LEAF),
			TEST_SYNC,
		},
	},
	{
		.name = "nested",
		.what = TEST_NESTED,
		.cmds = {
			TEST_TLBI(S2_IPA, TEST_VMID, TEST_LEAF),
			TEST_SYNC,
			TEST_TLBI(NH_ALL, TEST_VMID, 0),
			TEST_SYNC,
		},
	},
	{
		.name = "nested, range invalidation",
		.features = ARM_SMMU_FEAT_RANGE_INV,
		.what = TEST_NESTED,
		.cmds = {
			TEST_TLBI(S2_IPA, TEST_VMID, TEST_RIL_LEAF),
			TEST_SYNC,
			TEST_TLBI(NH_ALL, TEST_VMID, 0),
			TEST_SYNC,
		},
	},
	{
		.name = "nested, all",
		.what = TEST_NESTED | TEST_FLUSH_ALL,
		.cmds = {
			TEST_TLBI(S12_VMALL, TEST_VMID, 0),
			TEST_SYNC,
		},
	},
	{
		.name = "nested on two vSMMUs",
		.what = TEST_NESTED | TEST_NESTED_TOO,
		.cmds = {
			TEST_TLBI(S2_IPA, TEST_VMID, TEST_LEAF),
			TEST_TLBI(S2_IPA, TEST_VMID_TOO, TEST_LEAF),
			TEST_SYNC,
			TEST_TLBI(NH_ALL, TEST_VMID, 0),
			TEST_TLBI(NH_ALL, TEST_VMID_TOO, 0),
			TEST_SYNC,
		},
	},
	{
		.name = "naked beside nested",
		.what = TEST_NAKED | TEST_NESTED,
		.cmds = {
			TEST_TLBI(S2_IPA, TEST_VMID_NAKED, TEST_LEAF),
			TEST_TLBI(S2_IPA, TEST_VMID, TEST_LEAF),
			TEST_SYNC,
			TEST_TLBI(NH_ALL, TEST_VMID, 0),
			TEST_SYNC,
		},
	},
	{
		.name = "naked beside nested, all",
		.what = TEST_NAKED | TEST_NESTED | TEST_FLUSH_ALL,
		.cmds = {
			TEST_TLBI(S12_VMALL, TEST_VMID_NAKED, 0),
			TEST_TLBI(S12_VMALL, TEST_VMID, 0),
			TEST_SYNC,
		},
	},
	{
		.name = "nested with ATS",
		.features = ARM_SMMU_FEAT_ATS,
		.what = TEST_NESTED,
		.cmds = {
			TEST_TLBI(S2_IPA, TEST_VMID, TEST_LEAF),
			TEST_SYNC,
			TEST_TLBI(NH_ALL, TEST_VMID, 0),
			TEST_SYNC,
			TEST_ATC_INV(TEST_SID, ATC_INV_SIZE_ALL),
			TEST_SYNC,
		},
	},
	{
		.name = "nested with ATS, all",
		.features = ARM_SMMU_FEAT_ATS,
		.what = TEST_NESTED | TEST_FLUSH_ALL,
		.cmds = {
			TEST_TLBI(S12_VMALL, TEST_VMID, 0),
			TEST_SYNC,
			TEST_ATC_INV(TEST_SID, ATC_INV_SIZE_ALL),
			TEST_SYNC,
		},
	},
	{
		/* Of the naked one it is known what changed */
		.name = "naked beside nested with ATS",
		.features = ARM_SMMU_FEAT_ATS,
		.what = TEST_NAKED | TEST_NESTED,
		.cmds = {
			TEST_TLBI(S2_IPA, TEST_VMID_NAKED, TEST_LEAF),
			TEST_TLBI(S2_IPA, TEST_VMID, TEST_LEAF),
			TEST_SYNC,
			TEST_TLBI(NH_ALL, TEST_VMID, 0),
			TEST_SYNC,
			TEST_ATC_INV(TEST_SID_NAKED, TEST_IOVA),
			TEST_ATC_INV(TEST_SID, ATC_INV_SIZE_ALL),
			TEST_SYNC,
		},
	},
};

KUNIT_ARRAY_PARAM_DESC(vmid_test_cmds, vmid_test_cmds, name);

/* The commands for a page that is unmapped, or for all */
static void vmid_test_unmap(struct kunit *test)
{
	const struct vmid_test_cmds *param = test->param_value;
	unsigned int num = 0;
	struct vmid_test *vt;

	vmid_test_setup(test, param->features);
	vt = test->priv;
	if (param->what & TEST_NESTED)
		vmid_test_attach(test, vt->fm, vt->nested);
	if (param->what & TEST_NESTED_TOO)
		vmid_test_attach(test, vt->fm_too, vt->nested_too);
	if (param->what & TEST_NAKED)
		vmid_test_attach(test, vt->naked, vt->parent);

	KUNIT_ASSERT_EQ(test, 0,
			iommu_map(vt->parent, TEST_IOVA, SZ_4K, SZ_4K,
				  IOMMU_READ, GFP_KERNEL));
	arm_smmu_fake_drop_cmds(vt->fake);
	if (param->what & TEST_FLUSH_ALL)
		iommu_flush_iotlb_all(vt->parent);
	else
		KUNIT_ASSERT_EQ(test, SZ_4K,
				iommu_unmap(vt->parent, TEST_IOVA, SZ_4K));

	while (num < ARRAY_SIZE(param->cmds) && param->cmds[num].data[0])
		num++;
	arm_smmu_fake_expect_cmds(vt->fake, param->cmds, num);
}

/* A vSMMU on an SMMU that cannot use the parent is not made */
static void vmid_test_refused(struct kunit *test)
{
	struct arm_smmu_fake *far = vmid_test_create(test);
	struct arm_vsmmu vsmmu = {};
	struct vmid_test *vt;

	vmid_test_setup(test, ARM_SMMU_FEAT_S2FWB);
	vt = test->priv;
	KUNIT_EXPECT_EQ(test, -EINVAL,
			arm_smmu_fake_vsmmu_init(&vsmmu, far, vt->parent));
	KUNIT_EXPECT_EQ(test, vmid_test_num_ids(far), 0);

	far->smmu.features |= ARM_SMMU_FEAT_S2FWB;
	KUNIT_ASSERT_EQ(test, 0,
			arm_smmu_fake_vsmmu_init(&vsmmu, far, vt->parent));
	arm_smmu_fake_vsmmu_destroy(&vsmmu);
}

/*
 * What keeps a guest from going around the cache is that the device cannot, or
 * that the parent has S2FWB. That the SMMU could have it is not enough.
 */
static void vmid_test_s2fwb(struct kunit *test)
{
	struct arm_smmu_fake *far = vmid_test_create(test);
	struct arm_smmu_fake_master *fm;
	struct iommu_domain *nested;
	struct iommu_domain *parent;
	struct vmid_test *vt;

	vmid_test_setup(test, 0);
	vt = test->priv;
	far->smmu.features |= ARM_SMMU_FEAT_S2FWB;
	fm = arm_smmu_fake_add_master(far, TEST_SID, 0);
	nested = vmid_test_alloc_nested(test,
					arm_smmu_fake_alloc_vsmmu(far,
								  vt->parent),
					STRTAB_STE_0_CFG_BYPASS);
	vmid_test_attach(test, fm, nested);
	vmid_test_attach(test, fm, arm_smmu_ops.blocked_domain);

	dev_iommu_fwspec_get(fm->dev)->flags &= ~IOMMU_FWSPEC_PCI_RC_CANWBS;
	KUNIT_EXPECT_NE(test, 0,
			arm_smmu_ops.get_viommu_size(fm->dev,
						     IOMMU_VIOMMU_TYPE_ARM_SMMUV3));
	KUNIT_EXPECT_EQ(test, -EINVAL, arm_smmu_fake_attach(fm, nested));
	KUNIT_EXPECT_EQ(test, vmid_test_ste_vmid(fm), 0);

	parent = arm_smmu_fake_alloc_domain(fm, IOMMU_HWPT_ALLOC_NEST_PARENT);
	nested = vmid_test_alloc_nested(test,
					arm_smmu_fake_alloc_vsmmu(far,
								  parent),
					STRTAB_STE_0_CFG_BYPASS);
	vmid_test_attach(test, fm, nested);
}

/* An SMMU that knows no stage 1 gets no TLBI of stage 1, nested parent or not */
static void vmid_test_s2_only(struct kunit *test)
{
	static const struct arm_smmu_cmd cmds[] = {
		TEST_TLBI(S2_IPA, TEST_VMID, TEST_LEAF),
		TEST_SYNC,
	};
	static const struct arm_smmu_cmd all_cmds[] = {
		TEST_TLBI(S12_VMALL, TEST_VMID, 0),
		TEST_SYNC,
	};
	struct arm_smmu_fake *far = vmid_test_create(test);
	struct arm_smmu_fake_master *fm;
	struct vmid_test *vt;

	vmid_test_setup(test, 0);
	vt = test->priv;
	far->smmu.features &= ~(ARM_SMMU_FEAT_TRANS_S1 | ARM_SMMU_FEAT_NESTING);
	fm = arm_smmu_fake_add_master(far, TEST_SID, 0);
	vmid_test_attach(test, vt->fm, vt->nested);
	vmid_test_attach(test, fm, vt->parent);
	/* Not that of the vSMMU, though it is the same number */
	KUNIT_EXPECT_EQ(test, vmid_test_ste_vmid(fm), TEST_VMID);

	KUNIT_ASSERT_EQ(test, 0,
			iommu_map(vt->parent, TEST_IOVA, SZ_4K, SZ_4K,
				  IOMMU_READ, GFP_KERNEL));
	arm_smmu_fake_drop_cmds(far);
	KUNIT_ASSERT_EQ(test, SZ_4K, iommu_unmap(vt->parent, TEST_IOVA, SZ_4K));
	arm_smmu_fake_expect_cmds(far, cmds, ARRAY_SIZE(cmds));
	iommu_flush_iotlb_all(vt->parent);
	arm_smmu_fake_expect_cmds(far, all_cmds, ARRAY_SIZE(all_cmds));
}

/*
 * Every SMMU is done with its stage 2 before any of them begins with stage 1,
 * and with both before any ATC.
 */
static void vmid_test_phases(struct kunit *test)
{
	static const u64 ops[] = {
		CMDQ_OP_TLBI_S2_IPA, CMDQ_OP_TLBI_NH_ALL, CMDQ_OP_ATC_INV,
	};
	const u32 sids[] = { TEST_SID };
	struct arm_smmu_fake *fakes[3];
	struct arm_smmu_fake_master *fm;
	struct arm_vsmmu *vsmmu;
	u64 first[ARRAY_SIZE(ops)], last[ARRAY_SIZE(ops)] = {};
	struct arm_smmu_cmd cmd;
	struct vmid_test *vt;
	unsigned int i, j;
	u64 stamp;

	vmid_test_setup(test, 0);
	vt = test->priv;
	for (i = 0; i < ARRAY_SIZE(fakes); i++) {
		fakes[i] = vmid_test_create(test);
		fm = arm_smmu_fake_add_pci_master(fakes[i], sids, 1, 0);
		vsmmu = arm_smmu_fake_alloc_vsmmu(fakes[i], vt->parent);
		vmid_test_attach(test, fm,
				 vmid_test_alloc_nested(test, vsmmu,
							STRTAB_STE_0_CFG_BYPASS));
		if (arm_smmu_fake_set_time(fakes[i], 100))
			kunit_skip(test, "needs two CPUs");
		arm_smmu_fake_drop_cmds(fakes[i]);
	}
	KUNIT_ASSERT_EQ(test, 0,
			iommu_map(vt->parent, TEST_IOVA, SZ_4K, SZ_4K,
				  IOMMU_READ, GFP_KERNEL));
	KUNIT_ASSERT_EQ(test, SZ_4K, iommu_unmap(vt->parent, TEST_IOVA, SZ_4K));

	memset(first, 0xff, sizeof(first));
	for (i = 0; i < ARRAY_SIZE(fakes); i++) {
		for (j = 0; j < ARRAY_SIZE(ops); j++) {
			KUNIT_ASSERT_TRUE(test, arm_smmu_fake_next_cmd(fakes[i],
								       &cmd));
			KUNIT_EXPECT_EQ(test, cmd.data[0] & CMDQ_0_OP, ops[j]);
			stamp = arm_smmu_fake_stamp(fakes[i]);
			first[j] = min(first[j], stamp);
			KUNIT_ASSERT_TRUE(test, arm_smmu_fake_next_cmd(fakes[i],
								       &cmd));
			KUNIT_EXPECT_EQ(test, cmd.data[0] & CMDQ_0_OP,
					CMDQ_OP_CMD_SYNC);
			stamp = arm_smmu_fake_stamp(fakes[i]);
			last[j] = max(last[j], stamp);
		}
		KUNIT_EXPECT_FALSE(test, arm_smmu_fake_next_cmd(fakes[i], &cmd));
	}
	KUNIT_EXPECT_NE(test, first[0], 0);
	KUNIT_EXPECT_LT(test, last[0], first[1]);
	KUNIT_EXPECT_LT(test, last[1], first[2]);
}

/* The guest decides about ATS by its STE, and the ATC is left alone without */
static void vmid_test_guest_ats(struct kunit *test)
{
	static const struct arm_smmu_cmd cmds[] = {
		TEST_TLBI(S2_IPA, TEST_VMID, TEST_LEAF),
		TEST_SYNC,
		TEST_TLBI(NH_ALL, TEST_VMID, 0),
		TEST_SYNC,
		TEST_ATC_INV(TEST_SID, ATC_INV_SIZE_ALL),
		TEST_SYNC,
	};
	/* On, off and on again, for each of which there is another domain */
	static const u64 eats[] = {
		STRTAB_STE_1_EATS_TRANS,
		STRTAB_STE_1_EATS_ABT,
		STRTAB_STE_1_EATS_TRANS,
	};
	unsigned int i, num;
	struct vmid_test *vt;
	u64 val;

	vmid_test_setup(test, ARM_SMMU_FEAT_ATS);
	vt = test->priv;
	vmid_test_add_vdevice(test, vt->vsmmu, vt->fm);

	for (i = 0; i < ARRAY_SIZE(eats); i++) {
		num = ARRAY_SIZE(cmds);
		if (eats[i] == STRTAB_STE_1_EATS_ABT)
			num -= 2;
		vmid_test_attach(test, vt->fm,
				 arm_smmu_fake_alloc_nested(vt->fm, vt->vsmmu,
							    STRTAB_STE_0_CFG_S1_TRANS,
							    eats[i]));
		val = le64_to_cpu(arm_smmu_fake_ste(vt->fm)->data[1]);
		val = FIELD_GET(STRTAB_STE_1_EATS, val);
		KUNIT_EXPECT_EQ(test, val, eats[i]);

		KUNIT_ASSERT_EQ(test, 0,
				iommu_map(vt->parent, TEST_IOVA, SZ_4K, SZ_4K,
					  IOMMU_READ, GFP_KERNEL));
		arm_smmu_fake_drop_cmds(vt->fake);
		KUNIT_ASSERT_EQ(test, SZ_4K,
				iommu_unmap(vt->parent, TEST_IOVA, SZ_4K));
		arm_smmu_fake_expect_cmds(vt->fake, cmds, num);
	}
}

static struct kunit_case arm_smmu_v3_vsmmu_test_cases[] = {
	KUNIT_CASE(vmid_test_own_vmid),
	KUNIT_CASE(vmid_test_attach_and_detach),
	KUNIT_CASE(vmid_test_nested_to_nested),
	KUNIT_CASE(vmid_test_naked_to_nested),
	KUNIT_CASE(vmid_test_destroy),
	KUNIT_CASE_SLOW(vmid_test_destroy_timeout),
	KUNIT_CASE_SLOW(vmid_test_detach_timeout),
	KUNIT_CASE(vmid_test_no_vmid),
	KUNIT_CASE(vmid_test_init_fails),
	KUNIT_CASE(vmid_test_no_memory),
	KUNIT_CASE(vmid_test_wrong_smmu),
	KUNIT_CASE_PARAM(vmid_test_unmap, vmid_test_cmds_gen_params),
	KUNIT_CASE(vmid_test_guest_ats),
	KUNIT_CASE(vmid_test_refused),
	KUNIT_CASE(vmid_test_s2fwb),
	KUNIT_CASE(vmid_test_s2_only),
	KUNIT_CASE(vmid_test_phases),
	{}
};

static struct kunit_suite arm_smmu_v3_vsmmu_test_suite = {
	.name = "arm-smmu-v3-vsmmu",
	.test_cases = arm_smmu_v3_vsmmu_test_cases,
};

kunit_test_suites(&arm_smmu_v3_vsmmu_test_suite);
