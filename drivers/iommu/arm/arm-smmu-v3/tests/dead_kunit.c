// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests with an SMMU that is dead: it consumes nothing, its queue is full,
 * an invalidation and an attach wait for it. Nothing else must wait.
 */
#include <linux/sched/mm.h>
#include <linux/seq_file.h>

#include "fake.h"

/* The smallest queue */
#define TEST_SHIFT	7
#define TEST_IOVA	SZ_1G
#define TEST_PASID	2
/* One for each CMD_SYNC in the queue, then two without space */
#define TEST_TIMEOUTS	((1 << TEST_SHIFT) / 2 + 2)

struct dead_test {
	struct arm_smmu_fake *dead;
	struct arm_smmu_fake *fake;
	struct arm_smmu_fake_master *fm_dead;
	struct arm_smmu_fake_master *fm_too;
	struct arm_smmu_fake_master *fm;
	struct iommu_domain *dead_domain;
	struct iommu_domain *domain;
	struct iommu_domain *other;
	bool stop;
};

static int dead_test_walk(void *data)
{
	struct dead_test *dt = data;

	while (!READ_ONCE(dt->stop))
		arm_smmu_domain_inv(to_smmu_domain(dt->dead_domain));
	return 0;
}

static int dead_test_wait_attach(void *data)
{
	struct dead_test *dt = data;

	return arm_smmu_fake_attach(dt->fm_too, dt->dead_domain);
}

/* Each of these undoes what it does */
static int dead_op_attach(struct kunit *test, struct dead_test *dt)
{
	return arm_smmu_fake_attach(dt->fm, dt->domain) ?:
	       arm_smmu_fake_block(dt->fm);
}

static int dead_op_move(struct kunit *test, struct dead_test *dt)
{
	int ret = arm_smmu_fake_attach(dt->fm, dt->domain);

	KUNIT_EXPECT_TRUE(test, dt->fm->master->ats_enabled);
	return ret ?: arm_smmu_fake_attach(dt->fm, dt->other) ?:
	       arm_smmu_fake_block(dt->fm);
}

static int dead_op_pasid(struct kunit *test, struct dead_test *dt)
{
	return arm_smmu_fake_set_pasid(dt->fm, dt->domain, TEST_PASID, NULL) ?:
	       arm_smmu_fake_clear_pasid(dt->fm, TEST_PASID, dt->domain);
}

static int dead_op_unmap(struct kunit *test, struct dead_test *dt)
{
	int ret = arm_smmu_fake_attach(dt->fm, dt->domain);

	KUNIT_EXPECT_EQ(test, 0, iommu_map(dt->domain, TEST_IOVA, 0, SZ_64K,
					   IOMMU_READ, GFP_KERNEL));
	KUNIT_EXPECT_EQ(test, SZ_64K, iommu_unmap(dt->domain, TEST_IOVA, SZ_64K));
	return ret ?: arm_smmu_fake_block(dt->fm);
}

#if IS_ENABLED(CONFIG_ARM_SMMU_V3_IOMMUFD)
static int dead_op_vsmmu(struct kunit *test, struct dead_test *dt)
{
	struct iommu_domain *parent =
		arm_smmu_fake_alloc_domain(dt->fm, IOMMU_HWPT_ALLOC_NEST_PARENT);
	struct arm_vsmmu vsmmu = {};
	int ret = arm_smmu_fake_vsmmu_init(&vsmmu, dt->fake, parent);

	if (ret)
		return ret;
	arm_smmu_fake_vsmmu_destroy(&vsmmu);
	return 0;
}
#endif

#if IS_ENABLED(CONFIG_ARM_SMMU_V3_SVA)
/* Bind, exit of the process, unbind */
static int dead_op_sva(struct kunit *test, struct dead_test *dt)
{
	struct mm_struct *mm = mm_alloc();
	struct iommu_sva *handle;

	if (!mm)
		return -ENOMEM;
	handle = iommu_sva_bind_device(dt->fm->dev, mm);
	mmput(mm);
	if (IS_ERR(handle))
		return PTR_ERR(handle);
	iommu_sva_unbind_device(handle);
	return 0;
}
#endif

#ifdef CONFIG_IOMMU_DEBUGFS
static int dead_op_debugfs(struct kunit *test, struct dead_test *dt)
{
	struct seq_file file = { .private = &dt->dead->smmu, .size = SZ_4K };

	file.buf = kunit_kzalloc(test, file.size, GFP_KERNEL);
	return file.buf ? arm_smmu_debugfs_show(&file, NULL) : -ENOMEM;
}
#endif

