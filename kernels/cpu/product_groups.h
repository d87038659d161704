// Matrix products of int16 activations with codes of 8 or 4 bits in groups.
//
// A group's products are summed exactly in 32 bits (255 * 32767 * 128 at most), its zero point is taken out by the sum of the
// activations, and the groups' results are added in float32 in their order: a row's result depends on that row alone.
#pragma once

#include "product.h"

namespace pw {

// Rows of activations. An address may add one register or its double to another: three rows share a pointer.
struct ActivationRows {
    const int16_t* thirds[3];
    size_t stride;

    ActivationRows(const int16_t* first, size_t row_stride)
        : thirds{first, first + 3 * row_stride, first + 6 * row_stride}, stride(row_stride) {}
    const int16_t* at(int row, int column) const { return thirds[row / 3] + row % 3 * stride + column; }
    void advance(int columns) {
#pragma GCC unroll 3
        for (int third = 0; third < 3; ++third) thirds[third] += columns;
    }
};

// All parts of a step: products of a pair of columns for 16 channels and kRows rows, into the sums.
template <class L, int kPart, int kRows>
inline void add_parts(i32x16 raw, const ActivationRows& a, i32x16* sums) {
    const i32x16 right = L::template part<kPart>(raw);
#pragma GCC unroll 8
    for (int m = 0; m < kRows; ++m) sums[m] = add_pairs(sums[m], a.at(m, 2 * kPart), right);
    if constexpr (kPart + 1 < L::kParts) add_parts<L, kPart + 1, kRows>(raw, a, sums);
}

// Rows [row, row + kRows) of a panel.
template <int kBits, int kRows, bool kFetch>
inline void grouped_rows(const Product& p, int row, int panel, Ahead ahead) {
    using L = Lanes<Codes<kBits>>;
    const Weights& w = *p.weights;
    ActivationRows a(static_cast<const int16_t*>(p.activations) + row * p.activation_stride, p.activation_stride);
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
            add_parts<L, 0, kRows>(L::raw(codes), a, sums);
            codes += L::kStepBytes;
            a.advance(L::kStep);
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

constexpr int kLargestGroup = 128;
// Rows whose totals lie in the first cache beside a widened group.
constexpr int kRowBlock = 64;

// A group's codes of a panel as int16, [group / 2][16][2].
template <class L, int kPart = 0>
inline void widen_parts(i32x16 raw, int16_t* out) {
    store_wide(out + kPart * 2 * kPanel, L::template part<kPart>(raw));
    if constexpr (kPart + 1 < L::kParts) widen_parts<L, kPart + 1>(raw, out);
}

// Many rows of a panel: a group's codes are widened once, not again for every few rows.
template <int kBits>
inline void grouped_block(const Product& p, int first, int rows, int panel, Ahead ahead) {
    using L = Lanes<Codes<kBits>>;
    const Weights& w = *p.weights;
    const auto* group = static_cast<const uint8_t*>(w.panels) + panel * w.panel_bytes;
    const int groups = w.k / w.group;
    const size_t fetched_each = ahead.from == nullptr ? 0 : ahead.bytes / groups;
    alignas(64) int16_t wide[kLargestGroup * kPanel];
    alignas(64) float totals[kRowBlock * kPanel];
    std::memset(totals, 0, sizeof(float) * rows * kPanel);
    for (int g = 0; g < groups; ++g) {
        for (size_t i = 0; i < fetched_each; i += 64) _mm_prefetch(ahead.from + g * fetched_each + i, _MM_HINT_T1);
        const uint8_t* codes = group;
        for (int k = 0; k < w.group; k += L::kStep, codes += L::kStepBytes) widen_parts<L>(L::raw(codes), wide + k * kPanel);
        const f32x16 scale = load_half(codes);
        const i32x16 zero = load_bytes(codes + kPanel * sizeof(uint16_t));
        for_row_groups(rows, [&](auto size, int row, int, int) {
            constexpr int kRows = size();
            const size_t stride = p.activation_stride;
            ActivationRows a(static_cast<const int16_t*>(p.activations) + (first + row) * stride + g * w.group, stride);
            i32x16 sums[kRows];
#pragma GCC unroll 8
            for (int m = 0; m < kRows; ++m) sums[m] = splat_int(0);
            for (int k = 0; k < w.group; k += 2) {
                const i32x16 right = load_wide(wide + k * kPanel);
#pragma GCC unroll 8
                for (int m = 0; m < kRows; ++m) sums[m] = add_pairs(sums[m], a.at(m, 0), right);
                a.advance(2);
            }
#pragma GCC unroll 8
            for (int m = 0; m < kRows; ++m) {
                const i32x16 shift = multiply(zero, splat_int(p.group_sums[static_cast<size_t>(first + row + m) * groups + g]));
                float* total = totals + (row + m) * kPanel;
                store(total, multiply_add(to_float(subtract(sums[m], shift)), scale, load(total)));
            }
        });
        group += w.group_bytes();
    }
    const int channel = panel * kPanel;
    for (int m = 0; m < rows; ++m)
        finish(p, first + m, channel, load(totals + m * kPanel) * (splat(p.token_scales[first + m]) * load(w.scales + channel)));
}

struct GroupedProducts {
    static void begin(int) {}

    template <class T, int kPanels>
    static void panels(const Product& p, int rows, int panel, Ahead ahead) {
        constexpr int kBits = T::kCodeBits;
        if (rows > Lanes<T>::kMostRows) {
            const int blocks = (rows + kRowBlock - 1) / kRowBlock;
            for (int block = 0; block < blocks; ++block) {
                const int first = block * kRowBlock, count = rows - first < kRowBlock ? rows - first : kRowBlock;
                grouped_block<kBits>(p, first, count, panel, ahead.part(block, blocks));
                if constexpr (kPanels > 1) grouped_block<kBits>(p, first, count, panel + 1, {nullptr, 0});
            }
            return;
        }
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
