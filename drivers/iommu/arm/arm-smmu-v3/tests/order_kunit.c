// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of the order in which others see page tables, invalidation arrays,
 * STEs and CDs change: see "Memory ordering" in
 * Documentation/arch/arm64/arm-smmu-v3.rst
 */
#include "fake.h"

#define TEST_PASID	1
#define TEST_ROUNDS	5000
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
	unsigned int inv_at ____cacheline_aligned_in_smp;
	unsigned int walk_at ____cacheline_aligned_in_smp;
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

/* Wait for the other task, then for @delay. Return: false if it does not come */
static bool order_test_meet(unsigned int *mine, unsigned int *other,
			    unsigned int at, unsigned int *waits,
			    unsigned int delay)
{
	/* Pairs with the smp_load_acquire() of the other task */
	smp_store_release(mine, at);
	/* Pairs with the smp_store_release() of the other task */
	while (smp_load_acquire(other) < at) {
		if (++*waits > TEST_MAX_WAITS)
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
	unsigned int at = 0, *waits = &race->waits[0];

	while (at < 2 * TEST_ROUNDS) {
		if (!order_test_meet(&race->inv_at, &race->walk_at, ++at, waits, 512))
			break;
		rcu_read_lock();
		order_test_store_slowly(race);
		WRITE_ONCE(race->iopte, at);
		race->found = arm_smmu_domain_load_invs(&race->smmu_domain)->num_invs;
		rcu_read_unlock();
		if (!order_test_meet(&race->inv_at, &race->walk_at, ++at, waits, 0))
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
	unsigned int at = 0, delay = 512, num[2][2] = {}, *waits;
	struct arm_smmu_invs *invs[2];
	struct order_test_race *race;
	bool found;
	int i;

	if (num_online_cpus() < 2)
		kunit_skip(test, "needs two CPUs");
	race = kunit_kzalloc(test, sizeof(*race), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, race);
	waits = &race->waits[1];
	for (i = 0; i < 2; i++) {
		invs[i] = kunit_kzalloc(test, struct_size(invs[i], inv, 1), GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(test, invs[i]);
		invs[i]->num_invs = i;
	}
	rcu_assign_pointer(race->smmu_domain.invs, invs[0]);
	arm_smmu_fake_run_task(test, order_test_inv, race);

	while (at < 2 * TEST_ROUNDS) {
		order_test_store_slowly(race);
		rcu_assign_pointer(race->smmu_domain.invs, invs[0]);
		if (!order_test_meet(&race->walk_at, &race->inv_at, ++at, waits, delay))
			break;
		rcu_assign_pointer(race->smmu_domain.invs, invs[1]);
		/*
		 * In place of the STE, and of the SMMU that finds it. Pairs with
		 * the smp_mb() in arm_smmu_domain_load_invs().
		 */
		smp_mb();
		found = READ_ONCE(race->iopte) == at;
		if (!order_test_meet(&race->walk_at, &race->inv_at, ++at, waits, 0))
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

/* A domain, and the STE or CD that has it */
struct order_test_watch {
	struct arm_smmu_domain *smmu_domain;
	const __le64 *entry;
	u64 mask;
	u64 want;
	bool used;
	unsigned int looks;
	unsigned int bad;
};

/*
 * The SMMU may have read the STE or CD at any time since the command before. The
 * array lists what has to be invalidated.
 */
static void order_test_command(struct arm_smmu_fake *fake, const struct arm_smmu_cmd *cmd)
{
	struct order_test_watch *watch = fake->model;
	struct arm_smmu_invs *invs = arm_smmu_fake_invs(&watch->smmu_domain->domain);
	bool used = (le64_to_cpu(READ_ONCE(*watch->entry)) & watch->mask) == watch->want;

	if (used || watch->used) {
		watch->looks++;
		watch->bad += !invs->num_invs || !invs->inv[0].users;
	}
	watch->used = used;
}

static const struct arm_smmu_fake_ops order_test_ops = {
	.command = order_test_command,
};

/*
 * As long as an STE or CD has the domain, the array lists what has to be
 * invalidated: from before until after.
 */
static void order_test_watch(struct kunit *test, bool pasid)
{
	struct arm_smmu_fake *fake = arm_smmu_fake_create(test, 8);
	struct arm_smmu_fake_master *fm = arm_smmu_fake_add_master(fake, 1, 4);
	struct iommu_domain *domain = arm_smmu_fake_alloc_domain(fm, 0);
	struct order_test_watch watch = {
		.smmu_domain = to_smmu_domain(domain),
		.entry = &arm_smmu_fake_ste(fm)->data[0],
		.mask = STRTAB_STE_0_CFG,
		.want = FIELD_PREP(STRTAB_STE_0_CFG, STRTAB_STE_0_CFG_S1_TRANS),
	};

	/* Once, for the CD table to be there */
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(fm, domain));
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_block(fm));
	if (pasid) {
		watch.entry = &arm_smmu_fake_cd(fm, TEST_PASID)->data[0];
		watch.mask = CTXDESC_CD_0_V;
		watch.want = CTXDESC_CD_0_V;
	}
	fake->model = &watch;
	fake->ops = &order_test_ops;
	KUNIT_EXPECT_EQ(test, 0,
			pasid ? arm_smmu_fake_set_pasid(fm, domain, TEST_PASID,
							NULL) :
				arm_smmu_fake_attach(fm, domain));
	KUNIT_EXPECT_EQ(test, 0,
			pasid ? arm_smmu_fake_clear_pasid(fm, TEST_PASID, domain) :
				arm_smmu_fake_block(fm));
	fake->ops = NULL;
	KUNIT_EXPECT_GE(test, watch.looks, 2);
	KUNIT_EXPECT_EQ(test, watch.bad, 0);
}

static void order_test_watch_ste(struct kunit *test)
{
	order_test_watch(test, false);
}

static void order_test_watch_cd(struct kunit *test)
{
	order_test_watch(test, true);
}

static struct kunit_case order_test_cases[] = {
	KUNIT_CASE(order_test_store_buffer),
	KUNIT_CASE(order_test_watch_ste),
	KUNIT_CASE(order_test_watch_cd),
	{}
};

static struct kunit_suite order_test_suite = {
	.name = "arm-smmu-v3-order",
	.suite_init = arm_smmu_fake_suite_init,
	.suite_exit = arm_smmu_fake_suite_exit,
	.test_cases = order_test_cases,
};

kunit_test_suite(order_test_suite);
