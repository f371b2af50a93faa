/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the files of the model share, see model.h
 */
#ifndef _ARM_SMMU_V3_TESTS_MODEL_INT_H
#define _ARM_SMMU_V3_TESTS_MODEL_INT_H

#include "model.h"

#define MODEL_NUM_ENTRIES	256
#define MODEL_NUM_ATC		48
#define MODEL_NUM_CFGS		48
#define MODEL_NUM_IMAGES	3
#define MODEL_NUM_PENDING	64
#define MODEL_NUM_TRACKED	64
#define MODEL_NUM_SSIDS		8
#define MODEL_NUM_RETIRED	64
#define MODEL_NUM_WRITES	1024
#define MODEL_NUM_STALLS	16
#define MODEL_NUM_CTXS		64
#define MODEL_NUM_SHOWN		16
#define MODEL_TEXT_SIZE		4096

/* More flags of a translation: change no memory, cache nothing, judge nothing */
#define MODEL_PEEK		BIT(16)

enum smmu_model_kind {
	MODEL_L1STD,
	MODEL_STE,
	MODEL_L1CD,
	MODEL_CD,
	/* A walk cache entry: the table that a table descriptor points to */
	MODEL_TABLE,
	/* Stage 1: VA to IPA where stage 2 is on, else VA to PA */
	MODEL_S1,
	/* Stage 2: IPA to PA */
	MODEL_S2,
	/* Both stages: VA to PA */
	MODEL_S12,
	MODEL_ATC,
	/* A DMA that was made just now */
	MODEL_DMA,
};

/* StreamWorld (3.3.4): VMIDs exist in EL1 only, ASIDs not in EL2 */
enum smmu_model_world {
	MODEL_EL1,
	MODEL_EL2,
	MODEL_E2H,
};

