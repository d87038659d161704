// Numbers that every instruction set's vectors share: bfloat16, float16, masks of 16 lanes, rounding up.
#pragma once

#include <immintrin.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace pw {

using bf16 = uint16_t;
// A bit for each of 16 lanes.
using Lanes16 = uint16_t;

inline uint16_t to_half(float x) { return _cvtss_sh(x, _MM_FROUND_TO_NEAREST_INT); }

inline int round_up(int value, int multiple) { return (value + multiple - 1) / multiple * multiple; }

inline Lanes16 first_lanes(int count) { return count >= 16 ? 0xFFFF : static_cast<Lanes16>((1u << count) - 1); }

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

}  // namespace pw
