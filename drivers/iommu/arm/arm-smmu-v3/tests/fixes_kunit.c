// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of faults that the driver once had: timeouts with MSIs, the wait
 * for queue space, the size of ranges and the clearing of dirty bits
 */
#include <linux/delay.h>
#include <linux/prandom.h>

#include "fake.h"

#define TEST_SHIFT	7
#define TEST_QUEUE	128
#define TEST_SID	3
#define TEST_IOVA	SZ_1G
#define TEST_ASID	5
#define TEST_FLAGS	IOMMU_HWPT_ALLOC_DIRTY_TRACKING

/* A domain with one entry in its array */
static struct arm_smmu_domain *fixes_test_alloc(struct arm_smmu_fake *fake,
						enum arm_smmu_inv_type type,
						unsigned int pgsize)
{
	struct arm_smmu_domain *smmu_domain;
	struct arm_smmu_invs *invs;

	smmu_domain = kunit_kzalloc(fake->test, sizeof(*smmu_domain),
				    GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(fake->test, smmu_domain);
	invs = kunit_kzalloc(fake->test, struct_size(invs, inv, 1), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(fake->test, invs);
	invs->max_invs = 1;
	invs->num_invs = 1;
	invs->inv[0] = (struct arm_smmu_inv){
		.smmu = &fake->smmu,
		.type = type,
		.size_opcode = type == INV_TYPE_S1_ASID ? CMDQ_OP_TLBI_NH_VA :
			       type == INV_TYPE_S2_VMID ? CMDQ_OP_TLBI_S2_IPA :
							  CMDQ_OP_ATC_INV,
		.nsize_opcode = type == INV_TYPE_S1_ASID ?
					CMDQ_OP_TLBI_NH_ASID :
					CMDQ_OP_TLBI_S12_VMALL,
		.id = TEST_ASID,
		.pgsize = pgsize,
		.users = 1,
	};
	/* In a union with @pgsize */
	if (type == INV_TYPE_ATS)
		invs->inv[0].ssid = IOMMU_NO_PASID;
	rcu_assign_pointer(smmu_domain->invs, invs);
	return smmu_domain;
}

static void fixes_test_inv(struct arm_smmu_domain *smmu_domain,
			   unsigned int first, unsigned int num)
{
	arm_smmu_domain_inv_range(smmu_domain, TEST_IOVA + first * SZ_4K,
				  num * SZ_4K, SZ_4K, true);
}

static void fixes_test_issue(struct arm_smmu_fake *fake, unsigned int num)
{
	struct arm_smmu_cmd cmd =
		arm_smmu_make_cmd_tlbi(CMDQ_OP_TLBI_NH_ASID, TEST_ASID, 0);

	while (num--)
		arm_smmu_cmdq_issue_cmd_p(&fake->smmu, &cmd, false);
}

#define TEST_NUM	63
#define TEST_ROUNDS	6

static int fixes_test_inv_rounds(void *data)
{
	unsigned int i;

	for (i = 0; i < TEST_ROUNDS; i++)
		fixes_test_inv(data, i * TEST_NUM, TEST_NUM);
	return 0;
}

/* Bounded for a driver that never looks at the clock */
static void fixes_test_wait_timeouts(struct kunit *test, unsigned int num)
{
	unsigned int i;

	for (i = 0; i < 5000 && arm_smmu_fake_num_timeouts() < num; i++)
		usleep_range(900, 1100);
	KUNIT_EXPECT_GE(test, arm_smmu_fake_num_timeouts(), num);
}

/* The SMMU stops for longer than several timeouts, then it executes everything */
static void fixes_test_timeout(struct kunit *test)
{
	struct arm_smmu_fake *fake = arm_smmu_fake_create(test, TEST_SHIFT);
	struct arm_smmu_domain *smmu_domain =
		fixes_test_alloc(fake, INV_TYPE_S1_ASID, 12);
	const bool msi = *(const unsigned int *)test->param_value;
	u64 num_cmds, sum, expected = 0;
	struct task_struct *task;
	unsigned int i;

	if (msi)
		fake->smmu.options |= ARM_SMMU_OPT_MSIPOLL;
	arm_smmu_fake_stop(fake, 0);
	task = arm_smmu_fake_run_task(test, fixes_test_inv_rounds, smmu_domain);
	fixes_test_wait_timeouts(test, 4);
	arm_smmu_fake_start(fake);
	arm_smmu_fake_join_task(test, task);
	for (i = 0; i < TEST_ROUNDS * TEST_NUM; i++)
		expected += TEST_IOVA + i * SZ_4K + CMDQ_TLBI_1_LEAF;

	KUNIT_EXPECT_EQ(test, arm_smmu_fake_queue_pending(&fake->queue), 0);
	num_cmds = arm_smmu_fake_num_consumed(fake, &sum);
	KUNIT_EXPECT_EQ(test, num_cmds, TEST_ROUNDS * TEST_NUM);
	KUNIT_EXPECT_EQ(test, sum, expected);
}

static const unsigned int fixes_test_bools[] = { 0, 1 };

KUNIT_ARRAY_PARAM(fixes_test_bool, fixes_test_bools, NULL);

/*
 * An MSI comes half a second after its CMD_SYNC was given up. Then its slot has
 * a CMD_SYNC that is not complete, or another command that is not consumed.
 */
static void fixes_test_late_msi(struct kunit *test)
{
	struct arm_smmu_fake *fake = arm_smmu_fake_create(test, TEST_SHIFT);
	struct arm_smmu_fake *clock = arm_smmu_fake_create(test, TEST_SHIFT);
	struct arm_smmu_domain *smmu_domain =
		fixes_test_alloc(fake, INV_TYPE_S1_ASID, 12);
	const unsigned int other = *(const unsigned int *)test->param_value;
	unsigned int num_tlbis = 0, num_syncs = 0;
	struct arm_smmu_cmd cmd;

	fake->smmu.options |= ARM_SMMU_OPT_MSIPOLL;
	arm_smmu_fake_queue_set_time(&fake->queue, 0, 1500000);
	/* The virtual time goes from event to event. Here is one for the timeout. */
	arm_smmu_fake_queue_stall(&clock->queue, 0, 1100000);
	fixes_test_inv(smmu_domain, 0, 1);
	KUNIT_ASSERT_EQ(test, arm_smmu_fake_num_timeouts(), 1);
	arm_smmu_fake_queue_set_time(&fake->queue, 0, 0);

	/* The CMD_SYNC was in slot 1. Go there again. */
	fixes_test_issue(fake, TEST_QUEUE - 2 + other);
	KUNIT_ASSERT_EQ(test, arm_smmu_fake_queue_pending(&fake->queue), 0);
	arm_smmu_fake_drop_cmds(fake);
	arm_smmu_fake_queue_stall(&fake->queue, 0, 900000);
	fixes_test_inv(smmu_domain, 0, 1);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_queue_pending(&fake->queue), 0);

	while (arm_smmu_fake_next_cmd(fake, &cmd)) {
		num_tlbis += FIELD_GET(CMDQ_0_OP, cmd.data[0]) ==
			     CMDQ_OP_TLBI_NH_VA;
		num_syncs += FIELD_GET(CMDQ_0_OP, cmd.data[0]) ==
			     CMDQ_OP_CMD_SYNC;
	}
	KUNIT_EXPECT_EQ(test, num_tlbis, 1);
	KUNIT_EXPECT_EQ(test, num_syncs, 1);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_num_timeouts(), 1);
}

