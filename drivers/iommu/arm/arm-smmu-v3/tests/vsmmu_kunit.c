// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of vSMMUs, initialized as by iommufd, and of DMA while the configuration
 * of a device changes.
 */
#include <kunit/static_stub.h>
#include <kunit/test-bug.h>
#include <linux/kthread.h>
#include <linux/pci.h>
#include <uapi/linux/iommufd.h>

#include "../../../iommufd/iommufd_private.h"

#include "model.h"

#define TEST_VSID	0x77
#define TEST_PASID	3
#define TEST_IOVA	SZ_1G
#define TEST_IPA	(2ULL * SZ_1G)

#define ABORT		STRTAB_STE_0_CFG_ABORT
#define BYPASS		STRTAB_STE_0_CFG_BYPASS
#define S1		STRTAB_STE_0_CFG_S1_TRANS
#define ATS		STRTAB_STE_1_EATS_TRANS
#define NO_ATS		STRTAB_STE_1_EATS_ABT
#define NO_VMID		-1

/* A configuration of the device, without PASID and with one */
struct config {
	const char *name;
	/* With v7.3, where a parent and its vSMMUs have one VMID. NO_VMID for bypass and abort. */
	int vmid;
	struct iommu_domain *domains[2];
	/* The output addresses of TEST_IOVA, or 0 */
	u64 pas[2];
};

/* Two vSMMUs on one parent, and a device with a vDEVICE of each */
struct vsmmu {
	struct kunit *test;
	struct arm_smmu_fake *fake;
	struct arm_smmu_fake_master *fm;
	struct iommu_domain *parent;
	struct arm_vsmmu *vsmmus[2];
	struct iommufd_device idev;
	struct iommufd_vdevice vdev;
	/* An ATC_INV of a guest, and the task that issues it */
	struct iommu_user_data_array array;
	struct mm_struct *mm;
	bool held;
	/* A change of the configuration */
	struct smmu_model_dev *dev;
	const struct config *from;
	const struct config *to;
	const char *error;
};

static struct vsmmu *setup(struct kunit *test)
{
	const u64 cmd = CMDQ_OP_ATC_INV | FIELD_PREP(CMDQ_ATC_0_SID, TEST_VSID);
	struct vsmmu *v = arm_smmu_fake_zalloc(test, sizeof(*v));
	struct smmu_model *model = smmu_model_create(test, 1);
	const u32 sid = 1;
	unsigned int i;

	test->priv = v;
	v->test = test;
	v->fake = arm_smmu_fake_create(test, 8);
	v->fm = arm_smmu_fake_add_pci_master(v->fake, &sid, 1, 4);
	v->parent = arm_smmu_fake_alloc_domain(v->fm, IOMMU_HWPT_ALLOC_NEST_PARENT);
	smmu_model_add_smmu(model, v->fake);
	v->dev = smmu_model_add_dev(model, v->fm);
	smmu_model_track(&v->dev->ssids, TEST_PASID);
	smmu_model_track(&model->tracked, TEST_IOVA);
	/* The fields that the driver uses */
	v->idev.dev = v->fm->dev;
	v->vdev.idev = &v->idev;
	v->vdev.virt_id = TEST_VSID;
	for (i = 0; i < 2; i++) {
		v->vsmmus[i] = arm_smmu_fake_alloc_vsmmu(v->fake, v->parent);
		KUNIT_ASSERT_NULL(test, xa_store(&v->vsmmus[i]->core.vdevs, TEST_VSID, &v->vdev,
						 GFP_KERNEL));
	}
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_guest_cmd(&v->array, arm_smmu_fake_user_page(test),
							 cmd, ATC_INV_SIZE_ALL));
	return v;
}

static void attach(struct arm_smmu_fake_master *fm, struct iommu_domain *domain)
{
	KUNIT_ASSERT_EQ(fm->fake->test, 0, arm_smmu_fake_attach(fm, domain));
}

/* Allocate a nested domain by Config, EATS and S1ContextPtr of the guest's STE */
static struct iommu_domain *alloc_nested(struct vsmmu *v, unsigned int i, unsigned int cfg,
					 u64 eats, u64 table)
{
	struct iommu_domain *nested = arm_smmu_fake_alloc_nested(v->fm, v->vsmmus[i], cfg, eats);

	to_smmu_nested_domain(nested)->ste[0] |= cpu_to_le64(table);
	return nested;
}

