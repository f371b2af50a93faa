// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of the command queues: invalidations that go to several SMMUs at
 * the same time, timeouts, errors, MSIs, full queues and errata. And of the
 * commands that cover a range. They run on fake SMMUs in virtual time.
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

static struct queue_test *queue_test_create(struct kunit *test, unsigned int num,
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

static void queue_test_add(struct arm_smmu_domain *smmu_domain, struct arm_smmu_fake *fake,
			   enum arm_smmu_inv_type type)
{
	static const u8 opcodes[] = {
		[INV_TYPE_S1_ASID] = CMDQ_OP_TLBI_NH_VA,
		[INV_TYPE_S2_VMID] = CMDQ_OP_TLBI_S2_IPA,
		[INV_TYPE_S2_VMID_VSMMU] = CMDQ_OP_TLBI_S2_IPA,
		[INV_TYPE_S2_VMID_S1_CLEAR] = CMDQ_OP_TLBI_NH_ALL,
		[INV_TYPE_ATS] = CMDQ_OP_ATC_INV,
		[INV_TYPE_ATS_FULL] = CMDQ_OP_ATC_INV,
	};
	struct arm_smmu_invs *invs = arm_smmu_fake_invs(&smmu_domain->domain);

	invs->inv[invs->num_invs++] = (struct arm_smmu_inv){
		.smmu = &fake->smmu,
		.type = type,
		.size_opcode = opcodes[type],
		.nsize_opcode = CMDQ_OP_TLBI_S12_VMALL,
		.id = 1,
		.pgsize = ilog2(SZ_4K),
		.users = 1,
	};
}

/* An entry of this type for each SMMU */
static void queue_test_add_all(struct queue_test *qt, enum arm_smmu_inv_type type)
{
	unsigned int i;

	for (i = 0; i < qt->num; i++)
		queue_test_add(qt->smmu_domain, qt->fakes[i], type);
}

/* Three phases on all SMMUs, with two TLBIs and an ATC_INV each */
static void queue_test_add_phases(struct queue_test *qt)
{
	queue_test_add_all(qt, INV_TYPE_S2_VMID_VSMMU);
	queue_test_add_all(qt, INV_TYPE_S2_VMID_S1_CLEAR);
	queue_test_add_all(qt, INV_TYPE_ATS_FULL);
}

/* Return: the virtual time that it takes */
static u64 queue_test_inv(struct queue_test *qt, unsigned int num_pages)
{
	u64 start = arm_smmu_fake_now();

	arm_smmu_domain_inv_range(qt->smmu_domain, TEST_IOVA, num_pages * SZ_4K, SZ_4K, true);
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

/* What an SMMU got since the last call */
static void queue_test_expect(struct arm_smmu_fake *fake, int tlbis, int atcs, int syncs)
{
	struct kunit *test = fake->test;
	struct arm_smmu_cmd cmd;
	u8 op;

	while (arm_smmu_fake_next_cmd(fake, &cmd)) {
		op = FIELD_GET(CMDQ_0_OP, cmd.data[0]);
		tlbis -= op >= CMDQ_OP_TLBI_NH_ALL && op < CMDQ_OP_ATC_INV;
		atcs -= op == CMDQ_OP_ATC_INV;
		syncs -= op == CMDQ_OP_CMD_SYNC;
	}
	KUNIT_EXPECT_EQ(test, tlbis, 0);
	KUNIT_EXPECT_EQ(test, atcs, 0);
	KUNIT_EXPECT_EQ(test, syncs, 0);
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

/*
 * Three phases, in each of which all SMMUs work at the same time. The first takes
 * its time for the MSI, which is waited for although CONS comes before. SMMUs that
 * hang and are waited for at the same time cost one timeout in all. Also they get
 * all commands.
 */
static void queue_test_overlap(struct kunit *test)
{
	static const struct {
		unsigned int num;
		u32 dead;
		/* How long it takes, in CMD_SYNCs or in timeouts */
		unsigned int waits;
	} rows[] = {
		{ 1, 0, 3 },
		{ 2, 0, 3 },
		/* A pass has no room for more */
		{ TEST_MAX_SMMUS, 0, 3 * DIV_ROUND_UP(TEST_MAX_SMMUS, CMDQ_PASS_SYNCS) },
		{ 8, BIT(2) | BIT(7), 1 },
		/* One is not known as dead in the next phase */
		{ 8, GENMASK(CMDQ_PASS_DEAD + 1, 1), 3 },
		{ TEST_MAX_SMMUS, BIT(CMDQ_PASS_SYNCS - 1) | BIT(TEST_MAX_SMMUS - 1), 2 },
		{ 2, BIT(0), 1 },
	};
	struct queue_test *qt = queue_test_create(test, TEST_MAX_SMMUS, TEST_USECS);
	unsigned int row, i, timeouts = 0;
	u64 nsecs, unit;

	qt->fakes[0]->smmu.options |= ARM_SMMU_OPT_MSIPOLL;
	arm_smmu_fake_queue_set_time(&qt->fakes[0]->queue, 0, TEST_USECS);
	arm_smmu_fake_set_time(qt->fakes[1], 0);
	for (row = 0; row < ARRAY_SIZE(rows); row++) {
		qt->num = rows[row].num;
		arm_smmu_fake_invs(&qt->smmu_domain->domain)->num_invs = 0;
		queue_test_add_phases(qt);
		for (i = 0; i < qt->num; i++)
			if (rows[row].dead & BIT(i))
				arm_smmu_fake_stop(qt->fakes[i], 0);
		unit = rows[row].dead ? TEST_TIMEOUT : TEST_NSECS;
		timeouts += rows[row].dead ? rows[row].waits : 0;
		nsecs = queue_test_inv(qt, 1);
		KUNIT_EXPECT_GE(test, nsecs, rows[row].waits * unit);
		KUNIT_EXPECT_LT(test, nsecs, (rows[row].waits + 1) * unit);
		for (i = 0; i < qt->num; i++) {
			KUNIT_EXPECT_EQ(test, arm_smmu_fake_queue_pending(&qt->fakes[i]->queue),
					rows[row].dead & BIT(i) ? 6 : 0);
			arm_smmu_fake_start(qt->fakes[i]);
		}
		/* The next invalidation does not know of it */
		queue_test_inv(qt, 1);
		queue_test_expect_idle(qt, timeouts);
		for (i = 0; i < qt->num; i++)
			queue_test_expect(qt->fakes[i], 4, 2, 6);
	}
}

/*
 * A task waits for a slow SMMU, or for space in a queue that is full. It does not
 * hold what others need, and goes on in the end.
 */
static void queue_test_blocked(struct kunit *test)
{
	struct queue_test *qt = queue_test_create(test, 3, 0);
	struct arm_smmu_fake *fake = qt->fakes[0], *slow = qt->fakes[1];
	struct task_struct *task;
	unsigned int full;
	u64 num, sum;

	queue_test_add_all(qt, INV_TYPE_S1_ASID);
	for (full = 0; full < 2; full++) {
		arm_smmu_fake_stop(slow, 0);
		if (full)
			queue_test_issue(slow, TEST_QUEUE);
		arm_smmu_fake_freeze();
		num = arm_smmu_fake_num_consumed(fake, &sum);
		task = arm_smmu_fake_run_task(test, queue_test_inv_task, qt);
		queue_test_wait(fake, num + TEST_PAGES, 0);
		queue_test_wait(slow, 0, TEST_PAGES + 1);

		/* Needs space that only the task can free while it holds the queue */
		queue_test_issue(fake, 2 * TEST_QUEUE);
		queue_test_issue(qt->fakes[2], 2 * TEST_QUEUE);
		KUNIT_EXPECT_EQ(test, arm_smmu_fake_queue_pending(&slow->queue),
				full ? TEST_QUEUE : TEST_PAGES + 1);
		arm_smmu_fake_start(slow);
		arm_smmu_fake_thaw();
		arm_smmu_fake_join_task(test, task);
		queue_test_expect_idle(qt, 0);
		queue_test_expect(slow, TEST_PAGES + full * TEST_QUEUE, 0, 1);
		queue_test_expect(qt->fakes[2], TEST_PAGES + 2 * TEST_QUEUE, 0, 1);
	}
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

static bool queue_test_is_nh_va(struct arm_smmu_cmd *cmd)
{
	return FIELD_GET(CMDQ_0_OP, cmd->data[0]) == CMDQ_OP_TLBI_NH_VA;
}

static struct arm_smmu_fake_queue *queue_test_add_vcmdq(struct arm_smmu_fake *fake)
{
	fake->smmu.options |= ARM_SMMU_OPT_TEGRA241_CMDQV;
	return arm_smmu_fake_add_queue(fake, TEST_SHIFT, queue_test_is_nh_va);
}

/* Nothing was issued before the CMD_SYNC before it had completed */
static void queue_test_expect_waits(struct arm_smmu_fake *fake)
{
	const struct arm_smmu_fake_cmd *cmd = &fake->log[fake->seen];
	u64 done = 0;

	for (; cmd != &fake->log[fake->log_head]; cmd++) {
		KUNIT_EXPECT_GE(fake->test, cmd->issued, done);
		if (FIELD_GET(CMDQ_0_OP, cmd->cmd.data[0]) == CMDQ_OP_CMD_SYNC)
			done = cmd->time;
	}
}

/* All kinds of SMMU in one pass. Each gets what it would get alone. */
static void queue_test_mixed(struct kunit *test)
{
	/*
	 * The numbers of TLBIs, ATC_INVs and CMD_SYNCs are those without errata,
	 * and those where CFGI and TLBI have to be repeated.
	 */
	static const struct {
		u32 features;
		u32 options;
		unsigned int num_ats;
		unsigned int want[2][3];
	} kinds[] = {
		/* Has a TLBI for each of its queues */
		{ 0, ARM_SMMU_OPT_TEGRA241_CMDQV, 1, { { 132, 1, 3 }, { 264, 1, 9 } } },
		{ 0, 0, 0, { { 66, 0, 1 }, { 132, 0, 4 } } },
		{ 0, 0, 66, { { 66, 66, 2 }, { 132, 66, 5 } } },
		{ 0, ARM_SMMU_OPT_CMDQ_FORCE_SYNC, 66, { { 66, 66, 4 }, { 132, 66, 6 } } },
		{ ARM_SMMU_FEAT_SEV, 0, 1, { { 66, 1, 2 }, { 132, 1, 5 } } },
	};
	struct queue_test *qt = queue_test_create(test, ARRAY_SIZE(kinds), TEST_USECS);
	unsigned int i, j, repeat;

	arm_smmu_fake_queue_set_time(queue_test_add_vcmdq(qt->fakes[0]), TEST_USECS, 0);
	queue_test_add(qt->smmu_domain, qt->fakes[0], INV_TYPE_S1_ASID);
	queue_test_add(qt->smmu_domain, qt->fakes[0], INV_TYPE_S2_VMID);
	for (i = 1; i < qt->num; i++) {
		qt->fakes[i]->smmu.features |= kinds[i].features;
		qt->fakes[i]->smmu.options |= kinds[i].options;
		queue_test_add(qt->smmu_domain, qt->fakes[i], INV_TYPE_S1_ASID);
	}
	for (i = 0; i < qt->num; i++)
		for (j = 0; j < kinds[i].num_ats; j++)
			queue_test_add(qt->smmu_domain, qt->fakes[i], INV_TYPE_ATS_FULL);

	for (repeat = 0; repeat < 2; repeat++) {
		arm_smmu_fake_clock.repeat = repeat;
		queue_test_inv(qt, TEST_PAGES);
		queue_test_expect_idle(qt, 0);
		for (i = 0; i < qt->num; i++) {
			const unsigned int *want = kinds[i].want[repeat];

			queue_test_expect_waits(qt->fakes[i]);
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
	queue_test_add_all(qt, INV_TYPE_S2_VMID_VSMMU);
	queue_test_add_all(qt, INV_TYPE_S2_VMID_S1_CLEAR);
	queue_test_inv(qt, SZ_2M / SZ_4K);
	irqs_off = irqs_disabled();
	local_irq_enable();
	KUNIT_EXPECT_FALSE(test, irqs_off);
	queue_test_expect_idle(qt, 0);
	queue_test_expect(qt->fakes[0], 2, 0, 2);
	queue_test_expect(qt->fakes[1], 1, 0, 1);
}

/*
 * An MSI comes half a second after its CMD_SYNC was given up. Then its slot has
 * a CMD_SYNC that is not complete, or another command that is not consumed.
 */
static void queue_test_late_msi(struct kunit *test)
{
	struct arm_smmu_fake *clock = arm_smmu_fake_create(test, TEST_SHIFT);
	struct arm_smmu_fake_queue *fq;
	struct queue_test *qt;
	unsigned int other;

	for (other = 0; other < 2; other++) {
		qt = queue_test_create(test, 1, 0);
		queue_test_add_all(qt, INV_TYPE_S1_ASID);
		fq = &qt->fakes[0]->queue;
		qt->fakes[0]->smmu.options |= ARM_SMMU_OPT_MSIPOLL;
		arm_smmu_fake_queue_set_time(fq, 0, 1500000);
		/* The virtual time goes from event to event. Here is one for the timeout. */
		arm_smmu_fake_queue_stall(&clock->queue, 0, 1100000);
		queue_test_inv(qt, 1);
		queue_test_expect_idle(qt, other + 1);
		arm_smmu_fake_queue_set_time(fq, 0, 0);

		/* The CMD_SYNC was in slot 1. Go there again. */
		queue_test_issue(qt->fakes[0], TEST_QUEUE - 2 + other);
		queue_test_expect(qt->fakes[0], TEST_QUEUE - 1 + other, 0, 1);
		arm_smmu_fake_queue_stall(fq, 0, 900000);
		queue_test_inv(qt, 1);
		queue_test_expect_idle(qt, other + 1);
		queue_test_expect(qt->fakes[0], 1, 0, 1);
	}
}

#define TEST_ROUNDS	6
#define TEST_NUM	63

static int queue_test_inv_rounds(void *data)
{
	unsigned int i;

	for (i = 0; i < TEST_ROUNDS; i++)
		queue_test_inv(data, TEST_NUM);
	return 0;
}

/*
 * An SMMU stops for longer than several timeouts, without MSIs with fewer free
 * slots than are needed. Then it executes everything.
 */
static void queue_test_timeout(struct kunit *test)
{
	const u64 expected = TEST_ROUNDS * (TEST_NUM * (TEST_IOVA | CMDQ_TLBI_1_LEAF) +
					    TEST_NUM * (TEST_NUM - 1) / 2 * SZ_4K);
	unsigned int i, msi, others, timeouts;
	struct task_struct *task;
	struct queue_test *qt;
	u64 sum;

	for (msi = 0; msi < 2; msi++) {
		qt = queue_test_create(test, 1, 0);
		queue_test_add_all(qt, INV_TYPE_S1_ASID);
		if (msi)
			qt->fakes[0]->smmu.options |= ARM_SMMU_OPT_MSIPOLL;
		others = msi ? 0 : TEST_QUEUE - TEST_NUM;
		arm_smmu_fake_stop(qt->fakes[0], 0);
		queue_test_issue(qt->fakes[0], others);
		timeouts = arm_smmu_fake_num_timeouts() + 4;
		task = arm_smmu_fake_run_task(test, queue_test_inv_rounds, qt);
		/* Bounded for a driver that never looks at the clock */
		for (i = 0; i < 5000 && arm_smmu_fake_num_timeouts() < timeouts; i++)
			usleep_range(900, 1100);
		KUNIT_EXPECT_GE(test, arm_smmu_fake_num_timeouts(), timeouts);
		arm_smmu_fake_start(qt->fakes[0]);
		while (arm_smmu_fake_queue_pending(&qt->fakes[0]->queue))
			cond_resched();
		arm_smmu_fake_join_task(test, task);
		KUNIT_EXPECT_EQ(test, arm_smmu_fake_num_consumed(qt->fakes[0], &sum),
				TEST_ROUNDS * TEST_NUM + others);
		KUNIT_EXPECT_EQ(test, sum, expected);
	}
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
			arm_smmu_fake_queue_set_error(&qt->fakes[0]->queue, rows[row].err);
			queue_test_inv(qt, 2);
			KUNIT_EXPECT_EQ(test, qt->fakes[0]->queue.err, 0);
			queue_test_expect(qt->fakes[0], rows[row].tlbis, 0, rows[row].syncs);
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
	struct arm_smmu_fake *fake = qt->fakes[0];
	u64 i;

	queue_test_second = queue_test_add_vcmdq(fake)->cmdq;
	queue_test_second->supports_cmd = NULL;
	queue_test_num_lookups = 0;
	fake->impl_ops.get_secondary_cmdq = queue_test_get_cmdq;
	queue_test_add_all(qt, INV_TYPE_S1_ASID);
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
 * Detach a device with ATS while an invalidation that has found it in the array
 * waits for another SMMU. No ATC_INV may follow once the detach has returned.
 */
static void queue_test_detach_ats(struct kunit *test)
{
	struct queue_test *qt = queue_test_create(test, 2, 0);
	struct arm_smmu_fake *fake = qt->fakes[0], *slow = qt->fakes[1];
	struct arm_smmu_fake_master *fm, *slow_fm;
	struct iommu_domain *domain;
	struct task_struct *task;
	struct arm_smmu_cmd cmd;

	if (num_online_cpus() < 2)
		kunit_skip(test, "needs two CPUs");
	fm = arm_smmu_fake_add_pci_master(fake, (u32[]){ TEST_SID }, 1, 0);
	slow_fm = arm_smmu_fake_add_master(slow, TEST_SID, 0);
	domain = arm_smmu_fake_alloc_domain(fm, 0);
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(fm, domain));
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(slow_fm, domain));
	KUNIT_ASSERT_EQ(test, 0, iommu_map(domain, TEST_IOVA, SZ_1G, SZ_4K, IOMMU_READ,
					   GFP_KERNEL));
	arm_smmu_fake_drop_cmds(slow);
	arm_smmu_fake_freeze();
	arm_smmu_fake_queue_stall(&slow->queue, 0, TEST_USECS);
	task = arm_smmu_fake_run_task(test, queue_test_unmap, domain);
	queue_test_wait(slow, 0, 2);
	/* If this is too early for the detach, nothing is seen */
	schedule_delayed_work(&queue_test_thaw_work, msecs_to_jiffies(50));
	KUNIT_EXPECT_EQ(test, 0, arm_smmu_fake_block(fm));
	arm_smmu_fake_drop_cmds(fake);
	flush_delayed_work(&queue_test_thaw_work);

	arm_smmu_fake_join_task(test, task);
	while (arm_smmu_fake_next_cmd(fake, &cmd))
		KUNIT_EXPECT_NE(test, cmd.data[0] & CMDQ_0_OP, CMDQ_OP_ATC_INV);
	queue_test_expect_idle(qt, 0);
}

/*
 * Attach a device with ATS while an invalidation, which has not found it in the
 * array, waits for another SMMU. Until the TLBI the ATC can be filled from the TLB.
 */
static void queue_test_attach_ats(struct kunit *test)
{
	struct queue_test *qt = queue_test_create(test, 2, 0);
	struct arm_smmu_fake *slow = qt->fakes[0], *fake = qt->fakes[1];
	struct arm_smmu_fake_master *fm, *old_fm, *slow_fm;
	struct iommu_domain *domain;
	struct task_struct *task;
	struct arm_smmu_cmd cmd;
	bool atc_inv = false;
	u8 op;

	/* The array is sorted by the address of the SMMU */
	if (slow > fake)
		swap(slow, fake);
	slow_fm = arm_smmu_fake_add_master(slow, TEST_SID, 0);
	old_fm = arm_smmu_fake_add_master(fake, TEST_SID, 0);
	fm = arm_smmu_fake_add_pci_master(fake, (u32[]){ TEST_SID + 1 }, 1, 0);
	domain = arm_smmu_fake_alloc_domain(fm, 0);
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(slow_fm, domain));
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(old_fm, domain));
	KUNIT_ASSERT_EQ(test, 0, iommu_map(domain, TEST_IOVA, SZ_1G, SZ_4K, IOMMU_READ,
					   GFP_KERNEL));
	arm_smmu_fake_stop(slow, 0);
	queue_test_issue(slow, TEST_QUEUE);
	arm_smmu_fake_freeze();
	task = arm_smmu_fake_run_task(test, queue_test_unmap, domain);
	/* If this is too early for the attach, nothing is seen */
	msleep(50);
	KUNIT_EXPECT_EQ(test, 0, arm_smmu_fake_attach(fm, domain));
	KUNIT_EXPECT_TRUE(test, fm->master->ats_enabled);
	arm_smmu_fake_start(slow);
	arm_smmu_fake_thaw();
	arm_smmu_fake_join_task(test, task);

	while (arm_smmu_fake_next_cmd(fake, &cmd)) {
		op = FIELD_GET(CMDQ_0_OP, cmd.data[0]);
		if (op == CMDQ_OP_TLBI_NH_VA)
			atc_inv = false;
		atc_inv |= op == CMDQ_OP_ATC_INV &&
			   FIELD_GET(CMDQ_ATC_0_SID, cmd.data[0]) == TEST_SID + 1;
	}
	KUNIT_EXPECT_TRUE(test, atc_inv);
	queue_test_expect_idle(qt, 0);
}

/* What the commands of one invalidation cover */
struct ranges_test_cover {
	u64 next;	/* All from the start of the range to here is covered */
	u64 size;	/* The sum of the sizes of the commands */
	unsigned int num;
	bool all;
};

static struct ranges_test_cover ranges_test_read(struct arm_smmu_fake *fake, u64 iova,
						 unsigned int tg, size_t granule, bool leaf)
{
	struct ranges_test_cover cover = { .next = iova };
	struct kunit *test = fake->test;
	struct arm_smmu_cmd cmd;

	while (arm_smmu_fake_next_cmd(fake, &cmd)) {
		u64 start = cmd.data[1] & GENMASK_ULL(63, 12), size = granule;
		u64 tg_code = FIELD_GET(CMDQ_TLBI_1_TG, cmd.data[1]);
		u64 ttl = FIELD_GET(CMDQ_TLBI_1_TTL, cmd.data[1]);
		u8 op = FIELD_GET(CMDQ_0_OP, cmd.data[0]);

		if (op == CMDQ_OP_CMD_SYNC) {
			continue;
		} else if (op == CMDQ_OP_ATC_INV) {
			u8 shift = FIELD_GET(CMDQ_ATC_1_SIZE, cmd.data[1]);

			size = (u64)SZ_4K << shift;
			cover.all |= shift == 52;
			KUNIT_EXPECT_EQ(test, start & (size - 1), 0);
		} else if (op == CMDQ_OP_TLBI_S12_VMALL) {
			cover.all = true;
		} else if (tg_code) {
			u64 num = FIELD_GET(CMDQ_TLBI_0_NUM, cmd.data[0]);
			u64 scale = FIELD_GET(CMDQ_TLBI_0_SCALE, cmd.data[0]);
			u8 level = 3 - (ilog2(granule) - tg) / (tg - 3);

			size = (num + 1) << (scale + tg);
			KUNIT_EXPECT_EQ(test, tg_code, tg / 2 - 5);
			/* ILLEGAL. Without DS, SCALE has 5 bits. */
			KUNIT_EXPECT_TRUE(test, ttl || num || scale);
			KUNIT_EXPECT_LE(test, scale, 31);
			KUNIT_EXPECT_EQ(test, ttl, leaf ? level : 0);
		} else {
			KUNIT_EXPECT_EQ(test, ttl, 0);
		}
		if (start <= cover.next)
			cover.next = max(cover.next, start + size);
		cover.size += size;
		cover.num++;
	}
	return cover;
}

static void ranges_test_range(struct queue_test *qt, u64 iova, u64 size, unsigned int tg,
			      size_t granule, bool leaf)
{
	bool ranges = qt->fakes[0]->smmu.features & ARM_SMMU_FEAT_RANGE_INV;
	bool ats = !arm_smmu_fake_invs(&qt->smmu_domain->domain)->inv[0].pgsize;
	struct ranges_test_cover cover;
	struct kunit *test = qt->test;

	arm_smmu_domain_inv_range(qt->smmu_domain, iova, size, granule, leaf);
	cover = ranges_test_read(qt->fakes[0], iova, tg, granule, leaf);
	if (cover.all) {
		/* As much as there is, or too many commands without ranges */
		KUNIT_EXPECT_EQ(test, cover.num, 1);
		KUNIT_EXPECT_GE(test, size, ats ? BIT_ULL(51) :
				ranges ? BIT_ULL(52) + 1 : 1ULL << (2 * tg - 3));
		return;
	}
	KUNIT_ASSERT_TRUE_MSG(test, cover.next >= iova + size && cover.size <= 2 * size,
			      "iova %#llx, size %#llx, granule %#zx", iova, size, granule);
	if (ats || ranges)
		KUNIT_EXPECT_LE(test, cover.num, ats ? 2 : 24);
}

static u64 ranges_test_rnd(struct rnd_state *rnd, unsigned int high, unsigned int low)
{
	u64 rnd_64 = (u64)prandom_u32_state(rnd) << 32 | prandom_u32_state(rnd);

	return rnd_64 & GENMASK_ULL(high, low);
}

static const struct ranges_test_kind {
	const char *name;
	enum arm_smmu_inv_type type;
	u32 features;
	unsigned int rounds;
} ranges_test_kinds[] = {
	{ "stage 1", INV_TYPE_S1_ASID, 0, 100 },
	{ "stage 1, ranges", INV_TYPE_S1_ASID, ARM_SMMU_FEAT_RANGE_INV, 300 },
	{ "stage 2", INV_TYPE_S2_VMID, 0, 100 },
	{ "stage 2, ranges", INV_TYPE_S2_VMID, ARM_SMMU_FEAT_RANGE_INV, 300 },
	{ "ATC", INV_TYPE_ATS, 0, 300 },
};

KUNIT_ARRAY_PARAM_DESC(ranges_test_kind, ranges_test_kinds, name);

/* From one page to the whole address space, all of a range is covered */
static void ranges_test_sizes(struct kunit *test)
{
	const struct ranges_test_kind *kind = test->param_value;
	struct queue_test *qt = queue_test_create(test, 1, 0);
	struct arm_smmu_inv *inv = arm_smmu_fake_invs(&qt->smmu_domain->domain)->inv;
	struct rnd_state rnd;
	unsigned int tg, i;

	qt->fakes[0]->smmu.features |= kind->features;
	queue_test_add_all(qt, kind->type);
	prandom_seed_state(&rnd, 14);
	for (tg = 12; tg <= 16; tg += 2) {
		/* In a union with the PASID */
		inv->pgsize = kind->type == INV_TYPE_ATS ? 0 : tg;
		for (i = 0; i < kind->rounds; i++) {
			/* Pages, and blocks of level 2 and 1 */
			unsigned int shift = tg + i % 3 * (tg - 3);
			unsigned int bit = shift + i / 3 % (53 - shift);
			u64 size = 1ULL << bit, iova;

			/* No blocks of 64 GiB with 16 KiB pages */
			if (tg == 14 && i % 3 == 2)
				continue;
			/* The fake SMMU remembers 4096 commands */
			if (!kind->features && bit > shift + 9 && (i % 3 || bit < 2 * tg - 3))
				continue;
			if (bit < 52 && i % 4)
				size |= i % 4 == 1 ? 1ULL << shift :
						     ranges_test_rnd(&rnd, bit, shift);
			iova = ranges_test_rnd(&rnd, 51, shift);
			if (iova + size > BIT_ULL(52))
				iova = 0;
			ranges_test_range(qt, iova, size, tg, 1ULL << shift, i % 3 || i & 1);
		}
	}
}

/* The bits of a page and of a block are cleared, and without any nothing is done */
static void ranges_test_dirty(struct kunit *test)
{
	struct arm_smmu_fake *fake = arm_smmu_fake_create(test, TEST_SHIFT);
	const size_t size = SZ_2M + SZ_4K;
	struct iommu_iotlb_gather gather;
	struct iommu_dirty_bitmap dirty;
	struct arm_smmu_fake_master *fm;
	struct ranges_test_cover cover;
	struct iommu_domain *domain;
	unsigned int i;

	fake->smmu.features |= ARM_SMMU_FEAT_HA | ARM_SMMU_FEAT_HD | ARM_SMMU_FEAT_RANGE_INV;
	fm = arm_smmu_fake_add_master(fake, 1, 0);
	domain = arm_smmu_fake_alloc_domain(fm, IOMMU_HWPT_ALLOC_DIRTY_TRACKING);
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(fm, domain));
	KUNIT_ASSERT_EQ(test, 0, iommu_map(domain, TEST_IOVA, TEST_IOVA, size,
					   IOMMU_READ | IOMMU_WRITE, GFP_KERNEL));
	/* A new mapping is dirty */
	for (i = 0; i < 2; i++) {
		arm_smmu_fake_drop_cmds(fake);
		iommu_dirty_bitmap_init(&dirty, NULL, &gather);
		KUNIT_ASSERT_EQ(test, 0, domain->dirty_ops->read_and_clear_dirty(domain, TEST_IOVA,
										 size, 0, &dirty));
		iommu_iotlb_sync(domain, &gather);
		cover = ranges_test_read(fake, TEST_IOVA, 12, SZ_4K, false);
		KUNIT_EXPECT_EQ(test, !i, cover.num > 0);
		KUNIT_EXPECT_LE(test, cover.num, 2);
	}
}

static struct kunit_case queue_test_cases[] = {
	KUNIT_CASE(queue_test_overlap),
	KUNIT_CASE(queue_test_blocked),
	KUNIT_CASE(queue_test_full_late),
	KUNIT_CASE(queue_test_mixed),
	KUNIT_CASE(queue_test_nothing),
	KUNIT_CASE(queue_test_late_msi),
	KUNIT_CASE(queue_test_timeout),
	KUNIT_CASE(queue_test_error),
	KUNIT_CASE(queue_test_one_queue),
	KUNIT_CASE(queue_test_detach_ats),
	KUNIT_CASE(queue_test_attach_ats),
	{}
};

static struct kunit_suite queue_test_suite = {
	.name = "arm-smmu-v3-queue",
	.suite_init = arm_smmu_fake_suite_init,
	.suite_exit = arm_smmu_fake_suite_exit,
	.test_cases = queue_test_cases,
};

static struct kunit_case ranges_test_cases[] = {
	KUNIT_CASE_PARAM(ranges_test_sizes, ranges_test_kind_gen_params),
	KUNIT_CASE(ranges_test_dirty),
	{}
};

static struct kunit_suite ranges_test_suite = {
	.name = "arm-smmu-v3-ranges",
	.suite_init = arm_smmu_fake_suite_init,
	.suite_exit = arm_smmu_fake_suite_exit,
	.test_cases = ranges_test_cases,
};

kunit_test_suites(&queue_test_suite, &ranges_test_suite);
