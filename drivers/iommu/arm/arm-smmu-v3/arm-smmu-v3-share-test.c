// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of domains that serve devices behind several SMMUs
 */
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/io-pgtable.h>
#include <linux/kthread.h>
#include <uapi/linux/iommufd.h>

#include "arm-smmu-v3-fake.h"

#define TEST_SMMUS	16
#define TEST_BITS	4
#define TEST_MAX_ID	((1 << TEST_BITS) - 1)
#define TEST_SID	1
#define TEST_PASID	3
#define TEST_IOVA	SZ_1G

#define TEST_OAS	44
#define TEST_PGSIZES	(SZ_4K | SZ_2M | SZ_1G)
#define TEST_FEATURES	(ARM_SMMU_FEAT_COHERENCY | ARM_SMMU_FEAT_TRANS_S1 | \
			 ARM_SMMU_FEAT_TRANS_S2)
#define TEST_DIRTY	(ARM_SMMU_FEAT_HA | ARM_SMMU_FEAT_HD)

/*
 * What can be different, in the page table and in the SMMU. All that a case
 * does not mention is usual, and the same on both sides.
 */
static const struct share_test_can {
	const char *name;
	enum arm_smmu_domain_stage stage;
	unsigned int ias;
	unsigned int oas;
	unsigned long pgsizes;
	unsigned long quirks;
	bool incoherent;
	unsigned long smmu_oas;
	unsigned long smmu_pgsizes;
	u32 with;
	u32 without;
	bool can;
} share_test_cans[] = {
	{
		.name = "S1: the same",
		.can = true,
	}, {
		.name = "S1: SMMU without stage 1",
		.without = ARM_SMMU_FEAT_TRANS_S1,
	}, {
		.name = "S1: SMMU without stage 2",
		.without = ARM_SMMU_FEAT_TRANS_S2,
		.can = true,
	}, {
		.name = "S1: granule 4K, SMMU with 64K",
		.smmu_pgsizes = SZ_64K | SZ_512M,
	}, {
		.name = "S1: granule 64K, SMMU with 4K",
		.pgsizes = SZ_64K | SZ_512M,
	}, {
		.name = "S1: granule 4K, SMMU with 4K and 64K",
		.smmu_pgsizes = TEST_PGSIZES | SZ_64K | SZ_512M,
		.can = true,
	}, {
		/* 2M is a block of 4K, but no leaf granule */
		.name = "S1: granule 4K, SMMU with 16K",
		.smmu_pgsizes = SZ_16K | SZ_32M | SZ_2M,
	}, {
		.name = "S1: larger OAS",
		.oas = 48,
	}, {
		.name = "S1: smaller OAS",
		.oas = 40,
		.can = true,
	}, {
		.name = "S1: coherent walk, SMMU without",
		.without = ARM_SMMU_FEAT_COHERENCY,
	}, {
		.name = "S1: no coherent walk, SMMU with",
		.incoherent = true,
	}, {
		.name = "S1: no coherent walk, SMMU without",
		.incoherent = true,
		.without = ARM_SMMU_FEAT_COHERENCY,
		.can = true,
	}, {
		/* Both is usual, there are more virtual addresses */
		.name = "S1: IAS larger than the SMMU's OAS",
		.ias = 48,
		.can = true,
	}, {
		.name = "S1: IAS 52, SMMU without VAX",
		.ias = 52,
	}, {
		.name = "S1: IAS 52, SMMU with VAX",
		.ias = 52,
		.with = ARM_SMMU_FEAT_VAX,
		.can = true,
	}, {
		.name = "S1: IAS 48, SMMU with VAX",
		.ias = 48,
		.with = ARM_SMMU_FEAT_VAX,
		.can = true,
	}, {
		.name = "S1: dirty state, SMMU without",
		.quirks = IO_PGTABLE_QUIRK_ARM_HD,
	}, {
		.name = "S1: dirty state, SMMU with",
		.quirks = IO_PGTABLE_QUIRK_ARM_HD,
		.with = TEST_DIRTY,
		.can = true,
	}, {
		.name = "S1: no dirty state, SMMU with",
		.with = TEST_DIRTY,
		.can = true,
	}, {
		.name = "S2: the same",
		.stage = ARM_SMMU_DOMAIN_S2,
		.can = true,
	}, {
		.name = "S2: SMMU without stage 2",
		.stage = ARM_SMMU_DOMAIN_S2,
		.without = ARM_SMMU_FEAT_TRANS_S2,
	}, {
		.name = "S2: SMMU without stage 1",
		.stage = ARM_SMMU_DOMAIN_S2,
		.without = ARM_SMMU_FEAT_TRANS_S1,
		.can = true,
	}, {
		.name = "S2: granule 4K, SMMU with 64K",
		.stage = ARM_SMMU_DOMAIN_S2,
		.smmu_pgsizes = SZ_64K | SZ_512M,
	}, {
		.name = "S2: granule 64K, SMMU with 4K",
		.stage = ARM_SMMU_DOMAIN_S2,
		.pgsizes = SZ_64K | SZ_512M,
	}, {
		.name = "S2: coherent walk, SMMU without",
		.stage = ARM_SMMU_DOMAIN_S2,
		.without = ARM_SMMU_FEAT_COHERENCY,
	}, {
		.name = "S2: no coherent walk, SMMU with",
		.stage = ARM_SMMU_DOMAIN_S2,
		.incoherent = true,
	}, {
		.name = "S2: larger OAS",
		.stage = ARM_SMMU_DOMAIN_S2,
		.oas = 48,
	}, {
		.name = "S2: larger IAS",
		.stage = ARM_SMMU_DOMAIN_S2,
		.ias = 48,
	}, {
		.name = "S2: smaller IAS and OAS",
		.stage = ARM_SMMU_DOMAIN_S2,
		.smmu_oas = 48,
		.can = true,
	}, {
		.name = "S2: S2FWB, SMMU without",
		.stage = ARM_SMMU_DOMAIN_S2,
		.quirks = IO_PGTABLE_QUIRK_ARM_S2FWB,
	}, {
		.name = "S2: S2FWB, SMMU with",
		.stage = ARM_SMMU_DOMAIN_S2,
		.quirks = IO_PGTABLE_QUIRK_ARM_S2FWB,
		.with = ARM_SMMU_FEAT_S2FWB,
		.can = true,
	}, {
		/* But see vmid_test_s2fwb() */
		.name = "S2: no S2FWB, SMMU with",
		.stage = ARM_SMMU_DOMAIN_S2,
		.with = ARM_SMMU_FEAT_S2FWB,
		.can = true,
	}, {
		.name = "SVA: SMMU with",
		.stage = ARM_SMMU_DOMAIN_SVA,
		.with = ARM_SMMU_FEAT_SVA,
		.can = true,
	}, {
		.name = "SVA: SMMU without",
		.stage = ARM_SMMU_DOMAIN_SVA,
	},
};

