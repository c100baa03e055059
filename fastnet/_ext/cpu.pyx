"""What this processor can do, and the threads it has."""

cdef extern from *:
    """
    #if (defined(__x86_64__) || defined(_M_X64)) && defined(__GNUC__)
    #include <cpuid.h>
    static int fastnet_has_tiles(void) {    /* bits read here, since not every compiler knows their names */
        unsigned a, b, c, d, features, bf16, saved;
        if (!__get_cpuid(1, &a, &b, &c, &d) || !(c >> 27 & 1)) return 0;    /* OSXSAVE: xgetbv may be executed */
        __asm__("xgetbv" : "=a"(saved), "=d"(d) : "c"(0));
        if (!__get_cpuid_count(7, 0, &a, &b, &c, &features) || !__get_cpuid_count(7, 1, &bf16, &b, &c, &d)) return 0;
        return (saved >> 17 & 3) == 3                               /* the system saves TILECFG and TILEDATA */
            && (features >> 24 & 1) && (features >> 22 & 1)         /* AMX-TILE, AMX-BF16 */
            && (bf16 >> 5 & 1);                                     /* AVX512-BF16, which converts and rounds */
    }
    static int fastnet_level(void) {
        __builtin_cpu_init();   /* asks the operating system too whether it saves the wide registers */
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq")
            && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("fma"))
            return fastnet_has_tiles() ? 3 : 2;
        if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return 1;
        return 0;
    }
    #else
    static int fastnet_level(void) { return 0; }
    #endif
    /* Linux gives a process its tile registers when asked, and refuses if a thread's signal stack could not hold them. */
    #if defined(__linux__) && defined(__x86_64__)
    #include <sys/syscall.h>
    #include <unistd.h>
    static int fastnet_ask_for_tiles(void) { return syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18) == 0; }
    #else
    static int fastnet_ask_for_tiles(void) { return 0; }
    #endif
    #ifdef _OPENMP
    #include <omp.h>
    static int fastnet_omp_threads(void) { return omp_get_max_threads(); }
    static int fastnet_openmp(void) { return _OPENMP; }
    #else
    static int fastnet_omp_threads(void) { return 1; }
    static int fastnet_openmp(void) { return 0; }
    #endif
    /* A forked child has none of its parent's threads, but libgomp would wait for them at the child's first parallel loop.
       So the forking thread's team is sent home before every fork; its next loop calls a new one, in parent and child. */
    #if defined(_OPENMP) && !defined(_WIN32) && (_OPENMP >= 201811 || (defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 9))
    #include <pthread.h>
    static void fastnet_before_fork(void) { omp_pause_resource_all(omp_pause_soft); }
    static int fastnet_survive_fork(void) { return pthread_atfork(fastnet_before_fork, NULL, NULL); }
    #else
    static int fastnet_survive_fork(void) { return 0; }
    #endif
    #if defined(__VERSION__)
    #define FASTNET_COMPILER __VERSION__
    #else
    #define FASTNET_COMPILER "MSVC"
    #endif
    """
    int fastnet_level() nogil
    int fastnet_ask_for_tiles() nogil
    int fastnet_omp_threads() nogil
    int fastnet_openmp() nogil
    int fastnet_survive_fork() nogil
    const char *FASTNET_COMPILER
    const char *FASTNET_FLAGS

fastnet_survive_fork()

LEVELS = ("generic", "avx2", "avx512", "amx")


def best_level():
    """The highest of LEVELS that this processor and its operating system support; "amx" must then be asked for."""
    return LEVELS[fastnet_level()]


def ask_for_tiles():
    """Whether the system gives this process AMX's tile registers: asking is what makes it do so, for good."""
    return fastnet_ask_for_tiles() != 0


def has_openmp():
    """Whether the kernels were built with threads."""
    return fastnet_openmp() != 0


def openmp_threads():
    """The thread count OpenMP starts with: OMP_NUM_THREADS, or the processors this process may run on."""
    return fastnet_omp_threads()


def compiler():
    """The compiler that built the extensions, and the flags common to every level."""
    return FASTNET_COMPILER.decode(), FASTNET_FLAGS.decode()
