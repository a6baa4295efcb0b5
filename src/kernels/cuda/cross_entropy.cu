// Softmax cross-entropy with label smoothing, its gradient, and what a training reports of it. A
// block is a row of classes; labels of -100 count nowhere, as in torch.

#define IGNORED (-100)

// Sums over the images since they were last read; they stay on the device until somebody asks.
struct Metrics {
    // Of the mean loss of a batch, times its images.
    double loss;
    u64 images;
    // Images that have a rank, and those whose label is among the first one or five.
    u64 ranked;
    u64 top1;
    u64 top5;
};

__device__ inline float block_max(float value) {
    __shared__ float values[THREADS];
    int thread = threadIdx.x;
    values[thread] = value;
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if (thread < half) {
            float other = values[thread + half];
            // A NaN wins: a broken model must not look whole.
            if (other > values[thread] || other != other) values[thread] = other;
        }
        __syncthreads();
    }
    float result = values[0];
    __syncthreads();
    return result;
}

// Per row its loss and rank (-1 without one), and the gradient of the mean loss of the batch.
template <class T>
__device__ void rows(const T* logits, const i64* labels, int batch, int classes, float smoothing,
                     float* losses, int* ranks, T* grad) {
    int row = blockIdx.x;
    const T* scores = logits + (i64)row * classes;
    i64 label = labels[row];
    bool counts = label != IGNORED;
    bool known = label >= 0 && label < classes;

    float own = known ? to_float(scores[label]) : 0.0f, largest = -infinity();
    double total = 0, higher = 0, counted = 0;
    for (int c = threadIdx.x; c < classes; c += THREADS) {
        float score = to_float(scores[c]);
        largest = score > largest || score != score ? score : largest;
        total += score;
        // Among equals the earlier class is the higher, as with argmax; NaN is never right.
        bool lower = score < own, equal = score == own;
        if (c != label && !lower && (!equal || c < label)) higher += 1;
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
    higher = block_sum(higher);
    counted = block_sum(counted);

    if (threadIdx.x == 0) {
        // Of the scores the differences alone matter: rounding their sum would lose digits.
        double log_sum = log(exponentials);
        double smooth = log_sum + ((double)largest - total / classes);
        double loss = (1.0 - smoothing) * (log_sum + ((double)largest - own)) + smoothing * smooth;
        // A label that is no class is a NaN: nobody can train on it unseen.
        losses[row] = counts ? (known ? (float)loss : infinity() - infinity()) : 0.0f;
        ranks[row] = known ? (int)higher : -1;
    }
    float each = counts ? (float)(1.0 / counted) : 0.0f;
    float share = (float)(1.0 / exponentials);
    for (int c = threadIdx.x; c < classes; c += THREADS) {
        float wanted = smoothing / classes + (c == label ? 1.0f - smoothing : 0.0f);
        float softmax = expf(to_float(scores[c]) - largest) * share;
        grad[(i64)row * classes + c] = from_float<T>(counts ? each * (softmax - wanted) : 0.0f);
    }
}

#define CROSS_ENTROPY(T)                                                                         \
    extern "C" __global__ void cross_entropy_##T(const T* logits, const i64* labels, int batch,  \
                                                 int classes, float smoothing, float* losses,    \
                                                 int* ranks, T* grad) {                          \
        rows<T>(logits, labels, batch, classes, smoothing, losses, ranks, grad);                 \
    }

CROSS_ENTROPY(float)
CROSS_ENTROPY(bf16)

// The mean loss of the batch, and its images added to the metrics. One block. The first `images` of
// the batch are real: the last batch of an evaluation is filled up.
extern "C" __global__ void add_metrics(const float* losses, const int* ranks, const i64* labels,
                                       int images, float* loss, Metrics* metrics) {
    double sum = 0, counted = 0, ranked = 0, top1 = 0, top5 = 0;
    for (int image = threadIdx.x; image < images; image += THREADS) {
        sum += losses[image];
        counted += labels[image] != IGNORED;
        ranked += ranks[image] >= 0;
        top1 += ranks[image] >= 0 && ranks[image] < 1;
        top5 += ranks[image] >= 0 && ranks[image] < 5;
    }
    sum = block_sum(sum);
    counted = block_sum(counted);
    ranked = block_sum(ranked);
    top1 = block_sum(top1);
    top5 = block_sum(top5);
    if (threadIdx.x == 0) {
        double mean = sum / counted;
        *loss = (float)mean;
        metrics->loss += mean * images;
        metrics->images += images;
        metrics->ranked += (u64)ranked;
        metrics->top1 += (u64)top1;
        metrics->top5 += (u64)top5;
    }
}
