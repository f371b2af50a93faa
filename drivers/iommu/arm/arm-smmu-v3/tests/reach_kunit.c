// SPDX-License-Identifier: GPL-2.0
/*
 * Random sequences of operations on the model of an SMMU. They attach, map, unmap and
 * invalidate by the operations of the driver, while devices do DMA and the model fills
 * its caches. A DMA must reach mapped memory and nothing else. The model checks the
 * contents of its caches.
 *
 * A seed determines the operations. The suite reach has fixed seeds and fills all caches
 * before each operation and checks them after it. In the suite random several threads run
 * at the same time. These parameters repeat it or make it longer:
 *	arm_smmu_v3_kunit.seed=SEED arm_smmu_v3_kunit.steps=STEPS
 */
#include <linux/iova_bitmap.h>
#include <linux/kthread.h>
#include <linux/mman.h>
#include <linux/mmu_context.h>
#include <linux/mmu_notifier.h>
#include <linux/prandom.h>
#include <linux/random.h>
#include <linux/sched/mm.h>
#include <linux/uaccess.h>
#include <uapi/linux/iommufd.h>

#include "../../../iommufd/iommufd_private.h"

#include "model.h"

/* By default the same at each boot, so that results can be compared */
static ulong seed = 1;
module_param(seed, ulong, 0444);
MODULE_PARM_DESC(seed, "Seed of the suite arm-smmu-v3-random, 0 for a random one");

static uint steps;
module_param(steps, uint, 0444);
MODULE_PARM_DESC(steps, "Operations of each thread of the suite arm-smmu-v3-random");

#define MAX_SMMUS	8
#define MAX_DEVS	12
#define MAX_DOMAINS	4
#define MAX_GUESTS	4
#define MAX_THREADS	3
#define NUM_SLOTS	7
#define NUM_PASIDS	2
#define NUM_PROCS	2
#define NUM_WAYS	(1 + NUM_PASIDS + NUM_PROCS)
#define CHECK_STEPS	32

#define IOVA		(3ULL << 40)
#define GUEST_IPA	(5ULL << 40)
#define GUEST_VA	SZ_64G
#define GUEST_VSID	0x70

#define RW		(IOMMU_READ | IOMMU_WRITE)

#define RIL		ARM_SMMU_FEAT_RANGE_INV
#define E2H		ARM_SMMU_FEAT_E2H
#define SVA		ARM_SMMU_FEAT_SVA
#define HTTU		(ARM_SMMU_FEAT_HA | ARM_SMMU_FEAT_HD)
#define TWO_LEVELS	(ARM_SMMU_FEAT_2_LVL_CDTAB | ARM_SMMU_FEAT_2_LVL_STRTAB)

/* Configuration of a test. With @mixed the features of SMMUs and devices are random. */
struct config {
	const char *name;
	u32 features;
	unsigned int smmus;
	unsigned int devs;
	unsigned int domains;
	unsigned int guests;
	unsigned int threads;
	unsigned int steps;
	unsigned long pgsizes;
	bool ats;
	bool mixed;
	bool speculation;
	bool strict;
};

/*
 * A range of input addresses of a space. Offsets from @lo to @hi are mapped to the
 * same offsets from @pa. No other slot is mapped to these addresses.
 */
struct slot {
	/* Held while the slot is used, unless the space has a lock */
	struct mutex lock;
	u64 iova;
	u64 size;
	u64 lo;
	u64 hi;
	u64 pa;
	bool block;
	bool readonly;
	/* A write that dirty tracking has to report, and its offset */
	bool written;
	u64 written_at;
};

/* An address space of devices: that of a domain, of stage 1 of a guest, or of a process */
struct space {
	/*
	 * For a guest, held while its tables change or one of its devices is attached.
	 * For a process, held while it is bound, maps or unmaps, or is replaced.
	 */
	struct mutex lock;
	bool slot_locks;
	struct iommu_domain *domain;
	bool s2;
	struct mm_struct *mm;
	/* Number of processes that used this structure and have exited */
	unsigned int gen;
	unsigned int num;
	struct slot slots[NUM_SLOTS];
};

enum attach_type {
	BLOCKED, IDENTITY, PAGING, GUEST_ATS, GUEST, GUEST_BYPASS, GUEST_ABORT, NUM_TYPES
};

/* A vSMMU and the tables of its guest */
struct guest {
	struct space space;
	struct arm_smmu_fake *fake;
	struct space *parent;
	struct arm_vsmmu vsmmu;
	struct iommu_domain *nested[NUM_TYPES];
	u16 asid;
	u64 ipa;
	u64 *cd;
	u64 *ptes;
};

/* A substream of a device: without PASID, with a PASID, or with the PASID of a process */
struct way {
	/* 0 if it is unused */
	u32 ssid;
	struct space *space;
	struct iommu_sva *bond;
	/* @space->gen when the process was bound */
	unsigned int gen;
};

struct dev {
	/* Held while the device is attached or does DMA */
	struct mutex lock;
	/* Taken instead of the lock of the guest if there is none */
	struct mutex no_guest;
	struct arm_smmu_fake_master *fm;
	struct smmu_model_dev *mdev;
	struct guest *guest;
	struct iommufd_device idev;
	struct iommufd_vdevice vdev;
	enum attach_type type;
	struct way ways[NUM_WAYS];
};

struct thread {
	struct kunit *test;
	struct reach *m;
	struct rnd_state rng;
	/* The current operation had an effect: it did not only map, bind or do nothing */
	bool done;
	/* A page of user space */
	unsigned long uaddr;
};

struct reach {
	struct config config;
	struct smmu_model *model;
	struct mm_struct *mm;
	/* Write-locked to exclude all other threads */
	struct rw_semaphore sem;
	/* The first of NUM_PASIDS PASIDs. The core allocates none of them for processes. */
	u32 pasid;
	u64 granule;
	/* Bitmap of the operations in ops[] that had an effect */
	unsigned long done;
	struct arm_smmu_fake *fakes[MAX_SMMUS];
	struct dev devs[MAX_DEVS];
	struct space domains[MAX_DOMAINS];
	struct guest guests[MAX_GUESTS];
	struct space procs[NUM_PROCS];
	/* The last one is the test itself */
	struct thread threads[MAX_THREADS + 1];
};

