// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of the command queues: invalidations that go to several SMMUs at
 * the same time, timeouts, errors, MSIs, full queues and errata. They run on fake
 * SMMUs in virtual time.
 */
#include <linux/delay.h>
#include <linux/prandom.h>
#include <linux/workqueue.h>

#include "fake.h"

/* A batch and its CMD_SYNC do not fit into a smaller queue */
#define TEST_SHIFT	7
#define TEST_QUEUE	128
#define TEST_SID	3
#define TEST_IOVA	SZ_1G
#define TEST_PAGES	(CMDQ_BATCH_ENTRIES + 2)
#define TEST_USECS	1000
#define TEST_NSECS	(TEST_USECS * NSEC_PER_USEC)
#define TEST_TIMEOUT	(ARM_SMMU_POLL_TIMEOUT_US * NSEC_PER_USEC)
#define TEST_MAX_SMMUS	18
#define TEST_MAX_INVS	300

/* SMMUs, and a domain whose array the test writes, in any order */
struct queue_test {
	struct kunit *test;
	struct arm_smmu_fake *fakes[TEST_MAX_SMMUS];
	unsigned int num;
	struct arm_smmu_domain *smmu_domain;
};

static struct arm_smmu_domain *queue_test_alloc(struct kunit *test)
{
	struct arm_smmu_domain *smmu_domain;
	struct arm_smmu_invs *invs;

	smmu_domain = kunit_kzalloc(test, sizeof(*smmu_domain), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, smmu_domain);
	invs = kunit_kzalloc(test, struct_size(invs, inv, TEST_MAX_INVS), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, invs);
	invs->max_invs = TEST_MAX_INVS;
	rcu_assign_pointer(smmu_domain->invs, invs);
	return smmu_domain;
}

static struct queue_test *queue_test_create(struct kunit *test,
					    unsigned int num,
					    unsigned int usecs)
{
	struct queue_test *qt = kunit_kzalloc(test, sizeof(*qt), GFP_KERNEL);
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, qt);
	qt->test = test;
	qt->num = num;
	qt->smmu_domain = queue_test_alloc(test);
	for (i = 0; i < num; i++) {
		qt->fakes[i] = arm_smmu_fake_create(test, TEST_SHIFT);
		arm_smmu_fake_set_time(qt->fakes[i], usecs);
	}
	return qt;
}

static void queue_test_add(struct arm_smmu_domain *smmu_domain,
			   struct arm_smmu_fake *fake,
			   enum arm_smmu_inv_type type)
{
	static const u8 opcodes[] = {
		[INV_TYPE_S1_ASID] = CMDQ_OP_TLBI_NH_VA,
		[INV_TYPE_S2_VMID] = CMDQ_OP_TLBI_S2_IPA,
		[INV_TYPE_S2_VMID_VSMMU] = CMDQ_OP_TLBI_S2_IPA,
		[INV_TYPE_S2_VMID_S1_CLEAR] = CMDQ_OP_TLBI_NH_ALL,
		[INV_TYPE_ATS_FULL] = CMDQ_OP_ATC_INV,
	};
	struct arm_smmu_invs *invs = arm_smmu_fake_invs(&smmu_domain->domain);

	invs->inv[invs->num_invs++] = (struct arm_smmu_inv){
		.smmu = &fake->smmu,
		.type = type,
		.size_opcode = opcodes[type],
		.nsize_opcode = type == INV_TYPE_S1_ASID ?
					CMDQ_OP_TLBI_NH_ASID :
					CMDQ_OP_TLBI_S12_VMALL,
		.id = 1,
		.pgsize = ilog2(SZ_4K),
		.users = 1,
	};
}

/* The domain has @num entries of this type, one for each of the first SMMUs */
static void queue_test_add_all(struct queue_test *qt,
			       enum arm_smmu_inv_type type, unsigned int num)
{
	unsigned int i;

	for (i = 0; i < num; i++)
		queue_test_add(qt->smmu_domain, qt->fakes[i], type);
}

