// SPDX-License-Identifier: GPL-2.0
/*
 * A fake SMMUv3 for KUnit. The driver runs on an SMMU whose registers and command
 * queues are ordinary memory.
 *
 * Time is virtual. A static stub replaces the polling of a queue. Each poll of a
 * waiting task is a step: all fake SMMUs consume commands, and the virtual clock
 * advances. If no command can be consumed, the clock advances to the next event.
 * Without any event a wait times out after a few polls. No result depends on the
 * time of the host.
 *
 * A fake SMMU does not translate. A model can, see struct arm_smmu_fake_ops.
 */
#include <kunit/device.h>
#include <kunit/platform_device.h>
#include <kunit/static_stub.h>
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/dma-mapping.h>
#include <linux/kprobes.h>
#include <linux/kthread.h>
#include <linux/platform_device.h>
#include <linux/vmalloc.h>

#include "../../../iommu-priv.h"

#include "fake.h"

#define FAKE_SID_BITS	4
#define FAKE_EVTQ_SHIFT	7

/* Virtual time of a poll: if there is an event to wait for, and if there is none */
#define FAKE_POLL_NS	(1 * NSEC_PER_USEC)
#define FAKE_IDLE_NS	(20 * NSEC_PER_MSEC)
/* Delay from an error to its interrupt */
#define FAKE_IRQ_NS	(10 * NSEC_PER_USEC)
/* Number of cpu_relax() between two polls */
#define FAKE_RELAXES	32

DEFINE_RAW_SPINLOCK(arm_smmu_fake_lock);
struct arm_smmu_fake_clock arm_smmu_fake_clock;

/* The SMMUs and the devices of the running test */
static LIST_HEAD(fake_list);
static LIST_HEAD(fake_masters);
/* SMMUs that the next tests of the suite can use */
static LIST_HEAD(fake_idle);

KUNIT_DEFINE_ACTION_WRAPPER(domain_free_wrapper, iommu_domain_free, struct iommu_domain *);
KUNIT_DEFINE_ACTION_WRAPPER(device_unregister_wrapper, device_unregister, struct device *);
KUNIT_DEFINE_ACTION_WRAPPER(kthread_stop_put_wrapper, kthread_stop_put, struct task_struct *);

/**
 * arm_smmu_fake_add_action() - Call a function when the test ends
 * @test: the test that runs
 * @action: the function, called before those that were added earlier
 * @data: its argument
 */
void arm_smmu_fake_add_action(struct kunit *test, kunit_action_t *action, void *data)
{
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, action, data));
}

/**
 * arm_smmu_fake_zalloc() - Allocate memory until the test ends
 * @test: the test that runs
 * @size: of the memory
 *
 * Return: zeroed memory. On failure the test is aborted.
 */
void *arm_smmu_fake_zalloc(struct kunit *test, size_t size)
{
	void *p = kunit_kzalloc(test, size, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, p);
	return p;
}

static u32 fake_index(struct arm_smmu_fake_queue *fq, u32 index)
{
	return index & ((2U << fq->cmdq->q.llq.max_n_shift) - 1);
}

/* The index after the last command that the driver has published */
static u32 fake_prod(struct arm_smmu_fake_queue *fq)
{
	return fake_index(fq, readl(fq->cmdq->q.prod_reg));
}

/* Write the pending MSI if it is due */
static bool fake_write_msi(struct arm_smmu_fake_queue *fq)
{
	if (!fq->msi_slot || arm_smmu_fake_clock.now < fq->msi_time)
		return false;
	/* After the effects of the CMD_SYNC. Pairs with the driver's wait for it. */
	smp_store_release(fq->msi_slot, 0);
	fq->msi_slot = NULL;
	return true;
}

static bool fake_is_sync(struct arm_smmu_fake_queue *fq)
{
	u64 cmd = le64_to_cpu(Q_ENT(&fq->cmdq->q, fq->next)[0]);

	return FIELD_GET(CMDQ_0_OP, cmd) == CMDQ_OP_CMD_SYNC;
}

/* Return: true if an error keeps the command at @fq->next from being consumed */
static bool fake_has_error(struct arm_smmu_fake_queue *fq)
{
	u32 __iomem *cons_reg = fq->cmdq->q.cons_reg;

	/* An ATC_INV timeout is reported with CONS at the CMD_SYNC */
	if (!fq->err || (fq->err == CMDQ_ERR_CERROR_ATC_INV_IDX && !fake_is_sync(fq)))
		return false;
	if (!fq->err_end) {
		writel(fq->next | FIELD_PREP(CMDQ_CONS_ERR, fq->err), cons_reg);
		fq->err_end = arm_smmu_fake_clock.now + FAKE_IRQ_NS;
	}
	if (arm_smmu_fake_clock.now < fq->err_end)
		return true;

	/* The interrupt handler. It may replace the command by a CMD_SYNC. */
	__arm_smmu_cmdq_skip_err(&fq->fake->smmu, fq->cmdq);
	writel(fq->next, cons_reg);
	fq->err = 0;
	fq->err_end = 0;
	return false;
}

