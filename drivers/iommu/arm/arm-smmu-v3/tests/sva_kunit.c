// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of SVA with the mm of a real process, on fake SMMUs
 */
#include <linux/delay.h>
#include <linux/mmu_notifier.h>
#include <linux/sched/mm.h>

#include "fake.h"

#define TEST_SMMUS	3
#define TEST_ROUNDS	8

/* A device that a process is bound to, and its SMMU */
struct sva_test_dev {
	struct arm_smmu_fake *fake;
	struct arm_smmu_fake_master *fm;
	struct iommu_sva *handle;
	struct arm_smmu_cd *cd;
	bool invalid;
};

KUNIT_DEFINE_ACTION_WRAPPER(mmput_wrapper, mmput, struct mm_struct *);
KUNIT_DEFINE_ACTION_WRAPPER(unbind_wrapper, iommu_sva_unbind_device,
			    struct iommu_sva *);

/* The mm of a process, which exits at kunit_release_action(mmput_wrapper) */
static struct mm_struct *sva_test_alloc_mm(struct kunit *test)
{
	struct mm_struct *mm = mm_alloc();

	KUNIT_ASSERT_NOT_NULL(test, mm);
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, mmput_wrapper, mm));
	return mm;
}

static void sva_test_add_dev(struct kunit *test, struct sva_test_dev *td)
{
	td->fake = arm_smmu_fake_create(test, 8);
	td->fake->smmu.features |= ARM_SMMU_FEAT_SVA;
	td->fm = arm_smmu_fake_add_master(td->fake, 1, 4);
}

static void sva_test_bind(struct kunit *test, struct sva_test_dev *td,
			  struct mm_struct *mm)
{
	td->handle = iommu_sva_bind_device(td->fm->dev, mm);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, td->handle);
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, unbind_wrapper, td->handle));
	td->cd = arm_smmu_fake_cd(td->fm, iommu_sva_get_pasid(td->handle));
}

struct sva_test_exit {
	struct mm_struct *mm;
	unsigned int usecs;
};

static int sva_test_exit(void *data)
{
	struct sva_test_exit *exit = data;

	if (exit->usecs)
		usleep_range(exit->usecs, exit->usecs + 1);
	mmput(exit->mm);
	return 0;
}

/*
 * A process exits while a device is unbound from it. On one CPU the exit, of
 * higher priority, cuts in where the unbind lets it. On two CPUs the unbind comes
 * in the middle of the exit, which nothing can preempt. The CD is invalid in the
 * end, and is counted as such.
 */
static void sva_test_exit_races(struct kunit *test)
{
	unsigned int i, cpu = raw_smp_processor_id();
	struct sva_test_exit *exit;
	struct task_struct *task;
	struct sva_test_dev td;

	if (!IS_ENABLED(CONFIG_PREEMPTION) || num_online_cpus() < 2)
		kunit_skip(test, "needs CONFIG_PREEMPTION and two CPUs");
	sva_test_add_dev(test, &td);
	arm_smmu_fake_set_time(td.fake, 100);
	exit = kunit_kzalloc(test, sizeof(*exit), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, exit);
	KUNIT_ASSERT_EQ(test, 0, set_cpus_allowed_ptr(current, cpumask_of(cpu)));

	for (i = 0; i < 2 * TEST_ROUNDS; i++) {
		exit->mm = sva_test_alloc_mm(test);
		/* Only staggers the two */
		exit->usecs = i / 2 * 50;
		sva_test_bind(test, &td, exit->mm);
		KUNIT_ASSERT_EQ(test, td.fm->master->cd_table.used_ssids, 1);

		task = arm_smmu_fake_create_task(test, sva_test_exit, exit, i & 1 ? cpu :
						 cpumask_any_but(cpu_online_mask, cpu));
		kunit_remove_action(test, mmput_wrapper, exit->mm);
		sched_set_fifo(task);
		wake_up_process(task);
		kunit_release_action(test, unbind_wrapper, td.handle);
		arm_smmu_fake_join_task(test, task);
		arm_smmu_fake_stop_task(test, task);

		KUNIT_ASSERT_EQ_MSG(test, le64_to_cpu(td.cd->data[0]), 0, "round %u", i);
		KUNIT_ASSERT_EQ_MSG(test, td.fm->master->cd_table.used_ssids, 0, "round %u", i);
		/* The next round gets the same PASID */
		mmu_notifier_synchronize();
	}
}

static void sva_test_step(struct arm_smmu_fake *fake)
{
	struct sva_test_dev *td = fake->model;

	td->invalid |= !(READ_ONCE(td->cd->data[0]) & cpu_to_le64(CTXDESC_CD_0_V));
}

/*
 * A process with devices behind many SMMUs exits before it is unbound. An SMMU
 * that cannot use the page table of the CPU gets none.
 */
