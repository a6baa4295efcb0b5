// Updates all parameters in one pass: gradient clipping, SGD or AdamW, the moving averages, and the
// bf16 copies that the convolutions read. Everything that changes from step to step is in device
// memory.
//
// Parameters are divided into chunks, one for each block. The arithmetic is that of torch.optim.

// A part of one parameter. Optional pointers are null if absent.
struct Chunk {
    float* param;
    // fp32, or bf16 if `grad_is_bf16`.
    const void* grad;
    // Momentum, or the first and the second moment.
    float* state[2];
    float* average;
    // The bf16 copy of the parameter.
    bf16* shadow;
    int count;
    int grad_is_bf16;
    // The index of the parameter's settings.
    int group;
    int unused;
};

struct Sgd {
    float momentum;
    // 1 - dampening
    float damp;
    float weight_decay;
    int nesterov;
    int maximize;
};

struct AdamW {
    double beta1;
    double beta2;
    float eps;
    float weight_decay;
    int maximize;
    int unused;
};

__device__ inline float gradient(const Chunk& chunk, int at) {
    if (chunk.grad_is_bf16) return to_float(((const bf16*)chunk.grad)[at]);
    return ((const float*)chunk.grad)[at];
}

// The sum of the squared gradients of each chunk.
extern "C" __global__ void squared_norms(const Chunk* chunks, double* sums) {
    Chunk chunk = chunks[blockIdx.x];
    double sum = 0;
    int count = chunk.grad ? chunk.count : 0;
    for (int at = threadIdx.x; at < count; at += THREADS) {
        double value = gradient(chunk, at);
        sum += value * value;
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// The factor for all gradients that limits their total norm to `max_norm`. Runs as one block.
extern "C" __global__ void clip_coefficient(const double* sums, int chunks, double max_norm,
                                            float* coefficient) {
    double sum = 0;
    for (int at = threadIdx.x; at < chunks; at += THREADS) sum += sums[at];
    sum = block_sum(sum);
    if (threadIdx.x == 0) {
        double ratio = max_norm / (sqrt(sum) + 1e-6);
        *coefficient = ratio > 1.0 ? 1.0f : (float)ratio;
    }
}

// Stores a new value, and updates the average and the bf16 copy while it is in a register.
__device__ inline void finish(const Chunk& chunk, int at, float value, float average_weight) {
    chunk.param[at] = value;
    if (chunk.average) chunk.average[at] += average_weight * (value - chunk.average[at]);
    if (chunk.shadow) chunk.shadow[at] = from_float<bf16>(value);
}

// The schedule's factor for this batch; batches beyond the end use the last factor.
__device__ inline double factor(const double* factors, int count, const Cursor* cursor) {
    return factors[cursor->batch < (u64)count ? cursor->batch : count - 1];
}

// The share of the new value in the averages: one minus the decay, which a warmup lets rise.
__device__ inline float rest(double decay, int warmup, const Cursor* cursor) {
    double step = (double)cursor->step, rising = (1.0 + step) / (10.0 + step);
    return (float)(1.0 - (warmup && rising < decay ? rising : decay));
}

// `lrs` holds the learning rate of each group, `factors` the schedule's factors for the `steps` of
// the epoch. `coefficient` may be null. The averages have this `decay`, with or without a warmup.
extern "C" __global__ void sgd(const Chunk* chunks, const Sgd* groups, const double* lrs,
                               const double* factors, int steps, const Cursor* cursor,
                               const float* coefficient, double decay, int warmup) {
    if (cursor->failed) return;
    float average_weight = rest(decay, warmup, cursor);
    Chunk chunk = chunks[blockIdx.x];
    Sgd settings = groups[chunk.group];
    float lr = (float)(lrs[chunk.group] * factor(factors, steps, cursor));
    float scale = coefficient ? *coefficient : 1.0f;
    if (settings.maximize) scale = -scale;
    bool first = cursor->step == 1;
    for (int at = threadIdx.x; at < chunk.count; at += THREADS) {
        float value = chunk.param[at];
        if (chunk.grad) {
            float grad = scale * gradient(chunk, at) + settings.weight_decay * value;
            if (chunk.state[0]) {
                float old = chunk.state[0][at];
                float buffer = first ? grad : settings.momentum * old + settings.damp * grad;
                chunk.state[0][at] = buffer;
                grad = settings.nesterov ? grad + settings.momentum * buffer : buffer;
            }
            value -= lr * grad;
        }
        finish(chunk, at, value, average_weight);
    }
}

extern "C" __global__ void adamw(const Chunk* chunks, const AdamW* groups, const double* lrs,
                                 const double* factors, int steps, const Cursor* cursor,
                                 const float* coefficient, double decay, int warmup) {
    if (cursor->failed) return;
    float average_weight = rest(decay, warmup, cursor);
    Chunk chunk = chunks[blockIdx.x];
    AdamW settings = groups[chunk.group];
    double lr = lrs[chunk.group] * factor(factors, steps, cursor), step = (double)cursor->step;
    float scale = coefficient ? *coefficient : 1.0f;
    if (settings.maximize) scale = -scale;
    float keep = (float)(1.0 - lr * settings.weight_decay);
    float beta2 = (float)settings.beta2;
    float rest1 = (float)(1.0 - settings.beta1), rest2 = (float)(1.0 - settings.beta2);
    float size = (float)(lr / (1.0 - pow(settings.beta1, step)));
    float correction = (float)sqrt(1.0 - pow(settings.beta2, step));
    for (int at = threadIdx.x; at < chunk.count; at += THREADS) {
        float value = chunk.param[at];
        if (chunk.grad) {
            float grad = scale * gradient(chunk, at);
            float m = chunk.state[0][at], v = chunk.state[1][at];
            m += rest1 * (grad - m);
            v = beta2 * v + rest2 * grad * grad;
            chunk.state[0][at] = m;
            chunk.state[1][at] = v;
            value = keep * value - size * m / (sqrtf(v) / correction + settings.eps);
        }
        finish(chunk, at, value, average_weight);
    }
}

// A copy of a part of a buffer's new value.
struct Copy {
    const u32* from;
    u32* to;
    // The number of words of four bytes.
    int count;
    // The number of bytes after the words.
    int bytes;
};

// Copies the new values into the buffers. One block copies one part.
extern "C" __global__ void take_over(const Copy* copies, const Cursor* cursor) {
    if (cursor->failed) return;
    Copy copy = copies[blockIdx.x];
    for (int at = threadIdx.x; at < copy.count; at += THREADS) copy.to[at] = copy.from[at];
    const u8* from = (const u8*)(copy.from + copy.count);
    u8* to = (u8*)(copy.to + copy.count);
    for (int at = threadIdx.x; at < copy.bytes; at += THREADS) to[at] = from[at];
}
