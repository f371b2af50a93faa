// SPDX-License-Identifier: GPL-2.0
/*
 * A model of an SMMUv3: what it translates, what it caches, what commands remove,
 * and an oracle, which says what must hold.
 *
 * Everything is read from memory as the SMMU would read it, in words of 64 bits
 * (3.21.3). The caches keep as much as they may for as long as they may: only a
 * command removes an entry, and no command removes more than it has to. Between
 * two commands an adversary fills them with what is reachable then.
 *
 * Static functions are called with arm_smmu_fake_lock held.
 */
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/pci.h>

#include "model.h"

#define MODEL_NUM_ENTRIES	320
#define MODEL_NUM_CFGS		48
#define MODEL_NUM_IMAGES	3
#define MODEL_NUM_PENDING	64
#define MODEL_NUM_WALKS		64
#define MODEL_NUM_HOT		8

/* StreamWorld (3.3.4): VMIDs exist in EL1 only */
enum world {
	MODEL_EL1,
	MODEL_EL2_E2H,
};

/* An entry of a TLB, walk cache or ATC, and the result of a walk */
struct entry {
	/* Up to @from_sid, equal in two entries that are the same */
	u64 ia;
	u64 size;
	/* What a command that invalidates any part of it removes */
	u64 inv_ia;
	u64 inv_size;
	/* Output address, or the next table, which stage 2 translates */
	u64 oa;
	u64 ttb1;
	u64 ttb2;
	/* Of an ATC */
	u32 sid;
	u32 ssid;
	u16 vmid;
	u16 asid;
	u8 kind;
	u8 world;
	/* Of stage 1 if it is of both stages */
	u8 level;
	u8 perm;
	/* Made while stage 2 was on */
	u8 nested;
	u8 global;
	/* A write has to set the dirty state first */
	u8 clean;
	u8 zero;
	/* From what it was made, at which step, and what the log had then */
	u32 from_sid;
	u32 from_ssid;
	u64 ste0;
	u64 cd0;
	u64 desc_pa;
	u64 desc;
	u64 step;
	u64 log;
};

/* A cached structure: all images of it that were seen since the last CFGI */
struct cfg {
	u8 kind;
	/* Of an L1STD and an L1CD, its index */
	u32 sid;
	u32 ssid;
	unsigned int num;
	u64 img[MODEL_NUM_IMAGES][STRTAB_STE_DWORDS];
	u64 step;
	u64 log;
};

/* How one stage translates. @tg is log2 of the granule, @off is EPD0. */
struct stage {
	u64 ttb;
	u8 tg;
	u8 ia_bits;
	u8 oa_bits;
	u8 level;
	bool s2;
	bool off;
	bool ha;
	bool hd;
	bool stall;
};

/* A translation under way */
struct walk {
	struct smmu *ms;
	struct smmu_model_dev *dev;
	u32 sid;
	u32 ssid;
	unsigned int flags;
	/* EVT_ID_* of the fault, and whether it was in stage 2 */
	u8 event;
	bool fault_s2;
	/* 0 of a CD fetch, 1 of a table walk, 2 of the input address */
	u8 class;
	/* The input address of stage 2 */
	u64 ipa;
	bool has_s1;
	bool has_s2;
	u8 world;
	u8 eats;
	u16 vmid;
	u16 asid;
	struct stage s1;
	struct stage s2;
	u64 ste[STRTAB_STE_DWORDS];
	u64 cd[CTXDESC_CD_DWORDS];
};

struct smmu {
	struct smmu_model *model;
	struct arm_smmu_fake *fake;
	struct list_head list;
	struct cfg cfgs[MODEL_NUM_CFGS];
	/* The TLB, and the ATCs of all devices */
	struct entry tlb[MODEL_NUM_ENTRIES];
	/* Slots from here on were never used */
	unsigned int num_tlb;
	/* What the streams and substreams are attached to, for the oracle */
	struct walk walks[MODEL_NUM_WALKS];
	unsigned int num_walks;
	struct arm_smmu_cmd pending[MODEL_NUM_PENDING];
	unsigned int num_pending;
	/* Translations that the last command has removed, a ring */
	struct {
		u32 sid;
		u32 ssid;
		u64 ia;
	} hot[MODEL_NUM_HOT];
	unsigned int num_hot;
};

static u32 rnd(struct smmu_model *model)
{
	/* xorshift32 */
	model->rnd ^= model->rnd << 13;
	model->rnd ^= model->rnd >> 17;
	model->rnd ^= model->rnd << 5;
	return model->rnd;
}

static bool may_cache(struct walk *w)
{
	return !(w->flags & (MODEL_FRESH | MODEL_PEEK));
}

/* Whether this translation uses a cached entry that there is */
static bool coin(struct walk *w)
{
	return may_cache(w) &&
	       (w->flags & MODEL_CACHED || rnd(w->ms->model) & 0x100);
}

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
#define TTD_TABLE_ATTRS		GENMASK_ULL(63, 61)

#define CONFIG_ALL		0xff
#define CONFIG_S1		(BIT(5) | BIT(7))
#define CONFIG_S2		(BIT(6) | BIT(7))

/* A field of an STE or CD. Of @feats one is needed for all values but 0. */
struct field {
	const char *name;
	u8 word;
	/* With which STE.Config it is not IGNORED, a bit for each (5.2) */
	u8 configs;
	u64 mask;
	/* Legal values, a bit for each */
	u64 values;
	u32 feats;
};

static const struct field ste_fields[] = {
	{ "STE.reserved 0", 0, CONFIG_ALL,
	  ~(STRTAB_STE_0_V | STRTAB_STE_0_CFG | STRTAB_STE_0_S1FMT |
	    STRTAB_STE_0_S1CTXPTR_MASK | STRTAB_STE_0_S1CDMAX), BIT(0) },
	{ "STE.reserved 1", 1, CONFIG_ALL,
	  ~(STRTAB_STE_1_S1DSS | STRTAB_STE_1_S1CIR | STRTAB_STE_1_S1COR |
	    STRTAB_STE_1_S1CSH | STRTAB_STE_1_MEV | STRTAB_STE_1_S2FWB |
	    STRTAB_STE_1_S1STALLD | STRTAB_STE_1_EATS | STRTAB_STE_1_STRW |
	    STRTAB_STE_1_SHCFG), BIT(0) },
	{ "STE.reserved 2", 2, CONFIG_ALL,
	  ~(STRTAB_STE_2_S2VMID | STRTAB_STE_2_VTCR | STRTAB_STE_2_S2AA64 |
	    STRTAB_STE_2_S2PTW | STRTAB_STE_2_S2S | STRTAB_STE_2_S2R), BIT(0) },
	{ "STE.reserved 3", 3, CONFIG_ALL, ~STRTAB_STE_3_S2TTB_MASK, BIT(0) },
	{ "STE.reserved 4", 4, CONFIG_ALL, ~0ULL, BIT(0) },
	{ "STE.reserved 5", 5, CONFIG_ALL, ~0ULL, BIT(0) },
	{ "STE.reserved 6", 6, CONFIG_ALL, ~0ULL, BIT(0) },
	{ "STE.reserved 7", 7, CONFIG_ALL, ~0ULL, BIT(0) },
	{ "STE.Config", 0, CONFIG_ALL, STRTAB_STE_0_CFG, 0xf1 },
	{ "STE.Config[0]", 0, CONFIG_S1, BIT(1), BIT(1),
	  ARM_SMMU_FEAT_TRANS_S1 },
	{ "STE.Config[1]", 0, CONFIG_S2, BIT(2), BIT(1),
	  ARM_SMMU_FEAT_TRANS_S2 },
	{ "STE.Config[1:0]", 0, BIT(7), GENMASK(2, 1), BIT(3),
	  ARM_SMMU_FEAT_NESTING },
	{ "STE.S1Fmt", 0, CONFIG_S1, STRTAB_STE_0_S1FMT, BIT(0) | BIT(2),
	  ARM_SMMU_FEAT_2_LVL_CDTAB },
	{ "STE.S1DSS", 1, CONFIG_S1, STRTAB_STE_1_S1DSS, 0x7 },
	{ "STE.EATS", 1, CONFIG_S1 | CONFIG_S2, STRTAB_STE_1_EATS, 0x3,
	  ARM_SMMU_FEAT_ATS },
	/* With stage 2 the StreamWorld is EL1 */
	{ "STE.STRW", 1, BIT(5), STRTAB_STE_1_STRW,
	  BIT(STRTAB_STE_1_STRW_NSEL1) | BIT(STRTAB_STE_1_STRW_EL2),
	  ARM_SMMU_FEAT_E2H },
	{ "STE.S1STALLD", 1, CONFIG_S1, STRTAB_STE_1_S1STALLD, 0x3,
	  ARM_SMMU_FEAT_STALLS },
	{ "STE.S2FWB", 1, CONFIG_S2, STRTAB_STE_1_S2FWB, 0x3,
	  ARM_SMMU_FEAT_S2FWB },
	{ "STE.S2AA64", 2, CONFIG_S2, STRTAB_STE_2_S2AA64, BIT(1) },
	{ "STE.S2S", 2, CONFIG_S2, STRTAB_STE_2_S2S, 0x3,
	  ARM_SMMU_FEAT_STALLS },
};

static const struct field cd_fields[] = {
	{ "CD.reserved 0", 0, CONFIG_ALL,
	  ~(CTXDESC_CD_0_TCR_T0SZ | CTXDESC_CD_0_TCR_TG0 |
	    CTXDESC_CD_0_TCR_IRGN0 | CTXDESC_CD_0_TCR_ORGN0 |
	    CTXDESC_CD_0_TCR_SH0 | CTXDESC_CD_0_TCR_EPD0 |
	    CTXDESC_CD_0_TCR_EPD1 | CTXDESC_CD_0_V | CTXDESC_CD_0_TCR_IPS |
	    CTXDESC_CD_0_TCR_HA | CTXDESC_CD_0_TCR_HD | CTXDESC_CD_0_AA64 |
	    CTXDESC_CD_0_S | CTXDESC_CD_0_R | CTXDESC_CD_0_A |
	    CTXDESC_CD_0_ASET | CTXDESC_CD_0_ASID), BIT(0) },
	{ "CD.reserved 1", 1, CONFIG_ALL,
	  ~(CTXDESC_CD_1_HAFT | CTXDESC_CD_1_TTB0_MASK), BIT(0) },
	{ "CD.reserved 2", 2, CONFIG_ALL, ~0ULL, BIT(0) },
	{ "CD.reserved 4", 4, CONFIG_ALL, ~0ULL, BIT(0) },
	{ "CD.reserved 5", 5, CONFIG_ALL, ~0ULL, BIT(0) },
	{ "CD.reserved 6", 6, CONFIG_ALL, ~0ULL, BIT(0) },
	{ "CD.reserved 7", 7, CONFIG_ALL, ~0ULL, BIT(0) },
	{ "CD.AA64", 0, CONFIG_ALL, CTXDESC_CD_0_AA64, BIT(1) },
	/* TTB1 is not modelled */
	{ "CD.EPD1", 0, CONFIG_ALL, CTXDESC_CD_0_TCR_EPD1, BIT(1) },
	{ "CD.HA", 0, CONFIG_ALL, CTXDESC_CD_0_TCR_HA, 0x3, ARM_SMMU_FEAT_HA },
	{ "CD.HD", 0, CONFIG_ALL, CTXDESC_CD_0_TCR_HD, 0x3, ARM_SMMU_FEAT_HD },
	{ "CD.S", 0, CONFIG_ALL, CTXDESC_CD_0_S, 0x3, ARM_SMMU_FEAT_STALLS },
};

