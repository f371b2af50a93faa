// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of domains that serve devices behind several SMMUs: which SMMUs may
 * share a domain, and that a refusal loses nothing.
 */
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/io-pgtable.h>
#include <linux/kthread.h>
#include <uapi/linux/iommufd.h>

#include "fake.h"

#define TEST_SMMUS	16
#define TEST_BITS	4
#define TEST_MAX_ID	((1 << TEST_BITS) - 1)
#define TEST_PASID	3
#define TEST_IOVA	SZ_1G
#define TEST_PGSIZES	(SZ_4K | SZ_2M | SZ_1G)
#define TEST_DIRTY	(ARM_SMMU_FEAT_HA | ARM_SMMU_FEAT_HD)

/*
 * What differs from the usual, in the page table (@ias, @oas, @pgsizes, @quirks,
 * @incoherent) and in the second SMMU (@smmu_oas, @smmu_pgsizes, @with,
 * @without). 0 is the usual, the same on both sides.
 */
static const struct share_test_row {
	const char *name;
	bool s2;
	bool can;
	unsigned int ias;
	unsigned int oas;
	unsigned long pgsizes;
	unsigned long quirks;
	bool incoherent;
	unsigned long smmu_oas;
	unsigned long smmu_pgsizes;
	u32 with;
	u32 without;
} share_test_rows[] = {
	{ "S1: the same", false, true },
	{ "S1: SMMU without stage 1", false, false,
	  .without = ARM_SMMU_FEAT_TRANS_S1 },
	{ "S1: SMMU without stage 2", false, true,
	  .without = ARM_SMMU_FEAT_TRANS_S2 },
	{ "S1: granule 4K, SMMU with 64K", false, false,
	  .smmu_pgsizes = SZ_64K | SZ_512M },
	{ "S1: granule 64K, SMMU with 4K", false, false,
	  .pgsizes = SZ_64K | SZ_512M },
	{ "S1: granule 4K, SMMU with 4K and 64K", false, true,
	  .smmu_pgsizes = TEST_PGSIZES | SZ_64K | SZ_512M },
	/* 2M is a block of 4K, but no leaf granule */
	{ "S1: granule 4K, SMMU with 16K", false, false,
	  .smmu_pgsizes = SZ_16K | SZ_32M | SZ_2M },
	{ "S1: larger OAS", false, false, .oas = 48 },
	{ "S1: smaller OAS", false, true, .oas = 40 },
	{ "S1: coherent walk, SMMU without", false, false,
	  .without = ARM_SMMU_FEAT_COHERENCY },
	{ "S1: no coherent walk, SMMU with", false, false, .incoherent = true },
	{ "S1: no coherent walk, SMMU without", false, true,
	  .incoherent = true, .without = ARM_SMMU_FEAT_COHERENCY },
	{ "S1: IAS 52, SMMU without VAX", false, false, .ias = 52 },
	{ "S1: IAS 52, SMMU with VAX", false, true,
	  .ias = 52, .with = ARM_SMMU_FEAT_VAX },
	{ "S1: IAS 48, SMMU with VAX", false, true,
	  .ias = 48, .with = ARM_SMMU_FEAT_VAX },
	{ "S1: dirty state, SMMU without", false, false,
	  .quirks = IO_PGTABLE_QUIRK_ARM_HD },
	{ "S1: dirty state, SMMU with", false, true,
	  .quirks = IO_PGTABLE_QUIRK_ARM_HD, .with = TEST_DIRTY },
	{ "S1: no dirty state, SMMU with", false, true, .with = TEST_DIRTY },
	{ "S2: the same", true, true },
	{ "S2: SMMU without stage 2", true, false,
	  .without = ARM_SMMU_FEAT_TRANS_S2 },
	{ "S2: SMMU without stage 1", true, true,
	  .without = ARM_SMMU_FEAT_TRANS_S1 },
	{ "S2: granule 4K, SMMU with 64K", true, false,
	  .smmu_pgsizes = SZ_64K | SZ_512M },
	{ "S2: granule 64K, SMMU with 4K", true, false,
	  .pgsizes = SZ_64K | SZ_512M },
	{ "S2: coherent walk, SMMU without", true, false,
	  .without = ARM_SMMU_FEAT_COHERENCY },
	{ "S2: no coherent walk, SMMU with", true, false, .incoherent = true },
	{ "S2: larger OAS", true, false, .oas = 48 },
	{ "S2: larger IAS", true, false, .ias = 48 },
	{ "S2: smaller IAS and OAS", true, true, .smmu_oas = 48 },
	{ "S2: S2FWB, SMMU without", true, false,
	  .quirks = IO_PGTABLE_QUIRK_ARM_S2FWB },
	{ "S2: S2FWB, SMMU with", true, true,
	  .quirks = IO_PGTABLE_QUIRK_ARM_S2FWB, .with = ARM_SMMU_FEAT_S2FWB },
	{ "S2: no S2FWB, SMMU with", true, false, .with = ARM_SMMU_FEAT_S2FWB },
};

