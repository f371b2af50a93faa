/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _INVS_FUZZ_RCUPDATE_H
#define _INVS_FUZZ_RCUPDATE_H

struct rcu_head {
	void *unused[2];
};

#endif /* _INVS_FUZZ_RCUPDATE_H */
