// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit benchmarks of invalidation, attach and SVA on fake SMMUs. No figure makes a
 * test fail. Each figure is one line in the log:
 *
 *	figure NAME UNIT MEDIAN MIN MAX SAMPLES
 *
 * The comments of the cases explain names and units. There are four groups of cases.
 * Each is skipped where its figures would be misleading:
 *
 *  - bench_time_*: time, on fake SMMUs that take a stated time for a CMD_SYNC.
 *    Needs two CPUs.
 *  - bench_threads_*: the same for several threads. A thread waits for a CMD_SYNC
 *    with interrupts disabled. Needs a CPU for each thread and one for the SMMUs.
 *  - bench_parallel_*: rate of an operation on several CPUs, on a fake SMMU that
 *    takes no time.
 *  - bench_count_*: instructions, on fake SMMUs that take no time. Needs a system
 *    counter that counts instructions, as in an emulator (QEMU: -icount shift=0,
 *    and one CPU).
 *
 * This file also compiles with older versions of the driver, to compare them. Like
 * iommufd and the SVA code of the core, it allocates another domain for a device to
 * which a domain cannot be attached.
 */
#include <asm/arch_timer.h>
#include <kunit/static_stub.h>
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/kprobes.h>
#include <linux/kthread.h>
#include <linux/mman.h>
#include <linux/sched/mm.h>
#include <linux/sort.h>
#include <linux/uaccess.h>
#include <uapi/linux/iommufd.h>

#include "fake.h"

#define BENCH_SHIFT		14
#define BENCH_SAMPLES		9
#define BENCH_SYNC_USECS	1000
#define BENCH_IOVA		SZ_1G
#define BENCH_SID		1
#define BENCH_SID_BITS		13
#define BENCH_SSID_BITS		4
#define BENCH_MAX_SMMUS		16
#define BENCH_MAX_DEVICES	4096
#define BENCH_MAX_THREADS	8
#define BENCH_PARALLEL_MS	200
/* The size of a queue that one invalidation fills by a TLBI for each page and a CMD_SYNC */
#define BENCH_DEAD_SHIFT	9
#define BENCH_DEAD_SIZE		(((1 << BENCH_DEAD_SHIFT) - 1) * SZ_4K)
/*
 * The driver polls CMDQ_CONS after about 1, 3, 7, ... 511, 1023 us. The figure would vary
 * with scheduling if a CMD_SYNC took about as long as one of these times.
 */
#define BENCH_DEAD_SYNC_USECS	700
/* After this time a dead SMMU consumes commands again, so that tasks do not wait forever */
#define BENCH_DEAD_MS		3000

struct bench_samples {
	u64 val[BENCH_SAMPLES];
	unsigned int num;
};

static int bench_compare(const void *a, const void *b)
{
	u64 x = *(const u64 *)a, y = *(const u64 *)b;

	return x < y ? -1 : x > y;
}

static void __printf(4, 5)
bench_report(struct kunit *test, struct bench_samples *samples,
	     const char *unit, const char *fmt, ...)
{
	u64 *val = samples->val;
	va_list args;
	char name[64];

	va_start(args, fmt);
	vsnprintf(name, sizeof(name), fmt, args);
	va_end(args);

	sort(val, samples->num, sizeof(*val), bench_compare, NULL);
	kunit_info(test, "figure %s %s %llu %llu %llu %u", name, unit,
		   val[samples->num / 2], val[0], val[samples->num - 1],
		   samples->num);
}

static void bench_report_one(struct kunit *test, u64 val, const char *unit,
			     const char *name, unsigned int num)
{
	struct bench_samples samples = { .val = { val }, .num = 1 };

	bench_report(test, &samples, unit, "%s-%u", name, num);
}

/*
 * SMMUs of benchmarks use the time of the host. If an SMMU takes no time, CMDQ_CONS is
 * the same word as CMDQ_PROD. Otherwise tasks on all CPUs consume the commands of all
 * SMMUs, since no task runs on the CPU on which the driver waits. With
 * bench_first_cpu_consumes there is only a task on the first CPU, which the driver does
 * not use.
 */
struct bench_smmu {
	struct arm_smmu_fake *fake;
	struct list_head timed;
	unsigned int usecs;
	bool dead;
	u32 cons;
	u32 next;
	u32 seen;
	ktime_t sync_end;
	ktime_t last_sync;
};

static DEFINE_RAW_SPINLOCK(bench_lock);
static LIST_HEAD(bench_timed);
static struct bench_smmu *bench_smmus_of_test[BENCH_MAX_SMMUS];
static unsigned int bench_num_smmus;
static bool bench_first_cpu_consumes;

static struct bench_smmu *bench_find(struct arm_smmu_fake *fake)
{
	unsigned int i = 0;

	while (bench_smmus_of_test[i]->fake != fake)
		i++;
	return bench_smmus_of_test[i];
}

static u32 bench_index(struct bench_smmu *bs, u32 index)
{
	struct arm_smmu_ll_queue *llq = &bs->fake->smmu.cmdq.q.llq;

	return Q_WRP(llq, index) | Q_IDX(llq, index);
}

static struct arm_smmu_fake *bench_create_small(struct kunit *test, unsigned int shift)
{
	struct arm_smmu_fake *fake = arm_smmu_fake_create(test, shift);
	struct arm_smmu_queue *q = &fake->smmu.cmdq.q;
	struct bench_smmu *bs;

	if (!bench_num_smmus) {
		kunit_deactivate_static_stub(test, arm_smmu_queue_poll_init);
		kunit_deactivate_static_stub(test, arm_smmu_queue_poll);
		kunit_deactivate_static_stub(test, arm_smmu_erratum_repeat_tlbi_cfgi);
	}
	bs = kunit_kzalloc(test, sizeof(*bs), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, bs);
	bs->fake = fake;
	INIT_LIST_HEAD(&bs->timed);
	KUNIT_ASSERT_LT(test, bench_num_smmus, BENCH_MAX_SMMUS);
	bench_smmus_of_test[bench_num_smmus++] = bs;
	q->cons_reg = q->prod_reg;
	fake->smmu.features |= ARM_SMMU_FEAT_SVA;
	return fake;
}

