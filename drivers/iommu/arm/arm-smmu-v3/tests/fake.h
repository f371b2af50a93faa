/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A fake SMMUv3 for KUnit, see fake.c
 */
#ifndef _ARM_SMMU_V3_TESTS_FAKE_H
#define _ARM_SMMU_V3_TESTS_FAKE_H

#include <kunit/test.h>

#include "../arm-smmu-v3.h"

struct arm_smmu_fake;

/*
 * Callbacks of a model of the hardware. They run with arm_smmu_fake_lock held and
 * interrupts disabled.
 * @command: a command other than CMD_SYNC was consumed
 * @sync: a CMD_SYNC completes, and with it all commands before it
 * @step: a step of the virtual time; also called before and after each command
 */
struct arm_smmu_fake_ops {
	void (*command)(struct arm_smmu_fake *fake, const struct arm_smmu_cmd *cmd);
	void (*sync)(struct arm_smmu_fake *fake);
	void (*step)(struct arm_smmu_fake *fake);
};

/* A command queue. arm_smmu_fake_lock protects all but @prod and @cons. */
struct arm_smmu_fake_queue {
	struct arm_smmu_fake *fake;
	struct arm_smmu_cmdq *cmdq;
	struct list_head list;
	u32 prod;		/* the registers */
	u32 cons;
	u32 next;		/* index of the command to be consumed next */
	unsigned int usecs;	/* duration of a CMD_SYNC */
	unsigned int msi_usecs;	/* delay from the end of a CMD_SYNC to its MSI */
	u64 sync_end;		/* time at which the current CMD_SYNC completes */
	unsigned int num_early;	/* CMD_SYNCs after which a command had been issued too early */
	bool in_sync;
	bool stopped;		/* after @left more commands, until @start unless 0 */
	unsigned int left;
	u64 start;
	/*
	 * CMDQ_ERR_CERROR_* that the next command raises, or the next CMD_SYNC if it
	 * is CMDQ_ERR_CERROR_ATC_INV_IDX. 0 when it was raised and handled.
	 */
	unsigned int err;
	u64 err_end;		/* time at which the driver handles it, or 0 */
	u64 msi_time;		/* time at which @msi_slot is written */
	u32 *msi_slot;		/* NULL if no MSI is pending */
};

#define ARM_SMMU_FAKE_LOG	4096

/* A fake SMMU. The fields after @log are initially zero. */
struct arm_smmu_fake {
	struct arm_smmu_device smmu;
	struct list_head list;	/* of the SMMUs of the test, or of the idle ones */
	struct platform_device *pdev;
	struct iopf_queue *iopf;
	struct arm_smmu_cmd *log;	/* ring of consumed commands */
	struct kunit *test;
	const struct arm_smmu_fake_ops *ops;
	void *model;		/* for @ops */
	struct arm_smmu_fake_queue queue;
	struct list_head queues;	/* @queue and secondary ones */
	struct arm_smmu_impl_ops impl_ops;
	u64 log_head;		/* number of commands ever added to @log */
	u64 seen;		/* number of commands that the test has read */
};

/* The virtual clock. Creating the first SMMU of a test sets it to 0. */
struct arm_smmu_fake_clock {
	u64 now;
	bool frozen;	/* only commands that take no time are consumed */
	bool polled;	/* a task has waited since the clock was frozen */
	bool repeat;	/* the driver has to issue CFGI and TLBI commands twice */
	unsigned int num_timeouts;
	/* Of the task that was the last to begin a wait with interrupts disabled */
	struct task_struct *irqs_off_task;
	unsigned int irqs_off_event;
	u64 irqs_off;	/* its waits since it disabled interrupts, in nanoseconds */
	u64 longest_irqs_off;
	/* Waits that began with interrupts disabled since before the previous wait */
	unsigned int num_joined;
};

/* Protects all SMMUs, their models and the clock */
extern raw_spinlock_t arm_smmu_fake_lock;
extern struct arm_smmu_fake_clock arm_smmu_fake_clock;

