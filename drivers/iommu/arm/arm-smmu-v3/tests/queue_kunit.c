// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of the command queues: invalidations that go to several SMMUs at
 * the same time, timeouts, errors, MSIs, full queues and errata. They run on fake
 * SMMUs in virtual time.
 */
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/prandom.h>
#include <linux/sched.h>

#include "fake.h"

/* A batch and its CMD_SYNC do not fit into a smaller queue */
#define TEST_SHIFT	7
#define TEST_QUEUE	128
#define TEST_SID	3
#define TEST_IOVA	SZ_1G
#define TEST_PAGES	(CMDQ_BATCH_ENTRIES + 2)
#define TEST_NSECS	(1000 * NSEC_PER_USEC)
#define TEST_USECS	1000
#define TEST_TIMEOUT	(ARM_SMMU_POLL_TIMEOUT_US * NSEC_PER_USEC)

#define TEST_MAX_SMMUS	18

#define TEST_STRESS_SMMUS	8
#define TEST_STRESS_WORKERS	6
#define TEST_STRESS_ROUNDS	30

/* A domain whose array the test writes, in any order */
static struct arm_smmu_domain *queue_test_alloc(struct kunit *test, size_t max)
{
	struct arm_smmu_domain *smmu_domain;
	struct arm_smmu_invs *invs;

	smmu_domain = kunit_kzalloc(test, sizeof(*smmu_domain), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, smmu_domain);
	invs = kunit_kzalloc(test, struct_size(invs, inv, max), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, invs);
	invs->max_invs = max;
	rcu_assign_pointer(smmu_domain->invs, invs);
	return smmu_domain;
}

static void queue_test_add(struct arm_smmu_domain *smmu_domain,
			   struct arm_smmu_fake *fake,
			   enum arm_smmu_inv_type type, u32 id)
{
	static const u8 opcodes[] = {
		[INV_TYPE_S1_ASID] = CMDQ_OP_TLBI_NH_VA,
		[INV_TYPE_S2_VMID] = CMDQ_OP_TLBI_S2_IPA,
		[INV_TYPE_S2_VMID_VSMMU] = CMDQ_OP_TLBI_S2_IPA,
		[INV_TYPE_S2_VMID_S1_CLEAR] = CMDQ_OP_TLBI_NH_ALL,
		[INV_TYPE_ATS_FULL] = CMDQ_OP_ATC_INV,
	};
	const bool s1 = type == INV_TYPE_S1_ASID;
	struct arm_smmu_invs *invs = arm_smmu_fake_invs(&smmu_domain->domain);

	invs->inv[invs->num_invs++] = (struct arm_smmu_inv){
		.smmu = &fake->smmu,
		.type = type,
		.size_opcode = opcodes[type],
		.nsize_opcode = s1 ? CMDQ_OP_TLBI_NH_ASID :
				     CMDQ_OP_TLBI_S12_VMALL,
		.id = id,
		.pgsize = ilog2(SZ_4K),
		.users = 1,
	};
}

static void queue_test_inv(struct arm_smmu_domain *smmu_domain,
			   unsigned int num_pages)
{
	arm_smmu_domain_inv_range(smmu_domain, TEST_IOVA, num_pages * SZ_4K,
				  SZ_4K, true);
}

static void queue_test_create(struct kunit *test, struct arm_smmu_fake **fakes,
			      unsigned int num, unsigned int shift,
			      unsigned int usecs)
{
	unsigned int i;

	for (i = 0; i < num; i++) {
		fakes[i] = arm_smmu_fake_create(test, shift);
		arm_smmu_fake_queue_set_time(&fakes[i]->queue, usecs, 0);
	}
}

/* Nothing is left when the driver has returned, and no wait has timed out */
static void queue_test_expect_idle(struct kunit *test,
				   struct arm_smmu_fake **fakes,
				   unsigned int num, unsigned int num_timeouts)
{
	struct arm_smmu_fake_queue *fq;
	unsigned int i;

	KUNIT_EXPECT_EQ(test, arm_smmu_fake_num_timeouts(), num_timeouts);
	for (i = 0; i < num; i++) {
		list_for_each_entry(fq, &fakes[i]->queues, list) {
			KUNIT_EXPECT_EQ(test, 0,
					atomic_read(&fq->cmdq->lock));
			KUNIT_EXPECT_EQ(test, 0,
					arm_smmu_fake_queue_pending(fq));
		}
	}
}

struct queue_test_count {
	unsigned int tlbis;
	unsigned int atcs;
	unsigned int syncs;
};

/* Count the commands of an SMMU since the last call */
static struct queue_test_count queue_test_read(struct arm_smmu_fake *fake,
					       bool in_turn)
{
	struct queue_test_count count = {};
	struct arm_smmu_cmd cmd;
	u64 done = 0;

	while (arm_smmu_fake_next_cmd(fake, &cmd)) {
		/* It was issued when all before it was complete */
		if (in_turn)
			KUNIT_EXPECT_GE(fake->test, arm_smmu_fake_issued(fake),
					done);
		switch (FIELD_GET(CMDQ_0_OP, cmd.data[0])) {
		case CMDQ_OP_CMD_SYNC:
			count.syncs++;
			done = arm_smmu_fake_time(fake);
			break;
		case CMDQ_OP_ATC_INV:
			count.atcs++;
			break;
		default:
			count.tlbis++;
			break;
		}
	}
	return count;
}

