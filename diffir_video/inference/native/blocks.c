/* The steps of a folded transformer block on a CPU, each in one pass over the features.

Features are float32, (frames, height, width, channels). A piece is walked down row by row; what the norm and the
1x1 convolution make of a row is kept for three rows, which is what the depthwise convolution reads, and what that
makes is consumed at once. Nothing of it ever leaves the cache.
*/

#include "pieces.h"

#if HAS_TILES
#include <sys/syscall.h>
#include <unistd.h>
#endif

#if LANES == 16
#define ALL_ONES 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1
#elif LANES == 8
#define ALL_ONES 1, 1, 1, 1, 1, 1, 1, 1
#else
#define ALL_ONES 1, 1, 1, 1
#endif

typedef struct {
    const float *x;
    float *out;
    Grid grid;
    i64 channels, terms;
} Features;

Team *diffir_team;

int diffir_lanes(void) { return LANES; }
int diffir_has_half(void) { return HAS_HALF; }
int diffir_has_bytes(void) { return HAS_BYTES; }

#if HAS_TILES
/* arch_prctl(2): what a process asks to use, and AMX's tiles. */
enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };

int diffir_tiles;

/* Whether tiles are used from now on: if they are wanted, and the system lets this process. */
int diffir_use_tiles(int wanted) {
    diffir_tiles = wanted && syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
    return diffir_tiles;
}
#else
int diffir_use_tiles(int wanted) {
    (void)wanted;
    return 0;
}
#endif

INLINE vec root(vec x) {
#if defined(__AVX512F__)
    return (vec)_mm512_sqrt_ps((__m512)x);
#else
    for (int i = 0; i < LANES; i++) x[i] = __builtin_sqrtf(x[i]);
    return x;
#endif
}

#if HAS_BYTES
/* As `normalise_pixels`, from its means and inverse deviations on. */
INLINE void put_pixels_in_bytes(const i64 pixels, const i64 last, const float *at, i64 channels, i64 padded, i64 centred,
                                const float *means, const float *inverses, vec counted, void *a, i64 to, float *scales) {
    const i64 rest = channels - last;
    vec largest[LANES] = {0};
    float by[LANES];
#pragma GCC unroll 16
    for (i64 p = 0; p < pixels; p++) {
        const float *pixel = at + p * channels;
        const vec offset = splat(centred ? means[p] : 0);
        vec most_of = magnitude((load_some(pixel + last, rest) - offset) * counted);
        for (i64 c = 0; c < last; c += LANES) most_of = larger(most_of, magnitude(load(pixel + c) - offset));
        largest[p] = most_of;
    }
    scale_rows(pixels, largest, scales, by);
#pragma GCC unroll 16
    for (i64 p = 0; p < pixels; p++, to += padded) {
        const float *pixel = at + p * channels;
        const vec offset = splat(centred ? means[p] : 0), scale = splat(by[p]);
        for (i64 c = 0; c < last; c += LANES) put_bytes(a, to + c, (load(pixel + c) - offset) * scale);
        put_bytes(a, to + last, (load_some(pixel + last, rest) - offset) * scale * counted);
        scales[p] *= inverses[p];
    }
}
#endif

/* What `normalise` makes of up to as many pixels as there are lanes: their means and deviations are then one vector.
last: the channel at which a pixel's last vector begins. */
INLINE void normalise_pixels(const i64 pixels, const i64 last, const float *at, i64 channels, i64 padded, i64 centred,
                             void *a, i64 to, i64 terms, i64 rests) {
    const i64 rest = channels - last;
    const vec counted = load_some((const float[LANES]){ALL_ONES}, rest);
    const float share = 1.f / channels;
    vec totals[LANES] = {0};
    float means[LANES], inverses[LANES];
#pragma GCC unroll 16
    for (i64 p = 0; p < pixels; p++) {
        const float *pixel = at + p * channels;
        vec total = load_some(pixel + last, rest);
        for (i64 c = 0; c < last; c += LANES) total += load(pixel + c);
        totals[p] = total;
    }
    store(means, sums_of(totals) * share);
#pragma GCC unroll 16
    for (i64 p = 0; p < pixels; p++) {
        const float *pixel = at + p * channels;
        const vec mean = splat(means[p]), beyond = (load_some(pixel + last, rest) - mean) * counted;
        vec total = beyond * beyond;
        for (i64 c = 0; c < last; c += LANES) {
            const vec difference = load(pixel + c) - mean;
            total += difference * difference;
        }
        totals[p] = total;
    }
    store(inverses, 1 / root(sums_of(totals) * share + 1e-5f));
#if HAS_BYTES
    if (terms == IN_BYTES) {
        put_pixels_in_bytes(pixels, last, at, channels, padded, centred, means, inverses, counted, a, to,
                            scales_of(a, rests) + to / padded);
        return;
    }
#endif
#pragma GCC unroll 16
    for (i64 p = 0; p < pixels; p++, to += padded) {
        const float *pixel = at + p * channels;
        const vec offset = splat(centred ? means[p] : 0), inverse = splat(inverses[p]);
        for (i64 c = 0; c < last; c += LANES) put(a, to + c, (load(pixel + c) - offset) * inverse, terms, rests);
        put(a, to + last, (load_some(pixel + last, rest) - offset) * inverse * counted, terms, rests);
    }
}

