// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of the invalidation array. It is pure data: the pointers to SMMUs
 * are numbers that are only compared.
 */
#include <linux/mm.h>
#include <linux/prandom.h>
#include <linux/slab.h>

#include "fake.h"

#define TEST_SEEDS		24
#define TEST_STEPS		256
#define TEST_ATTACHMENTS	24

/* All counted from 1, so that an entry that is all zero is not one of them */
#define TEST_SMMUS		16
#define TEST_TYPES		(INV_TYPE_ATS_FULL + 1)
#define TEST_IDS		8
#define TEST_SSIDS		3

/* Spread over the range of the type, so that a signed comparison shows */
#define TEST_SMMU_STEP		(UINTPTR_MAX / TEST_SMMUS)
#define TEST_ID_STEP		(U32_MAX / TEST_IDS)

/* The tag, its S1_CLEAR, and a stream for each id */
#define TEST_MAX_ENTRIES	(2 + TEST_IDS)

static const unsigned int test_phases[TEST_TYPES] = {
	[INV_TYPE_S1_ASID] = 0,
	[INV_TYPE_S2_VMID] = 0,
	[INV_TYPE_S2_VMID_VSMMU] = 0,
	[INV_TYPE_S2_VMID_S1_CLEAR] = 1,
	[INV_TYPE_ATS] = 2,
	[INV_TYPE_ATS_FULL] = 2,
};

/**
 * struct invs_test - An array, and what must be in it
 * @invs: the array under test
 * @copy: what an array was before the code under test had it
 * @attachments: the entries that @invs was merged with; empty if not attached
 * @users: the model: how many attachments have the entry
 * @num_live: how many of @users are not 0
 * @rnd: where the sequence comes from
 * @seed: what @rnd was seeded with
 * @step: where in the sequence the test is
 */
struct invs_test {
	struct arm_smmu_invs *invs;
	struct arm_smmu_invs *copy;
	struct arm_smmu_invs *attachments[TEST_ATTACHMENTS];
	int users[TEST_SMMUS + 1][TEST_TYPES][TEST_IDS + 1][TEST_SSIDS + 1];
	size_t num_live;
	struct rnd_state rnd;
	unsigned int seed;
	unsigned int step;
};

static int invs_test_init(struct kunit *test)
{
	struct invs_test *it;

	it = kunit_kzalloc(test, sizeof(*it), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, it);
	test->priv = it;
	it->invs = arm_smmu_invs_alloc(0);
	KUNIT_ASSERT_NOT_NULL(test, it->invs);
	return 0;
}

static void invs_test_exit(struct kunit *test)
{
	struct invs_test *it = test->priv;

	if (test->status == KUNIT_FAILURE && it->seed)
		kunit_info(test, "seed %u, step %u", it->seed, it->step);
	arm_smmu_invs_free(it->invs);
	kvfree(it->copy);
}

static u32 invs_test_random(struct invs_test *it, u32 ceil)
{
	return prandom_u32_state(&it->rnd) % ceil;
}

static struct arm_smmu_device *invs_test_smmu(unsigned int smmu)
{
	return (struct arm_smmu_device *)(TEST_SMMU_STEP * smmu);
}

static bool invs_test_is_ats(const struct arm_smmu_inv *inv)
{
	return test_phases[inv->type] == 2;
}

static int *invs_test_users(struct invs_test *it,
			    const struct arm_smmu_inv *inv)
{
	return &it->users[(uintptr_t)inv->smmu / TEST_SMMU_STEP][inv->type]
			 [inv->id / TEST_ID_STEP]
			 [invs_test_is_ats(inv) ? inv->ssid : 0];
}