KUNIT_ARRAY_PARAM_DESC(share_test_can, share_test_cans, name);

static void share_test_can_share(struct kunit *test)
{
	const struct share_test_can *param = test->param_value;
	struct arm_smmu_domain *smmu_domain;
	struct arm_smmu_device *smmu;
	struct io_pgtable *pgtbl;

	smmu = kunit_kzalloc(test, sizeof(*smmu), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, smmu);
	smmu->oas = param->smmu_oas ?: TEST_OAS;
	smmu->pgsize_bitmap = param->smmu_pgsizes ?: TEST_PGSIZES;
	smmu->features = (TEST_FEATURES | param->with) & ~param->without;

	smmu_domain = kunit_kzalloc(test, sizeof(*smmu_domain), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, smmu_domain);
	smmu_domain->stage = param->stage;
	if (param->stage != ARM_SMMU_DOMAIN_SVA) {
		pgtbl = kunit_kzalloc(test, sizeof(*pgtbl), GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(test, pgtbl);
		pgtbl->cfg.ias = param->ias ?: TEST_OAS;
		pgtbl->cfg.oas = param->oas ?: TEST_OAS;
		pgtbl->cfg.pgsize_bitmap = param->pgsizes ?: TEST_PGSIZES;
		pgtbl->cfg.quirks = param->quirks;
		pgtbl->cfg.coherent_walk = !param->incoherent;
		smmu_domain->pgtbl_ops = &pgtbl->ops;
	}

	KUNIT_EXPECT_EQ(test, param->can,
			arm_smmu_domain_can_share(smmu_domain, smmu));
}

static const struct share_test_stage {
	const char *name;
	u32 flags;
} share_test_stages[] = {
	{ "stage 1", 0 },
	{ "stage 2", IOMMU_HWPT_ALLOC_NEST_PARENT },
};

KUNIT_ARRAY_PARAM_DESC(share_test_stage, share_test_stages, name);

/* One domain, and a device behind each SMMU */
struct share_test {
	struct arm_smmu_fake *fakes[TEST_SMMUS];
	struct arm_smmu_fake_master *fms[TEST_SMMUS];
	struct iommu_domain *domain;
};

static struct ida *share_test_ida(struct share_test *st, unsigned int i)
{
	struct arm_smmu_device *smmu = &st->fakes[i]->smmu;

	return to_smmu_domain(st->domain)->stage == ARM_SMMU_DOMAIN_S2 ?
		       &smmu->vmid_map : &smmu->asid_map;
}

static void share_test_add(struct kunit *test, struct share_test *st,
			   unsigned int i)
{
	st->fakes[i] = arm_smmu_fake_create(test, 8);
	st->fakes[i]->smmu.asid_bits = TEST_BITS;
	st->fakes[i]->smmu.vmid_bits = TEST_BITS;
	st->fms[i] = arm_smmu_fake_add_master(st->fakes[i], TEST_SID, 4);
}

static struct share_test *share_test_setup(struct kunit *test,
					   unsigned int num)
{
	const struct share_test_stage *stage = test->param_value;
	struct share_test *st;
	unsigned int i;

	st = kunit_kzalloc(test, sizeof(*st), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, st);
	for (i = 0; i < num; i++)
		share_test_add(test, st, i);
	st->domain = arm_smmu_fake_alloc_domain(st->fms[0],
						stage ? stage->flags : 0);
	return st;
}

/* The id of the domain on this SMMU, 0 if it has none */
static u32 share_test_id(struct kunit *test, struct share_test *st,
			 unsigned int i)
{
	struct arm_smmu_invs *invs = arm_smmu_fake_invs(st->domain);
	u32 id = 0;
	size_t j;

	for (j = 0; j < invs->num_invs; j++) {
		if (!invs->inv[j].users ||
		    invs->inv[j].smmu != &st->fakes[i]->smmu)
			continue;
		KUNIT_EXPECT_EQ(test, id, 0);
		id = invs->inv[j].id;
	}
	return id;
}

/* A page is unmapped on all SMMUs that have a device attached, and nowhere else */
static void share_test_unmap(struct kunit *test, struct share_test *st,
			     unsigned int num)
{
	const bool s2 = to_smmu_domain(st->domain)->stage == ARM_SMMU_DOMAIN_S2;
	struct arm_smmu_cmd cmds[] = {
		{ .data[1] = TEST_IOVA | CMDQ_TLBI_1_LEAF },
		{ .data[0] = CMDQ_OP_CMD_SYNC },
	};
	unsigned int i;
	u32 id;

	KUNIT_ASSERT_EQ(test, 0,
			iommu_map(st->domain, TEST_IOVA, SZ_4K, SZ_4K,
				  IOMMU_READ, GFP_KERNEL));
	for (i = 0; i < num; i++)
		arm_smmu_fake_drop_cmds(st->fakes[i]);
	KUNIT_ASSERT_EQ(test, SZ_4K,
			iommu_unmap(st->domain, TEST_IOVA, SZ_4K));

	for (i = 0; i < num; i++) {
		id = share_test_id(test, st, i);
		cmds[0].data[0] = s2 ? CMDQ_OP_TLBI_S2_IPA |
				       FIELD_PREP(CMDQ_TLBI_0_VMID, id) :
				       CMDQ_OP_TLBI_NH_VA |
				       FIELD_PREP(CMDQ_TLBI_0_ASID, id);
		arm_smmu_fake_expect_cmds(st->fakes[i], cmds,
					  id ? ARRAY_SIZE(cmds) : 0);
	}
}

/* From 1 to 16 SMMUs and back, in another order */
static void share_test_many_smmus(struct kunit *test)
{
	struct share_test *st = share_test_setup(test, TEST_SMMUS);
	unsigned int i, j, n, id;

	/* On each SMMU it is another id */
	for (i = 0; i < TEST_SMMUS; i++)
		for (j = 0; j < i % TEST_MAX_ID; j++)
			KUNIT_ASSERT_GT(test,
					ida_alloc_range(share_test_ida(st, i),
							1, TEST_MAX_ID,
							GFP_KERNEL), 0);

	for (i = 0; i < TEST_SMMUS; i++) {
		KUNIT_ASSERT_EQ(test, 0,
				arm_smmu_fake_attach(st->fms[i], st->domain));
		KUNIT_EXPECT_EQ(test, share_test_id(test, st, i),
				i % TEST_MAX_ID + 1);
		share_test_unmap(test, st, TEST_SMMUS);
	}

	for (n = 0; n < TEST_SMMUS; n++) {
		i = n * 7 % TEST_SMMUS;
		KUNIT_ASSERT_EQ(test, 0,
				arm_smmu_fake_attach(st->fms[i],
						     arm_smmu_ops.blocked_domain));
		KUNIT_EXPECT_EQ(test, share_test_id(test, st, i), 0);
		KUNIT_EXPECT_FALSE(test, ida_exists(share_test_ida(st, i),
						    i % TEST_MAX_ID + 1));
		share_test_unmap(test, st, TEST_SMMUS);
	}
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_invs(st->domain)->num_invs, 0);

	for (i = 0; i < TEST_SMMUS; i++)
		for (id = 1; id <= i % TEST_MAX_ID; id++)
			ida_free(share_test_ida(st, i), id);
}

