// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of the model itself, on tables that the test writes: a command
 * removes what it must and no more, and the oracle notices what is forgotten.
 */
#include "model.h"

#define SID		1
#define PASID		3
#define ASID_PASID	7
#define VMID		9
#define VA		0x40000000ULL
#define IPA		0x80000000ULL
#define DATA_IPA	(IPA + 8 * SZ_4K)

/* AF, AP, and nG in stage 1 */
#define S1_BLOCK	0xc41ULL
#define S1_PAGE		0xc43ULL
#define S2_PAGE		0x4c3ULL
#define TABLE		3ULL
#define DBM_CLEAN	(BIT_ULL(51) | BIT_ULL(7))

enum { CDS, LEVEL1, LEVEL2, LEVEL3, S2_LEVEL1, S2_LEVEL2, S2_LEVEL3, NUM_PAGES };

struct self {
	struct kunit *test;
	struct smmu_model *model;
	struct arm_smmu_fake *fake;
	struct arm_smmu_fake_master *fm;
	struct smmu_model_dev *dev;
	u16 asid;
	u64 *ste;
	u64 *pages[NUM_PAGES];
	/* What the device uses, and where that is in the end */
	u64 *leaf;
	u64 addr;
	u64 pa;
};

/* Where the SMMU finds a page: an IPA if stage 2 is on, too */
static u64 where(struct self *s, unsigned int cfg, unsigned int page)
{
	return cfg == STRTAB_STE_0_CFG_NESTED ? IPA + page * SZ_4K :
						virt_to_phys(s->pages[page]);
}

static void write_cd(struct self *s, unsigned int cfg, u32 ssid, u16 asid)
{
	u64 *cd = s->pages[CDS] + ssid * CTXDESC_CD_DWORDS;

	cd[0] = FIELD_PREP(CTXDESC_CD_0_TCR_T0SZ, 64 - 39) |
		FIELD_PREP(CTXDESC_CD_0_TCR_IPS, 4) | CTXDESC_CD_0_TCR_EPD1 |
		CTXDESC_CD_0_V | CTXDESC_CD_0_AA64 | CTXDESC_CD_0_R |
		CTXDESC_CD_0_A | FIELD_PREP(CTXDESC_CD_0_ASID, asid);
	cd[1] = where(s, cfg, LEVEL1);
}

static struct self *create(struct kunit *test, u32 features, unsigned int cfg,
			   bool block)
{
	struct self *s = kunit_kzalloc(test, sizeof(*s), GFP_KERNEL);
	struct iommu_domain *domain;
	const u32 sid = SID;
	u64 out, vtcr;
	int i;

	KUNIT_ASSERT_NOT_NULL(test, s);
	s->test = test;
	s->model = smmu_model_create(test, 42);
	s->fake = arm_smmu_fake_create(test, 8);
	s->fake->smmu.features |= features;
	smmu_model_add_smmu(s->model, s->fake);
	s->fm = arm_smmu_fake_add_pci_master(s->fake, &sid, 1, 4);
	s->fm->master->stall_enabled = features & ARM_SMMU_FEAT_STALLS;
	s->dev = smmu_model_add_dev(s->model, s->fm);
	for (i = 0; i < NUM_PAGES; i++) {
		s->pages[i] = kunit_kzalloc(test, SZ_4K, GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(test, s->pages[i]);
	}
	/* The driver turns ATS on, its STE is overwritten then */
	domain = arm_smmu_fake_alloc_domain(s->fm, 0);
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(s->fm, domain));
	s->asid = arm_smmu_fake_hw_id(s->fm, IOMMU_NO_PASID);
	s->pa = smmu_model_pa(s->model, SZ_2M);
	s->addr = cfg == STRTAB_STE_0_CFG_S2_TRANS ? DATA_IPA : VA;
	out = cfg == STRTAB_STE_0_CFG_NESTED ? DATA_IPA : s->pa;

	s->pages[LEVEL1][VA / SZ_1G] = where(s, cfg, LEVEL2) | TABLE;
	s->pages[LEVEL2][0] = block ? s->pa | S1_BLOCK :
				      where(s, cfg, LEVEL3) | TABLE;
	s->pages[LEVEL3][0] = out | S1_PAGE;
	s->leaf = block ? s->pages[LEVEL2] : s->pages[LEVEL3];
	s->pages[S2_LEVEL1][IPA / SZ_1G] =
		virt_to_phys(s->pages[S2_LEVEL2]) | TABLE;
	s->pages[S2_LEVEL2][0] = virt_to_phys(s->pages[S2_LEVEL3]) | TABLE;
	for (i = 0; i <= LEVEL3; i++)
		s->pages[S2_LEVEL3][i] = virt_to_phys(s->pages[i]) | S2_PAGE;
	s->pages[S2_LEVEL3][8] = s->pa | S2_PAGE;
	write_cd(s, cfg, 0, s->asid);
	write_cd(s, cfg, PASID, ASID_PASID);

	s->ste = (u64 *)arm_smmu_fake_ste(s->fm)->data;
	s->ste[0] = STRTAB_STE_0_V | FIELD_PREP(STRTAB_STE_0_CFG, cfg) |
		    FIELD_PREP(STRTAB_STE_0_S1CDMAX, 4) | where(s, cfg, CDS);
	s->ste[1] = FIELD_PREP(STRTAB_STE_1_S1DSS, STRTAB_STE_1_S1DSS_SSID0) |
		    FIELD_PREP(STRTAB_STE_1_EATS, STRTAB_STE_1_EATS_TRANS);
	if (features & ARM_SMMU_FEAT_E2H)
		s->ste[1] |= FIELD_PREP(STRTAB_STE_1_STRW,
					STRTAB_STE_1_STRW_EL2);
	vtcr = FIELD_PREP(STRTAB_STE_2_VTCR_S2T0SZ, 64 - 39) |
	       FIELD_PREP(STRTAB_STE_2_VTCR_S2SL0, 1) |
	       FIELD_PREP(STRTAB_STE_2_VTCR_S2PS, 4);
	if (cfg & 2)
		s->ste[2] = FIELD_PREP(STRTAB_STE_2_S2VMID, VMID) |
			    FIELD_PREP(STRTAB_STE_2_VTCR, vtcr) |
			    STRTAB_STE_2_S2AA64 | STRTAB_STE_2_S2R;
	s->ste[3] = cfg & 2 ? virt_to_phys(s->pages[S2_LEVEL1]) : 0;
	return s;
}