KUNIT_ARRAY_PARAM_DESC(share_test_row, share_test_rows, name);

static const struct share_test_stage {
	const char *name;
	u32 flags;
	enum arm_smmu_inv_type type;
} share_test_stages[] = {
	{ "stage 1", 0, INV_TYPE_S1_ASID },
	{ "stage 2", IOMMU_HWPT_ALLOC_NEST_PARENT, INV_TYPE_S2_VMID },
};

KUNIT_ARRAY_PARAM_DESC(share_test_stage, share_test_stages, name);

/* One domain, and a device behind each SMMU */
struct share_test {
	const struct share_test_stage *stage;
	struct arm_smmu_fake *fakes[TEST_SMMUS];
	struct arm_smmu_fake_master *fms[TEST_SMMUS];
	struct iommu_domain *domain;
};

static struct ida *share_test_ida(struct share_test *st, unsigned int i)
{
	struct arm_smmu_device *smmu = &st->fakes[i]->smmu;

	return st->stage->flags ? &smmu->vmid_map : &smmu->asid_map;
}

static struct share_test *share_test_setup(struct kunit *test,
					   const struct share_test_stage *stage,
					   unsigned int num)
{
	struct share_test *st = kunit_kzalloc(test, sizeof(*st), GFP_KERNEL);
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, st);
	st->stage = stage;
	for (i = 0; i < num; i++) {
		st->fakes[i] = arm_smmu_fake_create(test, 8);
		st->fakes[i]->smmu.asid_bits = TEST_BITS;
		st->fakes[i]->smmu.vmid_bits = TEST_BITS;
		st->fms[i] = arm_smmu_fake_add_master(st->fakes[i], 1, 4);
	}
	st->domain = arm_smmu_fake_alloc_domain(st->fms[0], stage->flags);
	return st;
}

static u32 share_test_id(struct share_test *st, unsigned int i)
{
	return arm_smmu_fake_id(st->domain, st->fakes[i], st->stage->type,
				NULL);
}

/* After a refusal the second device is where it was, and has no id there */
static void share_test_expect_refused(struct kunit *test, struct share_test *st,
				      const struct arm_smmu_ste *ste)
{
	arm_smmu_fake_expect_cmds(st->fakes[1], NULL, 0);
	KUNIT_EXPECT_MEMEQ(test, ste, arm_smmu_fake_ste(st->fms[1]),
			   sizeof(*ste));
	KUNIT_EXPECT_EQ(test, share_test_id(st, 1), 0);
	KUNIT_EXPECT_NE(test, share_test_id(st, 0), 0);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_invs(st->domain)->num_invs, 1);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_num_ids(&st->fakes[1]->smmu.vmid_map),
			0);
}

static void share_test_vsmmu(struct kunit *test, struct share_test *st, int ret)
{
#if IS_ENABLED(CONFIG_ARM_SMMU_V3_IOMMUFD)
	struct arm_vsmmu vsmmu = {};

	int got = arm_smmu_fake_vsmmu_init(&vsmmu, st->fakes[1], st->domain);

	KUNIT_EXPECT_EQ(test, ret, got);
	if (!got)
		arm_smmu_fake_vsmmu_destroy(&vsmmu);
#endif
}