static struct arm_smmu_fake *bench_create(struct kunit *test)
{
	struct arm_smmu_fake *fake = bench_create_small(test, BENCH_SHIFT);

	fake->smmu.features |= ARM_SMMU_FEAT_RANGE_INV;
	return fake;
}

/* Consume commands, up to a CMD_SYNC that takes until later */
static void bench_consume(struct bench_smmu *bs)
{
	struct arm_smmu_queue *q = &bs->fake->smmu.cmdq.q;
	u32 prod = bench_index(bs, readl(q->prod_reg));

	while (!bs->dead && bs->next != prod) {
		u64 cmd = le64_to_cpu(Q_ENT(q, bs->next)[0]);
		ktime_t now = ktime_get();

		if (FIELD_GET(CMDQ_0_OP, cmd) == CMDQ_OP_CMD_SYNC) {
			if (!bs->sync_end)
				bs->sync_end = ktime_add_us(now, bs->usecs);
			if (ktime_before(now, bs->sync_end))
				return;
			bs->sync_end = 0;
			bs->last_sync = now;
		}
		bs->next = bench_index(bs, bs->next + 1);
		writel(bs->next, q->cons_reg);
	}
}

static int bench_consumer(void *unused)
{
	struct bench_smmu *bs;

	while (!kthread_should_stop()) {
		scoped_guard(raw_spinlock_irqsave, &bench_lock)
			list_for_each_entry(bs, &bench_timed, timed)
				bench_consume(bs);
		usleep_range(20, 50);
	}
	return 0;
}

static void bench_untime(void *data)
{
	struct bench_smmu *bs = data;

	guard(raw_spinlock_irqsave)(&bench_lock);
	list_del_init(&bs->timed);
	bs->fake->smmu.cmdq.q.cons_reg = bs->fake->smmu.cmdq.q.prod_reg;
}

static void bench_set_time(struct arm_smmu_fake *fake, unsigned int usecs)
{
	struct bench_smmu *bs = bench_find(fake);
	struct kunit *test = fake->test;
	unsigned int cpu;

	bs->usecs = usecs;
	if (list_empty(&bench_timed))
		for_each_online_cpu(cpu) {
			wake_up_process(arm_smmu_fake_create_task(test,
								  bench_consumer,
								  NULL, cpu));
			if (bench_first_cpu_consumes)
				break;
		}
	scoped_guard(raw_spinlock_irqsave, &bench_lock) {
		bs->next = bench_index(bs, readl(fake->smmu.cmdq.q.prod_reg));
		bs->cons = bs->next;
		fake->smmu.cmdq.q.cons_reg = (u32 __force __iomem *)&bs->cons;
		list_add_tail(&bs->timed, &bench_timed);
	}
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, bench_untime, bs));
}

static void bench_drop_cmds(struct arm_smmu_fake *fake)
{
	struct bench_smmu *bs = bench_find(fake);

	bs->seen = bench_index(bs, readl(fake->smmu.cmdq.q.prod_reg));
}

/* The number of commands that the driver has issued since the last call */
static unsigned int bench_commands(struct arm_smmu_fake *fake,
				   unsigned int *syncs)
{
	struct arm_smmu_queue *q = &fake->smmu.cmdq.q;
	struct bench_smmu *bs = bench_find(fake);
	u32 prod = bench_index(bs, readl(q->prod_reg));
	unsigned int num = 0;

	for (; bs->seen != prod; bs->seen = bench_index(bs, bs->seen + 1)) {
		num++;
		if ((le64_to_cpu(Q_ENT(q, bs->seen)[0]) & CMDQ_0_OP) ==
		    CMDQ_OP_CMD_SYNC)
			(*syncs)++;
	}
	return num;
}

static int bench_init(struct kunit *test)
{
	bench_num_smmus = 0;
	bench_first_cpu_consumes = false;
	/* Do not measure the look-up of static stubs in each poll */
	current->kunit_test = NULL;
	return 0;
}

static struct arm_smmu_fake_master *bench_add_dev(struct arm_smmu_fake *fake,
						  u32 sid, bool ats)
{
	if (ats)
		return arm_smmu_fake_add_pci_master(fake, &sid, 1, 0);
	return arm_smmu_fake_add_master(fake, sid, BENCH_SSID_BITS);
}

struct bench_range {
	const char *name;
	size_t size;
};

/* Invalidate as a strict unmap does, or with size 0 everything */
static void bench_inval(struct iommu_domain *domain, size_t size)
{
	struct iommu_iotlb_gather gather;

	if (!size) {
		domain->ops->flush_iotlb_all(domain);
		return;
	}
	iommu_iotlb_gather_init(&gather);
	gather.start = BENCH_IOVA;
	gather.end = BENCH_IOVA + size - 1;
	gather.pgsize = SZ_4K;
	domain->ops->iotlb_sync(domain, &gather);
}

static void bench_need_cpus(struct kunit *test, unsigned int num)
{
	if (num_online_cpus() < num)
		kunit_skip(test, "needs %u CPUs", num);
}

/* Attach a device behind each SMMU, with as few domains as the driver allows */
static unsigned int bench_attach_all(struct kunit *test,
				     struct arm_smmu_fake_master **fms,
				     struct iommu_domain **domains,
				     unsigned int num)
{
	unsigned int num_domains = 0, i, j;
	int ret;

	for (i = 0; i < num; i++) {
		ret = -EINVAL;
		for (j = 0; j < num_domains && ret == -EINVAL; j++)
			ret = arm_smmu_fake_attach(fms[i], domains[j]);
		if (ret == -EINVAL) {
			domains[j] = arm_smmu_fake_alloc_domain(fms[i], 0);
			num_domains++;
			ret = arm_smmu_fake_attach(fms[i], domains[j]);
		}
		KUNIT_ASSERT_EQ(test, ret, 0);
	}
	return num_domains;
}

