// Paged attention by vectors, in bfloat16 and float32.
//
// Keys lie side by side in the lanes of a vector for the scores, dims for the sums of values, so that a single query costs a
// sixteenth of what sixteen do. Both are the right-hand side of a product as in weights.h, 16 tokens a group:
// keys [block][kv head][group][dim / pair][16 tokens][pair], values [block][kv head][group][token / pair][dim][pair].
#pragma once

#include "attention.h"

namespace pw {

template <class T>
struct VectorLayout {
    static constexpr int kPair = Lanes<T>::kPair;
    static size_t key(int token, int dim, int dim_padded) {
        return static_cast<size_t>(token / 16) * 16 * dim_padded + (dim / kPair * 16 + token % 16) * kPair + dim % kPair;
    }
    static size_t value(int token, int dim, int dim_padded) {
        return static_cast<size_t>(token / kPair) * kPair * dim_padded + dim * kPair + token % kPair;
    }
};

// One thread's working memory: a row for each query of a tile.
template <class T>
struct alignas(64) VectorScratch {
    using Activation = typename Lanes<T>::Activation;
    Activation queries[kLanes * kMaxDim];
    float scores[kLanes * kChunk];
    Activation weights[kLanes * kChunk];
    float out[kLanes * kMaxDim];
    const T* groups[kChunk / 16];
};

// How many products of kRows rows go side by side: as many as there are registers for, to hide their latency.
template <int kRows>
constexpr int side_by_side() {
    constexpr int fit = kMostSums / kRows;
    return fit >= 4 ? 4 : fit >= 2 ? 2 : 1;
}

// Scores of kRows queries with kGroups groups of keys, [row][kChunk].
template <class T, int kRows, int kGroups>
inline void score_rows(const typename Lanes<T>::Activation* queries, int dim_padded, const T* const* groups, float* scores) {
    using L = Lanes<T>;
    typename L::Sums sums[kGroups][kRows];
#pragma GCC unroll 16
    for (int i = 0; i < kGroups * kRows; ++i) sums[i / kRows][i % kRows] = L::zero();
    for (int d = 0; d < dim_padded; d += L::kPair)
#pragma GCC unroll 2
        for (int part = 0; part < L::kParts; ++part) {
#pragma GCC unroll 4
            for (int g = 0; g < kGroups; ++g) {
                const auto right = L::right(groups[g] + static_cast<size_t>(d) * 16, part);
#pragma GCC unroll 8
                for (int m = 0; m < kRows; ++m)
                    sums[g][m] = L::step(sums[g][m], queries + m * dim_padded + d + part, right);
            }
        }
#pragma GCC unroll 8
    for (int m = 0; m < kRows; ++m)
#pragma GCC unroll 4
        for (int g = 0; g < kGroups; ++g) store(scores + m * kChunk + g * 16, sums[g][m]);
}

// The weighted sums of 16 * kWidth dims of all groups' values, for kRows queries; added to what is in `out` times `shrink`.
template <class T, int kRows, int kWidth>
inline void sum_rows(
    const typename Lanes<T>::Activation* weights, int dim, int dim_padded, const T* const* groups, int count,
    const float* shrink, float* out) {
    using L = Lanes<T>;
    typename L::Sums sums[kWidth][kRows];
#pragma GCC unroll 16
    for (int i = 0; i < kWidth * kRows; ++i) sums[i / kRows][i % kRows] = L::zero();
    for (int g = 0; g < count; ++g)
        for (int token = 0; token < 16; token += L::kPair) {
            const T* line = groups[g] + static_cast<size_t>(token) * dim_padded + dim * L::kPair;
#pragma GCC unroll 2
            for (int part = 0; part < L::kParts; ++part) {
#pragma GCC unroll 4
                for (int i = 0; i < kWidth; ++i) {
                    const auto right = L::right(line + i * 16 * L::kPair, part);
#pragma GCC unroll 8
                    for (int m = 0; m < kRows; ++m)
                        sums[i][m] = L::step(sums[i][m], weights + m * kChunk + g * 16 + token + part, right);
                }
            }
        }
#pragma GCC unroll 8
    for (int m = 0; m < kRows; ++m)
#pragma GCC unroll 4
        for (int i = 0; i < kWidth; ++i) {
            float* to = out + m * kMaxDim + dim + i * 16;
            store(to, multiply_add(load(to), splat(shrink[m]), sums[i][m]));
        }
}

// A few rows' share of a chunk: everything but the softmax itself.
template <class T>
struct ChunkOfRows {
    const AttentionShape& s;
    VectorScratch<T>& scratch;
    int count;  // groups

    template <int kRows>
    void score(int row) const {
        constexpr int side = side_by_side<kRows>();
        const auto* queries = scratch.queries + row * s.dim_padded;
        float* scores = scratch.scores + row * kChunk;
        int g = 0;
        for (; g + side <= count; g += side) score_rows<T, kRows, side>(queries, s.dim_padded, scratch.groups + g, scores + g * 16);
        for (; g < count; ++g) score_rows<T, kRows, 1>(queries, s.dim_padded, scratch.groups + g, scores + g * 16);
    }

