// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of the invalidation array. It is pure data: the pointers to SMMUs
 * are numbers that are only compared. arm-smmu-v3-invs in tools/testing fuzzes the
 * same code in user space, also with what callers must not do.
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
	{ TEST_SMMU(1), INV_TYPE_S2_VMID_S1_CLEAR, 6, .id = TEST_ID(1) },
	{ TEST_SMMU(1), INV_TYPE_S2_VMID_S1_CLEAR, 7, .id = TEST_ID(2) },
	{ TEST_SMMU(3), INV_TYPE_S2_VMID_S1_CLEAR, 8, .id = TEST_ID(1) },
	{ TEST_SMMU(1), INV_TYPE_ATS, 9, .id = TEST_ID(1), .ssid = 0 },
	{ TEST_SMMU(1), INV_TYPE_ATS, 10, .id = TEST_ID(1), .ssid = 1 },
	{ TEST_SMMU(1), INV_TYPE_ATS, 11, .id = TEST_ID(3), .ssid = 0 },
	{ TEST_SMMU(1), INV_TYPE_ATS_FULL, 12, .id = TEST_ID(1), .ssid = 0 },
	{ TEST_SMMU(3), INV_TYPE_ATS_FULL, 13, .id = TEST_ID(0), .ssid = 0 },
};

#define TEST_KEYS	ARRAY_SIZE(array_test_keys)

static struct arm_smmu_invs *array_test_alloc(struct kunit *test, size_t num)
{
	struct arm_smmu_invs *invs;

	invs = kunit_kzalloc(test, struct_size(invs, inv, num), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, invs);
	invs->max_invs = num;
	return invs;
}

/* The array has these numbers of users, in order, and keeps its own rules */
static void array_test_check(struct kunit *test, struct arm_smmu_invs *invs,
			     const int *users)
{
	size_t i, num_trashes = 0;
	struct arm_smmu_inv *inv;
	int key, last = -1;

	KUNIT_ASSERT_LE(test, invs->num_invs, invs->max_invs);
	for (i = 0; i <= invs->num_invs; i++) {
		inv = &invs->inv[i];
		key = i < invs->num_invs ? inv->size_opcode : TEST_KEYS;
		KUNIT_ASSERT_GT(test, key, last);
		while (++last < key)
			KUNIT_ASSERT_EQ(test, users[last], 0);
		if (i == invs->num_invs)
			break;
		KUNIT_ASSERT_EQ(test, inv->users, users[key]);
		num_trashes += !inv->users;
		if (inv->users && inv->type <= INV_TYPE_S2_VMID)
			KUNIT_ASSERT_PTR_EQ(test, inv,
					    arm_smmu_invs_find(invs, inv->smmu, inv->type));
	}
	KUNIT_ASSERT_EQ(test, invs->num_trashes, num_trashes);
	if (invs->num_invs)
		KUNIT_ASSERT_NE(test, invs->inv[invs->num_invs - 1].users, 0);
}

/* Random sets of entries come and go. Every other time there is no purge. */
static void array_test_sequences(struct kunit *test)
{
	struct arm_smmu_invs *invs = arm_smmu_invs_alloc(0), *old, *set, *sets[TEST_ATTACHMENTS];
	int users[TEST_KEYS] = {};
	unsigned int i, step;
	struct rnd_state rnd;
	bool add;

	prandom_seed_state(&rnd, 1);
	for (i = 0; i < TEST_ATTACHMENTS; i++)
		sets[i] = array_test_alloc(test, TEST_KEYS);
	for (step = 0; step < TEST_STEPS; step++) {
		set = sets[prandom_u32_state(&rnd) % TEST_ATTACHMENTS];
		add = !set->num_invs;
		for (i = 0; add && i < TEST_KEYS; i++)
			if (!(prandom_u32_state(&rnd) % 8))
				set->inv[set->num_invs++] = array_test_keys[i];
		for (i = 0; i < set->num_invs; i++)
			users[set->inv[i].size_opcode] += add ? 1 : -1;
		old = invs;
		if (add) {
			invs = arm_smmu_invs_merge(old, set);
		} else {
			arm_smmu_invs_unref(old, set);
			set->num_invs = 0;
			array_test_check(test, old, users);
			if (old->num_trashes && step % 2)
				invs = arm_smmu_invs_purge(old);
		}
		KUNIT_ASSERT_NOT_ERR_OR_NULL(test, invs);
		if (invs != old) {
			KUNIT_ASSERT_EQ(test, invs->num_trashes, 0);
			arm_smmu_invs_free(old);
		}
		array_test_check(test, invs, users);
	}
	arm_smmu_invs_free(invs);
}

/* Trash may stand before the tag. Two live tags are a bug, and warned about. */
static void array_test_find_second(struct kunit *test)
{
	struct arm_smmu_invs *invs = array_test_alloc(test, 2);
	struct arm_smmu_inv *inv;

	invs->num_invs = 2;
	invs->inv[0] = array_test_keys[0];
	invs->inv[0].users = 1;
	invs->inv[1] = invs->inv[0];
	invs->inv[1].id++;
	kunit_warning_suppress(test) {
		inv = arm_smmu_invs_find(invs, TEST_SMMU(1), INV_TYPE_S1_ASID);
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 1);
	}
	KUNIT_EXPECT_PTR_EQ(test, inv, &invs->inv[0]);
	invs->inv[0].users = 0;
	inv = arm_smmu_invs_find(invs, TEST_SMMU(1), INV_TYPE_S1_ASID);
	KUNIT_EXPECT_PTR_EQ(test, inv, &invs->inv[1]);
}

static struct kunit_case array_test_cases[] = {
	KUNIT_CASE(array_test_sequences),
	KUNIT_CASE(array_test_find_second),
	{}
};

static struct kunit_suite array_test_suite = {
	.name = "arm-smmu-v3-array",
	.test_cases = array_test_cases,
};

kunit_test_suite(array_test_suite);
