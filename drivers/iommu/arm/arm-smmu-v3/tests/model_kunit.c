// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of the model itself: it translates what the driver wrote, and the
 * oracle notices what a driver may forget.
 */
#include <linux/io-pgtable.h>
#include <linux/iommu.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/uaccess.h>

#include "../../../iommufd/iommufd_private.h"

#include "model_int.h"

#define TEST_SID	1
#define TEST_IOVA	0x40000000ULL
#define TEST_GUEST_VA	0x12345000ULL
#define TEST_VSID	7

#define TEST_RW		(IOMMU_READ | IOMMU_WRITE | IOMMU_CACHE)
#define TEST_PROBE	(SMMU_MODEL_WRITE | SMMU_MODEL_QUIET)

struct model_test {
	struct kunit *test;
	struct smmu_model *model;
	struct arm_smmu_fake *fake;
	struct arm_smmu_fake_master *fm;
	struct smmu_model_dev *dev;
};

static void model_test_create(struct kunit *test, struct model_test *mt,
			      u32 features, unsigned int ssid_bits, bool pci)
{
	const u32 sid = TEST_SID;

	mt->test = test;
	mt->model = smmu_model_create(test, 42);
	mt->fake = arm_smmu_fake_create(test, 8);
	mt->fake->smmu.features |= features;
	smmu_model_add_smmu(mt->model, mt->fake);
	mt->fm = pci ? arm_smmu_fake_add_pci_master(mt->fake, &sid, 1, ssid_bits) :
		       arm_smmu_fake_add_master(mt->fake, sid, ssid_bits);
	mt->dev = smmu_model_add_dev(mt->model, mt->fm);
}

static void model_test_attach(struct model_test *mt, struct iommu_domain *domain)
{
	KUNIT_ASSERT_EQ(mt->test, 0, arm_smmu_fake_attach(mt->fm, domain));
}

/* Map fresh addresses and let the adversary use them */
static u64 model_test_map(struct model_test *mt, struct iommu_domain *domain,
			  u64 iova, u64 size)
{
	u64 pa = smmu_model_pa(mt->model, size);

	KUNIT_ASSERT_EQ(mt->test, 0,
			iommu_map(domain, iova, pa, size, TEST_RW, GFP_KERNEL));
	smmu_model_track(mt->model, iova);
	smmu_model_track(mt->model, iova + size - SZ_4K);
	return pa;
}

static void model_test_expect_dma(struct model_test *mt, u32 ssid, u64 addr,
				  unsigned int flags, u64 expected)
{
	u64 pa = 0;

	KUNIT_EXPECT_EQ(mt->test, 0,
			smmu_model_dma(mt->dev, ssid, addr, flags, &pa));
	KUNIT_EXPECT_EQ(mt->test, pa, expected);
}

static void model_test_expect_none(struct model_test *mt, u32 ssid, u64 addr,
				   unsigned int flags)
{
	u64 pa;

	KUNIT_EXPECT_EQ(mt->test, -EFAULT,
			smmu_model_dma(mt->dev, ssid, addr, flags, &pa));
}

/* Map, DMA and unmap one range, with all caches full */
static void model_test_use(struct model_test *mt, struct iommu_domain *domain,
			   u32 ssid, u64 iova, u64 size, unsigned int flags)
{
	u64 pa = model_test_map(mt, domain, iova, size);
	int i;

	for (i = 0; i < 8; i++) {
		smmu_model_fill(mt->model);
		model_test_expect_dma(mt, ssid, iova + i * 8,
				      TEST_PROBE | flags, pa + i * 8);
	}
	model_test_expect_dma(mt, ssid, iova + size - 8, TEST_PROBE | flags,
			      pa + size - 8);
	smmu_model_check(mt->model);
	KUNIT_EXPECT_EQ(mt->test, size, iommu_unmap(domain, iova, size));
	smmu_model_retire(mt->model, pa, size);
	smmu_model_fill(mt->model);
	smmu_model_check(mt->model);
	model_test_expect_none(mt, ssid, iova, TEST_PROBE | flags);
}

static void model_test_use_sizes(struct model_test *mt,
				 struct iommu_domain *domain, u32 ssid,
				 unsigned int flags)
{
	unsigned int bit;

	for_each_set_bit(bit, &domain->pgsize_bitmap, 31) {
		model_test_use(mt, domain, ssid, TEST_IOVA, BIT(bit), flags);
		model_test_use(mt, domain, ssid, TEST_IOVA, 2 * BIT(bit), flags);
	}
}

