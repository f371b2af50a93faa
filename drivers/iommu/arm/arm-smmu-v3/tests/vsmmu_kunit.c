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

#define TEST_VSID	0x77
#define TEST_ASID	0x55
#define TEST_PASID	3

/* Ids are handed out from the lowest on */
#define TEST_VMID	1
#define TEST_VMID_TOO	2
#define TEST_VMID_NEXT	3

/* What arm_vsmmu_cache_invalidate() issues with one CMD_SYNC */
#define TEST_BLOCK	(CMDQ_BATCH_ENTRIES - 1)
#define TEST_LEN	sizeof(struct iommu_viommu_arm_smmuv3_invalidate)

/* Two vSMMUs on one parent, and two devices, of which the first has a vDEVICE */
struct vsmmu_test {
	struct arm_smmu_fake *fake;
	struct arm_smmu_fake_master *fm;
	struct arm_smmu_fake_master *fm_too;
	struct iommu_domain *blocked;
	struct iommu_domain *parent;
	struct arm_vsmmu *vsmmus[2];
	struct iommu_domain *nested;
	struct iommufd_device idev;
	struct iommufd_vdevice vdev;
	unsigned long uaddr;
};

static struct vsmmu_test *vsmmu_test_setup(struct kunit *test, bool ats)
{
	struct vsmmu_test *vt = kunit_kzalloc(test, sizeof(*vt), GFP_KERNEL);
	unsigned int i;
	void *ret;

	KUNIT_ASSERT_NOT_NULL(test, vt);
	test->priv = vt;
	vt->fake = arm_smmu_fake_create(test, 8);
	arm_smmu_fake_set_id_bits(vt->fake, 4);
	vt->fm = ats ? arm_smmu_fake_add_pci_master(vt->fake, (u32[]){ 1 }, 1, 4) :
		       arm_smmu_fake_add_master(vt->fake, 1, 4);
	vt->fm_too = arm_smmu_fake_add_master(vt->fake, 2, 0);
	vt->blocked = arm_smmu_fake_blocked(vt->fm);
	vt->parent = arm_smmu_fake_alloc_domain(vt->fm, IOMMU_HWPT_ALLOC_NEST_PARENT);
	/* As far as the vSMMUs look at it */
	vt->idev.dev = vt->fm->dev;
	vt->vdev.idev = &vt->idev;
	vt->vdev.virt_id = TEST_VSID;
	for (i = 0; i < 2; i++) {
		vt->vsmmus[i] = arm_smmu_fake_alloc_vsmmu(vt->fake, vt->parent);
		ret = xa_store(&vt->vsmmus[i]->core.vdevs, TEST_VSID, &vt->vdev, GFP_KERNEL);
		KUNIT_ASSERT_FALSE(test, xa_is_err(ret));
	}
	vt->nested = arm_smmu_fake_alloc_nested(vt->fm, vt->vsmmus[0], STRTAB_STE_0_CFG_BYPASS, 0);

	/* A page, and behind it one that cannot be read */
	vt->uaddr = kunit_vm_mmap(test, NULL, 0, 2 * PAGE_SIZE, PROT_READ | PROT_WRITE,
				  MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_FALSE(test, !vt->uaddr || IS_ERR_VALUE(vt->uaddr));
	KUNIT_ASSERT_EQ(test, 0, vm_munmap(vt->uaddr + PAGE_SIZE, PAGE_SIZE));
	arm_smmu_fake_drop_cmds(vt->fake);
	return vt;
}

/* Number of users of an entry of the parent's array */
static int vsmmu_test_users(struct vsmmu_test *vt, enum arm_smmu_inv_type type, u32 id)
{
	struct arm_smmu_invs *invs = arm_smmu_fake_invs(vt->parent);
	size_t i;

	for (i = 0; i < invs->num_invs; i++)
		if (invs->inv[i].type == type && invs->inv[i].id == id)
			return invs->inv[i].users;
	return 0;
}

static void vsmmu_test_attach(struct kunit *test, struct arm_smmu_fake_master *fm,
			      struct iommu_domain *domain)
{
	arm_smmu_fake_drop_cmds(fm->fake);
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(fm, domain));
}

