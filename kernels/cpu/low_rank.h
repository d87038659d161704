// Low-rank additions to products (LoRA, arXiv:2106.09685): out += B (A x) for the rows of a step that have an adapter.
//
// Each element is summed in one order, whatever the tile and the thread, so a row's result depends on that row and its adapter
// alone; rows without an adapter are not touched.
#pragma once

#include <algorithm>
#include <type_traits>

#include "dot.h"
#include "threads.h"
#include "weights.h"

namespace pw {

// What an adapter adds to one projection; rank 0: nothing.
struct LowRank {
    const float* a;  // [rank][K]
    const float* b;  // [n / 16, rounded up][rank][16], zeros behind the last channel
    int rank;
    int n;
    int first;       // the projection's first channel in the product's output
};

// Rows of one adapter that are computed together: its weights are read once for them.
constexpr int kLowRankRows = 4;

struct LowRankTile {
    int slot;
    int count;
    int rows[kLowRankRows];
};

struct LowRankStep {
    const int32_t* slots;    // [tokens]: each token's adapter, -1 for none; null when no token has one
    const LowRank* table;    // [slots][projections]
    float* middle;           // [tokens][middle_stride]: A x of the projections of one product, one after the other
    int64_t middle_stride;
    int num_slots, projections;
};

// Returns how many tiles there are; at most one for each token.
inline int low_rank_tiles(const LowRankStep& step, int tokens, LowRankTile* tiles) {
    if (step.slots == nullptr) return 0;
    int count = 0;
    for (int slot = 0; slot < step.num_slots; ++slot) {
        int filled = kLowRankRows;
        for (int token = 0; token < tokens; ++token) {
            if (step.slots[token] != slot) continue;
            if (filled == kLowRankRows) {
                tiles[count++] = {slot, 0, {}};
                filled = 0;
            }
            LowRankTile& tile = tiles[count - 1];
            tile.rows[filled++] = token;
            tile.count = filled;
        }
    }
    return count;
}

// One product's addition: the projections [first, first + count) of each adapter.
struct LowRankProduct {
    const LowRankStep* step;
    const LowRankTile* tiles;
    int tile_count;
    int first, count;
    const void* in;
    int64_t in_stride;
    const float* scales;  // of int8 activations
    int width;            // K
    float* out;
    int64_t out_stride;

