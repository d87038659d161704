// Paged attention by AMX tiles, in bfloat16.
//
// The products are computed transposed, 16 queries side by side in the lanes of a vector (tokens times the heads that share a KV
// head), so that softmax never sums across lanes. The cache of a layer is in the order in which both products read it row by row:
// keys [block][kv head][token][dim], values [block][kv head][16 tokens' group][dim][16 tokens].
#pragma once

#include "attention.h"
#include "tiles.h"

namespace pw {

struct TileLayout {
    static size_t key(int token, int dim, int dim_padded) { return static_cast<size_t>(token) * dim_padded + dim; }
    static size_t value(int token, int dim, int dim_padded) {
        return (static_cast<size_t>(token / 16) * dim_padded + dim) * 16 + token % 16;
    }
};

// One thread's working memory.
struct alignas(64) TileScratch {
    bf16 queries[kMaxDim * kLanes];
    float scores[kChunk * kLanes];
    bf16 weights[kChunk * kLanes];
    float part[64 * kLanes];
    float out[kMaxDim * kLanes];
};

// A tile of queries, packed as the right-hand side [dim / 2][16][2].
inline void pack_queries(
    const AttentionShape& s, const float* qkv, size_t qkv_stride, int kv_head, int head_tile, int tokens, bf16* out) {
    std::memset(out, 0, sizeof(bf16) * kLanes * s.dim_padded);
    const int heads = s.tile_heads();
    for (int t = 0; t < tokens; ++t)
        for (int j = 0; j < heads; ++j) {
            const int in_group = head_tile * kLanes + j;
            if (in_group >= s.group()) break;
            const float* query = qkv + t * qkv_stride + (kv_head * s.group() + in_group) * s.dim;
            bf16* lane = out + (t * heads + j) * 2;
            for (int d = 0; d < s.dim; ++d) lane[(d / 2) * kLanes * 2 + d % 2] = to_bf16(query[d]);
        }
}

// Scores of 16 keys, [16 keys][16 lanes].
inline void score_keys(const AttentionShape& s, const bf16* keys, const bf16* queries, float* scores) {
    _tile_zero(0);
    for (int d = 0; d < s.dim_padded; d += 32) {
        _tile_loadd(4, keys + d, s.dim_padded * sizeof(bf16));
        _tile_loadd(6, queries + static_cast<size_t>(d) * kLanes, 64);
        _tile_dpbf16ps(0, 4, 6);
    }
    _tile_stored(0, scores, 64);
}

// Two rows of weights become pairs [16][2] of bfloat16.
inline void pack_weights(f32x16 even, f32x16 odd, bf16* out) {
    const __m512i low = _mm512_cvtepu16_epi32(to_bf16(even));
    const __m512i high = _mm512_slli_epi32(_mm512_cvtepu16_epi32(to_bf16(odd)), 16);
    _mm512_storeu_si512(out, _mm512_or_si512(low, high));
}

// The next 64 dims of a chunk's weighted sum of values, [64][16 lanes].
inline void sum_values(
    const AttentionShape& s, const bf16* layer_values, const int32_t* table, int kv_head, int first_key, int groups, int dim,
    const bf16* weights, float* out) {
    const int width = s.dim_padded - dim < 64 ? s.dim_padded - dim : 64;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int g = 0; g < groups; ++g) {
        const bf16* v = layer_values + s.group_start(table, kv_head, first_key + g * 16) + static_cast<size_t>(dim) * 16;
        _tile_loadd(7, weights + static_cast<size_t>(g) * 16 * kLanes, 64);
        _tile_loadd(5, v, 32);
        _tile_dpbf16ps(0, 5, 7);
        _tile_loadd(5, v + 16 * 16, 32);
        _tile_dpbf16ps(1, 5, 7);
        if (width > 32) {
            _tile_loadd(5, v + 32 * 16, 32);
            _tile_dpbf16ps(2, 5, 7);
            _tile_loadd(5, v + 48 * 16, 32);
            _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, out, 64);
    _tile_stored(1, out + 16 * kLanes, 64);
    if (width > 32) {
        _tile_stored(2, out + 32 * kLanes, 64);
        _tile_stored(3, out + 48 * kLanes, 64);
    }
}

// Attention of one tile of queries with one KV head. out is [tokens][out_stride] of float32.
inline void attend_by_tiles(
    const AttentionShape& s, const StepView& step, const QueryTile& tile, int kv_head, int head_tile, const float* qkv,
    size_t qkv_stride, const bf16* layer_keys, const bf16* layer_values, float* out, size_t out_stride, TileScratch& scratch) {
    const int heads = s.tile_heads();
    const int32_t* table = step.block_tables + tile.seq * step.table_stride;
    alignas(64) int32_t last[kLanes];  // the last position that a lane may see
    for (int lane = 0; lane < kLanes; ++lane) {
        const int t = lane / heads;
        last[lane] = step.positions[tile.token + (t < tile.tokens ? t : tile.tokens - 1)];
    }
    const __m512i last_seen = _mm512_load_si512(last);
    const int end = step.positions[tile.token + tile.tokens - 1] + 1;
    pack_queries(s, qkv + tile.token * qkv_stride, qkv_stride, kv_head, head_tile, tile.tokens, scratch.queries);
    const f32x16 scale = _mm512_set1_ps(1.0f / std::sqrt(static_cast<float>(s.dim)));
    const f32x16 minus_infinity = _mm512_set1_ps(-INFINITY);
    f32x16 largest = minus_infinity, total = _mm512_setzero_ps();
    for (int first = 0; first < end; first += kChunk) {
        const int groups = groups_of_chunk(first, end);
        f32x16 chunk_largest = largest;
        for (int g = 0; g < groups; ++g) {
            const int key = first + g * 16;
            float* scores = scratch.scores + g * 16 * kLanes;
            score_keys(s, layer_keys + s.group_start(table, kv_head, key), scratch.queries, scores);
            for (int i = 0; i < 16; ++i) {
                const __mmask16 seen = _mm512_cmple_epi32_mask(_mm512_set1_epi32(key + i), last_seen);
                const f32x16 score = _mm512_mul_ps(_mm512_loadu_ps(scores + i * kLanes), scale);
                const f32x16 masked = _mm512_mask_mov_ps(minus_infinity, seen, score);
                chunk_largest = _mm512_max_ps(chunk_largest, masked);
                _mm512_storeu_ps(scores + i * kLanes, masked);
            }
        }
        const f32x16 shrink = exp(_mm512_sub_ps(largest, chunk_largest));
        largest = chunk_largest;
        total = _mm512_mul_ps(total, shrink);
        for (int i = 0; i < groups * 16; i += 2) {
            const float* scores = scratch.scores + i * kLanes;
            const f32x16 even = exp(_mm512_sub_ps(_mm512_loadu_ps(scores), largest));
            const f32x16 odd = exp(_mm512_sub_ps(_mm512_loadu_ps(scores + kLanes), largest));
            total = _mm512_add_ps(total, _mm512_add_ps(even, odd));
            pack_weights(even, odd, scratch.weights + i * kLanes);
        }
        for (int dim = 0; dim < s.dim_padded; dim += 64) {
            float* sums = first == 0 ? scratch.out + dim * kLanes : scratch.part;
            sum_values(s, layer_values, table, kv_head, first, groups, dim, scratch.weights, sums);
            if (first == 0) continue;
            for (int d = 0; d < 64 && dim + d < s.dim_padded; ++d) {
                float* sum = scratch.out + (dim + d) * kLanes;
                _mm512_storeu_ps(sum, _mm512_fmadd_ps(_mm512_loadu_ps(sum), shrink, _mm512_loadu_ps(sums + d * kLanes)));
            }
        }
    }
    alignas(64) float inverse[kLanes];
    _mm512_store_ps(inverse, _mm512_div_ps(_mm512_set1_ps(1.0f), total));
    for (int t = 0; t < tile.tokens; ++t)
        for (int j = 0; j < heads && head_tile * kLanes + j < s.group(); ++j) {
            const int lane = t * heads + j;
            float* row = out + (tile.token + t) * out_stride + (kv_head * s.group() + head_tile * kLanes + j) * s.dim;
            const __m512i where = _mm512_mullo_epi32(
                _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0), _mm512_set1_epi32(kLanes));
            for (int d = 0; d < s.dim; d += 16) {
                const __mmask16 lanes = first_lanes(s.dim - d);
                const f32x16 column = _mm512_mask_i32gather_ps(
                    _mm512_setzero_ps(), lanes, where, scratch.out + d * kLanes + lane, 4);
                _mm512_mask_storeu_ps(row + d, lanes, _mm512_mul_ps(column, _mm512_set1_ps(inverse[lane])));
            }
        }
}

// Attention in bfloat16, by tiles.
struct TileAttention {
    using Element = bf16;
    static constexpr int kGroupExtra = 0;
    static constexpr auto store_token = pw::store_token<bf16, TileLayout>;
    using Scratch = TileScratch;
    static void begin() { configure_tiles_for_attention(); }
    static constexpr auto attend = attend_by_tiles;
};

}  // namespace pw
