// CUDA's words for one CPU thread, so that a kernel's source runs where there is no GPU.
//
// Blocks run one after another. The threads of a block are fibers: each runs to its next barrier,
// then comes the next one. A barrier that some threads miss is reported, and so is a thread order
// that matters, if the caller runs a kernel in both.

#include <ucontext.h>

#include <cmath>
#include <cstring>
#include <tuple>
#include <utility>
#include <vector>

#define __device__
#define __global__
#define __shared__ static
#define __syncthreads() host::barrier()

struct dim3 {
    unsigned x, y, z;
};

static dim3 threadIdx, blockIdx, blockDim, gridDim;

static inline float __uint_as_float(unsigned bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

static inline unsigned __float_as_uint(float value) {
    unsigned bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

namespace host {

const size_t STACK = 1 << 16;

struct Fiber {
    ucontext_t context;
    std::vector<char> stack = std::vector<char>(STACK);
    dim3 thread;
    bool done;
};

static ucontext_t scheduler;
static Fiber* running;
static void (*work)(void*);
static void* work_arguments;

static void barrier() { swapcontext(&running->context, &scheduler); }

static void enter() {
    work(work_arguments);
    running->done = true;
    swapcontext(&running->context, &scheduler);
}

// All threads of one block; false if they did not all come to the same barriers.
static bool run_block(std::vector<Fiber>& fibers, bool reversed) {
    for (Fiber& fiber : fibers) {
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.data();
        fiber.context.uc_stack.ss_size = STACK;
        fiber.context.uc_link = nullptr;
        fiber.done = false;
        makecontext(&fiber.context, enter, 0);
    }
    while (true) {
        size_t done = 0;
        for (size_t i = 0; i < fibers.size(); i++) {
            running = &fibers[reversed ? fibers.size() - 1 - i : i];
            threadIdx = running->thread;
            swapcontext(&scheduler, &running->context);
            done += running->done;
        }
        if (done == fibers.size()) return true;
        if (done > 0) return false;
    }
}

template <class... A, size_t... I>
static void call(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
    kernel(*static_cast<std::remove_const_t<A>*>(arguments[I])...);
}

// 0, or 1 where a barrier was missed.
template <class... A>
static int launch(void (*kernel)(A...), const unsigned* grid, const unsigned* block, int reversed,
                  void** arguments) {
    auto both = std::make_pair(kernel, arguments);
    work_arguments = &both;
    work = [](void* pair) {
        auto [kernel, arguments] = *static_cast<decltype(both)*>(pair);
        call(kernel, arguments, std::index_sequence_for<A...>{});
    };
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    std::vector<Fiber> fibers(block[0] * block[1] * block[2]);
    for (size_t i = 0; i < fibers.size(); i++) {
        unsigned flat = i, plane = block[0] * block[1];
        fibers[i].thread = {flat % block[0], flat / block[0] % block[1], flat / plane};
    }
    unsigned blocks = grid[0] * grid[1] * grid[2];
    for (unsigned i = 0; i < blocks; i++) {
        unsigned flat = reversed ? blocks - 1 - i : i;
        blockIdx = {flat % grid[0], flat / grid[0] % grid[1], flat / (grid[0] * grid[1])};
        if (!run_block(fibers, reversed)) return 1;
    }
    return 0;
}

}  // namespace host
