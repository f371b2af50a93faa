// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of an invalidation that goes to several SMMUs at the same time,
 * on fake SMMUs
 */
#include <linux/delay.h>
#include <linux/iopoll.h>
#include <linux/jump_label.h>
#include <linux/kthread.h>
#include <linux/prandom.h>
#include <linux/string.h>
#include <trace/events/printk.h>

#include "arm-smmu-v3-fake.h"

/* A batch and its CMD_SYNC do not fit into a smaller queue */
#define TEST_SHIFT	7
#define TEST_QUEUE	128
#define TEST_IOVA	SZ_1G
#define TEST_PAGES	(CMDQ_BATCH_ENTRIES + 2)

#define TEST_MAX_SMMUS	20
/* Far more than anything takes, a timeout of the driver included */
#define TEST_WAIT_USECS	(3 * USEC_PER_SEC)

#define TEST_STRESS_SMMUS	8
#define TEST_STRESS_WORKERS	6
#define TEST_STRESS_MS		2500

/* How often the driver said that something of a fake SMMU had timed out */
static atomic_t pass_test_timeouts;

/* The SMMUs that a task of the test may wait for */
static struct {
	struct arm_smmu_fake *fakes[TEST_MAX_SMMUS + 1];
	unsigned int num;
} pass_test_smmus;

/* Somebody who works until he is told to stop, if not done before */
struct pass_test_task {
	struct kunit *test;
	struct task_struct *kthread;
	struct list_head list;
	void (*work)(struct pass_test_task *task);
	bool stop;
	bool done;
};

/* Those that run */
static LIST_HEAD(pass_test_tasks);

static void pass_test_console(void *unused, const char *text, size_t len)
{
	if (strnstr(text, "fake-smmu", len) && strnstr(text, " timeout", len))
		atomic_inc(&pass_test_timeouts);
}

static int pass_test_suite_init(struct kunit_suite *suite)
{
	if (!IS_ENABLED(CONFIG_TRACEPOINTS))
		return 0;
	return register_trace_console(pass_test_console, NULL);
}

static void pass_test_suite_exit(struct kunit_suite *suite)
{
	if (!IS_ENABLED(CONFIG_TRACEPOINTS))
		return;
	unregister_trace_console(pass_test_console, NULL);
	tracepoint_synchronize_unregister();
}

static int pass_test_init(struct kunit *test)
{
	atomic_set(&pass_test_timeouts, 0);
	pass_test_smmus.num = 0;
	INIT_LIST_HEAD(&pass_test_tasks);
	return 0;
}

/* For a test that knows each command: it may be a machine with the erratum */
static void pass_test_not_repeated(struct kunit *test)
{
	if (static_key_enabled(&arm_smmu_erratum_repeat_tlbi_cfgi_key))
		kunit_skip(test, "TLBIs are repeated here");
}

/* It says no more than 10 within 5 seconds */
static void pass_test_expect_timeouts(struct kunit *test, int num)
{
	if (IS_ENABLED(CONFIG_TRACEPOINTS))
		KUNIT_EXPECT_EQ(test, atomic_xchg(&pass_test_timeouts, 0), num);
}

/* A domain whose array the test writes, in any order that it likes */
static struct arm_smmu_domain *pass_test_alloc(struct kunit *test, size_t max)
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

