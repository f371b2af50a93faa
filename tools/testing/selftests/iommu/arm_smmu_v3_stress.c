// SPDX-License-Identifier: GPL-2.0-only
/*
 * Stress the arm-smmu-v3 driver. Each process stands for a VM and has a thread for
 * each of its devices. The threads map and unmap, attach and detach, allocate and
 * destroy vSMMUs, write guest stage-1 tables and send invalidations. One VM is
 * hostile and one is killed repeatedly. Optionally, disks of the kernel's own
 * drivers are written and read at the same time.
 *
 * DMA is checked against the mappings all the time. To avoid races in the checks,
 * an IOVA, a page and the attachment of a device belong to one thread. IOASes,
 * domains and SMMUs are shared by all threads.
 *
 * Each thread has a separate random seed, derived from the one given by --seed.
 * The order of operations of different threads is not reproducible.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/wait.h>

#include <linux/io.h>
#include <linux/iommufd.h>
#include <linux/pci_regs.h>
#include <linux/sizes.h>

#include "arm_smmu_v3_utils.h"

#define MAX_DISKS		8
#define MAX_VMS		4
#define MAX_WORKERS		(MAX_DEVICES + MAX_DISKS + MAX_VMS)

/* Kinds of operations to be counted */
enum kind {
	MAP,
	UNMAP,
	DMA,
	DMA_STOPPED,
	ATTACH,
	REPLACE,
	REPLACE_BUSY,
	DETACH,
	HWPT,
	NEST_BYPASS,
	NEST_ABORT,
	NEST_S1,
	NEST_RANDOM,
	INVALIDATE,
	INVALIDATE_RANDOM,
	VSTE_RANDOM,
	VSMMU,
	VDEVICE,
	VEVENTQ,
	VEVENT,
	REOPEN,
	KILL,
	DISK_WRITE,
	DISK_READ,
	NUM_KINDS,
};

static const char *const kinds[NUM_KINDS] = {
	[MAP] = "map",
	[UNMAP] = "unmap",
	[DMA] = "DMA that hit",
	[DMA_STOPPED] = "DMA that was blocked",
	[ATTACH] = "attach",
	[REPLACE] = "replace",
	[REPLACE_BUSY] = "replace during DMA",
	[DETACH] = "detach",
	[HWPT] = "HWPT",
	[NEST_BYPASS] = "nested bypass",
	[NEST_ABORT] = "nested abort",
	[NEST_S1] = "nested stage 1",
	[NEST_RANDOM] = "nested attach of a random vSTE",
	[INVALIDATE] = "invalidation",
	[INVALIDATE_RANDOM] = "random invalidation",
	[VSTE_RANDOM] = "random vSTE",
	[VSMMU] = "vSMMU",
	[VDEVICE] = "vDEVICE",
	[VEVENTQ] = "vEVENTQ",
	[VEVENT] = "vEVENT",
	[REOPEN] = "device closed and opened",
	[KILL] = "process killed",
	[DISK_WRITE] = "disk write",
	[DISK_READ] = "disk read",
};

/* State and statistics of a thread, in memory shared by all processes */
struct worker {
	char name[64];
	u64 seed;
	u64 count[NUM_KINDS];
	/* Its process is killed repeatedly, so it may make no progress for a while */
	bool is_killed;
	pid_t process;
	char skipped[128];
	char failed[512];
};

static struct shared {
	struct worker workers[MAX_WORKERS];
	bool stop;
} *shared;

static int num_workers;
/* Longer than any operation takes, even on a busy host */
static unsigned int stuck_s = 120;
static __thread struct worker *this_worker;
static __thread struct rng rng;

static u64 worker_done(const struct worker *worker)
{
	u64 sum = 0;
	int i;

	for (i = 0; i < NUM_KINDS; i++)
		sum += READ_ONCE(worker->count[i]);
	return sum;
}

static void count(enum kind kind)
{
	WRITE_ONCE(this_worker->count[kind], this_worker->count[kind] + 1);
}

static bool stopped(void)
{
	return READ_ONCE(shared->stop);
}

/* Exit the process at the first failure, without any cleanup */
static void __noreturn __printf(1, 2)
fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	if (!*this_worker->failed)
		vsnprintf(this_worker->failed, sizeof(this_worker->failed), format, args);
	va_end(args);
	_exit(KSFT_FAIL);
}

#define CHECK(_true, _format, ...) do {				\
	if (!(_true))						\
		fail(_format, ##__VA_ARGS__);			\
} while (0)

/* Failing assertions of libvfio exit the process directly */
static void exiting(void)
{
	if (this_worker && !*this_worker->failed)
		snprintf(this_worker->failed, sizeof(this_worker->failed),
			 "an assertion failed, see above");
}

static u64 random_u64(void)
{
	return rng_next(&rng);
}

static u32 pick(u32 num)
{
	return random_u64() % num;
}

static bool one_in(u32 num)
{
	return !pick(num);
}

static void set_worker(struct worker *worker, unsigned int round)
{
	this_worker = worker;
	rng.state = worker->seed + round;
}

/*
 * QEMU's iommu-testdev, a source of DMA without queues in memory. Reading its first
 * register starts the write. Then it compares memory at a physical address, which
 * is unknown here, so only a failed write is significant in its result.
 */
#define TESTDEV_VENDOR		0x1b36
#define TESTDEV_DEVICE		0x0005
#define TESTDEV_REG_TRIGGER	0x00
#define TESTDEV_REG_IOVA_LO	0x04
#define TESTDEV_REG_IOVA_HI	0x08
#define TESTDEV_REG_LEN		0x0c
#define TESTDEV_REG_RESULT	0x10
#define   TESTDEV_WRITE_FAILED	0xdead0002
#define TESTDEV_REG_ARM		0x14
/* The length of a write identifies the thread. busy_thread() adds 4 bytes. */
#define TESTDEV_LEN		8

static bool is_testdev(const struct smmu_test *t)
{
	return vfio_pci_device_match(t->device, TESTDEV_VENDOR, TESTDEV_DEVICE);
}

static int testdev_write(struct smmu_test *t, u64 iova, u32 len)
{
	void *bar = t->device->bars[0].vaddr;

	writel((u32)iova, bar + TESTDEV_REG_IOVA_LO);
	writel(iova >> 32, bar + TESTDEV_REG_IOVA_HI);
	writel(len, bar + TESTDEV_REG_LEN);
	writel(1, bar + TESTDEV_REG_ARM);
	readl(bar + TESTDEV_REG_TRIGGER);
	return readl(bar + TESTDEV_REG_RESULT) == TESTDEV_WRITE_FAILED ? -EIO : 0;
}