static int fixes_test_inv_many(void *data)
{
	fixes_test_inv(data, 0, 30);
	return 0;
}

/* Fewer slots are free than are needed, and the SMMU has stopped */
static void fixes_test_space(struct kunit *test)
{
	struct arm_smmu_fake *fake = arm_smmu_fake_create(test, TEST_SHIFT);
	struct arm_smmu_domain *smmu_domain =
		fixes_test_alloc(fake, INV_TYPE_S1_ASID, 12);
	struct task_struct *task;
	u64 sum;

	arm_smmu_fake_stop(fake, 0);
	fixes_test_issue(fake, TEST_QUEUE - 30);
	task = arm_smmu_fake_run_task(test, fixes_test_inv_many, smmu_domain);
	fixes_test_wait_timeouts(test, 2);
	arm_smmu_fake_start(fake);
	while (arm_smmu_fake_queue_pending(&fake->queue))
		;
	arm_smmu_fake_join_task(test, task);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_num_consumed(fake, &sum),
			TEST_QUEUE);
}

/* What the commands of one invalidation cover */
struct fixes_test_cover {
	u64 next;	/* All from the start of the range to here is covered */
	u64 size;	/* The sum of the sizes of the commands */
	unsigned int num;
	bool all;
};

static void fixes_test_add(struct kunit *test, struct fixes_test_cover *cover,
			   const struct arm_smmu_cmd *cmd, unsigned int tg,
			   size_t granule, bool leaf)
{
	unsigned int op = FIELD_GET(CMDQ_0_OP, cmd->data[0]);
	unsigned int ttl = FIELD_GET(CMDQ_TLBI_1_TTL, cmd->data[1]);
	u64 start = cmd->data[1] & GENMASK_ULL(63, 12), size = granule;

	if (op == CMDQ_OP_ATC_INV) {
		size = (u64)SZ_4K << FIELD_GET(CMDQ_ATC_1_SIZE, cmd->data[1]);
		cover->all |= FIELD_GET(CMDQ_ATC_1_SIZE, cmd->data[1]) == 52;
		KUNIT_EXPECT_EQ(test, start & (size - 1), 0);
	} else if (op == CMDQ_OP_TLBI_NH_ASID || op == CMDQ_OP_TLBI_S12_VMALL) {
		cover->all = true;
	} else if (FIELD_GET(CMDQ_TLBI_1_TG, cmd->data[1])) {
		unsigned int num = FIELD_GET(CMDQ_TLBI_0_NUM, cmd->data[0]);
		unsigned int scale = FIELD_GET(CMDQ_TLBI_0_SCALE, cmd->data[0]);
		unsigned int bits = FIELD_GET(CMDQ_TLBI_1_TG, cmd->data[1]) * 2 + 10;
		unsigned int level = 3 - (ilog2(granule) - tg) / (tg - 3);

		size = (num + 1ULL) << (scale + tg);
		KUNIT_EXPECT_EQ(test, tg, bits);
		/* ILLEGAL */
		KUNIT_EXPECT_TRUE(test, ttl || num || scale);
		KUNIT_EXPECT_EQ(test, ttl, leaf ? level : 0);
	} else {
		KUNIT_EXPECT_EQ(test, ttl, 0);
	}

	if (start <= cover->next)
		cover->next = max(cover->next, start + size);
	cover->size += size;
	cover->num++;
}

