// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of attach, detach and reset when something is in short supply, in
 * use or does not answer: ids, fault queues, vDEVICEs, ATS.
 */
#include <kunit/test-bug.h>
#include <linux/delay.h>
#include <linux/iommu.h>
#include <linux/mman.h>
#include <linux/panic.h>
#include <linux/pci.h>
#include <linux/uaccess.h>
#include <uapi/linux/iommufd.h>

#include "../../../iommufd/iommufd_private.h"

#include "fake.h"

#define TEST_VSID	0x77
#define TEST_STAG	5

struct fix_test {
	struct arm_smmu_fake *fake;
	struct arm_smmu_fake_master *fm;
	struct iommu_domain *domain;
	unsigned int invalid;
	bool handled;
};

static int fix_test_init(struct kunit *test)
{
	struct fix_test *ft = kunit_kzalloc(test, sizeof(*ft), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, ft);
	test->priv = ft;
	ft->fake = arm_smmu_fake_create(test, 8);
	return 0;
}

/* The device and a domain for it. Secondary queues must be added before. */
static struct fix_test *fix_test_setup(struct kunit *test, u32 flags, bool ats)
{
	struct fix_test *ft = test->priv;

	if (ats)
		ft->fm = arm_smmu_fake_add_pci_master(ft->fake, (u32[]){ 1 }, 1,
						      0);
	else
		ft->fm = arm_smmu_fake_add_master(ft->fake, 1, 6);
	ft->domain = arm_smmu_fake_alloc_domain(ft->fm, flags);
	return ft;
}

/* The number of commands with this opcode since the last call */
static unsigned int fix_test_count(struct fix_test *ft, u8 opcode)
{
	struct arm_smmu_cmd cmd;
	unsigned int num = 0;

	while (arm_smmu_fake_next_cmd(ft->fake, &cmd))
		num += FIELD_GET(CMDQ_0_OP, cmd.data[0]) == opcode;
	return num;
}

static void fix_test_detach_dead(struct kunit *test, struct fix_test *ft)
{
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(ft->fm, ft->domain));
	arm_smmu_fake_stop(ft->fake, 0);
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_block(ft->fm));
}

/* More detaches time out than there are ids, and none is lost */
static void fix_test_dirty(struct kunit *test)
{
	struct fix_test *ft = fix_test_setup(test, 0, false);
	unsigned int i;

	ft->fake->smmu.asid_bits = 2;
	for (i = 0; i < 3; i++) {
		fix_test_detach_dead(test, ft);
		arm_smmu_fake_start(ft->fake);
	}
	/* All are dirty now */
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_num_ids(&ft->fake->smmu.asid_map),
			3);
	arm_smmu_fake_stop(ft->fake, 0);
	KUNIT_EXPECT_EQ(test, -ETIMEDOUT,
			arm_smmu_fake_attach(ft->fm, ft->domain));
	arm_smmu_fake_start(ft->fake);
	fix_test_count(ft, 0);
	for (i = 0; i < 8; i++) {
		KUNIT_ASSERT_EQ(test, 0,
				arm_smmu_fake_attach(ft->fm, ft->domain));
		/* Before the id is handed out */
		KUNIT_EXPECT_GE(test,
				fix_test_count(ft, CMDQ_OP_TLBI_NH_ASID), 1);
		arm_smmu_fake_stop(ft->fake, 0);
		KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_block(ft->fm));
		arm_smmu_fake_start(ft->fake);
		fix_test_count(ft, 0);
	}
}

static bool fix_test_is_tlbi(struct arm_smmu_cmd *cmd)
{
	u8 opcode = FIELD_GET(CMDQ_0_OP, cmd->data[0]);

	return opcode >= CMDQ_OP_TLBI_NH_ALL && opcode < CMDQ_OP_ATC_INV;
}

