/* The steps of a folded transformer block on a CPU, each in one pass over the features.

Features are float32, (frames, height, width, channels). A frame is cut into pieces: columns wide, rows high.
A piece is walked down row by row; what the norm and the 1x1 convolution make of a row is kept for three rows,
which is what the depthwise convolution reads, and what that makes is consumed at once. Nothing of it ever
leaves the cache. Pieces depend on the frame's size alone, and each pixel is summed in the same order whatever
the pieces and threads are, so results are the same for any number of threads.

Products are of float32 or, with `half`, of bfloat16 with float32 sums (AVX512-BF16). Channels are padded to
whole vectors with zeros; weights come packed by vectors of output channels, see pack.py.
*/

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__AVX512F__)
#define LANES 16
#define TALL 12
#elif defined(__AVX__)
#define LANES 8
#define TALL 6
#else
#define LANES 4
#define TALL 6
#endif

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#if defined(__AVX512BF16__)
#define HAS_HALF 1
#else
#define HAS_HALF 0
#endif

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int64_t i64;

#define INLINE static inline __attribute__((always_inline))

enum { OK = 0, OUT_OF_MEMORY = 1, NO_THREAD = 2 };

/* A 1x1 convolution; inputs and outputs are multiples of LANES. weight: (outputs / LANES, inputs, LANES) float
or, half, (outputs / LANES, inputs / 2, LANES, 2) bfloat16. */
typedef struct {
    const void *weight;
    const float *bias;
    i64 inputs, outputs;
} Pointwise;

typedef struct {
    const float *x;
    float *out;
    i64 frames, height, width, channels, columns, rows, threads, half;
} Features;

int diffir_lanes(void) { return LANES; }
int diffir_has_half(void) { return HAS_HALF; }

INLINE vec load(const float *p) { return *(const vec *)p; }
INLINE void store(float *p, vec v) { *(vec *)p = v; }
INLINE vec splat(float s) { return s - (vec){0}; }
INLINE i64 least(i64 a, i64 b) { return a < b ? a : b; }
INLINE i64 most(i64 a, i64 b) { return a > b ? a : b; }

INLINE float sum(vec v) {
#if defined(__AVX512F__)
    return _mm512_reduce_add_ps((__m512)v);
#endif
    float parts[LANES];
    store(parts, v);
    for (int step = LANES / 2; step; step /= 2)
        for (int i = 0; i < step; i++) parts[i] += parts[i + step];
    return parts[0];
}

/* ---- products ---- */

/* A block of `tall` rows and `wide` vectors of columns: out = init + a b. a(r, k) is a[r * a_row + k * a_k]. */
INLINE void block_f32(const int tall, const int wide, i64 inner, const float *a, i64 a_row, i64 a_k,
                      const float *b, i64 b_k, i64 b_vector, const float *init, i64 init_row, float *out,
                      i64 out_row) {
    vec sums[TALL][2];
#pragma GCC unroll 12
    for (int r = 0; r < tall; r++)
#pragma GCC unroll 2
        for (int v = 0; v < wide; v++) sums[r][v] = load(init + r * init_row + v * LANES);
    for (i64 k = 0; k < inner; k++) {
        vec first = load(b + k * b_k), second = wide > 1 ? load(b + k * b_k + b_vector) : first;
#pragma GCC unroll 12
        for (int r = 0; r < tall; r++) {
            vec factor = splat(a[r * a_row + k * a_k]);
            sums[r][0] += factor * first;
            if (wide > 1) sums[r][1] += factor * second;
        }
    }
#pragma GCC unroll 12
    for (int r = 0; r < tall; r++)
#pragma GCC unroll 2
        for (int v = 0; v < wide; v++) store(out + r * out_row + v * LANES, sums[r][v]);
}

