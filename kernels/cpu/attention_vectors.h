// Paged attention by AVX-512, in bfloat16 and float32.
//
// Keys lie side by side in the lanes of a vector for the scores, dims for the sums of values, so that a single query costs a
// sixteenth of what sixteen do. Both are the right-hand side of a product as in product.h, 16 tokens a group:
// keys [block][kv head][group][dim / pair][16 tokens][pair], values [block][kv head][group][token / pair][dim][pair].
#pragma once

#include "attention.h"

namespace pw {

template <class T>
struct VectorLayout {
    static constexpr int kPair = Traits<T>::kPair;
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
    T queries[kLanes * kMaxDim];
    float scores[kLanes * kChunk];
    T weights[kLanes * kChunk];
    float out[kLanes * kMaxDim];
    const T* groups[kChunk / 16];
};

// Scores of kRows queries with kGroups groups of keys, [row][kChunk].
template <class T, int kRows, int kGroups>
inline void score_rows(const T* queries, int dim_padded, const T* const* groups, float* scores) {
    using Vector = typename Lanes<T>::Vector;
    constexpr int pair = Traits<T>::kPair;
    Vector sums[kGroups][kRows];
#pragma GCC unroll 16
    for (int i = 0; i < kGroups * kRows; ++i) sums[i / kRows][i % kRows] = Lanes<T>::zero();
    for (int d = 0; d < dim_padded; d += pair) {
        __m512i right[kGroups];
#pragma GCC unroll 4
        for (int g = 0; g < kGroups; ++g) right[g] = _mm512_loadu_si512(groups[g] + static_cast<size_t>(d) * 16);
#pragma GCC unroll 8
        for (int m = 0; m < kRows; ++m)
#pragma GCC unroll 4
            for (int g = 0; g < kGroups; ++g) sums[g][m] = Lanes<T>::step(sums[g][m], queries + m * dim_padded + d, right[g]);
    }
#pragma GCC unroll 8
    for (int m = 0; m < kRows; ++m)
#pragma GCC unroll 4
        for (int g = 0; g < kGroups; ++g) Lanes<T>::store(scores + m * kChunk + g * 16, sums[g][m]);
}

// The weighted sums of 16 * kWidth dims of all groups' values, for kRows queries; added to what is in `out` times `shrink`.
template <class T, int kRows, int kWidth>
inline void sum_rows(
    const T* weights, int dim, int dim_padded, const T* const* groups, int count, const float* shrink, float* out) {
    using Vector = typename Lanes<T>::Vector;
    constexpr int pair = Traits<T>::kPair;
    Vector sums[kWidth][kRows];
#pragma GCC unroll 16
    for (int i = 0; i < kWidth * kRows; ++i) sums[i / kRows][i % kRows] = Lanes<T>::zero();
    for (int g = 0; g < count; ++g)
        for (int token = 0; token < 16; token += pair) {
            const T* line = groups[g] + static_cast<size_t>(token) * dim_padded + dim * pair;
            __m512i right[kWidth];
#pragma GCC unroll 4
            for (int i = 0; i < kWidth; ++i) right[i] = _mm512_loadu_si512(line + i * 16 * pair);
#pragma GCC unroll 8
            for (int m = 0; m < kRows; ++m)
#pragma GCC unroll 4
                for (int i = 0; i < kWidth; ++i)
                    sums[i][m] = Lanes<T>::step(sums[i][m], weights + m * kChunk + g * 16 + token, right[i]);
        }
#pragma GCC unroll 8
    for (int m = 0; m < kRows; ++m)
#pragma GCC unroll 4
        for (int i = 0; i < kWidth; ++i) {
            float* to = out + m * kMaxDim + dim + i * 16;
            _mm512_storeu_ps(to, _mm512_fmadd_ps(_mm512_loadu_ps(to), _mm512_set1_ps(shrink[m]), sums[i][m]));
        }
}

// A few rows' share of a chunk: everything but the softmax itself. As many products side by side as hide their latency.
template <class T>
struct ChunkOfRows {
    const AttentionShape& s;
    VectorScratch<T>& scratch;
    int count;  // groups

    template <int kRows>
    void score(int row) const {
        constexpr int side = kRows > 4 ? 2 : 4;
        const T* queries = scratch.queries + row * s.dim_padded;
        float* scores = scratch.scores + row * kChunk;
        int g = 0;
        for (; g + side <= count; g += side) score_rows<T, kRows, side>(queries, s.dim_padded, scratch.groups + g, scores + g * 16);
        for (; g < count; ++g) score_rows<T, kRows, 1>(queries, s.dim_padded, scratch.groups + g, scores + g * 16);
    }

