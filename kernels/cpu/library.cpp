// The compiled CPU kernels as a C interface, for ctypes: teams of threads, packed weights, recorded programs, sampling.
//
// Programs are recorded by kernels/cpu/program.py.
#if defined(__GNUC__) && !defined(__clang__)
// Partial redundancy elimination copies loop-carried sums: those of int8 products by AVX2 then no longer fit the registers.
#pragma GCC optimize("no-tree-pre")
#endif

#include <sys/mman.h>

#include <cstdio>
#include <new>

#include "hashing.h"
#include "packing.h"
#include "peak.h"
#include "program.h"
#include "sampling.h"

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

// Where sums are cut, in words: vectors of kPanel channels, and attention over chunks of keys.
const char* pw_tiles() {
    static char text[64];
    std::snprintf(text, sizeof(text), "panels of %d, rows of %d, attention %d by %d", kPanel, kRowGroup, kLanes, kChunk);
    return text;
}

// The bytes of an element of what weights of a type are multiplied with: rows of activations are made of such.
int pw_activation_bytes(int type) {
    switch (static_cast<Type>(type)) {
        case Type::kFloat32: return sizeof(Lanes<float>::Activation);
        case Type::kBFloat16: return sizeof(Lanes<bf16>::Activation);
        case Type::kInt8: return sizeof(Lanes<int8_t>::Activation);
        case Type::kCodes8: case Type::kCodes4: return sizeof(int16_t);
    }
    return 0;
}

void* pw_map(size_t bytes) { return map_memory(bytes); }

void pw_unmap(void* memory, size_t bytes) { munmap(memory, (bytes + kHugePage - 1) / kHugePage * kHugePage); }

Team* pw_team_create(int threads) { return new (std::nothrow) Team(std::clamp(threads, 1, Team::kMaxThreads)); }

void pw_team_destroy(Team* team) { delete team; }

uint64_t pw_team_progress(const Team* team) { return team->progress(); }

// The bytes of a packed weight's panels, which the caller maps.
size_t pw_panel_bytes(int type, int n, int k, int group) {
    const Weights w = sized(static_cast<Type>(type), n, k, group);
    return w.n_padded / kPanel * w.panel_bytes;
}

// `panels` is zeroed memory of pw_panel_bytes; scales (not of floats) and sums (int8) are [n padded], bias [n padded] or null.
Weights* pw_weights_create(int type, int n, int k, int group, void* panels, float* scales, int32_t* sums, float* bias) {
    Weights w = sized(static_cast<Type>(type), n, k, group);
    w.panels = panels;
    w.scales = scales;
    w.sums = sums;
    w.bias = bias;
    return new (std::nothrow) Weights(w);
}

void pw_weights_destroy(Weights* w) { delete w; }

// Rows [first, first + rows) from row-major float32 (source_type 0) or bfloat16 (1). Not for codes.
void pw_weights_pack(Weights* w, Team* team, int first, int rows, const void* source, int source_type) {
    switch (w->type) {
        case Type::kFloat32: pack_rows<float>(*w, first, rows, source, source_type, *team); break;
        case Type::kBFloat16: pack_rows<bf16>(*w, first, rows, source, source_type, *team); break;
        case Type::kInt8: pack_rows<int8_t>(*w, first, rows, source, source_type, *team); break;
        case Type::kCodes8: case Type::kCodes4: break;
    }
}

// All rows of int8 weights, row-major, with their scales [n].
void pw_weights_pack_int8(Weights* w, Team* team, const int8_t* values, const float* scales) {
    auto pack = [=](int n) { pack_int8_row(*w, n, values + static_cast<size_t>(n) * w->k, scales[n]); };
    pack_panels(*team, w->n, pack);
}

// All rows of codes, row-major, a byte each, with scales and zero points [n][k / group]; null: all in the middle.
void pw_weights_pack_codes(Weights* w, Team* team, const uint8_t* codes, const float* scales, const uint8_t* zeros) {
    auto pack = [=](int n) {
        const size_t groups = w->k / w->group;
        pack_codes_row(*w, n, codes + static_cast<size_t>(n) * w->k, scales + n * groups, zeros == nullptr ? nullptr : zeros + n * groups);
    };
    pack_panels(*team, w->n, pack);
}

Program* pw_program_create(Team* team, int cache_type, int tiles, int max_tokens, const AttentionShape* shape) {
    auto* program = new (std::nothrow) Program{};
    if (program == nullptr) return nullptr;
    program->team = team;
    program->cache_type = static_cast<Type>(cache_type);
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

// Multiplies and adds from registers as products of a type do, `steps` times on every thread; returns the operations of all.
double pw_peak(Team* team, int type, int64_t steps) {
    struct Peak {
        Type type;
        int64_t steps;
        std::atomic<int64_t> done;
    } peak_run{static_cast<Type>(type), steps, {0}};
    team->run([](void* context, Team&, int) { auto& run = *static_cast<Peak*>(context); run.done += peak(run.type, run.steps); }, &peak_run);
    return static_cast<double>(peak_run.done);
}

void pw_sample(Team* team, const SampleArguments* arguments) {
    team->run(
        [](void* context, Team& members, int) { sample_rows(*static_cast<const SampleArguments*>(context), members); },
        const_cast<SampleArguments*>(arguments));
}

void pw_hash_rows(Team* team, const HashArguments* arguments) {
    team->run(
        [](void* context, Team& members, int) { hash_rows(*static_cast<const HashArguments*>(context), members); },
        const_cast<HashArguments*>(arguments));
}

}  // extern "C"
