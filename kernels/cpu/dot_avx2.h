// Dot products of activations with 16 channels at a time, by AVX2: bfloat16 widens to float32, int8 to int16. Activations are
// kept as wide as they are multiplied, for widening them each time would cost as much as the product.
#pragma once

#include "lanes.h"

namespace pw {

// Rows that are multiplied at once, whose sums stay in registers (two for 16 channels of a row), and the most sums of several
// products side by side.
constexpr int kMostRows = 6;
constexpr int kMostSums = 4;

template <>
struct Lanes<float> {
    using Activation = float;
    using Sums = f32x16;
    static constexpr int kPair = 1, kParts = 1;
    static Sums zero() { return zeros(); }
    static f32x16 right(const float* line, int) { return load(line); }
    static Sums step(Sums sums, const float* a, f32x16 b) {
        const __m256 left = _mm256_broadcast_ss(a);
        return {_mm256_fmadd_ps(left, b.low, sums.low), _mm256_fmadd_ps(left, b.high, sums.high)};
    }
};

template <>
struct Lanes<bf16> {
    using Activation = float;
    using Sums = f32x16;
    static constexpr int kPair = 2, kParts = 2;
    static Sums zero() { return zeros(); }
    // A bfloat16 is the upper half of a float32: first the pairs' even elements, then their odd ones.
    static f32x16 right(const bf16* line, int part) {
        const __m256i* half = reinterpret_cast<const __m256i*>(line);
        const __m256i low = _mm256_loadu_si256(half), high = _mm256_loadu_si256(half + 1);
        if (part == 0) return {_mm256_castsi256_ps(_mm256_slli_epi32(low, 16)), _mm256_castsi256_ps(_mm256_slli_epi32(high, 16))};
        const __m256i upper = _mm256_set1_epi32(static_cast<int32_t>(0xFFFF0000));
        return {_mm256_castsi256_ps(_mm256_and_si256(low, upper)), _mm256_castsi256_ps(_mm256_and_si256(high, upper))};
    }
    static Sums step(Sums sums, const float* a, f32x16 b) { return Lanes<float>::step(sums, a, b); }
};

template <>
struct Lanes<int8_t> {
    using Activation = int16_t;
    using Sums = i32x16;
    static constexpr int kPair = 2, kParts = 1;
    static Sums zero() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
    static i32x16 right(const int8_t* line, int) {
        const __m128i* half = reinterpret_cast<const __m128i*>(line);
        return {_mm256_cvtepi8_epi16(_mm_loadu_si128(half)), _mm256_cvtepi8_epi16(_mm_loadu_si128(half + 1))};
    }
    // Exact: two products of 127 * 127 at most are added into 32 bits.
    static Sums step(Sums sums, const int16_t* a, i32x16 b) {
        int32_t pair;
        std::memcpy(&pair, a, 4);
        const __m256i left = _mm256_set1_epi32(pair);
        return {
            _mm256_add_epi32(sums.low, _mm256_madd_epi16(left, b.low)),
            _mm256_add_epi32(sums.high, _mm256_madd_epi16(left, b.high))};
    }
    static i32x16 exact(Sums sums, const int32_t*) { return sums; }
};

// A code becomes 16 bits wide: an int16 and it make an exact pair of products in 32 bits.
inline i32x16 add_pairs(i32x16 sums, const int16_t* a, i32x16 b) { return Lanes<int8_t>::step(sums, a, b); }

// 32 of int8, 16 bits wide.
inline i32x16 widen(const int8_t* from) { return Lanes<int8_t>::right(from, 0); }

template <>
struct Lanes<Codes<8>> {
    static constexpr int kStep = 2, kStepBytes = 32, kParts = 1, kMostRows = 6;
    static i32x16 raw(const uint8_t* from) {
        const __m128i* half = reinterpret_cast<const __m128i*>(from);
        return {_mm256_cvtepu8_epi16(_mm_loadu_si128(half)), _mm256_cvtepu8_epi16(_mm_loadu_si128(half + 1))};
    }
    template <int kPart>
    static i32x16 part(i32x16 raw) { return raw; }
};

// 16 bits have four codes of a channel, of every second column: those of part 0 in the lowest bits.
template <>
struct Lanes<Codes<4>> {
    static constexpr int kStep = 8, kStepBytes = 64, kParts = 4, kMostRows = 4;
    static i32x16 raw(const uint8_t* from) {
        const __m256i* half = reinterpret_cast<const __m256i*>(from);
        return {_mm256_loadu_si256(half), _mm256_loadu_si256(half + 1)};
    }
    template <int kPart>
    static i32x16 part(i32x16 raw) {
        const __m256i lowest = _mm256_set1_epi16(0x000F);
        return {
            _mm256_and_si256(_mm256_srli_epi16(raw.low, 4 * kPart), lowest),
            _mm256_and_si256(_mm256_srli_epi16(raw.high, 4 * kPart), lowest)};
    }
};

}  // namespace pw
