// SPDX-License-Identifier: GPL-2.0
/*
 * IOTLB tags: the ASIDs and VMIDs of an SMMU
 *
 * Every SMMU has a name space of its own for each of the two. A tag is owned by
 * whatever names it: the invalidation array of a domain, or a vSMMU. A domain
 * gets one on an SMMU when the first of its devices there is attached and gives
 * it back after the last was detached.
 */
#include <linux/dev_printk.h>
#include <linux/idr.h>

#include "arm-smmu-v3.h"
#include "trace.h"

static struct ida *arm_smmu_tag_ida(struct arm_smmu_device *smmu,
				    const struct arm_smmu_tag *tag)
{
	if (tag->type == INV_TYPE_S1_ASID)
		return &smmu->asid_map;
	return &smmu->vmid_map;
}

/**
 * arm_smmu_tag_alloc() - Take an unused tag
 * @smmu: the SMMU
 * @tag: @tag->type says of what type, @tag->id is set
 *
 * VMID 0 is for STEs without stage 2, which the SMMU tags with it all the same.
 * ASID 0 is for the CDs of processes that are gone: no entry of the TLB may ever
 * have it, see arm_smmu_mm_release().
 *
 * Context: may sleep.
 * Return: 0, -ENOSPC if all are used, or -ENOMEM.
 */
int arm_smmu_tag_alloc(struct arm_smmu_device *smmu, struct arm_smmu_tag *tag)
{
	unsigned int bits = tag->type == INV_TYPE_S1_ASID ? smmu->asid_bits :
							    smmu->vmid_bits;
	int id = ida_alloc_range(arm_smmu_tag_ida(smmu, tag), 1,
				 (1 << bits) - 1, GFP_KERNEL);

	if (id < 0)
		return id;
	tag->id = id;
	return 0;
}

/**
 * arm_smmu_tag_free() - Give back a tag of which the TLB holds nothing
 * @smmu: the SMMU
 * @tag: the tag
 *
 * Context: any.
 */
void arm_smmu_tag_free(struct arm_smmu_device *smmu,
		       const struct arm_smmu_tag *tag)
{
	ida_free(arm_smmu_tag_ida(smmu, tag), tag->id);
}

/**
 * arm_smmu_tag_flush() - Invalidate all that the TLB holds under a tag
 * @smmu: the SMMU
 * @tag: the tag, which no STE and no CD has any more
 *
 * Context: any.
 * Return: 0, or -ETIMEDOUT if the CMD_SYNC did not complete.
 */
int arm_smmu_tag_flush(struct arm_smmu_device *smmu,
		       const struct arm_smmu_tag *tag)
{
	struct arm_smmu_cmd cmd;

	if (tag->type != INV_TYPE_S1_ASID)
		/* Covers stage 1 under this VMID, too */
		cmd = arm_smmu_make_cmd_tlbi(CMDQ_OP_TLBI_S12_VMALL, 0,
					     tag->id);
	else if (smmu->features & ARM_SMMU_FEAT_E2H)
		cmd = arm_smmu_make_cmd_tlbi(CMDQ_OP_TLBI_EL2_ASID, tag->id, 0);
	else
		cmd = arm_smmu_make_cmd_tlbi(CMDQ_OP_TLBI_NH_ASID, tag->id, 0);

	return arm_smmu_cmdq_issue_cmd_p(smmu, &cmd, true);
}

/**
 * arm_smmu_tag_release() - Give back a tag that was in use
 * @smmu: the SMMU
 * @domain: the domain that it was used for
 * @tag: the tag, which no STE and no CD has any more
 *
 * If it is not known that the TLB is clean the tag is not given back, or the
 * next to get it would hit what the last one left there. That is an id less, of
 * an SMMU that is in trouble anyway.
 *
 * Context: any.
 */
void arm_smmu_tag_release(struct arm_smmu_device *smmu,
			  const struct arm_smmu_domain *domain,
			  const struct arm_smmu_tag *tag)
{
	if (arm_smmu_tag_flush(smmu, tag)) {
		trace_arm_smmu_tag_put(smmu, domain, tag, 0, false);
		dev_warn_ratelimited(smmu->dev,
				     "%s %u is lost, its invalidation timed out\n",
				     tag->type == INV_TYPE_S1_ASID ? "ASID" :
								     "VMID",
				     tag->id);
		return;
	}
	/* Traced before it is free, so before anybody traces that he got it */
	trace_arm_smmu_tag_put(smmu, domain, tag, 0, true);
	arm_smmu_tag_free(smmu, tag);
}

