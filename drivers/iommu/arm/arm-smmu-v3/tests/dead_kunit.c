// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests with a dead SMMU: it consumes no commands, its queue is full, and an
 * invalidation and an attach wait for it. Other SMMUs must remain usable.
 */
#include <linux/kthread.h>
#include <linux/platform_device.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <uapi/linux/iommufd.h>

#include "fake.h"

/* The smallest queue that a batch and its CMD_SYNC fit into */
#define TEST_SHIFT	7
#define TEST_IOVA	SZ_1G
#define TEST_PASID	2
/* One for each CMD_SYNC in the queue, then two for space in the full queue */
#define TEST_TIMEOUTS	((1 << TEST_SHIFT) / 2 + 2)
#define TEST_TIMEOUT	((u64)ARM_SMMU_POLL_TIMEOUT_US * NSEC_PER_USEC)

struct dead_test {
	struct arm_smmu_fake *dead;
	struct arm_smmu_fake *fake;
	struct arm_smmu_fake_master *fm_too;
	struct arm_smmu_fake_master *fm;
	struct iommu_domain *dead_domain;
	struct iommu_domain *domain;
	struct iommu_domain *other;
	struct iommu_domain *parent;
	/* State of the task that a case runs */
	bool stop;
	bool started;
	bool ended;
	int ret;
	struct arm_vsmmu vsmmu;
	struct mm_struct *mm;
	struct iommu_user_data_array array;
};

static int dead_test_inv_loop(void *data)
{
	struct dead_test *dt = data;

	while (!READ_ONCE(dt->stop))
		arm_smmu_domain_inv(to_smmu_domain(dt->dead_domain));
	WRITE_ONCE(dt->ended, true);
	return 0;
}

static int dead_test_wait_attach(void *data)
{
	struct dead_test *dt = data;

	return arm_smmu_fake_attach(dt->fm_too, dt->dead_domain);
}

/* An RCU reader of one second */
static int dead_test_read(void *data)
{
	unsigned long end = jiffies + HZ;
	struct dead_test *dt = data;

	rcu_read_lock();
	WRITE_ONCE(dt->started, true);
	while (time_before(jiffies, end))
		cpu_relax();
	WRITE_ONCE(dt->ended, true);
	rcu_read_unlock();
	return 0;
}

static struct task_struct *dead_test_start(struct kunit *test, int (*run)(void *data))
{
	struct dead_test *dt = test->priv;
	struct task_struct *task;

	dt->started = false;
	dt->ended = false;
	task = arm_smmu_fake_run_task(test, run, dt);
	while (!READ_ONCE(dt->started))
		cond_resched();
	return task;
}

static void dead_test_domains(struct kunit *test, struct dead_test *dt)
{
	KUNIT_EXPECT_EQ(test, 0, arm_smmu_fake_attach(dt->fm, dt->domain));
	KUNIT_EXPECT_TRUE(test, dt->fm->master->ats_enabled);
	KUNIT_EXPECT_EQ(test, 0, iommu_map(dt->domain, TEST_IOVA, 0, SZ_64K, IOMMU_READ,
					   GFP_KERNEL));
	KUNIT_EXPECT_EQ(test, SZ_64K, iommu_unmap(dt->domain, TEST_IOVA, SZ_64K));
	KUNIT_EXPECT_EQ(test, 0, arm_smmu_fake_attach(dt->fm, dt->other));
	KUNIT_EXPECT_EQ(test, 0, arm_smmu_fake_set_pasid(dt->fm, dt->domain, TEST_PASID, NULL));
	KUNIT_EXPECT_EQ(test, 0, arm_smmu_fake_clear_pasid(dt->fm, TEST_PASID, dt->domain));
	KUNIT_EXPECT_EQ(test, 0, arm_smmu_fake_block(dt->fm));
}

/* Bind, exit of the process, unbind. The dead SMMU is not used for SVA. */
static void dead_test_sva(struct kunit *test, struct dead_test *dt)
{
	struct mm_struct *mm = mm_alloc();
	struct iommu_sva *handle;

	KUNIT_ASSERT_NOT_NULL(test, mm);
	handle = iommu_sva_bind_device(dt->fm->dev, mm);
	mmput(mm);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, handle);
	iommu_sva_unbind_device(handle);
}