static void fixes_test_range(struct arm_smmu_fake *fake,
			     struct arm_smmu_domain *smmu_domain, u64 iova,
			     u64 size, unsigned int tg, size_t granule,
			     bool leaf)
{
	struct fixes_test_cover cover = { .next = iova };
	struct kunit *test = fake->test;
	struct arm_smmu_cmd cmd;
	struct arm_smmu_inv *inv =
		&arm_smmu_fake_invs(&smmu_domain->domain)->inv[0];

	arm_smmu_fake_drop_cmds(fake);
	arm_smmu_domain_inv_range(smmu_domain, iova, size, granule, leaf);
	while (arm_smmu_fake_next_cmd(fake, &cmd))
		if (FIELD_GET(CMDQ_0_OP, cmd.data[0]) != CMDQ_OP_CMD_SYNC)
			fixes_test_add(test, &cover, &cmd, tg, granule, leaf);
	if (cover.all) {
		/* As much as there is, or too many commands without ranges */
		KUNIT_EXPECT_EQ(test, cover.num, 1);
		if (inv->type == INV_TYPE_ATS)
			KUNIT_EXPECT_GE(test, size, BIT_ULL(51));
		else if (fake->smmu.features & ARM_SMMU_FEAT_RANGE_INV)
			KUNIT_EXPECT_GT(test, size, BIT_ULL(52));
		else
			KUNIT_EXPECT_GE(test, size >> tg, 1UL << (tg - 3));
		return;
	}
	KUNIT_ASSERT_GE_MSG(test, cover.next, iova + size,
			    "iova %#llx, size %#llx, granule %#zx", iova, size,
			    granule);
	KUNIT_ASSERT_LE_MSG(test, cover.size, 2 * size,
			    "iova %#llx, size %#llx, granule %#zx", iova, size,
			    granule);
	if (inv->type == INV_TYPE_ATS)
		KUNIT_EXPECT_LE(test, cover.num, 2);
	else if (fake->smmu.features & ARM_SMMU_FEAT_RANGE_INV)
		KUNIT_EXPECT_LE(test, cover.num, 24);
}

static const struct fixes_test_ranges {
	const char *name;
	enum arm_smmu_inv_type type;
	u32 features;
} fixes_test_kinds[] = {
	{ "stage 1", INV_TYPE_S1_ASID, 0 },
	{ "stage 1, ranges", INV_TYPE_S1_ASID, ARM_SMMU_FEAT_RANGE_INV },
	{ "stage 2", INV_TYPE_S2_VMID, 0 },
	{ "stage 2, ranges", INV_TYPE_S2_VMID, ARM_SMMU_FEAT_RANGE_INV },
	{ "ATC", INV_TYPE_ATS, 0 },
};

KUNIT_ARRAY_PARAM_DESC(fixes_test_range, fixes_test_kinds, name);

static u64 fixes_test_rnd(struct rnd_state *rnd, unsigned int high,
			  unsigned int low)
{
	u64 rnd_64 = (u64)prandom_u32_state(rnd) << 32 | prandom_u32_state(rnd);

	return rnd_64 & GENMASK_ULL(high, low);
}