static int dead_op_rcu(struct kunit *test, struct dead_test *dt)
{
	synchronize_rcu();
	return 0;
}

static const struct dead_op {
	const char *name;
	int (*run)(struct kunit *test, struct dead_test *dt);
} dead_ops[] = {
	{ "attach and detach", dead_op_attach },
	{ "move with ATS", dead_op_move },
	{ "PASID", dead_op_pasid },
	{ "map and unmap", dead_op_unmap },
#if IS_ENABLED(CONFIG_ARM_SMMU_V3_IOMMUFD)
	/* A VMID is taken, flushed and freed */
	{ "vSMMU", dead_op_vsmmu },
#endif
#if IS_ENABLED(CONFIG_ARM_SMMU_V3_SVA)
	/* Not if the dead SMMU is used for SVA, too */
	{ "SVA", dead_op_sva },
#endif
#ifdef CONFIG_IOMMU_DEBUGFS
	{ "debugfs", dead_op_debugfs },
#endif
	{ "grace period", dead_op_rcu },
};

static int dead_test_init(struct kunit *test)
{
	struct dead_test *dt = kunit_kzalloc(test, sizeof(*dt), GFP_KERNEL);
	const u32 sid = 1;

	KUNIT_ASSERT_NOT_NULL(test, dt);
	test->priv = dt;
	dt->dead = arm_smmu_fake_create(test, TEST_SHIFT);
	dt->fm_dead = arm_smmu_fake_add_master(dt->dead, 1, 0);
	dt->fm_too = arm_smmu_fake_add_master(dt->dead, 2, 0);
	dt->dead_domain = arm_smmu_fake_alloc_domain(dt->fm_dead, 0);
	KUNIT_ASSERT_EQ(test, 0,
			arm_smmu_fake_attach(dt->fm_dead, dt->dead_domain));

	dt->fake = arm_smmu_fake_create(test, 8);
	dt->fake->smmu.features |= ARM_SMMU_FEAT_SVA;
	dt->fm = arm_smmu_fake_add_pci_master(dt->fake, &sid, 1, 4);
	dt->domain = arm_smmu_fake_alloc_domain(dt->fm, 0);
	dt->other = arm_smmu_fake_alloc_domain(dt->fm, 0);
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_block(dt->fm));
	return 0;
}

/* The virtual clock stops here: what comes takes no time, or does not end */
static struct task_struct *dead_test_die(struct kunit *test)
{
	struct dead_test *dt = test->priv;
	struct task_struct *task;

	arm_smmu_fake_stop(dt->dead, 0);
	task = arm_smmu_fake_run_task(test, dead_test_walk, dt);
	while (arm_smmu_fake_num_timeouts() < TEST_TIMEOUTS)
		cond_resched();
	arm_smmu_fake_freeze();
	return task;
}

static void dead_test_others(struct kunit *test)
{
	struct dead_test *dt = test->priv;
	struct task_struct *task = dead_test_die(test);
	struct task_struct *attach =
		arm_smmu_fake_run_task(test, dead_test_wait_attach, dt);
	unsigned int i, num = arm_smmu_fake_num_timeouts();

	while (!mutex_is_locked(&to_smmu_domain(dt->dead_domain)->lock))
		cond_resched();
	for (i = 0; i < ARRAY_SIZE(dead_ops); i++) {
		KUNIT_EXPECT_EQ_MSG(test, 0, dead_ops[i].run(test, dt), "%s",
				    dead_ops[i].name);
		KUNIT_EXPECT_TRUE_MSG(test, dt->dead->queue.stopped, "%s",
				      dead_ops[i].name);
	}
	KUNIT_EXPECT_EQ(test, num, arm_smmu_fake_num_timeouts());
	/* Interrupts are off for as long as a CMD_SYNC may take, but no longer */
	KUNIT_EXPECT_LT(test, arm_smmu_fake_longest_wait(),
			2ULL * ARM_SMMU_POLL_TIMEOUT_US * NSEC_PER_USEC);

	/* The SMMU consumes again, so both tasks end */
	WRITE_ONCE(dt->stop, true);
	arm_smmu_fake_thaw();
	arm_smmu_fake_start(dt->dead);
	arm_smmu_fake_join_task(test, task);
	arm_smmu_fake_join_task(test, attach);
	KUNIT_EXPECT_PTR_EQ(test, dt->dead_domain,
			    iommu_get_domain_for_dev(dt->fm_too->dev));
}

