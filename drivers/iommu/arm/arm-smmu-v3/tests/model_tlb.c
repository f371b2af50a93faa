// SPDX-License-Identifier: GPL-2.0
/*
 * Caches of the model, and the commands that invalidate them.
 *
 * The caches keep as much as they may for as long as they may. Only a command
 * removes an entry, and no command removes more than it has to. Between two
 * commands an adversary fills them with what is reachable then.
 * arm_smmu_fake_lock is held.
 */
#include <linux/pci.h>

#include "model_int.h"

/*
 * At each step the adversary makes all translations if there are so few, else
 * one of them in half of the steps
 */
#define MODEL_FILL_ALL		4
#define MODEL_KEY_FREE		U32_MAX

static u32 smmu_model_key(enum smmu_model_kind kind, bool s2, u8 world, u16 vmid)
{
	return kind | s2 << 4 | world << 5 | vmid << 8;
}

static bool smmu_model_overlaps(u64 a, u64 a_size, u64 b, u64 b_size)
{
	return a <= b + (b_size - 1) && b <= a + (a_size - 1);
}

/**
 * smmu_model_find() - Look an address up in the TLB
 * @w: the translation, which says under which tag
 * @kind: MODEL_TABLE, MODEL_S1, MODEL_S2 or MODEL_S12
 * @s2: whether it is a walk cache entry of stage 2
 * @ia: the input address
 *
 * Return: one of the entries that match, or NULL.
 */
struct smmu_model_entry *smmu_model_find(struct smmu_model_walk *w,
					 enum smmu_model_kind kind, bool s2,
					 u64 ia)
{
	struct smmu_model_ctx *ctx = w->ctx;
	struct smmu_model_entry *found = NULL;
	u32 key = smmu_model_key(kind, s2, ctx->world, ctx->vmid);
	unsigned int num = 0, i;

	for (i = 0; i < w->ms->num_tlb; i++) {
		struct smmu_model_entry *e = &w->ms->tlb[i];

		if (w->ms->keys[i] != key || ia - e->ia >= e->size)
			continue;
		if (!s2 && !e->global && e->asid != ctx->asid &&
		    ctx->world != MODEL_EL2)
			continue;
		if (!s2 && e->nested != ctx->has_s2)
			continue;
		/* Any of them may be hit */
		if (!num++ || !(smmu_model_rnd(w->ms->model) % num))
			found = e;
	}
	return found;
}

static void smmu_model_source(struct smmu_model_walk *w,
			      const struct smmu_model_leaf *leaf,
			      struct smmu_model_entry *e)
{
	struct smmu_model_ctx *ctx = w->ctx;

	e->world = ctx->world;
	e->vmid = ctx->vmid;
	e->asid = ctx->asid;
	e->nested = ctx->has_s2;
	e->level = leaf->level;
	e->perm = leaf->perm;
	e->clean = leaf->clean;
	e->global = leaf->global;
	e->ia = leaf->ia;
	e->size = leaf->size;
	e->inv_ia = leaf->inv_ia;
	e->inv_size = leaf->inv_size;
	e->oa = leaf->oa;
	e->pa = U64_MAX;
	e->sid = ctx->sid;
	e->ssid = ctx->ssid;
	e->ttb1 = ctx->has_s1 && !ctx->s1.off ? ctx->s1.ttb : 0;
	e->ttb2 = ctx->has_s2 ? ctx->s2.ttb : 0;
	e->ste0 = ctx->ste[0];
	e->cd0 = ctx->cd[0];
	e->desc_pa = leaf->desc_pa;
	e->desc = leaf->desc;
	e->step = w->ms->model->stats.steps;
	e->log = w->ms->fake->log_head;
}

/**
 * smmu_model_insert() - Put the result of a walk into the TLB
 * @w: the translation
 * @kind: MODEL_TABLE, MODEL_S1, MODEL_S2 or MODEL_S12
 * @s2: whether it is of stage 2 alone
 * @leaf: the result
 * @pa: address of the next table through stage 2, or U64_MAX
 *
 * An older entry for the same address is kept: it is there until a command
 * removes it.
 */