static void queue_test_expect(struct kunit *test, struct arm_smmu_fake *fake,
			      unsigned int tlbis, unsigned int atcs,
			      unsigned int syncs)
{
	struct queue_test_count count = queue_test_read(fake, true);

	KUNIT_EXPECT_EQ(test, count.tlbis, tlbis);
	KUNIT_EXPECT_EQ(test, count.atcs, atcs);
	KUNIT_EXPECT_EQ(test, count.syncs, syncs);
}

/* A task that calls work() once, on the last CPU */
struct queue_test_task {
	void (*work)(struct queue_test_task *task);
	struct task_struct *kthread;
	struct arm_smmu_domain *smmu_domain;
	struct arm_smmu_fake *fake;
	unsigned int num;
};

static int queue_test_run(void *data)
{
	struct queue_test_task *task = data;

	task->work(task);
	return 0;
}

static void queue_test_do_inv(struct queue_test_task *task)
{
	queue_test_inv(task->smmu_domain, task->num);
}

/* Without a CMD_SYNC */
static void queue_test_issue(struct arm_smmu_fake *fake, unsigned int num)
{
	struct arm_smmu_cmd cmd = { { CMDQ_OP_TLBI_NH_ASID } };

	while (num--)
		arm_smmu_cmdq_issue_cmd_p(&fake->smmu, &cmd, false);
}

static struct queue_test_task *
queue_test_start_inv(struct kunit *test, struct arm_smmu_domain *smmu_domain,
		     unsigned int num_pages)
{
	struct queue_test_task *task;

	task = kunit_kzalloc(test, sizeof(*task), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, task);
	task->work = queue_test_do_inv;
	task->smmu_domain = smmu_domain;
	task->num = num_pages;
	task->kthread = arm_smmu_fake_run_task(test, queue_test_run, task);
	return task;
}

/* Wait for a queue to have commands that are not consumed */
static void queue_test_wait_pending(struct arm_smmu_fake *fake)
{
	while (!arm_smmu_fake_queue_pending(&fake->queue))
		usleep_range(50, 100);
}

/* Three phases, in each of which all SMMUs work at the same time */
static void queue_test_overlap(struct kunit *test)
{
	static const enum arm_smmu_inv_type phases[] = {
		INV_TYPE_S2_VMID_VSMMU, INV_TYPE_S2_VMID_S1_CLEAR,
		INV_TYPE_ATS_FULL,
	};
	const unsigned int num = *(const unsigned int *)test->param_value;
	const unsigned int num_phases = ARRAY_SIZE(phases);
	/* A pass has no room for more */
	const unsigned int rounds = DIV_ROUND_UP(num, CMDQ_PASS_SYNCS);
	struct arm_smmu_domain *smmu_domain =
		queue_test_alloc(test, num * num_phases);
	struct arm_smmu_fake *fakes[TEST_MAX_SMMUS];
	u64 nsecs, start, first, last, end = 0;
	struct arm_smmu_cmd cmd;
	unsigned int i, j;

	queue_test_create(test, fakes, num, TEST_SHIFT, TEST_USECS);
	for (i = 0; i < num_phases; i++)
		for (j = 0; j < num; j++)
			queue_test_add(smmu_domain, fakes[j], phases[i], 1);
	start = arm_smmu_fake_now();
	queue_test_inv(smmu_domain, 1);
	nsecs = arm_smmu_fake_now() - start;
	KUNIT_EXPECT_GE(test, nsecs, num_phases * rounds * TEST_NSECS);
	KUNIT_EXPECT_LT(test, nsecs, (num_phases * rounds + 1) * TEST_NSECS);
	KUNIT_EXPECT_LT(test, arm_smmu_fake_longest_wait(), 2 * TEST_NSECS);
	queue_test_expect_idle(test, fakes, num, 0);

	for (i = 0; i < num_phases; i++) {
		first = U64_MAX;
		last = 0;
		for (j = 0; j < num; j++) {
			KUNIT_ASSERT_TRUE(test, arm_smmu_fake_next_cmd(fakes[j],
								       &cmd));
			first = min(first, arm_smmu_fake_issued(fakes[j]));
			KUNIT_ASSERT_TRUE(test, arm_smmu_fake_next_cmd(fakes[j],
								       &cmd));
			KUNIT_EXPECT_EQ(test, cmd.data[0] & CMDQ_0_OP,
					CMDQ_OP_CMD_SYNC);
			last = max(last, arm_smmu_fake_time(fakes[j]));
		}
		/* The phase before is complete on all SMMUs */
		KUNIT_EXPECT_GE(test, first, end);
		end = last;
	}
	for (j = 0; j < num; j++)
		queue_test_expect(test, fakes[j], 0, 0, 0);
}

static const unsigned int queue_test_nums[] = { 1, 2, TEST_MAX_SMMUS };

static void queue_test_num_desc(const unsigned int *num, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%u SMMUs", *num);
}

KUNIT_ARRAY_PARAM(queue_test_nums, queue_test_nums, queue_test_num_desc);

/* A task that waits for a slow SMMU has released the queues of the others */
static void queue_test_release(struct kunit *test)
{
	struct arm_smmu_domain *smmu_domain = queue_test_alloc(test, 3);
	struct queue_test_task *task;
	struct arm_smmu_fake *fakes[3];
	unsigned int i;

	queue_test_create(test, fakes, 3, TEST_SHIFT, 0);
	for (i = 0; i < 3; i++)
		queue_test_add(smmu_domain, fakes[i], INV_TYPE_S1_ASID, 1);
	arm_smmu_fake_stop(fakes[1], 0);
	arm_smmu_fake_freeze();
	task = queue_test_start_inv(test, smmu_domain, 1);
	queue_test_wait_pending(fakes[1]);

	/* Needs space that only the task can free while it holds the queue */
	queue_test_issue(fakes[0], 2 * TEST_QUEUE);
	queue_test_issue(fakes[2], 2 * TEST_QUEUE);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_queue_pending(&fakes[1]->queue), 2);
	arm_smmu_fake_start(fakes[1]);
	arm_smmu_fake_thaw();
	arm_smmu_fake_join_task(test, task->kthread);
	queue_test_expect_idle(test, fakes, 3, 0);
}

