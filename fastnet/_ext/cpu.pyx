"""What this processor can do, and the threads it has."""

cdef extern from *:
    """
    #if (defined(__x86_64__) || defined(_M_X64)) && defined(__GNUC__)
    static int fastnet_level(void) {
        __builtin_cpu_init();   /* asks the operating system too whether it saves the wide registers */
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq")
            && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("fma")) return 2;
        if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return 1;
        return 0;
    }
    #else
    static int fastnet_level(void) { return 0; }
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
    int fastnet_omp_threads() nogil
    int fastnet_openmp() nogil
    int fastnet_survive_fork() nogil
    const char *FASTNET_COMPILER
    const char *FASTNET_FLAGS

fastnet_survive_fork()

LEVELS = ("generic", "avx2", "avx512")


def best_level():
    """The highest of LEVELS that this processor and its operating system support."""
    return LEVELS[fastnet_level()]


def has_openmp():
    """Whether the kernels were built with threads."""
    return fastnet_openmp() != 0


def openmp_threads():
    """The thread count OpenMP starts with: OMP_NUM_THREADS, or the processors this process may run on."""
    return fastnet_omp_threads()


def compiler():
    """The compiler that built the extensions, and the flags common to every level."""
    return FASTNET_COMPILER.decode(), FASTNET_FLAGS.decode()