KUNIT_DEFINE_ACTION_WRAPPER(put_page_wrapper, put_page, struct page *);

static u32 rnd(struct thread *t, u32 num)
{
	return prandom_u32_state(&t->rng) % num;
}

static struct dev *get_dev(struct thread *t)
{
	return &t->m->devs[rnd(t, t->m->config.devs)];
}

static struct space *get_domain(struct thread *t)
{
	return &t->m->domains[rnd(t, t->m->config.domains)];
}

/* Expect a DMA to reach @pa, or to abort if @pa is 0 */
static void expect_dma(struct thread *t, struct dev *dev, u32 ssid, u64 addr,
		       unsigned int flags, u64 pa)
{
	u64 got = 0;
	int ret;

	if (dev->fm->master->ats_enabled && rnd(t, 2))
		flags |= MODEL_ATS;
	ret = smmu_model_dma(dev->mdev, ssid, addr, flags | MODEL_QUIET, &got);
	KUNIT_EXPECT_TRUE_MSG(t->test, ret ? !pa : got == pa,
			      "%s ssid %#x addr %#llx flags %#x: %#llx instead of %#llx",
			      dev_name(dev->fm->dev), ssid, addr, flags, got, pa);
}

/* DMA to the nth slot of the attached space. The device is locked. */
static void dma_way(struct thread *t, struct dev *dev, struct way *way, unsigned int n,
		    unsigned int flags)
{
	bool identity = way == dev->ways && dev->type == IDENTITY;
	struct space *space = way->space;
	struct slot *slot;
	bool mapped;
	u64 off;

	if (!way->ssid)
		return;
	if (!space)
		return expect_dma(t, dev, way->ssid, IOVA, flags, identity ? IOVA : 0);
	slot = &space->slots[n % space->num];
	guard(mutex)(space->slot_locks ? &slot->lock : &space->lock);
	if (way->gen != space->gen)
		return expect_dma(t, dev, way->ssid, IOVA, flags, 0);
	if (!slot->iova)
		return;
	off = rnd(t, slot->size / SZ_4K) * (u64)SZ_4K + 8 * rnd(t, 512);
	mapped = off >= slot->lo && off < slot->hi && !(flags & MODEL_WRITE && slot->readonly);
	expect_dma(t, dev, way->ssid, slot->iova + off, flags, mapped ? slot->pa + off : 0);
	if (mapped && flags & MODEL_WRITE) {
		slot->written = true;
		slot->written_at = off;
	}
}

static void op_dma(struct thread *t)
{
	struct dev *dev = get_dev(t);

	guard(mutex)(&dev->lock);
	dma_way(t, dev, &dev->ways[rnd(t, NUM_WAYS)], rnd(t, NUM_SLOTS),
		(rnd(t, 2) ? MODEL_WRITE : MODEL_READ) | (rnd(t, 2) ? MODEL_CACHED : 0));
}

static void unmap(struct thread *t, struct space *space, struct slot *slot, u64 lo, u64 hi)
{
	KUNIT_EXPECT_EQ(t->test, hi - lo, iommu_unmap(space->domain, slot->iova + lo, hi - lo));
	smmu_model_free_pa(t->m->model, slot->pa + lo, hi - lo);
	if (lo == slot->lo)
		slot->lo = hi;
	else
		slot->hi = lo;
	slot->written = false;
	t->done = true;
}

/* Map all of a slot by blocks, or by pages */
static void map(struct thread *t, struct space *space, struct slot *slot, bool pages)
{
	struct smmu_model *model = t->m->model;

	slot->block = !pages && slot->size >= SZ_2M;
	slot->pa = pages ? smmu_model_pa(model, 2 * slot->size) + t->m->granule :
			   smmu_model_pa(model, slot->size);
	slot->lo = 0;
	slot->hi = slot->size;
	KUNIT_EXPECT_EQ(t->test, 0, iommu_map(space->domain, slot->iova, slot->pa, slot->size,
					      slot->readonly ? IOMMU_READ : RW, GFP_KERNEL));
}

/* Map or unmap all of a slot */
static void op_map(struct thread *t)
{
	struct reach *m = t->m;
	struct space *space = get_domain(t);
	struct slot *slot = &space->slots[rnd(t, space->num)];
	bool pages = slot->size > m->granule && slot->size < SZ_1G && rnd(t, 2);

	/* Each map of a slot of 1G takes 1G of new output addresses */
	if (slot->size >= SZ_1G && rnd(t, 4))
		return;
	guard(mutex)(&slot->lock);
	if (slot->lo != slot->hi)
		return unmap(t, space, slot, slot->lo, slot->hi);
	slot->readonly = !rnd(t, 4);
	map(t, space, slot, pages);
}

/* Unmap some pages of a slot at its beginning or end */
static void op_trim(struct thread *t)
{
	struct smmu_model *model = t->m->model;
	struct space *space = get_domain(t);
	struct slot *slot = &space->slots[rnd(t, space->num)];
	u64 granule = t->m->granule, num, lo, hi;

	guard(mutex)(&slot->lock);
	num = (slot->hi - slot->lo) / granule;
	if (!num || slot->block)
		return;
	/* In half of the cases few pages */
	num = 1 + rnd(t, rnd(t, 2) ? num : min(num, 8));
	lo = rnd(t, 2) ? slot->hi - num * granule : slot->lo;
	hi = lo + num * granule;
	/* If the invalidation is too short, entries of these pages remain */
	smmu_model_track(&model->tracked, slot->iova + lo);
	smmu_model_track(&model->tracked, slot->iova + hi - granule);
	smmu_model_fill(model, true);
	unmap(t, space, slot, lo, hi);
	smmu_model_untrack(&model->tracked, slot->iova + lo);
	smmu_model_untrack(&model->tracked, slot->iova + hi - granule);
}

static void alloc_domain(struct reach *m, struct space *space, struct dev *dev)
{
	u32 flags = space->s2 ? IOMMU_HWPT_ALLOC_NEST_PARENT :
		    m->config.features & HTTU ? IOMMU_HWPT_ALLOC_DIRTY_TRACKING :
						IOMMU_HWPT_ALLOC_PASID;

	space->domain = iommu_paging_domain_alloc_flags(dev->fm->dev, flags);
	KUNIT_EXPECT_FALSE(m->model->test, IS_ERR(space->domain));
}