/* Prepare the device for DMA after it was opened */
static const char *start_device(struct smmu_test *t)
{
	if (is_testdev(t)) {
		vfio_pci_cmd_set(t->device,
				 PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
		return NULL;
	}
	return nvme_dma_init(&t->nvme, t->device,
			     t->region.vaddr + OFF_QUEUES,
			     t->region.iova + OFF_QUEUES, slowness());
}

/*
 * Devices and their VMs
 */

/*
 * An area is mapped and unmapped as a whole. A cell is one page of an area. The
 * number of cells is small, as only translations that are still in the TLB can be
 * found stale. The TLB of QEMU drops all entries when it exceeds 256 entries.
 */
#define NUM_AREAS	4
#define AREA_CELLS	4
#define NUM_CELLS	(NUM_AREAS * AREA_CELLS)
#define NUM_PAGES	(4 * NUM_CELLS)
#define NUM_S1		8
#define NOWHERE		-1

enum place {
	/* In each IOAS */
	AT_IOAS,
	AT_HWPT,
	AT_PARENT,
	/* In the IOAS of the vSMMU */
	AT_BYPASS,
	AT_ABORT,
	AT_S1,
	DETACHED,
	/* Depends on a random vSTE */
	AT_RANDOM,
};

static const char *const places[] = {
	[AT_IOAS] = "the IOAS",
	[AT_HWPT] = "a HWPT",
	[AT_PARENT] = "the nesting parent",
	[AT_BYPASS] = "nested bypass",
	[AT_ABORT] = "nested abort",
	[AT_S1] = "nested stage 1",
	[DETACHED] = "nothing",
	[AT_RANDOM] = "a random vSTE",
};

/* A page and its current or last mapping */
struct page {
	bool mapped;
	unsigned int generation;
	unsigned int ioas;
	u64 iova;
	u64 unmapped_at;
};

struct profile;
struct vm;

struct device {
	struct vm *vm;
	struct worker *worker;
	pthread_t thread;
	struct smmu_test *t;
	bool testdev;
	/* The pages, filled with POISON except after DMA */
	void *memory;
	struct page pages[NUM_PAGES];
	/* The page of each cell of each IOAS, or NOWHERE */
	int cells[2][NUM_CELLS];
	u64 iova;
	enum place at;
	unsigned int ioas;
	/* Cell of the last DMA, whose translation is in the TLB */
	int last_cell;
	pthread_t busy_thread;
	bool busy_stop;

	/* The IOAS of the vSMMU's parent */
	unsigned int guest_ioas;
	u32 vsid;
	u32 veventq_id;
	u32 bypass_id;
	u32 abort_id;
	/* Two stage-1 tables, and the index of the one in the CD */
	struct s1_table s1[2];
	unsigned int cur_s1;
	/* The cell mapped at each stage-1 address, or NOWHERE */
	int s1_cells[NUM_S1];
};

struct vm {
	const struct profile *profile;
	struct smmu_test t[MAX_DEVICES];
	struct device devices[MAX_DEVICES];
	unsigned int num;
	/* Number of kills */
	unsigned int round;
	u32 ioas[2];
	u32 hwpt[2];
	u32 parent[2];
	bool nests;
};

static void __noreturn __printf(2, 3)
device_fail(const struct device *d, const char *format, ...)
{
	const struct test_device *td = d->t->test_device;
	char text[384];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	fail("device %s behind %s (%s), attached to %s of IOAS %u: %s",
	     td->bdf, td->smmu, td->smmu_dev, places[d->at], d->ioas, text);
}

#define DEVICE_CHECK(_d, _true, _format, ...) do {		\
	if (!(_true))						\
		device_fail(_d, _format, ##__VA_ARGS__);	\
} while (0)

#define EXPECT_0(_d, _call) do {				\
	int __ret = (_call);					\
								\
	DEVICE_CHECK(_d, !__ret, #_call ": %s", strerror(-__ret)); \
} while (0)

static u32 testdev_len(const struct device *d)
{
	return TESTDEV_LEN * (1 + (d->worker - shared->workers));
}

static int device_write(struct device *d, u64 iova)
{
	if (d->testdev)
		return testdev_write(d->t, iova, testdev_len(d));
	return nvme_dma_write(&d->t->nvme, iova);
}

static void *page_at(const struct device *d, int page)
{
	return d->memory + page * getpagesize();
}

static u64 cell_iova(const struct device *d, int cell)
{
	return d->iova + cell * getpagesize();
}

static u64 s1_iova(int n)
{
	return S1_IOVA + n * S1_PAGE_SIZE;
}

static void map_area(struct device *d, unsigned int ioas, int area)
{
	int *cells = &d->cells[ioas][area * AREA_CELLS];
	u64 iova = cell_iova(d, area * AREA_CELLS);
	int num = 1 + pick(AREA_CELLS);
	int first, i;

	/*
	 * There are twice as many pages as cells in both IOASes, so there are
	 * always enough free pages in a row.
	 */
	do {
		first = pick(NUM_PAGES - num + 1);
		for (i = 0; i < num && !d->pages[first + i].mapped; i++)
			;
	} while (i < num);

	for (i = 0; i < num; i++) {
		struct page *page = &d->pages[first + i];

		page->mapped = true;
		page->generation++;
		page->ioas = ioas;
		page->iova = iova + i * getpagesize();
		cells[i] = first + i;
	}
	EXPECT_0(d, ioas_map(d->t, d->vm->ioas[ioas], page_at(d, first), iova,
			     num * getpagesize()));
	count(MAP);
}

static void unmap_area(struct device *d, unsigned int ioas, int area)
{
	int *cells = &d->cells[ioas][area * AREA_CELLS];
	int i;

	for (i = 0; i < AREA_CELLS && cells[i] != NOWHERE; i++)
		;
	EXPECT_0(d, ioas_unmap(d->t, d->vm->ioas[ioas],
			       cell_iova(d, area * AREA_CELLS),
			       i * getpagesize()));
	count(UNMAP);
	while (i--) {
		d->pages[cells[i]].mapped = false;
		d->pages[cells[i]].unmapped_at = worker_done(this_worker);
		cells[i] = NOWHERE;
	}
}

static void forget_dma(struct device *d, int page)
{
	memset(page_at(d, page), POISON, NVME_DMA_PAGE_SIZE);
}

/* Checking the start of the page is sufficient */
static bool page_hit(const struct device *d, int page)
{
	const u8 *start = page_at(d, page);
	int i;

	for (i = 0; i < TESTDEV_LEN; i++)
		if (start[i] != POISON)
			return true;
	return false;
}

/* Describe a page and the device that has written to it */
static const char *page_text(const struct device *d, int i)
{
	const char *serial = page_at(d, i) + 4;
	const struct page *page = &d->pages[i];
	static __thread char text[256];
	char since[64] = "mapped", by[21] = "";
	const u8 *start = page_at(d, i);
	unsigned int n;

	for (n = 0; n < sizeof(by) - 1; n++)
		by[n] = isprint(serial[n]) ? serial[n] : '.';
	for (n = 0; n < NVME_DMA_PAGE_SIZE && start[n] != POISON; n++)
		;
	if (!page->mapped)
		snprintf(since, sizeof(since), "unmapped %llu operations ago",
			 (unsigned long long)(worker_done(this_worker) - page->unmapped_at));
	snprintf(text, sizeof(text),
		 "page %d (generation %u at %#llx of IOAS %u, %s, %u bytes of '%s' or thread %u%s)",
		 i, page->generation, (unsigned long long)page->iova,
		 page->ioas, since, n, by, n / TESTDEV_LEN,
		 n % TESTDEV_LEN ? ", busy" : "");
	return text;
}

static void check_pages(struct device *d, int expected, u64 iova)
{
	int i;

	for (i = 0; i < NUM_PAGES; i++)
		DEVICE_CHECK(d, i == expected || !page_hit(d, i),
			     "stale translation: DMA to %#llx hit %s",
			     (unsigned long long)iova, page_text(d, i));
}

/* Write to @iova by DMA, which must hit @page, or no page if NOWHERE */
static void check_dma(struct device *d, u64 iova, int page)
{
	struct smmu_test *t = d->t;
	int ret = device_write(d, iova);

	/* Retry once: on a busy host the controller may just be slow */
	if (ret == -ENXIO && page != NOWHERE)
		ret = device_write(d, iova);
	check_pages(d, page, iova);
	if (page == NOWHERE) {
		count(DMA_STOPPED);
		return;
	}
	DEVICE_CHECK(d, page_hit(d, page),
		     "lost translation: DMA to %#llx missed %s, error %d",
		     (unsigned long long)iova, page_text(d, page), ret);
	DEVICE_CHECK(d, !ret, "DMA to %#llx: error %d",
		     (unsigned long long)iova, ret);
	DEVICE_CHECK(d, !memcmp(page_at(d, page), t->id, ID_LEN),
		     "DMA to %#llx: other data in %s",
		     (unsigned long long)iova, page_text(d, page));
	forget_dma(d, page);
	count(DMA);
}

static int mapped_cell(struct device *d, unsigned int ioas)
{
	int cell, tries;

	for (tries = 0; tries < NUM_CELLS; tries++) {
		cell = pick(NUM_CELLS);
		if (d->cells[ioas][cell] != NOWHERE)
			return cell;
	}
	return NOWHERE;
}

/* DMA to @cell of the IOAS that the device is attached to */
static void dma_to_cell(struct device *d, int cell)
{
	u64 iova = cell_iova(d, cell);
	int page = d->cells[d->ioas][cell];
	int i;

	d->last_cell = cell;
	switch (d->at) {
	case AT_ABORT:
	case DETACHED:
		check_dma(d, iova, NOWHERE);
		break;
	case AT_S1:
		for (i = 0; i < NUM_S1; i++) {
			if (d->s1_cells[i] == cell) {
				check_dma(d, s1_iova(i), page);
				return;
			}
		}
		break;
	default:
		check_dma(d, iova, page);
	}
}

static void some_dma(struct device *d)
{
	int cell, n;

	/* NVMe controllers must be restarted after losing access to their queues */
	if ((d->at == AT_ABORT || d->at == DETACHED) && !d->testdev &&
	    !one_in(4))
		return;

	if (d->at == AT_S1) {
		n = pick(NUM_S1);
		cell = d->s1_cells[n];
		/* Each word written to an unmapped page causes an event */
		if (cell == NOWHERE || d->cells[d->ioas][cell] == NOWHERE)
			return;
		check_dma(d, s1_iova(n), d->cells[d->ioas][cell]);
		return;
	}
	cell = mapped_cell(d, d->ioas);
	if (cell != NOWHERE)
		dma_to_cell(d, cell);
}

/* DMA to an unmapped address. Stage-1 faults are reported to the guest. */
static void do_fault(struct device *d)
{
	int cell = pick(NUM_CELLS);

	if (d->at == AT_S1 && one_in(2))
		check_dma(d, S1_UNMAPPED(pick(4)), NOWHERE);
	else if (d->cells[d->ioas][cell] == NOWHERE)
		dma_to_cell(d, cell);
}

static void do_map(struct device *d)
{
	/* Mostly in the IOAS of the device's current attachment */
	unsigned int ioas = one_in(4) ? !d->ioas : d->ioas;
	int area = pick(NUM_AREAS);

	if (d->cells[ioas][area * AREA_CELLS] != NOWHERE) {
		unmap_area(d, ioas, area);
		if (one_in(4))
			return;
	}
	map_area(d, ioas, area);
	if (ioas == d->ioas && d->at != AT_ABORT && d->at != DETACHED)
		dma_to_cell(d, area * AREA_CELLS);
}

static bool is_nested(enum place at)
{
	return at == AT_BYPASS || at == AT_ABORT || at == AT_S1;
}

/* Is DMA to the address of a cell translated to its page? */
static bool uses_cells(enum place at)
{
	return at == AT_IOAS || at == AT_HWPT || at == AT_PARENT ||
	       at == AT_BYPASS;
}

/*
 * DMA while the device is being attached to another object, so that the TLB
 * contains old translations until the STE changes. The old and new page may be hit.
 */
static void *busy_thread(void *arg)
{
	struct device *d = arg;

	while (!READ_ONCE(d->busy_stop))
		testdev_write(d->t, cell_iova(d, d->last_cell),
			      testdev_len(d) + 4);
	return NULL;
}

static bool start_busy(struct device *d, enum place to, unsigned int ioas)
{
	/* NVMe controllers cannot be shared by threads; blocked DMA causes many events */
	if (!d->testdev || !uses_cells(d->at) || !uses_cells(to) ||
	    d->cells[ioas][d->last_cell] == NOWHERE ||
	    d->cells[d->ioas][d->last_cell] == NOWHERE)
		return false;
	d->busy_stop = false;
	VFIO_ASSERT_EQ(pthread_create(&d->busy_thread, NULL, busy_thread, d), 0);
	return true;
}

static void stop_busy(struct device *d, unsigned int from)
{
	int old_page = d->cells[from][d->last_cell];
	int new_page = d->cells[d->ioas][d->last_cell];

	WRITE_ONCE(d->busy_stop, true);
	VFIO_ASSERT_EQ(pthread_join(d->busy_thread, NULL), 0);
	forget_dma(d, old_page);
	forget_dma(d, new_page);
	check_pages(d, NOWHERE, cell_iova(d, d->last_cell));
	count(REPLACE_BUSY);
}

static void attach_to(struct device *d, enum place to, unsigned int ioas)
{
	unsigned int from = d->ioas;
	struct vm *vm = d->vm;
	u32 pt_id = 0;
	bool busy;

	if (is_nested(to))
		ioas = d->guest_ioas;
	busy = start_busy(d, to, ioas);

	switch (to) {
	case AT_IOAS:
		pt_id = vm->ioas[ioas];
		break;
	case AT_HWPT:
		pt_id = vm->hwpt[ioas];
		break;
	case AT_PARENT:
		pt_id = vm->parent[ioas];
		break;
	case AT_BYPASS:
		pt_id = d->bypass_id;
		count(NEST_BYPASS);
		break;
	case AT_ABORT:
		pt_id = d->abort_id;
		count(NEST_ABORT);
		break;
	case AT_S1:
		pt_id = d->t->s1_id;
		count(NEST_S1);
		break;
	default:
		break;
	}

	if (to == DETACHED) {
		EXPECT_0(d, detach(d->t));
		count(DETACH);
	} else {
		EXPECT_0(d, attach(d->t, pt_id));
		count(d->at == DETACHED ? ATTACH : REPLACE);
	}
	d->at = to;
	d->ioas = ioas;
	if (busy)
		stop_busy(d, from);
}

static void do_attach(struct device *d)
{
	enum place to = pick(DETACHED + 1);

	if (!d->vm->nests && (is_nested(to) || to == AT_PARENT))
		to = AT_HWPT;
	if (to == d->at && to == DETACHED)
		to = AT_IOAS;
	/* Check that DMA is blocked before leaving such a place */
	if (d->at == AT_ABORT || d->at == DETACHED)
		some_dma(d);
	attach_to(d, to, pick(2));
	some_dma(d);
}

static void remap_area(struct device *d, unsigned int ioas, int area)
{
	if (d->cells[ioas][area * AREA_CELLS] != NOWHERE)
		unmap_area(d, ioas, area);
	map_area(d, ioas, area);
}

/*
 * Domains used by one device only, while other threads change the IOAS. The second
 * domain probably reuses the IOTLB tags of the first, which must have no entries.
 */
static void do_hwpt(struct device *d)
{
	u32 flags = d->vm->nests && one_in(2) ? IOMMU_HWPT_ALLOC_NEST_PARENT : 0;
	unsigned int ioas = pick(2), n;
	int area = pick(NUM_AREAS);
	u32 hwpt_id;

	for (n = 0; n < 2; n++) {
		remap_area(d, ioas, area);
		EXPECT_0(d, hwpt_alloc(d->t, d->vm->ioas[ioas], flags, NULL,
				       &hwpt_id));
		EXPECT_0(d, attach(d->t, hwpt_id));
		count(d->at == DETACHED ? ATTACH : REPLACE);
		d->at = AT_HWPT;
		d->ioas = ioas;
		dma_to_cell(d, area * AREA_CELLS);
		attach_to(d, one_in(8) ? DETACHED : AT_IOAS, pick(2));
		EXPECT_0(d, destroy(d->t, hwpt_id));
		count(HWPT);
	}
	some_dma(d);
}

/*
 * The guest
 */
#define TLBI_VMID(_vmid)	((u64)(_vmid) << 32)

static u16 asid_of(unsigned int s1)
{
	/* All guests use the same ASIDs */
	return s1 ? ASID_2 : ASID;
}

static void set_s1_entry(struct device *d, int n)
{
	struct s1_table *s1 = &d->s1[d->cur_s1];
	int cell = d->s1_cells[n];

	if (cell == NOWHERE)
		WRITE_ONCE(*s1_entry(s1, s1_iova(n), S1_SHIFT_4K), 0);
	else
		s1_map(s1, s1_iova(n), cell_iova(d, cell), 0);
}

/* Switch to the other stage-1 tables, with the same mappings */
static void switch_s1(struct device *d)
{
	struct smmu_test *t = d->t;
	int n;

	d->cur_s1 ^= 1;
	fill_s1(t, &d->s1[d->cur_s1], d->cur_s1 ? OFF_TABLES_B : OFF_TABLES);
	for (n = 0; n < NUM_S1; n++)
		set_s1_entry(d, n);
	s1_make_cd(t->region.vaddr + OFF_CD, &d->s1[d->cur_s1],
		   asid_of(d->cur_s1), t->info.idr[5]);
}

static void leave_guest(struct device *d)
{
	if (is_nested(d->at))
		attach_to(d, one_in(2) ? AT_IOAS : AT_PARENT, pick(2));
}

static void make_vdevice(struct device *d)
{
	EXPECT_0(d, vdevice_alloc(d->t, d->vsid, &d->t->vdevice_id));
	count(VDEVICE);
}

static void make_veventq(struct device *d)
{
	EXPECT_0(d, veventq_alloc(d->t, IOMMU_VEVENTQ_TYPE_ARM_SMMUV3,
				  1 + pick(64), &d->veventq_id,
				  &d->t->veventq_fd));
	count(VEVENTQ);
}

static void make_guest(struct device *d)
{
	struct smmu_test *t = d->t;

	d->guest_ioas = pick(2);
	d->vsid = (u32)(this_worker - shared->workers) << 16 | pick(1 << 16);
	EXPECT_0(d, viommu_alloc(t, IOMMU_VIOMMU_TYPE_ARM_SMMUV3,
				 d->vm->parent[d->guest_ioas], &t->viommu_id));
	count(VSMMU);
	EXPECT_0(d, nested_alloc_cfg(t, STE_0_CFG_BYPASS, &d->bypass_id));
	if (one_in(2))
		EXPECT_0(d, nested_alloc_cfg(t, STE_0_CFG_ABORT, &d->abort_id));
	else
		EXPECT_0(d, nested_alloc(t, ~STE_0_V, -1, &d->abort_id));
	EXPECT_0(d, nested_alloc_s1(t, &t->s1_id));
	make_vdevice(d);
	make_veventq(d);
	switch_s1(d);
}

static void destroy_guest(struct device *d)
{
	struct smmu_test *t = d->t;

	leave_guest(d);
	VFIO_ASSERT_EQ(close(t->veventq_fd), 0);
	EXPECT_0(d, destroy(t, d->veventq_id));
	EXPECT_0(d, destroy(t, d->bypass_id));
	EXPECT_0(d, destroy(t, d->abort_id));
	EXPECT_0(d, destroy(t, t->vdevice_id));
	EXPECT_0(d, destroy(t, t->s1_id));
	EXPECT_0(d, destroy(t, t->viommu_id));
}

static void do_vsmmu(struct device *d)
{
	bool nested = is_nested(d->at);

	destroy_guest(d);
	if (one_in(2))
		some_dma(d);
	make_guest(d);
	if (nested)
		attach_to(d, AT_S1, 0);
	some_dma(d);
}

static void do_vdevice(struct device *d)
{
	struct smmu_test *t = d->t;

	if (one_in(2)) {
		leave_guest(d);
		EXPECT_0(d, destroy(t, t->vdevice_id));
		some_dma(d);
		make_vdevice(d);
	} else {
		VFIO_ASSERT_EQ(close(t->veventq_fd), 0);
		EXPECT_0(d, destroy(t, d->veventq_id));
		some_dma(d);
		make_veventq(d);
	}
	if (one_in(2))
		attach_to(d, AT_S1, 0);
}

static void do_vevents(struct device *d)
{
	int fd = d->t->veventq_fd, num = 0, timeout_ms = 0;
	struct iommufd_vevent_header header;
	struct vevent event;
	ssize_t len;
	u64 evt[4];
	int i;

	if (d->at == AT_S1) {
		check_dma(d, S1_UNMAPPED(pick(4)), NOWHERE);
		timeout_ms = 100;
	}
	/* The event may be lost, or follow older events */
	while (num++ < 64 && wait_vevent(d->t, num == 1 ? timeout_ms : 0)) {
		len = read(fd, &event, sizeof(event));
		if (len < (ssize_t)sizeof(header))
			return;
		count(VEVENT);
		memcpy(&header, &event, sizeof(header));
		if (header.flags & IOMMU_VEVENTQ_FLAG_LOST_EVENTS)
			continue;
		DEVICE_CHECK(d, len == sizeof(event), "vEVENT of %zd bytes",
			     len);
		for (i = 0; i < 4; i++)
			evt[i] = __le64_to_cpu(event.arm.evt[i]);
		DEVICE_CHECK(d, FIELD_GET(EVT_0_SID, evt[0]) == d->vsid,
			     "vEVENT of vSID %#x, not %#x",
			     (u32)FIELD_GET(EVT_0_SID, evt[0]), d->vsid);
	}
}

static void set_cmd(struct iommu_viommu_arm_smmuv3_invalidate *cmd, u64 cmd0,
		    u64 cmd1)
{
	cmd->cmd[0] = __cpu_to_le64(cmd0);
	cmd->cmd[1] = __cpu_to_le64(cmd1);
}

/* Any command that invalidates @n for the current ASID. The VMID is ignored. */
static void set_s1_cmd(struct device *d,
		       struct iommu_viommu_arm_smmuv3_invalidate *cmd, int n)
{
	u64 asid = asid_of(d->cur_s1), vmid = TLBI_VMID(pick(16));

	switch (pick(5)) {
	case 0:
		set_cmd(cmd, TLBI_ASID(CMD_TLBI_NH_VA, asid) | vmid,
			s1_iova(n) | CMD_1_LEAF);
		break;
	case 1:
		set_cmd(cmd, CMD_TLBI_NH_VAA | vmid, s1_iova(n) | CMD_1_LEAF);
		break;
	case 2:
		set_cmd(cmd, TLBI_ASID(CMD_TLBI_NH_ASID, asid) | vmid, 0);
		break;
	case 3:
		set_cmd(cmd, CMD_TLBI_NH_ALL | vmid, 0);
		break;
	default:
		set_cmd(cmd, CMD_TLBI_NSNH_ALL, 0);
	}
}

/* The guest changes its stage 1 and sends an invalidation */
static void do_s1(struct device *d)
{
	struct iommu_viommu_arm_smmuv3_invalidate cmds[80];
	u32 num = 1 + pick(one_in(8) ? ARRAY_SIZE(cmds) - 1 : 3), i;
	int n = pick(NUM_S1), cell;

	if (d->at != AT_S1) {
		attach_to(d, AT_S1, 0);
		some_dma(d);
	}

	/* A command without effect: the address is not mapped */
	for (i = 0; i < num; i++)
		set_cmd(&cmds[i], TLBI_ASID(CMD_TLBI_NH_VA, ASID),
			S1_UNMAPPED(0));
	i = pick(num);

	cell = mapped_cell(d, d->ioas);
	if (one_in(8)) {
		switch_s1(d);
		if (i == num - 1)
			num++;
		set_cmd(&cmds[i++], CFGI_SID(CMD_CFGI_CD, d->vsid), CMD_1_LEAF);
		set_cmd(&cmds[i], TLBI_ASID(CMD_TLBI_NH_ASID,
					    asid_of(d->cur_s1)), 0);
	} else {
		d->s1_cells[n] = one_in(8) ? NOWHERE : cell;
		set_s1_entry(d, n);
		set_s1_cmd(d, &cmds[i], n);
	}
	EXPECT_0(d, invalidate(d->t, cmds, &num));
	count(INVALIDATE);
	if (d->s1_cells[n] != NOWHERE && d->cells[d->ioas][d->s1_cells[n]] != NOWHERE)
		check_dma(d, s1_iova(n), d->cells[d->ioas][d->s1_cells[n]]);
}

/*
 * Input of a hostile guest
 */
static void random_cmd(struct device *d,
		       struct iommu_viommu_arm_smmuv3_invalidate *cmd)
{
	u64 cmd0 = guest_ops[pick(ARRAY_SIZE(guest_ops))], cmd1 = 0;

	switch (pick(8)) {
	case 0:
		/* All bits random */
		set_cmd(cmd, random_u64(), random_u64());
		return;
	case 1:
		/* Another opcode, or a bit that may be reserved */
		cmd0 ^= BIT_ULL(pick(64));
		break;
	case 2:
		cmd1 ^= BIT_ULL(pick(64));
		break;
	}

	if (cmd0 == CMD_CFGI_CD || cmd0 == CMD_CFGI_CD_ALL) {
		cmd0 = CFGI_SID(cmd0, one_in(8) ? random_u64() : d->vsid);
	} else {
		/* The VMID of another guest, and the ASIDs and addresses used by all */
		cmd0 |= TLBI_VMID(pick(16));
		if ((cmd0 & 0xff) != CMD_TLBI_NSNH_ALL)
			cmd0 |= (u64)(one_in(2) ? ASID : pick(4)) << 48;
		if ((cmd0 & 0xff) == CMD_TLBI_NH_VA ||
		    (cmd0 & 0xff) == CMD_TLBI_NH_VAA)
			cmd1 |= one_in(2) ? s1_iova(pick(NUM_S1)) :
					    cell_iova(d, pick(NUM_CELLS));
	}
	set_cmd(cmd, cmd0, cmd1);
}

static void do_random_invalidate(struct device *d)
{
	struct iommu_viommu_arm_smmuv3_invalidate cmds[100];
	u32 num = 1 + pick(one_in(8) ? ARRAY_SIZE(cmds) : 4);
	u32 done = num, i;
	int ret;

	for (i = 0; i < num; i++)
		random_cmd(d, &cmds[i]);
	ret = invalidate(d->t, cmds, &done);
	DEVICE_CHECK(d, ret ? ret == -EIO && done < num : done == num,
		     "%u of %u random commands, error %d", done, num, ret);
	count(INVALIDATE_RANDOM);
	some_dma(d);
}

static void do_random_vste(struct device *d)
{
	struct smmu_test *t = d->t;
	u64 ste0 = ste0_s1(t), ste1 = ste1_s1();
	u32 hwpt_id;
	int ret;

	switch (pick(4)) {
	case 0:
		ste0 = random_u64();
		ste1 = random_u64();
		break;
	case 1:
		ste0 ^= BIT_ULL(pick(64));
		break;
	case 2:
		ste1 ^= BIT_ULL(pick(64));
		break;
	case 3:
		ste0 = random_u64() & ste0;
	}
	count(VSTE_RANDOM);
	ret = nested_alloc(t, ste0, ste1, &hwpt_id);
	DEVICE_CHECK(d, !ret || ret == -EIO, "vSTE %#llx %#llx: error %d",
		     (unsigned long long)ste0, (unsigned long long)ste1, ret);
	if (ret)
		return;

	ret = attach(t, hwpt_id);
	DEVICE_CHECK(d, !ret, "attach to vSTE %#llx %#llx: error %d",
		     (unsigned long long)ste0, (unsigned long long)ste1, ret);
	count(NEST_RANDOM);
	d->at = AT_RANDOM;
	/*
	 * The stage 1 may be the one of any device of this VM, so use an address
	 * that is unmapped in all. NVMe controllers would find other queues.
	 */
	if (d->testdev)
		check_dma(d, S1_UNMAPPED(pick(4)), NOWHERE);
	attach_to(d, AT_IOAS, pick(2));
	EXPECT_0(d, destroy(t, hwpt_id));
	switch_s1(d);
	EXPECT_0(d, invalidate_one(t, CMD_TLBI_NH_ALL, 0));
	some_dma(d);
}

/* Close the device without detaching it, which destroys its vDEVICE */
static void do_reopen(struct device *d)
{
	struct smmu_test *t = d->t;

	if (t->nvme.running)
		nvme_dma_stop(&t->nvme);
	vfio_pci_device_cleanup(t->device);
	t->device = vfio_pci_device_init(t->test_device->bdf, t->iommu);
	d->at = AT_IOAS;
	d->ioas = 0;
	VFIO_ASSERT_NULL(start_device(t));
	count(REOPEN);
	if (d->vm->nests)
		make_vdevice(d);
	some_dma(d);
}

static const struct move {
	void (*move)(struct device *d);
	bool nests;
} moves[] = {
	{ some_dma },
	{ do_fault },
	{ do_map },
	{ do_attach },
	{ do_hwpt },
	{ do_reopen },
	{ do_s1, true },
	{ do_vsmmu, true },
	{ do_vdevice, true },
	{ do_vevents, true },
	{ do_random_invalidate, true },
	{ do_random_vste, true },
};

struct profile {
	const char *name;
	/* Relative frequency of each move */
	u32 weights[ARRAY_SIZE(moves)];
	bool is_killed;
};

static const struct profile profiles[MAX_VMS] = {
	{
		.name = "guest",
		.weights = { 30, 1, 30, 12, 4, 1, 30, 4, 4, 4, 0, 0 },
	},
	{
		.name = "hostile",
		.weights = { 10, 1, 4, 10, 2, 1, 4, 20, 6, 4, 40, 30 },
	},
	{
		.name = "killed",
		.weights = { 20, 1, 20, 20, 10, 0, 20, 10, 4, 4, 0, 0 },
		.is_killed = true,
	},
	{
		.name = "paging",
		.weights = { 30, 1, 60, 20, 20, 1, 0, 0, 0, 0, 0, 0 },
	},
};

static void *device_thread(void *arg)
{
	struct device *d = arg;
	const u32 *weights = d->vm->profile->weights;
	u32 sum = 0, i, n;

	for (i = 0; i < ARRAY_SIZE(moves); i++)
		sum += weights[i];

	set_worker(d->worker, d->vm->round);
	if (d->vm->nests)
		make_guest(d);
	while (!stopped()) {
		n = pick(sum);
		for (i = 0; n >= weights[i]; i++)
			n -= weights[i];
		if (moves[i].nests && !d->vm->nests)
			continue;
		moves[i].move(d);
	}
	if (d->vm->nests)
		destroy_guest(d);
	attach_to(d, AT_IOAS, 0);
	return NULL;
}

static void open_vm(struct vm *vm)
{
	u64 size = NUM_CELLS * getpagesize(), iova;
	struct iommu_ioas_alloc cmd = { .size = sizeof(cmd) };
	struct smmu_test *t = vm->t;
	const char *reason;
	unsigned int i, j;

	for (i = 0; i < vm->num; i++) {
		t[i] = (struct smmu_test) { .test_device = t[i].test_device };
		vm->devices[i] = (struct device) {
			.vm = vm,
			.t = &t[i],
			.worker = vm->devices[i].worker,
		};
	}

	reason = open_devices(t, vm->num);
	CHECK(!reason, "%s", reason);
	ioctl_assert(t->iommu->iommufd, IOMMU_IOAS_ALLOC, &cmd);
	vm->ioas[0] = t->iommu->ioas_id;
	vm->ioas[1] = cmd.out_ioas_id;

	reason = open_viommu(t);
	if (!reason)
		reason = open_s1(t, ASID);
	vm->nests = !reason;
	if (reason)
		snprintf(vm->devices[0].worker->skipped,
			 sizeof(vm->devices[0].worker->skipped),
			 "no nesting: %s", reason);
	for (i = 0; i < 2; i++) {
		VFIO_ASSERT_EQ(hwpt_alloc(t, vm->ioas[i], 0, NULL, &vm->hwpt[i]), 0);
		if (vm->nests)
			VFIO_ASSERT_EQ(hwpt_alloc(t, vm->ioas[i],
						  IOMMU_HWPT_ALLOC_NEST_PARENT,
						  NULL, &vm->parent[i]), 0);
	}
	if (vm->nests) {
		VFIO_ASSERT_EQ(destroy(t, t->s1_id), 0);
		VFIO_ASSERT_EQ(destroy(t, t->viommu_id), 0);
		VFIO_ASSERT_EQ(destroy(t, t->parent_id), 0);
	}

	for (i = 0; i < vm->num; i++) {
		struct device *d = &vm->devices[i];

		this_worker = d->worker;
		d->testdev = is_testdev(d->t);
		reason = start_device(d->t);
		CHECK(!reason, "%s", reason);
		memset(d->t->page_a, POISON, NVME_DMA_PAGE_SIZE);
		DEVICE_CHECK(d, !device_write(d, d->t->ipa_a),
			     "DMA through the IOAS failed");
		memcpy(d->t->id, d->t->page_a, ID_LEN);
		VFIO_ASSERT_EQ(ioas_map(t, vm->ioas[1], d->t->region.vaddr,
					d->t->region.iova, REGION_SIZE), 0);
		do {
			iova = iova_allocator_alloc(t->iovas, size);
		} while (!iova);
		VFIO_ASSERT_LT(iova, S1_IOVA);
		d->iova = iova;
		d->memory = mmap(NULL, NUM_PAGES * getpagesize(),
				 PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		VFIO_ASSERT_NE(d->memory, MAP_FAILED);
		memset(d->memory, POISON, NUM_PAGES * getpagesize());
		for (j = 0; j < NUM_CELLS; j++) {
			d->cells[0][j] = NOWHERE;
			d->cells[1][j] = NOWHERE;
		}
		for (j = 0; j < NUM_S1; j++)
			d->s1_cells[j] = j * NUM_CELLS / NUM_S1;
		for (j = 0; j < 2 * NUM_AREAS; j++)
			map_area(d, j & 1, j / 2);
	}
}

static void close_vm(struct vm *vm)
{
	unsigned int i;

	close_devices(vm->t, vm->num);
	for (i = 0; i < vm->num; i++) {
		VFIO_ASSERT_EQ(munmap(vm->t[i].region.vaddr, REGION_SIZE), 0);
		VFIO_ASSERT_EQ(munmap(vm->devices[i].memory,
				      NUM_PAGES * getpagesize()), 0);
	}
}

static void run_vm(struct vm *vm)
{
	unsigned int i;

	open_vm(vm);
	for (i = 0; i < vm->num; i++)
		VFIO_ASSERT_EQ(pthread_create(&vm->devices[i].thread, NULL,
					      device_thread, &vm->devices[i]), 0);
	for (i = 0; i < vm->num; i++)
		VFIO_ASSERT_EQ(pthread_join(vm->devices[i].thread, NULL), 0);
	close_vm(vm);
}

/* Kill a VM at random times and check that its devices work afterwards */
static void run_killer(struct vm *vm)
{
	struct worker *victim = vm->devices[0].worker, *killer = this_worker;
	unsigned int i;
	int status;
	pid_t pid;
	u64 done;

	while (!stopped()) {
		done = worker_done(victim);
		pid = fork();
		VFIO_ASSERT_GE(pid, 0);
		if (!pid) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			run_vm(vm);
			_exit(0);
		}

		/* Sometimes before all devices are open */
		while (!one_in(100) && !stopped() && worker_done(victim) == done)
			usleep(20000);
		usleep(pick(3000) * 1000);
		kill(pid, SIGKILL);
		VFIO_ASSERT_EQ(waitpid(pid, &status, 0), pid);
		CHECK(!status || status == SIGKILL,
		      "the process ended with status %#x", status);
		count(KILL);
		vm->round++;

		/* All resources are released and all devices work */
		open_vm(vm);
		for (i = 0; i < vm->num; i++) {
			this_worker = vm->devices[i].worker;
			dma_to_cell(&vm->devices[i], 0);
		}
		this_worker = killer;
		close_vm(vm);
		count(REOPEN);
	}
}

/*
 * Disks in DMA domains of the kernel. Runs of blocks are written, or read and
 * compared. The contents of a block are derived from its number, the disk and the
 * number of writes.
 */
#define BLOCK_SIZE	4096
#define MAX_BLOCKS	2048
/* A small number of short buffers, for the same reason as NUM_CELLS */
#define RUN_BLOCKS	4
#define NUM_BUFFERS	8

struct disk {
	const char *path;
	struct worker *worker;
	pthread_t thread;
	u32 written[MAX_BLOCKS];
};

static u64 block_word(const struct disk *disk, u32 block, u32 written, u32 i)
{
	return disk->worker->seed ^ (u64)written << 40 ^ (u64)block << 16 ^ i;
}

static void fill_block(struct disk *disk, u64 *words, u32 block)
{
	u32 i;

	for (i = 0; i < BLOCK_SIZE / sizeof(*words); i++)
		words[i] = block_word(disk, block, disk->written[block], i);
}

static void check_block(struct disk *disk, const u64 *words, u32 block)
{
	u32 i;

	for (i = 0; i < BLOCK_SIZE / sizeof(*words); i++) {
		u64 word = block_word(disk, block, disk->written[block], i);

		CHECK(words[i] == word,
		      "disk %s, block %u, write %u, word %u: %#llx, not %#llx",
		      disk->path, block, disk->written[block], i,
		      (unsigned long long)words[i], (unsigned long long)word);
	}
}

static void disk_round(struct disk *disk, int fd, void *buffer, u32 num_blocks)
{
	u32 num = 1 + pick(RUN_BLOCKS), first = pick(num_blocks - num + 1), i;
	bool write = one_in(2);
	ssize_t len;

	for (i = 0; i < num; i++)
		write |= !disk->written[first + i];
	if (write) {
		for (i = 0; i < num; i++) {
			disk->written[first + i]++;
			fill_block(disk, buffer + i * BLOCK_SIZE, first + i);
		}
		len = pwrite(fd, buffer, num * BLOCK_SIZE,
			     (off_t)first * BLOCK_SIZE);
	} else {
		memset(buffer, POISON, num * BLOCK_SIZE);
		len = pread(fd, buffer, num * BLOCK_SIZE,
			    (off_t)first * BLOCK_SIZE);
	}
	CHECK(len == num * BLOCK_SIZE, "disk %s: %s", disk->path,
	      len < 0 ? strerror(errno) : "short");
	if (!write)
		for (i = 0; i < num; i++)
			check_block(disk, buffer + i * BLOCK_SIZE, first + i);
	count(write ? DISK_WRITE : DISK_READ);
}

static void *disk_thread(void *arg)
{
	struct disk *disk = arg;
	size_t len = NUM_BUFFERS * RUN_BLOCKS * BLOCK_SIZE;
	void *buffers;
	u32 blocks;
	off_t end;
	int fd;

	set_worker(disk->worker, 0);
	fd = open(disk->path, O_RDWR | O_DIRECT | O_EXCL);
	CHECK(fd >= 0, "disk %s: %s", disk->path, strerror(errno));
	end = lseek(fd, 0, SEEK_END);
	CHECK(end >= RUN_BLOCKS * BLOCK_SIZE, "disk %s: too small", disk->path);
	blocks = min_t(off_t, end / BLOCK_SIZE, MAX_BLOCKS);
	buffers = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	VFIO_ASSERT_NE(buffers, MAP_FAILED);
	while (!stopped())
		disk_round(disk, fd,
			   buffers + pick(NUM_BUFFERS) * RUN_BLOCKS * BLOCK_SIZE,
			   blocks);
	VFIO_ASSERT_EQ(close(fd), 0);
	return NULL;
}

static struct disk disks[MAX_DISKS];
static int num_disks;

static void run_disks(void)
{
	int i;

	for (i = 0; i < num_disks; i++)
		VFIO_ASSERT_EQ(pthread_create(&disks[i].thread, NULL,
					      disk_thread, &disks[i]), 0);
	for (i = 0; i < num_disks; i++)
		VFIO_ASSERT_EQ(pthread_join(disks[i].thread, NULL), 0);
}

/*
 * Start and supervision of the processes
 */
static struct vm vms[MAX_VMS];
static pid_t processes[MAX_VMS + 1];
static int num_processes;
static unsigned int worked;
static u64 seed;
static struct rng seeds;

static bool start_process(void)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid < 0)
		ksft_exit_fail_perror("fork");
	if (pid) {
		processes[num_processes++] = pid;
		return true;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	atexit(exiting);
	return false;
}

