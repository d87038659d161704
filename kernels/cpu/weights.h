// Weights [N, K], packed for the products: float32, bfloat16 and int8.
//
// They lie in panels of 16 output channels, [N / 16][K / pair][16][pair], one stream of memory for each panel, in the order in
// which the instruction set multiplies them (dot.h). K is padded with zeros to the elements of 64 bytes, N to 16.
#pragma once

#include "dot.h"

namespace pw {

enum class Type : int { kFloat32 = 0, kBFloat16 = 1, kInt8 = 2 };

constexpr int kPanel = 16;

// An element's bytes in memory.
inline size_t size_of(Type type) { return type == Type::kFloat32 ? 4 : type == Type::kBFloat16 ? 2 : 1; }

struct Weights {
    Type type;
    int n, k;            // as the model has them
    int n_padded;        // to a multiple of kPanel
    int k_padded;        // to a multiple of the elements of 64 bytes
    void* panels;
    float* scales;       // [n_padded], int8 only
    int32_t* sums;       // [n_padded]: sum over K of each channel, int8 only
    float* bias;         // [n_padded] or null
};

template <class T>
inline size_t packed_index(int n, int k, int k_padded) {
    constexpr int pair = Lanes<T>::kPair;
    return static_cast<size_t>(n / kPanel) * kPanel * k_padded + static_cast<size_t>(k / pair) * kPanel * pair +
           static_cast<size_t>(n % kPanel) * pair + k % pair;
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

}  // namespace pw