static void model_test_stage(struct kunit *test, u32 features, u32 flags,
			     unsigned long pgsizes)
{
	struct iommu_domain *domain;
	struct model_test mt;
	struct smmu_model_stats stats;

	model_test_create(test, &mt, features, 0, false);
	mt.fake->smmu.pgsize_bitmap = pgsizes;
	domain = arm_smmu_fake_alloc_domain(mt.fm, flags);
	/* The core needs a granule of the kernel when the device goes */
	mt.fake->smmu.pgsize_bitmap |= SZ_4K;
	model_test_attach(&mt, domain);
	model_test_use_sizes(&mt, domain, SMMU_MODEL_NO_SSID, 0);
	model_test_attach(&mt, arm_smmu_fake_blocked(mt.fm));
	smmu_model_left(mt.dev, SMMU_MODEL_NO_SSID);
	smmu_model_check(mt.model);

	stats = smmu_model_get_stats(mt.model);
	KUNIT_EXPECT_GT(test, stats.fills, 100);
	KUNIT_EXPECT_GT(test, stats.hits, 100);
	KUNIT_EXPECT_GT(test, stats.removed, 10);
}

/* Stage 1 */
static void model_test_s1(struct kunit *test)
{
	model_test_stage(test, 0, 0, SZ_4K | SZ_2M | SZ_1G);
}

static void model_test_s1_range(struct kunit *test)
{
	model_test_stage(test, ARM_SMMU_FEAT_RANGE_INV, 0,
			 SZ_4K | SZ_2M | SZ_1G);
}

static void model_test_s1_e2h(struct kunit *test)
{
	model_test_stage(test, ARM_SMMU_FEAT_RANGE_INV | ARM_SMMU_FEAT_E2H, 0,
			 SZ_4K | SZ_2M | SZ_1G);
}

static void model_test_s1_16k(struct kunit *test)
{
	model_test_stage(test, ARM_SMMU_FEAT_RANGE_INV, 0, SZ_16K | SZ_32M);
}

static void model_test_s1_64k(struct kunit *test)
{
	model_test_stage(test, ARM_SMMU_FEAT_RANGE_INV, 0, SZ_64K | SZ_512M);
}

static void model_test_s2(struct kunit *test)
{
	model_test_stage(test, 0, IOMMU_HWPT_ALLOC_NEST_PARENT,
			 SZ_4K | SZ_2M | SZ_1G);
}

static void model_test_s2_range(struct kunit *test)
{
	model_test_stage(test, ARM_SMMU_FEAT_RANGE_INV,
			 IOMMU_HWPT_ALLOC_NEST_PARENT, SZ_64K | SZ_512M);
}

/* A PASID behind a CD table of two levels, and a stream table of two levels */
static void model_test_2lvl(struct kunit *test)
{
	struct arm_smmu_strtab_cfg *cfg;
	struct iommu_domain *domain;
	struct model_test mt = { .test = test };
	const u32 ssid = 1500;

	mt.model = smmu_model_create(test, 43);
	mt.fake = arm_smmu_fake_create(test, 8);
	mt.fake->smmu.features |= ARM_SMMU_FEAT_2_LVL_CDTAB |
				  ARM_SMMU_FEAT_2_LVL_STRTAB;
	mt.fake->smmu.ssid_bits = 12;
	cfg = &mt.fake->smmu.strtab_cfg;
	memset(cfg, 0, sizeof(*cfg));
	cfg->l2.num_l1_ents = 1;
	cfg->l2.l1tab = kunit_kzalloc(test, sizeof(*cfg->l2.l1tab), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, cfg->l2.l1tab);
	cfg->l2.l2ptrs = kunit_kzalloc(test, sizeof(*cfg->l2.l2ptrs),
				       GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, cfg->l2.l2ptrs);
	smmu_model_add_smmu(mt.model, mt.fake);
	mt.fm = arm_smmu_fake_add_master(mt.fake, TEST_SID, 12);
	mt.dev = smmu_model_add_dev(mt.model, mt.fm);
	smmu_model_track_ssid(mt.dev, ssid);

	domain = arm_smmu_fake_alloc_domain(mt.fm, 0);
	model_test_attach(&mt, arm_smmu_fake_identity(mt.fm));
	KUNIT_ASSERT_EQ(test, 0,
			arm_smmu_fake_set_pasid(mt.fm, domain, ssid, NULL));
	model_test_use_sizes(&mt, domain, ssid, 0);
	/* Without PASID there is S1DSS, with another nothing */
	model_test_expect_dma(&mt, SMMU_MODEL_NO_SSID, TEST_IOVA, TEST_PROBE,
			      TEST_IOVA);
	model_test_expect_none(&mt, 3, TEST_IOVA, TEST_PROBE);
	KUNIT_ASSERT_EQ(test, 0,
			arm_smmu_fake_set_pasid(mt.fm,
						arm_smmu_fake_blocked(mt.fm),
						ssid, domain));
	smmu_model_left(mt.dev, ssid);
	smmu_model_check(mt.model);
	model_test_expect_none(&mt, ssid, TEST_IOVA, TEST_PROBE);
}

