// SPDX-License-Identifier: GPL-2.0
/*
 * Random programs on the model of an SMMU: several threads attach, map, unmap
 * and invalidate by the driver's real entry points, while devices do DMA and
 * the model fills its caches. The oracle of the model judges.
 *
 * To repeat or to prolong a run:
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

#include "../../../iommu-priv.h"
#include "../../../iommufd/iommufd_private.h"

#include "model.h"

/* The same at each boot, so that a failure of others is not by chance */
static ulong seed = 1;
module_param(seed, ulong, 0444);
MODULE_PARM_DESC(seed, "Seed of the random programs, 0 for a new one");

static uint steps;
module_param(steps, uint, 0444);
MODULE_PARM_DESC(steps, "Steps of each thread of a random program, 0 for few");

#define RND_MAX_SMMUS	8
#define RND_MAX_DEVS	12
#define RND_MAX_DOMAINS	4
#define RND_MAX_THREADS	4
#define RND_NUM_SLOTS	7
#define RND_NUM_PASIDS	2
#define RND_NUM_MMS	2
#define RND_NUM_AREAS	3
#define RND_NUM_GSLOTS	4
#define RND_CHECK_STEPS	32

#define RND_SSID_BITS	6
/* Above what the core hands out to processes */
#define RND_PASID	40

#define RND_IOVA	(3ULL << 40)
#define RND_GUEST_IPA	(5ULL << 40)
#define RND_GUEST_VA	SZ_64G
#define RND_VSID	0x70

/**
 * struct rnd_program - Parameters of a random program
 * @name: its name
 * @steps: steps of each thread at boot
 * @smmus: number of SMMUs
 * @devs: number of devices, which are dealt out to the SMMUs
 * @threads: number of threads
 * @domains: number of paging domains, stage 1 and stage 2 in turns
 * @guests: whether each SMMU has a vSMMU
 * @sva: whether processes are bound
 * @dirty: whether stage 1 has dirty tracking
 * @adversary: whether another CPU fills the caches all the time
 */
struct rnd_program {
	const char *name;
	unsigned int steps;
	unsigned int smmus;
	unsigned int devs;
	unsigned int threads;
	unsigned int domains;
	bool guests;
	bool sva;
	bool dirty;
	bool adversary;
};

/*
 * A range of input addresses of a domain. [@lo, @hi) of it is mapped, to
 * addresses from @pa on, which no other slot has.
 */
struct rnd_slot {
	/* Held while the slot is mapped, unmapped or used */
	struct mutex lock;
	u64 iova;
	u64 size;
	u64 lo;
	u64 hi;
	u64 pa;
	int prot;
	bool block;
	bool written;
	u64 written_at;
};

struct rnd_domain {
	/* Read to use @domain, written to replace it */
	struct rw_semaphore sem;
	struct iommu_domain *domain;
	bool s2;
	u32 flags;
	atomic_t users;
	struct rnd_slot slots[RND_NUM_SLOTS];
};

enum rnd_nested {
	RND_NESTED_S1_ATS,
	RND_NESTED_S1,
	RND_NESTED_BYPASS,
	RND_NESTED_ABORT,
	RND_NUM_NESTED,
};

/* A page of a guest: @va is mapped to @ipa by the guest, that to @pa */
struct rnd_gslot {
	u64 va;
	u64 ipa;
	u64 pa;
	bool mapped;
};

/* A vSMMU, and the tables that its guest has made */
struct rnd_guest {
	/* Held while the guest's tables or its vSMMU change */
	struct mutex lock;
	struct arm_smmu_fake *fake;
	struct rnd_domain *parent;
	struct arm_vsmmu *vsmmu;
	struct iommu_domain *nested[RND_NUM_NESTED];
	struct iommufd_vdevice vdevs[RND_MAX_DEVS];
	struct iommufd_device idevs[RND_MAX_DEVS];
	unsigned int users;
	u16 asid;
	u64 ipa;
	u64 *cd;
	u64 *ptes;
	struct rnd_gslot slots[RND_NUM_GSLOTS];
};

enum rnd_kind {
	RND_BLOCKED,
	RND_IDENTITY,
	RND_PAGING,
	RND_NESTED,
};

struct rnd_bond {
	struct iommu_sva *handle;
	unsigned int gen;
	u32 pasid;
};

struct rnd_dev {
	/* Held while the device is attached or does DMA */
	struct mutex lock;
	struct arm_smmu_fake_master *fm;
	struct smmu_model_dev *mdev;
	unsigned int smmu;
	bool has_ats;
	bool has_pasid;
	enum rnd_kind kind;
	enum rnd_nested nested;
	struct rnd_domain *domain;
	struct rnd_guest *guest;
	struct rnd_domain *pasids[RND_NUM_PASIDS];
	struct iommu_attach_handle handles[RND_NUM_PASIDS][2];
	unsigned int cur_handle[RND_NUM_PASIDS];
	struct rnd_bond bonds[RND_NUM_MMS];
};

/* A process, @gen counts those that were in its place before */
struct rnd_mm {
	/* Held while the process is replaced or bound */
	struct mutex lock;
	struct mm_struct *mm;
	unsigned int gen;
	struct {
		unsigned long va;
		struct page *page;
	} areas[RND_NUM_AREAS];
};

struct rnd_world {
	struct kunit *test;
	const struct rnd_program *prog;
	struct smmu_model *model;
	struct mm_struct *mm;
	/* Written to keep all threads out */
	struct rw_semaphore sem;
	unsigned int steps;
	struct arm_smmu_fake *fakes[RND_MAX_SMMUS];
	struct rnd_dev devs[RND_MAX_DEVS];
	struct rnd_domain domains[RND_MAX_DOMAINS];
	struct rnd_guest guests[RND_MAX_SMMUS];
	struct rnd_mm mms[RND_NUM_MMS];
};

struct rnd_thread {
	struct rnd_world *world;
	unsigned int index;
	struct rnd_state rng;
	/* A page of user space */
	unsigned long uaddr;
	struct task_struct *task;
};

KUNIT_DEFINE_ACTION_WRAPPER(put_page_wrapper, put_page, struct page *);

static u32 rnd(struct rnd_thread *t, u32 num)
{
	return prandom_u32_state(&t->rng) % num;
}

static struct rnd_dev *rnd_pick_dev(struct rnd_thread *t)
{
	return &t->world->devs[rnd(t, t->world->prog->devs)];
}

static struct rnd_domain *rnd_pick_domain(struct rnd_thread *t)
{
	return &t->world->domains[rnd(t, t->world->prog->domains)];
}

static bool rnd_pasids_in_use(struct rnd_dev *dev)
{
	unsigned int i;

	for (i = 0; i < RND_NUM_PASIDS; i++)
		if (dev->pasids[i])
			return true;
	for (i = 0; i < RND_NUM_MMS; i++)
		if (dev->bonds[i].handle)
			return true;
	return false;
}

