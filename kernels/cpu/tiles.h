// AMX: 8 tile registers of 16 rows of 64 bytes, and what they are configured for here.
//
// Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18. Each element of a result is summed over
// K in the same order whatever the number of rows, so a row's result does not depend on the rows beside it.
#pragma once

#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

namespace pw {

// Asks the kernel for the tile state (arch_prctl ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA); once for a process, before its threads.
inline bool request_tiles() { return syscall(SYS_arch_prctl, 0x1023, 18) == 0; }

struct alignas(64) TileConfig {
    uint8_t palette = 1;
    uint8_t start_row = 0;
    uint8_t reserved[14] = {};
    uint16_t bytes[16] = {};
    uint8_t rows[16] = {};

    void set(int tile, int row_count, int byte_count) {
        rows[tile] = static_cast<uint8_t>(row_count);
        bytes[tile] = static_cast<uint16_t>(byte_count);
    }
};

// Matrix products: results in tiles 0 to 3, `rows` rows of activations in 4 and 5, weights in 6 and 7.
inline void configure_tiles_for_products(int rows) {
    TileConfig config;
    for (int tile = 0; tile < 6; ++tile) config.set(tile, rows, 64);
    config.set(6, 16, 64);
    config.set(7, 16, 64);
    _tile_loadconfig(&config);
}

// Attention: results in 0 to 3; 16 keys by 32 dims in 4 and queries in 6; 16 dims by 16 keys of values in 5 and weights in 7.
inline void configure_tiles_for_attention() {
    TileConfig config;
    for (int tile = 0; tile < 4; ++tile) config.set(tile, 16, 64);
    config.set(4, 16, 64);
    config.set(6, 16, 64);
    config.set(5, 16, 32);
    config.set(7, 8, 64);
    _tile_loadconfig(&config);
}

}  // namespace pw
