// 16 floats at a time: conversions, exp, log and reductions in a fixed order. Needs AVX-512 (F, BW, DQ, VL) and BF16.
#pragma once

#include <immintrin.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace pw {

using bf16 = uint16_t;
using f32x16 = __m512;

inline int round_up(int value, int multiple) { return (value + multiple - 1) / multiple * multiple; }

inline __mmask16 first_lanes(int count) { return count >= 16 ? 0xFFFF : static_cast<__mmask16>((1u << count) - 1); }

inline float to_float(bf16 x) {
    const uint32_t bits = static_cast<uint32_t>(x) << 16;
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

// Rounds half to even; NaN stays NaN.
inline bf16 to_bf16(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    if ((bits & 0x7FFFFFFF) > 0x7F800000) return static_cast<bf16>((bits >> 16) | 0x40);
    return static_cast<bf16>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

inline __m256i to_bf16(f32x16 x) { return reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x)); }

inline f32x16 to_float(__m256i x) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16)); }

// e^x: range reduction by ln 2 in two parts and a polynomial of degree 6 (Cephes, Moshier 1989); about 1 ulp.
// Below -87.3 it gives 0, so -inf (a masked score) gives exactly 0.
inline f32x16 exp(f32x16 x) {
    const __mmask16 vanishing = _mm512_cmp_ps_mask(x, _mm512_set1_ps(-87.3f), _CMP_LT_OQ);
    x = _mm512_min_ps(x, _mm512_set1_ps(88.7f));
    const f32x16 n =
        _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    f32x16 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
    f32x16 p = _mm512_set1_ps(1.9875691500e-4f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.3981999507e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(8.3334519073e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(4.1665795894e-2f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.6666665459e-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.0000001201e-1f));
    p = _mm512_fmadd_ps(p, _mm512_mul_ps(r, r), _mm512_add_ps(r, _mm512_set1_ps(1.0f)));
    return _mm512_maskz_scalef_ps(static_cast<__mmask16>(~vanishing), p, n);
}

// ln x for positive, normal x: mantissa in [sqrt(1/2), sqrt 2) and a polynomial of degree 9 (Cephes); about 1 ulp.
inline f32x16 log(f32x16 x) {
    const f32x16 one = _mm512_set1_ps(1.0f);
    f32x16 m = _mm512_getmant_ps(x, _MM_MANT_NORM_p5_1, _MM_MANT_SIGN_src);
    f32x16 e = _mm512_add_ps(_mm512_getexp_ps(x), one);
    const __mmask16 low = _mm512_cmp_ps_mask(m, _mm512_set1_ps(0.707106781f), _CMP_LT_OQ);
    e = _mm512_mask_sub_ps(e, low, e, one);
    m = _mm512_mask_add_ps(m, low, m, m);
    m = _mm512_sub_ps(m, one);
    const f32x16 z = _mm512_mul_ps(m, m);
    f32x16 p = _mm512_set1_ps(7.0376836292e-2f);
    p = _mm512_fmadd_ps(p, m, _mm512_set1_ps(-1.1514610310e-1f));
    p = _mm512_fmadd_ps(p, m, _mm512_set1_ps(1.1676998740e-1f));
    p = _mm512_fmadd_ps(p, m, _mm512_set1_ps(-1.2420140846e-1f));
    p = _mm512_fmadd_ps(p, m, _mm512_set1_ps(1.4249322787e-1f));
    p = _mm512_fmadd_ps(p, m, _mm512_set1_ps(-1.6668057665e-1f));
    p = _mm512_fmadd_ps(p, m, _mm512_set1_ps(2.0000714765e-1f));
    p = _mm512_fmadd_ps(p, m, _mm512_set1_ps(-2.4999993993e-1f));
    p = _mm512_fmadd_ps(p, m, _mm512_set1_ps(3.3333331174e-1f));
    p = _mm512_mul_ps(p, _mm512_mul_ps(m, z));
    p = _mm512_fmadd_ps(e, _mm512_set1_ps(-2.12194440e-4f), p);
    p = _mm512_fnmadd_ps(_mm512_set1_ps(0.5f), z, p);
    return _mm512_fmadd_ps(e, _mm512_set1_ps(0.693359375f), _mm512_add_ps(m, p));
}

inline f32x16 sigmoid(f32x16 x) {
    const f32x16 one = _mm512_set1_ps(1.0f);
    return _mm512_div_ps(one, _mm512_add_ps(one, exp(_mm512_sub_ps(_mm512_setzero_ps(), x))));
}

// The sum of squares of a row, in an order that depends on its length alone.
inline float sum_of_squares(const float* x, int count) {
    f32x16 sums[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()};
    for (int i = 0, lane = 0; i < count; i += 16, lane = (lane + 1) & 3) {
        const f32x16 v = _mm512_maskz_loadu_ps(first_lanes(count - i), x + i);
        sums[lane] = _mm512_fmadd_ps(v, v, sums[lane]);
    }
    return _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(sums[0], sums[1]), _mm512_add_ps(sums[2], sums[3])));
}

inline float largest_magnitude(const float* x, int count) {
    f32x16 largest = _mm512_setzero_ps();
    for (int i = 0; i < count; i += 16)
        largest = _mm512_max_ps(largest, _mm512_abs_ps(_mm512_maskz_loadu_ps(first_lanes(count - i), x + i)));
    return _mm512_reduce_max_ps(largest);
}

// Symmetric int8 of a row; returns its scale (0 for a row of zeros).
inline float quantise_row(const float* x, int count, int8_t* out) {
    const float largest = largest_magnitude(x, count);
    const f32x16 inverse = _mm512_set1_ps(largest > 0.0f ? 127.0f / largest : 0.0f);
    for (int i = 0; i < count; i += 16) {
        const __mmask16 lanes = first_lanes(count - i);
        const __m512i rounded = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_maskz_loadu_ps(lanes, x + i), inverse));
        _mm_mask_storeu_epi8(out + i, lanes, _mm512_cvtsepi32_epi8(rounded));
    }
    return largest / 127.0f;
}

}  // namespace pw
