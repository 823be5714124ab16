/* The convolutions between blocks on a CPU, each with what follows it: a pixel shuffle beside the skipped
features, or the picture itself.

Features are float32, (frames, height, width, channels). A piece keeps as many rows of its input as the kernel is
high, ready for products; each row of the kernel is one product with overlapping rows of a matrix.
*/

#include "pieces.h"

/* taps: `size` matrices, one for each row of a square kernel, of size * channels inputs in the order of the
features, the first with the bias. x: (frames, height, width, channels), or of planes (frames, channels, height, width).
grid: of the output. In bytes size is 1, as one product of more spans pixels, whose scales differ, and channels are whole
vectors. */
typedef struct {
    const float *x;
    const Pointwise *taps;
    Grid grid;
    i64 height, width, channels, size, stride, padding, terms, planes;
} Convolution;

/* out: (frames, height, width, step) with the convolution's `channels` first, or shuffled: (frames, 2 height,
2 width, step), quarters of its channels at each corner of a pixel. skip, if any: what follows them there, (frames,
2 height, 2 width, step - channels / 4). */
typedef struct {
    Convolution convolution;
    float *out;
    const float *skip;
    i64 channels, step, shuffled;
} Stored;

/* The convolution's channels are 3 * unshuffle^2 of a picture and the logits of all pictures but the middle one.
lq: (frames, 3 * pictures, unshuffle * height, unshuffle * width). smoothed: whether the middle picture and the
mean of all take part too, averaged over 3x3, 1x5 and 5x1 pixels. out: (frames, 3, unshuffle * height, ...). */
typedef struct {
    Convolution convolution;
    const float *lq;
    float *out;
    i64 pictures, middle, unshuffle, smoothed;
} Blend;

enum { SMOOTHED = 6, MOST_SMOOTHING = 2 };

/* Floats that a row of a piece's input takes, with a vector beyond, as the last product may read over its end. Of
bfloat16 half of them are the row, and half its rests. */
static i64 row_floats(const Convolution *c) {
    return ((least(c->grid.columns, c->grid.width) - 1) * c->stride + c->size) * c->channels + 2 * LANES;
}

static i64 sums_floats(const Convolution *c) {
    return least(c->grid.columns, c->grid.width) * c->taps->outputs;
}

static i64 memory_floats(const Convolution *c) { return c->size * row_floats(c) + sums_floats(c); }

static void put_zeros(const Convolution *c, float *row, i64 from, i64 count) {
    if (!c->terms) memset(row + from, 0, count * sizeof(float));
    for (i64 part = 0; part < least(c->terms, 2); part++)
        memset((uint16_t *)row + part * row_floats(c) + from, 0, count * sizeof(uint16_t));
}

static void put_floats(const Convolution *c, float *row, i64 to, const float *x, i64 count) {
#if HAS_BYTES
    if (c->terms == IN_BYTES) {
        put_rows_in_bytes(x, count / c->channels, c->channels, row, row_floats(c));
        return;
    }
#endif
    if (!c->terms) {
        memcpy(row + to, x, count * sizeof(float));
        return;
    }
    i64 i = 0;
    for (; i + LANES <= count; i += LANES) put(row, to + i, load(x + i), c->terms, row_floats(c));
    if (i < count) {
        float tail[LANES] = {0};
        memcpy(tail, x + i, (count - i) * sizeof(float));
        put(row, to + i, load(tail), c->terms, row_floats(c));
    }
}

/* `count` pixels of planes as features. The last vector of a pixel reaches into the next one, whose first channels are
put after it, or beyond the row, which has room there. */
static void put_planes(const Convolution *c, float *row, i64 to, const float *x, i64 count) {
    const i64 plane = c->height * c->width;
    for (i64 group = (c->channels - 1) / LANES; group >= 0; group--) {
        const i64 first = group * LANES, channels = least(c->channels - first, LANES);
        for (i64 pixel = 0; pixel < count; pixel += LANES) {
            const i64 some = least(count - pixel, LANES);
            ivec rows[LANES] = {0};
#pragma GCC unroll 16
            for (i64 i = 0; i < LANES; i++)
                if (i < channels) rows[i] = (ivec)load_some(x + (first + i) * plane + pixel, some);
            transpose(rows);
            for (i64 p = 0; p < some; p++)
                put(row, to + (pixel + p) * c->channels + first, (vec)rows[p], c->terms, row_floats(c));
        }
    }
}

