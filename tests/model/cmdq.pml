/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The command queues of arm-smmu-v3 under an invalidation pass that holds
 * several of them at once, for Spin: can it deadlock, or sleep for ever?
 * tests/model/run.py runs this file; --help says how.
 *
 * What is modelled: __arm_smmu_cmdq_issue_cmdlist(), split into post and wait,
 * with what it calls: the space left according to the shared copy of CONS, the
 * lock of a queue with its exclusive trylock, the hand-over from owner to owner,
 * the valid map, the racy shared_tryunlock() whose caller writes the copy if it
 * seems to be the last, indices that wrap, wfe. Each CPU makes posts of any size
 * to any queue in any order, with and without CMD_SYNC, and waits for all that
 * is pending at any time; it may stop after each wait. Where POSTS does not
 * bound them, there is no limit to how many.
 *
 * The rules:
 *  1. A CPU that has a CMD_SYNC pending never blocks for space. It tries once
 *     for the exclusive lock to refresh the copy; if that does not help, it
 *     waits for everything that is pending, and then blocks, holding nothing.
 *  2. The wait polls all pending queues in turn and lets go of each as soon as
 *     its own CMD_SYNC is consumed.
 *  3. The wait looks at CONS of all pending queues before its first wfe, and
 *     again between one wfe and the next.
 *  4. A post without CMD_SYNC takes no lock and obeys rule 1.
 *  5. So does a second post to a queue in which one is pending.
 *  6. A walk is in an RCU read section. If it has to block for space it may leave
 *     that at any time, as when the SMMU consumes nothing for a second. It waits
 *     outside until there is space, and begins again. One that has done so
 *     RESTARTS times blocks where it is, as on v7.3.
 *
 * What is shown: no CPU is stuck. An invalid end state is a CPU that is blocked
 * for good once all others have stopped; since they may stop after each wait,
 * that covers any set of CPUs that block each other, and each lost wakeup. With
 * POSTS, that no run has a cycle either: every CPU gets to its end, whichever runs
 * first. The assertions: no slot is allocated before it was consumed, none is
 * consumed before it was written, PROD never goes back, no CMD_SYNC is taken for
 * done that is not, nor is its slot used again before its CPU has seen that.
 *
 * What must make the search fail, or it would prove nothing:
 *  NAIVE_BLOCK	against rule 1: blocks while something is pending
 *  NAIVE_OTHER	against rule 1: only for a queue in which nothing is pending
 *  NAIVE_SAME	against rule 5: only for a queue in which something is
 *  NAIVE_NOSYNC	against rule 4: only without CMD_SYNC
 *  NAIVE_WFE	against rule 3: wfe before the first look; safe with one CMD_SYNC
 *		at a time, for then no wfe comes between its post and its wait
 *  NAIVE_SKIP	against rule 3: after a wfe looks at one queue, in turn
 *  NAIVE_RESTART	against rules 1 and 6: leaves with something pending, and forgets it
 *  NAIVE_LOCK	lets go of the lock when the post is made: the queue wraps, and
 *		CONS seems to be before the CMD_SYNC again
 *  BREAK_*	one line of the queue's own algorithm, for each assertion and each
 *		part of the lock; BREAK_EVENT: an SMMU that sends the event first
 *  REACH	claims that after a wait by rule 1 there is always space
 *
 * The base itself can leave a CPU waiting for space. That needs neither two
 * queues nor a rule of ours, and ends by what is not modelled. The series mends
 * both ("Look at CONS again while waiting for space"):
 *  BASE_SPACE	poll_until_not_full() tries for the lock once. If another held
 *		it then, none may be left to refresh the copy: the last two
 *		holders race in shared_tryunlock(), or a post without CMD_SYNC
 *		takes the room. It spins till its second is over, says "CMDQ
 *		timeout" and tries again, which TIMEOUT adds to the model.
 *		Without BASE_SPACE it tries at each turn.
 *  BASE_WFE	it sleeps in wfe, but the copy is written after the CMD_SYNC's
 *		event, and sends none: the timer's event stream wakes it.
 *
 * GIVE_UP adds timeouts: a CPU may give up any CMD_SYNC at any time, and then
 * publishes what CONS says. MSI adds MSI polling: an SMMU that has consumed a
 * CMD_SYNC clears a word for its slot at any later time, and the wait looks at
 * that word instead of CONS. The word is not in the queue. A CPU that gives up a
 * CMD_SYNC first sets late, and from then on CMD_SYNCs ask for no MSI and waits
 * look at CONS. More assertions: no MSI writes to a command. DEAD adds an SMMU
 * that stops for ever: a CPU that waits for space must report that, which ends
 * it. RCU makes each row of posts a walk, and adds a task that waits for a grace
 * period: no walk of before may keep it waiting for a dead SMMU, but for one that has
 * begun again RESTARTS times. The base breaks these in four ways, which must be found:
 *  BASE_CONS	after a timeout all before the CMD_SYNC is published as consumed
 *  BASE_SLOT	an MSI clears the slot of its CMD_SYNC, also when that slot has
 *		another command meanwhile; there is no late
 *  BASE_RCU	a walk waits for space inside its RCU read section
 *  BASE_FULL	the wait for space, and with it the report, ends when the queue is
 *		not full, but the post needs more slots
 * NAIVE_LATE has the word outside of the queue, but no late: an MSI completes
 * the next CMD_SYNC in its slot.
 *
 * What is not modelled: memory ordering (each step is seen by all at once),
 * errors, the event stream, several queues of one SMMU, fairness among CPUs that
 * never stop. An interrupt that posts while its CPU blocks, holding nothing, is
 * as one more CPU. Rule 2 is for speed and has no naive counterpart.
 *
 * Steps that no other CPU can tell apart are one. So a cmpxchg() that fails is
 * left out, it only looks again; and a condition that no other can undo is
 * tested in the step that follows it.
 */