/* Return: true if a command was consumed */
static bool fake_consume_one(struct arm_smmu_fake_queue *fq)
{
	struct arm_smmu_queue *q = &fq->cmdq->q;
	struct arm_smmu_fake *fake = fq->fake;
	__le64 *ent = Q_ENT(q, fq->next);
	struct arm_smmu_cmd cmd;
	bool sync;

	if (fq->stopped && fq->start && arm_smmu_fake_clock.now >= fq->start)
		fq->stopped = false;
	if (fq->next == fake_prod(fq) || (fq->stopped && !fq->left))
		return false;

	if (!fq->in_sync && fake_has_error(fq))
		return false;
	cmd.data[0] = le64_to_cpu(ent[0]);
	cmd.data[1] = le64_to_cpu(ent[1]);
	sync = fake_is_sync(fq);
	if (sync && !fq->in_sync) {
		fq->in_sync = true;
		fq->sync_end = arm_smmu_fake_clock.now + (u64)fq->usecs * NSEC_PER_USEC;
	}
	if (fq->in_sync && arm_smmu_fake_clock.now < fq->sync_end)
		return false;
	fq->in_sync = false;
	/* The driver has not seen yet that the CMD_SYNC is complete */
	fq->num_early += sync && fake_index(fq, fake_prod(fq) - fq->next) > 1;

	if (fake->ops) {
		fake->ops->step(fake);
		if (sync)
			fake->ops->sync(fake);
		else
			fake->ops->command(fake, &cmd);
		fake->ops->step(fake);
	}

	fake->log[fake->log_head++ % ARM_SMMU_FAKE_LOG] = cmd;
	if (fq->stopped)
		fq->left--;
	fq->next = fake_index(fq, fq->next + 1);
	writel(fq->next, q->cons_reg);
	if (sync && FIELD_GET(CMDQ_SYNC_0_CS, cmd.data[0]) == CMDQ_SYNC_0_CS_IRQ) {
		/* With a delay only one MSI can be pending */
		WARN_ON(fq->msi_slot);
		fq->msi_slot = phys_to_virt(cmd.data[1] & CMDQ_SYNC_1_MSIADDR_MASK);
		fq->msi_time = arm_smmu_fake_clock.now + (u64)fq->msi_usecs * NSEC_PER_USEC;
		fake_write_msi(fq);
	}
	return true;
}

/* Consume commands and write MSIs that are due. Return: true if there were any */
static bool fake_consume(struct arm_smmu_fake *fake)
{
	struct arm_smmu_fake_queue *fq;
	bool moved = false;

	lockdep_assert_held(&arm_smmu_fake_lock);
	list_for_each_entry(fq, &fake->queues, list) {
		moved |= fake_write_msi(fq);
		while (fake_consume_one(fq))
			moved = true;
	}
	return moved;
}

static bool fake_consume_all(void)
{
	struct arm_smmu_fake *fake;
	bool moved = false;

	list_for_each_entry(fake, &fake_list, list) {
		if (fake->ops)
			fake->ops->step(fake);
		moved |= fake_consume(fake);
	}
	return moved;
}

/*
 * Return: true while a CPU is about to publish commands, or to release a queue whose
 * CMD_SYNCs are complete. An emulated CPU may take long for that. Another task
 * must not time out meanwhile.
 */
static bool fake_is_driver_busy(struct arm_smmu_fake_queue *fq)
{
	u32 prod = fake_prod(fq);

	/* Racy against the driver. A wrong result costs one poll. */
	if (fake_index(fq, READ_ONCE(fq->cmdq->q.llq.prod)) != prod)
		return true;
	return atomic_read(&fq->cmdq->lock) && fq->next == prod && !fq->msi_slot;
}

static u64 fake_next_event(struct arm_smmu_fake_queue *fq)
{
	bool hangs = fq->stopped && !fq->left;
	u64 event = fq->msi_slot ? fq->msi_time : U64_MAX;

	if (fq->stopped && fq->start)
		event = min(event, fq->start);
	if (!hangs && fq->err_end)
		event = min(event, fq->err_end);
	else if (!hangs && fq->in_sync)
		event = min(event, fq->sync_end);
	return event;
}

