// SPDX-License-Identifier: GPL-2.0
/*
 * Translation of the model: stream table, CD table, page tables.
 *
 * Everything is read from memory as the SMMU would read it, in words of 64 bits
 * (3.21.3). arm_smmu_fake_lock is held.
 */
#include <linux/mm.h>

#include "model_int.h"

#define EVT_ID_WALK_EABT	0x0b

#define TTD_VALID		BIT_ULL(0)
#define TTD_TYPE		BIT_ULL(1)
#define TTD_S1_UNPRIV		BIT_ULL(6)
#define TTD_S1_RDONLY		BIT_ULL(7)
#define TTD_S2_READ		BIT_ULL(6)
#define TTD_S2_WRITE		BIT_ULL(7)
#define TTD_AF			BIT_ULL(10)
#define TTD_NG			BIT_ULL(11)
#define TTD_ADDR		GENMASK_ULL(47, 12)
#define TTD_DBM			BIT_ULL(51)
#define TTD_CONT		BIT_ULL(52)
#define TTD_APTABLE_UNPRIV	BIT_ULL(61)
#define TTD_APTABLE_RDONLY	BIT_ULL(62)

/* Fields of the STE that the driver knows. All others are reserved here. */
static const u64 smmu_model_ste_fields[STRTAB_STE_DWORDS] = {
	STRTAB_STE_0_V | STRTAB_STE_0_CFG | STRTAB_STE_0_S1FMT |
		STRTAB_STE_0_S1CTXPTR_MASK | STRTAB_STE_0_S1CDMAX,
	STRTAB_STE_1_S1DSS | STRTAB_STE_1_S1CIR | STRTAB_STE_1_S1COR |
		STRTAB_STE_1_S1CSH | STRTAB_STE_1_MEV | STRTAB_STE_1_S2FWB |
		STRTAB_STE_1_S1STALLD | STRTAB_STE_1_EATS | STRTAB_STE_1_STRW |
		STRTAB_STE_1_SHCFG,
	STRTAB_STE_2_S2VMID | STRTAB_STE_2_VTCR | STRTAB_STE_2_S2AA64 |
		STRTAB_STE_2_S2PTW | STRTAB_STE_2_S2S | STRTAB_STE_2_S2R,
	STRTAB_STE_3_S2TTB_MASK,
};

static const u64 smmu_model_cd_fields[CTXDESC_CD_DWORDS] = {
	CTXDESC_CD_0_TCR_T0SZ | CTXDESC_CD_0_TCR_TG0 | CTXDESC_CD_0_TCR_IRGN0 |
		CTXDESC_CD_0_TCR_ORGN0 | CTXDESC_CD_0_TCR_SH0 |
		CTXDESC_CD_0_TCR_EPD0 | CTXDESC_CD_0_TCR_EPD1 | CTXDESC_CD_0_V |
		CTXDESC_CD_0_TCR_IPS | CTXDESC_CD_0_TCR_TBI0 |
		CTXDESC_CD_0_TCR_HA | CTXDESC_CD_0_TCR_HD | CTXDESC_CD_0_AA64 |
		CTXDESC_CD_0_S | CTXDESC_CD_0_R | CTXDESC_CD_0_A |
		CTXDESC_CD_0_ASET | CTXDESC_CD_0_ASID,
	CTXDESC_CD_1_HAFT | CTXDESC_CD_1_TTB0_MASK,
	0,
	~0ULL,
};

static bool smmu_model_fail(struct smmu_model_walk *w, u8 event)
{
	w->event = event;
	return false;
}

static bool smmu_model_illegal(struct smmu_model_walk *w, const char *field,
			       const char *name, u64 val, u8 event)
{
	/* A peek looks at what a fetch has looked at, or will */
	if (!(w->flags & MODEL_PEEK))
		smmu_model_fault(w->ms, SMMU_MODEL_ILLEGAL, NULL,
				 "%s.%s is illegal or reserved, word %#llx, SID %#x SSID %#x",
				 name, field, val, w->ctx->sid, w->ctx->ssid);
	return smmu_model_fail(w, event);
}

static bool smmu_model_bad_ste(struct smmu_model_walk *w, const char *field,
			       unsigned int word)
{
	return smmu_model_illegal(w, field, "STE", w->ctx->ste[word],
				  EVT_ID_BAD_STE_CONFIG);
}

static bool smmu_model_bad_cd(struct smmu_model_walk *w, const char *field,
			      unsigned int word)
{
	return smmu_model_illegal(w, field, "CD", w->ctx->cd[word],
				  EVT_ID_BAD_CD_CONFIG);
}

static u64 *smmu_model_ptr(u64 pa)
{
	return pfn_valid(PHYS_PFN(pa)) ? phys_to_virt(pa) : NULL;
}

static bool smmu_model_s2(struct smmu_model_walk *w, u64 ipa, u8 class,
			  unsigned int perm, struct smmu_model_leaf *leaf);