/* The last device of an SMMU goes, and that is nothing to the other SMMU */
static void share_test_detach(struct kunit *test)
{
	struct share_test *st = share_test_setup(test, 2);
	struct arm_smmu_cmd cmd;
	u32 id;

	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(st->fms[0], st->domain));
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(st->fms[1], st->domain));
	id = share_test_id(test, st, 1);
	arm_smmu_fake_drop_cmds(st->fakes[1]);

	KUNIT_ASSERT_EQ(test, 0,
			arm_smmu_fake_attach(st->fms[0],
					     arm_smmu_ops.blocked_domain));
	KUNIT_EXPECT_FALSE(test, arm_smmu_fake_next_cmd(st->fakes[1], &cmd));
	KUNIT_EXPECT_EQ(test, share_test_id(test, st, 1), id);
	KUNIT_EXPECT_TRUE(test, ida_exists(share_test_ida(st, 1), id));
	KUNIT_EXPECT_TRUE(test, ida_is_empty(share_test_ida(st, 0)));
	share_test_unmap(test, st, 2);
}

/* Of one SMMU all ids are used */
static void share_test_no_id(struct kunit *test)
{
	struct share_test *st = share_test_setup(test, 2);
	unsigned int id;

	for (id = 1; id <= TEST_MAX_ID; id++)
		KUNIT_ASSERT_EQ(test, id,
				ida_alloc_range(share_test_ida(st, 1), 1,
						TEST_MAX_ID, GFP_KERNEL));

	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(st->fms[0], st->domain));
	KUNIT_EXPECT_EQ(test, -ENOSPC,
			arm_smmu_fake_attach(st->fms[1], st->domain));
	KUNIT_EXPECT_NE(test, share_test_id(test, st, 0), 0);
	KUNIT_EXPECT_EQ(test, share_test_id(test, st, 1), 0);
	share_test_unmap(test, st, 2);

	for (id = 1; id <= TEST_MAX_ID; id++)
		ida_free(share_test_ida(st, 1), id);
}