static void pass_test_add(struct arm_smmu_domain *smmu_domain,
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

static void pass_test_invalidate(struct arm_smmu_domain *smmu_domain,
				 unsigned int num_pages)
{
	arm_smmu_domain_inv_range(smmu_domain, TEST_IOVA, num_pages * SZ_4K,
				  SZ_4K, true);
}

/* SMMUs that take time, which they do on the other CPUs */
static void pass_test_create(struct kunit *test, struct arm_smmu_fake **fakes,
			     unsigned int num, unsigned int shift,
			     unsigned int usecs)
{
	unsigned int i;

	for (i = 0; i < num; i++) {
		KUNIT_ASSERT_LT(test, pass_test_smmus.num,
				ARRAY_SIZE(pass_test_smmus.fakes));
		fakes[i] = arm_smmu_fake_create(test, shift);
		pass_test_smmus.fakes[pass_test_smmus.num++] = fakes[i];
		if (arm_smmu_fake_set_time(fakes[i], usecs))
			kunit_skip(test, "needs two CPUs");
	}
}

/* Who invalidates once, or issues somebody else's commands */
struct pass_test_once {
	struct pass_test_task task;
	struct arm_smmu_domain *smmu_domain;
	unsigned int num_pages;
	struct arm_smmu_fake *fake;
	unsigned int num_cmds;
};

static int pass_test_run(void *data)
{
	struct pass_test_task *task = data;

	task->work(task);
	WRITE_ONCE(task->done, true);
	while (!kthread_should_stop())
		usleep_range(1000, 2000);
	return 0;
}

static int pass_test_poll_done(struct pass_test_task *task)
{
	bool done;

	return read_poll_timeout(READ_ONCE, done, done, 500, TEST_WAIT_USECS,
				 false, task->done);
}

/*
 * Take the locks from whoever has them and say what is consumed. It makes sense
 * to nobody, but whoever waits for one that is never dropped goes on.
 */
static void pass_test_break(void)
{
	unsigned int i;

	for (i = 0; i < pass_test_smmus.num; i++) {
		struct arm_smmu_cmdq *cmdq =
			&pass_test_smmus.fakes[i]->smmu.cmdq;

		atomic_set(&cmdq->lock, 0);
		WRITE_ONCE(cmdq->q.llq.cons, readl(cmdq->q.cons_reg));
	}
}

/* Runs before kthread_stop(), which would wait for ever on a broken driver */
static void pass_test_end(void *data)
{
	struct pass_test_task *task = data;
	unsigned int i;

	/* It may be somebody else who ends a test that was aborted */
	WARN_ON(set_cpus_allowed_ptr(current,
				     cpumask_of(cpumask_first(cpu_online_mask))));
	WRITE_ONCE(task->stop, true);
	for (i = 0; i < pass_test_smmus.num; i++)
		arm_smmu_fake_start(pass_test_smmus.fakes[i]);
	if (!pass_test_poll_done(task))
		return;

	KUNIT_FAIL(task->test, "a task waits for ever");
	while (!READ_ONCE(task->done)) {
		pass_test_break();
		usleep_range(1000, 2000);
	}
}

/*
 * Abort the test because of a task that does not get on. First let them all
 * come to their end: another task cleans up, and nobody knows on which CPU.
 */
static void pass_test_abort(struct kunit *test)
{
	struct pass_test_task *task;

	list_for_each_entry(task, &pass_test_tasks, list)
		pass_test_end(task);
	KUNIT_FAIL_AND_ABORT(test, "a task did not get on");
}

/*
 * A task that does not run yet. It may not be made beside one that waits with
 * interrupts off, since nobody knows on which CPU it is made.
 */
static void pass_test_kthread(struct kunit *test, struct pass_test_task *task,
			      void (*work)(struct pass_test_task *task),
			      unsigned int cpu)
{
	task->test = test;
	task->work = work;
	task->kthread = arm_smmu_fake_create_task(test, pass_test_run, task,
						  cpu);
}

static void pass_test_wake(struct pass_test_task *task)
{
	list_add_tail(&task->list, &pass_test_tasks);
	wake_up_process(task->kthread);
	KUNIT_ASSERT_EQ(task->test, 0,
			kunit_add_action_or_reset(task->test, pass_test_end,
						  task));
}

static void pass_test_do_invalidate(struct pass_test_task *task)
{
	struct pass_test_once *once =
		container_of(task, struct pass_test_once, task);

	pass_test_invalidate(once->smmu_domain, once->num_pages);
}

/* On a CPU that the test does not use */
static struct pass_test_task *
pass_test_start(struct kunit *test, struct arm_smmu_domain *smmu_domain,
		unsigned int num_pages)
{
	unsigned int cpu = cpumask_first(cpu_online_mask);
	struct pass_test_once *once;

	once = kunit_kzalloc(test, sizeof(*once), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, once);
	once->smmu_domain = smmu_domain;
	once->num_pages = num_pages;

	/* It waits with interrupts off, which must not keep the test waiting */
	KUNIT_ASSERT_EQ(test, 0, set_cpus_allowed_ptr(current, cpumask_of(cpu)));
	pass_test_kthread(test, &once->task, pass_test_do_invalidate,
			  cpumask_last(cpu_online_mask));
	pass_test_wake(&once->task);
	return &once->task;
}

static void pass_test_wait_done(struct kunit *test, struct pass_test_task *task)
{
	if (pass_test_poll_done(task))
		pass_test_abort(test);
}

/* Wait for the next command to be issued */
static void pass_test_wait_cmd(struct kunit *test, struct arm_smmu_fake *fake,
			       struct arm_smmu_cmd *cmd)
{
	bool issued;

	if (read_poll_timeout(arm_smmu_fake_next_cmd, issued, issued, 500,
			      TEST_WAIT_USECS, false, fake, cmd))
		pass_test_abort(test);
}

static unsigned int pass_test_num_cmds(struct arm_smmu_fake *fake)
{
	struct arm_smmu_cmd cmd;
	unsigned int num = 0;

	while (arm_smmu_fake_next_cmd(fake, &cmd))
		num++;
	return num;
}

static void pass_test_do_issue(struct pass_test_task *task)
{
	struct pass_test_once *once =
		container_of(task, struct pass_test_once, task);
	struct arm_smmu_cmd cmd = { { CMDQ_OP_TLBI_NH_ASID } };

	/* Without a CMD_SYNC it cannot fail, and waits with interrupts on */
	while (once->num_cmds--)
		arm_smmu_cmdq_issue_cmd_p(&once->fake->smmu, &cmd, false);
}

/*
 * Somebody else's commands. Who waits for space does so for as long as there is
 * none: let another task do it, which shares the CPU of the test.
 */
static struct pass_test_task *
pass_test_prepare_issue(struct kunit *test, struct arm_smmu_fake *fake,
			unsigned int num)
{
	struct pass_test_once *once;

	once = kunit_kzalloc(test, sizeof(*once), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, once);
	once->fake = fake;
	once->num_cmds = num;
	pass_test_kthread(test, &once->task, pass_test_do_issue,
			  cpumask_first(cpu_online_mask));
	return &once->task;
}

static void pass_test_issue(struct kunit *test, struct pass_test_task *task)
{
	pass_test_wake(task);
	pass_test_wait_done(test, task);
}

/* The next command of an SMMU that hangs is issued */
static void pass_test_expect_cmd(struct kunit *test, struct arm_smmu_fake *fake,
				 u8 opcode)
{
	struct arm_smmu_cmd cmd;

	pass_test_wait_cmd(test, fake, &cmd);
	KUNIT_EXPECT_EQ(test, cmd.data[0] & CMDQ_0_OP, opcode);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_stamp(fake), 0);
}

/*
 * One command and its CMD_SYNC on each SMMU, all of which hang: they are issued
 * to all of them, and nothing more as long as one of them is not complete.
 */
