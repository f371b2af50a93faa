// SPDX-License-Identifier: GPL-2.0-only
/*
 * Test the arm-smmu-v3 driver with random and invalid input of a hostile guest or
 * a broken VMM: stream table entries, invalidation commands, object IDs, lengths
 * and pointers. The expected results are derived from the uAPI and the SMMUv3
 * architecture (IHI 0070). Undocumented errors are failures. A rejected request
 * must not affect this guest or others on the same SMMU.
 *
 * All random choices depend on a seed, which is printed and can be given.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>

#include <linux/iommufd.h>
#include <linux/kernel.h>
#include <linux/sizes.h>
#include <linux/vfio.h>

#include "kselftest_harness.h"

#include "arm_smmu_v3_utils.h"

/* The largest count within the timeouts of the tests, even under emulation */
#define COUNT_IN_TIME	100000
/* Below the minimum a test does nothing, above the maximum timeouts are cut off */
#define MIN_COUNT	64
#define MAX_COUNT	(1000 * COUNT_IN_TIME)

static u64 seed;
static u32 count = 10000;

static struct rng rng;

static u64 rnd(void)
{
	return rng_next(&rng);
}

static u32 below(u32 num)
{
	return rnd() % num;
}

/* Convert an errno to a bit. Undocumented errnos have no bit. */
static u64 err(int errnum)
{
	switch (errnum) {
	case 0:
	case ENOENT:
	case EIO:
	case E2BIG:
	case EFAULT:
	case EBUSY:
	case EEXIST:
	case EINVAL:
		return BIT_ULL(errnum);
	case EOPNOTSUPP:
		return BIT_ULL(63);
	default:
		return 0;
	}
}

/* If there are several reasons for an error, any of them may be returned. */
static bool expected(int ret, u64 bad)
{
	return ret <= 0 && err(-ret) & (bad ?: err(0));
}

/* Results are counted by errno. The last counter is for all others. */
#define MAX_ERRNO	133

static void print_results(const char *what, const u32 *results)
{
	int i;

	for (i = 0; i <= MAX_ERRNO; i++)
		if (results[i])
			ksft_print_msg("%s: %u times %s\n", what, results[i],
				       !i ? "success" :
				       i < MAX_ERRNO ? strerror(i) : "other");
}

static void count_result(u32 *results, int ret)
{
	results[ret <= 0 && ret >= -MAX_ERRNO ? -ret : MAX_ERRNO]++;
}

/* NEAR is another guest on the SMMU of GUEST, FAR a guest on another SMMU */
enum { GUEST, NEAR, FAR, NUM_GUESTS };

#define VSID_NEAR	0x54321

static const struct layout input_layout = {
	.what = "no two devices behind one SMMU and one behind another with the same features",
	.num = NUM_GUESTS,
	.smmu = { 0, 0, 1 },
};

struct input {
	struct smmu_test t[NUM_GUESTS];
	time_t start;
	/* The HWPT of the guest's device, the address of DMA, and the allowed hits */
	u32 hwpt_id;
	u64 at;
	u32 hits;
};

FIXTURE(input)
{
	struct input in;
};

static void set_place(struct input *in, u32 hwpt_id, u64 at, u32 hits)
{
	in->hwpt_id = hwpt_id;
	in->at = at;
	in->hits = hits;
}

FIXTURE_SETUP(input)
{
	static const u32 vsid[NUM_GUESTS] = { VSID, VSID_NEAR, VSID };
	struct input *in = &self->in;
	struct smmu_test *t = in->t;
	const char *reason;
	int i;

	rng.state = seed;
	in->start = time(NULL);
	reason = open_layout(t, &input_layout);
	if (!reason)
		reason = open_parent(t);
	for (i = 0; !reason && i < NUM_GUESTS; i++)
		reason = open_guest(&t[i], t->parent_id, NULL, vsid[i], ASID);
	if (reason)
		SKIP(return, "%s", reason);

	s1_map(&t[NEAR].s1, S1_IOVA, t->ipa_b, 0);
	for (i = 0; i < NUM_GUESTS; i++)
		ASSERT_EQ(0, attach(&t[i], t[i].s1_id));
	/* With a vEVENTQ faults are not written to the kernel log */
	open_veventq(t);
	set_place(in, t->s1_id, S1_IOVA, BIT(HIT_A));
}

FIXTURE_TEARDOWN(input)
{
	close_devices(self->in.t, NUM_GUESTS);
}

/* The guest is not affected */
static void check_guest(struct __test_metadata *_metadata,
			struct input *in)
{
	enum hit hit = dma(in->t, in->at);

	ASSERT_NE(0, in->hits & BIT(hit))
		TH_LOG("hit %d of %#x at %#llx", hit, in->hits,
		       (unsigned long long)in->at);
}

/* The other guests are not affected, and the queue of each SMMU works */
static void check_others(struct __test_metadata *_metadata,
			 struct input *in)
{
	struct smmu_test *t = in->t;
	u64 vsid = FIELD_PREP(CMD_0_SID, VSID_NEAR);

	ASSERT_EQ(HIT_B, dma(&t[NEAR], S1_IOVA));
	ASSERT_EQ(0, invalidate_one(&t[NEAR], CMD_CFGI_CD | vsid, 0));
	ASSERT_EQ(0, invalidate_one(&t[NEAR], CMD_TLBI_NH_ALL, 0));
	ASSERT_EQ(HIT_B, dma(&t[NEAR], S1_IOVA));
	ASSERT_EQ(0, invalidate_one(&t[FAR], CMD_TLBI_NH_ALL, 0));
	ASSERT_EQ(HIT_A, dma(&t[FAR], S1_IOVA));
}

/*
 * Stream table entries
 */
#define STE_0_S1FMT		GENMASK_ULL(5, 4)
#define STE_0_S1CTXPTR		GENMASK_ULL(51, 6)
#define STE_0_S1CDMAX		GENMASK_ULL(63, 59)
#define STE_0_GUEST		(STE_0_V | STE_0_CFG | STE_0_S1FMT | \
				 STE_0_S1CTXPTR | STE_0_S1CDMAX)
#define STE_1_S1DSS		GENMASK_ULL(1, 0)
#define STE_1_S1STALLD		BIT_ULL(27)
#define STE_1_GUEST		(STE_1_S1DSS | STE_1_S1CIR | STE_1_S1COR | \
				 STE_1_S1CSH | STE_1_S1STALLD | STE_1_EATS)

static u64 vste_bad(const u64 *ste)
{
	if (!(ste[0] & STE_0_V))
		return 0;
	if (ste[0] & ~STE_0_GUEST || ste[1] & ~STE_1_GUEST)
		return err(EIO);
	if (FIELD_GET(STE_1_EATS, ste[1]) >= STE_1_EATS_S1CHK)
		return err(EIO);

	switch (FIELD_GET(STE_0_CFG, ste[0])) {
	case STE_0_CFG_ABORT:
	case STE_0_CFG_BYPASS:
	case STE_0_CFG_S1:
		return 0;
	default:
		return err(EIO);
	}
}

/* Record the expected result of DMA with this vSTE */
static void vste_place(struct input *in, const u64 *ste, u32 id)
{
	struct smmu_test *t = in->t;
	u64 cfg = FIELD_GET(STE_0_CFG, ste[0]);
	u32 hits = BIT(HIT_A);

	if (!(ste[0] & STE_0_V) || cfg == STE_0_CFG_ABORT) {
		set_place(in, id, t->ipa_a, BIT(HIT_NONE));
		return;
	}
	if (cfg == STE_0_CFG_BYPASS) {
		set_place(in, id, t->ipa_a, hits);
		return;
	}
	/*
	 * DMA may also fail if the SMMU does not support substreams or stalls, if
	 * the CD is at another address, or if the CD is still in CPU caches that
	 * are not snooped because of the memory attributes.
	 */
	if (ste[0] & STE_0_S1CDMAX || ste[1] & STE_1_S1STALLD ||
	    (ste[0] & STE_0_S1CTXPTR) != (ste0_s1(t) & STE_0_S1CTXPTR) ||
	    (ste[1] & (STE_1_S1CIR | STE_1_S1COR | STE_1_S1CSH)) != ste1_s1())
		hits |= BIT(HIT_NONE);
	set_place(in, id, S1_IOVA, hits);
}