/* Unmap, but do not invalidate */
static void model_test_unmap(struct model_test *mt, struct iommu_domain *domain,
			     u64 iova, u64 size)
{
	struct io_pgtable_ops *ops = to_smmu_domain(domain)->pgtbl_ops;
	struct iommu_iotlb_gather gather;

	iommu_iotlb_gather_init(&gather);
	KUNIT_ASSERT_EQ(mt->test, size,
			ops->unmap_pages(ops, iova, size, 1, &gather));
}

static void model_test_expect_fault(struct model_test *mt,
				    enum smmu_model_fault fault,
				    unsigned int *num)
{
	unsigned int old = *num;

	*num = smmu_model_faults(mt->model, fault);
	KUNIT_EXPECT_GT(mt->test, *num, old);
}

static void model_test_inv(struct iommu_domain *domain, u64 iova, u64 size,
			   unsigned int granule, bool leaf)
{
	arm_smmu_domain_inv_range(to_smmu_domain(domain), iova, size, granule,
				  leaf);
}

/* What is not invalidated stays, and the oracle sees it */
static void model_test_no_tlbi(struct kunit *test)
{
	unsigned int reach = 0, stale = 0;
	struct iommu_domain *domain;
	struct model_test mt;
	u64 pa;

	model_test_create(test, &mt, ARM_SMMU_FEAT_RANGE_INV, 0, false);
	smmu_model_expect(mt.model, SMMU_MODEL_REACH);
	smmu_model_expect(mt.model, SMMU_MODEL_STALE);
	domain = arm_smmu_fake_alloc_domain(mt.fm, 0);
	model_test_attach(&mt, domain);

	pa = model_test_map(&mt, domain, TEST_IOVA, SZ_2M);
	smmu_model_fill(mt.model);
	model_test_unmap(&mt, domain, TEST_IOVA, SZ_2M);
	smmu_model_retire(mt.model, pa, SZ_2M);
	model_test_expect_fault(&mt, SMMU_MODEL_REACH, &reach);
	smmu_model_check(mt.model);
	model_test_expect_fault(&mt, SMMU_MODEL_STALE, &stale);
	model_test_expect_dma(&mt, SMMU_MODEL_NO_SSID, TEST_IOVA,
			      TEST_PROBE | SMMU_MODEL_CACHED, pa);
	model_test_expect_fault(&mt, SMMU_MODEL_REACH, &reach);
	model_test_expect_none(&mt, SMMU_MODEL_NO_SSID, TEST_IOVA,
			       TEST_PROBE | SMMU_MODEL_FRESH);

	/* A block is of level 2, which TTL 3 does not hit */
	model_test_inv(domain, TEST_IOVA, SZ_2M, SZ_4K, true);
	smmu_model_check(mt.model);
	model_test_expect_fault(&mt, SMMU_MODEL_STALE, &stale);
	/* The other block is not in this range */
	model_test_inv(domain, TEST_IOVA + SZ_2M, SZ_2M, SZ_2M, true);
	smmu_model_check(mt.model);
	model_test_expect_fault(&mt, SMMU_MODEL_STALE, &stale);
	model_test_inv(domain, TEST_IOVA, SZ_2M, SZ_2M, true);
	smmu_model_check(mt.model);
	KUNIT_EXPECT_EQ(test, stale,
			smmu_model_faults(mt.model, SMMU_MODEL_STALE));
}

static struct smmu_model_entry *
model_test_find_table(struct model_test *mt, unsigned int level)
{
	struct smmu_model_smmu *ms = mt->fake->model;
	unsigned int i;

	for (i = 0; i < ms->num_tlb; i++)
		if (ms->tlb[i].kind == MODEL_TABLE && ms->tlb[i].level == level)
			return &ms->tlb[i];
	return NULL;
}

