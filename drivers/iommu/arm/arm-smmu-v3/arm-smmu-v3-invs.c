// SPDX-License-Identifier: GPL-2.0
/*
 * The invalidation array of a domain: what must be invalidated, and on which
 * SMMU, when the page table of the domain changes.
 */
#include <linux/slab.h>
#include <linux/sort.h>
#include <kunit/visibility.h>

#include "arm-smmu-v3.h"

/**
 * DOC: The rules of the array
 *
 * The array is only a data structure. Its functions issue no commands and take no
 * locks. Their callers do, by these rules.
 *
 * Writers
 *	Attach and detach change arrays, between arm_smmu_attach_prepare() and
 *	the end of arm_smmu_attach_commit(), with the lock of the domain held.
 *	They use plain accesses to read the array.
 *
 * Readers
 *	arm_smmu_domain_inv_range() walks the array from its first entry to its
 *	last under the RCU read lock only, possibly long after the array was
 *	replaced. It skips trash.
 *
 * What a reader may see change
 *	Only arm_smmu_invs_unref() writes to a published array: to @users of
 *	entries and to @num_invs. It uses WRITE_ONCE() and the readers use
 *	READ_ONCE() for these two. Both the old and the new value are correct for
 *	a reader, because the STE or CD of the detached device was changed
 *	before. If ATS is disabled, the detach waits for the readers.
 *	arm_smmu_invs_merge() and arm_smmu_invs_purge() write to a new array,
 *	which rcu_assign_pointer() publishes.
 *
 * Adding an entry
 *	The array with the entry is published before the STE or CD that makes the
 *	SMMU use the page table: the dma_wmb() in arm_smmu_write_entry() pairs
 *	with the smp_mb() in arm_smmu_domain_load_invs(). Either the CPU that
 *	changes the page table sees the entry, or the SMMU sees the change.
 *	A device that uses ATS can fill its ATC from stale TLB entries until the
 *	TLBIs of a walk are complete, and the walk may have begun before the
 *	array was published. A walk therefore loads the array again after them.
 *
 * Removing an entry
 *	An entry is removed after the STE or CD was changed. A tag without users
 *	is then flushed, and freed after the flush: the TLB has no entries with
 *	a free tag. A reader of an older array may invalidate the tag once more,
 *	for its new owner. This is harmless. An ATC_INV to a device that may have
 *	been removed is not, see arm_smmu_start_ats_fence().
 *
 * Trash
 *	A removal cannot fail, so it only marks the entry as trash.
 *	arm_smmu_invs_purge() makes an array without trash. If there is no memory
 *	for it, the trash remains until the next purge or merge.
 *
 * Order
 *	By phase first, so that a walk from the first entry to the last issues
 *	all commands of a phase, on all SMMUs, before those of the next phase.
 */

/**
 * arm_smmu_invs_alloc() - Allocate an array
 * @num_invs: how many entries it has
 * @gfp: GFP_KERNEL, or GFP_KERNEL_ACCOUNT to account the memory to the calling
 *	process
 *
 * An array has an entry for each stream that uses ATS, which can be thousands, so
 * contiguous pages are not required.
 *
 * Context: may sleep.
 * Return: the array, with all entries zero. NULL if there is no memory.
 */
struct arm_smmu_invs *arm_smmu_invs_alloc(size_t num_invs, gfp_t gfp)
{
	struct arm_smmu_invs *invs = kvzalloc_flex(*invs, inv, num_invs, gfp);

	if (!invs)
		return NULL;
	invs->max_invs = num_invs;
	invs->num_invs = num_invs;
	return invs;
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_invs_alloc);

/**
 * arm_smmu_invs_free() - Free an array that has no readers
 * @invs: the array, or NULL
 *
 * Context: any but NMI.
 */
void arm_smmu_invs_free(struct arm_smmu_invs *invs)
{
	kvfree(invs);
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_invs_free);

/**
 * arm_smmu_invs_free_rcu() - Free an array when its readers are done
 * @invs: the array, which the domain has replaced
 *
 * Context: any but NMI.
 */
void arm_smmu_invs_free_rcu(struct arm_smmu_invs *invs)
{
	kvfree_rcu(invs, rcu);
}