/* Free a domain without devices. After the last detach none of its pages is reachable. */
static void free_domain(struct reach *m, struct space *space)
{
	struct slot *slot;

	for (slot = space->slots; slot != space->slots + space->num; slot++) {
		if (slot->lo != slot->hi)
			smmu_model_free_pa(m->model, slot->pa + slot->lo, slot->hi - slot->lo);
		slot->lo = slot->hi;
		slot->written = false;
	}
	iommu_domain_free(space->domain);
}

/* Replace a domain that is not in use */
static void op_replace_domain(struct thread *t)
{
	struct space *space = get_domain(t);

	if (!list_empty(&to_smmu_domain(space->domain)->devices) ||
	    space == t->m->guests[0].parent)
		return;
	free_domain(t->m, space);
	alloc_domain(t->m, space, get_dev(t));
	t->done = true;
}

static void guest_issue(struct thread *t, struct guest *guest, u64 data0, u64 data1)
{
	struct iommu_user_data_array array;

	KUNIT_EXPECT_EQ(t->test, 0, arm_smmu_fake_guest_cmd(&array, t->uaddr, data0, data1));
	KUNIT_EXPECT_EQ(t->test, 0, arm_vsmmu_cache_invalidate(&guest->vsmmu.core, &array));
}

/* Issue a command for each device of the guest. ATS may be disabled. */
static void guest_issue_devs(struct thread *t, struct guest *guest, u64 op, u64 data1)
{
	struct dev *dev;

	for (dev = t->m->devs; dev != t->m->devs + t->m->config.devs; dev++)
		if (dev->guest == guest)
			guest_issue(t, guest, op | FIELD_PREP(CMDQ_CFGI_0_SID, dev->vdev.virt_id),
				    data1);
	t->done = true;
}

/* Issue one of the commands that a guest may use after it has unmapped a page */
static void guest_inv_va(struct thread *t, struct guest *guest, u64 va)
{
	static const u64 ops[] = {
		CMDQ_OP_TLBI_NSNH_ALL, CMDQ_OP_TLBI_NH_ALL, CMDQ_OP_TLBI_NH_ASID,
		CMDQ_OP_TLBI_NH_VAA, CMDQ_OP_TLBI_NH_VA,
	};
	u64 op = ops[rnd(t, ARRAY_SIZE(ops))], data0 = op, data1 = 0;

	/* The driver replaces the VMID in a command of a guest */
	if (op != CMDQ_OP_TLBI_NSNH_ALL)
		data0 |= FIELD_PREP(CMDQ_TLBI_0_VMID, rnd(t, 256));
	if (op == CMDQ_OP_TLBI_NH_ASID || op == CMDQ_OP_TLBI_NH_VA)
		data0 |= FIELD_PREP(CMDQ_TLBI_0_ASID, guest->asid);
	if (op == CMDQ_OP_TLBI_NH_VAA || op == CMDQ_OP_TLBI_NH_VA) {
		data1 = va | (rnd(t, 2) ? CMDQ_TLBI_1_LEAF : 0);
		if (guest->fake->smmu.features & RIL && rnd(t, 2))
			data1 |= FIELD_PREP(CMDQ_TLBI_1_TG, 1) | FIELD_PREP(CMDQ_TLBI_1_TTL, 3);
	}
	guest_issue(t, guest, data0, data1);
	/* Until the TLBI the ATC could be filled from the TLB */
	guest_issue_devs(t, guest, CMDQ_OP_ATC_INV, rnd(t, 2) ? va :
			 FIELD_PREP(CMDQ_ATC_1_SIZE, ATC_INV_SIZE_ALL));
}

/*
 * A guest or the host maps or unmaps a page of the guest. A device reaches pages that
 * both have mapped.
 */
static void op_guest_map(struct thread *t)
{
	struct guest *guest = &t->m->guests[rnd(t, t->m->config.guests)];
	unsigned int page = rnd(t, guest->space.num);
	struct slot *slot = &guest->space.slots[page];
	struct iommu_domain *parent = guest->parent->domain;
	u64 ipa = guest->ipa + SZ_64K + page * SZ_4K;
	bool host = !rnd(t, 3);

	guard(mutex)(&guest->space.lock);
	if (host && slot->pa) {
		KUNIT_EXPECT_EQ(t->test, SZ_4K, iommu_unmap(parent, ipa, SZ_4K));
		smmu_model_free_pa(t->m->model, slot->pa, SZ_4K);
		slot->pa = 0;
	} else if (host) {
		slot->pa = smmu_model_pa(t->m->model, SZ_4K);
		KUNIT_EXPECT_EQ(t->test, 0,
				iommu_map(parent, ipa, slot->pa, SZ_4K, RW, GFP_KERNEL));
	} else if (guest->ptes[page]) {
		WRITE_ONCE(guest->ptes[page], 0);
		guest_inv_va(t, guest, slot->iova);
	} else {
		WRITE_ONCE(guest->ptes[page], ipa | PTE_TYPE_PAGE | PTE_USER | PTE_AF |
					      PTE_NG | PTE_SHARED);
	}
	slot->hi = slot->pa && guest->ptes[page] ? SZ_4K : 0;
}

/* A guest changes the ASID of its tables */
static void op_guest_cd(struct thread *t)
{
	struct guest *guest = &t->m->guests[rnd(t, t->m->config.guests)];

	guard(mutex)(&guest->space.lock);
	WRITE_ONCE(guest->cd[0], guest->cd[0] & ~CTXDESC_CD_0_V);
	guest_issue_devs(t, guest, CMDQ_OP_CFGI_CD, CMDQ_CFGI_1_LEAF);
	guest_issue(t, guest, CMDQ_OP_TLBI_NH_ASID |
			      FIELD_PREP(CMDQ_TLBI_0_ASID, guest->asid), 0);
	guest_issue_devs(t, guest, CMDQ_OP_ATC_INV,
			 FIELD_PREP(CMDQ_ATC_1_SIZE, ATC_INV_SIZE_ALL));
	guest->asid = 1 + rnd(t, 4);
	WRITE_ONCE(guest->cd[0], (guest->cd[0] & ~CTXDESC_CD_0_ASID) | CTXDESC_CD_0_V |
				 FIELD_PREP(CTXDESC_CD_0_ASID, guest->asid));
	guest_issue_devs(t, guest, CMDQ_OP_CFGI_CD, CMDQ_CFGI_1_LEAF);
}