/* Do the keys of @a and @b say that @a must stand before @b? */
static bool invs_test_before(const struct arm_smmu_inv *a,
			     const struct arm_smmu_inv *b)
{
	const u64 keys[][2] = {
		{ test_phases[a->type], test_phases[b->type] },
		{ (uintptr_t)a->smmu, (uintptr_t)b->smmu },
		{ a->type, b->type },
		{ a->id, b->id },
		{ invs_test_is_ats(a) ? a->ssid : 0,
		  invs_test_is_ats(b) ? b->ssid : 0 },
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(keys); i++)
		if (keys[i][0] != keys[i][1])
			return keys[i][0] < keys[i][1];
	return false;
}

/* The id of the live entry of this type, of which there is one at the most */
static u32 invs_test_live_id(struct invs_test *it, unsigned int smmu,
			     enum arm_smmu_inv_type type)
{
	unsigned int id;

	for (id = 1; id <= TEST_IDS; id++)
		if (it->users[smmu][type][id][0])
			return TEST_ID_STEP * id;
	return 0;
}

static void invs_test_add(struct arm_smmu_invs *invs, unsigned int smmu,
			  enum arm_smmu_inv_type type, u32 id, u32 ssid)
{
	struct arm_smmu_inv *inv = &invs->inv[invs->num_invs++];

	inv->smmu = invs_test_smmu(smmu);
	inv->type = type;
	inv->id = id;
	/* In a union with pgsize, which is not part of a key */
	inv->ssid = ssid;
	inv->size_opcode = 0x10 + type;
	inv->nsize_opcode = 0x20 + type;
}

/* A device that attaches, with the domain's own tag or that of a vSMMU */
static void invs_test_make_attachment(struct invs_test *it,
				      struct arm_smmu_invs *invs,
				      unsigned int num_smmus)
{
	unsigned int smmu = 1 + invs_test_random(it, num_smmus);
	enum arm_smmu_inv_type type =
		INV_TYPE_S1_ASID + invs_test_random(it, 3);
	u32 id = invs_test_live_id(it, smmu, type);
	u32 ssid, i;

	/* There may be several vSMMUs on one SMMU */
	if (!id || type == INV_TYPE_S2_VMID_VSMMU)
		id = TEST_ID_STEP * (1 + invs_test_random(it, TEST_IDS));
	invs_test_add(invs, smmu, type, id, invs_test_random(it, 64));
	if (type == INV_TYPE_S2_VMID_VSMMU)
		invs_test_add(invs, smmu, INV_TYPE_S2_VMID_S1_CLEAR, id,
			      invs_test_random(it, 64));

	if (invs_test_random(it, 2))
		return;
	type = invs_test_random(it, 2) ? INV_TYPE_ATS : INV_TYPE_ATS_FULL;
	ssid = invs_test_random(it, TEST_SSIDS + 1);
	for (i = 1; i <= TEST_IDS; i++)
		if (invs_test_random(it, 2))
			invs_test_add(invs, smmu, type, TEST_ID_STEP * i, ssid);
}

static void invs_test_copy(struct kunit *test, struct arm_smmu_invs *invs)
{
	struct invs_test *it = test->priv;

	kvfree(it->copy);
	it->copy = kvmemdup(invs, struct_size(invs, inv, invs->num_invs),
			    GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, it->copy);
}

static void invs_test_expect_untouched(struct kunit *test,
				       struct arm_smmu_invs *invs)
{
	struct invs_test *it = test->priv;
	size_t size = struct_size(invs, inv, it->copy->num_invs);

	KUNIT_ASSERT_MEMEQ(test, invs, it->copy, size);
}

static void invs_test_replace(struct invs_test *it, struct arm_smmu_invs *invs)
{
	arm_smmu_invs_free(it->invs);
	it->invs = invs;
}

static void invs_test_check_find(struct kunit *test, unsigned int smmu,
				 enum arm_smmu_inv_type type)
{
	struct invs_test *it = test->priv;
	u32 id = invs_test_live_id(it, smmu, type);
	struct arm_smmu_inv *inv;