/* Expect the VMIDs that were flushed, one bit for each, and what a device has */
static void vsmmu_test_expect(struct kunit *test, unsigned int flushed,
			      struct arm_smmu_fake_master *fm, u32 vmid)
{
	unsigned int vmids = 0;
	struct arm_smmu_cmd cmd;

	while (arm_smmu_fake_next_cmd(fm->fake, &cmd))
		if (FIELD_GET(CMDQ_0_OP, cmd.data[0]) == CMDQ_OP_TLBI_S12_VMALL)
			vmids |= BIT(FIELD_GET(CMDQ_TLBI_0_VMID, cmd.data[0]));
	KUNIT_EXPECT_EQ(test, vmids, flushed);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_hw_id(fm, IOMMU_NO_PASID), vmid);
}

/*
 * A VMID is the vSMMU's for life, and flushed behind its last device. Devices of
 * two vSMMUs and of their parent do not mix.
 */
static void vsmmu_test_vmids(struct kunit *test)
{
	struct vsmmu_test *vt = vsmmu_test_setup(test, false);
	struct iommu_domain *abort =
		arm_smmu_fake_alloc_nested(vt->fm, vt->vsmmus[0], STRTAB_STE_0_CFG_ABORT, 0);
	struct iommu_domain *nested_too =
		arm_smmu_fake_alloc_nested(vt->fm, vt->vsmmus[1], STRTAB_STE_0_CFG_BYPASS, 0);
	const struct {
		struct arm_smmu_fake_master *fm;
		struct iommu_domain *domain;
		/* VMIDs that are flushed, that of the device, its users if a vSMMU's */
		unsigned int flushed;
		u32 vmid;
		int users;
	} steps[] = {
		{ vt->fm, vt->nested, 0, TEST_VMID, 1 },
		{ vt->fm_too, nested_too, 0, TEST_VMID_TOO, 1 },
		{ vt->fm_too, vt->parent, BIT(TEST_VMID_TOO), TEST_VMID_NEXT, 0 },
		{ vt->fm_too, vt->nested, BIT(TEST_VMID_NEXT), TEST_VMID, 2 },
		{ vt->fm_too, vt->blocked, 0, 0, 0 },
		/* Within the vSMMU */
		{ vt->fm, abort, 0, 0, 0 },
		{ vt->fm, vt->nested, 0, TEST_VMID, 1 },
		{ vt->fm, nested_too, BIT(TEST_VMID), TEST_VMID_TOO, 1 },
		{ vt->fm, vt->nested, BIT(TEST_VMID_TOO), TEST_VMID, 1 },
		{ vt->fm, vt->blocked, BIT(TEST_VMID), 0, 0 },
	};
	enum arm_smmu_inv_type type;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(steps); i++) {
		vsmmu_test_attach(test, steps[i].fm, steps[i].domain);
		vsmmu_test_expect(test, steps[i].flushed, steps[i].fm, steps[i].vmid);
		for (type = INV_TYPE_S2_VMID_VSMMU; type <= INV_TYPE_S2_VMID_S1_CLEAR; type++)
			KUNIT_EXPECT_EQ_MSG(test, steps[i].users,
					    vsmmu_test_users(vt, type, steps[i].vmid),
					    "step %u", i);
		KUNIT_EXPECT_EQ(test, arm_smmu_fake_num_ids(&vt->fake->smmu.vmids),
				steps[i].domain == vt->parent ? 3 : 2);
	}
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_invs(vt->parent)->num_invs, 0);
}

static int vsmmu_test_impl_init(struct arm_vsmmu *vsmmu, const struct iommu_user_data *user_data)
{
	return -EIO;
}

/*
 * The implementation refuses a vSMMU, then there is no VMID. After that the VMID
 * is flushed before it is freed, or it is dirty.
 */
