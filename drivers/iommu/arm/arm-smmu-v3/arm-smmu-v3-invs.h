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
 * @INV_TYPE_S2_VMID: stage 2 TLB entries with this VMID, of devices that are
 *	attached to the domain itself
 * @INV_TYPE_S2_VMID_VSMMU: the same, of devices that are attached to a domain
 *	nested on this one. The VMID is that of the vSMMU.
 * @INV_TYPE_S2_VMID_S1_CLEAR: all stage 1 TLB entries with this VMID. They are a
 *	guest's, and go stale when the stage 2 underneath changes.
 * @INV_TYPE_ATS: a range in the ATC of this stream
 * @INV_TYPE_ATS_FULL: all of the ATC of this stream. It may hold translations of
 *	a guest's stage 1, which cannot be found by a range of stage 2.
 *
 * In the order of enum arm_smmu_inv_phase.
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
 * @INV_PHASE_TLBI: the entries of the TLB that were made from the page table
 * @INV_PHASE_S1_CLEAR: those that were made from these in turn. A stage 1 walk
 *	uses cached stage 2 translations, so these must be gone first.
 * @INV_PHASE_ATC: the entries of the ATCs. A Translation Request is answered
 *	from the TLB, so the TLB must be clean first.
 *
 * The CMD_SYNCs of one phase have to complete before the next begins.
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
 *	place and its other fields, but it is no longer an entry of the array and
 *	its @id may already belong to somebody else.
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
 * @max_invs: how many entries there is memory for
 * @num_invs: how many entries there are, trash included, but no trash at the end
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