static int refuse(struct arm_vsmmu *vsmmu, const struct iommu_user_data *user_data)
{
	return -EIO;
}

/*
 * A nested domain can be attached only to a device behind the SMMU of its vSMMU. The
 * device needs CANWBS unless the parent has S2FWB, since its guest could bypass the
 * cache otherwise. The VMID is freed when the implementation rejects a vSMMU.
 */
static void vsmmu_test_rules(struct kunit *test)
{
	struct vsmmu *v = setup(test);
	struct arm_smmu_fake *far = arm_smmu_fake_create(test, 8);
	struct arm_smmu_fake_master *fm = arm_smmu_fake_add_master(far, 1, 0);
	struct iommu_domain *nested = alloc_nested(v, 0, BYPASS, NO_ATS, 0);
	struct arm_vsmmu *vsmmu, refused = {
		.core.type = IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV,
		.core.iommu_dev = &far->smmu.iommu,
	};
	struct iommu_domain *parent;

	KUNIT_EXPECT_EQ(test, -EINVAL, arm_smmu_fake_attach(fm, nested));
	far->smmu.features |= ARM_SMMU_FEAT_S2FWB;
	parent = arm_smmu_fake_alloc_domain(fm, IOMMU_HWPT_ALLOC_NEST_PARENT);
	vsmmu = arm_smmu_fake_alloc_vsmmu(far, parent);
	dev_iommu_fwspec_get(fm->dev)->flags &= ~IOMMU_FWSPEC_PCI_RC_CANWBS;
	attach(fm, arm_smmu_fake_alloc_nested(fm, vsmmu, BYPASS, NO_ATS));
	dev_iommu_fwspec_get(v->fm->dev)->flags &= ~IOMMU_FWSPEC_PCI_RC_CANWBS;
	KUNIT_EXPECT_EQ(test, -EINVAL, arm_smmu_fake_attach(v->fm, nested));

	far->impl_ops.vsmmu_init = refuse;
	far->smmu.impl_ops = &far->impl_ops;
	KUNIT_EXPECT_EQ(test, -EIO, far->smmu.iommu.ops->viommu_init(&refused.core, parent, NULL));
	far->smmu.impl_ops = NULL;
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_num_ids(&far->smmu.vmids), 1);
}

static bool saw_atc_inv(struct vsmmu *v)
{
	struct arm_smmu_cmd cmd;
	bool seen = false;

	while (arm_smmu_fake_next_cmd(v->fake, &cmd))
		seen |= FIELD_GET(CMDQ_0_OP, cmd.data[0]) == CMDQ_OP_ATC_INV;
	return seen;
}

/* A guest's ATC_INV that is not issued because ATS is disabled counts as issued */
static void expect_atc_inv(struct vsmmu *v, bool expected, int ret)
{
	v->array.entry_num = 1;
	arm_smmu_fake_drop_cmds(v->fake);
	KUNIT_EXPECT_EQ(v->test, ret, arm_vsmmu_cache_invalidate(&v->vsmmus[0]->core, &v->array));
	KUNIT_EXPECT_EQ(v->test, v->array.entry_num, !ret);
	KUNIT_EXPECT_EQ(v->test, saw_atc_inv(v), expected);
}

/*
 * The guest's STE enables ATS, and so adds entries for the ATC to the array. A guest's
 * ATC_INV is issued only while ATS is enabled, also during and after a reset.
 */
