/* Frames cut into pieces, columns wide and rows high, which threads take one after the other: those of the OpenMP that
torch uses, where it could be found, as they spin for a while after each of torch's operations, and others beside
them would share their processors. Pieces depend on the frame's size alone, and each pixel is summed in the same
order whatever the pieces and threads are, so results are the same for any number of threads.
*/
#ifndef DIFFIR_PIECES_H
#define DIFFIR_PIECES_H

#include <pthread.h>
#include <stdatomic.h>

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

#include "products.h"

enum { OK = 0, OUT_OF_MEMORY = 1 };

/* GOMP_parallel of GCC's OpenMP: has `threads` of them, the calling one among them, run `work` on `task`. */
typedef void Team(void (*work)(void *), void *task, unsigned threads, unsigned flags);
extern Team *diffir_team;

typedef struct {
    i64 frames, height, width, columns, rows, threads;
} Grid;

typedef struct {
    i64 frame, left, right, top, bottom, number;
} Piece;

typedef void PieceWork(const void *task, const Piece *piece, float *memory);

typedef struct {
    const Grid *grid;
    PieceWork *work;
    const void *task;
    i64 memory, across, down;
    atomic_llong next;
    atomic_int failure;
} Pieces;

static i64 across(const Grid *g) { return (g->width + g->columns - 1) / g->columns; }
static i64 down(const Grid *g) { return (g->height + g->rows - 1) / g->rows; }

/* From now on what is too small to be a normal float32 is zero, as x86 takes a hundred times as long for it; gates that
are shut make much of it. Returns what was in force. */
INLINE unsigned flush_denormals(void) {
#if defined(__SSE__)
    const unsigned before = _mm_getcsr(), flush_to_zero = 0x8000, denormals_are_zero = 0x0040;
    _mm_setcsr(before | flush_to_zero | denormals_are_zero);
    return before;
#else
    return 0;
#endif
}

INLINE void restore_denormals(unsigned before) {
#if defined(__SSE__)
    _mm_setcsr(before);
#else
    (void)before;
#endif
}

static void take_pieces(void *task) {
    Pieces *all = task;
    const Grid *g = all->grid;
    float *memory = aligned_alloc(64, (all->memory * sizeof(float) + 63) / 64 * 64);
    if (!memory) {
        atomic_store(&all->failure, OUT_OF_MEMORY);
        return;
    }
    const i64 count = g->frames * all->across * all->down;
    const unsigned before = flush_denormals();
    for (i64 n; (n = atomic_fetch_add(&all->next, 1)) < count;) {
        const i64 x = n % all->across, y = n / all->across % all->down;
        const Piece piece = {
            .frame = n / all->across / all->down,
            .left = x * g->columns,
            .right = least((x + 1) * g->columns, g->width),
            .top = y * g->rows,
            .bottom = least((y + 1) * g->rows, g->height),
            .number = n,
        };
        all->work(all->task, &piece, memory);
    }
    restore_denormals(before);
    free(memory);
#if HAS_TILES
    if (diffir_tiles) _tile_release();
#endif
}

static void *take_pieces_in_thread(void *task) {
    take_pieces(task);
    return NULL;
}

static void take_pieces_by_threads(Pieces *all, i64 count) {
    pthread_t threads[256];
    i64 started = 0;
    while (started < least(count, 257) - 1 && !pthread_create(&threads[started], NULL, take_pieces_in_thread, all))
        started++;
    take_pieces(all);
    for (i64 i = 0; i < started; i++) pthread_join(threads[i], NULL);
}

/* `memory`: how many floats each thread works in. */
static int work_pieces(const Grid *g, PieceWork *work, const void *task, i64 memory) {
    Pieces all = {.grid = g, .work = work, .task = task, .memory = memory, .across = across(g), .down = down(g)};
    atomic_init(&all.next, 0);
    atomic_init(&all.failure, OK);
    const i64 threads = least(g->threads, g->frames * all.across * all.down);
    if (threads <= 1) take_pieces(&all);
    else if (diffir_team) diffir_team(take_pieces, &all, (unsigned)threads, 0);
    else take_pieces_by_threads(&all, threads);
    return atomic_load(&all.failure);
}

#endif
