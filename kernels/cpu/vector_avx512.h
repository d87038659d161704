// 16 floats or integers at a time by AVX-512 (F, BW, DQ, VL) and BF16: one register each.
#pragma once

#include <immintrin.h>

#include "numbers.h"

namespace pw {

using f32x16 = __m512;
using i32x16 = __m512i;

inline f32x16 zeros() { return _mm512_setzero_ps(); }
inline f32x16 splat(float x) { return _mm512_set1_ps(x); }
inline f32x16 load(const float* from) { return _mm512_loadu_ps(from); }
// Zeros in the other lanes, whose memory is not touched.
inline f32x16 load(const float* from, Lanes16 lanes) { return _mm512_maskz_loadu_ps(lanes, from); }
inline void store(float* to, f32x16 x) { _mm512_storeu_ps(to, x); }
inline void store(float* to, f32x16 x, Lanes16 lanes) { _mm512_mask_storeu_ps(to, lanes, x); }

// a * b + c, a * b - c and c - a * b, rounded once.
inline f32x16 multiply_add(f32x16 a, f32x16 b, f32x16 c) { return _mm512_fmadd_ps(a, b, c); }
inline f32x16 multiply_subtract(f32x16 a, f32x16 b, f32x16 c) { return _mm512_fmsub_ps(a, b, c); }
inline f32x16 subtract_product(f32x16 a, f32x16 b, f32x16 c) { return _mm512_fnmadd_ps(a, b, c); }
inline f32x16 min(f32x16 a, f32x16 b) { return _mm512_min_ps(a, b); }
inline f32x16 max(f32x16 a, f32x16 b) { return _mm512_max_ps(a, b); }
inline f32x16 magnitude(f32x16 x) { return _mm512_abs_ps(x); }
inline f32x16 nearest(f32x16 x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

inline Lanes16 less(f32x16 a, f32x16 b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
inline Lanes16 at_least(f32x16 a, f32x16 b) { return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ); }
inline Lanes16 equal(f32x16 a, f32x16 b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
inline f32x16 select(Lanes16 lanes, f32x16 yes, f32x16 no) { return _mm512_mask_mov_ps(no, lanes, yes); }

// Over the lanes, in a fixed order.
inline float sum(f32x16 x) { return _mm512_reduce_add_ps(x); }
inline float largest(f32x16 x) { return _mm512_reduce_max_ps(x); }

// x * 2^n for whole n.
inline f32x16 times_power_of_two(f32x16 x, f32x16 n) { return _mm512_scalef_ps(x, n); }

// A positive normal x as m * 2^e, m in [1/2, 1).
inline void split(f32x16 x, f32x16& m, f32x16& e) {
    m = _mm512_getmant_ps(x, _MM_MANT_NORM_p5_1, _MM_MANT_SIGN_src);
    e = _mm512_add_ps(_mm512_getexp_ps(x), splat(1.0f));
}

inline __m256i to_bf16(f32x16 x) { return reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x)); }
inline f32x16 to_float(__m256i x) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16)); }
inline f32x16 load(const bf16* from, Lanes16 lanes) { return to_float(_mm256_maskz_loadu_epi16(lanes, from)); }
inline void store(bf16* to, f32x16 x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), to_bf16(x)); }
inline void store(bf16* to, f32x16 x, Lanes16 lanes) { _mm256_mask_storeu_epi16(to, lanes, to_bf16(x)); }
inline f32x16 load(const int8_t* from, Lanes16 lanes) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(lanes, from)));
}
inline f32x16 load(const int16_t* from, Lanes16 lanes) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(_mm256_maskz_loadu_epi16(lanes, from)));
}
// The nearest integers, within what fits.
inline void store(int16_t* to, f32x16 x, Lanes16 lanes) {
    _mm256_mask_storeu_epi16(to, lanes, _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(x)));
}
inline void store(int8_t* to, f32x16 x, Lanes16 lanes) {
    _mm_mask_storeu_epi8(to, lanes, _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(x)));
}

// 16 float16, and 16 bytes as integers.
inline f32x16 load_half(const void* from) { return _mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(from))); }
inline i32x16 load_bytes(const void* from) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(from)));
}

// 32 of int16.
inline i32x16 load_wide(const int16_t* from) { return _mm512_load_si512(from); }
inline void store_wide(int16_t* to, i32x16 x) { _mm512_store_si512(to, x); }

inline i32x16 splat_int(int32_t x) { return _mm512_set1_epi32(x); }
inline i32x16 load(const int32_t* from) { return _mm512_loadu_si512(from); }
inline f32x16 to_float(i32x16 x) { return _mm512_cvtepi32_ps(x); }
inline i32x16 add(i32x16 a, i32x16 b) { return _mm512_add_epi32(a, b); }
inline i32x16 subtract(i32x16 a, i32x16 b) { return _mm512_sub_epi32(a, b); }
// The lower halves of the products.
inline i32x16 multiply(i32x16 a, i32x16 b) { return _mm512_mullo_epi32(a, b); }
inline i32x16 exclusive_or(i32x16 a, i32x16 b) { return _mm512_xor_si512(a, b); }
template <int kBits>
inline i32x16 shift_right(i32x16 x) { return _mm512_srli_epi32(x, kBits); }
inline Lanes16 at_most(i32x16 a, i32x16 b) { return _mm512_cmple_epi32_mask(a, b); }
// 0 to 15.
inline i32x16 places() { return _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0); }

// Both halves of the unsigned products of 32 bits each.
inline void multiply_wide(i32x16 x, uint32_t by, i32x16& high, i32x16& low) {
    const __m512i factor = _mm512_set1_epi64(by), low_word = _mm512_set1_epi64(0xFFFFFFFF);
    const __m512i even = _mm512_mul_epu32(x, factor), odd = _mm512_mul_epu32(_mm512_srli_epi64(x, 32), factor);
    high = _mm512_or_si512(_mm512_srli_epi64(even, 32), _mm512_andnot_si512(low_word, odd));
    low = _mm512_or_si512(_mm512_and_si512(even, low_word), _mm512_slli_epi64(odd, 32));
}

}  // namespace pw
