// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of a domain of devices behind two SMMUs: which SMMUs can share it, that a
 * rejected attach changes nothing, and that RCU readers of its array do not see it change.
 */
#include <linux/completion.h>
#include <uapi/linux/iommufd.h>

#include "fake.h"

#define TEST_SMMUS	2
#define TEST_PASID	3
#define TEST_64K	(SZ_64K | SZ_512M)

/* Flags of domain allocations */
static const u32 flags[] = {
	0, IOMMU_HWPT_ALLOC_NEST_PARENT, IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
};

/*
 * Differences of the second SMMU from the first. A domain is allocated for each SMMU
 * and with each of the flags above, and the device behind the other SMMU is attached.
 * Bit n of @there is set if a domain of the first SMMU with the nth flags can be
 * attached to a device of the second one. @back is the same with SMMUs swapped.
 */
static const struct row {
	const char *name;
	u32 there;
	u32 back;
	u32 with;
	u32 without;
	unsigned long oas;
	unsigned long pgsizes;
} rows[] = {
	/* Its domains without flags are of stage 2 */
	{ "no stage 1", 2, 1, .without = ARM_SMMU_FEAT_TRANS_S1 | ARM_SMMU_FEAT_NESTING },
	{ "no stage 2", 1, 1, .without = ARM_SMMU_FEAT_TRANS_S2 | ARM_SMMU_FEAT_NESTING },
	{ "no coherent walks", 0, 0, .without = ARM_SMMU_FEAT_COHERENCY },
	{ "larger addresses", 3, 0, .oas = 48 },
	{ "smaller addresses", 0, 3, .oas = 40 },
	{ "64K", 0, 0, .pgsizes = TEST_64K },
	{ "4K and 64K", 3, 3, .pgsizes = SZ_4K | SZ_2M | SZ_1G | TEST_64K },
	/* 2M is a common page size, but the granules differ */
	{ "16K", 0, 0, .pgsizes = SZ_16K | SZ_32M | SZ_2M },
	{ "52 bits", 3, VA_BITS > 48 ? 2 : 3, .with = ARM_SMMU_FEAT_VAX },
	{ "HTTU", 7, 3, .with = ARM_SMMU_FEAT_HA | ARM_SMMU_FEAT_HD },
	{ "S2FWB", 1, 1, .with = ARM_SMMU_FEAT_S2FWB },
	/* Restores the features */
	{ "nothing", 3, 3 },
};

/* PASIDs, vSMMUs and devices follow the same rule */
static void try_all(struct kunit *test, struct iommu_domain *domain,
		    struct arm_smmu_fake_master *fm, int expected, const char *what)
{
	struct arm_smmu_domain *smmu_domain = to_smmu_domain(domain);
	bool s1 = smmu_domain->stage == ARM_SMMU_DOMAIN_S1;
	struct arm_vsmmu vsmmu = {};
	struct arm_smmu_cmd cmd;
	int ret;

	arm_smmu_fake_drop_cmds(fm->fake);
	ret = arm_smmu_fake_set_pasid(fm, domain, TEST_PASID, NULL);
	KUNIT_EXPECT_EQ_MSG(test, ret, s1 ? expected : -EINVAL, "%s", what);
	if (!ret)
		arm_smmu_fake_clear_pasid(fm, TEST_PASID, domain);
	if (smmu_domain->nest_parent && IS_ENABLED(CONFIG_ARM_SMMU_V3_IOMMUFD)) {
		ret = arm_smmu_fake_vsmmu_init(&vsmmu, fm->fake, domain);
		KUNIT_EXPECT_EQ_MSG(test, ret, expected, "%s", what);
		if (!ret)
			arm_smmu_fake_vsmmu_destroy(&vsmmu);
	}
	KUNIT_EXPECT_EQ_MSG(test, arm_smmu_fake_attach(fm, domain), expected, "%s", what);
	if (expected) {
		KUNIT_EXPECT_FALSE(test, arm_smmu_fake_next_cmd(fm->fake, &cmd));
		KUNIT_EXPECT_EQ(test, arm_smmu_fake_invs(domain)->num_invs, 0);
	}
	KUNIT_EXPECT_EQ(test, 0, arm_smmu_fake_block(fm));
}

