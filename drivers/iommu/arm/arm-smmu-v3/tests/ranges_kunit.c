// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of the commands that cover a range, of clearing dirty bits, and of
 * commands that are still in a queue when a wait for them has timed out.
 */
#include <linux/delay.h>
#include <linux/prandom.h>

#include "fake.h"

#define TEST_SHIFT	7
#define TEST_QUEUE	128
#define TEST_IOVA	SZ_1G
#define TEST_ID		5
#define TEST_NUM	63
#define TEST_ROUNDS	6

/* A domain with one entry in its array */
struct ranges_test {
	struct arm_smmu_domain smmu_domain;
	struct arm_smmu_fake *fake;
	struct arm_smmu_inv *inv;
};

static struct ranges_test *ranges_test_setup(struct kunit *test, unsigned int shift)
{
	struct ranges_test *rt = kunit_kzalloc(test, sizeof(*rt), GFP_KERNEL);
	struct arm_smmu_invs *invs;

	KUNIT_ASSERT_NOT_NULL(test, rt);
	invs = kunit_kzalloc(test, struct_size(invs, inv, 1), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, invs);
	rt->fake = arm_smmu_fake_create(test, shift);
	invs->max_invs = 1;
	invs->num_invs = 1;
	rt->inv = &invs->inv[0];
	*rt->inv = (struct arm_smmu_inv){
		.smmu = &rt->fake->smmu,
		.type = INV_TYPE_S1_ASID,
		.size_opcode = CMDQ_OP_TLBI_NH_VA,
		.nsize_opcode = CMDQ_OP_TLBI_NH_ASID,
		.id = TEST_ID,
		.pgsize = 12,
		.users = 1,
	};
	rcu_assign_pointer(rt->smmu_domain.invs, invs);
	return rt;
}

static void ranges_test_inv(struct ranges_test *rt, unsigned int first, unsigned int num)
{
	arm_smmu_domain_inv_range(&rt->smmu_domain, TEST_IOVA + first * SZ_4K, num * SZ_4K, SZ_4K,
				  true);
}

static void ranges_test_issue(struct arm_smmu_fake *fake, unsigned int num)
{
	struct arm_smmu_cmd cmd = arm_smmu_make_cmd_tlbi(CMDQ_OP_TLBI_NH_ASID, TEST_ID, 0);

	while (num--)
		arm_smmu_cmdq_issue_cmd_p(&fake->smmu, &cmd, false);
}

static int ranges_test_inv_rounds(void *data)
{
	unsigned int i;

	for (i = 0; i < TEST_ROUNDS; i++)
		ranges_test_inv(data, i * TEST_NUM, TEST_NUM);
	return 0;
}

/*
 * An SMMU stops for longer than several timeouts, without MSIs with fewer free
 * slots than are needed. Then it executes everything.
 */
static void ranges_test_timeout(struct kunit *test)
{
	unsigned int i, msi, others, timeouts;
	u64 num_cmds, sum, expected;
	struct task_struct *task;
	struct ranges_test *rt;

	for (msi = 0; msi < 2; msi++) {
		rt = ranges_test_setup(test, TEST_SHIFT);
		if (msi)
			rt->fake->smmu.options |= ARM_SMMU_OPT_MSIPOLL;
		others = msi ? 0 : TEST_QUEUE - TEST_NUM;
		arm_smmu_fake_stop(rt->fake, 0);
		ranges_test_issue(rt->fake, others);
		timeouts = arm_smmu_fake_num_timeouts() + 4;
		task = arm_smmu_fake_run_task(test, ranges_test_inv_rounds, rt);
		/* Bounded for a driver that never looks at the clock */
		for (i = 0; i < 5000 && arm_smmu_fake_num_timeouts() < timeouts; i++)
			usleep_range(900, 1100);
		KUNIT_EXPECT_GE(test, arm_smmu_fake_num_timeouts(), timeouts);
		arm_smmu_fake_start(rt->fake);
		while (arm_smmu_fake_queue_pending(&rt->fake->queue))
			cond_resched();
		arm_smmu_fake_join_task(test, task);

		KUNIT_EXPECT_EQ(test, arm_smmu_fake_queue_pending(&rt->fake->queue), 0);
		for (i = 0, expected = 0; i < TEST_ROUNDS * TEST_NUM; i++)
			expected += TEST_IOVA + i * SZ_4K + CMDQ_TLBI_1_LEAF;
		num_cmds = arm_smmu_fake_num_consumed(rt->fake, &sum);
		KUNIT_EXPECT_EQ(test, num_cmds, TEST_ROUNDS * TEST_NUM + others);
		KUNIT_EXPECT_EQ(test, sum, expected);
	}
}