	inv = arm_smmu_invs_find(it->invs, invs_test_smmu(smmu), type);
	KUNIT_ASSERT_EQ(test, !inv, !id);
	if (!inv)
		return;
	KUNIT_ASSERT_GE(test, inv - it->invs->inv, 0);
	KUNIT_ASSERT_LT(test, inv - it->invs->inv, it->invs->num_invs);
	KUNIT_ASSERT_PTR_EQ(test, inv->smmu, invs_test_smmu(smmu));
	KUNIT_ASSERT_EQ(test, inv->type, type);
	KUNIT_ASSERT_EQ(test, inv->id, id);
	KUNIT_ASSERT_NE(test, inv->users, 0);
}

/* The array has what the model has, in order, and keeps its own rules */
static void invs_test_check(struct kunit *test)
{
	struct invs_test *it = test->priv;
	struct arm_smmu_invs *invs = it->invs;
	size_t i, num_live = 0;

	KUNIT_ASSERT_LE(test, invs->num_invs, invs->max_invs);
	for (i = 0; i < invs->num_invs; i++) {
		struct arm_smmu_inv *inv = &invs->inv[i];

		if (i)
			KUNIT_ASSERT_TRUE(test, invs_test_before(inv - 1, inv));
		KUNIT_ASSERT_EQ(test, inv->size_opcode, 0x10 + inv->type);
		KUNIT_ASSERT_EQ(test, inv->nsize_opcode, 0x20 + inv->type);
		KUNIT_ASSERT_EQ(test, inv->users, *invs_test_users(it, inv));
		if (inv->users)
			num_live++;
	}
	/* Each key is there once, so that none is missing if the number is right */
	KUNIT_ASSERT_EQ(test, num_live, it->num_live);
	KUNIT_ASSERT_EQ(test, invs->num_trashes, invs->num_invs - num_live);
	if (invs->num_invs)
		KUNIT_ASSERT_NE(test, invs->inv[invs->num_invs - 1].users, 0);

	for (i = 1; i <= TEST_SMMUS; i++) {
		invs_test_check_find(test, i, INV_TYPE_S1_ASID);
		invs_test_check_find(test, i, INV_TYPE_S2_VMID);
	}
}

static void invs_test_attach(struct kunit *test, struct arm_smmu_invs *to_merge)
{
	struct invs_test *it = test->priv;
	struct arm_smmu_invs *new_invs;
	size_t i;

	invs_test_copy(test, it->invs);
	new_invs = arm_smmu_invs_merge(it->invs, to_merge);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, new_invs);
	invs_test_expect_untouched(test, it->invs);
	invs_test_replace(it, new_invs);

	for (i = 0; i < to_merge->num_invs; i++)
		if (!(*invs_test_users(it, &to_merge->inv[i]))++)
			it->num_live++;
	invs_test_check(test);
	KUNIT_ASSERT_EQ(test, it->invs->num_trashes, 0);
}

static void invs_test_detach(struct kunit *test, struct arm_smmu_invs *to_unref)
{
	struct invs_test *it = test->priv;
	int users;
	size_t i;

	invs_test_copy(test, it->invs);
	arm_smmu_invs_unref(it->invs, to_unref);

	for (i = 0; i < to_unref->num_invs; i++) {
		users = --*invs_test_users(it, &to_unref->inv[i]);
		if (!users)
			it->num_live--;
		KUNIT_ASSERT_EQ(test, to_unref->inv[i].users, users);
	}
	invs_test_check(test);

	/* A reader walks it meanwhile: nothing but @users may change */
	for (i = 0; i < it->copy->num_invs; i++) {
		it->copy->inv[i].users = it->invs->inv[i].users;
		KUNIT_ASSERT_MEMEQ(test, &it->invs->inv[i], &it->copy->inv[i],
				   sizeof(struct arm_smmu_inv));
	}
}

static void invs_test_purge(struct kunit *test)
{
	struct invs_test *it = test->priv;
	struct arm_smmu_invs *new_invs;

	invs_test_copy(test, it->invs);
	new_invs = arm_smmu_invs_purge(it->invs);
	invs_test_expect_untouched(test, it->invs);
	KUNIT_ASSERT_EQ(test, !new_invs, !it->invs->num_trashes);
	if (!new_invs)
		return;
	invs_test_replace(it, new_invs);
	invs_test_check(test);
	KUNIT_ASSERT_EQ(test, it->invs->num_trashes, 0);
}

