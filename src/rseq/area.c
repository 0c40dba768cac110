/*
 * What stable Rust cannot say: weak references to libc's registration, and thread-local
 * storage of the initial-exec model.
 *
 * Every name carries the crate's version, so that two incompatible versions of the crate
 * can stand in one program.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <stddef.h>
#include <stdint.h>

#define PASTE_(prefix, name) prefix##name
#define PASTE(prefix, name) PASTE_(prefix, name)
#define NAME(name) PASTE(STILLPOINT_PREFIX, name)
#define HIDDEN __attribute__((visibility("hidden")))
#define THREAD_LOCAL HIDDEN __thread __attribute__((tls_model("initial-exec")))

/* glibc 2.35 and later (and backports); absent elsewhere. */
extern const ptrdiff_t __rseq_offset __attribute__((weak));
extern const unsigned int __rseq_size __attribute__((weak));

/*
 * The area we register where libc registers none.  64 bytes at 64: what Linux 7 asks for.  A
 * larger alignment would be room to grow, but glibc then refuses to load a shared object with this
 * code into a program ("cannot allocate memory in static TLS block").  A kernel that asks for more
 * gets the original 32 bytes.
 * cpu_id starts as RSEQ_CPU_ID_UNINITIALIZED, so that an unregistered thread fails every
 * bounds check.
 */
struct area {
	uint32_t cpu_id_start;
	uint32_t cpu_id;
	uint8_t rest[56];
} __attribute__((aligned(64)));

THREAD_LOCAL struct area NAME(area) = { .cpu_id = (uint32_t)-1 };

HIDDEN void *NAME(own_area)(void)
{
	return &NAME(area);
}

/* Returns nonzero and libc's account if this libc knows of rseq at all. */
HIDDEN int NAME(libc_account)(ptrdiff_t *offset, unsigned int *size)
{
	if (!&__rseq_size || !&__rseq_offset)
		return 0;
	*offset = __rseq_offset;
	*size = __rseq_size;
	return 1;
}

HIDDEN void *NAME(thread_pointer)(void)
{
#if defined(__x86_64__)
	/* Older compilers lack the builtin on this architecture. */
	void *self;
	__asm__("mov %%fs:0, %0" : "=r"(self));
	return self;
#else
	return __builtin_thread_pointer();
#endif
}

#if defined(__GLIBC__)
/* Absent from static programs, and in a library of its own before glibc 2.34. */
#pragma weak dladdr1
#pragma weak dlopen
#pragma weak dlclose
#endif

/*
 * Keeps the shared object that contains this code from being unloaded: threads' areas point to
 * descriptors in it, or lie in its thread-local storage.  Nothing happens in a program, whose name
 * is empty, and with musl, which unloads nothing.  The loader knows the name: no file is opened.
 */
HIDDEN void NAME(stay_loaded)(void)
{
#if defined(__GLIBC__)
	Dl_info info;
	struct link_map *object = NULL;
	void *handle;

	if (!dladdr1 || !dlopen || !dlclose)
		return;
	if (!dladdr1((void *)NAME(stay_loaded), &info, (void **)&object, RTLD_DL_LINKMAP))
		return;
	if (!object || !object->l_name || !object->l_name[0])
		return;
	handle = dlopen(object->l_name, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
	if (handle)
		dlclose(handle);
#endif
}
