// SPDX-License-Identifier: GPL-2.0
/*
 * IOTLB tags: the ASIDs and VMIDs of an SMMU
 *
 * Every SMMU has a name space of its own for each of the two. A tag is owned by
 * whatever names it: the invalidation array of a domain, or a vSMMU. A domain
 * gets one on an SMMU when the first of its devices there is attached and gives
 * it back after the last was detached.
 */
#include <linux/bitmap.h>
#include <linux/dev_printk.h>
#include <linux/device/devres.h>
#include <linux/idr.h>
#include <kunit/visibility.h>

#include "arm-smmu-v3.h"
#include "trace.h"

static struct ida *arm_smmu_tag_ida(struct arm_smmu_device *smmu,
				    const struct arm_smmu_tag *tag)
{
	if (tag->type == INV_TYPE_S1_ASID)
		return &smmu->asid_map;
	return &smmu->vmid_map;
}

/* The ids that are free but for a flush that timed out. The ida has them, too. */
static unsigned long *arm_smmu_tag_dirty(struct arm_smmu_device *smmu,
					 const struct arm_smmu_tag *tag)
{
	if (tag->type == INV_TYPE_S1_ASID)
		return smmu->asid_dirty;
	return smmu->vmid_dirty;
}

static unsigned int arm_smmu_tag_bits(const struct arm_smmu_device *smmu,
				      const struct arm_smmu_tag *tag)
{
	if (tag->type == INV_TYPE_S1_ASID)
		return smmu->asid_bits;
	return smmu->vmid_bits;
}

static void arm_smmu_tag_destroy(void *data)
{
	struct arm_smmu_device *smmu = data;

	ida_destroy(&smmu->asid_map);
	ida_destroy(&smmu->vmid_map);
}

/**
 * arm_smmu_tag_init() - Prepare the ASIDs and VMIDs of an SMMU
 * @smmu: the SMMU, of which the number of bits of both is known
 *
 * What this allocates is freed with the device of the SMMU.
 *
 * Context: may sleep.
 * Return: 0 or -ENOMEM.
 */
int arm_smmu_tag_init(struct arm_smmu_device *smmu)
{
	smmu->asid_dirty = devm_bitmap_zalloc(smmu->dev, 1 << smmu->asid_bits,
					      GFP_KERNEL);
	smmu->vmid_dirty = devm_bitmap_zalloc(smmu->dev, 1 << smmu->vmid_bits,
					      GFP_KERNEL);
	if (!smmu->asid_dirty || !smmu->vmid_dirty)
		return -ENOMEM;

	ida_init(&smmu->asid_map);
	ida_init(&smmu->vmid_map);
	return devm_add_action_or_reset(smmu->dev, arm_smmu_tag_destroy, smmu);
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_tag_init);

static atomic_t *arm_smmu_tag_num_others(struct arm_smmu_device *smmu,
					 const struct arm_smmu_tag *tag)
{
	if (tag->type == INV_TYPE_S1_ASID)
		return &smmu->num_other_asids;
	return &smmu->num_other_vmids;
}

/*
 * How many ids all but default domains may have. The core warns when a device
 * cannot go back to its default domain, or cannot be attached to it at first, so
 * user space must not be able to take the last ids. One is kept for each device
 * that was in a default domain. A sixteenth is kept for devices that are yet to
 * be plugged in.
 */
static unsigned int arm_smmu_tag_limit(const struct arm_smmu_device *smmu,
				       const struct arm_smmu_tag *tag)
{
	unsigned int max = (1 << arm_smmu_tag_bits(smmu, tag)) - 1;
	bool is_asid = tag->type == INV_TYPE_S1_ASID;
	unsigned int keep;

	/* Default domains are of stage 1 if the SMMU has it */
	if (is_asid != !!(smmu->features & ARM_SMMU_FEAT_TRANS_S1))
		return max;
	keep = atomic_read(&smmu->num_default_masters) + max / 16;
	return max - min(max, keep);
}

/**
 * arm_smmu_tag_keep() - Keep an id in reserve for a device
 * @master: the device
 * @domain: the domain that it is attached to. If it is not a default domain then
 *	nothing is kept, e.g. a device in the identity domain needs no id.
 *
 * Context: the mutex of the iommu group is held.
 */
void arm_smmu_tag_keep(struct arm_smmu_master *master,
		       struct iommu_domain *domain)
{
	if (master->keeps_id || !iommu_is_dma_domain(domain))
		return;
	master->keeps_id = true;
	atomic_inc(&master->smmu->num_default_masters);
}

/**
 * arm_smmu_tag_unkeep() - Undo arm_smmu_tag_keep(), if it has kept an id
 * @master: the device, which goes away
 *
 * Context: any, nothing attaches the device any more.
 */
void arm_smmu_tag_unkeep(struct arm_smmu_master *master)
{
	if (master->keeps_id)
		atomic_dec(&master->smmu->num_default_masters);
	master->keeps_id = false;
}

/* The id has no owner any more, though it may be dirty */
static void arm_smmu_tag_disown(struct arm_smmu_device *smmu,
				const struct arm_smmu_tag *tag)
{
	if (!tag->is_default)
		atomic_dec(arm_smmu_tag_num_others(smmu, tag));
}