static void dead_test_debugfs(struct kunit *test, struct dead_test *dt)
{
#ifdef CONFIG_IOMMU_DEBUGFS
	struct seq_file file = { .private = &dt->dead->smmu, .size = SZ_4K };

	file.buf = arm_smmu_fake_zalloc(test, file.size);
	KUNIT_EXPECT_EQ(test, 0, arm_smmu_debugfs_show(&file, NULL));
#endif
}

/* Shut down the dead SMMU. A shutdown does not wait for RCU readers. */
static void dead_test_shutdown(struct kunit *test, struct dead_test *dt)
{
	struct device_driver *drv = driver_find("arm-smmu-v3", &platform_bus_type);

	KUNIT_ASSERT_NOT_NULL(test, drv);
	dead_test_start(test, dead_test_read);
	to_platform_driver(drv)->shutdown(dt->dead->pdev);
	KUNIT_EXPECT_FALSE(test, READ_ONCE(dt->ended));
}

static int dead_test_init(struct kunit *test)
{
	struct dead_test *dt = arm_smmu_fake_zalloc(test, sizeof(*dt));
	struct arm_smmu_fake_master *fm;
	const u32 sid = 1;

	test->priv = dt;
	dt->dead = arm_smmu_fake_create(test, TEST_SHIFT);
	fm = arm_smmu_fake_add_master(dt->dead, 1, 0);
	dt->fm_too = arm_smmu_fake_add_master(dt->dead, 2, 0);
	dt->dead_domain = arm_smmu_fake_alloc_domain(fm, 0);
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(fm, dt->dead_domain));

	dt->fake = arm_smmu_fake_create(test, 8);
	dt->fake->smmu.features |= ARM_SMMU_FEAT_SVA;
	dt->fm = arm_smmu_fake_add_pci_master(dt->fake, &sid, 1, 4);
	dt->domain = arm_smmu_fake_alloc_domain(dt->fm, 0);
	dt->other = arm_smmu_fake_alloc_domain(dt->fm, 0);
	dt->parent = arm_smmu_fake_alloc_domain(dt->fm, IOMMU_HWPT_ALLOC_NEST_PARENT);
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_block(dt->fm));
	return 0;
}

/* Fill the queue of the SMMU, then stop the virtual clock: a wait for it does not end */
static struct task_struct *dead_test_die(struct kunit *test)
{
	struct dead_test *dt = test->priv;
	struct task_struct *task;

	arm_smmu_fake_stop(dt->dead, 0);
	task = arm_smmu_fake_run_task(test, dead_test_inv_loop, dt);
	while (arm_smmu_fake_num_timeouts() < TEST_TIMEOUTS)
		cond_resched();
	arm_smmu_fake_freeze(true);
	return task;
}

static void dead_test_revive(struct kunit *test, struct task_struct *task)
{
	struct dead_test *dt = test->priv;

	WRITE_ONCE(dt->stop, true);
	arm_smmu_fake_freeze(false);
	arm_smmu_fake_start(dt->dead);
	arm_smmu_fake_join_task(test, task);
}

static void dead_test_others(struct kunit *test)
{
	struct dead_test *dt = test->priv;
	struct task_struct *task = dead_test_die(test);
	struct task_struct *attach = arm_smmu_fake_run_task(test, dead_test_wait_attach, dt);
	unsigned int num = arm_smmu_fake_num_timeouts();

	while (!mutex_is_locked(&to_smmu_domain(dt->dead_domain)->lock))
		cond_resched();
	dead_test_domains(test, dt);
	if (IS_ENABLED(CONFIG_ARM_SMMU_V3_IOMMUFD)) {
		KUNIT_EXPECT_EQ(test, 0, arm_smmu_fake_vsmmu_init(&dt->vsmmu, dt->fake,
								  dt->parent));
		arm_smmu_fake_vsmmu_destroy(&dt->vsmmu);
	}
	dead_test_sva(test, dt);
	dead_test_debugfs(test, dt);
	synchronize_rcu();
	dead_test_shutdown(test, dt);
	KUNIT_EXPECT_TRUE(test, dt->dead->queue.stopped);
	KUNIT_EXPECT_EQ(test, num, arm_smmu_fake_num_timeouts());
	/* Interrupts are disabled for one CMD_SYNC timeout at most */
	KUNIT_EXPECT_LT(test, READ_ONCE(arm_smmu_fake_clock.longest_irqs_off), 2 * TEST_TIMEOUT);

	dead_test_revive(test, task);
	arm_smmu_fake_join_task(test, attach);
	KUNIT_EXPECT_PTR_EQ(test, dt->dead_domain, iommu_get_domain_for_dev(dt->fm_too->dev));
}

