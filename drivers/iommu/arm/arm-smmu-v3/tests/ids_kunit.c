// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of ASIDs and VMIDs on one SMMU: when a domain takes and frees one,
 * that nothing changes when an attach fails, and what becomes of an id whose flush
 * timed out. And of what else an attach or detach must not lose: faults and
 * references. What the commands do is shown by the model.
 */
#include <kunit/test-bug.h>
#include <linux/delay.h>
#include <linux/iommu.h>
#include <linux/mmu_notifier.h>
#include <linux/pci.h>
#include <linux/sched/mm.h>
#include <uapi/linux/iommufd.h>

#include "fake.h"

#define TEST_PASID	3
#define TEST_STAGES	2

/* Two devices behind one SMMU, and two domains of one stage */
struct ids_test {
	struct arm_smmu_fake *fake;
	struct arm_smmu_fake_master *fm;
	struct arm_smmu_fake_master *fm_too;
	struct iommu_domain *domain;
	struct iommu_domain *other;
	enum arm_smmu_inv_type type;
	struct arm_smmu_pool *pool;
	struct mm_struct *mm;
	bool handled;
};

static bool ids_test_is_tlbi(struct arm_smmu_cmd *cmd)
{
	u8 opcode = FIELD_GET(CMDQ_0_OP, cmd->data[0]);

	return opcode >= CMDQ_OP_TLBI_NH_ALL && opcode < CMDQ_OP_ATC_INV;
}

static void ids_test_attach(struct kunit *test, struct arm_smmu_fake_master *fm,
			    struct iommu_domain *domain)
{
	arm_smmu_fake_drop_cmds(fm->fake);
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(fm, domain));
}

static void ids_test_block(struct kunit *test, struct arm_smmu_fake_master *fm)
{
	ids_test_attach(test, fm, arm_smmu_fake_blocked(fm));
}

/* Detach while the SMMU does nothing */
static void ids_test_block_dead(struct kunit *test, struct arm_smmu_fake_master *fm)
{
	arm_smmu_fake_stop(fm->fake, 0);
	ids_test_block(test, fm);
	arm_smmu_fake_start(fm->fake);
}

/* Begin with no id in use, and with domains of stage 1 or 2 */
static void ids_test_begin(struct kunit *test, unsigned int stage)
{
	u32 flags = stage == 1 ? 0 : IOMMU_HWPT_ALLOC_NEST_PARENT;
	struct ids_test *it = test->priv;

	it->type = stage == 1 ? INV_TYPE_S1_ASID : INV_TYPE_S2_VMID;
	it->pool = stage == 1 ? &it->fake->smmu.asids : &it->fake->smmu.vmids;
	ids_test_block(test, it->fm);
	ids_test_block(test, it->fm_too);
	KUNIT_ASSERT_EQ(test, arm_smmu_fake_num_ids(it->pool), 0);
	it->domain = arm_smmu_fake_alloc_domain(it->fm, flags);
	it->other = arm_smmu_fake_alloc_domain(it->fm, flags);
}

static struct ids_test *ids_test_setup(struct kunit *test, bool vcmdq)
{
	struct ids_test *it = kunit_kzalloc(test, sizeof(*it), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, it);
	test->priv = it;
	it->fake = arm_smmu_fake_create(test, 8);
	if (vcmdq)
		arm_smmu_fake_add_queue(it->fake, 8, ids_test_is_tlbi);
	it->fm = arm_smmu_fake_add_master(it->fake, 1, 6);
	it->fm_too = arm_smmu_fake_add_master(it->fake, 2, 6);
	ids_test_begin(test, 1);
	return it;
}

/* The id of the domain, with this many users in the array. Both devices may use it. */
static u32 ids_test_id(struct kunit *test, struct iommu_domain *domain, int expected)
{
	struct ids_test *it = test->priv;
	int users;
	u32 id = arm_smmu_fake_id(domain, it->fake, it->type, &users);

	KUNIT_EXPECT_EQ(test, users, expected);
	KUNIT_EXPECT_EQ(test, !!expected, id && arm_smmu_fake_has_id(it->pool, id));
	return id;
}

