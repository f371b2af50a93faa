// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit test of the order in which others see page tables and invalidation arrays
 * change: see "Memory ordering" in Documentation/driver-api/arm-smmu-v3.rst
 */
#include "fake.h"

#define TEST_ROUNDS	4000
#define TEST_SLOW_STORES	16
/* So that a host that runs one CPU at a time does not hang */
#define TEST_MAX_WAITS	20000000

/*
 * A task stores to an IOPTE and loads the array to walk. The other task publishes
 * an array with an entry and then loads the IOPTE, as an SMMU does that finds the
 * STE. Each has a cache line of its own.
 */
struct order_test_race {
	struct arm_smmu_domain smmu_domain;
	unsigned int waits[2];
	bool found;
	unsigned int iopte ____cacheline_aligned_in_smp;
	unsigned int at[2][SMP_CACHE_BYTES / 4] ____cacheline_aligned_in_smp;
	struct {
		unsigned int word;
	} ____cacheline_aligned_in_smp slow[TEST_SLOW_STORES];
};

/* Take cache lines from the other CPU. The next store waits in the store buffer. */
static __always_inline void order_test_store_slowly(struct order_test_race *race)
{
	unsigned int i;

	for (i = 0; i < TEST_SLOW_STORES; i++)
		WRITE_ONCE(race->slow[i].word, race->iopte);
}

/* Task @me meets the other, then waits. Return: false if the other does not come */
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
 * Store buffering: the task that changes an IOPTE finds the entry, or the walk of
 * the page table that follows the entry finds the change.
 */
static void order_test_store_buffer(struct kunit *test)
{
	struct order_test_race *race = kunit_kzalloc(test, sizeof(*race), GFP_KERNEL);
	struct arm_smmu_invs *invs = kunit_kcalloc(test, 2, sizeof(*invs), GFP_KERNEL);
	unsigned int at = 0, delay = 512, num[2][2] = {};
	bool found;

	if (num_online_cpus() < 2)
		kunit_skip(test, "needs two CPUs");
	KUNIT_ASSERT_NOT_NULL(test, race);
	KUNIT_ASSERT_NOT_NULL(test, invs);
	invs[1].num_invs = 1;
	rcu_assign_pointer(race->smmu_domain.invs, &invs[0]);
	arm_smmu_fake_run_task(test, order_test_inv, race);

	while (at < 2 * TEST_ROUNDS) {
		order_test_store_slowly(race);
		rcu_assign_pointer(race->smmu_domain.invs, &invs[0]);
		if (!order_test_meet(race, 1, ++at, delay))
			break;
		rcu_assign_pointer(race->smmu_domain.invs, &invs[1]);
		/*
		 * In place of the STE, and of the SMMU that finds it. Pairs with
		 * the smp_mb() in arm_smmu_domain_load_invs().
		 */
		smp_mb();
		found = READ_ONCE(race->iopte) == at;
		if (!order_test_meet(race, 1, ++at, 0))
			break;
		num[race->found][found]++;
		/* Come later if it was too early, and earlier if too late */
		if (race->found && !found && delay < 4096)
			delay++;
		else if (!race->found && found && delay)
			delay--;
	}
	kunit_info(test, "both %u, only the invalidation %u, only the walk %u\n",
		   num[1][1], num[1][0], num[0][1]);
	/* To skip a test after an expectation that failed would hide it */
	KUNIT_ASSERT_EQ(test, num[0][0], 0);
	if (!num[1][0] || !num[0][1])
		kunit_skip(test, "the other CPU was too slow for a race");
}

static struct kunit_case order_test_cases[] = {
	KUNIT_CASE(order_test_store_buffer),
	{}
};

static struct kunit_suite order_test_suite = {
	.name = "arm-smmu-v3-order",
	.test_cases = order_test_cases,
};

kunit_test_suite(order_test_suite);
