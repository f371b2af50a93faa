// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of the order in which others see page tables, invalidation arrays,
 * STEs and CDs change: see "Memory ordering" in
 * Documentation/arch/arm64/arm-smmu-v3.rst
 *
 * On an emulator the order is that of its host. All hosts have store buffers,
 * where a load may overtake an earlier store. An x86 host keeps the order of all
 * else.
 */
#include <linux/kthread.h>
#include <linux/prandom.h>

#include "fake.h"

#define TEST_SID	1
#define TEST_SSID_BITS	4
#define TEST_PASID	1

/* Enough to see a missing barrier */
#define TEST_ROUNDS	20000
/* Spins in all, so that a host that runs one CPU at a time does not hang */
#define TEST_MAX_WAITS	20000000
#define TEST_MAX_SPINS	1024
#define TEST_SLOW_STORES	16

#define TEST_LOOKS	1000
#define TEST_ATTACHES	200

/*
 * A task stores to an IOPTE and loads the array to walk. The other task publishes
 * an array with an entry and then loads the IOPTE, as an SMMU does that finds the
 * STE. Each writes to cache lines of its own.
 */
struct order_test_race {
	struct arm_smmu_domain smmu_domain;
	struct {
		unsigned int iopte;
		bool found;
		unsigned int at;
	} ____cacheline_aligned_in_smp inv;
	struct {
		unsigned int at;
	} ____cacheline_aligned_in_smp walk;
	struct {
		unsigned int word;
	} ____cacheline_aligned_in_smp slow[TEST_SLOW_STORES];
};

/*
 * Take cache lines from the other CPU. The next store waits in the store buffer
 * meanwhile.
 */
static __always_inline void order_test_store_slowly(struct order_test_race *race,
						    unsigned int val)
{
	unsigned int i;

	for (i = 0; i < TEST_SLOW_STORES; i++)
		WRITE_ONCE(race->slow[i].word, val);
}

/* Wait for the other task. @waits is what is left of its patience. */
static bool order_test_meet(unsigned int *mine, unsigned int *other,
			    unsigned int at, unsigned int *waits)
{
	/* Pairs with the smp_load_acquire() of the other task */
	smp_store_release(mine, at);
	/* Pairs with the smp_store_release() of the other task */
	while (smp_load_acquire(other) < at) {
		if (!*waits)
			return false;
		(*waits)--;
		cpu_relax();
	}
	return true;
}

static void order_test_delay(unsigned int spins)
{
	while (spins--)
		barrier();
}