#ifndef CPUS
#define CPUS	2
#endif
#ifndef QUEUES
#define QUEUES	2
#endif
#ifndef SIZE
#define SIZE	1		/* slots of a queue, 1 or 2 */
#endif
#ifndef PENDING
#define PENDING	2		/* CMD_SYNCs of a CPU at a time, 1 or 2 */
#endif

#ifndef RESTARTS
#define RESTARTS	1		/* CMDQ_PASS_RESTARTS */
#endif

/* With PENDING=1 a CPU waits as soon as it has posted a CMD_SYNC, as in the base. */
#define EARLY	(PENDING > 1 || !pending[me])
#ifdef POSTS
#define MORE	(EARLY && posts < POSTS)
#else
#define MORE	EARLY
#endif

/* Indices count to twice the size: Q_IDX() and, above it, Q_WRP(). */
#define WRAP		(2 * SIZE)
#define IDX(p)		((p) % SIZE)
#define WRP(p)		((p) / SIZE)
#define ADD(p, n)	(((p) + (n)) % WRAP)
#define USED(p, c)	(((p) + WRAP - (c)) % WRAP)

#ifdef BREAK_SPACE
#define SPACE		(SIZE - USED(Q[q].prod, Q[q].cons) >= n - 1)
#else
#define SPACE		(SIZE - USED(Q[q].prod, Q[q].cons) >= n)
#endif
#define FULL		(USED(Q[q].prod, Q[q].cons) == SIZE)

#ifdef BREAK_SYNC
#define PAST		>=
#else
#define PAST		>
#endif
#define CONSUMED(c, p)	((WRP(c) == WRP(p) && IDX(c) PAST IDX(p)) || \
			 (WRP(c) != WRP(p) && IDX(c) <= IDX(p)))

#ifdef BREAK_OWNER
#define MY_TURN		true
#else
#define MY_TURN		(Q[q].owner_prod == start)
#endif

/* A valid bit is the inverse of the wrap bit. */
#define VALID(i)	(USED(end, start) <= i || \
			 Q[q].valid[IDX(ADD(start, i))] == !WRP(ADD(start, i)))