static int ids_test_attach_locked(struct device *dev, void *data)
{
	struct iommu_domain **domains = data;

	return domains[0]->ops->attach_dev(domains[0], dev, domains[1]);
}

/* Attach from a domain that the core believes the device to be in */
static void ids_test_attach_from(struct kunit *test, struct arm_smmu_fake_master *fm,
				 struct iommu_domain *domain, struct iommu_domain *old)
{
	struct iommu_domain *domains[] = { domain, old };

	KUNIT_EXPECT_EQ(test, 0, iommu_group_for_each_dev(fm->group, domains,
							  ids_test_attach_locked));
}

/* Taken by the first device and freed behind the last one */
static void ids_test_life(struct kunit *test)
{
	struct ids_test *it = ids_test_setup(test, false);
	unsigned int stage;
	u32 id;

	for (stage = 1; stage <= TEST_STAGES; stage++) {
		ids_test_begin(test, stage);
		ids_test_attach(test, it->fm, it->domain);
		ids_test_attach(test, it->fm_too, it->domain);
		/* To where it is already */
		ids_test_attach_from(test, it->fm, it->domain, it->domain);
		id = ids_test_id(test, it->domain, 2);
		KUNIT_EXPECT_EQ(test, arm_smmu_fake_hw_id(it->fm, 0), id);
		KUNIT_EXPECT_EQ(test, arm_smmu_fake_num_ids(it->pool), 1);

		ids_test_block(test, it->fm);
		/* A device that could not be put back takes nothing with it */
		ids_test_attach_from(test, it->fm, arm_smmu_fake_blocked(it->fm), it->domain);
		KUNIT_EXPECT_EQ(test, ids_test_id(test, it->domain, 1), id);

		/* The SMMU may use both ids during a replace */
		ids_test_attach(test, it->fm_too, it->other);
		KUNIT_EXPECT_NE(test, ids_test_id(test, it->other, 1), id);
		ids_test_id(test, it->domain, 0);
	}
}

/*
 * An attach of it->fm to it->other fails. With @nth this is because of that
 * allocation. Nothing changes and nothing leaks. Return: false if it succeeds.
 */
static bool ids_test_refused(struct kunit *test, int expected, ioasid_t pasid, unsigned int nth)
{
	struct ids_test *it = test->priv;
	struct arm_smmu_ste ste = *arm_smmu_fake_ste(it->fm);
	unsigned int num = arm_smmu_fake_num_ids(it->pool);
	u32 id = arm_smmu_fake_hw_id(it->fm, 0);
	int ret, balance = 0;

	arm_smmu_fake_drop_cmds(it->fake);
	if (nth && arm_smmu_fake_slab_start(test, nth))
		kunit_skip(test, "needs CONFIG_KPROBES and CONFIG_FAILSLAB");
	if (pasid)
		ret = arm_smmu_fake_set_pasid(it->fm, it->other, pasid, NULL);
	else
		ret = arm_smmu_fake_attach(it->fm, it->other);
	if (nth && !arm_smmu_fake_slab_stop(test, &balance)) {
		KUNIT_EXPECT_EQ(test, ret, 0);
		return false;
	}
	KUNIT_ASSERT_EQ_MSG(test, ret, expected, "allocation %u", nth);
	KUNIT_EXPECT_EQ_MSG(test, balance, 0, "allocation %u", nth);
	arm_smmu_fake_expect_cmds(it->fake, NULL, 0);
	KUNIT_EXPECT_MEMEQ(test, &ste, arm_smmu_fake_ste(it->fm), sizeof(ste));
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_hw_id(it->fm, 0), id);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_num_ids(it->pool), num);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_invs(it->other)->num_invs, 0);
	KUNIT_EXPECT_TRUE(test, list_empty(&to_smmu_domain(it->other)->devices));
	return true;
}

