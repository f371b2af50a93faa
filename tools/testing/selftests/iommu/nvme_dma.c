// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <asm/barrier.h>
#include <linux/bitfield.h>
#include <linux/bits.h>
#include <linux/compiler.h>
#include <linux/io.h>
#include <linux/kernel.h>
#include <linux/pci_regs.h>

#include "nvme_dma.h"

#define NVME_PCI_CLASS		0x010802

#define NVME_REG_CAP		0x00
#define   NVME_CAP_MQES		GENMASK_ULL(15, 0)
#define   NVME_CAP_TO		GENMASK_ULL(31, 24)
#define   NVME_CAP_DSTRD	GENMASK_ULL(35, 32)
#define   NVME_CAP_CSS_NVM	BIT_ULL(37)
#define   NVME_CAP_CSS_ADMIN	BIT_ULL(44)
#define   NVME_CAP_MPSMIN	GENMASK_ULL(51, 48)
#define NVME_REG_INTMS		0x0c
#define NVME_REG_CC		0x14
#define   NVME_CC_EN		BIT(0)
#define   NVME_CC_CSS		GENMASK(6, 4)
#define   NVME_CC_CSS_NVM	0
#define   NVME_CC_CSS_ALL	6
#define   NVME_CC_CSS_ADMIN	7
#define   NVME_CC_IOSQES	GENMASK(19, 16)
#define   NVME_CC_IOCQES	GENMASK(23, 20)
#define NVME_REG_CSTS		0x1c
#define   NVME_CSTS_RDY		BIT(0)
#define   NVME_CSTS_CFS		BIT(1)
#define NVME_REG_AQA		0x24
#define NVME_REG_ASQ		0x28
#define NVME_REG_ACQ		0x30
#define NVME_REG_DB		0x1000

#define NVME_QUEUE_LEN		16
#define NVME_ADMIN_IDENTIFY	0x06
#define NVME_IDENTIFY_CTRL	0x01

/* A controller that cannot reach its queues is detected by a timeout only */
#define NVME_CMD_TIMEOUT_MS	3000
#define NVME_CMD_SPIN_MS	2

struct nvme_sqe {
	__le16 opcode;
	__le16 cid;
	__le32 nsid;
	__le64 rsvd[2];
	__le64 prp1;
	__le64 prp2;
	__le32 cdw10[6];
};

struct nvme_cqe {
	__le64 result;
	__le16 sq_head;
	__le16 sq_id;
	__le16 cid;
	__le16 status;
};

static u64 now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ULL + ts.tv_nsec / 1000000;
}

/* A controller need not support 64-bit accesses */
static u64 nvme_readq(struct nvme_dma *nvme, u32 reg)
{
	return readl(nvme->bar + reg) |
	       (u64)readl(nvme->bar + reg + 4) << 32;
}

static void nvme_writeq(struct nvme_dma *nvme, u32 reg, u64 val)
{
	writel((u32)val, nvme->bar + reg);
	writel(val >> 32, nvme->bar + reg + 4);
}

static void nvme_wait_ready(struct nvme_dma *nvme, u32 ready)
{
	u64 end = now_ms() + nvme->ready_timeout_ms;
	u32 csts;

	do {
		csts = readl(nvme->bar + NVME_REG_CSTS);
		if ((csts & NVME_CSTS_RDY) == ready)
			return;
		usleep(100);
	} while (now_ms() < end);

	VFIO_FAIL("NVMe controller stuck, CSTS %#x\n", csts);
}

const char *nvme_dma_init(struct nvme_dma *nvme, struct vfio_pci_device *device,
			  void *queues, iova_t queues_iova,
			  unsigned int slowness)
{
	u64 cap;

	if (vfio_pci_config_readl(device, PCI_CLASS_REVISION) >> 8 !=
	    NVME_PCI_CLASS)
		return "DMA requires an NVMe controller";
	if (!device->bars[0].vaddr)
		return "the NVMe controller's BAR0 cannot be mapped";

	*nvme = (struct nvme_dma) {
		.device = device,
		.bar = device->bars[0].vaddr,
		.queues = queues,
		.queues_iova = queues_iova,
	};

	cap = nvme_readq(nvme, NVME_REG_CAP);
	if (FIELD_GET(NVME_CAP_MPSMIN, cap))
		return "the NVMe controller has no 4 KiB pages";
	if (FIELD_GET(NVME_CAP_MQES, cap) < NVME_QUEUE_LEN - 1)
		return "the NVMe controller's queues are too short";

	nvme->stride = 4 << FIELD_GET(NVME_CAP_DSTRD, cap);
	nvme->ready_timeout_ms = 500 * (FIELD_GET(NVME_CAP_TO, cap) + 1) * slowness;
	nvme->cmd_timeout_ms = NVME_CMD_TIMEOUT_MS * slowness;

	vfio_pci_cmd_set(device, PCI_COMMAND_MASTER);
	return NULL;
}

