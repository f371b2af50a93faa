/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A fake SMMUv3 for KUnit, see fake.c
 */
#ifndef _ARM_SMMU_V3_TESTS_FAKE_H
#define _ARM_SMMU_V3_TESTS_FAKE_H

#include <kunit/test.h>

#include "../arm-smmu-v3.h"

struct arm_smmu_fake;

/**
 * struct arm_smmu_fake_ops - What a model of the hardware does with commands
 * @command: A command other than CMD_SYNC is consumed. Commands of one queue
 *	     come in the order of the queue.
 * @sync: A CMD_SYNC completes. All commands before it must have taken effect on
 *	  return.
 * @step: Called in each step of the virtual time, and before and after each
 *	  command.
 *
 * All are called with arm_smmu_fake_lock held and interrupts off. Each may be
 * NULL.
 */
struct arm_smmu_fake_ops {
	void (*command)(struct arm_smmu_fake *fake,
			const struct arm_smmu_cmd *cmd);
	void (*sync)(struct arm_smmu_fake *fake);
	void (*step)(struct arm_smmu_fake *fake);
};

/* An MSI that is not written yet */
struct arm_smmu_fake_msi {
	u64 time;
	u32 *slot;
};

#define ARM_SMMU_FAKE_MSIS	64

/**
 * struct arm_smmu_fake_queue - A command queue of a fake SMMU
 * @fake: the fake SMMU
 * @cmdq: the driver's view of the queue
 * @list: entry in &arm_smmu_fake.queues
 * @prod: the register CMDQ_PROD
 * @cons: the register CMDQ_CONS
 * @next: index of the command that is consumed next
 * @looked: the last value of @prod that was looked at
 * @issued: for each slot, the time at which its command was published
 * @usecs: virtual time that a CMD_SYNC takes
 * @msi_usecs: virtual time from the completion of a CMD_SYNC to its MSI
 * @sync_end: time at which the current CMD_SYNC completes
 * @in_sync: whether the command at @next is a CMD_SYNC that has begun
 * @stopped: whether consumption stops after @left more commands
 * @left: number of commands until consumption stops
 * @start: time at which a stopped queue starts again, or 0
 * @err: the error to raise, CMDQ_ERR_CERROR_*, or 0
 * @err_left: number of commands until the error is raised
 * @err_end: time at which the driver handles the current error, or 0
 * @msis: MSIs to be written, a ring
 * @msi_head: number of MSIs ever added to @msis
 * @msi_tail: number of MSIs ever written from @msis
 *
 * arm_smmu_fake_lock protects all but @prod, which the driver writes.
 */
struct arm_smmu_fake_queue {
	struct arm_smmu_fake *fake;
	struct arm_smmu_cmdq *cmdq;
	struct list_head list;
	u32 prod;
	u32 cons;
	u32 next;
	u32 looked;
	u64 *issued;
	unsigned int usecs;
	unsigned int msi_usecs;
	u64 sync_end;
	bool in_sync;
	bool stopped;
	unsigned int left;
	u64 start;
	unsigned int err;
	unsigned int err_left;
	u64 err_end;
	struct arm_smmu_fake_msi msis[ARM_SMMU_FAKE_MSIS];
	unsigned int msi_head;
	unsigned int msi_tail;
};

/* A command in the log of a fake SMMU */
struct arm_smmu_fake_cmd {
	struct arm_smmu_cmd cmd;
	struct arm_smmu_fake_queue *queue;
	u64 stamp;
	u64 issued;
	u64 time;
};

#define ARM_SMMU_FAKE_LOG	4096

/**
 * struct arm_smmu_fake - An SMMU made of memory
 * @smmu: what the driver works on
 * @test: the test that owns it
 * @ops: the model of the hardware, or NULL
 * @model: data of the model
 * @list: entry in the list of all fake SMMUs
 * @queue: the command queue of @smmu
 * @queues: all command queues
 * @impl_ops: of an SMMU with secondary queues
 * @num_cmds: number of commands that were consumed, without CMD_SYNCs
 * @sum_cmds: sum of the second words of those
 * @log: the last ARM_SMMU_FAKE_LOG commands that were consumed, a ring
 * @log_head: number of commands ever added to @log
 * @seen: number of commands of @log that the test has read
 * @evtq_prod: the register EVENTQ_PROD
 * @evtq_cons: the register EVENTQ_CONS
 */
struct arm_smmu_fake {
	struct arm_smmu_device smmu;
	struct kunit *test;
	const struct arm_smmu_fake_ops *ops;
	void *model;
	struct list_head list;
	struct arm_smmu_fake_queue queue;
	struct list_head queues;
	struct arm_smmu_impl_ops impl_ops;
	u64 num_cmds;
	u64 sum_cmds;
	struct arm_smmu_fake_cmd *log;
	u64 log_head;
	u64 seen;
	u32 evtq_prod;
	u32 evtq_cons;
};

extern raw_spinlock_t arm_smmu_fake_lock;

