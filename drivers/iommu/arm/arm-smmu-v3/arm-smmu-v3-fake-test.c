// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of the fake SMMU itself, on which the other tests rely
 */
#include <linux/slab.h>

#include "arm-smmu-v3-fake.h"

#define TEST_SID	1
#define TEST_IOVA	SZ_1G

static void fake_test_expect_cmd(struct kunit *test, struct arm_smmu_fake *fake,
				 u64 op, struct arm_smmu_cmd *cmd)
{
	KUNIT_ASSERT_TRUE(test, arm_smmu_fake_next_cmd(fake, cmd));
	KUNIT_ASSERT_EQ(test, cmd->data[0] & CMDQ_0_OP, op);
}

/* The core attaches a device and the driver tells the SMMU */
static void fake_test_attach(struct kunit *test)
{
	struct arm_smmu_fake *fake = arm_smmu_fake_create(test, 8);
	struct arm_smmu_fake_master *fm =
		arm_smmu_fake_add_master(fake, TEST_SID, 0);
	struct arm_smmu_ste *ste =
		&fake->smmu.strtab_cfg.linear.table[TEST_SID];
	struct arm_smmu_cmd cmd;
	struct iommu_domain *s1;
	u64 cfg;
	u32 sid;

	s1 = arm_smmu_fake_alloc_domain(fm, 0);
	KUNIT_EXPECT_FALSE(test, arm_smmu_fake_next_cmd(fake, &cmd));
	cfg = FIELD_GET(STRTAB_STE_0_CFG, le64_to_cpu(ste->data[0]));
	KUNIT_EXPECT_EQ(test, cfg, STRTAB_STE_0_CFG_ABORT);

	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(fm, s1));
	cfg = FIELD_GET(STRTAB_STE_0_CFG, le64_to_cpu(ste->data[0]));
	KUNIT_EXPECT_EQ(test, cfg, STRTAB_STE_0_CFG_S1_TRANS);

	/* The CD, V being last, and then the STE that points to it */
	fake_test_expect_cmd(test, fake, CMDQ_OP_CFGI_CD, &cmd);
	fake_test_expect_cmd(test, fake, CMDQ_OP_CMD_SYNC, &cmd);
	fake_test_expect_cmd(test, fake, CMDQ_OP_CFGI_CD, &cmd);
	fake_test_expect_cmd(test, fake, CMDQ_OP_CMD_SYNC, &cmd);
	fake_test_expect_cmd(test, fake, CMDQ_OP_CFGI_STE, &cmd);
	sid = FIELD_GET(CMDQ_CFGI_0_SID, cmd.data[0]);
	KUNIT_EXPECT_EQ(test, sid, TEST_SID);
	fake_test_expect_cmd(test, fake, CMDQ_OP_CMD_SYNC, &cmd);
}

/* Commands are read back in order, also when the queue wraps */
static void fake_test_cmds(struct kunit *test)
{
	struct arm_smmu_fake *fake = arm_smmu_fake_create(test, 7);
	struct arm_smmu_fake_master *fm =
		arm_smmu_fake_add_master(fake, TEST_SID, 0);
	struct iommu_domain *s1 = arm_smmu_fake_alloc_domain(fm, 0);
	struct arm_smmu_cmd cmd;
	unsigned long iova;
	unsigned int i;

	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(fm, s1));
	arm_smmu_fake_drop_cmds(fake);

	for (i = 0; i < 200; i++) {
		iova = TEST_IOVA + i * SZ_4K;
		KUNIT_ASSERT_EQ(test, 0,
				iommu_map(s1, iova, SZ_4K, SZ_4K, IOMMU_READ,
					  GFP_KERNEL));
		KUNIT_ASSERT_EQ(test, SZ_4K, iommu_unmap(s1, iova, SZ_4K));
		fake_test_expect_cmd(test, fake, CMDQ_OP_TLBI_NH_VA, &cmd);
		KUNIT_ASSERT_EQ(test, cmd.data[1] & CMDQ_TLBI_1_VA_MASK, iova);
		fake_test_expect_cmd(test, fake, CMDQ_OP_CMD_SYNC, &cmd);
		KUNIT_ASSERT_FALSE(test, arm_smmu_fake_next_cmd(fake, &cmd));
	}
}