/*
 * inval-K: microseconds of one invalidation of 4 KiB for devices behind K SMMUs. Each
 * SMMU takes BENCH_SYNC_USECS for a CMD_SYNC. The driver may wait twice as long: it
 * doubles the time between two polls of CMDQ_CONS.
 * inval-cmds-K, inval-syncs-K: commands, and CMD_SYNCs of them, on all SMMUs.
 */
static void bench_time_inval(struct kunit *test)
{
	unsigned int num = *(const unsigned int *)test->param_value;
	struct arm_smmu_fake_master *fms[BENCH_MAX_SMMUS];
	struct iommu_domain *domains[BENCH_MAX_SMMUS];
	struct bench_samples usecs = {};
	unsigned int num_domains, cmds = 0, syncs = 0, i;
	ktime_t start;

	bench_need_cpus(test, 2);
	for (i = 0; i < num; i++)
		fms[i] = bench_add_dev(bench_create(test), BENCH_SID, false);
	num_domains = bench_attach_all(test, fms, domains, num);
	for (i = 0; i < num; i++) {
		bench_set_time(fms[i]->fake, BENCH_SYNC_USECS);
		bench_drop_cmds(fms[i]->fake);
	}

	for (; usecs.num < BENCH_SAMPLES; usecs.num++) {
		start = ktime_get();
		for (i = 0; i < num_domains; i++)
			bench_inval(domains[i], SZ_4K);
		usecs.val[usecs.num] = ktime_us_delta(ktime_get(), start);
	}

	for (i = 0; i < num; i++)
		cmds += bench_commands(fms[i]->fake, &syncs);
	bench_report(test, &usecs, "us", "inval-%u", num);
	bench_report_one(test, cmds / BENCH_SAMPLES, "commands", "inval-cmds", num);
	bench_report_one(test, syncs / BENCH_SAMPLES, "syncs", "inval-syncs", num);
}

static const unsigned int bench_smmus[] = { 1, 2, 4, 8, BENCH_MAX_SMMUS };

static void bench_smmus_desc(const unsigned int *num, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%u SMMUs", *num);
}

KUNIT_ARRAY_PARAM(bench_smmus, bench_smmus, bench_smmus_desc);

KUNIT_DEFINE_ACTION_WRAPPER(unbind_wrapper, iommu_sva_unbind_device,
			    struct iommu_sva *);
KUNIT_DEFINE_ACTION_WRAPPER(unregister_kprobe_wrapper, unregister_kprobe,
			    struct kprobe *);

static atomic_t bench_notified;

static int bench_notifier_hook(struct kprobe *p, struct pt_regs *regs)
{
	atomic_inc(&bench_notified);
	return 0;
}

static struct kprobe bench_notifier = {
	.pre_handler = bench_notifier_hook,
};

/* Unmap one page of three, so that no table is freed */
static u64 bench_munmap(struct kunit *test)
{
	unsigned long uaddr;
	ktime_t start;

	uaddr = vm_mmap(NULL, 0, 3 * PAGE_SIZE, PROT_READ | PROT_WRITE,
			MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR_VALUE(uaddr));
	KUNIT_ASSERT_EQ(test, 0, clear_user((void __user *)uaddr, 3 * PAGE_SIZE));
	start = ktime_get();
	KUNIT_ASSERT_EQ(test, 0, vm_munmap(uaddr + PAGE_SIZE, PAGE_SIZE));
	return ktime_us_delta(ktime_get(), start);
}

/*
 * A process that is bound to devices behind K SMMUs unmaps a page.
 * sva-notifier-K: number of calls of notifiers of the driver.
 * sva-munmap-K: microseconds of the munmap().
 * sva-cmds-K, sva-syncs-K: commands, and CMD_SYNCs of them, on all SMMUs.
 */
static void bench_time_sva(struct kunit *test)
{
	unsigned int num = *(const unsigned int *)test->param_value;
	struct arm_smmu_fake_master *fms[BENCH_MAX_SMMUS];
	unsigned int cmds = 0, syncs = 0, i;
	struct bench_samples usecs = {};
	struct iommu_sva *handle;

	bench_need_cpus(test, 2);
	KUNIT_ASSERT_EQ(test, 0, kunit_attach_mm());
	for (i = 0; i < num; i++) {
		fms[i] = bench_add_dev(bench_create(test), BENCH_SID, false);
		handle = iommu_sva_bind_device(fms[i]->dev, current->mm);
		KUNIT_ASSERT_NOT_ERR_OR_NULL(test, handle);
		KUNIT_ASSERT_EQ(test, 0,
				kunit_add_action_or_reset(test, unbind_wrapper,
							  handle));
	}
	bench_munmap(test);

	bench_notifier.addr = NULL;
	bench_notifier.flags = 0;
	bench_notifier.symbol_name = "arm_smmu_mm_arch_invalidate_secondary_tlbs";
	if (register_kprobe(&bench_notifier))
		kunit_skip(test, "needs CONFIG_KPROBES");
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test,
						  unregister_kprobe_wrapper,
						  &bench_notifier));
	for (i = 0; i < num; i++)
		bench_drop_cmds(fms[i]->fake);
	atomic_set(&bench_notified, 0);
	bench_munmap(test);
	bench_report_one(test, atomic_read(&bench_notified), "calls", "sva-notifier", num);
	kunit_release_action(test, unregister_kprobe_wrapper, &bench_notifier);
	for (i = 0; i < num; i++)
		cmds += bench_commands(fms[i]->fake, &syncs);
	bench_report_one(test, cmds, "commands", "sva-cmds", num);
	bench_report_one(test, syncs, "syncs", "sva-syncs", num);

	for (i = 0; i < num; i++)
		bench_set_time(fms[i]->fake, BENCH_SYNC_USECS);
	for (; usecs.num < BENCH_SAMPLES; usecs.num++)
		usecs.val[usecs.num] = bench_munmap(test);
	bench_report(test, &usecs, "us", "sva-munmap-%u", num);
}

/*
 * A process that is bound to devices behind K SMMUs exits.
 * sva-exit-K: microseconds of the exit. The SMMUs take BENCH_SYNC_USECS for a CMD_SYNC.
 * sva-exit-stop-K: microseconds until the last CMD_SYNC completes. In the remaining time
 * the core waits for SRCU.
 */
