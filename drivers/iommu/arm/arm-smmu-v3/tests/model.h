/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A model of an SMMUv3 for KUnit: it translates what is in memory, caches as
 * much as the architecture allows, and an oracle judges what is in the caches.
 *
 * References are to the Arm SMMUv3 architecture (IHI 0070) and to the Arm ARM
 * (DDI 0487). arm_smmu_fake_lock protects everything here.
 */
#ifndef _ARM_SMMU_V3_TESTS_MODEL_H
#define _ARM_SMMU_V3_TESTS_MODEL_H

#include <linux/range.h>

#include "fake.h"

#define MODEL_NUM_RETIRED	64

/* The substream ID of a transaction without PASID */
#define MODEL_NO_SSID		U32_MAX

/* Flags of a translation; without READ and WRITE it is a read */
#define MODEL_READ		BIT(0)
#define MODEL_WRITE		BIT(1)
/* Translation request, then a translated access by what the ATC holds */
#define MODEL_ATS		BIT(2)
/* Use a cached entry wherever there is one; the seed decides otherwise */
#define MODEL_CACHED		BIT(3)
/* Use no cached entry and leave none behind */
#define MODEL_FRESH		BIT(4)
/* Report no event record and do not stall */
#define MODEL_QUIET		BIT(5)

/* What the model and its oracle object to */
enum smmu_model_fault {
	MODEL_ILLEGAL,		/* a structure or command with a reserved value */
	MODEL_REACH,		/* a cached entry or a DMA reaches retired memory */
	MODEL_STALE,		/* a cached entry differs from memory where it must not */
	MODEL_TAG,		/* an ID that is free, or that no STE or CD uses */
	MODEL_ATC,		/* of a domain that was left, or while ATS is off */
	MODEL_NUM_FAULTS,
};

enum smmu_model_kind {
	MODEL_FREE,
	MODEL_TABLE1,		/* of stage 1: what a table descriptor points to */
	MODEL_S1,		/* VA to IPA where stage 2 is on, else VA to PA */
	MODEL_S12,		/* both stages: VA to PA */
	MODEL_TABLE2,
	MODEL_S2,		/* IPA to PA */
	MODEL_ATC_ENTRY,
	MODEL_DMA,		/* was made just now */
	MODEL_L1STD,
	MODEL_STE,
	MODEL_L1CD,
	MODEL_CD,
};

/* Input addresses, or substream IDs */
struct smmu_model_set {
	u64 vals[64];
	unsigned int num;
};

struct smmu_model_dev {
	struct smmu_model *model;
	struct smmu *ms;
	struct arm_smmu_fake_master *fm;
	struct list_head list;
	/* What the adversary uses */
	struct smmu_model_set ssids;
	/* The transaction that stalls or has stalled, and what became of it */
	u16 stag;
	int stall;
	/* ATC_INVs that came while ATS was off */
	unsigned int num_bad_atc_invs;
};

/* The world of a test */
struct smmu_model {
	struct kunit *test;
	u64 seed;
	u32 rnd;
	struct list_head smmus;
	struct list_head devs;
	/* What the adversary translates */
	struct smmu_model_set tracked;
	u64 next_pa;
	/* What nothing may reach, a ring */
	struct range retired[MODEL_NUM_RETIRED];
	unsigned int num_retired;
	struct {
		u64 steps;
		u64 fills;
		u64 hits;
		u64 cmds;
		u64 events;
		u64 httu;
	} stats;
	unsigned int faults[MODEL_NUM_FAULTS];
	/* They are to be counted without failing the test */
	bool expected;
	unsigned int num_reports;
};

struct smmu_model *smmu_model_create(struct kunit *test, u64 seed);
void smmu_model_add_smmu(struct smmu_model *model, struct arm_smmu_fake *fake);
struct smmu_model_dev *smmu_model_add_dev(struct smmu_model *model,
					  struct arm_smmu_fake_master *fm);
void smmu_model_track(struct smmu_model_set *set, u64 val);
void smmu_model_untrack(struct smmu_model_set *set, u64 val);
int smmu_model_dma(struct smmu_model_dev *dev, u32 ssid, u64 addr,
		   unsigned int flags, u64 *pa);
void smmu_model_fill(struct smmu_model *model, bool all);
u64 smmu_model_pa(struct smmu_model *model, u64 size);
void smmu_model_retire(struct smmu_model *model, u64 pa, u64 size);
void smmu_model_left(struct smmu_model_dev *dev, u32 ssid);
void smmu_model_check(struct smmu_model *model);
u32 smmu_model_kinds(struct smmu_model *model, u16 asid);

#endif /* _ARM_SMMU_V3_TESTS_MODEL_H */