/* The last resort of arm_smmu_tag_alloc(): flush a dirty id again, and take it */
static int arm_smmu_tag_alloc_dirty(struct arm_smmu_device *smmu,
				    struct arm_smmu_tag *tag)
{
	unsigned long *dirty = arm_smmu_tag_dirty(smmu, tag);
	unsigned int id;
	int ret;

	for_each_set_bit(id, dirty, 1 << arm_smmu_tag_bits(smmu, tag)) {
		/* Another thread may take it at the same time */
		if (!test_and_clear_bit(id, dirty))
			continue;
		tag->id = id;
		ret = arm_smmu_tag_flush(smmu, tag);
		if (ret)
			set_bit(id, dirty);
		return ret;
	}
	return -ENOSPC;
}

/**
 * arm_smmu_tag_alloc() - Take an unused tag
 * @smmu: the SMMU
 * @tag: @tag->type says of what type, @tag->is_default for what, @tag->id is set
 *
 * VMID 0 is for STEs without stage 2, which the SMMU tags with it all the same.
 * ASID 0 is for the CDs of processes that are gone: no entry of the TLB may ever
 * have it, see arm_smmu_mm_release().
 *
 * An id that is dirty is taken only when no other is left, as it must be flushed
 * again first.
 *
 * Context: may sleep.
 * Return: 0, -ENOSPC if all are used, or all but those kept for default domains,
 * -ENOMEM, or -ETIMEDOUT if only dirty ones are left and the SMMU still does not
 * answer.
 */
int arm_smmu_tag_alloc(struct arm_smmu_device *smmu, struct arm_smmu_tag *tag)
{
	atomic_t *num_others = arm_smmu_tag_num_others(smmu, tag);
	int ret;

	/* Taken first, as others may allocate at the same time */
	if (!tag->is_default &&
	    atomic_inc_return(num_others) > arm_smmu_tag_limit(smmu, tag)) {
		ret = -ENOSPC;
		goto out_disown;
	}

	ret = ida_alloc_range(arm_smmu_tag_ida(smmu, tag), 1,
			      (1 << arm_smmu_tag_bits(smmu, tag)) - 1,
			      GFP_KERNEL);
	if (ret > 0)
		tag->id = ret;
	else if (ret == -ENOSPC)
		ret = arm_smmu_tag_alloc_dirty(smmu, tag);
	if (ret >= 0)
		return 0;

out_disown:
	arm_smmu_tag_disown(smmu, tag);
	return ret;
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
	arm_smmu_tag_disown(smmu, tag);
	ida_free(arm_smmu_tag_ida(smmu, tag), tag->id);
}

/*
 * A CFGI timed out: the SMMU may still use an STE or a CD that is gone from
 * memory, and with it bring any id back into the TLB. A CMD_SYNC that completes
 * on another queue, as a TLBI may take, does not prove the contrary.
 */
static int arm_smmu_tag_flush_cfgi(struct arm_smmu_device *smmu)
{
	struct arm_smmu_cmd cmd = arm_smmu_make_cmd_cfgi_all();
	int timeouts = atomic_read(&smmu->cfgi_timeouts);
	int ret;

	/*
	 * Two threads that write an older and a newer count in the wrong order
	 * cause one more CFGI_ALL. Pairs with the WRITE_ONCE() below.
	 */
	if (likely(timeouts == READ_ONCE(smmu->cfgi_flushed)))
		return 0;
	ret = arm_smmu_cmdq_issue_cmd_p(smmu, &cmd, true);
	if (!ret)
		WRITE_ONCE(smmu->cfgi_flushed, timeouts);
	return ret;
}

/**
 * arm_smmu_tag_flush() - Invalidate all that the TLB holds under a tag
 * @smmu: the SMMU
 * @tag: the tag, which no STE and no CD has any more
 *
 * If a CFGI has timed out since the last CFGI_ALL then a CFGI_ALL comes first:
 * an STE or CD that is still cached could bring the tag back.
 *
 * Context: any.
 * Return: 0, or -ETIMEDOUT if a CMD_SYNC did not complete.
 */
int arm_smmu_tag_flush(struct arm_smmu_device *smmu,
		       const struct arm_smmu_tag *tag)
{
	struct arm_smmu_cmd cmd;
	int ret;

	ret = arm_smmu_tag_flush_cfgi(smmu);
	if (ret)
		return ret;

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
 * If the flush times out the TLB may not be clean, and the next owner of the id
 * would hit what this one left there. The id is dirty then: arm_smmu_tag_alloc()
 * flushes it again before it hands it out. So no id is lost, however often an
 * SMMU fails to answer for a while.
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
				     "%s %u is dirty, its invalidation timed out\n",
				     tag->type == INV_TYPE_S1_ASID ? "ASID" :
								     "VMID",
				     tag->id);
		arm_smmu_tag_disown(smmu, tag);
		/* Pairs with the test_and_clear_bit() in arm_smmu_tag_alloc_dirty() */
		set_bit(tag->id, arm_smmu_tag_dirty(smmu, tag));
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
	tag->is_default = iommu_is_dma_domain(domain);
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
 * Return: 0, -ENOSPC if all are used, -ENOMEM, or -ETIMEDOUT if the tag is dirty
 * and could not be flushed again.
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