/* The CFGIs time out, and the TLBI completes on another queue */
static void fix_test_cfgi_timeout(struct kunit *test)
{
	struct fix_test *ft = test->priv;
	struct ida *ida = &ft->fake->smmu.asid_map;
	struct arm_smmu_cmd cmd;
	bool cfgi = false;

	arm_smmu_fake_add_queue(ft->fake, 8, fix_test_is_tlbi);
	fix_test_setup(test, 0, false);
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_block(ft->fm));
	/* The one id there is. It is in reserve for default domains. */
	ft->fake->smmu.asid_bits = 1;
	ft->domain->type = IOMMU_DOMAIN_DMA;
	fix_test_detach_dead(test, ft);
	/* A CD with it may still be cached */
	KUNIT_EXPECT_TRUE(test, ida_exists(ida, 1));
	arm_smmu_fake_start(ft->fake);
	arm_smmu_fake_drop_cmds(ft->fake);

	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(ft->fm, ft->domain));
	while (arm_smmu_fake_next_cmd(ft->fake, &cmd)) {
		cfgi |= FIELD_GET(CMDQ_0_OP, cmd.data[0]) == CMDQ_OP_CFGI_ALL;
		if (fix_test_is_tlbi(&cmd))
			break;
	}
	KUNIT_EXPECT_TRUE(test, cfgi);
	KUNIT_EXPECT_TRUE(test, fix_test_is_tlbi(&cmd));
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_block(ft->fm));
	KUNIT_EXPECT_FALSE(test, ida_exists(ida, 1));
}

/* User space takes all ids that it can get. Default domains still get theirs. */
static void fix_test_reserve(struct kunit *test)
{
	struct fix_test *ft = fix_test_setup(test, 0, false);
	struct arm_smmu_fake_master *plugged;
	struct iommu_domain *domains[31], *too;
	unsigned int num;
	int ret;

	ft->fake->smmu.asid_bits = 5;
	ft->domain->type = IOMMU_DOMAIN_DMA;
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(ft->fm, ft->domain));
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_block(ft->fm));

	for (num = 0; num < ARRAY_SIZE(domains); num++) {
		domains[num] = arm_smmu_fake_alloc_domain(ft->fm, 0);
		ret = arm_smmu_fake_set_pasid(ft->fm, domains[num], num + 1,
					      NULL);
		if (ret)
			break;
	}
	KUNIT_EXPECT_EQ(test, ret, -ENOSPC);
	/* One for the device, one for those to come */
	KUNIT_EXPECT_EQ(test, num, 29);

	KUNIT_EXPECT_EQ(test, 0, arm_smmu_fake_attach(ft->fm, ft->domain));
	plugged = arm_smmu_fake_add_master(ft->fake, 2, 0);
	too = arm_smmu_fake_alloc_domain(plugged, 0);
	too->type = IOMMU_DOMAIN_DMA;
	KUNIT_EXPECT_EQ(test, 0, arm_smmu_fake_attach(plugged, too));

	/* What user space gives back it can have again */
	while (num--)
		arm_smmu_fake_clear_pasid(ft->fm, num + 1, domains[num]);
	for (num = 0; num < 28; num++)
		KUNIT_EXPECT_EQ(test, 0,
				arm_smmu_fake_set_pasid(ft->fm, domains[num],
							num + 1, NULL));
	while (num--)
		arm_smmu_fake_clear_pasid(ft->fm, num + 1, domains[num]);
}

