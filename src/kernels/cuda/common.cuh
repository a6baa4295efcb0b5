// Definitions for all kernels: types, loads and stores, activations, sums over a block.
//
// The text of this file is prepended to each source, because NVRTC compiles one string. It does not
// use CUDA's headers, so that the sources also compile as C++ with `host.h` before them.

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

// The threads of a block; a power of two.
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

// Rounds to nearest, ties to even; a NaN stays a NaN.
template <>
__device__ inline bf16 from_float<bf16>(float value) {
    u32 bits = __float_as_uint(value);
    u32 rounded = bits + 0x7fff + ((bits >> 16) & 1);
    bf16 result;
    result.bits = (unsigned short)((value == value ? rounded : bits | 0x400000) >> 16);
    return result;
}

__device__ inline float infinity() { return __uint_as_float(0x7f800000u); }

// V adjacent numbers, which are loaded or stored by one instruction.
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

// `min(v, max)` if `v > 0`, else `slope * v`: ReLU, ReLU6, LeakyReLU or the identity. A NaN stays a
// NaN.
struct Activation {
    float slope;
    float max;
};

__device__ inline float activate(Activation activation, float value) {
    // With a slope of zero the product would be NaN for an infinite value.
    if (value <= 0) return activation.slope == 0.0f ? 0.0f : activation.slope * value;
    return value > activation.max ? activation.max : value;
}

// The derivative of the activation; `value` may be its input or its output.
__device__ inline float derivative(Activation activation, float value) {
    if (value <= 0) return activation.slope;
    return value >= activation.max ? 0.0f : 1.0f;
}

// The sum over a block of one number from each thread. The order of a tree makes it deterministic.
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

// The position of a training. It is in device memory, so that a captured graph can be replayed for
// every step.
struct Cursor {
    u64 epoch;
    // The number of finished batches of the epoch.
    u64 batch;
    // The number of the optimizer's step, from 1.
    u64 step;
    // The first step with a loss that was not finite, after which no kernel changes the state any
    // more; 0 if there is none.
    u64 failed;
};

// The label that is ignored, as in torch.
#define IGNORED (-100)
