// Defines CUDA's keywords and built-in variables for one CPU thread, so that kernels run without a
// GPU.
//
// Blocks run one after another. The threads of a block are fibers: each runs to its next barrier,
// then the next fiber runs. A barrier that some threads miss is reported. By running a kernel in
// both thread orders, the caller can detect results that depend on the order. A kernel that reaches
// no barrier in its first launch is assumed to have none; its threads then run as a plain loop.

// The check of longjmp by _FORTIFY_SOURCE does not support several stacks.
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

// The fibers and their stacks are reused by later launches.
static std::vector<Fiber> fibers;

static bool met_barrier;

// Jumps are faster than `swapcontext`, which saves the signal mask by a system call.
static void leave() {
    if (_setjmp(running->place) == 0) _longjmp(scheduler, 1);
}

static void barrier() {
    met_barrier = true;
    // The threads of a plain loop cannot wait for each other.
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

// Runs all threads of one block; returns false if some of them missed a barrier.
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
            // The waiting fibers are abandoned: the next block starts all of them again.
            for (size_t i = 0; i < count; i++) fibers[i].started = false;
            return false;
        }
    }
}

static dim3 at(unsigned flat, const unsigned* shape) {
    return {flat % shape[0], flat / shape[0] % shape[1], flat / (shape[0] * shape[1])};
}

// Runs all threads of one block of a kernel without barriers.
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

// Returns 0, or 1 if a barrier was missed.
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