/* One step of a task that waits for at most @left. Return: the virtual time it takes */
static u64 fake_step(u64 left)
{
	u64 event = U64_MAX, start = arm_smmu_fake_clock.now;
	struct arm_smmu_fake_queue *fq;
	struct arm_smmu_fake *fake;
	bool busy = fake_consume_all();

	if (arm_smmu_fake_clock.frozen) {
		WRITE_ONCE(arm_smmu_fake_clock.polled, true);
		return 0;
	}

	list_for_each_entry(fake, &fake_list, list) {
		list_for_each_entry(fq, &fake->queues, list) {
			event = min(event, fake_next_event(fq));
			busy |= fake_is_driver_busy(fq);
		}
	}
	if (busy)
		arm_smmu_fake_clock.now += FAKE_POLL_NS;
	else if (event != U64_MAX)
		arm_smmu_fake_clock.now = clamp(event, start + 1, start + left + 1);
	else
		arm_smmu_fake_clock.now += FAKE_IDLE_NS;
	if (arm_smmu_fake_clock.now >= event)
		fake_consume_all();
	return arm_smmu_fake_clock.now - start;
}

static void fake_poll_init(struct arm_smmu_device *smmu, struct arm_smmu_queue_poll *qp)
{
	struct task_struct *task = irqs_disabled() ? current : NULL;
	unsigned int event = 0;

#ifdef CONFIG_TRACE_IRQFLAGS
	/* Tells apart the times at which this task disabled interrupts */
	event = current->irqtrace.hardirq_disable_event;
#endif
	guard(raw_spinlock_irqsave)(&arm_smmu_fake_lock);
	memset(qp, 0, sizeof(*qp));
	qp->delay = 1;
	qp->timeout = ARM_SMMU_POLL_TIMEOUT_US * NSEC_PER_USEC;

	if (task && event && task == arm_smmu_fake_clock.irqs_off_task &&
	    event == arm_smmu_fake_clock.irqs_off_event)
		arm_smmu_fake_clock.num_joined++;
	else
		arm_smmu_fake_clock.irqs_off = 0;
	arm_smmu_fake_clock.irqs_off_task = task;
	arm_smmu_fake_clock.irqs_off_event = event;
}

struct fake_task {
	struct kunit *test;
	int (*run)(void *data);
	void *data;
	struct completion done;
};

static int fake_task_run(void *data)
{
	struct fake_task *ft = data;
	int ret;

	/* Static stubs are looked up by this */
	current->kunit_test = ft->test;
	ret = ft->run(ft->data);
	current->kunit_test = NULL;
	complete_all(&ft->done);
	return ret;
}

/* @qp->timeout is the virtual time that this wait has left */
static int fake_poll(struct arm_smmu_queue_poll *qp)
{
	bool irqs_off = irqs_disabled();
	u64 time;
	int i;

	scoped_guard(raw_spinlock_irqsave, &arm_smmu_fake_lock) {
		qp->spin_cnt++;
		time = fake_step(qp->timeout);
		qp->timeout -= time;
		if (irqs_off && current == arm_smmu_fake_clock.irqs_off_task)
			arm_smmu_fake_clock.irqs_off += time;
		arm_smmu_fake_clock.longest_irqs_off = max(arm_smmu_fake_clock.longest_irqs_off,
							   arm_smmu_fake_clock.irqs_off);
		arm_smmu_fake_clock.num_timeouts += qp->timeout < 0;
	}
	/* Let other CPUs take the lock */
	for (i = 0; i < FAKE_RELAXES; i++)
		cpu_relax();
	return qp->timeout < 0 ? -ETIMEDOUT : 0;
}

static bool fake_repeat(void)
{
	return arm_smmu_fake_clock.repeat;
}

static void fake_clock_init(struct kunit *test)
{
	scoped_guard(raw_spinlock_irqsave, &arm_smmu_fake_lock)
		memset(&arm_smmu_fake_clock, 0, sizeof(arm_smmu_fake_clock));
	kunit_activate_static_stub(test, arm_smmu_queue_poll_init, fake_poll_init);
	kunit_activate_static_stub(test, arm_smmu_queue_poll, fake_poll);
	/* The host may have the erratum */
	kunit_activate_static_stub(test, arm_smmu_erratum_repeat_tlbi_cfgi, fake_repeat);
}

/* Registering an SMMU takes long: the core visits all devices of all buses */
static struct arm_smmu_fake *fake_alloc(struct kunit *test)
{
	struct platform_device_info info = {
		.name = "fake-smmu",
		.id = PLATFORM_DEVID_AUTO,
		.dma_mask = DMA_BIT_MASK(48),
		/* Gives it a node, by which the driver finds the SMMU of a device */
		.properties = (const struct property_entry[]){ {} },
	};
	struct arm_smmu_fake *fake;

	fake = list_first_entry_or_null(&fake_idle, struct arm_smmu_fake, list);
	if (fake) {
		list_del(&fake->list);
		return fake;
	}
	fake = kzalloc_obj(*fake);
	KUNIT_ASSERT_NOT_NULL(test, fake);
	fake->log = vmalloc_array(ARM_SMMU_FAKE_LOG, sizeof(*fake->log));
	KUNIT_ASSERT_NOT_NULL(test, fake->log);
	fake->pdev = platform_device_register_full(&info);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, fake->pdev);
	platform_set_drvdata(fake->pdev, &fake->smmu);
	dev_set_dma_coherent(&fake->pdev->dev);
	fake->iopf = iopf_queue_alloc(dev_name(&fake->pdev->dev));
	KUNIT_ASSERT_NOT_NULL(test, fake->iopf);
	fake->smmu.dev = &fake->pdev->dev;
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_device_register(&fake->smmu, fake->pdev->id));
	return fake;
}