void nvme_dma_stop(struct nvme_dma *nvme)
{
	writel(readl(nvme->bar + NVME_REG_CC) & ~NVME_CC_EN,
	       nvme->bar + NVME_REG_CC);
	nvme_wait_ready(nvme, 0);
	nvme->running = false;
}

static void nvme_dma_start(struct nvme_dma *nvme)
{
	u64 cap = nvme_readq(nvme, NVME_REG_CAP);
	u32 css;

	nvme_dma_stop(nvme);

	memset(nvme->queues, 0, NVME_DMA_QUEUE_SIZE);
	nvme->tail = 0;
	nvme->head = 0;
	nvme->phase = true;

	if (cap & NVME_CAP_CSS_NVM)
		css = NVME_CC_CSS_NVM;
	else if (cap & NVME_CAP_CSS_ADMIN)
		css = NVME_CC_CSS_ADMIN;
	else
		css = NVME_CC_CSS_ALL;

	writel(~0, nvme->bar + NVME_REG_INTMS);
	writel((NVME_QUEUE_LEN - 1) << 16 | (NVME_QUEUE_LEN - 1),
	       nvme->bar + NVME_REG_AQA);
	nvme_writeq(nvme, NVME_REG_ASQ, nvme->queues_iova);
	nvme_writeq(nvme, NVME_REG_ACQ, nvme->queues_iova + NVME_DMA_PAGE_SIZE);
	writel(FIELD_PREP(NVME_CC_IOSQES, 6) | FIELD_PREP(NVME_CC_IOCQES, 4) |
	       FIELD_PREP(NVME_CC_CSS, css) | NVME_CC_EN,
	       nvme->bar + NVME_REG_CC);
	nvme_wait_ready(nvme, NVME_CSTS_RDY);
	nvme->running = true;
}

int nvme_dma_write(struct nvme_dma *nvme, iova_t iova)
{
	struct nvme_cqe *cqe;
	struct nvme_sqe *sqe;
	u64 start, ms, rest = 0;
	u16 status;

	if (!nvme->running)
		nvme_dma_start(nvme);

	if (iova % NVME_DMA_PAGE_SIZE)
		rest = nvme->queues_iova + 2 * NVME_DMA_PAGE_SIZE;

	sqe = (struct nvme_sqe *)nvme->queues + nvme->tail;
	cqe = (struct nvme_cqe *)(nvme->queues + NVME_DMA_PAGE_SIZE) + nvme->head;

	*sqe = (struct nvme_sqe) {
		.opcode = __cpu_to_le16(NVME_ADMIN_IDENTIFY),
		.cid = __cpu_to_le16(++nvme->cid),
		.prp1 = __cpu_to_le64(iova),
		.prp2 = __cpu_to_le64(rest),
		.cdw10[0] = __cpu_to_le32(NVME_IDENTIFY_CTRL),
	};

	nvme->tail = (nvme->tail + 1) % NVME_QUEUE_LEN;
	writel(nvme->tail, nvme->bar + NVME_REG_DB);

	start = now_ms();
	while (true) {
		status = __le16_to_cpu(READ_ONCE(cqe->status));
		if ((status & 1) == nvme->phase)
			break;
		ms = now_ms() - start;
		if (readl(nvme->bar + NVME_REG_CSTS) & NVME_CSTS_CFS ||
		    ms > nvme->cmd_timeout_ms) {
			nvme_dma_stop(nvme);
			return -ENXIO;
		}
		/* The command will probably time out: stop busy waiting */
		if (ms > NVME_CMD_SPIN_MS)
			usleep(1000);
	}

	/* The rest of the entry is valid only once the phase bit has changed */
	rmb();
	VFIO_ASSERT_EQ(__le16_to_cpu(cqe->cid), nvme->cid);

	nvme->head = (nvme->head + 1) % NVME_QUEUE_LEN;
	if (!nvme->head)
		nvme->phase = !nvme->phase;
	writel(nvme->head, nvme->bar + NVME_REG_DB + nvme->stride);

	return status >> 1 ? -EIO : 0;
}