static void start_guest(struct thread *t, struct guest *guest)
{
	const u64 s1 = FIELD_PREP(STRTAB_STE_0_CFG, STRTAB_STE_0_CFG_S1_TRANS) | guest->ipa;
	const u64 stes[NUM_TYPES][2] = {
		[GUEST_ATS] = { s1, FIELD_PREP(STRTAB_STE_1_EATS, STRTAB_STE_1_EATS_TRANS) },
		[GUEST] = { s1 },
		[GUEST_BYPASS] = { FIELD_PREP(STRTAB_STE_0_CFG, STRTAB_STE_0_CFG_BYPASS) },
		[GUEST_ABORT] = { FIELD_PREP(STRTAB_STE_0_CFG, STRTAB_STE_0_CFG_ABORT) },
	};
	struct dev *dev;
	unsigned int i;

	memset(&guest->vsmmu, 0, sizeof(guest->vsmmu));
	KUNIT_EXPECT_EQ(t->test, 0, arm_smmu_fake_vsmmu_init(&guest->vsmmu, guest->fake,
							     guest->parent->domain));
	for (dev = t->m->devs; dev != t->m->devs + t->m->config.devs; dev++)
		if (dev->guest == guest)
			xa_store(&guest->vsmmu.core.vdevs, dev->vdev.virt_id, &dev->vdev,
				 GFP_KERNEL);
	for (i = GUEST_ATS; i < NUM_TYPES; i++) {
		guest->nested[i] = arm_smmu_fake_init_nested(&guest->vsmmu, t->uaddr,
							     stes[i][0], stes[i][1]);
		KUNIT_EXPECT_FALSE(t->test, IS_ERR(guest->nested[i]));
	}
}

static void stop_guest(struct guest *guest)
{
	unsigned int i;

	for (i = GUEST_ATS; i < NUM_TYPES; i++)
		iommu_domain_free(guest->nested[i]);
	arm_smmu_fake_vsmmu_destroy(&guest->vsmmu);
}

/* Nesting and stage 2 exclude PASIDs */
static bool excludes_pasids(enum attach_type type, struct space *space)
{
	return type >= GUEST_ATS || (type == PAGING && space->s2);
}

/* Attach to a domain of this type. PAGING is the domain of @space. */
static void attach(struct thread *t, struct dev *dev, enum attach_type type, struct space *space)
{
	struct guest *guest = dev->guest;
	struct iommu_domain *domain;
	bool busy = false;
	unsigned int i;

	guard(mutex)(&dev->lock);
	guard(mutex)(guest ? &guest->space.lock : &dev->no_guest);
	if (type == PAGING) {
		domain = space->domain;
	} else if (type < PAGING) {
		domain = type == IDENTITY ? arm_smmu_fake_identity(dev->fm) :
					    arm_smmu_fake_blocked(dev->fm);
		space = NULL;
	} else {
		domain = guest->nested[type];
		space = type == GUEST_ABORT ? NULL :
			type == GUEST_BYPASS ? guest->parent : &guest->space;
	}
	for (i = 1; i < NUM_WAYS; i++)
		busy |= dev->ways[i].space && excludes_pasids(type, space);
	KUNIT_EXPECT_EQ_MSG(t->test, arm_smmu_fake_attach(dev->fm, domain),
			    busy ? -EBUSY : 0, "type %u", type);
	if (busy)
		return;
	dev->type = type;
	dev->ways[0].space = space;
	smmu_model_left(dev->mdev, MODEL_NO_SSID);
	t->done = true;
}

/* Replace a vSMMU, and clear the tables of its guest */
static void op_guest_restart(struct thread *t)
{
	struct guest *guest = &t->m->guests[rnd(t, t->m->config.guests)];
	struct dev *dev;
	unsigned int i;

	for (dev = t->m->devs; dev != t->m->devs + t->m->config.devs; dev++)
		if (dev->guest == guest)
			attach(t, dev, BLOCKED, NULL);
	stop_guest(guest);
	for (i = 0; i < guest->space.num; i++) {
		WRITE_ONCE(guest->ptes[i], 0);
		guest->space.slots[i].hi = 0;
	}
	start_guest(t, guest);
}

static void op_attach(struct thread *t)
{
	static const u8 types[] = {
		BLOCKED, IDENTITY, PAGING, PAGING, PAGING, PAGING,
		GUEST_ATS, GUEST_ATS, GUEST_ATS, GUEST, GUEST, GUEST_BYPASS, GUEST_ABORT,
	};

	attach(t, get_dev(t), types[rnd(t, t->m->config.guests ? ARRAY_SIZE(types) : 6)],
	       get_domain(t));
}

/* Attach a PASID to a domain, or detach it if that is NULL */
static void set_pasid(struct thread *t, struct dev *dev, struct way *way, struct space *new)
{
	bool refused;

	guard(mutex)(&dev->lock);
	refused = new && excludes_pasids(dev->type, dev->ways[0].space);
	if (!way->ssid || new == way->space || (new && new->s2))
		return;
	KUNIT_EXPECT_EQ(t->test, refused ? -EINVAL : 0,
			arm_smmu_fake_set_pasid(dev->fm, new ? new->domain :
						arm_smmu_fake_blocked(dev->fm), way->ssid,
						way->space ? way->space->domain : NULL));
	if (refused)
		return;
	way->space = new;
	smmu_model_left(dev->mdev, way->ssid);
	t->done = true;
}

static void op_pasid(struct thread *t)
{
	struct dev *dev = get_dev(t);

	set_pasid(t, dev, &dev->ways[1 + rnd(t, NUM_PASIDS)], rnd(t, 3) ? get_domain(t) : NULL);
}

static void alloc_mm(struct space *proc)
{
	proc->mm = mm_alloc();
	if (proc->mm) {
		proc->mm->task_size = TASK_SIZE;
		arch_pick_mmap_layout(proc->mm, &current->signal->rlim[RLIMIT_STACK]);
	}
}

static void unbind(struct dev *dev, struct way *way)
{
	iommu_sva_unbind_device(way->bond);
	smmu_model_left(dev->mdev, way->ssid);
	smmu_model_untrack(&dev->mdev->ssids, way->ssid);
	*way = (struct way){};
}