static void pass_test_expect_round(struct kunit *test,
				   struct arm_smmu_fake **fakes,
				   unsigned int num, u8 opcode)
{
	unsigned int i;

	for (i = 0; i < num; i++) {
		pass_test_expect_cmd(test, fakes[i], opcode);
		pass_test_expect_cmd(test, fakes[i], CMDQ_OP_CMD_SYNC);
	}
	/* None is given up */
	for (i = 0; i < num; i++)
		KUNIT_EXPECT_EQ(test, 1,
				atomic_read(&fakes[i]->smmu.cmdq.lock));

	/* They consume what there is by now, the first one comes last */
	for (i = 1; i < num; i++)
		arm_smmu_fake_stop(fakes[i], 0);
	usleep_range(2000, 3000);
	for (i = 0; i < pass_test_smmus.num; i++)
		KUNIT_EXPECT_EQ(test, 0,
				pass_test_num_cmds(pass_test_smmus.fakes[i]));
	arm_smmu_fake_stop(fakes[0], 0);
}

/* Three phases, in each of which all SMMUs are at work at the same time */
static void pass_test_overlap(struct kunit *test)
{
	static const struct {
		enum arm_smmu_inv_type type;
		u8 opcode;
	} phases[] = {
		{ INV_TYPE_S2_VMID_VSMMU, CMDQ_OP_TLBI_S2_IPA },
		{ INV_TYPE_S2_VMID_S1_CLEAR, CMDQ_OP_TLBI_NH_ALL },
		{ INV_TYPE_ATS_FULL, CMDQ_OP_ATC_INV },
	};
	const unsigned int num = *(const unsigned int *)test->param_value;
	struct arm_smmu_domain *smmu_domain =
		pass_test_alloc(test, num * ARRAY_SIZE(phases));
	struct arm_smmu_fake **fakes;
	struct pass_test_task *task;
	unsigned int i, j;

	pass_test_not_repeated(test);
	fakes = kunit_kcalloc(test, num, sizeof(*fakes), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, fakes);
	pass_test_create(test, fakes, num, TEST_SHIFT, 0);
	for (i = 0; i < ARRAY_SIZE(phases); i++)
		for (j = 0; j < num; j++)
			pass_test_add(smmu_domain, fakes[j], phases[i].type, 1);
	for (j = 0; j < num; j++)
		arm_smmu_fake_stop(fakes[j], 0);
	task = pass_test_start(test, smmu_domain, 1);

	for (i = 0; i < ARRAY_SIZE(phases); i++)
		for (j = 0; j < num; j += CMDQ_PASS_SYNCS)
			pass_test_expect_round(test, fakes + j,
					       min(num - j, CMDQ_PASS_SYNCS),
					       phases[i].opcode);
	pass_test_wait_done(test, task);
	for (j = 0; j < num; j++)
		KUNIT_EXPECT_EQ(test, pass_test_num_cmds(fakes[j]), 0);
	pass_test_expect_timeouts(test, 0);
}

static const unsigned int pass_test_nums[] = { 2, 8, 16, TEST_MAX_SMMUS };

static void pass_test_num_desc(const unsigned int *num, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%u SMMUs", *num);
}

KUNIT_ARRAY_PARAM(pass_test_nums, pass_test_nums, pass_test_num_desc);

/* Whoever waits for a slow SMMU leaves the queues of the others alone */
static void pass_test_release(struct kunit *test)
{
	const unsigned int num = 3;
	struct arm_smmu_domain *smmu_domain = pass_test_alloc(test, num);
	struct arm_smmu_fake *fakes[3];
	struct pass_test_task *task, *issues[2];
	struct arm_smmu_cmd cmd;
	unsigned int i;

	pass_test_create(test, fakes, num, TEST_SHIFT, 0);
	for (i = 0; i < 2; i++)
		issues[i] = pass_test_prepare_issue(test, fakes[2 * i],
						    2 * TEST_QUEUE);
	for (i = 0; i < num; i++)
		pass_test_add(smmu_domain, fakes[i], INV_TYPE_S1_ASID, 1);
	arm_smmu_fake_stop(fakes[1], 0);
	task = pass_test_start(test, smmu_domain, 1);
	/* It comes last */
	pass_test_wait_cmd(test, fakes[2], &cmd);

	for (i = 0; i < 2; i++)
		pass_test_issue(test, issues[i]);
	KUNIT_EXPECT_FALSE(test, READ_ONCE(task->done));

	arm_smmu_fake_start(fakes[1]);
	pass_test_wait_done(test, task);
	pass_test_expect_timeouts(test, 0);
}

static const struct pass_test_dead {
	const char *name;
	unsigned int num_smmus;
	/* Which of them hang, and which of those write MSIs otherwise */
	u32 mask;
	u32 msis;
	/* How long a pass takes, how often it says so, and how often it is tried */
	unsigned int waits;
	unsigned int timeouts;
	unsigned int rounds;
} pass_test_deads[] = {
	{
		/* Of the fifth it does not know in the next phase */
		.name = "more than a pass has room for",
		.num_smmus = 8,
		.mask = GENMASK(CMDQ_PASS_DEAD + 1, 1),
		.waits = 3,
		.timeouts = CMDQ_PASS_DEAD + 3,
		.rounds = 1,
	}, {
		.name = "one",
		.num_smmus = 8,
		.mask = BIT(3),
		.waits = 1,
		.timeouts = 1,
		.rounds = 2,
	}, {
		.name = "the last",
		.num_smmus = 8,
		.mask = BIT(7),
		.waits = 1,
		.timeouts = 1,
		.rounds = 1,
	}, {
		.name = "two",
		.num_smmus = 8,
		.mask = BIT(2) | BIT(5),
		.waits = 1,
		.timeouts = 2,
		.rounds = 1,
	}, {
		/* As ever: nobody else has to wait for it */
		.name = "there is no other",
		.num_smmus = 1,
		.mask = BIT(0),
		.waits = 3,
		.timeouts = 3,
		.rounds = 1,
	}, {
		.name = "no MSI",
		.num_smmus = 2,
		.mask = BIT(1),
		.msis = BIT(1),
		.waits = 1,
		.timeouts = 1,
		.rounds = 1,
	}, {
		.name = "two of many",
		.num_smmus = TEST_MAX_SMMUS,
		.mask = BIT(CMDQ_PASS_SYNCS - 1) | BIT(TEST_MAX_SMMUS - 1),
		.waits = 2,
		.timeouts = 2,
		.rounds = 1,
	},
};