/* Read @num words at @addr, an IPA if stage 2 is on */
static bool smmu_model_read_cfg(struct smmu_model_walk *w, u64 addr, u64 *img,
				unsigned int num)
{
	struct smmu_model_leaf leaf;
	unsigned int i;
	u64 *p;

	if (w->ctx->has_s2) {
		if (!smmu_model_s2(w, addr, 0, SMMU_MODEL_READ, &leaf))
			return false;
		addr = leaf.oa + (addr - leaf.ia);
	}
	p = smmu_model_ptr(addr);
	if (!p)
		return smmu_model_fail(w, EVT_ID_CD_FETCH_FAULT);
	/* Pairs with the WRITE_ONCE()s in entry_set() */
	for (i = 0; i < num; i++)
		img[i] = le64_to_cpu((__force __le64)READ_ONCE(p[i]));
	return true;
}

/* Read one level of the stream table or of the CD table from memory */
static bool smmu_model_read(struct smmu_model_walk *w,
			    enum smmu_model_kind kind, u32 sid, u32 ssid,
			    u64 *img)
{
	struct arm_smmu_device *smmu = &w->ms->fake->smmu;
	struct arm_smmu_strtab_cfg *cfg = &smmu->strtab_cfg;
	bool is_2lvl;
	u64 l1, *p;
	int i;

	switch (kind) {
	case MODEL_L1STD:
		img[0] = le64_to_cpu(READ_ONCE(cfg->l2.l1tab[sid].l2ptr));
		return true;
	case MODEL_STE:
		if (smmu->features & ARM_SMMU_FEAT_2_LVL_STRTAB) {
			if (!smmu_model_fetch(w, MODEL_L1STD,
					      arm_smmu_strtab_l1_idx(sid), 0,
					      &l1))
				return false;
			if (!FIELD_GET(STRTAB_L1_DESC_SPAN, l1))
				return smmu_model_fail(w,
						EVT_ID_BAD_STREAMID_CONFIG);
			if (FIELD_GET(STRTAB_L1_DESC_SPAN, l1) !=
			    STRTAB_SPLIT + 1)
				return smmu_model_illegal(w, "Span", "L1STD",
						l1, EVT_ID_BAD_STREAMID_CONFIG);
			p = smmu_model_ptr((l1 & STRTAB_L1_DESC_L2PTR_MASK) +
					   arm_smmu_strtab_l2_idx(sid) *
					   sizeof(struct arm_smmu_ste));
		} else {
			p = (u64 *)cfg->linear.table[sid].data;
		}
		if (!p)
			return smmu_model_fail(w, EVT_ID_STE_FETCH_FAULT);
		for (i = 0; i < STRTAB_STE_DWORDS; i++)
			img[i] = le64_to_cpu((__force __le64)READ_ONCE(p[i]));
		return true;
	case MODEL_L1CD:
		return smmu_model_read_cfg(w, (w->ctx->ste[0] &
					       STRTAB_STE_0_S1CTXPTR_MASK) +
					   ssid * sizeof(l1), img, 1);
	case MODEL_CD:
		is_2lvl = FIELD_GET(STRTAB_STE_0_S1FMT, w->ctx->ste[0]) ==
			  STRTAB_STE_0_S1FMT_64K_L2;
		l1 = w->ctx->ste[0] & STRTAB_STE_0_S1CTXPTR_MASK;
		if (is_2lvl) {
			if (!smmu_model_fetch(w, MODEL_L1CD, sid,
					      arm_smmu_cdtab_l1_idx(ssid), &l1))
				return false;
			if (!(l1 & CTXDESC_L1_DESC_V))
				return smmu_model_fail(w,
						EVT_ID_BAD_SUBSTREAMID_CONFIG);
			if (l1 & ~(CTXDESC_L1_DESC_V |
				   CTXDESC_L1_DESC_L2PTR_MASK) || l1 & 0xf000)
				return smmu_model_illegal(w, "L2Ptr", "L1CD", l1,
						EVT_ID_BAD_SUBSTREAMID_CONFIG);
			l1 &= CTXDESC_L1_DESC_L2PTR_MASK;
			ssid = arm_smmu_cdtab_l2_idx(ssid);
		}
		return smmu_model_read_cfg(w, l1 + ssid *
					   sizeof(struct arm_smmu_cd), img,
					   CTXDESC_CD_DWORDS);
	default:
		return false;
	}
}

/**
 * smmu_model_fetch() - Fetch a structure from the cache or from memory
 * @w: the translation
 * @kind: MODEL_L1STD, MODEL_STE, MODEL_L1CD or MODEL_CD
 * @sid: the stream, or the index of the L1STD
 * @ssid: the substream, or the index of the L1CD
 * @img: set to the words of the structure
 *
 * A fetch that is not atomic may have begun right after the last CFGI, so it can
 * return any mix of the images that were in memory since then (3.21.3).
 *
 * Return: false if it cannot be fetched. The event is in @w then.
 */
