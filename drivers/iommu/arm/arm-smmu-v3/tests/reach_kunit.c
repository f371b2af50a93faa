// SPDX-License-Identifier: GPL-2.0
/*
 * Named cases on the model of an SMMU: what a device may not reach any more,
 * and what it must not lose, after each operation of the driver
 */
#include <linux/iova_bitmap.h>
#include <linux/kthread.h>
#include <linux/mman.h>
#include <linux/mmu_context.h>
#include <linux/mmu_notifier.h>
#include <linux/sched/mm.h>
#include <linux/uaccess.h>
#include <uapi/linux/iommufd.h>

#include "../../../iommu-priv.h"
#include "../../../iommufd/iommufd_private.h"

#include "model.h"

#define CASE_IOVA	(3ULL << 40)
#define CASE_PASID	3
#define CASE_SSID_BITS	4
#define CASE_VSID	0x70
#define CASE_GUEST_VA	SZ_64G
#define CASE_GUEST_IPA	(5ULL << 40)

/**
 * struct case_offer - What an SMMU and its device offer
 * @name: for the name of the case
 * @features: of the SMMU, apart from those of each fake
 * @ats: whether the device has ATS
 */
struct case_offer {
	const char *name;
	u32 features;
	bool ats;
};

static const struct case_offer case_offers[] = {
	{ "plain", 0, false },
	{ "ranges", ARM_SMMU_FEAT_RANGE_INV, false },
	{ "EL2, ranges", ARM_SMMU_FEAT_RANGE_INV | ARM_SMMU_FEAT_E2H, false },
	{ "ATS", 0, true },
	{ "ATS, EL2", ARM_SMMU_FEAT_E2H, true },
	{ "ATS, ranges", ARM_SMMU_FEAT_RANGE_INV, true },
};

static void case_offer_desc(const struct case_offer *offer, char *desc)
{
	strscpy(desc, offer->name, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(case_offers, case_offers, case_offer_desc);

struct case_dev {
	struct arm_smmu_fake *fake;
	struct arm_smmu_fake_master *fm;
	struct smmu_model_dev *mdev;
};

static void case_add_smmu(struct smmu_model *model, struct kunit *test,
			  const struct case_offer *offer,
			  struct arm_smmu_fake **fake)
{
	*fake = arm_smmu_fake_create(test, 8);
	(*fake)->smmu.features |= offer->features;
	(*fake)->smmu.asid_bits = 8;
	(*fake)->smmu.vmid_bits = 8;
	smmu_model_add_smmu(model, *fake);
}

static void case_add_dev(struct smmu_model *model, struct arm_smmu_fake *fake,
			 const struct case_offer *offer, u32 sid,
			 struct case_dev *dev)
{
	dev->fake = fake;
	if (offer->ats)
		dev->fm = arm_smmu_fake_add_pci_master(fake, &sid, 1,
						       CASE_SSID_BITS);
	else
		dev->fm = arm_smmu_fake_add_master(fake, sid, CASE_SSID_BITS);
	dev->mdev = smmu_model_add_dev(model, dev->fm);
}

static struct smmu_model *case_create(struct kunit *test,
				      const struct case_offer *offer,
				      struct case_dev *dev)
{
	struct smmu_model *model = smmu_model_create(test, 1);
	struct arm_smmu_fake *fake;

	case_add_smmu(model, test, offer, &fake);
	case_add_dev(model, fake, offer, 1, dev);
	return model;
}

static void case_attach(struct kunit *test, struct case_dev *dev,
			struct iommu_domain *domain)
{
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(dev->fm, domain));
}

static u64 case_map(struct kunit *test, struct smmu_model *model,
		    struct iommu_domain *domain, u64 iova, u64 size,
		    bool pages)
{
	u64 num = roundup_pow_of_two(size);
	u64 pa = pages ? smmu_model_pa(model, 2 * num) + SZ_4K :
			 smmu_model_pa(model, num);

	KUNIT_ASSERT_EQ(test, 0,
			iommu_map(domain, iova, pa, size,
				  IOMMU_READ | IOMMU_WRITE, GFP_KERNEL));
	smmu_model_track(model, iova);
	smmu_model_track(model, iova + size - SZ_4K);
	return pa;
}

static void case_unmap(struct kunit *test, struct smmu_model *model,
		       struct iommu_domain *domain, u64 iova, u64 pa, u64 size)
{
	KUNIT_ASSERT_EQ(test, size, iommu_unmap(domain, iova, size));
	smmu_model_retire(model, pa, size);
}

static void case_dma(struct kunit *test, struct case_dev *dev, u32 ssid,
		     u64 addr, unsigned int flags, u64 pa)
{
	u64 got = 0;
	int ret = smmu_model_dma(dev->mdev, ssid, addr,
				 flags | SMMU_MODEL_QUIET, &got);

	KUNIT_EXPECT_EQ_MSG(test, ret, pa ? 0 : -EFAULT, "address %#llx", addr);
	if (!ret && pa)
		KUNIT_EXPECT_EQ(test, got, pa);
}

/* Pages, blocks and tables of a domain, with and without their neighbours */
static void case_unmap_sizes(struct kunit *test)
{
	const struct case_offer *offer = test->param_value;
	static const struct {
		u64 off;
		u64 size;
		bool pages;
	} maps[] = {
		{ 0, SZ_4K, false },
		{ SZ_64K, SZ_64K, false },
		{ SZ_2M - SZ_4K, SZ_8K, true },
		{ SZ_4M, SZ_2M, false },
		{ SZ_4M, SZ_2M, true },
		{ SZ_8M, SZ_4M, true },
		{ SZ_16M, 3 * SZ_2M, false },
		{ SZ_1G, SZ_1G, false },
	};
	static const u32 flags[] = {
		IOMMU_HWPT_ALLOC_PASID, IOMMU_HWPT_ALLOC_NEST_PARENT,
	};
	struct iommu_domain *domain;
	struct smmu_model *model;
	struct case_dev dev;
	unsigned int i, j;
	u64 pa, next;

	model = case_create(test, offer, &dev);
	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		domain = arm_smmu_fake_alloc_domain(dev.fm, flags[i]);
		case_attach(test, &dev, domain);
		next = case_map(test, model, domain, CASE_IOVA + SZ_4K, SZ_4K,
				false);
		for (j = 0; j < ARRAY_SIZE(maps); j++) {
			u64 iova = CASE_IOVA + maps[j].off;

			pa = case_map(test, model, domain, iova, maps[j].size,
				      maps[j].pages);
			smmu_model_fill(model);
			case_dma(test, &dev, SMMU_MODEL_NO_SSID, iova,
				 SMMU_MODEL_WRITE, pa);
			case_unmap(test, model, domain, iova, pa,
				   maps[j].size);
			case_dma(test, &dev, SMMU_MODEL_NO_SSID, iova,
				 SMMU_MODEL_CACHED, 0);
			smmu_model_check(model);
		}
		case_dma(test, &dev, SMMU_MODEL_NO_SSID, CASE_IOVA + SZ_4K,
			 SMMU_MODEL_CACHED, next);
	}
}