/* Bind a process to a device, or unbind it */
static void op_bind(struct thread *t)
{
	struct space *proc = &t->m->procs[rnd(t, NUM_PROCS)];
	struct dev *dev = get_dev(t);
	struct way *way = &dev->ways[1 + NUM_PASIDS + (proc - t->m->procs)];
	struct iommu_sva *bond;

	guard(mutex)(&dev->lock);
	guard(mutex)(&proc->lock);
	if (way->bond) {
		unbind(dev, way);
		t->done = true;
		return;
	}
	bond = iommu_sva_bind_device(dev->fm->dev, proc->mm);
	if (IS_ERR(bond)) {
		/* The core frees PASIDs late, so they may be used up */
		KUNIT_EXPECT_TRUE(t->test, PTR_ERR(bond) == -ENOSPC ||
				  excludes_pasids(dev->type, dev->ways[0].space));
		return;
	}
	way->ssid = iommu_sva_get_pasid(bond);
	way->space = proc;
	way->bond = bond;
	way->gen = proc->gen;
	smmu_model_track(&dev->mdev->ssids, way->ssid);
}

static void free_area(struct thread *t, struct slot *slot)
{
	smmu_model_free_pa(t->m->model, slot->pa, PAGE_SIZE);
	smmu_model_untrack(&t->m->model->tracked, slot->iova);
	slot->iova = 0;
	slot->hi = 0;
	t->done = true;
}

/* Map a page of a process, or unmap it */
static void op_mmap(struct thread *t)
{
	struct space *proc = &t->m->procs[rnd(t, NUM_PROCS)];
	struct slot *slot = &proc->slots[rnd(t, proc->num)];
	struct page *page = NULL;

	guard(mutex)(&proc->lock);
	kthread_use_mm(proc->mm);
	if (slot->hi) {
		KUNIT_EXPECT_EQ(t->test, 0, vm_munmap(slot->iova, PAGE_SIZE));
		free_area(t, slot);
	} else {
		slot->iova = vm_mmap(NULL, 0, PAGE_SIZE, PROT_READ | PROT_WRITE,
				     MAP_ANONYMOUS | MAP_PRIVATE, 0);
		get_user_pages_fast(slot->iova, 1, FOLL_WRITE, &page);
		KUNIT_EXPECT_NOT_NULL(t->test, page);
	}
	kthread_unuse_mm(proc->mm);
	if (!page)
		return;
	/* Keep the page until the end, so that a stale entry does no harm */
	arm_smmu_fake_add_action(t->test, put_page_wrapper, page);
	slot->pa = page_to_phys(page);
	slot->hi = PAGE_SIZE;
	smmu_model_track(&t->m->model->tracked, slot->iova);
}

/* A process exits and is replaced by a new one */
static void op_exit(struct thread *t)
{
	struct space *proc = &t->m->procs[rnd(t, NUM_PROCS)];
	struct slot *slot;

	guard(mutex)(&proc->lock);
	mmput(proc->mm);
	proc->gen++;
	for (slot = proc->slots; slot != proc->slots + proc->num; slot++)
		if (slot->hi)
			free_area(t, slot);
	alloc_mm(proc);
}

static int read_and_clear(struct iova_bitmap *bitmap, unsigned long iova, size_t length,
			  void *opaque)
{
	struct iommu_domain *domain = opaque;
	struct iommu_iotlb_gather gather;
	struct iommu_dirty_bitmap dirty;
	int ret;

	iommu_dirty_bitmap_init(&dirty, bitmap, &gather);
	ret = domain->dirty_ops->read_and_clear_dirty(domain, iova, length, 0, &dirty);
	iommu_iotlb_sync(domain, &gather);
	return ret;
}

/* Clear the dirty state of a slot, as iommufd does. The model checks that the TLB forgets it. */
static void clear_dirty(struct thread *t, struct space *space, struct slot *slot)
{
	u8 __user *ubits = (u8 __user *)t->uaddr;
	struct iova_bitmap *bitmap;
	unsigned int bit;
	u8 bits = 0;

	guard(mutex)(&slot->lock);
	if (slot->lo == slot->hi || slot->size > SZ_2M)
		return;
	KUNIT_EXPECT_EQ(t->test, 0, clear_user(ubits, PAGE_SIZE));
	bitmap = iova_bitmap_alloc(slot->iova + slot->lo, slot->hi - slot->lo, SZ_4K,
				   (u64 __user *)ubits);
	KUNIT_EXPECT_FALSE(t->test, IS_ERR(bitmap));
	if (IS_ERR(bitmap))
		return;
	KUNIT_EXPECT_EQ(t->test, 0, iova_bitmap_for_each(bitmap, space->domain, read_and_clear));
	iova_bitmap_free(bitmap);
	if (slot->written) {
		bit = (slot->written_at - slot->lo) / SZ_4K;
		KUNIT_EXPECT_EQ(t->test, 0, get_user(bits, ubits + bit / 8));
		KUNIT_EXPECT_TRUE_MSG(t->test, bits & BIT(bit % 8), "the write to %#llx is lost",
				      slot->iova + slot->written_at);
		t->done = true;
	}
	slot->written = false;
}

/* Clear all slots of up to 2 MiB, since a slot is rarely a block that was written to */
static void op_dirty(struct thread *t)
{
	struct space *space = get_domain(t);
	unsigned int n;

	if (space->s2)
		return;
	for (n = 0; n < space->num; n++)
		clear_dirty(t, space, &space->slots[n]);
}

/* An SMMU takes longer for a CMD_SYNC, or consumes no commands for a time */
static void op_slow(struct thread *t)
{
	struct arm_smmu_fake *fake = t->m->fakes[rnd(t, t->m->config.smmus)];

	if (rnd(t, 2))
		arm_smmu_fake_set_time(fake, rnd(t, 2) * rnd(t, 50));
	else
		arm_smmu_fake_queue_stall(&fake->queue, rnd(t, 8), 1 + rnd(t, 100));
	t->done = true;
}