static void bench_time_exit(struct kunit *test)
{
	unsigned int num = *(const unsigned int *)test->param_value;
	struct arm_smmu_fake_master *fms[BENCH_MAX_SMMUS];
	struct iommu_sva *handles[BENCH_MAX_SMMUS];
	struct bench_samples usecs = {}, stop = {};
	struct mm_struct *mm;
	ktime_t start, last;
	unsigned int i;

	bench_need_cpus(test, 2);
	for (i = 0; i < num; i++)
		fms[i] = bench_add_dev(bench_create(test), BENCH_SID, false);
	for (i = 0; i < num; i++)
		bench_set_time(fms[i]->fake, BENCH_SYNC_USECS);

	for (; usecs.num < BENCH_SAMPLES; usecs.num++) {
		mm = mm_alloc();
		KUNIT_ASSERT_NOT_NULL(test, mm);
		for (i = 0; i < num; i++) {
			handles[i] = iommu_sva_bind_device(fms[i]->dev, mm);
			KUNIT_ASSERT_NOT_ERR_OR_NULL(test, handles[i]);
		}
		start = ktime_get();
		mmput(mm);
		usecs.val[usecs.num] = ktime_us_delta(ktime_get(), start);
		for (i = 0, last = start; i < num; i++)
			last = max(last, bench_find(fms[i]->fake)->last_sync);
		stop.val[stop.num++] = ktime_us_delta(last, start);
		for (i = 0; i < num; i++)
			iommu_sva_unbind_device(handles[i]);
	}
	bench_report(test, &usecs, "us", "sva-exit-%u", num);
	bench_report(test, &stop, "us", "sva-exit-stop-%u", num);
}

struct bench_worker {
	void (*run)(struct bench_worker *worker);
	struct arm_smmu_fake_master *fm;
	struct iommu_domain *domain;
	struct completion exited;
	ktime_t start;
	ktime_t end;
	unsigned int passes;
	int ret;
};

static atomic_t bench_waited_for;

static int bench_worker_run(void *data)
{
	struct bench_worker *worker = data;

	atomic_dec(&bench_waited_for);
	while (atomic_read(&bench_waited_for))
		cpu_relax();
	worker->start = ktime_get();
	worker->run(worker);
	worker->end = ktime_get();
	kthread_complete_and_exit(&worker->exited, 0);
}

static void bench_worker_start(struct kunit *test, struct bench_worker *worker,
			       unsigned int cpu)
{
	struct task_struct *task;

	init_completion(&worker->exited);
	task = kthread_create(bench_worker_run, worker, "bench/%u", cpu);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, task);
	kthread_bind(task, cpu);
	wake_up_process(task);
}

/* Run a worker on each CPU from @cpu on. Return: microseconds until all have ended */
static u64 bench_work(struct kunit *test, struct bench_worker *workers,
		      unsigned int num, unsigned int cpu)
{
	ktime_t start = KTIME_MAX, end = 0;
	unsigned int i;

	atomic_set(&bench_waited_for, num);
	for (i = 0; i < num; i++)
		bench_worker_start(test, &workers[i], cpu + i);
	for (i = 0; i < num; i++) {
		wait_for_completion(&workers[i].exited);
		KUNIT_EXPECT_EQ(test, workers[i].ret, 0);
		start = min(start, workers[i].start);
		end = max(end, workers[i].end);
	}
	return ktime_us_delta(end, start);
}

static void bench_run_inval(struct bench_worker *worker)
{
	ktime_t end = ktime_add_ms(worker->start, BENCH_PARALLEL_MS);

	while (ktime_before(ktime_get(), end)) {
		bench_inval(worker->domain, SZ_4K);
		worker->passes++;
	}
}

static u64 bench_parallel(struct kunit *test, struct iommu_domain *domain,
			  const char *name, unsigned int num, unsigned int cpu)
{
	struct bench_worker workers[BENCH_MAX_THREADS] = {};
	struct bench_samples passes = {};
	u64 usecs, sum, total = 0;
	unsigned int i;

	for (; passes.num < BENCH_SAMPLES; passes.num++) {
		for (i = 0; i < num; i++) {
			workers[i].run = bench_run_inval;
			workers[i].domain = domain;
			workers[i].passes = 0;
		}
		usecs = bench_work(test, workers, num, cpu);
		for (i = 0, sum = 0; i < num; i++)
			sum += workers[i].passes;
		passes.val[passes.num] = sum * USEC_PER_SEC / usecs;
		total += sum;
	}
	bench_report(test, &passes, "passes/s", "%s-%u", name, num);
	return total;
}

/*
 * parallel-P, parallel-ats-P: invalidations of 4 KiB per second on P CPUs, of one domain
 * of a device without ATS and with it, on one SMMU that takes no time.
 */
static void bench_parallel_cpus(struct kunit *test)
{
	struct arm_smmu_fake_master *fm;
	struct iommu_domain *domain;
	unsigned int ats, num;

	bench_need_cpus(test, 2);
	for (ats = 0; ats < 2; ats++) {
		fm = bench_add_dev(bench_create(test), BENCH_SID, ats);
		domain = arm_smmu_fake_alloc_domain(fm, 0);
		KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(fm, domain));
		for (num = 1; num <= 2; num++)
			bench_parallel(test, domain, ats ? "parallel-ats" : "parallel", num, 0);
	}
}

static void bench_start_threads(struct kunit *test, unsigned int num)
{
	bench_need_cpus(test, num + 1);
	bench_first_cpu_consumes = true;
}

/*
 * inval-parallel-N: invalidations of 4 KiB per second by N threads, of one domain on one
 * SMMU that takes BENCH_SYNC_USECS for a CMD_SYNC.
 * inval-parallel-syncs-N: CMD_SYNCs of 100 such invalidations.
 */