static void issue(struct self *s, u64 data0, u64 data1, bool sync)
{
	struct arm_smmu_cmd cmd = { .data = { data0, data1 } };

	KUNIT_ASSERT_EQ(s->test, 0,
			arm_smmu_cmdq_issue_cmd_p(&s->fake->smmu, &cmd, sync));
}

/* Fill all caches, then leave them as they are */
static void fill_all(struct self *s)
{
	int i;

	smmu_model_track(s->model, s->addr);
	for (i = 0; i < 16; i++)
		smmu_model_fill(s->model);
	smmu_model_untrack(s->model, s->addr);
}

#define T1		BIT(MODEL_TABLE1)
#define L1		BIT(MODEL_S1)
#define L12		BIT(MODEL_S12)
#define T2		BIT(MODEL_TABLE2)
#define L2		BIT(MODEL_S2)
#define A		BIT(MODEL_ATC_ENTRY)
/* Those with PASID, under an ASID of their own */
#define P(kinds)	((kinds) << 16)
#define PP(kinds)	((kinds) * 0x10001)

/* Without an ASID a command has that of the driver */
#define OF_ASID(id)	FIELD_PREP_CONST(CMDQ_TLBI_0_ASID, id)
#define OF_VMID(id)	FIELD_PREP_CONST(CMDQ_TLBI_0_VMID, id)
#define NUM(num)	FIELD_PREP_CONST(CMDQ_TLBI_0_NUM, num)
#define SCALE(scale)	FIELD_PREP_CONST(CMDQ_TLBI_0_SCALE, scale)
#define TTL(ttl)	(FIELD_PREP_CONST(CMDQ_TLBI_1_TG, 1) | \
			 FIELD_PREP_CONST(CMDQ_TLBI_1_TTL, ttl))
#define LEAF		CMDQ_TLBI_1_LEAF
#define ATC(sid, ssid)	(CMDQ_OP_ATC_INV | FIELD_PREP_CONST(CMDQ_ATC_0_SID, sid) | \
			 FIELD_PREP_CONST(CMDQ_ATC_0_SSID, ssid))

struct row {
	u64 data0;
	u64 data1;
	/* What is left of all that there is */
	u32 left;
};

