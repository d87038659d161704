// Matrix products of a few rows of activations with packed weights: float32, bfloat16 and int8.
//
// Weights [N, K] are packed into panels of 16 output channels, [N / 16][K / step][step / pair][16][pair]: the order in which
// both AMX tiles and AVX-512 dot products read them, one stream of memory for each panel. pair is 1 (float32), 2 (bfloat16)
// or 4 (int8); K is padded with zeros to a multiple of step, N to 16. Every element of the result is summed over K in one
// order, whatever the number of rows and threads, so a row's result depends on that row alone.
#pragma once

#include <type_traits>

#include "threads.h"
#include "tiles.h"
#include "vector.h"

namespace pw {

enum class Type : int { kFloat32 = 0, kBFloat16 = 1, kInt8 = 2 };

constexpr int kPanel = 16;
// Buffers of activations are allocated with rows to spare up to a multiple of this: tiles read whole groups.
constexpr int kRowGroup = 32;

template <class T>
struct Traits;
template <>
struct Traits<float> {
    using Sum = float;
    static constexpr int kPair = 1, kStep = 16;
};
template <>
struct Traits<bf16> {
    using Sum = float;
    static constexpr int kPair = 2, kStep = 32;
};
template <>
struct Traits<int8_t> {
    using Sum = int32_t;
    static constexpr int kPair = 4, kStep = 64;
};

struct Weights {
    Type type;
    int n, k;            // as the model has them
    int n_padded;        // to a multiple of kPanel
    int k_padded;        // to a multiple of the type's step
    void* panels;
    float* scales;       // [n_padded], int8 only
    int32_t* sums;       // [n_padded]: sum over K of each channel, int8 only
    float* bias;         // [n_padded] or null
};

template <class T>
inline size_t packed_index(int n, int k, int k_padded) {
    constexpr int pair = Traits<T>::kPair;
    return static_cast<size_t>(n / kPanel) * kPanel * k_padded + static_cast<size_t>(k / pair) * kPanel * pair +
           static_cast<size_t>(n % kPanel) * pair + k % pair;
}

// What a product reads beside the weights, and where its result goes.
struct Product {
    const Weights* weights;
    const void* activations;  // [rows][activation_stride] of the weights' type
    size_t activation_stride; // in elements
    const float* token_scales;  // [rows], int8 only
    float* out;               // [rows][out_stride]
    size_t out_stride;
    bool accumulate;          // add to what is there: the residual
    const Weights* next;      // of the product that comes after this one, or null
};

// Weights come from memory while others are multiplied: each piece of work fetches what its thread will take up next.
struct Ahead {
    const char* from;  // null: nothing
    size_t bytes;

    // The part that pass `pass` of `passes` over a piece fetches.
    Ahead part(int pass, int passes) const {
        const int parts = passes < kMostParts ? passes : kMostParts;
        if (from == nullptr || pass >= parts) return {nullptr, 0};
        return {from + bytes / parts * pass, bytes / parts};
    }

    static constexpr int kMostParts = 8;
};

// One row's 16 results go where they belong.
inline void finish(const Product& p, int row, int channel, f32x16 value) {
    const Weights& w = *p.weights;
    if (w.bias != nullptr) value = _mm512_add_ps(value, _mm512_loadu_ps(w.bias + channel));
    float* out = p.out + row * p.out_stride + channel;
    if (p.accumulate) value = _mm512_add_ps(value, _mm512_loadu_ps(out));
    _mm512_storeu_ps(out, value);
}

// Sums of int8 products get the scales of their token and channels first.
inline void finish(const Product& p, int row, int channel, __m512i sums) {
    const f32x16 scale =
        _mm512_mul_ps(_mm512_set1_ps(p.token_scales[row]), _mm512_loadu_ps(p.weights->scales + channel));
    finish(p, row, channel, _mm512_mul_ps(_mm512_cvtepi32_ps(sums), scale));
}

inline void finish(const Product& p, int row, int channel, const float* sums) {
    finish(p, row, channel, _mm512_loadu_ps(sums));
}
inline void finish(const Product& p, int row, int channel, const int32_t* sums) {
    finish(p, row, channel, _mm512_loadu_si512(sums));
}

// The AVX-512 way -------------------------------------------------------------------------------------------------

inline __m512 dot_step(__m512 sum, float a, __m512i b) {
    return _mm512_fmadd_ps(_mm512_set1_ps(a), _mm512_castsi512_ps(b), sum);
}

template <class T>
struct Lanes;
template <>
struct Lanes<float> {
    using Vector = __m512;
    static Vector zero() { return _mm512_setzero_ps(); }
    static Vector step(Vector sum, const float* a, __m512i b) { return dot_step(sum, *a, b); }
    static void store(float* out, Vector v) { _mm512_storeu_ps(out, v); }
};
template <>
struct Lanes<bf16> {
    using Vector = __m512;
    static Vector zero() { return _mm512_setzero_ps(); }
    static Vector step(Vector sum, const bf16* a, __m512i b) {
        int32_t pair;
        std::memcpy(&pair, a, 4);
        return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair)), reinterpret_cast<__m512bh>(b));
    }
    static void store(float* out, Vector v) { _mm512_storeu_ps(out, v); }
};
template <>
struct Lanes<int8_t> {
    using Vector = __m512i;
    static Vector zero() { return _mm512_setzero_si512(); }
    // VNNI multiplies unsigned by signed: activations go in with 128 added, which `sums` takes out again.
    static Vector step(Vector sum, const int8_t* a, __m512i b) {
        int32_t four;
        std::memcpy(&four, a, 4);
        return _mm512_dpbusd_epi32(sum, _mm512_set1_epi32(four ^ static_cast<int32_t>(0x80808080)), b);
    }
    static void store(int32_t* out, Vector v) { _mm512_storeu_si512(out, v); }
};