static void vsmmu_test_destroy(struct kunit *test)
{
	struct vsmmu_test *vt = vsmmu_test_setup(test, false);
	struct arm_smmu_device *smmu = &vt->fake->smmu;
	struct arm_vsmmu vsmmu = {
		.core.type = IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV,
		.core.iommu_dev = &smmu->iommu,
	};
	unsigned int dead;

	vt->fake->impl_ops.vsmmu_init = vsmmu_test_impl_init;
	smmu->impl_ops = &vt->fake->impl_ops;
	KUNIT_EXPECT_EQ(test, -EIO, smmu->iommu.ops->viommu_init(&vsmmu.core, vt->parent, NULL));
	smmu->impl_ops = NULL;
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_num_ids(&smmu->vmids), 2);

	arm_smmu_fake_set_id_bits(vt->fake, 2);
	vsmmu_test_attach(test, vt->fm_too, vt->parent);
	memset(&vsmmu, 0, sizeof(vsmmu));
	KUNIT_EXPECT_EQ(test, -ENOSPC, arm_smmu_fake_vsmmu_init(&vsmmu, vt->fake, vt->parent));
	/* A nested domain needs no other */
	vsmmu_test_attach(test, vt->fm, vt->nested);
	vsmmu_test_attach(test, vt->fm, vt->blocked);
	vsmmu_test_attach(test, vt->fm_too, vt->blocked);

	arm_smmu_fake_set_id_bits(vt->fake, 4);
	for (dead = 0; dead < 2; dead++) {
		arm_smmu_fake_drop_cmds(vt->fake);
		memset(&vsmmu, 0, sizeof(vsmmu));
		KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_vsmmu_init(&vsmmu, vt->fake, vt->parent));
		vsmmu_test_expect(test, 0, vt->fm, 0);
		if (dead)
			arm_smmu_fake_stop(vt->fake, 0);
		arm_smmu_fake_vsmmu_destroy(&vsmmu);
		arm_smmu_fake_start(vt->fake);
		vsmmu_test_expect(test, BIT(TEST_VMID_NEXT), vt->fm, 0);
		KUNIT_EXPECT_EQ(test, dead, arm_smmu_fake_has_id(&smmu->vmids, TEST_VMID_NEXT));
	}
	vsmmu_test_attach(test, vt->fm, vt->parent);
	vsmmu_test_expect(test, 0, vt->fm, TEST_VMID_NEXT + 1);
}

/* No device gets the VMID before a flush that timed out is done again */
static void vsmmu_test_detach_timeout(struct kunit *test)
{
	struct vsmmu_test *vt = vsmmu_test_setup(test, false);
	struct arm_smmu_cmd cmd;
	unsigned int num = 0;

	/* The last two commands of a detach are the flush */
	vsmmu_test_attach(test, vt->fm, vt->nested);
	vsmmu_test_attach(test, vt->fm, vt->blocked);
	while (arm_smmu_fake_next_cmd(vt->fake, &cmd))
		num++;
	vsmmu_test_attach(test, vt->fm, vt->nested);
	arm_smmu_fake_stop(vt->fake, num - 2);
	vsmmu_test_attach(test, vt->fm, vt->blocked);
	KUNIT_EXPECT_EQ(test, -ETIMEDOUT, arm_smmu_fake_attach(vt->fm, vt->nested));
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_invs(vt->parent)->num_invs, 0);
	arm_smmu_fake_start(vt->fake);

	/* First the flush, then the STE, and for the next device nothing */
	vsmmu_test_attach(test, vt->fm, vt->nested);
	KUNIT_ASSERT_TRUE(test, arm_smmu_fake_next_cmd(vt->fake, &cmd));
	cmd.data[0] &= CMDQ_0_OP;
	KUNIT_EXPECT_EQ(test, cmd.data[0], CMDQ_OP_TLBI_S12_VMALL);
	vsmmu_test_expect(test, 0, vt->fm, TEST_VMID);
	vsmmu_test_attach(test, vt->fm_too, vt->nested);
	vsmmu_test_expect(test, 0, vt->fm_too, TEST_VMID);
}