/* A parent must have S2FWB exactly if the SMMU has it */
static void fix_test_s2fwb(struct kunit *test)
{
	struct arm_smmu_fake *far = arm_smmu_fake_create(test, 8);
	struct fix_test *ft = fix_test_setup(test, IOMMU_HWPT_ALLOC_NEST_PARENT,
					     false);
	struct arm_smmu_fake_master *fm = arm_smmu_fake_add_master(far, 1, 0);
	struct arm_vsmmu vsmmu = {};
	struct iommu_domain *parent;
	int ret;

	far->smmu.features |= ARM_SMMU_FEAT_S2FWB;
	parent = arm_smmu_fake_alloc_domain(fm, IOMMU_HWPT_ALLOC_NEST_PARENT);
	KUNIT_EXPECT_EQ(test, -EINVAL, arm_smmu_fake_attach(fm, ft->domain));
	KUNIT_EXPECT_EQ(test, -EINVAL, arm_smmu_fake_attach(ft->fm, parent));
	ret = arm_smmu_fake_vsmmu_init(&vsmmu, far, ft->domain);
	KUNIT_EXPECT_EQ(test, ret, -EINVAL);
	if (!ret)
		arm_smmu_fake_vsmmu_destroy(&vsmmu);
	KUNIT_EXPECT_EQ(test, 0, arm_smmu_fake_attach(fm, parent));
}

/* As far as the vSMMU looks at it */
static void fix_test_add_vdevice(struct kunit *test, struct arm_vsmmu *vsmmu,
				 struct arm_smmu_fake_master *fm)
{
	struct iommufd_device *idev;
	struct iommufd_vdevice *vdev;

	idev = kunit_kzalloc(test, sizeof(*idev), GFP_KERNEL);
	vdev = kunit_kzalloc(test, sizeof(*vdev), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, idev);
	KUNIT_ASSERT_NOT_NULL(test, vdev);
	idev->dev = fm->dev;
	vdev->idev = idev;
	vdev->virt_id = TEST_VSID;
	KUNIT_ASSERT_FALSE(test,
			   xa_is_err(xa_store(&vsmmu->core.vdevs, TEST_VSID,
					      vdev, GFP_KERNEL)));
}

static void fix_test_step(struct arm_smmu_fake *fake)
{
	struct fix_test *ft = fake->model;
	__le64 val = READ_ONCE(arm_smmu_fake_ste(ft->fm)->data[0]);

	ft->invalid += !(val & cpu_to_le64(STRTAB_STE_0_V));
}

/* From a parent to a domain nested on it and back, the STE is always valid */
static void fix_test_hitless(struct kunit *test)
{
	static const struct arm_smmu_fake_ops ops = { .step = fix_test_step };
	static const unsigned int cfgs[] = {
		STRTAB_STE_0_CFG_S1_TRANS,
		STRTAB_STE_0_CFG_BYPASS,
		STRTAB_STE_0_CFG_ABORT,
	};
	struct fix_test *ft = fix_test_setup(test, IOMMU_HWPT_ALLOC_NEST_PARENT,
					     false);
	struct arm_vsmmu *vsmmu = arm_smmu_fake_alloc_vsmmu(ft->fake,
							    ft->domain);
	struct iommu_domain *nested;
	unsigned int i;

	fix_test_add_vdevice(test, vsmmu, ft->fm);
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(ft->fm, ft->domain));
	ft->fake->model = ft;
	ft->fake->ops = &ops;
	for (i = 0; i < ARRAY_SIZE(cfgs); i++) {
		nested = arm_smmu_fake_alloc_nested(ft->fm, vsmmu, cfgs[i],
						    STRTAB_STE_1_EATS_ABT);
		KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(ft->fm, nested));
		KUNIT_EXPECT_EQ_MSG(test, ft->invalid, 0, "to %u", cfgs[i]);
		KUNIT_ASSERT_EQ(test, 0,
				arm_smmu_fake_attach(ft->fm, ft->domain));
		KUNIT_EXPECT_EQ_MSG(test, ft->invalid, 0, "from %u", cfgs[i]);
		ft->invalid = 0;
	}
	ft->fake->ops = NULL;
}