/* The adversary makes all translations at each step if there are so few */
#define FILL_ALL	4

/* So many commands are shown with a fault */
#define NUM_SHOWN	16

static const char * const fault_names[] = {
	[MODEL_ILLEGAL] = "illegal",
	[MODEL_REACH] = "reaches retired memory",
	[MODEL_STALE] = "differs from memory",
	[MODEL_TAG] = "wrong ID",
	[MODEL_ATC] = "ATC",
};

static const char * const kind_names[] = {
	[MODEL_TABLE1] = "stage 1 walk cache",
	[MODEL_S1] = "stage 1 TLB",
	[MODEL_S12] = "nested TLB",
	[MODEL_TABLE2] = "stage 2 walk cache",
	[MODEL_S2] = "stage 2 TLB",
	[MODEL_ATC_ENTRY] = "ATC",
	[MODEL_DMA] = "DMA",
	[MODEL_L1STD] = "L1STD",
	[MODEL_STE] = "STE",
	[MODEL_L1CD] = "L1CD",
	[MODEL_CD] = "CD",
};

static __printf(2, 3) void say(struct smmu_model *model, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	model->text_len += vscnprintf(model->text + model->text_len,
				      MODEL_TEXT_SIZE - model->text_len, fmt,
				      args);
	va_end(args);
}

/* Note a fault of the driver, or of the test. It is told later, by report(). */
static void add_fault(struct smmu *ms, enum smmu_model_fault fault,
		      const struct entry *e, const char *fmt, ...)
{
	struct smmu_model *model = ms->model;
	struct arm_smmu_fake *fake = ms->fake;
	struct va_format vaf = { .fmt = fmt };
	u64 log = e ? e->log : 0;
	va_list args;

	model->faults[fault]++;
	if (model->expected[fault] || model->num_texts >= 3)
		return;
	model->num_texts++;
	va_start(args, fmt);
	vaf.va = &args;
	say(model, "%s: %s, step %llu: %pV\n", fault_names[fault],
	    dev_name(fake->smmu.dev), model->stats.steps, &vaf);
	va_end(args);
	if (e)
		say(model,
		    "  %s, world %u VMID %u ASID %u%s, level %u, %#llx+%#llx -> %#llx perm %u%s\n"
		    "  made at step %llu for SID %#x SSID %#x from STE %#llx CD %#llx TTB0 %#llx S2TTB %#llx, descriptor %#llx at %#llx\n",
		    kind_names[e->kind], e->world, e->vmid, e->asid,
		    e->global ? " global" : "", e->level, e->ia, e->size,
		    e->oa, e->perm, e->clean ? " clean" : "", e->step,
		    e->from_sid, e->from_ssid, e->ste0, e->cd0, e->ttb1,
		    e->ttb2, e->desc, e->desc_pa);
	say(model, "  commands after:");
	if (fake->log_head > NUM_SHOWN)
		log = max(log, fake->log_head - NUM_SHOWN);
	for (; log != fake->log_head; log++)
		say(model, " %llx:%llx",
		    fake->log[log % ARM_SMMU_FAKE_LOG].cmd.data[0],
		    fake->log[log % ARM_SMMU_FAKE_LOG].cmd.data[1]);
	say(model, " (%u pending)\n", ms->num_pending);
}

/* Judge an entry that was made or used just now */
static void judge(struct smmu *ms, const struct entry *e)
{
	struct smmu_model *model = ms->model;
	unsigned int i, num = min(model->num_retired, MODEL_NUM_RETIRED);

	/* What is left has an output address that a device reaches */
	if (e->kind == MODEL_FREE || e->kind == MODEL_TABLE1 ||
	    e->kind == MODEL_TABLE2 || (e->kind == MODEL_S1 && e->nested))
		return;
	for (i = 0; i < num; i++)
		if (e->oa <= model->retired[i].end &&
		    model->retired[i].start < e->oa + e->size)
			add_fault(ms, MODEL_REACH, e,
				  "after %#llx-%#llx was retired",
				  model->retired[i].start,
				  model->retired[i].end);
}

/* Look an address up in the TLB or an ATC. Any entry that matches may be hit. */
static bool find(struct walk *w, u8 kind, u64 ia, struct entry *e)
{
	struct smmu *ms = w->ms;
	struct entry *cur;
	unsigned int num = 0;

	for (cur = ms->tlb; cur != ms->tlb + ms->num_tlb; cur++) {
		if (cur->kind != kind || ia - cur->ia >= cur->size)
			continue;
		if (kind == MODEL_ATC_ENTRY) {
			if (cur->sid != w->sid || cur->ssid != w->ssid)
				continue;
		} else if (cur->vmid != w->vmid || cur->world != w->world) {
			continue;
		} else if (kind < MODEL_TABLE2 &&
			   (cur->nested != w->has_s2 ||
			    (!cur->global && cur->asid != w->asid))) {
			continue;
		}
		/* Any of them may be hit */
		if (!num++ || !(rnd(ms->model) % num))
			*e = *cur;
	}
	ms->model->stats.hits += !!num;
	return num;
}

/* Note from what an entry is made */
static void set_source(struct walk *w, u8 kind, struct entry *e)
{
	bool s2 = kind == MODEL_TABLE2 || kind == MODEL_S2;

	e->kind = kind;
	e->world = w->world;
	e->vmid = w->vmid;
	e->asid = s2 ? 0 : w->asid;
	e->nested = !s2 && w->has_s2;
	e->ttb1 = !s2 && w->has_s1 && !w->s1.off ? w->s1.ttb : 0;
	e->ttb2 = w->has_s2 ? w->s2.ttb : 0;
	e->from_sid = w->sid;
	e->from_ssid = w->ssid;
	e->ste0 = w->ste[0];
	e->cd0 = w->cd[0];
	e->step = w->ms->model->stats.steps;
	e->log = w->ms->fake->log_head;
}

/*
 * Put the result of a walk into the TLB or an ATC. An older entry for the same
 * address is kept: it is there until a command removes it.
 */
static void insert(struct walk *w, u8 kind, struct entry *e)
{
	struct smmu *ms = w->ms;
	struct entry *cur, *slot = NULL;

	set_source(w, kind, e);
	e->sid = kind == MODEL_ATC_ENTRY ? w->sid : 0;
	e->ssid = kind == MODEL_ATC_ENTRY ? w->ssid : 0;
	for (cur = ms->tlb; cur != ms->tlb + ms->num_tlb; cur++) {
		if (cur->kind == MODEL_FREE)
			slot = cur;
		else if (cur->ia == e->ia && !memcmp(cur, e, offsetof(struct entry, from_sid)))
			return;
	}
	if (!slot && ms->num_tlb < MODEL_NUM_ENTRIES)
		slot = &ms->tlb[ms->num_tlb++];
	else if (!slot)
		slot = &ms->tlb[rnd(ms->model) % MODEL_NUM_ENTRIES];
	*slot = *e;
	judge(ms, slot);
}

static bool ats_on(struct smmu_model_dev *dev)
{
	return dev_is_pci(dev->fm->dev) &&
	       arm_smmu_fake_ats_ctrl(dev->fm) & PCI_ATS_CTRL_ENABLE;
}

static struct cfg *find_cfg(struct smmu *ms, u8 kind, u32 sid, u32 ssid)
{
	int i;

	for (i = 0; i < MODEL_NUM_CFGS; i++)
		if (ms->cfgs[i].kind == kind && ms->cfgs[i].sid == sid &&
		    ms->cfgs[i].ssid == ssid)
			return &ms->cfgs[i];
	return NULL;
}

static bool fail(struct walk *w, u8 event)
{
	w->event = event;
	return false;
}

static bool refuse(struct walk *w, const char *name, u64 word, u8 event)
{
	/* A peek looks at what a fetch has looked at, or will */
	if (!(w->flags & MODEL_PEEK))
		add_fault(w->ms, MODEL_ILLEGAL, NULL,
			  "%s is illegal or reserved, word %#llx, SID %#x SSID %#x",
			  name, word, w->sid, w->ssid);
	return fail(w, event);
}

static bool bad_ste(struct walk *w, const char *name, unsigned int word)
{
	return refuse(w, name, w->ste[word], EVT_ID_BAD_STE_CONFIG);
}

static bool bad_cd(struct walk *w, const char *name)
{
	return refuse(w, name, w->cd[0], EVT_ID_BAD_CD_CONFIG);
}

static bool check_fields(struct walk *w, const struct field *f,
			 unsigned int num, const u64 *words, u8 event)
{
	unsigned int config = FIELD_GET(STRTAB_STE_0_CFG, w->ste[0]);
	u64 val;

	for (; num--; f++) {
		if (!(f->configs & BIT(config)))
			continue;
		val = (words[f->word] & f->mask) >> __ffs64(f->mask);
		if (val >= 64 || !(f->values & BIT_ULL(val)) ||
		    (val && f->feats &&
		     !(w->ms->fake->smmu.features & f->feats)))
			return refuse(w, f->name, words[f->word], event);
	}
	return true;
}

static u64 *to_ptr(u64 pa)
{
	return pfn_valid(PHYS_PFN(pa)) ? phys_to_virt(pa) : NULL;
}

static bool read_words(struct walk *w, const u64 *p, u64 *img, unsigned int num,
		       u8 event)
{
	unsigned int i;

	if (!p)
		return fail(w, event);
	/* Pairs with the WRITE_ONCE()s in entry_set() */
	for (i = 0; i < num; i++)
		img[i] = le64_to_cpu((__force __le64)READ_ONCE(p[i]));
	return true;
}

static bool xlat_s2(struct walk *w, u64 ipa, u8 class, struct entry *e);

/* Read @num words of a CD table, which is at an IPA if stage 2 is on */
static bool read_cdtab(struct walk *w, u64 addr, u64 *img, unsigned int num)
{
	struct entry e;

	if (w->has_s2) {
		if (!xlat_s2(w, addr, 0, &e))
			return false;
		addr = e.oa + (addr - e.ia);
	}
	return read_words(w, to_ptr(addr), img, num, EVT_ID_CD_FETCH_FAULT);
}