    template <int kRows>
    void sum(int row, const float* shrink) const {
        constexpr int side = side_by_side<kRows>();
        const auto* weights = scratch.weights + row * kChunk;
        float* out = scratch.out + row * kMaxDim;
        int dim = 0;
        for (; dim + side * 16 <= s.dim_padded; dim += side * 16)
            sum_rows<T, kRows, side>(weights, dim, s.dim_padded, scratch.groups, count, shrink + row, out);
        for (; dim < s.dim_padded; dim += 16)
            sum_rows<T, kRows, 1>(weights, dim, s.dim_padded, scratch.groups, count, shrink + row, out);
    }
};

// A row's scores of a chunk become weights, those of keys up to `last` of the chunk; each 16 are given to `keep`. Returns what the
// sums over earlier chunks shrink by.
template <class Keep>
inline float soften(float* scores, int groups, int last, f32x16 scale, float& highest, f32x16& total, Keep keep) {
    const i32x16 last_seen = splat_int(last);
    f32x16 high = splat(highest);
    for (int g = 0; g < groups; ++g) {
        const Lanes16 seen = at_most(add(places(), splat_int(g * 16)), last_seen);
        const f32x16 score = select(seen, load(scores + g * 16) * scale, splat(-INFINITY));
        high = max(high, score);
        store(scores + g * 16, score);
    }
    const float before = highest;
    highest = largest(high);
    const f32x16 factor = exp(splat(before) - splat(highest));
    total = total * factor;
    for (int g = 0; g < groups; ++g) {
        const f32x16 weight = exp(load(scores + g * 16) - splat(highest));
        total = total + weight;
        keep(g, weight);
    }
    float each[16];
    store(each, factor);
    return each[0];
}

// Fetches a chunk's groups of keys or values. They lie scattered in memory, and a single query computes for a shorter time than
// they take to come.
template <class T>
inline void fetch_groups(
    const AttentionShape& s, const int32_t* table, int kv_head, int first, int end, const T* layer, int extra) {
    const int groups = groups_of_chunk(first, end);
    const size_t bytes = (16 * s.dim_padded + extra) * sizeof(T);
    for (int g = 0; g < groups; ++g) {
        const char* group = reinterpret_cast<const char*>(layer + s.group_start(table, kv_head, first + g * 16, extra));
        for (size_t i = 0; i < bytes; i += 64) _mm_prefetch(group + i, _MM_HINT_T1);
    }
}

// Attention of one tile of queries with one KV head. out is [tokens][out_stride] of float32.
template <class T>
inline void attend_by_vectors(
    const AttentionShape& s, const StepView& step, const QueryTile& tile, int kv_head, int head_tile, const float* qkv,
    size_t qkv_stride, const T* layer_keys, const T* layer_values, float* out, size_t out_stride, VectorScratch<T>& scratch) {
    const int first_head = head_tile * kLanes;
    const int heads = s.group() - first_head < kLanes ? s.group() - first_head : kLanes;
    const int rows = tile.tokens * heads;
    const int32_t* table = step.block_tables + tile.seq * step.table_stride;
    const int end = step.positions[tile.token + tile.tokens - 1] + 1;
    float highest[kLanes], shrink[kLanes];
    f32x16 totals[kLanes];
    for (int row = 0; row < rows; ++row) {
        const float* query =
            qkv + (tile.token + row / heads) * qkv_stride + (kv_head * s.group() + first_head + row % heads) * s.dim;
        narrow_head(query, s.dim, s.dim_padded, scratch.queries + row * s.dim_padded);
        highest[row] = -INFINITY;
        totals[row] = zeros();
        std::memset(scratch.out + row * kMaxDim, 0, sizeof(float) * s.dim_padded);
    }
    const f32x16 scale = splat(1.0f / std::sqrt(static_cast<float>(s.dim)));
    for (int first = 0; first < end; first += kChunk) {
        const ChunkOfRows<T> chunk{s, scratch, groups_of_chunk(first, end)};
        for (int g = 0; g < chunk.count; ++g)
            scratch.groups[g] = layer_keys + s.group_start(table, kv_head, first + g * 16);
        for_row_groups(rows, [&](auto size, int row, int, int) { chunk.template score<size()>(row); });
        for (int row = 0; row < rows; ++row) {
            const int last = step.positions[tile.token + row / heads] - first;
            shrink[row] = soften(scratch.scores + row * kChunk, chunk.count, last, scale, highest[row], totals[row], [&](int g, f32x16 weight) {
                store(scratch.weights + row * kChunk + g * 16, weight);
            });
        }
        for (int g = 0; g < chunk.count; ++g)
            scratch.groups[g] = layer_values + s.group_start(table, kv_head, first + g * 16);
        for_row_groups(rows, [&](auto size, int row, int, int) { chunk.template sum<size()>(row, shrink); });
    }
    for (int row = 0; row < rows; ++row) {
        const f32x16 inverse = splat(1.0f / sum(totals[row]));
        float* to = out + (tile.token + row / heads) * out_stride + (kv_head * s.group() + first_head + row % heads) * s.dim;
        for (int d = 0; d < s.dim; d += 16)
            store(to + d, load(scratch.out + row * kMaxDim + d) * inverse, first_lanes(s.dim - d));
    }
}

template <class T>
struct VectorAttention {
    using Element = T;
    static constexpr int kGroupExtra = 0;
    static constexpr auto store_token = pw::store_token<T, VectorLayout<T>>;
    using Scratch = VectorScratch<T>;
    static void begin() {}
    static constexpr auto attend = attend_by_vectors<T>;
};

}  // namespace pw