bool smmu_model_fetch(struct smmu_model_walk *w, enum smmu_model_kind kind,
		      u32 sid, u32 ssid, u64 *img)
{
	struct smmu_model_cfg *cfg;
	unsigned int i, n, words;
	bool torn = false;

	cfg = smmu_model_find_cfg(w->ms, kind, sid, ssid);
	if (!cfg || !smmu_model_coin(w)) {
		if (!smmu_model_read(w, kind, sid, ssid, img))
			return false;
		if (!smmu_model_may_cache(w))
			return true;
		/* Whether an invalid L1STD may be cached is not modelled */
		if (kind == MODEL_L1STD && !FIELD_GET(STRTAB_L1_DESC_SPAN, *img))
			return true;
		smmu_model_add_image(w->ms, kind, sid, ssid, img);
		cfg = smmu_model_find_cfg(w->ms, kind, sid, ssid);
		if (cfg->num == 1 || !(smmu_model_rnd(w->ms->model) & 0x10))
			return true;
	} else {
		w->ms->model->stats.hits++;
	}

	words = kind == MODEL_L1STD || kind == MODEL_L1CD ? 1 :
		STRTAB_STE_DWORDS;
	n = smmu_model_rnd(w->ms->model) % cfg->num;
	for (i = 0; i < words; i++) {
		if (cfg->num > 1 && smmu_model_rnd(w->ms->model) & 0x40) {
			n = smmu_model_rnd(w->ms->model) % cfg->num;
			torn = true;
		}
		img[i] = cfg->img[n][i];
	}
	w->ms->model->stats.torn += torn;
	return true;
}

static unsigned int smmu_model_oas(struct smmu_model_walk *w, u64 ps)
{
	static const u8 bits[] = { 32, 36, 40, 42, 44, 48, 52, 52 };

	/* More than the SMMU has is as much as it has */
	return min_t(unsigned int, bits[ps], w->ms->fake->smmu.oas);
}

static bool smmu_model_set_granule(struct smmu_model_walk *w,
				   struct smmu_model_stage *st, u64 tg,
				   unsigned int tsz)
{
	static const u8 bits[] = { 12, 16, 14, 0 };
	unsigned int max;

	st->tg = bits[tg];
	if (!st->tg || !(w->ms->fake->smmu.pgsize_bitmap & BIT(st->tg)))
		return false;
	max = st->tg == 16 && w->ms->fake->smmu.features & ARM_SMMU_FEAT_VAX ?
	      52 : 48;
	st->ia_bits = 64 - tsz;
	return tsz <= 39 && st->ia_bits <= max;
}

/* The address of a table must be aligned to its size, but at least to 64 bytes */
static bool smmu_model_is_aligned(u64 addr, unsigned int bits)
{
	return IS_ALIGNED(addr, max(64ULL, 8ULL << bits));
}

static bool smmu_model_decode_s2(struct smmu_model_walk *w)
{
	struct smmu_model_ctx *ctx = w->ctx;
	struct smmu_model_stage *st = &ctx->s2;
	u64 vtcr = FIELD_GET(STRTAB_STE_2_VTCR, ctx->ste[2]);
	unsigned int bits, sl0 = FIELD_GET(STRTAB_STE_2_VTCR_S2SL0, vtcr);

	if (!(ctx->ste[2] & STRTAB_STE_2_S2AA64))
		return smmu_model_bad_ste(w, "S2AA64", 2);
	if (!smmu_model_set_granule(w, st, FIELD_GET(STRTAB_STE_2_VTCR_S2TG,
						     vtcr),
				    FIELD_GET(STRTAB_STE_2_VTCR_S2T0SZ, vtcr)))
		return smmu_model_bad_ste(w, "S2TG or S2T0SZ", 2);
	st->level = (st->tg == 12 ? 2 : 3) - sl0;
	if (sl0 == 3 || st->level > 3)
		return smmu_model_bad_ste(w, "S2SL0", 2);
	st->s2 = true;
	st->oa_bits = smmu_model_oas(w, FIELD_GET(STRTAB_STE_2_VTCR_S2PS, vtcr));
	st->ttb = ctx->ste[3] & STRTAB_STE_3_S2TTB_MASK;
	/* Up to 16 tables are concatenated at the first level */
	bits = st->ia_bits - (st->tg + (3 - st->level) * (st->tg - 3));
	if (st->ia_bits <= st->tg + (3 - st->level) * (st->tg - 3) ||
	    bits > st->tg - 3 + 4)
		return smmu_model_bad_ste(w, "S2SL0 for S2T0SZ", 2);
	if (!smmu_model_is_aligned(st->ttb, bits))
		return smmu_model_bad_ste(w, "S2TTB", 3);
	st->stall = ctx->ste[2] & STRTAB_STE_2_S2S;
	if (st->stall && !(w->ms->fake->smmu.features & ARM_SMMU_FEAT_STALLS))
		return smmu_model_bad_ste(w, "S2S", 2);
	if (ctx->ste[1] & STRTAB_STE_1_S2FWB &&
	    !(w->ms->fake->smmu.features & ARM_SMMU_FEAT_S2FWB))
		return smmu_model_bad_ste(w, "S2FWB", 1);
	return true;
}

