// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of what may outlive what: SMMUs, those who read of them in
 * invalidation arrays, and domains
 */
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/rcupdate.h>

#include "arm-smmu-v3-fake.h"

#define TEST_READER_MS	50

struct life_test_reader {
	struct completion began;
	struct completion exited;
	bool left;
};

/* One who walks an array, and does not hurry */
static int life_test_read(void *data)
{
	struct life_test_reader *reader = data;

	rcu_read_lock();
	complete(&reader->began);
	mdelay(TEST_READER_MS);
	WRITE_ONCE(reader->left, true);
	rcu_read_unlock();
	kthread_complete_and_exit(&reader->exited, 0);
}

/* The SMMU is turned off when nobody can still issue commands to it */
static void life_test_disable_waits(struct kunit *test)
{
	struct arm_smmu_fake *fake = arm_smmu_fake_create(test, 7);
	struct life_test_reader *reader;
	struct task_struct *task;

	reader = kunit_kzalloc(test, sizeof(*reader), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, reader);
	init_completion(&reader->began);
	init_completion(&reader->exited);

	task = kthread_run(life_test_read, reader, "life-test-reader");
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, task);
	wait_for_completion(&reader->began);
	arm_smmu_disable_action(&fake->smmu);
	KUNIT_EXPECT_TRUE(test, READ_ONCE(reader->left));
	KUNIT_EXPECT_EQ(test, 0, readl(fake->smmu.base + ARM_SMMU_CR0));

	wait_for_completion(&reader->exited);
}

/*
 * The pages of a table are allocated and mapped for the SMMU that the domain was
 * made for. They need its device for as long as the domain lives, whoever else
 * uses the domain, and the domain does not need it any longer than that.
 */
static void life_test_table_device(struct kunit *test, u32 flags)
{
	struct arm_smmu_fake *fake = arm_smmu_fake_create(test, 8);
	struct arm_smmu_fake *other = arm_smmu_fake_create(test, 8);
	struct arm_smmu_fake_master *fm = arm_smmu_fake_add_master(fake, 1, 0);
	struct arm_smmu_fake_master *fm_other =
		arm_smmu_fake_add_master(other, 1, 0);
	struct kref *ref = &fake->smmu.dev->kobj.kref;
	struct kref *ref_other = &other->smmu.dev->kobj.kref;
	unsigned int before = kref_read(ref);
	unsigned int before_other = kref_read(ref_other);
	struct iommu_domain *domain = arm_smmu_fake_alloc_domain(fm, flags);

	KUNIT_EXPECT_EQ(test, kref_read(ref), before + 1);

	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(fm, domain));
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(fm_other, domain));
	KUNIT_ASSERT_EQ(test, 0,
			arm_smmu_fake_attach(fm, arm_smmu_ops.blocked_domain));
	KUNIT_EXPECT_EQ(test, kref_read(ref), before + 1);
	KUNIT_ASSERT_EQ(test, 0,
			arm_smmu_fake_attach(fm_other,
					     arm_smmu_ops.blocked_domain));
	KUNIT_EXPECT_EQ(test, kref_read(ref), before + 1);

	arm_smmu_fake_free_domain(fm, domain);
	KUNIT_EXPECT_EQ(test, kref_read(ref), before);
	KUNIT_EXPECT_EQ(test, kref_read(ref_other), before_other);
}

static void life_test_table_device_s1(struct kunit *test)
{
	life_test_table_device(test, 0);
}

static void life_test_table_device_s2(struct kunit *test)
{
	life_test_table_device(test, IOMMU_HWPT_ALLOC_NEST_PARENT);
}

static struct kunit_case arm_smmu_v3_life_test_cases[] = {
	KUNIT_CASE(life_test_disable_waits),
	KUNIT_CASE(life_test_table_device_s1),
	KUNIT_CASE(life_test_table_device_s2),
	{}
};

static struct kunit_suite arm_smmu_v3_life_test_suite = {
	.name = "arm-smmu-v3-life",
	.test_cases = arm_smmu_v3_life_test_cases,
};

kunit_test_suites(&arm_smmu_v3_life_test_suite);
