// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of what the driver issues when a page table changes, and until
 * when it may, on fake SMMUs
 */
#include <linux/delay.h>
#include <linux/kthread.h>
#include <uapi/linux/iommufd.h>

#include "arm-smmu-v3-fake.h"

#define TEST_ID		5
#define TEST_SID	3
#define TEST_PASID	3
#define TEST_IOVA	SZ_1G
#define TEST_MAX_CMDS	16

#define TEST_USECS	300000

struct cmds_test_unmap {
	const char *name;
	u32 domain_flags;
	u32 features;
	ioasid_t pasid;
	const u32 *sids;
	unsigned int num_sids;
	/* What is unmapped, all if nothing */
	unsigned long offset;
	size_t size;
	struct arm_smmu_cmd cmds[TEST_MAX_CMDS];
};

#define TEST_TLBI(op, id, addr) \
	{ { CMDQ_OP_TLBI_##op | (id), addr } }
#define TEST_ASID	FIELD_PREP_CONST(CMDQ_TLBI_0_ASID, TEST_ID)
#define TEST_VMID	FIELD_PREP_CONST(CMDQ_TLBI_0_VMID, TEST_ID)
#define TEST_SYNC	{ { CMDQ_OP_CMD_SYNC } }

#define TEST_LEAF(offset)	((TEST_IOVA + (offset)) | CMDQ_TLBI_1_LEAF)

/* Ranges of NUM * 2^SCALE pages of 4K, at a level or at one not known */
#define TEST_RANGE(num, scale) \
	(FIELD_PREP_CONST(CMDQ_TLBI_0_NUM, (num) - 1) | \
	 FIELD_PREP_CONST(CMDQ_TLBI_0_SCALE, scale))
#define TEST_TTL(level) \
	(FIELD_PREP_CONST(CMDQ_TLBI_1_TG, 1) | \
	 FIELD_PREP_CONST(CMDQ_TLBI_1_TTL, level))

/* 2^SIZE pages of 4K */
#define TEST_ATC_INV(sid, addr, size) \
	{ { CMDQ_OP_ATC_INV | FIELD_PREP_CONST(CMDQ_ATC_0_SID, (u64)(sid)), \
	    (addr) | (size) } }
#define TEST_ATC_INV_PASID(sid, addr, size) \
	{ { CMDQ_OP_ATC_INV | CMDQ_0_SSV | \
	    FIELD_PREP_CONST(CMDQ_ATC_0_SSID, TEST_PASID) | \
	    FIELD_PREP_CONST(CMDQ_ATC_0_SID, (u64)(sid)), \
	    (addr) | (size) } }

static const u32 cmds_test_sids[] = { TEST_SID };
/* Devices behind a bridge may have an ID twice */
static const u32 cmds_test_many_sids[] = { 9, TEST_SID, 7, TEST_SID };

#define TEST_S2		.domain_flags = IOMMU_HWPT_ALLOC_NEST_PARENT
#define TEST_ATS	.sids = cmds_test_sids, .num_sids = 1

static const struct cmds_test_unmap cmds_test_unmaps[] = {
	{
		.name = "S1, all",
		.cmds = {
			TEST_TLBI(NH_ASID, TEST_ASID, 0),
			TEST_SYNC,
		},
	}, {
		.name = "S1, a page",
		.size = SZ_4K,
		.cmds = {
			TEST_TLBI(NH_VA, TEST_ASID, TEST_LEAF(0)),
			TEST_SYNC,
		},
	}, {
		.name = "S1, pages",
		.offset = SZ_4K,
		.size = 3 * SZ_4K,
		.cmds = {
			TEST_TLBI(NH_VA, TEST_ASID, TEST_LEAF(SZ_4K)),
			TEST_TLBI(NH_VA, TEST_ASID, TEST_LEAF(2 * SZ_4K)),
			TEST_TLBI(NH_VA, TEST_ASID, TEST_LEAF(3 * SZ_4K)),
			TEST_SYNC,
		},
	}, {
		.name = "S1, a block",
		.size = SZ_2M,
		.cmds = {
			TEST_TLBI(NH_VA, TEST_ASID, TEST_LEAF(0)),
			TEST_SYNC,
		},
	}, {
		/* As many as there are in a table, but not those of one */
		.name = "S1, too many pages",
		.offset = SZ_4K,
		.size = SZ_2M,
		.cmds = {
			TEST_TLBI(NH_ASID, TEST_ASID, 0),
			TEST_SYNC,
		},
	}, {
		.name = "S1, EL2, a page",
		.features = ARM_SMMU_FEAT_E2H,
		.size = SZ_4K,
		.cmds = {
			TEST_TLBI(EL2_VA, TEST_ASID, TEST_LEAF(0)),
			TEST_SYNC,
		},
	}, {
		.name = "S1, EL2, all",
		.features = ARM_SMMU_FEAT_E2H,
		.cmds = {
			TEST_TLBI(EL2_ASID, TEST_ASID, 0),
			TEST_SYNC,
		},
	}, {
		.name = "S1, ranges, all",
		.features = ARM_SMMU_FEAT_RANGE_INV,
		.cmds = {
			TEST_TLBI(NH_ASID, TEST_ASID, 0),
			TEST_SYNC,
		},
	}, {
		.name = "S1, ranges, a page",
		.features = ARM_SMMU_FEAT_RANGE_INV,
		.size = SZ_4K,
		.cmds = {
			TEST_TLBI(NH_VA, TEST_ASID | TEST_RANGE(1, 0),
				  TEST_LEAF(0) | TEST_TTL(3)),
			TEST_SYNC,
		},
	}, {
		/* 33 pages are one, and one times 2^5 */
		.name = "S1, ranges, pages",
		.features = ARM_SMMU_FEAT_RANGE_INV,
		.offset = SZ_4K,
		.size = 33 * SZ_4K,
		.cmds = {
			TEST_TLBI(NH_VA, TEST_ASID | TEST_RANGE(1, 0),
				  TEST_LEAF(SZ_4K) | TEST_TTL(3)),
			TEST_TLBI(NH_VA, TEST_ASID | TEST_RANGE(1, 5),
				  TEST_LEAF(2 * SZ_4K) | TEST_TTL(3)),
			TEST_SYNC,
		},
	}, {
		.name = "S1, ranges, a block",
		.features = ARM_SMMU_FEAT_RANGE_INV,
		.size = SZ_2M,
		.cmds = {
			TEST_TLBI(NH_VA, TEST_ASID | TEST_RANGE(1, 9),
				  TEST_LEAF(0) | TEST_TTL(2)),
			TEST_SYNC,
		},
	}, {
		/* No number of pages is too large: 2^9 */
		.name = "S1, ranges, many pages",
		.features = ARM_SMMU_FEAT_RANGE_INV,
		.offset = SZ_4K,
		.size = SZ_2M,
		.cmds = {
			TEST_TLBI(NH_VA, TEST_ASID | TEST_RANGE(1, 9),
				  TEST_LEAF(SZ_4K) | TEST_TTL(3)),
			TEST_SYNC,
		},
	}, {
		.name = "S1, ATS, all",
		TEST_ATS,
		.cmds = {
			TEST_TLBI(NH_ASID, TEST_ASID, 0),
			TEST_SYNC,
			TEST_ATC_INV(TEST_SID, 0, ATC_INV_SIZE_ALL),
			TEST_SYNC,
		},
	}, {
		.name = "S1, ATS, a page",
		TEST_ATS,
		.size = SZ_4K,
		.cmds = {
			TEST_TLBI(NH_VA, TEST_ASID, TEST_LEAF(0)),
			TEST_SYNC,
			TEST_ATC_INV(TEST_SID, TEST_IOVA, 0),
			TEST_SYNC,
		},
	}, {
		/* An ATC takes aligned powers of two: pages 0 to 3 */
		.name = "S1, ATS, pages",
		TEST_ATS,
		.offset = SZ_4K,
		.size = 2 * SZ_4K,
		.cmds = {
			TEST_TLBI(NH_VA, TEST_ASID, TEST_LEAF(SZ_4K)),
			TEST_TLBI(NH_VA, TEST_ASID, TEST_LEAF(2 * SZ_4K)),
			TEST_SYNC,
			TEST_ATC_INV(TEST_SID, TEST_IOVA, 2),
			TEST_SYNC,
		},
	}, {
		.name = "S1, ATS, ranges, a block",
		.features = ARM_SMMU_FEAT_RANGE_INV,
		TEST_ATS,
		.size = SZ_2M,
		.cmds = {
			TEST_TLBI(NH_VA, TEST_ASID | TEST_RANGE(1, 9),
				  TEST_LEAF(0) | TEST_TTL(2)),
			TEST_SYNC,
			TEST_ATC_INV(TEST_SID, TEST_IOVA, 9),
			TEST_SYNC,
		},
	}, {
		.name = "S1, ATS, many streams",
		.sids = cmds_test_many_sids,
		.num_sids = ARRAY_SIZE(cmds_test_many_sids),
		.size = SZ_4K,
		.cmds = {
			TEST_TLBI(NH_VA, TEST_ASID, TEST_LEAF(0)),
			TEST_SYNC,
			TEST_ATC_INV(TEST_SID, TEST_IOVA, 0),
			TEST_ATC_INV(7, TEST_IOVA, 0),
			TEST_ATC_INV(9, TEST_IOVA, 0),
			TEST_SYNC,
		},
	}, {
		.name = "S1, ATS, PASID",
		TEST_ATS,
		.pasid = TEST_PASID,
		.size = SZ_4K,
		.cmds = {
			TEST_TLBI(NH_VA, TEST_ASID, TEST_LEAF(0)),
			TEST_SYNC,
			TEST_ATC_INV_PASID(TEST_SID, TEST_IOVA, 0),
			TEST_SYNC,
		},
	}, {
		.name = "S2, all",
		TEST_S2,
		.cmds = {
			TEST_TLBI(S12_VMALL, TEST_VMID, 0),
			TEST_SYNC,
		},
	}, {
		.name = "S2, pages",
		TEST_S2,
		.size = 2 * SZ_4K,
		.cmds = {
			TEST_TLBI(S2_IPA, TEST_VMID, TEST_LEAF(0)),
			TEST_TLBI(S2_IPA, TEST_VMID, TEST_LEAF(SZ_4K)),
			TEST_SYNC,
		},
	}, {
		.name = "S2, too many pages",
		TEST_S2,
		.offset = SZ_4K,
		.size = SZ_2M,
		.cmds = {
			TEST_TLBI(S12_VMALL, TEST_VMID, 0),
			TEST_SYNC,
		},
	}, {
		.name = "S2, ranges, pages",
		TEST_S2,
		.features = ARM_SMMU_FEAT_RANGE_INV,
		.size = 3 * SZ_4K,
		.cmds = {
			TEST_TLBI(S2_IPA, TEST_VMID | TEST_RANGE(3, 0),
				  TEST_LEAF(0) | TEST_TTL(3)),
			TEST_SYNC,
		},
	}, {
		.name = "S2, ATS, a page",
		TEST_S2,
		TEST_ATS,
		.size = SZ_4K,
		.cmds = {
			TEST_TLBI(S2_IPA, TEST_VMID, TEST_LEAF(0)),
			TEST_SYNC,
			TEST_ATC_INV(TEST_SID, TEST_IOVA, 0),
			TEST_SYNC,
		},
	}, {
		.name = "S2, ATS, all",
		TEST_S2,
		TEST_ATS,
		.cmds = {
			TEST_TLBI(S12_VMALL, TEST_VMID, 0),
			TEST_SYNC,
			TEST_ATC_INV(TEST_SID, 0, ATC_INV_SIZE_ALL),
			TEST_SYNC,
		},
	},
};

KUNIT_ARRAY_PARAM_DESC(cmds_test_unmap, cmds_test_unmaps, name);

static void cmds_test_map(struct kunit *test, struct iommu_domain *domain,
			  unsigned long offset, size_t size)
{
	/* A block if it can be one, else pages */
	KUNIT_ASSERT_EQ(test, 0,
			iommu_map(domain, TEST_IOVA + offset, SZ_1G + offset,
				  size, IOMMU_READ, GFP_KERNEL));
}

/* The commands and CMD_SYNCs for what is unmapped, from the first to the last */
static void cmds_test_unmap(struct kunit *test)
{
	const struct cmds_test_unmap *param = test->param_value;
	struct arm_smmu_fake *fake = arm_smmu_fake_create(test, 8);
	struct arm_smmu_fake_master *fm;
	struct iommu_domain *domain;
	unsigned int id, num = 0;
	struct ida *ida;

	fake->smmu.features |= param->features;
	if (param->num_sids)
		fm = arm_smmu_fake_add_pci_master(fake, param->sids,
						  param->num_sids, 4);
	else
		fm = arm_smmu_fake_add_master(fake, TEST_SID, 4);
	domain = arm_smmu_fake_alloc_domain(fm, param->domain_flags);

	/* One that no other number in a command is mistaken for */
	ida = param->domain_flags ? &fake->smmu.vmid_map : &fake->smmu.asid_map;
	for (id = 1; id < TEST_ID; id++)
		KUNIT_ASSERT_EQ(test, id,
				ida_alloc_range(ida, 1, TEST_ID, GFP_KERNEL));
	if (param->pasid)
		KUNIT_ASSERT_EQ(test, 0,
				arm_smmu_fake_set_pasid(fm, domain,
							param->pasid, NULL));
	else
		KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(fm, domain));

	if (param->size)
		cmds_test_map(test, domain, param->offset, param->size);
	arm_smmu_fake_drop_cmds(fake);
	if (param->size)
		KUNIT_ASSERT_EQ(test, param->size,
				iommu_unmap(domain, TEST_IOVA + param->offset,
					    param->size));
	else
		iommu_flush_iotlb_all(domain);

	while (num < TEST_MAX_CMDS && param->cmds[num].data[0])
		num++;
	arm_smmu_fake_expect_cmds(fake, param->cmds, num);
	if (param->pasid)
		KUNIT_EXPECT_EQ(test, 0,
				arm_smmu_fake_set_pasid(fm,
							arm_smmu_ops.blocked_domain,
							param->pasid, domain));
	for (id = 1; id < TEST_ID; id++)
		ida_free(ida, id);
}

static struct arm_smmu_cmdq *cmds_test_second_cmdq;
static unsigned int cmds_test_num_lookups;

/* As if the task moved to another CPU, which has another queue, all the time */
static struct arm_smmu_cmdq *cmds_test_get_cmdq(struct arm_smmu_device *smmu,
						struct arm_smmu_cmd *cmd)
{
	return cmds_test_num_lookups++ % 2 ? cmds_test_second_cmdq : NULL;
}

static const struct arm_smmu_impl_ops cmds_test_impl_ops = {
	.get_secondary_cmdq = cmds_test_get_cmdq,
};

/*
 * One page less than what is too many, and more than a batch holds. All of them
 * are in front of the CMD_SYNC, in its queue.
 */
static void cmds_test_unmap_many(struct kunit *test)
{
	const unsigned int num_pages = SZ_2M / SZ_4K - 1;
	struct arm_smmu_fake *second = arm_smmu_fake_create(test, 10);
	struct arm_smmu_fake *fake = arm_smmu_fake_create(test, 10);
	struct arm_smmu_fake_master *fm =
		arm_smmu_fake_add_master(fake, TEST_SID, 4);
	struct iommu_domain *domain = arm_smmu_fake_alloc_domain(fm, 0);
	struct arm_smmu_cmd *cmds;
	unsigned int i;

	cmds = kunit_kcalloc(test, num_pages + 1, sizeof(*cmds), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, cmds);
	for (i = 0; i < num_pages; i++) {
		cmds[i].data[0] = CMDQ_OP_TLBI_NH_VA |
				  FIELD_PREP(CMDQ_TLBI_0_ASID, 1);
		cmds[i].data[1] = TEST_LEAF(i * SZ_4K);
	}
	cmds[i].data[0] = CMDQ_OP_CMD_SYNC;

	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(fm, domain));
	cmds_test_map(test, domain, 0, num_pages * SZ_4K);
	arm_smmu_fake_drop_cmds(fake);

	cmds_test_second_cmdq = &second->smmu.cmdq;
	cmds_test_num_lookups = 0;
	fake->smmu.impl_ops = &cmds_test_impl_ops;
	KUNIT_EXPECT_EQ(test, num_pages * SZ_4K,
			iommu_unmap(domain, TEST_IOVA, num_pages * SZ_4K));
	fake->smmu.impl_ops = NULL;
	KUNIT_EXPECT_NE(test, cmds_test_num_lookups, 0);
	arm_smmu_fake_expect_cmds(fake, cmds, num_pages + 1);
	arm_smmu_fake_expect_cmds(second, NULL, 0);
}

