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

#define TEST_STRESS_SMMUS	8
#define TEST_STRESS_WORKERS	6
#define TEST_STRESS_MS		2500

/* How often the driver said that something had timed out */
static atomic_t pass_test_timeouts;

static void pass_test_console(void *unused, const char *text, size_t len)
{
	if (strnstr(text, " timeout", len))
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
	return 0;
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
		.pgsize = PAGE_SHIFT,
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
		fakes[i] = arm_smmu_fake_create(test, shift);
		if (arm_smmu_fake_set_time(fakes[i], usecs))
			kunit_skip(test, "needs two CPUs");
	}
}

/* Somebody who invalidates, on a CPU that the test does not use */
struct pass_test_task {
	struct arm_smmu_domain *smmu_domain;
	unsigned int num_pages;
	bool done;
};

KUNIT_DEFINE_ACTION_WRAPPER(kthread_stop_wrapper, kthread_stop,
			    struct task_struct *);

static int pass_test_run(void *data)
{
	struct pass_test_task *task = data;

	pass_test_invalidate(task->smmu_domain, task->num_pages);
	WRITE_ONCE(task->done, true);
	while (!kthread_should_stop())
		usleep_range(1000, 2000);
	return 0;
}

static struct task_struct *pass_test_kthread(struct kunit *test,
					     int (*run)(void *), void *data,
					     unsigned int cpu)
{
	struct task_struct *kthread = kthread_create(run, data, "pass-test");

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, kthread);
	kthread_bind(kthread, cpu);
	wake_up_process(kthread);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, kthread_stop_wrapper,
						  kthread));
	return kthread;
}

static struct pass_test_task *
pass_test_start(struct kunit *test, struct arm_smmu_domain *smmu_domain,
		unsigned int num_pages)
{
	unsigned int cpu = cpumask_first(cpu_online_mask);
	struct pass_test_task *task;

	task = kunit_kzalloc(test, sizeof(*task), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, task);
	task->smmu_domain = smmu_domain;
	task->num_pages = num_pages;

	/* It waits with interrupts off, which must not keep the test waiting */
	KUNIT_ASSERT_EQ(test, 0, set_cpus_allowed_ptr(current, cpumask_of(cpu)));
	pass_test_kthread(test, pass_test_run, task,
			  cpumask_last(cpu_online_mask));
	return task;
}

static void pass_test_wait_done(struct kunit *test, struct pass_test_task *task)
{
	bool done;

	KUNIT_ASSERT_EQ(test, 0,
			read_poll_timeout(READ_ONCE, done, done, 500,
					  10 * USEC_PER_SEC, false,
					  task->done));
}

/* Wait for the next command to be issued */
static void pass_test_wait_cmd(struct kunit *test, struct arm_smmu_fake *fake)
{
	struct arm_smmu_cmd cmd;
	bool issued;

	KUNIT_ASSERT_EQ(test, 0,
			read_poll_timeout(arm_smmu_fake_next_cmd, issued,
					  issued, 500, 10 * USEC_PER_SEC,
					  false, fake, &cmd));
}

static unsigned int pass_test_num_cmds(struct arm_smmu_fake *fake)
{
	struct arm_smmu_cmd cmd;
	unsigned int num = 0;

	while (arm_smmu_fake_next_cmd(fake, &cmd))
		num++;
	return num;
}

/* Somebody else's commands */
static void pass_test_issue(struct kunit *test, struct arm_smmu_fake *fake,
			    unsigned int num)
{
	struct arm_smmu_cmd cmd = { { CMDQ_OP_TLBI_NH_ASID } };

	while (num--)
		KUNIT_ASSERT_EQ(test, 0,
				arm_smmu_cmdq_issue_cmd_p(&fake->smmu, &cmd,
							  false));
}

/*
 * One command and its CMD_SYNC on each SMMU: all are at work before the first
 * is done, and what came before is complete.
 */
static void pass_test_expect_round(struct kunit *test,
				   struct arm_smmu_fake **fakes,
				   unsigned int num, u8 opcode, u64 *complete)
{
	u64 first = U64_MAX, last = 0, first_sync = U64_MAX, last_sync = 0;
	struct arm_smmu_cmd cmd;
	unsigned int i;
	u64 stamp;

	for (i = 0; i < num; i++) {
		KUNIT_ASSERT_TRUE(test, arm_smmu_fake_next_cmd(fakes[i], &cmd));
		KUNIT_EXPECT_EQ(test, cmd.data[0] & CMDQ_0_OP, opcode);
		stamp = arm_smmu_fake_stamp(fakes[i]);
		first = min(first, stamp);
		last = max(last, stamp);

		KUNIT_ASSERT_TRUE(test, arm_smmu_fake_next_cmd(fakes[i], &cmd));
		KUNIT_EXPECT_EQ(test, cmd.data[0] & CMDQ_0_OP,
				CMDQ_OP_CMD_SYNC);
		stamp = arm_smmu_fake_stamp(fakes[i]);
		first_sync = min(first_sync, stamp);
		last_sync = max(last_sync, stamp);
	}
	KUNIT_EXPECT_GT(test, first, *complete);
	KUNIT_EXPECT_GT(test, first_sync, last);
	*complete = last_sync;
}