static void bench_threads_inval(struct kunit *test)
{
	unsigned int num = *(const unsigned int *)test->param_value;
	struct arm_smmu_fake_master *fm;
	struct iommu_domain *domain;
	unsigned int syncs = 0;
	u64 passes;

	bench_start_threads(test, num);
	fm = bench_add_dev(bench_create(test), BENCH_SID, false);
	domain = arm_smmu_fake_alloc_domain(fm, 0);
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(fm, domain));
	bench_set_time(fm->fake, BENCH_SYNC_USECS);
	bench_drop_cmds(fm->fake);
	passes = bench_parallel(test, domain, "inval-parallel", num, 1);
	bench_commands(fm->fake, &syncs);
	bench_report_one(test, syncs * 100ULL / passes, "syncs/100",
			 "inval-parallel-syncs", num);
}

static const unsigned int bench_threads[] = { 1, 2, 4, BENCH_MAX_THREADS };

static void bench_threads_desc(const unsigned int *num, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%u threads", *num);
}

KUNIT_ARRAY_PARAM(bench_threads, bench_threads, bench_threads_desc);

static void bench_run_attach(struct bench_worker *worker)
{
	worker->ret = arm_smmu_fake_attach(worker->fm, worker->domain) ?:
		arm_smmu_fake_attach(worker->fm, arm_smmu_fake_blocked(worker->fm));
}

/*
 * attach-parallel-K: microseconds in which K threads attach and detach one device each.
 * The devices have domains of their own and are behind K SMMUs, each of which takes
 * BENCH_SYNC_USECS for a CMD_SYNC.
 */
static void bench_threads_attach(struct kunit *test)
{
	unsigned int num = *(const unsigned int *)test->param_value;
	struct bench_worker workers[BENCH_MAX_THREADS] = {};
	struct bench_samples usecs = {};
	unsigned int i;

	bench_start_threads(test, num);
	for (i = 0; i < num; i++) {
		workers[i].run = bench_run_attach;
		workers[i].fm = bench_add_dev(bench_create(test), BENCH_SID, false);
		workers[i].domain = arm_smmu_fake_alloc_domain(workers[i].fm, 0);
	}
	for (i = 0; i < num; i++)
		bench_set_time(workers[i].fm->fake, BENCH_SYNC_USECS);
	for (; usecs.num < BENCH_SAMPLES; usecs.num++)
		usecs.val[usecs.num] = bench_work(test, workers, num, 1);
	bench_report(test, &usecs, "us", "attach-parallel-%u", num);
}

static void bench_run_fill(struct bench_worker *worker)
{
	bench_inval(worker->domain, BENCH_DEAD_SIZE);
	bench_inval(worker->domain, BENCH_DEAD_SIZE);
}

static void bench_run_move(struct bench_worker *worker)
{
	worker->ret = arm_smmu_fake_attach(worker->fm, worker->domain);
}

/*
 * attach-beside-none: microseconds to attach and detach a device behind an SMMU that
 * takes BENCH_DEAD_SYNC_USECS for a CMD_SYNC.
 * attach-beside-dead: the same while an invalidation and an attach wait for another
 * SMMU, which is dead and has a full queue. If the attach takes BENCH_DEAD_MS, the SMMU
 * consumes commands again, and there is only this sample.
 */
static void bench_threads_dead(struct kunit *test)
{
	struct bench_samples alone = {}, beside = {};
	struct bench_worker workers[3] = {};
	struct arm_smmu_fake *dead;
	struct bench_smmu *bs;
	unsigned int i;

	bench_start_threads(test, ARRAY_SIZE(workers));
	dead = bench_create_small(test, BENCH_DEAD_SHIFT);
	bs = bench_find(dead);
	workers[0].run = bench_run_fill;
	workers[0].fm = bench_add_dev(dead, BENCH_SID, false);
	workers[0].domain = arm_smmu_fake_alloc_domain(workers[0].fm, 0);
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(workers[0].fm, workers[0].domain));
	workers[1].run = bench_run_move;
	workers[1].fm = bench_add_dev(dead, BENCH_SID + 1, false);
	workers[1].domain = workers[0].domain;
	workers[2].run = bench_run_attach;
	workers[2].fm = bench_add_dev(bench_create(test), BENCH_SID, false);
	workers[2].domain = arm_smmu_fake_alloc_domain(workers[2].fm, 0);
	bench_set_time(dead, 0);
	bench_set_time(workers[2].fm->fake, BENCH_DEAD_SYNC_USECS);

	for (; alone.num < BENCH_SAMPLES; alone.num++)
		alone.val[alone.num] = bench_work(test, &workers[2], 1, 3);
	bench_report(test, &alone, "us", "attach-beside-none");

	/* The first invalidation times out. Then the second one and the attach wait. */
	WRITE_ONCE(bs->dead, true);
	for (i = 0; i < 2; i++) {
		atomic_set(&bench_waited_for, 1);
		bench_worker_start(test, &workers[i], 1 + i);
		msleep(2 * ARM_SMMU_POLL_TIMEOUT_US / USEC_PER_MSEC);
	}
	while (beside.num < BENCH_SAMPLES && bs->dead) {
		atomic_set(&bench_waited_for, 1);
		bench_worker_start(test, &workers[2], 3);
		if (!wait_for_completion_timeout(&workers[2].exited,
						 msecs_to_jiffies(BENCH_DEAD_MS))) {
			WRITE_ONCE(bs->dead, false);
			wait_for_completion(&workers[2].exited);
		}
		KUNIT_EXPECT_EQ(test, workers[2].ret, 0);
		beside.val[beside.num++] = ktime_us_delta(workers[2].end, workers[2].start);
	}
	for (i = 0; i < 2; i++)
		KUNIT_EXPECT_FALSE(test, bs->dead && completion_done(&workers[i].exited));
	WRITE_ONCE(bs->dead, false);
	for (i = 0; i < 2; i++)
		wait_for_completion(&workers[i].exited);
	KUNIT_EXPECT_EQ(test, workers[1].ret, 0);
	bench_report(test, &beside, "us", "attach-beside-dead");
}

/*
 * detach-time-1, detach-ats-time-1: microseconds to detach the only device of a domain,
 * without ATS and with it. With ATS the driver has to wait for other tasks that may
 * still issue ATC_INVs for the device.
 */