/* A DMA must reach @pa; if that is 0 it must reach nothing */
static void rnd_expect_dma(struct rnd_thread *t, struct rnd_dev *dev, u32 ssid,
			   u64 addr, unsigned int flags, u64 pa)
{
	struct kunit *test = t->world->test;
	u64 got = 0;
	int ret;

	flags |= SMMU_MODEL_QUIET;
	if (dev->fm->master->ats_enabled && rnd(t, 2))
		flags |= SMMU_MODEL_ATS;
	if (!rnd(t, 3))
		flags |= SMMU_MODEL_CACHED;
	ret = smmu_model_dma(dev->mdev, ssid, addr, flags, &got);
	if (!pa) {
		KUNIT_EXPECT_NE_MSG(test, ret, 0,
				    "%s ssid %#x addr %#llx reached %#llx",
				    dev_name(dev->fm->dev), ssid, addr, got);
		return;
	}
	KUNIT_EXPECT_EQ_MSG(test, ret, 0, "%s ssid %#x addr %#llx flags %#x",
			    dev_name(dev->fm->dev), ssid, addr, flags);
	if (!ret)
		KUNIT_EXPECT_EQ_MSG(test, got, pa,
				    "%s ssid %#x addr %#llx flags %#x",
				    dev_name(dev->fm->dev), ssid, addr, flags);
}

/* A device that translates with @rd */
static void rnd_dma_slot(struct rnd_thread *t, struct rnd_dev *dev, u32 ssid,
			 struct rnd_domain *rd)
{
	struct rnd_slot *slot = &rd->slots[rnd(t, RND_NUM_SLOTS)];
	u64 off = rnd(t, slot->size / SZ_4K) * (u64)SZ_4K + 8 * rnd(t, 512);
	unsigned int flags = SMMU_MODEL_READ;

	guard(mutex)(&slot->lock);
	if (off < slot->lo || off >= slot->hi) {
		rnd_expect_dma(t, dev, ssid, slot->iova + off, flags, 0);
		return;
	}
	if (rnd(t, 2)) {
		flags = SMMU_MODEL_WRITE;
		if (!(slot->prot & IOMMU_WRITE)) {
			rnd_expect_dma(t, dev, ssid, slot->iova + off, flags,
				       0);
			return;
		}
		slot->written = true;
		slot->written_at = off;
	}
	rnd_expect_dma(t, dev, ssid, slot->iova + off, flags, slot->pa + off);
}

static void rnd_dma_guest(struct rnd_thread *t, struct rnd_dev *dev,
			  struct rnd_guest *guest)
{
	struct rnd_gslot *gs = &guest->slots[rnd(t, RND_NUM_GSLOTS)];

	rnd_expect_dma(t, dev, SMMU_MODEL_NO_SSID, gs->va + 8 * rnd(t, 512),
		       SMMU_MODEL_READ, 0);
}

static void rnd_dma_gslot(struct rnd_thread *t, struct rnd_dev *dev,
			  struct rnd_gslot *gs)
{
	u64 off = 8 * rnd(t, 512);

	rnd_expect_dma(t, dev, SMMU_MODEL_NO_SSID, gs->va + off,
		       rnd(t, 2) ? SMMU_MODEL_READ : SMMU_MODEL_WRITE,
		       gs->mapped ? gs->pa + off : 0);
}

static void rnd_op_dma(struct rnd_thread *t)
{
	struct rnd_dev *dev = rnd_pick_dev(t);
	unsigned int i = rnd(t, 2 * RND_NUM_PASIDS);

	guard(mutex)(&dev->lock);
	if (i < RND_NUM_PASIDS && dev->pasids[i]) {
		rnd_dma_slot(t, dev, RND_PASID + i, dev->pasids[i]);
		return;
	}
	switch (dev->kind) {
	case RND_BLOCKED:
		rnd_expect_dma(t, dev, SMMU_MODEL_NO_SSID, RND_IOVA,
			       SMMU_MODEL_READ, 0);
		break;
	case RND_IDENTITY:
		/* Translated by the ATC only if there are PASIDs */
		rnd_expect_dma(t, dev, SMMU_MODEL_NO_SSID, RND_IOVA,
			       SMMU_MODEL_READ, RND_IOVA);
		break;
	case RND_PAGING:
		rnd_dma_slot(t, dev, SMMU_MODEL_NO_SSID, dev->domain);
		break;
	case RND_NESTED: {
		struct rnd_guest *guest = dev->guest;

		guard(mutex)(&guest->lock);
		if (dev->nested == RND_NESTED_ABORT)
			rnd_dma_guest(t, dev, guest);
		else if (dev->nested == RND_NESTED_BYPASS)
			rnd_dma_slot(t, dev, SMMU_MODEL_NO_SSID, guest->parent);
		else
			rnd_dma_gslot(t, dev,
				      &guest->slots[rnd(t, RND_NUM_GSLOTS)]);
		break;
	}
	}
}

static void rnd_map(struct rnd_thread *t, struct rnd_domain *rd,
		    struct rnd_slot *slot)
{
	struct rnd_world *world = t->world;

	slot->prot = IOMMU_READ | (rnd(t, 4) ? IOMMU_WRITE : 0);
	slot->block = slot->size > SZ_4K && (slot->size > SZ_2M || rnd(t, 2));
	if (slot->block || slot->size == SZ_4K)
		slot->pa = smmu_model_pa(world->model, slot->size);
	else
		/* Not aligned, so that it takes pages */
		slot->pa = smmu_model_pa(world->model, 2 * slot->size) + SZ_4K;
	/* A block of less than 2M is made of pages */
	slot->block &= slot->size >= SZ_2M;
	slot->lo = 0;
	slot->hi = slot->size;
	slot->written = false;
	KUNIT_EXPECT_EQ(world->test, 0,
			iommu_map(rd->domain, slot->iova, slot->pa, slot->size,
				  slot->prot, GFP_KERNEL));
}

static void rnd_unmap(struct rnd_thread *t, struct rnd_domain *rd,
		      struct rnd_slot *slot)
{
	u64 lo = slot->lo, hi = slot->hi, mid;

	/* All, or the lower part, or the upper part */
	if (!slot->block && hi - lo > SZ_4K && rnd(t, 2)) {
		mid = lo + (1 + rnd(t, (hi - lo) / SZ_4K - 1)) * SZ_4K;
		if (rnd(t, 2))
			lo = mid;
		else
			hi = mid;
	}
	KUNIT_EXPECT_EQ(t->world->test, hi - lo,
			iommu_unmap(rd->domain, slot->iova + lo, hi - lo));
	smmu_model_retire(t->world->model, slot->pa + lo, hi - lo);
	if (lo == slot->lo)
		slot->lo = hi;
	else
		slot->hi = lo;
	if (slot->lo == slot->hi) {
		slot->lo = 0;
		slot->hi = 0;
	}
	slot->written = false;
}

static void rnd_op_map(struct rnd_thread *t)
{
	struct rnd_domain *rd = rnd_pick_domain(t);
	struct rnd_slot *slot = &rd->slots[rnd(t, RND_NUM_SLOTS)];

	/* Each block of 1G uses up 1G of output addresses */
	if (slot->size > SZ_2M && rnd(t, 4))
		return;
	guard(rwsem_read)(&rd->sem);
	guard(mutex)(&slot->lock);
	if (slot->hi)
		rnd_unmap(t, rd, slot);
	else
		rnd_map(t, rd, slot);
}