static int arm_smmu_inv_cmp(const struct arm_smmu_inv *a,
			    const struct arm_smmu_inv *b)
{
	/* Entries of one type are in one phase, so most comparisons skip the phase */
	if (a->type != b->type)
		return cmp_int(arm_smmu_inv_phase(a), arm_smmu_inv_phase(b)) ?:
		       cmp_int((uintptr_t)a->smmu, (uintptr_t)b->smmu) ?:
		       cmp_int(a->type, b->type);

	return cmp_int((uintptr_t)a->smmu, (uintptr_t)b->smmu) ?:
	       cmp_int(a->id, b->id) ?:
	       (arm_smmu_inv_is_ats(a) ? cmp_int(a->ssid, b->ssid) : 0);
}

/* The index of the first entry, trash or not, that does not sort before @key */
static size_t arm_smmu_invs_lower_bound(const struct arm_smmu_invs *invs,
					const struct arm_smmu_inv *key)
{
	size_t first = 0, last = invs->num_invs;

	while (first != last) {
		size_t mid = first + (last - first) / 2;

		if (arm_smmu_inv_cmp(&invs->inv[mid], key) < 0)
			first = mid + 1;
		else
			last = mid;
	}
	return first;
}

/*
 * The index of the entry with the key of @key, trash or not. @invs->num_invs if there
 * is none. @i is a guess that is tried first: the tag of a domain on one SMMU is entry
 * 0, and the entries of an attachment often follow each other.
 */
static size_t arm_smmu_invs_search(const struct arm_smmu_invs *invs, size_t i,
				   const struct arm_smmu_inv *key)
{
	if (i < invs->num_invs && !arm_smmu_inv_cmp(&invs->inv[i], key))
		return i;

	i = arm_smmu_invs_lower_bound(invs, key);
	if (i < invs->num_invs && !arm_smmu_inv_cmp(&invs->inv[i], key))
		return i;
	return invs->num_invs;
}

/**
 * arm_smmu_invs_merge() - Make an array with one more attachment in it
 * @invs: the array of the domain
 * @to_merge: the entries of the attachment, sorted, each key once. Their @users
 *	are not read.
 * @gfp: as for arm_smmu_invs_alloc()
 *
 * Entries in both arrays get one more user, new entries have one. Trash is not
 * copied. @invs and @to_merge do not change, and the caller keeps them.
 *
 * Context: may sleep. Serialised with the other writers by the caller.
 * Return: the new array, or ERR_PTR(-ENOMEM).
 */
struct arm_smmu_invs *arm_smmu_invs_merge(struct arm_smmu_invs *invs,
					  struct arm_smmu_invs *to_merge, gfp_t gfp)
{
	struct arm_smmu_invs *new_invs;
	struct arm_smmu_inv *new;
	size_t i = 0, j = 0;

	new_invs = arm_smmu_invs_alloc(invs->num_invs - invs->num_trashes +
				       to_merge->num_invs, gfp);
	if (!new_invs)
		return ERR_PTR(-ENOMEM);

	new = new_invs->inv;
	while (i != invs->num_invs || j != to_merge->num_invs) {
		int cmp;

		if (i == invs->num_invs) {
			cmp = 1;
		} else if (!invs->inv[i].users) {
			i++;
			continue;
		} else if (j == to_merge->num_invs) {
			cmp = -1;
		} else {
			cmp = arm_smmu_inv_cmp(&invs->inv[i],
					       &to_merge->inv[j]);
		}

		if (cmp <= 0) {
			*new = invs->inv[i++];
		} else {
			*new = to_merge->inv[j];
			new->users = 0;
		}
		if (cmp >= 0) {
			new->users++;
			j++;
		}
		WARN_ON_ONCE(new != new_invs->inv &&
			     arm_smmu_inv_cmp(new - 1, new) >= 0);
		new++;
	}

	/* An entry that is in both arrays is in the new one once */
	new_invs->num_invs = new - new_invs->inv;
	return new_invs;
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_invs_merge);

