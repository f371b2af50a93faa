// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of ASIDs and VMIDs on one SMMU: when a domain allocates and frees one,
 * that a failed attach changes nothing, and that an ASID or VMID is flushed again
 * after its flush timed out. They also cover page faults and references to devices
 * across attach and detach. The effect of commands is tested by the model.
 */
#include <linux/iommu.h>
#include <linux/mmu_notifier.h>
#include <linux/pci.h>
#include <linux/sched/mm.h>
#include <uapi/linux/iommufd.h>

#include "fake.h"

#define TEST_PASID	3
#define TEST_STAGES	2

/* Two devices behind one SMMU with a queue for TLBIs, and two domains of a stage */
struct ids {
	struct kunit *test;
	struct arm_smmu_fake *fake;
	struct arm_smmu_fake_queue *tlbis;
	struct arm_smmu_fake_master *fm;
	struct arm_smmu_fake_master *fm_too;
	struct iommu_domain *domain;
	struct iommu_domain *other;
	enum arm_smmu_inv_type type;
	struct arm_smmu_pool *pool;
};

static bool is_tlbi(struct arm_smmu_cmd *cmd)
{
	u8 op = FIELD_GET(CMDQ_0_OP, cmd->data[0]);

	return op >= CMDQ_OP_TLBI_NH_ALL && op < CMDQ_OP_ATC_INV;
}

static void attach(struct arm_smmu_fake_master *fm, struct iommu_domain *domain)
{
	arm_smmu_fake_drop_cmds(fm->fake);
	KUNIT_ASSERT_EQ(fm->fake->test, 0, arm_smmu_fake_attach(fm, domain));
}

static void block(struct arm_smmu_fake_master *fm)
{
	attach(fm, arm_smmu_fake_blocked(fm));
}

/* Detach while a queue consumes no commands */
static void block_dead(struct arm_smmu_fake_master *fm, struct arm_smmu_fake_queue *fq)
{
	arm_smmu_fake_queue_stall(fq, 0, 0);
	block(fm);
	arm_smmu_fake_queue_start(fq);
}

/* Check that no ASID or VMID is in use, and allocate domains of stage 1 or 2 */
static void begin(struct ids *s, unsigned int stage)
{
	u32 flags = stage == 1 ? 0 : IOMMU_HWPT_ALLOC_NEST_PARENT;

	s->type = stage == 1 ? INV_TYPE_S1_ASID : INV_TYPE_S2_VMID;
	s->pool = stage == 1 ? &s->fake->smmu.asids : &s->fake->smmu.vmids;
	block(s->fm);
	block(s->fm_too);
	KUNIT_ASSERT_EQ(s->test, arm_smmu_fake_num_ids(s->pool), 0);
	s->domain = arm_smmu_fake_alloc_domain(s->fm, flags);
	s->other = arm_smmu_fake_alloc_domain(s->fm, flags);
}

static struct ids *setup(struct kunit *test)
{
	struct ids *s = arm_smmu_fake_zalloc(test, sizeof(*s));

	s->test = test;
	s->fake = arm_smmu_fake_create(test, 8);
	s->tlbis = arm_smmu_fake_add_queue(s->fake, 8, is_tlbi);
	s->fm = arm_smmu_fake_add_master(s->fake, 1, 6);
	s->fm_too = arm_smmu_fake_add_master(s->fake, 2, 6);
	begin(s, 1);
	return s;
}

/* Get the ASID or VMID of a domain, and check the number of its users */
static u32 get_id(struct ids *s, struct iommu_domain *domain, int expected)
{
	struct arm_smmu_inv *inv = arm_smmu_invs_find(arm_smmu_fake_invs(domain),
						      &s->fake->smmu, s->type);

	KUNIT_EXPECT_EQ(s->test, inv ? inv->users : 0, expected);
	KUNIT_EXPECT_EQ(s->test, !!expected, inv && test_bit(inv->id, s->pool->used));
	return inv ? inv->id : 0;
}

static int attach_locked(struct device *dev, void *data)
{
	struct iommu_domain **domains = data;

	return domains[0]->ops->attach_dev(domains[0], dev, domains[1]);
}

/* Attach with an old domain of the caller's choice */
static void attach_from(struct arm_smmu_fake_master *fm, struct iommu_domain *domain,
			struct iommu_domain *old)
{
	struct iommu_domain *domains[] = { domain, old };

	KUNIT_EXPECT_EQ(fm->fake->test, 0,
			iommu_group_for_each_dev(fm->group, domains, attach_locked));
}

/*
 * An ASID or VMID is allocated for the first device and freed after the last one. A
 * domain holds a reference to the device of its page table until it is freed.
 */
