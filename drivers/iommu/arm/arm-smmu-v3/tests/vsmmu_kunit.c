// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of vSMMUs as iommufd uses them: the VMID of a vSMMU, nested domains
 * and the invalidations of a guest.
 */
#include <kunit/static_stub.h>
#include <kunit/test-bug.h>
#include <linux/kthread.h>
#include <linux/mman.h>
#include <linux/pci.h>
#include <linux/uaccess.h>
#include <uapi/linux/iommufd.h>

#include "../../../iommufd/iommufd_private.h"

#include "model.h"

#define TEST_VSID	0x77
#define TEST_PASID	3
#define TEST_IOVA	SZ_1G
#define TEST_IPA	(2ULL * SZ_1G)

/* Ids are handed out from the lowest on */
#define TEST_VMID	1

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
	struct smmu_model_dev *dev;
	struct vsmmu_test_watch *watch;
	struct iommu_user_data_array array;
	struct mm_struct *mm;
	struct task_struct *guest;
	bool held;
	bool detached;
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

	vt->uaddr = kunit_vm_mmap(test, NULL, 0, PAGE_SIZE, PROT_READ | PROT_WRITE,
				  MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_FALSE(test, !vt->uaddr || IS_ERR_VALUE(vt->uaddr));
	arm_smmu_fake_drop_cmds(vt->fake);
	return vt;
}

static void vsmmu_test_attach(struct kunit *test, struct arm_smmu_fake_master *fm,
			      struct iommu_domain *domain)
{
	arm_smmu_fake_drop_cmds(fm->fake);
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(fm, domain));
}

/* The first command since the attach flushes the VMID, or it does not */
static void vsmmu_test_expect(struct kunit *test, struct arm_smmu_fake_master *fm, bool flush)
{
	struct arm_smmu_cmd cmd;

	KUNIT_ASSERT_TRUE(test, arm_smmu_fake_next_cmd(fm->fake, &cmd));
	KUNIT_EXPECT_EQ(test, flush, (cmd.data[0] & CMDQ_0_OP) == CMDQ_OP_TLBI_S12_VMALL);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_hw_id(fm, IOMMU_NO_PASID), TEST_VMID);
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
	vsmmu_test_attach(test, vt->fm, vt->nested);
	vsmmu_test_expect(test, vt->fm, true);
	/* The next device needs no flush */
	vsmmu_test_attach(test, vt->fm_too, vt->nested);
	vsmmu_test_expect(test, vt->fm_too, false);
}

static int vsmmu_test_impl_init(struct arm_vsmmu *vsmmu, const struct iommu_user_data *user_data)
{
	return -EIO;
}

/*
 * What keeps a guest from bypassing the cache is that the device cannot, or that
 * the parent has S2FWB. A vSMMU is for the devices of one SMMU. One that its
 * implementation refuses leaves no VMID behind.
 */
static void vsmmu_test_rules(struct kunit *test)
{
	struct vsmmu_test *vt = vsmmu_test_setup(test, false);
	struct arm_smmu_fake *far = arm_smmu_fake_create(test, 8);
	struct arm_smmu_fake_master *fm = arm_smmu_fake_add_master(far, 1, 0);
	struct iommu_domain *parent, *nested;
	struct arm_vsmmu vsmmu = {
		.core.type = IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV,
		.core.iommu_dev = &far->smmu.iommu,
	};

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

	far->impl_ops.vsmmu_init = vsmmu_test_impl_init;
	far->smmu.impl_ops = &far->impl_ops;
	KUNIT_EXPECT_EQ(test, -EIO, far->smmu.iommu.ops->viommu_init(&vsmmu.core, parent, NULL));
	far->smmu.impl_ops = NULL;
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_num_ids(&far->smmu.vmids), 1);
}

static void vsmmu_test_make_atc_inv(struct kunit *test)
{
	const __le64 entry[] = {
		cpu_to_le64(CMDQ_OP_ATC_INV | FIELD_PREP(CMDQ_ATC_0_SID, TEST_VSID)),
		cpu_to_le64(ATC_INV_SIZE_ALL),
	};
	struct vsmmu_test *vt = test->priv;

	vt->array = (struct iommu_user_data_array){
		.type = IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3,
		.uptr = (void __user *)vt->uaddr,
		.entry_len = sizeof(entry),
		.entry_num = 1,
	};
	KUNIT_ASSERT_EQ(test, 0, copy_to_user(vt->array.uptr, entry, sizeof(entry)));
	arm_smmu_fake_drop_cmds(vt->fake);
}