void smmu_model_insert(struct smmu_model_walk *w, enum smmu_model_kind kind,
		       bool s2, const struct smmu_model_leaf *leaf, u64 pa)
{
	struct smmu_model_smmu *ms = w->ms;
	struct smmu_model_entry e = { .kind = kind, .s2 = s2 };
	int i, slot = -1;
	u32 key;

	smmu_model_source(w, leaf, &e);
	key = smmu_model_key(kind, s2, e.world, e.vmid);
	e.pa = pa;
	if (s2)
		e.asid = 0;
	for (i = 0; i < ms->num_tlb; i++) {
		struct smmu_model_entry *old = &ms->tlb[i];

		if (ms->keys[i] == MODEL_KEY_FREE) {
			slot = i;
			continue;
		}
		if (ms->keys[i] == key && old->ia == e.ia &&
		    old->size == e.size && old->oa == e.oa &&
		    old->asid == e.asid && old->nested == e.nested &&
		    old->level == e.level && old->pa == pa &&
		    old->perm == e.perm && old->clean == e.clean &&
		    old->global == e.global && old->ttb1 == e.ttb1 &&
		    old->ttb2 == e.ttb2)
			return;
	}
	if (slot < 0 && ms->num_tlb < MODEL_NUM_ENTRIES)
		slot = ms->num_tlb++;
	else if (slot < 0)
		slot = smmu_model_rnd(ms->model) % MODEL_NUM_ENTRIES;
	ms->tlb[slot] = e;
	ms->keys[slot] = key;
	smmu_model_judge(ms, &ms->tlb[slot]);
}

/**
 * smmu_model_ats_on() - Tell whether a device may use ATS
 * @dev: the device
 *
 * Return: what the configuration space of the device says.
 */
bool smmu_model_ats_on(struct smmu_model_dev *dev)
{
	return !dev->dead && dev_is_pci(dev->fm->dev) &&
	       arm_smmu_fake_ats_ctrl(dev->fm) & PCI_ATS_CTRL_ENABLE;
}

/**
 * smmu_model_atc_insert() - Put an answered Translation Request into the ATC
 * @w: the translation
 * @leaf: its result
 */
void smmu_model_atc_insert(struct smmu_model_walk *w,
			   const struct smmu_model_leaf *leaf)
{
	struct smmu_model_dev *dev = w->ctx->dev;
	struct smmu_model_entry e = { .kind = MODEL_ATC };
	int i, slot = -1;

	smmu_model_source(w, leaf, &e);
	/* A device that did not ask to write gets no write access that is clean */
	if (leaf->clean)
		e.perm &= ~SMMU_MODEL_WRITE;
	e.clean = false;
	e.inv_ia = e.ia;
	e.inv_size = e.size;
	for (i = 0; i < MODEL_NUM_ATC; i++) {
		struct smmu_model_entry *old = &dev->atc[i];

		if (old->kind < 0)
			slot = i;
		else if (old->sid == e.sid && old->ssid == e.ssid &&
			 old->ia == e.ia && old->size == e.size &&
			 old->oa == e.oa && old->perm == e.perm &&
			 old->asid == e.asid && old->vmid == e.vmid &&
			 old->ttb1 == e.ttb1 && old->ttb2 == e.ttb2)
			return;
	}
	if (slot < 0)
		slot = smmu_model_rnd(w->ms->model) % MODEL_NUM_ATC;
	dev->atc[slot] = e;
	smmu_model_judge(w->ms, &dev->atc[slot]);
}

/**
 * smmu_model_atc_lookup() - Look an address up in the ATC of a device
 * @dev: the device
 * @sid: the stream
 * @ssid: the substream
 * @addr: the address
 * @flags: SMMU_MODEL_*
 * @leaf: set to the entry
 *
 * Return: whether there is an entry that is enough for this access.
 */
bool smmu_model_atc_lookup(struct smmu_model_dev *dev, u32 sid, u32 ssid,
			   u64 addr, unsigned int flags,
			   struct smmu_model_leaf *leaf)
{
	int i;

	for (i = 0; i < MODEL_NUM_ATC; i++) {
		struct smmu_model_entry *e = &dev->atc[i];

		if (e->kind < 0 || e->sid != sid || e->ssid != ssid ||
		    addr - e->ia >= e->size || !(e->perm & SMMU_MODEL_READ))
			continue;
		if (flags & SMMU_MODEL_WRITE && !(e->perm & SMMU_MODEL_WRITE))
			continue;
		leaf->ia = e->ia;
		leaf->size = e->size;
		leaf->oa = e->oa;
		leaf->perm = e->perm;
		leaf->clean = false;
		smmu_model_judge(dev->ms, e);
		return true;
	}
	return false;
}