static const struct row s1_rows[] = {
	{ CMDQ_OP_TLBI_NH_ALL, 0, PP(A) },
	{ CMDQ_OP_TLBI_NH_ALL | OF_VMID(1), 0, PP(T1 | L1 | A) },
	{ CMDQ_OP_TLBI_S12_VMALL, 0, PP(A) },
	{ CMDQ_OP_TLBI_NSNH_ALL, 0, PP(A) },
	{ CMDQ_OP_TLBI_NH_ASID, 0, P(T1 | L1 | A) | A },
	{ CMDQ_OP_TLBI_NH_ASID | OF_ASID(ASID_PASID), 0, T1 | L1 | PP(A) },
	{ CMDQ_OP_TLBI_NH_VA, VA, P(T1 | L1) | PP(A) },
	{ CMDQ_OP_TLBI_NH_VA, VA | LEAF, P(T1 | L1) | T1 | PP(A) },
	{ CMDQ_OP_TLBI_NH_VA, VA + SZ_4K, PP(L1 | A) | P(T1) },
	{ CMDQ_OP_TLBI_NH_VAA, VA, PP(A) },
	{ CMDQ_OP_TLBI_NH_VAA, VA | LEAF, PP(T1 | A) },
	{ CMDQ_OP_TLBI_NH_VAA, VA + SZ_4K, PP(L1 | A) },
	{ CMDQ_OP_TLBI_NH_VAA, VA | TTL(3) | LEAF, PP(T1 | A) },
	{ CMDQ_OP_TLBI_NH_VAA, VA | TTL(2) | LEAF, PP(T1 | L1 | A) },
	{ CMDQ_OP_TLBI_NH_VAA | NUM(1), (VA - SZ_4K) | TTL(3) | LEAF,
	  PP(T1 | A) },
	{ CMDQ_OP_TLBI_NH_VAA | NUM(1), (VA - SZ_8K) | TTL(3) | LEAF,
	  PP(T1 | L1 | A) },
	{ CMDQ_OP_TLBI_NH_VAA | NUM(2) | SCALE(4), (VA - 47 * SZ_4K) | TTL(0),
	  PP(A) },
	{ CMDQ_OP_TLBI_NH_VAA | NUM(2) | SCALE(4),
	  (VA - 48 * SZ_4K) | TTL(3) | LEAF, PP(T1 | L1 | A) },
	{ ATC(SID, 0), VA, PP(T1 | L1) },
	{ ATC(SID + 1, 0), VA, PP(T1 | L1 | A) },
	{ ATC(SID, 0), VA + SZ_4K, PP(T1 | L1 | A) },
	/* Aligned to its size */
	{ ATC(SID, 0), (VA + SZ_4K) | 1, PP(T1 | L1) },
	{ ATC(SID, PASID) | CMDQ_0_SSV, VA, PP(T1 | L1) | A },
	{ ATC(SID, 0) | CMDQ_0_SSV | CMDQ_ATC_0_GLOBAL, ATC_INV_SIZE_ALL,
	  PP(T1 | L1) | A },
};

static const struct row block_rows[] = {
	{ CMDQ_OP_TLBI_NH_VAA, VA | TTL(3) | LEAF, PP(T1 | L1 | A) },
	{ CMDQ_OP_TLBI_NH_VAA, VA | TTL(2) | LEAF, PP(T1 | A) },
	{ CMDQ_OP_TLBI_NH_VAA, (VA + SZ_1M) | LEAF, PP(T1 | A) },
};

static const struct row el2_rows[] = {
	{ CMDQ_OP_TLBI_NH_ALL, 0, PP(T1 | L1 | A) },
	{ CMDQ_OP_TLBI_NSNH_ALL, 0, PP(T1 | L1 | A) },
	{ CMDQ_OP_TLBI_EL2_ALL, 0, PP(A) },
	{ CMDQ_OP_TLBI_EL2_ASID, 0, P(T1 | L1) | PP(A) },
	{ CMDQ_OP_TLBI_EL2_VA, VA | LEAF, P(T1 | L1) | T1 | PP(A) },
};

static const struct row s2_rows[] = {
	{ CMDQ_OP_TLBI_NH_ALL | OF_VMID(VMID), 0, T2 | L2 | A },
	{ CMDQ_OP_TLBI_S12_VMALL | OF_VMID(VMID), 0, A },
	{ CMDQ_OP_TLBI_S12_VMALL, 0, T2 | L2 | A },
	{ CMDQ_OP_TLBI_S2_IPA | OF_VMID(VMID), DATA_IPA | LEAF, T2 | A },
	{ CMDQ_OP_TLBI_S2_IPA | OF_VMID(VMID), DATA_IPA | TTL(3), A },
	{ CMDQ_OP_TLBI_S2_IPA | OF_VMID(VMID), DATA_IPA + SZ_4K, L2 | A },
	{ CMDQ_OP_TLBI_S2_IPA, DATA_IPA, T2 | L2 | A },
};

