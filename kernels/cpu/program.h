// A recorded program: a list of operations with the addresses they read and write, run for each step by all threads together,
// with a barrier after each operation.
#pragma once

#include "attention_int8.h"
#include "attention_vectors.h"
#include "operation.h"
#include "product_groups.h"
#ifdef __AMX_TILE__
#include "attention_tiles.h"
#include "product_tiles.h"
#endif

namespace pw {

struct Program {
    Team* team;
    Type cache_type;     // of keys and values: bfloat16, float32 or int8
    bool tiles;
    int max_tokens;
    AttentionShape shape;
    Operation* operations;
    int count, capacity;
    QueryTile* query_tiles;
    int query_tile_count;
    int32_t* token_seq;  // [max_tokens]
    LowRankTile* low_rank_tiles;  // [max_tokens]
    int low_rank_tile_count;
    StepView step;
};

// The weights of the product that comes after an operation, or null.
inline const Weights* next_weights(const Program& program, const Operation& op) {
    for (const Operation* later = &op + 1; later < program.operations + program.count; ++later)
        if (later->kind == Kind::kLinear) return static_cast<const Weights*>(later->weight);
    return nullptr;
}

template <class By>
void attention(const Program& program, const Operation& op, Team& team) {
    const AttentionShape& shape = program.shape;
    const StepView& step = program.step;
    using T = typename By::Element;
    float* qkv = static_cast<float*>(const_cast<void*>(op.in));
    T* keys = static_cast<T*>(op.keys);
    T* values = static_cast<T*>(op.values);
    for_rows(team, step.tokens, [&](int token) {
        const int seq = program.token_seq[token];
        const int end = step.query_start[seq + 1];
        float* row = qkv + token * op.in_stride;
        rotate_token(shape, step, token, row, op.q_norm, op.k_norm);
        By::store_token(shape, step, token, token == end - 1, end - step.query_start[seq], row, keys, values);
    });
    team.barrier();
    alignas(64) typename By::Scratch scratch;
    const int heads = shape.kv_heads * shape.head_tiles();
    const int pieces = program.query_tile_count * heads;
    By::begin();
    const int64_t width = static_cast<int64_t>(shape.heads) * shape.dim;
    for (int piece = team.take(); piece < pieces; piece = team.take()) {
        const QueryTile& tile = program.query_tiles[piece / heads];
        const int head = piece % heads;
        const int kv_head = head / shape.head_tiles(), head_tile = head % shape.head_tiles();
        if (const int then = piece + team.count(); then < pieces) {
            const QueryTile& next = program.query_tiles[then / heads];
            const int32_t* table = step.block_tables + next.seq * step.table_stride;
            const int next_head = then % heads / shape.head_tiles(), end = step.positions[next.token] + 1;
            if (next.tokens == 1) {
                fetch_groups(shape, table, next_head, 0, end, keys, By::kGroupExtra);
                fetch_groups(shape, table, next_head, 0, end, values, By::kGroupExtra);
            }
        }
        By::attend(shape, step, tile, kv_head, head_tile, qkv, op.in_stride, keys, values, op.attended, width, scratch);
    }
    team.barrier();
    for_rows(team, step.tokens, [&](int row) {
        store_activation(op, op.attended + row * width, static_cast<int>(width), row);
    });
}

template <class T, class By>
void linear(const Operation& op, const Weights* next, int rows, Team& team) {
    const Product p{
        static_cast<const Weights*>(op.weight), op.in, static_cast<size_t>(op.in_stride), op.scales, op.group_sums,
        static_cast<float*>(op.out), static_cast<size_t>(op.out_stride), op.accumulate != 0, next};
    product<T, By>(p, rows, team);
}

inline void low_rank(const Program& program, const Operation& op, Team& team, float* scratch) {
    const LowRankProduct p{
        &program.step.low_rank, program.low_rank_tiles, program.low_rank_tile_count, op.projection, op.projections,
        op.in, op.in_stride, op.scales, op.width, static_cast<float*>(op.out), op.out_stride};
    switch (static_cast<Type>(op.form)) {
        case Type::kFloat32: add_low_rank<Lanes<float>::Activation>(p, team, scratch); break;
        case Type::kBFloat16: add_low_rank<Lanes<bf16>::Activation>(p, team, scratch); break;
        case Type::kInt8: add_low_rank<Lanes<int8_t>::Activation>(p, team, scratch); break;
        case Type::kCodes8: case Type::kCodes4: add_low_rank<int16_t>(p, team, scratch); break;
    }
}

// With what bfloat16 and int8 are computed; float32 always by vectors.
struct Vectors {
    using Products = VectorProducts;
    using Attention = VectorAttention<bf16>;
    static void end() {}
};

#ifdef __AMX_TILE__
struct Tiles {
    using Products = TileProducts;
    using Attention = TileAttention;
    static void end() { _tile_release(); }
};
#else
using Tiles = Vectors;
#endif

template <class By>
void run_operation(const Program& program, const Operation& op, Team& team, float* scratch) {
    const StepView& step = program.step;
    const int rows = op.of_rows ? step.rows : step.tokens;
    switch (op.kind) {
        case Kind::kEmbedding:
            for_rows(team, rows, [&](int row) { embed(op, step, row); });
            break;
        case Kind::kRmsNorm:
            for_rows(team, rows, [&](int row) { rms_norm(op, row, scratch); });
            break;
        case Kind::kSiluMul:
            for_rows(team, rows, [&](int row) { silu_mul(op, row, scratch); });
            break;
        case Kind::kLogitRows:
            for_rows(team, step.rows, [&](int row) {
                std::memcpy(
                    static_cast<float*>(op.out) + row * op.out_stride,
                    static_cast<const float*>(op.in) + step.logit_rows[row] * op.in_stride, sizeof(float) * op.width);
            });
            break;
        case Kind::kAttention:
            if (program.cache_type == Type::kFloat32)
                attention<VectorAttention<float>>(program, op, team);
            else if (program.cache_type == Type::kInt8)
                attention<Int8Attention>(program, op, team);
            else
                attention<typename By::Attention>(program, op, team);
            break;
        case Kind::kLinear: {
            const Weights* next = next_weights(program, op);
            switch (static_cast<const Weights*>(op.weight)->type) {
                case Type::kFloat32: linear<float, VectorProducts>(op, next, rows, team); break;
                case Type::kBFloat16: linear<bf16, typename By::Products>(op, next, rows, team); break;
                case Type::kInt8: linear<int8_t, typename By::Products>(op, next, rows, team); break;
                case Type::kCodes8: linear<Codes<8>, GroupedProducts>(op, next, rows, team); break;
                case Type::kCodes4: linear<Codes<4>, GroupedProducts>(op, next, rows, team); break;
            }
            break;
        }
        case Kind::kLowRank:
            low_rank(program, op, team, scratch);
            break;
    }
}

template <class By>
void run_program(void* context, Team& team, int) {
    const Program& program = *static_cast<const Program*>(context);
    static thread_local float* scratch = static_cast<float*>(std::malloc(sizeof(float) * kLowRankRows * kMaxWidth));
    for (int i = 0; i < program.count; ++i) {
        if (program.operations[i].kind == Kind::kLowRank && program.low_rank_tile_count == 0) continue;
        run_operation<By>(program, program.operations[i], team, scratch);
        team.barrier();
    }
    By::end();
}

}  // namespace pw
