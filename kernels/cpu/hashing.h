// Hashes of rows of logits; what they are is written down in kernels/hashing.py.
#pragma once

#include <algorithm>

#include "threads.h"

namespace pw {

// The same bits as the float32 that they are.
typedef uint32_t __attribute__((may_alias)) word;

struct HashArguments {
    const word* logits;
    int64_t logits_stride;
    const int64_t* rows;      // [count]: which rows
    int32_t count, vocab_size;
    const uint32_t* low;      // [vocab_size]: the keys' halves
    const uint32_t* high;
    uint64_t* sums;           // [count], zeros
};

// Columns whose keys stay in the nearest cache while all rows are hashed, few enough that all threads have work.
constexpr int kHashPiece = 2048;

// The sum of word * key, modulo 2^64; of the products with the keys' high halves no more than 32 bits are left.
inline uint64_t weighted_sum(const word* x, const uint32_t* low, const uint32_t* high, int count) {
    // Compilers widen the factors one by one; this takes eight words at a time, those at even places and those at odd ones.
    __m256i even = _mm256_setzero_si256(), odd = even, highs = even;
    int i = 0;
    for (; i + 8 <= count; i += 8) {
        const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + i));
        const __m256i keys = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(low + i));
        const __m256i more = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(high + i));
        even = _mm256_add_epi64(even, _mm256_mul_epu32(words, keys));
        odd = _mm256_add_epi64(odd, _mm256_mul_epu32(_mm256_srli_epi64(words, 32), _mm256_srli_epi64(keys, 32)));
        highs = _mm256_add_epi32(highs, _mm256_mullo_epi32(words, more));
    }
    uint64_t lows[4];
    uint32_t tops[8], top = 0;
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(lows), _mm256_add_epi64(even, odd));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(tops), highs);
    uint64_t sum = lows[0] + lows[1] + lows[2] + lows[3];
    for (const uint32_t one : tops) top += one;
    for (; i < count; ++i) {
        sum += static_cast<uint64_t>(x[i]) * low[i];
        top += x[i] * high[i];
    }
    return sum + (static_cast<uint64_t>(top) << 32);
}

// Called by every thread of the team. Sums of whole numbers are the same in any order.
inline void hash_rows(const HashArguments& h, Team& team) {
    const int pieces = (h.vocab_size + kHashPiece - 1) / kHashPiece;
    for (int piece = team.take(); piece < pieces; piece = team.take()) {
        const int first = piece * kHashPiece, count = std::min(kHashPiece, h.vocab_size - first);
        for (int row = 0; row < h.count; ++row) {
            const word* x = h.logits + h.rows[row] * h.logits_stride + first;
            __atomic_fetch_add(&h.sums[row], weighted_sum(x, h.low + first, h.high + first, count), __ATOMIC_RELAXED);
        }
    }
}

}  // namespace pw