/* PASIDs have the stage 2 in common */
static const struct row nested_rows[] = {
	{ CMDQ_OP_TLBI_NH_ALL | OF_VMID(VMID), 0, PP(A) | T2 | L2 },
	{ CMDQ_OP_TLBI_NH_VAA | OF_VMID(VMID), VA | LEAF,
	  PP(T1 | A) | T2 | L2 },
	{ CMDQ_OP_TLBI_NH_ASID | OF_VMID(VMID), 0,
	  P(T1 | L1 | L12) | PP(A) | T2 | L2 },
	{ CMDQ_OP_TLBI_S12_VMALL | OF_VMID(VMID), 0, PP(A) },
	/* The entries of both stages stay, and the IPAs of tables */
	{ CMDQ_OP_TLBI_S2_IPA | OF_VMID(VMID), DATA_IPA,
	  PP(T1 | L1 | L12 | A) | L2 },
	{ CMDQ_OP_TLBI_NSNH_ALL, 0, PP(A) },
};

static void test_rows(struct kunit *test, u32 features, unsigned int cfg,
		      bool block, const struct row *rows, unsigned int num)
{
	struct self *s = create(test, features, cfg, block);
	bool has_s1 = cfg != STRTAB_STE_0_CFG_S2_TRANS;
	u32 all = has_s1 ? PP(T1 | L1 | A) : A;
	u64 pa;

	if (cfg & 2)
		all |= T2 | L2;
	if (cfg == STRTAB_STE_0_CFG_NESTED)
		all |= PP(L12);
	smmu_model_track_ssid(s->dev, PASID);
	for (; num--; rows++) {
		u64 data0 = rows->data0;

		switch (data0 & CMDQ_0_OP) {
		case CMDQ_OP_TLBI_NH_ASID:
		case CMDQ_OP_TLBI_NH_VA:
		case CMDQ_OP_TLBI_EL2_ASID:
		case CMDQ_OP_TLBI_EL2_VA:
			if (!(data0 & CMDQ_TLBI_0_ASID))
				data0 |= OF_ASID(s->asid);
		}
		fill_all(s);
		KUNIT_EXPECT_EQ(test, all,
				smmu_model_kinds(s->model, ASID_PASID));
		issue(s, data0, rows->data1, true);
		KUNIT_EXPECT_EQ_MSG(test, rows->left,
				    smmu_model_kinds(s->model, ASID_PASID),
				    "command %#llx %#llx", rows->data0,
				    rows->data1);
	}
	KUNIT_EXPECT_EQ(test, 0, smmu_model_dma(s->dev, MODEL_NO_SSID,
						s->addr + 8, MODEL_ATS, &pa));
	KUNIT_EXPECT_EQ(test, pa, s->pa + 8);
	if (has_s1)
		KUNIT_EXPECT_EQ(test, 0, smmu_model_dma(s->dev, PASID, s->addr,
							MODEL_FRESH, &pa));
	KUNIT_EXPECT_EQ(test, -EFAULT,
			smmu_model_dma(s->dev, 5, s->addr, 0, &pa));
	KUNIT_EXPECT_EQ(test, s->model->stats.events, 1);
}

static void test_commands(struct kunit *test)
{
	const u32 ril = ARM_SMMU_FEAT_RANGE_INV;

	test_rows(test, ril, STRTAB_STE_0_CFG_S1_TRANS, false, s1_rows,
		  ARRAY_SIZE(s1_rows));
	test_rows(test, ril, STRTAB_STE_0_CFG_S1_TRANS, true, block_rows,
		  ARRAY_SIZE(block_rows));
	test_rows(test, ril | ARM_SMMU_FEAT_E2H, STRTAB_STE_0_CFG_S1_TRANS,
		  false, el2_rows, ARRAY_SIZE(el2_rows));
	test_rows(test, ril, STRTAB_STE_0_CFG_S2_TRANS, false, s2_rows,
		  ARRAY_SIZE(s2_rows));
	test_rows(test, ril, STRTAB_STE_0_CFG_NESTED, false, nested_rows,
		  ARRAY_SIZE(nested_rows));
}

