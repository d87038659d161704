// Choosing tokens from rows of logits; what each step means is written down in kernels/sampling.py.
#pragma once

#include <algorithm>
#include <cstdlib>

#include "threads.h"
#include "vector.h"

namespace pw {

struct SampleArguments {
    float* logits;
    int64_t logits_stride;
    int32_t rows, vocab_size;
    const float* temperature;
    const int32_t* top_k;
    const float* top_p;
    const float* min_p;
    const uint64_t* seed;
    const int64_t* position;
    const int32_t* num_top;
    const int32_t* mask;      // [rows][mask_stride] or null
    const uint8_t* masked;    // [rows] or null
    int64_t mask_stride;
    int32_t* token_ids;       // [rows]
    float* logprobs;          // [rows]
    int32_t* top_ids;         // [rows][top_stride]
    float* top_logprobs;
    int64_t top_stride;
};

struct Candidate {
    float value;
    int32_t id;
};

inline bool comes_before(const Candidate& a, const Candidate& b) {
    return a.value > b.value || (a.value == b.value && a.id < b.id);
}

// The largest uniform is 1 - 2^-25, whose Gumbel noise is 17.33: no token can gain more on another.
constexpr float kLargestNoise = 17.34f;

// Gumbel noise of the 64 tokens 64 * block to 64 * block + 63: Philox4x32-10 on 16 counters at a time.
inline void gumbel_block(uint64_t seed, int64_t position, int block, float* out) {
    const __m512i low_word = _mm512_set1_epi64(0xFFFFFFFF);
    __m512i c0 = _mm512_add_epi32(
        _mm512_set1_epi32(block * 16), _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0));
    __m512i c1 = _mm512_setzero_si512();
    __m512i c2 = _mm512_set1_epi32(static_cast<int32_t>(position));
    __m512i c3 = _mm512_set1_epi32(static_cast<int32_t>(position >> 32));
    uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
    const __m512i m0 = _mm512_set1_epi64(0xD2511F53), m1 = _mm512_set1_epi64(0xCD9E8D57);
    for (int round = 0; round < 10; ++round) {
        const __m512i even0 = _mm512_mul_epu32(c0, m0), odd0 = _mm512_mul_epu32(_mm512_srli_epi64(c0, 32), m0);
        const __m512i even1 = _mm512_mul_epu32(c2, m1), odd1 = _mm512_mul_epu32(_mm512_srli_epi64(c2, 32), m1);
        const __m512i high0 = _mm512_or_si512(_mm512_srli_epi64(even0, 32), _mm512_andnot_si512(low_word, odd0));
        const __m512i low0 = _mm512_or_si512(_mm512_and_si512(even0, low_word), _mm512_slli_epi64(odd0, 32));
        const __m512i high1 = _mm512_or_si512(_mm512_srli_epi64(even1, 32), _mm512_andnot_si512(low_word, odd1));
        const __m512i low1 = _mm512_or_si512(_mm512_and_si512(even1, low_word), _mm512_slli_epi64(odd1, 32));
        c0 = _mm512_xor_si512(_mm512_xor_si512(high1, c1), _mm512_set1_epi32(static_cast<int32_t>(k0)));
        c1 = low1;
        c2 = _mm512_xor_si512(_mm512_xor_si512(high0, c3), _mm512_set1_epi32(static_cast<int32_t>(k1)));
        c3 = low0;
        k0 += 0x9E3779B9;
        k1 += 0xBB67AE85;
    }
    alignas(64) float noise[4][16];
    const __m512i words[4] = {c0, c1, c2, c3};
    for (int i = 0; i < 4; ++i) {
        const f32x16 uniform = _mm512_mul_ps(
            _mm512_add_ps(_mm512_cvtepi32_ps(_mm512_srli_epi32(words[i], 8)), _mm512_set1_ps(0.5f)),
            _mm512_set1_ps(0x1p-24f));
        const f32x16 exponential = _mm512_sub_ps(_mm512_setzero_ps(), log(uniform));
        _mm512_store_ps(noise[i], _mm512_sub_ps(_mm512_setzero_ps(), log(exponential)));
    }
    for (int counter = 0; counter < 16; ++counter)
        for (int i = 0; i < 4; ++i) out[counter * 4 + i] = noise[i][counter];
}