static int order_test_inv(void *data)
{
	struct order_test_race *race = data;
	unsigned int round, waits = TEST_MAX_WAITS;
	struct arm_smmu_invs *invs;

	for (round = 1; round <= TEST_ROUNDS; round++) {
		if (!order_test_meet(&race->inv.at, &race->walk.at, 2 * round,
				     &waits))
			break;
		rcu_read_lock();
		order_test_delay(TEST_MAX_SPINS / 2);
		order_test_store_slowly(race, round);
		WRITE_ONCE(race->inv.iopte, round);
		invs = arm_smmu_domain_load_invs(&race->smmu_domain);
		race->inv.found = invs->num_invs;
		rcu_read_unlock();
		if (!order_test_meet(&race->inv.at, &race->walk.at,
				     2 * round + 1, &waits))
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
	unsigned int both = 0, inv_only = 0, walk_only = 0, none = 0;
	unsigned int round, spins, delay = TEST_MAX_SPINS / 2;
	unsigned int waits = TEST_MAX_WAITS;
	struct arm_smmu_invs *empty, *full;
	struct order_test_race *race;
	struct rnd_state rnd;
	bool found;

	if (num_online_cpus() < 2)
		kunit_skip(test, "needs two CPUs");
	race = kunit_kzalloc(test, sizeof(*race), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, race);
	empty = kunit_kzalloc(test, struct_size(empty, inv, 1), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, empty);
	full = kunit_kzalloc(test, struct_size(full, inv, 1), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, full);
	full->num_invs = 1;

	rcu_assign_pointer(race->smmu_domain.invs, empty);
	prandom_seed_state(&rnd, 1);
	arm_smmu_fake_run_task(test, order_test_inv, race);

	for (round = 1; round <= TEST_ROUNDS; round++) {
		order_test_store_slowly(race, 0);
		rcu_assign_pointer(race->smmu_domain.invs, empty);
		spins = delay + prandom_u32_state(&rnd) % 16;
		if (!order_test_meet(&race->walk.at, &race->inv.at, 2 * round,
				     &waits))
			break;
		order_test_delay(spins);
		rcu_assign_pointer(race->smmu_domain.invs, full);
		/*
		 * In place of the STE, and of the SMMU that finds it. Pairs with
		 * the smp_mb() in arm_smmu_domain_load_invs().
		 */
		smp_mb();
		found = READ_ONCE(race->inv.iopte) == round;
		if (!order_test_meet(&race->walk.at, &race->inv.at,
				     2 * round + 1, &waits))
			break;

		/* Come later if it was too early, and earlier if too late */
		if (race->inv.found && found) {
			both++;
		} else if (race->inv.found) {
			inv_only++;
			if (delay < 4 * TEST_MAX_SPINS)
				delay++;
		} else if (found) {
			walk_only++;
			if (delay)
				delay--;
		} else {
			none++;
		}
	}

	kunit_info(test, "found by both %u, the invalidation %u, the walk %u\n",
		   both, inv_only, walk_only);
	/* To skip a test after an expectation that failed would hide it */
	KUNIT_ASSERT_EQ(test, none, 0);
	if (!inv_only || !walk_only)
		kunit_skip(test, "the other CPU was too slow for a race");
}

/* A task that reads an array and the STE or CD while another attaches, detaches */
struct order_test_watch {
	struct arm_smmu_domain *smmu_domain;
	const __le64 *entry;
	u64 mask;
	u64 used;
	/* 1 modulo 4 while attaching, 3 modulo 4 while detaching */
	unsigned int step;
	/* While attaching, after the STE or CD; while detaching, after the array */
	unsigned int looks[2];
	unsigned int bad[2];
};

static bool order_test_is_used(const struct order_test_watch *watch)
{
	return (le64_to_cpu(READ_ONCE(*watch->entry)) & watch->mask) ==
	       watch->used;
}

static bool order_test_is_listed(const struct order_test_watch *watch)
{
	struct arm_smmu_invs *invs;

	guard(rcu)();
	invs = rcu_dereference(watch->smmu_domain->invs);
	return READ_ONCE(invs->num_invs) && READ_ONCE(invs->inv[0].users);
}

static int order_test_look(void *data)
{
	struct order_test_watch *watch = data;

	while (!kthread_should_stop()) {
		unsigned int step = READ_ONCE(watch->step);
		bool detach = step % 4 == 3;
		bool used, listed;

		/* Pairs with the 1st smp_wmb() in order_test_step() */
		smp_rmb();
		if (detach) {
			listed = order_test_is_listed(watch);
			/* Pairs with the dma_wmb() in arm_smmu_cmdq_post() */
			smp_rmb();
			used = order_test_is_used(watch);
		} else {
			used = order_test_is_used(watch);
			/* Pairs with the dma_wmb() in arm_smmu_write_entry() */
			smp_rmb();
			listed = order_test_is_listed(watch);
		}
		/* Pairs with the 2nd smp_wmb() in order_test_step() */
		smp_rmb();
		if (!(step % 2) || READ_ONCE(watch->step) != step)
			continue;
		if (detach ? !listed : used)
			WRITE_ONCE(watch->looks[detach],
				   watch->looks[detach] + 1);
		watch->bad[detach] += used && !listed;
	}
	return 0;
}

static void order_test_step(struct order_test_watch *watch)
{
	/* Orders all before the step. Pairs with the 1st smp_rmb(). */
	smp_wmb();
	WRITE_ONCE(watch->step, watch->step + 1);
	/* Orders the step before all that follows. Pairs with the last one. */
	smp_wmb();
}

static int order_test_attach(struct arm_smmu_fake_master *fm, bool pasid,
			     struct iommu_domain *domain,
			     struct iommu_domain *old)
{
	return pasid ? arm_smmu_fake_set_pasid(fm, domain, TEST_PASID, old) :
		       arm_smmu_fake_attach(fm, domain);
}

/*
 * As long as an STE or CD has the domain, the array lists what has to be
 * invalidated: from before until after.
 */
static void order_test_watch(struct kunit *test, bool pasid)
{
	struct arm_smmu_fake *fake = arm_smmu_fake_create(test, 8);
	struct arm_smmu_fake_master *fm =
		arm_smmu_fake_add_master(fake, TEST_SID, TEST_SSID_BITS);
	struct iommu_domain *domain = arm_smmu_fake_alloc_domain(fm, 0);
	struct iommu_domain *blocked = arm_smmu_fake_blocked(fm);
	struct order_test_watch *watch;
	struct task_struct *task;
	unsigned int i;
	int ret;

	if (num_online_cpus() < 2)
		kunit_skip(test, "needs two CPUs");
	watch = kunit_kzalloc(test, sizeof(*watch), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, watch);
	watch->smmu_domain = to_smmu_domain(domain);
	/* Once, for the CD table to be there */
	KUNIT_ASSERT_EQ(test, 0, order_test_attach(fm, pasid, domain, NULL));
	KUNIT_ASSERT_EQ(test, 0, order_test_attach(fm, pasid, blocked, domain));
	if (pasid) {
		watch->entry = &arm_smmu_fake_cd(fm, TEST_PASID)->data[0];
		watch->mask = CTXDESC_CD_0_V;
		watch->used = CTXDESC_CD_0_V;
	} else {
		watch->entry = &arm_smmu_fake_ste(fm)->data[0];
		watch->mask = STRTAB_STE_0_CFG;
		watch->used = FIELD_PREP(STRTAB_STE_0_CFG,
					 STRTAB_STE_0_CFG_S1_TRANS);
	}

	task = arm_smmu_fake_run_task(test, order_test_look, watch);
	for (i = 0; i < TEST_ATTACHES; i++) {
		order_test_step(watch);
		ret = order_test_attach(fm, pasid, domain, NULL);
		order_test_step(watch);
		KUNIT_ASSERT_EQ(test, 0, ret);

		order_test_step(watch);
		ret = order_test_attach(fm, pasid, blocked, domain);
		order_test_step(watch);
		KUNIT_ASSERT_EQ(test, 0, ret);
		if (READ_ONCE(watch->looks[0]) > TEST_LOOKS &&
		    READ_ONCE(watch->looks[1]) > TEST_LOOKS)
			break;
	}
	arm_smmu_fake_stop_task(test, task);

	kunit_info(test, "looked %u times after the STE or CD, %u before\n",
		   watch->looks[0], watch->looks[1]);
	KUNIT_ASSERT_EQ(test, watch->bad[0], 0);
	KUNIT_ASSERT_EQ(test, watch->bad[1], 0);
	if (!watch->looks[0] || !watch->looks[1])
		kunit_skip(test, "the other CPU was too slow to see it happen");
}

static void order_test_watch_ste(struct kunit *test)
{
	order_test_watch(test, false);
}

static void order_test_watch_cd(struct kunit *test)
{
	order_test_watch(test, true);
}

static struct kunit_case arm_smmu_v3_order_test_cases[] = {
	KUNIT_CASE_SLOW(order_test_store_buffer),
	KUNIT_CASE(order_test_watch_ste),
	KUNIT_CASE(order_test_watch_cd),
	{}
};

static struct kunit_suite arm_smmu_v3_order_test_suite = {
	.name = "arm-smmu-v3-order",
	.test_cases = arm_smmu_v3_order_test_cases,
};

kunit_test_suites(&arm_smmu_v3_order_test_suite);