/* Runs after all devices, domains and vSMMUs of the test were freed */
static void fake_put(void *data)
{
	struct arm_smmu_fake *fake = data;
	struct arm_smmu_device *smmu = &fake->smmu;
	struct arm_smmu_pool *pools[] = { &smmu->asids, &smmu->vmids };
	unsigned int i;

	scoped_guard(raw_spinlock_irqsave, &arm_smmu_fake_lock)
		list_del(&fake->list);

	/* A dirty ASID or VMID is free, but remains allocated until the next flush */
	for (i = 0; i < ARRAY_SIZE(pools); i++) {
		KUNIT_EXPECT_EQ(fake->test, arm_smmu_fake_num_ids(pools[i]),
				bitmap_weight(pools[i]->dirty, pools[i]->size));
		KUNIT_EXPECT_EQ(fake->test, pools[i]->num_others, 0);
	}

	devres_release_group(smmu->dev, fake);
	/* smmu->iommu remains registered */
	memset(smmu, 0, offsetof(struct arm_smmu_device, iommu));
	memset_after(smmu, 0, iommu);
	memset_startat(fake, 0, test);
	list_add(&fake->list, &fake_idle);
}

/**
 * arm_smmu_fake_suite_exit() - Free the SMMUs of all tests of a suite
 * @suite: the suite, which must have this as its suite_exit
 */
void arm_smmu_fake_suite_exit(struct kunit_suite *suite)
{
	struct arm_smmu_fake *fake, *next;

	list_for_each_entry_safe(fake, next, &fake_idle, list) {
		list_del(&fake->list);
		iommu_device_unregister(&fake->smmu.iommu);
		iommu_device_sysfs_remove(&fake->smmu.iommu);
		iopf_queue_free(fake->iopf);
		platform_device_unregister(fake->pdev);
		vfree(fake->log);
		kfree(fake);
	}
}

static void fake_init_queue(struct arm_smmu_fake *fake, struct arm_smmu_fake_queue *fq,
			    struct arm_smmu_cmdq *cmdq, unsigned int shift)
{
	struct arm_smmu_queue *q = &cmdq->q;

	fq->fake = fake;
	fq->cmdq = cmdq;
	q->llq.max_n_shift = shift;
	q->ent_dwords = CMDQ_ENT_DWORDS;
	q->base = arm_smmu_fake_zalloc(fake->test, sizeof(struct arm_smmu_cmd) << shift);
	q->base_dma = virt_to_phys(q->base);
	q->prod_reg = (u32 __force __iomem *)&fq->prod;
	q->cons_reg = (u32 __force __iomem *)&fq->cons;
	/* A test may enable MSIs later */
	fake->smmu.options |= ARM_SMMU_OPT_MSIPOLL;
	KUNIT_ASSERT_EQ(fake->test, 0, arm_smmu_cmdq_init(&fake->smmu, cmdq));
	fake->smmu.options &= ~ARM_SMMU_OPT_MSIPOLL;

	scoped_guard(raw_spinlock_irqsave, &arm_smmu_fake_lock)
		list_add_tail(&fq->list, &fake->queues);
}

/**
 * arm_smmu_fake_create() - Create an SMMU with an empty command queue
 * @test: the test that owns it
 * @shift: log2 of the number of entries in the command queue
 *
 * It has stage 1, stage 2 and ATS, is cache coherent and not behind another
 * IOMMU. Until its first device is added the test may write features, oas,
 * pgsize_bitmap, asid_bits and vmid_bits of its @smmu. A granule larger than
 * PAGE_SIZE may only be set after the last device was added: the core allocates a
 * DMA domain for each device, which cannot have such a granule.
 *
 * Commands are consumed when the driver polls a queue, and when the test reads
 * the log of commands. Writes to the other registers have no effect.
 *
 * The test fails if an ASID or VMID is still in use at its end.
 *
 * Return: the fake SMMU, for the time of @test. On failure the test is aborted.
 */
struct arm_smmu_fake *arm_smmu_fake_create(struct kunit *test, unsigned int shift)
{
	struct arm_smmu_queue *evtq;
	struct arm_smmu_device *smmu;
	struct arm_smmu_fake *fake;
	int i;

	if (list_empty(&fake_list))
		fake_clock_init(test);
	fake = fake_alloc(test);
	fake->test = test;
	INIT_LIST_HEAD(&fake->queues);

