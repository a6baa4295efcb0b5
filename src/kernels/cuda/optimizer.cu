// One pass over all parameters: gradients clipped by their norm, SGD or AdamW, the averages, and the
// bf16 copies that the convolutions read. What changes from step to step lies in device memory.
//
// Parameters are cut into chunks, a block each. The mathematics is that of torch.optim.

// A part of one parameter. Null where there is none of a kind.
struct Chunk {
    float* param;
    // fp32, or bf16 where `grad_is_bf16`.
    const void* grad;
    // Momentum, or the first and the second moment.
    float* state[2];
    float* average;
    bf16* shadow;
    int count;
    int grad_is_bf16;
    // Which settings are the parameter's.
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

// For each chunk the sum of its gradients' squares.
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

// What every gradient is multiplied with so that their norm is at most `max_norm`. One block.
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

// What follows an update, while the new value is in a register.
__device__ inline void finish(const Chunk& chunk, int at, float value, float average_weight) {
    chunk.param[at] = value;
    if (chunk.average) chunk.average[at] += average_weight * (value - chunk.average[at]);
    if (chunk.shadow) chunk.shadow[at] = from_float<bf16>(value);
}

// The schedule's factor; batches beyond those that were announced have the last one.
__device__ inline double factor(const double* factors, int count, const Cursor* cursor) {
    return factors[cursor->batch < (u64)count ? cursor->batch : count - 1];
}

// `lrs` has a rate for each group, `factors` the schedule's for each of the epoch's `steps`;
// `coefficient` may be null. The average moves by `average_weight`, one minus its decay.
extern "C" __global__ void sgd(const Chunk* chunks, const Sgd* groups, const double* lrs,
                               const double* factors, int steps, const Cursor* cursor,
                               const float* coefficient, float average_weight) {
    if (cursor->failed) return;
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
                                 const float* coefficient, float average_weight) {
    if (cursor->failed) return;
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

// A part of a buffer's new value, and where it belongs: words of four bytes, and some bytes behind.
struct Copy {
    const u32* from;
    u32* to;
    int count;
    int bytes;
};

// The buffers take over their new values. A block is a part.
extern "C" __global__ void take_over(const Copy* copies, const Cursor* cursor) {
    if (cursor->failed) return;
    Copy copy = copies[blockIdx.x];
    for (int at = threadIdx.x; at < copy.count; at += THREADS) copy.to[at] = copy.from[at];
    const u8* from = (const u8*)(copy.from + copy.count);
    u8* to = (u8*)(copy.to + copy.count);
    for (int at = threadIdx.x; at < copy.bytes; at += THREADS) to[at] = from[at];
}
