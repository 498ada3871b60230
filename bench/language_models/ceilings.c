// What the machine can do at most: bytes read per second and products per second, with as many threads as the argument says.
// Prints one line of JSON. Instructions that the processor lacks are left out.
#include <pthread.h>
#include <immintrin.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { MOST_THREADS = 64, CHAINS = 12 };
static const size_t BYTES = (size_t)1 << 30;
static const long ROUNDS = 4L << 20;

static int threads;
static pthread_barrier_t line;
static volatile uint64_t sink[MOST_THREADS * 8];

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

typedef struct {
    void (*work)(int index, void *memory);
    void *memory;
    int index;
    double seconds;
} Job;

static void *run_job(void *argument) {
    Job *job = argument;
    pthread_barrier_wait(&line);
    double begin = now();
    job->work(job->index, job->memory);
    pthread_barrier_wait(&line);
    job->seconds = now() - begin;
    return NULL;
}

static double seconds_of(void (*work)(int, void *), void *memory) {
    pthread_t handles[MOST_THREADS];
    Job jobs[MOST_THREADS];
    pthread_barrier_init(&line, NULL, (unsigned)threads);
    for (int index = 0; index < threads; index++) {
        jobs[index] = (Job){work, memory, index, 0};
        pthread_create(&handles[index], NULL, run_job, &jobs[index]);
    }
    for (int index = 0; index < threads; index++) pthread_join(handles[index], NULL);
    pthread_barrier_destroy(&line);
    return jobs[0].seconds;
}

#if defined(__AVX512F__)
typedef __m512i Words;
#define LOAD(address) _mm512_load_si512(address)
#define XOR(a, b) _mm512_xor_si512(a, b)
#else
typedef __m256i Words;
#define LOAD(address) _mm256_load_si256(address)
#define XOR(a, b) _mm256_xor_si256(a, b)
#endif

static void read_all(int index, void *memory) {
    enum { STREAMS = 8 };
    size_t part = BYTES / (size_t)threads / sizeof(Words) / STREAMS * STREAMS;
    const Words *words = (const Words *)memory + (size_t)index * part;
    Words sums[STREAMS];
    memset(sums, 0, sizeof sums);
    for (size_t place = 0; place < part; place += STREAMS)
        for (int stream = 0; stream < STREAMS; stream++) sums[stream] = XOR(sums[stream], LOAD(words + place + stream));
    for (int stream = 1; stream < STREAMS; stream++) sums[0] = XOR(sums[0], sums[stream]);
    sink[index * 8] = *(uint64_t *)&sums[0];
}

// One loop for every kind of product: CHAINS independent sums, so that the latency of one does not count.
#define PRODUCT_LOOP(NAME, TYPE, ZERO, STEP)                                        \
    static void NAME(int index, void *memory) {                                     \
        (void)memory;                                                               \
        TYPE sums[CHAINS];                                                          \
        for (int chain = 0; chain < CHAINS; chain++) sums[chain] = ZERO;            \
        for (long round = 0; round < ROUNDS; round++) {                             \
            _Pragma("GCC unroll 12") for (int chain = 0; chain < CHAINS; chain++) { \
                TYPE sum = sums[chain];                                             \
                STEP;                                                               \
                __asm__ volatile("" : "+v"(sum));                                   \
                sums[chain] = sum;                                                  \
            }                                                                       \
        }                                                                           \
        for (int chain = 0; chain < CHAINS; chain++) sink[index * 8] += *(uint64_t *)&sums[chain]; \
    }

#if defined(__AVX512F__)
PRODUCT_LOOP(f32_products, __m512, _mm512_setzero_ps(), sum = _mm512_fmadd_ps(_mm512_set1_ps(1e-9f), _mm512_set1_ps(0.5f), sum))
#define F32_PER_STEP 32
#else
PRODUCT_LOOP(f32_products, __m256, _mm256_setzero_ps(), sum = _mm256_fmadd_ps(_mm256_set1_ps(1e-9f), _mm256_set1_ps(0.5f), sum))
#define F32_PER_STEP 16
#endif
#if defined(__AVX512BF16__)
PRODUCT_LOOP(bf16_products, __m512, _mm512_setzero_ps(),
             sum = _mm512_dpbf16_ps(sum, (__m512bh)_mm512_set1_epi32(0x3f803f80), (__m512bh)_mm512_set1_epi32(0x30003000)))
#endif
#if defined(__AVX512VNNI__)
PRODUCT_LOOP(int8_products, __m512i, _mm512_setzero_si512(),
             sum = _mm512_dpbusd_epi32(sum, _mm512_set1_epi32(0x01010101), _mm512_set1_epi32(0x01020304)))
#endif

static double rate(void (*work)(int, void *), double per_step) {
    seconds_of(work, NULL);
    return per_step * CHAINS * (double)ROUNDS * threads / seconds_of(work, NULL);
}

int main(int count, char **arguments) {
    threads = count > 1 ? atoi(arguments[1]) : 1;
    if (threads < 1 || threads > MOST_THREADS) return 2;
    void *memory = aligned_alloc((size_t)2 << 20, BYTES);
    if (!memory) return 1;
    madvise(memory, BYTES, MADV_HUGEPAGE);
    memset(memory, 1, BYTES);
    double best = 1e9;
    for (int round = 0; round < 3; round++) {
        double seconds = seconds_of(read_all, memory);
        if (seconds < best) best = seconds;
    }
    printf("{\"read_bytes_per_second\": %.4g", (double)BYTES / best);
    printf(", \"f32\": %.4g", rate(f32_products, F32_PER_STEP));
#if defined(__AVX512BF16__)
    printf(", \"bf16\": %.4g", rate(bf16_products, 64));
#endif
#if defined(__AVX512VNNI__)
    printf(", \"int8\": %.4g", rate(int8_products, 128));
#endif
    printf("}\n");
    return 0;
}