/* What is illegal is noticed, in the STE, in the CD, and in commands */
static void test_illegal(struct kunit *test)
{
	static const struct {
		bool cd;
		u8 word;
		u64 flip;
	} fields[] = {
		{ false, 0, BIT(1) | BIT(3) },
		{ false, 0, FIELD_PREP_CONST(STRTAB_STE_0_S1FMT, 1) },
		{ false, 0, FIELD_PREP_CONST(STRTAB_STE_0_S1CDMAX, 16) },
		{ false, 1, STRTAB_STE_1_S2FWB },
		{ false, 1, FIELD_PREP_CONST(STRTAB_STE_1_EATS, 3) },
		{ false, 2, BIT_ULL(63) },
		{ false, 2, STRTAB_STE_2_S2AA64 },
		{ false, 2, BIT_ULL(32 + 15) },
		{ false, 3, BIT_ULL(4) },
		{ false, 5, BIT(0) },
		{ true, 0, CTXDESC_CD_0_TCR_HA },
		{ true, 0, CTXDESC_CD_0_TCR_EPD1 },
		{ true, 0, FIELD_PREP_CONST(CTXDESC_CD_0_TCR_TG0, 3) },
		{ true, 1, BIT_ULL(4) },
		{ true, 6, BIT(0) },
	};
	static const struct arm_smmu_cmd cmds[] = {
		{ { 0xff, 0 } },
		{ { CMDQ_OP_TLBI_NH_ASID, 1 } },
		{ { CMDQ_OP_TLBI_NH_ALL | OF_ASID(1), 0 } },
		{ { CMDQ_OP_TLBI_EL2_ALL, 0 } },
		/* There are no ranges */
		{ { CMDQ_OP_TLBI_NH_VA, VA | TTL(3) } },
		{ { ATC(SID, PASID), VA } },
		{ { ATC(SID, 0), 63 } },
	};
	struct self *s = create(test, 0, STRTAB_STE_0_CFG_NESTED, false);
	unsigned int i, num = 0;
	u64 pa, *p;

	s->model->expected[MODEL_ILLEGAL] = true;
	for (i = 0; i < ARRAY_SIZE(fields); i++) {
		p = (fields[i].cd ? s->pages[CDS] : s->ste) + fields[i].word;
		*p ^= fields[i].flip;
		smmu_model_dma(s->dev, MODEL_NO_SSID, VA,
			       MODEL_FRESH | MODEL_QUIET, &pa);
		*p ^= fields[i].flip;
		KUNIT_EXPECT_EQ_MSG(test, s->model->faults[MODEL_ILLEGAL],
				    ++num, "field %u", i);
	}
	for (i = 0; i < ARRAY_SIZE(cmds); i++) {
		issue(s, cmds[i].data[0], cmds[i].data[1], true);
		KUNIT_EXPECT_EQ_MSG(test, s->model->faults[MODEL_ILLEGAL],
				    ++num, "command %u", i);
	}
}

/* Each lapse of a driver is noticed, and nothing else */
static void test_oracle(struct kunit *test)
{
	static const struct {
		enum { IN_STE, IN_CD, IN_LEAF } where;
		u64 flip;
		u64 op;
		unsigned long faults;
	} lapses[] = {
		{ IN_LEAF, BIT(0), 0, BIT(MODEL_REACH) | BIT(MODEL_STALE) },
		/* Clean again */
		{ IN_LEAF, BIT(7), 0, BIT(MODEL_STALE) },
		{ IN_CD, CTXDESC_CD_0_A, 0, BIT(MODEL_STALE) },
		{ IN_CD, BIT_ULL(48), CMDQ_OP_CFGI_CD, BIT(MODEL_TAG) },
		/* Abort */
		{ IN_STE, FIELD_PREP_CONST(STRTAB_STE_0_CFG, 5),
		  CMDQ_OP_CFGI_STE, BIT(MODEL_ATC) },
	};
	unsigned int i, j;
	struct self *s;
	u64 pa, *p;

	for (i = 0; i < ARRAY_SIZE(lapses); i++) {
		s = create(test, ARM_SMMU_FEAT_HA | ARM_SMMU_FEAT_HD,
			   STRTAB_STE_0_CFG_S1_TRANS, false);
		s->pages[CDS][0] |= CTXDESC_CD_0_TCR_HA | CTXDESC_CD_0_TCR_HD;
		/* HTTU makes it writable */
		*s->leaf |= DBM_CLEAN;
		KUNIT_EXPECT_EQ(test, 0, smmu_model_dma(s->dev, MODEL_NO_SSID,
							VA, MODEL_WRITE, &pa));
		KUNIT_EXPECT_EQ(test, s->model->stats.httu, 1);
		issue(s, CMDQ_OP_TLBI_NH_ALL, 0, true);
		fill_all(s);
		smmu_model_check(s->model);
		for (j = 0; j < MODEL_NUM_FAULTS; j++) {
			KUNIT_EXPECT_EQ(test, s->model->faults[j], 0);
			s->model->expected[j] = true;
		}

		p = lapses[i].where == IN_STE ? s->ste :
		    lapses[i].where == IN_CD ? s->pages[CDS] : s->leaf;
		WRITE_ONCE(*p, *p ^ lapses[i].flip);
		if (lapses[i].op)
			issue(s, lapses[i].op |
			      FIELD_PREP(CMDQ_CFGI_0_SID, SID),
			      CMDQ_CFGI_1_LEAF, true);
		if (lapses[i].faults & BIT(MODEL_REACH))
			smmu_model_retire(s->model, s->pa, SZ_4K);
		smmu_model_check(s->model);
		for_each_set_bit(j, &lapses[i].faults, MODEL_NUM_FAULTS)
			KUNIT_EXPECT_GT_MSG(test, s->model->faults[j], 0,
					    "lapse %u", i);
	}
}