    const LowRank* parts(const LowRankTile& tile) const { return step->table + tile.slot * step->projections + first; }
    float* middle(int row) const { return step->middle + row * step->middle_stride; }
};

// Activations of any kind become float32 in `scratch`.
template <class Activation>
inline const float* widen_row(const LowRankProduct& p, int row, float* scratch) {
    const auto* x = static_cast<const Activation*>(p.in) + row * p.in_stride;
    if constexpr (std::is_same_v<Activation, float>) {
        return x;
    } else {
        const f32x16 scale = splat(std::is_same_v<Activation, bf16> ? 1.0f : p.scales[row]);
        for (int k = 0; k < p.width; k += 16) {
            const Lanes16 lanes = first_lanes(p.width - k);
            store(scratch + k, load(x + k, lanes) * scale, lanes);
        }
        return scratch;
    }
}

template <int kRows>
inline void shrink(const LowRankProduct& p, const float* a, const float* const* x, float* const* to) {
    f32x16 sums[kRows][2];
    for (int m = 0; m < kRows; ++m) sums[m][0] = sums[m][1] = zeros();
    int k = 0;
    for (; k + 32 <= p.width; k += 32)
        for (int half = 0; half < 2; ++half) {
            const f32x16 left = load(a + k + 16 * half);
#pragma GCC unroll 4
            for (int m = 0; m < kRows; ++m) sums[m][half] = multiply_add(left, load(x[m] + k + 16 * half), sums[m][half]);
        }
    for (int half = 0; k < p.width; k += 16, ++half) {
        const Lanes16 lanes = first_lanes(p.width - k);
        const f32x16 left = load(a + k, lanes);
        for (int m = 0; m < kRows; ++m) sums[m][half] = multiply_add(left, load(x[m] + k, lanes), sums[m][half]);
    }
    for (int m = 0; m < kRows; ++m) *to[m] = sum(sums[m][0] + sums[m][1]);
}

template <int kRows>
inline void expand(const LowRankProduct& p, const LowRank& part, int block, const float* const* middle, const int* rows) {
    f32x16 sums[kRows];
    for (int m = 0; m < kRows; ++m) sums[m] = zeros();
    const float* b = part.b + static_cast<size_t>(block) * part.rank * kPanel;
    for (int r = 0; r < part.rank; ++r) {
        const f32x16 right = load(b + r * kPanel);
#pragma GCC unroll 4
        for (int m = 0; m < kRows; ++m) sums[m] = multiply_add(splat(middle[m][r]), right, sums[m]);
    }
    const int channel = block * kPanel;
    const Lanes16 lanes = first_lanes(part.n - channel);
    for (int m = 0; m < kRows; ++m) {
        float* out = p.out + rows[m] * p.out_stride + part.first + channel;
        store(out, load(out, lanes) + sums[m], lanes);
    }
}

template <class Function>
inline void with_rows(int count, Function function) {
    switch (count) {
        case 1: function(std::integral_constant<int, 1>{}); break;
        case 2: function(std::integral_constant<int, 2>{}); break;
        case 3: function(std::integral_constant<int, 3>{}); break;
        default: function(std::integral_constant<int, kLowRankRows>{});
    }
}

// Called by every thread of the team; `scratch` is float32 [kLowRankRows][width] of the thread's own.
template <class Activation>
inline void add_low_rank(const LowRankProduct& p, Team& team, float* scratch) {
    // A tile is split only as far as the threads need it.
    const int splits = (2 * team.count() + p.tile_count - 1) / p.tile_count;
    const int pieces = p.tile_count * splits;
    for (int piece = team.take(); piece < pieces; piece = team.take()) {
        const LowRankTile& tile = p.tiles[piece / splits];
        const LowRank* parts = p.parts(tile);
        int ranks = 0;
        for (int part = 0; part < p.count; ++part) ranks += parts[part].rank;
        const int split = piece % splits, begin = ranks * split / splits, end = ranks * (split + 1) / splits;
        if (begin == end) continue;
        const float* x[kLowRankRows];
        for (int m = 0; m < tile.count; ++m) x[m] = widen_row<Activation>(p, tile.rows[m], scratch + m * p.width);
        for (int part = 0, before = 0; part < p.count; before += parts[part++].rank)
            for (int r = std::max(begin - before, 0); r < std::min(end - before, parts[part].rank); ++r) {
                float* to[kLowRankRows];
                for (int m = 0; m < tile.count; ++m) to[m] = p.middle(tile.rows[m]) + before + r;
                const float* a = parts[part].a + static_cast<size_t>(r) * p.width;
                with_rows(tile.count, [&](auto rows) { shrink<rows()>(p, a, x, to); });
            }
    }
    team.barrier();
    for (int piece = team.take(); piece < pieces; piece = team.take()) {
        const LowRankTile& tile = p.tiles[piece / splits];
        const LowRank* parts = p.parts(tile);
        const int split = piece % splits;
        for (int part = 0, before = 0; part < p.count; before += parts[part++].rank) {
            if (parts[part].rank == 0) continue;
            const int blocks = (parts[part].n + kPanel - 1) / kPanel;
            const float* middle[kLowRankRows];
            for (int m = 0; m < tile.count; ++m) middle[m] = p.middle(tile.rows[m]) + before;
            for (int block = blocks * split / splits; block < blocks * (split + 1) / splits; ++block)
                with_rows(tile.count, [&](auto rows) { expand<rows()>(p, parts[part], block, middle, tile.rows); });
        }
    }
}

}  // namespace pw