/* All ways to let an SMMU use the table of another one follow one rule */
static void share_test_rule(struct kunit *test)
{
	const struct share_test_row *row = test->param_value;
	struct share_test *st = share_test_setup(test,
						 &share_test_stages[row->s2], 2);
	struct io_pgtable_cfg *cfg =
		&io_pgtable_ops_to_pgtable(to_smmu_domain(st->domain)->pgtbl_ops)->cfg;
	struct arm_smmu_device *smmu = &st->fakes[1]->smmu;
	struct io_pgtable_cfg usual_cfg = *cfg;
	struct arm_smmu_device usual;
	int ret = row->can ? 0 : -EINVAL;
	struct iommu_domain *own = arm_smmu_fake_alloc_domain(st->fms[1], 0);
	struct arm_smmu_ste ste;

	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(st->fms[0], st->domain));
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(st->fms[1], own));
	memcpy(&ste, arm_smmu_fake_ste(st->fms[1]), sizeof(ste));
	arm_smmu_fake_drop_cmds(st->fakes[1]);
	usual.features = smmu->features;
	usual.oas = smmu->oas;
	usual.pgsize_bitmap = smmu->pgsize_bitmap;

	cfg->ias = row->ias ?: smmu->oas;
	cfg->oas = row->oas ?: smmu->oas;
	cfg->pgsize_bitmap = row->pgsizes ?: TEST_PGSIZES;
	cfg->quirks = row->quirks;
	cfg->coherent_walk = !row->incoherent;
	smmu->oas = row->smmu_oas ?: smmu->oas;
	smmu->pgsize_bitmap = row->smmu_pgsizes ?: TEST_PGSIZES;
	smmu->features = (smmu->features | row->with) & ~row->without;

	KUNIT_EXPECT_EQ(test, row->can,
			arm_smmu_domain_can_share(to_smmu_domain(st->domain),
						  smmu));
	if (!row->can || !row->s2) {
		KUNIT_EXPECT_EQ(test, row->s2 ? -EINVAL : ret,
				arm_smmu_fake_set_pasid(st->fms[1], st->domain,
							TEST_PASID, NULL));
		if (row->can)
			arm_smmu_fake_clear_pasid(st->fms[1], TEST_PASID,
						  st->domain);
	}
	if (row->s2)
		share_test_vsmmu(test, st, ret);
	KUNIT_EXPECT_EQ(test, ret, arm_smmu_fake_attach(st->fms[1], st->domain));
	if (!row->can)
		share_test_expect_refused(test, st, &ste);
	else
		KUNIT_EXPECT_NE(test, share_test_id(st, 1), 0);
	KUNIT_EXPECT_EQ(test, 0, arm_smmu_fake_block(st->fms[1]));

	*cfg = usual_cfg;
	smmu->features = usual.features;
	smmu->oas = usual.oas;
	smmu->pgsize_bitmap = usual.pgsize_bitmap;
}

#if IS_ENABLED(CONFIG_ARM_SMMU_V3_IOMMUFD)
/*
 * What keeps a guest from bypassing the cache is that the device cannot, or that
 * the parent has S2FWB.
 */
static void share_test_nested(struct kunit *test)
{
	static const struct {
		bool s2fwb;
		bool canwbs;
		bool other_smmu;
		int ret;
	} rows[] = {
		{ false, true, false, 0 },
		{ false, false, false, -EINVAL },
		{ true, true, false, 0 },
		{ true, false, false, 0 },
		{ false, true, true, -EINVAL },
	};
	struct arm_smmu_fake_master *fm, *far;
	struct iommu_domain *parent, *nested;
	struct arm_smmu_fake *fake;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		fake = arm_smmu_fake_create(test, 8);
		fm = arm_smmu_fake_add_master(fake, 1, 0);
		far = arm_smmu_fake_add_master(arm_smmu_fake_create(test, 8), 1,
					       0);
		if (rows[i].s2fwb)
			fake->smmu.features |= ARM_SMMU_FEAT_S2FWB;
		parent = arm_smmu_fake_alloc_domain(fm,
						    IOMMU_HWPT_ALLOC_NEST_PARENT);
		nested = arm_smmu_fake_alloc_nested(fm,
						    arm_smmu_fake_alloc_vsmmu(fake,
									      parent),
						    STRTAB_STE_0_CFG_BYPASS,
						    STRTAB_STE_1_EATS_ABT);
		if (rows[i].other_smmu)
			fm = far;
		if (!rows[i].canwbs)
			dev_iommu_fwspec_get(fm->dev)->flags &=
				~IOMMU_FWSPEC_PCI_RC_CANWBS;
		KUNIT_EXPECT_EQ_MSG(test, rows[i].ret,
				    arm_smmu_fake_attach(fm, nested),
				    "row %u", i);
		KUNIT_EXPECT_EQ(test, !rows[i].ret,
				!!arm_smmu_fake_hw_id(fm, IOMMU_NO_PASID));
		KUNIT_EXPECT_EQ(test, rows[i].ret ? 0 : 2,
				arm_smmu_fake_invs(parent)->num_invs);
	}
}
#endif

