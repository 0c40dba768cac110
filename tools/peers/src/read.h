/* The read side of the flavour whose header comes first, inlined. */
#include "table.h"

/* `rounds` read-side critical sections with one dependent load each. */
static inline uint64_t read_rounds(struct table **shared, uint64_t rounds)
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