static void bench_time_detach(struct kunit *test)
{
	struct arm_smmu_fake_master *fm;
	struct iommu_domain *domain;
	unsigned int ats;
	ktime_t start;

	bench_need_cpus(test, 2);
	for (ats = 0; ats < 2; ats++) {
		struct bench_samples usecs = {};

		fm = bench_add_dev(bench_create(test), BENCH_SID, ats);
		domain = arm_smmu_fake_alloc_domain(fm, 0);
		for (; usecs.num < BENCH_SAMPLES; usecs.num++) {
			KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(fm, domain));
			start = ktime_get();
			KUNIT_ASSERT_EQ(test, 0,
					arm_smmu_fake_attach(fm, arm_smmu_fake_blocked(fm)));
			usecs.val[usecs.num] = ktime_us_delta(ktime_get(), start);
		}
		bench_report(test, &usecs, "us", ats ? "detach-ats-time-1" : "detach-time-1");
	}
}

/*
 * detach-ats-stays-time-1: nanoseconds to move the only device of a domain to
 * another domain, with ATS enabled
 */
static void bench_time_move(struct kunit *test)
{
	struct iommu_domain *domains[2];
	struct bench_samples nsecs = {};
	struct arm_smmu_fake_master *fm;
	ktime_t start;

	bench_need_cpus(test, 2);
	fm = bench_add_dev(bench_create(test), BENCH_SID, true);
	domains[0] = arm_smmu_fake_alloc_domain(fm, 0);
	domains[1] = arm_smmu_fake_alloc_domain(fm, 0);
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(fm, domains[0]));
	for (; nsecs.num < BENCH_SAMPLES; nsecs.num++) {
		start = ktime_get();
		KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(fm, domains[!(nsecs.num % 2)]));
		nsecs.val[nsecs.num] = ktime_to_ns(ktime_sub(ktime_get(), start));
	}
	bench_report(test, &nsecs, "ns", "detach-ats-stays-time-1");
}

/* Two instructions per iteration */
static noinline void bench_loop(unsigned long turns)
{
	asm volatile("1:	subs	%0, %0, #1\n"
		     "	b.ne	1b\n"
		     : "+r" (turns) : : "cc");
}

static u64 bench_count_loop(unsigned long turns)
{
	unsigned long flags;
	u64 start, end;

	local_irq_save(flags);
	start = __arch_counter_get_cntvct();
	bench_loop(turns);
	end = __arch_counter_get_cntvct();
	local_irq_restore(flags);
	return end - start;
}

/*
 * Skip the test unless the counter is exact for loops with known numbers of instructions.
 * Return: the difference between two reads of the counter without code in between
 */
static u64 bench_need_counter(struct kunit *test)
{
	static const unsigned long turns[] = { 10, 1000, 12345, 1000000 };
	u64 nothing = bench_count_loop(1) - 2;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(turns); i++)
		if (bench_count_loop(turns[i]) != nothing + 2 * turns[i])
			kunit_skip(test, "needs a counter that counts instructions");
	return nothing;
}

/* A linear stream table with room for the streams of thousands of devices */
static void bench_widen(struct kunit *test, struct arm_smmu_fake *fake)
{
	struct arm_smmu_device *smmu = &fake->smmu;
	unsigned int num = 1 << BENCH_SID_BITS;
	struct arm_smmu_ste *table;
	unsigned int i;

	table = kunit_kcalloc(test, num, sizeof(*table), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, table);
	for (i = 0; i < num; i++)
		arm_smmu_make_abort_ste(&table[i]);
	smmu->strtab_cfg.linear.table = table;
	smmu->strtab_cfg.linear.num_ents = num;
	smmu->sid_bits = BENCH_SID_BITS;
}

/* Set the driver's copy of CMDQ_CONS as if the next @num commands were consumed */
static void bench_be_ahead(struct arm_smmu_fake *fake, unsigned int num)
{
	struct arm_smmu_ll_queue *llq = &fake->smmu.cmdq.q.llq;
	u32 cons = llq->prod + num;

	WRITE_ONCE(llq->cons, Q_WRP(llq, cons) | Q_IDX(llq, cons));
}

/*
 * inval-insn-1-*: instructions of one invalidation outside the polling loop, with
 * interrupts disabled. The driver reads its copy of CMDQ_CONS before it polls. The test
 * sets the copy such that the driver does not poll.
 * inval-insn-1-*-poll: the same with a first poll of CMDQ_CONS that finds all commands
 * consumed.
 */
static void bench_count_domain(struct kunit *test, struct arm_smmu_fake *fake,
			       struct iommu_domain *domain, const char *name)
{
	static const struct bench_range ranges[] = {
		{ "4k", SZ_4K },
		{ "2m", SZ_2M },
		{ "all", 0 },
	};
	u64 nothing = bench_need_counter(test);
	unsigned int cmds, syncs, ahead, i;
	unsigned long flags;
	u64 start, end;

	for (i = 0; i < ARRAY_SIZE(ranges); i++) {
		bench_drop_cmds(fake);
		bench_inval(domain, ranges[i].size);
		syncs = 0;
		cmds = bench_commands(fake, &syncs);
		KUNIT_ASSERT_NE(test, cmds, 0);

		for (ahead = 0; ahead < 2; ahead++) {
			struct bench_samples insns = {};

			for (; insns.num < BENCH_SAMPLES; insns.num++) {
				local_irq_save(flags);
				if (ahead)
					bench_be_ahead(fake, cmds);
				start = __arch_counter_get_cntvct();
				bench_inval(domain, ranges[i].size);
				end = __arch_counter_get_cntvct();
				local_irq_restore(flags);
				insns.val[insns.num] = end - start - nothing;
			}
			bench_report(test, &insns, "insns",
				     "inval-insn-1-%s-%s%s", name,
				     ranges[i].name, ahead ? "" : "-poll");
		}
		bench_report(test, &(struct bench_samples){ { cmds }, 1 },
			     "commands", "inval-cmds-1-%s-%s", name,
			     ranges[i].name);
		bench_report(test, &(struct bench_samples){ { syncs }, 1 },
			     "syncs", "inval-syncs-1-%s-%s", name,
			     ranges[i].name);
		bench_drop_cmds(fake);
	}
}