/*
 * A queue is full for some time. A task that waits for space in it does not hold
 * what others need, and goes on when there is space.
 */
static void queue_test_full(struct kunit *test)
{
	struct arm_smmu_domain *smmu_domain = queue_test_alloc(test, 3);
	struct queue_test_task *task;
	struct arm_smmu_fake *fakes[3];
	unsigned int i;

	queue_test_create(test, fakes, 3, TEST_SHIFT, 0);
	for (i = 0; i < 3; i++)
		queue_test_add(smmu_domain, fakes[i], INV_TYPE_S1_ASID, 1);
	arm_smmu_fake_stop(fakes[1], 0);
	queue_test_issue(fakes[1], TEST_QUEUE);
	arm_smmu_fake_freeze();
	task = queue_test_start_inv(test, smmu_domain, TEST_PAGES);
	while (!arm_smmu_fake_num_consumed(fakes[0], &(u64){ 0 }))
		usleep_range(50, 100);

	queue_test_issue(fakes[0], 2 * TEST_QUEUE);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_queue_pending(&fakes[1]->queue),
			TEST_QUEUE);
	KUNIT_EXPECT_EQ(test, 0,
			arm_smmu_fake_num_consumed(fakes[2], &(u64){ 0 }));
	arm_smmu_fake_start(fakes[1]);
	arm_smmu_fake_thaw();
	arm_smmu_fake_join_task(test, task->kthread);
	queue_test_expect_idle(test, fakes, 3, 0);
	queue_test_expect(test, fakes[1], TEST_QUEUE + TEST_PAGES, 0, 1);
	queue_test_expect(test, fakes[2], TEST_PAGES, 0, 1);
}

/*
 * A task that waits for space reads CONS in each turn, also after a timeout. No
 * other task does so for it.
 */
static void queue_test_full_late(struct kunit *test)
{
	static const unsigned int usecs[] = { TEST_USECS, 5 * USEC_PER_SEC };
	struct arm_smmu_fake *fake = arm_smmu_fake_create(test, TEST_SHIFT);
	u64 nsecs;
	int i;

	for (i = 0; i < ARRAY_SIZE(usecs); i++) {
		arm_smmu_fake_queue_stall(&fake->queue, 0, usecs[i]);
		queue_test_issue(fake, TEST_QUEUE);
		nsecs = arm_smmu_fake_now();
		queue_test_issue(fake, 1);
		nsecs = arm_smmu_fake_now() - nsecs;
		KUNIT_EXPECT_GE(test, nsecs, usecs[i] * NSEC_PER_USEC);
		KUNIT_EXPECT_LT(test, nsecs,
				(usecs[i] + TEST_USECS) * NSEC_PER_USEC);
		queue_test_expect(test, fake, TEST_QUEUE + 1, 0, 0);
		KUNIT_EXPECT_EQ(test, 0, atomic_read(&fake->smmu.cmdq.lock));
	}
}

static const struct queue_test_dead {
	const char *name;
	unsigned int num_smmus;
	/* SMMUs that hang, and those of them that write MSIs otherwise */
	u32 mask;
	u32 msis;
	/* Number of timeouts that the invalidation takes, and of invalidations */
	unsigned int waits;
	unsigned int rounds;
} queue_test_deads[] = {
	{
		/* One is not known as dead in the next phase */
		.name = "more than a pass has room for",
		.num_smmus = 8,
		.mask = GENMASK(CMDQ_PASS_DEAD + 1, 1),
		.waits = 3,
		.rounds = 1,
	}, {
		.name = "one",
		.num_smmus = 8,
		.mask = BIT(3),
		.waits = 1,
		.rounds = 2,
	}, {
		.name = "the last",
		.num_smmus = 8,
		.mask = BIT(7),
		.waits = 1,
		.rounds = 1,
	}, {
		.name = "two",
		.num_smmus = 8,
		.mask = BIT(2) | BIT(5),
		.waits = 1,
		.rounds = 1,
	}, {
		/* No other SMMU is held up */
		.name = "the only one",
		.num_smmus = 1,
		.mask = BIT(0),
		.waits = 3,
		.rounds = 1,
	}, {
		.name = "no MSI",
		.num_smmus = 2,
		.mask = BIT(1),
		.msis = BIT(1),
		.waits = 1,
		.rounds = 1,
	}, {
		.name = "two of many",
		.num_smmus = TEST_MAX_SMMUS,
		.mask = BIT(CMDQ_PASS_SYNCS - 1) | BIT(TEST_MAX_SMMUS - 1),
		.waits = 2,
		.rounds = 1,
	},
};

KUNIT_ARRAY_PARAM_DESC(queue_test_dead, queue_test_deads, name);

/*
 * SMMUs that hang and are waited for at the same time cost one timeout in all.
 * The others and the SMMUs that hang get all commands.
 */