/*
 * Devices attach and detach in a random order. Whether trash is purged is
 * random as well, as if there were no memory every other time.
 */
static void invs_test_random_sequences(struct kunit *test)
{
	struct invs_test *it = test->priv;
	struct arm_smmu_invs *invs;
	unsigned int i;

	for (i = 0; i < TEST_ATTACHMENTS; i++) {
		invs = kunit_kzalloc(test,
				     struct_size(invs, inv, TEST_MAX_ENTRIES),
				     GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(test, invs);
		invs->max_invs = TEST_MAX_ENTRIES;
		it->attachments[i] = invs;
	}

	for (it->seed = 1; it->seed <= TEST_SEEDS; it->seed++) {
		prandom_seed_state(&it->rnd, it->seed);
		for (it->step = 0; it->step < TEST_STEPS; it->step++) {
			i = invs_test_random(it, TEST_ATTACHMENTS);
			invs = it->attachments[i];
			if (!invs->num_invs) {
				invs_test_make_attachment(it, invs,
							  1 + it->seed %
							  TEST_SMMUS);
				invs_test_attach(test, invs);
				continue;
			}
			invs_test_detach(test, invs);
			invs->num_invs = 0;
			if (invs_test_random(it, 2))
				invs_test_purge(test);
		}
		for (i = 0; i < TEST_ATTACHMENTS; i++) {
			invs = it->attachments[i];
			invs_test_detach(test, invs);
			invs->num_invs = 0;
		}
		KUNIT_ASSERT_EQ(test, it->invs->num_invs, 0);
	}
}

/* A device with a tag and @num streams, of which the first is @first */
static struct arm_smmu_invs *invs_test_device(struct kunit *test, u32 first,
					      u32 num)
{
	struct arm_smmu_invs *invs;
	u32 i;

	invs = kunit_kzalloc(test, struct_size(invs, inv, 1 + num), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, invs);
	invs->max_invs = 1 + num;
	invs_test_add(invs, 1, INV_TYPE_S1_ASID, 1, 0);
	for (i = 0; i < num; i++)
		invs_test_add(invs, 1, INV_TYPE_ATS, first + i, 0);
	return invs;
}

static void invs_test_merge_device(struct kunit *test,
				   struct arm_smmu_invs *device)
{
	struct invs_test *it = test->priv;
	struct arm_smmu_invs *new_invs;

	new_invs = arm_smmu_invs_merge(it->invs, device);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, new_invs);
	invs_test_replace(it, new_invs);
}

/* A merge and a purge that fail leave the array alone */
static void invs_test_no_memory(struct kunit *test)
{
	struct arm_smmu_invs *device = invs_test_device(test, 1, 2);
	struct invs_test *it = test->priv;
	struct arm_smmu_invs *merged, *purged;
	int balance;

	invs_test_merge_device(test, device);
	invs_test_merge_device(test, invs_test_device(test, 7, 2));
	arm_smmu_invs_unref(it->invs, device);
	KUNIT_ASSERT_EQ(test, it->invs->num_trashes, 2);
	invs_test_copy(test, it->invs);

	if (arm_smmu_fake_slab_start(test, 1))
		kunit_skip(test, "needs CONFIG_KPROBES and CONFIG_FAILSLAB");
	merged = arm_smmu_invs_merge(it->invs, device);
	KUNIT_ASSERT_TRUE(test, arm_smmu_fake_slab_stop(test, &balance));
	KUNIT_EXPECT_EQ(test, PTR_ERR_OR_ZERO(merged), -ENOMEM);
	KUNIT_EXPECT_EQ(test, balance, 0);

	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_slab_start(test, 1));
	purged = arm_smmu_invs_purge(it->invs);
	KUNIT_ASSERT_TRUE(test, arm_smmu_fake_slab_stop(test, &balance));
	KUNIT_EXPECT_NULL(test, purged);
	KUNIT_EXPECT_EQ(test, balance, 0);
	invs_test_expect_untouched(test, it->invs);
}