static void ids_test_life(struct kunit *test)
{
	struct ids *s = setup(test);
	struct kref *ref = &s->fake->smmu.dev->kobj.kref;
	unsigned int stage, refs;

	for (stage = 1; stage <= TEST_STAGES; stage++) {
		refs = kref_read(ref);
		begin(s, stage);
		KUNIT_EXPECT_EQ(test, kref_read(ref), refs + 2);
		attach(s->fm, s->domain);
		attach(s->fm_too, s->domain);
		/* To the domain that it is attached to already */
		attach_from(s->fm, s->domain, s->domain);
		get_id(s, s->domain, 2);
		block(s->fm);
		/* The old domain is wrong after a failed reattach: drop no user then */
		attach_from(s->fm, arm_smmu_fake_blocked(s->fm), s->domain);
		get_id(s, s->domain, 1);
		block(s->fm_too);
		arm_smmu_fake_free_domain(s->fm, s->domain);
		KUNIT_EXPECT_EQ(test, kref_read(ref), refs + 1);
	}
}

/*
 * Expect an attach of s->fm to s->other to fail and to change nothing.
 * With @nth its nth allocation fails. Return: false if it has fewer allocations
 */
static bool refused(struct ids *s, int expected, ioasid_t pasid, unsigned int nth)
{
	unsigned int num = arm_smmu_fake_num_ids(s->pool);
	u32 id = arm_smmu_fake_hw_id(s->fm, 0);
	struct kunit *test = s->test;
	struct arm_smmu_cmd cmd;
	int ret;

	arm_smmu_fake_drop_cmds(s->fake);
	if (nth && arm_smmu_fake_slab_start(nth))
		kunit_skip(test, "needs CONFIG_KPROBES and CONFIG_FAILSLAB");
	if (pasid)
		ret = arm_smmu_fake_set_pasid(s->fm, s->other, pasid, NULL);
	else
		ret = arm_smmu_fake_attach(s->fm, s->other);
	if (nth && !arm_smmu_fake_slab_stop()) {
		KUNIT_EXPECT_EQ(test, ret, 0);
		return false;
	}
	KUNIT_ASSERT_EQ_MSG(test, ret, expected, "allocation %u", nth);
	KUNIT_EXPECT_FALSE(test, arm_smmu_fake_next_cmd(s->fake, &cmd));
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_hw_id(s->fm, 0), id);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_num_ids(s->pool), num);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_invs(s->other)->num_invs, 0);
	KUNIT_EXPECT_TRUE(test, list_empty(&to_smmu_domain(s->other)->devices));
	return true;
}

static int never_handle(struct iopf_group *group)
{
	return -EIO;
}

/* No free ASID or VMID, too many devices, or no queue for page faults */
static void ids_test_refusals(struct kunit *test)
{
	struct ids *s = setup(test);
	struct arm_smmu_domain *other;
	unsigned int stage;

	arm_smmu_fake_set_id_bits(s->fake, 1);
	s->fake->smmu.evtq.iopf = NULL;
	s->fm->master->stall_enabled = true;
	for (stage = 1; stage <= TEST_STAGES; stage++) {
		begin(s, stage);
		/* There is one ASID or VMID, reserved for default domains */
		s->domain->type = IOMMU_DOMAIN_DMA;
		s->other->type = IOMMU_DOMAIN_DMA;
		attach(s->fm, s->domain);
		refused(s, -ENOSPC, IOMMU_NO_PASID, 0);
		if (stage == 1)
			refused(s, -ENOSPC, TEST_PASID, 0);
		/* A second device uses the same one */
		attach(s->fm_too, s->domain);
		block(s->fm_too);
		block(s->fm);

		other = to_smmu_domain(s->other);
		other->num_devices = ARM_SMMU_DOMAIN_MAX_DEVICES;
		refused(s, -ENOSPC, IOMMU_NO_PASID, 0);
		other->num_devices = 0;
		s->other->iopf_handler = never_handle;
		refused(s, -EOPNOTSUPP, IOMMU_NO_PASID, 0);
		s->other->iopf_handler = NULL;
		attach(s->fm, s->other);
		KUNIT_EXPECT_EQ(test, other->num_devices, 1);
		block(s->fm);
		KUNIT_EXPECT_EQ(test, other->num_devices, 0);
	}
}

