// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of the model itself, on tables that the test writes: a command removes
 * the entries that it has to and no others, and missing invalidations are detected.
 */
#include "model.h"

#define SID		1
#define PASID		3
#define ASID_OWN	1
#define ASID_PASID	7
#define VMID		9
#define VA		0x40000000ULL
#define IPA		0x80000000ULL
#define DATA_IPA	(IPA + 8 * SZ_4K)

/* AF, AP, and nG in stage 1 */
#define S1_PAGE		0xc43ULL
#define S2_PAGE		0x4c3ULL
#define TABLE		3ULL
#define DBM_CLEAN	(BIT_ULL(51) | BIT_ULL(7))

/* Values of STE.Config, and stage 1 with the StreamWorld EL2-E2H */
#define S1		STRTAB_STE_0_CFG_S1_TRANS
#define S2		STRTAB_STE_0_CFG_S2_TRANS
#define NESTED		STRTAB_STE_0_CFG_NESTED
#define EL2		(BIT(3) | S1)

enum { CDS, LEVEL1, LEVEL2, LEVEL3, S2_LEVEL1, S2_LEVEL2, S2_LEVEL3, NUM_PAGES };

struct self {
	struct smmu_model *model;
	struct arm_smmu_fake *fake;
	struct smmu_model_dev *dev;
	unsigned int cfg;
	u64 *ste;
	u64 *pages[NUM_PAGES];
	/* The output address of the device */
	u64 pa;
};

/* The address of a page in an STE, CD or table of stage 1: an IPA with both stages */
static u64 where(struct self *s, unsigned int page)
{
	return s->cfg == NESTED ? IPA + page * SZ_4K : virt_to_phys(s->pages[page]);
}

static void write_cd(struct self *s, u32 ssid, u16 asid)
{
	u64 *cd = s->pages[CDS] + ssid * CTXDESC_CD_DWORDS;

	cd[0] = FIELD_PREP(CTXDESC_CD_0_TCR_T0SZ, 64 - 39) |
		FIELD_PREP(CTXDESC_CD_0_TCR_IPS, 4) | CTXDESC_CD_0_TCR_EPD1 |
		CTXDESC_CD_0_V | CTXDESC_CD_0_AA64 | CTXDESC_CD_0_R | CTXDESC_CD_0_A |
		FIELD_PREP(CTXDESC_CD_0_ASID, asid);
	cd[1] = where(s, LEVEL1);
}

static void write_ste(struct self *s)
{
	u64 vtcr = FIELD_PREP(STRTAB_STE_2_VTCR_S2T0SZ, 64 - 39) |
		   FIELD_PREP(STRTAB_STE_2_VTCR_S2SL0, 1) | FIELD_PREP(STRTAB_STE_2_VTCR_S2PS, 4);
	bool e2h = s->fake->smmu.features & ARM_SMMU_FEAT_E2H;

	s->ste = (u64 *)arm_smmu_fake_ste(s->dev->fm)->data;
	s->ste[0] = STRTAB_STE_0_V | FIELD_PREP(STRTAB_STE_0_CFG, s->cfg) |
		    FIELD_PREP(STRTAB_STE_0_S1CDMAX, 4) | where(s, CDS);
	s->ste[1] = FIELD_PREP(STRTAB_STE_1_S1DSS, STRTAB_STE_1_S1DSS_SSID0) |
		    FIELD_PREP(STRTAB_STE_1_EATS, STRTAB_STE_1_EATS_TRANS) |
		    FIELD_PREP(STRTAB_STE_1_STRW, e2h ? STRTAB_STE_1_STRW_EL2 : 0);
	s->ste[2] = s->cfg == S1 ? 0 : FIELD_PREP(STRTAB_STE_2_S2VMID, VMID) |
				       FIELD_PREP(STRTAB_STE_2_VTCR, vtcr) |
				       STRTAB_STE_2_S2AA64 | STRTAB_STE_2_S2R;
	s->ste[3] = s->cfg == S1 ? 0 : virt_to_phys(s->pages[S2_LEVEL1]);
}