/* A block takes the place of a table that is empty */
static void case_block_for_table(struct kunit *test)
{
	const struct case_offer *offer = test->param_value;
	struct iommu_domain *domain;
	struct smmu_model *model;
	struct case_dev dev;
	unsigned int i;
	u64 pa;

	model = case_create(test, offer, &dev);
	domain = arm_smmu_fake_alloc_domain(dev.fm, IOMMU_HWPT_ALLOC_PASID);
	case_attach(test, &dev, domain);
	for (i = 0; i < 4; i++) {
		u64 iova = CASE_IOVA + i * SZ_2M;

		pa = case_map(test, model, domain, iova, SZ_4K, false);
		smmu_model_fill(model);
		case_unmap(test, model, domain, iova, pa, SZ_4K);
		smmu_model_fill(model);
		pa = case_map(test, model, domain, iova, SZ_2M, false);
		case_dma(test, &dev, SMMU_MODEL_NO_SSID, iova + SZ_1M,
			 SMMU_MODEL_CACHED, pa + SZ_1M);
		smmu_model_check(model);
	}
}

/* Every NUM and SCALE that ranges of some hundred pages need */
static void case_ranges(struct kunit *test)
{
	static const unsigned int nums[] = {
		1, 2, 3, 5, 31, 32, 33, 63, 64, 65, 127, 255, 511, 513, 1023,
		1025, 2049,
	};
	const struct case_offer *offer = test->param_value;
	u64 iova, pa, next, size;
	struct iommu_domain *domain;
	struct smmu_model *model;
	struct case_dev dev;
	unsigned int i, j;

	model = case_create(test, offer, &dev);
	domain = arm_smmu_fake_alloc_domain(dev.fm, IOMMU_HWPT_ALLOC_PASID);
	case_attach(test, &dev, domain);
	for (i = 0; i < ARRAY_SIZE(nums); i++) {
		iova = CASE_IOVA + i * SZ_32M + SZ_4K;
		size = nums[i] * (u64)SZ_4K;
		pa = case_map(test, model, domain, iova, size, true);
		next = case_map(test, model, domain, iova + size, SZ_4K, false);
		for (j = 1; j < nums[i]; j *= 2)
			smmu_model_track(model, iova + size - j * SZ_4K);
		smmu_model_fill(model);
		case_unmap(test, model, domain, iova, pa, size);
		case_dma(test, &dev, SMMU_MODEL_NO_SSID, iova + size,
			 SMMU_MODEL_CACHED, next);
		for (j = 1; j < nums[i]; j *= 2)
			smmu_model_untrack(model, iova + size - j * SZ_4K);
		smmu_model_untrack(model, iova);
	}
	smmu_model_check(model);
}