/* A flush that times out is that of one SMMU */
static void share_test_flush_timeout(struct kunit *test)
{
	struct share_test *st = share_test_setup(test, 2);
	u32 lost;

	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(st->fms[0], st->domain));
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(st->fms[1], st->domain));
	lost = share_test_id(test, st, 1);

	arm_smmu_fake_stop(st->fakes[1], 0);
	KUNIT_ASSERT_EQ(test, 0,
			arm_smmu_fake_attach(st->fms[1],
					     arm_smmu_ops.blocked_domain));
	arm_smmu_fake_start(st->fakes[1]);
	KUNIT_EXPECT_TRUE(test, ida_exists(share_test_ida(st, 1), lost));
	KUNIT_ASSERT_EQ(test, 0,
			arm_smmu_fake_attach(st->fms[0],
					     arm_smmu_ops.blocked_domain));
	KUNIT_EXPECT_TRUE(test, ida_is_empty(share_test_ida(st, 0)));
	ida_free(share_test_ida(st, 1), lost);
}

/* Refused, and the device stays where it is and everything else as it was */
static void share_test_expect_refused(struct kunit *test, struct share_test *st,
				      const struct arm_smmu_ste *ste)
{
	struct arm_smmu_cmd cmd;

	KUNIT_EXPECT_FALSE(test, arm_smmu_fake_next_cmd(st->fakes[1], &cmd));
	KUNIT_EXPECT_MEMEQ(test, ste, arm_smmu_fake_ste(st->fms[1]),
			   sizeof(*ste));
	KUNIT_EXPECT_EQ(test, share_test_id(test, st, 1), 0);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_invs(st->domain)->num_invs, 1);
}

