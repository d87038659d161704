// Matrix products of a few rows of activations with packed weights.
//
// Every element of the result is summed over K in one order, whatever the number of rows and threads, so a row's result depends
// on that row alone.
#pragma once

#include <type_traits>

#include "threads.h"
#include "weights.h"

namespace pw {

// Buffers of activations are allocated with rows to spare up to a multiple of this: tiles read whole groups.
constexpr int kRowGroup = 32;

// What a product reads beside the weights, and where its result goes.
struct Product {
    const Weights* weights;
    const void* activations;  // [rows][activation_stride] of what the weights' type is multiplied with
    size_t activation_stride; // in elements
    const float* token_scales;  // [rows], not of floats
    const int32_t* group_sums;  // [rows][groups]: the activations of each group added up, for codes
    float* out;               // [rows][out_stride]
    size_t out_stride;
    bool accumulate;          // add to what is there: the residual
    const Weights* next;      // of the product that comes after this one, or null
};

// Weights come from memory while others are multiplied: each piece of work fetches what its thread will take up next.
struct Ahead {
    const char* from;  // null: nothing
    size_t bytes;

    // The part that pass `pass` of `passes` over a piece fetches.
    Ahead part(int pass, int passes) const {
        const int parts = passes < kMostParts ? passes : kMostParts;
        if (from == nullptr || pass >= parts) return {nullptr, 0};
        return {from + bytes / parts * pass, bytes / parts};
    }

    static constexpr int kMostParts = 8;
};

// One row's 16 results go where they belong.
inline void finish(const Product& p, int row, int channel, f32x16 value) {
    const Weights& w = *p.weights;
    if (w.bias != nullptr) value = value + load(w.bias + channel);
    float* out = p.out + row * p.out_stride + channel;
    if (p.accumulate) value = value + load(out);
    store(out, value);
}

// Sums of int8 products get the scales of their token and channels first.
inline void finish(const Product& p, int row, int channel, i32x16 sums) {
    const f32x16 scale = splat(p.token_scales[row]) * load(p.weights->scales + channel);
    finish(p, row, channel, to_float(sums) * scale);
}

// Rows [row, row + kRows) of kPanels panels. The sums live in registers: nothing may index them by a value of run time.
template <class T, int kRows, int kPanels, bool kFetch>
inline void product_rows(const Product& p, int row, int panel, Ahead ahead) {
    using L = Lanes<T>;
    const Weights& w = *p.weights;
    const auto* a = static_cast<const typename L::Activation*>(p.activations) + row * p.activation_stride;
    // An address may add one register or its double to another: three rows share a pointer.
    const typename L::Activation* thirds[3] = {a, a + 3 * p.activation_stride, a + 6 * p.activation_stride};
    const size_t panel_size = static_cast<size_t>(kPanel) * w.k_padded;
    const T* b = static_cast<const T*>(w.panels) + panel * panel_size;
    // Bytes to fetch in each turn of the loop; a line may be asked for twice.
    const size_t stride = kFetch ? ahead.bytes * L::kPair / w.k_padded : 0;
    const char* fetched = ahead.from;
    typename L::Sums sums[kPanels][kRows];
#pragma GCC unroll 16
    for (int i = 0; i < kPanels * kRows; ++i) sums[i / kRows][i % kRows] = L::zero();
    for (int k = 0; k < w.k_padded; k += L::kPair) {
        if constexpr (kFetch) {
            _mm_prefetch(fetched, _MM_HINT_T1);
            _mm_prefetch(fetched + 64, _MM_HINT_T1);
            fetched += stride;
        }
#pragma GCC unroll 2
        for (int part = 0; part < L::kParts; ++part) {
#pragma GCC unroll 2
            for (int half = 0; half < kPanels; ++half) {
                const auto right = L::right(b + half * panel_size + static_cast<size_t>(k) * kPanel, part);
#pragma GCC unroll 8
                for (int m = 0; m < kRows; ++m)
                    sums[half][m] = L::step(sums[half][m], thirds[m / 3] + m % 3 * p.activation_stride + part, right);
            }
        }
#pragma GCC unroll 3
        for (int third = 0; third < 3; ++third) thirds[third] += L::kPair;
    }
#pragma GCC unroll 2
    for (int half = 0; half < kPanels; ++half) {
        const int channel = (panel + half) * kPanel;
#pragma GCC unroll 8
        for (int m = 0; m < kRows; ++m) {
            if constexpr (sizeof(T) == 1)
                finish(p, row + m, channel, L::exact(sums[half][m], w.sums + channel));
            else
                finish(p, row + m, channel, sums[half][m]);
        }
    }
}

// Calls `function` with numbers of rows that are known at compile time, at most kMost each and as even as can be: a group
// of one or two rows would wait for its own sums. The function also gets the group's first row, its number, and how many there are.
template <int kMost = kMostRows, class Function>
inline void for_row_groups(int rows, Function function) {
    const int groups = (rows + kMost - 1) / kMost;
    for (int group = 0, row = 0; group < groups; ++group) {
        const int size = (rows - row + groups - group - 1) / (groups - group);
        switch (size) {
            case 1: function(std::integral_constant<int, 1>{}, row, group, groups); break;
            case 2: function(std::integral_constant<int, 2>{}, row, group, groups); break;
            case 3: function(std::integral_constant<int, 3>{}, row, group, groups); break;
            case 4: function(std::integral_constant<int, 4>{}, row, group, groups); break;
            case 5:
                if constexpr (kMost > 4) function(std::integral_constant<int, 5>{}, row, group, groups);
                break;
            case 6:
                if constexpr (kMost > 4) function(std::integral_constant<int, 6>{}, row, group, groups);
                break;
            default:
                if constexpr (kMost > 6) {
                    if (size == 7)
                        function(std::integral_constant<int, 7>{}, row, group, groups);
                    else
                        function(std::integral_constant<int, 8>{}, row, group, groups);
                }
        }
        row += size;
    }
}

// What the thread that has a piece will probably take up after it: the piece behind those of all threads, or at the end of
// these weights the beginning of the next.
inline Ahead ahead_of(const Product& p, int piece, int pieces, int threads) {
    const size_t piece_bytes = 2 * p.weights->panel_bytes;
    const int then = piece + threads;
    if (then < pieces) {
        const size_t all = p.weights->n_padded / kPanel * p.weights->panel_bytes;
        const size_t from = then * piece_bytes;
        return {static_cast<const char*>(p.weights->panels) + from, all - from < piece_bytes ? all - from : piece_bytes};
    }
    if (p.next == nullptr) return {nullptr, 0};
    const size_t all = p.next->n_padded / kPanel * p.next->panel_bytes;
    const size_t from = (then - pieces) * piece_bytes;
    if (from + piece_bytes > all) return {nullptr, 0};
    return {static_cast<const char*>(p.next->panels) + from, piece_bytes};
}

// Products by vectors, of any type.
struct VectorProducts {
    static void begin(int) {}