/* Three phases, each of which takes the time of one SMMU */
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
	const unsigned int usecs = 100000;
	struct arm_smmu_domain *smmu_domain =
		pass_test_alloc(test, num * ARRAY_SIZE(phases));
	struct arm_smmu_fake **fakes;
	unsigned int i, j;
	u64 complete = 0;
	ktime_t start;

	fakes = kunit_kcalloc(test, num, sizeof(*fakes), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, fakes);
	pass_test_create(test, fakes, num, TEST_SHIFT, usecs);
	for (i = 0; i < ARRAY_SIZE(phases); i++)
		for (j = 0; j < num; j++)
			pass_test_add(smmu_domain, fakes[j], phases[i].type, 1);

	start = ktime_get();
	pass_test_invalidate(smmu_domain, 1);
	/* The driver may see each as twice as long */
	if (num > 4)
		KUNIT_EXPECT_LT(test, ktime_us_delta(ktime_get(), start),
				num * ARRAY_SIZE(phases) * usecs);

	for (i = 0; i < ARRAY_SIZE(phases); i++)
		for (j = 0; j < num; j += CMDQ_PASS_SYNCS)
			pass_test_expect_round(test, fakes + j,
					       min(num - j, CMDQ_PASS_SYNCS),
					       phases[i].opcode, &complete);
	for (j = 0; j < num; j++)
		KUNIT_EXPECT_EQ(test, pass_test_num_cmds(fakes[j]), 0);
	pass_test_expect_timeouts(test, 0);
}

static const unsigned int pass_test_nums[] = { 2, 8, 16, 20 };

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
	struct pass_test_task *task;
	unsigned int i;

	pass_test_create(test, fakes, num, TEST_SHIFT, 0);
	for (i = 0; i < num; i++)
		pass_test_add(smmu_domain, fakes[i], INV_TYPE_S1_ASID, 1);
	arm_smmu_fake_stop(fakes[1], 0);
	task = pass_test_start(test, smmu_domain, 1);
	/* It comes last */
	pass_test_wait_cmd(test, fakes[2]);

	pass_test_issue(test, fakes[0], 2 * TEST_QUEUE);
	pass_test_issue(test, fakes[2], 2 * TEST_QUEUE);
	KUNIT_EXPECT_FALSE(test, READ_ONCE(task->done));

	arm_smmu_fake_start(fakes[1]);
	pass_test_wait_done(test, task);
	pass_test_expect_timeouts(test, 0);
}

static const struct pass_test_dead {
	const char *name;
	unsigned int mask;
	unsigned int timeouts;
} pass_test_deads[] = {
	{ .name = "one", .mask = BIT(3), .timeouts = 1 },
	{ .name = "the last", .mask = BIT(7), .timeouts = 1 },
	{ .name = "two", .mask = BIT(2) | BIT(5), .timeouts = 2 },
};

KUNIT_ARRAY_PARAM_DESC(pass_test_dead, pass_test_deads, name);

/* SMMUs that hang cost one timeout in all, and nothing on those that do not */
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
	const unsigned int num = 8;
	struct arm_smmu_domain *smmu_domain =
		pass_test_alloc(test, num * ARRAY_SIZE(types));
	struct arm_smmu_fake *fakes[8];
	unsigned int i, j, round;
	ktime_t start;
	s64 usecs;

	for (i = 0; i < num; i++)
		fakes[i] = arm_smmu_fake_create(test, TEST_SHIFT);
	for (i = 0; i < ARRAY_SIZE(types); i++)
		for (j = 0; j < num; j++)
			pass_test_add(smmu_domain, fakes[j], types[i], 1);

	for (i = 0; i < num; i++)
		if (param->mask & BIT(i))
			arm_smmu_fake_stop(fakes[i], 0);

	/* Whoever invalidates next does not know of it and has to find out */
	for (round = 0; round < 2; round++) {
		start = ktime_get();
		pass_test_invalidate(smmu_domain, 1);
		usecs = ktime_us_delta(ktime_get(), start);
		KUNIT_EXPECT_GE(test, usecs, ARM_SMMU_POLL_TIMEOUT_US);
		KUNIT_EXPECT_LT(test, usecs, 2 * ARM_SMMU_POLL_TIMEOUT_US);
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
	static_branch_disable(&arm_smmu_erratum_repeat_tlbi_cfgi_key);
}

