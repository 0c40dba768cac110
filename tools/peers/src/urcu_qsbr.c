/*
 * liburcu's "qsbr" flavour, inlined. Its read side is nothing at all: between reads a thread says
 * that it has no references, a "quiescent state", and somebody who waits waits for all threads to
 * have said so. A thread that does something else is offline meanwhile; here, between the calls.
 */
#define _LGPL_SOURCE
#include <urcu-qsbr.h>
#include "table.h"

void peers_urcu_qsbr_register(void)
{
	rcu_register_thread();
	/* Online it would hold up everybody who waits, until it reads. */
	rcu_thread_offline();
}

void peers_urcu_qsbr_unregister(void)
{
	rcu_unregister_thread();
}

static inline uint64_t read_one(struct table **shared, uint64_t i)
{
	rcu_read_lock();
	struct table *table = rcu_dereference(*shared);
	uint64_t word = table->words[i & 3];
	rcu_read_unlock();
	return word;
}

/* A quiescent state each 1024 reads, as in liburcu's own benchmarks. */
uint64_t peers_urcu_qsbr_read(struct table **shared, uint64_t rounds)
{
	uint64_t sum = 0;
	rcu_thread_online();
	for (uint64_t i = 0; i < rounds;) {
		uint64_t end = rounds - i < 1024 ? rounds : i + 1024;
		for (; i < end; i++)
			sum += read_one(shared, i);
		rcu_quiescent_state();
	}
	rcu_thread_offline();
	return sum;
}

/* A quiescent state after each read: where each is an event of its own. */
uint64_t peers_urcu_qsbr_read_each(struct table **shared, uint64_t rounds)
{
	uint64_t sum = 0;
	rcu_thread_online();
	for (uint64_t i = 0; i < rounds; i++) {
		sum += read_one(shared, i);
		rcu_quiescent_state();
	}
	rcu_thread_offline();
	return sum;
}

void peers_urcu_qsbr_synchronize(void)
{
	synchronize_rcu();
}
