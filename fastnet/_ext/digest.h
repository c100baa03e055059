/* The digest of flat.pyx: the product of two 32-bit numbers, which compilers take for one of 64 bits, three times as dear. */
#ifndef FASTNET_DIGEST_H
#define FASTNET_DIGEST_H

#include <stdint.h>
#include <string.h>

#ifdef __AVX512F__
#include <immintrin.h>
#endif

enum { DIGEST_PAIRS = 128, DIGEST_PIECE = 8 * DIGEST_PAIRS }; /* pairs of numbers in a piece of so many bytes */

/* out[r] = sum over i of (a[i] + key[r][i]) (a[i + PAIRS] + key[r][i + PAIRS]); a: PIECE bytes anywhere. */
static inline void digest_piece(const unsigned char *a, const uint32_t *key, unsigned long long *out) {
#ifdef __AVX512F__
    __m512i sum[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
    for (int i = 0; i < DIGEST_PAIRS; i += 16) {
        const __m512i first = _mm512_loadu_si512(a + 4 * i), second = _mm512_loadu_si512(a + 4 * (i + DIGEST_PAIRS));
        for (int r = 0; r < 2; r++) {
            const uint32_t *k = key + 2 * DIGEST_PAIRS * r + i;
            const __m512i x = _mm512_add_epi32(first, _mm512_loadu_si512(k));
            const __m512i y = _mm512_add_epi32(second, _mm512_loadu_si512(k + DIGEST_PAIRS));
            const __m512i odd = _mm512_mul_epu32(_mm512_srli_epi64(x, 32), _mm512_srli_epi64(y, 32));
            sum[r] = _mm512_add_epi64(sum[r], _mm512_add_epi64(_mm512_mul_epu32(x, y), odd));
        }
    }
    out[0] = _mm512_reduce_add_epi64(sum[0]);
    out[1] = _mm512_reduce_add_epi64(sum[1]);
#else
    for (int r = 0; r < 2; r++, key += 2 * DIGEST_PAIRS) {
        uint64_t sum = 0;
        for (int i = 0; i < DIGEST_PAIRS; i++) {
            uint32_t x, y;
            memcpy(&x, a + 4 * i, 4);
            memcpy(&y, a + 4 * (i + DIGEST_PAIRS), 4);
            sum += (uint64_t)(uint32_t)(x + key[i]) * (uint32_t)(y + key[i + DIGEST_PAIRS]);
        }
        out[r] = sum;
    }
#endif
}

#endif
