// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests with a dead SMMU: it consumes no commands, its queue is full, and an
 * invalidation and an attach wait for it. Other SMMUs must remain usable.
 */
#include <linux/delay.h>
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
	struct iommu_domain *parent;
	/* State of the task that a case runs */
	bool stop;
	bool started;
	bool ended;
	struct arm_vsmmu *vsmmu;
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

static int dead_test_attach(void *data)
{
	struct dead_test *dt = data;

	KUNIT_EXPECT_EQ(dt->dead->test, 0, arm_smmu_fake_attach(dt->fm_too, dt->dead_domain));
	return 0;
}

/* An RCU reader of one second */
static int dead_test_read(void *data)
{
	struct dead_test *dt = data;

	guard(rcu)();
	WRITE_ONCE(dt->started, true);
	mdelay(MSEC_PER_SEC);
	WRITE_ONCE(dt->ended, true);
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

static int dead_test_init(struct kunit *test)
{
	struct dead_test *dt = arm_smmu_fake_zalloc(test, sizeof(*dt));
	struct arm_smmu_fake_master *fm;

	if (num_online_cpus() < 2)
		kunit_skip(test, "needs two CPUs");
	test->priv = dt;
	dt->dead = arm_smmu_fake_create(test, TEST_SHIFT);
	fm = arm_smmu_fake_add_master(dt->dead, 1, 0);
	dt->fm_too = arm_smmu_fake_add_master(dt->dead, 2, 0);
	dt->dead_domain = arm_smmu_fake_alloc_domain(fm, 0);
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(fm, dt->dead_domain));

	dt->fake = arm_smmu_fake_create(test, 8);
	dt->fake->smmu.features |= ARM_SMMU_FEAT_SVA;
	dt->fm = arm_smmu_fake_add_pci_master(dt->fake, (u32[]){ 1 }, 1, 4);
	dt->domain = arm_smmu_fake_alloc_domain(dt->fm, 0);
	dt->parent = arm_smmu_fake_alloc_domain(dt->fm, IOMMU_HWPT_ALLOC_NEST_PARENT);
	return 0;
}

static void dead_test_end(void *data)
{
	struct dead_test *dt = data;

	WRITE_ONCE(dt->stop, true);
	arm_smmu_fake_freeze(false);
	arm_smmu_fake_start(dt->dead);
}

/* Fill the queue of the SMMU, then stop the virtual clock: a wait for it does not end */
static struct task_struct *dead_test_die(struct kunit *test)
{
	struct dead_test *dt = test->priv;
	struct task_struct *task;

	arm_smmu_fake_stop(dt->dead, 0);
	task = arm_smmu_fake_run_task(test, dead_test_inv_loop, dt);
	/* The task must end if an assertion fails */
	arm_smmu_fake_add_action(test, dead_test_end, dt);
	while (arm_smmu_fake_num_timeouts() < TEST_TIMEOUTS)
		cond_resched();
	arm_smmu_fake_freeze(true);
	return task;
}

static void dead_test_revive(struct kunit *test, struct task_struct *task)
{
	dead_test_end(test->priv);
	arm_smmu_fake_join_task(test, task);
}

