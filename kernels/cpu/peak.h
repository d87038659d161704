// How many multiplications the instructions that products are made of do at most: activations from the first cache, everything
// else in registers.
#pragma once

#include "product_groups.h"

namespace pw {

// As many sums as hide the instructions' latency and fit the registers.
constexpr int kPeakSums = 6;

// `step(sums, i)` adds to the sums of row i.
template <class Sums, class Step>
inline void repeat(int64_t steps, Sums first, Step step) {
    Sums sums[kPeakSums];
#pragma GCC unroll 8
    for (int i = 0; i < kPeakSums; ++i) sums[i] = first;
    for (int64_t turn = 0; turn < steps; ++turn) {
        // Activations might have changed: no product of an earlier turn will do.
        asm volatile("" ::: "memory");
#pragma GCC unroll 8
        for (int i = 0; i < kPeakSums; ++i) sums[i] = step(sums[i], i);
    }
    // Nothing is left out that somebody may look at; a copy, for what is looked at lies in memory.
    Sums seen[kPeakSums];
#pragma GCC unroll 8
    for (int i = 0; i < kPeakSums; ++i) seen[i] = sums[i];
    asm volatile("" ::"r"(seen) : "memory");
}

template <class T>
inline int64_t peak_of(int64_t steps) {
    using L = Lanes<T>;
    alignas(64) T line[64] = {};
    alignas(64) typename L::Activation a[kPeakSums][8] = {};
    asm volatile("" ::"r"(line), "r"(a) : "memory");
    const auto right = L::right(line, 0);
    repeat(steps, L::zero(), [&](auto sums, int i) { return L::step(sums, a[i], right); });
    // A step multiplies a part of a pair for each of 16 channels.
    return steps * kPeakSums * kPanel * (L::kPair / L::kParts) * 2;
}

inline int64_t peak_of_codes(int64_t steps) {
    alignas(64) int16_t a[kPeakSums][8] = {};
    asm volatile("" ::"r"(a) : "memory");
    const i32x16 right = splat_int(0x00030005);
    repeat(steps, splat_int(0), [&](i32x16 sums, int i) { return add_pairs(sums, a[i], right); });
    return steps * kPeakSums * kPanel * 2 * 2;
}

// Operations that one thread has done, a multiplication and its addition counting as two.
inline int64_t peak(Type type, int64_t steps) {
    switch (type) {
        case Type::kFloat32: return peak_of<float>(steps);
        case Type::kBFloat16: return peak_of<bf16>(steps);
        case Type::kInt8: return peak_of<int8_t>(steps);
        case Type::kCodes8: case Type::kCodes4: return peak_of_codes(steps);
    }
    return 0;
}

}  // namespace pw