/* Only a non-leaf invalidation removes a walk cache entry */
static void model_test_walk_cache(struct kunit *test)
{
	struct smmu_model_entry *e;
	struct iommu_domain *domain;
	unsigned int stale = 0;
	struct model_test mt;
	u64 desc, *p;

	model_test_create(test, &mt, 0, 0, false);
	smmu_model_expect(mt.model, SMMU_MODEL_STALE);
	domain = arm_smmu_fake_alloc_domain(mt.fm, 0);
	model_test_attach(&mt, domain);
	model_test_map(&mt, domain, TEST_IOVA, SZ_4K);
	smmu_model_fill(mt.model);
	e = model_test_find_table(&mt, 2);
	KUNIT_ASSERT_NOT_NULL(test, e);
	p = phys_to_virt(e->desc_pa);
	desc = *p;
	WRITE_ONCE(*p, 0);
	model_test_inv(domain, TEST_IOVA, SZ_4K, SZ_4K, true);
	smmu_model_check(mt.model);
	model_test_expect_fault(&mt, SMMU_MODEL_STALE, &stale);
	model_test_inv(domain, TEST_IOVA, SZ_4K, SZ_4K, false);
	smmu_model_check(mt.model);
	KUNIT_EXPECT_EQ(test, stale,
			smmu_model_faults(mt.model, SMMU_MODEL_STALE));
	WRITE_ONCE(*p, desc);
}

/* An ATC answers until it is told */
static void model_test_ats(struct kunit *test)
{
	struct iommu_domain *domain;
	struct arm_smmu_cmd cmd;
	unsigned int reach = 0;
	struct model_test mt;
	u64 pa;

	model_test_create(test, &mt, 0, 4, true);
	domain = arm_smmu_fake_alloc_domain(mt.fm, 0);
	smmu_model_track_ssid(mt.dev, 5);
	model_test_attach(&mt, domain);
	KUNIT_ASSERT_EQ(test, 0,
			arm_smmu_fake_set_pasid(mt.fm, domain, 5, NULL));
	KUNIT_ASSERT_TRUE(test, smmu_model_ats_on(mt.dev));
	model_test_use_sizes(&mt, domain, SMMU_MODEL_NO_SSID, SMMU_MODEL_ATS);
	model_test_use_sizes(&mt, domain, 5, SMMU_MODEL_ATS);

	smmu_model_expect(mt.model, SMMU_MODEL_REACH);
	smmu_model_expect(mt.model, SMMU_MODEL_STALE);
	pa = model_test_map(&mt, domain, TEST_IOVA, SZ_4K);
	smmu_model_fill(mt.model);
	model_test_unmap(&mt, domain, TEST_IOVA, SZ_4K);
	cmd = arm_smmu_make_cmd_tlbi(CMDQ_OP_TLBI_NSNH_ALL, 0, 0);
	KUNIT_ASSERT_EQ(test, 0,
			arm_smmu_cmdq_issue_cmd_p(&mt.fake->smmu, &cmd, true));
	smmu_model_retire(mt.model, pa, SZ_4K);
	model_test_expect_fault(&mt, SMMU_MODEL_REACH, &reach);
	/* That of PASID 5 stays */
	cmd = arm_smmu_make_cmd_atc_inv(TEST_SID, 4, TEST_IOVA, 0);
	KUNIT_ASSERT_EQ(test, 0,
			arm_smmu_cmdq_issue_cmd_p(&mt.fake->smmu, &cmd, true));
	model_test_expect_dma(&mt, 5, TEST_IOVA, SMMU_MODEL_ATS | TEST_PROBE |
			      SMMU_MODEL_CACHED, pa);
	model_test_expect_fault(&mt, SMMU_MODEL_REACH, &reach);
	/* Without PASID, and aligned to its size, this hits both */
	cmd = arm_smmu_make_cmd_atc_inv(TEST_SID, 0, TEST_IOVA + SZ_4K, 1);
	KUNIT_ASSERT_EQ(test, 0,
			arm_smmu_cmdq_issue_cmd_p(&mt.fake->smmu, &cmd, true));
	model_test_expect_none(&mt, 5, TEST_IOVA, SMMU_MODEL_ATS | TEST_PROBE |
			       SMMU_MODEL_CACHED);
	smmu_model_check(mt.model);

	KUNIT_ASSERT_EQ(test, 0,
			arm_smmu_fake_set_pasid(mt.fm,
						arm_smmu_fake_blocked(mt.fm), 5,
						domain));
	smmu_model_left(mt.dev, 5);
	model_test_attach(&mt, arm_smmu_fake_blocked(mt.fm));
	smmu_model_left(mt.dev, SMMU_MODEL_NO_SSID);
	smmu_model_check(mt.model);
}

