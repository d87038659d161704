// An operation of a recorded program, and those that go row by row: embedding, norm, gated activation.
#pragma once

#include "attention.h"

namespace pw {

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
    int form;            // Type of the weights that activations are for: those written, or those that low rank reads
    int group;           // of codes: columns that share a scale
    const void* in;
    void* out;
    float* scales;       // of activations in whole numbers: read by linear and low rank, written by the others
    int32_t* group_sums; // [rows][width / group], for codes: read by linear, written by the others
    int64_t in_stride, out_stride;
    const void* weight;  // Weights, a norm's float32 or an embedding table
    void* keys;
    void* values;
    const float* q_norm;
    const float* k_norm;
    float* attended;     // float32 [tokens][heads * dim]
};

// Float32 values of a row become what a product reads.
inline void store_activation(const Operation& op, const float* x, int width, int row) {
    switch (static_cast<Type>(op.form)) {
        case Type::kFloat32:
            std::memcpy(static_cast<float*>(op.out) + row * op.out_stride, x, sizeof(float) * width);
            break;
        case Type::kBFloat16: {
            auto* to = static_cast<Lanes<bf16>::Activation*>(op.out) + row * op.out_stride;
            for (int i = 0; i < width; i += 16) {
                const Lanes16 lanes = first_lanes(width - i);
                store(to + i, load(x + i, lanes), lanes);
            }
            break;
        }
        case Type::kInt8:
            op.scales[row] = quantise_row<127>(x, width, static_cast<Lanes<int8_t>::Activation*>(op.out) + row * op.out_stride);
            break;
        case Type::kCodes8: case Type::kCodes4: {
            auto* to = static_cast<int16_t*>(op.out) + row * op.out_stride;
            op.scales[row] = quantise_row<kMostInt16>(x, width, to);
            const int groups = width / op.group;
            for (int g = 0; g < groups; ++g) {
                int32_t sum = 0;
                for (int k = 0; k < op.group; ++k) sum += to[g * op.group + k];
                op.group_sums[static_cast<size_t>(row) * groups + g] = sum;
            }
            break;
        }
    }
}

constexpr int kMaxWidth = 65536;

inline void embed(const Operation& op, const StepView& step, int row) {
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

inline void rms_norm(const Operation& op, int row, float* scratch) {
    const float* x = static_cast<const float*>(op.in) + row * op.in_stride;
    const float* weight = static_cast<const float*>(op.weight);
    const float mean = sum_of_squares(x, op.width) / static_cast<float>(op.width);
    const f32x16 inverse = splat(1.0f / std::sqrt(mean + op.epsilon));
    for (int i = 0; i < op.width; i += 16) {
        const Lanes16 lanes = first_lanes(op.width - i);
        store(scratch + i, load(x + i, lanes) * inverse * load(weight + i, lanes), lanes);
    }
    store_activation(op, scratch, op.width, row);
}

inline void silu_mul(const Operation& op, int row, float* scratch) {
    const float* gate = static_cast<const float*>(op.in) + row * op.in_stride;
    const float* up = gate + op.width;
    for (int i = 0; i < op.width; i += 16) {
        const Lanes16 lanes = first_lanes(op.width - i);
        const f32x16 g = load(gate + i, lanes);
        store(scratch + i, g * sigmoid(g) * load(up + i, lanes), lanes);
    }
    store_activation(op, scratch, op.width, row);
}

// Hands rows out in pieces small enough to spread over the threads.
template <class Function>
inline void for_rows(Team& team, int rows, Function function) {
    const int size = std::max(1, rows / (team.count() * 4));
    for (int piece = team.take(); piece * size < rows; piece = team.take())
        for (int row = piece * size; row < std::min(rows, (piece + 1) * size); ++row) function(row);
}

}  // namespace pw