static const struct op {
	void (*run)(struct thread *t);
	unsigned int weight;
	u32 features;
	bool guests;
	/* All other threads wait */
	bool alone;
} ops[] = {
	{ op_dma, 30 },
	{ op_map, 20 },
	{ op_trim, 10 },
	{ op_attach, 15 },
	{ op_pasid, 10 },
	{ op_replace_domain, 3, .alone = true },
	{ op_slow, 2 },
	{ op_guest_map, 30, .guests = true },
	{ op_guest_cd, 3, .guests = true },
	{ op_guest_restart, 4, .guests = true, .alone = true },
	{ op_bind, 15, SVA },
	{ op_mmap, 25, SVA },
	{ op_exit, 5, SVA },
	{ op_dirty, 20, HTTU },
};

/* After each operation of a strict test there is DMA anyway */
static bool is_allowed(const struct config *config, const struct op *op)
{
	return !(op->features & ~config->features) && (!op->guests || config->guests) &&
	       !(op->run == op_dma && config->strict);
}

static const struct op *draw_op(struct thread *t)
{
	const struct op *op;

	do {
		op = &ops[rnd(t, ARRAY_SIZE(ops))];
	} while (!is_allowed(&t->m->config, op) || rnd(t, 30) >= op->weight);
	return op;
}

/* Do DMA to all slots and check all caches after an operation */
static void check_step(struct thread *t)
{
	struct reach *m = t->m;
	unsigned int i, j, n;

	for (i = 0; i < m->config.devs; i++)
		for (j = 0; j < NUM_WAYS; j++)
			for (n = 0; n < NUM_SLOTS; n++)
				dma_way(t, &m->devs[i], &m->devs[i].ways[j], n,
					MODEL_CACHED | (rnd(t, 4) ? MODEL_READ : MODEL_WRITE));
	smmu_model_check(m->model);
}

static int run_thread(void *data)
{
	struct thread *t = data;
	struct reach *m = t->m;
	const struct config *config = &m->config;
	const struct op *op;
	unsigned int i;

	/* With SVA the thread uses the mm of the processes instead */
	if (!(config->features & SVA))
		kthread_use_mm(m->mm);
	for (i = 0; i < config->steps && READ_ONCE(t->test->status) != KUNIT_FAILURE; i++) {
		op = draw_op(t);
		if (config->strict)
			smmu_model_fill(m->model, true);
		if (op->alone)
			down_write(&m->sem);
		else
			down_read(&m->sem);
		t->done = false;
		op->run(t);
		if (t->done)
			set_bit(op - ops, &m->done);
		if (op->alone)
			up_write(&m->sem);
		else
			up_read(&m->sem);
		if (config->strict) {
			check_step(t);
		} else if (t == m->threads && !(i % CHECK_STEPS)) {
			guard(rwsem_write)(&m->sem);
			smmu_model_check(m->model);
		}
		if (READ_ONCE(t->test->status) == KUNIT_FAILURE)
			kunit_err(t->test, "thread %td step %u: %ps\n", t - m->threads, i, op->run);
		cond_resched();
	}
	if (!(config->features & SVA))
		kthread_unuse_mm(m->mm);
	return 0;
}

/* Fill the caches from another CPU at any time */
static int run_speculation(void *data)
{
	while (!kthread_should_stop()) {
		smmu_model_fill(data, false);
		cond_resched();
	}
	return 0;
}

static void add_smmu(struct thread *t, unsigned int i)
{
	const struct config *config = &t->m->config;
	struct arm_smmu_fake *fake = arm_smmu_fake_create(t->test, 8);
	struct arm_smmu_device *smmu = &fake->smmu;
	struct arm_smmu_strtab_cfg *cfg = &smmu->strtab_cfg;

	t->m->fakes[i] = fake;
	smmu->features |= config->features;
	smmu->asid_bits = config->features & SVA || rnd(t, 2) ? 16 : 8;
	smmu->vmid_bits = smmu->asid_bits;
	arm_smmu_fake_set_id_bits(fake, smmu->asid_bits);
	if (config->mixed && rnd(t, 2))
		smmu->features |= RIL;
	if (config->mixed && !rnd(t, 3))
		smmu->features |= E2H;
	if (config->features & TWO_LEVELS) {
		smmu->ssid_bits = 12;
		smmu->iommu.max_pasids = BIT(12);
		memset(cfg, 0, sizeof(*cfg));
		cfg->l2.num_l1_ents = 1;
		cfg->l2.l1tab = arm_smmu_fake_zalloc(t->test, sizeof(*cfg->l2.l1tab));
		cfg->l2.l2ptrs = arm_smmu_fake_zalloc(t->test, sizeof(*cfg->l2.l2ptrs));
	}
	smmu_model_add_smmu(t->m->model, fake);
}

static void add_dev(struct thread *t, unsigned int i)
{
	struct reach *m = t->m;
	const struct config *config = &m->config;
	struct arm_smmu_fake *fake = m->fakes[i % config->smmus];
	bool ats = config->ats || (config->mixed && rnd(t, 3));
	u32 sid = 1 + i / config->smmus;
	struct dev *dev = &m->devs[i];
	unsigned int bits = config->features & TWO_LEVELS ? 12 : 6;

	mutex_init(&dev->lock);
	mutex_init(&dev->no_guest);
	/* Nesting excludes PASIDs */
	if ((config->mixed && !(config->features & SVA) && rnd(t, 2)) ||
	    (config->strict && config->guests))
		bits = 0;
	dev->fm = ats ? arm_smmu_fake_add_pci_master(fake, &sid, 1, bits) :
			arm_smmu_fake_add_master(fake, sid, bits);
	dev->mdev = smmu_model_add_dev(m->model, dev->fm);
	if (config->guests)
		dev->guest = &m->guests[i % config->guests];
	dev->idev.dev = dev->fm->dev;
	dev->vdev.idev = &dev->idev;
	dev->vdev.virt_id = GUEST_VSID + i;
	dev->ways[0].ssid = MODEL_NO_SSID;
	for (i = 0; bits && i < NUM_PASIDS; i++) {
		dev->ways[1 + i].ssid = m->pasid + i;
		smmu_model_track(&dev->mdev->ssids, m->pasid + i);
	}
}