/*
 * What keeps a guest from bypassing the cache is that the device cannot, or that
 * the parent has S2FWB. A vSMMU is for the devices of one SMMU.
 */
static void vsmmu_test_nested_rule(struct kunit *test)
{
	struct vsmmu_test *vt = vsmmu_test_setup(test, false);
	struct arm_smmu_fake *far = arm_smmu_fake_create(test, 8);
	struct arm_smmu_fake_master *fm = arm_smmu_fake_add_master(far, 1, 0);
	struct iommu_domain *parent, *nested;

	KUNIT_EXPECT_EQ(test, -EINVAL, arm_smmu_fake_attach(fm, vt->nested));
	far->smmu.features |= ARM_SMMU_FEAT_S2FWB;
	parent = arm_smmu_fake_alloc_domain(fm, IOMMU_HWPT_ALLOC_NEST_PARENT);
	nested = arm_smmu_fake_alloc_nested(fm, arm_smmu_fake_alloc_vsmmu(far, parent),
					    STRTAB_STE_0_CFG_BYPASS, 0);
	vsmmu_test_attach(test, fm, nested);
	vsmmu_test_attach(test, fm, arm_smmu_fake_blocked(fm));
	dev_iommu_fwspec_get(fm->dev)->flags &= ~IOMMU_FWSPEC_PCI_RC_CANWBS;
	vsmmu_test_attach(test, fm, nested);
	dev_iommu_fwspec_get(vt->fm->dev)->flags &= ~IOMMU_FWSPEC_PCI_RC_CANWBS;
	KUNIT_EXPECT_EQ(test, -EINVAL, arm_smmu_fake_attach(vt->fm, vt->nested));
}

/* As the guest writes it */
static void vsmmu_test_write(struct kunit *test, unsigned long uaddr, u64 cmd0, u64 cmd1)
{
	const __le64 entry[] = { cpu_to_le64(cmd0), cpu_to_le64(cmd1) };

	KUNIT_ASSERT_EQ(test, 0, copy_to_user((void __user *)uaddr, entry, sizeof(entry)));
}

/* With a VMID that is not its own */
static void vsmmu_test_write_good(struct kunit *test, unsigned long uaddr, u32 num)
{
	u32 i;

	for (i = 0; i < num; i++)
		vsmmu_test_write(test, uaddr + i * TEST_LEN,
				 CMDQ_OP_TLBI_NH_VA | FIELD_PREP(CMDQ_TLBI_0_ASID, TEST_ASID) |
				 FIELD_PREP(CMDQ_TLBI_0_VMID, 0xdead), (u64)i << 12);
}

static void vsmmu_test_invalidate(struct kunit *test, unsigned long uaddr, u32 num, int ret,
				  u32 done)
{
	struct vsmmu_test *vt = test->priv;
	struct iommu_user_data_array array = {
		.type = IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3,
		.uptr = (void __user *)uaddr,
		.entry_len = TEST_LEN,
		.entry_num = num,
	};

	arm_smmu_fake_drop_cmds(vt->fake);
	KUNIT_ASSERT_EQ_MSG(test, ret, arm_vsmmu_cache_invalidate(&vt->vsmmus[0]->core, &array),
			    "%u of %u", done, num);
	KUNIT_ASSERT_EQ_MSG(test, done, array.entry_num, "%u of %u", done, num);
	arm_smmu_fake_start(vt->fake);
}