/* A device behind a fake SMMU, alone in its group */
struct arm_smmu_fake_master {
	struct arm_smmu_fake *fake;
	struct arm_smmu_master *master;
	struct device *dev;
	struct iommu_group *group;
	struct iommu_attach_handle handle;
	struct list_head list;	/* of the devices of the test */
};

/* No RCU read section is needed: only the test itself replaces the array */
static inline struct arm_smmu_invs *arm_smmu_fake_invs(struct iommu_domain *domain)
{
	return rcu_dereference_protected(to_smmu_domain(domain)->invs, true);
}

static inline struct arm_smmu_ste *arm_smmu_fake_ste(struct arm_smmu_fake_master *fm)
{
	return &fm->fake->smmu.strtab_cfg.linear.table[fm->master->streams[0].id];
}

/* With few bits of PASID the CD table is linear */
static inline struct arm_smmu_cd *arm_smmu_fake_cd(struct arm_smmu_fake_master *fm, ioasid_t pasid)
{
	return &fm->master->cd_table.linear.table[pasid];
}

/* Number of ASIDs or VMIDs that are in use or dirty. 0 is never allocated. */
static inline unsigned int arm_smmu_fake_num_ids(struct arm_smmu_pool *pool)
{
	return bitmap_weight(pool->used, pool->size) - 1;
}

/* Limit the ASIDs and VMIDs that are allocated, but not the fields of commands */
static inline void arm_smmu_fake_set_id_bits(struct arm_smmu_fake *fake, unsigned int bits)
{
	fake->smmu.asids.size = 1 << bits;
	fake->smmu.vmids.size = 1 << bits;
}

static inline struct iommu_domain *arm_smmu_fake_blocked(struct arm_smmu_fake_master *fm)
{
	return fm->fake->smmu.iommu.ops->blocked_domain;
}

static inline struct iommu_domain *arm_smmu_fake_identity(struct arm_smmu_fake_master *fm)
{
	return fm->fake->smmu.iommu.ops->identity_domain;
}

u32 arm_smmu_fake_hw_id(struct arm_smmu_fake_master *fm, ioasid_t pasid);

void arm_smmu_fake_add_action(struct kunit *test, kunit_action_t *action, void *data);
void *arm_smmu_fake_zalloc(struct kunit *test, size_t size);

void arm_smmu_fake_suite_exit(struct kunit_suite *suite);
struct arm_smmu_fake *arm_smmu_fake_create(struct kunit *test, unsigned int shift);
struct arm_smmu_fake_queue *
arm_smmu_fake_add_queue(struct arm_smmu_fake *fake, unsigned int shift,
			bool (*supports_cmd)(struct arm_smmu_cmd *cmd));

void arm_smmu_fake_queue_stall(struct arm_smmu_fake_queue *fq, unsigned int num,
			       unsigned int usecs);
unsigned int arm_smmu_fake_queue_pending(struct arm_smmu_fake_queue *fq);

static inline void arm_smmu_fake_stop(struct arm_smmu_fake *fake, unsigned int num)
{
	arm_smmu_fake_queue_stall(&fake->queue, num, 0);
}

static inline void arm_smmu_fake_queue_start(struct arm_smmu_fake_queue *fq)
{
	guard(raw_spinlock_irqsave)(&arm_smmu_fake_lock);
	fq->stopped = false;
}

static inline void arm_smmu_fake_start(struct arm_smmu_fake *fake)
{
	arm_smmu_fake_queue_start(&fake->queue);
}

static inline void arm_smmu_fake_set_time(struct arm_smmu_fake *fake, unsigned int usecs)
{
	guard(raw_spinlock_irqsave)(&arm_smmu_fake_lock);
	fake->queue.usecs = usecs;
}

static inline u64 arm_smmu_fake_now(void)
{
	return READ_ONCE(arm_smmu_fake_clock.now);
}

/* Number of waits of this test that timed out */
static inline unsigned int arm_smmu_fake_num_timeouts(void)
{
	return READ_ONCE(arm_smmu_fake_clock.num_timeouts);
}