/* Three phases on all SMMUs, with two TLBIs and an ATC_INV each */
static void queue_test_add_phases(struct queue_test *qt)
{
	queue_test_add_all(qt, INV_TYPE_S2_VMID_VSMMU, qt->num);
	queue_test_add_all(qt, INV_TYPE_S2_VMID_S1_CLEAR, qt->num);
	queue_test_add_all(qt, INV_TYPE_ATS_FULL, qt->num);
}

/* Return: the virtual time that it takes */
static u64 queue_test_inv(struct queue_test *qt, unsigned int num_pages)
{
	u64 start = arm_smmu_fake_now();

	arm_smmu_domain_inv_range(qt->smmu_domain, TEST_IOVA, num_pages * SZ_4K,
				  SZ_4K, true);
	return arm_smmu_fake_now() - start;
}

/* Nothing is left when the driver has returned */
static void queue_test_expect_idle(struct queue_test *qt, unsigned int num_timeouts)
{
	struct arm_smmu_fake_queue *fq;
	unsigned int i;

	KUNIT_EXPECT_EQ(qt->test, arm_smmu_fake_num_timeouts(), num_timeouts);
	for (i = 0; i < qt->num; i++) {
		list_for_each_entry(fq, &qt->fakes[i]->queues, list) {
			KUNIT_EXPECT_EQ(qt->test, 0, atomic_read(&fq->cmdq->lock));
			KUNIT_EXPECT_EQ(qt->test, 0, arm_smmu_fake_queue_pending(fq));
		}
	}
}

/* What an SMMU got since the last call. @any: also before the CMD_SYNC before */
static void __queue_test_expect(struct arm_smmu_fake *fake, unsigned int tlbis,
				unsigned int atcs, unsigned int syncs, bool any)
{
	unsigned int num_atcs = 0, num_syncs = 0, num = 0;
	struct kunit *test = fake->test;
	struct arm_smmu_cmd cmd;
	u64 done = 0;

	for (; arm_smmu_fake_next_cmd(fake, &cmd); num++) {
		const struct arm_smmu_fake_cmd *last = arm_smmu_fake_last_cmd(fake);
		u8 op = FIELD_GET(CMDQ_0_OP, cmd.data[0]);

		KUNIT_EXPECT_TRUE(test, any || last->issued >= done);
		num_atcs += op == CMDQ_OP_ATC_INV;
		num_syncs += op == CMDQ_OP_CMD_SYNC;
		if (op == CMDQ_OP_CMD_SYNC)
			done = last->time;
	}
	KUNIT_EXPECT_EQ(test, num - num_atcs - num_syncs, tlbis);
	KUNIT_EXPECT_EQ(test, num_atcs, atcs);
	KUNIT_EXPECT_EQ(test, num_syncs, syncs);
}

static void queue_test_expect(struct arm_smmu_fake *fake, unsigned int tlbis,
			      unsigned int atcs, unsigned int syncs)
{
	__queue_test_expect(fake, tlbis, atcs, syncs, false);
}

/* Without a CMD_SYNC */
static void queue_test_issue(struct arm_smmu_fake *fake, unsigned int num)
{
	struct arm_smmu_cmd cmd = { { CMDQ_OP_TLBI_NH_ASID } };

	while (num--)
		arm_smmu_cmdq_issue_cmd_p(&fake->smmu, &cmd, false);
}

static int queue_test_inv_task(void *data)
{
	queue_test_inv(data, TEST_PAGES);
	return 0;
}

/* Wait for an SMMU to have consumed, and to have pending, so many commands */
static void queue_test_wait(struct arm_smmu_fake *fake, unsigned int consumed,
			    unsigned int pending)
{
	u64 sum;

	while (arm_smmu_fake_queue_pending(&fake->queue) < pending ||
	       arm_smmu_fake_num_consumed(fake, &sum) < consumed)
		usleep_range(50, 100);
}

