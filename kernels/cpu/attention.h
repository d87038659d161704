// What attention by tiles and by vectors share: shapes, the rotary embedding and the store into the KV cache.
//
// Softmax goes online (Milakov and Gimelshein 2018) over chunks of kChunk keys that begin at fixed positions, so what a query
// gets depends on its own sequence alone: not on its batch, nor on whether it was prefilled or decoded.
#pragma once

#include "low_rank.h"
#include "product.h"

namespace pw {

constexpr int kLanes = 16;   // queries in a tile
constexpr int kChunk = 256;  // keys
constexpr int kMaxDim = 256;

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
    // Where the 16 tokens from `key` on begin in a layer's keys or values, each group of 16 followed by `extra` elements.
    size_t group_start(const int32_t* table, int kv_head, int key, int extra = 0) const {
        const size_t block = table[key / block_size], group_elements = static_cast<size_t>(16 * dim_padded + extra);
        return ((block * kv_heads + kv_head) * (block_size / 16) + key % block_size / 16) * group_elements;
    }
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
    LowRankStep low_rank;
};

// One tile of queries to attend with.
struct QueryTile {
    int seq, token, tokens;
};

inline int groups_of_chunk(int first, int end) { return ((end - first < kChunk ? end - first : kChunk) + 15) / 16; }

// A head in another type, with zeros behind it up to dim_padded (a multiple of 16).
template <class T>
inline void narrow_head(const float* head, int dim, int dim_padded, T* out) {
    for (int d = 0; d < dim_padded; d += 16) {
        store(out + d, d < dim ? load(head + d, first_lanes(dim - d)) : zeros());
    }
}

inline void norm_head(float* head, const float* weight, int dim, float eps) {
    const float inverse = 1.0f / std::sqrt(sum_of_squares(head, dim) / static_cast<float>(dim) + eps);
    for (int d = 0; d < dim; ++d) head[d] *= inverse * weight[d];
}

inline void rotate_head(float* head, const float* cos, const float* sin, int dim) {
    const int half = dim / 2;
    for (int d = 0; d < half; d += 16) {
        const Lanes16 lanes = first_lanes(half - d);
        const f32x16 c = load(cos + d, lanes), s = load(sin + d, lanes);
        const f32x16 a = load(head + d, lanes), b = load(head + half + d, lanes);
        store(head + d, multiply_subtract(a, c, b * s), lanes);
        store(head + half + d, multiply_add(b, c, a * s), lanes);
    }
}

// Rotates a token's queries and keys in place. qkv is the token's row of the projection.
inline void rotate_token(
    const AttentionShape& s, const StepView& step, int token, float* qkv, const float* q_norm, const float* k_norm) {
    const int position = step.positions[token];
    const float* cos = s.cos + static_cast<size_t>(position) * (s.dim / 2);
    const float* sin = s.sin + static_cast<size_t>(position) * (s.dim / 2);
    for (int h = 0; h < s.heads + s.kv_heads; ++h) {
        float* head = qkv + h * s.dim;
        const float* norm = h < s.heads ? q_norm : k_norm;
        if (norm != nullptr) norm_head(head, norm, s.dim, s.norm_eps);
        rotate_head(head, cos, sin, s.dim);
    }
}

// Puts a token's keys and values into the cache, in the order that Layout says.
template <class T, class Layout>
inline void store_token(
    const AttentionShape& s, const StepView& step, int token, bool is_last, int new_tokens, const float* qkv, T* keys,
    T* values) {
    const int slot = step.slots[token];
    const int32_t block = slot / s.block_size;
    const int offset = slot % s.block_size, lane = offset % 16;
    const float* key = qkv + s.heads * s.dim;
    const float* value = key + s.kv_heads * s.dim;
    alignas(64) T narrow_key[kMaxDim], narrow_value[kMaxDim];
    for (int h = 0; h < s.kv_heads; ++h) {
        const size_t base = s.group_start(&block, h, 0);
        narrow_head(key + h * s.dim, s.dim, s.dim_padded, narrow_key);
        narrow_head(value + h * s.dim, s.dim, s.dim_padded, narrow_value);
        for (int d = 0; d < s.dim; ++d) {
            keys[base + Layout::key(offset, d, s.dim_padded)] = narrow_key[d];
            values[base + Layout::value(offset, d, s.dim_padded)] = narrow_value[d];
        }
        // Places behind a sequence's last token are multiplied by zero weights: what another sequence left there, perhaps
        // infinite, must not count. Once is enough, in the step that begins the group.
        if (is_last && new_tokens > lane)
            for (int behind = offset + 1; behind % 16 != 0; ++behind)
                for (int d = 0; d < s.dim; ++d) values[base + Layout::value(behind, d, s.dim_padded)] = T{};
    }
}

}  // namespace pw