static bool fetch(struct walk *w, u8 kind, u32 sid, u32 ssid, u64 *img);

static bool read_struct(struct walk *w, u8 kind, u32 sid, u32 ssid,
			u64 *img)
{
	struct arm_smmu_device *smmu = &w->ms->fake->smmu;
	struct arm_smmu_strtab_cfg *cfg = &smmu->strtab_cfg;
	u64 ptr = w->ste[0] & STRTAB_STE_0_S1CTXPTR_MASK, l1;

	switch (kind) {
	case MODEL_L1STD:
		img[0] = le64_to_cpu(READ_ONCE(cfg->l2.l1tab[sid].l2ptr));
		return true;
	case MODEL_STE:
		if (!(smmu->features & ARM_SMMU_FEAT_2_LVL_STRTAB))
			return read_words(w, (u64 *)&cfg->linear.table[sid],
					  img, STRTAB_STE_DWORDS,
					  EVT_ID_STE_FETCH_FAULT);
		if (!fetch(w, MODEL_L1STD, arm_smmu_strtab_l1_idx(sid), 0, &l1))
			return false;
		if (!FIELD_GET(STRTAB_L1_DESC_SPAN, l1))
			return fail(w, EVT_ID_BAD_STREAMID_CONFIG);
		if (FIELD_GET(STRTAB_L1_DESC_SPAN, l1) != STRTAB_SPLIT + 1)
			return refuse(w, "L1STD.Span", l1,
				       EVT_ID_BAD_STREAMID_CONFIG);
		ptr = (l1 & STRTAB_L1_DESC_L2PTR_MASK) +
		      arm_smmu_strtab_l2_idx(sid) * sizeof(struct arm_smmu_ste);
		return read_words(w, to_ptr(ptr), img, STRTAB_STE_DWORDS,
				  EVT_ID_STE_FETCH_FAULT);
	case MODEL_L1CD:
		return read_cdtab(w, ptr + ssid * sizeof(l1), img, 1);
	case MODEL_CD:
		if (FIELD_GET(STRTAB_STE_0_S1FMT, w->ste[0]) ==
		    STRTAB_STE_0_S1FMT_64K_L2) {
			if (!fetch(w, MODEL_L1CD, sid,
				   arm_smmu_cdtab_l1_idx(ssid), &l1))
				return false;
			if (!(l1 & CTXDESC_L1_DESC_V))
				return fail(w, EVT_ID_BAD_SUBSTREAMID_CONFIG);
			ptr = l1 & ~CTXDESC_L1_DESC_V;
			if (ptr & ~GENMASK_ULL(51, 16))
				return refuse(w, "L1CD.L2Ptr", l1,
					       EVT_ID_BAD_SUBSTREAMID_CONFIG);
			ssid = arm_smmu_cdtab_l2_idx(ssid);
		}
		return read_cdtab(w, ptr + ssid * sizeof(struct arm_smmu_cd),
				  img, CTXDESC_CD_DWORDS);
	default:
		return false;
	}
}

static unsigned int num_words(u8 kind)
{
	return kind == MODEL_L1STD || kind == MODEL_L1CD ? 1 :
							   STRTAB_STE_DWORDS;
}

/* Put a structure into the configuration cache */
static struct cfg *add_image(struct walk *w, struct cfg *cfg, u8 kind,
			     u32 sid, u32 ssid, const u64 *img)
{
	struct smmu *ms = w->ms;
	unsigned int i;

	if (!cfg) {
		for (i = 0; i < MODEL_NUM_CFGS && ms->cfgs[i].kind; i++)
			;
		if (i == MODEL_NUM_CFGS)
			i = rnd(ms->model) % MODEL_NUM_CFGS;
		cfg = &ms->cfgs[i];
		memset(cfg, 0, sizeof(*cfg));
		cfg->kind = kind;
		cfg->sid = sid;
		cfg->ssid = ssid;
	}
	for (i = 0; i < cfg->num; i++)
		if (!memcmp(cfg->img[i], img, num_words(kind) * sizeof(*img)))
			return cfg;
	i = cfg->num < MODEL_NUM_IMAGES ? cfg->num++ :
					  rnd(ms->model) % MODEL_NUM_IMAGES;
	memcpy(cfg->img[i], img, num_words(kind) * sizeof(*img));
	cfg->step = ms->model->stats.steps;
	cfg->log = ms->fake->log_head;
	return cfg;
}

/*
 * Fetch a structure from the cache or from memory. A fetch that is not atomic may
 * have begun right after the last CFGI, so it can return any mix of the images
 * that were in memory since then (3.21.3).
 */
static bool fetch(struct walk *w, u8 kind, u32 sid, u32 ssid, u64 *img)
{
	struct smmu_model *model = w->ms->model;
	struct cfg *cfg;
	unsigned int i, n;
	bool torn = false;

	cfg = find_cfg(w->ms, kind, sid, ssid);
	if (!cfg || !coin(w)) {
		if (!read_struct(w, kind, sid, ssid, img))
			return false;
		/* Whether an invalid L1STD may be cached is not modelled */
		if (!may_cache(w) || (kind == MODEL_L1STD &&
				      !FIELD_GET(STRTAB_L1_DESC_SPAN, *img)))
			return true;
		/* Reading an L1CD may have taken its place */
		cfg = find_cfg(w->ms, kind, sid, ssid);
		cfg = add_image(w, cfg, kind, sid, ssid, img);
		if (cfg->num == 1 || !(rnd(model) & 0x10))
			return true;
	} else {
		model->stats.hits++;
	}

	n = rnd(model) % cfg->num;
	for (i = 0; i < num_words(kind); i++) {
		if (cfg->num > 1 && rnd(model) & 0x40) {
			n = rnd(model) % cfg->num;
			torn = true;
		}
		img[i] = cfg->img[n][i];
	}
	model->stats.torn += torn;
	return true;
}

/* Set what both stages have, and return the bits that the first table decodes */
static int set_stage(struct walk *w, struct stage *st, u64 tg, u64 tsz, u64 ps)
{
	static const u8 tgs[] = { 12, 16, 14, 0 };
	static const u8 oas[] = { 32, 36, 40, 42, 44, 48, 52, 52 };
	struct arm_smmu_device *smmu = &w->ms->fake->smmu;

	st->tg = tgs[tg];
	st->ia_bits = 64 - tsz;
	/* More than the SMMU has is as much as it has */
	st->oa_bits = min_t(unsigned int, oas[ps], smmu->oas);
	if (!st->tg || !(smmu->pgsize_bitmap & BIT(st->tg)) || tsz > 39 ||
	    tsz < 16)
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
		return bad_ste(w, "STE.S2SL0", 2);
	bits = set_stage(w, st, tg, FIELD_GET(STRTAB_STE_2_VTCR_S2T0SZ, vtcr),
			 FIELD_GET(STRTAB_STE_2_VTCR_S2PS, vtcr));
	/* Up to 16 tables are concatenated at the first level */
	if (bits <= 0 || bits > st->tg - 3 + 4)
		return bad_ste(w, "STE.S2TG, S2T0SZ or S2SL0", 2);
	st->ttb = w->ste[3] & STRTAB_STE_3_S2TTB_MASK;
	if (!is_table_aligned(st->ttb, bits))
		return bad_ste(w, "STE.S2TTB", 3);
	st->stall = w->ste[2] & STRTAB_STE_2_S2S;
	return !w->eats || !st->stall || bad_ste(w, "STE.EATS with S2S", 1);
}

static bool decode_ste(struct walk *w)
{
	unsigned int cfg = FIELD_GET(STRTAB_STE_0_CFG, w->ste[0]);

	if (!(w->ste[0] & STRTAB_STE_0_V))
		return fail(w, EVT_ID_BAD_STE_CONFIG);
	if (!check_fields(w, ste_fields, ARRAY_SIZE(ste_fields), w->ste,
			  EVT_ID_BAD_STE_CONFIG))
		return false;
	if (cfg == STRTAB_STE_0_CFG_ABORT)
		return fail(w, 0);
	if (cfg == STRTAB_STE_0_CFG_BYPASS)
		return true;

	w->has_s1 = cfg & 1;
	w->eats = FIELD_GET(STRTAB_STE_1_EATS, w->ste[1]);
	w->vmid = FIELD_GET(STRTAB_STE_2_S2VMID, w->ste[2]);
	if (w->vmid >> w->ms->fake->smmu.vmid_bits)
		return bad_ste(w, "STE.S2VMID", 2);
	if (cfg & 2)
		return decode_s2(w);
	if (FIELD_GET(STRTAB_STE_1_STRW, w->ste[1]) == STRTAB_STE_1_STRW_EL2) {
		w->world = MODEL_EL2_E2H;
		w->vmid = 0;
	}
	return true;
}

/* Find the SSID whose CD translates, see 3.9 */
static bool get_ssid(struct walk *w, u32 *ssid)
{
	unsigned int cdmax = FIELD_GET(STRTAB_STE_0_S1CDMAX, w->ste[0]);
	unsigned int dss = FIELD_GET(STRTAB_STE_1_S1DSS, w->ste[1]);
	u64 size = 64ULL << cdmax;

	if (!w->has_s1)
		return w->ssid == MODEL_NO_SSID ||
		       fail(w, EVT_ID_BAD_SUBSTREAMID_CONFIG);
	if (cdmax > w->ms->fake->smmu.ssid_bits)
		return bad_ste(w, "STE.S1CDMax", 0);
	if (cdmax && FIELD_GET(STRTAB_STE_0_S1FMT, w->ste[0]))
		size = 8ULL << max_t(int, cdmax - 10, 3);
	if (!IS_ALIGNED(w->ste[0] & STRTAB_STE_0_S1CTXPTR_MASK, size))
		return bad_ste(w, "STE.S1ContextPtr", 0);

	if (w->ssid != MODEL_NO_SSID) {
		*ssid = w->ssid;
		return (!(w->ssid >> cdmax) &&
			(w->ssid || dss != STRTAB_STE_1_S1DSS_SSID0)) ||
		       fail(w, EVT_ID_BAD_SUBSTREAMID_CONFIG);
	}
	*ssid = 0;
	if (!cdmax || dss == STRTAB_STE_1_S1DSS_SSID0)
		return true;
	if (dss == STRTAB_STE_1_S1DSS_TERMINATE)
		return fail(w, EVT_ID_STREAM_DISABLED_FAULT);
	w->has_s1 = false;
	return true;
}