/**
 * arm_smmu_invs_unref() - Take one attachment out of an array
 * @invs: the array of the domain, which readers may walk at the same time
 * @to_unref: the entries that the attachment was merged with. The @users of each
 *	are set to the number of users that are left in @invs.
 *
 * This cannot fail. An entry without users becomes trash, and is dropped if it
 * is at the end. An entry of @to_unref that is not in @invs is a bug of the
 * caller. It causes a warning and counts as an entry that has users.
 *
 * Context: any. Serialised with the other writers by the caller.
 */
void arm_smmu_invs_unref(struct arm_smmu_invs *invs,
			 struct arm_smmu_invs *to_unref)
{
	size_t num_invs = invs->num_invs;
	size_t i = 0, j;

	for (j = 0; j != to_unref->num_invs; j++, i++) {
		struct arm_smmu_inv *key = &to_unref->inv[j];
		struct arm_smmu_inv *inv;

		i = arm_smmu_invs_search(invs, i, key);
		inv = &invs->inv[i];
		if (WARN_ON(i == invs->num_invs || !inv->users)) {
			key->users = 1;
			continue;
		}

		/* Pairs with the READ_ONCE() in __arm_smmu_domain_inv_range() */
		WRITE_ONCE(inv->users, inv->users - 1);
		key->users = inv->users;
		if (!inv->users)
			invs->num_trashes++;
	}

	while (num_invs && !invs->inv[num_invs - 1].users) {
		num_invs--;
		invs->num_trashes--;
	}
	/* Pairs with the READ_ONCE() in __arm_smmu_domain_inv_range() */
	WRITE_ONCE(invs->num_invs, num_invs);
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_invs_unref);

/**
 * arm_smmu_invs_purge() - Make an array without the trash
 * @invs: the array of the domain, which does not change. The caller keeps it.
 * @gfp: as for arm_smmu_invs_alloc()
 *
 * Context: may sleep. Serialised with the other writers by the caller.
 * Return: the new array. NULL if there is no trash, or no memory. The caller can
 * then continue to use @invs.
 */
struct arm_smmu_invs *arm_smmu_invs_purge(struct arm_smmu_invs *invs, gfp_t gfp)
{
	struct arm_smmu_invs *new_invs;
	size_t i, num_invs = 0;

	if (!invs->num_trashes)
		return NULL;

	new_invs = arm_smmu_invs_alloc(invs->num_invs - invs->num_trashes, gfp);
	if (!new_invs)
		return NULL;

	for (i = 0; i != invs->num_invs; i++)
		if (invs->inv[i].users)
			new_invs->inv[num_invs++] = invs->inv[i];

	WARN_ON(num_invs != new_invs->num_invs);
	return new_invs;
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_invs_purge);

/**
 * arm_smmu_invs_find() - Look up the tag that a domain has on an SMMU
 * @invs: the array of the domain
 * @smmu: the SMMU
 * @type: INV_TYPE_S1_ASID or INV_TYPE_S2_VMID, which have at most one entry for
 *	each SMMU
 *
 * Context: any. Serialised with the writers by the caller.
 * Return: the entry, valid as long as @invs. NULL if there is none except trash.
 */
struct arm_smmu_inv *arm_smmu_invs_find(struct arm_smmu_invs *invs,
					struct arm_smmu_device *smmu,
					enum arm_smmu_inv_type type)
{
	const struct arm_smmu_inv key = { .smmu = smmu, .type = type };
	struct arm_smmu_inv *inv, *found = NULL;
	size_t i;

	for (i = arm_smmu_invs_lower_bound(invs, &key); i != invs->num_invs;
	     i++) {
		inv = &invs->inv[i];
		if (inv->smmu != smmu || inv->type != type)
			break;
		if (!inv->users)
			continue;
		if (WARN_ON_ONCE(found))
			break;
		found = inv;
	}
	return found;
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_invs_find);

/**
 * arm_smmu_invs_users() - Count the attachments that use an entry
 * @invs: the array of the domain
 * @key: the key of the entry
 *
 * Context: any. Serialised with the writers by the caller.
 * Return: the @users of the entry, 0 if there is none.
 */
unsigned int arm_smmu_invs_users(const struct arm_smmu_invs *invs,
				 const struct arm_smmu_inv *key)
{
	size_t i = arm_smmu_invs_search(invs, 0, key);

	return i == invs->num_invs ? 0 : invs->inv[i].users;
}