/* Each pixel over its deviation, less its mean if centred; padded with zeros to `padded` channels. */
static void normalise(const float *x, i64 count, i64 channels, i64 padded, i64 centred, void *a, i64 terms,
                      i64 rests) {
    const i64 last = (channels - 1) / LANES * LANES;
    for (i64 first = 0; first < count; first += LANES) {
#define NORMALISE(pixels, last) \
    normalise_pixels(pixels, last, x + first * channels, channels, padded, centred, a, first * padded, terms, rests)
        if (first + LANES > count) NORMALISE(count - first, last);
        else if (last) NORMALISE(LANES, last);
        else NORMALISE(LANES, 0);
    }
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

/* x Φ(x) within 7e-5, which is to be rounded, or near what three terms lose: Φ(x) - 1/2 as x times a polynomial of x²,
fitted over ±4.3, where it ends at ±1/2. */
INLINE vec rough_gelu(vec x) {
    const vec end = splat(4.3f), at = larger(smaller(x, end), -end), square = at * at;
    vec p = square * 5.37857792e-11f - 5.24873140e-09f;
    p = p * square + 2.25574034e-07f;
    p = p * square - 5.68232058e-06f;
    p = p * square + 9.46823546e-05f;
    p = p * square - 1.12128807e-03f;
    p = p * square + 9.88047736e-03f;
    p = p * square - 6.64979117e-02f;
    p = p * square + 3.99029328e-01f;
    return x * (at * p + 0.5f);
}

INLINE vec gate(vec x, i64 terms) { return terms ? rough_gelu(x) : gelu(x); }

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

/* ---- pieces, row by row ---- */

typedef struct Work Work;
struct Work {
    const Features *f;
    const Pointwise *in, *out;
    i64 maps; /* how many `out` there are: one for each frame, or one */
    const float *kernel;
    i64 centred, heads;
    float *sums;
    i64 sums_size, ring_size, row_size; /* row_size: floats, of which bfloat16 takes half, and their rests half */
    void (*row)(const Work *, const Piece *, i64 y, float *const rows[3], void *a, float *scratch);
};

static void fill_row(const Work *w, const Piece *piece, i64 y, float *row, void *a) {
    const Features *f = w->f;
    const i64 width = piece->right - piece->left, outputs = w->in->outputs;
    if (y < 0 || y >= f->grid.height) {
        memset(row, 0, (width + 2) * outputs * sizeof(float));
        return;
    }
    const i64 from = most(piece->left - 1, 0), to = least(piece->right + 1, f->grid.width);
    if (piece->left == 0) memset(row, 0, outputs * sizeof(float));
    if (piece->right == f->grid.width) memset(row + (width + 1) * outputs, 0, outputs * sizeof(float));
    const float *x = f->x + ((piece->frame * f->grid.height + y) * f->grid.width + from) * f->channels;
    if (y + 1 < f->grid.height) fetch(x + f->grid.width * f->channels, (to - from) * f->channels);
    normalise(x, to - from, f->channels, w->in->inputs, w->centred, a, f->terms, w->row_size);
    multiply(w->in, f->terms, to - from, a, w->in->inputs, w->row_size, w->in->bias, 0,
             row + (from - piece->left + 1) * outputs, outputs);
}

static void work_piece(const void *task, const Piece *piece, float *ring) {
    const Work *w = task;
    float *a = ring + w->ring_size, *scratch = a + w->row_size;
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

static int work_all(Work *w) {
    const Grid *g = &w->f->grid;
    const i64 width = least(g->columns, g->width) + 2;
    const i64 widest = most(most(w->in->inputs, w->in->outputs), w->f->channels + LANES);
    /* Tiles of pairs of pixels want room for as many as a vector has, in `sums_row_by_tiles`. */
    w->ring_size = 3 * width * w->in->outputs, w->row_size = most(width, 2 * LANES + 2) * widest;
    return work_pieces(g, work_piece, w, w->ring_size + 2 * w->row_size);
}

/* ---- the three steps ---- */

/* x + a matrix: straight into the frame where channels are whole vectors. */
static void add_products(const Work *w, const Piece *piece, i64 y, const void *a, float *scratch) {
    const Features *f = w->f;
    const Pointwise *matrix = w->out + (w->maps > 1 ? piece->frame : 0);
    const i64 count = piece->right - piece->left;
    const i64 first = ((piece->frame * f->grid.height + y) * f->grid.width + piece->left) * f->channels;
    if (matrix->outputs == f->channels) {
        multiply(matrix, f->terms, count, a, matrix->inputs, w->row_size, f->x + first, f->channels,
                 f->out + first, f->channels);
        return;
    }
    multiply(matrix, f->terms, count, a, matrix->inputs, w->row_size, matrix->bias, 0, scratch, matrix->outputs);
    for (i64 p = 0; p < count; p++)
        for (i64 c = 0; c < f->channels; c++) {
            const i64 at = first + p * f->channels + c;
            f->out[at] = f->x[at] + scratch[p * matrix->outputs + c];
        }
}

static void attend_row(const Work *w, const Piece *piece, i64 y, float *const rows[3], void *a, float *scratch) {
    const i64 outputs = w->in->outputs, inputs = w->out->inputs, terms = w->f->terms;
    const i64 count = piece->right - piece->left;
#define TO_PRODUCT(pixel, value) put(a, (pixel)*inputs + c, value, terms, w->row_size)
#define TO_SCRATCH(pixel, value) store(scratch + (pixel)*inputs + c, value)
#if HAS_BYTES
    if (terms == IN_BYTES) {
        for (i64 c = 0; c < outputs; c += LANES)
            DEPTHWISE(rows[0] + c, rows[1] + c, rows[2] + c, outputs, w->kernel + 9 * c, count, TO_SCRATCH);
        put_rows_in_bytes(scratch, count, inputs, a, w->row_size);
        add_products(w, piece, y, a, scratch);
        return;
    }
#endif
    for (i64 c = 0; c < outputs; c += LANES)
        DEPTHWISE(rows[0] + c, rows[1] + c, rows[2] + c, outputs, w->kernel + 9 * c, count, TO_PRODUCT);
    add_products(w, piece, y, a, scratch);
}

static void feed_forward_row(const Work *w, const Piece *piece, i64 y, float *const rows[3], void *a,
                             float *scratch) {
    const i64 outputs = w->in->outputs, hidden = outputs / 2, inputs = w->out->inputs, terms = w->f->terms;
    const i64 count = piece->right - piece->left;
    float *gates = scratch + count * inputs;
#define TO_GATE(pixel, value) store(gates + (pixel)*LANES, value)
#define GATED(pixel, value) gate(load(gates + (pixel)*LANES), terms) * (value)
#define GATED_TO_PRODUCT(pixel, value) TO_PRODUCT(pixel, GATED(pixel, value))
#define GATED_TO_SCRATCH(pixel, value) TO_SCRATCH(pixel, GATED(pixel, value))
    for (i64 c = 0; c < hidden; c += LANES) {
        const i64 d = hidden + c;
        DEPTHWISE(rows[0] + c, rows[1] + c, rows[2] + c, outputs, w->kernel + 9 * c, count, TO_GATE);
#if HAS_BYTES
        if (terms == IN_BYTES) {
            DEPTHWISE(rows[0] + d, rows[1] + d, rows[2] + d, outputs, w->kernel + 9 * d, count, GATED_TO_SCRATCH);
            continue;
        }
#endif
        DEPTHWISE(rows[0] + d, rows[1] + d, rows[2] + d, outputs, w->kernel + 9 * d, count, GATED_TO_PRODUCT);
    }
#if HAS_BYTES
    if (terms == IN_BYTES) put_rows_in_bytes(scratch, count, inputs, a, w->row_size);
#endif
    add_products(w, piece, y, a, scratch);
}

#if HAS_TILES
/* Two pixels' channels as pairs of bfloat16; what rounding leaves of them stays. */
INLINE ivec take_pair(vec *one, vec *other) {
    const ivec first = (ivec)_mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)*one));
    const ivec second = (ivec)_mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)*other));
    *one -= (vec)(first << 16), *other -= (vec)(second << 16);
    return first | second << 16;
}