static bool decode_cd(struct walk *w)
{
	struct stage *st = &w->s1;
	u64 cd0 = w->cd[0];
	int bits;

	if (!(cd0 & CTXDESC_CD_0_V))
		return fail(w, EVT_ID_BAD_CD_CONFIG);
	if (!check_fields(w, cd_fields, ARRAY_SIZE(cd_fields), w->cd,
			  EVT_ID_BAD_CD_CONFIG))
		return false;

	w->asid = FIELD_GET(CTXDESC_CD_0_ASID, cd0);
	if (w->asid >> w->ms->fake->smmu.asid_bits)
		return bad_cd(w, "CD.ASID");
	st->ha = cd0 & CTXDESC_CD_0_TCR_HA;
	st->hd = cd0 & CTXDESC_CD_0_TCR_HD;
	if (st->hd && !st->ha)
		return bad_cd(w, "CD.HD without HA");
	st->stall = cd0 & CTXDESC_CD_0_S;
	if (st->stall && w->ste[1] & STRTAB_STE_1_S1STALLD)
		return bad_cd(w, "CD.S with S1STALLD");
	st->off = cd0 & CTXDESC_CD_0_TCR_EPD0;
	if (st->off)
		return true;
	bits = set_stage(w, st, FIELD_GET(CTXDESC_CD_0_TCR_TG0, cd0),
			 FIELD_GET(CTXDESC_CD_0_TCR_T0SZ, cd0),
			 FIELD_GET(CTXDESC_CD_0_TCR_IPS, cd0));
	if (bits < 0)
		return bad_cd(w, "CD.TG0 or T0SZ");
	st->ttb = w->cd[1] & CTXDESC_CD_1_TTB0_MASK;
	return is_table_aligned(st->ttb, bits) || bad_cd(w, "CD.TTB0");
}

/* Fetch and decode the STE and the CD of a transaction */
static bool begin(struct walk *w)
{
	u32 ssid;

	if (!fetch(w, MODEL_STE, w->sid, 0, w->ste) || !decode_ste(w) ||
	    !get_ssid(w, &ssid))
		return false;
	return !w->has_s1 ||
	       (fetch(w, MODEL_CD, w->sid, ssid, w->cd) && decode_cd(w));
}

/* Number of descriptors that a contiguous hint joins (DDI 0487, D8.7.1) */
static unsigned int num_cont(unsigned int tg, unsigned int level)
{
	if (tg == 14)
		return level == 3 ? 128 : 32;
	return tg == 12 ? 16 : 32;
}

static bool may_be_block(unsigned int tg, unsigned int level)
{
	return level == 2 || (level == 1 && tg == 12);
}

/*
 * Set the access flag, and for a write the dirty state, of a leaf (3.13). Stage 2
 * has no HTTU here.
 * Return: false if the descriptor has changed meanwhile
 */
static bool update_desc(struct walk *w, const struct stage *st, u64 *p,
			u64 *desc)
{
	u64 new = *desc;

	if (st->ha)
		new |= TTD_AF;
	if (st->hd && w->flags & MODEL_WRITE && new & TTD_DBM)
		new &= ~TTD_S1_RDONLY;
	if (new == *desc || w->flags & MODEL_PEEK)
		return true;
	if (cmpxchg64(p, *desc, new) != *desc)
		return false;
	w->ms->model->stats.httu++;
	*desc = new;
	return true;
}

static void set_perm(const struct stage *st, u64 desc, struct entry *e)
{
	bool readable = desc & TTD_S2_READ, writable = desc & TTD_S2_WRITE;

	if (!st->s2) {
		/* Transactions of devices are unprivileged */
		readable = desc & TTD_S1_UNPRIV;
		writable = readable && !(desc & TTD_S1_RDONLY);
	}
	e->clean = readable && !writable && st->hd && desc & TTD_DBM;
	e->perm = (readable ? MODEL_READ : 0) |
		  (writable || e->clean ? MODEL_WRITE : 0);
}

static bool stage_fail(struct walk *w, const struct stage *st, u8 event)
{
	w->fault_s2 = st->s2;
	if (!st->s2) {
		/* Reading the tables has left its own class and IPA */
		w->ipa = 0;
		w->class = event == EVT_ID_WALK_EABT ? EVTQ_1_CLASS_TT : 2;
	}
	return fail(w, event);
}

/* Where is the descriptor? The page table of stage 1 is behind stage 2. */
static bool table_pa(struct walk *w, const struct stage *st, u64 *addr)
{
	struct entry e;

	if (st->s2 || !w->has_s2)
		return true;
	if (!xlat_s2(w, *addr, EVTQ_1_CLASS_TT, &e))
		return false;
	*addr = e.oa + (*addr - e.ia);
	return true;
}

/* Walk a page table to its table descriptor of level @stop, or for 4 to the leaf */
static bool walk_stage(struct walk *w, const struct stage *st, u64 ia,
		       unsigned int stop, struct entry *e)
{
	u8 kind = st->s2 ? MODEL_TABLE2 : MODEL_TABLE1;
	u64 table = st->ttb, pa, desc, mask, *p;
	unsigned int level = st->level, shift;

	memset(e, 0, sizeof(*e));
	if (st->off || ia >> st->ia_bits)
		return stage_fail(w, st, EVT_ID_TRANSLATION_FAULT);
	if (coin(w) && find(w, kind, ia, e)) {
		level = e->level + 1;
		table = e->oa;
	}

	for (;; level++) {
		memset(e, 0, sizeof(*e));
		shift = st->tg + (3 - level) * (st->tg - 3);
		mask = BIT_ULL(level == st->level ? st->ia_bits - shift :
						    st->tg - 3) - 1;
		pa = table + ((ia >> shift) & mask) * sizeof(desc);
		if (!table_pa(w, st, &pa))
			return false;
		p = to_ptr(pa);
		if (!p)
			return stage_fail(w, st, EVT_ID_WALK_EABT);
again:
		desc = le64_to_cpu((__force __le64)READ_ONCE(*p));
		if (!(desc & TTD_VALID))
			return stage_fail(w, st, EVT_ID_TRANSLATION_FAULT);
		e->ia = ia & ~(BIT_ULL(shift) - 1);
		e->size = BIT_ULL(shift);
		e->inv_ia = e->ia;
		e->inv_size = e->size;
		e->desc_pa = pa;
		e->desc = desc;
		e->level = level;
		if (level == 3 || !(desc & TTD_TYPE))
			break;

		table = desc & TTD_ADDR;
		if (table >> st->oa_bits)
			return stage_fail(w, st, EVT_ID_ADDR_SIZE_FAULT);
		if (desc & TTD_TABLE_ATTRS)
			return refuse(w, "NSTable or APTable", desc, 0);
		e->oa = table;
		if (level == stop)
			return true;
		if (may_cache(w))
			insert(w, kind, e);
	}

	if (stop < 4 ||
	    (!(desc & TTD_TYPE) && (level == 3 || !may_be_block(st->tg, level))))
		return stage_fail(w, st, EVT_ID_TRANSLATION_FAULT);
	e->oa = desc & TTD_ADDR & ~(e->size - 1);
	if (e->oa >> st->oa_bits)
		return stage_fail(w, st, EVT_ID_ADDR_SIZE_FAULT);
	if (!(desc & TTD_AF) && !st->ha && !(w->flags & MODEL_PEEK))
		return stage_fail(w, st, EVT_ID_ACCESS_FAULT);
	set_perm(st, desc, e);
	if (w->flags & MODEL_WRITE && !(e->perm & MODEL_WRITE))
		return stage_fail(w, st, EVT_ID_PERMISSION_FAULT);
	if (!update_desc(w, st, p, &desc))
		goto again;
	set_perm(st, desc, e);
	e->desc = desc;
	e->global = !st->s2 && !(desc & TTD_NG);

	/* Descriptors with a dirty state of their own are kept apart */
	if (desc & TTD_CONT && !(st->hd && desc & TTD_DBM) && may_cache(w) &&
	    rnd(w->ms->model) & 2) {
		u64 size = num_cont(st->tg, level) * e->size;
		u64 off = e->ia & (size - 1);

		if (!IS_ALIGNED(e->oa - off, size))
			refuse(w, "contiguous hint", desc, 0);
		e->ia -= off;
		e->oa -= off;
		e->size = size;
		e->inv_ia = e->ia;
		e->inv_size = size;
	}
	return true;
}

/* Find a cached translation that is enough for this access */
static bool hit(struct walk *w, u8 kind, u64 ia, struct entry *e)
{
	if (!coin(w) || !find(w, kind, ia, e))
		return false;
	/* A write that finds it clean has to go to the descriptor (3.13.4) */
	return !(w->flags & MODEL_WRITE) ||
	       (!e->clean && e->perm & MODEL_WRITE);
}

/* Translate by stage 2. @class says for what. */
static bool xlat_s2(struct walk *w, u64 ipa, u8 class, struct entry *e)
{
	unsigned int flags = w->flags;
	bool ret;

	w->ipa = ipa;
	w->class = class;
	/* The dirty state is that of what is written, not of tables */
	if (class != 2)
		w->flags &= ~MODEL_WRITE;
	ret = hit(w, MODEL_S2, ipa, e);
	if (!ret) {
		ret = walk_stage(w, &w->s2, ipa, 4, e);
		if (ret && may_cache(w))
			insert(w, MODEL_S2, e);
	}
	if (ret && class != 2 && !(e->perm & MODEL_READ))
		ret = stage_fail(w, &w->s2, EVT_ID_PERMISSION_FAULT);
	w->flags = flags;
	return ret;
}

/* Translate an address by all stages that are on */
static bool xlat(struct walk *w, u64 ia, struct entry *e)
{
	struct entry s2;
	u64 lo, hi, ipa;

	w->class = 2;
	if (!w->has_s1 && !w->has_s2) {
		*e = (struct entry){
			.ia = ia & PAGE_MASK,
			.oa = ia & PAGE_MASK,
			.size = PAGE_SIZE,
			.perm = MODEL_READ | MODEL_WRITE,
		};
		return !(ia >> w->ms->fake->smmu.oas) ||
		       fail(w, EVT_ID_ADDR_SIZE_FAULT);
	}
	if (!w->has_s1)
		return xlat_s2(w, ia, 2, e);
	if (w->has_s2 && hit(w, MODEL_S12, ia, e))
		return true;
	if (!hit(w, MODEL_S1, ia, e)) {
		if (!walk_stage(w, &w->s1, ia, 4, e))
			return false;
		if (may_cache(w))
			insert(w, MODEL_S1, e);
	}
	if (!w->has_s2)
		return true;

	ipa = e->oa + (ia - e->ia);
	if (!xlat_s2(w, ipa, 2, &s2))
		return false;
	/* What both stages have in common */
	lo = max(e->ia, ia - (ipa - s2.ia));
	hi = min(e->ia + e->size, ia + (s2.ia + s2.size - ipa));
	e->oa = s2.oa + (ipa - s2.ia) - (ia - lo);
	e->ia = lo;
	e->size = hi - lo;
	e->perm &= s2.perm;
	e->clean |= s2.clean;
	if (may_cache(w))
		insert(w, MODEL_S12, e);
	return true;
}

