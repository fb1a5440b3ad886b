// Log-mel spectrograms of many waveforms, a block per frame: everything between samples and log-mel stays on the chip.
//
//   waves (S,) float32, all clips one after another      starts (T,) the first sample of each frame, of all clips
//   window (frame,)    turns (N, 2): cos and -sin of 2 pi k / N      out (T, F) natural logs, floored at log(`floor`)
//
// Per frame, as minast/features.py has it: minus the mean, pre-emphasis, window, zeros up to N; |FFT|^2; triangular mel
// filters, log. A filter touches only the FFT bins under its triangle: filter m has the weights [offsets[m],
// offsets[m + 1]) of `weights`, for the bins from firsts[m] on. Bins 0 to N / 2 - 1; the Nyquist bin is never used.
//   0  log_mel_dft      the definition: a thread per frequency, N / 2 sums of `frame` products
//   1  log_mel_radix2   FFT of N / 2 complex numbers, log2(N / 2) passes over shared memory with a barrier each
//   2  log_mel_radix4   the same in half the passes: four numbers pass through a thread's registers at a time
// N real samples are N / 2 complex numbers (even samples real, odd ones imaginary), so the FFT is of half the length;
// `untangle` gets the spectrum of the samples from it. A pass reads one array and writes the other (Stockham's
// ordering), so results come out in order and no bit reversal is needed.
// Sources: Stockham 1966; Van Loan, "Computational Frameworks for the Fast Fourier Transform", 1.7 and 2.4.
//
// instantiate: log_mel_dft<{128,256,512,1024,2048,4096}>
// instantiate: log_mel_radix2<{128,256,512,1024,2048,4096}>
// instantiate: log_mel_radix4<{128,256,512,1024,2048,4096}>
#include "common.cuh"

template <int N> constexpr int FFT_THREADS = N / 8 < WARP ? WARP : N / 8;  // a radix-4 pass has N / 8 butterflies

// Complex number i is at `place(i)`. A pass reads neighbours and writes numbers 4, then 16 apart; 16 numbers of 8 bytes
// fill the banks once, so writes would meet in few banks. The exclusive or exchanges places within each 16 by turns, so
// that both ways and reading are free of conflicts (`emulation(report=True)` counts them).
__device__ __forceinline__ int place(int i) { return i ^ (i / 16 % 4 * 5); }

struct alignas(8) Complex { float re, im; };  // one load each

