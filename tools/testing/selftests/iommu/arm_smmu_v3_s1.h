/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Data structures of a vSMMU's guest: stream table entries, context
 * descriptors, stage-1 page tables, commands and events. Names and layouts
 * follow the SMMUv3 architecture (IHI 0070).
 */
#ifndef SELFTESTS_IOMMU_ARM_SMMU_V3_S1_H
#define SELFTESTS_IOMMU_ARM_SMMU_V3_S1_H

#include <string.h>

#include <asm/byteorder.h>
#include <linux/bitfield.h>
#include <linux/bits.h>
#include <linux/compiler.h>
#include <linux/kernel.h>
#include <linux/types.h>

#include <libvfio.h>

#define IDR0_S2P			BIT(0)
#define IDR0_S1P			BIT(1)
#define IDR0_STAGES			(IDR0_S1P | IDR0_S2P)
#define IDR0_TTF			GENMASK(3, 2)
#define IDR0_TTF_AARCH64		2
#define IDR0_COHACC			BIT(4)
#define IDR0_HTTU			GENMASK(7, 6)
#define IDR0_VMID16			BIT(18)
#define IDR0_STALL_MODEL		GENMASK(25, 24)
#define IDR0_STALL_MODEL_FORCE		2
#define IDR3_FWB			BIT(8)
#define IDR5_OAS			GENMASK(2, 0)
#define IDR5_OAS_48_BIT			5
#define IDR5_GRAN4K			BIT(4)

#define STE_0_V				BIT_ULL(0)
#define STE_0_CFG			GENMASK_ULL(3, 1)
#define STE_0_CFG_ABORT			0
#define STE_0_CFG_BYPASS		4
#define STE_0_CFG_S1			5
#define STE_1_S1CIR			GENMASK_ULL(3, 2)
#define STE_1_S1COR			GENMASK_ULL(5, 4)
#define STE_1_S1CSH			GENMASK_ULL(7, 6)
#define STE_1_MEV			BIT_ULL(19)
#define STE_1_EATS			GENMASK_ULL(29, 28)
#define STE_1_EATS_S1CHK		2

#define CD_0_T0SZ			GENMASK_ULL(5, 0)
#define CD_0_IR0			GENMASK_ULL(9, 8)
#define CD_0_OR0			GENMASK_ULL(11, 10)
#define CD_0_SH0			GENMASK_ULL(13, 12)
#define CD_0_EPD1			BIT_ULL(30)
#define CD_0_V				BIT_ULL(31)
#define CD_0_IPS			GENMASK_ULL(34, 32)
#define CD_0_AA64			BIT_ULL(41)
#define CD_0_R				BIT_ULL(45)
#define CD_0_A				BIT_ULL(46)
#define CD_0_ASET			BIT_ULL(47)
#define CD_0_ASID			GENMASK_ULL(63, 48)

#define CACHE_WBRA			1
#define SH_INNER			3
#define MAIR_WB				0xff

#define PTE_VALID			BIT_ULL(0)
#define PTE_TABLE			BIT_ULL(1)
#define PTE_PAGE			BIT_ULL(1)
#define PTE_USER			BIT_ULL(6)
#define PTE_RDONLY			BIT_ULL(7)
#define PTE_SH				GENMASK_ULL(9, 8)
#define PTE_AF				BIT_ULL(10)
#define PTE_NG				BIT_ULL(11)
#define PTE_ADDR			GENMASK_ULL(47, 12)

#define CMD_CFGI_CD			0x05
#define CMD_CFGI_CD_ALL			0x06
#define CMD_TLBI_NH_ALL			0x10
#define CMD_TLBI_NH_ASID		0x11
#define CMD_TLBI_NH_VA			0x12
#define CMD_TLBI_NH_VAA			0x13
#define CMD_TLBI_EL2_ALL		0x20
#define CMD_TLBI_S12_VMALL		0x28
#define CMD_TLBI_NSNH_ALL		0x30
#define CMD_SYNC			0x46
#define CMD_0_SID			GENMASK_ULL(63, 32)
#define CMD_1_LEAF			BIT_ULL(0)