/* No id, too many devices */
static void ids_test_refusals(struct kunit *test)
{
	struct ids_test *it = ids_test_setup(test, false);
	struct arm_smmu_domain *other;
	unsigned int stage;

	arm_smmu_fake_set_id_bits(it->fake, 4);
	for (stage = 1; stage <= TEST_STAGES; stage++) {
		ids_test_begin(test, stage);
		ids_test_attach(test, it->fm, it->domain);
		arm_smmu_fake_take_ids(it->pool, 15);
		ids_test_refused(test, -ENOSPC, IOMMU_NO_PASID, 0);
		if (stage == 1)
			ids_test_refused(test, -ENOSPC, TEST_PASID, 0);
		/* A second device needs no other */
		ids_test_attach(test, it->fm_too, it->domain);
		ids_test_block(test, it->fm_too);
		ids_test_block(test, it->fm);
		arm_smmu_fake_free_ids(it->pool, 15);

		other = to_smmu_domain(it->other);
		other->num_devices = ARM_SMMU_DOMAIN_MAX_DEVICES;
		ids_test_refused(test, -ENOSPC, IOMMU_NO_PASID, 0);
		other->num_devices = 0;
		ids_test_attach(test, it->fm, it->other);
		KUNIT_EXPECT_EQ(test, other->num_devices, 1);
		ids_test_block(test, it->fm);
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
	struct ids_test *it = ids_test_setup(test, false);
	unsigned int i, nth;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		ids_test_begin(test, rows[i].stage);
		/* A CD table stays with the device */
		ids_test_attach(test, it->fm, it->domain);
		for (nth = 1; ids_test_refused(test, -ENOMEM, rows[i].pasid, nth);)
			nth++;
		/* The array and the arm_smmu_master_domain */
		KUNIT_EXPECT_EQ(test, nth, 3);
		ids_test_id(test, it->other, 1);
	}
	arm_smmu_fake_clear_pasid(it->fm, TEST_PASID, it->other);
}

#if IS_ENABLED(CONFIG_ARM_SMMU_V3_SVA)
KUNIT_DEFINE_ACTION_WRAPPER(mmput_wrapper, mmput, struct mm_struct *);

/* The mm of a process */
static struct mm_struct *ids_test_alloc_mm(struct kunit *test)
{
	struct mm_struct *mm = mm_alloc();

	KUNIT_ASSERT_NOT_NULL(test, mm);
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, mmput_wrapper, mm));
	return mm;
}

/* Each allocation of a bind of SVA fails in turn */
static void ids_test_sva_no_memory(struct kunit *test)
{
	struct ids_test *it = ids_test_setup(test, false);
	struct mm_struct *mm = ids_test_alloc_mm(test);
	struct iommu_sva *handle;
	bool failed = true;
	unsigned int nth;
	int balance;

	it->fake->smmu.features |= ARM_SMMU_FEAT_SVA;
	for (nth = 1; failed; nth++) {
		if (arm_smmu_fake_slab_start(test, nth))
			kunit_skip(test, "needs CONFIG_KPROBES and CONFIG_FAILSLAB");
		handle = iommu_sva_bind_device(it->fm->dev, mm);
		failed = arm_smmu_fake_slab_stop(test, &balance);
		KUNIT_ASSERT_EQ_MSG(test, PTR_ERR_OR_ZERO(handle), failed ? -ENOMEM : 0,
				    "allocation %u", nth);
		if (!failed)
			iommu_sva_unbind_device(handle);
		/* A domain is freed when its notifier cannot run any more */
		mmu_notifier_synchronize();
		KUNIT_EXPECT_EQ(test, arm_smmu_fake_num_ids(it->pool), 0);
		KUNIT_EXPECT_EQ(test, it->fm->master->cd_table.used_ssids, 0);
		KUNIT_EXPECT_EQ_MSG(test, atomic_read(&mm->mm_users), 1, "allocation %u", nth);
	}
	/* Handle, domain, array, arm_smmu_master_domain */
	KUNIT_EXPECT_GT(test, nth, 5);
}

/*
 * A process exits, its device is reset, and then unbound. From the exit on the CD is
 * valid, so that nothing is reported, but no walk is possible.
 */