/* How one stage translates. @tg is log2 of the granule, @off is EPD0. */
struct smmu_model_stage {
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

/* A decoded STE and CD */
struct smmu_model_ctx {
	struct smmu_model_dev *dev;
	u32 sid;
	u32 ssid;
	bool has_s1;
	bool has_s2;
	u8 world;
	u16 vmid;
	u16 asid;
	u8 eats;
	struct smmu_model_stage s1;
	struct smmu_model_stage s2;
	u64 ste[STRTAB_STE_DWORDS];
	u64 cd[CTXDESC_CD_DWORDS];
};

/* An entry of a TLB, walk cache or ATC. A free slot has a negative @kind. */
struct smmu_model_entry {
	s8 kind;
	/* The tag */
	u8 world;
	u16 vmid;
	u16 asid;
	bool global;
	/* Of stage 2 alone; made while stage 2 was on */
	bool s2;
	bool nested;
	/* Of stage 1 if it is of both stages */
	u8 level;
	u8 perm;
	/* A write has to set the dirty state first */
	bool clean;
	u64 ia;
	u64 size;
	/*
	 * What the descriptor translates. Where stage 2 has less than that, an
	 * invalidation of any part of it removes the entry.
	 */
	u64 inv_ia;
	u64 inv_size;
	/* Output address, or the next table; the latter through stage 2 */
	u64 oa;
	u64 pa;
	/* From what it was made, at which step, and what the log had then */
	u32 sid;
	u32 ssid;
	u64 ttb1;
	u64 ttb2;
	u64 ste0;
	u64 cd0;
	u64 desc_pa;
	u64 desc;
	u64 step;
	u64 log;
};

/* A cached structure: all images of it that were seen since the last CFGI */
struct smmu_model_cfg {
	bool used;
	u8 kind;
	/* Of an L1STD and an L1CD, its index */
	u32 sid;
	u32 ssid;
	unsigned int num;
	u64 img[MODEL_NUM_IMAGES][STRTAB_STE_DWORDS];
	u64 step;
	u64 log;
};

/* A stalled transaction */
struct smmu_model_stall {
	struct smmu_model_dev *dev;
	u32 sid;
	u16 stag;
	int result;
};

struct smmu_model_dev {
	struct smmu_model *model;
	struct smmu_model_smmu *ms;
	struct arm_smmu_fake_master *fm;
	struct list_head list;
	bool dead;
	u32 ssids[MODEL_NUM_SSIDS];
	unsigned int num_ssids;
	struct smmu_model_entry atc[MODEL_NUM_ATC];
};

struct smmu_model_smmu {
	struct smmu_model *model;
	struct arm_smmu_fake *fake;
	struct list_head list;
	struct smmu_model_cfg cfgs[MODEL_NUM_CFGS];
	struct smmu_model_entry tlb[MODEL_NUM_ENTRIES];
	/* What a look-up compares first, see smmu_model_key() */
	u32 keys[MODEL_NUM_ENTRIES];
	/* Slots from here on were never used */
	unsigned int num_tlb;
	/* What the streams and substreams are attached to, for the oracle */
	struct smmu_model_ctx ctxs[MODEL_NUM_CTXS];
	unsigned int num_ctxs;
	struct arm_smmu_cmd pending[MODEL_NUM_PENDING];
	unsigned int num_pending;
};

struct smmu_model_page {
	struct list_head list;
	unsigned long addr;
	unsigned int order;
};

struct smmu_model_range {
	u64 pa;
	u64 size;
};

struct smmu_model {
	struct kunit *test;
	u64 seed;
	u32 rnd;
	struct list_head smmus;
	struct list_head devs;
	struct list_head pages;
	u64 tracked[MODEL_NUM_TRACKED];
	unsigned int num_tracked;
	u64 next_pa;
	struct smmu_model_range retired[MODEL_NUM_RETIRED];
	unsigned int num_retired;
	struct smmu_model_write writes[MODEL_NUM_WRITES];
	unsigned int write_head;
	unsigned int write_tail;
	struct smmu_model_stall stalls[MODEL_NUM_STALLS];
	u16 next_stag;
	struct smmu_model_stats stats;
	bool expected[SMMU_MODEL_NUM_FAULTS];
	unsigned int faults[SMMU_MODEL_NUM_FAULTS];
	char text[MODEL_TEXT_SIZE];
	size_t text_len;
	unsigned int num_texts;
};

/* The result of a walk. The fields are those of struct smmu_model_entry. */
struct smmu_model_leaf {
	u64 ia;
	u64 size;
	u64 oa;
	u64 desc_pa;
	u64 desc;
	u8 level;
	u8 perm;
	bool clean;
	bool global;
	u64 inv_ia;
	u64 inv_size;
};

/**
 * struct smmu_model_walk - A translation under way
 * @ms: the SMMU
 * @ctx: the STE and CD
 * @flags: SMMU_MODEL_WRITE, CACHED, FRESH and MODEL_PEEK
 * @event: EVT_ID_* of the fault
 * @s2: it was in stage 2
 * @class: 0 of a CD fetch, 1 of a table walk, 2 of the input address
 * @ipa: the input address of stage 2
 */
struct smmu_model_walk {
	struct smmu_model_smmu *ms;
	struct smmu_model_ctx *ctx;
	unsigned int flags;
	u8 event;
	bool s2;
	u8 class;
	u64 ipa;
};

/* model_walk.c */
bool smmu_model_get_ctx(struct smmu_model_walk *w, struct smmu_model_dev *dev,
			u32 sid, u32 ssid);
bool smmu_model_xlat(struct smmu_model_walk *w, u64 ia,
		     struct smmu_model_leaf *leaf);
bool smmu_model_walk_table(struct smmu_model_walk *w, bool s2, u64 ia,
			   unsigned int level, u64 *oa, u64 *pa);
bool smmu_model_walk_stage(struct smmu_model_walk *w,
			   const struct smmu_model_stage *st, u64 ia,
			   struct smmu_model_leaf *leaf);
bool smmu_model_fetch(struct smmu_model_walk *w, enum smmu_model_kind kind,
		      u32 sid, u32 ssid, u64 *img);

/* model_tlb.c */
extern const struct arm_smmu_fake_ops smmu_model_ops;
struct smmu_model_entry *smmu_model_find(struct smmu_model_walk *w,
					 enum smmu_model_kind kind, bool s2,
					 u64 ia);
void smmu_model_insert(struct smmu_model_walk *w, enum smmu_model_kind kind,
		       bool s2, const struct smmu_model_leaf *leaf, u64 pa);
bool smmu_model_atc_lookup(struct smmu_model_dev *dev, u32 sid, u32 ssid,
			   u64 addr, unsigned int flags,
			   struct smmu_model_leaf *leaf);
void smmu_model_atc_insert(struct smmu_model_walk *w,
			   const struct smmu_model_leaf *leaf);
struct smmu_model_cfg *smmu_model_find_cfg(struct smmu_model_smmu *ms,
					   enum smmu_model_kind kind, u32 sid,
					   u32 ssid);
void smmu_model_add_image(struct smmu_model_smmu *ms, enum smmu_model_kind kind,
			  u32 sid, u32 ssid, const u64 *img);
void smmu_model_fill_smmu(struct smmu_model_smmu *ms, bool everything);
bool smmu_model_ats_on(struct smmu_model_dev *dev);

/* model_oracle.c */
void smmu_model_judge(struct smmu_model_smmu *ms,
		      const struct smmu_model_entry *e);
__printf(4, 5)
void smmu_model_fault(struct smmu_model_smmu *ms, enum smmu_model_fault fault,
		      const struct smmu_model_entry *e, const char *fmt, ...);
void smmu_model_report(struct smmu_model *model);

static inline u32 smmu_model_rnd(struct smmu_model *model)
{
	/* xorshift32 */
	model->rnd ^= model->rnd << 13;
	model->rnd ^= model->rnd >> 17;
	model->rnd ^= model->rnd << 5;
	return model->rnd;
}

/* Whether this translation uses a cached entry that there is */
static inline bool smmu_model_coin(struct smmu_model_walk *w)
{
	if (w->flags & (SMMU_MODEL_FRESH | MODEL_PEEK))
		return false;
	return (w->flags & SMMU_MODEL_CACHED) ||
	       (smmu_model_rnd(w->ms->model) & 0x100);
}

static inline bool smmu_model_may_cache(struct smmu_model_walk *w)
{
	return !(w->flags & (SMMU_MODEL_FRESH | MODEL_PEEK));
}

#endif /* _ARM_SMMU_V3_TESTS_MODEL_INT_H */