/* A page is unmapped on all SMMUs that have a device attached, and no others */
static void share_test_unmap(struct kunit *test, struct share_test *st)
{
	struct arm_smmu_cmd cmds[] = {
		{ .data[1] = TEST_IOVA | CMDQ_TLBI_1_LEAF },
		{ .data[0] = CMDQ_OP_CMD_SYNC },
	};
	unsigned int i;
	u32 id;

	KUNIT_ASSERT_EQ(test, 0,
			iommu_map(st->domain, TEST_IOVA, SZ_4K, SZ_4K,
				  IOMMU_READ, GFP_KERNEL));
	for (i = 0; i < TEST_SMMUS; i++)
		arm_smmu_fake_drop_cmds(st->fakes[i]);
	KUNIT_ASSERT_EQ(test, SZ_4K, iommu_unmap(st->domain, TEST_IOVA, SZ_4K));

	for (i = 0; i < TEST_SMMUS; i++) {
		id = share_test_id(st, i);
		cmds[0].data[0] = st->stage->flags ?
			CMDQ_OP_TLBI_S2_IPA |
				FIELD_PREP(CMDQ_TLBI_0_VMID, id) :
			CMDQ_OP_TLBI_NH_VA | FIELD_PREP(CMDQ_TLBI_0_ASID, id);
		arm_smmu_fake_expect_cmds(st->fakes[i], cmds,
					  id ? ARRAY_SIZE(cmds) : 0);
	}
}

/* From 1 to 16 SMMUs and back in another order, each with an id of its own */
static void share_test_many_smmus(struct kunit *test)
{
	struct share_test *st = share_test_setup(test, test->param_value,
						 TEST_SMMUS);
	unsigned int i, j, n, id;

	for (i = 0; i < TEST_SMMUS; i++)
		for (j = 0; j < i % TEST_MAX_ID; j++)
			KUNIT_ASSERT_GT(test,
					ida_alloc_range(share_test_ida(st, i),
							1, TEST_MAX_ID,
							GFP_KERNEL), 0);
	for (i = 0; i < TEST_SMMUS; i++) {
		KUNIT_ASSERT_EQ(test, 0,
				arm_smmu_fake_attach(st->fms[i], st->domain));
		KUNIT_EXPECT_EQ(test, share_test_id(st, i), i % TEST_MAX_ID + 1);
		share_test_unmap(test, st);
	}
	for (n = 0; n < TEST_SMMUS; n++) {
		i = n * 7 % TEST_SMMUS;
		KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_block(st->fms[i]));
		KUNIT_EXPECT_EQ(test, share_test_id(st, i), 0);
		KUNIT_EXPECT_FALSE(test, ida_exists(share_test_ida(st, i),
						    i % TEST_MAX_ID + 1));
		share_test_unmap(test, st);
	}
	for (i = 0; i < TEST_SMMUS; i++)
		for (id = 1; id <= i % TEST_MAX_ID; id++)
			ida_free(share_test_ida(st, i), id);
}

