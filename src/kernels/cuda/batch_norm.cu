// Batch norm of rows of channels (NHWC) with residual add and activation, forward and backward.
// Activations are fp32 or bf16, parameters and statistics fp32.
//
// `gridDim.y` divides the rows into parts, and `gridDim.x` divides the columns, each of which is V
// adjacent channels. A block has `blockDim.x` columns and `blockDim.y` rows of threads, THREADS in
// all. The fp32 sums of each part are written to `partial`. One block per channel then adds the
// parts in fp64 and in a fixed order, so that results are deterministic.

// The column and the first row of a thread, and the step between its rows.
struct Place {
    i64 column;
    i64 columns;
    i64 row;
    i64 step;
};

template <int V>
__device__ inline Place place(int channels) {
    Place place;
    place.column = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    place.columns = channels / V;
    place.row = (i64)blockIdx.y * blockDim.y + threadIdx.y;
    place.step = (i64)gridDim.y * blockDim.y;
    return place;
}

// Reduces two sums for each channel over the rows of the block, and writes them as one part.
template <int V>
__device__ void write_part(const Place& place, int channels, float (&a)[V], float (&b)[V],
                           float* partial) {
    __shared__ float memory[THREADS * 2 * V];
    float* mine = memory + (threadIdx.y * blockDim.x + threadIdx.x) * 2 * V;
    for (int i = 0; i < V; i++) {
        mine[i] = a[i];
        mine[V + i] = b[i];
    }
    __syncthreads();
    for (int half = blockDim.y / 2; half > 0; half /= 2) {
        if ((int)threadIdx.y < half) {
            const float* other = mine + half * blockDim.x * 2 * V;
            for (int i = 0; i < 2 * V; i++) mine[i] += other[i];
        }
        __syncthreads();
    }
    if (threadIdx.y == 0 && place.column < place.columns) {
        float* part = partial + (i64)blockIdx.y * 2 * channels + place.column * V;
        for (int i = 0; i < V; i++) {
            part[i] = mine[i];
            part[channels + i] = mine[V + i];
        }
    }
}

// Sums `x - x[0]` and its square. Because x[0] is one of the values, the rounding error is small
// relative to the variance, however large the mean is.
template <class T, int V>
__device__ void moments(const T* x, i64 rows, int channels, float* partial) {
    Place at = place<V>(channels);
    float sum[V] = {}, squares[V] = {};
    if (at.column < at.columns) {
        float pivot[V];
        load<T, V>(x + at.column * V, pivot);
        for (i64 row = at.row; row < rows; row += at.step) {
            float value[V];
            load<T, V>(x + row * channels + at.column * V, value);
#pragma unroll
            for (int i = 0; i < V; i++) {
                float offset = value[i] - pivot[i];
                sum[i] += offset;
                squares[i] += offset * offset;
            }
        }
    }
    write_part<V>(at, channels, sum, squares, partial);
}

// The two sums of a channel over all parts, in thread 0.
struct Sums {
    double first;
    double second;
};

__device__ inline Sums add_parts(const float* partial, int parts, int channels, int channel) {
    double first = 0, second = 0;
    for (int part = threadIdx.x; part < parts; part += THREADS) {
        const float* sums = partial + (i64)part * 2 * channels + channel;
        first += sums[0];
        second += sums[channels];
    }
    return {block_sum(first), block_sum(second)};
}

// The saved and running statistics. One block computes one channel.
template <class T>
__device__ void statistics(const T* x, const float* partial, int parts, i64 rows, int channels,
                           float momentum, float eps, float* save_mean, float* save_invstd,
                           const float* running_mean, const float* running_var, float* new_mean,
                           float* new_var) {
    int channel = blockIdx.x;
    Sums sums = add_parts(partial, parts, channels, channel);
    if (threadIdx.x > 0) return;
    double offset = sums.first / (double)rows;
    double mean = (double)to_float(x[channel]) + offset;
    double var = sums.second / (double)rows - offset * offset;
    // Rounding can make it negative; a NaN stays a NaN.
    var = var < 0 ? 0 : var;
    float invstd = (float)(1.0 / sqrt(var + (double)eps));
    save_mean[channel] = (float)mean;
    save_invstd[channel] = invstd;
    if (running_mean) {
        // As in torch, the unbiased variance, or the biased one of a single row.
        double unbiased = rows > 1 ? var * (double)rows / (double)(rows - 1) : var;
        float old_mean = running_mean[channel], old_var = running_var[channel];
        new_mean[channel] = old_mean + momentum * ((float)mean - old_mean);
        new_var[channel] = old_var + momentum * ((float)unbiased - old_var);
    }
}