#if HAS_HALF
INLINE void block_half(const int tall, const int wide, i64 pairs, const uint16_t *a, i64 a_row,
                       const uint16_t *b, i64 b_vector, const float *init, i64 init_row, float *out,
                       i64 out_row) {
    __m512 sums[TALL][2];
#pragma GCC unroll 12
    for (int r = 0; r < tall; r++)
#pragma GCC unroll 2
        for (int v = 0; v < wide; v++) sums[r][v] = _mm512_loadu_ps(init + r * init_row + v * LANES);
    for (i64 k = 0; k < pairs; k++) {
        __m512bh first = (__m512bh)_mm512_loadu_si512(b + k * 2 * LANES);
        __m512bh second = wide > 1 ? (__m512bh)_mm512_loadu_si512(b + b_vector + k * 2 * LANES) : first;
#pragma GCC unroll 12
        for (int r = 0; r < tall; r++) {
            int32_t pair;
            memcpy(&pair, a + r * a_row + 2 * k, 4);
            __m512bh factors = (__m512bh)_mm512_set1_epi32(pair);
            sums[r][0] = _mm512_dpbf16_ps(sums[r][0], factors, first);
            if (wide > 1) sums[r][1] = _mm512_dpbf16_ps(sums[r][1], factors, second);
        }
    }
#pragma GCC unroll 12
    for (int r = 0; r < tall; r++)
#pragma GCC unroll 2
        for (int v = 0; v < wide; v++) _mm512_storeu_ps(out + r * out_row + v * LANES, sums[r][v]);
}
#endif

#define BY_WIDTH(call, tall) \
    if (wide > 1) call(tall, 2); \
    else call(tall, 1)

/* Walks `count` rows in blocks as tall as there are registers for. */
#define BY_HEIGHT(call, count) \
    for (i64 row = 0; row < (count);) { \
        i64 left = (count)-row; \
        if (left >= TALL) { BY_WIDTH(call, TALL); row += TALL; } \
        else if (left >= 6) { BY_WIDTH(call, 6); row += 6; } \
        else if (left >= 3) { BY_WIDTH(call, 3); row += 3; } \
        else if (left >= 2) { BY_WIDTH(call, 2); row += 2; } \
        else { BY_WIDTH(call, 1); row += 1; } \
    }

/* out (count, outputs) = init + a (count, inputs) weight; init_row is 0 for a bias. */
static void multiply(const Pointwise *w, i64 half, i64 count, const void *a, const float *init, i64 init_row,
                     float *out, i64 out_row) {
    const i64 inner = w->inputs, vectors = w->outputs / LANES;
    for (i64 vector = 0; vector < vectors; vector += 2) {
        const int wide = vector + 1 < vectors ? 2 : 1;
        const i64 column = vector * LANES;
#if HAS_HALF
        if (half) {
            const uint16_t *b = (const uint16_t *)w->weight + column * inner;
#define HALF_BLOCK(tall, wide) \
    block_half(tall, wide, inner / 2, (const uint16_t *)a + row * inner, inner, b, inner * LANES, \
               init + row * init_row + column, init_row, out + row * out_row + column, out_row)
            BY_HEIGHT(HALF_BLOCK, count)
            continue;
        }
#endif
        const float *b = (const float *)w->weight + column * inner;
#define FLOAT_BLOCK(tall, wide) \
    block_f32(tall, wide, inner, (const float *)a + row * inner, inner, 1, b, LANES, inner * LANES, \
              init + row * init_row + column, init_row, out + row * out_row + column, out_row)
        BY_HEIGHT(FLOAT_BLOCK, count)
    }
}

/* ---- what lies between products ---- */

/* One vector of what goes into the next product. */
INLINE void put(void *a, i64 index, vec value, i64 half) {
#if HAS_HALF
    if (half) {
        __m256bh rounded = _mm512_cvtneps_pbh((__m512)value);
        memcpy((uint16_t *)a + index, &rounded, sizeof rounded);
        return;
    }
#endif
    store((float *)a + index, value);
}

/* Each pixel over its deviation, less its mean if centred; padded with zeros to `padded` channels. */
static void normalise(const float *x, i64 count, i64 channels, i64 padded, i64 centred, void *a, i64 half) {
    const i64 whole = channels / LANES * LANES;
    for (i64 p = 0; p < count; p++, x += channels) {
        vec total = {0};
        float tail[LANES] = {0};
        for (i64 c = 0; c < whole; c += LANES) total += load(x + c);
        memcpy(tail, x + whole, (channels - whole) * sizeof(float));
        const float mean = sum(total + load(tail)) / channels;
        vec squares = {0};
        for (i64 c = 0; c < whole; c += LANES) {
            vec difference = load(x + c) - mean;
            squares += difference * difference;
        }
        float variance = sum(squares);
        for (i64 c = whole; c < channels; c++) variance += (x[c] - mean) * (x[c] - mean);
        const float inverse = 1 / __builtin_sqrtf(variance / channels + 1e-5f), offset = centred ? mean : 0;
        for (i64 c = 0; c < whole; c += LANES) put(a, p * padded + c, (load(x + c) - offset) * inverse, half);
        if (padded > whole) {
            for (i64 c = 0; c < channels - whole; c++) tail[c] = (tail[c] - offset) * inverse;
            put(a, p * padded + whole, load(tail), half);
        }
    }
}

