// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of the fake SMMU itself, on which the other tests rely
 */
#include <linux/iopoll.h>
#include <linux/kthread.h>
#include <linux/pci.h>
#include <linux/slab.h>

#include "arm-smmu-v3-fake.h"

#define TEST_SID	1
#define TEST_IOVA	SZ_1G
#define TEST_NUM_SMMUS	16

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

/* Map a page, and unmap it, for which the driver invalidates */
static void fake_test_unmap(struct kunit *test, struct iommu_domain *domain)
{
	KUNIT_ASSERT_EQ(test, 0,
			iommu_map(domain, TEST_IOVA, SZ_4K, SZ_4K, IOMMU_READ,
				  GFP_KERNEL));
	KUNIT_ASSERT_EQ(test, SZ_4K, iommu_unmap(domain, TEST_IOVA, SZ_4K));
}

/* The driver turns PASID and ATS on and off, in the device and in the STE */
static void fake_test_ats(struct kunit *test)
{
	struct arm_smmu_fake *fake = arm_smmu_fake_create(test, 8);
	struct arm_smmu_fake_master *fm =
		arm_smmu_fake_add_pci_master(fake, (u32[]){ TEST_SID }, 1, 4);
	struct arm_smmu_ste *ste =
		&fake->smmu.strtab_cfg.linear.table[TEST_SID];
	struct iommu_domain *s1 = arm_smmu_fake_alloc_domain(fm, 0);
	struct pci_dev *pdev = to_pci_dev(fm->dev);
	struct arm_smmu_cmd cmd;
	u64 eats;
	u32 sid;

	KUNIT_EXPECT_TRUE(test, pdev->pasid_enabled);
	KUNIT_EXPECT_EQ(test, fm->master->ssid_bits, 4);
	KUNIT_EXPECT_FALSE(test, pdev->ats_enabled);

	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(fm, s1));
	KUNIT_EXPECT_TRUE(test, pdev->ats_enabled);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_ats_ctrl(fm), PCI_ATS_CTRL_ENABLE);
	eats = FIELD_GET(STRTAB_STE_1_EATS, le64_to_cpu(ste->data[1]));
	KUNIT_EXPECT_EQ(test, eats, STRTAB_STE_1_EATS_TRANS);

	arm_smmu_fake_drop_cmds(fake);
	fake_test_unmap(test, s1);
	fake_test_expect_cmd(test, fake, CMDQ_OP_TLBI_NH_VA, &cmd);
	fake_test_expect_cmd(test, fake, CMDQ_OP_CMD_SYNC, &cmd);
	fake_test_expect_cmd(test, fake, CMDQ_OP_ATC_INV, &cmd);
	sid = FIELD_GET(CMDQ_ATC_0_SID, cmd.data[0]);
	KUNIT_EXPECT_EQ(test, sid, TEST_SID);
	fake_test_expect_cmd(test, fake, CMDQ_OP_CMD_SYNC, &cmd);

	KUNIT_ASSERT_EQ(test, 0,
			arm_smmu_fake_attach(fm, arm_smmu_ops.blocked_domain));
	KUNIT_EXPECT_FALSE(test, pdev->ats_enabled);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_ats_ctrl(fm), 0);
}

/* A device with several stream IDs is invalidated on each */
static void fake_test_streams(struct kunit *test)
{
	struct arm_smmu_fake *fake = arm_smmu_fake_create(test, 8);
	const u32 sids[] = { 5, 3, 5 };
	struct arm_smmu_fake_master *fm =
		arm_smmu_fake_add_pci_master(fake, sids, ARRAY_SIZE(sids), 0);
	struct iommu_domain *s1 = arm_smmu_fake_alloc_domain(fm, 0);
	unsigned long stes = 0, atcs = 0;
	struct arm_smmu_cmd cmd;
	u64 cfg;
	u32 sid;

	KUNIT_EXPECT_FALSE(test, to_pci_dev(fm->dev)->pasid_enabled);
	KUNIT_EXPECT_EQ(test, fm->master->num_streams, ARRAY_SIZE(sids));
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(fm, s1));
	for (sid = 0; sid < fake->smmu.strtab_cfg.linear.num_ents; sid++) {
		cfg = le64_to_cpu(fake->smmu.strtab_cfg.linear.table[sid].data[0]);
		if (FIELD_GET(STRTAB_STE_0_CFG, cfg) ==
		    STRTAB_STE_0_CFG_S1_TRANS)
			__set_bit(sid, &stes);
	}
	KUNIT_EXPECT_EQ(test, stes, BIT(3) | BIT(5));

	arm_smmu_fake_drop_cmds(fake);
	fake_test_unmap(test, s1);
	while (arm_smmu_fake_next_cmd(fake, &cmd))
		if (FIELD_GET(CMDQ_0_OP, cmd.data[0]) == CMDQ_OP_ATC_INV)
			__set_bit(FIELD_GET(CMDQ_ATC_0_SID, cmd.data[0]), &atcs);
	KUNIT_EXPECT_EQ(test, atcs, BIT(3) | BIT(5));
}