KUNIT_ARRAY_PARAM_DESC(pass_test_dead, pass_test_deads, name);

/*
 * SMMUs that hang and are waited for at the same time cost one timeout in all,
 * and nothing on those that do not hang
 */
static void pass_test_dead(struct kunit *test)
{
	static const struct arm_smmu_cmd cmds[] = {
		{ { CMDQ_OP_TLBI_S2_IPA | FIELD_PREP_CONST(CMDQ_TLBI_0_VMID, 1),
		    TEST_IOVA | CMDQ_TLBI_1_LEAF } },
		{ { CMDQ_OP_CMD_SYNC } },
		{ { CMDQ_OP_TLBI_NH_ALL |
		    FIELD_PREP_CONST(CMDQ_TLBI_0_VMID, 1) } },
		{ { CMDQ_OP_CMD_SYNC } },
		{ { CMDQ_OP_ATC_INV | FIELD_PREP_CONST(CMDQ_ATC_0_SID, 1),
		    ATC_INV_SIZE_ALL } },
		{ { CMDQ_OP_CMD_SYNC } },
	};
	static const enum arm_smmu_inv_type types[] = {
		INV_TYPE_S2_VMID_VSMMU, INV_TYPE_S2_VMID_S1_CLEAR,
		INV_TYPE_ATS_FULL,
	};
	const struct pass_test_dead *param = test->param_value;
	const unsigned int num = param->num_smmus;
	struct arm_smmu_domain *smmu_domain =
		pass_test_alloc(test, num * ARRAY_SIZE(types));
	struct arm_smmu_fake *fakes[TEST_MAX_SMMUS];
	unsigned int i, j, round;
	ktime_t start;
	s64 usecs;

	pass_test_not_repeated(test);
	for (i = 0; i < num; i++) {
		fakes[i] = arm_smmu_fake_create(test, TEST_SHIFT);
		if (!(param->msis & BIT(i)))
			continue;
		/* Somebody has to write it */
		if (arm_smmu_fake_set_time(fakes[i], 0))
			kunit_skip(test, "needs two CPUs");
		fakes[i]->smmu.options |= ARM_SMMU_OPT_MSIPOLL;
	}
	for (i = 0; i < ARRAY_SIZE(types); i++)
		for (j = 0; j < num; j++)
			pass_test_add(smmu_domain, fakes[j], types[i], 1);

	for (i = 0; i < num; i++)
		if (param->mask & BIT(i))
			arm_smmu_fake_stop(fakes[i], 0);

	/* Whoever invalidates next does not know of it and has to find out */
	for (round = 0; round < param->rounds; round++) {
		start = ktime_get();
		pass_test_invalidate(smmu_domain, 1);
		usecs = ktime_us_delta(ktime_get(), start);
		KUNIT_EXPECT_GE(test, usecs,
				param->waits * ARM_SMMU_POLL_TIMEOUT_US);
		KUNIT_EXPECT_LT(test, usecs,
				(param->waits + 1) * ARM_SMMU_POLL_TIMEOUT_US);
		pass_test_expect_timeouts(test, param->timeouts);
		/* What hangs may only be slow: it gets everything, too */
		for (i = 0; i < num; i++)
			arm_smmu_fake_expect_cmds(fakes[i], cmds,
						  ARRAY_SIZE(cmds));
	}

	for (i = 0; i < num; i++)
		if (param->mask & BIT(i))
			arm_smmu_fake_start(fakes[i]);
	pass_test_invalidate(smmu_domain, 1);
	for (i = 0; i < num; i++) {
		arm_smmu_fake_expect_cmds(fakes[i], cmds, ARRAY_SIZE(cmds));
		KUNIT_EXPECT_EQ(test, 0,
				atomic_read(&fakes[i]->smmu.cmdq.lock));
	}
	pass_test_expect_timeouts(test, 0);
}

/* A second queue of an SMMU, which takes one kind of command only */
struct pass_test_vcmdq {
	struct arm_smmu_impl_ops ops;
	struct arm_smmu_cmdq *cmdq;
};

static bool pass_test_vcmdq_supports(struct arm_smmu_cmd *cmd)
{
	return FIELD_GET(CMDQ_0_OP, cmd->data[0]) == CMDQ_OP_TLBI_NH_VA;
}

static struct arm_smmu_cmdq *pass_test_get_vcmdq(struct arm_smmu_device *smmu,
						 struct arm_smmu_cmd *cmd)
{
	const struct pass_test_vcmdq *vcmdq =
		container_of_const(smmu->impl_ops, struct pass_test_vcmdq, ops);

	if (!arm_smmu_cmdq_supports_cmd(vcmdq->cmdq, cmd))
		return NULL;
	return vcmdq->cmdq;
}

/* It is another fake SMMU's */
static void pass_test_set_vcmdq(struct kunit *test, struct arm_smmu_fake *fake,
				struct arm_smmu_fake *second)
{
	struct pass_test_vcmdq *vcmdq;

	vcmdq = kunit_kzalloc(test, sizeof(*vcmdq), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, vcmdq);
	vcmdq->ops.get_secondary_cmdq = pass_test_get_vcmdq;
	vcmdq->cmdq = &second->smmu.cmdq;
	vcmdq->cmdq->supports_cmd = pass_test_vcmdq_supports;
	fake->smmu.impl_ops = &vcmdq->ops;
	fake->smmu.options |= ARM_SMMU_OPT_TEGRA241_CMDQV;
}