static struct iommu_domain *rnd_alloc_domain(struct rnd_world *world,
					     struct rnd_domain *rd,
					     unsigned int dev)
{
	struct iommu_domain *domain =
		iommu_paging_domain_alloc_flags(world->devs[dev].fm->dev,
						rd->flags);

	KUNIT_EXPECT_FALSE(world->test, IS_ERR(domain));
	return IS_ERR(domain) ? NULL : domain;
}

/* Nothing is attached: all that is mapped is out of reach, then it is freed */
static void rnd_free_domain(struct rnd_world *world, struct rnd_domain *rd)
{
	struct rnd_slot *slot;

	for (slot = rd->slots; slot != &rd->slots[RND_NUM_SLOTS]; slot++) {
		if (slot->hi)
			smmu_model_retire(world->model, slot->pa + slot->lo,
					  slot->hi - slot->lo);
		slot->lo = 0;
		slot->hi = 0;
	}
	iommu_domain_free(rd->domain);
	rd->domain = NULL;
}

static void rnd_op_replace_domain(struct rnd_thread *t)
{
	struct rnd_domain *rd = rnd_pick_domain(t);

	guard(rwsem_write)(&rd->sem);
	if (atomic_read(&rd->users))
		return;
	rnd_free_domain(t->world, rd);
	rd->domain = rnd_alloc_domain(t->world, rd,
				      rnd(t, t->world->prog->devs));
}

/* Commands as a guest writes them, followed by a CMD_SYNC of the driver */
static void rnd_guest_issue(struct rnd_thread *t, struct rnd_guest *guest,
			    const struct arm_smmu_cmd *cmds, unsigned int num)
{
	struct iommu_user_data_array array = {
		.type = IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3,
		.uptr = (void __user *)t->uaddr,
		.entry_len = sizeof(*cmds),
		.entry_num = num,
	};
	struct kunit *test = t->world->test;

	if (!num)
		return;
	KUNIT_EXPECT_EQ(test, 0,
			copy_to_user(array.uptr, cmds, num * sizeof(*cmds)));
	KUNIT_EXPECT_EQ(test, 0,
			arm_vsmmu_cache_invalidate(&guest->vsmmu->core,
						   &array));
	KUNIT_EXPECT_EQ(test, array.entry_num, num);
}

/* Return: the next device that the stage 1 of the guest translates for, or NULL */
static struct rnd_dev *rnd_guest_next_dev(struct rnd_thread *t,
					  struct rnd_guest *guest,
					  struct rnd_dev *dev)
{
	for (dev = dev ? dev + 1 : t->world->devs;
	     dev != &t->world->devs[t->world->prog->devs]; dev++)
		/* Stable under the lock of the guest, by which it is attached */
		if (READ_ONCE(dev->guest) == guest &&
		    (dev->nested == RND_NESTED_S1 ||
		     dev->nested == RND_NESTED_S1_ATS))
			return dev;
	return NULL;
}

static u64 rnd_vsid(struct rnd_thread *t, struct rnd_dev *dev)
{
	return FIELD_PREP(CMDQ_CFGI_0_SID, RND_VSID + (dev - t->world->devs));
}

static void rnd_guest_inv_va(struct rnd_thread *t, struct rnd_guest *guest,
			     u64 va)
{
	struct arm_smmu_cmd cmds[RND_MAX_DEVS] = {};
	struct rnd_dev *dev = NULL;
	unsigned int num = 0;

	switch (rnd(t, 6)) {
	case 0:
		cmds[0].data[0] = CMDQ_OP_TLBI_NSNH_ALL;
		break;
	case 1:
		cmds[0].data[0] = CMDQ_OP_TLBI_NH_ALL |
				  FIELD_PREP(CMDQ_TLBI_0_VMID, rnd(t, 256));
		break;
	case 2:
		cmds[0].data[0] = CMDQ_OP_TLBI_NH_ASID |
				  FIELD_PREP(CMDQ_TLBI_0_ASID, guest->asid) |
				  FIELD_PREP(CMDQ_TLBI_0_VMID, rnd(t, 256));
		break;
	case 3:
		cmds[0].data[0] = CMDQ_OP_TLBI_NH_VAA;
		cmds[0].data[1] = va | CMDQ_TLBI_1_LEAF;
		break;
	default:
		cmds[0].data[0] = CMDQ_OP_TLBI_NH_VA |
				  FIELD_PREP(CMDQ_TLBI_0_ASID, guest->asid) |
				  FIELD_PREP(CMDQ_TLBI_0_VMID, rnd(t, 256));
		cmds[0].data[1] = va | (rnd(t, 2) ? CMDQ_TLBI_1_LEAF : 0);
		if ((guest->fake->smmu.features & ARM_SMMU_FEAT_RANGE_INV) &&
		    rnd(t, 2))
			cmds[0].data[1] |= FIELD_PREP(CMDQ_TLBI_1_TG, 1) |
					   FIELD_PREP(CMDQ_TLBI_1_TTL, 3);
		break;
	}
	rnd_guest_issue(t, guest, cmds, 1);

	/* The ATC may be filled from the TLB until here */
	while ((dev = rnd_guest_next_dev(t, guest, dev))) {
		if (!dev->fm->master->ats_enabled)
			continue;
		cmds[num].data[0] = CMDQ_OP_ATC_INV | rnd_vsid(t, dev);
		cmds[num++].data[1] =
			rnd(t, 2) ? va : FIELD_PREP(CMDQ_ATC_1_SIZE,
						    ATC_INV_SIZE_ALL);
	}
	rnd_guest_issue(t, guest, cmds, num);
}

#define RND_PTE(ipa)	((ipa) | PTE_TYPE_PAGE | PTE_USER | PTE_AF | PTE_NG | \
			 PTE_SHARED)

static void rnd_guest_unmap(struct rnd_thread *t, struct rnd_guest *guest,
			    struct rnd_gslot *gs)
{
	u64 *pte = &guest->ptes[gs - guest->slots];
	struct kunit *test = t->world->test;
	struct rnd_dev *dev = NULL;
	bool host = rnd(t, 2);

	gs->mapped = false;
	if (host) {
		KUNIT_EXPECT_EQ(test, SZ_4K,
				iommu_unmap(guest->parent->domain, gs->ipa,
					    SZ_4K));
		smmu_model_retire(t->world->model, gs->pa, SZ_4K);
	} else {
		WRITE_ONCE(*pte, 0);
		rnd_guest_inv_va(t, guest, gs->va);
	}
	while ((dev = rnd_guest_next_dev(t, guest, dev)))
		rnd_dma_gslot(t, dev, gs);
	if (host) {
		WRITE_ONCE(*pte, 0);
		rnd_guest_inv_va(t, guest, gs->va);
	} else {
		KUNIT_EXPECT_EQ(test, SZ_4K,
				iommu_unmap(guest->parent->domain, gs->ipa,
					    SZ_4K));
		smmu_model_retire(t->world->model, gs->pa, SZ_4K);
	}
}

