/* Vectors of this instruction-set level, and what register tiles ask of the compiler. */
#ifndef FASTNET_VECTOR_H
#define FASTNET_VECTOR_H

#include <stddef.h>

#if defined(__AVX512F__)
#define TILE_BYTES 64
#elif defined(__AVX2__)
#define TILE_BYTES 32
#else
#define TILE_BYTES 16
#endif

#if defined(__GNUC__)
#define TILE_INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define TILE_APART __attribute__((noinline)) /* long, and not to be compiled anew for each that calls it */
#else
#define TILE_APART __attribute__((noinline, noclone))
#endif
#define TILE_UNROLL _Pragma("GCC unroll 16")
#define TILE_PREFETCH(place) __builtin_prefetch(place, 1)         /* to be written */
#define TILE_PREFETCH_NEAR(place) __builtin_prefetch(place)       /* to be read soon */
#define TILE_PREFETCH_FAR(place) __builtin_prefetch(place, 0, 2) /* to be read later, from the second-level cache */
#define TILE_OPAQUE(name) __asm__ volatile("" : "+r"(name))
#define TILE_LIKELY(condition) __builtin_expect(!!(condition), 1)
#else
#define TILE_INLINE static inline
#define TILE_APART
#define TILE_UNROLL
#define TILE_PREFETCH(place)
#define TILE_PREFETCH_NEAR(place)
#define TILE_PREFETCH_FAR(place)
#define TILE_OPAQUE(name)
#define TILE_LIKELY(condition) (condition)
#endif
#endif