/* One invalidation of 2^44 bytes, of which the first and last pages are used */
static void case_huge_range(struct kunit *test)
{
	struct iommu_iotlb_gather gather = { .queued = true };
	const struct case_offer *offer = &case_offers[1];
	const u64 size = 1ULL << 44, last = size - SZ_4K;
	struct iommu_domain *domain;
	struct smmu_model *model;
	struct case_dev dev;
	u64 pa[2];

	model = case_create(test, offer, &dev);
	domain = arm_smmu_fake_alloc_domain(dev.fm, IOMMU_HWPT_ALLOC_PASID);
	case_attach(test, &dev, domain);
	pa[0] = case_map(test, model, domain, size, SZ_4K, false);
	pa[1] = case_map(test, model, domain, size + last, SZ_4K, false);
	smmu_model_fill(model);
	KUNIT_ASSERT_EQ(test, SZ_4K,
			iommu_unmap_fast(domain, size, SZ_4K, &gather));
	KUNIT_ASSERT_EQ(test, SZ_4K,
			iommu_unmap_fast(domain, size + last, SZ_4K, &gather));
	arm_smmu_domain_inv_range(to_smmu_domain(domain), size, size, SZ_4K,
				  true);
	smmu_model_retire(model, pa[0], SZ_4K);
	smmu_model_retire(model, pa[1], SZ_4K);
}

/* A device moves between domains and leaves: nothing of the old one stays */
static void case_move(struct kunit *test)
{
	const struct case_offer *offer = test->param_value;
	struct iommu_domain *domains[4];
	struct smmu_model *model;
	struct case_dev dev;
	unsigned int i, round;
	u64 pas[4];

	model = case_create(test, offer, &dev);
	for (i = 0; i < 4; i++) {
		domains[i] =
			arm_smmu_fake_alloc_domain(dev.fm,
						   i & 1 ?
						   IOMMU_HWPT_ALLOC_NEST_PARENT :
						   IOMMU_HWPT_ALLOC_PASID);
		pas[i] = case_map(test, model, domains[i],
				  CASE_IOVA + i * SZ_4K, SZ_4K, false);
	}
	for (round = 0; round < 16; round++) {
		/* All pairs of domains, some of them by way of no domain */
		i = (round + round / 4) % 4;
		case_attach(test, &dev, domains[i]);
		smmu_model_left(dev.mdev, SMMU_MODEL_NO_SSID);
		smmu_model_fill(model);
		case_dma(test, &dev, SMMU_MODEL_NO_SSID,
			 CASE_IOVA + i * SZ_4K, SMMU_MODEL_CACHED, pas[i]);
		case_dma(test, &dev, SMMU_MODEL_NO_SSID,
			 CASE_IOVA + (i ^ 1) * SZ_4K, SMMU_MODEL_CACHED, 0);
		smmu_model_check(model);
		if (round % 3)
			continue;
		if (round & 1)
			case_attach(test, &dev, arm_smmu_fake_blocked(dev.fm));
		else
			case_attach(test, &dev, arm_smmu_fake_identity(dev.fm));
		smmu_model_left(dev.mdev, SMMU_MODEL_NO_SSID);
		smmu_model_check(model);
	}
	case_attach(test, &dev, arm_smmu_fake_blocked(dev.fm));
	smmu_model_left(dev.mdev, SMMU_MODEL_NO_SSID);
	for (i = 0; i < 4; i++)
		smmu_model_retire(model, pas[i], SZ_4K);
}

/* Two PASIDs and none, on three domains of one device */
static void case_pasids(struct kunit *test)
{
	const struct case_offer *offer = test->param_value;
	struct iommu_attach_handle handles[4] = {};
	struct iommu_domain *domains[3];
	struct smmu_model *model;
	struct case_dev dev;
	unsigned int i, round;
	u64 pas[3];

	model = case_create(test, offer, &dev);
	for (i = 0; i < 3; i++) {
		domains[i] = arm_smmu_fake_alloc_domain(dev.fm,
							IOMMU_HWPT_ALLOC_PASID);
		smmu_model_track_ssid(dev.mdev, CASE_PASID + i);
	}
	case_attach(test, &dev, domains[2]);
	for (i = 0; i < 2; i++)
		KUNIT_ASSERT_EQ(test, 0,
				iommu_attach_device_pasid(domains[i],
							  dev.fm->dev,
							  CASE_PASID + i,
							  &handles[i]));
	for (round = 0; round < 4; round++) {
		for (i = 0; i < 3; i++)
			pas[i] = case_map(test, model, domains[i], CASE_IOVA,
					  SZ_4K, false);
		smmu_model_fill(model);
		for (i = 0; i < 3; i++) {
			u32 ssid = i < 2 ? CASE_PASID + i : SMMU_MODEL_NO_SSID;

			case_dma(test, &dev, ssid, CASE_IOVA,
				 SMMU_MODEL_CACHED, pas[i]);
			case_unmap(test, model, domains[i], CASE_IOVA, pas[i],
				   SZ_4K);
			case_dma(test, &dev, ssid, CASE_IOVA,
				 SMMU_MODEL_CACHED, 0);
		}
		smmu_model_check(model);
	}

	for (i = 0; i < 3; i++)
		pas[i] = case_map(test, model, domains[i], CASE_IOVA, SZ_4K,
				  false);
	smmu_model_fill(model);
	KUNIT_ASSERT_EQ(test, 0,
			iommu_replace_device_pasid(domains[2], dev.fm->dev,
						   CASE_PASID, &handles[2]));
	smmu_model_left(dev.mdev, CASE_PASID);
	smmu_model_retire(model, pas[0], SZ_4K);
	case_dma(test, &dev, CASE_PASID, CASE_IOVA, SMMU_MODEL_CACHED, pas[2]);
	smmu_model_fill(model);
	for (i = 0; i < 2; i++) {
		iommu_detach_device_pasid(domains[i ? 1 : 2], dev.fm->dev,
					  CASE_PASID + i);
		smmu_model_left(dev.mdev, CASE_PASID + i);
		case_dma(test, &dev, CASE_PASID + i, CASE_IOVA,
			 SMMU_MODEL_CACHED, 0);
	}
	smmu_model_retire(model, pas[1], SZ_4K);
	case_dma(test, &dev, SMMU_MODEL_NO_SSID, CASE_IOVA, 0, pas[2]);
	smmu_model_check(model);
}