static void __noreturn exit_process(void)
{
	/* Mark this exit as regular for exiting() */
	this_worker = NULL;
	exit(0);
}

static struct worker *new_worker(const char *name, const char *of)
{
	struct worker *worker = &shared->workers[num_workers++];

	snprintf(worker->name, sizeof(worker->name), "%s %s", name, of);
	worker->seed = rng_next(&seeds);
	worker->process = num_processes;
	return worker;
}

/* Assign the nth device behind each SMMU to the nth VM */
static void assign_devices(void)
{
	int i, j, behind;
	struct vm *vm;

	for (i = 0; i < num_devices; i++) {
		if (!same_features(&devices[i]) ||
		    (devices[i].info.idr[0] ^ devices[0].info.idr[0]) & IDR0_STAGES) {
			ksft_print_msg("%s is not used: features differ from the first device\n",
				       devices[i].bdf);
			continue;
		}
		behind = 0;
		for (j = 0; j < i; j++) {
			if (!strcmp(devices[i].group, devices[j].group))
				ksft_exit_fail_msg("%s and %s share a group, give one of them\n",
						   devices[i].bdf,
						   devices[j].bdf);
			if (!strcmp(devices[i].smmu, devices[j].smmu))
				behind++;
		}
		vm = &vms[behind % MAX_VMS];
		vm->profile = &profiles[behind % MAX_VMS];
		vm->t[vm->num++].test_device = &devices[i];
	}
}