static void make_good_vste(struct smmu_test *t, u64 *ste)
{
	static const u64 cfgs[] = { STE_0_CFG_ABORT, STE_0_CFG_BYPASS, STE_0_CFG_S1 };

	ste[0] = STE_0_V | FIELD_PREP(STE_0_CFG, cfgs[below(ARRAY_SIZE(cfgs))]);
	if (below(2))
		ste[0] |= rnd() & (STE_0_S1FMT | STE_0_S1CDMAX);
	ste[0] |= below(4) ? ste0_s1(t) & STE_0_S1CTXPTR : rnd() & STE_0_S1CTXPTR;
	ste[1] = below(4) ? ste1_s1() : rnd() & STE_1_GUEST;
	ste[1] &= ~STE_1_EATS;
	ste[1] |= FIELD_PREP(STE_1_EATS, below(2));
}

static void flip_bits(u64 *words)
{
	u32 flips = 1 + below(3);

	while (flips--) {
		u32 bit = below(128);

		words[bit / 64] ^= BIT_ULL(bit % 64);
	}
}

static void make_vste(struct smmu_test *t, u64 *ste)
{
	u32 kind = below(8);

	if (!kind) {
		ste[0] = rnd();
		ste[1] = rnd();
		return;
	}
	make_good_vste(t, ste);
	if (kind <= 4)
		flip_bits(ste);
}

/* The ioctl, with an additional field that the kernel does not support */
struct vste_call {
	struct iommu_hwpt_alloc cmd;
	u64 more;
	u64 ste[2];
	/* Expected errors, as bits of err() */
	u64 bad;
	/* The nested domain can be attached */
	bool plain;
};

static void spoil_vste_call(struct smmu_test *t, struct vste_call *call,
			    u32 fault_id)
{
	static const u32 lens[] = { 1, 8, 15, 17, 24, 4096, -1 };
	static const u32 sizes[] = {
		0, 4, offsetof(struct iommu_hwpt_alloc, data_type) - 1,
	};
	const u32 unknown = below(2) ? 0 : 0x40000000 | (u32)rnd();
	struct iommu_hwpt_alloc *cmd = &call->cmd;

	call->plain = false;
	switch (below(16)) {
	case 0:
		cmd->data_len = lens[below(ARRAY_SIZE(lens))];
		call->bad |= err(EINVAL);
		break;
	case 1:
		cmd->data_len = 0;
		call->bad |= err(EINVAL);
		break;
	case 2:
		cmd->data_type = below(2) ? 3 + (u32)rnd() % 1000 :
					    IOMMU_HWPT_DATA_VTD_S1;
		call->bad |= err(EINVAL);
		break;
	case 3:
		cmd->data_type = IOMMU_HWPT_DATA_NONE;
		call->bad |= err(EINVAL);
		break;
	case 4:
		/* A vSMMU does not allocate domains without a vSTE */
		cmd->data_type = IOMMU_HWPT_DATA_NONE;
		cmd->data_len = 0;
		call->bad |= err(EOPNOTSUPP);
		break;
	case 5:
		cmd->data_uptr = below(2) ? below(4096) :
				 below(2) ? rnd() | BIT_ULL(63) :
					    (uintptr_t)t->region.vaddr +
					    BIT_ULL(46);
		call->bad |= err(EFAULT);
		break;
	case 6:
		/* The first four flags exist, but most are not supported here */
		cmd->flags = BIT(below(below(2) ? 4 : 32));
		if (!below(4))
			cmd->flags = rnd();
		if (cmd->flags & ~IOMMU_HWPT_FAULT_ID_VALID)
			call->bad |= err(EOPNOTSUPP);
		if (cmd->flags & IOMMU_HWPT_FAULT_ID_VALID)
			call->bad |= err(ENOENT);
		break;
	case 7:
		cmd->flags = IOMMU_HWPT_FAULT_ID_VALID;
		cmd->fault_id = fault_id;
		break;
	case 8:
		cmd->flags = IOMMU_HWPT_FAULT_ID_VALID;
		cmd->fault_id = below(2) ? t->viommu_id : unknown;
		call->bad |= err(ENOENT);
		break;
	case 9:
		cmd->dev_id = below(2) ? t->parent_id : unknown;
		call->bad |= err(ENOENT);
		break;
	case 10:
		cmd->dev_id = t[FAR].device->dev_id;
		call->bad |= err(EINVAL);
		break;
	case 11:
		cmd->pt_id = below(2) ? t->s1_id : below(2) ? t->vdevice_id : unknown;
		call->bad |= err(EINVAL);
		break;
	case 12:
		/* Nested domains require a vSMMU */
		cmd->pt_id = below(2) ? t->parent_id : t->iommu->ioas_id;
		call->bad |= err(EOPNOTSUPP);
		break;
	case 13:
		cmd->__reserved = below(2) ? rnd() | 1 : BIT(below(32));
		call->bad |= err(EOPNOTSUPP);
		break;
	case 14:
		cmd->size = sizes[below(ARRAY_SIZE(sizes))];
		call->bad = err(EINVAL);
		break;
	case 15:
		cmd->size = offsetof(struct vste_call, ste);
		if (below(2))
			break;
		call->more = 1ULL << below(64);
		call->bad = err(E2BIG);
		break;
	}
}

TEST_F_TIMEOUT(input, vste, 1200)
{
	struct iommu_fault_alloc fault = { .size = sizeof(fault) };
	struct input *in = &self->in;
	struct smmu_test *t = in->t;
	u32 results[MAX_ERRNO + 1] = {};
	u32 i, attached = 0, checked = 0;

	ASSERT_EQ(0, iommufd_cmd(t, IOMMU_FAULT_QUEUE_ALLOC, &fault));

	for (i = 0; i < count; i++) {
		struct vste_call call = {
			.cmd = {
				.size = sizeof(call.cmd),
				.dev_id = t->device->dev_id,
				.pt_id = t->viommu_id,
				.data_type = IOMMU_HWPT_DATA_ARM_SMMUV3,
				.data_len = sizeof(call.ste),
				.data_uptr = (uintptr_t)call.ste,
			},
			.plain = true,
		};
		u64 ste[2];
		u32 old;
		int ret;

		make_vste(t, ste);
		call.ste[0] = __cpu_to_le64(ste[0]);
		call.ste[1] = __cpu_to_le64(ste[1]);
		call.bad = vste_bad(ste);
		if (!below(8))
			spoil_vste_call(t, &call, fault.out_fault_id);

		ret = iommufd_cmd(t, IOMMU_HWPT_ALLOC, &call);
		count_result(results, ret);
		ASSERT_TRUE(expected(ret, call.bad))
			TH_LOG("error %d, vSTE %u: %#llx %#llx, size %u flags %#x type %u len %u",
			       ret, i, (unsigned long long)ste[0],
			       (unsigned long long)ste[1], call.cmd.size,
			       call.cmd.flags, call.cmd.data_type,
			       call.cmd.data_len);
		if (ret || !call.plain || below(16)) {
			if (!ret)
				ASSERT_EQ(0, destroy(t, call.cmd.out_hwpt_id));
			if (!below(256)) {
				check_guest(_metadata, in);
				checked++;
			}
		} else {
			old = in->hwpt_id;
			ASSERT_EQ(0, attach(t, call.cmd.out_hwpt_id));
			if (old != t->s1_id)
				ASSERT_EQ(0, destroy(t, old));
			vste_place(in, ste, call.cmd.out_hwpt_id);
			check_guest(_metadata, in);
			attached++;
		}
		if (!(i % 1024))
			check_others(_metadata, in);
	}

	ASSERT_EQ(0, attach(t, t->s1_id));
	set_place(in, t->s1_id, S1_IOVA, BIT(HIT_A));
	check_guest(_metadata, in);
	check_others(_metadata, in);
	ksft_print_msg("vste: %u attached, %u others followed by DMA, %d s\n",
		       attached, checked, (int)(time(NULL) - in->start));
	print_results("vste", results);
}

/*
 * Invalidation commands
 */