// The scale of a thread's channels: invstd * weight.
template <int V>
__device__ inline void load_scale(const Place& at, const float* invstd, const float* weight,
                                  float (&scale)[V]) {
    load<float, V>(invstd + at.column * V, scale);
    if (!weight) return;
    float factor[V];
    load<float, V>(weight + at.column * V, factor);
    for (int i = 0; i < V; i++) scale[i] *= factor[i];
}

// y = activation((x - mean) * scale + bias + residual). Subtracting the mean first preserves
// precision if the mean is large.
template <class T, int V>
__device__ void normalize(const T* x, const T* residual, i64 rows, int channels, const float* mean,
                          const float* invstd, const float* weight, const float* bias,
                          Activation activation, T* y) {
    Place at = place<V>(channels);
    if (at.column >= at.columns) return;
    float m[V], s[V], b[V] = {};
    load<float, V>(mean + at.column * V, m);
    load_scale<V>(at, invstd, weight, s);
    if (bias) load<float, V>(bias + at.column * V, b);
    for (i64 row = at.row; row < rows; row += at.step) {
        i64 index = row * channels + at.column * V;
        float value[V], other[V] = {};
        load<T, V>(x + index, value);
        if (residual) load<T, V>(residual + index, other);
#pragma unroll
        for (int i = 0; i < V; i++) {
            float sum = (value[i] - m[i]) * s[i] + b[i] + other[i];
            value[i] = activate(activation, sum);
        }
        store<T, V>(y + index, value);
    }
}

// The gradient with respect to the input of the activation. It is masked by the forward's output
// `y`, or if that is null by the input of the activation, which is recomputed from x.
template <class T, int V>
__device__ inline void masked(const T* grad_y, const T* y, i64 index, Activation activation,
                              const float (&centered)[V], const float (&scale)[V],
                              const float (&bias)[V], float (&grad)[V]) {
    load<T, V>(grad_y + index, grad);
    if (activation.slope == 1.0f) return;
    float value[V];
    if (y) {
        load<T, V>(y + index, value);
    } else {
#pragma unroll
        for (int i = 0; i < V; i++) value[i] = centered[i] * scale[i] + bias[i];
    }
#pragma unroll
    for (int i = 0; i < V; i++) {
        float slope = derivative(activation, value[i]);
        // With a slope of zero the product would be NaN for an infinite gradient.
        grad[i] = slope == 0.0f ? 0.0f : slope * grad[i];
    }
}

// Sums the masked gradient, and its product with `x - mean`.
template <class T, int V>
__device__ void gradient_sums(const T* grad_y, const T* y, const T* x, i64 rows, int channels,
                              const float* mean, const float* invstd, const float* weight,
                              const float* bias, Activation activation, float* partial) {
    Place at = place<V>(channels);
    float sum[V] = {}, product[V] = {};
    if (at.column < at.columns) {
        float m[V], s[V], b[V] = {};
        load<float, V>(mean + at.column * V, m);
        load_scale<V>(at, invstd, weight, s);
        if (bias) load<float, V>(bias + at.column * V, b);
        for (i64 row = at.row; row < rows; row += at.step) {
            i64 index = row * channels + at.column * V;
            float centered[V], grad[V];
            load<T, V>(x + index, centered);
#pragma unroll
            for (int i = 0; i < V; i++) centered[i] -= m[i];
            masked<T, V>(grad_y, y, index, activation, centered, s, b, grad);
#pragma unroll
            for (int i = 0; i < V; i++) {
                sum[i] += grad[i];
                product[i] += grad[i] * centered[i];
            }
        }
    }
    write_part<V>(at, channels, sum, product, partial);
}

// The gradients of weight and bias, and the coefficients of the line in the gradient of x:
// grad_x = scale * grad + slope * (x - mean) + offset. One block computes one channel.
__device__ inline void gradient_lines(const float* partial, int parts, i64 rows, int channels,
                                      const float* save_invstd, const float* weight,
                                      float* grad_weight, float* grad_bias, float* slope,
                                      float* offset) {
    int channel = blockIdx.x;
    Sums sums = add_parts(partial, parts, channels, channel);
    if (threadIdx.x > 0) return;
    double invstd = save_invstd[channel];
    if (grad_weight) grad_weight[channel] = (float)(sums.second * invstd);
    if (grad_bias) grad_bias[channel] = (float)sums.first;
    double scale = weight ? (double)weight[channel] * invstd : invstd;
    double each = scale / (double)rows;
    slope[channel] = (float)(-each * invstd * invstd * sums.second);
    offset[channel] = (float)(-each * sums.first);
}