#ifdef BREAK_VALID
#define ALL_VALID	true
#else
#define ALL_VALID	(VALID(0) && VALID(SIZE - 1))
#endif

#define HOLDS_THIS	(pq[0] == q + 1 || pq[PENDING - 1] == q + 1)
#if defined(NAIVE_BLOCK)
#define MAY_BLOCK	true
#elif defined(NAIVE_OTHER)
#define MAY_BLOCK	(!pending[me] || !HOLDS_THIS)
#elif defined(NAIVE_SAME)
#define MAY_BLOCK	(!pending[me] || HOLDS_THIS)
#elif defined(NAIVE_NOSYNC)
#define MAY_BLOCK	(!pending[me] || !sync)
#else
#define MAY_BLOCK	(!pending[me])
#endif

/* With nothing pending, an event could only make a later wfe return for nothing. */
#ifdef BASE_WFE
#define HEARS(i)	true
#else
#define HEARS(i)	(pending[i] > 0)
#endif

#define NONE	0		/* never written, or consumed */
#define CMD	1
#define SYNC	2
#define SYNC_MSI	3	/* a CMD_SYNC that asks for an MSI */

#define CONSUMED_AT(k)	CONSUMED(Q[pq[k] - 1].hwcons, pp[k])
#ifdef MSI
#if defined(NAIVE_LATE) || defined(BASE_SLOT)
#define LATE(q)		false
#else
#define LATE(q)		Q[q].late
#endif
#define DONE(k)		(LATE(pq[k] - 1) -> CONSUMED_AT(k) : !Q[pq[k] - 1].word[IDX(pp[k])])
#define ANY_DONE	(DONE(0) || (pending[me] > 1 && DONE(PENDING - 1)))
#else
#define DONE(k)		CONSUMED_AT(k)
#endif

#ifdef RCU
#ifdef BASE_RCU
#define MAY_LEAVE	false
#else
#define MAY_LEAVE	(rcu[me] && restarts[me] < RESTARTS)
#endif
#ifdef NAIVE_RESTART
#define MAY_LEAVE_NOW	MAY_LEAVE
#else
#define MAY_LEAVE_NOW	(MAY_LEAVE && MAY_BLOCK)
#endif
#endif

typedef queue {
	byte prod, cons;	/* with owned: q.llq.val */
	bit owned;		/* CMDQ_PROD_OWNED_FLAG */
	byte owner_prod;
	bit valid[SIZE];
	byte lock;		/* shared holders, and who is about to be one */
	bit excl;		/* its sign bit */
	byte hwprod, hwcons;	/* the registers */
	byte slot[SIZE];
#ifdef MSI
	bit late;		/* the waits do not trust the words any more */
	bit word[SIZE];		/* whether the MSI of the CMD_SYNC is to come */
	byte msis[SIZE];	/* MSIs that the SMMU has not written yet */
#endif
};
queue Q[QUEUES];
#ifdef RCU
bit rcu[CPUS];			/* in an RCU read section */
byte restarts[CPUS];		/* of the walk */
#endif

bit event[CPUS];
byte pending[CPUS];

#ifdef BREAK_LOCK
#define FREE	(!Q[q].excl)
#else
#define FREE	(!Q[q].lock && !Q[q].excl)
#endif
#ifdef BREAK_LAST
#define LAST	true
#else
#define LAST	(WQ.lock == 1)
#endif
#define STALE	(Q[q].cons != Q[q].hwcons)