static void start_vm(struct vm *vm)
{
	const char *name = vm->profile->name;
	struct worker *killer = NULL;
	unsigned int i;

	for (i = 0; i < vm->num; i++) {
		vm->devices[i].worker = new_worker(name, vm->t[i].test_device->bdf);
		vm->devices[i].worker->is_killed = vm->profile->is_killed;
	}
	if (vm->profile->is_killed)
		killer = new_worker("killer of", name);

	if (start_process())
		return;
	if (killer) {
		set_worker(killer, 0);
		run_killer(vm);
	} else {
		set_worker(vm->devices[0].worker, 0);
		run_vm(vm);
	}
	exit_process();
}

static void start_disks(void)
{
	int i;

	if (!num_disks)
		return;
	for (i = 0; i < num_disks; i++)
		disks[i].worker = new_worker("disk", disks[i].path);
	if (start_process())
		return;
	set_worker(disks[0].worker, 0);
	run_disks();
	exit_process();
}

/* A failed process has recorded the reason, unless it was killed */
static void reap_processes(void)
{
	int i, j, status;

	for (i = 0; i < num_processes; i++) {
		struct worker *first = NULL;
		bool known = false;

		if (!processes[i] || waitpid(processes[i], &status, WNOHANG) != processes[i])
			continue;
		processes[i] = 0;
		if (!status)
			continue;
		WRITE_ONCE(shared->stop, true);
		for (j = 0; j < num_workers; j++) {
			if (shared->workers[j].process != i)
				continue;
			first = first ?: &shared->workers[j];
			known |= *shared->workers[j].failed;
		}
		if (!known)
			snprintf(first->failed, sizeof(first->failed),
				 "its process ended with status %#x", status);
	}
}