/* All that a device behind another SMMU may do. The process exits while it is bound. */
static void dead_test_use(struct kunit *test, struct dead_test *dt)
{
	struct iommu_sva *handle;
	struct mm_struct *mm;

	KUNIT_EXPECT_EQ(test, 0, arm_smmu_fake_attach(dt->fm, dt->domain));
	KUNIT_EXPECT_EQ(test, 0, iommu_map(dt->domain, TEST_IOVA, 0, SZ_64K, IOMMU_READ,
					   GFP_KERNEL));
	KUNIT_EXPECT_EQ(test, SZ_64K, iommu_unmap(dt->domain, TEST_IOVA, SZ_64K));
	KUNIT_EXPECT_EQ(test, 0, arm_smmu_fake_attach(dt->fm, dt->parent));
	KUNIT_EXPECT_EQ(test, 0, arm_smmu_fake_block(dt->fm));
	KUNIT_EXPECT_EQ(test, 0, arm_smmu_fake_set_pasid(dt->fm, dt->domain, TEST_PASID, NULL));
	KUNIT_EXPECT_EQ(test, 0, arm_smmu_fake_clear_pasid(dt->fm, TEST_PASID, dt->domain));
	if (IS_ENABLED(CONFIG_ARM_SMMU_V3_IOMMUFD))
		kunit_release_action(test, arm_smmu_fake_vsmmu_destroy,
				     arm_smmu_fake_alloc_vsmmu(dt->fake, dt->parent));
	mm = mm_alloc();
	KUNIT_ASSERT_NOT_NULL(test, mm);
	handle = iommu_sva_bind_device(dt->fm->dev, mm);
	mmput(mm);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, handle);
	iommu_sva_unbind_device(handle);
	synchronize_rcu();
}

static void dead_test_debugfs(struct kunit *test, struct arm_smmu_device *smmu)
{
#ifdef CONFIG_IOMMU_DEBUGFS
	struct seq_file file = { .private = smmu, .size = SZ_4K };

	file.buf = arm_smmu_fake_zalloc(test, file.size);
	KUNIT_EXPECT_EQ(test, 0, arm_smmu_debugfs_show(&file, NULL));
#endif
}

static void dead_test_others(struct kunit *test)
{
	struct device_driver *drv = driver_find("arm-smmu-v3", &platform_bus_type);
	struct dead_test *dt = test->priv;
	struct task_struct *task, *attach;
	unsigned int num;

	KUNIT_ASSERT_NOT_NULL(test, drv);
	task = dead_test_die(test);
	attach = arm_smmu_fake_run_task(test, dead_test_attach, dt);
	/* And so must this one, which is stopped first */
	arm_smmu_fake_add_action(test, dead_test_end, dt);
	num = arm_smmu_fake_num_timeouts();
	while (!mutex_is_locked(&to_smmu_domain(dt->dead_domain)->lock))
		cond_resched();
	dead_test_use(test, dt);
	dead_test_debugfs(test, &dt->dead->smmu);
	/* A shutdown of the dead SMMU does not wait for RCU readers */
	dead_test_start(test, dead_test_read);
	to_platform_driver(drv)->shutdown(dt->dead->pdev);
	KUNIT_EXPECT_FALSE(test, READ_ONCE(dt->ended));
	KUNIT_EXPECT_EQ(test, num, arm_smmu_fake_num_timeouts());
	/* Interrupts are disabled for one CMD_SYNC timeout at most */
	KUNIT_EXPECT_LT(test, READ_ONCE(arm_smmu_fake_clock.longest_irqs_off), 2 * TEST_TIMEOUT);

	dead_test_revive(test, task);
	arm_smmu_fake_join_task(test, attach);
}

/* An invalidation no longer waits for an SMMU when the array has no users of it any more */
static void dead_test_leaves(struct kunit *test)
{
	struct dead_test *dt = test->priv;
	struct task_struct *task = dead_test_die(test);
	struct arm_smmu_inv *inv = arm_smmu_fake_invs(dt->dead_domain)->inv;
	unsigned long end = jiffies + 60 * HZ;

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
	KUNIT_EXPECT_EQ(dt->dead->test, -EINTR,
			dt->vsmmu->core.ops->cache_invalidate(&dt->vsmmu->core, &dt->array));
	WRITE_ONCE(dt->ended, true);
	flush_signals(current);
	kthread_unuse_mm(dt->mm);
	return 0;
}

/*
 * A VMM whose guest's invalidation waits for queue space does not delay RCU grace
 * periods, and can be killed.
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
	dt->vsmmu = arm_smmu_fake_alloc_vsmmu(dt->dead, dt->parent);

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
	KUNIT_EXPECT_EQ(test, dt->array.entry_num, 0);
	/* The command of the guest was not issued */
	KUNIT_EXPECT_EQ(test, dt->dead->log_head - log_head, (1 << TEST_SHIFT) + 2);
}