static void bench_count_stage(struct kunit *test, const char *name,
			      u32 features, u32 flags, bool ats)
{
	struct arm_smmu_fake *fake;
	struct arm_smmu_fake_master *fm;
	struct iommu_domain *domain;

	bench_need_counter(test);
	fake = bench_create(test);
	fake->smmu.features &= ~features;
	fm = bench_add_dev(fake, BENCH_SID, ats);
	domain = arm_smmu_fake_alloc_domain(fm, flags);
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(fm, domain));
	bench_count_domain(test, fake, domain, name);
}

static void bench_count_s1(struct kunit *test)
{
	bench_count_stage(test, "s1", 0, 0, false);
}

static void bench_count_s1_ats(struct kunit *test)
{
	bench_count_stage(test, "s1-ats", 0, 0, true);
}

/* Stage 2 of an SMMU without stage 1 */
static void bench_count_s2_only(struct kunit *test)
{
	bench_count_stage(test, "s2-only", ARM_SMMU_FEAT_TRANS_S1 |
			  ARM_SMMU_FEAT_NESTING | ARM_SMMU_FEAT_SVA, 0, false);
}

/* A nesting parent without a guest */
static void bench_count_s2(struct kunit *test)
{
	bench_count_stage(test, "s2", 0, IOMMU_HWPT_ALLOC_NEST_PARENT, false);
}

static void bench_count_s2_ats(struct kunit *test)
{
	bench_count_stage(test, "s2-ats", 0, IOMMU_HWPT_ALLOC_NEST_PARENT, true);
}

static void bench_destroy_vsmmu(void *data)
{
	struct arm_vsmmu *vsmmu = data;

	if (vsmmu->core.ops->destroy)
		vsmmu->core.ops->destroy(&vsmmu->core);
	xa_destroy(&vsmmu->core.vdevs);
}

/* A nesting parent whose only device is that of a guest which bypasses stage 1 */
static void bench_count_guest(struct kunit *test, const char *name, bool ats)
{
	struct iommu_hwpt_arm_smmuv3 arg = {
		.ste[0] = cpu_to_le64(STRTAB_STE_0_V |
				      FIELD_PREP(STRTAB_STE_0_CFG,
						 STRTAB_STE_0_CFG_BYPASS)),
		.ste[1] = cpu_to_le64(FIELD_PREP(STRTAB_STE_1_EATS,
						 STRTAB_STE_1_EATS_TRANS)),
	};
	struct iommu_user_data data = {
		.type = IOMMU_HWPT_DATA_ARM_SMMUV3,
		.len = sizeof(arg),
	};
	struct iommu_domain *parent, *nested;
	struct arm_smmu_fake_master *fm;
	struct arm_smmu_fake *fake;
	struct arm_vsmmu *vsmmu;
	unsigned long uaddr;

	bench_need_counter(test);
	fake = bench_create(test);
	fm = bench_add_dev(fake, BENCH_SID, ats);
	parent = arm_smmu_fake_alloc_domain(fm, IOMMU_HWPT_ALLOC_NEST_PARENT);

	vsmmu = kunit_kzalloc(test, sizeof(*vsmmu), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, vsmmu);
	xa_init(&vsmmu->core.vdevs);
	vsmmu->core.type = IOMMU_VIOMMU_TYPE_ARM_SMMUV3;
	vsmmu->core.iommu_dev = &fake->smmu.iommu;
	KUNIT_ASSERT_EQ(test, 0, fake->smmu.iommu.ops->viommu_init(&vsmmu->core, parent, NULL));
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, bench_destroy_vsmmu, vsmmu));

	uaddr = kunit_vm_mmap(test, NULL, 0, PAGE_SIZE, PROT_READ | PROT_WRITE,
			      MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_FALSE(test, !uaddr || IS_ERR_VALUE(uaddr));
	data.uptr = (void __user *)uaddr;
	KUNIT_ASSERT_EQ(test, 0, copy_to_user(data.uptr, &arg, sizeof(arg)));
	nested = vsmmu->core.ops->alloc_domain_nested(&vsmmu->core, 0, &data);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, nested);
	arm_smmu_fake_own_domain(fm, nested);

	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(fm, nested));
	bench_count_domain(test, fake, parent, name);
}

static void bench_count_nested(struct kunit *test)
{
	bench_count_guest(test, "nested", false);
}

static void bench_count_nested_ats(struct kunit *test)
{
	bench_count_guest(test, "nested-ats", true);
}

struct bench_attach {
	struct iommu_domain *domain;
	struct iommu_domain *old;
	u64 insns;
	int ret;
};

static int bench_attach_locked(struct device *dev, void *data)
{
	struct bench_attach *ba = data;
	u64 start = __arch_counter_get_cntvct();

	ba->ret = ba->domain->ops->attach_dev(ba->domain, dev, ba->old);
	ba->insns = __arch_counter_get_cntvct() - start;
	return ba->ret;
}

/* Attach without the core, which is the same for all versions of the driver */
static u64 bench_attach(struct kunit *test, struct arm_smmu_fake_master *fm,
			struct iommu_domain *domain, struct iommu_domain *old)
{
	struct bench_attach ba = { .domain = domain, .old = old };

	KUNIT_ASSERT_EQ(test, 0, iommu_group_for_each_dev(fm->group, &ba, bench_attach_locked));
	return ba.insns;
}

/*
 * attach-1: instructions to attach a device to a domain of its own and to detach
 * it again, without ATS.
 */
static void bench_count_attach(struct kunit *test)
{
	u64 nothing = bench_need_counter(test);
	struct bench_samples insns = {};
	struct arm_smmu_fake_master *fm;
	struct iommu_domain *blocked, *domain;
	u64 attach, detach;

	fm = bench_add_dev(bench_create(test), BENCH_SID, false);
	blocked = arm_smmu_fake_blocked(fm);
	domain = arm_smmu_fake_alloc_domain(fm, 0);
	for (; insns.num < BENCH_SAMPLES; insns.num++) {
		attach = bench_attach(test, fm, domain, blocked);
		detach = bench_attach(test, fm, blocked, domain);
		insns.val[insns.num] = attach + detach - 2 * nothing;
	}
	bench_report(test, &insns, "insns", "attach-1");
}