/* That one queue hangs says nothing of the other */
static void pass_test_dead_vcmdq(struct kunit *test)
{
	static const struct arm_smmu_cmd cmds[] = {
		{ { CMDQ_OP_ATC_INV | FIELD_PREP_CONST(CMDQ_ATC_0_SID, 1),
		    ATC_INV_SIZE_ALL } },
		{ { CMDQ_OP_CMD_SYNC } },
	};
	struct arm_smmu_domain *smmu_domain = pass_test_alloc(test, 2);
	struct arm_smmu_fake *fake = arm_smmu_fake_create(test, TEST_SHIFT);
	struct arm_smmu_fake *vcmdq = arm_smmu_fake_create(test, TEST_SHIFT);

	pass_test_not_repeated(test);
	pass_test_set_vcmdq(test, fake, vcmdq);
	pass_test_add(smmu_domain, fake, INV_TYPE_S1_ASID, 1);
	pass_test_add(smmu_domain, fake, INV_TYPE_ATS_FULL, 1);
	arm_smmu_fake_stop(vcmdq, 0);
	pass_test_invalidate(smmu_domain, 1);
	arm_smmu_fake_expect_cmds(fake, cmds, ARRAY_SIZE(cmds));
	KUNIT_EXPECT_EQ(test, pass_test_num_cmds(vcmdq), 2);
	pass_test_expect_timeouts(test, 1);
}

static void pass_test_disable_repeat(void *unused)
{
	static_branch_dec(&arm_smmu_erratum_repeat_tlbi_cfgi_key);
}

static void pass_test_enable_repeat(struct kunit *test)
{
	static_branch_inc(&arm_smmu_erratum_repeat_tlbi_cfgi_key);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test,
						  pass_test_disable_repeat,
						  NULL));
}

/* Commands for this many pages or streams from the @first on, and a CMD_SYNC */
struct pass_test_run {
	unsigned int first;
	unsigned int num;
};

/* What is usual, and what the erratum makes of it. It spares the ATC_INV. */
#define TEST_TLBIS \
	.tlbis = { { 0, 66 } }, \
	.repeated = { { 0, 64 }, { 0, 64 }, { 64, 2 }, { 64, 2 } }

/* Of each kind there is an SMMU in one pass. On a vCMDQ it is another queue. */
static const struct pass_test_kind {
	const char *name;
	u32 features;
	u32 options;
	bool vcmdq;
	unsigned int num_ats;
	struct pass_test_run tlbis[4];
	struct pass_test_run repeated[4];
	struct pass_test_run atcs[4];
} pass_test_kinds[] = {
	{
		.name = "usual",
		TEST_TLBIS,
	}, {
		.name = "many streams",
		.num_ats = 66,
		TEST_TLBIS,
		.atcs = { { 0, 66 } },
	}, {
		.name = "FORCE_SYNC",
		.options = ARM_SMMU_OPT_CMDQ_FORCE_SYNC,
		.num_ats = 66,
		.tlbis = { { 0, 63 }, { 63, 3 } },
		.repeated = { { 0, 63 }, { 0, 63 }, { 63, 3 }, { 63, 3 } },
		.atcs = { { 0, 63 }, { 63, 3 } },
	}, {
		.name = "MSI",
		.options = ARM_SMMU_OPT_MSIPOLL,
		.num_ats = 1,
		TEST_TLBIS,
		.atcs = { { 0, 1 } },
	}, {
		.name = "SEV",
		.features = ARM_SMMU_FEAT_SEV,
		.num_ats = 1,
		TEST_TLBIS,
		.atcs = { { 0, 1 } },
	}, {
		.name = "vCMDQ",
		.vcmdq = true,
		.num_ats = 1,
		TEST_TLBIS,
		.atcs = { { 0, 1 } },
	},
};

static unsigned int pass_test_cmds(struct arm_smmu_cmd *cmds,
				   const struct pass_test_run *runs,
				   enum arm_smmu_inv_type type)
{
	unsigned int i, j, num = 0;

	for (i = 0; i < 4 && runs[i].num; i++) {
		for (j = runs[i].first; j < runs[i].first + runs[i].num; j++) {
			u64 iova = TEST_IOVA + j * SZ_4K;

			if (type == INV_TYPE_S1_ASID) {
				cmds[num].data[0] = CMDQ_OP_TLBI_NH_VA |
					FIELD_PREP(CMDQ_TLBI_0_ASID, 1);
				cmds[num].data[1] = iova | CMDQ_TLBI_1_LEAF;
			} else if (type == INV_TYPE_S2_VMID) {
				cmds[num].data[0] = CMDQ_OP_TLBI_S2_IPA |
					FIELD_PREP(CMDQ_TLBI_0_VMID, 1);
				cmds[num].data[1] = iova | CMDQ_TLBI_1_LEAF;
			} else {
				cmds[num].data[0] = CMDQ_OP_ATC_INV |
					FIELD_PREP(CMDQ_ATC_0_SID, j);
				cmds[num].data[1] = ATC_INV_SIZE_ALL;
			}
			num++;
		}
		cmds[num++] = (struct arm_smmu_cmd){ { CMDQ_OP_CMD_SYNC } };
	}
	return num;
}