/* Only fields that are not IGNORED with this Config (5.2) are looked at */
static bool smmu_model_decode_ste(struct smmu_model_walk *w)
{
	struct arm_smmu_device *smmu = &w->ms->fake->smmu;
	struct smmu_model_ctx *ctx = w->ctx;
	u64 *ste = ctx->ste;
	unsigned int cfg, i;

	if (!(ste[0] & STRTAB_STE_0_V))
		return smmu_model_fail(w, EVT_ID_BAD_STE_CONFIG);
	for (i = 0; i < STRTAB_STE_DWORDS; i++)
		if (ste[i] & ~smmu_model_ste_fields[i])
			return smmu_model_bad_ste(w, "reserved", i);

	cfg = FIELD_GET(STRTAB_STE_0_CFG, ste[0]);
	if (cfg == STRTAB_STE_0_CFG_ABORT)
		return smmu_model_fail(w, 0);
	if (!(cfg & 4))
		return smmu_model_bad_ste(w, "Config", 0);
	if (cfg == STRTAB_STE_0_CFG_BYPASS)
		return true;

	ctx->eats = FIELD_GET(STRTAB_STE_1_EATS, ste[1]);
	if (ctx->eats && (ctx->eats != STRTAB_STE_1_EATS_TRANS ||
			  !(smmu->features & ARM_SMMU_FEAT_ATS)))
		return smmu_model_bad_ste(w, "EATS", 1);
	ctx->vmid = FIELD_GET(STRTAB_STE_2_S2VMID, ste[2]);
	if (ctx->vmid >> smmu->vmid_bits)
		return smmu_model_bad_ste(w, "S2VMID", 2);
	if (cfg & 2) {
		if (!(smmu->features & ARM_SMMU_FEAT_TRANS_S2))
			return smmu_model_bad_ste(w, "Config", 0);
		ctx->has_s2 = true;
		if (!smmu_model_decode_s2(w))
			return false;
		if (ctx->eats && ctx->s2.stall)
			return smmu_model_bad_ste(w, "EATS with S2S", 1);
	}
	if (!(cfg & 1))
		return true;

	if (!(smmu->features & ARM_SMMU_FEAT_TRANS_S1) ||
	    (ctx->has_s2 && !(smmu->features & ARM_SMMU_FEAT_NESTING)))
		return smmu_model_bad_ste(w, "Config", 0);
	/* With stage 2 the StreamWorld is EL1 and STRW is IGNORED */
	if (!ctx->has_s2) {
		switch (FIELD_GET(STRTAB_STE_1_STRW, ste[1])) {
		case STRTAB_STE_1_STRW_NSEL1:
			break;
		case STRTAB_STE_1_STRW_EL2:
			if (!(smmu->features & (ARM_SMMU_FEAT_E2H |
						ARM_SMMU_FEAT_HYP)))
				return smmu_model_bad_ste(w, "STRW", 1);
			ctx->world = smmu->features & ARM_SMMU_FEAT_E2H ?
				     MODEL_E2H : MODEL_EL2;
			ctx->vmid = 0;
			break;
		default:
			return smmu_model_bad_ste(w, "STRW", 1);
		}
	}
	if (ste[1] & STRTAB_STE_1_S1STALLD &&
	    (!(smmu->features & ARM_SMMU_FEAT_STALLS) ||
	     smmu->features & ARM_SMMU_FEAT_STALL_FORCE))
		return smmu_model_bad_ste(w, "S1STALLD", 1);
	ctx->has_s1 = true;
	return true;
}

/* Find the SSID whose CD translates, see 3.9 */
static bool smmu_model_get_ssid(struct smmu_model_walk *w, u32 *ssid)
{
	struct smmu_model_ctx *ctx = w->ctx;
	unsigned int cdmax = FIELD_GET(STRTAB_STE_0_S1CDMAX, ctx->ste[0]);
	unsigned int fmt = FIELD_GET(STRTAB_STE_0_S1FMT, ctx->ste[0]);
	u64 ptr = ctx->ste[0] & STRTAB_STE_0_S1CTXPTR_MASK;
	u64 size = 64ULL << cdmax;

	*ssid = ctx->ssid;
	if (!ctx->has_s1)
		return *ssid == SMMU_MODEL_NO_SSID ||
		       smmu_model_fail(w, EVT_ID_BAD_SUBSTREAMID_CONFIG);
	if (cdmax > w->ms->fake->smmu.ssid_bits)
		return smmu_model_bad_ste(w, "S1CDMax", 0);
	if (cdmax) {
		if (fmt == STRTAB_STE_0_S1FMT_64K_L2) {
			if (!(w->ms->fake->smmu.features &
			      ARM_SMMU_FEAT_2_LVL_CDTAB))
				return smmu_model_bad_ste(w, "S1Fmt", 0);
			size = 8ULL << max_t(int, cdmax - 10, 3);
		} else if (fmt) {
			return smmu_model_bad_ste(w, "S1Fmt", 0);
		}
	}
	if (!IS_ALIGNED(ptr, size))
		return smmu_model_bad_ste(w, "S1ContextPtr", 0);

	if (*ssid == SMMU_MODEL_NO_SSID) {
		*ssid = 0;
		if (!cdmax)
			return true;
		switch (FIELD_GET(STRTAB_STE_1_S1DSS, ctx->ste[1])) {
		case STRTAB_STE_1_S1DSS_TERMINATE:
			return smmu_model_fail(w, EVT_ID_STREAM_DISABLED_FAULT);
		case STRTAB_STE_1_S1DSS_BYPASS:
			ctx->has_s1 = false;
			return true;
		case STRTAB_STE_1_S1DSS_SSID0:
			return true;
		default:
			return smmu_model_bad_ste(w, "S1DSS", 1);
		}
	}
	if (*ssid >> cdmax ||
	    (!*ssid && FIELD_GET(STRTAB_STE_1_S1DSS, ctx->ste[1]) ==
		       STRTAB_STE_1_S1DSS_SSID0))
		return smmu_model_fail(w, EVT_ID_BAD_SUBSTREAMID_CONFIG);
	return true;
}