static void ids_test_sva_exit(struct kunit *test)
{
	const u64 mask = CTXDESC_CD_0_V | CTXDESC_CD_0_TCR_EPD0 | CTXDESC_CD_0_TCR_EPD1;
	struct ids_test *it = ids_test_setup(test, false);
	struct mm_struct *mm = ids_test_alloc_mm(test);
	struct arm_smmu_fake *fake = arm_smmu_fake_create(test, 8);
	struct arm_smmu_fake_master *fm;
	struct iommu_sva *handle;
	u64 val;

	fake->smmu.features |= ARM_SMMU_FEAT_SVA;
	fm = arm_smmu_fake_add_pci_master(fake, (u32[]){ 1 }, 1, 6);
	handle = iommu_sva_bind_device(fm->dev, mm);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, handle);
	/* An SMMU that cannot use the page table of the CPU gets none */
	KUNIT_EXPECT_EQ(test, -EINVAL, arm_smmu_fake_set_pasid(it->fm, handle->handle.domain,
							       mm->iommu_mm->pasid, NULL));
	kunit_release_action(test, mmput_wrapper, mm);
	val = le64_to_cpu(arm_smmu_fake_cd(fm, iommu_sva_get_pasid(handle))->data[0]);
	KUNIT_EXPECT_EQ(test, val & (mask | CTXDESC_CD_0_ASID), mask);

	KUNIT_EXPECT_EQ(test, 0, pci_dev_reset_iommu_prepare(to_pci_dev(fm->dev)));
	kunit_warning_suppress(test) {
		pci_dev_reset_iommu_done(to_pci_dev(fm->dev));
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 0);
	}
	iommu_sva_unbind_device(handle);
	mmu_notifier_synchronize();
}

/* Faults of the process wait for this */
static int ids_test_hold_mm(void *data)
{
	struct ids_test *it = data;

	mmap_write_lock(it->mm);
	WRITE_ONCE(it->handled, true);
	msleep(50);
	mmap_write_unlock(it->mm);
	return 0;
}

/* A fault that is being handled, then one after the exit, are answered before unbind ends */
static void ids_test_sva_faults(struct kunit *test)
{
	struct ids_test *it = ids_test_setup(test, false);
	u64 evt[EVTQ_ENT_DWORDS] = { [1] = EVTQ_1_STALL };
	struct task_struct *task = NULL;
	unsigned int num_resumes = 0;
	struct iommu_sva *handle;
	struct arm_smmu_cmd cmd;
	int exit;

	it->fake->smmu.features |= ARM_SMMU_FEAT_SVA;
	it->fm->master->stall_enabled = true;
	it->mm = ids_test_alloc_mm(test);
	for (exit = 0; exit < 2; exit++) {
		handle = iommu_sva_bind_device(it->fm->dev, it->mm);
		KUNIT_ASSERT_NOT_ERR_OR_NULL(test, handle);
		evt[0] = EVT_ID_TRANSLATION_FAULT | EVTQ_0_SSV | FIELD_PREP(EVTQ_0_SID, 1) |
			 FIELD_PREP(EVTQ_0_SSID, iommu_sva_get_pasid(handle));
		if (exit)
			kunit_release_action(test, mmput_wrapper, it->mm);
		else
			task = arm_smmu_fake_run_task(test, ids_test_hold_mm, it);
		while (!READ_ONCE(it->handled))
			msleep(20);
		scoped_guard(raw_spinlock_irqsave, &arm_smmu_fake_lock)
			arm_smmu_fake_event(it->fake, evt);
		arm_smmu_fake_handle_events(it->fake);
		iommu_sva_unbind_device(handle);
		while (arm_smmu_fake_next_cmd(it->fake, &cmd))
			num_resumes += FIELD_GET(CMDQ_0_OP, cmd.data[0]) == CMDQ_OP_RESUME;
		KUNIT_EXPECT_EQ(test, num_resumes, exit + 1);
		if (!exit)
			arm_smmu_fake_join_task(test, task);
	}
	mmu_notifier_synchronize();
}
#endif

/* Does a TLBI come before the CMD_SYNC of the first STE or CD? */
static bool ids_test_flushed_first(struct ids_test *it, bool *cfgi_all)
{
	struct arm_smmu_cmd cmd;
	u8 opcode;

	while (arm_smmu_fake_next_cmd(it->fake, &cmd)) {
		opcode = FIELD_GET(CMDQ_0_OP, cmd.data[0]);
		*cfgi_all |= opcode == CMDQ_OP_CFGI_ALL;
		if (ids_test_is_tlbi(&cmd))
			return true;
		if (opcode == CMDQ_OP_CFGI_STE || opcode == CMDQ_OP_CFGI_CD)
			return false;
	}
	return false;
}

