// Dropout. Philox needs 32 x 32 -> 64 bit products, so each counter has a 64-bit lane of its own; garbage in the upper
// halves is harmless, since products read the lower halves only. The bits are those of the reference on every
// instruction set.

// What a call needs: the least 16-bit number that keeps an element (65536: none), and the factor of kept ones.
typedef struct {
    uint64_t seed, stream;
    uint32_t threshold;
    v_float factor;
} v_dropout;

static inline v_dropout v_dropout_of(qn_dropout f) {
    return (v_dropout){f.seed, f.stream, qn_dropout_threshold(f.p), v_set1(qn_dropout_factor(f.p))};
}

// Bit e tells whether element e of the V_BLOCK elements that begin at `counter` is kept.
static inline uint64_t v_keep_bits(const v_dropout *f, uint64_t counter) {
    if (f->threshold > UINT16_MAX) return 0;
    v_int c0 = v_counters(counter), c1 = v_int_high(c0), c2 = v_int_set1(f->stream), c3 = v_int_high(c2);
    uint32_t k0 = (uint32_t)f->seed, k1 = (uint32_t)(f->seed >> 32);
    v_int m0 = v_int_set1(0xD2511F53u), m1 = v_int_set1(0xCD9E8D57u);
    QN_UNROLL for (int round = 0; round < 10; round++) {
        v_int p0 = v_int_product(m0, c0), p1 = v_int_product(m1, c2);
        c0 = v_int_xor3(v_int_high(p1), c1, v_int_set1(k0));
        c1 = p1;
        c2 = v_int_xor3(v_int_high(p0), c3, v_int_set1(k1));
        c3 = p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return v_reach_bits(v_int_join(c0, c1), v_int_join(c2, c3), (uint16_t)f->threshold);
}

// The values at place u of a block, whose bits are given, after dropout; lanes that are dropped become 0.
static inline v_float v_drop(const v_dropout *f, uint64_t bits, size_t u, v_float x) {
    return v_select(v_mask_of_bits((uint32_t)(bits >> (u * V_WIDTH))), v_mul(f->factor, x), v_zero());
}

void QN_V_NAME(dropout)(qn_dropout f, uint64_t counter, size_t n, const float *x, float *y, bool accumulate) {
    v_dropout drop = v_dropout_of(f);
    uint64_t bits = 0;
    if (accumulate) {
        V_EACH(n, {
            if (u == 0) bits = v_keep_bits(&drop, counter + i / 8);
            v_put(y + i, w, v_add(v_get(y + i, w), v_drop(&drop, bits, u, v_get(x + i, w))));
        });
    } else {
        V_EACH(n, {
            if (u == 0) bits = v_keep_bits(&drop, counter + i / 8);
            v_put(y + i, w, v_drop(&drop, bits, u, v_get(x + i, w)));
        });
    }
}