/*
 * To take out what is not in the array is a bug of the driver. Nothing must be
 * flushed and freed because of it, and other entries not suffer.
 */
static void invs_test_unref_missing(struct kunit *test)
{
	static const struct {
		const char *what;
		u32 id;
	} cases[] = {
		{ "before all others", 1 },
		{ "trash", 4 },
		{ "between others", 6 },
		{ "trash that was dropped from the end", 9 },
		{ "after all others", 10 },
	};
	struct invs_test *it = test->priv;
	struct arm_smmu_invs *missing;
	unsigned int i;

	/* Streams 3 to 9, of which 4 is trash and 9 is dropped */
	invs_test_merge_device(test, invs_test_device(test, 3, 1));
	invs_test_merge_device(test, invs_test_device(test, 4, 1));
	invs_test_merge_device(test, invs_test_device(test, 5, 1));
	invs_test_merge_device(test, invs_test_device(test, 7, 2));
	invs_test_merge_device(test, invs_test_device(test, 9, 1));
	arm_smmu_invs_unref(it->invs, invs_test_device(test, 4, 1));
	arm_smmu_invs_unref(it->invs, invs_test_device(test, 9, 1));
	KUNIT_ASSERT_EQ(test, it->invs->num_invs, 6);
	KUNIT_ASSERT_EQ(test, it->invs->num_trashes, 1);

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		missing = invs_test_device(test, cases[i].id, 1);
		/* Only the stream: the tag is there */
		missing->inv[0] = missing->inv[1];
		missing->num_invs = 1;

		invs_test_copy(test, it->invs);
		kunit_warning_suppress(test) {
			arm_smmu_invs_unref(it->invs, missing);
			KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 1);
		}
		KUNIT_EXPECT_NE_MSG(test, missing->inv[0].users, 0, "%s",
				    cases[i].what);
		invs_test_expect_untouched(test, it->invs);
	}
}

/*
 * A domain with two tags of one type on one SMMU, which is a bug. Trash may
 * stand before what is live, and two that are live are warned about.
 */
static void invs_test_find_second(struct kunit *test)
{
	struct arm_smmu_invs *first = invs_test_device(test, 1, 0);
	struct arm_smmu_invs *second = invs_test_device(test, 1, 0);
	struct invs_test *it = test->priv;
	struct arm_smmu_inv *inv;

	second->inv[0].id++;
	invs_test_merge_device(test, first);
	invs_test_merge_device(test, second);
	kunit_warning_suppress(test) {
		inv = arm_smmu_invs_find(it->invs, invs_test_smmu(1),
					 INV_TYPE_S1_ASID);
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 1);
	}
	KUNIT_EXPECT_PTR_EQ(test, inv, &it->invs->inv[0]);

	arm_smmu_invs_unref(it->invs, first);
	KUNIT_ASSERT_EQ(test, it->invs->num_trashes, 1);
	inv = arm_smmu_invs_find(it->invs, invs_test_smmu(1), INV_TYPE_S1_ASID);
	KUNIT_EXPECT_PTR_EQ(test, inv, &it->invs->inv[1]);
}

static struct kunit_case invs_test_cases[] = {
	KUNIT_CASE(invs_test_random_sequences),
	KUNIT_CASE(invs_test_no_memory),
	KUNIT_CASE(invs_test_unref_missing),
	KUNIT_CASE(invs_test_find_second),
	{}
};

static struct kunit_suite invs_test_suite = {
	.name = "arm-smmu-v3-array",
	.init = invs_test_init,
	.exit = invs_test_exit,
	.test_cases = invs_test_cases,
};

kunit_test_suite(invs_test_suite);