/* A device behind each SMMU */
static void setup(struct kunit *test, struct arm_smmu_fake_master *fms[TEST_SMMUS])
{
	unsigned int i;

	for (i = 0; i < TEST_SMMUS; i++)
		fms[i] = arm_smmu_fake_add_master(arm_smmu_fake_create(test, 8), 1, 4);
}

static void share_test_rule(struct kunit *test)
{
	struct arm_smmu_fake_master *fms[TEST_SMMUS];
	struct arm_smmu_device *first, *second;
	struct iommu_domain *domain;
	const struct row *row;
	unsigned int k, way;
	bool can;

	setup(test, fms);
	first = &fms[0]->fake->smmu;
	second = &fms[1]->fake->smmu;
	for (row = rows; row != rows + ARRAY_SIZE(rows); row++) {
		second->oas = row->oas ?: first->oas;
		second->pgsize_bitmap = row->pgsizes ?: first->pgsize_bitmap;
		second->features = (first->features | row->with) & ~row->without;
		for (k = 0; k < 2 * ARRAY_SIZE(flags); k++) {
			way = k % 2;
			can = (way ? row->back : row->there) & BIT(k / 2);
			domain = iommu_paging_domain_alloc_flags(fms[way]->dev, flags[k / 2]);
			if (IS_ERR(domain)) {
				KUNIT_EXPECT_FALSE(test, can);
				continue;
			}
			try_all(test, domain, fms[!way], can ? 0 : -EINVAL, row->name);
			iommu_domain_free(domain);
		}
	}
}

/* An RCU reader of the array of a domain. It ends when @leave is set. */
struct reader {
	struct kunit *test;
	struct arm_smmu_domain *smmu_domain;
	struct completion inside;
	bool leave;
};

static int read_array(void *data)
{
	unsigned long end = jiffies + 10 * HZ;
	struct reader *reader = data;
	struct arm_smmu_invs *invs;
	struct arm_smmu_inv seen;
	bool left, changed;

	rcu_read_lock();
	invs = rcu_dereference(reader->smmu_domain->invs);
	seen = invs->inv[0];
	complete(&reader->inside);
	while (!READ_ONCE(reader->leave) && time_before(jiffies, end))
		cpu_relax();
	left = READ_ONCE(reader->leave);
	/* Only @users may change. Other changes show that the array was freed. */
	seen.users = invs->inv[0].users;
	changed = memcmp(&seen, invs->inv, sizeof(seen));
	rcu_read_unlock();
	KUNIT_EXPECT_TRUE_MSG(reader->test, left, "the attach or detach waits for readers");
	KUNIT_EXPECT_FALSE(reader->test, changed);
	return 0;
}

/* An attach and a detach do not change or free an array while it has a reader */
static void share_test_readers(struct kunit *test)
{
	struct arm_smmu_fake_master *fms[TEST_SMMUS];
	struct iommu_domain *domain;
	struct reader *reader;
	struct task_struct *task;
	unsigned int i;

	if (num_online_cpus() < 2)
		kunit_skip(test, "needs two CPUs");
	setup(test, fms);
	domain = arm_smmu_fake_alloc_domain(fms[0], 0);
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(fms[0], domain));
	/*
	 * By turns attach a device and detach the other one. One of the two detaches
	 * leaves an entry without users before the end.
	 */
	for (i = 0; i < 2 * TEST_SMMUS; i++) {
		reader = arm_smmu_fake_zalloc(test, sizeof(*reader));
		reader->test = test;
		reader->smmu_domain = to_smmu_domain(domain);
		init_completion(&reader->inside);
		task = arm_smmu_fake_run_task(test, read_array, reader);
		wait_for_completion(&reader->inside);
		if (i % 2)
			KUNIT_EXPECT_EQ(test, 0, arm_smmu_fake_block(fms[i / 2]));
		else
			KUNIT_EXPECT_EQ(test, 0, arm_smmu_fake_attach(fms[!i], domain));
		WRITE_ONCE(reader->leave, true);
		arm_smmu_fake_join_task(test, task);
	}
}

static struct kunit_case share_test_cases[] = {
	KUNIT_CASE(share_test_rule),
	KUNIT_CASE(share_test_readers),
	{}
};

static struct kunit_suite share_test_suite = {
	.name = "arm-smmu-v3-share",
	.suite_exit = arm_smmu_fake_suite_exit,
	.test_cases = share_test_cases,
};

kunit_test_suite(share_test_suite);
