/* liburcu's "memb" flavour with its read side inlined, as a C program would use it. */
#define _LGPL_SOURCE
#define RCU_MEMBARRIER
#include <urcu.h>
#include <stdint.h>

struct table {
	uint64_t words[4];
};

void peers_urcu_register(void)
{
	rcu_register_thread();
}

void peers_urcu_unregister(void)
{
	rcu_unregister_thread();
}

/* `rounds` read-side critical sections with one dependent load each. */
uint64_t peers_urcu_read(struct table **shared, uint64_t rounds)
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

void peers_urcu_synchronize(void)
{
	synchronize_rcu();
}
