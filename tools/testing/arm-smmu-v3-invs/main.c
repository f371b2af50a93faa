// SPDX-License-Identifier: GPL-2.0
/*
 * A fuzzer for the invalidation array of arm-smmu-v3. The expected contents of
 * the array are defined by a simple model: for each domain an unsorted list of
 * keys with the number of their users.
 *
 * An input is a sequence of operations of the driver: attach, replace and detach,
 * with and without allocation failures. It also contains invalid operations,
 * which must be harmless: removing missing entries, adding unsorted lists, and
 * adding two IOTLB tags of one type.
 *
 * 'make fuzz' runs libFuzzer. 'make replay' builds a program that runs inputs from
 * files or random inputs.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/init.h>
#include <linux/kernel.h>
#include <linux/slab.h>

#include "fuzz.h"

#define FUZZ_DOMAINS		3
#define FUZZ_SLOTS		12
#define FUZZ_READERS		4
#define FUZZ_BLOCKS		256
#define FUZZ_TYPES		(INV_TYPE_ATS_FULL + 1)

/* Maximum entries of one attachment and of one domain */
#define FUZZ_MAX_NEW		48
#define FUZZ_MAX_ENTRIES	192

/* Pointers that differ much, little, or in one half. They are only compared. */
static const uintptr_t fuzz_smmus[] = {
	1, 2, UINTPTR_MAX / 2, UINTPTR_MAX / 2 + 1, UINTPTR_MAX / 2 + 2,
	(uintptr_t)UINT32_MAX + 2, UINTPTR_MAX - 1,
};

static const u32 fuzz_ids[] = {
	0, 1, 2, 3, 0xffff, 0x10001, INT32_MAX, (u32)INT32_MAX + 1,
	(u32)INT32_MAX + 2, UINT32_MAX - 1, UINT32_MAX,
};

static const u32 fuzz_ssids[] = { 0, 1, 2, 0xfffff, UINT32_MAX };

static const unsigned int fuzz_phases[FUZZ_TYPES] = {
	[INV_TYPE_S1_ASID] = 0,
	[INV_TYPE_S2_VMID] = 0,
	[INV_TYPE_S2_VMID_VSMMU] = 0,
	[INV_TYPE_S2_VMID_S1_CLEAR] = 1,
	[INV_TYPE_ATS] = 2,
	[INV_TYPE_ATS_FULL] = 2,
};

/* A list of keys. Keys in the list of a domain are unique and have users. */
struct fuzz_list {
	struct arm_smmu_inv inv[FUZZ_MAX_ENTRIES];
	size_t num;
};

struct fuzz_domain {
	struct arm_smmu_invs *invs;
	struct fuzz_list model;
};

/* An attachment if @domain is set */
struct fuzz_slot {
	struct fuzz_domain *domain;
	struct fuzz_list list;
};

/* An invalidation in progress, which must find all entries of @live in @invs */
struct fuzz_reader {
	struct fuzz_domain *domain;
	struct arm_smmu_invs *invs;
	size_t num_invs;
	struct fuzz_list live;
};

/* @copy contains the array at the time of kvfree_rcu() */
struct fuzz_block {
	void *ptr;
	void *copy;
	size_t size;
	size_t count;
};

static struct fuzz_domain domains[FUZZ_DOMAINS];
static struct fuzz_slot slots[FUZZ_SLOTS];
static struct fuzz_reader readers[FUZZ_READERS];
static struct fuzz_block blocks[FUZZ_BLOCKS];
static size_t num_blocks;

static const u8 *input, *input_end;

/* The number of the allocation that fails (0: none), and whether it failed */
static unsigned int fail_alloc;
static bool alloc_failed;
static unsigned int warnings;

static unsigned long sequences, steps;
static struct {
	unsigned long attach, replace, detach, most_entries;
	unsigned long unsorted, missing, two_tags;
	unsigned long merge_failed, purge_failed, invalidations;
} stats;

/* Let libFuzzer also keep inputs that result in new shapes of the array */
static u8 fuzz_shapes[16][16] __section("__libfuzzer_extra_counters");