/* Three phases, in each of which all SMMUs work at the same time */
static void queue_test_overlap(struct kunit *test)
{
	static const unsigned int nums[] = { 1, 2, TEST_MAX_SMMUS };
	struct queue_test *qt = queue_test_create(test, TEST_MAX_SMMUS, TEST_USECS);
	unsigned int i, j, waits;
	u64 nsecs;

	for (i = 0; i < ARRAY_SIZE(nums); i++) {
		qt->num = nums[i];
		/* A pass has no room for more */
		waits = 3 * DIV_ROUND_UP(qt->num, CMDQ_PASS_SYNCS);
		arm_smmu_fake_invs(&qt->smmu_domain->domain)->num_invs = 0;
		queue_test_add_phases(qt);
		nsecs = queue_test_inv(qt, 1);
		KUNIT_EXPECT_GE(test, nsecs, waits * TEST_NSECS);
		KUNIT_EXPECT_LT(test, nsecs, (waits + 1) * TEST_NSECS);
		queue_test_expect_idle(qt, 0);
		for (j = 0; j < qt->num; j++)
			queue_test_expect(qt->fakes[j], 2, 1, 3);
	}
}

/*
 * A task waits for a slow SMMU, or for space in a queue that is full. It does not
 * hold what others need, and goes on in the end.
 */
static void queue_test_blocked(struct kunit *test, bool full)
{
	struct queue_test *qt = queue_test_create(test, 3, 0);
	struct task_struct *task;

	queue_test_add_all(qt, INV_TYPE_S1_ASID, 3);
	arm_smmu_fake_stop(qt->fakes[1], 0);
	if (full)
		queue_test_issue(qt->fakes[1], TEST_QUEUE);
	arm_smmu_fake_freeze();
	task = arm_smmu_fake_run_task(test, queue_test_inv_task, qt);
	queue_test_wait(qt->fakes[0], TEST_PAGES, 0);
	queue_test_wait(qt->fakes[1], 0, TEST_PAGES + 1);

	/* Needs space that only the task can free while it holds the queue */
	queue_test_issue(qt->fakes[0], 2 * TEST_QUEUE);
	queue_test_issue(qt->fakes[2], 2 * TEST_QUEUE);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_queue_pending(&qt->fakes[1]->queue),
			full ? TEST_QUEUE : TEST_PAGES + 1);
	arm_smmu_fake_start(qt->fakes[1]);
	arm_smmu_fake_thaw();
	arm_smmu_fake_join_task(test, task);
	queue_test_expect_idle(qt, 0);
	queue_test_expect(qt->fakes[1], TEST_PAGES + full * TEST_QUEUE, 0, 1);
	queue_test_expect(qt->fakes[2], TEST_PAGES + 2 * TEST_QUEUE, 0, 1);
}

static void queue_test_release(struct kunit *test)
{
	queue_test_blocked(test, false);
}

static void queue_test_full(struct kunit *test)
{
	queue_test_blocked(test, true);
}

/*
 * A task that waits for space reads CONS in each turn, also after a timeout. No
 * other task does so for it.
 */
static void queue_test_full_late(struct kunit *test)
{
	static const unsigned int usecs[] = { TEST_USECS, 5 * USEC_PER_SEC };
	struct queue_test *qt = queue_test_create(test, 1, 0);
	u64 nsecs;
	int i;

	for (i = 0; i < ARRAY_SIZE(usecs); i++) {
		arm_smmu_fake_queue_stall(&qt->fakes[0]->queue, 0, usecs[i]);
		queue_test_issue(qt->fakes[0], TEST_QUEUE);
		nsecs = arm_smmu_fake_now();
		queue_test_issue(qt->fakes[0], 1);
		nsecs = arm_smmu_fake_now() - nsecs;
		KUNIT_EXPECT_GE(test, nsecs, usecs[i] * NSEC_PER_USEC);
		KUNIT_EXPECT_LT(test, nsecs, (usecs[i] + TEST_USECS) * NSEC_PER_USEC);
		queue_test_expect(qt->fakes[0], TEST_QUEUE + 1, 0, 0);
		KUNIT_EXPECT_EQ(test, 0, atomic_read(&qt->fakes[0]->smmu.cmdq.lock));
	}
}