/* @num entries reach the SMMU under the VMID of the vSMMU, in blocks */
static void vsmmu_test_expect_issued(struct kunit *test, u32 num)
{
	struct vsmmu_test *vt = test->priv;
	struct arm_smmu_cmd cmd;
	const u64 want = CMDQ_OP_TLBI_NH_VA |
			 FIELD_PREP(CMDQ_TLBI_0_ASID, TEST_ASID) |
			 FIELD_PREP(CMDQ_TLBI_0_VMID, TEST_VMID);
	u32 i = 0, in_block = 0;

	while (arm_smmu_fake_next_cmd(vt->fake, &cmd)) {
		if (FIELD_GET(CMDQ_0_OP, cmd.data[0]) == CMDQ_OP_CMD_SYNC) {
			KUNIT_ASSERT_TRUE(test, in_block == TEST_BLOCK || i == num);
			in_block = 0;
			continue;
		}
		KUNIT_ASSERT_EQ(test, cmd.data[0], want);
		KUNIT_ASSERT_EQ(test, cmd.data[1], (u64)i++ << 12);
		in_block++;
	}
	KUNIT_ASSERT_EQ(test, i, num);
	KUNIT_ASSERT_EQ(test, in_block, 0);
}

/*
 * A bad entry (EIO), one that cannot be read (EFAULT), an SMMU that stops
 * (ETIMEDOUT): all of them @at some entry. A block that cannot be read is not
 * issued. A block is counted when its CMD_SYNC has completed.
 */
static const struct vsmmu_test_row {
	u32 num;
	int ret;
	u32 at;
	u32 done;
	u32 issued;
	u64 bad;
} vsmmu_test_rows[] = {
	{ 0, 0, 0, 0, 0 },
	{ 2 * TEST_BLOCK + 1, 0, 0, 2 * TEST_BLOCK + 1, 2 * TEST_BLOCK + 1 },
	{ 1, -EIO, 0, 0, 0, CMDQ_OP_CMD_SYNC },
	/* A reserved bit */
	{ 2, -EIO, 1, 1, 1, CMDQ_OP_TLBI_NH_ALL | BIT_ULL(10) },
	/* No vDEVICE has this virtual stream ID */
	{ TEST_BLOCK, -EIO, TEST_BLOCK - 1, TEST_BLOCK - 1, TEST_BLOCK - 1,
	  CMDQ_OP_CFGI_CD_ALL | FIELD_PREP_CONST(CMDQ_CFGI_0_SID, 7ULL) },
	{ TEST_BLOCK + 1, -EIO, TEST_BLOCK, TEST_BLOCK, TEST_BLOCK, CMDQ_OP_CMD_SYNC },
	{ 3 * TEST_BLOCK, -EIO, TEST_BLOCK + 9, TEST_BLOCK + 9, TEST_BLOCK + 9, CMDQ_OP_CMD_SYNC },
	{ 3 * TEST_BLOCK, -EFAULT, TEST_BLOCK - 1, 0, 0 },
	{ 3 * TEST_BLOCK, -EFAULT, TEST_BLOCK + 5, TEST_BLOCK, TEST_BLOCK },
	{ 3, -ETIMEDOUT, 3, 0, 3 },
	{ 3 * TEST_BLOCK, -ETIMEDOUT, TEST_BLOCK + 1, TEST_BLOCK, 2 * TEST_BLOCK },
};

static void vsmmu_test_entries(struct kunit *test)
{
	struct vsmmu_test *vt = vsmmu_test_setup(test, false);
	const struct vsmmu_test_row *row;
	unsigned int i, num;
	unsigned long uaddr;

	for (i = 0; i < ARRAY_SIZE(vsmmu_test_rows); i++) {
		row = &vsmmu_test_rows[i];
		num = row->ret == -EFAULT ? row->at : row->num;
		uaddr = vt->uaddr + PAGE_SIZE - num * TEST_LEN;
		vsmmu_test_write_good(test, uaddr, num);
		if (row->ret == -EIO)
			vsmmu_test_write(test, uaddr + row->at * TEST_LEN, row->bad, 0);
		if (row->ret == -ETIMEDOUT)
			arm_smmu_fake_stop(vt->fake, row->at);
		vsmmu_test_invalidate(test, uaddr, row->num, row->ret, row->done);
		vsmmu_test_expect_issued(test, row->issued);
	}
}