static void queue_test_dead(struct kunit *test)
{
	static const enum arm_smmu_inv_type types[] = {
		INV_TYPE_S2_VMID_VSMMU, INV_TYPE_S2_VMID_S1_CLEAR,
		INV_TYPE_ATS_FULL,
	};
	const struct queue_test_dead *param = test->param_value;
	const unsigned int num = param->num_smmus;
	struct arm_smmu_domain *smmu_domain =
		queue_test_alloc(test, num * ARRAY_SIZE(types));
	unsigned int i, j, round, timeouts = 0;
	struct arm_smmu_fake *fakes[TEST_MAX_SMMUS];
	u64 start, nsecs;

	queue_test_create(test, fakes, num, TEST_SHIFT, 0);
	for (i = 0; i < ARRAY_SIZE(types); i++)
		for (j = 0; j < num; j++)
			queue_test_add(smmu_domain, fakes[j], types[i], 1);
	for (i = 0; i < num; i++) {
		if (param->msis & BIT(i))
			fakes[i]->smmu.options |= ARM_SMMU_OPT_MSIPOLL;
		if (param->mask & BIT(i))
			arm_smmu_fake_stop(fakes[i], 0);
	}

	/* The next invalidation does not know of it and has to find out */
	for (round = 1; round <= param->rounds; round++) {
		start = arm_smmu_fake_now();
		queue_test_inv(smmu_domain, 1);
		nsecs = arm_smmu_fake_now() - start;
		KUNIT_EXPECT_GE(test, nsecs, param->waits * TEST_TIMEOUT);
		KUNIT_EXPECT_LT(test, nsecs, (param->waits + 1) * TEST_TIMEOUT);
		timeouts += param->waits;
		KUNIT_EXPECT_EQ(test, arm_smmu_fake_num_timeouts(), timeouts);
		for (i = 0; i < num; i++) {
			KUNIT_EXPECT_EQ(test, 0,
					atomic_read(&fakes[i]->smmu.cmdq.lock));
			KUNIT_EXPECT_EQ(test, param->mask & BIT(i) ? round * 6 : 0,
					arm_smmu_fake_queue_pending(&fakes[i]->queue));
		}
	}

	for (i = 0; i < num; i++)
		arm_smmu_fake_start(fakes[i]);
	for (i = 0; i < num; i++) {
		struct queue_test_count count = queue_test_read(fakes[i], false);

		KUNIT_EXPECT_EQ(test, count.syncs, 3 * param->rounds);
		KUNIT_EXPECT_EQ(test, count.tlbis, 2 * param->rounds);
		KUNIT_EXPECT_EQ(test, count.atcs, param->rounds);
	}
	queue_test_inv(smmu_domain, 1);
	queue_test_expect_idle(test, fakes, num, timeouts);
	for (i = 0; i < num; i++)
		queue_test_expect(test, fakes[i], 2, 1, 3);
}

static bool queue_test_is_nh_va(struct arm_smmu_cmd *cmd)
{
	return FIELD_GET(CMDQ_0_OP, cmd->data[0]) == CMDQ_OP_TLBI_NH_VA;
}

static struct arm_smmu_fake_queue *
queue_test_add_vcmdq(struct arm_smmu_fake *fake, unsigned int shift)
{
	fake->smmu.options |= ARM_SMMU_OPT_TEGRA241_CMDQV;
	return arm_smmu_fake_add_queue(fake, shift, queue_test_is_nh_va);
}

/* A queue that hangs says nothing of another queue of the SMMU */
static void queue_test_dead_vcmdq(struct kunit *test)
{
	struct arm_smmu_domain *smmu_domain = queue_test_alloc(test, 2);
	struct arm_smmu_fake *fake = arm_smmu_fake_create(test, TEST_SHIFT);
	struct arm_smmu_fake_queue *vcmdq =
		queue_test_add_vcmdq(fake, TEST_SHIFT);

	queue_test_add(smmu_domain, fake, INV_TYPE_S1_ASID, 1);
	queue_test_add(smmu_domain, fake, INV_TYPE_ATS_FULL, 1);
	arm_smmu_fake_queue_stop(vcmdq, 0);
	queue_test_inv(smmu_domain, 1);
	queue_test_expect(test, fake, 0, 1, 1);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_queue_pending(vcmdq), 2);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_num_timeouts(), 1);
	arm_smmu_fake_queue_start(vcmdq);
	queue_test_expect_idle(test, &fake, 1, 1);
}

/*
 * Kinds of SMMU. The numbers of commands and CMD_SYNCs are those of an SMMU
 * without errata, and of one where CFGI and TLBI have to be repeated.
 */
static const struct queue_test_kind {
	const char *name;
	u32 features;
	u32 options;
	bool vcmdq;
	unsigned int num_ats;
	struct queue_test_count once;
	struct queue_test_count repeated;
} queue_test_kinds[] = {
	{
		.name = "usual",
		.once = { 66, 0, 1 },
		.repeated = { 132, 0, 4 },
	}, {
		.name = "many streams",
		.num_ats = 66,
		.once = { 66, 66, 2 },
		.repeated = { 132, 66, 5 },
	}, {
		.name = "FORCE_SYNC",
		.options = ARM_SMMU_OPT_CMDQ_FORCE_SYNC,
		.num_ats = 66,
		.once = { 66, 66, 4 },
		.repeated = { 132, 66, 6 },
	}, {
		.name = "MSI",
		.options = ARM_SMMU_OPT_MSIPOLL,
		.num_ats = 1,
		.once = { 66, 1, 2 },
		.repeated = { 132, 1, 5 },
	}, {
		.name = "SEV",
		.features = ARM_SMMU_FEAT_SEV,
		.num_ats = 1,
		.once = { 66, 1, 2 },
		.repeated = { 132, 1, 5 },
	}, {
		/* Has a TLBI for each queue */
		.name = "VCMDQ",
		.vcmdq = true,
		.num_ats = 1,
		.once = { 132, 1, 3 },
		.repeated = { 264, 1, 9 },
	},
};

