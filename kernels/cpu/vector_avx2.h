// 16 floats or integers at a time by AVX2 and FMA: a pair of registers each.
#pragma once

#include <immintrin.h>

#include "numbers.h"

namespace pw {

struct f32x16 {
    __m256 low, high;
};

struct i32x16 {
    __m256i low, high;
};

// 8 bits become the lanes' masks.
inline __m256i spread(uint32_t bits) {
    const __m256i each = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    return _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(static_cast<int32_t>(bits)), each), each);
}

inline Lanes16 gather(__m256 low, __m256 high) {
    return static_cast<Lanes16>(_mm256_movemask_ps(low) | _mm256_movemask_ps(high) << 8);
}

inline f32x16 zeros() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
inline f32x16 splat(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
inline f32x16 load(const float* from) { return {_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)}; }
// Zeros in the other lanes, whose memory is not touched.
inline f32x16 load(const float* from, Lanes16 lanes) {
    if (lanes == 0xFFFF) return load(from);
    return {_mm256_maskload_ps(from, spread(lanes)), _mm256_maskload_ps(from + 8, spread(lanes >> 8))};
}
inline void store(float* to, f32x16 x) {
    _mm256_storeu_ps(to, x.low);
    _mm256_storeu_ps(to + 8, x.high);
}
inline void store(float* to, f32x16 x, Lanes16 lanes) {
    if (lanes == 0xFFFF) return store(to, x);
    _mm256_maskstore_ps(to, spread(lanes), x.low);
    _mm256_maskstore_ps(to + 8, spread(lanes >> 8), x.high);
}

inline f32x16 operator+(f32x16 a, f32x16 b) { return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)}; }
inline f32x16 operator-(f32x16 a, f32x16 b) { return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)}; }
inline f32x16 operator*(f32x16 a, f32x16 b) { return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)}; }
inline f32x16 operator/(f32x16 a, f32x16 b) { return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)}; }

// a * b + c, a * b - c and c - a * b, rounded once.
inline f32x16 multiply_add(f32x16 a, f32x16 b, f32x16 c) {
    return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
inline f32x16 multiply_subtract(f32x16 a, f32x16 b, f32x16 c) {
    return {_mm256_fmsub_ps(a.low, b.low, c.low), _mm256_fmsub_ps(a.high, b.high, c.high)};
}
inline f32x16 subtract_product(f32x16 a, f32x16 b, f32x16 c) {
    return {_mm256_fnmadd_ps(a.low, b.low, c.low), _mm256_fnmadd_ps(a.high, b.high, c.high)};
}
inline f32x16 min(f32x16 a, f32x16 b) { return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)}; }
inline f32x16 max(f32x16 a, f32x16 b) { return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)}; }
inline f32x16 magnitude(f32x16 x) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return {_mm256_andnot_ps(sign, x.low), _mm256_andnot_ps(sign, x.high)};
}
inline f32x16 nearest(f32x16 x) {
    constexpr int mode = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    return {_mm256_round_ps(x.low, mode), _mm256_round_ps(x.high, mode)};
}

inline Lanes16 less(f32x16 a, f32x16 b) {
    return gather(_mm256_cmp_ps(a.low, b.low, _CMP_LT_OQ), _mm256_cmp_ps(a.high, b.high, _CMP_LT_OQ));
}
inline Lanes16 at_least(f32x16 a, f32x16 b) {
    return gather(_mm256_cmp_ps(a.low, b.low, _CMP_GE_OQ), _mm256_cmp_ps(a.high, b.high, _CMP_GE_OQ));
}
inline Lanes16 equal(f32x16 a, f32x16 b) {
    return gather(_mm256_cmp_ps(a.low, b.low, _CMP_EQ_OQ), _mm256_cmp_ps(a.high, b.high, _CMP_EQ_OQ));
}
inline f32x16 select(Lanes16 lanes, f32x16 yes, f32x16 no) {
    return {
        _mm256_blendv_ps(no.low, yes.low, _mm256_castsi256_ps(spread(lanes))),
        _mm256_blendv_ps(no.high, yes.high, _mm256_castsi256_ps(spread(lanes >> 8)))};
}

// Over the lanes, in a fixed order.
inline float sum(f32x16 x) {
    const __m256 eight = _mm256_add_ps(x.low, x.high);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}
inline float largest(f32x16 x) {
    const __m256 eight = _mm256_max_ps(x.low, x.high);
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
}

// x * 2^n for whole n in [-126, 127].
inline f32x16 times_power_of_two(f32x16 x, f32x16 n) {
    const auto power = [](__m256 e) {
        return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(e), _mm256_set1_epi32(127)), 23));
    };
    return {_mm256_mul_ps(x.low, power(n.low)), _mm256_mul_ps(x.high, power(n.high))};
}

// A positive normal x as m * 2^e, m in [1/2, 1).
inline void split(f32x16 x, f32x16& m, f32x16& e) {
    const auto mantissa = [](__m256 v) {
        const __m256i bits = _mm256_and_si256(_mm256_castps_si256(v), _mm256_set1_epi32(0x007FFFFF));
        return _mm256_castsi256_ps(_mm256_or_si256(bits, _mm256_set1_epi32(0x3F000000)));
    };
    const auto exponent = [](__m256 v) {
        const __m256i bits = _mm256_srli_epi32(_mm256_castps_si256(v), 23);
        return _mm256_cvtepi32_ps(_mm256_sub_epi32(bits, _mm256_set1_epi32(126)));
    };
    m = {mantissa(x.low), mantissa(x.high)};
    e = {exponent(x.low), exponent(x.high)};
}

