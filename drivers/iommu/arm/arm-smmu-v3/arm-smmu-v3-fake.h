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
 * @prod: CMDQ_PROD and, as long as the SMMU takes no time, CMDQ_CONS
 * @cons: CMDQ_CONS of an SMMU that is stopped or takes time
 * @next: the index of what an SMMU that takes time is to consume next
 * @num_cmds: how many commands it has consumed, the CMD_SYNCs not counted
 * @sum_cmds: the sum of their second words
 * @seen: the index of the next command that the test reads
 * @stamps: for each slot of the queue, the number of the command in it
 * @usecs: how long a CMD_SYNC takes
 * @sync_end: when the CMD_SYNC that is being consumed completes, or 0
 * @end: where a stopped SMMU hangs
 * @stopped: whether the SMMU is stopped
 * @timed: its place among the SMMUs that take time
 */
struct arm_smmu_fake {
	struct arm_smmu_device smmu;
	struct kunit *test;
	u32 prod;
	u32 cons;
	u32 next;
	u64 num_cmds;
	u64 sum_cmds;
	u32 seen;
	u64 *stamps;
	unsigned int usecs;
	ktime_t sync_end;
	u32 end;
	bool stopped;
	struct list_head timed;
};

/**
 * struct arm_smmu_fake_master - A device behind a fake SMMU
 * @fake: the fake SMMU that it is behind
 * @master: what the driver knows of the device
 * @dev: the device
 * @group: its iommu group, in which it is alone
 * @handle: what iommu_replace_group_handle() asks for
 * @list: its place among all devices of the test
 */
struct arm_smmu_fake_master {
	struct arm_smmu_fake *fake;
	struct arm_smmu_master *master;
	struct device *dev;
	struct iommu_group *group;
	struct iommu_attach_handle handle;
	struct list_head list;
};

/* Nobody changes the array of a domain but the test itself */
static inline struct arm_smmu_invs *
arm_smmu_fake_invs(struct iommu_domain *domain)
{
	return rcu_dereference_protected(to_smmu_domain(domain)->invs, true);
}

static inline struct arm_smmu_ste *
arm_smmu_fake_ste(struct arm_smmu_fake_master *fm)
{
	return &fm->fake->smmu.strtab_cfg.linear.table[fm->master->streams[0].id];
}

/* With few bits of PASID the CD table is linear */
static inline struct arm_smmu_cd *
arm_smmu_fake_cd(struct arm_smmu_fake_master *fm, ioasid_t pasid)
{
	return &fm->master->cd_table.linear.table[pasid];
}

/* How many ASIDs or VMIDs are in use, of the 1024 that are looked at? */
static inline unsigned int arm_smmu_fake_num_ids(struct ida *ida)
{
	unsigned int num = 0;
	int id;

	for (id = ida_find_first(ida); id >= 0;
	     id = ida_find_first_range(ida, id + 1, ~0))
		num++;
	return num;
}

struct arm_smmu_fake *arm_smmu_fake_create(struct kunit *test,
					   unsigned int shift);
void arm_smmu_fake_stop(struct arm_smmu_fake *fake, unsigned int num);
void arm_smmu_fake_start(struct arm_smmu_fake *fake);
int arm_smmu_fake_set_time(struct arm_smmu_fake *fake, unsigned int usecs);
struct task_struct *arm_smmu_fake_create_task(struct kunit *test,
					      int (*run)(void *data),
					      void *data, unsigned int cpu);
struct task_struct *arm_smmu_fake_run_task(struct kunit *test,
					   int (*run)(void *data), void *data);
void arm_smmu_fake_stop_task(struct kunit *test, struct task_struct *task);
u64 arm_smmu_fake_stamp(struct arm_smmu_fake *fake);
u64 arm_smmu_fake_num_consumed(struct arm_smmu_fake *fake, u64 *sum);
bool arm_smmu_fake_next_cmd(struct arm_smmu_fake *fake,
			    struct arm_smmu_cmd *cmd);
void arm_smmu_fake_expect_cmds(struct arm_smmu_fake *fake,
			       const struct arm_smmu_cmd *cmds,
			       unsigned int num);
void arm_smmu_fake_drop_cmds(struct arm_smmu_fake *fake);

struct arm_smmu_fake_master *
arm_smmu_fake_add_master(struct arm_smmu_fake *fake, u32 sid,
			 unsigned int ssid_bits);
struct arm_smmu_fake_master *
arm_smmu_fake_add_pci_master(struct arm_smmu_fake *fake, const u32 *sids,
			     unsigned int num_sids, unsigned int ssid_bits);
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

int arm_smmu_fake_vsmmu_init(struct arm_vsmmu *vsmmu,
			     struct arm_smmu_fake *fake,
			     struct iommu_domain *parent);
void arm_smmu_fake_vsmmu_destroy(void *data);
struct arm_vsmmu *arm_smmu_fake_alloc_vsmmu(struct arm_smmu_fake *fake,
					    struct iommu_domain *parent);
struct iommu_domain *
arm_smmu_fake_alloc_nested(struct arm_smmu_fake_master *fm,
			   struct arm_vsmmu *vsmmu, unsigned int cfg, u64 eats);

#ifdef CONFIG_PCI_PASID
struct device *arm_smmu_fake_pci_alloc(struct arm_smmu_fake *fake, u32 sid,
				       unsigned int ssid_bits);
u16 arm_smmu_fake_ats_ctrl(struct arm_smmu_fake_master *fm);
#else
static inline struct device *
arm_smmu_fake_pci_alloc(struct arm_smmu_fake *fake, u32 sid,
			unsigned int ssid_bits)
{
	kunit_skip(fake->test, "needs CONFIG_PCI_PASID");
	return NULL;
}

static inline u16 arm_smmu_fake_ats_ctrl(struct arm_smmu_fake_master *fm)
{
	return 0;
}
#endif /* CONFIG_PCI_PASID */

#endif /* _ARM_SMMU_V3_FAKE_H */