static void vsmmu_test_guest_ats(struct kunit *test)
{
	static const bool ats[] = { true, false, true };
	struct vsmmu *v = setup(test);
	struct pci_dev *pdev = to_pci_dev(v->fm->dev);
	struct arm_smmu_inv *inv;
	unsigned int i;
	u64 val;

	expect_atc_inv(v, false, 0);
	for (i = 0; i < ARRAY_SIZE(ats); i++) {
		attach(v->fm, alloc_nested(v, 0, S1, ats[i] ? ATS : NO_ATS, 0));
		val = le64_to_cpu(arm_smmu_fake_ste(v->fm)->data[1]);
		val = FIELD_GET(STRTAB_STE_1_EATS, val);
		KUNIT_EXPECT_EQ(test, ats[i], val == ATS);
		inv = arm_smmu_invs_find(arm_smmu_fake_invs(v->parent), &v->fake->smmu,
					 INV_TYPE_ATS_FULL);
		KUNIT_EXPECT_EQ(test, ats[i], !!inv);
		KUNIT_EXPECT_EQ(test, ats[i], !!pdev->ats_enabled);
		expect_atc_inv(v, ats[i], 0);
	}

	/* The CMD_SYNC times out, so the guest has to repeat the command */
	arm_smmu_fake_stop(v->fake, 1);
	expect_atc_inv(v, true, -ETIMEDOUT);
	arm_smmu_fake_start(v->fake);

	KUNIT_ASSERT_EQ(test, 0, pci_dev_reset_iommu_prepare(pdev));
	expect_atc_inv(v, false, 0);
	pci_dev_reset_iommu_done(pdev);
	expect_atc_inv(v, true, 0);

	/* The vDEVICE is destroyed during a reset: the device remains blocked, without a WARN */
	KUNIT_ASSERT_EQ(test, 0, pci_dev_reset_iommu_prepare(pdev));
	xa_erase(&v->vsmmus[0]->core.vdevs, TEST_VSID);
	kunit_warning_suppress(test) {
		pci_dev_reset_iommu_done(pdev);
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 0);
	}
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_hw_id(v->fm, IOMMU_NO_PASID), 0);
	attach(v->fm, v->parent);
}

static int run_guest(void *data)
{
	struct vsmmu *v = data;

	kthread_use_mm(v->mm);
	arm_vsmmu_cache_invalidate(&v->vsmmus[0]->core, &v->array);
	kthread_unuse_mm(v->mm);
	return 0;
}

/* The first wait is that of the guest for queue space. Delay it. */
static int hold_guest(struct arm_smmu_queue_poll *qp)
{
	struct vsmmu *v = kunit_get_current_test()->priv;
	unsigned long end = jiffies + HZ / 10;

	if (!READ_ONCE(v->held)) {
		WRITE_ONCE(v->held, true);
		while (time_before(jiffies, end))
			cpu_relax();
	}
	arm_smmu_fake_queue_pending(&v->fake->queue);
	return 0;
}

/*
 * A device is detached while an ATC_INV of its guest waits for queue space. The ATC_INV
 * must not be issued after the detach has returned.
 */
static void vsmmu_test_guest_detach(struct kunit *test)
{
	struct arm_smmu_cmd cmd = { { CMDQ_OP_TLBI_NH_ASID } };
	struct vsmmu *v = setup(test);
	struct task_struct *task;
	unsigned int i;

	if (num_online_cpus() < 2)
		kunit_skip(test, "needs two CPUs");
	attach(v->fm, alloc_nested(v, 0, S1, ATS, 0));
	v->mm = current->mm;
	kunit_activate_static_stub(test, arm_smmu_queue_poll, hold_guest);
	arm_smmu_fake_stop(v->fake, 0);
	for (i = 0; i < 256; i++)
		arm_smmu_cmdq_issue_cmd_p(&v->fake->smmu, &cmd, false);
	task = arm_smmu_fake_run_task(test, run_guest, v);
	while (!READ_ONCE(v->held))
		cpu_relax();
	arm_smmu_fake_start(v->fake);
	attach(v->fm, arm_smmu_fake_blocked(v->fm));
	arm_smmu_fake_drop_cmds(v->fake);
	arm_smmu_fake_join_task(test, task);
	KUNIT_EXPECT_FALSE(test, saw_atc_inv(v));
}

/* Return: true if the ASID or VMID in the CD or STE is in the array of the domain */
static bool is_listed(struct vsmmu *v, struct iommu_domain *domain, ioasid_t pasid)
{
	u32 id = arm_smmu_fake_hw_id(v->fm, pasid);
	struct arm_smmu_invs *invs;
	struct arm_smmu_inv *inv;

	if (domain->type == IOMMU_DOMAIN_IDENTITY)
		return true;
	invs = arm_smmu_fake_invs(domain->type == IOMMU_DOMAIN_NESTED ? v->parent : domain);
	for (inv = invs->inv; inv != invs->inv + invs->num_invs; inv++)
		if (inv->users && inv->id == id && !arm_smmu_inv_is_ats(inv))
			return true;
	return false;
}