/*
 * A table that goes: first what was cached of the walk, without a level, for
 * io-pgtable frees it at once. Then what was mapped there, like a block.
 */
static void cmds_test_unmap_table(struct kunit *test)
{
	static const struct arm_smmu_cmd cmds[] = {
		TEST_TLBI(NH_VA, FIELD_PREP_CONST(CMDQ_TLBI_0_ASID, 1) |
			  TEST_RANGE(1, 9), TEST_IOVA | TEST_TTL(0)),
		TEST_SYNC,
		TEST_TLBI(NH_VA, FIELD_PREP_CONST(CMDQ_TLBI_0_ASID, 1) |
			  TEST_RANGE(1, 9), TEST_LEAF(0) | TEST_TTL(2)),
		TEST_SYNC,
	};
	struct arm_smmu_fake *fake = arm_smmu_fake_create(test, 8);
	struct arm_smmu_fake_master *fm;
	struct iommu_domain *domain;

	fake->smmu.features |= ARM_SMMU_FEAT_RANGE_INV;
	fm = arm_smmu_fake_add_master(fake, TEST_SID, 4);
	domain = arm_smmu_fake_alloc_domain(fm, 0);
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(fm, domain));
	cmds_test_map(test, domain, 0, SZ_4K);
	cmds_test_map(test, domain, SZ_4K, SZ_2M - SZ_4K);
	arm_smmu_fake_drop_cmds(fake);
	KUNIT_ASSERT_EQ(test, SZ_2M, iommu_unmap(domain, TEST_IOVA, SZ_2M));
	arm_smmu_fake_expect_cmds(fake, cmds, ARRAY_SIZE(cmds));
}