#define EVT_0_ID			GENMASK_ULL(7, 0)
#define EVT_0_SID			GENMASK_ULL(63, 32)
#define EVT_1_STALL			BIT_ULL(31)
#define EVT_1_RNW			BIT_ULL(35)
#define EVT_1_S2			BIT_ULL(39)
#define EVT_ID_TRANSLATION		0x10
#define EVT_ID_PERMISSION		0x13

/* 4 KiB granule, 39 bits of address: three levels of 512 entries */
#define S1_PAGE_SIZE			4096
#define S1_SHIFT_4K			12
#define S1_SHIFT_2M			21
#define S1_SHIFT_1G			30
#define S1_VA_BITS			39
#define S1_MAX_TABLES			8
#define S1_TABLES_SIZE			(S1_MAX_TABLES * S1_PAGE_SIZE)

/* A stage-1 page table: @ipa is the IPA of @tables */
struct s1_table {
	void *tables;
	u64 ipa;
	unsigned int used;
};

static inline void s1_init(struct s1_table *s1, void *tables, u64 ipa)
{
	*s1 = (struct s1_table) { .tables = tables, .ipa = ipa, .used = 1 };
	memset(tables, 0, S1_TABLES_SIZE);
}

/*
 * Return the entry for @iova at the level that starts at bit @shift. Allocate
 * missing tables of the levels above.
 */
static inline __le64 *s1_entry(struct s1_table *s1, u64 iova, unsigned int shift)
{
	__le64 *table = s1->tables;
	unsigned int cur;

	VFIO_ASSERT_EQ(iova >> S1_VA_BITS, 0);

	for (cur = S1_SHIFT_1G; cur > shift; cur -= 9) {
		__le64 *entry = &table[(iova >> cur) & 511];

		if (!*entry) {
			VFIO_ASSERT_LT(s1->used, S1_MAX_TABLES);
			*entry = __cpu_to_le64((s1->ipa +
						s1->used++ * S1_PAGE_SIZE) |
					       PTE_TABLE | PTE_VALID);
		}
		table = s1->tables +
			((__le64_to_cpu(*entry) & PTE_ADDR) - s1->ipa);
	}
	return &table[(iova >> shift) & 511];
}

static inline void s1_map(struct s1_table *s1, u64 iova, u64 ipa, u64 flags)
{
	u64 pte = ipa | flags | FIELD_PREP(PTE_SH, SH_INNER) | PTE_USER |
		  PTE_AF | PTE_NG | PTE_PAGE | PTE_VALID;

	WRITE_ONCE(*s1_entry(s1, iova, S1_SHIFT_4K), __cpu_to_le64(pte));
}

static inline void s1_make_cd(__le64 *cd, struct s1_table *s1, u16 asid, u32 idr5)
{
	/* VMSAv8-64 tables without LPA2 have at most 48 bits of output address */
	u32 oas = min_t(u32, FIELD_GET(IDR5_OAS, idr5), IDR5_OAS_48_BIT);

	cd[1] = __cpu_to_le64(s1->ipa);
	cd[3] = __cpu_to_le64(MAIR_WB);
	WRITE_ONCE(cd[0], __cpu_to_le64(FIELD_PREP(CD_0_T0SZ, 64 - S1_VA_BITS) |
					FIELD_PREP(CD_0_IR0, CACHE_WBRA) |
					FIELD_PREP(CD_0_OR0, CACHE_WBRA) |
					FIELD_PREP(CD_0_SH0, SH_INNER) |
					CD_0_EPD1 | CD_0_V |
					FIELD_PREP(CD_0_IPS, oas) |
					CD_0_AA64 | CD_0_R | CD_0_A | CD_0_ASET |
					FIELD_PREP(CD_0_ASID, asid)));
}

#endif /* SELFTESTS_IOMMU_ARM_SMMU_V3_S1_H */
