// SPDX-License-Identifier: GPL-2.0
/*
 * IOTLB tags: the ASIDs and VMIDs of an SMMU
 *
 * Each SMMU has its own ASIDs and its own VMIDs. The owner of a tag is the
 * invalidation array of a domain, or a vSMMU. A domain gets a tag on an SMMU when
 * its first device behind the SMMU is attached, and frees it after the last detach.
 *
 * Here a tag is a struct arm_smmu_inv with @smmu, @type and @id set, which are
 * the key of its entry in the array.
 */
#include <linux/bitmap.h>
#include <linux/cleanup.h>
#include <linux/dev_printk.h>
#include <linux/device/devres.h>
#include <linux/spinlock.h>
#include <kunit/visibility.h>

#include "arm-smmu-v3.h"
#include "trace.h"

static struct arm_smmu_pool *arm_smmu_tag_pool(const struct arm_smmu_inv *tag)
{
	if (tag->type == INV_TYPE_S1_ASID)
		return &tag->smmu->asids;
	return &tag->smmu->vmids;
}

static int arm_smmu_pool_init(struct arm_smmu_device *smmu,
			      struct arm_smmu_pool *pool, unsigned int bits)
{
	pool->size = 1 << bits;
	pool->used = devm_bitmap_zalloc(smmu->dev, pool->size, GFP_KERNEL);
	pool->dirty = devm_bitmap_zalloc(smmu->dev, pool->size, GFP_KERNEL);
	if (!pool->used || !pool->dirty)
		return -ENOMEM;

	spin_lock_init(&pool->lock);
	/*
	 * STEs without stage 2 use VMID 0. CDs of exited processes use ASID 0,
	 * and no TLB entry may have it, see arm_smmu_mm_release().
	 */
	__set_bit(0, pool->used);
	pool->hint = 1;
	return 0;
}

/**
 * arm_smmu_tag_init() - Prepare the ASIDs and VMIDs of an SMMU
 * @smmu: the SMMU, with asid_bits and vmid_bits set
 *
 * The memory is freed with the device of the SMMU.
 *
 * Context: may sleep.
 * Return: 0 or -ENOMEM.
 */
int arm_smmu_tag_init(struct arm_smmu_device *smmu)
{
	return arm_smmu_pool_init(smmu, &smmu->asids, smmu->asid_bits) ?:
	       arm_smmu_pool_init(smmu, &smmu->vmids, smmu->vmid_bits);
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_tag_init);

/*
 * How many tags are not reserved for default domains. The core warns if an attach
 * to a default domain fails, so user space must not be able to take the last tags.
 * One tag is reserved for each device that was attached to a default domain, and a
 * sixteenth of all tags for devices that are plugged in later.
 */
static unsigned int arm_smmu_tag_limit(const struct arm_smmu_inv *tag,
				       const struct arm_smmu_pool *pool)
{
	struct arm_smmu_device *smmu = tag->smmu;
	bool is_asid = tag->type == INV_TYPE_S1_ASID;
	unsigned int max = pool->size - 1;
	unsigned int keep;

	/* Default domains use stage 1 if the SMMU has it */
	if (is_asid != !!(smmu->features & ARM_SMMU_FEAT_TRANS_S1))
		return max;
	keep = atomic_read(&smmu->num_default_masters) + max / 16;
	return max - min(max, keep);
}

/**
 * arm_smmu_tag_keep() - Reserve a tag for a device
 * @master: the device
 * @domain: the domain that it is attached to. A tag is reserved only if this is a
 *	default domain that translates.
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
 * arm_smmu_tag_unkeep() - Undo arm_smmu_tag_keep(), if it has reserved a tag
 * @master: the device, which is being released
 *
 * Context: any. The device is not attached any more.
 */
void arm_smmu_tag_unkeep(struct arm_smmu_master *master)
{
	if (master->keeps_id)
		atomic_dec(&master->smmu->num_default_masters);
	master->keeps_id = false;
}

/* Release a tag from its owner. If @dirty, it is free only after another flush. */
static void arm_smmu_tag_disown(const struct arm_smmu_inv *tag,
				struct arm_smmu_domain *smmu_domain,
				bool dirty)
{
	struct arm_smmu_pool *pool = arm_smmu_tag_pool(tag);

	guard(spinlock)(&pool->lock);
	if (!iommu_is_dma_domain(&smmu_domain->domain))
		pool->num_others--;
	if (dirty) {
		__set_bit(tag->id, pool->dirty);
		return;
	}
	__clear_bit(tag->id, pool->used);
	pool->hint = min(pool->hint, tag->id);
}