/* From one page to the whole address space, all of a range is covered */
static void fixes_test_ranges(struct kunit *test)
{
	const struct fixes_test_ranges *param = test->param_value;
	struct arm_smmu_fake *fake = arm_smmu_fake_create(test, 10);
	struct arm_smmu_domain *smmu_domain;
	struct rnd_state rnd;
	unsigned int tg, i;

	fake->smmu.features |= param->features;
	prandom_seed_state(&rnd, 14);
	for (tg = 12; tg <= 16; tg += 2) {
		smmu_domain = fixes_test_alloc(fake, param->type, tg);
		for (i = 0; i < 700; i++) {
			/* Pages, and blocks of level 2 and 1 */
			unsigned int shift = tg + i % 3 * (tg - 3);
			unsigned int bit = shift + i / 3 % (53 - shift);
			u64 size = 1ULL << bit, iova;

			/* No blocks of 64 GiB with 16 KiB pages */
			if (tg == 14 && i % 3 == 2)
				continue;
			/* The fake SMMU remembers 4096 commands */
			if (!param->features && bit > shift + 9 &&
			    (i % 3 || bit < 2 * tg - 3))
				continue;
			if (bit < 52 && i % 4)
				size |= i % 4 == 1 ? 1ULL << shift :
					fixes_test_rnd(&rnd, bit, shift);
			iova = fixes_test_rnd(&rnd, 51, shift);
			if (iova + size > BIT_ULL(52))
				iova = 0;
			fixes_test_range(fake, smmu_domain, iova, size, tg,
					 1ULL << shift, i % 3 || i & 1);
		}
	}
}

/* The bits of a page and of a block are cleared, once */
static void fixes_test_dirty(struct kunit *test)
{
	const bool ranges = *(const unsigned int *)test->param_value;
	struct arm_smmu_fake_master *fms[2];
	struct arm_smmu_fake *fakes[2];
	struct iommu_iotlb_gather gather;
	struct iommu_dirty_bitmap dirty;
	const struct iommu_dirty_ops *ops;
	struct iommu_domain *domain = NULL;
	struct arm_smmu_cmd cmd;
	unsigned int i, j;

	for (i = 0; i < 2; i++) {
		fakes[i] = arm_smmu_fake_create(test, TEST_SHIFT);
		fakes[i]->smmu.features |= ARM_SMMU_FEAT_HA | ARM_SMMU_FEAT_HD;
		if (ranges)
			fakes[i]->smmu.features |= ARM_SMMU_FEAT_RANGE_INV;
		fms[i] = arm_smmu_fake_add_master(fakes[i], TEST_SID, 0);
		if (!i)
			domain = arm_smmu_fake_alloc_domain(fms[i], TEST_FLAGS);
		KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(fms[i], domain));
	}
	KUNIT_ASSERT_EQ(test, 0, iommu_map(domain, SZ_1G, SZ_1G, SZ_2M + SZ_4K,
					   IOMMU_READ | IOMMU_WRITE, GFP_KERNEL));

	/* With a new mapping all is dirty, later nothing */
	for (i = 0; i < 2; i++) {
		for (j = 0; j < 2; j++)
			arm_smmu_fake_drop_cmds(fakes[j]);
		iommu_dirty_bitmap_init(&dirty, NULL, &gather);
		ops = domain->dirty_ops;
		KUNIT_ASSERT_EQ(test, 0,
				ops->read_and_clear_dirty(domain, SZ_1G,
							  SZ_2M + SZ_4K, 0,
							  &dirty));
		iommu_iotlb_sync(domain, &gather);
		for (j = 0; j < 2; j++) {
			struct fixes_test_cover cover = { .next = SZ_1G };

			while (arm_smmu_fake_next_cmd(fakes[j], &cmd))
				if (FIELD_GET(CMDQ_0_OP, cmd.data[0]) !=
				    CMDQ_OP_CMD_SYNC)
					fixes_test_add(test, &cover, &cmd, 12,
						       SZ_4K, false);
			KUNIT_EXPECT_EQ(test, cover.num > 0, !i);
			KUNIT_EXPECT_LE(test, cover.num, 2);
			KUNIT_EXPECT_EQ(test, !i, cover.all ||
					cover.next >= SZ_1G + SZ_2M + SZ_4K);
		}
	}
}

static struct kunit_case arm_smmu_v3_fixes_test_cases[] = {
	KUNIT_CASE_PARAM(fixes_test_timeout, fixes_test_bool_gen_params),
	KUNIT_CASE_PARAM(fixes_test_late_msi, fixes_test_bool_gen_params),
	KUNIT_CASE(fixes_test_space),
	KUNIT_CASE_PARAM(fixes_test_ranges, fixes_test_range_gen_params),
	KUNIT_CASE_PARAM(fixes_test_dirty, fixes_test_bool_gen_params),
	{}
};

static struct kunit_suite arm_smmu_v3_fixes_test_suite = {
	.name = "arm-smmu-v3-fixes",
	.test_cases = arm_smmu_v3_fixes_test_cases,
};

kunit_test_suites(&arm_smmu_v3_fixes_test_suite);
