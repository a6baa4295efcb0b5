// CUDA's words for one CPU thread, so that a kernel's source runs where there is no GPU.
//
// Blocks run one after another. The threads of a block are fibers: each runs to its next barrier,
// then comes the next one. A barrier that some threads miss is reported, and so is a thread order
// that matters, if the caller runs a kernel in both. A kernel that has come to no barrier when it was
// first launched has none: from then on its threads are a plain loop.

// Its check of jumps knows one stack alone.
#undef _FORTIFY_SOURCE

#include <setjmp.h>
#include <ucontext.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <set>
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
    jmp_buf place;
    bool started = false;
    std::vector<char> stack = std::vector<char>(STACK);
    dim3 thread;
    bool done;
};

static jmp_buf scheduler;
static Fiber* running;
static void (*work)(void*);
static void* work_arguments;

// Kept, with their stacks, from launch to launch.
static std::vector<Fiber> fibers;

static bool met_barrier;

// A jump: unlike `swapcontext` it does not ask the system for the signals' mask.
static void leave() {
    if (_setjmp(running->place) == 0) _longjmp(scheduler, 1);
}

static void barrier() {
    met_barrier = true;
    // A thread of a plain loop cannot wait.
    if (!running) std::abort();
    leave();
}

static void enter() {
    while (true) {
        work(work_arguments);
        running->done = true;
        leave();
    }
}

static void resume(Fiber& fiber) {
    if (_setjmp(scheduler) != 0) return;
    if (fiber.started) _longjmp(fiber.place, 1);
    fiber.started = true;
    ucontext_t context;
    getcontext(&context);
    context.uc_stack.ss_sp = fiber.stack.data();
    context.uc_stack.ss_size = STACK;
    context.uc_link = nullptr;
    makecontext(&context, enter, 0);
    setcontext(&context);
}

// All threads of one block; false if they did not all come to the same barriers.
static bool run_block(size_t count, bool reversed) {
    for (size_t i = 0; i < count; i++) fibers[i].done = false;
    while (true) {
        size_t done = 0;
        for (size_t i = 0; i < count; i++) {
            running = &fibers[reversed ? count - 1 - i : i];
            threadIdx = running->thread;
            resume(*running);
            done += running->done;
        }
        if (done == count) return true;
        if (done > 0) {
            // Those that wait are given up: the next block starts all of them anew.
            for (size_t i = 0; i < count; i++) fibers[i].started = false;
            return false;
        }
    }
}

static dim3 at(unsigned flat, const unsigned* shape) {
    return {flat % shape[0], flat / shape[0] % shape[1], flat / (shape[0] * shape[1])};
}

// The same for a kernel without barriers.
static void run_plainly(const unsigned* block, bool reversed) {
    unsigned threads = block[0] * block[1] * block[2];
    running = nullptr;
    for (unsigned i = 0; i < threads; i++) {
        threadIdx = at(reversed ? threads - 1 - i : i, block);
        work(work_arguments);
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
    static std::set<void*> without_barriers;
    void* name = reinterpret_cast<void*>(kernel);
    bool plain = without_barriers.count(name) > 0;
    size_t count = plain ? 0 : block[0] * block[1] * block[2];
    if (fibers.size() < count) fibers = std::vector<Fiber>(count);
    for (size_t i = 0; i < count; i++) fibers[i].thread = at(i, block);
    unsigned blocks = grid[0] * grid[1] * grid[2];
    met_barrier = false;
    for (unsigned i = 0; i < blocks; i++) {
        blockIdx = at(reversed ? blocks - 1 - i : i, grid);
        if (plain) {
            run_plainly(block, reversed);
        } else if (!run_block(count, reversed)) {
            return 1;
        }
    }
    if (!met_barrier) without_barriers.insert(name);
    return 0;
}

}  // namespace host