	smmu = &fake->smmu;
	smmu->dev = &fake->pdev->dev;
	KUNIT_ASSERT_NOT_NULL(test, devres_open_group(smmu->dev, fake, GFP_KERNEL));
	smmu->features = ARM_SMMU_FEAT_COHERENCY | ARM_SMMU_FEAT_TRANS_S1 |
			 ARM_SMMU_FEAT_TRANS_S2 | ARM_SMMU_FEAT_NESTING |
			 ARM_SMMU_FEAT_ATS;
	smmu->oas = 44;
	smmu->pgsize_bitmap = SZ_4K | SZ_2M | SZ_1G;
	smmu->asid_bits = 16;
	smmu->vmid_bits = 16;
	smmu->ssid_bits = 10;
	smmu->iommu.max_pasids = 1UL << smmu->ssid_bits;
	smmu->sid_bits = FAKE_SID_BITS;
	smmu->streams = RB_ROOT;
	mutex_init(&smmu->streams_mutex);
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_tag_init(smmu));

	smmu->base = (void __force __iomem *)arm_smmu_fake_zalloc(test, ARM_SMMU_REG_SZ);
	writel(CR0_SMMUEN | CR0_CMDQEN, smmu->base + ARM_SMMU_CR0);

	smmu->strtab_cfg.linear.num_ents = 1 << FAKE_SID_BITS;
	smmu->strtab_cfg.linear.table =
		arm_smmu_fake_zalloc(test, sizeof(struct arm_smmu_ste) << FAKE_SID_BITS);
	for (i = 0; i < 1 << FAKE_SID_BITS; i++)
		arm_smmu_make_abort_ste(&smmu->strtab_cfg.linear.table[i]);

	fake_init_queue(fake, &fake->queue, &smmu->cmdq, shift);

	evtq = &smmu->evtq.q;
	evtq->llq.max_n_shift = FAKE_EVTQ_SHIFT;
	evtq->ent_dwords = EVTQ_ENT_DWORDS;
	evtq->base = arm_smmu_fake_zalloc(test, EVTQ_ENT_DWORDS * sizeof(u64) << FAKE_EVTQ_SHIFT);
	evtq->prod_reg = smmu->base + ARM_SMMU_EVTQ_PROD;
	evtq->cons_reg = smmu->base + ARM_SMMU_EVTQ_CONS;
	smmu->evtq.iopf = fake->iopf;

	scoped_guard(raw_spinlock_irqsave, &arm_smmu_fake_lock)
		list_add_tail(&fake->list, &fake_list);
	arm_smmu_fake_add_action(test, fake_put, fake);
	return fake;
}

static struct arm_smmu_cmdq *fake_get_secondary(struct arm_smmu_device *smmu,
						struct arm_smmu_cmd *cmd)
{
	struct arm_smmu_fake *fake = container_of(smmu, struct arm_smmu_fake, smmu);
	struct arm_smmu_fake_queue *fq;

	/* The list does not change while the test runs */
	list_for_each_entry(fq, &fake->queues, list)
		if (fq != &fake->queue && arm_smmu_cmdq_supports_cmd(fq->cmdq, cmd))
			return fq->cmdq;
	return NULL;
}

/**
 * arm_smmu_fake_add_queue() - Give an SMMU a secondary command queue
 * @fake: the fake SMMU, which has no device yet
 * @shift: log2 of the number of entries in the queue
 * @supports_cmd: returns true if the driver may issue a command to this queue
 *
 * Return: the queue. On failure the test is aborted.
 */
struct arm_smmu_fake_queue *
arm_smmu_fake_add_queue(struct arm_smmu_fake *fake, unsigned int shift,
			bool (*supports_cmd)(struct arm_smmu_cmd *cmd))
{
	struct arm_smmu_fake_queue *fq = arm_smmu_fake_zalloc(fake->test, sizeof(*fq));
	struct arm_smmu_cmdq *cmdq = arm_smmu_fake_zalloc(fake->test, sizeof(*cmdq));

	cmdq->supports_cmd = supports_cmd;
	fake_init_queue(fake, fq, cmdq, shift);
	fake->impl_ops.get_secondary_cmdq = fake_get_secondary;
	fake->smmu.impl_ops = &fake->impl_ops;
	return fq;
}

/**
 * arm_smmu_fake_queue_stall() - Stop a queue for a time
 * @fq: the queue
 * @num: number of commands, including CMD_SYNCs, that are still consumed after
 *	 those that the driver has already published
 * @usecs: the virtual time until the queue continues; 0 for never
 */
void arm_smmu_fake_queue_stall(struct arm_smmu_fake_queue *fq, unsigned int num,
			       unsigned int usecs)
{
	guard(raw_spinlock_irqsave)(&arm_smmu_fake_lock);
	fq->left = num + fake_index(fq, fake_prod(fq) - fq->next);
	fq->stopped = true;
	fq->start = usecs ? arm_smmu_fake_clock.now + (u64)usecs * NSEC_PER_USEC : 0;
}

