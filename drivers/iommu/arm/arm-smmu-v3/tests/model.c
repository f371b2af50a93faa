// SPDX-License-Identifier: GPL-2.0
/*
 * A model of an SMMUv3: translation, caches, the effects of commands, and checks of
 * the contents of the caches.
 *
 * Structures are read from memory as by an SMMU, in words of 64 bits (3.21.3). The caches
 * keep all entries that the architecture allows: only a command removes an entry, and no
 * command removes more than it has to. Speculative translations fill them between commands.
 *
 * References are to the Arm SMMUv3 architecture (IHI 0070) and to the Arm ARM
 * (DDI 0487). Static functions are called with arm_smmu_fake_lock held.
 */
#include <linux/mm.h>
#include <linux/pci.h>

#include "model.h"

#define MODEL_NUM_ENTRIES	320
#define MODEL_NUM_IMAGES	96
#define MODEL_NUM_PENDING	64
#define MODEL_NUM_WALKS		64
#define MODEL_NUM_HOT		8

/* An entry of a TLB, walk cache or ATC, or the result of a walk */
struct entry {
	/* Two entries are the same if the fields before @dev are equal */
	u64 ia;
	u64 size;
	/* A command for any part of this size removes the entry */
	u64 inv_size;
	/* Output address, or the address of the next table before stage 2 */
	u64 oa;
	u64 ttb1, ttb2;
	u16 vmid, asid;
	u8 type;
	/* StreamWorld EL2-E2H, which has no VMIDs (3.3.4), or EL1 */
	u8 el2;
	/* The level of stage 1 if there are both stages */
	u8 level;
	u8 perm;
	/* An entry of stage 1 with stage 2 enabled */
	u8 nested;
	u8 global;
	/* A write has to set the dirty state of the descriptor first */
	u8 clean;
	u8 zero[5];	/* no padding, for memcmp() */
	/* Origin of the entry, and the step and the head of the log at that time */
	struct smmu_model_dev *dev;
	u32 ssid;
	u64 ste0, cd0, desc_pa, desc, step, log;
};

/* A structure as it was in memory at a time since the last CFGI. @e.ia is SID << 32 | SSID. */
struct image {
	struct entry e;
	u64 words[STRTAB_STE_DWORDS];
};

/* Parameters of a stage. @tg is log2 of the granule, @off is EPD0. */
struct stage {
	u64 ttb;
	u8 tg, ia_bits, oa_bits, level;
	bool s2, off, ha, hd, stall;
};

struct walk {
	struct smmu *ms;
	struct smmu_model_dev *dev;
	u32 ssid;
	unsigned int flags;
	/* EVT_ID_* of the fault, or 0 if it is not reported; and the stage of the fault */
	u8 event;
	const struct stage *at;
	bool has_s1, has_s2, el2;
	u8 eats;
	u16 vmid, asid;
	struct stage s1, s2;
	u64 ste[STRTAB_STE_DWORDS];
	u64 cd[CTXDESC_CD_DWORDS];
};

struct smmu {
	struct smmu_model *model;
	struct arm_smmu_fake *fake;
	struct list_head list;
	struct list_head devs;
	struct image images[MODEL_NUM_IMAGES];
	/* The TLB, and the ATCs of all devices. @num_tlb slots have been in use. */
	struct entry tlb[MODEL_NUM_ENTRIES];
	unsigned int num_tlb;
	/* The current configurations of all streams and substreams, for checks */
	struct walk walks[MODEL_NUM_WALKS];
	unsigned int num_walks;
	struct arm_smmu_cmd pending[MODEL_NUM_PENDING];
	unsigned int num_pending;
	/* Ring of the translations that the last command has removed */
	struct entry hot[MODEL_NUM_HOT];
	unsigned int num_hot;
};

/* A translation for a check. It neither changes memory nor reports faults. */
#define MODEL_PEEK		BIT(6)
#define CHECK_FLAGS		(MODEL_FRESH | MODEL_PEEK)

#define EVT_ID_WALK_EABT	0x0b

#define TYPES_TABLE		(BIT(MODEL_TABLE1) | BIT(MODEL_TABLE2))
#define TYPES_S1		(BIT(MODEL_TABLE1) | BIT(MODEL_S1) | BIT(MODEL_S12))
/* Entries of both stages are removed by VA only */
#define TYPES_S2		(BIT(MODEL_TABLE2) | BIT(MODEL_S2))
#define TYPES_CD		(BIT(MODEL_L1CD) | BIT(MODEL_CD))
/* A CFGI of an STE also removes its CDs (4.3.1) */
#define TYPES_STE		(BIT(MODEL_L1STD) | BIT(MODEL_STE) | TYPES_CD)

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
#define TTD_TABLE_ATTRS		GENMASK_ULL(63, 61)

/* Number of commands printed with a fault */
#define NUM_SHOWN		16

static u32 rnd(struct smmu_model *model)
{
	return prandom_u32_state(&model->rnd);
}

static bool use_cached(struct walk *w)
{
	return !(w->flags & MODEL_FRESH) && (w->flags & MODEL_CACHED || rnd(w->ms->model) & 0x100);
}

static void show_entry(const struct entry *e)
{
	static const char * const names[] = {
		"free", "stage 1 walk cache", "stage 1 TLB", "nested TLB", "stage 2 walk cache",
		"stage 2 TLB", "ATC", "DMA", "L1STD", "STE", "L1CD", "CD",
	};

	pr_err("model:   %s, EL2 %u VMID %u ASID %u%s, level %u, %#llx+%#llx -> %#llx perm %u%s\n",
	       names[e->type], e->el2, e->vmid, e->asid, e->global ? " global" : "", e->level,
	       e->ia, e->size, e->oa, e->perm, e->clean ? " clean" : "");
	pr_err("model:   cached at step %llu for SID %#x SSID %#x, STE %#llx CD %#llx TTB0 %#llx S2TTB %#llx, descriptor %#llx at %#llx\n",
	       e->step, e->dev->sid, e->ssid, e->ste0, e->cd0, e->ttb1, e->ttb2, e->desc,
	       e->desc_pa);
}

/* Report a fault of the driver. The test fails unless it expects faults. */
static __printf(4, 5) void add_fault(struct smmu *ms, enum smmu_model_fault fault,
				     const struct entry *e, const char *fmt, ...)
{
	struct smmu_model *model = ms->model;
	struct arm_smmu_fake *fake = ms->fake;
	struct va_format vaf = { .fmt = fmt };
	u64 log = max_t(s64, e ? e->log : 0, fake->log_head - NUM_SHOWN);
	bool printed = __test_and_set_bit(fault, &model->faults);
	va_list args;

	if (model->expected)
		return;
	kunit_set_failure(model->test);
	if (printed)
		return;
	va_start(args, fmt);
	vaf.va = &args;
	pr_err("model: %s, seed %llu step %llu: %pV\n", dev_name(fake->smmu.dev), model->seed,
	       model->stats.steps, &vaf);
	va_end(args);
	if (e)
		show_entry(e);
	for (; log != fake->log_head; log++)
		pr_err("model:   then command %#llx %#llx\n",
		       fake->log[log % ARM_SMMU_FAKE_LOG].data[0],
		       fake->log[log % ARM_SMMU_FAKE_LOG].data[1]);
	pr_err("model:   %u commands are pending\n", ms->num_pending);
}

/* Check that a new entry, or one that was used, does not reach freed memory */
static void check_freed(struct smmu *ms, const struct entry *e)
{
	struct smmu_model *model = ms->model;
	unsigned int i, num = min(model->num_freed, MODEL_NUM_FREED);

	/* These entries have no final output address */
	if (e->type == MODEL_FREE || BIT(e->type) & TYPES_TABLE ||
	    (e->type == MODEL_S1 && e->nested))
		return;
	for (i = 0; i < num; i++)
		if (e->oa <= model->freed[i].end && model->freed[i].start < e->oa + e->size)
			add_fault(ms, MODEL_REACH, e, "reaches %#llx-%#llx, which was freed",
				  model->freed[i].start, model->freed[i].end);
}

static bool matches(struct walk *w, const struct entry *e)
{
	if (e->type == MODEL_ATC_ENTRY)
		return e->dev == w->dev && e->ssid == w->ssid;
	if (e->vmid != w->vmid || e->el2 != w->el2)
		return false;
	return BIT(e->type) & TYPES_S2 ||
	       (e->nested == w->has_s2 && (e->global || e->asid == w->asid));
}

/* Look up an address in the TLB or an ATC. If several entries match, take a random one. */
static bool find(struct walk *w, u8 type, u64 ia, struct entry *e)
{
	struct smmu *ms = w->ms;
	struct entry *cur;
	unsigned int num = 0;

	for (cur = ms->tlb; cur != ms->tlb + ms->num_tlb; cur++)
		if (cur->type == type && ia - cur->ia < cur->size && matches(w, cur) &&
		    (!num++ || !(rnd(ms->model) % num)))
			*e = *cur;
	ms->model->stats.hits += !!num;
	return num;
}

