// SPDX-License-Identifier: GPL-2.0
/*
 * vSMMUs on a fake SMMU, made as iommufd makes them
 */
#include <linux/mman.h>
#include <linux/uaccess.h>
#include <uapi/linux/iommufd.h>

#include "fake.h"

/* Make a vSMMU of memory that is zero. It is the caller's to destroy. */
int arm_smmu_fake_vsmmu_init(struct arm_vsmmu *vsmmu,
			     struct arm_smmu_fake *fake,
			     struct iommu_domain *parent)
{
	arm_smmu_fake_register(fake);
	xa_init(&vsmmu->core.vdevs);
	vsmmu->core.type = IOMMU_VIOMMU_TYPE_ARM_SMMUV3;
	vsmmu->core.iommu_dev = &fake->smmu.iommu;
	return fake->smmu.iommu.ops->viommu_init(&vsmmu->core, parent, NULL);
}

void arm_smmu_fake_vsmmu_destroy(void *data)
{
	struct arm_vsmmu *vsmmu = data;

	vsmmu->core.ops->destroy(&vsmmu->core);
	xa_destroy(&vsmmu->core.vdevs);
}

/* Make a vSMMU that is destroyed with the test */
struct arm_vsmmu *arm_smmu_fake_alloc_vsmmu(struct arm_smmu_fake *fake,
					    struct iommu_domain *parent)
{
	struct kunit *test = fake->test;
	struct arm_vsmmu *vsmmu;

	vsmmu = kunit_kzalloc(test, sizeof(*vsmmu), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, vsmmu);
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_vsmmu_init(vsmmu, fake, parent));
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test,
						  arm_smmu_fake_vsmmu_destroy,
						  vsmmu));
	return vsmmu;
}

/* Make a domain of a vSMMU by Config and EATS of the guest's STE */
struct iommu_domain *
arm_smmu_fake_alloc_nested(struct arm_smmu_fake_master *fm,
			   struct arm_vsmmu *vsmmu, unsigned int cfg, u64 eats)
{
	struct iommu_hwpt_arm_smmuv3 arg = {
		.ste[0] = cpu_to_le64(STRTAB_STE_0_V |
				      FIELD_PREP(STRTAB_STE_0_CFG, cfg)),
		.ste[1] = cpu_to_le64(FIELD_PREP(STRTAB_STE_1_EATS, eats)),
	};
	struct kunit *test = fm->fake->test;
	struct iommu_user_data data = {
		.type = IOMMU_HWPT_DATA_ARM_SMMUV3,
		.len = sizeof(arg),
	};
	struct iommu_domain *nested;
	unsigned long uaddr;

	uaddr = kunit_vm_mmap(test, NULL, 0, PAGE_SIZE, PROT_READ | PROT_WRITE,
			      MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_NE(test, uaddr, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR_VALUE(uaddr));
	data.uptr = (void __user *)uaddr;

	KUNIT_ASSERT_EQ(test, 0, copy_to_user(data.uptr, &arg, sizeof(arg)));
	nested = vsmmu->core.ops->alloc_domain_nested(&vsmmu->core, 0, &data);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, nested);
	arm_smmu_fake_own_domain(fm, nested);
	return nested;
}