INLINE vec exponential(vec x) {
    const vec lowest = splat(-87.f);
    ivec too_low = x < lowest;
    x = (vec)(((ivec)lowest & too_low) | ((ivec)x & ~too_low));
    const float magic = 12582912.f;
    vec n = (x * 1.44269504f + magic) - magic;
    vec r = x - n * 0.693359375f + n * 2.12194440e-4f;
    vec p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1;
    ivec power = (__builtin_convertvector(n, ivec) + 127) << 23;
    return p * (vec)power;
}

/* x Φ(x); erfc by Abramowitz and Stegun, 7.1.26: within 1.5e-7. */
INLINE vec gelu(vec x) {
    vec size = (vec)((ivec)x & 0x7fffffff), u = size * 0.70710678f;
    vec t = 1 / (1 + 0.3275911f * u);
    vec p = t * 1.061405429f - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    vec positive = (vec)((ivec)x & (x > 0));
    return positive - 0.5f * size * (p * t * exponential(-u * u));
}

/* One vector of channels of a 3x3 depthwise convolution along a row; `emit(pixel, value)` takes what it makes. */
#define DEPTHWISE(above, at, below, pixel_size, kernel, count, emit) \
    do { \
        const float *above_ = (above), *at_ = (at), *below_ = (below), *k_ = (kernel); \
        vec k0 = load(k_), k1 = load(k_ + LANES), k2 = load(k_ + 2 * LANES), k3 = load(k_ + 3 * LANES), \
            k4 = load(k_ + 4 * LANES), k5 = load(k_ + 5 * LANES), k6 = load(k_ + 6 * LANES), \
            k7 = load(k_ + 7 * LANES), k8 = load(k_ + 8 * LANES); \
        vec one = {0}, two = {0}; \
        for (i64 x_ = 0; x_ < (count) + 2; x_++) { \
            vec a_ = load(above_ + x_ * (pixel_size)), b_ = load(at_ + x_ * (pixel_size)), \
                c_ = load(below_ + x_ * (pixel_size)); \
            vec done_ = two + a_ * k2 + b_ * k5 + c_ * k8; \
            two = one + a_ * k1 + b_ * k4 + c_ * k7; \
            one = a_ * k0 + b_ * k3 + c_ * k6; \
            if (x_ >= 2) { emit(x_ - 2, done_); } \
        } \
    } while (0)

/* ---- pieces of frames ---- */

typedef struct {
    i64 frame, left, right, top, bottom, number;
} Piece;

typedef struct Work Work;
struct Work {
    const Features *f;
    const Pointwise *in, *out;
    i64 maps; /* how many `out` there are: one for each frame, or one */
    const float *kernel;
    i64 centred, heads;
    float *sums;
    i64 sums_size;
    void (*row)(const Work *, const Piece *, i64 y, float *const rows[3], void *a, float *scratch);
    i64 across, down;
    atomic_llong next;
    atomic_int failure;
};

static void fill_row(const Work *w, const Piece *piece, i64 y, float *row, void *a) {
    const Features *f = w->f;
    const i64 width = piece->right - piece->left, outputs = w->in->outputs;
    if (y < 0 || y >= f->height) {
        memset(row, 0, (width + 2) * outputs * sizeof(float));
        return;
    }
    const i64 from = most(piece->left - 1, 0), to = least(piece->right + 1, f->width);
    if (piece->left == 0) memset(row, 0, outputs * sizeof(float));
    if (piece->right == f->width) memset(row + (width + 1) * outputs, 0, outputs * sizeof(float));
    const float *x = f->x + ((piece->frame * f->height + y) * f->width + from) * f->channels;
    normalise(x, to - from, f->channels, w->in->inputs, w->centred, a, f->half);
    multiply(w->in, f->half, to - from, a, w->in->bias, 0, row + (from - piece->left + 1) * outputs, outputs);
}