inline float largest_value(const float* x, int count) {
    f32x16 largest = _mm512_set1_ps(-INFINITY);
    for (int i = 0; i < count; i += 16)
        largest = _mm512_max_ps(largest, _mm512_mask_loadu_ps(largest, first_lanes(count - i), x + i));
    return _mm512_reduce_max_ps(largest);
}

inline int first_of_value(const float* x, int count, float value) {
    const f32x16 wanted = _mm512_set1_ps(value);
    for (int i = 0; i < count; i += 16) {
        const __mmask16 lanes = first_lanes(count - i);
        const __mmask16 found = _mm512_mask_cmp_ps_mask(lanes, _mm512_maskz_loadu_ps(lanes, x + i), wanted, _CMP_EQ_OQ);
        if (found != 0) return i + __builtin_ctz(found);
    }
    return 0;
}

inline float sum_of_exps(const float* x, int count, float scale, float largest) {
    f32x16 sum = _mm512_setzero_ps();
    const f32x16 factor = _mm512_set1_ps(scale), shift = _mm512_set1_ps(largest * scale);
    for (int i = 0; i < count; i += 16) {
        const __mmask16 lanes = first_lanes(count - i);
        const f32x16 v = _mm512_fmsub_ps(_mm512_maskz_loadu_ps(lanes, x + i), factor, shift);
        sum = _mm512_mask_add_ps(sum, lanes, sum, exp(v));
    }
    return _mm512_reduce_add_ps(sum);
}

inline void forbid(float* x, int count, const int32_t* mask) {
    const f32x16 minus_infinity = _mm512_set1_ps(-INFINITY);
    for (int i = 0; i < count; i += 16) {
        const __mmask16 allowed = static_cast<__mmask16>(static_cast<uint32_t>(mask[i / 32]) >> (i % 32));
        _mm512_mask_storeu_ps(x + i, first_lanes(count - i) & static_cast<__mmask16>(~allowed), minus_infinity);
    }
}

// Tokens whose logit is at least `floor`, in the order of their ids.
inline int collect(const float* x, int count, float floor, Candidate* out) {
    int found = 0;
    const f32x16 threshold = _mm512_set1_ps(floor);
    for (int i = 0; i < count; i += 16) {
        const __mmask16 lanes = first_lanes(count - i);
        uint32_t hits = _mm512_mask_cmp_ps_mask(lanes, _mm512_maskz_loadu_ps(lanes, x + i), threshold, _CMP_GE_OQ);
        for (; hits != 0; hits &= hits - 1) {
            const int id = i + __builtin_ctz(hits);
            out[found++] = {x[id], id};
        }
    }
    return found;
}

// The whole row, by the largest logit * scale + noise. Blocks that can't win are passed over.
inline int choose_from_all(const float* x, int count, float scale, float largest, uint64_t seed, int64_t position) {
    float noise[64];
    const int best_logit = first_of_value(x, count, largest);
    gumbel_block(seed, position, best_logit / 64, noise);
    float best = x[best_logit] * scale + noise[best_logit % 64];
    int choice = best_logit;
    for (int first = 0; first < count; first += 64) {
        const int width = std::min(64, count - first);
        if (largest_value(x + first, width) * scale + kLargestNoise < best) continue;
        gumbel_block(seed, position, first / 64, noise);
        for (int i = 0; i < width; ++i) {
            const float value = x[first + i] * scale + noise[i];
            if (value > best || (value == best && first + i < choice)) {
                best = value;
                choice = first + i;
            }
        }
    }
    return choice;
}