/**
 * smmu_model_find_cfg() - Look a structure up in the configuration cache
 * @ms: the SMMU
 * @kind: MODEL_L1STD to MODEL_CD
 * @sid: the stream, or the index of the L1STD
 * @ssid: the substream, or the index of the L1CD
 *
 * Return: the cached structure or NULL.
 */
struct smmu_model_cfg *smmu_model_find_cfg(struct smmu_model_smmu *ms,
					   enum smmu_model_kind kind, u32 sid,
					   u32 ssid)
{
	int i;

	for (i = 0; i < MODEL_NUM_CFGS; i++) {
		struct smmu_model_cfg *cfg = &ms->cfgs[i];

		if (cfg->used && cfg->kind == kind && cfg->sid == sid &&
		    cfg->ssid == ssid)
			return cfg;
	}
	return NULL;
}

/**
 * smmu_model_add_image() - Put a structure into the configuration cache
 * @ms: the SMMU
 * @kind: MODEL_L1STD to MODEL_CD
 * @sid: the stream, or the index of the L1STD
 * @ssid: the substream, or the index of the L1CD
 * @img: its words
 */
void smmu_model_add_image(struct smmu_model_smmu *ms, enum smmu_model_kind kind,
			  u32 sid, u32 ssid, const u64 *img)
{
	struct smmu_model_cfg *cfg = smmu_model_find_cfg(ms, kind, sid, ssid);
	size_t size = kind == MODEL_L1STD || kind == MODEL_L1CD ?
		      sizeof(*img) : sizeof(cfg->img[0]);
	unsigned int i;

	if (!cfg) {
		for (i = 0; i < MODEL_NUM_CFGS && ms->cfgs[i].used; i++)
			;
		if (i == MODEL_NUM_CFGS)
			i = smmu_model_rnd(ms->model) % MODEL_NUM_CFGS;
		cfg = &ms->cfgs[i];
		memset(cfg, 0, sizeof(*cfg));
		cfg->used = true;
		cfg->kind = kind;
		cfg->sid = sid;
		cfg->ssid = ssid;
	}
	for (i = 0; i < cfg->num; i++)
		if (!memcmp(cfg->img[i], img, size))
			return;
	i = cfg->num < MODEL_NUM_IMAGES ? cfg->num++ :
	    smmu_model_rnd(ms->model) % MODEL_NUM_IMAGES;
	memcpy(cfg->img[i], img, size);
	cfg->step = ms->model->stats.steps;
	cfg->log = ms->fake->log_head;
}

/* Translate @addr for one stream and substream, as speculation would */
static void smmu_model_fill_one(struct smmu_model_smmu *ms,
				struct smmu_model_dev *dev, u32 sid, u32 ssid,
				u64 addr)
{
	struct smmu_model_ctx ctx;
	struct smmu_model_walk w = { .ms = ms, .ctx = &ctx };
	struct smmu_model_leaf leaf;

	ms->model->stats.fills++;
	if (!smmu_model_get_ctx(&w, dev, sid, ssid) ||
	    !smmu_model_xlat(&w, addr, &leaf))
		return;
	if (ctx.eats == STRTAB_STE_1_EATS_TRANS && smmu_model_ats_on(dev))
		smmu_model_atc_insert(&w, &leaf);
}

static unsigned int smmu_model_num_ctxs(struct smmu_model_dev *dev)
{
	return dev->dead ? 0 : dev->fm->master->num_streams * dev->num_ssids;
}

static void smmu_model_fill_ctx(struct smmu_model_smmu *ms, unsigned int n,
				u64 addr)
{
	struct smmu_model_dev *dev;
	u32 sid;

	list_for_each_entry(dev, &ms->model->devs, list) {
		unsigned int num = smmu_model_num_ctxs(dev);

		if (dev->ms != ms)
			continue;
		if (n < num) {
			sid = dev->fm->master->streams[n / dev->num_ssids].id;
			smmu_model_fill_one(ms, dev, sid,
					    dev->ssids[n % dev->num_ssids],
					    addr);
			return;
		}
		n -= num;
	}
}