static bool vsmmu_test_saw_atc_inv(struct vsmmu_test *vt)
{
	struct arm_smmu_cmd cmd;
	bool seen = false;

	while (arm_smmu_fake_next_cmd(vt->fake, &cmd))
		seen |= FIELD_GET(CMDQ_0_OP, cmd.data[0]) == CMDQ_OP_ATC_INV;
	return seen;
}

/* The guest is not told whether its ATC_INV reaches the device */
static void vsmmu_test_expect_atc_inv(struct kunit *test, bool expected, int ret)
{
	struct vsmmu_test *vt = test->priv;

	vsmmu_test_make_atc_inv(test);
	KUNIT_EXPECT_EQ(test, ret, arm_vsmmu_cache_invalidate(&vt->vsmmus[0]->core, &vt->array));
	KUNIT_EXPECT_EQ(test, vt->array.entry_num, !ret);
	KUNIT_EXPECT_EQ(test, vsmmu_test_saw_atc_inv(vt), expected);
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

	vsmmu_test_expect_atc_inv(test, false, 0);
	for (i = 0; i < ARRAY_SIZE(ats); i++) {
		vsmmu_test_attach(test, vt->fm, vsmmu_test_alloc_s1(vt, 0, ats[i], 0));
		val = le64_to_cpu(arm_smmu_fake_ste(vt->fm)->data[1]);
		val = FIELD_GET(STRTAB_STE_1_EATS, val);
		KUNIT_EXPECT_EQ(test, ats[i], val == STRTAB_STE_1_EATS_TRANS);
		KUNIT_EXPECT_EQ(test, ats[i], arm_smmu_fake_id(vt->parent, vt->fake,
							       INV_TYPE_ATS_FULL, NULL));
		val = arm_smmu_fake_ats_ctrl(vt->fm);
		KUNIT_EXPECT_EQ(test, ats[i], !!(val & PCI_ATS_CTRL_ENABLE));
		vsmmu_test_expect_atc_inv(test, ats[i], 0);
	}

	/* The CMD_SYNC is missing, so the guest has to do it again */
	arm_smmu_fake_stop(vt->fake, 1);
	vsmmu_test_expect_atc_inv(test, true, -ETIMEDOUT);
	arm_smmu_fake_start(vt->fake);

	KUNIT_ASSERT_EQ(test, 0, pci_dev_reset_iommu_prepare(pdev));
	vsmmu_test_expect_atc_inv(test, false, 0);
	pci_dev_reset_iommu_done(pdev);
	vsmmu_test_expect_atc_inv(test, true, 0);

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

static int vsmmu_test_guest(void *data)
{
	struct vsmmu_test *vt = data;
	int ret;

	kthread_use_mm(vt->mm);
	ret = arm_vsmmu_cache_invalidate(&vt->vsmmus[0]->core, &vt->array);
	kthread_unuse_mm(vt->mm);
	return ret;
}

/* The guest looks for space again when the device is detached, or after a while */
static int vsmmu_test_hold(struct arm_smmu_queue_poll *qp)
{
	struct vsmmu_test *vt = kunit_get_current_test()->priv;
	unsigned long end = jiffies + HZ / 10;

	if (current == READ_ONCE(vt->guest) && !vt->held) {
		WRITE_ONCE(vt->held, true);
		while (!READ_ONCE(vt->detached) && time_before(jiffies, end))
			cpu_relax();
	}
	arm_smmu_fake_queue_pending(&vt->fake->queue);
	return 0;
}

/*
 * A device is detached while an ATC_INV of its guest, which was found to be allowed,
 * waits for space. It must not follow once the detach has returned.
 */
static void vsmmu_test_guest_detach(struct kunit *test)
{
	const struct arm_smmu_cmd cmd = { { CMDQ_OP_TLBI_NH_ASID } };
	struct vsmmu_test *vt = vsmmu_test_setup(test, true);
	struct task_struct *task;
	unsigned int i;

	if (num_online_cpus() < 2)
		kunit_skip(test, "needs two CPUs");
	vsmmu_test_attach(test, vt->fm, vsmmu_test_alloc_s1(vt, 0, true, 0));
	vsmmu_test_make_atc_inv(test);
	vt->mm = current->mm;
	kunit_activate_static_stub(test, arm_smmu_queue_poll, vsmmu_test_hold);
	arm_smmu_fake_stop(vt->fake, 0);
	for (i = 0; i < 256; i++)
		arm_smmu_cmdq_issue_cmd_p(&vt->fake->smmu, (struct arm_smmu_cmd *)&cmd, false);
	task = arm_smmu_fake_create_task(test, vsmmu_test_guest, vt,
					 cpumask_last(cpu_online_mask));
	WRITE_ONCE(vt->guest, task);
	wake_up_process(task);
	while (!READ_ONCE(vt->held))
		cpu_relax();
	arm_smmu_fake_start(vt->fake);
	vsmmu_test_attach(test, vt->fm, vt->blocked);
	arm_smmu_fake_drop_cmds(vt->fake);
	WRITE_ONCE(vt->detached, true);
	arm_smmu_fake_join_task(test, task);
	KUNIT_EXPECT_FALSE(test, vsmmu_test_saw_atc_inv(vt));
}

/* A configuration of the first device, without PASID and with one */
struct vsmmu_test_config {
	const char *name;
	struct iommu_domain *domains[2];
	/* Where TEST_IOVA is, or 0 */
	u64 pas[2];
	/* As v7.3 makes it */
	struct arm_smmu_ste ste;
};

/* One configuration takes the place of another, and what DMA has seen meanwhile */
struct vsmmu_test_watch {
	const struct vsmmu_test_config *from;
	const struct vsmmu_test_config *to;
	unsigned int aborts;
	unsigned int strays;
	unsigned int unlisted;
};

/* Is the id in the STE or CD in the array of the domain? */
static bool vsmmu_test_is_listed(struct vsmmu_test *vt, struct iommu_domain *domain,
				 ioasid_t pasid)
{
	u32 id = arm_smmu_fake_hw_id(vt->fm, pasid);
	struct arm_smmu_invs *invs;
	size_t i;

	if (domain->type == IOMMU_DOMAIN_NESTED)
		domain = vt->parent;
	if (!(domain->type & __IOMMU_DOMAIN_PAGING))
		return true;
	invs = arm_smmu_fake_invs(domain);
	for (i = 0; i < invs->num_invs; i++)
		if (invs->inv[i].users && invs->inv[i].id == id &&
		    !arm_smmu_inv_is_ats(&invs->inv[i]))
			return true;
	return false;
}

static void vsmmu_test_dma(struct vsmmu_test *vt)
{
	static const unsigned int flags[] = {
		MODEL_FRESH, MODEL_CACHED, MODEL_CACHED, MODEL_CACHED | MODEL_ATS,
	};
	struct vsmmu_test_watch *watch = vt->watch;
	const struct vsmmu_test_config *from = watch->from, *to = watch->to, *at;
	unsigned int i, way;
	u64 pa;

	for (i = 0; i < 2 * ARRAY_SIZE(flags); i++) {
		way = i % 2;
		if (smmu_model_dma(vt->dev, way ? TEST_PASID : MODEL_NO_SSID, TEST_IOVA,
				   MODEL_READ | MODEL_QUIET | flags[i / 2], &pa)) {
			watch->aborts += from->pas[way] && to->pas[way];
			continue;
		}
		at = pa == to->pas[way] ? to : from;
		watch->strays += pa != at->pas[way];
		/* What is only cached is about to be flushed */
		if (flags[i / 2] & MODEL_FRESH && pa == at->pas[way])
			watch->unlisted += !vsmmu_test_is_listed(vt, at->domains[way],
								 way ? TEST_PASID : 0);
	}
}

/* The SMMU consumes one command at a time, and before each one there is DMA */
static int vsmmu_test_poll(struct arm_smmu_queue_poll *qp)
{
	struct vsmmu_test *vt = kunit_get_current_test()->priv;

	if (vt->watch) {
		vsmmu_test_dma(vt);
		arm_smmu_fake_stop(vt->fake, 1);
	}
	arm_smmu_fake_queue_pending(&vt->fake->queue);
	return 0;
}

static struct vsmmu_test *vsmmu_test_setup_model(struct kunit *test)
{
	struct smmu_model *model = smmu_model_create(test, 1);
	struct vsmmu_test *vt = vsmmu_test_setup(test, true);

	smmu_model_add_smmu(model, vt->fake);
	vt->dev = smmu_model_add_dev(model, vt->fm);
	smmu_model_track(&vt->dev->ssids, TEST_PASID);
	smmu_model_track(&model->tracked, TEST_IOVA);
	kunit_activate_static_stub(test, arm_smmu_queue_poll, vsmmu_test_poll);
	return vt;
}

/* What the writer of STEs does by itself */
struct vsmmu_test_writer {
	struct arm_smmu_entry_writer writer;
	struct arm_smmu_ste ste;
	bool broken;
};

static void vsmmu_test_sync(struct arm_smmu_entry_writer *writer)
{
	struct vsmmu_test_writer *vw = container_of(writer, struct vsmmu_test_writer, writer);

	vw->broken |= !(vw->ste.data[0] & cpu_to_le64(STRTAB_STE_0_V));
}

static bool vsmmu_test_is_hitless(const struct vsmmu_test_config *from,
				  const struct vsmmu_test_config *to)
{
	static const struct arm_smmu_entry_writer_ops ops = {
		.sync = vsmmu_test_sync,
		.get_used = arm_smmu_get_ste_used,
		.get_update_safe = arm_smmu_get_ste_update_safe,
	};
	struct vsmmu_test_writer vw = { .writer.ops = &ops, .ste = from->ste };

	arm_smmu_write_entry(&vw.writer, vw.ste.data, to->ste.data);
	return !vw.broken;
}

/* Change either the domain of the device or that of its PASID, if that is enough */
static void vsmmu_test_change(struct kunit *test, const struct vsmmu_test_config *from,
			      const struct vsmmu_test_config *to)
{
	struct vsmmu_test *vt = test->priv;
	struct vsmmu_test_watch watch = { .from = from, .to = to };

	vt->watch = &watch;
	if (from->domains[1] == to->domains[1])
		vsmmu_test_attach(test, vt->fm, to->domains[0]);
	else if (to->domains[1])
		arm_smmu_fake_set_pasid(vt->fm, to->domains[1], TEST_PASID, NULL);
	else
		arm_smmu_fake_clear_pasid(vt->fm, TEST_PASID, from->domains[1]);
	KUNIT_EXPECT_FALSE_MSG(test, watch.aborts && vsmmu_test_is_hitless(from, to), "%s to %s",
			       from->name, to->name);

	/* Now only the new one is left */
	watch.from = to;
	watch.aborts = 0;
	vsmmu_test_dma(vt);
	vt->watch = NULL;
	arm_smmu_fake_start(vt->fake);
	KUNIT_EXPECT_EQ_MSG(test, watch.aborts, 0, "%s after %s", to->name, from->name);
	KUNIT_EXPECT_EQ_MSG(test, watch.strays, 0, "%s to %s", from->name, to->name);
	KUNIT_EXPECT_EQ_MSG(test, watch.unlisted, 0, "%s to %s", from->name, to->name);
}

/* Map an address to a page that nothing else has */
static u64 vsmmu_test_map(struct kunit *test, struct iommu_domain *domain, u64 iova)
{
	struct vsmmu_test *vt = test->priv;
	u64 pa = smmu_model_pa(vt->dev->model, SZ_4K);

	KUNIT_ASSERT_EQ(test, 0, iommu_map(domain, iova, pa, SZ_4K, IOMMU_READ, GFP_KERNEL));
	return pa;
}

/* A guest's CD, and behind it a table with one block of 1G at TEST_IOVA */
static void vsmmu_test_add_guest(struct kunit *test, u64 ipa)
{
	struct vsmmu_test *vt = test->priv;
	u64 *page = kunit_kzalloc(test, SZ_4K, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, page);
	page[0] = FIELD_PREP(CTXDESC_CD_0_TCR_T0SZ, 64 - 33) | FIELD_PREP(CTXDESC_CD_0_TCR_IPS, 4) |
		  CTXDESC_CD_0_TCR_EPD1 | CTXDESC_CD_0_V | CTXDESC_CD_0_AA64 | CTXDESC_CD_0_R |
		  CTXDESC_CD_0_A;
	page[1] = ipa + sizeof(struct arm_smmu_cd);
	page[CTXDESC_CD_DWORDS + TEST_IOVA / SZ_1G] = TEST_IPA | PMD_TYPE_SECT | PTE_USER |
						      PTE_AF | PTE_NG;
	KUNIT_ASSERT_EQ(test, 0, iommu_map(vt->parent, ipa, virt_to_phys(page), SZ_4K,
					   IOMMU_READ | IOMMU_WRITE, GFP_KERNEL));
}

/*
 * What v7.3 changes without V=0 in the STE is changed so, for all pairs of
 * configurations: no DMA aborts, and each goes where it went or where it will go.
 * Whatever an STE or CD brings into reach is in the array of its domain. A CD in
 * use is changed without V=0 by the exit of a process only.
 */
static void vsmmu_test_hitless(struct kunit *test)
{
	struct vsmmu_test *vt = vsmmu_test_setup_model(test);
	struct iommu_domain *identity = arm_smmu_fake_identity(vt->fm);
	struct iommu_domain *s1 = arm_smmu_fake_alloc_domain(vt->fm, 0);
	struct iommu_domain *other_s1 = arm_smmu_fake_alloc_domain(vt->fm, 0);
	struct iommu_domain *other_s2 =
		arm_smmu_fake_alloc_domain(vt->fm, IOMMU_HWPT_ALLOC_NEST_PARENT);
	const u64 pas[] = {
		vsmmu_test_map(test, s1, TEST_IOVA),
		vsmmu_test_map(test, other_s1, TEST_IOVA),
		vsmmu_test_map(test, vt->parent, TEST_IOVA),
		vsmmu_test_map(test, other_s2, TEST_IOVA),
		vsmmu_test_map(test, vt->parent, TEST_IPA),
	};
	struct vsmmu_test_config *from, *to, configs[] = {
		{ "S1", { s1 }, { pas[0] } },
		{ "S1 with a PASID", { s1, other_s1 }, { pas[0], pas[1] } },
		{ "blocked", { vt->blocked } },
		{ "blocked with a PASID", { vt->blocked, other_s1 }, { 0, pas[1] } },
		{ "identity", { identity }, { TEST_IOVA } },
		{ "identity with a PASID", { identity, other_s1 }, { TEST_IOVA, pas[1] } },
		{ "S2", { vt->parent }, { pas[2] } },
		{ "other S2", { other_s2 }, { pas[3] } },
		{ "nested bypass", { vt->nested }, { pas[2] } },
		{ "nested bypass, other vSMMU",
		  { arm_smmu_fake_alloc_nested(vt->fm, vt->vsmmus[1], STRTAB_STE_0_CFG_BYPASS, 0) },
		  { pas[2] } },
		{ "nested abort",
		  { arm_smmu_fake_alloc_nested(vt->fm, vt->vsmmus[0], STRTAB_STE_0_CFG_ABORT,
					       0) } },
		{ "nested S1", { vsmmu_test_alloc_s1(vt, 0, true, SZ_1M) }, { pas[4] } },
		{ "nested S1, no ATS", { vsmmu_test_alloc_s1(vt, 0, false, SZ_1M) }, { pas[4] } },
		{ "nested S1, other CDs", { vsmmu_test_alloc_s1(vt, 0, true, SZ_2M) }, { pas[4] } },
		{ "nested S1, other vSMMU", { vsmmu_test_alloc_s1(vt, 1, true, SZ_1M) },
		  { pas[4] } },
	};
	const __le64 vmid = cpu_to_le64(STRTAB_STE_2_S2VMID);
	struct arm_smmu_device *smmu = &vt->fake->smmu;
	unsigned int i;

	/* Alike, as the model mixes the words of all CDs that a stream has had */
	vsmmu_test_add_guest(test, SZ_1M);
	vsmmu_test_add_guest(test, SZ_2M);

	/* Without ATS at first, then with more that the STE says */
	smmu->features &= ~ARM_SMMU_FEAT_ATS;
	for (i = 0; i < 2 * ARRAY_SIZE(configs); i++) {
		from = &configs[i % ARRAY_SIZE(configs)];
		if (i == ARRAY_SIZE(configs))
			smmu->features |= ARM_SMMU_FEAT_ATS | ARM_SMMU_FEAT_STALLS |
					  ARM_SMMU_FEAT_ATTR_TYPES_OVR;
		vsmmu_test_attach(test, vt->fm, from->domains[0]);
		if (from->domains[1])
			arm_smmu_fake_set_pasid(vt->fm, from->domains[1], TEST_PASID, NULL);
		from->ste = *arm_smmu_fake_ste(vt->fm);
		/* All on one parent have one VMID */
		if (from->ste.data[2] & vmid)
			from->ste.data[2] = (from->ste.data[2] & ~vmid) |
					    cpu_to_le64(from->domains[0] == other_s2 ? 2 : 1);
		for (to = configs; to != from; to++) {
			if (from->domains[1] != to->domains[1] &&
			    from->domains[0] != to->domains[0])
				continue;
			/*
			 * The exception: VMID and CD table of a guest are in two
			 * words of the STE. One that has the VMID of another vSMMU
			 * with this table would bring this guest's stage 1 into
			 * the TLB of the other.
			 */
			if (from - configs == ARRAY_SIZE(configs) - 1 && from - to == 1)
				continue;
			vsmmu_test_change(test, from, to);
			vsmmu_test_change(test, to, from);
		}
		if (from->domains[1])
			arm_smmu_fake_clear_pasid(vt->fm, TEST_PASID, from->domains[1]);
	}
}

static struct kunit_case vsmmu_test_cases[] = {
	KUNIT_CASE(vsmmu_test_detach_timeout),
	KUNIT_CASE(vsmmu_test_rules),
	KUNIT_CASE(vsmmu_test_guest_ats),
	KUNIT_CASE(vsmmu_test_guest_detach),
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