__device__ __forceinline__ Complex operator+(Complex a, Complex b) { return {a.re + b.re, a.im + b.im}; }
__device__ __forceinline__ Complex operator-(Complex a, Complex b) { return {a.re - b.re, a.im - b.im}; }
__device__ __forceinline__ Complex operator*(Complex a, Complex b) {
  return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
__device__ __forceinline__ Complex times_i(Complex a) { return {-a.im, a.re}; }

// -- before the transform: samples to N / 2 complex numbers ----------------------------------------------------------

// Sum over the block; every thread gets it.
template <int THREADS> __device__ __forceinline__ float sum_of_block(float x) {
  __shared__ float part[THREADS / WARP];
  x = warp_sum(x);
  if (threadIdx.x % WARP == 0) part[threadIdx.x / WARP] = x;
  __syncthreads();  // all warps have left their sums
  float sum = 0.0f;
  for (int w = 0; w < THREADS / WARP; ++w) sum += part[w];
  return sum;
}

// Sample i of a frame without its mean, after pre-emphasis and window; 0 beyond the frame
__device__ __forceinline__ float sample(const float* x, const float* window, int i, int frame, float mean) {
  if (i >= frame) return 0.0f;
  const float before = x[i ? i - 1 : 0] - mean;
  return (x[i] - mean - 0.97f * before) * window[i];
}

template <int N>
__device__ __forceinline__ void load_frame(Complex* z, const float* x, const float* window, int frame) {
  constexpr int THREADS = FFT_THREADS<N>;
  float sum = 0.0f;
  for (int i = threadIdx.x; i < frame; i += THREADS) sum += x[i];
  const float mean = sum_of_block<THREADS>(sum) / frame;
  for (int k = threadIdx.x; k < N / 2; k += THREADS)  // the samples once more: now they are in the L1 cache
    z[place(k)] = {sample(x, window, 2 * k, frame, mean), sample(x, window, 2 * k + 1, frame, mean)};
  __syncthreads();  // the frame is complete
}

// -- the transform -----------------------------------------------------------------------------------------------------

// One pass: N / 4 butterflies of two. `s` sequences of length N / 2 / s are interleaved; each is split into two of half
// the length. i - q is p s, so turns[2 (i - q)] is exp(-2 pi i p / (N / 2 / s)).
template <int N> __device__ __forceinline__ void pass2(const Complex* x, Complex* y, const Complex* turns, int s) {
  for (int i = threadIdx.x; i < N / 4; i += FFT_THREADS<N>) {
    const int q = i % s, to = 2 * i - q;
    const Complex a = x[place(i)], b = x[place(i + N / 4)];
    y[place(to)] = a + b;
    y[place(to + s)] = (a - b) * turns[2 * (i - q)];
  }
  __syncthreads();  // this pass is complete
}

// The same for two passes at once: butterflies of four, N / 8 of them
template <int N> __device__ __forceinline__ void pass4(const Complex* x, Complex* y, const Complex* turns, int s) {
  for (int i = threadIdx.x; i < N / 8; i += FFT_THREADS<N>) {
    const int q = i % s, to = 4 * i - 3 * q, turn = 2 * (i - q);
    const Complex a = x[place(i)], b = x[place(i + N / 8)], c = x[place(i + N / 4)], d = x[place(i + 3 * N / 8)];
    const Complex even = a + c, odd = a - c, cross = b + d, turned = times_i(b - d);
    y[place(to)] = even + cross;
    y[place(to + s)] = (odd - turned) * turns[turn];
    y[place(to + 2 * s)] = (even - cross) * turns[2 * turn];
    y[place(to + 3 * s)] = (odd + turned) * turns[3 * turn];
  }
  __syncthreads();  // this pass of four is complete
}

// powers[k] = |X[k]|^2 for k < N / 2, from the transform z of the pairs: even samples have the spectrum
// e = (z[k] + conj z[-k]) / 2, odd ones o = (z[k] - conj z[-k]) / 2i, and X[k] = e + exp(-2 pi i k / N) o.
template <int N> __device__ __forceinline__ void untangle(float* powers, const Complex* z, const Complex* turns) {
  for (int k = threadIdx.x; k < N / 2; k += FFT_THREADS<N>) {
    const Complex a = z[place(k)], b = z[place(k ? N / 2 - k : 0)];
    const Complex e = {0.5f * (a.re + b.re), 0.5f * (a.im - b.im)}, o = {0.5f * (a.im + b.im), 0.5f * (b.re - a.re)};
    const Complex x = e + o * turns[k];
    powers[k] = x.re * x.re + x.im * x.im;
  }
  __syncthreads();  // all powers are there
}

// -- after it ----------------------------------------------------------------------------------------------------------

template <int N>
__device__ __forceinline__ void filter(float* out, const float* powers, const int* firsts, const int* offsets,
                                       const float* weights, int F, float floor) {
  for (int m = threadIdx.x; m < F; m += FFT_THREADS<N>) {
    const int begin = offsets[m], end = offsets[m + 1];
    const float* under = powers + firsts[m] - begin;
    float sum = 0.0f;
    for (int j = begin; j < end; ++j) sum += weights[j] * under[j];
    out[m] = logf(fmaxf(sum, floor));
  }
}

// grid: T blocks of max(32, N / 8), all three
template <int N>
__global__ void __launch_bounds__(FFT_THREADS<N>)
    log_mel_dft(const float* waves, const long long* starts, const float* window, const float* turns, const int* firsts,
                const int* offsets, const float* weights, float* out, int frame, int F, float floor) {
  __shared__ Complex pairs[N / 2];
  __shared__ float powers[N / 2];
  const long long t = blockIdx.x;
  const Complex* turn = reinterpret_cast<const Complex*>(turns);
  load_frame<N>(pairs, waves + starts[t], window, frame);
  for (int k = threadIdx.x; k < N / 2; k += FFT_THREADS<N>) {
    Complex sum = {0.0f, 0.0f};
    for (int i = 0; i < frame; ++i) {
      const float x = i % 2 ? pairs[place(i / 2)].im : pairs[place(i / 2)].re;
      const Complex w = turn[k * i % N];
      sum = sum + Complex{x * w.re, x * w.im};
    }
    powers[k] = sum.re * sum.re + sum.im * sum.im;
  }
  __syncthreads();  // all powers of the sums are there
  filter<N>(out + t * F, powers, firsts, offsets, weights, F, floor);
}

template <int N>
__global__ void __launch_bounds__(FFT_THREADS<N>)
    log_mel_radix2(const float* waves, const long long* starts, const float* window, const float* turns,
                   const int* firsts, const int* offsets, const float* weights, float* out, int frame, int F,
                   float floor) {
  __shared__ Complex room[2][N / 2];
  const long long t = blockIdx.x;
  const Complex* turn = reinterpret_cast<const Complex*>(turns);
  int now = 0;
  load_frame<N>(room[now], waves + starts[t], window, frame);
  for (int s = 1; s < N / 2; s *= 2, now ^= 1) pass2<N>(room[now], room[now ^ 1], turn, s);
  float* powers = &room[now ^ 1][0].re;
  untangle<N>(powers, room[now], turn);
  filter<N>(out + t * F, powers, firsts, offsets, weights, F, floor);
}

template <int N>
__global__ void __launch_bounds__(FFT_THREADS<N>)
    log_mel_radix4(const float* waves, const long long* starts, const float* window, const float* turns,
                   const int* firsts, const int* offsets, const float* weights, float* out, int frame, int F,
                   float floor) {
  __shared__ Complex room[2][N / 2];
  const long long t = blockIdx.x;
  const Complex* turn = reinterpret_cast<const Complex*>(turns);
  int now = 0, s = 1;
  load_frame<N>(room[now], waves + starts[t], window, frame);
  for (; s * 4 <= N / 2; s *= 4, now ^= 1) pass4<N>(room[now], room[now ^ 1], turn, s);
  if (s < N / 2) {  // N / 2 is twice a power of four
    pass2<N>(room[now], room[now ^ 1], turn, s);
    now ^= 1;
  }
  float* powers = &room[now ^ 1][0].re;
  untangle<N>(powers, room[now], turn);
  filter<N>(out + t * F, powers, firsts, offsets, weights, F, floor);
}