/* All kinds of SMMU in one pass, each gets what it would get alone */
static void pass_test_mixed(struct kunit *test)
{
	const bool repeat = *(const bool *)test->param_value;
	const unsigned int num = ARRAY_SIZE(pass_test_kinds), shift = 9;
	struct arm_smmu_fake *fakes[ARRAY_SIZE(pass_test_kinds)], *vcmdq;
	struct arm_smmu_domain *smmu_domain = pass_test_alloc(test, num * 70);
	const struct pass_test_run *tlbis;
	unsigned int i, j, num_cmds;
	struct arm_smmu_cmd *cmds;

	if (!repeat)
		pass_test_not_repeated(test);
	cmds = kunit_kcalloc(test, 1 << shift, sizeof(*cmds), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, cmds);
	pass_test_create(test, fakes, num, shift, 2000);
	pass_test_create(test, &vcmdq, 1, shift, 2000);

	for (i = 0; i < num; i++) {
		const struct pass_test_kind *kind = &pass_test_kinds[i];

		fakes[i]->smmu.features |= kind->features;
		fakes[i]->smmu.options |= kind->options;
		if (kind->vcmdq)
			pass_test_set_vcmdq(test, fakes[i], vcmdq);
		pass_test_add(smmu_domain, fakes[i], INV_TYPE_S1_ASID, 1);
		/* What the second queue refuses */
		if (kind->vcmdq)
			pass_test_add(smmu_domain, fakes[i], INV_TYPE_S2_VMID,
				      1);
	}
	for (i = 0; i < num; i++)
		for (j = 0; j < pass_test_kinds[i].num_ats; j++)
			pass_test_add(smmu_domain, fakes[i], INV_TYPE_ATS_FULL,
				      j);

	if (repeat)
		pass_test_enable_repeat(test);
	pass_test_invalidate(smmu_domain, TEST_PAGES);

	for (i = 0; i < num; i++) {
		const struct pass_test_kind *kind = &pass_test_kinds[i];

		kunit_info(test, "%s", kind->name);
		tlbis = repeat ? kind->repeated : kind->tlbis;
		num_cmds = pass_test_cmds(cmds, tlbis, INV_TYPE_S1_ASID);
		if (kind->vcmdq) {
			arm_smmu_fake_expect_cmds(vcmdq, cmds, num_cmds);
			num_cmds = pass_test_cmds(cmds, tlbis,
						  INV_TYPE_S2_VMID);
		}
		num_cmds += pass_test_cmds(cmds + num_cmds, kind->atcs,
					   INV_TYPE_ATS_FULL);
		arm_smmu_fake_expect_cmds(fakes[i], cmds, num_cmds);
	}
	pass_test_expect_timeouts(test, 0);
}

static const bool pass_test_repeats[] = { false, true };

