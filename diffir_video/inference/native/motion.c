/* Where each block of a frame comes from in its neighbours, and the neighbours moved there.

All of it is in integers up to the moving itself, and equal to network/motion.py, which says what is done and why.
*/

#include "pieces.h"

enum {
    MARGIN_OF_THREE = 40,
    MARGIN_OF_FOUR = 80,
    LARGE = 1 << 20,
    MOST_LEVELS = 4,
    PHASES = 4,
    SEARCHED = 7,
    SMOOTHNESS = 32,
    INTERPOLATED = 64,
    TAPS = 6,
    BLOCK = 8,
};

/* On each level, finest first. */
static const int STILLNESS[MOST_LEVELS] = {128, 256, 128, 128};

/* Pictures, (3, height, width) float each, and their pyramids, of diffir_pyramid_bytes. */
typedef struct {
    const float *const *pictures;
    uint8_t *const *pyramids;
    i64 count, height, width, threads;
} Pictures;

/* The pictures of a window, of which the one called middle stays. memory: of diffir_search_bytes. vectors:
(count - 1, rows, columns, 2) for the others, the row and the column of a block there less those here, in halves of a
pixel. out: (count, 3, height, width). */
typedef struct {
    Pictures of;
    i64 middle;
    uint8_t *memory;
    int16_t *vectors;
    float *out;
} Window;

/* A level of the pyramid: its size, its blocks and where its parts lie in a picture's memory. */
typedef struct {
    i64 height, width, margin, stride, block, rows, columns;
    int stillness;
    i64 plain, padded, padded_bytes, found;
} Level;

typedef struct {
    Level levels[MOST_LEVELS];
    i64 count, picture_bytes, pair_bytes;
} Pyramid;

static Pyramid pyramid_of(i64 height, i64 width) {
    Pyramid p = {.count = height * width > LARGE ? 4 : 3};
    const i64 margin = p.count > 3 ? MARGIN_OF_FOUR : MARGIN_OF_THREE;
    for (i64 n = 0; n < p.count; n++) {
        Level *l = p.levels + n;
        *l = (Level){.height = height, .width = width, .margin = margin};
        l->block = n < 2 ? BLOCK : BLOCK / 2;
        l->stillness = STILLNESS[n];
        l->rows = (height + l->block - 1) / l->block;
        l->columns = (width + l->block - 1) / l->block;
        /* Windows of the last blocks reach past the picture by a block and half of one. */
        l->stride = width + 2 * margin + BLOCK;
        l->padded_bytes = l->stride * (height + 2 * margin + BLOCK);
        l->plain = p.picture_bytes;
        l->padded = l->plain + height * width;
        p.picture_bytes = l->padded + l->padded_bytes * (n ? 1 : PHASES);
        l->found = p.pair_bytes;
        p.pair_bytes += (l->rows * l->columns * 2 * (i64)sizeof(int16_t) + 63) / 64 * 64;
        height = (height + 1) / 2;
        width = (width + 1) / 2;
    }
    return p;
}

i64 diffir_pyramid_bytes(i64 height, i64 width) { return pyramid_of(height, width).picture_bytes; }

i64 diffir_search_bytes(i64 others, i64 height, i64 width) { return others * pyramid_of(height, width).pair_bytes; }

/* ---- pyramids ---- */

INLINE int to_byte(float x) {
    const float level = __builtin_rintf(x * 255.0f);
    return level > 0 ? (level < 255 ? (int)level : 255) : 0;
}

static void put_luma(const float *rgb, i64 plane, i64 count, uint8_t *out) {
    for (i64 i = 0; i < count; i++)
        out[i] = (54 * to_byte(rgb[i]) + 183 * to_byte(rgb[plane + i]) + 19 * to_byte(rgb[2 * plane + i]) + 128) >> 8;
}

static void put_half(const uint8_t *x, i64 height, i64 width, uint8_t *out) {
    for (i64 y = 0; y < (height + 1) / 2; y++) {
        const uint8_t *upper = x + 2 * y * width, *lower = x + least(2 * y + 1, height - 1) * width;
        uint8_t *to = out + y * ((width + 1) / 2);
        for (i64 c = 0; c < width / 2; c++)
            to[c] = (upper[2 * c] + upper[2 * c + 1] + lower[2 * c] + lower[2 * c + 1] + 2) >> 2;
        if (width % 2) to[width / 2] = (2 * upper[width - 1] + 2 * lower[width - 1] + 2) >> 2;
    }
}