/* A domain of devices behind SMMUs that differ in all that does not matter */
static void case_many_smmus(struct kunit *test)
{
	struct case_dev devs[ARRAY_SIZE(case_offers)];
	struct smmu_model *model = smmu_model_create(test, 2);
	struct iommu_domain *domain;
	struct arm_smmu_fake *fake;
	unsigned int i, round;
	u64 pa;

	for (i = 0; i < ARRAY_SIZE(case_offers); i++) {
		case_add_smmu(model, test, &case_offers[i], &fake);
		case_add_dev(model, fake, &case_offers[i], 1, &devs[i]);
	}
	domain = arm_smmu_fake_alloc_domain(devs[0].fm, 0);
	for (i = 0; i < ARRAY_SIZE(devs); i++)
		case_attach(test, &devs[i], domain);
	for (round = 0; round < 8; round++) {
		u64 size = round & 1 ? SZ_2M : SZ_4K;

		pa = case_map(test, model, domain, CASE_IOVA, size, round & 2);
		smmu_model_fill(model);
		for (i = 0; i < ARRAY_SIZE(devs); i++)
			case_dma(test, &devs[i], SMMU_MODEL_NO_SSID, CASE_IOVA,
				 SMMU_MODEL_CACHED, pa);
		case_unmap(test, model, domain, CASE_IOVA, pa, size);
		smmu_model_check(model);
		/* One leaves, and comes back with an ID that others had */
		i = round % ARRAY_SIZE(devs);
		case_attach(test, &devs[i], arm_smmu_fake_blocked(devs[i].fm));
		smmu_model_left(devs[i].mdev, SMMU_MODEL_NO_SSID);
		smmu_model_check(model);
		case_attach(test, &devs[i], domain);
	}
}

/* The only page that a device writes to, twice; its dirty state is read twice */
static void case_dirty(struct kunit *test)
{
	static const struct case_offer offer = {
		"HTTU", ARM_SMMU_FEAT_HA | ARM_SMMU_FEAT_HD |
			ARM_SMMU_FEAT_RANGE_INV,
	};
	static const u64 sizes[] = { SZ_4K, SZ_64K, SZ_2M };
	const struct iommu_dirty_ops *ops;
	struct iommu_iotlb_gather gather;
	struct iommu_dirty_bitmap dirty;
	struct iommu_domain *domain;
	struct iova_bitmap *bitmap;
	struct smmu_model *model;
	unsigned int i, round;
	unsigned long uaddr;
	struct case_dev dev;
	u64 iova, pa;
	int ret;
	u8 bits;

	uaddr = kunit_vm_mmap(test, NULL, 0, PAGE_SIZE, PROT_READ | PROT_WRITE,
			      MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_FALSE(test, !uaddr || IS_ERR_VALUE(uaddr));
	model = case_create(test, &offer, &dev);
	domain = arm_smmu_fake_alloc_domain(dev.fm,
					    IOMMU_HWPT_ALLOC_DIRTY_TRACKING);
	case_attach(test, &dev, domain);
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		iova = CASE_IOVA + i * SZ_2M;
		pa = case_map(test, model, domain, iova, sizes[i], false);
		for (round = 0; round < 3; round++) {
			case_dma(test, &dev, SMMU_MODEL_NO_SSID, iova,
				 SMMU_MODEL_WRITE | SMMU_MODEL_CACHED, pa);
			KUNIT_ASSERT_EQ(test, 0,
					clear_user((void __user *)uaddr,
						   PAGE_SIZE));
			bitmap = iova_bitmap_alloc(iova, sizes[i], SZ_4K,
						   (u64 __user *)uaddr);
			KUNIT_ASSERT_FALSE(test, IS_ERR(bitmap));
			iommu_dirty_bitmap_init(&dirty, bitmap, &gather);
			ops = domain->dirty_ops;
			ret = ops->read_and_clear_dirty(domain, iova, sizes[i],
							0, &dirty);
			KUNIT_ASSERT_EQ(test, 0, ret);
			iommu_iotlb_sync(domain, &gather);
			iova_bitmap_free(bitmap);
			KUNIT_ASSERT_EQ(test, 0,
					get_user(bits, (u8 __user *)uaddr));
			KUNIT_EXPECT_TRUE_MSG(test, bits & 1,
					      "size %#llx, round %u", sizes[i],
					      round);
			smmu_model_check(model);
		}
	}
}