/* The driver works with what the test says of the SMMU */
static void fake_test_options(struct kunit *test)
{
	struct arm_smmu_fake *fake = arm_smmu_fake_create(test, 8);
	struct arm_smmu_fake_master *fm;
	struct iommu_domain *domain;

	fake->smmu.features &= ~(ARM_SMMU_FEAT_TRANS_S1 | ARM_SMMU_FEAT_ATS);
	fake->smmu.oas = 36;
	fake->smmu.pgsize_bitmap = PAGE_SIZE;
	fm = arm_smmu_fake_add_pci_master(fake, (u32[]){ TEST_SID }, 1, 0);

	domain = arm_smmu_fake_alloc_domain(fm, 0);
	KUNIT_EXPECT_EQ(test, to_smmu_domain(domain)->stage,
			ARM_SMMU_DOMAIN_S2);
	KUNIT_EXPECT_EQ(test, domain->pgsize_bitmap, PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, domain->geometry.aperture_end,
			DMA_BIT_MASK(36));
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(fm, domain));
	KUNIT_EXPECT_FALSE(test, to_pci_dev(fm->dev)->ats_enabled);
}

/* The driver can read the ID registers, and turn the SMMU off */
static void fake_test_regs(struct kunit *test)
{
	struct arm_smmu_fake *fake = arm_smmu_fake_create(test, 8);

	KUNIT_EXPECT_EQ(test, readl(fake->smmu.base + ARM_SMMU_IDR0), 0);
	KUNIT_EXPECT_NE(test, readl(fake->smmu.base + ARM_SMMU_CR0), 0);
	arm_smmu_disable_action(&fake->smmu);
	KUNIT_EXPECT_EQ(test, readl(fake->smmu.base + ARM_SMMU_CR0), 0);
}

/* A CMD_SYNC takes its time, and a stopped SMMU goes on where it stopped */
static void fake_test_time(struct kunit *test)
{
	struct arm_smmu_fake *fake = arm_smmu_fake_create(test, 8);
	struct arm_smmu_fake_master *fm =
		arm_smmu_fake_add_master(fake, TEST_SID, 0);
	struct iommu_domain *s1 = arm_smmu_fake_alloc_domain(fm, 0);
	const unsigned int usecs = 20000;
	struct arm_smmu_cmd cmd;
	u64 stamp, sync;
	ktime_t start;

	if (arm_smmu_fake_set_time(fake, 0))
		kunit_skip(test, "needs two CPUs");
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(fm, s1));
	arm_smmu_fake_drop_cmds(fake);

	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_set_time(fake, usecs));
	start = ktime_get();
	fake_test_unmap(test, s1);
	KUNIT_EXPECT_GE(test, ktime_us_delta(ktime_get(), start), usecs);
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_set_time(fake, 0));

	fake_test_expect_cmd(test, fake, CMDQ_OP_TLBI_NH_VA, &cmd);
	stamp = arm_smmu_fake_stamp(fake);
	KUNIT_EXPECT_NE(test, stamp, 0);
	fake_test_expect_cmd(test, fake, CMDQ_OP_CMD_SYNC, &cmd);
	sync = arm_smmu_fake_stamp(fake);
	KUNIT_EXPECT_EQ(test, sync, stamp + 1);

	/* It still consumes one TLBI, but not its CMD_SYNC */
	arm_smmu_fake_stop(fake, 1);
	start = ktime_get();
	fake_test_unmap(test, s1);
	KUNIT_EXPECT_GE(test, ktime_us_delta(ktime_get(), start),
			ARM_SMMU_POLL_TIMEOUT_US);
	fake_test_expect_cmd(test, fake, CMDQ_OP_TLBI_NH_VA, &cmd);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_stamp(fake), sync + 1);
	fake_test_expect_cmd(test, fake, CMDQ_OP_CMD_SYNC, &cmd);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_stamp(fake), 0);

	arm_smmu_fake_start(fake);
	fake_test_unmap(test, s1);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_stamp(fake), sync + 2);
}

