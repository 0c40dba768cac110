/* liburcu's "bp" flavour, inlined: threads register themselves when they first read. */
#define _LGPL_SOURCE
#include <urcu-bp.h>
#include "read.h"

void peers_urcu_bp_register(void)
{
	rcu_register_thread();
}

uint64_t peers_urcu_bp_read(struct table **shared, uint64_t rounds)
{
	return read_rounds(shared, rounds);
}

void peers_urcu_bp_synchronize(void)
{
	synchronize_rcu();
}