static void share_test_attach_refused(struct kunit *test)
{
	struct share_test *st = share_test_setup(test, 2);
	struct iommu_domain *own = arm_smmu_fake_alloc_domain(st->fms[1], 0);
	struct arm_smmu_ste ste;

	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(st->fms[0], st->domain));
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(st->fms[1], own));
	memcpy(&ste, arm_smmu_fake_ste(st->fms[1]), sizeof(ste));
	arm_smmu_fake_drop_cmds(st->fakes[1]);

	st->fakes[1]->smmu.oas = 40;
	KUNIT_EXPECT_EQ(test, -EINVAL,
			arm_smmu_fake_attach(st->fms[1], st->domain));
	share_test_expect_refused(test, st, &ste);

	st->fakes[1]->smmu.oas = TEST_OAS;
	KUNIT_EXPECT_EQ(test, 0, arm_smmu_fake_attach(st->fms[1], st->domain));
}

static void share_test_pasid(struct kunit *test)
{
	struct share_test *st = share_test_setup(test, 2);
	struct arm_smmu_ste ste;
	unsigned int i;

	KUNIT_ASSERT_EQ(test, 0,
			arm_smmu_fake_set_pasid(st->fms[0], st->domain,
						TEST_PASID, NULL));
	memcpy(&ste, arm_smmu_fake_ste(st->fms[1]), sizeof(ste));
	arm_smmu_fake_drop_cmds(st->fakes[1]);

	st->fakes[1]->smmu.oas = 40;
	KUNIT_EXPECT_EQ(test, -EINVAL,
			arm_smmu_fake_set_pasid(st->fms[1], st->domain,
						TEST_PASID, NULL));
	share_test_expect_refused(test, st, &ste);

	st->fakes[1]->smmu.oas = TEST_OAS;
	KUNIT_ASSERT_EQ(test, 0,
			arm_smmu_fake_set_pasid(st->fms[1], st->domain,
						TEST_PASID, NULL));
	share_test_unmap(test, st, 2);
	for (i = 0; i < 2; i++)
		KUNIT_EXPECT_EQ(test, 0,
				arm_smmu_fake_set_pasid(st->fms[i],
							arm_smmu_ops.blocked_domain,
							TEST_PASID,
							st->domain));
}