#define CMD_ATC_INV			0x40
#define CMD_0_OP			GENMASK_ULL(7, 0)
#define CMD_0_SSID			GENMASK_ULL(31, 12)
#define CMD_0_VMID			GENMASK_ULL(47, 32)
#define CMD_0_ASID			GENMASK_ULL(63, 48)
#define CMD_0_ASID_8			GENMASK_ULL(55, 48)
#define CMD_0_NUM			GENMASK_ULL(16, 12)
#define CMD_0_SCALE			GENMASK_ULL(25, 20)
#define CMD_0_SCALE_HIGH		BIT_ULL(25)
#define CMD_1_TTL			GENMASK_ULL(9, 8)
#define CMD_1_TG			GENMASK_ULL(11, 10)
#define CMD_1_TG_16K			2
#define CMD_1_ADDR			GENMASK_ULL(63, 12)

#define IDR0_ATS			BIT(10)
#define IDR0_ASID16			BIT(12)
#define IDR1_SSIDSIZE			GENMASK(10, 6)
#define IDR3_RIL			BIT(10)
#define IDR5_DS				BIT(31)

/* The fields of a command that are not reserved on this SMMU */
static bool cmd_fields(const struct smmu_test *t, u8 op, u64 *fields)
{
	const u32 *idr = t->info.idr;

	fields[0] = CMD_0_OP;
	fields[1] = 0;

	switch (op) {
	case CMD_CFGI_CD:
		fields[0] |= CMD_0_SID;
		if (idr[1] & IDR1_SSIDSIZE)
			fields[0] |= CMD_0_SSID;
		fields[1] |= CMD_1_LEAF;
		return true;
	case CMD_CFGI_CD_ALL:
		fields[0] |= CMD_0_SID;
		return true;
	case CMD_TLBI_NH_ALL:
		fields[0] |= CMD_0_VMID;
		return true;
	case CMD_TLBI_NH_ASID:
		fields[0] |= CMD_0_VMID;
		fields[0] |= idr[0] & IDR0_ASID16 ? CMD_0_ASID : CMD_0_ASID_8;
		return true;
	case CMD_TLBI_NH_VA:
		fields[0] |= idr[0] & IDR0_ASID16 ? CMD_0_ASID : CMD_0_ASID_8;
		fallthrough;
	case CMD_TLBI_NH_VAA:
		fields[0] |= CMD_0_VMID;
		fields[1] |= CMD_1_LEAF | CMD_1_ADDR;
		if (idr[3] & IDR3_RIL) {
			fields[0] |= CMD_0_NUM | CMD_0_SCALE;
			fields[1] |= CMD_1_TTL | CMD_1_TG;
			if (!(idr[5] & IDR5_DS))
				fields[0] &= ~CMD_0_SCALE_HIGH;
		}
		return true;
	case CMD_TLBI_NSNH_ALL:
		return true;
	default:
		/* CMD_ATC_INV as well, see spoil_cmd() */
		return false;
	}
}

static bool range_good(const struct smmu_test *t, const u64 *cmd)
{
	u64 range = cmd[0] & (CMD_0_NUM | CMD_0_SCALE);
	u64 ttl = FIELD_GET(CMD_1_TTL, cmd[1]);
	u64 tg = FIELD_GET(CMD_1_TG, cmd[1]);

	if (!(t->info.idr[3] & IDR3_RIL))
		return true;
	if (!tg)
		return !range && !ttl;
	if (!range && !ttl)
		return false;
	return tg != CMD_1_TG_16K || ttl != 1 || t->info.idr[5] & IDR5_DS;
}

static bool cmd_good(const struct smmu_test *t, const u64 *cmd)
{
	u8 op = FIELD_GET(CMD_0_OP, cmd[0]);
	u64 fields[2];

	if (!cmd_fields(t, op, fields) ||
	    cmd[0] & ~fields[0] || cmd[1] & ~fields[1])
		return false;
	if (op == CMD_TLBI_NH_VA || op == CMD_TLBI_NH_VAA)
		return range_good(t, cmd);
	if (op == CMD_CFGI_CD || op == CMD_CFGI_CD_ALL)
		return FIELD_GET(CMD_0_SID, cmd[0]) == VSID;
	return true;
}

static void make_good_cmd(const struct smmu_test *t, u64 *cmd)
{
	u8 op = guest_ops[below(ARRAY_SIZE(guest_ops))];
	u64 fields[2];

	cmd_fields(t, op, fields);
	do {
		cmd[0] = (rnd() & fields[0] & ~CMD_0_OP) | op;
		cmd[1] = rnd() & fields[1];
		if (op == CMD_CFGI_CD || op == CMD_CFGI_CD_ALL) {
			cmd[0] &= ~CMD_0_SID;
			cmd[0] |= FIELD_PREP(CMD_0_SID, VSID);
		}
	} while (!cmd_good(t, cmd));
}

/* The result may still be legal */
static void spoil_cmd(const struct smmu_test *t, u64 *cmd)
{
	static const u32 sids[] = { 0, 1, VSID - 1, VSID_NEAR, VSID_NEAR | 1, -1 };

	switch (below(7)) {
	case 0:
		cmd[0] = below(256);
		cmd[1] = 0;
		break;
	case 1:
		cmd[0] = (rnd() & ~CMD_0_OP) | below(256);
		cmd[1] = rnd();
		break;
	case 2:
		cmd[0] = (cmd[0] & ~CMD_0_OP) | below(256);
		break;
	case 3:
		cmd[0] = below(2) ? CMD_CFGI_CD : CMD_CFGI_CD_ALL;
		cmd[0] |= FIELD_PREP(CMD_0_SID, sids[below(ARRAY_SIZE(sids))]);
		cmd[1] = 0;
		break;
	case 4:
		cmd[0] = CMD_ATC_INV | FIELD_PREP(CMD_0_SID, VSID_NEAR);
		cmd[1] = rnd() & CMD_1_ADDR;
		break;
	case 5:
		/* An incomplete range */
		cmd[0] &= below(2) ? ~(CMD_0_NUM | CMD_0_SCALE) : ~0ULL;
		cmd[1] &= below(2) ? ~CMD_1_TTL : ~CMD_1_TG;
		break;
	default:
		flip_bits(cmd);
	}

	/* With ATS the command is legal for a valid SID. No device has SID 0. */
	if (FIELD_GET(CMD_0_OP, cmd[0]) == CMD_ATC_INV &&
	    t->info.idr[0] & IDR0_ATS)
		cmd[0] &= ~CMD_0_SID;
}

/* Several batches of the driver */
#define MAX_CMDS	300
#define MAX_CMD_LEN	40
/* The limit of iommufd */
#define MAX_ENTRY_NUM	SZ_512K

struct cmds_call {
	struct iommu_hwpt_invalidate cmd;
	u64 bad;
	/* Index of the first illegal command, if the commands are read */
	u32 first;
	/* A command cannot be read, so earlier ones of its batch may not be issued */
	bool unreadable;
};

/*
 * Write @num commands with entries of @len bytes to the end of @buf, which is
 * followed by unmapped memory. Bytes beyond a command must be zero, and bytes
 * missing in a short entry are zero.
 */
static void make_cmds(struct smmu_test *t, struct cmds_call *call, void *buf,
		      size_t size, u32 num, u32 len)
{
	u32 spoilt = below(2) ? num : below(num);
	u32 too_long = len > 16 && !below(4) ? below(num) : num;
	u8 *at = buf + size - num * len;
	u32 i;

	call->first = num;
	call->cmd.data_uptr = (uintptr_t)at;
	call->cmd.entry_len = len;
	call->cmd.entry_num = num;

	for (i = 0; i < num; i++, at += len) {
		u8 entry[MAX_CMD_LEN] = {};
		u64 cmd[2];

		make_good_cmd(t, cmd);
		if (i == spoilt)
			spoil_cmd(t, cmd);
		memcpy(entry, cmd, sizeof(cmd));
		if (len < sizeof(cmd)) {
			memset(entry + len, 0, sizeof(cmd) - len);
			memcpy(cmd, entry, sizeof(cmd));
		}
		if (call->first == num && !cmd_good(t, cmd))
			call->first = i;
		cmd[0] = __cpu_to_le64(cmd[0]);
		cmd[1] = __cpu_to_le64(cmd[1]);
		memcpy(entry, cmd, sizeof(cmd));
		if (i == too_long)
			entry[16 + below(len - 16)] = 1 + below(255);
		memcpy(at, entry, len);
	}

	if (call->first < num)
		call->bad |= err(EIO);
	if (too_long < num) {
		call->bad |= err(E2BIG);
		call->first = min(call->first, too_long);
		call->unreadable = true;
	}
}