static void write_tables(struct self *s)
{
	u64 **p = s->pages;
	int i;

	p[LEVEL1][VA / SZ_1G] = where(s, LEVEL2) | TABLE;
	p[LEVEL2][0] = where(s, LEVEL3) | TABLE;
	p[LEVEL3][0] = (s->cfg == NESTED ? DATA_IPA : s->pa) | S1_PAGE;
	p[S2_LEVEL1][IPA / SZ_1G] = virt_to_phys(p[S2_LEVEL2]) | TABLE;
	p[S2_LEVEL2][0] = virt_to_phys(p[S2_LEVEL3]) | TABLE;
	for (i = 0; i <= LEVEL3; i++)
		p[S2_LEVEL3][i] = virt_to_phys(p[i]) | S2_PAGE;
	p[S2_LEVEL3][8] = s->pa | S2_PAGE;
}

static struct self *create(struct kunit *test, u32 features, unsigned int cfg)
{
	struct self *s = arm_smmu_fake_zalloc(test, sizeof(*s));
	struct arm_smmu_fake_master *fm;
	const u32 sid = SID;
	int i;

	s->cfg = cfg & ~BIT(3);
	s->model = smmu_model_create(test, 42);
	s->fake = arm_smmu_fake_create(test, 8);
	s->fake->smmu.features |= features | (cfg == EL2 ? ARM_SMMU_FEAT_E2H : 0);
	smmu_model_add_smmu(s->model, s->fake);
	fm = arm_smmu_fake_add_pci_master(s->fake, &sid, 1, 4);
	fm->master->stall_enabled = features & ARM_SMMU_FEAT_STALLS;
	s->dev = smmu_model_add_dev(s->model, fm);
	for (i = 0; i < NUM_PAGES; i++)
		s->pages[i] = arm_smmu_fake_zalloc(test, SZ_4K);
	/* This enables ATS. The STE is overwritten below. */
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(fm, arm_smmu_fake_alloc_domain(fm, 0)));
	KUNIT_ASSERT_EQ(test, ASID_OWN, arm_smmu_fake_hw_id(fm, IOMMU_NO_PASID));
	s->pa = smmu_model_pa(s->model, SZ_4K);
	write_tables(s);
	write_cd(s, 0, ASID_OWN);
	write_cd(s, PASID, ASID_PASID);
	write_ste(s);
	return s;
}

static void issue(struct self *s, u64 data0, u64 data1, bool sync)
{
	struct arm_smmu_cmd cmd = { .data = { data0, data1 } };

	KUNIT_ASSERT_EQ(s->model->test, 0, arm_smmu_cmdq_issue_cmd_p(&s->fake->smmu, &cmd, sync));
}

static void fill_all(struct self *s)
{
	u64 addr = s->cfg == S2 ? DATA_IPA : VA;
	int i;

	smmu_model_track(&s->model->tracked, addr);
	for (i = 0; i < 16; i++)
		smmu_model_fill(s->model, true);
	smmu_model_untrack(&s->model->tracked, addr);
}

#define T1		BIT(MODEL_TABLE1)
#define L1		BIT(MODEL_S1)
#define L12		BIT(MODEL_S12)
#define T2		BIT(MODEL_TABLE2)
#define L2		BIT(MODEL_S2)
#define A		BIT(MODEL_ATC_ENTRY)
/* Entries with PASID, whose ASID is ASID_PASID; and entries with and without PASID */
#define P(types)	((types) << 16)
#define PP(types)	((types) * 0x10001)

#define OP(name)	CMDQ_OP_TLBI_##name
#define OF_ASID(id)	FIELD_PREP_CONST(CMDQ_TLBI_0_ASID, id)
#define OF_VMID(id)	FIELD_PREP_CONST(CMDQ_TLBI_0_VMID, id)
#define NUM(num)	FIELD_PREP_CONST(CMDQ_TLBI_0_NUM, num)
#define SCALE(scale)	FIELD_PREP_CONST(CMDQ_TLBI_0_SCALE, scale)
#define TTL(ttl)	(FIELD_PREP_CONST(CMDQ_TLBI_1_TG, 1) | \
			 FIELD_PREP_CONST(CMDQ_TLBI_1_TTL, ttl))
#define LEAF		CMDQ_TLBI_1_LEAF
#define ATC(sid, ssid)	(CMDQ_OP_ATC_INV | FIELD_PREP_CONST(CMDQ_ATC_0_SID, sid) | \
			 FIELD_PREP_CONST(CMDQ_ATC_0_SSID, ssid))