/* An invalidation no longer waits for an SMMU when the array has no users of it any more */
static void dead_test_leaves(struct kunit *test)
{
	struct dead_test *dt = test->priv;
	struct task_struct *task = dead_test_die(test);
	struct arm_smmu_inv *inv = arm_smmu_invs_find(arm_smmu_fake_invs(dt->dead_domain),
						      &dt->dead->smmu, INV_TYPE_S1_ASID);
	unsigned long end = jiffies + 60 * HZ;

	KUNIT_ASSERT_NOT_NULL(test, inv);
	WRITE_ONCE(dt->stop, true);
	WRITE_ONCE(inv->users, 0);
	/* Host time, since the virtual clock is stopped. Only a failure takes a minute. */
	while (!READ_ONCE(dt->ended) && time_before(jiffies, end))
		cond_resched();
	KUNIT_EXPECT_TRUE(test, READ_ONCE(dt->ended));
	WRITE_ONCE(inv->users, 1);
	dead_test_revive(test, task);
}

static int dead_test_invalidate(void *data)
{
	struct dead_test *dt = data;

	kthread_use_mm(dt->mm);
	allow_kernel_signal(SIGKILL);
	WRITE_ONCE(dt->started, true);
	dt->ret = dt->vsmmu.core.ops->cache_invalidate(&dt->vsmmu.core, &dt->array);
	WRITE_ONCE(dt->ended, true);
	flush_signals(current);
	kthread_unuse_mm(dt->mm);
	return 0;
}

/*
 * A VMM whose guest's invalidation waits for queue space does not delay RCU grace
 * periods, and can be killed. The commands of the other task are issued when the
 * queue has space again.
 */
static void dead_test_guest(struct kunit *test)
{
	struct dead_test *dt = test->priv;
	struct task_struct *host, *guest;
	unsigned int num;
	u64 log_head;

	if (!IS_ENABLED(CONFIG_ARM_SMMU_V3_IOMMUFD))
		kunit_skip(test, "needs CONFIG_ARM_SMMU_V3_IOMMUFD");
	KUNIT_ASSERT_EQ(test, 0,
			arm_smmu_fake_guest_cmd(&dt->array, arm_smmu_fake_user_page(test),
						CMDQ_OP_TLBI_NSNH_ALL, 0));
	dt->mm = current->mm;
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_vsmmu_init(&dt->vsmmu, dt->dead, dt->parent));
	arm_smmu_fake_add_action(test, arm_smmu_fake_vsmmu_destroy, &dt->vsmmu);
	log_head = dt->dead->log_head;

	host = dead_test_die(test);
	arm_smmu_fake_freeze(false);
	guest = dead_test_start(test, dead_test_invalidate);
	num = arm_smmu_fake_num_timeouts();
	while (arm_smmu_fake_num_timeouts() < num + 4)
		cond_resched();
	synchronize_rcu();
	KUNIT_EXPECT_FALSE(test, READ_ONCE(dt->ended));
	send_sig(SIGKILL, guest, 1);
	num = arm_smmu_fake_num_timeouts();
	while (!READ_ONCE(dt->ended) && arm_smmu_fake_num_timeouts() < num + 1000)
		cond_resched();
	dead_test_revive(test, host);
	arm_smmu_fake_join_task(test, guest);
	KUNIT_EXPECT_EQ(test, dt->ret, -EINTR);
	KUNIT_EXPECT_EQ(test, dt->array.entry_num, 0);
	KUNIT_EXPECT_EQ(test, dt->dead->log_head - log_head, (1 << TEST_SHIFT) + 2);
}

/*
 * A process that is bound to devices behind many SMMUs unmaps and exits, and one SMMU
 * consumes no commands. There are three waits, each for all SMMUs at the same time:
 * for the TLBIs of the unmap, then for the CFGIs and for the TLBIs of the exit. Since
 * the CFGI timed out, the next flush of the ASID is preceded by a CFGI_ALL.
 */