/**
 * smmu_model_fill_smmu() - Fill the caches of one SMMU and of its devices
 * @ms: the SMMU
 * @everything: all tracked addresses of all streams, else a few of them
 */
void smmu_model_fill_smmu(struct smmu_model_smmu *ms, bool everything)
{
	struct smmu_model *model = ms->model;
	unsigned int num = 0, i, total;
	struct smmu_model_dev *dev;

	list_for_each_entry(dev, &model->devs, list)
		if (dev->ms == ms)
			num += smmu_model_num_ctxs(dev);
	total = num * model->num_tracked;
	if (everything || total <= MODEL_FILL_ALL) {
		for (i = 0; i < total; i++)
			smmu_model_fill_ctx(ms, i % num,
					    model->tracked[i / num]);
		return;
	}
	if (smmu_model_rnd(model) & 2)
		smmu_model_fill_ctx(ms, smmu_model_rnd(model) % num,
				    model->tracked[smmu_model_rnd(model) %
						   model->num_tracked]);
}

static void smmu_model_drop_cfgs(struct smmu_model_smmu *ms, unsigned int kinds,
				 u32 first_sid, u32 last_sid, u32 first_ssid,
				 u32 last_ssid)
{
	int i;

	for (i = 0; i < MODEL_NUM_CFGS; i++) {
		struct smmu_model_cfg *cfg = &ms->cfgs[i];
		u32 sid = cfg->sid, ssid = cfg->ssid;
		u32 last = sid;

		if (!cfg->used || !(kinds & BIT(cfg->kind)))
			continue;
		if (cfg->kind == MODEL_L1STD) {
			sid *= STRTAB_NUM_L2_STES;
			last = sid + STRTAB_NUM_L2_STES - 1;
		} else if (cfg->kind == MODEL_L1CD) {
			ssid *= CTXDESC_L2_ENTRIES;
			if (first_ssid == last_ssid &&
			    arm_smmu_cdtab_l1_idx(first_ssid) == cfg->ssid)
				ssid = first_ssid;
		}
		if (last < first_sid || sid > last_sid || ssid < first_ssid ||
		    ssid > last_ssid)
			continue;
		cfg->used = false;
		ms->model->stats.removed++;
	}
}

/* What a TLBI command matches. Fields that do not count are negative. */
struct smmu_model_scope {
	unsigned int kinds;
	int world;
	int vmid;
	int asid;
	bool match_global;
	/* 1 for entries of stage 2 alone, 0 for others */
	int s2;
	u64 addr;
	/* 0 for all addresses */
	u64 size;
	bool leaf;
	unsigned int ttl;
};

static void smmu_model_drop(struct smmu_model_smmu *ms,
			    const struct smmu_model_scope *s)
{
	unsigned int i;

	for (i = 0; i < ms->num_tlb; i++) {
		struct smmu_model_entry *e = &ms->tlb[i];

		if (e->kind < 0 || !(s->kinds & BIT(e->kind)) ||
		    (s->world >= 0 && e->world != s->world) ||
		    (s->vmid >= 0 && e->vmid != s->vmid) ||
		    (s->s2 >= 0 && e->s2 != s->s2))
			continue;
		if (s->asid >= 0 && e->world != MODEL_EL2 &&
		    !(e->global ? s->match_global : e->asid == s->asid))
			continue;
		if (s->size && !smmu_model_overlaps(s->addr, s->size,
						    e->inv_ia, e->inv_size))
			continue;
		if (e->kind == MODEL_TABLE) {
			if (s->leaf || (s->ttl && e->level >= s->ttl))
				continue;
		} else if (s->ttl && e->level != s->ttl) {
			continue;
		}
		e->kind = -1;
		ms->keys[i] = MODEL_KEY_FREE;
		ms->model->stats.removed++;
	}
}

static void smmu_model_bad_cmd(struct smmu_model_smmu *ms, const char *field,
			       const struct arm_smmu_cmd *cmd)
{
	smmu_model_fault(ms, SMMU_MODEL_ILLEGAL, NULL,
			 "command %#llx %#llx: %s is illegal or reserved",
			 cmd->data[0], cmd->data[1], field);
}