static void fill_row(const Convolution *c, const Piece *piece, i64 y, float *row) {
    const i64 left = piece->left * c->stride - c->padding;
    const i64 right = (piece->right - 1) * c->stride - c->padding + c->size;
    const i64 total = (right - left) * c->channels;
    if (y < 0 || y >= c->height) {
        put_zeros(c, row, 0, total + LANES);
        return;
    }
    const i64 from = most(left, 0), to = least(right, c->width), count = most(to - from, 0) * c->channels;
    const i64 before = (from - left) * c->channels;
    put_zeros(c, row, 0, before);
    if (count && c->planes) {
        const float *x = c->x + (piece->frame * c->channels * c->height + y) * c->width + from;
        for (i64 i = 0; i < c->channels && y + 1 < c->height; i++)
            fetch(x + (i * c->height + 1) * c->width, to - from);
        put_planes(c, row, before, x, to - from);
    } else if (count) {
        const float *x = c->x + ((piece->frame * c->height + y) * c->width + from) * c->channels;
        put_floats(c, row, before, x, count);
    }
    put_zeros(c, row, before + count, total - before - count + LANES);
}

typedef void UseRow(const void *task, const Piece *piece, i64 y, const float *sums, float *scratch);

/* Row after row of a piece of the output: (columns, outputs) sums, to be used at once. */
static void work_rows(const Convolution *c, UseRow *use, const void *task, const Piece *piece, float *memory) {
    const i64 row_size = row_floats(c), outputs = c->taps->outputs, count = piece->right - piece->left;
    float *sums = memory + c->size * row_size, *scratch = sums + sums_floats(c);
    i64 filled = piece->top * c->stride - c->padding;
    for (i64 y = piece->top; y < piece->bottom; y++) {
        const i64 top = y * c->stride - c->padding;
        for (; filled < top + c->size; filled++)
            fill_row(c, piece, filled, memory + (filled + c->size) % c->size * row_size);
        for (i64 k = 0; k < c->size; k++) {
            const float *row = memory + (top + k + c->size) % c->size * row_size;
            const float *init = k ? sums : c->taps->bias;
            multiply(c->taps + k, c->terms, count, row, c->stride * c->channels, row_size, init, k ? outputs : 0,
                     sums, outputs);
        }
        use(task, piece, y, sums, scratch);
    }
}

/* ---- features ---- */

static void store_row(const void *task, const Piece *piece, i64 y, const float *sums, float *scratch) {
    (void)scratch;
    const Stored *s = task;
    const Grid *g = &s->convolution.grid;
    const i64 outputs = s->convolution.taps->outputs, corners = s->shuffled ? 2 : 1;
    const i64 channels = s->channels / (corners * corners), skipped = s->skip ? s->step - channels : 0;
    for (i64 x = piece->left; x < piece->right; x++, sums += outputs)
        for (i64 i = 0; i < corners; i++) {
            const i64 pixel = ((piece->frame * g->height + y) * corners + i) * g->width * corners + x * corners;
            for (i64 j = 0; j < corners; j++) {
                float *out = s->out + (pixel + j) * s->step;
                memcpy(out, sums + (i * corners + j) * channels, channels * sizeof(float));
                if (skipped) memcpy(out + channels, s->skip + (pixel + j) * skipped, skipped * sizeof(float));
            }
        }
}

static void store_piece(const void *task, const Piece *piece, float *memory) {
    const Stored *s = task;
    work_rows(&s->convolution, store_row, s, piece, memory);
}

int diffir_convolve(const Stored *s) {
    return work_pieces(&s->convolution.grid, store_piece, s, memory_floats(&s->convolution));
}

/* ---- pictures ---- */