/* Four taps of 64 in all. */
INLINE int filtered(int phase, int a, int b, int c, int d) {
    return phase ? 5 * (a + d) + 27 * (b + c) : 16 * (a + c) + 32 * b;
}

static i64 within(i64 i, i64 length) { return i < 0 ? 0 : i < length ? i : length - 1; }

/* A row of the padded picture, `out`, smoothed or between pixels; rows: four of the picture's, of sums of 64. */
static void put_padded(const Level *l, const uint8_t *plain, int phase, uint8_t *out, uint16_t *rows, uint8_t *wide) {
    const i64 m = l->margin, total = l->stride, height = l->height, width = l->width;
    for (i64 y = 0; y < l->height + 2 * m + BLOCK; y++) {
        /* Three of the four are there from the row above. */
        for (i64 k = y ? 3 : 0; k < 4; k++) {
            const i64 row = y - m - 1 + k;
            uint16_t *sums = rows + (y + k) % 4 * total;
            const uint8_t *from = plain + within(row, height) * width;
            memset(wide, from[0], m + 1);
            memcpy(wide + m + 1, from, width);
            memset(wide + m + 1 + width, from[width - 1], total - m - width + 3);
            if (phase & 1)
                for (i64 x = 0; x < total; x++) sums[x] = filtered(1, wide[x], wide[x + 1], wide[x + 2], wide[x + 3]);
            else
                for (i64 x = 0; x < total; x++) sums[x] = filtered(0, wide[x], wide[x + 1], wide[x + 2], 0);
        }
        const uint16_t *a = rows + y % 4 * total, *b = rows + (y + 1) % 4 * total;
        const uint16_t *c = rows + (y + 2) % 4 * total, *d = rows + (y + 3) % 4 * total;
        uint8_t *to = out + y * total;
        if (phase & 2)
            for (i64 x = 0; x < total; x++) to[x] = (filtered(1, a[x], b[x], c[x], d[x]) + 2048) >> 12;
        else
            for (i64 x = 0; x < total; x++) to[x] = (filtered(0, a[x], b[x], c[x], 0) + 2048) >> 12;
    }
}

typedef struct {
    const Pictures *of;
    Pyramid pyramid;
} Building;

static void put_lumas(const void *task, const Piece *piece, float *memory) {
    (void)memory;
    const Building *b = task;
    const i64 first = piece->top * b->of->width, count = (piece->bottom - piece->top) * b->of->width;
    uint8_t *to = b->of->pyramids[piece->frame] + b->pyramid.levels[0].plain;
    put_luma(b->of->pictures[piece->frame] + first, b->of->height * b->of->width, count, to + first);
}

static void put_halves(const void *task, const Piece *piece, float *memory) {
    (void)memory;
    const Building *b = task;
    uint8_t *to = b->of->pyramids[piece->frame];
    for (i64 n = 1; n < b->pyramid.count; n++) {
        const Level *l = b->pyramid.levels + n;
        put_half(to + l[-1].plain, l[-1].height, l[-1].width, to + l->plain);
    }
}

/* A row of the grid is a phase of the finest level, or one of the others. */
static void put_smoothed(const void *task, const Piece *piece, float *memory) {
    const Building *b = task;
    const i64 level = most(piece->top - PHASES + 1, 0), phase = level ? 0 : piece->top;
    const Level *l = b->pyramid.levels + level;
    uint8_t *to = b->of->pyramids[piece->frame];
    uint16_t *rows = (uint16_t *)memory;
    put_padded(l, to + l->plain, (int)phase, to + l->padded + phase * l->padded_bytes, rows,
               (uint8_t *)(rows + 4 * l->stride));
}

int diffir_put_pyramids(const Pictures *of) {
    const Building b = {.of = of, .pyramid = pyramid_of(of->height, of->width)};
    const Grid rows = {of->count, of->height, 1, 1, 32, of->threads};
    const Grid whole = {of->count, 1, 1, 1, 1, of->threads};
    const Grid parts = {of->count, PHASES + b.pyramid.count - 1, 1, 1, 1, of->threads};
    int failure = work_pieces(&rows, put_lumas, &b, 1);
    if (!failure) failure = work_pieces(&whole, put_halves, &b, 1);
    return failure ? failure : work_pieces(&parts, put_smoothed, &b, 3 * b.pyramid.levels[0].stride);
}

/* ---- search ---- */

typedef struct {
    const Window *window;
    Pyramid pyramid;
    i64 level;
} Search;

static int16_t *found(const Search *s, i64 pair, i64 level) {
    return (int16_t *)(s->window->memory + pair * s->pyramid.pair_bytes + s->pyramid.levels[level].found);
}