/**
 * arm_smmu_tag_find() - Look up the tag that a device has in a domain
 * @smmu: the SMMU that the device is behind
 * @domain: a domain that uses the TLB
 * @tag: set to the tag. If there is none, to the type that it would have.
 *
 * Context: arm_smmu_asid_lock is held, until nobody looks at @tag any more.
 * Return: false if there is none.
 */
bool arm_smmu_tag_find(struct arm_smmu_device *smmu,
		       struct iommu_domain *domain, struct arm_smmu_tag *tag)
{
	struct arm_smmu_domain *smmu_domain;
	struct arm_smmu_invs *invs;
	struct arm_smmu_inv *inv;

	lockdep_assert_held(&arm_smmu_asid_lock);

	if (domain->type == IOMMU_DOMAIN_NESTED) {
		*tag = arm_vsmmu_to_tag(to_smmu_nested_domain(domain)->vsmmu);
		return true;
	}

	smmu_domain = to_smmu_domain(domain);
	tag->type = smmu_domain->stage == ARM_SMMU_DOMAIN_S2 ?
			    INV_TYPE_S2_VMID : INV_TYPE_S1_ASID;
	invs = rcu_dereference_protected(smmu_domain->invs,
					 lockdep_is_held(&arm_smmu_asid_lock));
	inv = arm_smmu_invs_find(invs, smmu, tag->type);
	if (!inv)
		return false;
	tag->id = inv->id;
	return true;
}

/**
 * arm_smmu_tag_get() - Find the tag of a domain on an SMMU, or take a new one
 * @smmu: the SMMU
 * @domain: a domain that uses the TLB
 * @tag: set to the tag
 *
 * A new one is the caller's to put into the array of the domain, or to return by
 * arm_smmu_tag_unget().
 *
 * Context: may sleep. arm_smmu_asid_lock is held, until nobody looks at @tag any
 * more.
 * Return: 0, -ENOSPC if all are used, -ENOMEM, or -ETIMEDOUT if the tag is that
 * of a vSMMU and it could not be flushed.
 */
int arm_smmu_tag_get(struct arm_smmu_device *smmu, struct iommu_domain *domain,
		     struct arm_smmu_tag *tag)
{
	struct arm_vsmmu *vsmmu;

	tag->is_new = !arm_smmu_tag_find(smmu, domain, tag);
	if (tag->is_new)
		return arm_smmu_tag_alloc(smmu, tag);
	if (domain->type != IOMMU_DOMAIN_NESTED)
		return 0;

	vsmmu = to_smmu_nested_domain(domain)->vsmmu;
	if (vsmmu->vmid_dirty && arm_smmu_tag_flush(smmu, tag))
		return -ETIMEDOUT;
	vsmmu->vmid_dirty = false;
	return 0;
}

/**
 * arm_smmu_tag_unget() - Undo arm_smmu_tag_get()
 * @smmu: the SMMU
 * @tag: what arm_smmu_tag_get() has set, and no STE, CD or array has got
 *
 * Context: arm_smmu_asid_lock is held.
 */
void arm_smmu_tag_unget(struct arm_smmu_device *smmu, struct arm_smmu_tag *tag)
{
	lockdep_assert_held(&arm_smmu_asid_lock);

	if (tag->is_new)
		arm_smmu_tag_free(smmu, tag);
}

/**
 * arm_smmu_tag_put() - A device has left a domain, or one of its PASIDs
 * @smmu: the SMMU
 * @domain: the domain
 * @tag: its tag. If @users is 0 then no STE and no CD has it any more, nor the
 *	array.
 * @users: how many attachments still use it
 *
 * Flushes the tag after the last, and frees it unless it is that of a vSMMU.
 *
 * Context: arm_smmu_asid_lock is held.
 */
void arm_smmu_tag_put(struct arm_smmu_device *smmu, struct iommu_domain *domain,
		      const struct arm_smmu_tag *tag, unsigned int users)
{
	lockdep_assert_held(&arm_smmu_asid_lock);

	if (domain->type == IOMMU_DOMAIN_NESTED) {
		struct arm_vsmmu *vsmmu = to_smmu_nested_domain(domain)->vsmmu;

		if (!users)
			vsmmu->vmid_dirty = arm_smmu_tag_flush(smmu, tag);
		trace_arm_smmu_tag_put(smmu, vsmmu->s2_parent, tag, users,
				       false);
	} else if (users) {
		trace_arm_smmu_tag_put(smmu, to_smmu_domain(domain), tag, users,
				       false);
	} else {
		arm_smmu_tag_release(smmu, to_smmu_domain(domain), tag);
	}
}