static void rnd_op_guest_map(struct rnd_thread *t)
{
	struct rnd_guest *guest =
		&t->world->guests[rnd(t, t->world->prog->smmus)];
	struct rnd_gslot *gs = &guest->slots[rnd(t, RND_NUM_GSLOTS)];

	guard(mutex)(&guest->lock);
	if (gs->mapped) {
		rnd_guest_unmap(t, guest, gs);
		return;
	}
	gs->pa = smmu_model_pa(t->world->model, SZ_4K);
	KUNIT_EXPECT_EQ(t->world->test, 0,
			iommu_map(guest->parent->domain, gs->ipa, gs->pa, SZ_4K,
				  IOMMU_READ | IOMMU_WRITE, GFP_KERNEL));
	/* The IPA was faulting, which no TLB holds */
	smp_store_release(&guest->ptes[gs - guest->slots], RND_PTE(gs->ipa));
	gs->mapped = true;
}

/* Another ASID for the same table */
static void rnd_op_guest_cd(struct rnd_thread *t)
{
	struct rnd_guest *guest =
		&t->world->guests[rnd(t, t->world->prog->smmus)];
	struct arm_smmu_cmd cmds[RND_MAX_DEVS] = {};
	struct rnd_dev *dev = NULL;
	unsigned int i, num = 0;

	guard(mutex)(&guest->lock);
	while ((dev = rnd_guest_next_dev(t, guest, dev))) {
		cmds[num].data[0] = CMDQ_OP_CFGI_CD | rnd_vsid(t, dev);
		cmds[num++].data[1] = CMDQ_CFGI_1_LEAF;
	}
	WRITE_ONCE(guest->cd[0], guest->cd[0] & ~CTXDESC_CD_0_V);
	rnd_guest_issue(t, guest, cmds, num);
	for (i = 0; i < RND_NUM_GSLOTS; i++)
		rnd_guest_inv_va(t, guest, guest->slots[i].va);
	guest->asid = 1 + rnd(t, 4);
	WRITE_ONCE(guest->cd[0],
		   (guest->cd[0] & ~CTXDESC_CD_0_ASID) | CTXDESC_CD_0_V |
		   FIELD_PREP(CTXDESC_CD_0_ASID, guest->asid));
	rnd_guest_issue(t, guest, cmds, num);
}

static struct iommu_domain *
rnd_alloc_nested(struct rnd_thread *t, struct rnd_guest *guest,
		 enum rnd_nested kind)
{
	static const unsigned int cfgs[] = {
		[RND_NESTED_S1_ATS] = STRTAB_STE_0_CFG_S1_TRANS,
		[RND_NESTED_S1] = STRTAB_STE_0_CFG_S1_TRANS,
		[RND_NESTED_BYPASS] = STRTAB_STE_0_CFG_BYPASS,
		[RND_NESTED_ABORT] = STRTAB_STE_0_CFG_ABORT,
	};
	struct iommu_hwpt_arm_smmuv3 arg = {
		.ste[0] = cpu_to_le64(STRTAB_STE_0_V |
				      FIELD_PREP(STRTAB_STE_0_CFG, cfgs[kind])),
	};
	struct iommu_user_data data = {
		.uptr = (void __user *)t->uaddr,
		.type = IOMMU_HWPT_DATA_ARM_SMMUV3,
		.len = sizeof(arg),
	};
	struct kunit *test = t->world->test;
	struct iommu_domain *nested;

	if (cfgs[kind] == STRTAB_STE_0_CFG_S1_TRANS)
		arg.ste[0] |= cpu_to_le64(guest->ipa);
	if (kind == RND_NESTED_S1_ATS)
		arg.ste[1] |= cpu_to_le64(FIELD_PREP(STRTAB_STE_1_EATS,
						     STRTAB_STE_1_EATS_TRANS));
	KUNIT_EXPECT_EQ(test, 0, copy_to_user(data.uptr, &arg, sizeof(arg)));
	nested = guest->vsmmu->core.ops->alloc_domain_nested(&guest->vsmmu->core,
							     0, &data);
	KUNIT_EXPECT_FALSE(test, IS_ERR(nested));
	return IS_ERR(nested) ? NULL : nested;
}

static void rnd_guest_start(struct rnd_thread *t, struct rnd_guest *guest)
{
	struct rnd_world *world = t->world;
	unsigned int i;

	memset(guest->vsmmu, 0, sizeof(*guest->vsmmu));
	KUNIT_EXPECT_EQ(world->test, 0,
			arm_smmu_fake_vsmmu_init(guest->vsmmu, guest->fake,
						 guest->parent->domain));
	for (i = 0; i < world->prog->devs; i++) {
		if (world->devs[i].fm->fake != guest->fake)
			continue;
		guest->idevs[i].dev = world->devs[i].fm->dev;
		guest->vdevs[i].idev = &guest->idevs[i];
		guest->vdevs[i].virt_id = RND_VSID + i;
		xa_store(&guest->vsmmu->core.vdevs, RND_VSID + i,
			 &guest->vdevs[i], GFP_KERNEL);
	}
	for (i = 0; i < RND_NUM_NESTED; i++)
		guest->nested[i] = rnd_alloc_nested(t, guest, i);
}

static void rnd_guest_stop(struct rnd_guest *guest)
{
	unsigned int i;

	for (i = 0; i < RND_NUM_NESTED; i++)
		iommu_domain_free(guest->nested[i]);
	arm_smmu_fake_vsmmu_destroy(guest->vsmmu);
}

static void rnd_op_guest_restart(struct rnd_thread *t)
{
	struct rnd_guest *guest =
		&t->world->guests[rnd(t, t->world->prog->smmus)];

	guard(mutex)(&guest->lock);
	if (guest->users)
		return;
	rnd_guest_stop(guest);
	rnd_guest_start(t, guest);
}

static void rnd_lock_guests(struct rnd_guest *a, struct rnd_guest *b)
{
	if (a > b)
		swap(a, b);
	if (a)
		mutex_lock(&a->lock);
	if (b && b != a)
		mutex_lock_nested(&b->lock, SINGLE_DEPTH_NESTING);
}

static void rnd_unlock_guests(struct rnd_guest *a, struct rnd_guest *b)
{
	if (a)
		mutex_unlock(&a->lock);
	if (b && b != a)
		mutex_unlock(&b->lock);
}

static void rnd_attach(struct rnd_thread *t, struct rnd_dev *dev,
		       enum rnd_kind kind, struct rnd_domain *rd,
		       struct rnd_guest *guest, enum rnd_nested nested)
{
	struct rnd_guest *old_guest = dev->guest;
	struct kunit *test = t->world->test;
	struct iommu_domain *domain;
	bool busy;
	int ret;