static void sva_test_exit_many(struct kunit *test)
{
	static const struct arm_smmu_fake_ops ops = { .step = sva_test_step };
	struct mm_struct *mm = sva_test_alloc_mm(test);
	struct sva_test_dev *tds, bad;
	unsigned int i;
	u64 val, start;

	tds = kunit_kcalloc(test, TEST_SMMUS, sizeof(*tds), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, tds);
	for (i = 0; i < TEST_SMMUS; i++) {
		sva_test_add_dev(test, &tds[i]);
		/* The process has another ASID on each SMMU */
		arm_smmu_fake_take_ids(&tds[i].fake->smmu.asids, i);
		sva_test_bind(test, &tds[i], mm);
		val = le64_to_cpu(tds[i].cd->data[0]);
		val = FIELD_GET(CTXDESC_CD_0_ASID, val);
		KUNIT_EXPECT_EQ(test, val, i + 1);
		val = le64_to_cpu(tds[i].cd->data[1]) & CTXDESC_CD_1_TTB0_MASK;
		KUNIT_EXPECT_EQ(test, val, virt_to_phys(mm->pgd));
	}
	/* One domain, hence one notifier, which is a part of it */
	KUNIT_ASSERT_TRUE(test, list_is_singular(&mm->iommu_mm->sva_domains));

	sva_test_add_dev(test, &bad);
	bad.fake->smmu.features &= ~ARM_SMMU_FEAT_SVA;
	KUNIT_EXPECT_EQ(test, -EINVAL, arm_smmu_fake_set_pasid(bad.fm,
							       tds[0].handle->handle.domain,
							       mm->iommu_mm->pasid, NULL));
	bad.handle = iommu_sva_bind_device(bad.fm->dev, mm);
	KUNIT_EXPECT_EQ(test, PTR_ERR_OR_ZERO(bad.handle), -EOPNOTSUPP);
	arm_smmu_fake_expect_cmds(bad.fake, NULL, 0);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_num_ids(&bad.fake->smmu.asids), 0);

	for (i = 0; i < TEST_SMMUS; i++) {
		tds[i].fake->model = &tds[i];
		tds[i].fake->ops = &ops;
		arm_smmu_fake_set_time(tds[i].fake, 200);
	}
	start = arm_smmu_fake_now();
	kunit_release_action(test, mmput_wrapper, mm);
	/* Two phases, for all SMMUs at once */
	KUNIT_EXPECT_LT(test, arm_smmu_fake_now() - start, 4 * 200 * NSEC_PER_USEC);
	for (i = 0; i < TEST_SMMUS; i++) {
		tds[i].fake->ops = NULL;
		/* Valid all the time, so nothing is reported, and walks are off */
		KUNIT_EXPECT_FALSE(test, tds[i].invalid);
		val = le64_to_cpu(tds[i].cd->data[0]);
		KUNIT_EXPECT_TRUE(test, val & CTXDESC_CD_0_V);
		KUNIT_EXPECT_TRUE(test, val & CTXDESC_CD_0_TCR_EPD0);
		KUNIT_EXPECT_TRUE(test, val & CTXDESC_CD_0_TCR_EPD1);
		KUNIT_EXPECT_FALSE(test, val & CTXDESC_CD_0_ASID);
		kunit_release_action(test, unbind_wrapper, tds[i].handle);
		KUNIT_EXPECT_EQ(test, le64_to_cpu(tds[i].cd->data[0]), 0);
		arm_smmu_fake_free_ids(&tds[i].fake->smmu.asids, i);
	}
}

static void sva_test_expect_unbound(struct kunit *test, struct sva_test_dev *td,
				    struct mm_struct *mm, unsigned int nth)
{
	/* A domain is freed when its notifier cannot run any more */
	mmu_notifier_synchronize();
	KUNIT_EXPECT_EQ_MSG(test, arm_smmu_fake_num_ids(&td->fake->smmu.asids), 0,
			    "allocation %u", nth);
	KUNIT_EXPECT_EQ(test, td->fm->master->cd_table.used_ssids, 0);
	KUNIT_EXPECT_EQ_MSG(test, atomic_read(&mm->mm_users), 1, "allocation %u", nth);
}

/* Each allocation of a bind fails in turn */
static void sva_test_no_memory(struct kunit *test)
{
	struct mm_struct *mm = sva_test_alloc_mm(test);
	struct sva_test_dev td;
	unsigned int nth;
	int balance;

	sva_test_add_dev(test, &td);
	for (nth = 1;; nth++) {
		if (arm_smmu_fake_slab_start(test, nth))
			kunit_skip(test, "needs CONFIG_KPROBES and CONFIG_FAILSLAB");
		td.handle = iommu_sva_bind_device(td.fm->dev, mm);
		if (!arm_smmu_fake_slab_stop(test, &balance))
			break;
		KUNIT_ASSERT_EQ_MSG(test, PTR_ERR_OR_ZERO(td.handle), -ENOMEM,
				    "allocation %u", nth);
		sva_test_expect_unbound(test, &td, mm, nth);
	}
	/* Handle, domain, array, arm_smmu_master_domain */
	KUNIT_EXPECT_GT(test, nth, 4);

	iommu_sva_unbind_device(td.handle);
	sva_test_expect_unbound(test, &td, mm, nth);
}

static struct kunit_case sva_test_cases[] = {
	KUNIT_CASE(sva_test_exit_races),
	KUNIT_CASE(sva_test_exit_many),
	KUNIT_CASE(sva_test_no_memory),
	{}
};

static struct kunit_suite sva_test_suite = {
	.name = "arm-smmu-v3-sva",
	.suite_init = arm_smmu_fake_suite_init,
	.suite_exit = arm_smmu_fake_suite_exit,
	.test_cases = sva_test_cases,
};

kunit_test_suite(sva_test_suite);