/* here: window x window, one row after the other, so that vectors hold several. there: where those are if nothing
moves. */
typedef struct {
    uint8_t here[4 * BLOCK * BLOCK];
    const uint8_t *there;
    i64 stride;
    int row, column, likely_row, likely_column, cost, stillness;
} Match;

INLINE int difference(const int window, const Match *m, const uint8_t *there) {
    int sum = 0;
    for (int y = 0; y < window; y++)
        for (int x = 0; x < window; x++) sum += abs(m->here[y * window + x] - there[y * m->stride + x]);
    return sum;
}

INLINE int accept(Match *m, int row, int column, int cost) {
    if (cost < m->cost) {
        m->row = row;
        m->column = column;
        m->cost = cost;
    }
    return cost;
}

INLINE int consider(const int window, Match *m, int row, int column) {
    const int is_moved = row || column, is_odd = row != m->likely_row || column != m->likely_column;
    const int sum = difference(window, m, m->there + row * m->stride + column);
    return accept(m, row, column, sum + (sum * (m->stillness * is_moved + SMOOTHNESS * is_odd) >> 10));
}

/* A vector's four neighbours, and of its diagonal ones that between the better two. */
INLINE void consider_next(const int window, Match *m) {
    const int row = m->row, column = m->column;
    const int up = consider(window, m, row - 1, column), down = consider(window, m, row + 1, column);
    const int left = consider(window, m, row, column - 1), right = consider(window, m, row, column + 1);
    consider(window, m, row + (down < up ? 1 : -1), column + (right < left ? 1 : -1));
}

/* All vectors around none, whose differences are over windows of BLOCK x BLOCK. */
INLINE void search_widely(Match *m) {
    consider(BLOCK, m, 0, 0);
#if defined(__AVX2__)
    for (int row = -SEARCHED; row <= SEARCHED; row++) {
        __m256i sums = _mm256_setzero_si256();
        for (int y = 0; y < BLOCK; y++) {
            const uint8_t *there = m->there + (row + y) * m->stride;
            const __m256i a = _mm256_broadcastq_epi64(_mm_loadl_epi64((const __m128i *)(m->here + y * BLOCK)));
            const __m128i left = _mm_loadu_si128((const __m128i *)(there - SEARCHED));
            const __m128i right = _mm_loadu_si128((const __m128i *)(there + 1));
            const __m256i b = _mm256_set_m128i(right, left);
            sums = _mm256_add_epi16(sums, _mm256_mpsadbw_epu8(b, a, 0));
            sums = _mm256_add_epi16(sums, _mm256_mpsadbw_epu8(b, a, 0b101101));
        }
        /* The first of the least; one column beyond the search doesn't count. */
        const __m128i beyond = _mm_set_epi16(-1, 0, 0, 0, 0, 0, 0, 0);
        const int left = _mm_cvtsi128_si32(_mm_minpos_epu16(_mm256_castsi256_si128(sums)));
        const int right = _mm_cvtsi128_si32(_mm_minpos_epu16(_mm_or_si128(_mm256_extracti128_si256(sums, 1), beyond)));
        const int is_right = (right & 0xffff) < (left & 0xffff), best = is_right ? right : left;
        consider(BLOCK, m, row, (best >> 16 & 7) + (is_right ? 1 : -SEARCHED));
    }
#else
    for (int row = -SEARCHED; row <= SEARCHED; row++)
        for (int column = -SEARCHED; column <= SEARCHED; column++) consider(BLOCK, m, row, column);
#endif
}

INLINE void search_block(const int window, const Search *s, Match *m, i64 pair, i64 row, i64 column) {
    m->cost = INT32_MAX;
    if (s->level == s->pyramid.count - 1) {
        search_widely(m);
        return;
    }
    const Level *l = s->pyramid.levels + s->level, *above = l + 1;
    const int16_t *guesses = found(s, pair, s->level + 1);
    const i64 size = 2 * above->block;
    const i64 y = (2 * row + 1) * l->block / 2 / size, x = (2 * column + 1) * l->block / 2 / size;
    static const int steps[5][2] = {{0, 0}, {0, 1}, {0, -1}, {1, 0}, {-1, 0}};
    int ways[5][2];
    for (int k = 0; k < 5; k++) {
        const i64 v = within(y + steps[k][0], above->rows), u = within(x + steps[k][1], above->columns);
        for (int i = 0; i < 2; i++) ways[k][i] = 2 * guesses[2 * (v * above->columns + u) + i];
    }
    m->likely_row = ways[0][0];
    m->likely_column = ways[0][1];
    consider(window, m, 0, 0);
    for (int k = 0; k < 5; k++)
        if (!k || ways[k][0] != ways[0][0] || ways[k][1] != ways[0][1]) consider(window, m, ways[k][0], ways[k][1]);
    consider_next(window, m);
}