/* A guest with a table of three levels, of which the last has @ptes */
struct case_guest {
	struct arm_vsmmu *vsmmu;
	struct iommu_domain *parent;
	struct iommu_domain *nested;
	struct iommufd_device idev;
	struct iommufd_vdevice vdev;
	unsigned long uaddr;
	u64 ipa;
	u64 *ptes;
};

static void case_make_guest(struct kunit *test, struct smmu_model *model,
			    struct case_guest *guest, struct case_dev *dev,
			    struct iommu_domain *parent, unsigned int index,
			    u64 eats)
{
	struct iommu_hwpt_arm_smmuv3 arg = {
		.ste[1] = cpu_to_le64(FIELD_PREP(STRTAB_STE_1_EATS, eats)),
	};
	struct iommu_user_data data = {
		.type = IOMMU_HWPT_DATA_ARM_SMMUV3,
		.len = sizeof(arg),
	};
	u64 *tables[4], pa;
	unsigned int i;

	guest->parent = parent;
	guest->ipa = CASE_GUEST_IPA + index * SZ_2M;
	guest->vsmmu = arm_smmu_fake_alloc_vsmmu(dev->fake, parent);
	guest->idev.dev = dev->fm->dev;
	guest->vdev.idev = &guest->idev;
	guest->vdev.virt_id = CASE_VSID;
	KUNIT_ASSERT_FALSE(test,
			   xa_is_err(xa_store(&guest->vsmmu->core.vdevs,
					      CASE_VSID, &guest->vdev,
					      GFP_KERNEL)));
	for (i = 0; i < ARRAY_SIZE(tables); i++) {
		pa = smmu_model_page(model, 0);
		tables[i] = phys_to_virt(pa);
		KUNIT_ASSERT_EQ(test, 0,
				iommu_map(parent, guest->ipa + i * SZ_4K, pa,
					  SZ_4K, IOMMU_READ | IOMMU_WRITE,
					  GFP_KERNEL));
	}
	guest->ptes = tables[3];
	tables[1][CASE_GUEST_VA / SZ_1G] = (guest->ipa + 2 * SZ_4K) |
					   PMD_TYPE_TABLE;
	tables[2][0] = (guest->ipa + 3 * SZ_4K) | PMD_TYPE_TABLE;
	tables[0][1] = guest->ipa + SZ_4K;
	tables[0][3] = 0xff;
	/* All guests have the same ASID */
	tables[0][0] = FIELD_PREP(CTXDESC_CD_0_TCR_T0SZ, 64 - 39) |
		       FIELD_PREP(CTXDESC_CD_0_TCR_IRGN0, 1) |
		       FIELD_PREP(CTXDESC_CD_0_TCR_ORGN0, 1) |
		       FIELD_PREP(CTXDESC_CD_0_TCR_SH0, 3) |
		       FIELD_PREP(CTXDESC_CD_0_TCR_IPS, 4) |
		       FIELD_PREP(CTXDESC_CD_0_ASID, 1) |
		       CTXDESC_CD_0_TCR_EPD1 | CTXDESC_CD_0_AA64 |
		       CTXDESC_CD_0_R | CTXDESC_CD_0_A | CTXDESC_CD_0_ASET |
		       CTXDESC_CD_0_V;

	guest->uaddr = kunit_vm_mmap(test, NULL, 0, PAGE_SIZE,
				     PROT_READ | PROT_WRITE,
				     MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_FALSE(test, !guest->uaddr || IS_ERR_VALUE(guest->uaddr));
	data.uptr = (void __user *)guest->uaddr;
	arg.ste[0] = cpu_to_le64(STRTAB_STE_0_V |
				 FIELD_PREP(STRTAB_STE_0_CFG,
					    STRTAB_STE_0_CFG_S1_TRANS) |
				 guest->ipa);
	KUNIT_ASSERT_EQ(test, 0, copy_to_user(data.uptr, &arg, sizeof(arg)));
	guest->nested =
		guest->vsmmu->core.ops->alloc_domain_nested(&guest->vsmmu->core,
							    0, &data);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, guest->nested);
	arm_smmu_fake_own_domain(dev->fm, guest->nested);
}

static void case_guest_issue(struct kunit *test, struct case_guest *guest,
			     u64 cmd0, u64 cmd1)
{
	struct iommu_user_data_array array = {
		.type = IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3,
		.uptr = (void __user *)guest->uaddr,
		.entry_len = sizeof(struct arm_smmu_cmd),
		.entry_num = 1,
	};
	struct arm_smmu_cmd cmd = { .data = { cmd0, cmd1 } };

	KUNIT_ASSERT_EQ(test, 0, copy_to_user(array.uptr, &cmd, sizeof(cmd)));
	KUNIT_EXPECT_EQ(test, 0,
			arm_vsmmu_cache_invalidate(&guest->vsmmu->core,
						   &array));
}

/* Page @i of the guest. Return: the address that it has in the end */
static u64 case_guest_map(struct kunit *test, struct smmu_model *model,
			  struct case_guest *guest, unsigned int i)
{
	u64 ipa = guest->ipa + SZ_64K + i * SZ_4K;
	u64 pa = smmu_model_pa(model, SZ_4K);