/* A CMD_SYNC is complete when its MSI comes, not when CMDQ_CONS has passed it */
static void fake_test_msi(struct kunit *test)
{
	struct arm_smmu_cmd cmds[] = { {}, { { CMDQ_OP_CMD_SYNC } } };
	struct arm_smmu_fake *fake = arm_smmu_fake_create(test, 7);
	struct arm_smmu_fake_master *fm =
		arm_smmu_fake_add_master(fake, TEST_SID, 0);
	struct iommu_domain *s1 = arm_smmu_fake_alloc_domain(fm, 0);
	u64 num, sum, num_before, sum_before;
	const unsigned int usecs = 20000;
	ktime_t start;
	int i;

	fake->smmu.options |= ARM_SMMU_OPT_MSIPOLL;
	if (arm_smmu_fake_set_time(fake, 0))
		kunit_skip(test, "needs two CPUs");
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(fm, s1));
	/* Nobody waits for the last command of an attach, but for this one */
	arm_smmu_fake_drop_cmds(fake);
	fake_test_unmap(test, s1);
	KUNIT_ASSERT_TRUE(test, arm_smmu_fake_next_cmd(fake, &cmds[0]));
	KUNIT_EXPECT_EQ(test, cmds[0].data[0] & CMDQ_0_OP, CMDQ_OP_TLBI_NH_VA);
	num_before = arm_smmu_fake_num_consumed(fake, &sum_before);

	/* More than the queue holds */
	for (i = 0; i < 200; i++) {
		arm_smmu_fake_drop_cmds(fake);
		fake_test_unmap(test, s1);
		arm_smmu_fake_expect_cmds(fake, cmds, ARRAY_SIZE(cmds));
		KUNIT_ASSERT_NE(test, arm_smmu_fake_stamp(fake), 0);
	}
	num = arm_smmu_fake_num_consumed(fake, &sum);
	KUNIT_EXPECT_EQ(test, num - num_before, i);
	KUNIT_EXPECT_EQ(test, sum - sum_before, i * cmds[0].data[1]);

	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_set_time(fake, usecs));
	start = ktime_get();
	fake_test_unmap(test, s1);
	KUNIT_EXPECT_GE(test, ktime_us_delta(ktime_get(), start), usecs);
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_set_time(fake, 0));
}

/* The stamps tell the order of commands of many SMMUs */
static void fake_test_stamps(struct kunit *test)
{
	struct arm_smmu_fake *fakes[TEST_NUM_SMMUS];
	struct iommu_domain *domains[TEST_NUM_SMMUS];
	struct arm_smmu_fake_master *fm;
	struct arm_smmu_cmd cmd;
	u64 stamp, last = 0;
	int i;

	for (i = 0; i < TEST_NUM_SMMUS; i++) {
		fakes[i] = arm_smmu_fake_create(test, 8);
		fm = arm_smmu_fake_add_master(fakes[i], TEST_SID, 0);
		domains[i] = arm_smmu_fake_alloc_domain(fm, 0);
		KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(fm, domains[i]));
		arm_smmu_fake_drop_cmds(fakes[i]);
		if (arm_smmu_fake_set_time(fakes[i], 100))
			kunit_skip(test, "needs two CPUs");
	}

	/* Not in the order in which the consumer looks at the SMMUs */
	for (i = TEST_NUM_SMMUS - 1; i >= 0; i--)
		fake_test_unmap(test, domains[i]);

	for (i = TEST_NUM_SMMUS - 1; i >= 0; i--) {
		while (arm_smmu_fake_next_cmd(fakes[i], &cmd)) {
			stamp = arm_smmu_fake_stamp(fakes[i]);
			if (last)
				KUNIT_EXPECT_EQ(test, stamp, last + 1);
			last = stamp;
		}
	}
}

struct fake_test_worker {
	struct iommu_domain *domain;
	unsigned int todo;
	unsigned int done;
};

/* Unmap one page after the other, as many as the test asks for */
static int fake_test_work(void *data)
{
	struct fake_test_worker *worker = data;
	unsigned long iova = TEST_IOVA;

	while (!kthread_should_stop()) {
		if (worker->done < READ_ONCE(worker->todo) &&
		    !iommu_map(worker->domain, iova, SZ_4K, SZ_4K, IOMMU_READ,
			       GFP_KERNEL)) {
			iommu_unmap(worker->domain, iova, SZ_4K);
			iova += SZ_4K;
			WRITE_ONCE(worker->done, worker->done + 1);
		}
		cond_resched();
	}
	return 0;
}