/* Begin a translation for stream and substream @n of an SMMU, if there is one */
static bool nth_walk(struct smmu *ms, unsigned int n, unsigned int flags,
		     struct walk *w)
{
	struct arm_smmu_master *master;
	struct smmu_model_dev *dev;
	unsigned int num;

	list_for_each_entry(dev, &ms->model->devs, list) {
		if (dev->ms != ms)
			continue;
		master = dev->fm->master;
		num = master->num_streams * dev->num_ssids;
		if (n < num) {
			*w = (struct walk){
				.ms = ms,
				.dev = dev,
				.sid = master->streams[n / dev->num_ssids].id,
				.ssid = dev->ssids[n % dev->num_ssids],
				.flags = flags,
			};
			return true;
		}
		n -= num;
	}
	return false;
}

/* Answer a Translation Request */
static void insert_atc(struct walk *w, struct entry *e)
{
	/* A device that did not ask to write gets no write access that is clean */
	if (e->clean)
		e->perm &= ~MODEL_WRITE;
	e->clean = false;
	insert(w, MODEL_ATC_ENTRY, e);
}

/* Translate as speculation would */
static void speculate(struct walk *w, u64 addr)
{
	struct entry e;

	w->ms->model->stats.fills++;
	if (begin(w) && xlat(w, addr, &e) &&
	    w->eats == STRTAB_STE_1_EATS_TRANS && ats_on(w->dev))
		insert_atc(w, &e);
}

/* Make all translations of tracked addresses, or some */
static void fill(struct smmu *ms, bool all)
{
	struct smmu_model *model = ms->model;
	unsigned int num = 0, i, total, left;
	struct walk w;

	while (nth_walk(ms, num, 0, &w))
		num++;
	total = num * model->num_tracked;
	if (!total)
		return;
	left = all || total <= FILL_ALL ? total : rnd(model) >> 1 & 1;
	for (i = rnd(model) % total; left--; i = (i + 1) % total) {
		nth_walk(ms, i % num, 0, &w);
		speculate(&w, model->tracked[i / num]);
	}
}

static void drop_cfgs(struct smmu *ms, unsigned int kinds, u32 first_sid,
		      u32 last_sid, u32 first_ssid, u32 last_ssid)
{
	struct cfg *cfg;

	for (cfg = ms->cfgs; cfg != ms->cfgs + MODEL_NUM_CFGS; cfg++) {
		u32 sid = cfg->sid, ssid = cfg->ssid;
		unsigned int num_sids = 1, num_ssids = 1;

		if (!(kinds & BIT(cfg->kind)))
			continue;
		if (cfg->kind == MODEL_L1STD) {
			num_sids = STRTAB_NUM_L2_STES;
			sid *= num_sids;
		} else if (cfg->kind == MODEL_L1CD) {
			num_ssids = CTXDESC_L2_ENTRIES;
			ssid *= num_ssids;
		}
		if (sid > last_sid || sid + num_sids <= first_sid ||
		    ssid > last_ssid || ssid + num_ssids <= first_ssid)
			continue;
		cfg->kind = MODEL_FREE;
		ms->model->stats.removed++;
	}
}

/* What a command matches. Fields that do not count are negative. */
struct scope {
	unsigned int kinds;
	int world;
	int vmid;
	int asid;
	bool globals;
	/* Of an ATC */
	s64 sid;
	s64 ssid;
	bool ssids;
	u64 addr;
	/* 0 for all addresses */
	u64 size;
	bool leaf;
	unsigned int ttl;
};

static bool in_scope(const struct scope *s, const struct entry *e)
{
	if (!(s->kinds & BIT(e->kind)) ||
	    (s->size && (s->addr > e->inv_ia + (e->inv_size - 1) ||
			 e->inv_ia > s->addr + (s->size - 1))))
		return false;
	if (e->kind == MODEL_ATC_ENTRY)
		return e->sid == s->sid &&
		       (s->ssid < 0 || e->ssid == s->ssid) &&
		       !(s->ssids && e->ssid == MODEL_NO_SSID);
	if (e->world != s->world || (s->vmid >= 0 && e->vmid != s->vmid))
		return false;
	if (s->asid >= 0 && !(e->global ? s->globals : e->asid == s->asid))
		return false;
	if (e->kind == MODEL_TABLE1 || e->kind == MODEL_TABLE2)
		return !s->leaf && (!s->ttl || e->level < s->ttl);
	return !s->ttl || e->level == s->ttl;
}

static void drop(struct smmu *ms, const struct scope *s)
{
	struct entry *e;
	unsigned int i;

	for (e = ms->tlb; e != ms->tlb + ms->num_tlb; e++) {
		if (!in_scope(s, e))
			continue;
		/* An IPA is not an input address if there is a stage 1 */
		if (e->kind == MODEL_S1 || e->kind == MODEL_S12 ||
		    e->kind == MODEL_ATC_ENTRY) {
			i = ms->num_hot++ % MODEL_NUM_HOT;
			ms->hot[i].sid = e->from_sid;
			ms->hot[i].ssid = e->from_ssid;
			ms->hot[i].ia = e->ia;
		}
		e->kind = MODEL_FREE;
		ms->model->stats.removed++;
	}
}