struct cmds_test_walker {
	struct iommu_domain *domain;
	bool done;
};

static int cmds_test_walk(void *data)
{
	struct cmds_test_walker *walker = data;

	iommu_unmap(walker->domain, TEST_IOVA, SZ_4K);
	WRITE_ONCE(walker->done, true);
	while (!kthread_should_stop())
		usleep_range(1000, 2000);
	return 0;
}

/*
 * Detach a device while an invalidation, which has found it in the array, waits
 * for the CMD_SYNC of another SMMU.
 */
static void cmds_test_detach(struct kunit *test, bool ats)
{
	const struct arm_smmu_cmd none = {};
	struct arm_smmu_fake *slow = arm_smmu_fake_create(test, 8);
	struct arm_smmu_fake *fake = arm_smmu_fake_create(test, 8);
	struct arm_smmu_fake_master *fm;
	struct cmds_test_walker *walker;
	struct arm_smmu_cmd cmd = {};
	struct task_struct *task;
	unsigned int i;
	bool done;

	walker = kunit_kzalloc(test, sizeof(*walker), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, walker);
	if (ats)
		fm = arm_smmu_fake_add_pci_master(fake, (u32[]){ TEST_SID }, 1,
						  0);
	else
		fm = arm_smmu_fake_add_master(fake, TEST_SID, 0);
	walker->domain = arm_smmu_fake_alloc_domain(fm, 0);
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(fm, walker->domain));
	KUNIT_ASSERT_EQ(test, 0,
			arm_smmu_fake_attach(arm_smmu_fake_add_master(slow,
								      TEST_SID,
								      0),
					     walker->domain));
	cmds_test_map(test, walker->domain, 0, SZ_4K);
	if (arm_smmu_fake_set_time(slow, 0))
		kunit_skip(test, "needs two CPUs");
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_set_time(slow, TEST_USECS));
	arm_smmu_fake_drop_cmds(slow);

	/* It waits with interrupts off, which must not keep the test waiting */
	task = arm_smmu_fake_run_task(test, cmds_test_walk, walker);
	for (i = 0; i < 10000 && !arm_smmu_fake_next_cmd(slow, &cmd); i++)
		usleep_range(100, 200);
	KUNIT_EXPECT_EQ(test, cmd.data[0] & CMDQ_0_OP, CMDQ_OP_TLBI_NH_VA);
	KUNIT_EXPECT_FALSE(test, READ_ONCE(walker->done));

	KUNIT_EXPECT_EQ(test, 0,
			arm_smmu_fake_attach(fm, arm_smmu_ops.blocked_domain));
	done = READ_ONCE(walker->done);
	arm_smmu_fake_drop_cmds(fake);

	while (!READ_ONCE(walker->done))
		msleep(20);
	arm_smmu_fake_stop_task(test, task);
	KUNIT_EXPECT_EQ(test, 0, arm_smmu_fake_set_time(slow, 0));
	if (ats)
		arm_smmu_fake_expect_cmds(fake, &none, 0);
	else
		KUNIT_EXPECT_FALSE(test, done);
}