static bool any_process(void)
{
	int i;

	for (i = 0; i < num_processes; i++)
		if (processes[i])
			return true;
	return false;
}

static bool is_running(const struct worker *worker)
{
	return !worker->is_killed && processes[worker->process];
}

/* Find threads without progress since @done_before was recorded */
static bool find_stuck(const u64 *done_before)
{
	bool stuck = false;
	int i;

	for (i = 0; i < num_workers; i++) {
		struct worker *worker = &shared->workers[i];

		if (!is_running(worker) || worker_done(worker) != done_before[i])
			continue;
		snprintf(worker->failed, sizeof(worker->failed),
			 "no progress for %u s after %llu operations", stuck_s,
			 (unsigned long long)worker_done(worker));
		stuck = true;
	}
	return stuck;
}

static bool all_started(void)
{
	int i;

	for (i = 0; i < num_workers; i++)
		if (is_running(&shared->workers[i]) &&
		    !worker_done(&shared->workers[i]))
			return false;
	return true;
}

/* Wait until a thread fails, or for @seconds after all threads have started */
static void watch(unsigned int seconds)
{
	unsigned int second = 0;
	u64 done[MAX_WORKERS] = { };
	int i;

	while (any_process()) {
		sleep(1);
		reap_processes();
		if ((worked || all_started()) && ++worked >= seconds)
			WRITE_ONCE(shared->stop, true);
		if (++second % stuck_s)
			continue;
		if (find_stuck(done)) {
			for (i = 0; i < num_processes; i++)
				if (processes[i])
					kill(processes[i], SIGKILL);
			return;
		}
		for (i = 0; i < num_workers; i++)
			done[i] = worker_done(&shared->workers[i]);
		ksft_print_msg("%u s of %u\n", worked, seconds);
	}
}