static void spoil_cmds_call(struct smmu_test *t, struct cmds_call *call)
{
	struct iommu_hwpt_invalidate *cmd = &call->cmd;
	u32 unknown = 0x40000000 | (u32)rnd();

	switch (below(10)) {
	case 0:
		cmd->data_type = below(2) ? 2 + below(1000) :
					    IOMMU_HWPT_INVALIDATE_DATA_VTD_S1;
		call->bad |= err(EINVAL);
		break;
	case 1:
		cmd->entry_len = below(2) ? 0 : below(2) ? SZ_4K + 1 + below(SZ_4K) : -1;
		call->bad |= err(EINVAL);
		break;
	case 2:
		cmd->entry_num = MAX_ENTRY_NUM + 1 +
				 (below(2) ? 0 : below(-MAX_ENTRY_NUM - 2));
		call->bad |= err(EINVAL);
		break;
	case 3:
		/* Extend the array into unmapped memory */
		cmd->entry_num += below(2) ? 1 + below(100) :
					     MAX_ENTRY_NUM - cmd->entry_num;
		call->bad |= err(EFAULT);
		call->unreadable = true;
		return;
	case 4:
		cmd->data_uptr = 0;
		call->bad |= err(EINVAL);
		break;
	case 5:
		cmd->data_uptr = BIT_ULL(63) | rnd();
		call->bad |= err(EFAULT);
		break;
	case 6:
		cmd->__reserved = 1U << below(32);
		call->bad |= err(EOPNOTSUPP);
		break;
	case 7:
		cmd->hwpt_id = below(2) ? 0 : unknown;
		call->bad |= err(ENOENT);
		break;
	case 8:
		cmd->hwpt_id = t->s1_id;
		call->bad |= err(EOPNOTSUPP);
		break;
	case 9:
		cmd->hwpt_id = below(2) ? t->parent_id :
			       below(2) ? t->iommu->ioas_id : t->vdevice_id;
		call->bad |= err(EINVAL);
		break;
	}
	call->first = 0;
}

