// How a kernel walks along an array: four vectors at a time, and the rest with masked loads and stores, so that nothing
// behind the array is touched and an element's bits do not depend on whether it falls into a full vector.
#pragma once
#if defined(__clang__)
#define QN_UNROLL _Pragma("unroll")
#else
#define QN_UNROLL _Pragma("GCC unroll 16")
#endif

// w floats, 0 < w <= V_WIDTH; the other lanes are zero.
static inline v_float v_get(const float *p, size_t w) {
    return w == V_WIDTH ? v_load(p) : v_load_tail(p, w);
}
static inline void v_put(float *p, size_t w, v_float v) {
    if (w == V_WIDTH)
        v_store(p, v);
    else
        v_store_tail(p, v, w);
}

// Elements of one turn of the loop.
#define V_BLOCK (4 * V_WIDTH)

// Runs the statements for i = 0, V_WIDTH, 2 V_WIDTH, ... below n. They see u = 0 .. 3, the place in the block (a
// constant, so that arrays indexed by it stay in registers), and w, the number of elements at i.
#define V_EACH(n, ...)                                                                                                 \
    for (size_t block_ = 0; block_ < (n); block_ += V_BLOCK) {                                                         \
        if ((n)-block_ >= V_BLOCK) {                                                                                   \
            QN_UNROLL for (size_t u = 0; u < 4; u++) {                                                                 \
                const size_t i = block_ + u * V_WIDTH, w = V_WIDTH;                                                    \
                __VA_ARGS__                                                                                            \
            }                                                                                                          \
        } else {                                                                                                       \
            QN_UNROLL for (size_t u = 0; u < 4; u++) {                                                                 \
                const size_t i = block_ + u * V_WIDTH;                                                                 \
                if (i >= (n)) break;                                                                                   \
                const size_t w = (n)-i < V_WIDTH ? (n)-i : V_WIDTH;                                                    \
                __VA_ARGS__                                                                                            \
            }                                                                                                          \
        }                                                                                                              \
    }

// The sum over four partial vectors.
static inline float v_sum4(const v_float s[4]) {
    return v_sum(v_add(v_add(s[0], s[1]), v_add(s[2], s[3])));
}