/* All kinds of SMMU in one pass. Each gets what it would get alone. */
static void queue_test_mixed(struct kunit *test)
{
	const bool repeat = *(const bool *)test->param_value;
	const unsigned int num = ARRAY_SIZE(queue_test_kinds), shift = 9;
	struct arm_smmu_domain *smmu_domain = queue_test_alloc(test, num * 70);
	struct arm_smmu_fake *fakes[ARRAY_SIZE(queue_test_kinds)];
	unsigned int i, j;

	queue_test_create(test, fakes, num, shift, TEST_USECS);
	for (i = 0; i < num; i++) {
		const struct queue_test_kind *kind = &queue_test_kinds[i];

		fakes[i]->smmu.features |= kind->features;
		fakes[i]->smmu.options |= kind->options;
		if (kind->vcmdq)
			arm_smmu_fake_queue_set_time(queue_test_add_vcmdq(fakes[i],
									  shift),
						     TEST_USECS, 0);
		queue_test_add(smmu_domain, fakes[i], INV_TYPE_S1_ASID, 1);
		if (kind->vcmdq)
			queue_test_add(smmu_domain, fakes[i], INV_TYPE_S2_VMID,
				       1);
	}
	for (i = 0; i < num; i++)
		for (j = 0; j < queue_test_kinds[i].num_ats; j++)
			queue_test_add(smmu_domain, fakes[i], INV_TYPE_ATS_FULL,
				       j);

	arm_smmu_fake_set_repeat(test, repeat);
	queue_test_inv(smmu_domain, TEST_PAGES);
	queue_test_expect_idle(test, fakes, num, 0);
	for (i = 0; i < num; i++) {
		const struct queue_test_kind *kind = &queue_test_kinds[i];
		const struct queue_test_count *count =
			repeat ? &kind->repeated : &kind->once;

		kunit_info(test, "%s", kind->name);
		queue_test_expect(test, fakes[i], count->tlbis, count->atcs,
				  count->syncs);
	}
}

static const bool queue_test_repeats[] = { false, true };

static void queue_test_repeat_desc(const bool *repeat, char *desc)
{
	strscpy(desc, *repeat ? "repeated" : "no erratum",
		KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(queue_test_repeats, queue_test_repeats,
		  queue_test_repeat_desc);

/*
 * The SMMU that ends a phase may have nothing to do in it: it has no ranges and
 * needs no TLBI of stage 1 after one of everything.
 */
static void queue_test_nothing(struct kunit *test)
{
	struct arm_smmu_domain *smmu_domain = queue_test_alloc(test, 4);
	struct arm_smmu_fake *fakes[2];
	bool irqs_off;
	int i;

	queue_test_create(test, fakes, 2, TEST_SHIFT, TEST_USECS);
	fakes[0]->smmu.features |= ARM_SMMU_FEAT_RANGE_INV;
	for (i = 0; i < 2; i++)
		queue_test_add(smmu_domain, fakes[i], INV_TYPE_S2_VMID_VSMMU, 1);
	for (i = 0; i < 2; i++)
		queue_test_add(smmu_domain, fakes[i], INV_TYPE_S2_VMID_S1_CLEAR,
			       1);

	queue_test_inv(smmu_domain, SZ_2M / SZ_4K);
	irqs_off = irqs_disabled();
	local_irq_enable();
	KUNIT_EXPECT_FALSE(test, irqs_off);
	queue_test_expect_idle(test, fakes, 2, 0);
	queue_test_expect(test, fakes[0], 2, 0, 2);
	queue_test_expect(test, fakes[1], 1, 0, 1);
}

/* The MSI is waited for, among others and alone. CONS comes before. */
static void queue_test_msi(struct kunit *test)
{
	struct arm_smmu_fake *fakes[2];
	u64 start;
	int i;

	queue_test_create(test, fakes, 2, TEST_SHIFT, 0);
	fakes[0]->smmu.options |= ARM_SMMU_OPT_MSIPOLL;
	arm_smmu_fake_queue_set_time(&fakes[0]->queue, 0, TEST_USECS);

	for (i = 0; i < 2; i++) {
		struct arm_smmu_domain *smmu_domain = queue_test_alloc(test, 2);

		queue_test_add(smmu_domain, fakes[0], INV_TYPE_S1_ASID, 1);
		if (i)
			queue_test_add(smmu_domain, fakes[1], INV_TYPE_S1_ASID,
				       1);
		start = arm_smmu_fake_now();
		queue_test_inv(smmu_domain, 1);
		KUNIT_EXPECT_GE(test, arm_smmu_fake_now() - start, TEST_NSECS);
		KUNIT_EXPECT_LT(test, arm_smmu_fake_now() - start,
				2 * TEST_NSECS);
	}
	queue_test_expect_idle(test, fakes, 2, 0);
}

/* An MSI comes after the driver has given up, and the queue goes on */
static void queue_test_msi_late(struct kunit *test)
{
	struct arm_smmu_domain *smmu_domain = queue_test_alloc(test, 2);
	struct arm_smmu_fake *fakes[2];
	u64 num_cmds = 1, sum;
	unsigned int i;

	queue_test_create(test, fakes, 2, TEST_SHIFT, 0);
	fakes[0]->smmu.options |= ARM_SMMU_OPT_MSIPOLL;
	for (i = 0; i < 2; i++)
		queue_test_add(smmu_domain, fakes[i], INV_TYPE_S1_ASID, 1);
	arm_smmu_fake_queue_set_time(&fakes[0]->queue, 0, 1500000);
	queue_test_inv(smmu_domain, 1);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_num_timeouts(), 1);
	arm_smmu_fake_queue_set_time(&fakes[0]->queue, 0, 0);

	/* The MSI comes in the first of these */
	arm_smmu_fake_set_time(fakes[1], 600000);
	for (i = 0; i < 4 * TEST_QUEUE; i++) {
		queue_test_inv(smmu_domain, 1);
		arm_smmu_fake_set_time(fakes[1], 0);
		num_cmds++;
	}
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_num_consumed(fakes[0], &sum),
			num_cmds);
	queue_test_expect_idle(test, fakes, 2, 1);
}

