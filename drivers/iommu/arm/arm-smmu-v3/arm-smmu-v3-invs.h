/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The invalidation array of a domain, see arm-smmu-v3-invs.c
 */
#ifndef _ARM_SMMU_V3_INVS_H
#define _ARM_SMMU_V3_INVS_H

#include <linux/rcupdate.h>
#include <linux/types.h>

struct arm_smmu_device;

/**
 * enum arm_smmu_inv_type - What the commands for an entry invalidate
 * @INV_TYPE_S1_ASID: stage 1 TLB entries with this ASID and VMID 0
 * @INV_TYPE_S2_VMID: stage 2 TLB entries with this VMID, for devices that are
 *	attached to the domain itself
 * @INV_TYPE_S2_VMID_VSMMU: the same for devices that are attached to a domain
 *	nested on this one. The VMID belongs to the vSMMU.
 * @INV_TYPE_S2_VMID_S1_CLEAR: all stage 1 TLB entries with this VMID. They belong
 *	to a guest, and become stale when stage 2 changes.
 * @INV_TYPE_ATS: a range in the ATC of this stream
 * @INV_TYPE_ATS_FULL: all of the ATC of this stream. It may have translations of
 *	stage 1 of a guest, which a range of stage 2 does not match.
 *
 * The types are in the order of enum arm_smmu_inv_phase.
 */
enum arm_smmu_inv_type {
	INV_TYPE_S1_ASID,
	INV_TYPE_S2_VMID,
	INV_TYPE_S2_VMID_VSMMU,
	INV_TYPE_S2_VMID_S1_CLEAR,
	INV_TYPE_ATS,
	INV_TYPE_ATS_FULL,
};

/**
 * enum arm_smmu_inv_phase - What may be issued without a CMD_SYNC in between
 * @INV_PHASE_TLBI: TLB entries of the page table of the domain
 * @INV_PHASE_S1_CLEAR: stage 1 TLB entries of guests. A stage 1 walk uses cached
 *	stage 2 translations, so these must be invalidated first.
 * @INV_PHASE_ATC: ATC entries. The SMMU answers a Translation Request from the
 *	TLB, so the TLB must be invalidated first.
 *
 * All CMD_SYNCs of a phase complete before the next phase begins.
 */
enum arm_smmu_inv_phase {
	INV_PHASE_TLBI,
	INV_PHASE_S1_CLEAR,
	INV_PHASE_ATC,
};

/**
 * struct arm_smmu_inv - One thing to invalidate on one SMMU
 * @smmu: the SMMU
 * @type: enum arm_smmu_inv_type
 * @size_opcode: the command for a range
 * @nsize_opcode: the command for everything under @id
 * @id: ASID, VMID or StreamID
 * @pgsize: log2 of the leaf granule, for an SMMU with ARM_SMMU_FEAT_RANGE_INV
 * @ssid: SubstreamID, for INV_TYPE_ATS and INV_TYPE_ATS_FULL
 * @users: how many attachments need this entry. With 0 it is trash: it keeps its
 *	place and its other fields, but readers skip it, and its @id may have a
 *	new owner.
 *
 * The key is (phase, @smmu, @type, @id), and @ssid where it is valid.
 */
struct arm_smmu_inv {
	struct arm_smmu_device *smmu;
	u8 type;
	u8 size_opcode;
	u8 nsize_opcode;
	u32 id;
	union {
		size_t pgsize;
		u32 ssid;
	};
	int users;
};

/**
 * struct arm_smmu_invs - The invalidation array of a domain
 * @max_invs: how many entries fit
 * @num_invs: how many entries there are, with trash, which is never the last
 * @num_trashes: how many of these are trash
 * @rcu: defers the free
 * @inv: the entries, sorted by their keys, each key once
 */
struct arm_smmu_invs {
	size_t max_invs;
	size_t num_invs;
	size_t num_trashes;
	struct rcu_head rcu;
	struct arm_smmu_inv inv[] __counted_by(max_invs);
};

static inline bool arm_smmu_inv_is_ats(const struct arm_smmu_inv *inv)
{
	return inv->type == INV_TYPE_ATS || inv->type == INV_TYPE_ATS_FULL;
}

static inline enum arm_smmu_inv_phase
arm_smmu_inv_phase(const struct arm_smmu_inv *inv)
{
	if (arm_smmu_inv_is_ats(inv))
		return INV_PHASE_ATC;
	if (inv->type == INV_TYPE_S2_VMID_S1_CLEAR)
		return INV_PHASE_S1_CLEAR;
	return INV_PHASE_TLBI;
}

struct arm_smmu_invs *arm_smmu_invs_alloc(size_t num_invs);
void arm_smmu_invs_free(struct arm_smmu_invs *invs);
void arm_smmu_invs_free_rcu(struct arm_smmu_invs *invs);
struct arm_smmu_invs *arm_smmu_invs_merge(struct arm_smmu_invs *invs,
					  struct arm_smmu_invs *to_merge);
void arm_smmu_invs_unref(struct arm_smmu_invs *invs,
			 struct arm_smmu_invs *to_unref);
struct arm_smmu_invs *arm_smmu_invs_purge(struct arm_smmu_invs *invs);
struct arm_smmu_inv *arm_smmu_invs_find(struct arm_smmu_invs *invs,
					struct arm_smmu_device *smmu,
					enum arm_smmu_inv_type type);
unsigned int arm_smmu_invs_users(const struct arm_smmu_invs *invs,
				 const struct arm_smmu_inv *key);

#endif /* _ARM_SMMU_V3_INVS_H */