/*
 * A process that is bound to devices behind many SMMUs unmaps and exits, and one SMMU
 * consumes no commands. There are three waits, each for all SMMUs at the same time:
 * for the TLBIs of the unmap, then for the CFGIs and for the TLBIs of the exit. The
 * timeout of the CFGI is counted, so that a CFGI_ALL comes before the next flush.
 */
static void dead_test_many(struct kunit *test)
{
	struct arm_smmu_fake *fakes[CMDQ_PASS_SYNCS];
	struct iommu_sva *handles[CMDQ_PASS_SYNCS];
	struct mm_struct *mm = mm_alloc();
	unsigned int i;
	u64 start;

	KUNIT_ASSERT_NOT_NULL(test, mm);
	for (i = 0; i < ARRAY_SIZE(fakes); i++) {
		fakes[i] = arm_smmu_fake_create(test, 7);
		fakes[i]->smmu.features |= ARM_SMMU_FEAT_SVA;
		arm_smmu_fake_set_time(fakes[i], 100 * USEC_PER_MSEC);
		handles[i] = iommu_sva_bind_device(arm_smmu_fake_add_master(fakes[i], 1, 4)->dev,
						   mm);
		KUNIT_ASSERT_NOT_ERR_OR_NULL(test, handles[i]);
	}

	arm_smmu_fake_stop(fakes[0], 0);
	start = arm_smmu_fake_now();
	arm_smmu_domain_inv(to_smmu_domain(handles[0]->handle.domain));
	mmput(mm);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_num_timeouts(), 3);
	KUNIT_EXPECT_LT(test, arm_smmu_fake_now() - start, 3 * TEST_TIMEOUT + TEST_TIMEOUT / 2);
	KUNIT_EXPECT_EQ(test, atomic_read(&fakes[0]->smmu.cfgi_timeouts), 1);
	/* Interrupts are enabled between two waits. CONFIG_TRACE_IRQFLAGS tells them apart. */
	KUNIT_EXPECT_LT(test, arm_smmu_fake_clock.longest_irqs_off,
			TEST_TIMEOUT + TEST_TIMEOUT / 2);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_clock.num_joined, 0);

	arm_smmu_fake_start(fakes[0]);
	for (i = 0; i < ARRAY_SIZE(fakes); i++)
		iommu_sva_unbind_device(handles[i]);
}

/*
 * The release of a device with ATS enabled waits for RCU readers that issue ATC_INVs for
 * it. The removal of an SMMU waits for RCU readers that use its queue.
 */
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

	get_state_synchronize_rcu_full(&gp);
	arm_smmu_disable_action(&dt->fake->smmu);
	KUNIT_EXPECT_TRUE(test, poll_state_synchronize_rcu_full(&gp));
	KUNIT_EXPECT_EQ(test, 0, readl(dt->fake->smmu.base + ARM_SMMU_CR0));
}

/* The domain with the lower address is locked first, whichever is the old domain */
static void dead_test_order(struct kunit *test)
{
	struct dead_test *dt = test->priv;
	struct mutex *low = &to_smmu_domain(min(dt->domain, dt->dead_domain))->lock;
	struct mutex *high = &to_smmu_domain(max(dt->domain, dt->dead_domain))->lock;
	struct task_struct *task;
	int i;

	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(dt->fm_too, dt->domain));
	for (i = 0; i < 2; i++) {
		mutex_lock(low);
		task = arm_smmu_fake_run_task(test, dead_test_attach, dt);
		arm_smmu_fake_await_sleep(task);
		if (mutex_trylock(high))
			mutex_unlock(high);
		else
			KUNIT_FAIL(test, "the higher one is locked");
		mutex_unlock(low);
		arm_smmu_fake_join_task(test, task);
		swap(dt->domain, dt->dead_domain);
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
	.suite_exit = arm_smmu_fake_suite_exit,
	.init = dead_test_init,
	.test_cases = dead_test_cases,
};

kunit_test_suite(dead_test_suite);