static const struct queue_test_error {
	const char *name;
	unsigned int err;
	u32 options;
	unsigned int tlbis;
	unsigned int syncs;
} queue_test_errors[] = {
	{
		/* The driver makes a CMD_SYNC of it */
		.name = "illegal command",
		.err = CMDQ_ERR_CERROR_ILL_IDX,
		.tlbis = 1,
		.syncs = 2,
	}, {
		.name = "illegal command, MSI",
		.err = CMDQ_ERR_CERROR_ILL_IDX,
		.options = ARM_SMMU_OPT_MSIPOLL,
		.tlbis = 1,
		.syncs = 2,
	}, {
		.name = "abort on fetch",
		.err = CMDQ_ERR_CERROR_ABT_IDX,
		.tlbis = 2,
		.syncs = 1,
	}, {
		.name = "ATC invalidation timeout",
		.err = CMDQ_ERR_CERROR_ATC_INV_IDX,
		.tlbis = 2,
		.syncs = 1,
	},
};

KUNIT_ARRAY_PARAM_DESC(queue_test_error, queue_test_errors, name);

/* An error of one SMMU, in a pass and alone, does not make a wait time out */
static void queue_test_error(struct kunit *test)
{
	const struct queue_test_error *param = test->param_value;
	struct arm_smmu_fake *fakes[2];
	int i;

	queue_test_create(test, fakes, 2, TEST_SHIFT, 0);
	fakes[0]->smmu.options |= param->options;
	for (i = 0; i < 2; i++) {
		struct arm_smmu_domain *smmu_domain = queue_test_alloc(test, 2);
		struct queue_test_count count;

		queue_test_add(smmu_domain, fakes[0], INV_TYPE_S1_ASID, 1);
		if (i)
			queue_test_add(smmu_domain, fakes[1], INV_TYPE_S1_ASID,
				       1);
		arm_smmu_fake_queue_set_error(&fakes[0]->queue, param->err, 0);
		queue_test_inv(smmu_domain, 2);
		KUNIT_EXPECT_EQ(test, fakes[0]->queue.err, 0);
		count = queue_test_read(fakes[0], false);
		KUNIT_EXPECT_EQ(test, count.tlbis, param->tlbis);
		KUNIT_EXPECT_EQ(test, count.syncs, param->syncs);
		queue_test_expect(test, fakes[1], i ? 2 : 0, 0, i);
	}
	queue_test_expect_idle(test, fakes, 2, 0);
}

static struct arm_smmu_cmdq *queue_test_second;
static unsigned int queue_test_num_lookups;

/* As if the task moved to another CPU, which has another queue, all the time */
static struct arm_smmu_cmdq *queue_test_get_cmdq(struct arm_smmu_device *smmu,
						 struct arm_smmu_cmd *cmd)
{
	return queue_test_num_lookups++ % 2 ? queue_test_second : NULL;
}

static const struct arm_smmu_impl_ops queue_test_impl_ops = {
	.get_secondary_cmdq = queue_test_get_cmdq,
};

/* All batches of an invalidation are in the queue of its CMD_SYNC */
static void queue_test_one_queue(struct kunit *test)
{
	struct arm_smmu_domain *smmu_domain = queue_test_alloc(test, 1);
	struct arm_smmu_fake *fake = arm_smmu_fake_create(test, 10);
	struct arm_smmu_fake_queue *fq = queue_test_add_vcmdq(fake, 10);
	const unsigned int num_pages = 3 * CMDQ_BATCH_ENTRIES - 1;
	u64 start = fake->log_head, i;

	fq->cmdq->supports_cmd = NULL;
	queue_test_second = fq->cmdq;
	queue_test_num_lookups = 0;
	fake->smmu.impl_ops = &queue_test_impl_ops;
	queue_test_add(smmu_domain, fake, INV_TYPE_S1_ASID, 1);
	queue_test_inv(smmu_domain, num_pages);
	fake->smmu.impl_ops = NULL;
	KUNIT_EXPECT_NE(test, queue_test_num_lookups, 0);
	KUNIT_ASSERT_EQ(test, fake->log_head, start + num_pages + 1);
	for (i = start; i < fake->log_head; i++)
		KUNIT_EXPECT_PTR_EQ(test, fake->log[i].queue,
				    fake->log[start].queue);
}

struct queue_test_detach {
	struct iommu_domain *domain;
	struct task_struct *task;
	bool done;
};

static int queue_test_unmap(void *data)
{
	struct queue_test_detach *detach = data;

	iommu_unmap(detach->domain, TEST_IOVA, SZ_4K);
	return 0;
}