/* `sums_row` by three terms: q by channels, and k by vectors of them as weights are, each of pairs of pixels. */
static void sums_row_by_tiles(const Work *w, const Piece *piece, float *const rows[3], int32_t *q, float *scratch) {
    const i64 outputs = w->in->outputs, padded = outputs / 2, channels = w->f->channels;
    const i64 count = piece->right - piece->left, per_head = channels / w->heads;
    const i64 apart = per_head % LANES == 0, gram_width = apart ? per_head : padded;
    const i64 pairs = (count + 1) / 2, q_row = (pairs + LANES - 1) / LANES * LANES;
    float *gram = w->sums + piece->number * w->sums_size, *squares = gram + channels * gram_width;
    int32_t *k = (int32_t *)scratch;
    float *made = scratch + 2 * padded * pairs;
    store(made + count * LANES, (vec){0});
    for (i64 c = 0; c < outputs; c += LANES) {
        vec square = load(squares + c);
#define TO_PAIRS(pixel, value) \
    do { \
        vec v_ = (value); \
        store(made + (pixel)*LANES, v_); \
        square += v_ * v_; \
    } while (0)
        DEPTHWISE(rows[0] + c, rows[1] + c, rows[2] + c, outputs, w->kernel + 9 * c, count, TO_PAIRS);
        store(squares + c, square);
        for (i64 pair = 0; pair < pairs; pair += LANES) {
            const i64 some = least(pairs - pair, LANES);
            ivec rounded[LANES] = {0}, rests[LANES] = {0};
            for (i64 i = 0; i < some; i++) {
                vec one = load(made + 2 * (pair + i) * LANES), other = load(made + (2 * (pair + i) + 1) * LANES);
                rounded[i] = take_pair(&one, &other);
                rests[i] = take_pair(&one, &other);
            }
            if (c < padded) {
                transpose(rounded);
                transpose(rests);
            }
            int32_t *to = c < padded ? q + c * q_row + pair : k + (c - padded) * pairs + pair * LANES;
            const i64 step = c < padded ? q_row : LANES, behind = padded * (c < padded ? q_row : pairs);
            for (i64 i = 0; i < (c < padded ? LANES : some); i++) {
                *(ivec *)(to + i * step) = rounded[i];
                *(ivec *)(to + i * step + behind) = rests[i];
            }
        }
    }
    const Split split = {3, 2 * padded * q_row, 2 * padded * pairs};
    const i64 at_once = apart ? per_head : channels;
    for (i64 first = 0; first < channels; first += at_once) {
        const Pointwise columns = {k + first * pairs, NULL, 2 * pairs, gram_width};
        float *block = gram + first * gram_width;
        multiply_tiles(&columns, split, at_once, (uint16_t *)(q + first * q_row), 2 * q_row, block, gram_width, block,
                       gram_width);
    }
}
#endif

/* sums: the Gram matrix of q's channels with k's, (C, gram_width), and the squares of both, (2, padded C).
Where heads are whole vectors a row holds its own head's columns, else all columns of the heads near it. */
static void sums_row(const Work *w, const Piece *piece, i64 y, float *const rows[3], void *a, float *scratch) {
    (void)y, (void)a;
#if HAS_TILES
    if (w->f->terms > 0 && diffir_tiles) {
        sums_row_by_tiles(w, piece, rows, a, scratch);
        return;
    }
#endif
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
        const int wide = wide_of((end - column) / LANES);
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