/* The dirty state in the TLB must be cleared with that in memory */
static void model_test_dirty(struct kunit *test)
{
	struct iommu_iotlb_gather gather;
	struct iommu_dirty_bitmap dirty;
	struct smmu_model_stats stats;
	struct smmu_model_write write;
	struct iommu_domain *domain;
	unsigned int stale = 0;
	struct model_test mt;
	u64 pa;

	model_test_create(test, &mt, ARM_SMMU_FEAT_HA | ARM_SMMU_FEAT_HD, 0,
			  false);
	smmu_model_expect(mt.model, SMMU_MODEL_STALE);
	domain = arm_smmu_fake_alloc_domain(mt.fm,
					    IOMMU_HWPT_ALLOC_DIRTY_TRACKING);
	model_test_attach(&mt, domain);
	KUNIT_ASSERT_EQ(test, 0,
			domain->dirty_ops->set_dirty_tracking(domain, true));
	pa = model_test_map(&mt, domain, TEST_IOVA, SZ_4K);
	model_test_expect_dma(&mt, SMMU_MODEL_NO_SSID, TEST_IOVA, TEST_PROBE, pa);
	KUNIT_ASSERT_TRUE(test, smmu_model_next_write(mt.model, &write));
	KUNIT_EXPECT_EQ(test, write.addr, TEST_IOVA);
	KUNIT_EXPECT_FALSE(test, smmu_model_next_write(mt.model, &write));
	smmu_model_fill(mt.model);
	smmu_model_check(mt.model);
	/* The driver maps what is writable as dirty */
	stats = smmu_model_get_stats(mt.model);
	KUNIT_EXPECT_EQ(test, stats.httu, 0);

	iommu_iotlb_gather_init(&gather);
	iommu_dirty_bitmap_init(&dirty, NULL, &gather);
	KUNIT_ASSERT_EQ(test, 0,
			domain->dirty_ops->read_and_clear_dirty(domain,
				TEST_IOVA, SZ_4K, 0, &dirty));
	KUNIT_EXPECT_EQ(test, gather.start, TEST_IOVA);
	smmu_model_check(mt.model);
	model_test_expect_fault(&mt, SMMU_MODEL_STALE, &stale);
	model_test_inv(domain, 0, 0, 0, false);
	smmu_model_check(mt.model);
	KUNIT_EXPECT_EQ(test, stale,
			smmu_model_faults(mt.model, SMMU_MODEL_STALE));
	model_test_expect_dma(&mt, SMMU_MODEL_NO_SSID, TEST_IOVA, TEST_PROBE, pa);
	stats = smmu_model_get_stats(mt.model);
	KUNIT_EXPECT_EQ(test, stats.httu, 1);
}

/* A transaction that stalls ends with CMD_RESUME */
static void model_test_stall(struct kunit *test)
{
	struct smmu_model_stats stats;
	struct iommu_domain *domain;
	struct arm_smmu_cmd cmd;
	struct model_test mt;
	u64 stag;

	model_test_create(test, &mt, ARM_SMMU_FEAT_STALLS, 0, false);
	mt.fm->master->stall_enabled = true;
	domain = arm_smmu_fake_alloc_domain(mt.fm, 0);
	model_test_attach(&mt, domain);
	KUNIT_ASSERT_EQ(test, -EINPROGRESS,
			smmu_model_dma(mt.dev, SMMU_MODEL_NO_SSID, TEST_IOVA, 0,
				       &stag));
	KUNIT_EXPECT_EQ(test, -EINPROGRESS,
			smmu_model_stall_result(mt.dev, stag));
	cmd = arm_smmu_make_cmd_resume(TEST_SID, stag,
				       CMDQ_RESUME_0_RESP_RETRY);
	KUNIT_ASSERT_EQ(test, 0,
			arm_smmu_cmdq_issue_cmd_p(&mt.fake->smmu, &cmd, true));
	KUNIT_EXPECT_EQ(test, -EAGAIN, smmu_model_stall_result(mt.dev, stag));

	/* Nobody handles page faults here: the driver aborts it */
	KUNIT_ASSERT_EQ(test, -EINPROGRESS,
			smmu_model_dma(mt.dev, SMMU_MODEL_NO_SSID, TEST_IOVA, 0,
				       &stag));
	arm_smmu_fake_handle_events(mt.fake);
	arm_smmu_fake_drop_cmds(mt.fake);
	stats = smmu_model_get_stats(mt.model);
	KUNIT_EXPECT_EQ(test, stats.stalls, 2);
	KUNIT_EXPECT_EQ(test, stats.retried, 1);
	KUNIT_EXPECT_EQ(test, stats.events, 2);
}