/* More detaches time out than there are ids. Each is flushed again, and none lost. */
static void ids_test_timeouts(struct kunit *test)
{
	struct ids_test *it = ids_test_setup(test, false);
	unsigned int stage, i;
	bool cfgi_all = false;
	u32 id, seen;

	arm_smmu_fake_set_id_bits(it->fake, 2);
	for (stage = 1; stage <= TEST_STAGES; stage++) {
		ids_test_begin(test, stage);
		for (i = 0, seen = 0; i < 6; i++) {
			ids_test_attach(test, it->fm, it->domain);
			id = ids_test_id(test, it->domain, 1);
			/* The first three ids are clean */
			KUNIT_EXPECT_EQ(test, !!(seen & BIT(id)), i >= 3);
			KUNIT_EXPECT_EQ(test, ids_test_flushed_first(it, &cfgi_all), i >= 3);
			seen |= BIT(id);
			ids_test_block_dead(test, it->fm);
			ids_test_id(test, it->domain, 0);
		}
		KUNIT_EXPECT_EQ(test, arm_smmu_fake_num_ids(it->pool), 3);
		arm_smmu_fake_stop(it->fake, 0);
		KUNIT_EXPECT_EQ(test, -ETIMEDOUT, arm_smmu_fake_attach(it->fm, it->domain));
		arm_smmu_fake_start(it->fake);
	}
}

/* The CFGIs time out, and the TLBI completes on another queue */
static void ids_test_cfgi_timeout(struct kunit *test)
{
	struct ids_test *it = ids_test_setup(test, true);
	bool cfgi_all = false;

	/* The one id there is. It is in reserve for default domains. */
	arm_smmu_fake_set_id_bits(it->fake, 1);
	it->domain->type = IOMMU_DOMAIN_DMA;
	ids_test_attach(test, it->fm, it->domain);
	ids_test_block_dead(test, it->fm);
	/* A CD with it may still be cached */
	KUNIT_EXPECT_TRUE(test, arm_smmu_fake_has_id(it->pool, 1));
	ids_test_attach(test, it->fm, it->domain);
	KUNIT_EXPECT_TRUE(test, ids_test_flushed_first(it, &cfgi_all));
	KUNIT_EXPECT_TRUE(test, cfgi_all);
	ids_test_block(test, it->fm);
	KUNIT_EXPECT_FALSE(test, arm_smmu_fake_has_id(it->pool, 1));
}

/* User space takes all ids that it can get. Default domains still get theirs. */
static void ids_test_reserve(struct kunit *test)
{
	struct ids_test *it = ids_test_setup(test, false);
	struct iommu_domain *domains[31];
	unsigned int num;
	int ret;

	arm_smmu_fake_set_id_bits(it->fake, 5);
	it->domain->type = IOMMU_DOMAIN_DMA;
	ids_test_attach(test, it->fm, it->domain);
	ids_test_block(test, it->fm);
	for (num = 0; num < ARRAY_SIZE(domains); num++) {
		domains[num] = arm_smmu_fake_alloc_domain(it->fm, 0);
		ret = arm_smmu_fake_set_pasid(it->fm, domains[num], num + 1, NULL);
		if (ret)
			break;
	}
	KUNIT_EXPECT_EQ(test, ret, -ENOSPC);
	/* One for each device, one for those to come */
	KUNIT_EXPECT_EQ(test, num, 28);
	ids_test_attach(test, it->fm, it->domain);
	/* What user space gives back it can have again */
	arm_smmu_fake_clear_pasid(it->fm, num, domains[num - 1]);
	KUNIT_EXPECT_EQ(test, 0, arm_smmu_fake_set_pasid(it->fm, domains[num - 1], num, NULL));
	for (; num; num--)
		arm_smmu_fake_clear_pasid(it->fm, num, domains[num - 1]);
}

/* A table needs the device that it was made for as long as the domain lives */
static void ids_test_table_device(struct kunit *test)
{
	struct ids_test *it = ids_test_setup(test, false);
	struct kref *ref = &it->fake->smmu.dev->kobj.kref;
	unsigned int before = kref_read(ref);

	ids_test_attach(test, it->fm, it->domain);
	ids_test_block(test, it->fm);
	KUNIT_EXPECT_EQ(test, kref_read(ref), before);
	arm_smmu_fake_free_domain(it->fm, it->domain);
	KUNIT_EXPECT_EQ(test, kref_read(ref), before - 1);
}