/* Fields of commands, 4.3 to 4.5. TLBI with an address have their own. */
static const struct {
	u8 op;
	u64 fields[CMDQ_ENT_DWORDS];
} smmu_model_cmds[] = {
	{ CMDQ_OP_PREFETCH_CFG, { CMDQ_0_SSV | CMDQ_CFGI_0_SSID |
				  CMDQ_CFGI_0_SID, ~0ULL } },
	{ CMDQ_OP_CFGI_STE, { CMDQ_CFGI_0_SID, CMDQ_CFGI_1_LEAF } },
	{ CMDQ_OP_CFGI_ALL, { CMDQ_CFGI_0_SID, CMDQ_CFGI_1_RANGE } },
	{ CMDQ_OP_CFGI_CD, { CMDQ_CFGI_0_SID | CMDQ_CFGI_0_SSID,
			     CMDQ_CFGI_1_LEAF } },
	{ CMDQ_OP_CFGI_CD_ALL, { CMDQ_CFGI_0_SID, 0 } },
	{ CMDQ_OP_TLBI_NH_ALL, { CMDQ_TLBI_0_VMID, 0 } },
	{ CMDQ_OP_TLBI_NH_ASID, { CMDQ_TLBI_0_VMID | CMDQ_TLBI_0_ASID, 0 } },
	{ CMDQ_OP_TLBI_NH_VA, { CMDQ_TLBI_0_VMID | CMDQ_TLBI_0_ASID } },
	{ CMDQ_OP_TLBI_NH_VAA, { CMDQ_TLBI_0_VMID } },
	{ CMDQ_OP_TLBI_EL2_ALL, { 0, 0 } },
	{ CMDQ_OP_TLBI_EL2_ASID, { CMDQ_TLBI_0_ASID, 0 } },
	{ CMDQ_OP_TLBI_EL2_VA, { CMDQ_TLBI_0_ASID } },
	{ CMDQ_OP_TLBI_S12_VMALL, { CMDQ_TLBI_0_VMID, 0 } },
	{ CMDQ_OP_TLBI_S2_IPA, { CMDQ_TLBI_0_VMID } },
	{ CMDQ_OP_TLBI_NSNH_ALL, { 0, 0 } },
	{ CMDQ_OP_ATC_INV, { CMDQ_0_SSV | CMDQ_ATC_0_GLOBAL | CMDQ_ATC_0_SSID |
			     CMDQ_ATC_0_SID,
			     CMDQ_ATC_1_SIZE | CMDQ_ATC_1_ADDR_MASK } },
	{ CMDQ_OP_RESUME, { CMDQ_RESUME_0_RESP | CMDQ_RESUME_0_SID,
			    CMDQ_RESUME_1_STAG } },
	{ CMDQ_OP_PRI_RESP, { CMDQ_0_SSV | CMDQ_PRI_0_SSID | CMDQ_PRI_0_SID,
			      CMDQ_PRI_1_GRPID | CMDQ_PRI_1_RESP } },
};

/* Decode the address, the range and the level hint of a TLBI, 4.4.1.1 */
static bool smmu_model_decode_range(struct smmu_model_smmu *ms,
				    const struct arm_smmu_cmd *cmd, u64 mask,
				    struct smmu_model_scope *s)
{
	static const u8 tgs[] = { 12, 12, 14, 16 };
	u32 features = ms->fake->smmu.features;
	unsigned int tg = FIELD_GET(CMDQ_TLBI_1_TG, cmd->data[1]);
	u64 num = FIELD_GET(CMDQ_TLBI_0_NUM, cmd->data[0]);
	u64 scale = FIELD_GET(CMDQ_TLBI_0_SCALE, cmd->data[0]);
	u64 block;

	s->leaf = cmd->data[1] & CMDQ_TLBI_1_LEAF;
	s->ttl = FIELD_GET(CMDQ_TLBI_1_TTL, cmd->data[1]);
	s->addr = cmd->data[1] & mask;
	if (cmd->data[1] & ~(CMDQ_TLBI_1_LEAF | CMDQ_TLBI_1_TTL |
			     CMDQ_TLBI_1_TG | mask)) {
		smmu_model_bad_cmd(ms, "reserved", cmd);
		return false;
	}
	if (num || scale || tg || s->ttl) {
		const char *field = NULL;

		if (!(features & ARM_SMMU_FEAT_RANGE_INV))
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
			smmu_model_bad_cmd(ms, field, cmd);
			return false;
		}
	}
	if (scale + tgs[tg] >= 58)
		s->size = -s->addr;
	else
		s->size = (num + 1) << (scale + tgs[tg]);
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

