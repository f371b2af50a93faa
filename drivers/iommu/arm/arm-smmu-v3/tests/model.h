/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A model of an SMMUv3 for KUnit, see model.c. arm_smmu_fake_lock protects all structures.
 */
#ifndef _ARM_SMMU_V3_TESTS_MODEL_H
#define _ARM_SMMU_V3_TESTS_MODEL_H

#include <linux/prandom.h>
#include <linux/range.h>

#include "fake.h"

#define MODEL_NUM_FREED	64

/* The substream ID of a transaction without PASID */
#define MODEL_NO_SSID		U32_MAX

/* Flags of a translation. Without READ and WRITE it is a read. */
#define MODEL_READ		BIT(0)
#define MODEL_WRITE		BIT(1)
/* An ATS translation request, then a translated access by the ATC */
#define MODEL_ATS		BIT(2)
/* Use cached entries wherever there are any. Otherwise this is random. */
#define MODEL_CACHED		BIT(3)
/* Neither use nor make cached entries */
#define MODEL_FRESH		BIT(4)
/* Report no event record and do not stall */
#define MODEL_QUIET		BIT(5)

enum smmu_model_fault {
	MODEL_ILLEGAL,		/* a structure or command with a reserved value */
	MODEL_REACH,		/* a cached entry or a DMA reaches freed memory */
	MODEL_STALE,		/* a cached entry differs from the tables in memory */
	MODEL_TAG,		/* an ASID or VMID that is free or that no STE or CD uses */
	MODEL_ATC,		/* an ATC entry of an old domain, or with ATS disabled */
};

enum smmu_model_type {
	MODEL_FREE,
	MODEL_TABLE1,		/* of stage 1: the address in a table descriptor */
	MODEL_S1,		/* VA to IPA if there is a stage 2, else VA to PA */
	MODEL_S12,		/* both stages: VA to PA */
	MODEL_TABLE2,
	MODEL_S2,		/* IPA to PA */
	MODEL_ATC_ENTRY,
	MODEL_DMA,		/* an access, not cached */
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
	u32 sid;
	/* Substreams of speculative translations */
	struct smmu_model_set ssids;
	/* The latest transaction that stalled, and its result */
	u16 stag;
	int stall;
};

struct smmu_model {
	struct kunit *test;
	u64 seed;
	struct rnd_state rnd;
	struct list_head smmus;
	/* Addresses of speculative translations */
	struct smmu_model_set tracked;
	u64 next_pa;
	/* Ring of address ranges that must not be reachable */
	struct range freed[MODEL_NUM_FREED];
	unsigned int num_freed;
	struct {
		u64 steps, fills, hits;
	} stats;
	/* A bit for each enum smmu_model_fault. Only the first fault of each is printed. */
	unsigned long faults;
	/* Faults do not fail the test */
	bool expected;
};

struct smmu_model *smmu_model_create(struct kunit *test, u64 seed);
void smmu_model_add_smmu(struct smmu_model *model, struct arm_smmu_fake *fake);
struct smmu_model_dev *smmu_model_add_dev(struct smmu_model *model,
					  struct arm_smmu_fake_master *fm);
void smmu_model_track(struct smmu_model_set *set, u64 val);
void smmu_model_untrack(struct smmu_model_set *set, u64 val);
int smmu_model_dma(struct smmu_model_dev *dev, u32 ssid, u64 addr, unsigned int flags, u64 *pa);
void smmu_model_fill(struct smmu_model *model, bool all);
u64 smmu_model_pa(struct smmu_model *model, u64 size);
void smmu_model_free_pa(struct smmu_model *model, u64 pa, u64 size);
void smmu_model_left(struct smmu_model_dev *dev, u32 ssid);
void smmu_model_check(struct smmu_model *model);
u32 smmu_model_types(struct smmu_model *model, u16 asid);

#endif /* _ARM_SMMU_V3_TESTS_MODEL_H */