static void dead_test_many(struct kunit *test)
{
	struct arm_smmu_fake *fakes[CMDQ_PASS_SYNCS];
	struct iommu_sva *handles[CMDQ_PASS_SYNCS];
	struct arm_smmu_fake_master *fm;
	struct mm_struct *mm = mm_alloc();
	struct arm_smmu_cmd cmd;
	bool cfgi_all = false;
	unsigned int i;
	u64 start;

	KUNIT_ASSERT_NOT_NULL(test, mm);
	for (i = 0; i < ARRAY_SIZE(fakes); i++) {
		fakes[i] = arm_smmu_fake_create(test, 7);
		fakes[i]->smmu.features |= ARM_SMMU_FEAT_SVA;
		fm = arm_smmu_fake_add_master(fakes[i], 1, 4);
		arm_smmu_fake_set_time(fakes[i], 100 * USEC_PER_MSEC);
		handles[i] = iommu_sva_bind_device(fm->dev, mm);
		KUNIT_ASSERT_NOT_ERR_OR_NULL(test, handles[i]);
	}

	arm_smmu_fake_stop(fakes[0], 0);
	start = arm_smmu_fake_now();
	arm_smmu_domain_inv(to_smmu_domain(handles[0]->handle.domain));
	mmput(mm);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_num_timeouts(), 3);
	KUNIT_EXPECT_LT(test, arm_smmu_fake_now() - start, 3 * TEST_TIMEOUT + TEST_TIMEOUT / 2);
	/* Interrupts are enabled between two waits. CONFIG_TRACE_IRQFLAGS tells them apart. */
	KUNIT_EXPECT_LT(test, arm_smmu_fake_clock.longest_irqs_off,
			TEST_TIMEOUT + TEST_TIMEOUT / 2);

	arm_smmu_fake_start(fakes[0]);
	arm_smmu_fake_drop_cmds(fakes[0]);
	for (i = 0; i < ARRAY_SIZE(fakes); i++)
		iommu_sva_unbind_device(handles[i]);
	while (!cfgi_all && arm_smmu_fake_next_cmd(fakes[0], &cmd))
		cfgi_all = FIELD_GET(CMDQ_0_OP, cmd.data[0]) == CMDQ_OP_CFGI_ALL;
	KUNIT_EXPECT_TRUE(test, cfgi_all);
}

/* The release of a device with ATS enabled waits for RCU readers that issue ATC_INVs for it */
static void dead_test_release(struct kunit *test)
{
	struct device *dev = arm_smmu_fake_zalloc(test, sizeof(*dev));
	struct arm_smmu_master *master = kzalloc_obj(*master);
	struct dead_test *dt = test->priv;
	struct dev_iommu param = { .priv = master };
	struct rcu_gp_seq gp;

	KUNIT_ASSERT_NOT_NULL(test, master);
	dev->iommu = &param;
	master->dev = dev;
	master->smmu = &dt->fake->smmu;
	master->ats_enabled = true;
	get_state_synchronize_rcu_full(&gp);
	/* Frees @master */
	dt->fake->smmu.iommu.ops->release_device(dev);
	KUNIT_EXPECT_TRUE(test, poll_state_synchronize_rcu_full(&gp));
}

static int dead_test_move(void *data)
{
	struct dead_test *dt = data;

	WRITE_ONCE(dt->started, true);
	dt->ret = arm_smmu_fake_attach(dt->fm, dt->other);
	return 0;
}

/* The domain with the lower address is locked first, whichever is the old domain */
static void dead_test_order(struct kunit *test)
{
	struct dead_test *dt = test->priv;
	struct mutex *low, *high;
	struct task_struct *task;
	int i;

	low = &to_smmu_domain(min(dt->domain, dt->other))->lock;
	high = &to_smmu_domain(max(dt->domain, dt->other))->lock;
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(dt->fm, dt->domain));
	for (i = 0; i < 2; i++) {
		mutex_lock(low);
		task = dead_test_start(test, dead_test_move);
		while (task_is_running(task))
			schedule_timeout_uninterruptible(1);
		KUNIT_EXPECT_TRUE(test, mutex_trylock(high));
		mutex_unlock(high);
		mutex_unlock(low);
		arm_smmu_fake_join_task(test, task);
		KUNIT_EXPECT_EQ(test, dt->ret, 0);
		swap(dt->domain, dt->other);
	}
}

static struct kunit_case dead_test_cases[] = {
	KUNIT_CASE(dead_test_others),
	KUNIT_CASE(dead_test_leaves),
	KUNIT_CASE(dead_test_guest),
	KUNIT_CASE(dead_test_many),
	KUNIT_CASE(dead_test_release),
	KUNIT_CASE(dead_test_order),
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