static void bad_cmd(struct smmu *ms, const char *field,
		    const struct arm_smmu_cmd *cmd)
{
	add_fault(ms, MODEL_ILLEGAL, NULL,
		  "command %#llx %#llx: %s is illegal or reserved",
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
#define S1		ARM_SMMU_FEAT_TRANS_S1
#define S2		ARM_SMMU_FEAT_TRANS_S2
#define E2H		ARM_SMMU_FEAT_E2H
#define KINDS_S1	(BIT(MODEL_TABLE1) | BIT(MODEL_S1) | BIT(MODEL_S12))
/* Entries of both stages are found by VA only */
#define KINDS_S2	(BIT(MODEL_TABLE2) | BIT(MODEL_S2))

/* A command: its fields (4.2 to 4.6), the feature it needs, what a TLBI removes */
struct cmd {
	u8 op;
	u64 fields[CMDQ_ENT_DWORDS];
	u32 feats;
	u32 kinds;
};

static const struct cmd cmds[] = {
	{ CMDQ_OP_PREFETCH_CFG, { CMDQ_0_SSV | SIDS | SSIDS, ~0ULL }, ~0 },
	{ CMDQ_OP_CFGI_STE, { SIDS, CMDQ_CFGI_1_LEAF }, ~0 },
	{ CMDQ_OP_CFGI_ALL, { SIDS, CMDQ_CFGI_1_RANGE }, ~0 },
	{ CMDQ_OP_CFGI_CD, { SIDS | SSIDS, CMDQ_CFGI_1_LEAF }, S1 },
	{ CMDQ_OP_CFGI_CD_ALL, { SIDS }, S1 },
	{ CMDQ_OP_TLBI_NH_ALL, { VMIDS }, S1, KINDS_S1 },
	{ CMDQ_OP_TLBI_NH_ASID, { VMIDS | ASIDS }, S1, KINDS_S1 },
	{ CMDQ_OP_TLBI_NH_VA, { VMIDS | ASIDS | RANGE_0, RANGE_VA }, S1,
	  KINDS_S1 },
	{ CMDQ_OP_TLBI_NH_VAA, { VMIDS | RANGE_0, RANGE_VA }, S1, KINDS_S1 },
	{ CMDQ_OP_TLBI_EL2_ALL, {}, E2H, KINDS_S1 },
	{ CMDQ_OP_TLBI_EL2_ASID, { ASIDS }, E2H, KINDS_S1 },
	{ CMDQ_OP_TLBI_EL2_VA, { ASIDS | RANGE_0, RANGE_VA }, E2H, KINDS_S1 },
	{ CMDQ_OP_TLBI_S12_VMALL, { VMIDS }, S2, KINDS_S1 | KINDS_S2 },
	{ CMDQ_OP_TLBI_S2_IPA, { VMIDS | RANGE_0, RANGE_IPA }, S2, KINDS_S2 },
	{ CMDQ_OP_TLBI_NSNH_ALL, {}, ~0, KINDS_S1 | KINDS_S2 },
	{ CMDQ_OP_ATC_INV, { CMDQ_0_SSV | CMDQ_ATC_0_GLOBAL | SIDS | SSIDS,
			     CMDQ_ATC_1_SIZE | CMDQ_ATC_1_ADDR_MASK },
	  ARM_SMMU_FEAT_ATS },
	{ CMDQ_OP_RESUME, { CMDQ_RESUME_0_RESP | SIDS, CMDQ_RESUME_1_STAG },
	  ARM_SMMU_FEAT_STALLS },
};

static const struct cmd *find_cmd(struct smmu *ms,
				  const struct arm_smmu_cmd *cmd)
{
	const char *field = NULL;
	int i;

	for (i = 0; i < ARRAY_SIZE(cmds) - 1; i++)
		if (cmds[i].op == FIELD_GET(CMDQ_0_OP, cmd->data[0]))
			break;
	if (cmds[i].op != FIELD_GET(CMDQ_0_OP, cmd->data[0]) ||
	    !(ms->fake->smmu.features & cmds[i].feats))
		field = "opcode";
	else if (cmd->data[0] & ~(cmds[i].fields[0] | CMDQ_0_OP))
		field = "word 0";
	else if (cmd->data[1] & ~cmds[i].fields[1])
		field = "word 1";
	if (!field)
		return &cmds[i];
	bad_cmd(ms, field, cmd);
	return NULL;
}

/* Decode the address, the range and the level hint of a TLBI, 4.4.1.1 */
static bool decode_range(struct smmu *ms, const struct arm_smmu_cmd *cmd,
			 struct scope *s)
{
	static const u8 tgs[] = { 12, 12, 14, 16 };
	u32 features = ms->fake->smmu.features;
	unsigned int tg = FIELD_GET(CMDQ_TLBI_1_TG, cmd->data[1]);
	u64 num = FIELD_GET(CMDQ_TLBI_0_NUM, cmd->data[0]);
	u64 scale = FIELD_GET(CMDQ_TLBI_0_SCALE, cmd->data[0]);
	const char *field = NULL;
	u64 block;

	s->leaf = cmd->data[1] & CMDQ_TLBI_1_LEAF;
	s->ttl = FIELD_GET(CMDQ_TLBI_1_TTL, cmd->data[1]);
	s->addr = cmd->data[1] & CMDQ_TLBI_1_VA_MASK;
	if (!num && !scale && !tg && !s->ttl)
		field = NULL;
	else if (!(features & ARM_SMMU_FEAT_RANGE_INV))
		field = "NUM, SCALE, TG or TTL without range invalidation";
	else if (!tg)
		field = "NUM, SCALE or TTL without TG";
	else if (!num && !scale && !s->ttl)
		field = "TG without NUM, SCALE and TTL";
	else if (scale > 31 && !(features & ARM_SMMU_FEAT_DS))
		field = "SCALE";
	else if (s->ttl == 1 && tg != 1)
		field = "TTL";
	else if (!(ms->fake->smmu.pgsize_bitmap & BIT(tgs[tg])))
		field = "TG";
	else if (!IS_ALIGNED(s->addr, BIT(tgs[tg])))
		field = "Address";
	if (field) {
		bad_cmd(ms, field, cmd);
		return false;
	}

	s->size = scale + tgs[tg] >= 58 ? -s->addr :
					  (num + 1) << (scale + tgs[tg]);
	if (!s->size || s->addr + s->size - 1 < s->addr)
		s->size = s->addr ? -s->addr : U64_MAX;
	if (s->ttl) {
		/* Bits of the address below a block of that level are ignored */
		block = BIT_ULL(tgs[tg] + (3 - s->ttl) * (tgs[tg] - 3)) - 1;
		s->size += s->addr & block;
		s->addr &= ~block;
	}
	return true;
}

static void apply_tlbi(struct smmu *ms, const struct cmd *c,
		       const struct arm_smmu_cmd *cmd)
{
	struct scope s = {
		.kinds = c->kinds,
		.world = c->feats == E2H ? MODEL_EL2_E2H : MODEL_EL1,
		.vmid = -1,
		.asid = -1,
		/* Those by VA remove global entries as well */
		.globals = c->fields[0] & RANGE_0,
	};

	if (c->fields[0] & VMIDS)
		s.vmid = FIELD_GET(CMDQ_TLBI_0_VMID, cmd->data[0]);
	if (c->fields[0] & ASIDS)
		s.asid = FIELD_GET(CMDQ_TLBI_0_ASID, cmd->data[0]);
	if (!(c->fields[0] & RANGE_0) || decode_range(ms, cmd, &s))
		drop(ms, &s);
}

static struct smmu_model_dev *find_dev(struct smmu *ms, u32 sid)
{
	struct smmu_model_dev *dev;
	int i;

	list_for_each_entry(dev, &ms->model->devs, list)
		for (i = 0; i < dev->fm->master->num_streams; i++)
			if (dev->ms == ms &&
			    dev->fm->master->streams[i].id == sid)
				return dev;
	return NULL;
}

static void apply_atc_inv(struct smmu *ms, const struct arm_smmu_cmd *cmd)
{
	unsigned int size = FIELD_GET(CMDQ_ATC_1_SIZE, cmd->data[1]);
	bool ssv = cmd->data[0] & CMDQ_0_SSV;
	struct smmu_model_dev *dev;
	struct scope s = {
		.kinds = BIT(MODEL_ATC_ENTRY),
		.sid = FIELD_GET(CMDQ_ATC_0_SID, cmd->data[0]),
		/* Without SSID it is for all, with and without PASID */
		.ssid = -1,
		.ssids = cmd->data[0] & CMDQ_ATC_0_GLOBAL,
	};

	if (size > ATC_INV_SIZE_ALL)
		return bad_cmd(ms, "Size", cmd);
	if (!ssv && cmd->data[0] & (CMDQ_ATC_0_SSID | CMDQ_ATC_0_GLOBAL))
		return bad_cmd(ms, "SSID or Global without SSV", cmd);
	if (ssv && !s.ssids)
		s.ssid = FIELD_GET(CMDQ_ATC_0_SSID, cmd->data[0]);
	/* Bits of the address below the size are not looked at (4.5.1) */
	if (size < ATC_INV_SIZE_ALL) {
		s.size = (u64)SZ_4K << size;
		s.addr = cmd->data[1] & CMDQ_ATC_1_ADDR_MASK & ~(s.size - 1);
	}
	dev = find_dev(ms, s.sid);
	if (dev && !ats_on(dev))
		dev->num_bad_atc_invs++;
	drop(ms, &s);
}

static void apply_resume(struct smmu *ms, const struct arm_smmu_cmd *cmd)
{
	unsigned int resp = FIELD_GET(CMDQ_RESUME_0_RESP, cmd->data[0]);
	struct smmu_model_dev *dev =
		find_dev(ms, FIELD_GET(CMDQ_RESUME_0_SID, cmd->data[0]));

	if (resp > CMDQ_RESUME_0_RESP_ABORT)
		return bad_cmd(ms, "Resp", cmd);
	/* One that matches no stalled transaction has no effect (4.6.1) */
	if (dev && dev->stall == -EINPROGRESS &&
	    dev->stag == FIELD_GET(CMDQ_RESUME_1_STAG, cmd->data[1]))
		dev->stall = resp == CMDQ_RESUME_0_RESP_RETRY ? -EAGAIN :
								-EFAULT;
}

static void apply(struct smmu *ms, const struct arm_smmu_cmd *cmd)
{
	const unsigned int cds = BIT(MODEL_CD) | BIT(MODEL_L1CD);
	const struct cmd *c = find_cmd(ms, cmd);
	u32 ssid = FIELD_GET(CMDQ_CFGI_0_SSID, cmd->data[0]);
	u32 sid = FIELD_GET(CMDQ_CFGI_0_SID, cmd->data[0]);
	bool leaf = cmd->data[1] & CMDQ_CFGI_1_LEAF;
	u64 span;

	ms->model->stats.cmds++;
	ms->num_hot = 0;
	if (!c)
		return;
	switch (c->op) {
	case CMDQ_OP_CFGI_STE:
		/* With the STE go the CDs that it leads to (4.3.1) */
		drop_cfgs(ms,
			  BIT(MODEL_STE) | cds | (leaf ? 0 : BIT(MODEL_L1STD)),
			  sid, sid, 0, U32_MAX);
		break;
	case CMDQ_OP_CFGI_ALL:
		span = 2ULL << FIELD_GET(CMDQ_CFGI_1_RANGE, cmd->data[1]);
		sid &= ~(span - 1);
		drop_cfgs(ms, BIT(MODEL_STE) | cds | BIT(MODEL_L1STD), sid,
			  sid + (span - 1), 0, U32_MAX);
		break;
	case CMDQ_OP_CFGI_CD:
		drop_cfgs(ms, leaf ? BIT(MODEL_CD) : cds, sid, sid, ssid, ssid);
		break;
	case CMDQ_OP_CFGI_CD_ALL:
		drop_cfgs(ms, cds, sid, sid, 0, U32_MAX);
		break;
	case CMDQ_OP_ATC_INV:
		apply_atc_inv(ms, cmd);
		break;
	case CMDQ_OP_RESUME:
		apply_resume(ms, cmd);
		break;
	default:
		apply_tlbi(ms, c, cmd);
	}
}

/*
 * Let one of the commands that were consumed take effect, in any order (4.7).
 * What it has removed is filled at once from what other caches still have: that
 * finds commands in the wrong order.
 */
static void apply_one(struct smmu *ms)
{
	unsigned int i = rnd(ms->model) % ms->num_pending;
	struct arm_smmu_cmd cmd = ms->pending[i];

	ms->pending[i] = ms->pending[--ms->num_pending];
	apply(ms, &cmd);
	if (!ms->num_pending)
		return;
	for (i = 0; i < min(ms->num_hot, MODEL_NUM_HOT); i++) {
		struct walk w = {
			.ms = ms,
			.dev = find_dev(ms, ms->hot[i].sid),
			.sid = ms->hot[i].sid,
			.ssid = ms->hot[i].ssid,
			.flags = rnd(ms->model) & 0x18 ? MODEL_CACHED : 0,
		};

		if (w.dev)
			speculate(&w, ms->hot[i].ia);
	}
}

static void model_command(struct arm_smmu_fake *fake,
			  const struct arm_smmu_cmd *cmd)
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

/* Fail the test if there was a fault. The lock is not held. */
static void report(struct smmu_model *model)
{
	char *text, *rest, *line;

	if (!READ_ONCE(model->text_len))
		return;
	text = kzalloc(MODEL_TEXT_SIZE, GFP_KERNEL);
	scoped_guard(raw_spinlock_irqsave, &arm_smmu_fake_lock) {
		if (text)
			memcpy(text, model->text, model->text_len);
		model->text_len = 0;
	}
	/* A line of the kernel log is too short for all of it */
	for (rest = text; (line = strsep(&rest, "\n"));)
		if (*line)
			kunit_err(model->test, "%s\n", line);
	KUNIT_FAIL(model->test, "the model found faults, seed %llu",
		   model->seed);
	kfree(text);
}

static void exit_model(void *data)
{
	struct smmu_model *model = data;
	struct smmu_model_stats *s = &model->stats;

	report(model);
	kunit_info(model->test,
		   "model: seed %llu steps %llu fills %llu hits %llu cmds %llu removed %llu dmas %llu events %llu torn %llu httu %llu\n",
		   model->seed, s->steps, s->fills, s->hits, s->cmds,
		   s->removed, s->dmas, s->events, s->torn, s->httu);
}

/**
 * smmu_model_create() - Make the model of a test
 * @test: the test that owns it
 * @seed: what all choices come from
 *
 * Call it before the first arm_smmu_fake_create(), so that it outlives them.
 *
 * Return: the model. Never NULL or an error, the test is aborted instead.
 */
struct smmu_model *smmu_model_create(struct kunit *test, u64 seed)
{
	struct smmu_model *model;

	model = kunit_kzalloc(test, sizeof(*model), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, model);
	model->test = test;
	model->seed = seed;
	model->rnd = (lower_32_bits(seed) * 0x9e3779b1 ^ upper_32_bits(seed)) ?:
										1;
	INIT_LIST_HEAD(&model->smmus);
	INIT_LIST_HEAD(&model->devs);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, exit_model, model));
	return model;
}

static void remove_smmu(void *data)
{
	struct smmu *ms = data;

	guard(raw_spinlock_irqsave)
		(&arm_smmu_fake_lock);
	ms->fake->ops = NULL;
	list_del(&ms->list);
}

/**
 * smmu_model_add_smmu() - Let a fake SMMU translate and cache
 * @model: the model
 * @fake: the fake SMMU, whose features are set
 */
void smmu_model_add_smmu(struct smmu_model *model, struct arm_smmu_fake *fake)
{
	struct kunit *test = model->test;
	struct smmu *ms;

	/* These are not modelled */
	KUNIT_ASSERT_FALSE(test, fake->smmu.features &
			   (ARM_SMMU_FEAT_STALL_FORCE | ARM_SMMU_FEAT_HYP |
			    ARM_SMMU_FEAT_VAX));
	KUNIT_ASSERT_LE(test, fake->smmu.oas, 48);
	ms = kunit_kzalloc(test, sizeof(*ms), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, ms);
	ms->model = model;
	ms->fake = fake;
	/* Output addresses that are not RAM: the upper half of what there is */
	model->next_pa =
		min_not_zero(model->next_pa, BIT_ULL(fake->smmu.oas - 1));
	scoped_guard(raw_spinlock_irqsave, &arm_smmu_fake_lock) {
		list_add_tail(&ms->list, &model->smmus);
		fake->model = ms;
		fake->ops = &model_ops;
	}
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, remove_smmu, ms));
}