/* Exhausted ids and a flush that times out are those of one SMMU */
static void share_test_one_in_trouble(struct kunit *test)
{
	struct share_test *st = share_test_setup(test, test->param_value, 2);
	unsigned int id;

	for (id = 1; id <= TEST_MAX_ID; id++)
		KUNIT_ASSERT_EQ(test, id,
				ida_alloc_range(share_test_ida(st, 1), 1,
						TEST_MAX_ID, GFP_KERNEL));
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(st->fms[0], st->domain));
	KUNIT_EXPECT_EQ(test, -ENOSPC,
			arm_smmu_fake_attach(st->fms[1], st->domain));
	KUNIT_EXPECT_NE(test, share_test_id(st, 0), 0);
	KUNIT_EXPECT_EQ(test, share_test_id(st, 1), 0);
	for (id = 1; id <= TEST_MAX_ID; id++)
		ida_free(share_test_ida(st, 1), id);

	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(st->fms[1], st->domain));
	id = share_test_id(st, 1);
	arm_smmu_fake_stop(st->fakes[1], 0);
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_block(st->fms[1]));
	arm_smmu_fake_start(st->fakes[1]);
	KUNIT_EXPECT_TRUE(test, ida_exists(share_test_ida(st, 1), id));
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_block(st->fms[0]));
	KUNIT_EXPECT_TRUE(test, ida_is_empty(share_test_ida(st, 0)));
}

/* Stays in its RCU read section as long as the test likes */
struct share_test_reader {
	struct arm_smmu_domain *smmu_domain;
	struct completion inside;
	bool leave;
	int changed;
};

static int share_test_read(void *data)
{
	/* A detach that waits for readers ends this */
	unsigned long end = jiffies + 10 * HZ;
	struct share_test_reader *reader = data;
	struct arm_smmu_inv seen[2];
	struct arm_smmu_invs *invs;
	size_t num_invs, i;

	rcu_read_lock();
	invs = rcu_dereference(reader->smmu_domain->invs);
	num_invs = min(invs->num_invs, ARRAY_SIZE(seen));
	memcpy(seen, invs->inv, num_invs * sizeof(*seen));
	complete(&reader->inside);
	while (!READ_ONCE(reader->leave) && time_before(jiffies, end))
		cpu_relax();
	reader->changed = !READ_ONCE(reader->leave);
	/* Only @users may change, or the memory is no array any more */
	for (i = 0; i < num_invs; i++) {
		seen[i].users = invs->inv[i].users;
		reader->changed += seen[i].users < 0 || seen[i].users > 2 ||
				   memcmp(&seen[i], &invs->inv[i],
					  sizeof(*seen));
	}
	rcu_read_unlock();
	return 0;
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
	task = arm_smmu_fake_run_task(test, share_test_read, reader);
	wait_for_completion(&reader->inside);
	KUNIT_EXPECT_EQ(test, 0, arm_smmu_fake_attach(fm, domain));
	WRITE_ONCE(reader->leave, true);
	arm_smmu_fake_stop_task(test, task);
	KUNIT_EXPECT_EQ(test, reader->changed, 0);
}

/* A reader is not disturbed by a merge, nor by a detach and its purge */
static void share_test_reader(struct kunit *test)
{
	struct share_test *st = share_test_setup(test, &share_test_stages[0], 2);
	unsigned int i, first;

	if (num_online_cpus() < 2)
		kunit_skip(test, "needs two CPUs");
	/* One of the two leaves trash that is not at the end */
	for (first = 0; first < 2; first++) {
		for (i = 0; i < 2; i++)
			share_test_attach_read(test, st, st->fms[i],
					       st->domain);
		for (i = 0; i < 2; i++)
			share_test_attach_read(test, st, st->fms[first ^ i],
					       arm_smmu_fake_blocked(st->fms[0]));
		KUNIT_EXPECT_EQ(test, arm_smmu_fake_invs(st->domain)->num_invs,
				0);
	}
}

static struct kunit_case share_test_cases[] = {
	KUNIT_CASE_PARAM(share_test_rule, share_test_row_gen_params),
#if IS_ENABLED(CONFIG_ARM_SMMU_V3_IOMMUFD)
	KUNIT_CASE(share_test_nested),
#endif
	KUNIT_CASE_PARAM(share_test_many_smmus, share_test_stage_gen_params),
	KUNIT_CASE_PARAM(share_test_one_in_trouble, share_test_stage_gen_params),
	KUNIT_CASE(share_test_reader),
	{}
};

static struct kunit_suite share_test_suite = {
	.name = "arm-smmu-v3-share",
	.test_cases = share_test_cases,
};

kunit_test_suite(share_test_suite);