static const struct queue_test_dead {
	const char *name;
	unsigned int num;
	/* SMMUs that hang, and those of them that write MSIs otherwise */
	u32 mask;
	u32 msis;
	/* Number of timeouts that an invalidation takes */
	unsigned int waits;
} queue_test_deads[] = {
	{ "one", 8, BIT(3), 0, 1 },
	{ "two", 8, BIT(2) | BIT(7), 0, 1 },
	/* One is not known as dead in the next phase */
	{ "more than are known", 8, GENMASK(CMDQ_PASS_DEAD + 1, 1), 0, 3 },
	/* No other SMMU is held up */
	{ "the only one", 1, BIT(0), 0, 3 },
	{ "no MSI", 2, BIT(1), BIT(1), 1 },
	{ "two of many", TEST_MAX_SMMUS,
	  BIT(CMDQ_PASS_SYNCS - 1) | BIT(TEST_MAX_SMMUS - 1), 0, 2 },
};

KUNIT_ARRAY_PARAM_DESC(queue_test_dead, queue_test_deads, name);

/*
 * SMMUs that hang and are waited for at the same time cost one timeout in all.
 * The others and the SMMUs that hang get all commands.
 */
static void queue_test_dead(struct kunit *test)
{
	const struct queue_test_dead *param = test->param_value;
	struct queue_test *qt = queue_test_create(test, param->num, 0);
	unsigned int i, round;
	u64 nsecs;

	queue_test_add_phases(qt);
	for (i = 0; i < qt->num; i++) {
		if (param->msis & BIT(i))
			qt->fakes[i]->smmu.options |= ARM_SMMU_OPT_MSIPOLL;
		if (param->mask & BIT(i))
			arm_smmu_fake_stop(qt->fakes[i], 0);
	}

	/* The next invalidation does not know of it and has to find out */
	for (round = 1; round <= 2; round++) {
		nsecs = queue_test_inv(qt, 1);
		KUNIT_EXPECT_GE(test, nsecs, param->waits * TEST_TIMEOUT);
		KUNIT_EXPECT_LT(test, nsecs, (param->waits + 1) * TEST_TIMEOUT);
		KUNIT_EXPECT_EQ(test, arm_smmu_fake_num_timeouts(), round * param->waits);
		for (i = 0; i < qt->num; i++) {
			struct arm_smmu_fake_queue *fq = &qt->fakes[i]->queue;

			KUNIT_EXPECT_EQ(test, 0, atomic_read(&fq->cmdq->lock));
			KUNIT_EXPECT_EQ(test, arm_smmu_fake_queue_pending(fq),
					param->mask & BIT(i) ? round * 6 : 0);
		}
	}

	for (i = 0; i < qt->num; i++) {
		arm_smmu_fake_start(qt->fakes[i]);
		__queue_test_expect(qt->fakes[i], 4, 2, 6, true);
	}
	queue_test_inv(qt, 1);
	queue_test_expect_idle(qt, 2 * param->waits);
	for (i = 0; i < qt->num; i++)
		queue_test_expect(qt->fakes[i], 2, 1, 3);
}

static bool queue_test_is_nh_va(struct arm_smmu_cmd *cmd)
{
	return FIELD_GET(CMDQ_0_OP, cmd->data[0]) == CMDQ_OP_TLBI_NH_VA;
}

static struct arm_smmu_fake_queue *
queue_test_add_vcmdq(struct arm_smmu_fake *fake)
{
	fake->smmu.options |= ARM_SMMU_OPT_TEGRA241_CMDQV;
	return arm_smmu_fake_add_queue(fake, TEST_SHIFT, queue_test_is_nh_va);
}

/*
 * Kinds of SMMU. The numbers of TLBIs, ATC_INVs and CMD_SYNCs are those without
 * errata, and those where CFGI and TLBI have to be repeated.
 */
static const struct queue_test_kind {
	const char *name;
	u32 features;
	u32 options;
	bool vcmdq;
	unsigned int num_ats;
	unsigned int want[2][3];
} queue_test_kinds[] = {
	{ "usual", 0, 0, false, 0, { { 66, 0, 1 }, { 132, 0, 4 } } },
	{ "many streams", 0, 0, false, 66, { { 66, 66, 2 }, { 132, 66, 5 } } },
	{ "FORCE_SYNC", 0, ARM_SMMU_OPT_CMDQ_FORCE_SYNC, false, 66,
	  { { 66, 66, 4 }, { 132, 66, 6 } } },
	{ "MSI", 0, ARM_SMMU_OPT_MSIPOLL, false, 1,
	  { { 66, 1, 2 }, { 132, 1, 5 } } },
	{ "SEV", ARM_SMMU_FEAT_SEV, 0, false, 1,
	  { { 66, 1, 2 }, { 132, 1, 5 } } },
	/* Has a TLBI for each queue */
	{ "VCMDQ", 0, 0, true, 1, { { 132, 1, 3 }, { 264, 1, 9 } } },
};