// Rounds half to even, in the upper halves of the lanes; NaN stays NaN.
inline __m256i rounded_to_bf16(__m256 x) {
    const __m256i bits = _mm256_castps_si256(x);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF)));
    const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x00400000));
    const __m256 is_nan = _mm256_cmp_ps(x, x, _CMP_UNORD_Q);
    return _mm256_blendv_epi8(rounded, quiet, _mm256_castps_si256(is_nan));
}
inline void store(bf16* to, f32x16 x) {
    const __m256i packed = _mm256_packus_epi32(
        _mm256_srli_epi32(rounded_to_bf16(x.low), 16), _mm256_srli_epi32(rounded_to_bf16(x.high), 16));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm256_permute4x64_epi64(packed, 0xD8));
}
inline f32x16 load(const bf16* from) {
    const __m128i* half = reinterpret_cast<const __m128i*>(from);
    const auto widen = [](__m128i x) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16)); };
    return {widen(_mm_loadu_si128(half)), widen(_mm_loadu_si128(half + 1))};
}
inline f32x16 load(const bf16* from, Lanes16 lanes) {
    if (lanes == 0xFFFF) return load(from);
    bf16 copy[16] = {};
    for (int lane = 0; lane < 16; ++lane)
        if (lanes >> lane & 1) copy[lane] = from[lane];
    return load(copy);
}
inline f32x16 load(const int16_t* from, Lanes16 lanes) {
    alignas(32) int16_t copy[16] = {};
    std::memcpy(copy, from, sizeof(int16_t) * static_cast<size_t>(__builtin_popcount(lanes)));
    const __m128i* half = reinterpret_cast<const __m128i*>(copy);
    return {
        _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(_mm_load_si128(half))),
        _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(_mm_load_si128(half + 1)))};
}
// The nearest integers, within what fits.
inline void store(int16_t* to, f32x16 x, Lanes16 lanes) {
    const __m256i packed = _mm256_packs_epi32(_mm256_cvtps_epi32(x.low), _mm256_cvtps_epi32(x.high));
    alignas(32) int16_t copy[16];
    _mm256_store_si256(reinterpret_cast<__m256i*>(copy), _mm256_permute4x64_epi64(packed, 0xD8));
    std::memcpy(to, copy, sizeof(int16_t) * static_cast<size_t>(__builtin_popcount(lanes)));
}

// 16 float16, and 16 bytes as integers.
inline f32x16 load_half(const void* from) {
    const __m128i* half = static_cast<const __m128i*>(from);
    return {_mm256_cvtph_ps(_mm_loadu_si128(half)), _mm256_cvtph_ps(_mm_loadu_si128(half + 1))};
}
inline i32x16 load_bytes(const void* from) {
    const __m128i bytes = _mm_loadu_si128(static_cast<const __m128i*>(from));
    return {_mm256_cvtepu8_epi32(bytes), _mm256_cvtepu8_epi32(_mm_srli_si128(bytes, 8))};
}

// 32 of int16.
inline i32x16 load_wide(const int16_t* from) {
    const __m256i* half = reinterpret_cast<const __m256i*>(from);
    return {_mm256_load_si256(half), _mm256_load_si256(half + 1)};
}
inline void store_wide(int16_t* to, i32x16 x) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(to), x.low);
    _mm256_store_si256(reinterpret_cast<__m256i*>(to) + 1, x.high);
}

inline i32x16 splat_int(int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
inline f32x16 to_float(i32x16 x) { return {_mm256_cvtepi32_ps(x.low), _mm256_cvtepi32_ps(x.high)}; }
inline i32x16 add(i32x16 a, i32x16 b) { return {_mm256_add_epi32(a.low, b.low), _mm256_add_epi32(a.high, b.high)}; }
inline i32x16 subtract(i32x16 a, i32x16 b) { return {_mm256_sub_epi32(a.low, b.low), _mm256_sub_epi32(a.high, b.high)}; }
// The lower halves of the products.
inline i32x16 multiply(i32x16 a, i32x16 b) {
    return {_mm256_mullo_epi32(a.low, b.low), _mm256_mullo_epi32(a.high, b.high)};
}
inline i32x16 exclusive_or(i32x16 a, i32x16 b) {
    return {_mm256_xor_si256(a.low, b.low), _mm256_xor_si256(a.high, b.high)};
}
template <int kBits>
inline i32x16 shift_right(i32x16 x) { return {_mm256_srli_epi32(x.low, kBits), _mm256_srli_epi32(x.high, kBits)}; }
inline Lanes16 at_most(i32x16 a, i32x16 b) {
    const auto above = [](__m256i x, __m256i y) { return _mm256_castsi256_ps(_mm256_cmpgt_epi32(x, y)); };
    return static_cast<Lanes16>(~gather(above(a.low, b.low), above(a.high, b.high)));
}
// 0 to 15.
inline i32x16 places() {
    return {_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15)};
}

// Both halves of the unsigned products of 32 bits each.
inline void multiply_wide(i32x16 x, uint32_t by, i32x16& high, i32x16& low) {
    const __m256i factor = _mm256_set1_epi64x(by);
    const auto halves = [factor](__m256i v, __m256i& upper, __m256i& lower) {
        const __m256i even = _mm256_mul_epu32(v, factor), odd = _mm256_mul_epu32(_mm256_srli_epi64(v, 32), factor);
        upper = _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xAA);
        lower = _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xAA);
    };
    halves(x.low, high.low, low.low);
    halves(x.high, high.high, low.high);
}

}  // namespace pw