/* In halves of a pixel. */
INLINE int consider_between(const Level *l, Match *m, int row, int column) {
    const uint8_t *there = m->there + ((column & 1) + 2 * (row & 1)) * l->padded_bytes;
    const int sum = difference(2 * BLOCK, m, there + (row >> 1) * m->stride + (column >> 1));
    return accept(m, row, column, sum + (sum * (INTERPOLATED * ((column & 1) + (row & 1))) >> 10));
}

/* As consider_next, half a pixel away; what was found counts for its differences alone. */
static void refine_by_halves(const Level *l, Match *m) {
    const int row = m->row *= 2, column = m->column *= 2;
    m->cost = INT32_MAX;
    consider_between(l, m, row, column);
    const int up = consider_between(l, m, row - 1, column), down = consider_between(l, m, row + 1, column);
    const int left = consider_between(l, m, row, column - 1), right = consider_between(l, m, row, column + 1);
    consider_between(l, m, row + (down < up ? 1 : -1), column + (right < left ? 1 : -1));
}

static void search_row(const void *task, const Piece *piece, float *memory) {
    (void)memory;
    const Search *s = task;
    const Window *w = s->window;
    const Level *l = s->pyramid.levels + s->level;
    const i64 pair = piece->frame, other = pair + (pair >= w->middle);
    const uint8_t *here = w->of.pyramids[w->middle] + l->padded, *there = w->of.pyramids[other] + l->padded;
    for (i64 row = piece->top; row < piece->bottom; row++)
        for (i64 column = 0; column < l->columns; column++) {
            const i64 y = row * l->block - l->block / 2 + l->margin, x = column * l->block - l->block / 2 + l->margin;
            const i64 first = y * l->stride + x, window = 2 * l->block;
            Match m;
            for (i64 k = 0; k < window; k++) memcpy(m.here + k * window, here + first + k * l->stride, window);
            m.there = there + first;
            m.stride = l->stride;
            m.likely_row = m.likely_column = 0;
            m.stillness = l->stillness;
            if (l->block == BLOCK) search_block(2 * BLOCK, s, &m, pair, row, column);
            else search_block(BLOCK, s, &m, pair, row, column);
            if (!s->level) refine_by_halves(l, &m);
            int16_t *to = s->level ? found(s, pair, s->level) + 2 * (row * l->columns + column)
                                   : w->vectors + 2 * ((pair * l->rows + row) * l->columns + column);
            to[0] = (int16_t)m.row;
            to[1] = (int16_t)m.column;
        }
}

int diffir_find_motion(const Window *w) {
    Search s = {.window = w, .pyramid = pyramid_of(w->of.height, w->of.width)};
    int failure = OK;
    for (s.level = s.pyramid.count - 1; s.level >= 0 && !failure; s.level--) {
        const Grid blocks = {w->of.count - 1, s.pyramid.levels[s.level].rows, 1, 1, 4, w->of.threads};
        failure = work_pieces(&blocks, search_row, &s, 1);
    }
    return failure;
}

/* ---- moving ---- */

static const float HALFWAY[TAPS] = {1 / 32.0f, -5 / 32.0f, 20 / 32.0f, 20 / 32.0f, -5 / 32.0f, 1 / 32.0f};

enum { REACH = 2, TALLEST = BLOCK + TAPS - 1 };

/* `height` rows of `width` pixels, halfway to the next row or column if odd. rows: room for TALLEST * width. */
INLINE void move_pixels(const float *x, i64 stride, i64 height, i64 width, const int odd_row, const int odd_column,
                        float *rows, float *out, i64 out_stride) {
    const i64 above = odd_row ? REACH : 0, count = odd_row ? height + TAPS - 1 : height;
    const float *from = x - above * stride;
    i64 from_stride = stride;
    if (odd_column) {
        float *to = odd_row ? rows : out;
        const i64 to_stride = odd_row ? width : out_stride;
        for (i64 y = 0; y < count; y++)
            for (i64 c = 0; c < width; c++) {
                float sum = 0;
                for (int k = 0; k < TAPS; k++) sum += HALFWAY[k] * from[y * stride + c + k - REACH];
                to[y * to_stride + c] = sum;
            }
        if (!odd_row) return;
        from = rows;
        from_stride = width;
    }
    for (i64 y = 0; y < height; y++) {
        if (!odd_row) {
            memcpy(out + y * out_stride, from + y * from_stride, width * sizeof(float));
            continue;
        }
        for (i64 c = 0; c < width; c++) {
            float sum = 0;
            for (int k = 0; k < TAPS; k++) sum += HALFWAY[k] * from[(y + k) * from_stride + c];
            out[y * out_stride + c] = sum;
        }
    }
}