/* Two tasks issue commands at once and none is lost */
static void fake_test_tasks(struct kunit *test)
{
	struct arm_smmu_fake *fake = arm_smmu_fake_create(test, 15);
	struct arm_smmu_fake_master *fm =
		arm_smmu_fake_add_master(fake, TEST_SID, 0);
	struct arm_smmu_fake_master *other =
		arm_smmu_fake_add_master(fake, TEST_SID + 1, 0);
	struct fake_test_worker *worker;
	unsigned int i, done, tlbis = 0, stes = 0;
	struct arm_smmu_cmd cmd;
	u64 op;

	if (num_online_cpus() < 2)
		kunit_skip(test, "needs two CPUs");
	worker = kunit_kzalloc(test, sizeof(*worker), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, worker);
	worker->domain = arm_smmu_fake_alloc_domain(fm, 0);
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(fm, worker->domain));
	arm_smmu_fake_drop_cmds(fake);

	arm_smmu_fake_run_task(test, fake_test_work, worker);
	for (i = 0; i < 20; i++) {
		/* Let it be in the middle of its work during the attach */
		WRITE_ONCE(worker->todo, worker->todo + 500);
		KUNIT_ASSERT_EQ(test, 0,
				read_poll_timeout(READ_ONCE, done,
						  done > worker->todo - 500, 10,
						  10 * USEC_PER_SEC, false,
						  worker->done));
		KUNIT_EXPECT_EQ(test, 0,
				arm_smmu_fake_attach(other, worker->domain));
		KUNIT_EXPECT_EQ(test, 0,
				arm_smmu_fake_attach(other,
						     arm_smmu_ops.blocked_domain));
	}
	KUNIT_ASSERT_EQ(test, 0,
			read_poll_timeout(READ_ONCE, done, done == worker->todo,
					  10, 10 * USEC_PER_SEC, false,
					  worker->done));

	while (arm_smmu_fake_next_cmd(fake, &cmd)) {
		op = FIELD_GET(CMDQ_0_OP, cmd.data[0]);
		if (op == CMDQ_OP_TLBI_NH_VA) {
			KUNIT_ASSERT_EQ(test, cmd.data[1] & CMDQ_TLBI_1_VA_MASK,
					TEST_IOVA + tlbis * SZ_4K);
			tlbis++;
		} else if (op == CMDQ_OP_CFGI_STE) {
			stes++;
		}
	}
	KUNIT_EXPECT_EQ(test, tlbis, worker->todo);
	KUNIT_EXPECT_GE(test, stes, 2 * i);
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
		KUNIT_EXPECT_EQ_MSG(test, got[i], i + 1 != nth,
				    "allocation %u of 3, %u to fail",
				    i + 1, nth);
	KUNIT_EXPECT_EQ(test, failed, nth <= ARRAY_SIZE(p));
	KUNIT_EXPECT_EQ(test, balance, got[1] + got[2]);
	kfree(p[1]);
	kfree(p[2]);
}

/* Just the allocation asked for fails, and the others are counted */
static void fake_test_slab(struct kunit *test)
{
	unsigned int nth;

	/* No allocation is the fourth. */
	for (nth = 1; nth <= 4; nth++)
		fake_test_slab_nth(test, nth);
}

static struct kunit_case arm_smmu_v3_fake_test_cases[] = {
	KUNIT_CASE(fake_test_attach),
	KUNIT_CASE(fake_test_cmds),
	KUNIT_CASE_SLOW(fake_test_stop),
	KUNIT_CASE(fake_test_slab),
	KUNIT_CASE(fake_test_ats),
	KUNIT_CASE(fake_test_streams),
	KUNIT_CASE(fake_test_options),
	KUNIT_CASE(fake_test_regs),
	KUNIT_CASE_SLOW(fake_test_time),
	KUNIT_CASE(fake_test_msi),
	KUNIT_CASE(fake_test_stamps),
	KUNIT_CASE(fake_test_tasks),
	{}
};

static struct kunit_suite arm_smmu_v3_fake_test_suite = {
	.name = "arm-smmu-v3-fake",
	.test_cases = arm_smmu_v3_fake_test_cases,
};

kunit_test_suites(&arm_smmu_v3_fake_test_suite);