/* Illegal structures and commands are noticed */
static void model_test_illegal(struct kunit *test)
{
	struct iommu_domain *domain;
	struct arm_smmu_cmd cmd;
	struct arm_smmu_ste *ste;
	unsigned int num = 0;
	struct model_test mt;
	__le64 old;

	model_test_create(test, &mt, 0, 0, false);
	smmu_model_expect(mt.model, SMMU_MODEL_ILLEGAL);
	domain = arm_smmu_fake_alloc_domain(mt.fm, 0);
	model_test_attach(&mt, domain);
	smmu_model_track(mt.model, TEST_IOVA);

	cmd = arm_smmu_make_cmd_tlbi(CMDQ_OP_TLBI_NH_ASID, 1, 0);
	cmd.data[1] = 1;
	arm_smmu_cmdq_issue_cmd_p(&mt.fake->smmu, &cmd, true);
	model_test_expect_fault(&mt, SMMU_MODEL_ILLEGAL, &num);
	/* There are no ranges */
	cmd = arm_smmu_make_cmd_tlbi(CMDQ_OP_TLBI_NH_VA, 1, 0);
	cmd.data[1] = FIELD_PREP(CMDQ_TLBI_1_TG, 1) |
		      FIELD_PREP(CMDQ_TLBI_1_TTL, 3);
	arm_smmu_cmdq_issue_cmd_p(&mt.fake->smmu, &cmd, true);
	model_test_expect_fault(&mt, SMMU_MODEL_ILLEGAL, &num);

	cmd = arm_smmu_make_cmd_cfgi_all();
	ste = arm_smmu_fake_ste(mt.fm);
	old = ste->data[0];
	WRITE_ONCE(ste->data[0], old ^ cpu_to_le64(0x8));
	arm_smmu_cmdq_issue_cmd_p(&mt.fake->smmu, &cmd, true);
	model_test_expect_fault(&mt, SMMU_MODEL_ILLEGAL, &num);
	WRITE_ONCE(ste->data[0], old);
	arm_smmu_cmdq_issue_cmd_p(&mt.fake->smmu, &cmd, true);
	smmu_model_check(mt.model);
}

/* Attach in every order, while another CPU fetches STEs and CDs */
static void model_test_adversary(struct kunit *test)
{
	struct iommu_domain *domains[5];
	struct model_test mt;
	u64 pas[ARRAY_SIZE(domains)] = {};
	int i, j, k;

	model_test_create(test, &mt, 0, 4, true);
	domains[0] = arm_smmu_fake_alloc_domain(mt.fm, 0);
	domains[1] = arm_smmu_fake_alloc_domain(mt.fm, 0);
	domains[2] = arm_smmu_fake_alloc_domain(mt.fm,
						IOMMU_HWPT_ALLOC_NEST_PARENT);
	domains[3] = arm_smmu_fake_blocked(mt.fm);
	domains[4] = arm_smmu_fake_identity(mt.fm);
	smmu_model_adversary_start(mt.model, cpumask_last(cpu_online_mask));
	for (k = 0; k < 3; k++)
		pas[k] = model_test_map(&mt, domains[k], TEST_IOVA, SZ_4K);
	pas[4] = TEST_IOVA;

	for (i = 0; i < ARRAY_SIZE(domains); i++) {
		for (j = 0; j < ARRAY_SIZE(domains); j++) {
			model_test_attach(&mt, domains[i]);
			model_test_attach(&mt, domains[j]);
			smmu_model_left(mt.dev, SMMU_MODEL_NO_SSID);
			for (k = 0; k < 4 && pas[j]; k++) {
				u32 ats = k & 1 ? SMMU_MODEL_ATS : 0;

				model_test_expect_dma(&mt, SMMU_MODEL_NO_SSID,
						      TEST_IOVA,
						      TEST_PROBE | ats, pas[j]);
			}
		}
		smmu_model_check(mt.model);
	}
}

#if IS_ENABLED(CONFIG_ARM_SMMU_V3_IOMMUFD)
#define TEST_GUEST_IPA	0x80000000ULL
#define TEST_DATA_IPA	0x90000000ULL

/* What a guest has in memory: a CD and a page table of three levels */
struct model_guest {
	struct iommu_domain *parent;
	struct iommu_domain *nested;
	struct arm_vsmmu *vsmmu;
	u64 *page[4];
	u64 data_pa;
};

