// Weights [N, K], packed for the products: float32, bfloat16, int8, and codes of 8 and 4 bits in groups.
//
// They lie in panels of 16 output channels, one stream of memory for each panel, in the order in which the instruction set
// multiplies them (dot.h). Plain elements lie [N / 16][K / pair][16][pair], K padded with zeros to the elements of 64 bytes. Codes lie
// group by group, each followed by what makes weights of them: [N / 16][group]{codes, a float16 scale and a zero point for each
// channel}. N is padded to 16.
#pragma once

#include "dot.h"

namespace pw {

enum class Type : int { kFloat32 = 0, kBFloat16 = 1, kInt8 = 2, kCodes8 = 3, kCodes4 = 4 };

constexpr int kPanel = 16;

inline bool is_grouped(Type type) { return type == Type::kCodes8 || type == Type::kCodes4; }

inline int bits_of(Type type) {
    switch (type) {
        case Type::kFloat32: return 32;
        case Type::kBFloat16: return 16;
        case Type::kInt8: case Type::kCodes8: return 8;
        case Type::kCodes4: return 4;
    }
    return 0;
}

struct Weights {
    Type type;
    int n, k;            // as the model has them
    int n_padded;        // to a multiple of kPanel
    int k_padded;        // to a multiple of the elements of 64 bytes; of codes k itself
    int group;           // columns that share a scale, of codes: a multiple of 8, at most 128 (kLargestGroup), and it divides k
    size_t panel_bytes;
    void* panels;
    float* scales;       // [n_padded], not of floats; of codes a power of two that the groups' scales are multiples of
    int32_t* sums;       // [n_padded]: sum over K of each channel, int8 only
    float* bias;         // [n_padded] or null

    size_t code_bytes() const { return static_cast<size_t>(kPanel) * group * bits_of(type) / 8; }
    size_t group_bytes() const { return code_bytes() + kPanel * (sizeof(uint16_t) + 1); }
};

// An empty Weights of these sizes; `group` is for codes.
inline Weights sized(Type type, int n, int k, int group) {
    Weights w{};
    w.type = type;
    w.n = n;
    w.k = k;
    w.n_padded = round_up(n, kPanel);
    w.group = group;
    w.k_padded = is_grouped(type) ? k : round_up(k, 64 * 8 / bits_of(type));
    w.panel_bytes = is_grouped(type) ? k / group * w.group_bytes() : static_cast<size_t>(kPanel) * w.k_padded * bits_of(type) / 8;
    return w;
}

template <class T>
inline size_t packed_index(int n, int k, int k_padded) {
    constexpr int pair = Lanes<T>::kPair;
    return static_cast<size_t>(n / kPanel) * kPanel * k_padded + static_cast<size_t>(k / pair) * kPanel * pair +
           static_cast<size_t>(n % kPanel) * pair + k % pair;
}

inline void pack_int8_row(Weights& w, int n, const int8_t* row, float scale) {
    auto* panels = static_cast<int8_t*>(w.panels);
    int32_t sum = 0;
    for (int k = 0; k < w.k; ++k) {
        panels[packed_index<int8_t>(n, k, w.k_padded)] = row[k];
        sum += row[k];
    }
    w.scales[n] = scale;
    w.sums[n] = sum;
}

template <class T>
inline void pack_row(Weights& w, int n, const float* row) {
    T* panels = static_cast<T*>(w.panels);
    if constexpr (sizeof(T) == 1) {
        const float largest = largest_magnitude(row, w.k);
        const float inverse = largest > 0.0f ? 127.0f / largest : 0.0f;
        int32_t sum = 0;
        for (int k = 0; k < w.k; ++k) {
            const int value = _mm_cvtss_si32(_mm_set_ss(row[k] * inverse));
            panels[packed_index<T>(n, k, w.k_padded)] = static_cast<T>(value);
            sum += value;
        }
        w.scales[n] = largest / 127.0f;
        w.sums[n] = sum;
    } else {
        for (int k = 0; k < w.k; ++k) {
            if constexpr (sizeof(T) == 2)
                panels[packed_index<T>(n, k, w.k_padded)] = to_bf16(row[k]);
            else
                panels[packed_index<T>(n, k, w.k_padded)] = row[k];
        }
    }
}

// Where a code lies in its group: its byte, and the shift of 4 bits in it. See Lanes<Codes<4>> and Lanes<Codes<8>>.
struct CodePlace {
    size_t byte;
    int shift;
};

inline CodePlace code_place(Type type, int channel, int k) {
    if (type == Type::kCodes8) return {static_cast<size_t>(k / 2) * 2 * kPanel + 2 * channel + k % 2, 0};
    const int nibble = k % 8 / 2;
    return {static_cast<size_t>(k / 8) * 4 * kPanel + 2 * (2 * channel + k % 2) + nibble / 2, nibble % 2 * 4};
}

// A channel of codes [k] with scales and zero points [k / group]. A float16 has all bits of a checkpoint's scale (float16 or
// bfloat16), once the channel's power of two is taken out, unless a group's is 2^14 times smaller than its channel's largest.
inline void pack_codes_row(Weights& w, int n, const uint8_t* codes, const float* scales, const uint8_t* zeros) {
    const int groups = w.k / w.group, channel = n % kPanel;
    float largest = 0.0f;
    for (int g = 0; g < groups; ++g) largest = std::fmax(largest, std::fabs(scales[g]));
    int exponent = 0;
    if (largest > 0.0f) std::frexp(largest, &exponent);
    w.scales[n] = std::ldexp(1.0f, exponent);
    const uint8_t middle = static_cast<uint8_t>(1 << (bits_of(w.type) - 1));
    uint8_t* group = static_cast<uint8_t*>(w.panels) + static_cast<size_t>(n / kPanel) * w.panel_bytes;
    for (int g = 0; g < groups; ++g, group += w.group_bytes()) {
        for (int k = 0; k < w.group; ++k) {
            const CodePlace place = code_place(w.type, channel, k);
            group[place.byte] |= static_cast<uint8_t>(codes[g * w.group + k] << place.shift);
        }
        auto* half = reinterpret_cast<uint16_t*>(group + w.code_bytes());
        half[channel] = to_half(std::ldexp(scales[g], -exponent));
        group[w.code_bytes() + kPanel * sizeof(uint16_t) + channel] = zeros == nullptr ? middle : zeros[g];
    }
}

}  // namespace pw
