// Accumulates loss and accuracies in device memory, which the host reads from time to time.

// Sums since the last reset.
struct Metrics {
    // The sum of the losses of all images.
    double loss;
    u64 images;
    // The numbers of images with a valid label, and of those with the label among the top 1 or 5.
    u64 ranked;
    u64 top1;
    u64 top5;
};

// For each row the number of classes with a higher score than the label, or -1 without a valid
// label. One block computes one row.
template <class T>
__device__ void rank(const T* logits, const i64* labels, int classes, int* ranks) {
    int row = blockIdx.x;
    const T* scores = logits + (i64)row * classes;
    i64 label = labels[row];
    bool known = label >= 0 && label < classes;
    float own = known ? to_float(scores[label]) : 0.0f;
    double higher = 0;
    for (int c = threadIdx.x; c < classes; c += THREADS) {
        float score = to_float(scores[c]);
        // Among equal scores the earlier class ranks higher, as in argmax. A NaN counts as higher,
        // so that it never makes a prediction correct.
        bool lower = score < own, equal = score == own;
        if (c != label && !lower && (!equal || c < label)) higher += 1;
    }
    higher = block_sum(higher);
    if (threadIdx.x == 0) ranks[row] = known ? (int)higher : -1;
}

#define RANKS(T)                                                                            \
    extern "C" __global__ void ranks_##T(const T* logits, const i64* labels, int classes,   \
                                         int* ranks) {                                      \
        rank<T>(logits, labels, classes, ranks);                                            \
    }

RANKS(float)
RANKS(bf16)

// Adds a batch of an epoch of `total` images; the last batch may be padded. With `stops`, the first
// loss that is not finite ends the training: it is stored in the metrics, and its step in the
// cursor. `ranks` may be null. Runs as one block.
extern "C" __global__ void add_metrics(const float* loss, const int* ranks, int batch, i64 total,
                                       int stops, Cursor* cursor, Metrics* metrics) {
    float mean = *loss;
    bool broken = stops && mean - mean != 0.0f, failed = cursor->failed;
    i64 left = total - (i64)cursor->batch * batch;
    int images = left < 0 ? 0 : left < batch ? (int)left : batch;
    double ranked = 0, top1 = 0, top5 = 0;
    for (int image = threadIdx.x; ranks && image < images; image += THREADS) {
        ranked += ranks[image] >= 0;
        top1 += ranks[image] >= 0 && ranks[image] < 1;
        top5 += ranks[image] >= 0 && ranks[image] < 5;
    }
    ranked = block_sum(ranked);
    top1 = block_sum(top1);
    top5 = block_sum(top5);
    if (threadIdx.x > 0 || failed) return;
    if (broken) {
        cursor->failed = cursor->step;
        metrics->loss = mean;
        return;
    }
    metrics->loss += (double)mean * images;
    metrics->images += images;
    metrics->ranked += (u64)ranked;
    metrics->top1 += (u64)top1;
    metrics->top5 += (u64)top5;
}
