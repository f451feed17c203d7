// The settings of libtorch that tch does not bind: what it may do to f32 numbers on a CUDA device.
//
// Left alone, libtorch 2.13 multiplies the f32 operands of every convolution in TensorFloat-32, which keeps 10 bits of their mantissas: an input gradient is
// then off by parts in a thousand. And cuDNN may add in whatever order its threads arrive in, so that no run repeats another.
#include <ATen/Context.h>

extern "C" bool fame_cuda_rounding(bool tf32) noexcept {
    try {
        auto& context = at::globalContext();
        context.setAllowTF32CuDNN(tf32);
        context.setAllowTF32CuBLAS(tf32);
        context.setDeterministicCuDNN(true);
        context.setBenchmarkCuDNN(false);
        return true;
    } catch (...) {
        return false;
    }
}