static void smmu_model_tlbi(struct smmu_model_smmu *ms, unsigned int op,
			    const struct arm_smmu_cmd *cmd)
{
	struct smmu_model_scope s = {
		.kinds = BIT(MODEL_TABLE) | BIT(MODEL_S1) | BIT(MODEL_S12),
		.world = MODEL_EL1,
		.vmid = FIELD_GET(CMDQ_TLBI_0_VMID, cmd->data[0]),
		.asid = -1,
		.match_global = true,
		.s2 = 0,
	};
	u32 features = ms->fake->smmu.features;
	int asid = FIELD_GET(CMDQ_TLBI_0_ASID, cmd->data[0]);

	switch (op) {
	case CMDQ_OP_TLBI_NH_ALL:
		break;
	case CMDQ_OP_TLBI_NH_ASID:
		s.asid = asid;
		s.match_global = false;
		break;
	case CMDQ_OP_TLBI_NH_VA:
		s.asid = asid;
		fallthrough;
	case CMDQ_OP_TLBI_NH_VAA:
		if (!smmu_model_decode_range(ms, cmd, CMDQ_TLBI_1_VA_MASK, &s))
			return;
		break;
	case CMDQ_OP_TLBI_EL2_ALL:
	case CMDQ_OP_TLBI_EL2_ASID:
	case CMDQ_OP_TLBI_EL2_VA:
		/* CR2.E2H says which of the two StreamWorlds it is */
		s.world = features & ARM_SMMU_FEAT_E2H ? MODEL_E2H : MODEL_EL2;
		s.vmid = -1;
		if (op != CMDQ_OP_TLBI_EL2_ALL)
			s.asid = asid;
		if (op == CMDQ_OP_TLBI_EL2_ASID)
			s.match_global = false;
		if (op == CMDQ_OP_TLBI_EL2_VA &&
		    !smmu_model_decode_range(ms, cmd, CMDQ_TLBI_1_VA_MASK, &s))
			return;
		break;
	case CMDQ_OP_TLBI_S12_VMALL:
		s.kinds |= BIT(MODEL_S2);
		s.s2 = -1;
		break;
	case CMDQ_OP_TLBI_S2_IPA:
		/* Entries of both stages stay: they are found by VA only */
		s.kinds = BIT(MODEL_TABLE) | BIT(MODEL_S2);
		s.s2 = 1;
		if (!smmu_model_decode_range(ms, cmd, CMDQ_TLBI_1_IPA_MASK, &s))
			return;
		break;
	case CMDQ_OP_TLBI_NSNH_ALL:
		s.kinds |= BIT(MODEL_S2);
		s.s2 = -1;
		s.vmid = -1;
		break;
	}
	if ((s.world == MODEL_EL1 && op < CMDQ_OP_TLBI_S12_VMALL &&
	     !(features & ARM_SMMU_FEAT_TRANS_S1)) ||
	    ((op == CMDQ_OP_TLBI_S12_VMALL || op == CMDQ_OP_TLBI_S2_IPA) &&
	     !(features & ARM_SMMU_FEAT_TRANS_S2)) ||
	    (s.world != MODEL_EL1 &&
	     !(features & (ARM_SMMU_FEAT_E2H | ARM_SMMU_FEAT_HYP))))
		smmu_model_bad_cmd(ms, "opcode", cmd);
	smmu_model_drop(ms, &s);
}