// Rows [row, row + kRows) of kPanels panels. The sums live in registers: nothing may index them by a value of run time.
template <class T, int kRows, int kPanels, bool kFetch>
inline void product_rows(const Product& p, int row, int panel, Ahead ahead) {
    using Vector = typename Lanes<T>::Vector;
    constexpr int pair = Traits<T>::kPair;
    const Weights& w = *p.weights;
    const T* a = static_cast<const T*>(p.activations) + row * p.activation_stride;
    const size_t panel_size = static_cast<size_t>(kPanel) * w.k_padded;
    const T* b = static_cast<const T*>(w.panels) + panel * panel_size;
    // Bytes to fetch in each turn of the loop; a line may be asked for twice.
    const size_t stride = kFetch ? ahead.bytes * pair / w.k_padded : 0;
    const char* fetched = ahead.from;
    Vector sums[kPanels][kRows];
#pragma GCC unroll 16
    for (int i = 0; i < kPanels * kRows; ++i) sums[i / kRows][i % kRows] = Lanes<T>::zero();
    for (int k = 0; k < w.k_padded; k += pair) {
        __m512i right[kPanels];
#pragma GCC unroll 2
        for (int half = 0; half < kPanels; ++half) {
            const T* line = b + half * panel_size + static_cast<size_t>(k) * kPanel;
            right[half] = _mm512_loadu_si512(line);
        }
        if constexpr (kFetch) {
            _mm_prefetch(fetched, _MM_HINT_T1);
            _mm_prefetch(fetched + 64, _MM_HINT_T1);
            fetched += stride;
        }
#pragma GCC unroll 8
        for (int m = 0; m < kRows; ++m)
#pragma GCC unroll 2
            for (int half = 0; half < kPanels; ++half)
                sums[half][m] = Lanes<T>::step(sums[half][m], a + m * p.activation_stride + k, right[half]);
    }
#pragma GCC unroll 2
    for (int half = 0; half < kPanels; ++half) {
        const int channel = (panel + half) * kPanel;
#pragma GCC unroll 8
        for (int m = 0; m < kRows; ++m) {
            if constexpr (sizeof(T) == 1) {
                const __m512i shift = _mm512_slli_epi32(_mm512_loadu_si512(w.sums + channel), 7);
                finish(p, row + m, channel, _mm512_sub_epi32(sums[half][m], shift));
            } else {
                finish(p, row + m, channel, sums[half][m]);
            }
        }
    }
}

// Calls `function` with a number of rows that is known at compile time, eight at a time and then the rest.
template <class Function>
inline void for_row_groups(int rows, Function function) {
    int row = 0;
    for (; row + 8 <= rows; row += 8) function(std::integral_constant<int, 8>{}, row);
    switch (rows - row) {
        case 1: function(std::integral_constant<int, 1>{}, row); break;
        case 2: function(std::integral_constant<int, 2>{}, row); break;
        case 3: function(std::integral_constant<int, 3>{}, row); break;
        case 4: function(std::integral_constant<int, 4>{}, row); break;
        case 5: function(std::integral_constant<int, 5>{}, row); break;
        case 6: function(std::integral_constant<int, 6>{}, row); break;
        case 7: function(std::integral_constant<int, 7>{}, row); break;
        default: break;
    }
}