/*
 * An MSI comes half a second after its CMD_SYNC was given up. Then its slot has
 * a CMD_SYNC that is not complete, or another command that is not consumed.
 */
static void ranges_test_late_msi(struct kunit *test)
{
	struct arm_smmu_fake *clock = arm_smmu_fake_create(test, TEST_SHIFT);
	struct arm_smmu_cmd cmds[] = {
		arm_smmu_make_cmd_tlbi(CMDQ_OP_TLBI_NH_VA, TEST_ID, 0),
		{ .data[0] = CMDQ_OP_CMD_SYNC },
	};
	struct arm_smmu_fake_queue *fq;
	struct ranges_test *rt;
	unsigned int other;

	cmds[0].data[1] = TEST_IOVA | CMDQ_TLBI_1_LEAF;
	for (other = 0; other < 2; other++) {
		rt = ranges_test_setup(test, TEST_SHIFT);
		fq = &rt->fake->queue;
		rt->fake->smmu.options |= ARM_SMMU_OPT_MSIPOLL;
		arm_smmu_fake_queue_set_time(fq, 0, 1500000);
		/* The virtual time goes from event to event. Here is one for the timeout. */
		arm_smmu_fake_queue_stall(&clock->queue, 0, 1100000);
		ranges_test_inv(rt, 0, 1);
		KUNIT_ASSERT_EQ(test, arm_smmu_fake_num_timeouts(), other + 1);
		arm_smmu_fake_queue_set_time(fq, 0, 0);

		/* The CMD_SYNC was in slot 1. Go there again. */
		ranges_test_issue(rt->fake, TEST_QUEUE - 2 + other);
		KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_queue_pending(fq));
		arm_smmu_fake_drop_cmds(rt->fake);
		arm_smmu_fake_queue_stall(fq, 0, 900000);
		ranges_test_inv(rt, 0, 1);
		KUNIT_EXPECT_EQ(test, 0, arm_smmu_fake_queue_pending(fq));
		arm_smmu_fake_expect_cmds(rt->fake, cmds, ARRAY_SIZE(cmds));
		KUNIT_EXPECT_EQ(test, arm_smmu_fake_num_timeouts(), other + 1);
	}
}

/* What the commands of one invalidation cover */
struct ranges_test_cover {
	u64 next;	/* All from the start of the range to here is covered */
	u64 size;	/* The sum of the sizes of the commands */
	unsigned int num;
	bool all;
};

static struct ranges_test_cover ranges_test_read(struct arm_smmu_fake *fake, u64 iova,
						 unsigned int tg, size_t granule, bool leaf)
{
	struct ranges_test_cover cover = { .next = iova };
	struct kunit *test = fake->test;
	struct arm_smmu_cmd cmd;

	while (arm_smmu_fake_next_cmd(fake, &cmd)) {
		unsigned int op = FIELD_GET(CMDQ_0_OP, cmd.data[0]);
		unsigned int ttl = FIELD_GET(CMDQ_TLBI_1_TTL, cmd.data[1]);
		u64 start = cmd.data[1] & GENMASK_ULL(63, 12), size = granule;

		if (op == CMDQ_OP_CMD_SYNC) {
			continue;
		} else if (op == CMDQ_OP_ATC_INV) {
			u8 shift = FIELD_GET(CMDQ_ATC_1_SIZE, cmd.data[1]);

			size = (u64)SZ_4K << shift;
			cover.all |= shift == 52;
			KUNIT_EXPECT_EQ(test, start & (size - 1), 0);
		} else if (op == CMDQ_OP_TLBI_NH_ASID || op == CMDQ_OP_TLBI_S12_VMALL) {
			cover.all = true;
		} else if (FIELD_GET(CMDQ_TLBI_1_TG, cmd.data[1])) {
			u64 num = FIELD_GET(CMDQ_TLBI_0_NUM, cmd.data[0]);
			u64 scale = FIELD_GET(CMDQ_TLBI_0_SCALE, cmd.data[0]);
			u64 tg_enc = FIELD_GET(CMDQ_TLBI_1_TG, cmd.data[1]);
			u8 level = 3 - (ilog2(granule) - tg) / (tg - 3);

			size = (num + 1) << (scale + tg);
			KUNIT_EXPECT_EQ(test, tg, 10 + 2 * tg_enc);
			/* ILLEGAL. Without DS, SCALE has 5 bits. */
			KUNIT_EXPECT_TRUE(test, ttl || num || scale);
			KUNIT_EXPECT_LE(test, scale, 31);
			KUNIT_EXPECT_EQ(test, ttl, leaf ? level : 0);
		} else {
			KUNIT_EXPECT_EQ(test, ttl, 0);
		}
		if (start <= cover.next)
			cover.next = max(cover.next, start + size);
		cover.size += size;
		cover.num++;
	}
	return cover;
}