static void smmu_model_atc_inv(struct smmu_model_smmu *ms,
			       const struct arm_smmu_cmd *cmd)
{
	unsigned int size = FIELD_GET(CMDQ_ATC_1_SIZE, cmd->data[1]);
	u32 sid = FIELD_GET(CMDQ_ATC_0_SID, cmd->data[0]);
	u32 ssid = FIELD_GET(CMDQ_ATC_0_SSID, cmd->data[0]);
	bool ssv = cmd->data[0] & CMDQ_0_SSV;
	bool global = cmd->data[0] & CMDQ_ATC_0_GLOBAL;
	u64 addr = cmd->data[1] & CMDQ_ATC_1_ADDR_MASK;
	u64 last = U64_MAX;
	struct smmu_model_dev *dev;
	unsigned int i, j;

	if (size > ATC_INV_SIZE_ALL)
		return smmu_model_bad_cmd(ms, "Size", cmd);
	if (!ssv && (ssid || global))
		return smmu_model_bad_cmd(ms, "SSID or Global without SSV", cmd);
	if (!(ms->fake->smmu.features & ARM_SMMU_FEAT_ATS))
		return smmu_model_bad_cmd(ms, "opcode without ATS", cmd);
	/* Bits of the address below the size are not looked at (4.5.1) */
	if (size == ATC_INV_SIZE_ALL) {
		addr = 0;
	} else {
		last = addr | (((u64)SZ_4K << size) - 1);
		addr &= ~(((u64)SZ_4K << size) - 1);
	}

	list_for_each_entry(dev, &ms->model->devs, list) {
		if (dev->ms != ms || dev->dead)
			continue;
		for (j = 0; j < dev->fm->master->num_streams; j++)
			if (dev->fm->master->streams[j].id == sid)
				break;
		if (j == dev->fm->master->num_streams)
			continue;
		if (!smmu_model_ats_on(dev))
			ms->model->faults[SMMU_MODEL_ATC_INV]++;
		for (i = 0; i < MODEL_NUM_ATC; i++) {
			struct smmu_model_entry *e = &dev->atc[i];

			/* Without SSID it is for all, with and without PASID */
			if (e->kind < 0 || e->sid != sid ||
			    (ssv && !global && e->ssid != ssid) ||
			    (ssv && global && e->ssid == SMMU_MODEL_NO_SSID) ||
			    e->ia > last || e->ia + e->size - 1 < addr)
				continue;
			e->kind = -1;
			ms->model->stats.removed++;
		}
	}
}

static void smmu_model_resume(struct smmu_model_smmu *ms,
			      const struct arm_smmu_cmd *cmd)
{
	unsigned int resp = FIELD_GET(CMDQ_RESUME_0_RESP, cmd->data[0]);
	u16 stag = FIELD_GET(CMDQ_RESUME_1_STAG, cmd->data[1]);
	u32 sid = FIELD_GET(CMDQ_RESUME_0_SID, cmd->data[0]);
	struct smmu_model *model = ms->model;
	int i;

	if (resp > CMDQ_RESUME_0_RESP_ABORT)
		return smmu_model_bad_cmd(ms, "Resp", cmd);
	for (i = 0; i < MODEL_NUM_STALLS; i++) {
		struct smmu_model_stall *stall = &model->stalls[i];

		/* One that matches no stalled transaction has no effect (4.6.1) */
		if (!stall->dev || stall->dev->ms != ms || stall->sid != sid ||
		    stall->stag != stag || stall->result != -EINPROGRESS)
			continue;
		if (resp == CMDQ_RESUME_0_RESP_RETRY) {
			stall->result = -EAGAIN;
			model->stats.retried++;
		} else {
			stall->result = -EFAULT;
			model->stats.aborted++;
		}
	}
}