static void model_test_guest(struct model_test *mt, struct model_guest *guest)
{
	struct kunit *test = mt->test;
	struct iommufd_device *idev;
	struct iommufd_vdevice *vdev;
	u64 *cd, pa;
	int i;

	guest->parent = arm_smmu_fake_alloc_domain(mt->fm,
						   IOMMU_HWPT_ALLOC_NEST_PARENT);
	guest->vsmmu = arm_smmu_fake_alloc_vsmmu(mt->fake, guest->parent);
	idev = kunit_kzalloc(test, sizeof(*idev), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, idev);
	vdev = kunit_kzalloc(test, sizeof(*vdev), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, vdev);
	idev->dev = mt->fm->dev;
	vdev->idev = idev;
	vdev->virt_id = TEST_VSID;
	KUNIT_ASSERT_FALSE(test, xa_is_err(xa_store(&guest->vsmmu->core.vdevs,
						    TEST_VSID, vdev,
						    GFP_KERNEL)));

	for (i = 0; i < ARRAY_SIZE(guest->page); i++) {
		pa = smmu_model_page(mt->model, 0);
		guest->page[i] = phys_to_virt(pa);
		KUNIT_ASSERT_EQ(test, 0,
				iommu_map(guest->parent,
					  TEST_GUEST_IPA + i * SZ_4K, pa, SZ_4K,
					  TEST_RW, GFP_KERNEL));
	}
	guest->data_pa = model_test_map(mt, guest->parent, TEST_DATA_IPA, SZ_4K);
	smmu_model_track(mt->model, TEST_GUEST_VA);

	cd = guest->page[0];
	cd[0] = FIELD_PREP(CTXDESC_CD_0_TCR_T0SZ, 64 - 39) |
		FIELD_PREP(CTXDESC_CD_0_TCR_IPS, 4) | CTXDESC_CD_0_TCR_EPD1 |
		CTXDESC_CD_0_V | CTXDESC_CD_0_AA64 | CTXDESC_CD_0_R |
		CTXDESC_CD_0_A | FIELD_PREP(CTXDESC_CD_0_ASID, 5);
	cd[1] = TEST_GUEST_IPA + SZ_4K;
	/* Level 1, 2 and 3: tables, then a page with nG, AF, AP and type */
	guest->page[1][TEST_GUEST_VA >> 30 & 511] =
		(TEST_GUEST_IPA + 2 * SZ_4K) | 3;
	guest->page[2][TEST_GUEST_VA >> 21 & 511] =
		(TEST_GUEST_IPA + 3 * SZ_4K) | 3;
	guest->page[3][TEST_GUEST_VA >> 12 & 511] = TEST_DATA_IPA | 0xc43;

	guest->nested = arm_smmu_fake_alloc_nested(mt->fm, guest->vsmmu,
						   STRTAB_STE_0_CFG_S1_TRANS,
						   STRTAB_STE_1_EATS_TRANS);
	to_smmu_nested_domain(guest->nested)->ste[0] |=
		cpu_to_le64(TEST_GUEST_IPA);
}

/* Both stages, and what is left if only stage 2 is invalidated */
static void model_test_nested(struct kunit *test)
{
	struct model_guest guest;
	struct arm_smmu_cmd cmd;
	unsigned int reach = 0;
	struct model_test mt;
	int i;

	model_test_create(test, &mt, ARM_SMMU_FEAT_S2FWB, 0, true);
	model_test_guest(&mt, &guest);
	model_test_attach(&mt, guest.nested);
	for (i = 0; i < 16; i++) {
		smmu_model_fill(mt.model);
		model_test_expect_dma(&mt, SMMU_MODEL_NO_SSID,
				      TEST_GUEST_VA + i * 8, TEST_PROBE |
				      (i & 1 ? SMMU_MODEL_ATS : 0),
				      guest.data_pa + i * 8);
	}
	smmu_model_check(mt.model);

	/* The driver's own unmap */
	KUNIT_EXPECT_EQ(test, SZ_4K,
			iommu_unmap(guest.parent, TEST_DATA_IPA, SZ_4K));
	smmu_model_retire(mt.model, guest.data_pa, SZ_4K);
	model_test_expect_none(&mt, SMMU_MODEL_NO_SSID, TEST_GUEST_VA,
			       TEST_PROBE);

	/* Without S1_CLEAR */
	guest.data_pa = model_test_map(&mt, guest.parent, TEST_DATA_IPA, SZ_4K);
	model_test_attach(&mt, arm_smmu_fake_blocked(mt.fm));
	smmu_model_left(mt.dev, SMMU_MODEL_NO_SSID);
	smmu_model_check(mt.model);
	mt.fm->master->ats_always_on = false;
	model_test_attach(&mt, guest.nested);
	smmu_model_fill(mt.model);
	smmu_model_expect(mt.model, SMMU_MODEL_REACH);
	model_test_unmap(&mt, guest.parent, TEST_DATA_IPA, SZ_4K);
	cmd = arm_smmu_make_cmd_tlbi(CMDQ_OP_TLBI_S2_IPA, 0, guest.vsmmu->vmid);
	cmd.data[1] = TEST_DATA_IPA | CMDQ_TLBI_1_LEAF;
	KUNIT_ASSERT_EQ(test, 0,
			arm_smmu_cmdq_issue_cmd_p(&mt.fake->smmu, &cmd, true));
	smmu_model_retire(mt.model, guest.data_pa, SZ_4K);
	model_test_expect_fault(&mt, SMMU_MODEL_REACH, &reach);
	model_test_expect_dma(&mt, SMMU_MODEL_NO_SSID, TEST_GUEST_VA,
			      TEST_PROBE | SMMU_MODEL_CACHED, guest.data_pa);
	model_test_inv(guest.parent, TEST_DATA_IPA, SZ_4K, SZ_4K, true);
	reach = smmu_model_faults(mt.model, SMMU_MODEL_REACH);
	model_test_expect_none(&mt, SMMU_MODEL_NO_SSID, TEST_GUEST_VA,
			       TEST_PROBE | SMMU_MODEL_CACHED);
	KUNIT_EXPECT_EQ(test, reach,
			smmu_model_faults(mt.model, SMMU_MODEL_REACH));
	smmu_model_check(mt.model);
}
#endif