static void move_any(const float *x, i64 stride, i64 height, i64 width, const int16_t *vector, float *rows, float *out,
                     i64 out_stride) {
    const int odd_row = vector[0] & 1, odd_column = vector[1] & 1;
    if (odd_row && odd_column) move_pixels(x, stride, height, width, 1, 1, rows, out, out_stride);
    else if (odd_row) move_pixels(x, stride, height, width, 1, 0, rows, out, out_stride);
    else if (odd_column) move_pixels(x, stride, height, width, 0, 1, rows, out, out_stride);
    else move_pixels(x, stride, height, width, 0, 0, rows, out, out_stride);
}

/* `count` pixels of a row from x on, the outermost ones beyond its ends. */
static void put_extended(const float *row, i64 width, i64 x, i64 count, float *out) {
    const i64 before = least(most(-x, 0), count), after = least(most(x + count - width, 0), count);
    for (i64 c = 0; c < before; c++) out[c] = row[0];
    if (before + after < count) memcpy(out + before, row + x + before, (count - before - after) * sizeof(float));
    for (i64 c = count - after; c < count; c++) out[c] = row[width - 1];
}

/* A row of blocks that one vector moves. patch: for what reaches beyond the picture. */
static void move_run(const Window *w, i64 picture, i64 row, i64 first, i64 last, const int16_t *vector, float *patch) {
    const i64 height = w->of.height, width = w->of.width, plane = height * width;
    const i64 top = row * BLOCK, left = first * BLOCK;
    const i64 tall = least(BLOCK, height - top), wide = least(last * BLOCK, width) - left;
    const i64 y = top + (vector[0] >> 1), x = left + (vector[1] >> 1), stride = wide + TAPS - 1;
    const i64 above = vector[0] & 1 ? REACH : 0, below = vector[0] & 1 ? TAPS - 1 - REACH : 0;
    const i64 before = vector[1] & 1 ? REACH : 0, after = vector[1] & 1 ? TAPS - 1 - REACH : 0;
    const int is_inside = y >= above && x >= before && y + tall + below <= height && x + wide + after <= width;
    float *rows = patch + TALLEST * stride;
    for (int i = 0; i < 3; i++) {
        const float *from = w->of.pictures[picture] + i * plane;
        float *to = w->out + (picture * 3 + i) * plane + top * width + left;
        if (is_inside) {
            move_any(from + y * width + x, width, tall, wide, vector, rows, to, width);
            continue;
        }
        for (i64 v = 0; v < tall + TAPS - 1; v++)
            put_extended(from + within(y + v - REACH, height) * width, width, x - REACH, stride, patch + v * stride);
        move_any(patch + REACH * stride + REACH, stride, tall, wide, vector, rows, to, width);
    }
}

static void move_rows(const void *task, const Piece *piece, float *memory) {
    static const int16_t still[2] = {0, 0};
    const Window *w = task;
    const i64 rows = (w->of.height + BLOCK - 1) / BLOCK, columns = (w->of.width + BLOCK - 1) / BLOCK;
    const i64 picture = piece->frame, pair = picture - (picture > w->middle);
    for (i64 row = piece->top; row < piece->bottom; row++) {
        if (picture == w->middle) {
            move_run(w, picture, row, 0, columns, still, memory);
            continue;
        }
        const int16_t *vectors = w->vectors + 2 * (pair * rows + row) * columns;
        for (i64 first = 0, last; first < columns; first = last) {
            const int16_t *v = vectors + 2 * first;
            for (last = first + 1; last < columns && !memcmp(v, vectors + 2 * last, 2 * sizeof *v);) last++;
            move_run(w, picture, row, first, last, v, memory);
        }
    }
}

int diffir_move(const Window *w) {
    const Grid grid = {w->of.count, (w->of.height + BLOCK - 1) / BLOCK, 1, 1, 8, w->of.threads};
    return work_pieces(&grid, move_rows, w, 2 * TALLEST * (w->of.width + TAPS));
}
