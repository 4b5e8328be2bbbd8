// One lane vector: EQP_WIDTH doubles, one sample a lane.
//
// Fused multiply-adds are written out and contraction is switched off, so that a sample's
// result depends neither on its lane nor on the width.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX2__) || defined(__AVX512F__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include <math.h>

#if defined(__GNUC__)
#define EQP_INLINE static inline __attribute__((always_inline))
#define EQP_LOOP(N) _Pragma("GCC unroll 8")
#else
#define EQP_INLINE static __forceinline
#define EQP_LOOP(N)
#endif

namespace eqp {
namespace EQP_NS {

constexpr int W = EQP_WIDTH;

#if defined(__GNUC__)

typedef double vd __attribute__((vector_size(8 * EQP_WIDTH), may_alias));
typedef std::int64_t vi __attribute__((vector_size(8 * EQP_WIDTH), may_alias));

EQP_INLINE vd splat(double x) { return x - vd{}; }
EQP_INLINE vi less(vd a, vd b) { return (vi)(a < b); }
EQP_INLINE vd select(vi mask, vd a, vd b) { return mask ? a : b; }
EQP_INLINE vi bits(vd a) { return (vi)a; }
EQP_INLINE vd from_bits(vi a) { return (vd)a; }
EQP_INLINE vi splat_int(std::int64_t x) { return x - vi{}; }

#else

struct vi {
  std::int64_t v[W];
  std::int64_t& operator[](int l) { return v[l]; }
  std::int64_t operator[](int l) const { return v[l]; }
};
struct vd {
  double v[W];
  double& operator[](int l) { return v[l]; }
  double operator[](int l) const { return v[l]; }
};
#define EQP_BINARY(T, OP)                                    \
  EQP_INLINE T operator OP(T a, T b) {                       \
    T r;                                                     \
    for (int l = 0; l < W; ++l) r.v[l] = a.v[l] OP b.v[l];   \
    return r;                                                \
  }
EQP_BINARY(vd, +)
EQP_BINARY(vd, -)
EQP_BINARY(vd, *)
EQP_BINARY(vd, /)
EQP_BINARY(vi, &)
EQP_BINARY(vi, |)
EQP_BINARY(vi, ^)
EQP_BINARY(vi, +)
#undef EQP_BINARY
EQP_INLINE vd& operator+=(vd& a, vd b) { return a = a + b; }
EQP_INLINE vd& operator-=(vd& a, vd b) { return a = a - b; }
EQP_INLINE vd& operator*=(vd& a, vd b) { return a = a * b; }
EQP_INLINE vi& operator&=(vi& a, vi b) { return a = a & b; }
EQP_INLINE vd operator-(vd a) {
  for (int l = 0; l < W; ++l) a.v[l] = -a.v[l];
  return a;
}
EQP_INLINE vi operator-(vi a) {
  for (int l = 0; l < W; ++l) a.v[l] = -a.v[l];
  return a;
}
EQP_INLINE vi operator<<(vi a, int s) {
  for (int l = 0; l < W; ++l) a.v[l] = (std::int64_t)((std::uint64_t)a.v[l] << s);
  return a;
}
EQP_INLINE vd splat(double x) {
  vd r;
  for (int l = 0; l < W; ++l) r.v[l] = x;
  return r;
}
EQP_INLINE vi splat_int(std::int64_t x) {
  vi r;
  for (int l = 0; l < W; ++l) r.v[l] = x;
  return r;
}
EQP_INLINE vi less(vd a, vd b) {
  vi r;
  for (int l = 0; l < W; ++l) r.v[l] = a.v[l] < b.v[l] ? -1 : 0;
  return r;
}
EQP_INLINE vd select(vi m, vd a, vd b) {
  for (int l = 0; l < W; ++l) a.v[l] = m.v[l] ? a.v[l] : b.v[l];
  return a;
}
EQP_INLINE vi bits(vd a) {
  vi r;
  memcpy(&r, &a, sizeof r);
  return r;
}
EQP_INLINE vd from_bits(vi a) {
  vd r;
  memcpy(&r, &a, sizeof r);
  return r;
}

#endif

#if defined(__AVX512F__) && EQP_WIDTH == 8
EQP_INLINE vd fma(vd a, vd b, vd c) { return (vd)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c); }
EQP_INLINE vd fnma(vd a, vd b, vd c) {
  return (vd)_mm512_fnmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
}
EQP_INLINE vd root(vd a) { return (vd)_mm512_sqrt_pd((__m512d)a); }
#elif defined(__FMA__) && EQP_WIDTH == 4
EQP_INLINE vd fma(vd a, vd b, vd c) { return (vd)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c); }
EQP_INLINE vd fnma(vd a, vd b, vd c) {
  return (vd)_mm256_fnmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
}
EQP_INLINE vd root(vd a) { return (vd)_mm256_sqrt_pd((__m256d)a); }
#elif defined(__aarch64__) && defined(__GNUC__) && EQP_WIDTH == 2
EQP_INLINE vd fma(vd a, vd b, vd c) {
  return (vd)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
}
EQP_INLINE vd fnma(vd a, vd b, vd c) {
  return (vd)vfmsq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
}
EQP_INLINE vd root(vd a) { return (vd)vsqrtq_f64((float64x2_t)a); }
#else
EQP_INLINE vd fma(vd a, vd b, vd c) { return a * b + c; }
EQP_INLINE vd fnma(vd a, vd b, vd c) { return c - a * b; }
#if defined(__SSE2__) && defined(__GNUC__) && EQP_WIDTH == 2
EQP_INLINE vd root(vd a) { return (vd)_mm_sqrt_pd((__m128d)a); }
#else
EQP_INLINE vd root(vd a) {
  for (int l = 0; l < W; ++l) a[l] = ::sqrt(a[l]);
  return a;
}
#endif
#endif

EQP_INLINE vd zero() { return splat(0.0); }
EQP_INLINE vd absolute(vd a) {
  return from_bits(bits(a) & splat_int(0x7fffffffffffffffLL));
}
// NaN in either operand gives NaN or the other; callers test finiteness apart.
EQP_INLINE vd larger(vd a, vd b) { return select(less(a, b), b, a); }
EQP_INLINE vd smaller(vd a, vd b) { return select(less(a, b), a, b); }
EQP_INLINE double* lanes(vd* a) { return reinterpret_cast<double*>(a); }
EQP_INLINE const double* lanes(const vd* a) { return reinterpret_cast<const double*>(a); }
EQP_INLINE bool finite(double x) { return x - x == 0.0; }

}  // namespace EQP_NS
}  // namespace eqp
