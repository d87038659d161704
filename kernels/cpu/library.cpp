// The compiled CPU kernels as a C interface, for ctypes: teams of threads, packed weights, recorded programs, sampling.
//
// A program is a list of operations with the addresses they read and write, recorded once (kernels/cpu/program.py) and run for
// each step by all threads together, with a barrier after each operation.
#if defined(__GNUC__) && !defined(__clang__)
// Partial redundancy elimination copies loop-carried sums: those of int8 products by AVX2 then no longer fit the registers.
#pragma GCC optimize("no-tree-pre")
#endif

#include <sys/mman.h>

#include <new>

#include "attention_vectors.h"
#include "sampling.h"
#ifdef __AMX_TILE__
#include "attention_tiles.h"
#include "product_tiles.h"
#endif

using namespace pw;

namespace {

constexpr size_t kHugePage = size_t{2} << 20;

void* map_memory(size_t bytes) {
    const size_t size = (bytes + kHugePage - 1) / kHugePage * kHugePage;
    // One huge page more, to begin at the border of one; the rest is never touched.
    void* memory = mmap(nullptr, size + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return nullptr;
    const uintptr_t start = (reinterpret_cast<uintptr_t>(memory) + kHugePage - 1) / kHugePage * kHugePage;
    const size_t before = start - reinterpret_cast<uintptr_t>(memory);
    if (before > 0) munmap(memory, before);
    if (before < kHugePage) munmap(reinterpret_cast<void*>(start + size), kHugePage - before);
    madvise(reinterpret_cast<void*>(start), size, MADV_HUGEPAGE);
    return reinterpret_cast<void*>(start);
}

enum class Kind : int { kEmbedding, kRmsNorm, kLinear, kAttention, kSiluMul, kLogitRows, kLowRank };

// What an operation needs; unused fields are zero. Widths in elements, rows from the step: tokens, or rows of logits.
struct Operation {
    Kind kind;
    int of_rows;         // 1: one row for each logit row, 0: for each token
    int width;           // of a row of the input
    int accumulate;
    float epsilon;
    int table_type;
    int projection, projections;  // of an adapter: the first and how many, of kLowRank
    const void* in;
    void* out;
    float* scales;       // of int8 activations: read by linear and low rank, written by the others
    int64_t in_stride, out_stride;
    const void* weight;  // Weights, a norm's float32 or an embedding table
    void* keys;
    void* values;
    const float* q_norm;
    const float* k_norm;
    float* attended;     // float32 [tokens][heads * dim]
};

struct Program {
    Team* team;
    Type type;
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
const Weights* next_weights(const Program& program, const Operation& op) {
    for (const Operation* later = &op + 1; later < program.operations + program.count; ++later)
        if (later->kind == Kind::kLinear) return static_cast<const Weights*>(later->weight);
    return nullptr;
}

// Float32 values of a row become what a product reads.
void store_activation(Type type, const float* x, int width, void* out, int64_t stride, int row, float* scales) {
    switch (type) {
        case Type::kFloat32:
            std::memcpy(static_cast<float*>(out) + row * stride, x, sizeof(float) * width);
            break;
        case Type::kBFloat16: {
            auto* to = static_cast<Lanes<bf16>::Activation*>(out) + row * stride;
            for (int i = 0; i < width; i += 16) {
                const Lanes16 lanes = first_lanes(width - i);
                store(to + i, load(x + i, lanes), lanes);
            }
            break;
        }
        case Type::kInt8:
            scales[row] = quantise_row(x, width, static_cast<Lanes<int8_t>::Activation*>(out) + row * stride);
            break;
    }
}

constexpr int kMaxWidth = 65536;

void embed(const Operation& op, const StepView& step, int row) {
    const size_t from = static_cast<size_t>(step.token_ids[row]) * op.width;
    float* out = static_cast<float*>(op.out) + row * op.out_stride;
    if (op.table_type == static_cast<int>(Type::kFloat32)) {
        std::memcpy(out, static_cast<const float*>(op.weight) + from, sizeof(float) * op.width);
        return;
    }
    const bf16* table = static_cast<const bf16*>(op.weight) + from;
    for (int i = 0; i < op.width; i += 16) {
        const Lanes16 lanes = first_lanes(op.width - i);
        store(out + i, load(table + i, lanes), lanes);
    }
}

void rms_norm(const Operation& op, Type type, int row, float* scratch) {
    const float* x = static_cast<const float*>(op.in) + row * op.in_stride;
    const float* weight = static_cast<const float*>(op.weight);
    const float mean = sum_of_squares(x, op.width) / static_cast<float>(op.width);
    const f32x16 inverse = splat(1.0f / std::sqrt(mean + op.epsilon));
    for (int i = 0; i < op.width; i += 16) {
        const Lanes16 lanes = first_lanes(op.width - i);
        store(scratch + i, load(x + i, lanes) * inverse * load(weight + i, lanes), lanes);
    }
    store_activation(type, scratch, op.width, op.out, op.out_stride, row, op.scales);
}

void silu_mul(const Operation& op, Type type, int row, float* scratch) {
    const float* gate = static_cast<const float*>(op.in) + row * op.in_stride;
    const float* up = gate + op.width;
    for (int i = 0; i < op.width; i += 16) {
        const Lanes16 lanes = first_lanes(op.width - i);
        const f32x16 g = load(gate + i, lanes);
        store(scratch + i, g * sigmoid(g) * load(up + i, lanes), lanes);
    }
    store_activation(type, scratch, op.width, op.out, op.out_stride, row, op.scales);
}

// Hands rows out in pieces small enough to spread over the threads.
template <class Function>
void for_rows(Team& team, int rows, Function function) {
    const int size = std::max(1, rows / (team.count() * 4));
    for (int piece = team.take(); piece * size < rows; piece = team.take())
        for (int row = piece * size; row < std::min(rows, (piece + 1) * size); ++row) function(row);
}

template <class T, class By>
void attention(const Program& program, const Operation& op, Team& team) {
    const AttentionShape& shape = program.shape;
    const StepView& step = program.step;
    float* qkv = static_cast<float*>(const_cast<void*>(op.in));
    T* keys = static_cast<T*>(op.keys);
    T* values = static_cast<T*>(op.values);
    for_rows(team, step.tokens, [&](int token) {
        const int seq = program.token_seq[token];
        const int end = step.query_start[seq + 1];
        rotate_and_store<T, typename By::Layout>(
            shape, step, token, token == end - 1, end - step.query_start[seq], qkv + token * op.in_stride, keys, values,
            op.q_norm, op.k_norm);
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
                fetch_groups(shape, table, next_head, 0, end, keys);
                fetch_groups(shape, table, next_head, 0, end, values);
            }
        }
        By::attend(shape, step, tile, kv_head, head_tile, qkv, op.in_stride, keys, values, op.attended, width, scratch);
    }
    team.barrier();
    for_rows(team, step.tokens, [&](int row) {
        store_activation(program.type, op.attended + row * width, static_cast<int>(width), op.out, op.out_stride, row, op.scales);
    });
}

template <class T, class By>
void linear(const Operation& op, const Weights* next, int rows, Team& team) {
    const Product p{
        static_cast<const Weights*>(op.weight), op.in, static_cast<size_t>(op.in_stride), op.scales,
        static_cast<float*>(op.out), static_cast<size_t>(op.out_stride), op.accumulate != 0, next};
    product<T, By>(p, rows, team);
}

void low_rank(const Program& program, const Operation& op, Team& team, float* scratch) {
    const LowRankProduct p{
        &program.step.low_rank, program.low_rank_tiles, program.low_rank_tile_count, op.projection, op.projections,
        op.in, op.in_stride, op.scales, op.width, static_cast<float*>(op.out), op.out_stride};
    switch (program.type) {
        case Type::kFloat32: add_low_rank<Lanes<float>::Activation>(p, team, scratch); break;
        case Type::kBFloat16: add_low_rank<Lanes<bf16>::Activation>(p, team, scratch); break;
        case Type::kInt8: add_low_rank<Lanes<int8_t>::Activation>(p, team, scratch); break;
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
            for_rows(team, rows, [&](int row) { rms_norm(op, program.type, row, scratch); });
            break;
        case Kind::kSiluMul:
            for_rows(team, rows, [&](int row) { silu_mul(op, program.type, row, scratch); });
            break;
        case Kind::kLogitRows:
            for_rows(team, step.rows, [&](int row) {
                std::memcpy(
                    static_cast<float*>(op.out) + row * op.out_stride,
                    static_cast<const float*>(op.in) + step.logit_rows[row] * op.in_stride, sizeof(float) * op.width);
            });
            break;
        case Kind::kAttention:
            if (program.type == Type::kFloat32)
                attention<float, VectorAttention<float>>(program, op, team);
            else
                attention<bf16, typename By::Attention>(program, op, team);
            break;
        case Kind::kLinear:
            if (program.type == Type::kFloat32)
                linear<float, VectorProducts>(op, next_weights(program, op), rows, team);
            else if (program.type == Type::kBFloat16)
                linear<bf16, typename By::Products>(op, next_weights(program, op), rows, team);
            else
                linear<int8_t, typename By::Products>(op, next_weights(program, op), rows, team);
            break;
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

template <class T>
void pack_rows(Weights& w, int first, int rows, const void* source, int source_type, Team& team) {
    struct Packing {
        Weights& w;
        int first, rows;
        const void* source;
        int source_type;
    } packing{w, first, rows, source, source_type};
    team.run(
        [](void* context, Team& members, int) {
            Packing& p = *static_cast<Packing*>(context);
            float* row = static_cast<float*>(std::malloc(sizeof(float) * (p.w.k + 16)));
            const int pieces = (p.rows + kPanel - 1) / kPanel;
            for (int piece = members.take(); piece < pieces; piece = members.take())
                for (int n = piece * kPanel; n < std::min(p.rows, (piece + 1) * kPanel); ++n) {
                    const size_t from = static_cast<size_t>(n) * p.w.k;
                    if (p.source_type == static_cast<int>(Type::kFloat32)) {
                        pack_row<T>(p.w, p.first + n, static_cast<const float*>(p.source) + from);
                        continue;
                    }
                    const bf16* source_row = static_cast<const bf16*>(p.source) + from;
                    for (int k = 0; k < p.w.k; ++k) row[k] = to_float(source_row[k]);
                    pack_row<T>(p.w, p.first + n, row);
                }
            std::free(row);
        },
        &packing);
}

// An empty Weights of these sizes.
Weights sized(int type, int n, int k) {
    const auto kind = static_cast<Type>(type);
    const int step = static_cast<int>(64 / size_of(kind));
    return {kind, n, k, round_up(n, kPanel), round_up(k, step), nullptr, nullptr, nullptr, nullptr};
}

}  // namespace

extern "C" {

// Whether AMX tiles may be used by this process from now on. Only for CPUs that have them.
int pw_grant_tiles() {
#ifdef __AMX_TILE__
    return request_tiles() ? 1 : 0;
#else
    return 0;
#endif
}

// The bytes of an element of what weights of a type are multiplied with: rows of activations are made of such.
int pw_activation_bytes(int type) {
    switch (static_cast<Type>(type)) {
        case Type::kFloat32: return sizeof(Lanes<float>::Activation);
        case Type::kBFloat16: return sizeof(Lanes<bf16>::Activation);
        case Type::kInt8: return sizeof(Lanes<int8_t>::Activation);
    }
    return 0;
}

void* pw_map(size_t bytes) { return map_memory(bytes); }

void pw_unmap(void* memory, size_t bytes) { munmap(memory, (bytes + kHugePage - 1) / kHugePage * kHugePage); }

Team* pw_team_create(int threads) { return new (std::nothrow) Team(std::clamp(threads, 1, Team::kMaxThreads)); }

void pw_team_destroy(Team* team) { delete team; }

// The bytes of a packed weight's panels, which the caller maps.
size_t pw_panel_bytes(int type, int n, int k) {
    const Weights w = sized(type, n, k);
    return static_cast<size_t>(w.n_padded) * w.k_padded * size_of(w.type);
}

// `panels` is zeroed memory of pw_panel_bytes; scales and sums are [n padded] (int8), bias [n padded] or null.
Weights* pw_weights_create(int type, int n, int k, void* panels, float* scales, int32_t* sums, float* bias) {
    Weights w = sized(type, n, k);
    w.panels = panels;
    w.scales = scales;
    w.sums = sums;
    w.bias = bias;
    return new (std::nothrow) Weights(w);
}

void pw_weights_destroy(Weights* w) { delete w; }

// Rows [first, first + rows) from row-major float32 (source_type 0) or bfloat16 (1).
void pw_weights_pack(Weights* w, Team* team, int first, int rows, const void* source, int source_type) {
    switch (w->type) {
        case Type::kFloat32: pack_rows<float>(*w, first, rows, source, source_type, *team); break;
        case Type::kBFloat16: pack_rows<bf16>(*w, first, rows, source, source_type, *team); break;
        case Type::kInt8: pack_rows<int8_t>(*w, first, rows, source, source_type, *team); break;
    }
}

Program* pw_program_create(Team* team, int type, int tiles, int max_tokens, const AttentionShape* shape) {
    auto* program = new (std::nothrow) Program{};
    if (program == nullptr) return nullptr;
    program->team = team;
    program->type = static_cast<Type>(type);
    program->tiles = tiles != 0;
    program->max_tokens = max_tokens;
    program->shape = *shape;
    program->query_tiles = static_cast<QueryTile*>(std::malloc(sizeof(QueryTile) * max_tokens));
    program->token_seq = static_cast<int32_t*>(std::malloc(sizeof(int32_t) * max_tokens));
    program->low_rank_tiles = static_cast<LowRankTile*>(std::malloc(sizeof(LowRankTile) * max_tokens));
    return program;
}

void pw_program_destroy(Program* program) {
    std::free(program->operations);
    std::free(program->query_tiles);
    std::free(program->token_seq);
    std::free(program->low_rank_tiles);
    delete program;
}

void pw_program_add(Program* program, const Operation* operation) {
    if (program->count == program->capacity) {
        program->capacity = std::max(64, program->capacity * 2);
        program->operations =
            static_cast<Operation*>(std::realloc(program->operations, sizeof(Operation) * program->capacity));
    }
    program->operations[program->count++] = *operation;
}

void pw_program_run(Program* program, const StepView* step) {
    program->step = *step;
    program->query_tile_count = 0;
    program->low_rank_tile_count = low_rank_tiles(step->low_rank, step->tokens, program->low_rank_tiles);
    const int width = program->shape.tile_tokens();
    for (int seq = 0; seq < step->seqs; ++seq) {
        const int start = step->query_start[seq], end = step->query_start[seq + 1];
        for (int token = start; token < end; ++token) program->token_seq[token] = seq;
        for (int token = start; token < end; token += width)
            program->query_tiles[program->query_tile_count++] = {seq, token, std::min(width, end - token)};
    }
    program->team->run(program->tiles ? run_program<Tiles> : run_program<Vectors>, program);
}

void pw_sample(Team* team, const SampleArguments* arguments) {
    team->run(
        [](void* context, Team& members, int) { sample_rows(*static_cast<const SampleArguments*>(context), members); },
        const_cast<SampleArguments*>(arguments));
}

}  // extern "C"
