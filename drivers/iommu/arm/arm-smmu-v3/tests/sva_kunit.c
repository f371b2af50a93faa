// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of SVA with the mm of a real process, on fake SMMUs
 */
#include <linux/delay.h>
#include <linux/mmu_notifier.h>
#include <linux/sched/mm.h>

#include "fake.h"

#define TEST_SMMUS	8
#define TEST_ROUNDS	12

/* A device that a process is bound to, and its SMMU */
struct sva_test_dev {
	struct arm_smmu_fake *fake;
	struct arm_smmu_fake_master *fm;
	struct iommu_sva *handle;
	u32 asid;
};

KUNIT_DEFINE_ACTION_WRAPPER(mmput_wrapper, mmput, struct mm_struct *);
KUNIT_DEFINE_ACTION_WRAPPER(unbind_wrapper, iommu_sva_unbind_device,
			    struct iommu_sva *);

/* The mm of a process, which exits at kunit_release_action(mmput_wrapper) */
static struct mm_struct *sva_test_alloc_mm(struct kunit *test)
{
	struct mm_struct *mm = mm_alloc();

	KUNIT_ASSERT_NOT_NULL(test, mm);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, mmput_wrapper, mm));
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
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, unbind_wrapper,
						  td->handle));
}

static u64 sva_test_cd(struct sva_test_dev *td, u32 pasid, unsigned int i)
{
	return le64_to_cpu(arm_smmu_fake_cd(td->fm, pasid)->data[i]);
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
 * A process exits on @exit_cpu while a device is unbound from it on @cpu. In
 * either order the CD is invalid in the end, and is counted as such.
 */
static void sva_test_race(struct kunit *test, unsigned int cpu,
			  unsigned int exit_cpu)
{
	struct sva_test_exit *exit;
	struct task_struct *task;
	struct sva_test_dev td;
	unsigned int i;
	u32 pasid;

	sva_test_add_dev(test, &td);
	arm_smmu_fake_set_time(td.fake, 100);
	exit = kunit_kzalloc(test, sizeof(*exit), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, exit);
	KUNIT_ASSERT_EQ(test, 0,
			set_cpus_allowed_ptr(current, cpumask_of(cpu)));

	for (i = 0; i < TEST_ROUNDS; i++) {
		exit->mm = sva_test_alloc_mm(test);
		/* Only staggers the two */
		exit->usecs = i * 50;
		sva_test_bind(test, &td, exit->mm);
		pasid = iommu_sva_get_pasid(td.handle);
		KUNIT_ASSERT_EQ(test, td.fm->master->cd_table.used_ssids, 1);

		task = arm_smmu_fake_create_task(test, sva_test_exit, exit,
						 exit_cpu);
		kunit_remove_action(test, mmput_wrapper, exit->mm);
		sched_set_fifo(task);
		wake_up_process(task);
		kunit_release_action(test, unbind_wrapper, td.handle);
		arm_smmu_fake_join_task(test, task);
		arm_smmu_fake_stop_task(test, task);

		KUNIT_ASSERT_EQ_MSG(test, sva_test_cd(&td, pasid, 0), 0,
				    "round %u", i);
		KUNIT_ASSERT_EQ_MSG(test, td.fm->master->cd_table.used_ssids, 0,
				    "round %u", i);
		/* The next round gets the same PASID */
		mmu_notifier_synchronize();
	}
}

/* On one CPU the exit, of higher priority, cuts in where the unbind lets it */
static void sva_test_exit_in_unbind(struct kunit *test)
{
	unsigned int cpu = raw_smp_processor_id();

	if (!IS_ENABLED(CONFIG_PREEMPTION))
		kunit_skip(test, "needs CONFIG_PREEMPTION");
	sva_test_race(test, cpu, cpu);
}

/* The unbind comes in the middle of the exit, which nothing can preempt */
static void sva_test_unbind_in_exit(struct kunit *test)
{
	unsigned int cpu = raw_smp_processor_id();

	if (num_online_cpus() < 2)
		kunit_skip(test, "needs two CPUs");
	sva_test_race(test, cpu, cpumask_any_but(cpu_online_mask, cpu));
}

/* An exit leaves alone a PASID on the list of which the CD is clear */
static void sva_test_exit_behind_clear(struct kunit *test)
{
	struct mm_struct *mm = sva_test_alloc_mm(test);
	struct arm_smmu_cd *cd, saved;
	struct mmu_notifier *mn;
	struct sva_test_dev td;

	sva_test_add_dev(test, &td);
	sva_test_bind(test, &td, mm);
	cd = arm_smmu_fake_cd(td.fm, iommu_sva_get_pasid(td.handle));
	/* As a detach does before it takes the PASID from the list */
	saved = *cd;
	memset(cd, 0, sizeof(*cd));
	mn = &to_smmu_domain(td.handle->handle.domain)->mmu_notifier;
	mn->ops->release(mn, mm);
	KUNIT_EXPECT_EQ(test, 0, le64_to_cpu(cd->data[0]));
	*cd = saved;
	kunit_release_action(test, unbind_wrapper, td.handle);
}

/* A process with devices behind many SMMUs exits before it is unbound */
static void sva_test_exit_many(struct kunit *test)
{
	struct mm_struct *mm = sva_test_alloc_mm(test);
	struct sva_test_dev *tds;
	unsigned int i, j;
	u64 val, ttb;
	u32 pasid;

	tds = kunit_kcalloc(test, TEST_SMMUS, sizeof(*tds), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, tds);
	for (i = 0; i < TEST_SMMUS; i++) {
		sva_test_add_dev(test, &tds[i]);
		/* The process has another ASID on each SMMU */
		for (j = 0; j < i; j++)
			KUNIT_ASSERT_GT(test,
					ida_alloc_min(&tds[i].fake->smmu.asid_map,
						      1, GFP_KERNEL), 0);
		sva_test_bind(test, &tds[i], mm);
		pasid = mm->iommu_mm->pasid;
		val = sva_test_cd(&tds[i], pasid, 0);
		ttb = sva_test_cd(&tds[i], pasid, 1) & CTXDESC_CD_1_TTB0_MASK;
		tds[i].asid = FIELD_GET(CTXDESC_CD_0_ASID, val);
		KUNIT_EXPECT_EQ(test, tds[i].asid, i + 1);
		KUNIT_EXPECT_EQ(test, ttb, virt_to_phys(mm->pgd));
		arm_smmu_fake_set_time(tds[i].fake, 200);
	}
	/* One domain, hence one notifier, which is a part of it */
	KUNIT_ASSERT_TRUE(test, list_is_singular(&mm->iommu_mm->sva_domains));

	for (i = 0; i < TEST_SMMUS; i++)
		arm_smmu_fake_drop_cmds(tds[i].fake);
	kunit_release_action(test, mmput_wrapper, mm);
	for (i = 0; i < TEST_SMMUS; i++) {
		const struct arm_smmu_cmd flush =
			arm_smmu_make_cmd_tlbi(CMDQ_OP_TLBI_NH_ASID,
					       tds[i].asid, 0);
		bool flushed = false;
		struct arm_smmu_cmd cmd;

		/* Valid, so nothing is reported, but every walk is off */
		val = sva_test_cd(&tds[i], pasid, 0);
		KUNIT_EXPECT_TRUE(test, val & CTXDESC_CD_0_V);
		KUNIT_EXPECT_TRUE(test, val & CTXDESC_CD_0_TCR_EPD0);
		KUNIT_EXPECT_TRUE(test, val & CTXDESC_CD_0_TCR_EPD1);
		KUNIT_EXPECT_FALSE(test, val & CTXDESC_CD_0_ASID);
		while (arm_smmu_fake_next_cmd(tds[i].fake, &cmd)) {
			KUNIT_EXPECT_FALSE(test, flushed &&
					   (cmd.data[0] & CMDQ_0_OP) ==
					   CMDQ_OP_CFGI_CD);
			flushed |= cmd.data[0] == flush.data[0];
		}
		KUNIT_EXPECT_TRUE(test, flushed);
		kunit_release_action(test, unbind_wrapper, tds[i].handle);
		KUNIT_EXPECT_EQ(test, sva_test_cd(&tds[i], pasid, 0), 0);
		for (j = 1; j <= i; j++)
			ida_free(&tds[i].fake->smmu.asid_map, j);
	}
}

/* An SMMU that cannot use the page table of the CPU gets none */
static void sva_test_unsupported(struct kunit *test)
{
	struct mm_struct *mm = sva_test_alloc_mm(test);
	struct sva_test_dev td, bad;

	sva_test_add_dev(test, &td);
	sva_test_add_dev(test, &bad);
	bad.fake->smmu.features &= ~ARM_SMMU_FEAT_SVA;
	sva_test_bind(test, &td, mm);
	KUNIT_EXPECT_EQ(test, -EINVAL,
			arm_smmu_fake_set_pasid(bad.fm,
						td.handle->handle.domain,
						mm->iommu_mm->pasid, NULL));
	bad.handle = iommu_sva_bind_device(bad.fm->dev, mm);
	KUNIT_EXPECT_EQ(test, PTR_ERR_OR_ZERO(bad.handle), -EOPNOTSUPP);
	arm_smmu_fake_expect_cmds(bad.fake, NULL, 0);
	KUNIT_EXPECT_TRUE(test, ida_is_empty(&bad.fake->smmu.asid_map));
	kunit_release_action(test, unbind_wrapper, td.handle);
}

/* Each allocation of a bind fails in turn, then each of an unbind, in vain */
static void sva_test_no_memory(struct kunit *test)
{
	struct mm_struct *mm = sva_test_alloc_mm(test);
	bool bind, failed = true;
	struct sva_test_dev td;
	unsigned int i, nth;
	u32 pasid = 0;
	int balance;

	sva_test_add_dev(test, &td);
	td.handle = NULL;
	for (i = 0, nth = 1; i < 2; i += !failed, nth = failed ? nth + 1 : 1) {
		bind = !i;
		if (!bind && !td.handle)
			td.handle = iommu_sva_bind_device(td.fm->dev, mm);
		KUNIT_ASSERT_FALSE(test, IS_ERR(td.handle));
		if (arm_smmu_fake_slab_start(test, nth))
			kunit_skip(test,
				   "needs CONFIG_KPROBES and CONFIG_FAILSLAB");
		if (bind)
			td.handle = iommu_sva_bind_device(td.fm->dev, mm);
		else
			iommu_sva_unbind_device(td.handle);
		failed = arm_smmu_fake_slab_stop(test, &balance);
		if (bind && !failed) {
			pasid = iommu_sva_get_pasid(td.handle);
			/* Handle, domain, array, arm_smmu_master_domain */
			KUNIT_EXPECT_GT(test, nth, 4);
			continue;
		}
		if (bind)
			KUNIT_ASSERT_EQ_MSG(test, PTR_ERR_OR_ZERO(td.handle),
					    -ENOMEM, "allocation %u", nth);
		td.handle = NULL;
		/* A domain is freed when its notifier cannot run any more */
		mmu_notifier_synchronize();
		KUNIT_EXPECT_TRUE(test, ida_is_empty(&td.fake->smmu.asid_map));
		KUNIT_EXPECT_EQ(test, td.fm->master->cd_table.used_ssids, 0);
		KUNIT_EXPECT_EQ_MSG(test, atomic_read(&mm->mm_users), 1,
				    "allocation %u", nth);
		if (!bind)
			KUNIT_EXPECT_EQ(test, sva_test_cd(&td, pasid, 0), 0);
	}
}

static struct kunit_case sva_test_cases[] = {
	KUNIT_CASE(sva_test_exit_in_unbind),
	KUNIT_CASE(sva_test_unbind_in_exit),
	KUNIT_CASE(sva_test_exit_behind_clear),
	KUNIT_CASE(sva_test_exit_many),
	KUNIT_CASE(sva_test_unsupported),
	KUNIT_CASE(sva_test_no_memory),
	{}
};

static struct kunit_suite sva_test_suite = {
	.name = "arm-smmu-v3-sva",
	.test_cases = sva_test_cases,
};

kunit_test_suite(sva_test_suite);