/* The guest is not told whether its ATC_INV reaches the device */
static void vsmmu_test_expect_atc_inv(struct kunit *test, bool expected)
{
	struct vsmmu_test *vt = test->priv;
	struct arm_smmu_cmd cmd;
	bool seen = false;

	vsmmu_test_write(test, vt->uaddr, CMDQ_OP_ATC_INV | FIELD_PREP(CMDQ_ATC_0_SID, TEST_VSID),
			 ATC_INV_SIZE_ALL);
	vsmmu_test_invalidate(test, vt->uaddr, 1, 0, 1);
	while (arm_smmu_fake_next_cmd(vt->fake, &cmd))
		seen |= FIELD_GET(CMDQ_0_OP, cmd.data[0]) == CMDQ_OP_ATC_INV;
	KUNIT_EXPECT_EQ(test, seen, expected);
}

static struct iommu_domain *
vsmmu_test_alloc_s1(struct vsmmu_test *vt, unsigned int i, bool ats, u64 table)
{
	struct iommu_domain *nested =
		arm_smmu_fake_alloc_nested(vt->fm, vt->vsmmus[i], STRTAB_STE_0_CFG_S1_TRANS,
					   ats ? STRTAB_STE_1_EATS_TRANS : STRTAB_STE_1_EATS_ABT);

	to_smmu_nested_domain(nested)->ste[0] |= cpu_to_le64(table);
	return nested;
}

/*
 * The guest's STE decides about ATS, and so about entries for the ATC. A guest's
 * ATC_INV is issued only while ATS is on, also across a reset.
 */
static void vsmmu_test_guest_ats(struct kunit *test)
{
	static const bool ats[] = { true, false, true };
	struct vsmmu_test *vt = vsmmu_test_setup(test, true);
	struct pci_dev *pdev = to_pci_dev(vt->fm->dev);
	unsigned int i;
	u64 val;

	vsmmu_test_expect_atc_inv(test, false);
	for (i = 0; i < ARRAY_SIZE(ats); i++) {
		vsmmu_test_attach(test, vt->fm, vsmmu_test_alloc_s1(vt, 0, ats[i], 0));
		val = le64_to_cpu(arm_smmu_fake_ste(vt->fm)->data[1]);
		val = FIELD_GET(STRTAB_STE_1_EATS, val);
		KUNIT_EXPECT_EQ(test, ats[i], val == STRTAB_STE_1_EATS_TRANS);
		KUNIT_EXPECT_EQ(test, ats[i], vsmmu_test_users(vt, INV_TYPE_ATS_FULL, 1));
		val = arm_smmu_fake_ats_ctrl(vt->fm);
		KUNIT_EXPECT_EQ(test, ats[i], !!(val & PCI_ATS_CTRL_ENABLE));
		vsmmu_test_expect_atc_inv(test, ats[i]);
	}

	KUNIT_ASSERT_EQ(test, 0, pci_dev_reset_iommu_prepare(pdev));
	vsmmu_test_expect_atc_inv(test, false);
	pci_dev_reset_iommu_done(pdev);
	vsmmu_test_expect_atc_inv(test, true);

	/* The vDEVICE goes meanwhile: the device stays blocked, without a WARN */
	KUNIT_ASSERT_EQ(test, 0, pci_dev_reset_iommu_prepare(pdev));
	xa_erase(&vt->vsmmus[0]->core.vdevs, TEST_VSID);
	kunit_warning_suppress(test) {
		pci_dev_reset_iommu_done(pdev);
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 0);
	}
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_hw_id(vt->fm, IOMMU_NO_PASID), 0);
	vsmmu_test_attach(test, vt->fm, vt->parent);
}

/* A configuration of the first device, and its STE as v7.3 makes it */
struct vsmmu_test_config {
	const char *name;
	struct iommu_domain *domain;
	struct iommu_domain *pasid_domain;
	struct arm_smmu_ste *ste;
};