#define must(condition)							\
	do {								\
		if (!(condition))					\
			fuzz_fail(#condition, __func__, __LINE__);	\
	} while (0)

static void fuzz_fail(const char *condition, const char *func, int line)
{
	fprintf(stderr, "%s:%d: check failed: %s\n", func, line, condition);
	fprintf(stderr, "in sequence %lu, %td bytes before its end\n",
		sequences, input_end - input);
	abort();
}

/* Functions called by the code under test */

bool fuzz_warn(bool condition)
{
	warnings += condition;
	return condition;
}

static struct fuzz_block *fuzz_block(const void *ptr)
{
	size_t i;

	for (i = 0; i < num_blocks; i++)
		if (blocks[i].ptr == ptr)
			return &blocks[i];
	fuzz_fail("unknown allocation", __func__, __LINE__);
	return NULL;
}

void *fuzz_alloc(size_t header, size_t size, size_t count)
{
	struct fuzz_block *block = &blocks[num_blocks];

	if (fail_alloc && !--fail_alloc) {
		alloc_failed = true;
		return NULL;
	}
	must(count <= FUZZ_MAX_ENTRIES + FUZZ_MAX_NEW);
	must(num_blocks < FUZZ_BLOCKS);
	block->size = header + size * count;
	block->count = count;
	block->copy = NULL;
	block->ptr = calloc(1, block->size);
	must(block->ptr);
	num_blocks++;
	return block->ptr;
}

void kvfree(const void *ptr)
{
	struct fuzz_block *block;

	if (!ptr)
		return;
	block = fuzz_block(ptr);
	must(!block->copy);
	free(block->ptr);
	*block = blocks[--num_blocks];
}

static void *fuzz_copy(const void *ptr)
{
	size_t size = fuzz_block(ptr)->size;
	void *copy = malloc(size);

	must(copy);
	return memcpy(copy, ptr, size);
}

void fuzz_free_rcu(void *ptr, size_t offset)
{
	struct fuzz_block *block = fuzz_block(ptr);

	must(offset == offsetof(struct arm_smmu_invs, rcu));
	must(!block->copy);
	block->copy = fuzz_copy(ptr);
}

/* Free replaced arrays and check that they were not modified */
static void fuzz_grace_period(void)
{
	size_t i;

	for (i = num_blocks; i--;) {
		struct fuzz_block *block = &blocks[i];

		if (!block->copy)
			continue;
		must(!memcmp(block->ptr, block->copy, block->size));
		free(block->copy);
		block->copy = NULL;
		kvfree(block->ptr);
	}
}

/* The model */

static bool fuzz_is_ats(const struct arm_smmu_inv *inv)
{
	return fuzz_phases[inv->type] == 2;
}

static bool fuzz_same_key(const struct arm_smmu_inv *a,
			  const struct arm_smmu_inv *b)
{
	return a->smmu == b->smmu && a->type == b->type && a->id == b->id &&
	       (!fuzz_is_ats(a) || a->ssid == b->ssid);
}

static bool fuzz_before(const struct arm_smmu_inv *a,
			const struct arm_smmu_inv *b)
{
	if (fuzz_phases[a->type] != fuzz_phases[b->type])
		return fuzz_phases[a->type] < fuzz_phases[b->type];
	if (a->smmu != b->smmu)
		return (uintptr_t)a->smmu < (uintptr_t)b->smmu;
	if (a->type != b->type)
		return a->type < b->type;
	if (a->id != b->id)
		return a->id < b->id;
	return fuzz_is_ats(a) && a->ssid < b->ssid;
}

static bool fuzz_is_sorted(const struct fuzz_list *list)
{
	size_t i;

	for (i = 1; i < list->num; i++)
		if (!fuzz_before(&list->inv[i - 1], &list->inv[i]))
			return false;
	return true;
}

static struct arm_smmu_inv *fuzz_lookup(struct fuzz_list *list,
					const struct arm_smmu_inv *key)
{
	size_t i;

	for (i = 0; i < list->num; i++)
		if (fuzz_same_key(&list->inv[i], key))
			return &list->inv[i];
	return NULL;
}

static void fuzz_drop(struct fuzz_list *list, struct arm_smmu_inv *inv)
{
	*inv = list->inv[--list->num];
}

static void fuzz_model_add(struct fuzz_domain *domain,
			   const struct arm_smmu_inv *key)
{
	struct arm_smmu_inv *inv = fuzz_lookup(&domain->model, key);

	if (!inv) {
		inv = &domain->model.inv[domain->model.num++];
		*inv = *key;
		inv->users = 0;
	}
	inv->users++;
}

/* Return the number of remaining users, or -1 if there were none */
static int fuzz_model_remove(struct fuzz_domain *domain,
			     const struct arm_smmu_inv *key)
{
	struct arm_smmu_inv *inv = fuzz_lookup(&domain->model, key);
	unsigned int i;

	if (!inv)
		return -1;
	if (--inv->users)
		return inv->users;
	fuzz_drop(&domain->model, inv);
	for (i = 0; i < FUZZ_READERS; i++) {
		if (readers[i].domain != domain)
			continue;
		inv = fuzz_lookup(&readers[i].live, key);
		if (inv)
			fuzz_drop(&readers[i].live, inv);
	}
	return 0;
}

/* Check the array against the model */

static void fuzz_check_smmu(struct fuzz_domain *domain,
			    struct arm_smmu_device *smmu)
{
	enum arm_smmu_inv_type type;
	size_t i;

	for (type = INV_TYPE_S1_ASID; type <= INV_TYPE_S2_VMID_VSMMU; type++) {
		struct arm_smmu_inv key = { .smmu = smmu, .type = type };
		struct arm_smmu_inv *found, *inv;
		unsigned int num = 0;

		for (i = 0; i < ARRAY_SIZE(fuzz_ids); i++) {
			key.id = fuzz_ids[i];
			inv = fuzz_lookup(&domain->model, &key);
			must(arm_smmu_invs_users(domain->invs, &key) ==
			     (inv ? inv->users : 0));
			num += !!inv;
		}
		if (type == INV_TYPE_S2_VMID_VSMMU)
			continue;

		warnings = 0;
		found = arm_smmu_invs_find(domain->invs, smmu, type);
		must(warnings == (num > 1));
		must(!found == !num);
		stats.two_tags += warnings;
		warnings = 0;
		if (!found)
			continue;
		must(found >= domain->invs->inv);
		must(found < domain->invs->inv + domain->invs->num_invs);
		must(found->smmu == smmu && found->type == type);
		must(found->users);
	}
}

static void fuzz_feedback(size_t num_invs, size_t num_trashes)
{
	size_t bits[] = { 0, 0 };

	if (num_invs > stats.most_entries)
		stats.most_entries = num_invs;
	for (; num_invs; num_invs >>= 1)
		bits[0]++;
	for (; num_trashes; num_trashes >>= 1)
		bits[1]++;
	fuzz_shapes[bits[0]][bits[1]]++;
}

/* Check the array between operations */
static void fuzz_check(struct fuzz_domain *domain)
{
	struct arm_smmu_invs *invs = domain->invs;
	struct arm_smmu_inv *inv;
	size_t i, live = 0;

	must(!warnings);
	must(!fuzz_block(invs)->copy);
	must(invs->max_invs == fuzz_block(invs)->count);
	must(invs->num_invs <= invs->max_invs);
	for (i = 0; i < invs->num_invs; i++) {
		must(!i || fuzz_before(&invs->inv[i - 1], &invs->inv[i]));
		inv = fuzz_lookup(&domain->model, &invs->inv[i]);
		must(invs->inv[i].users == (inv ? inv->users : 0));
		live += !!inv;
	}
	/* Keys are unique, so equal numbers mean that none is missing */
	must(live == domain->model.num);
	must(invs->num_trashes == invs->num_invs - live);
	must(!invs->num_invs || invs->inv[invs->num_invs - 1].users);
	fuzz_feedback(invs->num_invs, invs->num_trashes);
}

static void fuzz_check_list(struct fuzz_domain *domain,
			    const struct fuzz_list *list)
{
	size_t i;

	fuzz_check(domain);
	for (i = 0; i < list->num; i++)
		if (!i || list->inv[i - 1].smmu != list->inv[i].smmu)
			fuzz_check_smmu(domain, list->inv[i].smmu);
}

/* Check the fields other than the key and the users */
static void fuzz_check_rest(const struct arm_smmu_inv *inv,
			    const struct arm_smmu_inv *from)
{
	must(inv->size_opcode == from->size_opcode);
	must(inv->nsize_opcode == from->nsize_opcode);
	must(fuzz_is_ats(inv) || inv->pgsize == from->pgsize);
}

static void fuzz_check_untouched(const struct arm_smmu_invs *invs, void *copy)
{
	must(!memcmp(invs, copy, fuzz_block(invs)->size));
	free(copy);
}

/* Operations of the driver */

static void fuzz_publish(struct fuzz_domain *domain, struct arm_smmu_invs *invs)
{
	arm_smmu_invs_free_rcu(domain->invs);
	domain->invs = invs;
}

/* Allocate an array with zero or one spare entries */
static struct arm_smmu_invs *fuzz_array(const struct fuzz_list *list)
{
	size_t i, spare = list->num ? list->inv[0].size_opcode % 2 : 0;
	struct arm_smmu_invs *invs;

	invs = arm_smmu_invs_alloc(list->num + spare, GFP_KERNEL);
	must(invs);
	must(invs->max_invs == list->num + spare);
	must(invs->num_invs == list->num + spare);
	must(!invs->num_trashes);
	memset(invs->inv, 0xff, invs->num_invs * sizeof(invs->inv[0]));
	invs->num_invs = list->num;
	for (i = 0; i < list->num; i++)
		invs->inv[i] = list->inv[i];
	return invs;
}

/* Return NULL if there is no memory or the list is not sorted */
static struct arm_smmu_invs *fuzz_merge(struct fuzz_domain *domain,
					struct fuzz_list *list,
					unsigned int fail)
{
	struct arm_smmu_invs *to_merge = fuzz_array(list);
	void *copy = fuzz_copy(domain->invs);
	void *copy_merge = fuzz_copy(to_merge);
	size_t i, before = num_blocks;
	struct arm_smmu_invs *invs;

	fail_alloc = fail;
	alloc_failed = false;
	invs = arm_smmu_invs_merge(domain->invs, to_merge, GFP_KERNEL);
	fail_alloc = 0;
	fuzz_check_untouched(domain->invs, copy);
	fuzz_check_untouched(to_merge, copy_merge);
	arm_smmu_invs_free(to_merge);

	if (alloc_failed) {
		must(PTR_ERR(invs) == -ENOMEM);
		must(num_blocks == before - 1);
		stats.merge_failed++;
		return NULL;
	}
	must(!IS_ERR_OR_NULL(invs));
	must(num_blocks == before);
	/* The maximum is without common keys */
	must(invs->max_invs <= domain->model.num + list->num);
	must(!warnings == fuzz_is_sorted(list));
	if (warnings) {
		arm_smmu_invs_free(invs);
		warnings = 0;
		stats.unsorted++;
		return NULL;
	}

	for (i = 0; i < invs->num_invs; i++) {
		struct arm_smmu_inv *inv = &invs->inv[i], *from = NULL;
		size_t j;

		/* A trash entry may have the same key as a new entry */
		for (j = 0; j < domain->invs->num_invs && !from; j++)
			if (domain->invs->inv[j].users &&
			    fuzz_same_key(&domain->invs->inv[j], inv))
				from = &domain->invs->inv[j];
		if (!from)
			from = fuzz_lookup(list, inv);
		must(from);
		fuzz_check_rest(inv, from);
	}
	return invs;
}

static bool fuzz_attach(struct fuzz_domain *domain, struct fuzz_list *list,
			unsigned int fail)
{
	struct arm_smmu_invs *invs = fuzz_merge(domain, list, fail);
	size_t i;

	if (!invs) {
		fuzz_check(domain);
		return false;
	}
	fuzz_publish(domain, invs);
	for (i = 0; i < list->num; i++)
		fuzz_model_add(domain, &list->inv[i]);
	fuzz_check_list(domain, list);
	must(!invs->num_trashes);
	stats.attach++;
	return true;
}

static void fuzz_unref(struct fuzz_domain *domain, struct fuzz_list *list)
{
	struct arm_smmu_invs *to_unref = fuzz_array(list);
	struct arm_smmu_invs *copy = fuzz_copy(domain->invs);
	struct arm_smmu_invs *copy_unref = fuzz_copy(to_unref);
	struct arm_smmu_invs *invs = domain->invs;
	size_t i, before = num_blocks;
	unsigned int missing = 0;

	/* The function must not allocate memory */
	fail_alloc = 1;
	alloc_failed = false;
	arm_smmu_invs_unref(invs, to_unref);
	must(!alloc_failed);
	fail_alloc = 0;
	must(num_blocks == before);

	for (i = 0; i < list->num; i++) {
		int left = fuzz_model_remove(domain, &list->inv[i]);

		if (left < 0) {
			missing++;
			must(to_unref->inv[i].users > 0);
		} else {
			must(to_unref->inv[i].users == left);
		}
		copy_unref->inv[i].users = to_unref->inv[i].users;
	}
	fuzz_check_untouched(to_unref, copy_unref);
	arm_smmu_invs_free(to_unref);
	must(warnings == missing);
	stats.missing += missing;
	warnings = 0;

	/* Concurrent readers may still use the old num_invs */
	for (i = invs->num_invs; i < copy->num_invs; i++)
		must(!invs->inv[i].users);
	for (i = 0; i < copy->num_invs; i++)
		copy->inv[i].users = invs->inv[i].users;
	copy->num_invs = invs->num_invs;
	copy->num_trashes = invs->num_trashes;
	fuzz_check_untouched(invs, copy);
	fuzz_check_list(domain, list);
}

static void fuzz_purge(struct fuzz_domain *domain, unsigned int fail)
{
	struct arm_smmu_invs *old = domain->invs;
	void *copy = fuzz_copy(old);
	size_t i, j = 0, before = num_blocks;
	struct arm_smmu_invs *invs;

	fail_alloc = fail;
	alloc_failed = false;
	invs = arm_smmu_invs_purge(old, GFP_KERNEL);
	fail_alloc = 0;
	must(!warnings);
	fuzz_check_untouched(old, copy);
	must(!invs == (alloc_failed || !old->num_trashes));
	stats.purge_failed += alloc_failed;
	if (!invs) {
		must(num_blocks == before);
		return;
	}

	must(num_blocks == before + 1);
	must(invs->max_invs == domain->model.num);
	fuzz_publish(domain, invs);
	fuzz_check(domain);
	must(!invs->num_trashes);
	for (i = 0; i < old->num_invs; i++)
		if (old->inv[i].users)
			fuzz_check_rest(&invs->inv[j++], &old->inv[i]);
}

static void fuzz_read_begin(struct fuzz_reader *reader,
			    struct fuzz_domain *domain)
{
	reader->domain = domain;
	reader->invs = domain->invs;
	reader->num_invs = domain->invs->num_invs;
	reader->live = domain->model;
}

static void fuzz_read_end(struct fuzz_reader *reader)
{
	unsigned int phase = 0;
	size_t i;

	if (!reader->domain)
		return;
	for (i = 0; i < reader->num_invs; i++) {
		struct arm_smmu_inv *inv = &reader->invs->inv[i];

		must(fuzz_phases[inv->type] >= phase);
		phase = fuzz_phases[inv->type];
		if (!inv->users)
			continue;
		inv = fuzz_lookup(&reader->live, inv);
		if (inv)
			fuzz_drop(&reader->live, inv);
	}
	must(!reader->live.num);
	reader->domain = NULL;
	stats.invalidations++;
}

/* The input */

static unsigned int fuzz_byte(void)
{
	return input == input_end ? 0 : *input++;
}

static uintptr_t fuzz_smmu(void)
{
	return fuzz_smmus[fuzz_byte() % ARRAY_SIZE(fuzz_smmus)];
}

static u32 fuzz_id(void)
{
	return fuzz_ids[fuzz_byte() % ARRAY_SIZE(fuzz_ids)];
}

static u32 fuzz_ssid(void)
{
	return fuzz_ssids[fuzz_byte() % ARRAY_SIZE(fuzz_ssids)];
}

static void fuzz_add(struct fuzz_list *list, uintptr_t smmu,
		     enum arm_smmu_inv_type type, u32 id, u32 ssid,
		     unsigned int rest)
{
	struct arm_smmu_inv *inv = &list->inv[list->num++];

	memset(inv, 0, sizeof(*inv));
	inv->smmu = (struct arm_smmu_device *)smmu;
	inv->type = type;
	inv->id = id;
	inv->size_opcode = rest;
	inv->nsize_opcode = ~rest;
	/* Invalid, as the users of a new entry must not be read */
	inv->users = (int)rest - 2;
	if (fuzz_is_ats(inv))
		inv->ssid = ssid;
	else
		inv->pgsize = (size_t)rest << (rest % 56);
}

/* Entries of a device, with the existing IOTLB tag of the domain on its SMMU */
static void fuzz_device(struct fuzz_domain *domain, struct fuzz_list *list)
{
	unsigned int what = fuzz_byte(), rest = fuzz_byte();
	enum arm_smmu_inv_type type = INV_TYPE_S1_ASID + what % 3;
	uintptr_t smmu = fuzz_smmu();
	u32 id = fuzz_id(), ssid;
	unsigned int num;
	size_t i;

	list->num = 0;
	for (i = 0; i < domain->model.num; i++) {
		struct arm_smmu_inv *inv = &domain->model.inv[i];

		if (type != INV_TYPE_S2_VMID_VSMMU && inv->type == type &&
		    (uintptr_t)inv->smmu == smmu)
			id = inv->id;
	}
	fuzz_add(list, smmu, type, id, 0, rest);
	if (type == INV_TYPE_S2_VMID_VSMMU)
		fuzz_add(list, smmu, INV_TYPE_S2_VMID_S1_CLEAR, id, 0, rest);
	if (what & 0x80)
		return;

	type = type == INV_TYPE_S2_VMID_VSMMU ? INV_TYPE_ATS_FULL : INV_TYPE_ATS;
	ssid = fuzz_ssid();
	num = fuzz_byte() % (FUZZ_MAX_NEW - 2) + 1;
	for (id = fuzz_byte(); num--; id += 1 + what % 5)
		fuzz_add(list, smmu, type, id, ssid, rest);
}

/* Random entries in random order */
static void fuzz_anything(struct fuzz_list *list)
{
	unsigned int num = fuzz_byte() % 8;

	for (list->num = 0; num--;) {
		enum arm_smmu_inv_type type = fuzz_byte() % FUZZ_TYPES;
		uintptr_t smmu = fuzz_smmu();
		u32 id = fuzz_id();

		fuzz_add(list, smmu, type, id, fuzz_ssid(), fuzz_byte());
	}
}

static void fuzz_sort(struct fuzz_list *list)
{
	struct fuzz_list from = *list;
	size_t i, first;

	for (list->num = 0; from.num; fuzz_drop(&from, &from.inv[first])) {
		for (first = 0, i = 1; i < from.num; i++)
			if (fuzz_before(&from.inv[i], &from.inv[first]))
				first = i;
		if (!fuzz_lookup(list, &from.inv[first]))
			list->inv[list->num++] = from.inv[first];
	}
}

/* As in arm_smmu_attach_prepare() and arm_smmu_attach_commit() */
static void fuzz_replace(struct fuzz_slot *slot, struct fuzz_domain *domain,
			 struct fuzz_list *list, unsigned int fail,
			 unsigned int fail_purge)
{
	if (domain->model.num + list->num > FUZZ_MAX_ENTRIES)
		return;
	if (!fuzz_attach(domain, list, fail))
		return;
	if (slot->domain) {
		fuzz_unref(slot->domain, &slot->list);
		fuzz_purge(slot->domain, fail_purge);
		stats.replace++;
	}
	slot->domain = domain;
	slot->list = *list;
}

static void fuzz_step(void)
{
	unsigned int op = fuzz_byte(), fails = fuzz_byte();
	struct fuzz_domain *domain = &domains[fuzz_byte() % FUZZ_DOMAINS];
	struct fuzz_reader *reader = &readers[fails % FUZZ_READERS];
	unsigned int fail = fails & 3, fail_purge = fails >> 2 & 3;
	struct fuzz_slot *slot;
	struct fuzz_list list;

	switch (op % 8) {
	case 0:
	case 1:
		/* Attach a device or replace its domain */
		slot = &slots[fuzz_byte() % FUZZ_SLOTS];
		fuzz_device(domain, &list);
		fuzz_replace(slot, domain, &list, fail, fail_purge);
		break;
	case 2:
		slot = &slots[fuzz_byte() % FUZZ_SLOTS];
		fuzz_anything(&list);
		fuzz_sort(&list);
		fuzz_replace(slot, domain, &list, fail, fail_purge);
		break;
	case 3:
		/* Detach the next attached slot */
		slot = &slots[fuzz_byte() % FUZZ_SLOTS];
		while (slot < slots + FUZZ_SLOTS && !slot->domain)
			slot++;
		if (slot == slots + FUZZ_SLOTS)
			break;
		fuzz_unref(slot->domain, &slot->list);
		fuzz_purge(slot->domain, fail_purge);
		slot->domain = NULL;
		stats.detach++;
		break;
	case 4:
		/* An attach that fails after the merge, or an unsorted list */
		fuzz_anything(&list);
		if (op & 0x80)
			fuzz_sort(&list);
		arm_smmu_invs_free(fuzz_merge(domain, &list, fail));
		fuzz_check(domain);
		break;
	case 5:
		/* Remove entries that may be missing or have other users */
		fuzz_anything(&list);
		fuzz_sort(&list);
		fuzz_unref(domain, &list);
		break;
	case 6:
		fuzz_purge(domain, fail_purge);
		break;
	case 7:
		fuzz_read_end(reader);
		if (op & 0x80)
			fuzz_read_begin(reader, domain);
		break;
	}

	for (reader = readers; reader < readers + FUZZ_READERS; reader++) {
		/* Limit the number of arrays kept by readers */
		if (num_blocks > FUZZ_BLOCKS / 2)
			fuzz_read_end(reader);
		if (reader->domain)
			return;
	}
	fuzz_grace_period();
}

static void fuzz_report(void)
{
	printf("%lu sequences of %lu steps without a difference:\n",
	       sequences, steps);
	printf("  %lu attached, %lu of them replaced and %lu detached, at most %lu entries\n",
	       stats.attach, stats.replace, stats.detach, stats.most_entries);
	printf("  %lu not sorted, %lu missing entries, %lu lookups of two tags\n",
	       stats.unsorted, stats.missing, stats.two_tags);
	printf("  %lu merges and %lu purges without memory, %lu invalidations\n",
	       stats.merge_failed, stats.purge_failed, stats.invalidations);
}

size_t fuzz_random(u8 *data, size_t max_size, unsigned int seed)
{
	size_t i, size;

	srandom(seed);
	size = 1 + random() % max_size;
	for (i = 0; i < size; i++)
		data[i] = random() >> 8;
	return size;
}

int fuzz_init(int *argc, char ***argv)
{
	return atexit(fuzz_report);
}

int fuzz_run(const u8 *data, size_t size)
{
	struct fuzz_domain *domain;
	struct fuzz_list list;
	size_t i;

	input = data;
	input_end = data + size;
	for (i = 0; i < FUZZ_SLOTS; i++)
		slots[i].domain = NULL;
	for (i = 0; i < FUZZ_DOMAINS; i++) {
		domains[i].invs = arm_smmu_invs_alloc(0, GFP_KERNEL);
		must(domains[i].invs);
		domains[i].model.num = 0;
	}

	for (; input != input_end; steps++)
		fuzz_step();

	for (i = 0; i < FUZZ_READERS; i++)
		fuzz_read_end(&readers[i]);
	for (domain = domains; domain < domains + FUZZ_DOMAINS; domain++) {
		for (i = 0; i < ARRAY_SIZE(fuzz_smmus); i++)
			fuzz_check_smmu(domain, (void *)fuzz_smmus[i]);
		while (domain->model.num) {
			list = domain->model;
			fuzz_sort(&list);
			fuzz_unref(domain, &list);
		}
		must(!domain->invs->num_invs);
		arm_smmu_invs_free(domain->invs);
	}
	fuzz_grace_period();
	must(!num_blocks);
	sequences++;
	return 0;
}
