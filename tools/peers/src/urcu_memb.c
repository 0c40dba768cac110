/* liburcu's "memb" flavour with its read side inlined, as a C program would use it. */
#define _LGPL_SOURCE
#define RCU_MEMBARRIER
#include <urcu.h>
#include <stdint.h>
#include <stdlib.h>
#include "read.h"

/* What is retired: one cache line of content, and the head that call_rcu() needs. */
struct object {
	uint64_t words[8];
	struct rcu_head head;
};

/* Counts what is freed, if anyone wants to know. */
static uint64_t *freed;

void peers_urcu_register(void)
{
	rcu_register_thread();
}

void peers_urcu_unregister(void)
{
	rcu_unregister_thread();
}

uint64_t peers_urcu_read(struct table **shared, uint64_t rounds)
{
	return read_rounds(shared, rounds);
}

void peers_urcu_synchronize(void)
{
	synchronize_rcu();
}

/* Starts the thread that call_rcu() leaves its work to; it keeps the caller's CPUs. */
void peers_urcu_start_worker(void)
{
	get_default_call_rcu_data();
}

/* Everything freed from now on is counted there; NULL for not at all. */
void peers_urcu_count_frees(uint64_t *counter)
{
	__atomic_store_n(&freed, counter, __ATOMIC_RELAXED);
}

static void free_object(struct rcu_head *head)
{
	uint64_t *counter = __atomic_load_n(&freed, __ATOMIC_RELAXED);
	if (counter)
		__atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
	free(caa_container_of(head, struct object, head));
}

/* Publishes a new object in place of the old one, and retires that; so many times. */
void peers_urcu_replace(struct object **slot, uint64_t times)
{
	for (uint64_t i = 0; i < times; i++) {
		struct object *object = malloc(sizeof *object);
		if (!object)
			abort();
		for (int word = 0; word < 8; word++)
			object->words[word] = i;
		object = rcu_xchg_pointer(slot, object);
		if (object)
			call_rcu(&object->head, free_object);
	}
}

/* `rounds` read-side critical sections, each of which adds up an object's words. */
uint64_t peers_urcu_sum(struct object **slot, uint64_t rounds)
{
	uint64_t sum = 0;
	for (uint64_t i = 0; i < rounds; i++) {
		rcu_read_lock();
		struct object *object = rcu_dereference(*slot);
		if (object)
			for (int word = 0; word < 8; word++)
				sum += object->words[word];
		rcu_read_unlock();
	}
	return sum;
}

void peers_urcu_barrier(void)
{
	rcu_barrier();
}

/* `rounds` read-side critical sections, each of which copies a value out whole. */
#define COPY(bytes) \
uint64_t peers_urcu_copy_##bytes(void **slot, uint64_t rounds) \
{ \
	struct { uint64_t words[bytes / 8]; } copy; \
	uint64_t sum = 0; \
	for (uint64_t i = 0; i < rounds; i++) { \
		rcu_read_lock(); \
		__builtin_memcpy(&copy, rcu_dereference(*slot), bytes); \
		rcu_read_unlock(); \
		/* Somebody looks at it. */ \
		__asm__ volatile("" : : "r"(&copy) : "memory"); \
		sum += copy.words[0]; \
	} \
	return sum; \
}

/* As above, of a word, which stays in a register. */
uint64_t peers_urcu_copy_8(uint64_t **slot, uint64_t rounds)
{
	uint64_t sum = 0;
	for (uint64_t i = 0; i < rounds; i++) {
		rcu_read_lock();
		uint64_t copy = *rcu_dereference(*slot);
		rcu_read_unlock();
		sum += copy;
	}
	return sum;
}
COPY(64)
COPY(256)