static i64 blended(const Blend *b) { return b->pictures + (b->smoothed ? SMOOTHED : 0); }

/* Rows of a piece, in pixels, with what smoothing reads beside it; whole vectors fit. */
static i64 pixel_floats(const Blend *b) {
    const Grid *g = &b->convolution.grid;
    return (least(g->columns, g->width) * b->unshuffle + 2 * MOST_SMOOTHING + 2 * LANES) / LANES * LANES;
}

/* Each cell's weights: the softmax of its logits, the middle picture's being 0; (blended, pixels). */
static void weigh(const Blend *b, i64 cells, const float *sums, float *weights, float *logits) {
    const i64 count = blended(b), outputs = b->convolution.taps->outputs, row = pixel_floats(b);
    const i64 first = 3 * b->unshuffle * b->unshuffle;
    for (i64 n = 0; n < count; n++) {
        const float *of_picture = sums + first + n - (n > b->middle);
        for (i64 x = 0; x < cells; x++) logits[n * row + x] = n == b->middle ? 0 : of_picture[x * outputs];
    }
    for (i64 x = 0; x < cells; x += LANES) {
        vec highest = load(logits + x), total = {0};
        for (i64 n = 1; n < count; n++) {
            const vec logit = load(logits + n * row + x);
            const ivec higher = logit > highest;
            highest = (vec)(((ivec)logit & higher) | ((ivec)highest & ~higher));
        }
        for (i64 n = 0; n < count; n++) {
            const vec weight = exponential(load(logits + n * row + x) - highest);
            store(logits + n * row + x, weight);
            total += weight;
        }
        for (i64 n = 0; n < count; n++) store(logits + n * row + x, load(logits + n * row + x) / total);
    }
    for (i64 n = 0; n < count; n++)
        for (i64 x = 0; x < cells; x++)
            for (i64 j = 0; j < b->unshuffle; j++) weights[n * row + x * b->unshuffle + j] = logits[n * row + x];
}

/* What smoothing needs of one row, summed over pictures, from MOST_SMOOTHING pixels left of a piece on: the row, and
it with one and two neighbours above and below. Outside the frame all is 0. */
typedef struct {
    float *at, *three, *five;
} Smoothing;

INLINE void add_row(float *restrict sum, const float *restrict x, i64 count) {
    for (i64 i = 0; i < count; i++) sum[i] += x[i];
}

static void gather(const Blend *b, const Piece *piece, i64 channel, i64 y, i64 picture, const Smoothing *s) {
    const Grid *g = &b->convolution.grid;
    const i64 height = g->height * b->unshuffle, width = g->width * b->unshuffle;
    const i64 left = piece->left * b->unshuffle - MOST_SMOOTHING;
    const i64 from = most(left, 0), to = least(piece->right * b->unshuffle + MOST_SMOOTHING, width);
    const i64 plane = (piece->frame * b->pictures + picture) * 3 + channel, before = from - left;
    for (i64 row = most(y - 2, 0); row <= least(y + 2, height - 1); row++) {
        const float *x = b->lq + (plane * height + row) * width + from;
        add_row(s->five + before, x, to - from);
        if (row - y < 2 && y - row < 2) add_row(s->three + before, x, to - from);
        if (row == y) add_row(s->at + before, x, to - from);
    }
}

/* How many of `size` neighbours there are. */
INLINE i64 neighbours(i64 at, i64 length, i64 size) {
    return least(at + size / 2, length - 1) - most(at - size / 2, 0) + 1;
}

/* weights: of a picture's three smoothed ones. third, fifth: over how many pixels up and down. */
static void add_smoothed(const Smoothing *s, i64 count, i64 row, const float *weights, const float *thirds,
                         const float *fifths, float third, float fifth, float share, float *restrict out) {
    const float *restrict square = weights, *restrict flat = weights + row, *restrict upright = flat + row;
    const float *restrict at = s->at, *restrict three = s->three, *restrict five = s->five;
    for (i64 x = 0; x < count; x++) {
        const float across = at[x] + at[x + 1] + at[x + 2] + at[x + 3] + at[x + 4];
        const float around = three[x + 1] + three[x + 2] + three[x + 3];
        out[x] += square[x] * (around * (thirds[x] * third)) + flat[x] * (across * (fifths[x] * share)) +
                  upright[x] * (five[x + 2] * fifth);
    }
}

