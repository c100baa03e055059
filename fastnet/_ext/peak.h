/* A multiply-add that never leaves the registers: what the arithmetic units of one core can do.

   TILE independent sums per call hide the latency of one multiply-add (4 cycles, two units: 8 needed, 12 taken).
   The vector is as wide as the level this file is compiled for; without vector types (MSVC) it is one number. */
#ifndef FASTNET_PEAK_H
#define FASTNET_PEAK_H

#if defined(__AVX512F__)
#define PEAK_BYTES 64
#elif defined(__AVX__)
#define PEAK_BYTES 32
#else
#define PEAK_BYTES 16
#endif

#if defined(__GNUC__)
typedef float peak_vector_f __attribute__((vector_size(PEAK_BYTES)));
typedef double peak_vector_d __attribute__((vector_size(PEAK_BYTES)));
#define PEAK_LANES(real) ((Py_ssize_t)(PEAK_BYTES / sizeof(real)))
#else
typedef float peak_vector_f;
typedef double peak_vector_d;
#define PEAK_LANES(real) ((Py_ssize_t)1)
#endif
#define PEAK_TILE 12

/* s[k] = s[k] * a + a, `rounds` times for 12 vectors s; a < 1 keeps every sum finite and normal. */
#define PEAK_CHAIN(name, real, vector)                                                                     \
    static real name(Py_ssize_t rounds, real a) {                                                          \
        vector z = {0}, v = z + a, s0 = v, s1 = v, s2 = v, s3 = v, s4 = v, s5 = v;                         \
        vector s6 = v, s7 = v, s8 = v, s9 = v, s10 = v, s11 = v;                                           \
        for (Py_ssize_t i = 0; i < rounds; i++) {                                                          \
            s0 = s0 * v + v; s1 = s1 * v + v; s2 = s2 * v + v; s3 = s3 * v + v;                            \
            s4 = s4 * v + v; s5 = s5 * v + v; s6 = s6 * v + v; s7 = s7 * v + v;                            \
            s8 = s8 * v + v; s9 = s9 * v + v; s10 = s10 * v + v; s11 = s11 * v + v;                        \
            PEAK_KEEP(s0, s1, s2, s3, s4, s5); PEAK_KEEP(s6, s7, s8, s9, s10, s11);                        \
        }                                                                                                  \
        s0 += s1 + s2 + s3 + s4 + s5 + s6 + s7 + s8 + s9 + s10 + s11;                                      \
        return PEAK_FIRST(s0);                                                                             \
    }
#if defined(__GNUC__) && (defined(__x86_64__) || defined(__i386__))
/* Twelve equal chains: only an empty statement that could change each keeps the compiler from computing one. */
#define PEAK_KEEP(a, b, c, d, e, f) __asm__ volatile("" : PEAK_REG(a), PEAK_REG(b), PEAK_REG(c), PEAK_REG(d), PEAK_REG(e), PEAK_REG(f))
#define PEAK_REG(s) "+v"(s)
#define PEAK_FIRST(s) (s)[0]
#elif defined(__GNUC__)
#define PEAK_KEEP(a, b, c, d, e, f) __asm__ volatile("" : "+w"(a), "+w"(b), "+w"(c), "+w"(d), "+w"(e), "+w"(f))
#define PEAK_FIRST(s) (s)[0]
#else
#define PEAK_KEEP(a, b, c, d, e, f) ((void)0)
#define PEAK_FIRST(s) (s)
#endif

PEAK_CHAIN(peak_chain_f, float, peak_vector_f)
PEAK_CHAIN(peak_chain_d, double, peak_vector_d)
#endif