active [QUEUES] proctype smmu()
{
	byte i, got;

end:	do
	:: atomic {
		Q[_pid].hwcons != Q[_pid].hwprod ->
		got = Q[_pid].slot[IDX(Q[_pid].hwcons)];
		assert(got != NONE);
		Q[_pid].slot[IDX(Q[_pid].hwcons)] = NONE;
#ifdef BREAK_EVENT
		if
		:: got >= SYNC -> goto sev
		:: else
		fi;
#endif
#ifdef MSI
		if
		:: got == SYNC_MSI ->
			i = IDX(Q[_pid].hwcons);
			Q[_pid].msis[i]++;
			i = 0
		:: else
		fi;
#endif
		Q[_pid].hwcons = ADD(Q[_pid].hwcons, 1);
		printf("queue %d: CONS %d\n", _pid, Q[_pid].hwcons);
		if
		:: got == SYNC
		:: got != SYNC -> got = 0; goto end
		fi
	   }
	   /* The event comes after CONS, not with it. */
	   atomic {
sev:
		do
		:: i < CPUS -> event[i] = HEARS(i); i++
		:: else -> break
		od;
		i = 0;
		got = 0
	   }
#ifdef BREAK_EVENT
	   Q[_pid].hwcons = ADD(Q[_pid].hwcons, 1)
#endif
#ifdef MSI
	:: atomic { Q[_pid].msis[0] -> i = 0; goto write }
#if SIZE > 1
	:: atomic { Q[_pid].msis[1] -> i = 1; goto write }
#endif
#endif
#ifdef DEAD
	:: atomic { true -> printf("queue %d: dead\n", _pid); goto dead }
#endif
	od;
#ifdef MSI
write:	atomic {
		printf("queue %d: MSI of slot %d\n", _pid, i);
		Q[_pid].msis[i]--;
		Q[_pid].word[i] = 0;
#ifdef BASE_SLOT
		assert(Q[_pid].slot[i] == NONE);
#endif
		i = 0;
		goto end
	}
#endif
dead:	skip
}

#define me	(_pid - QUEUES)
#define WQ	Q[pq[k] - 1]