static bool smmu_model_decode_cd(struct smmu_model_walk *w)
{
	struct arm_smmu_device *smmu = &w->ms->fake->smmu;
	struct smmu_model_ctx *ctx = w->ctx;
	struct smmu_model_stage *st = &ctx->s1;
	u64 *cd = ctx->cd;
	unsigned int bits, i;

	if (!(cd[0] & CTXDESC_CD_0_V))
		return smmu_model_fail(w, EVT_ID_BAD_CD_CONFIG);
	for (i = 0; i < CTXDESC_CD_DWORDS; i++)
		if (cd[i] & ~smmu_model_cd_fields[i])
			return smmu_model_bad_cd(w, "reserved", i);
	if (!(cd[0] & CTXDESC_CD_0_AA64))
		return smmu_model_bad_cd(w, "AA64", 0);
	if (!(cd[0] & CTXDESC_CD_0_TCR_EPD1))
		return smmu_model_bad_cd(w, "EPD1 (TTB1 is not modelled)", 0);
	if (cd[0] & CTXDESC_CD_0_TCR_TBI0)
		return smmu_model_bad_cd(w, "TBI0 (not modelled)", 0);

	ctx->asid = FIELD_GET(CTXDESC_CD_0_ASID, cd[0]);
	if (ctx->asid >> smmu->asid_bits)
		return smmu_model_bad_cd(w, "ASID", 0);
	st->ha = cd[0] & CTXDESC_CD_0_TCR_HA;
	st->hd = cd[0] & CTXDESC_CD_0_TCR_HD;
	if ((st->ha && !(smmu->features & ARM_SMMU_FEAT_HA)) ||
	    (st->hd && !(smmu->features & ARM_SMMU_FEAT_HD && st->ha)))
		return smmu_model_bad_cd(w, "HA or HD", 0);
	st->stall = cd[0] & CTXDESC_CD_0_S;
	if (st->stall && (!(smmu->features & ARM_SMMU_FEAT_STALLS) ||
			  ctx->ste[1] & STRTAB_STE_1_S1STALLD))
		return smmu_model_bad_cd(w, "S", 0);
	if (!st->stall && smmu->features & ARM_SMMU_FEAT_STALL_FORCE)
		return smmu_model_bad_cd(w, "S", 0);
	st->oa_bits = smmu_model_oas(w, FIELD_GET(CTXDESC_CD_0_TCR_IPS, cd[0]));

	st->off = cd[0] & CTXDESC_CD_0_TCR_EPD0;
	if (st->off)
		return true;
	if (!smmu_model_set_granule(w, st, FIELD_GET(CTXDESC_CD_0_TCR_TG0,
						     cd[0]),
				    FIELD_GET(CTXDESC_CD_0_TCR_T0SZ, cd[0])))
		return smmu_model_bad_cd(w, "TG0 or T0SZ", 0);
	st->level = 4 - DIV_ROUND_UP(st->ia_bits - st->tg, st->tg - 3);
	st->ttb = cd[1] & CTXDESC_CD_1_TTB0_MASK;
	bits = st->ia_bits - (st->tg + (3 - st->level) * (st->tg - 3));
	if (!smmu_model_is_aligned(st->ttb, bits))
		return smmu_model_bad_cd(w, "TTB0", 1);
	return true;
}

/**
 * smmu_model_get_ctx() - Fetch and decode the STE and the CD of a transaction
 * @w: the translation, with a @ctx to be filled
 * @dev: the device
 * @sid: the stream
 * @ssid: the substream or SMMU_MODEL_NO_SSID
 *
 * Return: false if the transaction is terminated. The event is in @w then, or 0.
 */
bool smmu_model_get_ctx(struct smmu_model_walk *w, struct smmu_model_dev *dev,
			u32 sid, u32 ssid)
{
	struct smmu_model_ctx *ctx = w->ctx;
	u32 cd_ssid;

	memset(ctx, 0, sizeof(*ctx));
	ctx->dev = dev;
	ctx->sid = sid;
	ctx->ssid = ssid;
	w->event = 0;
	w->s2 = false;
	w->class = 0;
	w->ipa = 0;
	if (!smmu_model_fetch(w, MODEL_STE, sid, 0, ctx->ste) ||
	    !smmu_model_decode_ste(w) || !smmu_model_get_ssid(w, &cd_ssid))
		return false;
	if (!ctx->has_s1)
		return true;
	return smmu_model_fetch(w, MODEL_CD, sid, cd_ssid, ctx->cd) &&
	       smmu_model_decode_cd(w);
}

/* Number of descriptors that a contiguous hint joins (DDI 0487, D8.7.1) */
static unsigned int smmu_model_num_cont(unsigned int tg, unsigned int level)
{
	switch (tg) {
	case 12:
		return 16;
	case 14:
		return level == 3 ? 128 : 32;
	default:
		return 32;
	}
}