    template <class T, int kPanels>
    static void panels(const Product& p, int rows, int panel, Ahead ahead) {
        for_row_groups(rows, [&](auto size, int row, int group, int groups) {
            constexpr int kRows = size();
            constexpr bool together = kPanels == 1 || kRows * kPanels <= kMostSums;
            const Ahead part = ahead.part(group, groups);
            if constexpr (together) {
                if (part.from != nullptr)
                    product_rows<T, kRows, kPanels, true>(p, row, panel, part);
                else
                    product_rows<T, kRows, kPanels, false>(p, row, panel, part);
            } else {
                if (part.from != nullptr)
                    product_rows<T, kRows, 1, true>(p, row, panel, part);
                else
                    product_rows<T, kRows, 1, false>(p, row, panel, part);
                product_rows<T, kRows, 1, false>(p, row, panel + 1, {nullptr, 0});
            }
        });
    }
};

// Called by every thread of the team; the pieces of work are pairs of panels. By tells with what.
template <class T, class By>
inline void product(const Product& p, int rows, Team& team) {
    const int panels = p.weights->n_padded / kPanel;
    const int pieces = (panels + 1) / 2;
    By::begin(rows);
    for (int piece = team.take(); piece < pieces; piece = team.take()) {
        const int panel = piece * 2;
        const Ahead ahead = ahead_of(p, piece, pieces, team.count());
        if (panels - panel > 1)
            By::template panels<T, 2>(p, rows, panel, ahead);
        else
            By::template panels<T, 1>(p, rows, panel, ahead);
    }
}

}  // namespace pw