/* Each allocation of a replace fails in turn */
static void ids_test_no_memory(struct kunit *test)
{
	static const struct {
		unsigned int stage;
		ioasid_t pasid;
	} rows[] = { { 1 }, { 2 }, { 1, TEST_PASID } };
	struct ids *s = setup(test);
	unsigned int i, nth;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		begin(s, rows[i].stage);
		/* The first attach allocates the CD table, which the device keeps */
		attach(s->fm, s->domain);
		for (nth = 1; refused(s, -ENOMEM, rows[i].pasid, nth);)
			nth++;
		/* The array and the arm_smmu_master_domain */
		KUNIT_EXPECT_EQ(test, nth, 3);
		get_id(s, s->other, 1);
	}
	arm_smmu_fake_clear_pasid(s->fm, TEST_PASID, s->other);
}

KUNIT_DEFINE_ACTION_WRAPPER(mmput_wrapper, mmput, struct mm_struct *);

static struct mm_struct *make_mm(struct kunit *test)
{
	struct mm_struct *mm = mm_alloc();

	KUNIT_ASSERT_NOT_NULL(test, mm);
	arm_smmu_fake_add_action(test, mmput_wrapper, mm);
	return mm;
}

/* Each allocation of a bind of SVA fails in turn */
static void ids_test_sva_no_memory(struct kunit *test)
{
	struct ids *s = setup(test);
	struct mm_struct *mm = make_mm(test);
	struct iommu_sva *handle;
	bool failed = true;
	unsigned int nth;

	s->fake->smmu.features |= ARM_SMMU_FEAT_SVA;
	for (nth = 1; failed; nth++) {
		if (arm_smmu_fake_slab_start(nth))
			kunit_skip(test, "needs CONFIG_KPROBES and CONFIG_FAILSLAB");
		handle = iommu_sva_bind_device(s->fm->dev, mm);
		failed = arm_smmu_fake_slab_stop();
		KUNIT_ASSERT_EQ_MSG(test, PTR_ERR_OR_ZERO(handle), failed ? -ENOMEM : 0,
				    "allocation %u", nth);
		if (!failed)
			iommu_sva_unbind_device(handle);
		/* Wait until the notifier has freed the domain */
		mmu_notifier_synchronize();
		KUNIT_EXPECT_EQ(test, arm_smmu_fake_num_ids(s->pool), 0);
		KUNIT_EXPECT_EQ(test, s->fm->master->cd_table.used_ssids, 0);
		KUNIT_EXPECT_EQ_MSG(test, atomic_read(&mm->mm_users), 1, "allocation %u", nth);
	}
	/* The handle, the domain, the array and the arm_smmu_master_domain */
	KUNIT_EXPECT_GT(test, nth, 5);
}

static void unbind_sva(void *handle)
{
	iommu_sva_unbind_device(handle);
	/* Wait until the notifier has freed the domain */
	mmu_notifier_synchronize();
}

/* A device with stalls behind an SMMU with SVA, bound to an mm until the test ends */
static struct arm_smmu_fake_master *add_sva_master(struct kunit *test)
{
	struct arm_smmu_fake *fake = arm_smmu_fake_create(test, 8);
	struct arm_smmu_fake_master *fm;
	struct iommu_sva *handle;

	fake->smmu.features |= ARM_SMMU_FEAT_SVA;
	fm = arm_smmu_fake_add_pci_master(fake, (u32[]){ 1 }, 1, 6);
	fm->master->stall_enabled = true;
	/* Keeps the device in the queue of page faults, so that a failure is not fatal */
	handle = iommu_sva_bind_device(fm->dev, make_mm(test));
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, handle);
	arm_smmu_fake_add_action(test, unbind_sva, handle);
	return fm;
}

struct holder {
	struct task_struct *task;
	struct mm_struct *mm;
	struct completion held;
};

/*
 * Block page faults of the mm until the test sleeps. A correct unbind sleeps until they
 * are answered. Otherwise the test sleeps only after it has counted the responses.
 */
static int hold_mm(void *data)
{
	struct holder *holder = data;

	mmap_write_lock(holder->mm);
	complete(&holder->held);
	arm_smmu_fake_await_sleep(holder->task);
	mmap_write_unlock(holder->mm);
	return 0;
}

/*
 * A page fault that is being handled is answered before the unbind ends, and so is a
 * fault after the exit of the process. After the exit the CD is valid, so that the SMMU
 * reports nothing, but disables table walks.
 */
