/* What the shims' readers look at. */
#include <stdint.h>

struct table {
	uint64_t words[4];
};