static void work_piece(const Work *w, const Piece *piece, float *ring, void *a, float *scratch) {
    const i64 row_size = (piece->right - piece->left + 2) * w->in->outputs;
    float *rows[3] = {ring, ring + row_size, ring + 2 * row_size};
    fill_row(w, piece, piece->top - 1, rows[0], a);
    fill_row(w, piece, piece->top, rows[1], a);
    for (i64 y = piece->top; y < piece->bottom; y++) {
        fill_row(w, piece, y + 1, rows[2], a);
        w->row(w, piece, y, rows, a, scratch);
        float *oldest = rows[0];
        rows[0] = rows[1], rows[1] = rows[2], rows[2] = oldest;
    }
}

static void *work_pieces(void *argument) {
    Work *w = argument;
    const Features *f = w->f;
    const i64 width = least(f->columns, f->width) + 2;
    const i64 widest = most(most(w->in->inputs, w->in->outputs), f->channels + LANES);
    const i64 ring_size = 3 * width * w->in->outputs, row_size = width * widest;
    float *memory = aligned_alloc(64, ((ring_size + 2 * row_size) * sizeof(float) + 63) / 64 * 64);
    if (!memory) {
        atomic_store(&w->failure, OUT_OF_MEMORY);
        return NULL;
    }
    const i64 pieces = f->frames * w->across * w->down;
    for (i64 n; (n = atomic_fetch_add(&w->next, 1)) < pieces;) {
        const i64 x = n % w->across, y = n / w->across % w->down;
        const Piece piece = {
            .frame = n / w->across / w->down,
            .left = x * f->columns,
            .right = least((x + 1) * f->columns, f->width),
            .top = y * f->rows,
            .bottom = least((y + 1) * f->rows, f->height),
            .number = n,
        };
        work_piece(w, &piece, memory, memory + ring_size, memory + ring_size + row_size);
    }
    free(memory);
    return NULL;
}

static int work_all(Work *w) {
    const Features *f = w->f;
    w->across = (f->width + f->columns - 1) / f->columns;
    w->down = (f->height + f->rows - 1) / f->rows;
    atomic_init(&w->next, 0);
    atomic_init(&w->failure, OK);
    const i64 helpers = most(0, least(least(f->threads, 256), f->frames * w->across * w->down) - 1);
    pthread_t threads[256];
    i64 started = 0;
    while (started < helpers && !pthread_create(&threads[started], NULL, work_pieces, w)) started++;
    work_pieces(w);
    for (i64 i = 0; i < started; i++) pthread_join(threads[i], NULL);
    return atomic_load(&w->failure);
}

/* ---- the three steps ---- */

/* x + a matrix: straight into the frame where channels are whole vectors. */
static void add_products(const Work *w, const Piece *piece, i64 y, const void *a, float *scratch) {
    const Features *f = w->f;
    const Pointwise *matrix = w->out + (w->maps > 1 ? piece->frame : 0);
    const i64 count = piece->right - piece->left;
    const i64 first = ((piece->frame * f->height + y) * f->width + piece->left) * f->channels;
    if (matrix->outputs == f->channels) {
        multiply(matrix, f->half, count, a, f->x + first, f->channels, f->out + first, f->channels);
        return;
    }
    multiply(matrix, f->half, count, a, matrix->bias, 0, scratch, matrix->outputs);
    for (i64 p = 0; p < count; p++)
        for (i64 c = 0; c < f->channels; c++) {
            const i64 at = first + p * f->channels + c;
            f->out[at] = f->x[at] + scratch[p * matrix->outputs + c];
        }
}

static void attend_row(const Work *w, const Piece *piece, i64 y, float *const rows[3], void *a, float *scratch) {
    const i64 outputs = w->in->outputs, inputs = w->out->inputs, half = w->f->half;
#define TO_PRODUCT(pixel, value) put(a, (pixel)*inputs + c, value, half)
    for (i64 c = 0; c < outputs; c += LANES)
        DEPTHWISE(rows[0] + c, rows[1] + c, rows[2] + c, outputs, w->kernel + 9 * c, piece->right - piece->left,
                  TO_PRODUCT);
    add_products(w, piece, y, a, scratch);
}