/* When the detach returns the device may be gone: no ATC_INV from then on */
static void cmds_test_ats_fence(struct kunit *test)
{
	cmds_test_detach(test, true);
}

/* A device without ATS need not wait for others */
static void cmds_test_no_fence(struct kunit *test)
{
	cmds_test_detach(test, false);
}

struct cmds_test_poster {
	struct arm_smmu_fake *fake;
	struct task_struct *task;
	struct completion done;
};

static void cmds_test_stop_poster(void *data)
{
	struct cmds_test_poster *poster = data;
	struct arm_smmu_queue *q = &poster->fake->smmu.cmdq.q;

	/* Whoever still waits gets his space, or this would not end either */
	WRITE_ONCE(q->llq.cons, readl(q->cons_reg));
	kthread_stop(poster->task);
}

static int cmds_test_post(void *data)
{
	struct arm_smmu_cmd cmd = arm_smmu_make_cmd_op(CMDQ_OP_TLBI_NH_ALL);
	struct cmds_test_poster *poster = data;

	arm_smmu_cmdq_issue_cmd_p(&poster->fake->smmu, &cmd, false);
	complete_all(&poster->done);
	while (!kthread_should_stop())
		usleep_range(100, 200);
	return 0;
}

/*
 * Who waits for space in a full queue looks for himself when nobody else may
 * have seen that there is some
 */