static void report(bool all_kinds)
{
	u64 sums[NUM_KINDS] = { }, sum = 0;
	bool all = true, failed = false;
	int i, kind;

	for (i = 0; i < num_workers; i++)
		failed |= *shared->workers[i].failed;

	for (i = 0; i < num_workers; i++) {
		struct worker *worker = &shared->workers[i];
		u64 done = worker_done(worker);

		if (*worker->skipped)
			ksft_print_msg("%s: %s\n", worker->name, worker->skipped);
		if (*worker->failed)
			ksft_print_msg("%s after %u s: %s\n", worker->name,
				       worked, worker->failed);
		/* Another failure may have ended the test before this thread started */
		ksft_test_result(!*worker->failed && (done || failed),
				 "%s: %llu operations\n", worker->name,
				 (unsigned long long)done);
		for (kind = 0; kind < NUM_KINDS; kind++)
			sums[kind] += worker->count[kind];
	}

	for (kind = 0; kind < NUM_KINDS; kind++) {
		ksft_print_msg("%s: %llu\n", kinds[kind],
			       (unsigned long long)sums[kind]);
		sum += sums[kind];
		all &= sums[kind] != 0;
	}
	ksft_test_result(all || failed || !all_kinds, "all: %llu operations, seed %llu\n",
			 (unsigned long long)sum, (unsigned long long)seed);
}