/* Add a domain with slots next to each other, in the next table, and in other tables */
static void add_domain(struct reach *m, unsigned int i)
{
	const u64 g = m->granule, b = g * (g / 8);
	const u64 layout[NUM_SLOTS][2] = {
		{ 0, g }, { g, g }, { 16 * g, 16 * g }, { b - g, g }, { b, b },
		{ (b << 9) - b, b }, { b << 9, g == SZ_4K ? SZ_1G : b },
	};
	struct space *space = &m->domains[i];
	struct slot *slot;
	unsigned int n;

	space->slot_locks = true;
	space->s2 = i & 1;
	space->num = NUM_SLOTS;
	for (n = 0; n < NUM_SLOTS; n++) {
		slot = &space->slots[n];
		mutex_init(&slot->lock);
		slot->iova = IOVA + layout[n][0];
		slot->size = layout[n][1];
		if (i)
			continue;
		smmu_model_track(&m->model->tracked, slot->iova);
		if (slot->size == g)
			continue;
		smmu_model_track(&m->model->tracked, slot->iova + 5 * g);
		smmu_model_track(&m->model->tracked, slot->iova + slot->size - g);
	}
	alloc_domain(m, space, &m->devs[0]);
}

/* All guests have the same ASID, and tables of three levels at the same VA */
static void add_guest(struct thread *t, unsigned int i)
{
	struct reach *m = t->m;
	struct guest *guest = &m->guests[i];
	u64 *cd = arm_smmu_fake_zalloc(t->test, SZ_16K);
	u64 *l1 = cd + SZ_4K / sizeof(*cd), *l2 = l1 + SZ_4K / sizeof(*cd);
	unsigned int n;

	mutex_init(&guest->space.lock);
	guest->fake = m->fakes[i % m->config.smmus];
	guest->parent = &m->domains[1];
	guest->ipa = GUEST_IPA + i * SZ_2M;
	guest->asid = 1;
	guest->cd = cd;
	guest->space.num = 4;
	for (n = 0; n < guest->space.num; n++) {
		guest->space.slots[n].iova = GUEST_VA + n * SZ_4K;
		guest->space.slots[n].size = SZ_4K;
		if (!i)
			smmu_model_track(&m->model->tracked, GUEST_VA + n * SZ_4K);
	}

	/* A page with the CD, and a table of each of the levels 1 to 3 */
	KUNIT_ASSERT_EQ(t->test, 0, iommu_map(guest->parent->domain, guest->ipa,
					      virt_to_phys(cd), SZ_16K, RW, GFP_KERNEL));
	cd[0] = FIELD_PREP(CTXDESC_CD_0_TCR_T0SZ, 64 - 39) | FIELD_PREP(CTXDESC_CD_0_TCR_IPS, 4) |
		FIELD_PREP(CTXDESC_CD_0_ASID, guest->asid) | CTXDESC_CD_0_TCR_EPD1 |
		CTXDESC_CD_0_AA64 | CTXDESC_CD_0_R | CTXDESC_CD_0_A | CTXDESC_CD_0_ASET |
		CTXDESC_CD_0_V;
	cd[1] = guest->ipa + SZ_4K;
	cd[3] = 0xff;
	l1[GUEST_VA / SZ_1G] = (guest->ipa + 2 * SZ_4K) | PMD_TYPE_TABLE;
	l2[0] = (guest->ipa + 3 * SZ_4K) | PMD_TYPE_TABLE;
	guest->ptes = l2 + SZ_4K / sizeof(*cd);
	start_guest(t, guest);
}

/* Runs before the devices and the SMMUs of the test are freed */
static void end(void *data)
{
	struct thread *t = data;
	struct reach *m = t->m;
	struct dev *dev;
	struct way *way;
	unsigned int i;

	for (i = 0; i < m->config.smmus; i++) {
		arm_smmu_fake_set_time(m->fakes[i], 0);
		arm_smmu_fake_start(m->fakes[i]);
	}
	for (dev = m->devs; dev != m->devs + m->config.devs; dev++) {
		for (way = dev->ways + 1; way != dev->ways + NUM_WAYS; way++) {
			if (way->bond)
				unbind(dev, way);
			else
				set_pasid(t, dev, way, NULL);
		}
		attach(t, dev, BLOCKED, NULL);
	}
	for (i = 0; i < m->config.guests; i++)
		stop_guest(&m->guests[i]);
	for (i = 0; i < m->config.domains; i++)
		free_domain(m, &m->domains[i]);
	for (i = 0; i < NUM_PROCS; i++)
		if (m->procs[i].mm)
			mmput(m->procs[i].mm);
	mmu_notifier_synchronize();
	smmu_model_check(m->model);
}

/* The nth configuration of the suite reach has the seed n */
#define STRICT(what, num, ...) { .name = what, .steps = num, .strict = true, .threads = 1, \
				 .smmus = 1, .domains = 3, ##__VA_ARGS__ }

static const struct config cases[] = {
	STRICT("4K", 140, .devs = 2),
	STRICT("4K, EL2, ranges", 140, .devs = 2, .features = RIL | E2H),
	STRICT("4K, ATS, ranges", 140, .devs = 2, .ats = true, .features = RIL),
	STRICT("4K, ATS, EL2, two levels", 140, .devs = 2, .ats = true,
	       .features = E2H | TWO_LEVELS),
	STRICT("16K, ranges", 140, .devs = 2, .features = RIL, .pgsizes = SZ_16K | SZ_32M),
	STRICT("64K, ranges", 140, .devs = 2, .features = RIL, .pgsizes = SZ_64K | SZ_512M),
	STRICT("dirty tracking, ranges", 300, .devs = 2, .features = RIL | HTTU),
	STRICT("guests", 300, .devs = 4, .guests = 2),
	STRICT("guests, ATS, EL2, ranges", 300, .devs = 4, .guests = 2, .ats = true,
	       .features = RIL | E2H),
	STRICT("processes", 140, .devs = 2, .features = SVA),
	STRICT("processes, ATS, EL2, ranges", 140, .devs = 2, .ats = true,
	       .features = SVA | RIL | E2H),
};