static void set_source(struct walk *w, u8 type, struct entry *e)
{
	bool s2 = BIT(type) & TYPES_S2;

	e->type = type;
	e->el2 = w->el2;
	e->vmid = w->vmid;
	e->asid = s2 ? 0 : w->asid;
	e->nested = !s2 && w->has_s2;
	e->ttb1 = !s2 && w->has_s1 && !w->s1.off ? w->s1.ttb : 0;
	e->ttb2 = w->has_s2 ? w->s2.ttb : 0;
	e->dev = w->dev;
	e->ssid = w->ssid;
	e->ste0 = w->ste[0];
	e->cd0 = w->cd[0];
	e->step = w->ms->model->stats.steps;
	e->log = w->ms->fake->log_head;
}

/* Older entries for the same address are kept until a command removes them */
static void insert(struct walk *w, u8 type, struct entry *e)
{
	struct smmu *ms = w->ms;
	struct entry *cur, *slot = NULL;

	if (w->flags & MODEL_FRESH)
		return;
	set_source(w, type, e);
	for (cur = ms->tlb; cur != ms->tlb + ms->num_tlb; cur++) {
		if (cur->type == MODEL_FREE)
			slot = cur;
		else if (!memcmp(cur, e, offsetof(struct entry, dev)) &&
			 (type != MODEL_ATC_ENTRY || matches(w, cur)))
			return;
	}
	if (!slot)
		slot = &ms->tlb[ms->num_tlb < MODEL_NUM_ENTRIES ? ms->num_tlb++ :
				rnd(ms->model) % MODEL_NUM_ENTRIES];
	*slot = *e;
	check_freed(ms, slot);
}

static bool ats_on(struct smmu_model_dev *dev)
{
	return dev_is_pci(dev->fm->dev) && to_pci_dev(dev->fm->dev)->ats_enabled;
}

static bool fail(struct walk *w, const struct stage *st, u8 event)
{
	w->event = event;
	w->at = st;
	return false;
}

static bool refuse(struct walk *w, const char *name, u64 word)
{
	/* Only translations report these faults, checks do not */
	if (!(w->flags & MODEL_PEEK))
		add_fault(w->ms, MODEL_ILLEGAL, NULL,
			  "%s is illegal or reserved, word %#llx, SID %#x SSID %#x",
			  name, word, w->dev->sid, w->ssid);
	return fail(w, NULL, EVT_ID_BAD_STE_CONFIG);
}

/* A field of an STE or CD. Values other than 0 need one of @feats. */
struct field {
	const char *name;
	u8 word;
	/* Bitmap of the values of STE.Config with which it is not IGNORED (5.2) */
	u8 configs;
	u64 mask;
	/* Bitmap of legal values */
	u64 values;
	u32 feats;
};

#define CONFIG_ALL		0xff
#define CONFIG_S1		(BIT(5) | BIT(7))
#define CONFIG_S2		(BIT(6) | BIT(7))