static void do_dma(struct vsmmu *v)
{
	static const unsigned int flags[] = {
		MODEL_FRESH, MODEL_CACHED, MODEL_CACHED, MODEL_CACHED | MODEL_ATS,
	};
	const struct config *from = v->from, *to = v->to, *at;
	/* Config and VMID are in different words of the STE, so the driver clears V first */
	bool interrupted = from->vmid != NO_VMID && to->vmid != NO_VMID && from->vmid != to->vmid;
	unsigned int i, way;
	u64 pa;

	for (i = 0; i < 2 * ARRAY_SIZE(flags); i++) {
		way = i % 2;
		if (smmu_model_dma(v->dev, way ? TEST_PASID : MODEL_NO_SSID, TEST_IOVA,
				   MODEL_READ | MODEL_QUIET | flags[i / 2], &pa)) {
			if (!interrupted && from->pas[way] && to->pas[way])
				v->error = "abort";
			continue;
		}
		at = pa == to->pas[way] ? to : from;
		if (pa != at->pas[way])
			v->error = "address of neither configuration";
		/* A cached entry may have a tag that is not flushed yet */
		else if (flags[i / 2] & MODEL_FRESH &&
			 !is_listed(v, at->domains[way], way * TEST_PASID))
			v->error = "ASID or VMID that is not in the array";
	}
}

/* Do DMA before each command, and let the SMMU consume one command at a time */
static int poll_with_dma(struct arm_smmu_queue_poll *qp)
{
	struct vsmmu *v = kunit_get_current_test()->priv;

	if (v->from) {
		do_dma(v);
		arm_smmu_fake_stop(v->fake, 1);
	}
	arm_smmu_fake_queue_pending(&v->fake->queue);
	return 0;
}

static void set_pasid(struct vsmmu *v, struct iommu_domain *old, struct iommu_domain *new)
{
	if (old != new)
		arm_smmu_fake_set_pasid(v->fm, new ?: arm_smmu_fake_blocked(v->fm), TEST_PASID,
					old);
}

static void change(struct vsmmu *v, const struct config *from, const struct config *to)
{
	v->from = from;
	v->to = to;
	v->error = NULL;
	if (from->domains[0] != to->domains[0])
		attach(v->fm, to->domains[0]);
	set_pasid(v, from->domains[1], to->domains[1]);

	/* Now only the translations of the new configuration are valid */
	v->from = to;
	do_dma(v);
	v->from = NULL;
	arm_smmu_fake_start(v->fake);
	if (v->error)
		KUNIT_FAIL(v->test, "%s to %s: %s", from->name, to->name, v->error);
}

static u64 map(struct vsmmu *v, struct iommu_domain *domain, u64 iova)
{
	u64 pa = smmu_model_pa(v->dev->model, SZ_4K);

	KUNIT_ASSERT_EQ(v->test, 0, iommu_map(domain, iova, pa, SZ_4K, IOMMU_READ, GFP_KERNEL));
	return pa;
}

/* A page with a guest's CD, and a table with one block of 1G at TEST_IOVA */
static void add_guest(struct vsmmu *v, u64 ipa)
{
	u64 *page = arm_smmu_fake_zalloc(v->test, SZ_4K);

	page[0] = FIELD_PREP(CTXDESC_CD_0_TCR_T0SZ, 64 - 33) | FIELD_PREP(CTXDESC_CD_0_TCR_IPS, 4) |
		  CTXDESC_CD_0_TCR_EPD1 | CTXDESC_CD_0_V | CTXDESC_CD_0_AA64 | CTXDESC_CD_0_R |
		  CTXDESC_CD_0_A;
	page[1] = ipa + sizeof(struct arm_smmu_cd);
	page[CTXDESC_CD_DWORDS + TEST_IOVA / SZ_1G] = TEST_IPA | PMD_TYPE_SECT | PTE_USER |
						      PTE_AF | PTE_NG;
	KUNIT_ASSERT_EQ(v->test, 0, iommu_map(v->parent, ipa, virt_to_phys(page), SZ_4K,
					      IOMMU_READ | IOMMU_WRITE, GFP_KERNEL));
}

/*
 * Change the configuration of a device, for all pairs of configurations. DMA does not
 * abort if both configurations have the same VMID in v7.3. Each access goes to the address
 * of the old or of the new configuration. The ASID or VMID of an STE or CD is in the array
 * of its domain. Only the exit of a process changes a CD without V=0.
 */