static void pass_test_enable_repeat(struct kunit *test)
{
	static_branch_enable(&arm_smmu_erratum_repeat_tlbi_cfgi_key);
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
	struct arm_smmu_cmd *cmds;
	struct pass_test_task *task;
	unsigned int i, num_cmds;

	cmds = kunit_kcalloc(test, TEST_QUEUE, sizeof(*cmds), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, cmds);
	num_cmds = pass_test_cmds(cmds, runs, INV_TYPE_S1_ASID);
	pass_test_create(test, fakes, 3, TEST_SHIFT, 0);
	for (i = 0; i < 3; i++)
		pass_test_add(smmu_domain, fakes[i], INV_TYPE_S1_ASID, 1);
	arm_smmu_fake_stop(fakes[1], 0);
	pass_test_issue(test, fakes[1], TEST_QUEUE);
	KUNIT_ASSERT_EQ(test, pass_test_num_cmds(fakes[1]), TEST_QUEUE);

	task = pass_test_start(test, smmu_domain, TEST_PAGES);
	pass_test_wait_cmd(test, fakes[0]);
	pass_test_issue(test, fakes[0], 2 * TEST_QUEUE);
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
	u32 num, num_pages, rnd;

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
		arm_smmu_domain_inv_range(smmu_domain, iova, num_pages * SZ_4K,
					  SZ_4K, true);
	}

	for (i = 0; i < num; i++) {
		worker->num_cmds[order[i]] += num_pages;
		for (j = 0; j < num_pages; j++)
			worker->sum_cmds[order[i]] +=
				(iova + j * SZ_4K) | CMDQ_TLBI_1_LEAF;
	}
}

static int pass_test_work(void *data)
{
	struct pass_test_worker *worker = data;
	unsigned long iova = TEST_IOVA;

	while (!kthread_should_stop()) {
		pass_test_work_once(worker, iova);
		iova += 2 * CMDQ_BATCH_ENTRIES * SZ_4K;
		worker->rounds++;
		cond_resched();
	}
	return 0;
}

/*
 * Many tasks, small queues that are often full, SMMUs that stall, and
 * no order in which to take them: nobody waits for ever and nothing is lost.
 */
static void pass_test_stress(struct kunit *test)
{
	struct task_struct *tasks[TEST_STRESS_WORKERS];
	struct arm_smmu_fake *fakes[TEST_STRESS_SMMUS];
	unsigned int i, j, cpu = cpumask_first(cpu_online_mask);
	struct pass_test_worker *workers, *worker;
	u64 num, sum, num_consumed, sum_consumed;
	struct rnd_state rnd;
	ktime_t end;

	if (num_online_cpus() < 3)
		kunit_skip(test, "needs three CPUs, one for the SMMUs");
	workers = kunit_kcalloc(test, TEST_STRESS_WORKERS, sizeof(*workers),
				GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, workers);
	pass_test_create(test, fakes, TEST_STRESS_SMMUS, TEST_SHIFT, 0);
	for (i = 0; i < TEST_STRESS_SMMUS; i += 3)
		fakes[i]->smmu.options |= ARM_SMMU_OPT_MSIPOLL;

	/* This CPU is free of those who wait */
	KUNIT_ASSERT_EQ(test, 0, set_cpus_allowed_ptr(current, cpumask_of(cpu)));
	prandom_seed_state(&rnd, 1);
	for (i = 0; i < TEST_STRESS_WORKERS; i++) {
		worker = &workers[i];
		worker->fakes = fakes;
		worker->smmu_domain = pass_test_alloc(test, TEST_STRESS_SMMUS);
		prandom_seed_state(&worker->rnd, i + 2);
	}
	j = cpu;
	for (i = 0; i < TEST_STRESS_WORKERS; i++) {
		do {
			j = cpumask_next_wrap(j, cpu_online_mask);
		} while (j == cpu);
		tasks[i] = pass_test_kthread(test, pass_test_work, &workers[i],
					     j);
	}

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
		kunit_release_action(test, kthread_stop_wrapper, tasks[i]);
		KUNIT_EXPECT_GT(test, workers[i].rounds, 10);
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
	KUNIT_CASE_PARAM_ATTR(pass_test_overlap, pass_test_nums_gen_params,
			      { .speed = KUNIT_SPEED_SLOW }),
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