	KUNIT_ASSERT_EQ(test, 0,
			iommu_map(guest->parent, ipa, pa, SZ_4K,
				  IOMMU_READ | IOMMU_WRITE, GFP_KERNEL));
	/* Pairs with the walk of the model, orders the table before its user */
	smp_store_release(&guest->ptes[i], ipa | PTE_TYPE_PAGE | PTE_USER |
			  PTE_AF | PTE_NG | PTE_SHARED);
	smmu_model_track(model, CASE_GUEST_VA + i * SZ_4K);
	return pa;
}

static void case_guest_unmap_ipa(struct kunit *test, struct smmu_model *model,
				 struct case_guest *guest, unsigned int i,
				 u64 pa)
{
	case_unmap(test, model, guest->parent, guest->ipa + SZ_64K + i * SZ_4K,
		   pa, SZ_4K);
}

static const struct case_offer case_nest_offers[] = {
	{ "plain", 0, true },
	{ "ranges", ARM_SMMU_FEAT_RANGE_INV, true },
	{ "EL2, ranges", ARM_SMMU_FEAT_RANGE_INV | ARM_SMMU_FEAT_E2H, true },
};

KUNIT_ARRAY_PARAM(case_nest_offers, case_nest_offers, case_offer_desc);

/* Two guests on one parent, with the same ASID and the same addresses */
static void case_nested(struct kunit *test)
{
	const struct case_offer *offer = test->param_value;
	struct case_guest *guests;
	struct case_dev devs[3];
	struct iommu_domain *parent;
	struct smmu_model *model;
	unsigned int g, i;
	u64 pas[2][4], naked;

	guests = kunit_kcalloc(test, 2, sizeof(*guests), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, guests);
	model = case_create(test, offer, &devs[0]);
	case_add_dev(model, devs[0].fake, offer, 2, &devs[1]);
	case_add_dev(model, devs[0].fake, offer, 3, &devs[2]);
	parent = arm_smmu_fake_alloc_domain(devs[0].fm,
					    IOMMU_HWPT_ALLOC_NEST_PARENT);
	case_attach(test, &devs[2], parent);
	naked = case_map(test, model, parent, CASE_IOVA, SZ_4K, false);
	for (g = 0; g < 2; g++) {
		case_make_guest(test, model, &guests[g], &devs[g], parent, g,
				STRTAB_STE_1_EATS_TRANS);
		case_attach(test, &devs[g], guests[g].nested);
		smmu_model_left(devs[g].mdev, SMMU_MODEL_NO_SSID);
		for (i = 0; i < 4; i++)
			pas[g][i] = case_guest_map(test, model, &guests[g], i);
	}

	for (g = 0; g < 2; g++) {
		for (i = 0; i < 4; i++) {
			u64 va = CASE_GUEST_VA + i * SZ_4K;

			smmu_model_fill(model);
			case_dma(test, &devs[g], SMMU_MODEL_NO_SSID, va,
				 SMMU_MODEL_CACHED, pas[g][i]);
			if (i & 1) {
				/* The host takes a page that the guest has */
				case_guest_unmap_ipa(test, model, &guests[g], i,
						     pas[g][i]);
				case_dma(test, &devs[g], SMMU_MODEL_NO_SSID, va,
					 SMMU_MODEL_CACHED, 0);
				WRITE_ONCE(guests[g].ptes[i], 0);
			} else {
				WRITE_ONCE(guests[g].ptes[i], 0);
			}
			switch (i) {
			case 0:
				case_guest_issue(test, &guests[g],
						 CMDQ_OP_TLBI_NH_VA |
						 FIELD_PREP(CMDQ_TLBI_0_ASID, 1),
						 va | CMDQ_TLBI_1_LEAF);
				break;
			case 1:
				case_guest_issue(test, &guests[g],
						 CMDQ_OP_TLBI_NH_VAA, va);
				break;
			case 2:
				case_guest_issue(test, &guests[g],
						 CMDQ_OP_TLBI_NH_ASID |
						 FIELD_PREP(CMDQ_TLBI_0_ASID, 1),
						 0);
				break;
			default:
				case_guest_issue(test, &guests[g],
						 CMDQ_OP_TLBI_NSNH_ALL, 0);
				break;
			}
			case_guest_issue(test, &guests[g], CMDQ_OP_ATC_INV |
					 FIELD_PREP(CMDQ_ATC_0_SID, CASE_VSID),
					 va);
			case_dma(test, &devs[g], SMMU_MODEL_NO_SSID, va,
				 SMMU_MODEL_CACHED, 0);
			smmu_model_check(model);
		}
	}
	case_dma(test, &devs[2], SMMU_MODEL_NO_SSID, CASE_IOVA, 0, naked);
	case_unmap(test, model, parent, CASE_IOVA, naked, SZ_4K);
	for (g = 0; g < 2; g++) {
		case_attach(test, &devs[g],
			    arm_smmu_fake_blocked(devs[g].fm));
		smmu_model_left(devs[g].mdev, SMMU_MODEL_NO_SSID);
		smmu_model_check(model);
	}
}