template <class T, int kPanels>
inline void product_vectors(const Product& p, int rows, int panel, Ahead ahead) {
    for_row_groups(rows, [&](auto size, int row) {
        const Ahead part = ahead.part(row / 8, (rows + 7) / 8);
        if (part.from != nullptr)
            product_rows<T, size(), kPanels, true>(p, row, panel, part);
        else
            product_rows<T, size(), kPanels, false>(p, row, panel, part);
    });
}

// The AMX way -----------------------------------------------------------------------------------------------------

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
    using Sum = typename Traits<T>::Sum;
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
                finish(p, row + group * 16 + m, (panel + half) * kPanel, sums[group * 2 + half][m]);
}

template <class T, int kPanels>
inline void product_panels(const Product& p, int rows, int panel, Ahead ahead) {
    const int passes = (rows + 31) / 32;
    int row = 0;
    for (; rows - row > 16; row += 32) product_tiles<T, 2, kPanels>(p, row, rows - row, panel, ahead.part(row / 32, passes));
    if (row < rows) product_tiles<T, 1, kPanels>(p, row, rows - row, panel, ahead.part(row / 32, passes));
}

// Both ------------------------------------------------------------------------------------------------------------

// What the thread that has a piece will probably take up after it: the piece behind those of all threads, or at the end of
// these weights the beginning of the next.
template <class T>
inline Ahead ahead_of(const Product& p, int piece, int pieces, int threads) {
    const size_t piece_bytes = 2 * kPanel * p.weights->k_padded * sizeof(T);
    const int then = piece + threads;
    if (then < pieces) {
        const size_t all = static_cast<size_t>(p.weights->n_padded) * p.weights->k_padded * sizeof(T);
        const size_t from = then * piece_bytes;
        return {static_cast<const char*>(p.weights->panels) + from, all - from < piece_bytes ? all - from : piece_bytes};
    }
    if (p.next == nullptr) return {nullptr, 0};
    const size_t all = static_cast<size_t>(p.next->n_padded) * p.next->k_padded * sizeof(T);
    const size_t from = (then - pieces) * piece_bytes;
    if (from + piece_bytes > all) return {nullptr, 0};
    return {static_cast<const char*>(p.next->panels) + from, piece_bytes};
}

// Called by every thread of the team; the pieces of work are pairs of panels.
template <class T, bool kTiles>
inline void product(const Product& p, int rows, Team& team) {
    const int panels = p.weights->n_padded / kPanel;
    const int pieces = (panels + 1) / 2;
    if constexpr (kTiles && sizeof(T) < 4) configure_tiles_for_products(rows < 16 ? rows : 16);
    for (int piece = team.take(); piece < pieces; piece = team.take()) {
        const int panel = piece * 2;
        const int width = panels - panel > 1 ? 2 : 1;
        const Ahead ahead = ahead_of<T>(p, piece, pieces, team.count());
        if constexpr (kTiles && sizeof(T) < 4) {
            if (width == 2)
                product_panels<T, 2>(p, rows, panel, ahead);
            else
                product_panels<T, 1>(p, rows, panel, ahead);
        } else {
            if (width == 2)
                product_vectors<T, 2>(p, rows, panel, ahead);
            else
                product_vectors<T, 1>(p, rows, panel, ahead);
        }
    }
}

// Packing ---------------------------------------------------------------------------------------------------------

template <class T>
inline void pack_row(Weights& w, int n, const float* row) {
    T* panels = static_cast<T*>(w.panels);
    if constexpr (sizeof(T) == 1) {
        const float largest = largest_magnitude(row, w.k);
        const float inverse = largest > 0.0f ? 127.0f / largest : 0.0f;
        int32_t sum = 0;
        for (int k = 0; k < w.k; ++k) {
            const int value = _mm_cvtss_si32(_mm_set_ss(row[k] * inverse));
            panels[packed_index<T>(n, k, w.k_padded)] = static_cast<T>(value);
            sum += value;
        }
        w.scales[n] = largest / 127.0f;
        w.sums[n] = sum;
    } else {
        for (int k = 0; k < w.k; ++k) {
            if constexpr (sizeof(T) == 2)
                panels[packed_index<T>(n, k, w.k_padded)] = to_bf16(row[k]);
            else
                panels[packed_index<T>(n, k, w.k_padded)] = row[k];
        }
    }
}

}  // namespace pw