static bool smmu_model_is_block(unsigned int tg, unsigned int level,
				unsigned int oa_bits)
{
	switch (tg) {
	case 12:
		return level == 1 || level == 2;
	case 14:
		return level == 2;
	default:
		return level == 2 || (level == 1 && oa_bits == 52);
	}
}

static u64 smmu_model_desc_addr(const struct smmu_model_stage *st, u64 desc,
				unsigned int shift)
{
	u64 addr = desc & TTD_ADDR;

	if (st->tg == 16)
		addr = (addr & ~0xf000ULL) | FIELD_GET(0xf000ULL, desc) << 48;
	return addr & ~(BIT_ULL(shift) - 1);
}

/*
 * Set the access flag, and for a write the dirty state, of a leaf (3.13).
 * Return: false if the descriptor has changed meanwhile
 */
static bool smmu_model_update(struct smmu_model_walk *w,
			      const struct smmu_model_stage *st, u64 *p,
			      u64 *desc)
{
	u64 new = *desc;

	if (w->flags & MODEL_PEEK)
		return true;
	if (st->ha)
		new |= TTD_AF;
	if (st->hd && w->flags & SMMU_MODEL_WRITE && new & TTD_DBM) {
		if (st->s2)
			new |= TTD_S2_WRITE;
		else
			new &= ~TTD_S1_RDONLY;
	}
	if (new == *desc)
		return true;
	if (cmpxchg64(p, *desc, new) != *desc)
		return false;
	w->ms->model->stats.httu++;
	*desc = new;
	return true;
}

static void smmu_model_set_perm(const struct smmu_model_stage *st, u64 desc,
				unsigned int limit,
				struct smmu_model_leaf *leaf)
{
	leaf->perm = 0;
	leaf->clean = false;
	if (st->s2) {
		if (desc & TTD_S2_READ)
			leaf->perm |= SMMU_MODEL_READ;
		if (desc & TTD_S2_WRITE)
			leaf->perm |= SMMU_MODEL_WRITE;
		else if (st->hd && desc & TTD_DBM)
			leaf->clean = true;
	} else if (desc & TTD_S1_UNPRIV) {
		/* Transactions of devices are unprivileged */
		leaf->perm |= SMMU_MODEL_READ;
		if (!(desc & TTD_S1_RDONLY))
			leaf->perm |= SMMU_MODEL_WRITE;
		else if (st->hd && desc & TTD_DBM)
			leaf->clean = true;
	}
	if (leaf->clean)
		leaf->perm |= SMMU_MODEL_WRITE;
	leaf->perm &= limit;
}

static bool smmu_model_stage_fail(struct smmu_model_walk *w,
				  const struct smmu_model_stage *st, u8 event)
{
	w->s2 = st->s2;
	if (!st->s2) {
		/* Reading the tables has left its own class and IPA */
		w->ipa = 0;
		if (event != EVT_ID_WALK_EABT)
			w->class = 2;
	}
	return smmu_model_fail(w, event);
}

/* Where is the descriptor? The page table of stage 1 is behind stage 2. */
static bool smmu_model_table_pa(struct smmu_model_walk *w,
				const struct smmu_model_stage *st, u64 addr,
				u64 *pa, unsigned int perm, u64 *room)
{
	struct smmu_model_leaf leaf;

	*pa = addr;
	*room = U64_MAX;
	if (st->s2 || !w->ctx->has_s2)
		return true;
	if (!smmu_model_s2(w, addr, EVTQ_1_CLASS_TT, perm, &leaf))
		return false;
	*pa = leaf.oa + (addr - leaf.ia);
	*room = leaf.ia + leaf.size - addr;
	return true;
}

/**
 * smmu_model_walk_stage() - Walk the page table of one stage
 * @w: the translation
 * @st: the stage
 * @ia: the input address of the stage
 * @leaf: set to the result
 *
 * Return: false if there is no translation. The event is in @w then.
 */
bool smmu_model_walk_stage(struct smmu_model_walk *w,
			   const struct smmu_model_stage *st, u64 ia,
			   struct smmu_model_leaf *leaf)
{
	unsigned int limit = SMMU_MODEL_READ | SMMU_MODEL_WRITE;
	u64 table = st->ttb, pa, desc, room, table_pa = U64_MAX;
	unsigned int level = st->level, shift, num;
	struct smmu_model_entry *e = NULL;
	u64 *p;

	if (st->off || ia >> st->ia_bits)
		return smmu_model_stage_fail(w, st, EVT_ID_TRANSLATION_FAULT);
	if (smmu_model_coin(w))
		e = smmu_model_find(w, MODEL_TABLE, st->s2, ia);
	if (e) {
		level = e->level + 1;
		table = e->oa;
		table_pa = e->pa;
		limit = e->perm;
		w->ms->model->stats.hits++;
	}