/* Let the clock go on when the detach is over, or has slept for some time */
static int queue_test_thaw(void *data)
{
	struct queue_test_detach *detach = data;
	unsigned int asleep = 0;

	while (!READ_ONCE(detach->done) && asleep < 20) {
		usleep_range(1000, 2000);
		asleep = task_is_running(detach->task) ? 0 : asleep + 1;
	}
	arm_smmu_fake_thaw();
	return 0;
}

/*
 * Detach a device while an invalidation that has found it in the array waits for
 * another SMMU. With ATS, no ATC_INV may follow once the detach has returned.
 * Without ATS, the detach need not wait.
 */
static void queue_test_detach(struct kunit *test, bool ats)
{
	struct arm_smmu_fake_master *fm, *slow_fm;
	struct queue_test_detach *detach;
	struct arm_smmu_fake *fakes[2];
	struct task_struct *task, *thaw;
	struct arm_smmu_cmd cmd;

	if (num_online_cpus() < 2)
		kunit_skip(test, "needs two CPUs");
	detach = kunit_kzalloc(test, sizeof(*detach), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, detach);
	queue_test_create(test, fakes, 2, 8, 0);
	if (ats)
		fm = arm_smmu_fake_add_pci_master(fakes[0], (u32[]){ TEST_SID },
						  1, 0);
	else
		fm = arm_smmu_fake_add_master(fakes[0], TEST_SID, 0);
	slow_fm = arm_smmu_fake_add_master(fakes[1], TEST_SID, 0);
	detach->domain = arm_smmu_fake_alloc_domain(fm, 0);
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(fm, detach->domain));
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(slow_fm, detach->domain));
	KUNIT_ASSERT_EQ(test, 0,
			iommu_map(detach->domain, TEST_IOVA, SZ_1G, SZ_4K,
				  IOMMU_READ, GFP_KERNEL));
	arm_smmu_fake_queue_pending(&fakes[1]->queue);
	arm_smmu_fake_freeze();
	arm_smmu_fake_queue_stall(&fakes[1]->queue, 0, TEST_USECS);
	/* No task can be made while a CPU has its interrupts off */
	detach->task = current;
	thaw = arm_smmu_fake_create_task(test, queue_test_thaw, detach,
					 cpumask_first(cpu_online_mask));
	task = arm_smmu_fake_run_task(test, queue_test_unmap, detach);
	queue_test_wait_pending(fakes[1]);
	if (ats)
		wake_up_process(thaw);
	KUNIT_EXPECT_EQ(test, 0,
			arm_smmu_fake_attach(fm, arm_smmu_fake_blocked(fm)));
	arm_smmu_fake_drop_cmds(fakes[0]);
	WRITE_ONCE(detach->done, true);
	if (!ats) {
		KUNIT_EXPECT_EQ(test, 2,
				arm_smmu_fake_queue_pending(&fakes[1]->queue));
		arm_smmu_fake_thaw();
	}

	arm_smmu_fake_join_task(test, task);
	while (ats && arm_smmu_fake_next_cmd(fakes[0], &cmd))
		KUNIT_EXPECT_NE(test, cmd.data[0] & CMDQ_0_OP, CMDQ_OP_ATC_INV);
	queue_test_expect_idle(test, fakes, 2, 0);
}

static void queue_test_detach_ats(struct kunit *test)
{
	queue_test_detach(test, true);
}

static void queue_test_detach_no_ats(struct kunit *test)
{
	queue_test_detach(test, false);
}

struct queue_test_worker {
	struct arm_smmu_fake **fakes;
	struct arm_smmu_domain *smmu_domain;
	struct rnd_state rnd;
	u64 num_cmds[TEST_STRESS_SMMUS];
	u64 sum_cmds[TEST_STRESS_SMMUS];
};

/* Let an SMMU hang for a while, or change its speed */
static void queue_test_disturb(struct queue_test_worker *worker,
			       struct arm_smmu_fake *fake)
{
	u32 rnd = prandom_u32_state(&worker->rnd);

	if (rnd & BIT(0))
		arm_smmu_fake_queue_set_time(&fake->queue, (rnd >> 8) % 200,
					     (rnd >> 16) % 100);
	if (rnd & BIT(1))
		arm_smmu_fake_queue_stall(&fake->queue, (rnd >> 8) % TEST_QUEUE,
					  (rnd >> 16) % 2000);
}

