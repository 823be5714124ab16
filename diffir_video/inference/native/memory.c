/* Features as large as these are by default given back to the system at every step and zeroed again at the next:
a fifth of a frame's time. */

#include <stdlib.h>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

enum { MEBIBYTE = 1 << 20, LARGEST_THRESHOLD = 32 * MEBIBYTE, KEPT = 256 * MEBIBYTE };

/* Have malloc keep what is freed, up to 256 MiB, unless the environment says otherwise. */
void diffir_keep_freed_memory(void) {
#if defined(__GLIBC__)
    if (getenv("MALLOC_TRIM_THRESHOLD_") || getenv("MALLOC_MMAP_THRESHOLD_")) return;
    mallopt(M_MMAP_THRESHOLD, LARGEST_THRESHOLD);
    mallopt(M_TRIM_THRESHOLD, KEPT);
#endif
}