static void remove_dev(void *data)
{
	struct smmu_model_dev *dev = data;

	guard(raw_spinlock_irqsave)
		(&arm_smmu_fake_lock);
	list_del(&dev->list);
}

/**
 * smmu_model_add_dev() - Let a device do DMA
 * @model: the model
 * @fm: the device, behind an SMMU of smmu_model_add_smmu()
 *
 * The adversary translates for all its streams, at first without PASID.
 *
 * Return: the device. Never NULL or an error, the test is aborted instead.
 */
struct smmu_model_dev *smmu_model_add_dev(struct smmu_model *model,
					  struct arm_smmu_fake_master *fm)
{
	struct kunit *test = model->test;
	struct smmu_model_dev *dev;

	dev = kunit_kzalloc(test, sizeof(*dev), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, dev);
	dev->model = model;
	dev->ms = fm->fake->model;
	dev->fm = fm;
	dev->ssids[0] = MODEL_NO_SSID;
	dev->num_ssids = 1;
	scoped_guard(raw_spinlock_irqsave, &arm_smmu_fake_lock)
		list_add_tail(&dev->list, &model->devs);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, remove_dev, dev));
	return dev;
}

/**
 * smmu_model_track() - Let the adversary translate an address
 * @model: the model
 * @addr: the input address. With 64 of them, one is dropped at random.
 *
 * Return: false if it did so already.
 */
bool smmu_model_track(struct smmu_model *model, u64 addr)
{
	int i;

	guard(raw_spinlock_irqsave)
		(&arm_smmu_fake_lock);
	for (i = 0; i < model->num_tracked; i++)
		if (model->tracked[i] == addr)
			return false;
	if (i == MODEL_NUM_TRACKED)
		i = rnd(model) % MODEL_NUM_TRACKED;
	else
		model->num_tracked++;
	model->tracked[i] = addr;
	return true;
}

/**
 * smmu_model_untrack() - Undo smmu_model_track()
 * @model: the model
 * @addr: the input address
 */
void smmu_model_untrack(struct smmu_model *model, u64 addr)
{
	int i;

	guard(raw_spinlock_irqsave)
		(&arm_smmu_fake_lock);
	for (i = 0; i < model->num_tracked; i++)
		if (model->tracked[i] == addr)
			model->tracked[i] =
				model->tracked[--model->num_tracked];
}

/**
 * smmu_model_untrack_ssid() - Undo smmu_model_track_ssid()
 * @dev: the device
 * @ssid: the PASID
 */
void smmu_model_untrack_ssid(struct smmu_model_dev *dev, u32 ssid)
{
	int i;

	guard(raw_spinlock_irqsave)(&arm_smmu_fake_lock);
	for (i = 0; i < dev->num_ssids; i++)
		if (dev->ssids[i] == ssid)
			dev->ssids[i] = dev->ssids[--dev->num_ssids];
}

/**
 * smmu_model_track_ssid() - Let the adversary translate for a PASID
 * @dev: the device
 * @ssid: the PASID. There may be 7 of them.
 */
void smmu_model_track_ssid(struct smmu_model_dev *dev, u32 ssid)
{
	smmu_model_untrack_ssid(dev, ssid);
	guard(raw_spinlock_irqsave)(&arm_smmu_fake_lock);
	if (!WARN_ON(dev->num_ssids == MODEL_NUM_SSIDS))
		dev->ssids[dev->num_ssids++] = ssid;
}

/* Report a fault as an event record (7.3), or stall */
static int report_event(struct walk *w, u64 addr)
{
	bool s2 = w->fault_s2;
	bool is_xlat = w->event >= EVT_ID_TRANSLATION_FAULT &&
		       w->event <= EVT_ID_PERMISSION_FAULT;
	bool stall = is_xlat && (s2 ? w->s2.stall : w->has_s1 && w->s1.stall);
	u64 evt[EVTQ_ENT_DWORDS] = {};

	if (!w->event)
		return -EFAULT;
	/* CD.R and STE.S2R: a fault that does not stall may go unreported */
	if (!stall && is_xlat &&
	    !(s2 ? w->ste[2] & STRTAB_STE_2_S2R :
		   !w->has_s1 || w->cd[0] & CTXDESC_CD_0_R))
		return -EFAULT;

	evt[0] = FIELD_PREP(EVTQ_0_ID, w->event) |
		 FIELD_PREP(EVTQ_0_SID, w->sid);
	if (w->ssid != MODEL_NO_SSID)
		evt[0] |= EVTQ_0_SSV | FIELD_PREP(EVTQ_0_SSID, w->ssid);
	if (w->event >= EVT_ID_TRANSLATION_FAULT) {
		evt[1] = FIELD_PREP(EVTQ_1_CLASS, w->class) |
			 (w->flags & MODEL_WRITE ? 0 : EVTQ_1_RnW) |
			 (s2 ? EVTQ_1_S2 : 0);
		evt[2] = addr;
		evt[3] = w->ipa & EVTQ_3_IPA;
	}
	if (stall) {
		w->dev->stag++;
		w->dev->stall = -EINPROGRESS;
		evt[1] |= EVTQ_1_STALL | FIELD_PREP(EVTQ_1_STAG, w->dev->stag);
	}
	w->dev->model->stats.events++;
	arm_smmu_fake_event(w->ms->fake, evt);
	return stall ? -EINPROGRESS : -EFAULT;
}

static int do_dma(struct walk *w, u64 addr, u64 *pa)
{
	bool ats = w->flags & MODEL_ATS && ats_on(w->dev);
	struct entry e;

	if (!begin(w))
		return -EFAULT;
	/* CR0.ATSCHK: the STE is looked at for a translated access, too */
	if (ats && w->eats != STRTAB_STE_1_EATS_TRANS) {
		w->event = 0;
		return -EFAULT;
	}
	if (!ats || !coin(w) || !find(w, MODEL_ATC_ENTRY, addr, &e) ||
	    !(e.perm & MODEL_READ) ||
	    (w->flags & MODEL_WRITE && !(e.perm & MODEL_WRITE))) {
		if (!xlat(w, addr, &e))
			return -EFAULT;
		if (!(e.perm & MODEL_READ) &&
		    (ats || !(w->flags & MODEL_WRITE))) {
			w->event = EVT_ID_PERMISSION_FAULT;
			return -EFAULT;
		}
		if (ats && may_cache(w))
			insert_atc(w, &e);
	}
	*pa = e.oa + (addr - e.ia);
	set_source(w, MODEL_DMA, &e);
	e.ia = addr;
	e.oa = *pa;
	e.size = 1;
	judge(w->ms, &e);
	return 0;
}

/**
 * smmu_model_dma() - Let a device read or write
 * @dev: the device
 * @ssid: its PASID or MODEL_NO_SSID
 * @addr: the address
 * @flags: MODEL_READ, WRITE, ATS, CACHED, FRESH and QUIET
 * @pa: set to the output address
 *
 * With ATS off a device makes untranslated accesses only, whatever @flags say.
 *
 * Return: 0; -EFAULT if there is no translation, with an event record;
 * -EINPROGRESS if the transaction stalls, with an event record as well. In
 * &smmu_model_dev.stall is what becomes of it: -EAGAIN if CMD_RESUME says that it
 * is to be retried, -EFAULT if it was aborted.
 */
int smmu_model_dma(struct smmu_model_dev *dev, u32 ssid, u64 addr,
		   unsigned int flags, u64 *pa)
{
	struct smmu_model *model = dev->model;
	struct arm_smmu_master *master = dev->fm->master;
	struct walk w = {
		.ms = dev->ms,
		.dev = dev,
		.ssid = ssid,
		.flags = flags,
	};
	int ret;

	scoped_guard(raw_spinlock_irqsave, &arm_smmu_fake_lock) {
		w.sid = master->streams[rnd(model) % master->num_streams].id;
		model->stats.dmas++;
		ret = do_dma(&w, addr, pa);
		/* A Translation Request is answered, not reported (3.9.1.2) */
		if (ret && !(flags & (MODEL_QUIET | MODEL_ATS)))
			ret = report_event(&w, addr);
	}
	report(model);
	return ret;
}

/**
 * smmu_model_fill() - Fill all caches with everything that is reachable now
 * @model: the model
 */
void smmu_model_fill(struct smmu_model *model)
{
	struct smmu *ms;

	list_for_each_entry(ms, &model->smmus, list)
		scoped_guard(raw_spinlock_irqsave, &arm_smmu_fake_lock)
			fill(ms, true);
	report(model);
}

static int run_adversary(void *data)
{
	struct smmu_model *model = data;
	struct smmu *ms;

	while (!kthread_should_stop()) {
		scoped_guard(raw_spinlock_irqsave, &arm_smmu_fake_lock)
			list_for_each_entry(ms, &model->smmus, list)
				fill(ms, false);
		cond_resched();
		cpu_relax();
	}
	return 0;
}

/**
 * smmu_model_adversary_start() - Fill the caches from another CPU all the time
 * @model: the model
 * @cpu: the CPU
 *
 * Ends with the test.
 */
void smmu_model_adversary_start(struct smmu_model *model, unsigned int cpu)
{
	wake_up_process(arm_smmu_fake_create_task(model->test, run_adversary,
						  model, cpu));
}

/**
 * smmu_model_pa() - Hand out output addresses
 * @model: the model, with all its SMMUs
 * @size: how many, a power of two
 *
 * Return: the first of @size addresses, aligned to it, which are not RAM and were
 * never handed out before.
 */
u64 smmu_model_pa(struct smmu_model *model, u64 size)
{
	guard(raw_spinlock_irqsave)
		(&arm_smmu_fake_lock);
	model->next_pa = ALIGN(model->next_pa, size) + size;
	return model->next_pa - size;
}

/**
 * smmu_model_kinds() - Tell what is cached
 * @model: the model
 * @asid: the ASID of all entries that are to be looked at apart
 *
 * Return: a bit for each enum smmu_model_kind, of those with @asid 16 bits higher.
 */
u32 smmu_model_kinds(struct smmu_model *model, u16 asid)
{
	struct smmu *ms;
	struct entry *e;
	u32 kinds = 0;

	guard(raw_spinlock_irqsave)
		(&arm_smmu_fake_lock);
	list_for_each_entry(ms, &model->smmus, list)
		for (e = ms->tlb; e != ms->tlb + ms->num_tlb; e++)
			if (e->kind)
				kinds |= BIT(e->kind + (e->asid == asid) * 16);
	return kinds;
}