/* Reads an array and sits in its RCU read section as long as the test likes */
struct share_test_reader {
	struct arm_smmu_domain *smmu_domain;
	struct completion inside;
	struct arm_smmu_inv seen[2];
};

static int share_test_read(void *data)
{
	struct share_test_reader *reader = data;
	struct arm_smmu_invs *invs;
	/* If it is waited for, which is wrong */
	unsigned long end = jiffies + 10 * HZ;
	bool late = false;
	size_t num_invs, i;
	int changed = 0;

	rcu_read_lock();
	invs = rcu_dereference(reader->smmu_domain->invs);
	num_invs = min(invs->num_invs, ARRAY_SIZE(reader->seen));
	memcpy(reader->seen, invs->inv, num_invs * sizeof(*invs->inv));
	complete(&reader->inside);
	while (!kthread_should_stop() && !late) {
		cpu_relax();
		late = time_after(jiffies, end);
	}
	/* @users may change, the rest not, or the memory is no array any more */
	for (i = 0; i < num_invs; i++) {
		reader->seen[i].users = invs->inv[i].users;
		changed += !!memcmp(&reader->seen[i], &invs->inv[i],
				    sizeof(*invs->inv));
		changed += invs->inv[i].users < 0 || invs->inv[i].users > 2;
	}
	rcu_read_unlock();

	while (!kthread_should_stop())
		usleep_range(1000, 2000);
	return changed + late;
}

static void share_test_attach_read(struct kunit *test, struct share_test *st,
				   struct arm_smmu_fake_master *fm,
				   struct iommu_domain *domain)
{
	struct share_test_reader *reader;
	struct task_struct *task;

	reader = kunit_kzalloc(test, sizeof(*reader), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, reader);
	reader->smmu_domain = to_smmu_domain(st->domain);
	init_completion(&reader->inside);
	task = kthread_run(share_test_read, reader, "share-test");
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, task);
	wait_for_completion(&reader->inside);

	KUNIT_EXPECT_EQ(test, 0, arm_smmu_fake_attach(fm, domain));
	KUNIT_EXPECT_EQ(test, kthread_stop(task), 0);
}

/* A reader is not disturbed by a merge, nor by a detach and its purge */
static void share_test_reader(struct kunit *test)
{
	struct share_test *st = share_test_setup(test, 2);
	unsigned int i, first;

	if (num_online_cpus() < 2)
		kunit_skip(test, "needs two CPUs");

	/* With the first to go, whichever it is, its trash is not at the end */
	for (first = 0; first < 2; first++) {
		for (i = 0; i < 2; i++)
			share_test_attach_read(test, st, st->fms[i],
					       st->domain);
		share_test_attach_read(test, st, st->fms[first],
				       arm_smmu_ops.blocked_domain);
		KUNIT_EXPECT_EQ(test,
				arm_smmu_fake_invs(st->domain)->num_invs, 1);
		share_test_attach_read(test, st, st->fms[!first],
				       arm_smmu_ops.blocked_domain);
		KUNIT_EXPECT_EQ(test,
				arm_smmu_fake_invs(st->domain)->num_invs, 0);
	}
}

static struct kunit_case arm_smmu_v3_share_test_cases[] = {
	KUNIT_CASE_PARAM(share_test_can_share, share_test_can_gen_params),
	KUNIT_CASE_PARAM(share_test_many_smmus, share_test_stage_gen_params),
	KUNIT_CASE_PARAM(share_test_detach, share_test_stage_gen_params),
	KUNIT_CASE_PARAM(share_test_no_id, share_test_stage_gen_params),
	KUNIT_CASE_SLOW(share_test_flush_timeout),
	KUNIT_CASE_PARAM(share_test_attach_refused, share_test_stage_gen_params),
	KUNIT_CASE(share_test_pasid),
	KUNIT_CASE(share_test_reader),
	{}
};

static struct kunit_suite arm_smmu_v3_share_test_suite = {
	.name = "arm-smmu-v3-share",
	.test_cases = arm_smmu_v3_share_test_cases,
};

kunit_test_suites(&arm_smmu_v3_share_test_suite);