static void ranges_test_range(struct kunit *test, struct ranges_test *rt, u64 iova, u64 size,
			      unsigned int tg, size_t granule, bool leaf)
{
	bool ranges = rt->fake->smmu.features & ARM_SMMU_FEAT_RANGE_INV;
	bool ats = rt->inv->type == INV_TYPE_ATS;
	struct ranges_test_cover cover;

	arm_smmu_fake_drop_cmds(rt->fake);
	arm_smmu_domain_inv_range(&rt->smmu_domain, iova, size, granule, leaf);
	cover = ranges_test_read(rt->fake, iova, tg, granule, leaf);
	if (cover.all) {
		/* As much as there is, or too many commands without ranges */
		KUNIT_EXPECT_EQ(test, cover.num, 1);
		KUNIT_EXPECT_GE(test, size, ats ? BIT_ULL(51) :
				ranges ? BIT_ULL(52) + 1 : 1ULL << (2 * tg - 3));
		return;
	}
	KUNIT_ASSERT_GE_MSG(test, cover.next, iova + size, "iova %#llx, size %#llx, granule %#zx",
			    iova, size, granule);
	KUNIT_ASSERT_LE_MSG(test, cover.size, 2 * size, "iova %#llx, size %#llx, granule %#zx",
			    iova, size, granule);
	if (ats || ranges)
		KUNIT_EXPECT_LE(test, cover.num, ats ? 2 : 24);
}

static u64 ranges_test_rnd(struct rnd_state *rnd, unsigned int high, unsigned int low)
{
	u64 rnd_64 = (u64)prandom_u32_state(rnd) << 32 | prandom_u32_state(rnd);

	return rnd_64 & GENMASK_ULL(high, low);
}

static const struct ranges_test_kind {
	const char *name;
	enum arm_smmu_inv_type type;
	u8 size_opcode;
	u8 nsize_opcode;
	u32 features;
	unsigned int rounds;
} ranges_test_kinds[] = {
	{ "stage 1", INV_TYPE_S1_ASID, CMDQ_OP_TLBI_NH_VA, CMDQ_OP_TLBI_NH_ASID, 0, 100 },
	{ "stage 1, ranges", INV_TYPE_S1_ASID, CMDQ_OP_TLBI_NH_VA, CMDQ_OP_TLBI_NH_ASID,
	  ARM_SMMU_FEAT_RANGE_INV, 500 },
	{ "stage 2", INV_TYPE_S2_VMID, CMDQ_OP_TLBI_S2_IPA, CMDQ_OP_TLBI_S12_VMALL, 0, 100 },
	{ "stage 2, ranges", INV_TYPE_S2_VMID, CMDQ_OP_TLBI_S2_IPA, CMDQ_OP_TLBI_S12_VMALL,
	  ARM_SMMU_FEAT_RANGE_INV, 500 },
	{ "ATC", INV_TYPE_ATS, CMDQ_OP_ATC_INV, 0, 0, 300 },
};

KUNIT_ARRAY_PARAM_DESC(ranges_test_kind, ranges_test_kinds, name);