static void pass_test_repeat_desc(const bool *repeat, char *desc)
{
	strscpy(desc, *repeat ? "TLBIs are repeated" : "no erratum",
		KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(pass_test_repeats, pass_test_repeats, pass_test_repeat_desc);

/*
 * Where there is a CMD_SYNC in the middle, it is complete before anything else
 * is issued to this SMMU.
 */
static const struct pass_test_middle {
	const char *name;
	u32 options;
	bool repeat;
	bool vcmdq;
	unsigned int num_pages;
	/* How many commands are issued before and after, the CMD_SYNCs counted */
	unsigned int before;
	unsigned int after;
} pass_test_middles[] = {
	{
		.name = "FORCE_SYNC",
		.options = ARM_SMMU_OPT_CMDQ_FORCE_SYNC,
		.num_pages = 66,
		.before = 63 + 1,
		.after = 3 + 1,
	}, {
		.name = "repeated",
		.repeat = true,
		.num_pages = 1,
		.before = 1 + 1,
		.after = 1 + 1,
	}, {
		.name = "repeated, long batch",
		.repeat = true,
		.num_pages = 66,
		.before = 64 + 1,
		.after = 64 + 1 + 2 * (2 + 1),
	}, {
		.name = "vCMDQ",
		.vcmdq = true,
		.num_pages = 66,
		.before = 66 + 1,
		.after = 66 + 1,
	},
};

KUNIT_ARRAY_PARAM_DESC(pass_test_middle, pass_test_middles, name);

static void pass_test_middle(struct kunit *test)
{
	const struct pass_test_middle *param = test->param_value;
	struct arm_smmu_domain *smmu_domain = pass_test_alloc(test, 4);
	struct arm_smmu_fake *fakes[4], *first;
	struct pass_test_task *task;
	unsigned int num = 0, i;

	if (!param->repeat)
		pass_test_not_repeated(test);
	pass_test_create(test, fakes, 4, 9, 0);
	pass_test_add(smmu_domain, fakes[0], INV_TYPE_S1_ASID, 1);
	pass_test_add(smmu_domain, fakes[1], INV_TYPE_S1_ASID, 1);
	fakes[1]->smmu.options |= param->options;
	first = fakes[1];
	if (param->vcmdq) {
		first = fakes[3];
		pass_test_set_vcmdq(test, fakes[1], first);
		pass_test_add(smmu_domain, fakes[1], INV_TYPE_S2_VMID, 1);
	}
	/* The last of all is waited for anyway */
	pass_test_add(smmu_domain, fakes[2], INV_TYPE_S1_ASID, 1);
	if (param->repeat)
		pass_test_enable_repeat(test);

	arm_smmu_fake_stop(first, 0);
	task = pass_test_start(test, smmu_domain, param->num_pages);
	for (i = 0; i < 10000 && num < param->before; i++) {
		usleep_range(500, 1000);
		num += pass_test_num_cmds(first);
	}
	msleep(20);
	num += pass_test_num_cmds(first);
	KUNIT_EXPECT_EQ(test, num, param->before);
	if (param->vcmdq)
		KUNIT_EXPECT_EQ(test, pass_test_num_cmds(fakes[1]), 0);
	KUNIT_EXPECT_EQ(test, pass_test_num_cmds(fakes[2]), 0);

	arm_smmu_fake_start(first);
	pass_test_wait_done(test, task);
	KUNIT_EXPECT_EQ(test, pass_test_num_cmds(fakes[1]), param->after);
	pass_test_expect_timeouts(test, 0);
}

/*
 * The SMMU that ends a phase may have nothing to do in it, here because it has
 * no ranges and needs no TLBI of stage 1 after one of everything.
 */
static void pass_test_nothing(struct kunit *test)
{
	static const struct arm_smmu_cmd cmds[] = {
		{ { CMDQ_OP_TLBI_S12_VMALL |
		    FIELD_PREP_CONST(CMDQ_TLBI_0_VMID, 1) } },
		{ { CMDQ_OP_CMD_SYNC } },
	};
	struct arm_smmu_domain *smmu_domain = pass_test_alloc(test, 4);
	const unsigned int num_pages = SZ_2M / SZ_4K;
	struct arm_smmu_fake *fakes[2];
	int i;

	pass_test_not_repeated(test);
	pass_test_create(test, fakes, 2, TEST_SHIFT, 20000);
	fakes[0]->smmu.features |= ARM_SMMU_FEAT_RANGE_INV;
	for (i = 0; i < 2; i++)
		pass_test_add(smmu_domain, fakes[i], INV_TYPE_S2_VMID_VSMMU, 1);
	for (i = 0; i < 2; i++)
		pass_test_add(smmu_domain, fakes[i], INV_TYPE_S2_VMID_S1_CLEAR,
			      1);

	pass_test_invalidate(smmu_domain, num_pages);
	KUNIT_EXPECT_FALSE(test, irqs_disabled());
	KUNIT_EXPECT_EQ(test, pass_test_num_cmds(fakes[0]), 4);
	KUNIT_EXPECT_NE(test, arm_smmu_fake_stamp(fakes[0]), 0);
	arm_smmu_fake_expect_cmds(fakes[1], cmds, ARRAY_SIZE(cmds));
}

/* The MSI is waited for, among others and alone */
static void pass_test_msi(struct kunit *test)
{
	const unsigned int usecs = 50000;
	struct arm_smmu_fake *fakes[2];
	ktime_t start;
	int i;

	pass_test_create(test, fakes, 2, TEST_SHIFT, 0);
	fakes[0]->smmu.options |= ARM_SMMU_OPT_MSIPOLL;
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_set_time(fakes[0], usecs));

	for (i = 0; i < 2; i++) {
		struct arm_smmu_domain *smmu_domain = pass_test_alloc(test, 2);

		pass_test_add(smmu_domain, fakes[0], INV_TYPE_S1_ASID, 1);
		if (i)
			pass_test_add(smmu_domain, fakes[1], INV_TYPE_S1_ASID,
				      1);
		start = ktime_get();
		pass_test_invalidate(smmu_domain, 1);
		KUNIT_EXPECT_GE(test, ktime_us_delta(ktime_get(), start),
				usecs);
	}
}

/*
 * A queue is full and will not be so for ever. Whoever waits for space in it
 * does not keep what others need, and goes on when there is some.
 */
static void pass_test_full(struct kunit *test)
{
	static const struct pass_test_run runs[4] = { { 0, TEST_PAGES } };
	struct arm_smmu_domain *smmu_domain = pass_test_alloc(test, 3);
	struct arm_smmu_fake *fakes[3];
	struct arm_smmu_cmd *cmds, cmd;
	struct pass_test_task *task, *fill, *issue;
	unsigned int i, num_cmds;

	pass_test_not_repeated(test);
	cmds = kunit_kcalloc(test, TEST_QUEUE, sizeof(*cmds), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, cmds);
	num_cmds = pass_test_cmds(cmds, runs, INV_TYPE_S1_ASID);
	pass_test_create(test, fakes, 3, TEST_SHIFT, 0);
	for (i = 0; i < 3; i++)
		pass_test_add(smmu_domain, fakes[i], INV_TYPE_S1_ASID, 1);
	arm_smmu_fake_stop(fakes[1], 0);
	fill = pass_test_prepare_issue(test, fakes[1], TEST_QUEUE);
	issue = pass_test_prepare_issue(test, fakes[0], 2 * TEST_QUEUE);
	pass_test_issue(test, fill);
	KUNIT_ASSERT_EQ(test, pass_test_num_cmds(fakes[1]), TEST_QUEUE);

	task = pass_test_start(test, smmu_domain, TEST_PAGES);
	pass_test_wait_cmd(test, fakes[0], &cmd);
	pass_test_issue(test, issue);
	KUNIT_EXPECT_FALSE(test, READ_ONCE(task->done));
	KUNIT_EXPECT_EQ(test, pass_test_num_cmds(fakes[1]), 0);
	KUNIT_EXPECT_EQ(test, pass_test_num_cmds(fakes[2]), 0);

	arm_smmu_fake_start(fakes[1]);
	pass_test_wait_done(test, task);
	for (i = 1; i < 3; i++)
		arm_smmu_fake_expect_cmds(fakes[i], cmds, num_cmds);
	pass_test_expect_timeouts(test, 0);
}

struct pass_test_worker {
	struct pass_test_task task;
	struct arm_smmu_fake **fakes;
	struct arm_smmu_domain *smmu_domain;
	struct rnd_state rnd;
	unsigned int rounds;
	u64 num_cmds[TEST_STRESS_SMMUS];
	u64 sum_cmds[TEST_STRESS_SMMUS];
};

/* Invalidate on some SMMUs in some order, or issue a single command */
static void pass_test_work_once(struct pass_test_worker *worker,
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
		arm_smmu_fake_invs(&smmu_domain->domain)->num_invs = 0;
		for (i = 0; i < num; i++)
			pass_test_add(smmu_domain, worker->fakes[order[i]],
				      INV_TYPE_S1_ASID, 1);
		/* More phases, on some of them */
		if (rnd & BIT(19))
			num_clear = 1 + (rnd >> 20) % num;
		for (i = 0; i < num_clear; i++)
			pass_test_add(smmu_domain, worker->fakes[order[i]],
				      INV_TYPE_S2_VMID_S1_CLEAR, 1);
		if (rnd & BIT(24))
			num_ats = 1 + (rnd >> 25) % num;
		for (i = 0; i < num_ats; i++)
			pass_test_add(smmu_domain, worker->fakes[order[i]],
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

static void pass_test_work(struct pass_test_task *task)
{
	struct pass_test_worker *worker =
		container_of(task, struct pass_test_worker, task);
	unsigned long iova = TEST_IOVA;

	while (!READ_ONCE(task->stop)) {
		pass_test_work_once(worker, iova);
		iova += 2 * CMDQ_BATCH_ENTRIES * SZ_4K;
		worker->rounds++;
		cond_resched();
	}
}

/*
 * Many tasks, small queues that are often full, SMMUs that stall, and
 * no order in which to take them: nobody waits for ever and nothing is lost.
 */
static void pass_test_stress(struct kunit *test)
{
	struct arm_smmu_fake *fakes[TEST_STRESS_SMMUS];
	unsigned int i, j, cpu = cpumask_first(cpu_online_mask);
	struct pass_test_worker *workers, *worker;
	u64 num, sum, num_consumed, sum_consumed;
	struct rnd_state rnd;
	ktime_t end;

	if (num_online_cpus() < 3)
		kunit_skip(test, "needs three CPUs, one for the SMMUs");
	pass_test_not_repeated(test);
	workers = kunit_kcalloc(test, TEST_STRESS_WORKERS, sizeof(*workers),
				GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, workers);
	pass_test_create(test, fakes, TEST_STRESS_SMMUS, TEST_SHIFT, 0);
	for (i = 0; i < TEST_STRESS_SMMUS; i += 3)
		fakes[i]->smmu.options |= ARM_SMMU_OPT_MSIPOLL;
	fakes[1]->smmu.options |= ARM_SMMU_OPT_CMDQ_FORCE_SYNC;
	fakes[2]->smmu.features |= ARM_SMMU_FEAT_SEV;

	/* This CPU is free of those who wait */
	KUNIT_ASSERT_EQ(test, 0, set_cpus_allowed_ptr(current, cpumask_of(cpu)));
	prandom_seed_state(&rnd, 1);
	for (i = 0; i < TEST_STRESS_WORKERS; i++) {
		worker = &workers[i];
		worker->fakes = fakes;
		worker->smmu_domain = pass_test_alloc(test,
						      3 * TEST_STRESS_SMMUS);
		prandom_seed_state(&worker->rnd, i + 2);
	}
	j = cpu;
	for (i = 0; i < TEST_STRESS_WORKERS; i++) {
		do {
			j = cpumask_next_wrap(j, cpu_online_mask);
		} while (j == cpu);
		pass_test_kthread(test, &workers[i].task, pass_test_work, j);
	}
	for (i = 0; i < TEST_STRESS_WORKERS; i++)
		pass_test_wake(&workers[i].task);

	end = ktime_add_ms(ktime_get(), TEST_STRESS_MS);
	while (ktime_before(ktime_get(), end)) {
		i = prandom_u32_state(&rnd) % TEST_STRESS_SMMUS;
		j = prandom_u32_state(&rnd);
		arm_smmu_fake_set_time(fakes[i], j % 200);
		arm_smmu_fake_stop(fakes[i], (j >> 8) % TEST_QUEUE);
		usleep_range(500, 3000);
		arm_smmu_fake_start(fakes[i]);
	}
	for (i = 0; i < TEST_STRESS_WORKERS; i++) {
		kunit_release_action(test, pass_test_end, &workers[i].task);
		arm_smmu_fake_stop_task(test, workers[i].task.kthread);
		KUNIT_EXPECT_GT(test, workers[i].rounds, 0);
	}

	for (i = 0; i < TEST_STRESS_SMMUS; i++) {
		num = 0;
		sum = 0;
		for (j = 0; j < TEST_STRESS_WORKERS; j++) {
			num += workers[j].num_cmds[i];
			sum += workers[j].sum_cmds[i];
		}
		/* Of what nobody waits for, some may be left */
		KUNIT_EXPECT_EQ(test, 0,
				read_poll_timeout(arm_smmu_fake_num_consumed,
						  num_consumed,
						  num_consumed >= num, 1000,
						  USEC_PER_SEC, false, fakes[i],
						  &sum_consumed));
		KUNIT_EXPECT_EQ(test, num_consumed, num);
		KUNIT_EXPECT_EQ(test, sum_consumed, sum);
		KUNIT_EXPECT_EQ(test, 0,
				atomic_read(&fakes[i]->smmu.cmdq.lock));
	}
	pass_test_expect_timeouts(test, 0);
}

static struct kunit_case arm_smmu_v3_pass_test_cases[] = {
	KUNIT_CASE_PARAM(pass_test_overlap, pass_test_nums_gen_params),
	KUNIT_CASE(pass_test_release),
	KUNIT_CASE_PARAM_ATTR(pass_test_dead, pass_test_dead_gen_params,
			      { .speed = KUNIT_SPEED_SLOW }),
	KUNIT_CASE_SLOW(pass_test_dead_vcmdq),
	KUNIT_CASE_PARAM(pass_test_mixed, pass_test_repeats_gen_params),
	KUNIT_CASE_PARAM(pass_test_middle, pass_test_middle_gen_params),
	KUNIT_CASE(pass_test_nothing),
	KUNIT_CASE(pass_test_msi),
	KUNIT_CASE(pass_test_full),
	KUNIT_CASE_SLOW(pass_test_stress),
	{}
};

static struct kunit_suite arm_smmu_v3_pass_test_suite = {
	.name = "arm-smmu-v3-pass",
	.suite_init = pass_test_suite_init,
	.suite_exit = pass_test_suite_exit,
	.init = pass_test_init,
	.test_cases = arm_smmu_v3_pass_test_cases,
};

kunit_test_suites(&arm_smmu_v3_pass_test_suite);
