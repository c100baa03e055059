/* AMX's tile registers: eight of 16 rows of 64 bytes, set up by whoever computes with them and given back afterwards.

   A tile of bfloat16 holds 16 rows of 16 pairs; of float32, 16 rows of 16 sums. TDPBF16PS adds to each sum c[i][j] the
   products of the pairs a[i][k] and b[k][j] over the 16 k: 8192 multiply-adds in 16 cycles. It takes denormal numbers
   for zero and rounds to nearest, whatever the control register says. */
#ifndef FASTNET_AMX_H
#define FASTNET_AMX_H

#include <immintrin.h>

#define AMX_ROWS 16
#define AMX_BYTES 64        /* of a row of a tile */

/* Make the calling thread's eight tiles whole ones (palette 1), all zero. */
static inline void amx_begin(void) {
    static const struct __attribute__((aligned(64))) {
        unsigned char palette, start, reserved[14];
        unsigned short bytes[16];
        unsigned char rows[16];
    } whole = {.palette = 1,
               .bytes = {AMX_BYTES, AMX_BYTES, AMX_BYTES, AMX_BYTES, AMX_BYTES, AMX_BYTES, AMX_BYTES, AMX_BYTES},
               .rows = {AMX_ROWS, AMX_ROWS, AMX_ROWS, AMX_ROWS, AMX_ROWS, AMX_ROWS, AMX_ROWS, AMX_ROWS}};
    _tile_loadconfig(&whole);
}

/* Give the tiles back: until then every switch to another thread saves and loads their 8 KB. */
static inline void amx_end(void) { _tile_release(); }
#endif
