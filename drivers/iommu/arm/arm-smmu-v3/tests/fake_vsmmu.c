// SPDX-License-Identifier: GPL-2.0
/* vSMMUs on a fake SMMU, initialized as by iommufd */
#include <linux/mman.h>
#include <linux/uaccess.h>
#include <uapi/linux/iommufd.h>

#include "fake.h"

/* Initialize a vSMMU in zeroed memory. The caller has to destroy it. */
int arm_smmu_fake_vsmmu_init(struct arm_vsmmu *vsmmu, struct arm_smmu_fake *fake,
			     struct iommu_domain *parent)
{
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

/* Allocate a vSMMU that is destroyed at the end of the test */
struct arm_vsmmu *arm_smmu_fake_alloc_vsmmu(struct arm_smmu_fake *fake,
					    struct iommu_domain *parent)
{
	struct arm_vsmmu *vsmmu = arm_smmu_fake_zalloc(fake->test, sizeof(*vsmmu));

	KUNIT_ASSERT_EQ(fake->test, 0, arm_smmu_fake_vsmmu_init(vsmmu, fake, parent));
	arm_smmu_fake_add_action(fake->test, arm_smmu_fake_vsmmu_destroy, vsmmu);
	return vsmmu;
}

/**
 * arm_smmu_fake_user_page() - Map a page of user space
 * @test: the test that runs
 *
 * Return: its address, valid until the test ends. On failure the test is aborted.
 */
unsigned long arm_smmu_fake_user_page(struct kunit *test)
{
	unsigned long uaddr = kunit_vm_mmap(test, NULL, 0, PAGE_SIZE, PROT_READ | PROT_WRITE,
					    MAP_ANONYMOUS | MAP_PRIVATE, 0);

	KUNIT_ASSERT_NE(test, uaddr, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR_VALUE(uaddr));
	return uaddr;
}

/**
 * arm_smmu_fake_guest_cmd() - Write a command of a guest to user space
 * @array: set to an array of this command, for arm_vsmmu_cache_invalidate()
 * @uaddr: the user page for the command
 * @data0: the first word of the command
 * @data1: the second word
 *
 * Context: current->mm has the user page.
 * Return: 0, or -EFAULT if the page cannot be written.
 */
int arm_smmu_fake_guest_cmd(struct iommu_user_data_array *array, unsigned long uaddr,
			    u64 data0, u64 data1)
{
	const __le64 cmd[] = { cpu_to_le64(data0), cpu_to_le64(data1) };

	*array = (struct iommu_user_data_array){
		.type = IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3,
		.uptr = (void __user *)uaddr,
		.entry_len = sizeof(cmd),
		.entry_num = 1,
	};
	return copy_to_user(array->uptr, cmd, sizeof(cmd)) ? -EFAULT : 0;
}

/**
 * arm_smmu_fake_init_nested() - Allocate a nested domain, as iommufd does
 * @vsmmu: the vSMMU
 * @uaddr: the user page through which the guest's STE is passed
 * @ste0: the first word of the STE without V
 * @ste1: the second word
 *
 * Return: the domain, which the caller has to free, or an ERR_PTR().
 */
struct iommu_domain *arm_smmu_fake_init_nested(struct arm_vsmmu *vsmmu, unsigned long uaddr,
					       u64 ste0, u64 ste1)
{
	struct iommu_hwpt_arm_smmuv3 arg = {
		.ste = { cpu_to_le64(STRTAB_STE_0_V | ste0), cpu_to_le64(ste1) },
	};
	struct iommu_user_data data = {
		.type = IOMMU_HWPT_DATA_ARM_SMMUV3,
		.uptr = (void __user *)uaddr,
		.len = sizeof(arg),
	};

	if (copy_to_user(data.uptr, &arg, sizeof(arg)))
		return ERR_PTR(-EFAULT);
	return vsmmu->core.ops->alloc_domain_nested(&vsmmu->core, 0, &data);
}

/* Allocate a nested domain from Config and EATS, see arm_smmu_fake_own_domain() */
struct iommu_domain *arm_smmu_fake_alloc_nested(struct arm_smmu_fake_master *fm,
						struct arm_vsmmu *vsmmu, u8 cfg, u64 eats)
{
	struct kunit *test = fm->fake->test;
	struct iommu_domain *nested;

	nested = arm_smmu_fake_init_nested(vsmmu, arm_smmu_fake_user_page(test),
					   FIELD_PREP(STRTAB_STE_0_CFG, cfg),
					   FIELD_PREP(STRTAB_STE_1_EATS, eats));
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, nested);
	arm_smmu_fake_own_domain(fm, nested);
	return nested;
}