/* A command, and the types of entries that it does not remove */
static const struct row {
	unsigned int cfg;
	u64 data0;
	u64 data1;
	u32 left;
} rows[] = {
	{ S1, OP(NH_ALL) | OF_VMID(1), 0, PP(T1 | L1 | A) },
	{ S1, OP(NSNH_ALL), 0, PP(A) },
	{ S1, OP(NH_ASID) | OF_ASID(ASID_OWN), 0, P(T1 | L1 | A) | A },
	{ S1, OP(NH_VA) | OF_ASID(ASID_OWN), VA, P(T1 | L1) | PP(A) },
	{ S1, OP(NH_VA) | OF_ASID(ASID_OWN), VA | LEAF, P(T1 | L1) | T1 | PP(A) },
	{ S1, OP(NH_VAA), VA + SZ_4K, PP(L1 | A) },
	{ S1, OP(NH_VAA), VA | TTL(3) | LEAF, PP(T1 | A) },
	{ S1, OP(NH_VAA), VA | TTL(2) | LEAF, PP(T1 | L1 | A) },
	{ S1, OP(NH_VAA) | NUM(1), (VA - SZ_4K) | TTL(3) | LEAF, PP(T1 | A) },
	{ S1, OP(NH_VAA) | NUM(1), (VA - SZ_8K) | TTL(3) | LEAF, PP(T1 | L1 | A) },
	{ S1, OP(NH_VAA) | NUM(2) | SCALE(4), (VA - 47 * SZ_4K) | TTL(0), PP(A) },
	{ S1, OP(NH_VAA) | NUM(2) | SCALE(4), (VA - 48 * SZ_4K) | TTL(3), PP(T1 | L1 | A) },
	{ S1, ATC(SID, 0), VA, PP(T1 | L1) },
	{ S1, ATC(SID + 1, 0), VA, PP(T1 | L1 | A) },
	{ S1, ATC(SID, 0), VA + SZ_4K, PP(T1 | L1 | A) },
	/* Aligned to its size */
	{ S1, ATC(SID, 0), (VA + SZ_4K) | 1, PP(T1 | L1) },
	{ S1, ATC(SID, PASID) | CMDQ_0_SSV, VA, PP(T1 | L1) | A },
	{ S1, ATC(SID, 0) | CMDQ_0_SSV | CMDQ_ATC_0_GLOBAL, ATC_INV_SIZE_ALL, PP(T1 | L1) | A },
	{ EL2, OP(NSNH_ALL), 0, PP(T1 | L1 | A) },
	{ EL2, OP(EL2_ALL), 0, PP(A) },
	{ EL2, OP(EL2_ASID) | OF_ASID(ASID_OWN), 0, P(T1 | L1) | PP(A) },
	{ EL2, OP(EL2_VA) | OF_ASID(ASID_OWN), VA | LEAF, P(T1 | L1) | T1 | PP(A) },
	{ S2, OP(NH_ALL) | OF_VMID(VMID), 0, T2 | L2 | A },
	{ S2, OP(S12_VMALL), 0, T2 | L2 | A },
	{ S2, OP(S2_IPA) | OF_VMID(VMID), DATA_IPA | LEAF, T2 | A },
	{ S2, OP(S2_IPA) | OF_VMID(VMID), DATA_IPA + SZ_4K, L2 | A },
	/* Entries of stage 2 have no ASID */
	{ NESTED, OP(NH_ALL) | OF_VMID(VMID), 0, PP(A) | T2 | L2 },
	{ NESTED, OP(NH_VAA) | OF_VMID(VMID), VA | LEAF, PP(T1 | A) | T2 | L2 },
	{ NESTED, OP(S12_VMALL) | OF_VMID(VMID), 0, PP(A) },
	/* Entries of both stages remain, and entries for IPAs of tables */
	{ NESTED, OP(S2_IPA) | OF_VMID(VMID), DATA_IPA, PP(T1 | L1 | L12 | A) | L2 },
};