// The gradient of x, and that of the residual if `grad_residual` is not null.
template <class T, int V>
__device__ void input_gradient(const T* grad_y, const T* y, const T* x, i64 rows, int channels,
                               const float* mean, const float* invstd, const float* weight,
                               const float* bias, const float* slope, const float* offset,
                               Activation activation, T* grad_x, T* grad_residual) {
    Place at = place<V>(channels);
    if (at.column >= at.columns) return;
    float m[V], s[V], b[V] = {}, k[V], o[V];
    load<float, V>(mean + at.column * V, m);
    load_scale<V>(at, invstd, weight, s);
    if (bias) load<float, V>(bias + at.column * V, b);
    load<float, V>(slope + at.column * V, k);
    load<float, V>(offset + at.column * V, o);
    for (i64 row = at.row; row < rows; row += at.step) {
        i64 index = row * channels + at.column * V;
        float centered[V], grad[V];
        load<T, V>(x + index, centered);
#pragma unroll
        for (int i = 0; i < V; i++) centered[i] -= m[i];
        masked<T, V>(grad_y, y, index, activation, centered, s, b, grad);
        if (grad_residual) store<T, V>(grad_residual + index, grad);
#pragma unroll
        for (int i = 0; i < V; i++) grad[i] = s[i] * grad[i] + (k[i] * centered[i] + o[i]);
        store<T, V>(grad_x + index, grad);
    }
}

// Entries for each type and each vector length.
#define ENTRIES(T, V)                                                                             \
    extern "C" __global__ void batch_norm_moments_##T##_##V(const T* x, i64 rows, int channels,   \
                                                            float* partial) {                     \
        moments<T, V>(x, rows, channels, partial);                                                \
    }                                                                                             \
    extern "C" __global__ void batch_norm_normalize_##T##_##V(                                    \
        const T* x, const T* residual, i64 rows, int channels, const float* mean,                 \
        const float* invstd, const float* weight, const float* bias, Activation activation,       \
        T* y) {                                                                                   \
        normalize<T, V>(x, residual, rows, channels, mean, invstd, weight, bias, activation, y);  \
    }                                                                                             \
    extern "C" __global__ void batch_norm_gradient_sums_##T##_##V(                                \
        const T* grad_y, const T* y, const T* x, i64 rows, int channels, const float* mean,       \
        const float* invstd, const float* weight, const float* bias, Activation activation,       \
        float* partial) {                                                                         \
        gradient_sums<T, V>(grad_y, y, x, rows, channels, mean, invstd, weight, bias,             \
                            activation, partial);                                                 \
    }                                                                                             \
    extern "C" __global__ void batch_norm_input_gradient_##T##_##V(                               \
        const T* grad_y, const T* y, const T* x, i64 rows, int channels, const float* mean,       \
        const float* invstd, const float* weight, const float* bias, const float* slope,          \
        const float* offset, Activation activation, T* grad_x, T* grad_residual) {                \
        input_gradient<T, V>(grad_y, y, x, rows, channels, mean, invstd, weight, bias, slope,     \
                             offset, activation, grad_x, grad_residual);                          \
    }

ENTRIES(float, 1)
ENTRIES(float, 4)
ENTRIES(bf16, 1)
ENTRIES(bf16, 8)

#define STATISTICS(T)                                                                             \
    extern "C" __global__ void batch_norm_statistics_##T(                                         \
        const T* x, const float* partial, int parts, i64 rows, int channels, float momentum,      \
        float eps, float* save_mean, float* save_invstd, const float* running_mean,               \
        const float* running_var, float* new_mean, float* new_var) {                              \
        statistics<T>(x, partial, parts, rows, channels, momentum, eps, save_mean, save_invstd,   \
                      running_mean, running_var, new_mean, new_var);                              \
    }

STATISTICS(float)
STATISTICS(bf16)

// The inverse standard deviation for evaluation mode.
extern "C" __global__ void batch_norm_invstd(const float* var, int channels, float eps,
                                             float* invstd) {
    int channel = blockIdx.x * blockDim.x + threadIdx.x;
    if (channel < channels) invstd[channel] = (float)(1.0 / sqrt((double)var[channel] + eps));
}

extern "C" __global__ void batch_norm_gradient_lines(const float* partial, int parts, i64 rows,
                                                     int channels, const float* save_invstd,
                                                     const float* weight, float* grad_weight,
                                                     float* grad_bias, float* slope,
                                                     float* offset) {
    gradient_lines(partial, parts, rows, channels, save_invstd, weight, grad_weight, grad_bias,
                   slope, offset);
}
