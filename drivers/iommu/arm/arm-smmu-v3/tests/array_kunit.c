// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of the invalidation array. The pointers to SMMUs are only compared,
 * so no SMMU is needed. arm-smmu-v3-invs in tools/testing fuzzes the same code in
 * user space, including misuse by callers. The suite order tests in which order
 * other CPUs observe changes of page tables and of arrays: see "Memory ordering"
 * in Documentation/driver-api/arm-smmu-v3.rst.
 */
#include <linux/prandom.h>

#include "fake.h"

#define TEST_ATTACHMENTS	10
#define TEST_STEPS		1000
#define TEST_ROUNDS		4000
#define TEST_SLOW_STORES	16
/* Limit of the wait for the other CPU, for hosts that run one CPU at a time */
#define TEST_MAX_WAITS		20000000

/* So far apart that a signed comparison would give another order */
#define TEST_SMMU(n)	((struct arm_smmu_device *)((uintptr_t)(n) << 62))
#define TEST_ID(n)	((u32)(n) << 30)

/* In the order of the array. @size_opcode is used for the index. */
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
	struct arm_smmu_invs *invs = arm_smmu_fake_zalloc(test, struct_size(invs, inv, num));

	invs->max_invs = num;
	return invs;
}

/* Check that the array is sorted and consistent, and has these numbers of users */
static void array_test_check(struct kunit *test, struct arm_smmu_invs *invs, const int *users)
{
	size_t key, i = 0, num_trashes = 0;
	struct arm_smmu_inv *inv;

	KUNIT_ASSERT_LE(test, invs->num_invs, invs->max_invs);
	for (key = 0; key < TEST_KEYS; key++) {
		inv = &invs->inv[i];
		if (i == invs->num_invs || inv->size_opcode != key) {
			KUNIT_ASSERT_EQ(test, users[key], 0);
			continue;
		}
		i++;
		KUNIT_ASSERT_EQ(test, inv->users, users[key]);
		num_trashes += !inv->users;
		if (inv->users && inv->type <= INV_TYPE_S2_VMID)
			KUNIT_ASSERT_PTR_EQ(test, inv,
					    arm_smmu_invs_find(invs, inv->smmu, inv->type));
	}
	KUNIT_ASSERT_EQ(test, invs->num_invs, i);
	KUNIT_ASSERT_EQ(test, invs->num_trashes, num_trashes);
	if (invs->num_invs)
		KUNIT_ASSERT_NE(test, invs->inv[invs->num_invs - 1].users, 0);
}

/* Merge and remove random sets of entries. Purge after every second removal at most. */
static void array_test_sequences(struct kunit *test)
{
	struct arm_smmu_invs *invs = arm_smmu_invs_alloc(0, GFP_KERNEL);
	struct arm_smmu_invs *old, *set, *sets[TEST_ATTACHMENTS];
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
			invs = arm_smmu_invs_merge(old, set, GFP_KERNEL);
		} else {
			arm_smmu_invs_unref(old, set);
			set->num_invs = 0;
			array_test_check(test, old, users);
			if (old->num_trashes && step % 2)
				invs = arm_smmu_invs_purge(old, GFP_KERNEL);
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

/* An entry without users may precede the tag. Two tags with users cause a WARN. */
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

/*
 * One task stores to an IOPTE and loads the array, as an unmap does. The other task
 * publishes an array with an entry and loads the IOPTE, as an SMMU does after an
 * attach. Each field that both tasks access has a cache line of its own.
 */
struct order_test_race {
	struct arm_smmu_domain smmu_domain;
	unsigned int waits[2];
	bool found;
	unsigned int iopte ____cacheline_aligned_in_smp;
	unsigned int at[2][SMP_CACHE_BYTES / 4] ____cacheline_aligned_in_smp;
	unsigned int slow[TEST_SLOW_STORES][SMP_CACHE_BYTES / 4] ____cacheline_aligned_in_smp;
};

/* Store to cache lines of the other CPU, so that the next store stays in the store buffer */
static __always_inline void order_test_store_slowly(struct order_test_race *race)
{
	unsigned int i;

	for (i = 0; i < TEST_SLOW_STORES; i++)
		WRITE_ONCE(race->slow[i][0], race->iopte);
}

/* Wait for the other task, then for @delay. Return: false if the other is too late */
static bool order_test_meet(struct order_test_race *race, unsigned int me, unsigned int at,
			    unsigned int delay)
{
	/* Pairs with the smp_load_acquire() in the other task */
	smp_store_release(&race->at[me][0], at);
	/* Pairs with the smp_store_release() in the other task */
	while (smp_load_acquire(&race->at[!me][0]) < at) {
		if (++race->waits[me] > TEST_MAX_WAITS)
			return false;
		cpu_relax();
	}
	while (delay--)
		barrier();
	return true;
}

static int order_test_inv(void *data)
{
	struct order_test_race *race = data;
	unsigned int at = 0;

	while (at < 2 * TEST_ROUNDS && order_test_meet(race, 0, ++at, 512)) {
		rcu_read_lock();
		order_test_store_slowly(race);
		WRITE_ONCE(race->iopte, at);
		race->found = arm_smmu_domain_load_invs(&race->smmu_domain)->num_invs;
		rcu_read_unlock();
		if (!order_test_meet(race, 0, ++at, 0))
			break;
	}
	return 0;
}

/*
 * Store buffering: the task that stores to the IOPTE finds the entry in the array, or
 * the task that added the entry finds the new IOPTE.
 */
static void order_test_store_buffer(struct kunit *test)
{
	struct order_test_race *race = arm_smmu_fake_zalloc(test, sizeof(*race));
	struct arm_smmu_invs *before = array_test_alloc(test, 0);
	struct arm_smmu_invs *after = array_test_alloc(test, 1);
	unsigned int at = 0, delay = 512, num[2][2] = {};
	bool found;

	if (num_online_cpus() < 2)
		kunit_skip(test, "needs two CPUs");
	after->num_invs = 1;
	rcu_assign_pointer(race->smmu_domain.invs, before);
	arm_smmu_fake_run_task(test, order_test_inv, race);

	while (at < 2 * TEST_ROUNDS) {
		order_test_store_slowly(race);
		rcu_assign_pointer(race->smmu_domain.invs, before);
		if (!order_test_meet(race, 1, ++at, delay))
			break;
		rcu_assign_pointer(race->smmu_domain.invs, after);
		/*
		 * Stands for the write of the STE and its fetch by the SMMU. Pairs
		 * with the smp_mb() in arm_smmu_domain_load_invs().
		 */
		smp_mb();
		found = READ_ONCE(race->iopte) == at;
		if (!order_test_meet(race, 1, ++at, 0))
			break;
		num[race->found][found]++;
		/* Adjust the delay such that both tasks store at the same time */
		if (race->found && !found && delay < 4096)
			delay++;
		else if (!race->found && found && delay)
			delay--;
	}
	/* An ASSERT, since kunit_skip() would hide a failed EXPECT */
	KUNIT_ASSERT_EQ(test, num[0][0], 0);
	if (!num[1][0] || !num[0][1])
		kunit_skip(test, "the tasks did not race");
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

static struct kunit_case order_test_cases[] = {
	KUNIT_CASE(order_test_store_buffer),
	{}
};

static struct kunit_suite order_test_suite = {
	.name = "arm-smmu-v3-order",
	.test_cases = order_test_cases,
};

kunit_test_suites(&array_test_suite, &order_test_suite);