	for (;; level++) {
		u64 mask;

		shift = st->tg + (3 - level) * (st->tg - 3);
		mask = BIT_ULL(level == st->level ? st->ia_bits - shift :
						    st->tg - 3) - 1;
		pa = ((ia >> shift) & mask) * sizeof(desc);
		if (table_pa != U64_MAX && smmu_model_coin(w))
			pa += table_pa;
		else if (!smmu_model_table_pa(w, st, table + pa, &pa,
					      SMMU_MODEL_READ, &room))
			return false;
		p = smmu_model_ptr(pa);
		if (!p) {
			w->class = EVTQ_1_CLASS_TT;
			return smmu_model_stage_fail(w, st, EVT_ID_WALK_EABT);
		}
again:
		desc = le64_to_cpu((__force __le64)READ_ONCE(*p));
		if (!(desc & TTD_VALID))
			return smmu_model_stage_fail(w, st,
						     EVT_ID_TRANSLATION_FAULT);
		if (level == 3 || !(desc & TTD_TYPE))
			break;

		table = smmu_model_desc_addr(st, desc, st->tg);
		if (table >> st->oa_bits)
			return smmu_model_stage_fail(w, st,
						     EVT_ID_ADDR_SIZE_FAULT);
		if (!st->s2 && desc & TTD_APTABLE_RDONLY)
			limit &= ~SMMU_MODEL_WRITE;
		if (!st->s2 && desc & TTD_APTABLE_UNPRIV)
			limit = 0;

		leaf->ia = ia & ~(BIT_ULL(shift) - 1);
		leaf->size = BIT_ULL(shift);
		leaf->inv_ia = leaf->ia;
		leaf->inv_size = leaf->size;
		leaf->oa = table;
		leaf->desc_pa = pa;
		leaf->desc = desc;
		leaf->level = level;
		leaf->perm = limit;
		leaf->clean = false;
		leaf->global = false;
		table_pa = U64_MAX;
		if (!smmu_model_may_cache(w))
			continue;
		/* With stage 2, as an IPA or with the PA that it has now */
		if (!st->s2 && w->ctx->has_s2) {
			if (!smmu_model_table_pa(w, st, table, &table_pa,
						 SMMU_MODEL_READ, &room))
				return false;
			if (room < BIT(st->tg))
				table_pa = U64_MAX;
		}
		smmu_model_insert(w, MODEL_TABLE, st->s2, leaf, table_pa);
	}

	if (!(desc & TTD_TYPE) &&
	    (level == 3 || !smmu_model_is_block(st->tg, level, st->oa_bits)))
		return smmu_model_stage_fail(w, st, EVT_ID_TRANSLATION_FAULT);
	leaf->oa = smmu_model_desc_addr(st, desc, shift);
	if (leaf->oa >> st->oa_bits)
		return smmu_model_stage_fail(w, st, EVT_ID_ADDR_SIZE_FAULT);
	if (!(desc & TTD_AF) && !st->ha && !(w->flags & MODEL_PEEK))
		return smmu_model_stage_fail(w, st, EVT_ID_ACCESS_FAULT);
	smmu_model_set_perm(st, desc, limit, leaf);
	if (w->flags & SMMU_MODEL_WRITE && !(leaf->perm & SMMU_MODEL_WRITE))
		return smmu_model_stage_fail(w, st, EVT_ID_PERMISSION_FAULT);
	if (!smmu_model_update(w, st, p, &desc))
		goto again;
	smmu_model_set_perm(st, desc, limit, leaf);

	leaf->ia = ia & ~(BIT_ULL(shift) - 1);
	leaf->size = BIT_ULL(shift);
	leaf->desc_pa = pa;
	leaf->desc = desc;
	leaf->level = level;
	leaf->global = !st->s2 && !(desc & TTD_NG);
	/* Descriptors with a dirty state of their own are kept apart */
	num = smmu_model_num_cont(st->tg, level);
	if (desc & TTD_CONT && !(st->hd && desc & TTD_DBM) &&
	    smmu_model_may_cache(w) && smmu_model_rnd(w->ms->model) & 2) {
		u64 off = ia & (num * leaf->size - 1) & ~(leaf->size - 1);

		if (!IS_ALIGNED(leaf->oa - off, num * leaf->size))
			smmu_model_fault(w->ms, SMMU_MODEL_ILLEGAL, NULL,
					 "contiguous hint of a descriptor %#llx that is not aligned, address %#llx",
					 desc, ia);
		leaf->ia -= off;
		leaf->oa -= off;
		leaf->size *= num;
	}
	leaf->inv_ia = leaf->ia;
	leaf->inv_size = leaf->size;
	return true;
}

/**
 * smmu_model_walk_table() - Find a table descriptor in memory
 * @w: the translation, which only peeks
 * @s2: whether it is of stage 2
 * @ia: the input address
 * @level: the level of the descriptor
 * @oa: set to the address of the next table
 * @pa: set to that through stage 2, or to U64_MAX
 *
 * Return: false if there is none.
 */
bool smmu_model_walk_table(struct smmu_model_walk *w, bool s2, u64 ia,
			   unsigned int level, u64 *oa, u64 *pa)
{
	const struct smmu_model_stage *st = s2 ? &w->ctx->s2 : &w->ctx->s1;
	unsigned int cur = st->level, shift;
	u64 table = st->ttb, desc, addr, mask, room, *p;

	if (st->off || ia >> st->ia_bits || level < cur)
		return false;
	for (;; cur++) {
		shift = st->tg + (3 - cur) * (st->tg - 3);
		mask = BIT_ULL(cur == st->level ? st->ia_bits - shift :
						  st->tg - 3) - 1;
		addr = table + ((ia >> shift) & mask) * sizeof(desc);
		if (!smmu_model_table_pa(w, st, addr, &addr, SMMU_MODEL_READ,
					 &room))
			return false;
		p = smmu_model_ptr(addr);
		if (!p)
			return false;
		desc = le64_to_cpu((__force __le64)READ_ONCE(*p));
		if (!(desc & TTD_VALID) || !(desc & TTD_TYPE) || cur == 3)
			return false;
		table = smmu_model_desc_addr(st, desc, st->tg);
		if (cur == level)
			break;
	}
	*oa = table;
	if (s2 || !w->ctx->has_s2) {
		*pa = U64_MAX;
		return true;
	}
	return smmu_model_table_pa(w, st, table, pa, SMMU_MODEL_READ, &room);
}