/* Is there ever V=0 in what is written to @entry? */
struct vsmmu_test_watch {
	struct arm_smmu_entry_writer writer;
	__le64 *entry;
	bool broken;
};

static void vsmmu_test_sync(struct arm_smmu_entry_writer *writer)
{
	struct vsmmu_test_watch *watch = container_of(writer, struct vsmmu_test_watch, writer);

	watch->broken |= !(READ_ONCE(watch->entry[0]) & cpu_to_le64(STRTAB_STE_0_V));
}

static void vsmmu_test_step(struct arm_smmu_fake *fake)
{
	vsmmu_test_sync(fake->model);
}

static bool vsmmu_test_is_hitless(const struct arm_smmu_ste *from, const struct arm_smmu_ste *to)
{
	static const struct arm_smmu_entry_writer_ops ops = {
		.sync = vsmmu_test_sync,
		.get_used = arm_smmu_get_ste_used,
		.get_update_safe = arm_smmu_get_ste_update_safe,
	};
	struct arm_smmu_ste ste = *from;
	struct vsmmu_test_watch watch = { .writer.ops = &ops, .entry = ste.data };

	arm_smmu_write_entry(&watch.writer, ste.data, to->data);
	return !watch.broken;
}

static bool vsmmu_test_is_nested_s1(const struct vsmmu_test_config *config)
{
	return FIELD_GET(STRTAB_STE_0_CFG, le64_to_cpu(config->ste->data[0])) ==
	       STRTAB_STE_0_CFG_NESTED;
}

/* Change either the domain of the device or that of its PASID, if that is enough */
static void vsmmu_test_change(struct kunit *test, const struct vsmmu_test_config *from,
			      const struct vsmmu_test_config *to)
{
	static const struct arm_smmu_fake_ops ops = { .step = vsmmu_test_step };
	struct vsmmu_test *vt = test->priv;
	struct vsmmu_test_watch watch = { .entry = arm_smmu_fake_ste(vt->fm)->data };
	u32 vmid = arm_smmu_fake_hw_id(vt->fm, IOMMU_NO_PASID);

	vt->fake->model = &watch.writer;
	vt->fake->ops = &ops;
	if (from->pasid_domain == to->pasid_domain)
		vsmmu_test_attach(test, vt->fm, to->domain);
	else if (to->pasid_domain)
		arm_smmu_fake_set_pasid(vt->fm, to->pasid_domain, TEST_PASID, NULL);
	else
		arm_smmu_fake_clear_pasid(vt->fm, TEST_PASID, from->pasid_domain);
	vt->fake->ops = NULL;
	/*
	 * The exception: VMID and CD table of a guest are in two words of the STE.
	 * One that has the VMID of another vSMMU with this table would bring this
	 * guest's stage 1 into the TLB of the other.
	 */
	if (vsmmu_test_is_nested_s1(from) && vsmmu_test_is_nested_s1(to) &&
	    from->ste->data[0] != to->ste->data[0] &&
	    vmid != arm_smmu_fake_hw_id(vt->fm, IOMMU_NO_PASID))
		return;
	KUNIT_EXPECT_FALSE_MSG(test, watch.broken && vsmmu_test_is_hitless(from->ste, to->ste),
			       "%s to %s", from->name, to->name);
}

/*
 * What v7.3 changes without V=0 in the STE is changed so, for all pairs of
 * configurations. A CD in use is changed so by the exit of a process only.
 */
