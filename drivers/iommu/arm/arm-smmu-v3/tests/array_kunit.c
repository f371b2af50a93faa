// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of the invalidation array. It is pure data: the pointers to SMMUs
 * are numbers that are only compared. arm-smmu-v3-invs in tools/testing fuzzes the
 * same code in user space.
 */
#include <linux/prandom.h>

#include "fake.h"

#define TEST_ATTACHMENTS	10
#define TEST_STEPS		1000

/* Far apart, so that a signed comparison shows */
#define TEST_SMMU(n)	((struct arm_smmu_device *)((uintptr_t)(n) << 62))
#define TEST_ID(n)	((u32)(n) << 30)

/* In the order of the array. @size_opcode is the index. */
static const struct arm_smmu_inv array_test_keys[] = {
	{ TEST_SMMU(1), INV_TYPE_S1_ASID, 0, .id = TEST_ID(3) },
	{ TEST_SMMU(1), INV_TYPE_S2_VMID, 1, .id = TEST_ID(1) },
	{ TEST_SMMU(1), INV_TYPE_S2_VMID_VSMMU, 2, .id = TEST_ID(1) },
	{ TEST_SMMU(1), INV_TYPE_S2_VMID_VSMMU, 3, .id = TEST_ID(2) },
	{ TEST_SMMU(2), INV_TYPE_S1_ASID, 4, .id = TEST_ID(1) },
	{ TEST_SMMU(3), INV_TYPE_S2_VMID, 5, .id = TEST_ID(1) },
	{ TEST_SMMU(3), INV_TYPE_S2_VMID_VSMMU, 6, .id = TEST_ID(1) },
	{ TEST_SMMU(1), INV_TYPE_S2_VMID_S1_CLEAR, 7, .id = TEST_ID(1) },
	{ TEST_SMMU(1), INV_TYPE_S2_VMID_S1_CLEAR, 8, .id = TEST_ID(2) },
	{ TEST_SMMU(3), INV_TYPE_S2_VMID_S1_CLEAR, 9, .id = TEST_ID(1) },
	{ TEST_SMMU(1), INV_TYPE_ATS, 10, .id = TEST_ID(1), .ssid = 0 },
	{ TEST_SMMU(1), INV_TYPE_ATS, 11, .id = TEST_ID(1), .ssid = 1 },
	{ TEST_SMMU(1), INV_TYPE_ATS, 12, .id = TEST_ID(3), .ssid = 0 },
	{ TEST_SMMU(1), INV_TYPE_ATS_FULL, 13, .id = TEST_ID(1), .ssid = 0 },
	{ TEST_SMMU(2), INV_TYPE_ATS, 14, .id = TEST_ID(2), .ssid = 0 },
	{ TEST_SMMU(3), INV_TYPE_ATS_FULL, 15, .id = TEST_ID(0), .ssid = 0 },
};

struct array_test {
	struct arm_smmu_invs *invs;
	/* What must be in it: the number of users of each key */
	int users[ARRAY_SIZE(array_test_keys)];
	struct rnd_state rnd;
};

static struct arm_smmu_invs *array_test_alloc(struct kunit *test, size_t num)
{
	struct arm_smmu_invs *invs;

	invs = kunit_kzalloc(test, struct_size(invs, inv, num), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, invs);
	invs->max_invs = num;
	return invs;
}

static int array_test_init(struct kunit *test)
{
	struct array_test *at = kunit_kzalloc(test, sizeof(*at), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, at);
	test->priv = at;
	at->invs = arm_smmu_invs_alloc(0);
	KUNIT_ASSERT_NOT_NULL(test, at->invs);
	prandom_seed_state(&at->rnd, 1);
	return 0;
}

static void array_test_exit(struct kunit *test)
{
	struct array_test *at = test->priv;

	arm_smmu_invs_free(at->invs);
}

/* The array has what it must have, in order, and keeps its own rules */
static void array_test_check(struct kunit *test)
{
	struct array_test *at = test->priv;
	struct arm_smmu_invs *invs = at->invs;
	size_t i, num_trashes = 0;
	int key, last = -1;

	KUNIT_ASSERT_LE(test, invs->num_invs, invs->max_invs);
	for (i = 0; i <= invs->num_invs; i++) {
		struct arm_smmu_inv *inv = &invs->inv[i];

		key = i < invs->num_invs ? inv->size_opcode : ARRAY_SIZE(array_test_keys);
		KUNIT_ASSERT_GT(test, key, last);
		while (++last < key)
			KUNIT_ASSERT_EQ(test, at->users[last], 0);
		if (i == invs->num_invs)
			break;
		KUNIT_ASSERT_EQ(test, inv->users, at->users[key]);
		num_trashes += !inv->users;
		if (inv->users && inv->type <= INV_TYPE_S2_VMID)
			KUNIT_ASSERT_PTR_EQ(test, inv,
					    arm_smmu_invs_find(invs, inv->smmu, inv->type));
	}
	KUNIT_ASSERT_EQ(test, invs->num_trashes, num_trashes);
	if (invs->num_invs)
		KUNIT_ASSERT_NE(test, invs->inv[invs->num_invs - 1].users, 0);
}

