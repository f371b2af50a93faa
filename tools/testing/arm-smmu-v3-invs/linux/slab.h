/* SPDX-License-Identifier: GPL-2.0 */
/* Allocations of the array, with fault injection and leak detection */
#ifndef _INVS_FUZZ_SLAB_H
#define _INVS_FUZZ_SLAB_H

#include <linux/bug.h>
#include <linux/compiler.h>
#include <linux/err.h>
#include <linux/types.h>

/* Required by UBSan to check array indices */
#undef __counted_by
#if __has_attribute(__counted_by__)
#define __counted_by(member)	__attribute__((__counted_by__(member)))
#else
#define __counted_by(member)
#endif

#define kvzalloc_flex(type, member, count, ...)				\
	((typeof(type) *)fuzz_alloc(sizeof(type),			\
				    sizeof(*(type).member), count))
#define kvfree_rcu(ptr, member)						\
	fuzz_free_rcu(ptr, offsetof(struct arm_smmu_invs, member))

void *fuzz_alloc(size_t header, size_t size, size_t count);
void fuzz_free_rcu(void *ptr, size_t offset);
void kvfree(const void *ptr);

#endif /* _INVS_FUZZ_SLAB_H */
