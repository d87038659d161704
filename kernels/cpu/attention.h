// Rotary embedding, KV-cache store and causal paged attention with grouped heads, for one layer and all sequences of a step.
//
// The cache of a layer: keys [block][kv head][token][dim], values [block][kv head][16 tokens' group][dim][16 tokens], the order
// in which both products of attention read them row by row. The products are computed transposed, 16 queries side by side
// in the lanes of a vector (tokens times the heads that share a KV head), so that softmax never sums across lanes.
//
// Softmax goes online (Milakov and Gimelshein 2018) over chunks of kChunk keys that begin at fixed positions, so what a query
// gets depends on its own sequence alone: not on its batch, nor on whether it was prefilled or decoded.
#pragma once

#include "product.h"

namespace pw {

constexpr int kLanes = 16;
constexpr int kChunk = 256;

struct AttentionShape {
    int heads, kv_heads, dim, dim_padded;
    int block_size, num_blocks;
    const float* cos;  // [max positions][dim / 2]
    const float* sin;
    float norm_eps;

    int group() const { return heads / kv_heads; }
    // Heads of a group that share a tile, and the tokens that fit beside them.
    int tile_heads() const { return group() < kLanes ? group() : kLanes; }
    int tile_tokens() const { return kLanes / tile_heads(); }
    int head_tiles() const { return (group() + kLanes - 1) / kLanes; }
    size_t block_elements() const { return static_cast<size_t>(block_size) * dim_padded; }
};

struct StepView {
    const int32_t* token_ids;
    const int32_t* positions;
    const int32_t* slots;
    const int32_t* query_start;
    const int32_t* context_lens;
    const int32_t* block_tables;
    const int32_t* logit_rows;
    int64_t table_stride;
    int tokens, seqs, rows;
};

// One tile of queries to attend with.
struct QueryTile {
    int seq, token, tokens;
};

template <class T>
inline T narrow(float x);
template <>
inline float narrow<float>(float x) {
    return x;
}
template <>
inline bf16 narrow<bf16>(float x) {
    return to_bf16(x);
}

inline void norm_head(float* head, const float* weight, int dim, float eps) {
    const float inverse = 1.0f / std::sqrt(sum_of_squares(head, dim) / static_cast<float>(dim) + eps);
    for (int d = 0; d < dim; ++d) head[d] *= inverse * weight[d];
}

inline void rotate_head(float* head, const float* cos, const float* sin, int dim) {
    const int half = dim / 2;
    for (int d = 0; d < half; d += 16) {
        const __mmask16 lanes = first_lanes(half - d);
        const f32x16 c = _mm512_maskz_loadu_ps(lanes, cos + d), s = _mm512_maskz_loadu_ps(lanes, sin + d);
        const f32x16 a = _mm512_maskz_loadu_ps(lanes, head + d), b = _mm512_maskz_loadu_ps(lanes, head + half + d);
        _mm512_mask_storeu_ps(head + d, lanes, _mm512_fmsub_ps(a, c, _mm512_mul_ps(b, s)));
        _mm512_mask_storeu_ps(head + half + d, lanes, _mm512_fmadd_ps(b, c, _mm512_mul_ps(a, s)));
    }
}

// Rotates a token's queries in place, and puts its keys and values into the cache. qkv is its row of the projection.
template <class T>
inline void rotate_and_store(
    const AttentionShape& s, const StepView& step, int token, bool is_last, int new_tokens, float* qkv, T* keys, T* values,
    const float* q_norm, const float* k_norm) {
    const int position = step.positions[token];
    const float* cos = s.cos + static_cast<size_t>(position) * (s.dim / 2);
    const float* sin = s.sin + static_cast<size_t>(position) * (s.dim / 2);
    for (int h = 0; h < s.heads + s.kv_heads; ++h) {
        float* head = qkv + h * s.dim;
        const float* norm = h < s.heads ? q_norm : k_norm;
        if (norm != nullptr) norm_head(head, norm, s.dim, s.norm_eps);
        rotate_head(head, cos, sin, s.dim);
    }
    const int slot = step.slots[token];
    const int block = slot / s.block_size, offset = slot % s.block_size;
    const int sub = offset / 16, lane = offset % 16;
    const float* key = qkv + s.heads * s.dim;
    const float* value = key + s.kv_heads * s.dim;
    for (int h = 0; h < s.kv_heads; ++h) {
        const size_t base = (static_cast<size_t>(block) * s.kv_heads + h) * s.block_elements();
        T* k = keys + base + static_cast<size_t>(offset) * s.dim_padded;
        for (int d = 0; d < s.dim; ++d) k[d] = narrow<T>(key[h * s.dim + d]);
        T* v = values + base + static_cast<size_t>(sub) * 16 * s.dim_padded;
        for (int d = 0; d < s.dim; ++d) v[d * 16 + lane] = narrow<T>(value[h * s.dim + d]);
        // Places behind a sequence's last token are multiplied by zero weights: what another sequence left there, perhaps
        // infinite, must not count. Once is enough, in the step that begins the group.
        if (is_last && lane < 15 && new_tokens > lane)
            for (int d = 0; d < s.dim; ++d) std::memset(v + d * 16 + lane + 1, 0, (15 - lane) * sizeof(T));
    }
}

// A tile of queries, packed as the right-hand side [dim / pair][16][pair].
template <class T>
inline void pack_queries(
    const AttentionShape& s, const float* qkv, size_t qkv_stride, int kv_head, int head_tile, int tokens, T* out) {
    constexpr int pair = Traits<T>::kPair;
    std::memset(out, 0, sizeof(T) * kLanes * s.dim_padded);
    const int heads = s.tile_heads();
    for (int t = 0; t < tokens; ++t)
        for (int j = 0; j < heads; ++j) {
            const int in_group = head_tile * kLanes + j;
            if (in_group >= s.group()) break;
            const float* query = qkv + t * qkv_stride + (kv_head * s.group() + in_group) * s.dim;
            T* lane = out + (t * heads + j) * pair;
            for (int d = 0; d < s.dim; ++d) lane[(d / pair) * kLanes * pair + d % pair] = narrow<T>(query[d]);
        }
}

// out[16 rows][16 lanes] (+)= a[16 rows][depth] * b[depth / pair][16 lanes][pair], by vectors.
template <class T>
inline void multiply_vectors(const T* a, size_t a_stride, int depth, const T* b, float* out, bool accumulate) {
    constexpr int pair = Traits<T>::kPair;
    for (int row = 0; row < 16; row += 8) {
        f32x16 sums[8];
        for (int i = 0; i < 8; ++i)
            sums[i] = accumulate ? _mm512_loadu_ps(out + (row + i) * 16) : _mm512_setzero_ps();
        for (int k = 0; k < depth; k += pair) {
            const __m512i right = _mm512_loadu_si512(b + static_cast<size_t>(k) * kLanes);
            for (int i = 0; i < 8; ++i) sums[i] = Lanes<T>::step(sums[i], a + (row + i) * a_stride + k, right);
        }
        for (int i = 0; i < 8; ++i) _mm512_storeu_ps(out + (row + i) * 16, sums[i]);
    }
}

template <class T, bool kTiles>
inline void score_keys(const AttentionShape& s, const T* keys, const T* queries, float* scores) {
    if constexpr (kTiles && sizeof(T) == 2) {
        _tile_zero(0);
        for (int d = 0; d < s.dim_padded; d += 32) {
            _tile_loadd(4, keys + d, s.dim_padded * sizeof(T));
            _tile_loadd(6, queries + static_cast<size_t>(d) * kLanes, 64);
            _tile_dpbf16ps(0, 4, 6);
        }
        _tile_stored(0, scores, 64);
    } else {
        multiply_vectors<T>(keys, s.dim_padded, s.dim_padded, queries, scores, false);
    }
}

// Two rows of weights become pairs [16][2] of bfloat16, or stay float32.
inline void pack_weights(f32x16 even, f32x16 odd, bf16* out) {
    const __m512i low = _mm512_cvtepu16_epi32(to_bf16(even));
    const __m512i high = _mm512_slli_epi32(_mm512_cvtepu16_epi32(to_bf16(odd)), 16);
    _mm512_storeu_si512(out, _mm512_or_si512(low, high));
}
inline void pack_weights(f32x16 even, f32x16 odd, float* out) {
    _mm512_storeu_ps(out, even);
    _mm512_storeu_ps(out + kLanes, odd);
}

// The next 64 dims of a chunk's weighted sum of values, [64][16 lanes].
template <class T, bool kTiles>
inline void sum_values(
    const AttentionShape& s, const T* layer_values, const int32_t* table, int kv_head, int first_key, int groups, int dim,
    const T* weights, float* out) {
    const int width = s.dim_padded - dim < 64 ? s.dim_padded - dim : 64;
    if constexpr (kTiles && sizeof(T) == 2) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    for (int g = 0; g < groups; ++g) {
        const int key = first_key + g * 16;
        const size_t block = table[key / s.block_size];
        const T* v = layer_values + (block * s.kv_heads + kv_head) * s.block_elements() +
                     static_cast<size_t>(key % s.block_size) * s.dim_padded + static_cast<size_t>(dim) * 16;
        const T* w = weights + static_cast<size_t>(g) * 16 * kLanes;
        if constexpr (kTiles && sizeof(T) == 2) {
            _tile_loadd(7, w, 64);
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
        } else {
            for (int d = 0; d < width; d += 16)
                multiply_vectors<T>(v + d * 16, 16, 16, w, out + d * kLanes, g > 0);
        }
    }
    if constexpr (kTiles && sizeof(T) == 2) {
        _tile_stored(0, out, 64);
        _tile_stored(1, out + 16 * kLanes, 64);
        if (width > 32) {
            _tile_stored(2, out + 32 * kLanes, 64);
            _tile_stored(3, out + 48 * kLanes, 64);
        }
    }
}

constexpr int kMaxDim = 256;

// One thread's working memory.
template <class T>
struct alignas(64) AttentionScratch {
    T queries[kMaxDim * kLanes];
    float scores[kChunk * kLanes];
    T weights[kChunk * kLanes];
    float part[64 * kLanes];
    float out[kMaxDim * kLanes];
};

// Attention of one tile of queries with one KV head. out is [tokens][out_stride] of float32.
template <class T, bool kTiles>
inline void attend(
    const AttentionShape& s, const StepView& step, const QueryTile& tile, int kv_head, int head_tile, const float* qkv,
    size_t qkv_stride, const T* layer_keys, const T* layer_values, float* out, size_t out_stride,
    AttentionScratch<T>& scratch) {
    const int heads = s.tile_heads();
    const int32_t* table = step.block_tables + tile.seq * step.table_stride;
    alignas(64) int32_t last[kLanes];  // the last position that a lane may see
    for (int lane = 0; lane < kLanes; ++lane) {
        const int t = lane / heads;
        last[lane] = step.positions[tile.token + (t < tile.tokens ? t : tile.tokens - 1)];
    }
    const __m512i last_seen = _mm512_load_si512(last);
    const int end = step.positions[tile.token + tile.tokens - 1] + 1;
    pack_queries<T>(s, qkv + tile.token * qkv_stride, qkv_stride, kv_head, head_tile, tile.tokens, scratch.queries);
    const f32x16 scale = _mm512_set1_ps(1.0f / std::sqrt(static_cast<float>(s.dim)));
    const f32x16 minus_infinity = _mm512_set1_ps(-INFINITY);
    f32x16 largest = minus_infinity, total = _mm512_setzero_ps();
    for (int first = 0; first < end; first += kChunk) {
        const int groups = ((end - first < kChunk ? end - first : kChunk) + 15) / 16;
        f32x16 chunk_largest = largest;
        for (int g = 0; g < groups; ++g) {
            const int key = first + g * 16;
            const size_t block = table[key / s.block_size];
            const T* k = layer_keys + (block * s.kv_heads + kv_head) * s.block_elements() +
                         static_cast<size_t>(key % s.block_size) * s.dim_padded;
            float* scores = scratch.scores + g * 16 * kLanes;
            score_keys<T, kTiles>(s, k, scratch.queries, scores);
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
            sum_values<T, kTiles>(s, layer_values, table, kv_head, first, groups, dim, scratch.weights, sums);
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

}  // namespace pw
