// Makes a batch from a data set in device memory: gather, pad and crop, flip, normalize, cut out;
// uint8 or fp32 NHWC to fp32 or bf16 NHWC. It draws the same random numbers as the loader on the CPU
// and computes the same pixels. The generator is Philox4x32-10 (Salmon, Moraes, Dror and Shaw, SC
// 2011) with the seed as its key and epoch and image as its counter.

struct Augment {
    int pad;
    int flip;
    int cutout;
};

struct Words {
    u32 word[4];
};

#define AUGMENT_STREAM 1u

__device__ inline Words philox(u64 seed, u64 epoch, u32 index, u32 block) {
    u32 counter[4] = {AUGMENT_STREAM << 16 | block, index, (u32)epoch, (u32)(epoch >> 32)};
    u32 key[2] = {(u32)seed, (u32)(seed >> 32)};
    for (int round = 0; round < 10; round++) {
        u64 first = (u64)0xD2511F53u * counter[0];
        u64 second = (u64)0xCD9E8D57u * counter[2];
        counter[0] = (u32)(second >> 32) ^ counter[1] ^ key[0];
        counter[1] = (u32)second;
        counter[2] = (u32)(first >> 32) ^ counter[3] ^ key[1];
        counter[3] = (u32)first;
        key[0] += 0x9E3779B9u;
        key[1] += 0xBB67AE85u;
    }
    Words words;
    for (int i = 0; i < 4; i++) words.word[i] = counter[i];
    return words;
}

__device__ inline int below(u32 word, int bound) { return (int)((u64)word * (u64)bound >> 32); }

// Whether `at` is inside the hole around a random pixel, in one dimension.
__device__ inline bool is_cut(u32 word, int size, int cutout, int at) {
    int center = below(word, size);
    return at >= center - cutout / 2 && at < center + cutout - cutout / 2;
}

// Computes one pixel of a batch. An epoch has `total` images. Pixels are divided by `unit`, which is
// 255 for uint8, before `mean` and `std` are applied.
template <class S, class T>
__device__ void augment_pixel(const S* images, const i64* labels, const i64* order,
                              const Cursor* cursor, u64 seed, int batch, i64 total, int height,
                              int width, int channels, float unit, const float* mean,
                              const float* std, Augment augment, T* out, i64* out_labels) {
    int pixels = height * width;
    i64 at = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= (i64)batch * pixels) return;
    int image = (int)(at / pixels), pixel = (int)(at % pixels);
    int y = pixel / width, x = pixel % width;
    // The last batch is padded with images of ignored labels.
    i64 position = (i64)cursor->batch * batch + image;
    bool real = position < total;
    i64 index = order[real ? position : 0];
    if (pixel == 0) out_labels[image] = real ? labels[index] : IGNORED;

    int down = 0, right = 0;
    bool flip = false, cut = false;
    if (augment.pad > 0 || augment.flip) {
        Words words = philox(seed, cursor->epoch, (u32)index, 0);
        down = below(words.word[0], 2 * augment.pad + 1) - augment.pad;
        right = below(words.word[1], 2 * augment.pad + 1) - augment.pad;
        flip = augment.flip && words.word[2] >> 31;
    }
    if (augment.cutout > 0) {
        Words words = philox(seed, cursor->epoch, (u32)index, 1);
        cut = is_cut(words.word[0], height, augment.cutout, y) &&
              is_cut(words.word[1], width, augment.cutout, x);
    }
    int row = y + down, column = (flip ? width - 1 - x : x) + right;
    bool inside = row >= 0 && row < height && column >= 0 && column < width;
    const S* from = images + ((index * height + (inside ? row : 0)) * width +
                              (inside ? column : 0)) * channels;
    for (int c = 0; c < channels; c++) {
        float value = inside ? to_float(from[c]) / unit : 0.0f;
        value = (value - mean[c]) / std[c];
        out[at * channels + c] = from_float<T>(cut ? 0.0f : value);
    }
}

#define AUGMENT(S, T)                                                                             \
    extern "C" __global__ void augment_##S##_##T(                                                 \
        const S* images, const i64* labels, const i64* order, const Cursor* cursor, u64 seed,     \
        int batch, i64 total, int height, int width, int channels, float unit, const float* mean, \
        const float* std, Augment augment, T* out, i64* out_labels) {                             \
        augment_pixel<S, T>(images, labels, order, cursor, seed, batch, total, height, width,     \
                            channels, unit, mean, std, augment, out, out_labels);                 \
    }

AUGMENT(u8, float)
AUGMENT(u8, bf16)
AUGMENT(float, float)
AUGMENT(float, bf16)

// Advances the cursor to the next step.
extern "C" __global__ void advance_cursor(Cursor* cursor) {
    if (blockIdx.x == 0 && threadIdx.x == 0 && !cursor->failed) {
        cursor->batch += 1;
        cursor->step += 1;
    }
}