active [CPUS] proctype cpu()
{
	byte q, n, start, end, i;	/* the post */
	bit sync, owner;
	byte pq[PENDING], pp[PENDING];	/* what is pending: queue + 1, index */
	byte k, cons;			/* the wait */
#ifdef POSTS
	byte posts;
#endif
#ifdef NAIVE_SKIP
	bit slept, turn;
#endif

next:	atomic {
		q = 0; n = 0; start = 0; end = 0; sync = 0; owner = 0;
		if
#ifdef RCU
		:: !pending[me] && rcu[me] -> rcu[me] = 0; restarts[me] = 0; goto next
		:: !pending[me] && !rcu[me] -> goto out
#else
		:: !pending[me] -> goto out
#endif
		:: pending[me] -> goto wait
		:: pending[me] < PENDING && MORE -> sync = 1
#ifndef SYNCS
		:: MORE
#endif
		fi;
#ifdef POSTS
		posts++;
#endif
#ifdef RCU
		rcu[me] = 1;
#endif
		do
		:: q < QUEUES - 1 -> q++
		:: break
		od;
		n = 1;
		do
		:: n < SIZE -> n++
		:: break
		od;

		/* 1. Allocate some space in the queue */
alloc:		if
		:: SPACE ->
			start = Q[q].prod;
			end = ADD(start, n);
			owner = !Q[q].owned;
			Q[q].prod = end;
			Q[q].owned = 1;
			printf("cpu %d: queue %d, %d to %d, CMD_SYNC %d\n", me, q, start, end, sync);
			i = start;
			do
			:: i != end ->
				assert(Q[q].slot[IDX(i)] == NONE);
				i = ADD(i, 1)
			:: else -> break
			od
		:: !SPACE && !MAY_BLOCK && FREE ->
			printf("cpu %d: no space in queue %d, refresh\n", me, q);
			Q[q].excl = 1;
			goto refresh
		:: !SPACE && !MAY_BLOCK && !FREE ->
			printf("cpu %d: no space in queue %d, wait\n", me, q);
			goto wait
		/* A loop that changes nothing shows as one that blocks. */
		:: !SPACE && MAY_BLOCK && FREE && STALE ->
			Q[q].excl = 1;
			goto refresh
#ifdef RCU
		:: !SPACE && MAY_LEAVE_NOW ->
			printf("cpu %d: begins again\n", me);
			rcu[me] = 0;
			restarts[me]++;
#ifdef NAIVE_RESTART
			pending[me] = 0;
			pq[0] = 0;
			pq[PENDING - 1] = 0;
#endif
			goto outside
#ifdef DEAD
		:: timeout && !SPACE && MAY_BLOCK && !MAY_LEAVE ->
			printf("cpu %d: waits for ever in an RCU read section\n", me);
			goto end_inside
#endif
#elif defined(DEAD)
#ifdef BASE_FULL
		:: timeout && !SPACE && MAY_BLOCK && FULL ->
#else
		:: timeout && !SPACE && MAY_BLOCK ->
#endif
			printf("cpu %d: reports that queue %d is stuck\n", me, q);
			goto out
#endif
#ifdef BASE_SPACE
		:: !SPACE && MAY_BLOCK && !FREE && FULL ->
			printf("cpu %d: spins for space in queue %d\n", me, q);
			goto spin
#endif
#ifdef BASE_WFE
		:: !SPACE && MAY_BLOCK && !(FREE && STALE) ->
			printf("cpu %d: wfe for space in queue %d\n", me, q);
			goto doze
#endif
		fi
	}

	/* 2. Write our commands: with 3, for none may look before that */
	if
	:: atomic { sync -> Q[q].lock++ };
		/* smp_cond_load(), here and below: its wfe takes events, too. */
		do
		:: atomic { !Q[q].excl -> break }
		:: Q[q].excl && event[me] -> event[me] = 0
		od
	:: !sync
	fi;

	/* 3. Mark our slots as valid */
	atomic {
		i = start;
		do
		:: i != end ->
#ifdef MSI
			if
			:: sync && ADD(i, 1) == end && !LATE(q) ->
				Q[q].slot[IDX(i)] = SYNC_MSI;
				Q[q].word[IDX(i)] = 1
			:: else ->
				Q[q].slot[IDX(i)] = (sync && ADD(i, 1) == end -> SYNC : CMD)
			fi;
#else
			Q[q].slot[IDX(i)] = (sync && ADD(i, 1) == end -> SYNC : CMD);
#endif
			Q[q].valid[IDX(i)] = !Q[q].valid[IDX(i)];
			i = ADD(i, 1)
		:: else -> break
		od;
		i = 0;
		if
		:: sync ->
			pq[pending[me]] = q + 1;
			pp[pending[me]] = ADD(start, n - 1);
			pending[me]++
		:: else
		fi;
		end = 0;
		if
		:: owner
		:: !owner -> goto posted
		fi
	}

	/* 4. The owner: a. and b. */
	do
	:: atomic { MY_TURN -> end = Q[q].prod; Q[q].owned = 0; break }
	:: !MY_TURN && event[me] -> event[me] = 0
	od;
	/* c. and d. */
	do
	:: atomic {
		ALL_VALID ->
		assert(Q[q].hwprod == start);
		Q[q].hwprod = end;
		printf("cpu %d: queue %d, PROD %d\n", me, q, end);
		break
	   }
	:: !ALL_VALID && event[me] -> event[me] = 0
	od;
	/* e. */
	Q[q].owner_prod = end;
posted:
#ifdef NAIVE_LOCK
	if
	:: sync -> Q[q].lock--
	:: else
	fi;
#endif
	goto next;

	/* Space: with the exclusive lock */
refresh:
	Q[q].cons = Q[q].hwcons;
	atomic {
		Q[q].excl = 0;
		if
		:: MAY_BLOCK || SPACE -> goto alloc
		:: else
		fi
	}

	/* 5. Wait for what is pending; after it the post, if there is one */
wait:
#ifdef NAIVE_WFE
	event[me] -> event[me] = 0;
#endif
	do
	:: atomic {
		k < pending[me] && !DONE(k) ->
		k++;
#ifdef NAIVE_SKIP
		k = (slept -> pending[me] : k)
#endif
	   }
	:: atomic {
#ifdef GIVE_UP
		k < pending[me] ->
		if
		:: DONE(k)
		:: !DONE(k) ->
			printf("cpu %d: queue %d, CMD_SYNC at %d is given up\n", me, pq[k] - 1, pp[k]);
#ifdef MSI
			WQ.late = 1;
#endif
#ifdef BASE_CONS
			cons = pp[k];
#else
			cons = WQ.hwcons;
#endif
			goto drop
		fi;
#else
		k < pending[me] && DONE(k) ->
#endif
		printf("cpu %d: queue %d, CMD_SYNC at %d is done\n", me, pq[k] - 1, pp[k]);
#ifdef MSI
		cons = (LATE(pq[k] - 1) -> WQ.hwcons : ADD(pp[k], 1));
#else
		cons = WQ.hwcons;
#endif
#ifndef NAIVE_LOCK
		assert(WQ.slot[IDX(pp[k])] == NONE)
#endif
	   }
drop:
#ifndef NAIVE_LOCK
		if
		:: LAST -> WQ.cons = cons
		:: else
		fi;
#endif
		atomic {
#ifndef NAIVE_LOCK
			WQ.lock--;
#endif
			cons = 0;
			pending[me]--;
			i = k;
			do
			:: i < PENDING - 1 ->
				pq[i] = pq[i + 1];
				pp[i] = pp[i + 1];
				i++
			:: else -> break
			od;
			pq[i] = 0;
			pp[i] = 0;
			i = 0;
#ifdef NAIVE_SKIP
			k = (slept -> pending[me] : k)
#endif
		}
#ifdef MSI
	:: atomic { pending[me] && k == pending[me] && ANY_DONE -> k = 0 }
#endif
#ifdef GIVE_UP
	:: atomic { pending[me] && k == pending[me] -> k = 0 }
#endif
	:: atomic {
		pending[me] && k == pending[me] && event[me] ->
		printf("cpu %d: wfe\n", me);
		event[me] = 0;
		k = 0;
#ifdef NAIVE_SKIP
		slept = 1;
		k = turn % pending[me];
		turn = !turn
#endif
	   }
	:: atomic {
		!pending[me] ->
		event[me] = 0;
		k = 0;
#ifdef NAIVE_SKIP
		slept = 0;
		turn = 0;
#endif
		if
		:: n ->
#ifdef REACH
			assert(SPACE);
#endif
			goto alloc
		:: else -> goto next
		fi
	   }
	od;

#ifdef RCU
	/* Outside of the section, with nothing pending, until there is space */
outside:
	atomic {
		if
		:: SPACE -> goto next
		:: !SPACE && FREE && STALE -> Q[q].excl = 1
#ifdef DEAD
		:: timeout && !SPACE ->
			printf("cpu %d: waits for ever for queue %d\n", me, q);
			goto out
#endif
		fi
	}
	Q[q].cons = Q[q].hwcons;
	Q[q].excl = 0;
	goto outside;
#ifdef DEAD
end_inside: false;
#endif
#endif
#ifdef BASE_SPACE
spin:	if
	:: !FULL -> goto alloc
#ifdef TIMEOUT
	/* One that finds nothing new is left out, as above. */
	:: timeout && FREE && STALE -> goto alloc
#endif
	fi;
#endif
#ifdef BASE_WFE
doze:	atomic { event[me] -> event[me] = 0; goto alloc }
#endif
out:	skip
}

#ifdef RCU
/* synchronize_rcu(): each CPU is seen outside once */
active proctype gp()
{
	byte i;

	do
	:: atomic { i < CPUS && !rcu[i] -> i++ }
#ifdef DEAD
	/* It is held up for good, which only a walk may do that has begun again often */
	:: atomic {
		timeout && i < CPUS && rcu[i] ->
		assert(!rcu[i] || restarts[i] == RESTARTS);
		break
	   }
#endif
	:: i == CPUS -> break
	od
}
#endif
