// SPDX-License-Identifier: GPL-2.0
/*
 * IOTLB tags: the ASIDs and VMIDs of an SMMU
 *
 * Every SMMU has a name space of its own for each of the two. A tag is owned by
 * the invalidation array of a domain, or by a vSMMU. A domain gets one on an SMMU
 * when the first of its devices there is attached and gives it back after the last
 * was detached.
 *
 * Here a tag is a struct arm_smmu_inv of which @smmu, @type and @id are set: the
 * key of the entry that the array has of it.
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
	 * VMID 0 is for STEs without stage 2, which the SMMU tags with it all the
	 * same. ASID 0 is for the CDs of processes that are gone: no entry of the
	 * TLB may ever have it, see arm_smmu_mm_release().
	 */
	__set_bit(0, pool->used);
	pool->hint = 1;
	return 0;
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
	return arm_smmu_pool_init(smmu, &smmu->asids, smmu->asid_bits) ?:
	       arm_smmu_pool_init(smmu, &smmu->vmids, smmu->vmid_bits);
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_tag_init);

/*
 * How many ids all but default domains may have. The core warns when a device
 * cannot go back to its default domain, or cannot be attached to it at first, so
 * user space must not be able to take the last ids. One is kept for each device
 * that was in a default domain. A sixteenth is kept for devices that are yet to
 * be plugged in.
 */
static unsigned int arm_smmu_tag_limit(const struct arm_smmu_inv *tag,
				       const struct arm_smmu_pool *pool)
{
	struct arm_smmu_device *smmu = tag->smmu;
	bool is_asid = tag->type == INV_TYPE_S1_ASID;
	unsigned int max = pool->size - 1;
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

/* The tag has no owner any more. If it is @dirty it is kept until it is flushed. */
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
 * arm_smmu_tag_alloc() - Take an unused tag
 * @tag: @tag->smmu and @tag->type say of what, @tag->id is set
 * @smmu_domain: the domain that it is for. Ids are kept in reserve for default
 *	domains.
 *
 * An id that is dirty is taken only when no other is left, as it must be flushed
 * again first.
 *
 * Context: process context, the pool has a lock of its own. May wait for the SMMU.
 * Return: 0, -ENOSPC if all are used, or all but those kept for default domains,
 * or -ETIMEDOUT if only dirty ones are left and the SMMU still does not answer.
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
 * arm_smmu_tag_free() - Give back a tag of which the TLB holds nothing
 * @tag: the tag
 * @smmu_domain: as for arm_smmu_tag_alloc()
 *
 * Context: process context, the pool has a lock of its own. May wait for the SMMU.
 */
void arm_smmu_tag_free(const struct arm_smmu_inv *tag,
		       struct arm_smmu_domain *smmu_domain)
{
	arm_smmu_tag_disown(tag, smmu_domain, false);
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
 * @tag: the tag, which no STE and no CD has any more
 *
 * If a CFGI has timed out since the last CFGI_ALL then a CFGI_ALL comes first:
 * an STE or CD that is still cached could bring the tag back.
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
 * arm_smmu_tag_flush_and_free() - Give back a tag that was in use
 * @tag: the tag, which no STE and no CD has any more
 * @smmu_domain: as for arm_smmu_tag_alloc()
 *
 * If the flush times out the TLB may not be clean, and the next owner of the id
 * would hit what this one left there. The id is dirty then: arm_smmu_tag_alloc()
 * flushes it again before it hands it out. So no id is lost, however often an
 * SMMU fails to answer for a while.
 *
 * Context: may sleep.
 */
void arm_smmu_tag_flush_and_free(const struct arm_smmu_inv *tag,
				 struct arm_smmu_domain *smmu_domain)
{
	bool dirty = arm_smmu_tag_flush(tag);

	/* Before it is free, so that the trace of its next owner comes later */
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
 * @tag: @tag->smmu is the SMMU that the device is behind. @tag->type is set, and
 *	@tag->id if there is one.
 * @domain: a domain that uses the TLB
 *
 * Context: the lock of the domain is held, of the parent if it is nested, and
 * until @tag is not used any more.
 * Return: false if there is none.
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
 * arm_smmu_tag_find_or_alloc() - Find the tag of a domain, or take a new one
 * @tag: @tag->smmu is set, the rest is set here
 * @domain: a domain that uses the TLB
 * @is_new: set to whether it is new. It is the caller's then, to be put into the
 *	array of the domain or to be freed.
 *
 * Context: may sleep. The lock of the domain is held, of the parent if it is
 * nested, and until @tag is not used any more.
 * Return: 0, -ENOSPC if all are used, or -ETIMEDOUT if the tag is dirty and could
 * not be flushed again.
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
 * arm_smmu_tag_detach() - A device has left a domain, or one of its PASIDs
 * @tag: its tag. If @users is 0 then no STE and no CD has it any more, nor the
 *	array.
 * @domain: the domain
 * @users: how many attachments still use it
 *
 * Flushes the tag after the last, and frees it unless it is that of a vSMMU.
 *
 * Context: the lock of the domain is held, of the parent if it is nested.
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