    template <int kRows>
    void sum(int row, const float* shrink) const {
        constexpr int side = kRows > 4 ? 2 : 4;
        const T* weights = scratch.weights + row * kChunk;
        float* out = scratch.out + row * kMaxDim;
        int dim = 0;
        for (; dim + side * 16 <= s.dim_padded; dim += side * 16)
            sum_rows<T, kRows, side>(weights, dim, s.dim_padded, scratch.groups, count, shrink + row, out);
        for (; dim < s.dim_padded; dim += 16)
            sum_rows<T, kRows, 1>(weights, dim, s.dim_padded, scratch.groups, count, shrink + row, out);
    }
};

// Fetches a chunk's groups of keys or values. They lie scattered in memory, and a single query computes for a shorter time than
// they take to come.
template <class T>
inline void fetch_groups(const AttentionShape& s, const int32_t* table, int kv_head, int first, int end, const T* layer) {
    const int groups = groups_of_chunk(first, end);
    const size_t bytes = 16 * s.dim_padded * sizeof(T);
    for (int g = 0; g < groups; ++g) {
        const char* group = reinterpret_cast<const char*>(layer + s.group_start(table, kv_head, first + g * 16));
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
    float largest[kLanes], shrink[kLanes];
    f32x16 totals[kLanes];
    for (int row = 0; row < rows; ++row) {
        const float* query =
            qkv + (tile.token + row / heads) * qkv_stride + (kv_head * s.group() + first_head + row % heads) * s.dim;
        narrow_head(query, s.dim, s.dim_padded, scratch.queries + row * s.dim_padded);
        largest[row] = -INFINITY;
        totals[row] = _mm512_setzero_ps();
        std::memset(scratch.out + row * kMaxDim, 0, sizeof(float) * s.dim_padded);
    }
    const f32x16 scale = _mm512_set1_ps(1.0f / std::sqrt(static_cast<float>(s.dim)));
    const __m512i places = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    for (int first = 0; first < end; first += kChunk) {
        const ChunkOfRows<T> chunk{s, scratch, groups_of_chunk(first, end)};
        for (int g = 0; g < chunk.count; ++g)
            scratch.groups[g] = layer_keys + s.group_start(table, kv_head, first + g * 16);
        for_row_groups(rows, [&](auto size, int row) { chunk.template score<size()>(row); });
        for (int row = 0; row < rows; ++row) {
            float* scores = scratch.scores + row * kChunk;
            const __m512i last = _mm512_set1_epi32(step.positions[tile.token + row / heads] - first);
            f32x16 high = _mm512_set1_ps(largest[row]);
            for (int g = 0; g < chunk.count; ++g) {
                const __mmask16 seen = _mm512_cmple_epi32_mask(_mm512_add_epi32(places, _mm512_set1_epi32(g * 16)), last);
                const f32x16 score = _mm512_mask_mul_ps(_mm512_set1_ps(-INFINITY), seen, _mm512_loadu_ps(scores + g * 16), scale);
                high = _mm512_max_ps(high, score);
                _mm512_storeu_ps(scores + g * 16, score);
            }
            const f32x16 highest = _mm512_set1_ps(_mm512_reduce_max_ps(high));
            const f32x16 factor = exp(_mm512_sub_ps(_mm512_set1_ps(largest[row]), highest));
            shrink[row] = _mm512_cvtss_f32(factor);
            largest[row] = _mm512_cvtss_f32(highest);
            f32x16 total = _mm512_mul_ps(totals[row], factor);
            for (int g = 0; g < chunk.count; ++g) {
                const f32x16 weight = exp(_mm512_sub_ps(_mm512_loadu_ps(scores + g * 16), highest));
                total = _mm512_add_ps(total, weight);
                store_narrow(weight, scratch.weights + row * kChunk + g * 16);
            }
            totals[row] = total;
        }
        for (int g = 0; g < chunk.count; ++g)
            scratch.groups[g] = layer_values + s.group_start(table, kv_head, first + g * 16);
        for_row_groups(rows, [&](auto size, int row) { chunk.template sum<size()>(row, shrink); });
    }
    for (int row = 0; row < rows; ++row) {
        const f32x16 inverse = _mm512_set1_ps(1.0f / _mm512_reduce_add_ps(totals[row]));
        float* to = out + (tile.token + row / heads) * out_stride + (kv_head * s.group() + first_head + row % heads) * s.dim;
        for (int d = 0; d < s.dim; d += 16) {
            const f32x16 sum = _mm512_loadu_ps(scratch.out + row * kMaxDim + d);
            _mm512_mask_storeu_ps(to + d, first_lanes(s.dim - d), _mm512_mul_ps(sum, inverse));
        }
    }
}

}  // namespace pw