static char debugfs_before[MAX_DEVICES][DEBUGFS_SIZE];

/* Is this the first device with its debugfs file? */
static bool has_file(int device)
{
	int i;

	for (i = 0; i < device; i++)
		if (!strcmp(devices[i].smmu_dev, devices[device].smmu_dev))
			return false;
	return devices[device].type == IOMMU_HW_INFO_TYPE_ARM_SMMUV3;
}

static void note_debugfs(void)
{
	int i;

	/* Without debugfs there is nothing to compare */
	for (i = 0; i < num_devices; i++)
		if (has_file(i))
			read_debugfs_file(&devices[i], debugfs_before[i]);
}

/* The ASIDs and VMIDs of domains that existed before may have changed */
static bool is_left(const char *line, const char *before)
{
	const char *at = strstr(line, " domain ");
	char domain[32];

	if (strstr(line, " unowned") || strstr(line, " dirty") ||
	    strstr(line, " trash"))
		return true;
	return at && sscanf(at, " domain %31s", domain) == 1 &&
	       !strstr(before, domain);
}

static void report_left(void)
{
	static char text[DEBUGFS_SIZE];
	const char *reason = NULL;
	bool left = false;
	char *line;
	int i;

	if (any_process())
		reason = "not all processes have ended";
	for (i = 0; i < num_devices && !reason; i++) {
		if (!has_file(i))
			continue;
		reason = read_debugfs_file(&devices[i], text);
		if (reason)
			break;
		for (line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
			if (!is_left(line, debugfs_before[i]))
				continue;
			ksft_print_msg("%s: %s\n", devices[i].smmu_dev, line);
			left = true;
		}
	}
	if (reason)
		ksft_test_result_skip("nothing is left in debugfs: %s\n", reason);
	else
		ksft_test_result(!left, "nothing is left in debugfs\n");
}