/* A stopped SMMU takes commands, but their CMD_SYNC does not complete */
static void fake_test_stop(struct kunit *test)
{
	struct arm_smmu_fake *fake = arm_smmu_fake_create(test, 7);
	struct arm_smmu_fake_master *fm =
		arm_smmu_fake_add_master(fake, TEST_SID, 0);
	struct iommu_domain *s1 = arm_smmu_fake_alloc_domain(fm, 0);
	struct arm_smmu_cmd cmd;
	ktime_t start;

	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(fm, s1));
	KUNIT_ASSERT_EQ(test, 0,
			iommu_map(s1, TEST_IOVA, 2 * SZ_4K, 2 * SZ_4K,
				  IOMMU_READ, GFP_KERNEL));
	arm_smmu_fake_drop_cmds(fake);

	/* It still consumes one TLBI and its CMD_SYNC */
	arm_smmu_fake_stop(fake, 2);
	start = ktime_get();
	KUNIT_EXPECT_EQ(test, SZ_4K, iommu_unmap(s1, TEST_IOVA, SZ_4K));
	KUNIT_EXPECT_LT(test, ktime_us_delta(ktime_get(), start),
			ARM_SMMU_POLL_TIMEOUT_US);
	start = ktime_get();
	KUNIT_EXPECT_EQ(test, SZ_4K, iommu_unmap(s1, TEST_IOVA + SZ_4K, SZ_4K));
	KUNIT_EXPECT_GE(test, ktime_us_delta(ktime_get(), start),
			ARM_SMMU_POLL_TIMEOUT_US);

	fake_test_expect_cmd(test, fake, CMDQ_OP_TLBI_NH_VA, &cmd);
	fake_test_expect_cmd(test, fake, CMDQ_OP_CMD_SYNC, &cmd);
	fake_test_expect_cmd(test, fake, CMDQ_OP_TLBI_NH_VA, &cmd);
	fake_test_expect_cmd(test, fake, CMDQ_OP_CMD_SYNC, &cmd);

	arm_smmu_fake_start(fake);
}

/* Just the allocation asked for fails, and the others are counted */
static void fake_test_slab(struct kunit *test)
{
	unsigned int nth, i;
	void *p[3];
	int balance;
	bool failed;

	for (nth = 1; nth <= ARRAY_SIZE(p) + 1; nth++) {
		if (arm_smmu_fake_slab_start(test, nth))
			kunit_skip(test,
				   "needs CONFIG_KPROBES and CONFIG_FAILSLAB");
		for (i = 0; i < ARRAY_SIZE(p); i++)
			p[i] = kmalloc(64, GFP_KERNEL);
		kfree(p[0]);
		failed = arm_smmu_fake_slab_stop(test, &balance);

		for (i = 0; i < ARRAY_SIZE(p); i++)
			KUNIT_EXPECT_EQ_MSG(test, !p[i], i + 1 == nth,
					    "allocation %u of 3, %u to fail",
					    i + 1, nth);
		KUNIT_EXPECT_EQ(test, failed, nth <= ARRAY_SIZE(p));
		KUNIT_EXPECT_EQ(test, balance, !!p[1] + !!p[2]);
		kfree(p[1]);
		kfree(p[2]);
	}
}

static struct kunit_case arm_smmu_v3_fake_test_cases[] = {
	KUNIT_CASE(fake_test_attach),
	KUNIT_CASE(fake_test_cmds),
	KUNIT_CASE_SLOW(fake_test_stop),
	KUNIT_CASE(fake_test_slab),
	{}
};

static struct kunit_suite arm_smmu_v3_fake_test_suite = {
	.name = "arm-smmu-v3-fake",
	.test_cases = arm_smmu_v3_fake_test_cases,
};

kunit_test_suites(&arm_smmu_v3_fake_test_suite);