/* From one page to the whole address space, all of a range is covered */
static void ranges_test_sizes(struct kunit *test)
{
	const struct ranges_test_kind *kind = test->param_value;
	struct ranges_test *rt = ranges_test_setup(test, 10);
	struct rnd_state rnd;
	unsigned int tg, i;

	rt->fake->smmu.features |= kind->features;
	rt->inv->type = kind->type;
	rt->inv->size_opcode = kind->size_opcode;
	rt->inv->nsize_opcode = kind->nsize_opcode;
	prandom_seed_state(&rnd, 14);
	for (tg = 12; tg <= 16; tg += 2) {
		/* In a union with the PASID */
		rt->inv->pgsize = kind->type == INV_TYPE_ATS ? 0 : tg;
		for (i = 0; i < kind->rounds; i++) {
			/* Pages, and blocks of level 2 and 1 */
			unsigned int shift = tg + i % 3 * (tg - 3);
			unsigned int bit = shift + i / 3 % (53 - shift);
			u64 size = 1ULL << bit, iova;

			/* No blocks of 64 GiB with 16 KiB pages */
			if (tg == 14 && i % 3 == 2)
				continue;
			/* The fake SMMU remembers 4096 commands */
			if (!kind->features && bit > shift + 9 && (i % 3 || bit < 2 * tg - 3))
				continue;
			if (bit < 52 && i % 4)
				size |= i % 4 == 1 ? 1ULL << shift :
						     ranges_test_rnd(&rnd, bit, shift);
			iova = ranges_test_rnd(&rnd, 51, shift);
			if (iova + size > BIT_ULL(52))
				iova = 0;
			ranges_test_range(test, rt, iova, size, tg, 1ULL << shift, i % 3 || i & 1);
		}
	}
}

/* The bits of a page and of a block are cleared, and without any nothing is done */
static void ranges_test_dirty(struct kunit *test)
{
	struct arm_smmu_fake *fake = arm_smmu_fake_create(test, TEST_SHIFT);
	const size_t size = SZ_2M + SZ_4K;
	struct iommu_iotlb_gather gather;
	struct iommu_dirty_bitmap dirty;
	struct arm_smmu_fake_master *fm;
	struct ranges_test_cover cover;
	struct iommu_domain *domain;
	unsigned int i;

	fake->smmu.features |= ARM_SMMU_FEAT_HA | ARM_SMMU_FEAT_HD | ARM_SMMU_FEAT_RANGE_INV;
	fm = arm_smmu_fake_add_master(fake, 1, 0);
	domain = arm_smmu_fake_alloc_domain(fm, IOMMU_HWPT_ALLOC_DIRTY_TRACKING);
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(fm, domain));
	KUNIT_ASSERT_EQ(test, 0, iommu_map(domain, TEST_IOVA, TEST_IOVA, size,
					   IOMMU_READ | IOMMU_WRITE, GFP_KERNEL));
	/* A new mapping is dirty */
	for (i = 0; i < 2; i++) {
		arm_smmu_fake_drop_cmds(fake);
		iommu_dirty_bitmap_init(&dirty, NULL, &gather);
		KUNIT_ASSERT_EQ(test, 0, domain->dirty_ops->read_and_clear_dirty(domain, TEST_IOVA,
										 size, 0, &dirty));
		iommu_iotlb_sync(domain, &gather);
		cover = ranges_test_read(fake, TEST_IOVA, 12, SZ_4K, false);
		KUNIT_EXPECT_EQ(test, !i, cover.num > 0);
		KUNIT_EXPECT_LE(test, cover.num, 2);
		KUNIT_EXPECT_EQ(test, !i, cover.next >= TEST_IOVA + size);
	}
}

static struct kunit_case ranges_test_cases[] = {
	KUNIT_CASE(ranges_test_timeout),
	KUNIT_CASE(ranges_test_late_msi),
	KUNIT_CASE_PARAM(ranges_test_sizes, ranges_test_kind_gen_params),
	KUNIT_CASE(ranges_test_dirty),
	{}
};

static struct kunit_suite ranges_test_suite = {
	.name = "arm-smmu-v3-ranges",
	.suite_init = arm_smmu_fake_suite_init,
	.suite_exit = arm_smmu_fake_suite_exit,
	.test_cases = ranges_test_cases,
};

kunit_test_suite(ranges_test_suite);
