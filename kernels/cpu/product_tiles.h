// Matrix products by AMX tiles: bfloat16 and int8.
//
// Tiles read panels as AVX-512's dot products do, and activations in groups of 16 rows.
#pragma once

#include "product.h"
#include "tiles.h"

namespace pw {

// Tile numbers must be literals, so this is a macro: tile `out` += tile `a` * tile `b`.
#define PW_TILE_STEP(T, out, a, b)      \
    do {                                \
        if constexpr (sizeof(T) == 2)   \
            _tile_dpbf16ps(out, a, b);  \
        else                            \
            _tile_dpbssd(out, a, b);    \
    } while (false)

// Rows [row, row + 16 * groups) of one or two panels.
template <class T, int kGroups, int kPanels>
inline void product_tiles(const Product& p, int row, int rows, int panel, Ahead ahead) {
    using Sum = std::conditional_t<sizeof(T) == 2, float, int32_t>;
    const Weights& w = *p.weights;
    const size_t stride = p.activation_stride * sizeof(T);
    const char* a0 = static_cast<const char*>(p.activations) + row * stride;
    const char* a1 = a0 + 16 * stride;
    const size_t panel_bytes = static_cast<size_t>(kPanel) * w.k_padded * sizeof(T);
    const char* b0 = static_cast<const char*>(w.panels) + panel * panel_bytes;
    const char* b1 = b0 + panel_bytes;
    _tile_zero(0);
    if constexpr (kPanels > 1) _tile_zero(1);
    if constexpr (kGroups > 1) _tile_zero(2);
    if constexpr (kGroups > 1 && kPanels > 1) _tile_zero(3);
    const size_t row_bytes = w.k_padded * sizeof(T);
    const size_t fetched_in_turn = ahead.bytes * 64 / row_bytes;
    const char* fetched = ahead.from;
    for (size_t k = 0; k < row_bytes; k += 64) {
        const size_t tile = k * kPanel;
        if (fetched != nullptr) {
            for (size_t i = 0; i < fetched_in_turn; i += 64) _mm_prefetch(fetched + i, _MM_HINT_T1);
            fetched += fetched_in_turn;
        }
        _tile_loadd(4, a0 + k, stride);
        _tile_loadd(6, b0 + tile, 64);
        PW_TILE_STEP(T, 0, 4, 6);
        if constexpr (kPanels > 1) {
            _tile_loadd(7, b1 + tile, 64);
            PW_TILE_STEP(T, 1, 4, 7);
        }
        if constexpr (kGroups > 1) {
            _tile_loadd(5, a1 + k, stride);
            PW_TILE_STEP(T, 2, 5, 6);
            if constexpr (kPanels > 1) PW_TILE_STEP(T, 3, 5, 7);
        }
    }
    alignas(64) Sum sums[4][16][kPanel];
    _tile_stored(0, sums[0], 64);
    if constexpr (kPanels > 1) _tile_stored(1, sums[1], 64);
    if constexpr (kGroups > 1) _tile_stored(2, sums[2], 64);
    if constexpr (kGroups > 1 && kPanels > 1) _tile_stored(3, sums[3], 64);
    for (int group = 0; group < kGroups; ++group)
        for (int m = 0; m < 16 && group * 16 + m < rows; ++m)
            for (int half = 0; half < kPanels; ++half)
                finish(p, row + group * 16 + m, (panel + half) * kPanel, load(sums[group * 2 + half][m]));
}

struct TileProducts {
    static void begin(int rows) { configure_tiles_for_products(rows < 16 ? rows : 16); }

    template <class T, int kPanels>
    static void panels(const Product& p, int rows, int panel, Ahead ahead) {
        const int passes = (rows + 31) / 32;
        int row = 0;
        for (; rows - row > 16; row += 32)
            product_tiles<T, 2, kPanels>(p, row, rows - row, panel, ahead.part(row / 32, passes));
        if (row < rows) product_tiles<T, 1, kPanels>(p, row, rows - row, panel, ahead.part(row / 32, passes));
    }
};

}  // namespace pw
