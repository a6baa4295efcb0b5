// Softmax cross-entropy with label smoothing, and its gradient. One block computes one row.

__device__ inline float block_max(float value) {
    __shared__ float values[THREADS];
    int thread = threadIdx.x;
    values[thread] = value;
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if (thread < half) {
            float other = values[thread + half];
            // A NaN propagates, so that a diverged model does not look valid.
            if (other > values[thread] || other != other) values[thread] = other;
        }
        __syncthreads();
    }
    float result = values[0];
    __syncthreads();
    return result;
}

// Computes the loss of each row, and the gradient of the mean loss of the batch.
template <class T>
__device__ void rows(const T* logits, const i64* labels, int batch, int classes, float smoothing,
                     float* losses, T* grad) {
    int row = blockIdx.x;
    const T* scores = logits + (i64)row * classes;
    i64 label = labels[row];
    bool counts = label != IGNORED;
    bool known = label >= 0 && label < classes;

    float own = known ? to_float(scores[label]) : 0.0f, largest = -infinity();
    double total = 0, counted = 0;
    for (int c = threadIdx.x; c < classes; c += THREADS) {
        float score = to_float(scores[c]);
        largest = score > largest || score != score ? score : largest;
        total += score;
    }
    for (int image = threadIdx.x; image < batch; image += THREADS) {
        counted += labels[image] != IGNORED;
    }
    largest = block_max(largest);
    double exponentials = 0;
    for (int c = threadIdx.x; c < classes; c += THREADS) {
        exponentials += expf(to_float(scores[c]) - largest);
    }
    exponentials = block_sum(exponentials);
    total = block_sum(total);
    counted = block_sum(counted);

    if (threadIdx.x == 0) {
        // Computed from differences of scores, because rounding their sum would lose digits.
        double log_sum = log(exponentials);
        double smooth = log_sum + ((double)largest - total / classes);
        double loss = (1.0 - smoothing) * (log_sum + ((double)largest - own)) + smoothing * smooth;
        // A label out of range gives NaN, so that it does not go unnoticed.
        losses[row] = counts ? (known ? (float)loss : infinity() - infinity()) : 0.0f;
    }
    float scale = counts ? (float)(1.0 / counted) : 0.0f;
    float inverse = (float)(1.0 / exponentials);
    for (int c = threadIdx.x; c < classes; c += THREADS) {
        float target = smoothing / classes + (c == label ? 1.0f - smoothing : 0.0f);
        float softmax = expf(to_float(scores[c]) - largest) * inverse;
        grad[(i64)row * classes + c] = from_float<T>(counts ? scale * (softmax - target) : 0.0f);
    }
}

#define CROSS_ENTROPY(T)                                                                          \
    extern "C" __global__ void cross_entropy_##T(const T* logits, const i64* labels, int batch,   \
                                                 int classes, float smoothing, float* losses,     \
                                                 T* grad) {                                       \
        rows<T>(logits, labels, batch, classes, smoothing, losses, grad);                         \
    }

CROSS_ENTROPY(float)
CROSS_ENTROPY(bf16)

// The mean over the rows that are not ignored. Runs as one block.
extern "C" __global__ void mean_loss(const float* losses, const i64* labels, int batch,
                                     float* loss) {
    double sum = 0, counted = 0;
    for (int image = threadIdx.x; image < batch; image += THREADS) {
        sum += losses[image];
        counted += labels[image] != IGNORED;
    }
    sum = block_sum(sum);
    counted = block_sum(counted);
    if (threadIdx.x == 0) *loss = (float)(sum / counted);
}
