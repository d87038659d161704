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
    const int32_t* given;     // [rows] or null: tokens that were chosen already, of which only the logprobs are wanted
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
    i32x16 c0 = add(splat_int(block * 16), places()), c1 = splat_int(0);
    i32x16 c2 = splat_int(static_cast<int32_t>(position)), c3 = splat_int(static_cast<int32_t>(position >> 32));
    uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
    for (int round = 0; round < 10; ++round) {
        i32x16 high0, low0, high1, low1;
        multiply_wide(c0, 0xD2511F53, high0, low0);
        multiply_wide(c2, 0xCD9E8D57, high1, low1);
        c0 = exclusive_or(exclusive_or(high1, c1), splat_int(static_cast<int32_t>(k0)));
        c1 = low1;
        c2 = exclusive_or(exclusive_or(high0, c3), splat_int(static_cast<int32_t>(k1)));
        c3 = low0;
        k0 += 0x9E3779B9;
        k1 += 0xBB67AE85;
    }
    float noise[4][16];
    const i32x16 words[4] = {c0, c1, c2, c3};
    for (int i = 0; i < 4; ++i) {
        const f32x16 uniform = (to_float(shift_right<8>(words[i])) + splat(0.5f)) * splat(0x1p-24f);
        const f32x16 exponential = zeros() - log(uniform);
        store(noise[i], zeros() - log(exponential));
    }
    for (int counter = 0; counter < 16; ++counter)
        for (int i = 0; i < 4; ++i) out[counter * 4 + i] = noise[i][counter];
}

inline float largest_value(const float* x, int count) {
    f32x16 found = splat(-INFINITY);
    for (int i = 0; i < count; i += 16) {
        const Lanes16 lanes = first_lanes(count - i);
        found = max(found, select(lanes, load(x + i, lanes), found));
    }
    return largest(found);
}

inline int first_of_value(const float* x, int count, float value) {
    const f32x16 wanted = splat(value);
    for (int i = 0; i < count; i += 16) {
        const Lanes16 lanes = first_lanes(count - i);
        const uint32_t found = lanes & equal(load(x + i, lanes), wanted);
        if (found != 0) return i + __builtin_ctz(found);
    }
    return 0;
}

inline float sum_of_exps(const float* x, int count, float scale, float largest) {
    f32x16 total = zeros();
    const f32x16 factor = splat(scale), shift = splat(largest * scale);
    for (int i = 0; i < count; i += 16) {
        const Lanes16 lanes = first_lanes(count - i);
        const f32x16 v = exp(multiply_subtract(load(x + i, lanes), factor, shift));
        total = total + select(lanes, v, zeros());
    }
    return sum(total);
}

inline void forbid(float* x, int count, const int32_t* mask) {
    for (int i = 0; i < count; i += 16) {
        const auto allowed = static_cast<Lanes16>(static_cast<uint32_t>(mask[i / 32]) >> (i % 32));
        store(x + i, splat(-INFINITY), static_cast<Lanes16>(first_lanes(count - i) & ~allowed));
    }
}

// Tokens whose logit is at least `floor`, in the order of their ids.
inline int collect(const float* x, int count, float floor, Candidate* out) {
    int found = 0;
    const f32x16 threshold = splat(floor);
    for (int i = 0; i < count; i += 16) {
        const Lanes16 lanes = first_lanes(count - i);
        uint32_t hits = lanes & at_least(load(x + i, lanes), threshold);
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
    if (s.given != nullptr) {
        choice = s.given[row];
    } else if (s.temperature[row] <= 0.0f || !std::isfinite(largest)) {
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