/**
 * arm_smmu_tag_alloc() - Allocate a tag
 * @tag: @tag->smmu and @tag->type are set, @tag->id is set here
 * @smmu_domain: the domain that it is for. Some tags are reserved for default
 *	domains.
 *
 * A dirty tag is used only if no other tag is left, because it must be flushed
 * first.
 *
 * Context: process context. May wait for the SMMU.
 * Return: 0, -ENOSPC if all tags are used or reserved, or -ETIMEDOUT if only dirty
 * tags are left and the SMMU does not answer.
 */
int arm_smmu_tag_alloc(struct arm_smmu_inv *tag,
		       struct arm_smmu_domain *smmu_domain)
{
	bool is_default = iommu_is_dma_domain(&smmu_domain->domain);
	struct arm_smmu_pool *pool = arm_smmu_tag_pool(tag);
	unsigned int id;
	bool dirty;

	scoped_guard(spinlock, &pool->lock) {
		if (!is_default &&
		    pool->num_others >= arm_smmu_tag_limit(tag, pool))
			return -ENOSPC;

		id = find_next_zero_bit(pool->used, pool->size, pool->hint);
		dirty = id >= pool->size;
		if (dirty) {
			id = find_first_bit(pool->dirty, pool->size);
			if (id >= pool->size)
				return -ENOSPC;
			__clear_bit(id, pool->dirty);
		} else {
			__set_bit(id, pool->used);
			pool->hint = id + 1;
		}
		pool->num_others += !is_default;
	}

	tag->id = id;
	if (dirty && arm_smmu_tag_flush(tag)) {
		arm_smmu_tag_disown(tag, smmu_domain, true);
		return -ETIMEDOUT;
	}
	return 0;
}

/**
 * arm_smmu_tag_free() - Free a tag that has no entries in the TLB
 * @tag: the tag
 * @smmu_domain: as for arm_smmu_tag_alloc()
 *
 * Context: process context.
 */
void arm_smmu_tag_free(const struct arm_smmu_inv *tag,
		       struct arm_smmu_domain *smmu_domain)
{
	arm_smmu_tag_disown(tag, smmu_domain, false);
}

/*
 * After a CFGI timed out, the SMMU may still cache a stale STE or CD, and may use
 * it to add TLB entries with any tag. The CMD_SYNC of a TLBI does not prove that the
 * CFGI is complete, because the two may be in different queues.
 */
static int arm_smmu_tag_flush_cfgi(struct arm_smmu_device *smmu)
{
	struct arm_smmu_cmd cmd = arm_smmu_make_cmd_cfgi_all();
	int timeouts = atomic_read(&smmu->cfgi_timeouts);
	int ret;

	/*
	 * If another thread overwrites a newer count with an older one, there is
	 * one more CFGI_ALL. Pairs with the WRITE_ONCE() below.
	 */
	if (likely(timeouts == READ_ONCE(smmu->cfgi_flushed)))
		return 0;
	ret = arm_smmu_cmdq_issue_cmd_p(smmu, &cmd, true);
	if (!ret)
		WRITE_ONCE(smmu->cfgi_flushed, timeouts);
	return ret;
}

/**
 * arm_smmu_tag_flush() - Invalidate all TLB entries with a tag
 * @tag: the tag, which no STE and no CD has any more
 *
 * If a CFGI has timed out since the last CFGI_ALL, a CFGI_ALL comes first. The
 * SMMU could otherwise use a cached STE or CD to add TLB entries with the tag.
 *
 * Context: any.
 * Return: 0, or -ETIMEDOUT if a CMD_SYNC did not complete.
 */
int arm_smmu_tag_flush(const struct arm_smmu_inv *tag)
{
	struct arm_smmu_device *smmu = tag->smmu;
	struct arm_smmu_cmd cmd;
	int ret;

	ret = arm_smmu_tag_flush_cfgi(smmu);
	if (ret)
		return ret;

	if (tag->type != INV_TYPE_S1_ASID)
		/* Includes stage 1 with this VMID */
		cmd = arm_smmu_make_cmd_tlbi(CMDQ_OP_TLBI_S12_VMALL, 0,
					     tag->id);
	else if (smmu->features & ARM_SMMU_FEAT_E2H)
		cmd = arm_smmu_make_cmd_tlbi(CMDQ_OP_TLBI_EL2_ASID, tag->id, 0);
	else
		cmd = arm_smmu_make_cmd_tlbi(CMDQ_OP_TLBI_NH_ASID, tag->id, 0);

	return arm_smmu_cmdq_issue_cmd_p(smmu, &cmd, true);
}

/**
 * arm_smmu_tag_flush_and_free() - Free a tag that was in use
 * @tag: the tag, which no STE and no CD has any more
 * @smmu_domain: as for arm_smmu_tag_alloc()
 *
 * If the flush times out, the TLB may still have entries with the tag, and the
 * next owner would hit them. The tag is dirty then. arm_smmu_tag_alloc() flushes it
 * again before its next use, so a timeout leaks no tag.
 *
 * Context: may sleep.
 */