/* All kinds of SMMU in one pass. Each gets what it would get alone. */
static void queue_test_mixed(struct kunit *test)
{
	const struct queue_test_kind *kind = queue_test_kinds;
	struct queue_test *qt = queue_test_create(test,
						  ARRAY_SIZE(queue_test_kinds),
						  TEST_USECS);
	unsigned int i, j, repeat;

	for (i = 0; i < qt->num; i++) {
		qt->fakes[i]->smmu.features |= kind[i].features;
		qt->fakes[i]->smmu.options |= kind[i].options;
		queue_test_add(qt->smmu_domain, qt->fakes[i], INV_TYPE_S1_ASID);
		if (!kind[i].vcmdq)
			continue;
		arm_smmu_fake_queue_set_time(queue_test_add_vcmdq(qt->fakes[i]),
					     TEST_USECS, 0);
		queue_test_add(qt->smmu_domain, qt->fakes[i], INV_TYPE_S2_VMID);
	}
	for (i = 0; i < qt->num; i++)
		for (j = 0; j < kind[i].num_ats; j++)
			queue_test_add(qt->smmu_domain, qt->fakes[i], INV_TYPE_ATS_FULL);

	for (repeat = 0; repeat < 2; repeat++) {
		arm_smmu_fake_clock.repeat = repeat;
		queue_test_inv(qt, TEST_PAGES);
		queue_test_expect_idle(qt, 0);
		for (i = 0; i < qt->num; i++) {
			const unsigned int *want = kind[i].want[repeat];

			kunit_info(test, "%s", kind[i].name);
			queue_test_expect(qt->fakes[i], want[0], want[1], want[2]);
		}
	}
}

/*
 * The SMMU that ends a phase may have nothing to do in it: it has no ranges and
 * needs no TLBI of stage 1 after one of everything.
 */
static void queue_test_nothing(struct kunit *test)
{
	struct queue_test *qt = queue_test_create(test, 2, TEST_USECS);
	bool irqs_off;

	qt->fakes[0]->smmu.features |= ARM_SMMU_FEAT_RANGE_INV;
	queue_test_add_all(qt, INV_TYPE_S2_VMID_VSMMU, 2);
	queue_test_add_all(qt, INV_TYPE_S2_VMID_S1_CLEAR, 2);
	queue_test_inv(qt, SZ_2M / SZ_4K);
	irqs_off = irqs_disabled();
	local_irq_enable();
	KUNIT_EXPECT_FALSE(test, irqs_off);
	queue_test_expect_idle(qt, 0);
	queue_test_expect(qt->fakes[0], 2, 0, 2);
	queue_test_expect(qt->fakes[1], 1, 0, 1);
}

/*
 * The MSI is waited for, alone and among others, although CONS comes before. If
 * it comes after the timeout, the queue goes on without MSIs.
 */
static void queue_test_msi(struct kunit *test)
{
	struct queue_test *qt = queue_test_create(test, 2, 0);
	struct arm_smmu_fake_queue *fq = &qt->fakes[0]->queue;
	unsigned int i;
	u64 nsecs;

	qt->fakes[0]->smmu.options |= ARM_SMMU_OPT_MSIPOLL;
	arm_smmu_fake_queue_set_time(fq, 0, TEST_USECS);
	for (i = 0; i < 2; i++) {
		queue_test_add(qt->smmu_domain, qt->fakes[i], INV_TYPE_S1_ASID);
		nsecs = queue_test_inv(qt, 1);
		KUNIT_EXPECT_GE(test, nsecs, TEST_NSECS);
		KUNIT_EXPECT_LT(test, nsecs, 2 * TEST_NSECS);
	}
	arm_smmu_fake_queue_set_time(fq, 0, 3 * USEC_PER_SEC / 2);
	queue_test_inv(qt, 1);
	/* Time passes in the first of these */
	arm_smmu_fake_set_time(qt->fakes[1], 600000);
	for (i = 0; i < TEST_QUEUE; i++) {
		queue_test_inv(qt, 1);
		arm_smmu_fake_set_time(qt->fakes[1], 0);
	}
	queue_test_expect_idle(qt, 1);
	queue_test_expect(qt->fakes[0], TEST_QUEUE + 3, 0, TEST_QUEUE + 3);
}