/* Consume commands. Return: the number of published commands that remain */
unsigned int arm_smmu_fake_queue_pending(struct arm_smmu_fake_queue *fq)
{
	guard(raw_spinlock_irqsave)(&arm_smmu_fake_lock);
	fake_consume(fq->fake);
	return fake_index(fq, fake_prod(fq) - fq->next);
}

/* Write an event record. Return: false if the queue is full */
bool arm_smmu_fake_event(struct arm_smmu_fake *fake, const u64 evt[EVTQ_ENT_DWORDS])
{
	struct arm_smmu_queue *q = &fake->smmu.evtq.q;
	const u32 size = 1 << FAKE_EVTQ_SHIFT;
	u32 prod = readl(q->prod_reg);
	int i;

	lockdep_assert_held(&arm_smmu_fake_lock);
	if ((prod ^ readl(q->cons_reg)) == size)
		return false;
	for (i = 0; i < EVTQ_ENT_DWORDS; i++)
		Q_ENT(q, prod)[i] = cpu_to_le64(evt[i]);
	/* Orders the record before PROD, pairs with readl() in the driver */
	writel((prod + 1) & (2 * size - 1), q->prod_reg);
	return true;
}

/**
 * arm_smmu_fake_create_task() - Create a task that is stopped with the test
 * @test: the test that runs
 * @run: the function of the task; it may return before kthread_should_stop()
 * @data: the argument of @run
 * @cpu: the CPU to which the task is bound
 *
 * Only the test and its tasks wait in virtual time. Creating a task can take as
 * long as another task waits with interrupts disabled.
 *
 * Return: the task. The caller has to wake it up.
 */
struct task_struct *arm_smmu_fake_create_task(struct kunit *test, int (*run)(void *data),
					      void *data, unsigned int cpu)
{
	struct fake_task *ft = arm_smmu_fake_zalloc(test, sizeof(*ft));
	struct task_struct *task;

	ft->test = test;
	ft->run = run;
	ft->data = data;
	init_completion(&ft->done);
	task = kthread_create(fake_task_run, ft, "%s/%u", test->name, cpu);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, task);
	get_task_struct(task);
	kthread_bind(task, cpu);
	arm_smmu_fake_add_action(test, kthread_stop_put_wrapper, task);
	return task;
}

/*
 * Run a task on the last CPU and the test on the first. On one CPU a task could
 * not run while the other one waits with interrupts disabled.
 */
struct task_struct *arm_smmu_fake_run_task(struct kunit *test, int (*run)(void *data), void *data)
{
	unsigned int cpu = cpumask_first(cpu_online_mask);
	struct task_struct *task;

	KUNIT_ASSERT_EQ(test, 0, set_cpus_allowed_ptr(current, cpumask_of(cpu)));
	task = arm_smmu_fake_create_task(test, run, data, cpumask_last(cpu_online_mask));
	wake_up_process(task);
	return task;
}

/* Wait until the function of a task has returned. The task itself still exists. */
void arm_smmu_fake_join_task(struct kunit *test, struct task_struct *task)
{
	struct fake_task *ft = kthread_data(task);

	wait_for_completion(&ft->done);
}

/*
 * Wait until a task sleeps or has exited. A task that is woken is TASK_WAKING first, thus not
 * running, but not asleep either. READ_ONCE() pairs with set_current_state() of the task.
 */
void arm_smmu_fake_await_sleep(struct task_struct *task)
{
	do {
		usleep_range(1000, 2000);
	} while (!(READ_ONCE(task->__state) & (TASK_NORMAL | TASK_DEAD)));
}

/* Read the next consumed command. Return: false if there is none */
bool arm_smmu_fake_next_cmd(struct arm_smmu_fake *fake, struct arm_smmu_cmd *cmd)
{
	guard(raw_spinlock_irqsave)(&arm_smmu_fake_lock);
	fake_consume(fake);
	if (fake->seen == fake->log_head)
		return false;
	/* Commands were overwritten before they were read */
	if (fake->log_head - fake->seen > ARM_SMMU_FAKE_LOG)
		kunit_set_failure(fake->test);
	*cmd = fake->log[fake->seen++ % ARM_SMMU_FAKE_LOG];
	return true;
}

/* Skip the commands that the driver has issued so far */
void arm_smmu_fake_drop_cmds(struct arm_smmu_fake *fake)
{
	guard(raw_spinlock_irqsave)(&arm_smmu_fake_lock);
	fake_consume(fake);
	fake->seen = fake->log_head;
}