	rnd_lock_guests(old_guest, guest);
	switch (kind) {
	case RND_BLOCKED:
		domain = arm_smmu_fake_blocked(dev->fm);
		break;
	case RND_IDENTITY:
		domain = arm_smmu_fake_identity(dev->fm);
		break;
	case RND_PAGING:
		domain = rd->domain;
		break;
	case RND_NESTED:
		domain = guest->nested[nested];
		break;
	}
	busy = rnd_pasids_in_use(dev) &&
	       (kind == RND_NESTED || (kind == RND_PAGING && rd->s2));

	ret = arm_smmu_fake_attach(dev->fm, domain);
	KUNIT_EXPECT_EQ_MSG(test, ret, busy ? -EBUSY : 0, "kind %u s2 %u", kind,
			    rd ? rd->s2 : 0);
	if (!ret) {
		if (dev->domain)
			atomic_dec(&dev->domain->users);
		if (old_guest)
			old_guest->users--;
		if (rd)
			atomic_inc(&rd->users);
		if (guest)
			guest->users++;
		dev->kind = kind;
		dev->domain = rd;
		dev->nested = nested;
		WRITE_ONCE(dev->guest, guest);
		smmu_model_left(dev->mdev, SMMU_MODEL_NO_SSID);
	}
	rnd_unlock_guests(old_guest, guest);
}

static void rnd_op_attach(struct rnd_thread *t)
{
	struct rnd_dev *dev = rnd_pick_dev(t);
	struct rnd_domain *rd;

	guard(mutex)(&dev->lock);
	switch (rnd(t, t->world->prog->guests ? 9 : 6)) {
	case 0:
		rnd_attach(t, dev, RND_BLOCKED, NULL, NULL, 0);
		break;
	case 1:
		rnd_attach(t, dev, RND_IDENTITY, NULL, NULL, 0);
		break;
	case 2 ... 5:
		rd = rnd_pick_domain(t);
		scoped_guard(rwsem_read, &rd->sem)
			rnd_attach(t, dev, RND_PAGING, rd, NULL, 0);
		break;
	default:
		rnd_attach(t, dev, RND_NESTED, NULL,
			   &t->world->guests[dev->smmu],
			   rnd(t, RND_NUM_NESTED));
		break;
	}
}

static void rnd_detach_pasid(struct rnd_dev *dev, unsigned int i)
{
	iommu_detach_device_pasid(dev->pasids[i]->domain, dev->fm->dev,
				  RND_PASID + i);
	atomic_dec(&dev->pasids[i]->users);
	dev->pasids[i] = NULL;
	smmu_model_left(dev->mdev, RND_PASID + i);
}

static void rnd_op_pasid(struct rnd_thread *t)
{
	struct rnd_dev *dev = rnd_pick_dev(t);
	unsigned int i = rnd(t, RND_NUM_PASIDS);
	struct rnd_domain *rd = rnd_pick_domain(t);
	struct kunit *test = t->world->test;
	struct iommu_attach_handle *handle;
	bool bad;
	int ret;

	if (!dev->has_pasid)
		return;
	guard(mutex)(&dev->lock);
	if (dev->pasids[i] && rnd(t, 2)) {
		rnd_detach_pasid(dev, i);
		return;
	}

	guard(rwsem_read)(&rd->sem);
	if (rd->s2 || rd == dev->pasids[i])
		return;
	bad = dev->kind == RND_NESTED ||
	      (dev->kind == RND_PAGING && dev->domain->s2);
	dev->cur_handle[i] ^= 1;
	handle = &dev->handles[i][dev->cur_handle[i]];
	if (dev->pasids[i])
		ret = iommu_replace_device_pasid(rd->domain, dev->fm->dev,
						 RND_PASID + i, handle);
	else
		ret = iommu_attach_device_pasid(rd->domain, dev->fm->dev,
						RND_PASID + i, handle);
	KUNIT_EXPECT_EQ(test, ret, bad ? -EINVAL : 0);
	if (ret)
		return;
	atomic_inc(&rd->users);
	if (dev->pasids[i])
		atomic_dec(&dev->pasids[i]->users);
	dev->pasids[i] = rd;
	smmu_model_left(dev->mdev, RND_PASID + i);
}

static struct mm_struct *rnd_alloc_mm(void)
{
	struct mm_struct *mm = mm_alloc();

	if (mm) {
		mm->task_size = TASK_SIZE;
		arch_pick_mmap_layout(mm, &current->signal->rlim[RLIMIT_STACK]);
	}
	return mm;
}

static void rnd_unbind(struct rnd_dev *dev, unsigned int i)
{
	struct rnd_bond *bond = &dev->bonds[i];

	iommu_sva_unbind_device(bond->handle);
	bond->handle = NULL;
	smmu_model_left(dev->mdev, bond->pasid);
}

static void rnd_op_bind(struct rnd_thread *t)
{
	struct rnd_dev *dev = rnd_pick_dev(t);
	unsigned int i = rnd(t, RND_NUM_MMS);
	struct rnd_mm *rm = &t->world->mms[i];
	struct kunit *test = t->world->test;
	struct iommu_sva *handle;

	if (!dev->has_pasid)
		return;
	guard(mutex)(&dev->lock);
	guard(mutex)(&rm->lock);
	if (dev->bonds[i].handle) {
		rnd_unbind(dev, i);
		return;
	}
	if (!rm->mm)
		return;
	handle = iommu_sva_bind_device(dev->fm->dev, rm->mm);
	if (IS_ERR(handle)) {
		bool bad = dev->kind == RND_PAGING && dev->domain->s2;

		/* PASIDs are given back late */
		if (PTR_ERR(handle) != -ENOSPC)
			KUNIT_EXPECT_EQ(test, PTR_ERR(handle),
					bad ? -EINVAL : 0);
		return;
	}
	dev->bonds[i] = (struct rnd_bond){
		.handle = handle,
		.gen = rm->gen,
		.pasid = iommu_sva_get_pasid(handle),
	};
	smmu_model_track_ssid(dev->mdev, dev->bonds[i].pasid);
}

/* The page stays allocated: if a device reaches it, then by what is stale */
static void rnd_mmap(struct rnd_thread *t, struct rnd_mm *rm, unsigned int i)
{
	struct kunit *test = t->world->test;
	unsigned long va;
	struct page *page;

	kthread_use_mm(rm->mm);
	va = vm_mmap(NULL, 0, PAGE_SIZE, PROT_READ | PROT_WRITE,
		     MAP_ANONYMOUS | MAP_PRIVATE, 0);
	if (IS_ERR_VALUE(va) || clear_user((void __user *)va, PAGE_SIZE) ||
	    get_user_pages_fast(va, 1, FOLL_WRITE, &page) != 1)
		va = 0;
	kthread_unuse_mm(rm->mm);
	KUNIT_EXPECT_NE(test, va, 0);
	if (!va)
		return;
	KUNIT_EXPECT_EQ(test, 0,
			kunit_add_action_or_reset(test, put_page_wrapper,
						  page));
	rm->areas[i].va = va;
	rm->areas[i].page = page;
	smmu_model_track(t->world->model, va);
}

