// What a training reports: sums on the device, which the host reads now and then.

// Since they were last set to zero.
struct Metrics {
    // Of the mean loss of a batch, times its images.
    double loss;
    u64 images;
    // Images that have a rank, and those whose label is among the first one or five.
    u64 ranked;
    u64 top1;
    u64 top5;
};

// Of each row how many classes score higher than the label; -1 without a label. A block is a row.
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
        // Among equals the earlier class is the higher, as with argmax; NaN is never right.
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

// Adds a batch of an epoch of `total` images, the last of which may be filled up. Of a training
// (`stops`) the first loss that is not finite is the last: it is left in the metrics, and the cursor
// says when it was. `ranks` may be null. One block.
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