/* For suites that do not use smmu->iommu.ops yet */
extern const struct iommu_ops *arm_smmu_fake_iommu_ops;
#define arm_smmu_ops (*arm_smmu_fake_iommu_ops)

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

/* Only the test itself changes the array of a domain */
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

static inline struct iommu_domain *
arm_smmu_fake_blocked(struct arm_smmu_fake_master *fm)
{
	return fm->fake->smmu.iommu.ops->blocked_domain;
}

static inline struct iommu_domain *
arm_smmu_fake_identity(struct arm_smmu_fake_master *fm)
{
	return fm->fake->smmu.iommu.ops->identity_domain;
}

u32 arm_smmu_fake_id(struct iommu_domain *domain, struct arm_smmu_fake *fake,
		     enum arm_smmu_inv_type type, int *users);
u32 arm_smmu_fake_hw_id(struct arm_smmu_fake_master *fm, ioasid_t pasid);
void arm_smmu_fake_read_ops(struct arm_smmu_fake *fake, char *buf, size_t size);

struct arm_smmu_fake *arm_smmu_fake_create(struct kunit *test,
					   unsigned int shift);
struct arm_smmu_fake_queue *
arm_smmu_fake_add_queue(struct arm_smmu_fake *fake, unsigned int shift,
			bool (*supports_cmd)(struct arm_smmu_cmd *cmd));

void arm_smmu_fake_queue_stop(struct arm_smmu_fake_queue *fq, unsigned int num);
void arm_smmu_fake_queue_start(struct arm_smmu_fake_queue *fq);
void arm_smmu_fake_queue_start_after(struct arm_smmu_fake_queue *fq,
				     unsigned int usecs);
void arm_smmu_fake_queue_stall(struct arm_smmu_fake_queue *fq, unsigned int num,
			       unsigned int usecs);
void arm_smmu_fake_queue_set_time(struct arm_smmu_fake_queue *fq,
				  unsigned int usecs, unsigned int msi_usecs);
void arm_smmu_fake_queue_set_error(struct arm_smmu_fake_queue *fq,
				   unsigned int err, unsigned int num);
unsigned int arm_smmu_fake_queue_pending(struct arm_smmu_fake_queue *fq);

static inline void arm_smmu_fake_stop(struct arm_smmu_fake *fake,
				      unsigned int num)
{
	arm_smmu_fake_queue_stop(&fake->queue, num);
}

static inline void arm_smmu_fake_start(struct arm_smmu_fake *fake)
{
	arm_smmu_fake_queue_start(&fake->queue);
}

static inline int arm_smmu_fake_set_time(struct arm_smmu_fake *fake,
					 unsigned int usecs)
{
	arm_smmu_fake_queue_set_time(&fake->queue, usecs, 0);
	return 0;
}

u64 arm_smmu_fake_now(void);
void arm_smmu_fake_freeze(void);
void arm_smmu_fake_thaw(void);
unsigned int arm_smmu_fake_num_timeouts(void);
u64 arm_smmu_fake_longest_wait(void);

struct task_struct *arm_smmu_fake_create_task(struct kunit *test,
					      int (*run)(void *data),
					      void *data, unsigned int cpu);
struct task_struct *arm_smmu_fake_run_task(struct kunit *test,
					   int (*run)(void *data), void *data);
void arm_smmu_fake_join_task(struct kunit *test, struct task_struct *task);
void arm_smmu_fake_stop_task(struct kunit *test, struct task_struct *task);

u64 arm_smmu_fake_stamp(struct arm_smmu_fake *fake);
u64 arm_smmu_fake_issued(struct arm_smmu_fake *fake);
u64 arm_smmu_fake_time(struct arm_smmu_fake *fake);
u64 arm_smmu_fake_num_consumed(struct arm_smmu_fake *fake, u64 *sum);
bool arm_smmu_fake_next_cmd(struct arm_smmu_fake *fake,
			    struct arm_smmu_cmd *cmd);
void arm_smmu_fake_expect_cmds(struct arm_smmu_fake *fake,
			       const struct arm_smmu_cmd *cmds,
			       unsigned int num);
void arm_smmu_fake_drop_cmds(struct arm_smmu_fake *fake);

bool arm_smmu_fake_event(struct arm_smmu_fake *fake,
			 const u64 evt[EVTQ_ENT_DWORDS]);
void arm_smmu_fake_handle_events(struct arm_smmu_fake *fake);
void arm_smmu_fake_set_repeat(struct kunit *test, bool repeat);

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

static inline int arm_smmu_fake_block(struct arm_smmu_fake_master *fm)
{
	return arm_smmu_fake_attach(fm, arm_smmu_fake_blocked(fm));
}

static inline int arm_smmu_fake_clear_pasid(struct arm_smmu_fake_master *fm,
					    ioasid_t pasid,
					    struct iommu_domain *old)
{
	return arm_smmu_fake_set_pasid(fm, arm_smmu_fake_blocked(fm), pasid,
				       old);
}

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

#endif /* _ARM_SMMU_V3_TESTS_FAKE_H */