static void rnd_retire_area(struct rnd_thread *t, struct rnd_mm *rm,
			    unsigned int i)
{
	smmu_model_retire(t->world->model, page_to_phys(rm->areas[i].page),
			  PAGE_SIZE);
	smmu_model_untrack(t->world->model, rm->areas[i].va);
	rm->areas[i].va = 0;
}

static void rnd_op_mmap(struct rnd_thread *t)
{
	struct rnd_mm *rm = &t->world->mms[rnd(t, RND_NUM_MMS)];
	unsigned int i = rnd(t, RND_NUM_AREAS);
	int ret;

	guard(mutex)(&rm->lock);
	if (!rm->mm)
		return;
	if (!rm->areas[i].va) {
		rnd_mmap(t, rm, i);
		return;
	}
	kthread_use_mm(rm->mm);
	ret = vm_munmap(rm->areas[i].va, PAGE_SIZE);
	kthread_unuse_mm(rm->mm);
	KUNIT_EXPECT_EQ(t->world->test, ret, 0);
	rnd_retire_area(t, rm, i);
}

static void rnd_exit(struct rnd_thread *t, struct rnd_mm *rm)
{
	unsigned int i;

	mmput(rm->mm);
	rm->mm = NULL;
	rm->gen++;
	for (i = 0; i < RND_NUM_AREAS; i++)
		if (rm->areas[i].va)
			rnd_retire_area(t, rm, i);
}

static void rnd_op_exit(struct rnd_thread *t)
{
	struct rnd_mm *rm = &t->world->mms[rnd(t, RND_NUM_MMS)];

	guard(mutex)(&rm->lock);
	if (rm->mm)
		rnd_exit(t, rm);
	rm->mm = rnd_alloc_mm();
}

static void rnd_op_sva_dma(struct rnd_thread *t)
{
	struct rnd_dev *dev = rnd_pick_dev(t);
	unsigned int i = rnd(t, RND_NUM_MMS), j = rnd(t, RND_NUM_AREAS);
	struct rnd_mm *rm = &t->world->mms[i];
	u64 off = 8 * rnd(t, 512);

	guard(mutex)(&dev->lock);
	guard(mutex)(&rm->lock);
	if (!dev->bonds[i].handle || !rm->areas[j].va)
		return;
	rnd_expect_dma(t, dev, dev->bonds[i].pasid, rm->areas[j].va + off,
		       SMMU_MODEL_READ,
		       dev->bonds[i].gen != rm->gen ? 0 :
		       page_to_phys(rm->areas[j].page) + off);
}

static int rnd_read_and_clear(struct iova_bitmap *bitmap, unsigned long iova,
			      size_t length, void *opaque)
{
	struct rnd_domain *rd = opaque;
	struct iommu_iotlb_gather gather;
	struct iommu_dirty_bitmap dirty;
	int ret;

	iommu_dirty_bitmap_init(&dirty, bitmap, &gather);
	ret = rd->domain->dirty_ops->read_and_clear_dirty(rd->domain, iova,
							  length, 0, &dirty);
	iommu_iotlb_sync(rd->domain, &gather);
	return ret;
}

/* As iommufd does it, for a slot that was written to */
static void rnd_op_dirty(struct rnd_thread *t)
{
	struct rnd_domain *rd = rnd_pick_domain(t);
	struct rnd_slot *slot = &rd->slots[rnd(t, RND_NUM_SLOTS)];
	struct kunit *test = t->world->test;
	struct iova_bitmap *bitmap;
	u8 __user *ubits = (u8 __user *)t->uaddr;
	unsigned int bit;
	u8 bits = 0;

	if (slot->size > SZ_2M)
		return;
	guard(rwsem_read)(&rd->sem);
	guard(mutex)(&slot->lock);
	if (rd->s2 || !slot->hi)
		return;

	KUNIT_EXPECT_EQ(test, 0, clear_user(ubits, PAGE_SIZE));
	bitmap = iova_bitmap_alloc(slot->iova + slot->lo, slot->hi - slot->lo,
				   SZ_4K, (u64 __user *)ubits);
	KUNIT_EXPECT_FALSE(test, IS_ERR(bitmap));
	if (IS_ERR(bitmap))
		return;
	KUNIT_EXPECT_EQ(test, 0,
			iova_bitmap_for_each(bitmap, rd, rnd_read_and_clear));
	iova_bitmap_free(bitmap);
	if (!slot->written)
		return;
	bit = (slot->written_at - slot->lo) / SZ_4K;
	KUNIT_EXPECT_EQ(test, 0, get_user(bits, ubits + bit / 8));
	KUNIT_EXPECT_TRUE_MSG(test, bits & BIT(bit % 8),
			      "the write to %#llx is lost",
			      slot->iova + slot->written_at);
	slot->written = false;
}

/* The SMMU is slow, or does nothing at all for a while */
static void rnd_op_slow(struct rnd_thread *t)
{
	struct arm_smmu_fake *fake =
		t->world->fakes[rnd(t, t->world->prog->smmus)];

	if (rnd(t, 2)) {
		arm_smmu_fake_set_time(fake, rnd(t, 2) * rnd(t, 50));
		return;
	}
	arm_smmu_fake_queue_stall(&fake->queue, rnd(t, 8), 1 + rnd(t, 100));
}

static const struct {
	void (*run)(struct rnd_thread *t);
	unsigned int weight;
	bool guests;
	bool sva;
	bool dirty;
} rnd_ops[] = {
	{ .run = rnd_op_dma, .weight = 30 },
	{ .run = rnd_op_map, .weight = 30 },
	{ .run = rnd_op_attach, .weight = 15 },
	{ .run = rnd_op_pasid, .weight = 10 },
	{ .run = rnd_op_replace_domain, .weight = 3 },
	{ .run = rnd_op_slow, .weight = 2 },
	{ .run = rnd_op_guest_map, .weight = 30, .guests = true },
	{ .run = rnd_op_guest_cd, .weight = 3, .guests = true },
	{ .run = rnd_op_guest_restart, .weight = 4, .guests = true },
	{ .run = rnd_op_bind, .weight = 12, .sva = true },
	{ .run = rnd_op_mmap, .weight = 25, .sva = true },
	{ .run = rnd_op_exit, .weight = 3, .sva = true },
	{ .run = rnd_op_sva_dma, .weight = 25, .sva = true },
	{ .run = rnd_op_dirty, .weight = 20, .dirty = true },
};

static bool rnd_has_op(const struct rnd_program *prog, unsigned int i)
{
	return (!rnd_ops[i].guests || prog->guests) &&
	       (!rnd_ops[i].sva || prog->sva) &&
	       (!rnd_ops[i].dirty || prog->dirty);
}

static void rnd_step(struct rnd_thread *t)
{
	const struct rnd_program *prog = t->world->prog;
	unsigned int i, weight = 0;

	for (i = 0; i < ARRAY_SIZE(rnd_ops); i++)
		if (rnd_has_op(prog, i))
			weight += rnd_ops[i].weight;
	weight = rnd(t, weight);
	for (i = 0;; i++) {
		if (!rnd_has_op(prog, i))
			continue;
		if (weight < rnd_ops[i].weight)
			break;
		weight -= rnd_ops[i].weight;
	}
	rnd_ops[i].run(t);
}

