// Paged attention over keys and values in int8, with a scale for each token and head.
//
// 16 tokens of a head are a group: [16 * dim_padded] int8, then [16] float16 scales. Keys lie [dim / 2][16 tokens][2] in it, values
// [token / 2][dim][2]. Queries become int16 with a scale for each row, and so do the weights of a chunk, once the values' scales are in
// them: both products are exact sums in 32 bits (127 * 32767 * 256 at most), the same whatever is computed beside them.
#pragma once

#include "attention_vectors.h"

namespace pw {

constexpr int kScaleBytes = 16 * sizeof(uint16_t);

struct alignas(64) Int8Scratch {
    int16_t queries[kLanes * kMaxDim];
    float scores[kLanes * kChunk];
    int16_t weights[kLanes * kChunk];
    float out[kLanes * kMaxDim];
    const int8_t* groups[kChunk / 16];
};

inline const uint16_t* scales_of(const int8_t* group, int dim_padded) {
    return reinterpret_cast<const uint16_t*>(group + 16 * dim_padded);
}

// The scale is what a float16 holds, so that the values are quantised by the very scale that is read.
inline uint16_t quantise_head(const float* head, int dim, int8_t* out) {
    const uint16_t half = to_half(largest_magnitude(head, dim) / 127.0f);
    const float scale = _cvtsh_ss(half), inverse = scale > 0.0f ? 1.0f / scale : 0.0f;
    for (int d = 0; d < dim; ++d) {
        const int value = _mm_cvtss_si32(_mm_set_ss(head[d] * inverse));
        out[d] = static_cast<int8_t>(value > 127 ? 127 : value < -127 ? -127 : value);
    }
    return half;
}

inline void store_int8(const AttentionShape& s, const StepView& step, int token, bool is_last, int new_tokens, const float* qkv, int8_t* keys, int8_t* values) {
    const int slot = step.slots[token], offset = slot % s.block_size, lane = offset % 16;
    const int32_t block = slot / s.block_size;
    int8_t narrow[kMaxDim];
    for (int h = 0; h < s.kv_heads; ++h) {
        const size_t start = s.group_start(&block, h, offset - lane, kScaleBytes);
        const float* key = qkv + (s.heads + h) * s.dim;
        int8_t* group = keys + start;
        uint16_t* scales = reinterpret_cast<uint16_t*>(group + 16 * s.dim_padded);
        scales[lane] = quantise_head(key, s.dim, narrow);
        for (int d = 0; d < s.dim; ++d) group[d / 2 * 32 + lane * 2 + d % 2] = narrow[d];
        group = values + start;
        scales = reinterpret_cast<uint16_t*>(group + 16 * s.dim_padded);
        scales[lane] = quantise_head(key + s.kv_heads * s.dim, s.dim, narrow);
        for (int d = 0; d < s.dim; ++d) group[lane / 2 * 2 * s.dim_padded + d * 2 + lane % 2] = narrow[d];
        // Places behind a sequence's last token have weight zero: a scale that another sequence left there must not be infinite.
        if (is_last && new_tokens > lane)
            for (int behind = lane + 1; behind < 16; ++behind) scales[behind] = 0;
    }
}

// Sums of kRows queries with the 16 keys of a group.
template <int kRows>
inline void score_int8(const int16_t* queries, int dim_padded, const int8_t* keys, i32x16* sums) {
#pragma GCC unroll 8
    for (int m = 0; m < kRows; ++m) sums[m] = splat_int(0);
    for (int d = 0; d < dim_padded; d += 2) {
        const i32x16 right = widen(keys + d * 16);
#pragma GCC unroll 8
        for (int m = 0; m < kRows; ++m) sums[m] = add_pairs(sums[m], queries + m * dim_padded + d, right);
    }
}

// Sums of 16 dims of all groups' values by kRows rows of weights.
template <int kRows>
inline void sum_int8(const int16_t* weights, int dim, int dim_padded, const int8_t* const* groups, int count, i32x16* sums) {
#pragma GCC unroll 8
    for (int m = 0; m < kRows; ++m) sums[m] = splat_int(0);
    for (int g = 0; g < count; ++g)
        for (int token = 0; token < 16; token += 2) {
            const i32x16 right = widen(groups[g] + token * dim_padded + dim * 2);
#pragma GCC unroll 8
            for (int m = 0; m < kRows; ++m) sums[m] = add_pairs(sums[m], weights + m * kChunk + g * 16 + token, right);
        }
}

// Attention of one tile of queries with one KV head. out is [tokens][out_stride] of float32.
inline void attend_int8(
    const AttentionShape& s, const StepView& step, const QueryTile& tile, int kv_head, int head_tile, const float* qkv,
    size_t qkv_stride, const int8_t* layer_keys, const int8_t* layer_values, float* out, size_t out_stride, Int8Scratch& scratch) {
    const int first_head = head_tile * kLanes;
    const int heads = s.group() - first_head < kLanes ? s.group() - first_head : kLanes;
    const int rows = tile.tokens * heads;
    const int32_t* table = step.block_tables + tile.seq * step.table_stride;
    const int end = step.positions[tile.token + tile.tokens - 1] + 1;
    float highest[kLanes], shrink[kLanes], query_scales[kLanes], weight_scales[kLanes];
    f32x16 totals[kLanes];
    const float by_dim = 1.0f / std::sqrt(static_cast<float>(s.dim));
    for (int row = 0; row < rows; ++row) {
        const float* query =
            qkv + (tile.token + row / heads) * qkv_stride + (kv_head * s.group() + first_head + row % heads) * s.dim;
        int16_t* to = scratch.queries + row * s.dim_padded;
        std::memset(to, 0, sizeof(int16_t) * s.dim_padded);
        query_scales[row] = quantise_row<kMostInt16>(query, s.dim, to) * by_dim;
        highest[row] = -INFINITY;
        totals[row] = zeros();
        std::memset(scratch.out + row * kMaxDim, 0, sizeof(float) * s.dim_padded);
    }
    for (int first = 0; first < end; first += kChunk) {
        const int count = groups_of_chunk(first, end);
        for (int g = 0; g < count; ++g) scratch.groups[g] = layer_keys + s.group_start(table, kv_head, first + g * 16, kScaleBytes);
        for_row_groups(rows, [&](auto size, int row, int, int) {
            constexpr int kRows = size();
            for (int g = 0; g < count; ++g) {
                i32x16 sums[kRows];
                score_int8<kRows>(scratch.queries + row * s.dim_padded, s.dim_padded, scratch.groups[g], sums);
                const f32x16 scales = load_half(scales_of(scratch.groups[g], s.dim_padded));
#pragma GCC unroll 8
                for (int m = 0; m < kRows; ++m)
                    store(scratch.scores + (row + m) * kChunk + g * 16, to_float(sums[m]) * (scales * splat(query_scales[row + m])));
            }
        });
        for (int g = 0; g < count; ++g)
            scratch.groups[g] = layer_values + s.group_start(table, kv_head, first + g * 16, kScaleBytes);
        for (int row = 0; row < rows; ++row) {
            float* scores = scratch.scores + row * kChunk;
            const int last = step.positions[tile.token + row / heads] - first;
            f32x16 largest_weight = zeros();
            shrink[row] = soften(scores, count, last, splat(1.0f), highest[row], totals[row], [&](int g, f32x16 weight) {
                weight = weight * load_half(scales_of(scratch.groups[g], s.dim_padded));
                largest_weight = max(largest_weight, weight);
                store(scores + g * 16, weight);
            });
            const float most = largest(largest_weight);
            const f32x16 inverse = splat(most > 0.0f ? kMostInt16 / most : 0.0f);
            for (int g = 0; g < count; ++g)
                store(scratch.weights + row * kChunk + g * 16, load(scores + g * 16) * inverse, Lanes16{0xFFFF});
            weight_scales[row] = most / kMostInt16;
        }
        for_row_groups(rows, [&](auto size, int row, int, int) {
            constexpr int kRows = size();
            for (int dim = 0; dim < s.dim_padded; dim += 16) {
                i32x16 sums[kRows];
                sum_int8<kRows>(scratch.weights + row * kChunk, dim, s.dim_padded, scratch.groups, count, sums);
#pragma GCC unroll 8
                for (int m = 0; m < kRows; ++m) {
                    float* to = scratch.out + (row + m) * kMaxDim + dim;
                    store(to, multiply_add(load(to), splat(shrink[row + m]), to_float(sums[m]) * splat(weight_scales[row + m])));
                }
            }
        });
    }
    for (int row = 0; row < rows; ++row) {
        const f32x16 inverse = splat(1.0f / sum(totals[row]));
        float* to = out + (tile.token + row / heads) * out_stride + (kv_head * s.group() + first_head + row % heads) * s.dim;
        for (int d = 0; d < s.dim; d += 16)
            store(to + d, load(scratch.out + row * kMaxDim + d) * inverse, first_lanes(s.dim - d));
    }
}

struct Int8Attention {
    using Element = int8_t;
    using Scratch = Int8Scratch;
    static constexpr int kGroupExtra = kScaleBytes;
    static void begin() {}
    static constexpr auto store_token = store_int8;
    static constexpr auto attend = attend_int8;
};

}  // namespace pw