/* An error of one SMMU, alone and in a pass, does not make a wait time out */
static void queue_test_error(struct kunit *test)
{
	static const struct {
		unsigned int err;
		u32 options;
		unsigned int tlbis;
		unsigned int syncs;
	} rows[] = {
		/* The driver makes a CMD_SYNC of an illegal command */
		{ CMDQ_ERR_CERROR_ILL_IDX, 0, 1, 2 },
		{ CMDQ_ERR_CERROR_ABT_IDX, 0, 2, 1 },
		{ CMDQ_ERR_CERROR_ATC_INV_IDX, 0, 2, 1 },
		{ CMDQ_ERR_CERROR_ILL_IDX, ARM_SMMU_OPT_MSIPOLL, 1, 2 },
	};
	struct queue_test *qt = queue_test_create(test, 2, 0);
	unsigned int i, row;

	for (i = 0; i < 2; i++) {
		queue_test_add(qt->smmu_domain, qt->fakes[i], INV_TYPE_S1_ASID);
		for (row = 0; row < ARRAY_SIZE(rows); row++) {
			qt->fakes[0]->smmu.options |= rows[row].options;
			arm_smmu_fake_queue_set_error(&qt->fakes[0]->queue,
						      rows[row].err);
			queue_test_inv(qt, 2);
			KUNIT_EXPECT_EQ(test, qt->fakes[0]->queue.err, 0);
			__queue_test_expect(qt->fakes[0], rows[row].tlbis, 0,
					    rows[row].syncs, true);
			queue_test_expect(qt->fakes[1], 2 * i, 0, i);
		}
	}
	queue_test_expect_idle(qt, 0);
}

static struct arm_smmu_cmdq *queue_test_second;
static unsigned int queue_test_num_lookups;

/* As if the task moved to another CPU, which has another queue, all the time */
static struct arm_smmu_cmdq *queue_test_get_cmdq(struct arm_smmu_device *smmu,
						 struct arm_smmu_cmd *cmd)
{
	return queue_test_num_lookups++ % 2 ? queue_test_second : NULL;
}

/* All batches of an invalidation are in the queue of its CMD_SYNC */
static void queue_test_one_queue(struct kunit *test)
{
	const unsigned int num_pages = 3 * CMDQ_BATCH_ENTRIES - 1;
	struct queue_test *qt = queue_test_create(test, 1, 0);
	struct arm_smmu_fake_queue *fq = queue_test_add_vcmdq(qt->fakes[0]);
	struct arm_smmu_fake *fake = qt->fakes[0];
	u64 i;

	fq->cmdq->supports_cmd = NULL;
	queue_test_second = fq->cmdq;
	queue_test_num_lookups = 0;
	fake->impl_ops.get_secondary_cmdq = queue_test_get_cmdq;
	queue_test_add_all(qt, INV_TYPE_S1_ASID, 1);
	queue_test_inv(qt, num_pages);
	KUNIT_EXPECT_NE(test, queue_test_num_lookups, 0);
	KUNIT_ASSERT_EQ(test, fake->log_head, num_pages + 1);
	for (i = 0; i < fake->log_head; i++)
		KUNIT_EXPECT_PTR_EQ(test, fake->log[i].queue, fake->log[0].queue);
}

static void queue_test_thaw(struct work_struct *work)
{
	arm_smmu_fake_thaw();
}

static DECLARE_DELAYED_WORK(queue_test_thaw_work, queue_test_thaw);

static int queue_test_unmap(void *data)
{
	iommu_unmap(data, TEST_IOVA, SZ_4K);
	return 0;
}