/* A week */
#define MAX_SECONDS	(7 * 24 * 3600)

static const struct option options[] = {
	{ "seed", required_argument, NULL, 's' },
	{ "seconds", required_argument, NULL, 't' },
	{ "minutes", required_argument, NULL, 'm' },
	{ "disk", required_argument, NULL, 'd' },
	{ "all-kinds", no_argument, NULL, 'a' },
	{ }
};

static void __noreturn help(const char *program)
{
	printf("usage: %s [options] segment:bus:device.function ...\n\n"
	       "  --seed N       repeat the random choices of an earlier run (%s)\n"
	       "  --seconds N    or --minutes N, how long (default: 60 s)\n"
	       "  --disk DEVICE  also write to this disk, which destroys its data\n"
	       "  --all-kinds    fail unless each kind of operation was done\n\n"
	       "The devices must be bound to vfio-pci. The first device behind each SMMU is\n"
	       "assigned to a VM, the second to a hostile VM, the third to a VM that is killed\n"
	       "repeatedly, the fourth to a VM that mostly maps and unmaps.\n",
	       program, "default: random");
	exit(KSFT_FAIL);
}

int main(int argc, char *argv[])
{
	unsigned int seconds = 60;
	bool all_kinds = false;
	int c, i;

	if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		ksft_exit_fail_perror("getrandom");
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 's':
			seed = to_number("--seed", optarg, 0, -1ULL);
			break;
		case 't':
			seconds = to_number("--seconds", optarg, 1,
					    MAX_SECONDS);
			break;
		case 'm':
			seconds = 60 * to_number("--minutes", optarg, 1,
						 MAX_SECONDS / 60);
			break;
		case 'd':
			if (num_disks == MAX_DISKS)
				help(argv[0]);
			disks[num_disks++].path = optarg;
			break;
		case 'a':
			all_kinds = true;
			break;
		default:
			help(argv[0]);
		}
	}

	ksft_print_header();
	stuck_s *= slowness();
	get_devices(&argc, argv);
	ksft_print_msg("seed %llu\n", (unsigned long long)seed);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		ksft_exit_fail_perror("mmap");

	seeds.state = seed;
	assign_devices();
	note_debugfs();
	for (i = 0; i < MAX_VMS; i++)
		if (vms[i].num)
			start_vm(&vms[i]);
	start_disks();
	if (!num_workers)
		ksft_exit_skip("no device behind an SMMUv3\n");
	ksft_set_plan(num_workers + 2);
	watch(seconds);
	report(all_kinds);
	report_left();
	ksft_finished();
}
