// Matrix products of int16 activations with codes of 8 or 4 bits in groups.
//
// A group's products are summed exactly in 32 bits (255 * 32767 * 128 at most), its zero point is taken out by the sum of the
// activations, and the groups' results are added in float32 in their order: a row's result depends on that row alone.
#pragma once

#include "product.h"

namespace pw {

// All parts of a step: products of a pair of columns for 16 channels and kRows rows, into the sums.
template <class L, int kPart, int kRows>
inline void add_parts(i32x16 raw, const int16_t* a, size_t stride, i32x16* sums) {
    const i32x16 right = L::template part<kPart>(raw);
#pragma GCC unroll 8
    for (int m = 0; m < kRows; ++m) sums[m] = add_pairs(sums[m], a + m * stride + 2 * kPart, right);
    if constexpr (kPart + 1 < L::kParts) add_parts<L, kPart + 1, kRows>(raw, a, stride, sums);
}

// Rows [row, row + kRows) of a panel.
template <int kBits, int kRows, bool kFetch>
inline void grouped_rows(const Product& p, int row, int panel, Ahead ahead) {
    using L = Lanes<Codes<kBits>>;
    const Weights& w = *p.weights;
    const int16_t* a = static_cast<const int16_t*>(p.activations) + row * p.activation_stride;
    const auto* group = static_cast<const uint8_t*>(w.panels) + panel * w.panel_bytes;
    const int groups = w.k / w.group;
    const int32_t* activation_sums = p.group_sums + static_cast<size_t>(row) * groups;
    // Bytes to fetch in each step; a line may be asked for twice.
    const size_t stride = kFetch ? ahead.bytes * L::kStep / w.k : 0;
    const char* fetched = ahead.from;
    f32x16 totals[kRows];
#pragma GCC unroll 8
    for (int m = 0; m < kRows; ++m) totals[m] = zeros();
    for (int g = 0; g < groups; ++g) {
        i32x16 sums[kRows];
#pragma GCC unroll 8
        for (int m = 0; m < kRows; ++m) sums[m] = splat_int(0);
        const uint8_t* codes = group;
        for (int k = 0; k < w.group; k += L::kStep) {
            if constexpr (kFetch) {
                for (size_t i = 0; i < stride; i += 64) _mm_prefetch(fetched + i, _MM_HINT_T1);
                fetched += stride;
            }
            add_parts<L, 0, kRows>(L::raw(codes), a, p.activation_stride, sums);
            codes += L::kStepBytes;
            a += L::kStep;
        }
        const f32x16 scale = load_half(codes);
        const i32x16 zero = load_bytes(codes + kPanel * sizeof(uint16_t));
#pragma GCC unroll 8
        for (int m = 0; m < kRows; ++m) {
            const i32x16 shift = multiply(zero, splat_int(activation_sums[m * groups + g]));
            totals[m] = multiply_add(to_float(subtract(sums[m], shift)), scale, totals[m]);
        }
        group += w.group_bytes();
    }
    const int channel = panel * kPanel;
#pragma GCC unroll 8
    for (int m = 0; m < kRows; ++m)
        finish(p, row + m, channel, totals[m] * (splat(p.token_scales[row + m]) * load(w.scales + channel)));
}

struct GroupedProducts {
    static void begin(int) {}

    template <class T, int kPanels>
    static void panels(const Product& p, int rows, int panel, Ahead ahead) {
        constexpr int kBits = T::kCodeBits;
        for_row_groups<Lanes<T>::kMostRows>(rows, [&](auto size, int row, int group, int groups) {
            constexpr int kRows = size();
            const Ahead part = ahead.part(group, groups);
            if (part.from != nullptr)
                grouped_rows<kBits, kRows, true>(p, row, panel, part);
            else
                grouped_rows<kBits, kRows, false>(p, row, panel, part);
            if constexpr (kPanels > 1) grouped_rows<kBits, kRows, false>(p, row, panel + 1, {nullptr, 0});
        });
    }
};

}  // namespace pw