static inline void arm_smmu_fake_freeze(bool frozen)
{
	guard(raw_spinlock_irqsave)(&arm_smmu_fake_lock);
	arm_smmu_fake_clock.frozen = frozen;
	/* Pairs with READ_ONCE() of tests, as does the one in fake_step() */
	WRITE_ONCE(arm_smmu_fake_clock.polled, false);
}

struct task_struct *arm_smmu_fake_create_task(struct kunit *test, int (*run)(void *data),
					      void *data, unsigned int cpu);
struct task_struct *arm_smmu_fake_run_task(struct kunit *test, int (*run)(void *data), void *data);
void arm_smmu_fake_join_task(struct kunit *test, struct task_struct *task);
void arm_smmu_fake_await_sleep(struct task_struct *task);

bool arm_smmu_fake_next_cmd(struct arm_smmu_fake *fake, struct arm_smmu_cmd *cmd);
void arm_smmu_fake_drop_cmds(struct arm_smmu_fake *fake);

bool arm_smmu_fake_event(struct arm_smmu_fake *fake, const u64 evt[EVTQ_ENT_DWORDS]);

struct arm_smmu_fake_master *
arm_smmu_fake_add_master(struct arm_smmu_fake *fake, u32 sid, unsigned int ssid_bits);
struct arm_smmu_fake_master *
arm_smmu_fake_add_pci_master(struct arm_smmu_fake *fake, const u32 *sids,
			     unsigned int num_sids, unsigned int ssid_bits);
struct iommu_domain *arm_smmu_fake_alloc_domain(struct arm_smmu_fake_master *fm, u32 flags);
void arm_smmu_fake_own_domain(struct arm_smmu_fake_master *fm, struct iommu_domain *domain);
void arm_smmu_fake_free_domain(struct arm_smmu_fake_master *fm, struct iommu_domain *domain);
int arm_smmu_fake_attach(struct arm_smmu_fake_master *fm, struct iommu_domain *domain);
int arm_smmu_fake_set_pasid(struct arm_smmu_fake_master *fm, struct iommu_domain *domain,
			    ioasid_t pasid, struct iommu_domain *old);

static inline int arm_smmu_fake_block(struct arm_smmu_fake_master *fm)
{
	return arm_smmu_fake_attach(fm, arm_smmu_fake_blocked(fm));
}

static inline int arm_smmu_fake_clear_pasid(struct arm_smmu_fake_master *fm, ioasid_t pasid,
					    struct iommu_domain *old)
{
	return arm_smmu_fake_set_pasid(fm, arm_smmu_fake_blocked(fm), pasid, old);
}

int arm_smmu_fake_slab_start(unsigned int fail_nth);
bool arm_smmu_fake_slab_stop(void);

int arm_smmu_fake_vsmmu_init(struct arm_vsmmu *vsmmu, struct arm_smmu_fake *fake,
			     struct iommu_domain *parent);
void arm_smmu_fake_vsmmu_destroy(void *data);
struct arm_vsmmu *arm_smmu_fake_alloc_vsmmu(struct arm_smmu_fake *fake,
					    struct iommu_domain *parent);
unsigned long arm_smmu_fake_user_page(struct kunit *test);
int arm_smmu_fake_guest_cmd(struct iommu_user_data_array *array, unsigned long uaddr,
			    u64 data0, u64 data1);
struct iommu_domain *arm_smmu_fake_init_nested(struct arm_vsmmu *vsmmu, unsigned long uaddr,
					       u64 ste0, u64 ste1);
struct iommu_domain *arm_smmu_fake_alloc_nested(struct arm_smmu_fake_master *fm,
						struct arm_vsmmu *vsmmu, u8 cfg, u64 eats);

/* Only with CONFIG_PCI_PASID */
struct device *arm_smmu_fake_pci_alloc(struct arm_smmu_fake *fake, u32 sid,
				       unsigned int ssid_bits);

#endif /* _ARM_SMMU_V3_TESTS_FAKE_H */