/* The ATC is filled from the TLB unless a CMD_SYNC is between their commands */
static void test_order(struct kunit *test)
{
	struct self *s = create(test, 0, STRTAB_STE_0_CFG_NESTED, false);
	unsigned int i, sync;
	u32 left[2] = {};

	for (i = 0; i < 16; i++) {
		for (sync = 0; sync < 2; sync++) {
			fill_all(s);
			smmu_model_track(s->model, VA);
			WRITE_ONCE(*s->leaf, 0);
			issue(s, CMDQ_OP_TLBI_NH_ALL | OF_VMID(VMID), 0, sync);
			issue(s, ATC(SID, 0), VA, true);
			left[sync] |= smmu_model_kinds(s->model, ASID_PASID) & (A | L12);
			smmu_model_untrack(s->model, VA);
			issue(s, ATC(SID, 0), VA, true);
			*s->leaf = DATA_IPA | S1_PAGE;
		}
	}
	KUNIT_EXPECT_EQ(test, left[0], A);
	KUNIT_EXPECT_EQ(test, left[1], 0);
}

/* A transaction that stalls ends with CMD_RESUME, others with an event */
static void test_stall(struct kunit *test)
{
	struct self *s = create(test, ARM_SMMU_FEAT_STALLS,
				STRTAB_STE_0_CFG_S1_TRANS, false);
	const u64 resume = CMDQ_OP_RESUME | FIELD_PREP(CMDQ_RESUME_0_SID, SID);
	static const u64 descs[] = { 0, S1_PAGE & ~BIT(10), S1_PAGE | BIT(7) };
	int i;
	u64 pa;

	for (i = 0; i < ARRAY_SIZE(descs); i++) {
		*s->leaf = descs[i] ? s->pa | descs[i] : 0;
		KUNIT_EXPECT_EQ(test, -EFAULT,
				smmu_model_dma(s->dev, MODEL_NO_SSID, VA,
					       MODEL_WRITE | MODEL_FRESH, &pa));
	}
	KUNIT_EXPECT_EQ(test, s->model->stats.events, 3);
	s->pages[CDS][0] |= CTXDESC_CD_0_S;
	for (i = 0; i < 2; i++) {
		KUNIT_EXPECT_EQ(test, -EINPROGRESS,
				smmu_model_dma(s->dev, MODEL_NO_SSID, VA,
					       MODEL_WRITE | MODEL_FRESH, &pa));
		/* Of another transaction */
		issue(s, resume, s->dev->stag + 1, true);
		KUNIT_EXPECT_EQ(test, s->dev->stall, -EINPROGRESS);
		issue(s, resume | FIELD_PREP(CMDQ_RESUME_0_RESP, 1 + i),
		      s->dev->stag, true);
		KUNIT_EXPECT_EQ(test, s->dev->stall, i ? -EFAULT : -EAGAIN);
	}
	arm_smmu_fake_handle_events(s->fake);
	arm_smmu_fake_drop_cmds(s->fake);
}

static struct kunit_case model_cases[] = {
	KUNIT_CASE(test_commands),
	KUNIT_CASE(test_illegal),
	KUNIT_CASE(test_oracle),
	KUNIT_CASE(test_order),
	KUNIT_CASE(test_stall),
	{}
};

static struct kunit_suite model_suite = {
	.name = "arm-smmu-v3-model",
	.test_cases = model_cases,
};

kunit_test_suite(model_suite);
