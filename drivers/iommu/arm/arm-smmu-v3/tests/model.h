/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A model of an SMMUv3 for KUnit: it translates what is in memory, caches as
 * much as the architecture allows, and an oracle judges what is in the caches.
 *
 * References are to the Arm SMMUv3 architecture (IHI 0070) and to the Arm ARM
 * (DDI 0487).
 */
#ifndef _ARM_SMMU_V3_TESTS_MODEL_H
#define _ARM_SMMU_V3_TESTS_MODEL_H

#include "fake.h"

struct smmu_model;
struct smmu_model_dev;

/* The substream ID of a transaction without PASID */
#define SMMU_MODEL_NO_SSID	U32_MAX

/* Flags of smmu_model_dma(); without READ and WRITE it is a read */
#define SMMU_MODEL_READ		BIT(0)
#define SMMU_MODEL_WRITE	BIT(1)
/* Translation request, then a translated access by what the ATC holds */
#define SMMU_MODEL_ATS		BIT(2)
/* Use a cached entry wherever there is one; the seed decides otherwise */
#define SMMU_MODEL_CACHED	BIT(3)
/* Use no cached entry and leave none behind */
#define SMMU_MODEL_FRESH	BIT(4)
/* Report no event record and do not stall */
#define SMMU_MODEL_QUIET	BIT(5)

/**
 * enum smmu_model_fault - What the model and its oracle object to
 * @SMMU_MODEL_ILLEGAL: a structure or command with an illegal or reserved value
 * @SMMU_MODEL_REACH: a cached entry or a DMA reaches retired memory
 * @SMMU_MODEL_STALE: a cached entry differs from memory where it must not
 * @SMMU_MODEL_TAG: an entry is under an ID that is free or that no STE or CD
 *		    uses, or two tables are in use under one ID
 * @SMMU_MODEL_ATC: an ATC has an entry where ATS is off, or of a domain that the
 *		    device has left
 * @SMMU_MODEL_ATC_INV: an ATC_INV was sent to a device whose ATS is off
 * @SMMU_MODEL_NUM_FAULTS: number of these
 */
enum smmu_model_fault {
	SMMU_MODEL_ILLEGAL,
	SMMU_MODEL_REACH,
	SMMU_MODEL_STALE,
	SMMU_MODEL_TAG,
	SMMU_MODEL_ATC,
	SMMU_MODEL_ATC_INV,
	SMMU_MODEL_NUM_FAULTS,
};

/**
 * struct smmu_model_stats - What a model did
 * @steps: number of times that the adversary had its turn
 * @fills: number of translations that it made
 * @hits: number of translations that used a cached TLB, walk cache or ATC entry
 * @cmds: number of commands that took effect
 * @removed: number of cached entries that commands have removed
 * @dmas: number of calls of smmu_model_dma()
 * @events: number of event records
 * @stalls: number of transactions that stalled
 * @retried: number of stalls that CMD_RESUME told to retry
 * @aborted: number of stalls that CMD_RESUME told to abort or to terminate
 * @torn: number of STEs and CDs that were made of more than one image
 * @httu: number of descriptors in which the access flag or dirty state was set
 */
struct smmu_model_stats {
	u64 steps;
	u64 fills;
	u64 hits;
	u64 cmds;
	u64 removed;
	u64 dmas;
	u64 events;
	u64 stalls;
	u64 retried;
	u64 aborted;
	u64 torn;
	u64 httu;
};

/**
 * struct smmu_model_write - A write that a device made
 * @dev: the device
 * @ssid: its substream ID or SMMU_MODEL_NO_SSID
 * @addr: the input address
 * @pa: the output address
 */
struct smmu_model_write {
	struct smmu_model_dev *dev;
	u32 ssid;
	u64 addr;
	u64 pa;
};

struct smmu_model *smmu_model_create(struct kunit *test, u64 seed);
void smmu_model_add_smmu(struct smmu_model *model, struct arm_smmu_fake *fake);
struct smmu_model_dev *smmu_model_add_dev(struct smmu_model *model,
					  struct arm_smmu_fake_master *fm);

void smmu_model_track(struct smmu_model *model, u64 addr);
void smmu_model_untrack(struct smmu_model *model, u64 addr);
void smmu_model_track_ssid(struct smmu_model_dev *dev, u32 ssid);

int smmu_model_dma(struct smmu_model_dev *dev, u32 ssid, u64 addr,
		   unsigned int flags, u64 *pa);
int smmu_model_stall_result(struct smmu_model_dev *dev, u16 stag);
bool smmu_model_next_write(struct smmu_model *model,
			   struct smmu_model_write *write);

void smmu_model_fill(struct smmu_model *model);
void smmu_model_adversary_start(struct smmu_model *model, unsigned int cpu);

u64 smmu_model_pa(struct smmu_model *model, u64 size);
u64 smmu_model_page(struct smmu_model *model, unsigned int order);

void smmu_model_retire(struct smmu_model *model, u64 pa, u64 size);
void smmu_model_left(struct smmu_model_dev *dev, u32 ssid);
void smmu_model_check(struct smmu_model *model);

void smmu_model_expect(struct smmu_model *model, enum smmu_model_fault fault);
unsigned int smmu_model_faults(struct smmu_model *model,
			       enum smmu_model_fault fault);
struct smmu_model_stats smmu_model_get_stats(struct smmu_model *model);

#endif /* _ARM_SMMU_V3_TESTS_MODEL_H */