static void smmu_model_apply(struct smmu_model_smmu *ms,
			     const struct arm_smmu_cmd *cmd)
{
	unsigned int op = FIELD_GET(CMDQ_0_OP, cmd->data[0]);
	u32 sid = FIELD_GET(CMDQ_CFGI_0_SID, cmd->data[0]);
	u32 ssid = FIELD_GET(CMDQ_CFGI_0_SSID, cmd->data[0]);
	bool leaf = cmd->data[1] & CMDQ_CFGI_1_LEAF;
	u64 span, fields;
	int i;

	ms->model->stats.cmds++;
	for (i = 0; i < ARRAY_SIZE(smmu_model_cmds); i++)
		if (smmu_model_cmds[i].op == op)
			break;
	if (i == ARRAY_SIZE(smmu_model_cmds))
		return smmu_model_bad_cmd(ms, "opcode", cmd);
	fields = smmu_model_cmds[i].fields[0] | CMDQ_0_OP;
	switch (op) {
	case CMDQ_OP_TLBI_NH_VA:
	case CMDQ_OP_TLBI_NH_VAA:
	case CMDQ_OP_TLBI_EL2_VA:
	case CMDQ_OP_TLBI_S2_IPA:
		fields |= CMDQ_TLBI_0_NUM | CMDQ_TLBI_0_SCALE;
		break;
	default:
		if (cmd->data[1] & ~smmu_model_cmds[i].fields[1])
			return smmu_model_bad_cmd(ms, "word 1", cmd);
	}
	if (cmd->data[0] & ~fields)
		return smmu_model_bad_cmd(ms, "word 0", cmd);

	switch (op) {
	case CMDQ_OP_CFGI_STE:
		/* With the STE go the CDs that it leads to (4.3.1) */
		smmu_model_drop_cfgs(ms, BIT(MODEL_STE) | BIT(MODEL_CD) |
				     BIT(MODEL_L1CD) |
				     (leaf ? 0 : BIT(MODEL_L1STD)),
				     sid, sid, 0, U32_MAX);
		break;
	case CMDQ_OP_CFGI_ALL:
		span = 2ULL << FIELD_GET(CMDQ_CFGI_1_RANGE, cmd->data[1]);
		sid &= ~(span - 1);
		smmu_model_drop_cfgs(ms, BIT(MODEL_STE) | BIT(MODEL_CD) |
				     BIT(MODEL_L1CD) | BIT(MODEL_L1STD),
				     sid, sid + (span - 1), 0, U32_MAX);
		break;
	case CMDQ_OP_CFGI_CD:
		smmu_model_drop_cfgs(ms, BIT(MODEL_CD) |
				     (leaf ? 0 : BIT(MODEL_L1CD)),
				     sid, sid, ssid, ssid);
		break;
	case CMDQ_OP_CFGI_CD_ALL:
		smmu_model_drop_cfgs(ms, BIT(MODEL_CD) | BIT(MODEL_L1CD), sid,
				     sid, 0, U32_MAX);
		break;
	case CMDQ_OP_ATC_INV:
		smmu_model_atc_inv(ms, cmd);
		break;
	case CMDQ_OP_RESUME:
		smmu_model_resume(ms, cmd);
		break;
	case CMDQ_OP_PREFETCH_CFG:
	case CMDQ_OP_PRI_RESP:
		break;
	default:
		smmu_model_tlbi(ms, op, cmd);
	}
}

/* Let one of the commands that were consumed take effect, in any order (4.7) */
static void smmu_model_apply_one(struct smmu_model_smmu *ms)
{
	unsigned int i = smmu_model_rnd(ms->model) % ms->num_pending;
	struct arm_smmu_cmd cmd = ms->pending[i];

	ms->pending[i] = ms->pending[--ms->num_pending];
	smmu_model_apply(ms, &cmd);
}

static void smmu_model_command(struct arm_smmu_fake *fake,
			       const struct arm_smmu_cmd *cmd)
{
	struct smmu_model_smmu *ms = fake->model;

	/* No CMD_SYNC follows a CMD_RESUME */
	if (FIELD_GET(CMDQ_0_OP, cmd->data[0]) == CMDQ_OP_RESUME)
		return smmu_model_apply(ms, cmd);
	if (ms->num_pending == MODEL_NUM_PENDING)
		smmu_model_apply_one(ms);
	ms->pending[ms->num_pending++] = *cmd;
}

static void smmu_model_sync(struct arm_smmu_fake *fake)
{
	struct smmu_model_smmu *ms = fake->model;
	unsigned int num = ms->num_pending;

	while (ms->num_pending) {
		smmu_model_apply_one(ms);
		/* The adversary works between them, but not for ever */
		if (ms->num_pending && num - ms->num_pending < 8)
			smmu_model_fill_smmu(ms, false);
	}
}

static void smmu_model_step(struct arm_smmu_fake *fake)
{
	struct smmu_model_smmu *ms = fake->model;

	ms->model->stats.steps++;
	if (ms->num_pending && smmu_model_rnd(ms->model) & 4)
		smmu_model_apply_one(ms);
	if (ms->model->num_tracked)
		smmu_model_fill_smmu(ms, false);
}

const struct arm_smmu_fake_ops smmu_model_ops = {
	.command = smmu_model_command,
	.sync = smmu_model_sync,
	.step = smmu_model_step,
};