static void ids_test_sva_exit(struct kunit *test)
{
	const u64 mask = CTXDESC_CD_0_V | CTXDESC_CD_0_TCR_EPD0 | CTXDESC_CD_0_TCR_EPD1;
	u64 evt[EVTQ_ENT_DWORDS] = { [1] = EVTQ_1_STALL };
	struct arm_smmu_fake_master *fm = add_sva_master(test);
	struct arm_smmu_fake *fake = fm->fake;
	struct mm_struct *mm = make_mm(test);
	struct holder holder = { .task = current, .mm = mm };
	unsigned int exit, num_resumes = 0;
	struct task_struct *task = NULL;
	struct arm_smmu_cmd cmd;
	struct iommu_sva *handle;
	ioasid_t pasid;
	u64 val;

	for (exit = 0; exit < 2; exit++) {
		handle = iommu_sva_bind_device(fm->dev, mm);
		KUNIT_ASSERT_NOT_ERR_OR_NULL(test, handle);
		pasid = iommu_sva_get_pasid(handle);
		if (exit) {
			kunit_release_action(test, mmput_wrapper, mm);
			val = le64_to_cpu(arm_smmu_fake_cd(fm, pasid)->data[0]);
			KUNIT_EXPECT_EQ(test, val & (mask | CTXDESC_CD_0_ASID), mask);
		} else {
			init_completion(&holder.held);
			task = arm_smmu_fake_run_task(test, hold_mm, &holder);
			wait_for_completion(&holder.held);
		}
		evt[0] = EVT_ID_TRANSLATION_FAULT | EVTQ_0_SSV | FIELD_PREP(EVTQ_0_SID, 1) |
			 FIELD_PREP(EVTQ_0_SSID, pasid);
		scoped_guard(raw_spinlock_irqsave, &arm_smmu_fake_lock)
			arm_smmu_fake_event(fake, evt);
		arm_smmu_evtq_thread(0, &fake->smmu);
		iommu_sva_unbind_device(handle);
		while (arm_smmu_fake_next_cmd(fake, &cmd))
			num_resumes += FIELD_GET(CMDQ_0_OP, cmd.data[0]) == CMDQ_OP_RESUME;
		KUNIT_EXPECT_EQ(test, num_resumes, exit + 1);
		if (!exit)
			arm_smmu_fake_join_task(test, task);
	}
}

/* A reset cannot attach a PASID again if its process has exited. This causes no WARN. */
static void ids_test_sva_reset(struct kunit *test)
{
	struct ids *s = setup(test);
	struct arm_smmu_fake_master *fm = add_sva_master(test);
	struct pci_dev *pdev = to_pci_dev(fm->dev);
	struct mm_struct *mm = make_mm(test);
	struct iommu_sva *handle = iommu_sva_bind_device(fm->dev, mm);

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, handle);
	/* An SMMU without SVA cannot use the domain */
	KUNIT_EXPECT_EQ(test, -EINVAL,
			arm_smmu_fake_set_pasid(s->fm, handle->handle.domain,
						iommu_sva_get_pasid(handle), NULL));
	kunit_release_action(test, mmput_wrapper, mm);
	KUNIT_EXPECT_EQ(test, 0, pci_dev_reset_iommu_prepare(pdev));
	kunit_warning_suppress(test) {
		pci_dev_reset_iommu_done(pdev);
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 0);
	}
	iommu_sva_unbind_device(handle);
}

/* Return: true if a TLBI was issued before the first CFGI_STE or CFGI_CD */
static bool flushed_first(struct ids *s, bool *cfgi_all)
{
	struct arm_smmu_cmd cmd;
	u8 op;

	*cfgi_all = false;
	while (arm_smmu_fake_next_cmd(s->fake, &cmd)) {
		op = FIELD_GET(CMDQ_0_OP, cmd.data[0]);
		*cfgi_all |= op == CMDQ_OP_CFGI_ALL;
		if (is_tlbi(&cmd))
			return true;
		if (op == CMDQ_OP_CFGI_STE || op == CMDQ_OP_CFGI_CD)
			return false;
	}
	return false;
}

/*
 * More detaches time out than there are ASIDs or VMIDs. By turns the CFGIs time out,
 * so that a CD may still be cached, or only the TLBI. Each ASID or VMID is flushed
 * again before its next use, and none is leaked.
 */