static void vsmmu_test_hitless(struct kunit *test)
{
	struct vsmmu *v = setup(test);
	struct iommu_domain *blocked = arm_smmu_fake_blocked(v->fm);
	struct iommu_domain *identity = arm_smmu_fake_identity(v->fm);
	struct iommu_domain *s1 = arm_smmu_fake_alloc_domain(v->fm, 0);
	struct iommu_domain *pasid = arm_smmu_fake_alloc_domain(v->fm, 0);
	struct iommu_domain *s2 = arm_smmu_fake_alloc_domain(v->fm, IOMMU_HWPT_ALLOC_NEST_PARENT);
	const u64 s1_pa = map(v, s1, TEST_IOVA), pasid_pa = map(v, pasid, TEST_IOVA),
		  s2_pa = map(v, s2, TEST_IOVA), parent_pa = map(v, v->parent, TEST_IOVA),
		  guest_pa = map(v, v->parent, TEST_IPA);
	const struct config *from, *to, configs[] = {
		{ "S1", 0, { s1 }, { s1_pa } },
		{ "S1 with a PASID", 0, { s1, pasid }, { s1_pa, pasid_pa } },
		{ "blocked", NO_VMID, { blocked } },
		{ "blocked with a PASID", 0, { blocked, pasid }, { 0, pasid_pa } },
		{ "identity", NO_VMID, { identity }, { TEST_IOVA } },
		{ "identity with a PASID", 0, { identity, pasid }, { TEST_IOVA, pasid_pa } },
		{ "S2", 1, { v->parent }, { parent_pa } },
		{ "other S2", 2, { s2 }, { s2_pa } },
		{ "nested bypass", 1, { alloc_nested(v, 0, BYPASS, NO_ATS, 0) }, { parent_pa } },
		{ "nested bypass, vSMMU 1", 1, { alloc_nested(v, 1, BYPASS, NO_ATS, 0) },
		  { parent_pa } },
		{ "nested abort", NO_VMID, { alloc_nested(v, 0, ABORT, NO_ATS, 0) } },
		{ "nested S1", 1, { alloc_nested(v, 0, S1, ATS, SZ_1M) }, { guest_pa } },
		{ "nested S1, no ATS", 1, { alloc_nested(v, 0, S1, NO_ATS, SZ_1M) }, { guest_pa } },
		{ "nested S1, other CDs", 1, { alloc_nested(v, 0, S1, ATS, SZ_2M) }, { guest_pa } },
		{ "nested S1, vSMMU 1", 1, { alloc_nested(v, 1, S1, ATS, SZ_1M) }, { guest_pa } },
	};
	struct arm_smmu_device *smmu = &v->fake->smmu;
	unsigned int i;

	/* The same tables, as the model may mix the words of all CDs of a stream */
	add_guest(v, SZ_1M);
	add_guest(v, SZ_2M);
	kunit_activate_static_stub(test, arm_smmu_queue_poll, poll_with_dma);

	/* At first without ATS, then with it and with further fields of the STE */
	smmu->features &= ~ARM_SMMU_FEAT_ATS;
	for (i = 0; i < 2 * ARRAY_SIZE(configs); i++) {
		from = &configs[i % ARRAY_SIZE(configs)];
		if (i == ARRAY_SIZE(configs))
			smmu->features |= ARM_SMMU_FEAT_ATS | ARM_SMMU_FEAT_STALLS |
					  ARM_SMMU_FEAT_ATTR_TYPES_OVR;
		attach(v->fm, from->domains[0]);
		set_pasid(v, NULL, from->domains[1]);
		for (to = configs; to != from; to++) {
			if (from->domains[1] != to->domains[1] &&
			    from->domains[0] != to->domains[0])
				continue;
			/*
			 * The exception: nested S1 of two vSMMUs with different CD tables. VMID
			 * and CD table are in two words of the STE, so without V=0 stage 1 of one
			 * guest could be cached with the VMID of the other.
			 */
			if (from - configs == ARRAY_SIZE(configs) - 1 && from - to == 1)
				continue;
			change(v, from, to);
			change(v, to, from);
		}
		set_pasid(v, from->domains[1], NULL);
	}
}

static struct kunit_case vsmmu_test_cases[] = {
	KUNIT_CASE(vsmmu_test_rules),
	KUNIT_CASE(vsmmu_test_guest_ats),
	KUNIT_CASE(vsmmu_test_guest_detach),
	KUNIT_CASE(vsmmu_test_hitless),
	{}
};

static struct kunit_suite vsmmu_test_suite = {
	.name = "arm-smmu-v3-vsmmu",
	.suite_exit = arm_smmu_fake_suite_exit,
	.test_cases = vsmmu_test_cases,
};

kunit_test_suite(vsmmu_test_suite);