static void test_commands(struct kunit *test)
{
	static const u32 all[] = {
		[S1] = PP(T1 | L1 | A),
		[S2] = T2 | L2 | A,
		[NESTED] = PP(T1 | L1 | L12 | A) | T2 | L2,
	};
	const struct row *row;
	struct self *s = NULL;

	for (row = rows; row != rows + ARRAY_SIZE(rows); row++) {
		if (!s || row->cfg != row[-1].cfg) {
			s = create(test, ARM_SMMU_FEAT_RANGE_INV, row->cfg);
			smmu_model_track(&s->dev->ssids, PASID);
		}
		fill_all(s);
		KUNIT_EXPECT_EQ(test, all[s->cfg], smmu_model_types(s->model, ASID_PASID));
		issue(s, row->data0, row->data1, true);
		KUNIT_EXPECT_EQ_MSG(test, row->left, smmu_model_types(s->model, ASID_PASID),
				    "row %td", row - rows);
	}
}

/* Reserved values in an STE, a CD or a command are detected */
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
		{ false, 2, STRTAB_STE_2_S2AA64 },
		{ false, 2, BIT_ULL(32 + 15) },
		{ false, 5, BIT(0) },
		{ true, 0, CTXDESC_CD_0_TCR_HA },
		{ true, 0, CTXDESC_CD_0_TCR_EPD1 },
		{ true, 0, FIELD_PREP_CONST(CTXDESC_CD_0_TCR_TG0, 3) },
		{ true, 1, BIT_ULL(4) },
		{ true, 6, BIT(0) },
	};
	static const u64 cmds[][2] = {
		{ 0xff, 0 },
		{ OP(NH_ASID), 1 },
		{ OP(NH_ALL) | OF_ASID(1), 0 },
		{ OP(EL2_ALL), 0 },
		/* The SMMU has no range commands */
		{ OP(NH_VA), VA | TTL(3) },
		{ ATC(SID, PASID), VA },
		{ ATC(SID, 0), 63 },
	};
	struct self *s = create(test, 0, NESTED);
	unsigned long *faults = &s->model->faults;
	unsigned int i;
	u64 pa, *p;

	s->model->expected = true;
	for (i = 0; i < ARRAY_SIZE(fields); i++) {
		p = (fields[i].cd ? s->pages[CDS] : s->ste) + fields[i].word;
		*p ^= fields[i].flip;
		smmu_model_dma(s->dev, MODEL_NO_SSID, VA, MODEL_FRESH, &pa);
		*p ^= fields[i].flip;
		KUNIT_EXPECT_EQ_MSG(test, xchg(faults, 0), BIT(MODEL_ILLEGAL), "field %u", i);
	}
	for (i = 0; i < ARRAY_SIZE(cmds); i++) {
		issue(s, cmds[i][0], cmds[i][1], true);
		KUNIT_EXPECT_EQ_MSG(test, xchg(faults, 0), BIT(MODEL_ILLEGAL), "command %u", i);
	}
}

/* A driver bug: it changes a word and issues this command or none, but no other */
static const struct bug {
	const char *name;
	u64 flip;
	u64 op;
	unsigned long faults;
} bugs[] = {
	{ "unmap", BIT(0), 0, BIT(MODEL_REACH) | BIT(MODEL_STALE) },
	{ "clean", BIT(7), 0, BIT(MODEL_STALE) },
	{ "CD", CTXDESC_CD_0_A, 0, BIT(MODEL_STALE) },
	{ "ASID", BIT_ULL(48), CMDQ_OP_CFGI_CD, BIT(MODEL_TAG) },
	{ "abort", FIELD_PREP_CONST(STRTAB_STE_0_CFG, 5), CMDQ_OP_CFGI_STE, BIT(MODEL_ATC) },
};

KUNIT_ARRAY_PARAM_DESC(bugs, bugs, name);