static void fix_test_max_devices(struct kunit *test)
{
	struct fix_test *ft = fix_test_setup(test, 0, false);
	struct arm_smmu_domain *smmu_domain = to_smmu_domain(ft->domain);

	smmu_domain->num_devices = ARM_SMMU_DOMAIN_MAX_DEVICES;
	KUNIT_EXPECT_EQ(test, -ENOSPC, arm_smmu_fake_attach(ft->fm, ft->domain));
	smmu_domain->num_devices = 0;
	KUNIT_EXPECT_EQ(test, 0, arm_smmu_fake_attach(ft->fm, ft->domain));
	KUNIT_EXPECT_EQ(test, smmu_domain->num_devices, 1);
	KUNIT_EXPECT_EQ(test, 0, arm_smmu_fake_block(ft->fm));
	KUNIT_EXPECT_EQ(test, smmu_domain->num_devices, 0);
}

/* A worker is not the task of the test */
static struct fix_test *fix_test_faulting;

static void fix_test_work(struct work_struct *work)
{
	struct iopf_group *group = container_of(work, struct iopf_group, work);

	msleep(100);
	WRITE_ONCE(fix_test_faulting->handled, true);
	iopf_group_response(group, IOMMU_PAGE_RESP_SUCCESS);
	iopf_free_group(group);
}

static int fix_test_iopf_handler(struct iopf_group *group)
{
	fix_test_faulting = kunit_get_current_test()->priv;
	INIT_WORK(&group->work, fix_test_work);
	queue_work(group->fault_param->queue->wq, &group->work);
	return 0;
}

/* A detach waits for the fault that is being handled, and it is answered once */
static void fix_test_faults(struct kunit *test)
{
	const u64 evt[EVTQ_ENT_DWORDS] = {
		EVT_ID_TRANSLATION_FAULT | FIELD_PREP_CONST(EVTQ_0_SID, 1ULL),
		EVTQ_1_STALL | FIELD_PREP_CONST(EVTQ_1_STAG, TEST_STAG),
	};
	struct fix_test *ft = fix_test_setup(test, 0, false);
	struct arm_smmu_device *smmu = &ft->fake->smmu;
	struct iopf_queue *iopf = smmu->evtq.iopf;
	unsigned long flags;

	if (!IS_ENABLED(CONFIG_ARM_SMMU_V3_SVA))
		kunit_skip(test, "needs CONFIG_ARM_SMMU_V3_SVA");

	ft->fm->master->stall_enabled = true;
	ft->domain->iopf_handler = fix_test_iopf_handler;
	/* As when the SMMU has stalls and no SVA */
	smmu->evtq.iopf = NULL;
	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP,
			arm_smmu_fake_attach(ft->fm, ft->domain));

	smmu->evtq.iopf = iopf;
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(ft->fm, ft->domain));
	raw_spin_lock_irqsave(&arm_smmu_fake_lock, flags);
	arm_smmu_fake_event(ft->fake, evt);
	raw_spin_unlock_irqrestore(&arm_smmu_fake_lock, flags);
	arm_smmu_fake_handle_events(ft->fake);
	arm_smmu_fake_drop_cmds(ft->fake);
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_block(ft->fm));
	KUNIT_EXPECT_TRUE(test, READ_ONCE(ft->handled));
	/* A CMD_RESUME has no CMD_SYNC of its own */
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(ft->fm, ft->domain));
	KUNIT_EXPECT_EQ(test, fix_test_count(ft, CMDQ_OP_RESUME), 1);
}

/* Returns how many ATC_INVs reach the device. The guest is told of none. */
static unsigned int fix_test_atc_inv(struct kunit *test, struct fix_test *ft,
				     struct arm_vsmmu *vsmmu, unsigned long uaddr)
{
	struct iommu_viommu_arm_smmuv3_invalidate entry = {
		.cmd[0] = cpu_to_le64(CMDQ_OP_ATC_INV |
				      FIELD_PREP(CMDQ_ATC_0_SID, TEST_VSID)),
		.cmd[1] = cpu_to_le64(ATC_INV_SIZE_ALL),
	};
	struct iommu_user_data_array array = {
		.type = IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3,
		.uptr = (void __user *)uaddr,
		.entry_len = sizeof(entry),
		.entry_num = 1,
	};