void arm_smmu_tag_flush_and_free(const struct arm_smmu_inv *tag,
				 struct arm_smmu_domain *smmu_domain)
{
	bool dirty = arm_smmu_tag_flush(tag);

	/* Before the tag is freed, so that the event of its next owner comes later */
	trace_arm_smmu_tag_put(smmu_domain, tag, 0, !dirty);
	if (dirty)
		dev_warn_ratelimited(tag->smmu->dev,
				     "%s %u is dirty, its invalidation timed out\n",
				     tag->type == INV_TYPE_S1_ASID ? "ASID" :
								     "VMID",
				     tag->id);
	arm_smmu_tag_disown(tag, smmu_domain, dirty);
}

/**
 * arm_smmu_tag_find() - Look up the tag that a device has in a domain
 * @tag: @tag->smmu is the SMMU of the device. @tag->type is set here, and @tag->id
 *	if there is a tag.
 * @domain: a domain that uses the TLB
 *
 * Context: the lock of the domain, or of its parent if it is nested, is held until
 * the last use of @tag.
 * Return: false if there is no tag.
 */
bool arm_smmu_tag_find(struct arm_smmu_inv *tag, struct iommu_domain *domain)
{
	struct arm_smmu_domain *smmu_domain;
	struct arm_smmu_invs *invs;
	struct arm_smmu_inv *inv;

	if (domain->type == IOMMU_DOMAIN_NESTED) {
		*tag = arm_vsmmu_to_tag(to_smmu_nested_domain(domain)->vsmmu);
		return true;
	}

	smmu_domain = to_smmu_domain(domain);
	tag->type = smmu_domain->stage == ARM_SMMU_DOMAIN_S2 ?
			    INV_TYPE_S2_VMID : INV_TYPE_S1_ASID;
	invs = rcu_dereference_protected(smmu_domain->invs,
					 lockdep_is_held(&smmu_domain->lock));
	inv = arm_smmu_invs_find(invs, tag->smmu, tag->type);
	if (!inv)
		return false;
	tag->id = inv->id;
	return true;
}

/**
 * arm_smmu_tag_find_or_alloc() - Find the tag of a domain, or allocate one
 * @tag: @tag->smmu is set, the rest is set here
 * @domain: a domain that uses the TLB
 * @is_new: set to true if the tag is new. The caller then puts it into the array
 *	of the domain or frees it.
 *
 * Context: may sleep. The lock of the domain, or of its parent if it is nested, is
 * held until the last use of @tag.
 * Return: 0, or -ENOSPC or -ETIMEDOUT as for arm_smmu_tag_alloc(). -ETIMEDOUT also
 * if the VMID of a vSMMU is dirty and the SMMU does not answer.
 */
int arm_smmu_tag_find_or_alloc(struct arm_smmu_inv *tag,
			       struct iommu_domain *domain, bool *is_new)
{
	struct arm_vsmmu *vsmmu;

	*is_new = !arm_smmu_tag_find(tag, domain);
	if (*is_new)
		return arm_smmu_tag_alloc(tag, to_smmu_domain(domain));
	if (domain->type != IOMMU_DOMAIN_NESTED)
		return 0;

	vsmmu = to_smmu_nested_domain(domain)->vsmmu;
	lockdep_assert_held(&vsmmu->s2_parent->lock);
	if (vsmmu->vmid_dirty && arm_smmu_tag_flush(tag))
		return -ETIMEDOUT;
	vsmmu->vmid_dirty = false;
	return 0;
}

/**
 * arm_smmu_tag_detach() - Remove a user of a tag after a detach
 * @tag: the tag. If @users is 0, no STE, no CD and no array has it any more.
 * @domain: the domain
 * @users: how many attachments still use the tag
 *
 * Flushes the tag after the last user, and frees it unless a vSMMU owns it.
 *
 * Context: the lock of the domain is held, or of its parent if it is nested.
 */
void arm_smmu_tag_detach(const struct arm_smmu_inv *tag,
			 struct iommu_domain *domain, unsigned int users)
{
	if (domain->type == IOMMU_DOMAIN_NESTED) {
		struct arm_vsmmu *vsmmu = to_smmu_nested_domain(domain)->vsmmu;

		lockdep_assert_held(&vsmmu->s2_parent->lock);
		if (!users)
			vsmmu->vmid_dirty = arm_smmu_tag_flush(tag);
		trace_arm_smmu_tag_put(vsmmu->s2_parent, tag, users, false);
	} else if (users) {
		trace_arm_smmu_tag_put(to_smmu_domain(domain), tag, users,
				       false);
	} else {
		arm_smmu_tag_flush_and_free(tag, to_smmu_domain(domain));
	}
}
