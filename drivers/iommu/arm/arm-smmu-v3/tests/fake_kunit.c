// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of the fake SMMU itself
 */
#include <linux/pci.h>
#include <linux/slab.h>

#include "fake.h"

#define TEST_SID	3

/* PASID and ATS of the driver reach the config space of the fake device */
static void fake_test_ats(struct kunit *test)
{
	struct arm_smmu_fake *fake = arm_smmu_fake_create(test, 8);
	struct arm_smmu_fake_master *fm =
		arm_smmu_fake_add_pci_master(fake, (u32[]){ TEST_SID }, 1, 4);
	struct iommu_domain *s1 = arm_smmu_fake_alloc_domain(fm, 0);

	KUNIT_EXPECT_TRUE(test, to_pci_dev(fm->dev)->pasid_enabled);
	KUNIT_EXPECT_EQ(test, fm->master->ssid_bits, 4);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_ats_ctrl(fm), 0);
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(fm, s1));
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_ats_ctrl(fm), PCI_ATS_CTRL_ENABLE);
	KUNIT_ASSERT_EQ(test, 0,
			arm_smmu_fake_attach(fm, arm_smmu_fake_blocked(fm)));
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_ats_ctrl(fm), 0);
}

/* A CMD_SYNC takes its time, and a wait ends with the timeout of the driver */
static void fake_test_time(struct kunit *test)
{
	struct arm_smmu_cmd cmd = { { CMDQ_OP_TLBI_NH_ASID } };
	struct arm_smmu_fake *fake = arm_smmu_fake_create(test, 8);
	u64 start = arm_smmu_fake_now(), stamp;

	arm_smmu_fake_set_time(fake, 20000);
	KUNIT_EXPECT_EQ(test, 0,
			arm_smmu_cmdq_issue_cmd_p(&fake->smmu, &cmd, true));
	KUNIT_EXPECT_GE(test, arm_smmu_fake_now() - start, 20 * NSEC_PER_MSEC);
	KUNIT_EXPECT_LT(test, arm_smmu_fake_now() - start, 21 * NSEC_PER_MSEC);
	KUNIT_ASSERT_TRUE(test, arm_smmu_fake_next_cmd(fake, &cmd));
	stamp = arm_smmu_fake_stamp(fake);
	KUNIT_ASSERT_TRUE(test, arm_smmu_fake_next_cmd(fake, &cmd));
	KUNIT_EXPECT_EQ(test, cmd.data[0] & CMDQ_0_OP, CMDQ_OP_CMD_SYNC);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_stamp(fake), stamp + 1);
	KUNIT_EXPECT_FALSE(test, arm_smmu_fake_next_cmd(fake, &cmd));

	/* The command is consumed, but not the CMD_SYNC */
	cmd.data[0] = CMDQ_OP_TLBI_NH_ASID;
	arm_smmu_fake_stop(fake, 1);
	start = arm_smmu_fake_now();
	KUNIT_EXPECT_EQ(test, -ETIMEDOUT,
			arm_smmu_cmdq_issue_cmd_p(&fake->smmu, &cmd, true));
	KUNIT_EXPECT_GE(test, arm_smmu_fake_now() - start, NSEC_PER_SEC);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_num_timeouts(), 1);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_queue_pending(&fake->queue), 1);
}

/* Records reach the driver in order, and an overflow is reported once */
static void fake_test_events(struct kunit *test)
{
	struct arm_smmu_fake *fake = arm_smmu_fake_create(test, 8);
	struct arm_smmu_ll_queue *llq = &fake->smmu.evtq.q.llq;
	const u64 evt[EVTQ_ENT_DWORDS] = {};
	unsigned int i, num = 1 << llq->max_n_shift;

	for (i = 0; i < num + 2; i++)
		scoped_guard(raw_spinlock_irqsave, &arm_smmu_fake_lock)
			KUNIT_EXPECT_EQ(test, arm_smmu_fake_event(fake, evt),
					i < num);
	KUNIT_EXPECT_NE(test, fake->evtq_prod & Q_OVERFLOW_FLAG, 0);
	arm_smmu_fake_handle_events(fake);
	KUNIT_EXPECT_EQ(test, fake->evtq_prod, fake->evtq_cons);
}

static void fake_test_slab_nth(struct kunit *test, unsigned int nth)
{
	bool failed, got[3];
	unsigned int i;
	void *p[3];
	int balance;

	if (arm_smmu_fake_slab_start(test, nth))
		kunit_skip(test, "needs CONFIG_KPROBES and CONFIG_FAILSLAB");
	for (i = 0; i < ARRAY_SIZE(p); i++) {
		p[i] = kmalloc(64, GFP_KERNEL);
		got[i] = p[i];
	}
	kfree(p[0]);
	failed = arm_smmu_fake_slab_stop(test, &balance);

	for (i = 0; i < ARRAY_SIZE(p); i++)
		KUNIT_EXPECT_EQ(test, got[i], i + 1 != nth);
	KUNIT_EXPECT_EQ(test, failed, nth <= ARRAY_SIZE(p));
	KUNIT_EXPECT_EQ(test, balance, got[1] + got[2]);
	kfree(p[1]);
	kfree(p[2]);
}

/* Only the nth allocation fails, and the others are counted */
static void fake_test_slab(struct kunit *test)
{
	unsigned int nth;

	for (nth = 1; nth <= 4; nth++)
		fake_test_slab_nth(test, nth);
}

static struct kunit_case arm_smmu_v3_fake_test_cases[] = {
	KUNIT_CASE(fake_test_ats),
	KUNIT_CASE(fake_test_time),
	KUNIT_CASE(fake_test_events),
	KUNIT_CASE(fake_test_slab),
	{}
};

static struct kunit_suite arm_smmu_v3_fake_test_suite = {
	.name = "arm-smmu-v3-fake",
	.test_cases = arm_smmu_v3_fake_test_cases,
};

kunit_test_suites(&arm_smmu_v3_fake_test_suite);
