// Packing of weights by all threads.
#pragma once

#include "threads.h"
#include "weights.h"

namespace pw {

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

// Gives rows to the threads in whole panels: two threads never write the same one.
template <class Function>
void pack_panels(Team& team, int rows, Function function) {
    struct Packing {
        int rows;
        Function& function;
    } packing{rows, function};
    team.run(
        [](void* context, Team& members, int) {
            Packing& p = *static_cast<Packing*>(context);
            const int pieces = (p.rows + kPanel - 1) / kPanel;
            for (int piece = members.take(); piece < pieces; piece = members.take())
                for (int row = piece * kPanel; row < std::min(p.rows, (piece + 1) * kPanel); ++row) p.function(row);
        },
        &packing);
}

}  // namespace pw