static void ids_test_timeouts(struct kunit *test)
{
	struct ids *s = setup(test);
	unsigned int stage, i;
	bool cfgi_all;
	u32 id, seen;

	arm_smmu_fake_set_id_bits(s->fake, 2);
	for (stage = 1; stage <= TEST_STAGES; stage++) {
		begin(s, stage);
		for (i = 0, seen = 0; i < 6; i++) {
			attach(s->fm, s->domain);
			id = get_id(s, s->domain, 1);
			/* The first three need no flush */
			KUNIT_EXPECT_EQ(test, !!(seen & BIT(id)), i >= 3);
			KUNIT_EXPECT_EQ(test, flushed_first(s, &cfgi_all), i >= 3);
			KUNIT_EXPECT_EQ(test, cfgi_all, i >= 3 && i % 2);
			seen |= BIT(id);
			block_dead(s->fm, i % 2 ? s->tlbis : &s->fake->queue);
			get_id(s, s->domain, 0);
		}
		KUNIT_EXPECT_EQ(test, arm_smmu_fake_num_ids(s->pool), 3);
		arm_smmu_fake_queue_stall(s->tlbis, 0, 0);
		KUNIT_EXPECT_EQ(test, -ETIMEDOUT, arm_smmu_fake_attach(s->fm, s->domain));
		arm_smmu_fake_queue_start(s->tlbis);
		/* The detach flushes the ASID or VMID that was used again, and frees it */
		attach(s->fm, s->domain);
		block(s->fm);
		KUNIT_EXPECT_EQ(test, arm_smmu_fake_num_ids(s->pool), 2);
	}
}

/* The VMID of a vSMMU is kept. No device uses it before it is flushed again. */
static void ids_test_vsmmu_timeout(struct kunit *test)
{
	struct ids *s = setup(test);
	struct iommu_domain *nested;
	struct arm_vsmmu *vsmmu;
	bool cfgi_all;

	if (!IS_ENABLED(CONFIG_ARM_SMMU_V3_IOMMUFD))
		kunit_skip(test, "needs CONFIG_ARM_SMMU_V3_IOMMUFD");
	begin(s, 2);
	vsmmu = arm_smmu_fake_alloc_vsmmu(s->fake, s->domain);
	nested = arm_smmu_fake_alloc_nested(s->fm, vsmmu, STRTAB_STE_0_CFG_BYPASS, 0);
	attach(s->fm, nested);
	block_dead(s->fm, s->tlbis);
	arm_smmu_fake_queue_stall(s->tlbis, 0, 0);
	KUNIT_EXPECT_EQ(test, -ETIMEDOUT, arm_smmu_fake_attach(s->fm, nested));
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_invs(s->domain)->num_invs, 0);
	arm_smmu_fake_queue_start(s->tlbis);
	attach(s->fm, nested);
	KUNIT_EXPECT_TRUE(test, flushed_first(s, &cfgi_all));
	/* The next attach needs no flush */
	attach(s->fm_too, nested);
	KUNIT_EXPECT_FALSE(test, flushed_first(s, &cfgi_all));
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_hw_id(s->fm_too, 0), vsmmu->vmid);
}

/* Default domains can be attached when user space has allocated all ASIDs that it can */
static void ids_test_reserve(struct kunit *test)
{
	struct ids *s = setup(test);
	struct iommu_domain *domains[31];
	unsigned int num;
	int ret;

	arm_smmu_fake_set_id_bits(s->fake, 5);
	s->domain->type = IOMMU_DOMAIN_DMA;
	attach(s->fm, s->domain);
	block(s->fm);
	for (num = 0; num < ARRAY_SIZE(domains); num++) {
		domains[num] = arm_smmu_fake_alloc_domain(s->fm, 0);
		ret = arm_smmu_fake_set_pasid(s->fm, domains[num], num + 1, NULL);
		if (ret)
			break;
	}
	KUNIT_EXPECT_EQ(test, ret, -ENOSPC);
	/* 31, less one for each of two devices and one for a device added later */
	KUNIT_EXPECT_EQ(test, num, 28);
	attach(s->fm, s->domain);
	/* User space can allocate again what it has freed */
	arm_smmu_fake_clear_pasid(s->fm, num, domains[num - 1]);
	KUNIT_EXPECT_EQ(test, 0, arm_smmu_fake_set_pasid(s->fm, domains[num - 1], num, NULL));
	for (; num; num--)
		arm_smmu_fake_clear_pasid(s->fm, num, domains[num - 1]);
}

static struct kunit_case ids_test_cases[] = {
	KUNIT_CASE(ids_test_life),
	KUNIT_CASE(ids_test_refusals),
	KUNIT_CASE(ids_test_no_memory),
	KUNIT_CASE(ids_test_sva_no_memory),
	KUNIT_CASE(ids_test_sva_exit),
	KUNIT_CASE(ids_test_sva_reset),
	KUNIT_CASE(ids_test_timeouts),
	KUNIT_CASE(ids_test_vsmmu_timeout),
	KUNIT_CASE(ids_test_reserve),
	{}
};

static struct kunit_suite ids_test_suite = {
	.name = "arm-smmu-v3-ids",
	.suite_exit = arm_smmu_fake_suite_exit,
	.test_cases = ids_test_cases,
};

kunit_test_suite(ids_test_suite);
