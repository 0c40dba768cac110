/* liburcu's "bp" flavour, inlined: threads register themselves when they first read. */
#define _LGPL_SOURCE
#include <urcu-bp.h>
#include "table.h"

void peers_urcu_bp_register(void)
{
	rcu_register_thread();
}

/* `rounds` read-side critical sections with one dependent load each. */
uint64_t peers_urcu_bp_read(struct table **shared, uint64_t rounds)
{
	uint64_t sum = 0;
	for (uint64_t i = 0; i < rounds; i++) {
		rcu_read_lock();
		struct table *table = rcu_dereference(*shared);
		sum += table->words[i & 3];
		rcu_read_unlock();
	}
	return sum;
}

void peers_urcu_bp_synchronize(void)
{
	synchronize_rcu();
}