static int rnd_thread_run(void *data)
{
	struct rnd_thread *t = data;
	struct rnd_world *world = t->world;
	unsigned int i;

	/* The processes of SVA take its place */
	if (!world->prog->sva)
		kthread_use_mm(world->mm);
	for (i = 0; i < world->steps; i++) {
		scoped_guard(rwsem_read, &world->sem)
			rnd_step(t);
		if (!t->index && !(i % RND_CHECK_STEPS)) {
			guard(rwsem_write)(&world->sem);
			smmu_model_check(world->model);
		}
		if (READ_ONCE(world->test->status) == KUNIT_FAILURE)
			break;
		cond_resched();
	}
	if (!world->prog->sva)
		kthread_unuse_mm(world->mm);
	return 0;
}

static void rnd_add_smmu(struct rnd_world *world, struct rnd_thread *t,
			 unsigned int i)
{
	struct arm_smmu_fake *fake = arm_smmu_fake_create(world->test, 8);
	struct arm_smmu_device *smmu = &fake->smmu;

	world->fakes[i] = fake;
	smmu->asid_bits = rnd(t, 2) ? 16 : 8;
	smmu->vmid_bits = rnd(t, 2) ? 16 : 8;
	if (rnd(t, 2))
		smmu->features |= ARM_SMMU_FEAT_RANGE_INV;
	if (rnd(t, 3) == 0)
		smmu->features |= ARM_SMMU_FEAT_E2H;
	if (world->prog->dirty)
		smmu->features |= ARM_SMMU_FEAT_HA | ARM_SMMU_FEAT_HD;
	if (world->prog->sva) {
		smmu->features |= ARM_SMMU_FEAT_SVA;
		smmu->asid_bits = 16;
	}
	smmu_model_add_smmu(world->model, fake);
}

static void rnd_add_dev(struct rnd_world *world, struct rnd_thread *t,
			unsigned int i)
{
	struct rnd_dev *dev = &world->devs[i];
	u32 sid = 1 + i / world->prog->smmus;
	unsigned int j;

	mutex_init(&dev->lock);
	dev->smmu = i % world->prog->smmus;
	dev->has_pasid = world->prog->sva || rnd(t, 2);
	dev->has_ats = rnd(t, 3) || world->prog->guests;
	if (dev->has_ats)
		dev->fm = arm_smmu_fake_add_pci_master(world->fakes[dev->smmu],
						       &sid, 1,
						       dev->has_pasid ?
						       RND_SSID_BITS : 0);
	else
		dev->fm = arm_smmu_fake_add_master(world->fakes[dev->smmu], sid,
						   dev->has_pasid ?
						   RND_SSID_BITS : 0);
	dev->mdev = smmu_model_add_dev(world->model, dev->fm);
	if (!dev->has_pasid)
		return;
	for (j = 0; j < RND_NUM_PASIDS; j++)
		smmu_model_track_ssid(dev->mdev, RND_PASID + j);
}

static void rnd_add_domain(struct rnd_world *world, unsigned int i)
{
	static const struct {
		u64 off;
		u64 size;
	} layout[RND_NUM_SLOTS] = {
		/* Neighbours in a table, in the next table, and in others */
		{ 0, SZ_4K },
		{ SZ_4K, SZ_4K },
		{ SZ_64K, SZ_64K },
		{ SZ_2M - SZ_4K, SZ_4K },
		{ SZ_2M, SZ_2M },
		{ SZ_1G - SZ_2M, SZ_2M },
		{ SZ_1G, SZ_1G },
	};
	struct rnd_domain *rd = &world->domains[i];
	unsigned int j;

	init_rwsem(&rd->sem);
	rd->s2 = i & 1;
	rd->flags = rd->s2 ? IOMMU_HWPT_ALLOC_NEST_PARENT :
		    world->prog->dirty ? IOMMU_HWPT_ALLOC_DIRTY_TRACKING :
					 IOMMU_HWPT_ALLOC_PASID;
	for (j = 0; j < RND_NUM_SLOTS; j++) {
		struct rnd_slot *slot = &rd->slots[j];

		mutex_init(&slot->lock);
		slot->iova = RND_IOVA + layout[j].off;
		slot->size = layout[j].size;
		if (i)
			continue;
		smmu_model_track(world->model, slot->iova);
		if (slot->size == SZ_4K)
			continue;
		smmu_model_track(world->model, slot->iova + 5 * SZ_4K);
		smmu_model_track(world->model, slot->iova + slot->size - SZ_4K);
	}
	rd->domain = rnd_alloc_domain(world, rd, 0);
	KUNIT_ASSERT_NOT_NULL(world->test, rd->domain);
}

static void rnd_add_guest(struct rnd_world *world, struct rnd_thread *t,
			  unsigned int i)
{
	struct rnd_guest *guest = &world->guests[i];
	struct kunit *test = world->test;
	u64 *tables[4];
	unsigned int j;

	mutex_init(&guest->lock);
	guest->fake = world->fakes[i];
	guest->parent = &world->domains[1];
	atomic_inc(&guest->parent->users);
	guest->ipa = RND_GUEST_IPA + i * SZ_2M;
	guest->vsmmu = kunit_kzalloc(test, sizeof(*guest->vsmmu), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, guest->vsmmu);

	/* The CD, and tables of three levels */
	for (j = 0; j < ARRAY_SIZE(tables); j++) {
		u64 pa = smmu_model_page(world->model, 0);

		tables[j] = phys_to_virt(pa);
		KUNIT_ASSERT_EQ(test, 0,
				iommu_map(guest->parent->domain,
					  guest->ipa + j * SZ_4K, pa, SZ_4K,
					  IOMMU_READ | IOMMU_WRITE,
					  GFP_KERNEL));
	}
	for (j = 0; j < RND_NUM_GSLOTS; j++) {
		guest->slots[j].va = RND_GUEST_VA + j * SZ_4K;
		guest->slots[j].ipa = guest->ipa + SZ_64K + j * SZ_4K;
		smmu_model_track(world->model, guest->slots[j].va);
	}
	tables[1][RND_GUEST_VA / SZ_1G] = (guest->ipa + 2 * SZ_4K) |
					  PMD_TYPE_TABLE;
	tables[2][0] = (guest->ipa + 3 * SZ_4K) | PMD_TYPE_TABLE;
	guest->ptes = tables[3];
	guest->cd = tables[0];
	guest->asid = 1;
	guest->cd[1] = guest->ipa + SZ_4K;
	guest->cd[3] = 0xff;
	guest->cd[0] = FIELD_PREP(CTXDESC_CD_0_TCR_T0SZ, 64 - 39) |
		       FIELD_PREP(CTXDESC_CD_0_TCR_IRGN0, 1) |
		       FIELD_PREP(CTXDESC_CD_0_TCR_ORGN0, 1) |
		       FIELD_PREP(CTXDESC_CD_0_TCR_SH0, 3) |
		       FIELD_PREP(CTXDESC_CD_0_TCR_IPS, 4) |
		       FIELD_PREP(CTXDESC_CD_0_ASID, guest->asid) |
		       CTXDESC_CD_0_TCR_EPD1 | CTXDESC_CD_0_AA64 |
		       CTXDESC_CD_0_R | CTXDESC_CD_0_A | CTXDESC_CD_0_ASET |
		       CTXDESC_CD_0_V;
	rnd_guest_start(t, guest);
}