/* Return: the VMID if stage 2 translates, else the ASID of a valid CD, or 0 */
u32 arm_smmu_fake_hw_id(struct arm_smmu_fake_master *fm, ioasid_t pasid)
{
	struct arm_smmu_ste *ste = arm_smmu_fake_ste(fm);
	u64 cfg = FIELD_GET(STRTAB_STE_0_CFG, le64_to_cpu(ste->data[0]));
	u64 cd;

	if (cfg == STRTAB_STE_0_CFG_S2_TRANS || cfg == STRTAB_STE_0_CFG_NESTED)
		return FIELD_GET(STRTAB_STE_2_S2VMID, le64_to_cpu(ste->data[2]));
	if (cfg != STRTAB_STE_0_CFG_S1_TRANS)
		return 0;
	cd = le64_to_cpu(arm_smmu_fake_cd(fm, pasid)->data[0]);
	return cd & CTXDESC_CD_0_V ? FIELD_GET(CTXDESC_CD_0_ASID, cd) : 0;
}

static void fake_disown(void *data)
{
	struct arm_smmu_fake_master *fm = data;

	list_del(&fm->list);
	iommu_detach_group_handle(arm_smmu_fake_blocked(fm), fm->group);
	iommu_device_release_dma_owner(fm->dev);
}

/* Set the firmware properties of a device, before it is added to its bus */
static void fake_describe(struct arm_smmu_fake *fake, struct device *dev, u32 flags,
			  const u32 *sids, unsigned int num_sids)
{
	struct kunit *test = fake->test;
	struct iommu_fwspec *fwspec;

	/* The core frees dev->iommu and fwspec with the device */
	dev->iommu = kzalloc_obj(*dev->iommu);
	KUNIT_ASSERT_NOT_NULL(test, dev->iommu);
	mutex_init(&dev->iommu->lock);
	fwspec = kzalloc_flex(*fwspec, ids, num_sids);
	KUNIT_ASSERT_NOT_NULL(test, fwspec);
	fwspec->iommu_fwnode = fwnode_handle_get(dev_fwnode(&fake->pdev->dev));
	fwspec->flags = flags | IOMMU_FWSPEC_PCI_RC_CANWBS;
	fwspec->num_ids = num_sids;
	memcpy(fwspec->ids, sids, num_sids * sizeof(*sids));
	dev_iommu_fwspec_set(dev, fwspec);
}

static struct arm_smmu_fake_master *fake_own_master(struct arm_smmu_fake *fake,
						    struct device *dev)
{
	struct kunit *test = fake->test;
	struct arm_smmu_fake_master *fm = arm_smmu_fake_zalloc(test, sizeof(*fm));

	fm->fake = fake;
	fm->dev = dev;
	fm->group = dev->iommu_group;
	KUNIT_ASSERT_NOT_NULL(test, fm->group);
	fm->master = dev_iommu_priv_get(dev);

	KUNIT_ASSERT_EQ(test, 0, iommu_device_claim_dma_owner(dev, fm));
	list_add(&fm->list, &fake_masters);
	arm_smmu_fake_add_action(test, fake_disown, fm);
	arm_smmu_fake_drop_cmds(fake);
	return fm;
}

/**
 * arm_smmu_fake_add_master() - Put a device behind a fake SMMU
 * @fake: the fake SMMU
 * @sid: the stream ID of the device, less than 16
 * @ssid_bits: number of PASID bits of the device
 *
 * The device is owned as by VFIO and attached to the blocked domain. Only its
 * firmware properties are fake. The core and the driver probe it as any other.
 *
 * Return: the device. On failure the test is aborted.
 */
struct arm_smmu_fake_master *
arm_smmu_fake_add_master(struct arm_smmu_fake *fake, u32 sid, unsigned int ssid_bits)
{
	const struct property_entry properties[] = {
		PROPERTY_ENTRY_U32("pasid-num-bits", ssid_bits),
		{}
	};
	struct kunit *test = fake->test;
	struct platform_device *pdev;

	pdev = kunit_platform_device_alloc(test, "fake-master", PLATFORM_DEVID_AUTO);
	KUNIT_ASSERT_NOT_NULL(test, pdev);
	KUNIT_ASSERT_EQ(test, 0,
			device_create_managed_software_node(&pdev->dev, properties, NULL));
	fake_describe(fake, &pdev->dev, 0, &sid, 1);

	/* The core probes the device when it is added to its bus */
	KUNIT_ASSERT_EQ(test, 0, kunit_platform_device_add(test, pdev));
	return fake_own_master(fake, &pdev->dev);
}

/* A PCI device with ATS, and with PASIDs unless @ssid_bits is 0 */
struct arm_smmu_fake_master *
arm_smmu_fake_add_pci_master(struct arm_smmu_fake *fake, const u32 *sids,
			     unsigned int num_sids, unsigned int ssid_bits)
{
	struct device *dev;

	if (!IS_ENABLED(CONFIG_PCI_PASID))
		kunit_skip(fake->test, "needs CONFIG_PCI_PASID");
	dev = arm_smmu_fake_pci_alloc(fake, sids[0], ssid_bits);
	fake_describe(fake, dev, IOMMU_FWSPEC_PCI_RC_ATS, sids, num_sids);
	KUNIT_ASSERT_EQ(fake->test, 0, device_add(dev));
	arm_smmu_fake_add_action(fake->test, device_unregister_wrapper, dev);
	return fake_own_master(fake, dev);
}