/* Invalidate on some SMMUs in some order, or issue a single command */
static void queue_test_work_once(struct queue_test_worker *worker,
				 unsigned long iova)
{
	struct arm_smmu_domain *smmu_domain = worker->smmu_domain;
	unsigned int i, j, order[TEST_STRESS_SMMUS];
	u32 num, num_pages, num_clear = 0, num_ats = 0, rnd;

	rnd = prandom_u32_state(&worker->rnd);
	num = 1 + rnd % TEST_STRESS_SMMUS;
	num_pages = rnd & BIT(8) ? 1 : 1 + (rnd >> 9) % (2 * CMDQ_BATCH_ENTRIES);
	for (i = 0; i < TEST_STRESS_SMMUS; i++) {
		j = prandom_u32_state(&worker->rnd) % (i + 1);
		order[i] = order[j];
		order[j] = i;
	}

	if (!(rnd & GENMASK(17, 16))) {
		struct arm_smmu_cmd cmd = {
			{ CMDQ_OP_TLBI_NH_VA, iova | CMDQ_TLBI_1_LEAF },
		};

		arm_smmu_cmdq_issue_cmd_p(&worker->fakes[order[0]]->smmu, &cmd,
					  rnd & BIT(18));
		num = 1;
		num_pages = 1;
	} else {
		if (!(rnd & GENMASK(31, 30)))
			queue_test_disturb(worker, worker->fakes[order[0]]);
		arm_smmu_fake_invs(&smmu_domain->domain)->num_invs = 0;
		for (i = 0; i < num; i++)
			queue_test_add(smmu_domain, worker->fakes[order[i]],
				       INV_TYPE_S1_ASID, 1);
		/* More phases, on some of them */
		if (rnd & BIT(19))
			num_clear = 1 + (rnd >> 20) % num;
		for (i = 0; i < num_clear; i++)
			queue_test_add(smmu_domain, worker->fakes[order[i]],
				       INV_TYPE_S2_VMID_S1_CLEAR, 1);
		if (rnd & BIT(24))
			num_ats = 1 + (rnd >> 25) % num;
		for (i = 0; i < num_ats; i++)
			queue_test_add(smmu_domain, worker->fakes[order[i]],
				       INV_TYPE_ATS_FULL, 1);
		arm_smmu_domain_inv_range(smmu_domain, iova, num_pages * SZ_4K,
					  SZ_4K, true);
	}

	for (i = 0; i < num; i++) {
		worker->num_cmds[order[i]] += num_pages;
		for (j = 0; j < num_pages; j++)
			worker->sum_cmds[order[i]] +=
				(iova + j * SZ_4K) | CMDQ_TLBI_1_LEAF;
	}
	for (i = 0; i < num_clear; i++)
		worker->num_cmds[order[i]]++;
	for (i = 0; i < num_ats; i++) {
		worker->num_cmds[order[i]]++;
		worker->sum_cmds[order[i]] += ATC_INV_SIZE_ALL;
	}
}

static int queue_test_work(void *data)
{
	struct queue_test_worker *worker = data;
	unsigned long iova = TEST_IOVA;
	unsigned int i;

	for (i = 0; i < TEST_STRESS_ROUNDS; i++) {
		queue_test_work_once(worker, iova);
		iova += 2 * CMDQ_BATCH_ENTRIES * SZ_4K;
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
	struct task_struct *tasks[TEST_STRESS_WORKERS];
	struct arm_smmu_fake *fakes[TEST_STRESS_SMMUS];
	struct queue_test_worker *workers, *worker;
	unsigned int i, j, cpu = -1;
	u64 num, sum, consumed;

	workers = kunit_kcalloc(test, TEST_STRESS_WORKERS, sizeof(*workers),
				GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, workers);
	queue_test_create(test, fakes, TEST_STRESS_SMMUS, TEST_SHIFT, 0);
	for (i = 0; i < TEST_STRESS_SMMUS; i += 3)
		fakes[i]->smmu.options |= ARM_SMMU_OPT_MSIPOLL;
	fakes[1]->smmu.options |= ARM_SMMU_OPT_CMDQ_FORCE_SYNC;
	fakes[2]->smmu.features |= ARM_SMMU_FEAT_SEV;

	for (i = 0; i < TEST_STRESS_WORKERS; i++) {
		worker = &workers[i];
		worker->fakes = fakes;
		worker->smmu_domain = queue_test_alloc(test,
						       3 * TEST_STRESS_SMMUS);
		prandom_seed_state(&worker->rnd, i + 2);
		cpu = cpumask_next_wrap(cpu, cpu_online_mask);
		tasks[i] = arm_smmu_fake_create_task(test, queue_test_work,
						     worker, cpu);
	}
	for (i = 0; i < TEST_STRESS_WORKERS; i++)
		wake_up_process(tasks[i]);
	for (i = 0; i < TEST_STRESS_WORKERS; i++)
		arm_smmu_fake_join_task(test, tasks[i]);

	for (i = 0; i < TEST_STRESS_SMMUS; i++) {
		num = 0;
		sum = 0;
		for (j = 0; j < TEST_STRESS_WORKERS; j++) {
			num += workers[j].num_cmds[i];
			sum += workers[j].sum_cmds[i];
		}
		arm_smmu_fake_start(fakes[i]);
		KUNIT_EXPECT_EQ(test, num,
				arm_smmu_fake_num_consumed(fakes[i], &consumed));
		KUNIT_EXPECT_EQ(test, sum, consumed);
	}
	queue_test_expect_idle(test, fakes, TEST_STRESS_SMMUS, 0);
}

static struct kunit_case arm_smmu_v3_queue_test_cases[] = {
	KUNIT_CASE_PARAM(queue_test_overlap, queue_test_nums_gen_params),
	KUNIT_CASE(queue_test_release),
	KUNIT_CASE(queue_test_full),
	KUNIT_CASE(queue_test_full_late),
	KUNIT_CASE_PARAM(queue_test_dead, queue_test_dead_gen_params),
	KUNIT_CASE(queue_test_dead_vcmdq),
	KUNIT_CASE_PARAM(queue_test_mixed, queue_test_repeats_gen_params),
	KUNIT_CASE(queue_test_nothing),
	KUNIT_CASE(queue_test_msi),
	KUNIT_CASE(queue_test_msi_late),
	KUNIT_CASE_PARAM(queue_test_error, queue_test_error_gen_params),
	KUNIT_CASE(queue_test_one_queue),
	KUNIT_CASE(queue_test_detach_ats),
	KUNIT_CASE(queue_test_detach_no_ats),
	KUNIT_CASE(queue_test_stress),
	{}
};

static struct kunit_suite arm_smmu_v3_queue_test_suite = {
	.name = "arm-smmu-v3-queue",
	.test_cases = arm_smmu_v3_queue_test_cases,
};

kunit_test_suites(&arm_smmu_v3_queue_test_suite);