/*
 * Detach a device while an invalidation that has found it in the array waits for
 * another SMMU. With ATS, no ATC_INV may follow once the detach has returned.
 * Without ATS, the detach need not wait.
 */
static void queue_test_detach(struct kunit *test, bool ats)
{
	struct queue_test *qt = queue_test_create(test, 2, 0);
	struct arm_smmu_fake *slow = qt->fakes[1];
	struct arm_smmu_fake_master *fm, *slow_fm;
	struct iommu_domain *domain;
	struct task_struct *task;
	struct arm_smmu_cmd cmd;

	if (num_online_cpus() < 2)
		kunit_skip(test, "needs two CPUs");
	if (ats)
		fm = arm_smmu_fake_add_pci_master(qt->fakes[0],
						  (u32[]){ TEST_SID }, 1, 0);
	else
		fm = arm_smmu_fake_add_master(qt->fakes[0], TEST_SID, 0);
	slow_fm = arm_smmu_fake_add_master(slow, TEST_SID, 0);
	domain = arm_smmu_fake_alloc_domain(fm, 0);
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(fm, domain));
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(slow_fm, domain));
	KUNIT_ASSERT_EQ(test, 0,
			iommu_map(domain, TEST_IOVA, SZ_1G, SZ_4K, IOMMU_READ,
				  GFP_KERNEL));
	arm_smmu_fake_drop_cmds(slow);
	arm_smmu_fake_freeze();
	arm_smmu_fake_queue_stall(&slow->queue, 0, TEST_USECS);
	task = arm_smmu_fake_run_task(test, queue_test_unmap, domain);
	queue_test_wait(slow, 0, 2);
	/* If this is too early for the detach, nothing is seen */
	if (ats)
		schedule_delayed_work(&queue_test_thaw_work, msecs_to_jiffies(50));
	KUNIT_EXPECT_EQ(test, 0, arm_smmu_fake_block(fm));
	arm_smmu_fake_drop_cmds(qt->fakes[0]);
	if (!ats)
		KUNIT_EXPECT_EQ(test, 2, arm_smmu_fake_queue_pending(&slow->queue));
	flush_delayed_work(&queue_test_thaw_work);
	arm_smmu_fake_thaw();

	arm_smmu_fake_join_task(test, task);
	while (ats && arm_smmu_fake_next_cmd(qt->fakes[0], &cmd))
		KUNIT_EXPECT_NE(test, cmd.data[0] & CMDQ_0_OP, CMDQ_OP_ATC_INV);
	queue_test_expect_idle(qt, 0);
}

static void queue_test_detach_ats(struct kunit *test)
{
	queue_test_detach(test, true);
}

static void queue_test_detach_no_ats(struct kunit *test)
{
	queue_test_detach(test, false);
}

#define STRESS_SMMUS	8
#define STRESS_WORKERS	6
#define STRESS_ROUNDS	15

struct queue_test_worker {
	struct task_struct *task;
	struct queue_test *qt;
	struct arm_smmu_domain *smmu_domain;
	struct rnd_state rnd;
	u64 num_cmds;
	u64 sum_cmds;
};

/* Invalidate on some SMMUs in some order, the first of which may be disturbed */
static void queue_test_work_once(struct queue_test_worker *worker)
{
	u32 rnd = prandom_u32_state(&worker->rnd);
	struct arm_smmu_invs *invs = arm_smmu_fake_invs(&worker->smmu_domain->domain);
	unsigned int i, j, num_pages, num = 1 + rnd % STRESS_SMMUS;
	struct arm_smmu_fake *fake;

	num_pages = rnd & BIT(8) ? 1 : 1 + (rnd >> 9) % (2 * CMDQ_BATCH_ENTRIES);
	invs->num_invs = 0;
	for (i = 0; i < 2 * num; i++) {
		/* An odd number of steps reaches all of them */
		j = ((rnd >> 16) + i * (rnd >> 20 | 1)) % STRESS_SMMUS;
		fake = worker->qt->fakes[j];
		if (!i && !(rnd & GENMASK(25, 24)))
			arm_smmu_fake_queue_set_time(&fake->queue, rnd % 200, rnd % 100);
		if (!i && !(rnd & GENMASK(27, 26)))
			arm_smmu_fake_queue_stall(&fake->queue,
						  rnd % TEST_QUEUE,
						  1 + rnd % 2000);
		if (i < num) {
			queue_test_add(worker->smmu_domain, fake, INV_TYPE_S1_ASID);
			worker->num_cmds += num_pages;
			worker->sum_cmds += num_pages *
				(TEST_IOVA | CMDQ_TLBI_1_LEAF) +
				num_pages * (num_pages - 1) / 2 * SZ_4K;
		} else if (rnd & BIT(28)) {
			queue_test_add(worker->smmu_domain, fake, INV_TYPE_ATS_FULL);
			worker->num_cmds++;
			worker->sum_cmds += ATC_INV_SIZE_ALL;
		}
	}
	arm_smmu_domain_inv_range(worker->smmu_domain, TEST_IOVA,
				  num_pages * SZ_4K, SZ_4K, true);
}