/* A guest changes its CD and tells so */
static void case_guest_cd(struct kunit *test)
{
	const struct case_offer *offer = test->param_value;
	struct iommu_domain *parent;
	struct case_guest *guest;
	struct smmu_model *model;
	struct case_dev dev;
	u64 *cd, pa;

	guest = kunit_kzalloc(test, sizeof(*guest), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, guest);
	model = case_create(test, offer, &dev);
	parent = arm_smmu_fake_alloc_domain(dev.fm,
					    IOMMU_HWPT_ALLOC_NEST_PARENT);
	case_make_guest(test, model, guest, &dev, parent, 0,
			STRTAB_STE_1_EATS_ABT);
	case_attach(test, &dev, guest->nested);
	pa = case_guest_map(test, model, guest, 0);
	smmu_model_fill(model);
	case_dma(test, &dev, SMMU_MODEL_NO_SSID, CASE_GUEST_VA, 0, pa);
	cd = phys_to_virt(iommu_iova_to_phys(parent, guest->ipa));
	WRITE_ONCE(cd[0], cd[0] | CTXDESC_CD_0_TCR_EPD0);
	case_guest_issue(test, guest, CMDQ_OP_CFGI_CD |
			 FIELD_PREP(CMDQ_CFGI_0_SID, CASE_VSID),
			 CMDQ_CFGI_1_LEAF);
	case_guest_issue(test, guest, CMDQ_OP_TLBI_NH_ASID |
			 FIELD_PREP(CMDQ_TLBI_0_ASID, 1), 0);
	case_dma(test, &dev, SMMU_MODEL_NO_SSID, CASE_GUEST_VA,
		 SMMU_MODEL_CACHED, 0);
	smmu_model_check(model);
}

/* A guest sends ATC_INV to a device whose ATS is off */
static void case_guest_atc_inv(struct kunit *test)
{
	const struct case_offer *offer = &case_nest_offers[0];
	struct iommu_domain *parent;
	struct case_guest *guest;
	struct smmu_model *model;
	struct case_dev dev;
	unsigned int num;

	guest = kunit_kzalloc(test, sizeof(*guest), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, guest);
	model = case_create(test, offer, &dev);
	parent = arm_smmu_fake_alloc_domain(dev.fm,
					    IOMMU_HWPT_ALLOC_NEST_PARENT);
	case_make_guest(test, model, guest, &dev, parent, 0,
			STRTAB_STE_1_EATS_ABT);
	case_attach(test, &dev, guest->nested);
	/* The driver sends one itself after it has turned ATS off */
	num = smmu_model_faults(model, SMMU_MODEL_ATC_INV);
	case_guest_issue(test, guest, CMDQ_OP_ATC_INV |
			 FIELD_PREP(CMDQ_ATC_0_SID, CASE_VSID),
			 FIELD_PREP(CMDQ_ATC_1_SIZE, ATC_INV_SIZE_ALL));
	KUNIT_EXPECT_EQ(test, num,
			smmu_model_faults(model, SMMU_MODEL_ATC_INV));
}

struct case_dma_task {
	struct case_dev *dev;
	unsigned long num;
	unsigned long failed;
	bool stop;
};

static int case_dma_task_run(void *data)
{
	struct case_dma_task *task = data;
	u64 pa;

	while (!READ_ONCE(task->stop)) {
		task->num++;
		if (smmu_model_dma(task->dev->mdev, SMMU_MODEL_NO_SSID,
				   CASE_GUEST_VA, SMMU_MODEL_QUIET, &pa))
			task->failed++;
		cond_resched();
	}
	return 0;
}

/* DMA goes on while a device changes between a parent and what is nested on it */
static void case_hitless(struct kunit *test)
{
	static const struct case_offer offer = { "plain" };
	struct case_dma_task *task;
	struct task_struct *kthread;
	struct iommu_domain *parent;
	struct case_guest *guest;
	struct smmu_model *model;
	struct case_dev dev;
	unsigned int i;

	guest = kunit_kzalloc(test, sizeof(*guest), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, guest);
	task = kunit_kzalloc(test, sizeof(*task), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, task);
	if (num_online_cpus() < 2)
		kunit_skip(test, "needs two CPUs");
	model = case_create(test, &offer, &dev);
	dev.fm->dev->iommu->fwspec->flags |= IOMMU_FWSPEC_PCI_RC_CANWBS;
	parent = arm_smmu_fake_alloc_domain(dev.fm,
					    IOMMU_HWPT_ALLOC_NEST_PARENT);
	case_make_guest(test, model, guest, &dev, parent, 0,
			STRTAB_STE_1_EATS_ABT);
	/* The address of the guest is good for its parent, too */
	case_guest_map(test, model, guest, 0);
	case_map(test, model, parent, CASE_GUEST_VA, SZ_4K, false);
	case_attach(test, &dev, parent);
	arm_smmu_fake_set_time(dev.fake, 10);

	task->dev = &dev;
	kthread = arm_smmu_fake_run_task(test, case_dma_task_run, task);
	for (i = 0; i < 64; i++)
		if (i & 1)
			case_attach(test, &dev, parent);
		else
			case_attach(test, &dev, guest->nested);
	WRITE_ONCE(task->stop, true);
	arm_smmu_fake_join_task(test, kthread);
	kunit_info(test, "%lu of %lu DMAs failed\n", task->failed, task->num);
	KUNIT_EXPECT_EQ(test, task->failed, 0);
	KUNIT_EXPECT_GT(test, task->num, 0);
}

