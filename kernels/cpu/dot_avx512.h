// Dot products of activations with 16 channels at a time, by AVX-512: VNNI for int8, BF16 for bfloat16.
#pragma once

#include "lanes.h"

namespace pw {

// Rows that are multiplied at once, whose sums stay in registers, and the most sums of several products side by side.
constexpr int kMostRows = 8;
constexpr int kMostSums = 16;

template <>
struct Lanes<float> {
    using Activation = float;
    using Sums = f32x16;
    static constexpr int kPair = 1, kParts = 1;
    static Sums zero() { return zeros(); }
    static __m512 right(const float* line, int) { return _mm512_loadu_ps(line); }
    static Sums step(Sums sums, const float* a, __m512 b) { return _mm512_fmadd_ps(_mm512_set1_ps(*a), b, sums); }
};

template <>
struct Lanes<bf16> {
    using Activation = bf16;
    using Sums = f32x16;
    static constexpr int kPair = 2, kParts = 1;
    static Sums zero() { return zeros(); }
    static __m512i right(const bf16* line, int) { return _mm512_loadu_si512(line); }
    static Sums step(Sums sums, const bf16* a, __m512i b) {
        int32_t pair;
        std::memcpy(&pair, a, 4);
        return _mm512_dpbf16_ps(sums, reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair)), reinterpret_cast<__m512bh>(b));
    }
};

template <>
struct Lanes<int8_t> {
    using Activation = int8_t;
    using Sums = i32x16;
    static constexpr int kPair = 4, kParts = 1;
    static Sums zero() { return _mm512_setzero_si512(); }
    static __m512i right(const int8_t* line, int) { return _mm512_loadu_si512(line); }
    // VNNI multiplies unsigned by signed: activations go in with 128 added, which `exact` takes out again.
    static Sums step(Sums sums, const int8_t* a, __m512i b) {
        int32_t four;
        std::memcpy(&four, a, 4);
        return _mm512_dpbusd_epi32(sums, _mm512_set1_epi32(four ^ static_cast<int32_t>(0x80808080)), b);
    }
    static i32x16 exact(Sums sums, const int32_t* channel_sums) {
        return _mm512_sub_epi32(sums, _mm512_slli_epi32(_mm512_loadu_si512(channel_sums), 7));
    }
};

// A code becomes 16 bits wide: an int16 and it make an exact pair of products in 32 bits.
inline i32x16 add_pairs(i32x16 sums, const int16_t* a, i32x16 b) {
    int32_t pair;
    std::memcpy(&pair, a, 4);
    return _mm512_dpwssd_epi32(sums, _mm512_set1_epi32(pair), b);
}

// 32 of int8, 16 bits wide.
inline i32x16 widen(const int8_t* from) {
    return _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}

template <>
struct Lanes<Codes<8>> {
    static constexpr int kStep = 2, kStepBytes = 32, kParts = 1, kMostRows = 8;
    static i32x16 raw(const uint8_t* from) {
        return _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
    }
    template <int kPart>
    static i32x16 part(i32x16 raw) { return raw; }
};

// 16 bits have four codes of a channel, of every second column: those of part 0 in the lowest bits.
template <>
struct Lanes<Codes<4>> {
    static constexpr int kStep = 8, kStepBytes = 64, kParts = 4, kMostRows = 8;
    static i32x16 raw(const uint8_t* from) { return _mm512_loadu_si512(from); }
    template <int kPart>
    static i32x16 part(i32x16 raw) {
        return _mm512_and_si512(_mm512_srli_epi16(raw, 4 * kPart), _mm512_set1_epi16(0x000F));
    }
};

}  // namespace pw