/* A worker is not the task of the test */
static struct ids_test *ids_test_faulting;

static void ids_test_work(struct work_struct *work)
{
	struct iopf_group *group = container_of(work, struct iopf_group, work);

	msleep(50);
	iopf_group_response(group, IOMMU_PAGE_RESP_SUCCESS);
	iopf_free_group(group);
	WRITE_ONCE(ids_test_faulting->handled, true);
}

static int ids_test_handle_iopf(struct iopf_group *group)
{
	ids_test_faulting = kunit_get_current_test()->priv;
	INIT_WORK(&group->work, ids_test_work);
	queue_work(group->fault_param->queue->wq, &group->work);
	return 0;
}

/* A detach waits for the fault that is being handled, and it is answered once */
static void ids_test_faults(struct kunit *test)
{
	const u64 evt[EVTQ_ENT_DWORDS] = {
		EVT_ID_TRANSLATION_FAULT | FIELD_PREP_CONST(EVTQ_0_SID, 1ULL), EVTQ_1_STALL,
	};
	struct ids_test *it = ids_test_setup(test, false);
	struct arm_smmu_evtq *evtq = &it->fake->smmu.evtq;
	struct iopf_queue *iopf = evtq->iopf;
	unsigned int num_resumes = 0;
	struct arm_smmu_cmd cmd;

	if (!IS_ENABLED(CONFIG_ARM_SMMU_V3_SVA))
		kunit_skip(test, "needs CONFIG_ARM_SMMU_V3_SVA");
	it->fm->master->stall_enabled = true;
	it->other->iopf_handler = ids_test_handle_iopf;
	/* As when the SMMU has stalls and no SVA */
	evtq->iopf = NULL;
	ids_test_refused(test, -EOPNOTSUPP, IOMMU_NO_PASID, 0);
	evtq->iopf = iopf;

	ids_test_attach(test, it->fm, it->other);
	/* Keeps the device in the fault queue, so that a failure is not fatal */
	it->domain->iopf_handler = ids_test_handle_iopf;
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_set_pasid(it->fm, it->domain, TEST_PASID, NULL));
	scoped_guard(raw_spinlock_irqsave, &arm_smmu_fake_lock)
		arm_smmu_fake_event(it->fake, evt);
	arm_smmu_fake_handle_events(it->fake);
	ids_test_block(test, it->fm);
	KUNIT_EXPECT_TRUE(test, READ_ONCE(it->handled));
	while (!READ_ONCE(it->handled))
		msleep(20);
	arm_smmu_fake_clear_pasid(it->fm, TEST_PASID, it->domain);
	while (arm_smmu_fake_next_cmd(it->fake, &cmd))
		num_resumes += FIELD_GET(CMDQ_0_OP, cmd.data[0]) == CMDQ_OP_RESUME;
	KUNIT_EXPECT_EQ(test, num_resumes, 1);
}

static struct kunit_case ids_test_cases[] = {
	KUNIT_CASE(ids_test_life),
	KUNIT_CASE(ids_test_refusals),
	KUNIT_CASE(ids_test_no_memory),
#if IS_ENABLED(CONFIG_ARM_SMMU_V3_SVA)
	KUNIT_CASE(ids_test_sva_no_memory),
	KUNIT_CASE(ids_test_sva_exit),
	KUNIT_CASE(ids_test_sva_faults),
#endif
	KUNIT_CASE(ids_test_timeouts),
	KUNIT_CASE(ids_test_cfgi_timeout),
	KUNIT_CASE(ids_test_reserve),
	KUNIT_CASE(ids_test_table_device),
	KUNIT_CASE(ids_test_faults),
	{}
};

static struct kunit_suite ids_test_suite = {
	.name = "arm-smmu-v3-ids",
	.suite_init = arm_smmu_fake_suite_init,
	.suite_exit = arm_smmu_fake_suite_exit,
	.test_cases = ids_test_cases,
};

kunit_test_suite(ids_test_suite);