TEST_F_TIMEOUT(input, invalidate, 1200)
{
	struct input *in = &self->in;
	size_t size = SZ_64K, guard = SZ_64K;
	u32 results[MAX_ERRNO + 1] = {};
	struct smmu_test *t = in->t;
	u32 i, cmds = 0;
	void *buf;

	/* With an entry_num of MAX_ENTRY_NUM the array must end within the guard */
	guard += (size_t)MAX_ENTRY_NUM * MAX_CMD_LEN;
	buf = mmap(NULL, size + guard, PROT_NONE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ASSERT_NE(MAP_FAILED, buf);
	ASSERT_EQ(0, mprotect(buf, size, PROT_READ | PROT_WRITE));

	for (i = 0; i < count / 4; i++) {
		struct cmds_call call = {
			.cmd = {
				.size = sizeof(call.cmd),
				.hwpt_id = t->viommu_id,
				.data_type = IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3,
			},
		};
		u32 num = 1 + below(below(8) ? 4 : MAX_CMDS), done;
		u32 len = below(8) ? 16 : 1 + below(MAX_CMD_LEN);
		int ret;

		make_cmds(t, &call, buf, size, num, len);
		if (!below(4))
			spoil_cmds_call(t, &call);

		num = call.cmd.entry_num;
		ret = iommufd_cmd(t, IOMMU_HWPT_INVALIDATE, &call.cmd);
		done = call.cmd.entry_num;
		count_result(results, ret);
		cmds += done;
		ASSERT_TRUE(expected(ret, call.bad) && done <= call.first &&
			    (done == call.first || call.unreadable))
			TH_LOG("error %d, array %u: %u of %u done, %u good; len %u type %u id %u",
			       ret, i, done, num, call.first, call.cmd.entry_len,
			       call.cmd.data_type, call.cmd.hwpt_id);

		if (!(i % 32))
			check_guest(_metadata, in);
		if (!(i % 128))
			check_others(_metadata, in);
	}

	check_guest(_metadata, in);
	check_others(_metadata, in);
	ksft_print_msg("invalidate: %u commands done in %u arrays, %d s\n", cmds, i,
		       (int)(time(NULL) - in->start));
	print_results("invalidate", results);
}

/* Each opcode alone and with each additional bit */
TEST_F_TIMEOUT(input, opcodes, 300)
{
	struct input *in = &self->in;
	struct smmu_test *t = in->t;
	int op, bit;

	for (op = 0; op < 256; op++) {
		for (bit = 7; bit < 128; bit++) {
			struct iommu_viommu_arm_smmuv3_invalidate ucmd;
			u64 cmd[2] = { op };
			u32 num = 1;
			bool good;
			int ret;

			if (bit > 7)
				cmd[bit / 64] |= BIT_ULL(bit % 64);
			if (op == CMD_CFGI_CD || op == CMD_CFGI_CD_ALL)
				cmd[0] ^= FIELD_PREP(CMD_0_SID, VSID);
			good = cmd_good(t, cmd);
			/* Illegal opcodes are rejected with any bits, so test only some */
			if (bit > 7 && !cmd_fields(t, op, (u64 [2]) {}) && bit % 16)
				continue;
			ucmd.cmd[0] = __cpu_to_le64(cmd[0]);
			ucmd.cmd[1] = __cpu_to_le64(cmd[1]);
			ret = invalidate(t, &ucmd, &num);
			ASSERT_EQ(good ? 0 : -EIO, ret)
				TH_LOG("opcode %#x, bit %d", op, bit);
			ASSERT_EQ(good ? 1 : 0, num);
		}
		if (!(op % 16))
			check_others(_metadata, in);
	}
	check_guest(_metadata, in);
	check_others(_metadata, in);
}

/*
 * Object IDs of every type in place of every other
 */
enum kind {
	ZERO,
	UNKNOWN,
	DESTROYED,
	IOAS,
	PAGING,
	PARENT,
	NESTED,
	FAR_NESTED,
	VSMMU,
	FAR_VSMMU,
	VDEVICE,
	VEVENTQ,
	FAULT,
	DEVICE,
	/* Without a vDEVICE */
	BARE_DEVICE,
	FAR_DEVICE,
	NUM_KINDS,
};

enum op {
	OP_HWPT_ALLOC,
	OP_HWPT_ALLOC_NESTED,
	OP_VIOMMU_ALLOC,
	OP_VDEVICE_ALLOC,
	OP_VEVENTQ_ALLOC,
	OP_INVALIDATE,
	OP_HW_INFO,
	OP_ATTACH,
	OP_DESTROY,
	OP_MAP,
	OP_UNMAP,
	OP_COPY,
	OP_RANGES,
	OP_ALLOW,
	OP_OPTION,
	OP_SET_DIRTY,
	OP_GET_DIRTY,
	NUM_OPS,
};

/* Errors for the first ID of an ioctl, and for the second ID if it exists */
static const struct id_errors {
	const char *name;
	int errors[2][NUM_KINDS];
} id_errors[NUM_OPS] = {
	[OP_HWPT_ALLOC] = { "HWPT_ALLOC", {
		{ [0 ... NUM_KINDS - 1] = ENOENT,
		  [DEVICE] = 0, [BARE_DEVICE] = 0, [FAR_DEVICE] = 0 },
		{ [0 ... NUM_KINDS - 1] = EINVAL, [IOAS] = 0,
		  /* Nesting requires data */
		  [PAGING] = EOPNOTSUPP, [PARENT] = EOPNOTSUPP,
		  [VSMMU] = EOPNOTSUPP, [FAR_VSMMU] = EOPNOTSUPP },
	} },
	[OP_HWPT_ALLOC_NESTED] = { "HWPT_ALLOC of a vSTE", {
		{ [0 ... NUM_KINDS - 1] = ENOENT,
		  [DEVICE] = 0, [BARE_DEVICE] = 0, [FAR_DEVICE] = 0 },
		{ [0 ... NUM_KINDS - 1] = EINVAL, [VSMMU] = 0, [FAR_VSMMU] = 0,
		  [IOAS] = EOPNOTSUPP, [PAGING] = EOPNOTSUPP,
		  [PARENT] = EOPNOTSUPP },
	} },
	[OP_VIOMMU_ALLOC] = { "VIOMMU_ALLOC", {
		{ [0 ... NUM_KINDS - 1] = ENOENT,
		  [DEVICE] = 0, [BARE_DEVICE] = 0, [FAR_DEVICE] = 0 },
		{ [0 ... NUM_KINDS - 1] = ENOENT, [PARENT] = 0, [PAGING] = EINVAL },
	} },
	[OP_VDEVICE_ALLOC] = { "VDEVICE_ALLOC", {
		{ [0 ... NUM_KINDS - 1] = ENOENT, [VSMMU] = 0, [FAR_VSMMU] = 0 },
		{ [0 ... NUM_KINDS - 1] = ENOENT, [DEVICE] = EEXIST, [BARE_DEVICE] = 0,
		  [FAR_DEVICE] = EEXIST },
	} },
	[OP_VEVENTQ_ALLOC] = { "VEVENTQ_ALLOC", {
		{ [0 ... NUM_KINDS - 1] = ENOENT, [VSMMU] = EEXIST, [FAR_VSMMU] = EEXIST },
	} },
	[OP_INVALIDATE] = { "HWPT_INVALIDATE", {
		{ [0 ... NUM_KINDS - 1] = EINVAL, [ZERO] = ENOENT, [UNKNOWN] = ENOENT,
		  [DESTROYED] = ENOENT, [VSMMU] = 0, [FAR_VSMMU] = 0,
		  [NESTED] = EOPNOTSUPP, [FAR_NESTED] = EOPNOTSUPP },
	} },
	[OP_HW_INFO] = { "GET_HW_INFO", {
		{ [0 ... NUM_KINDS - 1] = ENOENT,
		  [DEVICE] = 0, [BARE_DEVICE] = 0, [FAR_DEVICE] = 0 },
	} },
	[OP_ATTACH] = { "VFIO_DEVICE_ATTACH_IOMMUFD_PT", {
		{ [0 ... NUM_KINDS - 1] = EINVAL, [ZERO] = ENOENT, [UNKNOWN] = ENOENT,
		  [DESTROYED] = ENOENT, [IOAS] = 0, [PAGING] = 0,
		  [PARENT] = 0, [NESTED] = 0 },
	} },
	/* All objects are in use, see the exception in the test */
	[OP_DESTROY] = { "DESTROY", {
		{ [0 ... NUM_KINDS - 1] = EBUSY, [ZERO] = ENOENT, [UNKNOWN] = ENOENT,
		  [DESTROYED] = ENOENT },
	} },
	[OP_MAP] = { "IOAS_MAP", {
		{ [0 ... NUM_KINDS - 1] = ENOENT, [IOAS] = 0 },
	} },
	[OP_UNMAP] = { "IOAS_UNMAP", {
		{ [0 ... NUM_KINDS - 1] = ENOENT, [IOAS] = 0 },
	} },
	[OP_COPY] = { "IOAS_COPY", {
		{ [0 ... NUM_KINDS - 1] = ENOENT, [IOAS] = 0 },
		{ [0 ... NUM_KINDS - 1] = ENOENT, [IOAS] = 0 },
	} },
	[OP_RANGES] = { "IOAS_IOVA_RANGES", {
		{ [0 ... NUM_KINDS - 1] = ENOENT, [IOAS] = 0 },
	} },
	[OP_ALLOW] = { "IOAS_ALLOW_IOVAS", {
		{ [0 ... NUM_KINDS - 1] = ENOENT, [IOAS] = 0 },
	} },
	[OP_OPTION] = { "OPTION", {
		{ [0 ... NUM_KINDS - 1] = ENOENT, [IOAS] = 0 },
	} },
	[OP_SET_DIRTY] = { "HWPT_SET_DIRTY_TRACKING", {
		/* No HWPT is allocated with dirty tracking */
		{ [0 ... NUM_KINDS - 1] = ENOENT, [PAGING] = EOPNOTSUPP, [PARENT] = EOPNOTSUPP },
	} },
	[OP_GET_DIRTY] = { "HWPT_GET_DIRTY_BITMAP", {
		{ [0 ... NUM_KINDS - 1] = ENOENT, [PAGING] = EOPNOTSUPP, [PARENT] = EOPNOTSUPP },
	} },
};

/* Call an ioctl and undo its effect if it succeeds */
static int do_op(struct __test_metadata *_metadata, struct smmu_test *t,
		 enum op op, u32 id, u32 id2)
{
	u64 bypass[2] = {
		__cpu_to_le64(STE_0_V | FIELD_PREP(STE_0_CFG, STE_0_CFG_BYPASS)),
	};
	u64 cmds[2] = { __cpu_to_le64(CMD_TLBI_NH_ALL) };
	struct iommu_iova_range ranges[16];
	u64 iova = t->window.iova, page = getpagesize();
	u8 bitmap[64];
	u32 out;
	int ret;
	union {
		struct iommu_hwpt_alloc hwpt;
		struct iommu_viommu_alloc viommu;
		struct iommu_vdevice_alloc vdevice;
		struct iommu_veventq_alloc veventq;
		struct iommu_hwpt_invalidate invalidate;
		struct iommu_hw_info info;
		struct iommu_ioas_copy copy;
		struct iommu_ioas_iova_ranges ranges;
		struct iommu_ioas_allow_iovas allow;
		struct iommu_option option;
		struct iommu_hwpt_set_dirty_tracking set;
		struct iommu_hwpt_get_dirty_bitmap get;
	} cmd;

	memset(&cmd, 0, sizeof(cmd));
	switch (op) {
	case OP_HWPT_ALLOC_NESTED:
		cmd.hwpt.data_type = IOMMU_HWPT_DATA_ARM_SMMUV3;
		cmd.hwpt.data_len = sizeof(bypass);
		cmd.hwpt.data_uptr = (uintptr_t)bypass;
		fallthrough;
	case OP_HWPT_ALLOC:
		cmd.hwpt.size = sizeof(cmd.hwpt);
		cmd.hwpt.dev_id = id;
		cmd.hwpt.pt_id = id2;
		ret = iommufd_cmd(t, IOMMU_HWPT_ALLOC, &cmd);
		out = cmd.hwpt.out_hwpt_id;
		break;
	case OP_VIOMMU_ALLOC:
		cmd.viommu.size = sizeof(cmd.viommu);
		cmd.viommu.type = IOMMU_VIOMMU_TYPE_ARM_SMMUV3;
		cmd.viommu.dev_id = id;
		cmd.viommu.hwpt_id = id2;
		ret = iommufd_cmd(t, IOMMU_VIOMMU_ALLOC, &cmd);
		out = cmd.viommu.out_viommu_id;
		break;
	case OP_VDEVICE_ALLOC:
		cmd.vdevice.size = sizeof(cmd.vdevice);
		cmd.vdevice.viommu_id = id;
		cmd.vdevice.dev_id = id2;
		cmd.vdevice.virt_id = 1;
		ret = iommufd_cmd(t, IOMMU_VDEVICE_ALLOC, &cmd);
		out = cmd.vdevice.out_vdevice_id;
		break;
	case OP_VEVENTQ_ALLOC:
		cmd.veventq.size = sizeof(cmd.veventq);
		cmd.veventq.viommu_id = id;
		cmd.veventq.type = IOMMU_VEVENTQ_TYPE_ARM_SMMUV3;
		cmd.veventq.veventq_depth = 1;
		return iommufd_cmd(t, IOMMU_VEVENTQ_ALLOC, &cmd);
	case OP_INVALIDATE:
		cmd.invalidate.size = sizeof(cmd.invalidate);
		cmd.invalidate.hwpt_id = id;
		cmd.invalidate.data_uptr = (uintptr_t)cmds;
		cmd.invalidate.data_type = IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3;
		cmd.invalidate.entry_len = sizeof(cmds);
		cmd.invalidate.entry_num = 1;
		ret = iommufd_cmd(t, IOMMU_HWPT_INVALIDATE, &cmd);
		ASSERT_EQ(ret ? 0 : 1, cmd.invalidate.entry_num);
		return ret;
	case OP_HW_INFO:
		cmd.info.size = sizeof(cmd.info);
		cmd.info.dev_id = id;
		return iommufd_cmd(t, IOMMU_GET_HW_INFO, &cmd);
	case OP_ATTACH:
		ret = attach(t, id);
		if (!ret)
			ASSERT_EQ(0, attach(t, t->s1_id));
		return ret;
	case OP_DESTROY:
		return destroy(t, id);
	case OP_MAP:
		ret = ioas_map(t, id, t->page_a, iova, page);
		if (!ret)
			ASSERT_EQ(0, ioas_unmap(t, id, iova, page));
		return ret;
	case OP_UNMAP:
		ASSERT_EQ(0, ioas_map(t, t->iommu->ioas_id, t->page_a, iova,
				      page));
		ret = ioas_unmap(t, id, iova, page);
		if (ret)
			ASSERT_EQ(0, ioas_unmap(t, t->iommu->ioas_id, iova,
						page));
		return ret;
	case OP_COPY:
		cmd.copy.size = sizeof(cmd.copy);
		cmd.copy.flags = IOMMU_IOAS_MAP_FIXED_IOVA |
				 IOMMU_IOAS_MAP_READABLE;
		cmd.copy.dst_ioas_id = id;
		cmd.copy.src_ioas_id = id2;
		cmd.copy.length = page;
		cmd.copy.dst_iova = iova;
		cmd.copy.src_iova = t->region.iova;
		ret = iommufd_cmd(t, IOMMU_IOAS_COPY, &cmd);
		if (!ret)
			ASSERT_EQ(0, ioas_unmap(t, id, iova, page));
		return ret;
	case OP_RANGES:
		cmd.ranges.size = sizeof(cmd.ranges);
		cmd.ranges.ioas_id = id;
		cmd.ranges.num_iovas = ARRAY_SIZE(ranges);
		cmd.ranges.allowed_iovas = (uintptr_t)ranges;
		return iommufd_cmd(t, IOMMU_IOAS_IOVA_RANGES, &cmd);
	case OP_ALLOW:
		cmd.allow.size = sizeof(cmd.allow);
		cmd.allow.ioas_id = id;
		return iommufd_cmd(t, IOMMU_IOAS_ALLOW_IOVAS, &cmd);
	case OP_OPTION:
		cmd.option.size = sizeof(cmd.option);
		cmd.option.option_id = IOMMU_OPTION_HUGE_PAGES;
		cmd.option.op = IOMMU_OPTION_OP_GET;
		cmd.option.object_id = id;
		return iommufd_cmd(t, IOMMU_OPTION, &cmd);
	case OP_SET_DIRTY:
		cmd.set.size = sizeof(cmd.set);
		cmd.set.hwpt_id = id;
		cmd.set.flags = IOMMU_HWPT_DIRTY_TRACKING_ENABLE;
		return iommufd_cmd(t, IOMMU_HWPT_SET_DIRTY_TRACKING, &cmd);
	default:
		cmd.get.size = sizeof(cmd.get);
		cmd.get.hwpt_id = id;
		cmd.get.iova = t->region.iova;
		cmd.get.length = t->region.size;
		cmd.get.page_size = page;
		cmd.get.data = (uintptr_t)bitmap;
		return iommufd_cmd(t, IOMMU_HWPT_GET_DIRTY_BITMAP, &cmd);
	}

	if (!ret)
		ASSERT_EQ(0, destroy(t, out));
	return ret;
}

static bool is_far(enum kind kind)
{
	return kind == FAR_VSMMU || kind == FAR_DEVICE;
}

/* Expected errors, as bits of err() */
static u64 ids_bad(enum op op, enum kind kind, enum kind kind2)
{
	const struct id_errors *e = &id_errors[op];
	u64 bad = 0;

	if (e->errors[0][kind])
		bad |= err(e->errors[0][kind]);
	if (e->errors[1][kind2])
		bad |= err(e->errors[1][kind2]);
	/* The device and the vSMMU must belong to the same SMMU */
	if ((kind2 == VSMMU || kind2 == FAR_VSMMU || op == OP_VDEVICE_ALLOC) &&
	    is_far(kind) != is_far(kind2))
		bad |= err(EINVAL);
	return bad;
}

TEST_F_TIMEOUT(input, ids, 600)
{
	struct iommu_fault_alloc fault = { .size = sizeof(fault) };
	struct input *in = &self->in;
	struct smmu_test *t = in->t;
	u32 results[MAX_ERRNO + 1] = {};
	u32 ids[NUM_KINDS] = {
		[UNKNOWN] = 0x7fffffff,
		[IOAS] = t->iommu->ioas_id,
		[PARENT] = t->parent_id,
		[NESTED] = t->s1_id,
		[FAR_NESTED] = t[FAR].s1_id,
		[VSMMU] = t->viommu_id,
		[FAR_VSMMU] = t[FAR].viommu_id,
		[VDEVICE] = t->vdevice_id,
		[DEVICE] = t->device->dev_id,
		[BARE_DEVICE] = t[NEAR].device->dev_id,
		[FAR_DEVICE] = t[FAR].device->dev_id,
	};
	u32 lowest_id;
	enum kind k, k2;
	enum op op;
	int fd;

	/* All objects are in use, like those of the fixture */
	ASSERT_EQ(0, hwpt_alloc(t, ids[IOAS], 0, NULL, &ids[PAGING]));
	ASSERT_EQ(0, attach(&t[NEAR], ids[PAGING]));
	ASSERT_EQ(0, destroy(t, t[NEAR].vdevice_id));
	ASSERT_EQ(0, veventq_alloc(&t[FAR], IOMMU_VEVENTQ_TYPE_ARM_SMMUV3, 1,
				   &ids[VEVENTQ], &fd));
	ASSERT_EQ(0, iommufd_cmd(t, IOMMU_FAULT_QUEUE_ALLOC, &fault));
	ids[FAULT] = fault.out_fault_id;
	/* Temporary objects get the lowest free ID, so leave one for them */
	ASSERT_EQ(0, nested_alloc_cfg(t, STE_0_CFG_ABORT, &lowest_id));
	ASSERT_EQ(0, nested_alloc_cfg(t, STE_0_CFG_ABORT, &ids[DESTROYED]));
	ASSERT_EQ(0, destroy(t, ids[DESTROYED]));
	ASSERT_EQ(0, destroy(t, lowest_id));

	for (op = 0; op < NUM_OPS; op++) {
		bool two = id_errors[op].errors[1][ZERO];

		for (k = 0; k < NUM_KINDS; k++) {
			/* The device stays attached, but its vDEVICE can be destroyed */
			if (op == OP_DESTROY && k == VDEVICE)
				continue;
			for (k2 = 0; k2 < (two ? NUM_KINDS : 1); k2++) {
				int ret = do_op(_metadata, t, op, ids[k], ids[k2]);

				count_result(results, ret);
				ASSERT_TRUE(expected(ret, ids_bad(op, k, k2)))
					TH_LOG("%s, types %d and %d: error %d",
					       id_errors[op].name, k, k2, ret);
			}
			check_guest(_metadata, in);
		}
		ASSERT_EQ(HIT_A, dma(&t[NEAR], t->ipa_a));
	}

	ASSERT_EQ(0, vdevice_alloc(&t[NEAR], VSID_NEAR,
				   &t[NEAR].vdevice_id));
	ASSERT_EQ(0, attach(&t[NEAR], t[NEAR].s1_id));
	check_others(_metadata, in);
	print_results("ids", results);
}

/*
 * Structures of ioctls with flipped bits. The meaning of the bits is not
 * considered: a changed bit may be ignored or select another valid request.
 */
enum flip {
	FLIP_HW_INFO,
	FLIP_HWPT_ALLOC,
	FLIP_VIOMMU_ALLOC,
	FLIP_VDEVICE_ALLOC,
	FLIP_VEVENTQ_ALLOC,
	NUM_FLIPS,
};

union flipped {
	struct iommu_hw_info info;
	struct iommu_hwpt_alloc hwpt;
	struct iommu_viommu_alloc viommu;
	struct iommu_vdevice_alloc vdevice;
	struct iommu_veventq_alloc veventq;
	/* Read by the kernel if the size is too large */
	u8 bytes[SZ_4K];
};

/* Fill @f and return the ioctl and the size of its structure */
static unsigned long make_flipped(struct smmu_test *t, enum flip flip,
				  union flipped *f, void *buf, u32 *len)
{
	memset(f, 0, sizeof(*f));
	switch (flip) {
	case FLIP_HW_INFO:
		f->info = (struct iommu_hw_info) {
			.size = sizeof(f->info),
			.dev_id = t->device->dev_id,
			.data_len = sizeof(t->info),
			.data_uptr = (uintptr_t)buf,
		};
		*len = sizeof(f->info);
		return IOMMU_GET_HW_INFO;
	case FLIP_HWPT_ALLOC:
		f->hwpt = (struct iommu_hwpt_alloc) {
			.size = sizeof(f->hwpt),
			.dev_id = t->device->dev_id,
			.pt_id = t->iommu->ioas_id,
		};
		*len = sizeof(f->hwpt);
		return IOMMU_HWPT_ALLOC;
	case FLIP_VIOMMU_ALLOC:
		f->viommu = (struct iommu_viommu_alloc) {
			.size = sizeof(f->viommu),
			.type = IOMMU_VIOMMU_TYPE_ARM_SMMUV3,
			.dev_id = t->device->dev_id,
			.hwpt_id = t->parent_id,
		};
		*len = sizeof(f->viommu);
		return IOMMU_VIOMMU_ALLOC;
	case FLIP_VDEVICE_ALLOC:
		f->vdevice = (struct iommu_vdevice_alloc) {
			.size = sizeof(f->vdevice),
			.viommu_id = t->viommu_id,
			.dev_id = t->device->dev_id,
			.virt_id = VSID,
		};
		*len = sizeof(f->vdevice);
		return IOMMU_VDEVICE_ALLOC;
	default:
		f->veventq = (struct iommu_veventq_alloc) {
			.size = sizeof(f->veventq),
			.viommu_id = t[FAR].viommu_id,
			.type = IOMMU_VEVENTQ_TYPE_ARM_SMMUV3,
			.veventq_depth = 1,
		};
		*len = sizeof(f->veventq);
		return IOMMU_VEVENTQ_ALLOC;
	}
}

/* Do not change data_uptr, as the kernel writes to this address */
static void flip_struct(enum flip flip, union flipped *f, u32 len)
{
	u32 flips = 1 + below(3);

	while (flips--) {
		u32 bit = below(len * 8);

		if (flip == FLIP_HW_INFO && bit / 64 ==
		    offsetof(struct iommu_hw_info, data_uptr) / 8)
			continue;
		f->bytes[bit / 8] ^= 1 << bit % 8;
	}
}

static void undo_flipped(struct __test_metadata *_metadata, struct smmu_test *t,
			 enum flip flip, union flipped *f)
{
	switch (flip) {
	case FLIP_HW_INFO:
		return;
	case FLIP_HWPT_ALLOC:
		ASSERT_EQ(0, destroy(t, f->hwpt.out_hwpt_id));
		return;
	case FLIP_VIOMMU_ALLOC:
		ASSERT_EQ(0, destroy(t, f->viommu.out_viommu_id));
		return;
	case FLIP_VDEVICE_ALLOC:
		ASSERT_EQ(0, destroy(t, f->vdevice.out_vdevice_id));
		return;
	default:
		ASSERT_EQ(0, close(f->veventq.out_veventq_fd));
		ASSERT_EQ(0, destroy(t, f->veventq.out_veventq_id));
	}
}

TEST_F_TIMEOUT(input, structs, 600)
{
	u64 documented = err(0) | err(ENOENT) | err(E2BIG) | err(EFAULT) |
			 err(EEXIST) | err(EINVAL) | err(EOPNOTSUPP);
	struct input *in = &self->in;
	struct smmu_test *t = in->t;
	size_t page = getpagesize();
	u32 results[MAX_ERRNO + 1] = {};
	union flipped *f;
	u32 i, len, id;
	u8 *buf, *end;

	/* Both buffers end before unmapped memory, so that overruns are detected */
	buf = mmap(NULL, 4 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, buf);
	ASSERT_EQ(0, mprotect(buf, page, PROT_READ | PROT_WRITE));
	ASSERT_EQ(0, mprotect(buf + 2 * page, page, PROT_READ | PROT_WRITE));
	end = buf + page - sizeof(t->info);
	f = (union flipped *)(buf + 3 * page - sizeof(*f));

	/* Destroy the vDEVICE, so that one can be allocated */
	ASSERT_EQ(0, nested_alloc_cfg(t, STE_0_CFG_BYPASS, &id));
	ASSERT_EQ(0, attach(t, id));
	ASSERT_EQ(0, destroy(t, t->vdevice_id));
	set_place(in, id, t->ipa_a, BIT(HIT_A));

	for (i = 0; i < count / 8; i++) {
		enum flip flip = below(NUM_FLIPS);
		unsigned long op = make_flipped(t, flip, f, end, &len);
		int ret;

		flip_struct(flip, f, len);
		ret = iommufd_cmd(t, op, f);
		count_result(results, ret);
		ASSERT_TRUE(expected(ret, documented))
			TH_LOG("error %d, struct %u, type %d", ret, i, flip);
		if (!ret)
			undo_flipped(_metadata, t, flip, f);
		if (!(i % 128))
			check_guest(_metadata, in);
		if (!(i % 1024))
			check_others(_metadata, in);
	}

	ASSERT_EQ(0, vdevice_alloc(t, VSID, &t->vdevice_id));
	ASSERT_EQ(0, attach(t, t->s1_id));
	set_place(in, t->s1_id, S1_IOVA, BIT(HIT_A));
	check_guest(_metadata, in);
	check_others(_metadata, in);
	print_results("structs", results);
}

/* Other documented errors of the uAPI */
TEST_F(input, errnos)
{
	struct iommu_ioas_change_process change = { .size = sizeof(change) };
	struct smmu_test *t = self->in.t;
	struct iommu_ioas_iova_ranges ranges = {
		.size = sizeof(ranges),
		.ioas_id = t->iommu->ioas_id,
	};
	struct iommu_ioas_map map = {
		.size = sizeof(map),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE,
		.ioas_id = t->iommu->ioas_id,
		.user_va = (uintptr_t)t->region.vaddr,
		.iova = -SZ_64K,
		.length = SZ_128K,
	};

	ASSERT_EQ(-ENOTTY, iommufd_cmd(t, _IO(IOMMUFD_TYPE, 0xff), &change));
	ASSERT_EQ(-EMSGSIZE, iommufd_cmd(t, IOMMU_IOAS_IOVA_RANGES, &ranges));
	ASSERT_NE(0, ranges.num_iovas);
	ASSERT_EQ(-EOVERFLOW, iommufd_cmd(t, IOMMU_IOAS_MAP, &map));
	/* There are mappings that are not backed by files */
	ASSERT_EQ(-EINVAL, iommufd_cmd(t, IOMMU_IOAS_CHANGE_PROCESS, &change));
	check_guest(_metadata, &self->in);
}

/*
 * Threads allocate and use objects while other threads destroy them. An ID may be
 * reused by an object of another type.
 */
#define NUM_SLOTS	32

struct race {
	struct input *in;
	/* IDs; 0: none */
	u32 slots[NUM_SLOTS];
	pthread_barrier_t start;
};

struct racer {
	struct race *race;
	pthread_t thread;
	struct rng rng;
	/* IDs of all allocated objects, which may be destroyed or reused since */
	u32 *made;
	u32 num_made;
	u32 results[MAX_ERRNO + 1];
	/* The first wrong result */
	const char *what;
	int ret;
};

static u32 race_id(struct racer *r)
{
	return READ_ONCE(r->race->slots[rng_next(&r->rng) % NUM_SLOTS]);
}

static void race_result(struct racer *r, const char *what, int ret, u64 set)
{
	count_result(r->results, ret);
	if (!(ret <= 0 && err(-ret) & set) && !r->what) {
		r->ret = ret;
		r->what = what;
	}
}

static void race_destroy(struct racer *r, u32 id)
{
	struct smmu_test *t = r->race->in->t;

	if (id)
		race_result(r, "destroy", destroy(t, id),
			    err(0) | err(ENOENT) | err(EBUSY));
}

static void race_make(struct racer *r)
{
	u32 *slot = &r->race->slots[rng_next(&r->rng) % NUM_SLOTS];
	struct smmu_test t = *r->race->in->t;
	const char *what;
	u32 id = 0;
	u64 set = err(0);
	int ret, fd;

	switch (rng_next(&r->rng) % 6) {
	case 0:
		what = "parent";
		ret = parent_alloc(&t, &id);
		break;
	case 1:
		what = "vSMMU";
		ret = viommu_alloc(&t, IOMMU_VIOMMU_TYPE_ARM_SMMUV3,
				   race_id(r), &id);
		/* Destroyed, or a HWPT that is not a parent */
		set |= err(ENOENT) | err(EINVAL);
		break;
	case 2:
		what = "nested bypass";
		t.viommu_id = race_id(r);
		ret = nested_alloc_cfg(&t, STE_0_CFG_BYPASS, &id);
		/* Destroyed or of another type; or a parent instead of a vSMMU */
		set |= err(EINVAL) | err(EOPNOTSUPP);
		break;
	case 3:
		what = "nested stage 1";
		t.viommu_id = race_id(r);
		ret = nested_alloc_s1(&t, &id);
		set |= err(EINVAL) | err(EOPNOTSUPP);
		break;
	case 4:
		what = "vDEVICE";
		t.viommu_id = race_id(r);
		ret = vdevice_alloc(&t, rng_next(&r->rng) % 4, &id);
		set |= err(ENOENT) | err(EEXIST);
		break;
	default:
		what = "vEVENTQ";
		t.viommu_id = race_id(r);
		ret = veventq_alloc(&t, IOMMU_VEVENTQ_TYPE_ARM_SMMUV3, 4, &id, &fd);
		if (!ret)
			close(fd);
		set |= err(ENOENT) | err(EEXIST);
	}
	race_result(r, what, ret, set);
	if (ret)
		return;
	r->made[r->num_made++] = id;
	race_destroy(r, __atomic_exchange_n(slot, id, __ATOMIC_RELAXED));
}

static void *race_maker(void *arg)
{
	struct racer *r = arg;
	u32 i;

	pthread_barrier_wait(&r->race->start);
	for (i = 0; i < count / 64; i++)
		race_make(r);
	return NULL;
}

static void *race_destroyer(void *arg)
{
	struct racer *r = arg;
	u32 i;

	pthread_barrier_wait(&r->race->start);
	for (i = 0; i < count / 64; i++)
		race_destroy(r, race_id(r));
	return NULL;
}

static void *race_user(void *arg)
{
	struct iommu_viommu_arm_smmuv3_invalidate cmd = {
		.cmd = { __cpu_to_le64(CMD_TLBI_NH_ALL) },
	};
	struct racer *r = arg;
	struct smmu_test t = *r->race->in->t;
	u32 i, num;

	pthread_barrier_wait(&r->race->start);
	for (i = 0; i < count / 64; i++) {
		switch (rng_next(&r->rng) % 4) {
		case 0:
			/*
			 * Another type of object, or a nested domain of a vSMMU
			 * without a vDEVICE of the device
			 */
			race_result(r, "attach", attach(&t, race_id(r)),
				    err(0) | err(ENOENT) | err(EINVAL));
			break;
		case 1:
			race_result(r, "attach to stage 1", attach(&t, t.s1_id),
				    err(0) | err(ENOENT));
			break;
		default:
			t.viommu_id = race_id(r);
			num = 1;
			race_result(r, "invalidate", invalidate(&t, &cmd, &num),
				    err(0) | err(ENOENT) | err(EINVAL) |
				    err(EOPNOTSUPP));
			t.viommu_id = r->race->in->t->viommu_id;
		}
	}
	return NULL;
}

/* Return the number of objects that cannot be destroyed yet, as they are in use */
static u32 race_destroy_made(struct __test_metadata *_metadata,
			     struct racer *r)
{
	u32 i, busy = 0;

	for (i = 0; i < r->num_made; i++) {
		int ret = destroy(r->race->in->t, r->made[i]);

		ASSERT_TRUE(!ret || ret == -ENOENT || ret == -EBUSY)
			TH_LOG("error %d", ret);
		if (ret == -EBUSY)
			r->made[busy++] = r->made[i];
	}
	r->num_made = busy;
	return busy;
}

TEST_F_TIMEOUT(input, race, 600)
{
	void *(*const funcs[])(void *) = {
		race_maker, race_maker, race_destroyer, race_user,
	};
	struct racer racers[ARRAY_SIZE(funcs)] = {};
	struct race race = { .in = &self->in };
	struct smmu_test *t = race.in->t;
	u32 results[MAX_ERRNO + 1] = {};
	u32 left = -1, before;
	unsigned int i;
	int j;

	/*
	 * The threads also allocate and destroy the vDEVICE. Do not attach to an
	 * IOAS, as the ID of its HWPT could be one used by the threads.
	 */
	ASSERT_EQ(0, attach(t, t->parent_id));
	ASSERT_EQ(0, destroy(t, t->vdevice_id));

	ASSERT_EQ(0, pthread_barrier_init(&race.start, NULL, ARRAY_SIZE(funcs)));
	for (i = 0; i < ARRAY_SIZE(funcs); i++) {
		racers[i].race = &race;
		racers[i].rng.state = rnd();
		racers[i].made = calloc(count / 64 + 1, sizeof(u32));
		ASSERT_NE(NULL, racers[i].made);
		ASSERT_EQ(0, pthread_create(&racers[i].thread, NULL, funcs[i],
					    &racers[i]));
	}
	for (i = 0; i < ARRAY_SIZE(funcs); i++) {
		ASSERT_EQ(0, pthread_join(racers[i].thread, NULL));
		for (j = 0; j <= MAX_ERRNO; j++)
			results[j] += racers[i].results[j];
	}
	ksft_print_msg("race: %d s\n", (int)(time(NULL) - race.in->start));
	print_results("race", results);
	for (i = 0; i < ARRAY_SIZE(funcs); i++) {
		ASSERT_EQ(NULL, racers[i].what)
			TH_LOG("%s: error %d", racers[i].what, racers[i].ret);
	}

	/* All remaining objects can be destroyed, those in use by others last */
	ASSERT_EQ(0, attach(t, t->parent_id));
	do {
		before = left;
		left = 0;
		for (i = 0; i < ARRAY_SIZE(funcs); i++)
			left += race_destroy_made(_metadata, &racers[i]);
	} while (left && left < before);
	ASSERT_EQ(0, left);
	for (i = 0; i < ARRAY_SIZE(funcs); i++)
		free(racers[i].made);

	ASSERT_EQ(0, vdevice_alloc(t, VSID, &t->vdevice_id));
	ASSERT_EQ(0, attach(t, t->s1_id));
	check_guest(_metadata, race.in);
	check_others(_metadata, race.in);
}

/* Remove this program's options from @argv and refuse unknown ones */
static void parse_args(int *argc, char *argv[])
{
	int from, to = 1;

	for (from = 1; from < *argc; from++) {
		if (!strncmp(argv[from], "--seed=", 7))
			seed = to_number("--seed", argv[from] + 7, 0, -1ULL);
		else if (!strncmp(argv[from], "--count=", 8))
			count = to_number("--count", argv[from] + 8,
					  MIN_COUNT, MAX_COUNT);
		else if (!strncmp(argv[from], "--", 2))
			ksft_exit_fail_msg("unknown option %s, try -h, --seed=N or --count=N\n",
					   argv[from]);
		else
			argv[to++] = argv[from];
	}
	argv[to] = NULL;
	*argc = to;
}

int main(int argc, char *argv[])
{
	if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		ksft_exit_fail_msg("no random seed: %s\n", strerror(errno));
	parse_args(&argc, argv);
	ksft_print_msg("--seed=%llu --count=%u\n", (unsigned long long)seed, count);
	multiply_timeouts(slowness() * DIV_ROUND_UP(count, COUNT_IN_TIME));
	get_devices(&argc, argv);
	return test_harness_run(argc, argv);
}