/* Whether @e was made from the tables that @w leads to, under its tag */
static bool same_source(const struct walk *w, const struct entry *e)
{
	if (e->world != w->world || e->vmid != w->vmid ||
	    e->ttb2 != (w->has_s2 ? w->s2.ttb : 0))
		return false;
	if (e->kind == MODEL_TABLE2 || e->kind == MODEL_S2)
		return true;
	if (e->nested != w->has_s2)
		return false;
	return w->has_s1 ? !w->s1.off && e->ttb1 == w->s1.ttb &&
				   e->asid == w->asid :
			   !e->ttb1;
}

/* Compare what is cached of one structure with memory */
static void check_cfg(struct smmu *ms, struct cfg *cfg)
{
	bool is_cd = cfg->kind == MODEL_L1CD || cfg->kind == MODEL_CD;
	struct walk w = {
		.ms = ms,
		.sid = cfg->sid,
		.ssid = MODEL_NO_SSID,
		.flags = MODEL_PEEK,
	};
	struct entry e = {
		.kind = cfg->kind,
		.from_sid = cfg->sid,
		.from_ssid = cfg->ssid,
		.step = cfg->step,
		.log = cfg->log,
	};
	u64 img[STRTAB_STE_DWORDS] = {};
	unsigned int i, j;

	/* Finds the STE for the sake of the CD, whatever is thought of it */
	if (is_cd) {
		begin(&w);
		if (!(FIELD_GET(STRTAB_STE_0_CFG, w.ste[0]) & 1)) {
			add_fault(ms, MODEL_STALE, &e,
				  "the STE has no stage 1, word 0 is %#llx",
				  w.ste[0]);
			return;
		}
	}
	if (!fetch(&w, cfg->kind, cfg->sid, cfg->ssid, img))
		return;
	for (i = 0; i < cfg->num; i++) {
		for (j = 0; j < STRTAB_STE_DWORDS; j++) {
			if (cfg->img[i][j] == img[j])
				continue;
			e.desc = cfg->img[i][j];
			add_fault(ms, MODEL_STALE, &e,
				  "word %u is %#llx in memory", j, img[j]);
			return;
		}
	}
}

/* Compare an entry with a fresh walk */
static void check_entry(struct walk *w, const struct entry *e)
{
	bool table = e->kind == MODEL_TABLE1 || e->kind == MODEL_TABLE2;
	struct entry now;
	const char *what;
	u64 ia = e->ia;
	bool ok;
	int i;

	/* The first and the last address */
	for (i = 0; i < 2; i++, ia = e->ia + e->size - 1) {
		if (e->kind == MODEL_TABLE2 || e->kind == MODEL_S2)
			ok = walk_stage(w, &w->s2, ia, table ? e->level : 4,
					&now);
		else if (e->kind == MODEL_TABLE1 || e->kind == MODEL_S1)
			ok = walk_stage(w, &w->s1, ia, table ? e->level : 4,
					&now);
		else
			ok = xlat(w, ia, &now);
		if (!ok)
			what = "there is no translation any more";
		else if (table ? now.oa != e->oa :
				 now.oa + (ia - now.ia) != e->oa + (ia - e->ia))
			what = "the output address is another";
		else if (e->perm & ~now.perm)
			what = "permissions are fewer";
		else if (e->perm & MODEL_WRITE && !e->clean && now.clean)
			what = "the dirty state is clean, writes will be lost";
		else
			continue;
		add_fault(w->ms, MODEL_STALE, e, "%#llx: %s, now %#llx", ia,
			  what, ok ? now.oa : 0);
		return;
	}
}

/* An entry of the ATC of @dev */
static void check_atc(struct smmu_model_dev *dev, const struct entry *e)
{
	struct walk w = {
		.ms = dev->ms,
		.dev = dev,
		.sid = e->sid,
		.ssid = e->ssid,
		.flags = MODEL_PEEK,
	};

	if (!ats_on(dev))
		add_fault(dev->ms, MODEL_ATC, e, "ATS is off");
	else if (!begin(&w))
		add_fault(dev->ms, MODEL_ATC, e,
			  "the device has no translation");
	else if (!same_source(&w, e))
		add_fault(dev->ms, MODEL_ATC, e,
			  "the device has left the domain, TTB0 is %#llx, S2TTB %#llx",
			  w.s1.ttb, w.s2.ttb);
}

static bool has_sid(struct smmu_model_dev *dev, u32 sid)
{
	int i;

	for (i = 0; i < dev->fm->master->num_streams; i++)
		if (dev->fm->master->streams[i].id == sid)
			return true;
	return false;
}

/**
 * smmu_model_left() - A device has left a domain
 * @dev: the device
 * @ssid: the PASID that was detached or replaced, or MODEL_NO_SSID
 *
 * No ATC entry may be left from a domain to which it is not attached, and what is
 * cached of its STE and CD must be what is in memory. Nothing else is attached to
 * or detached from this device at the same time, but anything from others.
 */
void smmu_model_left(struct smmu_model_dev *dev, u32 ssid)
{
	struct smmu *ms = dev->ms;
	struct cfg *cfg;
	struct entry *e;

	scoped_guard(raw_spinlock_irqsave, &arm_smmu_fake_lock) {
		for (e = ms->tlb; e != ms->tlb + ms->num_tlb; e++)
			if (e->kind == MODEL_ATC_ENTRY && e->ssid == ssid &&
			    has_sid(dev, e->sid))
				check_atc(dev, e);
		for (cfg = ms->cfgs; cfg != ms->cfgs + MODEL_NUM_CFGS; cfg++)
			if ((cfg->kind == MODEL_STE ||
			     (cfg->kind == MODEL_CD &&
			      cfg->ssid ==
				      (ssid == MODEL_NO_SSID ? 0 : ssid))) &&
			    has_sid(dev, cfg->sid))
				check_cfg(ms, cfg);
	}
	report(dev->model);
}

/* Decode what all streams and substreams are attached to */
static void get_walks(struct smmu *ms)
{
	unsigned int n;

	ms->num_walks = 0;
	for (n = 0; ms->num_walks < MODEL_NUM_WALKS; n++) {
		struct walk *w = &ms->walks[ms->num_walks];

		if (!nth_walk(ms, n, MODEL_PEEK, w))
			break;
		ms->num_walks += begin(w);
	}
}

/* What leads to @e, of the walks of get_walks(). NULL if nothing does. */
static struct walk *find_walk(struct smmu *ms, const struct entry *e)
{
	struct walk *w;

	for (w = ms->walks; w != ms->walks + ms->num_walks; w++)
		if (e->kind == MODEL_ATC_ENTRY ?
			    w->sid == e->sid && w->ssid == e->ssid :
			    same_source(w, e))
			return w;
	return NULL;
}

/**
 * smmu_model_retire() - From now on nothing may reach these addresses
 * @model: the model
 * @pa: the first output address
 * @size: how many
 *
 * To be called when an unmap, a detach or the like has returned, after which no
 * device is to reach them. All caches are looked at now, and every translation
 * from now on. Of more than 64 calls the latest count.
 *
 * A TLB entry to which no STE and CD lead is not looked at before it is used: a
 * detach by another thread may be about to flush it.
 */
void smmu_model_retire(struct smmu_model *model, u64 pa, u64 size)
{
	struct smmu *ms;
	struct entry *e;

	scoped_guard(raw_spinlock_irqsave, &arm_smmu_fake_lock) {
		model->retired[model->num_retired++ % MODEL_NUM_RETIRED] =
			(struct range){ pa, pa + size - 1 };
		if (model->num_retired == 2 * MODEL_NUM_RETIRED)
			model->num_retired = MODEL_NUM_RETIRED;
		list_for_each_entry(ms, &model->smmus, list) {
			get_walks(ms);
			for (e = ms->tlb; e != ms->tlb + ms->num_tlb; e++)
				if (e->kind == MODEL_ATC_ENTRY ||
				    find_walk(ms, e))
					judge(ms, e);
		}
	}
	report(model);
}

static void check_smmu(struct smmu *ms)
{
	struct cfg *cfg;
	struct entry *e;
	struct walk *w;

	get_walks(ms);
	for (cfg = ms->cfgs; cfg != ms->cfgs + MODEL_NUM_CFGS; cfg++)
		if (cfg->kind)
			check_cfg(ms, cfg);
	for (e = ms->tlb; e != ms->tlb + ms->num_tlb; e++) {
		if (e->kind == MODEL_FREE)
			continue;
		w = find_walk(ms, e);
		if (!w) {
			/*
			 * An attachment with a nested STE of abort or bypass
			 * keeps the VMID of its vSMMU in the array, and the
			 * guest has ASIDs of its own under it. A VMID that is
			 * free is found by check_ids().
			 */
			if (!e->vmid || e->kind == MODEL_ATC_ENTRY)
				add_fault(ms,
					  e->kind == MODEL_ATC_ENTRY ?
						  MODEL_ATC :
						  MODEL_TAG,
					  e, "no STE and CD lead to it");
			continue;
		}
		if (e->kind == MODEL_ATC_ENTRY)
			check_atc(w->dev, e);
		if (same_source(w, e))
			check_entry(w, e);
	}
}

/* The maps of IDs have a lock that is not to be taken with interrupts off */
static void check_ids(struct smmu *ms)
{
	struct arm_smmu_device *smmu = &ms->fake->smmu;
	struct entry e;
	unsigned int i;
	bool used;

	for (i = 0; i < ms->num_tlb; i++) {
		scoped_guard(raw_spinlock_irqsave, &arm_smmu_fake_lock)
			e = ms->tlb[i];
		if (e.kind == MODEL_FREE || e.kind == MODEL_ATC_ENTRY)
			continue;
		if (e.vmid)
			used = arm_smmu_fake_has_id(&smmu->vmids, e.vmid);
		else
			used = e.asid &&
			       arm_smmu_fake_has_id(&smmu->asids, e.asid);
		if (used)
			continue;
		guard(raw_spinlock_irqsave)
			(&arm_smmu_fake_lock);
		add_fault(ms, MODEL_TAG, &e, "its ID is free");
	}
}

/**
 * smmu_model_check() - Compare all caches with memory
 * @model: the model
 *
 * To be called when nothing is under way: no attach, no map, no invalidation.
 * An adversary may run. Nothing may be cached that a walk of memory would not
 * find now, or under an ID that is free. Only PASIDs that the adversary uses are
 * looked at.
 */
void smmu_model_check(struct smmu_model *model)
{
	struct smmu *ms;

	list_for_each_entry(ms, &model->smmus, list) {
		scoped_guard(raw_spinlock_irqsave, &arm_smmu_fake_lock)
			check_smmu(ms);
		check_ids(ms);
	}
	report(model);
}
