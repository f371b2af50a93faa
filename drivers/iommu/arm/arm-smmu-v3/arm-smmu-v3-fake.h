/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A fake SMMUv3 for KUnit, see arm-smmu-v3-fake.c
 */
#ifndef _ARM_SMMU_V3_FAKE_H
#define _ARM_SMMU_V3_FAKE_H

#include <kunit/test.h>

#include "arm-smmu-v3.h"

/**
 * struct arm_smmu_fake - An SMMU made of memory
 * @smmu: what the driver works on
 * @test: the test that owns it
 * @prod: CMDQ_PROD and, until the test stops the SMMU, CMDQ_CONS
 * @cons: CMDQ_CONS of a stopped SMMU
 * @seen: the index of the next command that the test reads
 */
struct arm_smmu_fake {
	struct arm_smmu_device smmu;
	struct kunit *test;
	u32 prod;
	u32 cons;
	u32 seen;
};

/**
 * struct arm_smmu_fake_master - A device behind a fake SMMU
 * @fake: the fake SMMU that it is behind
 * @master: what the driver knows of the device
 * @dev: the device
 * @group: its iommu group, in which it is alone
 * @handle: what iommu_replace_group_handle() asks for
 */
struct arm_smmu_fake_master {
	struct arm_smmu_fake *fake;
	struct arm_smmu_master *master;
	struct device *dev;
	struct iommu_group *group;
	struct iommu_attach_handle handle;
};

struct arm_smmu_fake *arm_smmu_fake_create(struct kunit *test,
					   unsigned int shift);
void arm_smmu_fake_stop(struct arm_smmu_fake *fake, unsigned int num);
void arm_smmu_fake_start(struct arm_smmu_fake *fake);
bool arm_smmu_fake_next_cmd(struct arm_smmu_fake *fake,
			    struct arm_smmu_cmd *cmd);
void arm_smmu_fake_drop_cmds(struct arm_smmu_fake *fake);

struct arm_smmu_fake_master *
arm_smmu_fake_add_master(struct arm_smmu_fake *fake, u32 sid,
			 unsigned int ssid_bits);
struct iommu_domain *
arm_smmu_fake_alloc_domain(struct arm_smmu_fake_master *fm, u32 flags);
void arm_smmu_fake_own_domain(struct arm_smmu_fake_master *fm,
			      struct iommu_domain *domain);
void arm_smmu_fake_free_domain(struct arm_smmu_fake_master *fm,
			       struct iommu_domain *domain);
int arm_smmu_fake_attach(struct arm_smmu_fake_master *fm,
			 struct iommu_domain *domain);
int arm_smmu_fake_set_pasid(struct arm_smmu_fake_master *fm,
			    struct iommu_domain *domain, ioasid_t pasid,
			    struct iommu_domain *old);

int arm_smmu_fake_slab_start(struct kunit *test, unsigned int fail_nth);
bool arm_smmu_fake_slab_stop(struct kunit *test, int *balance);

#endif /* _ARM_SMMU_V3_FAKE_H */