#if IS_ENABLED(CONFIG_ARM_SMMU_V3_SVA)
KUNIT_DEFINE_ACTION_WRAPPER(unbind_wrapper, iommu_sva_unbind_device,
			    struct iommu_sva *);

/* The page table of a process */
static void model_test_sva(struct kunit *test)
{
	struct iommu_sva *handle;
	struct model_test mt;
	unsigned long addr;
	struct page *page;
	u64 pa;
	u32 ssid;

	model_test_create(test, &mt, ARM_SMMU_FEAT_SVA, 4, true);
	addr = kunit_vm_mmap(test, NULL, 0, PAGE_SIZE, PROT_READ | PROT_WRITE,
			     MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_NE(test, addr, 0);
	KUNIT_ASSERT_EQ(test, 0, put_user(1, (int __user *)addr));
	KUNIT_ASSERT_EQ(test, 1, get_user_pages_fast(addr, 1, 0, &page));
	pa = page_to_phys(page);

	handle = iommu_sva_bind_device(mt.fm->dev, current->mm);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, handle);
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, unbind_wrapper,
							   handle));
	ssid = iommu_sva_get_pasid(handle);
	smmu_model_track(mt.model, addr);
	smmu_model_track_ssid(mt.dev, ssid);
	smmu_model_fill(mt.model);
	model_test_expect_dma(&mt, ssid, addr, TEST_PROBE, pa);
	model_test_expect_dma(&mt, ssid, addr, TEST_PROBE | SMMU_MODEL_ATS, pa);
	smmu_model_check(mt.model);
	KUNIT_EXPECT_EQ(test, 0, vm_munmap(addr, PAGE_SIZE));
	smmu_model_retire(mt.model, pa, PAGE_SIZE);
	put_page(page);
	model_test_expect_none(&mt, ssid, addr, TEST_PROBE);
	smmu_model_check(mt.model);
	kunit_release_action(test, unbind_wrapper, handle);
	smmu_model_left(mt.dev, ssid);
	smmu_model_check(mt.model);
}
#endif

static struct kunit_case model_test_cases[] = {
	KUNIT_CASE(model_test_s1),
	KUNIT_CASE(model_test_s1_range),
	KUNIT_CASE(model_test_s1_e2h),
	KUNIT_CASE(model_test_s1_16k),
	KUNIT_CASE(model_test_s1_64k),
	KUNIT_CASE(model_test_s2),
	KUNIT_CASE(model_test_s2_range),
	KUNIT_CASE(model_test_2lvl),
	KUNIT_CASE(model_test_no_tlbi),
	KUNIT_CASE(model_test_walk_cache),
	KUNIT_CASE(model_test_ats),
	KUNIT_CASE(model_test_dirty),
	KUNIT_CASE(model_test_stall),
	KUNIT_CASE(model_test_illegal),
	KUNIT_CASE(model_test_adversary),
#if IS_ENABLED(CONFIG_ARM_SMMU_V3_SVA)
	KUNIT_CASE(model_test_sva),
#endif
#if IS_ENABLED(CONFIG_ARM_SMMU_V3_IOMMUFD)
	KUNIT_CASE(model_test_nested),
#endif
	{}
};

static struct kunit_suite model_test_suite = {
	.name = "arm-smmu-v3-model",
	.test_cases = model_test_cases,
};

kunit_test_suite(model_test_suite);
