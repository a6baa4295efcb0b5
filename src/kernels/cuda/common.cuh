// What all kernels share: numbers in memory, rows of them, sums over a block.
//
// The text of this file goes in front of each source: NVRTC is given one string. It uses nothing of
// CUDA's headers, so that the sources also compile as C++ behind `host.h`.

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

// Threads of a block; a power of two.
#ifndef THREADS
#define THREADS 256
#endif

struct bf16 {
    unsigned short bits;
};

__device__ inline float to_float(float value) { return value; }

__device__ inline float to_float(u8 value) { return (float)value; }

__device__ inline float to_float(bf16 value) { return __uint_as_float((u32)value.bits << 16); }

template <class T>
__device__ T from_float(float value);

template <>
__device__ inline float from_float<float>(float value) {
    return value;
}

// To the nearest, ties to even; a NaN stays one.
template <>
__device__ inline bf16 from_float<bf16>(float value) {
    u32 bits = __float_as_uint(value);
    u32 rounded = bits + 0x7fff + ((bits >> 16) & 1);
    bf16 result;
    result.bits = (unsigned short)((value == value ? rounded : bits | 0x400000) >> 16);
    return result;
}

__device__ inline float infinity() { return __uint_as_float(0x7f800000u); }

// V numbers side by side, moved as one.
template <class T, int V>
struct alignas(sizeof(T) * V) Pack {
    T values[V];
};

template <class T, int V>
__device__ inline void load(const T* from, float (&to)[V]) {
    Pack<T, V> pack = *reinterpret_cast<const Pack<T, V>*>(from);
#pragma unroll
    for (int i = 0; i < V; i++) to[i] = to_float(pack.values[i]);
}

template <class T, int V>
__device__ inline void store(T* to, const float (&from)[V]) {
    Pack<T, V> pack;
#pragma unroll
    for (int i = 0; i < V; i++) pack.values[i] = from_float<T>(from[i]);
    *reinterpret_cast<Pack<T, V>*>(to) = pack;
}

// `min(v, max)` where `v > 0`, else `slope * v`: ReLU, ReLU6, LeakyReLU, or nothing. A NaN stays one.
struct Activation {
    float slope;
    float max;
};

__device__ inline float activate(Activation activation, float value) {
    // Not a product where the slope is zero: the value may be infinite.
    if (value <= 0) return activation.slope == 0.0f ? 0.0f : activation.slope * value;
    return value > activation.max ? activation.max : value;
}

// How much of a gradient gets through; `value` may be before or behind the activation.
__device__ inline float derivative(Activation activation, float value) {
    if (value <= 0) return activation.slope;
    return value >= activation.max ? 0.0f : 1.0f;
}

// The sum of one number of each thread of a block, in thread 0. A tree: the same in every run.
__device__ inline double block_sum(double value) {
    __shared__ double sums[THREADS];
    int thread = threadIdx.x;
    sums[thread] = value;
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if (thread < half) sums[thread] += sums[thread + half];
        __syncthreads();
    }
    double total = sums[0];
    __syncthreads();
    return total;
}

// Where a training stands. In device memory, so that a captured graph need not be made anew.
struct Cursor {
    u64 epoch;
    // Batches of the epoch that are done.
    u64 batch;
    // Of the optimizer, from 1.
    u64 step;
    // The step whose loss was not finite: from then on nothing changes any more. 0 if there is none.
    u64 failed;
};

// The label that counts nowhere, as in torch.
#define IGNORED (-100)