// The tokens that top-k and top-p leave, most probable first; how many.
inline int truncate(const float* x, int count, float scale, float largest, int top_k, float top_p, Candidate* found) {
    int kept = 0;
    double total = 0.0;
    // Reach further down until the tokens above the floor are sure to hold all that top-k or top-p keep.
    for (float reach = 4.0f;; reach *= 2.0f) {
        const bool all = reach > 200.0f;
        kept = collect(x, count, all ? -3.0e38f : largest - reach / scale, found);
        if (top_k > 0) {
            if (kept >= top_k || all) break;
            continue;
        }
        if (total == 0.0) total = sum_of_exps(x, count, scale, largest);
        double held = 0.0;
        for (int i = 0; i < kept; ++i) held += std::exp((found[i].value - largest) * scale);
        if (held >= total * top_p || all) break;
    }
    std::sort(found, found + kept, comes_before);
    if (top_k > 0) {
        kept = std::min(kept, top_k);
        total = 0.0;
        for (int i = 0; i < kept; ++i) total += std::exp((found[i].value - largest) * scale);
    }
    if (top_p < 1.0f) {
        double before = 0.0;
        for (int i = 0; i < kept; ++i) {
            if (i > 0 && before >= total * top_p) return i;
            before += std::exp((found[i].value - largest) * scale);
        }
    }
    return kept;
}

inline int choose_from(const Candidate* found, int kept, float scale, float floor, uint64_t seed, int64_t position) {
    float noise[64];
    float best = -INFINITY;
    int choice = found[0].id;
    for (int i = 0; i < kept && found[i].value >= floor; ++i) {
        if (i > 0 && found[i].value * scale + kLargestNoise < best) break;
        gumbel_block(seed, position, found[i].id / 64, noise);
        const float value = found[i].value * scale + noise[found[i].id % 64];
        if (value > best || (value == best && found[i].id < choice)) {
            best = value;
            choice = found[i].id;
        }
    }
    return choice;
}

inline void report(const SampleArguments& s, int row, const float* x, float largest, int choice, Candidate* scratch) {
    const double normaliser = std::log(sum_of_exps(x, s.vocab_size, 1.0f, largest));
    s.logprobs[row] = static_cast<float>(x[choice] - largest - normaliser);
    const int wanted = std::min(s.num_top[row], s.vocab_size);
    if (wanted <= 0) return;
    int found = 0;
    for (float reach = 4.0f; found < wanted; reach *= 2.0f) {
        const bool all = reach > 200.0f;
        found = collect(x, s.vocab_size, all ? -INFINITY : largest - reach, scratch);
        if (all) break;
    }
    std::partial_sort(scratch, scratch + wanted, scratch + found, comes_before);
    for (int i = 0; i < wanted; ++i) {
        s.top_ids[row * s.top_stride + i] = scratch[i].id;
        s.top_logprobs[row * s.top_stride + i] = static_cast<float>(scratch[i].value - largest - normaliser);
    }
}

inline void sample_row(const SampleArguments& s, int row, Candidate* scratch) {
    float* x = s.logits + row * s.logits_stride;
    const int count = s.vocab_size;
    if (s.mask != nullptr && s.masked[row]) forbid(x, count, s.mask + row * s.mask_stride);
    const float largest = largest_value(x, count);
    int choice;
    if (s.temperature[row] <= 0.0f || !std::isfinite(largest)) {
        choice = first_of_value(x, count, largest);
    } else {
        const float scale = 1.0f / s.temperature[row];
        const float min_p = s.min_p[row];
        const float floor = min_p > 0.0f ? largest + std::log(min_p) / scale : -INFINITY;
        if (s.top_k[row] > 0 || s.top_p[row] < 1.0f) {
            const int kept = truncate(x, count, scale, largest, s.top_k[row], s.top_p[row], scratch);
            choice = choose_from(scratch, kept, scale, floor, s.seed[row], s.position[row]);
        } else if (min_p > 0.0f) {
            const int kept = collect(x, count, floor, scratch);
            std::sort(scratch, scratch + kept, comes_before);
            choice = choose_from(scratch, kept, scale, floor, s.seed[row], s.position[row]);
        } else {
            choice = choose_from_all(x, count, scale, largest, s.seed[row], s.position[row]);
        }
    }
    s.token_ids[row] = choice;
    if (s.num_top[row] >= 0) report(s, row, x, largest, choice, scratch);
}

// Called by every thread of the team.
inline void sample_rows(const SampleArguments& s, Team& team) {
    Candidate* scratch = nullptr;
    for (int row = team.take(); row < s.rows; row = team.take()) {
        if (scratch == nullptr) scratch = static_cast<Candidate*>(std::malloc(sizeof(Candidate) * s.vocab_size));
        sample_row(s, row, scratch);
    }
    std::free(scratch);
}

}  // namespace pw