/* An SMMU that has left the array is not waited for any more */
static void dead_test_leaves(struct kunit *test)
{
	struct dead_test *dt = test->priv;
	struct task_struct *task = dead_test_die(test);
	struct arm_smmu_inv *inv =
		arm_smmu_invs_find(arm_smmu_fake_invs(dt->dead_domain),
				   &dt->dead->smmu, INV_TYPE_S1_ASID);

	KUNIT_ASSERT_NOT_NULL(test, inv);
	WRITE_ONCE(dt->stop, true);
	WRITE_ONCE(inv->users, 0);
	arm_smmu_fake_join_task(test, task);
	WRITE_ONCE(inv->users, 1);
	arm_smmu_fake_thaw();
	arm_smmu_fake_start(dt->dead);
}

/* An invalidation that had to wait is issued when there is space again */
static void dead_test_revives(struct kunit *test)
{
	struct dead_test *dt = test->priv;
	u64 sum, num = arm_smmu_fake_num_consumed(dt->dead, &sum);
	struct task_struct *task = dead_test_die(test);

	WRITE_ONCE(dt->stop, true);
	arm_smmu_fake_thaw();
	arm_smmu_fake_start(dt->dead);
	arm_smmu_fake_join_task(test, task);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_num_consumed(dt->dead, &sum) - num,
			(1 << TEST_SHIFT) / 2 + 1);
}

#if IS_ENABLED(CONFIG_ARM_SMMU_V3_SVA)
/*
 * A process exits that is bound behind many SMMUs, of which one does not answer.
 * All are waited for at the same time: the CFGIs, then the TLBIs. That the CFGI
 * timed out is known when the ASID is flushed.
 */
static void dead_test_exit(struct kunit *test)
{
	struct arm_smmu_fake *fakes[CMDQ_PASS_SYNCS];
	struct iommu_sva *handles[CMDQ_PASS_SYNCS];
	struct mm_struct *mm = mm_alloc();
	const u64 timeout = (u64)ARM_SMMU_POLL_TIMEOUT_US * NSEC_PER_USEC;
	struct arm_smmu_cmd cmd;
	bool cfgi_all = false;
	unsigned int i;
	u64 start;

	KUNIT_ASSERT_NOT_NULL(test, mm);
	for (i = 0; i < ARRAY_SIZE(fakes); i++) {
		struct arm_smmu_fake_master *fm;

		fakes[i] = arm_smmu_fake_create(test, 7);
		fakes[i]->smmu.features |= ARM_SMMU_FEAT_SVA;
		fm = arm_smmu_fake_add_master(fakes[i], 1, 4);
		arm_smmu_fake_queue_set_time(&fakes[i]->queue, 200, 0);
		handles[i] = iommu_sva_bind_device(fm->dev, mm);
		KUNIT_ASSERT_NOT_ERR_OR_NULL(test, handles[i]);
	}

	arm_smmu_fake_stop(fakes[0], 0);
	start = arm_smmu_fake_now();
	mmput(mm);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_num_timeouts(), 2);
	KUNIT_EXPECT_LT(test, arm_smmu_fake_now() - start, 2 * timeout + timeout / 2);
	KUNIT_EXPECT_LT(test, arm_smmu_fake_longest_wait(), timeout + timeout / 2);

	arm_smmu_fake_start(fakes[0]);
	arm_smmu_fake_drop_cmds(fakes[0]);
	for (i = 0; i < ARRAY_SIZE(fakes); i++)
		iommu_sva_unbind_device(handles[i]);
	while (!cfgi_all && arm_smmu_fake_next_cmd(fakes[0], &cmd))
		cfgi_all = FIELD_GET(CMDQ_0_OP, cmd.data[0]) == CMDQ_OP_CFGI_ALL;
	KUNIT_EXPECT_TRUE(test, cfgi_all);
}
#endif

static struct kunit_case dead_test_cases[] = {
	KUNIT_CASE(dead_test_others),
	KUNIT_CASE(dead_test_leaves),
	KUNIT_CASE(dead_test_revives),
#if IS_ENABLED(CONFIG_ARM_SMMU_V3_SVA)
	KUNIT_CASE(dead_test_exit),
#endif
	{}
};

static struct kunit_suite dead_test_suite = {
	.name = "arm-smmu-v3-dead",
	.init = dead_test_init,
	.suite_init = arm_smmu_fake_suite_init,
	.suite_exit = arm_smmu_fake_suite_exit,
	.test_cases = dead_test_cases,
};

kunit_test_suite(dead_test_suite);