static void fake_block_all(void *unused)
{
	struct arm_smmu_fake_master *fm;

	list_for_each_entry(fm, &fake_masters, list)
		WARN_ON(arm_smmu_fake_block(fm));
}

/* Free a domain at the end of the test. Devices are detached before, PASIDs are not. */
void arm_smmu_fake_own_domain(struct arm_smmu_fake_master *fm, struct iommu_domain *domain)
{
	arm_smmu_fake_add_action(fm->fake->test, domain_free_wrapper, domain);
	/* Runs first */
	arm_smmu_fake_add_action(fm->fake->test, fake_block_all, NULL);
}

/* Free a domain of arm_smmu_fake_own_domain() before the test ends */
void arm_smmu_fake_free_domain(struct arm_smmu_fake_master *fm, struct iommu_domain *domain)
{
	kunit_release_action(fm->fake->test, domain_free_wrapper, domain);
}

/* Allocate a paging domain, see arm_smmu_fake_own_domain() */
struct iommu_domain *arm_smmu_fake_alloc_domain(struct arm_smmu_fake_master *fm, u32 flags)
{
	struct iommu_domain *domain = iommu_paging_domain_alloc_flags(fm->dev, flags);

	KUNIT_ASSERT_NOT_ERR_OR_NULL(fm->fake->test, domain);
	arm_smmu_fake_own_domain(fm, domain);
	return domain;
}

/* Replace the domain of a device */
int arm_smmu_fake_attach(struct arm_smmu_fake_master *fm, struct iommu_domain *domain)
{
	return iommu_replace_group_handle(fm->group, domain, &fm->handle);
}

struct fake_pasid {
	struct iommu_domain *domain;
	struct iommu_domain *old;
	ioasid_t pasid;
};

static int fake_set_pasid_locked(struct device *dev, void *data)
{
	struct fake_pasid *fp = data;

	return fp->domain->ops->set_dev_pasid(fp->domain, dev, fp->pasid, fp->old);
}

/*
 * Attach a PASID to a domain in place of @old, or to the blocked domain to detach it.
 * This calls the driver under the mutex of the group, without the core, whose own
 * allocations would disturb a test that counts them.
 */
int arm_smmu_fake_set_pasid(struct arm_smmu_fake_master *fm, struct iommu_domain *domain,
			    ioasid_t pasid, struct iommu_domain *old)
{
	struct fake_pasid fp = { domain, old, pasid };

	return iommu_group_for_each_dev(fm->group, &fp, fake_set_pasid_locked);
}

/*
 * Fail one allocation of the current task. failslab alone cannot do this: it does not
 * fail GFP_KERNEL allocations until user space changes its setting in debugfs.
 */
static struct {
	struct kprobe probe;
	struct task_struct *task;
	unsigned int fail_nth;
} fake_slab;

static int fake_alloc_hook(struct kprobe *p, struct pt_regs *regs)
{
	if (current != READ_ONCE(fake_slab.task) || !in_task())
		return 0;
	/* Debug objects and kmemleak handle a failure of their own allocations */
	if (regs_get_kernel_argument(regs, 1) & (__force u64)__GFP_NOWARN)
		return 0;
	if (!fake_slab.fail_nth || --fake_slab.fail_nth)
		return 0;

	/* Return from should_failslab() without running it */
	regs_set_return_value(regs, -ENOMEM);
	instruction_pointer_set(regs, procedure_link_pointer(regs));
	return 1;
}

/**
 * arm_smmu_fake_slab_start() - Let an allocation of the current task fail
 * @fail_nth: number of the allocation that fails, from 1
 *
 * Return: 0, or an error without CONFIG_KPROBES or CONFIG_FAILSLAB.
 */
int arm_smmu_fake_slab_start(unsigned int fail_nth)
{
	int ret;

	fake_slab.probe = (struct kprobe){
		.symbol_name = "should_failslab",
		.pre_handler = fake_alloc_hook,
	};
	ret = register_kprobe(&fake_slab.probe);
	if (ret)
		return ret;
	fake_slab.fail_nth = fail_nth;
	WRITE_ONCE(fake_slab.task, current);
	return 0;
}

/* Return: true if an allocation failed */
bool arm_smmu_fake_slab_stop(void)
{
	WRITE_ONCE(fake_slab.task, NULL);
	unregister_kprobe(&fake_slab.probe);
	return !fake_slab.fail_nth;
}

MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");
MODULE_IMPORT_NS("IOMMUFD_INTERNAL");
MODULE_DESCRIPTION("KUnit tests for the arm-smmu-v3 driver on a fake SMMU");
MODULE_LICENSE("GPL");