#define RES0(word, fields)	{ "reserved " #word, word, CONFIG_ALL, ~(fields), BIT(0) }
#define STE(word, name, configs, ...) \
	{ "STE." #name, word, configs, STRTAB_STE_##word##_##name, __VA_ARGS__ }
#define CD(name, ...)	{ "CD." #name, 0, CONFIG_ALL, CTXDESC_CD_0_##name, __VA_ARGS__ }
#define FEAT(name)		ARM_SMMU_FEAT_##name

static const struct field ste_fields[] = {
	RES0(0, STRTAB_STE_0_V | STRTAB_STE_0_CFG | STRTAB_STE_0_S1FMT |
		STRTAB_STE_0_S1CTXPTR_MASK | STRTAB_STE_0_S1CDMAX),
	RES0(1, STRTAB_STE_1_S1DSS | STRTAB_STE_1_S1CIR | STRTAB_STE_1_S1COR |
		STRTAB_STE_1_S1CSH | STRTAB_STE_1_MEV | STRTAB_STE_1_S2FWB |
		STRTAB_STE_1_S1STALLD | STRTAB_STE_1_EATS | STRTAB_STE_1_STRW | STRTAB_STE_1_SHCFG),
	RES0(2, STRTAB_STE_2_S2VMID | STRTAB_STE_2_VTCR | STRTAB_STE_2_S2AA64 |
		STRTAB_STE_2_S2PTW | STRTAB_STE_2_S2S | STRTAB_STE_2_S2R),
	RES0(3, STRTAB_STE_3_S2TTB_MASK),
	RES0(4, 0ULL), RES0(5, 0ULL), RES0(6, 0ULL), RES0(7, 0ULL),
	STE(0, CFG, CONFIG_ALL, 0xf1),
	{ "STE.CFG[0]", 0, CONFIG_S1, BIT(1), BIT(1), FEAT(TRANS_S1) },
	{ "STE.CFG[1]", 0, CONFIG_S2, BIT(2), BIT(1), FEAT(TRANS_S2) },
	{ "STE.CFG[1:0]", 0, BIT(7), GENMASK(2, 1), BIT(3), FEAT(NESTING) },
	STE(0, S1FMT, CONFIG_S1, BIT(0) | BIT(2), FEAT(2_LVL_CDTAB)),
	STE(1, S1DSS, CONFIG_S1, 0x7),
	STE(1, EATS, CONFIG_S1 | CONFIG_S2, 0x3, FEAT(ATS)),
	/* With stage 2 the StreamWorld is EL1 */
	STE(1, STRW, BIT(5), BIT(STRTAB_STE_1_STRW_NSEL1) | BIT(STRTAB_STE_1_STRW_EL2), FEAT(E2H)),
	STE(1, S1STALLD, CONFIG_S1, 0x3, FEAT(STALLS)),
	STE(1, S2FWB, CONFIG_S2, 0x3, FEAT(S2FWB)),
	STE(2, S2AA64, CONFIG_S2, BIT(1)),
	STE(2, S2S, CONFIG_S2, 0x3, FEAT(STALLS)),
};

static const struct field cd_fields[] = {
	RES0(0, CTXDESC_CD_0_TCR_T0SZ | CTXDESC_CD_0_TCR_TG0 | CTXDESC_CD_0_TCR_IRGN0 |
		CTXDESC_CD_0_TCR_ORGN0 | CTXDESC_CD_0_TCR_SH0 | CTXDESC_CD_0_TCR_EPD0 |
		CTXDESC_CD_0_TCR_EPD1 | CTXDESC_CD_0_V | CTXDESC_CD_0_TCR_IPS |
		CTXDESC_CD_0_TCR_HA | CTXDESC_CD_0_TCR_HD | CTXDESC_CD_0_AA64 |
		CTXDESC_CD_0_S | CTXDESC_CD_0_R | CTXDESC_CD_0_A | CTXDESC_CD_0_ASET |
		CTXDESC_CD_0_ASID),
	RES0(1, CTXDESC_CD_1_HAFT | CTXDESC_CD_1_TTB0_MASK),
	RES0(2, 0ULL), RES0(4, 0ULL), RES0(5, 0ULL), RES0(6, 0ULL), RES0(7, 0ULL),
	CD(AA64, BIT(1)),
	/* TTB1 is not modelled */
	CD(TCR_EPD1, BIT(1)),
	CD(TCR_HA, 0x3, FEAT(HA)),
	CD(TCR_HD, 0x3, FEAT(HD)),
	CD(S, 0x3, FEAT(STALLS)),
};

static bool check_fields(struct walk *w, const struct field *f, unsigned int num, const u64 *words)
{
	unsigned int config = FIELD_GET(STRTAB_STE_0_CFG, w->ste[0]);
	u32 features = w->ms->fake->smmu.features;
	u64 val;

	for (; num--; f++) {
		val = (words[f->word] & f->mask) >> __ffs64(f->mask);
		if (!(f->configs & BIT(config)))
			continue;
		if (val >= 64 || !(f->values & BIT_ULL(val)) ||
		    (val && f->feats && !(features & f->feats)))
			return refuse(w, f->name, words[f->word]);
	}
	return true;
}

static u64 *to_ptr(u64 pa)
{
	return pfn_valid(PHYS_PFN(pa)) ? phys_to_virt(pa) : NULL;
}

static unsigned int num_words(u8 type)
{
	return type == MODEL_L1STD || type == MODEL_L1CD ? 1 : STRTAB_STE_DWORDS;
}

static bool xlat_table(struct walk *w, u64 *pa);
static bool fetch(struct walk *w, u8 type, u32 ssid, u64 *words);

static bool ste_pa(struct walk *w, u64 *pa)
{
	struct arm_smmu_device *smmu = &w->ms->fake->smmu;
	u32 sid = w->dev->sid;
	u64 l1;

	if (!(smmu->features & ARM_SMMU_FEAT_2_LVL_STRTAB)) {
		*pa = virt_to_phys(&smmu->strtab_cfg.linear.table[sid]);
		return true;
	}
	if (!fetch(w, MODEL_L1STD, 0, &l1))
		return false;
	if (!FIELD_GET(STRTAB_L1_DESC_SPAN, l1))
		return fail(w, NULL, EVT_ID_BAD_STREAMID_CONFIG);
	if (FIELD_GET(STRTAB_L1_DESC_SPAN, l1) != STRTAB_SPLIT + 1)
		return refuse(w, "L1STD.Span", l1);
	*pa = (l1 & STRTAB_L1_DESC_L2PTR_MASK) +
	      arm_smmu_strtab_l2_idx(sid) * sizeof(struct arm_smmu_ste);
	return true;
}

static bool cd_pa(struct walk *w, u32 ssid, u64 *pa)
{
	u64 l1;

	if (FIELD_GET(STRTAB_STE_0_S1FMT, w->ste[0]) != STRTAB_STE_0_S1FMT_64K_L2) {
		*pa += ssid * sizeof(struct arm_smmu_cd);
		return true;
	}
	if (!fetch(w, MODEL_L1CD, ssid, &l1))
		return false;
	if (!(l1 & CTXDESC_L1_DESC_V))
		return fail(w, NULL, EVT_ID_BAD_SUBSTREAMID_CONFIG);
	*pa = l1 & ~CTXDESC_L1_DESC_V;
	if (*pa & ~GENMASK_ULL(51, 16))
		return refuse(w, "L1CD.L2Ptr", l1);
	*pa += arm_smmu_cdtab_l2_idx(ssid) * sizeof(struct arm_smmu_cd);
	return true;
}

static bool read_struct(struct walk *w, u8 type, u32 ssid, u64 *words)
{
	struct arm_smmu_strtab_cfg *cfg = &w->ms->fake->smmu.strtab_cfg;
	bool is_cd = type == MODEL_L1CD || type == MODEL_CD;
	u64 pa = w->ste[0] & STRTAB_STE_0_S1CTXPTR_MASK, *p;
	int i;

	if (type == MODEL_L1STD)
		pa = virt_to_phys(&cfg->l2.l1tab[arm_smmu_strtab_l1_idx(w->dev->sid)]);
	else if (type == MODEL_L1CD)
		pa += arm_smmu_cdtab_l1_idx(ssid) * sizeof(u64);
	else if (!(is_cd ? cd_pa(w, ssid, &pa) : ste_pa(w, &pa)))
		return false;
	if (is_cd && !xlat_table(w, &pa))
		return false;
	p = to_ptr(pa);
	if (!p)
		return fail(w, NULL, is_cd ? EVT_ID_CD_FETCH_FAULT : EVT_ID_STE_FETCH_FAULT);
	/* Pairs with the WRITE_ONCE()s in entry_set() */
	for (i = 0; i < num_words(type); i++)
		words[i] = le64_to_cpu((__force __le64)READ_ONCE(p[i]));
	return true;
}

static void add_image(struct walk *w, struct entry *e, const u64 *words)
{
	struct smmu *ms = w->ms;
	struct image *im, *slot = NULL;
	size_t size = num_words(e->type) * sizeof(*words);

	for (im = ms->images; im != ms->images + MODEL_NUM_IMAGES; im++) {
		if (im->e.type == MODEL_FREE)
			slot = im;
		else if (im->e.type == e->type && im->e.ia == e->ia &&
			 !memcmp(im->words, words, size))
			return;
	}
	if (!slot)
		slot = &ms->images[rnd(ms->model) % MODEL_NUM_IMAGES];
	set_source(w, e->type, e);
	*slot = (struct image){ .e = *e };
	memcpy(slot->words, words, size);
}

/*
 * A fetch that is not atomic may have begun right after the last CFGI. So it can return
 * any mix of the images that were in memory since then (3.21.3).
 */
static bool fetch(struct walk *w, u8 type, u32 ssid, u64 *words)
{
	static const u64 sizes[] = {
		[MODEL_L1STD] = (u64)STRTAB_NUM_L2_STES << 32, [MODEL_STE] = BIT_ULL(32),
		[MODEL_L1CD] = CTXDESC_L2_ENTRIES, [MODEL_CD] = 1,
	};
	struct smmu *ms = w->ms;
	struct entry e = {
		.ia = ((u64)w->dev->sid << 32 | ssid) & ~(sizes[type] - 1),
		.inv_size = sizes[type],
		.type = type,
	};
	bool cache = !(w->flags & MODEL_FRESH);
	const struct image *im, *found[4];
	unsigned int num = 0, i;

	for (im = ms->images; cache && im != ms->images + MODEL_NUM_IMAGES; im++)
		if (im->e.type == type && im->e.ia == e.ia && num < ARRAY_SIZE(found))
			found[num++] = im;
	if (!num || !use_cached(w)) {
		if (!read_struct(w, type, ssid, words))
			return false;
		/* Whether an invalid L1STD may be cached is not modelled */
		if (cache && (type != MODEL_L1STD || FIELD_GET(STRTAB_L1_DESC_SPAN, *words)))
			add_image(w, &e, words);
		return true;
	}
	ms->model->stats.hits++;
	for (i = 0; i < num_words(type); i++)
		words[i] = found[num > 1 ? rnd(ms->model) % num : 0]->words[i];
	return true;
}

/* Set the common fields of stages. Return: the number of bits that the first table decodes */
static int set_stage(struct walk *w, struct stage *st, u64 tg, u64 tsz, u64 ps)
{
	static const u8 tgs[] = { 12, 16, 14, 0 };
	static const u8 oas[] = { 32, 36, 40, 42, 44, 48, 52, 52 };
	struct arm_smmu_device *smmu = &w->ms->fake->smmu;

	st->tg = tgs[tg];
	st->ia_bits = 64 - tsz;
	/* A larger output size than that of the SMMU is treated as the size of the SMMU */
	st->oa_bits = min_t(unsigned int, oas[ps], smmu->oas);
	if (!st->tg || !(smmu->pgsize_bitmap & BIT(st->tg)) || tsz > 39 || tsz < 16)
		return -EINVAL;
	if (!st->s2)
		st->level = 4 - DIV_ROUND_UP(st->ia_bits - st->tg, st->tg - 3);
	return st->ia_bits - (st->tg + (3 - st->level) * (st->tg - 3));
}

/* The address of a table must be aligned to its size, but at least to 64 bytes */
static bool is_table_aligned(u64 addr, unsigned int bits)
{
	return IS_ALIGNED(addr, max(64ULL, 8ULL << bits));
}

static bool decode_s2(struct walk *w)
{
	struct stage *st = &w->s2;
	u64 vtcr = FIELD_GET(STRTAB_STE_2_VTCR, w->ste[2]);
	unsigned int sl0 = FIELD_GET(STRTAB_STE_2_VTCR_S2SL0, vtcr);
	unsigned int tg = FIELD_GET(STRTAB_STE_2_VTCR_S2TG, vtcr);
	int bits;

	w->has_s2 = true;
	st->s2 = true;
	st->level = (tg ? 3 : 2) - sl0;
	if (sl0 == 3 || st->level > 3)
		return refuse(w, "STE.S2SL0", w->ste[2]);
	st->ttb = w->ste[3] & STRTAB_STE_3_S2TTB_MASK;
	bits = set_stage(w, st, tg, FIELD_GET(STRTAB_STE_2_VTCR_S2T0SZ, vtcr),
			 FIELD_GET(STRTAB_STE_2_VTCR_S2PS, vtcr));
	/* Up to 16 tables are concatenated at the first level */
	if (bits <= 0 || bits > st->tg - 3 + 4)
		return refuse(w, "STE.S2TG, S2T0SZ or S2SL0", w->ste[2]);
	if (!is_table_aligned(st->ttb, bits))
		return refuse(w, "STE.S2TTB", w->ste[3]);
	st->stall = w->ste[2] & STRTAB_STE_2_S2S;
	return !w->eats || !st->stall || refuse(w, "STE.EATS with S2S", w->ste[1]);
}

static bool decode_ste(struct walk *w)
{
	unsigned int cfg = FIELD_GET(STRTAB_STE_0_CFG, w->ste[0]);

	if (!(w->ste[0] & STRTAB_STE_0_V))
		return fail(w, NULL, EVT_ID_BAD_STE_CONFIG);
	if (!check_fields(w, ste_fields, ARRAY_SIZE(ste_fields), w->ste))
		return false;
	if (cfg == STRTAB_STE_0_CFG_ABORT)
		return fail(w, NULL, 0);
	if (cfg == STRTAB_STE_0_CFG_BYPASS)
		return true;

	w->has_s1 = cfg & 1;
	w->eats = FIELD_GET(STRTAB_STE_1_EATS, w->ste[1]);
	w->vmid = FIELD_GET(STRTAB_STE_2_S2VMID, w->ste[2]);
	if (w->vmid >> w->ms->fake->smmu.vmid_bits)
		return refuse(w, "STE.S2VMID", w->ste[2]);
	if (cfg & 2)
		return decode_s2(w);
	if (FIELD_GET(STRTAB_STE_1_STRW, w->ste[1]) == STRTAB_STE_1_STRW_EL2) {
		w->el2 = true;
		w->vmid = 0;
	}
	return true;
}

/* Get the SSID of the CD to use, see 3.9 */
static bool get_ssid(struct walk *w, u32 *ssid)
{
	unsigned int cdmax = FIELD_GET(STRTAB_STE_0_S1CDMAX, w->ste[0]);
	unsigned int dss = FIELD_GET(STRTAB_STE_1_S1DSS, w->ste[1]);
	u64 size = 64ULL << cdmax;

	if (!w->has_s1)
		return w->ssid == MODEL_NO_SSID || fail(w, NULL, EVT_ID_BAD_SUBSTREAMID_CONFIG);
	if (cdmax > w->ms->fake->smmu.ssid_bits)
		return refuse(w, "STE.S1CDMax", w->ste[0]);
	if (cdmax && FIELD_GET(STRTAB_STE_0_S1FMT, w->ste[0]))
		size = 8ULL << max_t(int, cdmax - 10, 3);
	if (!IS_ALIGNED(w->ste[0] & STRTAB_STE_0_S1CTXPTR_MASK, size))
		return refuse(w, "STE.S1ContextPtr", w->ste[0]);

	if (w->ssid != MODEL_NO_SSID) {
		*ssid = w->ssid;
		return (!(w->ssid >> cdmax) && (w->ssid || dss != STRTAB_STE_1_S1DSS_SSID0)) ||
		       fail(w, NULL, EVT_ID_BAD_SUBSTREAMID_CONFIG);
	}
	*ssid = 0;
	if (!cdmax || dss == STRTAB_STE_1_S1DSS_SSID0)
		return true;
	if (dss == STRTAB_STE_1_S1DSS_TERMINATE)
		return fail(w, NULL, EVT_ID_STREAM_DISABLED_FAULT);
	w->has_s1 = false;
	return true;
}

static bool decode_cd(struct walk *w)
{
	struct stage *st = &w->s1;
	u64 cd0 = w->cd[0];
	int bits;

	if (!(cd0 & CTXDESC_CD_0_V))
		return fail(w, NULL, EVT_ID_BAD_CD_CONFIG);
	if (!check_fields(w, cd_fields, ARRAY_SIZE(cd_fields), w->cd))
		return false;

	w->asid = FIELD_GET(CTXDESC_CD_0_ASID, cd0);
	if (w->asid >> w->ms->fake->smmu.asid_bits)
		return refuse(w, "CD.ASID", w->cd[0]);
	st->ha = cd0 & CTXDESC_CD_0_TCR_HA;
	st->hd = cd0 & CTXDESC_CD_0_TCR_HD;
	st->stall = cd0 & CTXDESC_CD_0_S;
	if (st->hd && !st->ha)
		return refuse(w, "CD.HD without HA", cd0);
	if (st->stall && w->ste[1] & STRTAB_STE_1_S1STALLD)
		return refuse(w, "CD.S with S1STALLD", cd0);
	st->off = cd0 & CTXDESC_CD_0_TCR_EPD0;
	if (st->off)
		return true;
	st->ttb = w->cd[1] & CTXDESC_CD_1_TTB0_MASK;
	bits = set_stage(w, st, FIELD_GET(CTXDESC_CD_0_TCR_TG0, cd0),
			 FIELD_GET(CTXDESC_CD_0_TCR_T0SZ, cd0),
			 FIELD_GET(CTXDESC_CD_0_TCR_IPS, cd0));
	if (bits <= 0)
		return refuse(w, "CD.TG0 or T0SZ", cd0);
	return is_table_aligned(st->ttb, bits) || refuse(w, "CD.TTB0", w->cd[1]);
}

static bool begin(struct walk *w)
{
	u32 ssid;

	if (!fetch(w, MODEL_STE, 0, w->ste) || !decode_ste(w) || !get_ssid(w, &ssid))
		return false;
	return !w->has_s1 || (fetch(w, MODEL_CD, ssid, w->cd) && decode_cd(w));
}

/* Walk to the table descriptor of level @stop, or with 4 to the leaf. @p points to it. */
static bool walk_tables(struct walk *w, const struct stage *st, u64 ia, unsigned int stop,
			struct entry *e, u64 **p)
{
	u8 type = st->s2 ? MODEL_TABLE2 : MODEL_TABLE1;
	unsigned int level = st->level, shift;
	u64 table = st->ttb, mask;

	if (st->off || ia >> st->ia_bits)
		return fail(w, st, EVT_ID_TRANSLATION_FAULT);
	if (use_cached(w) && find(w, type, ia, e)) {
		level = e->level + 1;
		table = e->oa;
	}
	for (;; level++) {
		shift = st->tg + (3 - level) * (st->tg - 3);
		mask = BIT_ULL(level == st->level ? st->ia_bits - shift : st->tg - 3) - 1;
		*e = (struct entry){
			.ia = ia & ~(BIT_ULL(shift) - 1),
			.size = BIT_ULL(shift),
			.inv_size = BIT_ULL(shift),
			.level = level,
			.desc_pa = table + ((ia >> shift) & mask) * sizeof(e->desc),
		};
		if (!st->s2 && !xlat_table(w, &e->desc_pa))
			return false;
		*p = to_ptr(e->desc_pa);
		if (!*p)
			return fail(w, NULL, EVT_ID_WALK_EABT);
		e->desc = le64_to_cpu((__force __le64)READ_ONCE(**p));
		if (!(e->desc & TTD_VALID))
			return fail(w, st, EVT_ID_TRANSLATION_FAULT);
		if (level == 3 || !(e->desc & TTD_TYPE))
			return stop == 4 || fail(w, st, EVT_ID_TRANSLATION_FAULT);

		table = e->desc & TTD_ADDR;
		if (table >> st->oa_bits)
			return fail(w, st, EVT_ID_ADDR_SIZE_FAULT);
		if (e->desc & TTD_TABLE_ATTRS)
			return refuse(w, "NSTable or APTable", e->desc);
		e->oa = table;
		if (level == stop)
			return true;
		insert(w, type, e);
	}
}

static bool decode_leaf(struct walk *w, const struct stage *st, struct entry *e)
{
	bool may_be_block = e->level == 2 || (e->level == 1 && st->tg == 12);
	bool readable = e->desc & TTD_S2_READ, writable = e->desc & TTD_S2_WRITE;

	if (!(e->desc & TTD_TYPE) && !may_be_block)
		return fail(w, st, EVT_ID_TRANSLATION_FAULT);
	e->oa = e->desc & TTD_ADDR & ~(e->size - 1);
	if (e->oa >> st->oa_bits)
		return fail(w, st, EVT_ID_ADDR_SIZE_FAULT);
	if (!(e->desc & TTD_AF) && !st->ha && !(w->flags & MODEL_PEEK))
		return fail(w, st, EVT_ID_ACCESS_FAULT);
	e->global = !st->s2 && !(e->desc & TTD_NG);
	if (!st->s2) {
		/* Transactions of devices are unprivileged */
		readable = e->desc & TTD_S1_UNPRIV;
		writable = readable && !(e->desc & TTD_S1_RDONLY);
	}
	e->clean = readable && !writable && st->hd && e->desc & TTD_DBM;
	e->perm = (readable ? MODEL_READ : 0) | (writable || e->clean ? MODEL_WRITE : 0);
	return !(w->flags & MODEL_WRITE) || e->perm & MODEL_WRITE ||
	       fail(w, st, EVT_ID_PERMISSION_FAULT);
}

/* HTTU (3.13), which is not modelled for stage 2. Return: true if the leaf must be read again */
static bool update_desc(struct walk *w, const struct stage *st, u64 *p, const struct entry *e)
{
	u64 new = e->desc;

	if (st->ha)
		new |= TTD_AF;
	if (st->hd && w->flags & MODEL_WRITE && new & TTD_DBM)
		new &= ~TTD_S1_RDONLY;
	if (new == e->desc || w->flags & MODEL_PEEK)
		return false;
	cmpxchg64(p, e->desc, new);
	return true;
}

/* Extend a leaf to all descriptors of its contiguous hint (DDI 0487, D8.7.1) */
static void join_cont(struct walk *w, const struct stage *st, struct entry *e)
{
	u64 num = st->tg == 12 ? 16 : st->tg == 14 && e->level == 3 ? 128 : 32;
	u64 size = num * e->size, off = e->ia & (size - 1);

	/* Each descriptor has a dirty state of its own */
	if (!(e->desc & TTD_CONT) || (st->hd && e->desc & TTD_DBM) || w->flags & MODEL_FRESH ||
	    rnd(w->ms->model) & 2)
		return;
	if (!IS_ALIGNED(e->oa - off, size))
		refuse(w, "contiguous hint", e->desc);
	e->ia -= off;
	e->oa -= off;
	e->size = size;
	e->inv_size = size;
}

static bool walk_stage(struct walk *w, const struct stage *st, u64 ia, unsigned int stop,
		       struct entry *e)
{
	u64 *p;

	do {
		if (!walk_tables(w, st, ia, stop, e, &p))
			return false;
		if (stop < 4)
			return true;
		if (!decode_leaf(w, st, e))
			return false;
	} while (update_desc(w, st, p, e));
	join_cont(w, st, e);
	return true;
}

static bool hit(struct walk *w, u8 type, u64 ia, struct entry *e)
{
	if (!use_cached(w) || !find(w, type, ia, e))
		return false;
	/* A write to a clean page has to update the descriptor (3.13.4) */
	return !(w->flags & MODEL_WRITE) || (!e->clean && e->perm & MODEL_WRITE);
}

static bool xlat_stage(struct walk *w, const struct stage *st, u64 ia, struct entry *e)
{
	u8 type = st->s2 ? MODEL_S2 : MODEL_S1;

	if (hit(w, type, ia, e))
		return true;
	if (!walk_stage(w, st, ia, 4, e))
		return false;
	insert(w, type, e);
	return true;
}

/* Translate the address of a CD or of a table of stage 1 if there is a stage 2 */
static bool xlat_table(struct walk *w, u64 *pa)
{
	unsigned int flags = w->flags;
	struct entry e;
	bool ret;

	if (!w->has_s2)
		return true;
	/* A write only reads the tables */
	w->flags &= ~MODEL_WRITE;
	ret = xlat_stage(w, &w->s2, *pa, &e);
	w->flags = flags;
	if (ret)
		*pa = e.oa + (*pa - e.ia);
	return ret && (e.perm & MODEL_READ || fail(w, &w->s2, EVT_ID_PERMISSION_FAULT));
}

static bool xlat(struct walk *w, u64 ia, struct entry *e)
{
	u64 ipa, lo, hi;
	struct entry s2;

	if (!w->has_s1 && !w->has_s2) {
		*e = (struct entry){ .ia = ia & PAGE_MASK, .oa = ia & PAGE_MASK,
				     .size = PAGE_SIZE, .perm = MODEL_READ | MODEL_WRITE };
		return !(ia >> w->ms->fake->smmu.oas) || fail(w, NULL, EVT_ID_ADDR_SIZE_FAULT);
	}
	if (!w->has_s1)
		return xlat_stage(w, &w->s2, ia, e);
	if (!w->has_s2)
		return xlat_stage(w, &w->s1, ia, e);

	if (hit(w, MODEL_S12, ia, e))
		return true;
	if (!xlat_stage(w, &w->s1, ia, e))
		return false;
	ipa = e->oa + (ia - e->ia);
	if (!xlat_stage(w, &w->s2, ipa, &s2))
		return false;
	/* The intersection of the entries of both stages */
	lo = max(e->ia, ia - (ipa - s2.ia));
	hi = min(e->ia + e->size, ia + (s2.ia + s2.size - ipa));
	e->oa = s2.oa + (ipa - s2.ia) - (ia - lo);
	e->ia = lo;
	e->size = hi - lo;
	e->perm &= s2.perm;
	e->clean |= s2.clean;
	insert(w, MODEL_S12, e);
	return true;
}

static struct walk new_walk(struct smmu_model_dev *dev, u32 ssid, unsigned int flags)
{
	return (struct walk){ .ms = dev->ms, .dev = dev, .ssid = ssid, .flags = flags };
}

/* Begin a translation for the nth substream of all devices. Return: false if there are fewer */
static bool nth_walk(struct smmu *ms, unsigned int n, unsigned int flags, struct walk *w)
{
	struct smmu_model_dev *dev;

	list_for_each_entry(dev, &ms->devs, list) {
		if (n < dev->ssids.num) {
			*w = new_walk(dev, dev->ssids.vals[n], flags);
			return true;
		}
		n -= dev->ssids.num;
	}
	return false;
}

static void insert_atc(struct walk *w, struct entry *e)
{
	/* The device gets no write access to a clean page */
	if (e->clean)
		e->perm &= ~MODEL_WRITE;
	e->clean = false;
	e->inv_size = e->size;
	insert(w, MODEL_ATC_ENTRY, e);
}

static void speculate(struct walk w, u64 addr)
{
	struct entry e;

	w.ms->model->stats.fills++;
	if (begin(&w) && xlat(&w, addr, &e) && w.eats == STRTAB_STE_1_EATS_TRANS && ats_on(w.dev))
		insert_atc(&w, &e);
}

/* Translate all tracked addresses, or with probability 1/2 one of them */
static void fill(struct smmu *ms, bool all)
{
	struct smmu_model *model = ms->model;
	unsigned int num = 0, i, total, left;
	struct walk w;

	while (nth_walk(ms, num, 0, &w))
		num++;
	total = num * model->tracked.num;
	if (!total)
		return;
	left = all || total <= 4 ? total : rnd(model) >> 1 & 1;
	for (i = rnd(model) % total; left--; i = (i + 1) % total) {
		nth_walk(ms, i % num, 0, &w);
		speculate(w, model->tracked.vals[i / num]);
	}
}

/* Entries that a command removes. A negative field matches all values. */
struct scope {
	unsigned int types, ttl;
	u64 addr, last;
	int vmid, asid;
	bool el2, globals, leaf;
	/* Only of an ATC_INV */
	s64 sid, ssid;
	bool ssids;
};

static bool in_scope(const struct scope *s, const struct entry *e)
{
	if (!(s->types & BIT(e->type)) || s->addr > (e->ia | (e->inv_size - 1)) ||
	    s->last < (e->ia & ~(e->inv_size - 1)))
		return false;
	if (e->type >= MODEL_L1STD)
		return true;
	if (e->type == MODEL_ATC_ENTRY)
		return e->dev->sid == s->sid && (s->ssid < 0 || e->ssid == s->ssid) &&
		       !(s->ssids && e->ssid == MODEL_NO_SSID);
	if (e->el2 != s->el2 || (s->vmid >= 0 && e->vmid != s->vmid))
		return false;
	if (s->asid >= 0 && !(e->global ? s->globals : e->asid == s->asid))
		return false;
	if (BIT(e->type) & TYPES_TABLE)
		return !s->leaf && (!s->ttl || e->level < s->ttl);
	return !s->ttl || e->level == s->ttl;
}

static void drop(struct smmu *ms, const struct scope *s)
{
	struct image *im;
	struct entry *e;

	for (im = ms->images; im != ms->images + MODEL_NUM_IMAGES; im++)
		if (in_scope(s, &im->e))
			im->e.type = MODEL_FREE;
	for (e = ms->tlb; e != ms->tlb + ms->num_tlb; e++) {
		if (!in_scope(s, e))
			continue;
		/* Input addresses of these are not addresses of DMA */
		if (!(BIT(e->type) & (TYPES_TABLE | TYPES_S2)))
			ms->hot[ms->num_hot++ % MODEL_NUM_HOT] = *e;
		e->type = MODEL_FREE;
	}
}

static void bad_cmd(struct smmu *ms, const char *field, const struct arm_smmu_cmd *cmd)
{
	add_fault(ms, MODEL_ILLEGAL, NULL, "command %#llx %#llx: %s is illegal or reserved",
		  cmd->data[0], cmd->data[1], field);
}

#define SIDS		CMDQ_CFGI_0_SID
#define SSIDS		CMDQ_CFGI_0_SSID
#define VMIDS		CMDQ_TLBI_0_VMID
#define ASIDS		CMDQ_TLBI_0_ASID
#define RANGE_0		(CMDQ_TLBI_0_NUM | CMDQ_TLBI_0_SCALE)
#define RANGE_1		(CMDQ_TLBI_1_LEAF | CMDQ_TLBI_1_TTL | CMDQ_TLBI_1_TG)
#define RANGE_VA	(CMDQ_TLBI_1_VA_MASK | RANGE_1)
#define RANGE_IPA	(CMDQ_TLBI_1_IPA_MASK | RANGE_1)

/* A command: its fields (4.2 to 4.6), the feature that it needs, what it removes */
struct cmd {
	u8 op;
	u64 fields[CMDQ_ENT_DWORDS];
	u32 feats;
	u32 types;
};

static const struct cmd cmds[] = {
	{ CMDQ_OP_PREFETCH_CFG, { CMDQ_0_SSV | SIDS | SSIDS, ~0ULL }, ~0 },
	{ CMDQ_OP_CFGI_STE, { SIDS, CMDQ_CFGI_1_LEAF }, ~0, TYPES_STE },
	{ CMDQ_OP_CFGI_ALL, { SIDS, CMDQ_CFGI_1_RANGE }, ~0, TYPES_STE },
	{ CMDQ_OP_CFGI_CD, { SIDS | SSIDS, CMDQ_CFGI_1_LEAF }, FEAT(TRANS_S1), TYPES_CD },
	{ CMDQ_OP_CFGI_CD_ALL, { SIDS }, FEAT(TRANS_S1), TYPES_CD },
	{ CMDQ_OP_TLBI_NH_ALL, { VMIDS }, FEAT(TRANS_S1), TYPES_S1 },
	{ CMDQ_OP_TLBI_NH_ASID, { VMIDS | ASIDS }, FEAT(TRANS_S1), TYPES_S1 },
	{ CMDQ_OP_TLBI_NH_VA, { VMIDS | ASIDS | RANGE_0, RANGE_VA }, FEAT(TRANS_S1), TYPES_S1 },
	{ CMDQ_OP_TLBI_NH_VAA, { VMIDS | RANGE_0, RANGE_VA }, FEAT(TRANS_S1), TYPES_S1 },
	{ CMDQ_OP_TLBI_EL2_ALL, {}, FEAT(E2H), TYPES_S1 },
	{ CMDQ_OP_TLBI_EL2_ASID, { ASIDS }, FEAT(E2H), TYPES_S1 },
	{ CMDQ_OP_TLBI_EL2_VA, { ASIDS | RANGE_0, RANGE_VA }, FEAT(E2H), TYPES_S1 },
	{ CMDQ_OP_TLBI_S12_VMALL, { VMIDS }, FEAT(TRANS_S2), TYPES_S1 | TYPES_S2 },
	{ CMDQ_OP_TLBI_S2_IPA, { VMIDS | RANGE_0, RANGE_IPA }, FEAT(TRANS_S2), TYPES_S2 },
	{ CMDQ_OP_TLBI_NSNH_ALL, {}, ~0, TYPES_S1 | TYPES_S2 },
	{ CMDQ_OP_ATC_INV, { CMDQ_0_SSV | CMDQ_ATC_0_GLOBAL | SIDS | SSIDS,
			     CMDQ_ATC_1_SIZE | CMDQ_ATC_1_ADDR_MASK }, FEAT(ATS) },
	{ CMDQ_OP_RESUME, { CMDQ_RESUME_0_RESP | SIDS, CMDQ_RESUME_1_STAG }, FEAT(STALLS) },
};

static const char *bad_range(struct arm_smmu_device *smmu, unsigned int tg, unsigned int shift,
			     u64 num, u64 scale, const struct scope *s)
{
	if (!num && !scale && !tg && !s->ttl)
		return NULL;
	if (!(smmu->features & FEAT(RANGE_INV)))
		return "NUM, SCALE, TG or TTL without range invalidation";
	if (!tg)
		return "NUM, SCALE or TTL without TG";
	if (!num && !scale && !s->ttl)
		return "TG without NUM, SCALE and TTL";
	if (scale > 31 && !(smmu->features & FEAT(DS)))
		return "SCALE";
	if (s->ttl == 1 && tg != 1)
		return "TTL";
	if (!(smmu->pgsize_bitmap & BIT(shift)))
		return "TG";
	return IS_ALIGNED(s->addr, BIT(shift)) ? NULL : "Address";
}

/* Decode the address, the range and the level hint of a TLBI, 4.4.1.1 */
static bool decode_range(struct smmu *ms, const struct arm_smmu_cmd *cmd, struct scope *s)
{
	static const u8 shifts[] = { 12, 12, 14, 16 };
	unsigned int tg = FIELD_GET(CMDQ_TLBI_1_TG, cmd->data[1]), shift = shifts[tg];
	u64 num = FIELD_GET(CMDQ_TLBI_0_NUM, cmd->data[0]);
	u64 scale = FIELD_GET(CMDQ_TLBI_0_SCALE, cmd->data[0]);
	const char *field;

	s->leaf = cmd->data[1] & CMDQ_TLBI_1_LEAF;
	s->ttl = FIELD_GET(CMDQ_TLBI_1_TTL, cmd->data[1]);
	s->addr = cmd->data[1] & CMDQ_TLBI_1_VA_MASK;
	field = bad_range(&ms->fake->smmu, tg, shift, num, scale, s);
	if (field) {
		bad_cmd(ms, field, cmd);
		return false;
	}
	s->last = s->addr + ((num + 1) << min(scale + shift, 58)) - 1;
	if (s->last < s->addr)
		s->last = U64_MAX;
	/* Bits of the address below the size of a block of this level are ignored */
	if (s->ttl)
		s->addr &= ~(BIT_ULL(shift + (3 - s->ttl) * (shift - 3)) - 1);
	return true;
}

static void apply_cfgi(struct smmu *ms, const struct cmd *c, const struct arm_smmu_cmd *cmd)
{
	struct scope s = { .types = c->types };
	u64 num = 1;

	if (c->op == CMDQ_OP_CFGI_ALL)
		num = 2ULL << FIELD_GET(CMDQ_CFGI_1_RANGE, cmd->data[1]);
	else if (cmd->data[1] & CMDQ_CFGI_1_LEAF)
		s.types &= ~BIT(c->op == CMDQ_OP_CFGI_CD ? MODEL_L1CD : MODEL_L1STD);
	s.addr = (FIELD_GET(CMDQ_CFGI_0_SID, cmd->data[0]) & ~(num - 1)) << 32;
	s.last = s.addr + (num << 32) - 1;
	if (c->op == CMDQ_OP_CFGI_CD) {
		s.addr |= FIELD_GET(CMDQ_CFGI_0_SSID, cmd->data[0]);
		s.last = s.addr;
	}
	drop(ms, &s);
}

static void apply_tlbi(struct smmu *ms, const struct cmd *c, const struct arm_smmu_cmd *cmd)
{
	struct scope s = {
		.types = c->types,
		.el2 = c->feats == FEAT(E2H),
		.vmid = -1,
		.asid = -1,
		.last = U64_MAX,
		/* Commands by VA also remove global entries */
		.globals = c->fields[0] & RANGE_0,
	};

	if (c->fields[0] & VMIDS)
		s.vmid = FIELD_GET(CMDQ_TLBI_0_VMID, cmd->data[0]);
	if (c->fields[0] & ASIDS)
		s.asid = FIELD_GET(CMDQ_TLBI_0_ASID, cmd->data[0]);
	if (!(c->fields[0] & RANGE_0) || decode_range(ms, cmd, &s))
		drop(ms, &s);
}

static void apply_atc_inv(struct smmu *ms, const struct arm_smmu_cmd *cmd)
{
	unsigned int size = FIELD_GET(CMDQ_ATC_1_SIZE, cmd->data[1]);
	bool ssv = cmd->data[0] & CMDQ_0_SSV;
	struct scope s = {
		.types = BIT(MODEL_ATC_ENTRY),
		.sid = FIELD_GET(CMDQ_ATC_0_SID, cmd->data[0]),
		/* Without SSID it is for all entries, with and without PASID */
		.ssid = -1,
		.last = U64_MAX,
		.ssids = cmd->data[0] & CMDQ_ATC_0_GLOBAL,
	};

	if (size > ATC_INV_SIZE_ALL)
		return bad_cmd(ms, "Size", cmd);
	if (!ssv && cmd->data[0] & (CMDQ_ATC_0_SSID | CMDQ_ATC_0_GLOBAL))
		return bad_cmd(ms, "SSID or Global without SSV", cmd);
	if (ssv && !s.ssids)
		s.ssid = FIELD_GET(CMDQ_ATC_0_SSID, cmd->data[0]);
	/* Bits of the address below the size are ignored (4.5.1) */
	if (size < ATC_INV_SIZE_ALL) {
		s.addr = cmd->data[1] & CMDQ_ATC_1_ADDR_MASK & -((u64)SZ_4K << size);
		s.last = s.addr + ((u64)SZ_4K << size) - 1;
	}
	drop(ms, &s);
}

static void apply_resume(struct smmu *ms, const struct arm_smmu_cmd *cmd)
{
	unsigned int resp = FIELD_GET(CMDQ_RESUME_0_RESP, cmd->data[0]);
	struct smmu_model_dev *dev;

	if (resp > CMDQ_RESUME_0_RESP_ABORT)
		return bad_cmd(ms, "Resp", cmd);
	/* Without a matching stalled transaction it has no effect (4.6.1) */
	list_for_each_entry(dev, &ms->devs, list)
		if (dev->sid == FIELD_GET(CMDQ_RESUME_0_SID, cmd->data[0]) &&
		    dev->stall == -EINPROGRESS &&
		    dev->stag == FIELD_GET(CMDQ_RESUME_1_STAG, cmd->data[1]))
			dev->stall = resp == CMDQ_RESUME_0_RESP_RETRY ? -EAGAIN : -EFAULT;
}

static void apply(struct smmu *ms, const struct arm_smmu_cmd *cmd)
{
	const struct cmd *c = cmds;

	ms->num_hot = 0;
	while (c != cmds + ARRAY_SIZE(cmds) && c->op != FIELD_GET(CMDQ_0_OP, cmd->data[0]))
		c++;
	if (c == cmds + ARRAY_SIZE(cmds) || !(ms->fake->smmu.features & c->feats))
		return bad_cmd(ms, "opcode", cmd);
	if (cmd->data[0] & ~(c->fields[0] | CMDQ_0_OP))
		return bad_cmd(ms, "word 0", cmd);
	if (cmd->data[1] & ~c->fields[1])
		return bad_cmd(ms, "word 1", cmd);
	switch (c->op) {
	case CMDQ_OP_CFGI_STE ... CMDQ_OP_CFGI_CD_ALL:
		return apply_cfgi(ms, c, cmd);
	case CMDQ_OP_ATC_INV:
		return apply_atc_inv(ms, cmd);
	case CMDQ_OP_RESUME:
		return apply_resume(ms, cmd);
	default:
		return apply_tlbi(ms, c, cmd);
	}
}

/*
 * Execute one of the consumed commands, in a random order (4.7). Then translate the addresses of
 * removed entries again, from other caches. This detects commands in the wrong order.
 */
static void apply_one(struct smmu *ms)
{
	unsigned int i = rnd(ms->model) % ms->num_pending;
	struct arm_smmu_cmd cmd = ms->pending[i];

	ms->pending[i] = ms->pending[--ms->num_pending];
	apply(ms, &cmd);
	for (i = 0; ms->num_pending && i < min(ms->num_hot, MODEL_NUM_HOT); i++)
		speculate(new_walk(ms->hot[i].dev, ms->hot[i].ssid,
				   rnd(ms->model) & 0x18 ? MODEL_CACHED : 0), ms->hot[i].ia);
}

static void model_command(struct arm_smmu_fake *fake, const struct arm_smmu_cmd *cmd)
{
	struct smmu *ms = fake->model;

	/* No CMD_SYNC follows a CMD_RESUME */
	if (FIELD_GET(CMDQ_0_OP, cmd->data[0]) == CMDQ_OP_RESUME)
		return apply(ms, cmd);
	if (ms->num_pending == MODEL_NUM_PENDING)
		apply_one(ms);
	ms->pending[ms->num_pending++] = *cmd;
}

static void model_sync(struct arm_smmu_fake *fake)
{
	struct smmu *ms = fake->model;

	while (ms->num_pending)
		apply_one(ms);
}

static void model_step(struct arm_smmu_fake *fake)
{
	struct smmu *ms = fake->model;

	ms->model->stats.steps++;
	if (ms->num_pending && !(rnd(ms->model) & 0x1c))
		apply_one(ms);
	fill(ms, false);
}

static const struct arm_smmu_fake_ops model_ops = {
	.command = model_command,
	.sync = model_sync,
	.step = model_step,
};

/**
 * smmu_model_create() - Create the model of a test
 * @test: the test that owns it
 * @seed: seed of all random choices
 *
 * Return: the model. Fake SMMUs must be created after it.
 */
struct smmu_model *smmu_model_create(struct kunit *test, u64 seed)
{
	struct smmu_model *model = arm_smmu_fake_zalloc(test, sizeof(*model));

	model->test = test;
	model->seed = seed;
	prandom_seed_state(&model->rnd, seed);
	INIT_LIST_HEAD(&model->smmus);
	return model;
}

/* Runs before any SMMU or device of the model is freed */
static void stop_model(void *data)
{
	struct smmu_model *model = data;
	struct smmu *ms;

	guard(raw_spinlock_irqsave)(&arm_smmu_fake_lock);
	list_for_each_entry(ms, &model->smmus, list)
		ms->fake->ops = NULL;
	INIT_LIST_HEAD(&model->smmus);
}

/**
 * smmu_model_add_smmu() - Add a fake SMMU to the model
 * @model: the model
 * @fake: the fake SMMU. Its features must have been set.
 */
void smmu_model_add_smmu(struct smmu_model *model, struct arm_smmu_fake *fake)
{
	struct smmu *ms = arm_smmu_fake_zalloc(model->test, sizeof(*ms));

	/* These are not modelled */
	KUNIT_ASSERT_FALSE(model->test, fake->smmu.features &
			   (FEAT(STALL_FORCE) | FEAT(HYP) | FEAT(VAX)));
	KUNIT_ASSERT_LE(model->test, fake->smmu.oas, 48);
	ms->model = model;
	ms->fake = fake;
	INIT_LIST_HEAD(&ms->devs);
	/* Output addresses that are not RAM: the upper half of the address space */
	model->next_pa = min_not_zero(model->next_pa, BIT_ULL(fake->smmu.oas - 1));
	arm_smmu_fake_add_action(model->test, stop_model, model);
	guard(raw_spinlock_irqsave)(&arm_smmu_fake_lock);
	list_add_tail(&ms->list, &model->smmus);
	fake->model = ms;
	fake->ops = &model_ops;
}

/**
 * smmu_model_add_dev() - Add a device to the model
 * @model: the model
 * @fm: the device, behind an SMMU of smmu_model_add_smmu()
 *
 * Return: the device. Speculative translations have no PASID until smmu_model_track() adds one.
 */
struct smmu_model_dev *smmu_model_add_dev(struct smmu_model *model, struct arm_smmu_fake_master *fm)
{
	struct smmu_model_dev *dev = arm_smmu_fake_zalloc(model->test, sizeof(*dev));

	dev->model = model;
	dev->ms = fm->fake->model;
	dev->fm = fm;
	/* Devices with more than one stream are not modelled */
	KUNIT_ASSERT_EQ(model->test, fm->master->num_streams, 1);
	dev->sid = fm->master->streams[0].id;
	smmu_model_track(&dev->ssids, MODEL_NO_SSID);
	scoped_guard(raw_spinlock_irqsave, &arm_smmu_fake_lock)
		list_add_tail(&dev->list, &dev->ms->devs);
	arm_smmu_fake_add_action(model->test, stop_model, model);
	return dev;
}

/**
 * smmu_model_track() - Add an address or a PASID to the speculative translations
 * @set: &smmu_model.tracked or &smmu_model_dev.ssids
 * @val: the input address or the PASID. It may be added several times.
 */
void smmu_model_track(struct smmu_model_set *set, u64 val)
{
	guard(raw_spinlock_irqsave)(&arm_smmu_fake_lock);
	if (!WARN_ON(set->num == ARRAY_SIZE(set->vals)))
		set->vals[set->num++] = val;
}

/**
 * smmu_model_untrack() - Undo one smmu_model_track()
 * @set: &smmu_model.tracked or &smmu_model_dev.ssids
 * @val: the input address or the PASID
 */
void smmu_model_untrack(struct smmu_model_set *set, u64 val)
{
	int i;

	guard(raw_spinlock_irqsave)(&arm_smmu_fake_lock);
	for (i = 0; i < set->num && set->vals[i] != val; i++)
		;
	if (i < set->num)
		set->vals[i] = set->vals[--set->num];
}

/* Report a fault by an event record (7.3). Stall if the stage is configured to. */
static int report_event(struct walk *w, u64 addr)
{
	bool stall = w->at && w->at->stall;
	u64 evt[EVTQ_ENT_DWORDS] = {};

	if (!w->event)
		return -EFAULT;
	evt[0] = FIELD_PREP(EVTQ_0_ID, w->event) | FIELD_PREP(EVTQ_0_SID, w->dev->sid);
	if (w->ssid != MODEL_NO_SSID)
		evt[0] |= EVTQ_0_SSV | FIELD_PREP(EVTQ_0_SSID, w->ssid);
	if (w->at) {
		evt[1] = (w->flags & MODEL_WRITE ? 0 : EVTQ_1_RnW) | (w->at->s2 ? EVTQ_1_S2 : 0);
		evt[2] = addr;
	}
	if (stall) {
		w->dev->stag++;
		w->dev->stall = -EINPROGRESS;
		evt[1] |= EVTQ_1_STALL | FIELD_PREP(EVTQ_1_STAG, w->dev->stag);
	}
	arm_smmu_fake_event(w->ms->fake, evt);
	return stall ? -EINPROGRESS : -EFAULT;
}

static bool do_dma(struct walk *w, u64 addr, struct entry *e)
{
	bool ats = w->flags & MODEL_ATS && ats_on(w->dev);
	unsigned int perm = MODEL_READ | (w->flags & MODEL_WRITE);

	if (!begin(w))
		return false;
	/* CR0.ATSCHK: the STE is checked for translated accesses, too */
	if (ats && w->eats != STRTAB_STE_1_EATS_TRANS)
		return fail(w, NULL, 0);
	if (ats && use_cached(w) && find(w, MODEL_ATC_ENTRY, addr, e) && !(perm & ~e->perm))
		return true;
	if (!xlat(w, addr, e))
		return false;
	if (!(e->perm & MODEL_READ) && (ats || !(w->flags & MODEL_WRITE)))
		return fail(w, w->has_s1 ? &w->s1 : &w->s2, EVT_ID_PERMISSION_FAULT);
	if (ats)
		insert_atc(w, e);
	return true;
}

/**
 * smmu_model_dma() - Read or write by a device
 * @dev: the device
 * @ssid: its PASID or MODEL_NO_SSID
 * @addr: the address
 * @flags: MODEL_READ, WRITE, ATS, CACHED, FRESH and QUIET. ATS only if it is enabled.
 * @pa: set to the output address
 *
 * Return: 0; -EFAULT if there is no translation; -EINPROGRESS if the transaction
 * stalls. A CMD_RESUME then sets &smmu_model_dev.stall to -EAGAIN for a retry, or to
 * -EFAULT for an abort. Both errors are reported by an event record.
 */
int smmu_model_dma(struct smmu_model_dev *dev, u32 ssid, u64 addr, unsigned int flags, u64 *pa)
{
	struct walk w = new_walk(dev, ssid, flags);
	struct entry e;

	guard(raw_spinlock_irqsave)(&arm_smmu_fake_lock);
	if (!do_dma(&w, addr, &e))
		/* A fault of a Translation Request is not reported (3.9.1.2) */
		return flags & (MODEL_ATS | MODEL_QUIET) ? -EFAULT : report_event(&w, addr);
	*pa = e.oa + (addr - e.ia);
	set_source(&w, MODEL_DMA, &e);
	e.ia = addr;
	e.oa = *pa;
	e.size = 1;
	check_freed(w.ms, &e);
	return 0;
}

/**
 * smmu_model_fill() - Fill the caches by speculative translations
 * @model: the model
 * @all: translate all tracked addresses, not one or none of them
 */
void smmu_model_fill(struct smmu_model *model, bool all)
{
	struct smmu *ms;

	list_for_each_entry(ms, &model->smmus, list) {
		guard(raw_spinlock_irqsave)(&arm_smmu_fake_lock);
		fill(ms, all);
	}
}

/**
 * smmu_model_pa() - Allocate a range of output addresses
 * @model: the model, to which all SMMUs were added
 * @size: the size of the range, a power of two
 *
 * Return: the first address of a new range, which is aligned to @size and is not RAM.
 */
u64 smmu_model_pa(struct smmu_model *model, u64 size)
{
	guard(raw_spinlock_irqsave)(&arm_smmu_fake_lock);
	model->next_pa = ALIGN(model->next_pa, size) + size;
	return model->next_pa - size;
}

/**
 * smmu_model_types() - Get the types of cached entries
 * @model: the model
 * @asid: an ASID
 *
 * Return: a bit for each smmu_model_type, in the upper 16 bits for entries with @asid.
 */
u32 smmu_model_types(struct smmu_model *model, u16 asid)
{
	struct smmu *ms;
	struct entry *e;
	u32 types = 0;

	guard(raw_spinlock_irqsave)(&arm_smmu_fake_lock);
	list_for_each_entry(ms, &model->smmus, list)
		for (e = ms->tlb; e != ms->tlb + ms->num_tlb; e++)
			if (e->type)
				types |= BIT(e->type + (e->asid == asid) * 16);
	return types;
}

/* Return: true if @e has the page tables and the tag of @w */
static bool same_source(struct walk *w, const struct entry *e)
{
	struct entry now = *e;

	set_source(w, e->type, &now);
	return !memcmp(&now, e, offsetof(struct entry, dev));
}

static void check_image(struct smmu *ms, const struct image *im)
{
	const struct entry *e = &im->e;
	struct walk w = new_walk(e->dev, MODEL_NO_SSID, CHECK_FLAGS);
	bool is_cd = BIT(e->type) & TYPES_CD;
	u64 words[STRTAB_STE_DWORDS] = {};

	/* Fetch the STE to find the CD. The STE itself may be invalid. */
	begin(&w);
	if ((is_cd && !(FIELD_GET(STRTAB_STE_0_CFG, w.ste[0]) & 1)) ||
	    (fetch(&w, e->type, lower_32_bits(e->ia), words) &&
	     memcmp(im->words, words, sizeof(words))))
		add_fault(ms, MODEL_STALE, e, "STE %#llx, %*ph in memory", w.ste[0],
			  (int)sizeof(words), words);
}

static bool repeat_walk(struct walk *w, const struct entry *e, u64 ia, struct entry *now)
{
	if (!(BIT(e->type) & (TYPES_TABLE | TYPES_S2 | BIT(MODEL_S1))))
		return xlat(w, ia, now);
	return walk_stage(w, BIT(e->type) & TYPES_S2 ? &w->s2 : &w->s1, ia,
			  BIT(e->type) & TYPES_TABLE ? e->level : 4, now);
}

/* Return: true if @e gives no other access than @now, a walk of memory */
static bool is_current(const struct entry *e, const struct entry *now)
{
	bool same_oa = BIT(e->type) & TYPES_TABLE ? now->oa == e->oa :
						    now->oa - now->ia == e->oa - e->ia;

	/* A write to a page that is clean in memory would not be recorded */
	return same_oa && !(e->perm & ~now->perm) &&
	       !(e->perm & MODEL_WRITE && !e->clean && now->clean);
}

/* Compare the first and the last page of an entry with a fresh walk */
static void check_entry(struct walk *w, const struct entry *e)
{
	u64 ia = e->ia, last = ia + e->size - SZ_4K;
	struct entry now = {};

	while (repeat_walk(w, e, ia, &now) && is_current(e, &now)) {
		if (ia == last)
			return;
		ia = last;
	}
	add_fault(w->ms, MODEL_STALE, e, "%#llx now has the descriptor %#llx, perm %u%s", ia,
		  now.desc, now.perm, now.clean ? " clean" : "");
}

static void get_walks(struct smmu *ms)
{
	struct walk *w = ms->walks;
	unsigned int n;

	for (n = 0; n < MODEL_NUM_WALKS && nth_walk(ms, n, CHECK_FLAGS, w); n++)
		w += begin(w);
	ms->num_walks = w - ms->walks;
}

/* Return: a walk of get_walks() with the page tables and the tag of @e, or NULL */
static struct walk *find_walk(struct smmu *ms, const struct entry *e)
{
	struct walk *w;

	for (w = ms->walks; w != ms->walks + ms->num_walks; w++)
		if (same_source(w, e))
			return w;
	return NULL;
}

/**
 * smmu_model_free_pa() - Free a range of output addresses
 * @model: the model
 * @pa: the first output address
 * @size: the size of the range
 *
 * To be called after an unmap or a detach has returned. From then on no cached entry and
 * no translation may reach the range. The latest 64 ranges are checked. A TLB entry to
 * which no STE and CD lead is checked only when it is used, since a detach by another
 * thread may be about to flush it.
 */
void smmu_model_free_pa(struct smmu_model *model, u64 pa, u64 size)
{
	struct smmu *ms;
	struct entry *e;

	guard(raw_spinlock_irqsave)(&arm_smmu_fake_lock);
	model->freed[model->num_freed++ % MODEL_NUM_FREED] = (struct range){ pa, pa + size - 1 };
	list_for_each_entry(ms, &model->smmus, list) {
		get_walks(ms);
		for (e = ms->tlb; e != ms->tlb + ms->num_tlb; e++)
			if (e->type == MODEL_ATC_ENTRY || find_walk(ms, e))
				check_freed(ms, e);
	}
}

static void check_tlb(struct smmu *ms, const struct entry *e)
{
	struct arm_smmu_device *smmu = &ms->fake->smmu;
	struct walk *w = find_walk(ms, e), atc;

	if (e->type == MODEL_ATC_ENTRY) {
		atc = new_walk(e->dev, e->ssid, CHECK_FLAGS);
		if (ats_on(e->dev) && begin(&atc) && same_source(&atc, e))
			check_entry(&atc, e);
		else
			add_fault(ms, MODEL_ATC, e, "ATS is disabled or the domain detached");
	} else if (e->vmid ? !test_bit(e->vmid, smmu->vmids.used) :
			     !e->asid || !test_bit(e->asid, smmu->asids.used)) {
		add_fault(ms, MODEL_TAG, e, "its ASID or VMID is free");
	} else if (w) {
		check_entry(w, e);
	} else if (!e->vmid) {
		/* With a nested STE of abort or bypass, entries of the VMID may remain */
		add_fault(ms, MODEL_TAG, e, "no STE or CD uses its tag");
	}
}

/**
 * smmu_model_left() - Check the caches after a device was detached from a domain
 * @dev: the device
 * @ssid: the PASID that was detached or replaced, or MODEL_NO_SSID
 *
 * No ATC entry of the old domain may remain, and cached STEs and CDs must be equal to
 * memory. The caller must exclude other attaches and detaches of the device.
 */
void smmu_model_left(struct smmu_model_dev *dev, u32 ssid)
{
	struct walk w = new_walk(dev, ssid, CHECK_FLAGS);
	u32 cd = ssid == MODEL_NO_SSID ? 0 : ssid;
	struct smmu *ms = dev->ms;
	struct image *im;
	struct entry *e;
	bool translates;

	guard(raw_spinlock_irqsave)(&arm_smmu_fake_lock);
	translates = ats_on(dev) && begin(&w);
	for (e = ms->tlb; e != ms->tlb + ms->num_tlb; e++)
		if (e->type == MODEL_ATC_ENTRY && matches(&w, e) &&
		    !(translates && same_source(&w, e)))
			add_fault(ms, MODEL_ATC, e, "the device has left its domain");
	for (im = ms->images; im != ms->images + MODEL_NUM_IMAGES; im++)
		if (im->e.dev == dev &&
		    (im->e.type == MODEL_STE ||
		     (im->e.type == MODEL_CD && lower_32_bits(im->e.ia) == cd)))
			check_image(ms, im);
}

/**
 * smmu_model_check() - Compare all caches with memory
 * @model: the model
 *
 * The caller must exclude attaches, maps and invalidations. A cached entry must not give
 * more access than a walk of memory, and its ASID or VMID must be in use.
 */
void smmu_model_check(struct smmu_model *model)
{
	struct image *im;
	struct smmu *ms;
	struct entry *e;

	guard(raw_spinlock_irqsave)(&arm_smmu_fake_lock);
	list_for_each_entry(ms, &model->smmus, list) {
		get_walks(ms);
		for (im = ms->images; im != ms->images + MODEL_NUM_IMAGES; im++)
			if (im->e.type)
				check_image(ms, im);
		for (e = ms->tlb; e != ms->tlb + ms->num_tlb; e++)
			if (e->type)
				check_tlb(ms, e);
	}
}