static void feed_forward_row(const Work *w, const Piece *piece, i64 y, float *const rows[3], void *a,
                             float *scratch) {
    const i64 outputs = w->in->outputs, hidden = outputs / 2, inputs = w->out->inputs, half = w->f->half;
    const i64 count = piece->right - piece->left;
#define TO_GATE(pixel, value) store(scratch + (pixel)*LANES, value)
#define GATED(pixel, value) put(a, (pixel)*inputs + c, gelu(load(scratch + (pixel)*LANES)) * (value), half)
    for (i64 c = 0; c < hidden; c += LANES) {
        const i64 d = hidden + c;
        DEPTHWISE(rows[0] + c, rows[1] + c, rows[2] + c, outputs, w->kernel + 9 * c, count, TO_GATE);
        DEPTHWISE(rows[0] + d, rows[1] + d, rows[2] + d, outputs, w->kernel + 9 * d, count, GATED);
    }
    add_products(w, piece, y, a, scratch);
}

/* sums: the Gram matrix of q's channels with k's, (C, gram_width), and the squares of both, (2, padded C).
Where heads are whole vectors a row holds its own head's columns, else all columns of the heads near it. */
static void sums_row(const Work *w, const Piece *piece, i64 y, float *const rows[3], void *a, float *scratch) {
    (void)y, (void)a;
    const i64 outputs = w->in->outputs, padded = outputs / 2, channels = w->f->channels;
    const i64 count = piece->right - piece->left, per_head = channels / w->heads;
    const i64 apart = per_head % LANES == 0, gram_width = apart ? per_head : padded;
    float *gram = w->sums + piece->number * w->sums_size, *squares = gram + channels * gram_width;
    for (i64 c = 0; c < outputs; c += LANES) {
        vec square = load(squares + c);
#define TO_SUMS(pixel, value) \
    do { \
        vec v_ = (value); \
        store(scratch + (pixel)*outputs + c, v_); \
        square += v_ * v_; \
    } while (0)
        DEPTHWISE(rows[0] + c, rows[1] + c, rows[2] + c, outputs, w->kernel + 9 * c, count, TO_SUMS);
        store(squares + c, square);
    }
    for (i64 column = 0; column < padded;) {
        const i64 head = column / per_head;
        const i64 end = apart ? (head + 1) * per_head : padded;
        const int wide = column + LANES < end ? 2 : 1;
        const i64 last = least((column + wide * LANES + per_head - 1) / per_head * per_head, channels);
        const i64 first = head * per_head, stored = apart ? column - first : column;
        const float *q = scratch + first, *k = scratch + padded + column;
        float *block = gram + first * gram_width + stored;
#define GRAM_BLOCK(tall, wide) \
    block_f32(tall, wide, count, q + row, 1, outputs, k, outputs, LANES, block + row * gram_width, gram_width, \
              block + row * gram_width, gram_width)
        BY_HEIGHT(GRAM_BLOCK, last - first)
        column += wide * LANES;
    }
}

/* out = x + attention: in makes v of the normed features, kernel is v's, maps takes v to the output. */
int diffir_attend(const Features *f, const Pointwise *in, const float *kernel, i64 centred,
                  const Pointwise *maps, i64 count) {
    Work work = {.f = f, .in = in, .out = maps, .maps = count, .kernel = kernel, .centred = centred};
    work.row = attend_row;
    return work_all(&work);
}

/* out = x + feed-forward: in makes gate and value, each padded, out takes their product to the output. */
int diffir_feed_forward(const Features *f, const Pointwise *in, const float *kernel, i64 centred,
                        const Pointwise *out) {
    Work work = {.f = f, .in = in, .out = out, .maps = 1, .kernel = kernel, .centred = centred};
    work.row = feed_forward_row;
    return work_all(&work);
}

/* What attention maps are made of: sums (pieces, sums_size), zero before. */
int diffir_sums(const Features *f, const Pointwise *in, const float *kernel, i64 centred, i64 heads,
                float *sums, i64 sums_size) {
    Work work = {.f = f, .in = in, .kernel = kernel, .centred = centred, .heads = heads};
    work.sums = sums, work.sums_size = sums_size, work.row = sums_row;
    return work_all(&work);
}