KUNIT_DEFINE_ACTION_WRAPPER(mmput_wrapper, mmput, struct mm_struct *);

static const struct case_offer case_sva_offers[] = {
	{ "plain", ARM_SMMU_FEAT_SVA, false },
	{ "ATS", ARM_SMMU_FEAT_SVA, true },
	{ "ATS, EL2, ranges", ARM_SMMU_FEAT_SVA | ARM_SMMU_FEAT_E2H |
	  ARM_SMMU_FEAT_RANGE_INV, true },
};

KUNIT_ARRAY_PARAM(case_sva_offers, case_sva_offers, case_offer_desc);

/* A process unmaps a page, and exits before it is unbound */
static void case_sva(struct kunit *test)
{
	const struct case_offer *offer = test->param_value;
	struct mm_struct *mm = mm_alloc();
	struct iommu_sva *handle;
	struct smmu_model *model;
	unsigned long va;
	struct page *pages[3] = {};
	struct case_dev dev;
	unsigned int i;
	u32 pasid;
	int got;

	if (!IS_ENABLED(CONFIG_ARM_SMMU_V3_SVA))
		kunit_skip(test, "needs CONFIG_ARM_SMMU_V3_SVA");
	KUNIT_ASSERT_NOT_NULL(test, mm);
	mm->task_size = TASK_SIZE;
	arch_pick_mmap_layout(mm, &current->signal->rlim[RLIMIT_STACK]);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, mmput_wrapper, mm));
	model = smmu_model_create(test, 3);
	dev.fake = arm_smmu_fake_create(test, 8);
	dev.fake->smmu.features |= offer->features;
	smmu_model_add_smmu(model, dev.fake);
	case_add_dev(model, dev.fake, offer, 1, &dev);

	kthread_use_mm(mm);
	va = vm_mmap(NULL, 0, 3 * PAGE_SIZE, PROT_READ | PROT_WRITE,
		     MAP_ANONYMOUS | MAP_PRIVATE, 0);
	got = IS_ERR_VALUE(va) || clear_user((void __user *)va, 3 * PAGE_SIZE) ?
		0 : get_user_pages_fast(va, 3, FOLL_WRITE, pages);
	kthread_unuse_mm(mm);
	KUNIT_ASSERT_EQ(test, got, 3);
	handle = iommu_sva_bind_device(dev.fm->dev, mm);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, handle);
	pasid = iommu_sva_get_pasid(handle);
	smmu_model_track_ssid(dev.mdev, pasid);
	for (i = 0; i < 3; i++)
		smmu_model_track(model, va + i * PAGE_SIZE);
	smmu_model_fill(model);
	case_dma(test, &dev, pasid, va + PAGE_SIZE, SMMU_MODEL_CACHED,
		 page_to_phys(pages[1]));

	kthread_use_mm(mm);
	KUNIT_EXPECT_EQ(test, 0, vm_munmap(va + PAGE_SIZE, PAGE_SIZE));
	kthread_unuse_mm(mm);
	smmu_model_retire(model, page_to_phys(pages[1]), PAGE_SIZE);
	case_dma(test, &dev, pasid, va + PAGE_SIZE, SMMU_MODEL_CACHED, 0);
	smmu_model_fill(model);
	smmu_model_check(model);

	kunit_release_action(test, mmput_wrapper, mm);
	smmu_model_retire(model, page_to_phys(pages[0]), PAGE_SIZE);
	smmu_model_retire(model, page_to_phys(pages[2]), PAGE_SIZE);
	case_dma(test, &dev, pasid, va, SMMU_MODEL_CACHED, 0);
	smmu_model_check(model);
	iommu_sva_unbind_device(handle);
	smmu_model_left(dev.mdev, pasid);
	smmu_model_check(model);
	mmu_notifier_synchronize();
	for (i = 0; i < 3; i++)
		put_page(pages[i]);
}

static struct kunit_case arm_smmu_v3_reach_test_cases[] = {
	KUNIT_CASE_PARAM(case_unmap_sizes, case_offers_gen_params),
	KUNIT_CASE_PARAM(case_block_for_table, case_offers_gen_params),
	KUNIT_CASE_PARAM(case_ranges, case_offers_gen_params),
	KUNIT_CASE(case_huge_range),
	KUNIT_CASE_PARAM(case_move, case_offers_gen_params),
	KUNIT_CASE_PARAM(case_pasids, case_offers_gen_params),
	KUNIT_CASE(case_many_smmus),
	KUNIT_CASE(case_dirty),
	KUNIT_CASE_PARAM(case_nested, case_nest_offers_gen_params),
	KUNIT_CASE_PARAM(case_guest_cd, case_nest_offers_gen_params),
	KUNIT_CASE(case_guest_atc_inv),
	KUNIT_CASE(case_hitless),
	KUNIT_CASE_PARAM(case_sva, case_sva_offers_gen_params),
	{}
};

static struct kunit_suite arm_smmu_v3_reach_test_suite = {
	.name = "arm-smmu-v3-reach",
	.test_cases = arm_smmu_v3_reach_test_cases,
};

kunit_test_suites(&arm_smmu_v3_reach_test_suite);