static void cmds_test_wait_for_space(struct kunit *test)
{
	struct arm_smmu_cmd cmd = arm_smmu_make_cmd_op(CMDQ_OP_TLBI_NH_ALL);
	struct arm_smmu_fake *fake = arm_smmu_fake_create(test, 7);
	struct arm_smmu_cmdq *cmdq = &fake->smmu.cmdq;
	struct cmds_test_poster *poster;
	unsigned int i;

	if (num_online_cpus() < 2)
		kunit_skip(test, "needs two CPUs");
	poster = kunit_kzalloc(test, sizeof(*poster), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, poster);
	poster->fake = fake;

	/* All is consumed, but without a CMD_SYNC nobody looks */
	for (i = 0; i < 1 << 7; i++)
		arm_smmu_cmdq_issue_cmd_p(&fake->smmu, &cmd, false);
	/* One that waits for a CMD_SYNC, and is then not the last one out */
	atomic_inc(&cmdq->lock);
	init_completion(&poster->done);
	poster->task = kthread_run(cmds_test_post, poster, "cmds-test");
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, poster->task);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, cmds_test_stop_poster,
						  poster));
	KUNIT_EXPECT_EQ(test,
			wait_for_completion_timeout(&poster->done,
						    msecs_to_jiffies(50)), 0);
	(void)atomic_dec_return_release(&cmdq->lock);

	/* Without a look it would be a second, and an error */
	KUNIT_EXPECT_NE(test,
			wait_for_completion_timeout(&poster->done,
						    msecs_to_jiffies(600)), 0);
	KUNIT_EXPECT_NE(test,
			wait_for_completion_timeout(&poster->done,
						    msecs_to_jiffies(3000)), 0);
}

static struct kunit_case arm_smmu_v3_cmds_test_cases[] = {
	KUNIT_CASE_PARAM(cmds_test_unmap, cmds_test_unmap_gen_params),
	KUNIT_CASE(cmds_test_unmap_many),
	KUNIT_CASE(cmds_test_unmap_table),
	KUNIT_CASE(cmds_test_wait_for_space),
	KUNIT_CASE_SLOW(cmds_test_ats_fence),
	KUNIT_CASE_SLOW(cmds_test_no_fence),
	{}
};

static struct kunit_suite arm_smmu_v3_cmds_test_suite = {
	.name = "arm-smmu-v3-cmds",
	.test_cases = arm_smmu_v3_cmds_test_cases,
};

kunit_test_suites(&arm_smmu_v3_cmds_test_suite);
