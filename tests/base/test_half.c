// The 16-bit formats, exhaustively: every half against its definition, and the rounding of float32 against exact
// arithmetic in double.
#include "support.h"
#include "base/half.h"
#include <math.h>

static double f16_by_definition(uint16_t half) {
    int exponent = half >> 10 & 31, mantissa = half & 1023;
    double value = exponent == 0    ? ldexp(mantissa, -24)
                   : exponent == 31 ? (mantissa == 0 ? INFINITY : NAN)
                                    : ldexp(1024 + mantissa, exponent - 25);
    return half & 0x8000 ? -value : value;
}

static void test_every_half(void **state) {
    (void)state;
    for (uint32_t i = 0; i < 65536; i++) {
        uint16_t half = (uint16_t)i;
        double expected = f16_by_definition(half);
        float value = qn_f16_to_f32(half);
        if (isnan(expected)) {
            assert_true(isnan(value));
            uint16_t back = qn_f32_to_f16(value);
            assert_true((back & 0x7FFF) > 0x7C00);
        } else {
            assert_true(value == expected && !signbit(value) == !(half & 0x8000));
            assert_int_equal(qn_f32_to_f16(value), half);
        }
        float brain = qn_bf16_to_f32(half);
        if (isnan(brain)) {
            assert_true((qn_f32_to_bf16(brain) & 0x7FFF) > 0x7F80);
        } else {
            assert_int_equal(qn_f32_to_bf16(brain), half);
        }
    }
}

// Between each two neighbours: what is below the middle goes down, above it up, and the middle to the even one.
static void test_rounding_to_nearest_even(void **state) {
    (void)state;
    for (uint16_t half = 0; half < 0x7BFF; half++) {
        double low = f16_by_definition(half), high = f16_by_definition((uint16_t)(half + 1));
        float middle = (float)((low + high) / 2);
        assert_int_equal(qn_f32_to_f16(nextafterf(middle, 0)), half);
        assert_int_equal(qn_f32_to_f16(middle), half + (half & 1));
        assert_int_equal(qn_f32_to_f16(nextafterf(middle, INFINITY)), half + 1);
        assert_int_equal(qn_f32_to_f16(-middle), 0x8000 | (half + (half & 1)));
    }
    assert_int_equal(qn_f32_to_f16(65519.996f), 0x7BFF); // the largest that is finite
    assert_int_equal(qn_f32_to_f16(65520.0f), 0x7C00);
    assert_int_equal(qn_f32_to_f16(1e30f), 0x7C00);
    assert_int_equal(qn_f32_to_f16(-INFINITY), 0xFC00);
    assert_int_equal(qn_f32_to_f16(1e-45f), 0);
    for (uint16_t half = 0; half < 0x7F7F; half++) {
        float middle = qn_float_from_bits((uint32_t)half << 16 | 0x8000);
        assert_int_equal(qn_f32_to_bf16(qn_float_from_bits((uint32_t)half << 16 | 0x7FFF)), half);
        assert_int_equal(qn_f32_to_bf16(middle), half + (half & 1));
        assert_int_equal(qn_f32_to_bf16(qn_float_from_bits((uint32_t)half << 16 | 0x8001)), half + 1);
    }
    assert_int_equal(qn_f32_to_bf16(3.4028235e38f), 0x7F80);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_half),
        cmocka_unit_test(test_rounding_to_nearest_even),
    };
    return cmocka_run_group_tests_name("base_half", tests, NULL, NULL);
}