static void array_test_set(struct kunit *test, struct arm_smmu_invs *new_invs)
{
	struct array_test *at = test->priv;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, new_invs);
	KUNIT_ASSERT_EQ(test, new_invs->num_trashes, 0);
	arm_smmu_invs_free(at->invs);
	at->invs = new_invs;
}

static void array_test_merge(struct kunit *test, struct arm_smmu_invs *to_merge)
{
	struct array_test *at = test->priv;

	array_test_set(test, arm_smmu_invs_merge(at->invs, to_merge));
}

/* Random sets of entries come and go. Every other time there is no purge. */
static void array_test_sequences(struct kunit *test)
{
	struct arm_smmu_invs *invs, *sets[TEST_ATTACHMENTS];
	struct array_test *at = test->priv;
	unsigned int i, k, step;
	bool add;

	for (i = 0; i < TEST_ATTACHMENTS; i++)
		sets[i] = array_test_alloc(test, ARRAY_SIZE(array_test_keys));
	for (step = 0; step < TEST_STEPS; step++) {
		invs = sets[prandom_u32_state(&at->rnd) % TEST_ATTACHMENTS];
		add = !invs->num_invs;
		for (k = 0; add && k < ARRAY_SIZE(array_test_keys); k++)
			if (!(prandom_u32_state(&at->rnd) % 8))
				invs->inv[invs->num_invs++] = array_test_keys[k];
		for (i = 0; i < invs->num_invs; i++)
			at->users[invs->inv[i].size_opcode] += add ? 1 : -1;
		if (add) {
			array_test_merge(test, invs);
		} else {
			arm_smmu_invs_unref(at->invs, invs);
			invs->num_invs = 0;
			array_test_check(test);
			if (at->invs->num_trashes && step % 2)
				array_test_set(test, arm_smmu_invs_purge(at->invs));
		}
		array_test_check(test);
	}
}

/* One entry, of this key */
static struct arm_smmu_invs *array_test_one(struct kunit *test, unsigned int key)
{
	struct arm_smmu_invs *invs = array_test_alloc(test, 1);

	invs->inv[0] = array_test_keys[key];
	invs->num_invs = 1;
	return invs;
}

/* To take out what is not in the array is a bug, of which nothing may follow */
static void array_test_unref_missing(struct kunit *test)
{
	static const unsigned int keys[] = { 3, 4, 5, 7, 9 };
	/* The first, trash, between others, trash dropped from the end, the last */
	static const unsigned int missing[] = { 1, 4, 6, 9, 10 };
	struct array_test *at = test->priv;
	struct arm_smmu_invs *invs, *copy;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(keys); i++)
		array_test_merge(test, array_test_one(test, keys[i]));
	arm_smmu_invs_unref(at->invs, array_test_one(test, 4));
	arm_smmu_invs_unref(at->invs, array_test_one(test, 9));
	KUNIT_ASSERT_EQ(test, at->invs->num_invs, 4);
	KUNIT_ASSERT_EQ(test, at->invs->num_trashes, 1);
	copy = array_test_alloc(test, 4);
	memcpy(copy, at->invs, struct_size(copy, inv, 4));

	for (i = 0; i < ARRAY_SIZE(missing); i++) {
		invs = array_test_one(test, missing[i]);
		kunit_warning_suppress(test) {
			arm_smmu_invs_unref(at->invs, invs);
			KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 1);
		}
		KUNIT_EXPECT_NE(test, invs->inv[0].users, 0);
		KUNIT_EXPECT_MEMEQ(test, at->invs, copy, struct_size(copy, inv, 4));
	}
}

/* Trash may stand before the tag. Two live tags are a bug, and warned about. */
static void array_test_find_second(struct kunit *test)
{
	struct arm_smmu_invs *first = array_test_one(test, 0);
	struct arm_smmu_invs *second = array_test_one(test, 0);
	struct array_test *at = test->priv;
	struct arm_smmu_inv *inv;

	second->inv[0].id++;
	array_test_merge(test, first);
	array_test_merge(test, second);
	kunit_warning_suppress(test) {
		inv = arm_smmu_invs_find(at->invs, TEST_SMMU(1), INV_TYPE_S1_ASID);
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 1);
	}
	KUNIT_EXPECT_PTR_EQ(test, inv, &at->invs->inv[0]);
	arm_smmu_invs_unref(at->invs, first);
	KUNIT_ASSERT_EQ(test, at->invs->num_trashes, 1);
	inv = arm_smmu_invs_find(at->invs, TEST_SMMU(1), INV_TYPE_S1_ASID);
	KUNIT_EXPECT_PTR_EQ(test, inv, &at->invs->inv[1]);
}

static struct kunit_case array_test_cases[] = {
	KUNIT_CASE(array_test_sequences),
	KUNIT_CASE(array_test_unref_missing),
	KUNIT_CASE(array_test_find_second),
	{}
};

static struct kunit_suite array_test_suite = {
	.name = "arm-smmu-v3-array",
	.init = array_test_init,
	.exit = array_test_exit,
	.test_cases = array_test_cases,
};

kunit_test_suite(array_test_suite);