/* Runs before the devices and the SMMUs of the test go */
static void rnd_end(void *data)
{
	struct rnd_thread *t = data;
	struct rnd_world *world = t->world;
	const struct rnd_program *prog = world->prog;
	unsigned int i, j;

	for (i = 0; i < prog->smmus; i++) {
		arm_smmu_fake_set_time(world->fakes[i], 0);
		arm_smmu_fake_start(world->fakes[i]);
	}
	for (i = 0; i < prog->devs; i++) {
		struct rnd_dev *dev = &world->devs[i];

		guard(mutex)(&dev->lock);
		for (j = 0; j < RND_NUM_MMS; j++)
			if (dev->bonds[j].handle)
				rnd_unbind(dev, j);
		for (j = 0; j < RND_NUM_PASIDS; j++)
			if (dev->pasids[j])
				rnd_detach_pasid(dev, j);
		rnd_attach(t, dev, RND_BLOCKED, NULL, NULL, 0);
	}
	for (i = 0; prog->guests && i < prog->smmus; i++)
		rnd_guest_stop(&world->guests[i]);
	for (i = 0; i < prog->domains; i++)
		if (world->domains[i].domain)
			rnd_free_domain(world, &world->domains[i]);
	for (i = 0; prog->sva && i < RND_NUM_MMS; i++)
		if (world->mms[i].mm)
			rnd_exit(t, &world->mms[i]);
	mmu_notifier_synchronize();
	smmu_model_check(world->model);
}

static void rnd_init_thread(struct rnd_thread *t, struct rnd_world *world,
			    u64 s, unsigned int i)
{
	struct kunit *test = world->test;

	t->world = world;
	t->index = i;
	prandom_seed_state(&t->rng, s + i);
	t->uaddr = kunit_vm_mmap(test, NULL, 0, PAGE_SIZE,
				 PROT_READ | PROT_WRITE,
				 MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_NE(test, t->uaddr, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR_VALUE(t->uaddr));
}

static void rnd_test(struct kunit *test)
{
	const struct rnd_program *prog = test->param_value;
	u64 s = seed ?: get_random_u32() | 1;
	struct smmu_model_stats stats;
	struct rnd_thread *threads, *main;
	unsigned int cpu, i;
	struct rnd_world *world;

	if (!IS_ENABLED(CONFIG_ARM_SMMU_V3_SVA) && prog->sva)
		kunit_skip(test, "needs CONFIG_ARM_SMMU_V3_SVA");
	world = kunit_kzalloc(test, sizeof(*world), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, world);
	threads = kunit_kcalloc(test, RND_MAX_THREADS + 1, sizeof(*threads),
				GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, threads);
	/* What is done before and after the threads run */
	main = &threads[prog->threads];

	kunit_info(test, "arm_smmu_v3_kunit.seed=%llu\n", s);
	world->test = test;
	world->prog = prog;
	world->steps = steps ?: prog->steps;
	init_rwsem(&world->sem);
	world->model = smmu_model_create(test, s);
	for (i = 0; i <= prog->threads; i++)
		rnd_init_thread(&threads[i], world, s, i);
	world->mm = current->mm;
	for (i = 0; i < prog->smmus; i++)
		rnd_add_smmu(world, main, i);
	for (i = 0; i < prog->devs; i++)
		rnd_add_dev(world, main, i);
	for (i = 0; i < prog->domains; i++)
		rnd_add_domain(world, i);
	for (i = 0; prog->guests && i < prog->smmus; i++)
		rnd_add_guest(world, main, i);
	for (i = 0; prog->sva && i < RND_NUM_MMS; i++) {
		mutex_init(&world->mms[i].lock);
		world->mms[i].mm = rnd_alloc_mm();
	}
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, rnd_end, main));

	cpu = cpumask_first(cpu_online_mask);
	if (prog->adversary)
		smmu_model_adversary_start(world->model,
					   cpumask_last(cpu_online_mask));
	for (i = 0; i < prog->threads; i++) {
		threads[i].task = arm_smmu_fake_create_task(test,
							    rnd_thread_run,
							    &threads[i], cpu);
		cpu = cpumask_next_wrap(cpu, cpu_online_mask);
	}
	for (i = 0; i < prog->threads; i++)
		wake_up_process(threads[i].task);
	for (i = 0; i < prog->threads; i++)
		arm_smmu_fake_join_task(test, threads[i].task);
	smmu_model_check(world->model);

	stats = smmu_model_get_stats(world->model);
	kunit_info(test,
		   "%u steps of %u threads, %llu DMAs, %llu fills, %llu hits, %llu commands\n",
		   world->steps, prog->threads, stats.dmas, stats.fills,
		   stats.hits, stats.cmds);
	KUNIT_EXPECT_GT(test, stats.fills, world->steps);
	KUNIT_EXPECT_GT(test, stats.hits, 0);
	KUNIT_EXPECT_GT(test, stats.dmas, 0);
}

static const struct rnd_program rnd_programs[] = {
	{
		.name = "one SMMU, one thread", .steps = 1500,
		.smmus = 1, .devs = 3, .threads = 1, .domains = 4,
	},
	{
		.name = "four SMMUs, three threads", .steps = 60,
		.smmus = 4, .devs = 8, .threads = 3, .domains = 4,
		.adversary = true,
	},
	{
		.name = "eight SMMUs, two threads", .steps = 100,
		.smmus = 8, .devs = 12, .threads = 2, .domains = 3,
	},
	{
		.name = "guests", .steps = 700,
		.smmus = 2, .devs = 4, .threads = 2, .domains = 2,
		.guests = true,
	},
	{
		.name = "processes", .steps = 500,
		.smmus = 2, .devs = 4, .threads = 2, .domains = 2,
		.sva = true,
	},
	{
		.name = "dirty tracking", .steps = 600,
		.smmus = 2, .devs = 4, .threads = 2, .domains = 3,
		.dirty = true,
	},
};

static void rnd_desc(const struct rnd_program *prog, char *desc)
{
	strscpy(desc, prog->name, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(rnd_programs, rnd_programs, rnd_desc);

static struct kunit_case arm_smmu_v3_random_test_cases[] = {
	KUNIT_CASE_PARAM_ATTR(rnd_test, rnd_programs_gen_params,
			      { .speed = KUNIT_SPEED_SLOW }),
	{}
};

static struct kunit_suite arm_smmu_v3_random_test_suite = {
	.name = "arm-smmu-v3-random",
	.test_cases = arm_smmu_v3_random_test_cases,
};

kunit_test_suites(&arm_smmu_v3_random_test_suite);

MODULE_IMPORT_NS("IOMMUFD");