typedef struct {
    float *weights, *logits, *thirds, *fifths, *out;
    Smoothing smoothing;
} Scratch;

static Scratch scratch_of(const Blend *b, float *memory) {
    const i64 row = pixel_floats(b);
    float *thirds = memory + 2 * blended(b) * row;
    const Smoothing smoothing = {thirds + 3 * row, thirds + 4 * row, thirds + 5 * row};
    return (Scratch){memory, memory + blended(b) * row, thirds, thirds + row, thirds + 2 * row, smoothing};
}

static void smooth_row(const Blend *b, const Piece *piece, i64 channel, i64 y, const Scratch *m) {
    const i64 row = pixel_floats(b), count = (piece->right - piece->left) * b->unshuffle;
    const i64 height = b->convolution.grid.height * b->unshuffle;
    const float third = 1.f / neighbours(y, height, 3), fifth = 1.f / neighbours(y, height, 5);
    const float share = 1.f / b->pictures, *first = m->weights + b->pictures * row;
    memset(m->smoothing.at, 0, 3 * row * sizeof(float));
    gather(b, piece, channel, y, b->middle, &m->smoothing);
    add_smoothed(&m->smoothing, count, row, first, m->thirds, m->fifths, third, fifth, 1, m->out);
    for (i64 picture = 0; picture < b->pictures; picture++)
        if (picture != b->middle) gather(b, piece, channel, y, picture, &m->smoothing);
    add_smoothed(&m->smoothing, count, row, first + 3 * row, m->thirds, m->fifths, third * share, fifth * share,
                 share, m->out);
}

INLINE void add_weighted(float *restrict out, const float *restrict x, const float *restrict weights, i64 count) {
    for (i64 i = 0; i < count; i++) out[i] += x[i] * weights[i];
}

static void picture_row(const void *task, const Piece *piece, i64 y, const float *sums, float *memory) {
    const Blend *b = task;
    const Scratch m = scratch_of(b, memory);
    const i64 cells = piece->right - piece->left, row = pixel_floats(b), step = b->unshuffle;
    const i64 outputs = b->convolution.taps->outputs, count = cells * step, left = piece->left * step;
    const i64 height = b->convolution.grid.height * step, width = b->convolution.grid.width * step;
    weigh(b, cells, sums, m.weights, m.logits);
    for (i64 x = 0; y == piece->top && x < count; x++) {
        m.thirds[x] = 1.f / neighbours(left + x, width, 3);
        m.fifths[x] = 1.f / neighbours(left + x, width, 5);
    }
    for (i64 i = 0; i < step; i++)
        for (i64 channel = 0; channel < 3; channel++) {
            const i64 at = y * step + i;
            for (i64 x = 0; x < cells; x++)
                for (i64 j = 0; j < step; j++)
                    m.out[x * step + j] = sums[x * outputs + (channel * step + i) * step + j];
            for (i64 picture = 0; picture < b->pictures; picture++) {
                const i64 plane = (piece->frame * b->pictures + picture) * 3 + channel;
                add_weighted(m.out, b->lq + (plane * height + at) * width + left, m.weights + picture * row, count);
            }
            if (b->smoothed) smooth_row(b, piece, channel, at, &m);
            memcpy(b->out + ((piece->frame * 3 + channel) * height + at) * width + left, m.out,
                   count * sizeof(float));
        }
}

static void picture_piece(const void *task, const Piece *piece, float *memory) {
    const Blend *b = task;
    work_rows(&b->convolution, picture_row, b, piece, memory);
}

int diffir_blend(const Blend *b) {
    const i64 floats = memory_floats(&b->convolution) + (2 * blended(b) + 6) * pixel_floats(b);
    return work_pieces(&b->convolution.grid, picture_piece, b, floats);
}