static void test_checks(struct kunit *test)
{
	struct self *s = create(test, ARM_SMMU_FEAT_HA | ARM_SMMU_FEAT_HD, S1);
	const struct bug *bug = test->param_value;
	unsigned int i = bug - bugs;
	u64 pa, *p;

	s->pages[CDS][0] |= CTXDESC_CD_0_TCR_HA | CTXDESC_CD_0_TCR_HD;
	/* A write makes it writable by HTTU */
	*s->pages[LEVEL3] |= DBM_CLEAN;
	KUNIT_EXPECT_EQ(test, 0, smmu_model_dma(s->dev, MODEL_NO_SSID, VA, MODEL_WRITE, &pa));
	KUNIT_EXPECT_FALSE(test, *s->pages[LEVEL3] & BIT(7));
	issue(s, OP(NH_ALL), 0, true);
	fill_all(s);
	smmu_model_check(s->model);

	s->model->expected = true;
	p = i < 2 ? s->pages[LEVEL3] : i < 4 ? s->pages[CDS] : s->ste;
	WRITE_ONCE(*p, *p ^ bug->flip);
	if (bug->op)
		issue(s, bug->op | FIELD_PREP(CMDQ_CFGI_0_SID, SID), CMDQ_CFGI_1_LEAF, true);
	if (bug->faults & BIT(MODEL_REACH))
		smmu_model_free_pa(s->model, s->pa, SZ_4K);
	smmu_model_check(s->model);
	KUNIT_EXPECT_EQ(test, s->model->faults & bug->faults, bug->faults);
}

/* Without a CMD_SYNC after the TLBI the ATC can be filled from the TLB after the ATC_INV */
static void test_order(struct kunit *test)
{
	struct self *s = create(test, 0, NESTED);
	unsigned int i, sync;
	u32 left[2] = {};

	for (i = 0; i < 16; i++) {
		for (sync = 0; sync < 2; sync++) {
			fill_all(s);
			smmu_model_track(&s->model->tracked, VA);
			WRITE_ONCE(*s->pages[LEVEL3], 0);
			issue(s, OP(NH_ALL) | OF_VMID(VMID), 0, sync);
			issue(s, ATC(SID, 0), VA, true);
			left[sync] |= smmu_model_types(s->model, ASID_PASID) & (A | L12);
			smmu_model_untrack(&s->model->tracked, VA);
			issue(s, ATC(SID, 0), VA, true);
			*s->pages[LEVEL3] = DATA_IPA | S1_PAGE;
		}
	}
	KUNIT_EXPECT_EQ(test, left[0], A);
	KUNIT_EXPECT_EQ(test, left[1], 0);
}

static int write_fresh(struct self *s)
{
	u64 pa;

	return smmu_model_dma(s->dev, MODEL_NO_SSID, VA, MODEL_WRITE | MODEL_FRESH, &pa);
}

/* A stalled transaction ends with a CMD_RESUME, another one with an event record */
static void test_stall(struct kunit *test)
{
	struct self *s = create(test, ARM_SMMU_FEAT_STALLS, S1);
	const u64 resume = CMDQ_OP_RESUME | FIELD_PREP(CMDQ_RESUME_0_SID, SID);
	static const u64 descs[] = { 0, S1_PAGE & ~BIT(10), S1_PAGE | BIT(7) };
	int i;

	for (i = 0; i < ARRAY_SIZE(descs); i++) {
		*s->pages[LEVEL3] = descs[i] ? s->pa | descs[i] : 0;
		KUNIT_EXPECT_EQ(test, -EFAULT, write_fresh(s));
	}
	KUNIT_EXPECT_EQ(test, readl(s->fake->smmu.evtq.q.prod_reg), 3);
	s->pages[CDS][0] |= CTXDESC_CD_0_S;
	for (i = 0; i < 2; i++) {
		KUNIT_EXPECT_EQ(test, -EINPROGRESS, write_fresh(s));
		/* Of another transaction */
		issue(s, resume, s->dev->stag + 1, true);
		KUNIT_EXPECT_EQ(test, s->dev->stall, -EINPROGRESS);
		issue(s, resume | FIELD_PREP(CMDQ_RESUME_0_RESP, 1 + i), s->dev->stag, true);
		KUNIT_EXPECT_EQ(test, s->dev->stall, i ? -EFAULT : -EAGAIN);
	}
	arm_smmu_evtq_thread(0, &s->fake->smmu);
	arm_smmu_fake_drop_cmds(s->fake);
}

static struct kunit_case model_cases[] = {
	KUNIT_CASE(test_commands),
	KUNIT_CASE(test_illegal),
	KUNIT_CASE_PARAM(test_checks, bugs_gen_params),
	KUNIT_CASE(test_order),
	KUNIT_CASE(test_stall),
	{}
};

static struct kunit_suite model_suite = {
	.name = "arm-smmu-v3-model",
	.suite_exit = arm_smmu_fake_suite_exit,
	.test_cases = model_cases,
};

kunit_test_suite(model_suite);