static void smmu_model_from_entry(const struct smmu_model_entry *e,
				  struct smmu_model_leaf *leaf)
{
	*leaf = (struct smmu_model_leaf){
		.ia = e->ia,
		.size = e->size,
		.oa = e->oa,
		.desc_pa = e->desc_pa,
		.desc = e->desc,
		.level = e->level,
		.perm = e->perm,
		.clean = e->clean,
		.global = e->global,
		.inv_ia = e->inv_ia,
		.inv_size = e->inv_size,
	};
}

/* Find a cached translation that is enough for this access */
static bool smmu_model_hit(struct smmu_model_walk *w, enum smmu_model_kind kind,
			   u64 ia, struct smmu_model_leaf *leaf)
{
	struct smmu_model_entry *e;

	if (!smmu_model_coin(w))
		return false;
	e = smmu_model_find(w, kind, kind == MODEL_S2, ia);
	if (!e)
		return false;
	/* A write that finds it clean has to go to the descriptor (3.13.4) */
	if (w->flags & SMMU_MODEL_WRITE &&
	    (e->clean || !(e->perm & SMMU_MODEL_WRITE)))
		return false;
	smmu_model_from_entry(e, leaf);
	w->ms->model->stats.hits++;
	return true;
}

/* Translate by stage 2. @class says for what. */
static bool smmu_model_s2(struct smmu_model_walk *w, u64 ipa, u8 class,
			  unsigned int perm, struct smmu_model_leaf *leaf)
{
	unsigned int flags = w->flags;
	bool ret = true;

	w->ipa = ipa;
	w->class = class;
	/* The dirty state is that of what is written, not of tables */
	if (class != 2)
		w->flags &= ~SMMU_MODEL_WRITE;
	if (!smmu_model_hit(w, MODEL_S2, ipa, leaf)) {
		ret = smmu_model_walk_stage(w, &w->ctx->s2, ipa, leaf);
		if (ret && smmu_model_may_cache(w))
			smmu_model_insert(w, MODEL_S2, true, leaf, U64_MAX);
	}
	if (ret && (leaf->perm & perm) != perm)
		ret = smmu_model_stage_fail(w, &w->ctx->s2,
					    EVT_ID_PERMISSION_FAULT);
	w->flags = flags;
	return ret;
}

/**
 * smmu_model_xlat() - Translate an address
 * @w: the translation
 * @ia: the input address
 * @leaf: set to the result
 *
 * Return: false if there is no translation. The event is in @w then.
 */
bool smmu_model_xlat(struct smmu_model_walk *w, u64 ia,
		     struct smmu_model_leaf *leaf)
{
	struct smmu_model_ctx *ctx = w->ctx;
	struct smmu_model_leaf s2;
	u64 lo, hi, ipa;

	w->class = 2;
	if (!ctx->has_s1 && !ctx->has_s2) {
		*leaf = (struct smmu_model_leaf){
			.ia = ia & ~0xfffULL,
			.oa = ia & ~0xfffULL,
			.size = SZ_4K,
			.perm = SMMU_MODEL_READ | SMMU_MODEL_WRITE,
		};
		if (ia >> w->ms->fake->smmu.oas)
			return smmu_model_fail(w, EVT_ID_ADDR_SIZE_FAULT);
		return true;
	}
	if (!ctx->has_s1)
		return smmu_model_s2(w, ia, 2, 0, leaf);
	if (ctx->has_s2 && smmu_model_hit(w, MODEL_S12, ia, leaf))
		return true;

	if (!smmu_model_hit(w, MODEL_S1, ia, leaf)) {
		if (!smmu_model_walk_stage(w, &ctx->s1, ia, leaf))
			return false;
		if (smmu_model_may_cache(w))
			smmu_model_insert(w, MODEL_S1, false, leaf, U64_MAX);
	}
	if (!ctx->has_s2)
		return true;

	ipa = leaf->oa + (ia - leaf->ia);
	if (!smmu_model_s2(w, ipa, 2, 0, &s2))
		return false;
	/* What both stages have in common */
	lo = max(leaf->ia, ia - (ipa - s2.ia));
	hi = min(leaf->ia + leaf->size, ia + (s2.ia + s2.size - ipa));
	leaf->oa = s2.oa + (ipa - s2.ia) - (ia - lo);
	leaf->ia = lo;
	leaf->size = hi - lo;
	leaf->perm &= s2.perm;
	leaf->clean |= s2.clean;
	if (smmu_model_may_cache(w))
		smmu_model_insert(w, MODEL_S12, false, leaf, U64_MAX);
	return true;
}