	KUNIT_ASSERT_EQ(test, 0,
			copy_to_user(array.uptr, &entry, sizeof(entry)));
	arm_smmu_fake_drop_cmds(ft->fake);
	KUNIT_EXPECT_EQ(test, 0,
			arm_vsmmu_cache_invalidate(&vsmmu->core, &array));
	KUNIT_EXPECT_EQ(test, array.entry_num, 1);
	return fix_test_count(ft, CMDQ_OP_ATC_INV);
}

/* A guest's ATC_INV while ATS is on and off, and across a reset */
static void fix_test_guest_ats(struct kunit *test)
{
	struct fix_test *ft = fix_test_setup(test, IOMMU_HWPT_ALLOC_NEST_PARENT,
					     true);
	struct arm_vsmmu *vsmmu = arm_smmu_fake_alloc_vsmmu(ft->fake,
							    ft->domain);
	struct pci_dev *pdev = to_pci_dev(ft->fm->dev);
	bool warned = test_taint(TAINT_WARN);
	struct iommu_domain *on, *off;
	unsigned long uaddr;

	uaddr = kunit_vm_mmap(test, NULL, 0, PAGE_SIZE, PROT_READ | PROT_WRITE,
			      MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_FALSE(test, !uaddr || IS_ERR_VALUE(uaddr));
	fix_test_add_vdevice(test, vsmmu, ft->fm);
	on = arm_smmu_fake_alloc_nested(ft->fm, vsmmu, STRTAB_STE_0_CFG_S1_TRANS,
					STRTAB_STE_1_EATS_TRANS);
	off = arm_smmu_fake_alloc_nested(ft->fm, vsmmu,
					 STRTAB_STE_0_CFG_S1_TRANS,
					 STRTAB_STE_1_EATS_ABT);
	KUNIT_EXPECT_EQ(test, fix_test_atc_inv(test, ft, vsmmu, uaddr), 0);
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(ft->fm, on));
	KUNIT_EXPECT_EQ(test, fix_test_atc_inv(test, ft, vsmmu, uaddr), 1);
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(ft->fm, off));
	KUNIT_EXPECT_EQ(test, fix_test_atc_inv(test, ft, vsmmu, uaddr), 0);
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(ft->fm, on));

	KUNIT_ASSERT_EQ(test, 0, pci_dev_reset_iommu_prepare(pdev));
	KUNIT_EXPECT_EQ(test, fix_test_atc_inv(test, ft, vsmmu, uaddr), 0);
	pci_dev_reset_iommu_done(pdev);
	KUNIT_EXPECT_EQ(test, fix_test_atc_inv(test, ft, vsmmu, uaddr), 1);

	/* The vDEVICE goes meanwhile: the device stays blocked, without a WARN */
	KUNIT_ASSERT_EQ(test, 0, pci_dev_reset_iommu_prepare(pdev));
	xa_erase(&vsmmu->core.vdevs, TEST_VSID);
	pci_dev_reset_iommu_done(pdev);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_hw_id(ft->fm, IOMMU_NO_PASID), 0);
	KUNIT_EXPECT_TRUE(test, warned || !test_taint(TAINT_WARN));
	KUNIT_EXPECT_EQ(test, 0, arm_smmu_fake_attach(ft->fm, ft->domain));
}

static struct kunit_case fix_test_cases[] = {
	KUNIT_CASE(fix_test_dirty),
	KUNIT_CASE(fix_test_cfgi_timeout),
	KUNIT_CASE(fix_test_reserve),
	KUNIT_CASE(fix_test_s2fwb),
	KUNIT_CASE(fix_test_hitless),
	KUNIT_CASE(fix_test_max_devices),
	KUNIT_CASE(fix_test_faults),
	KUNIT_CASE(fix_test_guest_ats),
	{}
};

static struct kunit_suite fix_test_suite = {
	.name = "arm-smmu-v3-attach-fixes",
	.init = fix_test_init,
	.test_cases = fix_test_cases,
};

kunit_test_suite(fix_test_suite);