static const struct config sequences[] = {
	{ "one SMMU, one thread", .steps = 300, .mixed = true, .smmus = 1,
	  .devs = 3, .domains = 4, .threads = 1 },
	{ "four SMMUs, three threads", .steps = 16, .mixed = true, .smmus = 4,
	  .devs = 8, .domains = 4, .threads = 3, .speculation = true },
	{ "eight SMMUs, two threads", .steps = 24, .mixed = true, .smmus = 8,
	  .devs = 12, .domains = 3, .threads = 2 },
	{ "guests", .steps = 120, .mixed = true, .ats = true, .smmus = 2,
	  .devs = 8, .domains = 2, .guests = 4, .threads = 2 },
	{ "processes", .steps = 90, .mixed = true, .features = SVA, .smmus = 2,
	  .devs = 4, .domains = 2, .threads = 2 },
	{ "dirty tracking", .steps = 100, .mixed = true, .features = HTTU,
	  .smmus = 2, .devs = 4, .domains = 3, .threads = 2 },
};

static struct reach *create_reach(struct kunit *test, const struct config *from, u64 s)
{
	struct reach *m = arm_smmu_fake_zalloc(test, sizeof(*m));
	const struct config *config = &m->config;
	struct thread *t = m->threads;
	struct space *proc;
	unsigned int i;

	m->config = *from;
	if (steps && !config->strict)
		m->config.steps = steps;
	m->pasid = config->features & TWO_LEVELS ? 1500 : 40;
	m->granule = config->pgsizes ? BIT(__ffs(config->pgsizes)) : SZ_4K;
	init_rwsem(&m->sem);
	m->model = smmu_model_create(test, s);
	for (i = 0; i <= config->threads; i++) {
		t = &m->threads[i];
		t->test = test;
		t->m = m;
		prandom_seed_state(&t->rng, s + i);
		t->uaddr = arm_smmu_fake_user_page(test);
	}
	/* Created by kunit_vm_mmap() */
	m->mm = current->mm;

	for (i = 0; i < config->smmus; i++)
		add_smmu(t, i);
	for (i = 0; i < config->devs; i++)
		add_dev(t, i);
	/* The core needs a granule of the kernel to add and to remove devices */
	if (config->pgsizes)
		m->fakes[0]->smmu.pgsize_bitmap = config->pgsizes;
	for (i = 0; i < config->domains; i++)
		add_domain(m, i);
	m->fakes[0]->smmu.pgsize_bitmap |= SZ_4K;
	for (i = 0; i < config->guests; i++)
		add_guest(t, i);
	for (proc = m->procs; config->features & SVA && proc != m->procs + NUM_PROCS; proc++) {
		mutex_init(&proc->lock);
		for (proc->num = 0; proc->num < 3; proc->num++)
			proc->slots[proc->num].size = PAGE_SIZE;
		alloc_mm(proc);
		KUNIT_ASSERT_NOT_NULL(test, proc->mm);
	}
	arm_smmu_fake_add_action(test, end, t);
	return m;
}

static void run(struct kunit *test)
{
	const struct config *config = test->param_value;
	u64 s = seed ?: get_random_u32() | 1;
	unsigned int cpu = cpumask_first(cpu_online_mask);
	struct task_struct *tasks[MAX_THREADS];
	const struct op *op;
	struct reach *m;
	unsigned int i;

	if (config->strict)
		s = 1 + (config - cases);
	else
		kunit_info(test, "arm_smmu_v3_kunit.seed=%llu\n", s);
	m = create_reach(test, config, s);
	if (config->speculation)
		wake_up_process(arm_smmu_fake_create_task(test, run_speculation, m->model,
							  cpumask_last(cpu_online_mask)));
	for (i = 0; i < config->threads; i++) {
		tasks[i] = arm_smmu_fake_create_task(test, run_thread, &m->threads[i], cpu);
		cpu = cpumask_next_wrap(cpu, cpu_online_mask);
	}
	for (i = 0; i < config->threads; i++)
		wake_up_process(tasks[i]);
	for (i = 0; i < config->threads; i++)
		arm_smmu_fake_join_task(test, tasks[i]);
	smmu_model_check(m->model);
	/* With guests the devices have no PASIDs */
	for (op = ops; config->strict && op != ops + ARRAY_SIZE(ops); op++)
		if (is_allowed(config, op) && !(op->run == op_pasid && config->guests))
			KUNIT_EXPECT_TRUE_MSG(test, test_bit(op - ops, &m->done),
					      "%ps had no effect", op->run);
	KUNIT_EXPECT_GT(test, m->model->stats.fills, m->config.steps);
	KUNIT_EXPECT_GT(test, m->model->stats.hits, 0);
}

/*
 * Clear the dirty state of one page, of several pages, and of a block. A cached entry of
 * any level must not allow a write that does not set the dirty state again.
 */
static void test_dirty(struct kunit *test)
{
	static const struct config config = {
		.smmus = 1, .devs = 1, .domains = 1, .features = RIL | HTTU,
	};
	struct reach *m = create_reach(test, &config, 1);
	struct space *space = m->domains;
	struct thread *t = m->threads;
	unsigned int n, pages;
	struct slot *slot;

	attach(t, m->devs, PAGING, space);
	for (pages = 0; pages < 2; pages++) {
		for (n = 0; n < space->num; n++) {
			slot = &space->slots[n];
			if (slot->size > SZ_2M)
				continue;
			map(t, space, slot, pages);
			dma_way(t, m->devs, m->devs->ways, n, MODEL_WRITE);
			smmu_model_fill(m->model, true);
			clear_dirty(t, space, slot);
			smmu_model_check(m->model);
			unmap(t, space, slot, slot->lo, slot->hi);
		}
	}
}

KUNIT_ARRAY_PARAM_DESC(cases, cases, name);
KUNIT_ARRAY_PARAM_DESC(sequences, sequences, name);

static struct kunit_case reach_cases[] = {
	KUNIT_CASE(test_dirty),
	KUNIT_CASE_PARAM(run, cases_gen_params),
	{}
};

static struct kunit_suite reach_suite = {
	.name = "arm-smmu-v3-reach",
	.suite_exit = arm_smmu_fake_suite_exit,
	.test_cases = reach_cases,
};

static struct kunit_case random_cases[] = {
	KUNIT_CASE_PARAM_ATTR(run, sequences_gen_params, { .speed = KUNIT_SPEED_SLOW }),
	{}
};

static struct kunit_suite random_suite = {
	.name = "arm-smmu-v3-random",
	.suite_exit = arm_smmu_fake_suite_exit,
	.test_cases = random_cases,
};

kunit_test_suites(&reach_suite, &random_suite);

MODULE_IMPORT_NS("IOMMUFD");