/* detach-ats-stays-1: instructions to move a device to another domain, with ATS enabled */
static void bench_count_move(struct kunit *test)
{
	u64 nothing = bench_need_counter(test);
	struct bench_samples insns = {};
	struct arm_smmu_fake_master *fm;
	struct iommu_domain *domains[2];
	u64 there, back;

	fm = bench_add_dev(bench_create(test), BENCH_SID, true);
	domains[0] = arm_smmu_fake_alloc_domain(fm, 0);
	domains[1] = arm_smmu_fake_alloc_domain(fm, 0);
	bench_attach(test, fm, domains[0], arm_smmu_fake_blocked(fm));
	KUNIT_ASSERT_TRUE(test, fm->master->ats_enabled);
	for (; insns.num < BENCH_SAMPLES; insns.num++) {
		there = bench_attach(test, fm, domains[1], domains[0]);
		back = bench_attach(test, fm, domains[0], domains[1]);
		insns.val[insns.num] = (there + back) / 2 - nothing;
	}
	/* For the core the device is in the blocked domain */
	bench_attach(test, fm, arm_smmu_fake_blocked(fm), domains[0]);
	bench_report(test, &insns, "insns", "detach-ats-stays-1");
}

static const unsigned int bench_devices[] = {
	1, 4, 16, 64, 256, 1024, BENCH_MAX_DEVICES
};

static void bench_devices_desc(const unsigned int *num, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%u devices", *num);
}

KUNIT_ARRAY_PARAM(bench_devices, bench_devices, bench_devices_desc);

/*
 * attach-nth-N, detach-nth-N: instructions to attach the Nth device with ATS to a domain
 * and to detach it, including other tasks that run meanwhile.
 * attach-bytes-N: the size of the array with N devices.
 *
 * The N - 1 others are one device with N - 1 streams, which has as many entries in the
 * array. Thousands of devices would take minutes to add and remove.
 */
static void bench_count_attach_nth(struct kunit *test)
{
	unsigned int num = *(const unsigned int *)test->param_value;
	struct bench_samples attach = {}, detach = {};
	u64 nothing = bench_need_counter(test);
	struct arm_smmu_fake_master *fm, *others;
	struct iommu_domain *blocked, *domain;
	struct arm_smmu_fake *fake;
	struct arm_smmu_invs *invs;
	size_t bytes = 0;
	unsigned int i;
	u32 *sids;

	fake = bench_create(test);
	bench_widen(test, fake);
	sids = kunit_kcalloc(test, num, sizeof(*sids), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, sids);
	for (i = 0; i < num; i++)
		sids[i] = BENCH_SID + i;

	/* Its StreamID is in the middle of those of the others */
	swap(sids[num / 2], sids[num - 1]);
	fm = arm_smmu_fake_add_pci_master(fake, &sids[num - 1], 1, 0);
	blocked = arm_smmu_fake_blocked(fm);
	domain = arm_smmu_fake_alloc_domain(fm, 0);
	if (num > 1) {
		others = arm_smmu_fake_add_pci_master(fake, sids, num - 1, 0);
		KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(others, domain));
	}

	for (i = 0; i < BENCH_SAMPLES; i++) {
		attach.val[attach.num++] = bench_attach(test, fm, domain, blocked) - nothing;
		invs = arm_smmu_fake_invs(domain);
		KUNIT_ASSERT_EQ(test, invs->num_invs, num + 1);
		bytes = struct_size(invs, inv, invs->max_invs);
		detach.val[detach.num++] = bench_attach(test, fm, blocked, domain) - nothing;
	}
	bench_report(test, &attach, "insns", "attach-nth-%u", num);
	bench_report(test, &detach, "insns", "detach-nth-%u", num);
	bench_report_one(test, bytes, "bytes", "attach-bytes", num);
}

static struct kunit_case arm_smmu_v3_bench_test_cases[] = {
	KUNIT_CASE_PARAM_ATTR(bench_time_inval, bench_smmus_gen_params,
			      { .speed = KUNIT_SPEED_SLOW }),
	KUNIT_CASE_PARAM_ATTR(bench_time_sva, bench_smmus_gen_params,
			      { .speed = KUNIT_SPEED_SLOW }),
	KUNIT_CASE_PARAM_ATTR(bench_time_exit, bench_smmus_gen_params,
			      { .speed = KUNIT_SPEED_SLOW }),
	KUNIT_CASE_SLOW(bench_time_detach),
	KUNIT_CASE_SLOW(bench_time_move),
	KUNIT_CASE_SLOW(bench_parallel_cpus),
	KUNIT_CASE_PARAM_ATTR(bench_threads_inval, bench_threads_gen_params,
			      { .speed = KUNIT_SPEED_SLOW }),
	KUNIT_CASE_PARAM_ATTR(bench_threads_attach, bench_threads_gen_params,
			      { .speed = KUNIT_SPEED_SLOW }),
	KUNIT_CASE_SLOW(bench_threads_dead),
	KUNIT_CASE(bench_count_s1),
	KUNIT_CASE(bench_count_s1_ats),
	KUNIT_CASE(bench_count_s2_only),
	KUNIT_CASE(bench_count_s2),
	KUNIT_CASE(bench_count_s2_ats),
	KUNIT_CASE(bench_count_nested),
	KUNIT_CASE(bench_count_nested_ats),
	KUNIT_CASE(bench_count_attach),
	KUNIT_CASE(bench_count_move),
	KUNIT_CASE_PARAM_ATTR(bench_count_attach_nth, bench_devices_gen_params,
			      { .speed = KUNIT_SPEED_SLOW }),
	{}
};

static struct kunit_suite arm_smmu_v3_bench_test_suite = {
	.name = "arm-smmu-v3-bench",
	.suite_exit = arm_smmu_fake_suite_exit,
	.init = bench_init,
	.test_cases = arm_smmu_v3_bench_test_cases,
};

kunit_test_suites(&arm_smmu_v3_bench_test_suite);