static int queue_test_work(void *data)
{
	unsigned int i;

	for (i = 0; i < STRESS_ROUNDS; i++) {
		queue_test_work_once(data);
		cond_resched();
	}
	return 0;
}

/*
 * Many tasks, small queues that are often full, SMMUs that stall, and no order
 * in which to take them: each task gets to its end and no command is lost.
 */
static void queue_test_stress(struct kunit *test)
{
	struct queue_test *qt = queue_test_create(test, STRESS_SMMUS, 0);
	struct queue_test_worker workers[STRESS_WORKERS] = {}, *worker;
	struct queue_test_worker *end = workers + STRESS_WORKERS;
	u64 consumed, num = 0, sum = 0;
	unsigned int i, cpu = -1;

	for (i = 0; i < STRESS_SMMUS; i += 3)
		qt->fakes[i]->smmu.options |= ARM_SMMU_OPT_MSIPOLL;
	qt->fakes[1]->smmu.options |= ARM_SMMU_OPT_CMDQ_FORCE_SYNC;
	qt->fakes[2]->smmu.features |= ARM_SMMU_FEAT_SEV;

	for (worker = workers; worker < end; worker++) {
		worker->qt = qt;
		worker->smmu_domain = queue_test_alloc(test);
		prandom_seed_state(&worker->rnd, worker - workers + 2);
		cpu = cpumask_next_wrap(cpu, cpu_online_mask);
		worker->task = arm_smmu_fake_create_task(test, queue_test_work,
							 worker, cpu);
	}
	for (worker = workers; worker < end; worker++)
		wake_up_process(worker->task);
	for (worker = workers; worker < end; worker++) {
		arm_smmu_fake_join_task(test, worker->task);
		num += worker->num_cmds;
		sum += worker->sum_cmds;
	}
	for (i = 0; i < STRESS_SMMUS; i++) {
		arm_smmu_fake_start(qt->fakes[i]);
		num -= arm_smmu_fake_num_consumed(qt->fakes[i], &consumed);
		sum -= consumed;
	}
	KUNIT_EXPECT_EQ(test, num, 0);
	KUNIT_EXPECT_EQ(test, sum, 0);
	queue_test_expect_idle(qt, 0);
}

static struct kunit_case queue_test_cases[] = {
	KUNIT_CASE(queue_test_overlap),
	KUNIT_CASE(queue_test_release),
	KUNIT_CASE(queue_test_full),
	KUNIT_CASE(queue_test_full_late),
	KUNIT_CASE_PARAM(queue_test_dead, queue_test_dead_gen_params),
	KUNIT_CASE(queue_test_mixed),
	KUNIT_CASE(queue_test_nothing),
	KUNIT_CASE(queue_test_msi),
	KUNIT_CASE(queue_test_error),
	KUNIT_CASE(queue_test_one_queue),
	KUNIT_CASE(queue_test_detach_ats),
	KUNIT_CASE(queue_test_detach_no_ats),
	KUNIT_CASE(queue_test_stress),
	{}
};

static struct kunit_suite queue_test_suite = {
	.name = "arm-smmu-v3-queue",
	.suite_init = arm_smmu_fake_suite_init,
	.suite_exit = arm_smmu_fake_suite_exit,
	.test_cases = queue_test_cases,
};

kunit_test_suite(queue_test_suite);
