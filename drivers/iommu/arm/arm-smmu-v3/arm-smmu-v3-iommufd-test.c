// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of what user space reaches through iommufd
 */
#include <linux/mman.h>
#include <linux/uaccess.h>
#include <uapi/linux/iommufd.h>

#include "arm-smmu-v3-fake.h"

#define TEST_VMID	0x1234
#define TEST_ASID	0x55

/* What arm_vsmmu_cache_invalidate() issues with one CMD_SYNC */
#define TEST_BLOCK	(CMDQ_BATCH_ENTRIES - 1)

/* The most that iommufd lets through, IOMMU_HWPT_INVALIDATE_ENTRY_NUM_MAX */
#define TEST_NUM_MAX	BIT(19)

enum vsmmu_test_bad {
	TEST_BAD_OPCODE,
	TEST_BAD_RES0,
	TEST_BAD_VSID,
	TEST_BAD_NUM,
};

struct vsmmu_test {
	struct arm_smmu_fake *fake;
	struct arm_vsmmu vsmmu;
	unsigned long uaddr;
};

static void vsmmu_test_create(struct kunit *test, struct vsmmu_test *vt,
			      unsigned int shift, size_t user_size)
{
	memset(vt, 0, sizeof(*vt));
	vt->fake = arm_smmu_fake_create(test, shift);
	vt->vsmmu.smmu = &vt->fake->smmu;
	vt->vsmmu.vmid = TEST_VMID;
	xa_init(&vt->vsmmu.core.vdevs);

	vt->uaddr = kunit_vm_mmap(test, NULL, 0, user_size,
				  PROT_READ | PROT_WRITE,
				  MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_NE(test, vt->uaddr, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR_VALUE(vt->uaddr));
}

/* The command that a guest writes, with a VMID that is not its own */
static void vsmmu_test_write_entry(struct kunit *test, unsigned long uaddr,
				   u32 i)
{
	struct iommu_viommu_arm_smmuv3_invalidate entry = {
		.cmd[0] = cpu_to_le64(CMDQ_OP_TLBI_NH_VA |
				      FIELD_PREP(CMDQ_TLBI_0_ASID, TEST_ASID) |
				      FIELD_PREP(CMDQ_TLBI_0_VMID, 0xdead)),
		.cmd[1] = cpu_to_le64((u64)i << 12),
	};

	KUNIT_ASSERT_EQ(test, 0,
			copy_to_user((void __user *)uaddr, &entry,
				     sizeof(entry)));
}

static void vsmmu_test_write_bad(struct kunit *test, unsigned long uaddr,
				 enum vsmmu_test_bad bad)
{
	struct iommu_viommu_arm_smmuv3_invalidate entry = {};

	switch (bad) {
	case TEST_BAD_OPCODE:
		entry.cmd[0] = cpu_to_le64(CMDQ_OP_CMD_SYNC);
		break;
	case TEST_BAD_RES0:
		entry.cmd[0] = cpu_to_le64(CMDQ_OP_TLBI_NH_ALL | BIT_ULL(10));
		break;
	default:
		/* No vDEVICE has this virtual stream ID */
		entry.cmd[0] = cpu_to_le64(CMDQ_OP_CFGI_CD_ALL |
					   FIELD_PREP(CMDQ_CFGI_0_SID, 7));
		break;
	}
	KUNIT_ASSERT_EQ(test, 0,
			copy_to_user((void __user *)uaddr, &entry,
				     sizeof(entry)));
}

static int vsmmu_test_invalidate(struct vsmmu_test *vt, unsigned long uaddr,
				 size_t entry_len, u32 *num)
{
	struct iommu_user_data_array array = {
		.type = IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3,
		.uptr = (void __user *)uaddr,
		.entry_len = entry_len,
		.entry_num = *num,
	};
	int ret = arm_vsmmu_cache_invalidate(&vt->vsmmu.core, &array);

	*num = array.entry_num;
	return ret;
}

static void vsmmu_test_expect_sync(struct kunit *test, struct vsmmu_test *vt)
{
	struct arm_smmu_cmd cmd;

	KUNIT_ASSERT_TRUE(test, arm_smmu_fake_next_cmd(vt->fake, &cmd));
	KUNIT_ASSERT_EQ(test, cmd.data[0] & CMDQ_0_OP, CMDQ_OP_CMD_SYNC);
}

/* The first @num entries were issued in blocks, then nothing */
static void vsmmu_test_expect_issued(struct kunit *test, struct vsmmu_test *vt,
				     u32 num)
{
	const u64 expected = CMDQ_OP_TLBI_NH_VA |
			     FIELD_PREP(CMDQ_TLBI_0_ASID, TEST_ASID) |
			     FIELD_PREP(CMDQ_TLBI_0_VMID, TEST_VMID);
	struct arm_smmu_cmd cmd;
	u32 i;

	for (i = 0; i < num; i++) {
		if (i && !(i % TEST_BLOCK))
			vsmmu_test_expect_sync(test, vt);
		KUNIT_ASSERT_TRUE_MSG(test,
				      arm_smmu_fake_next_cmd(vt->fake, &cmd),
				      "%u of %u commands issued", i, num);
		KUNIT_ASSERT_EQ(test, cmd.data[0], expected);
		KUNIT_ASSERT_EQ(test, cmd.data[1], (u64)i << 12);
	}
	if (num)
		vsmmu_test_expect_sync(test, vt);
	KUNIT_ASSERT_FALSE_MSG(test, arm_smmu_fake_next_cmd(vt->fake, &cmd),
			       "more than %u commands issued", num);
}

static void vsmmu_test_bad_position(struct kunit *test)
{
	static const u32 nums[] = {
		1, 2, 3,
		TEST_BLOCK - 1, TEST_BLOCK, TEST_BLOCK + 1, TEST_BLOCK + 2,
		2 * TEST_BLOCK - 1, 2 * TEST_BLOCK, 2 * TEST_BLOCK + 1,
	};
	const size_t len = sizeof(struct iommu_viommu_arm_smmuv3_invalidate);
	struct vsmmu_test vt;
	u32 bad, num, i, n;
	int ret;

	vsmmu_test_create(test, &vt, 8, PAGE_SIZE);
	for (i = 0; i < 2 * TEST_BLOCK + 1; i++)
		vsmmu_test_write_entry(test, vt.uaddr + i * len, i);

	for (n = 0; n < ARRAY_SIZE(nums); n++) {
		/* bad == nums[n]: there is none */
		for (bad = 0; bad <= nums[n]; bad++) {
			vsmmu_test_write_bad(test, vt.uaddr + bad * len,
					     bad % TEST_BAD_NUM);
			num = nums[n];
			ret = vsmmu_test_invalidate(&vt, vt.uaddr, len, &num);
			KUNIT_ASSERT_EQ_MSG(test, ret,
					    bad < nums[n] ? -EIO : 0,
					    "entry %u of %u", bad, nums[n]);
			KUNIT_ASSERT_EQ_MSG(test, num, bad,
					    "entry %u of %u", bad, nums[n]);
			vsmmu_test_expect_issued(test, &vt, bad);
			vsmmu_test_write_entry(test, vt.uaddr + bad * len, bad);
		}
	}
}

/* Nothing is issued of a block that cannot be read */
static void vsmmu_test_fault(struct kunit *test)
{
	const size_t len = sizeof(struct iommu_viommu_arm_smmuv3_invalidate);
	static const struct {
		u32 readable;
		u32 issued;
	} cases[] = {
		{ 0, 0 },
		{ TEST_BLOCK - 1, 0 },
		{ TEST_BLOCK, TEST_BLOCK },
		{ TEST_BLOCK + 5, TEST_BLOCK },
		{ 2 * TEST_BLOCK, 2 * TEST_BLOCK },
	};
	struct vsmmu_test vt;
	unsigned long uaddr;
	u32 i, n, num;

	vsmmu_test_create(test, &vt, 8, 2 * PAGE_SIZE);
	KUNIT_ASSERT_EQ(test, 0, vm_munmap(vt.uaddr + PAGE_SIZE, PAGE_SIZE));

	for (n = 0; n < ARRAY_SIZE(cases); n++) {
		uaddr = vt.uaddr + PAGE_SIZE - cases[n].readable * len;
		for (i = 0; i < cases[n].readable; i++)
			vsmmu_test_write_entry(test, uaddr + i * len, i);
		num = 3 * TEST_BLOCK;
		KUNIT_EXPECT_EQ(test, -EFAULT,
				vsmmu_test_invalidate(&vt, uaddr, len, &num));
		KUNIT_EXPECT_EQ(test, num, cases[n].issued);
		vsmmu_test_expect_issued(test, &vt, cases[n].issued);
	}
}

/* A block is not counted unless its CMD_SYNC completed */
static void vsmmu_test_timeout(struct kunit *test)
{
	const size_t len = sizeof(struct iommu_viommu_arm_smmuv3_invalidate);
	static const struct {
		u32 num;
		u32 bad;
		u32 consumed;
		u32 issued;
		u32 counted;
	} cases[] = {
		/* In the only block */
		{ 3, 3, 0, 3, 0 },
		/* The last command before the CMD_SYNC is the last consumed */
		{ 3, 3, 3, 3, 0 },
		/* In the second of three */
		{ 3 * TEST_BLOCK, 3 * TEST_BLOCK, TEST_BLOCK + 1,
		  2 * TEST_BLOCK, TEST_BLOCK },
		/* A command behind those that time out is illegal */
		{ 2 * TEST_BLOCK, TEST_BLOCK + 9, TEST_BLOCK + 1,
		  TEST_BLOCK + 9, TEST_BLOCK },
	};
	struct vsmmu_test vt;
	u32 i, n, num;

	for (n = 0; n < ARRAY_SIZE(cases); n++) {
		vsmmu_test_create(test, &vt, 8, PAGE_SIZE);
		num = cases[n].num;
		for (i = 0; i < num; i++)
			vsmmu_test_write_entry(test, vt.uaddr + i * len, i);
		if (cases[n].bad != num)
			vsmmu_test_write_bad(test,
					     vt.uaddr + cases[n].bad * len,
					     TEST_BAD_OPCODE);
		arm_smmu_fake_stop(vt.fake, cases[n].consumed);
		KUNIT_EXPECT_EQ(test, -ETIMEDOUT,
				vsmmu_test_invalidate(&vt, vt.uaddr, len,
						      &num));
		KUNIT_EXPECT_EQ(test, num, cases[n].counted);
		vsmmu_test_expect_issued(test, &vt, cases[n].issued);
	}
}

/* Invalidation works, and says what it did, when there is no memory left */
static void vsmmu_test_no_memory(struct kunit *test)
{
	const size_t len = sizeof(struct iommu_viommu_arm_smmuv3_invalidate);
	u32 i, num = 2 * TEST_BLOCK;
	struct vsmmu_test vt;
	int ret, balance;

	vsmmu_test_create(test, &vt, 8, PAGE_SIZE);
	for (i = 0; i < num; i++)
		vsmmu_test_write_entry(test, vt.uaddr + i * len, i);

	if (arm_smmu_fake_slab_start(test, 1))
		kunit_skip(test, "needs CONFIG_KPROBES and CONFIG_FAILSLAB");
	ret = vsmmu_test_invalidate(&vt, vt.uaddr, len, &num);
	/* The first would have failed, fake_test_slab() shows that */
	KUNIT_EXPECT_FALSE(test, arm_smmu_fake_slab_stop(test, &balance));

	KUNIT_EXPECT_EQ(test, ret, 0);
	KUNIT_EXPECT_EQ(test, num, 2 * TEST_BLOCK);
	vsmmu_test_expect_issued(test, &vt, 2 * TEST_BLOCK);
}

/* As much as iommufd lets through, which no kmalloc() has room for */
static void vsmmu_test_max_entries(struct kunit *test)
{
	const size_t len = sizeof(struct iommu_viommu_arm_smmuv3_invalidate);
	struct vsmmu_test vt;
	u32 i, num;

	vsmmu_test_create(test, &vt, ilog2(TEST_NUM_MAX) + 1,
			  TEST_NUM_MAX * len);
	for (i = 0; i < TEST_NUM_MAX; i++)
		vsmmu_test_write_entry(test, vt.uaddr + i * len, i);

	num = TEST_NUM_MAX;
	KUNIT_EXPECT_EQ(test, 0,
			vsmmu_test_invalidate(&vt, vt.uaddr, len, &num));
	KUNIT_EXPECT_EQ(test, num, TEST_NUM_MAX);
	vsmmu_test_expect_issued(test, &vt, TEST_NUM_MAX);

	vsmmu_test_write_bad(test, vt.uaddr + (TEST_NUM_MAX - 1) * len,
			     TEST_BAD_OPCODE);
	num = TEST_NUM_MAX;
	KUNIT_EXPECT_EQ(test, -EIO,
			vsmmu_test_invalidate(&vt, vt.uaddr, len, &num));
	KUNIT_EXPECT_EQ(test, num, TEST_NUM_MAX - 1);
	vsmmu_test_expect_issued(test, &vt, TEST_NUM_MAX - 1);
}

/* A newer user space may pass longer entries if what is added is zero */
static void vsmmu_test_long_entries(struct kunit *test)
{
	const size_t len = 3 * sizeof(u64);
	u32 i, num = 2 * TEST_BLOCK;
	struct vsmmu_test vt;

	vsmmu_test_create(test, &vt, 8, PAGE_SIZE);
	for (i = 0; i < num; i++)
		vsmmu_test_write_entry(test, vt.uaddr + i * len, i);

	KUNIT_EXPECT_EQ(test, 0,
			vsmmu_test_invalidate(&vt, vt.uaddr, len, &num));
	KUNIT_EXPECT_EQ(test, num, 2 * TEST_BLOCK);
	vsmmu_test_expect_issued(test, &vt, 2 * TEST_BLOCK);

	KUNIT_ASSERT_EQ(test, 0,
			put_user(1ULL, (u64 __user *)(vt.uaddr +
						      TEST_BLOCK * len + 16)));
	KUNIT_EXPECT_EQ(test, -E2BIG,
			vsmmu_test_invalidate(&vt, vt.uaddr, len, &num));
	KUNIT_EXPECT_EQ(test, num, TEST_BLOCK);
	vsmmu_test_expect_issued(test, &vt, TEST_BLOCK);
}

static void vsmmu_test_wrong_type(struct kunit *test)
{
	struct iommu_user_data_array array = {
		.type = IOMMU_HWPT_INVALIDATE_DATA_VTD_S1,
		.entry_len = sizeof(struct iommu_viommu_arm_smmuv3_invalidate),
		.entry_num = 1,
	};
	struct vsmmu_test vt;

	vsmmu_test_create(test, &vt, 8, PAGE_SIZE);
	vsmmu_test_write_entry(test, vt.uaddr, 0);
	array.uptr = (void __user *)vt.uaddr;
	KUNIT_EXPECT_EQ(test, -EINVAL,
			arm_vsmmu_cache_invalidate(&vt.vsmmu.core, &array));
	KUNIT_EXPECT_EQ(test, array.entry_num, 0);
	vsmmu_test_expect_issued(test, &vt, 0);
}

/* User space may ask this way whether a type is supported */
static void vsmmu_test_empty(struct kunit *test)
{
	struct iommu_user_data_array array = {
		.type = IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3,
	};
	struct vsmmu_test vt;

	vsmmu_test_create(test, &vt, 8, PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, 0,
			arm_vsmmu_cache_invalidate(&vt.vsmmu.core, &array));
	KUNIT_EXPECT_EQ(test, array.entry_num, 0);
	vsmmu_test_expect_issued(test, &vt, 0);

	array.type = IOMMU_HWPT_INVALIDATE_DATA_VTD_S1;
	KUNIT_EXPECT_EQ(test, -EINVAL,
			arm_vsmmu_cache_invalidate(&vt.vsmmu.core, &array));
	vsmmu_test_expect_issued(test, &vt, 0);
}

static struct kunit_case arm_smmu_v3_iommufd_test_cases[] = {
	KUNIT_CASE(vsmmu_test_bad_position),
	KUNIT_CASE(vsmmu_test_fault),
	KUNIT_CASE_SLOW(vsmmu_test_timeout),
	KUNIT_CASE(vsmmu_test_no_memory),
	KUNIT_CASE_SLOW(vsmmu_test_max_entries),
	KUNIT_CASE(vsmmu_test_long_entries),
	KUNIT_CASE(vsmmu_test_wrong_type),
	KUNIT_CASE(vsmmu_test_empty),
	{}
};

static struct kunit_suite arm_smmu_v3_iommufd_test_suite = {
	.name = "arm-smmu-v3-iommufd",
	.test_cases = arm_smmu_v3_iommufd_test_cases,
};

kunit_test_suites(&arm_smmu_v3_iommufd_test_suite);
