/* Products of bfloat16 tiles that never leave the registers: what AMX can do at most. See peak.h for the vector units. */
#ifndef FASTNET_AMX_PEAK_H
#define FASTNET_AMX_PEAK_H

#include "amx.h"

/* Multiply-adds of one round: four tile products of 16 x 16 sums over 32 numbers. */
#define AMX_PEAK_ROUND (4 * 16 * 16 * 32)

/* Add a product of ones to each of 2 x 2 tiles, `rounds` times: four chains hide one product's latency (52 cycles, a new
   product every 16). The sum of the four first elements, 4 * 32 * rounds. */
static float amx_peak_chain(Py_ssize_t rounds) {
    float ones[AMX_ROWS][AMX_BYTES / 4], sums[4][AMX_ROWS][AMX_BYTES / 4];
    for (int i = 0; i < AMX_ROWS; i++)
        for (int j = 0; j < AMX_BYTES / 4; j++) {
            unsigned pair = 0x3F803F80;     /* two bfloat16 ones */
            __builtin_memcpy(&ones[i][j], &pair, 4);
        }
    __asm__ volatile("" : : "r"(ones) : "memory"); /* the loads below do not say that they read it */
    amx_begin(2, AMX_ROWS, AMX_ROWS, AMX_ROWS, AMX_ROWS);
    _tile_zero(0); _tile_zero(1); _tile_zero(2); _tile_zero(3);
    _tile_loadd(4, ones, AMX_BYTES); _tile_loadd(5, ones, AMX_BYTES);
    _tile_loadd(6, ones, AMX_BYTES); _tile_loadd(7, ones, AMX_BYTES);
    for (Py_ssize_t i = 0; i < rounds; i++) {
        _tile_dpbf16ps(0, 4, 6); _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6); _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, sums[0], AMX_BYTES); _tile_stored(1, sums[1], AMX_BYTES);
    _tile_stored(2, sums[2], AMX_BYTES); _tile_stored(3, sums[3], AMX_BYTES);
    amx_end();
    return sums[0][0][0] + sums[1][0][0] + sums[2][0][0] + sums[3][0][0];
}
#endif