static void vsmmu_test_hitless(struct kunit *test)
{
	struct vsmmu_test *vt = vsmmu_test_setup(test, true);
	struct iommu_domain *identity = arm_smmu_fake_identity(vt->fm);
	struct iommu_domain *s1 = arm_smmu_fake_alloc_domain(vt->fm, 0);
	struct iommu_domain *other_s1 = arm_smmu_fake_alloc_domain(vt->fm, 0);
	struct iommu_domain *other_s2 =
		arm_smmu_fake_alloc_domain(vt->fm, IOMMU_HWPT_ALLOC_NEST_PARENT);
	struct vsmmu_test_config *from, *to, configs[] = {
		{ "S1", s1 },
		{ "S1 with a PASID", s1, other_s1 },
		{ "blocked", vt->blocked },
		{ "blocked with a PASID", vt->blocked, other_s1 },
		{ "identity", identity },
		{ "identity with a PASID", identity, other_s1 },
		{ "S2", vt->parent },
		{ "other S2", other_s2 },
		{ "nested bypass", vt->nested },
		{ "nested bypass, other vSMMU",
		  arm_smmu_fake_alloc_nested(vt->fm, vt->vsmmus[1], STRTAB_STE_0_CFG_BYPASS, 0) },
		{ "nested abort",
		  arm_smmu_fake_alloc_nested(vt->fm, vt->vsmmus[0], STRTAB_STE_0_CFG_ABORT, 0) },
		{ "nested S1", vsmmu_test_alloc_s1(vt, 0, true, SZ_1M) },
		{ "nested S1, no ATS", vsmmu_test_alloc_s1(vt, 0, false, SZ_1M) },
		{ "nested S1, other table", vsmmu_test_alloc_s1(vt, 0, true, SZ_2M) },
		{ "nested S1, other vSMMU", vsmmu_test_alloc_s1(vt, 1, true, SZ_1M) },
	};
	const __le64 vmid = cpu_to_le64(STRTAB_STE_2_S2VMID);
	struct arm_smmu_device *smmu = &vt->fake->smmu;
	unsigned int i;

	/* Without ATS at first, then with more that the STE says */
	smmu->features &= ~ARM_SMMU_FEAT_ATS;
	for (i = 0; i < 2 * ARRAY_SIZE(configs); i++) {
		from = &configs[i % ARRAY_SIZE(configs)];
		if (i == ARRAY_SIZE(configs))
			smmu->features |= ARM_SMMU_FEAT_ATS | ARM_SMMU_FEAT_STALLS |
					  ARM_SMMU_FEAT_ATTR_TYPES_OVR;
		vsmmu_test_attach(test, vt->fm, from->domain);
		if (from->pasid_domain)
			arm_smmu_fake_set_pasid(vt->fm, from->pasid_domain, TEST_PASID, NULL);
		from->ste = kunit_kzalloc(test, sizeof(*from->ste), GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(test, from->ste);
		*from->ste = *arm_smmu_fake_ste(vt->fm);
		/* All on one parent have one VMID */
		if (from->ste->data[2] & vmid)
			from->ste->data[2] = (from->ste->data[2] & ~vmid) |
					     cpu_to_le64(from->domain == other_s2 ? 2 : 1);
		for (to = configs; to != from; to++) {
			if (from->pasid_domain != to->pasid_domain && from->domain != to->domain)
				continue;
			vsmmu_test_change(test, from, to);
			vsmmu_test_change(test, to, from);
		}
		if (from->pasid_domain)
			arm_smmu_fake_clear_pasid(vt->fm, TEST_PASID, from->pasid_domain);
	}
}

static struct kunit_case vsmmu_test_cases[] = {
	KUNIT_CASE(vsmmu_test_vmids),
	KUNIT_CASE(vsmmu_test_destroy),
	KUNIT_CASE(vsmmu_test_detach_timeout),
	KUNIT_CASE(vsmmu_test_nested_rule),
	KUNIT_CASE(vsmmu_test_entries),
	KUNIT_CASE(vsmmu_test_guest_ats),
	KUNIT_CASE(vsmmu_test_hitless),
	{}
};

static struct kunit_suite vsmmu_test_suite = {
	.name = "arm-smmu-v3-vsmmu",
	.suite_init = arm_smmu_fake_suite_init,
	.suite_exit = arm_smmu_fake_suite_exit,
	.test_cases = vsmmu_test_cases,
};

kunit_test_suite(vsmmu_test_suite);
